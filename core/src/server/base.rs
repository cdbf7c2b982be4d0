//! What outlives a role: tree, sessions, watches, store, clients' connections, and what every role does with them alike.
//! Answers to `ZooKeeperServer`. Knows no role and no peer.

use super::conn::{Connection, Connections, Share, State};
use super::local::Local;
use super::stats::Stats;
use crate::acl;
use crate::boundary::{
    CloseCause, Conn, DiskFault, Event, Lane, Output, PeerInfo, RoleName, Stop, Ticket, Timer, Vouch,
};
use crate::config::Config;
use crate::disk::Store;
use crate::id::{Epoch, SessionId, Zxid};
use crate::limits;
use crate::proto::{Acl, EventKind, Id, LoggedTxn, perms};
use crate::rng::Rng;
use crate::session::{Sessions, Touch};
use crate::time::{Now, Time};
use crate::tree::{Change, Tree};
use crate::watch::WatchTable;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) config: Config,
    pub(super) now: Now,
    pub(super) started: Now,
    /// What the server is, as `srvr` shows it.
    pub(super) role: RoleName,
    pub(super) tree: Tree,
    pub(super) sessions: Sessions,
    pub(super) local: Local,
    pub(super) rng: Rng,
    pub(super) watches: WatchTable,
    pub(super) store: Store,
    pub(super) conns: Connections,
    /// Who waits for the commit of a new session.
    pub(super) connecting: BTreeMap<SessionId, Conn>,
    pub(super) stats: Stats,
    /// Requests in all lines.
    pub(super) waiting: usize,
    /// Voters of the configuration in force.
    pub(super) voters: usize,
    /// The outputs of the step under way.
    pub(super) out: Vec<Output>,
    /// Kept empty between applies.
    pub(super) changes: Vec<Change>,
    /// The last transaction before the epoch is served, if the tree did not come out as it says.
    pub(super) wrong: Option<Zxid>,
    /// A leader that serves has committed all that the tree holds.
    pub(super) is_committed: bool,
}

impl Base {
    pub(super) fn event(&mut self, event: Event) {
        self.out.push(Output::Event(event));
    }

    pub(super) fn stop(&mut self, stop: Stop) {
        self.out.push(Output::Stop(stop));
    }

    /// The end of a step: disk work first, so that it is under way while replies are written.
    pub(super) fn flush(&mut self) {
        self.store.flush(&mut self.out);
        while let Some(conn) = self.conns.next_dirty() {
            self.flush_conn(conn);
        }
    }

    pub(super) fn flush_conn(&mut self, id: Conn) {
        let share = self.share();
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.flush(id, &mut self.out);
        if conn.unsent() > limits::SEND_CLOSE {
            self.close(id, CloseCause::SlowReader);
        } else if let Some(on) = conn.pause_changed(share) {
            self.out.push(Output::Pause { conn: id, on });
        }
    }

    /// Accepts a connection, unless there are too many.
    pub(super) fn open(&mut self, id: Conn, peer: PeerInfo) {
        if self.conns.may_open(peer) {
            self.conns.insert(id, Connection::new(peer, self.now));
        } else {
            self.stats.rejected += 1;
            self.event(Event::ConnClosed { conn: id, cause: CloseCause::TooManyConnections });
            self.out.push(Output::Close { conn: id });
        }
    }

    /// Closes a connection from this side: what is queued for it leaves first.
    pub(super) fn close(&mut self, id: Conn, cause: CloseCause) {
        let Some(mut conn) = self.forget(id) else { return };
        conn.flush(id, &mut self.out);
        self.event(Event::ConnClosed { conn: id, cause });
        self.out.push(Output::Close { conn: id });
    }

    /// Drops all that hangs on a connection.
    pub(super) fn forget(&mut self, id: Conn) -> Option<Connection> {
        let conn = self.conns.remove(id)?;
        if let State::Connecting { session, .. } = conn.state {
            self.connecting.remove(&session);
        }
        self.watches.remove_conn(id);
        self.waiting -= conn.line.len();
        self.stats.dropped += 1;
        Some(conn)
    }

    /// Makes `conn` the owner of `session`; the connection that owned it on this server is closed.
    pub(super) fn attach(&mut self, session: SessionId, id: Conn, reattached: bool) {
        if let Some(old) = self.conns.attach(session, id) {
            self.close(old, CloseCause::SessionMoved);
        }
        self.event(Event::SessionAttached { session, conn: id, reattached });
    }

    /// A sign of life of a session, local or not.
    pub(super) fn touch_session(&mut self, session: SessionId, timeout_ms: i32) -> Touch {
        match self.local.touch(session, timeout_ms, self.now.mono) {
            Touch::Unknown => self.sessions.touch(session, Some(timeout_ms), self.now.mono),
            known => known,
        }
    }

    /// Closes every client's connection.
    pub(super) fn close_all(&mut self, cause: CloseCause) {
        for conn in self.conns.ids() {
            self.close(conn, cause);
        }
    }

    pub(super) fn become_role(&mut self, role: RoleName) {
        self.role = role;
        self.event(Event::Became(role));
    }

