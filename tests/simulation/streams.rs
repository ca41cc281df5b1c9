//! Worlds with a plot about replies that stream: their first bytes reach a client before their last
//! have come from the server.

use ringcracker::sim::{
    Change, ClientScript, Ended, Exchange, Leaves, Mischief, Random, Reads, Reply, ServerScript,
    Settings, array, bulk, request,
};

use crate::author::with_keys;
use crate::scenarios::{
    NULL, OK, add_polite, bad_request, case, faulty, get, manner, ms, set, slow,
};
use crate::tally::Tally;
use crate::world::{Finished, World};

/// Bytes of the values that stream.
const LARGE: usize = 20_000;

/// A world whose replies stream beyond a size by chance; in one of three, the ring receives a byte
/// or two at a time.
fn streaming(seed: u64, servers: Vec<ServerScript>) -> World {
    let mut settings = faulty();
    if case(seed) % 3 == 2 {
        settings = Settings { buffer_bytes: 1 + case(seed) as usize % 2, ..settings };
    }
    let drips = settings.buffer_bytes <= 2;
    let mut world = World::new(seed, settings, servers);
    let beyond = world.random.pick(&[1, 100, 3000, LARGE / 2]);
    // Values are twice as long, and byte by byte they would take all day.
    world.limits.stream_bytes_min = if drips { beyond.min(LARGE / 20) } else { beyond };
    world
}

fn large(world: &World, seed: u64) -> Vec<u8> {
    // In small pieces a large value would take all day.
    let len = if case(seed) % 3 == 2 { LARGE / 10 } else { LARGE };
    let mut value = vec![b'v'; len.max(world.limits.stream_bytes_min * 2)];
    for (place, byte) in value.iter_mut().enumerate() {
        *byte = b'a' + (place * place % 23) as u8;
    }
    value
}

/// Several clients share a server connection, which ends in the middle of a reply. Who has a part
/// of that is closed, without a word in it; everybody else is told, or waits for another server.
pub fn a_server_that_dies_in_a_reply_costs_the_client_that_has_a_part_of_it(seed: u64) -> Tally {
    let mut random = Random::new(seed);
    // One client alone asks this server 18 times before it comes late.
    let number = random.between(4, 16) as u64;
    let bytes = random.between(0, LARGE);
    let mischief = Mischief::DiesInReply { bytes, away: ms(20) };
    let mut mortal = ServerScript { mischief: vec![(number, mischief)], ..slow() };
    let is_timeout = case(seed).is_multiple_of(5);
    if is_timeout {
        // Or it falls silent, for longer than anybody waits.
        mortal.mischief.clear();
        mortal.changes =
            vec![(ms(random.between(3, 20) as u64), Change::Stalls), (ms(2000), Change::Resumes)];
    }
    let mut world = streaming(seed, vec![mortal, slow()]);
    if is_timeout {
        world.timeout = Some(ms(400));
    }
    let value = large(&world, seed);
    let clients = world.random.between(1, 4);
    for client in 0..clients {
        let failed = || Reply::Failure(vec![0]);
        let mut exchanges = Vec::new();
        for number in 0..6 {
            let name = format!("c{client}n{number}");
            let (key, other) = (world.key_on(0, &name), world.key_on(1, &name));
            let none = || Reply::Exactly(NULL.into());
            exchanges.push(set(&key, &value).or(failed()));
            exchanges.push(get(&key, &value).or(failed()).or(none()));
            exchanges.push(get(&key, &value).or(failed()).or(none()));
            exchanges.push(set(&other, b"1"));
            exchanges.push(get(&other, b"1"));
        }
        let late = world.key_on(0, &format!("c{client}late"));
        exchanges.push(set(&late, b"1").not_before(ms(10_000)));
        exchanges.push(get(&late, b"1"));
        let script = world.client(exchanges);
        let script = manner(&mut world.random, script);
        world.ring.add_client(script);
    }
    let mut finished = world.run();
    let cut_off = finished.worker.counters().clients_cut_off;
    let ring = finished.worker.ring().inner_mut();
    let ended = (0..clients).filter(|&client| ring.outcome(client).was_ended).count();
    assert_eq!(ended as u64, cut_off, "who is closed was cut off");
    assert!(cut_off <= 1, "a connection is in the middle of one reply");
    finished.tally()
}

