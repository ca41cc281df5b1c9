//! WATCH and UNWATCH: a server watches keys for a connection, so the client has one to itself.

use crate::io::{Buffer, Chain};
use crate::proto::{Expected, Request};
use crate::proxy::client::Account;
use crate::proxy::home;
use crate::proxy::pools::Pools;
use crate::proxy::private::{self, Errand};
use crate::proxy::source::Source;
use crate::proxy::{Proxy, deliver, dispatch, local};
use crate::token::Key;

/// What is watched for a client.
///
/// ```text
///             WATCH                 refused
///   Nothing ---------> On{asked} ------------> Nothing
///                         | agreed to
///                         v        connection lost
///                      On{agreed} ----------------> Lost
///                         | EXEC, UNWATCH, DISCARD   | the same
///                         +------> Nothing <---------+
/// ```
///
/// A transaction behind `Lost` is not carried out: whether a key has changed is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Nothing.
    #[default]
    Nothing,
    /// Keys of this server, on the client's private connection.
    On {
        /// Which server of the pool.
        server: u32,
        /// Whether it has said so of a key.
        agreed: bool,
        /// How many it was asked to watch; one that was named twice counts twice.
        keys: u32,
    },
    /// Nobody knows: the connection is lost.
    Lost,
}

impl Watch {
    /// The server whose keys are watched.
    pub(crate) fn server(self) -> Option<u32> {
        match self {
            Self::On { server, .. } => Some(server),
            Self::Nothing | Self::Lost => None,
        }
    }

    /// How many keys are watched.
    pub(crate) fn keys(self) -> u32 {
        match self {
            Self::On { keys, .. } => keys,
            Self::Nothing | Self::Lost => 0,
        }
    }
}

/// WATCH key [key ...]. Nothing of the client is parsed until it is answered: what is read behind
/// it, or written, comes behind it at the server too.
pub(crate) fn watch(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    request: &Request,
    source: Source<'_>,
) {
    check_version(pools, account);
    let watched = account.transaction.watch;
    if watched == Watch::Lost {
        // EXEC will not carry anything out, whatever else is watched.
        return local::say(pools, account, OK, source);
    }
    let home = home::only(pools, account, watched.server(), request, &source);
    let Some(number) = home else { return dispatch::answer(pools, account, source) };
    let agreed = matches!(watched, Watch::On { agreed: true, .. });
    let Some(source) = dispatch::behind_barrier(account, source) else { return };
    let Some(key) = borrow(pools, account, client, number) else {
        return private::refuse(pools, account, source);
    };
    account.anchor.get_or_insert_default().hold(pools, account.pool, request, &source);
    pools.enqueue(account, client, key, request.expected, source);
    let keys = watched.keys().saturating_add(request.keys.count);
    account.transaction.watch = Watch::On { server: number, agreed, keys };
    account.errand = Errand::Watch;
    account.barrier = true;
}

/// The private connection to this server that the client has, or another.
pub(crate) fn borrow(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    number: u32,
) -> Option<Key> {
    let server = account.private.and_then(|key| pools.servers.find(key));
    if server.is_some_and(|server| server.number == number) {
        return account.private;
    }
    pools.forsake(account);
    pools.lend_private(account, client, number)
}

/// UNWATCH, and DISCARD once what was held is dropped: both are answered with `+OK`.
pub(crate) fn unwatch(pools: &mut Pools, account: &mut Account, client: Key, source: Source<'_>) {
    let was_watching = account.transaction.is_watching();
    account.transaction.watch = Watch::Nothing;
    let Some(key) = account.private.filter(|_| was_watching) else {
        return local::say(pools, account, OK, source);
    };
    source.discard();
    let (mut before, mut buffer) = (Chain::new(), Buffer::from_bytes(UNWATCH.into()));
    let source = Source::new(&mut before, &mut buffer, 0..UNWATCH.len());
    pools.enqueue(account, client, key, Expected::default(), source);
    account.errand = Errand::Forget;
    account.barrier = true;
}

/// The server has answered WATCH.
pub(crate) fn on_watched(pools: &mut Pools, account: &mut Account, agrees: bool) {
    if let Watch::On { agreed, .. } = &mut account.transaction.watch
        && (*agreed || agrees)
    {
        *agreed = true;
        return;
    }
    account.transaction.watch = Watch::Nothing;
    pools.release_private(account);
}

/// Gives a connection up that speaks another version of RESP than its client does by now.
pub(crate) fn check_version(pools: &mut Pools, account: &mut Account) {
    let speaks = account.private.and_then(|key| pools.servers.find(key)).map(|it| it.version);
    if account.transaction.is_watching() && speaks != Some(account.version) {
        pools.forsake(account);
        account.transaction.on_lost();
    }
}

/// What is watched may not change any more where it is watched, as keys have moved to other
/// servers. A transaction that has set out is let be.
pub(crate) fn on_moved(proxy: &mut Proxy, client: Key) {
    let Some(client) = proxy.clients.find(client) else { return };
    if let Some(key) = client.account.private
        && client.account.transaction.is_watching()
    {
        deliver::dismiss_server(proxy, key, MOVED);
    }
}

/// What a client hears whose WATCH is under way just then.
const MOVED: &[u8] = b"-ERR keys have moved to other servers\r\n";
const OK: &[u8] = b"+OK\r\n";
const UNWATCH: &[u8] = b"*1\r\n$7\r\nUNWATCH\r\n";
