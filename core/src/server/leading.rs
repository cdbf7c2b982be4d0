//! The leader: its learners, its clients, everybody's writes. ZAB says what is sent and when a transaction is history; this role
//! makes the transactions and answers. Answers to `Leader` and `LeaderZooKeeperServer` with their request processors.

use super::base::Base;
use super::clients::{self, Clients, Coming, Door, Write};
use super::conn::{Connection, State};
use super::front::Asked;
use super::learning::CREATE_SESSION;
use super::line::Commit;
use super::local;
use super::logs::Logs;
use super::member::{Member, Next};
use super::observers;
use super::proposer::{Asker, Chore, Committed, Proposal, Proposer, orphans};
use super::reconfig;
use super::snapshots::Snapshots;
use crate::boundary::{AdminOrder, CloseCause, Conn, Event, Input, Port, RoleName, Stop, Timer};
use crate::id::{Epoch, SessionId, Zxid};
use crate::jute::Reader;
use crate::limits;
use crate::proto::{ErrorCode, ForwardedRequest, LoggedTxn, OpCode, Request};
use crate::quorum::{ConfigRules, QuorumVerifier, QuorumView, ReconfigRequest, reconfigure};
use crate::session::Touch;
use crate::time::Time;
use crate::zab::{Cause, History, Leader, Lost, SyncOf, ZabOut};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(super) struct Leading {
    zab: Leader,
    /// What ZAB asks for and has not been carried out: empty between steps.
    todo: VecDeque<ZabOut>,
    phase: Phase,
    proposer: Proposer,
    /// Which connection a session was used on last: only from there its writes are taken. Answers to `SessionImpl.owner`.
    owners: BTreeMap<SessionId, Owner>,
    /// Sessions that closed in this reign, the last of them, oldest first.
    closed: BTreeSet<SessionId>,
    closed_order: VecDeque<SessionId>,
    /// Sessions that are not known here, while a quorum is asked.
    doubts: BTreeMap<u64, Doubt>,
    /// Own clients whose syncs are under way.
    syncs: BTreeMap<u64, Conn>,
    last_tag: u64,
    /// Learners that asked for sessions whose writes are under way.
    revalidations: Vec<Revalidation>,
    snapshots: Snapshots,
    logs: Logs,
    rules: ConfigRules,
    /// Clients too: leaderServes.
    lets_in: bool,
    /// A reconfiguration was proposed and the election does not know of it yet.
    new_config: bool,
    stopping: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Discovery and synchronisation.
    Preparing,
    /// The epoch is served.
    Serving,
    /// The role is over.
    Over,
}

/// Where a session is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    /// At a client of this server.
    Here,
    /// At this learner.
    Learner(Conn),
}

/// A session that this leader does not know, and who asks for it. Another leader may have created it since, if there is one:
/// so nobody is told that it is over before a quorum has been heard of.
#[derive(Clone, Copy, Debug)]
enum Doubt {
    Here(Conn, Coming),
    Learner(Conn, SessionId),
}

#[derive(Clone, Copy, Debug)]
struct Revalidation {
    learner: Conn,
    session: SessionId,
    after: Zxid,
}

impl Clients for Leading {
    fn door(&self) -> Door {
        match self.phase {
            Phase::Preparing | Phase::Over => Door::Shut,
            Phase::Serving if !self.may_propose() => Door::Closing,
            Phase::Serving if !self.lets_in => Door::Shut,
            Phase::Serving => Door::Open,
        }
    }

    fn used(&mut self, _: SessionId, _: i32) {}

    fn create_session(&mut self, base: &mut Base, session: SessionId, timeout: i32) {
        self.owners.insert(session, Owner::Here);
        self.propose(base, Asker::server(session), Proposal::CreateSession { timeout });
    }

    fn come_back(&mut self, base: &mut Base, id: Conn, coming: Coming) {
        let Coming { session, timeout_ms, read_only } = coming;
        if base.sessions.is_live(session) {
            self.proposer.come_back(base, id, coming);
            self.owners.insert(session, Owner::Here);
        } else if let Some(conn) = base.conns.get_mut(id) {
            conn.state = State::Revalidating { session, timeout_ms, read_only };
            self.doubt(Doubt::Here(id, coming));
        }
    }

