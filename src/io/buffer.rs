//! A buffer that a receive filled.

use std::ops::{Deref, Range};

use bytes::Bytes;

/// Bytes that arrived, with one owner at a time.
///
/// ```text
///   ring --Received--> worker --give_back--> ring
///                        |                    unique: the same memory is published again
///                        keep(range)          else:   fresh memory goes under that number
/// ```
///
/// So a slow peer that holds pieces never starves the ring.
pub struct Buffer {
    memory: Memory,
    /// Bytes of memory that whoever keeps a part of it holds.
    capacity: usize,
    home: Option<u16>,
}

enum Memory {
    Own(Vec<u8>),
    Shared(Bytes),
}

impl Buffer {
    /// A buffer that a ring filled: `memory` is cut to what arrived, `home` is its place there.
    pub fn from_ring(memory: Vec<u8>, home: u16) -> Self {
        Self { capacity: memory.capacity(), memory: Memory::Own(memory), home: Some(home) }
    }

    /// Bytes that have no place in a ring: kept earlier, or of no length.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self { capacity: bytes.len(), memory: Memory::Shared(bytes), home: None }
    }

    /// The place in the ring that filled it, if it has one.
    pub const fn home(&self) -> Option<u16> {
        self.home
    }

    /// Bytes of memory that are held as long as a part is.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// A counted reference to a part. The memory lives on as long as the part does.
    ///
    /// Panics when `range` is not within the buffer.
    pub fn keep(&mut self, range: Range<usize>) -> Bytes {
        if let Memory::Own(memory) = &mut self.memory {
            self.memory = Memory::Shared(Bytes::from(std::mem::take(memory)));
        }
        match &self.memory {
            Memory::Shared(bytes) => bytes.slice(range),
            Memory::Own(_) => unreachable!("shared above"),
        }
    }

    /// Overwrites all of the memory with `POISON`, unless somebody holds a part of it: whoever
    /// looks at the buffer later sees nonsense, and not by luck what was there.
    pub fn poison(&mut self) {
        let memory = std::mem::replace(&mut self.memory, Memory::Own(Vec::new()));
        self.memory = match memory {
            Memory::Own(memory) => Memory::Own(poisoned(memory)),
            Memory::Shared(bytes) if bytes.is_unique() => Memory::Own(poisoned(Vec::from(bytes))),
            Memory::Shared(bytes) => Memory::Shared(bytes),
        };
    }

    /// Takes the buffer apart, for a ring: its place, and its memory if nobody holds a part.
    pub fn into_parts(self) -> (Option<u16>, Option<Vec<u8>>) {
        let memory = match self.memory {
            Memory::Own(memory) => Some(memory),
            Memory::Shared(bytes) if bytes.is_unique() => Some(Vec::from(bytes)),
            Memory::Shared(_) => None,
        };
        (self.home, memory)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.memory {
            Memory::Own(memory) => memory,
            Memory::Shared(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes, home {:?})", self.len(), self.home)
    }
}

/// The same memory and length, all of its capacity overwritten.
fn poisoned(mut memory: Vec<u8>) -> Vec<u8> {
    let len = memory.len();
    memory.clear();
    memory.resize(memory.capacity(), POISON);
    memory.truncate(len);
    memory
}

/// What poisoned bytes are: no letter, no digit, no mark of any protocol here.
pub const POISON: u8 = 0xdd;

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Buffer {
        let mut memory = Vec::with_capacity(64);
        memory.extend_from_slice(b"hello world");
        Buffer::from_ring(memory, 3)
    }

    #[test]
    fn untouched_memory_comes_back_whole() {
        let (home, memory) = filled().into_parts();
        assert_eq!(home, Some(3));
        assert_eq!(memory.expect("unique").capacity(), 64);
    }

    #[test]
    fn memory_comes_back_once_the_kept_part_is_gone() {
        let mut buffer = filled();
        let part = buffer.keep(6..11);
        assert_eq!(&part[..], b"world");
        drop(part);
        let (_, memory) = buffer.into_parts();
        assert_eq!(memory.expect("unique again").capacity(), 64);
    }

    #[test]
    fn memory_stays_with_a_kept_part() {
        let mut buffer = filled();
        let part = buffer.keep(0..5);
        assert_eq!(buffer.into_parts(), (Some(3), None));
        assert_eq!(&part[..], b"hello");
    }

    #[test]
    fn poison_fills_the_whole_memory() {
        let mut buffer = filled();
        buffer.poison();
        assert_eq!(&buffer[..], [POISON; 11]);
        let (home, memory) = buffer.into_parts();
        let mut memory = memory.expect("unique");
        assert_eq!((home, memory.capacity()), (Some(3), 64));
        memory.resize(12, 0);
        assert_eq!(memory[..11], [POISON; 11]);
    }

    #[test]
    fn poison_spares_a_kept_part() {
        let mut buffer = filled();
        let part = buffer.keep(6..11);
        buffer.poison();
        assert_eq!(&part[..], b"world");
        drop(part);
        buffer.poison();
        assert_eq!(&buffer[..], [POISON; 11]);
    }
}
