//! What one small request costs inside the proxy, stage by stage, without a kernel.
//!
//! ```text
//!   request bytes -> parse -> route -> queue      "in":  up to the server's output
//!   reply bytes   -> parse -> deliver             "out": up to the client's output
//! ```
//!
//! `cargo bench --bench stages`; the sum is printed at the end. A stage alone is measured on warm
//! caches, so that the stages add up to less than the whole.

use bytes::Bytes;
use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use ringcracker::config::Access;
use ringcracker::distribution::{DistributionKind, Node, RoutingTable};
use ringcracker::hash::HashKind;
use ringcracker::io::{Address, Buffer, Destination};
use ringcracker::limits::Limits;
use ringcracker::proto::resp::ReplyStep;
use ringcracker::proto::{Expected, Parsed, Protocol, ReplyParser, RequestParser};
use ringcracker::proxy::{PoolSetup, Proxy, Want};
use ringcracker::sim::{ClientScript, Exchange, ServerScript, Settings, SimRing, request};
use ringcracker::time::Instant;
use ringcracker::token::Key;
use ringcracker::worker::{ListenerSetup, Running, Setup, Shared, Worker};
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_000))
        .sample_size(30)
        .configure_from_args();
    requests(&mut criterion);
    routing(&mut criterion);
    replies(&mut criterion);
    passage(&mut criterion);
    turns(&mut criterion);
    criterion.final_summary();
    // A test runner that looks whether benches run has no use for a sum.
    if std::env::args().any(|argument| argument == "--bench") {
        print_sum();
    }
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse a request");
    let (key, value) = (key(7), [b'x'; 64]);
    let keys: Vec<Vec<u8>> = (0..10).map(self::key).collect();
    let mut mget = vec![b"MGET".as_slice()];
    mget.extend(keys.iter().map(Vec::as_slice));
    let redis = [
        ("GET", request(&[b"GET", &key])),
        ("SET 64 B", request(&[b"SET", &key, &value])),
        ("MGET 10", request(&mget)),
    ];
    for (name, bytes) in &redis {
        parse(&mut group, name, Protocol::Resp, bytes);
    }
    let get = [b"get ".as_slice(), &key, b"\r\n"].concat();
    parse(&mut group, "memcached get", Protocol::Memcache, &get);
    group.finish();
}

fn parse(group: &mut BenchmarkGroup<WallTime>, name: &str, protocol: Protocol, bytes: &[u8]) {
    let mut parser = RequestParser::new(protocol);
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let parsed = parser.parse(black_box(bytes));
            assert_eq!(parsed, Parsed::Request { end: bytes.len() });
            parser.request().keys
        });
    });
}

/// Hash and lookup in the continuum of ten servers, for each hash function.
fn routing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route a key");
    let nodes: Vec<Node> =
        (0..10).map(|number| Node { name: format!("server{number}"), weight: 1 }).collect();
    let keys: Vec<Vec<u8>> = (0..64).map(key).collect();
    for hash in HashKind::ALL {
        let table = RoutingTable::new(hash, None, DistributionKind::Ketama, &nodes, &[false; 10]);
        let mut next = 0;
        group.bench_function(hash.name(), |bencher| {
            bencher.iter(|| {
                next = (next + 1) % keys.len();
                table.route(black_box(&keys[next]), 0)
            });
        });
    }
    group.finish();
}

fn replies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse a reply");
    for (name, reply) in [("64 B", reply()), ("+OK", b"+OK\r\n".to_vec())] {
        let mut parser = ReplyParser::new(Protocol::Resp);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                parser.expect(black_box(Expected::default()));
                let step = parser.parse(black_box(&reply));
                assert_eq!(step, ReplyStep::Reply { end: reply.len() });
            });
        });
    }
    group.finish();
}

/// A proxy with one client and two servers, and the bytes that pass through it.
struct Passage {
    proxy: Proxy,
    client: Key,
    servers: Vec<Key>,
    wants: Vec<Want>,
    request_bytes: usize,
    /// The client's bytes of one turn.
    asked: Buffer,
    /// For each count of requests, as many replies.
    answers: Vec<Buffer>,
}

impl Passage {
    fn new(depth: usize) -> Self {
        let mut proxy = Proxy::new(vec![pool()], Limits::default(), 1);
        proxy.start(NOW);
        let client = proxy.on_accept(0);
        let requests: Vec<Vec<u8>> = (0..depth).map(|nth| request(&[b"GET", &key(nth)])).collect();
        let buffer = |bytes: Vec<u8>| Buffer::from_bytes(Bytes::from(bytes));
        let answers = (0..=depth).map(|count| buffer(reply().repeat(count))).collect();
        let asked = buffer(requests.concat());
        let request_bytes = requests[0].len();
        let mut wants = Vec::new();
        let mut servers = Vec::new();
        proxy.take_wants(&mut wants);
        for want in wants.drain(..) {
            if let Want::Connect { key, .. } = want {
                proxy.on_connected(NOW, key, Ok(()));
                servers.push(key);
            }
        }
        Self { proxy, client, servers, wants, request_bytes, asked, answers }
    }

    /// The client's requests come in, up to what the servers are sent. Returns how many each got.
    fn ask(&mut self) -> [usize; 2] {
        self.proxy.on_received(NOW, self.client, &mut self.asked);
        self.proxy.run_ready(NOW);
        self.wants.clear();
        self.proxy.take_wants(&mut self.wants);
        let mut counts = [0; 2];
        for (index, count) in counts.iter_mut().enumerate() {
            *count = self.send(self.servers[index]) / self.request_bytes;
        }
        counts
    }

