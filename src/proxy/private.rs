//! Server connections that one client has to itself for a while: what it does there would be in
//! other clients' way, or theirs in its own.
//!
//! ```text
//!   lend: a kept one, or a new one            give back, clean and with nothing owed
//!   --------------------------------> lent ------------------------------------------> kept
//!                                       | anything else: the client leaves, it fails
//!                                       +--------------------------------------------> closed
//! ```
//!
//! A client is lent one behind a barrier only: all that it asked for before has been answered.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::limits::{PRIVATE_KEPT_MAX, PRIVATE_KEPT_TIME};
use crate::proxy::Proxy;
use crate::proxy::client::Account;
use crate::proxy::pools::Pools;
use crate::proxy::server::{Purpose, Server};
use crate::proxy::source::Source;
use crate::proxy::{local, watch};
use crate::time::Instant;
use crate::token::Key;

/// What a client waits for on its private connection, which decides what becomes of that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Errand {
    /// Nothing: it has the connection for what is to come.
    #[default]
    None,
    /// The reply to WATCH: the client keeps the connection if the server agrees.
    Watch,
    /// The last reply of a transaction, or of UNWATCH: the server forgets what it watched.
    Forget,
    /// The reply to a request that may wait, of this sequence number: it leaves nothing behind.
    Wait {
        /// The place of the request in the client's pipeline.
        sequence: u32,
    },
}

/// A private connection that nobody has.
pub(crate) struct Kept {
    pub(crate) key: Key,
    since: Instant,
}

/// How many private connections a pool may have, in all workers together.
#[derive(Debug)]
pub struct Quota {
    used: AtomicU32,
    /// Clients that wait for the reply to a request that may wait.
    waiting: AtomicU32,
    max: u32,
}

impl Quota {
    /// Room for so many.
    pub const fn new(max: u32) -> Self {
        Self { used: AtomicU32::new(0), waiting: AtomicU32::new(0), max }
    }

    /// How many there are.
    pub fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    /// How many clients of the pool wait: for a list to have an element, and the like.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Takes one, if there is one left.
    pub(crate) fn take(&self) -> bool {
        let more = |used| (used < self.max).then_some(used + 1);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Whether more than half of them are in use: what a worker keeps, no other can have.
    pub(crate) fn is_scarce(&self) -> bool {
        self.used() > self.max / 2
    }

    pub(crate) fn give_back(&self) {
        let before = self.used.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "what is given back was taken");
    }
}

impl Pools {
    /// A connection to server `number` that the client has to itself, until `release_private` or
    /// `forsake`. `None`: the pool has as many as it may.
    pub(crate) fn lend_private(
        &mut self,
        account: &mut Account,
        client: Key,
        number: u32,
    ) -> Option<Key> {
        assert!(account.private.is_none(), "a client has one private connection at most");
        let pool = &mut self.pools[account.pool as usize];
        let servers = &self.servers;
        let fits = |kept: &Kept| {
            let server = servers.find(kept.key);
            server.is_some_and(|it| it.number == number && it.version == account.version)
        };
        let key = if let Some(place) = pool.kept.iter().rposition(fits) {
            pool.kept.remove(place).key
        } else {
            if !pool.setup.private.take() {
                // What nobody has is in nobody's way.
                let oldest = pool.kept.first()?.key;
                self.close_server(oldest);
                if !self.pools[account.pool as usize].setup.private.take() {
                    return None;
                }
            }
            let timeout = self.pools[account.pool as usize].setup.timeout;
            let purpose = Purpose::Private { owner: None };
            self.begin(account.pool, number, purpose, account.version, timeout)
        };
        self.server_for_output(key).purpose = Purpose::Private { owner: Some(client) };
        account.private = Some(key);
        account.anchor = None;
        Some(key)
    }

    /// Takes a client's private connection back. The client has left nothing behind on it: no
    /// transaction, no watched key, no subscription. The next one that needs one gets it,
    /// unless they are scarce.
    pub(crate) fn release_private(&mut self, account: &mut Account) {
        let Some(key) = account.private.take() else { return };
        account.anchor = None;
        let since = self.now;
        let Some(server) = self.servers.find_mut(key) else { return };
        let Server { waiters, purpose, .. } = server;
        let is_quiet = waiters.is_empty();
        *purpose = Purpose::Private { owner: None };
        server.reset_patience();
        let pool = &mut self.pools[account.pool as usize];
        let is_wanted = pool.kept.len() < PRIVATE_KEPT_MAX && !pool.setup.private.is_scarce();
        if is_quiet && is_wanted {
            pool.kept.push(Kept { key, since });
        } else {
            self.close_server(key);
        }
    }

