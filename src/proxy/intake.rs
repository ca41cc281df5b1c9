//! Requests on their way in: from the bytes of a client to the dispatch of each whole request, as
//! far as its limits and its budget for the turn allow. What may not be parsed yet is put aside.

use bytes::Bytes;

use crate::io::Buffer;
use crate::limits::STASH_BYTES_MAX;
use crate::proto::{BadRequest, Parsed};
use crate::proxy::client::{Client, Farewell, Phase};
use crate::proxy::pools::Pools;
use crate::proxy::source::Source;
use crate::proxy::{Proxy, Want, dispatch, reject};
use crate::token::Key;

impl Proxy {
    pub(crate) fn on_request_bytes(&mut self, key: Key, buffer: &mut Buffer) {
        let Some(client) = self.clients.find_mut(key) else { return };
        // Beyond its end come bytes only where the end was ours: a drain.
        if client.account.phase != Phase::Open || client.input.ended {
            return;
        }
        let read = if client.has_more() { 0 } else { self.feed(key, buffer) };
        let Some(client) = self.clients.find_mut(key) else { return };
        if read == buffer.len() || client.account.phase != Phase::Open {
            return;
        }
        client.input.put_aside(buffer, read);
        if client.input.reading && client.input.stashed() > STASH_BYTES_MAX {
            client.input.reading = false;
            self.pools.counters.clients_paused += 1;
            self.pools.wants.push(Want::Pause(key));
        }
        self.note_ready(key);
    }

    pub(crate) fn run_client(&mut self, key: Key) {
        let Some(client) = self.clients.find_mut(key) else { return };
        client.input.ready = false;
        self.unpark(key);
        while let Some(client) = self.clients.find_mut(key)
            && *client.input.budget(self.pools.turn) > 0
            && client.account.may_parse(&self.pools.limits)
            && let Some(mut piece) = client.input.take_aside()
        {
            let read = self.feed(key, &mut piece);
            if let Some(client) = self.clients.find_mut(key)
                && client.account.phase == Phase::Open
            {
                client.input.put_back(&mut piece, read);
            }
        }
        let Some(client) = self.clients.find_mut(key) else { return };
        if client.account.phase != Phase::Open {
            return;
        }
        // Who waits at a server is gone with its end, whatever it sent behind that.
        if client.input.ended && (!client.has_more() || client.account.waits_for().is_some()) {
            return self.on_client_end(key);
        }
        if client.input.stashed() <= STASH_BYTES_MAX / 2
            && !client.input.reading
            && !client.input.ended
        {
            client.input.reading = true;
            self.pools.wants.push(Want::Read(key));
        }
        self.note_ready(key);
    }

    /// Dispatches the request that waited for room, if there may be some.
    fn unpark(&mut self, key: Key) {
        let Some(client) = self.clients.find_mut(key) else { return };
        if !client.account.parked || !client.account.may_parse(&self.pools.limits) {
            return;
        }
        let was_due = client.account.due();
        client.account.parked = false;
        let Client { input, account } = client;
        let mut nothing = Buffer::from_bytes(Bytes::new());
        let source = Source::new(&mut input.partial, &mut nothing, 0..0);
        dispatch::dispatch(&mut self.pools, account, key, input.parser.request(), source);
        input.parser.trust(account.authenticated);
        self.after_replies(key, was_due);
    }

    /// Parses and handles requests, as many as limits and the client's budget allow. Returns how
    /// many bytes of `buffer` were read; the rest is to be kept.
    #[inline]
    fn feed(&mut self, key: Key, buffer: &mut Buffer) -> usize {
        let Some(client) = self.clients.find_mut(key) else { return 0 };
        let was_due = client.account.due();
        let read = feed(&mut self.pools, client, key, buffer);
        // Who may not be parsed was given nothing, and has not asked for too much by sending.
        if read > 0 {
            self.after_replies(key, was_due);
        }
        read
    }

    /// Puts a client in the ready list if it has something to do there.
    pub(crate) fn note_ready(&mut self, key: Key) {
        let Some(client) = self.clients.find_mut(key) else { return };
        if !client.input.ready && client.has_work(&self.pools.limits) {
            client.input.ready = true;
            self.ready.push_back(key);
        }
    }
}

#[inline]
fn feed(pools: &mut Pools, client: &mut Client, key: Key, buffer: &mut Buffer) -> usize {
    let mut at = 0;
    let mut budget = *client.input.budget(pools.turn);
    while at < buffer.len() && budget > 0 && client.account.may_parse(&pools.limits) {
        let Client { input, account } = client;
        match input.parser.parse(&buffer[at..]) {
            Parsed::Partial => {
                input.partial.push_buffer(buffer, at..buffer.len());
                at = buffer.len();
            }
            Parsed::Nothing { end } => {
                input.partial.clear();
                at += end;
            }
            Parsed::Request { end } => {
                let source = Source::new(&mut input.partial, buffer, at..at + end);
                dispatch::dispatch(pools, account, key, input.parser.request(), source);
                input.parser.trust(account.authenticated);
                pools.counters.requests += 1;
                at += end;
                budget -= 1;
            }
            Parsed::Bad(bad) => {
                refuse_protocol(pools, client, bad);
                at = buffer.len();
            }
        }
    }
    *client.input.budget(pools.turn) = budget;
    at
}

/// Earlier replies first, then what was wrong, then the end.
fn refuse_protocol(pools: &mut Pools, client: &mut Client, bad: BadRequest) {
    pools.counters.protocol_errors += 1;
    pools.log_bad_request(client.account.pool, bad);
    client.input.partial.clear();
    let account = &mut client.account;
    account.phase = Phase::Draining(Farewell::LastWords);
    account.is_faulty = true;
    if let Some(words) = bad.words() {
        let protocol = pools.protocol(account.pool);
        pools.words.clear();
        reject::protocol_error(protocol, &words, &mut pools.words);
        account.pipeline.push_answered(&pools.words, &mut account.output);
    }
}
