//! A leader before it serves: finding an epoch, being the one with the most recent history, bringing learners up to it.
//! Answers to `Leader.getEpochToPropose`, `waitForEpochAck`, `waitForNewLeaderAck` and `LearnerHandler.syncFollower`.

use super::ballot::Ballot;
use super::broadcast::Broadcast;
use super::handler::{Identity, Kind, Stage};
use super::leader::{Leader, Phase, send};
use super::sync::{self, Known, Peer, Start};
use super::{Cause, Lost, MAX_EPOCH, ZabOut};
use crate::boundary::{Conn, SyncBy, Vouch};
use crate::id::{Epoch, ServerId, Zxid};
use crate::proto::{FromLeader, LearnerInfo, ZAB_VERSION};
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
        let refused = if info.sid == self.me {
            Some(Cause::OwnServerId)
        } else if info.protocol_version < ZAB_VERSION {
            Some(Cause::OldProtocol(info.protocol_version))
        } else if info.config_version > self.view.committed.version {
            Some(Cause::ConfigAhead)
        } else if accepted >= MAX_EPOCH {
            Some(Cause::BadEpoch(accepted))
        } else {
            None
        };
        if let Some(cause) = refused {
            return self.close(conn, cause, out);
        }
        let same = |h: &super::handler::Handler| h.identity().is_some_and(|id| id.sid == info.sid);
        let old: Vec<Conn> = self.handlers.iter().filter(|(_, h)| same(h)).map(|(c, _)| *c).collect();
        for conn in old {
            self.close(conn, Cause::Replaced, out);
        }
        let id = Identity { sid: info.sid, kind, exact: info.protocol_version >= sync::EXACT };
        let handler = self.handlers.get_mut(&conn).expect("its packet was just taken");
        handler.stage = Stage::Registered(id);
        match &self.phase {
            Phase::Discovery { .. } => self.follower_came(id.sid, accepted, out),
            Phase::Accepting => {}
            Phase::EpochAcks { .. } | Phase::Synchronizing { .. } | Phase::Broadcast(_) => {
                self.offer_to(now, conn, out);
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

    /// getEpochToPropose: the epoch is higher than any that a quorum has accepted.
    pub(super) fn follower_came(&mut self, sid: ServerId, accepted: Epoch, out: &mut Vec<ZabOut>) {
        let Phase::Discovery { connecting, .. } = &mut self.phase else { return };
        self.epoch = self.epoch.max(accepted.next());
        if self.view.committed.is_voter(sid) {
            connecting.insert(sid);
        }
        if connecting.contains(&self.me) && self.view.committed.is_quorum(connecting) {
            self.phase = Phase::Accepting;
            self.number_configuration();
            self.history.accept(self.epoch, out);
            out.push(ZabOut::Park(Vouch::AckEpoch(self.epoch)));
        }
    }

    /// The initial configuration gets a version with the first epoch, if it may change at all.
    fn number_configuration(&mut self) {
        let QuorumView { committed, last_seen } = &mut self.view;
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
        let waiting: Vec<Conn> = self.handlers.keys().copied().collect();
        for conn in waiting {
            self.offer_to(now, conn, out);
        }
        self.establish_if_complete(now, out);
    }

    fn offer_to(&mut self, now: Time, conn: Conn, out: &mut Vec<ZabOut>) {
        let handler = self.handlers.get_mut(&conn).expect("it is in the table");
        if let Stage::Registered(id) = handler.stage {
            handler.stage = Stage::Offered(id);
            handler.heard = now;
            let zxid = self.epoch.start();
            out.push(send(conn, FromLeader::LeaderInfo { zxid, protocol_version: ZAB_VERSION }));
        }
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
                    if last != Zxid::NONE && self.view.committed.is_voter(id.sid) {
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
        if !self.view.committed.is_quorum(electing) {
            return;
        }
        out.push(ZabOut::Established { epoch: self.epoch });
        self.history.begin_epoch(self.epoch, out);
        out.push(ZabOut::Park(Vouch::AckNewLeader(self.epoch)));
        self.phase =
            Phase::Synchronizing { acks: Ballot::new(self.view.clone()), until: now + self.settings.init() };
        let waiting: Vec<(Conn, Identity, Zxid)> = self
            .handlers
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

    /// The last entry that counts as history, and the epoch if it is served.
    fn known(&self) -> Known<'_> {
        let (end, serving) = match &self.phase {
            Phase::Broadcast(b) => (b.last_committed_entry(), Some(self.epoch)),
            Phase::Discovery { .. }
            | Phase::Accepting
            | Phase::EpochAcks { .. }
            | Phase::Synchronizing { .. }
            | Phase::Over => (self.history.last(), None),
        };
        let (force_snapshot, unreadable) = (self.settings.force_snapshot, self.unreadable);
        Known { history: &self.history, end, serving, force_snapshot, unreadable }
    }

    /// syncFollower. What the learner acked on an earlier connection may be cut off or replaced now, so it counts no more.
    fn synchronize(&mut self, now: Time, conn: Conn, id: Identity, last: Zxid, out: &mut Vec<ZabOut>) {
        if let Phase::Broadcast(b) = &mut self.phase {
            b.forget_acks(id.sid);
        }
        let start = sync::decide(self.known(), Peer { last, exact: id.exact });
        match self.begin(conn, id, start, SyncBy::Memory, out) {
            Some(from) => self.forward(now, conn, from, out),
            None if start == Start::Log => out.push(ZabOut::WantLog { conn, after: last }),
            None => out.push(ZabOut::WantSnapshot { conn }),
        }
    }

    /// DIFF or TRUNC, if it is one; the zxid above which entries follow.
    fn begin(
        &self,
        conn: Conn,
        id: Identity,
        start: Start,
        by: SyncBy,
        out: &mut Vec<ZabOut>,
    ) -> Option<Zxid> {
        let (packet, from) = match start {
            Start::Diff { from } => {
                let known = self.known();
                let zxid = if from == known.processed() { from } else { known.end };
                (FromLeader::Diff { zxid }, from)
            }
            Start::Trunc { to } => (FromLeader::Trunc { zxid: to }, to),
            Start::Snap | Start::Log => return None,
        };
        out.push(ZabOut::Synchronizes { learner: id.sid, by });
        out.push(send(conn, packet));
        Some(from)
    }

    /// The next entry of the log on disk for a learner ([`ZabOut::WantLog`]), and the one before it. The first one above the
    /// learner's last tells whether that is in the log. True: go on.
    pub fn log_entry(
        &mut self,
        now: Time,
        conn: Conn,
        before: Zxid,
        (zxid, txn): (Zxid, Bytes),
        out: &mut Vec<ZabOut>,
    ) -> bool {
        let Some(handler) = self.handlers.get(&conn) else { return false };
        let Stage::EpochAcked(id, last) = handler.stage else { return false };
        if handler.from_log.is_none() {
            let start = sync::from_entry(self.known().serving, Peer { last, exact: id.exact }, before);
            if self.begin(conn, id, start, SyncBy::Log, out).is_none() {
                out.push(ZabOut::WantSnapshot { conn });
                return false;
            }
        }
        // What the window holds comes from there: it may not be committed, or not on disk yet.
        let base = self.history.base();
        if zxid <= base {
            out.push(send(conn, FromLeader::Proposal { zxid, txn }));
            out.push(send(conn, FromLeader::Commit { zxid }));
        }
        if zxid >= base {
            self.forward(now, conn, base, out);
            return false;
        }
        self.handlers.get_mut(&conn).expect("just seen").from_log = Some(zxid);
        true
    }

    /// The log on disk leads no further, though the window has not begun yet. Once something was sent, nothing else can take
    /// its place on this connection.
    pub fn log_ends(&mut self, conn: Conn, out: &mut Vec<ZabOut>) {
        match self.handlers.get(&conn).map(|h| h.from_log) {
            Some(Some(sent)) => {
                self.unreadable = self.unreadable.max(sent);
                self.close(conn, Cause::LogUnreadable, out);
            }
            Some(None) => out.push(ZabOut::WantSnapshot { conn }),
            None => {}
        }
    }

    /// A snapshot of the tree, as it is now, begins for a learner ([`ZabOut::WantSnapshot`]).
    pub fn snapshot_begun(&mut self, now: Time, conn: Conn, out: &mut Vec<ZabOut>) {
        let Some(Stage::EpochAcked(id, _)) = self.handlers.get(&conn).map(|h| &h.stage) else { return };
        let zxid = match &self.phase {
            Phase::Broadcast(_) => self.history.delivered().max(self.epoch.start()),
            Phase::Synchronizing { .. } => self.history.delivered(),
            Phase::Discovery { .. } | Phase::Accepting | Phase::EpochAcks { .. } | Phase::Over => return,
        };
        out.push(ZabOut::Synchronizes { learner: id.sid, by: SyncBy::Snapshot });
        out.push(send(conn, FromLeader::Snap { zxid }));
        out.push(ZabOut::SendSnapshot { conn, zxid });
        self.forward(now, conn, zxid, out);
    }

    /// Everything above `from`, then NEWLEADER; from here on the learner gets what is new. Answers to `startForwarding`.
    fn forward(&mut self, now: Time, conn: Conn, from: Zxid, out: &mut Vec<ZabOut>) {
        let end = self.known().end;
        let handler = self.handlers.get_mut(&conn).expect("it is in the table");
        let Stage::EpochAcked(id, _) = handler.stage else { unreachable!("only such a one is synchronised") };
        for entry in self.history.after(from) {
            let zxid = entry.zxid;
            if zxid <= end {
                out.push(send(conn, FromLeader::Proposal { zxid, txn: entry.body.clone() }));
                out.push(send(conn, FromLeader::Commit { zxid }));
            } else if id.kind == Kind::Follower {
                out.push(send(conn, FromLeader::Proposal { zxid, txn: entry.body.clone() }));
                handler.proposed(zxid, now);
            }
        }
        handler.stage = Stage::Syncing { id, early: BTreeSet::new() };
        handler.heard = now;
        let config = Some(Bytes::from(self.view.last_seen.to_string()));
        out.push(send(conn, FromLeader::NewLeader { zxid: self.epoch.start(), config }));
    }

    /// ACK of NEWLEADER.
    pub(super) fn new_leader_acked(&mut self, now: Time, conn: Conn, out: &mut Vec<ZabOut>) {
        let handler = self.handlers.get_mut(&conn).expect("its packet was just taken");
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
                self.up_to_date(now, conn, out);
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
            .iter()
            .filter(|(_, h)| matches!(h.stage, Stage::Synced(_)))
            .map(|(conn, _)| *conn)
            .collect();
        for conn in synced {
            self.up_to_date(now, conn, out);
        }
        if let Some(designated) = designated.filter(|sid| *sid != self.me) {
            self.lose(Lost::Deposed(designated), out);
        }
    }

    fn up_to_date(&mut self, now: Time, conn: Conn, out: &mut Vec<ZabOut>) {
        let handler = self.handlers.get_mut(&conn).expect("it is in the table");
        let Stage::Synced(id) = handler.stage else { unreachable!("only such a one is told") };
        handler.stage = Stage::Live(id);
        handler.heard = now;
        handler.may_ack(now);
        out.push(send(conn, FromLeader::UpToDate));
    }
}
