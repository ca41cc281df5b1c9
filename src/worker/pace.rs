//! How a worker waits: the one place where batching is decided.

use std::time::Duration;

use crate::io::Wait;
use crate::limits::KEEP_BYTES_MIN;

/// Decides from recent turns whether a fuller one is worth waiting for.
///
/// Sending as soon as the first completion is there wakes a server for a handful of requests, and
/// costs it and us more than it need. But who waits delays somebody, and where nobody stands in a
/// queue that is all it does: with 50 clients that send 40,000 requests a second whenever they
/// like, waiting doubled the median latency and saved a twentieth of the CPU. So a worker gathers
/// only where its clients queue: there each gets its reply the sooner the more replies a second
/// there are, whatever becomes of a single turn.
///
/// ```text
///            a queue in two ticks in a row
///   Prompt --------------------------------> Gathering, but for the last of GATHERING_TICKS
///     ^                                          |
///     +------------------------------------------+
///       no queue in that tick, or another load
/// ```
///
/// Gathering makes a queue, so whether there is one is seen in ticks without it only.
///
/// **Knows nothing of:** the ring, and what is in the bytes that arrive.
pub(crate) struct Pace {
    /// The longest wait for a fuller turn; zero: never wait.
    window: Duration,
    mode: Mode,
    turn: Turn,
    tick: Tick,
    /// Receives of a turn, a moving average over about eight of them, times `SCALE`.
    average: u32,
    /// All requests up to the last tick.
    requests: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Turns return at the first completion.
    Prompt {
        /// Whether the last tick saw a queue.
        had_queue: bool,
    },
    /// Turns wait for `receives`.
    Gathering {
        receives: u32,
        /// The active clients that this was decided for.
        active: u32,
        /// Ticks that remain; in the last one, turns return at the first completion.
        ticks: u8,
    },
}

/// What the turn at hand has seen.
#[derive(Default)]
struct Turn {
    receives: u32,
    /// Sends asked for since the last wait. They complete at once and count toward `want`.
    sends: u32,
}

/// What the tick at hand has seen.
#[derive(Default)]
struct Tick {
    /// Its number. Of 32 bits, since a client may wait for a reply for as many ticks as it likes,
    /// and is not to be taken for one that was heard from in this one.
    number: u32,
    turns: u32,
    receives: u32,
    /// Bytes of the receives.
    bytes: usize,
    /// Clients heard from.
    active: u32,
    /// Those of them that wait for a reply, and have been sent nothing since they were heard from.
    owed: u32,
    /// `owed` at the end of each turn, added up.
    owed_in_turns: u64,
}

/// What `Pace` keeps of a client, on its socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Beat {
    /// The number of the tick in which it was last heard from.
    heard: u32,
    /// Whether it is one of the tick's `owed`.
    is_owed: bool,
}

impl Pace {
    /// Waits for a fuller turn for at most `window`.
    pub(crate) fn new(window: Duration) -> Self {
        Self {
            window,
            mode: Mode::Prompt { had_queue: false },
            turn: Turn::default(),
            // No client was heard from in it.
            tick: Tick { number: 1, ..Tick::default() },
            average: 0,
            requests: 0,
        }
    }

    /// `bytes` arrived on a socket.
    #[inline]
    pub(crate) fn on_receive(&mut self, bytes: usize) {
        self.turn.receives += 1;
        self.tick.bytes += bytes;
    }

    /// Bytes of a client were handled, and it waits for a reply or not.
    #[inline]
    pub(crate) fn on_client(&mut self, beat: &mut Beat, waits: bool) {
        if beat.heard != self.tick.number {
            *beat = Beat { heard: self.tick.number, is_owed: false };
            self.tick.active += 1;
        }
        if waits && !beat.is_owed {
            beat.is_owed = true;
            self.tick.owed += 1;
        }
    }

    /// A send was asked for. A server's beat is that of a client which was never heard from.
    #[inline]
    pub(crate) fn on_send(&mut self, beat: &mut Beat) {
        self.turn.sends += 1;
        if std::mem::take(&mut beat.is_owed) && beat.heard == self.tick.number {
            self.tick.owed -= 1;
        }
    }

