//! What the black-box tests share: real servers, scripted servers, the proxy, and a client.
//!
//! Everything that is started here ends when its owner is dropped, by its process id, also when
//! the test panics. Every wait has a deadline and a condition.

#![allow(dead_code)]

pub mod client;
pub mod daemon;
pub mod fake;
pub mod memcached;
pub mod migration;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod report;
pub mod spread;

use std::time::{Duration, Instant};

/// How long anything that should happen may take, on a machine that is busy with other tests.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds. Panics with `what` when it does not within `DEADLINE`.
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(DEADLINE, condition), "not within {DEADLINE:?}: {what}");
}

/// Whether `condition` holds within `limit`.
pub fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if begin.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The text of one pool: `listen` and each of `servers` as nutcracker.yml has them, and further
/// `key: value` lines.
pub fn pool(name: &str, listen: &str, servers: &[String], lines: &[&str]) -> String {
    let mut text = format!("{name}:\n  listen: {listen}\n  redis: true\n");
    for line in lines {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str("  servers:\n");
    for server in servers {
        text.push_str(&format!("   - {server}\n"));
    }
    text
}

/// `len` bytes that only this `seed` makes, with every byte value among them. Each block of 4093
/// bytes begins with its number, so that a shifted or repeated piece is seen.
pub fn value(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let block: Vec<u8> = (0..4093)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    let mut bytes = Vec::with_capacity(len + block.len());
    let mut number = 0u64;
    while bytes.len() < len {
        let start = bytes.len();
        bytes.extend_from_slice(&block);
        bytes[start..start + 8].copy_from_slice(&number.to_le_bytes());
        number += 1;
    }
    bytes.truncate(len);
    bytes
}

/// Bytes as a test's message shows them: escaped, and cut when long.
pub fn show(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(160)];
    let more = if bytes.len() > cut.len() { "…" } else { "" };
    format!("\"{}{more}\" ({} bytes)", cut.escape_ascii(), bytes.len())
}
