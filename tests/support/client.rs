//! A client that speaks RESP2 by hand, and sees every byte.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{DEADLINE, show};

/// One connection to a proxy or a server.
pub struct Client {
    reader: BufReader<Socket>,
    writer: Socket,
}

/// A reply, as RESP2 has them.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+`
    Status(Vec<u8>),
    /// `-`
    Error(Vec<u8>),
    /// `:`
    Integer(i64),
    /// `$`
    Bulk(Vec<u8>),
    /// `$-1` or `*-1`
    Null,
    /// `*`
    Array(Vec<Reply>),
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the end of the stream.
    Eof,
    /// With a reset.
    Reset,
}

/// A request as an array of bulk strings.
pub fn command<A: AsRef<[u8]>>(arguments: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        let argument = argument.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

impl Reply {
    /// A bulk string.
    pub fn bulk(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bulk(bytes.as_ref().to_vec())
    }

    /// A status.
    pub fn status(text: &str) -> Self {
        Self::Status(text.as_bytes().to_vec())
    }

    /// An error, without its `-`.
    pub fn error(text: &str) -> Self {
        Self::Error(text.as_bytes().to_vec())
    }

    /// The text of an error. Panics when it is none.
    pub fn error_text(&self) -> String {
        let Self::Error(text) = self else { panic!("not an error: {self:?}") };
        String::from_utf8_lossy(text).into_owned()
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(text) => write!(f, "+{}", show(text)),
            Self::Error(text) => write!(f, "-{}", show(text)),
            Self::Integer(number) => write!(f, ":{number}"),
            Self::Bulk(bytes) => write!(f, "${}", show(bytes)),
            Self::Null => write!(f, "null"),
            Self::Array(items) => f.debug_list().entries(items).finish(),
        }
    }
}

impl Client {
    /// Connects to a loopback port.
    pub fn tcp(port: u16) -> Self {
        Self::try_tcp(port).unwrap_or_else(|error| panic!("connect to port {port}: {error}"))
    }

    /// Connects to a unix socket.
    pub fn unix(path: &Path) -> Self {
        Self::try_unix(path).unwrap_or_else(|error| panic!("connect to {path:?}: {error}"))
    }

