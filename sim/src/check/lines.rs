//! Histories as one tree: every entry that was ever proposed hangs below the one that its leader's log held before it. A
//! server's log is then one entry, its last; that one history begins another is a question of depth. Walks are as long as
//! what the two differ by.

use super::model::Place;
use zebu_core::id::Zxid;
use zebu_core::time::Time;

/// An entry of the tree.
pub(super) type LineId = u32;

/// Before everything.
pub(super) const ROOT: LineId = 0;

#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) zxid: Zxid,
    pub(super) parent: LineId,
    /// How many entries its history has.
    pub(super) depth: u32,
    pub(super) place: Place,
    /// When it was first told of.
    pub(super) born: Time,
}

/// All entries.
#[derive(Default, Debug)]
pub(super) struct Lines {
    lines: Vec<Line>,
    /// By zxid.
    order: Vec<LineId>,
}

impl Lines {
    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.order.clear();
        let (zxid, place, born) = (Zxid::ZERO, Place::Tail(0), Time(0));
        self.lines.push(Line { zxid, parent: ROOT, depth: 0, place, born });
    }

    pub(super) fn get(&self, id: LineId) -> &Line {
        &self.lines[id as usize]
    }

    pub(super) fn zxid(&self, id: LineId) -> Zxid {
        self.get(id).zxid
    }

    pub(super) fn find(&self, zxid: Zxid) -> Option<LineId> {
        if zxid == Zxid::ZERO {
            return Some(ROOT);
        }
        self.order.binary_search_by_key(&zxid, |id| self.zxid(*id)).ok().map(|at| self.order[at])
    }

    /// A new entry; there must be none of this zxid.
    pub(super) fn add(&mut self, zxid: Zxid, parent: LineId, place: Place, born: Time) -> LineId {
        let id = self.lines.len() as LineId;
        let depth = self.get(parent).depth + 1;
        self.lines.push(Line { zxid, parent, depth, place, born });
        let at = self.order.partition_point(|o| self.lines[*o as usize].zxid < zxid);
        self.order.insert(at, id);
        id
    }

    fn up(&self, mut id: LineId, depth: u32) -> LineId {
        while self.get(id).depth > depth {
            id = self.get(id).parent;
        }
        id
    }

    /// The history that ends with `tip` has this entry.
    pub(super) fn holds(&self, tip: LineId, id: LineId) -> bool {
        self.up(tip, self.get(id).depth) == id
    }

    /// Where two histories part.
    pub(super) fn common(&self, mut a: LineId, mut b: LineId) -> LineId {
        let depth = self.get(a).depth.min(self.get(b).depth);
        (a, b) = (self.up(a, depth), self.up(b, depth));
        while a != b {
            (a, b) = (self.get(a).parent, self.get(b).parent);
        }
        a
    }

    /// What is left of a history without what lies above `to`.
    pub(super) fn cut(&self, mut tip: LineId, to: Zxid) -> LineId {
        while self.zxid(tip) > to {
            tip = self.get(tip).parent;
        }
        tip
    }

    /// The entries of `tip`'s history below `from`, which it holds, oldest first.
    pub(super) fn path(&self, from: LineId, mut tip: LineId) -> Vec<LineId> {
        let mut path = Vec::new();
        while tip != from {
            path.push(tip);
            tip = self.get(tip).parent;
        }
        path.reverse();
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_part_and_hold_each_other() {
        let mut l = Lines::default();
        l.clear();
        let mut add = |e, c, parent| l.add(Zxid::new(e, c), parent, Place::Tail(0), Time(0));
        let a = add(1, 1, ROOT);
        let b = add(1, 2, a);
        let d = add(2, 1, a);
        let c = add(1, 3, b);
        assert_eq!((l.find(Zxid::new(1, 3)), l.find(Zxid::new(2, 1))), (Some(c), Some(d)));
        assert_eq!((l.find(Zxid::ZERO), l.find(Zxid::new(2, 2))), (Some(ROOT), None));
        assert!(l.holds(c, a) && l.holds(c, c) && l.holds(d, a) && l.holds(a, ROOT));
        assert!(!l.holds(d, b) && !l.holds(a, b));
        assert_eq!((l.common(c, d), l.common(c, b), l.common(d, ROOT)), (a, b, ROOT));
        assert_eq!(
            (l.cut(c, Zxid::new(1, 2)), l.cut(d, Zxid::new(1, 9)), l.cut(c, Zxid::ZERO)),
            (b, a, ROOT)
        );
        assert_eq!((l.path(a, c), l.path(c, c)), (vec![b, c], vec![]));
    }
}
