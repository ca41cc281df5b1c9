//! Which servers of a pool are left out: failures in a row are counted, and time passes.
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
//! One restart of a server ends every connection to it, on every worker, and is one failure: the
//! end of a connection counts if the connection was good since the last end that counted, which is
//! that it was begun then, or answered on. So each attempt at a dead server counts, as do the words
//! of a server that cannot serve. All workers read one clock, at the begin of each turn: one that
//! is long in a turn may take its new attempt for an old connection, and the next one counts.
//!
//! Source: twemproxy `server_failure`, `server_ok`, `server_pool_update` in `src/nc_server.c`. An
//! ejected server's further failures are not counted here: with several connections they would
//! eject it again.
//!
//! **Knows nothing of:** workers, locks.

use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};

use crate::distribution::{DistributionKind, Node, RoutingTable};
use crate::hash::{HashKind, HashTag};
use crate::limits::TICK_MS;
use crate::proxy::{Standing, Vital};
use crate::time::Instant;

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

/// How the servers of a pool do.
pub(super) struct Pool {
    ejection: Ejection,
    servers: Vec<Server>,
    routing: Arc<RoutingTable>,
    /// Other servers are in than `routing` says.
    is_stale: bool,
    #[cfg(test)]
    pub(super) tables_built: u32,
}

struct Server {
    state: State,
    /// When the end of a connection to it was last counted. Others that were good before, and not
    /// since, have ended for the same reason.
    ended_at: Instant,
    /// How it stood when `is_news` was last asked.
    told: Standing,
}

/// Whether a server is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is, and has failed so many times in a row.
    In(u32),
    /// It is not, up to this time.
    Out(Instant),
    /// It is not, and has been asked whether it could be.
    Probed,
}

impl State {
    fn standing(self) -> Standing {
        match self {
            State::In(0) => Standing::Good,
            State::In(1..) => Standing::Failing,
            State::Out(_) | State::Probed => Standing::Out,
        }
    }

    /// When its time is over, if it is out for a time.
    pub(super) fn until(self) -> Option<Instant> {
        match self {
            State::In(_) | State::Probed => None,
            State::Out(until) => Some(until),
        }
    }
}

impl Server {
    fn new() -> Self {
        Self { state: State::In(0), ended_at: Instant::default(), told: Standing::default() }
    }
}

impl Pool {
    /// All servers are in.
    pub(super) fn new(ejection: Ejection) -> Self {
        let servers: Vec<Server> = ejection.nodes.iter().map(|_| Server::new()).collect();
        let routing = Arc::new(routing(&ejection, &servers));
        Self {
            ejection,
            servers,
            routing,
            is_stale: false,
            #[cfg(test)]
            tables_built: 1,
        }
    }

    /// What requests are routed by, as of the last `route_anew`.
    pub(super) fn routing(&self) -> &Arc<RoutingTable> {
        &self.routing
    }

    /// Takes account of who has come and gone. Once for all of them: a table of many servers takes
    /// milliseconds, and every worker may wait for it.
    pub(super) fn route_anew(&mut self) {
        if !std::mem::take(&mut self.is_stale) {
            return;
        }
        self.routing = Arc::new(routing(&self.ejection, &self.servers));
        #[cfg(test)]
        {
            self.tables_built += 1;
        }
    }

    /// Whether a server is used.
    pub(super) fn state(&self, server: u32) -> State {
        self.servers[server as usize].state
    }

    /// How each server stands, in order.
    pub(super) fn standings(&self) -> impl Iterator<Item = Standing> {
        self.servers.iter().map(|server| server.state.standing())
    }

    /// Whether a server stands otherwise than when this was last asked.
    pub(super) fn is_news(&mut self) -> bool {
        let mut is_news = false;
        for Server { state, told, .. } in &mut self.servers {
            let standing = state.standing();
            is_news |= std::mem::replace(told, standing) != standing;
        }
        is_news
    }

    /// When the next server may return.
    pub(super) fn next_return(&self) -> Option<Instant> {
        self.servers.iter().filter_map(|server| server.state.until()).min()
    }

    /// Lets those in again whose time is over, unless they have to be probed first. Returns the
    /// numbers of those: the caller sees to that, and to `route_anew`.
    pub(super) fn return_due(&mut self, now: Instant) -> Vec<u32> {
        let mut to_probe = Vec::new();
        for server in 0..self.servers.len() {
            match self.servers[server].state {
                State::Out(until) if until <= now && self.ejection.probe => {
                    self.servers[server].state = State::Probed;
                    to_probe.push(server as u32);
                }
                State::Out(until) if until <= now => self.let_in(server),
                State::Out(_) | State::In(_) | State::Probed => {}
            }
        }
        to_probe
    }

