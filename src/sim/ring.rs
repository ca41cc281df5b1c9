//! The ring itself: operations asked for, virtual time, and the checks of the contract.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::io::{Address, Buffer, Chain, Errno, Event, Fd, How, Ring, Wait, WaitError, What};
use crate::limits::TICK_MS;
use crate::sim::buffers::Buffers;
use crate::sim::client::{Client, ClientScript, Outcome};
use crate::sim::faults::{Fault, Faults};
use crate::sim::ledger::Execution;
use crate::sim::network::Network;
use crate::sim::operation::{Operation, Step, Work, send_goal, step_hangup, step_recv, step_send};
use crate::sim::pipe::Writable;
use crate::sim::server::{Door, Server, ServerScript};
use crate::sim::trace::Who;
use crate::time::Instant;
use crate::token::{Flavour, Key, OpKind, Role, Token};

/// The stand-in for the kernel.
///
/// ```text
///            +------------------------- SimRing -------------------------+
///            | operations        links (two pipes each)         peers    |
///   worker --> Recv, Send, ...  <-------------------->  clients, servers |
///            |       random order, faults, one virtual clock             |
///            +-----------------------------------------------------------+
/// ```
///
/// It owns the peers: they act inside `wait`. A broken contract, a wrong reply and a panic of the
/// worker all print the seed and the last things that happened.
pub struct SimRing {
    seed: u64,
    net: Network,
    operations: BTreeMap<Token, Operation>,
    descriptors: BTreeMap<Fd, Descriptor>,
    buffers: Buffers,
    clients: Vec<Client>,
    servers: Vec<Server>,
    next_tick: Instant,
    /// Signals and mail.
    news: VecDeque<Event>,
    settings: Settings,
}

/// The size of a simulated world.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes that a socket holds in each direction.
    pub pipe_bytes: usize,
    /// Receive buffers of the ring.
    pub buffers: u16,
    /// Bytes of each.
    pub buffer_bytes: usize,
    /// Descriptors that may be open.
    pub descriptors_max: usize,
    /// The longest time that a connect takes.
    pub connect_time: Duration,
    /// What goes wrong.
    pub faults: Faults,
    /// From when on nothing goes wrong any more, from the beginning of the run.
    pub calm_from: Option<Duration>,
    /// How long after a server's trouble requests may still fail for it.
    pub grace: Duration,
}

enum Descriptor {
    Listener,
    Socket { link: usize, connected: bool },
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pipe_bytes: 4096,
            buffers: 16,
            buffer_bytes: 1024,
            descriptors_max: 1000,
            connect_time: Duration::from_millis(1),
            faults: Faults::default(),
            calm_from: None,
            grace: Duration::from_millis(500),
        }
    }
}

impl SimRing {
    /// A ring without peers. What happens on it, `seed` determines.
    pub fn new(seed: u64, settings: Settings) -> Self {
        Self {
            seed,
            net: Network::new(seed, &settings),
            operations: BTreeMap::new(),
            descriptors: BTreeMap::new(),
            buffers: Buffers::new(settings.buffers, settings.buffer_bytes),
            clients: Vec::new(),
            servers: Vec::new(),
            next_tick: Instant::from_nanos(0) + TICK,
            news: VecDeque::new(),
            settings,
        }
    }

    /// A listening socket, to be accepted on.
    pub fn listen(&mut self) -> Fd {
        let fd = self.open(Descriptor::Listener).expect("a listener is opened first");
        self.net.backlogs.insert(fd, VecDeque::new());
        fd
    }

    /// Starts a server; the result is its index.
    pub fn add_server(&mut self, at: Address, script: ServerScript) -> usize {
        self.net.ledger.add_server();
        self.servers.push(Server::new(self.servers.len(), at, script));
        self.servers.len() - 1
    }

    /// Adds a client; the result is its index.
    pub fn add_client(&mut self, script: ClientScript) -> usize {
        self.clients.push(Client::new(self.clients.len(), script));
        self.clients.len() - 1
    }

    /// Accepts the connection that has waited longest on `listener`, as another worker would. The
    /// descriptor goes to whoever serves it.
    pub fn accept_elsewhere(&mut self, listener: Fd) -> Option<Fd> {
        let link = *self.net.backlogs.get(&listener)?.front()?;
        let fd = self.open(Descriptor::Socket { link, connected: true })?;
        self.net.backlogs.get_mut(&listener)?.pop_front();
        Some(fd)
    }

    /// The signal `number` arrives.
    pub fn signal(&mut self, number: i32) {
        let token = Key::WORKER.token(OpKind::Signal);
        self.news.push_back(Event { token, what: What::Signal(number) });
    }

