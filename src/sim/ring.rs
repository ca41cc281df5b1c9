//! The ring itself: operations asked for, the peers, and the checks of the contract.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::io::{
    Address, Buffer, Chain, Ends, Errno, Event, Fd, How, KeepAlive, Ring, Wait, WaitError, What,
};
use crate::sim::buffers::Buffers;
use crate::sim::client::{Client, ClientScript, Outcome};
use crate::sim::completions::Completions;
use crate::sim::fate::ServerScript;
use crate::sim::faults::{Fault, Faults};
use crate::sim::health::Trouble;
use crate::sim::network::Network;
use crate::sim::operation::{Operation, Work, send_goal};
use crate::sim::pipe::Writable;
use crate::sim::pubsub::Published;
use crate::sim::server::Server;
use crate::sim::settings::Settings;
use crate::sim::trace::Who;
use crate::sim::turns::Turns;
use crate::sim::wait::TICK;
use crate::time::Instant;
use crate::token::{Key, OpKind, Role, Token};

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
    pub(super) net: Network,
    pub(super) operations: BTreeMap<Token, Operation>,
    pub(super) descriptors: BTreeMap<Fd, Descriptor>,
    /// Descriptors that the next wait closes.
    pub(super) closes: Vec<(Token, Fd)>,
    pub(super) buffers: Buffers,
    pub(super) completions: Completions,
    pub(super) turns: Turns,
    pub(super) clients: Vec<Client>,
    pub(super) servers: Vec<Server>,
    pub(super) next_tick: Instant,
    /// Until when an accept finds no descriptor, unless one is closed before.
    pub(super) scarce_until: Option<Instant>,
    /// Signals and mail.
    pub(super) news: VecDeque<Event>,
    pub(super) settings: Settings,
}

/// What a descriptor number stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Descriptor {
    Listener,
    Socket {
        link: usize,
        connected: bool,
        accepted: bool,
    },
    /// The number is still taken, and nobody may use it.
    Closing {
        link: Option<usize>,
    },
}

impl SimRing {
    /// A ring without peers. What happens on it, `seed` determines.
    pub fn new(seed: u64, settings: Settings) -> Self {
        Self {
            seed,
            net: Network::new(seed, &settings),
            operations: BTreeMap::new(),
            descriptors: BTreeMap::new(),
            closes: Vec::new(),
            buffers: Buffers::new(settings.buffers, settings.buffer_bytes),
            completions: Completions::new(),
            turns: Turns::new(),
            clients: Vec::new(),
            servers: Vec::new(),
            next_tick: Instant::from_nanos(0) + TICK,
            scarce_until: None,
            news: VecDeque::new(),
            settings,
        }
    }

    /// A listening socket, to be accepted on.
    pub fn listen(&mut self) -> Fd {
        let fd = self.open(Descriptor::Listener);
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
        let fd = self.open(Descriptor::Socket { link, connected: true, accepted: true });
        self.net.backlogs.get_mut(&listener)?.pop_front();
        Some(fd)
    }

    /// The worker was busy for `time` with something that its ring does not see.
    pub fn spend(&mut self, time: Duration) {
        self.turns.on_spent(time);
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

    /// How long the pool has its requests wait: nobody may give a server up earlier.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.net.ledger.set_timeout(timeout);
    }

    /// For how long after a failure the pool may leave a server out; `None`: it ejects nobody.
    pub fn set_left_out(&mut self, time: Option<Duration>) {
        self.net.ledger.set_left_out(time);
    }

