//! As much of RESP2 as the simulated peers need, read by a parser of their own: the one that is
//! tested may not judge itself. It is given everything that has arrived and starts over each time.

/// What the front of some bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A whole frame of so many bytes.
    Whole(usize),
    /// The beginning of a frame, or nothing.
    Partial,
    /// No RESP2.
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
        (b'+' | b'-', _) | (b':', Ok(_)) | (b'$' | b'*', Ok(-1)) => Frame::Whole(head),
        (b'$', Ok(len @ 0..)) => match bytes.get(head + len as usize..head + len as usize + 2) {
            Some(b"\r\n") => Frame::Whole(head + len as usize + 2),
            Some(_) => Frame::Garbage,
            None => Frame::Partial,
        },
        (b'*', Ok(count @ 0..)) => elements(bytes, head, count),
        _ => Frame::Garbage,
    }
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
    fn a_command_gives_its_arguments() {
        let bytes = request(&[b"SET", b"key", b""]);
        let arguments = vec![b"SET".to_vec(), b"key".to_vec(), b"".to_vec()];
        assert_eq!(command(&bytes), Ok(Some((arguments, bytes.len()))));
        assert_eq!(command(&bytes[..9]), Ok(None));
        assert_eq!(command(b"PING\r\n"), Err(()));
        assert_eq!(command(b"*1\r\n$-1\r\n"), Err(()));
    }
}
