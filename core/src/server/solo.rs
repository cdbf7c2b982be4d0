//! The standalone role: a quorum of one. Handshake, requests, proposals, commits. Answers to `ZooKeeperServer` with
//! `PrepRequestProcessor`, `SyncRequestProcessor` and `FinalRequestProcessor` in one line.

use super::Base;
use super::conn::State;
use super::front::{Ask, Asked};
use super::line::{MalformedReply, Waiting, What};
use super::outstanding::Outstanding;
use super::prep::Prep;
use super::read;
use super::reaper::Reaper;
use crate::boundary::{
    AdminOrder, CloseCause, Conn, Event, Input, Lane, Port, RoleName, Stop, Ticket, Timer, Vouch,
};
use crate::config::Config;
use crate::id::{SessionId, Xid, Zxid};
use crate::jute::Bad;
use crate::proto::{
    ConnectRequest, ConnectResponse, ErrorCode, LoggedTxn, OpCode, ReplyHeader, Request, Response, Txn,
    TxnHeader,
};
use crate::session::{self, Touch};
use crate::time::{Now, Time};
use crate::tree::{Applied, Tree};
use bytes::Bytes;
use std::collections::VecDeque;

/// A standalone server's own state.
#[derive(Debug)]
pub(super) struct Solo {
    phase: Phase,
    outstanding: Outstanding,
    /// Proposed, not yet durable, in zxid order.
    in_flight: VecDeque<InFlight>,
    /// Connections in [`State::Returning`], and some that are gone.
    returning: Vec<Conn>,
    last_proposed: Zxid,
    reaper: Reaper,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// What was recovered is not durable yet.
    Recovering,
    Serving,
    /// Ordered to stop: what is in flight is finished, nothing new begins.
    Stopping,
}

#[derive(Debug)]
struct InFlight {
    logged: LoggedTxn,
    body: Bytes,
    /// Who gets the reply.
    asker: Option<Conn>,
}

/// What gets a zxid.
enum Proposal<'a> {
    /// A write that parses.
    Write(&'a Request),
    CreateSession {
        timeout: i32,
    },
    CloseSession,
    /// A failure known before any check.
    Failed(ErrorCode),
}

impl Solo {
    pub(super) fn new(tree: &Tree, config: &Config, now: Now) -> Solo {
        Solo {
            phase: Phase::Recovering,
            outstanding: Outstanding::new(tree.digest()),
            in_flight: VecDeque::new(),
            returning: Vec::new(),
            last_proposed: tree.last_zxid(),
            reaper: Reaper::new(config, now.mono),
        }
    }

    pub(super) fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    pub(super) fn last_proposed(&self) -> Zxid {
        self.last_proposed
    }

