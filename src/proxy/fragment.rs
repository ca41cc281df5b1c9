//! A request over several servers, cut into one fragment for each.

use crate::proto::commands::{Command, Split};
use crate::proto::{Expected, Request};
use crate::proxy::client::Account;
use crate::proxy::gather::Gather;
use crate::proxy::pools::Pools;
use crate::proxy::server::Waiter;
use crate::proxy::source::Source;
use crate::proxy::values::Names;
use crate::token::Key;

/// One server's share of a request.
struct Fragment {
    keys: u32,
    connection: Key,
    bytes: u64,
}

impl Fragment {
    fn write(&mut self, pools: &mut Pools, piece: &[u8]) {
        pools.server_for_output(self.connection).output.push_copy(piece);
        self.bytes += piece.len() as u64;
    }
}

/// Cuts a request by the servers of its keys and queues the pieces. `routes` names the server of
/// each key.
///
/// ```text
///   MSET a 1 b 2 c 3    routes: [0, 1, 0]    *5 mset a 1 c 3  -> server 0
///                                            *3 mset b 2      -> server 1
/// ```
pub(crate) fn scatter(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    command: &'static Command,
    request: &Request,
    routes: &[u32],
    mut source: Source<'_>,
) {
    let (mut fragments, order) = share_out(pools, account, routes);
    if let Some(full) = fragments.iter().find(|fragment| pools.is_full(fragment.connection)) {
        return pools.park(account, client, full.connection, source);
    }
    if command.split() == Split::Values {
        let names = write_gets(pools, &mut fragments, command, request, &order, &mut source);
        let gather = Gather::of_values(fragments.len(), order, names);
        return queue(pools, account, client, request.expected, gather, &fragments, source);
    }
    let step = request.keys.step;
    for fragment in &mut fragments {
        write_head(pools, fragment, command, step);
    }
    for (index, &number) in request.keys.indexes().zip(&order) {
        let fragment = &mut fragments[number as usize];
        // An argument's bulk ends where the next begins, so a key and its value are one piece.
        let piece = request.bulk_range(index).start..request.bulk_range(index + step - 1).end;
        fragment.bytes += piece.len() as u64;
        let server = pools.server_for_output(fragment.connection);
        source.append_part(piece, &mut server.output);
    }
    let order = if command.split() == Split::Collect { order } else { Vec::new() };
    let gather = Gather::new(command.split(), fragments.len(), order);
    queue(pools, account, client, request.expected, gather, &fragments, source);
}

/// Queues fragments whose bytes stand in their servers' outputs.
fn queue(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    mut expected: Expected,
    gather: Gather,
    fragments: &[Fragment],
    source: Source<'_>,
) {
    let request_bytes = source.len() as u32;
    expected.elements = gather.wants_elements();
    source.discard();
    let sequence = account.pipeline.push_gather(gather, request_bytes);
    pools.counters.fragments += fragments.len() as u64;
    pools.figures.pool(account.pool).fragments += fragments.len() as u64;
    for (number, fragment) in fragments.iter().enumerate() {
        let whole = Waiter::new(client, sequence, expected, pools.now);
        let waiter = Waiter { fragment: number as u32, ..whole };
        pools.server_for_output(fragment.connection).queue(waiter, fragment.bytes);
        pools.flush_later(fragment.connection);
    }
}

/// Writes each server its part of a memcached get. Returns the keys.
///
/// ```text
///   gat 60 a b c     order: [0, 1, 0]     gat 60 a c  -> server 0
///                                         gat 60 b    -> server 1
/// ```
fn write_gets(
    pools: &mut Pools,
    fragments: &mut [Fragment],
    command: &Command,
    request: &Request,
    order: &[u32],
    source: &mut Source<'_>,
) -> Names {
    let mut names = Names::default();
    let mut scratch = Vec::new();
    for fragment in &mut *fragments {
        fragment.write(pools, command.name.as_bytes());
        for index in 1..request.keys.first {
            fragment.write(pools, b" ");
            fragment.write(pools, source.slice(request.argument_range(index), &mut scratch));
        }
    }
    for (index, &number) in request.keys.indexes().zip(order) {
        let fragment = &mut fragments[number as usize];
        let name = source.slice(request.argument_range(index), &mut scratch);
        fragment.write(pools, b" ");
        fragment.write(pools, name);
        names.push(name);
    }
    for fragment in fragments {
        fragment.write(pools, b"\r\n");
    }
    names
}

/// The fragments, numbered by their first key, and which of them each key is in.
fn share_out(pools: &mut Pools, account: &Account, routes: &[u32]) -> (Vec<Fragment>, Vec<u32>) {
    let mut fragments: Vec<Fragment> = Vec::new();
    let mut order = Vec::with_capacity(routes.len());
    let mut of_server: Vec<Option<u32>> = Vec::new();
    for &number in routes {
        let place = number as usize;
        if of_server.len() <= place {
            of_server.resize(place + 1, None);
        }
        let index = *of_server[place].get_or_insert_with(|| {
            let connection = pools.connection(account, number);
            fragments.push(Fragment { keys: 0, connection, bytes: 0 });
            fragments.len() as u32 - 1
        });
        fragments[index as usize].keys += 1;
        order.push(index);
    }
    (fragments, order)
}

fn write_head(pools: &mut Pools, fragment: &mut Fragment, command: &Command, step: u32) {
    let mut digits = itoa::Buffer::new();
    let output = &mut pools.server_for_output(fragment.connection).output;
    let before = output.len();
    output.push_copy(b"*");
    output.push_copy(digits.format(1 + fragment.keys * step).as_bytes());
    output.push_copy(b"\r\n$");
    output.push_copy(digits.format(command.name.len()).as_bytes());
    output.push_copy(b"\r\n");
    output.push_copy(command.name.as_bytes());
    output.push_copy(b"\r\n");
    fragment.bytes += (output.len() - before) as u64;
}
