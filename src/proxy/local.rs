//! Commands that the proxy answers itself, in their turn among the forwarded ones.

use crate::io::Chain;
use crate::proto::Request;
use crate::proto::commands::Local;
use crate::proxy::client::{Account, Farewell, Phase};
use crate::proxy::dispatch;
use crate::proxy::pools::Pools;
use crate::proxy::reject;
use crate::proxy::source::Source;

/// Answers a request of a known command whose arity fits.
pub(crate) fn answer(
    pools: &mut Pools,
    account: &mut Account,
    what: Local,
    request: &Request,
    source: Source<'_>,
) {
    match what {
        Local::Ping => ping(pools, account, request, source),
        Local::Auth => auth(pools, account, request, source),
        Local::Line(words) => say(pools, account, words, source),
        Local::Stats => stats(pools, account, request, source),
        Local::Leave => {
            source.discard();
            account.phase = Phase::Draining(Farewell::LastWords);
        }
        Local::Quit => {
            say(pools, account, b"+OK\r\n", source);
            account.phase = Phase::Draining(Farewell::LastWords);
        }
    }
}

/// PING [message]. The message is answered as the bulk string that it came as.
fn ping(pools: &mut Pools, account: &mut Account, request: &Request, mut source: Source<'_>) {
    match request.arguments {
        1 => say(pools, account, b"+PONG\r\n", source),
        2 => {
            let mut reply = Chain::new();
            source.append_part(request.bulk_range(1), &mut reply);
            source.discard();
            account.pipeline.push_ready(reply, &mut account.output);
        }
        _ => {
            pools.words.clear();
            reject::error("wrong number of arguments for 'ping' command", &mut pools.words);
            dispatch::answer(pools, account, source);
        }
    }
}

/// AUTH [user] password, where no password is set. Source: redis 7.0 `acl.c`, `authCommand`.
fn auth(pools: &mut Pools, account: &mut Account, request: &Request, source: Source<'_>) {
    let mut scratch = Vec::new();
    let words = match request.arguments {
        2 => AUTH_WITHOUT_PASSWORD,
        3 if source.slice(request.argument_range(1), &mut scratch) == b"default" => b"+OK\r\n",
        3 => WRONG_PASSWORD,
        _ => b"-ERR syntax error\r\n",
    };
    say(pools, account, words, source);
}

/// stats, of memcached: what this worker knows of itself. Statistics of the servers would be those
/// of one of them, or a sum that means nothing.
fn stats(pools: &mut Pools, account: &mut Account, request: &Request, source: Source<'_>) {
    let mut scratch = Vec::new();
    let what = match request.arguments {
        1 => None,
        _ => Some(source.slice(request.argument_range(1), &mut scratch)),
    };
    let words = match what {
        None => return say_stats(pools, account, source),
        Some(b"reset") => b"RESET\r\n".as_slice(),
        Some(b"settings" | b"items" | b"slabs" | b"sizes" | b"conns") => b"END\r\n",
        Some(_) => b"ERROR\r\n",
    };
    say(pools, account, words, source);
}

fn say_stats(pools: &mut Pools, account: &mut Account, source: Source<'_>) {
    let counters = pools.counters;
    let mut text = format!("STAT version {}\r\n", env!("CARGO_PKG_VERSION"));
    for (name, value) in [
        ("pointer_size", u64::from(usize::BITS)),
        ("total_connections", counters.clients),
        ("rejected_connections", counters.clients_refused),
        ("requests", counters.requests),
        ("replies", counters.replies),
    ] {
        text.push_str(&format!("STAT {name} {value}\r\n"));
    }
    text.push_str("END\r\n");
    say(pools, account, text.as_bytes(), source);
}

fn say(pools: &mut Pools, account: &mut Account, reply: &[u8], source: Source<'_>) {
    pools.words.clear();
    pools.words.extend_from_slice(reply);
    dispatch::answer(pools, account, source);
}

const AUTH_WITHOUT_PASSWORD: &[u8] = b"-ERR AUTH <password> called without any password \
    configured for the default user. Are you sure your configuration is correct?\r\n";
const WRONG_PASSWORD: &[u8] = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";
