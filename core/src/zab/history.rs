//! What a server holds of the history: its epochs, and the end of its log in memory. Answers to `acceptedEpoch` and
//! `currentEpoch` of `QuorumPeer` and to `committedLog` of `ZKDatabase`. It is what the disk will hold when all that was
//! asked of it is done; it outlives the roles.

use super::{EpochFile, ZabOut};
use crate::id::{Epoch, ServerId, Zxid};
use bytes::Bytes;
use std::collections::VecDeque;

/// How much delivered history is kept for learners that lack it. What is not delivered yet is always kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowLimits {
    /// Transactions: `zookeeper.commitLogCount`.
    pub txns: usize,
    /// Their bytes.
    pub bytes: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) zxid: Zxid,
    pub(super) body: Bytes,
}

/// A server's epochs and the end of its log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct History {
    accepted: Epoch,
    current: Epoch,
    /// The state before the first entry: an entry's zxid, or a snapshot's.
    base: Zxid,
    /// All that was logged after `base`, without a gap.
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Of those, bytes that the tree does not hold yet.
    waiting: usize,
    limits: WindowLimits,
    /// The tree holds everything up to here and nothing beyond.
    delivered: Zxid,
    /// The leader of this epoch asked for what cannot be done: only a snapshot helps.
    snapshot_wanted: Option<Epoch>,
    /// The highest epoch heard of: the next one to be proposed is higher.
    heard: Epoch,
}

impl History {
    /// What recovery found: the tree's state, and what was logged after it. Of that it is not known whether it is committed.
    pub fn recovered(
        accepted: Epoch,
        current: Epoch,
        tree: Zxid,
        tail: impl IntoIterator<Item = (Zxid, Bytes)>,
        limits: WindowLimits,
    ) -> History {
        let mut history = History {
            accepted: accepted.max(current),
            current,
            base: tree,
            entries: VecDeque::new(),
            bytes: 0,
            waiting: 0,
            limits,
            delivered: tree,
            snapshot_wanted: None,
            heard: accepted,
        };
        for (zxid, body) in tail {
            history.push(zxid, body);
        }
        history
    }

    /// The last epoch promised to be followed.
    pub fn accepted(&self) -> Epoch {
        self.accepted
    }
    /// The epoch whose initial history this server held last.
    pub fn current(&self) -> Epoch {
        self.current
    }
    /// The last zxid logged, or of the snapshot: what a vote says.
    pub fn last(&self) -> Zxid {
        self.entries.back().map_or(self.base, |e| e.zxid)
    }
    /// What the tree holds.
    pub fn delivered(&self) -> Zxid {
        self.delivered
    }
    /// What can be sent goes back to here.
    pub fn base(&self) -> Zxid {
        self.base
    }
    pub(super) fn heard(&self) -> Epoch {
        self.heard.max(self.accepted)
    }
    pub(super) fn hear(&mut self, epoch: Epoch) {
        self.heard = self.heard.max(epoch);
    }
    pub(super) fn snapshot_wanted(&self) -> Option<Epoch> {
        self.snapshot_wanted
    }
    pub(super) fn want_snapshot(&mut self, of: Epoch) {
        self.snapshot_wanted = Some(of);
    }

    pub(super) fn accept(&mut self, epoch: Epoch, out: &mut Vec<ZabOut>) {
        assert!(epoch >= self.accepted, "acceptedEpoch goes back from {} to {epoch}", self.accepted);
        if epoch > self.accepted {
            self.accepted = epoch;
            out.push(ZabOut::WriteEpoch { file: EpochFile::Accepted, epoch });
        }
    }

    pub(super) fn begin_epoch(&mut self, epoch: Epoch, out: &mut Vec<ZabOut>) {
        assert!(epoch >= self.current && epoch <= self.accepted, "currentEpoch {epoch} out of order");
        if epoch > self.current {
            self.current = epoch;
            out.push(ZabOut::WriteEpoch { file: EpochFile::Current, epoch });
        }
    }

    fn push(&mut self, zxid: Zxid, body: Bytes) {
        assert!(zxid > self.last(), "{zxid} logged after {}", self.last());
        self.bytes += body.len();
        self.waiting += body.len();
        self.entries.push_back(Entry { zxid, body });
    }

    pub(super) fn append(&mut self, zxid: Zxid, body: Bytes, out: &mut Vec<ZabOut>) {
        self.push(zxid, body.clone());
        out.push(ZabOut::Append { zxid, body });
    }

    /// Cuts off what lies above `to`, which the tree does not hold.
    pub(super) fn truncate(&mut self, to: Zxid, out: &mut Vec<ZabOut>) {
        assert!(to >= self.delivered, "{to} lies below {}, which was delivered", self.delivered);
        while self.entries.back().is_some_and(|e| e.zxid > to) {
            let entry = self.entries.pop_back().expect("just seen");
            self.bytes -= entry.body.len();
            self.waiting -= entry.body.len();
        }
        out.push(ZabOut::Truncate { to });
    }

    /// A snapshot and what follows it take the place of everything.
    pub(super) fn install(&mut self, zxid: Zxid, txns: Vec<(Zxid, Bytes)>, out: &mut Vec<ZabOut>) {
        self.entries.clear();
        (self.base, self.bytes) = (zxid, 0);
        self.snapshot_wanted = None;
        for (zxid, body) in &txns {
            self.push(*zxid, body.clone());
        }
        (self.delivered, self.waiting) = (self.last(), 0);
        out.push(ZabOut::Install { upto: self.delivered, txns });
        self.trim();
    }

    fn index_after(&self, zxid: Zxid) -> usize {
        self.entries.partition_point(|e| e.zxid <= zxid)
    }

    /// Everything after `zxid`, oldest first.
    pub(super) fn after(&self, zxid: Zxid) -> impl Iterator<Item = &Entry> {
        self.entries.range(self.index_after(zxid)..)
    }

    /// The largest zxid of this history that is not above `zxid`; `base` stands for all that lies before it.
    pub(super) fn at_or_before(&self, zxid: Zxid) -> Zxid {
        match self.index_after(zxid) {
            0 => self.base,
            n => self.entries[n - 1].zxid,
        }
    }

    /// The oldest transaction that the tree does not hold yet.
    pub(super) fn next_to_deliver(&self) -> Option<Zxid> {
        self.entries.get(self.index_after(self.delivered)).map(|e| e.zxid)
    }

    /// Number and bytes of the transactions that the tree does not hold yet.
    pub(super) fn undelivered(&self) -> (usize, usize) {
        (self.entries.len() - self.index_after(self.delivered), self.waiting)
    }

    /// Hands everything up to `upto` to the tree. `designated` belongs to the last one.
    pub(super) fn deliver(&mut self, upto: Zxid, designated: Option<ServerId>, out: &mut Vec<ZabOut>) {
        let (from, to) = (self.index_after(self.delivered), self.index_after(upto));
        for (i, e) in self.entries.range(from..to.max(from)).enumerate() {
            let designated = if from + i + 1 == to { designated } else { None };
            out.push(ZabOut::Deliver { zxid: e.zxid, body: e.body.clone(), designated });
            self.delivered = e.zxid;
            self.waiting -= e.body.len();
        }
        self.trim();
    }

    /// Forgets the oldest of what is delivered, as far as the limits ask for it.
    fn trim(&mut self) {
        while (self.entries.len() > self.limits.txns || self.bytes > self.limits.bytes)
            && let Some(first) = self.entries.front()
            && first.zxid <= self.delivered
        {
            self.base = first.zxid;
            self.bytes -= first.body.len();
            self.entries.pop_front();
        }
    }
}
