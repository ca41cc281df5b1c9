//! The contract of `io::Ring`, watched from between the two sides.
//!
//! ```text
//!   worker ---what it asks---> Checked<R> ---the same---> R: a ring
//!          <---the same-------            <---events-----
//!           its fault: panic               its fault: panic
//! ```
//!
//! What is broken here shows itself far away and much later: bytes of one client with another, a
//! socket that is never closed. So the program runs on it in a debug build, and with that in every
//! test that starts the program; a release build has the bare ring.
//!
//! **Knows nothing of:** the kernel, and which ring it watches.

mod descriptors;
mod fingerprint;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::io::{
    Address, Buffer, Chain, Ends, Errno, Event, Fd, How, KeepAlive, Ring, Wait, WaitError, What,
};
use crate::limits::SEND_BYTES_MAX;
use crate::time::Instant;
use crate::token::{Flavour, Key, OpKind, Token};
use descriptors::Descriptors;
use fingerprint::Fingerprint;

/// A ring whose contract is watched. It adds nothing to what the ring does, but that a buffer which
/// is given back is overwritten.
///
/// Panics, from any method, when the caller or the ring breaks the contract, with the token and the
/// descriptor; and when it is dropped while the caller still has buffers.
///
/// Caller: a token names its method's operation, and has one in flight; a descriptor has one
/// operation of a kind; it is used once it is connected, and not after its close; it is closed when
/// nothing is armed on it; buffers come back once, before the next wait.
///
/// Ring: an event is of an operation in flight, of its kind, and none follows its last; what was to
/// be sent comes back as it was; a buffer or descriptor that the caller has is not given out
/// again; time does not go back.
pub struct Checked<R: Ring> {
    inner: R,
    operations: HashMap<Token, Operation>,
    descriptors: Descriptors,
    /// The places of the buffers that the caller has.
    lent: HashSet<u16>,
    /// What the last wait returned.
    now: Instant,
    /// Whether a wait has failed: then the caller ends, in whatever it was doing.
    broken: bool,
}

/// An operation in flight.
#[derive(Clone, Copy)]
struct Operation {
    fd: Fd,
    /// What a send was given.
    output: Option<Fingerprint>,
}

impl<R: Ring> From<R> for Checked<R> {
    /// Watches a ring that nothing has been asked of.
    fn from(inner: R) -> Self {
        Self {
            inner,
            operations: HashMap::new(),
            descriptors: Descriptors::default(),
            lent: HashSet::new(),
            now: Instant::default(),
            broken: false,
        }
    }
}

impl<R: Ring> Checked<R> {
    /// The ring that is watched.
    pub const fn inner(&self) -> &R {
        &self.inner
    }

    /// The ring that is watched. What is asked of it directly is not seen here.
    pub const fn inner_mut(&mut self) -> &mut R {
        &mut self.inner
    }

    /// How many operations are in flight; the ring's own are not counted.
    pub fn armed(&self) -> usize {
        self.operations.len()
    }

    /// The caller asks for an operation on a descriptor.
    fn begin(&mut self, token: Token, op: OpKind, fd: Fd, output: Option<Fingerprint>) {
        self.is_free(token, op);
        self.descriptors.begin(token, fd);
        self.operations.insert(token, Operation { fd, output });
    }

    /// Asserts that `token` names an operation `op` which can be asked for.
    fn is_free(&self, token: Token, op: OpKind) {
        names(token, op);
        if let Some(earlier) = self.operations.get(&token) {
            panic!("{token:?}: it is in flight already, on fd {}", earlier.fd.0);
        }
    }

    /// The ring tells of something.
    fn on_event(&mut self, event: &Event) {
        let token = event.token;
        let (op, is_last) = nature(&event.what);
        assert!(
            token.op() == op && token.flavour() == Flavour::Plain,
            "{token:?}: the ring answers it with {:?}",
            event.what
        );
        if matches!(op, OpKind::Tick | OpKind::Signal | OpKind::Mail) {
            assert!(
                token.key() == Key::WORKER,
                "{token:?}: the ring's own events are the worker's"
            );
            self.descriptors.may_be_introduced |= op == OpKind::Mail;
            return;
        }
        let operation = self.operations.get(&token).copied();
        let Some(operation) = operation else {
            panic!("{token:?}: the ring tells of {:?}, and it is not in flight", event.what);
        };
        if is_last {
            self.operations.remove(&token);
            self.descriptors.end(token, operation.fd);
        }
        match &event.what {
            What::Accepted { fd: Ok(fd), .. } => self.descriptors.accepted(token, *fd),
            What::Received { data, more } => self.on_received(token, operation.fd, data, *more),
            What::Sent { bytes, output } => on_sent(token, operation, *bytes, output),
            What::Connected(result) => self.descriptors.connected(operation.fd, result.is_ok()),
            What::Accepted { fd: Err(_), .. }
            | What::HungUp(_)
            | What::Tick
            | What::Signal(_)
            | What::Mail => {}
        }
    }

    fn on_received(&mut self, token: Token, fd: Fd, data: &Result<Buffer, Errno>, more: bool) {
        let fd = fd.0;
        let buffer = match data {
            Ok(buffer) => buffer,
            Err(why) => {
                return assert!(!more, "{token:?}: fd {fd}: it failed ({why:?}), and yet goes on");
            }
        };
        assert!(!more || !buffer.is_empty(), "{token:?}: fd {fd}: the end goes on");
        let is_whole = buffer.is_empty() || buffer.home().is_some();
        assert!(is_whole, "{token:?}: fd {fd}: bytes arrived in a buffer that is not the ring's");
        if let Some(home) = buffer.home() {
            let is_new = self.lent.insert(home);
            assert!(is_new, "{token:?}: fd {fd}: buffer {home} is filled while it is lent");
        }
    }
}

