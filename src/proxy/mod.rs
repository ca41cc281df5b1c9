//! The proxy of one worker: clients, servers and pools as state machines. Events and a time go
//! in, wants come out.
//!
//! ```text
//!   received (client) -> parser -> dispatch -> route -> server's queue --+
//!                          |          |                                 flush
//!                          |          +-> answered here                  |
//!                          +-> place in the pipeline <-- settle <-- received (server)
//!                                       |
//!                                       +-> client's output -> flush
//! ```
//!
//! **Knows nothing of:** the ring, the clock, sockets, descriptors.

mod blocking;
mod broadcast;
mod census;
mod client;
mod counters;
mod deliver;
mod dispatch;
mod drain;
mod figures;
mod fragment;
mod gather;
mod glob;
mod greeting;
mod health;
mod holdings;
mod home;
mod identity;
mod intake;
mod listener;
mod local;
mod owed;
mod pipeline;
mod policy;
mod pool;
mod pools;
mod private;
mod process;
mod reject;
mod renamed;
mod reply;
mod resp3;
mod restoring;
mod scan;
mod scripts;
mod server;
mod silent;
mod slots;
mod source;
mod stream;
mod subscribe;
mod transaction;
mod values;
mod watch;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

pub use census::Round;
pub use counters::Counters;
pub use figures::layout;
pub use health::{Ejecting, Sign, Standing, Vital};
pub use holdings::Holdings;
pub use listener::Occupancy;
pub use policy::Policy;
pub use pool::PoolSetup;
pub use private::Quota;
pub use process::{Facts, Process, Usage};
pub use reject::TOO_MANY_CLIENTS;
pub use resp3::LowestVersion;
pub use scripts::Scripts;

use crate::io::{Address, Buffer, Chain, Destination, Errno, KeepAlive};
use crate::limits::Limits;
use crate::proto::Protocol;
use crate::proxy::client::{Client, Phase};
use crate::proxy::identity::Identity;
use crate::proxy::pools::Pools;
use crate::proxy::slots::Slots;
use crate::stats::{Block, Layout};
use crate::time::Instant;
use crate::token::{Key, Role};

/// What the proxy asks its worker to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Look up the name of a server slot, `Proxy::name`; `on_resolved` says what came of it.
    Resolve(Key),
    /// Connect a server slot to `Proxy::address`; `on_connected` says how it went.
    Connect {
        /// The server slot.
        key: Key,
        /// The time limit, if the pool has one.
        within: Option<Duration>,
    },
    /// Send what `Proxy::take_output` gives, once no send is in flight on this slot.
    Flush(Key),
    /// Receive for this slot.
    Read(Key),
    /// Stop receiving for this client, and watch for its hangup.
    Pause(Key),
    /// Shut down our side of this client, let it finish, then close: everything has been sent.
    Farewell(Key),
    /// End everything on this slot and close it, then call `on_closed`.
    Close(Key),
}

/// The clients, pools and server connections of one worker.
pub struct Proxy {
    clients: Slots<Client>,
    pools: Pools,
    /// Clients with bytes that may be parsed, or an end that may be acted on.
    ready: VecDeque<Key>,
    /// Clients beyond the soft limit of unread replies.
    stalled: Vec<Key>,
    /// Server connections, listed by a tick; kept for its memory.
    servers: Vec<Key>,
    /// Where each tick shows the figures.
    stats: Arc<Block>,
    /// What the figures of all workers are.
    layout: Layout,
}

impl Proxy {
    /// A proxy without clients or connections. `seed` is for the `random` distribution.
    pub fn new(pools: Vec<PoolSetup>, limits: Limits, seed: u64) -> Self {
        let figures = figures::figures_of(&pools);
        let stats = Arc::new(Block::new(&figures, Counters::default().named().len()));
        Self {
            layout: layout(&pools),
            clients: Slots::new(Role::Client),
            pools: Pools::new(pools, limits, seed, figures),
            stats,
            ready: VecDeque::new(),
            stalled: Vec::new(),
            servers: Vec::new(),
        }
    }

    /// As a part of a process with other workers.
    pub fn with_process(mut self, process: Arc<Process>) -> Self {
        self.pools.process = process;
        self
    }

