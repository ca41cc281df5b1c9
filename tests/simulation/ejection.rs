//! Servers that are left out for a while, by the clock.

use std::time::Duration;

use ringcracker::sim::{Change, Random, ServerScript, Settings, marked};
use ringcracker::time::Instant;

use crate::scenarios::{REFUSED, case, ms, set};
use crate::tally::Tally;
use crate::world::{Ejecting, World};

/// In every second run the server is still away when its time is over: requests find out, and
/// eject it once more, or a probe does, and no request fails for it.
pub fn a_server_is_ejected_and_returns_to_the_millisecond(seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let limit = random.between(1, 4);
    let (retry, rounds) = (ms(random.between(200, 300) as u64), random.between(1, 2));
    let back = retry * rounds as u32 - retry / 2;
    let gone = Change::Dies { resets: case(seed).is_multiple_of(2) };
    let server = ServerScript {
        changes: vec![(ms(1), gone), (back, Change::Returns)],
        ..Default::default()
    };
    let mut world = World::new(seed, Settings::default(), vec![server, Default::default()]);
    let probe = random.chance(500);
    let ejects = if probe { 1 } else { rounds };
    world.ejection = Some(Ejecting { failure_limit: limit as u32, retry_after: retry, probe });
    let mut exchanges = Vec::new();
    for number in 0..800 {
        let name = format!("n{number}");
        let key = world.key_on(0, &name);
        let stored = set(&key, &marked(&name, b"")).not_before(ms(10 + number));
        exchanges.push(stored.or(REFUSED));
    }
    let script = world.client(exchanges);
    world.ring.add_client(script);
    let mut finished = world.run();
    let errors = finished.errors(0);
    assert_eq!(errors, limit * ejects, "seed {seed}: each ejection has its failures");
    assert_eq!(finished.shared.health().ejects(0), ejects as u64);
    let ring = finished.worker.ring().inner_mut();
    let times = |server| ring.keys().filter(move |key| key.1 == server).map(|(_, _, at)| at);
    let first = times(1).min().expect("some have moved");
    let last = times(1).max().expect("some have moved");
    let returned = times(0).min().expect("the server has returned");
    assert!(returned > last, "seed {seed}: a key was at both servers at a time");
    let outcome = ring.outcome(0);
    let errors: Vec<_> = (outcome.replies.iter())
        .filter_map(|(got, reply)| reply.starts_with(b"-").then_some(*got))
        .collect();
    // A request comes every millisecond, a connect takes another, so does that of a probe, and the
    // rest is their way. The client hears of the last failure a little later than the worker.
    let most = ms(3 + 3 * rounds as u64);
    let near = |time: Instant, expected: Instant| {
        assert!((expected..=expected + most).contains(&time), "seed {seed}: {expected:?} {time:?}");
    };
    near(first, errors[limit - 1]);
    let left_out = if probe { retry * rounds as u32 } else { retry };
    near(returned, errors[limit * ejects - 1] + (left_out - Duration::from_micros(100)));
    finished.tally()
}

/// Each time the server is back before anybody asks again, and its connections were many: the one
/// failure that each restart is never reaches the limit of two.
pub fn a_restart_ends_many_connections_and_ejects_nobody(seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let restarts = random.between(1, 4) as u64;
    let away = ms(5 + random.between(0, 40) as u64);
    let round = ms(200);
    let changes = (1..=restarts).flat_map(|number| {
        let dies = round * number as u32;
        [(dies, Change::Dies { resets: random.chance(500) }), (dies + away, Change::Returns)]
    });
    let server = ServerScript { changes: changes.collect(), ..Default::default() };
    let mut world = World::new(seed, Settings::default(), vec![server, Default::default()]);
    world.server_connections = world.random.between(2, 6) as u32;
    let retry_after = round * 100;
    world.ejection = Some(Ejecting { failure_limit: 2, retry_after, probe: false });
    for client in 0..world.server_connections {
        let stores = (0..=restarts).map(|number| {
            let name = format!("c{client}r{number}");
            let from = round * number as u32 + ms(60 + u64::from(client));
            set(&world.key_on(0, &name), &marked(&name, b"")).not_before(from)
        });
        let script = world.client(stores.collect());
        world.ring.add_client(script);
    }
    let connections = world.server_connections as u64;
    let mut finished = world.run();
    let ended = finished.worker.counters().server_failures;
    assert_eq!(ended, connections * restarts, "seed {seed}: they all end, and nobody is refused");
    assert_eq!(finished.shared.health().ejects(0), 0, "seed {seed}");
    finished.tally()
}
