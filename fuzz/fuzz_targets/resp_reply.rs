//! What must hold is in `tests/properties/resp_reply.rs`.

#![no_main]

#[path = "../../tests/naive/mod.rs"]
mod naive;
#[path = "../../tests/properties/mod.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::resp_reply::check(input));
