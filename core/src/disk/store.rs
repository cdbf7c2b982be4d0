//! Everything that a server writes: the log through the appender, snapshots in slices on the bulk lane, purges. Answers to
//! `SyncRequestProcessor`, `FileSnap.serialize` and `PurgeTxnLog`. Promises leave only when they are durable.
//!
//! A snapshot is an atomic image, written aside, synced slice by slice, renamed, and its folder synced; only then does anything
//! rely on it. It never holds what the log does not: the tree holds nothing that was not durable when it was applied.

use super::appender::Appender;
use super::catalog::{Catalog, Health};
use super::recover::{OnDisk, Recovered};
use super::snapshot::{Form, Writer};
use crate::boundary::{Dir, DiskFault, DiskOp, Event, FileName, Lane, Output, Ticket, Vouch};
use crate::config::Config;
use crate::id::{SessionId, Zxid};
use crate::limits::SNAPSHOT_SLICE;
use crate::proto::LoggedTxn;
use crate::rng::Rng;
use crate::session::Sessions;
use crate::time::{Span, Time};
use crate::tree::{ImageStart, Tree};
use bytes::{Bytes, BytesMut};

/// Java keeps at least three snapshots, whatever the settings say.
const MIN_RETAINED: usize = 3;

/// See the module.
#[derive(Debug)]
pub struct Store {
    appender: Appender,
    catalog: Catalog,
    rng: Rng,
    snap_count: u64,
    snap_size: u64,
    log_size: u64,
    digests: bool,
    retain: usize,
    purge_every: Span,
    /// When to purge next; `None`: never, or nothing is served yet.
    purge_at: Option<Time>,
    /// Transactions and bytes logged since the last snapshot was begun, and at how many the next one is.
    since: (u64, u64),
    due: (u64, u64),
    bulk_ticket: Ticket,
    snapshot: Option<Writing>,
    /// The bulk lane carries out nothing until a create.
    bulk_dead: bool,
}

/// A snapshot on its way.
#[derive(Debug)]
struct Writing {
    zxid: Zxid,
    digest: Option<u64>,
    writer: Writer,
    stage: Stage,
    /// What must be durable before the next stage.
    ticket: Ticket,
}

/// How far a snapshot is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// More nodes follow.
    Nodes,
    /// All of it is handed over.
    Sealed,
    /// It is renamed, the folder is being synced.
    Renamed,
}

fn push(out: &mut Vec<Output>, lane: Lane, ops: impl IntoIterator<Item = DiskOp>) {
    out.extend(ops.into_iter().map(|op| Output::Disk { lane, op }));
}

impl Store {
    /// Takes over what recovery found. Its disk work goes out first: cut the torn end, sync what was read, write the first
    /// snapshot of a new database, remove what is of no use. When that is durable, [`Vouch::Recovered`] comes, and only then may
    /// anything be served.
    pub fn open(
        recovered: Recovered,
        config: &Config,
        seed: [u8; 32],
        out: &mut Vec<Output>,
    ) -> (Tree, Store) {
        let Recovered { mut tree, sessions, last_zxid, disk, .. } = recovered;
        let OnDisk { catalog, remove, cut, sync, needs_snapshot, replayed } = disk;
        let mut store = Store {
            appender: Appender::new(last_zxid),
            catalog,
            rng: Rng::new(seed),
            snap_count: config.snap_count.max(1),
            snap_size: config.snap_size_limit,
            log_size: config.log_size_limit,
            digests: config.digest_enabled,
            retain: config.snap_retain_count.max(MIN_RETAINED),
            purge_every: Span::from_millis(config.purge_interval_h.saturating_mul(3_600_000)),
            purge_at: None,
            since: replayed,
            due: (0, 0),
            bulk_ticket: Ticket(0),
            snapshot: None,
            bulk_dead: false,
        };
        store.set_due();
        push(out, Lane::Log, cut.map(|(file, len)| DiskOp::Truncate { file, len }));
        for file in sync {
            let ticket = store.appender.ticket();
            push(out, Lane::Log, [DiskOp::Sync { file, ticket }]);
        }
        let mut kept = None;
        if needs_snapshot {
            store.first_snapshot(&mut tree, &sessions, out);
            kept = Some(FileName::Snapshot(last_zxid));
        }
        let remove = remove.into_iter().filter(|file| Some(*file) != kept);
        push(out, Lane::Log, remove.map(|file| DiskOp::Remove { file }));
        for dir in [Dir::Data, Dir::Log] {
            let ticket = store.appender.ticket();
            push(out, Lane::Log, [DiskOp::SyncDir { dir, ticket }]);
        }
        let last = store.appender.last_ticket();
        store.appender.park(last, Vouch::Recovered(last_zxid));
        (tree, store)
    }

