//! The words between a worker and its ring: completions instead of readiness.
//!
//! A worker asks for operations, waits, and is told what became of each. There are two owners of
//! this trait's other side: `ring::Uring` is the kernel, `sim::SimRing` the test's stand-in.
//!
//! ```text
//!            accept connect recv send watch_hangup            wait
//!   worker ----------------------------------------> ring ----------> worker
//!            token, descriptor, bytes by move             Event { token, what }
//! ```
//!
//! **Knows nothing of:** protocols, pools, the kernel.

mod buffer;
mod chain;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use buffer::{Buffer, POISON};
pub use chain::{Chain, Mark};

use crate::time::Instant;
use crate::token::Token;

/// What a worker can ask of its ring.
///
/// Operations are queued, and go to the kernel at the next `wait` (or earlier, when the queue is
/// full). A token may have one operation in flight, and a descriptor one of a kind; asking twice is
/// a bug. `checked::Checked` panics at whatever breaks this contract, on either side of it.
pub trait Ring {
    /// Accepts on `listener` until told otherwise: `Accepted` events, the last without `more`.
    fn accept(&mut self, token: Token, listener: Fd);

    /// Makes a socket and connects it, within `within` if given: one `Connected` event.
    ///
    /// The descriptor belongs to the caller at once, and is to be closed by `close` whatever the
    /// event says. `Err(ECANCELED)` in the event is the time limit, unless `cancel` was called.
    ///
    /// Errors: why no socket could be made (`EMFILE`, …); then no event follows.
    fn connect(
        &mut self,
        token: Token,
        to: &Address,
        within: Option<Duration>,
    ) -> Result<Fd, Errno>;

    /// Receives until the stream ends, an error, a `cancel`, or `within` has passed since now.
    ///
    /// `Received` events with `more`, then exactly one without; that one may carry data. The
    /// passing of `within` and `cancel` both end with `Err(ECANCELED)`: the caller knows whether
    /// it cancelled. `Err(ENOBUFS)`: the ring ran out of buffers, ask again after giving back.
    fn recv(&mut self, token: Token, fd: Fd, within: Option<Duration>);

    /// Sends from the front of `output`, at most `limits::SEND_BYTES_MAX` bytes of it: one `Sent`
    /// event, which gives the chain back as it was. The caller advances it and continues.
    ///
    /// `output` is not empty, and `fd` has no other send in flight.
    fn send(&mut self, token: Token, fd: Fd, output: Chain);

    /// Tells when both directions of `fd` are gone: one `HungUp` event. A half-close is not it.
    fn watch_hangup(&mut self, token: Token, fd: Fd);

    /// Asks for the end of the operation `target`. It has no event of its own: the target's last
    /// event says that it is over, and may still be a success. Nothing happens when it is over.
    fn cancel(&mut self, target: Token);

    /// Shuts down one or both directions, at once. Errors are of no interest to any caller: the
    /// socket may be gone already, and the operations on it say so.
    fn shutdown(&mut self, fd: Fd, how: How);

    /// Has the kernel probe a TCP connection, at once. A system that refuses it has a connection
    /// that works all the same, so nobody is told.
    fn keep_alive(&mut self, fd: Fd, how: KeepAlive);

    /// Where the other end of a connection is; `None` when it is no IP connection, or is gone.
    fn peer(&mut self, fd: Fd) -> Option<IpAddr>;

    /// Where both ends of a connection are; asked only where a client wants to know.
    fn ends(&mut self, fd: Fd) -> Ends;

    /// Closes `fd`, on which nothing is armed. `token` is its slot's `Close`; no event follows,
    /// and the slot is free.
    fn close(&mut self, token: Token, fd: Fd);

    /// Says `words`, perhaps none, to a socket that nothing is armed on, as far as it takes them at
    /// once, and closes it: for a client that is not let in.
    fn refuse(&mut self, fd: Fd, words: &[u8]);

    /// Gives a receive buffer back, for the kernel to fill again. All are back before the next
    /// `wait`: a ring has no more of them than one turn needs.
    fn give_back(&mut self, buffer: Buffer);

    /// Submits what was asked for, waits as `how` says, and appends what completed to `into`.
    /// Returns the time, read once, after the wait.
    ///
    /// It may return early, and with nothing: after a signal, or when the kernel asks for a retry.
    ///
    /// Errors: the ring cannot go on; the process should say so and end.
    fn wait(&mut self, how: Wait, into: &mut Vec<Event>) -> Result<Instant, WaitError>;
}

/// A completion.
#[derive(Debug)]
pub struct Event {
    /// Which operation.
    pub token: Token,
    /// What became of it.
    pub what: What,
}

