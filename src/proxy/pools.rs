//! All pools and their server connections: where a request goes, and who waits for its reply.

use std::sync::Arc;
use std::time::Duration;

use log::warn;

use crate::io::{Address, Chain, Destination, Errno, KeepAlive};
use crate::limits::{Limits, SPARE_CHAINS_MAX};
use crate::proto::{BadRequest, Expected, Protocol, Request, RespVersion};
use crate::proxy::census::Round;
use crate::proxy::client::Account;
use crate::proxy::figures::{add_tally, count_server_end};
use crate::proxy::greeting::Greeting;
use crate::proxy::pool::{Pool, PoolSetup};
use crate::proxy::process::{Facts, Process};
use crate::proxy::server::{Phase, Purpose, Server, Waiter};
use crate::proxy::slots::Slots;
use crate::proxy::source::Source;
use crate::proxy::{Counters, Sign, Want, subscribe};
use crate::stats::Figures;
use crate::time::Instant;
use crate::token::{Key, Role};

/// The pools of one worker, and what every part of the proxy shares while it handles one event.
pub(crate) struct Pools {
    pub(crate) pools: Vec<Pool>,
    pub(crate) servers: Slots<Server>,
    pub(crate) limits: Limits,
    pub(crate) counters: Counters,
    pub(crate) figures: Figures,
    /// What the worker is asked to do.
    pub(crate) wants: Vec<Want>,
    /// What became known of servers in pools that eject.
    pub(crate) signs: Vec<Sign>,
    /// What the workers share of their process.
    pub(crate) process: Arc<Process>,
    /// Questions of clients to all workers, which have not set out.
    pub(crate) rounds: Vec<Round>,
    /// The time of the event at hand.
    pub(crate) now: Instant,
    /// Clients are let go, and nothing more is taken from them.
    pub(crate) is_draining: bool,
    /// The time of the last tick.
    pub(crate) ticked_at: Instant,
    /// The number of the turn at hand, for the clients' budgets; wraps.
    pub(crate) turn: u32,
    /// The server of each key of the request at hand.
    pub(crate) routes: Vec<u32>,
    /// The text of a reply of ours.
    pub(crate) words: Vec<u8>,
    scratch: Vec<u8>,
    spare: Vec<Chain>,
    random: u64,
    /// When each server's failure was last logged: a dead server fails every request.
    logged: Vec<Vec<Option<Instant>>>,
    bad_request_logged: Option<Instant>,
    script_logged: Option<Instant>,
    pub(crate) subscribers_logged: Option<Instant>,
}

/// Who is left behind by a server connection that has failed.
#[derive(Default)]
pub(crate) struct Retired {
    /// Who waited for a reply on it.
    pub(crate) waiters: Vec<Waiter>,
    /// Who waited to add to it.
    pub(crate) blocked: Vec<Key>,
    /// Who had it alone.
    pub(crate) owner: Option<Key>,
    /// Who listened there.
    pub(crate) subscriber: Option<Key>,
}

impl Pools {
    pub(crate) fn new(setups: Vec<PoolSetup>, limits: Limits, seed: u64, figures: Figures) -> Self {
        let logged = setups.iter().map(|setup| vec![None; setup.servers.len()]).collect();
        Self {
            pools: setups.into_iter().map(Pool::new).collect(),
            servers: Slots::new(Role::Server),
            limits,
            counters: Counters::default(),
            figures,
            wants: Vec::new(),
            signs: Vec::new(),
            process: Arc::new(Process::new(1, Facts::default())),
            rounds: Vec::new(),
            now: Instant::default(),
            is_draining: false,
            ticked_at: Instant::default(),
            turn: 0,
            routes: Vec::new(),
            words: Vec::new(),
            scratch: Vec::new(),
            spare: Vec::new(),
            random: seed | 1,
            logged,
            bad_request_logged: None,
            script_logged: None,
            subscribers_logged: None,
        }
    }

