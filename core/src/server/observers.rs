//! A follower's observers, which come to its observerMasterPort: their connections, what they ask of the leader, whose answer is
//! whose. Answers to the observers' part of `FollowerZooKeeperServer`.
//!
//! To the leader a session of an observer is one of this follower's. So that nothing takes effect of the connection that it has
//! left, it is known here at which observer it is used: what another one still forwards fails. Java lets that through.

use super::base::Base;
use super::clients;
use super::learning::{Asker, CREATE_SESSION, Learning};
use super::member::Member;
use super::peers::Peers;
use super::snapshots::Snapshots;
use crate::boundary::{CloseCause, Conn};
use crate::id::{Epoch, ServerId, SessionId, Zxid};
use crate::jute::Reader;
use crate::limits;
use crate::proto::{ForwardedRequest, Id, OpCode, Request};
use crate::zab::{Cause, Holding, ObserverMaster, ZabOut};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug)]
pub(super) struct Observers {
    pub(super) master: ObserverMaster,
    pub(super) snapshots: Snapshots,
    /// Sessions that came here by way of an observer, and where they are used now.
    users: BTreeMap<SessionId, User>,
    size_limit: usize,
}

/// Where a session is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum User {
    Observer(Conn),
    /// At none of the observers that are here, as far as is known.
    Elsewhere,
}

impl Observers {
    /// Of a follower that is up to date.
    pub(super) fn new(base: &Base, m: &Member, epoch: Epoch) -> Observers {
        Observers {
            master: ObserverMaster::new(m.me, m.zab, epoch, base.now.mono),
            snapshots: Snapshots::default(),
            users: BTreeMap::new(),
            size_limit: m.zab.observer_size_limit,
        }
    }

    /// An observer connected.
    pub(super) fn opened(&mut self, base: &Base, peers: &mut Peers, conn: Conn) {
        peers.open_observer(conn, limits::MAX_LEARNER_PACKET, self.size_limit);
        self.master.opened(base.now.mono, conn);
    }

    /// What was sent to an observer has left.
    pub(super) fn writable(&mut self, base: &mut Base, peers: &mut Peers, conn: Conn) {
        self.master.snapshot_moves(base.now.mono, conn);
        self.snapshots.go_on(base, peers, conn);
    }

    /// All that hangs on a connection.
    pub(super) fn forget(&mut self, base: &mut Base, conn: Conn) {
        self.master.closed(conn);
        self.snapshots.forget(base, conn);
        for user in self.users.values_mut().filter(|user| **user == User::Observer(conn)) {
            *user = User::Elsewhere;
        }
    }

    /// A client of this follower goes on with a session.
    pub(super) fn comes_here(&mut self, session: SessionId) {
        if let Some(user) = self.users.get_mut(&session) {
            *user = User::Elsewhere;
        }
    }

    /// A session is over, or there is none.
    pub(super) fn closed(&mut self, session: SessionId) {
        self.users.remove(&session);
    }

    /// An observer forwards this: may it go on to the leader?
    fn takes(&mut self, conn: Conn, request: &ForwardedRequest) -> bool {
        if request.op == CREATE_SESSION {
            self.users.insert(request.session, User::Observer(conn));
        }
        // Of local sessions nothing is known here; they are used at one server only.
        self.users.get(&request.session).is_none_or(|user| *user == User::Observer(conn))
    }
}

/// A scheme that no client can have an identity of: the request comes from where its session is not used any more.
const MOVED: &str = "session-moved";

/// Says the learner that a request's session has moved, under the same learner?
pub(super) fn has_moved(ids: &[Id]) -> bool {
    ids.iter().any(|id| id.scheme == MOVED)
}

/// A request that fails whoever leads, in the place of one that may not take effect: its observer waits for a transaction of its
/// session and cxid, and Java's lets the session do nothing else before that.
fn failing(request: ForwardedRequest, moved: bool) -> ForwardedRequest {
    let mut body = BytesMut::new();
    Request::Delete { path: "/".to_owned(), version: -1 }.encode(&mut body);
    let ids = moved.then(|| Id { scheme: MOVED.to_owned(), id: String::new() });
    let (body, authinfo) = (body.freeze(), Some(ids.into_iter().collect()));
    ForwardedRequest { op: OpCode::Delete as i32, body, authinfo, ..request }
}

/// Only what decodes is forwarded, as of this server's own clients: a Java leader does not stand anything else.
fn is_well_formed(request: &ForwardedRequest) -> bool {
    let mut r = Reader::new(&request.body);
    match OpCode::from_int(request.op) {
        Some(OpCode::CloseSession) => true,
        Some(op) if clients::is_write(op) || op == OpCode::Sync => Request::decode(op, &mut r).is_ok(),
        Some(_) => false,
        None => request.op == CREATE_SESSION && r.int().is_ok(),
    }
}

