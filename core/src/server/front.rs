//! From bytes to questions: frames, handshakes, headers, and all that is answered before a request is anybody's business.
//! Answers to `NIOServerCnxn` and `ZooKeeperServer.processPacket`. What a question means is the role's.

use super::clients::Door;
use super::conn::{Frame, State};
use super::{Base, words};
use crate::auth;
use crate::boundary::{CloseCause, Conn};
use crate::id::{SessionId, Xid, Zxid};
use crate::jute::{Bad, Reader};
use crate::proto::{ConnectRequest, ErrorCode, OpCode, Request, RequestHeader, Response};
use crate::session::Touch;
use bytes::BytesMut;

/// What a client wants.
#[derive(Debug)]
pub(super) enum Ask {
    /// A session.
    Session(ConnectRequest),
    /// An operation, in session: completely decoded, or why not; and its frame, header included.
    Operation(Asked, Result<Request, Bad>, BytesMut),
}

/// Whose operation it is, and what its reply needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) session: SessionId,
    pub(super) xid: Xid,
    pub(super) op: OpCode,
    /// Bytes of its frame.
    pub(super) size: usize,
    /// What its session asked for.
    pub(super) timeout_ms: i32,
}

impl Base {
    /// The next question of a connection, unless it has to wait or there is none. What needs no role is answered here.
    pub(super) fn next_ask(&mut self, id: Conn, door: Door) -> Option<Ask> {
        loop {
            let share = self.share();
            let conn = self.conns.get_mut(id)?;
            if conn.is_blocked(share) {
                return None;
            }
            let fresh = conn.state == State::Fresh;
            if fresh && let Some(word) = words::at_front(conn.input()) {
                words::answer(self, door, id, word);
                return None;
            }
            let frame = match Frame::at_front(conn.input(), self.config.max_frame) {
                Frame::Partial => return None,
                Frame::Bad(n) => {
                    self.close(id, CloseCause::FrameLength(n));
                    return None;
                }
                Frame::Whole(len) => conn.take_frame(len),
            };
            self.stats.received += 1;
            let asked = if fresh {
                ConnectRequest::decode(&mut Reader::new(&frame)).map(|request| Some(Ask::Session(request)))
            } else {
                self.operation(id, frame)
            };
            match asked {
                Ok(Some(ask)) => return Some(ask),
                Ok(None) => {}
                Err(_) => {
                    self.close(id, CloseCause::BadFrame);
                    return None;
                }
            }
        }
    }

    /// A frame in session: `None` if it has been dealt with.
    fn operation(&mut self, id: Conn, frame: BytesMut) -> Result<Option<Ask>, Bad> {
        let mut r = Reader::new(&frame);
        let RequestHeader { xid, op } = RequestHeader::decode(&mut r)?;
        let Some(conn) = self.conns.get(id) else { return Ok(None) };
        let State::Open { session, timeout_ms } = conn.state else {
            unreachable!("frames are looked at in session only")
        };
        let op_code = OpCode::from_int(op);
        // Whatever is asked is a sign of life, an unknown operation too; only authentication is not.
        if !matches!(op_code, Some(OpCode::Auth | OpCode::Sasl))
            && self.touch_session(session, timeout_ms) != Touch::Live
        {
            // Expired or closing: dropped; the close's commit ends the connection.
            return Ok(None);
        }
        match op_code {
            None | Some(OpCode::Check | OpCode::DeleteContainer) => {
                let Some(conn) = self.conns.get_mut(id) else { return Ok(None) };
                conn.reply(xid, Zxid::NONE, Err(ErrorCode::Unimplemented));
                self.close(id, CloseCause::UnknownOpcode(op));
                Ok(None)
            }
            Some(OpCode::Auth) => {
                let Request::Auth { scheme, auth } = Request::decode(OpCode::Auth, &mut r)? else {
                    unreachable!("an auth packet decodes to an auth packet")
                };
                self.authenticate(id, xid, scheme.as_deref(), auth.as_deref());
                Ok(None)
            }
            Some(OpCode::Sasl) => {
                let Some(conn) = self.conns.get_mut(id) else { return Ok(None) };
                // No SASL here: Java's answer without a JAAS section.
                conn.reply(xid, Zxid::ZERO, Ok(&Response::Sasl { token: None }));
                self.conns.touch(id);
                Ok(None)
            }
            Some(op) => {
                let request = Request::decode(op, &mut r);
                let asked = Asked { session, xid, op, size: frame.len(), timeout_ms };
                Ok(Some(Ask::Operation(asked, request, frame)))
            }
        }
    }

    /// An auth packet is answered at once, past the line.
    fn authenticate(&mut self, id: Conn, xid: Xid, scheme: Option<&str>, data: Option<&[u8]>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let peer = conn.peer.addr.ip();
        let super_digest = self.config.super_digest.as_deref();
        match scheme.and_then(|scheme| auth::authenticate(scheme, data, peer, super_digest)) {
            Some(ids) => {
                conn.add_ids(ids);
                conn.reply(xid, Zxid::ZERO, Ok(&Response::Empty));
                self.conns.touch(id);
            }
            None => {
                self.stats.auth_failed += 1;
                conn.reply(xid, Zxid::ZERO, Err(ErrorCode::AuthFailed));
                self.close(id, CloseCause::AuthFailed);
            }
        }
    }
}
