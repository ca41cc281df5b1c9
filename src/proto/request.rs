//! What a request parser says about a request, whatever the protocol.

use std::ops::{Deref, Range};

use crate::proto::Expected;
use crate::proto::commands::{Command, Serve, Timeout};

/// What a request parser made of the bytes that it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// All of the data was read, and the request goes on.
    Partial,
    /// A request is whole; the parser describes it until its next call.
    Request {
        /// Bytes of the data that were read: the request's last byte is `data[end - 1]`.
        end: usize,
    },
    /// What ends here is nothing to answer: a blank line, `*0`, `*-1`.
    Nothing {
        /// Bytes of the data that were read.
        end: usize,
    },
    /// The client broke the protocol. It is told why, and closed; every further call says the same.
    Bad(BadRequest),
}

/// Where an argument's payload lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Bytes from the request's first one.
    pub offset: u32,
    /// Bytes of the payload.
    pub len: u32,
}

/// Which arguments of a request are keys, as argument indexes; the command's name is argument 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeySpan {
    /// The first of the keys that stand in a row.
    pub first: u32,
    /// How many stand in a row; 0: the request has no key at all.
    pub count: u32,
    /// From one of them to the next.
    pub step: u32,
    /// A key that stands apart, before the others (the destination of ZUNIONSTORE) or behind them
    /// (that of SORT); 0: none.
    pub also: u32,
}

impl KeySpan {
    /// No keys.
    pub const NONE: KeySpan = KeySpan { first: 0, count: 0, step: 0, also: 0 };

    /// The keys of a request with so many arguments, from the columns of `Keys::Range`. Positions
    /// behind the last argument are left out: the arity is wrong then, which is not judged here.
    pub fn range(first: u8, last: i8, step: u8, arguments: u32) -> Self {
        let end = i64::from(arguments);
        let last = i64::from(last) + if last < 0 { end } else { 0 };
        let last = last.min(end - 1);
        let (first, step) = (u32::from(first), u32::from(step));
        if last < i64::from(first) {
            return Self::NONE;
        }
        Self { first, count: (last as u32 - first) / step + 1, step, also: 0 }
    }

    /// The keys of a request with so many arguments, one of which says `count`, from the columns
    /// of `Keys::Counted`. None at all when there are not as many arguments behind it: the server
    /// has words for that.
    pub fn counted(first: u8, count: i64, also: Option<u8>, arguments: u32) -> Self {
        let first = u32::from(first);
        let most = arguments.saturating_sub(first);
        match u32::try_from(count) {
            Ok(count) if (1..=most).contains(&count) => {
                Self { first, count, step: 1, also: also.map_or(0, u32::from) }
            }
            _ => Self::NONE,
        }
    }

    /// The argument index of each key, in the order in which they stand in the request.
    pub fn indexes(self) -> impl Iterator<Item = u32> {
        let before = (self.also != 0 && self.also < self.first).then_some(self.also);
        let behind = (self.also > self.first).then_some(self.also);
        let row = (0..self.count).map(move |nth| self.first + nth * self.step);
        before.into_iter().chain(row).chain(behind)
    }
}

/// One request, described. A parser has one and fills it anew, so that none is allocated.
///
/// ```text
/// *3\r\n $3\r\n SET \r\n $1\r\n k \r\n $5\r\n hello \r\n
///              ^8,3            ^17,1          ^24,5        spans {offset, len}
///                        |-----------|                     bulk_range(1) = 13..20
/// ```
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The command's row in the table; `None` when the name is not in it.
    pub command: Option<&'static Command>,
    /// How many arguments there are, the name included.
    pub arguments: u32,
    /// Bytes of the request in RESP form: of `rewritten` if there is one, else as it came.
    pub len: u32,
    /// The first arguments: `SPANS_ALWAYS` of them, and beyond those only as far as the keys
    /// reach (and the value that follows each key of MSET).
    pub spans: Vec<Span>,
    /// Which arguments are keys. Every one of them has its span.
    pub keys: KeySpan,
    /// Arguments by which further keys are found, each a pattern (BY and GET of SORT). Every one
    /// of them has its span.
    pub patterns: Vec<u32>,
    /// Whether the command is called by a name that its pool gives it, which servers do not know.
    pub renamed: bool,
    /// The argument behind BLOCK (XREAD); 0: there is none.
    pub(in crate::proto) block_at: u32,
    /// What may answer it.
    pub expected: Expected,
    pub(in crate::proto) rewritten: Vec<u8>,
    pub(in crate::proto) form: Form,
}

