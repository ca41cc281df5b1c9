//! Austin Appleby's MurmurHash2, seeded by the length of the key as libmemcached does.

use super::word_at;

const FACTOR: u32 = 0x5bd1_e995;

/// MurmurHash2.
#[inline]
pub(super) fn murmur(key: &[u8]) -> u32 {
    let length = key.len() as u32;
    let mut value = 0xdead_beef_u32.wrapping_mul(length) ^ length;
    let mut blocks = key.chunks_exact(4);
    for block in &mut blocks {
        let mut word = word_at(block, 0).wrapping_mul(FACTOR);
        word ^= word >> 24;
        value = value.wrapping_mul(FACTOR) ^ word.wrapping_mul(FACTOR);
    }
    let tail = blocks.remainder();
    if !tail.is_empty() {
        let mut word = [0; 4];
        word[..tail.len()].copy_from_slice(tail);
        value = (value ^ u32::from_le_bytes(word)).wrapping_mul(FACTOR);
    }
    value ^= value >> 13;
    value = value.wrapping_mul(FACTOR);
    value ^ value >> 15
}