    /// A client has gone.
    pub(crate) fn on_gone(&mut self, beat: Beat) {
        if beat.is_owed && beat.heard == self.tick.number {
            self.tick.owed -= 1;
        }
    }

    /// A tick has passed; `requests` have come since the start.
    pub(crate) fn on_tick(&mut self, requests: u64) {
        let number = self.tick.number.wrapping_add(1);
        let seen = std::mem::replace(&mut self.tick, Tick { number, ..Tick::default() });
        let before = std::mem::replace(&mut self.requests, requests);
        self.mode = self.mode.after(&seen, requests - before);
    }

    /// How to wait next. `is_idle`: nothing is left to do without a new completion.
    pub(crate) fn next(&mut self, is_idle: bool) -> Wait {
        let Turn { receives, sends } = std::mem::take(&mut self.turn);
        self.tick.turns += 1;
        self.tick.receives += receives;
        self.tick.owed_in_turns += u64::from(self.tick.owed);
        self.average = self.average - self.average / 8 + receives.min(RECEIVES_MAX) * SCALE / 8;
        if !is_idle {
            return Wait { want: 0, window: Duration::ZERO };
        }
        match self.mode {
            Mode::Gathering { receives, ticks: 2.., .. }
                if self.average >= RECEIVES_MIN * SCALE && !self.window.is_zero() =>
            {
                Wait { want: receives + sends, window: self.window }
            }
            Mode::Gathering { .. } | Mode::Prompt { .. } => AT_ONCE,
        }
    }
}

impl Mode {
    /// What follows a tick that has `seen` this, and so many `requests`.
    fn after(self, seen: &Tick, requests: u64) -> Self {
        let has_queue = seen.has_queue() && !seen.is_full(requests);
        match self {
            Self::Gathering { active, ticks: 2.., .. } if !seen.is_like(active, requests) => {
                Self::Prompt { had_queue: false }
            }
            Self::Gathering { receives, active, ticks: ticks @ 2.. } => {
                Self::Gathering { receives, active, ticks: ticks - 1 }
            }
            Self::Gathering { .. } | Self::Prompt { had_queue: true } if has_queue => {
                Self::Gathering {
                    receives: ((seen.active - ELSEWHERE) / 2).min(GATHERED_MAX),
                    active: seen.active,
                    ticks: GATHERING_TICKS,
                }
            }
            Self::Gathering { .. } | Self::Prompt { .. } => Self::Prompt { had_queue: has_queue },
        }
    }
}

impl Tick {
    /// Whether clients stand in a queue: of those that were heard from, many were owed a reply
    /// whenever a turn ended.
    fn has_queue(&self) -> bool {
        let owed = u64::from((self.active / QUEUE_SHARE).min(QUEUE_MAX));
        self.active >= ACTIVE_MIN && self.owed_in_turns >= owed * u64::from(self.turns)
    }

    /// Whether its turns, which did not gather, were full enough without it.
    fn is_full(&self, requests: u64) -> bool {
        requests >= REQUESTS_ENOUGH * u64::from(self.turns) || self.is_bulk()
    }

    /// Whether it was large values that came.
    fn is_bulk(&self) -> bool {
        self.bytes > KEEP_BYTES_MIN * self.receives as usize
    }

    /// Whether a tick that gathered for so many `active` clients saw about as many, and neither
    /// deep pipelines nor large values.
    fn is_like(&self, active: u32, requests: u64) -> bool {
        (active / 2..=active.saturating_mul(2)).contains(&self.active)
            && requests <= PIPELINE_MAX * u64::from(self.receives)
            && !self.is_bulk()
    }
}

