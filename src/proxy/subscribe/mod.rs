//! What a client listens to: channels, patterns and shard channels.
//!
//! ```text
//!   SUBSCRIBE a b c   a, c -> server 0   connection of this client: a ok | m(a) | c ok | m(c)
//!                     b    -> server 1   another one:               ................ b ok
//!
//!   to the client:    a ok | m(a) | b ok | c ok | m(c)
//! ```
//!
//! A channel is routed like a key, by its hash tag if it has one, and so is PUBLISH. A pattern is
//! asked for at every server that is not ejected, as its channels may be anywhere; under the random
//! distribution so is a channel. The servers' confirmations say only when a subscription holds: the
//! client gets ours, in the order of its request and with its own counts. What a server sends
//! behind a confirmation that has to wait, waits too: so no message comes before its confirmation.
//!
//! These connections speak RESP2 whatever the client speaks. A message has the same bytes in RESP3
//! but for the first one, which is put in its place.
//!
//! Where a channel is listened to is decided once. A client whose connection is lost, or whose
//! channels belong elsewhere after an ejection or a return, would wait for ever for messages
//! that come no more, so it is closed, as by a server that dies: it can subscribe anew.

mod roll;
mod stream;

use crate::limits::SUBSCRIPTIONS_BYTES_MAX;
use crate::proto::commands::{Command, Local, Serve, Subscribe};
use crate::proto::{Expected, Request, RespVersion};
use crate::proxy::client::Account;
use crate::proxy::pools::Pools;
use crate::proxy::reply::Writer;
use crate::proxy::server::{Purpose, Waiter};
use crate::proxy::source::Source;
use crate::proxy::{dispatch as requests, reject};
use crate::token::Key;

use roll::{Item, Place};

pub(crate) use roll::Subscriptions;
pub(crate) use stream::{next_frame, on_lost, on_routing};

/// Whether a subscriber of RESP2 may not be served this now, or not as always: what it would get
/// in reply could not be told from a message.
///
/// A PING of any subscriber goes on to the servers that it listens to, as it wants to know whether
/// it would still hear something: one that does not answer within the pool's timeout has failed.
#[cold]
pub(crate) fn is_in_the_way(pools: &mut Pools, account: &mut Account, command: &Command) -> bool {
    let Some(subscriptions) = &mut account.subscriptions else { return false };
    if command.serve == Serve::Local(Local::Ping) {
        subscriptions.begin_pings().into_iter().for_each(|key| ask_one(pools, key, PING));
    }
    let is_harmless =
        matches!(command.serve, Serve::Subscribe(_) | Serve::Local(Local::Quit | Local::Reset));
    account.version == RespVersion::Two && !subscriptions.is_empty() && !is_harmless
}

/// Answers what is in the way: PING in the form of a message, all else with an error.
pub(crate) fn answer(
    pools: &mut Pools,
    account: &mut Account,
    command: &Command,
    request: &Request,
    source: Source<'_>,
) {
    pools.words.clear();
    if command.serve == Serve::Local(Local::Ping) && request.arguments <= 2 {
        let mut scratch = Vec::new();
        let text = match request.arguments {
            2 => source.slice(request.argument_range(1), &mut scratch),
            _ => b"",
        };
        Writer::new(RespVersion::Two, &mut pools.words).array(2).bulk(b"pong").bulk(text);
    } else if command.serve == Serve::Local(Local::Ping) {
        reject::wrong_arity(command, &mut pools.words);
    } else {
        let text = format!("Can't execute '{}': {ONLY}", command.name);
        reject::error(&text, &mut pools.words);
    }
    requests::answer(pools, account, source);
}

/// Handles a request to subscribe or unsubscribe.
pub(crate) fn dispatch(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    what: Subscribe,
    request: &Request,
    source: Source<'_>,
) {
    let Some(source) = requests::behind_barrier(account, source) else { return };
    let len = source.len() as u32;
    let mut all = account.subscriptions.take().unwrap_or_default();
    let names = names(request, &source);
    let planned = match plan(pools, account.pool, what, &all, names) {
        Ok(items) => open_streams(pools, account, client, &mut all, &items).map(|()| items),
        Err(refusal) => Err(refusal),
    };
    let items = match planned {
        Ok(items) => items,
        Err(refusal) => {
            close_idle(pools, &mut all);
            account.subscriptions = Some(all).filter(|all| !all.is_over());
            pools.words.clear();
            reject::error(refusal, &mut pools.words);
            return requests::answer(pools, account, source);
        }
    };
    source.discard();
    ask(pools, &mut all, what, &items);
    all.begin(what, items);
    account.pipeline.push_waiting(len);
    account.barrier = true;
    account.subscriptions = Some(all);
    go_on(pools, account);
}

/// The names in a request, each a copy.
fn names(request: &Request, source: &Source<'_>) -> Vec<Box<[u8]>> {
    let mut scratch = Vec::new();
    let mut name = |index| source.slice(request.argument_range(index), &mut scratch).into();
    (1..request.arguments).map(&mut name).collect()
}

/// What each name of a request needs of which servers.
///
/// Errors: why the whole request is refused.
fn plan(
    pools: &Pools,
    pool: u32,
    what: Subscribe,
    all: &Subscriptions,
    names: Vec<Box<[u8]>>,
) -> Result<Vec<Item>, &'static str> {
    if is_end(what) {
        let names = if names.is_empty() { all.names(what) } else { names };
        let named = |name: Box<[u8]>| Item { at: all.place(what, &name), name: Some(name) };
        let items: Vec<Item> = names.into_iter().map(named).collect();
        let nothing = || vec![Item { name: None, at: None }];
        return Ok(if items.is_empty() { nothing() } else { items });
    }
    let mut bytes = all.name_bytes();
    let mut items = Vec::with_capacity(names.len());
    for name in names {
        let at = match all.place(what, &name) {
            Some(_) => None,
            None => Some(place_of(pools, pool, what, &name).ok_or(NOBODY)?),
        };
        bytes += at.map_or(0, |_| roll::bytes_of(&name));
        items.push(Item { name: Some(name), at });
    }
    if bytes > SUBSCRIPTIONS_BYTES_MAX { Err(TOO_MANY_NAMES) } else { Ok(items) }
}

