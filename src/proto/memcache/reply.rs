//! Where a server's reply ends.
//!
//! A size is no fault, as for RESP: whoever keeps the bytes has the limit.

use crate::limits::MEMCACHE_LINE_BYTES_MAX;
use crate::proto::resp::{BadReply, ReplyStep};

/// Finds the replies in the bytes of one server.
///
/// ```text
///            VALUE ... LF         bytes              CR LF
///  Line ──────────────────> Value ─────> ValueBreak ──────┐
///   ^ │ another line                                      │
///   │ └───────────> the reply's end                       │
///   └─────────────────────────────────────────────────────┘
/// ```
///
/// A reply is one line, or any number of values and a line. Lines that no request we forward is
/// answered with are doubt, and so is a line that ends without a CR.
pub struct ReplyParser {
    state: State,
    before: u64,
    line_len: usize,
    /// The first word of the line, as far as it fits.
    word: [u8; WORD_BYTES_MAX],
    words: u32,
    in_word: bool,
    after_cr: bool,
    /// The fourth word of the line.
    number: Option<u64>,
    /// Values of this reply so far.
    has_values: bool,
    left: u64,
    recording: bool,
    elements: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Line,
    Value,
    ValueBreak,
    ValueEnd,
    Bad(BadReply),
}

impl ReplyParser {
    /// A parser before the first byte.
    pub fn new() -> Self {
        Self {
            state: State::Line,
            before: 0,
            line_len: 0,
            word: [0; WORD_BYTES_MAX],
            words: 0,
            in_word: false,
            after_cr: false,
            number: None,
            has_values: false,
            left: 0,
            recording: false,
            elements: Vec::new(),
        }
    }

    /// Reads the bytes that follow those of the call before, up to the end of the first reply.
    /// What is behind that end is to be given to the next call.
    pub fn parse(&mut self, data: &[u8]) -> ReplyStep {
        if self.is_idle() {
            self.begin();
        }
        match self.read(data) {
            Ok(None) => {
                self.before += data.len() as u64;
                ReplyStep::Partial
            }
            Ok(Some(end)) => {
                self.before = 0;
                ReplyStep::Reply { end }
            }
            Err(fault) => {
                self.state = State::Bad(fault);
                ReplyStep::Bad(fault)
            }
        }
    }

    /// Whether to record where the values of the next reply end. To be called between two replies;
    /// it holds until it is called again.
    pub fn record_elements(&mut self, on: bool) {
        self.recording = on;
    }

    /// The end of each value, its CR LF included, as offsets from the reply's first byte. The
    /// first begins at 0, each other where the one before it ends. Empty unless recording.
    pub fn elements(&self) -> &[u32] {
        &self.elements
    }

    /// Records no more of the reply that is being read, and gives up what was recorded of it.
    pub fn forget_elements(&mut self) {
        self.recording = false;
        self.elements = Vec::new();
    }

    /// Whether the parser stands between two replies.
    pub fn is_idle(&self) -> bool {
        self.before == 0 && self.state == State::Line
    }

    /// Bytes of the reply that is not whole yet; 0 between two replies.
    pub fn bytes_so_far(&self) -> u64 {
        self.before
    }

    fn begin(&mut self) {
        if self.elements.len() <= ELEMENTS_KEPT_MAX && self.elements.capacity() > ELEMENTS_KEPT_MAX
        {
            self.elements = Vec::new();
        }
        self.elements.clear();
        self.has_values = false;
        self.begin_line();
    }

    fn begin_line(&mut self) {
        self.state = State::Line;
        self.line_len = 0;
        self.words = 0;
        self.in_word = false;
        self.after_cr = false;
        self.number = None;
    }

    fn read(&mut self, data: &[u8]) -> Result<Option<usize>, BadReply> {
        let mut at = 0;
        while let Some(&byte) = data.get(at) {
            match self.state {
                State::Line => {
                    at += 1;
                    if self.on_line_byte(byte)? {
                        return Ok(Some(at));
                    }
                }
                State::Value => {
                    let count = self.left.min((data.len() - at) as u64);
                    at += count as usize;
                    self.left -= count;
                    if self.left == 0 {
                        self.state = State::ValueBreak;
                    }
                }
                State::ValueBreak => {
                    at += 1;
                    is(byte, b'\r')?;
                    self.state = State::ValueEnd;
                }
                State::ValueEnd => {
                    at += 1;
                    is(byte, b'\n')?;
                    if self.recording {
                        self.elements.push((self.before + at as u64) as u32);
                    }
                    self.begin_line();
                }
                State::Bad(fault) => return Err(fault),
            }
        }
        Ok(None)
    }

    /// Takes a byte of a line. Returns whether the reply is whole with it.
    #[inline]
    fn on_line_byte(&mut self, byte: u8) -> Result<bool, BadReply> {
        if self.after_cr {
            is(byte, b'\n')?;
            return self.on_line_end();
        }
        match byte {
            b'\r' => self.after_cr = true,
            b'\n' => return Err(BadReply::End),
            b' ' => self.in_word = false,
            _ => self.on_word_byte(byte),
        }
        if self.words == 0 && self.line_len == 0 && byte == b' ' {
            return Err(BadReply::Type(byte));
        }
        self.line_len += 1;
        if self.line_len > MEMCACHE_LINE_BYTES_MAX { Err(BadReply::Length) } else { Ok(false) }
    }

