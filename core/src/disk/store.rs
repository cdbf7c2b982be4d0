//! Everything that a server writes: the log through the appender, snapshots in slices on the bulk lane, purges. Answers to
//! `SyncRequestProcessor`, `FileSnap.serialize` and `PurgeTxnLog`. Promises leave only when they are durable.
//!
//! A snapshot is an atomic image, written aside, synced slice by slice, renamed, and its folder synced; only then does anything
//! rely on it. It never holds what the log does not: the tree holds nothing that was not durable when it was applied.

use super::appender::{Appender, Install, LogIndex};
use super::catalog::{Catalog, Health};
use super::reader::{LogReader, LogStep};
use super::recover::{OnDisk, Recovered};
use super::snapshot::{Form, Whole, Writer, shown_digest};
use crate::boundary::EpochFile;
use crate::boundary::{Dir, DiskFault, DiskOp, Event, FileName, Lane, Output, ReadNo, Ticket, Vouch};
use crate::config::Config;
use crate::id::{Epoch, SessionId, Zxid};
use crate::proto::LoggedTxn;
use crate::rng::Rng;
use crate::session::Sessions;
use crate::time::{Span, Time};
use crate::tree::Tree;
use bytes::{Bytes, BytesMut};

/// Java keeps at least three snapshots, whatever the settings say.
const MIN_RETAINED: usize = 3;

/// The size of those allocations.
const CHUNK: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub struct Store {
    /// Bodies share its allocations.
    chunk: BytesMut,
    appender: Appender,
    catalog: Catalog,
    rng: Rng,
    snap_count: u64,
    snap_size: u64,
    log_size: u64,
    digests: bool,
    /// Bytes of a file that are written or read at once.
    piece: usize,
    retain: usize,
    purge_every: Span,
    /// When to purge next; `None`: never, or nothing is served yet.
    purge_at: Option<Time>,
    /// Transactions and bytes logged since the last snapshot was begun, and at how many the next one is.
    since: (u64, u64),
    due: (u64, u64),
    bulk_ticket: Ticket,
    bulk_durable: Ticket,
    snapshot: Option<Writing>,
    /// The bulk lane carries out nothing until a create.
    bulk_dead: bool,
    /// Of the newest snapshot's size, in thousandths: so much of the log is read for a learner.
    log_factor: Option<u64>,
    last_read: ReadNo,
    /// From this state on the log is known to be whole.
    log_base: Zxid,
    /// Entries up to here are known to be durable.
    held: Zxid,
}

