//! A simulated client: it follows its script and checks every byte that it gets.

use std::time::Duration;

use crate::io::Fd;
use crate::proto::Protocol;
use crate::sim::faults::Fault;
use crate::sim::ledger::{Ledger, Reply, speaks};
use crate::sim::memcached;
use crate::sim::network::Network;
use crate::sim::pipe::{Readable, Writable};
use crate::sim::pubsub::is_message;
use crate::sim::resp::{self, Frame};

use crate::sim::trace::Who;
use crate::time::Instant;

/// What a client does and expects.
#[derive(Clone, Debug)]
pub struct ClientScript {
    /// What it speaks.
    pub protocol: Protocol,
    /// The listener that it connects to.
    pub listener: Fd,
    /// When it connects, from the beginning of the run.
    pub start: Duration,
    /// Its requests in order, each with what may answer it.
    pub exchanges: Vec<Exchange>,
    /// Requests that it has written, or begun to write, without having their replies: at least 1.
    pub depth: usize,
    /// How its bytes are cut.
    pub cut: Cut,
    /// When it reads.
    pub reads: Reads,
    /// The longest pause between two things that it does.
    pub pause: Duration,
    /// How it goes.
    pub leaves: Leaves,
    /// Whether the proxy may end the connection before every request is answered.
    pub ended: Ended,
    /// Whether messages of channels may come between replies.
    pub listens: bool,
}

/// A request and what may answer it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The bytes of the request.
    pub request: Vec<u8>,
    /// The replies that are right.
    pub replies: Vec<Reply>,
    /// It is not sent before this time, from the beginning of the run.
    pub not_before: Duration,
    /// It is refused at its first bytes, perhaps before its last are written.
    pub is_refused_early: bool,
}

/// How a client's bytes are cut when it writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// As much as there is room for.
    Whole,
    /// At most so many bytes at once, and the ring has to receive them before the next.
    Every(usize),
    /// From 1 to so many bytes at once.
    Random(usize),
    /// So many bytes, and the rest once the ring has received them.
    After(usize),
}

/// When a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Whenever something is there.
    Always,
    /// Once it has written everything.
    AfterWriting,
    /// Not at all. It is finished when the proxy has given it up.
    Never,
}

/// How a client goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// It closes some time after the last reply, and until then expects no more bytes.
    Closing {
        /// The longest time that it stays.
        lingers: Duration,
    },
    /// It shuts down its writing side after the last request, and waits for the proxy to close.
    HalfClosing,
    /// It waits for the proxy to close after the last reply, as after QUIT.
    Waiting,
    /// It goes when it has read at least so many bytes of replies, or all of them, with a reset or
    /// a close.
    Vanishing {
        /// Bytes of replies; with 0 it goes as soon as every request is written.
        reply_bytes: usize,
        /// Whether it resets the connection.
        reset: bool,
    },
}

/// Whether the proxy may end a connection with requests unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It may not.
    Never,
    /// It may: the replies until then have to be right.
    Maybe,
    /// It has to, before the last reply.
    Always,
}

/// What a client has seen.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// When the last byte of each request was written.
    pub sent: Vec<Instant>,
    /// The replies in order, with the times of their last bytes.
    pub replies: Vec<(Instant, Vec<u8>)>,
    /// Messages of channels in order, each with the number of replies before it.
    pub messages: Vec<(usize, Vec<u8>)>,
    /// Whether the proxy ended the connection with requests unanswered.
    pub was_ended: bool,
    /// Whether it did so as the rest of a reply that streamed would not come.
    pub was_cut_off: bool,
}

pub(super) struct Client {
    index: usize,
    script: ClientScript,
    stream: Vec<u8>,
    /// Where each request ends in `stream`.
    ends: Vec<usize>,
    state: State,
    written: usize,
    shut: bool,
    read: usize,
    incoming: Vec<u8>,
    /// Whether it was told that it speaks RESP3.
    is_three: bool,
    busy_until: Instant,
    outcome: Outcome,
}

