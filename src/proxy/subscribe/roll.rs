//! One client's subscriptions: where each is listened to, and what waits for its turn.
//!
//! **Knows nothing of:** how frames come from servers, clients, requests.

use std::collections::{BTreeMap, VecDeque};

use crate::io::Chain;
use crate::limits::{HELD_MESSAGE_BYTES, SUBSCRIPTION_BYTES};
use crate::proto::RespVersion;
use crate::proto::commands::Subscribe;
use crate::proxy::reply::Writer;
use crate::proxy::source::Source;
use crate::proxy::subscribe::{is_end, word_of};
use crate::token::Key;

/// What one client listens to.
///
/// ```text
///   asked.items:   b   c   (a was confirmed)
///   streams[0].frames:  [c ok] [message] [message]     behind b, which is still to come
///   streams[1].frames:                                 b ok: asked, not here yet
/// ```
///
/// Invariant: in front of a stream's frames is never a message, as that one could have gone on its
/// way.
#[derive(Default)]
pub(crate) struct Subscriptions {
    channels: Names,
    patterns: Names,
    shards: Names,
    streams: Vec<Stream>,
    asked: Option<Asked>,
    name_bytes: usize,
    held_bytes: usize,
}

/// Names, and where each is listened to.
type Names = BTreeMap<Box<[u8]>, Place>;

/// Where a name is listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At the server of this number.
    At(u32),
    /// At every server that is not ejected.
    Everywhere,
}

/// One name of a request.
pub(super) struct Item {
    /// None in the reply to who unsubscribes from all that there is when there is nothing.
    pub(super) name: Option<Box<[u8]>>,
    /// Which servers have to confirm it.
    pub(super) at: Option<Place>,
}

/// A request that is not wholly confirmed.
struct Asked {
    what: Subscribe,
    items: VecDeque<Item>,
    /// Items that are not in `items` any more.
    done: usize,
    /// Whether the client was told of a refusal: it is told once.
    is_refused: bool,
}

/// A connection to a server.
struct Stream {
    number: u32,
    key: Key,
    /// What may not go to the client yet, oldest first.
    frames: VecDeque<Frame>,
    /// How many subscriptions hold here, those of all three kinds together.
    subscribed: usize,
    /// Confirmations of the request at hand that have not come.
    awaited: usize,
    /// The item of the request that the next one is for, or one before it; counted from the
    /// request's first.
    next: usize,
    /// Whether it was asked for a sign of life that has not come.
    is_pinged: bool,
    /// Whether the connection has gone.
    is_lost: bool,
}

enum Frame {
    Confirmation,
    Message(Box<Chain>),
    /// An error in place of all confirmations that were still to come.
    Refusal(Box<[u8]>),
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is none, or something is still to come.
    Waits,
    /// The client has been told all.
    Over,
    /// Servers do not agree: what the client listens to is not known.
    Torn,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is a message of what the client listens to.
    Message,
    /// It is a reply that was to come. Whether it is the last to its request.
    Awaited { last: bool },
    /// Nobody has asked for it.
    Unasked,
}

impl Place {
    fn includes(self, number: u32) -> bool {
        match self {
            Self::At(own) => own == number,
            Self::Everywhere => true,
        }
    }
}

impl Subscriptions {
    /// How many channels, patterns and shard channels it listens to.
    pub(crate) fn counts(&self) -> [usize; 3] {
        [self.channels.len(), self.patterns.len(), self.shards.len()]
    }

