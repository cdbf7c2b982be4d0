//! Recordings: all that a server was told, so that it can be stepped again elsewhere, and a running hash of what it
//! answered. A driver writes them, the simulator replays them. Pure encoding: who reads and writes the file is not
//! known here. ZooKeeper has no counterpart.
//!
//! File = magic, then frames of {u32 little-endian length, postcard value}: one [`Header`], then [`Frame`]s. A recording
//! that was cut short anywhere can be read up to its last whole frame.

use crate::boundary::{Dir, DiskOp, Event, Input, Output};
use crate::config::Config;
use crate::time::Now;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The first bytes of a recording; the digit is the version of the format.
pub const MAGIC: &[u8; 8] = b"zeburec3";

/// With what the server was started.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// Its settings.
    pub config: Config,
    /// The seed given to `Server::new`.
    pub seed: [u8; 32],
    /// The time given to `Server::new`.
    pub start: Now,
    /// The files that recovery found.
    pub files: Vec<File>,
}

/// A file as recovery found it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct File {
    /// In which folder.
    pub dir: Dir,
    /// Its name there.
    pub name: String,
    /// Its content.
    pub bytes: bytes::Bytes,
}

/// One entry after the header.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Frame<'a> {
    /// `Server::step` was called with this.
    Step {
        /// When.
        now: Now,
        /// What.
        #[serde(borrow)]
        input: Input<'a>,
    },
    /// The hash of every output up to here: written now and then, and at the end.
    Outputs {
        /// See [`Digest`].
        hash: u64,
    },
}

/// Why a recording cannot be read on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadRecording {
    /// It does not begin with [`MAGIC`].
    NoRecording,
    /// The frame at this offset does not decode.
    BadFrame {
        /// Offset in the file.
        at: usize,
    },
}

impl fmt::Display for BadRecording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadRecording::NoRecording => write!(f, "not a recording of this version"),
            BadRecording::BadFrame { at } => write!(f, "the frame at offset {at} does not decode"),
        }
    }
}
impl std::error::Error for BadRecording {}

fn frame<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    postcard::to_io(value, &mut *out).expect("plain values encode into memory");
    let n = u32::try_from(out.len() - at - 4).expect("a frame is shorter than 4 GiB");
    out[at..at + 4].copy_from_slice(&n.to_le_bytes());
}

/// Appends the start of a recording.
pub fn write_header(header: &Header, out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    frame(header, out);
}

/// Appends a frame.
pub fn write_frame(entry: &Frame<'_>, out: &mut Vec<u8>) {
    frame(entry, out);
}

/// Reads a recording from memory.
#[derive(Clone, Debug)]
pub struct Player<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Player<'a> {
    /// Reads the header.
    pub fn new(all: &'a [u8]) -> Result<(Header, Player<'a>), BadRecording> {
        if !all.starts_with(MAGIC) {
            return Err(BadRecording::NoRecording);
        }
        let mut player = Player { all, at: MAGIC.len() };
        let at = player.at;
        match player.frame()? {
            Some(header) => Ok((header, player)),
            None => Err(BadRecording::BadFrame { at }),
        }
    }

    /// The next frame; `None` at the end, or where the recording was cut short.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'a>>, BadRecording> {
        self.frame()
    }

    fn frame<T: Deserialize<'a>>(&mut self) -> Result<Option<T>, BadRecording> {
        let Some((len, rest)) = self.all[self.at..].split_first_chunk::<4>() else {
            return Ok(None);
        };
        let Some(body) = rest.get(..u32::from_le_bytes(*len) as usize) else {
            return Ok(None);
        };
        let value = postcard::from_bytes(body).map_err(|_| BadRecording::BadFrame { at: self.at })?;
        self.at += 4 + body.len();
        Ok(Some(value))
    }
}

/// A running 64-bit hash: the same on every machine and in every build. Not for use against an adversary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Digest {
        Digest(0x9e37_79b9_7f4a_7c15)
    }
}