    fn write(&mut self, base: &mut Base, write: Write<'_>) -> Commit {
        let Asked { session, xid, .. } = write.asked;
        let ids = Arc::clone(base.conns.get(write.id).expect("it has just asked").ids());
        let asker = Asker { session, cxid: xid.0, ids: &ids };
        Commit::Own(self.take(base, Owner::Here, asker, write.request))
    }

    fn misread(&mut self, base: &mut Base, asked: Asked) -> Option<Commit> {
        let asker = Asker { session: asked.session, cxid: asked.xid.0, ids: &[] };
        Some(Commit::Own(self.propose(base, asker, Proposal::Failed(ErrorCode::MarshallingError))))
    }

    fn sync(&mut self, _: &mut Base, write: Write<'_>) -> Option<u64> {
        self.last_tag += 1;
        let tag = self.last_tag;
        self.syncs.insert(tag, write.id);
        self.with_zab(|zab, out| zab.sync(SyncOf::Own(tag), out));
        Some(tag)
    }
}

impl Leading {
    /// A server that was elected.
    pub(super) fn begin(base: &mut Base, m: &mut Member, history: History) -> (Leading, Option<Next>) {
        base.become_role(RoleName::Leader);
        m.voter_looks = None;
        let mut out = Vec::new();
        let view = QuorumView { heard_of: None, ..m.view().clone() };
        let zab = Leader::new(m.me, m.zab, history, view, base.now.mono, &mut out);
        let mut leading = Leading {
            zab,
            todo: out.into(),
            phase: Phase::Preparing,
            proposer: Proposer::new(base),
            owners: BTreeMap::new(),
            closed: BTreeSet::new(),
            closed_order: VecDeque::new(),
            doubts: BTreeMap::new(),
            syncs: BTreeMap::new(),
            last_tag: 0,
            revalidations: Vec::new(),
            snapshots: Snapshots::default(),
            logs: Logs::default(),
            rules: base.config.ensemble.as_ref().map_or(ConfigRules::default(), |e| e.rules),
            lets_in: lets_in(base, m),
            new_config: false,
            stopping: false,
        };
        // Those that came early.
        for conn in m.peers.waiting() {
            leading.with_zab(|zab, out| zab.opened(base.now.mono, conn, out));
            leading.packets(base, m, conn);
        }
        let next = leading.carry_out(base, m);
        (leading, next)
    }

    /// The role is over: the history goes on.
    pub(super) fn end(mut self, base: &mut Base) -> History {
        self.snapshots.give_up(base);
        base.role_over();
        self.zab.into_history()
    }

    pub(super) fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    pub(super) fn history(&self) -> &History {
        self.zab.history()
    }

    pub(super) fn next_wake(&self, base: &Base) -> impl Iterator<Item = (Time, Timer)> {
        // Chores wait while nothing can be proposed.
        let chores = self.may_propose().then(|| self.proposer.next_wake(base));
        let zab = self.zab.next_wake().map(|at| (at, Timer::Zab));
        base.next_wake().chain(chores.into_iter().flatten()).chain(zab)
    }

    /// Something new may get a zxid.
    fn may_propose(&self) -> bool {
        // A local session's first ephemeral takes two: the session becomes global.
        self.phase == Phase::Serving && !self.stopping && self.zab.room() >= 2
    }

    fn with_zab(&mut self, call: impl FnOnce(&mut Leader, &mut Vec<ZabOut>)) {
        let mut out = Vec::new();
        call(&mut self.zab, &mut out);
        self.todo.extend(out);
    }