    /// The servers answer so many each, up to what the client is sent.
    fn answer(&mut self, counts: [usize; 2]) {
        for (index, count) in counts.into_iter().enumerate() {
            self.proxy.on_received(NOW, self.servers[index], &mut self.answers[count]);
        }
        self.wants.clear();
        self.proxy.take_wants(&mut self.wants);
        self.send(self.client);
    }

    fn send(&mut self, key: Key) -> usize {
        let Some(mut output) = self.proxy.take_output(key) else { return 0 };
        let bytes = output.len();
        output.advance(bytes);
        self.proxy.on_sent(NOW, key, bytes);
        self.proxy.recycle(output);
        bytes
    }
}

/// The whole way of a request through the proxy, in turns of one and of sixteen.
fn passage(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("passage");
    for depth in [1, 16] {
        let mut passage = Passage::new(depth);
        let mut time = |rounds: u64, half: Half| {
            let mut total = Duration::ZERO;
            // The clock is read rarely, or it would be most of what is measured.
            for _ in 0..rounds {
                let began = std::time::Instant::now();
                let counts = passage.ask();
                let asked = began.elapsed();
                assert_eq!(counts.iter().sum::<usize>(), depth);
                let began = std::time::Instant::now();
                passage.answer(counts);
                let answered = began.elapsed();
                total += match half {
                    Half::In => asked,
                    Half::Out => answered,
                };
            }
            total
        };
        group.throughput(Throughput::Elements(depth as u64));
        for (half, word) in [(Half::In, "in"), (Half::Out, "out")] {
            group.bench_function(format!("{word}, {depth}"), |bencher| {
                bencher.iter_custom(|rounds| time(rounds, half));
            });
        }
    }
    group.finish();
}

#[derive(Clone, Copy)]
enum Half {
    In,
    Out,
}

/// Whole turns of a worker on the simulated ring, whose own work is most of it: what changes here
/// and nowhere above is the worker's.
fn turns(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("turns on the simulated ring");
    group.throughput(Throughput::Elements(SIMULATED as u64));
    group.sample_size(10);
    group.bench_function("a pipeline of GET", |bencher| {
        bencher.iter_batched(
            worker,
            |mut worker| {
                while !worker.ring().is_quiet() {
                    assert_eq!(worker.turn(), Ok(Running::On));
                }
                worker
            },
            criterion::BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn worker() -> Worker<SimRing> {
    let mut ring = SimRing::new(1, Settings::default());
    let fd = ring.listen();
    for address in addresses() {
        ring.add_server(address, ServerScript::default());
    }
    let get = |nth| Exchange::new(request(&[b"GET", &key(nth)]), b"$-1\r\n".to_vec());
    let exchanges = (0..SIMULATED).map(get).collect();
    ring.add_client(ClientScript { depth: 16, ..ClientScript::new(fd, exchanges) });
    let listener = ListenerSetup { fd, pool: 0, clients_max: None, access: Access::default() };
    let setup = Setup {
        number: 0,
        pools: vec![pool()],
        listeners: vec![listener],
        limits: Limits::default(),
        seed: 1,
        shared: Arc::new(Shared::new(1, 1).expect("an eventfd can be made")),
    };
    Worker::new(ring, setup)
}

/// Two servers under ketama and the usual hash, connected from the start.
fn pool() -> PoolSetup {
    let names = ["first", "other"];
    let nodes = names.map(|name| Node { name: name.to_owned(), weight: 1 });
    let (hash, kind) = (HashKind::default(), DistributionKind::Ketama);
    let routing = Arc::new(RoutingTable::new(hash, None, kind, &nodes, &[false; 2]));
    let servers = names.into_iter().zip(addresses());
    let servers = servers.map(|(name, at)| (name.to_owned(), Destination::Address(at))).collect();
    PoolSetup { preconnect: true, ..PoolSetup::new("bench", routing, servers) }
}

fn addresses() -> [Address; 2] {
    [7000, 7001].map(|port| Address::Inet(SocketAddr::from(([127, 0, 0, 1], port))))
}

/// As redis-benchmark makes them.
fn key(number: usize) -> Vec<u8> {
    format!("key:{:012}", number * 7919).into_bytes()
}

fn reply() -> Vec<u8> {
    [b"$64\r\n".as_slice(), &[b'x'; 64], b"\r\n"].concat()
}

/// Reads what criterion has found, and adds it up.
fn print_sum() {
    let stages = [
        ("parse a request", "GET", 1.0),
        ("route a key", "fnv1a_64", 1.0),
        ("parse a reply", "64 B", 1.0),
        ("passage", "in, 16", 16.0),
        ("passage", "out, 16", 16.0),
    ];
    println!("\nGET of 64 bytes, nanoseconds per request:");
    let mut passage = Some(0.0);
    for (group, name, requests) in stages {
        let nanos = median(group, name).map(|nanos| nanos / requests);
        let shown = nanos.map_or("not measured".to_owned(), |nanos| format!("{nanos:.1}"));
        println!("{:<28}{shown:>14}", format!("{group}: {name}"));
        if group == "passage" {
            passage = passage.zip(nanos).map(|(sum, nanos)| sum + nanos);
        }
    }
    if let Some(sum) = passage {
        println!("{:<28}{sum:>14.1}", "the whole passage");
        println!("Parsing, routing, reply parsing and delivery are to take 100 together.");
    }
}

/// The median of the last measurement in nanoseconds, from the file that criterion leaves.
fn median(group: &str, name: &str) -> Option<f64> {
    let home = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?.join("criterion");
    let file = home.join(group).join(name).join("new/estimates.json");
    let text = std::fs::read_to_string(file).ok()?;
    let estimates: serde_json::Value = serde_json::from_str(&text).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}

/// A time, as good as any.
const NOW: Instant = Instant::from_nanos(1_000_000_000);

/// Requests of one simulated run.
const SIMULATED: usize = 500;
