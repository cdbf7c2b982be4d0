//! A leader that serves: proposals out, acks in, commits in order. Answers to `Leader.propose`, `processAck`, `tryToCommit`
//! and `getDesignatedLeader`.

use super::ballot::Ballot;
use super::handler::{Identity, Kind, Stage};
use super::handlers::send;
use super::leader::{Leader, Phase};
use super::{Cause, Lost, ZabOut};
use crate::boundary::{Conn, Vouch};
use crate::id::{Epoch, ServerId, Zxid};
use crate::proto::FromLeader;
use crate::quorum::{QuorumVerifier, QuorumView};
use crate::time::Time;
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// What is under way in the epoch.
#[derive(Clone, Debug)]
pub(super) struct Broadcast {
    /// The last entry of history that is committed, perhaps of an earlier epoch.
    last_entry: Zxid,
    last_proposed: Zxid,
    /// Proposed and not committed, without a gap.
    outstanding: VecDeque<Proposal>,
    last_counter: u32,
    ending: Option<Ending>,
}

#[derive(Clone, Debug)]
struct Proposal {
    zxid: Zxid,
    body: Bytes,
    ballot: Ballot,
    /// It is a reconfiguration.
    reconfig: bool,
}

/// Nothing new is proposed; what is outstanding may still be committed.
#[derive(Clone, Copy, Debug)]
struct Ending {
    why: Lost,
    by: Time,
}

impl Broadcast {
    pub(super) fn new(epoch: Epoch, last_entry: Zxid, last_counter: u32) -> Broadcast {
        Broadcast {
            last_entry,
            last_proposed: epoch.start(),
            outstanding: VecDeque::new(),
            last_counter,
            ending: None,
        }
    }
    pub(super) fn last_proposed(&self) -> Zxid {
        self.last_proposed
    }
    pub(super) fn last_committed_entry(&self) -> Zxid {
        self.last_entry
    }
    pub(super) fn ends_by(&self) -> Option<Time> {
        self.ending.map(|e| e.by)
    }
    pub(super) fn forget_acks(&mut self, sid: ServerId) {
        self.outstanding.iter_mut().for_each(|p| p.ballot.forget(sid));
    }
    /// Everything up to there is committed.
    pub(super) fn has_committed(&self, zxid: Zxid) -> bool {
        self.outstanding.front().is_none_or(|p| p.zxid > zxid)
    }
    /// The outstanding proposal of this zxid.
    fn find(&mut self, zxid: Zxid) -> Option<&mut Proposal> {
        let first = self.outstanding.front()?.zxid;
        let at = usize::try_from(zxid.0.checked_sub(first.0)?).ok()?;
        self.outstanding.get_mut(at)
    }
    /// The epoch's zxids go to their end: soon, so that it may end when nothing is under way; or at once.
    fn is_used_up(&self) -> bool {
        let (used, last) = (self.last_proposed.counter(), self.last_counter);
        let quiet = self.outstanding.is_empty() && used >= last - (last / 16).max(1);
        quiet || used >= last - last / 256
    }
}

impl Leader {
    /// The zxid of the next proposal; `None`: nothing is taken now.
    pub fn next_zxid(&self) -> Option<Zxid> {
        self.last_proposed().filter(|_| self.room() > 0).map(Zxid::next)
    }

    /// So many proposals are taken now.
    pub fn room(&self) -> u32 {
        match &self.phase {
            Phase::Broadcast(b) if b.ending.is_none() => {
                b.last_counter.saturating_sub(b.last_proposed.counter())
            }
            Phase::Broadcast(_)
            | Phase::Discovery { .. }
            | Phase::Accepting
            | Phase::EpochAcks { .. }
            | Phase::Synchronizing { .. }
            | Phase::Over => 0,
        }
    }

    /// Proposals that are not committed yet.
    pub fn outstanding(&self) -> usize {
        match &self.phase {
            Phase::Broadcast(b) => b.outstanding.len(),
            Phase::Discovery { .. }
            | Phase::Accepting
            | Phase::EpochAcks { .. }
            | Phase::Synchronizing { .. }
            | Phase::Over => 0,
        }
    }

    /// Proposes a transaction. `zxid` must be [`Leader::next_zxid`]. `config`: what the transaction proposes, if it is a
    /// reconfiguration; from this one on its quorum is needed too.
    pub fn propose(
        &mut self,
        now: Time,
        zxid: Zxid,
        body: Bytes,
        config: Option<Arc<QuorumVerifier>>,
        out: &mut Vec<ZabOut>,
    ) {
        assert_eq!(Some(zxid), self.next_zxid(), "a proposal out of order");
        let reconfig = config.is_some();
        if let Some(config) = config {
            assert!(config.version > self.view.last_seen.version, "a configuration older than the last one");
            self.view.last_seen = config;
        }
        let Phase::Broadcast(b) = &mut self.phase else { unreachable!("it has a next zxid") };
        for (conn, h) in &mut self.handlers.all {
            if h.is_forwarding(Kind::Follower) {
                out.push(send(*conn, FromLeader::Proposal { zxid, txn: body.clone() }));
                h.proposed(zxid, now);
            }
        }
        let ballot = Ballot::new(self.view.clone());
        b.last_proposed = zxid;
        b.outstanding.push_back(Proposal { zxid, body: body.clone(), ballot, reconfig });
        self.history.append(zxid, body, out);
        out.push(ZabOut::Park(Vouch::OwnAck(zxid)));
    }

