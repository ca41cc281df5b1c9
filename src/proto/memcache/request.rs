//! Where a client's request ends, and what is in it.

use crate::limits::{
    BULK_BYTES_MAX, MEMCACHE_GET_BYTES_MAX, MEMCACHE_KEY_BYTES_MAX, MEMCACHE_LINE_BYTES_MAX,
};
use crate::proto::commands::{Command, Keys, Split};
use crate::proto::memcache::table::{self, Row, Value};

use crate::proto::{BadRequest, Expected, Form, KeyHash, KeySpan, Parsed, Replies, Request, Span};

/// Finds the requests in the bytes of one client.
///
/// ```text
///             LF                       bytes              CR LF
///  Line ─────────────> done    Value ─────────> ValueEnd ───────> done
///     │ LF, a value follows      ^                  │ anything else
///     ├──────────────────────────┘                  └──> done: bad data chunk
///     │ LF, a value follows that is not wanted
///     └──────────────────────────> done: refused, and then Skip
/// ```
///
/// A line that memcached would refuse is a request too: its row has memcached's words for answer.
/// A line ends with LF, and a CR in front of it belongs to the end, as for memcached.
///
/// What memcached reads differently from one version to the next, such as flags of more than 32
/// bits, is refused here, and its value skipped: a server that takes a value for a command would
/// answer twice.
///
/// Invariants: `before` is what earlier calls read of the request; a word is open while `word_len`
/// is not 0, and a CR behind it (`after_cr`) belongs to it unless an LF follows.
pub struct RequestParser {
    request: Request,
    state: State,
    before: u64,
    row: Option<&'static Row>,
    /// The beginning of the word at hand, and how long it is so far.
    word: [u8; WORD_BYTES_MAX],
    word_len: u32,
    /// Of all of it.
    word_hash: KeyHash,
    after_cr: bool,
    /// The line has a byte that no word may have.
    has_control: bool,
    has_long_key: bool,
    is_http: bool,
    is_last_noreply: bool,
    is_last_but_one_noreply: bool,
    numbers: Numbers,
    left: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Line,
    Value,
    /// Two bytes are left that should be CR LF; whether the first of them was.
    ValueEnd(Option<bool>),
    /// What is left of a value that was refused.
    Skip,
    Bad(BadRequest),
}

/// The numbers in the line of a storage command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Numbers {
    /// Bytes of the value, if they are a number.
    len: Option<u64>,
    /// memcached would refuse another of them.
    is_bad: bool,
    /// Some memcached would.
    is_doubtful: bool,
}

impl RequestParser {
    /// A parser before the first byte.
    pub fn new() -> Self {
        Self {
            request: Request::default(),
            state: State::Line,
            before: 0,
            row: None,
            word: [0; WORD_BYTES_MAX],
            word_len: 0,
            word_hash: KeyHash::START,
            after_cr: false,
            has_control: false,
            has_long_key: false,
            is_http: false,
            is_last_noreply: false,
            is_last_but_one_noreply: false,
            numbers: Numbers::default(),
            left: 0,
        }
    }

    /// Reads the bytes that follow those of the call before, up to the end of the first request.
    /// What is behind that end is to be given to the next call.
    pub fn parse(&mut self, data: &[u8]) -> Parsed {
        let parsed = self.read(data).unwrap_or_else(Parsed::Bad);
        match parsed {
            Parsed::Partial => self.before += data.len() as u64,
            Parsed::Request { .. } | Parsed::Nothing { .. } => self.before = 0,
            Parsed::Bad(fault) => self.state = State::Bad(fault),
        }
        parsed
    }

    /// The request that the last call found.
    pub fn request(&self) -> &Request {
        &self.request
    }

