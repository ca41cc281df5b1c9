//! The statistics port: who connects is told the figures, and the connection is closed.
//!
//! ```text
//!   threads stats-0 .. stats-3, each:   accept -> report -> write -> let the peer finish -> close
//!                                         +--shut down: the thread ends
//! ```
//!
//! Nothing here reaches a worker: the figures are read where workers show them, and whoever
//! connects occupies one of a few threads for a bounded time. Those that come meanwhile wait in
//! the kernel's queue, which is bounded too.
//!
//! **Knows nothing of:** requests, pools' sockets, rings.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use log::warn;
use socket2::Socket;

use crate::limits::{
    STATS_LINGER, STATS_LINGER_BYTES_MAX, STATS_READERS_MAX, STATS_WAITING_MAX, STATS_WRITE_TIME,
};
use crate::stats::{Head, Layout};
use crate::sys::process;
use crate::sys::sockets::{self, Bound, ListenOn, ListenOptions};
use crate::worker::Shared;

/// The address of the statistics, which is taken, and where nobody can connect yet.
pub struct StatsPort {
    bound: Bound,
}

/// The statistics port while it answers.
pub struct Reporting(Arc<Reporter>);

/// What the threads share.
struct Reporter {
    listener: Socket,
    /// Nobody is answered any more.
    over: AtomicBool,
    layout: Layout,
    shared: Arc<Shared>,
    source: String,
    started: Instant,
}

impl StatsPort {
    /// Takes `address`, which is a host's name or number, with `port`, or the path of a unix
    /// socket with the permissions `mode`, if any. A socket that an earlier run left there is
    /// removed.
    ///
    /// Errors: the host has no address, or bind(2)'s: the port is taken, or not ours to take.
    pub fn bind(address: &str, port: u16, mode: Option<u32>) -> io::Result<Self> {
        if let Some(path) = unix_path(address) {
            return Self::bind_to(&ListenOn::Unix { path: path.to_path_buf(), mode });
        }
        let mut failed = io::Error::from(ErrorKind::NotFound);
        for address in (address, port).to_socket_addrs()? {
            match Self::bind_to(&ListenOn::Inet(address)) {
                Ok(port) => return Ok(port),
                Err(why) => failed = why,
            }
        }
        Err(failed)
    }

    fn bind_to(address: &ListenOn) -> io::Result<Self> {
        Ok(Self { bound: sockets::bind(address, ListenOptions::default())? })
    }

    /// Answers from now on. To be called after signals are blocked.
    ///
    /// Errors: another process was faster to listen, or a thread cannot be started.
    pub fn serve(self, layout: Layout, shared: Arc<Shared>) -> io::Result<Reporting> {
        let reporter = Arc::new(Reporter {
            listener: self.bound.listen_blocking(STATS_WAITING_MAX)?,
            over: AtomicBool::new(false),
            layout,
            shared,
            source: process::host_name(),
            started: Instant::now(),
        });
        for number in 0..STATS_READERS_MAX {
            let reporter = Arc::clone(&reporter);
            let thread = std::thread::Builder::new().name(format!("stats-{number}"));
            thread.spawn(move || reporter.run())?;
        }
        Ok(Reporting(reporter))
    }
}

impl Reporting {
    /// Lets go of the address at once, for another process. Who has connected is still answered;
    /// who waits to be is reset.
    pub fn end(self) {
        self.0.over.store(true, Ordering::Relaxed);
        // It wakes the threads, and the last of them closes the socket. An error means that it
        // does not listen, which is what is asked for.
        let _ = self.0.listener.shutdown(Shutdown::Both);
    }
}

/// The path, if the address of the statistics is that of a unix socket: it begins with a slash.
pub fn unix_path(address: &str) -> Option<&Path> {
    address.starts_with('/').then(|| Path::new(address))
}

