//! Replies on their way back: from a server connection to the client whose turn it is.

use crate::io::{Buffer, Chain, Errno};
use crate::proto::resp::ReplyStep;
use crate::proxy::client::Client;
use crate::proxy::gather::Elements;
use crate::proxy::pipeline::Part;
use crate::proxy::pools::Retired;
use crate::proxy::server::{self, HELLO, Purpose, RUN, Server, WHOLE, Waiter};
use crate::proxy::slots::Slots;
use crate::proxy::source::Source;
use crate::proxy::{
    Phase, Proxy, greeting, private, reject, resp3, stream, subscribe, transaction,
};
use crate::token::Key;

/// Bytes arrived from a server. Any doubt about whose they are ends the connection.
pub(crate) fn on_reply_bytes(proxy: &mut Proxy, key: Key, buffer: &mut Buffer) {
    let mut at = 0;
    while at < buffer.len() {
        match next_reply(proxy, key, buffer, at) {
            Step::Settled { end } => at = end,
            Step::Partial => break,
            Step::Doubt => {
                proxy.pools.note_doubt(key);
                return fail_server(proxy, key, Some(Errno(libc::EINVAL)));
            }
        }
    }
    if let Some(server) = proxy.pools.servers.find_mut(key)
        && !server.blocked.is_empty()
    {
        unblock(proxy, key);
    }
}

/// What became of the bytes at a place.
pub(crate) enum Step {
    /// A reply was read, up to here.
    Settled { end: usize },
    /// The rest is not, or not yet, a reply to anything.
    Partial,
    /// They are nobody's.
    Doubt,
}

#[inline]
fn next_reply(proxy: &mut Proxy, key: Key, buffer: &mut Buffer, at: usize) -> Step {
    let Some(server) = proxy.pools.servers.find_mut(key) else { return Step::Partial };
    match server.phase {
        server::Phase::Up => {}
        server::Phase::Greeting => return greeting::next_reply(proxy, key, buffer, at),
        server::Phase::Resolving | server::Phase::Connecting | server::Phase::Leaving => {
            return Step::Partial;
        }
    }
    if let Purpose::Subscription { client } = server.purpose {
        return subscribe::next_frame(proxy, key, client, buffer, at);
    }
    let waiter = server.waiters.front().copied();
    let Some(waiter) = waiter.filter(|waiter| server.was_handed_over(waiter.start)) else {
        return resp3::on_unasked(proxy, key, buffer, at);
    };
    if server.parser.is_idle() {
        server.parser.expect(waiter.expected);
    }
    match server.parser.parse(&buffer[at..]) {
        ReplyStep::Partial => {
            keep_partial(proxy, key, waiter, buffer, at);
            Step::Partial
        }
        ReplyStep::Bad(_) => Step::Doubt,
        ReplyStep::Push { end } => resp3::on_push(proxy, key, at + end),
        ReplyStep::Reply { end } => {
            server.waiters.pop_front();
            if server.purpose == Purpose::Probe {
                proxy.pools.finish_probe(key, &buffer[at..at + end]);
                return Step::Settled { end: at + end };
            }
            let (purpose, first) = (server.purpose, server.parser.first_byte());
            proxy.pools.counters.replies += 1;
            proxy.pools.note_reply(key, buffer, at..at + end);
            match waiter.fragment {
                HELLO => {
                    resp3::on_agreed(proxy, key, waiter);
                    return Step::Settled { end: at + end };
                }
                RUN if first == b'-' => {
                    transaction::on_refused_run(proxy, key);
                    return Step::Partial;
                }
                _ => {}
            }
            settle(proxy, key, waiter, buffer, at..at + end);
            if let Purpose::Private { owner: Some(owner) } = purpose {
                private::after_reply(proxy, key, owner, first);
            }
            Step::Settled { end: at + end }
        }
    }
}

