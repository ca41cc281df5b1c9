//! Frames on their way to a subscriber, and the ends of the connections that they come on.

use std::ops::Range;

use log::warn;

use crate::io::Buffer;
use crate::limits::REPLY_BYTES_MAX;
use crate::proto::commands::Subscribe;
use crate::proto::resp::ReplyStep;
use crate::proto::{Expected, ReplyParser};
use crate::proxy::Proxy;
use crate::proxy::client::{Account, Farewell, Phase};
use crate::proxy::deliver::Step;
use crate::proxy::pools::{LOG_INTERVAL, Pools};
use crate::proxy::server::Server;
use crate::proxy::source::Source;
use crate::proxy::subscribe::roll::{Heard, Place, Subscriptions};
use crate::proxy::subscribe::{go_on, word_of};
use crate::token::Key;

/// What a server has sent on a subscription connection.
enum Frame {
    Message,
    /// A confirmation, and where the name in it lies.
    Confirmation(Subscribe, Range<usize>),
    Refusal,
    /// The reply to PING of a server that has a subscriber.
    Pong,
    Other,
}

/// Reads the next frame of a subscription connection in the bytes that stand at `at`.
pub(crate) fn next_frame(
    proxy: &mut Proxy,
    key: Key,
    subscriber: Key,
    buffer: &mut Buffer,
    at: usize,
) -> Step {
    let Some(server) = proxy.pools.servers.find_mut(key) else { return Step::Partial };
    if server.parser.is_idle() {
        server.parser.expect(Expected::with_elements());
    }
    let end = match server.parser.parse(&buffer[at..]) {
        ReplyStep::Reply { end } => at + end,
        ReplyStep::Partial if server.parser.bytes_so_far() <= REPLY_BYTES_MAX => {
            server.partial.push_buffer(buffer, at..buffer.len());
            return Step::Partial;
        }
        ReplyStep::Partial | ReplyStep::Push { .. } | ReplyStep::Bad(_) => return Step::Doubt,
    };
    let Some(client) = proxy.clients.find_mut(subscriber) else { return Step::Doubt };
    let account = &mut client.account;
    let was_due = account.due();
    proxy.pools.lend(&mut account.output);
    let Some(server) = proxy.pools.servers.find_mut(key) else { return Step::Doubt };
    let heard = hear(account, key, server, buffer, at..end);
    let hard_limit = proxy.pools.limits.output_hard_bytes;
    match heard {
        Heard::Unasked => return Step::Doubt,
        Heard::Message => proxy.pools.counters.messages += 1,
        Heard::Awaited { .. } => {
            proxy.pools.counters.replies += 1;
            if !go_on(&mut proxy.pools, account) {
                let_go(proxy, subscriber, was_due);
                return Step::Settled { end };
            }
        }
    }
    let held = account.subscriptions.as_ref().map_or(0, |all| all.held_bytes());
    if held > hard_limit {
        proxy.pools.counters.clients_over_output += 1;
        proxy.drop_client(subscriber);
        return Step::Settled { end };
    }
    proxy.after_replies(subscriber, was_due);
    if matches!(heard, Heard::Awaited { .. }) {
        proxy.note_ready(subscriber);
    }
    Step::Settled { end }
}

/// Takes one frame, the end of which lies in `range`.
fn hear(
    account: &mut Account,
    key: Key,
    server: &mut Server,
    buffer: &mut Buffer,
    range: Range<usize>,
) -> Heard {
    let is_open = account.phase == Phase::Open;
    let Account { subscriptions, version, output, .. } = account;
    let Some(all) = subscriptions else { return Heard::Unasked };
    let was_asked = server.waiters.front().is_some_and(|it| server.was_handed_over(it.start));
    let Server { partial, parser, tally, waiters, .. } = server;
    let source = Source::new(partial, buffer, range);
    tally.response_bytes += source.len() as u64;
    let mut scratch = Vec::new();
    let heard = match frame(&source, parser) {
        // Who is about to leave gets what it is owed, and messages would have no end.
        Frame::Message if !is_open => {
            source.discard();
            return Heard::Message;
        }
        Frame::Message => return all.on_message(key, source, *version, output),
        Frame::Confirmation(what, name) if was_asked => {
            all.on_confirmation(key, what, source.slice(name, &mut scratch))
        }
        Frame::Refusal if was_asked => {
            all.on_refusal(key, source.slice(0..source.len(), &mut scratch))
        }
        Frame::Pong if was_asked => all.on_pong(key),
        Frame::Confirmation(..) | Frame::Refusal | Frame::Pong | Frame::Other => Heard::Unasked,
    };
    source.discard();
    if heard == (Heard::Awaited { last: true }) {
        tally.responses += 1;
        waiters.pop_front();
    }
    heard
}