/// Return at the first completion.
const AT_ONCE: Wait = Wait { want: 1, window: Duration::ZERO };
/// Fixed point of the average.
const SCALE: u32 = 64;
/// What a turn can add to the average.
const RECEIVES_MAX: u32 = 1024;
/// Fewer receives in a turn than this, and nothing else is coming.
const RECEIVES_MIN: u32 = 2;
/// Fewer active clients than this, and waiting loses (measured: a third of the requests per second
/// with 8 of them).
const ACTIVE_MIN: u32 = 24;
/// Clients that are to stay with their own programs and with the servers, so that these have work
/// while we gather; half of the others make a turn. Measured with all on two CPUs: 24 clients gain
/// a tenth by turns of 6 receives and lose as much by turns of 12; 50 clients want 16 to 24.
const ELSEWHERE: u32 = 12;
/// More receives than this make a turn longer, and no cheaper.
const GATHERED_MAX: u32 = 40;
/// A queue is every eighth client in it, or eight. Measured, without gathering: of 24, 50 and 200
/// clients that wait for their replies 6, 10 and 16 are in it; of 50 that send 40,000 requests a
/// second whenever they like 3, of 200 that send 60,000 5.
const QUEUE_SHARE: u32 = 8;
const QUEUE_MAX: u32 = 8;
/// Requests in a turn that need no company. With pipelines of 16 turns have 20 by themselves, and
/// gathering lost a tenth of the requests per second.
const REQUESTS_ENOUGH: u64 = 12;
/// Requests in a receive, servers' included: more, and clients pipeline.
const PIPELINE_MAX: u64 = 4;
/// How many ticks one decision holds. The last of them shows what the load is without gathering.
const GATHERING_TICKS: u8 = 16;

