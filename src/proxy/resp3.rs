//! RESP3: who speaks it, and what only it has.
//!
//! A client's HELLO 3 is no promise that the proxy can keep alone. The servers decide: one of them
//! is asked, on a connection that says HELLO 3 itself, and the client hears what came of it.
//!
//! ```text
//!                 HELLO 3: waits for a PING on a      agreed
//!   nobody knows ------------------------------------------------> they know it: answered at once
//!        ^          connection that said HELLO 3         |
//!        |                                               | refused
//!        |            REFUSED_TIME                       v
//!        +----------------------------------- they do not: -NOPROTO at once
//! ```
//!
//! A connection that fails for another reason says nothing about it; another server is asked next.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::io::{Buffer, Chain};
use crate::proto::resp::ReplyStep;
use crate::proto::{Expected, RespVersion};
use crate::proxy::client::Account;
use crate::proxy::deliver::{self, Step};
use crate::proxy::gather::Elements;
use crate::proxy::pipeline::Part;
use crate::proxy::pools::Pools;
use crate::proxy::server::{HELLO, Server, Waiter};
use crate::proxy::source::Source;
use crate::proxy::{Proxy, dispatch};
use crate::time::Instant;
use crate::token::Key;

/// Writes what a client hears that has changed its version, in the version that it speaks by then.
pub(crate) type Answer = fn(&Pools, &Account) -> Vec<u8>;

/// What a worker knows of RESP3 in a pool.
#[derive(Default)]
pub(crate) struct Knowledge {
    /// Whether a server has agreed.
    agreed: bool,
    /// The last one that has not, and when.
    refused: Option<(u32, Instant)>,
    /// Which one is asked next, while nobody knows.
    next: u32,
}

/// What is to be done about a client's HELLO 3.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Agreed,
    Refused,
    /// This server is to be asked.
    Unknown(u32),
}

/// The lowest version that a server of a pool has told, to any worker.
#[derive(Debug, Default)]
pub struct LowestVersion(AtomicU64);

/// What a server says to HELLO 3.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It speaks RESP3 from now on. Its version, if it could be understood.
    Agreed(Option<u64>),
    /// It does not know it.
    Unable,
    /// It has other reasons.
    Refused,
    /// It is no answer to this.
    Doubt,
}

impl Knowledge {
    /// A server has said yes.
    pub(crate) fn note_agreed(&mut self, server: u32) {
        self.agreed = true;
        if self.refused.is_some_and(|(refused, _)| refused == server) {
            self.refused = None;
        }
    }

    fn note_refused(&mut self, server: u32, now: Instant) {
        self.refused = Some((server, now));
    }

    fn standing(&self, now: Instant) -> Standing {
        match self.refused {
            Some((_, since)) if now - since < REFUSED_TIME => Standing::Refused,
            // It has to say so itself, whatever others say.
            Some((server, _)) => Standing::Unknown(server),
            None if self.agreed => Standing::Agreed,
            None => Standing::Unknown(self.next),
        }
    }
}

impl LowestVersion {
    /// A server has told its version.
    pub(crate) fn note(&self, version: u64) {
        let lower = |lowest| (lowest == 0 || version < lowest).then_some(version);
        // It fails when there is nothing to change.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lower);
    }
}

/// As servers write it; `UNKNOWN_VERSION` before one was told.
impl fmt::Display for LowestVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.load(Ordering::Relaxed) {
            0 => f.write_str(UNKNOWN_VERSION),
            version => {
                let part = |number: u32| (version >> (number * PART_BITS)) & PART_MAX;
                write!(f, "{}.{}.{}", part(2), part(1), part(0))
            }
        }
    }
}

/// Has a client speak `version`, and answers it with `answer` once it does: all that it asked for
/// before is answered in the version of before, and nothing behind is looked at until then. It
/// hears the reason where the servers do not speak it, and speaks what it spoke.
pub(crate) fn agree(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    version: RespVersion,
    answer: Answer,
    source: Source<'_>,
) {
    if account.private.is_some() && version != account.version {
        return say(pools, account, NOT_NOW, source);
    }
    let pool = &pools.pools[account.pool as usize];
    let standing = match version {
        RespVersion::Two => Standing::Agreed,
        RespVersion::Three => pool.resp3.standing(pools.now),
    };
    if standing == Standing::Refused {
        return say(pools, account, NO_PROTO, source);
    }
    let Some(source) = dispatch::behind_barrier(account, source) else { return };
    if let Standing::Unknown(server) = standing {
        return ask(pools, account, client, server, answer, source);
    }
    account.version = version;
    let words = answer(pools, account);
    say(pools, account, &words, source);
}

