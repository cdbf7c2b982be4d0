//! The leader: its life from the first FOLLOWERINFO to its end. Answers to `Leader`. Discovery and synchronisation are in
//! `discovery`, proposals and commits in `broadcast`; this file takes the inputs and keeps the time.

use super::ballot::Ballot;
use super::broadcast::Broadcast;
use super::confirm::Rounds;
use super::handler::{Kind, Stage};
use super::handlers::Handlers;
use super::history::History;
use super::{Awaited, Cause, Lost, Settings, ZabOut, earlier};
use crate::boundary::{Conn, Vouch};
use crate::id::{Epoch, ServerId, SessionId, Zxid};
use crate::proto::{FromLeader, FromLearner, QuorumPacket};
use crate::quorum::QuorumView;
use crate::time::{Span, Time};
use std::collections::BTreeSet;

/// A leader, or a server that tries to be one.
#[derive(Clone, Debug)]
pub struct Leader {
    pub(super) me: ServerId,
    pub(super) settings: Settings,
    pub(super) history: History,
    pub(super) view: QuorumView,
    /// The epoch it leads; the least possible while that is found out.
    pub(super) epoch: Epoch,
    pub(super) phase: Phase,
    pub(super) handlers: Handlers,
    pub(super) rounds: Rounds,
    /// What follows this in the log on disk could not be read.
    pub(super) unreadable: Zxid,
    next_ping: Time,
    /// Every other ping the quorum is looked at.
    ticks: u64,
}

/// How far it has come.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Which epoch? Waits for the FOLLOWERINFO of a quorum.
    Discovery { connecting: BTreeSet<ServerId>, since: Time, until: Time },
    /// The epoch is found, acceptedEpoch not durable yet.
    Accepting,
    /// The epoch is offered. Waits for the ACKEPOCH of a quorum.
    EpochAcks { electing: BTreeSet<ServerId>, until: Time },
    /// Established. Waits for the ACK of NEWLEADER by all needed quorums.
    Synchronizing { acks: Ballot, until: Time },
    /// It serves.
    Broadcast(Broadcast),
    /// No leader any more.
    Over,
}

impl Leader {
    /// A server that was elected. `view`: its configurations.
    pub fn new(
        me: ServerId,
        settings: Settings,
        history: History,
        view: QuorumView,
        now: Time,
        out: &mut Vec<ZabOut>,
    ) -> Leader {
        let epoch = history.heard().next();
        let until = now + settings.first_contact();
        let phase = Phase::Discovery { connecting: BTreeSet::new(), since: now, until };
        let next_ping = now + Span(settings.tick.0 / 2);
        let mut leader = Leader {
            me,
            settings,
            history,
            view,
            epoch,
            phase,
            handlers: Handlers::new(me),
            rounds: Rounds::default(),
            unreadable: Zxid::ZERO,
            next_ping,
            ticks: 0,
        };
        leader.follower_came(me, Epoch(-1), out);
        leader
    }

