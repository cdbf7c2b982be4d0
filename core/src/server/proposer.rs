//! Whoever gives out zxids: requests become transactions against the tree and what is in flight, and wait there for their
//! commit. Answers to `PrepRequestProcessor` with `ZooKeeperServer.outstandingChanges`, and to what a leader or a standalone
//! server does of its own accord: expiry, containers, sessions that return.

use super::Base;
use super::clients::Coming;
use super::conn::State;
use super::outstanding::Outstanding;
use super::prep::Prep;
use super::reaper::Reaper;
use crate::boundary::{Conn, Event, Timer};
use crate::id::{SessionId, Zxid};
use crate::proto::{ErrorCode, Id, LoggedTxn, Request, Txn, TxnHeader};
use crate::quorum::QuorumVerifier;
use crate::session::Touch;
use crate::time::Time;
use bytes::Bytes;
use std::collections::VecDeque;

/// See the module.
#[derive(Debug)]
pub(super) struct Proposer {
    outstanding: Outstanding,
    /// Proposed, not yet committed, in zxid order.
    in_flight: VecDeque<InFlight>,
    /// Connections in [`State::Returning`], and some that are gone.
    returning: Vec<Conn>,
    reaper: Reaper,
}

/// A transaction on its way.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) logged: LoggedTxn,
    pub(super) body: Bytes,
}

/// What comes of a commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Committed {
    /// The connection that may go on with its questions.
    pub(super) unblocked: Option<Conn>,
    /// The session that it ended.
    pub(super) closed: Option<SessionId>,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    pub(super) session: SessionId,
    pub(super) cxid: i32,
    /// The identities of its connection.
    pub(super) ids: &'a [Id],
}

impl Asker<'_> {
    /// The server itself, for a session or for none.
    pub(super) fn server(session: SessionId) -> Asker<'static> {
        Asker { session, cxid: 0, ids: &[] }
    }
}