/// Queues a PING on a connection that says HELLO 3 first. The client waits for its reply.
fn ask(
    pools: &mut Pools,
    account: &mut Account,
    client: Key,
    server: u32,
    answer: Answer,
    source: Source<'_>,
) {
    let key = pools.shared(account.pool, server, account.lane, RespVersion::Three);
    if pools.is_full(key) {
        return pools.park(account, client, key, source);
    }
    let sequence = account.pipeline.push_waiting(source.len() as u32);
    source.discard();
    account.hello = Some(answer);
    account.barrier = true;
    let waiter =
        Waiter { fragment: HELLO, ..Waiter::new(client, sequence, Expected::default(), pools.now) };
    let server = pools.server_for_output(key);
    server.queue_own(waiter, PING.len() as u64);
    server.output.push_copy(PING);
    pools.flush_later(key);
}

/// The reply to that PING has come, whatever it is: the connection it came on speaks RESP3.
pub(crate) fn on_agreed(proxy: &mut Proxy, key: Key, waiter: Waiter) {
    let Proxy { pools, clients, .. } = proxy;
    if let Some(server) = pools.servers.find_mut(key) {
        server.partial = Chain::new();
    }
    let Some(client) = deliver::waiting_client(clients, &waiter) else {
        pools.counters.replies_swallowed += 1;
        return;
    };
    let account = &mut client.account;
    let was_due = account.due();
    account.version = RespVersion::Three;
    let words = account.hello.take().map_or_else(Vec::new, |answer| answer(pools, account));
    pools.lend(&mut account.output);
    let (mut before, mut buffer) = (Chain::new(), Buffer::from_bytes(words.into()));
    let len = buffer.len();
    let source = Source::new(&mut before, &mut buffer, 0..len);
    let sequence = waiter.sequence;
    account.pipeline.settle(
        sequence,
        Part::Whole,
        source,
        Elements::default(),
        &mut account.output,
    );
    deliver::after_settling(proxy, waiter.client(), was_due);
}

/// The connection of that PING has failed, with these words for who waits. Another server is asked
/// next time, unless this one has said no.
pub(crate) fn on_failed(proxy: &mut Proxy, waiter: Waiter, words: &[u8]) {
    let Proxy { pools, clients, .. } = proxy;
    let Some(client) = deliver::waiting_client(clients, &waiter) else { return };
    let account = &mut client.account;
    let was_due = account.due();
    account.hello = None;
    let pool = &mut pools.pools[account.pool as usize];
    pool.resp3.next = (pool.resp3.next + 1) % pool.setup.servers.len() as u32;
    let sequence = waiter.sequence;
    account.pipeline.settle_error(sequence, Part::Whole, words, &mut account.output);
    deliver::after_settling(proxy, waiter.client(), was_due);
}

/// What a server's reply to HELLO 3 says. `elements` are those of a map.
pub(crate) fn judge(reply: &[u8], elements: Elements<'_>) -> Said {
    let unable: [&[u8]; 2] = [b"-NOPROTO", b"-ERR unknown command"];
    match reply.get(elements.at as usize) {
        Some(b'%') => {}
        Some(b'-') if unable.iter().any(|words| reply.starts_with(words)) => return Said::Unable,
        Some(b'-') => return Said::Refused,
        Some(_) | None => return Said::Doubt,
    }
    if value(reply, elements, b"$5\r\nproto\r\n") != Some(b":3\r\n") {
        return Said::Doubt;
    }
    let version = value(reply, elements, b"$7\r\nversion\r\n");
    Said::Agreed(version.and_then(read_version))
}

/// What stands behind `name` in a map.
fn value<'r>(reply: &'r [u8], elements: Elements<'_>, name: &[u8]) -> Option<&'r [u8]> {
    let mut start = elements.start as usize;
    let mut is_wanted = false;
    for (number, &end) in elements.ends.iter().enumerate() {
        let element = reply.get(start..end as usize)?;
        if is_wanted {
            return Some(element);
        }
        is_wanted = number % 2 == 0 && element == name;
        start = end as usize;
    }
    None
}

