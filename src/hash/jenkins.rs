//! Bob Jenkins's functions: one-at-a-time and lookup3.

use super::{sign_extended, word_at};

/// What lookup3 begins with, besides the length of the key: twemproxy's `JENKINS_INITVAL`.
const INITIAL: u32 = 13;

/// One-at-a-time.
#[inline]
pub(super) fn one_at_a_time(key: &[u8]) -> u32 {
    let mut value = 0u32;
    for &byte in key {
        value = value.wrapping_add(sign_extended(byte));
        value = value.wrapping_add(value << 10);
        value ^= value >> 6;
    }
    value = value.wrapping_add(value << 3);
    value ^= value >> 11;
    value.wrapping_add(value << 15)
}

/// lookup3's `hashlittle`.
///
/// The last 1 to 12 bytes are finished rather than mixed, and a short tail counts as if zeros
/// followed it. An empty key is not even finished.
#[inline]
pub(super) fn lookup3(key: &[u8]) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(key.len() as u32).wrapping_add(INITIAL);
    let mut state = [start; 3];
    let mut rest = key;
    while rest.len() > 12 {
        let (block, after) = rest.split_at(12);
        mix(add(&mut state, block));
        rest = after;
    }
    if !rest.is_empty() {
        let mut block = [0; 12];
        block[..rest.len()].copy_from_slice(rest);
        finish(add(&mut state, &block));
    }
    state[2]
}

fn add<'s>(state: &'s mut [u32; 3], block: &[u8]) -> &'s mut [u32; 3] {
    for (index, word) in state.iter_mut().enumerate() {
        *word = word.wrapping_add(word_at(block, index * 4));
    }
    state
}

fn mix([a, b, c]: &mut [u32; 3]) {
    mix_step(a, c, b, 4);
    mix_step(b, a, c, 6);
    mix_step(c, b, a, 8);
    mix_step(a, c, b, 16);
    mix_step(b, a, c, 19);
    mix_step(c, b, a, 4);
}

fn mix_step(target: &mut u32, previous: &mut u32, next: &u32, turn: u32) {
    *target = target.wrapping_sub(*previous) ^ previous.rotate_left(turn);
    *previous = previous.wrapping_add(*next);
}

fn finish([a, b, c]: &mut [u32; 3]) {
    finish_step(c, *b, 14);
    finish_step(a, *c, 11);
    finish_step(b, *a, 25);
    finish_step(c, *b, 16);
    finish_step(a, *c, 4);
    finish_step(b, *a, 14);
    finish_step(c, *b, 24);
}

fn finish_step(target: &mut u32, previous: u32, turn: u32) {
    *target = (*target ^ previous).wrapping_sub(previous.rotate_left(turn));
}
