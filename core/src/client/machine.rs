//! The client's step: calls in, timers, connecting and losing connections. What servers say is in `replies.rs`.

use super::link::{Frames, Link, Servers};
use super::prepare::{Chroot, prepare};
use super::watches::{Wanted, Watches};
use super::{CallId, ClientConfig, ClientInput, ClientOutput, ClientState, Disconnect};
use crate::boundary::Conn;
use crate::id::{SessionId, Xid, Zxid};
use crate::jute::{begin_frame, end_frame};
use crate::proto::{
    ConnectRequest, ErrorCode, EventKind, OpCode, Request, RequestHeader, WatcherEvent, WatcherType,
};
use crate::rng::Rng;
use crate::time::{Span, Time};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeSet, VecDeque};

/// Longest time without sending: a ping goes out whatever the timeout (`MAX_SEND_PING_INTERVAL`).
const PING_EVERY: Span = Span::from_millis(10_000);
/// Where the ensemble's configuration is.
const CONFIG_NODE: &str = "/zookeeper/config";
/// The state that watch events carry: SyncConnected.
const SYNC_CONNECTED: i32 = 3;

/// One session and the connection under it.
#[derive(Debug)]
pub struct Client {
    pub(super) config: ClientConfig,
    pub(super) chroot: Chroot,
    rng: Rng,
    pub(super) servers: Servers,
    next_conn: u64,
    pub(super) link: Link,
    /// A connection came through once: later attempts are reconnects, with jitter.
    opened_once: bool,
    pub(super) state: ClientState,
    pub(super) session: Option<Session>,
    /// Highest zxid of an ordinary reply: a server that is behind it must not serve us.
    pub(super) last_zxid: Zxid,
    pub(super) last_heard: Time,
    pub(super) watches: Watches,
    /// Calls that wait for a handshake.
    queue: VecDeque<(CallId, Request)>,
    /// Requests that wait for their reply, in the order of sending.
    pub(super) pending: VecDeque<Pending>,
    auth: Vec<Credential>,
    /// Auth packets that wait for their answer, each with the calls that it settles.
    pub(super) auth_pending: VecDeque<Vec<CallId>>,
    pub(super) closing: Option<CallId>,
    next_xid: i32,
    /// Frames of this step; they leave as one.
    unsent: BytesMut,
}

/// What servers know us by.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) password: [u8; 16],
    pub(super) timeout_ms: i32,
    /// A read-only server's session lives there only.
    pub(super) resumable: bool,
}

/// Sent on every new connection.
#[derive(Debug)]
struct Credential {
    scheme: Option<String>,
    auth: Option<Bytes>,
    /// Calls that its next answer settles.
    waiting: Vec<CallId>,
}

/// A request that was sent.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) xid: Xid,
    pub(super) op: OpCode,
    pub(super) owner: Owner,
}

/// Who wants to know of a reply, and what it does here.
#[derive(Debug)]
pub(super) enum Owner {
    /// The application.
    Call { id: CallId, effect: Effect },
    /// Nobody: the client's own word about watches.
    Client,
    /// The application; the session ends with it.
    Close { id: CallId },
}

/// What a reply does to the client's watches.
#[derive(Debug)]
pub(super) enum Effect {
    None,
    Sets(Wanted),
    Removes { path: String, kind: WatcherType },
}

impl Client {
    /// A client that dials with its first step.
    pub fn new(config: ClientConfig, seed: [u8; 32], now: Time) -> Client {
        let mut rng = Rng::new(seed);
        let mut servers = Servers::new(config.servers.len(), &mut rng);
        let (server, _) = servers.next();
        let auth = config.auth.iter().map(|(scheme, auth)| Credential {
            scheme: Some(scheme.clone()),
            auth: Some(auth.clone()),
            waiting: Vec::new(),
        });
        Client {
            auth: auth.collect(),
            chroot: Chroot(config.chroot.clone()),
            config,
            rng,
            servers,
            next_conn: 1,
            link: Link::Waiting { until: now, server },
            opened_once: false,
            state: ClientState::Connecting,
            session: None,
            last_zxid: Zxid::ZERO,
            last_heard: now,
            watches: Watches::default(),
            queue: VecDeque::new(),
            pending: VecDeque::new(),
            auth_pending: VecDeque::new(),
            closing: None,
            next_xid: 1,
            unsent: BytesMut::new(),
        }
    }

