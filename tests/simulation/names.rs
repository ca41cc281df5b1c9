//! Names of servers in a simulated world: how long a look-up takes, and what comes of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ringcracker::io::{Address, Destination};
use ringcracker::limits::TICK_MS;
use ringcracker::sim::{
    Change, ClientScript, Exchange, Fault, Faults, Reply, ServerScript, Settings,
};
use ringcracker::time::Instant;
use ringcracker::worker::{Shared, Worker};

use crate::memory::Outside;
use crate::scenarios::{TIMED_OUT, case, get, manner, ms, set, slow, slowest_error};
use crate::tally::Tally;
use crate::world::{PORT, World, address, at};

/// What the names of servers stand for.
#[derive(Clone, Default)]
pub struct Names {
    /// By server: from when on its name stands for which server, or for none, in order. A server
    /// that is not here is given by its address.
    pub answers: BTreeMap<usize, Vec<(Duration, Option<usize>)>>,
    /// How long look-ups take, from when on, in order.
    pub takes: Vec<(Duration, Duration)>,
}

impl Names {
    /// How the pool names a server.
    pub fn destination(&self, server: usize) -> Destination {
        match self.answers.contains_key(&server) {
            true => Destination::Name { host: format!("{server}.test"), port: PORT },
            false => Destination::Address(address(server)),
        }
    }
}

/// Looks names up in virtual time.
pub struct Oracle {
    names: Names,
    /// Names that are being looked up, and when they are answered.
    pending: Vec<(Instant, String)>,
}

impl Oracle {
    pub fn new(names: Names) -> Self {
        Self { names, pending: Vec::new() }
    }

    /// Takes up what is asked, and answers what is due.
    pub fn work(&mut self, shared: &Shared, worker: &mut Worker<Outside>) {
        let now = worker.ring().inner_mut().now();
        while let Some(host) = shared.resolver().try_next() {
            let takes = latest(&self.names.takes, now).unwrap_or_default();
            self.pending.push((now + takes, host));
        }
        self.pending.retain(|(time, host)| {
            let is_due = *time <= now;
            if is_due {
                let number = host.split('.').next().and_then(|number| number.parse().ok());
                let answers = &self.names.answers[&number.expect("a name of ours")];
                shared.on_looked_up(host, latest(answers, now).flatten().map(inet));
                worker.ring().inner_mut().mail();
            }
            !is_due
        });
    }
}

/// The last value whose time has come.
fn latest<T: Copy>(list: &[(Duration, T)], now: Instant) -> Option<T> {
    list.iter().rev().find(|&&(from, _)| at(from) <= now).map(|&(_, value)| value)
}

/// The address of a server as a look-up brings it: the port is the asker's to add.
fn inet(server: usize) -> SocketAddr {
    match address(server) {
        Address::Inet(address) => SocketAddr::new(address.ip(), 0),
        Address::Unix(_) => unreachable!("the servers of a world listen on TCP"),
    }
}

/// A name that stands for nothing fails its requests and no others; once it stands for a server
/// that one is used, and after its end whichever the name stands for then.
pub fn a_name_is_looked_up_at_each_connect(seed: u64) -> Tally {
    let dies = (ms(2000), Change::Dies { resets: case(seed).is_multiple_of(2) });
    let first = ServerScript { changes: vec![dies], ..slow() };
    // A client that waits for its accept may come when the name stands for something.
    let faults = Faults::harmless().with(Fault::AcceptNoDescriptor, 0);
    let settings = Settings { faults, ..Settings::default() };
    let mut world = World::new(seed, settings, vec![first, slow(), slow()]);
    world.preconnect = world.random.chance(500);
    world.timeout = world.random.pick(&[None, Some(ms(400))]);
    let stands_for = vec![(ms(0), None), (ms(500), Some(0)), (ms(1900), Some(1))];
    world.names.answers = BTreeMap::from([(0, stands_for)]);
    world.names.takes = vec![(ms(0), world.random.time_up_to(ms(150)))];
    for client in 0..3 {
        let key = |number: usize| format!("c{client}n{number}");
        let keys: Vec<Vec<u8>> = (0..4).map(|number| world.key_on(0, &key(number))).collect();
        let mut exchanges: Vec<Exchange> = keys.iter().map(|key| set(key, key)).collect();
        exchanges[0].replies = vec![Reply::Error("ERR Host is down\r\n")];
        exchanges[1] = exchanges[1].clone().not_before(ms(1000));
        exchanges[2] = exchanges[2].clone().not_before(ms(3000));
        exchanges[3] = exchanges[3].clone().not_before(ms(3001));
        exchanges.push(get(&keys[2], &keys[2]));
        let script = world.client(exchanges);
        world.ring.add_client(ClientScript { start: ms(1), ..script });
        add_neighbour(&mut world, client);
    }
    world.run().tally()
}

/// A look-up that takes longer than a request may wait fails it in time, costs the servers with
/// addresses nothing, and its late answer is of use to whoever asked since.
pub fn a_slow_look_up_fails_requests_in_time_and_no_others(seed: u64) -> Tally {
    let timeout = ms(300);
    // A client that waits for its accept would count that time too.
    let faults = Faults::harmless().with(Fault::AcceptNoDescriptor, 0);
    let settings = Settings { faults, ..Settings::default() };
    let mut world = World::new(seed, settings, vec![slow(), slow(), slow()]);
    world.timeout = Some(timeout);
    world.preconnect = world.random.chance(500);
    let takes = ms(world.random.between(800, 2000) as u64);
    world.names.answers = BTreeMap::from([(0, vec![(ms(0), Some(0))])]);
    world.names.takes = vec![(ms(0), takes), (ms(1), takes), (ms(4000), ms(1))];
    for client in 0..3 {
        let mut exchanges = Vec::new();
        for number in 0..12u64 {
            let key = world.key_on(0, &format!("c{client}n{number}"));
            let early = set(&key, &key).or(TIMED_OUT).not_before(ms(number * 250));
            exchanges.push(early);
        }
        exchanges[0].replies = vec![TIMED_OUT];
        let late = world.key_on(0, &format!("c{client}late"));
        exchanges.push(set(&late, b"1").not_before(ms(7000)));
        exchanges.push(get(&late, b"1"));
        let script = world.client(exchanges);
        world.ring.add_client(ClientScript { start: ms(1), ..script });
        add_neighbour(&mut world, client);
    }
    let mut finished = world.run();
    for client in [0, 2, 4] {
        assert!(finished.errors(client) > 0, "no request of client {client} was late");
        let slowest = slowest_error(&mut finished, client);
        // Only the tick sees that it is late, and the words have some way to go.
        let latest = timeout + ms(TICK_MS + 20);
        assert!((timeout..latest).contains(&slowest), "client {client}: failed after {slowest:?}");
    }
    finished.tally()
}

/// A client of servers that are given by their addresses.
fn add_neighbour(world: &mut World, number: usize) {
    let mut exchanges = Vec::new();
    for count in 0..20 {
        let key = world.key_on(2, &format!("neighbour{number}n{count}"));
        exchanges.extend([set(&key, &key), get(&key, &key)]);
    }
    let script = world.client(exchanges);
    let script = manner(&mut world.random, script);
    world.ring.add_client(script);
}