    fn read(&mut self, data: &[u8]) -> Result<Parsed, BadRequest> {
        let mut at = 0;
        while at < data.len() {
            match self.state {
                State::Line => {
                    if self.before == 0 && at == 0 {
                        self.begin(data[0])?;
                    }
                    let Some(end) = self.read_line(data)? else { return Ok(Parsed::Partial) };
                    at = end;
                    if self.on_line_end(end)? {
                        return Ok(Parsed::Request { end });
                    }
                }
                State::Value => {
                    at += self.advance(data.len() - at);
                    if self.left == 0 {
                        self.state = State::ValueEnd(None);
                    }
                }
                State::ValueEnd(None) => {
                    self.state = State::ValueEnd(Some(data[at] == b'\r'));
                    at += 1;
                }
                State::ValueEnd(Some(was_cr)) => {
                    let is_end = was_cr && data[at] == b'\n';
                    at += 1;
                    if !is_end {
                        self.refuse(&table::BAD_CHUNK);
                    }
                    return Ok(self.on_end(at));
                }
                State::Skip => {
                    at += self.advance(data.len());
                    if self.left == 0 {
                        self.state = State::Line;
                    }
                    return Ok(Parsed::Nothing { end: at });
                }
                State::Bad(fault) => return Err(fault),
            }
        }
        Ok(Parsed::Partial)
    }

    fn begin(&mut self, first: u8) -> Result<(), BadRequest> {
        if first == BINARY_MAGIC {
            return Err(BadRequest::Binary);
        }
        if self.request.spans.len() <= SPANS_KEPT_MAX
            && self.request.spans.capacity() > SPANS_KEPT_MAX
        {
            self.request.spans = Vec::new();
        }
        self.request.spans.clear();
        self.request.command = None;
        self.request.arguments = 0;
        self.request.keys = KeySpan::NONE;
        self.request.form = Form::AsItCame;
        self.request.expected = Expected::default();
        self.row = None;
        self.word_len = 0;
        self.word_hash = KeyHash::START;
        self.after_cr = false;
        self.has_control = false;
        self.has_long_key = false;
        self.is_http = false;
        self.is_last_noreply = false;
        self.is_last_but_one_noreply = false;
        self.numbers = Numbers::default();
        Ok(())
    }

    /// Reads on in a line. Returns where it ends, if it does.
    fn read_line(&mut self, data: &[u8]) -> Result<Option<usize>, BadRequest> {
        for (index, &byte) in data.iter().enumerate() {
            if self.after_cr && byte != b'\n' {
                self.after_cr = false;
                self.has_control = true;
                self.word_len += 1;
            }
            match byte {
                b'\n' => {
                    self.check_line_len(index as u64 + 1)?;
                    let cr = u64::from(self.after_cr);
                    self.on_word(self.before + index as u64 - cr)?;
                    return Ok(Some(index + 1));
                }
                b' ' => self.on_word(self.before + index as u64)?,
                b'\r' => self.after_cr = true,
                _ => {
                    if let Some(place) = self.word.get_mut(self.word_len as usize) {
                        *place = byte;
                    }
                    self.word_len += 1;
                    self.word_hash = self.word_hash.and(byte);
                    self.has_control |= byte.is_ascii_control();
                }
            }
        }
        self.check_line_len(data.len() as u64)?;
        Ok(None)
    }

    /// memcached closes a connection with a longer line, unless that begins with `get` or `gets`:
    /// no such line may come to a server.
    fn check_line_len(&self, here: u64) -> Result<(), BadRequest> {
        let is_get = self.row.is_some_and(|row| matches!(row.command.name, "get" | "gets"))
            && self.request.spans[0].offset == 0;
        let most = if is_get { MEMCACHE_GET_BYTES_MAX } else { MEMCACHE_LINE_BYTES_MAX };
        if self.before + here > most as u64 { Err(BadRequest::TooBigLine) } else { Ok(()) }
    }

