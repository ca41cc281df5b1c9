//! Marks: what makes a request one of a kind, so that a server's deed can be told to be this one. A
//! mark is a value, a key or an end of a range that no other request has.

/// A value that bears a mark: `#name;` and whatever follows.
pub fn marked(name: &str, rest: &[u8]) -> Vec<u8> {
    [b"#", name.as_bytes(), b";", rest].concat()
}

/// The mark of a value that was made by `marked`.
pub fn mark_of(value: &[u8]) -> Option<&[u8]> {
    let end = value.iter().position(|&byte| byte == b';')?;
    value.starts_with(b"#").then_some(&value[..=end])
}

/// The last argument of a read of everything under a key, which no other read has: an end of a
/// range that lies behind all that there is.
pub fn range_end(client: u64, count: u64) -> Vec<u8> {
    assert!(count < COUNT_MAX, "it would be another client's");
    (RANGE_END_MIN + client * COUNT_MAX + count).to_string().into_bytes()
}

/// Whose mark it is, and which of theirs: of `#c3n14;`, or of an end of a range.
pub(super) fn writer_of(mark: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(mark).ok()?;
    if let Some(number) = text.parse::<u64>().ok().and_then(|end| end.checked_sub(RANGE_END_MIN)) {
        return Some((number / COUNT_MAX, number % COUNT_MAX));
    }
    let (client, count) = text.strip_prefix("#c")?.strip_suffix(';')?.split_once('n')?;
    Some((client.parse().ok()?, count.parse().ok()?))
}

/// The marks of a request, each with the key that it is about.
pub(super) fn marks(request: &[Vec<u8>]) -> Vec<(&[u8], &[u8])> {
    let arguments = &request[1..];
    match &request[0].to_ascii_uppercase()[..] {
        b"SET" | b"GETSET" | b"APPEND" | b"LPUSH" | b"MSET" | b"PUBLISH" => arguments
            .chunks_exact(2)
            .filter_map(|pair| Some((mark_of(&pair[1])?, &pair[0][..])))
            .collect(),
        b"DEL" | b"UNLINK" | b"EXISTS" | b"TOUCH" | b"MGET" | b"INCR" => {
            let is_mark = |key: &&Vec<u8>| mark_of(key) == Some(&key[..]);
            arguments.iter().filter(is_mark).map(|key| (&key[..], &key[..])).collect()
        }
        b"HSET" => match arguments {
            [key, _, value] => mark_of(value).map(|mark| (mark, &key[..])).into_iter().collect(),
            _ => Vec::new(),
        },
        b"GETRANGE" | b"LRANGE" | b"HSCAN" => match arguments {
            [key, .., end] if is_range_end(end) => vec![(&end[..], &key[..])],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn is_range_end(end: &[u8]) -> bool {
    let number = std::str::from_utf8(end).ok().and_then(|text| text.parse::<u64>().ok());
    number.is_some_and(|number| number >= RANGE_END_MIN)
}

/// Beyond the length of anything that is stored.
const RANGE_END_MIN: u64 = 1_000_000_000;

/// No client has as many requests.
const COUNT_MAX: u64 = 1_000_000;