    /// Ends the role: what it knows of the history goes on.
    pub fn into_history(self) -> History {
        self.history
    }
    /// What it holds of the history.
    pub fn history(&self) -> &History {
        &self.history
    }
    /// The configurations in force.
    pub fn view(&self) -> &QuorumView {
        &self.view
    }
    /// Its epoch, once it is found.
    pub fn epoch(&self) -> Option<Epoch> {
        match self.phase {
            Phase::Discovery { .. } => None,
            Phase::Accepting
            | Phase::EpochAcks { .. }
            | Phase::Synchronizing { .. }
            | Phase::Broadcast(_)
            | Phase::Over => Some(self.epoch),
        }
    }
    /// It serves.
    pub fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Broadcast(_))
    }
    /// Followers that are synchronised, and the leader: of these a new configuration needs a quorum.
    pub fn synced(&self) -> BTreeSet<ServerId> {
        let synced = self.handlers.all.values().filter_map(|h| match &h.stage {
            Stage::Live(id) if id.kind == Kind::Follower => Some(id.sid),
            Stage::Greeting
            | Stage::Registered(_)
            | Stage::Offered(_)
            | Stage::EpochAcked(..)
            | Stage::Syncing { .. }
            | Stage::Synced(_)
            | Stage::Live(_) => None,
        });
        synced.chain([self.me]).collect()
    }

    /// A learner connected to the quorum port.
    pub fn opened(&mut self, now: Time, conn: Conn, out: &mut Vec<ZabOut>) {
        if matches!(self.phase, Phase::Over) {
            out.push(ZabOut::Close { conn, cause: Cause::LeaderLost });
        } else {
            self.handlers.open(now, conn);
        }
    }

    /// A connection ended.
    pub fn closed(&mut self, conn: Conn) {
        self.handlers.all.remove(&conn);
    }

    /// A packet of a learner. Of a connection that is closed: ignored.
    pub fn packet(&mut self, now: Time, conn: Conn, packet: QuorumPacket, out: &mut Vec<ZabOut>) {
        let (start, proposed) = (self.epoch.start(), self.last_proposed());
        let Some(handler) = self.handlers.all.get_mut(&conn) else { return };
        handler.heard = now;
        let kind = packet.kind;
        let said = match FromLearner::decode(packet) {
            Ok(said) => said,
            Err(bad) => return self.close(conn, Cause::Malformed(bad), out),
        };
        match (&mut handler.stage, said) {
            (Stage::Greeting, FromLearner::FollowerInfo { zxid, info }) => {
                self.registered(now, conn, Kind::Follower, Epoch::of(zxid), info, out);
            }
            (Stage::Greeting, FromLearner::ObserverInfo { zxid, info }) => {
                self.registered(now, conn, Kind::Observer, Epoch::of(zxid), info, out);
            }
            (Stage::Offered(id), FromLearner::AckEpoch { zxid, current_epoch }) => {
                let id = *id;
                handler.stage = Stage::EpochAcked(id, zxid);
                self.epoch_acked(now, conn, id, Epoch(current_epoch.into()), zxid, out);
            }
            (Stage::Syncing { early, .. }, FromLearner::Ack { zxid }) => {
                if zxid == start {
                    self.new_leader_acked(now, conn, out);
                } else if zxid < start {
                    // Of its synchronisation; servers before 3.9.3 ack that too.
                } else if proposed.is_some_and(|last| zxid <= last) {
                    early.insert(zxid);
                } else {
                    self.close(conn, Cause::AckAhead(zxid), out);
                }
            }
            (Stage::Live(id), FromLearner::Ack { zxid }) => {
                let id = *id;
                self.acked(now, conn, id, zxid, out);
            }
            // Sent on its way to here, or by a server that answers the pings of its synchronisation.
            (Stage::Syncing { .. } | Stage::Synced(_), FromLearner::Ping { .. }) => {}
            (Stage::Synced(_), FromLearner::Ack { .. }) => {}
            (Stage::Live(_), FromLearner::Ping { sessions, .. }) => {
                self.ping_answered(conn, out);
                if !sessions.is_empty() {
                    out.push(ZabOut::Touched { sessions });
                }
            }
            (Stage::Live(_), FromLearner::Request(request)) => {
                out.push(ZabOut::Request { conn, request });
            }
            (Stage::Live(_), FromLearner::Revalidate { session, timeout }) => {
                out.push(ZabOut::Revalidate { conn, session, timeout });
            }
            (
                Stage::Greeting
                | Stage::Registered(_)
                | Stage::Offered(_)
                | Stage::EpochAcked(..)
                | Stage::Syncing { .. }
                | Stage::Synced(_)
                | Stage::Live(_),
                FromLearner::FollowerInfo { .. }
                | FromLearner::ObserverInfo { .. }
                | FromLearner::AckEpoch { .. }
                | FromLearner::Ack { .. }
                | FromLearner::Ping { .. }
                | FromLearner::Request(_)
                | FromLearner::Revalidate { .. },
            ) => self.close(conn, Cause::Unexpected(kind), out),
        }
    }

    /// A voter looks for a leader: it does not follow this one. After maxTimeToWaitForEpoch that ends the wait for followers, and
    /// at once if its vote is better than this leader's: else the two may be elected in turn for ever, by a third that can follow
    /// neither alone. But the voter may still be in the election's quiet time. Answers to `reportLookingSid`.
    pub fn voter_looks(&mut self, now: Time, better: bool, out: &mut Vec<ZabOut>) {
        let wait = if better { Some(Span::ZERO) } else { self.settings.epoch_wait };
        if let (Phase::Discovery { since, .. }, Some(wait)) = (&self.phase, wait)
            && now.since(*since).0 > wait.0.saturating_add(self.settings.finalize_wait.0)
        {
            self.lose(Lost::NoQuorum(Awaited::Followers), out);
        }
    }

    /// Bytes of a snapshot are leaving to this learner: it is busy, not silent.
    pub fn snapshot_moves(&mut self, now: Time, conn: Conn) {
        if let Some(handler) = self.handlers.all.get_mut(&conn) {
            handler.heard = now;
        }
    }

    /// What was parked is durable.
    pub fn durable(&mut self, now: Time, vouch: Vouch, out: &mut Vec<ZabOut>) {
        match (&mut self.phase, vouch) {
            (Phase::Accepting, Vouch::AckEpoch(epoch)) if epoch == self.epoch => self.offer(now, out),
            (Phase::Synchronizing { acks, .. }, Vouch::AckNewLeader(epoch)) if epoch == self.epoch => {
                acks.ack(self.me);
                self.activate_if_complete(now, out);
            }
            (Phase::Broadcast(_), Vouch::OwnAck(zxid)) => self.count(now, self.me, zxid, out),
            (
                Phase::Discovery { .. }
                | Phase::Accepting
                | Phase::EpochAcks { .. }
                | Phase::Synchronizing { .. }
                | Phase::Broadcast(_)
                | Phase::Over,
                Vouch::OwnAck(_)
                | Vouch::Ack(_)
                | Vouch::AckEpoch(_)
                | Vouch::AckNewLeader(_)
                | Vouch::Recovered(_),
            ) => {}
        }
    }

    /// When to call [`Leader::wake`].
    pub fn next_wake(&self) -> Option<Time> {
        let until = match &self.phase {
            Phase::Discovery { until, .. }
            | Phase::EpochAcks { until, .. }
            | Phase::Synchronizing { until, .. } => Some(*until),
            Phase::Broadcast(b) => b.ends_by(),
            Phase::Accepting => None,
            Phase::Over => return None,
        };
        earlier(until, Some(self.next_ping))
    }

    /// Time has passed.
    pub fn wake(&mut self, now: Time, out: &mut Vec<ZabOut>) {
        let awaited = match &self.phase {
            Phase::Discovery { until, .. } if *until <= now => Some(Awaited::Followers),
            Phase::EpochAcks { until, .. } if *until <= now => Some(Awaited::EpochAcks),
            Phase::Synchronizing { until, .. } if *until <= now => Some(Awaited::NewLeaderAcks),
            Phase::Discovery { .. }
            | Phase::Accepting
            | Phase::EpochAcks { .. }
            | Phase::Synchronizing { .. }
            | Phase::Broadcast(_) => None,
            Phase::Over => return,
        };
        if let Some(awaited) = awaited {
            return self.lose(Lost::NoQuorum(awaited), out);
        }
        if self.next_ping <= now {
            // A late wake-up makes up for nothing: the next ping is half a tick from now.
            self.next_ping = now + Span(self.settings.tick.0 / 2);
            self.ticks += 1;
            self.handlers.drop_silent(now, &self.settings, out);
            if self.ticks.is_multiple_of(2) && self.is_active() && !self.is_in_contact(now) {
                return self.lose(Lost::QuorumLost, out);
            }
            self.ping(out);
        }
        self.end_if_due(now, out);
    }

    fn is_in_contact(&self, now: Time) -> bool {
        let sync = self.settings.sync();
        let near = self.handlers.all.values().filter_map(|h| h.contact(now, sync));
        self.view.has_all_quorums(&near.chain([self.me]).collect())
    }

    /// Answers [`ZabOut::Revalidate`].
    pub fn revalidated(&self, conn: Conn, session: SessionId, valid: bool, out: &mut Vec<ZabOut>) {
        self.handlers.tell(conn, FromLeader::Revalidate { session, valid }, out);
    }

    pub(super) fn close(&mut self, conn: Conn, cause: Cause, out: &mut Vec<ZabOut>) {
        self.handlers.close(conn, cause, out);
    }

    /// The end.
    pub(super) fn lose(&mut self, why: Lost, out: &mut Vec<ZabOut>) {
        self.phase = Phase::Over;
        self.handlers.close_all(out);
        out.push(ZabOut::Lost { why });
    }

    /// The zxid proposed last in this epoch; its start before the first.
    pub fn last_proposed(&self) -> Option<Zxid> {
        match &self.phase {
            Phase::Broadcast(b) => Some(b.last_proposed()),
            Phase::Discovery { .. }
            | Phase::Accepting
            | Phase::EpochAcks { .. }
            | Phase::Synchronizing { .. }
            | Phase::Over => None,
        }
    }
}