    /// An epoch is served: its zxids have begun, and every session lives.
    pub(super) fn begin_epoch(&mut self, epoch: Epoch) {
        if let Some(zxid) = self.wrong.take() {
            self.event(Event::DigestMismatch { zxid });
        }
        let start = self.tree.last_zxid().max(epoch.start());
        self.tree.set_last_zxid(start);
        self.sessions.restart(self.now.mono);
        // What an earlier life of this server asked of a leader may still be on its way, and nothing here tells of it: so no
        // zxid tells the lives apart.
        self.sessions.begin_life(self.rng.u64());
        self.is_committed = true;
        self.event(Event::Activated { epoch });
    }

    /// A role in an ensemble is over: nobody is served, and nothing that it promised counts any more.
    pub(super) fn role_over(&mut self) {
        self.store.forget_parked();
        self.close_all(CloseCause::NotServing);
        self.local.forget_all(self.now.mono);
    }

    /// A transaction of another server has become history.
    pub(super) fn commit_foreign(&mut self, logged: LoggedTxn, body: Bytes) -> Option<Conn> {
        let zxid = logged.header.zxid;
        let (unblocked, digest) = self.commit(logged, body);
        if digest.is_err() {
            self.event(Event::DigestMismatch { zxid });
        }
        unblocked
    }

    /// The same before the epoch is served. A snapshot of a Java leader may hold transactions that are yet to come, all of
    /// them before that: only the last digest has to be right.
    pub(super) fn commit_history(&mut self, logged: LoggedTxn, body: Bytes) -> Option<Conn> {
        let (zxid, has_digest) = (logged.header.zxid, logged.digest.is_some());
        let (unblocked, digest) = self.commit(logged, body);
        if has_digest {
            self.wrong = digest.err().map(|_| zxid);
        }
        unblocked
    }

    /// Hands a transaction to the log.
    pub(super) fn log(&mut self, zxid: Zxid, body: Bytes) {
        self.event(Event::Logged { zxid, txn: body.clone() });
        self.store.append(zxid, body);
    }

    /// A lane is durable up to a ticket; the promises that may be kept now.
    pub(super) fn durable(&mut self, lane: Lane, upto: Ticket) -> Vec<Vouch> {
        let mut vouches = Vec::new();
        self.store.durable(lane, upto, &mut self.tree, self.now.mono, &mut vouches, &mut self.out);
        vouches
    }

    pub(super) fn disk_failed(&mut self, fault: DiskFault) {
        match fault.lane {
            Lane::Log => self.stop(Stop::Disk(fault)),
            Lane::Bulk => self.store.bulk_failed(fault, &mut self.tree, &mut self.out),
        }
    }

    /// What is due in every role that serves.
    pub(super) fn timers(&mut self) {
        let now = self.now.mono;
        self.expire_local();
        while let Some(conn) = self.conns.overdue(now) {
            self.close(conn, CloseCause::NoHandshake);
        }
        if self.store.next_purge().is_some_and(|at| at <= now) {
            self.store.purge(now, &mut self.out);
        }
    }

    /// When [`Base::timers`] has something to do.
    pub(super) fn next_wake(&self) -> impl Iterator<Item = (Time, Timer)> {
        let handshake = self.conns.handshake_deadline().map(|t| (t, Timer::Handshake));
        let purge = self.store.next_purge().map(|t| (t, Timer::Purge));
        let local = self.local.next_expiry().map(|t| (t, Timer::SessionExpiry));
        handshake.into_iter().chain(purge).chain(local)
    }

    /// The identities of a connection; none if it is gone.
    pub(super) fn ids(&self, id: Conn) -> &[Id] {
        self.conns.get(id).map_or(&[], |c| c.ids())
    }

    /// How much of one connection may be under way. While more requests wait in all than globalOutstandingLimit allows, it is an
    /// equal part of the limit, one at least, so that whoever asks much does not shut the others out.
    pub(super) fn share(&self) -> Share {
        let limit = self.outstanding_limit();
        let requests = match self.waiting <= limit {
            true => usize::MAX,
            false => (limit / self.conns.len().max(1)).max(1),
        };
        Share { requests, unsent: self.config.send_pause }
    }

    /// globalOutstandingLimit is the ensemble's: of three voters or more, each but one has an equal part of it. Answers to
    /// `LeaderZooKeeperServer.getGlobalOutstandingLimit` and its like.
    pub(super) fn outstanding_limit(&self) -> usize {
        let limit = self.config.global_outstanding_limit as usize;
        match self.role {
            RoleName::Leader | RoleName::Follower if self.voters > 2 => limit / (self.voters - 1),
            RoleName::Leader
            | RoleName::Follower
            | RoleName::Standalone
            | RoleName::Looking
            | RoleName::Observer
            | RoleName::ReadOnly => limit,
        }
    }

    /// Tells everyone who watches, before any reply that shows the change.
    pub(super) fn fire(&mut self, zxid: Zxid, change: &Change) {
        let (conns, stats, skip) = (&mut self.conns, &mut self.stats, self.config.skip_acl);
        let mut deliver = |id: Conn, kind: EventKind, path: &str, acl: &Arc<[Acl]>| {
            let Some(conn) = conns.get_mut(id) else { return };
            // A watcher that may not read the node learns nothing of it; its one-shot watch is used up all the same.
            if acl::allowed(skip, acl, perms::READ, conn.ids()) {
                stats.sent += 1;
                conn.notify(zxid, kind, path);
                conns.touch(id);
            }
        };
        self.watches.fire(change, &mut deliver);
    }
}
