//! Servers that want a password and a database before anything else.

use ringcracker::sim::{
    Exchange, Fault, Faults, Mischief, Random, Reply, ServerScript, Settings, Wanted, bulk,
    request, script_name,
};

use crate::scenarios::{NULL, get, manner, ms, set, slow};
use crate::tally::Tally;
use crate::world::World;

/// The servers panic when something comes too early, or together with a word of the greeting.
pub fn nothing_reaches_a_server_before_its_greeting_is_over(seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let (has_password, database) = random.pick(&[(true, 9), (true, 0), (false, 9)]);
    let password = has_password.then(|| "a password".to_owned());
    let wanted = Wanted { password, database };
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

/// Whatever becomes of servers and connections: who has loaded a script, or tried to, is not told
/// that it is missing.
pub fn a_server_that_died_has_the_scripts_of_before(seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let database = random.pick(&[0, 9]);
    let wanted = Wanted { password: None, database };
    let settings = Settings {
        faults: Faults::harmless().with(Fault::ServerResets, 10),
        calm_from: Some(ms(3000)),
        pipe_bytes: random.pick(&[7, 64, 4096]),
        buffer_bytes: random.pick(&[3, 1024]),
        ..Settings::default()
    };
    let mut server = || {
        // In the greeting, at SCRIPT LOAD, or later.
        let mischief = (0..3).map(|_| {
            let mischief = random.pick(&[
                Mischief::DiesInReply { bytes: 0, away: ms(5) },
                Mischief::DiesInReply { bytes: 3, away: ms(30) },
                Mischief::Stalls { time: ms(600) },
                Mischief::HalfCloses,
            ]);
            (random.between(3, 40) as u64, mischief)
        });
        ServerScript { mischief: mischief.collect(), wanted: wanted.clone(), ..slow() }
    };
    let servers = vec![server(), server()];
    let mut world = World::new(seed, settings, servers);
    world.timeout = Some(ms(300));
    world.server_connections = world.random.between(1, 2) as u32;
    for client in 0..3 {
        let mut exchanges = Vec::new();
        for number in 0..15u32 {
            let begin = ms(60) * number;
            let body = format!("return 'c{client}n{}'", number / 3).into_bytes();
            let name = script_name(&body);
            if number % 3 == 0 {
                let load = request(&[b"SCRIPT", b"LOAD", &body]);
                let failed = Reply::Failure(vec![0, 1]);
                exchanges.push(Exchange::new(load, bulk(&name)).or(failed).not_before(begin));
            }
            for server in 0..2 {
                let key = world.key_on(server, &format!("c{client}n{number}"));
                let run = request(&[b"EVALSHA", &name, b"1", &key]);
                let failed = Reply::Failure(vec![server]);
                exchanges.push(Exchange::new(run, bulk(&body)).or(failed).not_before(begin));
            }
        }
        let body = format!("return 'c{client}n4'").into_bytes();
        let late = request(&[b"EVALSHA", &script_name(&body), b"1", b"late"]);
        exchanges.push(Exchange::new(late, bulk(&body)).not_before(ms(10_000)));
        let script = world.client(exchanges);
        let script = manner(&mut world.random, script);
        world.ring.add_client(script);
    }
    let mut finished = world.run();
    assert!(finished.worker.counters().server_failures > 0, "nothing went wrong");
    finished.tally()
}