/// What is forwarded of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Its bytes as they came.
    #[default]
    AsItCame,
    /// `Request::rewritten`.
    Rewritten,
    /// Its bytes without these: the `noreply` of a memcached client, who wants no answer.
    Cut(Span),
}

/// Spans that are recorded of any request that has as many arguments: what an error text quotes.
pub const SPANS_ALWAYS: u32 = 32;

impl Request {
    /// The bytes to forward when the client did not send RESP: an inline request, in RESP form.
    /// The spans refer to these bytes then, else to those of the client.
    pub fn rewritten(&self) -> Option<&[u8]> {
        (self.form == Form::Rewritten).then_some(&self.rewritten)
    }

    /// The argument that says how long the request may wait at a server; `None`: it does not wait.
    /// It has its span.
    pub fn timeout_at(&self) -> Option<u32> {
        let Serve::Blocking(timeout) = self.command?.serve else { return None };
        let at = match timeout {
            Timeout::First => 1,
            Timeout::Last => self.arguments - 1,
            Timeout::Option => self.block_at,
        };
        (1..self.arguments).contains(&at).then_some(at)
    }

    /// What is forwarded of it.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The same request with another name, of which all bytes behind the name are the same.
    pub fn with_name(&self, name: &str) -> Self {
        let mut request = self.clone();
        let before = self.bulk_range(0);
        let head = 1 + digits(name.len()) + 2;
        let end = before.start + head + name.len() + 2;
        request.spans[0] = Span { offset: (before.start + head) as u32, len: name.len() as u32 };
        for span in &mut request.spans[1..] {
            span.offset = (span.offset as usize + end - before.end) as u32;
        }
        request.len = (self.len as usize + end - before.end) as u32;
        request
    }

    /// Where the payload of an argument lies, from the request's first byte.
    ///
    /// Panics when the argument has no span.
    pub fn argument_range(&self, index: u32) -> Range<usize> {
        let span = self.spans[index as usize];
        span.offset as usize..span.offset as usize + span.len as usize
    }

    /// Where an argument lies with its `$<len>\r\n` and the CR LF that ends it. A length has one
    /// spelling only, so the size of the head follows from it.
    ///
    /// Panics when the argument has no span.
    pub fn bulk_range(&self, index: u32) -> Range<usize> {
        let payload = self.argument_range(index);
        payload.start - (1 + digits(payload.len()) + 2)..payload.end + 2
    }
}

/// How many digits a number has.
fn digits(number: usize) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// How a client broke the protocol. Redis's faults have Redis's words (`networking.c` of 7.0);
/// where we look closer than Redis, words of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadRequest {
    /// The line after `*` does not end.
    TooBigCountString,
    /// The line after `*` is no number, or there are too many arguments.
    InvalidCount,
    /// An argument begins with this byte instead of `$`.
    ExpectedBulk(u8),
    /// The line after `$` does not end.
    TooBigLengthString,
    /// The line after `$` is no number, or too large a one.
    InvalidLength,
    /// More arguments than somebody may send who has not said the password.
    StrangerCount,
    /// A longer argument than that.
    StrangerLength,
    /// An inline request does not end.
    TooBigInline,
    /// An inline request has a quote that does not end, or goes on right behind one that does.
    UnbalancedQuotes,
    /// A CR in the line after `*` or `$` without its LF. Redis skips any byte there.
    HeadEnd,
    /// An argument without CR LF behind it. Redis skips any two bytes there.
    BulkEnd,
    /// The request as a whole is too large.
    TooBigRequest,
    /// A zero byte in an inline request. Redis never finds the end of such a line.
    InlineZero,
    /// A line of the memcached protocol does not end.
    TooBigLine,
    /// memcached's binary protocol: closed without a word, as its clients would not understand one.
    Binary,
    /// Somebody sent HTTP here, a browser that was made to for instance: closed without a word.
    Http,
}

impl BadRequest {
    /// What the client is told, without the `-ERR ` or `CLIENT_ERROR ` before it and the CR LF
    /// behind. `None`: it is
    /// told nothing.
    pub fn words(self) -> Option<Words> {
        Some(Words::new(match self {
            Self::TooBigCountString => b"Protocol error: too big mbulk count string",
            Self::InvalidCount => b"Protocol error: invalid multibulk length",
            Self::ExpectedBulk(byte) => return Some(Words::expected_bulk(byte)),
            Self::TooBigLengthString => b"Protocol error: too big bulk count string",
            Self::InvalidLength => b"Protocol error: invalid bulk length",
            Self::StrangerCount => b"Protocol error: unauthenticated multibulk length",
            Self::StrangerLength => b"Protocol error: unauthenticated bulk length",
            Self::TooBigInline => b"Protocol error: too big inline request",
            Self::UnbalancedQuotes => b"Protocol error: unbalanced quotes in request",
            Self::HeadEnd => b"Protocol error: expected CRLF after length",
            Self::BulkEnd => b"Protocol error: expected CRLF after bulk string",
            Self::TooBigRequest => b"Protocol error: too big request",
            Self::InlineZero => b"Protocol error: zero byte in inline request",
            Self::TooBigLine => b"line too long",
            Self::Binary | Self::Http => return None,
        }))
    }
}

