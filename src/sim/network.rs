//! What the ring and its peers share: the connections, the clock and chance.

use std::collections::{BTreeMap, VecDeque};

use crate::io::Fd;
use crate::sim::faults::{Fault, Faults};
use crate::sim::health::Trouble;
use crate::sim::ledger::Ledger;
use crate::sim::pipe::Link;
use crate::sim::random::Random;
use crate::sim::settings::Settings;
use crate::sim::trace::{Trace, Who};
use crate::time::Instant;

/// The world outside the ring, except for the peers themselves.
pub(super) struct Network {
    pub(super) now: Instant,
    pub(super) random: Random,
    pub(super) faults: Faults,
    pub(super) trace: Trace,
    pub(super) ledger: Ledger,
    pub(super) links: Vec<Link>,
    /// Connections that wait to be accepted, by listener.
    pub(super) backlogs: BTreeMap<Fd, VecDeque<usize>>,
    pipe_bytes: usize,
    /// From when on nothing goes wrong any more.
    calm_from: Option<Instant>,
}

impl Network {
    pub(super) fn new(seed: u64, settings: &Settings) -> Self {
        let start = Instant::from_nanos(0);
        Self {
            now: start,
            random: Random::new(seed),
            faults: settings.faults.clone(),
            trace: Trace::new(settings.trace_notes_max),
            ledger: Ledger::default(),
            links: Vec::new(),
            backlogs: BTreeMap::new(),
            pipe_bytes: settings.pipe_bytes,
            calm_from: settings.calm_from.map(|time| start + time),
        }
    }

    /// A new connection, by its index. Indices are not used again.
    pub(super) fn connect(&mut self) -> usize {
        self.links.push(Link::new(self.pipe_bytes));
        self.links.len() - 1
    }

    /// Whether `fault` happens now; counts it when it does.
    pub(super) fn happens(&mut self, fault: Fault) -> bool {
        let happens = self.may_happen(fault);
        if happens {
            self.count(fault);
        }
        happens
    }

    /// Whether `fault` is to happen, if there turns out to be something that it changes; then
    /// `count` is due.
    pub(super) fn may_happen(&mut self, fault: Fault) -> bool {
        !self.is_calm() && self.faults.may_happen(fault, &mut self.random)
    }

    /// Whether nothing goes wrong any more.
    pub(super) fn is_calm(&self) -> bool {
        self.calm_from.is_some_and(|time| time <= self.now)
    }

    /// Counts a fault that has changed what happened.
    pub(super) fn count(&mut self, fault: Fault) {
        self.faults.count(fault);
        self.trace.note_fault(self.now, fault);
    }

    /// The ring has received on a connection: perhaps a reply that nobody has asked for.
    pub(super) fn on_read(&mut self, link: usize) {
        let Some(server) = self.links[link].server else { return };
        let health = self.ledger.health(server);
        if self.links[link].read_garbage() {
            health.trouble(self.now, Trouble::BadReply);
        }
        if let Some(doubled) = self.links[link].read_doubled() {
            health.trouble(self.now, Trouble::BadReply);
            // Some request was on its way: its client may be given the reply, and nobody could
            // have known better.
            if self.links[link].is_in_use() {
                health.doubled(self.now, doubled);
            }
        }
    }

    /// The ring tells of the end of a connection. It is a server's trouble if the server did it.
    pub(super) fn on_end(&mut self, link: usize, what: Trouble) {
        if self.links[link].is_at_fault {
            self.trouble(self.links[link].server, what);
        }
    }

    /// A server, if there is one, has given requests a reason to fail.
    pub(super) fn trouble(&mut self, server: Option<usize>, what: Trouble) {
        if let Some(server) = server {
            self.ledger.health(server).trouble(self.now, what);
        }
    }

    /// The worker ends a connection, or the attempt to make one.
    pub(super) fn on_given_up(&mut self, server: Option<usize>) {
        if let Some(server) = server {
            self.ledger.given_up(server, self.now);
        }
    }

    /// A connect that was asked for at `since` has not succeeded so far.
    pub(super) fn on_waited(&mut self, server: Option<usize>, since: Instant) {
        if let Some(server) = server {
            self.ledger.waited(server, since, self.now);
        }
    }

    pub(super) fn note_plain(&mut self, who: Who, what: &'static str) {
        self.trace.note_plain(self.now, who, what);
    }

    pub(super) fn note(&mut self, who: Who, what: &'static str, count: usize) {
        self.trace.note(self.now, who, what, count as i64);
    }
}