    /// Which server of `pool` the key at `part` belongs to. `None`: all are ejected.
    #[inline]
    pub(crate) fn route(
        &mut self,
        pool: u32,
        source: &Source<'_>,
        part: std::ops::Range<usize>,
    ) -> Option<u32> {
        let draw = self.draw();
        let key = source.slice(part, &mut self.scratch);
        let routing = &self.pools[pool as usize].setup.routing;
        routing.route(key, draw).map(|number| number as u32)
    }

    /// Whether every key that the patterns of a request stand for is on the server `number`. Those
    /// of SORT name keys if there is a `*` in them; what follows `->` is a field of a hash.
    pub(crate) fn has_patterns(
        &mut self,
        pool: u32,
        request: &Request,
        source: &Source<'_>,
        number: Option<u32>,
    ) -> bool {
        let draw = self.draw();
        let routing = &self.pools[pool as usize].setup.routing;
        request.patterns.iter().all(|&index| {
            let pattern = source.slice(request.argument_range(index), &mut self.scratch);
            let owner = || routing.route_pattern(pattern, draw).map(|number| number as u32);
            memchr::memchr(b'*', pattern).is_none() || owner() == number
        })
    }

    /// Where requests without a key go: like twemproxy, to the server of a fixed key.
    pub(crate) fn route_keyless(&mut self, pool: u32) -> Option<u32> {
        let draw = self.draw();
        let routing = &self.pools[pool as usize].setup.routing;
        routing.route(b"placeholder", draw).map(|number| number as u32)
    }

    /// Which server of `pool` stands for something that has a name and no key: always the same for
    /// a name, whatever the distribution.
    pub(crate) fn route_by_name(&mut self, pool: u32, name: &[u8]) -> Option<u32> {
        let routing = &self.pools[pool as usize].setup.routing;
        let draw = name.iter().fold(0_u32, |sum, &byte| sum.wrapping_mul(31) + u32::from(byte));
        routing.route(name, draw).map(|number| number as u32)
    }

    /// Whether requests may go to a server of `pool`.
    pub(crate) fn is_live(&self, pool: u32, number: u32) -> bool {
        self.pools[pool as usize].setup.routing.is_live(number as usize)
    }

    /// The connection to a server that a client shares with others; opened if there is none.
    #[inline]
    pub(crate) fn connection(&mut self, account: &Account, number: u32) -> Key {
        let &Account { pool, lane, version, .. } = account;
        self.shared(pool, number, lane, version)
    }

    /// The connection to a server in this lane that speaks this version; opened if there is none.
    #[inline]
    pub(crate) fn shared(
        &mut self,
        pool: u32,
        number: u32,
        lane: u32,
        version: RespVersion,
    ) -> Key {
        if let Some(key) = *self.pools[pool as usize].connection(number, lane, version) {
            return key;
        }
        self.open_shared(pool, number, lane, version)
    }

    /// What the clients and servers of a pool speak.
    pub(crate) fn protocol(&self, pool: u32) -> Protocol {
        self.pools[pool as usize].setup.protocol
    }

    /// Queues a request that goes whole to one server, and what is expected of its reply.
    #[inline]
    pub(crate) fn forward(
        &mut self,
        account: &mut Account,
        client: Key,
        number: u32,
        expected: Expected,
        source: Source<'_>,
    ) {
        let key = self.connection(account, number);
        if self.is_full(key) {
            return self.park(account, client, key, source);
        }
        self.enqueue(account, client, key, expected, source);
    }

    /// Queues a request on a connection. Returns its sequence number.
    #[inline]
    pub(crate) fn enqueue(
        &mut self,
        account: &mut Account,
        client: Key,
        key: Key,
        expected: Expected,
        source: Source<'_>,
    ) -> u32 {
        let len = source.len();
        let sequence = account.pipeline.push_waiting(len as u32);
        let waiter = Waiter::new(client, sequence, expected, self.now);
        let server = self.server_for_output(key);
        server.queue(waiter, len as u64);
        source.move_to(&mut server.output);
        self.flush_later(key);
        sequence
    }

