//! MULTI, EXEC and DISCARD: requests are held here until EXEC, and then sent as one contiguous run.
//!
//! ```text
//!   client            proxy                                   server
//!   MULTI  ------->   +OK
//!   SET a 1 ------>   checked, held: +QUEUED
//!   INCR a ------->   checked, held: +QUEUED
//!   EXEC  -------->   MULTI | SET a 1 | INCR a | EXEC  ---->   +OK +QUEUED +QUEUED *2 ...
//!                                                              ^ nobody's     ^ the client's
//! ```
//!
//! The run goes out on the connection that the client shares with others: it is written at once,
//! so nobody's request comes between. With a watched key it goes where that is watched.
//!
//! What a server says to MULTI is not waited for. One that refuses it (an access list that lacks
//! it) has what follows already and carries it out one by one, also what waits for somebody else.
//! The connection is closed then, which ends the wait, and who waits on it hears why.

use crate::distribution::RoutingTable;
use crate::io::{Chain, Mark};
use crate::proto::commands::{self, Command, Local, Serve};
use crate::proto::{Expected, Request};
use crate::proxy::client::Account;
use crate::proxy::home::{self, Anchor};
use crate::proxy::pools::Pools;
use crate::proxy::private::Errand;
use crate::proxy::reply::Writer;
use crate::proxy::server::{RUN, Waiter};
use crate::proxy::source::Source;
use crate::proxy::watch::{self, Watch};
use crate::proxy::{Proxy, deliver, dispatch, local, reject, scripts};
use crate::token::Key;

/// What a client has begun and not ended.
///
/// ```text
///          WATCH                  MULTI
///   idle --------> watching ---+---------> held --EXEC, DISCARD--> idle
///     +------------------------+
/// ```
#[derive(Default)]
pub(crate) struct Transaction {
    /// What waits for EXEC; none without MULTI.
    held: Option<Box<Held>>,
    pub(crate) watch: Watch,
}

/// Requests that wait for EXEC.
#[derive(Default)]
struct Held {
    requests: Chain,
    /// Bytes of each.
    lens: Vec<u32>,
    /// Where their keys are, once one had a key.
    server: Option<u32>,
    /// Those keys.
    anchor: Anchor,
    /// What they change of the scripts that are remembered; where these are in `requests`.
    scripts: Vec<scripts::Change>,
    /// One was refused, so EXEC will refuse them all.
    is_spoiled: bool,
}

impl Transaction {
    /// Whether MULTI was said.
    pub(crate) fn is_open(&self) -> bool {
        self.held.is_some()
    }

    /// Whether it has keys watched, as far as is known.
    pub(crate) fn is_watching(&self) -> bool {
        matches!(self.watch, Watch::On { .. })
    }

    /// How many requests wait for EXEC, if MULTI was said.
    pub(crate) fn held_count(&self) -> Option<usize> {
        self.held.as_ref().map(|held| held.lens.len())
    }

    /// Bytes that wait for EXEC.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.requests.len())
    }

    /// A request was refused: the others are not carried out without it.
    pub(crate) fn spoil(&mut self) {
        if let Some(held) = &mut self.held {
            held.is_spoiled = true;
            held.requests = Chain::new();
            held.lens = Vec::new();
            held.scripts = Vec::new();
        }
    }

    /// Whether what is held is for keys that have moved to other servers.
    pub(crate) fn has_moved(&self, routing: &RoutingTable) -> bool {
        let Some(held) = &self.held else { return false };
        held.server.is_some_and(|server| !held.anchor.is_in_place(routing, server))
    }

    /// Keys of what is held have moved. With watched keys EXEC says that one has changed.
    pub(crate) fn on_moved(&mut self) {
        if self.watch == Watch::Nothing {
            self.spoil();
        }
    }

    /// The private connection is lost, and with it what the server watched.
    pub(crate) fn on_lost(&mut self) {
        self.watch = match self.watch {
            // Who was never told that a key is watched does not count on it.
            Watch::Nothing | Watch::On { agreed: false, .. } => Watch::Nothing,
            Watch::On { agreed: true, .. } | Watch::Lost => Watch::Lost,
        };
    }
}

/// Handles MULTI and its kin, whose arity fits.
pub(crate) fn dispatch(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    what: commands::Transaction,
    request: &Request,
    source: Source<'_>,
) {
    let is_open = account.transaction.is_open();
    match what {
        commands::Transaction::Multi if is_open => local::say(pools, account, NESTED, source),
        commands::Transaction::Multi => {
            account.transaction.held = Some(Box::default());
            local::say(pools, account, OK, source);
        }
        commands::Transaction::Exec => exec(pools, account, client, source),
        commands::Transaction::Discard if is_open => {
            account.transaction.held = None;
            watch::unwatch(pools, account, client, source);
        }
        commands::Transaction::Discard => local::say(pools, account, NOT_DISCARDED, source),
        commands::Transaction::Watch if is_open => local::say(pools, account, LATE_WATCH, source),
        commands::Transaction::Watch => watch::watch(pools, account, client, request, source),
        commands::Transaction::Unwatch => watch::unwatch(pools, account, client, source),
    }
}