impl<R: Ring> Ring for Checked<R> {
    fn accept(&mut self, token: Token, listener: Fd) {
        self.begin(token, OpKind::Accept, listener, None);
        self.inner.accept(token, listener);
    }

    fn connect(
        &mut self,
        token: Token,
        to: &Address,
        within: Option<Duration>,
    ) -> Result<Fd, Errno> {
        self.is_free(token, OpKind::Connect);
        let fd = self.inner.connect(token, to, within)?;
        self.descriptors.connecting(token, fd);
        self.operations.insert(token, Operation { fd, output: None });
        Ok(fd)
    }

    fn recv(&mut self, token: Token, fd: Fd, within: Option<Duration>) {
        self.begin(token, OpKind::Recv, fd, None);
        self.inner.recv(token, fd, within);
    }

    fn send(&mut self, token: Token, fd: Fd, output: Chain) {
        assert!(!output.is_empty(), "{token:?}: fd {}: there is nothing to send", fd.0);
        self.begin(token, OpKind::Send, fd, Some(Fingerprint::of(&output)));
        self.inner.send(token, fd, output);
    }

    fn watch_hangup(&mut self, token: Token, fd: Fd) {
        self.begin(token, OpKind::Hangup, fd, None);
        self.inner.watch_hangup(token, fd);
    }

    fn cancel(&mut self, target: Token) {
        let op = target.op();
        let is_own = matches!(op, OpKind::Close | OpKind::Tick | OpKind::Signal | OpKind::Mail);
        assert!(
            !is_own && target.flavour() == Flavour::Plain,
            "{target:?}: it is not for a caller to cancel"
        );
        self.inner.cancel(target);
    }

    fn shutdown(&mut self, fd: Fd, how: How) {
        self.descriptors.ask("shutdown", fd);
        self.inner.shutdown(fd, how);
    }

    fn keep_alive(&mut self, fd: Fd, how: KeepAlive) {
        self.descriptors.ask("keep_alive", fd);
        self.inner.keep_alive(fd, how);
    }

    fn peer(&mut self, fd: Fd) -> Option<IpAddr> {
        self.descriptors.ask("peer", fd);
        self.inner.peer(fd)
    }

    fn ends(&mut self, fd: Fd) -> Ends {
        self.descriptors.ask("ends", fd);
        self.inner.ends(fd)
    }

    fn close(&mut self, token: Token, fd: Fd) {
        names(token, OpKind::Close);
        self.descriptors.close(format_args!("{token:?}"), fd);
        self.inner.close(token, fd);
    }

    fn refuse(&mut self, fd: Fd, words: &[u8]) {
        self.descriptors.close(format_args!("refuse"), fd);
        self.inner.refuse(fd, words);
    }

    fn give_back(&mut self, mut buffer: Buffer) {
        if let Some(home) = buffer.home() {
            assert!(self.lent.remove(&home), "buffer {home} is given back, and was not lent");
        }
        buffer.poison();
        self.inner.give_back(buffer);
    }

    fn wait(&mut self, how: Wait, into: &mut Vec<Event>) -> Result<Instant, WaitError> {
        let lent = self.lent.len();
        assert!(lent == 0, "wait: {lent} buffers have not been given back");
        self.descriptors.may_be_introduced = false;
        let before = into.len();
        let waited = self.inner.wait(how, into);
        assert!(into.len() >= before, "wait: the ring took events away");
        for event in &into[before..] {
            self.on_event(event);
        }
        let Ok(now) = waited else {
            self.broken = true;
            return waited;
        };
        assert!(now >= self.now, "wait: time went back from {:?} to {now:?}", self.now);
        self.now = now;
        waited
    }
}

impl<R: Ring> Drop for Checked<R> {
    fn drop(&mut self) {
        if !self.broken && !std::thread::panicking() {
            let lent = self.lent.len();
            assert!(lent == 0, "the ring ends, and {lent} buffers have not been given back");
        }
    }
}

/// Asserts that a token is that of an operation `op`.
fn names(token: Token, op: OpKind) {
    assert!(token.op() == op, "{token:?}: it names another operation than {op:?}");
    assert!(token.flavour() == Flavour::Plain, "{token:?}: it is not for a caller to use");
}

/// What kind of operation an event is of, and whether it is the last of it.
const fn nature(what: &What) -> (OpKind, bool) {
    match what {
        What::Accepted { more, .. } => (OpKind::Accept, !*more),
        What::Received { more, .. } => (OpKind::Recv, !*more),
        What::Sent { .. } => (OpKind::Send, true),
        What::Connected(_) => (OpKind::Connect, true),
        What::HungUp(_) => (OpKind::Hangup, true),
        What::Tick => (OpKind::Tick, false),
        What::Signal(_) => (OpKind::Signal, false),
        What::Mail => (OpKind::Mail, false),
    }
}

fn on_sent(token: Token, operation: Operation, bytes: Result<usize, Errno>, output: &Chain) {
    let fd = operation.fd.0;
    let is_same = operation.output == Some(Fingerprint::of(output));
    assert!(is_same, "{token:?}: fd {fd}: the output comes back changed");
    if let Ok(bytes) = bytes {
        let most = output.len().min(SEND_BYTES_MAX);
        assert!((1..=most).contains(&bytes), "{token:?}: fd {fd}: {bytes} bytes sent of {most}");
    }
}
