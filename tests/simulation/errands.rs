//! Worlds with a plot, about what only memcached has: silence, values that are refused before they
//! have come, replies that tell what they answer, and requests for everybody.

use ringcracker::proto::Protocol;
use ringcracker::sim::{ClientScript, Exchange, Mischief, Reply, ServerScript};

use crate::clerk::{Clerk, line, storage};
use crate::scenarios::{case, faulty, manner, slow};
use crate::tally::Tally;
use crate::world::World;

fn memcached() -> ServerScript {
    ServerScript { protocol: Protocol::Memcache, value_bytes_max: 9000, ..slow() }
}

/// Several clients on one connection, some of whose sets are answered before they have been sent.
pub fn an_early_error_leaves_each_reply_where_it_belongs(seed: u64) -> Tally {
    let mut world = World::new(seed, faulty(), vec![memcached(); 1 + case(seed) as usize % 2]);
    for client in 0..4 {
        let mut random = world.random.clone();
        let mut clerk = Clerk::new(&world, client, &mut random, &[0, 100, 5000], false);
        world.random = random;
        let mut exchanges = Vec::new();
        for _ in 0..6 {
            exchanges.extend(clerk.exact_exchanges(4));
            exchanges.push(clerk.exact_too_large());
        }
        exchanges.extend(clerk.exact_exchanges(1));
        let script = world.client(exchanges);
        let script = manner(&mut world.random, script);
        world.ring.add_client(script);
    }
    world.run().tally()
}

/// A reply that comes twice is taken for no other's: no two requests in a row may be answered with
/// the same words.
pub fn a_reply_to_another_question_is_given_to_nobody(seed: u64) -> Tally {
    let number = 1 + case(seed) % 8;
    let mischief = vec![(number, Mischief::AnswersTwice)];
    let mut world = World::new(seed, faulty(), vec![ServerScript { mischief, ..memcached() }]);
    let set = |key: &str| {
        let request = storage(&format!("set {key} 0"), "", key.as_bytes(), false);
        (request, b"STORED\r\n".to_vec())
    };
    let get = |key: &str| {
        let block = format!("VALUE {key} 0 {}\r\n{key}\r\nEND\r\n", key.len());
        (line(&["get", key]), block.into_bytes())
    };
    let touch = (line(&["touch", "one", "0"]), b"TOUCHED\r\n".to_vec());
    let delete = (line(&["delete", "nobody's"]), b"NOT_FOUND\r\n".to_vec());
    let count = (line(&["incr", "n", "1"]), b"6\r\n".to_vec());
    let number = (storage("set n 0", "", b"5", false), b"STORED\r\n".to_vec());
    let version = (line(&["version"]), b"VERSION 1.6.0\r\n".to_vec());
    let asked = [number, version, set("one"), touch, set("two"), get("one"), get("two"), delete];
    let last = [get("two"), count, get("one")];
    let exchanges = asked.into_iter().chain(last).map(|(request, reply)| {
        let failed = Reply::Exactly(b"SERVER_ERROR Invalid argument\r\n".to_vec());
        let lost = Reply::Exactly(b"END\r\n".to_vec());
        let none = Reply::Exactly(b"NOT_FOUND\r\n".to_vec());
        let is_get = request.starts_with(b"get");
        Exchange::new(request, reply).or(failed).or(if is_get { lost } else { none })
    });
    let script = world.client(exchanges.collect());
    let depth = world.random.pick(&[1, usize::MAX]);
    world.ring.add_client(ClientScript { depth, ..script });
    let mut finished = world.run();
    assert_eq!(finished.worker.counters().server_bad_replies, 1, "nobody has noticed");
    finished.tally()
}

/// What is said to all servers is said to each, and answered once, or not at all.
pub fn a_flush_reaches_every_server(seed: u64) -> Tally {
    let mut world = World::new(seed, faulty(), vec![memcached(); 3]);
    let keys: Vec<String> = (0..9).map(|number| format!("key{number}")).collect();
    let get = line(&["get", &keys.join(" ")]);
    let mut exchanges = Vec::new();
    for round in 0..6 {
        for key in &keys {
            let request = storage(&format!("set {key} 0"), "", key.as_bytes(), false);
            exchanges.push(Exchange::new(request, b"STORED\r\n".to_vec()));
        }
        let block = |key: &String| format!("VALUE {key} 0 {}\r\n{key}\r\n", key.len());
        let blocks: String = keys.iter().map(block).collect();
        exchanges.push(Exchange::new(get.clone(), format!("{blocks}END\r\n").into_bytes()));
        let last = match round % 2 {
            0 => {
                exchanges.push(Exchange::new(line(&["flush_all"]), b"OK\r\n".to_vec()));
                get.clone()
            }
            _ => [&line(&["flush_all", "noreply"])[..], &get].concat(),
        };
        exchanges.push(Exchange::new(last, b"END\r\n".to_vec()));
    }
    let script = world.client(exchanges);
    let script = manner(&mut world.random, script);
    world.ring.add_client(script);
    world.run().tally()
}
