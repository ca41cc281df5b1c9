//! Where a server's reply ends.
//!
//! A size is no fault, as for RESP: whoever keeps the bytes has the limit.

use crate::limits::MEMCACHE_LINE_BYTES_MAX;
use crate::proto::resp::{BadReply, ReplyStep};
use crate::proto::{Expected, KeyHash, Replies};

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
/// A reply is one line, or values and a line. What does not answer the request is doubt: a line of
/// another kind, a value of a key that was not asked for, and a line that ends without a CR.
pub struct ReplyParser {
    expected: Expected,
    state: State,
    before: u64,
    line_len: usize,
    /// The first word of the line, as far as it fits, and how long it is.
    word: [u8; WORD_BYTES_MAX],
    word_len: usize,
    words: u32,
    in_word: bool,
    after_cr: bool,
    /// The second word of the line, and the fourth.
    key: KeyHash,
    number: Option<u64>,
    /// Values of this reply so far.
    values: u32,
    left: u64,
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
            expected: Expected::default(),
            state: State::Line,
            before: 0,
            line_len: 0,
            word: [0; WORD_BYTES_MAX],
            word_len: 0,
            words: 0,
            in_word: false,
            after_cr: false,
            key: KeyHash::START,
            number: None,
            values: 0,
            left: 0,
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

    /// Says what the next reply is to answer, and whether to record where its values end. To be
    /// called between two replies; it holds until it is called again. Without it no reply but an
    /// error is one.
    pub fn expect(&mut self, expected: Expected) {
        self.expected = expected;
    }

    /// The end of each value, its CR LF included, as offsets from the reply's first byte. The
    /// first begins at 0, each other where the one before it ends. Empty unless recording.
    pub fn elements(&self) -> &[u32] {
        &self.elements
    }