    /// One input.
    pub(super) fn on(&mut self, base: &mut Base, m: &mut Member, input: Input<'_>) -> Option<Next> {
        let (_, input) = m.hear(base, input);
        let now = base.now.mono;
        if let Some(better) = m.voter_looks.take() {
            self.with_zab(|zab, out| zab.voter_looks(now, better, out));
        }
        match input {
            None => {}
            Some(Input::Wake) => self.with_zab(|zab, out| zab.wake(now, out)),
            Some(Input::Opened { conn, port: Port::Quorum, .. }) => {
                m.peers.open(conn, limits::MAX_LEARNER_PACKET);
                self.with_zab(|zab, out| zab.opened(now, conn, out));
            }
            Some(Input::Opened { conn, port: Port::ObserverMaster, .. }) => {
                Member::turn_observer_away(base, conn);
            }
            Some(Input::Opened { port: Port::Client | Port::Election, .. }) => {
                unreachable!("heard by the member")
            }
            Some(Input::Received { conn, bytes }) if m.peers.contains(conn) => {
                m.peers.feed(conn, bytes);
                self.packets(base, m, conn);
            }
            Some(Input::Received { conn, bytes }) => clients::received(self, base, conn, bytes),
            Some(Input::Writable { conn }) if m.peers.contains(conn) => {
                m.peers.drained(conn);
                self.zab.snapshot_moves(now, conn);
                self.snapshots.go_on(base, &mut m.peers, conn);
            }
            Some(Input::Writable { conn }) => clients::writable(self, base, conn),
            Some(Input::Closed { conn }) if m.peers.contains(conn) => {
                m.peers.forget(conn);
                self.peer_gone(base, conn);
            }
            Some(Input::Closed { conn }) => {
                base.forget(conn);
            }
            Some(Input::Read { read, bytes }) => self.logs.answered(read, bytes),
            Some(Input::Durable { lane, upto }) => {
                self.logs.written();
                for vouch in base.durable(lane, upto) {
                    base.event(Event::Vouched(vouch));
                    self.with_zab(|zab, out| zab.durable(now, vouch, out));
                }
            }
            Some(Input::Admin { order: AdminOrder::Shutdown }) => {
                self.stopping = true;
                self.with_zab(|zab, out| zab.hand_over(now, out));
            }
            Some(Input::Admin { order: AdminOrder::HostGauges { .. } } | Input::DiskFailed { .. }) => {
                unreachable!("heard by the member")
            }
        }
        let next = self.carry_out(base, m);
        if next.is_some() || self.phase == Phase::Over {
            return next;
        }
        self.chores(base);
        let next = self.carry_out(base, m);
        base.timers();
        next
    }

    /// A learner's connection is gone.
    pub(super) fn peer_gone(&mut self, base: &mut Base, conn: Conn) {
        self.zab.closed(conn);
        self.snapshots.forget(base, conn);
        self.logs.forget(conn);
        self.revalidations.retain(|r| r.learner != conn);
    }

    /// Packets of a learner.
    fn packets(&mut self, base: &mut Base, m: &mut Member, conn: Conn) {
        loop {
            match m.peers.next_packet(conn) {
                Ok(Some(packet)) => self.with_zab(|zab, out| zab.packet(base.now.mono, conn, packet, out)),
                Ok(None) => return,
                Err(bad) => {
                    self.peer_gone(base, conn);
                    return m.peers.close(conn, CloseCause::Peer(Cause::Malformed(bad)), &mut base.out);
                }
            }
        }
    }

    fn chores(&mut self, base: &mut Base) {
        while self.may_propose()
            && let Some(chore) = self.proposer.chore(base)
        {
            match chore {
                Chore::Expired(session) => {
                    self.propose(base, Asker::server(session), Proposal::CloseSession);
                }
                Chore::Garbage(delete) => {
                    self.propose(base, Asker::server(SessionId::NONE), Proposal::Write(&delete));
                }
            }
        }
        if self.is_serving() && !self.snapshots.is_sending() {
            base.store.maybe_snapshot(&mut base.tree, &base.sessions, &mut base.out);
        }
    }

    // ---- what ZAB asks for ----

    fn carry_out(&mut self, base: &mut Base, m: &mut Member) -> Option<Next> {
        loop {
            while let Some(out) = self.todo.pop_front() {
                if let Some(next) = self.carry_out_one(base, m, out) {
                    self.phase = Phase::Over;
                    return next;
                }
            }
            if std::mem::take(&mut self.new_config) {
                m.see_config(base, self.zab.view().last_seen.clone());
            }
            if let Some(conn) = self.logs.next(&m.peers, base.config.stream_ahead) {
                self.read_log(base, conn);
                continue;
            }
            let conn = self.snapshots.next(base)?;
            self.with_zab(|zab, out| zab.snapshot_begun(base.now.mono, conn, out));
        }
    }

