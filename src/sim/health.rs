//! The troubles of one server: what a request that failed may blame on it.
//!
//! ```text
//!   a server's deed -> its link is at fault -> the ring tells the worker -> a trouble, then
//!   a stall, a late connect -> slow times -> the worker gives it up -> a trouble, if for long
//! ```
//!
//! A request that waits on a connection was sent before the connection failed, and is answered
//! after it. So a trouble is a moment, and excuses those requests alone whose life contains it.

use std::time::Duration;

use crate::limits::TICK_MS;
use crate::time::Instant;

/// What became of a connection to a server, or of the attempt to make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody listens.
    Refused,
    /// The server took too long to accept or to answer.
    TimedOut,
    /// The server reset it.
    Reset,
    /// The server is gone, and cannot be written to.
    BrokenPipe,
    /// No route leads to its host.
    NoRoute,
    /// No route leads to its network.
    NoNetwork,
    /// There is no port to connect from.
    NoPort,
    /// There is no descriptor for it.
    NoDescriptor,
    /// The server sent what cannot be the reply.
    BadReply,
    /// The server ended it.
    Closed,
}

/// A server's troubles.
#[derive(Default)]
pub(super) struct Health {
    troubles: Vec<(Instant, Trouble)>,
    /// When it was slow, and until when; the last time may go on.
    slow: Vec<(Instant, Option<Instant>)>,
    doubled: Vec<Doubled>,
}

/// A reply that was sent twice, and read when a request was on its way to the server: its client
/// is given it.
struct Doubled {
    at: Instant,
    bytes: Vec<u8>,
    is_given: bool,
}

impl Trouble {
    /// Whether a client is told of it by `bytes`, in the words of either protocol.
    pub(super) fn is_told_by(self, bytes: &[u8]) -> bool {
        let said = failure_of(bytes).and_then(|said| said.strip_suffix(b"\r\n"));
        said.is_some_and(|said| is_said_with(self.words(), said))
    }

    /// What twemproxy says for it.
    fn words(self) -> &'static [u8] {
        match self {
            Trouble::Refused => b"Connection refused",
            Trouble::TimedOut => b"Connection timed out",
            Trouble::Reset => b"Connection reset by peer",
            Trouble::BrokenPipe => b"Broken pipe",
            Trouble::NoRoute => b"No route to host",
            Trouble::NoNetwork => b"Network is unreachable",
            Trouble::NoPort => b"Cannot assign requested address",
            Trouble::NoDescriptor => b"Too many open files",
            Trouble::BadReply => b"Invalid argument",
            Trouble::Closed => b"unknown",
        }
    }
}

/// Whether `bytes` tell a client of the failure that a server's `reply` tells of.
pub(super) fn is_told_on(reply: &[u8], bytes: &[u8]) -> bool {
    match (failure_of(reply), failure_of(bytes)) {
        (Some(words), Some(said)) => is_said_with(words, said),
        (_, _) => false,
    }
}

/// What stands behind the first word of an error, in either protocol.
fn failure_of(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(b"-ERR ").or(bytes.strip_prefix(b"SERVER_ERROR "))
}

/// Whether `said` are these words. Where all servers were asked, the one that failed is named.
fn is_said_with(words: &[u8], said: &[u8]) -> bool {
    let named = said.strip_suffix(words).and_then(|name| name.strip_suffix(b": "));
    said == words || named.is_some_and(|name| name.starts_with(b"server"))
}

impl Health {
    /// Requests may fail for this now.
    pub(super) fn trouble(&mut self, now: Instant, what: Trouble) {
        self.troubles.push((now, what));
    }

    /// The worker reads, for the second time, the reply `bytes`.
    pub(super) fn doubled(&mut self, now: Instant, bytes: Vec<u8>) {
        self.doubled.push(Doubled { at: now, bytes, is_given: false });
    }

    /// It answers nobody from now on, or goes on.
    pub(super) fn set_slow(&mut self, is_slow: bool, now: Instant) {
        match (self.slow.iter_mut().rfind(|(_, until)| until.is_none()), is_slow) {
            (None, true) => self.slow.push((now, None)),
            (Some((_, until)), false) => *until = Some(now),
            (None, false) | (Some(_), true) => {}
        }
    }

    /// A connect to it has taken since `from`, which is too long.
    pub(super) fn connected_late(&mut self, from: Instant, now: Instant) {
        self.slow.push((from, Some(now)));
        self.trouble(now, Trouble::TimedOut);
    }

    /// The worker has given up a connection to it. That was right for being slow if it was so for
    /// most of `timeout`: the rest is work, and what pauses and other waits add to it.
    pub(super) fn given_up(&mut self, timeout: Duration, now: Instant) {
        let window = timeout + Duration::from_millis(TICK_MS);
        let slow = self.slow.iter().map(|&(from, until)| {
            let until = until.unwrap_or(now);
            (until - from).min(window.saturating_sub(now - until))
        });
        if slow.sum::<Duration>() >= timeout * SLOW_PERCENT / 100 {
            self.trouble(now, Trouble::TimedOut);
        }
    }

    /// Whether `bytes` are how a request may fail that was sent at `sent` and is answered now.
    pub(super) fn excuses(&self, bytes: &[u8], sent: Instant) -> bool {
        let since = self.troubles.partition_point(|&(at, _)| at < sent);
        self.troubles[since..].iter().any(|(_, trouble)| trouble.is_told_by(bytes))
    }

    /// Whether a connection to it has failed since `sent`.
    pub(super) fn has_failed_since(&self, sent: Instant) -> bool {
        self.troubles.last().is_some_and(|&(at, _)| at >= sent)
    }

    /// Whether it has sent something since `sent` that is no reply, and may have looked like one.
    pub(super) fn has_babbled_since(&self, sent: Instant) -> bool {
        let since = self.troubles.partition_point(|&(at, _)| at < sent);
        self.troubles[since..].iter().any(|&(_, trouble)| trouble == Trouble::BadReply)
    }

    /// Whether a reply for which `is_it` is true was sent twice, to who has waited since `sent`.
    pub(super) fn has_doubled(&self, sent: Instant, is_it: impl Fn(&[u8]) -> bool) -> bool {
        self.doubled.iter().any(|one| one.at >= sent && is_it(&one.bytes))
    }

    /// Whether it may be left out when a request is sent at `sent`, or later: for `time` after each
    /// trouble.
    pub(super) fn is_left_out(&self, time: Duration, sent: Instant) -> bool {
        self.troubles.last().is_some_and(|&(at, _)| at + time >= sent)
    }

    /// Whether a request that was sent at `sent` may be answered by a reply that was sent twice:
    /// one for which `fits` is true. It is used up by that.
    pub(super) fn take_doubled(&mut self, sent: Instant, fits: impl Fn(&[u8]) -> bool) -> bool {
        let mut free = self.doubled.iter_mut().filter(|one| !one.is_given && one.at >= sent);
        let Some(doubled) = free.find(|one| fits(&one.bytes)) else { return false };
        doubled.is_given = true;
        true
    }
}

/// How much of its timeout a server has to have been slow for, to be given up for it.
const SLOW_PERCENT: u32 = 75;
