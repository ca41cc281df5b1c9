//! Parsers that are plainly right: they have all bytes before them, and take their time.

#![allow(dead_code)]

pub mod reply;

use ringcracker::limits::{ARGUMENTS_MAX, BULK_BYTES_MAX};
use ringcracker::proto::commands::{self, Command, Keys};
use ringcracker::proto::resp::BadReply;
use ringcracker::proto::{BadRequest, SPANS_ALWAYS};

/// What a parser says about a part of its input, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Request {
        /// As many as are recorded.
        arguments: Vec<Vec<u8>>,
        count: u32,
        command: Option<&'static Command>,
        keys: Vec<Vec<u8>>,
    },
    Nothing(usize),
    Reply {
        first: u8,
        len: usize,
        start: usize,
        elements: Vec<usize>,
    },
    /// A push of so many bytes.
    Push(usize),
    BadRequest(BadRequest),
    BadReply(BadReply),
    /// So many bytes belong to something that is not whole.
    Unfinished(usize),
}

/// Why there is nothing whole.
enum Stop<Fault> {
    Unfinished,
    Bad(Fault),
}

/// xorshift64*: a test needs a sequence that is the same everywhere, and no more.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// From 0 up to and without `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }

    /// Any byte, and more often one that means something.
    pub fn byte(&mut self) -> u8 {
        const MEANT: &[u8] = b"*$:+-_#,(!=%~|>tf\r\n 0123456789\"'\\x\0";
        if self.below(3) > 0 { MEANT[self.below(MEANT.len())] } else { self.next() as u8 }
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = [0, 1, 3, 9, 10, 30, 120][self.below(7)];
        (0..len).map(|_| self.byte()).collect()
    }
}

/// Arguments as a request in RESP.
pub fn list(arguments: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend(format!("${}\r\n", argument.len()).into_bytes());
        bytes.extend(argument);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// Reads back `escape_ascii`.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        bytes.push(match (char, char == '\\') {
            (_, false) => char as u8,
            (_, true) => match chars.next().unwrap() {
                'r' => b'\r',
                'n' => b'\n',
                't' => b'\t',
                'x' => {
                    let digits: String = chars.by_ref().take(2).collect();
                    u8::from_str_radix(&digits, 16).unwrap()
                }
                other => other as u8,
            },
        });
    }
    bytes
}

/// Whether these bytes, which a parser took as one, are nothing to answer.
pub fn is_nothing(bytes: &[u8]) -> bool {
    match bytes {
        [b'*', b'0' | b'-', ..] => true,
        _ => bytes.iter().all(|byte| b" \t\r\n\x0b\x0c".contains(byte)),
    }
}

/// A length in its one spelling: what prints as it was written.
fn canonical(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().filter(|number: &i64| number.to_string() == text)
}

pub fn requests(bytes: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let found = if rest[0] == b'*' { multibulk(rest) } else { inline(rest) };
        match found {
            Ok((arguments, end)) => {
                seen.push(match arguments.is_empty() {
                    true => Seen::Nothing(end),
                    false => request(arguments),
                });
                rest = &rest[end..];
            }
            Err(Stop::Bad(fault)) => {
                seen.push(Seen::BadRequest(fault));
                return seen;
            }
            Err(Stop::Unfinished) => break,
        }
    }
    seen.push(Seen::Unfinished(rest.len()));
    seen
}

/// The row of a request, one of two words if there is such a one.
fn row(arguments: &[Vec<u8>]) -> Option<&'static Command> {
    let find = |name: &[u8]| {
        let name = name.to_ascii_lowercase();
        commands::all().iter().find(|command| command.name.as_bytes() == name)
    };
    let first = find(&arguments[0]).filter(|_| !arguments[0].contains(&b'|'))?;
    let second = arguments.get(1).filter(|word| !word.contains(&b'|'));
    second.and_then(|word| find(&[&arguments[0], &b"|"[..], word].concat())).or(Some(first))
}

