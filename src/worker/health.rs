//! Which servers are left out. A server is as dead for one worker as for another, so failures are
//! counted for all of them together.
//!
//! ```text
//!           a failure                  the failure that reaches the limit
//!   In(0) ------------> In(1..) ---------------------------------------------> Out
//!    | ^                   |                                                    |
//!    | +---any other reply-+                                                    |
//!    +<-------------------------------------------------------server_retry_timeout
//!
//!   with a probe:   Out ---server_retry_timeout---> Probed ---it answers---> In(0)
//!                    ^-------------------------------+ it does not
//! ```
//!
//! Nothing here is touched by a request: only by a failure, by the first reply after one, and
//! when a server's time is over. A worker compares two numbers in each turn, and learns from them
//! whether there is anything else to look at.
//!
//! Source: twemproxy `server_failure`, `server_ok`, `server_pool_update` in `src/nc_server.c`. An
//! ejected server's further failures are not counted here: with several connections they would
//! eject it again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::{info, warn};

use crate::distribution::{DistributionKind, Node, RoutingTable};
use crate::hash::{HashKind, HashTag};
use crate::io::Ring;
use crate::limits::TICK_MS;
use crate::proxy::{Sign, Vital};
use crate::time::Instant;
use crate::worker::Worker;

/// How a pool ejects servers, and how it routes without them.
#[derive(Clone, Debug)]
pub struct Ejection {
    /// The pool's name, for the log.
    pub pool: String,
    /// Failures in a row that eject a server; 0 is as 1.
    pub failure_limit: u32,
    /// How long it is left out.
    pub retry_after: Duration,
    /// Whether a server has to answer a probe before it is used again.
    pub probe: bool,
    /// What the pool's routing tables are made with.
    pub hash: HashKind,
    /// Likewise.
    pub hash_tag: Option<HashTag>,
    /// Likewise.
    pub distribution: DistributionKind,
    /// The pool's servers, in order.
    pub nodes: Vec<Node>,
}

/// The health of all servers of the pools that eject, shared by all workers.
pub struct Health {
    /// Goes up with each change.
    version: AtomicU64,
    /// The earliest time at which a server may return, in nanoseconds; `NEVER` with all in.
    next_return: AtomicU64,
    pools: Mutex<Vec<Option<Pool>>>,
    records: Vec<Record>,
}

/// What the statistics tell of a pool.
struct Record {
    ejects: AtomicU64,
    /// For each server: when it was last ejected, in microseconds since 1970; 0 is never.
    ejected_at_us: Vec<AtomicU64>,
}

struct Pool {
    ejection: Ejection,
    servers: Vec<State>,
    routing: Arc<RoutingTable>,
}

/// Whether a server is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is, and has failed so many times in a row.
    In(u32),
    /// It is not, up to this time.
    Out(Instant),
    /// It is not, and has been asked whether it could be.
    Probed,
}

impl Health {
    /// All servers are in. One entry for each pool: how it ejects, if it does.
    pub fn new(pools: Vec<Option<Ejection>>) -> Self {
        let servers = |pool: &Option<Ejection>| pool.as_ref().map_or(0, |pool| pool.nodes.len());
        let records = pools.iter().map(|pool| Record {
            ejects: AtomicU64::new(0),
            ejected_at_us: (0..servers(pool)).map(|_| AtomicU64::new(0)).collect(),
        });
        Self {
            version: AtomicU64::new(0),
            next_return: AtomicU64::new(NEVER),
            records: records.collect(),
            pools: Mutex::new(pools.into_iter().map(|pool| pool.map(Pool::new)).collect()),
        }
    }

    /// How many times servers of a pool were ejected.
    pub fn ejects(&self, pool: u32) -> u64 {
        let record = self.records.get(pool as usize);
        record.map_or(0, |record| record.ejects.load(Ordering::Relaxed))
    }

