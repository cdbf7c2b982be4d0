//! The seeded simulator: a world of virtual time around the core's servers and clients, with a network, disks and clocks
//! that fail in every way a seed can name, and checkers that judge what came of it.
//!
//! A seed names a [`scenario`]; running it is a pure function. Modules in reading order.
#![forbid(unsafe_code)]

pub mod random;
pub mod scenario;
mod shape;

pub mod nemesis;
mod operator;
pub mod raw;
pub mod workload;

pub mod clock;
pub mod disk;
pub mod net;
pub mod queue;

pub mod history;

pub mod check;

pub mod outcome;
pub mod trace;
pub mod world;

pub mod replay;
pub mod shrink;
pub mod sweep;

pub mod script;

pub mod fuzz;
pub mod inproc;
