//! The log on disk for learners that lack more than memory holds: each reads at its own pace, a piece at a time, as its connection
//! takes what was read. Answers to the use of `TxnLogProposalIterator` in `LearnerHandler.syncFollower`.

use super::base::Base;
use super::peers::Peers;
use crate::boundary::{Conn, ReadNo};
use crate::disk::{LogNews, LogReader};
use crate::id::Zxid;
use bytes::Bytes;
use std::collections::BTreeMap;

/// What a reading waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Awaits {
    /// Its connection's room for more.
    Room,
    /// A piece, of so many bytes.
    Piece(ReadNo, usize),
    /// More to be written.
    Disk,
}

#[derive(Debug)]
struct Reading {
    reader: LogReader,
    awaits: Awaits,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Logs {
    readings: BTreeMap<Conn, Reading>,
}

impl Logs {
    /// A learner needs what this reader reads.
    pub(super) fn want(&mut self, conn: Conn, reader: LogReader) {
        self.readings.insert(conn, Reading { reader, awaits: Awaits::Room });
    }

    /// Nobody needs it any more.
    pub(super) fn forget(&mut self, conn: Conn) {
        self.readings.remove(&conn);
    }

    /// A piece is there, or cannot be read; one that nobody awaits is dropped.
    pub(super) fn answered(&mut self, read: ReadNo, bytes: Option<&[u8]>) {
        for reading in self.readings.values_mut() {
            if let Awaits::Piece(no, len) = reading.awaits
                && no == read
            {
                reading.reader.put(len, bytes);
                reading.awaits = Awaits::Room;
            }
        }
    }

    /// More has become durable.
    pub(super) fn written(&mut self) {
        for reading in self.readings.values_mut().filter(|r| r.awaits == Awaits::Disk) {
            reading.awaits = Awaits::Room;
        }
    }

    /// Who can go on: up to so many bytes may be unsent.
    pub(super) fn next(&self, peers: &Peers, ahead: usize) -> Option<Conn> {
        let can =
            |(conn, r): &(&Conn, &Reading)| r.awaits == Awaits::Room && peers.unsent_ahead(**conn) < ahead;
        self.readings.iter().find(can).map(|(conn, _)| *conn)
    }

    /// The next entry, with the one before it; inside: `None` if there is none. Outside: `None` until it can go on.
    pub(super) fn read_on(&mut self, base: &mut Base, conn: Conn) -> Option<Option<(Zxid, (Zxid, Bytes))>> {
        let reading = self.readings.get_mut(&conn)?;
        reading.awaits = match base.store.read_on(&mut reading.reader, &mut base.out) {
            LogNews::Entry { before, zxid, body } => return Some(Some((before, (zxid, body)))),
            LogNews::End => return Some(None),
            LogNews::Asked(read, len) => Awaits::Piece(read, len),
            LogNews::Later => Awaits::Disk,
        };
        None
    }
}
