//! Where a client's request ends, and what is in it.
//!
//! Redis: `processMultibulkBuffer` and `processInlineBuffer` of `networking.c`. We look closer
//! than it does: where it skips two bytes because CR LF should be there, we look, so that every
//! byte that is forwarded is framed as we understood it.

mod inline;
mod keys;

use std::sync::Arc;

use crate::limits::{
    ARGUMENTS_MAX, BULK_BYTES_MAX, INLINE_BYTES_MAX, REQUEST_BYTES_MAX, STRANGER_ARGUMENTS_MAX,
    STRANGER_BULK_BYTES_MAX,
};
use crate::proto::commands::{NAME_BYTES_MAX, Names};
use crate::proto::resp::number::{Number, whole_head};
use crate::proto::{BadRequest, Form, KeySpan, Parsed, Request, SPANS_ALWAYS, Span};

use inline::Inline;

/// Finds the requests in the bytes of one client.
///
/// ```text
///         '*'           CR           LF            '$'           CR            LF
///  Idle ──────> Count ─────> CountEnd ──> Argument ───> Length ─────> LengthEnd ──┐
///   │ else                                 ^   │ whole arguments                   │
///   v                                      │<──┘ in one go                         v
///  Inline ─ LF ─> done            done <── PayloadEnd <── CR ── PayloadBreak <── Payload
/// ```
///
/// Arguments that lie whole in the data are taken in one go (`whole_arguments`); the states
/// between two bytes of an argument are for those that do not. Those that are found cut off are
/// read a second time from their `$` within the same call, never in another.
///
/// Invariants: `before` is what earlier calls read of the request, so that the request's first
/// byte is `before` bytes in front of the data. `left` arguments are not whole yet.
pub struct RequestParser {
    request: Request,
    state: State,
    before: u64,
    left: u32,
    spans_wanted: u32,
    /// The next argument whose payload says where keys are; 0: none does.
    look_at: u32,
    number: Number,
    payload_len: u32,
    payload_left: u32,
    /// The beginning of an argument whose payload we need and that comes in pieces.
    captured: [u8; NAME_BYTES_MAX],
    inline: Option<Box<Inline>>,
    /// Names of commands beside those of the table.
    names: Option<Arc<Names>>,
    /// What one request may have: less, while the client is not known.
    arguments_max: u64,
    bulk_bytes_max: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Count,
    CountEnd,
    Argument,
    Length,
    LengthEnd,
    Payload,
    PayloadBreak,
    PayloadEnd,
    Inline,
    Bad(BadRequest),
}

impl RequestParser {
    /// A parser before the first byte.
    pub fn new() -> Self {
        Self {
            request: Request::default(),
            state: State::Idle,
            before: 0,
            left: 0,
            spans_wanted: 0,
            look_at: 0,
            number: Number::canonical(),
            payload_len: 0,
            payload_left: 0,
            captured: [0; NAME_BYTES_MAX],
            inline: None,
            names: None,
            arguments_max: ARGUMENTS_MAX,
            bulk_bytes_max: BULK_BYTES_MAX,
        }
    }

    /// Says whether the client is known, and may send more than it takes to say a password. It
    /// holds from the next request on.
    #[inline]
    pub fn trust(&mut self, is_known: bool) {
        let (arguments, bytes) = match is_known {
            true => (ARGUMENTS_MAX, BULK_BYTES_MAX),
            false => (STRANGER_ARGUMENTS_MAX, STRANGER_BULK_BYTES_MAX),
        };
        (self.arguments_max, self.bulk_bytes_max) = (arguments, bytes);
    }

    /// Gives it names of commands beside those of the table.
    pub fn learn(&mut self, names: Option<Arc<Names>>) {
        self.names = names;
    }

