//! The parser of replies, of both versions of RESP.

use ringcracker::limits::REPLY_DEPTH_MAX;
use ringcracker::proto::RespVersion;
use ringcracker::proto::resp::BadReply;

use super::{Seen, Stop, canonical};

pub fn replies(bytes: &[u8]) -> Vec<Seen> {
    replies_in(RespVersion::Two, bytes)
}

pub fn replies3(bytes: &[u8]) -> Vec<Seen> {
    replies_in(RespVersion::Three, bytes)
}

fn replies_in(version: RespVersion, bytes: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let mut outer = Outer { version, first: 0, start: 0, elements: Vec::new() };
        match element(rest, 0, 0, &mut outer) {
            Ok(end) => {
                let Outer { first, start, elements, .. } = outer;
                seen.push(match first {
                    b'>' => Seen::Push(end),
                    _ => Seen::Reply { first, len: end, start, elements },
                });
                rest = &rest[end..];
            }
            Err(Stop::Bad(fault)) => {
                seen.push(Seen::BadReply(fault));
                return seen;
            }
            Err(Stop::Unfinished) => break,
        }
    }
    seen.push(Seen::Unfinished(rest.len()));
    seen
}

/// What is outermost in a reply, without its attributes.
struct Outer {
    version: RespVersion,
    first: u8,
    start: usize,
    elements: Vec<usize>,
}

/// Reads one element, and returns where it ends.
fn element(
    bytes: &[u8],
    at: usize,
    depth: usize,
    outer: &mut Outer,
) -> Result<usize, Stop<BadReply>> {
    let kind = *bytes.get(at).ok_or(Stop::Unfinished)?;
    let rest = &bytes[at + 1..];
    let len = rest.iter().position(|&byte| byte == b'\r');
    let text = &rest[..len.unwrap_or(rest.len())];
    let is_new = outer.version == RespVersion::Three;
    let fault = match kind {
        b'+' | b'-' => None,
        b',' | b'(' if is_new => None,
        b'_' if is_new => (!text.is_empty()).then_some(BadReply::End),
        b'#' if is_new => match rest.first() {
            Some(b't' | b'f') => (text.len() > 1).then_some(BadReply::End),
            Some(_) => Some(BadReply::Boolean),
            None => None,
        },
        b':' => (!may_be_integer(text)).then_some(BadReply::Integer),
        _ if has_length(kind, depth, is_new) => (!may_be_length(text)).then_some(BadReply::Length),
        other => Some(BadReply::Type(other)),
    };
    if let Some(fault) = fault {
        return Err(Stop::Bad(fault));
    }
    let len = len.ok_or(Stop::Unfinished)?;
    let number = match kind {
        b':' => Some(integer(text).ok_or(Stop::Bad(BadReply::Integer))?),
        _ if has_length(kind, depth, is_new) => {
            Some(canonical(text).ok_or(Stop::Bad(BadReply::Length))?)
        }
        _ => None,
    };
    if *rest.get(len + 1).ok_or(Stop::Unfinished)? != b'\n' {
        return Err(Stop::Bad(BadReply::End));
    }
    if depth == 0 {
        outer.first = kind;
    }
    let end = at + 1 + len + 2;
    match number {
        Some(number) if kind != b':' => behind_length(bytes, kind, number, end, depth, outer),
        _ => Ok(end),
    }
}

fn has_length(kind: u8, depth: usize, is_new: bool) -> bool {
    match kind {
        b'$' | b'*' => true,
        b'!' | b'=' | b'%' | b'~' | b'|' => is_new,
        b'>' => is_new && depth == 0,
        _ => false,
    }
}

/// Reads what is behind the head of a bulk string or an array, and returns where it ends.
fn behind_length(
    bytes: &[u8],
    kind: u8,
    number: i64,
    mut end: usize,
    depth: usize,
    outer: &mut Outer,
) -> Result<usize, Stop<BadReply>> {
    let is_payload = matches!(kind, b'$' | b'!' | b'=');
    if !is_payload && depth == REPLY_DEPTH_MAX {
        return Err(Stop::Bad(BadReply::Depth));
    }
    if number < 0 {
        let is_null = number == -1 && matches!(kind, b'$' | b'*');
        if is_null && depth == 0 && kind == b'*' {
            outer.start = end;
        }
        return if is_null { Ok(end) } else { Err(Stop::Bad(BadReply::Length)) };
    }
    if is_payload {
        end += number as usize;
        for (index, wanted) in b"\r\n".iter().enumerate() {
            if bytes.get(end + index).ok_or(Stop::Unfinished)? != wanted {
                return Err(Stop::Bad(BadReply::End));
            }
        }
        return Ok(end + 2);
    }
    let count = match kind {
        b'%' | b'|' => number.checked_mul(2).ok_or(Stop::Bad(BadReply::Length))?,
        _ => number,
    };
    let is_outer = depth == 0 && kind != b'|';
    if is_outer {
        outer.start = end;
    }
    for _ in 0..count {
        end = element(bytes, end, depth + 1, outer)?;
        if is_outer {
            outer.elements.push(end);
        }
    }
    // What an attribute is about follows it.
    if kind == b'|' { element(bytes, end, depth, outer) } else { Ok(end) }
}

/// Whether this may be the beginning of a length.
fn may_be_length(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let zero = digits.first() == Some(&b'0') && text.len() > 1;
    !zero && are_digits_of_64_bits(digits)
}

/// Whether this may be the beginning of an integer.
fn may_be_integer(text: &[u8]) -> bool {
    are_digits_of_64_bits(text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text))
}

fn are_digits_of_64_bits(digits: &[u8]) -> bool {
    let text = std::str::from_utf8(digits).unwrap_or("x");
    let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
    digits_only && text.len() <= 20 && (text.is_empty() || text.parse::<u64>().is_ok())
}

fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