    /// One step. Never fails, never blocks.
    pub fn step(&mut self, now: Time, input: ClientInput<'_>, out: &mut Vec<ClientOutput>) {
        match input {
            ClientInput::Wake => {}
            ClientInput::Opened { conn } => self.opened(now, conn),
            ClientInput::Received { conn, bytes } => self.received(now, conn, bytes, out),
            ClientInput::Closed { conn } => {
                if self.conn() == Some(conn) {
                    self.lose(now, Disconnect::Closed, out);
                }
            }
            ClientInput::Call { id, request } => self.call(now, id, request, out),
            ClientInput::GetConfig { id, watch } => {
                let request = Request::GetData { path: CONFIG_NODE.to_owned(), watch };
                self.admit(now, id, Ok(request), out);
            }
            ClientInput::Unwatch { id } => {
                if let Some(request) = self.watches.forget(id)
                    && matches!(self.link, Link::Up { .. })
                {
                    self.send(now, &request, Owner::Client);
                }
            }
            ClientInput::Forget { path, kind } => {
                let path = self.chroot.add(&path);
                self.remove_watches(kind, path, out);
            }
            ClientInput::Close { id } => self.close(now, id, out),
        }
        self.timers(now, out);
        self.flush(out);
    }

    /// When the client wants a [`ClientInput::Wake`] at the latest; `None` once its state is final.
    pub fn next_wake(&self) -> Option<Time> {
        let own = match &self.link {
            Link::Gone => return None,
            Link::Waiting { until, .. } => *until,
            Link::Dialing { deadline, .. } | Link::Handshaking { deadline, .. } => *deadline,
            Link::Up { last_sent, .. } => self.read_deadline().min(*last_sent + self.ping_after()),
        };
        Some(self.expiry().map_or(own, |at| own.min(at)))
    }

    /// The session's state.
    pub fn state(&self) -> ClientState {
        self.state
    }