    /// Whether the client listens to nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty() && self.shards.is_empty()
    }

    /// Whether there is nothing left of it.
    pub(super) fn is_over(&self) -> bool {
        self.is_empty() && self.streams.is_empty() && self.asked.is_none()
    }

    /// Whether a request waits for confirmations.
    pub(super) fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// Bytes that keeping the messages takes that wait for their turn.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Bytes that keeping the names takes.
    pub(super) fn name_bytes(&self) -> usize {
        self.name_bytes
    }

    /// All names of the kind that a request is about.
    pub(super) fn names(&self, what: Subscribe) -> Vec<Box<[u8]>> {
        self.of(what).keys().cloned().collect()
    }

    /// Where a name is listened to, if it is.
    pub(super) fn place(&self, what: Subscribe, name: &[u8]) -> Option<Place> {
        self.of(what).get(name).copied()
    }

    /// All places, with their names; those that are asked for, too.
    pub(super) fn places(&self) -> impl Iterator<Item = (&[u8], Place)> {
        let kept = self.channels.iter().chain(&self.patterns).chain(&self.shards);
        let kept = kept.map(|(name, &place)| (&name[..], place));
        let items = self.asked.iter().flat_map(|asked| &asked.items);
        kept.chain(items.filter_map(|item| Some((item.name.as_deref()?, item.at?))))
    }

    /// The numbers of the servers that it has connections to.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.streams.iter().map(|stream| stream.number)
    }

    pub(super) fn has_stream(&self, number: u32) -> bool {
        self.streams.iter().any(|stream| stream.number == number)
    }

    pub(super) fn add_stream(&mut self, number: u32, key: Key) {
        self.streams.push(Stream {
            number,
            key,
            frames: VecDeque::new(),
            subscribed: 0,
            awaited: 0,
            next: 0,
            is_pinged: false,
            is_lost: false,
        });
    }

    /// What each connection is to be sent of a request, and notes how many confirmations will come.
    pub(super) fn shares(&mut self, what: Subscribe, items: &[Item]) -> Vec<(Key, Vec<u8>)> {
        let mut shares = Vec::new();
        for stream in &mut self.streams {
            let mut names = Vec::new();
            let mut writer = Writer::new(RespVersion::Two, &mut names);
            stream.awaited = 0;
            stream.next = 0;
            let is_here = |item: &&Item| item.at.is_some_and(|at| at.includes(stream.number));
            for name in items.iter().filter(is_here).filter_map(|item| item.name.as_deref()) {
                writer.bulk(name);
                stream.awaited += 1;
            }
            if stream.awaited > 0 {
                let mut request = Vec::with_capacity(names.len() + HEAD_BYTES_MAX);
                let mut writer = Writer::new(RespVersion::Two, &mut request);
                writer.array(1 + stream.awaited).bulk(word_of(what).as_bytes());
                request.extend_from_slice(&names);
                shares.push((stream.key, request));
            }
        }
        shares
    }

    /// Begins to wait for the confirmations of a request.
    pub(super) fn begin(&mut self, what: Subscribe, items: Vec<Item>) {
        assert!(self.asked.is_none(), "a client's requests wait for each other");
        self.asked = Some(Asked { what, items: items.into(), done: 0, is_refused: false });
    }

    /// A message has come. It goes to `output`, or waits for its turn.
    pub(super) fn on_message(
        &mut self,
        key: Key,
        mut source: Source<'_>,
        version: RespVersion,
        output: &mut Chain,
    ) -> Heard {
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.key == key) else {
            return Heard::Unasked;
        };
        if !stream.frames.is_empty() {
            let mut message = Box::new(Chain::new());
            source.move_to(&mut message);
            self.held_bytes += bytes_held_by(&message);
            stream.frames.push_back(Frame::Message(message));
            return Heard::Message;
        }
        if stream.subscribed == 0 {
            return Heard::Unasked;
        }
        match version {
            RespVersion::Two => source.move_to(output),
            RespVersion::Three => {
                output.push_copy(PUSH);
                source.append_part(1..source.len(), output);
                source.discard();
            }
        }
        Heard::Message
    }

    /// A confirmation has come.
    pub(super) fn on_confirmation(&mut self, key: Key, what: Subscribe, name: &[u8]) -> Heard {
        let stream = self.streams.iter_mut().find(|stream| stream.key == key);
        let (Some(stream), Some(asked)) = (stream, &self.asked) else { return Heard::Unasked };
        if asked.what != what || stream.awaited == 0 {
            return Heard::Unasked;
        }
        // Items that are done had their confirmations.
        let mut at = stream.next.max(asked.done);
        let is_here = |item: &Item| item.at.is_some_and(|at| at.includes(stream.number));
        while asked.items.get(at - asked.done).is_some_and(|item| !is_here(item)) {
            at += 1;
        }
        let item = asked.items.get(at - asked.done);
        if item.and_then(|item| item.name.as_deref()) != Some(name) {
            return Heard::Unasked;
        }
        stream.next = at + 1;
        stream.awaited -= 1;
        stream.frames.push_back(Frame::Confirmation);
        Heard::Awaited { last: stream.awaited == 0 }
    }

    /// An error has come in place of confirmations.
    pub(super) fn on_refusal(&mut self, key: Key, words: &[u8]) -> Heard {
        let stream = self.streams.iter_mut().find(|stream| stream.key == key);
        let Some(stream) = stream.filter(|stream| stream.awaited > 0) else {
            return Heard::Unasked;
        };
        stream.awaited = 0;
        stream.frames.push_back(Frame::Refusal(words.into()));
        Heard::Awaited { last: true }
    }

    /// Begins to wait for signs of life. Returns the connections to ask: those not asked already.
    pub(super) fn begin_pings(&mut self) -> Vec<Key> {
        let is_due = |stream: &&mut Stream| !stream.is_pinged && stream.subscribed > 0;
        let due = self.streams.iter_mut().filter(is_due);
        due.map(|stream| {
            stream.is_pinged = true;
            stream.key
        })
        .collect()
    }

    /// A sign of life has come.
    pub(super) fn on_pong(&mut self, key: Key) -> Heard {
        let stream = self.streams.iter_mut().find(|stream| stream.key == key);
        match stream.is_some_and(|stream| std::mem::take(&mut stream.is_pinged)) {
            true => Heard::Awaited { last: true },
            false => Heard::Unasked,
        }
    }

    /// A connection has gone. Returns false if the client listened to something there.
    pub(super) fn on_lost(&mut self, key: Key, words: &[u8]) -> bool {
        let stream = self.streams.iter_mut().find(|stream| stream.key == key);
        let Some(stream) = stream else { return true };
        stream.is_lost = true;
        if stream.subscribed > 0 {
            return false;
        }
        // Nothing that came was believed yet: all of it was behind the first confirmation.
        for frame in stream.frames.drain(..) {
            if let Frame::Message(message) = frame {
                self.held_bytes -= bytes_held_by(&message);
            }
        }
        stream.awaited = 0;
        stream.frames.push_back(Frame::Refusal(words.into()));
        true
    }

    /// Moves to `output` what may go to the client by now.
    pub(super) fn advance(&mut self, version: RespVersion, output: &mut Chain) -> Progress {
        let mut words = Vec::new();
        while let Some(asked) = &mut self.asked {
            let Some(at) = asked.items.front().map(|item| item.at) else {
                self.asked = None;
                self.streams.iter_mut().for_each(Stream::forget_refusal);
                self.release(None, version, output);
                return Progress::Over;
            };
            let mut of_item = self.streams.iter().filter(|stream| stream.serves(at));
            if of_item.any(|stream| stream.frames.is_empty()) {
                return Progress::Waits;
            }
            let item = asked.items.pop_front().expect("there is a first, above");
            asked.done += 1;
            words.clear();
            let is_well = self.settle(item, version, &mut words);
            output.push_copy(&words);
            if !is_well {
                return Progress::Torn;
            }
            self.release(at, version, output);
        }
        Progress::Waits
    }

    /// Ends an item whose servers have all answered. Returns false if they do not agree.
    fn settle(&mut self, item: Item, version: RespVersion, words: &mut Vec<u8>) -> bool {
        let Some(asked) = &mut self.asked else { return true };
        let (mut agree, mut refuse) = (0, 0);
        for stream in self.streams.iter_mut().filter(|stream| stream.serves(item.at)) {
            match stream.frames.front() {
                Some(Frame::Confirmation) => {
                    stream.frames.pop_front();
                    agree += 1;
                }
                Some(Frame::Refusal(reply)) => {
                    refuse += 1;
                    if !std::mem::replace(&mut asked.is_refused, true) {
                        words.extend_from_slice(reply);
                    }
                }
                Some(Frame::Message(_)) | None => unreachable!("looked at by the caller"),
            }
        }
        if refuse > 0 {
            return agree == 0 && !is_end(asked.what);
        }
        let what = asked.what;
        self.confirm(what, item, version, words);
        true
    }

    /// Enters or strikes out a name, and says so.
    fn confirm(&mut self, what: Subscribe, item: Item, version: RespVersion, words: &mut Vec<u8>) {
        let mut writer = Writer::new(version, words);
        writer.push(3).bulk(word_of(what).as_bytes());
        let Some(name) = item.name else {
            writer.null().integer(self.count(what));
            return;
        };
        writer.bulk(&name);
        let bytes = bytes_of(&name);
        if is_end(what) {
            if let Some(place) = self.of_mut(what).remove(&name) {
                self.name_bytes -= bytes;
                let here = self.streams.iter_mut().filter(|stream| stream.serves(Some(place)));
                here.for_each(|stream| stream.subscribed -= 1);
            }
        } else if let Some(place) = item.at
            && self.of_mut(what).insert(name, place).is_none()
        {
            self.name_bytes += bytes;
            let here = self.streams.iter_mut().filter(|stream| stream.serves(Some(place)));
            here.for_each(|stream| stream.subscribed += 1);
        }
        Writer::new(version, words).integer(self.count(what));
    }

    /// Moves messages to the output that nothing stands in front of any more, of the streams at a
    /// place; `None`: of all.
    fn release(&mut self, at: Option<Place>, version: RespVersion, output: &mut Chain) {
        for stream in &mut self.streams {
            if at.is_some_and(|at| !at.includes(stream.number)) {
                continue;
            }
            while let Some(Frame::Message(message)) = stream.frames.front_mut() {
                self.held_bytes -= bytes_held_by(message);
                pass_on(message, version, output);
                stream.frames.pop_front();
            }
        }
    }

    /// Takes out the connections that nobody listens on and that nothing is asked on.
    pub(super) fn take_idle(&mut self, mut close: impl FnMut(Key)) {
        assert!(self.asked.is_none(), "a request may need them");
        self.streams.retain(|stream| {
            let is_idle = stream.subscribed == 0;
            if is_idle && !stream.is_lost {
                close(stream.key);
            }
            !is_idle
        });
    }

    /// Takes all connections out.
    pub(super) fn take_all(&mut self, close: impl FnMut(Key)) {
        self.streams.drain(..).filter(|stream| !stream.is_lost).map(|it| it.key).for_each(close);
    }

    /// How many a confirmation says there are. Shard channels are counted by themselves.
    fn count(&self, what: Subscribe) -> i64 {
        let count = match what {
            Subscribe::Ssubscribe | Subscribe::Sunsubscribe => self.shards.len(),
            Subscribe::Subscribe
            | Subscribe::Psubscribe
            | Subscribe::Unsubscribe
            | Subscribe::Punsubscribe => self.channels.len() + self.patterns.len(),
        };
        count as i64
    }

    fn of(&self, what: Subscribe) -> &Names {
        match what {
            Subscribe::Subscribe | Subscribe::Unsubscribe => &self.channels,
            Subscribe::Psubscribe | Subscribe::Punsubscribe => &self.patterns,
            Subscribe::Ssubscribe | Subscribe::Sunsubscribe => &self.shards,
        }
    }

    fn of_mut(&mut self, what: Subscribe) -> &mut Names {
        match what {
            Subscribe::Subscribe | Subscribe::Unsubscribe => &mut self.channels,
            Subscribe::Psubscribe | Subscribe::Punsubscribe => &mut self.patterns,
            Subscribe::Ssubscribe | Subscribe::Sunsubscribe => &mut self.shards,
        }
    }
}

impl Stream {
    fn serves(&self, at: Option<Place>) -> bool {
        at.is_some_and(|at| at.includes(self.number))
    }

    fn forget_refusal(&mut self) {
        if matches!(self.frames.front(), Some(Frame::Refusal(_))) {
            self.frames.pop_front();
        }
    }
}

/// Bytes that keeping a name takes.
pub(super) fn bytes_of(name: &[u8]) -> usize {
    name.len() + SUBSCRIPTION_BYTES
}

/// Bytes that keeping a message takes.
fn bytes_held_by(message: &Chain) -> usize {
    message.len() + HELD_MESSAGE_BYTES
}

/// Moves a message of RESP2 to the output of a client.
fn pass_on(message: &mut Chain, version: RespVersion, output: &mut Chain) {
    if version == RespVersion::Three {
        message.advance(1);
        output.push_copy(PUSH);
    }
    output.append(message);
}

/// What a message begins with in RESP3, where RESP2 has an array's `*`.
const PUSH: &[u8] = b">";

/// Bytes of a request before its first name, at most.
const HEAD_BYTES_MAX: usize = 48;

#[cfg(test)]
mod tests;
