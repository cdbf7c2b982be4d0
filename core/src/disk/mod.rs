//! What outlives the process: transaction log, snapshots, epoch files, in ZooKeeper's own formats. Answers to
//! `server.persistence`. Knows nothing of roles and connections; the bytes on a disk come as [`Files`] once, at the start,
//! and leave as [`crate::boundary::DiskOp`]s.
//!
//! Writing: [`Store`], of an appender (log), a snapshot on its way and a catalog of files. Reading: [`recover()`] with its
//! truth table; [`log`], [`tail`] and [`snapshot`] are the formats.

mod appender;
mod catalog;
mod epoch;
pub mod log;
#[cfg(test)]
mod memory;
mod reader;
pub mod recover;
pub mod snapshot;
mod store;
pub mod tail;
mod unpack;

pub use reader::LogReader;
pub use recover::{OnDisk, RecoverError, RecoverNote, Recovered, Row, recover};
pub use store::{LogNews, Store};

use crate::boundary::Dir;
use bytes::Bytes;
use std::fmt;

/// The files that recovery reads: on a real disk, on a simulated one, in a recording.
pub trait Files {
    /// Names and lengths of the files in a folder, in any order.
    fn list(&self, dir: Dir) -> Result<Vec<(String, u64)>, FileError>;
    /// The whole of a file.
    fn read(&self, dir: Dir, name: &str) -> Result<Bytes, FileError>;
}

/// Why a folder or file cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileError {
    /// It does not exist.
    Missing,
    /// The operating system's words.
    Io(String),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Missing => write!(f, "it does not exist"),
            FileError::Io(cause) => write!(f, "{cause}"),
        }
    }
}
impl std::error::Error for FileError {}
