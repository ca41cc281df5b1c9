//! What happens inside a wait: operations go on, peers act, and time passes.

use std::collections::VecDeque;
use std::time::Duration;

use crate::io::{Errno, Event, Fd, Wait, What};
use crate::limits::TICK_MS;
use crate::sim::client::Client;
use crate::sim::completions::last;
use crate::sim::faults::Fault;
use crate::sim::health::Trouble;
use crate::sim::operation::{Operation, Step, Work, step_hangup, step_recv, step_send};
use crate::sim::ring::{Descriptor, SimRing};
use crate::sim::server::Door;
use crate::sim::trace::Who;
use crate::token::{Key, OpKind, Token};

impl SimRing {
    /// What was asked for since the last wait goes to the kernel.
    pub(super) fn submit(&mut self, how: Wait) {
        let took = self.turns.end(how, self.net.now);
        self.net.now = self.net.now + took;
        self.pass(TURN_TIME_MAX);
        for (token, fd) in std::mem::take(&mut self.closes) {
            self.shut(fd);
            self.net.note(Who::Operation(token), "fd # is closed", fd.0 as usize);
        }
        let returned = self.buffers.publish();
        if returned > 0 {
            self.net.note(Who::Worker, "gives # buffers back", returned);
        }
        let watches = self.operations.values_mut();
        for watch in watches.filter(|operation| matches!(operation.work, Work::Hangup { .. })) {
            watch.gives_up |= self.net.may_happen(Fault::WatchEnds);
        }
    }

    /// Waits, as `Ring::wait` says, with peers and operations taking turns.
    pub(super) fn wait_for_events(&mut self, how: Wait, into: &mut Vec<Event>) {
        let before = into.len();
        for _ in 0..self.net.random.between(0, 2 * (self.clients.len() + self.servers.len())) {
            self.act();
        }
        let limit = self.settings.completions_max.max(how.want as usize);
        let (limit, room) = (self.fewer(limit), self.room());
        self.completions.begin(limit, room);
        self.completions.bring_late(into);
        loop {
            self.complete_some(into);
            let done = into.len() - before;
            if how.want == 0
                || done >= how.want as usize
                || self.completions.is_over()
                || self.completions.late() > 0
                || (done > 0 && (how.window.is_zero() || self.net.random.chance(300)))
            {
                return;
            }
            let ready = self.operations.values().any(|operation| self.is_ready(operation));
            if self.act() || ready {
                self.pass(STEP_TIME_MAX);
            } else if done > 0 {
                return self.pass(how.window);
            } else {
                self.jump();
            }
        }
    }

    /// After how many completions the wait is over, if not after `limit`.
    fn fewer(&mut self, limit: usize) -> usize {
        match self.net.may_happen(Fault::FewCompletions) {
            true => self.net.random.between(1, limit.min(FEW)),
            false => limit,
        }
    }

    /// How many completions find room in the queue.
    fn room(&mut self) -> usize {
        match self.net.may_happen(Fault::QueueFull) {
            true => self.net.random.between(0, self.settings.queue_entries.min(FEW)),
            false => self.settings.queue_entries,
        }
    }

    /// Lets operations that are ready go on, in any order.
    fn complete_some(&mut self, into: &mut Vec<Event>) {
        if self.net.now >= self.next_tick {
            while self.next_tick <= self.net.now {
                self.next_tick = self.next_tick + TICK;
            }
            self.bring(Key::WORKER.token(OpKind::Tick), What::Tick, None, into);
        }
        while let Some(Event { token, what }) = self.news.pop_front() {
            self.bring(token, what, None, into);
        }
        let mut ready: Vec<Token> = self
            .operations
            .iter()
            .filter(|(_, operation)| self.is_ready(operation))
            .map(|(token, _)| *token)
            .collect();
        self.net.random.shuffle(&mut ready);
        for token in ready {
            if self.completions.is_over() {
                return self.net.count(Fault::FewCompletions);
            }
            if self.net.happens(Fault::LateCompletion) {
                self.net.note_plain(Who::Operation(token), "is held back");
            } else {
                self.run(token, into);
            }
        }
    }

    /// Lets an operation go on. A multishot one may bring several completions in a row, as in the
    /// kernel, which receives and accepts until there is nothing left.
    fn run(&mut self, token: Token, into: &mut Vec<Event>) {
        loop {
            let brought = into.len();
            self.step(token, into);
            let goes_on = self.operations.get(&token).is_some_and(|next| self.is_ready(next));
            let again = into.len() > brought && goes_on && !self.completions.is_over();
            if !again || !self.net.random.chance(500) {
                return;
            }
        }
    }

