//! Proposals that a learner holds back: not logged before they are committed or the learner is up to date. Answers to
//! `packetsNotLogged` and `packetsCommitted` of `Learner.syncWithLeader`.

use super::history::History;
use super::{Lost, ZabOut};
use crate::boundary::Vouch;
use crate::id::{Epoch, ServerId, Zxid};
use crate::limits;
use crate::quorum::LearnerType;
use bytes::Bytes;
use std::collections::VecDeque;

#[derive(Clone, PartialEq, Eq, Debug)]
struct Held {
    zxid: Zxid,
    body: Bytes,
    /// Of a committed reconfiguration: who leads from there on.
    designated: Option<ServerId>,
}

/// Proposals in order, the first of them perhaps committed already.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Pending {
    held: VecDeque<Held>,
    bytes: usize,
    committed: usize,
    /// The history is about to be replaced by a snapshot of this name.
    snapshot: Option<Zxid>,
}

impl Pending {
    /// What follows a snapshot that came in.
    pub(super) fn on_snapshot(zxid: Zxid) -> Pending {
        Pending { snapshot: Some(zxid), ..Pending::default() }
    }

    /// The last zxid that the learner knows of.
    fn last(&self, history: &History) -> Zxid {
        let base = || self.snapshot.unwrap_or_else(|| history.last());
        self.held.back().map_or_else(base, |p| p.zxid)
    }

    /// A proposal in the epoch or of before it.
    pub(super) fn propose(
        &mut self,
        history: &History,
        epoch: Epoch,
        zxid: Zxid,
        body: Bytes,
    ) -> Result<(), Lost> {
        if !self.last(history).is_followed_by(zxid) || Epoch::of(zxid) > epoch {
            return Err(Lost::Gap(zxid));
        }
        self.bytes += body.len();
        let (txns, bytes) = history.undelivered();
        if txns + self.held.len() >= limits::PENDING_TXNS || bytes + self.bytes > limits::PENDING_BYTES {
            return Err(Lost::TooMuchPending);
        }
        self.held.push_back(Held { zxid, body, designated: None });
        Ok(())
    }

    /// The oldest one without a commit has one now.
    pub(super) fn commit(&mut self, zxid: Zxid, designated: Option<ServerId>) -> Result<(), Lost> {
        match self.held.get_mut(self.committed) {
            Some(p) if p.zxid == zxid => {
                p.designated = designated;
                self.committed += 1;
                Ok(())
            }
            Some(_) | None => Err(Lost::WrongCommit(zxid)),
        }
    }

    /// What the history will hold once the snapshot that came in has its place.
    pub(super) fn end_of_snapshot(&self) -> Option<Zxid> {
        let snapshot = self.snapshot?;
        Some(self.committed.checked_sub(1).map_or(snapshot, |last| self.held[last].zxid))
    }

    /// Puts the snapshot, with what is committed on it, in the place of the history, if there is one.
    pub(super) fn install(&mut self, history: &mut History, out: &mut Vec<ZabOut>) {
        let Some(zxid) = self.snapshot.take() else { return };
        let committed = self.held.drain(..std::mem::take(&mut self.committed));
        let txns: Vec<(Zxid, Bytes)> = committed.map(|p| (p.zxid, p.body)).collect();
        self.bytes -= txns.iter().map(|(_, body)| body.len()).sum::<usize>();
        history.install(zxid, txns, out);
    }

    /// Logs what is committed; on a snapshot it waits for the rest.
    pub(super) fn log_committed(&mut self, history: &mut History, out: &mut Vec<ZabOut>) {
        if self.snapshot.is_some() {
            return;
        }
        for p in self.held.drain(..std::mem::take(&mut self.committed)) {
            self.bytes -= p.body.len();
            history.append(p.zxid, p.body, out);
        }
    }

    /// The learner is up to date. A follower logs everything and promises each; an observer only what is committed. That is
    /// delivered.
    pub(super) fn log(self, history: &mut History, kind: LearnerType, out: &mut Vec<ZabOut>) {
        for (i, p) in self.held.into_iter().enumerate() {
            let committed = i < self.committed;
            match kind {
                LearnerType::Participant => {
                    history.append(p.zxid, p.body, out);
                    out.push(ZabOut::Park(Vouch::Ack(p.zxid)));
                }
                LearnerType::Observer if committed => history.append(p.zxid, p.body, out),
                LearnerType::Observer => return,
            }
            if committed {
                history.deliver(p.zxid, p.designated, out);
            }
        }
    }
}
