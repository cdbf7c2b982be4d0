//! The seeded simulator.
#![forbid(unsafe_code)]
