//! Servers that remember what they were sent, and whose replies tell who and what was asked.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use socket2::SockRef;

/// A request as a server read it: its words, of which a value is the last one.
pub type Request = Vec<Vec<u8>>;

/// Every request, with the number of the server that got it, in the order of arrival.
type Requests = Mutex<Vec<(usize, Request)>>;

/// Some servers of either protocol. Dropping them ends them.
#[derive(Default)]
pub struct Servers {
    requests: Arc<Requests>,
    listeners: Vec<Listener>,
}

enum Listener {
    Tcp(Arc<TcpListener>),
    Unix(Arc<UnixListener>),
}

impl Servers {
    /// Adds one on an address, with port 0 for a free port. Returns where it listens, as a
    /// configuration has it, or why it cannot.
    pub fn add_tcp(&mut self, address: &str) -> io::Result<String> {
        let listener = Arc::new(TcpListener::bind(address)?);
        let at = listener.local_addr()?.to_string();
        self.listeners.push(Listener::Tcp(Arc::clone(&listener)));
        self.run(move || listener.accept().map(|(stream, _)| stream));
        Ok(at)
    }

    /// Adds one on a unix socket. Returns where it listens, as a configuration has it.
    pub fn add_unix(&mut self, path: &Path) -> String {
        let listener = Arc::new(UnixListener::bind(path).expect("a new socket"));
        self.listeners.push(Listener::Unix(Arc::clone(&listener)));
        self.run(move || listener.accept().map(|(stream, _)| stream));
        path.display().to_string()
    }

    /// Takes what arrived since the last time: for each server its requests in order.
    pub fn take(&self) -> Vec<Vec<Request>> {
        let mut of_servers = vec![Vec::new(); self.listeners.len()];
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, request) in requests.drain(..) {
            of_servers[number].push(request);
        }
        of_servers
    }

    fn run<S: Read + Write + Send + 'static>(
        &self,
        accept: impl Fn() -> io::Result<S> + Send + 'static,
    ) {
        let number = self.listeners.len() - 1;
        let requests = Arc::clone(&self.requests);
        std::thread::spawn(move || {
            // An error is the end: the listener was shut down.
            while let Ok(stream) = accept() {
                let requests = Arc::clone(&requests);
                std::thread::spawn(move || serve(number, BufReader::new(stream), &requests));
            }
        });
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for listener in &self.listeners {
            // Its acceptor wakes with an error.
            let _ = match listener {
                Listener::Tcp(listener) => SockRef::from(&**listener).shutdown(Shutdown::Both),
                Listener::Unix(listener) => SockRef::from(&**listener).shutdown(Shutdown::Both),
            };
        }
    }
}

fn serve(number: usize, mut stream: BufReader<impl Read + Write>, requests: &Requests) {
    while let Some((request, reply)) = next(number, &mut stream) {
        // It is remembered before it is answered, so whoever has the replies finds the requests.
        requests.lock().unwrap_or_else(PoisonError::into_inner).push((number, request));
        if stream.get_mut().write_all(&reply).is_err() {
            return;
        }
    }
}

/// Reads a request. Returns it with its reply, or nothing at the end of the stream.
fn next(number: usize, stream: &mut impl BufRead) -> Option<(Request, Vec<u8>)> {
    if *stream.fill_buf().ok()?.first()? == b'*' {
        let mut request = Vec::new();
        for _ in 0..length(&line(stream)?)? {
            let len = length(&line(stream)?)?;
            request.push(bytes(stream, len)?);
        }
        // nutcracker sends the names of what it might take apart in lower case, also where there is
        // one part only, which the other forwards as it is. Servers do not care.
        request.first_mut()?.make_ascii_lowercase();
        let reply = redis_reply(number, &request);
        return Some((request, reply));
    }
    let words = line(stream)?;
    let words = words.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let mut request: Request = words.map(<[u8]>::to_vec).collect();
    let silent = request.last().is_some_and(|word| word == b"noreply");
    if silent {
        request.pop();
    }
    let name = request.first()?.clone();
    if matches!(&name[..], b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas") {
        let len = std::str::from_utf8(request.get(4)?).ok()?.parse().ok()?;
        request.push(bytes(stream, len)?);
    }
    let reply = if silent { Vec::new() } else { memcached_reply(number, &request) };
    Some((request, reply))
}

