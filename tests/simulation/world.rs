//! A worker in a simulated world, and the way through a run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringcracker::checked::Checked;
use ringcracker::distribution::{DistributionKind, Node, RoutingTable};
use ringcracker::hash::{HashKind, HashTag};
use ringcracker::io::{Address, Fd};
use ringcracker::limits::{Limits, STASH_BYTES_MAX};
use ringcracker::proxy::{Holdings, PoolSetup};
use ringcracker::sim::{ClientScript, Exchange, Fault, Random, ServerScript, Settings, SimRing};
use ringcracker::time::Instant;
use ringcracker::worker::{ListenerSetup, Mail, Running, Setup, Shared, Worker};

use crate::tally::Tally;

/// One pool over some servers, before and during its run.
pub struct World {
    pub ring: SimRing,
    /// For the scripts; the ring has its own.
    pub random: Random,
    pub listener: Fd,
    pub limits: Limits,
    pub timeout: Option<Duration>,
    pub server_connections: u32,
    pub preconnect: bool,
    /// Another worker accepts, and deals the clients to this one by mail.
    pub dealt: bool,
    /// Signals that arrive, by time, from the beginning of the run.
    pub signals: Vec<(Duration, i32)>,
    /// What is sent from this time on is answered within `PROMPT`.
    pub prompt_from: Option<Duration>,
    /// When everything is over, from the beginning of the run.
    pub over_by: Duration,
    kind: DistributionKind,
    routing: RoutingTable,
    servers: usize,
    settings: Settings,
}

/// A world whose clients are all gone.
pub struct Finished {
    pub worker: Worker<Checked<SimRing>>,
}

impl World {
    pub fn new(seed: u64, settings: Settings, servers: Vec<ServerScript>) -> Self {
        let mut ring = SimRing::new(seed, settings.clone());
        let listener = ring.listen();
        let count = servers.len();
        for (index, script) in servers.into_iter().enumerate() {
            ring.add_server(address(index), script);
        }
        let kind = DistributionKind::Modula;
        Self {
            ring,
            random: Random::new(!seed),
            listener,
            limits: Limits::default(),
            timeout: None,
            server_connections: 1,
            preconnect: false,
            dealt: false,
            signals: Vec::new(),
            prompt_from: None,
            over_by: LONGEST_RUN,
            kind,
            routing: routing(count, HashKind::Fnv1a64, None, kind),
            servers: count,
            settings,
        }
    }

    /// Spreads keys in another way than modulo FNV-1a.
    pub fn route_by(&mut self, hash: HashKind, tag: Option<HashTag>, kind: DistributionKind) {
        self.kind = kind;
        self.routing = routing(self.servers, hash, tag, kind);
    }

    /// Which server `key` belongs to.
    pub fn server_of(&self, key: &[u8]) -> usize {
        self.routing.route(key, 0).expect("no server is ejected")
    }

    /// Whether a key is always asked for at the same server.
    pub fn is_exact(&self) -> bool {
        self.kind != DistributionKind::Random
    }

    /// The servers that may be asked for some of `keys`.
    pub fn servers_of(&self, keys: &[Vec<u8>]) -> Vec<usize> {
        match self.kind {
            DistributionKind::Random => (0..self.servers).collect(),
            DistributionKind::Ketama | DistributionKind::Modula => {
                keys.iter().map(|key| self.server_of(key)).collect()
            }
        }
    }

    /// A key of `server` that begins with `name`.
    pub fn key_on(&self, server: usize, name: &str) -> Vec<u8> {
        (0..)
            .map(|number| format!("{name}.{number}").into_bytes())
            .find(|key| self.server_of(key) == server)
            .expect("every server has keys")
    }

    pub fn client(&mut self, exchanges: Vec<Exchange>) -> ClientScript {
        ClientScript::new(self.listener, exchanges)
    }

