//! A worker's turns as the ring sees them: what they cost, and whether they get anywhere.

use std::time::Duration;

use crate::io::Wait;
use crate::time::Instant;

/// What the worker did since its last wait, and since when nothing has happened.
pub(super) struct Turns {
    /// Operations asked for, and bytes given to or taken from the worker, since the last wait.
    asked: u32,
    bytes: usize,
    /// What else the worker did took this long.
    spent: Duration,
    /// Operations asked for since a byte, a connection or a peer last moved.
    asked_in_vain: u32,
    /// Whether the last wait, or the turn after it, brought anything on.
    progress: bool,
    /// Turns without progress that did not want to sleep, in a row.
    restless: u32,
    /// When something last happened, ticks aside.
    last: Instant,
}

impl Turns {
    pub(super) fn new() -> Self {
        let last = Instant::from_nanos(0);
        Self {
            asked: 0,
            bytes: 0,
            spent: Duration::ZERO,
            asked_in_vain: 0,
            progress: true,
            restless: 0,
            last,
        }
    }

    /// An operation was asked for.
    ///
    /// Panics when many were, and nothing has moved meanwhile.
    pub(super) fn on_asked(&mut self) {
        self.asked += 1;
        self.asked_in_vain += 1;
        assert!(self.asked_in_vain < IN_VAIN_MAX, "{IN_VAIN_MAX} operations, and nothing moves");
        self.progress = true;
    }

    /// The worker was busy for `time` with what a ring does not see.
    pub(super) fn on_spent(&mut self, time: Duration) {
        self.spent += time;
    }

    /// A byte, a connection or a peer has moved.
    pub(super) fn on_moved(&mut self) {
        self.asked_in_vain = 0;
    }

    /// A buffer came back.
    pub(super) fn on_given_back(&mut self) {
        self.progress = true;
    }

    /// An event was delivered. A tick too is something to act on, but not for ever.
    pub(super) fn on_event(&mut self) {
        self.progress = true;
    }

    /// `count` bytes went from a socket to the worker or from the worker to a socket.
    pub(super) fn on_bytes(&mut self, count: usize) {
        self.bytes += count;
        if count > 0 {
            self.on_moved();
        }
    }

    /// An operation went on, or a peer acted.
    pub(super) fn on_happening(&mut self, now: Instant) {
        self.last = now;
    }

    /// The turn is over and the worker waits. Returns what the turn took.
    ///
    /// Panics when the worker turns without progress.
    pub(super) fn end(&mut self, how: Wait, now: Instant) -> Duration {
        self.restless = match how.want {
            0 if !self.progress => self.restless + 1,
            _ => 0,
        };
        assert!(self.restless < RESTLESS_TURNS_MAX, "{RESTLESS_TURNS_MAX} turns without progress");
        if self.asked > 0 {
            self.last = now;
        }
        self.progress = false;
        let took = OPERATION_TIME * self.asked
            + Duration::from_nanos((self.bytes / BYTES_PER_NANOSECOND) as u64)
            + self.spent;
        (self.asked, self.bytes, self.spent) = (0, 0, Duration::ZERO);
        took
    }

    /// Only ticks are left to happen.
    ///
    /// Panics when that has been so for longer than any clock of a worker runs.
    pub(super) fn sleep_until(&self, next_tick: Instant) {
        let time = next_tick - self.last;
        assert!(time < SLEEP_MAX, "nothing but ticks in {SLEEP_MAX:?}, and clients are waiting");
    }
}

/// What asking for one operation costs: about half of what a receive and a send on loopback cost
/// together (5.8 us, Linux 6.18), as completions are not counted.
const OPERATION_TIME: Duration = Duration::from_nanos(3000);

/// How fast bytes are moved: relaying 64 KiB, in and out, takes about 20 us more than a few bytes.
const BYTES_PER_NANOSECOND: usize = 6;

/// Turns without progress that a worker may have in a row. It does not sleep while a client has
/// bytes to be parsed; `limits::STASH_BYTES_MAX` of them are at most 32,768 requests of two bytes,
/// which `limits::REQUESTS_PER_TURN` makes 64 turns. The rest is for what arrived after a pause.
const RESTLESS_TURNS_MAX: u32 = 500;

/// Operations that a worker may ask for while nothing moves. For each socket there are a few that
/// may have to be asked for again, and a tick asks for no more than that.
const IN_VAIN_MAX: u32 = 1000;

/// How long nothing but ticks may happen while a client waits. The longest clock of a worker, the
/// one of a client that takes no replies, runs 20 s.
const SLEEP_MAX: Duration = Duration::from_secs(30);
