//! Inline requests: a line of words, for people with a terminal and for health checks.
//!
//! Redis: `processInlineBuffer` of `networking.c`, `sdssplitargs` of `sds.c`.

use memchr::memchr2;

use crate::limits::INLINE_BYTES_MAX;
use crate::proto::resp::RequestParser;
use crate::proto::{BadRequest, Form, Parsed};

/// The memory that inline requests need, which few clients ever do.
#[derive(Default)]
pub(super) struct Inline {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The words of the last line, without quotes, one after the other.
    words: Vec<u8>,
    /// Where each word ends in `words`.
    ends: Vec<u32>,
}

impl Inline {
    /// Takes a line apart, which comes without its line break.
    ///
    /// Errors: `UnbalancedQuotes`.
    pub(super) fn split(&mut self, line: &[u8]) -> Result<(), BadRequest> {
        self.words.clear();
        self.ends.clear();
        let mut rest = line;
        while let Some(start) = rest.iter().position(|&byte| !is_space(byte)) {
            rest = self.word(&rest[start..])?;
            self.ends.push(self.words.len() as u32);
        }
        Ok(())
    }

    /// How many words the last line had.
    pub(super) fn count(&self) -> usize {
        self.ends.len()
    }

    /// The words of the last line.
    pub(super) fn words(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let word = &self.words[start..end as usize];
            start = end as usize;
            word
        })
    }

    /// Bytes of memory held.
    pub(super) fn capacity(&self) -> usize {
        self.line.capacity() + self.words.capacity() + 4 * self.ends.capacity()
    }

    /// Reads one word and returns what follows it. A quote may open anywhere in a word, and ends
    /// it when it closes. Outside of quotes a word ends at the blanks that `sdssplitargs` names,
    /// which are fewer than those that it skips between words.
    fn word<'a>(&mut self, text: &'a [u8]) -> Result<&'a [u8], BadRequest> {
        let mut rest = text;
        while let Some((&byte, after)) = rest.split_first() {
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => return Ok(after),
                b'"' => return self.double_quoted(after),
                b'\'' => return self.single_quoted(after),
                _ => self.words.push(byte),
            }
            rest = after;
        }
        Ok(rest)
    }

    fn double_quoted<'a>(&mut self, text: &'a [u8]) -> Result<&'a [u8], BadRequest> {
        let mut rest = text;
        loop {
            rest = match *rest {
                [b'\\', b'x', high, low, ref after @ ..]
                    if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
                {
                    self.words.push(hex_digit(high) << 4 | hex_digit(low));
                    after
                }
                [b'\\', escaped, ref after @ ..] => {
                    self.words.push(match escaped {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'b' => 0x08,
                        b'a' => 0x07,
                        other => other,
                    });
                    after
                }
                [b'"', ref after @ ..] => return quote_closed(after),
                [byte, ref after @ ..] => {
                    self.words.push(byte);
                    after
                }
                [] => return Err(BadRequest::UnbalancedQuotes),
            }
        }
    }

    fn single_quoted<'a>(&mut self, text: &'a [u8]) -> Result<&'a [u8], BadRequest> {
        let mut rest = text;
        loop {
            rest = match *rest {
                [b'\\', b'\'', ref after @ ..] => {
                    self.words.push(b'\'');
                    after
                }
                [b'\'', ref after @ ..] => return quote_closed(after),
                [byte, ref after @ ..] => {
                    self.words.push(byte);
                    after
                }
                [] => return Err(BadRequest::UnbalancedQuotes),
            }
        }
    }
}

