//! Where a server's reply ends.
//!
//! RESP2 and RESP3, as hiredis reads them (`read.c`), with stricter lengths. Of RESP3, what has no
//! length at its head (`$?`, `*?`) is refused: no server sends it.
//!
//! A size is no fault: nothing is kept here, and a reply that is too large for its client must not
//! cost the others that share the connection theirs. Whoever keeps the bytes has the limit.

use memchr::memchr;

use crate::limits::REPLY_DEPTH_MAX;
use crate::proto::RespVersion;
use crate::proto::resp::number::{Number, whole_head};

/// What a reply parser made of the bytes that it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyStep {
    /// All of the data was read, and the reply goes on.
    Partial,
    /// A reply is whole.
    Reply {
        /// Bytes of the data that were read: the reply's last byte is `data[end - 1]`.
        end: usize,
    },
    /// Something is whole that nobody has asked for: a push of RESP3.
    Push {
        /// Bytes of the data that were read, as for a reply.
        end: usize,
    },
    /// The server broke the protocol; its connection is of no use any more. Every further call
    /// says the same.
    Bad(BadReply),
}

/// How a server broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadReply {
    /// A reply, or an element of one, begins with a byte that is no type of the
    /// version that is spoken, or no type for this place.
    Type(u8),
    /// The line after `:` is no number.
    Integer,
    /// The line after another type with a length is no number in its one spelling. `$` and `*` may
    /// have `-1`.
    Length,
    /// What follows `#` is neither `t` nor `f`.
    Boolean,
    /// A CR LF is missing, after a line, after a null or after a bulk string.
    End,
    /// Arrays nest deeper than `REPLY_DEPTH_MAX`. Maps, sets, pushes and attributes count too.
    Depth,
}

/// Finds the replies in the bytes of one server.
///
/// ```text
///            '+' '-'                 CR           LF
///  Element ──────────> Line ────────────> LineEnd ──> Element, or the reply's end
///   │ │ │ '$' ':' '*'                CR    ^ │ '$'
///   │ │ └────────────> Number ─────────────┘ └──> Payload ─> PayloadBreak ─> PayloadEnd ─>
///   │ │ '#'                                                      ^
///   │ └──────────────> Boolean ──────────────────────────────────┤
///   └────────────────────────────────────────────────────────────┘
///     '_'
/// ```
///
/// The other types of RESP3 go one of these ways: `,` and `(` are lines, `!` and `=` bulk strings,
/// `%`, `~`, `>` and `|` arrays, of pairs two of them.
///
/// Arrays that are open are counted in `open`, the outermost first: how many elements each still
/// wants. No element is 0 there, and the reply ends when none is open. Attributes (`|`) bear a mark
/// there, as they are no element: what they are about follows, and belongs to them.
///
/// A line that is cut off in a number is read a second time within the same call, never in
/// another.
pub struct ReplyParser {
    version: RespVersion,
    state: State,
    before: u64,
    kind: u8,
    number: Number,
    payload_left: u64,
    open: Vec<u64>,
    first: u8,
    start: u32,
    len: u64,
    recording: bool,
    elements: Vec<u32>,
    elements_start: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Element,
    Line,
    Number,
    Boolean,
    LineEnd,
    Payload,
    PayloadBreak,
    PayloadEnd,
    Bad(BadReply),
}

/// Whether the reply is whole with what was just read.
type Whole = bool;

impl ReplyParser {
    /// A parser before the first byte of a server that speaks RESP2.
    pub fn new() -> Self {
        Self {
            version: RespVersion::Two,
            state: State::Element,
            before: 0,
            kind: 0,
            number: Number::canonical(),
            payload_left: 0,
            open: Vec::new(),
            first: 0,
            start: 0,
            len: 0,
            recording: false,
            elements: Vec::new(),
            elements_start: 0,
        }
    }

    /// Which version the next reply is in. To be called between two replies.
    pub fn speak(&mut self, version: RespVersion) {
        self.version = version;
    }

