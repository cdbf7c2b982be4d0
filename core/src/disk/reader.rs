//! The log on disk, read again while the server runs, entry by entry, for a learner that lacks more than memory holds. Answers to
//! `FileTxnLog.FileTxnIterator` and `ZKDatabase.getProposalsFromTxnLog`. Asks for pieces of files and never holds more than
//! one piece, or one entry if that is longer.
//!
//! What does not follow the entry before ends it, whatever the reason: a file that was purged, bytes that rotted or are not
//! written yet. Nothing is ever read over: a file must end where the catalog says, behind an entry or zeros, before the next one
//! is looked at, as zxids alone do not tell whether the end of an epoch is missing. For the same reason only that part of the
//! log counts which recovery has read as a whole or this process has written: a Java server may leave a hole behind a
//! snapshot that it was sent.

use super::catalog::Catalog;
use super::log::{self, Entries, Found, HEADER_LEN, Step};
use crate::boundary::FileName;
use crate::id::Zxid;
use bytes::{Buf as _, Bytes, BytesMut};
use std::ops::Bound::{Excluded, Unbounded};

/// Where an entry may begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    /// The file, by its first zxid.
    file: Zxid,
    at: u64,
}

/// See the module.
#[derive(Debug)]
pub struct LogReader {
    /// Entries above it are wanted.
    after: Zxid,
    /// The state that the log leads on from, not below what it is asked for.
    base: Zxid,
    /// So many bytes may they take in the files; `None`: any number.
    allowance: Option<u64>,
    /// The last entry that was met.
    last: Option<Zxid>,
    /// So many bytes are read at once, if an entry is not longer.
    piece: usize,
    /// Behind that entry: from here on it may be read again.
    good: Place,
    /// Where `buf` begins.
    place: Place,
    buf: BytesMut,
    /// The file ended there, when it was read.
    ended: bool,
    /// What was logged when the end was met, until something follows after all.
    pub(super) fence: Option<Zxid>,
}

/// What comes next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum LogStep {
    /// This piece is needed: [`LogReader::put`].
    Piece {
        /// Of this file.
        file: FileName,
        /// From here on.
        at: u64,
        /// So many bytes.
        len: usize,
    },
    /// An entry that is wanted.
    Entry {
        /// The one that it follows.
        before: Zxid,
        /// Its place.
        zxid: Zxid,
        /// TxnHeader, record, digest.
        body: Bytes,
    },
    /// There is no next one.
    End,
    /// The log does not go back that far, or holds more than is to be sent.
    Unfit,
}

impl LogReader {
    /// For what lies above `after`, which is not below `base`: from there on the log is whole. `None`: it holds nothing, or more than
    /// `allowance`.
    pub(super) fn new(
        catalog: &Catalog,
        (after, base): (Zxid, Zxid),
        allowance: Option<u64>,
        piece: usize,
    ) -> Option<LogReader> {
        assert!(after >= base, "{after} lies below {base}");
        let holding = catalog.logs.range(..=after).next_back().map(|(file, _)| *file);
        let begin = Place { file: holding.or_else(|| catalog.logs_after(after).next())?, at: 0 };
        let reader = LogReader {
            after,
            base,
            allowance,
            piece,
            last: None,
            good: begin,
            place: begin,
            buf: BytesMut::new(),
            ended: false,
            fence: None,
        };
        // Where in the first file it begins is not known yet.
        reader.fits(reader.later(catalog)).then_some(reader)
    }

    /// Bytes in the files behind the present one.
    fn later(&self, catalog: &Catalog) -> u64 {
        catalog.logs.range((Excluded(self.place.file), Unbounded)).map(|(_, len)| len).sum()
    }

    fn fits(&self, bytes: u64) -> bool {
        self.allowance.is_none_or(|most| bytes <= most)
    }

    /// Takes in a piece that was asked for; `None`: it cannot be read.
    pub fn put(&mut self, asked: usize, bytes: Option<&[u8]>) {
        let bytes = bytes.unwrap_or_default();
        self.buf.extend_from_slice(&bytes[..bytes.len().min(asked)]);
        self.ended = bytes.len() < asked;
    }

    /// After [`LogStep::End`]: looks again at what did not follow.
    pub fn again(&mut self) {
        self.place = self.good;
        self.buf.clear();
        self.ended = false;
    }