    /// When a server was last ejected, in microseconds since 1970; 0 if it never was.
    pub fn ejected_at_us(&self, pool: u32, server: u32) -> u64 {
        let record = self.records.get(pool as usize);
        let at = record.and_then(|record| record.ejected_at_us.get(server as usize));
        at.map_or(0, |at| at.load(Ordering::Relaxed))
    }

    /// Takes account of what a worker has seen of a server.
    pub fn note(&self, sign: Sign, now: Instant) {
        let mut pools = self.pools();
        let Some(pool) = &mut pools[sign.pool as usize] else { return };
        let server = sign.server as usize;
        match (sign.what, pool.servers[server]) {
            (Vital::Failed, State::In(failures)) => {
                pool.servers[server] = State::In(failures + 1);
                if failures + 1 >= pool.ejection.failure_limit {
                    pool.eject(server, now);
                    self.record_eject(sign);
                }
            }
            (Vital::Answered, State::In(1..)) => pool.servers[server] = State::In(0),
            (Vital::ProbePassed, State::Probed) => pool.let_in(server),
            (Vital::ProbeFailed, State::Probed) => {
                // However short the time, a dead server is not asked in every turn.
                let wait = pool.ejection.retry_after.max(Duration::from_millis(TICK_MS));
                pool.servers[server] = State::Out(now + wait);
            }
            // What it does while it is out changes nothing.
            (Vital::Failed | Vital::Answered | Vital::ProbePassed | Vital::ProbeFailed, _) => {
                return;
            }
        }
        self.publish(&pools);
    }

    /// Lets those in again whose time is over, unless they have to be probed first: the caller
    /// sees to that, and nobody else does. Returns their pools and numbers.
    fn return_due(&self, now: Instant) -> Vec<(u32, u32)> {
        let mut pools = self.pools();
        let mut to_probe = Vec::new();
        for (number, pool) in (0..).zip(pools.iter_mut()) {
            let Some(pool) = pool else { continue };
            for server in 0..pool.servers.len() {
                match pool.servers[server] {
                    State::Out(until) if until <= now && pool.ejection.probe => {
                        pool.servers[server] = State::Probed;
                        to_probe.push((number, server as u32));
                    }
                    State::Out(until) if until <= now => pool.let_in(server),
                    State::Out(_) | State::In(_) | State::Probed => {}
                }
            }
        }
        self.publish(&pools);
        to_probe
    }

    /// Makes workers look again, and tells them when to.
    fn publish(&self, pools: &[Option<Pool>]) {
        let servers = pools.iter().flatten().flat_map(|pool| &pool.servers);
        let next = servers.filter_map(|server| match server {
            State::In(_) | State::Probed => None,
            State::Out(until) => Some(until.as_nanos()),
        });
        self.next_return.store(next.min().unwrap_or(NEVER), Ordering::Release);
        self.version.fetch_add(1, Ordering::Release);
    }

    fn record_eject(&self, sign: Sign) {
        let record = &self.records[sign.pool as usize];
        record.ejects.fetch_add(1, Ordering::Relaxed);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        record.ejected_at_us[sign.server as usize].store(since, Ordering::Relaxed);
    }

    fn pools(&self) -> MutexGuard<'_, Vec<Option<Pool>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    fn new(ejection: Ejection) -> Self {
        let servers = vec![State::In(0); ejection.nodes.len()];
        let routing = Arc::new(routing(&ejection, &servers));
        Self { ejection, servers, routing }
    }

    fn eject(&mut self, server: usize, now: Instant) {
        let Ejection { pool, nodes, failure_limit, retry_after, .. } = &self.ejection;
        let name = &nodes[server].name;
        warn!(
            "pool {pool}: server {name} is ejected for {} ms: failures in a row, {failure_limit} \
             allowed",
            retry_after.as_millis()
        );
        self.servers[server] = State::Out(now + *retry_after);
        self.routing = Arc::new(routing(&self.ejection, &self.servers));
    }

    fn let_in(&mut self, server: usize) {
        let Ejection { pool, nodes, .. } = &self.ejection;
        info!("pool {pool}: server {} is used again", nodes[server].name);
        self.servers[server] = State::In(0);
        self.routing = Arc::new(routing(&self.ejection, &self.servers));
    }
}