/// ```text
///  Away --start--> Here --last reply--> Lingering --time--> Gone
///                    +--------vanishes, or is ended----------^
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Away,
    Here { link: usize },
    Lingering { link: usize, until: Instant },
    Gone,
}

impl ClientScript {
    /// A client of `listener` that sends `exchanges` one by one, whole, and leaves in good order.
    pub fn new(listener: Fd, exchanges: Vec<Exchange>) -> Self {
        Self {
            protocol: Protocol::Resp,
            listener,
            start: Duration::ZERO,
            exchanges,
            depth: 1,
            cut: Cut::Whole,
            reads: Reads::Always,
            pause: Duration::ZERO,
            leaves: Leaves::Closing { lingers: Duration::from_millis(20) },
            ended: Ended::Never,
            listens: false,
        }
    }
}

impl Exchange {
    /// A request with its only right reply.
    pub fn new(request: Vec<u8>, reply: Vec<u8>) -> Self {
        Self::with(request, Reply::Exactly(reply))
    }

    /// A request with a reply that is right.
    pub fn with(request: Vec<u8>, reply: Reply) -> Self {
        Self { request, replies: vec![reply], not_before: Duration::ZERO, is_refused_early: false }
    }

    /// The same, and `reply` is right too.
    pub fn or(mut self, reply: Reply) -> Self {
        self.replies.push(reply);
        self
    }

    /// The same, refused at its first bytes.
    pub fn refused_early(mut self) -> Self {
        self.is_refused_early = true;
        self
    }

    /// The same, sent at `time` at the earliest.
    pub fn not_before(mut self, time: Duration) -> Self {
        self.not_before = time;
        self
    }
}

impl Client {
    pub(super) fn new(index: usize, script: ClientScript) -> Self {
        assert!(script.depth > 0, "a client with no depth never sends");
        let mut stream = Vec::new();
        let mut ends = Vec::new();
        for exchange in &script.exchanges {
            stream.extend_from_slice(&exchange.request);
            ends.push(stream.len());
        }
        Self {
            index,
            stream,
            ends,
            state: State::Away,
            written: 0,
            shut: false,
            read: 0,
            incoming: Vec::new(),
            is_three: false,
            busy_until: Instant::from_nanos(0) + script.start,
            outcome: Outcome::default(),
            script,
        }
    }

    pub(super) fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    pub(super) fn is_gone(&self) -> bool {
        self.state == State::Gone
    }

    /// Whether it is the proxy's turn: to answer, to take more, or to close.
    pub(super) fn is_waiting(&self) -> bool {
        let waits = self.outcome.replies.len() < self.begun() || self.written == self.stream.len();
        matches!(self.state, State::Here { .. }) && waits && self.script.reads != Reads::Never
    }

    /// One line on where it stands, for the report of a failure.
    pub(super) fn describe(&self) -> String {
        format!(
            "client {}: {:?}, wrote {} of {} bytes, has {} of {} replies",
            self.index,
            self.state,
            self.written,
            self.stream.len(),
            self.outcome.replies.len(),
            self.ends.len()
        )
    }

    /// When it wants to act again, if that is only a matter of time.
    pub(super) fn timer(&self, now: Instant) -> Option<Instant> {
        let next = match self.state {
            State::Gone => return None,
            State::Lingering { until, .. } => Some(until),
            State::Away => None,
            State::Here { .. } => self.script.exchanges.get(self.begun()).map(not_before),
        };
        [next, Some(self.busy_until)].into_iter().flatten().filter(|&time| time > now).min()
    }

    pub(super) fn is_ready(&self, net: &Network) -> bool {
        if net.now < self.busy_until {
            return false;
        }
        match self.state {
            State::Away => true,
            State::Gone => false,
            State::Lingering { link, until } => {
                net.now >= until || net.links[link].peer_readable() != Readable::Nothing
            }
            State::Here { link } => {
                self.may_read(net, link)
                    || self.may_write(net, link) > 0
                    || self.wants_to_shut()
                    || self.wants_to_vanish()
                    || self.is_given_up(net, link)
            }
        }
    }

