//! The end in good order: nobody new is let in, and who is there gets what was asked for.
//!
//! ```text
//!   Mail::Drain -> listeners: cancel, last event, close
//!               -> clients:   no more requests; answered, taken, shut down, closed
//!                  servers:   closed once no client is left and nothing is owed
//!               -> Running::Drained
//! ```
//!
//! How long that may take is the caller's business: a client that takes nothing, or a server that
//! never answers, holds it up.

use crate::io::{Errno, Fd, Ring};
use crate::time::Instant;
use crate::token::{Key, OpKind, Role};
use crate::worker::Worker;

/// How far the end in good order has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Drain {
    /// It was not asked for.
    #[default]
    No,
    /// It is under way.
    UnderWay,
    /// Nothing is left, and the others have been told.
    Over,
}

impl<R: Ring> Worker<R> {
    pub(super) fn is_draining(&self) -> bool {
        self.drain != Drain::No
    }

    /// Lets nobody in from now on, and every client go when it has its replies.
    pub(super) fn begin_drain(&mut self, now: Instant) {
        if self.is_draining() {
            return;
        }
        self.drain = Drain::UnderWay;
        self.end_accepts();
        self.proxy.drain(now);
    }

    /// Asks for the end of each accept; a cancel can miss, so each tick asks again.
    pub(super) fn end_accepts(&mut self) {
        for index in 0..self.listeners.len() {
            let listener = &self.listeners[index];
            if listener.armed {
                self.ring.cancel(listener_key(index).token(OpKind::Accept));
            } else {
                self.close_listener(index);
            }
        }
    }

    /// An accept goes on, or ends, behind the drain's begin.
    pub(super) fn on_accepted_late(&mut self, key: Key, fd: Result<Fd, Errno>, more: bool) {
        let index = key.index as usize;
        self.listeners[index].armed = more;
        if let Ok(fd) = fd {
            self.turn_away(fd);
        }
        if !more {
            self.close_listener(index);
        }
    }

    /// Closes a listener that nothing is armed on, once.
    fn close_listener(&mut self, index: usize) {
        let listener = &mut self.listeners[index];
        if !listener.closed {
            listener.closed = true;
            self.ring.close(listener_key(index).token(OpKind::Close), listener.setup.fd);
        }
    }

    /// A client that came too late: accepted, or sent by another worker, behind the end's begin.
    pub(super) fn turn_away(&mut self, fd: Fd) {
        self.proxy.on_refused();
        self.ring.refuse(fd, b"");
    }

    /// At the end of a turn: closes the servers that are of no more use, and sees whether anything
    /// is left.
    pub(super) fn go_on_draining(&mut self, now: Instant) {
        if self.drain != Drain::UnderWay {
            return;
        }
        if self.proxy.slots().0 == 0 {
            self.proxy.close_idle_servers(now);
            self.carry_out_wants(now);
        }
        let is_closed = self.listeners.iter().all(|listener| listener.closed);
        if is_closed && self.proxy.slots() == (0, 0) {
            self.drain = Drain::Over;
            self.shared.on_drained();
        }
    }
}

/// The key of a listener; it has one use, so its generation is 0.
pub(super) fn listener_key(index: usize) -> Key {
    Key::new(Role::Listener, index as u32, 0)
}