/// Which arguments are keys.
fn keys(command: &Command, arguments: &[Vec<u8>]) -> Vec<usize> {
    let count = arguments.len();
    let word = |index: usize| String::from_utf8_lossy(&arguments[index]).to_ascii_lowercase();
    let range = |first: usize, last: i8, step: u8| -> Vec<usize> {
        let end = if last < 0 { count as i64 + last as i64 } else { last as i64 };
        (first..count).step_by(step as usize).filter(|&index| index as i64 <= end).collect()
    };
    // The last argument behind one of these words, from an index on.
    let stored = |from: usize, words: &[&str], long: &[&str]| {
        let (mut index, mut found) = (from, None);
        while index < count {
            if words.contains(&&*word(index)) && index + 1 < count {
                found = Some(index + 1);
                index += 1;
            } else if long.contains(&&*word(index)) {
                index += if word(index) == "limit" { 2 } else { 1 };
            }
            index += 1;
        }
        range(1, 1, 1).into_iter().chain(found).collect()
    };
    match command.keys {
        Keys::None | Keys::BySubcommand => Vec::new(),
        Keys::Range { first, last, step } => range(first as usize, last, step),
        Keys::Channels { last } => range(1, last, 1),
        Keys::Counted { at, first, also } => {
            let keys = arguments.get(at as usize).and_then(|text| canonical(text)).unwrap_or(0);
            if keys < 1 || keys > count as i64 - first as i64 {
                return Vec::new();
            }
            let row = first as usize..first as usize + keys as usize;
            also.map(usize::from).into_iter().chain(row).collect()
        }
        Keys::Streams => {
            let mut index = 1;
            while index < count && word(index) != "streams" {
                index += match &*word(index) {
                    "block" | "count" | "claim" => 2,
                    "group" => 3,
                    _ => 1,
                };
            }
            let left = count.saturating_sub(index + 1);
            let half = if left.is_multiple_of(2) { left / 2 } else { 0 };
            (index + 1..index + 1 + half).collect()
        }
        Keys::Sort => stored(2, &["store"], &["by", "get", "limit"]),
        Keys::Radius => stored(5, &["store", "storedist"], &[]),
        Keys::Migrate => {
            let mut index = 6;
            while index < count && word(index) != "keys" {
                index += match &*word(index) {
                    "auth" => 2,
                    "auth2" => 3,
                    _ => 1,
                };
            }
            match index < count {
                true if arguments[3].is_empty() => (index + 1..count).collect(),
                true => Vec::new(),
                false => range(3, 3, 1),
            }
        }
    }
}

fn request(mut arguments: Vec<Vec<u8>>) -> Seen {
    let command = row(&arguments);
    let count = arguments.len();
    let indexes = command.map(|command| keys(command, &arguments)).unwrap_or_default();
    let keys = indexes.iter().map(|&index| arguments[index].clone()).collect();
    // What stands behind the last key of MSET belongs to it.
    let step = match command.map(|command| command.keys) {
        Some(Keys::Range { step, .. }) => usize::from(step),
        _ => 1,
    };
    let mut reach = indexes.last().map_or(0, |last| last + step);
    // What is searched for words, and what ends with a timeout, is recorded whole.
    match command.map(|command| command.keys) {
        Some(Keys::Streams | Keys::Sort | Keys::Radius | Keys::Migrate) => reach = count,
        Some(Keys::Range { last: ..-1, .. }) => reach = count,
        _ => {}
    }
    arguments.truncate(reach.max(SPANS_ALWAYS as usize));
    Seen::Request { arguments, count: count as u32, command, keys }
}

type Arguments = (Vec<Vec<u8>>, usize);

