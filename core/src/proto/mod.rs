//! ZooKeeper's records, without behaviour: what crosses a wire or lies in a file. Answers to `zookeeper.jute`.
//! Uses [`crate::jute`] only, and the words of [`crate::id`] and [`crate::addr`].

mod client;
mod data;
mod error;
mod multi;
mod peer;
mod txn;
mod vote;

pub use client::*;
pub use data::*;
pub use error::*;
pub use multi::*;
pub use peer::*;
pub use txn::*;
pub use vote::*;
