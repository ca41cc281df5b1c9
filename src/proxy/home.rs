//! Which server a request belongs to that cannot be split.

use crate::distribution::RoutingTable;
use crate::io::Errno;
use crate::limits::ANCHORED_KEYS_MAX;
use crate::proto::Request;
use crate::proxy::client::Account;
use crate::proxy::pools::Pools;
use crate::proxy::reject;
use crate::proxy::source::Source;

/// Where the keys of a request are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// All on this server.
    Server(u32),
    /// It has none: any server will do.
    Any,
    /// On several servers.
    Apart,
    /// On servers that are all ejected.
    Ejected,
}

/// The keys for which a client is bound to a server for a while: it waits for them there, watches
/// them, or has requests held for them.
#[derive(Debug, Default)]
pub(crate) struct Anchor {
    /// What decides about the server of each.
    values: Vec<u32>,
    /// There are more than are known, or what they are is not known.
    is_vague: bool,
}

impl Anchor {
    /// The keys of a request as well.
    pub(crate) fn hold(
        &mut self,
        pools: &Pools,
        pool: u32,
        request: &Request,
        source: &Source<'_>,
    ) {
        self.is_vague |= !request.patterns.is_empty();
        let routing = &pools.pools[pool as usize].setup.routing;
        let mut scratch = Vec::new();
        for index in request.keys.indexes() {
            if self.is_vague {
                break;
            }
            let value = routing.value(source.slice(request.argument_range(index), &mut scratch));
            if self.values.contains(&value) {
                continue;
            }
            self.is_vague = self.values.len() == ANCHORED_KEYS_MAX;
            self.values.push(value);
        }
    }

    /// Whether all of them still belong to this server. Under random none has a server of its own,
    /// and the one that was chosen is as good as any while it is not ejected.
    pub(crate) fn is_in_place(&self, routing: &RoutingTable, server: u32) -> bool {
        let server = server as usize;
        let is_there = |&value: &u32| routing.owner(value) == Some(server);
        routing.is_live(server)
            && !self.is_vague
            && (!routing.is_fixed() || self.values.iter().all(is_there))
    }
}

/// Finds the server of a request's keys.
pub(crate) fn home(pools: &mut Pools, pool: u32, request: &Request, source: &Source<'_>) -> Home {
    let mut home = Home::Any;
    for index in request.keys.indexes() {
        let number = pools.route(pool, source, request.argument_range(index));
        let Some(number) = number else { return Home::Ejected };
        match home {
            Home::Any => home = Home::Server(number),
            Home::Server(first) if first == number => {}
            Home::Server(_) | Home::Apart | Home::Ejected => return Home::Apart,
        }
    }
    match home {
        Home::Server(number) if !pools.has_patterns(pool, request, source, Some(number)) => {
            Home::Apart
        }
        Home::Server(_) | Home::Any | Home::Apart | Home::Ejected => home,
    }
}

/// The server of a request that has all its keys on one: on `bound`, if that is given. A request
/// without keys may go there, or to any. `None`: `pools.words` say why not.
pub(crate) fn only(
    pools: &mut Pools,
    account: &Account,
    bound: Option<u32>,
    request: &Request,
    source: &Source<'_>,
) -> Option<u32> {
    let number = match home(pools, account.pool, request, source) {
        Home::Server(number) if bound.is_none_or(|bound| bound == number) => Some(number),
        Home::Server(_) | Home::Apart => {
            pools.words.clear();
            if let Some(command) = request.command {
                reject::cross_server(command, &mut pools.words);
            }
            return None;
        }
        Home::Any => bound.or_else(|| pools.route_keyless(account.pool)),
        Home::Ejected => None,
    };
    if number.is_none() {
        no_server(pools, account);
    }
    number
}

/// Puts what a client hears in `pools.words` whose request finds no server, and counts it.
pub(crate) fn no_server(pools: &mut Pools, account: &Account) {
    pools.counters.requests_failed += 1;
    pools.figures.pool(account.pool).forward_error += 1;
    let protocol = pools.protocol(account.pool);
    pools.words.clear();
    reject::failure(protocol, Some(Errno(libc::ECONNREFUSED)), &mut pools.words);
}