    /// Whether a connection's queue takes nothing for now.
    #[inline]
    pub(crate) fn is_full(&self, key: Key) -> bool {
        self.servers.find(key).is_some_and(|server| server.is_full(&self.limits))
    }

    /// Leaves a request with its client until the connection has room; it is dispatched again
    /// then. The client's parser stands behind it and describes it until then.
    #[cold]
    pub(crate) fn park(
        &mut self,
        account: &mut Account,
        client: Key,
        key: Key,
        source: Source<'_>,
    ) {
        source.park();
        account.blocked_on = Some(key);
        account.parked = true;
        self.counters.clients_blocked += 1;
        if let Some(server) = self.servers.find_mut(key) {
            server.blocked.push(client);
        }
    }

    /// The server of a connection that a pool names, its output ready to be written to.
    #[inline]
    pub(crate) fn server_for_output(&mut self, key: Key) -> &mut Server {
        let server = self.servers.find_mut(key).expect("a pool names open connections only");
        lend(&mut self.spare, &mut server.output);
        server
    }

    /// Has a server flushed at the end of the turn.
    #[inline]
    pub(crate) fn flush_later(&mut self, key: Key) {
        let server = self.servers.find_mut(key).expect("a pool names open connections only");
        if !server.dirty {
            server.dirty = true;
            self.wants.push(Want::Flush(key));
        }
    }

    /// Opens the connections that are wanted before the first request: one to each server.
    pub(crate) fn preconnect(&mut self) {
        for pool in 0..self.pools.len() as u32 {
            let setup = &self.pools[pool as usize].setup;
            if !setup.preconnect {
                continue;
            }
            for number in 0..setup.servers.len() as u32 {
                self.open_shared(pool, number, 0, RespVersion::Two);
            }
        }
    }

    /// Takes a server connection out of service and tells the worker to end it. Returns who
    /// waited for a reply on it, and who waited to add to it, or had it.
    pub(crate) fn retire(&mut self, key: Key, why: Option<Errno>) -> Retired {
        let Some(server) = self.servers.find_mut(key) else { return Retired::default() };
        if server.phase == Phase::Leaving {
            return Retired::default();
        }
        server.note_good(self.ticked_at);
        let good_at = server.good_at;
        let (pool, number, purpose) = (server.pool, server.number, server.purpose);
        let retired = self.dismiss_counted(key, why);
        self.note_end(pool, number, purpose, good_at);
        self.log_failure(pool, number, why);
        retired
    }

    /// As `retire`, for a connection that was refused its greeting with `reply`: it ends in an
    /// error, but its server lives.
    pub(crate) fn retire_refused(&mut self, key: Key, reply: &[u8]) -> Retired {
        let Some(server) = self.servers.find(key) else { return Retired::default() };
        if server.phase == Phase::Leaving {
            return Retired::default();
        }
        let (pool, number, purpose) = (server.pool, server.number, server.purpose);
        let retired = self.dismiss_counted(key, Some(Errno(libc::EACCES)));
        self.note_refusal(pool, number, purpose, reply);
        retired
    }

    /// As `dismiss`, for a failure. That of a probe is counted by itself: it takes no request with
    /// it, and would be no news of a server that is left out.
    fn dismiss_counted(&mut self, key: Key, why: Option<Errno>) -> Retired {
        if let Some(server) = self.servers.find_mut(key)
            && server.purpose != Purpose::Probe
        {
            count_server_end(&mut self.figures, server, why);
            self.counters.server_failures += 1;
            self.counters.server_timeouts += u64::from(why == Some(Errno(libc::ETIMEDOUT)));
        }
        self.dismiss(key)
    }

    /// As `retire`, for a connection that is of no use though its server has not failed.
    pub(crate) fn dismiss(&mut self, key: Key) -> Retired {
        let Some(server) = self.servers.find_mut(key) else { return Retired::default() };
        if server.phase == Phase::Leaving {
            return Retired::default();
        }
        add_tally(&mut self.figures, server);
        server.leave();
        let purpose = server.purpose;
        let waiters = std::mem::take(&mut server.waiters).into();
        let blocked = std::mem::take(&mut server.blocked);
        let owner = self.disown(key);
        let subscriber = subscribe::subscriber(purpose);
        self.wants.push(Want::Close(key));
        Retired { waiters, blocked, owner, subscriber }
    }

