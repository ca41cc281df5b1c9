//! Where a server's reply ends.
//!
//! RESP2, as hiredis reads it (`read.c`), with stricter lengths.
//!
//! A size is no fault: nothing is kept here, and a reply that is too large for its client must not
//! cost the others that share the connection theirs. Whoever keeps the bytes has the limit.

use memchr::memchr;

use crate::limits::REPLY_DEPTH_MAX;
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
    /// The server broke the protocol; its connection is of no use any more. Every further call
    /// says the same.
    Bad(BadReply),
}

/// How a server broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadReply {
    /// A reply, or an element of one, begins with a byte that is no type of RESP2.
    Type(u8),
    /// The line after `:` is no number.
    Integer,
    /// The line after `$` or `*` is no number in its one spelling, and not `-1`.
    Length,
    /// A CR LF is missing, after a line or after a bulk string.
    End,
    /// Arrays nest deeper than `REPLY_DEPTH_MAX`.
    Depth,
}

/// Finds the replies in the bytes of one server.
///
/// ```text
///            '+' '-'                 CR           LF
///  Element ──────────> Line ────────────> LineEnd ──> Element, or the reply's end
///     │ '$' ':' '*'                  CR    ^ │ '$'
///     └──────────────> Number ─────────────┘ └──> Payload ─> PayloadBreak ─> PayloadEnd ─>
/// ```
///
/// Arrays that are open are counted in `open`, the outermost first: how many elements each still
/// wants. No element is 0 there, and the reply ends when none is open.
///
/// A line that is cut off in a number is read a second time within the same call, never in
/// another.
pub struct ReplyParser {
    state: State,
    before: u64,
    kind: u8,
    number: Number,
    payload_left: u64,
    open: Vec<u64>,
    first: u8,
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
    LineEnd,
    Payload,
    PayloadBreak,
    PayloadEnd,
    Bad(BadReply),
}

/// Whether the reply is whole with what was just read.
type Whole = bool;

