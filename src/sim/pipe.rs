//! A connection between the ring and a peer: two bounded pipes, and how each side may end it.
//!
//! ```text
//!            up: what the ring receives
//!   ring  <------------------------------  peer (client or server)
//!         ------------------------------>
//!            down: what the ring sends
//! ```
//!
//! Endings follow Linux's TCP: a close with unread bytes is a reset, and so are bytes that reach
//! a closed socket. A reset destroys a random part of what the other side has not read yet.

use std::collections::VecDeque;

use crate::sim::random::Random;

/// One direction: bytes in order, at most `capacity` of them, then perhaps the end.
struct Pipe {
    bytes: VecDeque<u8>,
    capacity: usize,
    ended: bool,
}

/// What a side can read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readable {
    Nothing,
    Bytes(usize),
    End,
    Reset,
}

/// What a side can write now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writable {
    Full,
    Room(usize),
    Broken,
}

/// A connection with its two sides.
pub(super) struct Link {
    up: Pipe,
    down: Pipe,
    ring_open: bool,
    peer_open: bool,
    reset: bool,
    /// The ring's side was told of the reset: errors are reported once, then it is the end.
    reset_told: bool,
    /// The ring's side shut down its receiving direction.
    deaf: bool,
    /// The server at the other end, if it is one.
    pub(super) server: Option<usize>,
    /// Bytes that the peer has ever written.
    pub(super) up_written: usize,
    /// Whether the ring has a send in flight here.
    pub(super) is_sending: bool,
    /// Whether the server has received requests, or parts of one, that it has not answered, or was
    /// gone when they came.
    pub(super) is_asked: bool,
    /// Whether the peer has done something for which the connection may end.
    pub(super) is_at_fault: bool,
    /// A reply that nobody has asked for, and where in all that the peer writes it begins.
    pub(super) doubled: Option<(usize, Vec<u8>)>,
    /// Where in all that the peer writes something begins that is no reply.
    pub(super) garbage_from: Option<usize>,
}

impl Pipe {
    fn new(capacity: usize) -> Self {
        assert!(capacity > 0);
        Self { bytes: VecDeque::new(), capacity, ended: false }
    }

    fn room(&self) -> usize {
        self.capacity - self.bytes.len()
    }

    fn push(&mut self, data: &[u8]) {
        assert!(data.len() <= self.room() && !self.ended);
        self.bytes.extend(data);
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        self.bytes.drain(..count).collect()
    }

    /// Destroys a part of what was not read.
    fn lose_some(&mut self, random: &mut Random) {
        let left = random.between(0, self.bytes.len());
        self.bytes.truncate(left);
    }
}

