//! Servers that lose the scripts that clients have loaded.

use ringcracker::sim::{
    Exchange, Fault, Faults, Mischief, Random, Reply, ServerScript, Settings, Wanted, bulk,
    request, script_name,
};

use crate::scenarios::{manner, ms, slow};
use crate::tally::Tally;
use crate::world::World;

/// Whatever becomes of servers and connections: who has loaded a script, or tried to, is not told
/// that it is missing.
pub fn a_server_that_died_has_the_scripts_of_before(seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let database = random.pick(&[0, 9]);
    let wanted = Wanted { database, ..Wanted::default() };
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
    // Much longer than the greeting, of which the scripts are a part, takes through a narrow pipe.
    world.timeout = Some(ms(500));
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
