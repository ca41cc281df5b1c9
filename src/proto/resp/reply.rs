//! Where a server's reply ends.
//!
//! RESP2, as hiredis reads it (`read.c`), with stricter lengths and with limits.

use memchr::memchr;

use crate::limits::{
    BULK_BYTES_MAX, REPLY_BYTES_MAX, REPLY_DEPTH_MAX, REPLY_ELEMENTS_MAX, REPLY_LINE_BYTES_MAX,
};
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

/// How a server broke the protocol, or went over a limit of ours.
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
    /// A line goes on for more than `REPLY_LINE_BYTES_MAX`.
    Line,
    /// A bulk string is larger than `BULK_BYTES_MAX`.
    Bulk,
    /// An array has more than `REPLY_ELEMENTS_MAX` elements.
    Elements,
    /// Arrays nest deeper than `REPLY_DEPTH_MAX`.
    Depth,
    /// The reply as a whole is larger than `REPLY_BYTES_MAX`.
    TooBig,
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
    line_len: usize,
    payload_left: u32,
    depth: usize,
    open: [u32; REPLY_DEPTH_MAX],
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
            line_len: 0,
            payload_left: 0,
            depth: 0,
            open: [0; REPLY_DEPTH_MAX],
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
    /// recording, and for any other reply than an array.
    pub fn elements(&self) -> &[u32] {
        &self.elements
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
    pub fn trim(&mut self) {
        if self.is_idle() && self.elements.capacity() > ELEMENTS_KEPT_MAX {
            self.elements = Vec::new();
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
                    at += self.on_line(&data[at..])?;
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
                    let count = (data.len() - at).min(self.payload_left as usize);
                    at += count;
                    self.payload_left -= count as u32;
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
        if self.depth == 0 {
            self.begin(kind);
        } else if self.before + *at as u64 >= REPLY_BYTES_MAX {
            return Err(BadReply::TooBig);
        }
        *at += 1;
        self.kind = kind;
        match kind {
            b'+' | b'-' => {
                self.line_len = 0;
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
    fn on_line(&mut self, data: &[u8]) -> Result<usize, BadReply> {
        let found = memchr(b'\r', data);
        let len = found.unwrap_or(data.len());
        self.line_len += len;
        if self.line_len > REPLY_LINE_BYTES_MAX {
            return Err(BadReply::Line);
        }
        if found.is_some() {
            self.state = State::LineEnd;
            return Ok(len + 1);
        }
        Ok(len)
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
        if len > BULK_BYTES_MAX {
            return Err(BadReply::Bulk);
        }
        if self.before + *at as u64 + len + 2 > REPLY_BYTES_MAX {
            return Err(BadReply::TooBig);
        }
        let end = *at + len as usize;
        if data.get(end..end + 2) == Some(b"\r\n") {
            *at = end + 2;
            return Ok(self.on_element_end(*at));
        }
        self.payload_left = len as u32;
        self.state = if len == 0 { State::PayloadBreak } else { State::Payload };
        Ok(false)
    }

    /// The head of an array ends at `at`.
    fn on_array(&mut self, number: i64, at: usize) -> Result<Whole, BadReply> {
        if self.depth == 0 {
            self.elements_start = (self.before + at as u64) as u32;
        }
        if self.depth == REPLY_DEPTH_MAX {
            return Err(BadReply::Depth);
        }
        let Ok(count) = u64::try_from(number) else {
            is_null(number)?;
            return Ok(self.on_element_end(at));
        };
        if count > REPLY_ELEMENTS_MAX {
            return Err(BadReply::Elements);
        }
        if count == 0 {
            return Ok(self.on_element_end(at));
        }
        self.open[self.depth] = count as u32;
        self.depth += 1;
        Ok(false)
    }

    /// An element ends at `at`, and with it each array whose last one it was.
    #[inline]
    fn on_element_end(&mut self, at: usize) -> Whole {
        self.state = State::Element;
        while self.depth > 0 {
            if self.depth == 1 && self.recording {
                self.elements.push((self.before + at as u64) as u32);
            }
            let wanted = &mut self.open[self.depth - 1];
            *wanted -= 1;
            if *wanted > 0 {
                return false;
            }
            self.depth -= 1;
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
        assert_eq!(parser.parse(&b"*1\r\n".repeat(100_000)), ReplyStep::Bad(BadReply::Depth));
        assert_eq!(parser.parse(b"+OK\r\n"), ReplyStep::Bad(BadReply::Depth));
    }

    #[test]
    fn a_reply_as_a_whole_has_a_limit() {
        let mut parser = ReplyParser::new();
        assert_eq!(parser.parse(b"*3\r\n$536870912\r\n"), ReplyStep::Partial);
        let payload = vec![b'x'; 64 << 20];
        for _ in 0..8 {
            assert_eq!(parser.parse(&payload), ReplyStep::Partial);
        }
        let step = parser.parse(b"\r\n$536870881\r\n");
        assert_eq!(step, ReplyStep::Bad(BadReply::TooBig));
    }

    #[test]
    fn nothing_is_allocated_for_a_count() {
        let mut parser = ReplyParser::new();
        parser.record_elements(true);
        assert_eq!(parser.parse(b"*268435456\r\n:1\r\n"), ReplyStep::Partial);
        assert!(parser.elements.capacity() < 100);
        assert_eq!(parser.bytes_so_far(), 16);
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