/// Where a name is to be listened to. `None`: all servers are ejected.
fn place_of(pools: &Pools, pool: u32, what: Subscribe, name: &[u8]) -> Option<Place> {
    let routing = &pools.pools[pool as usize].setup.routing;
    let is_everywhere = what == Subscribe::Psubscribe || !routing.is_fixed();
    let number = routing.route(name, 0)? as u32;
    Some(if is_everywhere { Place::Everywhere } else { Place::At(number) })
}

/// Sees to it that the client has a connection to each server that it needs.
///
/// Errors: why the request is refused. Some connections may have been opened then.
fn open_streams(
    pools: &mut Pools,
    account: &Account,
    client: Key,
    all: &mut Subscriptions,
    items: &[Item],
) -> Result<(), &'static str> {
    for item in items {
        match item.at {
            None => {}
            Some(Place::At(number)) => open_stream(pools, account.pool, client, all, number)?,
            Some(Place::Everywhere) => {
                let routing = pools.pools[account.pool as usize].setup.routing.clone();
                for &number in routing.live() {
                    open_stream(pools, account.pool, client, all, number)?;
                }
            }
        }
    }
    Ok(())
}

fn open_stream(
    pools: &mut Pools,
    pool: u32,
    client: Key,
    all: &mut Subscriptions,
    number: u32,
) -> Result<(), &'static str> {
    if all.has_stream(number) {
        return Ok(());
    }
    if !pools.pools[pool as usize].setup.private.take() {
        // What nobody has is in nobody's way.
        if let Some(oldest) = pools.pools[pool as usize].kept.first().map(|kept| kept.key) {
            pools.close_server(oldest);
        }
        if !pools.pools[pool as usize].setup.private.take() {
            return Err(TOO_MANY);
        }
    }
    let timeout = pools.pools[pool as usize].setup.timeout;
    let purpose = Purpose::Subscription { client };
    all.add_stream(number, pools.begin(pool, number, purpose, RespVersion::Two, timeout));
    Ok(())
}

/// Sends each server its share of a request.
fn ask(pools: &mut Pools, all: &mut Subscriptions, what: Subscribe, items: &[Item]) {
    for (key, words) in all.shares(what, items) {
        ask_one(pools, key, &words);
    }
}

/// Sends a request. Whoever gets the reply is known without a waiter, which is for the deadline.
fn ask_one(pools: &mut Pools, key: Key, words: &[u8]) {
    let mut waiter = Waiter::new(key, 0, Expected::default(), pools.now);
    waiter.abandon();
    let server = pools.server_for_output(key);
    server.queue(waiter, words.len() as u64);
    server.output.push_copy(words);
    pools.flush_later(key);
}

/// Gives the client what may be given by now, and ends the request at hand if that was all.
/// Returns false if the request cannot end well.
fn go_on(pools: &mut Pools, account: &mut Account) -> bool {
    let Account { subscriptions, version, output, pipeline, .. } = account;
    let Some(all) = subscriptions else { return true };
    match all.advance(*version, output) {
        roll::Progress::Waits => return true,
        roll::Progress::Torn => return false,
        roll::Progress::Over => {}
    }
    pipeline.finish_head(output);
    close_idle(pools, all);
    if all.is_over() {
        *subscriptions = None;
    }
    true
}

fn close_idle(pools: &mut Pools, all: &mut Subscriptions) {
    all.take_idle(|key| pools.close_server(key));
}

impl Pools {
    /// Ends what a client listens to, without a word.
    pub(crate) fn unsubscribe_all(&mut self, account: &mut Account) {
        let Some(mut all) = account.subscriptions.take() else { return };
        all.take_all(|key| self.close_server(key));
    }
}

/// Who listens on a connection for this.
pub(crate) fn subscriber(purpose: Purpose) -> Option<Key> {
    match purpose {
        Purpose::Subscription { client } => Some(client),
        Purpose::Shared { .. } | Purpose::Probe | Purpose::Private { .. } => None,
    }
}

/// Whether it ends subscriptions.
fn is_end(what: Subscribe) -> bool {
    match what {
        Subscribe::Subscribe | Subscribe::Psubscribe | Subscribe::Ssubscribe => false,
        Subscribe::Unsubscribe | Subscribe::Punsubscribe | Subscribe::Sunsubscribe => true,
    }
}

/// The word of a confirmation, which is also the command's.
fn word_of(what: Subscribe) -> &'static str {
    match what {
        Subscribe::Subscribe => "subscribe",
        Subscribe::Psubscribe => "psubscribe",
        Subscribe::Ssubscribe => "ssubscribe",
        Subscribe::Unsubscribe => "unsubscribe",
        Subscribe::Punsubscribe => "punsubscribe",
        Subscribe::Sunsubscribe => "sunsubscribe",
    }
}

/// What asks a server for a sign of life.
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// Source: redis 7.0 `server.c`, `processCommand`.
const ONLY: &str = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
                    this context";

/// twemproxy's word for a pool of which every server is ejected.
const NOBODY: &str = "Connection refused";

/// In Redis's manner: `max number of clients reached`.
const TOO_MANY: &str = "max number of private connections reached";
const TOO_MANY_NAMES: &str = "max number of subscriptions of one client reached";

#[cfg(test)]
mod tests;
