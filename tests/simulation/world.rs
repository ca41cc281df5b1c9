//! A worker in a simulated world, and the way through a run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringcracker::config::Access;
use ringcracker::config::Secret;
use ringcracker::distribution::{DistributionKind, Node, RoutingTable};
use ringcracker::hash::{HashKind, HashTag};
use ringcracker::io::{Address, Destination, Fd, KeepAlive};
use ringcracker::limits::{Limits, PROBE_TIME, REQUESTS_PER_TURN, STASH_BYTES_MAX, TICK_MS};

use ringcracker::proto::Protocol;
use ringcracker::proxy::{self, Holdings, PoolSetup};
use ringcracker::sim::{
    ClientScript, Exchange, Fault, Random, ServerScript, Settings, SimRing, Wanted, request,
};
use ringcracker::time::Instant;
use ringcracker::worker::{Ejection, Health, ListenerSetup, Mail, Running, Setup, Shared, Worker};

use crate::memory::{self, Outside};
use crate::names::{Names, Oracle};
use crate::tally::Tally;

/// One pool over some servers, before and during its run.
pub struct World {
    pub ring: SimRing,
    /// For the scripts; the ring has its own.
    pub random: Random,
    pub listener: Fd,
    /// What everybody speaks.
    pub protocol: Protocol,
    /// Bytes of the largest value that servers take, if that is memcached's protocol.
    pub value_bytes_max: usize,
    pub limits: Limits,
    pub timeout: Option<Duration>,
    pub keep_alive: Option<KeepAlive>,
    pub server_connections: u32,
    pub preconnect: bool,
    /// Servers that the pool knows by name.
    pub names: Names,
    /// What servers and clients are to be greeted with, and greet with.
    pub wanted: Wanted,
    pub ejection: Option<Ejecting>,
    /// Another worker accepts, and deals the clients to this one by mail.
    pub dealt: bool,
    /// The pool's `client_connections`.
    pub pool_clients_max: Option<u32>,
    /// A second pool's listener. The pool has a server of its own, the last.
    pub second: Option<Fd>,
    /// Signals that arrive, by time, from the beginning of the run.
    pub signals: Vec<(Duration, i32)>,
    /// When the worker is told to drain, from the beginning of the run.
    pub drains: Option<Duration>,
    /// What is sent from this time on is answered within `PROMPT`.
    pub prompt_from: Option<Duration>,
    /// When everything is over, from the beginning of the run.
    pub over_by: Duration,
    seed: u64,
    hash: HashKind,
    tag: Option<HashTag>,
    kind: DistributionKind,
    routing: RoutingTable,
    servers: usize,
    settings: Settings,
}

/// Servers are ejected after so many failures, and for so long.
#[derive(Clone, Copy)]
pub struct Ejecting {
    pub failure_limit: u32,
    pub retry_after: Duration,
    pub probe: bool,
}

/// A world whose clients are all gone.
pub struct Finished {
    pub worker: Worker<Outside>,
    /// Just before it was told to drain: requests it had understood, and bytes of others.
    pub before_drain: (u64, usize),
    pub shared: Arc<Shared>,
}

impl World {
    pub fn new(seed: u64, settings: Settings, servers: Vec<ServerScript>) -> Self {
        let notes = std::env::var("TRACE").map(|text| text.parse().expect("a number"));
        let trace_notes_max = notes.unwrap_or(settings.trace_notes_max);
        let settings = Settings { trace_notes_max, ..settings };
        let mut ring = SimRing::new(seed, settings.clone());
        let listener = ring.listen();
        let count = servers.len();
        let first = servers.first().cloned().unwrap_or_default();
        for (index, script) in servers.into_iter().enumerate() {
            ring.add_server(address(index), script);
        }
        let kind = DistributionKind::Modula;
        Self {
            ring,
            random: Random::new(!seed),
            listener,
            protocol: first.protocol,
            value_bytes_max: first.value_bytes_max,
            limits: Limits::default(),
            timeout: None,
            keep_alive: Some(KeepAlive::default()),
            server_connections: 1,
            preconnect: false,
            names: Names::default(),
            wanted: first.wanted,
            ejection: None,
            dealt: false,
            pool_clients_max: None,
            second: None,
            signals: Vec::new(),
            drains: None,
            prompt_from: None,
            over_by: LONGEST_RUN,
            seed,
            hash: HashKind::Fnv1a64,
            tag: None,
            kind,
            routing: routing(count, HashKind::Fnv1a64, None, kind),
            servers: count,
            settings,
        }
    }

    /// Spreads keys in another way than modulo FNV-1a.
    pub fn route_by(&mut self, hash: HashKind, tag: Option<HashTag>, kind: DistributionKind) {
        (self.hash, self.tag, self.kind) = (hash, tag, kind);
        self.routing = routing(self.servers, hash, tag, kind);
    }

