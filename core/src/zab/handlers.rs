//! The learners of a server that has some, be it their leader or their observer master: who they are, how they come to its
//! history, what is told to all of them, when they are given up. Answers to `LearnerMaster` and `LearnerHandler`.

use super::handler::{Handler, Identity, Kind, Stage};
use super::sync::{self, Known, Peer, Start};
use super::{Cause, MAX_EPOCH, Settings, ZabOut};
use crate::boundary::{Conn, SyncBy};
use crate::id::{Epoch, ServerId, Zxid};
use crate::proto::{FromLeader, LearnerInfo, ZAB_VERSION};
use crate::quorum::{self, QuorumVerifier};
use crate::time::Time;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Handlers {
    me: ServerId,
    pub(super) all: BTreeMap<Conn, Handler>,
}

/// What learners are brought up to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) known: Known<'a>,
    pub(super) epoch: Epoch,
    /// For NEWLEADER.
    pub(super) config: &'a QuorumVerifier,
}

impl Handlers {
    pub(super) fn new(me: ServerId) -> Handlers {
        Handlers { me, all: BTreeMap::new() }
    }

    /// A learner connected.
    pub(super) fn open(&mut self, now: Time, conn: Conn) {
        self.all.insert(conn, Handler::new(now));
    }

    pub(super) fn close(&mut self, conn: Conn, cause: Cause, out: &mut Vec<ZabOut>) {
        if self.all.remove(&conn).is_some() {
            out.push(ZabOut::Close { conn, cause });
        }
    }

    /// There is nothing to learn here any more.
    pub(super) fn close_all(&mut self, out: &mut Vec<ZabOut>) {
        for (conn, _) in std::mem::take(&mut self.all) {
            out.push(ZabOut::Close { conn, cause: Cause::LeaderLost });
        }
    }

    /// Closes learners that do not answer.
    pub(super) fn drop_silent(&mut self, now: Time, settings: &Settings, out: &mut Vec<ZabOut>) {
        let (init, sync) = (settings.init(), settings.sync());
        let overdue = |h: &Handler| match h {
            h if h.is_silent(now, init, sync) => Some(Cause::Silent),
            h if h.is_slow(now, sync) => Some(Cause::AckOverdue),
            _ => None,
        };
        let overdue: Vec<_> = self.all.iter().filter_map(|(c, h)| Some((*c, overdue(h)?))).collect();
        for (conn, cause) in overdue {
            self.close(conn, cause, out);
        }
    }

    /// FOLLOWERINFO or OBSERVERINFO: who it is, if it may learn here. `version`: of the configuration in force.
    pub(super) fn greet(
        &mut self,
        conn: Conn,
        kind: Kind,
        accepted: Epoch,
        info: LearnerInfo,
        version: i64,
        out: &mut Vec<ZabOut>,
    ) -> Option<Identity> {
        let refused = if info.sid == self.me {
            Some(Cause::OwnServerId)
        } else if info.protocol_version < ZAB_VERSION {
            Some(Cause::OldProtocol(info.protocol_version))
        } else if info.config_version > version
            && !(quorum::is_initial(info.config_version) && quorum::is_initial(version))
        {
            Some(Cause::ConfigAhead)
        } else if accepted >= MAX_EPOCH {
            Some(Cause::BadEpoch(accepted))
        } else {
            None
        };
        if let Some(cause) = refused {
            self.close(conn, cause, out);
            return None;
        }
        let same = |h: &Handler| h.identity().is_some_and(|id| id.sid == info.sid);
        let old: Vec<Conn> = self.all.iter().filter(|(_, h)| same(h)).map(|(c, _)| *c).collect();
        for conn in old {
            self.close(conn, Cause::Replaced, out);
        }
        let id = Identity { sid: info.sid, kind, exact: info.protocol_version >= sync::EXACT };
        self.all.get_mut(&conn).expect("its packet was just taken").stage = Stage::Registered(id);
        Some(id)
    }

    /// LEADERINFO for one that has said who it is.
    pub(super) fn offer(&mut self, now: Time, conn: Conn, epoch: Epoch, out: &mut Vec<ZabOut>) {
        let handler = self.all.get_mut(&conn).expect("it is in the table");
        if let Stage::Registered(id) = handler.stage {
            handler.stage = Stage::Offered(id);
            handler.heard = now;
            let zxid = epoch.start();
            out.push(send(conn, FromLeader::LeaderInfo { zxid, protocol_version: ZAB_VERSION }));
        }
    }

    /// syncFollower, for one whose ACKEPOCH has come.
    pub(super) fn synchronize(
        &mut self,
        now: Time,
        conn: Conn,
        last: Zxid,
        source: Source<'_>,
        out: &mut Vec<ZabOut>,
    ) {
        let id = self.all.get(&conn).and_then(Handler::identity).expect("it has said who it is");
        let start = sync::decide(source.known, Peer { last, exact: id.exact });
        match begin(conn, id, start, (source.known, SyncBy::Memory), out) {
            Some(from) => self.forward(now, conn, from, source, out),
            None if start == Start::Log => out.push(ZabOut::WantLog { conn, after: last }),
            None => out.push(ZabOut::WantSnapshot { conn }),
        }
    }

