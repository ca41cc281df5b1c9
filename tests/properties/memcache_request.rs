//! Requests of clients of a memcached pool.

use ringcracker::proto::commands::{Local, Serve};
use ringcracker::proto::memcache::RequestParser;
use ringcracker::proto::{BadRequest, Form, Parsed, Request};

use super::memcached_rules::{self, Read};
use super::memory::peak_of;
use super::pieces::{same_however_cut, split_seed};

/// A part of a client's bytes, and what is made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// Answered by the proxy with these words.
    Refused {
        len: usize,
        words: &'static [u8],
    },
    Request {
        len: usize,
        name: &'static str,
        forwarded: Vec<u8>,
        keys: Vec<Vec<u8>>,
        cut: bool,
    },
    Bad(BadRequest),
    Unfinished(usize),
}

/// However it is cut, the parser says the same; what it takes memcached takes, with the same keys
/// and the same end; what is forwarded is one request and wants one reply; and a value that is
/// refused is skipped where memcached would have read it.
pub fn check(input: &[u8]) {
    let (seed, bytes) = split_seed(input);
    let seen = same_however_cut(seed, bytes, parse);
    let mut at = 0;
    for one in &seen {
        match one {
            Seen::Request { len, name, forwarded, keys, cut } => {
                is_taken(&bytes[at..], *len, name, keys, *cut);
                is_one_request(forwarded, keys);
                at += len;
            }
            Seen::Refused { len, words } => {
                let read = memcached_rules::read(&bytes[at..]);
                let shown = bytes[at..].escape_ascii();
                match read {
                    // With the rest of a value that has not come, all that is there.
                    Read::Takes(taken) if taken.value.is_some() => {
                        assert_eq!(*len, taken.end, "{:?}: {shown}", words.escape_ascii());
                    }
                    Read::Refuses(end) if words.starts_with(b"CLIENT_ERROR bad data chunk") => {
                        assert_eq!(*len, end, "{shown}");
                    }
                    Read::Takes(_) | Read::Refuses(_) | Read::Waits | Read::Doubt => {}
                }
                at += len;
            }
            Seen::Bad(_) | Seen::Unfinished(_) => {}
        }
    }
    memory_is_bounded(bytes);
}

/// What the parser says about bytes that come in these pieces. What is skipped belongs to the
/// refusal before it.
fn parse(pieces: &[&[u8]]) -> Vec<Seen> {
    let mut parser = RequestParser::new();
    let mut seen: Vec<Seen> = Vec::new();
    let mut raw = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let parsed = parser.parse(rest);
            let read = match parsed {
                Parsed::Partial => rest.len(),
                Parsed::Request { end } | Parsed::Nothing { end } => end,
                Parsed::Bad(fault) => {
                    assert_eq!(parser.parse(rest), Parsed::Bad(fault), "a fault is for good");
                    seen.push(Seen::Bad(fault));
                    return seen;
                }
            };
            assert!((1..=rest.len()).contains(&read), "{parsed:?} of {} bytes", rest.len());
            raw.extend_from_slice(&rest[..read]);
            rest = &rest[read..];
            match parsed {
                Parsed::Request { .. } => seen.push(described(parser.request(), &raw)),
                Parsed::Nothing { .. } => match seen.last_mut() {
                    Some(Seen::Refused { len, .. }) => *len += raw.len(),
                    other => panic!("nothing may be skipped behind {other:?}"),
                },
                Parsed::Partial | Parsed::Bad(_) => continue,
            }
            raw.clear();
        }
    }
    seen.push(Seen::Unfinished(raw.len()));
    seen
}

fn described(request: &Request, raw: &[u8]) -> Seen {
    let command = request.command.expect("each request has a row");
    assert_eq!(request.len as usize, raw.len());
    let len = raw.len();
    if let (Serve::Local(Local::Line(words)), "") = (command.serve, command.name) {
        return Seen::Refused { len, words };
    }
    let mut forwarded = raw.to_vec();
    let cut = match request.form() {
        Form::Cut(cut) => {
            let start = cut.offset as usize;
            forwarded.drain(start..start + cut.len as usize);
            true
        }
        Form::AsItCame | Form::Rewritten => false,
    };
    let keys = request.keys.indexes().map(|index| raw[request.argument_range(index)].to_vec());
    Seen::Request { len, name: command.name, forwarded, keys: keys.collect(), cut }
}

fn is_taken(bytes: &[u8], len: usize, name: &str, keys: &[Vec<u8>], cut: bool) {
    let shown = bytes[..len].escape_ascii();
    let taken = match memcached_rules::read(bytes) {
        Read::Takes(taken) => taken,
        // A line without keys: one error answers it.
        Read::Refuses(end) if keys.is_empty() && end == len => return,
        other @ (Read::Refuses(_) | Read::Waits | Read::Doubt) => {
            panic!("taken here, and not by memcached, {other:?}: {shown}")
        }
    };
    assert_eq!(taken.end, len, "memcached ends elsewhere: {shown}");
    assert_eq!(taken.words[0], name.as_bytes(), "{shown}");
    assert_eq!(taken.keys, keys, "{shown}");
    let is_local = matches!(name, "stats" | "quit" | "mn" | "version");
    assert!(is_local || taken.is_silent == cut, "who is silent differs: {shown}");
}

fn is_one_request(forwarded: &[u8], keys: &[Vec<u8>]) {
    let shown = forwarded.escape_ascii();
    let taken = match memcached_rules::read(forwarded) {
        Read::Takes(taken) => taken,
        Read::Refuses(end) if keys.is_empty() && end == forwarded.len() => return,
        other @ (Read::Refuses(_) | Read::Waits | Read::Doubt) => {
            panic!("memcached does not take what is forwarded, {other:?}: {shown}")
        }
    };
    assert_eq!(taken.end, forwarded.len(), "more is forwarded than one request: {shown}");
    assert_eq!(taken.keys, keys, "{shown}");
    let is_local = matches!(taken.words[0], b"stats" | b"quit" | b"mn" | b"version");
    assert!(is_local || !taken.is_silent, "nothing would answer: {shown}");
}

fn memory_is_bounded(bytes: &[u8]) {
    let ((), peak) = peak_of(|| {
        let mut parser = RequestParser::new();
        let mut rest = bytes;
        while let Parsed::Request { end } | Parsed::Nothing { end } = parser.parse(rest) {
            rest = &rest[end..];
        }
    });
    let most = 1024 + 12 * bytes.len();
    assert!(peak <= most, "{peak} bytes of memory for {} bytes", bytes.len());
}
