//! Replies of servers of a memcached pool.

use ringcracker::proto::memcache::ReplyParser;
use ringcracker::proto::resp::{BadReply, ReplyStep};
use ringcracker::proto::{Expected, KeyHash, Replies};

use super::memory::peak_of;
use super::pieces::{same_however_cut, split_seed};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Reply { len: usize, elements: Vec<usize> },
    Bad(BadReply),
    Unfinished(usize),
}

/// However it is cut, the parser says the same; what it takes is a reply to what was asked, by the
/// protocol's own description, and whatever is one it takes; its memory is bounded by what came.
pub fn check(input: &[u8]) {
    let (seed, bytes) = split_seed(input);
    let replies = KINDS[seed as usize % KINDS.len()];
    let keys = &KEYS[..(seed as usize / KINDS.len()) % (KEYS.len() + 1)];
    let mut expected = Expected::new(replies);
    expected.elements = true;
    keys.iter().for_each(|key| expected.add_key(hash(key)));
    let seen = same_however_cut(seed, bytes, |pieces| parse(expected, pieces));
    let mut rest = bytes;
    for one in &seen {
        let naive = reply(rest, expected);
        let shown = rest.escape_ascii();
        match one {
            Seen::Reply { len, elements } => {
                assert_eq!(naive, Some((*len, elements.clone())), "{replies:?}: {shown}");
                rest = &rest[*len..];
            }
            Seen::Bad(_) | Seen::Unfinished(_) => {
                assert_eq!(naive, None, "{one:?} is a reply to {replies:?}: {shown}");
            }
        }
    }
    let ((), peak) = peak_of(|| drop(parse(expected, &[bytes])));
    let most = 4096 + 64 * bytes.len();
    assert!(peak <= most, "{peak} bytes of memory for {} bytes", bytes.len());
}

fn parse(expected: Expected, pieces: &[&[u8]]) -> Vec<Seen> {
    let mut parser = ReplyParser::new();
    parser.expect(expected);
    let mut seen = Vec::new();
    let mut before = 0;
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            match parser.parse(rest) {
                ReplyStep::Partial => {
                    before += rest.len();
                    assert_eq!(parser.bytes_so_far(), before as u64);
                    break;
                }
                ReplyStep::Reply { end } => {
                    assert!((1..=rest.len()).contains(&end) && parser.is_idle());
                    let elements = parser.elements().iter().map(|&end| end as usize).collect();
                    seen.push(Seen::Reply { len: before + end, elements });
                    before = 0;
                    rest = &rest[end..];
                }
                ReplyStep::Push { .. } => panic!("memcached has no pushes"),
                ReplyStep::Bad(fault) => {
                    assert_eq!(parser.parse(rest), ReplyStep::Bad(fault), "a fault is for good");
                    seen.push(Seen::Bad(fault));
                    return seen;
                }
            }
        }
    }
    seen.push(Seen::Unfinished(before));
    seen
}

/// The first reply, if it is whole and answers what was asked: how long it is, and where each of
/// its values ends.
fn reply(bytes: &[u8], expected: Expected) -> Option<(usize, Vec<usize>)> {
    let mut at = 0;
    let mut ends = Vec::new();
    loop {
        let rest = &bytes[at..];
        let len = rest.iter().position(|byte| b"\r\n".contains(byte))?;
        if !rest[len..].starts_with(b"\r\n") || len > LINE_BYTES_MAX - 1 || rest[0] == b' ' {
            return None;
        }
        let words: Vec<&[u8]> =
            rest[..len].split(|&byte| byte == b' ').filter(|word| !word.is_empty()).collect();
        at += len + 2;
        let (&name, others) = words.split_first()?;
        let wants_values = matches!(expected.replies, Replies::Values | Replies::Uniques);
        if name != b"VALUE" || !wants_values {
            let is_end = name == b"END" && others.is_empty() && wants_values;
            let is_error = matches!(name, b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR");
            let is_answer = ends.is_empty() && answers(expected.replies, name, others);
            return (is_end || is_error || is_answer).then_some((at, ends));
        }
        let wanted = if expected.replies == Replies::Uniques { 4 } else { 3 };
        let size = others.get(2).and_then(|text| size(text))?;
        let is_asked = expected.has_key(hash(others[0]));
        if others.len() != wanted || !is_asked || !expected.may_have(ends.len() as u32 + 1) {
            return None;
        }
        at += size;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
        ends.push(at);
    }
}

fn answers(replies: Replies, name: &[u8], others: &[&[u8]]) -> bool {
    let is_one_of = |names: &[&[u8]]| others.is_empty() && names.contains(&name);
    match replies {
        Replies::Stored => is_one_of(&[b"STORED", b"NOT_STORED", b"EXISTS", b"NOT_FOUND"]),
        Replies::Deleted => is_one_of(&[b"DELETED", b"NOT_FOUND"]),
        Replies::Touched => is_one_of(&[b"TOUCHED", b"NOT_FOUND"]),
        Replies::Done => is_one_of(&[b"OK"]),
        Replies::Version => name == b"VERSION",
        Replies::Number => {
            let is_number = name.len() <= 24 && name.iter().all(u8::is_ascii_digit);
            others.is_empty() && (is_number || name == b"NOT_FOUND")
        }
        Replies::Any | Replies::Values | Replies::Uniques => false,
    }
}

fn size(text: &[u8]) -> Option<usize> {
    let is_number = text.iter().all(u8::is_ascii_digit);
    let number: u64 = std::str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()?;
    usize::try_from(number).ok().filter(|&size| size <= 1 << 30)
}

fn hash(key: &[u8]) -> KeyHash {
    key.iter().fold(KeyHash::START, |hash, &byte| hash.and(byte))
}

const KINDS: [Replies; 9] = [
    Replies::Values,
    Replies::Uniques,
    Replies::Stored,
    Replies::Deleted,
    Replies::Number,
    Replies::Touched,
    Replies::Done,
    Replies::Version,
    Replies::Any,
];

const KEYS: [&[u8]; 3] = [b"a", b"key", b"user:17"];

/// Bytes of a line, as `limits` has it.
const LINE_BYTES_MAX: usize = 2048;
