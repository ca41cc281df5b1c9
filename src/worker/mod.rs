//! A worker: one ring, and everything on it.
//!
//! ```text
//!   turn:  wait -> copy completions out -> dispatch each -> ready list -> carry out wants
//!           ^                                                                  |
//!           +------------------ submit: one system call for all ---------------+
//! ```
//!
//! One call brings what the kernel has worked off: with deferred task work that is at most 20
//! completions, or as many as were waited for (Linux 6.18, measured with 1,000 ready sockets).
//!
//! **Knows nothing of:** protocols, keys, routing. It holds sockets and carries out what the
//! proxy wants.

mod census;
mod dispatch;
mod drain;
mod ejection;
mod health;
mod mailbox;
mod pace;
mod resolver;
mod socket;
mod wants;

use std::collections::VecDeque;
use std::sync::Arc;

use log::{info, warn};

pub use ejection::Ejection;
pub use health::Health;
pub use mailbox::{Mail, Mailbox, Shared};
pub use resolver::{Asker, Resolver};

use crate::config::Access;
use crate::io::{Address, Errno, Event, Fd, Ring, WaitError, What};
use crate::limits::Limits;
use crate::proxy::{Counters, Holdings, Occupancy, PoolSetup, Proxy, Sign, Want};
use crate::time::Instant;
use crate::token::{Key, OpKind};
use crate::worker::drain::{Drain, listener_key};
use crate::worker::pace::Pace;
use crate::worker::socket::{Socket, Sockets};

/// What a worker is told at its start.
pub struct Setup {
    /// Which of `shared`'s workers this is.
    pub number: usize,
    /// All pools of the process.
    pub pools: Vec<PoolSetup>,
    /// The listeners that this worker accepts on; one worker has all of them, the others none.
    pub listeners: Vec<ListenerSetup>,
    /// What clients and servers are held to.
    pub limits: Limits,
    /// For the `random` distribution.
    pub seed: u64,
    /// What all workers share.
    pub shared: Arc<Shared>,
}

/// A listening socket.
#[derive(Clone, Debug)]
pub struct ListenerSetup {
    /// The socket; the worker closes it when it drains.
    pub fd: Fd,
    /// The pool that its clients belong to.
    pub pool: u32,
    /// The pool's `client_connections`.
    pub clients_max: Option<u32>,
    /// The clients that are let in.
    pub access: Access,
}

/// Whether there is a next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    /// There is.
    On,
    /// A signal came; what it means is the caller's business.
    Signal(i32),
    /// The worker was told to drain, and nothing is left. Its caller may go on turning it, to hear
    /// signals.
    Drained,
    /// The worker was told to stop.
    Stop,
}

/// One worker over a ring.
pub struct Worker<R: Ring> {
    ring: R,
    proxy: Proxy,
    sockets: Sockets,
    listeners: Vec<Listener>,
    number: usize,
    clients_max: usize,
    shared: Arc<Shared>,
    started: bool,
    /// Whether the end of the worker was asked for.
    stopping: bool,
    drain: Drain,
    /// Signals that the caller has not been told of.
    signals: VecDeque<i32>,
    tick_due: bool,
    pace: Pace,
    /// Events of the turn; kept for its memory.
    events: Vec<Event>,
    /// Wants of the turn; kept for its memory.
    wants: Vec<Want>,
    /// Signs of the turn; kept for its memory.
    signs: Vec<Sign>,
    /// Up to which change the servers' health is known.
    health_version: u64,
    /// Sockets whose receive has ended and is to be armed again, if it is still wanted.
    rearm: Vec<Key>,
    /// Sockets whose receive found no buffer; a few are armed again each turn.
    starved: VecDeque<Key>,
    /// How many of them.
    starved_max: usize,
    /// Sockets that are closing; each tick asks again for the end of what is armed.
    closing: Vec<Key>,
    /// Sockets in their last words, for their clock.
    last_words: Vec<Key>,
}

