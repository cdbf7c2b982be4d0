//! Zebu on tokio: the driver that steps the core against real sockets and disks. The core decides, this crate performs.
//!
//! [`Server`](config::ServerConfig) is an embedded server; the `zebu` binary is a thin face over it.

pub mod config;