    /// `Some`: the role is over, and what comes next.
    fn carry_out_one(&mut self, base: &mut Base, m: &mut Member, out: ZabOut) -> Option<Option<Next>> {
        match out {
            ZabOut::Send { conn, packet } => m.peers.send(conn, &packet),
            ZabOut::Close { conn, cause } => {
                self.snapshots.forget(base, conn);
                self.logs.forget(conn);
                self.revalidations.retain(|r| r.learner != conn);
                m.peers.close(conn, CloseCause::Peer(cause), &mut base.out);
            }
            ZabOut::Append { zxid, body } => base.log(zxid, body),
            ZabOut::WriteEpoch { file, epoch } => base.store.write_epoch(file, epoch, &mut base.out),
            ZabOut::Park(vouch) => base.store.park(vouch),
            ZabOut::WantSnapshot { conn } => self.snapshots.want(conn),
            ZabOut::WantLog { conn, after } => match base.store.read_log(after) {
                Some(reader) => self.logs.want(conn, reader),
                None => self.with_zab(|zab, out| zab.log_ends(conn, out)),
            },
            ZabOut::SendSnapshot { conn, .. } => self.snapshots.begin(base, &mut m.peers, conn),
            ZabOut::Deliver { zxid, body, designated } => {
                self.deliver(base, zxid, body);
                if designated.is_some() {
                    self.take_up_config(base, m);
                }
            }
            ZabOut::Request { conn, request } => self.forwarded(base, conn, request),
            ZabOut::Revalidate { conn, session, timeout } => self.revalidate(base, conn, session, timeout),
            ZabOut::Touched { sessions } => {
                for (session, timeout) in sessions {
                    base.sessions.touch(session, Some(timeout), base.now.mono);
                }
            }
            ZabOut::Synced { tag } => {
                if let Some(doubt) = self.doubts.remove(&tag) {
                    self.settle(base, doubt);
                } else if let Some(id) = self.syncs.remove(&tag)
                    && base.synced(id, tag)
                {
                    clients::pump(self, base, id);
                }
            }
            ZabOut::Established { epoch } => base.event(Event::Established { epoch }),
            ZabOut::Synchronizes { learner, by } => base.event(Event::Synchronizes { learner, by }),
            ZabOut::Committed { zxid, acks } => base.event(Event::QuorumAcked { zxid, acks }),
            ZabOut::Activated { epoch } => self.activated(base, m, epoch),
            ZabOut::Lost { why } => return Some(self.lost(base, m, why)),
            ZabOut::Dial
            | ZabOut::Truncate { .. }
            | ZabOut::Install { .. }
            | ZabOut::ReceiveSnapshot { .. }
            | ZabOut::Revalidated { .. }
            | ZabOut::NewLeaderConfig { .. } => unreachable!("a learner's: {out:?}"),
        }
        None
    }

    /// Reads on in the log for a learner, as far as its piece goes.
    fn read_log(&mut self, base: &mut Base, conn: Conn) {
        let now = base.now.mono;
        self.zab.snapshot_moves(now, conn);
        while let Some(news) = self.logs.read_on(base, conn) {
            let mut goes_on = false;
            self.with_zab(|zab, out| match news {
                None => zab.log_ends(conn, out),
                Some((before, entry)) => goes_on = zab.log_entry(now, conn, before, entry, out),
            });
            if !goes_on {
                self.logs.forget(conn);
            }
        }
    }

    fn activated(&mut self, base: &mut Base, m: &mut Member, epoch: Epoch) {
        self.phase = Phase::Serving;
        base.begin_epoch(epoch);
        self.take_up_config(base, m);
        base.show_config(&m.view().committed);
        // The history that was delivered just now is under what is proposed.
        self.proposer = Proposer::new(base);
        m.synchronised(epoch);
        for session in orphans(base) {
            self.propose(base, Asker::server(session), Proposal::CloseSession);
        }
    }

    /// The configuration that ZAB goes by is in force.
    fn take_up_config(&mut self, base: &mut Base, m: &mut Member) {
        let QuorumView { committed, last_seen, .. } = self.zab.view().clone();
        m.take_up_config(base, committed);
        m.see_config(base, last_seen);
        self.lets_in = lets_in(base, m);
    }

    fn lost(&mut self, base: &mut Base, m: &mut Member, why: Lost) -> Option<Next> {
        base.event(Event::RoleLost { why });
        if self.stopping {
            base.close_all(CloseCause::Stopping);
            base.stop(Stop::Ordered);
            return None;
        }
        Some(match why {
            Lost::Deposed(designated) => m.take_role(designated, self.history().last()),
            _ => Next::Look,
        })
    }