    /// An ACK of a live learner.
    pub(super) fn acked(&mut self, now: Time, conn: Conn, id: Identity, zxid: Zxid, out: &mut Vec<ZabOut>) {
        if self.last_proposed().is_some_and(|last| zxid > last) {
            return self.close(conn, Cause::AckAhead(zxid), out);
        }
        if let Some(handler) = self.handlers.all.get_mut(&conn) {
            handler.acked(zxid);
        }
        match id.kind {
            Kind::Follower => self.count(now, id.sid, zxid, out),
            Kind::Observer => {}
        }
    }

    /// Counts an ack and commits what has its quorums, in order.
    pub(super) fn count(&mut self, now: Time, sid: ServerId, zxid: Zxid, out: &mut Vec<ZabOut>) {
        let Phase::Broadcast(b) = &mut self.phase else { return };
        let Some(proposal) = b.find(zxid) else { return };
        proposal.ballot.ack(sid);
        while let Phase::Broadcast(b) = &mut self.phase
            && b.outstanding.front().is_some_and(|p| p.ballot.is_complete())
        {
            let proposal = b.outstanding.pop_front().expect("just seen");
            self.commit(proposal, out);
        }
        self.end_if_due(now, out);
    }

    fn commit(&mut self, p: Proposal, out: &mut Vec<ZabOut>) {
        let Proposal { zxid, body, ballot, reconfig } = p;
        let designated = reconfig.then(|| self.designated(ballot.acks()));
        let Phase::Broadcast(b) = &mut self.phase else { unreachable!("it has proposals") };
        b.last_entry = zxid;
        out.push(ZabOut::Committed { zxid, acks: ballot.acks().iter().copied().collect() });
        self.handlers.committed(zxid, &body, designated, out);
        self.history.deliver(zxid, designated, out);
        self.release_syncs(out);
        if let Some(designated) = designated {
            self.view.committed = self.view.last_seen.clone();
            // What is behind it needs the old quorum no more; of that, some may be observers now, whose acks do not count.
            if let Phase::Broadcast(b) = &mut self.phase {
                b.outstanding.iter_mut().for_each(|p| p.ballot.go_by(self.view.clone()));
            }
            if designated != self.me {
                self.lose(Lost::Deposed(designated), out);
            }
        }
    }

    /// A configuration that was proposed under an earlier leader is committed with the epoch's initial history.
    pub(super) fn take_up_last_seen(&mut self, holders: &BTreeSet<ServerId>) -> Option<ServerId> {
        if !self.settings.reconfig_enabled || self.view.last_seen.version <= self.view.committed.version {
            return None;
        }
        let designated = self.designated(holders);
        self.view.committed = self.view.last_seen.clone();
        Some(designated)
    }

    /// getDesignatedLeader: who leads with the configuration seen last. This server if it may; else one that holds as much
    /// as possible of what is outstanding.
    fn designated(&self, holders: &BTreeSet<ServerId>) -> ServerId {
        let QuorumView { committed, last_seen, .. } = &self.view;
        let addrs = |v: &QuorumVerifier| v.member(self.me).map(|m| m.quorum_addrs().collect::<Vec<_>>());
        let stays = committed.member(self.me).is_none() || addrs(committed) == addrs(last_seen);
        if last_seen.is_voter(self.me) && stays {
            return self.me;
        }
        let mut candidates: BTreeSet<ServerId> =
            holders.iter().copied().filter(|sid| *sid != self.me && last_seen.is_voter(*sid)).collect();
        if let Phase::Broadcast(b) = &self.phase {
            for p in &b.outstanding {
                let better: BTreeSet<ServerId> = candidates.intersection(p.ballot.acks()).copied().collect();
                if better.is_empty() {
                    break;
                }
                candidates = better;
            }
        }
        candidates.last().copied().unwrap_or(self.me)
    }

    /// Asked to stop leading: nothing new is taken, what is outstanding is finished and told to everyone, then the role ends
    /// with [`Lost::HandedOver`]. The followers hold everything, so that any of them can go on at once.
    pub fn hand_over(&mut self, now: Time, out: &mut Vec<ZabOut>) {
        self.end(now, Lost::HandedOver, out);
    }

    pub(super) fn end(&mut self, now: Time, why: Lost, out: &mut Vec<ZabOut>) {
        match &mut self.phase {
            Phase::Broadcast(b) => {
                let by = now + self.settings.sync();
                b.ending.get_or_insert(Ending { why, by });
                self.end_if_due(now, out);
            }
            Phase::Discovery { .. }
            | Phase::Accepting
            | Phase::EpochAcks { .. }
            | Phase::Synchronizing { .. } => self.lose(why, out),
            Phase::Over => {}
        }
    }

    pub(super) fn end_if_due(&mut self, now: Time, out: &mut Vec<ZabOut>) {
        let Phase::Broadcast(b) = &mut self.phase else { return };
        if b.is_used_up() {
            b.ending.get_or_insert(Ending { why: Lost::RollOver, by: now + self.settings.sync() });
        }
        if let Some(Ending { why, by }) = b.ending
            && (b.outstanding.is_empty() || by <= now)
        {
            self.lose(why, out);
        }
    }

    /// Learners that serve clients, of either kind.
    pub fn live(&self) -> impl Iterator<Item = (Conn, ServerId)> {
        self.handlers.all.iter().filter_map(|(conn, h)| match &h.stage {
            Stage::Live(id) => Some((*conn, id.sid)),
            Stage::Greeting
            | Stage::Registered(_)
            | Stage::Offered(_)
            | Stage::EpochAcked(..)
            | Stage::Syncing { .. }
            | Stage::Synced(_) => None,
        })
    }
}