    /// Reads the bytes that follow those of the call before, up to the end of the first request.
    /// What is behind that end is to be given to the next call.
    pub fn parse(&mut self, data: &[u8]) -> Parsed {
        let parsed = self.read(data).unwrap_or_else(Parsed::Bad);
        match parsed {
            Parsed::Partial => self.before += data.len() as u64,
            Parsed::Request { .. } | Parsed::Nothing { .. } => {
                self.before = 0;
                self.state = State::Idle;
            }
            Parsed::Bad(fault) => self.state = State::Bad(fault),
        }
        parsed
    }

    /// The request that the last call found.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Whether the parser stands between two requests.
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Bytes of the request that is not whole yet; 0 between two requests.
    pub fn bytes_so_far(&self) -> u64 {
        self.before
    }

    /// Gives up memory that an unusually large request needed, unless inside a request. The
    /// description of the last one is gone then. The parser does it by itself after a smaller one:
    /// call this for a client that may send none for long.
    fn trim(&mut self) {
        if !self.is_idle() {
            return;
        }
        if self.request.spans.capacity() > SPANS_KEPT_MAX {
            self.request = Request::default();
        }
        if self.request.rewritten.capacity() > INLINE_KEPT_BYTES_MAX {
            self.request.rewritten = Vec::new();
            self.request.form = Form::AsItCame;
        }
        if self.inline.as_ref().is_some_and(|inline| inline.capacity() > INLINE_KEPT_BYTES_MAX) {
            self.inline = None;
        }
    }

    fn read(&mut self, data: &[u8]) -> Result<Parsed, BadRequest> {
        if let State::Bad(fault) = self.state {
            return Err(fault);
        }
        let mut at = 0;
        while let Some(&byte) = data.get(at) {
            at += 1;
            match self.state {
                State::Idle => at = self.on_first_byte(data),
                State::Count => self.on_count(byte)?,
                State::CountEnd => {
                    is(byte, b'\n', BadRequest::HeadEnd)?;
                    match self.number.value() {
                        Some(count @ 1..) => self.expect(count as u32),
                        _ => return Ok(Parsed::Nothing { end: at }),
                    }
                }
                State::Argument => {
                    at = self.whole_arguments(data, at - 1)?;
                    if self.left == 0 {
                        return Ok(self.on_end(at));
                    }
                    if let Some(&byte) = data.get(at) {
                        self.on_cut_argument(byte)?;
                        at += 1;
                    }
                }
                State::Length => self.on_length(byte)?,
                State::LengthEnd => {
                    is(byte, b'\n', BadRequest::HeadEnd)?;
                    self.on_length_end(at)?;
                }
                State::Payload => at += self.on_payload(&data[at - 1..]) - 1,
                State::PayloadBreak => {
                    is(byte, b'\r', BadRequest::BulkEnd)?;
                    self.state = State::PayloadEnd;
                }
                State::PayloadEnd => {
                    is(byte, b'\n', BadRequest::BulkEnd)?;
                    self.on_payload_end(at)?;
                    if self.left == 0 {
                        return Ok(self.on_end(at));
                    }
                }
                State::Inline => return self.on_line(data),
                State::Bad(fault) => return Err(fault),
            }
        }
        Ok(Parsed::Partial)
    }

    /// Begins a request. Returns how many bytes it read.
    #[inline]
    fn on_first_byte(&mut self, data: &[u8]) -> usize {
        // Memory that the last request had no use for; one large request after the other keeps it.
        if self.request.spans.len() <= SPANS_KEPT_MAX {
            self.trim();
        }
        self.request.spans.clear();
        self.request.form = Form::AsItCame;
        if data[0] != b'*' {
            self.state = State::Inline;
            return 0;
        }
        if let Some((count @ 1.., head)) = whole_head(&data[1..])
            && u64::from(count) <= self.arguments_max
        {
            self.expect(count);
            return 1 + head;
        }
        self.number = Number::canonical();
        self.state = State::Count;
        1
    }

