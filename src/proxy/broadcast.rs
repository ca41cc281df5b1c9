//! A request that every server of a pool gets: flush_all of memcached.

use crate::io::Chain;
use crate::proto::commands::Split;
use crate::proto::{Request, Span};
use crate::proxy::client::Account;
use crate::proxy::gather::Gather;
use crate::proxy::pools::Pools;
use crate::proxy::server::Waiter;
use crate::proxy::silent;
use crate::proxy::source::Source;
use crate::proxy::values::Names;
use crate::token::Key;

/// Queues a request on every server, also on those that are ejected: one that returned with what
/// was to be gone would be worse than an error. The client hears once how it went, or, when `cut`
/// is what its `noreply` was, not at all.
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
    let request_bytes = source.len() as u32;
    let mut bytes = Chain::new();
    silent::append_without(&mut source, cut.unwrap_or_default(), &mut bytes);
    source.discard();
    let split = if cut.is_some() { Split::Silence } else { Split::All };
    let mut names = Names::default();
    let servers = &pools.pools[account.pool as usize].setup.servers;
    servers.iter().for_each(|(name, _)| names.push(name.as_bytes()));
    let gather = Gather::of_servers(split, names);
    let sequence = account.pipeline.push_gather(gather, request_bytes);
    pools.counters.fragments += connections.len() as u64;
    pools.figures.pool(account.pool).fragments += connections.len() as u64;
    let bytes = bytes.to_vec();
    for (number, &connection) in connections.iter().enumerate() {
        let whole = Waiter::new(client, sequence, request.expected, pools.now);
        let waiter = Waiter { fragment: number as u32, ..whole };
        let server = pools.server_for_output(connection);
        server.queue(waiter, bytes.len() as u64);
        server.output.push_copy(&bytes);
        pools.flush_later(connection);
    }
}