    pub(super) fn next_wake(&self, base: &Base) -> Option<(Time, Timer)> {
        if self.phase != Phase::Serving {
            return None;
        }
        [
            base.sessions.next_expiry().map(|t| (t, Timer::SessionExpiry)),
            base.conns.handshake_deadline().map(|t| (t, Timer::Handshake)),
            Some((self.reaper.next(), Timer::Reaper)),
            base.store.next_purge().map(|t| (t, Timer::Purge)),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// One input.
    pub(super) fn on(&mut self, base: &mut Base, input: Input<'_>) {
        match input {
            Input::Wake => {}
            Input::Opened { conn, port: Port::Client, peer } => base.open(conn, peer),
            Input::Opened { port: Port::Election | Port::Quorum, .. } => {
                unreachable!("a standalone server has neither port")
            }
            Input::Received { conn, bytes } => self.received(base, conn, bytes),
            Input::Writable { conn } => {
                if let Some(c) = base.conns.get_mut(conn) {
                    c.drained();
                    base.conns.touch(conn);
                    self.pump(base, conn);
                }
            }
            Input::Closed { conn } => {
                base.forget(conn);
            }
            Input::Durable { lane, upto } => self.durable(base, lane, upto),
            Input::DiskFailed { fault } => match fault.lane {
                Lane::Log => base.stop(Stop::Disk(fault)),
                Lane::Bulk => base.store.bulk_failed(fault, &mut base.tree, &mut base.out),
            },
            Input::Admin { order: AdminOrder::Shutdown } => self.shutdown(base),
            Input::Admin { order: AdminOrder::HostGauges { open_fds, max_fds } } => {
                base.stats.open_fds = open_fds;
                base.stats.max_fds = max_fds;
            }
        }
        if self.phase == Phase::Serving {
            self.timers(base);
            base.store.maybe_snapshot(&mut base.tree, &base.sessions, &mut base.out);
        }
    }

    fn timers(&mut self, base: &mut Base) {
        let now = base.now.mono;
        if base.sessions.next_expiry().is_some_and(|at| at <= now) {
            for session in base.sessions.expired(now) {
                if base.sessions.begin_close(session) {
                    base.stats.sessions_expired += 1;
                    base.event(Event::SessionExpired { session });
                    self.propose(base, None, session, 0, &[], Proposal::CloseSession);
                }
            }
        }
        while let Some(conn) = base.conns.overdue(now) {
            base.close(conn, CloseCause::NoHandshake);
        }
        if let Some(path) = self.reaper.due(base.now, &base.tree, &base.config) {
            let delete = Request::DeleteContainer { path };
            self.propose(base, None, SessionId::NONE, 0, &[], Proposal::Write(&delete));
        }
        if base.store.next_purge().is_some_and(|at| at <= now) {
            base.store.purge(now, &mut base.out);
        }
    }

    fn shutdown(&mut self, base: &mut Base) {
        match self.phase {
            Phase::Stopping => {}
            Phase::Recovering | Phase::Serving => {
                self.phase = Phase::Stopping;
                self.finish_if_idle(base);
            }
        }
    }

    fn finish_if_idle(&mut self, base: &mut Base) {
        if self.phase == Phase::Stopping && self.in_flight.is_empty() {
            for conn in base.conns.ids() {
                base.close(conn, CloseCause::Stopping);
            }
            base.stop(Stop::Ordered);
        }
    }

    // ---- questions ----

    fn received(&mut self, base: &mut Base, id: Conn, bytes: &[u8]) {
        if self.phase == Phase::Stopping {
            return;
        }
        base.stats.bytes_received += bytes.len() as u64;
        let Some(conn) = base.conns.get_mut(id) else { return };
        conn.put_input(bytes);
        self.pump(base, id);
    }

    /// Takes the questions of a connection as far as they need not wait.
    fn pump(&mut self, base: &mut Base, id: Conn) {
        while self.phase != Phase::Stopping
            && let Some(ask) = base.next_ask(id, self.is_serving())
        {
            match ask {
                Ask::Session(request) => self.connect(base, id, request),
                Ask::Operation(asked, request) => self.operation(base, id, asked, request),
            }
        }
        base.conns.touch(id);
    }

    // ---- handshake ----

    fn connect(&mut self, base: &mut Base, id: Conn, request: ConnectRequest) {
        base.stats.connects += 1;
        if self.phase != Phase::Serving {
            return base.close(id, CloseCause::NotServing);
        }
        // The client knows of a transaction that this server does not: it must try another one.
        if request.last_zxid_seen > base.tree.last_zxid() {
            return base.close(id, CloseCause::ZxidAhead);
        }
        let (min, max) = (base.config.min_session_timeout_ms, base.config.max_session_timeout_ms);
        let timeout_ms = request.timeout.clamp(min, max);
        // This server is never read-only.
        let read_only = request.read_only.map(|_| false);
        if request.session == SessionId::NONE {
            let session = base.sessions.create();
            if let Some(conn) = base.conns.get_mut(id) {
                conn.state = State::Connecting { session, timeout_ms, read_only };
            }
            let create = Proposal::CreateSession { timeout: timeout_ms };
            self.propose(base, Some(id), session, 0, &[], create);
            return;
        }
        let session = request.session;
        let known = request.password.as_deref() == Some(&session::password(session)[..])
            && base.sessions.touch(session, Some(timeout_ms), base.now.mono) == Touch::Live;
        if known {
            base.stats.revalidations += 1;
            base.attach(session, id, true);
            let under_way = self.in_flight.iter().rev().find(|p| p.logged.header.session == session);
            match under_way.map(|p| p.logged.header.zxid) {
                None => welcome(base, id, session, timeout_ms, read_only),
                Some(after) => {
                    if let Some(conn) = base.conns.get_mut(id) {
                        conn.state = State::Returning { session, timeout_ms, read_only, after };
                        self.returning.push(id);
                    }
                }
            }
        } else {
            let answer = ConnectResponse::invalid(read_only);
            if let Some(conn) = base.conns.get_mut(id) {
                conn.send_frame(|w| answer.encode(w));
            }
            base.close(id, CloseCause::InvalidSession);
        }
    }

    // ---- operations ----

    fn operation(&mut self, base: &mut Base, id: Conn, asked: Asked, request: Result<Request, Bad>) {
        let Asked { session, xid, op, size } = asked;
        let what = match request {
            Ok(request) if is_write(op) => What::Write { zxid: self.write(base, id, session, xid, &request) },
            // Java numbers a multi before it reads it, and meets a null only when it prepares the write.
            Err(bad) if op == OpCode::Multi || (is_write(op) && bad == Bad::Null) => {
                let failed = Proposal::Failed(ErrorCode::MarshallingError);
                What::Write { zxid: self.propose(base, Some(id), session, xid.0, &[], failed) }
            }
            Err(Bad::Tag(_)) if op == OpCode::MultiRead => What::Malformed(MalformedReply::EmptyMulti),
            Err(_) => What::Malformed(MalformedReply::Header),
            Ok(request) => What::Read(request),
        };
        let waiting = Waiting { xid, op, since: base.now.mono, size, what };
        let Some(conn) = base.conns.get_mut(id) else { return };
        match waiting.what {
            What::Read(_) | What::Malformed(_) if conn.line.is_empty() => answer(base, id, waiting),
            What::Read(_) | What::Malformed(_) | What::Write { .. } => {
                conn.line.push(waiting);
                base.waiting += 1;
            }
        }
    }

    fn write(&mut self, base: &mut Base, id: Conn, session: SessionId, xid: Xid, request: &Request) -> Zxid {
        let conn = base.conns.get_mut(id).expect("looked at just now");
        if matches!(request, Request::CloseSession) {
            conn.state = State::Closing { session };
            let begun = base.sessions.begin_close(session);
            assert!(begun, "a live session begins to close once");
            return self.propose(base, Some(id), session, xid.0, &[], Proposal::CloseSession);
        }
        let ids = std::sync::Arc::clone(conn.ids());
        self.propose(base, Some(id), session, xid.0, &ids, Proposal::Write(request))
    }

    // ---- transactions ----

    fn propose(
        &mut self,
        base: &mut Base,
        asker: Option<Conn>,
        session: SessionId,
        cxid: i32,
        ids: &[crate::proto::Id],
        proposal: Proposal<'_>,
    ) -> Zxid {
        let zxid = next_zxid(self.last_proposed);
        self.last_proposed = zxid;
        let header = TxnHeader { session, cxid, zxid, time: base.now.wall.0 };
        let prep =
            Prep { config: &base.config, tree: &base.tree, outstanding: &mut self.outstanding, header, ids };
        let txn = match proposal {
            Proposal::Write(request) => prep.write(request),
            Proposal::CreateSession { timeout } => Txn::CreateSession { timeout },
            Proposal::CloseSession => prep.close_session(session),
            Proposal::Failed(code) => Txn::Error { err: code.code() },
        };
        let has_digest = base.config.digest_enabled && !matches!(txn, Txn::Error { .. });
        let digest = has_digest.then(|| self.outstanding.digest());
        let logged = LoggedTxn { header, txn, digest };
        let body = base.store.encode(&logged);
        base.store.append(zxid, body.clone());
        base.store.park(Vouch::OwnAck(zxid));
        base.event(Event::Proposed { zxid, txn: body.clone() });
        base.event(Event::Logged { zxid, txn: body.clone() });
        self.in_flight.push_back(InFlight { logged, body, asker });
        zxid
    }

    fn durable(&mut self, base: &mut Base, lane: Lane, upto: Ticket) {
        let mut vouches = Vec::new();
        base.store.durable(lane, upto, &mut base.tree, base.now.mono, &mut vouches, &mut base.out);
        for vouch in vouches {
            base.event(Event::Vouched(vouch));
            match vouch {
                Vouch::Recovered(_) => {
                    if self.phase == Phase::Recovering {
                        self.phase = Phase::Serving;
                        base.event(Event::Became(RoleName::Standalone));
                        base.renew_sessions();
                        self.close_orphans(base);
                    }
                }
                Vouch::OwnAck(zxid) => self.commit_up_to(base, zxid),
                Vouch::Ack(_) | Vouch::AckEpoch(_) | Vouch::AckNewLeader(_) => {
                    unreachable!("a standalone server promises nothing to a peer")
                }
            }
        }
        self.finish_if_idle(base);
    }

    /// Ephemerals whose session is not known (Java's fuzzy snapshots can leave them) go as if it closed now. Java deletes
    /// them without a transaction, and its log does not replay to its tree then.
    fn close_orphans(&mut self, base: &mut Base) {
        let owners = base.tree.sessions_with_ephemerals().map(|(owner, _)| owner);
        let orphans: Vec<SessionId> = owners.filter(|s| base.sessions.timeout(*s).is_none()).collect();
        for session in orphans {
            self.propose(base, None, session, 0, &[], Proposal::CloseSession);
        }
    }

    fn commit_up_to(&mut self, base: &mut Base, zxid: Zxid) {
        let mut unblocked = Vec::new();
        while self.in_flight.front().is_some_and(|p| p.logged.header.zxid <= zxid) {
            let next = self.in_flight.pop_front().expect("looked at just now");
            unblocked.extend(next.asker);
            self.commit(base, next);
        }
        self.welcome_back(base, zxid, &mut unblocked);
        unblocked.sort_unstable();
        unblocked.dedup();
        for id in unblocked {
            self.pump(base, id);
            base.conns.touch(id);
        }
    }

    /// Confirms the sessions whose writes on former connections have all been applied.
    fn welcome_back(&mut self, base: &mut Base, applied: Zxid, unblocked: &mut Vec<Conn>) {
        self.returning.retain(|id| {
            let Some(conn) = base.conns.get(*id) else { return false };
            let State::Returning { session, timeout_ms, read_only, after } = conn.state else {
                unreachable!("only its writes' commit or its end takes a connection out of this state")
            };
            if after <= applied {
                welcome(base, *id, session, timeout_ms, read_only);
                unblocked.push(*id);
            }
            after > applied
        });
    }

    /// A transaction has become history: tree, sessions, watches, reply, in this order.
    fn commit(&mut self, base: &mut Base, InFlight { logged, body, asker }: InFlight) {
        let LoggedTxn { header, txn, digest } = logged;
        let zxid = header.zxid;
        base.event(Event::Committed { zxid, txn: body });
        if let Txn::CreateSession { timeout } = txn {
            base.sessions.commit_create(header.session, timeout, base.now.mono);
        }
        let mut changes = std::mem::take(&mut base.changes);
        let applied = base.tree.apply(&header, &txn, &mut changes);
        if let Some(digest) = digest {
            assert_eq!(digest, base.tree.digest(), "{zxid} was prepared for another tree");
        }
        self.outstanding.applied(zxid);
        base.stats.commits += 1;
        base.stats.note_digest(zxid, base.tree.digest());
        base.event(Event::Applied { zxid, digest: base.tree.digest() });
        for change in changes.drain(..) {
            base.fire(zxid, &change);
        }
        base.changes = changes;
        match &txn {
            Txn::CreateSession { timeout } => self.session_created(base, header.session, *timeout, asker),
            Txn::CloseSession { .. } => session_closed(base, &header, asker),
            _ => {
                if let Some(id) = asker {
                    written(base, id, zxid, &txn, applied);
                }
            }
        }
    }

    fn session_created(&mut self, base: &mut Base, session: SessionId, timeout: i32, asker: Option<Conn>) {
        let Some(conn) = asker.and_then(|id| base.conns.get(id)) else { return };
        let State::Connecting { read_only, .. } = conn.state else {
            unreachable!("a connection waits for its new session in this state")
        };
        let id = asker.expect("it has just been found");
        base.attach(session, id, false);
        welcome(base, id, session, timeout, read_only);
    }
}

/// Confirms a session to its client.
fn welcome(base: &mut Base, id: Conn, session: SessionId, timeout_ms: i32, read_only: Option<bool>) {
    let Some(conn) = base.conns.get_mut(id) else { return };
    conn.state = State::Open { session, timeout_ms };
    let answer = ConnectResponse {
        protocol_version: 0,
        timeout: timeout_ms,
        session,
        password: session::password(session),
        read_only,
    };
    conn.send_frame(|w| answer.encode(w));
    base.stats.sent += 1;
    base.conns.touch(id);
}

/// The session is gone: its connection goes too, with a reply if it asked for this.
fn session_closed(base: &mut Base, header: &TxnHeader, asker: Option<Conn>) {
    base.sessions.commit_close(header.session);
    let Some(owner) = base.conns.of_session(header.session) else { return };
    if asker == Some(owner) {
        reply_to_write(base, owner, header.zxid, Ok(Response::Empty));
        base.close(owner, CloseCause::SessionClosed);
    } else {
        base.close(owner, CloseCause::SessionExpired);
    }
}

/// Answers the write of a connection, then the reads that waited behind it.
fn written(base: &mut Base, id: Conn, zxid: Zxid, txn: &Txn, applied: Applied) {
    if base.conns.get(id).is_some() {
        reply_to_write(base, id, zxid, read::write_result(txn, applied));
        while let Some(waiting) = base.conns.get_mut(id).and_then(|c| c.line.next_ready()) {
            base.waiting -= 1;
            answer(base, id, waiting);
        }
    }
}

fn reply_to_write(base: &mut Base, id: Conn, zxid: Zxid, result: Result<Response, ErrorCode>) {
    let Some(conn) = base.conns.get_mut(id) else { return };
    let waiting = conn.line.committed(zxid);
    base.waiting -= 1;
    let bytes = conn.reply(waiting.xid, zxid, result.as_ref().map_err(|e| *e));
    note_reply(base, id, &waiting, zxid, bytes);
}

/// Answers what needs no commit, from the applied state.
fn answer(base: &mut Base, id: Conn, waiting: Waiting) {
    let result = match &waiting.what {
        What::Read(request) => read::read(base, id, request),
        What::Malformed(_) => Err(ErrorCode::MarshallingError),
        What::Write { .. } => unreachable!("a write is answered by its commit"),
    };
    let zxid = base.tree.last_zxid();
    let Some(conn) = base.conns.get_mut(id) else { return };
    // Whatever xid a ping had.
    let xid = if waiting.op == OpCode::Ping { Xid::PING } else { waiting.xid };
    let bytes = match waiting.what {
        What::Malformed(MalformedReply::EmptyMulti) => conn.send_frame(|w| {
            ReplyHeader { xid, zxid, err: ErrorCode::MarshallingError.code() }.encode(w);
            Response::Multi(Vec::new()).encode(w);
        }),
        _ => conn.reply(xid, zxid, result.as_ref().map_err(|e| *e)),
    };
    note_reply(base, id, &waiting, zxid, bytes);
}

fn note_reply(base: &mut Base, id: Conn, waiting: &Waiting, zxid: Zxid, bytes: usize) {
    let took = base.now.mono.since(waiting.since);
    base.stats.replied(waiting.op, took, bytes);
    let Some(conn) = base.conns.get_mut(id) else { return };
    conn.answered(waiting.op, waiting.xid, zxid, base.now.mono, took);
    if let Some(session) = conn.session() {
        base.event(Event::Replied { session, op: waiting.op as i32, latency: took.0 });
    }
    base.conns.touch(id);
}

fn is_write(op: OpCode) -> bool {
    match op {
        OpCode::Create
        | OpCode::Create2
        | OpCode::CreateContainer
        | OpCode::CreateTtl
        | OpCode::Delete
        | OpCode::SetData
        | OpCode::SetAcl
        | OpCode::Multi
        | OpCode::Reconfig
        | OpCode::CloseSession => true,
        OpCode::Exists
        | OpCode::GetData
        | OpCode::GetAcl
        | OpCode::GetChildren
        | OpCode::GetChildren2
        | OpCode::Sync
        | OpCode::Ping
        | OpCode::Check
        | OpCode::MultiRead
        | OpCode::CheckWatches
        | OpCode::RemoveWatches
        | OpCode::DeleteContainer
        | OpCode::Auth
        | OpCode::SetWatches
        | OpCode::Sasl
        | OpCode::GetEphemerals
        | OpCode::GetAllChildrenNumber
        | OpCode::SetWatches2
        | OpCode::AddWatch
        | OpCode::WhoAmI => false,
    }
}

/// Alone, a server may go on into the next epoch when a counter is used up (2^32 transactions, a day at full load); the
/// counter 0 is never a transaction.
fn next_zxid(last: Zxid) -> Zxid {
    match last.counter() {
        u32::MAX => Zxid::new(last.epoch() + 1, 1),
        _ => last.next(),
    }
}
