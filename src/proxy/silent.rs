//! Requests whose client wants no answer: `noreply` of memcached.
//!
//! The server is not told. It answers as always, and the answer is swallowed: so each request on
//! a server connection has one reply and one deadline, and a connection that fell out of step is
//! seen at once. memcached itself answers some of what says `noreply`. A request that fails for its
//! servers is counted like any other, which is all that anybody hears of it.

use crate::io::Chain;
use crate::proto::commands::{Serve, Split};
use crate::proto::{Expected, Request, Span};
use crate::proxy::broadcast;
use crate::proxy::client::Account;
use crate::proxy::gather::Gather;
use crate::proxy::pools::Pools;
use crate::proxy::server::Waiter;
use crate::proxy::source::Source;
use crate::token::Key;

/// Handles one whole request that wants no answer. `cut` is what says so.
pub(crate) fn dispatch(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    request: &Request,
    cut: Span,
    source: Source<'_>,
) {
    let Some(command) = request.command else { return source.discard() };
    if matches!(command.serve, Serve::Local(_)) {
        return source.discard();
    }
    if command.split() == Split::All {
        return broadcast::broadcast(pools, account, client, request, Some(cut), source);
    }
    let key = request.argument_range(request.keys.first);
    match pools.route(account.pool, &source, key) {
        Some(number) => forward(pools, account, client, number, request.expected, cut, source),
        None => {
            pools.count_failed_request(account.pool);
            source.discard();
        }
    }
}

fn forward(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    number: u32,
    expected: Expected,
    cut: Span,
    mut source: Source<'_>,
) {
    let connection = pools.connection(account, number);
    if pools.is_full(connection) {
        return pools.park(account, client, connection, source);
    }
    let len = source.len() as u32;
    let gather = Gather::new(Split::Silence, 1, Vec::new());
    let sequence = account.pipeline.push_gather(gather, len);
    let whole = Waiter::new(client, sequence, expected, pools.now);
    let waiter = Waiter { fragment: 0, ..whole };
    let server = pools.server_for_output(connection);
    server.queue(waiter, u64::from(len - cut.len));
    append_without(&mut source, cut, &mut server.output);
    source.discard();
    pools.flush_later(connection);
}

/// Puts a request at the end of `into`, without what is cut out of it.
pub(crate) fn append_without(source: &mut Source<'_>, cut: Span, into: &mut Chain) {
    source.append_part(0..cut.offset as usize, into);
    source.append_part((cut.offset + cut.len) as usize..source.len(), into);
}
