//! How servers do, as far as this worker sees it. The count that ejects one is kept for all
//! workers by whoever leads them: signs go out, and a routing table comes in.

use std::ops::Range;
use std::sync::Arc;

use crate::distribution::RoutingTable;
use crate::io::{Buffer, Mark};
use crate::limits::PROBE_TIME;
use crate::proto::{Protocol, RespVersion};
use crate::proxy::pools::Pools;
use crate::proxy::server::{Purpose, Server, Tally, Waiter};
use crate::proxy::{Proxy, Want, subscribe};
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

/// What a server did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vital {
    /// A connection to it ended, for whatever reason, or it said that it cannot serve now.
    Failed,
    /// It answered a request, for the first time after it had failed.
    Answered,
    /// It answered `Proxy::probe`.
    ProbePassed,
    /// It did not, or said that it cannot serve now.
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
    /// they are.
    pub fn set_routing(&mut self, pool: u32, routing: Arc<RoutingTable>) {
        self.pools.pools[pool as usize].setup.routing = routing;
        subscribe::on_routing(self, pool);
    }

    /// Says whether failures of a server are counted that its next reply undoes.
    pub fn set_failing(&mut self, pool: u32, server: u32, failing: bool) {
        self.pools.pools[pool as usize].failing[server as usize] = failing;
    }
}

impl Pools {
    fn open_probe(&mut self, pool: u32, number: u32) {
        let within = self.pools[pool as usize].setup.timeout.unwrap_or(PROBE_TIME);
        let key = self.begin(pool, number, Purpose::Probe, RespVersion::Two, Some(within));
        let mut nobody = Waiter::new(Key::new(Role::Client, 0, 0), 0, self.now);
        nobody.abandon();
        let question = match self.protocol(pool) {
            Protocol::Resp => PING,
            Protocol::Memcache => VERSION,
        };
        let server = self.server_for_output(key);
        server.queue(nobody, question.len() as u64);
        server.output.push_copy(question);
        // The figures are of clients' requests.
        server.tally = Tally::default();
    }

    /// The reply to a probe has come, whose end is `end`.
    pub(crate) fn finish_probe(&mut self, key: Key, end: &[u8]) {
        let Some(server) = self.servers.find_mut(key) else { return };
        let what = match verdict(server, end, Ejecting { on_oom: false }) {
            Some(Vital::Answered) => Vital::ProbePassed,
            Some(_) | None => Vital::ProbeFailed,
        };
        server.leave();
        self.signs.push(Sign { pool: server.pool, server: server.number, what });
        self.wants.push(Want::Close(key));
    }

    /// A connection to a server has ended.
    pub(crate) fn note_failure(&mut self, pool: u32, server: u32, purpose: Purpose) {
        if purpose == Purpose::Probe {
            self.signs.push(Sign { pool, server, what: Vital::ProbeFailed });
            return;
        }
        let pool_of = &mut self.pools[pool as usize];
        if pool_of.setup.ejecting.is_some() {
            pool_of.failing[server as usize] = true;
            self.signs.push(Sign { pool, server, what: Vital::Failed });
        }
    }

    /// A server has answered a client's request with the bytes at `range` of `buffer`, after
    /// those that came before.
    #[inline]
    pub(crate) fn note_reply(&mut self, key: Key, buffer: &Buffer, range: Range<usize>) {
        let Some(server) = self.servers.find(key) else { return };
        let pool = &mut self.pools[server.pool as usize];
        let Some(ejecting) = pool.setup.ejecting else { return };
        let failing = &mut pool.failing[server.number as usize];
        let what = match verdict(server, &buffer[range], ejecting) {
            Some(Vital::Answered) if !*failing => return,
            Some(what) => what,
            None => return,
        };
        *failing = what == Vital::Failed;
        self.signs.push(Sign { pool: server.pool, server: server.number, what });
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
    let is_unable = match first.split(|byte| matches!(byte, b' ' | b'\r')).next() {
        Some(b"-LOADING" | b"-BUSY") => true,
        Some(b"-OOM") => ejecting.on_oom,
        Some(_) | None => false,
    };
    Some(if is_unable { Vital::Failed } else { Vital::Answered })
}

/// The probe. It is in nobody's way, and a server that wants a password first lives too.
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// The same for memcached.
const VERSION: &[u8] = b"version\r\n";

/// Bytes of an error that are looked at: the longest word of interest, and what ends it.
const WORD_BYTES_MAX: usize = b"-LOADING ".len();
