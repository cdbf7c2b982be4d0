//! What a client hears: its session confirmed, its writes answered once they are committed, its reads from the applied tree.
//! Answers to `FinalRequestProcessor` and `ZooKeeperServer.finishSessionInit`. Knows no role.

use super::Base;
use super::conn::State;
use super::line::{Waiting, What};
use super::read;
use crate::boundary::{CloseCause, Conn, Event};
use crate::id::{SessionId, Xid, Zxid};
use crate::proto::{ConnectResponse, ErrorCode, LoggedTxn, OpCode, ReplyHeader, Response, Txn, TxnHeader};
use crate::session;
use crate::tree::Applied;
use bytes::Bytes;

/// Why a tree does not come out as its transaction says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct WrongDigest;

impl Base {
    /// A transaction has become history: tree, sessions, watches, reply, in this order. The connection that may go on with
    /// its questions, and whether the tree is the one that the transaction was made for.
    pub(super) fn commit(
        &mut self,
        logged: LoggedTxn,
        body: Bytes,
    ) -> (Option<Conn>, Result<(), WrongDigest>) {
        let LoggedTxn { header, txn, digest } = logged;
        let zxid = header.zxid;
        self.event(Event::Committed { zxid, txn: body });
        if let Txn::CreateSession { timeout } = txn {
            self.sessions.commit_create(header.session, timeout, self.now.mono);
            self.local.forget(header.session);
        }
        let mut changes = std::mem::take(&mut self.changes);
        let applied = self.tree.apply(&header, &txn, &mut changes);
        let agrees = digest.is_none_or(|digest| digest == self.tree.digest());
        self.stats.commits += 1;
        self.stats.note_digest(zxid, self.tree.digest());
        self.event(Event::Applied { zxid, digest: self.tree.digest() });
        for change in changes.drain(..) {
            self.fire(zxid, &change);
        }
        self.changes = changes;
        let unblocked = match &txn {
            Txn::CreateSession { timeout } => self.session_created(header.session, *timeout),
            Txn::CloseSession { .. } => {
                self.session_closed(&header);
                None
            }
            _ => self.written(&header, &txn, applied),
        };
        (unblocked, if agrees { Ok(()) } else { Err(WrongDigest) })
    }

    fn session_created(&mut self, session: SessionId, timeout: i32) -> Option<Conn> {
        let id = self.connecting.remove(&session)?;
        let conn = self.conns.get(id)?;
        let State::Connecting { read_only, .. } = conn.state else {
            unreachable!("a connection waits for its new session in this state")
        };
        self.attach(session, id, false);
        self.welcome(id, session, timeout, read_only);
        Some(id)
    }

    /// The session is gone: its connection goes too, with a reply if it asked for this.
    fn session_closed(&mut self, header: &TxnHeader) {
        self.sessions.commit_close(header.session);
        let Some(owner) = self.conns.of_session(header.session) else { return };
        let asked = matches!(self.conns.get(owner).map(|c| c.state), Some(State::Closing { .. }));
        if asked && self.reply_to_write(owner, header, Ok(Response::Empty)) {
            self.close(owner, CloseCause::SessionClosed);
        } else {
            self.close(owner, CloseCause::SessionExpired);
        }
    }

    /// Answers the write of a connection here, then what waited behind it.
    fn written(&mut self, header: &TxnHeader, txn: &Txn, applied: Applied) -> Option<Conn> {
        let id = self.conns.of_session(header.session)?;
        if matches!(txn, Txn::Error { err } if *err == ErrorCode::SessionMoved.code()) {
            if self.conns.get_mut(id)?.line.committed(header.zxid, header.cxid).is_some() {
                self.waiting -= 1;
                self.close(id, CloseCause::SessionMoved);
            }
            return None;
        }
        let answered = self.reply_to_write(id, header, read::write_result(txn, applied));
        if answered {
            self.answer_ready(id);
        }
        answered.then_some(id)
    }

    /// A sync of this connection is done. False: the connection is gone.
    pub(super) fn synced(&mut self, id: Conn, tag: u64) -> bool {
        let Some(conn) = self.conns.get_mut(id) else { return false };
        conn.line.synced(tag);
        self.answer_ready(id);
        true
    }

    /// Answers what waits for nothing any more.
    fn answer_ready(&mut self, id: Conn) {
        while let Some(waiting) = self.conns.get_mut(id).and_then(|c| c.line.next_ready()) {
            self.waiting -= 1;
            self.answer(id, waiting);
        }
    }

    /// True: it was a write of this connection.
    fn reply_to_write(&mut self, id: Conn, header: &TxnHeader, result: Result<Response, ErrorCode>) -> bool {
        let zxid = header.zxid;
        let Some(conn) = self.conns.get_mut(id) else { return false };
        let Some(waiting) = conn.line.committed(zxid, header.cxid) else { return false };
        self.waiting -= 1;
        let bytes = conn.reply(waiting.xid, zxid, result.as_ref().map_err(|e| *e));
        self.note_reply(id, &waiting, zxid, bytes);
        true
    }

    /// Confirms a session to its client.
    pub(super) fn welcome(&mut self, id: Conn, session: SessionId, timeout_ms: i32, read_only: Option<bool>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.state = State::Open { session, timeout_ms };
        let answer = ConnectResponse {
            protocol_version: 0,
            timeout: timeout_ms,
            session,
            password: session::password(session),
            read_only,
        };
        conn.send_frame(|w| answer.encode(w));
        self.stats.sent += 1;
        self.conns.touch(id);
    }

    /// Tells a client that its session is no more.
    pub(super) fn turn_away(&mut self, id: Conn, read_only: Option<bool>) {
        if let Some(conn) = self.conns.get_mut(id) {
            let answer = ConnectResponse::invalid(read_only);
            conn.send_frame(|w| answer.encode(w));
        }
        self.close(id, CloseCause::InvalidSession);
    }

    /// Answers what needs no commit, from the applied state.
    pub(super) fn answer(&mut self, id: Conn, waiting: Waiting) {
        let result = match &waiting.what {
            What::Read(request) => read::read(self, id, request),
            What::Refused(code) => Err(*code),
            What::NoMultiRead => Err(ErrorCode::MarshallingError),
            What::Write(_) | What::Sync { .. } => unreachable!("it waits for the leader's word"),
        };
        let zxid = self.tree.last_zxid();
        let Some(conn) = self.conns.get_mut(id) else { return };
        // Whatever xid a ping had.
        let xid = if waiting.op == OpCode::Ping { Xid::PING } else { waiting.xid };
        let bytes = match waiting.what {
            What::NoMultiRead => conn.send_frame(|w| {
                ReplyHeader { xid, zxid, err: ErrorCode::MarshallingError.code() }.encode(w);
                Response::Multi(Vec::new()).encode(w);
            }),
            _ => conn.reply(xid, zxid, result.as_ref().map_err(|e| *e)),
        };
        self.note_reply(id, &waiting, zxid, bytes);
        if waiting.op == OpCode::CloseSession
            && let Some(session) = self.conns.get(id).and_then(|c| c.session())
        {
            self.local.forget(session);
            self.close(id, CloseCause::SessionClosed);
        }
    }

    fn note_reply(&mut self, id: Conn, waiting: &Waiting, zxid: Zxid, bytes: usize) {
        let took = self.now.mono.since(waiting.since);
        self.stats.replied(waiting.op, took, bytes);
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.answered(waiting.op, waiting.xid, zxid, self.now.mono, took);
        if let Some(session) = conn.session() {
            self.event(Event::Replied { session, op: waiting.op as i32, latency: took.0 });
        }
        self.conns.touch(id);
    }
}