fn multibulk(bytes: &[u8]) -> Result<Arguments, Stop<BadRequest>> {
    let mut at = 1;
    let count = head(bytes, &mut at, ARGUMENTS_MAX, BadRequest::InvalidCount)?;
    let mut arguments = Vec::new();
    for _ in 0..count {
        let byte = *bytes.get(at).ok_or(Stop::Unfinished)?;
        if byte != b'$' {
            return Err(Stop::Bad(BadRequest::ExpectedBulk(byte)));
        }
        at += 1;
        let len = head(bytes, &mut at, BULK_BYTES_MAX, BadRequest::InvalidLength)?;
        let len = usize::try_from(len).map_err(|_| Stop::Bad(BadRequest::InvalidLength))?;
        arguments.push(bytes.get(at..at + len).ok_or(Stop::Unfinished)?.to_vec());
        at += len;
        for wanted in *b"\r\n" {
            if *bytes.get(at).ok_or(Stop::Unfinished)? != wanted {
                return Err(Stop::Bad(BadRequest::BulkEnd));
            }
            at += 1;
        }
        if arguments.len() == 1 {
            let name = arguments[0].to_ascii_lowercase();
            if name == b"post" || name == b"host:" {
                return Err(Stop::Bad(BadRequest::Http));
            }
        }
    }
    Ok((arguments, at))
}

fn head(
    bytes: &[u8],
    at: &mut usize,
    max: u64,
    fault: BadRequest,
) -> Result<i64, Stop<BadRequest>> {
    let rest = &bytes[*at..];
    let len = rest.iter().position(|byte| b"\r\n".contains(byte)).ok_or(Stop::Unfinished)?;
    let number = canonical(&rest[..len]).filter(|&number| number <= max as i64);
    let negative = number.is_some_and(|number| number < 0 && fault == BadRequest::InvalidLength);
    if rest[len] == b'\n' || number.is_none() || negative {
        return Err(Stop::Bad(fault));
    }
    if *rest.get(len + 1).ok_or(Stop::Unfinished)? != b'\n' {
        return Err(Stop::Bad(BadRequest::HeadEnd));
    }
    *at += len + 2;
    Ok(number.unwrap())
}

fn inline(bytes: &[u8]) -> Result<Arguments, Stop<BadRequest>> {
    let end = bytes.iter().position(|&byte| byte == b'\n' || byte == 0).ok_or(Stop::Unfinished)?;
    if bytes[end] == 0 {
        return Err(Stop::Bad(BadRequest::InlineZero));
    }
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    let words = words(line).ok_or(Stop::Bad(BadRequest::UnbalancedQuotes))?;
    let first = words.first().map(|word| word.to_ascii_lowercase());
    if first.is_some_and(|word| word == b"post" || word == b"host:") {
        return Err(Stop::Bad(BadRequest::Http));
    }
    Ok((words, end + 1))
}

/// Splits a line by looking at it through a window of one byte and a note of where it stands.
fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let space = |byte: u8| b" \t\n\r\x0b\x0c".contains(&byte);
    let mut words: Vec<Vec<u8>> = Vec::new();
    let (mut quote, mut in_word) = (0u8, false);
    let mut at = 0;
    while at < line.len() {
        let byte = line[at];
        at += 1;
        if !in_word {
            if space(byte) {
                continue;
            }
            in_word = true;
            words.push(Vec::new());
        }
        let word = words.last_mut()?;
        if quote == 0 {
            match byte {
                b'"' | b'\'' => quote = byte,
                b' ' | b'\t' | b'\n' | b'\r' => in_word = false,
                _ => word.push(byte),
            }
        } else if byte == quote {
            if line.get(at).is_some_and(|&next| !space(next)) {
                return None;
            }
            (quote, in_word) = (0, false);
        } else if byte == b'\\' && quote == b'\'' && line.get(at) == Some(&b'\'') {
            word.push(b'\'');
            at += 1;
        } else if byte == b'\\' && quote == b'"' && at < line.len() {
            let hex = line.get(at + 1..at + 3).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
            let next = line[at];
            at += 1;
            word.push(match (next, hex) {
                (b'x', Some(hex)) => {
                    at += 2;
                    u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?
                }
                (b'n', _) => b'\n',
                (b'r', _) => b'\r',
                (b't', _) => b'\t',
                (b'b', _) => 8,
                (b'a', _) => 7,
                _ => next,
            });
        } else {
            word.push(byte);
        }
    }
    (quote == 0).then_some(words)
}