impl<R: Ring> Worker<R> {
    /// Learns what other workers have found, and whose time is over.
    #[inline]
    pub(super) fn follow_health(&mut self, now: Instant) {
        let health = self.shared.health();
        let is_due = health.next_return.load(Ordering::Acquire) <= now.as_nanos();
        if is_due && !self.is_draining() {
            for (pool, server) in health.return_due(now) {
                self.proxy.probe(now, pool, server);
            }
        }
        self.adopt_health();
    }

    /// Tells what this worker has found, and acts on it at once.
    #[inline]
    pub(super) fn report_health(&mut self, now: Instant) {
        self.proxy.take_signs(&mut self.signs);
        if self.signs.is_empty() {
            return;
        }
        for sign in self.signs.drain(..) {
            self.shared.health().note(sign, now);
        }
        self.adopt_health();
    }

    #[inline]
    fn adopt_health(&mut self) {
        let version = self.shared.health().version.load(Ordering::Acquire);
        if version != self.health_version {
            self.health_version = version;
            self.adopt_changes();
        }
    }

    #[cold]
    fn adopt_changes(&mut self) {
        let pools = self.shared.health().pools();
        for (number, pool) in (0..).zip(pools.iter()) {
            let Some(pool) = pool else { continue };
            self.proxy.set_routing(number, Arc::clone(&pool.routing));
            for (server, state) in (0..).zip(&pool.servers) {
                self.proxy.set_failing(number, server, matches!(state, State::In(1..)));
            }
        }
    }
}

fn routing(ejection: &Ejection, servers: &[State]) -> RoutingTable {
    let Ejection { hash, hash_tag, distribution, nodes, .. } = ejection;
    let ejected: Vec<bool> = servers.iter().map(|state| !matches!(state, State::In(_))).collect();
    RoutingTable::new(*hash, *hash_tag, *distribution, nodes, &ejected)
}

