//! All arguments of a request: a request describes the first ones only, and the keys.

use std::ops::{Index, Range};

use crate::proto::Request;
use crate::proxy::source::Source;

/// The arguments of one request, the command's name first.
pub(super) struct Arguments {
    bytes: Vec<u8>,
    ranges: Vec<Range<usize>>,
}

impl Arguments {
    /// Copies them out of a request in RESP form.
    pub(super) fn of(request: &Request, source: &Source<'_>) -> Self {
        let mut scratch = Vec::new();
        let bytes = source.slice(0..source.len(), &mut scratch).to_vec();
        let mut ranges = Vec::with_capacity(request.arguments as usize);
        let mut at = line(&bytes, 0).end + 2;
        for _ in 0..request.arguments {
            let head = line(&bytes, at);
            let digits = &bytes[head.start + 1..head.end];
            let len = digits.iter().fold(0, |len, digit| len * 10 + usize::from(digit - b'0'));
            let start = head.end + 2;
            ranges.push(start..start + len);
            at = start + len + 2;
        }
        assert_eq!(at, bytes.len(), "the parser has counted the arguments");
        Self { bytes, ranges }
    }

    /// How many there are, the name included.
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// An argument, if there are as many.
    pub(super) fn find(&self, index: usize) -> Option<&[u8]> {
        Some(&self.bytes[self.ranges.get(index)?.clone()])
    }

    /// Whether an argument is this word, in any case.
    pub(super) fn is(&self, index: usize, word: &str) -> bool {
        self.find(index).is_some_and(|it| it.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// The arguments from `start` on.
    pub(super) fn from(&self, start: usize) -> impl Iterator<Item = &[u8]> {
        self.ranges.iter().skip(start).map(|range| &self.bytes[range.clone()])
    }

    /// The whole number that an argument is, as Redis reads one.
    pub(super) fn integer(&self, index: usize) -> Option<i64> {
        integer(self.find(index)?)
    }
}

impl Index<usize> for Arguments {
    type Output = [u8];

    /// Panics when there are not as many.
    fn index(&self, index: usize) -> &[u8] {
        &self.bytes[self.ranges[index].clone()]
    }
}

/// A whole number in its one spelling: no plus, no zero in front.
/// Source: redis `util.c`, `string2ll`.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_plain = digits.iter().all(u8::is_ascii_digit) && !digits.is_empty();
    let is_shortest = text == b"0" || !digits.starts_with(b"0");
    (is_plain && is_shortest).then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

/// From `start` to the CR of a line.
fn line(bytes: &[u8], start: usize) -> Range<usize> {
    let len = memchr::memchr(b'\r', &bytes[start..]).expect("the parser has seen the line's end");
    start..start + len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Buffer, Chain};
    use crate::proto::{Parsed, Protocol, RequestParser};
    use bytes::Bytes;

    #[test]
    fn all_arguments_are_found_also_those_without_a_span() {
        let words: Vec<String> = (0..100).map(|index| "x".repeat(index)).collect();
        let mut bytes = b"*100\r\n".to_vec();
        for word in &words {
            bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        let mut parser = RequestParser::new(Protocol::Resp);
        assert_eq!(parser.parse(&bytes), Parsed::Request { end: bytes.len() });
        let mut before = Chain::new();
        before.push_copy(&bytes[..50]);
        let mut buffer = Buffer::from_bytes(Bytes::copy_from_slice(&bytes[50..]));
        let source = Source::new(&mut before, &mut buffer, 0..bytes.len() - 50);
        let arguments = Arguments::of(parser.request(), &source);
        assert_eq!(arguments.len(), 100);
        for (index, word) in words.iter().enumerate() {
            assert_eq!(&arguments[index], word.as_bytes());
        }
        assert!(arguments.is(1, "X") && !arguments.is(1, "y") && !arguments.is(100, "x"));
        assert_eq!(arguments.from(98).count(), 2);
    }

    #[test]
    fn a_number_has_one_spelling() {
        for (text, number) in [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX)] {
            assert_eq!(integer(text.as_bytes()), Some(number));
        }
        for text in ["", "-", "-0", "+1", "01", "1 ", "9223372036854775808", "1.0", "x"] {
            assert_eq!(integer(text.as_bytes()), None, "{text}");
        }
    }
}