    /// Ends the private connection of a client that leaves, with whatever it was doing there.
    pub(crate) fn forsake(&mut self, account: &mut Account) {
        self.end_errand(account);
        account.anchor = None;
        if let Some(key) = account.private.take() {
            self.close_server(key);
        }
    }

    /// The client waits for the reply of this sequence number.
    pub(crate) fn begin_wait(&self, account: &mut Account, sequence: u32) {
        self.pools[account.pool as usize].setup.private.waiting.fetch_add(1, Ordering::Relaxed);
        account.errand = Errand::Wait { sequence };
    }

    /// What the client's private connection was for, until now.
    fn end_errand(&self, account: &mut Account) -> Errand {
        let errand = std::mem::take(&mut account.errand);
        if matches!(errand, Errand::Wait { .. }) {
            let waiting = &self.pools[account.pool as usize].setup.private.waiting;
            let before = waiting.fetch_sub(1, Ordering::Relaxed);
            assert!(before > 0, "a wait that ends has begun");
        }
        errand
    }

    /// Whether a connection is private, and nobody has it.
    pub(crate) fn is_kept(&self, key: Key) -> bool {
        let purpose = self.servers.find(key).map(|server| server.purpose);
        purpose == Some(Purpose::Private { owner: None })
    }

    /// Closes what was kept for too long: a server has better uses for a connection.
    pub(crate) fn close_long_kept(&mut self) {
        for pool in 0..self.pools.len() {
            while let Some(oldest) = self.pools[pool].kept.first()
                && self.now - oldest.since >= PRIVATE_KEPT_TIME
            {
                self.close_server(oldest.key);
            }
        }
    }
}

/// Tells a client that the pool has as many private connections as it may.
pub(crate) fn refuse(pools: &mut Pools, account: &mut Account, source: Source<'_>) {
    pools.counters.private_refused += 1;
    local::say(pools, account, TOO_MANY, source);
}

/// A reply has come on a client's private connection, and is in its place. `first` is its first
/// byte.
pub(crate) fn after_reply(proxy: &mut Proxy, key: Key, owner: Key, first: u8) {
    let Some(client) = proxy.clients.find_mut(owner) else { return };
    let account = &mut client.account;
    // Of a transaction's replies only the last counts.
    let is_last = proxy.pools.servers.find(key).is_some_and(|server| server.waiters.is_empty());
    if account.private != Some(key) || !is_last {
        return;
    }
    let agrees = first != b'-';
    match proxy.pools.end_errand(account) {
        Errand::None => {}
        Errand::Watch => watch::on_watched(&mut proxy.pools, account, agrees),
        // A server that refuses may remember what it was to forget.
        Errand::Forget if agrees => proxy.pools.release_private(account),
        Errand::Forget => proxy.pools.forsake(account),
        Errand::Wait { .. } if account.transaction.is_watching() => {
            proxy.pools.server_for_output(key).reset_patience();
        }
        Errand::Wait { .. } => proxy.pools.release_private(account),
    }
}

/// A client's private connection has failed. What waited on it is answered by the caller.
pub(crate) fn on_lost(proxy: &mut Proxy, owner: Key) {
    if let Some(client) = proxy.clients.find_mut(owner) {
        client.account.private = None;
        client.account.anchor = None;
        proxy.pools.end_errand(&mut client.account);
        client.account.transaction.on_lost();
    }
}

/// In Redis's manner: `max number of clients reached`.
const TOO_MANY: &[u8] = b"-ERR max number of private connections reached\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_ends_at_its_limit_and_begins_anew() {
        let quota = Quota::new(2);
        assert!(quota.take() && quota.take() && !quota.take());
        quota.give_back();
        assert_eq!(quota.used(), 1);
        assert!(quota.take() && !quota.take());
    }

    #[test]
    fn connections_are_scarce_when_more_than_half_are_used() {
        for (max, first_scarce) in [(1, 1), (2, 2), (3, 2), (4, 3)] {
            let quota = Quota::new(max);
            let scarce = (1..=max).find(|_| quota.take() && quota.is_scarce());
            assert_eq!(scarce, Some(first_scarce), "of {max}");
        }
    }
}
