//! Zebu on tokio: the driver that steps the core against real sockets and disks. The core decides, this crate performs.
//!
//! [`Server`] is an embedded server; the `zebu` binary is a thin face over it.
//!
//! Reading order: `server` (what starts and ends when), `node` (one step and its outputs), `transport`, `storage`; then
//! [`client`], the client library, and [`cli`], a shell over it; [`ensemble`], servers as child processes, and [`bench`].

pub mod bench;
pub mod cli;
pub mod client;
pub mod config;
mod dynamic;
pub mod ensemble;
mod events;
mod files;
mod host;
mod node;
mod ports;
mod record;
mod server;
mod storage;
mod transport;

pub use config::ServerConfig;
pub use files::DirError;
pub use server::{ServeError, Server};
