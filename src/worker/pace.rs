//! How a worker waits: the one place where batching is decided.

use std::time::Duration;

use crate::io::Wait;

/// Decides from recent turns whether a fuller one is worth waiting for.
///
/// Sending as soon as the first completion is there wakes a server for a handful of requests, and
/// costs it more than it saves us. But who waits delays somebody: with few clients nothing else is
/// coming, and the wait is all loss. So a worker waits only while many clients were active within
/// the last tick and its turns have not been empty; else it returns at the first completion.
#[derive(Default)]
pub(crate) struct Pace {
    /// Receives of a turn, a moving average over about eight of them, times `SCALE`.
    average: u32,
    /// Receives of the turn at hand.
    receives: u32,
    /// Sends asked for since the last wait. They complete at once and count toward `want`.
    sends: u32,
    /// The number of the tick at hand; wraps.
    tick: u8,
    /// Clients heard from since the last tick, and between the last two.
    active: u32,
    active_before: u32,
}

impl Pace {
    /// Bytes arrived on a socket, which was last heard from in tick `seen`.
    #[inline]
    pub(crate) fn on_receive(&mut self, seen: &mut u8) {
        self.receives += 1;
        if *seen != self.tick {
            *seen = self.tick;
            self.active += 1;
        }
    }

    /// A send was asked for.
    #[inline]
    pub(crate) fn on_send(&mut self) {
        self.sends += 1;
    }

    /// A tick has passed.
    pub(crate) fn on_tick(&mut self) {
        self.tick = self.tick.wrapping_add(1);
        self.active_before = std::mem::take(&mut self.active);
    }

    /// How to wait next. `is_idle`: nothing is left to do without a new completion.
    pub(crate) fn next(&mut self, is_idle: bool) -> Wait {
        let receives = std::mem::take(&mut self.receives);
        let sends = std::mem::take(&mut self.sends);
        self.average = self.average - self.average / 8 + receives.min(RECEIVES_MAX) * SCALE / 8;
        if !is_idle {
            return Wait { want: 0, window: Duration::ZERO };
        }
        if self.active_before < ACTIVE_MIN || self.average < RECEIVES_MIN * SCALE {
            return Wait { want: 1, window: Duration::ZERO };
        }
        Wait { want: 2 * self.average / SCALE + sends, window: WINDOW }
    }
}

/// Fixed point of the average.
const SCALE: u32 = 64;
/// What a turn can add to the average.
const RECEIVES_MAX: u32 = 1024;
/// Fewer receives in a turn than this, and nothing else is coming.
const RECEIVES_MIN: u32 = 2;
/// Fewer active connections than this, and waiting loses (measured: with 8 clients a third of the
/// requests per second; with 32 and more it gains).
const ACTIVE_MIN: u32 = 24;
/// The longest wait for a fuller turn.
const WINDOW: Duration = Duration::from_micros(50);
