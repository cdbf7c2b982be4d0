//! Where in the log those entries lie that may still be cut off. Knows no bytes.

use crate::id::Zxid;
use std::collections::VecDeque;

/// Where an entry begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::disk) struct Place {
    pub(in crate::disk) zxid: Zxid,
    /// The file, by its first zxid.
    pub(in crate::disk) file: Zxid,
    pub(in crate::disk) at: u64,
}

/// The places of all entries above what is known to be history.
///
/// It is bounded by what may be logged without being committed: what the tree holds is forgotten. Only what recovery has put
/// into the tree is kept until a leader has delivered something on top of it, since no one has said so far that all of it
/// is history: a snapshot that replaces it may lie below it.
#[derive(Debug)]
pub(in crate::disk) struct LogIndex {
    /// Nothing up to here can be found any more.
    held: Zxid,
    /// Where recovery left the tree, until it has moved.
    recovered: Option<Zxid>,
    /// Above `held`, ascending.
    places: VecDeque<Place>,
}

impl LogIndex {
    /// After a snapshot of `base`, and recovery up to `tree`.
    pub(in crate::disk) fn new(base: Zxid, tree: Zxid, places: Vec<Place>) -> LogIndex {
        LogIndex { held: base, recovered: Some(tree), places: places.into() }
    }

    /// Nothing above it can have been forgotten.
    pub(in crate::disk) fn held(&self) -> Zxid {
        self.held
    }

    pub(super) fn push(&mut self, place: Place) {
        self.places.push_back(place);
    }

    /// The tree holds `tree`, and whatever it holds is history.
    pub(super) fn settle(&mut self, tree: Zxid) {
        if self.recovered == Some(tree) {
            return;
        }
        self.recovered = None;
        while self.places.pop_front_if(|p| p.zxid <= tree).is_some() {}
        self.held = self.held.max(tree);
    }

    /// Forgets all above `to`; where the first of them begins.
    pub(super) fn cut(&mut self, to: Zxid) -> Option<Place> {
        let from = self.places.partition_point(|p| p.zxid <= to);
        let first = self.places.get(from).copied();
        self.places.truncate(from);
        first
    }
}
