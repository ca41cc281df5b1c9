//! Refusals, in Redis's own words where it has some.
//!
//! Source: redis 7.0 `server.c` (`processCommand`, `rejectCommandFormat`), `networking.c`;
//! twemproxy `nc_message.c` for what goes wrong with servers.

use crate::io::Errno;
use crate::proto::commands::Command;
use crate::proto::{Protocol, Request};
use crate::proxy::source::Source;

/// What a client hears that is not let in. Source: redis `networking.c`, `acceptCommonHandler`.
pub const TOO_MANY_CLIENTS: &[u8] = b"-ERR max number of clients reached\r\n";

/// What a client hears that is not let in.
pub(crate) fn too_many_clients(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Resp => TOO_MANY_CLIENTS,
        Protocol::Memcache => b"ERROR Too many open connections\r\n",
    }
}

/// Redis quotes this many bytes of an unknown command, and as many of its arguments.
const QUOTED_BYTES_MAX: usize = 128;

/// `-ERR <words>`, as one reply.
pub(crate) fn error(words: &str, into: &mut Vec<u8>) {
    into.extend_from_slice(b"-ERR ");
    into.extend_from_slice(words.as_bytes());
    into.extend_from_slice(b"\r\n");
}

/// What twemproxy says when a server fails: `-ERR <strerror>` or `SERVER_ERROR <strerror>`,
/// `unknown` for a closed connection.
pub(crate) fn failure(protocol: Protocol, why: Option<Errno>, into: &mut Vec<u8>) {
    server_error(protocol, why.map_or("unknown", Errno::words), into);
}

/// A reply that nobody could keep.
pub(crate) fn reply_too_large(protocol: Protocol, into: &mut Vec<u8>) {
    server_error(protocol, "The reply of the server is too large for the proxy", into);
}

/// What a client hears that broke the protocol.
pub(crate) fn protocol_error(protocol: Protocol, words: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(match protocol {
        Protocol::Resp => b"-ERR ",
        Protocol::Memcache => b"CLIENT_ERROR ",
    });
    into.extend_from_slice(words);
    into.extend_from_slice(b"\r\n");
}

fn server_error(protocol: Protocol, words: &str, into: &mut Vec<u8>) {
    match protocol {
        Protocol::Resp => error(words, into),
        Protocol::Memcache => {
            into.extend_from_slice(b"SERVER_ERROR ");
            into.extend_from_slice(words.as_bytes());
            into.extend_from_slice(b"\r\n");
        }
    }
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

/// A command of two words, the second of which leads to none.
pub(crate) fn unknown_second(
    first: &str,
    request: &Request,
    source: &Source<'_>,
    into: &mut Vec<u8>,
) {
    let mut scratch = Vec::new();
    let start = into.len();
    into.extend_from_slice(b"-ERR unknown subcommand '");
    quote(argument(request, source, 1, &mut scratch), QUOTED_BYTES_MAX, into);
    into.extend_from_slice(b"'. Try ");
    into.extend(first.bytes().map(|byte| byte.to_ascii_uppercase()));
    into.extend_from_slice(b" HELP.");
    finish(start, into);
}

/// A command that is not for a proxy.
pub(crate) fn unsupported(name: &str, why: &str, into: &mut Vec<u8>) {
    error(&format!("'{name}' is not supported by this proxy: {why}"), into);
}

/// A command with too few or too many arguments.
pub(crate) fn wrong_arity(command: &Command, into: &mut Vec<u8>) {
    into.extend_from_slice(b"-ERR wrong number of arguments for '");
    into.extend_from_slice(command.name.as_bytes());
    into.extend_from_slice(b"' command\r\n");
}

/// A command that the rules of a pool deny, or that they would have to allow.
pub(crate) fn denied(command: &Command, pool: &str, by_table: bool, into: &mut Vec<u8>) {
    let name = command.name;
    let words = if by_table {
        format!("'commands: {{allow: [{name}]}}' of pool {pool} would allow it")
    } else {
        format!("the key 'commands' of pool {pool} says so")
    };
    let start = into.len();
    into.extend_from_slice(format!("-NOPERM this proxy denies '{name}': {words}").as_bytes());
    finish(start, into);
}

/// A command whose keys are on several servers, and whose replies cannot be put together.
pub(crate) fn cross_server(command: &Command, into: &mut Vec<u8>) {
    into.extend_from_slice(b"-CROSSSLOT Keys in request don't hash to the same server: '");
    into.extend_from_slice(command.name.as_bytes());
    into.extend_from_slice(b"' needs them on one, and a hash tag would keep them together\r\n");
}

/// A command for all servers, one of which is left out.
pub(crate) fn server_left_out(command: &Command, server: &str, into: &mut Vec<u8>) {
    let name = command.name.replace('|', " ");
    let words = format!("'{name}' needs every server of the pool, and {server} is ejected");
    error(&words, into);
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