    /// A word ends in front of this offset, if there was one.
    fn on_word(&mut self, end: u64) -> Result<(), BadRequest> {
        let len = self.word_len;
        if len == 0 {
            return Ok(());
        }
        self.word_len = 0;
        let hash = std::mem::replace(&mut self.word_hash, KeyHash::START);
        let index = self.request.arguments;
        self.request.arguments += 1;
        self.request.spans.push(Span { offset: (end - u64::from(len)) as u32, len });
        let word = &self.word[..WORD_BYTES_MAX.min(len as usize)];
        if index == 0 {
            self.row = if len as usize <= WORD_BYTES_MAX { table::lookup(word) } else { None };
            let replies = self.row.map_or(Replies::Any, |row| row.replies);
            self.request.expected = Expected::new(replies);
            self.is_http = matches!(word, b"GET" | b"POST");
            return Ok(());
        }
        self.is_http &= index > 1 || word.starts_with(b"/");
        self.is_last_but_one_noreply = self.is_last_noreply;
        self.is_last_noreply = word == b"noreply";
        let Some(row) = self.row else { return Ok(()) };
        if let Keys::Range { first, last, .. } = row.command.keys {
            let is_key = index >= u32::from(first) && (last < 0 || index <= last as u32);
            self.has_long_key |= is_key && len as usize > MEMCACHE_KEY_BYTES_MAX;
            if is_key && row.command.split() == Split::Values {
                self.request.expected.add_key(hash);
            }
        }
        if row.has_number && index == 1 {
            self.numbers.is_bad = len as usize > WORD_BYTES_MAX || !is_unsigned(word);
        }
        if let Some(value) = row.value {
            self.numbers.take(index, word, len as usize > WORD_BYTES_MAX, value)?;
        }
        Ok(())
    }

    /// A line is whole. Returns whether the request is, too.
    fn on_line_end(&mut self, end: usize) -> Result<bool, BadRequest> {
        if self.is_http && self.request.arguments > 1 {
            return Err(BadRequest::Http);
        }
        self.state = State::Line;
        self.left = 0;
        let verdict = self.judge_line();
        self.request.len = (self.before + end as u64) as u32;
        match verdict {
            Ok(row) if row.value.is_some() => {
                self.left = self.numbers.len.unwrap_or(0);
                self.state = if self.left == 0 { State::ValueEnd(None) } else { State::Value };
                Ok(false)
            }
            Ok(_) => Ok(true),
            Err(refusal) => {
                self.refuse(refusal);
                if self.left > 0 {
                    self.state = State::Skip;
                }
                Ok(true)
            }
        }
    }

    /// What the line is, or what is said to it. A value that is to be skipped is left in `left`.
    fn judge_line(&mut self) -> Result<&'static Row, &'static Command> {
        let count = self.request.arguments;
        let Some(row) = self.row else { return Err(&table::ERROR) };
        if !(row.words_min..=row.words_max).contains(&count) {
            return Err(&table::ERROR);
        }
        let first_optional = if row.command.keys == Keys::None { 1 } else { 2 };
        let is_silent = row.may_be_silent && self.is_last_noreply && count > first_optional;
        if is_silent {
            self.cut_last_word();
        }
        // With one cut off, a second would silence the server, and its reply would be waited for.
        if is_silent && self.is_last_but_one_noreply && count - 1 > first_optional {
            return Err(&table::BAD_FORMAT);
        }
        if count - u32::from(is_silent) < row.words_min || self.has_long_key {
            return Err(&table::BAD_FORMAT);
        }
        if row.value.is_some() {
            self.judge_value()?;
        } else if self.has_control || self.numbers.is_bad {
            return Err(&table::BAD_FORMAT);
        }
        self.request.command = Some(&row.command);
        self.request.keys = KeySpan::NONE;
        if let Keys::Range { first, last, step } = row.command.keys {
            self.request.keys = KeySpan::range(first, last, step, count);
        }
        Ok(row)
    }