/// Appends one request: of any command, in any case, or inline, or nothing.
pub fn random_request(random: &mut Random, into: &mut Vec<u8>) {
    const NOTHING: [&[u8]; 5] = [b"*0\r\n", b"*-1\r\n", b"\r\n", b"\n", b"  \t\r\n"];
    const LINES: [&[u8]; 4] =
        [b"PING\r\n", b"get k\n", b" SET 'a b' \"\\x00\\n\"\r\n", b"mset a 1 b 2\r\n"];
    // Those behind which keys stand, and those that have a value.
    const WORDS: [&str; 11] = [
        "STORE",
        "storedist",
        "STREAMS",
        "keys",
        "by",
        "GET",
        "limit",
        "block",
        "GROUP",
        "auth2",
        "",
    ];
    match random.below(10) {
        0 => into.extend(NOTHING[random.below(NOTHING.len())]),
        1 => into.extend(LINES[random.below(LINES.len())]),
        2 => into.extend(list(&[random.bytes(), random.bytes()])),
        _ => {
            let command = &commands::all()[random.below(commands::all().len())];
            let upper = command.name.to_ascii_uppercase();
            let name = if random.below(2) == 0 { &upper } else { command.name };
            let mut arguments: Vec<_> =
                name.split('|').map(|word| word.as_bytes().to_vec()).collect();
            let count = [1, 2, 3, 5, 8, 40][random.below(6)];
            arguments.extend((0..count).map(|_| match random.below(3) {
                0 => WORDS[random.below(WORDS.len())].as_bytes().to_vec(),
                _ => random.bytes(),
            }));
            if let Keys::Counted { at, .. } = command.keys
                && let Some(argument) = arguments.get_mut(at as usize)
            {
                *argument = random.below(count + 1).to_string().into_bytes();
            }
            into.extend(list(&arguments));
        }
    }
}

/// Appends one reply, or one element of one.
pub fn random_reply(random: &mut Random, into: &mut Vec<u8>, depth: usize) {
    const LINES: [&[u8]; 6] =
        [b"+OK\r\n", b"-ERR no\r\n", b"$-1\r\n", b"*-1\r\n", b":+1\r\n", b"+\r\n"];
    random_element(random, into, depth, &LINES, b"$", b"*");
}

/// The same of RESP3, now and then with a push before it.
pub fn random_reply3(random: &mut Random, into: &mut Vec<u8>, depth: usize) {
    const LINES: [&[u8]; 8] = [
        b"+OK\r\n",
        b"-ERR no\r\n",
        b"_\r\n",
        b"#t\r\n",
        b"#f\r\n",
        b",-inf\r\n",
        b"(123456789012345678901\r\n",
        b":-3\r\n",
    ];
    if depth == 0 && random.below(5) == 0 {
        into.extend(b">2\r\n+message\r\n*1\r\n_\r\n");
    }
    random_element(random, into, depth, &LINES, b"$!=", b"*%~|");
}

fn random_element(
    random: &mut Random,
    into: &mut Vec<u8>,
    depth: usize,
    lines: &[&[u8]],
    payloads: &[u8],
    arrays: &[u8],
) {
    match random.below(if depth < 4 { 6 } else { 4 }) {
        0 => into.extend(lines[random.below(lines.len())]),
        1 => into.extend(format!(":{}\r\n", random.next() as i32).into_bytes()),
        2 | 3 => {
            let bytes = random.bytes();
            let kind = payloads[random.below(payloads.len())] as char;
            into.extend(format!("{kind}{}\r\n", bytes.len()).into_bytes());
            into.extend(bytes);
            into.extend(b"\r\n");
        }
        _ => {
            let count = random.below(5);
            let kind = arrays[random.below(arrays.len())];
            into.extend(format!("{}{count}\r\n", kind as char).into_bytes());
            let elements = match kind {
                b'%' => 2 * count,
                b'|' => 2 * count + 1,
                _ => count,
            };
            for _ in 0..elements {
                random_element(random, into, depth + 1, lines, payloads, arrays);
            }
        }
    }
}
