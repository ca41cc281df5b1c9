//! A worker in its stride asks the allocator for nothing: what a request needs is there from
//! earlier ones. It runs on a real ring, in front of real servers; its thread alone is counted.
//!
//! `ALLOCATIONS=show cargo test --test allocations -- --nocapture` says where they come from.
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use ringcracker::config::Access;
use ringcracker::distribution::{DistributionKind, Node, RoutingTable};
use ringcracker::hash::HashKind;
use ringcracker::io::{Address, Destination};
use ringcracker::limits::Limits;
use ringcracker::proto::Protocol;
use ringcracker::proxy::PoolSetup;
use ringcracker::ring::{Options, Uring};
use ringcracker::sys::sockets::{self, ListenOn, ListenOptions};
use ringcracker::worker::{ListenerSetup, Running, Setup, Shared, Worker};

use support::client::{Client, command};
use support::memcached::Memcached;
use support::redis::Redis;

#[test]
fn a_request_of_redis_asks_for_no_memory() {
    let servers = [Redis::start(), Redis::start()];
    let addresses = servers
        .each_ref()
        .map(|redis| Address::Inet(std::net::SocketAddr::from(([127, 0, 0, 1], redis.port()))));
    let running = Service::start(Protocol::Resp, &addresses);
    let value = [b'x'; 64];
    let set = |key: &[u8]| (command(&[b"SET".as_slice(), key, &value]), b"+OK\r\n".to_vec());
    let reply = [b"$64\r\n".as_slice(), &value, b"\r\n"].concat();
    let get = |key: &[u8]| (command(&[b"GET".as_slice(), key]), reply.clone());
    // The one that writes goes first: what is read has to be there.
    for pipeline in [1, 16] {
        running.assert_steady(&format!("SET, P={pipeline}"), pipeline, set);
        running.assert_steady(&format!("GET, P={pipeline}"), pipeline, get);
    }
}

#[test]
fn a_request_of_memcached_asks_for_no_memory() {
    let servers = [Memcached::start(), Memcached::start()];
    let addresses = servers.each_ref().map(|memcached| {
        let line = memcached.named("one");
        Address::Unix(PathBuf::from(line.split(':').next().unwrap()))
    });
    let running = Service::start(Protocol::Memcache, &addresses);
    let value = "x".repeat(64);
    let text = |key: &[u8]| String::from_utf8(key.to_vec()).unwrap();
    let set = |key: &[u8]| {
        let request = format!("set {} 0 0 64\r\n{value}\r\n", text(key));
        (request.into_bytes(), b"STORED\r\n".to_vec())
    };
    let get = |key: &[u8]| {
        let (key, value) = (text(key), &value);
        let reply = format!("VALUE {key} 0 64\r\n{value}\r\nEND\r\n");
        (format!("get {key}\r\n").into_bytes(), reply.into_bytes())
    };
    for pipeline in [1, 16] {
        running.assert_steady(&format!("set, P={pipeline}"), pipeline, set);
        running.assert_steady(&format!("get, P={pipeline}"), pipeline, get);
    }
}

#[test]
fn what_a_counted_thread_asks_for_is_counted() {
    let asked = |counts: bool| {
        COUNTS.set(counts);
        let before = COUNT.get();
        let mut piece = Vec::<u8>::with_capacity(std::hint::black_box(10));
        piece.reserve(std::hint::black_box(1_000));
        COUNTS.set(false);
        COUNT.get() - before
    };
    assert_eq!((asked(true), asked(false)), (2, 0));
}

