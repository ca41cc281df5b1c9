//! Fowler, Noll and Vo's hash: one multiplication and one exclusive or for each byte.
//!
//! twemproxy keeps the 64-bit variants in 32 bits. No bit of a product depends on a higher bit of
//! its factors, so they are the 32-bit function with the low halves of the 64-bit constants.

use super::sign_extended;

/// Where the function begins, and what it multiplies by.
#[derive(Clone, Copy)]
pub(super) struct Constants {
    offset: u32,
    prime: u32,
}

/// The 32-bit constants.
pub(super) const NARROW: Constants = Constants { offset: 2_166_136_261, prime: 16_777_619 };

/// The low halves of the 64-bit constants, 0xcbf29ce484222325 and 0x100000001b3.
pub(super) const WIDE: Constants = Constants { offset: 0x8422_2325, prime: 0x1b3 };

/// FNV-1: multiplies, then takes the byte in.
#[inline]
pub(super) fn fnv1(key: &[u8], constants: Constants) -> u32 {
    key.iter().fold(constants.offset, |value, &byte| {
        value.wrapping_mul(constants.prime) ^ sign_extended(byte)
    })
}

/// FNV-1a: takes the byte in, then multiplies.
#[inline]
pub(super) fn fnv1a(key: &[u8], constants: Constants) -> u32 {
    key.iter().fold(constants.offset, |value, &byte| {
        (value ^ sign_extended(byte)).wrapping_mul(constants.prime)
    })
}
