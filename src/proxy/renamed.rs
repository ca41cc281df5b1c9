//! Requests whose command has another name in their pool: servers are told the real one.

use bytes::Bytes;

use crate::io::{Buffer, Chain};
use crate::proto::Request;
use crate::proxy::client::Account;
use crate::proxy::dispatch;
use crate::proxy::pools::Pools;
use crate::proxy::source::Source;
use crate::token::Key;

/// Handles one whole request of a renamed command. When it has to wait, it waits as it came.
pub(crate) fn dispatch(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    request: &Request,
    mut source: Source<'_>,
) {
    let Some(command) = request.command else { return source.discard() };
    let name = command.first_word();
    let given = request.bulk_range(0);
    let mut bytes = Chain::new();
    source.append_part(0..given.start, &mut bytes);
    bytes.push_copy(format!("${}\r\n{name}\r\n", name.len()).as_bytes());
    source.append_part(given.end..source.len(), &mut bytes);
    let mut nothing = Buffer::from_bytes(Bytes::new());
    let real = Source::new(&mut bytes, &mut nothing, 0..0);
    dispatch::serve(pools, account, client, &request.with_name(name), real);
    if account.parked { source.park() } else { source.discard() }
}
