//! Replies on their way back: from a server connection to the client whose turn it is.

use log::debug;

use crate::io::{Buffer, Errno};
use crate::proto::resp::ReplyStep;
use crate::proxy::gather::Elements;
use crate::proxy::pipeline::Part;
use crate::proxy::server::{self, Server, WHOLE, Waiter};
use crate::proxy::source::Source;
use crate::proxy::{Phase, Proxy, after_replies, reject};
use crate::token::Key;

/// Bytes arrived from a server. Any doubt about whose they are ends the connection.
pub(crate) fn on_reply_bytes(proxy: &mut Proxy, key: Key, buffer: &mut Buffer) {
    let mut at = 0;
    while at < buffer.len() {
        match next_reply(proxy, key, buffer, at) {
            Step::Settled { end } => at = end,
            Step::Partial => return,
            Step::Doubt => {
                proxy.pools.counters.server_bad_replies += 1;
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

enum Step {
    Settled { end: usize },
    Partial,
    Doubt,
}

#[inline]
fn next_reply(proxy: &mut Proxy, key: Key, buffer: &mut Buffer, at: usize) -> Step {
    let Some(server) = proxy.pools.servers.find_mut(key) else { return Step::Partial };
    if server.phase != server::Phase::Up {
        return Step::Partial;
    }
    let Some(&waiter) = server.waiters.front() else { return Step::Doubt };
    if !server.was_handed_over(waiter.start) {
        return Step::Doubt;
    }
    if server.parser.is_idle() {
        server.parser.record_elements(waiter.elements);
    }
    match server.parser.parse(&buffer[at..]) {
        ReplyStep::Partial => {
            server.partial.push_buffer(buffer, at..buffer.len());
            Step::Partial
        }
        ReplyStep::Bad(_) => Step::Doubt,
        ReplyStep::Reply { end } => {
            server.waiters.pop_front();
            proxy.pools.counters.replies += 1;
            settle(proxy, key, waiter, buffer, at..at + end);
            Step::Settled { end: at + end }
        }
    }
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
    pools.lend(&mut account.output);
    let Some(server) = pools.servers.find_mut(key) else { return };
    let Server { partial, parser, .. } = server;
    let elements = Elements { start: parser.elements_start(), ends: parser.elements() };
    let source = Source::new(partial, buffer, range);
    let reply_bytes = source.len();
    let (sequence, part) = (waiter.sequence, part_of(&waiter));
    account.pipeline.settle(sequence, part, source, elements, &mut account.output);
    after_settling(proxy, waiter.client(), reply_bytes);
}

/// What follows from a client's having been given a reply: its output is flushed, its limits are
/// looked at, and it may have room for its next requests.
#[inline]
fn after_settling(proxy: &mut Proxy, key: Key, reply_bytes: usize) {
    let Some(client) = proxy.clients.find_mut(key) else { return };
    let limits = &proxy.pools.limits;
    let owed = client.account.owed();
    if owed >= limits.output_soft_bytes {
        // A lone reply is never too much, however large the value.
        let was_over = owed.saturating_sub(reply_bytes) >= limits.output_soft_bytes;
        if owed > limits.output_hard_bytes && was_over {
            proxy.pools.counters.clients_over_output += 1;
            debug!("client {} has {owed} bytes of replies unread, closed", key.index);
            return proxy.drop_client(key);
        }
        if client.account.stalled_since.is_none() {
            client.account.stalled_since = Some(proxy.pools.now);
            if !client.account.stall_listed {
                client.account.stall_listed = true;
                proxy.stalled.push(key);
            }
        }
    }
    after_replies(&mut proxy.pools, client, key);
    if client.input.stashed() > 0 || client.input.ended {
        proxy.note_ready(key);
    }
}

/// `bytes` of a server's requests have been sent.
pub(crate) fn on_requests_sent(proxy: &mut Proxy, key: Key, bytes: u64) {
    let Some(server) = proxy.pools.servers.find_mut(key) else { return };
    server.sent += bytes;
    if !server.blocked.is_empty() {
        unblock(proxy, key);
    }
}

/// Ends a server connection, and answers everything that waits on it.
pub(crate) fn fail_server(proxy: &mut Proxy, key: Key, why: Option<Errno>) {
    let (waiters, blocked) = proxy.pools.retire(key, why);
    let mut words = Vec::new();
    reject::failure(why, &mut words);
    for waiter in waiters {
        if let Some(client) = waiting_client(&mut proxy.clients, &waiter) {
            proxy.pools.counters.requests_failed += 1;
            let account = &mut client.account;
            let (sequence, part) = (waiter.sequence, part_of(&waiter));
            account.pipeline.settle_error(sequence, part, &words, &mut account.output);
            after_settling(proxy, waiter.client(), words.len());
        }
    }
    release_blocked(proxy, blocked);
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
fn waiting_client<'c>(
    clients: &'c mut crate::proxy::slots::Slots<crate::proxy::client::Client>,
    waiter: &Waiter,
) -> Option<&'c mut crate::proxy::client::Client> {
    clients.find_mut(waiter.client()).filter(|client| client.account.phase != Phase::Leaving)
}

fn part_of(waiter: &Waiter) -> Part {
    match waiter.fragment {
        WHOLE => Part::Whole,
        number => Part::Fragment(number),
    }
}
