//! Paul Hsieh's SuperFastHash, as twemproxy has it: it begins with 0, not with the length.

use super::sign_extended;

/// SuperFastHash. The tails of 1, 2 and 3 bytes are each mixed in another way, and only the third
/// byte of a tail of 3 is taken as signed.
#[inline]
pub(super) fn hsieh(key: &[u8]) -> u32 {
    let mut value = 0u32;
    let mut blocks = key.chunks_exact(4);
    for block in &mut blocks {
        value = value.wrapping_add(half(block[0], block[1]));
        let mixed = half(block[2], block[3]) << 11 ^ value;
        value = value << 16 ^ mixed;
        value = value.wrapping_add(value >> 11);
    }
    match *blocks.remainder() {
        [first, second, third] => {
            value = value.wrapping_add(half(first, second));
            value ^= value << 16;
            value ^= sign_extended(third) << 18;
            value = value.wrapping_add(value >> 11);
        }
        [first, second] => {
            value = value.wrapping_add(half(first, second));
            value ^= value << 11;
            value = value.wrapping_add(value >> 17);
        }
        [only] => {
            value = value.wrapping_add(u32::from(only));
            value ^= value << 10;
            value = value.wrapping_add(value >> 1);
        }
        _ => {}
    }
    value ^= value << 3;
    value = value.wrapping_add(value >> 5);
    value ^= value << 4;
    value = value.wrapping_add(value >> 17);
    value ^= value << 25;
    value.wrapping_add(value >> 6)
}

#[inline]
fn half(low: u8, high: u8) -> u32 {
    u32::from(u16::from_le_bytes([low, high]))
}
