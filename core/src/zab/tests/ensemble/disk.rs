//! A disk that loses what it has not finished: a sequence of operations, of which a crash keeps a prefix.

use crate::boundary::Vouch;
use crate::id::{Epoch, Zxid};
use crate::zab::EpochFile;
use std::collections::VecDeque;
use std::rc::Rc;

/// A history as a list: zxid and payload of every transaction since the beginning.
pub(super) type List = Vec<(Zxid, u64)>;

#[derive(Clone, Debug)]
pub(super) enum Op {
    Append(Zxid, u64),
    Epoch(EpochFile, Epoch),
    Truncate(Zxid),
    Install(Zxid, Rc<List>),
    /// A snapshot of its own; `purge`: what lies before it goes.
    Snapshot(Zxid, Rc<List>, bool),
}

/// What recovery would find.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) accepted: Epoch,
    pub(super) current: Epoch,
    snapshots: Vec<(Zxid, Rc<List>)>,
    log: List,
}

impl Image {
    pub(super) fn new() -> Image {
        let snapshots = vec![(Zxid::ZERO, Rc::default())];
        Image { accepted: Epoch(0), current: Epoch(0), snapshots, log: Vec::new() }
    }

    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Append(zxid, body) => {
                let last = self.last();
                let follows = if Epoch::of(last) == Epoch::of(*zxid) {
                    zxid.0 == last.0 + 1
                } else {
                    *zxid > last && zxid.counter() == 1
                };
                assert!(follows, "D4: {zxid} logged after {last}");
                self.log.push((*zxid, *body));
            }
            Op::Epoch(EpochFile::Accepted, e) => {
                assert!(*e > self.accepted, "D2: acceptedEpoch goes back");
                self.accepted = *e;
            }
            Op::Epoch(EpochFile::Current, e) => {
                assert!(*e > self.current, "D2: currentEpoch goes back");
                self.current = *e;
                assert!(self.current <= self.accepted, "D2: currentEpoch beyond acceptedEpoch");
            }
            Op::Truncate(to) => {
                self.log.retain(|(z, _)| z <= to);
                self.snapshots.retain(|(z, _)| z <= to);
                assert!(!self.snapshots.is_empty(), "truncated below everything");
            }
            Op::Install(zxid, list) => {
                self.log.clear();
                self.snapshots = vec![(*zxid, list.clone())];
            }
            Op::Snapshot(zxid, list, purge) => {
                if *purge {
                    self.snapshots.clear();
                    self.log.retain(|(z, _)| z > zxid);
                }
                self.snapshots.push((*zxid, list.clone()));
            }
        }
    }

    pub(super) fn last(&self) -> Zxid {
        let snapshot = self.newest().0;
        self.log.last().map_or(snapshot, |(z, _)| (*z).max(snapshot))
    }
    pub(super) fn newest(&self) -> &(Zxid, Rc<List>) {
        self.snapshots.last().expect("there is always one")
    }
    /// The last entry of the log that is not above `zxid`, and the one that follows it.
    pub(super) fn log_around(&self, zxid: Zxid) -> (Option<Zxid>, Option<(Zxid, u64)>) {
        let at = self.log.partition_point(|(z, _)| *z <= zxid);
        (at.checked_sub(1).map(|i| self.log[i].0), self.log.get(at).copied())
    }
    /// Entries that recovery may hold back: those above the newest snapshot.
    pub(super) fn log_len(&self) -> u64 {
        self.log.iter().filter(|(z, _)| *z > self.newest().0).count() as u64
    }
    /// Everything, the last `held_back` entries apart.
    pub(super) fn split(&self, held_back: usize) -> (List, List) {
        let mut tree = self.full();
        let tail = tree.split_off(tree.len() - held_back);
        (tree, tail)
    }
    /// Everything.
    pub(super) fn full(&self) -> List {
        let (name, list) = self.newest();
        list.iter().copied().chain(self.log.iter().filter(|(z, _)| z > name).copied()).collect()
    }
    pub(super) fn holds(&self, entry: (Zxid, u64)) -> bool {
        self.log.contains(&entry) || self.newest().1.contains(&entry)
    }
}

/// A disk: what is on it for good, what has been asked for, what waits for it.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub(super) durable: Image,
    /// With everything that was asked for.
    pub(super) cache: Image,
    queue: VecDeque<Op>,
    done: u64,
    parked: VecDeque<(u64, Vouch)>,
}

impl Disk {
    pub(super) fn new() -> Disk {
        let image = Image::new();
        Disk {
            durable: image.clone(),
            cache: image,
            queue: VecDeque::new(),
            done: 0,
            parked: VecDeque::new(),
        }
    }
    pub(super) fn ask(&mut self, op: Op) {
        self.cache.apply(&op);
        self.queue.push_back(op);
    }
    pub(super) fn park(&mut self, vouch: Vouch) {
        self.parked.push_back((self.done + self.queue.len() as u64, vouch));
    }
    pub(super) fn forget_parked(&mut self) {
        self.parked.clear();
    }
    pub(super) fn is_busy(&self) -> bool {
        !self.queue.is_empty() || !self.parked.is_empty()
    }
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }
    /// More than entries is waiting: what stands in which order matters.
    pub(super) fn has_order(&self) -> bool {
        self.queue.iter().any(|op| !matches!(op, Op::Append(..)))
    }
    /// The next operation, done by this.
    pub(super) fn finish_one(&mut self) -> Option<Op> {
        let op = self.queue.pop_front()?;
        self.done += 1;
        self.durable.apply(&op);
        Some(op)
    }
    /// A promise that may be made.
    pub(super) fn released(&mut self) -> Option<Vouch> {
        let (at, vouch) = *self.parked.front()?;
        (at <= self.done).then(|| {
            self.parked.pop_front();
            vouch
        })
    }
    /// The rest of the queue is gone.
    pub(super) fn lose_rest(&mut self) {
        self.queue.clear();
        self.parked.clear();
        self.cache = self.durable.clone();
    }
}