/// What gets a zxid.
#[derive(Clone, Copy, Debug)]
pub(super) enum Proposal<'a> {
    /// A write that parses.
    Write(&'a Request),
    CreateSession {
        timeout: i32,
    },
    CloseSession,
    /// This configuration.
    Reconfig(&'a QuorumVerifier),
    /// A failure known before any check.
    Failed(ErrorCode),
}

/// What a server asks of its own accord.
#[derive(Debug)]
pub(super) enum Chore {
    /// A session has run out.
    Expired(SessionId),
    /// A container or TTL node is to go.
    Garbage(Request),
}

impl Proposer {
    /// Nothing in flight over the tree as it is.
    pub(super) fn new(base: &Base) -> Proposer {
        Proposer {
            outstanding: Outstanding::new(base.tree.digest()),
            in_flight: VecDeque::new(),
            returning: Vec::new(),
            reaper: Reaper::new(&base.config, base.now.mono),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Makes the transaction of this zxid, and its body for the log.
    pub(super) fn prepare(
        &mut self,
        base: &mut Base,
        zxid: Zxid,
        asker: Asker<'_>,
        proposal: Proposal<'_>,
    ) -> Bytes {
        let Asker { session, cxid, ids } = asker;
        let header = TxnHeader { session, cxid, zxid, time: base.now.wall.0 };
        let prep =
            Prep { config: &base.config, tree: &base.tree, outstanding: &mut self.outstanding, header, ids };
        let txn = match proposal {
            Proposal::Write(request) => prep.write(request),
            Proposal::CreateSession { timeout } => Txn::CreateSession { timeout },
            Proposal::CloseSession => prep.close_session(session),
            Proposal::Reconfig(next) => prep.reconfig(&next.to_string()),
            Proposal::Failed(code) => Txn::Error { err: code.code() },
        };
        let has_digest = base.config.digest_enabled && !matches!(txn, Txn::Error { .. });
        let digest = has_digest.then(|| self.outstanding.digest());
        let logged = LoggedTxn { header, txn, digest };
        let body = base.store.encode(&logged);
        base.event(Event::Proposed { zxid, txn: body.clone() });
        self.in_flight.push_back(InFlight { logged, body: body.clone() });
        body
    }

    /// The oldest in flight is committed.
    pub(super) fn committed(&mut self, base: &mut Base, zxid: Zxid) -> Committed {
        let InFlight { logged, body } = self.in_flight.pop_front().expect("it is in flight");
        assert_eq!(logged.header.zxid, zxid, "commits come in order");
        let closed = matches!(logged.txn, Txn::CloseSession { .. }).then_some(logged.header.session);
        let (unblocked, digest) = base.commit(logged, body);
        assert!(digest.is_ok(), "{zxid} was prepared for another tree");
        self.outstanding.applied(zxid);
        Committed { unblocked, closed }
    }

    /// The session's creation is in flight.
    pub(super) fn is_created(&self, session: SessionId) -> bool {
        let creates = |p: &&InFlight| matches!(p.logged.txn, Txn::CreateSession { .. });
        self.in_flight.iter().filter(creates).any(|p| p.logged.header.session == session)
    }

    /// The transaction that was made last.
    pub(super) fn newest(&self) -> Option<&Txn> {
        self.in_flight.back().map(|p| &p.logged.txn)
    }

    /// The last transaction of a session that is in flight.
    pub(super) fn under_way(&self, session: SessionId) -> Option<Zxid> {
        self.in_flight.iter().rev().find(|p| p.logged.header.session == session).map(|p| p.logged.header.zxid)
    }

    // ---- sessions that return to this server ----

    /// A session of this server's own clients returns: welcomed once the writes that it asked for elsewhere are applied.
    /// False: it is no more, and turned away.
    pub(super) fn come_back(&mut self, base: &mut Base, id: Conn, coming: Coming) -> bool {
        let Coming { session, timeout_ms, read_only } = coming;
        if base.sessions.touch(session, Some(timeout_ms), base.now.mono) != Touch::Live {
            base.turn_away(id, read_only);
            return false;
        }
        base.stats.revalidations += 1;
        base.attach(session, id, true);
        match self.under_way(session) {
            None => base.welcome(id, session, timeout_ms, read_only),
            Some(after) => {
                if let Some(conn) = base.conns.get_mut(id) {
                    conn.state = State::Returning { session, timeout_ms, read_only, after };
                    self.returning.push(id);
                }
            }
        }
        true
    }

    /// Confirms the sessions whose writes on former connections have all been applied.
    pub(super) fn welcome_back(&mut self, base: &mut Base, applied: Zxid, unblocked: &mut Vec<Conn>) {
        self.returning.retain(|id| {
            let Some(conn) = base.conns.get(*id) else { return false };
            let State::Returning { session, timeout_ms, read_only, after } = conn.state else {
                unreachable!("only its writes' commit or its end takes a connection out of this state")
            };
            if after <= applied {
                base.welcome(*id, session, timeout_ms, read_only);
                unblocked.push(*id);
            }
            after > applied
        });
    }

    // ---- chores ----

    /// Something that is due now.
    pub(super) fn chore(&mut self, base: &mut Base) -> Option<Chore> {
        let now = base.now.mono;
        if base.sessions.next_expiry().is_some_and(|at| at <= now) {
            for session in base.sessions.expired(now) {
                if base.sessions.begin_close(session) {
                    base.stats.sessions_expired += 1;
                    base.event(Event::SessionExpired { session });
                    return Some(Chore::Expired(session));
                }
            }
        }
        let path = self.reaper.due(base.now, &base.tree, &base.config)?;
        Some(Chore::Garbage(Request::DeleteContainer { path }))
    }

    pub(super) fn next_wake(&self, base: &Base) -> impl Iterator<Item = (Time, Timer)> {
        let expiry = base.sessions.next_expiry().map(|t| (t, Timer::SessionExpiry));
        expiry.into_iter().chain([(self.reaper.next(), Timer::Reaper)])
    }
}

/// Sessions that own ephemerals and are not known (Java's fuzzy snapshots can leave them): their nodes go as if they closed
/// now. Java deletes them without a transaction, and its log does not replay to its tree then.
pub(super) fn orphans(base: &Base) -> Vec<SessionId> {
    let owners = base.tree.sessions_with_ephemerals().map(|(owner, _)| owner);
    owners.filter(|s| base.sessions.timeout(*s).is_none()).collect()
}
