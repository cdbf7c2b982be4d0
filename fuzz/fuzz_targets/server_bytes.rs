//! See `zebu_sim::fuzz::server_bytes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zebu_sim::fuzz::server_bytes(data));