/// A bulk string as `7.2.4`, packed so that a higher version is a greater number.
fn read_version(bulk: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bulk.strip_suffix(b"\r\n")?).ok()?;
    let (_, text) = text.split_once("\r\n")?;
    let mut packed = 0;
    let mut parts = text.split('.');
    for _ in 0..3 {
        let number: u64 = parts.next().unwrap_or("0").parse().ok()?;
        packed = packed << PART_BITS | Some(number).filter(|&part| part <= PART_MAX)?;
    }
    (packed > 0).then_some(packed)
}

/// A server connection has greeted with HELLO 3.
pub(crate) fn note_agreed(pools: &mut Pools, pool: u32, server: u32, version: Option<u64>) {
    let pool = &mut pools.pools[pool as usize];
    pool.resp3.note_agreed(server);
    if let Some(version) = version {
        pool.setup.version.note(version);
    }
}

/// A server knows no RESP3. That is no failure of it: it serves others as before. Who waits hears
/// what Redis says of a version that it does not know.
pub(crate) fn on_unable(proxy: &mut Proxy, key: Key, reply: &[u8]) {
    let Some(server) = proxy.pools.servers.find(key) else { return };
    let (pool, number) = (server.pool, server.number);
    let now = proxy.pools.now;
    proxy.pools.pools[pool as usize].resp3.note_refused(number, now);
    let line = reply.strip_suffix(b"\r\n").unwrap_or(reply);
    proxy.pools.log_server(pool, number, &format!("no RESP3: {}", line.escape_ascii()));
    deliver::dismiss_server(proxy, key, NO_PROTO);
}

/// Bytes at `at` that no request waits for: a push, or out of place.
pub(crate) fn on_unasked(proxy: &mut Proxy, key: Key, buffer: &Buffer, at: usize) -> Step {
    let Some(server) = proxy.pools.servers.find_mut(key) else { return Step::Partial };
    let Server { version, parser, .. } = server;
    let first = if parser.is_idle() { buffer[at] } else { parser.first_byte() };
    if *version == RespVersion::Two || first != b'>' {
        return Step::Doubt;
    }
    match parser.parse(&buffer[at..]) {
        ReplyStep::Partial => Step::Partial,
        ReplyStep::Push { end } => on_push(proxy, key, at + end),
        ReplyStep::Reply { .. } | ReplyStep::Bad(_) => Step::Doubt,
    }
}

/// A push has come, up to `end`. Nobody has subscribed to anything on a connection for requests
/// and replies, shared or private, and no two clients could tell whose it is.
pub(crate) fn on_push(proxy: &mut Proxy, key: Key, end: usize) -> Step {
    proxy.pools.counters.server_pushes_dropped += 1;
    if let Some(server) = proxy.pools.servers.find_mut(key) {
        // Its attributes, if they came by themselves.
        server.partial = Chain::new();
    }
    Step::Settled { end }
}

fn say(pools: &mut Pools, account: &mut Account, words: &[u8], source: Source<'_>) {
    pools.words.clear();
    pools.words.extend_from_slice(words);
    dispatch::answer(pools, account, source);
}

/// Source: redis 7.0 `networking.c`, `helloCommand`.
pub(crate) const NO_PROTO: &[u8] = b"-NOPROTO unsupported protocol version\r\n";

/// A server connection that the client has to itself would go on in the version of before.
const NOT_NOW: &[u8] =
    b"-ERR HELLO cannot change the protocol version inside a transaction or a subscription\r\n";

/// What is said of servers that have not told a version yet: the oldest that is kept in support.
const UNKNOWN_VERSION: &str = "7.0.0";

/// How long a server's refusal is taken as an answer to the next client too. A guess: long enough
/// that clients which try again and again cost it little, and short beside an upgrade.
const REFUSED_TIME: Duration = Duration::from_secs(5);

/// It changes nothing, and every server answers it.
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// Bits of each of the three parts of a version.
const PART_BITS: u32 = 16;
const PART_MAX: u64 = (1 << PART_BITS) - 1;
