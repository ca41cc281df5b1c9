//! Refusals, in Redis's own words where it has some.
//!
//! Source: redis 7.0 `server.c` (`processCommand`, `rejectCommandFormat`), `networking.c`;
//! twemproxy `nc_message.c` for what goes wrong with servers.

use crate::io::Errno;
use crate::proto::Request;
use crate::proto::commands::Command;
use crate::proxy::source::Source;

/// What a client hears that is not let in. Source: redis `networking.c`, `acceptCommonHandler`.
pub const TOO_MANY_CLIENTS: &[u8] = b"-ERR max number of clients reached\r\n";

/// Redis quotes this many bytes of an unknown command, and as many of its arguments.
const QUOTED_BYTES_MAX: usize = 128;

/// `-ERR <words>`, as one reply.
pub(crate) fn error(words: &str, into: &mut Vec<u8>) {
    into.extend_from_slice(b"-ERR ");
    into.extend_from_slice(words.as_bytes());
    into.extend_from_slice(b"\r\n");
}

/// What twemproxy says when a server fails: `-ERR <strerror>`, `unknown` for a closed connection.
pub(crate) fn failure(why: Option<Errno>, into: &mut Vec<u8>) {
    error(why.map_or("unknown", Errno::words), into);
}

/// A reply that nobody could keep.
pub(crate) fn reply_too_large(into: &mut Vec<u8>) {
    error("The reply of the server is too large for the proxy", into);
}

/// A command that is not in the table.
pub(crate) fn unknown(request: &Request, source: &Source<'_>, into: &mut Vec<u8>) {
    let mut scratch = Vec::new();
    let start = into.len();
    into.extend_from_slice(b"-ERR unknown command '");
    quote(argument(request, source, 0, &mut scratch), QUOTED_BYTES_MAX, into);
    into.extend_from_slice(b"', with args beginning with: ");
    let arguments = into.len();
    for index in 1..request.spans.len() as u32 {
        let used = into.len() - arguments;
        if used >= QUOTED_BYTES_MAX {
            break;
        }
        into.push(b'\'');
        quote(argument(request, source, index, &mut scratch), QUOTED_BYTES_MAX - used, into);
        into.extend_from_slice(b"' ");
    }
    finish(start, into);
}

/// A command with too few or too many arguments.
pub(crate) fn wrong_arity(command: &Command, into: &mut Vec<u8>) {
    into.extend_from_slice(b"-ERR wrong number of arguments for '");
    into.extend_from_slice(command.name.as_bytes());
    into.extend_from_slice(b"' command\r\n");
}

/// A command whose keys are on several servers, and whose replies cannot be put together.
pub(crate) fn cross_server(command: &Command, into: &mut Vec<u8>) {
    into.extend_from_slice(b"-CROSSSLOT Keys in request don't hash to the same server: '");
    into.extend_from_slice(command.name.as_bytes());
    into.extend_from_slice(b"' needs them on one, and a hash tag would keep them together\r\n");
}

fn argument<'s>(
    request: &Request,
    source: &'s Source<'_>,
    index: u32,
    scratch: &'s mut Vec<u8>,
) -> &'s [u8] {
    // Redis prints at most this much of any argument, so no more of it needs to be looked at.
    let range = request.argument_range(index);
    let end = range.end.min(range.start + QUOTED_BYTES_MAX);
    source.slice(range.start..end, scratch)
}

/// Up to `most` bytes; a C string ends at its first zero.
fn quote(text: &[u8], most: usize, into: &mut Vec<u8>) {
    let text = &text[..text.len().min(most)];
    let end = memchr::memchr(0, text).unwrap_or(text.len());
    into.extend_from_slice(&text[..end]);
}

/// Ends an error line; line breaks in it would be taken for its end.
fn finish(start: usize, into: &mut Vec<u8>) {
    for byte in &mut into[start..] {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
    into.extend_from_slice(b"\r\n");
}
