//! Worlds that are told to end in good order, in the middle of traffic.

use std::time::Duration;

use ringcracker::sim::{
    ClientScript, Cut, Ended, Exchange, Faults, Leaves, ServerScript, Settings, request,
};

use crate::author::Author;
use crate::tally::Tally;
use crate::world::{Finished, World};

fn faulty() -> Settings {
    Settings { faults: Faults::harmless(), ..Settings::default() }
}

fn slow() -> ServerScript {
    ServerScript { latency: Duration::from_micros(300), ..ServerScript::default() }
}

/// Clients of every kind: idle ones, busy ones, and some that come too late.
pub fn a_drain_answers_what_was_read(seed: u64) -> Tally {
    let mut world = World::new(seed, faulty(), vec![slow(), slow()]);
    world.server_connections = world.random.between(1, 3) as u32;
    world.dealt = world.random.chance(300);
    world.preconnect = world.random.chance(500);
    let drains = world.random.time_up_to(Duration::from_millis(30));
    world.drains = Some(drains);
    for client in 0..world.random.between(1, 6) {
        let name = format!("client{client}");
        let exchanges = Author::new(&name, &mut world.random, &[0, 3, 100, 3000]).exchanges(40);
        let script = world.client(exchanges);
        let script = ClientScript {
            start: world.random.time_up_to(Duration::from_millis(35)),
            depth: world.random.pick(&[1, 3, 20]),
            cut: world.random.pick(&[Cut::Whole, Cut::Random(30), Cut::After(9)]),
            pause: world.random.pick(&[Duration::ZERO, Duration::from_millis(2)]),
            leaves: world.random.pick(&[Leaves::HalfClosing, Leaves::Waiting]),
            ended: Ended::Maybe,
            ..script
        };
        world.ring.add_client(script);
    }
    let mut finished = world.run();
    check_answered(&mut finished);
    finished.tally()
}

/// A client that writes everything at once, of which only a little may be in flight.
pub fn a_drain_answers_what_was_put_aside(seed: u64) -> Tally {
    let mut world = World::new(seed, faulty(), vec![slow()]);
    world.limits.in_flight_requests_max = 10;
    world.drains = Some(world.random.time_up_to(Duration::from_millis(10)));
    let set = || Exchange::new(request(&[b"SET", b"key", b"value"]), b"+OK\r\n".to_vec());
    let bytes = set().request.len();
    let exchanges = (0..300).map(|_| set()).collect();
    let script = world.client(exchanges);
    world.ring.add_client(ClientScript {
        depth: usize::MAX,
        ended: Ended::Maybe,
        leaves: Leaves::Waiting,
        ..script
    });
    let mut finished = world.run();
    let (requests, put_aside) = finished.before_drain;
    let at_least = requests + (put_aside / bytes) as u64;
    let answered = finished.worker.counters().requests;
    assert!(answered >= at_least, "{answered} answered, of {at_least} that had been read");
    check_answered(&mut finished);
    finished.tally()
}

/// Every request that was understood has been answered, and the answer has been got.
fn check_answered(finished: &mut Finished) {
    let requests = finished.worker.counters().requests;
    let ring = finished.worker.ring().inner_mut();
    let replies: usize = (0..ring.clients()).map(|client| ring.outcome(client).replies.len()).sum();
    assert_eq!(replies as u64, requests, "replies got, and requests understood");
}