    /// Does one thing. It is ready.
    pub(super) fn act(&mut self, net: &mut Network) {
        self.busy_until = net.now + net.random.time_up_to(self.script.pause);
        match self.state {
            State::Away => {
                if !net.backlogs.contains_key(&self.script.listener) {
                    return self.end(net, "is refused after # replies");
                }
                let link = net.connect();
                net.backlogs.entry(self.script.listener).or_default().push_back(link);
                self.state = State::Here { link };
                net.note(Who::Client(self.index), "connects, link", link);
            }
            State::Gone => unreachable!("whoever is gone is not ready"),
            State::Lingering { link, until } => {
                if net.links[link].peer_readable() != Readable::Nothing {
                    self.read_some(net, link);
                } else if net.now >= until {
                    net.links[link].peer_close(&mut net.random);
                    self.go(net, "closes after # replies");
                }
            }
            State::Here { link } => self.act_here(net, link),
        }
    }

    fn act_here(&mut self, net: &mut Network, link: usize) {
        let room = self.may_write(net, link);
        let may_read = self.may_read(net, link);
        if self.is_given_up(net, link) {
            self.count(net, Fault::ClientNeverReads);
            self.end(net, "is given up after # replies");
        } else if self.wants_to_vanish() {
            let Leaves::Vanishing { reset, .. } = self.script.leaves else { return };
            self.count(net, if reset { Fault::ClientResets } else { Fault::ClientVanishes });
            match reset {
                true => net.links[link].peer_reset(&mut net.random),
                false => net.links[link].peer_close(&mut net.random),
            }
            self.go(net, "vanishes after # replies");
        } else if self.wants_to_shut() {
            self.shut = true;
            self.count(net, Fault::ClientHalfCloses);
            net.links[link].peer_shut_write();
            net.note(Who::Client(self.index), "half-closes after # bytes", self.written);
        } else if may_read && (room == 0 || net.random.chance(500)) {
            self.read_some(net, link);
        } else if room > 0 {
            self.write_some(net, link, room);
        }
    }

    fn may_read(&self, net: &Network, link: usize) -> bool {
        let reads = match self.script.reads {
            Reads::Always => true,
            Reads::AfterWriting => self.written == self.stream.len(),
            Reads::Never => false,
        };
        // A client that writes blindly still learns from its writes that the connection is gone.
        let broken = net.links[link].peer_writable() == Writable::Broken && !self.shut;
        (reads || broken) && net.links[link].peer_readable() != Readable::Nothing
    }

    /// How many bytes it could write now.
    fn may_write(&self, net: &Network, link: usize) -> usize {
        let room = match net.links[link].peer_writable() {
            Writable::Room(room) => room,
            Writable::Full | Writable::Broken => 0,
        };
        let first = self.ends.partition_point(|&end| end <= self.written);
        let last = self.outcome.replies.len().saturating_add(self.script.depth);
        let mut limit = self.written;
        for request in first..last.min(self.ends.len()) {
            if net.now < not_before(&self.script.exchanges[request]) || limit - self.written > room
            {
                break;
            }
            limit = self.ends[request];
        }
        let piece = match self.script.cut {
            Cut::Whole | Cut::Random(_) => usize::MAX,
            // One piece is on the way at a time, so that the ring sees each cut.
            Cut::Every(_) if !net.links[link].is_up_empty() => 0,
            Cut::Every(size) => size,
            Cut::After(size) if self.written < size => size - self.written,
            Cut::After(size) if self.written == size && !net.links[link].is_up_empty() => 0,
            Cut::After(_) => usize::MAX,
        };
        (limit - self.written).min(room).min(piece)
    }

