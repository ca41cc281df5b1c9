//! Worlds with a plot: each shows that the worker does one thing rightly, whatever the seed.

use std::time::Duration;

use ringcracker::limits::TICK_MS;
use ringcracker::sim::{
    Change, ClientScript, Cut, Ended, Exchange, Fault, Faults, Leaves, Mischief, Random, Reads,
    Reply, ServerScript, Settings, bulk, integer, request,
};

use crate::author::{Author, with_keys};
use crate::ejection;
use crate::endings;
use crate::errands;
use crate::greetings;
use crate::names;
use crate::races;
use crate::rooms;
use crate::scripts;
use crate::stateful;
use crate::streams;
use crate::subscribers;
use crate::tally::Tally;
use crate::world::{Finished, World};

/// A run with its name.
pub type Scenario = (&'static str, fn(u64) -> Tally);

macro_rules! named {
    ($($scenario:path),* $(,)?) => {
        &[$((stringify!($scenario), $scenario as fn(u64) -> Tally)),*]
    };
}

/// Every scenario.
pub const ALL: &[Scenario] = named![
    pipelines_are_answered_in_order_however_they_are_split,
    a_pipeline_may_be_split_at_every_byte,
    a_killed_server_fails_what_waits_on_it_and_nothing_else,
    a_stalled_server_times_requests_out_in_time_and_late_replies_reach_nobody,
    a_client_that_vanishes_takes_no_other_clients_replies_along,
    a_request_over_several_servers_fails_with_the_words_of_the_dead_one,
    a_client_may_write_everything_before_it_reads,
    a_client_that_never_reads_is_closed_and_its_neighbours_are_served,
    a_refusing_server_is_used_again_once_it_is_back,
    a_half_closed_pipeline_is_answered_to_the_end,
    last_words_arrive_although_the_client_goes_on_sending,
    a_reply_too_many_costs_the_connection_and_is_given_to_nobody,
    in_a_storm_every_request_is_answered_rightly_or_with_an_error,
    names::a_name_is_looked_up_at_each_connect,
    names::a_slow_look_up_fails_requests_in_time_and_no_others,
    ejection::a_server_is_ejected_and_returns_to_the_millisecond,
    ejection::a_restart_ends_many_connections_and_ejects_nobody,
    greetings::nothing_reaches_a_server_before_its_greeting_is_over,
    greetings::a_client_speaks_resp3_once_a_server_has_agreed,
    scripts::a_server_that_died_has_the_scripts_of_before,
    endings::a_drain_answers_what_was_read,
    endings::a_drain_answers_what_was_put_aside,
    races::a_flood_starves_nobody,
    races::a_flood_of_pings_starves_nobody,
    races::who_is_gone_before_being_accepted_is_in_nobodys_way,
    races::a_reply_and_its_deadline_may_come_together,
    races::a_reply_is_not_for_a_request_that_was_not_sent,
    races::a_silent_server_is_given_up_while_requests_keep_coming,
    races::a_paused_client_is_read_again,
    races::last_words_to_a_client_that_does_nothing_have_an_end,
    rooms::only_so_many_clients_are_let_in,
    rooms::a_listener_leads_to_its_own_pool,
    stateful::nobody_comes_between_the_requests_of_a_transaction,
    stateful::a_watched_key_is_seen_to_change_and_no_other,
    stateful::what_is_pushed_is_given_to_one_who_waits,
    stateful::what_was_watched_is_lost_with_its_server,
    stateful::a_server_dies_in_the_middle_of_everything,
    errands::an_early_error_leaves_each_reply_where_it_belongs,
    errands::a_reply_to_another_question_is_given_to_nobody,
    errands::a_flush_reaches_every_server,
    subscribers::messages_come_between_their_confirmations,
    subscribers::who_would_hear_nothing_more_is_closed,
    streams::a_server_that_dies_in_a_reply_costs_the_client_that_has_a_part_of_it,
    streams::a_client_that_goes_in_a_reply_leaves_the_rest_to_nobody,
    streams::a_client_that_takes_nothing_of_a_stream_is_closed_and_holds_nobody_up,
    streams::what_is_said_here_waits_for_the_end_of_a_stream,
];

/// Which of a scenario's runs the one with `seed` is: what a scenario varies, it varies by this.
pub fn case(seed: u64) -> u64 {
    seed / 2 / ALL.len() as u64
}

pub const OK: &[u8] = b"+OK\r\n";
pub const NULL: &[u8] = b"$-1\r\n";
pub const REFUSED: Reply = Reply::Error("ERR Connection refused\r\n");
pub const TIMED_OUT: Reply = Reply::Error("ERR Connection timed out\r\n");

pub const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A world with everything going wrong that no client may notice.
pub fn faulty() -> Settings {
    Settings { faults: Faults::harmless(), ..Settings::default() }
}

/// A server that takes its time.
pub fn slow() -> ServerScript {
    ServerScript { latency: Duration::from_micros(300), ..ServerScript::default() }
}

/// Any manner that leaves a client with all its replies.
pub fn manner(random: &mut Random, script: ClientScript) -> ClientScript {
    // One byte at a time, unless there are so many that it would take all day.
    let bytes: usize = script.exchanges.iter().map(|exchange| exchange.request.len()).sum();
    let small = 1 + bytes / 2000;
    ClientScript {
        start: random.time_up_to(ms(3)),
        depth: random.pick(&[1, 3, 20, usize::MAX]),
        cut: random.pick(&[Cut::Whole, Cut::Every(small), Cut::Random(30), Cut::After(9)]),
        pause: random.pick(&[Duration::ZERO, Duration::from_micros(500)]),
        leaves: random.pick(&[Leaves::HalfClosing, Leaves::Closing { lingers: ms(30) }]),
        ..script
    }
}

/// A client whose every reply has to be right, in any manner.
pub fn add_polite(world: &mut World, name: &str, requests: usize, value_bytes: &[usize]) {
    let exchanges = Author::new(name, &mut world.random, value_bytes).exchanges(requests);
    let script = world.client(exchanges);
    let script = manner(&mut world.random, script);
    world.ring.add_client(script);
}

pub fn get(key: &[u8], value: &[u8]) -> Exchange {
    Exchange::new(request(&[b"GET", key]), bulk(value))
}

pub fn set(key: &[u8], value: &[u8]) -> Exchange {
    Exchange::new(request(&[b"SET", key, value]), OK.to_vec())
}

fn pipelines_are_answered_in_order_however_they_are_split(seed: u64) -> Tally {
    let mut world = World::new(seed, faulty(), vec![slow(), slow()]);
    world.server_connections = world.random.between(1, 3) as u32;
    for client in 0..world.random.between(1, 5) {
        add_polite(&mut world, &format!("client{client}"), 40, &[0, 3, 100, 3000]);
    }
    world.run().tally()
}

fn a_pipeline_may_be_split_at_every_byte(seed: u64) -> Tally {
    let mut tally = Tally::default();
    for number in 0..SPLITS {
        let mut author = Author::new("split", &mut Random::new(1), &[0, 20]);
        let mut exchanges = author.exchanges(12);
        exchanges.push(set(b"key", b"value\r\n$3\r\n"));
        exchanges.push(get(b"key", b"value\r\n$3\r\n"));
        let bytes: usize = exchanges.iter().map(|exchange| exchange.request.len()).sum();
        let place = case(seed) as usize * SPLITS + number;
        let cut = Cut::After(1 + place % (bytes - 1));
        let mut world = World::new(seed, Settings::default(), vec![slow(), slow()]);
        let script = world.client(exchanges);
        world.ring.add_client(ClientScript { cut, depth: usize::MAX, ..script });
        tally.add(&world.run().tally());
    }
    tally
}

/// Places that one run splits at: some hundred runs get through all of a pipeline.
const SPLITS: usize = 8;

fn a_killed_server_fails_what_waits_on_it_and_nothing_else(seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let mischief = Mischief::DiesInReply { bytes: random.below(30), away: ms(20) };
    let number = random.between(1, 25) as u64;
    let dies =
        (ms(random.between(1, 12) as u64), Change::Dies { resets: case(seed).is_multiple_of(2) });
    let dying = match random.chance(500) {
        true => ServerScript { changes: vec![dies, (ms(30), Change::Returns)], ..slow() },
        // Each client sends it at least 30 requests before the late ones.
        false => ServerScript { mischief: vec![(number, mischief)], ..slow() },
    };
    let mut world = World::new(seed, faulty(), vec![dying, slow()]);
    let mut counters = Vec::new();
    let clients = world.random.between(1, 4);
    for client in 0..clients {
        let mut exchanges = Vec::new();
        for number in 0..15 {
            let name = format!("c{client}n{number}");
            let (key, other) = (world.key_on(0, &name), world.key_on(1, &name));
            let failed = Reply::Failure(vec![0]);
            let counter = [&key[..], b"+"].concat();
            exchanges.push(set(&key, &key).or(failed.clone()));
            exchanges.push(set(&other, &other));
            exchanges.push(get(&key, &key).or(failed.clone()).or(Reply::Exactly(NULL.into())));
            exchanges.push(get(&other, &other));
            if world.server_of(&counter) == 0 {
                let incr = request(&[b"INCR", &counter]);
                exchanges.push(Exchange::new(incr, integer(1)).or(failed));
                counters.push(counter);
            }
        }
        // Much later everything is as if nothing had been.
        let late = world.key_on(0, &format!("c{client}late"));
        exchanges.push(set(&late, b"1").not_before(ms(10_000)));
        exchanges.push(get(&late, b"1"));
        let script = world.client(exchanges);
        let script = manner(&mut world.random, script);
        world.ring.add_client(script);
    }
    let mut finished = world.run();
    let failed: usize = (0..clients).map(|client| finished.errors(client)).sum();
    for counter in counters {
        let stored = finished.worker.ring().inner_mut().stored(0, &counter);
        assert!(matches!(stored, None | Some(b"1")), "carried out twice: {stored:?}");
    }
    Tally { failures: failed as u64, ..finished.tally() }
}

fn a_stalled_server_times_requests_out_in_time_and_late_replies_reach_nobody(seed: u64) -> Tally {
    let timeout = ms(400);
    let stalls = Mischief::Stalls { time: ms(1000 + case(seed) % 7 * 150) };
    let request = Random::new(seed).between(1, 12) as u64;
    let stalling = ServerScript { mischief: vec![(request, stalls)], ..slow() };
    // A client that waits for its accept would count that time too.
    let faults = Faults::harmless().with(Fault::AcceptNoDescriptor, 0);
    let settings = Settings { faults, ..Settings::default() };
    let mut world = World::new(seed, settings, vec![stalling, slow()]);
    world.timeout = Some(timeout);
    for client in 0..3 {
        let mut exchanges = Vec::new();
        for number in 0..8 {
            let name = format!("c{client}n{number}");
            let (key, other) = (world.key_on(0, &name), world.key_on(1, &name));
            exchanges.push(set(&key, &key).or(TIMED_OUT));
            exchanges.push(get(&key, &key).or(TIMED_OUT).or(Reply::Exactly(NULL.into())));
            exchanges.push(set(&other, &other));
        }
        let late = world.key_on(0, &format!("c{client}late"));
        exchanges.push(set(&late, &late).not_before(ms(15_000)));
        exchanges.push(get(&late, &late));
        let depth = world.random.pick(&[1, 5, usize::MAX]);
        let script = world.client(exchanges);
        world.ring.add_client(ClientScript { depth, ..script });
    }
    let mut finished = world.run();
    let mut slowest = Duration::ZERO;
    for client in 0..3 {
        slowest = slowest.max(slowest_error(&mut finished, client));
    }
    // The linked timeout is exact; the tick is the net under it.
    let latest = timeout + ms(TICK_MS);
    assert!((timeout..latest).contains(&slowest), "seed {seed}: failed after {slowest:?}");
    finished.tally()
}

/// The longest time from a request to an error in its place.
pub fn slowest_error(finished: &mut Finished, client: usize) -> Duration {
    let outcome = finished.worker.ring().inner_mut().outcome(client);
    let times = outcome.replies.iter().zip(&outcome.sent);
    let errors = times.filter(|((_, reply), _)| reply.starts_with(b"-"));
    errors.map(|((got, _), sent)| *got - *sent).max().unwrap_or_default()
}

fn a_client_that_vanishes_takes_no_other_clients_replies_along(seed: u64) -> Tally {
    let mut world = World::new(seed, faulty(), vec![slow(), slow()]);
    for client in 0..4 {
        let name = format!("vanishing{client}");
        let exchanges = Author::new(&name, &mut world.random, &[10, 2000]).exchanges(30);
        let reply_bytes = world.random.pick(&[0, 1, 3, 100]);
        let leaves = Leaves::Vanishing { reply_bytes, reset: world.random.chance(500) };
        let script = world.client(exchanges);
        let script = manner(&mut world.random, script);
        world.ring.add_client(ClientScript { leaves, ..script });
    }
    for client in 0..3 {
        add_polite(&mut world, &format!("staying{client}"), 30, &[10, 2000]);
    }
    world.run().tally()
}

fn a_request_over_several_servers_fails_with_the_words_of_the_dead_one(seed: u64) -> Tally {
    let start = Duration::ZERO;
    let dead = ServerScript {
        changes: vec![(start, Change::Dies { resets: true })],
        ..Default::default()
    };
    let mut world = World::new(seed, faulty(), vec![slow(), dead, slow()]);
    let mut exchanges = Vec::new();
    for number in 0..25 {
        let mut keys: Vec<Vec<u8>> = (0..world.random.between(1, 5))
            .map(|key| format!("n{number}k{key}").into_bytes())
            .collect();
        world.random.shuffle(&mut keys);
        let lives = keys.iter().all(|key| world.server_of(key) != 1);
        let mut pairs = vec![&b"MSET"[..]];
        keys.iter().for_each(|key| pairs.extend([&key[..], key]));
        let values: Vec<_> = keys.iter().map(|key| bulk(key)).collect();
        let count = integer(keys.len() as i64);
        for (request, reply) in [
            (request(&pairs), OK.to_vec()),
            (with_keys(b"MGET", &keys), ringcracker::sim::array(&values)),
            (with_keys(b"TOUCH", &keys), count.clone()),
            (with_keys(b"DEL", &keys), count.clone()),
        ] {
            let mut exchange = Exchange::new(request, reply);
            if !lives {
                exchange.replies = vec![REFUSED];
            }
            exchanges.push(exchange);
        }
    }
    let script = world.client(exchanges);
    let script = manner(&mut world.random, script);
    world.ring.add_client(script);
    world.run().tally()
}

fn a_client_may_write_everything_before_it_reads(seed: u64) -> Tally {
    let mut world = World::new(seed, faulty(), vec![slow(), slow()]);
    world.limits.in_flight_requests_max = world.random.between(1, 40);
    world.limits.in_flight_bytes_max = world.random.between(1, 20_000);
    world.limits.server_queue_requests_max = world.random.between(1, 40);
    world.limits.server_queue_bytes_max = world.random.between(1, 20_000);
    let exchanges = Author::new("writer", &mut world.random, &[0, 3000]).exchanges(150);
    let script = world.client(exchanges);
    let reads = Reads::AfterWriting;
    world.ring.add_client(ClientScript { depth: usize::MAX, reads, ..script });
    add_polite(&mut world, "neighbour", 40, &[0, 100]);
    world.run().tally()
}

fn a_client_that_never_reads_is_closed_and_its_neighbours_are_served(seed: u64) -> Tally {
    let mut world = World::new(seed, faulty(), vec![slow(), slow()]);
    world.limits.output_soft_bytes = world.random.between(1, 20_000);
    world.limits.output_hard_bytes = 60_000;
    world.limits.output_stall = ms(500);
    world.limits.in_flight_requests_max = world.random.between(1, 10);
    let value = vec![b'v'; 3000];
    // As large as the replies, so that not all of the requests can be put aside.
    let key = vec![b'k'; 3000];
    let mut exchanges = vec![set(&key, &value)];
    exchanges.extend((0..100).map(|_| get(&key, &value)));
    let reads = world.random.pick(&[Reads::Never, Reads::AfterWriting]);
    let script = world.client(exchanges);
    let flood = ClientScript { depth: usize::MAX, reads, ended: Ended::Always, ..script };
    world.ring.add_client(flood);
    for client in 0..2 {
        add_polite(&mut world, &format!("neighbour{client}"), 30, &[0, 100]);
    }
    let mut finished = world.run();
    assert!(finished.worker.ring().inner_mut().outcome(0).was_ended);
    let counters = finished.worker.counters();
    assert_eq!(counters.clients_stalled + counters.clients_over_output, 1, "{counters:?}");
    finished.tally()
}

fn a_refusing_server_is_used_again_once_it_is_back(seed: u64) -> Tally {
    let gone = match case(seed) % 2 {
        0 => Change::Dies { resets: true },
        _ => Change::Vanishes,
    };
    let server = ServerScript {
        changes: vec![(Duration::ZERO, gone), (ms(3000), Change::Returns)],
        ..slow()
    };
    // An accept that is tried again a tick later would count into the time of an error.
    let faults = Faults::harmless().with(Fault::AcceptNoDescriptor, 0);
    let settings = Settings { faults, ..Settings::default() };
    let mut world = World::new(seed, settings, vec![server]);
    world.timeout = Some(ms(300));
    let failure = if case(seed).is_multiple_of(2) { REFUSED } else { TIMED_OUT };
    for client in 0..3 {
        let key = format!("client{client}").into_bytes();
        let mut exchanges = Vec::new();
        for _ in 0..3 {
            let mut exchange = set(&key, b"early");
            exchange.replies = vec![failure.clone()];
            exchanges.push(exchange);
        }
        exchanges[1] = exchanges[1].clone().not_before(ms(310));
        exchanges[2] = exchanges[2].clone().not_before(ms(620));
        exchanges.push(set(&key, b"late").not_before(ms(3100)));
        exchanges.push(get(&key, b"late"));
        let script = world.client(exchanges);
        world.ring.add_client(ClientScript { start: ms(1), ..script });
    }
    let mut finished = world.run();
    let slowest = (0..3).map(|client| slowest_error(&mut finished, client)).max();
    let slowest = slowest.unwrap_or_default();
    let earliest = if case(seed).is_multiple_of(2) { Duration::ZERO } else { ms(300) };
    assert!((earliest..ms(300 + TICK_MS)).contains(&slowest), "failed after {slowest:?}");
    finished.tally()
}

fn a_half_closed_pipeline_is_answered_to_the_end(seed: u64) -> Tally {
    let mut world = World::new(seed, faulty(), vec![slow(), slow()]);
    world.limits.in_flight_requests_max = world.random.between(1, 100);
    for client in 0..3 {
        let name = format!("client{client}");
        let exchanges = Author::new(&name, &mut world.random, &[0, 3000]).exchanges(60);
        let script = world.client(exchanges);
        let leaves = Leaves::HalfClosing;
        world.ring.add_client(ClientScript { depth: usize::MAX, leaves, ..script });
    }
    world.run().tally()
}

fn last_words_arrive_although_the_client_goes_on_sending(seed: u64) -> Tally {
    let mut world = World::new(seed, faulty(), vec![slow(), slow()]);
    let quit = || Exchange::new(request(&[b"QUIT"]), OK.to_vec());
    let mut last = if case(seed).is_multiple_of(2) { quit() } else { bad_request() };
    last.request.extend(vec![b'x'; world.random.below(9000)]);
    last.is_refused_early = true;
    let before = world.random.pick(&[0, 1, 9]);
    let mut exchanges = Author::new("quitter", &mut world.random, &[0, 500]).exchanges(before);
    exchanges.push(last);
    let script = world.client(exchanges);
    let cut = world.random.pick(&[Cut::Whole, Cut::Random(200)]);
    let (leaves, pause) = (Leaves::Waiting, Duration::from_micros(100));
    world.ring.add_client(ClientScript { depth: usize::MAX, cut, leaves, pause, ..script });
    world.run().tally()
}

pub fn bad_request() -> Exchange {
    let refused = Reply::Error("ERR Protocol error");
    Exchange::with(b"*1\r\n:1\r\n".to_vec(), refused).refused_early()
}

fn a_reply_too_many_costs_the_connection_and_is_given_to_nobody(seed: u64) -> Tally {
    let mischief = match case(seed) % 3 {
        0 => Mischief::AnswersTwice,
        1 => Mischief::AnswersGarbage,
        _ => Mischief::HalfCloses,
    };
    let server = ServerScript { mischief: vec![(3, mischief)], ..slow() };
    let mut world = World::new(seed, faulty(), vec![server]);
    let mut exchanges = vec![set(b"a", b"1"), set(b"b", b"2"), get(b"a", b"1")];
    if !case(seed).is_multiple_of(3) {
        exchanges[2].replies =
            vec![Reply::Error("ERR Invalid argument\r\n"), Reply::Error("ERR unknown\r\n")];
    }
    exchanges.push(get(b"b", b"2").not_before(ms(1000)));
    exchanges.push(get(b"a", b"1"));
    let script = world.client(exchanges);
    world.ring.add_client(script);
    let mut finished = world.run();
    assert_eq!(finished.worker.counters().server_failures, 1);
    finished.tally()
}

fn in_a_storm_every_request_is_answered_rightly_or_with_an_error(seed: u64) -> Tally {
    let faults = Faults::harmless()
        .with(Fault::ServerResets, 3)
        .with(Fault::DataBeatsCancel, 500)
        .with(Fault::DataBeatsDeadline, 500)
        .with(Fault::ConnectNoDescriptor, 50);
    let mut random = Random::new(seed);
    let mut server = |first: u64| ServerScript {
        changes: vec![
            (random.time_up_to(ms(20)), Change::Dies { resets: true }),
            (ms(25), Change::Returns),
            (ms(30) + random.time_up_to(ms(20)), Change::Vanishes),
            (ms(400), Change::Returns),
        ],
        mischief: vec![
            (first, Mischief::DiesInReply { bytes: random.below(20), away: ms(10) }),
            (first + 20, Mischief::Stalls { time: ms(700) }),
            (first + 40, Mischief::AnswersGarbage),
            (first + 60, Mischief::HalfCloses),
        ],
        ..slow()
    };
    let servers = vec![server(5), server(10), server(15)];
    let calm_from = Some(ms(2000));
    let settings =
        Settings { faults, buffers: 3, buffer_bytes: 200, calm_from, ..Settings::default() };
    let mut world = World::new(seed, settings, servers);
    world.timeout = Some(ms(200));
    world.limits.in_flight_requests_max = 10;
    world.limits.server_queue_requests_max = 8;
    for client in 0..4 {
        let mut exchanges = Vec::new();
        for number in 0..30 {
            let keys: Vec<Vec<u8>> =
                (0..3).map(|key| format!("c{client}n{number}k{key}").into_bytes()).collect();
            let failed = Reply::Failure(world.servers_of(&keys[..1]));
            exchanges.push(set(&keys[0], &keys[0]).or(failed));
            let failed = Reply::Failure(world.servers_of(&keys));
            let found = Reply::AllFound(keys.clone());
            exchanges.push(Exchange::with(with_keys(b"MGET", &keys), found).or(failed));
        }
        // Long after the storm nothing fails.
        for number in 0..6 {
            let late = format!("c{client}late{number}").into_bytes();
            exchanges.push(set(&late, b"1").not_before(ms(4000)));
            exchanges.push(get(&late, b"1"));
        }
        let script = world.client(exchanges);
        let script = manner(&mut world.random, script);
        let pause = ms(5);
        let reset = world.random.chance(500);
        let leaves = match client {
            0 => Leaves::Vanishing { reply_bytes: 300, reset },
            _ => script.leaves,
        };
        world.ring.add_client(ClientScript { pause, leaves, ..script });
    }
    world.run().tally()
}
