//! How memcached reads a request, by `proto_text.c` of memcached 1.6: where it ends, what it is.
//!
//! Written from that source, not from our parser. What its versions read differently is `Doubt`.

/// What memcached makes of the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<'a> {
    /// It waits for more.
    Waits,
    /// It closes the connection, or versions of it read this differently.
    Doubt,
    /// It answers an error, and this is how many bytes it took.
    Refuses(usize),
    /// It carries a request out.
    Takes(Taken<'a>),
}

/// A request as memcached has it.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken<'a> {
    pub words: Vec<&'a [u8]>,
    pub keys: Vec<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// It answers nothing.
    pub is_silent: bool,
    pub end: usize,
}

/// Reads the first request.
pub fn read(bytes: &[u8]) -> Read<'_> {
    if bytes.first() == Some(&0x80) {
        return Read::Doubt;
    }
    let Some(lf) = bytes.iter().position(|&byte| byte == b'\n') else {
        return if bytes.len() > LINE_BYTES_MAX { Read::Doubt } else { Read::Waits };
    };
    let line = bytes[..lf].strip_suffix(b"\r").unwrap_or(&bytes[..lf]);
    if line.iter().any(u8::is_ascii_control) {
        return Read::Doubt;
    }
    let words: Vec<&[u8]> =
        line.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).collect();
    let Some(&name) = words.first() else { return Read::Refuses(lf + 1) };
    match name {
        b"set" | b"add" | b"replace" | b"append" | b"prepend" => storage(bytes, words, 5, lf + 1),
        b"cas" => storage(bytes, words, 6, lf + 1),
        b"get" | b"gets" => keyed(words, 2, usize::MAX, 1, lf + 1),
        b"gat" | b"gats" => keyed(words, 3, usize::MAX, 2, lf + 1),
        b"incr" | b"decr" | b"touch" => keyed(words, 3, 4, 1, lf + 1),
        b"delete" => keyed(words, 2, 4, 1, lf + 1),
        b"version" | b"verbosity" | b"flush_all" | b"stats" | b"quit" | b"mn" => {
            let is_silent = words.len() > 1 && words.last() == Some(&&b"noreply"[..]);
            Read::Takes(Taken { words, keys: Vec::new(), value: None, is_silent, end: lf + 1 })
        }
        _ => Read::Refuses(lf + 1),
    }
}

/// A command of one line, whose keys begin at word `first`.
fn keyed(words: Vec<&[u8]>, min: usize, max: usize, first: usize, end: usize) -> Read<'_> {
    if !(min..=max).contains(&words.len()) {
        return Read::Refuses(end);
    }
    let is_retrieval = max == usize::MAX;
    let last = if is_retrieval { words.len() } else { first + 1 };
    let keys = words[first..last].to_vec();
    if keys.iter().any(|key| key.len() > KEY_BYTES_MAX) {
        return Read::Refuses(end);
    }
    let is_silent = !is_retrieval && words.len() > 2 && words.last() == Some(&&b"noreply"[..]);
    Read::Takes(Taken { words, keys, value: None, is_silent, end })
}

/// A command with so many words, `noreply` not counted, and a value behind its line.
fn storage<'a>(bytes: &'a [u8], words: Vec<&'a [u8]>, count: usize, from: usize) -> Read<'a> {
    if words.len() != count && words.len() != count + 1 {
        return Read::Refuses(from);
    }
    let [flags, expires, len] = [2, 3, 4].map(|index| number(words[index]));
    let unique = if count == 6 { number(words[5]) } else { Some(0) };
    let (Some(flags), Some(expires), Some(len), Some(unique)) = (flags, expires, len, unique)
    else {
        return Read::Refuses(from);
    };
    if unique > i128::from(u64::MAX) {
        return Read::Refuses(from);
    }
    let largest = i128::from(i32::MAX);
    if flags > i128::from(u32::MAX) || expires > largest || flags < 0 || unique < 0 {
        return Read::Doubt;
    }
    if !(0..=largest - 2).contains(&len) || words[1].len() > KEY_BYTES_MAX {
        return Read::Refuses(from);
    }
    let end = from + len as usize + 2;
    let Some(value) = bytes.get(from..end) else { return Read::Waits };
    if !value.ends_with(b"\r\n") {
        return Read::Refuses(end);
    }
    let is_silent = words.len() > count && words.last() == Some(&&b"noreply"[..]);
    let keys = vec![words[1]];
    Read::Takes(Taken { words, keys, value: Some(&value[..len as usize]), is_silent, end })
}

/// strtol(3) and its kin, of a word that is a number and nothing else.
fn number(word: &[u8]) -> Option<i128> {
    let digits = word.strip_prefix(b"-").or(word.strip_prefix(b"+")).unwrap_or(word);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(word).ok()?.parse();
    Some(number.unwrap_or(i128::MAX))
}

/// `KEY_MAX_LENGTH`.
const KEY_BYTES_MAX: usize = 250;

/// Beyond, a line without an end closes the connection, but for that of a get.
const LINE_BYTES_MAX: usize = 2048;