impl Learning {
    pub(super) fn with_observers(
        &mut self,
        m: &Member,
        call: impl FnOnce(&mut ObserverMaster, Holding<'_>, &mut Vec<ZabOut>),
    ) {
        let Some(observers) = &mut self.observers else { return };
        let mut out = Vec::new();
        let holding = Holding { history: self.zab.history(), config: &m.view().committed };
        call(&mut observers.master, holding, &mut out);
        self.todo.extend(out);
    }

    pub(super) fn has_observer(&self, conn: Conn) -> bool {
        self.observers.as_ref().is_some_and(|o| o.master.has(conn))
    }

    /// An observer's connection is gone.
    pub(super) fn observer_gone(&mut self, base: &mut Base, conn: Conn) {
        if let Some(observers) = &mut self.observers {
            observers.forget(base, conn);
        }
    }

    /// Packets of an observer.
    pub(super) fn observer_packets(&mut self, base: &mut Base, m: &mut Member, conn: Conn) {
        let now = base.now.mono;
        loop {
            match m.peers.next_packet(conn) {
                Ok(Some(packet)) => {
                    self.with_observers(m, |master, holding, out| {
                        master.packet(now, conn, packet, holding, out)
                    });
                }
                Ok(None) => return,
                Err(bad) => {
                    let cause = Cause::Malformed(bad);
                    return self.with_observers(m, |master, _, out| master.close(conn, cause, out));
                }
            }
        }
    }

    /// A transaction was delivered here: observers are told of it.
    pub(super) fn tell_observers(
        &mut self,
        base: &Base,
        m: &Member,
        txn: (Zxid, &Bytes),
        designated: Option<ServerId>,
    ) {
        let now = base.now.mono;
        self.with_observers(m, |master, holding, out| master.delivered(now, txn, designated, holding, out));
    }

    /// A snapshot that an observer needs may begin. False: there is none.
    pub(super) fn next_snapshot(&mut self, base: &Base, m: &Member) -> bool {
        let (now, next) = (base.now.mono, self.observers.as_mut().and_then(|o| o.snapshots.next(base)));
        if let Some(conn) = next {
            self.with_observers(m, |master, holding, out| master.snapshot_begun(now, conn, holding, out));
        }
        next.is_some()
    }

    /// What ZAB asks for an observer.
    pub(super) fn for_observer(&mut self, base: &mut Base, m: &mut Member, out: ZabOut) {
        let Some(observers) = &mut self.observers else { unreachable!("there is no observer: {out:?}") };
        match out {
            ZabOut::WantSnapshot { conn } => observers.snapshots.want(conn),
            ZabOut::SendSnapshot { conn, .. } => observers.snapshots.begin(base, &mut m.peers, conn),
            ZabOut::Request { conn, request } => self.relay(conn, request),
            ZabOut::Revalidate { conn, session, timeout } => {
                self.goes_to_observer(base, conn, session, timeout);
            }
            ZabOut::Touched { sessions } => {
                for (session, timeout) in sessions {
                    self.zab.touch(session, timeout);
                }
            }
            other => unreachable!("not an observer's: {other:?}"),
        }
    }

    /// The leader's answer for a session that goes on at an observer.
    pub(super) fn observer_revalidated(&mut self, m: &Member, conn: Conn, session: SessionId, valid: bool) {
        if !valid && let Some(observers) = &mut self.observers {
            observers.closed(session);
        }
        self.with_observers(m, |master, _, out| master.revalidated(conn, session, valid, out));
    }

    /// An observer forwards what one of its clients asks.
    fn relay(&mut self, conn: Conn, request: ForwardedRequest) {
        let Some(observers) = &mut self.observers else { return };
        if !is_well_formed(&request) {
            self.forward(failing(request, false));
        } else if request.op == OpCode::Sync as i32 {
            self.last_tag += 1;
            let tag = self.last_tag;
            self.syncs.insert(tag, Asker::Observer(conn));
            self.with_zab(|zab, out| {
                zab.sync(tag, request, out);
            });
        } else if observers.takes(conn, &request) {
            self.forward(request);
        } else {
            self.forward(failing(request, true));
        }
    }

    /// A session goes on at an observer.
    fn goes_to_observer(&mut self, base: &mut Base, conn: Conn, session: SessionId, timeout: i32) {
        let Some(observers) = &mut self.observers else { return };
        observers.users.insert(session, User::Observer(conn));
        if let Some(old) = base.conns.of_session(session) {
            base.close(old, CloseCause::SessionMoved);
        }
        self.returning.entry(session).or_default().push_back(Asker::Observer(conn));
        self.with_zab(|zab, out| {
            zab.revalidate(session, timeout, out);
        });
    }

    /// The role is over.
    pub(super) fn leave_observers(&mut self, base: &mut Base, m: &mut Member) {
        let Some(mut observers) = self.observers.take() else { return };
        observers.snapshots.give_up(base);
        let mut out = Vec::new();
        observers.master.end(&mut out);
        for closed in out {
            let ZabOut::Close { conn, cause } = closed else { unreachable!("it does nothing else") };
            m.peers.close(conn, CloseCause::Peer(cause), &mut base.out);
        }
    }
}