impl Reporter {
    fn run(&self) {
        let mut logged: Option<Instant> = None;
        while !self.over.load(Ordering::Relaxed) {
            match self.listener.accept() {
                // A reader that fails has gone, or takes nothing: that is its own affair.
                Ok((stream, _)) => drop(self.answer(&stream)),
                Err(why) if why.kind() == ErrorKind::ConnectionAborted => {}
                // What its end is woken with.
                Err(_) if self.over.load(Ordering::Relaxed) => {}
                // Most likely there is no descriptor left; at once would be a busy loop.
                Err(why) => {
                    if logged.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) {
                        logged = Some(Instant::now());
                        warn!("statistics: accept: {why}");
                    }
                    std::thread::sleep(ACCEPT_INTERVAL);
                }
            }
        }
    }

    /// Writes the report, and then reads what the peer has sent until it has finished too: a
    /// close with something unread would reset the connection, and the report with it.
    fn answer(&self, stream: &Socket) -> io::Result<()> {
        write_within(stream, self.report().as_bytes(), STATS_WRITE_TIME)?;
        stream.shutdown(Shutdown::Write)?;
        let until = Instant::now() + STATS_LINGER;
        let mut left = STATS_LINGER_BYTES_MAX;
        let mut piece = [0; 1024];
        while left > 0 {
            stream.set_read_timeout(Some(time_left(until)?))?;
            match (&*stream).read(&mut piece)? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        Ok(())
    }

    fn report(&self) -> String {
        let head = Head {
            source: &self.source,
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: self.started.elapsed().as_secs(),
            timestamp_s: since_1970().as_secs(),
        };
        let mut total = self.layout.total(self.shared.blocks());
        // Ejection is of the whole process, and so is its record.
        let health = self.shared.health();
        for (pool, entry) in (0..).zip(&mut total.figures.pools) {
            entry.pool.server_ejects = health.ejects(pool);
            for (number, server) in (0..).zip(&mut entry.servers) {
                server.server_ejected_at = health.ejected_at_us(pool, number);
            }
        }
        self.layout.report(head, &total)
    }
}

/// Writes all of `bytes`, or fails with `TimedOut`: a peer that takes a byte now and then gets no
/// more time than one that takes none.
fn write_within(mut stream: &Socket, mut bytes: &[u8], limit: Duration) -> io::Result<()> {
    let until = Instant::now() + limit;
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(time_left(until)?))?;
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
    Ok(())
}

fn time_left(until: Instant) -> io::Result<Duration> {
    socket_time(until.saturating_duration_since(Instant::now()))
}

/// The timeout of a socket that may wait for `left`.
fn socket_time(left: Duration) -> io::Result<Duration> {
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left.max(SOCKET_TIME_MIN)) }
}

/// A clock that is set before 1970 counts as 1970.
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The kernel counts in microseconds, and takes none of them for no limit: socket(7), SO_SNDTIMEO.
const SOCKET_TIME_MIN: Duration = Duration::from_millis(1);
/// How long after a failed accept the next is tried.
const ACCEPT_INTERVAL: Duration = Duration::from_millis(100);
/// One line about failed accepts in this time, for each thread.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn who_takes_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let _reader = TcpStream::connect(address).expect("listening");
        let stream = Socket::from(listener.accept().expect("connected").0);
        let limit = Duration::from_millis(50);
        let begin = Instant::now();
        let why =
            write_within(&stream, &vec![b'x'; 64 << 20], limit).expect_err("it reads nothing");
        assert!(matches!(why.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock), "{why}");
        assert!(begin.elapsed() >= limit);
    }

    #[test]
    fn a_moment_that_is_left_is_not_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stream = Socket::from(TcpStream::connect(address).expect("listening"));
        for nanos in [1, 999, 1000] {
            let time = socket_time(Duration::from_nanos(nanos)).expect("there is time");
            stream.set_write_timeout(Some(time)).expect("a socket");
            assert!(stream.write_timeout().expect("a socket").is_some(), "{nanos} ns");
        }
        let why = socket_time(Duration::ZERO).expect_err("there is none");
        assert_eq!(why.kind(), ErrorKind::TimedOut);
        assert_eq!(socket_time(STATS_LINGER).expect("there is time"), STATS_LINGER);
    }

    #[test]
    fn a_host_without_an_address_is_refused() {
        assert!(StatsPort::bind("no such host", 1, None).is_err());
    }
}