/// A worker with a pool of two servers, in a thread of its own.
struct Service {
    port: u16,
    shared: Arc<Shared>,
    /// Whether allocations are counted now.
    counts: Arc<AtomicBool>,
    allocations: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    fn start(protocol: Protocol, servers: &[Address; 2]) -> Self {
        let any = ListenOn::Inet("127.0.0.1:0".parse().unwrap());
        let fd = sockets::listen(&any, 128, ListenOptions::default()).unwrap();
        let port = sockets::local_port(fd).unwrap();
        let names = ["one", "two"];
        let nodes = names.map(|name| Node { name: name.to_owned(), weight: 1 });
        let (hash, kind) = (HashKind::default(), DistributionKind::Ketama);
        let routing = Arc::new(RoutingTable::new(hash, None, kind, &nodes, &[false; 2]));
        let at = |(name, server): (&str, &Address)| {
            (name.to_owned(), Destination::Address(server.clone()))
        };
        let servers = names.into_iter().zip(servers).map(at).collect();
        let timeout = Some(support::DEADLINE);
        let pool = PoolSetup { protocol, timeout, ..PoolSetup::new("alpha", routing, servers) };
        let shared = Arc::new(Shared::new(1, 1).unwrap());
        let (counts, allocations) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let service = (Arc::clone(&shared), Arc::clone(&counts), Arc::clone(&allocations));
        let listener = ListenerSetup { fd, pool: 0, clients_max: None, access: Access::default() };
        let thread = std::thread::spawn(move || {
            let (shared, counts, allocations) = service;
            let mail = Some(shared.mailbox(0).bell());
            let ring = Uring::new(&Options { mail, ..Options::default() }).unwrap();
            let setup = Setup {
                number: 0,
                pools: vec![pool],
                listeners: vec![listener],
                limits: Limits { clients_max: 100, ..Limits::default() },
                seed: 1,
                shared,
            };
            let mut worker = Worker::new(ring, setup);
            loop {
                COUNTS.set(counts.load(Ordering::Acquire));
                let running = worker.turn();
                COUNTS.set(false);
                allocations.store(COUNT.get(), Ordering::Release);
                if running.unwrap() == Running::Stop {
                    return;
                }
            }
        });
        Self { port, shared, counts, allocations, thread: Some(thread) }
    }

    /// Lets clients ask, first until everything has its size, and then with an eye on the heap.
    fn assert_steady(
        &self,
        what: &str,
        pipeline: usize,
        ask: impl Fn(&[u8]) -> (Vec<u8>, Vec<u8>),
    ) {
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::tcp(self.port)).collect();
        let mut round = |number: usize| {
            let key = |client, nth| format!("key:{:04}", (number * 7 + client * 31 + nth) % KEYS);
            let asked: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let all = (0..pipeline).map(|nth| ask(key(client, nth).as_bytes()));
                    let (requests, replies): (Vec<_>, Vec<_>) = all.unzip();
                    (requests.concat(), replies.concat())
                })
                .collect();
            clients.iter_mut().zip(&asked).for_each(|(client, (request, _))| client.send(request));
            clients.iter_mut().zip(&asked).for_each(|(client, (_, reply))| client.expect(reply));
        };
        (0..WARMING_ROUNDS).for_each(&mut round);
        let before = self.allocations.load(Ordering::Acquire);
        self.counts.store(true, Ordering::Release);
        (0..ROUNDS).for_each(&mut round);
        self.counts.store(false, Ordering::Release);
        // The last turn's count is there once another turn has been.
        round(0);
        let count = self.allocations.load(Ordering::Acquire) - before;
        let requests = ROUNDS * CLIENTS * pipeline;
        println!("{what}: {count} allocations for {requests} requests");
        // A buffer may still grow when the machine holds the worker up for longer than before.
        let most = requests as u64 / 1000;
        assert!(count <= most, "{what}: {count} allocations for {requests} requests");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shared.stop();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

thread_local! {
    static COUNTS: Cell<bool> = const { Cell::new(false) };
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts what a thread asks for while it is told to.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    // A thread that ends frees what it has after its counters.
    if COUNTS.try_with(|counts| counts.replace(false)).unwrap_or(false) {
        COUNT.set(COUNT.get() + 1);
        if COUNT.get() < SHOWN && std::env::var_os("ALLOCATIONS").is_some() {
            println!("{}", Backtrace::force_capture());
        }
        COUNTS.set(true);
    }
}

// SAFETY: every call is handed to `System` as it came; counting allocates only while it is off.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(piece, layout) }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is the same.
        unsafe { System.realloc(piece, layout, size) }
    }
}

const CLIENTS: usize = 8;

/// Keys that are written before they are read.
const KEYS: usize = 64;

/// Rounds until everything has its size. Those that write reach every key.
const WARMING_ROUNDS: usize = 300;

/// Rounds that are counted.
const ROUNDS: usize = 1_000;

/// Backtraces that are printed.
const SHOWN: u64 = 40;