impl ReplyParser {
    /// A parser before the first byte.
    pub fn new() -> Self {
        Self {
            state: State::Element,
            before: 0,
            kind: 0,
            number: Number::canonical(),
            payload_left: 0,
            open: Vec::new(),
            first: 0,
            len: 0,
            recording: false,
            elements: Vec::new(),
            elements_start: 0,
        }
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
                ReplyStep::Reply { end }
            }
            Err(fault) => {
                self.state = State::Bad(fault);
                ReplyStep::Bad(fault)
            }
        }
    }

    /// The type byte of the reply that is being read, or of the one that the last call found.
    /// 0 before the first.
    pub fn first_byte(&self) -> u8 {
        self.first
    }

    /// Bytes of the reply that the last call found; 0 when it found none.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the last call found no reply.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether to record where the elements of the next reply end, if it is an array. To be
    /// called between two replies; it holds until it is called again.
    pub fn record_elements(&mut self, on: bool) {
        self.recording = on;
    }

    /// The end of each element of the array, as offsets from the reply's first byte. The first
    /// element begins at `elements_start`, each other where the one before it ends. Empty unless
    /// recording, and for any other reply than an array. Offsets have 32 bits: they are of no use
    /// in a reply beyond `limits::REPLY_BYTES_MAX`.
    pub fn elements(&self) -> &[u32] {
        &self.elements
    }

    /// Records no more of the reply that is being read, and gives up what was recorded of it.
    pub fn forget_elements(&mut self) {
        self.recording = false;
        self.elements = Vec::new();
    }

    /// Bytes of the array's `*n\r\n`, where its first element begins; 0 for other replies.
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
            self.begin(kind);
        }
        *at += 1;
        self.kind = kind;
        match kind {
            b'+' | b'-' => {
                self.state = State::Line;
            }
            b':' | b'$' | b'*' => {
                if let Some((number, head)) = whole_head(&data[*at..]) {
                    *at += head;
                    return self.on_number(i64::from(number), data, at);
                }
                self.number = if kind == b':' { Number::loose() } else { Number::canonical() };
                self.state = State::Number;
            }
            other => return Err(BadReply::Type(other)),
        }
        Ok(false)
    }

    fn begin(&mut self, kind: u8) {
        // Memory that the last reply had no use for; one long array after the other keeps it.
        if self.elements.len() <= ELEMENTS_KEPT_MAX {
            self.trim();
        }
        self.first = kind;
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

    fn on_line_end(&mut self, data: &[u8], at: &mut usize) -> Result<Whole, BadReply> {
        match self.kind {
            b'+' | b'-' => Ok(self.on_element_end(*at)),
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
        if self.kind == b'*' {
            return self.on_array(number, *at);
        }
        let Ok(len) = u64::try_from(number) else {
            is_null(number)?;
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

    /// The head of an array ends at `at`.
    fn on_array(&mut self, number: i64, at: usize) -> Result<Whole, BadReply> {
        if self.open.is_empty() {
            self.elements_start = (self.before + at as u64) as u32;
        }
        if self.open.len() == REPLY_DEPTH_MAX {
            return Err(BadReply::Depth);
        }
        let Ok(count) = u64::try_from(number) else {
            is_null(number)?;
            return Ok(self.on_element_end(at));
        };
        if count == 0 {
            return Ok(self.on_element_end(at));
        }
        self.open.push(count);
        Ok(false)
    }

    /// An element ends at `at`, and with it each array whose last one it was.
    #[inline]
    fn on_element_end(&mut self, at: usize) -> Whole {
        self.state = State::Element;
        while let Some(wanted) = self.open.last_mut() {
            *wanted -= 1;
            let is_last = *wanted == 0;
            if self.open.len() == 1 && self.recording {
                self.elements.push((self.before + at as u64) as u32);
            }
            if !is_last {
                return false;
            }
            self.open.pop();
        }
        true
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

/// The only negative length is that of null.
fn is_null(number: i64) -> Result<(), BadReply> {
    if number == -1 { Ok(()) } else { Err(BadReply::Length) }
}

/// Elements whose memory a parser keeps for the next array.
const ELEMENTS_KEPT_MAX: usize = 1024;

/// Open arrays whose memory a parser keeps for the next reply.
const OPEN_KEPT_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(data: &[u8]) -> ReplyParser {
        let mut parser = ReplyParser::new();
        parser.record_elements(true);
        assert_eq!(parser.parse(data), ReplyStep::Reply { end: data.len() });
        assert_eq!((parser.first_byte(), parser.len()), (data[0], data.len() as u64));
        parser
    }

    #[test]
    fn elements_of_the_outer_array_are_recorded() {
        let parser = whole(b"*4\r\n$1\r\na\r\n$-1\r\n*2\r\n:1\r\n*0\r\n+OK\r\n");
        assert_eq!(parser.elements_start(), 4);
        assert_eq!(parser.elements(), [11, 16, 28, 33]);
        assert_eq!(whole(b"*0\r\n").elements(), []);
        assert_eq!(whole(b"*-1\r\n").elements(), []);
        assert_eq!(whole(b"$1\r\na\r\n").elements(), []);
    }

    #[test]
    fn nothing_is_recorded_unless_asked_for() {
        let mut parser = whole(b"*1\r\n:1\r\n");
        parser.record_elements(false);
        assert_eq!(parser.parse(b"*1\r\n:1\r\n"), ReplyStep::Reply { end: 8 });
        assert_eq!(parser.elements(), []);
    }

    #[test]
    fn arrays_nest_up_to_a_limit() {
        let deepest = [b"*1\r\n".repeat(REPLY_DEPTH_MAX), b":1\r\n".to_vec()].concat();
        assert_eq!(whole(&deepest).elements().len(), 1);
        let mut parser = ReplyParser::new();
        assert_eq!(
            parser.parse(&b"*1\r\n".repeat(REPLY_DEPTH_MAX + 1)),
            ReplyStep::Bad(BadReply::Depth)
        );
        assert_eq!(parser.parse(b"+OK\r\n"), ReplyStep::Bad(BadReply::Depth));
    }

    #[test]
    fn a_size_is_no_fault() {
        let mut parser = ReplyParser::new();
        assert_eq!(parser.parse(b"*2\r\n$9223372036854775807\r\nabc"), ReplyStep::Partial);
        let mut parser = ReplyParser::new();
        for _ in 0..100 {
            assert_eq!(parser.parse(b"-"), ReplyStep::Partial);
            assert_eq!(parser.parse(&[b'x'; 100_000]), ReplyStep::Partial);
            assert_eq!(parser.parse(b"\r\n"), ReplyStep::Reply { end: 2 });
        }
    }

    #[test]
    fn nothing_is_allocated_for_a_count() {
        let mut parser = ReplyParser::new();
        parser.record_elements(true);
        assert_eq!(parser.parse(b"*999999999999\r\n:1\r\n"), ReplyStep::Partial);
        assert!(parser.elements.capacity() < 100);
        assert_eq!(parser.bytes_so_far(), 19);
    }

    #[test]
    fn integers_are_read() {
        assert_eq!(integer(b":12\r\n"), Some(12));
        assert_eq!(integer(b":-9223372036854775808\r\n"), Some(i64::MIN));
        for reply in [b"+12\r\n".as_slice(), b":\r\n", b":1", b":x\r\n", b""] {
            assert_eq!(integer(reply), None);
        }
    }
}
