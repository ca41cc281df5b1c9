//! A request that every server of a pool gets.

use crate::io::{Chain, Mark};
use crate::proto::commands::{Command, Merge, Split};
use crate::proto::{Expected, Request, Span};
use crate::proxy::client::Account;
use crate::proxy::gather::{Gather, Rule};
use crate::proxy::pools::Pools;
use crate::proxy::server::Waiter;
use crate::proxy::source::Source;
use crate::proxy::values::Names;
use crate::proxy::{dispatch, reject, scripts, silent};
use crate::token::Key;

/// Queues a memcached request on every server, also on those that are ejected: one that returned
/// with what was to be gone would be worse than an error. The client hears once how it went, or,
/// when `cut` is what its `noreply` was, not at all.
pub(crate) fn broadcast(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    request: &Request,
    cut: Option<Span>,
    mut source: Source<'_>,
) {
    let servers = pools.pools[account.pool as usize].setup.servers.len() as u32;
    let connections: Vec<Key> =
        (0..servers).map(|number| pools.connection(account, number)).collect();
    if let Some(&full) = connections.iter().find(|&&connection| pools.is_full(connection)) {
        return pools.park(account, client, full, source);
    }
    let mut bytes = Chain::new();
    silent::append_without(&mut source, cut.unwrap_or_default(), &mut bytes);
    source.discard();
    let split = if cut.is_some() { Split::Silence } else { Split::All };
    let mut names = Names::default();
    let servers = &pools.pools[account.pool as usize].setup.servers;
    servers.iter().for_each(|(name, _)| names.push(name.as_bytes()));
    let gather = Gather::of_servers(split, names);
    let expected = request.expected;
    queue(pools, account, client, (gather, expected), &connections, &bytes);
}

/// Queues a request of Redis on every server, and has the replies become one.
///
/// An answer that leaves out a server's share would look whole, so one that is ejected makes it an
/// error. Only what asks for any server does without.
pub(crate) fn everywhere(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    (command, merge): (&'static Command, Merge),
    request: &Request,
    source: Source<'_>,
) {
    let setup = &pools.pools[account.pool as usize].setup;
    if command.first_word() == "pubsub" && !setup.routing.is_fixed() {
        // Every subscriber is at every server then, and any of them knows all.
        let number = pools.route_by_name(account.pool, command.name.as_bytes());
        return dispatch::forward_or_fail(pools, account, client, number, request, source);
    }
    let servers = setup.servers.len() as u32;
    let (live, ejected): (Vec<u32>, Vec<u32>) =
        (0..servers).partition(|&number| pools.is_live(account.pool, number));
    let does_without = matches!(merge, Merge::Any | Merge::One);
    match ejected.first() {
        Some(&number) if !does_without || live.is_empty() => {
            return refuse(pools, account, command, number, source);
        }
        Some(_) | None => {}
    }
    // What ends a script must not wait behind it.
    let lane = match merge {
        Merge::Any => pools.pools[account.pool as usize].setup.lane_aside(),
        Merge::Ok
        | Merge::Same
        | Merge::Sum
        | Merge::Concat
        | Merge::And
        | Merge::SumPairs
        | Merge::One => account.lane,
    };
    let (pool, version) = (account.pool, account.version);
    let connections: Vec<Key> =
        live.iter().map(|&number| pools.shared(pool, number, lane, version)).collect();
    if let Some(&full) = connections.iter().find(|&&connection| pools.is_full(connection)) {
        return pools.park(account, client, full, source);
    }
    scripts::note(pools, account, command, request, &source);
    let rule = Rule::Merge { merge, draw: pools.draw() };
    let gather = Gather::of_replies(rule, connections.len());
    let mut bytes = Chain::new();
    source.move_to(&mut bytes);
    let gather = (gather, request.expected);
    queue(pools, account, client, gather, &connections, &bytes);
}

/// The answer while a server is ejected that is needed.
fn refuse(
    pools: &mut Pools,
    account: &mut Account,
    command: &Command,
    number: u32,
    source: Source<'_>,
) {
    pools.counters.requests_failed += 1;
    pools.figures.pool(account.pool).forward_error += 1;
    pools.words.clear();
    let setup = &pools.pools[account.pool as usize].setup;
    let (server, _) = &setup.servers[number as usize];
    reject::server_left_out(command, server, &mut pools.words);
    dispatch::answer(pools, account, source);
}

/// Queues `request` on each connection as a fragment of a gather. The client is charged with all
/// that this keeps: a line of some bytes is a copy, a waiter and a part for each server. Large
/// pieces are shared by all: a script of half a gigabyte is in memory once, however many get it.
fn queue(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    (gather, mut expected): (Gather, Expected),
    connections: &[Key],
    request: &Chain,
) {
    expected.elements = gather.wants_elements();
    let copies = connections.len() * (request.len() + size_of::<Waiter>());
    let charge = u32::try_from(copies + gather.fragment_bytes()).unwrap_or(u32::MAX);
    let sequence = account.pipeline.push_gather(gather, charge);
    pools.counters.fragments += connections.len() as u64;
    pools.figures.pool(account.pool).fragments += connections.len() as u64;
    for (number, &connection) in connections.iter().enumerate() {
        let whole = Waiter::new(client, sequence, expected, pools.now);
        let waiter = Waiter { fragment: number as u32, ..whole };
        let server = pools.server_for_output(connection);
        server.queue(waiter, request.len() as u64);
        server.output.append_range(request, 0..request.len(), &mut Mark::default());
        pools.flush_later(connection);
    }
}