    fn judge_value(&mut self) -> Result<(), &'static Command> {
        let Numbers { len, is_bad, is_doubtful } = self.numbers;
        let Some(len) = len.filter(|_| !is_bad) else { return Err(&table::BAD_FORMAT) };
        if is_doubtful || self.has_control {
            self.left = len + 2;
            return Err(&table::BAD_FORMAT);
        }
        if len > BULK_BYTES_MAX {
            self.left = len + 2;
            return Err(&table::TOO_LARGE);
        }
        Ok(())
    }

    /// Leaves `noreply` out of what is forwarded, with the spaces in front of it.
    fn cut_last_word(&mut self) {
        let spans = &self.request.spans;
        let (kept, word) = (spans[spans.len() - 2], spans[spans.len() - 1]);
        let offset = kept.offset + kept.len;
        self.request.form = Form::Cut(Span { offset, len: word.offset + word.len - offset });
    }

    fn refuse(&mut self, refusal: &'static Command) {
        self.request.command = Some(refusal);
        self.request.keys = KeySpan::NONE;
    }

    fn on_end(&mut self, end: usize) -> Parsed {
        self.request.len = (self.before + end as u64) as u32;
        self.state = State::Line;
        Parsed::Request { end }
    }

    /// Takes as much of a value as is at hand. Returns how much.
    fn advance(&mut self, here: usize) -> usize {
        let count = self.left.min(here as u64);
        self.left -= count;
        count as usize
    }
}

impl Default for RequestParser {
    fn default() -> Self {
        Self::new()
    }
}

impl Numbers {
    /// Takes a word of a storage command's line. `is_cut`: only the beginning of it is at hand. A
    /// number may be that long, as it may begin with zeros.
    fn take(
        &mut self,
        index: u32,
        word: &[u8],
        is_cut: bool,
        value: Value,
    ) -> Result<(), BadRequest> {
        let is_number = match index {
            FLAGS | EXPTIME | LENGTH => true,
            UNIQUE => value == Value::WithUnique,
            _ => false,
        };
        if !is_number {
            return Ok(());
        }
        if is_cut && may_be_a_number(word) {
            self.is_doubtful = true;
            // Nobody knows how much of what follows is the value.
            return if index == LENGTH { Err(BadRequest::TooBigLine) } else { Ok(()) };
        }
        let number = if is_cut { None } else { decimal(word) };
        match index {
            FLAGS => match number {
                Some((number, false)) => self.is_doubtful |= number > u64::from(u32::MAX),
                Some((_, true)) | None => self.is_bad = true,
            },
            EXPTIME => match number {
                Some((number, _)) => self.is_doubtful |= number > i32::MAX as u64,
                None => self.is_bad = true,
            },
            // memcached reads 32 bits with a sign, and wants room for the CR LF in them.
            LENGTH => {
                let fits =
                    |&(number, negative): &(u64, bool)| !negative && number <= i32::MAX as u64 - 2;
                self.len = number.filter(fits).map(|(number, _)| number);
            }
            _ => self.is_bad |= !matches!(number, Some((_, false))),
        }
        Ok(())
    }
}

/// Whether a word is a number that is not below zero.
fn is_unsigned(word: &[u8]) -> bool {
    decimal(word).is_some_and(|(_, negative)| !negative)
}

/// Whether a word that goes on may be a number of 64 bits: then it begins with a zero.
fn may_be_a_number(word: &[u8]) -> bool {
    let digits = word.strip_prefix(b"-").or(word.strip_prefix(b"+")).unwrap_or(word);
    digits.starts_with(b"0") && digits.iter().all(u8::is_ascii_digit)
}

/// A decimal number: how much, and whether it is below zero. `-0` is not, for memcached either.
fn decimal(word: &[u8]) -> Option<(u64, bool)> {
    let (digits, negative) = match word {
        [b'-', digits @ ..] => (digits, true),
        [b'+', digits @ ..] => (digits, false),
        digits => (digits, false),
    };
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0_u64, |number, &byte| {
        let digit = u64::from(byte.wrapping_sub(b'0'));
        let next = number.checked_mul(10)?.checked_add(digit)?;
        (digit <= 9).then_some(next)
    })?;
    Some((number, negative && number > 0))
}

/// The words of a storage command's line.
const FLAGS: u32 = 2;
const EXPTIME: u32 = 3;
const LENGTH: u32 = 4;
const UNIQUE: u32 = 5;

/// Bytes of a word that are looked at: the longest number of 64 bits has 20, the longest name 9.
const WORD_BYTES_MAX: usize = 24;

/// The first byte of every request of memcached's binary protocol.
const BINARY_MAGIC: u8 = 0x80;

/// Spans whose memory an idle parser keeps.
const SPANS_KEPT_MAX: usize = 64;

#[cfg(test)]
mod tests;