    /// Which server `key` belongs to.
    pub fn server_of(&self, key: &[u8]) -> usize {
        self.routing.route(key, 0).expect("no server is ejected")
    }

    /// Whether a key is always asked for at the same server.
    pub fn is_exact(&self) -> bool {
        self.kind != DistributionKind::Random && self.ejection.is_none()
    }

    /// The servers that may be asked for some of `keys`.
    pub fn servers_of(&self, keys: &[Vec<u8>]) -> Vec<usize> {
        match self.is_exact() {
            false => self.all_servers(),
            true => keys.iter().map(|key| self.server_of(key)).collect(),
        }
    }

    /// Every server of the pool.
    pub fn all_servers(&self) -> Vec<usize> {
        (0..self.servers).collect()
    }

    /// A key of `server` that begins with `name`.
    pub fn key_on(&self, server: usize, name: &str) -> Vec<u8> {
        (0..)
            .map(|number| format!("{name}.{number}").into_bytes())
            .find(|key| self.server_of(key) == server)
            .expect("every server has keys")
    }

    /// A client of these requests, and of the password before them if there is one.
    pub fn client(&mut self, mut exchanges: Vec<Exchange>) -> ClientScript {
        if let Some(password) = &self.wanted.password {
            let auth = request(&[b"AUTH", password.as_bytes()]);
            exchanges.insert(0, Exchange::new(auth, b"+OK\r\n".to_vec()));
        }
        let protocol = self.protocol;
        ClientScript { protocol, ..ClientScript::new(self.listener, exchanges) }
    }

    /// Adds a second pool, of one server. Its keys begin with `SECOND`.
    pub fn add_second_pool(&mut self, server: ServerScript) -> Fd {
        let listener = self.ring.listen();
        self.ring.add_server(address(self.servers), server);
        self.second = Some(listener);
        listener
    }

    /// Turns the worker until every client is gone and nothing is left of it.
    pub fn run(mut self) -> Finished {
        self.ring.set_timeout(self.timeout);
        self.ring.set_left_out(self.left_out());
        self.ring.set_stream_bytes_min(self.limits.stream_bytes_min);
        let (number, workers) = if self.dealt { (1, 2) } else { (0, 1) };
        let shared = Shared::new(workers, 2).expect("an eventfd can be made");
        let shared = Arc::new(shared.with_health(Health::new(vec![self.ejection(), None])));
        let listen = |fd, pool| {
            let (clients_max, access) = (self.pool_clients_max, Access::default());
            ListenerSetup { fd, pool, clients_max, access }
        };
        let mut listeners = vec![listen(self.listener, 0)];
        listeners.extend(self.second.map(|fd| listen(fd, 1)));
        let clients_max = match (self.dealt, self.pool_clients_max) {
            (true, _) => usize::MAX,
            (false, None) => self.limits.clients_max,
            (false, Some(most)) => self.limits.clients_max.min(most as usize * listeners.len()),
        };
        let setup = Setup {
            number,
            pools: self.pools(),
            listeners: if self.dealt { Vec::new() } else { listeners },
            limits: self.limits.clone(),
            seed: self.seed,
            shared: Arc::clone(&shared),
        };
        // A name may come to stand for another server.
        let is_fixed = self.names.answers.is_empty() && self.is_exact();
        let ceiling_bytes = self.ceiling_bytes();
        let guide = Guide {
            before_bytes: memory::held(),
            ceiling_bytes,
            clients_max,
            number,
            shared,
            oracle: Oracle::new(self.names),
            heard: Vec::new(),
            before_drain: (0, 0),
            drained: false,
        };
        let ring = Outside::new(self.ring);
        let worker = memory::counted(|| Worker::new(ring, setup));
        // Who was ejected is used again by then.
        let fixed_from = match self.ejection {
            None => Duration::ZERO,
            Some(_) => self.prompt_from.unwrap_or(Duration::MAX),
        };
        let plan = Plan {
            listener: self.listener,
            signals: self.signals,
            drains: self.drains.map(at),
            prompt_from: self.prompt_from.map(at),
            over_by: at(self.over_by),
            routing: is_fixed.then_some((self.routing, at(fixed_from))),
            second: self.second.map(|_| self.servers),
        };
        guide.lead(worker, plan)
    }

    fn pools(&self) -> Vec<PoolSetup> {
        let servers =
            (0..self.servers).map(|index| (name(index), self.names.destination(index))).collect();
        let pool = PoolSetup {
            protocol: self.protocol,
            timeout: self.timeout,
            keep_alive: self.keep_alive,
            server_connections: self.server_connections,
            preconnect: self.preconnect,
            password: self.wanted.password.clone().map(Secret::new),
            database: self.wanted.database,
            ejecting: self.ejection.map(|_| proxy::Ejecting { on_oom: false }),
            ..PoolSetup::new("pool", Arc::new(self.routing.clone()), servers)
        };
        let second = PoolSetup {
            name: "second".to_owned(),
            routing: Arc::new(routing(1, HashKind::Md5, None, DistributionKind::Ketama)),
            servers: vec![(name(self.servers), Destination::Address(address(self.servers)))],
            ejecting: None,
            ..pool.clone()
        };
        std::iter::once(pool).chain(self.second.map(|_| second)).collect()
    }