    /// Turns the worker until every client is gone and nothing is left of it.
    pub fn run(mut self) -> Finished {
        self.ring.set_timeout(self.timeout);
        let (number, workers) = if self.dealt { (1, 2) } else { (0, 1) };
        let shared = Arc::new(Shared::new(workers, 1).expect("an eventfd can be made"));
        let servers = (0..self.servers).map(|index| (name(index), address(index))).collect();
        let pool = PoolSetup {
            name: "pool".to_owned(),
            routing: self.routing.clone(),
            servers,
            timeout: self.timeout,
            server_connections: self.server_connections,
            preconnect: self.preconnect,
        };
        let listener = ListenerSetup { fd: self.listener, pool: 0, clients_max: None };
        let setup = Setup {
            number,
            pools: vec![pool],
            listeners: if self.dealt { Vec::new() } else { vec![listener] },
            limits: self.limits.clone(),
            seed: 1,
            shared: Arc::clone(&shared),
        };
        let guide =
            Guide { ceiling_bytes: self.ceiling_bytes(), number, shared, heard: Vec::new() };
        let worker = Worker::new(Checked::from(self.ring), setup);
        let routing = (self.kind != DistributionKind::Random).then_some(self.routing);
        let plan = Plan {
            listener: self.listener,
            signals: self.signals,
            prompt_from: self.prompt_from.map(at),
            over_by: at(self.over_by),
            routing,
        };
        guide.lead(worker, plan)
    }

    /// What the worker may hold at most, as its limits have it.
    fn ceiling_bytes(&self) -> usize {
        let received = usize::from(self.settings.buffers) * self.settings.buffer_bytes;
        let client = STASH_BYTES_MAX
            + self.settings.pipe_bytes
            + received
            + self.limits.output_hard_bytes
            + 3 * LARGEST_BYTES;
        let server = self.limits.server_queue_bytes_max + 2 * LARGEST_BYTES;
        let servers = self.servers * self.server_connections as usize;
        self.ring.clients() * client + servers * server
    }
}

/// What is to happen to a worker, and to be seen of it.
struct Plan {
    listener: Fd,
    signals: Vec<(Duration, i32)>,
    prompt_from: Option<Instant>,
    over_by: Instant,
    routing: Option<RoutingTable>,
}

/// Leads a worker through a run.
struct Guide {
    number: usize,
    shared: Arc<Shared>,
    ceiling_bytes: usize,
    /// Signals that the worker has told of.
    heard: Vec<i32>,
}

impl Guide {
    fn lead(mut self, mut worker: Worker<Checked<SimRing>>, mut plan: Plan) -> Finished {
        let mut sent = Vec::new();
        for _ in 0..TURNS_MAX {
            let is_heard = self.heard.len() == sent.len();
            if is_heard && worker.ring().inner_mut().is_quiet() && is_at_rest(&worker.holdings()) {
                assert_eq!(self.shared.clients(), 0, "no client is counted");
                assert_eq!(self.heard, sent, "signals are told of once, in order");
                check_keys(&mut worker, plan.routing.as_ref());
                worker.ring().inner_mut().check_order();
                check_promptness(&mut worker, plan.prompt_from);
                self.stop(&mut worker);
                return Finished { worker };
            }
            let held = worker.holdings();
            let now = worker.ring().inner_mut().now();
            assert!(now < plan.over_by, "not over by {:?}: {held:?}", plan.over_by);
            plan.signals.retain(|&(time, number)| {
                let is_due = at(time) <= now;
                if is_due {
                    worker.ring().inner_mut().signal(number);
                    sent.push(number);
                }
                !is_due
            });
            if self.number > 0 {
                self.deal(&mut worker, plan.listener);
            }
            self.turn(&mut worker);
        }
        panic!("not over in {TURNS_MAX} turns: {:?}", worker.holdings());
    }

    fn turn(&mut self, worker: &mut Worker<Checked<SimRing>>) {
        match worker.turn().expect("the simulated ring goes on") {
            Running::On => {}
            Running::Signal(number) => self.heard.push(number),
            Running::Stop => panic!("nobody has asked for the end"),
        }
        let held = worker.holdings();
        assert!(held.bytes() <= self.ceiling_bytes, "above {}: {held:?}", self.ceiling_bytes);
    }