    fn step(&mut self, token: Token, into: &mut Vec<Event>) {
        let operation = self.operations.remove(&token).expect("it is ready");
        let fd = operation.fd();
        let step = match operation.work {
            Work::Accept { listener } => self.step_accept(operation, listener),
            Work::Connect { fd, server, .. } => self.step_connect(operation, fd, server),
            Work::Recv { .. } => step_recv(operation, &mut self.net, &mut self.buffers),
            Work::Send { .. } => step_send(operation, &mut self.net),
            Work::Hangup { .. } => step_hangup(operation, &mut self.net),
        };
        self.turns.on_happening(self.net.now);
        match step {
            Step::GoesOn(_, Some(what)) if self.completions.is_full() => {
                self.net.count(Fault::QueueFull);
                self.bring(token, last(what), Some(fd), into);
            }
            Step::GoesOn(operation, what) => {
                self.operations.insert(token, operation);
                if let Some(what) = what {
                    self.bring(token, what, None, into);
                }
            }
            Step::Over(what) => self.bring(token, what, Some(fd), into),
        }
    }

    /// A completion for the worker; `fd` is that of an operation that is over with it.
    fn bring(&mut self, token: Token, what: What, fd: Option<Fd>, into: &mut Vec<Event>) {
        self.net.trace.note_event(self.net.now, token, &what);
        match &what {
            What::Received { data: Ok(data), .. } => self.turns.on_bytes(data.len()),
            What::Sent { bytes: Ok(bytes), .. } => self.turns.on_bytes(*bytes),
            What::Accepted { fd: Ok(_), .. } | What::Connected(Ok(())) => self.turns.on_moved(),
            What::Received { .. }
            | What::Sent { .. }
            | What::Accepted { fd: Err(_), .. }
            | What::Connected(Err(_))
            | What::HungUp(_)
            | What::Tick
            | What::Signal(_)
            | What::Mail => {}
        }
        self.completions.push(token, what, fd, into);
    }

    fn is_ready(&self, operation: &Operation) -> bool {
        let answered = match operation.work {
            Work::Connect { server, answered, .. } => {
                answered <= self.net.now && self.door(server) != Door::Silent
            }
            Work::Accept { .. } | Work::Recv { .. } | Work::Send { .. } | Work::Hangup { .. } => {
                false
            }
        };
        answered || operation.is_ready(&self.net)
    }

    fn door(&self, server: Option<usize>) -> Door {
        server.map_or(Door::Refusing, |index| self.servers[index].door())
    }

    fn step_accept(&mut self, operation: Operation, listener: Fd) -> Step {
        let failed = |errno| Step::Over(What::Accepted { fd: Err(Errno(errno)), more: false });
        let backlog = self.net.backlogs.get(&listener).map_or(0, VecDeque::len);
        if operation.cancelled && (backlog == 0 || self.net.random.chance(500)) {
            return failed(libc::ECANCELED);
        }
        if self.lacks_descriptors() {
            return failed(libc::EMFILE);
        }
        let link = self.net.backlogs.get(&listener).and_then(|backlog| backlog.front().copied());
        let link = link.expect("an accept that is ready has somebody to accept");
        // The kernel fails the accept of a connection that it has taken out already, and accepts
        // others that are gone: their receive says so.
        if !self.net.links[link].is_peer_open() && self.net.happens(Fault::AcceptAborted) {
            self.take_from_backlog(listener);
            self.net.links[link].ring_close(&mut self.net.random);
            return failed(libc::ECONNABORTED);
        }
        let fd = self.open(Descriptor::Socket { link, connected: true, accepted: true });
        self.take_from_backlog(listener);
        match self.net.happens(Fault::MultishotEnds) {
            true => Step::Over(What::Accepted { fd: Ok(fd), more: false }),
            false => Step::GoesOn(operation, Some(What::Accepted { fd: Ok(fd), more: true })),
        }
    }

    /// Whether an accept finds no descriptor: so many are open that it may have none, or chance
    /// has had others take what there is, for some time or until one is closed.
    fn lacks_descriptors(&mut self) -> bool {
        let is_accepted = |&descriptor: &&Descriptor| {
            matches!(descriptor, Descriptor::Socket { accepted: true, .. })
        };
        let accepted = self.descriptors.values().filter(is_accepted).count();
        let mut lacks = accepted >= self.settings.accepted_max
            || self.scarce_until.is_some_and(|time| self.net.now < time && !self.net.is_calm());
        if !lacks && self.net.may_happen(Fault::AcceptNoDescriptor) {
            self.scarce_until = Some(self.net.now + self.net.random.time_up_to(SCARCE_MAX));
            lacks = true;
        }
        if lacks {
            self.net.count(Fault::AcceptNoDescriptor);
        }
        lacks
    }

    fn take_from_backlog(&mut self, listener: Fd) {
        let backlog = self.net.backlogs.get_mut(&listener);
        backlog.expect("a listener has one").pop_front();
    }