fn line(stream: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).ok()?;
    line.strip_suffix(b"\r\n").map(<[u8]>::to_vec)
}

/// The number behind the first byte of a line.
fn length(line: &[u8]) -> Option<usize> {
    std::str::from_utf8(line.get(1..)?).ok()?.parse().ok()
}

/// `len` bytes, and the end of the line behind them.
fn bytes(stream: &mut impl BufRead, len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len + 2];
    stream.read_exact(&mut bytes).ok()?;
    assert!(bytes.ends_with(b"\r\n"), "a value was forwarded without its end");
    bytes.truncate(len);
    Some(bytes)
}

fn redis_reply(number: usize, request: &Request) -> Vec<u8> {
    let key = request.get(1).map_or(&b""[..], Vec::as_slice);
    if key.starts_with(b"wrong") {
        return format!("-WRONGTYPE says server {number}\r\n").into_bytes();
    }
    if key == b"loading" {
        return b"-LOADING the data set\r\n".to_vec();
    }
    let keys = request.len() - 1;
    match &request[0][..] {
        b"get" => bulk(number, key),
        b"mget" => {
            let bulks = request[1..].iter().flat_map(|key| bulk(number, key));
            format!("*{keys}\r\n").into_bytes().into_iter().chain(bulks).collect()
        }
        b"del" | b"unlink" | b"touch" | b"exists" => format!(":{keys}\r\n").into_bytes(),
        b"set" | b"mset" | b"setex" | b"auth" | b"select" => b"+OK\r\n".to_vec(),
        b"incr" => format!(":{number}\r\n").into_bytes(),
        _ => {
            let count = bulk(keys, b"words");
            let head = format!("*3\r\n:{number}\r\n*2\r\n$-1\r\n*0\r\n").into_bytes();
            [head, count].concat()
        }
    }
}

/// Who was asked for what; nothing of a key that begins with `nil`.
fn bulk(number: usize, key: &[u8]) -> Vec<u8> {
    if key.starts_with(b"nil") {
        return b"$-1\r\n".to_vec();
    }
    let value = [format!("{number}:").as_bytes(), key].concat();
    [format!("${}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat()
}

fn memcached_reply(number: usize, request: &Request) -> Vec<u8> {
    match &request[0][..] {
        name @ (b"get" | b"gets" | b"gat") => {
            let mut reply = Vec::new();
            let keys = &request[if name == b"gat" { 2 } else { 1 }..];
            for key in keys.iter().filter(|key| !key.starts_with(b"nil")) {
                let value = [format!("{number}:").as_bytes(), key].concat();
                let unique = if name == b"gets" { " 7" } else { "" };
                reply.extend([b"VALUE ", &key[..]].concat());
                reply.extend(format!(" 0 {}{unique}\r\n", value.len()).as_bytes());
                reply.extend([&value[..], b"\r\n"].concat());
            }
            reply.extend(b"END\r\n");
            reply
        }
        b"flush_all" => b"OK\r\n".to_vec(),
        b"delete" => b"DELETED\r\n".to_vec(),
        b"touch" => b"TOUCHED\r\n".to_vec(),
        b"incr" | b"decr" => format!("{number}\r\n").into_bytes(),
        b"add" => b"NOT_STORED\r\n".to_vec(),
        b"cas" => b"EXISTS\r\n".to_vec(),
        b"replace" => b"SERVER_ERROR out of memory storing object\r\n".to_vec(),
        _ => b"STORED\r\n".to_vec(),
    }
}