/// Keeps the bytes of a reply whose end has not come. The parser knows where it will end without
/// them: those that nobody waits for, and those that nobody could keep, are thrown away.
fn keep_partial(proxy: &mut Proxy, key: Key, waiter: Waiter, buffer: &mut Buffer, at: usize) {
    let Some(server) = proxy.pools.servers.find_mut(key) else { return };
    // Nor does anybody wait for a push.
    let is_push = server.parser.first_byte() == b'>';
    let client = waiting_client(&mut proxy.clients, &waiter).filter(|_| !is_push);
    let Some(client) = client else {
        server.partial = Chain::new();
        server.parser.forget_elements();
        return;
    };
    let limits = &proxy.pools.limits;
    let held = server.partial.len() + buffer.len() - at;
    if held >= limits.stream_bytes_min && stream::may_stream(server, client, &waiter) {
        return stream::pass_on(proxy, key, waiter, buffer, at);
    }
    if held as u64 <= limits.reply_bytes_max {
        server.partial.push_buffer(buffer, at..buffer.len());
        return;
    }
    let mut words = Vec::new();
    reject::reply_too_large(server.parser.protocol(), &mut words);
    // The errand of who has it alone is over, and nobody else has a use for what is left.
    if matches!(server.purpose, Purpose::Private { .. }) {
        return dismiss_server(proxy, key, &words);
    }
    server.partial = Chain::new();
    server.parser.forget_elements();
    if let Some(first) = server.waiters.front_mut() {
        first.abandon();
    }
    settle_error(proxy, waiter, &words);
}

/// Puts one whole reply in its client's pipeline.
#[inline]
fn settle(
    proxy: &mut Proxy,
    key: Key,
    waiter: Waiter,
    buffer: &mut Buffer,
    range: std::ops::Range<usize>,
) {
    let pools = &mut proxy.pools;
    let Some(client) = waiting_client(&mut proxy.clients, &waiter) else {
        pools.counters.replies_swallowed += 1;
        if let Some(server) = pools.servers.find_mut(key) {
            server.partial.clear();
        }
        return;
    };
    let account = &mut client.account;
    let was_due = account.due_before_stream();
    pools.lend(&mut account.output);
    let Some(server) = pools.servers.find_mut(key) else { return };
    let Server { partial, parser, tally, .. } = server;
    let elements = Elements::of(parser);
    let source = Source::new(partial, buffer, range);
    tally.responses += 1;
    tally.response_bytes += source.len() as u64;
    let (sequence, part) = (waiter.sequence, part_of(&waiter));
    account.pipeline.settle(sequence, part, source, elements, &mut account.output);
    after_settling(proxy, waiter.client(), was_due);
}

/// Answers a request with an error of ours in place of a server's reply. A client that has got a
/// part of that reply would take the error for more of it, and is closed.
fn settle_error(proxy: &mut Proxy, waiter: Waiter, words: &[u8]) {
    if waiter.fragment == HELLO {
        return resp3::on_failed(proxy, waiter, words);
    }
    let Some(client) = waiting_client(&mut proxy.clients, &waiter) else { return };
    let account = &mut client.account;
    if account.pipeline.is_streaming(waiter.sequence) {
        return stream::cut(proxy, waiter.client());
    }
    let was_due = account.due_before_stream();
    let (sequence, part) = (waiter.sequence, part_of(&waiter));
    if account.pipeline.settle_error(sequence, part, words, &mut account.output) {
        proxy.pools.count_failed_request(account.pool);
    }
    after_settling(proxy, waiter.client(), was_due);
}

/// What follows from a client's having been given a reply: its limits are looked at, its output
/// is flushed, and it may have room for its next requests.
#[inline]
pub(crate) fn after_settling(proxy: &mut Proxy, key: Key, was_due: usize) {
    proxy.after_replies(key, was_due);
    let Some(client) = proxy.clients.find_mut(key) else { return };
    if client.has_more() || client.input.ended {
        proxy.note_ready(key);
    }
}

