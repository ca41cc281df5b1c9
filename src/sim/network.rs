//! What the ring and its peers share: the connections, the clock and chance.

use std::collections::{BTreeMap, VecDeque};

use crate::io::Fd;
use crate::sim::faults::{Fault, Faults};
use crate::sim::pipe::Link;
use crate::sim::random::Random;
use crate::sim::trace::{Trace, Who};
use crate::time::Instant;

/// The world outside the ring, except for the peers themselves.
pub(super) struct Network {
    pub(super) now: Instant,
    pub(super) random: Random,
    pub(super) faults: Faults,
    pub(super) trace: Trace,
    pub(super) links: Vec<Link>,
    /// Connections that wait to be accepted, by listener.
    pub(super) backlogs: BTreeMap<Fd, VecDeque<usize>>,
    pipe_bytes: usize,
}

impl Network {
    pub(super) fn new(seed: u64, pipe_bytes: usize, faults: Faults) -> Self {
        Self {
            now: Instant::from_nanos(0),
            random: Random::new(seed),
            faults,
            trace: Trace::default(),
            links: Vec::new(),
            backlogs: BTreeMap::new(),
            pipe_bytes,
        }
    }

    /// A new connection, by its index. Indices are not used again.
    pub(super) fn connect(&mut self) -> usize {
        self.links.push(Link::new(self.pipe_bytes));
        self.links.len() - 1
    }

    pub(super) fn happens(&mut self, fault: Fault) -> bool {
        let happens = self.faults.happens(fault, &mut self.random);
        if happens {
            self.trace.note_fault(self.now, fault);
        }
        happens
    }

    /// Whether `fault` is to happen, if there turns out to be something that it changes; then
    /// `count` is due.
    pub(super) fn may_happen(&mut self, fault: Fault) -> bool {
        self.faults.may_happen(fault, &mut self.random)
    }

    /// Counts a fault that has changed what happened.
    pub(super) fn count(&mut self, fault: Fault) {
        self.faults.count(fault);
        self.trace.note_fault(self.now, fault);
    }

    pub(super) fn note_plain(&mut self, who: Who, what: &'static str) {
        self.trace.note_plain(self.now, who, what);
    }

    pub(super) fn note(&mut self, who: Who, what: &'static str, count: usize) {
        self.trace.note(self.now, who, what, count as i64);
    }
}