    /// Accepts in another worker's place, and sends the clients on.
    fn deal(&self, worker: &mut Worker<Checked<SimRing>>, listener: Fd) {
        while let Some(fd) = worker.ring().inner_mut().accept_elsewhere(listener) {
            self.shared.add_client(self.number, 0);
            let posted = self.shared.mailbox(self.number).post(Mail::Client { fd, pool: 0 });
            posted.expect("few clients fit a mailbox");
            worker.ring().inner_mut().mail();
        }
    }

    fn stop(&self, worker: &mut Worker<Checked<SimRing>>) {
        self.shared.stop();
        worker.ring().inner_mut().mail();
        let stopped = (0..STOP_TURNS_MAX).any(|_| worker.turn() == Ok(Running::Stop));
        assert!(stopped, "a worker stops when it is told to");
    }
}

/// Each key has been asked for at its own server.
fn check_keys(worker: &mut Worker<Checked<SimRing>>, routing: Option<&RoutingTable>) {
    let Some(routing) = routing else { return };
    for (key, server) in worker.ring().inner_mut().keys() {
        let text = String::from_utf8_lossy(key);
        assert_eq!(Some(server), routing.route(key, 0), "{text} is asked for at another server");
    }
}

/// Once all troubles are over, nobody waits long.
fn check_promptness(worker: &mut Worker<Checked<SimRing>>, from: Option<Instant>) {
    let Some(from) = from else { return };
    let ring = worker.ring().inner_mut();
    for client in 0..ring.clients() {
        let outcome = ring.outcome(client);
        for (sent, (got, _)) in outcome.sent.iter().zip(&outcome.replies) {
            let in_time = *sent < from || *got - *sent < PROMPT;
            assert!(in_time, "client {client} has waited from {sent:?} to {got:?}");
        }
    }
}

fn is_at_rest(held: &Holdings) -> bool {
    *held == Holdings { servers: held.servers, ..Holdings::default() }
}

impl Finished {
    /// Replies of client `index` that are errors.
    pub fn errors(&mut self, index: usize) -> usize {
        let replies = &self.worker.ring().inner_mut().outcome(index).replies;
        replies.iter().filter(|(_, reply)| reply.starts_with(b"-")).count()
    }

    /// What the run adds to a campaign.
    pub fn tally(&mut self) -> Tally {
        let ring = self.worker.ring().inner_mut();
        let replies = (0..ring.clients()).map(|client| ring.outcome(client).replies.len()).sum();
        let injected = Fault::ALL.map(|fault| ring.faults().injected(fault));
        let fingerprint = ring.fingerprint();
        let counters = self.worker.counters();
        let (failures, pauses) = (counters.requests_failed, counters.clients_paused);
        let calm_runs = u64::from(failures == 0);
        let replies: usize = replies;
        Tally {
            runs: 1,
            injected,
            replies: replies as u64,
            failures,
            pauses,
            calm_runs,
            fingerprint,
        }
    }
}

fn routing(
    servers: usize,
    hash: HashKind,
    tag: Option<HashTag>,
    kind: DistributionKind,
) -> RoutingTable {
    let nodes: Vec<Node> =
        (0..servers).map(|index| Node { name: name(index), weight: 1 }).collect();
    RoutingTable::new(hash, tag, kind, &nodes, &vec![false; nodes.len()])
}

fn at(time: Duration) -> Instant {
    Instant::from_nanos(0) + time
}

fn name(server: usize) -> String {
    format!("server{server}")
}

fn address(server: usize) -> Address {
    Address::Inet(SocketAddr::from(([127, 0, 0, 1], 7000 + server as u16)))
}

/// No world takes as long in virtual time; one that does has lost something.
const LONGEST_RUN: Duration = Duration::from_secs(60);

/// How long a request takes at most when nothing is wrong, in the slowest of worlds.
const PROMPT: Duration = Duration::from_secs(1);

/// No world takes as many turns; one that does turns without progress.
const TURNS_MAX: usize = 200_000;

/// A mail is read in the next turn that gets as far as the mailbox.
const STOP_TURNS_MAX: usize = 1000;

/// No request and no reply of any world is larger.
const LARGEST_BYTES: usize = 256 << 10;