/// A short text, without a heap.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Words {
    bytes: [u8; 56],
    len: u8,
}

impl Words {
    fn new(text: &[u8]) -> Self {
        let mut bytes = [0; 56];
        bytes[..text.len()].copy_from_slice(text);
        Self { bytes, len: text.len() as u8 }
    }

    /// A line break in an error text becomes a space, as Redis does it (`afterErrorReply`).
    fn expected_bulk(byte: u8) -> Self {
        let mut words = Self::new(b"Protocol error: expected '$', got '?'");
        let shown = if matches!(byte, b'\r' | b'\n') { b' ' } else { byte };
        words.bytes[words.len as usize - 2] = shown;
        words
    }
}

impl Deref for Words {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_where_the_arguments_end() {
        let keys = |first, last, step, arguments| {
            KeySpan::range(first, last, step, arguments).indexes().collect::<Vec<_>>()
        };
        assert_eq!(keys(1, 1, 1, 2), [1]);
        assert_eq!(keys(1, -1, 1, 4), [1, 2, 3]);
        assert_eq!(keys(1, -1, 2, 5), [1, 3]);
        assert_eq!(keys(2, -1, 1, 5), [2, 3, 4]);
        assert_eq!(keys(1, 2, 1, 2), [1]);
        assert_eq!(keys(1, -1, 1, 1), []);
        assert_eq!(keys(1, 1, 1, 1), []);
    }

    #[test]
    fn a_count_that_does_not_fit_means_no_keys() {
        let stored = |count, arguments| KeySpan::counted(3, count, Some(1), arguments);
        assert_eq!(stored(2, 5).indexes().collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(stored(1, 9).indexes().collect::<Vec<_>>(), [1, 3]);
        for (count, arguments) in [(0, 5), (-1, 5), (3, 5), (1, 3), (1 << 32, 5), (i64::MAX, 5)] {
            assert_eq!(stored(count, arguments), KeySpan::NONE);
        }
    }

    #[test]
    fn words_carry_the_byte_and_no_line_break() {
        let words = |fault: BadRequest| fault.words().map(|words| words.to_vec());
        let got = |byte| words(BadRequest::ExpectedBulk(byte)).unwrap();
        assert_eq!(got(b'X'), b"Protocol error: expected '$', got 'X'");
        assert_eq!(got(0xff), b"Protocol error: expected '$', got '\xff'");
        assert_eq!(got(b'\n'), b"Protocol error: expected '$', got ' '");
        assert_eq!(words(BadRequest::Http), None);
        assert_eq!(
            words(BadRequest::InvalidCount).unwrap(),
            b"Protocol error: invalid multibulk length"
        );
    }

    #[test]
    fn another_name_moves_what_is_behind_it() {
        let whole = |bytes: &[u8]| {
            let mut parser = crate::proto::resp::RequestParser::new();
            let parsed = parser.parse(bytes);
            assert_eq!(parsed, Parsed::Request { end: bytes.len() });
            parser.request().clone()
        };
        let short = whole(b"*3\r\n$3\r\nget\r\n$1\r\nk\r\n$0\r\n\r\n");
        let long = whole(b"*3\r\n$10\r\nsubstitute\r\n$1\r\nk\r\n$0\r\n\r\n");
        for (from, name, to) in [(&short, "substitute", &long), (&long, "get", &short)] {
            let named = from.with_name(name);
            assert_eq!((named.spans, named.len), (to.spans.clone(), to.len));
        }
    }

    #[test]
    fn a_bulk_has_its_head_and_its_line_break() {
        let bytes = [b"*2\r\n$0\r\n\r\n$10\r\n".as_slice(), b"0123456789\r\n"].concat();
        let spans = vec![Span { offset: 8, len: 0 }, Span { offset: 15, len: 10 }];
        let request = Request { spans, ..Request::default() };
        assert_eq!(&bytes[request.bulk_range(0)], b"$0\r\n\r\n");
        assert_eq!(&bytes[request.bulk_range(1)], b"$10\r\n0123456789\r\n");
        assert_eq!(&bytes[request.argument_range(1)], b"0123456789");
    }
}