/// Whether a request of this command is held while a transaction is open. The others end it, or
/// have words of their own for it.
pub(crate) fn is_for_later(account: &Account, command: &Command) -> bool {
    account.transaction.is_open()
        && match command.serve {
            Serve::Transaction(what) => what == commands::Transaction::Unwatch,
            Serve::Local(what) => !matches!(what, Local::Quit | Local::Reset),
            Serve::Forward
            | Serve::Split(_)
            | Serve::Everywhere(_)
            | Serve::Cursor
            | Serve::Blocking(_)
            | Serve::Subscribe(_)
            | Serve::Script
            | Serve::Container
            | Serve::Refused(_) => true,
        }
}

/// A request is refused before it could be held, or in place of EXEC, with `pools.words`. As in
/// Redis (`rejectCommand`), the transaction is not carried out without it; a refused EXEC ends one
/// and what is watched, and says so even if there is none.
pub(crate) fn on_refused(pools: &mut Pools, account: &mut Account, request: &Request) {
    let serve = request.command.map(|command| command.serve);
    if serve != Some(Serve::Transaction(commands::Transaction::Exec)) {
        return account.transaction.spoil();
    }
    let words = pools.words.strip_prefix(b"-ERR ").unwrap_or(&pools.words);
    pools.words = [ABORTED_AS, words].concat();
    discard(pools, account);
}

/// Holds a request until EXEC.
pub(crate) fn hold(
    pools: &mut Pools,
    account: &mut Account,
    command: &Command,
    request: &Request,
    source: Source<'_>,
) {
    let refused = find_place(pools, account, command, request, &source);
    if refused {
        account.transaction.spoil();
        return dispatch::answer(pools, account, source);
    }
    if let Some(held) = &mut account.transaction.held
        && !held.is_spoiled
    {
        let before = held.requests.len();
        held.scripts.extend(scripts::change(command, request).map(|change| change.behind(before)));
        held.lens.push(source.len() as u32);
        source.move_to(&mut held.requests);
    } else {
        source.discard();
    }
    pools.lend(&mut account.output);
    account.pipeline.push_answered(QUEUED, &mut account.output);
}

/// Sees whether a request may be held, and sets the transaction's server by the first key. If not,
/// returns true, and `pools.words` say why.
fn find_place(
    pools: &mut Pools,
    account: &mut Account,
    command: &Command,
    request: &Request,
    source: &Source<'_>,
) -> bool {
    if !may_be_held(pools, account, command) {
        pools.words.clear();
        reject::error("Command not allowed inside a transaction", &mut pools.words);
        return true;
    }
    let Transaction { held: Some(held), watch } = &account.transaction else { return false };
    let limits = &pools.limits;
    if held.lens.len() >= limits.transaction_requests_max
        || held.requests.len() >= limits.transaction_bytes_max
    {
        pools.words.clear();
        reject::error("the transaction is too large for the proxy", &mut pools.words);
        return true;
    }
    let bound = held.server.or(watch.server());
    let Some(number) = home::only(pools, account, bound, request, source) else { return true };
    if let Some(held) = &mut account.transaction.held
        && request.keys.count > 0
    {
        held.server = Some(number);
        if !held.is_spoiled {
            held.anchor.hold(pools, account.pool, request, source);
        }
    }
    false
}

/// Whether one server answers a command as the proxy would, behind MULTI, and is left as it was.
fn may_be_held(pools: &Pools, account: &Account, command: &Command) -> bool {
    match command.serve {
        // What may wait does not wait inside a transaction.
        Serve::Forward | Serve::Split(_) | Serve::Script | Serve::Blocking(_) => true,
        Serve::Transaction(what) => what == commands::Transaction::Unwatch,
        Serve::Local(what) => matches!(what, Local::Ping | Local::Echo | Local::Time),
        // Of several servers one would answer for all.
        Serve::Everywhere(_) => pools.pools[account.pool as usize].setup.servers.len() == 1,
        Serve::Cursor | Serve::Subscribe(_) | Serve::Container | Serve::Refused(_) => false,
    }
}