    /// Prepares for so many arguments.
    fn expect(&mut self, arguments: u32) {
        self.request.command = None;
        self.request.keys = KeySpan::NONE;
        self.request.patterns.clear();
        self.request.block_at = 0;
        self.request.renamed = false;
        self.request.arguments = arguments;
        self.left = arguments;
        self.spans_wanted = SPANS_ALWAYS;
        self.look_at = 0;
        self.state = State::Argument;
    }

    /// Takes the arguments that lie whole in the data from `at` on. Returns where they end.
    #[inline]
    fn whole_arguments(&mut self, data: &[u8], mut at: usize) -> Result<usize, BadRequest> {
        while self.left > 0 {
            let Some((b'$', rest)) = data.get(at..).and_then(<[u8]>::split_first) else { break };
            let Some((len, head)) = whole_head(rest) else { break };
            let payload = at + 1 + head;
            let offset = self.before + payload as u64;
            fits(offset, u64::from(len), self.bulk_bytes_max)?;
            let end = payload + len as usize;
            if data.get(end..end + 2) != Some(b"\r\n") {
                break;
            }
            self.on_argument(offset as u32, len, &data[payload..end])?;
            at = end + 2;
        }
        Ok(at)
    }

    /// Begins an argument that is cut off or wrong, byte by byte.
    fn on_cut_argument(&mut self, byte: u8) -> Result<(), BadRequest> {
        if byte != b'$' {
            return Err(BadRequest::ExpectedBulk(byte));
        }
        self.number = Number::canonical();
        self.state = State::Length;
        Ok(())
    }

    /// A byte behind `*`. A number that is wrong already is read to its CR all the same, up to
    /// a limit: Redis tells these two faults apart.
    fn on_count(&mut self, byte: u8) -> Result<(), BadRequest> {
        match byte {
            b'\n' => return Err(BadRequest::InvalidCount),
            b'\r' => match self.number.value() {
                Some(count) if count <= self.arguments_max as i64 => self.state = State::CountEnd,
                Some(count) if count <= ARGUMENTS_MAX as i64 => {
                    return Err(BadRequest::StrangerCount);
                }
                _ => return Err(BadRequest::InvalidCount),
            },
            _ => self.number.push(byte),
        }
        if self.number.len() >= INLINE_BYTES_MAX {
            return Err(BadRequest::TooBigCountString);
        }
        Ok(())
    }

    /// A byte behind `$`.
    fn on_length(&mut self, byte: u8) -> Result<(), BadRequest> {
        match byte {
            b'\n' => return Err(BadRequest::InvalidLength),
            b'\r' => match self.number.value() {
                Some(len @ 0..) if len as u64 <= BULK_BYTES_MAX => {
                    bulk_fits(len as u64, self.bulk_bytes_max)?;
                    self.payload_len = len as u32;
                    self.payload_left = len as u32;
                    self.state = State::LengthEnd;
                }
                _ => return Err(BadRequest::InvalidLength),
            },
            _ => self.number.push(byte),
        }
        if self.number.len() >= INLINE_BYTES_MAX {
            return Err(BadRequest::TooBigLengthString);
        }
        Ok(())
    }

    /// The payload begins at `at` in the data.
    fn on_length_end(&mut self, at: usize) -> Result<(), BadRequest> {
        fits(self.before + at as u64, u64::from(self.payload_len), self.bulk_bytes_max)?;
        self.state = if self.payload_len == 0 { State::PayloadBreak } else { State::Payload };
        Ok(())
    }

    /// Skips payload. Returns how much of it.
    fn on_payload(&mut self, data: &[u8]) -> usize {
        let count = data.len().min(self.payload_left as usize);
        if self.payload_len as usize <= NAME_BYTES_MAX {
            let start = (self.payload_len - self.payload_left) as usize;
            self.captured[start..start + count].copy_from_slice(&data[..count]);
        }
        self.payload_left -= count as u32;
        if self.payload_left == 0 {
            self.state = State::PayloadBreak;
        }
        count
    }

