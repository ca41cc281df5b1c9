//! A client's connection: its parser, its pipeline, and what it has not taken yet.

use crate::io::{Buffer, Chain};
use crate::limits::{Limits, REQUESTS_PER_TURN, STRANGER_OUTPUT_BYTES_MAX};
use crate::proto::{Protocol, RequestParser, RespVersion};
use crate::proxy::home::Anchor;
use crate::proxy::identity::Identity;
use crate::proxy::pipeline::Pipeline;
use crate::proxy::private::Errand;
use crate::proxy::resp3::Answer;
use crate::proxy::subscribe::Subscriptions;
use crate::proxy::transaction::Transaction;
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
    pub(crate) input: Input,
    pub(crate) account: Account,
}

/// What comes from a client.
pub(crate) struct Input {
    pub(crate) parser: RequestParser,
    /// The bytes of a request whose end has not come.
    pub(crate) partial: Chain,
    /// Received bytes that may not be parsed yet.
    stash: Chain,
    /// The turn that `budget` is for.
    turn: u32,
    /// Requests that may still be handled in it.
    budget: u32,
    /// Whether the worker has been asked to receive for it.
    pub(crate) reading: bool,
    /// True exactly when the client stands in the ready list.
    pub(crate) ready: bool,
    /// No more bytes will come; what was put aside is still to be parsed.
    pub(crate) ended: bool,
}

/// What a client has asked for and is owed.
pub(crate) struct Account {
    pub(crate) pool: u32,
    /// Which of a server's connections it uses, always the same: so it reads its own writes.
    pub(crate) lane: u32,
    /// Which version of RESP it speaks, and so do the server connections that it uses.
    pub(crate) version: RespVersion,
    pub(crate) phase: Phase,
    /// Whether it has said the pool's password, or there is none.
    pub(crate) authenticated: bool,
    pub(crate) identity: Identity,
    /// Whether it broke the protocol, which is why it leaves.
    pub(crate) is_faulty: bool,
    pub(crate) pipeline: Pipeline,
    /// Replies that no send has taken.
    pub(crate) output: Chain,
    /// Bytes of replies that sends have taken and the kernel has not.
    pub(crate) in_send: usize,
    /// Whether a flush has been asked for.
    pub(crate) dirty: bool,
    /// Nothing more of it is parsed until everything is answered. It is taken away by the next
    /// request.
    pub(crate) barrier: bool,
    /// The server connection that it has to itself.
    pub(crate) private: Option<Key>,
    /// What it waits for there.
    pub(crate) errand: Errand,
    /// The keys for which it has that, while it has it.
    pub(crate) anchor: Option<Box<Anchor>>,
    /// What it has begun with MULTI and WATCH.
    pub(crate) transaction: Transaction,
    /// What is said to its HELLO 3 once the servers have agreed.
    pub(crate) hello: Option<Answer>,
    /// What it listens to, if to anything.
    pub(crate) subscriptions: Option<Box<Subscriptions>>,
    /// The server connection whose queue is full.
    pub(crate) blocked_on: Option<Key>,
    /// Whether `Input::partial` is a whole request, which the parser has read and describes, and
    /// which is to be dispatched before anything else is parsed.
    pub(crate) parked: bool,
    /// Since when it has taken nothing, while beyond the soft limit.
    pub(crate) stalled_since: Option<Instant>,
    /// True exactly when the client stands in the list of the stalled.
    pub(crate) stall_listed: bool,
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
    pub(crate) fn new(pool: u32, lane: u32, protocol: Protocol) -> Self {
        let input = Input {
            parser: RequestParser::new(protocol),
            partial: Chain::new(),
            stash: Chain::new(),
            turn: 0,
            budget: REQUESTS_PER_TURN,
            reading: true,
            ready: false,
            ended: false,
        };
        let account = Account {
            pool,
            lane,
            version: RespVersion::Two,
            phase: Phase::Open,
            authenticated: false,
            identity: Identity::new(0, Instant::default()),
            is_faulty: false,
            pipeline: Pipeline::default(),
            output: Chain::new(),
            in_send: 0,
            dirty: false,
            barrier: false,
            private: None,
            errand: Errand::None,
            anchor: None,
            transaction: Transaction::default(),
            hello: None,
            subscriptions: None,
            blocked_on: None,
            parked: false,
            stalled_since: None,
            stall_listed: false,
        };
        Self { input, account }
    }

    /// Whether it has bytes that may be parsed now, or an end that may be acted on.
    pub(crate) fn has_work(&self, limits: &Limits) -> bool {
        (self.has_more() || self.input.ended) && self.account.may_parse(limits)
    }

    /// Whether there are bytes of it that were not handled.
    pub(crate) fn has_more(&self) -> bool {
        self.input.stashed() > 0 || self.account.parked
    }

    /// Whether it leaves of its own accord: it has ended its side, or said QUIT.
    pub(crate) fn ends_well(&self) -> bool {
        let is_leaving = matches!(self.account.phase, Phase::Draining(_)) || self.input.ended;
        is_leaving && !self.account.is_faulty
    }

    /// Gives up everything it holds: it is leaving.
    pub(crate) fn leave(&mut self) {
        self.account.phase = Phase::Leaving;
        self.account.pipeline.clear();
        self.account.output = Chain::new();
        self.account.blocked_on = None;
        self.account.stalled_since = None;
        self.account.transaction = Transaction::default();
        self.forget_input();
    }