    /// The mailbox is rung.
    pub fn mail(&mut self) {
        let token = Key::WORKER.token(OpKind::Mail);
        self.news.push_back(Event { token, what: What::Mail });
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.net.now
    }

    /// What happens by chance, and how often it has.
    pub fn faults(&mut self) -> &mut Faults {
        &mut self.net.faults
    }

    /// What client `index` has seen.
    pub fn outcome(&self, index: usize) -> &Outcome {
        self.clients[index].outcome()
    }

    /// The text that server `index` has under `key`.
    pub fn stored(&self, index: usize, key: &[u8]) -> Option<&[u8]> {
        self.servers[index].data().text(key)
    }

    /// Every request with a mark that a server has carried out.
    pub fn executions(&self) -> impl Iterator<Item = &Execution> {
        self.net.ledger.executions()
    }

    /// Requests that server `index` has carried out.
    pub fn carried_out(&self, index: usize) -> u64 {
        self.servers[index].requests()
    }

    /// A sum over everything that happened, in order: the same for the same run.
    pub fn fingerprint(&self) -> u64 {
        self.net.trace.fingerprint()
    }

    /// Clients that were added.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Whether the worker holds nothing any more but its listeners and its servers.
    pub fn is_quiet(&self) -> bool {
        self.unrest().is_empty()
    }

    /// What the worker still holds, and which clients are not finished: one line each.
    pub fn unrest(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.clients.iter().filter(|client| !client.is_gone()).map(Client::describe).collect();
        if self.buffers.away() > 0 {
            lines.push(format!("{} buffers are not back", self.buffers.away()));
        }
        for (token, operation) in &self.operations {
            let fleeting = matches!(token.op(), OpKind::Send | OpKind::Connect | OpKind::Hangup);
            if token.key().role == Role::Client || fleeting {
                lines.push(format!("{token:?} is in flight on fd {}", operation.fd().0));
            }
        }
        let server = |fd: &Fd| self.armed(*fd).any(|token| token.key().role == Role::Server);
        for (fd, descriptor) in &self.descriptors {
            if matches!(descriptor, Descriptor::Socket { .. }) && !server(fd) {
                lines.push(format!("fd {} is open, and no server's", fd.0));
            }
        }
        lines
    }

    fn armed(&self, fd: Fd) -> impl Iterator<Item = Token> {
        self.operations
            .iter()
            .filter(move |(_, operation)| operation.fd() == fd)
            .map(|(token, _)| *token)
    }

    fn open(&mut self, descriptor: Descriptor) -> Option<Fd> {
        if self.descriptors.len() >= self.settings.descriptors_max {
            return None;
        }
        // As the kernel does, the lowest number that is free: a stale one soon hits somebody else.
        let fd = (FIRST_FD..).map(Fd).find(|fd| !self.descriptors.contains_key(fd))?;
        self.descriptors.insert(fd, descriptor);
        Some(fd)
    }

    /// The link of a socket that may be used: its connect has succeeded.
    fn link(&self, fd: Fd, token: Token) -> usize {
        match self.descriptors.get(&fd) {
            Some(&Descriptor::Socket { link, connected: true }) => link,
            Some(Descriptor::Socket { .. }) => panic!("{token:?}: fd {} is not connected", fd.0),
            Some(Descriptor::Listener) => panic!("{token:?}: fd {} is a listener", fd.0),
            None => panic!("{token:?}: fd {} is not open", fd.0),
        }
    }

    fn shut(&mut self, fd: Fd) {
        let armed: Vec<Token> = self.armed(fd).collect();
        assert!(armed.is_empty(), "close: fd {} has {armed:?} in flight", fd.0);
        match self.descriptors.remove(&fd) {
            Some(Descriptor::Socket { link, .. }) => {
                self.net.links[link].ring_close(&mut self.net.random);
            }
            Some(Descriptor::Listener) => {
                self.net.backlogs.remove(&fd);
            }
            None => panic!("close: fd {} is not open", fd.0),
        }
    }