    fn write_some(&mut self, net: &mut Network, link: usize, room: usize) {
        let count = match self.script.cut {
            Cut::Random(most) => net.random.between(1, room.min(most)),
            Cut::Whole | Cut::Every(_) | Cut::After(_) => room,
        };
        let piece = &self.stream[self.written..self.written + count];
        net.links[link].peer_write(piece, &mut net.random);
        self.written += count;
        let whole = self.ends.partition_point(|&end| end <= self.written);
        self.outcome.sent.resize(whole, net.now);
        if count <= DRIP_BYTES && count < room {
            self.count(net, Fault::ClientDrips);
        }
        if whole >= self.outcome.replies.len() + FLOOD_REQUESTS {
            self.count(net, Fault::ClientFloods);
        }
        net.note(Who::Client(self.index), "writes # bytes", count);
    }

    fn read_some(&mut self, net: &mut Network, link: usize) {
        match net.links[link].peer_readable() {
            Readable::Nothing => {}
            Readable::Bytes(count) => {
                let count = net.random.between(1, count);
                let bytes = net.links[link].peer_read(count);
                net.trace.add_bytes(&bytes);
                net.note(Who::Client(self.index), "reads # bytes", count);
                self.read += count;
                self.incoming.extend_from_slice(&bytes);
                self.check_replies(net, link);
            }
            Readable::End => self.end(net, "sees the end after # replies"),
            Readable::Reset => self.end(net, "sees a reset after # replies"),
        }
    }

    fn check_replies(&mut self, net: &mut Network, link: usize) {
        loop {
            let frame = match self.script.protocol {
                Protocol::Resp => resp::frame(&self.incoming),
                Protocol::Memcache => memcached::frame(&self.incoming),
            };
            let whole = match frame {
                Frame::Whole(len) => len,
                Frame::Partial => break,
                Frame::Garbage => panic!("{} gets {:?}", self.describe(), self.shown()),
            };
            let rest = self.incoming.split_off(whole);
            let reply = std::mem::replace(&mut self.incoming, rest);
            if self.script.listens && is_message(&reply) {
                self.outcome.messages.push((self.outcome.replies.len(), reply));
                continue;
            }
            self.check_reply(&reply, &mut net.ledger, net.now);
            self.outcome.replies.push((net.now, reply));
        }
        let got = self.outcome.replies.len();
        assert!(
            got < self.ends.len() || self.incoming.is_empty() || self.script.listens,
            "{}, and then {:?}",
            self.describe(),
            self.shown()
        );
        if let (Leaves::Closing { lingers }, State::Here { .. }) = (self.script.leaves, self.state)
            && got == self.ends.len()
        {
            let until = net.now + net.random.time_up_to(lingers);
            self.state = State::Lingering { link, until };
        }
    }

    fn check_reply(&mut self, reply: &[u8], ledger: &mut Ledger, now: Instant) {
        let number = self.outcome.replies.len();
        let text = String::from_utf8_lossy(&reply[..reply.len().min(SHOWN_BYTES)]);
        let exchange = &self.script.exchanges[number];
        // Who is not let in is told so before it asks.
        let is_refusal = number == 0
            && exchange.replies.contains(&REFUSAL)
            && ledger.allows(&[REFUSAL], reply, now);
        let is_asked = number < self.begun() || is_refusal;
        assert!(is_asked, "{}: unasked reply {text:?}", self.describe());
        let sent = self.outcome.sent.get(number).copied();
        assert!(
            sent.is_some() || exchange.is_refused_early || is_refusal,
            "{}: reply {text:?} to half a request",
            self.describe()
        );
        let sent = sent.unwrap_or(now);
        assert!(
            ledger.allows(&exchange.replies, reply, sent),
            "{}: reply {number} is {text:?} to {:?}, sent at {} us",
            self.describe(),
            String::from_utf8_lossy(&exchange.request[..exchange.request.len().min(SHOWN_BYTES)]),
            sent.as_nanos() / 1000,
        );
        if exchange.replies.iter().any(|reply| matches!(reply, Reply::Speaks(_))) {
            self.is_three = speaks(reply).map_or(self.is_three, |version| version == 3);
        }
        assert!(
            !resp::is_foreign(reply, self.is_three),
            "{}: reply {text:?} is of the other version of RESP",
            self.describe()
        );
    }

