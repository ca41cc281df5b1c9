//! Requests of clients of a Redis pool, inline ones too.

use ringcracker::limits::INLINE_BYTES_MAX;
use ringcracker::proto::Parsed;
use ringcracker::proto::resp::RequestParser;

use super::memory::peak_of;
use super::pieces::{same_however_cut, split_seed};
use super::redis_rules::{self, Read};
use crate::naive::{self, Seen};

/// However it is cut, the parser says the same; a naive one says so too; what it takes Redis takes,
/// with the same arguments, and once more in the form in which it is forwarded; and its memory is
/// bounded by what came.
pub fn check(input: &[u8]) {
    let (seed, bytes) = split_seed(input);
    // The naive parser does not count bytes that have no end.
    let bytes = &bytes[..bytes.len().min(INLINE_BYTES_MAX - 1)];
    let requests = same_however_cut(seed, bytes, parse);
    assert_eq!(requests, naive::requests(bytes), "{}", bytes.escape_ascii());
    let forwarded = taken_by_redis(bytes);
    let mut rest = &forwarded.bytes[..];
    for arguments in &forwarded.requests {
        let Read::Takes((taken, end)) = redis_rules::read(rest) else {
            panic!("Redis does not take what is forwarded: {}", rest.escape_ascii());
        };
        assert_eq!(taken, *arguments, "forwarded: {}", rest.escape_ascii());
        rest = &rest[end..];
    }
    assert!(rest.is_empty(), "more is forwarded: {}", rest.escape_ascii());
    memory_is_bounded(bytes);
}

/// What the parser says about bytes that come in these pieces.
fn parse(pieces: &[&[u8]]) -> Vec<Seen> {
    let mut parser = RequestParser::new();
    let mut seen = Vec::new();
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
                    seen.push(Seen::BadRequest(fault));
                    return seen;
                }
            };
            assert!((1..=rest.len()).contains(&read), "{parsed:?} of {} bytes", rest.len());
            raw.extend_from_slice(&rest[..read]);
            rest = &rest[read..];
            match parsed {
                Parsed::Request { .. } => seen.push(described(&parser, &raw)),
                Parsed::Nothing { .. } => seen.push(Seen::Nothing(raw.len())),
                Parsed::Partial | Parsed::Bad(_) => continue,
            }
            raw.clear();
        }
    }
    seen.push(Seen::Unfinished(raw.len()));
    seen
}

fn described(parser: &RequestParser, raw: &[u8]) -> Seen {
    let request = parser.request();
    let bytes = request.rewritten().unwrap_or(raw);
    assert_eq!(request.len as usize, bytes.len());
    let payload = |index| bytes[request.argument_range(index)].to_vec();
    for index in 0..request.spans.len() as u32 {
        let bulk = &bytes[request.bulk_range(index)];
        assert_eq!(naive::list(&[payload(index)])[4..], *bulk);
    }
    for &pattern in &request.patterns {
        assert!((pattern as usize) < request.spans.len(), "a pattern without its span");
    }
    if let Some(at) = request.timeout_at() {
        assert!((at as usize) < request.spans.len(), "a timeout without its span");
    }
    Seen::Request {
        arguments: (0..request.spans.len() as u32).map(payload).collect(),
        count: request.arguments,
        command: request.command,
        keys: request.keys.indexes().map(payload).collect(),
    }
}

/// What would be forwarded of some bytes, and the arguments that Redis has found in them as they
/// came.
struct Forwarded {
    bytes: Vec<u8>,
    requests: Vec<Vec<Vec<u8>>>,
}

/// Holds what the parser takes against what Redis would have taken in its place.
fn taken_by_redis(bytes: &[u8]) -> Forwarded {
    let mut parser = RequestParser::new();
    let mut forwarded = Forwarded { bytes: Vec::new(), requests: Vec::new() };
    let mut rest = bytes;
    while !rest.is_empty() {
        let (end, is_request) = match parser.parse(rest) {
            Parsed::Request { end } => (end, true),
            Parsed::Nothing { end } => (end, false),
            Parsed::Partial | Parsed::Bad(_) => break,
        };
        let Read::Takes((arguments, taken)) = redis_rules::read(rest) else {
            panic!("taken here, and not by Redis: {}", rest[..end].escape_ascii());
        };
        assert_eq!(taken, end, "Redis ends elsewhere: {}", rest.escape_ascii());
        assert_eq!(!arguments.is_empty(), is_request, "{}", rest[..end].escape_ascii());
        if is_request {
            let request = parser.request();
            assert_eq!(request.arguments as usize, arguments.len());
            forwarded.bytes.extend_from_slice(request.rewritten().unwrap_or(&rest[..end]));
            forwarded.requests.push(arguments);
        }
        rest = &rest[end..];
    }
    forwarded
}

fn memory_is_bounded(bytes: &[u8]) {
    let ((), peak) = peak_of(|| {
        let mut parser = RequestParser::new();
        let mut rest = bytes;
        while let Parsed::Request { end } | Parsed::Nothing { end } = parser.parse(rest) {
            rest = &rest[end..];
        }
    });
    let most = 1024 + 8 * bytes.len();
    assert!(peak <= most, "{peak} bytes of memory for {} bytes", bytes.len());
}