    fn deliver(&mut self, base: &mut Base, zxid: Zxid, body: Bytes) {
        if self.phase == Phase::Preparing {
            // History from before this reign.
            let logged = LoggedTxn::decode(&body).expect("it was read when it was logged");
            base.commit_history(logged, body);
            return;
        }
        let Committed { unblocked, closed } = self.proposer.committed(base, zxid);
        let mut unblocked: Vec<Conn> = unblocked.into_iter().collect();
        if let Some(session) = closed {
            self.session_closed(base, session);
        }
        self.proposer.welcome_back(base, zxid, &mut unblocked);
        for i in (0..self.revalidations.len()).rev() {
            if self.revalidations[i].after <= zxid {
                let Revalidation { learner, session, .. } = self.revalidations.remove(i);
                self.revalidated(base, learner, session);
            }
        }
        for id in unblocked {
            clients::pump(self, base, id);
        }
    }

    /// A session is no more. Who takes unknown sessions for local ones has to know that it was none.
    fn session_closed(&mut self, base: &Base, session: SessionId) {
        self.owners.remove(&session);
        if base.local.is_enabled() && self.closed.insert(session) {
            self.closed_order.push_back(session);
            if self.closed_order.len() > limits::CLOSED_SESSIONS
                && let Some(oldest) = self.closed_order.pop_front()
            {
                self.closed.remove(&oldest);
            }
        }
    }

    // ---- requests ----

    fn propose(&mut self, base: &mut Base, asker: Asker<'_>, proposal: Proposal<'_>) -> Zxid {
        let zxid = self.zab.next_zxid().expect("the door is open");
        let body = self.proposer.prepare(base, zxid, asker, proposal);
        let config = self.proposer.newest().and_then(|txn| reconfig::proposed(txn, self.rules));
        self.new_config |= config.is_some();
        self.with_zab(|zab, out| zab.propose(base.now.mono, zxid, body, config, out));
        zxid
    }

    /// The configuration that a client asks for.
    fn reconfigure(&self, base: &Base, request: &Request) -> Result<QuorumVerifier, ErrorCode> {
        let Request::Reconfig { joining, leaving, new_members, config_id } = request else {
            unreachable!("only those are asked for a configuration")
        };
        let ensemble = base.config.ensemble.as_ref().expect("a leader has an ensemble");
        if !ensemble.reconfig_enabled {
            return Err(ErrorCode::ReconfigDisabled);
        }
        let request = ReconfigRequest {
            joining: joining.as_deref(),
            leaving: leaving.as_deref(),
            new_members: new_members.as_deref(),
            config_id: *config_id,
        };
        let zxid = self.zab.next_zxid().expect("the door is open");
        reconfigure(self.zab.view(), &request, zxid, &self.zab.synced(), ensemble.rules)
            .map_err(|refused| refused.code())
    }

    /// A write of a session from where it is used, if it may write there. Answers to `SessionTracker.checkSession`.
    fn take(&mut self, base: &mut Base, from: Owner, asker: Asker<'_>, request: &Request) -> Zxid {
        let session = asker.session;
        // Java lets a late close of a former connection through.
        let moved = self.owners.get(&session).is_some_and(|owner| *owner != from);
        if let Request::CloseSession = request
            && !moved
        {
            // One that is being made global is in no table yet; its creation comes first.
            let begun = base.sessions.begin_close(session) || self.proposer.is_created(session);
            assert!(begun, "a live session begins to close once");
            return self.propose(base, asker, Proposal::CloseSession);
        }
        let proposal = if !self.may_write(base, session, request) {
            Proposal::Failed(ErrorCode::SessionExpired)
        } else if moved {
            Proposal::Failed(ErrorCode::SessionMoved)
        } else if let Request::Reconfig { .. } = request {
            match self.reconfigure(base, request) {
                Ok(next) => return self.propose(base, asker, Proposal::Reconfig(&next)),
                Err(code) => Proposal::Failed(code),
            }
        } else {
            Proposal::Write(request)
        };
        if base.sessions.timeout(session).is_some() {
            self.owners.entry(session).or_insert(from);
        }
        self.propose(base, asker, proposal)
    }

    /// Its session lives. Of a learner's local session nothing is known here; but its ephemerals come behind its creation, and
    /// what was global and has closed is remembered.
    fn may_write(&self, base: &Base, session: SessionId, request: &Request) -> bool {
        if base.sessions.is_live(session) || base.local.is_live(session) || base.local.is_upgrading(session) {
            return true;
        }
        let foreign = base.sessions.timeout(session).is_none() && !self.closed.contains(&session);
        base.local.is_enabled()
            && foreign
            && (self.proposer.is_created(session) || !local::makes_ephemeral(request))
    }