    /// How many bytes of a reply the worker passes on before its end, at least.
    pub fn set_stream_bytes_min(&mut self, bytes: usize) {
        self.net.ledger.set_stream_bytes_min(bytes);
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

    /// Every key that a server was asked for, with the server's index, and when.
    pub fn keys(&self) -> impl Iterator<Item = (&[u8], usize, Instant)> {
        self.net.ledger.keys()
    }

    /// Panics when a server has carried out a client's requests about a key in another order than
    /// they were sent in.
    pub fn check_order(&self) {
        self.net.ledger.check_order();
    }

    /// All that servers have published, in order.
    pub fn published(&self) -> &[Published] {
        self.net.ledger.messages()
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
        if self.completions.late() > 0 {
            lines.push(format!("{} completions are late", self.completions.late()));
        }
        for (token, operation) in &self.operations {
            let fleeting = matches!(token.op(), OpKind::Send | OpKind::Connect | OpKind::Hangup);
            if token.key().role == Role::Client || fleeting {
                let who = Who::Operation(*token);
                lines.push(format!("{who} in flight on fd {}", operation.fd().0));
            }
        }
        let server = |fd: &Fd| self.armed(*fd).any(|token| token.key().role == Role::Server);
        for (fd, descriptor) in &self.descriptors {
            if *descriptor != Descriptor::Listener && !server(fd) {
                lines.push(format!("fd {} is open, and no server's", fd.0));
            }
        }
        lines
    }

    fn armed(&self, fd: Fd) -> impl Iterator<Item = Token> {
        let on_it = self.operations.iter().filter(move |(_, operation)| operation.fd() == fd);
        on_it.map(|(token, _)| *token).chain(self.completions.unknown_ends(fd))
    }

    pub(super) fn open(&mut self, descriptor: Descriptor) -> Fd {
        // As the kernel does, the lowest number that is free: a stale one soon hits somebody else.
        let fd = (FIRST_FD..).map(Fd).find(|fd| !self.descriptors.contains_key(fd));
        let fd = fd.expect("few descriptors are open");
        self.descriptors.insert(fd, descriptor);
        if let Descriptor::Socket { link, .. } = descriptor {
            self.net.note(Who::Descriptor(fd), "is link", link);
        }
        fd
    }

    /// The link of a socket that may be used: its connect has succeeded.
    fn link(&self, fd: Fd, token: Token) -> usize {
        match self.descriptors.get(&fd) {
            Some(&Descriptor::Socket { link, connected: true, .. }) => link,
            Some(Descriptor::Socket { .. }) => panic!("{token:?}: fd {} is not connected", fd.0),
            Some(Descriptor::Listener) => panic!("{token:?}: fd {} is a listener", fd.0),
            Some(Descriptor::Closing { .. }) | None => {
                panic!("{token:?}: fd {} is not open", fd.0)
            }
        }
    }

    /// Takes a descriptor out of use; `shut` closes it.
    fn retire(&mut self, fd: Fd) {
        let armed: Vec<Token> = self.armed(fd).collect();
        assert!(armed.is_empty(), "close: fd {} has {armed:?} in flight", fd.0);
        let link = match self.descriptors.get(&fd) {
            Some(&Descriptor::Socket { link, .. }) => Some(link),
            Some(Descriptor::Listener) => None,
            Some(Descriptor::Closing { .. }) | None => panic!("close: fd {} is not open", fd.0),
        };
        self.descriptors.insert(fd, Descriptor::Closing { link });
    }

    /// Closes a descriptor that is out of use.
    pub(super) fn shut(&mut self, fd: Fd) {
        self.scarce_until = None;
        match self.descriptors.remove(&fd) {
            Some(Descriptor::Closing { link: Some(link) }) => {
                self.net.links[link].ring_close(&mut self.net.random);
            }
            Some(Descriptor::Closing { link: None }) => {
                // As the kernel does: whoever was not accepted finds the connection gone.
                for link in self.net.backlogs.remove(&fd).into_iter().flatten() {
                    self.net.links[link].ring_close(&mut self.net.random);
                }
            }
            Some(Descriptor::Socket { .. } | Descriptor::Listener) | None => {
                unreachable!("it was retired")
            }
        }
    }

    fn start(&mut self, token: Token, op: OpKind, work: Work) {
        let operation = Operation::new(work);
        let fd = operation.fd();
        assert!(
            self.armed(fd).all(|other| other.op() != op),
            "{token:?}: fd {} has such an operation in flight",
            fd.0
        );
        self.net.note(Who::Operation(token), "asked for on fd", fd.0 as usize);
        self.turns.on_asked();
        let earlier = self.operations.insert(token, operation);
        assert!(earlier.is_none(), "{token:?} is in flight already");
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
            self.net.trouble(server, Trouble::NoDescriptor);
            return Err(Errno(libc::EMFILE));
        }
        let link = self.net.connect();
        self.turns.on_asked();
        let fd = self.open(Descriptor::Socket { link, connected: false, accepted: false });
        let mut answered = self.net.now + self.net.random.time_up_to(self.settings.connect_time);
        let deadline = within.map(|time| self.net.now + time);
        if let Some(deadline) = deadline
            && self.net.happens(Fault::ConnectTakesLong)
        {
            answered = self.net.ledger.overdue_from(self.net.now).unwrap_or(deadline);
        }
        let work = Work::Connect { fd, server, since: self.net.now, answered, deadline };
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
        let goal = send_goal(&output);
        self.net.links[link].is_sending = true;
        self.start(token, OpKind::Send, Work::Send { fd, link, output, taken: 0, goal });
    }

