//! The protocol as a value: one file of pools may have both.

use std::sync::Arc;

use crate::proto::commands::Names;
use crate::proto::resp::ReplyStep;
use crate::proto::{Expected, Parsed, Request, memcache, resp};

/// What the clients and servers of a pool speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// That of Redis.
    #[default]
    Resp,
    /// The text protocol of memcached.
    Memcache,
}

/// Which version of Redis's protocol a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RespVersion {
    /// RESP2, which every connection begins with.
    #[default]
    Two,
    /// RESP3, after `HELLO 3`.
    Three,
}

impl RespVersion {
    /// As HELLO counts.
    pub const fn number(self) -> i64 {
        match self {
            Self::Two => 2,
            Self::Three => 3,
        }
    }
}

/// Finds the requests in the bytes of one client. See the parsers themselves.
pub enum RequestParser {
    /// For a client of a Redis pool.
    Resp(resp::RequestParser),
    /// For a client of a memcached pool.
    Memcache(memcache::RequestParser),
}

/// Finds the replies in the bytes of one server. See the parsers themselves.
pub enum ReplyParser {
    /// For a server of a Redis pool.
    Resp(resp::ReplyParser),
    /// For a server of a memcached pool.
    Memcache(memcache::ReplyParser),
}

impl RequestParser {
    /// A parser before the first byte.
    pub fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Resp => Self::Resp(resp::RequestParser::new()),
            Protocol::Memcache => Self::Memcache(memcache::RequestParser::new()),
        }
    }

    /// Gives it names of commands beside those of the table. memcached's have one each.
    pub fn learn(&mut self, names: Option<Arc<Names>>) {
        match self {
            Self::Resp(parser) => parser.learn(names),
            Self::Memcache(_) => {}
        }
    }

    /// Says whether the client is known, and may send more than it takes to say a password.
    /// memcached has no passwords.
    #[inline]
    pub fn trust(&mut self, is_known: bool) {
        match self {
            Self::Resp(parser) => parser.trust(is_known),
            Self::Memcache(_) => {}
        }
    }

    /// Reads up to the end of the first request.
    #[inline]
    pub fn parse(&mut self, data: &[u8]) -> Parsed {
        match self {
            Self::Resp(parser) => parser.parse(data),
            Self::Memcache(parser) => parser.parse(data),
        }
    }

    /// The request that the last call found.
    #[inline]
    pub fn request(&self) -> &Request {
        match self {
            Self::Resp(parser) => parser.request(),
            Self::Memcache(parser) => parser.request(),
        }
    }
}

impl ReplyParser {
    /// A parser before the first byte.
    pub fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Resp => Self::Resp(resp::ReplyParser::new()),
            Protocol::Memcache => Self::Memcache(memcache::ReplyParser::new()),
        }
    }

    /// Which of the two it is.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Resp(_) => Protocol::Resp,
            Self::Memcache(_) => Protocol::Memcache,
        }
    }

    /// Which version of RESP the next reply is in; memcached's protocol has none. To be called
    /// between two replies.
    pub fn speak(&mut self, version: RespVersion) {
        match self {
            Self::Resp(parser) => parser.speak(version),
            Self::Memcache(_) => {}
        }
    }

    /// Reads up to the end of the first reply.
    #[inline]
    pub fn parse(&mut self, data: &[u8]) -> ReplyStep {
        match self {
            Self::Resp(parser) => parser.parse(data),
            Self::Memcache(parser) => parser.parse(data),
        }
    }

    /// Whether the parser stands between two replies.
    #[inline]
    pub fn is_idle(&self) -> bool {
        match self {
            Self::Resp(parser) => parser.is_idle(),
            Self::Memcache(parser) => parser.is_idle(),
        }
    }

    /// Says what the next reply is to answer. To be called between two replies.
    #[inline]
    pub fn expect(&mut self, expected: Expected) {
        match self {
            Self::Resp(parser) => parser.record_elements(expected.elements),
            Self::Memcache(parser) => parser.expect(expected),
        }
    }

    /// Where the reply itself begins that the last call found: behind its attributes.
    #[inline]
    pub fn start(&self) -> u32 {
        match self {
            Self::Resp(parser) => parser.start(),
            Self::Memcache(_) => 0,
        }
    }

    /// Where each of those elements ends, from the reply's first byte.
    #[inline]
    pub fn elements(&self) -> &[u32] {
        match self {
            Self::Resp(parser) => parser.elements(),
            Self::Memcache(parser) => parser.elements(),
        }
    }

    /// Where the first of them begins.
    #[inline]
    pub fn elements_start(&self) -> u32 {
        match self {
            Self::Resp(parser) => parser.elements_start(),
            Self::Memcache(_) => 0,
        }
    }

    /// Gives up what was recorded of the reply that is being read.
    pub fn forget_elements(&mut self) {
        match self {
            Self::Resp(parser) => parser.forget_elements(),
            Self::Memcache(parser) => parser.forget_elements(),
        }
    }

    /// The type byte of the reply that is being read, or of the one that the last call found; 0
    /// before the first, and for memcached, which has none.
    pub fn first_byte(&self) -> u8 {
        match self {
            Self::Resp(parser) => parser.first_byte(),
            Self::Memcache(_) => 0,
        }
    }

    /// Bytes of the reply that the last call found, of Redis; 0 when it found none.
    pub fn reply_bytes(&self) -> u64 {
        match self {
            Self::Resp(parser) => parser.len(),
            Self::Memcache(_) => 0,
        }
    }

    /// Whether the reply that is being read may be passed on before its end. Of Redis's replies no
    /// error, whose words are looked at when it is whole; no push, which nobody waits for; and
    /// nothing that is not known to be neither of them.
    pub fn may_stream(&self) -> bool {
        match self {
            Self::Resp(parser) => !matches!(parser.first_byte(), b'-' | b'>' | b'|'),
            Self::Memcache(_) => true,
        }
    }

    /// Bytes at the end of what was read that may still turn out to be no answer to the request.
    pub fn unsure_bytes(&self) -> usize {
        match self {
            Self::Resp(_) => 0,
            Self::Memcache(parser) => parser.unsure_bytes(),
        }
    }

    /// Bytes of the reply that is not whole yet; 0 between two replies.
    pub fn bytes_so_far(&self) -> u64 {
        match self {
            Self::Resp(parser) => parser.bytes_so_far(),
            Self::Memcache(parser) => parser.bytes_so_far(),
        }
    }
}
