//! See `zebu_sim::fuzz::client_bytes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zebu_sim::fuzz::client_bytes(data));
