//! The rows of the truth table, and what recovery says of each: a note if it goes on, an error if it refuses.

use super::super::FileError;
use super::super::snapshot::BadSnapshot;
use crate::boundary::{Dir, FileName};
use crate::id::Zxid;
use crate::jute::Bad;
use std::fmt;

/// A row of the truth table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[expect(missing_docs, reason = "the rows of the table in the module above")]
pub enum Row {
    MissingFolder,
    Fresh,
    Unreadable,
    Leftover,
    StrayLog,
    BadEpoch,
    NoEpoch,
    EpochOfLog,
    EpochAdopted,
    EpochBehind,
    BadSnapshot,
    NoGoodSnapshot,
    NoSnapshot,
    TrustedEmpty,
    SnapshotAhead,
    LogTailLost,
    SnapshotAheadOnly,
    EmptyLog,
    EmptyMiddleLog,
    ShortLog,
    NoLog,
    TornTail,
    TornMiddle,
    WrongSum,
    WrongLength,
    LongLength,
    WrongEndByte,
    DamageBeforeData,
    BadRecord,
    Repeated,
    Backward,
    Gap,
    DigestMismatch,
}

impl Row {
    /// Every row, in the table's order.
    pub const ALL: [Row; Row::DigestMismatch as usize + 1] = [
        Row::MissingFolder,
        Row::Fresh,
        Row::Unreadable,
        Row::Leftover,
        Row::StrayLog,
        Row::BadEpoch,
        Row::NoEpoch,
        Row::EpochOfLog,
        Row::EpochAdopted,
        Row::EpochBehind,
        Row::BadSnapshot,
        Row::NoGoodSnapshot,
        Row::NoSnapshot,
        Row::TrustedEmpty,
        Row::SnapshotAhead,
        Row::LogTailLost,
        Row::SnapshotAheadOnly,
        Row::EmptyLog,
        Row::EmptyMiddleLog,
        Row::ShortLog,
        Row::NoLog,
        Row::TornTail,
        Row::TornMiddle,
        Row::WrongSum,
        Row::WrongLength,
        Row::LongLength,
        Row::WrongEndByte,
        Row::DamageBeforeData,
        Row::BadRecord,
        Row::Repeated,
        Row::Backward,
        Row::Gap,
        Row::DigestMismatch,
    ];
}

/// Something that recovery came upon and went on from.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "files, offsets and zxids, as the text of each shows")]
pub enum RecoverNote {
    /// A folder does not exist.
    MissingFolder { dir: Dir },
    /// Nothing is there.
    Fresh,
    /// A file was being written when the server died.
    Leftover { file: FileName },
    /// An epoch file is missing: the log's epoch is taken.
    NoEpoch { file: FileName, taken: i64 },
    /// currentEpoch is behind the log.
    EpochOfLog { current: i64, of_log: i64 },
    /// currentEpoch was behind the log, currentEpoch.tmp is not.
    EpochAdopted { epoch: i64 },
    /// A snapshot that cannot be used.
    BadSnapshot { file: FileName, why: BadSnapshot },
    /// Logs without a snapshot, as the settings allow.
    TrustedEmpty,
    /// A snapshot ahead of the log, not used.
    SnapshotAhead { file: FileName, needs: Zxid, log_end: Zxid },
    /// A snapshot ahead of the log, used.
    SnapshotAheadOnly { file: FileName, needs: Zxid, log_end: Zxid },
    /// The newest log is empty.
    EmptyLog { file: FileName },
    /// The end of the newest log is torn.
    TornTail { file: FileName, at: u64, len: u64 },
    /// The end of another log is torn.
    TornMiddle { file: FileName, at: u64 },
    /// Entries that repeat a zxid.
    Repeated { first: Zxid, count: u64 },
    /// Digests that differ.
    DigestMismatch { first: Zxid, count: u64 },
}

impl RecoverNote {
    /// Its row.
    pub fn row(&self) -> Row {
        match self {
            RecoverNote::MissingFolder { .. } => Row::MissingFolder,
            RecoverNote::Fresh => Row::Fresh,
            RecoverNote::Leftover { .. } => Row::Leftover,
            RecoverNote::NoEpoch { .. } => Row::NoEpoch,
            RecoverNote::EpochOfLog { .. } => Row::EpochOfLog,
            RecoverNote::EpochAdopted { .. } => Row::EpochAdopted,
            RecoverNote::BadSnapshot { .. } => Row::BadSnapshot,
            RecoverNote::TrustedEmpty => Row::TrustedEmpty,
            RecoverNote::SnapshotAhead { .. } => Row::SnapshotAhead,
            RecoverNote::SnapshotAheadOnly { .. } => Row::SnapshotAheadOnly,
            RecoverNote::EmptyLog { .. } => Row::EmptyLog,
            RecoverNote::TornTail { .. } => Row::TornTail,
            RecoverNote::TornMiddle { .. } => Row::TornMiddle,
            RecoverNote::Repeated { .. } => Row::Repeated,
            RecoverNote::DigestMismatch { .. } => Row::DigestMismatch,
        }
    }
}