/// The rest of what it was about to get is nobody's.
pub fn a_client_that_goes_in_a_reply_leaves_the_rest_to_nobody(seed: u64) -> Tally {
    let mut world = streaming(seed, vec![slow()]);
    let value = large(&world, seed);
    for client in 0..3 {
        let key = format!("vanishing{client}").into_bytes();
        let mut exchanges = vec![set(&key, &value)];
        exchanges.extend((0..4).map(|_| get(&key, &value)));
        let reply_bytes = world.random.between(6, 2 * value.len());
        let leaves = Leaves::Vanishing { reply_bytes, reset: world.random.chance(500) };
        let script = world.client(exchanges);
        let script = manner(&mut world.random, script);
        world.ring.add_client(ClientScript { leaves, ..script });
    }
    for client in 0..3 {
        add_polite(&mut world, &format!("staying{client}"), 20, &[10, 2000]);
    }
    let finished = world.run();
    assert_eq!(finished.worker.counters().server_failures, 0);
    tally_of(finished)
}

/// What it does not take is counted, also in the middle of a reply.
pub fn a_client_that_takes_nothing_of_a_stream_is_closed_and_holds_nobody_up(seed: u64) -> Tally {
    let mut world = World::new(seed, faulty(), vec![slow()]);
    world.limits.stream_bytes_min = world.random.pick(&[1, 100, 3000]);
    world.limits.output_soft_bytes = 1000;
    world.limits.output_hard_bytes = 30_000;
    world.limits.output_stall = ms(60_000);
    world.limits.in_flight_requests_max = 100;
    let value = vec![b'v'; LARGE];
    let mut exchanges = vec![set(b"key", &value)];
    exchanges.extend((0..50).map(|_| get(b"key", &value)));
    let script = world.client(exchanges);
    let (reads, ended) = (Reads::Never, Ended::Always);
    let flood = ClientScript { depth: usize::MAX, reads, ended, ..script };
    world.ring.add_client(flood);
    for client in 0..2 {
        add_polite(&mut world, &format!("neighbour{client}"), 30, &[0, 100]);
    }
    let finished = world.run();
    let counters = finished.worker.counters();
    assert_eq!((counters.clients_over_output, counters.clients_stalled), (1, 0), "{counters:?}");
    assert_eq!(counters.server_failures, 0, "the connection is others' too");
    tally_of(finished)
}

/// Replies of the proxy itself and of other servers, protocol errors and the end come behind a
/// reply that streams, never in it.
pub fn what_is_said_here_waits_for_the_end_of_a_stream(seed: u64) -> Tally {
    let mut world = streaming(seed, vec![slow(), slow()]);
    let value = large(&world, seed);
    for client in 0..2 {
        let (key, other) = (world.key_on(0, "key"), world.key_on(1, "other"));
        let key = [&key[..], format!("c{client}").as_bytes()].concat();
        let ping = || Exchange::new(request(&[b"PING"]), b"+PONG\r\n".to_vec());
        let both = [key.clone(), other.clone()];
        let mut exchanges = vec![set(&key, &value), set(&other, b"1")];
        for _ in 0..4 {
            exchanges.extend([get(&key, &value), ping(), get(&other, b"1"), get(&key, &value)]);
            let values = array(&[bulk(&value), bulk(b"1")]);
            exchanges.push(Exchange::new(with_keys(b"MGET", &both), values));
            exchanges.push(Exchange::with(request(&[b"GET"]), Reply::Error("ERR wrong number")));
        }
        let ends = world.random.below(3);
        exchanges.push(get(&key, &value));
        match ends {
            0 => exchanges.push(bad_request()),
            1 => exchanges.push(Exchange::new(request(&[b"QUIT"]), OK.to_vec())),
            _ => {}
        }
        let script = world.client(exchanges);
        let leaves = if ends == 2 { Leaves::HalfClosing } else { Leaves::Waiting };
        let cut = manner(&mut world.random, script.clone()).cut;
        world.ring.add_client(ClientScript { depth: usize::MAX, cut, leaves, ..script });
    }
    tally_of(world.run())
}

fn tally_of(mut finished: Finished) -> Tally {
    finished.tally()
}
