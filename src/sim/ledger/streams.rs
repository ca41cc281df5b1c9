//! Replies that stream: when a client may be closed in the middle of one.

use crate::sim::ledger::{Ledger, Reply};
use crate::time::Instant;

impl Ledger {
    /// Whether a client may be closed that has `got` so much of the reply to a request, which it
    /// sent at `sent`: the reply is large enough to stream, it is one that would be right, and a
    /// server that it may be of has failed meanwhile.
    pub(in crate::sim) fn may_cut_off(&self, replies: &[Reply], got: &[u8], sent: Instant) -> bool {
        let failed = replies.iter().any(|reply| match reply {
            Reply::Failure(servers) => {
                servers.iter().any(|&server| self.health[server].has_failed_since(sent))
            }
            Reply::Exactly(_)
            | Reply::Error(_)
            | Reply::Answered(_)
            | Reply::Stored(_)
            | Reply::Found(_)
            | Reply::AllFound(_)
            | Reply::Count(_)
            | Reply::Successive(_)
            | Reply::Popped(_)
            | Reply::Speaks(_) => false,
        });
        failed && replies.iter().any(|reply| self.may_have_begun(reply, got, sent))
    }

    /// Whether a reply that streamed may have begun with `got`.
    fn may_have_begun(&self, reply: &Reply, got: &[u8], sent: Instant) -> bool {
        let least = self.stream_bytes_min;
        let is_it = |whole: &[u8]| whole.len() > least && whole.starts_with(got);
        match reply {
            Reply::Exactly(exact) => is_it(exact),
            Reply::Answered(mark) => self.executions.get(mark).is_some_and(|it| is_it(&it.reply)),
            Reply::Found(key) => self.findings.found(key, sent).any(is_it),
            // Of several keys of one server; with a length for each, and words between.
            Reply::AllFound(keys) => {
                let longest = |key: &Vec<u8>| {
                    let lens = self.findings.found(key, sent).map(|value| value.len() + key.len());
                    lens.max().unwrap_or(0) + HEAD_BYTES_MAX
                };
                keys.iter().map(longest).sum::<usize>() > least
            }
            Reply::Failure(servers) => servers.iter().any(|&server| {
                let health = &self.health[server];
                health.has_doubled(sent, is_it)
                    || (least < GARBAGE_BYTES_MAX && health.has_babbled_since(sent))
            }),
            Reply::Popped(_) | Reply::Successive(_) | Reply::Speaks(_) => got.len() > least,
            Reply::Stored(_) => is_it(b"+OK\r\n"),
            Reply::Count(keys) => {
                (0..=keys.len()).any(|count| is_it(format!(":{count}\r\n").as_bytes()))
            }
            Reply::Error(_) => false,
        }
    }
}

/// What is no reply is shorter than this, and so does not stream unless everything does.
const GARBAGE_BYTES_MAX: usize = 100;

/// What stands before a value in a reply besides its key, and behind it.
const HEAD_BYTES_MAX: usize = 64;