impl fmt::Display for RecoverNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoverNote::MissingFolder { dir } => write!(f, "the {dir:?} folder does not exist yet"),
            RecoverNote::Fresh => write!(f, "no snapshot and no log: a new, empty database"),
            RecoverNote::Leftover { file } => write!(f, "{file} was never finished; it is removed"),
            RecoverNote::NoEpoch { file, taken } => {
                write!(f, "{file} is missing: the epoch of the last transaction is taken, {taken}")
            }
            RecoverNote::EpochOfLog { current, of_log } => {
                write!(
                    f,
                    "the log ends in epoch {of_log}, which this server has not begun: its own is {current}"
                )
            }
            RecoverNote::EpochAdopted { epoch } => {
                write!(f, "currentEpoch.tmp holds the log's epoch and becomes currentEpoch: {epoch}")
            }
            RecoverNote::BadSnapshot { file, why } => {
                write!(f, "{file} cannot be used, an older one is tried: {why}")
            }
            RecoverNote::TrustedEmpty => {
                write!(f, "logs without a snapshot are trusted, as the settings say")
            }
            RecoverNote::SnapshotAhead { file, needs, log_end } => write!(
                f,
                "{file} needs the log up to {needs}, which ends at {log_end}: an older snapshot is used, this one removed"
            ),
            RecoverNote::SnapshotAheadOnly { file, needs, log_end } => write!(
                f,
                "{file} needs the log up to {needs}, which ends at {log_end}: it is the only snapshot and used all the same"
            ),
            RecoverNote::EmptyLog { file } => write!(f, "{file} is empty; it is removed"),
            RecoverNote::TornTail { file, at, len } => write!(
                f,
                "{file} is torn at offset {at} of {len}: the last write before a power cut, never acknowledged; it is cut off"
            ),
            RecoverNote::TornMiddle { file, at } => {
                write!(f, "{file} is torn at offset {at}; the next file goes on without a hole")
            }
            RecoverNote::Repeated { first, count } => {
                write!(
                    f,
                    "{count} entries repeat the zxid of the one before, the first {first}; they are skipped"
                )
            }
            RecoverNote::DigestMismatch { first, count } => {
                write!(f, "{count} digests differ from the logged ones, the first at {first}")
            }
        }
    }
}

/// Why a server must not start on these files.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "files, offsets and zxids, as the text of each shows")]
pub enum RecoverError {
    /// A folder or file cannot be read.
    Unreadable { name: String, error: FileError },
    /// Java would read it as a log.
    StrayLog { name: String },
    /// An epoch file without a number.
    BadEpoch { file: FileName },
    /// acceptedEpoch is behind currentEpoch or the log.
    EpochBehind { accepted: i64, current: i64, of_log: i64 },
    /// Snapshots, but none that is whole: the newest, and what it lacks.
    NoGoodSnapshot { file: FileName, why: BadSnapshot },
    /// Logs, but no snapshot.
    NoSnapshot { log: FileName },
    /// The newest snapshot is ahead of the log and the older ones lead nowhere.
    LogTailLost { file: FileName, needs: Zxid, log_end: Zxid },
    /// An empty log that others follow.
    EmptyMiddleLog { file: FileName },
    /// Shorter than a header.
    ShortLog { file: FileName, len: usize },
    /// Wrong magic.
    NoLog { file: FileName },
    /// A wrong checksum.
    WrongSum { file: FileName, at: u64 },
    /// A negative or huge length.
    WrongLength { file: FileName, at: u64, len: i32 },
    /// A length longer than its record and the file.
    LongLength { file: FileName, at: u64 },
    /// A wrong end byte behind a whole entry.
    WrongEndByte { file: FileName, at: u64 },
    /// A damaged entry and more behind it.
    DamageBeforeData { file: FileName, at: u64 },
    /// A right checksum over a record that cannot be.
    BadRecord { file: FileName, at: u64, cause: Bad },
    /// zxids go back.
    Backward { file: FileName, at: u64, last: Zxid, found: Zxid },
    /// Transactions are missing.
    Gap { file: FileName, at: u64, last: Zxid, found: Zxid },
}

