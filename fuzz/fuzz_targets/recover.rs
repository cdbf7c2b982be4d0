//! See `zebu_sim::fuzz::recover`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zebu_sim::fuzz::recover(data));