const _: () = assert!(ACTIVE_MIN > ELSEWHERE);

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_micros(150);

    /// A load that is the same in every turn.
    struct Load {
        clients: usize,
        /// Clients heard from in a turn.
        heard: usize,
        /// Clients that are owed a reply at the end of each turn; all others have theirs.
        owed: usize,
        /// Requests in a client's receive.
        pipeline: u64,
        bytes: usize,
    }

    const QUEUE: Load = Load { clients: 50, heard: 5, owed: 10, pipeline: 1, bytes: 35 };

    /// A worker's pace and its clients.
    struct World {
        pace: Pace,
        beats: Vec<Beat>,
        requests: u64,
        next: usize,
    }

    impl World {
        fn new(window: Duration) -> Self {
            Self { pace: Pace::new(window), beats: Vec::new(), requests: 0, next: 0 }
        }

        /// A tick of a hundred turns. Returns how its last turn waited.
        fn tick(&mut self, load: &Load) -> Wait {
            self.beats.resize(load.clients.max(self.beats.len()), Beat::default());
            let mut wait = AT_ONCE;
            for _ in 0..100 {
                for turned in 0..load.heard {
                    let client = (self.next + turned) % load.clients;
                    self.pace.on_receive(load.bytes);
                    self.pace.on_client(&mut self.beats[client], true);
                    self.requests += load.pipeline;
                    let answered = (client + load.clients - load.owed) % load.clients;
                    self.pace.on_send(&mut self.beats[answered]);
                }
                self.next += load.heard;
                wait = self.pace.next(true);
            }
            self.pace.on_tick(self.requests);
            wait
        }

        fn ticks(&mut self, load: &Load) -> Vec<Wait> {
            (0..64).map(|_| self.tick(load)).collect()
        }
    }

    fn gathers(load: &Load) -> bool {
        World::new(WINDOW).ticks(load).iter().any(|wait| wait.window == WINDOW)
    }

    #[test]
    fn clients_in_a_queue_are_gathered() {
        assert!(gathers(&QUEUE));
        assert!(gathers(&Load { clients: ACTIVE_MIN as usize, owed: 3, ..QUEUE }));
        assert!(gathers(&Load { clients: 400, owed: 9, ..QUEUE }));
    }

    #[test]
    fn few_clients_are_never_kept_waiting() {
        for clients in [1, 2, 8, ACTIVE_MIN as usize - 1] {
            let load = Load { clients, heard: clients.min(5), owed: clients / 2, ..QUEUE };
            assert!(!gathers(&load), "{clients} clients");
        }
    }

    #[test]
    fn clients_that_stand_in_no_queue_are_not_kept_waiting() {
        assert!(!gathers(&Load { owed: 5, ..QUEUE }));
        assert!(!gathers(&Load { clients: 400, owed: 7, ..QUEUE }));
    }

    #[test]
    fn full_turns_are_not_waited_for() {
        assert!(!gathers(&Load { pipeline: 16, ..QUEUE }));
        assert!(!gathers(&Load { heard: REQUESTS_ENOUGH as usize, ..QUEUE }));
    }

    #[test]
    fn large_values_are_not_waited_for() {
        assert!(!gathers(&Load { bytes: KEEP_BYTES_MIN + 1, ..QUEUE }));
    }

    #[test]
    fn a_window_of_zero_is_never_waited_for() {
        let mut world = World::new(Duration::ZERO);
        assert!(world.ticks(&QUEUE).iter().all(|wait| *wait == AT_ONCE));
    }

    #[test]
    fn a_turn_waits_for_half_of_those_that_are_not_elsewhere() {
        for (clients, receives) in [(24, 6), (50, 19), (92, 40), (2_000, 40)] {
            let owed = clients / 2;
            let load = Load { clients, heard: 11, owed, ..QUEUE };
            let waits = World::new(WINDOW).ticks(&load);
            let want = waits.iter().map(|wait| wait.want).max();
            assert_eq!(want, Some(receives + 11), "{clients} clients");
        }
    }

    #[test]
    fn each_sixteenth_tick_does_not_gather() {
        let mut world = World::new(WINDOW);
        let waits = world.ticks(&QUEUE);
        let prompt: Vec<usize> = (0..64).filter(|tick| waits[*tick] == AT_ONCE).collect();
        assert_eq!(prompt, [0, 1, 17, 33, 49]);
    }

    #[test]
    fn gathering_ends_in_the_tick_that_sees_no_queue() {
        let mut world = World::new(WINDOW);
        world.ticks(&QUEUE);
        let calm = Load { owed: 2, ..QUEUE };
        let waits = world.ticks(&calm);
        let last = waits.iter().rposition(|wait| wait.window == WINDOW);
        assert!(last < Some(usize::from(GATHERING_TICKS)), "{last:?}");
    }

    #[test]
    fn another_load_ends_gathering_within_a_tick() {
        let others = [
            Load { clients: 20, ..QUEUE },
            Load { clients: 400, heard: 11, ..QUEUE },
            Load { pipeline: 16, ..QUEUE },
            Load { bytes: 64 << 10, ..QUEUE },
        ];
        for other in others {
            let mut world = World::new(WINDOW);
            world.tick(&QUEUE);
            world.tick(&QUEUE);
            assert_eq!(world.tick(&QUEUE).window, WINDOW);
            world.tick(&other);
            assert_eq!(world.tick(&other), AT_ONCE);
        }
    }

    #[test]
    fn who_is_left_alone_is_served_at_once() {
        let mut world = World::new(WINDOW);
        world.ticks(&QUEUE);
        world.tick(&QUEUE);
        // A few turns of the same tick, and the average has fallen.
        let mut wait = world.pace.next(true);
        for _ in 0..16 {
            world.pace.on_receive(35);
            world.pace.on_client(&mut world.beats[0], true);
            wait = world.pace.next(true);
        }
        assert_eq!(wait, AT_ONCE);
    }

    #[test]
    fn who_has_gone_is_owed_nothing() {
        let mut pace = Pace::new(WINDOW);
        let mut beat = Beat::default();
        pace.on_client(&mut beat, true);
        pace.on_gone(beat);
        assert_eq!(pace.tick.owed, 0);
        // Nor is who was heard from in an earlier tick, and is answered in this one.
        pace.on_client(&mut beat, true);
        pace.on_tick(0);
        pace.on_send(&mut beat);
        assert_eq!(pace.tick.owed, 0);
    }

    #[test]
    fn who_waits_for_long_is_not_counted_when_the_reply_comes() {
        let mut pace = Pace::new(WINDOW);
        for ticks in [1, 255, 256, 257, 65_536] {
            let mut beat = Beat::default();
            pace.on_client(&mut beat, true);
            (0..ticks).for_each(|_| pace.on_tick(0));
            pace.on_send(&mut beat);
            assert_eq!(pace.tick.owed, 0, "after {ticks} ticks");
        }
    }

    #[test]
    fn work_that_is_left_is_not_slept_on() {
        let nothing = Wait { want: 0, window: Duration::ZERO };
        assert_eq!(Pace::new(WINDOW).next(false), nothing);
    }
}