struct Listener {
    setup: ListenerSetup,
    /// True exactly when the accept is in flight.
    armed: bool,
    /// It has been closed, and is never used again.
    closed: bool,
    /// When a failed accept was last logged.
    logged: Option<Instant>,
}

impl<R: Ring> Worker<R> {
    /// A worker that has not had its first turn.
    pub fn new(ring: R, setup: Setup) -> Self {
        let listeners = setup.listeners.into_iter();
        let proxy = Proxy::new(setup.pools, setup.limits.clone(), setup.seed)
            .with_process(Arc::clone(setup.shared.process()));
        setup.shared.show_at(setup.number, Arc::clone(proxy.stats()));
        Self {
            ring,
            clients_max: setup.limits.clients_max,
            starved_max: usize::from(setup.limits.recv_buffers).div_ceil(2),
            proxy,
            sockets: Sockets::default(),
            listeners: listeners
                .map(|setup| Listener { setup, armed: false, closed: false, logged: None })
                .collect(),
            number: setup.number,
            shared: setup.shared,
            started: false,
            stopping: false,
            drain: Drain::No,
            signals: VecDeque::new(),
            tick_due: false,
            pace: Pace::new(setup.limits.gather_time),
            events: Vec::new(),
            wants: Vec::new(),
            signs: Vec::new(),
            health_version: 0,
            rearm: Vec::new(),
            starved: VecDeque::new(),
            closing: Vec::new(),
            last_words: Vec::new(),
        }
    }

    /// One turn: waits for completions, handles them, and asks for what follows.
    ///
    /// Errors: the ring cannot go on; the process should end.
    pub fn turn(&mut self) -> Result<Running, WaitError> {
        let is_idle = self.started
            && !self.proxy.has_ready()
            && self.starved.is_empty()
            && self.signals.is_empty();
        let mut events = std::mem::take(&mut self.events);
        let now = self.ring.wait(self.pace.next(is_idle), &mut events)?;
        if !self.started {
            self.started = true;
            self.proxy.start(now);
            self.accept_all();
        }
        self.follow_health(now);
        for event in events.drain(..) {
            self.dispatch(now, event);
        }
        self.events = events;
        self.report_health(now);
        self.proxy.run_ready(now);
        // After the replies of this turn: a worker that was kept from running finds a tick and
        // the replies together, and none of those requests is overdue.
        if std::mem::take(&mut self.tick_due) {
            self.on_tick(now);
        }
        self.carry_out_wants(now);
        self.report_health(now);
        self.go_on_draining(now);
        if self.stopping {
            return Ok(Running::Stop);
        }
        let otherwise = if self.drain == Drain::Over { Running::Drained } else { Running::On };
        Ok(self.signals.pop_front().map_or(otherwise, Running::Signal))
    }

    /// The ring.
    pub fn ring(&mut self) -> &mut R {
        &mut self.ring
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.proxy.counters()
    }

    /// Slots in use: clients, and server connections.
    pub fn slots(&self) -> (usize, usize) {
        self.proxy.slots()
    }

    /// What its clients and servers hold.
    pub fn holdings(&self) -> Holdings {
        let mut held = self.proxy.holdings();
        held.listed += self.rearm.len() + self.starved.len();
        held.listed += self.closing.len() + self.last_words.len();
        held
    }

    fn dispatch(&mut self, now: Instant, event: Event) {
        let key = event.token.key();
        match event.what {
            What::Received { data, more } => self.on_received(now, key, data, more),
            What::Sent { bytes, output } => self.on_sent(now, key, bytes, output),
            What::Accepted { fd, more } => self.on_accepted(now, key, fd, more),
            What::Connected(result) => self.on_connected(now, key, result),
            What::HungUp(result) => self.on_hung_up(now, key, result),
            What::Tick => self.tick_due = true,
            What::Signal(number) => self.signals.push_back(number),
            What::Mail => self.read_mail(now),
        }
    }

