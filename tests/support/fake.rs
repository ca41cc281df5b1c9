//! A server that does what the test tells it, and remembers what it was sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::SockRef;

/// A scripted server on a loopback port of its own. Each connection runs the script on a thread,
/// and is closed when the script returns.
pub struct FakeServer {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    received: Mutex<Vec<u8>>,
    accepted: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
    over: AtomicBool,
}

/// One connection of a fake server.
pub struct FakeConnection {
    /// Which connection of the server this is, from 0.
    pub number: usize,
    reader: BufReader<Recorder>,
    writer: TcpStream,
}

struct Recorder {
    stream: TcpStream,
    shared: Arc<Shared>,
}

impl FakeServer {
    /// Starts one that runs `script` for each connection.
    pub fn start(script: impl Fn(&mut FakeConnection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared::default());
        let script = Arc::new(script);
        let of_acceptor = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if of_acceptor.over.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.expect("accept");
                let mut connection = FakeConnection::over(stream, &of_acceptor);
                let script = Arc::clone(&script);
                std::thread::spawn(move || {
                    script(&mut connection);
                    connection.close();
                });
            }
        });
        Self { port, shared }
    }

    /// One that answers each request with `reply`.
    pub fn answering(reply: &'static [u8]) -> Self {
        Self::start(move |connection| {
            while connection.request().is_some() {
                connection.send(reply);
            }
        })
    }

    /// One that answers each line with `reply`, as memcached does.
    pub fn answering_lines(reply: &'static [u8]) -> Self {
        Self::start(move |connection| {
            while connection.line().is_some() {
                connection.send(reply);
            }
        })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its line under `servers:`, with weight 1, without a name.
    pub fn line(&self) -> String {
        format!("127.0.0.1:{}:1", self.port)
    }

    /// Its line under `servers:` with a name.
    pub fn named(&self, name: &str) -> String {
        format!("{} {name}", self.line())
    }

    /// Every byte it was sent so far, of all connections in the order of arrival.
    pub fn received(&self) -> Vec<u8> {
        locked(&self.shared.received).clone()
    }

    /// How many connections it accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the acceptor, so that it sees that it is over.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        for stream in locked(&self.shared.open).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl FakeConnection {
    fn over(stream: TcpStream, shared: &Arc<Shared>) -> Self {
        stream.set_nodelay(true).expect("a socket");
        locked(&shared.open).push(stream.try_clone().expect("a socket"));
        let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
        let writer = stream.try_clone().expect("a socket");
        let recorder = Recorder { stream, shared: Arc::clone(shared) };
        Self { number, reader: BufReader::new(recorder), writer }
    }

    /// Reads one request: its arguments, or `None` at the end of the stream.
    pub fn request(&mut self) -> Option<Vec<Vec<u8>>> {
        let count = self.length(b'*')?;
        (0..count)
            .map(|_| {
                let mut argument = vec![0; self.length(b'$')? + 2];
                self.reader.read_exact(&mut argument).ok()?;
                assert!(argument.ends_with(b"\r\n"), "the proxy forwarded a bulk without its end");
                argument.truncate(argument.len() - 2);
                Some(argument)
            })
            .collect()
    }

    /// Reads a line, without its end, as memcached is asked; `None` at the end of the stream.
    pub fn line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).ok()?;
        line.strip_suffix(b"\r\n").map(<[u8]>::to_vec)
    }

    fn length(&mut self, mark: u8) -> Option<usize> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).ok()?;
        let digits = line.strip_prefix(&[mark])?.strip_suffix(b"\r\n")?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Sends `bytes`. That the other side is gone is its own affair.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.writer.write_all(bytes);
    }

    /// Sends `bytes` one at a time, with a pause long enough that each travels by itself.
    pub fn send_slowly(&mut self, bytes: &[u8], pause: Duration) {
        for byte in bytes {
            self.send(&[*byte]);
            std::thread::sleep(pause);
        }
    }

    /// Reads and forgets until the other side ends the stream.
    pub fn drain(&mut self) {
        let mut piece = vec![0; 16 << 10];
        while self.reader.read(&mut piece).is_ok_and(|count| count > 0) {}
    }

    /// Makes the close that follows a reset.
    pub fn close_by_reset(&mut self) {
        let _ = SockRef::from(&self.writer).set_linger(Some(Duration::ZERO));
    }

    /// Ends this side of the stream; the other may still send.
    pub fn shutdown_write(&mut self) {
        let _ = self.writer.shutdown(Shutdown::Write);
    }

    fn close(&mut self) {
        let shared = &self.reader.get_ref().shared;
        let Ok(peer) = self.writer.peer_addr() else { return };
        locked(&shared.open).retain(|stream| !stream.peer_addr().is_ok_and(|at| at == peer));
    }
}

impl Read for Recorder {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.stream.read(into)?;
        locked(&self.shared.received).extend_from_slice(&into[..count]);
        Ok(count)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
