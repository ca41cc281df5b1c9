//! A connection to a server: what is queued on it, and who waits for which reply.

use std::collections::VecDeque;
use std::time::Duration;

use crate::io::{Address, Chain};
use crate::limits::{Limits, SEND_BYTES_MAX};
use crate::proto::{Expected, Protocol, ReplyParser, RespVersion};
use crate::proxy::greeting::Greeting;
use crate::time::Instant;
use crate::token::{Key, Role};

/// One connection to a server, shared by clients.
///
/// ```text
///              address             connected             agreed to
///   Resolving ---------> Connecting -----------> Greeting -----------> Up
///        |  none, late        |  refused, late       |  refused         |  end of stream, error,
///        |                    |                      |                  v  deadline, a byte out
///        +--------------------+----------------------+--------------> Leaving      of place
/// ```
///
/// It begins with `Resolving` where the configuration names a host, else with `Connecting`. Without
/// a password and a database there is nothing to greet with, and `Greeting` is skipped.
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
    pub(crate) purpose: Purpose,
    /// What it speaks, once it has greeted.
    pub(crate) version: RespVersion,
    pub(crate) phase: Phase,
    /// What the name of its host stood for when it was looked up.
    pub(crate) resolved: Option<Address>,
    /// What is still to be said before the first request.
    pub(crate) greeting: Option<Greeting>,
    /// Bytes of the greeting that a send has taken and the kernel has not.
    pub(crate) greeting_in_send: u64,
    /// Requests that no send has taken.
    pub(crate) output: Chain,
    /// Whether a flush has been asked for.
    pub(crate) dirty: bool,
    /// Who waits, in the order of the requests.
    pub(crate) waiters: VecDeque<Waiter>,
    pub(crate) parser: ReplyParser,
    /// The bytes of a reply whose end has not come.
    pub(crate) partial: Chain,
    /// How long the connect and each word of the greeting may take; `None`: for ever.
    pub(crate) timeout: Option<Duration>,
    /// How long a request may wait for its reply once all that is over: the same, unless the
    /// request says how long it is to wait.
    pub(crate) patience: Option<Duration>,
    /// Bytes of requests, ever: given to this connection, taken by sends, sent.
    pub(crate) queued: u64,
    pub(crate) taken: u64,
    pub(crate) sent: u64,
    /// Clients with a request that waits until the queue is shorter.
    pub(crate) blocked: Vec<Key>,
    /// What the next tick adds to the figures of the server.
    pub(crate) tally: Tally,
    /// When it was last certain to be good: when it was begun, or the last tick before a reply.
    pub(crate) good_at: Instant,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Requests of all clients that were dealt this lane.
    Shared {
        /// Which of the connections to that server.
        lane: u32,
    },
    /// A probe and nothing else.
    Probe,
    /// Requests of one client at a time.
    Private {
        /// The client; none while it is kept for the next one.
        owner: Option<Key>,
    },
    /// What one client listens to: a stream of frames, of which only some are replies.
    Subscription {
        /// The client.
        client: Key,
    },
}

/// What happened on a connection since the last tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) request_bytes: u64,
    pub(crate) responses: u64,
    pub(crate) response_bytes: u64,
}

/// The requests that wait for a reply, parted where the sending stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queues {
    /// Requests that are not wholly sent.
    pub(crate) unsent: u64,
    pub(crate) unsent_bytes: u64,
    /// Requests that are.
    pub(crate) sent: u64,
    pub(crate) sent_bytes: u64,
}

/// Where a server connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The name of its host is being looked up; requests are queued.
    Resolving,
    /// The connect is under way; requests are queued.
    Connecting,
    /// The password and the database are said, alone; requests are queued.
    Greeting,
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
    /// What the reply is held against.
    pub(crate) expected: Expected,
    /// When it was queued; its deadline runs from here.
    pub(crate) since: Instant,
    /// Where its request begins in the stream of requests.
    pub(crate) start: u64,
}

/// The `fragment` of a waiter whose request was not split.
pub(crate) const WHOLE: u32 = u32::MAX;

/// The `fragment` of a waiter that is a client's HELLO 3, and waits for the servers to agree.
pub(crate) const HELLO: u32 = u32::MAX - 1;

/// The `fragment` of a waiter for what a server says to the MULTI of a run.
pub(crate) const RUN: u32 = u32::MAX - 2;

impl Waiter {
    /// A client that waits for a whole reply. `Server::queue` says where its request begins.
    #[inline]
    pub(crate) fn new(client: Key, sequence: u32, expected: Expected, since: Instant) -> Self {
        Self {
            client_index: client.index,
            client_generation: client.generation,
            sequence,
            fragment: WHOLE,
            expected,
            since,
            start: 0,
        }
    }

    /// Nobody, for a request whose reply is read and thrown away.
    pub(crate) fn nobody(since: Instant) -> Self {
        Self::new(Key::new(Role::Client, u32::MAX, 0), 0, Expected::default(), since)
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
        purpose: Purpose,
        version: RespVersion,
        phase: Phase,
        timeout: Option<Duration>,
        protocol: Protocol,
    ) -> Self {
        Self {
            pool,
            number,
            purpose,
            version,
            phase,
            resolved: None,
            greeting: None,
            greeting_in_send: 0,
            output: Chain::new(),
            dirty: false,
            waiters: VecDeque::new(),
            parser: ReplyParser::new(protocol),
            partial: Chain::new(),
            timeout,
            patience: timeout,
            queued: 0,
            taken: 0,
            sent: 0,
            blocked: Vec::new(),
            tally: Tally::default(),
            good_at: Instant::default(),
        }
    }

