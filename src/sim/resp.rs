//! As much of RESP2 and RESP3 as the simulated peers need, read by a parser of their own: the one
//! that is tested may not judge itself. It is given everything that has arrived and starts over
//! each time.

/// What the front of some bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A whole frame of so many bytes.
    Whole(usize),
    /// The beginning of a frame, or nothing.
    Partial,
    /// No RESP.
    Garbage,
}

/// The name of a command, and what follows it.
pub(super) type Arguments = Vec<Vec<u8>>;

/// A request in the form that clients send: an array of bulk strings.
pub fn request(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    arguments.iter().for_each(|argument| bytes.extend(bulk(argument)));
    bytes
}

/// A bulk string.
pub fn bulk(value: &[u8]) -> Vec<u8> {
    let mut bytes = format!("${}\r\n", value.len()).into_bytes();
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// An integer reply.
pub fn integer(value: i64) -> Vec<u8> {
    format!(":{value}\r\n").into_bytes()
}

/// An array whose elements are already in RESP2.
pub fn array(elements: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", elements.len()).into_bytes();
    elements.iter().for_each(|element| bytes.extend_from_slice(element));
    bytes
}

/// What stands at the front of `bytes`.
pub(super) fn frame(bytes: &[u8]) -> Frame {
    let Some(line) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return Frame::Partial;
    };
    if line == 0 {
        return Frame::Garbage;
    }
    let head = line + 2;
    let text = std::str::from_utf8(&bytes[1..line]).unwrap_or("");
    match (bytes[0], text.parse::<i64>()) {
        (b'+' | b'-' | b',', _) | (b':', Ok(_)) | (b'$' | b'*', Ok(-1)) => Frame::Whole(head),
        (b'_', _) if line == 1 => Frame::Whole(head),
        (b'$', Ok(len @ 0..)) => match bytes.get(head + len as usize..head + len as usize + 2) {
            Some(b"\r\n") => Frame::Whole(head + len as usize + 2),
            Some(_) => Frame::Garbage,
            None => Frame::Partial,
        },
        (b'*' | b'>', Ok(count @ 0..)) => elements(bytes, head, count),
        (b'%', Ok(count @ 0..)) => elements(bytes, head, 2 * count),
        _ => Frame::Garbage,
    }
}

/// Whether something in this whole reply is of the other version than of the one that is spoken.
pub(super) fn is_foreign(reply: &[u8], is_three: bool) -> bool {
    let mut at = 0;
    while at < reply.len() {
        let rest = &reply[at..];
        let head = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |end| end + 1);
        let is_null = matches!(&rest[..head], b"$-1\r\n" | b"*-1\r\n");
        let is_of_three = matches!(rest[0], b'_' | b'%' | b'>' | b',');
        if if is_three { is_null } else { is_of_three } {
            return true;
        }
        // Into an array, and over anything else.
        at += match (rest[0], frame(rest)) {
            (b'$', Frame::Whole(len)) => len,
            _ => head,
        };
    }
    false
}

/// A whole reply of RESP2 to a command of this name, as a server has it that speaks RESP3.
pub(super) fn in_resp3(reply: &[u8], name: &[u8]) -> Vec<u8> {
    if reply == b"$-1\r\n" || reply == b"*-1\r\n" {
        return b"_\r\n".to_vec();
    }
    let Some(elements) = elements_of(reply) else { return reply.to_vec() };
    let elements: Vec<_> = elements.into_iter().map(|element| in_resp3(element, b"")).collect();
    let whole = array(&elements);
    if !name.eq_ignore_ascii_case(b"HGETALL") {
        return whole;
    }
    let head = whole.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    [format!("%{}\r\n", elements.len() / 2).as_bytes(), &whole[head..]].concat()
}

/// A reply to a request of this name in RESP3, if that is what is spoken.
pub(super) fn in_version(is_three: bool, reply: Vec<u8>, name: &[u8]) -> Vec<u8> {
    if is_three { in_resp3(&reply, name) } else { reply }
}

