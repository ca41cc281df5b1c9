//! The health of servers, for all workers together: a server is as dead for one as for another.
//! Workers tell what a turn has shown them, and learn which servers are left out.
//!
//! Nothing here is touched by a request: only by a failure, by the first reply after one, and
//! when a server's time is over. A worker compares two numbers in each turn, and learns from them
//! whether there is anything else to look at. It takes the lock once for all that a turn has shown.
//!
//! **Knows nothing of:** what counts as a failure, and what follows from it: `ejection`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::io::Ring;
use crate::proxy::Sign;
use crate::time::Instant;
use crate::worker::Worker;
use crate::worker::ejection::{Ejection, Pool, State};

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

    /// Takes account of what a worker has seen of servers in one turn, in order.
    pub fn note(&self, signs: &[Sign], now: Instant) {
        let mut pools = self.pools();
        let mut is_timed_anew = false;
        for sign in signs {
            let Some(pool) = &mut pools[sign.pool as usize] else { continue };
            let before = pool.state(sign.server);
            pool.note(sign.server, sign.what, now);
            let after = pool.state(sign.server);
            is_timed_anew |= before.until() != after.until();
            if matches!((before, after), (State::In(_), State::Out(_))) {
                self.record_eject(sign);
            }
        }
        if is_timed_anew {
            self.time_next_return(&pools);
        }
        self.tell(&mut pools);
    }

    /// Lets those in again whose time is over, unless they have to be probed first: the caller
    /// sees to that, and nobody else does. Returns their pools and numbers.
    fn return_due(&self, now: Instant) -> Vec<(u32, u32)> {
        let mut pools = self.pools();
        let mut to_probe = Vec::new();
        for (number, pool) in (0..).zip(pools.iter_mut()) {
            let Some(pool) = pool else { continue };
            to_probe.extend(pool.return_due(now).into_iter().map(|server| (number, server)));
        }
        self.time_next_return(&pools);
        self.tell(&mut pools);
        to_probe
    }

    /// Makes workers look again, if there is something to see.
    fn tell(&self, pools: &mut [Option<Pool>]) {
        let mut is_news = false;
        for pool in pools.iter_mut().flatten() {
            pool.route_anew();
            is_news |= pool.is_news();
        }
        if is_news {
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    /// Tells workers when to look again for servers that may return.
    fn time_next_return(&self, pools: &[Option<Pool>]) {
        let next = pools.iter().flatten().filter_map(Pool::next_return).min();
        self.next_return.store(next.map_or(NEVER, Instant::as_nanos), Ordering::Release);
    }

    fn record_eject(&self, sign: &Sign) {
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
        self.shared.health().note(&self.signs, now);
        self.signs.clear();
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
            self.proxy.set_routing(number, Arc::clone(pool.routing()));
            for (server, standing) in (0..).zip(pool.standings()) {
                self.proxy.set_standing(number, server, standing);
            }
        }
    }
}

