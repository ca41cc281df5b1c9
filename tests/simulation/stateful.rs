//! Worlds with a plot, about clients that a server has to remember: transactions, watched keys, and
//! waiting for others.

use std::time::Duration;

use ringcracker::sim::{
    Change, ClientScript, Ended, Exchange, Leaves, Random, Reply, ServerScript, Settings, array,
    bulk, marked, request,
};

use crate::scenarios::{OK, add_polite, faulty, manner, ms, set, slow};
use crate::tally::Tally;
use crate::world::World;

/// The requests of all clients count on the same keys, and none comes between those of one.
pub fn nobody_comes_between_the_requests_of_a_transaction(seed: u64) -> Tally {
    let mut world = World::new(seed, faulty(), vec![slow(), slow()]);
    world.limits.server_queue_requests_max = world.random.pick(&[1, 3, 1000]);
    world.server_connections = world.random.between(1, 2) as u32;
    let keys = [world.key_on(0, "n"), world.key_on(1, "n")];
    for _ in 0..world.random.between(2, 5) {
        let mut exchanges = Vec::new();
        for _ in 0..12 {
            let key = &keys[world.random.below(2)];
            let count = world.random.between(1, 3);
            let ends_well = world.random.chance(800);
            exchanges.extend(counting(key, count, Reply::Successive(count), ends_well));
        }
        let script = world.client(exchanges);
        let script = manner(&mut world.random, script);
        world.ring.add_client(script);
    }
    add_polite(&mut world, "polite", 20, &[0, 100]);
    world.run().tally()
}

/// Own writes count, in whatever order they could arrive at the server; other clients that watch on
/// the same connection before do not.
pub fn a_watched_key_is_seen_to_change_and_no_other(seed: u64) -> Tally {
    let mut world = World::new(seed, faulty(), vec![slow(), slow()]);
    world.server_connections = world.random.between(1, 2) as u32;
    for client in 0..world.random.between(2, 5) {
        let mut exchanges = Vec::new();
        for number in 0..10 {
            let server = world.random.below(2);
            let key = world.key_on(server, &format!("c{client}n{number}"));
            let count = world.key_on(server, &format!("c{client}n{number}count"));
            exchanges.push(set(&key, b"before"));
            exchanges.push(command(&[b"WATCH", &key], OK));
            match world.random.below(4) {
                0 => exchanges.extend(counting(&count, 2, Reply::Successive(2), true)),
                1 => {
                    exchanges.push(set(&key, b"behind"));
                    let unchanged = Reply::Exactly(NO_ARRAY.into());
                    exchanges.extend(counting(&count, 1, unchanged, true));
                }
                2 => exchanges.extend(counting(&count, 1, Reply::Successive(1), false)),
                _ => exchanges.push(command(&[b"UNWATCH"], OK)),
            }
            // Whoever has the connection by now does not watch it.
            exchanges.push(set(&key, b"behind"));
        }
        let script = world.client(exchanges);
        let script = manner(&mut world.random, script);
        world.ring.add_client(script);
    }
    let mut finished = world.run();
    assert_eq!(finished.worker.counters().requests_failed, 0);
    finished.tally()
}

/// What is pushed is given to one who waits, each to another one; who has left is given nothing.
pub fn what_is_pushed_is_given_to_one_who_waits(seed: u64) -> Tally {
    let mut world = World::new(seed, faulty(), vec![slow(), slow()]);
    // Shorter than the waits.
    world.timeout = Some(ms(400));
    let lists = [world.key_on(0, "list"), world.key_on(1, "list")];
    for number in 0..world.random.between(0, 4) {
        let list = lists[number % 2].clone();
        let mut exchanges = vec![pop(&list)];
        let (leaves, ended) = match world.random.below(3) {
            0 => (Leaves::HalfClosing, Ended::Always),
            chance => (Leaves::Vanishing { reply_bytes: 0, reset: chance == 1 }, Ended::Never),
        };
        if leaves != Leaves::HalfClosing {
            // It goes once it has written all, some time after the pop has reached the server.
            exchanges.push(command(&[b"PING"], b"+PONG\r\n").not_before(ms(100)));
        }
        let script = world.client(exchanges);
        let start = world.random.time_up_to(ms(5));
        let depth = usize::MAX;
        world.ring.add_client(ClientScript { start, leaves, ended, depth, ..script });
    }
    let mut pushes = [0, 0];
    for number in 0..world.random.between(2, 6) {
        let rounds = world.random.between(1, 3);
        let mut exchanges = Vec::new();
        for round in 0..rounds {
            // One after the other: whoever has sent these and been told nothing is not yet served.
            exchanges.extend([pop(&lists[number % 2]), set(b"other", b"1")]);
            let own = world.key_on(round % 2, &format!("own{number}"));
            for which in 0..2 {
                let element = marked(&format!("w{number}r{round}n{which}"), b"");
                exchanges.push(command(&[b"LPUSH", &own, &element], b":1\r\n"));
                let reply = array(&[bulk(&own), bulk(&element)]);
                exchanges.push(command(&[b"BLPOP", &own, b"0"], &reply));
            }
        }
        exchanges.push(command(&[b"BLPOP", b"nothing", b"0.05"], NO_ARRAY));
        pushes[number % 2] += rounds;
        let script = world.client(exchanges);
        let script = manner(&mut world.random, script);
        let leaves = Leaves::Closing { lingers: ms(30) };
        world.ring.add_client(ClientScript { leaves, ..script });
    }
    for (server, (list, pushes)) in lists.iter().zip(pushes).enumerate() {
        let mut exchanges = Vec::new();
        for number in 0..pushes {
            let element = marked(&format!("s{server}n{number}"), b"");
            let push = request(&[b"LPUSH", list, &element]);
            exchanges.push(Exchange::with(push, Reply::Answered(element)).not_before(ms(600)));
        }
        let script = world.client(exchanges);
        world.ring.add_client(script);
    }
    let mut finished = world.run();
    assert_eq!(finished.worker.counters().requests_failed, 0);
    finished.tally()
}

