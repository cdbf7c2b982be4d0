//! What clients ask, and what of it every role does alike: handshakes, the order of a connection's requests, reads. Answers to
//! `ZooKeeperServer.processConnectRequest` and `CommitProcessor`. What becomes of a write, of a sync or of a session that
//! returns is the role's: see [`Clients`].

use super::Base;
use super::conn::State;
use super::front::{Ask, Asked};
use super::line::{Commit, Waiting, What};
use super::local::LocalWrite;
use crate::boundary::{CloseCause, Conn};
use crate::id::SessionId;
use crate::jute::Bad;
use crate::proto::{ConnectRequest, ErrorCode, OpCode, Request};
use crate::session;
use bytes::BytesMut;

/// Who may come in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Door {
    /// Clients are turned away.
    Shut,
    /// They are served.
    Open,
    /// Those that put up with a server without its ensemble may read.
    ReadOnly,
    /// What is under way is finished, nothing new is looked at.
    Closing,
}

/// A client that wants to go on with its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Coming {
    pub(super) session: SessionId,
    pub(super) timeout_ms: i32,
    pub(super) read_only: Option<bool>,
}

/// A request as a role gets it.
pub(super) struct Write<'a> {
    pub(super) id: Conn,
    pub(super) asked: Asked,
    pub(super) request: &'a Request,
    /// Its frame, header included.
    pub(super) frame: BytesMut,
}