    /// Opens what is wanted before the first client. To be called once.
    pub fn start(&mut self, now: Instant) {
        self.pools.now = now;
        self.pools.preconnect();
    }

    /// Makes a slot for a client of `pool`. The worker receives for it from now on.
    pub fn on_accept(&mut self, pool: u32) -> Key {
        self.pools.counters.clients += 1;
        self.pools.figures.process.total_connections += 1;
        self.pools.figures.pool(pool).client_connections += 1;
        let now = self.pools.now;
        let state = &mut self.pools.pools[pool as usize];
        let mut client = Client::new(pool, state.deal_lane(), state.setup.protocol);
        client.account.authenticated = state.setup.password.is_none();
        client.account.identity = Identity::new(self.pools.process.next_client_id(), now);
        client.input.parser.learn(state.setup.policy.names());
        client.input.parser.trust(client.account.authenticated);
        self.clients.insert(client)
    }

    /// A client was not let in, as its pool's lists do not allow its address.
    pub fn on_denied(&mut self) {
        self.pools.counters.clients_denied += 1;
    }

    /// A client was not let in, as there were too many.
    pub fn on_refused(&mut self) {
        self.pools.counters.clients_refused += 1;
    }

    /// Bytes arrived. The buffer can be given back as soon as this returns.
    #[inline]
    pub fn on_received(&mut self, now: Instant, key: Key, buffer: &mut Buffer) {
        self.pools.now = now;
        match key.role {
            Role::Client => self.on_request_bytes(key, buffer),
            Role::Server => deliver::on_reply_bytes(self, key, buffer),
            Role::Worker | Role::Listener => {}
        }
    }

    /// The peer has ended its side of the stream.
    pub fn on_end(&mut self, now: Instant, key: Key) {
        self.pools.now = now;
        match key.role {
            Role::Client => self.on_client_end(key),
            Role::Server => deliver::fail_server(self, key, None),
            Role::Worker | Role::Listener => {}
        }
    }

    /// An operation on this slot failed: the connection is of no use any more.
    pub fn on_error(&mut self, now: Instant, key: Key, why: Errno) {
        self.pools.now = now;
        match key.role {
            Role::Client => self.drop_client(key),
            Role::Server => deliver::fail_server(self, key, Some(why)),
            Role::Worker | Role::Listener => {}
        }
    }

    /// The name of a server slot has been looked up; without an address nothing can be reached.
    pub fn on_resolved(&mut self, now: Instant, key: Key, address: Option<Address>) {
        self.pools.now = now;
        let within = self.receive_within(now, key);
        let Some(server) = self.pools.servers.find_mut(key) else { return };
        if server.phase != server::Phase::Resolving {
            return;
        }
        if address.is_none() {
            // twemproxy's word for a host that its resolver does not know.
            return deliver::fail_server(self, key, Some(Errno(libc::EHOSTDOWN)));
        }
        server.resolved = address;
        server.phase = server::Phase::Connecting;
        self.pools.wants.push(Want::Connect { key, within });
    }

    /// A connect that was wanted is over.
    pub fn on_connected(&mut self, now: Instant, key: Key, result: Result<(), Errno>) {
        self.pools.now = now;
        let Some(server) = self.pools.servers.find_mut(key) else { return };
        if server.phase != server::Phase::Connecting {
            return;
        }
        match result {
            Ok(()) => {
                server.begin();
                self.pools.wants.push(Want::Read(key));
                self.pools.wants.push(Want::Flush(key));
            }
            Err(why) => deliver::fail_server(self, key, Some(why)),
        }
    }

    /// `bytes` of this slot's output have been taken by the kernel.
    #[inline]
    pub fn on_sent(&mut self, now: Instant, key: Key, bytes: usize) {
        self.pools.now = now;
        match key.role {
            Role::Client => self.on_client_took(key, bytes),
            Role::Server => deliver::on_requests_sent(self, key, bytes as u64),
            Role::Worker | Role::Listener => {}
        }
    }

    /// The time given by `receive_within` has passed, as far as the ring can tell. Ends the server
    /// connection if its oldest request is overdue.
    pub fn on_deadline(&mut self, now: Instant, key: Key) {
        self.pools.now = now;
        let Some(server) = self.pools.servers.find(key) else { return };
        if server.deadline().is_some_and(|deadline| deadline <= now) {
            deliver::fail_server(self, key, Some(Errno(libc::ETIMEDOUT)));
        }
    }