    #[inline]
    fn on_word_byte(&mut self, byte: u8) {
        if !self.in_word {
            self.in_word = true;
            self.words += 1;
            if self.words == VALUE_LEN_WORD {
                self.number = Some(0);
            }
        }
        if self.words == 1 {
            if let Some(place) = self.word.get_mut(self.line_len) {
                *place = byte;
            }
            if self.line_len + 1 < WORD_BYTES_MAX {
                self.word[self.line_len + 1] = 0;
            }
        } else if self.words == VALUE_LEN_WORD {
            let digit = u64::from(byte.wrapping_sub(b'0'));
            let next = self.number.and_then(|n| n.checked_mul(10)?.checked_add(digit));
            self.number = next.filter(|_| digit <= 9);
        }
    }

    fn on_line_end(&mut self) -> Result<bool, BadReply> {
        if self.words == 0 {
            return Err(BadReply::End);
        }
        let len = self.word.iter().position(|&byte| byte == 0).unwrap_or(WORD_BYTES_MAX);
        let word = &self.word[..len];
        if word == b"VALUE" {
            let len = self.number.filter(|_| matches!(self.words, 4 | 5));
            self.left = len.filter(|&len| len <= VALUE_BYTES_MAX).ok_or(BadReply::Length)?;
            self.has_values = true;
            self.state = if self.left == 0 { State::ValueBreak } else { State::Value };
            return Ok(false);
        }
        let is_error = matches!(word, b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR");
        let is_known = is_error
            || word == b"END"
            || !self.has_values && (LINES.contains(&word) || word.iter().all(u8::is_ascii_digit));
        if !is_known {
            return Err(BadReply::Type(word[0]));
        }
        self.state = State::Line;
        Ok(true)
    }
}

impl Default for ReplyParser {
    fn default() -> Self {
        Self::new()
    }
}

fn is(byte: u8, expected: u8) -> Result<(), BadReply> {
    if byte == expected { Ok(()) } else { Err(BadReply::End) }
}

/// First words of the lines that answer what we forward, besides numbers and errors.
const LINES: &[&[u8]] =
    &[b"STORED", b"NOT_STORED", b"EXISTS", b"NOT_FOUND", b"DELETED", b"TOUCHED", b"OK", b"VERSION"];

/// Bytes of a first word that are looked at: more than the longest known has.
const WORD_BYTES_MAX: usize = 24;

/// `VALUE <key> <flags> <bytes>`: the word that says how long the value is, counted from 1.
const VALUE_LEN_WORD: u32 = 4;

/// Bytes of a value: memcached's largest item is 1 GiB (`-I`, memcached 1.6).
const VALUE_BYTES_MAX: u64 = 1 << 30;

/// Ends whose memory an idle parser keeps.
const ELEMENTS_KEPT_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(data: &[u8]) -> (ReplyStep, Vec<u32>) {
        let mut parser = ReplyParser::new();
        parser.record_elements(true);
        let step = parser.parse(data);
        (step, parser.elements().to_vec())
    }

    #[test]
    fn a_reply_is_found_at_every_split() {
        let replies: &[(&[u8], &[u32])] = &[
            (b"STORED\r\n", &[]),
            (b"18446744073709551615\r\n", &[]),
            (b"END\r\n", &[]),
            (b"VERSION 1.6.18\r\n", &[]),
            (b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n", &[]),
            (b"VALUE a 0 0\r\n\r\nEND\r\n", &[15]),
            (b"VALUE a 1 5\r\n\r\nEND\r\nVALUE bb 2 2 99\r\nxy\r\nEND\r\n", &[20, 41]),
            (b"VALUE a 1 1\r\nx\r\nSERVER_ERROR out of memory\r\n", &[16]),
        ];
        for (reply, ends) in replies {
            for split in 0..reply.len() {
                let mut parser = ReplyParser::new();
                for _ in 0..2 {
                    parser.record_elements(true);
                    assert_eq!(parser.parse(&reply[..split]), ReplyStep::Partial);
                    assert_eq!(parser.bytes_so_far(), split as u64);
                    let rest = [&reply[split..], b"END"].concat();
                    let end = reply.len() - split;
                    assert_eq!(parser.parse(&rest), ReplyStep::Reply { end }, "{split}");
                    assert_eq!(parser.elements(), *ends);
                    assert!(parser.is_idle());
                }
            }
        }
    }

    #[test]
    fn what_no_request_of_ours_is_answered_with_is_doubt() {
        let replies: &[&[u8]] = &[
            b"\r\n",
            b"\n",
            b"ENDD\r\n",
            b"-1\r\n",
            b"END\n",
            b"END\rx",
            b" END\r\n",
            b"HD\r\n",
            b"VALUE a 0\r\n",
            b"VALUE a 0 -1\r\n",
            b"VALUE a 0 x\r\n",
            b"VALUE a 0 9999999999\r\n",
            b"VALUE a 0 1 2 3\r\n",
            b"VALUE a 0 1\r\nxy\r\n",
            b"VALUE a 0 1\r\nx\r\nSTORED\r\n",
            b"VALUE a 0 1\r\nx\r\n7\r\n",
            b"STORED_\r\n",
            b"+OK\r\n",
            b"VALUEVALUEVALUEVALUEVALUEVALUE\r\n",
        ];
        for reply in replies {
            let (step, _) = whole(reply);
            assert!(matches!(step, ReplyStep::Bad(_)), "{} {step:?}", reply.escape_ascii());
        }
        let (step, _) = whole(&[b'E'; MEMCACHE_LINE_BYTES_MAX + 1]);
        assert_eq!(step, ReplyStep::Bad(BadReply::Length));
    }
}
