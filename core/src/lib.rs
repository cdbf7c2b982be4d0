//! Zebu's core: every server and every client as a state machine without I/O.
//!
//! 1. **The core is a function.** The same config, recovered disk, seed and inputs give the same outputs, byte for byte.
//! 2. **Nothing is promised before it is durable.** The list of promises is one small enum, [`boundary::Vouch`].
//! 3. **A server has exactly one role, a value, and one function changes it.**
//! 4. **Two drivers, one vocabulary.** The simulator and the tokio program both match every output, with no wildcard arm.
//!
//! Modules in reading order; each may use those above it.
#![forbid(unsafe_code)]

pub mod addr;
pub mod boundary;
pub mod cause;
pub mod config;
pub mod id;
pub mod limits;
pub mod rng;
pub mod time;

pub mod jute;
pub mod proto;
pub mod record;

pub mod properties;

pub mod path;

pub mod acl;
pub mod auth;

pub mod tree;

pub mod quorum;

pub mod election;

pub mod zab;

pub mod session;
pub mod watch;

pub mod disk;

pub mod server;

pub mod client;
