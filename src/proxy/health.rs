//! How servers do, as far as this worker sees it. The count that ejects one is kept for all
//! workers by whoever leads them: signs go out, and a routing table comes in.

use std::ops::Range;
use std::sync::Arc;

use crate::distribution::RoutingTable;
use crate::io::{Buffer, Mark};
use crate::limits::PROBE_TIME;
use crate::proto::{Expected, Protocol, Replies, RespVersion};
use crate::proxy::pools::Pools;
use crate::proxy::server::{Purpose, Server, Waiter};
use crate::proxy::{Proxy, Want, blocking, subscribe, watch};
use crate::time::Instant;
use crate::token::{Key, Role};

/// How a pool judges its servers, if it leaves out those that fail.
#[derive(Clone, Copy, Debug)]
pub struct Ejecting {
    /// Whether the reply `-OOM` counts as a failure. A server without memory can still be read.
    pub on_oom: bool,
}

/// Something that tells whether a server lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign {
    /// The pool, which ejects servers.
    pub pool: u32,
    /// Which of its servers.
    pub server: u32,
    /// What it did.
    pub what: Vital,
}

/// How a server stands with all workers: what it would take to change that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is held against it: a reply tells nothing new.
    #[default]
    Good,
    /// Failures are counted, which its next reply undoes.
    Failing,
    /// It is left out: nothing but a probe or the time tells anything new.
    Out,
}

/// What a server did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vital {
    /// A connection to it ended, for whatever reason, which was good until then.
    Ended {
        /// When that was last certain: when it was begun, or a reply came on it. What ended the
        /// others that were open may have ended this one too.
        good_at: Instant,
    },
    /// It said that it cannot serve now.
    Unable,
    /// It answered a request, for the first time after it had failed.
    Answered,
    /// It answered `Proxy::probe`.
    ProbePassed,
    /// It did not, or said that it cannot serve now. One that refuses the greeting has passed: it
    /// serves no better while it is left out, and its words tell what is wrong.
    ProbeFailed,
}

impl Proxy {
    /// Moves what became known of servers to the end of `into`, in order.
    #[inline]
    pub fn take_signs(&mut self, into: &mut Vec<Sign>) {
        into.append(&mut self.pools.signs);
    }

    /// Asks a server for a sign of life, on a connection of its own.
    pub fn probe(&mut self, now: Instant, pool: u32, server: u32) {
        self.pools.now = now;
        self.pools.open_probe(pool, server);
    }

    /// Routes a pool's requests by another table from now on. Those that are under way stay where
    /// they are, but for those that wait for what may never come there.
    pub fn set_routing(&mut self, pool: u32, routing: Arc<RoutingTable>) {
        let before = std::mem::replace(&mut self.pools.pools[pool as usize].setup.routing, routing);
        if before.live() != self.pools.pools[pool as usize].setup.routing.live() {
            self.leave_old_homes(pool);
        }
        subscribe::on_routing(self, pool);
    }

    /// Keys may have moved: who waits at a server for one that has, watches it, or has requests
    /// held for it, does so no more.
    fn leave_old_homes(&mut self, pool: u32) {
        let routing = Arc::clone(&self.pools.pools[pool as usize].setup.routing);
        let keys: Vec<Key> = self.clients.keys().collect();
        for key in keys {
            let Some(client) = self.clients.find_mut(key) else { continue };
            let account = &mut client.account;
            if account.pool != pool {
                continue;
            }
            let has_moved = account.transaction.has_moved(&routing);
            if has_moved {
                account.transaction.on_moved();
            }
            let server = account.private.and_then(|key| self.pools.servers.find(key));
            let is_in_place = account
                .anchor
                .as_ref()
                .zip(server)
                .is_none_or(|(anchor, server)| anchor.is_in_place(&routing, server.number));
            if has_moved || !is_in_place {
                blocking::unblock(self, key, blocking::MOVED);
                watch::on_moved(self, key);
            }
        }
    }

    /// Says how a server stands with all workers.
    pub fn set_standing(&mut self, pool: u32, server: u32, standing: Standing) {
        self.pools.pools[pool as usize].standings[server as usize] = standing;
    }
}

impl Pools {
    fn open_probe(&mut self, pool: u32, number: u32) {
        let within = self.pools[pool as usize].setup.timeout.unwrap_or(PROBE_TIME);
        let key = self.begin(pool, number, Purpose::Probe, RespVersion::Two, Some(within));
        let (question, replies) = match self.protocol(pool) {
            Protocol::Resp => (PING, Replies::Any),
            Protocol::Memcache => (VERSION, Replies::Version),
        };
        let client = Key::new(Role::Client, 0, 0);
        let mut nobody = Waiter::new(client, 0, Expected::new(replies), self.now);
        nobody.abandon();
        let server = self.server_for_output(key);
        server.queue_own(nobody, question.len() as u64);
        server.output.push_copy(question);
    }

