//! Commands that the proxy answers itself, in their turn among the forwarded ones.

use crate::io::Chain;
use crate::proto::commands::{Command, Local, Serve};
use crate::proto::{Request, RespVersion};
use crate::proxy::client::{Account, Farewell, Phase};
use crate::proxy::dispatch;
use crate::proxy::pools::Pools;
use crate::proxy::reply::Writer;
use crate::proxy::source::Source;
use crate::proxy::{reject, resp3};
use crate::token::Key;

/// Whether a command is for those too who have not said the pool's password.
pub(crate) fn is_for_strangers(command: Option<&Command>) -> bool {
    let serve = command.map(|command| command.serve);
    matches!(serve, Some(Serve::Local(Local::Auth | Local::Quit)))
}

/// Answers a request of a known command whose arity fits.
pub(crate) fn answer(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    what: Local,
    request: &Request,
    source: Source<'_>,
) {
    match what {
        Local::Ping => ping(pools, account, request, source),
        Local::Auth => auth(pools, account, request, source),
        Local::Hello => hello(pools, account, client, request, source),
        Local::Line(words) => say(pools, account, words, source),
        Local::Stats => stats(pools, account, request, source),
        Local::Leave => {
            source.discard();
            account.phase = Phase::Draining(Farewell::LastWords);
        }
        Local::Quit => {
            say(pools, account, OK, source);
            account.phase = Phase::Draining(Farewell::LastWords);
        }
        Local::Echo
        | Local::Reset
        | Local::Select
        | Local::Time
        | Local::Info
        | Local::ClientId
        | Local::ClientInfo
        | Local::ClientList
        | Local::ClientKill
        | Local::ClientGetname
        | Local::ClientSetname
        | Local::ClientSetinfo
        | Local::ClientNoEvict
        | Local::ClientNoTouch
        | Local::CommandCount
        | Local::CommandList
        | Local::CommandInfo
        | Local::CommandDocs
        | Local::CommandKeys
        | Local::CommandKeysAndFlags
        | Local::ConfigGet => dispatch::refuse(pools, account, request, source),
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

/// AUTH [user] password. A wrong one also takes back what an earlier one gave, as in twemproxy
/// (`nc_redis.c`, `redis_handle_auth_req`). The form with a user is that of redis 6 and later;
/// a pool knows `default` alone.
fn auth(pools: &mut Pools, account: &mut Account, request: &Request, source: Source<'_>) {
    let (mut user, mut given) = (Vec::new(), Vec::new());
    let is_default =
        request.arguments == 2 || source.slice(request.argument_range(1), &mut user) == b"default";
    let words = match (&pools.pools[account.pool as usize].setup.password, request.arguments) {
        (_, 4..) => SYNTAX,
        (Some(password), last) => {
            let given = source.slice(request.argument_range(last - 1), &mut given);
            let is_right = is_same(given, password.reveal().as_bytes());
            account.authenticated = is_default && is_right;
            if account.authenticated { OK } else { WRONG }
        }
        (None, 2) => NO_PASSWORD,
        (None, _) if is_default => OK,
        (None, _) => WRONG_PASSWORD,
    };
    say(pools, account, words, source);
}

/// HELLO 2 and HELLO 3.
fn hello(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    request: &Request,
    source: Source<'_>,
) {
    let mut wanted = Vec::new();
    let version = match request.arguments {
        2 => match source.slice(request.argument_range(1), &mut wanted) {
            b"2" => Some(RespVersion::Two),
            b"3" => Some(RespVersion::Three),
            _ => None,
        },
        _ => None,
    };
    match version {
        Some(version) => resp3::agree(pools, account, client, version, describe, source),
        None => say(pools, account, resp3::NO_PROTO, source),
    }
}

fn describe(pools: &Pools, account: &Account) -> Vec<u8> {
    let mut words = Vec::new();
    let proto = match account.version {
        RespVersion::Two => 2,
        RespVersion::Three => 3,
    };
    let version = pools.pools[account.pool as usize].setup.version.to_string();
    let mut map = Writer::new(account.version, &mut words);
    map.map(3).bulk(b"server").bulk(b"redis").bulk(b"version").bulk(version.as_bytes());
    map.bulk(b"proto").integer(proto);
    words
}

/// Compares as many bytes as were given, wherever the first difference is: the time tells nothing
/// of the secret but, at most, its length.
fn is_same(given: &[u8], secret: &[u8]) -> bool {
    let mut difference = given.len() ^ secret.len();
    for (one, other) in given.iter().zip(secret.iter().cycle()) {
        // Opaque to the optimizer, which might else stop at the first difference.
        difference = std::hint::black_box(difference | usize::from(one ^ other));
    }
    difference == 0
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

/// Answers with `reply`, in the request's turn.
pub(crate) fn say(pools: &mut Pools, account: &mut Account, reply: &[u8], source: Source<'_>) {
    pools.words.clear();
    pools.words.extend_from_slice(reply);
    dispatch::answer(pools, account, source);
}

/// What a client hears that has not said the pool's password. Source: twemproxy `nc_redis.c`.
pub(crate) const NO_AUTH: &[u8] = b"-NOAUTH Authentication required\r\n";

const OK: &[u8] = b"+OK\r\n";
const SYNTAX: &[u8] = b"-ERR syntax error\r\n";
/// Source of both: twemproxy `nc_redis.c`.
const WRONG: &[u8] = b"-ERR invalid password\r\n";
const NO_PASSWORD: &[u8] = b"-ERR Client sent AUTH, but no password is set\r\n";
/// Source: redis 7.0 `acl.c`.
const WRONG_PASSWORD: &[u8] = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_password_is_the_same() {
        assert!(is_same(b"secret", b"secret"));
        let others: [&[u8]; 7] =
            [b"", b"s", b"secre", b"secreT", b"Secret", b"secretsecret", b"secret\0"];
        for given in others {
            assert!(!is_same(given, b"secret"), "{}", given.escape_ascii());
        }
        assert!(!is_same(b"a", b""));
    }
}