    /// Gives up what it was to say and what it has heard: it is of no more use.
    pub(crate) fn leave(&mut self) {
        self.phase = Phase::Leaving;
        self.greeting = None;
        self.output = Chain::new();
        self.partial = Chain::new();
    }

    /// Puts a request of `len` bytes at the end of the queue; the caller adds them to `output`.
    #[inline]
    pub(crate) fn queue(&mut self, waiter: Waiter, len: u64) {
        self.queue_own(waiter, len);
        self.tally.requests += 1;
        self.tally.request_bytes += len;
    }

    /// The same for a request that no client has made, which is in no figures.
    #[inline]
    pub(crate) fn queue_own(&mut self, waiter: Waiter, len: u64) {
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

    /// Goes on once connected: with the greeting, if there is one.
    pub(crate) fn begin(&mut self) {
        self.phase = if self.greeting.is_some() { Phase::Greeting } else { Phase::Up };
        self.dirty = true;
    }

    /// What is to be sent next, which may be nothing: the greeting, and then the requests.
    #[inline]
    pub(crate) fn take_output(&mut self) -> Chain {
        self.dirty = false;
        if let Some(greeting) = &mut self.greeting {
            let output = greeting.take().unwrap_or_default();
            self.greeting_in_send += output.len() as u64;
            return output;
        }
        self.taken += self.output.len() as u64;
        std::mem::take(&mut self.output)
    }

    /// `bytes` of what was taken have been sent.
    #[inline]
    pub(crate) fn note_sent(&mut self, bytes: u64) {
        let greeted = bytes.min(self.greeting_in_send);
        self.greeting_in_send -= greeted;
        self.sent += bytes - greeted;
    }

    /// When the oldest waiting request is overdue, or the greeting, which is older than all.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let since = match &self.greeting {
            Some(greeting) => greeting.since(),
            None => self.waiters.front()?.since,
        };
        let is_up = self.phase == Phase::Up;
        Some(since + if is_up { self.patience } else { self.timeout }?)
    }

    /// Lets no request wait for longer than any other.
    pub(crate) fn reset_patience(&mut self) {
        self.patience = self.timeout;
    }

    /// What waits, as far as the worker knows what has been sent.
    pub(crate) fn queues(&self) -> Queues {
        // Of the requests that begin where the sending stands or before it, the last is cut by it.
        let sent = match self.sent {
            all if all >= self.queued => self.waiters.len(),
            part => self.waiters.partition_point(|waiter| waiter.start <= part).saturating_sub(1),
        };
        let start_of = |place: usize| self.waiters.get(place).map_or(self.queued, |w| w.start);
        Queues {
            unsent: (self.waiters.len() - sent) as u64,
            unsent_bytes: self.queued - start_of(sent),
            sent: sent as u64,
            sent_bytes: start_of(sent) - start_of(0),
        }
    }

    /// Replies that came since the last tick, at `ticked_at`, show that it was good then. Asked
    /// before the tally is taken: so no reply has to note its time.
    pub(crate) fn note_good(&mut self, ticked_at: Instant) {
        if self.tally.responses > 0 {
            self.good_at = self.good_at.max(ticked_at);
        }
    }

    fn unsent(&self) -> u64 {
        self.queued - self.sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(timeout: Option<Duration>) -> Server {
        let purpose = Purpose::Shared { lane: 0 };
        Server::new(0, 0, purpose, RespVersion::Two, Phase::Up, timeout, Protocol::Resp)
    }

    #[test]
    fn a_request_behind_the_first_send_has_not_been_handed_over() {
        let mut server = up(None);
        server.queued = 3 * SEND_BYTES_MAX as u64;
        assert!(!server.was_handed_over(0));
        server.taken = server.queued;
        assert!(server.was_handed_over(SEND_BYTES_MAX as u64 - 1));
        assert!(!server.was_handed_over(SEND_BYTES_MAX as u64));
        server.sent = 1;
        assert!(server.was_handed_over(SEND_BYTES_MAX as u64));
    }

    #[test]
    fn the_queues_are_parted_where_the_sending_stands() {
        let mut server = up(None);
        let queues = |server: &Server| {
            let Queues { unsent, unsent_bytes, sent, sent_bytes } = server.queues();
            (unsent, unsent_bytes, sent, sent_bytes)
        };
        assert_eq!(queues(&server), (0, 0, 0, 0));
        let any = Expected::default();
        for len in [10, 20, 30] {
            let client = Key::new(Role::Client, 0, 0);
            server.queue(Waiter::new(client, 0, any, Instant::default()), len);
        }
        for (sent, expected) in [
            (0, (3, 60, 0, 0)),
            (9, (3, 60, 0, 0)),
            (10, (2, 50, 1, 10)),
            (29, (2, 50, 1, 10)),
            (30, (1, 30, 2, 30)),
            (59, (1, 30, 2, 30)),
            (60, (0, 0, 3, 60)),
        ] {
            server.sent = sent;
            assert_eq!(queues(&server), expected, "{sent} sent");
        }
        server.waiters.pop_front();
        assert_eq!(queues(&server), (0, 0, 2, 50));
        // A reply may be here before the completion of its request's send.
        server.sent = 5;
        assert_eq!(queues(&server), (2, 50, 0, 0));
    }

    #[test]
    fn the_deadline_is_the_oldest_requests() {
        let timeout = Some(Duration::from_millis(5));
        let mut server = up(timeout);
        assert_eq!(server.deadline(), None);
        for nanos in [7, 9] {
            let client = Key::new(Role::Client, 0, 0);
            let since = Instant::from_nanos(nanos);
            server.queue(Waiter::new(client, 0, Expected::default(), since), 10);
        }
        assert_eq!(server.deadline(), Some(Instant::from_nanos(5_000_007)));
    }
}
