//! An observer master: a follower that has observers of its own, so that the leader need not feed all of them. They are brought up
//! to what this follower has delivered and then told what it delivers; what they ask goes on to the leader, and its answers come
//! back to them. Answers to `ObserverMaster`.
//!
//! It lives as long as the follower is up to date with one leader. An observer may have been told of more than this follower has:
//! it waits until that has come here too, since a cut or a snapshot would take back what its clients have seen.

use super::handler::{Handler, Kind, Stage};
use super::handlers::{Handlers, Source, send};
use super::history::History;
use super::sync::Known;
use super::{Cause, Settings, ZabOut};
use crate::boundary::Conn;
use crate::id::{Epoch, ServerId, SessionId, Zxid};
use crate::proto::{FromLeader, FromLearner, QuorumPacket};
use crate::quorum::QuorumVerifier;
use crate::time::{Span, Time};
use bytes::Bytes;

/// See the module.
#[derive(Clone, Debug)]
pub struct ObserverMaster {
    settings: Settings,
    /// The leader's.
    epoch: Epoch,
    handlers: Handlers,
    next_ping: Time,
}

/// What the follower has: its history, and the configuration in force.
#[derive(Clone, Copy, Debug)]
pub struct Holding<'a> {
    /// What is delivered of it is what observers get.
    pub history: &'a History,
    /// They take it up when they are up to date; one that is only proposed might never be in force.
    pub config: &'a QuorumVerifier,
}

impl ObserverMaster {
    /// Of a follower that is up to date.
    pub fn new(me: ServerId, settings: Settings, epoch: Epoch, now: Time) -> ObserverMaster {
        let next_ping = now + Span(settings.tick.0 / 2);
        ObserverMaster { settings, epoch, handlers: Handlers::new(me), next_ping }
    }

    /// It is an observer's connection.
    pub fn has(&self, conn: Conn) -> bool {
        self.handlers.all.contains_key(&conn)
    }

    /// An observer connected.
    pub fn opened(&mut self, now: Time, conn: Conn) {
        self.handlers.open(now, conn);
    }

    /// A connection ended.
    pub fn closed(&mut self, conn: Conn) {
        self.handlers.all.remove(&conn);
    }

    /// What an observer says cannot be used.
    pub fn close(&mut self, conn: Conn, cause: Cause, out: &mut Vec<ZabOut>) {
        self.handlers.close(conn, cause, out);
    }

    /// The follower's role is over.
    pub fn end(&mut self, out: &mut Vec<ZabOut>) {
        self.handlers.close_all(out);
    }

    /// A packet of an observer. Of a connection that is closed: ignored.
    pub fn packet(
        &mut self,
        now: Time,
        conn: Conn,
        packet: QuorumPacket,
        holding: Holding<'_>,
        out: &mut Vec<ZabOut>,
    ) {
        let Some(handler) = self.handlers.all.get_mut(&conn) else { return };
        handler.heard = now;
        let kind = packet.kind;
        let said = match FromLearner::decode(packet) {
            Ok(said) => said,
            Err(bad) => return self.close(conn, Cause::Malformed(bad), out),
        };
        match (&handler.stage, said) {
            (Stage::Greeting, FromLearner::ObserverInfo { zxid, info }) => {
                let (accepted, version) = (Epoch::of(zxid), holding.config.version);
                if self.handlers.greet(conn, Kind::Observer, accepted, info, version, out).is_some() {
                    self.handlers.offer(now, conn, self.epoch, out);
                }
            }
            (Stage::Offered(id), FromLearner::AckEpoch { zxid, .. }) => {
                handler.stage = Stage::EpochAcked(*id, zxid);
                self.synchronize(now, conn, zxid, holding, out);
            }
            (Stage::Syncing { id, .. }, FromLearner::Ack { zxid }) if zxid == self.epoch.start() => {
                handler.stage = Stage::Synced(*id);
                self.handlers.up_to_date(now, conn, out);
            }
            // Of its synchronisation, as to a leader.
            (Stage::Syncing { .. }, FromLearner::Ack { zxid }) if zxid < self.epoch.start() => {}
            (Stage::Syncing { .. }, FromLearner::Ping { .. }) => {}
            (Stage::Live(_), FromLearner::Ack { zxid }) if zxid == self.epoch.start() => {}
            (Stage::Live(_), FromLearner::Ping { sessions, .. }) => {
                if !sessions.is_empty() {
                    out.push(ZabOut::Touched { sessions });
                }
            }
            (Stage::Live(_), FromLearner::Request(request)) => out.push(ZabOut::Request { conn, request }),
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

    fn synchronize(
        &mut self,
        now: Time,
        conn: Conn,
        last: Zxid,
        holding: Holding<'_>,
        out: &mut Vec<ZabOut>,
    ) {
        match Epoch::of(last).cmp(&self.epoch) {
            std::cmp::Ordering::Greater => self.close(conn, Cause::BadEpoch(Epoch::of(last)), out),
            // Of this epoch an observer has only what is committed.
            std::cmp::Ordering::Equal if last > self.reached(holding) => {}
            std::cmp::Ordering::Equal | std::cmp::Ordering::Less => {
                let source = self.source(last, holding);
                self.handlers.synchronize(now, conn, last, source, out);
            }
        }
    }

    /// The history up to here is known to be committed.
    fn reached(&self, holding: Holding<'_>) -> Zxid {
        holding.history.delivered().max(self.epoch.start())
    }

    /// Half of the limit is for what comes meanwhile. What is more than that is not sent one by one: a snapshot goes out as it is
    /// taken in.
    fn source<'a>(&self, last: Zxid, holding: Holding<'a>) -> Source<'a> {
        let Holding { history, config } = holding;
        let end = history.delivered();
        let bytes: usize = history.after(last).take_while(|e| e.zxid <= end).map(|e| e.body.len()).sum();
        let force_snapshot = self.settings.force_snapshot || bytes > self.settings.observer_size_limit / 2;
        // Its own log on disk a follower does not read.
        let (serving, unreadable) = (Some(self.epoch), Zxid(i64::MAX));
        let known = Known { history, end, serving, force_snapshot, unreadable };
        Source { known, epoch: self.epoch, config }
    }

