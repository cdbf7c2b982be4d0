//! See `zebu_sim::fuzz::world`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zebu_sim::fuzz::world(data));
