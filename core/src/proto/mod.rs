//! ZooKeeper's records, without behaviour: what crosses a wire or lies in a file. Answers to `zookeeper.jute`.
//! Uses [`crate::jute`] only.

mod client;
mod data;
mod error;
mod multi;
mod txn;

pub use client::*;
pub use data::*;
pub use error::*;
pub use multi::*;
pub use txn::*;
