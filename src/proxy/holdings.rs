//! What a proxy holds at a moment: its memory use, and whether anything is left.

use crate::proxy::Proxy;

/// What the clients and servers of one worker hold. All zero when nobody is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Clients, until their slots are free.
    pub clients: usize,
    /// Connections to servers, likewise.
    pub servers: usize,
    /// Replies that servers owe, also to clients that have gone.
    pub waiting: usize,
    /// Requests of clients without a reply.
    pub in_flight: usize,
    /// Bytes that clients have sent: parts of requests, and what may not be parsed yet.
    pub input_bytes: usize,
    /// Bytes of requests that no send has taken.
    pub queued_bytes: usize,
    /// Bytes of replies that clients have not taken.
    pub owed_bytes: usize,
    /// Bytes of replies whose ends have not come.
    pub partial_bytes: usize,
    /// Entries of the lists of clients that are ready, stalled, or wait for room; a worker adds
    /// those of its sockets that close, have their last words, or are to be armed.
    pub listed: usize,
}

impl Holdings {
    /// All bytes together.
    pub const fn bytes(&self) -> usize {
        self.input_bytes + self.queued_bytes + self.owed_bytes + self.partial_bytes
    }
}

impl Proxy {
    /// Counts what is held. It walks all clients and servers.
    pub fn holdings(&self) -> Holdings {
        let mut held = Holdings {
            clients: self.clients.len(),
            servers: self.pools.servers.len(),
            listed: self.ready.len() + self.stalled.len(),
            ..Holdings::default()
        };
        for client in self.clients.values() {
            held.in_flight += client.account.pipeline.len();
            held.input_bytes += client.input.partial.len() + client.input.stashed();
            held.input_bytes += client.account.transaction.held_bytes();
            held.owed_bytes += client.account.owed();
        }
        for server in self.pools.servers.values() {
            held.waiting += server.waiters.len();
            held.queued_bytes += server.output.len();
            held.partial_bytes += server.partial.len();
            held.listed += server.blocked.len();
        }
        held
    }
}
