//! What a simulated server has and understands, whatever it speaks.

use crate::proto::Protocol;
use crate::sim::findings::Finding;
use crate::sim::random::Random;
use crate::sim::{memcached, redis, resp};

/// A server's keys.
pub(super) enum Store {
    Redis(redis::Data),
    Memcached(memcached::Data),
}

/// Cuts what arrives on one connection into requests.
pub(super) enum Reader {
    Redis,
    Memcached(memcached::Reader),
}

impl Store {
    pub(super) fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Resp => Self::Redis(redis::Data::default()),
            Protocol::Memcache => Self::Memcached(memcached::Data::new()),
        }
    }

    /// Forgets the scripts that were loaded, as a server does that ends.
    pub(super) fn forget_scripts(&mut self) {
        match self {
            Self::Redis(data) => data.scripts.forget(),
            Self::Memcached(_) => {}
        }
    }

    /// The text under `key`.
    pub(super) fn text(&self, key: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Redis(data) => data.text(key),
            Self::Memcached(data) => data.text(key),
        }
    }

    /// How often `key` was written to.
    pub(super) fn changes_of(&self, key: &[u8]) -> u64 {
        match self {
            Self::Redis(data) => data.changes_of(key),
            Self::Memcached(_) => 0,
        }
    }

    /// Takes the first element of the list under `key`.
    pub(super) fn pop(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Redis(data) => data.pop(key),
            Self::Memcached(_) => None,
        }
    }

    /// Carries out a request, and answers it. What it finds under keys is added to `findings`.
    pub(super) fn carry_out(
        &mut self,
        request: &[Vec<u8>],
        findings: &mut Vec<(Vec<u8>, Finding)>,
    ) -> Vec<u8> {
        match self {
            Self::Redis(data) => data.carry_out(request, findings),
            Self::Memcached(data) => data.carry_out(request, findings),
        }
    }

    /// A request as the ledger knows it.
    pub(super) fn for_ledger(&self, request: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        match self {
            Self::Redis(_) => request,
            Self::Memcached(_) => memcached::in_other_words(&request),
        }
    }

    /// What cannot be the reply to a request.
    pub(super) fn garbage(&self, request: &[Vec<u8>], random: &mut Random) -> &'static [u8] {
        match self {
            Self::Redis(_) => random.pick(&GARBAGE),
            Self::Memcached(_) => memcached::garbage(request, random),
        }
    }
}

impl Reader {
    /// One of a server that takes values of so many bytes, if it speaks memcached's protocol.
    pub(super) fn new(protocol: Protocol, value_bytes_max: usize) -> Self {
        match protocol {
            Protocol::Resp => Self::Redis,
            Protocol::Memcache => Self::Memcached(memcached::Reader::new(value_bytes_max)),
        }
    }

    /// Takes the next request from the front of `input`, if it is there.
    ///
    /// Panics at anything else: the proxy forwards only what it has understood.
    pub(super) fn next(&mut self, input: &mut Vec<u8>) -> Option<Vec<Vec<u8>>> {
        if let Self::Memcached(reader) = self {
            return reader.next(input);
        }
        let shown = &input[..input.len().min(100)];
        match resp::command(input) {
            Ok(Some((arguments, len))) => {
                input.drain(..len);
                Some(arguments)
            }
            Ok(None) => None,
            Err(()) => panic!("a server gets {:?}", String::from_utf8_lossy(shown)),
        }
    }
}

/// What a reply has of each of `keys`: the elements of an array, or memcached's values, of which
/// there may be none. None if it is neither.
pub(super) fn elements_of<'r>(bytes: &'r [u8], keys: &[Vec<u8>]) -> Option<Vec<&'r [u8]>> {
    resp::elements_of(bytes).or_else(|| memcached::elements_of(bytes, keys))
}

/// No replies of redis, each wrong at another place.
const GARBAGE: [&[u8]; 9] = [
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"$-7\r\n",
    b"$3\r\nabcdef\r\n",
    b"$99999999999999999999\r\n",
    b"*2\r\n$1\r\na\r\n!no\r\n",
    b"*-2\r\n",
    b":1a\r\n",
    b":\r\n",
    b"\0\0\0\0",
];