    /// The snapshot without which there must be no log, all at once and in the log lane.
    fn first_snapshot(&mut self, tree: &mut Tree, sessions: &[(SessionId, i32)], out: &mut Vec<Output>) {
        let image = tree.image_begin();
        let (temp, file) = (FileName::SnapshotTemp(image.zxid), FileName::Snapshot(image.zxid));
        push(out, Lane::Log, [DiskOp::Create { file: temp }]);
        let mut slice = BytesMut::new();
        let mut writer = Writer::begin(sessions.iter().copied(), &image, &mut slice);
        while !tree.image_slice(SNAPSHOT_SLICE, &mut slice) {
            writer.add(&slice);
            push(out, Lane::Log, [DiskOp::Append { file: temp, bytes: slice.split().freeze() }]);
        }
        writer.end(image.zxid, self.shown_digest(&image), &mut slice);
        let ticket = self.appender.ticket();
        let ops = [
            DiskOp::Append { file: temp, bytes: slice.freeze() },
            DiskOp::Sync { file: temp, ticket },
            DiskOp::Rename { from: temp, to: file },
        ];
        push(out, Lane::Log, ops);
        self.catalog.snapshots.insert((image.zxid, Form::Plain), (writer.len(), Health::Verified));
    }

    /// The digest that a snapshot shows; Java shows 0 before the first transaction.
    fn shown_digest(&self, image: &ImageStart) -> Option<u64> {
        self.digests.then_some(if image.zxid == Zxid::ZERO { 0 } else { image.digest })
    }

    /// Queues a transaction for the log and parks [`Vouch::OwnAck`] of it. Its body: header, record, digest.
    pub fn append(&mut self, txn: &LoggedTxn) -> Bytes {
        let (body, len) = self.appender.append(txn);
        self.since.0 += 1;
        self.since.1 += len as u64;
        if self.log_size > 0 && self.appender.file_len() > self.log_size {
            self.appender.roll();
        }
        body
    }

    /// Ends a step: hands over what was appended, with one sync.
    pub fn flush(&mut self, out: &mut Vec<Output>) {
        let logs = &mut self.catalog.logs;
        self.appender.flush(out, |file, len| *logs.entry(file).or_default() += len);
    }

    /// A lane is durable up to a ticket: releases promises in order, or goes on with the snapshot.
    pub fn durable(
        &mut self,
        lane: Lane,
        upto: Ticket,
        tree: &mut Tree,
        now: Time,
        vouches: &mut Vec<Vouch>,
        out: &mut Vec<Output>,
    ) {
        match lane {
            Lane::Log => {
                self.appender.durable(upto, vouches);
                // The first purge is at the start, as in Java: when what it relies on is safe.
                if self.purge_every > Span::ZERO && vouches.iter().any(|v| matches!(v, Vouch::Recovered(_))) {
                    self.purge_at = Some(now);
                }
            }
            Lane::Bulk => {
                if self.snapshot.as_ref().is_some_and(|s| s.ticket <= upto) {
                    self.next_stage(tree, out);
                }
            }
        }
    }

    /// Begins a snapshot of the tree as it is if enough was logged since the last one, and a new log file with it; if one is still
    /// being written, only the log rolls.
    pub fn maybe_snapshot(&mut self, tree: &mut Tree, sessions: &Sessions, out: &mut Vec<Output>) {
        if self.since.0 <= self.due.0 && self.since.1 <= self.due.1 {
            return;
        }
        self.since = (0, 0);
        self.set_due();
        self.appender.roll();
        let newest = self.catalog.snapshots.last_key_value().map(|((zxid, _), _)| *zxid);
        if self.snapshot.is_none() && newest.is_none_or(|zxid| zxid < tree.last_zxid()) {
            self.begin_snapshot(tree, sessions, out);
        }
    }

    /// Draws when the next snapshot is due: servers of an ensemble must not all write theirs at once.
    fn set_due(&mut self) {
        let mut draw = |limit: u64| limit / 2 + self.rng.below(limit / 2);
        self.due = (draw(self.snap_count), if self.snap_size == 0 { u64::MAX } else { draw(self.snap_size) });
    }