impl RequestParser {
    /// A piece of an inline request.
    pub(super) fn on_line(&mut self, data: &[u8]) -> Result<Parsed, BadRequest> {
        let found = memchr2(b'\n', 0, data);
        let len = found.unwrap_or(data.len());
        if self.before + len as u64 > INLINE_BYTES_MAX as u64 {
            return Err(BadRequest::TooBigInline);
        }
        let mut inline = self.inline.take().unwrap_or_default();
        let parsed = match found {
            None => {
                inline.line.extend_from_slice(data);
                Ok(Parsed::Partial)
            }
            Some(end) if data[end] == 0 => Err(BadRequest::InlineZero),
            Some(end) if inline.line.is_empty() => {
                self.on_whole_line(&mut inline, &data[..end], end + 1)
            }
            Some(end) => {
                inline.line.extend_from_slice(&data[..end]);
                let line = std::mem::take(&mut inline.line);
                let parsed = self.on_whole_line(&mut inline, &line, end + 1);
                inline.line = line;
                inline.line.clear();
                parsed
            }
        };
        self.inline = Some(inline);
        parsed
    }

    /// An inline request without its LF, which ends at `end` in the data: its words become a
    /// request in RESP form.
    fn on_whole_line(
        &mut self,
        inline: &mut Inline,
        line: &[u8],
        end: usize,
    ) -> Result<Parsed, BadRequest> {
        inline.split(line.strip_suffix(b"\r").unwrap_or(line))?;
        if inline.count() == 0 {
            return Ok(Parsed::Nothing { end });
        }
        self.expect(inline.count() as u32);
        self.request.rewritten.clear();
        self.push_head(b'*', inline.count());
        for word in inline.words() {
            self.push_head(b'$', word.len());
            let offset = self.request.rewritten.len() as u32;
            self.request.rewritten.extend_from_slice(word);
            self.request.rewritten.extend_from_slice(b"\r\n");
            self.on_argument(offset, word.len() as u32, word)?;
        }
        self.request.form = Form::Rewritten;
        self.request.len = self.request.rewritten.len() as u32;
        Ok(Parsed::Request { end })
    }

    fn push_head(&mut self, kind: u8, number: usize) {
        self.request.rewritten.push(kind);
        let mut digits = itoa::Buffer::new();
        self.request.rewritten.extend_from_slice(digits.format(number).as_bytes());
        self.request.rewritten.extend_from_slice(b"\r\n");
    }
}

/// Behind a closing quote there is a blank or nothing.
fn quote_closed(after: &[u8]) -> Result<&[u8], BadRequest> {
    match after.first() {
        Some(&byte) if !is_space(byte) => Err(BadRequest::UnbalancedQuotes),
        _ => Ok(after),
    }
}

/// C's isspace(3).
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => byte - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, BadRequest> {
        let mut inline = Inline::default();
        inline.split(line)?;
        Ok(inline.words().map(<[u8]>::to_vec).collect())
    }

    #[test]
    fn words_are_split_as_redis_splits_them() {
        let cases: [(&[u8], &[&[u8]]); 12] = [
            (b"", &[]),
            (b" \t\x0b\x0c\r ", &[]),
            (b"PING", &[b"PING"]),
            (b"  set\tk  v ", &[b"set", b"k", b"v"]),
            (b"\"\" ''", &[b"", b""]),
            (b"PI\"NG\"", &[b"PING"]),
            (b"'PI\\'NG' 'a\\nb'", &[b"PI'NG", b"a\\nb"]),
            (b"\"\\x50ING\" \"\\x4\" \"\\n\\q\\\"\"", &[b"PING", b"x4", b"\nq\""]),
            (b"\"\\r\\t\\b\\a\\\\\" \"\\xfF\"", &[b"\r\t\x08\x07\\", b"\xff"]),
            (b"PING\x0bx", &[b"PING\x0bx"]),
            (b"\"a\"\x0b\"b\"", &[b"a", b"b"]),
            (b"\"a b\" 'c d'", &[b"a b", b"c d"]),
        ];
        for (line, words) in cases {
            assert_eq!(split(line).unwrap(), words, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_quote_must_close_and_end_its_word() {
        let lines: [&[u8]; 8] =
            [b"\"", b"'", b"\"a", b"a 'b", b"\"a\"b", b"'a'b", b"\"a\\\"", b"GET \"x\\x4"];
        for line in lines {
            assert_eq!(split(line), Err(BadRequest::UnbalancedQuotes), "{}", line.escape_ascii());
        }
    }
}
