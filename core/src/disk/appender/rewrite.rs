//! What the log lane does beside appending. Each is a series of operations of which any prefix leaves a server that starts, and
//! that holds what it held before or what it shall hold. Answers to `FileTxnLog.truncate`, `Learner.syncWithLeader` and
//! `QuorumPeer.writeLongToFile`.
//!
//! **An epoch file** is written aside, synced, and renamed. Everything logged before it is synced by then.
//!
//! **A cut** leaves a prefix of the old log after every operation: snapshots beyond the target go first, then whole files, the
//! newest first, then the end of the file in which the target lies. Java cuts behind the first entry that is not below the
//! target, and leaves snapshots.
//!
//! **An install** puts a snapshot in the place of everything. Until its rename the old history stands, but for what lies above
//! the snapshot: on top of it that would be a history which never was. Only what is known to be history ([`LogIndex`])
//! stays, as the snapshot cannot contradict it. Then the logs go, the newest first, so that no hole is left at any time, and
//! last the other snapshots: no log leads on from them any more. One of a later zxid goes after the log behind it, the oldest
//! of these first, since all but the newest may need a log. Let the server take care that there is none: a snapshot below what
//! the tree has held takes back what may have been promised.

use super::super::catalog::{Catalog, Health, snapshot_name};
use super::super::snapshot::{Form, Whole};
use super::{Appender, LogIndex};
use crate::boundary::EpochFile;
use crate::boundary::{Dir, DiskOp, FileName, Output};
use crate::id::{Epoch, Zxid};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

/// A snapshot that takes the log's place.
#[derive(Debug)]
pub(in crate::disk) struct Install {
    pub(in crate::disk) whole: Whole,
    /// What a snapshot that was given up may have left.
    pub(in crate::disk) leftover: Option<FileName>,
}

impl Appender {
    /// Writes an epoch file.
    pub(in crate::disk) fn put_epoch(&mut self, file: EpochFile, epoch: Epoch, out: &mut Vec<Output>) {
        let (temp, file) = match file {
            EpochFile::Accepted => (FileName::AcceptedEpochTemp, FileName::AcceptedEpoch),
            EpochFile::Current => (FileName::CurrentEpochTemp, FileName::CurrentEpoch),
        };
        let ticket = self.ticket();
        let ops = [
            DiskOp::Create { file: temp },
            // As Java writes it: no end of line.
            DiskOp::Append { file: temp, bytes: Bytes::from(epoch.0.to_string()) },
            DiskOp::Sync { file: temp, ticket },
            DiskOp::Rename { from: temp, to: file },
        ];
        self.emit(out, ops);
        self.sync_dir(Dir::Data, out);
    }

    /// Takes the epoch file that was being written for the one that counts.
    pub(in crate::disk) fn adopt_epoch(&mut self, out: &mut Vec<Output>) {
        let (temp, file) = (FileName::CurrentEpochTemp, FileName::CurrentEpoch);
        let ticket = self.ticket();
        self.emit(out, [DiskOp::Sync { file: temp, ticket }, DiskOp::Rename { from: temp, to: file }]);
        self.sync_dir(Dir::Data, out);
    }

    /// Writes a whole snapshot under its name; the folder is not synced yet.
    pub(in crate::disk) fn put_snapshot(&mut self, whole: Whole, out: &mut Vec<Output>) {
        let zxid = whole.zxid;
        self.put_aside(whole, out);
        self.emit(out, [rename(zxid)]);
    }

    fn put_aside(&mut self, whole: Whole, out: &mut Vec<Output>) {
        let file = FileName::SnapshotTemp(whole.zxid);
        let ticket = self.ticket();
        self.emit(out, [DiskOp::Create { file }]);
        self.emit(out, whole.slices.into_iter().map(|bytes| DiskOp::Append { file, bytes }));
        self.emit(out, [DiskOp::Sync { file, ticket }]);
    }

