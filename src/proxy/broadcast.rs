//! A request that every server of a pool gets: flush_all of memcached.

use crate::io::Chain;
use crate::proto::Span;
use crate::proto::commands::Split;
use crate::proxy::client::Account;
use crate::proxy::gather::Gather;
use crate::proxy::pools::Pools;
use crate::proxy::server::Waiter;
use crate::proxy::silent;
use crate::proxy::source::Source;
use crate::token::Key;

/// Queues a request on every server. The client hears once how it went, or, when `cut` is what its
/// `noreply` was, not at all.
pub(crate) fn broadcast(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
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
    let mut request = Chain::new();
    silent::append_without(&mut source, cut.unwrap_or_default(), &mut request);
    source.discard();
    let split = if cut.is_some() { Split::Silence } else { Split::All };
    let gather = Gather::new(split, connections.len(), Vec::new());
    let sequence = account.pipeline.push_gather(gather, request_bytes);
    pools.counters.fragments += connections.len() as u64;
    pools.figures.pool(account.pool).fragments += connections.len() as u64;
    let request = request.to_vec();
    for (number, &connection) in connections.iter().enumerate() {
        let waiter = Waiter { fragment: number as u32, ..Waiter::new(client, sequence, pools.now) };
        let server = pools.server_for_output(connection);
        server.queue(waiter, request.len() as u64);
        server.output.push_copy(&request);
        pools.flush_later(connection);
    }
}