    /// What comes next.
    pub(super) fn step(&mut self, catalog: &Catalog) -> LogStep {
        loop {
            if self.place.at == 0 && !self.header() {
                match self.more(HEADER_LEN, catalog) {
                    Some(piece) => return piece,
                    None => return LogStep::End,
                }
            }
            match Entries::within(&self.buf).step() {
                Step::Entry(entry) => {
                    let (len, body) = (entry.body.len() + log::FRAME_LEN, Bytes::copy_from_slice(entry.body));
                    if let Some(step) = self.entry(len as u64, body, catalog) {
                        return step;
                    }
                    self.buf.advance(len);
                }
                Step::End(end) => {
                    // Zeros that nothing was written over yet.
                    let padded = self.buf.iter().all(|b| *b == 0);
                    let cut_short = padded || matches!(end.found, Found::Eof | Found::CutShort);
                    if padded {
                        self.place.at += self.buf.len() as u64;
                        self.buf.clear();
                    }
                    let need = if padded { self.piece } else { end.claimed };
                    if cut_short && let Some(piece) = self.more(need, catalog) {
                        return piece;
                    }
                    if !self.next_file(catalog) {
                        return LogStep::End;
                    }
                }
            }
        }
    }

    /// Behind the header, if it is there and one.
    fn header(&mut self) -> bool {
        let good = Entries::new(&self.buf).is_ok();
        if good {
            self.buf.advance(HEADER_LEN);
            self.place.at = HEADER_LEN as u64;
        }
        good
    }

    /// The piece behind `buf`, so that it holds `need` bytes, if the file has one.
    fn more(&self, need: usize, catalog: &Catalog) -> Option<LogStep> {
        let held = self.buf.len();
        if self.ended {
            return None;
        }
        let at = self.place.at + held as u64;
        let rest = catalog.logs.get(&self.place.file)?.checked_sub(at).filter(|rest| *rest > 0)?;
        let len = rest.min((need.saturating_sub(held)).max(self.piece) as u64) as usize;
        Some(LogStep::Piece { file: FileName::Log(self.place.file), at, len })
    }

    /// On to the file behind this one, if all of this one was read.
    fn next_file(&mut self, catalog: &Catalog) -> bool {
        if catalog.logs.get(&self.place.file) != Some(&self.place.at) {
            return false;
        }
        let next = catalog.logs.range((Excluded(self.place.file), Unbounded)).next();
        let Some((file, _)) = next else { return false };
        self.place = Place { file: *file, at: 0 };
        self.buf.clear();
        self.ended = false;
        true
    }

    /// An entry of so many bytes. `None`: on to the next one.
    fn entry(&mut self, len: u64, body: Bytes, catalog: &Catalog) -> Option<LogStep> {
        // The zxid lies behind session and cxid.
        let Some(zxid) = body.get(12..20).and_then(|b| b.first_chunk()) else { return Some(LogStep::End) };
        let zxid = Zxid(i64::from_be_bytes(*zxid));
        let at = self.place.at;
        // The state that the log leads on from may lie in no file any more.
        let last = self.last.or_else(|| (self.after == self.base).then_some(self.base));
        match last {
            // Java logs some error transactions twice.
            Some(last) if last == zxid => {}
            Some(last) if zxid > self.base && !last.is_followed_by(zxid) => return Some(LogStep::End),
            None if zxid > self.after => return Some(LogStep::Unfit),
            // What is not in the log and no epoch's start either would have to be cut off below the base.
            Some(last) if zxid > self.after && last < self.base && self.after.counter() != 0 => {
                return Some(LogStep::Unfit);
            }
            Some(before) if zxid > self.after => {
                let behind = catalog.logs.get(&self.place.file).map_or(0, |end| end.saturating_sub(at));
                if before <= self.after && !self.fits(behind + self.later(catalog)) {
                    return Some(LogStep::Unfit);
                }
                self.buf.advance(len as usize);
                self.pass(len, zxid);
                return Some(LogStep::Entry { before, zxid, body });
            }
            Some(_) | None => {}
        }
        self.pass(len, zxid);
        None
    }

    fn pass(&mut self, len: u64, zxid: Zxid) {
        self.place.at += len;
        (self.good, self.last, self.fence) = (self.place, Some(zxid), None);
    }
}

#[cfg(test)]
mod tests;
