//! Which descriptors there are, and what is armed on each.

use std::collections::HashMap;
use std::fmt;

use crate::io::Fd;
use crate::token::{OpKind, Token};

/// The descriptors that went through a ring.
///
/// One that it never saw is the caller's (a listener, a client that another worker accepted), and
/// is taken as open. A number that was closed may be another socket's from the next enter on, and
/// come back by an accept, a connect, or from another worker: only mail can bring that, so in a
/// turn with mail a closed number may be one that is new here.
#[derive(Default)]
pub(super) struct Descriptors {
    known: HashMap<Fd, Descriptor>,
    /// Whether the last wait brought mail.
    pub(super) may_be_introduced: bool,
}

struct Descriptor {
    state: State,
    /// One bit for each kind of operation that is in flight on it.
    armed: u16,
}

/// ```text
///                 accept --> Accepted --any use--------+
///                               |  ^                   v
///   connect() --> Connecting ---|--|---Connected(Ok)-> Open
///                     |         |  |                   |
///              Connected(Err)   |  +---- accept        |
///                     v         v                      |
///                Unconnected --> Closed <----close-----+
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Given out and not used since: it may have gone to another worker, who closes it.
    Accepted,
    Connecting,
    /// Its connect failed: it can only be closed.
    Unconnected,
    Open,
    Closed,
}

impl Descriptors {
    /// An operation is asked for on a socket that can take it.
    pub(super) fn begin(&mut self, token: Token, fd: Fd) {
        let descriptor = self.open(format_args!("{token:?}"), fd);
        let is_ready = !matches!(descriptor.state, State::Connecting | State::Unconnected);
        assert!(is_ready, "{token:?}: fd {} is not connected", fd.0);
        let bit = bit_of(token);
        let is_first = descriptor.armed & bit == 0;
        assert!(is_first, "{token:?}: fd {} has an operation of this kind in flight", fd.0);
        descriptor.armed |= bit;
    }

    /// The last event of an operation has come.
    pub(super) fn end(&mut self, token: Token, fd: Fd) {
        if let Some(descriptor) = self.known.get_mut(&fd) {
            descriptor.armed &= !bit_of(token);
        }
    }

    /// The ring gives out a connection that came in.
    pub(super) fn accepted(&mut self, token: Token, fd: Fd) {
        self.give_out(token, fd, Descriptor { state: State::Accepted, armed: 0 });
    }

    /// The ring gives out a socket that is being connected.
    pub(super) fn connecting(&mut self, token: Token, fd: Fd) {
        self.give_out(token, fd, Descriptor { state: State::Connecting, armed: bit_of(token) });
    }

    /// A connect is over.
    pub(super) fn connected(&mut self, fd: Fd, is_ok: bool) {
        let state = if is_ok { State::Open } else { State::Unconnected };
        if let Some(descriptor) = self.known.get_mut(&fd) {
            descriptor.state = state;
        }
    }

    /// Something is done to a socket by `what`, whatever its state but closed.
    pub(super) fn ask(&mut self, what: &str, fd: Fd) {
        self.open(format_args!("{what}"), fd);
    }

    /// A socket is closed by `who`.
    pub(super) fn close(&mut self, who: fmt::Arguments<'_>, fd: Fd) {
        let descriptor = self.open(who, fd);
        assert!(
            descriptor.armed == 0,
            "{who}: fd {} is closed with operations on it: {}",
            fd.0,
            Kinds(descriptor.armed)
        );
        descriptor.state = State::Closed;
    }

    /// The descriptor for a use of it by `who`, which takes it as open if it was not known.
    fn open(&mut self, who: fmt::Arguments<'_>, fd: Fd) -> &mut Descriptor {
        let fresh = Descriptor { state: State::Open, armed: 0 };
        let descriptor = self.known.entry(fd).or_insert(fresh);
        match descriptor.state {
            State::Closed => {
                assert!(self.may_be_introduced, "{who}: fd {} is closed", fd.0);
                descriptor.state = State::Open;
            }
            State::Accepted => descriptor.state = State::Open,
            State::Open | State::Connecting | State::Unconnected => {}
        }
        descriptor
    }

    fn give_out(&mut self, token: Token, fd: Fd, descriptor: Descriptor) {
        let previous = self.known.insert(fd, descriptor);
        let was_gone =
            previous.is_none_or(|old| matches!(old.state, State::Accepted | State::Closed));
        assert!(was_gone, "{token:?}: the ring gives out fd {}, which is open", fd.0);
    }
}

fn bit_of(token: Token) -> u16 {
    1 << token.op() as u16
}

/// Kinds of operations, by their bits, to be read.
struct Kinds(u16);

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [OpKind::Accept, OpKind::Recv, OpKind::Send, OpKind::Connect, OpKind::Hangup];
        f.debug_list().entries(all.iter().filter(|op| self.0 >> **op as u16 & 1 == 1)).finish()
    }
}