/// Whatever a client has begun when its server dies, it hears of it, and goes on.
pub fn a_server_dies_in_the_middle_of_everything(seed: u64) -> Tally {
    let settings = Settings { calm_from: Some(ms(3000)), ..faulty() };
    let mut servers = vec![slow(), slow()];
    for server in &mut servers {
        *server = ServerScript { changes: deaths(seed), ..server.clone() };
    }
    let mut world = World::new(seed, settings, servers);
    world.timeout = Some(ms(500));
    world.prompt_from = Some(ms(4000));
    for client in 0..world.random.between(2, 4) {
        let mut exchanges = Vec::new();
        for number in 0..30u32 {
            let server = world.random.below(2);
            let name = format!("c{client}n{number}");
            let key = world.key_on(server, &name);
            let begin = ms(90) * number;
            let or_fails = |one: Exchange| one.or(Reply::Failure(vec![server])).not_before(begin);
            let or_null = |one: Exchange| or_fails(one).or(Reply::Exactly(NO_ARRAY.into()));
            match number % 3 {
                0 => {
                    let run = counting(&key, 2, Reply::Successive(2), true);
                    exchanges.extend(run.into_iter().map(or_fails));
                }
                1 => {
                    exchanges.push(or_fails(command(&[b"WATCH", &key], OK)));
                    // It may die while nothing is under way.
                    let late = begin + world.random.time_up_to(ms(60));
                    let run = counting(&key, 1, Reply::Successive(1), world.random.chance(700));
                    exchanges.extend(run.into_iter().map(or_null).map(|one| one.not_before(late)));
                }
                _ => {
                    let wait = Reply::Exactly(NO_ARRAY.into());
                    let pop = request(&[b"BLPOP", &key, b"0.08"]);
                    exchanges.push(or_fails(Exchange::with(pop, wait)));
                }
            }
        }
        let key = world.key_on(client % 2, &format!("late{client}"));
        exchanges.push(command(&[b"WATCH", &key], OK).not_before(ms(5000)));
        exchanges.extend(counting(&key, 1, Reply::Successive(1), true));
        let script = world.client(exchanges);
        let script = manner(&mut world.random, script);
        world.ring.add_client(script);
    }
    let mut finished = world.run();
    assert!(finished.worker.counters().server_failures > 0, "nothing went wrong");
    finished.tally()
}

/// Who watched a key when its server died is not told that nothing has changed.
pub fn what_was_watched_is_lost_with_its_server(seed: u64) -> Tally {
    let resets = seed.is_multiple_of(4);
    let changes = vec![(ms(500), Change::Dies { resets }), (ms(600), Change::Returns)];
    let dying = ServerScript { changes, ..slow() };
    let mut world = World::new(seed, faulty(), vec![dying, slow()]);
    for client in 0..world.random.between(1, 4) {
        let key = world.key_on(0, &format!("c{client}"));
        let count = world.key_on(0, &format!("c{client}count"));
        let mut exchanges = vec![set(&key, b"before"), command(&[b"WATCH", &key], OK)];
        if world.random.chance(500) {
            exchanges.push(command(&[b"MULTI"], OK));
            exchanges.push(command(&[b"INCR", &count], b"+QUEUED\r\n"));
            exchanges.push(command(&[b"EXEC"], NO_ARRAY).not_before(ms(800)));
        } else {
            exchanges.push(set(&key, b"behind").not_before(ms(800)));
            exchanges.extend(counting(&count, 1, Reply::Exactly(NO_ARRAY.into()), true));
        }
        exchanges.extend(counting(&count, 1, Reply::Exactly(b"*1\r\n:1\r\n".into()), true));
        let script = world.client(exchanges);
        let script = manner(&mut world.random, script);
        world.ring.add_client(script);
    }
    world.run().tally()
}

/// Some times at which a server dies, and at which it returns.
fn deaths(seed: u64) -> Vec<(Duration, Change)> {
    let mut random = Random::new(seed ^ 0x5eed);
    let mut changes = Vec::new();
    for number in 0..4 {
        let time = ms(500) * number + random.time_up_to(ms(400));
        changes.push((time, Change::Dies { resets: random.chance(500) }));
        changes.push((time + random.time_up_to(ms(60)), Change::Returns));
    }
    changes
}

/// A transaction of `count` increments that is answered with `reply`, or is discarded.
fn counting(key: &[u8], count: usize, reply: Reply, ends_well: bool) -> Vec<Exchange> {
    let mut exchanges = vec![command(&[b"MULTI"], OK)];
    exchanges.extend((0..count).map(|_| command(&[b"INCR", key], b"+QUEUED\r\n")));
    exchanges.push(match ends_well {
        true => Exchange::with(request(&[b"EXEC"]), reply),
        false => command(&[b"DISCARD"], OK),
    });
    exchanges
}

fn pop(list: &[u8]) -> Exchange {
    Exchange::with(request(&[b"BLPOP", list, b"0"]), Reply::Popped(list.to_vec()))
}

fn command(arguments: &[&[u8]], reply: &[u8]) -> Exchange {
    Exchange::new(request(arguments), reply.to_vec())
}

/// The reply to EXEC when nothing was carried out, and to a wait that is over.
const NO_ARRAY: &[u8] = b"*-1\r\n";