    /// The periodic net under the deadlines, and the clock of clients that take nothing; then the
    /// figures are shown.
    pub fn on_tick(&mut self, now: Instant) {
        self.pools.now = now;
        let mut servers = std::mem::take(&mut self.servers);
        servers.extend(self.pools.servers.keys());
        for key in servers.drain(..) {
            self.on_deadline(now, key);
        }
        self.servers = servers;
        self.pools.close_long_kept();
        self.tick_stalled(now);
        self.show_figures();
        self.pools.ticked_at = now;
    }

    /// Nothing is armed on this slot any more and its descriptor is closed: the slot is free.
    pub fn on_closed(&mut self, key: Key) {
        match key.role {
            Role::Client => drop(self.clients.remove(key)),
            Role::Server => drop(self.pools.servers.remove(key)),
            Role::Worker | Role::Listener => {}
        }
    }

    /// Whether `run_ready` has something to do, so that the worker must not sleep.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Gives each client in the ready list one turn.
    pub fn run_ready(&mut self, now: Instant) {
        self.pools.now = now;
        self.pools.turn = self.pools.turn.wrapping_add(1);
        for _ in 0..self.ready.len() {
            if let Some(key) = self.ready.pop_front() {
                self.run_client(key);
            }
        }
    }

    /// Moves what the worker is asked to do to the end of `into`.
    pub fn take_wants(&mut self, into: &mut Vec<Want>) {
        into.append(&mut self.pools.wants);
    }

    /// The output of a slot that wants a flush; none if there is nothing to send (any more).
    pub fn take_output(&mut self, key: Key) -> Option<Chain> {
        let output = match key.role {
            Role::Client => {
                let account = &mut self.clients.find_mut(key)?.account;
                account.dirty = false;
                account.in_send += account.output.len();
                &mut account.output
            }
            Role::Server => {
                let output = self.pools.servers.find_mut(key)?.take_output();
                return (!output.is_empty()).then_some(output);
            }
            Role::Worker | Role::Listener => return None,
        };
        (!output.is_empty()).then(|| std::mem::take(output))
    }

    /// Takes an emptied output back, for its memory.
    pub fn recycle(&mut self, chain: Chain) {
        self.pools.recycle(chain);
    }

    /// The host of a server slot whose name is to be looked up, and the port.
    pub fn name(&self, key: Key) -> Option<(&str, u16)> {
        match self.pools.destination(key)? {
            Destination::Name { host, port } => Some((host, *port)),
            Destination::Address(_) => None,
        }
    }

    /// How the connection of a server slot is to be probed, if at all.
    pub fn keep_alive(&self, key: Key) -> Option<KeepAlive> {
        self.pools.keep_alive(key)
    }

    /// Where a server slot connects to.
    pub fn address(&self, key: Key) -> Option<&Address> {
        self.pools.address(key)
    }

    /// For how long to receive from a server before its oldest request is overdue; a whole
    /// timeout when none waits; `None`: for ever.
    pub fn receive_within(&self, now: Instant, key: Key) -> Option<Duration> {
        let server = self.pools.servers.find(key)?;
        let timeout = server.timeout?;
        Some(server.deadline().map_or(timeout, |deadline| deadline - now))
    }

    /// Whether a client that has ended its side is still owed something.
    pub fn is_owed(&self, key: Key) -> bool {
        let client = self.clients.find(key);
        client.is_some_and(|client| client.account.phase != Phase::Leaving)
    }

    /// Whether a client waits for the reply to a request.
    pub fn is_waiting(&self, key: Key) -> bool {
        self.clients.find(key).is_some_and(|client| !client.account.pipeline.is_empty())
    }

    /// The pool of a client.
    pub fn pool_of(&self, key: Key) -> Option<u32> {
        Some(self.clients.find(key)?.account.pool)
    }

    /// What the clients and servers of a pool speak.
    pub fn protocol(&self, pool: u32) -> Protocol {
        self.pools.protocol(pool)
    }

    /// Slots in use: clients, and server connections.
    pub fn slots(&self) -> (usize, usize) {
        (self.clients.len(), self.pools.servers.len())
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.pools.counters
    }
}

#[cfg(test)]
mod tests;