/// The end of time.
const NEVER: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::distribution::{DistributionKind, Node};
    use crate::hash::HashKind;
    use crate::limits::TICK_MS;
    use crate::proxy::Vital;

    const RETRY: Duration = Duration::from_secs(2);

    fn health(servers: usize, failure_limit: u32) -> Health {
        with_probe(servers, failure_limit, false)
    }

    fn with_probe(servers: usize, failure_limit: u32, probe: bool) -> Health {
        with(servers, failure_limit, probe, RETRY)
    }

    fn with(servers: usize, failure_limit: u32, probe: bool, retry_after: Duration) -> Health {
        let node = |number| Node { name: format!("server{number}"), weight: 1 };
        Health::new(vec![
            None,
            Some(Ejection {
                pool: "pool".to_owned(),
                failure_limit,
                retry_after,
                probe,
                hash: HashKind::Fnv1a64,
                hash_tag: None,
                distribution: DistributionKind::Modula,
                nodes: (0..servers).map(node).collect(),
            }),
        ])
    }

    fn note(health: &Health, server: u32, what: Vital, now: u64) {
        health.note(&[Sign { pool: 1, server, what }], Instant::from_nanos(now));
    }

    /// The servers that a hundred keys go to.
    fn used(health: &Health) -> Vec<usize> {
        let pools = health.pools();
        let routing = pools[1].as_ref().expect("it ejects").routing();
        let mut used: Vec<usize> =
            (0..100_u32).filter_map(|number| routing.route(&number.to_le_bytes(), 0)).collect();
        used.sort_unstable();
        used.dedup();
        used
    }

    #[test]
    fn the_failure_that_reaches_the_limit_ejects_once() {
        let health = health(3, 2);
        note(&health, 1, Vital::Unable, 5);
        assert_eq!(used(&health), [0, 1, 2]);
        note(&health, 0, Vital::Unable, 6);
        note(&health, 1, Vital::Unable, 7);
        assert_eq!(used(&health), [0, 2]);
        let later = RETRY.as_nanos() as u64 + 7;
        assert_eq!(health.next_return.load(Ordering::Relaxed), later);
        for _ in 0..5 {
            note(&health, 1, Vital::Unable, 8);
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
            note(&health, 0, Vital::Unable, 1);
            note(&health, 0, Vital::Answered, 2);
        }
        assert_eq!(used(&health), [0, 1]);
        for time in [3, 3] {
            note(&health, 0, Vital::Unable, time);
        }
        assert_eq!(used(&health), [1]);
        health.return_due(Instant::from_nanos(u64::MAX));
        note(&health, 0, Vital::Unable, 4);
        assert_eq!((used(&health), health.ejects(1)), (vec![0, 1], 1));
    }

    #[test]
    fn with_all_out_nobody_is_used_until_the_first_returns() {
        let health = health(2, 0);
        note(&health, 1, Vital::Unable, 10);
        note(&health, 0, Vital::Unable, 20);
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
        note(&health, 1, Vital::Unable, 1);
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
        let health = with(2, 1, true, Duration::ZERO);
        let due = |nanos: u64| health.return_due(Instant::from_nanos(nanos)).len();
        note(&health, 0, Vital::Unable, 1);
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
        note(&health, 0, Vital::Unable, 1);
        let ejected = version();
        assert!(ejected > 0);
        note(&health, 0, Vital::Unable, 2);
        assert_eq!(version(), ejected);
        health.return_due(Instant::from_nanos(u64::MAX));
        assert!(version() > ejected);
    }

    #[test]
    fn a_server_that_fails_and_answers_in_one_turn_is_no_news() {
        let health = health(2, 3);
        let signs = [Vital::Unable, Vital::Unable, Vital::Answered];
        let signs = signs.map(|what| Sign { pool: 1, server: 0, what });
        for time in 1..4 {
            health.note(&signs, Instant::from_nanos(time));
        }
        assert_eq!(health.version.load(Ordering::Relaxed), 0);
        // The count is as it would be one by one: a reply that comes too late undoes nothing.
        let signs = [&signs[..2], &signs].concat();
        health.note(&signs, Instant::from_nanos(4));
        assert_eq!((used(&health), health.version.load(Ordering::Relaxed)), (vec![1], 1));
    }

    #[test]
    fn many_servers_that_fail_or_return_together_cost_one_table() {
        let health = health(1000, 1);
        let built = || health.pools()[1].as_ref().expect("it ejects").tables_built;
        let dead = (0..1000).map(|server| Sign { pool: 1, server, what: Vital::Unable });
        let signs: Vec<Sign> = dead.collect();
        assert_eq!(built(), 1);
        health.note(&signs[..999], Instant::from_nanos(1));
        assert_eq!((used(&health), built(), health.ejects(1)), (vec![999], 2, 999));
        health.note(&signs[..999], Instant::from_nanos(2));
        assert_eq!(built(), 2, "nobody has gone");
        health.return_due(Instant::from_nanos(1) + RETRY);
        assert_eq!((used(&health).len() > 1, built()), (true, 3));
    }

    #[test]
    fn a_return_is_timed_anew_with_those_who_come_and_go() {
        let health = health(2, 1);
        let next = || health.next_return.load(Ordering::Relaxed);
        let retry = RETRY.as_nanos() as u64;
        note(&health, 0, Vital::Unable, 5);
        note(&health, 1, Vital::Unable, 7);
        note(&health, 0, Vital::Unable, 9);
        assert_eq!(next(), 5 + retry);
        health.return_due(Instant::from_nanos(5) + RETRY);
        assert_eq!(next(), 7 + retry);
    }
}