    /// Cuts off every entry above `to`.
    pub(super) fn cut(&mut self, to: Zxid, catalog: &mut Catalog, out: &mut Vec<Output>) {
        assert!(to >= self.index.held(), "a cut at {to}, below {}", self.index.held());
        let beyond = catalog.snapshots.range((Excluded((to, Form::Snappy)), Unbounded));
        let beyond: Vec<_> = beyond.map(|(key, _)| *key).rev().collect();
        self.remove_snapshots(&beyond, catalog, out);
        let later = catalog.logs.range((Excluded(to), Unbounded));
        let later: Vec<_> = later.map(|(name, _)| *name).collect();
        self.remove_logs(later, catalog, out);
        if let Some(place) = self.index.cut(to)
            && let Some(len) = catalog.logs.get_mut(&place.file)
        {
            *len = place.at;
            let (file, ticket) = (FileName::Log(place.file), self.ticket());
            self.emit(out, [DiskOp::Truncate { file, len: place.at }, DiskOp::Sync { file, ticket }]);
        }
        self.file = None;
    }

    /// Puts a snapshot in the place of log and snapshots.
    pub(super) fn put_install(&mut self, install: Install, catalog: &mut Catalog, out: &mut Vec<Output>) {
        let Install { whole, leftover } = install;
        let (zxid, len) = (whole.zxid, whole.len);
        self.emit(out, leftover.map(|file| DiskOp::Remove { file }));
        self.put_aside(whole, out);
        self.cut(zxid.max(self.index.held()), catalog, out);
        self.emit(out, [rename(zxid)]);
        self.sync_dir(Dir::Data, out);

        let needed: Vec<_> = catalog.logs_after(zxid).collect();
        self.remove_logs(needed, catalog, out);
        let rest = std::mem::take(&mut catalog.logs).into_keys().map(FileName::Log);
        self.emit(out, rest.map(|file| DiskOp::Remove { file }));
        self.sync_dir(Dir::Log, out);

        let ours = (zxid, Form::Plain);
        let newer: Vec<_> = catalog.snapshots.range((Excluded(ours), Unbounded)).map(|(k, _)| *k).collect();
        self.remove_snapshots(&newer, catalog, out);
        let older =
            std::mem::replace(&mut catalog.snapshots, BTreeMap::from([(ours, (len, Health::Verified))]));
        let older = older.into_keys().filter(|key| *key != ours);
        self.emit(out, older.map(|(zxid, form)| DiskOp::Remove { file: snapshot_name(zxid, form) }));
        self.sync_dir(Dir::Data, out);
        self.index = LogIndex::new(zxid, zxid, Vec::new());
    }

    /// Removes logs, the newest first, each for good before the next.
    fn remove_logs(&mut self, names: Vec<Zxid>, catalog: &mut Catalog, out: &mut Vec<Output>) {
        for name in names.into_iter().rev() {
            catalog.logs.remove(&name);
            self.emit(out, [DiskOp::Remove { file: FileName::Log(name) }]);
            self.sync_dir(Dir::Log, out);
        }
    }

    /// Removes snapshots in this order, each for good before the next.
    fn remove_snapshots(&mut self, keys: &[(Zxid, Form)], catalog: &mut Catalog, out: &mut Vec<Output>) {
        for key in keys {
            catalog.snapshots.remove(key);
            self.emit(out, [DiskOp::Remove { file: snapshot_name(key.0, key.1) }]);
            self.sync_dir(Dir::Data, out);
        }
    }

    pub(in crate::disk) fn sync_dir(&mut self, dir: Dir, out: &mut Vec<Output>) {
        let ticket = self.ticket();
        self.emit(out, [DiskOp::SyncDir { dir, ticket }]);
    }
}

fn rename(zxid: Zxid) -> DiskOp {
    DiskOp::Rename { from: FileName::SnapshotTemp(zxid), to: FileName::Snapshot(zxid) }
}