    /// Reads the bytes that follow those of the call before, up to the end of the first reply.
    /// What is behind that end is to be given to the next call.
    pub fn parse(&mut self, data: &[u8]) -> ReplyStep {
        self.len = 0;
        match self.read(data) {
            Ok(None) => {
                self.before += data.len() as u64;
                ReplyStep::Partial
            }
            Ok(Some(end)) => {
                self.len = self.before + end as u64;
                self.before = 0;
                self.state = State::Element;
                match self.first {
                    b'>' => ReplyStep::Push { end },
                    _ => ReplyStep::Reply { end },
                }
            }
            Err(fault) => {
                self.state = State::Bad(fault);
                ReplyStep::Bad(fault)
            }
        }
    }

    /// The type byte of the reply that is being read, or of the one that the last call found:
    /// behind its attributes, once they have been read. 0 before the first.
    pub fn first_byte(&self) -> u8 {
        self.first
    }

    /// Bytes of the reply's attributes: where its type byte is.
    pub fn start(&self) -> u32 {
        self.start
    }

    /// Bytes of the reply that the last call found; 0 when it found none.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the last call found no reply.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether to record where the elements of the next reply end, if it is an array, a set or a
    /// map, of which keys and values are elements. To be called between two replies; it holds until
    /// it is called again.
    pub fn record_elements(&mut self, on: bool) {
        self.recording = on;
    }

    /// The end of each element of the array, as offsets from the first byte that was read for it.
    /// The first element begins at `elements_start`, each other where the one before it ends. Empty
    /// unless recording, and for any other reply than an array. Offsets have 32 bits: they are of
    /// no use in a reply beyond `limits::REPLY_BYTES_MAX`.
    pub fn elements(&self) -> &[u32] {
        &self.elements
    }

    /// Records no more of the reply that is being read, and gives up what was recorded of it.
    pub fn forget_elements(&mut self) {
        self.recording = false;
        self.elements = Vec::new();
    }

    /// Where the array's first element begins: behind its `*n\r\n` and what is before that; 0 for
    /// other replies.
    pub fn elements_start(&self) -> u32 {
        self.elements_start
    }

    /// Whether the parser stands between two replies.
    pub fn is_idle(&self) -> bool {
        self.before == 0 && self.state == State::Element
    }

    /// Bytes of the reply that is not whole yet; 0 between two replies.
    pub fn bytes_so_far(&self) -> u64 {
        self.before
    }

    /// Gives up memory that an unusually long array needed, unless inside a reply. Its elements
    /// are gone then. The parser does it by itself after a shorter one.
    fn trim(&mut self) {
        if self.is_idle() && self.elements.capacity() > ELEMENTS_KEPT_MAX {
            self.elements = Vec::new();
        }
        if self.is_idle() && self.open.capacity() > OPEN_KEPT_MAX {
            self.open = Vec::new();
        }
    }

