//! A client's connection: its parser, its pipeline, and what it has not taken yet.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::io::{Buffer, Chain};
use crate::limits::{KEEP_BYTES_MIN, Limits};
use crate::proto::resp::RequestParser;
use crate::proxy::pipeline::Pipeline;
use crate::time::Instant;
use crate::token::Key;

/// One client.
///
/// ```text
///            end of stream             all answered and taken
///   Open ----------------> Draining(Close) -----------------> Leaving
///    |  QUIT, bad protocol
///    +-------------------> Draining(LastWords) -------------> Leaving
///    |  error, hard limit
///    +------------------------------------------------------> Leaving
/// ```
///
/// A client that is leaving is as good as gone: its replies are swallowed. Its place is freed
/// when the worker says that nothing is armed on its socket any more.
pub(crate) struct Client {
    pub(crate) pool: u32,
    /// Which of a server's connections it uses, always the same: so it reads its own writes.
    pub(crate) lane: u32,
    pub(crate) phase: Phase,
    pub(crate) parser: RequestParser,
    /// The bytes of a request whose end has not come.
    pub(crate) partial: Chain,
    pub(crate) pipeline: Pipeline,
    /// Replies that no send has taken.
    pub(crate) output: Chain,
    /// Bytes of replies that the kernel has not taken: `output`, and what is in a send.
    pub(crate) unsent: usize,
    /// Whether a flush has been asked for.
    pub(crate) dirty: bool,
    /// Received bytes that may not be parsed yet.
    pub(crate) stash: VecDeque<Bytes>,
    pub(crate) stashed: usize,
    /// Whether the worker has been asked to receive for it.
    pub(crate) reading: bool,
    /// True exactly when it stands in the ready list.
    pub(crate) ready: bool,
    /// No more bytes will come; what was stashed is still to be parsed.
    pub(crate) ended: bool,
    /// The server connection whose queue is full.
    pub(crate) blocked_on: Option<Key>,
    /// Since when it has taken nothing, while beyond the soft limit.
    pub(crate) stalled_since: Option<Instant>,
}

/// Where a client is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its requests are served.
    Open,
    /// It gets what it is owed, and then leaves.
    Draining(Farewell),
    /// The worker has been told to end it.
    Leaving,
}

/// How a connection is ended once everything is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// The client has ended its side: close.
    Close,
    /// The client may still be sending: a close would reset the connection and destroy what was
    /// said last. Shut down our side and let it finish.
    LastWords,
}

impl Client {
    pub(crate) fn new(pool: u32, lane: u32) -> Self {
        Self {
            pool,
            lane,
            phase: Phase::Open,
            parser: RequestParser::new(),
            partial: Chain::new(),
            pipeline: Pipeline::default(),
            output: Chain::new(),
            unsent: 0,
            dirty: false,
            stash: VecDeque::new(),
            stashed: 0,
            reading: true,
            ready: false,
            ended: false,
            blocked_on: None,
            stalled_since: None,
        }
    }

    /// Whether its next request may be parsed now.
    pub(crate) fn may_parse(&self, limits: &Limits) -> bool {
        self.phase == Phase::Open
            && self.blocked_on.is_none()
            && self.pipeline.len() < limits.in_flight_requests_max
            && self.pipeline.in_flight_bytes() < limits.in_flight_bytes_max
            && self.owed() < limits.output_soft_bytes
    }

    /// Bytes of replies that are held for it, in order or not.
    pub(crate) fn owed(&self) -> usize {
        self.unsent + self.pipeline.held_bytes()
    }

    /// Whether it has got all that it will get.
    pub(crate) fn is_settled(&self) -> bool {
        self.pipeline.is_empty() && self.unsent == 0
    }

    /// Keeps received bytes for later. The buffer can go back to the ring at once.
    pub(crate) fn put_aside(&mut self, buffer: &mut Buffer, start: usize) {
        let rest = start..buffer.len();
        if rest.is_empty() {
            return;
        }
        self.stashed += rest.len();
        let piece = if rest.len() >= KEEP_BYTES_MIN {
            buffer.keep(rest)
        } else {
            Bytes::copy_from_slice(&buffer[rest])
        };
        self.stash.push_back(piece);
    }

    /// The oldest bytes that were put aside.
    pub(crate) fn take_aside(&mut self) -> Option<Buffer> {
        let piece = self.stash.pop_front()?;
        self.stashed -= piece.len();
        Some(Buffer::from_bytes(piece))
    }

    /// Puts what is left of a piece back to the front.
    pub(crate) fn put_back(&mut self, buffer: &mut Buffer, start: usize) {
        let rest = start..buffer.len();
        if !rest.is_empty() {
            self.stashed += rest.len();
            self.stash.push_front(buffer.keep(rest));
        }
    }

    /// Gives up everything it holds.
    pub(crate) fn release(&mut self) {
        self.pipeline.clear();
        self.partial = Chain::new();
        self.output = Chain::new();
        self.stash = VecDeque::new();
        self.stashed = 0;
    }
}
