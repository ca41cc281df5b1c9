//! Commands that wait at a server for somebody else: BLPOP and its kin, XREAD with BLOCK.
//!
//! The client has a server connection to itself while it waits, and nothing more of it is parsed.
//! When it goes, or ends its side of the connection, that connection is closed at once, and the
//! server takes nothing from a key for it any more. As in Redis, what the server took before that
//! is lost.

use std::time::Duration;

use crate::proto::Request;
use crate::proto::commands::Timeout;
use crate::proxy::Proxy;
use crate::proxy::client::{Account, Client};
use crate::proxy::home;
use crate::proxy::pipeline::Part;
use crate::proxy::pools::Pools;
use crate::proxy::private;
use crate::proxy::source::Source;
use crate::proxy::{deliver, dispatch, local, watch};
use crate::token::Key;

/// How long a request says that it may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// For so long.
    For(Duration),
    /// Until there is something.
    ForEver,
    /// It says nothing that makes sense, for which the server has words at once.
    Unclear,
}

/// Handles a request that may wait.
pub(crate) fn dispatch(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    timeout: Timeout,
    request: &Request,
    source: Source<'_>,
) {
    if pools.is_draining {
        return local::say(pools, account, UNBLOCKED, source);
    }
    watch::check_version(pools, account);
    let watched = account.transaction.watch.server();
    let home = home::only(pools, account, watched, request, &source);
    let Some(number) = home else { return dispatch::answer(pools, account, source) };
    let Some(source) = dispatch::behind_barrier(account, source) else { return };
    let Some(key) = watch::borrow(pools, account, client, number) else {
        return private::refuse(pools, account, source);
    };
    let mut scratch = Vec::new();
    let text = request.timeout_at().map(|at| request.argument_range(at));
    let wait = wait(timeout, source.slice(text.unwrap_or_default(), &mut scratch));
    account.anchor.get_or_insert_default().hold(pools, account.pool, request, &source);
    let sequence = pools.enqueue(account, client, key, request.expected, source);
    let server = pools.server_for_output(key);
    server.patience = server.timeout.and_then(|timeout| match wait {
        Wait::For(time) => Some(timeout.saturating_add(time)),
        Wait::ForEver => None,
        Wait::Unclear => Some(timeout),
    });
    pools.begin_wait(account, sequence);
    account.barrier = true;
}

/// A client that waits has ended its side: as in Redis it is gone, and does not hear what it waits
/// for, nor what it sent behind it. What it was answered before, it gets.
pub(crate) fn on_gone(pools: &mut Pools, client: &mut Client) {
    pools.forsake(&mut client.account);
    client.account.pipeline.clear();
    client.forget_input();
}

/// Ends the wait of a client, if it waits, which hears `words`.
pub(crate) fn unblock(proxy: &mut Proxy, key: Key, words: &[u8]) {
    let Some(client) = proxy.clients.find_mut(key) else { return };
    let account = &mut client.account;
    let Some(sequence) = account.waits_for() else { return };
    proxy.pools.forsake(account);
    account.transaction.on_lost();
    let was_due = account.due();
    account.pipeline.settle_error(sequence, Part::Whole, words, &mut account.output);
    deliver::after_settling(proxy, key, was_due);
}

/// Reads a timeout as Redis does: milliseconds are whole, seconds are not.
///
/// Source: redis 7.0 `timeout.c` (`getTimeoutFromObjectOrReply`).
fn wait(timeout: Timeout, text: &[u8]) -> Wait {
    let text = std::str::from_utf8(text).unwrap_or_default();
    let millis = match timeout {
        Timeout::Option => text.parse::<i64>().ok().map(|millis| millis as f64),
        Timeout::First | Timeout::Last => seconds(text).map(|seconds| (seconds * 1000.0).ceil()),
    };
    match millis {
        Some(0.0) => Wait::ForEver,
        Some(millis) if millis > 0.0 && millis <= i64::MAX as f64 => {
            Wait::For(Duration::from_millis(millis as u64))
        }
        Some(_) | None => Wait::Unclear,
    }
}

/// A number as strtold reads it, also of base 16 if it is whole.
fn seconds(text: &str) -> Option<f64> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    match digits {
        Some(digits) => u64::from_str_radix(digits, 16).ok().map(|number| number as f64),
        None => text.parse().ok(),
    }
}

/// What a client hears that waits when the proxy goes away, in Redis's manner.
pub(crate) const UNBLOCKED: &[u8] =
    b"-UNBLOCKED force unblock from blocking operation, the proxy is going away\r\n";

/// The same when another server may have the key by now.
pub(crate) const MOVED: &[u8] =
    b"-UNBLOCKED force unblock from blocking operation, keys have moved to other servers\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_read_as_redis_reads_it() {
        let millis = |millis| Wait::For(Duration::from_millis(millis));
        for (text, expected) in [
            ("0", Wait::ForEver),
            ("0.0", Wait::ForEver),
            ("1", millis(1000)),
            ("0.25", millis(250)),
            (".5", millis(500)),
            ("+2.", millis(2000)),
            ("1e1", millis(10_000)),
            ("0x10", millis(16_000)),
            ("0.0001", millis(1)),
            ("-1", Wait::Unclear),
            ("nan", Wait::Unclear),
            ("inf", Wait::Unclear),
            ("1e300", Wait::Unclear),
            ("", Wait::Unclear),
            (" 1", Wait::Unclear),
            ("1s", Wait::Unclear),
        ] {
            assert_eq!(wait(Timeout::Last, text.as_bytes()), expected, "{text:?}");
        }
        for (text, expected) in [
            ("0", Wait::ForEver),
            ("1500", millis(1500)),
            ("1.5", Wait::Unclear),
            ("-1", Wait::Unclear),
            ("99999999999999999999", Wait::Unclear),
        ] {
            assert_eq!(wait(Timeout::Option, text.as_bytes()), expected, "{text:?}");
        }
    }
}