/// What a role does for clients.
pub(super) trait Clients {
    /// Does it serve?
    fn door(&self) -> Door;
    /// A session was used on this server.
    fn used(&mut self, session: SessionId, timeout_ms: i32);
    /// A new session is wanted; its commit is awaited in [`State::Connecting`].
    fn create_session(&mut self, base: &mut Base, session: SessionId, timeout_ms: i32);
    /// A session returns, with the right password. It is welcomed, turned away, or a state says what it waits for.
    fn come_back(&mut self, base: &mut Base, id: Conn, coming: Coming);
    /// A write that parses.
    fn write(&mut self, base: &mut Base, write: Write<'_>) -> Commit;
    /// A write that does not parse, of those to which Java gives a zxid. `None`: it gets none here.
    fn misread(&mut self, base: &mut Base, asked: Asked) -> Option<Commit>;
    /// A sync: the tag under which the line is told that it is done; `None`: it is done.
    fn sync(&mut self, base: &mut Base, write: Write<'_>) -> Option<u64>;
}

/// Takes the questions of a connection as far as they need not wait.
pub(super) fn pump(role: &mut impl Clients, base: &mut Base, id: Conn) {
    while role.door() != Door::Closing
        && let Some(ask) = base.next_ask(id, role.door())
    {
        match ask {
            Ask::Session(request) => connect(role, base, id, request),
            Ask::Operation(asked, request, frame) => operation(role, base, id, asked, request, frame),
        }
    }
    base.conns.touch(id);
}

/// Bytes of a client.
pub(super) fn received(role: &mut impl Clients, base: &mut Base, id: Conn, bytes: &[u8]) {
    if role.door() == Door::Closing {
        return;
    }
    base.stats.bytes_received += bytes.len() as u64;
    let Some(conn) = base.conns.get_mut(id) else { return };
    conn.put_input(bytes);
    pump(role, base, id);
}

/// What was sent to a client has left.
pub(super) fn writable(role: &mut impl Clients, base: &mut Base, id: Conn) {
    if let Some(c) = base.conns.get_mut(id) {
        c.drained();
        base.conns.touch(id);
        pump(role, base, id);
    }
}

fn connect(role: &mut impl Clients, base: &mut Base, id: Conn, request: ConnectRequest) {
    base.stats.connects += 1;
    let door = role.door();
    let comes_in = match door {
        Door::Open => true,
        Door::ReadOnly => request.read_only == Some(true),
        Door::Shut | Door::Closing => false,
    };
    if !comes_in {
        return base.close(id, CloseCause::NotServing);
    }
    // The client knows of a transaction that this server does not: it must try another one.
    if request.last_zxid_seen > base.tree.last_zxid() {
        return base.close(id, CloseCause::ZxidAhead);
    }
    let (min, max) = (base.config.min_session_timeout_ms, base.config.max_session_timeout_ms);
    let timeout_ms = request.timeout.clamp(min, max);
    let read_only = request.read_only.map(|_| door == Door::ReadOnly);
    // Without an ensemble a session can only be this server's.
    if request.session == SessionId::NONE && (base.local.is_enabled() || door == Door::ReadOnly) {
        return base.begin_local(id, timeout_ms, read_only);
    }
    if request.session == SessionId::NONE {
        let session = base.sessions.create();
        if let Some(conn) = base.conns.get_mut(id) {
            conn.state = State::Connecting { session, timeout_ms, read_only };
        }
        base.connecting.insert(session, id);
        return role.create_session(base, session, timeout_ms);
    }
    let session = request.session;
    let knows = request.password.as_deref() == Some(&session::password(session)[..]);
    if knows && base.local_comes_back(id, session, timeout_ms, read_only) {
        return;
    }
    if door == Door::ReadOnly && knows && base.sessions.is_live(session) {
        base.attach(session, id, true);
        return base.welcome(id, session, timeout_ms, read_only);
    }
    if door == Door::ReadOnly {
        // Whether it still lives only the ensemble knows. Java tells the client of a session that began after it was cut off that
        // it has expired.
        return base.close(id, CloseCause::NotServing);
    }
    if knows {
        role.come_back(base, id, Coming { session, timeout_ms, read_only });
    } else {
        base.turn_away(id, read_only);
    }
}

fn operation(
    role: &mut impl Clients,
    base: &mut Base,
    id: Conn,
    asked: Asked,
    request: Result<Request, Bad>,
    frame: BytesMut,
) {
    let Asked { session, xid, op, size, timeout_ms } = asked;
    if !base.local.is_live(session) {
        role.used(session, timeout_ms);
    }
    let what = match request {
        Ok(ref r) if role.door() == Door::ReadOnly && refuses(r, base.local.is_live(session)) => {
            What::Refused(ErrorCode::NotReadOnly)
        }
        Ok(request) if is_write(op) => write(role, base, id, asked, &request, frame),
        Ok(request) if op == OpCode::Sync => {
            match role.sync(base, Write { id, asked, request: &request, frame }) {
                Some(tag) => What::Sync { tag, request },
                None => What::Read(request),
            }
        }
        // Java numbers a multi before it reads it, and meets a null only when it prepares the write.
        Err(bad) if op == OpCode::Multi || (is_write(op) && bad == Bad::Null) => {
            match role.misread(base, asked) {
                Some(commit) => What::Write(commit),
                None => What::Refused(ErrorCode::MarshallingError),
            }
        }
        Err(Bad::Tag(_)) if op == OpCode::MultiRead => What::NoMultiRead,
        Err(_) => What::Refused(ErrorCode::MarshallingError),
        Ok(request) => What::Read(request),
    };
    let waiting = Waiting { xid, op, since: base.now.mono, size, what };
    let Some(conn) = base.conns.get_mut(id) else { return };
    match waiting.what {
        What::Read(_) | What::Refused(_) | What::NoMultiRead if conn.line.is_empty() => {
            base.answer(id, waiting);
        }
        What::Read(_) | What::Refused(_) | What::NoMultiRead | What::Write(_) | What::Sync { .. } => {
            conn.line.push(waiting);
            base.waiting += 1;
        }
    }
}

/// Only reads are answered without an ensemble, and the end of a session that is the server's own.
fn refuses(request: &Request, local: bool) -> bool {
    let op = request.op();
    (is_write(op) && !(local && op == OpCode::CloseSession)) || op == OpCode::Sync
}

/// A write, of a local session perhaps: its first ephemeral makes it global.
fn write(
    role: &mut impl Clients,
    base: &mut Base,
    id: Conn,
    asked: Asked,
    request: &Request,
    frame: BytesMut,
) -> What {
    match base.local.write(asked.session, request) {
        LocalWrite::AsIs => {}
        LocalWrite::Upgrade(timeout_ms) => role.create_session(base, asked.session, timeout_ms),
        LocalWrite::Refuse(code) => return What::Refused(code),
        LocalWrite::Close => return base.close_local(id),
    }
    if let Request::CloseSession = request {
        base.conns.get_mut(id).expect("it has just asked").state = State::Closing { session: asked.session };
    }
    What::Write(role.write(base, Write { id, asked, request, frame }))
}

/// Operations that change something: they get a zxid.
pub(super) fn is_write(op: OpCode) -> bool {
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
