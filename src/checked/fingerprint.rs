//! A chain by its looks, to be known again.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use crate::io::Chain;
use crate::limits::SEND_BYTES_MAX;

/// What a chain looked like: its length, its pieces, and the bytes that one send may take.
///
/// Of what lies behind those bytes only length and place are looked at: it is the next send's, and
/// a value of 512 MiB would be read two thousand times. A chain is moved to a ring and back, so its
/// pieces stay where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    len: usize,
    hash: u64,
}

impl Fingerprint {
    pub(super) fn of(chain: &Chain) -> Self {
        let mut hasher = DefaultHasher::new();
        let mut left = SEND_BYTES_MAX;
        for piece in chain.slices() {
            let head = &piece[..piece.len().min(left)];
            left -= head.len();
            hasher.write(head);
            hasher.write_usize(piece.len());
            hasher.write_usize(piece.as_ptr().addr());
        }
        Self { len: chain.len(), hash: hasher.finish() }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn chain(pieces: usize) -> Chain {
        let mut chain = Chain::new();
        (0..pieces).for_each(|n| chain.push_kept(Bytes::from(vec![n as u8; SEND_BYTES_MAX / 2])));
        chain.push_copy(b"tail");
        chain
    }

    #[test]
    fn a_chain_that_was_moved_looks_the_same() {
        let chain = chain(3);
        let before = Fingerprint::of(&chain);
        let elsewhere = Box::new(chain);
        assert_eq!(Fingerprint::of(&elsewhere), before);
    }

    #[test]
    fn whatever_is_removed_added_or_replaced_is_seen() {
        let mut chain = chain(3);
        let before = Fingerprint::of(&chain);
        chain.push_copy(b"x");
        assert_ne!(Fingerprint::of(&chain), before, "longer");
        chain.advance(1);
        assert_ne!(Fingerprint::of(&chain), before, "as long, and one byte on");
        let mut other = self::chain(3);
        let before = Fingerprint::of(&other);
        let mut front = Chain::new();
        other.move_front(other.len() - 4, &mut front);
        front.push_copy(b"tail");
        assert_eq!(front.to_vec(), self::chain(3).to_vec());
        assert_ne!(Fingerprint::of(&front), before, "another tail");
    }
}
