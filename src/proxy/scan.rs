//! SCAN: one server after the other, and the cursor says which.
//!
//! ```text
//!   the client's cursor = the server's cursor * servers + the server's number
//! ```
//!
//! A server's cursor is below the size of its table, a power of two, so the client's is below that
//! times the servers: within the 53 bits of a JavaScript number for a hundred servers with 2^46
//! keys each. The proxy keeps nothing between two calls. What one scan promises, all promise
//! together: a key that is there from the beginning to the end is seen, if its server is; one that
//! is ejected is passed over, and one that fails answers with an error, after which the client may
//! ask again with the same cursor.

use crate::proto::Request;
use crate::proxy::client::Account;
use crate::proxy::dispatch;
use crate::proxy::gather::{Gather, Rule};
use crate::proxy::local;
use crate::proxy::pools::Pools;
use crate::proxy::server::Waiter;
use crate::proxy::source::Source;
use crate::token::Key;

/// Where a scan goes on.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    server: u32,
    /// That server's own cursor.
    cursor: u64,
}

/// Handles a SCAN whose arity fits.
pub(crate) fn dispatch(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    request: &Request,
    source: Source<'_>,
) {
    let servers = pools.pools[account.pool as usize].setup.servers.len() as u32;
    let first_live = (0..servers).find(|&number| pools.is_live(account.pool, number));
    if servers == 1 || first_live.is_none() {
        return dispatch::forward_or_fail(pools, account, client, first_live, request, source);
    }
    let mut scratch = Vec::new();
    let Some(cursor) = number(source.slice(request.argument_range(1), &mut scratch)) else {
        return local::say(pools, account, INVALID, source);
    };
    match place(cursor, servers, |number| pools.is_live(account.pool, number)) {
        Some(place) => ask(pools, account, client, request, &place, servers, source),
        None => local::say(pools, account, OVER, source),
    }
}

/// What a cursor stands for; `None` if no server is left to be scanned.
fn place(cursor: u64, servers: u32, is_live: impl Fn(u32) -> bool) -> Option<Place> {
    let number = (cursor % u64::from(servers)) as u32;
    let server = (number..servers).find(|&number| is_live(number))?;
    let cursor = if server == number { cursor / u64::from(servers) } else { 0 };
    Some(Place { server, cursor })
}

/// Sends a server the scan with its own cursor.
fn ask(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    request: &Request,
    place: &Place,
    servers: u32,
    mut source: Source<'_>,
) {
    let connection = pools.connection(account, place.server);
    if pools.is_full(connection) {
        return pools.park(account, client, connection, source);
    }
    let len = source.len();
    let gather = Gather::of_replies(Rule::Cursor { number: place.server, servers }, 1);
    let mut expected = request.expected;
    expected.elements = gather.wants_elements();
    let sequence = account.pipeline.push_gather(gather, len as u32);
    let waiter = Waiter { fragment: 0, ..Waiter::new(client, sequence, expected, pools.now) };
    let server = pools.server_for_output(connection);
    let before = server.output.len();
    source.append_part(0..request.bulk_range(1).start, &mut server.output);
    let mut digits = itoa::Buffer::new();
    let cursor = digits.format(place.cursor);
    server.output.push_copy(format!("${}\r\n{cursor}\r\n", cursor.len()).as_bytes());
    source.append_part(request.bulk_range(1).end..len, &mut server.output);
    let bytes = server.output.len() - before;
    source.discard();
    server.queue(waiter, bytes as u64);
    pools.flush_later(connection);
}

/// A cursor is as many digits as 64 bits have. Source: redis 8.0 `db.c`, `parseScanCursorOrReply`.
fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Source: redis `db.c`.
const INVALID: &[u8] = b"-ERR invalid cursor\r\n";

/// No server is left, and so no key.
const OVER: &[u8] = b"*2\r\n$1\r\n0\r\n*0\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_says_which_server_and_where_on_it() {
        let all = |_| true;
        assert_eq!(place(0, 3, all), Some(Place { server: 0, cursor: 0 }));
        assert_eq!(place(22, 3, all), Some(Place { server: 1, cursor: 7 }));
        assert_eq!(place(u64::MAX, 2, all), Some(Place { server: 1, cursor: u64::MAX / 2 }));
    }

    #[test]
    fn a_server_that_is_left_out_is_passed_over() {
        let without = |out: u32| move |number| number != out;
        assert_eq!(place(0, 3, without(0)), Some(Place { server: 1, cursor: 0 }));
        assert_eq!(place(22, 3, without(1)), Some(Place { server: 2, cursor: 0 }));
        assert_eq!(place(23, 3, without(2)), None);
    }

    #[test]
    fn a_cursor_is_a_number() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(number(b"007"), Some(7));
        for text in [&b""[..], b"-1", b"+1", b" 1", b"1 ", b"0x1", b"18446744073709551616", b"\xff"]
        {
            assert_eq!(number(text), None, "{}", text.escape_ascii());
        }
    }
}
