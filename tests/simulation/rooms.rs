//! Worlds with a plot, about who is let in and where to: the limits of clients, and several pools.

use ringcracker::sim::{ClientScript, Ended, Exchange, Fault, Faults, REFUSAL, Settings, request};

use crate::author::Author;
use crate::scenarios::{case, faulty, ms, slow};
use crate::tally::Tally;
use crate::world::World;

/// Who comes when as many as may are there is told so, and is not let in; later it would be.
pub fn only_so_many_clients_are_let_in(seed: u64) -> Tally {
    let faults = Faults::harmless().with(Fault::AcceptAborted, 0);
    let mut world = World::new(seed, Settings { faults, ..faulty() }, vec![slow()]);
    let most = world.random.between(1, 3);
    match world.random.chance(500) {
        true => world.limits.clients_max = most,
        false => world.pool_clients_max = Some(most as u32),
    }
    let clients = world.random.between(most + 1, 9);
    for client in 0..clients {
        let name = format!("c{client}");
        let exchanges = Author::new(&name, &mut world.random, &[0, 100]).exchanges(8);
        let script = world.client(exchanges.into_iter().map(|one| one.or(REFUSAL)).collect());
        let start = world.random.time_up_to(ms(6));
        world.ring.add_client(ClientScript { start, ended: Ended::Maybe, ..script });
    }
    // Everybody else is gone by then.
    let last = Author::new("last", &mut world.random, &[0, 100]).exchanges(8);
    let script = world.client(last);
    let last = world.ring.add_client(ClientScript { start: ms(10_000), ..script });
    let mut finished = world.run();
    let refused = finished.worker.counters().clients_refused;
    let ring = finished.worker.ring().inner_mut();
    assert_eq!(ring.outcome(last).replies.len(), 8);
    let ended = (0..clients).filter(|&client| ring.outcome(client).was_ended).count() as u64;
    assert_eq!(refused, ended, "whoever is let in is served to the end");
    for client in 0..clients {
        let outcome = ring.outcome(client);
        let served = if outcome.was_ended { 0 } else { outcome.replies.len() };
        let errors = outcome.replies.iter().filter(|(_, reply)| reply.starts_with(b"-")).count();
        assert_eq!(errors, outcome.replies.len() - served, "nobody is refused later");
    }
    finished.tally()
}

/// Each pool has its own clients, keys and servers.
pub fn a_listener_leads_to_its_own_pool(seed: u64) -> Tally {
    let mut world = World::new(seed, faulty(), vec![slow(); 2]);
    world.server_connections = world.random.between(1, 2) as u32;
    world.preconnect = case(seed).is_multiple_of(3);
    let second = world.add_second_pool(slow());
    for client in 0..6 {
        let (name, listener) = match client % 2 {
            0 => (format!("first{client}"), world.listener),
            _ => (format!("second:{client}"), second),
        };
        let mut exchanges = Author::new(&name, &mut world.random, &[0, 100]).exchanges(20);
        exchanges.push(Exchange::new(request(&[b"PING"]), b"+PONG\r\n".to_vec()));
        let script = world.client(exchanges);
        let depth = world.random.pick(&[1, 3, usize::MAX]);
        let start = world.random.time_up_to(ms(3));
        world.ring.add_client(ClientScript { listener, depth, start, ..script });
    }
    world.run().tally()
}
