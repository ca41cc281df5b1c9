//! What must hold whatever bytes come: one function for each target of the fuzzer.
//!
//! ```text
//!   fuzz/fuzz_targets/NAME.rs   bytes of libFuzzer's making ──┐
//!   tests/fuzz_corpus.rs        those of fuzz/corpus/NAME ────┴──> properties::NAME(bytes)
//! ```
//!
//! So a finding is replayed by a plain test, on the stable compiler. A property that does not hold
//! panics. Whoever includes this file has `naive` beside it, and `memory`'s allocator is its own.

#![allow(dead_code)]
#![allow(clippy::unwrap_used)]

pub mod config;
pub mod core;
pub mod memcache_reply;
pub mod memcache_request;
pub mod memcached_rules;
pub mod memory;
pub mod pieces;
pub mod redis_rules;
pub mod resp_reply;
pub mod resp_request;

/// A target: its name, which is that of its corpus too, and what must hold.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 6] = [
    ("config", config::check),
    ("core", core::check),
    ("memcache_reply", memcache_reply::check),
    ("memcache_request", memcache_request::check),
    ("resp_reply", resp_reply::check),
    ("resp_request", resp_request::check),
];
