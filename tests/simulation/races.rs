//! More worlds with a plot: about moments at which two things happen at once, and about those who
//! wait meanwhile.

use std::time::Duration;

use ringcracker::limits::{LAST_WORDS_TIME, TICK_MS};
use ringcracker::sim::{
    Change, ClientScript, Ended, Exchange, Fault, Faults, Leaves, Mischief, Random, Reads, Reply,
    ServerScript, Settings, mark_of, marked, request,
};
use ringcracker::time::Instant;

use crate::author::Author;
use crate::scenarios::{
    OK, TIMED_OUT, add_polite, bad_request, case, faulty, get, ms, set, slow, slowest_error,
};
use crate::tally::Tally;
use crate::world::{Finished, World};

/// Clients that send all that they have at once get a turn each, and so does everybody else.
pub fn a_flood_starves_nobody(seed: u64) -> Tally {
    let settings = Settings { pipe_bytes: 1 << 20, buffer_bytes: 16 << 10, ..faulty() };
    let settings = Settings { faults: Faults::default(), ..settings };
    let mut world = World::new(seed, settings, vec![ServerScript::default(); 2]);
    world.limits.in_flight_requests_max = 50;
    for client in 0..4 {
        let key = format!("flood{client}").into_bytes();
        let mut exchanges = vec![set(&key, &key)];
        exchanges.extend((0..3000).map(|_| get(&key, &key)));
        let script = world.client(exchanges);
        world.ring.add_client(ClientScript { depth: usize::MAX, ..script });
    }
    let exchanges = Author::new("polite", &mut world.random, &[0, 100]).exchanges(20);
    let script = world.client(exchanges);
    world.ring.add_client(script);
    let mut finished = world.run();
    let slowest = slowest(&mut finished, 4);
    assert!(slowest < ms(5), "the polite client has waited {slowest:?}");
    finished.tally()
}

/// Requests that the proxy answers by itself wait for nothing, so only their number holds a client
/// up that sends thousands.
pub fn a_flood_of_pings_starves_nobody(seed: u64) -> Tally {
    let settings = Settings { pipe_bytes: 1 << 20, buffer_bytes: 16 << 10, ..Settings::default() };
    let settings = Settings { ticks_heal_nothing: true, ..settings };
    let mut world = World::new(seed, settings, vec![ServerScript::default(); 2]);
    let pings = vec![Exchange::new(b"PING\r\n".to_vec(), b"+PONG\r\n".to_vec()); 20_000];
    let script = world.client(pings);
    world.ring.add_client(ClientScript { depth: usize::MAX, ..script });
    let exchanges = Author::new("polite", &mut world.random, &[0, 100]).exchanges(20);
    let script = world.client(exchanges);
    let polite = world.ring.add_client(ClientScript { start: ms(1), ..script });
    let mut finished = world.run();
    let slowest = slowest(&mut finished, polite);
    assert!(slowest < ms(15), "the polite client has waited {slowest:?}");
    finished.tally()
}

/// The longest time from a request of a client to its reply.
fn slowest(finished: &mut Finished, client: usize) -> Duration {
    let outcome = finished.worker.ring().inner_mut().outcome(client);
    let times = outcome.sent.iter().zip(&outcome.replies).map(|(sent, (got, _))| *got - *sent);
    times.max().unwrap_or_default()
}

pub fn who_is_gone_before_being_accepted_is_in_nobodys_way(seed: u64) -> Tally {
    let faults =
        Faults::harmless().with(Fault::AcceptNoDescriptor, 300).with(Fault::AcceptAborted, 700);
    let settings = Settings { faults, ..Settings::default() };
    let mut world = World::new(seed, settings, vec![slow()]);
    for _ in 0..8 {
        let ping = Exchange::new(request(&[b"PING"]), b"+PONG\r\n".to_vec());
        let script = world.client(vec![ping]);
        let leaves = Leaves::Vanishing { reply_bytes: 0, reset: world.random.chance(500) };
        let start = world.random.time_up_to(ms(3));
        world.ring.add_client(ClientScript { start, leaves, ..script });
    }
    add_polite(&mut world, "staying", 20, &[0, 100]);
    world.run().tally()
}

pub fn a_reply_and_its_deadline_may_come_together(seed: u64) -> Tally {
    let timeout = ms(300);
    let faults = Faults::default()
        .with(Fault::DataBeatsDeadline, 500)
        .with(Fault::LateCompletion, 300)
        .with(Fault::ShortReceive, 300);
    let mut random = Random::new(seed);
    // The request is queued, sent, received and carried out within this time.
    let on_the_way = random.time_up_to(Duration::from_micros(100));
    let mischief = vec![(3, Mischief::Stalls { time: timeout - on_the_way })];
    let stalling = ServerScript { mischief, ..ServerScript::default() };
    let settings = Settings { faults, ..Settings::default() };
    let mut world = World::new(seed, settings, vec![stalling]);
    world.timeout = Some(timeout);
    let late = || set(b"a", b"1").or(TIMED_OUT);
    let mut exchanges = vec![late(), late(), late(), late()];
    exchanges.extend([set(b"a", b"2").not_before(ms(1000)), get(b"a", b"2")]);
    let script = world.client(exchanges);
    let depth = world.random.pick(&[1, usize::MAX]);
    world.ring.add_client(ClientScript { depth, ..script });
    world.run().tally()
}

