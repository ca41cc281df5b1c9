//! What must hold is in `tests/properties/memcache_reply.rs`.

#![no_main]

#[path = "../../tests/naive/mod.rs"]
mod naive;
#[path = "../../tests/properties/mod.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::memcache_reply::check(input));