    /// For how long after a failure a server may be left out: up to the tick behind its time, and
    /// while a probe goes on.
    fn left_out(&self) -> Option<Duration> {
        self.ejection.map(|ejecting| {
            let probe = self.timeout.unwrap_or(PROBE_TIME) + TICK;
            ejecting.retry_after.max(TICK) + if ejecting.probe { probe } else { Duration::ZERO }
        })
    }

    fn ejection(&self) -> Option<Ejection> {
        self.ejection.map(|ejecting| Ejection {
            pool: "pool".to_owned(),
            failure_limit: ejecting.failure_limit,
            retry_after: ejecting.retry_after,
            probe: ejecting.probe,
            hash: self.hash,
            hash_tag: self.tag,
            distribution: self.kind,
            nodes: nodes(self.servers),
        })
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
        // For each version of RESP.
        let servers = 2 * self.servers * self.server_connections as usize;
        self.ring.clients() * client + servers * server
    }
}

/// What is to happen to a worker, and to be seen of it.
struct Plan {
    listener: Fd,
    signals: Vec<(Duration, i32)>,
    drains: Option<Instant>,
    prompt_from: Option<Instant>,
    over_by: Instant,
    /// Where keys belong from some time on.
    routing: Option<(RoutingTable, Instant)>,
    /// The second pool's server, if there is one.
    second: Option<usize>,
}

/// Leads a worker through a run.
struct Guide {
    number: usize,
    shared: Arc<Shared>,
    ceiling_bytes: usize,
    oracle: Oracle,
    /// What this thread's workers had before this one.
    before_bytes: usize,
    /// Clients that may be let in at once.
    clients_max: usize,
    /// Signals that the worker has told of.
    heard: Vec<i32>,
    before_drain: (u64, usize),
    /// The worker has told that nothing is left.
    drained: bool,
}