    /// Closes a server connection on which no client waits for a reply, in good order.
    pub(crate) fn close_if_idle(&mut self, key: Key) {
        let Some(server) = self.servers.find_mut(key) else { return };
        let is_idle = match server.purpose {
            Purpose::Probe => true,
            Purpose::Subscription { .. } | Purpose::Private { owner: Some(_) } => false,
            Purpose::Shared { .. } | Purpose::Private { owner: None } => server.waiters.is_empty(),
        };
        if server.phase != Phase::Leaving && is_idle {
            self.close_server(key);
        }
    }

    /// Closes a server connection in good order. What waits on it is forgotten.
    pub(crate) fn close_server(&mut self, key: Key) {
        let Some(server) = self.servers.find_mut(key) else { return };
        if server.phase == Phase::Leaving {
            return;
        }
        add_tally(&mut self.figures, server);
        server.leave();
        server.waiters.clear();
        self.disown(key);
        self.wants.push(Want::Close(key));
    }

    /// Takes a server connection that leaves out of where it is named, but for its owner's
    /// account. Returns who that is.
    fn disown(&mut self, key: Key) -> Option<Key> {
        let server = self.servers.find(key)?;
        let pool = &mut self.pools[server.pool as usize];
        match server.purpose {
            Purpose::Shared { lane } => {
                *pool.connection(server.number, lane, server.version) = None;
                None
            }
            Purpose::Private { owner } => {
                pool.kept.retain(|kept| kept.key != key);
                pool.setup.private.give_back();
                owner
            }
            Purpose::Subscription { .. } => {
                pool.setup.private.give_back();
                None
            }
            Purpose::Probe => None,
        }
    }

    /// The address that a server connection goes to; none while its name is being looked up.
    pub(crate) fn address(&self, key: Key) -> Option<&Address> {
        match self.destination(key)? {
            Destination::Address(address) => Some(address),
            Destination::Name { .. } => self.servers.find(key)?.resolved.as_ref(),
        }
    }

    /// How a server connection is to be probed.
    pub(crate) fn keep_alive(&self, key: Key) -> Option<KeepAlive> {
        let address = self.address(key)?;
        let pool = self.servers.find(key)?.pool;
        match address {
            Address::Inet(_) => self.pools[pool as usize].setup.keep_alive,
            Address::Unix(_) => None,
        }
    }

    /// Where a server connection goes to, as the configuration has it.
    pub(crate) fn destination(&self, key: Key) -> Option<&Destination> {
        let server = self.servers.find(key)?;
        let pool = &self.pools[server.pool as usize];
        Some(&pool.setup.servers[server.number as usize].1)
    }

    /// Keeps the memory of an emptied chain for the next output.
    pub(crate) fn recycle(&mut self, chain: Chain) {
        if self.spare.len() < SPARE_CHAINS_MAX && chain.is_empty() && chain.tail_capacity() > 0 {
            self.spare.push(chain);
        }
    }

    /// Sees to it that an output has memory to grow in.
    #[inline]
    pub(crate) fn lend(&mut self, output: &mut Chain) {
        lend(&mut self.spare, output);
    }

    fn open_shared(&mut self, pool: u32, number: u32, lane: u32, version: RespVersion) -> Key {
        let timeout = self.pools[pool as usize].setup.timeout;
        let key = self.begin(pool, number, Purpose::Shared { lane }, version, timeout);
        *self.pools[pool as usize].connection(number, lane, version) = Some(key);
        key
    }

