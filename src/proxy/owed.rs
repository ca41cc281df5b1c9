//! What clients are owed: the limits of replies that they do not take, and the clock of who takes
//! nothing. A client that is to leave does so once it is owed nothing.

use log::debug;

use crate::proxy::client::{Client, Farewell, Phase};
use crate::proxy::pools::Pools;
use crate::proxy::{Proxy, Want, blocking, figures};
use crate::time::Instant;
use crate::token::Key;

impl Proxy {
    /// What is due once a client's output has grown, or might have: its limits are looked at, and
    /// it is flushed, or departs. `was_due` is what was due to be sent before.
    #[inline]
    pub(crate) fn after_replies(&mut self, key: Key, was_due: usize) {
        let Some(client) = self.clients.find_mut(key) else { return };
        let account = &mut client.account;
        let limits = &self.pools.limits;
        let owed = account.owed();
        if owed >= limits.output_soft_bytes && account.phase != Phase::Leaving {
            // A single reply is never too much, however large the value: not the one that was just
            // given to a client which kept up, and not the one that a lone gather is collecting.
            let kept_up = was_due < limits.output_soft_bytes;
            let held = account.pipeline.held_bytes();
            let few_held = held <= limits.output_hard_bytes || account.pipeline.len() <= 1;
            // Of one that streams nobody knows how large it will be.
            let streamed = account.pipeline.streamed_bytes().min(account.due());
            let is_bounded = streamed as u64 <= limits.reply_bytes_max;
            if owed > limits.output_hard_bytes && !(kept_up && few_held && is_bounded) {
                self.pools.counters.clients_over_output += 1;
                debug!("client {} has {owed} bytes of replies unread, closed", key.index);
                return self.drop_client(key);
            }
            if account.stalled_since.is_none() {
                account.stalled_since = Some(self.pools.now);
                if !account.stall_listed {
                    account.stall_listed = true;
                    self.stalled.push(key);
                }
            }
        }
        if !account.output.is_empty() && !account.dirty {
            account.dirty = true;
            self.pools.wants.push(Want::Flush(key));
        }
        depart_if_settled(&mut self.pools, client, key);
    }

    pub(crate) fn on_client_took(&mut self, key: Key, bytes: usize) {
        let Some(client) = self.clients.find_mut(key) else { return };
        let account = &mut client.account;
        assert!(bytes <= account.in_send, "the kernel takes no more than it was given");
        account.in_send -= bytes;
        if account.stalled_since.is_some() {
            let is_over = account.owed() >= self.pools.limits.output_soft_bytes;
            account.stalled_since = is_over.then_some(self.pools.now);
        }
        depart_if_settled(&mut self.pools, client, key);
        if client.has_more() || client.input.ended {
            self.note_ready(key);
        }
    }

    /// Closes the clients that have taken nothing for too long.
    pub(crate) fn tick_stalled(&mut self, now: Instant) {
        let stall = self.pools.limits.output_stall;
        for key in std::mem::take(&mut self.stalled) {
            let Some(client) = self.clients.find_mut(key) else { continue };
            let account = &mut client.account;
            match account.stalled_since {
                // What is held behind an earlier request is not the client's to take.
                Some(_) if account.due() == 0 => {
                    account.stalled_since = Some(now);
                    self.stalled.push(key);
                }
                Some(since) if now - since >= stall => {
                    self.pools.counters.clients_stalled += 1;
                    debug!("client {} takes no replies, closed", key.index);
                    self.drop_client(key);
                }
                Some(_) => self.stalled.push(key),
                None => account.stall_listed = false,
            }
        }
    }

    pub(crate) fn on_client_end(&mut self, key: Key) {
        let Some(client) = self.clients.find_mut(key) else { return };
        if client.account.waits_for().is_some() {
            blocking::on_gone(&mut self.pools, client);
        }
        match client.account.phase {
            Phase::Open if client.has_more() => {
                client.input.ended = true;
                self.note_ready(key);
            }
            Phase::Open | Phase::Draining(_) => {
                // Who is let go may still be sending.
                let farewell =
                    if self.pools.is_draining { Farewell::LastWords } else { Farewell::Close };
                client.account.phase = Phase::Draining(farewell);
                depart_if_settled(&mut self.pools, client, key);
            }
            Phase::Leaving => {}
        }
    }

    pub(crate) fn drop_client(&mut self, key: Key) {
        let Some(client) = self.clients.find_mut(key) else { return };
        if client.account.phase != Phase::Leaving {
            part_with(&mut self.pools, client);
            self.pools.wants.push(Want::Close(key));
        }
    }
}

/// Takes what a client holds away from it: it is leaving.
fn part_with(pools: &mut Pools, client: &mut Client) {
    figures::count_client_end(&mut pools.figures, client);
    pools.forsake(&mut client.account);
    pools.unsubscribe_all(&mut client.account);
    client.leave();
}

fn depart_if_settled(pools: &mut Pools, client: &mut Client, key: Key) {
    let Phase::Draining(farewell) = client.account.phase else { return };
    if client.account.is_settled() {
        part_with(pools, client);
        pools.wants.push(match farewell {
            Farewell::Close => Want::Close(key),
            Farewell::LastWords => Want::Farewell(key),
        });
    }
}
