//! Drives memcached or a proxy of it, the way `redis-benchmark` drives Redis: one thread, epoll,
//! each client asks again when all of its last requests are answered.

use crate::Failure;
use crate::cases::{Command, Load, Values};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// What a run showed.
pub struct Driven {
    pub requests: u64,
    pub rps: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// One client and what it has under way.
struct Peer {
    stream: TcpStream,
    /// Its requests, of which only the keys change.
    requests: Vec<u8>,
    sent: usize,
    received: usize,
    since: Instant,
}

/// What every request and every reply look like.
struct Shape {
    request: Vec<u8>,
    /// Where the digits of the key are in a request.
    digits: usize,
    reply_bytes: usize,
    /// What every reply ends with.
    end: &'static [u8],
}

/// Random enough for keys, and cheap.
struct Draw(u64);

/// Asks `port` for as long as `length`, and counts what was answered.
pub fn drive(load: &Load, port: u16, length: Duration) -> Result<Driven, Failure> {
    let shape = Shape::of(load.command, load.values)?;
    let pipeline = load.pipeline as usize;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut poll = Poll::new()?;
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    let mut peers = Vec::new();
    for index in 0..load.clients as usize {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(index), both)?;
        let requests = shape.request.repeat(pipeline);
        peers.push(Peer { stream, requests, sent: 0, received: 0, since: Instant::now() });
    }
    let began = Instant::now();
    for peer in &mut peers {
        peer.begin(&shape, load.values.keys, &mut draw)?;
    }
    let expected = shape.reply_bytes * pipeline;
    let mut latencies = Vec::new();
    let mut space = vec![0; 64 << 10];
    let mut events = Events::with_capacity(1024);
    let mut answered_at = began;
    while began.elapsed() < length {
        poll.poll(&mut events, Some(Duration::from_millis(100)))?;
        for event in &events {
            let peer = &mut peers[event.token().0];
            if event.is_writable() && peer.sent < peer.requests.len() {
                peer.write()?;
            }
            if event.is_readable() && peer.read(&mut space, expected, shape.end)? {
                answered_at = Instant::now();
                latencies.push((answered_at - peer.since).as_nanos() as u64);
                peer.begin(&shape, load.values.keys, &mut draw)?;
            }
        }
        if answered_at.elapsed() > STALLED {
            return Err(format!("memcached at {port} has answered nothing for {STALLED:?}").into());
        }
    }
    let requests = latencies.len() as u64 * u64::from(load.pipeline);
    latencies.sort_unstable();
    let percentile = |share: f64| {
        let index = (latencies.len() as f64 * share) as usize;
        latencies.get(index.min(latencies.len().saturating_sub(1))).map_or(0.0, |at| *at as f64)
    };
    Ok(Driven {
        requests,
        rps: requests as f64 / began.elapsed().as_secs_f64(),
        p50_ms: percentile(0.5) / 1e6,
        p99_ms: percentile(0.99) / 1e6,
    })
}

impl Shape {
    fn of(command: Command, values: Values) -> Result<Self, Failure> {
        let key = format!("key:{:012}", 0);
        let bytes = values.bytes;
        match command {
            Command::Get => Ok(Self {
                request: format!("get {key}\r\n").into_bytes(),
                digits: "get key:".len(),
                reply_bytes: format!("VALUE {key} 0 {bytes}\r\n\r\nEND\r\n").len() + bytes,
                end: b"\r\nEND\r\n",
            }),
            Command::Set => Ok(Self {
                request: format!("set {key} 0 0 {bytes}\r\n{}\r\n", "x".repeat(bytes)).into_bytes(),
                digits: "set key:".len(),
                reply_bytes: b"STORED\r\n".len(),
                end: b"STORED\r\n",
            }),
            Command::Mget | Command::Mset => Err("memcached is asked for one key at a time".into()),
        }
    }
}

impl Peer {
    /// Draws new keys, and sends as much as there is room for.
    fn begin(&mut self, shape: &Shape, keys: usize, draw: &mut Draw) -> Result<(), Failure> {
        for request in self.requests.chunks_exact_mut(shape.request.len()) {
            let mut number = draw.below(keys);
            for digit in request[shape.digits..shape.digits + 12].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
        self.sent = 0;
        self.received = 0;
        self.since = Instant::now();
        self.write()
    }

    fn write(&mut self) -> Result<(), Failure> {
        while self.sent < self.requests.len() {
            match self.stream.write(&self.requests[self.sent..]) {
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads what is there. Returns whether all replies have come.
    fn read(&mut self, space: &mut [u8], expected: usize, end: &[u8]) -> Result<bool, Failure> {
        loop {
            let bytes = match self.stream.read(space) {
                Ok(0) => return Err("memcached has closed the connection".into()),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            self.received += bytes;
            if self.received >= expected {
                let whole = self.received == expected && space[..bytes].ends_with(end);
                // The end may have come in two pieces, and then cannot be seen here.
                if !whole && bytes >= end.len() {
                    return Err("memcached gave another reply than was due".into());
                }
                return Ok(true);
            }
            // All that was there has been taken; more of it is told by another event.
            if bytes < space.len() {
                return Ok(false);
            }
        }
    }
}

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// No answer at all for so long is a fault of the rig.
const STALLED: Duration = Duration::from_secs(5);