impl Link {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            up: Pipe::new(capacity),
            down: Pipe::new(capacity),
            ring_open: true,
            peer_open: true,
            reset: false,
            reset_told: false,
            deaf: false,
            server: None,
            up_written: 0,
            is_sending: false,
            is_asked: false,
            is_at_fault: false,
            doubled: None,
            garbage_from: None,
        }
    }

    pub(super) fn is_ring_open(&self) -> bool {
        self.ring_open
    }

    /// Whether the peer is still there, if only to read.
    pub(super) fn is_peer_open(&self) -> bool {
        self.peer_open
    }

    /// Whether the ring has received everything that the peer wrote.
    pub(super) fn is_up_empty(&self) -> bool {
        self.up.bytes.is_empty()
    }

    /// What the ring's `poll` would call a hangup: neither direction is left.
    pub(super) fn is_hung_up(&self) -> bool {
        self.reset || (self.down.ended && (self.up.ended || self.deaf))
    }

    pub(super) fn ring_readable(&self) -> Readable {
        match self.up.bytes.len() {
            0 if self.reset && !self.reset_told => Readable::Reset,
            0 if self.reset || self.up.ended || self.deaf => Readable::End,
            0 => Readable::Nothing,
            count => Readable::Bytes(count),
        }
    }

    pub(super) fn ring_read(&mut self, count: usize) -> Vec<u8> {
        self.up.take(count)
    }

    /// The reply that nobody has asked for, once the ring has begun to read it; told once.
    pub(super) fn read_doubled(&mut self) -> Option<Vec<u8>> {
        let begun = self.begun();
        self.doubled.take_if(|(from, _)| *from < begun).map(|(_, reply)| reply)
    }

    /// Whether the ring has begun to read what is no reply.
    pub(super) fn read_garbage(&self) -> bool {
        self.garbage_from.is_some_and(|from| from < self.begun())
    }

    /// Whether a request is on its way, so that nobody can tell whose the next reply is.
    pub(super) fn is_in_use(&self) -> bool {
        self.is_sending || self.is_asked || !self.down.bytes.is_empty()
    }

    /// How many bytes of the peer's the ring has taken.
    fn begun(&self) -> usize {
        self.up_written - self.up.bytes.len()
    }

    /// The ring's side has seen the reset.
    pub(super) fn tell_reset(&mut self) {
        self.reset_told = true;
    }

    pub(super) fn ring_writable(&self) -> Writable {
        if self.reset || self.down.ended {
            Writable::Broken
        } else if !self.peer_open {
            // The kernel takes them all, and learns from the answer that nobody is there.
            Writable::Room(usize::MAX)
        } else if self.down.room() == 0 {
            Writable::Full
        } else {
            Writable::Room(self.down.room())
        }
    }

    pub(super) fn ring_write(&mut self, data: &[u8]) {
        self.is_asked = true;
        if self.peer_open {
            self.down.push(data);
        } else {
            self.reset = true;
        }
    }

    pub(super) fn ring_shut_write(&mut self) {
        self.down.ended = true;
    }

    pub(super) fn ring_shut_both(&mut self) {
        self.down.ended = true;
        self.deaf = true;
    }

    pub(super) fn ring_close(&mut self, random: &mut Random) {
        self.ring_open = false;
        if self.up.bytes.is_empty() {
            self.down.ended = true;
        } else {
            self.reset = true;
            self.down.lose_some(random);
        }
    }

    pub(super) fn peer_readable(&self) -> Readable {
        match self.down.bytes.len() {
            0 if self.reset => Readable::Reset,
            0 if self.down.ended => Readable::End,
            0 => Readable::Nothing,
            count => Readable::Bytes(count),
        }
    }

    pub(super) fn peer_read(&mut self, count: usize) -> Vec<u8> {
        self.down.take(count)
    }

    pub(super) fn peer_writable(&self) -> Writable {
        if self.reset || self.up.ended {
            Writable::Broken
        } else if !self.ring_open {
            Writable::Room(usize::MAX)
        } else if self.up.room() == 0 {
            Writable::Full
        } else {
            Writable::Room(self.up.room())
        }
    }

    pub(super) fn peer_write(&mut self, data: &[u8], random: &mut Random) {
        if self.ring_open {
            self.up_written += data.len();
            self.up.push(data);
        } else {
            self.reset = true;
            self.down.lose_some(random);
        }
    }

    pub(super) fn peer_shut_write(&mut self) {
        self.up.ended = true;
    }

    pub(super) fn peer_close(&mut self, random: &mut Random) {
        if self.down.bytes.is_empty() {
            self.peer_open = false;
            self.up.ended = true;
        } else {
            self.peer_reset(random);
        }
    }

    pub(super) fn peer_reset(&mut self, random: &mut Random) {
        self.peer_open = false;
        self.reset = true;
        self.up.lose_some(random);
        self.is_asked |= !self.down.bytes.is_empty();
        self.down.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_in_order_then_the_end() {
        let mut link = Link::new(4);
        let mut random = Random::new(1);
        link.peer_write(b"abcd", &mut random);
        assert_eq!(link.peer_writable(), Writable::Full);
        assert_eq!(link.ring_read(3), b"abc");
        link.peer_shut_write();
        assert_eq!(link.ring_readable(), Readable::Bytes(1));
        assert_eq!(link.ring_read(1), b"d");
        assert_eq!(link.ring_readable(), Readable::End);
        assert_eq!(link.ring_writable(), Writable::Room(4), "the other direction lives on");
        assert!(!link.is_hung_up());
        link.ring_shut_write();
        assert!(link.is_hung_up());
    }

    #[test]
    fn a_close_with_unread_bytes_is_a_reset() {
        let mut link = Link::new(16);
        let mut random = Random::new(1);
        link.peer_write(b"unread", &mut random);
        link.ring_write(b"last words");
        link.ring_close(&mut random);
        let left = link.down.bytes.len();
        link.peer_read(left);
        assert_eq!(link.peer_readable(), Readable::Reset);
    }

    #[test]
    fn bytes_to_a_closed_peer_are_answered_with_a_reset() {
        let mut link = Link::new(16);
        let mut random = Random::new(1);
        link.peer_close(&mut random);
        assert_eq!(link.ring_readable(), Readable::End);
        link.ring_write(b"anybody there?");
        assert_eq!(link.ring_writable(), Writable::Broken);
        assert_eq!(link.ring_readable(), Readable::Reset);
        link.tell_reset();
        assert_eq!(link.ring_readable(), Readable::End);
    }
}