    /// Reads up to the end of a reply, and returns it if it is there.
    fn read(&mut self, data: &[u8]) -> Result<Option<usize>, BadReply> {
        if let State::Bad(fault) = self.state {
            return Err(fault);
        }
        let mut at = 0;
        while let Some(&byte) = data.get(at) {
            let whole = match self.state {
                State::Element => self.on_element(data, &mut at)?,
                State::Line => {
                    at += self.on_line(&data[at..]);
                    false
                }
                State::Number => {
                    at += 1;
                    self.on_digit(byte)?;
                    false
                }
                State::Boolean => {
                    at += 1;
                    self.on_boolean(byte)?
                }
                State::LineEnd => {
                    at += 1;
                    is(byte, b'\n')?;
                    self.on_line_end(data, &mut at)?
                }
                State::Payload => {
                    let here = (data.len() - at) as u64;
                    let count = here.min(self.payload_left);
                    at += count as usize;
                    self.payload_left -= count;
                    if self.payload_left == 0 {
                        self.state = State::PayloadBreak;
                    }
                    false
                }
                State::PayloadBreak => {
                    at += 1;
                    is(byte, b'\r')?;
                    self.state = State::PayloadEnd;
                    false
                }
                State::PayloadEnd => {
                    at += 1;
                    is(byte, b'\n')?;
                    self.on_element_end(at)
                }
                State::Bad(fault) => return Err(fault),
            };
            if whole {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// A type byte, and what follows it as far as that is at hand.
    #[inline]
    fn on_element(&mut self, data: &[u8], at: &mut usize) -> Result<Whole, BadReply> {
        let kind = data[*at];
        if self.open.is_empty() {
            self.begin(kind, *at);
        }
        *at += 1;
        self.kind = kind;
        match kind {
            b'+' | b'-' => {
                self.state = State::Line;
                Ok(false)
            }
            b':' | b'$' | b'*' => self.on_head(data, at),
            other => self.on_new_element(other, data, at),
        }
    }

    /// As `on_element`, for the types that RESP2 has not.
    #[cold]
    fn on_new_element(&mut self, kind: u8, data: &[u8], at: &mut usize) -> Result<Whole, BadReply> {
        match (self.version, kind) {
            (RespVersion::Three, b'_') => self.state = State::PayloadBreak,
            (RespVersion::Three, b'#') => self.state = State::Boolean,
            (RespVersion::Three, b',' | b'(') => self.state = State::Line,
            (RespVersion::Three, b'!' | b'=' | b'%' | b'~' | b'|') => {
                return self.on_head(data, at);
            }
            // It comes between two replies, never in one.
            (RespVersion::Three, b'>') if self.open.is_empty() => return self.on_head(data, at),
            (RespVersion::Two | RespVersion::Three, other) => return Err(BadReply::Type(other)),
        }
        Ok(false)
    }

    /// The type byte before `at` is followed by a number.
    #[inline(always)]
    fn on_head(&mut self, data: &[u8], at: &mut usize) -> Result<Whole, BadReply> {
        if let Some((number, head)) = whole_head(&data[*at..]) {
            *at += head;
            return self.on_number(i64::from(number), data, at);
        }
        self.number = if self.kind == b':' { Number::loose() } else { Number::canonical() };
        self.state = State::Number;
        Ok(false)
    }

    fn begin(&mut self, kind: u8, at: usize) {
        // Memory that the last reply had no use for; one long array after the other keeps it.
        if self.elements.len() <= ELEMENTS_KEPT_MAX {
            self.trim();
        }
        self.first = kind;
        self.start = (self.before + at as u64) as u32;
        self.elements.clear();
        self.elements_start = 0;
    }

    /// A part of a line, up to its CR. Returns how much it read.
    fn on_line(&mut self, data: &[u8]) -> usize {
        match memchr(b'\r', data) {
            Some(len) => {
                self.state = State::LineEnd;
                len + 1
            }
            None => data.len(),
        }
    }

    fn on_digit(&mut self, byte: u8) -> Result<(), BadReply> {
        let fault = if self.kind == b':' { BadReply::Integer } else { BadReply::Length };
        if byte != b'\r' {
            self.number.push(byte);
            return if self.number.is_wrong() { Err(fault) } else { Ok(()) };
        }
        self.number.value().ok_or(fault)?;
        self.state = State::LineEnd;
        Ok(())
    }

    #[cold]
    fn on_boolean(&mut self, byte: u8) -> Result<Whole, BadReply> {
        if !matches!(byte, b't' | b'f') {
            return Err(BadReply::Boolean);
        }
        self.state = State::PayloadBreak;
        Ok(false)
    }

    fn on_line_end(&mut self, data: &[u8], at: &mut usize) -> Result<Whole, BadReply> {
        match self.kind {
            b'+' | b'-' | b',' | b'(' => Ok(self.on_element_end(*at)),
            _ => {
                let number = self.number.value().ok_or(BadReply::Length)?;
                self.on_number(number, data, at)
            }
        }
    }

    /// The head of an integer, a bulk string or an array ends at `at`. A payload that is whole is
    /// taken with it.
    #[inline]
    fn on_number(&mut self, number: i64, data: &[u8], at: &mut usize) -> Result<Whole, BadReply> {
        self.state = State::Element;
        if self.kind == b':' {
            return Ok(self.on_element_end(*at));
        }
        match self.kind {
            b'$' | b'!' | b'=' => self.on_payload(number, data, at),
            _ => self.on_array(number, *at),
        }
    }

    #[inline(always)]
    fn on_payload(&mut self, number: i64, data: &[u8], at: &mut usize) -> Result<Whole, BadReply> {
        let Ok(len) = u64::try_from(number) else {
            self.is_null(number)?;
            return Ok(self.on_element_end(*at));
        };
        let rest = &data[*at..];
        if len < rest.len() as u64 && rest[len as usize..].starts_with(b"\r\n") {
            *at += len as usize + 2;
            return Ok(self.on_element_end(*at));
        }
        self.payload_left = len;
        self.state = if len == 0 { State::PayloadBreak } else { State::Payload };
        Ok(false)
    }

    /// The head of an array, or of another type that has elements, ends at `at`.
    fn on_array(&mut self, number: i64, at: usize) -> Result<Whole, BadReply> {
        let is_attribute = self.kind == b'|';
        if self.open.is_empty() {
            self.elements_start = (self.before + at as u64) as u32;
        }
        if self.open.len() == REPLY_DEPTH_MAX {
            return Err(BadReply::Depth);
        }
        let Ok(count) = u64::try_from(number) else {
            self.is_null(number)?;
            return Ok(self.on_element_end(at));
        };
        let count = match self.kind {
            b'%' | b'|' => pairs(count)?,
            _ => count,
        };
        if count == 0 {
            return Ok(!is_attribute && self.on_element_end(at));
        }
        self.open.push(if is_attribute { count | ATTRIBUTE } else { count });
        Ok(false)
    }

    /// An element ends at `at`, and with it each array whose last one it was.
    #[inline]
    fn on_element_end(&mut self, at: usize) -> Whole {
        self.state = State::Element;
        while let Some(wanted) = self.open.last_mut() {
            *wanted -= 1;
            let wanted = *wanted;
            if self.open.len() == 1 && self.recording && wanted & ATTRIBUTE == 0 {
                self.elements.push((self.before + at as u64) as u32);
            }
            if wanted & !ATTRIBUTE > 0 {
                return false;
            }
            self.open.pop();
            if wanted == ATTRIBUTE {
                return false;
            }
        }
        true
    }

    /// The only negative length is that of null, which is a bulk string or an array.
    fn is_null(&self, number: i64) -> Result<(), BadReply> {
        let may_be = matches!(self.kind, b'$' | b'*');
        if may_be && number == -1 { Ok(()) } else { Err(BadReply::Length) }
    }
}

impl Default for ReplyParser {
    fn default() -> Self {
        Self::new()
    }
}

/// The number in an integer reply, `:12\r\n`; `None` for anything else.
pub fn integer(reply: &[u8]) -> Option<i64> {
    Number::loose().read(reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?)
}

#[inline]
fn is(byte: u8, wanted: u8) -> Result<(), BadReply> {
    if byte == wanted { Ok(()) } else { Err(BadReply::End) }
}

/// How many elements so many pairs are.
fn pairs(count: u64) -> Result<u64, BadReply> {
    count.checked_mul(2).filter(|elements| elements & ATTRIBUTE == 0).ok_or(BadReply::Length)
}

/// The mark of an attribute among what is open. A count has 63 bits.
const ATTRIBUTE: u64 = 1 << 63;

/// Elements whose memory a parser keeps for the next array.
const ELEMENTS_KEPT_MAX: usize = 1024;

/// Open arrays whose memory a parser keeps for the next reply.
const OPEN_KEPT_MAX: usize = 64;

#[cfg(test)]
mod tests;