    /// How many requests it has begun to write.
    fn begun(&self) -> usize {
        match self.ends.partition_point(|&end| end <= self.written) {
            whole if whole > 0 && self.ends[whole - 1] == self.written => whole,
            whole if self.written > 0 && whole < self.ends.len() => whole + 1,
            whole => whole,
        }
    }

    /// Counts something that a client does with requests unanswered.
    fn count(&self, net: &mut Network, fault: Fault) {
        if self.outcome.replies.len() < self.ends.len() {
            net.count(fault);
        }
    }

    fn wants_to_shut(&self) -> bool {
        let written = self.written == self.stream.len();
        self.script.leaves == Leaves::HalfClosing && written && !self.shut
    }

    fn wants_to_vanish(&self) -> bool {
        match self.script.leaves {
            Leaves::Vanishing { reply_bytes: 0, .. } => self.written == self.stream.len(),
            Leaves::Vanishing { reply_bytes, .. } => {
                self.read >= reply_bytes || self.outcome.replies.len() == self.ends.len()
            }
            Leaves::Closing { .. } | Leaves::HalfClosing | Leaves::Waiting => false,
        }
    }

    /// A client that does not read cannot see its end: the simulation tells it.
    fn is_given_up(&self, net: &Network, link: usize) -> bool {
        self.script.reads == Reads::Never && !net.links[link].is_ring_open()
    }

    fn end(&mut self, net: &mut Network, how: &'static str) {
        let missing = self.outcome.replies.len() < self.ends.len();
        let cut_off = missing && self.may_be_cut_off(&net.ledger);
        let right = match self.script.ended {
            Ended::Never => cut_off || (!missing && self.incoming.is_empty()),
            Ended::Maybe => true,
            Ended::Always => missing,
        };
        let early = matches!(self.state, State::Lingering { .. }) && !self.may_end_idle();
        assert!(right && !early, "{}, and {how} after {:?}", self.describe(), self.shown());
        self.outcome.was_ended = missing;
        self.outcome.was_cut_off = cut_off;
        if let State::Here { link } | State::Lingering { link, .. } = self.state {
            net.links[link].peer_close(&mut net.random);
        }
        self.go(net, how);
    }

    /// Whether the end of the connection may stand for the rest of a reply: of the first that it
    /// lacks, or of a later one if what it was owed before was lost with the connection.
    fn may_be_cut_off(&self, ledger: &Ledger) -> bool {
        let first = self.outcome.replies.len();
        (first..self.outcome.sent.len()).any(|number| {
            let got = if number == first { &self.incoming[..] } else { b"" };
            let replies = &self.script.exchanges[number].replies;
            ledger.may_cut_off(replies, got, self.outcome.sent[number])
        })
    }

    fn may_end_idle(&self) -> bool {
        self.script.ended != Ended::Never
    }

    fn go(&mut self, net: &mut Network, how: &'static str) {
        self.state = State::Gone;
        net.note(Who::Client(self.index), how, self.outcome.replies.len());
    }

    fn shown(&self) -> String {
        let shown = &self.incoming[..self.incoming.len().min(SHOWN_BYTES)];
        String::from_utf8_lossy(shown).into_owned()
    }
}

fn not_before(exchange: &Exchange) -> Instant {
    Instant::from_nanos(0) + exchange.not_before
}

/// Bytes at once of a client that drips.
const DRIP_BYTES: usize = 16;

/// Requests without replies of a client that floods.
const FLOOD_REQUESTS: usize = 20;

/// What a client is told that is not let in.
pub const REFUSAL: Reply = Reply::Error("ERR max number of clients reached\r\n");

/// Bytes of a reply that a failure shows.
const SHOWN_BYTES: usize = 200;