impl Digest {
    /// Takes in a number.
    #[inline]
    pub fn word(&mut self, v: u64) {
        let wide = u128::from(self.0 ^ v) * 0xd6e8_feb8_6659_fd93_u128;
        self.0 = (wide as u64 ^ (wide >> 64) as u64).wrapping_add(0xe703_7ed1_a0b4_28db);
    }

    /// Takes in bytes and their number.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for w in words {
            self.word(u64::from_le_bytes(*w));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last));
        self.word(bytes.len() as u64);
    }

    /// The hash so far.
    pub fn value(&self) -> u64 {
        self.0
    }

    /// Takes in an output. Events count by kind and place, their texts do not.
    pub fn output(&mut self, output: &Output) {
        match output {
            Output::Send { conn, bytes } => {
                self.word(1 | conn.0 << 8);
                self.bytes(bytes);
            }
            Output::Pause { conn, on } => self.word(2 | u64::from(*on) << 7 | conn.0 << 8),
            Output::Close { conn } => self.word(3 | conn.0 << 8),
            Output::Disk { lane, op } => {
                self.word(4 | (*lane as u64) << 8);
                self.disk(op);
            }
            Output::Event(event) => self.event(event),
            Output::Stop(_) => self.word(6),
            Output::Read { read, file, at, len } => {
                self.word(8 | read.0 << 8);
                self.word(file_word(file));
                self.word(*at);
                self.word(*len as u64);
            }
            Output::Dial { conn, to, port } => {
                self.word(7 | (*port as u64) << 4 ^ conn.0 << 8);
                self.bytes(to.host.as_bytes());
                self.word(u64::from(to.port));
            }
        }
    }

    fn disk(&mut self, op: &DiskOp) {
        let mut file = |kind: u64, file: &crate::boundary::FileName| {
            self.word(kind | (file_word(file) << 8));
        };
        match op {
            DiskOp::Create { file: f } => file(1, f),
            DiskOp::Append { file: f, bytes } => {
                file(2, f);
                self.bytes(bytes);
            }
            DiskOp::Sync { file: f, ticket } => {
                file(3, f);
                self.word(ticket.0);
            }
            DiskOp::Truncate { file: f, len } => {
                file(4, f);
                self.word(*len);
            }
            DiskOp::Rename { from, to } => {
                file(5, from);
                file(5, to);
            }
            DiskOp::Remove { file: f } => file(6, f),
            DiskOp::SyncDir { dir, ticket } => {
                self.word(7 | (*dir as u64) << 8);
                self.word(ticket.0);
            }
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Became(role) => self.word(0x105 | (*role as u64) << 16),
            // The body comes with Committed.
            Event::Proposed { zxid, .. } => self.word(0x205 ^ (zxid.0 as u64) << 16),
            Event::Logged { zxid, .. } => self.word(0x1005 ^ (zxid.0 as u64) << 16),
            Event::Vouched(_) => self.word(0x305),
            Event::Committed { zxid, txn } => {
                self.word(0x405 ^ (zxid.0 as u64) << 16);
                self.bytes(txn);
            }
            Event::Applied { zxid, digest } => {
                self.word(0x505 ^ (zxid.0 as u64) << 16);
                self.word(*digest);
            }
            Event::ConnClosed { conn, .. } => self.word(0x605 ^ conn.0 << 16),
            Event::SessionAttached { session, conn, reattached } => {
                self.word(0x705 | u64::from(*reattached) << 16 ^ conn.0 << 24);
                self.word(session.0 as u64);
            }
            Event::SessionExpired { session } => {
                self.word(0x805);
                self.word(session.0 as u64);
            }
            Event::LogRolled { first } => self.word(0x905 ^ (first.0 as u64) << 16),
            Event::SnapshotBegun { zxid } => self.word(0xa05 ^ (zxid.0 as u64) << 16),
            Event::SnapshotDone { zxid, bytes } => {
                self.word(0xb05 ^ (zxid.0 as u64) << 16);
                self.word(*bytes);
            }
            Event::SnapshotFailed { .. } => self.word(0xc05),
            Event::Purged { files } => self.word(0xd05 | (*files as u64) << 16),
            Event::Replied { session, op, latency } => {
                self.word(0xe05 ^ (*op as u32 as u64) << 16);
                self.word(session.0 as u64);
                self.word(*latency);
            }
            Event::Elected { leader, round } => {
                self.word(0xf05 ^ (leader.0 as u64) << 16);
                self.word(*round as u64);
            }
            Event::Established { epoch } => self.word(0x1105 ^ (epoch.0 as u64) << 16),
            Event::Activated { epoch } => self.word(0x1205 ^ (epoch.0 as u64) << 16),
            Event::RoleLost { .. } => self.word(0x1305),
            Event::Reconfigured { text } => {
                self.word(0x1805);
                self.bytes(text.as_bytes());
            }
            Event::Truncated { to } => self.word(0x1405 ^ (to.0 as u64) << 16),
            Event::Installed { zxid, digest } => {
                self.word(0x1505 ^ (zxid.0 as u64) << 16);
                self.word(*digest);
            }
            Event::QuorumAcked { zxid, acks } => {
                self.word(0x1605 ^ (zxid.0 as u64) << 16);
                acks.iter().for_each(|sid| self.word(sid.0 as u64));
            }
            Event::Synchronizes { learner, by } => {
                self.word(0x1905 | (*by as u64) << 16 ^ (learner.0 as u64) << 20);
            }
            Event::DigestMismatch { zxid } => self.word(0x1705 ^ (zxid.0 as u64) << 16),
        }
    }
}