    /// An argument that came in pieces is whole, and ends at `at` in the data.
    fn on_payload_end(&mut self, at: usize) -> Result<(), BadRequest> {
        let offset = self.before + at as u64 - 2 - u64::from(self.payload_len);
        let captured = self.captured;
        let payload = captured.get(..self.payload_len as usize).unwrap_or_default();
        self.state = State::Argument;
        self.on_argument(offset as u32, self.payload_len, payload)
    }

    /// An argument is whole. `payload` is of use for short ones only: it may be empty for others.
    #[inline]
    fn on_argument(&mut self, offset: u32, len: u32, payload: &[u8]) -> Result<(), BadRequest> {
        let index = self.request.arguments - self.left;
        self.left -= 1;
        if index < self.spans_wanted {
            self.request.spans.push(Span { offset, len });
        }
        if index == 0 {
            self.on_name(payload)?;
        } else if index == self.look_at {
            self.on_looked_at(index, payload);
        }
        Ok(())
    }

    /// The last argument is whole, and ends at `at` in the data.
    #[inline]
    fn on_end(&mut self, at: usize) -> Parsed {
        self.request.len = (self.before + at as u64) as u32;
        Parsed::Request { end: at }
    }
}

impl Default for RequestParser {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a payload may begin at this offset of the request and be as long.
#[inline]
fn fits(offset: u64, len: u64, most: u64) -> Result<(), BadRequest> {
    bulk_fits(len, most)?;
    if offset + len + 2 > REQUEST_BYTES_MAX {
        return Err(BadRequest::TooBigRequest);
    }
    Ok(())
}

#[inline]
fn bulk_fits(len: u64, most: u64) -> Result<(), BadRequest> {
    match len {
        _ if len <= most => Ok(()),
        _ if len <= BULK_BYTES_MAX => Err(BadRequest::StrangerLength),
        _ => Err(BadRequest::InvalidLength),
    }
}

#[inline]
fn is(byte: u8, wanted: u8, fault: BadRequest) -> Result<(), BadRequest> {
    if byte == wanted { Ok(()) } else { Err(fault) }
}

/// Spans whose memory a parser keeps for the next request.
const SPANS_KEPT_MAX: usize = 256;

/// Bytes of memory for inline requests that a parser keeps for the next one.
const INLINE_KEPT_BYTES_MAX: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(data: &[u8]) -> RequestParser {
        let mut parser = RequestParser::new();
        assert_eq!(parser.parse(data), Parsed::Request { end: data.len() });
        parser
    }

    fn list(arguments: &[&[u8]]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments {
            bytes.extend(format!("${}\r\n", argument.len()).into_bytes());
            bytes.extend([*argument, b"\r\n"].concat());
        }
        bytes
    }

    fn keys(line: &str) -> Vec<String> {
        let arguments: Vec<_> = line.split(' ').map(str::as_bytes).collect();
        let bytes = list(&arguments);
        let parser = whole(&bytes);
        let text = |index| {
            let key = &bytes[parser.request().argument_range(index)];
            String::from_utf8(key.to_vec()).unwrap()
        };
        parser.request().keys.indexes().map(text).collect()
    }

    #[test]
    fn keys_are_where_the_command_has_them() {
        assert_eq!(keys("GET a"), ["a"]);
        assert_eq!(keys("mset a 1 b 2"), ["a", "b"]);
        assert_eq!(keys("LMOVE a b LEFT RIGHT"), ["a", "b"]);
        assert_eq!(keys("SINTERSTORE d a b"), ["d", "a", "b"]);
        assert_eq!(keys("ZUNION 2 a b WITHSCORES"), ["a", "b"]);
        assert_eq!(keys("ZUNIONSTORE d 2 a b WEIGHTS 1 2"), ["d", "a", "b"]);
        assert_eq!(keys("EVAL return 1 a x"), ["a"]);
        for line in ["PING", "EVAL x 0 a", "ZUNION 3 a b", "ZUNION 02 a b", "ZDIFF x a", "FOO a"] {
            assert_eq!(keys(line), [""; 0], "{line}");
        }
    }

