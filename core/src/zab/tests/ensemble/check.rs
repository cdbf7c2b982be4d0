//! The invariants: Z1 to Z6, D1, D2, D4 of ZAB as rules over what the servers do and what their disks hold.

use super::disk::{Image, List};
use crate::id::{Epoch, Zxid};
use std::collections::BTreeMap;

/// What is known of the whole ensemble.
#[derive(Clone, Debug, Default)]
pub(super) struct Ghost {
    /// C: the committed history.
    pub(super) committed: List,
    proposed: BTreeMap<Zxid, u64>,
    /// Who established an epoch, in which life, and with what history.
    established: BTreeMap<Epoch, ((usize, u64), List)>,
    activated: BTreeMap<Epoch, (usize, u64)>,
}

fn is_prefix(a: &List, b: &List) -> bool {
    a.len() <= b.len() && a[..] == b[..a.len()]
}

impl Ghost {
    /// Z2.
    pub(super) fn proposed(&mut self, epoch: Epoch, last: Zxid, zxid: Zxid, body: u64) {
        assert_eq!(Epoch::of(zxid), epoch, "Z2: {zxid} proposed in epoch {epoch}");
        assert_eq!(zxid.0, last.0 + 1, "Z2: {zxid} proposed after {last}");
        let old = self.proposed.insert(zxid, body);
        assert_eq!(old, None, "Z2: {zxid} proposed twice");
    }

    /// Z1 and Z5 at the quorum of ACKEPOCHs.
    pub(super) fn established(&mut self, who: (usize, u64), epoch: Epoch, history: List) {
        // One whose followers have left for a later epoch may still find its quorum among their old answers; it can have
        // no quorum of NEWLEADER acks any more.
        if !self.is_superseded(epoch) {
            self.complete(epoch, &history);
        }
        let old = self.established.insert(epoch, (who, history));
        assert!(old.is_none(), "Z1: epoch {epoch} established by {old:?} and by {who:?}");
    }

    /// A later epoch has begun.
    fn is_superseded(&self, epoch: Epoch) -> bool {
        self.activated.last_key_value().is_some_and(|(e, _)| *e > epoch)
    }

    /// Z5: what was committed in earlier epochs is in the leader's history.
    fn complete(&self, epoch: Epoch, history: &List) {
        let earlier = self.committed.partition_point(|(z, _)| *z < epoch.start());
        let earlier = &self.committed[..earlier];
        assert!(history.len() >= earlier.len() && history[..earlier.len()] == *earlier, "Z5: epoch {epoch}");
    }

    /// Z1, Z5 and Z6 at the quorum of NEWLEADER acks; the leader's history is committed from here on.
    pub(super) fn activated(&mut self, who: (usize, u64), epoch: Epoch, history: &List, voters: &[&Image]) {
        self.complete(epoch, history);
        let old = self.activated.insert(epoch, who);
        assert!(old.is_none(), "Z1: epoch {epoch} activated by {old:?} and by {who:?}");
        assert_eq!(self.established[&epoch].0, who, "Z1: epoch {epoch} activated by another");
        let holders = voters.iter().filter(|i| i.current >= epoch && is_prefix(history, &i.full())).count();
        assert!(holders > voters.len() / 2, "Z6: epoch {epoch} begins with {holders} holders");
        if is_prefix(&self.committed, history) {
            let more = &history[self.committed.len()..];
            self.committed.extend_from_slice(more);
        } else {
            assert!(is_prefix(history, &self.committed), "Z5: epoch {epoch} begins beside the history");
        }
    }

    /// Z4 and Z6 at a commit.
    pub(super) fn commits(&mut self, zxid: Zxid, acks: &[&Image], voters: usize) {
        let body = *self.proposed.get(&zxid).expect("Z2: committed without a proposal");
        let last = self.committed.last().map_or(Zxid::ZERO, |(z, _)| *z);
        let follows = match Epoch::of(last) == Epoch::of(zxid) {
            true => zxid.0 == last.0 + 1,
            false => zxid > last && zxid.counter() == 1,
        };
        let epoch = Epoch::of(zxid);
        // A deposed leader may still collect acks of what has become history without it.
        let late = self.is_superseded(epoch) && self.committed.binary_search(&(zxid, body)).is_ok();
        assert!(follows || late, "Z4: {zxid} committed after {last}");
        let holders = acks.iter().filter(|i| i.current >= epoch && i.holds((zxid, body))).count();
        assert!(holders > voters / 2, "Z6: {zxid} committed with {holders} holders of {voters}");
        if !late {
            self.committed.push((zxid, body));
        }
    }

    /// Z3 for one more transaction of a server that serves.
    pub(super) fn serves(&self, tree: &List) {
        let n = tree.len();
        assert!(n <= self.committed.len(), "Z3: applied beyond what is committed: {:?}", tree.last());
        if n > 0 {
            assert_eq!(tree[n - 1], self.committed[n - 1], "Z3");
        }
    }

    /// Z3 for all of it.
    pub(super) fn begins_to_serve(&self, tree: &List) {
        assert!(is_prefix(tree, &self.committed), "Z3: {tree:?} is no part of {:?}", self.committed);
    }

    /// D1 for the ACK of NEWLEADER.
    pub(super) fn acks_new_leader(&self, epoch: Epoch, image: &Image, tree: &List) {
        assert!(image.current >= epoch, "D1: NEWLEADER {epoch} acked before currentEpoch is durable");
        let full = image.full();
        assert!(is_prefix(tree, &full), "D1: NEWLEADER {epoch} acked before its history is durable");
        assert!(is_prefix(&self.established[&epoch].1, &full), "D1: epoch {epoch} without its history");
    }

    /// D2 when currentEpoch becomes durable.
    pub(super) fn current_is(&self, image: &Image) {
        let initial = &self.established.get(&image.current).expect("D2: an epoch of nobody").1;
        assert!(is_prefix(initial, &image.full()), "D2: epoch {} without its history", image.current);
    }

    /// After a history was cut or replaced: a quorum still holds all that is committed, and whoever has an epoch that
    /// clients have seen holds what it began with.
    pub(super) fn replaced(&self, image: &Image, voters: &[&Image]) {
        let holders = voters.iter().filter(|i| is_prefix(&self.committed, &i.full())).count();
        assert!(holders > voters.len() / 2, "Z5: cut, and only {holders} hold what is committed");
        if self.activated.contains_key(&image.current) {
            let initial = &self.established[&image.current].1;
            assert!(is_prefix(initial, &image.full()), "D2: epoch {} lost its history", image.current);
        }
    }
}
