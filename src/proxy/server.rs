//! A connection to a server: what is queued on it, and who waits for which reply.

use std::collections::VecDeque;
use std::time::Duration;

use crate::io::Chain;
use crate::limits::{Limits, SEND_BYTES_MAX};
use crate::proto::{Protocol, ReplyParser};
use crate::time::Instant;
use crate::token::{Key, Role};

/// One connection to a server, shared by clients.
///
/// ```text
///               connected
///   Connecting -----------> Up
///        |  refused, late    |  end of stream, error, deadline, a byte out of place
///        +-----------------> Leaving <---+
/// ```
///
/// Any doubt ends it, and fails whatever waits on it; the next request opens another.
///
/// ```text
///   stream of requests:   |  sent  |  in a send (<= SEND_BYTES_MAX)  |  taken  |  output  |
///                         0       sent                                       taken     queued
/// ```
pub(crate) struct Server {
    pub(crate) pool: u32,
    /// Which server of the pool.
    pub(crate) number: u32,
    /// Which of the connections to that server.
    pub(crate) lane: u32,
    pub(crate) phase: Phase,
    /// Requests that no send has taken.
    pub(crate) output: Chain,
    /// Whether a flush has been asked for.
    pub(crate) dirty: bool,
    /// Who waits, in the order of the requests.
    pub(crate) waiters: VecDeque<Waiter>,
    pub(crate) parser: ReplyParser,
    /// The bytes of a reply whose end has not come.
    pub(crate) partial: Chain,
    /// The deadline's length; `None` waits for ever.
    pub(crate) timeout: Option<Duration>,
    /// Bytes of requests, ever: given to this connection, taken by sends, sent.
    pub(crate) queued: u64,
    pub(crate) taken: u64,
    pub(crate) sent: u64,
    /// Clients with a request that waits until the queue is shorter.
    pub(crate) blocked: Vec<Key>,
}

/// Where a server connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The connect is under way; requests are queued.
    Connecting,
    /// Requests go out and replies come in.
    Up,
    /// It has failed, and the worker has been told to end it.
    Leaving,
}

/// Who gets the next reply.
///
/// A client that has gone is a stale generation here: it swallows exactly one reply and keeps its
/// place and its deadline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) client_index: u32,
    pub(crate) client_generation: u32,
    /// The request's number in the client's pipeline.
    pub(crate) sequence: u32,
    /// Which fragment of a gather, or `WHOLE`.
    pub(crate) fragment: u32,
    /// Whether the gather wants to know where an array's elements end.
    pub(crate) elements: bool,
    /// When it was queued; its deadline runs from here.
    pub(crate) since: Instant,
    /// Where its request begins in the stream of requests.
    pub(crate) start: u64,
}

/// The `fragment` of a waiter whose request was not split.
pub(crate) const WHOLE: u32 = u32::MAX;

impl Waiter {
    /// A client that waits for a whole reply. `Server::queue` says where its request begins.
    #[inline]
    pub(crate) fn new(client: Key, sequence: u32, since: Instant) -> Self {
        Self {
            client_index: client.index,
            client_generation: client.generation,
            sequence,
            fragment: WHOLE,
            elements: false,
            since,
            start: 0,
        }
    }

    /// Makes it wait for nobody: the reply is read and thrown away.
    pub(crate) fn abandon(&mut self) {
        self.client_index = u32::MAX;
    }

    pub(crate) fn client(&self) -> Key {
        Key::new(Role::Client, self.client_index, self.client_generation)
    }
}

impl Server {
    pub(crate) fn new(
        pool: u32,
        number: u32,
        lane: u32,
        timeout: Option<Duration>,
        protocol: Protocol,
    ) -> Self {
        Self {
            pool,
            number,
            lane,
            phase: Phase::Connecting,
            output: Chain::new(),
            dirty: false,
            waiters: VecDeque::new(),
            parser: ReplyParser::new(protocol),
            partial: Chain::new(),
            timeout,
            queued: 0,
            taken: 0,
            sent: 0,
            blocked: Vec::new(),
        }
    }

    /// Puts a request of `len` bytes at the end of the queue; the caller adds them to `output`.
    #[inline]
    pub(crate) fn queue(&mut self, waiter: Waiter, len: u64) {
        self.waiters.push_back(Waiter { start: self.queued, ..waiter });
        self.queued += len;
    }

    /// Whether a byte of the request that starts at `start` has been handed to the kernel. A
    /// reply to one of which none was is not a reply to it.
    ///
    /// Lenient by one send: what is in it counts as handed over, though a chain of very many pieces
    /// goes in several.
    pub(crate) fn was_handed_over(&self, start: u64) -> bool {
        start < self.taken.min(self.sent + SEND_BYTES_MAX as u64)
    }

    /// Whether a request must wait with its client until the queue is shorter.
    pub(crate) fn is_full(&self, limits: &Limits) -> bool {
        self.waiters.len() >= limits.server_queue_requests_max
            || self.unsent() >= limits.server_queue_bytes_max as u64
    }

    /// Whether clients that waited may go on. Well below `is_full`, so that it is not one by one.
    pub(crate) fn has_room(&self, limits: &Limits) -> bool {
        self.waiters.len() <= limits.server_queue_requests_max / 2
            && self.unsent() <= limits.server_queue_bytes_max as u64 / 2
    }

    /// When the oldest waiting request is overdue.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        Some(self.waiters.front()?.since + self.timeout?)
    }

    fn unsent(&self) -> u64 {
        self.queued - self.sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_behind_the_first_send_has_not_been_handed_over() {
        let mut server = Server::new(0, 0, 0, None, Protocol::Resp);
        server.queued = 3 * SEND_BYTES_MAX as u64;
        assert!(!server.was_handed_over(0));
        server.taken = server.queued;
        assert!(server.was_handed_over(SEND_BYTES_MAX as u64 - 1));
        assert!(!server.was_handed_over(SEND_BYTES_MAX as u64));
        server.sent = 1;
        assert!(server.was_handed_over(SEND_BYTES_MAX as u64));
    }

    #[test]
    fn the_deadline_is_the_oldest_requests() {
        let mut server = Server::new(0, 0, 0, Some(Duration::from_millis(5)), Protocol::Resp);
        assert_eq!(server.deadline(), None);
        for nanos in [7, 9] {
            let client = Key::new(Role::Client, 0, 0);
            server.queue(Waiter::new(client, 0, Instant::from_nanos(nanos)), 10);
        }
        assert_eq!(server.deadline(), Some(Instant::from_nanos(5_000_007)));
    }
}
