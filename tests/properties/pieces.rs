//! How the bytes of an input are cut.

use crate::naive::Random;

/// Takes a number off the front of an input, and leaves the rest to be what is parsed. The fuzzer
/// changes both alike.
pub fn split_seed(input: &[u8]) -> (u64, &[u8]) {
    match input.split_at_checked(2) {
        Some((seed, rest)) => (u64::from(u16::from_le_bytes([seed[0], seed[1]])), rest),
        None => (0, &[]),
    }
}

/// The bytes in pieces, by chance that `seed` determines.
pub fn cut(seed: u64, bytes: &[u8]) -> Vec<&[u8]> {
    let mut random = Random::new(seed);
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let longest = 1 << random.below(9);
        let len = 1 + random.below(rest.len().min(longest));
        pieces.push(&rest[..len]);
        rest = &rest[len..];
    }
    pieces
}

/// Asserts that `parse` says the same of the bytes however they come, and returns what it says.
pub fn same_however_cut<T: PartialEq + std::fmt::Debug>(
    seed: u64,
    bytes: &[u8],
    parse: impl Fn(&[&[u8]]) -> T,
) -> T {
    let whole = parse(&[bytes]);
    let pieces = cut(seed, bytes);
    assert_eq!(parse(&pieces), whole, "in pieces: {}", bytes.escape_ascii());
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(parse(&single), whole, "byte by byte: {}", bytes.escape_ascii());
    whole
}