    fn step_connect(&mut self, operation: Operation, fd: Fd, server: Option<usize>) -> Step {
        let Work::Connect { since, answered, deadline, .. } = operation.work else {
            unreachable!("a connect")
        };
        let door = self.door(server);
        let answered = answered <= self.net.now && door != Door::Silent;
        let overdue = operation.cancelled || deadline.is_some_and(|time| time <= self.net.now);
        let succeeds = answered && door == Door::Open;
        if overdue && !operation.cancelled {
            // Even if it succeeds, what waits for it is overdue as well. A worker that has called
            // it off has its reasons, and makes no excuse by it.
            self.net.on_waited(server, since);
        }
        if overdue && !(succeeds && self.net.happens(Fault::ConnectBeatsCancel)) {
            return Step::Over(What::Connected(Err(Errno(libc::ECANCELED))));
        }
        if self.net.happens(Fault::ConnectFails) {
            let (errno, what) = self.net.random.pick(&CONNECT_FAILURES);
            self.net.trouble(server, what);
            return Step::Over(What::Connected(Err(Errno(errno))));
        }
        match (door, server, self.descriptors.get_mut(&fd)) {
            (Door::Open, Some(server), Some(Descriptor::Socket { link, connected, .. })) => {
                *connected = true;
                self.net.links[*link].server = Some(server);
                self.servers[server].greet(*link, self.net.now);
                Step::Over(What::Connected(Ok(())))
            }
            _ => {
                self.net.count(Fault::ServerRefuses);
                self.net.trouble(server, Trouble::Refused);
                Step::Over(What::Connected(Err(Errno(libc::ECONNREFUSED))))
            }
        }
    }

    /// Lets one peer that can do something do it. False when none can.
    fn act(&mut self) -> bool {
        let clients = (0..self.clients.len()).filter(|&at| self.clients[at].is_ready(&self.net));
        let mut ready: Vec<Who> = clients.map(Who::Client).collect();
        let servers = (0..self.servers.len()).filter(|&at| self.servers[at].is_ready(&self.net));
        ready.extend(servers.map(Who::Server));
        if ready.is_empty() {
            return false;
        }
        match self.net.random.pick(&ready) {
            Who::Client(index) => self.clients[index].act(&mut self.net),
            Who::Server(index) => self.servers[index].act(&mut self.net),
            Who::Operation(_) | Who::Descriptor(_) | Who::Worker | Who::Fault(_) => {
                unreachable!("no peer")
            }
        }
        self.turns.on_happening(self.net.now);
        self.turns.on_moved();
        true
    }

    /// Nothing can happen now: goes to the time at which something can.
    fn jump(&mut self) {
        let now = self.net.now;
        let operations = self.operations.values().filter_map(|operation| operation.timer(now));
        let clients = self.clients.iter().filter_map(|client| client.timer(now));
        let servers = self.servers.iter().filter_map(|server| server.timer(now));
        let next = operations.chain(clients).chain(servers).min();
        if next.is_none() && self.clients.iter().any(|client| !client.is_gone()) {
            self.turns.sleep_until(self.next_tick);
        }
        if self.settings.ticks_heal_nothing && next.is_none_or(|time| time >= now + TICK) {
            let waiting = self.clients.iter().find(|client| client.is_waiting());
            let waiting = waiting.map(Client::describe);
            assert!(waiting.is_none(), "only ticks are left to happen: {waiting:?}");
        }
        let next = next.map_or(self.next_tick, |time| time.min(self.next_tick));
        self.net.now = next.max(now);
    }

    fn pass(&mut self, longest: Duration) {
        self.net.now = self.net.now + self.net.random.time_up_to(longest);
    }
}

/// The time between two ticks.
pub(super) const TICK: Duration = Duration::from_millis(TICK_MS);

/// The longest time between two waits of a worker, besides what it takes to do what it did.
const TURN_TIME_MAX: Duration = Duration::from_micros(20);

/// The longest time that passes between two things that happen in a wait.
const STEP_TIME_MAX: Duration = Duration::from_micros(5);

/// What a connect may fail with, besides a refusal and its deadline.
const CONNECT_FAILURES: [(i32, Trouble); 4] = [
    (libc::ETIMEDOUT, Trouble::TimedOut),
    (libc::EHOSTUNREACH, Trouble::NoRoute),
    (libc::ENETUNREACH, Trouble::NoNetwork),
    (libc::EADDRNOTAVAIL, Trouble::NoPort),
];

/// For how long others have all descriptors, at most.
const SCARCE_MAX: Duration = Duration::from_millis(150);

/// How many completions a wait still brings, at most, when chance has it bring few.
const FEW: usize = 4;
