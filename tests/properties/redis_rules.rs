//! How Redis reads requests, by `processInlineBuffer` and `processMultibulkBuffer` of redis 7.0's
//! `networking.c`, and what else it takes with them.
//!
//! It is written from that source, not from our parser, and as loose as Redis is: where two bytes
//! should be a line break it skips two bytes. Whatever we forward has to come out of it unchanged.

/// A request as Redis has it, and how many bytes it took.
pub type Taken = (Vec<Vec<u8>>, usize);

/// What Redis makes of the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// It waits for more.
    Waits,
    /// It closes the connection.
    Closes,
    /// A request; without arguments it answers nothing.
    Takes(Taken),
}

/// Reads the first request.
pub fn read(bytes: &[u8]) -> Read {
    match bytes.first() {
        None => Read::Waits,
        Some(b'*') => multibulk(bytes),
        Some(_) => inline(bytes),
    }
}

fn multibulk(bytes: &[u8]) -> Read {
    let Some((count, mut at)) = head(bytes, 0) else { return unended(bytes.len()) };
    let Some(count) = count.filter(|&count| count <= i64::from(i32::MAX)) else {
        return Read::Closes;
    };
    let mut arguments = Vec::new();
    for _ in 0..count.max(0) {
        match bytes.get(at) {
            None => return Read::Waits,
            Some(b'$') => {}
            Some(_) => return Read::Closes,
        }
        let Some((len, from)) = head(bytes, at) else { return unended(bytes.len() - at) };
        let Some(len) = len.filter(|len| (0..=BULK_BYTES_MAX).contains(len)) else {
            return Read::Closes;
        };
        let to = from + len as usize;
        if bytes.len() < to + 2 {
            return Read::Waits;
        }
        arguments.push(bytes[from..to].to_vec());
        at = to + 2;
    }
    Read::Takes((arguments, at))
}

/// The number behind the type byte at `at`, if it is one, and where what follows begins: two bytes
/// behind the CR, whatever they are. Redis looks for the CR with strchr(3), which a zero byte ends,
/// and waits until one more byte is there.
fn head(bytes: &[u8], at: usize) -> Option<(Option<i64>, usize)> {
    let rest = &bytes[at..];
    let cr = rest.iter().position(|&byte| byte == b'\r' || byte == 0)?;
    if rest[cr] == 0 || cr + 2 > rest.len() {
        return None;
    }
    Some((string2ll(&rest[1..cr]), at + cr + 2))
}

fn unended(len: usize) -> Read {
    if len > INLINE_BYTES_MAX { Read::Closes } else { Read::Waits }
}

/// `string2ll` of `util.c`: one spelling for each number.
fn string2ll(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    if text == b"0" {
        return Some(0);
    }
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if !matches!(digits.first(), Some(b'1'..=b'9')) {
        return None;
    }
    let mut value = 0_i128;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i128::from(digit - b'0');
    }
    i64::try_from(if negative { -value } else { value }).ok()
}

fn inline(bytes: &[u8]) -> Read {
    let newline = bytes.iter().position(|&byte| byte == b'\n' || byte == 0);
    let Some(newline) = newline.filter(|&at| bytes[at] == b'\n') else {
        return unended(bytes.len());
    };
    let line = bytes[..newline].strip_suffix(b"\r").unwrap_or(&bytes[..newline]);
    match sdssplitargs(line) {
        Some(words) => Read::Takes((words, newline + 1)),
        None => Read::Closes,
    }
}

/// `sdssplitargs` of `sds.c`. A zero byte ends the line, as it does there.
fn sdssplitargs(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let byte = |at: usize| line.get(at).copied().unwrap_or(0);
    let is_space = |byte: u8| matches!(byte, b' ' | 9..=13);
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while byte(at) != 0 && is_space(byte(at)) {
            at += 1;
        }
        if byte(at) == 0 {
            return Some(words);
        }
        let mut word = Vec::new();
        let (mut in_double, mut in_single, mut done) = (false, false, false);
        while !done {
            let here = byte(at);
            if in_double {
                let hex = |at| (byte(at) as char).to_digit(16);
                if here == b'\\'
                    && byte(at + 1) == b'x'
                    && hex(at + 2).is_some()
                    && hex(at + 3).is_some()
                {
                    word.push((hex(at + 2)? * 16 + hex(at + 3)?) as u8);
                    at += 3;
                } else if here == b'\\' && byte(at + 1) != 0 {
                    at += 1;
                    word.push(escaped(byte(at)));
                } else if here == b'"' {
                    if byte(at + 1) != 0 && !is_space(byte(at + 1)) {
                        return None;
                    }
                    done = true;
                } else if here == 0 {
                    return None;
                } else {
                    word.push(here);
                }
            } else if in_single {
                if here == b'\\' && byte(at + 1) == b'\'' {
                    at += 1;
                    word.push(b'\'');
                } else if here == b'\'' {
                    if byte(at + 1) != 0 && !is_space(byte(at + 1)) {
                        return None;
                    }
                    done = true;
                } else if here == 0 {
                    return None;
                } else {
                    word.push(here);
                }
            } else {
                match here {
                    b' ' | b'\n' | b'\r' | b'\t' | 0 => done = true,
                    b'"' => in_double = true,
                    b'\'' => in_single = true,
                    other => word.push(other),
                }
            }
            if byte(at) != 0 {
                at += 1;
            }
        }
        words.push(word);
    }
}

fn escaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

/// `proto-max-bulk-len`.
const BULK_BYTES_MAX: i64 = 512 << 20;

/// `PROTO_INLINE_MAX_SIZE`.
const INLINE_BYTES_MAX: usize = 64 << 10;