    fn start(&mut self, token: Token, op: OpKind, work: Work) {
        assert_eq!(token.op(), op, "{token:?} names another operation");
        assert_eq!(token.flavour(), Flavour::Plain, "{token:?} is not for a worker to use");
        let operation = Operation::new(work);
        let fd = operation.fd();
        assert!(
            self.armed(fd).all(|other| other.op() != op),
            "{token:?}: fd {} has such an operation in flight",
            fd.0
        );
        self.net.note(Who::Operation(token), "asked on fd", fd.0 as usize);
        let earlier = self.operations.insert(token, operation);
        assert!(earlier.is_none(), "{token:?} is in flight already");
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

    /// Lets operations that are ready go on, in any order.
    fn complete_some(&mut self, into: &mut Vec<Event>) {
        if self.net.now >= self.next_tick {
            while self.next_tick <= self.net.now {
                self.next_tick = self.next_tick + TICK;
            }
            into.push(Event { token: Key::WORKER.token(OpKind::Tick), what: What::Tick });
        }
        into.extend(self.news.drain(..));
        let mut ready: Vec<Token> = self
            .operations
            .iter()
            .filter(|(_, operation)| self.is_ready(operation))
            .map(|(token, _)| *token)
            .collect();
        self.net.random.shuffle(&mut ready);
        for token in ready {
            if self.net.happens(Fault::LateCompletion) {
                continue;
            }
            let operation = self.operations.remove(&token).expect("it is ready");
            let step = match operation.work {
                Work::Accept { listener } => self.step_accept(operation, listener),
                Work::Connect { fd, server, .. } => self.step_connect(operation, fd, server),
                Work::Recv { .. } => step_recv(operation, &mut self.net, &mut self.buffers),
                Work::Send { .. } => step_send(operation, &mut self.net),
                Work::Hangup { .. } => step_hangup(operation, &self.net),
            };
            let what = match step {
                Step::GoesOn(operation, what) => {
                    self.operations.insert(token, operation);
                    what
                }
                Step::Over(what) => Some(what),
            };
            if let Some(what) = what {
                self.net.trace.note_event(self.net.now, token, &what);
                into.push(Event { token, what });
            }
        }
    }

    fn step_accept(&mut self, operation: Operation, listener: Fd) -> Step {
        let backlog = self.net.backlogs.get(&listener).map_or(0, VecDeque::len);
        if operation.cancelled && (backlog == 0 || self.net.random.chance(500)) {
            return Step::Over(What::Accepted { fd: Err(Errno(libc::ECANCELED)), more: false });
        }
        let full = self.net.happens(Fault::AcceptNoDescriptor);
        let link = self.net.backlogs.get(&listener).and_then(|backlog| backlog.front().copied());
        let link = link.expect("an accept that is ready has somebody to accept");
        let fd = match full {
            true => None,
            false => self.open(Descriptor::Socket { link, connected: true }),
        };
        let Some(fd) = fd else {
            return Step::Over(What::Accepted { fd: Err(Errno(libc::EMFILE)), more: false });
        };
        self.net.backlogs.get_mut(&listener).expect("as above").pop_front();
        match self.net.happens(Fault::MultishotEnds) {
            true => Step::Over(What::Accepted { fd: Ok(fd), more: false }),
            false => Step::GoesOn(operation, Some(What::Accepted { fd: Ok(fd), more: true })),
        }
    }

    fn step_connect(&mut self, operation: Operation, fd: Fd, server: Option<usize>) -> Step {
        let Work::Connect { answered, deadline, .. } = operation.work else {
            unreachable!("a connect")
        };
        let door = self.door(server);
        let answered = answered <= self.net.now && door != Door::Silent;
        let overdue = operation.cancelled || deadline.is_some_and(|time| time <= self.net.now);
        if overdue && (!answered || self.net.random.chance(500)) {
            return Step::Over(What::Connected(Err(Errno(libc::ECANCELED))));
        }
        match (door, server, self.descriptors.get_mut(&fd)) {
            (Door::Open, Some(server), Some(Descriptor::Socket { link, connected })) => {
                *connected = true;
                self.servers[server].greet(*link, self.net.now);
                Step::Over(What::Connected(Ok(())))
            }
            _ => {
                self.net.faults.count(Fault::ServerRefuses);
                self.net.trouble(server);
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
            Who::Operation(_) | Who::Descriptor(_) => unreachable!("no peer"),
        }
        true
    }

    /// Nothing can happen now: goes to the time at which something can.
    fn jump(&mut self) {
        let now = self.net.now;
        let operations = self.operations.values().filter_map(|operation| operation.timer(now));
        let clients = self.clients.iter().filter_map(|client| client.timer(now));
        let servers = self.servers.iter().filter_map(|server| server.timer(now));
        let next = operations.chain(clients).chain(servers).min();
        let next = next.map_or(self.next_tick, |time| time.min(self.next_tick));
        self.net.now = next.max(now);
    }

    fn pass(&mut self, longest: Duration) {
        self.net.now = self.net.now + self.net.random.time_up_to(longest);
    }
}

impl Ring for SimRing {
    fn accept(&mut self, token: Token, listener: Fd) {
        let known = matches!(self.descriptors.get(&listener), Some(Descriptor::Listener));
        assert!(known, "{token:?}: fd {} is no listener", listener.0);
        self.start(token, OpKind::Accept, Work::Accept { listener });
    }

    fn connect(
        &mut self,
        token: Token,
        to: &Address,
        within: Option<Duration>,
    ) -> Result<Fd, Errno> {
        let server = self.servers.iter().position(|server| server.address == *to);
        if self.net.happens(Fault::ConnectNoDescriptor) {
            self.net.trouble(server);
            return Err(Errno(libc::EMFILE));
        }
        let link = self.net.connect();
        let socket = Descriptor::Socket { link, connected: false };
        let fd = self.open(socket).ok_or(Errno(libc::EMFILE))?;
        let answered = self.net.now + self.net.random.time_up_to(self.settings.connect_time);
        let deadline = within.map(|time| self.net.now + time);
        let work = Work::Connect { fd, server, answered, deadline };
        self.start(token, OpKind::Connect, work);
        Ok(fd)
    }

    fn recv(&mut self, token: Token, fd: Fd, within: Option<Duration>) {
        let link = self.link(fd, token);
        let deadline = within.map(|time| self.net.now + time);
        self.start(token, OpKind::Recv, Work::Recv { fd, link, deadline });
    }

    fn send(&mut self, token: Token, fd: Fd, output: Chain) {
        let link = self.link(fd, token);
        assert!(!output.is_empty(), "{token:?} sends nothing");
        let goal = send_goal(&output);
        self.start(token, OpKind::Send, Work::Send { fd, link, output, taken: 0, goal });
    }

    fn watch_hangup(&mut self, token: Token, fd: Fd) {
        let link = self.link(fd, token);
        self.start(token, OpKind::Hangup, Work::Hangup { fd, link });
    }

    fn cancel(&mut self, target: Token) {
        if let Some(operation) = self.operations.get_mut(&target) {
            operation.cancelled = true;
            self.net.note(Who::Operation(target), "cancel", 0);
        }
    }

    fn shutdown(&mut self, fd: Fd, how: How) {
        self.net.note(Who::Descriptor(fd), "shutdown", 0);
        match (self.descriptors.get(&fd), how) {
            (Some(&Descriptor::Socket { link, .. }), How::Write) => {
                self.net.links[link].ring_shut_write();
            }
            (Some(&Descriptor::Socket { link, .. }), How::Both) => {
                self.net.links[link].ring_shut_both();
            }
            (Some(Descriptor::Listener), _) => {}
            (None, _) => panic!("shutdown: fd {} is not open", fd.0),
        }
    }

    fn close(&mut self, token: Token, fd: Fd) {
        assert_eq!(token.op(), OpKind::Close, "{token:?} names another operation");
        self.net.note(Who::Operation(token), "asked on fd", fd.0 as usize);
        self.shut(fd);
    }

    fn refuse(&mut self, fd: Fd, words: &[u8]) {
        self.net.note(Who::Descriptor(fd), "refused", words.len());
        if let Some(&Descriptor::Socket { link, connected: true }) = self.descriptors.get(&fd)
            && let Writable::Room(room) = self.net.links[link].ring_writable()
        {
            self.net.links[link].ring_write(&words[..words.len().min(room)]);
        }
        self.shut(fd);
    }

    fn give_back(&mut self, buffer: Buffer) {
        self.buffers.give_back(buffer);
    }

    fn wait(&mut self, how: Wait, into: &mut Vec<Event>) -> Result<Instant, WaitError> {
        let before = into.len();
        self.pass(TURN_TIME_MAX);
        if self.net.happens(Fault::EarlyWait) {
            return Ok(self.net.now);
        }
        for _ in 0..self.net.random.between(0, 2 * (self.clients.len() + self.servers.len())) {
            self.act();
        }
        loop {
            self.complete_some(into);
            let done = into.len() - before;
            if how.want == 0
                || done >= how.want as usize
                || (done > 0 && (how.window.is_zero() || self.net.random.chance(300)))
            {
                return Ok(self.net.now);
            }
            let ready = self.operations.values().any(|operation| self.is_ready(operation));
            if self.act() || ready {
                self.pass(STEP_TIME_MAX);
            } else if done > 0 {
                self.pass(how.window);
                return Ok(self.net.now);
            } else {
                self.jump();
            }
        }
    }
}

impl Drop for SimRing {
    /// Whatever went wrong, this is what it takes to see it again.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let unrest = self.unrest().join("\n");
            eprintln!("{}{unrest}\nreplay this with SEED={}", self.net.trace, self.seed);
        }
    }
}

const TICK: Duration = Duration::from_millis(TICK_MS);

/// The first descriptor number that is given out: those below belong to the process.
const FIRST_FD: i32 = 10;

/// The longest time between two waits of a worker.
const TURN_TIME_MAX: Duration = Duration::from_micros(20);

/// The longest time that passes between two things that happen in a wait.
const STEP_TIME_MAX: Duration = Duration::from_micros(5);
