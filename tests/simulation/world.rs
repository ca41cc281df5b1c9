//! A worker in a simulated world, and the way through a scenario.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringcracker::distribution::{DistributionKind, Node, RoutingTable};
use ringcracker::hash::HashKind;
use ringcracker::io::{Address, Fd};
use ringcracker::limits::Limits;
use ringcracker::proxy::PoolSetup;
use ringcracker::sim::{
    ClientScript, Exchange, Random, ServerScript, Settings, SimRing, array, bulk, integer, request,
};
use ringcracker::time::Instant;
use ringcracker::worker::{ListenerSetup, Running, Setup, Shared, Worker};

/// One pool over some servers, before and during its run.
pub struct World {
    pub ring: SimRing,
    /// For the scripts; the ring has its own.
    pub random: Random,
    pub listener: Fd,
    pub limits: Limits,
    pub timeout: Option<Duration>,
    pub server_connections: u32,
    routing: RoutingTable,
    servers: usize,
}

/// A world whose clients are all gone.
pub struct Finished {
    pub worker: Worker<SimRing>,
}

impl World {
    pub fn new(seed: u64, settings: Settings, servers: Vec<ServerScript>) -> Self {
        let mut ring = SimRing::new(seed, settings);
        let nodes: Vec<Node> =
            (0..servers.len()).map(|index| Node { name: name(index), weight: 1 }).collect();
        let ejected = vec![false; nodes.len()];
        let kind = DistributionKind::Modula;
        let routing = RoutingTable::new(HashKind::Fnv1a64, None, kind, &nodes, &ejected);
        let listener = ring.listen();
        let count = servers.len();
        for (index, script) in servers.into_iter().enumerate() {
            ring.add_server(address(index), script);
        }
        Self {
            ring,
            random: Random::new(!seed),
            listener,
            limits: Limits::default(),
            timeout: None,
            server_connections: 1,
            routing,
            servers: count,
        }
    }

    /// Which server `key` belongs to.
    pub fn server_of(&self, key: &[u8]) -> usize {
        self.routing.route(key, 0).expect("no server is ejected")
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
    pub fn run(self) -> Finished {
        let servers = (0..self.servers).map(|index| (name(index), address(index))).collect();
        let pool = PoolSetup {
            name: "pool".to_owned(),
            routing: self.routing,
            servers,
            timeout: self.timeout,
            server_connections: self.server_connections,
            preconnect: false,
        };
        let listener = ListenerSetup { fd: self.listener, pool: 0, clients_max: None };
        let shared = Arc::new(Shared::new(1, 1).expect("an eventfd can be made"));
        let setup = Setup {
            number: 0,
            pools: vec![pool],
            listeners: vec![listener],
            limits: self.limits,
            seed: 1,
            shared: Arc::clone(&shared),
        };
        let mut worker = Worker::new(self.ring, setup);
        let end = Instant::from_nanos(0) + LONGEST_RUN;
        for _ in 0..TURNS_MAX {
            if worker.ring().is_quiet() {
                assert_eq!(worker.slots().0, 0, "slots of clients are free");
                assert_eq!(shared.clients(), 0, "no client is counted");
                return Finished { worker };
            }
            assert!(worker.ring().now() < end, "not finished in {LONGEST_RUN:?}");
            assert_eq!(worker.turn(), Ok(Running::On));
        }
        panic!("not finished in {TURNS_MAX} turns");
    }
}

impl Finished {
    /// Replies of client `index` that are errors.
    pub fn errors(&mut self, index: usize) -> usize {
        let replies = &self.worker.ring().outcome(index).replies;
        replies.iter().filter(|(_, reply)| reply.starts_with(b"-")).count()
    }
}

/// Writes requests of one client, each with its only right reply, over keys of its own.
pub struct Author {
    name: String,
    random: Random,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    count: usize,
    value_bytes: Vec<usize>,
}

impl Author {
    pub fn new(name: &str, random: &mut Random, value_bytes: &[usize]) -> Self {
        Self {
            name: name.to_owned(),
            random: Random::new(random.bits()),
            values: BTreeMap::new(),
            count: 0,
            value_bytes: value_bytes.to_vec(),
        }
    }