    /// Connects to a loopback port, or says why not.
    pub fn try_tcp(port: u16) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        socket.connect_timeout(&address.into(), DEADLINE)?;
        socket.set_tcp_nodelay(true)?;
        Self::over(socket)
    }

    /// Connects to a unix socket, or says why not.
    pub fn try_unix(path: &Path) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.connect(&SockAddr::unix(path)?)?;
        Self::over(socket)
    }

    fn over(socket: Socket) -> io::Result<Self> {
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.set_write_timeout(Some(DEADLINE))?;
        Ok(Self { writer: socket.try_clone()?, reader: BufReader::with_capacity(64 << 10, socket) })
    }

    /// Bounds each further read and write.
    pub fn set_deadline(&mut self, limit: Duration) {
        self.writer.set_read_timeout(Some(limit)).expect("a socket");
        self.writer.set_write_timeout(Some(limit)).expect("a socket");
    }

    /// The same socket, to write from another thread while this one reads.
    pub fn writer(&self) -> Socket {
        self.writer.try_clone().expect("a socket")
    }

    /// Sends all of `bytes`.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap_or_else(|error| panic!("send {}: {error}", show(bytes)));
    }

    /// Sends all of `bytes`, or says why not.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)
    }

    /// Sends a request and reads its reply.
    pub fn call<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> Reply {
        self.send(&command(arguments));
        self.reply()
    }

    /// Sends `request` and expects exactly `reply`.
    pub fn exchange(&mut self, request: &[u8], reply: &[u8]) {
        self.send(request);
        self.expect(reply);
    }

    /// Reads one reply. Panics when the connection ends or nothing comes.
    pub fn reply(&mut self) -> Reply {
        self.try_reply().unwrap_or_else(|error| panic!("no reply: {error}"))
    }

    /// Reads one reply, or says why not: `UnexpectedEof` at the end of the stream.
    pub fn try_reply(&mut self) -> io::Result<Reply> {
        let line = self.try_line()?;
        let body = line
            .strip_suffix(b"\r\n")
            .ok_or_else(|| io::Error::other(format!("a line without its end: {}", show(&line))))?;
        let (kind, text) =
            body.split_first().ok_or_else(|| io::Error::other("an empty line for a reply"))?;
        let number = || -> io::Result<i64> {
            let digits = std::str::from_utf8(text).map_err(io::Error::other)?;
            digits.parse().map_err(|_| io::Error::other(format!("bad number {}", show(&line))))
        };
        match kind {
            b'+' => Ok(Reply::Status(text.to_vec())),
            b'-' => Ok(Reply::Error(text.to_vec())),
            b':' => Ok(Reply::Integer(number()?)),
            b'$' | b'*' if text == b"-1" => Ok(Reply::Null),
            b'$' => self.bulk(usize::try_from(number()?).map_err(io::Error::other)?),
            b'*' => (0..number()?)
                .map(|_| self.try_reply())
                .collect::<io::Result<_>>()
                .map(Reply::Array),
            _ => Err(io::Error::other(format!("not a reply: {}", show(&line)))),
        }
    }

    fn bulk(&mut self, len: usize) -> io::Result<Reply> {
        let mut bytes = vec![0; len + 2];
        self.reader.read_exact(&mut bytes)?;
        if !bytes.ends_with(b"\r\n") {
            return Err(io::Error::other(format!("a bulk without its end, of {len} bytes")));
        }
        bytes.truncate(len);
        Ok(Reply::Bulk(bytes))
    }

    /// Reads one reply of either version of RESP as it comes, with all that is in it.
    pub fn try_raw_reply(&mut self) -> io::Result<Vec<u8>> {
        let mut raw = Vec::new();
        let mut left = 1;
        while left > 0 {
            let line = self.try_line()?;
            let number = std::str::from_utf8(&line[1..]).ok().and_then(|text| {
                text.strip_suffix("\r\n").and_then(|digits| digits.parse::<i64>().ok())
            });
            raw.extend_from_slice(&line);
            let count = usize::try_from(number.unwrap_or(0)).unwrap_or(0);
            match line[0] {
                b'$' | b'=' | b'!' if number != Some(-1) => {
                    let start = raw.len();
                    raw.resize(start + count + 2, 0);
                    self.reader.read_exact(&mut raw[start..])?;
                }
                b'*' | b'~' | b'>' => left += count,
                b'%' => left += 2 * count,
                // An attribute stands before what it is about.
                b'|' => left += 2 * count + 1,
                _ => {}
            }
            left -= 1;
        }
        Ok(raw)
    }

    /// Reads to the next newline, which is included.
    pub fn try_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(line)
    }

    /// Reads as many bytes as `expected` has, and compares them.
    pub fn expect(&mut self, expected: &[u8]) {
        let mut got = Vec::with_capacity(expected.len());
        while got.len() < expected.len() {
            let room = (expected.len() - got.len()).min(1 << 20);
            let start = got.len();
            got.resize(start + room, 0);
            match self.reader.read(&mut got[start..]) {
                Ok(0) => {
                    got.truncate(start);
                    panic!("ended early: got {} of {}", show(&got), show(expected));
                }
                Ok(count) => got.truncate(start + count),
                Err(error) => {
                    got.truncate(start);
                    panic!("{error}: got {} of {}", show(&got), show(expected));
                }
            }
            // A wrong first byte is told at once, not after the deadline.
            let wrong = got.iter().zip(expected).position(|(got, expected)| got != expected);
            if let Some(at) = wrong {
                panic!("byte {at}: got {}, expected {}", show(&got), show(expected));
            }
        }
    }

    /// Expects that the next byte is the one that `other` has next.
    pub fn expect_same_byte_as(&mut self, other: &mut Client) {
        let mut bytes = [[0], [0]];
        self.reader.read_exact(&mut bytes[0]).expect("a byte");
        other.reader.read_exact(&mut bytes[1]).expect("a byte");
        assert_eq!(bytes[0], bytes[1]);
    }

    /// Expects that the next reply is the one to a request sent now: none was left over.
    pub fn expect_in_step(&mut self, marker: &str) {
        assert_eq!(self.call(&["PING", marker]), Reply::bulk(marker));
    }

    /// Reads to the end of the connection. Panics when it does not end within `DEADLINE`.
    pub fn read_to_end(&mut self) -> (Vec<u8>, Ending) {
        let begin = Instant::now();
        let mut all = Vec::new();
        let mut piece = vec![0; 64 << 10];
        loop {
            match self.reader.read(&mut piece) {
                Ok(0) => return (all, Ending::Eof),
                Ok(count) => all.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return (all, Ending::Reset);
                }
                Err(error) => panic!("still open ({error}) after {}", show(&all)),
            }
            assert!(begin.elapsed() < DEADLINE, "still sending after {}", show(&all));
        }
    }

    /// Expects the end of the connection, with nothing before it.
    pub fn expect_end(&mut self) {
        let (rest, _) = self.read_to_end();
        assert!(rest.is_empty(), "before the end came {}", show(&rest));
    }

    /// Whether something can be read, or the end, within `limit`.
    pub fn has_news_within(&mut self, limit: Duration) -> bool {
        if !self.reader.buffer().is_empty() {
            return true;
        }
        self.writer.set_read_timeout(Some(limit)).expect("a socket");
        let news = self.reader.fill_buf().map(|_| ());
        self.writer.set_read_timeout(Some(DEADLINE)).expect("a socket");
        !news.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Says that nothing more will be sent.
    pub fn shutdown_write(&mut self) {
        self.writer.shutdown(Shutdown::Write).expect("a connected socket");
    }

    /// Says that nothing more will be sent, unless the other side has gone.
    pub fn shutdown_write_if_open(&mut self) {
        let _ = self.writer.shutdown(Shutdown::Write);
    }

    /// Goes away with a reset, whatever is still to be read.
    pub fn reset(self) {
        self.writer.set_linger(Some(Duration::ZERO)).expect("a socket");
    }
}