    fn begin_snapshot(&mut self, tree: &mut Tree, sessions: &Sessions, out: &mut Vec<Output>) {
        let image = tree.image_begin();
        let zxid = image.zxid;
        let mut slice = BytesMut::new();
        let writer = Writer::begin(sessions.iter(), &image, &mut slice);
        let digest = self.shown_digest(&image);
        self.bulk_dead = false;
        push(out, Lane::Bulk, [DiskOp::Create { file: FileName::SnapshotTemp(zxid) }]);
        out.push(Output::Event(Event::SnapshotBegun { zxid }));
        let ticket = self.bulk_ticket;
        let mut writing = Writing { zxid, digest, writer, stage: Stage::Nodes, ticket };
        self.write_slice(&mut writing, slice, tree, out);
        self.snapshot = Some(writing);
    }

    fn ticket(&mut self) -> Ticket {
        self.bulk_ticket.0 += 1;
        self.bulk_ticket
    }

    /// Writes the next nodes behind `slice`, and what follows the last.
    fn write_slice(&mut self, w: &mut Writing, mut slice: BytesMut, tree: &mut Tree, out: &mut Vec<Output>) {
        if tree.image_slice(SNAPSHOT_SLICE, &mut slice) {
            w.writer.end(w.zxid, w.digest, &mut slice);
            w.stage = Stage::Sealed;
        } else {
            w.writer.add(&slice);
        }
        w.ticket = self.ticket();
        let file = FileName::SnapshotTemp(w.zxid);
        let bytes = slice.freeze();
        push(out, Lane::Bulk, [DiskOp::Append { file, bytes }, DiskOp::Sync { file, ticket: w.ticket }]);
    }

    /// What was handed over of the snapshot is durable.
    fn next_stage(&mut self, tree: &mut Tree, out: &mut Vec<Output>) {
        let mut w = self.snapshot.take().expect("one is on its way");
        let key = (w.zxid, Form::Plain);
        match w.stage {
            Stage::Nodes => self.write_slice(&mut w, BytesMut::with_capacity(SNAPSHOT_SLICE), tree, out),
            Stage::Sealed => {
                w.stage = Stage::Renamed;
                w.ticket = self.ticket();
                let (from, to) = (FileName::SnapshotTemp(w.zxid), FileName::Snapshot(w.zxid));
                let sync = DiskOp::SyncDir { dir: Dir::Data, ticket: w.ticket };
                push(out, Lane::Bulk, [DiskOp::Rename { from, to }, sync]);
                self.catalog.snapshots.insert(key, (w.writer.len(), Health::Unread));
            }
            Stage::Renamed => {
                self.catalog.snapshots.insert(key, (w.writer.len(), Health::Verified));
                out.push(Output::Event(Event::SnapshotDone { zxid: w.zxid, bytes: w.writer.len() }));
                return;
            }
        }
        self.snapshot = Some(w);
    }

    /// The bulk lane failed: a snapshot on its way is given up, and the next one is begun when it is due. Nothing was promised.
    pub fn bulk_failed(&mut self, fault: DiskFault, tree: &mut Tree, out: &mut Vec<Output>) {
        self.bulk_dead = true;
        let Some(w) = self.snapshot.take() else { return };
        tree.image_drop();
        // A create brings the lane back to life; it also gives back the space at once, if the disk is full.
        let file = FileName::SnapshotTemp(w.zxid);
        push(out, Lane::Bulk, [DiskOp::Create { file }, DiskOp::Remove { file }]);
        self.bulk_dead = false;
        out.push(Output::Event(Event::SnapshotFailed { fault }));
    }

    /// When [`Store::purge`] wants to be called.
    pub fn next_purge(&self) -> Option<Time> {
        self.purge_at
    }

    /// Removes the snapshots and logs that newer ones have made needless.
    pub fn purge(&mut self, now: Time, out: &mut Vec<Output>) {
        self.purge_at = Some(now + self.purge_every);
        if self.bulk_dead {
            return;
        }
        let files = self.catalog.purge(self.retain);
        if files.is_empty() {
            return;
        }
        out.push(Output::Event(Event::Purged { files: files.len() }));
        push(out, Lane::Bulk, files.into_iter().map(|file| DiskOp::Remove { file }));
        for dir in [Dir::Data, Dir::Log] {
            let ticket = self.ticket();
            push(out, Lane::Bulk, [DiskOp::SyncDir { dir, ticket }]);
        }
    }

    /// Bytes of the snapshots and of the logs.
    pub fn sizes(&self) -> (u64, u64) {
        self.catalog.sizes()
    }
}

#[cfg(test)]
mod tests;