    fn watch_hangup(&mut self, token: Token, fd: Fd) {
        let link = self.link(fd, token);
        self.start(token, OpKind::Hangup, Work::Hangup { fd, link });
    }

    fn cancel(&mut self, target: Token) {
        let Some(operation) = self.operations.get_mut(&target).filter(|found| !found.cancelled)
        else {
            return;
        };
        self.net.note_plain(Who::Operation(target), "cancel");
        if let Work::Connect { server, since, .. } = operation.work {
            self.net.on_waited(server, since);
            self.net.on_given_up(server);
        }
        operation.cancelled = !self.net.happens(Fault::CancelMissed);
    }

    fn shutdown(&mut self, fd: Fd, how: How) {
        let words = match how {
            How::Write => "is shut down for writing",
            How::Both => "is shut down",
        };
        self.net.note_plain(Who::Descriptor(fd), words);
        match (self.descriptors.get(&fd), how) {
            (Some(&Descriptor::Socket { link, .. }), How::Write) => {
                self.net.links[link].ring_shut_write();
            }
            (Some(&Descriptor::Socket { link, .. }), How::Both) => {
                self.net.links[link].ring_shut_both();
                self.net.on_given_up(self.net.links[link].server);
            }
            (Some(Descriptor::Listener), _) => {}
            (Some(Descriptor::Closing { .. }) | None, _) => {
                panic!("shutdown: fd {} is not open", fd.0)
            }
        }
    }

    fn keep_alive(&mut self, fd: Fd, _how: KeepAlive) {
        let is_socket = matches!(self.descriptors.get(&fd), Some(Descriptor::Socket { .. }));
        assert!(is_socket, "keep_alive: fd {} is no open socket", fd.0);
    }

    fn peer(&mut self, fd: Fd) -> Option<IpAddr> {
        let is_socket = matches!(self.descriptors.get(&fd), Some(Descriptor::Socket { .. }));
        assert!(is_socket, "peer: fd {} is no open socket", fd.0);
        Some(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    fn ends(&mut self, fd: Fd) -> Ends {
        let is_socket = matches!(self.descriptors.get(&fd), Some(Descriptor::Socket { .. }));
        assert!(is_socket, "ends: fd {} is no open socket", fd.0);
        let at = |port: i32| Some(Address::Inet((Ipv4Addr::LOCALHOST, port as u16).into()));
        Ends { peer: at(50_000 + fd.0), local: at(6379) }
    }

    fn close(&mut self, token: Token, fd: Fd) {
        self.net.note(Who::Operation(token), "asked for on fd", fd.0 as usize);
        self.turns.on_asked();
        self.retire(fd);
        self.closes.push((token, fd));
    }

    fn refuse(&mut self, fd: Fd, words: &[u8]) {
        self.net.note(Who::Descriptor(fd), "is refused with # bytes", words.len());
        self.turns.on_asked();
        if let Some(&Descriptor::Socket { link, connected: true, .. }) = self.descriptors.get(&fd)
            && let Writable::Room(room) = self.net.links[link].ring_writable()
        {
            self.net.links[link].ring_write(&words[..words.len().min(room)]);
        }
        self.retire(fd);
        self.shut(fd);
    }

    fn give_back(&mut self, buffer: Buffer) {
        self.turns.on_given_back();
        self.buffers.give_back(buffer);
    }

    fn wait(&mut self, how: Wait, into: &mut Vec<Event>) -> Result<Instant, WaitError> {
        self.submit(how);
        if self.net.happens(Fault::EarlyWait) {
            return Ok(self.net.now);
        }
        let before = into.len();
        self.wait_for_events(how, into);
        if into.len() > before {
            self.turns.on_event();
        }
        Ok(self.net.now)
    }
}

impl Drop for SimRing {
    /// Whatever went wrong, this is what it takes to see it again.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let unrest = self.unrest().join("\n");
            let (trace, seed) = (&self.net.trace, self.seed);
            eprintln!("{trace}What is left:\n{unrest}\nThe ring's seed was {seed}.");
        }
    }
}

/// The first descriptor number that is given out: those below belong to the process.
const FIRST_FD: i32 = 10;