fn exec(pools: &mut Pools, account: &mut Account, client: Key, source: Source<'_>) {
    let Some(held) = &account.transaction.held else {
        return local::say(pools, account, NOT_EXECUTED, source);
    };
    let (server, is_empty) = (held.server, held.lens.is_empty());
    if held.is_spoiled {
        discard(pools, account);
        return local::say(pools, account, ABORTED, source);
    }
    watch::check_version(pools, account);
    match account.transaction.watch {
        Watch::Nothing if is_empty => {
            discard(pools, account);
            local::say(pools, account, b"*0\r\n", source);
        }
        Watch::Nothing => exec_shared(pools, account, client, server, source),
        Watch::On { .. } => exec_watched(pools, account, client, source),
        // A key may have changed: as if it had.
        Watch::Lost => say_unchanged(pools, account, source),
    }
}

/// Sends the run on the connection that the client shares with others.
fn exec_shared(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    server: Option<u32>,
    source: Source<'_>,
) {
    let Some(number) = server.or_else(|| pools.route_keyless(account.pool)) else {
        discard(pools, account);
        home::no_server(pools, account);
        return dispatch::answer(pools, account, source);
    };
    let key = pools.connection(account, number);
    if pools.is_full(key) {
        return pools.park(account, client, key, source);
    }
    source.discard();
    send_run(pools, account, client, key);
}

/// Sends the run where the keys are watched, once everything before is answered, and gives that
/// connection back with the reply.
fn exec_watched(pools: &mut Pools, account: &mut Account, client: Key, source: Source<'_>) {
    let Some(source) = dispatch::behind_barrier(account, source) else { return };
    let Some(key) = account.private else { return say_unchanged(pools, account, source) };
    source.discard();
    send_run(pools, account, client, key);
    account.transaction.watch = Watch::Nothing;
    account.errand = Errand::Forget;
    account.barrier = true;
}

/// Queues MULTI, what was held, and EXEC, with nothing between them.
fn send_run(pools: &mut Pools, account: &mut Account, client: Key, key: Key) {
    let Some(mut held) = account.transaction.held.take() else { return };
    learn_scripts(pools, account, &held);
    let bytes = MULTI.len() + held.requests.len() + EXEC.len();
    let sequence = account.pipeline.push_waiting(u32::try_from(bytes).unwrap_or(u32::MAX));
    let now = pools.now;
    let server = pools.server_for_output(key);
    server.queue(Waiter { fragment: RUN, ..Waiter::nobody(now) }, MULTI.len() as u64);
    server.output.push_copy(MULTI);
    for &len in &held.lens {
        server.queue(Waiter::nobody(now), u64::from(len));
    }
    server.output.append(&mut held.requests);
    server.queue(Waiter::new(client, sequence, Expected::default(), now), EXEC.len() as u64);
    server.output.push_copy(EXEC);
    pools.flush_later(key);
}

/// Remembers the scripts of the run, and forgets them, in the order of its requests.
fn learn_scripts(pools: &mut Pools, account: &Account, held: &Held) {
    let (mut body, mut mark) = (Vec::new(), Mark::default());
    for change in &held.scripts {
        body.clear();
        held.requests.copy_range(change.body.clone(), &mut body, &mut mark);
        scripts::learn(pools, account, change, &body);
    }
}

/// A server has refused the MULTI of a run: nobody knows how long it is busy with the rest. It has
/// not failed, and a client could have others fail it.
pub(crate) fn on_refused_run(proxy: &mut Proxy, key: Key) {
    let Some(server) = proxy.pools.servers.find(key) else { return };
    let (pool, number) = (server.pool, server.number);
    proxy.pools.log_server(pool, number, "refuses MULTI, its connection is closed");
    deliver::dismiss_server(proxy, key, REFUSED);
}

/// Forgets what was held, and what is watched.
pub(crate) fn discard(pools: &mut Pools, account: &mut Account) {
    pools.forsake(account);
    account.transaction = Transaction::default();
}

/// Answers EXEC as when a watched key has changed: nothing was carried out.
fn say_unchanged(pools: &mut Pools, account: &mut Account, source: Source<'_>) {
    discard(pools, account);
    pools.words.clear();
    Writer::new(account.version, &mut pools.words).null_array();
    dispatch::answer(pools, account, source);
}

const REFUSED: &[u8] = b"-ERR the server refuses MULTI, its connection is closed\r\n";
const OK: &[u8] = b"+OK\r\n";
const QUEUED: &[u8] = b"+QUEUED\r\n";
const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
/// Source of these: redis 7.0 `multi.c`, `server.c`.
const NESTED: &[u8] = b"-ERR MULTI calls can not be nested\r\n";
const LATE_WATCH: &[u8] = b"-ERR WATCH inside MULTI is not allowed\r\n";
const NOT_EXECUTED: &[u8] = b"-ERR EXEC without MULTI\r\n";
const NOT_DISCARDED: &[u8] = b"-ERR DISCARD without MULTI\r\n";
const ABORTED: &[u8] = b"-EXECABORT Transaction discarded because of previous errors.\r\n";
const ABORTED_AS: &[u8] = b"-EXECABORT Transaction discarded because of: ";
