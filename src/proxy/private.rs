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

use crate::limits::PRIVATE_KEPT_MAX;
use crate::proxy::Proxy;
use crate::proxy::client::Account;
use crate::proxy::pools::Pools;
use crate::proxy::server::{Purpose, Server};
use crate::token::Key;

/// How many private connections a pool may have, in all workers together.
#[derive(Debug)]
pub struct Quota {
    used: AtomicU32,
    max: u32,
}

impl Quota {
    /// Room for so many.
    pub const fn new(max: u32) -> Self {
        Self { used: AtomicU32::new(0), max }
    }

    /// How many there are.
    pub fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes one, if there is one left.
    pub(crate) fn take(&self) -> bool {
        let more = |used| (used < self.max).then_some(used + 1);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
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
        let fits = |key: &Key| {
            let server = servers.find(*key);
            server.is_some_and(|it| it.number == number && it.version == account.version)
        };
        let key = if let Some(place) = pool.kept.iter().rposition(fits) {
            pool.kept.remove(place)
        } else {
            if !pool.setup.private.take() {
                // What nobody has is in nobody's way.
                let oldest = pool.kept.first().copied()?;
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
        Some(key)
    }

    /// Takes a client's private connection back. The client has left nothing behind on it: no
    /// transaction, no watched key, no subscription. The next one that needs one gets it.
    pub(crate) fn release_private(&mut self, account: &mut Account) {
        let Some(key) = account.private.take() else { return };
        let timeout = self.pools[account.pool as usize].setup.timeout;
        let Some(server) = self.servers.find_mut(key) else { return };
        let Server { waiters, purpose, .. } = server;
        let is_quiet = waiters.is_empty();
        *purpose = Purpose::Private { owner: None };
        server.timeout = timeout;
        let pool = &mut self.pools[account.pool as usize];
        if is_quiet && pool.kept.len() < PRIVATE_KEPT_MAX {
            pool.kept.push(key);
        } else {
            self.close_server(key);
        }
    }

    /// Ends the private connection of a client that leaves, with whatever it was doing there.
    pub(crate) fn forsake(&mut self, account: &mut Account) {
        if let Some(key) = account.private.take() {
            self.close_server(key);
        }
    }
}

/// A client's private connection has failed. What waited on it is answered by the caller.
pub(crate) fn on_lost(proxy: &mut Proxy, owner: Key) {
    if let Some(client) = proxy.clients.find_mut(owner) {
        client.account.private = None;
    }
}

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
}
