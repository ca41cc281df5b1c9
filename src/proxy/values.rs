//! What several servers found of a memcached get, put together in the order of its keys.
//!
//! A server leaves out what it does not have, so each value is found by its key.

use crate::io::{Chain, Mark};

/// The keys of a get, or the names of servers, in order.
#[derive(Default)]
pub(crate) struct Names {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

/// What one server found: values, and where each ends.
pub(crate) struct Found {
    reply: Chain,
    ends: Vec<u32>,
    /// The first that was not taken, and how many bytes were.
    next: usize,
    taken: u32,
}

impl Names {
    pub(crate) fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len() as u32);
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of memory that they take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<u32>()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start as usize..end as usize])
    }
}

impl Found {
    /// Understands a server's reply, whose values end at `ends`. An error is given back.
    pub(crate) fn new(mut reply: Chain, ends: &[u32]) -> Result<Self, Vec<u8>> {
        let last = ends.last().map_or(0, |&end| end as usize);
        let mut line = Vec::new();
        reply.copy_range(last..reply.len(), &mut line, &mut Mark::default());
        if line != END {
            reply.clear();
            return Err(line);
        }
        Ok(Self { reply, ends: ends.to_vec(), next: 0, taken: 0 })
    }

    /// Moves the next value to `into` if it is that of `name`.
    pub(crate) fn take(&mut self, name: &[u8], head: &mut Vec<u8>, into: &mut Chain) {
        let Some(&end) = self.ends.get(self.next) else { return };
        let len = (end - self.taken) as usize;
        head.clear();
        let looked_at = len.min(VALUE.len() + name.len() + 1);
        self.reply.copy_range(0..looked_at, head, &mut Mark::default());
        let rest = head.strip_prefix(VALUE).and_then(|head| head.strip_prefix(name));
        if rest == Some(b" ") {
            self.reply.move_front(len, into);
            self.next += 1;
            self.taken = end;
        }
    }

    /// Whether all that was found has been taken.
    pub(crate) fn is_taken(&self) -> bool {
        self.next == self.ends.len()
    }
}

/// What ends a reply to get.
pub(crate) const END: &[u8] = b"END\r\n";

/// What a value begins with; its key follows.
const VALUE: &[u8] = b"VALUE ";
