//! See `zebu_sim::fuzz::client`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| zebu_sim::fuzz::client(data));
