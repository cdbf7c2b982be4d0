//! Local sessions: known to their server only, never in the log; the first ephemeral makes one global. A server that is cut off
//! from its ensemble serves nothing else, and only reads. Answers to `LocalSessionTracker`, `UpgradeableSessionTracker` and
//! `ReadOnlyZooKeeperServer`.

use super::base::Base;
use super::conn::State;
use super::line::What;
use crate::boundary::{CloseCause, Conn};
use crate::id::SessionId;
use crate::proto::{CreateMode, ErrorCode, Request};
use crate::session::{Sessions, Touch};
use crate::time::{Span, Time};
use std::collections::BTreeMap;

/// The local sessions of a server.
#[derive(Debug)]
pub(super) struct Local {
    sessions: Sessions,
    /// Those that are being made global, with their timeouts: live, though no table has them.
    upgrading: BTreeMap<SessionId, i32>,
    enabled: bool,
    may_upgrade: bool,
}

/// What becomes of a local session's write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LocalWrite {
    /// It is written as anybody's.
    AsIs,
    /// The session is made global first, with this timeout.
    Upgrade(i32),
    /// It is refused.
    Refuse(ErrorCode),
    /// The session closes, and nobody else has to know.
    Close,
}

impl Local {
    pub(super) fn new(enabled: bool, may_upgrade: bool, tick: Span) -> Local {
        let sessions = Sessions::new(0, Default::default(), tick);
        Local { sessions, upgrading: BTreeMap::new(), enabled, may_upgrade }
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.enabled
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn is_live(&self, session: SessionId) -> bool {
        self.sessions.is_live(session)
    }

    pub(super) fn is_upgrading(&self, session: SessionId) -> bool {
        self.upgrading.contains_key(&session)
    }

    pub(super) fn begin(&mut self, session: SessionId, timeout_ms: i32, now: Time) {
        self.sessions.commit_create(session, timeout_ms, now);
    }

    /// A sign of life; [`Touch::Unknown`] if it is none of these.
    pub(super) fn touch(&mut self, session: SessionId, timeout_ms: i32, now: Time) -> Touch {
        match self.upgrading.contains_key(&session) {
            true => Touch::Live,
            false => self.sessions.touch(session, Some(timeout_ms), now),
        }
    }

    /// Its creation was committed, or it is over.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.upgrading.remove(&session);
        self.sessions.commit_close(session);
    }

    /// The role is over: local sessions end with it.
    pub(super) fn forget_all(&mut self, now: Time) {
        self.sessions.replace([], now);
        self.upgrading.clear();
    }

    pub(super) fn next_expiry(&self) -> Option<Time> {
        self.sessions.next_expiry()
    }

    pub(super) fn expired(&self, now: Time) -> Vec<SessionId> {
        self.sessions.expired(now)
    }

    /// What becomes of a write, if its session is local.
    pub(super) fn write(&mut self, session: SessionId, request: &Request) -> LocalWrite {
        if !self.sessions.is_live(session) {
            return LocalWrite::AsIs;
        }
        match request {
            Request::CloseSession => LocalWrite::Close,
            request if !makes_ephemeral(request) => LocalWrite::AsIs,
            _ if !self.may_upgrade => LocalWrite::Refuse(ErrorCode::EphemeralOnLocalSession),
            _ => {
                let timeout_ms = self.sessions.timeout(session).expect("it lives");
                self.sessions.commit_close(session);
                self.upgrading.insert(session, timeout_ms);
                LocalWrite::Upgrade(timeout_ms)
            }
        }
    }
}

/// Does a session have to be global for this?
pub(super) fn makes_ephemeral(request: &Request) -> bool {
    match request {
        Request::Create(c) => CreateMode::from_int(c.flags).is_some_and(|mode| mode.is_ephemeral()),
        Request::Multi(ops) => ops.iter().any(makes_ephemeral),
        _ => false,
    }
}

impl Base {
    /// A new local session, welcomed at once.
    pub(super) fn begin_local(&mut self, id: Conn, timeout_ms: i32, read_only: Option<bool>) {
        let server = (self.config.server_id.0 as u64) << 56;
        let session = loop {
            // Nothing in the log keeps these ids apart over restarts: 56 random bits do.
            let drawn = SessionId((server | self.rng.u64() >> 8) as i64);
            if !self.local.is_live(drawn) && self.sessions.timeout(drawn).is_none() {
                break drawn;
            }
        };
        self.local.begin(session, timeout_ms, self.now.mono);
        self.attach(session, id, false);
        self.welcome(id, session, timeout_ms, read_only);
    }

    /// A session returns to the server that it is local to. False: it is none of those.
    pub(super) fn local_comes_back(
        &mut self,
        id: Conn,
        session: SessionId,
        timeout_ms: i32,
        read_only: Option<bool>,
    ) -> bool {
        let live = self.local.is_live(session);
        if live {
            self.local.touch(session, timeout_ms, self.now.mono);
            self.attach(session, id, true);
            self.welcome(id, session, timeout_ms, read_only);
        }
        live
    }

    /// A local session that closes waits only for what it asked before.
    pub(super) fn close_local(&mut self, id: Conn) -> What {
        if let Some(conn) = self.conns.get_mut(id)
            && let Some(session) = conn.session()
        {
            conn.state = State::Closing { session };
        }
        What::Read(Request::CloseSession)
    }

    /// Ends the local sessions that have run out.
    pub(super) fn expire_local(&mut self) {
        let now = self.now.mono;
        if self.local.next_expiry().is_none_or(|at| at > now) {
            return;
        }
        for session in self.local.expired(now) {
            self.local.forget(session);
            if let Some(conn) = self.conns.of_session(session) {
                self.close(conn, CloseCause::SessionExpired);
            }
        }
    }
}