/// What became of an operation.
#[derive(Debug)]
pub enum What {
    /// A connection came in, or the accept failed.
    Accepted {
        /// The new socket, non-blocking and close-on-exec.
        fd: Result<Fd, Errno>,
        /// Whether the accept is still armed.
        more: bool,
    },
    /// Bytes came in. `Ok` with no bytes is the end of the stream.
    Received {
        /// The bytes, to be given back with `Ring::give_back`.
        data: Result<Buffer, Errno>,
        /// Whether the receive is still armed.
        more: bool,
    },
    /// A send is over.
    Sent {
        /// How many bytes of the front of `output` were taken: at least 1, perhaps not all.
        bytes: Result<usize, Errno>,
        /// The chain as it was given, nothing removed. It comes back on failure too.
        output: Chain,
    },
    /// A connect is over.
    Connected(Result<(), Errno>),
    /// Both directions of a watched socket are gone, or `Err(ECANCELED)`: the watch was cancelled,
    /// or ended by itself for want of room for a completion.
    HungUp(Result<(), Errno>),
    /// The periodic tick, each `limits::TICK_MS`.
    Tick,
    /// A signal for the process, by number.
    Signal(i32),
    /// The mailbox was rung.
    Mail,
}

/// How long `Ring::wait` may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Return once this many completions are there; 0 takes what is there and does not sleep.
    pub want: u32,
    /// With `want` above 1: return after this long if at least one completion is there. Zero
    /// means none of that: return at the first.
    pub window: Duration,
}

/// Why `Ring::wait` cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// The kernel lost a completion for want of memory (`EBADR`).
    CompletionLost,
    /// `io_uring_enter` failed in a way that has no remedy.
    Enter(Errno),
    /// Signals or mail cannot be read any more; `EIO` is a read that was short.
    Read(Errno),
}

/// A descriptor number. Who opened it closes it, through the ring that it was handed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fd(pub i32);

/// An error number of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// The words of strerror(3), as twemproxy puts them behind `-ERR `: `Connection refused`.
    pub fn words(self) -> &'static str {
        match self.0 {
            libc::ECONNREFUSED => "Connection refused",
            libc::ETIMEDOUT => "Connection timed out",
            libc::ECONNRESET => "Connection reset by peer",
            libc::EPIPE => "Broken pipe",
            libc::EHOSTDOWN => "Host is down",
            libc::EHOSTUNREACH => "No route to host",
            libc::ENETUNREACH => "Network is unreachable",
            libc::EADDRNOTAVAIL => "Cannot assign requested address",
            libc::EINVAL => "Invalid argument",
            libc::ENOENT => "No such file or directory",
            libc::EACCES => "Permission denied",
            libc::EAGAIN => "Resource temporarily unavailable",
            libc::EMFILE => "Too many open files",
            libc::ENFILE => "Too many open files in system",
            libc::ENOBUFS => "No buffer space available",
            libc::ENOMEM => "Cannot allocate memory",
            _ => "unknown",
        }
    }
}

impl std::fmt::Debug for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "errno {} ({})", self.0, std::io::Error::from_raw_os_error(self.0))
    }
}

/// Which directions of a socket to shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// No more sends; the peer sees the end of the stream.
    Write,
    /// Neither sends nor receives; whatever is armed on the socket ends.
    Both,
}

/// Where a socket connects to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP over IPv4 or IPv6.
    Inet(SocketAddr),
    /// A unix stream socket. At most 107 bytes, which the configuration checks.
    Unix(PathBuf),
}

/// Where the two ends of a connection are, as far as the kernel says: a unix socket's client has no
/// address, and of a connection that is gone nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// The other end.
    pub peer: Option<Address>,
    /// Our end.
    pub local: Option<Address>,
}

/// How the kernel probes a TCP connection on which nothing comes. What is not given is as the
/// system has it (tcp(7): two hours, 75 seconds and nine probes, unless changed).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepAlive {
    /// The silence before the first probe: 1 to 32767 whole seconds.
    pub idle: Option<Duration>,
    /// The time between two probes: 1 to 32767 whole seconds.
    pub interval: Option<Duration>,
    /// Unanswered probes after which the connection has failed, 1 to 127.
    pub count: Option<u32>,
}

/// Where a server is, as far as it is known before a connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// An address, which needs no asking.
    Address(Address),
    /// The name of a host, to be looked up at each connect.
    Name {
        /// The name, as the resolver takes it.
        host: String,
        /// From 1.
        port: u16,
    },
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use crate::io::Errno;

    #[test]
    fn the_words_of_what_a_server_can_do_are_those_of_strerror() {
        let seen = [
            libc::ECONNREFUSED,
            libc::ETIMEDOUT,
            libc::ECONNRESET,
            libc::EPIPE,
            libc::EHOSTUNREACH,
            libc::ENETUNREACH,
            libc::ENOENT,
            libc::EACCES,
            // A unix socket with a full backlog.
            libc::EAGAIN,
        ];
        for errno in seen {
            let strerror = std::io::Error::from_raw_os_error(errno).to_string();
            assert_eq!(strerror, format!("{} (os error {errno})", Errno(errno).words()));
        }
    }
}