/// What came of reading on in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogNews {
    /// A piece was asked for.
    Asked(ReadNo, usize),
    /// An entry.
    Entry {
        /// The one that it follows.
        before: Zxid,
        /// Its place.
        zxid: Zxid,
        /// TxnHeader, record, digest.
        body: Bytes,
    },
    /// More is on its way to the disk: look again when some of it is durable.
    Later,
    /// Nothing more can be read of it.
    End,
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
        let OnDisk {
            catalog,
            remove,
            cut,
            sync,
            needs_snapshot,
            replayed,
            base,
            places,
            epochs,
            adopt_epoch,
        } = disk;
        // What is below the first snapshot of our own is not gone back to.
        let base = if needs_snapshot { tree.last_zxid() } else { base };
        let mut store = Store {
            chunk: BytesMut::with_capacity(CHUNK),
            appender: Appender::new(last_zxid, LogIndex::new(base, tree.last_zxid(), places)),
            catalog,
            rng: Rng::new(seed),
            snap_count: config.snap_count.max(1),
            snap_size: config.snap_size_limit,
            log_size: config.log_size_limit,
            digests: config.digest_enabled,
            piece: config.piece,
            retain: config.snap_retain_count.max(MIN_RETAINED),
            purge_every: Span::from_millis(config.purge_interval_h.saturating_mul(3_600_000)),
            purge_at: None,
            since: replayed,
            due: (0, 0),
            bulk_ticket: Ticket(0),
            bulk_durable: Ticket(0),
            snapshot: None,
            bulk_dead: false,
            log_factor: config.ensemble.as_ref().and_then(|e| e.snapshot_size_factor),
            last_read: ReadNo(0),
            log_base: base,
            held: Zxid::ZERO,
        };
        store.set_due();
        push(out, Lane::Log, cut.map(|(file, len)| DiskOp::Truncate { file, len }));
        for file in sync {
            let ticket = store.appender.ticket();
            push(out, Lane::Log, [DiskOp::Sync { file, ticket }]);
        }
        let mut kept = None;
        if needs_snapshot {
            kept = Some(FileName::Snapshot(tree.last_zxid()));
            store.first_snapshot(&mut tree, &sessions, out);
        }
        if adopt_epoch {
            store.appender.adopt_epoch(out);
        }
        for (file, epoch) in epochs {
            store.appender.put_epoch(file, epoch, out);
        }
        let remove = remove.into_iter().filter(|file| Some(*file) != kept);
        push(out, Lane::Log, remove.map(|file| DiskOp::Remove { file }));
        store.appender.sync_dir(Dir::Data, out);
        store.appender.sync_dir(Dir::Log, out);
        store.appender.opened(last_zxid);
        (tree, store)
    }

    /// The snapshot without which there must be no log, all at once and in the log lane.
    fn first_snapshot(&mut self, tree: &mut Tree, sessions: &[(SessionId, i32)], out: &mut Vec<Output>) {
        let whole = Whole::of(tree, sessions.iter().copied(), self.digests, self.piece);
        self.catalog.snapshots.insert((whole.zxid, Form::Plain), (whole.len, Health::Verified));
        self.appender.put_snapshot(whole, out);
    }

    /// The body of a transaction: header, record, digest.
    pub fn encode(&mut self, txn: &LoggedTxn) -> Bytes {
        txn.encode(&mut self.chunk);
        self.chunk.split().freeze()
    }

    /// Queues a transaction for the log.
    pub fn append(&mut self, zxid: Zxid, body: Bytes) {
        self.since.0 += 1;
        self.since.1 += self.appender.append(zxid, &body) as u64;
        if self.log_size > 0 && self.appender.file_len() > self.log_size {
            self.appender.roll();
        }
    }

    /// Holds a promise back until all that was asked for before it is durable. [`Store::durable`] tells, in order.
    pub fn park(&mut self, vouch: Vouch) {
        self.appender.park(vouch);
    }

    /// The role is over: nobody waits for its promises any more. [`Vouch::Recovered`] is no role's.
    pub fn forget_parked(&mut self) {
        self.appender.forget_parked();
    }

    /// Writes an epoch file behind all that was asked for before.
    pub fn write_epoch(&mut self, file: EpochFile, epoch: Epoch, out: &mut Vec<Output>) {
        self.appender.write_epoch(file, epoch);
        self.flush(out);
    }

    /// Cuts off every entry above `to`, which is not below what the tree holds, behind all that was asked for before. The log goes
    /// on in a new file.
    pub fn truncate(&mut self, to: Zxid, out: &mut Vec<Output>) {
        self.held = self.held.min(to);
        self.appender.truncate(to);
        self.flush(out);
    }

    /// Makes a leader's snapshot the base, behind all that was asked for before: `tree` holds it, up to `zxid`, with these
    /// sessions. The log goes on behind it in a new file.
    pub fn install(
        &mut self,
        tree: &mut Tree,
        sessions: impl ExactSizeIterator<Item = (SessionId, i32)>,
        zxid: Zxid,
        out: &mut Vec<Output>,
    ) {
        assert_eq!(tree.last_zxid(), zxid, "the tree is not the snapshot's");
        tree.image_drop();
        (self.held, self.log_base) = (Zxid::ZERO, zxid);
        let leftover = self.snapshot.take().map(|w| FileName::SnapshotTemp(w.zxid));
        let whole = Whole::of(tree, sessions, self.digests, self.piece);
        self.appender.install(Install { whole, leftover });
        self.since = (0, 0);
        self.flush(out);
    }

    /// Ends a step: hands over what was appended, with one sync.
    pub fn flush(&mut self, out: &mut Vec<Output>) {
        let quiet = self.bulk_is_quiet();
        self.appender.flush(&mut self.catalog, quiet, out);
    }

    /// Nothing in the bulk lane is under way.
    fn bulk_is_quiet(&self) -> bool {
        self.bulk_dead || self.bulk_durable == self.bulk_ticket
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
                self.appender.durable(upto, tree.last_zxid(), vouches);
                for vouch in vouches.iter() {
                    if let Vouch::OwnAck(zxid) | Vouch::Ack(zxid) | Vouch::Recovered(zxid) = vouch {
                        self.held = self.held.max(*zxid);
                    }
                }
                // The first purge is at the start, as in Java: when what it relies on is safe.
                if self.purge_every > Span::ZERO && vouches.iter().any(|v| matches!(v, Vouch::Recovered(_))) {
                    self.purge_at = Some(now);
                }
            }
            Lane::Bulk => {
                self.bulk_durable = self.bulk_durable.max(upto);
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
        // A snapshot must not be there before what it stands on; nor must its temporary file come back behind a purge that fails.
        if !self.appender.is_settled() || (self.snapshot.is_none() && !self.bulk_is_quiet()) {
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
        let digest = shown_digest(self.digests, &image);
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
        if tree.image_slice(self.piece, &mut slice) {
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
            Stage::Nodes => self.write_slice(&mut w, BytesMut::with_capacity(self.piece), tree, out),
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
        let ticket = self.ticket();
        let sync = DiskOp::SyncDir { dir: Dir::Data, ticket };
        push(out, Lane::Bulk, [DiskOp::Create { file }, DiskOp::Remove { file }, sync]);
        self.bulk_dead = false;
        out.push(Output::Event(Event::SnapshotFailed { fault }));
    }

    /// A snapshot is on its way: the tree's one image is taken.
    pub fn is_writing_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    /// When [`Store::purge`] wants to be called.
    pub fn next_purge(&self) -> Option<Time> {
        self.purge_at
    }

    /// Removes the snapshots and logs that newer ones have made needless.
    pub fn purge(&mut self, now: Time, out: &mut Vec<Output>) {
        self.purge_at = Some(now + self.purge_every);
        if self.bulk_dead || !self.appender.is_settled() {
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

    /// Begins to read what the log holds above `after`, for a learner; `None`: a snapshot is the better way. Answers to
    /// `ZKDatabase.calculateTxnLogSizeLimit`.
    pub fn read_log(&self, after: Zxid) -> Option<LogReader> {
        let factor = self.log_factor.filter(|_| self.appender.is_settled())?;
        let whole = |(_, (_, health)): &(_, &(u64, Health))| *health != Health::Bad;
        let (_, (newest, _)) = self.catalog.snapshots.iter().rev().find(whole)?;
        let allowance = (factor > 0).then(|| newest.saturating_mul(factor) / 1000);
        if after < self.log_base {
            return None;
        }
        LogReader::new(&self.catalog, (after, self.log_base), allowance, self.piece)
    }

    /// Reads on.
    pub fn read_on(&mut self, reader: &mut LogReader, out: &mut Vec<Output>) -> LogNews {
        match reader.step(&self.catalog) {
            LogStep::Entry { before, zxid, body } => LogNews::Entry { before, zxid, body },
            LogStep::Piece { file, at, len } => {
                self.last_read.0 += 1;
                let read = self.last_read;
                out.push(Output::Read { read, file, at, len });
                LogNews::Asked(read, len)
            }
            LogStep::End if self.may_follow(reader) => {
                reader.again();
                LogNews::Later
            }
            LogStep::End | LogStep::Unfit => LogNews::End,
        }
    }

    /// Of what was logged when the reader came to its end, some is still on its way to the disk.
    fn may_follow(&self, reader: &mut LogReader) -> bool {
        let fence = *reader.fence.get_or_insert(self.appender.last_zxid());
        self.held < fence && !self.appender.is_durable()
    }

    /// Bytes of the snapshots and of the logs.
    pub fn sizes(&self) -> (u64, u64) {
        self.catalog.sizes()
    }
}

#[cfg(test)]
mod members;
#[cfg(test)]
mod tests;
