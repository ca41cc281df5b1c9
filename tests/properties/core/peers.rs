//! What servers answer, when the input leaves it to them, and what clients are owed.

use std::collections::HashSet;

use crate::naive::{self, Seen};
use crate::properties::core::ring::Peer;
use crate::properties::redis_rules::{self, Read};
use ringcracker::proto::commands;

/// A server's side of a connection: it answers each request in turn, with what tells whose the
/// reply is.
#[derive(Default)]
pub struct Answering {
    /// Bytes of what it got that are answered.
    read: usize,
    held: Option<Vec<Vec<u8>>>,
    channels: usize,
}

impl Answering {
    /// Takes the next request that has come whole.
    pub fn next(&mut self, peer: &Peer) -> Option<Vec<Vec<u8>>> {
        let rest = &peer.got[self.read..];
        match redis_rules::read(rest) {
            Read::Takes((arguments, end)) => {
                assert!(!arguments.is_empty() && rest[0] == b'*', "forwarded as it came");
                self.read += end;
                Some(arguments)
            }
            Read::Waits => None,
            Read::Closes => panic!("Redis closes at what is forwarded: {}", rest.escape_ascii()),
        }
    }

    /// The reply to a request.
    pub fn answer(&mut self, arguments: &[Vec<u8>]) -> Vec<u8> {
        let name = arguments[0].to_ascii_lowercase();
        match (&name[..], &mut self.held) {
            (b"multi", held) => {
                *held = Some(Vec::new());
                b"+OK\r\n".to_vec()
            }
            (b"exec", held) => {
                let replies = held.take().unwrap_or_default();
                [format!("*{}\r\n", replies.len()).into_bytes(), replies.concat()].concat()
            }
            (b"discard", held) => {
                *held = None;
                b"+OK\r\n".to_vec()
            }
            (_, Some(_)) => {
                let reply = self.plain(&name, arguments);
                self.held.iter_mut().for_each(|held| held.push(reply.clone()));
                b"+QUEUED\r\n".to_vec()
            }
            (_, None) => self.plain(&name, arguments),
        }
    }

    fn plain(&mut self, name: &[u8], arguments: &[Vec<u8>]) -> Vec<u8> {
        let keys = &arguments[1..];
        match name {
            b"get" if keys.len() == 1 => bulk(&keys[0]),
            b"mget" => array(keys.iter().map(|key| bulk(key))),
            b"del" | b"unlink" | b"exists" | b"touch" => format!(":{}\r\n", keys.len()).into(),
            b"ping" => b"+PONG\r\n".to_vec(),
            b"hello" => b"%1\r\n$5\r\nproto\r\n:3\r\n".to_vec(),
            b"scan" => b"*2\r\n$1\r\n0\r\n*0\r\n".to_vec(),
            b"keys" | b"hgetall" | b"smembers" => b"*0\r\n".to_vec(),
            b"dbsize" => b":1\r\n".to_vec(),
            b"script" if keys.first().is_some_and(|word| word.eq_ignore_ascii_case(b"exists")) => {
                array(keys[1..].iter().map(|_| b":1\r\n".to_vec()))
            }
            b"subscribe" | b"psubscribe" | b"ssubscribe" => {
                let confirmed = keys.iter().map(|key| {
                    self.channels += 1;
                    let count = format!(":{}\r\n", self.channels).into_bytes();
                    [b"*3\r\n".to_vec(), bulk(name), bulk(key), count].concat()
                });
                confirmed.collect::<Vec<_>>().concat()
            }
            b"unsubscribe" | b"punsubscribe" | b"sunsubscribe" => {
                let confirmed = keys.iter().map(|key| {
                    self.channels = self.channels.saturating_sub(1);
                    let count = format!(":{}\r\n", self.channels).into_bytes();
                    [b"*3\r\n".to_vec(), bulk(name), bulk(key), count].concat()
                });
                confirmed.collect::<Vec<_>>().concat()
            }
            _ => b"+OK\r\n".to_vec(),
        }
    }
}

/// What a client has asked, by Redis's reading of its bytes.
pub fn requests(said: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut requests = Vec::new();
    let mut rest = said;
    while let Read::Takes((arguments, end)) = redis_rules::read(rest) {
        rest = &rest[end..];
        if !arguments.is_empty() {
            requests.push(arguments);
        }
    }
    requests
}

/// The replies in what a client got, each as it came. Panics when something there is none.
pub fn replies(got: &[u8]) -> Vec<&[u8]> {
    let mut replies = Vec::new();
    let mut at = 0;
    for seen in naive::reply::replies3(got) {
        match seen {
            Seen::Reply { len, .. } | Seen::Push(len) => {
                replies.push(&got[at..at + len]);
                at += len;
            }
            Seen::Unfinished(_) => {}
            other @ (Seen::Request { .. }
            | Seen::Nothing(_)
            | Seen::BadRequest(_)
            | Seen::BadReply(_)) => panic!("a client gets {other:?}: {}", got.escape_ascii()),
        }
    }
    replies
}

/// Whether a client's replies can be told from each other by counting.
pub fn is_countable(requests: &[Vec<Vec<u8>>]) -> bool {
    let names = requests.iter().map(|request| request[0].to_ascii_lowercase());
    names.into_iter().all(|name| !name.ends_with(b"subscribe") && name != b"monitor")
}

/// Asserts that the reply in a request's place is no other's.
pub fn is_owed(request: &[Vec<u8>], reply: &[u8]) {
    let name = request[0].to_ascii_lowercase();
    let wanted = match &name[..] {
        b"get" if request.len() == 2 => bulk(&request[1]),
        b"mget" if request.len() > 1 => array(request[1..].iter().map(|key| bulk(key))),
        b"exists" | b"del" if request.len() > 1 => format!(":{}\r\n", request.len() - 1).into(),
        _ => return,
    };
    let is_fine = reply == wanted || reply.starts_with(b"-") || reply == b"+QUEUED\r\n";
    assert!(is_fine, "{request:?} is answered with {}", reply.escape_ascii());
}

/// Asserts that a server was asked for nothing that no client has said, but in the proxy's own
/// words.
pub fn is_said(arguments: &[Vec<u8>], said: &HashSet<Vec<u8>>) {
    let name = arguments[0].to_ascii_lowercase();
    let second = arguments.get(1).map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    let is_forbidden = FORBIDDEN.contains(&&name[..]) || (name == b"client" && second == b"reply");
    assert!(!is_forbidden, "a server is told {arguments:?}");
    for argument in arguments {
        let lower = argument.to_ascii_lowercase();
        let is_number = argument.iter().all(u8::is_ascii_digit);
        let is_digest = argument.len() == 40 && argument.iter().all(u8::is_ascii_hexdigit);
        let is_own = is_number || is_digest || &lower == b"secret" || is_name(&lower);
        assert!(is_own || said.contains(&lower), "nobody has said {}", argument.escape_ascii());
    }
}

fn is_name(word: &[u8]) -> bool {
    commands::all().iter().any(|row| row.name.split('|').any(|part| part.as_bytes() == word))
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn array(elements: impl ExactSizeIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", elements.len()).into_bytes();
    elements.for_each(|element| bytes.extend(element));
    bytes
}

/// What no client can make a server do.
const FORBIDDEN: [&[u8]; 9] = [
    b"monitor",
    b"shutdown",
    b"sync",
    b"psync",
    b"replicaof",
    b"slaveof",
    b"debug",
    b"quit",
    b"asking",
];