/// The elements of the array that `bytes` are, each in RESP2; none if they are anything else.
pub(super) fn elements_of(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    if bytes.first() != Some(&b'*') || frame(bytes) != Frame::Whole(bytes.len()) {
        return None;
    }
    let mut at = bytes.iter().position(|&byte| byte == b'\n')? + 1;
    let mut elements = Vec::new();
    while at < bytes.len() {
        let Frame::Whole(len) = frame(&bytes[at..]) else { return None };
        elements.push(&bytes[at..at + len]);
        at += len;
    }
    Some(elements)
}

/// The arguments of the whole request at the front of `bytes`, and its length.
///
/// `Ok(None)` when it is not whole yet, `Err` when it is no array of bulk strings.
pub(super) fn command(bytes: &[u8]) -> Result<Option<(Arguments, usize)>, ()> {
    let whole = match frame(bytes) {
        Frame::Whole(len) => len,
        Frame::Partial if bytes.first().is_none_or(|&first| first == b'*') => return Ok(None),
        Frame::Partial | Frame::Garbage => return Err(()),
    };
    if bytes[0] != b'*' {
        return Err(());
    }
    let mut arguments = Vec::new();
    let mut at = bytes.iter().position(|&byte| byte == b'\n').ok_or(())? + 1;
    while at < whole {
        let Frame::Whole(len) = frame(&bytes[at..whole]) else { return Err(()) };
        let head = bytes[at..].iter().position(|&byte| byte == b'\n').ok_or(())? + 1;
        if bytes[at] != b'$' || len < head + 2 {
            return Err(());
        }
        arguments.push(bytes[at + head..at + len - 2].to_vec());
        at += len;
    }
    if arguments.is_empty() { Err(()) } else { Ok(Some((arguments, whole))) }
}

fn elements(bytes: &[u8], head: usize, count: i64) -> Frame {
    let mut at = head;
    for _ in 0..count {
        match frame(&bytes[at..]) {
            Frame::Whole(len) => at += len,
            other @ (Frame::Partial | Frame::Garbage) => return other,
        }
    }
    Frame::Whole(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_whole_at_its_last_byte_only() {
        let nested = array(&[bulk(b"a\r\nb"), integer(-3), array(&[b"$-1\r\n".to_vec()])]);
        for reply in [b"+OK\r\n".to_vec(), b"-ERR no\r\n".to_vec(), bulk(b""), nested] {
            for end in 0..reply.len() {
                assert_eq!(frame(&reply[..end]), Frame::Partial);
            }
            let more = [&reply[..], b"+next"].concat();
            assert_eq!(frame(&more), Frame::Whole(reply.len()));
        }
        assert_eq!(frame(b"hello\r\n"), Frame::Garbage);
        assert_eq!(frame(b"$1\r\nabc"), Frame::Garbage);
    }

    #[test]
    fn each_version_has_its_own_types() {
        let null = b"$-1\r\n".to_vec();
        let two = array(&[bulk(b"_\r\n%"), array(std::slice::from_ref(&null)), integer(-1)]);
        let three = in_resp3(&two, b"MGET");
        assert_eq!(three, array(&[bulk(b"_\r\n%"), array(&[b"_\r\n".to_vec()]), integer(-1)]));
        assert_eq!(frame(&three), Frame::Whole(three.len()));
        let map = in_resp3(&array(&[bulk(b"f"), bulk(b"$-1\r\n")]), b"hgetall");
        assert_eq!(map, b"%1\r\n$1\r\nf\r\n$5\r\n$-1\r\n\r\n");
        assert_eq!(frame(&map), Frame::Whole(map.len()));
        for (reply, of_two, of_three) in [
            (&two, true, false),
            (&three, false, true),
            (&map, false, true),
            (&null, true, false),
            (&integer(3), true, true),
        ] {
            assert_eq!(!is_foreign(reply, false), of_two, "{}", reply.escape_ascii());
            assert_eq!(!is_foreign(reply, true), of_three, "{}", reply.escape_ascii());
        }
    }

    #[test]
    fn a_command_gives_its_arguments() {
        let bytes = request(&[b"SET", b"key", b""]);
        let arguments = vec![b"SET".to_vec(), b"key".to_vec(), b"".to_vec()];
        assert_eq!(command(&bytes), Ok(Some((arguments, bytes.len()))));
        assert_eq!(command(&bytes[..9]), Ok(None));
        assert_eq!(command(b"PING\r\n"), Err(()));
        assert_eq!(command(b"*1\r\n$-1\r\n"), Err(()));
    }
}
