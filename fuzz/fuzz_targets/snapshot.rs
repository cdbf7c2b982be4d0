//! See `zebu_sim::fuzz::snapshot`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zebu_sim::fuzz::snapshot(data));