    /// The next entry of the log on disk for a learner ([`ZabOut::WantLog`]), and the one before it. True: go on.
    pub(super) fn log_entry(
        &mut self,
        now: Time,
        conn: Conn,
        before: Zxid,
        (zxid, txn): (Zxid, Bytes),
        source: Source<'_>,
        out: &mut Vec<ZabOut>,
    ) -> bool {
        let known = source.known;
        let Some(handler) = self.all.get_mut(&conn) else { return false };
        let Stage::EpochAcked(id, last) = handler.stage else { return false };
        if handler.from_log.is_none() {
            let start = sync::from_entry(known.serving, Peer { last, exact: id.exact }, before);
            if begin(conn, id, start, (known, SyncBy::Log), out).is_none() {
                out.push(ZabOut::WantSnapshot { conn });
                return false;
            }
        }
        // What the window holds comes from there: it may not be committed, or not on disk yet.
        let base = known.history.base();
        if zxid <= base {
            out.push(send(conn, FromLeader::Proposal { zxid, txn }));
            out.push(send(conn, FromLeader::Commit { zxid }));
        }
        if zxid >= base {
            self.forward(now, conn, base, source, out);
            return false;
        }
        handler.from_log = Some(zxid);
        true
    }

    /// The log on disk leads no further, though the window has not begun yet. What was sent of it, if the connection is closed
    /// for that.
    pub(super) fn log_ends(&mut self, conn: Conn, out: &mut Vec<ZabOut>) -> Option<Zxid> {
        let sent = self.all.get(&conn)?.from_log;
        match sent {
            Some(_) => self.close(conn, Cause::LogUnreadable, out),
            None => out.push(ZabOut::WantSnapshot { conn }),
        }
        sent
    }

    /// A snapshot of the tree, as it is now, begins for a learner ([`ZabOut::WantSnapshot`]) under this name.
    pub(super) fn snapshot_begun(
        &mut self,
        now: Time,
        conn: Conn,
        zxid: Zxid,
        source: Source<'_>,
        out: &mut Vec<ZabOut>,
    ) {
        let Some(Stage::EpochAcked(id, _)) = self.all.get(&conn).map(|h| &h.stage) else { return };
        out.push(ZabOut::Synchronizes { learner: id.sid, by: SyncBy::Snapshot });
        out.push(send(conn, FromLeader::Snap { zxid }));
        out.push(ZabOut::SendSnapshot { conn, zxid });
        self.forward(now, conn, zxid, source, out);
    }

    /// Everything above `from`, then NEWLEADER; from here on the learner gets what is new. Answers to `startForwarding`.
    fn forward(&mut self, now: Time, conn: Conn, from: Zxid, source: Source<'_>, out: &mut Vec<ZabOut>) {
        let Source { known, epoch, config } = source;
        let handler = self.all.get_mut(&conn).expect("it is in the table");
        let Stage::EpochAcked(id, _) = handler.stage else { unreachable!("only such a one is synchronised") };
        for entry in known.history.after(from) {
            let zxid = entry.zxid;
            if zxid <= known.end {
                out.push(send(conn, FromLeader::Proposal { zxid, txn: entry.body.clone() }));
                out.push(send(conn, FromLeader::Commit { zxid }));
            } else if id.kind == Kind::Follower {
                out.push(send(conn, FromLeader::Proposal { zxid, txn: entry.body.clone() }));
                handler.proposed(zxid, now);
            }
        }
        handler.stage = Stage::Syncing { id, early: BTreeSet::new() };
        handler.heard = now;
        let config = Some(Bytes::from(config.to_string()));
        out.push(send(conn, FromLeader::NewLeader { zxid: epoch.start(), config }));
    }

    /// UPTODATE for one that has acked NEWLEADER.
    pub(super) fn up_to_date(&mut self, now: Time, conn: Conn, out: &mut Vec<ZabOut>) {
        let handler = self.all.get_mut(&conn).expect("it is in the table");
        let Stage::Synced(id) = handler.stage else { unreachable!("only such a one is told") };
        handler.stage = Stage::Live(id);
        handler.heard = now;
        handler.may_ack(now);
        out.push(send(conn, FromLeader::UpToDate));
    }

    /// COMMIT or INFORM to all who get what is new. `designated`: it is a reconfiguration.
    pub(super) fn committed(
        &self,
        zxid: Zxid,
        body: &Bytes,
        designated: Option<ServerId>,
        out: &mut Vec<ZabOut>,
    ) {
        for (conn, h) in &self.all {
            let packet = if h.is_forwarding(Kind::Follower) {
                match designated {
                    None => FromLeader::Commit { zxid },
                    Some(designated) => FromLeader::CommitAndActivate { zxid, designated },
                }
            } else if h.is_forwarding(Kind::Observer) {
                let txn = body.clone();
                match designated {
                    None => FromLeader::Inform { zxid, txn },
                    Some(designated) => FromLeader::InformAndActivate { zxid, designated, txn },
                }
            } else {
                continue;
            };
            out.push(send(*conn, packet));
        }
    }

    /// Sends a packet to a learner, if it is still there.
    pub(super) fn tell(&self, conn: Conn, packet: FromLeader, out: &mut Vec<ZabOut>) {
        if self.all.contains_key(&conn) {
            out.push(send(conn, packet));
        }
    }
}

/// DIFF or TRUNC, if it is one; the zxid above which entries follow.
fn begin(
    conn: Conn,
    id: Identity,
    start: Start,
    (known, by): (Known<'_>, SyncBy),
    out: &mut Vec<ZabOut>,
) -> Option<Zxid> {
    let (packet, from) = match start {
        Start::Diff { from } => {
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

pub(super) fn send(conn: Conn, packet: FromLeader) -> ZabOut {
    ZabOut::Send { conn, packet: packet.into_packet() }
}