/// The end of time.
const NEVER: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Duration = Duration::from_secs(2);

    fn health(servers: usize, failure_limit: u32) -> Health {
        with_probe(servers, failure_limit, false)
    }

    fn with_probe(servers: usize, failure_limit: u32, probe: bool) -> Health {
        let node = |number| Node { name: format!("server{number}"), weight: 1 };
        Health::new(vec![
            None,
            Some(Ejection {
                pool: "pool".to_owned(),
                failure_limit,
                retry_after: RETRY,
                probe,
                hash: HashKind::Fnv1a64,
                hash_tag: None,
                distribution: DistributionKind::Modula,
                nodes: (0..servers).map(node).collect(),
            }),
        ])
    }

    fn note(health: &Health, server: u32, what: Vital, now: u64) {
        health.note(Sign { pool: 1, server, what }, Instant::from_nanos(now));
    }

    /// The servers that a hundred keys go to.
    fn used(health: &Health) -> Vec<usize> {
        let pools = health.pools();
        let routing = &pools[1].as_ref().expect("it ejects").routing;
        let mut used: Vec<usize> =
            (0..100_u32).filter_map(|number| routing.route(&number.to_le_bytes(), 0)).collect();
        used.sort_unstable();
        used.dedup();
        used
    }

    #[test]
    fn the_failure_that_reaches_the_limit_ejects_once() {
        let health = health(3, 2);
        note(&health, 1, Vital::Failed, 5);
        assert_eq!(used(&health), [0, 1, 2]);
        note(&health, 0, Vital::Failed, 6);
        note(&health, 1, Vital::Failed, 7);
        assert_eq!(used(&health), [0, 2]);
        let later = RETRY.as_nanos() as u64 + 7;
        assert_eq!(health.next_return.load(Ordering::Relaxed), later);
        for _ in 0..5 {
            note(&health, 1, Vital::Failed, 8);
        }
        note(&health, 1, Vital::Answered, 9);
        assert_eq!((used(&health), health.ejects(1), health.ejects(0)), (vec![0, 2], 1, 0));
        assert!(health.ejected_at_us(1, 1) > 0 && health.ejected_at_us(1, 0) == 0);
        health.return_due(Instant::from_nanos(later - 1));
        assert_eq!(used(&health), [0, 2]);
        health.return_due(Instant::from_nanos(later));
        assert_eq!(used(&health), [0, 1, 2]);
        assert_eq!(health.next_return.load(Ordering::Relaxed), NEVER);
    }

    #[test]
    fn any_other_reply_starts_the_count_anew_and_a_return_does_too() {
        let health = health(2, 2);
        for _ in 0..5 {
            note(&health, 0, Vital::Failed, 1);
            note(&health, 0, Vital::Answered, 2);
        }
        assert_eq!(used(&health), [0, 1]);
        for time in [3, 3] {
            note(&health, 0, Vital::Failed, time);
        }
        assert_eq!(used(&health), [1]);
        health.return_due(Instant::from_nanos(u64::MAX));
        note(&health, 0, Vital::Failed, 4);
        assert_eq!((used(&health), health.ejects(1)), (vec![0, 1], 1));
    }

    #[test]
    fn with_all_out_nobody_is_used_until_the_first_returns() {
        let health = health(2, 0);
        note(&health, 1, Vital::Failed, 10);
        note(&health, 0, Vital::Failed, 20);
        assert_eq!(used(&health), [] as [usize; 0]);
        health.return_due(Instant::from_nanos(10) + RETRY);
        assert_eq!(used(&health), [1]);
        health.return_due(Instant::from_nanos(20) + RETRY);
        assert_eq!(used(&health), [0, 1]);
    }

    #[test]
    fn a_probe_decides_who_is_used_again_and_is_asked_for_once() {
        let health = with_probe(2, 1, true);
        let due = |nanos: u64| health.return_due(Instant::from_nanos(nanos) + RETRY);
        note(&health, 1, Vital::Failed, 1);
        assert_eq!((due(0), due(1), due(2)), (vec![], vec![(1, 1)], vec![]));
        note(&health, 1, Vital::Answered, 2);
        assert_eq!(used(&health), [0]);
        note(&health, 1, Vital::ProbeFailed, 10);
        assert_eq!((due(9), due(10)), (vec![], vec![(1, 1)]));
        note(&health, 1, Vital::ProbePassed, 20);
        assert_eq!((used(&health), health.ejects(1)), (vec![0, 1], 1));
    }

    #[test]
    fn a_dead_server_is_not_probed_without_a_pause() {
        let health = with_probe(2, 1, true);
        health.pools()[1].as_mut().expect("it ejects").ejection.retry_after = Duration::ZERO;
        let due = |nanos: u64| health.return_due(Instant::from_nanos(nanos)).len();
        note(&health, 0, Vital::Failed, 1);
        assert_eq!(due(1), 1);
        note(&health, 0, Vital::ProbeFailed, 1);
        assert_eq!((due(2), due(1 + TICK_MS * 1_000_000)), (0, 1));
    }

    #[test]
    fn a_version_is_passed_with_each_change_and_none_without() {
        let health = health(2, 1);
        let version = || health.version.load(Ordering::Relaxed);
        note(&health, 0, Vital::Answered, 1);
        assert_eq!(version(), 0);
        note(&health, 0, Vital::Failed, 1);
        let ejected = version();
        assert!(ejected > 0);
        note(&health, 0, Vital::Failed, 2);
        assert_eq!(version(), ejected);
        health.return_due(Instant::from_nanos(u64::MAX));
        assert!(version() > ejected);
    }
}