    /// The reply to a probe has come, whose end is `end`.
    pub(crate) fn finish_probe(&mut self, key: Key, end: &[u8]) {
        let Some(server) = self.servers.find_mut(key) else { return };
        let what = match verdict(server, end, Ejecting { on_oom: false }) {
            Some(Vital::Answered) => Vital::ProbePassed,
            Some(_) | None => Vital::ProbeFailed,
        };
        server.leave();
        let (pool, number) = (server.pool, server.number);
        self.end_probe(pool, number, what);
        self.wants.push(Want::Close(key));
    }

    /// A probe is over, with `Vital::ProbePassed` or `Vital::ProbeFailed`.
    fn end_probe(&mut self, pool: u32, server: u32, what: Vital) {
        self.counters.probes_failed += u64::from(what == Vital::ProbeFailed);
        self.signs.push(Sign { pool, server, what });
    }

    /// A connection to a server has ended, which was certain to be good at `good_at`.
    pub(crate) fn note_end(&mut self, pool: u32, server: u32, purpose: Purpose, good_at: Instant) {
        if purpose == Purpose::Probe {
            return self.end_probe(pool, server, Vital::ProbeFailed);
        }
        let pool_of = &mut self.pools[pool as usize];
        let standing = &mut pool_of.standings[server as usize];
        if pool_of.setup.ejecting.is_some() && *standing != Standing::Out {
            *standing = Standing::Failing;
            self.signs.push(Sign { pool, server, what: Vital::Ended { good_at } });
        }
    }

    /// A server has refused a connection's greeting with `reply`. So it lives, as it would with
    /// such a reply to a request, unless it says that it cannot serve now.
    pub(crate) fn note_refusal(&mut self, pool: u32, server: u32, purpose: Purpose, reply: &[u8]) {
        let is_unable = is_unable(reply, Ejecting { on_oom: false });
        if purpose == Purpose::Probe {
            let what = if is_unable { Vital::ProbeFailed } else { Vital::ProbePassed };
            self.end_probe(pool, server, what);
        } else if self.pools[pool as usize].setup.ejecting.is_some() {
            let what = if is_unable { Vital::Unable } else { Vital::Answered };
            self.note_words(pool, server, what);
        }
    }

    /// A server has answered a client's request with the bytes at `range` of `buffer`, after
    /// those that came before.
    #[inline]
    pub(crate) fn note_reply(&mut self, key: Key, buffer: &Buffer, range: Range<usize>) {
        let Some(server) = self.servers.find(key) else { return };
        let (pool, number) = (server.pool, server.number);
        let Some(ejecting) = self.pools[pool as usize].setup.ejecting else { return };
        if let Some(what) = verdict(server, &buffer[range], ejecting) {
            self.note_words(pool, number, what);
        }
    }

    /// A server has said something, if it is news: `Vital::Unable` or `Vital::Answered`.
    #[inline]
    fn note_words(&mut self, pool: u32, server: u32, what: Vital) {
        let standing = &mut self.pools[pool as usize].standings[server as usize];
        if matches!((what, *standing), (Vital::Answered, Standing::Good) | (_, Standing::Out)) {
            return;
        }
        *standing = if what == Vital::Unable { Standing::Failing } else { Standing::Good };
        self.signs.push(Sign { pool, server, what });
    }
}

/// What a reply says of its server; `None` if its beginning was thrown away.
#[inline]
fn verdict(server: &Server, end: &[u8], ejecting: Ejecting) -> Option<Vital> {
    if server.parser.first_byte() != b'-' {
        return Some(Vital::Answered);
    }
    let before = &server.partial;
    if before.len() as u64 + end.len() as u64 != server.parser.reply_bytes() {
        return None;
    }
    let mut joined = Vec::new();
    let from_before = before.len().min(WORD_BYTES_MAX);
    let from_end = &end[..end.len().min(WORD_BYTES_MAX - from_before)];
    let first = if from_before == 0 {
        from_end
    } else {
        before.copy_range(0..from_before, &mut joined, &mut Mark::default());
        joined.extend_from_slice(from_end);
        &joined
    };
    Some(if is_unable(first, ejecting) { Vital::Unable } else { Vital::Answered })
}

/// Whether an error, of which this is the beginning, says that its server cannot serve now.
fn is_unable(reply: &[u8], ejecting: Ejecting) -> bool {
    match reply.split(|byte| matches!(byte, b' ' | b'\r')).next() {
        Some(b"-LOADING" | b"-BUSY") => true,
        Some(b"-OOM") => ejecting.on_oom,
        Some(_) | None => false,
    }
}

/// The probe. It is in nobody's way, and a server that wants another password first lives too.
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// The same for memcached.
const VERSION: &[u8] = b"version\r\n";

/// Bytes of an error that are looked at: the longest word of interest, and what ends it.
const WORD_BYTES_MAX: usize = b"-LOADING ".len();