    /// Records no more of the reply that is being read, and gives up what was recorded of it.
    pub fn forget_elements(&mut self) {
        self.expected.elements = false;
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

    /// Bytes at the end of what was read that may still turn out to be no answer: those of a line
    /// that is not whole.
    pub fn unsure_bytes(&self) -> usize {
        match self.state {
            State::Line => self.line_len,
            State::Value | State::ValueBreak | State::ValueEnd | State::Bad(_) => 0,
        }
    }

    fn begin(&mut self) {
        if self.elements.len() <= ELEMENTS_KEPT_MAX && self.elements.capacity() > ELEMENTS_KEPT_MAX
        {
            self.elements = Vec::new();
        }
        self.elements.clear();
        self.values = 0;
        self.begin_line();
    }

    fn begin_line(&mut self) {
        self.state = State::Line;
        self.line_len = 0;
        self.word_len = 0;
        self.words = 0;
        self.key = KeyHash::START;
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
                    if self.expected.elements {
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
        match self.words {
            1 => {
                if let Some(place) = self.word.get_mut(self.line_len) {
                    *place = byte;
                }
                self.word_len = self.line_len + 1;
            }
            VALUE_KEY_WORD => self.key = self.key.and(byte),
            VALUE_LEN_WORD => {
                let digit = u64::from(byte.wrapping_sub(b'0'));
                let next = self.number.and_then(|n| n.checked_mul(10)?.checked_add(digit));
                self.number = next.filter(|_| digit <= 9);
            }
            _ => {}
        }
    }

    /// A line is whole. Returns whether the reply is, too: if it is one to what was asked.
    fn on_line_end(&mut self) -> Result<bool, BadReply> {
        if self.words == 0 {
            return Err(BadReply::End);
        }
        let Some(word) = self.word.get(..self.word_len) else {
            return Err(BadReply::Type(self.word[0]));
        };
        let wants_values = matches!(self.expected.replies, Replies::Values | Replies::Uniques);
        let fits = match word {
            b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR" => true,
            b"VALUE" if wants_values => return self.on_value_line(),
            b"END" => wants_values && self.words == 1,
            word => self.values == 0 && self.fits(word),
        };
        if !fits {
            return Err(BadReply::Type(word[0]));
        }
        self.state = State::Line;
        Ok(true)
    }

    /// Whether a line that begins with `word` answers what was asked.
    fn fits(&self, word: &[u8]) -> bool {
        let words: &[&[u8]] = match self.expected.replies {
            Replies::Stored => &[b"STORED", b"NOT_STORED", b"EXISTS", b"NOT_FOUND"],
            Replies::Deleted => &[b"DELETED", b"NOT_FOUND"],
            Replies::Number if word.iter().all(u8::is_ascii_digit) => return self.words == 1,
            Replies::Number => &[b"NOT_FOUND"],
            Replies::Touched => &[b"TOUCHED", b"NOT_FOUND"],
            Replies::Done => &[b"OK"],
            Replies::Version => return word == b"VERSION",
            Replies::Any | Replies::Values | Replies::Uniques => &[],
        };
        self.words == 1 && words.contains(&word)
    }

    /// Goes on with the value that a line announces.
    fn on_value_line(&mut self) -> Result<bool, BadReply> {
        self.values += 1;
        if !self.expected.has_key(self.key) || !self.expected.may_have(self.values) {
            return Err(BadReply::Type(b'V'));
        }
        let words = if self.expected.replies == Replies::Uniques { 5 } else { 4 };
        let len = self.number.filter(|&len| self.words == words && len <= VALUE_BYTES_MAX);
        self.left = len.ok_or(BadReply::Length)?;
        self.state = if self.left == 0 { State::ValueBreak } else { State::Value };
        Ok(false)
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

/// Bytes of a first word that are looked at: more than the longest known has.
const WORD_BYTES_MAX: usize = 24;

/// `VALUE <key> <flags> <bytes>`: the words that name the key and say how long the value is,
/// counted from 1.
const VALUE_KEY_WORD: u32 = 2;
const VALUE_LEN_WORD: u32 = 4;

/// Bytes of a value: memcached's largest item is 1 GiB (`-I`, memcached 1.6).
const VALUE_BYTES_MAX: u64 = 1 << 30;

/// Ends whose memory an idle parser keeps.
const ELEMENTS_KEPT_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(replies: Replies, keys: &[&str]) -> Expected {
        let mut expected = Expected::new(replies);
        expected.elements = true;
        for key in keys {
            expected.add_key(key.bytes().fold(KeyHash::START, KeyHash::and));
        }
        expected
    }

    fn whole(expected: Expected, data: &[u8]) -> ReplyStep {
        let mut parser = ReplyParser::new();
        parser.expect(expected);
        parser.parse(data)
    }

    #[test]
    fn a_reply_is_found_at_every_split() {
        let replies: &[(Replies, &[u8], &[u32])] = &[
            (Replies::Stored, b"STORED\r\n", &[]),
            (Replies::Number, b"18446744073709551615\r\n", &[]),
            (Replies::Values, b"END\r\n", &[]),
            (Replies::Version, b"VERSION 1.6.18\r\n", &[]),
            (
                Replies::Deleted,
                b"CLIENT_ERROR bad command line format.  Usage: delete <key>\r\n",
                &[],
            ),
            (Replies::Values, b"VALUE a 0 0\r\n\r\nEND\r\n", &[15]),
            (
                Replies::Uniques,
                b"VALUE a 1 5 7\r\n\r\nEND\r\nVALUE bb 2 2 99\r\nxy\r\nEND\r\n",
                &[22, 43],
            ),
            (Replies::Values, b"VALUE a 1 1\r\nx\r\nSERVER_ERROR out of memory\r\n", &[16]),
        ];
        for &(kind, reply, ends) in replies {
            for split in 0..reply.len() {
                let mut parser = ReplyParser::new();
                for _ in 0..2 {
                    parser.expect(expected(kind, &["a", "bb"]));
                    assert_eq!(parser.parse(&reply[..split]), ReplyStep::Partial);
                    assert_eq!(parser.bytes_so_far(), split as u64);
                    let rest = [&reply[split..], b"END"].concat();
                    let end = reply.len() - split;
                    assert_eq!(parser.parse(&rest), ReplyStep::Reply { end }, "{split}");
                    assert_eq!(parser.elements(), ends);
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
            b"END \x00\r\n",
            b"END\n",
            b"END\rx",
            b" END\r\n",
            b"HD\r\n",
            b"VALUE a 0\r\n",
            b"VALUE a 0 -1\r\n",
            b"VALUE a 0 x\r\n",
            b"VALUE a 0 9999999999\r\n",
            b"VALUE a 0 1 2\r\n",
            b"VALUE a 0 1 2 3\r\n",
            b"VALUE a 0 1\r\nxy\r\n",
            b"VALUE a 0 1\r\nx\r\nSTORED\r\n",
            b"VALUE a 0 1\r\nx\r\n7\r\n",
            b"+OK\r\n",
            b"VALUEVALUEVALUEVALUEVALUEVALUE\r\n",
        ];
        for reply in replies {
            let step = whole(expected(Replies::Values, &["a"]), reply);
            assert!(matches!(step, ReplyStep::Bad(_)), "{} {step:?}", reply.escape_ascii());
        }
        for reply in [&b"-1\r\n"[..], b"7 7\r\n", b"7\x00\r\n", &[b'7'; WORD_BYTES_MAX + 1]] {
            let reply = [reply, b"\r\n"].concat();
            let step = whole(expected(Replies::Number, &[]), &reply);
            assert!(matches!(step, ReplyStep::Bad(_)), "{} {step:?}", reply.escape_ascii());
        }
        let step = whole(expected(Replies::Values, &["a"]), &[b'E'; MEMCACHE_LINE_BYTES_MAX + 1]);
        assert_eq!(step, ReplyStep::Bad(BadReply::Length));
    }

    #[test]
    fn a_reply_of_another_kind_is_doubt() {
        use Replies::{Deleted, Done, Number, Stored, Touched, Uniques, Values, Version};
        let replies: &[(&[u8], &[Replies])] = &[
            (b"STORED\r\n", &[Stored]),
            (b"NOT_STORED\r\n", &[Stored]),
            (b"EXISTS\r\n", &[Stored]),
            (b"NOT_FOUND\r\n", &[Stored, Deleted, Number, Touched]),
            (b"DELETED\r\n", &[Deleted]),
            (b"TOUCHED\r\n", &[Touched]),
            (b"OK\r\n", &[Done]),
            (b"VERSION 1\r\n", &[Version]),
            (b"12\r\n", &[Number]),
            (b"END\r\n", &[Values, Uniques]),
            (b"VALUE a 0 1\r\nx\r\nEND\r\n", &[Values]),
            (b"VALUE a 0 1 5\r\nx\r\nEND\r\n", &[Uniques]),
            (b"STORED x\r\n", &[]),
            (b"ERROR\r\n", &KINDS),
            (b"SERVER_ERROR out of memory\r\n", &KINDS),
        ];
        for (reply, kinds) in replies {
            for kind in KINDS {
                let step = whole(expected(kind, &["a"]), reply);
                let is_reply = step == ReplyStep::Reply { end: reply.len() };
                assert_eq!(is_reply, kinds.contains(&kind), "{} {kind:?}", reply.escape_ascii());
            }
        }
    }

    const KINDS: [Replies; 8] = [
        Replies::Values,
        Replies::Uniques,
        Replies::Stored,
        Replies::Deleted,
        Replies::Number,
        Replies::Touched,
        Replies::Done,
        Replies::Version,
    ];

    #[test]
    fn a_value_that_nobody_asked_for_is_doubt() {
        let value = |key: &str| format!("VALUE {key} 0 1\r\nx\r\n");
        let is_reply = |asked: &[&str], found: &[&str]| {
            let blocks: String = found.iter().map(|key| value(key)).collect();
            let reply = format!("{blocks}END\r\n");
            let step = whole(expected(Replies::Values, asked), reply.as_bytes());
            step == ReplyStep::Reply { end: reply.len() }
        };
        assert!(is_reply(&["a"], &["a"]) && is_reply(&["a"], &[]));
        assert!(!is_reply(&["a"], &["b"]) && !is_reply(&["a"], &["aa"]));
        assert!(!is_reply(&["a"], &["a", "a"]), "once");
        assert!(is_reply(&["a", "b", "a"], &["a", "a"]));
        assert!(!is_reply(&["a", "b"], &["a", "b", "a"]));
        assert!(!is_reply(&[], &["a"]));
    }
}