    /// A new connection to a server, which has `timeout` for the connect and for each reply.
    pub(crate) fn begin(
        &mut self,
        pool: u32,
        number: u32,
        purpose: Purpose,
        version: RespVersion,
        timeout: Option<Duration>,
    ) -> Key {
        self.figures.process.total_connections += 1;
        let setup = &self.pools[pool as usize].setup;
        let has_name = matches!(setup.servers[number as usize].1, Destination::Name { .. });
        let phase = if has_name { Phase::Resolving } else { Phase::Connecting };
        let mut server =
            Server::new(pool, number, purpose, version, phase, timeout, setup.protocol);
        // A server that is busy takes a password, but neither a database nor scripts.
        let is_aside = purpose == Purpose::Shared { lane: setup.lane_aside() };
        let database = if is_aside { 0 } else { setup.database };
        let greeting = Greeting::new(setup.password.as_ref(), version, database, self.now);
        server.greeting =
            if is_aside || !matches!(purpose, Purpose::Shared { .. } | Purpose::Private { .. }) {
                greeting
            } else {
                Greeting::with_scripts(greeting, &setup.scripts, self.now)
            };
        server.good_at = self.now;
        let key = self.servers.insert(server);
        self.wants.push(match has_name {
            true => Want::Resolve(key),
            false => Want::Connect { key, within: timeout },
        });
        key
    }

    /// xorshift64: for the `random` distribution, which wants a spread and not a secret.
    pub(crate) fn draw(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as u32
    }

    /// A line about a client that broke the protocol: a wrong port, an attack, a bug.
    pub(crate) fn log_bad_request(&mut self, pool: u32, bad: BadRequest) {
        if self.bad_request_logged.is_some_and(|last| self.now - last < LOG_INTERVAL) {
            return;
        }
        self.bad_request_logged = Some(self.now);
        let words = bad.words();
        let words = match (bad, &words) {
            (BadRequest::Binary, _) => "it speaks memcached's binary protocol".into(),
            (_, Some(words)) => String::from_utf8_lossy(words),
            (_, None) => "it speaks HTTP, perhaps a browser that was made to".into(),
        };
        warn!("pool {}: a client is closed: {words}", self.pools[pool as usize].setup.name);
    }

    /// A server is about to be closed for what it sent: it is counted, and gets a line.
    pub(crate) fn note_doubt(&mut self, key: Key) {
        let Some(server) = self.servers.find(key) else { return };
        let (pool, number) = (server.pool, server.number);
        self.counters.server_bad_replies += u64::from(server.purpose != Purpose::Probe);
        self.log_server(pool, number, "sent what does not answer what it was asked");
    }

    /// A line about scripts that a server does not take. It comes right behind the one that tells
    /// why the connection is new, and so has a time of its own.
    pub(crate) fn log_script(&mut self, pool: u32, number: u32, what: &str) {
        if self.script_logged.is_some_and(|last| self.now - last < LOG_INTERVAL) {
            return;
        }
        self.script_logged = Some(self.now);
        let setup = &self.pools[pool as usize].setup;
        let server = &setup.servers[number as usize].0;
        warn!("pool {}: server {server}: a script is not restored: {what}", setup.name);
    }

    fn log_failure(&mut self, pool: u32, number: u32, why: Option<Errno>) {
        self.log_server(pool, number, why.map_or("connection closed by the server", Errno::words));
    }

    /// A line about a server, unless there was one a moment ago.
    pub(crate) fn log_server(&mut self, pool: u32, number: u32, what: &str) {
        let last = &mut self.logged[pool as usize][number as usize];
        if last.is_some_and(|last| self.now - last < LOG_INTERVAL) {
            return;
        }
        *last = Some(self.now);
        let setup = &self.pools[pool as usize].setup;
        let server = &setup.servers[number as usize].0;
        warn!("pool {}: server {server}: {what}", setup.name);
    }
}

#[inline]
fn lend(spare: &mut Vec<Chain>, output: &mut Chain) {
    if output.tail_capacity() == 0
        && output.is_empty()
        && let Some(chain) = spare.pop()
    {
        *output = chain;
    }
}

/// One line about a server's failures, and one about bad requests, in this time.
pub(crate) const LOG_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);