/// A server says each thing again, at the moment at which the next request is queued.
pub fn a_reply_is_not_for_a_request_that_was_not_sent(seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let again = (1..=ROUNDS).map(|number| {
        let after = ROUND - random.time_up_to(Duration::from_micros(150));
        (number, Mischief::AnswersAgain { after })
    });
    let server = ServerScript { mischief: again.collect(), ..ServerScript::default() };
    let settings = Settings { connect_time: Duration::ZERO, ..Settings::default() };
    let mut world = World::new(seed, settings, vec![server, ServerScript::default()]);
    let key = world.key_on(0, "key");
    let swap = |number: u64| {
        let value = marked(&format!("victim{number}"), b"");
        let answered = Reply::Answered(mark_of(&value).expect("it is marked").to_vec());
        let exchange = Exchange::with(request(&[b"GETSET", &key, &value]), answered);
        exchange.or(Reply::Failure(vec![0])).not_before(ROUND * number as u32)
    };
    let script = world.client((0..ROUNDS).map(swap).collect());
    world.ring.add_client(script);
    // Others keep the worker awake at these moments, so that it finds both at once.
    for number in 0..3 {
        let other = world.key_on(1, &format!("other{number}"));
        let ask = |number: u64| {
            let moment = ROUND * (number / 8) as u32;
            set(&other, b"1").not_before(moment.saturating_sub(Duration::from_micros(40)))
        };
        let script = world.client((0..8 * ROUNDS).map(ask).collect());
        world.ring.add_client(script);
    }
    world.run().tally()
}

const ROUNDS: u64 = 20;
const ROUND: Duration = ms(10);

pub fn a_silent_server_is_given_up_while_requests_keep_coming(seed: u64) -> Tally {
    let timeout = ms(400);
    let stalls = vec![(ms(1), Change::Stalls), (ms(5000), Change::Resumes)];
    let server = ServerScript { changes: stalls, ..ServerScript::default() };
    // A client that waits for its accept would count that time too.
    let faults = Faults::harmless().with(Fault::AcceptNoDescriptor, 0);
    let settings = Settings { faults, ..Settings::default() };
    let mut world = World::new(seed, settings, vec![server]);
    world.timeout = Some(timeout);
    for client in 0..2 {
        let key = format!("c{client}").into_bytes();
        let exchange = |number: u64| {
            let exchange = set(&key, b"value").or(TIMED_OUT);
            exchange.not_before(ms(2 + 30 * number))
        };
        let script = world.client((0..50).map(exchange).collect());
        world.ring.add_client(ClientScript { depth: usize::MAX, ..script });
    }
    let mut finished = world.run();
    for client in 0..2 {
        assert!(slowest_error(&mut finished, client) < timeout + ms(TICK_MS));
    }
    finished.tally()
}

/// Its cancel takes longer than what was put aside.
pub fn a_paused_client_is_read_again(seed: u64) -> Tally {
    let late = Random::new(seed).between(500, 950) as u32;
    let faults = Faults::default().with(Fault::LateCompletion, late);
    let settings = Settings { pipe_bytes: 1 << 17, buffer_bytes: 16 << 10, ..Settings::default() };
    let mut world = World::new(seed, Settings { faults, ..settings }, vec![slow()]);
    let ping = Exchange::new(b"PING\r\n".to_vec(), b"+PONG\r\n".to_vec());
    let script = world.client(vec![ping; 20_000]);
    world.ring.add_client(ClientScript { depth: usize::MAX, ..script });
    world.run().tally()
}

pub fn last_words_to_a_client_that_does_nothing_have_an_end(seed: u64) -> Tally {
    let mut world = World::new(seed, faulty(), vec![slow()]);
    let mut last = Exchange::new(request(&[b"QUIT"]), OK.to_vec());
    if case(seed).is_multiple_of(3) {
        last = bad_request();
    }
    let script = world.client(vec![last]);
    let (reads, leaves, ended) = (Reads::Never, Leaves::Waiting, Ended::Always);
    world.ring.add_client(ClientScript { reads, leaves, ended, ..script });
    add_polite(&mut world, "neighbour", 10, &[0, 100]);
    let mut finished = world.run();
    let ring = finished.worker.ring().inner_mut();
    assert!(ring.now() < Instant::from_nanos(0) + LAST_WORDS_TIME + ms(10 * TICK_MS));
    finished.tally()
}
