//! Acks of one thing, and the configurations that count for it. Answers to `SyncedLearnerTracker`.

use crate::id::ServerId;
use crate::quorum::QuorumView;
use std::collections::BTreeSet;

/// A vote under way. The configurations are those of its beginning, until the one proposed then is in force.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Ballot {
    view: QuorumView,
    acks: BTreeSet<ServerId>,
}

impl Ballot {
    pub(super) fn new(view: QuorumView) -> Ballot {
        Ballot { view, acks: BTreeSet::new() }
    }
    /// Counts a server, if it votes.
    pub(super) fn ack(&mut self, sid: ServerId) {
        if self.view.is_voter(sid) {
            self.acks.insert(sid);
        }
    }
    /// Counts it no longer.
    pub(super) fn forget(&mut self, sid: ServerId) {
        self.acks.remove(&sid);
    }
    /// Only these configurations count from here on.
    pub(super) fn go_by(&mut self, view: QuorumView) {
        self.acks.retain(|sid| view.is_voter(*sid));
        self.view = view;
    }
    pub(super) fn acks(&self) -> &BTreeSet<ServerId> {
        &self.acks
    }
    /// All quorums that are needed.
    pub(super) fn is_complete(&self) -> bool {
        self.view.has_all_quorums(&self.acks)
    }
}