    /// The settings it was made with.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    fn call(&mut self, now: Time, id: CallId, request: Request, out: &mut Vec<ClientOutput>) {
        if let Request::Auth { scheme, auth } = request {
            match self.refusal() {
                Some(code) => reply_here(id, code, out),
                None => self.add_auth(now, id, scheme, auth),
            }
            return;
        }
        let request = prepare(&self.chroot, request);
        self.admit(now, id, request, out);
    }

    /// Sends a request, or lets it wait for a connection.
    fn admit(
        &mut self,
        now: Time,
        id: CallId,
        request: Result<Request, ErrorCode>,
        out: &mut Vec<ClientOutput>,
    ) {
        match (self.refusal(), request) {
            (Some(code), _) | (None, Err(code)) => reply_here(id, code, out),
            (None, Ok(request)) => match self.link {
                Link::Up { .. } => self.send_call(now, id, request),
                Link::Waiting { .. } | Link::Dialing { .. } | Link::Handshaking { .. } => {
                    self.queue.push_back((id, request));
                }
                Link::Gone => unreachable!("a final state refuses calls"),
            },
        }
    }

    /// Why a call cannot even wait.
    fn refusal(&self) -> Option<ErrorCode> {
        match self.state {
            ClientState::Expired | ClientState::Closed => Some(ErrorCode::SessionExpired),
            ClientState::AuthFailed => Some(ErrorCode::AuthFailed),
            ClientState::Connecting
            | ClientState::Connected { .. }
            | ClientState::ConnectedReadOnly { .. }
            | ClientState::Disconnected => {
                let calls = self.queue.len() + self.pending.len() + self.auth_pending.len();
                if self.closing.is_some() {
                    Some(ErrorCode::SessionExpired)
                } else if calls >= self.config.max_calls {
                    Some(ErrorCode::ThrottledOp)
                } else {
                    None
                }
            }
        }
    }

    fn send_call(&mut self, now: Time, id: CallId, request: Request) {
        let effect = if let Request::RemoveWatches { path, kind } = &request {
            Effect::Removes { path: path.clone(), kind: *kind }
        } else {
            Wanted::of(&request).map_or(Effect::None, Effect::Sets)
        };
        self.send(now, &request, Owner::Call { id, effect });
    }

    fn add_auth(&mut self, now: Time, id: CallId, scheme: Option<String>, auth: Option<Bytes>) {
        let known = self.auth.iter().position(|c| c.scheme == scheme && c.auth == auth);
        let at = known.unwrap_or_else(|| {
            self.auth.push(Credential { scheme, auth, waiting: Vec::new() });
            self.auth.len() - 1
        });
        self.auth[at].waiting.push(id);
        if matches!(self.link, Link::Up { .. }) {
            self.send_auth(now, at);
        }
    }

    fn send_auth(&mut self, now: Time, at: usize) {
        let credential = &mut self.auth[at];
        let request = Request::Auth { scheme: credential.scheme.clone(), auth: credential.auth.clone() };
        self.auth_pending.push_back(std::mem::take(&mut credential.waiting));
        self.write(now, Xid::AUTH, &request);
    }

    fn close(&mut self, now: Time, id: CallId, out: &mut Vec<ClientOutput>) {
        if let Some(code) = self.refusal().filter(|code| *code != ErrorCode::ThrottledOp) {
            return reply_here(id, code, out);
        }
        self.closing = Some(id);
        match self.link {
            Link::Up { .. } => self.send(now, &Request::CloseSession, Owner::Close { id }),
            // It goes out behind the calls that wait.
            Link::Dialing { .. } | Link::Handshaking { .. } => {}
            // No server to tell now, and nobody waits for one to come back.
            Link::Waiting { .. } => self.end(ClientState::Closed, ErrorCode::ConnectionLoss, out),
            Link::Gone => unreachable!("a final state refuses calls"),
        }
    }

    fn opened(&mut self, now: Time, conn: Conn) {
        if !matches!(self.link, Link::Dialing { conn: dialed, .. } if dialed == conn) {
            return;
        }
        self.opened_once = true;
        self.link =
            Link::Handshaking { conn, deadline: now + self.connect_timeout(), frames: Frames::default() };
        let known = self.session.as_ref().filter(|s| s.resumable);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid,
            timeout: self.config.session_timeout_ms,
            session: known.map_or(SessionId::NONE, |s| s.id),
            password: Some(Bytes::copy_from_slice(&known.map_or([0; 16], |s| s.password))),
            read_only: Some(self.config.read_only),
        };
        let at = begin_frame(&mut self.unsent);
        request.encode(&mut self.unsent);
        end_frame(&mut self.unsent, at);
    }

    /// The handshake is done: who we are, what we watched, then what waits.
    pub(super) fn greet(&mut self, now: Time) {
        (0..self.auth.len()).rev().for_each(|at| self.send_auth(now, at));
        for request in self.watches.again(self.last_zxid, self.config.set_watches) {
            self.send(now, &request, Owner::Client);
        }
        for (id, request) in std::mem::take(&mut self.queue) {
            self.send_call(now, id, request);
        }
        if let Some(id) = self.closing {
            self.send(now, &Request::CloseSession, Owner::Close { id });
        }
    }

    fn timers(&mut self, now: Time, out: &mut Vec<ClientOutput>) {
        // Each round changes the link; a lost one waits, a due wait dials, a dial takes time.
        while self.next_wake().is_some_and(|at| at <= now) {
            if self.expiry().is_some_and(|at| at <= now) {
                return self.end(ClientState::Expired, ErrorCode::SessionExpired, out);
            }
            match self.link {
                Link::Waiting { server, .. } => self.dial(now, server, out),
                Link::Dialing { .. } | Link::Handshaking { .. } => {
                    self.lose(now, Disconnect::ConnectTimeout, out);
                }
                Link::Up { .. } if self.read_deadline() <= now => {
                    self.lose(now, Disconnect::ReadTimeout, out);
                }
                Link::Up { .. } => self.write(now, Xid::PING, &Request::Ping),
                Link::Gone => unreachable!("nothing is due any more"),
            }
        }
    }

    fn dial(&mut self, now: Time, server: usize, out: &mut Vec<ClientOutput>) {
        let conn = Conn(self.next_conn);
        self.next_conn += 1;
        self.link = Link::Dialing { conn, deadline: now + self.connect_timeout() };
        out.push(ClientOutput::Dial { conn, server });
    }

    /// The connection is no more. What it carried is lost; the next server comes after a pause.
    pub(super) fn lose(&mut self, now: Time, cause: Disconnect, out: &mut Vec<ClientOutput>) {
        self.hang_up(cause, out);
        if self.closing.is_some() {
            return self.end(ClientState::Closed, ErrorCode::ConnectionLoss, out);
        }
        self.fail_calls(ErrorCode::ConnectionLoss, out);
        if self.state.is_connected() {
            self.become_state(ClientState::Disconnected, out);
        }
        let (server, round) = self.servers.next();
        let pause = if round { self.config.round_pause } else { Span::ZERO };
        let jitter = if self.opened_once { self.rng.below(self.config.reconnect_jitter.0) } else { 0 };
        self.link = Link::Waiting { until: now + pause + Span(jitter), server };
    }

    /// The session is over, for good.
    pub(super) fn end(&mut self, state: ClientState, code: ErrorCode, out: &mut Vec<ClientOutput>) {
        self.hang_up(Disconnect::Final, out);
        self.fail_calls(code, out);
        self.watches = Watches::default();
        self.become_state(state, out);
    }

    /// Leaves the link gone, whoever calls decides what comes then.
    fn hang_up(&mut self, cause: Disconnect, out: &mut Vec<ClientOutput>) {
        self.unsent.clear();
        let conn = self.conn();
        self.link = Link::Gone;
        if let Some(conn) = conn {
            if cause != Disconnect::Closed {
                out.push(ClientOutput::Close { conn });
            }
            out.push(ClientOutput::Lost { conn, cause });
        }
    }

    fn fail_calls(&mut self, code: ErrorCode, out: &mut Vec<ClientOutput>) {
        let auth =
            self.auth_pending.drain(..).chain(self.auth.iter_mut().map(|c| std::mem::take(&mut c.waiting)));
        auth.flatten().for_each(|id| reply_here(id, code, out));
        for pending in self.pending.drain(..) {
            match pending.owner {
                Owner::Call { id, .. } => reply_here(id, code, out),
                Owner::Client | Owner::Close { .. } => {}
            }
        }
        self.queue.drain(..).for_each(|(id, _)| reply_here(id, code, out));
        if let Some(id) = self.closing.take() {
            reply_here(id, code, out);
        }
    }

    pub(super) fn become_state(&mut self, state: ClientState, out: &mut Vec<ClientOutput>) {
        self.state = state;
        out.push(ClientOutput::State(state));
    }

    /// Forgets watches and tells their owners; false if there were none.
    pub(super) fn remove_watches(
        &mut self,
        kind: WatcherType,
        path: String,
        out: &mut Vec<ClientOutput>,
    ) -> bool {
        let removed = self.watches.removed(kind, &path);
        let path = self.chroot.strip(path);
        let any = !removed.is_empty();
        for (kind, calls) in removed {
            self.tell(Zxid::NONE, kind, path.clone(), calls, out);
        }
        any
    }

    /// Hands out an event.
    pub(super) fn tell(
        &self,
        zxid: Zxid,
        kind: EventKind,
        path: String,
        calls: BTreeSet<CallId>,
        out: &mut Vec<ClientOutput>,
    ) {
        if !calls.is_empty() {
            let event = WatcherEvent { kind, state: SYNC_CONNECTED, path };
            out.push(ClientOutput::Watch { zxid, event, calls });
        }
    }

    fn send(&mut self, now: Time, request: &Request, owner: Owner) {
        let xid = Xid(self.next_xid);
        self.next_xid = if self.next_xid == i32::MAX { 1 } else { self.next_xid + 1 };
        self.pending.push_back(Pending { xid, op: request.op(), owner });
        self.write(now, xid, request);
    }

    fn write(&mut self, now: Time, xid: Xid, request: &Request) {
        let Link::Up { last_sent, .. } = &mut self.link else {
            unreachable!("requests follow the handshake")
        };
        *last_sent = now;
        let at = begin_frame(&mut self.unsent);
        RequestHeader { xid, op: request.op() as i32 }.encode(&mut self.unsent);
        request.encode(&mut self.unsent);
        end_frame(&mut self.unsent, at);
    }

    fn flush(&mut self, out: &mut Vec<ClientOutput>) {
        if !self.unsent.is_empty() {
            let conn = self.conn().expect("what is unsent goes with its connection");
            out.push(ClientOutput::Send { conn, bytes: self.unsent.split().freeze() });
        }
    }

    pub(super) fn conn(&self) -> Option<Conn> {
        match self.link {
            Link::Dialing { conn, .. } | Link::Handshaking { conn, .. } | Link::Up { conn, .. } => Some(conn),
            Link::Waiting { .. } | Link::Gone => None,
        }
    }

    /// The session's timeout: as agreed, before that as asked for.
    fn timeout(&self) -> Span {
        let ms = self.session.as_ref().map_or(self.config.session_timeout_ms, |s| s.timeout_ms);
        Span::from_millis(ms.max(1) as u64)
    }
    fn connect_timeout(&self) -> Span {
        Span(self.timeout().0 / self.servers.len() as u64)
    }
    fn read_deadline(&self) -> Time {
        self.last_heard + Span(self.timeout().0 / 3 * 2)
    }
    fn ping_after(&self) -> Span {
        Span(self.timeout().0 / 3).min(PING_EVERY)
    }
    /// When the client itself gives its session up for lost.
    fn expiry(&self) -> Option<Time> {
        let session = self.session.as_ref().filter(|s| s.resumable);
        session.map(|_| self.last_heard + Span(self.timeout().0 / 3 * 4))
    }
}

/// An outcome that no server decided.
pub(super) fn reply_here(id: CallId, code: ErrorCode, out: &mut Vec<ClientOutput>) {
    out.push(ClientOutput::Reply { id, zxid: Zxid::NONE, result: Err(code) });
}
