//! How a worker waits: the one place where batching is decided.

use std::time::Duration;

use crate::io::Wait;

/// Decides from recent turns whether a fuller one is worth waiting for.
///
/// Sending as soon as the first completion is there wakes a server for a handful of requests, and
/// costs it more than it saves us. But who waits delays somebody: with few clients nothing else is
/// coming, and the wait is all loss. So a worker waits only while many clients were active within
/// the last tick, its turns have not been empty, and it is not large values that it relays; else
/// it returns at the first completion.
#[derive(Default)]
pub(crate) struct Pace {
    /// Receives of a turn, a moving average over about eight of them, times `SCALE`.
    average: u32,
    /// Receives of the turn at hand, and their bytes.
    receives: u32,
    bytes: usize,
    /// Bytes of a receive, a moving average like `average`.
    average_bytes: usize,
    /// Sends asked for since the last wait. They complete at once and count toward `want`.
    sends: u32,
    /// The number of the tick at hand; wraps.
    tick: u8,
    /// Clients heard from since the last tick, and between the last two.
    active: u32,
    active_before: u32,
}

impl Pace {
    /// `bytes` arrived on a socket.
    #[inline]
    pub(crate) fn on_receive(&mut self, bytes: usize) {
        self.receives += 1;
        self.bytes += bytes;
    }

    /// Bytes arrived on a client's socket, which was last heard from in tick `seen`.
    #[inline]
    pub(crate) fn on_client(&mut self, seen: &mut u8) {
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
        let bytes = std::mem::take(&mut self.bytes);
        if receives > 0 {
            self.average_bytes =
                self.average_bytes - self.average_bytes / 8 + bytes / receives as usize / 8;
        }
        self.average = self.average - self.average / 8 + receives.min(RECEIVES_MAX) * SCALE / 8;
        if !is_idle {
            return Wait { want: 0, window: Duration::ZERO };
        }
        let is_bulk = self.average_bytes > RECEIVE_BYTES_MAX;
        if self.active_before < ACTIVE_MIN || self.average < RECEIVES_MIN * SCALE || is_bulk {
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
/// Fewer active clients than this, and waiting loses (measured: with 8 of them a third of the
/// requests per second; with 28 it gains a seventh).
const ACTIVE_MIN: u32 = 24;
/// Larger receives than this, and copying is what takes the time: a server that waits for a fuller
/// turn stands idle (measured: GET of 64 KiB lost a tenth of its requests per second).
const RECEIVE_BYTES_MAX: usize = 8 << 10;
/// The longest wait for a fuller turn.
const WINDOW: Duration = Duration::from_micros(50);

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Wait = Wait { want: 1, window: Duration::ZERO };

    /// The wait after a hundred turns of as many receives, each from a client of its own.
    fn after(clients: u32, bytes: usize) -> Wait {
        let mut pace = Pace::default();
        let mut seen = vec![u8::MAX; clients as usize];
        let mut wait = AT_ONCE;
        for _ in 0..100 {
            pace.on_tick();
            for seen in &mut seen {
                pace.on_receive(bytes);
                pace.on_client(seen);
                pace.on_client(seen);
                pace.on_send();
            }
            wait = pace.next(true);
        }
        wait
    }

    #[test]
    fn few_clients_are_never_kept_waiting() {
        for clients in [0, 1, 8, ACTIVE_MIN - 1] {
            assert_eq!(after(clients, 35), AT_ONCE, "{clients} clients");
        }
    }

    #[test]
    fn many_clients_are_waited_for_a_bounded_time() {
        for clients in [ACTIVE_MIN, 50, 1000] {
            let Wait { want, window } = after(clients, 35);
            assert_eq!(window, WINDOW);
            // Twice the receives of a turn, which the average rounds down, and the sends.
            assert!((clients * 5 / 2..=clients * 3).contains(&want), "{want} for {clients}");
        }
    }

    #[test]
    fn large_values_are_not_waited_for() {
        assert_eq!(after(50, RECEIVE_BYTES_MAX * 2), AT_ONCE);
    }

    #[test]
    fn clients_that_fell_silent_are_not_waited_for() {
        let mut pace = Pace::default();
        let mut seen = [u8::MAX; 50];
        pace.on_tick();
        seen.iter_mut().for_each(|seen| pace.on_client(seen));
        pace.on_tick();
        (0..50).for_each(|_| pace.on_receive(35));
        assert_eq!(pace.next(true).window, WINDOW);
        pace.on_tick();
        (0..50).for_each(|_| pace.on_receive(35));
        assert_eq!(pace.next(true), AT_ONCE);
    }

    #[test]
    fn work_that_is_left_is_not_slept_on() {
        assert_eq!(Pace::default().next(false), Wait { want: 0, window: Duration::ZERO });
    }
}
