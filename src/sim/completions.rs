//! The completion queue of the simulated ring: how much one wait brings, and what finds no room.

use std::collections::VecDeque;

use crate::io::{Event, Fd, What};
use crate::token::Token;

/// Completions on their way to the worker.
///
/// ```text
///   an operation completes --room--> the wait's events
///                          --none--> late ------------> the next wait's events, first of all
/// ```
///
/// A multishot operation whose completion is late has ended with it, as in the kernel
/// (io_uring/io_uring.c: what cannot be posted becomes the final completion). Nothing is lost, and
/// nothing overtakes: once a completion of a wait is late, all after it are.
pub(super) struct Completions {
    late: VecDeque<Late>,
    /// Completions of the wait at hand, late ones not counted.
    brought: usize,
    /// After how many of them the wait is over.
    limit: usize,
    /// How many of them find room.
    room: usize,
}

struct Late {
    event: Event,
    /// The descriptor of an operation that is over, which its worker does not know yet.
    fd: Option<Fd>,
}

impl Completions {
    pub(super) fn new() -> Self {
        Self { late: VecDeque::new(), brought: 0, limit: 0, room: 0 }
    }

    /// A wait begins, of at most `limit` completions, of which `room` find room.
    pub(super) fn begin(&mut self, limit: usize, room: usize) {
        (self.brought, self.limit, self.room) = (0, limit, room);
    }

    /// Brings what was late, as far as there is room.
    pub(super) fn bring_late(&mut self, into: &mut Vec<Event>) {
        let count = self.late.len().min(self.room);
        into.extend(self.late.drain(..count).map(|late| late.event));
        self.brought += count;
    }

    /// Whether the next completion of this wait would be late.
    pub(super) fn is_full(&self) -> bool {
        self.brought >= self.room || !self.late.is_empty()
    }

    /// Whether this wait brings no more.
    pub(super) fn is_over(&self) -> bool {
        self.brought >= self.limit
    }

    /// A completion; `fd` is that of an operation that is over with it.
    pub(super) fn push(&mut self, token: Token, what: What, fd: Option<Fd>, into: &mut Vec<Event>) {
        let event = Event { token, what };
        if self.is_full() {
            self.late.push_back(Late { event, fd });
        } else {
            self.brought += 1;
            into.push(event);
        }
    }

    /// How many are late.
    pub(super) fn late(&self) -> usize {
        self.late.len()
    }

    /// Operations on `fd` that are over without their worker's knowledge.
    pub(super) fn unknown_ends(&self, fd: Fd) -> impl Iterator<Item = Token> {
        let on = self.late.iter().filter(move |late| late.fd == Some(fd));
        on.map(|late| late.event.token)
    }
}

/// A multishot completion made the last one of its operation.
pub(super) fn last(what: What) -> What {
    match what {
        What::Accepted { fd, .. } => What::Accepted { fd, more: false },
        What::Received { data, .. } => What::Received { data, more: false },
        what @ (What::Sent { .. }
        | What::Connected(_)
        | What::HungUp(_)
        | What::Tick
        | What::Signal(_)
        | What::Mail) => what,
    }
}
