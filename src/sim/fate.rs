//! What becomes of a simulated server: its script, and what can happen to it.

use std::time::Duration;

use crate::proto::Protocol;
use crate::sim::redis;

/// What becomes of a server.
#[derive(Clone, Debug, Default)]
pub struct ServerScript {
    /// What it speaks.
    pub protocol: Protocol,
    /// Bytes of the largest value that it takes, if it speaks memcached's protocol.
    pub value_bytes_max: usize,
    /// The longest time that it takes for one thing that it does on a connection.
    pub latency: Duration,
    /// Changes at a time from the beginning of the run.
    pub changes: Vec<(Duration, Change)>,
    /// Mischief at the request of this number, counted from 1 over all connections, unless
    /// everything is calm by then.
    pub mischief: Vec<(u64, Mischief)>,
    /// What it wants to hear on each connection before anything else.
    pub wanted: redis::Wanted,
}

/// Something that happens to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its connections end, by a reset or a close, and it refuses new ones.
    Dies {
        /// Whether they are reset.
        resets: bool,
    },
    /// It accepts connections, as after `Dies` or `Vanishes`. Its data is as before.
    Returns,
    /// It does nothing, but its kernel still accepts connections and bytes (SIGSTOP).
    Stalls,
    /// It goes on after `Stalls` (SIGCONT).
    Resumes,
    /// New connections are neither accepted nor refused.
    Vanishes,
    /// Its data is gone.
    Empties,
}

/// Something that a server does when it reaches a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mischief {
    /// It dies after so many bytes of the reply, and returns later.
    DiesInReply {
        /// Bytes of the reply that are still sent.
        bytes: usize,
        /// How long it is away.
        away: Duration,
    },
    /// It stalls before it answers, and resumes later.
    Stalls {
        /// How long it stalls.
        time: Duration,
    },
    /// It sends something that is no RESP instead of the reply.
    AnswersGarbage,
    /// It sends the reply twice, and goes on: what comes after is one reply late.
    AnswersTwice,
    /// It sends the reply again after some time, and closes the connection: whoever waits there by
    /// then may be given it.
    AnswersAgain {
        /// How much later it does.
        after: Duration,
    },
    /// It shuts down its writing side instead of the reply.
    HalfCloses,
}