    /// Takes account of what a server has done. The caller sees to `route_anew`.
    pub(super) fn note(&mut self, server: u32, what: Vital, now: Instant) {
        let server = server as usize;
        let Server { state, ended_at, .. } = &mut self.servers[server];
        match (what, *state) {
            (Vital::Ended { good_at }, State::In(_)) if good_at < *ended_at => {}
            (Vital::Ended { .. }, State::In(failures)) => {
                *ended_at = now;
                self.fail(server, failures + 1, now);
            }
            (Vital::Unable, State::In(failures)) => self.fail(server, failures + 1, now),
            (Vital::Answered, State::In(_)) => *state = State::In(0),
            (Vital::ProbePassed, State::Probed) => self.let_in(server),
            (Vital::ProbeFailed, State::Probed) => {
                // However short the time, a dead server is not asked in every turn.
                let wait = self.ejection.retry_after.max(Duration::from_millis(TICK_MS));
                *state = State::Out(now + wait);
            }
            // What it does while it is out changes nothing, nor does a probe that is too late.
            (
                Vital::Ended { .. } | Vital::Unable | Vital::Answered,
                State::Out(_) | State::Probed,
            )
            | (Vital::ProbePassed | Vital::ProbeFailed, State::In(_) | State::Out(_)) => {}
        }
    }

    fn fail(&mut self, server: usize, failures: u32, now: Instant) {
        self.servers[server].state = State::In(failures);
        if failures >= self.ejection.failure_limit {
            self.eject(server, now);
        }
    }

    fn eject(&mut self, server: usize, now: Instant) {
        let Ejection { pool, nodes, failure_limit, retry_after, .. } = &self.ejection;
        let name = &nodes[server].name;
        warn!(
            "pool {pool}: server {name} is ejected for {} ms: failures in a row, {failure_limit} \
             allowed",
            retry_after.as_millis()
        );
        self.servers[server].state = State::Out(now + *retry_after);
        self.is_stale = true;
    }

    fn let_in(&mut self, server: usize) {
        let Ejection { pool, nodes, .. } = &self.ejection;
        info!("pool {pool}: server {} is used again", nodes[server].name);
        self.servers[server].state = State::In(0);
        self.is_stale = true;
    }
}

fn routing(ejection: &Ejection, servers: &[Server]) -> RoutingTable {
    let Ejection { hash, hash_tag, distribution, nodes, .. } = ejection;
    let ejected: Vec<bool> =
        servers.iter().map(|server| server.state.standing() == Standing::Out).collect();
    RoutingTable::new(*hash, *hash_tag, *distribution, nodes, &ejected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(failure_limit: u32) -> Pool {
        let node = |number| Node { name: format!("server{number}"), weight: 1 };
        Pool::new(Ejection {
            pool: "pool".to_owned(),
            failure_limit,
            retry_after: Duration::from_secs(2),
            probe: false,
            hash: HashKind::Fnv1a64,
            hash_tag: None,
            distribution: DistributionKind::Modula,
            nodes: (0..2).map(node).collect(),
        })
    }

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    /// Failures that are counted of a connection's end at `now`, which was good at `good_at`.
    fn end(pool: &mut Pool, good_at: u64, now: u64) -> State {
        pool.note(0, Vital::Ended { good_at: at(good_at) }, at(now));
        pool.state(0)
    }

    #[test]
    fn connections_that_end_together_are_one_failure() {
        let mut pool = pool(9);
        // Eight were open on two workers, and each worker comes to it in a turn of its own.
        for now in [10, 10, 10, 10, 13, 13, 13, 13] {
            assert_eq!(end(&mut pool, 1, now), State::In(1));
        }
        // A good reply meanwhile makes them no newer, and words of the server's own are no end.
        pool.note(0, Vital::Answered, at(14));
        assert_eq!(end(&mut pool, 9, 15), State::In(0));
        for failures in 1..4 {
            pool.note(0, Vital::Unable, at(16));
            assert_eq!(pool.state(0), State::In(failures));
        }
        assert_eq!(end(&mut pool, 10, 17), State::In(4));
    }

    #[test]
    fn each_attempt_at_a_dead_server_is_a_failure() {
        let mut pool = pool(9);
        end(&mut pool, 1, 10);
        // Begun in the turn of the failure before, or later; on several connections at once.
        for (begun, refused, failures) in [(10, 11, 2), (11, 12, 3), (20, 21, 4)] {
            assert_eq!(end(&mut pool, begun, refused), State::In(failures));
            assert_eq!(end(&mut pool, begun, refused + 1), State::In(failures));
        }
    }

    #[test]
    fn what_was_good_since_the_last_end_counts_again() {
        let mut pool = pool(3);
        end(&mut pool, 1, 10);
        assert_eq!(end(&mut pool, 100, 200), State::In(2));
        assert_eq!(end(&mut pool, 200, 300).standing(), Standing::Out);
        // What ends while it is out is no news, neither then nor after its return.
        assert_eq!(end(&mut pool, 300, 301).standing(), Standing::Out);
        pool.return_due(at(u64::MAX));
        assert_eq!(end(&mut pool, 299, 400), State::In(0));
        assert_eq!(end(&mut pool, 300, 400), State::In(1));
    }
}
