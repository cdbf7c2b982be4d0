//! The seeded simulator.
#![forbid(unsafe_code)]

pub mod history;
