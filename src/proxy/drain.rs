//! The end in good order: clients get the replies to what was read, and no request is read any
//! more.

use crate::proxy::{Proxy, blocking};
use crate::time::Instant;
use crate::token::Key;

impl Proxy {
    /// From now on no bytes are taken from clients. Each goes as soon as the whole requests that
    /// came before are answered: at once, if there are none. Who waits at a server does so no more.
    pub fn drain(&mut self, now: Instant) {
        self.pools.now = now;
        self.pools.is_draining = true;
        let clients: Vec<Key> = self.clients.keys().collect();
        for key in clients {
            blocking::unblock(self, key, blocking::UNBLOCKED);
            self.on_client_end(key);
        }
    }

    /// Closes the server connections on which no reply is waited for.
    pub fn close_idle_servers(&mut self, now: Instant) {
        self.pools.now = now;
        let mut servers = std::mem::take(&mut self.servers);
        servers.extend(self.pools.servers.keys());
        for key in servers.drain(..) {
            self.pools.close_if_idle(key);
        }
        self.servers = servers;
    }
}