/// What a whole frame is.
fn frame(source: &Source<'_>, parser: &ReplyParser) -> Frame {
    match parser.first_byte() {
        b'-' => return Frame::Refusal,
        b'*' => {}
        _ => return Frame::Other,
    }
    let ends = parser.elements();
    let [first, rest @ ..] = ends else { return Frame::Other };
    let first = *first as usize;
    let start = parser.elements_start() as usize;
    if first - start > WORD_BYTES_MAX {
        return Frame::Other;
    }
    let mut scratch = Vec::new();
    match (source.slice(start..first, &mut scratch), rest.len()) {
        (b"$7\r\nmessage\r\n" | b"$8\r\nsmessage\r\n", 2) => Frame::Message,
        (b"$8\r\npmessage\r\n", 3) => Frame::Message,
        (b"$4\r\npong\r\n", 1) => Frame::Pong,
        (word, 2) => {
            let Some(what) = confirmed(word) else { return Frame::Other };
            let second = first..rest[0] as usize;
            let Some(head) = head_bytes(source, second.clone()) else { return Frame::Other };
            Frame::Confirmation(what, second.start + head..second.end - 2)
        }
        _ => Frame::Other,
    }
}

/// The command that a word, as a bulk string, confirms.
fn confirmed(word: &[u8]) -> Option<Subscribe> {
    let word = word.strip_suffix(b"\r\n")?;
    let word = &word[word.iter().position(|&byte| byte == b'\n')? + 1..];
    ALL.into_iter().find(|&what| word_of(what).as_bytes() == word)
}

/// Bytes of the head of the bulk string that lies at `part`; none for null, or another type.
fn head_bytes(source: &Source<'_>, part: Range<usize>) -> Option<usize> {
    let mut scratch = Vec::new();
    let head = source.slice(part.start..part.end.min(part.start + HEAD_BYTES_MAX), &mut scratch);
    let end = head.iter().position(|&byte| byte == b'\n')? + 1;
    (head[0] == b'$' && part.len() >= end + 2).then_some(end)
}

/// A subscription connection has ended. `words` are said to the client if it had only asked.
pub(crate) fn on_lost(proxy: &mut Proxy, subscriber: Key, key: Key, words: &[u8]) {
    let Some(client) = proxy.clients.find_mut(subscriber) else { return };
    let was_due = client.account.due();
    let Some(all) = &mut client.account.subscriptions else { return };
    if !all.on_lost(key, words) {
        note(&mut proxy.pools, client.account.pool, "lost their connections to servers");
        return let_go(proxy, subscriber, was_due);
    }
    if !go_on(&mut proxy.pools, &mut client.account) {
        return let_go(proxy, subscriber, was_due);
    }
    proxy.after_replies(subscriber, was_due);
    proxy.note_ready(subscriber);
}

/// A pool's keys are spread anew: who listens where nothing will be published any more is let go.
pub(crate) fn on_routing(proxy: &mut Proxy, pool: u32) {
    let keys: Vec<Key> = proxy.clients.keys().collect();
    for key in keys {
        let Some(client) = proxy.clients.find(key) else { continue };
        let Some(all) = &client.account.subscriptions else { continue };
        if client.account.pool == pool && !is_in_place(&proxy.pools, pool, all) {
            note(&mut proxy.pools, pool, "listened where messages come no more");
            let was_due = client.account.due();
            let_go(proxy, key, was_due);
        }
    }
}

/// Whether everything that a client listens to is where it is published.
fn is_in_place(pools: &Pools, pool: u32, all: &Subscriptions) -> bool {
    let routing = &pools.pools[pool as usize].setup.routing;
    let mut numbers: Vec<u32> = all.numbers().collect();
    numbers.sort_unstable();
    let mut places = all.places();
    places.all(|(name, place)| match place {
        Place::Everywhere => numbers == routing.live(),
        Place::At(number) => routing.is_fixed() && routing.route(name, 0) == Some(number as usize),
    })
}

/// Lets a client go: it gets what it is owed, and is closed.
fn let_go(proxy: &mut Proxy, key: Key, was_due: usize) {
    let Some(client) = proxy.clients.find_mut(key) else { return };
    let account = &mut client.account;
    let is_asking = account.subscriptions.as_ref().is_some_and(|all| all.is_asking());
    proxy.pools.unsubscribe_all(account);
    if is_asking {
        account.pipeline.finish_head(&mut account.output);
    }
    if account.phase == Phase::Open {
        account.phase = Phase::Draining(Farewell::LastWords);
    }
    proxy.pools.counters.subscribers_closed += 1;
    proxy.after_replies(key, was_due);
}

/// A line about subscribers that are closed, unless there was one a moment ago.
fn note(pools: &mut Pools, pool: u32, what: &str) {
    if pools.subscribers_logged.is_some_and(|last| pools.now - last < LOG_INTERVAL) {
        return;
    }
    pools.subscribers_logged = Some(pools.now);
    let name = &pools.pools[pool as usize].setup.name;
    warn!("pool {name}: subscribers are closed, to subscribe anew: they {what}");
}

const ALL: [Subscribe; 6] = [
    Subscribe::Subscribe,
    Subscribe::Psubscribe,
    Subscribe::Ssubscribe,
    Subscribe::Unsubscribe,
    Subscribe::Punsubscribe,
    Subscribe::Sunsubscribe,
];

/// Bytes of the longest first element.
const WORD_BYTES_MAX: usize = b"$12\r\npunsubscribe\r\n".len();

/// Bytes of a bulk string's head, at most.
const HEAD_BYTES_MAX: usize = b"$536870912\r\n".len();