impl Guide {
    fn lead(mut self, mut worker: Worker<Outside>, mut plan: Plan) -> Finished {
        let mut sent = Vec::new();
        let was_to_drain = plan.drains.is_some();
        for _ in 0..TURNS_MAX {
            let is_over = self.heard.len() == sent.len() && self.drained == was_to_drain;
            if is_over && worker.ring().inner_mut().is_quiet() && is_at_rest(&worker.holdings()) {
                assert_eq!(self.shared.clients(), 0, "no client is counted");
                assert_eq!(self.heard, sent, "signals are told of once, in order");
                check_keys(&mut worker, plan.routing.as_ref(), plan.second);
                worker.ring().inner_mut().check_order();
                check_promptness(&mut worker, plan.prompt_from);
                let bytes = memory::held() - self.before_bytes;
                assert!(bytes <= LEFT_BYTES, "{bytes} bytes are left of everything");
                self.stop(&mut worker);
                return Finished { worker, shared: self.shared, before_drain: self.before_drain };
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
            self.oracle.work(&self.shared, &mut worker);
            if plan.drains.take_if(|time| *time <= now).is_some() {
                self.before_drain = (worker.counters().requests, held.input_bytes);
                self.shared.drain();
                worker.ring().inner_mut().mail();
            }
            if self.number > 0 {
                self.deal(&mut worker, plan.listener);
            }
            self.turn(&mut worker);
        }
        panic!("not over in {TURNS_MAX} turns: {:?}", worker.holdings());
    }

    fn turn(&mut self, worker: &mut Worker<Outside>) {
        let before = worker.counters().requests;
        match memory::counted(|| worker.turn()).expect("the simulated ring goes on") {
            Running::On => {}
            Running::Signal(number) => self.heard.push(number),
            Running::Drained => {
                let held = worker.holdings();
                // Entries of who has gone leave the lists with the next tick.
                let nothing = Holdings { listed: held.listed, ..Holdings::default() };
                assert_eq!(held, nothing, "nothing is left");
                self.drained = true;
            }
            Running::Stop => panic!("nobody has asked for the end"),
        }
        let requests = worker.counters().requests - before;
        // What a client has left of its budget it may use with the next bytes that arrive, and
        // then it is given the next.
        let most = 2 * u64::from(REQUESTS_PER_TURN) * worker.ring().inner_mut().clients() as u64;
        assert!(requests <= most, "{requests} requests in a turn");
        worker.ring().inner_mut().spend(REQUEST_TIME * requests as u32);
        let held = worker.holdings();
        assert!(held.bytes() <= self.ceiling_bytes, "above {}: {held:?}", self.ceiling_bytes);
        assert!(held.clients <= self.clients_max, "more than {}: {held:?}", self.clients_max);
        let bytes = memory::held() - self.before_bytes;
        let most = 2 * held.bytes() + UNTOLD_BYTES;
        assert!(bytes <= most, "{bytes} bytes of memory: {held:?}");
    }

    /// Accepts in another worker's place, and sends the clients on.
    fn deal(&self, worker: &mut Worker<Outside>, listener: Fd) {
        while let Some(fd) = worker.ring().inner_mut().accept_elsewhere(listener) {
            self.shared.add_client(self.number, 0);
            let posted = self.shared.mailbox(self.number).post(Mail::Client { fd, pool: 0 });
            posted.expect("few clients fit a mailbox");
            worker.ring().inner_mut().mail();
        }
    }

    fn stop(&self, worker: &mut Worker<Outside>) {
        self.shared.stop();
        worker.ring().inner_mut().mail();
        let stopped = (0..STOP_TURNS_MAX).any(|_| worker.turn() == Ok(Running::Stop));
        assert!(stopped, "a worker stops when it is told to");
    }
}

/// Each key has been asked for at its own server.
fn check_keys(
    worker: &mut Worker<Outside>,
    routing: Option<&(RoutingTable, Instant)>,
    second: Option<usize>,
) {
    let Some((routing, from)) = routing else { return };
    let keys = worker.ring().inner_mut().keys();
    for (key, server, _) in keys.filter(|&(_, _, at)| at >= *from) {
        let text = String::from_utf8_lossy(key);
        if let Some(servers) = second {
            let is_second = key.starts_with(SECOND);
            assert_eq!(server == servers, is_second, "{text} is asked for at server {server}");
            if is_second {
                continue;
            }
        }
        assert_eq!(Some(server), routing.route(key, 0), "{text} is asked for at another server");
    }
}

/// Once all troubles are over, nobody waits long.
fn check_promptness(worker: &mut Worker<Outside>, from: Option<Instant>) {
    let Some(from) = from else { return };
    let ring = worker.ring().inner_mut();
    for client in 0..ring.clients() {
        let outcome = ring.outcome(client);
        for (sent, (got, _)) in outcome.sent.iter().zip(&outcome.replies) {
            let in_time = *got < (*sent).max(from) + PROMPT;
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
        let is_error =
            |reply: &[u8]| reply.starts_with(b"-") || reply.starts_with(b"SERVER_ERROR ");
        replies.iter().filter(|(_, reply)| is_error(reply)).count()
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
        let ejects = self.shared.health().ejects(0);
        let replies: usize = replies;
        Tally {
            runs: 1,
            injected,
            replies: replies as u64,
            failures,
            pauses,
            ejects,
            refused: counters.clients_refused,
            streamed: counters.replies_streamed,
            cut_off: counters.clients_cut_off,
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
    let nodes = nodes(servers);
    RoutingTable::new(hash, tag, kind, &nodes, &vec![false; nodes.len()])
}

fn nodes(servers: usize) -> Vec<Node> {
    (0..servers).map(|index| Node { name: name(index), weight: 1 }).collect()
}

pub fn at(time: Duration) -> Instant {
    Instant::from_nanos(0) + time
}

fn name(server: usize) -> String {
    format!("server{server}")
}

pub fn address(server: usize) -> Address {
    Address::Inet(SocketAddr::from(([127, 0, 0, 1 + server as u8], PORT)))
}

/// The port of every server; they differ by their hosts.
pub const PORT: u16 = 7000;

/// No world takes as long in virtual time; one that does has lost something.
const LONGEST_RUN: Duration = Duration::from_secs(60);

/// How long a request takes at most when nothing is wrong, in the slowest of worlds.
const PROMPT: Duration = Duration::from_secs(1);

/// How the keys of the second pool begin.
pub const SECOND: &[u8] = b"second:";

/// What it takes to parse and route a request, and to hand on its reply.
const REQUEST_TIME: Duration = Duration::from_micros(1);

/// Memory of a worker that its holdings do not tell of: its slots and lists, spare chains, requests
/// of a send in flight.
const UNTOLD_BYTES: usize = 1 << 20;

/// What a worker keeps of it for those who come next.
const LEFT_BYTES: usize = 512 << 10;

/// No world takes as many turns; one that does turns without progress.
const TURNS_MAX: usize = 200_000;

/// A mail is read in the next turn that gets as far as the mailbox.
const STOP_TURNS_MAX: usize = 1000;

/// No request and no reply of any world is larger.
const LARGEST_BYTES: usize = 256 << 10;

/// How often a worker looks at its clocks.
const TICK: Duration = Duration::from_millis(TICK_MS);