    /// A snapshot of the tree, as it is now, begins for an observer ([`ZabOut::WantSnapshot`]).
    pub fn snapshot_begun(&mut self, now: Time, conn: Conn, holding: Holding<'_>, out: &mut Vec<ZabOut>) {
        let zxid = self.reached(holding);
        let source = self.source(zxid, holding);
        self.handlers.snapshot_begun(now, conn, zxid, source, out);
    }

    /// Bytes of a snapshot are leaving to this observer: it is busy, not silent.
    pub fn snapshot_moves(&mut self, now: Time, conn: Conn) {
        if let Some(handler) = self.handlers.all.get_mut(&conn) {
            handler.heard = now;
        }
    }

    /// The follower has delivered this one, the last of `holding`.
    pub fn delivered(
        &mut self,
        now: Time,
        (zxid, body): (Zxid, &Bytes),
        designated: Option<ServerId>,
        holding: Holding<'_>,
        out: &mut Vec<ZabOut>,
    ) {
        self.handlers.committed(zxid, body, designated, out);
        let waits = |h: &Handler| matches!(h.stage, Stage::EpochAcked(_, last) if last == zxid);
        let waiting: Vec<Conn> =
            self.handlers.all.iter().filter(|(_, h)| waits(h)).map(|(c, _)| *c).collect();
        for conn in waiting {
            self.synchronize(now, conn, zxid, holding, out);
        }
    }

    /// Answers [`ZabOut::Revalidate`].
    pub fn revalidated(&self, conn: Conn, session: SessionId, valid: bool, out: &mut Vec<ZabOut>) {
        self.handlers.tell(conn, FromLeader::Revalidate { session, valid }, out);
    }

    /// The leader has answered this observer's oldest sync.
    pub fn synced(&self, conn: Conn, out: &mut Vec<ZabOut>) {
        self.handlers.tell(conn, FromLeader::Sync, out);
    }

    /// When to call [`ObserverMaster::wake`].
    pub fn next_wake(&self) -> Time {
        self.next_ping
    }

    /// Time has passed.
    pub fn wake(&mut self, now: Time, holding: Holding<'_>, out: &mut Vec<ZabOut>) {
        if self.next_ping > now {
            return;
        }
        self.next_ping = now + Span(self.settings.tick.0 / 2);
        self.handlers.drop_silent(now, &self.settings, out);
        let zxid = self.reached(holding);
        for (conn, h) in &self.handlers.all {
            if h.is_forwarding(Kind::Observer) {
                out.push(send(*conn, FromLeader::Ping { zxid }));
            }
        }
    }
}

#[cfg(test)]
mod tests;