/// `bytes` of a server's requests have been sent.
pub(crate) fn on_requests_sent(proxy: &mut Proxy, key: Key, bytes: u64) {
    let Some(server) = proxy.pools.servers.find_mut(key) else { return };
    server.note_sent(bytes);
    if !server.blocked.is_empty() {
        unblock(proxy, key);
    }
}

/// Ends a server connection: what waits for a reply on it is answered with an error, what waits for
/// room on it is dispatched again, and finds another.
pub(crate) fn fail_server(proxy: &mut Proxy, key: Key, why: Option<Errno>) {
    let Some(server) = proxy.pools.servers.find(key) else { return };
    // A server may close what nobody uses.
    if proxy.pools.is_kept(key) {
        return proxy.pools.close_server(key);
    }
    let protocol = server.parser.protocol();
    let is_unused = matches!(server.purpose, Purpose::Private { .. }) && server.waiters.is_empty();
    let mut words = Vec::new();
    reject::failure(protocol, why, &mut words);
    // So it is when its only client has just not asked for anything (the server's `timeout`).
    if is_unused && why.is_none() {
        return dismiss_server(proxy, key, &words);
    }
    let retired = proxy.pools.retire(key, why);
    leave_behind(proxy, key, retired, &words);
}

/// Ends a server connection that was refused what it said first, which is no failure of the server:
/// with another in its place, nobody would learn what is wrong. `reply` is the server's own, and
/// goes to whoever waits.
pub(crate) fn refuse_server(proxy: &mut Proxy, key: Key, said: &str, reply: &[u8]) {
    let Some(server) = proxy.pools.servers.find(key) else { return };
    let (pool, number) = (server.pool, server.number);
    let line = reply.strip_suffix(b"\r\n").unwrap_or(reply);
    proxy.pools.log_server(pool, number, &format!("{said}: {}", line.escape_ascii()));
    let retired = proxy.pools.retire_refused(key, reply);
    leave_behind(proxy, key, retired, reply);
}

/// Ends a server connection that is of no use though its server has not failed. Whoever waits is
/// answered with `words`.
pub(crate) fn dismiss_server(proxy: &mut Proxy, key: Key, words: &[u8]) {
    let retired = proxy.pools.dismiss(key);
    leave_behind(proxy, key, retired, words);
}

fn leave_behind(proxy: &mut Proxy, key: Key, retired: Retired, words: &[u8]) {
    if let Some(owner) = retired.owner {
        private::on_lost(proxy, owner);
    }
    if let Some(subscriber) = retired.subscriber {
        subscribe::on_lost(proxy, subscriber, key, words);
    }
    for waiter in retired.waiters {
        settle_error(proxy, waiter, words);
    }
    release_blocked(proxy, retired.blocked);
}

/// Lets the clients go on that waited for room in a server's queue, if there is some.
fn unblock(proxy: &mut Proxy, key: Key) {
    let Some(server) = proxy.pools.servers.find_mut(key) else { return };
    if server.has_room(&proxy.pools.limits) {
        let blocked = std::mem::take(&mut server.blocked);
        release_blocked(proxy, blocked);
    }
}

fn release_blocked(proxy: &mut Proxy, blocked: Vec<Key>) {
    for key in blocked {
        if let Some(client) = proxy.clients.find_mut(key) {
            client.account.blocked_on = None;
            proxy.note_ready(key);
        }
    }
}

/// The client that a reply is for; none if it has gone, or is as good as gone.
#[inline]
pub(crate) fn waiting_client<'c>(
    clients: &'c mut Slots<Client>,
    waiter: &Waiter,
) -> Option<&'c mut Client> {
    clients.find_mut(waiter.client()).filter(|client| client.account.phase != Phase::Leaving)
}

fn part_of(waiter: &Waiter) -> Part {
    match waiter.fragment {
        WHOLE | HELLO => Part::Whole,
        number => Part::Fragment(number),
    }
}
