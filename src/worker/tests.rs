//! The worker over the simulated ring, where one fault alone shows what it does about it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Access;
use crate::distribution::{DistributionKind, Node, RoutingTable};
use crate::hash::HashKind;
use crate::io::{Address, Destination};
use crate::limits::{Limits, STASH_BYTES_MAX, TICK_MS};
use crate::proxy::PoolSetup;
use crate::sim::{
    Change, ClientScript, Exchange, Fault, Faults, Leaves, ServerScript, Settings, SimRing, request,
};
use crate::worker::{ListenerSetup, Running, Setup, Shared, Worker};

/// A worker of one pool with one server, which `server` describes, and the clients of `scripts`.
fn worker(
    seed: u64,
    faults: Faults,
    server: ServerScript,
    clients: Vec<ClientScript>,
) -> Worker<SimRing> {
    let mut ring = SimRing::new(seed, Settings { faults, ..Settings::default() });
    let fd = ring.listen();
    let address = Address::Inet(SocketAddr::from(([127, 0, 0, 1], 7000)));
    ring.add_server(address.clone(), server);
    for script in clients {
        ring.add_client(ClientScript { listener: fd, ..script });
    }
    let node = Node { name: "server".to_owned(), weight: 1 };
    let (kind, hash) = (DistributionKind::Modula, HashKind::Fnv1a64);
    let routing = Arc::new(RoutingTable::new(hash, None, kind, &[node], &[false]));
    let servers = vec![("server".to_owned(), Destination::Address(address))];
    let pool = PoolSetup::new("pool", routing, servers);
    let setup = Setup {
        number: 0,
        pools: vec![pool],
        listeners: vec![ListenerSetup {
            fd,
            pool: 0,
            clients_max: None,
            access: Access::default(),
        }],
        limits: Limits { in_flight_requests_max: 10, ..Limits::default() },
        seed,
        shared: Arc::new(Shared::new(1, 1).expect("an eventfd can be made")),
    };
    Worker::new(ring, setup)
}

/// Turns the worker until its clients are gone and nothing is left of them.
fn run(worker: &mut Worker<SimRing>) {
    for _ in 0..100_000 {
        if worker.ring().is_quiet() {
            return;
        }
        assert_eq!(worker.turn(), Ok(Running::On));
    }
    panic!("not done in 100,000 turns");
}

#[test]
fn a_client_stays_paused_although_a_cancel_missed() {
    let resumes = Duration::from_secs(1);
    for seed in 0..20 {
        let value = [b'v'; 1000];
        let exchange = Exchange::new(request(&[b"SET", b"k", &value]), b"+OK\r\n".to_vec());
        let bytes = exchange.request.len();
        let script = ClientScript::new(crate::io::Fd(0), vec![exchange; 1000]);
        let changes = vec![(Duration::ZERO, Change::Stalls), (resumes, Change::Resumes)];
        let mut worker = worker(
            seed,
            Faults::default().with(Fault::CancelMissed, 500),
            ServerScript { changes, ..ServerScript::default() },
            vec![ClientScript { depth: usize::MAX, ..script }],
        );
        run(&mut worker);
        let sent = &worker.ring().outcome(0).sent;
        let early = sent.iter().filter(|at| at.as_nanos() < resumes.as_nanos() as u64).count();
        let most = STASH_BYTES_MAX + (32 << 10);
        assert!(early * bytes < most, "seed {seed}: {early} requests taken while paused");
        assert!(worker.counters().clients_paused > 0);
    }
}

#[test]
fn an_aborted_connection_does_not_keep_the_next_one_waiting() {
    let ping = || vec![Exchange::new(request(&[b"PING"]), b"+PONG\r\n".to_vec())];
    let script = || ClientScript::new(crate::io::Fd(0), ping());
    let leaves = Leaves::Vanishing { reply_bytes: 0, reset: true };
    let mut aborted = 0;
    for seed in 0..20 {
        let mut worker = worker(
            seed,
            Faults::default().with(Fault::AcceptAborted, 1000),
            ServerScript::default(),
            vec![ClientScript { leaves, ..script() }, script()],
        );
        run(&mut worker);
        aborted += worker.ring().faults().injected(Fault::AcceptAborted);
        let replied = worker.ring().outcome(1).replies[0].0;
        assert!(replied.as_nanos() < TICK_MS * 1_000_000, "seed {seed}: replied at {replied:?}");
    }
    assert!(aborted > 0);
}

#[test]
fn a_watch_that_ends_by_itself_is_armed_again() {
    let late = Duration::from_millis(500).as_nanos() as u64;
    for seed in 0..20 {
        let exchange = Exchange::new(request(&[b"SET", b"k", &[b'v'; 1000]]), b"+OK\r\n".to_vec());
        // Ten of these are in flight, and enough are put aside for the client to be paused. What
        // is left of them fits the socket, so that the client can write it all, and vanish.
        let count = 10 + (STASH_BYTES_MAX + 2500).div_ceil(exchange.request.len());
        let script = ClientScript::new(crate::io::Fd(0), vec![exchange; count]);
        let leaves = Leaves::Vanishing { reply_bytes: 0, reset: true };
        let pause = Duration::from_millis(5);
        let mut worker = worker(
            seed,
            Faults::default().with(Fault::WatchEnds, 1000),
            ServerScript { changes: vec![(Duration::ZERO, Change::Stalls)], ..Default::default() },
            vec![ClientScript { depth: usize::MAX, leaves, pause, ..script }],
        );
        while worker.counters().clients == 0 || worker.slots().0 > 0 {
            assert!(worker.ring().now().as_nanos() < late, "seed {seed}: the client is not missed");
            assert_eq!(worker.turn(), Ok(Running::On));
        }
        assert_eq!(worker.counters().clients_paused, 1);
        assert!(worker.ring().faults().injected(Fault::WatchEnds) > 0);
    }
}