    pub fn exchanges(&mut self, count: usize) -> Vec<Exchange> {
        (0..count).map(|_| self.exchange()).collect()
    }

    fn exchange(&mut self) -> Exchange {
        self.count += 1;
        match self.random.below(9) {
            0 | 1 => {
                let (key, value) = (self.key(), self.value());
                self.values.insert(key.clone(), value.clone());
                Exchange::new(request(&[b"SET", &key, &value]), b"+OK\r\n".to_vec())
            }
            2 | 3 => {
                let key = self.key();
                Exchange::new(request(&[b"get", &key]), self.stored(&key))
            }
            4 => {
                let keys = self.keys();
                let values: Vec<_> = keys.iter().map(|key| self.stored(key)).collect();
                Exchange::new(with_keys(b"MGET", &keys), array(&values))
            }
            5 => {
                let pairs: Vec<_> = (0..3).map(|_| (self.key(), self.value())).collect();
                let mut arguments = vec![&b"MSET"[..]];
                pairs.iter().for_each(|(key, value)| arguments.extend([&key[..], value]));
                let written = request(&arguments);
                self.values.extend(pairs);
                Exchange::new(written, b"+OK\r\n".to_vec())
            }
            6 => {
                let keys = self.keys();
                let gone = keys.iter().filter(|&key| self.values.remove(key).is_some()).count();
                Exchange::new(with_keys(b"DEL", &keys), integer(gone as i64))
            }
            7 => {
                let keys = self.keys();
                let there = keys.iter().filter(|&key| self.values.contains_key(key)).count();
                Exchange::new(with_keys(b"EXISTS", &keys), integer(there as i64))
            }
            _ => Exchange::new(request(&[b"PING"]), b"+PONG\r\n".to_vec()),
        }
    }

    fn key(&mut self) -> Vec<u8> {
        format!("{}:{}", self.name, self.random.below(8)).into_bytes()
    }

    fn keys(&mut self) -> Vec<Vec<u8>> {
        (0..self.random.between(1, 5)).map(|_| self.key()).collect()
    }

    /// It names its client and its request, so that no other can be taken for it.
    fn value(&mut self) -> Vec<u8> {
        let mut value = format!("{}#{}\r\n", self.name, self.count).into_bytes();
        let size = self.random.pick(&self.value_bytes);
        value.extend((0..size).map(|at| at as u8));
        value
    }

    fn stored(&self, key: &[u8]) -> Vec<u8> {
        self.values.get(key).map_or(b"$-1\r\n".to_vec(), |value| bulk(value))
    }
}

pub fn with_keys(name: &[u8], keys: &[Vec<u8>]) -> Vec<u8> {
    let mut arguments = vec![name];
    arguments.extend(keys.iter().map(|key| &key[..]));
    request(&arguments)
}

/// Runs a scenario with each of many seeds, or with the one in `SEED`; `N` says with how many.
pub fn for_each_seed(run: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    match number("SEED") {
        Some(seed) => run(seed),
        None => (0..number("N").unwrap_or(SEEDS)).for_each(run),
    }
}

/// Whether one seed is run alone, so that nothing can be said of many.
pub fn is_replay() -> bool {
    std::env::var_os("SEED").is_some()
}

fn name(server: usize) -> String {
    format!("server{server}")
}

fn address(server: usize) -> Address {
    Address::Inet(SocketAddr::from(([127, 0, 0, 1], 7000 + server as u16)))
}

/// Seeds of one scenario unless told otherwise: a few seconds' worth.
const SEEDS: u64 = 200;

/// No scenario takes as long in virtual time; one that does has lost something.
const LONGEST_RUN: Duration = Duration::from_secs(60);

/// No scenario takes as many turns; one that does turns without progress.
const TURNS_MAX: usize = 200_000;