    fn on_tick(&mut self, now: Instant) {
        self.proxy.on_tick(now);
        self.pace.on_tick(self.proxy.counters().requests);
        self.accept_all();
        self.tick_last_words(now);
        self.tick_closing();
        if self.drain == Drain::UnderWay {
            self.end_accepts();
        }
    }

    fn read_mail(&mut self, now: Instant) {
        while let Some(mail) = self.shared.mailbox(self.number).take() {
            match mail {
                Mail::Client { fd, pool } if self.is_draining() => {
                    self.shared.remove_client(self.number, pool);
                    self.turn_away(fd);
                }
                Mail::Client { fd, pool } => self.serve(fd, pool),
                Mail::Resolved { key, address } => {
                    self.proxy.on_resolved(now, key, address.map(Address::Inet));
                }
                Mail::Round(round) => self.go_on(now, round),
                Mail::Drain => self.begin_drain(now),
                Mail::Stop => self.stopping = true,
            }
        }
    }

    /// Arms the accept of every listener that has none in flight.
    fn accept_all(&mut self) {
        if self.is_draining() {
            return;
        }
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            if !listener.armed {
                listener.armed = true;
                let token = listener_key(index).token(OpKind::Accept);
                self.ring.accept(token, listener.setup.fd);
            }
        }
    }

    fn on_accepted(&mut self, now: Instant, key: Key, fd: Result<Fd, Errno>, more: bool) {
        if self.is_draining() {
            return self.on_accepted_late(key, fd, more);
        }
        let listener = &mut self.listeners[key.index as usize];
        listener.armed = more;
        match fd {
            Ok(fd) => {
                self.admit(fd, key.index as usize);
                if !more {
                    self.accept_all();
                }
            }
            // A connection that was gone before it was accepted; the next one may be there. Each
            // of these takes one out, so this ends.
            Err(Errno(libc::ECONNABORTED)) => self.accept_all(),
            // Most likely there is no descriptor left. The next tick tries again, or the next
            // close of one; at once would be a busy loop.
            Err(why) => {
                if listener.logged.is_none_or(|last| now - last >= LOG_INTERVAL) {
                    listener.logged = Some(now);
                    warn!("accept: {}; trying again each tick", why.words());
                }
            }
        }
    }

    fn admit(&mut self, fd: Fd, listener: usize) {
        let listener = &self.listeners[listener].setup;
        if !listener.access.is_open() && !listener.access.allows(self.ring.peer(fd)) {
            self.proxy.on_denied();
            return self.ring.refuse(fd, b"");
        }
        let pool = listener.pool;
        let occupancy = Occupancy {
            clients: self.shared.clients(),
            clients_max: self.clients_max,
            pool_clients: self.shared.pool_clients(pool),
            pool_clients_max: listener.clients_max,
            protocol: self.proxy.protocol(listener.pool),
        };
        if let Err(words) = occupancy.admit() {
            self.proxy.on_refused();
            return self.ring.refuse(fd, words);
        }
        let worker = self.shared.fewest(pool);
        if worker != self.number {
            let mail = Mail::Client { fd, pool };
            self.shared.add_client(worker, pool);
            if self.shared.mailbox(worker).post(mail).is_ok() {
                return;
            }
            self.shared.remove_client(worker, pool);
        }
        self.shared.add_client(self.number, pool);
        self.serve(fd, pool);
    }

    /// Takes a client in that has been counted.
    fn serve(&mut self, fd: Fd, pool: u32) {
        let key = self.proxy.on_accept(pool);
        let mut socket = Socket::new(key, fd, false);
        socket.wants_recv = true;
        self.sockets.insert(socket);
        self.rearm.push(key);
    }

    /// Says at the end what there was.
    pub fn log_summary(&self) {
        let counters = self.proxy.counters();
        let number = self.number;
        info!("worker {number} has seen {counters}");
    }
}

/// One line about failed accepts in this time.
const LOG_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);

#[cfg(test)]
mod tests;
