//! Servers that want a password and a database before anything else.

use ringcracker::sim::{
    Exchange, Fault, Faults, Mischief, Random, Reply, ServerScript, Settings, Wanted, request,
};

use crate::author::hello;
use crate::scenarios::{NULL, get, manner, ms, set, slow};
use crate::tally::Tally;
use crate::world::World;

/// The servers panic when something comes too early, or together with a word of the greeting.
pub fn nothing_reaches_a_server_before_its_greeting_is_over(seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let (has_password, database) = random.pick(&[(true, 9), (true, 0), (false, 9)]);
    let password = has_password.then(|| "a password".to_owned());
    let wanted = Wanted { password, database, ..Wanted::default() };
    let faults = Faults::harmless().with(Fault::ServerResets, 10);
    let settings = Settings {
        faults,
        calm_from: Some(ms(3000)),
        pipe_bytes: random.pick(&[7, 64, 4096]),
        buffer_bytes: random.pick(&[3, 1024]),
        ..Settings::default()
    };
    let mut server = || {
        let bytes = random.below(7);
        let mischief = random.pick(&[
            Mischief::DiesInReply { bytes, away: ms(5) },
            Mischief::Stalls { time: ms(600) },
            Mischief::AnswersGarbage,
            Mischief::HalfCloses,
        ]);
        // The first words and the first request of a connection.
        let mischief = vec![(random.between(1, 4) as u64, mischief)];
        ServerScript { mischief, wanted: wanted.clone(), ..slow() }
    };
    let servers = vec![server(), server()];
    let mut world = World::new(seed, settings, servers);
    world.timeout = Some(ms(300));
    world.server_connections = world.random.between(1, 2) as u32;
    world.preconnect = world.random.chance(500);
    world.limits.server_queue_requests_max = world.random.pick(&[1, 2, 1000]);
    for client in 0..3 {
        let mut exchanges = Vec::new();
        for number in 0..10u32 {
            let server = number as usize % 2;
            let key = world.key_on(server, &format!("c{client}n{number}"));
            let failed = Reply::Failure(vec![server]);
            let begin = ms(100) * number;
            exchanges.push(set(&key, &key).or(failed.clone()).not_before(begin));
            let null = Reply::Exactly(NULL.into());
            exchanges.push(get(&key, &key).or(failed).or(null).not_before(begin));
        }
        let late = format!("c{client}late").into_bytes();
        exchanges.push(set(&late, b"1").not_before(ms(10_000)));
        exchanges.push(get(&late, b"1"));
        let script = world.client(exchanges);
        let script = manner(&mut world.random, script);
        world.ring.add_client(script);
    }
    let mut finished = world.run();
    assert!(finished.worker.counters().server_failures > 0, "nothing went wrong");
    finished.tally()
}

/// Clients say HELLO while servers fail at it, or know none of it. The clients take a type of the
/// other version than they were told to speak for a defect.
pub fn a_client_speaks_resp3_once_a_server_has_agreed(seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let wanted = Wanted {
        password: random.chance(300).then(|| "a password".to_owned()),
        database: random.pick(&[0, 0, 9]),
        knows_no_hello: random.chance(250),
    };
    let settings = Settings {
        faults: Faults::harmless().with(Fault::ServerResets, 10),
        calm_from: Some(ms(3000)),
        pipe_bytes: random.pick(&[7, 64, 4096]),
        buffer_bytes: random.pick(&[3, 1024]),
        ..Settings::default()
    };
    let mut server = || {
        let bytes = random.below(90);
        let mischief = random.pick(&[
            Mischief::DiesInReply { bytes, away: ms(5) },
            Mischief::Stalls { time: ms(600) },
            Mischief::AnswersGarbage,
            Mischief::HalfCloses,
        ]);
        let mischief = (1..6).filter(|_| random.chance(400)).map(|at| (at, mischief)).collect();
        ServerScript { mischief, wanted: wanted.clone(), ..slow() }
    };
    let servers = vec![server(), server()];
    let mut world = World::new(seed, settings, servers);
    world.timeout = Some(ms(300));
    world.server_connections = world.random.between(1, 2) as u32;
    for client in 0..3 {
        let mut exchanges = Vec::new();
        for number in 0..12u32 {
            let server = number as usize % 2;
            let key = world.key_on(server, &format!("c{client}n{number}"));
            let begin = ms(80) * number;
            let version = world.random.pick(&[2, 3, 3]);
            exchanges
                .push(changed(&world, version).or(Reply::Failure(vec![0, 1])).not_before(begin));
            let lacks = Exchange::with(request(&[b"GET", &key]), Reply::Found(key.clone()));
            exchanges.push(lacks.or(Reply::Failure(vec![server])).not_before(begin));
        }
        exchanges.push(changed(&world, 3).not_before(ms(10_000)));
        let late = format!("c{client}late").into_bytes();
        exchanges.push(Exchange::with(request(&[b"GET", &late]), Reply::Found(late)));
        let script = world.client(exchanges);
        let script = manner(&mut world.random, script);
        world.ring.add_client(script);
    }
    world.run().tally()
}

/// HELLO, and what may come of it while nothing fails.
fn changed(world: &World, version: u8) -> Exchange {
    match world.wanted.knows_no_hello && version == 3 {
        true => hello(3).or(Reply::Error("NOPROTO unsupported protocol version\r\n")),
        false => hello(version),
    }
}
