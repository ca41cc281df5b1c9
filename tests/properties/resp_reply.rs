//! Replies of servers of a Redis pool, in both versions of RESP.

use ringcracker::proto::RespVersion;
use ringcracker::proto::resp::{ReplyParser, ReplyStep, integer};

use super::memory::peak_of;
use super::pieces::{same_however_cut, split_seed};
use crate::naive::{Seen, reply};

/// However it is cut, the parser says the same; a naive one says so too; its memory is bounded by
/// what came, whatever is announced; and whoever gives up the elements gets the same replies.
pub fn check(input: &[u8]) {
    let (seed, bytes) = split_seed(input);
    // The naive parser is one function that calls itself for each level.
    let bytes = &bytes[..bytes.len().min(4096)];
    let two = same_however_cut(seed, bytes, |pieces| parse(RespVersion::Two, pieces));
    assert_eq!(two, reply::replies(bytes), "{}", bytes.escape_ascii());
    let three = same_however_cut(seed, bytes, |pieces| parse(RespVersion::Three, pieces));
    assert_eq!(three, reply::replies3(bytes), "{}", bytes.escape_ascii());
    // What is a reply in RESP2 is the same in RESP3.
    let good = two.iter().take_while(|seen| matches!(seen, Seen::Reply { .. })).count();
    assert_eq!(two[..good], three[..good]);
    let _ = integer(bytes);
    memory_is_bounded(bytes);
}

fn parse(version: RespVersion, pieces: &[&[u8]]) -> Vec<Seen> {
    let mut parser = ReplyParser::new();
    parser.speak(version);
    parser.record_elements(true);
    let mut seen = Vec::new();
    let mut before = 0;
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let step = parser.parse(rest);
            let end = match step {
                ReplyStep::Partial => {
                    before += rest.len();
                    assert_eq!(parser.bytes_so_far(), before as u64);
                    break;
                }
                ReplyStep::Bad(fault) => {
                    assert_eq!(parser.parse(rest), ReplyStep::Bad(fault), "a fault is for good");
                    seen.push(Seen::BadReply(fault));
                    return seen;
                }
                ReplyStep::Reply { end } | ReplyStep::Push { end } => end,
            };
            assert!((1..=rest.len()).contains(&end) && parser.is_idle());
            let len = before + end;
            seen.push(match step {
                ReplyStep::Push { .. } => Seen::Push(len),
                ReplyStep::Reply { .. } | ReplyStep::Partial | ReplyStep::Bad(_) => Seen::Reply {
                    first: parser.first_byte(),
                    len,
                    start: parser.elements_start() as usize,
                    elements: parser.elements().iter().map(|&end| end as usize).collect(),
                },
            });
            before = 0;
            rest = &rest[end..];
        }
    }
    seen.push(Seen::Unfinished(before));
    seen
}

fn memory_is_bounded(bytes: &[u8]) {
    for version in [RespVersion::Two, RespVersion::Three] {
        let ((), peak) = peak_of(|| {
            let mut parser = ReplyParser::new();
            parser.speak(version);
            parser.record_elements(true);
            let mut rest = bytes;
            while let ReplyStep::Reply { end } | ReplyStep::Push { end } = parser.parse(rest) {
                rest = &rest[end..];
            }
        });
        let most = 1024 + 12 * bytes.len();
        assert!(peak <= most, "{peak} bytes of memory for {} bytes", bytes.len());
    }
}
