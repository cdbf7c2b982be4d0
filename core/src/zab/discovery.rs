//! A leader before it serves: finding an epoch, being the one with the most recent history, bringing learners up to it.
//! Answers to `Leader.getEpochToPropose`, `waitForEpochAck`, `waitForNewLeaderAck` and `LearnerHandler.syncFollower`.

use super::ballot::Ballot;
use super::broadcast::Broadcast;
use super::handler::{Identity, Kind, Stage};
use super::handlers::{Handlers, Source};
use super::leader::{Leader, Phase};
use super::sync::Known;
use super::{Cause, Lost, ZabOut};
use crate::boundary::{Conn, Vouch};
use crate::id::{Epoch, ServerId, Zxid};
use crate::proto::LearnerInfo;
use crate::quorum::{QuorumVerifier, QuorumView};
use crate::time::Time;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Leader {
    /// FOLLOWERINFO or OBSERVERINFO.
    pub(super) fn registered(
        &mut self,
        now: Time,
        conn: Conn,
        kind: Kind,
        accepted: Epoch,
        info: LearnerInfo,
        out: &mut Vec<ZabOut>,
    ) {
        let version = self.view.committed.version;
        let Some(id) = self.handlers.greet(conn, kind, accepted, info, version, out) else { return };
        match &self.phase {
            Phase::Discovery { .. } => self.follower_came(id.sid, accepted, out),
            Phase::Accepting => {}
            Phase::EpochAcks { .. } | Phase::Synchronizing { .. } | Phase::Broadcast(_) => {
                self.handlers.offer(now, conn, self.epoch, out);
                self.superseded(now, id, accepted, out);
            }
            Phase::Over => {}
        }
    }

    /// A voter that has accepted a later epoch can never follow this one: only a new epoch brings it back.
    fn superseded(&mut self, now: Time, id: Identity, accepted: Epoch, out: &mut Vec<ZabOut>) {
        if accepted > self.epoch && id.kind == Kind::Follower && self.view.committed.is_voter(id.sid) {
            self.history.hear(accepted);
            self.end(now, Lost::Superseded(accepted), out);
        }
    }

    /// getEpochToPropose: the epoch is higher than any that a quorum has accepted; of the proposed configuration too, which may
    /// have been committed without this server's knowledge. Java asks the committed one only, and may find an epoch that the
    /// new members use already.
    pub(super) fn follower_came(&mut self, sid: ServerId, accepted: Epoch, out: &mut Vec<ZabOut>) {
        let Phase::Discovery { connecting, .. } = &mut self.phase else { return };
        self.epoch = self.epoch.max(accepted.next());
        if self.view.is_voter(sid) {
            connecting.insert(sid);
        }
        if connecting.contains(&self.me) && self.view.has_all_quorums(connecting) {
            self.phase = Phase::Accepting;
            self.number_configuration();
            self.history.accept(self.epoch, out);
            out.push(ZabOut::Park(Vouch::AckEpoch(self.epoch)));
        }
    }

    /// The initial configuration gets a version with the first epoch, if it may change at all.
    fn number_configuration(&mut self) {
        let QuorumView { committed, last_seen, .. } = &mut self.view;
        if self.settings.reconfig_enabled && committed.version == 0 && last_seen.version == 0 {
            let mut numbered: QuorumVerifier = (**committed).clone();
            numbered.version = self.epoch.start().0;
            *last_seen = Arc::new(numbered);
        }
    }

    /// acceptedEpoch is durable: LEADERINFO for all who are there.
    pub(super) fn offer(&mut self, now: Time, out: &mut Vec<ZabOut>) {
        self.phase =
            Phase::EpochAcks { electing: BTreeSet::from([self.me]), until: now + self.settings.init() };
        let waiting: Vec<Conn> = self.handlers.all.keys().copied().collect();
        for conn in waiting {
            self.handlers.offer(now, conn, self.epoch, out);
        }
        self.establish_if_complete(now, out);
    }

    /// ACKEPOCH. waitForEpochAck: nobody in the quorum knows more than the leader.
    pub(super) fn epoch_acked(
        &mut self,
        now: Time,
        conn: Conn,
        id: Identity,
        current: Epoch,
        last: Zxid,
        out: &mut Vec<ZabOut>,
    ) {
        match &mut self.phase {
            Phase::EpochAcks { electing, .. } => {
                // -1: it had accepted this epoch before, perhaps from another leader.
                if current != Epoch(-1) {
                    if (current, last) > (self.history.current(), self.history.last()) {
                        return self.close(conn, Cause::FollowerAhead, out);
                    }
                    if last != Zxid::NONE && self.view.is_voter(id.sid) {
                        electing.insert(id.sid);
                    }
                }
                self.establish_if_complete(now, out);
            }
            Phase::Synchronizing { .. } | Phase::Broadcast(_) => self.synchronize(now, conn, id, last, out),
            Phase::Discovery { .. } | Phase::Accepting | Phase::Over => {}
        }
    }

    fn establish_if_complete(&mut self, now: Time, out: &mut Vec<ZabOut>) {
        let Phase::EpochAcks { electing, .. } = &self.phase else { return };
        if !self.view.has_all_quorums(electing) {
            return;
        }
        out.push(ZabOut::Established { epoch: self.epoch });
        self.history.begin_epoch(self.epoch, out);
        out.push(ZabOut::Park(Vouch::AckNewLeader(self.epoch)));
        self.phase =
            Phase::Synchronizing { acks: Ballot::new(self.view.clone()), until: now + self.settings.init() };
        let waiting: Vec<(Conn, Identity, Zxid)> = self
            .handlers
            .all
            .iter()
            .filter_map(|(conn, h)| match &h.stage {
                Stage::EpochAcked(id, last) => Some((*conn, *id, *last)),
                Stage::Greeting
                | Stage::Registered(_)
                | Stage::Offered(_)
                | Stage::Syncing { .. }
                | Stage::Synced(_)
                | Stage::Live(_) => None,
            })
            .collect();
        for (conn, id, last) in waiting {
            self.synchronize(now, conn, id, last, out);
        }
    }

    /// Its learners, and what they are brought up to. Entries count as history up to the last committed one; before the epoch is
    /// served, all.
    fn sources(&mut self) -> (&mut Handlers, Source<'_>) {
        let Leader { handlers, phase, history, view, epoch, .. } = self;
        // The configuration is in force once the learner is up to date: it is what this epoch begins with, or what is committed
        // in it. What is only proposed goes the way of proposals; Java sends it here, and a learner that comes meanwhile takes
        // it up for good.
        let (end, serving, config) = match phase {
            Phase::Broadcast(b) => (b.last_committed_entry(), Some(*epoch), &view.committed),
            Phase::Discovery { .. }
            | Phase::Accepting
            | Phase::EpochAcks { .. }
            | Phase::Synchronizing { .. }
            | Phase::Over => (history.last(), None, &view.last_seen),
        };
        let (force_snapshot, unreadable) = (self.settings.force_snapshot, self.unreadable);
        let known = Known { history, end, serving, force_snapshot, unreadable };
        (handlers, Source { known, epoch: *epoch, config })
    }

    /// What the learner acked on an earlier connection may be cut off or replaced now, so it counts no more.
    fn synchronize(&mut self, now: Time, conn: Conn, id: Identity, last: Zxid, out: &mut Vec<ZabOut>) {
        if let Phase::Broadcast(b) = &mut self.phase {
            b.forget_acks(id.sid);
        }
        let (handlers, source) = self.sources();
        handlers.synchronize(now, conn, last, source, out);
    }

    /// The next entry of the log on disk for a learner ([`ZabOut::WantLog`]), and the one before it. The first one above the
    /// learner's last tells whether that is in the log. True: go on.
    pub fn log_entry(
        &mut self,
        now: Time,
        conn: Conn,
        before: Zxid,
        entry: (Zxid, Bytes),
        out: &mut Vec<ZabOut>,
    ) -> bool {
        let (handlers, source) = self.sources();
        handlers.log_entry(now, conn, before, entry, source, out)
    }

    /// The log on disk leads no further, though the window has not begun yet. Once something was sent, nothing else can take
    /// its place on this connection.
    pub fn log_ends(&mut self, conn: Conn, out: &mut Vec<ZabOut>) {
        if let Some(sent) = self.handlers.log_ends(conn, out) {
            self.unreadable = self.unreadable.max(sent);
        }
    }

    /// A snapshot of the tree, as it is now, begins for a learner ([`ZabOut::WantSnapshot`]).
    pub fn snapshot_begun(&mut self, now: Time, conn: Conn, out: &mut Vec<ZabOut>) {
        let zxid = match &self.phase {
            Phase::Broadcast(_) => self.history.delivered().max(self.epoch.start()),
            Phase::Synchronizing { .. } => self.history.delivered(),
            Phase::Discovery { .. } | Phase::Accepting | Phase::EpochAcks { .. } | Phase::Over => return,
        };
        let (handlers, source) = self.sources();
        handlers.snapshot_begun(now, conn, zxid, source, out);
    }

    /// ACK of NEWLEADER.
    pub(super) fn new_leader_acked(&mut self, now: Time, conn: Conn, out: &mut Vec<ZabOut>) {
        let handler = self.handlers.all.get_mut(&conn).expect("its packet was just taken");
        let Stage::Syncing { id, early } = &mut handler.stage else { unreachable!("asked before") };
        let (id, early) = (*id, std::mem::take(early));
        handler.stage = Stage::Synced(id);
        match &mut self.phase {
            Phase::Synchronizing { acks, .. } => {
                if id.kind == Kind::Follower {
                    acks.ack(id.sid);
                }
                self.activate_if_complete(now, out);
            }
            Phase::Broadcast(_) => {
                self.handlers.up_to_date(now, conn, out);
                for zxid in early {
                    self.acked(now, conn, id, zxid, out);
                }
            }
            Phase::Discovery { .. } | Phase::Accepting | Phase::EpochAcks { .. } | Phase::Over => {}
        }
    }

    /// All needed quorums hold the history: it is committed, and the epoch begins.
    pub(super) fn activate_if_complete(&mut self, now: Time, out: &mut Vec<ZabOut>) {
        let Phase::Synchronizing { acks, .. } = &self.phase else { return };
        if !acks.is_complete() || !acks.acks().contains(&self.me) {
            return;
        }
        let holders = acks.acks().clone();
        let last = self.history.last();
        self.history.deliver(last, None, out);
        self.phase = Phase::Broadcast(Broadcast::new(self.epoch, last, self.settings.last_counter));
        let designated = self.take_up_last_seen(&holders);
        out.push(ZabOut::Activated { epoch: self.epoch });
        let synced: Vec<Conn> = self
            .handlers
            .all
            .iter()
            .filter(|(_, h)| matches!(h.stage, Stage::Synced(_)))
            .map(|(conn, _)| *conn)
            .collect();
        for conn in synced {
            self.handlers.up_to_date(now, conn, out);
        }
        if let Some(designated) = designated.filter(|sid| *sid != self.me) {
            self.lose(Lost::Deposed(designated), out);
        }
    }
}