    /// A learner forwards what one of its clients asks.
    fn forwarded(&mut self, base: &mut Base, conn: Conn, request: ForwardedRequest) {
        if !self.may_propose() {
            // The role is about to end, and the connection with it.
            return;
        }
        let ForwardedRequest { session, cxid, op, body, authinfo } = request;
        let ids = authinfo.unwrap_or_default();
        let asker = Asker { session, cxid, ids: &ids };
        if observers::has_moved(&ids) {
            self.propose(base, asker, Proposal::Failed(ErrorCode::SessionMoved));
            return;
        }
        let mut r = Reader::new(&body);
        let refused = match OpCode::from_int(op) {
            Some(OpCode::Sync) => {
                return self.with_zab(|zab, out| zab.sync(SyncOf::Learner(conn), out));
            }
            Some(OpCode::CloseSession) => Ok(Request::CloseSession),
            Some(op) if clients::is_write(op) => {
                Request::decode(op, &mut r).map_err(|_| ErrorCode::MarshallingError)
            }
            None if op == CREATE_SESSION => match r.int() {
                Ok(timeout) => {
                    self.owners.insert(session, Owner::Learner(conn));
                    self.propose(base, asker, Proposal::CreateSession { timeout });
                    return;
                }
                Err(_) => Err(ErrorCode::MarshallingError),
            },
            Some(_) | None => Err(ErrorCode::Unimplemented),
        };
        match refused {
            // Its close is under way or done already: that ends the connection at the learner.
            Ok(Request::CloseSession)
                if !base.sessions.is_live(session) && !self.proposer.is_created(session) => {}
            Ok(request) => {
                base.sessions.touch(session, None, base.now.mono);
                self.take(base, Owner::Learner(conn), asker, &request);
            }
            Err(code) => {
                self.propose(base, asker, Proposal::Failed(code));
            }
        }
    }

    /// A session returns at a learner: it is told so behind the session's writes that are under way.
    fn revalidate(&mut self, base: &mut Base, learner: Conn, session: SessionId, timeout: i32) {
        let live = base.sessions.touch(session, Some(timeout), base.now.mono) == Touch::Live;
        match live {
            true => self.admit(base, learner, session),
            false => self.doubt(Doubt::Learner(learner, session)),
        }
    }

    /// A live session goes on at a learner.
    fn admit(&mut self, base: &mut Base, learner: Conn, session: SessionId) {
        self.owners.insert(session, Owner::Learner(learner));
        if let Some(old) = base.conns.of_session(session) {
            base.close(old, CloseCause::SessionMoved);
        }
        match self.proposer.under_way(session) {
            Some(after) => self.revalidations.push(Revalidation { learner, session, after }),
            None => self.revalidated(base, learner, session),
        }
    }

    /// Asks a quorum whether this is still the leader, before a session is said to be over.
    fn doubt(&mut self, doubt: Doubt) {
        self.last_tag += 1;
        let tag = self.last_tag;
        self.doubts.insert(tag, doubt);
        self.with_zab(|zab, out| zab.sync(SyncOf::Own(tag), out));
    }

    /// It is.
    fn settle(&mut self, base: &mut Base, doubt: Doubt) {
        let (Doubt::Here(_, Coming { session, .. }) | Doubt::Learner(_, session)) = doubt;
        if self.proposer.is_created(session) {
            // A local one is about to be known to all.
            return self.doubt(doubt);
        }
        match doubt {
            Doubt::Here(id, coming) => {
                let waits = |c: &Connection| matches!(c.state, State::Revalidating { .. });
                if base.conns.get(id).is_some_and(waits) {
                    if self.proposer.come_back(base, id, coming) {
                        self.owners.insert(coming.session, Owner::Here);
                    }
                    clients::pump(self, base, id);
                }
            }
            Doubt::Learner(learner, session) if base.sessions.is_live(session) => {
                self.admit(base, learner, session);
            }
            Doubt::Learner(learner, session) => self.revalidated(base, learner, session),
        }
    }

    fn revalidated(&mut self, base: &mut Base, learner: Conn, session: SessionId) {
        let valid = base.sessions.is_live(session);
        self.with_zab(|zab, out| zab.revalidated(learner, session, valid, out));
    }
}

/// leaderServes=no leaves the clients to the others, if there are any.
fn lets_in(base: &Base, m: &Member) -> bool {
    let serves = base.config.ensemble.as_ref().is_none_or(|e| e.leader_serves);
    serves || m.view().committed.members().count() == 1
}