impl RecoverError {
    /// Its row.
    pub fn row(&self) -> Row {
        match self {
            RecoverError::Unreadable { .. } => Row::Unreadable,
            RecoverError::StrayLog { .. } => Row::StrayLog,
            RecoverError::BadEpoch { .. } => Row::BadEpoch,
            RecoverError::EpochBehind { .. } => Row::EpochBehind,
            RecoverError::NoGoodSnapshot { .. } => Row::NoGoodSnapshot,
            RecoverError::NoSnapshot { .. } => Row::NoSnapshot,
            RecoverError::LogTailLost { .. } => Row::LogTailLost,
            RecoverError::EmptyMiddleLog { .. } => Row::EmptyMiddleLog,
            RecoverError::ShortLog { .. } => Row::ShortLog,
            RecoverError::NoLog { .. } => Row::NoLog,
            RecoverError::WrongSum { .. } => Row::WrongSum,
            RecoverError::WrongLength { .. } => Row::WrongLength,
            RecoverError::LongLength { .. } => Row::LongLength,
            RecoverError::WrongEndByte { .. } => Row::WrongEndByte,
            RecoverError::DamageBeforeData { .. } => Row::DamageBeforeData,
            RecoverError::BadRecord { .. } => Row::BadRecord,
            RecoverError::Backward { .. } => Row::Backward,
            RecoverError::Gap { .. } => Row::Gap,
        }
    }
}

/// What to do about a damaged log.
const DAMAGED: &str = "the disk has damaged it: put back this server's data directory from a backup";

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoverError::Unreadable { name, error } => {
                write!(f, "cannot read {name}: {error}; mend the disk or its permissions")
            }
            RecoverError::StrayLog { name } => write!(
                f,
                "{name} looks like a log, but is not named as one: move it out of the folder if it is a copy, else give it its name back"
            ),
            RecoverError::BadEpoch { file } => {
                write!(f, "{file} does not hold an epoch: put it back from a backup")
            }
            RecoverError::EpochBehind { accepted, current, of_log } => write!(
                f,
                "acceptedEpoch {accepted} is behind currentEpoch {current} or the log's epoch {of_log}: epoch files, log and snapshots must be those of one server"
            ),
            RecoverError::NoGoodSnapshot { file, why } => write!(
                f,
                "no snapshot can be used, the newest, {file}, because {why}: put one back from a backup, with the logs after it"
            ),
            RecoverError::NoSnapshot { log } => write!(
                f,
                "there is no snapshot, but {log}: put the snapshot back, or set snapshot.trust.empty=true if the log is complete from its first transaction"
            ),
            RecoverError::LogTailLost { file, needs, log_end } => write!(
                f,
                "{file} needs the log up to {needs}, which ends at {log_end}, and no older snapshot can be used: put the missing log back"
            ),
            RecoverError::EmptyMiddleLog { file } => {
                write!(f, "{file} is empty though newer logs exist; {DAMAGED}")
            }
            RecoverError::ShortLog { file, len } => {
                write!(f, "{file} has {len} bytes, less than a header; {DAMAGED}")
            }
            RecoverError::NoLog { file } => {
                write!(f, "{file} is no transaction log: the magic is wrong; {DAMAGED}")
            }
            RecoverError::WrongSum { file, at } => {
                write!(f, "{file}, entry at offset {at}: the checksum is wrong; {DAMAGED}")
            }
            RecoverError::WrongLength { file, at, len } => {
                write!(f, "{file}, entry at offset {at}: unreasonable length {len}; {DAMAGED}")
            }
            RecoverError::LongLength { file, at } => {
                write!(f, "{file}, entry at offset {at}: longer than its record; {DAMAGED}")
            }
            RecoverError::WrongEndByte { file, at } => {
                write!(f, "{file}, entry at offset {at}: the end byte is wrong; {DAMAGED}")
            }
            RecoverError::DamageBeforeData { file, at } => {
                write!(f, "{file}, entry at offset {at}: damaged, and entries follow it; {DAMAGED}")
            }
            RecoverError::BadRecord { file, at, cause } => {
                write!(f, "{file}, entry at offset {at}: not a transaction that this version knows: {cause}")
            }
            RecoverError::Backward { file, at, last, found } => write!(
                f,
                "{file}, entry at offset {at}: transaction {found} follows {last}: are these the files of one server?"
            ),
            RecoverError::Gap { file, at, last, found } => write!(
                f,
                "{file}, entry at offset {at}: transaction {found} follows {last}, those between are missing: put their log back"
            ),
        }
    }
}
impl std::error::Error for RecoverError {}
