//! What servers say: the handshake's answer, replies, events. A server may say anything; what makes no sense costs it the
//! connection. Answers to `SendThread.readResponse` and `onConnected`.

use super::link::Link;
use super::machine::{Client, Effect, Owner, Session, reply_here};
use super::{ClientOutput, ClientState, Disconnect};
use crate::boundary::Conn;
use crate::id::{SessionId, Xid};
use crate::jute::{Bad, Reader};
use crate::proto::{ConnectResponse, ErrorCode, ReplyHeader, Response, WatcherEvent};
use crate::time::Time;

impl From<Bad> for Disconnect {
    fn from(bad: Bad) -> Disconnect {
        Disconnect::BadFrame(bad)
    }
}

impl Client {
    pub(super) fn received(&mut self, now: Time, conn: Conn, bytes: &[u8], out: &mut Vec<ClientOutput>) {
        if self.conn() != Some(conn) {
            return;
        }
        match &mut self.link {
            Link::Handshaking { frames, .. } | Link::Up { frames, .. } => frames.push(bytes),
            Link::Waiting { .. } | Link::Dialing { .. } | Link::Gone => return,
        }
        self.last_heard = now;
        loop {
            // A frame may end the connection; what came behind it is gone with the link.
            let (up, frame) = match &mut self.link {
                Link::Handshaking { frames, .. } => (false, frames.next(self.config.max_frame)),
                Link::Up { frames, .. } => (true, frames.next(self.config.max_frame)),
                Link::Waiting { .. } | Link::Dialing { .. } | Link::Gone => return,
            };
            let done = match frame {
                Ok(None) => return,
                Ok(Some(frame)) if up => self.frame(&mut Reader::new(&frame), out),
                Ok(Some(frame)) => self.greeted(now, &mut Reader::new(&frame), out),
                Err(cause) => Err(cause),
            };
            if let Err(cause) = done {
                return self.lose(now, cause, out);
            }
        }
    }

    /// The handshake's answer.
    fn greeted(
        &mut self,
        now: Time,
        r: &mut Reader<'_>,
        out: &mut Vec<ClientOutput>,
    ) -> Result<(), Disconnect> {
        let answer = ConnectResponse::decode(r)?;
        if answer.timeout <= 0 {
            self.end(ClientState::Expired, ErrorCode::SessionExpired, out);
            return Ok(());
        }
        let asked = self.session.as_ref().filter(|s| s.resumable).map_or(SessionId::NONE, |s| s.id);
        let reattached = asked != SessionId::NONE;
        if reattached && answer.session != asked {
            return Err(Disconnect::ForeignSession(answer.session));
        }
        let read_only = answer.read_only == Some(true);
        if read_only && !self.config.read_only {
            return Err(Disconnect::ReadOnlyServer);
        }
        let (session, timeout_ms) = (answer.session, answer.timeout);
        let resumable = reattached || !read_only;
        self.session = Some(Session { id: session, password: answer.password, timeout_ms, resumable });
        self.servers.connected();
        let Link::Handshaking { conn, frames, .. } = &mut self.link else {
            unreachable!("only a handshake is answered")
        };
        self.link = Link::Up { conn: *conn, frames: std::mem::take(frames), last_sent: now };
        self.become_state(
            match read_only {
                true => ClientState::ConnectedReadOnly { session, timeout_ms, reattached },
                false => ClientState::Connected { session, timeout_ms, reattached },
            },
            out,
        );
        self.greet(now);
        Ok(())
    }

    fn frame(&mut self, r: &mut Reader<'_>, out: &mut Vec<ClientOutput>) -> Result<(), Disconnect> {
        let header = ReplyHeader::decode(r)?;
        match header.xid {
            Xid::PING => Ok(()),
            Xid::NOTIFICATION => {
                let event = WatcherEvent::decode(r)?;
                let calls = self.watches.fired(event.kind, &event.path);
                self.tell(header.zxid, event.kind, self.chroot.strip(event.path), calls, out);
                Ok(())
            }
            Xid::AUTH => self.auth_answered(header, out),
            Xid(_) => self.replied(header, r, out),
        }
    }

    fn auth_answered(&mut self, header: ReplyHeader, out: &mut Vec<ClientOutput>) -> Result<(), Disconnect> {
        let unasked = Disconnect::XidOutOfOrder { expected: None, got: header.xid };
        match error_code(header.err)? {
            // The calls that wait for it get the same as all others.
            Some(ErrorCode::AuthFailed) => self.end(ClientState::AuthFailed, ErrorCode::AuthFailed, out),
            Some(code) => {
                let calls = self.auth_pending.pop_front().ok_or(unasked)?;
                calls.into_iter().for_each(|id| reply_here(id, code, out));
            }
            None => {
                for id in self.auth_pending.pop_front().ok_or(unasked)? {
                    out.push(ClientOutput::Reply { id, zxid: header.zxid, result: Ok(Response::Empty) });
                }
            }
        }
        Ok(())
    }

    /// A reply to the request whose turn it is. One that makes no sense leaves the request pending: it is lost with the
    /// connection.
    fn replied(
        &mut self,
        header: ReplyHeader,
        r: &mut Reader<'_>,
        out: &mut Vec<ClientOutput>,
    ) -> Result<(), Disconnect> {
        let turn = self.pending.front().map(|p| (p.xid, p.op));
        let op = match turn {
            Some((xid, op)) if xid == header.xid => op,
            Some(_) | None => {
                let expected = turn.map(|(xid, _)| xid);
                return Err(Disconnect::XidOutOfOrder { expected, got: header.xid });
            }
        };
        let mut result = match error_code(header.err)? {
            None => Ok(Response::decode(op, r)?),
            Some(code) => Err(code),
        };
        let pending = self.pending.pop_front().expect("its turn");
        self.last_zxid = self.last_zxid.max(header.zxid);
        match pending.owner {
            Owner::Client => {}
            Owner::Call { id, effect } => {
                match effect {
                    Effect::None => {}
                    Effect::Sets(wanted) => self.watches.replied(id, wanted, &result),
                    Effect::Removes { path, kind } => {
                        if result.is_ok() && !self.remove_watches(kind, path, out) {
                            result = Err(ErrorCode::NoWatcher);
                        }
                    }
                }
                let result = result.map(|response| self.chroot.strip_response(response));
                out.push(ClientOutput::Reply { id, zxid: header.zxid, result });
            }
            Owner::Close { id } => {
                self.closing = None;
                out.push(ClientOutput::Reply { id, zxid: header.zxid, result });
                self.end(ClientState::Closed, ErrorCode::SessionExpired, out);
            }
        }
        Ok(())
    }
}

fn error_code(err: i32) -> Result<Option<ErrorCode>, Disconnect> {
    match err {
        0 => Ok(None),
        code => ErrorCode::from_code(code).map(Some).ok_or(Disconnect::UnknownError(code)),
    }
}