    #[test]
    fn spans_go_as_far_as_the_keys() {
        let spans = |name: &[u8], count: usize| {
            let mut arguments = vec![b"1".as_slice(); count];
            arguments[0] = name;
            whole(&list(&arguments)).request().spans.len()
        };
        assert_eq!(spans(b"lpush", 100_000), SPANS_ALWAYS as usize);
        assert_eq!(spans(b"unknown", 20), 20);
        assert_eq!(spans(b"mget", 5000), 5000);
        assert_eq!(spans(b"mset", 5001), 5001);
        assert_eq!(spans(b"bitop", 77), 77);
        let mut many = vec![b"k".as_slice(); 1000];
        (many[0], many[1]) = (b"zunion", b"100");
        assert_eq!(whole(&list(&many)).request().spans.len(), 102);
    }

    #[test]
    fn an_inline_request_is_rewritten() {
        let parser = whole(b"set  k \"a b\"\r\n");
        let request = parser.request();
        let bytes = request.rewritten().unwrap();
        assert_eq!(bytes, b"*3\r\n$3\r\nset\r\n$1\r\nk\r\n$3\r\na b\r\n");
        assert_eq!(&bytes[request.bulk_range(2)], b"$3\r\na b\r\n");
        assert_eq!((request.len as usize, request.keys.first), (bytes.len(), 1));
    }

    #[test]
    fn the_next_request_forgets_the_one_before() {
        let mut parser = whole(b"GET k\n");
        let next = b"*1\r\n$7\r\nUNKNOWN\r\n";
        assert_eq!(parser.parse(next), Parsed::Request { end: next.len() });
        let request = parser.request();
        assert_eq!((request.command, request.keys, request.spans.len()), (None, KeySpan::NONE, 1));
        assert_eq!(request.rewritten(), None);
    }

    #[test]
    fn bytes_are_counted_until_the_request_ends() {
        let mut parser = RequestParser::new();
        assert!(parser.is_idle());
        assert_eq!(parser.parse(b"*1\r\n$4\r\nPI"), Parsed::Partial);
        assert_eq!((parser.bytes_so_far(), parser.is_idle()), (10, false));
        assert_eq!(parser.parse(b"NG\r\n*1"), Parsed::Request { end: 4 });
        assert_eq!((parser.bytes_so_far(), parser.is_idle()), (0, true));
        assert_eq!(parser.request().len, 14);
    }

    #[test]
    fn memory_of_a_large_request_is_given_up() {
        let mut arguments = vec![b"k".as_slice(); 10_000];
        arguments[0] = b"mget";
        let mut parser = whole(&list(&arguments));
        parser.trim();
        assert_eq!(parser.request.spans.capacity(), 0);
        let blank = [vec![b' '; 60_000], b"\n".to_vec()].concat();
        assert_eq!(parser.parse(&blank[..9]), Parsed::Partial);
        assert_eq!(parser.parse(&blank[9..]), Parsed::Nothing { end: blank.len() - 9 });
        assert_eq!(parser.parse(b"PING\n"), Parsed::Request { end: 5 });
        assert!(parser.inline.unwrap().capacity() <= INLINE_KEPT_BYTES_MAX);
    }

    #[test]
    fn a_request_as_a_whole_has_a_limit() {
        let mut parser = RequestParser::new();
        assert_eq!(parser.parse(b"*3\r\n"), Parsed::Partial);
        let payload = vec![b'x'; 64 << 20];
        assert_eq!(parser.parse(b"$536870912\r\n"), Parsed::Partial);
        for _ in 0..8 {
            assert_eq!(parser.parse(&payload), Parsed::Partial);
        }
        assert_eq!(parser.parse(b"\r\n$536870881\r"), Parsed::Partial);
        assert_eq!(parser.parse(b"\n"), Parsed::Bad(BadRequest::TooBigRequest));
        assert_eq!(parser.parse(b"PING\r\n"), Parsed::Bad(BadRequest::TooBigRequest));
    }
}