    /// Throws away what it has sent and was not handled.
    pub(crate) fn forget_input(&mut self) {
        self.account.parked = false;
        self.input.partial = Chain::new();
        self.input.stash = Chain::new();
    }
}

impl Input {
    /// Bytes that were put aside.
    pub(crate) fn stashed(&self) -> usize {
        self.stash.len()
    }

    /// Bytes of requests that were not handled.
    pub(crate) fn held(&self) -> usize {
        self.partial.len() + self.stash.len()
    }

    /// What is left of the client's budget for this turn, whole in a new one.
    pub(crate) fn budget(&mut self, turn: u32) -> &mut u32 {
        if self.turn != turn {
            self.turn = turn;
            self.budget = REQUESTS_PER_TURN;
        }
        &mut self.budget
    }

    /// Keeps received bytes for later. The buffer can go back to the ring at once.
    pub(crate) fn put_aside(&mut self, buffer: &mut Buffer, start: usize) {
        self.stash.push_buffer(buffer, start..buffer.len());
    }

    /// The oldest bytes that were put aside.
    pub(crate) fn take_aside(&mut self) -> Option<Buffer> {
        self.stash.pop_piece().map(Buffer::from_bytes)
    }

    /// Puts what is left of a piece back to the front.
    pub(crate) fn put_back(&mut self, buffer: &mut Buffer, start: usize) {
        self.stash.push_front(buffer.keep(start..buffer.len()));
    }
}

impl Account {
    /// Whether the client's next request may be parsed now.
    #[inline]
    pub(crate) fn may_parse(&self, limits: &Limits) -> bool {
        self.phase == Phase::Open
            && self.blocked_on.is_none()
            && (!self.barrier || self.pipeline.is_empty())
            && self.pipeline.len() < limits.in_flight_requests_max
            && self.pipeline.in_flight_bytes() < limits.in_flight_bytes_max
            && self.owed() < limits.output_soft_bytes
            && (self.authenticated || self.owed() < STRANGER_OUTPUT_BYTES_MAX)
    }

    /// The request for which it waits at a server for somebody else (BLPOP), until what it waits
    /// for begins to come.
    pub(crate) fn waits_for(&self) -> Option<u32> {
        match self.errand {
            Errand::Wait { sequence } => {
                Some(sequence).filter(|&it| !self.pipeline.is_streaming(it))
            }
            Errand::None | Errand::Watch | Errand::Forget => None,
        }
    }

    /// Bytes that were due before a reply that streams began, as far as they still are.
    #[inline]
    pub(crate) fn due_before_stream(&self) -> usize {
        self.due().saturating_sub(self.pipeline.streamed_bytes())
    }

    /// Bytes of replies whose turn has come and that the kernel has not taken.
    #[inline]
    pub(crate) fn due(&self) -> usize {
        self.output.len() + self.in_send
    }

    /// Bytes of replies that are held for the client, in order or not.
    #[inline]
    pub(crate) fn owed(&self) -> usize {
        let messages = self.subscriptions.as_ref().map_or(0, |all| all.held_bytes());
        self.due() + self.pipeline.held_bytes() + messages
    }

    /// Whether the client has got all that it will get.
    pub(crate) fn is_settled(&self) -> bool {
        self.pipeline.is_empty() && self.output.is_empty() && self.in_send == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn bytes_put_aside_come_back_in_order() {
        let mut client = Client::new(0, 0, Protocol::Resp);
        let mut first = Buffer::from_bytes(Bytes::from_static(b"abcdef"));
        let mut second = Buffer::from_bytes(Bytes::from_static(b"ghi"));
        client.input.put_aside(&mut first, 2);
        client.input.put_aside(&mut second, 0);
        client.input.put_aside(&mut second, 3);
        assert_eq!(client.input.stashed(), 7);
        let mut piece = client.input.take_aside().expect("put aside");
        assert_eq!(&piece[..], b"cdefghi");
        client.input.put_back(&mut piece, 3);
        assert_eq!(client.input.stashed(), 4);
        client.input.put_aside(&mut second, 1);
        assert_eq!(&client.input.take_aside().expect("put back")[..], b"fghi");
        assert_eq!(&client.input.take_aside().expect("after it")[..], b"hi");
        assert!(client.input.take_aside().is_none());
    }

    #[test]
    fn each_limit_holds_the_parser_at_its_edge() {
        let limits = Limits {
            in_flight_requests_max: 2,
            in_flight_bytes_max: 100,
            output_soft_bytes: 10,
            ..Limits::default()
        };
        let mut account = Client::new(0, 0, Protocol::Resp).account;
        account.pipeline.push_waiting(1);
        assert!(account.may_parse(&limits));
        account.pipeline.push_waiting(1);
        assert!(!account.may_parse(&limits));
        let mut account = Client::new(0, 0, Protocol::Resp).account;
        account.pipeline.push_waiting(99);
        assert!(account.may_parse(&limits));
        let mut account = Client::new(0, 0, Protocol::Resp).account;
        account.pipeline.push_waiting(100);
        assert!(!account.may_parse(&limits));
        let mut account = Client::new(0, 0, Protocol::Resp).account;
        account.output.push_copy(b"123456789");
        assert!(account.may_parse(&limits));
        account.in_send = 1;
        assert!(!account.may_parse(&limits));
    }
}