fn file_word(file: &crate::boundary::FileName) -> u64 {
    use crate::boundary::FileName;
    match file {
        FileName::Log(z) => 1 | (z.0 as u64) << 3,
        FileName::Snapshot(z) => 2 | (z.0 as u64) << 3,
        FileName::SnapshotTemp(z) => 3 | (z.0 as u64) << 3,
        FileName::AcceptedEpoch => 4,
        FileName::CurrentEpoch => 5,
        FileName::LogTemp(z) => 6 | (z.0 as u64) << 3,
        FileName::SnapshotGz(z) => 7 | (z.0 as u64) << 3,
        FileName::SnapshotSnappy(z) => 7 | 1 << 63 | (z.0 as u64) << 3,
        FileName::AcceptedEpochTemp => 8,
        FileName::CurrentEpochTemp => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::Conn;
    use crate::time::{Millis, Time};

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        let file = File { dir: Dir::Log, name: "log.1".into(), bytes: bytes::Bytes::from_static(b"ZKLG") };
        let header =
            Header { config: Config::default(), seed: [7; 32], start: Now::default(), files: vec![file] };
        write_header(&header, &mut out);
        let now = Now { mono: Time(5), wall: Millis(9) };
        write_frame(&Frame::Step { now, input: Input::Received { conn: Conn(3), bytes: b"ruok" } }, &mut out);
        write_frame(&Frame::Outputs { hash: 77 }, &mut out);
        out
    }

    #[test]
    fn what_is_written_is_read() {
        let all = sample();
        let (header, mut player) = Player::new(&all).expect("reads");
        assert_eq!(header.files[0].name, "log.1");
        let step = player.next_frame().expect("reads").expect("a step");
        assert!(matches!(step, Frame::Step { input: Input::Received { conn: Conn(3), bytes: b"ruok" }, .. }));
        assert_eq!(player.next_frame(), Ok(Some(Frame::Outputs { hash: 77 })));
        assert_eq!(player.next_frame(), Ok(None));
    }

    #[test]
    fn a_recording_cut_anywhere_reads_up_to_its_last_whole_frame() {
        let all = sample();
        for cut in 0..all.len() {
            let Ok((_, mut player)) = Player::new(&all[..cut]) else { continue };
            while player.next_frame().expect("no bad frame in a prefix").is_some() {}
        }
        assert_eq!(Player::new(b"ZKLG0000").unwrap_err(), BadRecording::NoRecording);
    }

    #[test]
    fn the_hash_is_pinned() {
        // The hash of recordings and golden seeds: a change of it is a change of the format.
        let mut d = Digest::default();
        d.word(1);
        d.bytes(b"hello, world");
        assert_eq!(d.value(), 6_396_693_146_529_357_062);
    }
}
