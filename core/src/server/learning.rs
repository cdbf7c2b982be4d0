//! A learner, follower or observer: history comes from the leader, writes go to it, reads are answered here. Answers to
//! `FollowerZooKeeperServer`, `ObserverZooKeeperServer`, `LearnerSessionTracker` and `FollowerRequestProcessor`.

use super::base::Base;
use super::clients::{self, Clients, Coming, Door, Write};
use super::conn::State;
use super::front::Asked;
use super::line::Commit;
use super::member::{Member, Next};
use super::observers::Observers;
use super::peers::Snapshot;
use super::reconfig;
use crate::boundary::{AdminOrder, CloseCause, Conn, Event, Input, Output, Port, RoleName, Stop, Timer};
use crate::id::{Epoch, ServerId, SessionId, Zxid};
use crate::jute::{Bad, Write as _};
use crate::limits;
use crate::proto::{ForwardedRequest, LoggedTxn, OpCode, PacketType, QuorumPacket, Txn};
use crate::quorum::{ConfigRules, LearnerType, QuorumVerifier};
use crate::time::Time;
use crate::zab::{History, Learner, Lost, ZabOut};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The operation under which a learner asks for a new session.
pub(super) const CREATE_SESSION: i32 = -10;

/// See the module.
#[derive(Debug)]
pub(super) struct Learning {
    pub(super) zab: Learner,
    leader: ServerId,
    /// A dial under way, and how many there were.
    dialling: Option<Conn>,
    dials: usize,
    /// What ZAB asks for and has not been carried out: empty between steps.
    pub(super) todo: VecDeque<ZabOut>,
    phase: Phase,
    /// Transactions that came in and have not been delivered.
    decoded: VecDeque<LoggedTxn>,
    /// A snapshot that came in and has not been installed.
    staged: Option<Snapshot>,
    /// Who waits for the leader's word on a session.
    pub(super) returning: BTreeMap<SessionId, VecDeque<Asker>>,
    /// Whose syncs are under way.
    pub(super) syncs: BTreeMap<u64, Asker>,
    pub(super) last_tag: u64,
    /// Those that learn from this follower; `None`: it takes in none.
    pub(super) observers: Option<Observers>,
    kind: LearnerType,
    rules: ConfigRules,
    /// Configurations that were proposed and are not in the history yet: they were not seen.
    proposed: VecDeque<Arc<QuorumVerifier>>,
    /// What NEWLEADER said; it is in force once the leader serves.
    new_config: Option<Arc<QuorumVerifier>>,
    stopping: bool,
}

/// To whom the leader's answer goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asker {
    /// A client of this server.
    Client(Conn),
    /// An observer of this follower.
    Observer(Conn),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The history becomes the leader's.
    Syncing,
    /// The epoch is served.
    Serving,
    /// The role is over.
    Over,
}

impl Clients for Learning {
    fn door(&self) -> Door {
        match self.phase {
            Phase::Syncing | Phase::Over => Door::Shut,
            Phase::Serving if self.stopping => Door::Closing,
            Phase::Serving => Door::Open,
        }
    }

    fn used(&mut self, session: SessionId, timeout_ms: i32) {
        self.zab.touch(session, timeout_ms);
    }

    fn create_session(&mut self, _: &mut Base, session: SessionId, timeout: i32) {
        let mut body = BytesMut::new();
        body.int(timeout);
        let (body, authinfo) = (body.freeze(), None);
        self.forward(ForwardedRequest { session, cxid: 0, op: CREATE_SESSION, body, authinfo });
    }

    fn come_back(&mut self, base: &mut Base, id: Conn, coming: Coming) {
        let Coming { session, timeout_ms, read_only } = coming;
        // Nothing more of its former connection may go to the leader behind this.
        if let Some(old) = base.conns.of_session(session) {
            base.close(old, CloseCause::SessionMoved);
        }
        if let Some(observers) = &mut self.observers {
            observers.comes_here(session);
        }
        if let Some(conn) = base.conns.get_mut(id) {
            conn.state = State::Revalidating { session, timeout_ms, read_only };
            self.returning.entry(session).or_default().push_back(Asker::Client(id));
            self.with_zab(|zab, out| {
                zab.revalidate(session, timeout_ms, out);
            });
        }
    }

    fn write(&mut self, base: &mut Base, write: Write<'_>) -> Commit {
        self.forward(forwarded(base, write));
        Commit::Forwarded
    }

    /// Only what decodes is forwarded: a Java leader does not stand anything else.
    fn misread(&mut self, _: &mut Base, _: Asked) -> Option<Commit> {
        None
    }

    fn sync(&mut self, base: &mut Base, write: Write<'_>) -> Option<u64> {
        self.last_tag += 1;
        let tag = self.last_tag;
        self.syncs.insert(tag, Asker::Client(write.id));
        let request = forwarded(base, write);
        self.with_zab(|zab, out| {
            zab.sync(tag, request, out);
        });
        Some(tag)
    }
}

/// A client's request as the leader gets it.
fn forwarded(base: &Base, write: Write<'_>) -> ForwardedRequest {
    let Asked { session, xid, op, .. } = write.asked;
    // Behind xid and opcode.
    let body = match op {
        OpCode::CloseSession => Bytes::new(),
        _ => write.frame.freeze().slice(8..),
    };
    let ids = base.conns.get(write.id).expect("it has just asked").ids().to_vec();
    ForwardedRequest { session, cxid: xid.0, op: op as i32, body, authinfo: Some(ids) }
}

impl Learning {
    /// A server that knows its leader.
    pub(super) fn begin(
        base: &mut Base,
        m: &mut Member,
        history: History,
        kind: LearnerType,
        leader: ServerId,
    ) -> (Learning, Option<Next>) {
        base.become_role(match kind {
            LearnerType::Participant => RoleName::Follower,
            LearnerType::Observer => RoleName::Observer,
        });
        let mut out = Vec::new();
        let version = m.view().committed.version;
        let when = (base.now.mono, m.fruitless);
        let zab = Learner::new((m.me, kind), m.zab, history, version, when, &mut out);
        m.fruitless = m.fruitless.saturating_add(1);
        let mut learning = Learning {
            zab,
            leader,
            dialling: None,
            dials: 0,
            todo: out.into(),
            phase: Phase::Syncing,
            decoded: VecDeque::new(),
            staged: None,
            returning: BTreeMap::new(),
            syncs: BTreeMap::new(),
            last_tag: 0,
            observers: None,
            kind,
            rules: base.config.ensemble.as_ref().map_or(ConfigRules::default(), |e| e.rules),
            proposed: VecDeque::new(),
            new_config: None,
            stopping: false,
        };
        let next = learning.carry_out(base, m);
        (learning, next)
    }

    /// The role is over: the history goes on.
    pub(super) fn end(self, base: &mut Base) -> History {
        if let Some(conn) = self.dialling {
            base.out.push(Output::Close { conn });
        }
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
        let master = self.observers.as_ref().map(|o| o.master.next_wake());
        base.next_wake().chain(self.zab.next_wake().into_iter().chain(master).map(|at| (at, Timer::Zab)))
    }

    pub(super) fn with_zab(&mut self, call: impl FnOnce(&mut Learner, &mut Vec<ZabOut>)) {
        let mut out = Vec::new();
        call(&mut self.zab, &mut out);
        self.todo.extend(out);
    }

    /// Without a leader the role is about to end, and the connection that asked with it.
    pub(super) fn forward(&mut self, request: ForwardedRequest) {
        self.with_zab(|zab, out| {
            zab.request(request, out);
        });
    }

    /// One input.
    pub(super) fn on(&mut self, base: &mut Base, m: &mut Member, input: Input<'_>) -> Option<Next> {
        let (_, input) = m.hear(base, input);
        let now = base.now.mono;
        match input {
            None => {}
            Some(Input::Wake) => {
                base.timers();
                self.with_zab(|zab, out| zab.wake(now, out));
                self.with_observers(m, |master, holding, out| master.wake(now, holding, out));
            }
            Some(Input::Opened { conn, .. }) if self.dialling == Some(conn) => self.opened(base, m, conn),
            // A learner that expects this server to lead soon.
            Some(Input::Opened { conn, port: Port::Quorum, .. }) => m.let_wait(base, conn),
            Some(Input::Opened { conn, port: Port::ObserverMaster, .. }) => match &mut self.observers {
                Some(observers) => observers.opened(base, &mut m.peers, conn),
                None => Member::turn_observer_away(base, conn),
            },
            Some(Input::Opened { port: Port::Client | Port::Election, .. }) => {
                unreachable!("heard by the member")
            }
            Some(Input::Received { conn, bytes }) if self.zab.conn() == Some(conn) => {
                self.zab.heard(now);
                m.peers.feed(conn, bytes);
                return self.packets(base, m, conn);
            }
            Some(Input::Received { conn, bytes }) if self.has_observer(conn) => {
                m.peers.feed(conn, bytes);
                self.observer_packets(base, m, conn);
            }
            Some(Input::Received { conn, bytes }) if m.peers.contains(conn) => {
                m.waiting_says(base, conn, bytes);
            }
            Some(Input::Received { conn, bytes }) => clients::received(self, base, conn, bytes),
            Some(Input::Writable { conn }) if m.peers.contains(conn) => {
                m.peers.drained(conn);
                if let Some(observers) = &mut self.observers {
                    observers.writable(base, &mut m.peers, conn);
                }
            }
            Some(Input::Writable { conn }) => clients::writable(self, base, conn),
            Some(Input::Closed { conn }) => self.closed(base, m, conn),
            // The answer to what a role that is over has asked.
            Some(Input::Read { .. }) => {}
            Some(Input::Durable { lane, upto }) => {
                for vouch in base.durable(lane, upto) {
                    base.event(Event::Vouched(vouch));
                    self.with_zab(|zab, out| zab.durable(now, vouch, out));
                }
            }
            Some(Input::Admin { order: AdminOrder::Shutdown }) => self.stopping = true,
            Some(Input::Admin { order: AdminOrder::HostGauges { .. } } | Input::DiskFailed { .. }) => {
                unreachable!("heard by the member")
            }
        }
        self.carry_out(base, m)
    }

    fn opened(&mut self, base: &mut Base, m: &mut Member, conn: Conn) {
        self.dialling = None;
        m.peers.open(conn, limits::MAX_LEADER_PACKET);
        self.with_zab(|zab, out| zab.opened(base.now.mono, conn, out));
    }

    fn closed(&mut self, base: &mut Base, m: &mut Member, conn: Conn) {
        if self.dialling == Some(conn) || self.zab.conn() == Some(conn) {
            self.dialling = None;
            m.peers.forget(conn);
            self.with_zab(|zab, out| zab.closed(base.now.mono, Some(conn), out));
        } else {
            m.peers.forget(conn);
            self.observer_gone(base, conn);
            base.forget(conn);
        }
    }

    /// Packets of the leader, and its snapshot among them.
    fn packets(&mut self, base: &mut Base, m: &mut Member, conn: Conn) -> Option<Next> {
        loop {
            match m.peers.next_packet(conn) {
                Ok(Some(packet)) => self.packet(base.now.mono, conn, packet),
                Ok(None) => match m.peers.next_snapshot(conn) {
                    Ok(Some(snapshot)) => {
                        self.staged = Some(snapshot);
                        self.zab.snapshot_received(base.now.mono);
                    }
                    Ok(None) => return self.carry_out(base, m),
                    Err(_) => self.with_zab(|zab, out| zab.snapshot_failed(out)),
                },
                Err(bad) => self.with_zab(|zab, out| zab.malformed(bad, out)),
            }
            let next = self.carry_out(base, m);
            if next.is_some() || self.phase == Phase::Over {
                return next;
            }
        }
    }

    /// A transaction is read when it comes: what cannot be applied later is not taken.
    fn packet(&mut self, now: Time, conn: Conn, packet: QuorumPacket) {
        let body = match packet.kind {
            PacketType::Proposal | PacketType::Inform => packet.data.as_deref(),
            PacketType::InformAndActivate => packet.data.as_deref().and_then(|d| d.get(8..)),
            _ => None,
        };
        match body.map(LoggedTxn::decode) {
            Some(Ok(logged)) if logged.header.zxid == packet.zxid => {
                self.proposed.extend(reconfig::proposed(&logged.txn, self.rules));
                self.decoded.push_back(logged);
            }
            Some(Ok(_)) => return self.with_zab(|zab, out| zab.malformed(Bad::Tag(packet.kind as i32), out)),
            Some(Err(bad)) => return self.with_zab(|zab, out| zab.malformed(bad, out)),
            None => {}
        }
        self.with_zab(|zab, out| zab.packet(now, conn, packet, out));
    }

    // ---- what ZAB asks for ----

    fn carry_out(&mut self, base: &mut Base, m: &mut Member) -> Option<Next> {
        // What a snapshot is about to take the place of says nothing of what follows that.
        let last = if self.staged.is_some() { Zxid::ZERO } else { self.history().last() };
        while let Some(config) = self.proposed.pop_front_if(|config| config.version <= last.0) {
            m.see_config(base, config);
        }
        loop {
            while let Some(out) = self.todo.pop_front() {
                if let ZabOut::Lost { why } = out {
                    self.phase = Phase::Over;
                    self.leave_observers(base, m);
                    base.event(Event::RoleLost { why });
                    return self.what_next(base, m, why);
                }
                self.carry_out_one(base, m, out);
            }
            if !self.next_snapshot(base, m) {
                break;
            }
        }
        if self.stopping && base.waiting == 0 {
            return self.stop(base);
        }
        None
    }

    fn what_next(&mut self, base: &mut Base, m: &mut Member, why: Lost) -> Option<Next> {
        if self.stopping {
            return self.stop(base);
        }
        Some(match why {
            Lost::Deposed(designated) => m.take_role(designated, self.history().last()),
            _ => Next::Look,
        })
    }

    fn stop(&mut self, base: &mut Base) -> Option<Next> {
        self.phase = Phase::Over;
        base.close_all(CloseCause::Stopping);
        base.stop(Stop::Ordered);
        None
    }

    fn carry_out_one(&mut self, base: &mut Base, m: &mut Member, out: ZabOut) {
        match out {
            ZabOut::Send { conn, packet } => m.peers.send(conn, &packet),
            ZabOut::Close { conn, cause } => {
                self.observer_gone(base, conn);
                m.peers.close(conn, CloseCause::Peer(cause), &mut base.out);
            }
            ZabOut::Dial => self.dial(base, m),
            ZabOut::Append { zxid, body } => base.log(zxid, body),
            ZabOut::WriteEpoch { file, epoch } => base.store.write_epoch(file, epoch, &mut base.out),
            ZabOut::Truncate { to } => {
                base.event(Event::Truncated { to });
                // An epoch's start may lie above its last entry, and name a snapshot.
                base.store.truncate(to.max(base.tree.last_zxid()), &mut base.out);
            }
            ZabOut::Install { txns, upto } => self.install(base, txns, upto),
            ZabOut::Park(vouch) => base.store.park(vouch),
            ZabOut::ReceiveSnapshot { conn, .. } => {
                self.decoded.clear();
                m.peers.receive_snapshot(conn, m.rng.u64());
            }
            ZabOut::Deliver { zxid, body, designated } => self.deliver(base, m, zxid, body, designated),
            ZabOut::Revalidated { session, valid } => self.revalidated(base, m, session, valid),
            ZabOut::Synced { tag } => self.synced(base, m, tag),
            ZabOut::Activated { epoch } => self.activated(base, m, epoch),
            ZabOut::NewLeaderConfig { text } => {
                self.new_config = reconfig::parse(&text, self.rules);
                if let Some(config) = &self.new_config {
                    m.see_leaders_config(base, config.clone());
                }
            }
            ZabOut::Synchronizes { learner, by } => base.event(Event::Synchronizes { learner, by }),
            ZabOut::WantSnapshot { .. }
            | ZabOut::SendSnapshot { .. }
            | ZabOut::Request { .. }
            | ZabOut::Revalidate { .. }
            | ZabOut::Touched { .. } => self.for_observer(base, m, out),
            ZabOut::WantLog { .. } | ZabOut::Established { .. } | ZabOut::Committed { .. } => {
                unreachable!("a leader's: {out:?}")
            }
            ZabOut::Lost { .. } => unreachable!("looked at before"),
        }
    }

    /// The leader's addresses in turn, or those of an observer's masters.
    fn dial(&mut self, base: &mut Base, m: &mut Member) {
        if let Some(conn) = self.dialling.take() {
            base.out.push(Output::Close { conn });
        }
        let view = m.view().clone();
        let master = match self.kind {
            LearnerType::Observer => m.masters.next(&view, self.leader, m.fruitless, &mut m.rng),
            LearnerType::Participant => None,
        };
        self.zab.goes_to_master(master.is_some());
        let (to, port) = if let Some(master) = master {
            master
        } else {
            let addrs: Vec<_> = view.member(self.leader).into_iter().flat_map(|m| m.quorum_addrs()).collect();
            if addrs.is_empty() {
                // It has left the configuration since it was elected.
                return self.with_zab(|zab, out| zab.closed(base.now.mono, None, out));
            }
            self.dials += 1;
            (addrs[(self.dials - 1) % addrs.len()].clone(), Port::Quorum)
        };
        let conn = m.dials.next_conn();
        self.dialling = Some(conn);
        base.out.push(Output::Dial { conn, to, port });
    }

    /// The snapshot that came in, with what follows it, takes the place of tree and log.
    fn install(&mut self, base: &mut Base, txns: Vec<(Zxid, Bytes)>, upto: Zxid) {
        let Snapshot { mut tree, sessions } = self.staged.take().expect("it has just come in");
        base.sessions.replace(sessions, base.now.mono);
        base.wrong = None;
        for (zxid, body) in txns {
            let logged = LoggedTxn::decode(&body).expect("it was read when it came");
            tree.apply(&logged.header, &logged.txn, &mut base.changes);
            base.changes.clear();
            match logged.txn {
                Txn::CreateSession { timeout } => {
                    base.sessions.commit_create(logged.header.session, timeout, base.now.mono);
                }
                Txn::CloseSession { .. } => {
                    base.sessions.commit_close(logged.header.session);
                }
                _ => {}
            }
            if let Some(digest) = logged.digest {
                base.wrong = (digest != tree.digest()).then_some(zxid);
            }
        }
        tree.set_last_zxid(upto);
        base.is_committed = false;
        base.event(Event::Installed { zxid: upto, digest: tree.digest() });
        base.tree = tree;
        base.store.install(&mut base.tree, base.sessions.iter(), upto, &mut base.out);
    }

    fn activated(&mut self, base: &mut Base, m: &mut Member, epoch: Epoch) {
        self.phase = Phase::Serving;
        base.begin_epoch(epoch);
        if let Some(config) = self.new_config.take() {
            m.take_up_config(base, config);
        }
        base.show_config(&m.view().committed);
        m.synchronised(epoch);
        match self.kind {
            LearnerType::Participant if m.zab.observer_masters => {
                self.observers = Some(Observers::new(base, m, epoch));
            }
            LearnerType::Participant | LearnerType::Observer => {}
        }
        self.depart_if_changed(m, self.leader);
    }

    /// A reconfiguration gives this server another part, or another leader: the role ends.
    fn depart_if_changed(&mut self, m: &mut Member, leader: ServerId) {
        if leader != self.leader || m.learner_type() != self.kind {
            self.with_zab(|zab, out| zab.depart(leader, out));
        }
    }

    fn deliver(
        &mut self,
        base: &mut Base,
        m: &mut Member,
        zxid: Zxid,
        body: Bytes,
        designated: Option<ServerId>,
    ) {
        while self.decoded.front().is_some_and(|t| t.header.zxid < zxid) {
            self.decoded.pop_front();
        }
        let logged = match self.decoded.front() {
            Some(t) if t.header.zxid == zxid => self.decoded.pop_front().expect("just seen"),
            Some(_) | None => LoggedTxn::decode(&body).expect("it was read when it was logged"),
        };
        // One made before this server serves is no news, and perhaps long silent.
        if let Txn::CreateSession { timeout } = logged.txn
            && self.is_serving()
        {
            self.zab.touch(logged.header.session, timeout);
        }
        if let (Txn::CloseSession { .. }, Some(observers)) = (&logged.txn, &mut self.observers) {
            observers.closed(logged.header.session);
        }
        let config = designated.and_then(|_| reconfig::proposed(&logged.txn, self.rules));
        let unblocked = match self.is_serving() {
            true => base.commit_foreign(logged, body.clone()),
            false => base.commit_history(logged, body.clone()),
        };
        self.tell_observers(base, m, (zxid, &body), designated);
        if let Some(id) = unblocked {
            clients::pump(self, base, id);
        }
        if let (Some(config), Some(leader)) = (config, designated) {
            m.take_up_config(base, config);
            self.depart_if_changed(m, leader);
        }
        if self.is_serving() && !self.observers.as_ref().is_some_and(|o| o.snapshots.is_sending()) {
            base.store.maybe_snapshot(&mut base.tree, &base.sessions, &mut base.out);
        }
    }

    // ---- the leader's answers ----

    fn revalidated(&mut self, base: &mut Base, m: &Member, session: SessionId, valid: bool) {
        let Some(waiting) = self.returning.get_mut(&session) else { return };
        let asker = waiting.pop_front();
        if waiting.is_empty() {
            self.returning.remove(&session);
        }
        let id = match asker {
            Some(Asker::Client(id)) => id,
            Some(Asker::Observer(conn)) => return self.observer_revalidated(m, conn, session, valid),
            None => return,
        };
        let Some(State::Revalidating { timeout_ms, read_only, .. }) = base.conns.get(id).map(|c| c.state)
        else {
            return;
        };
        if !valid {
            return base.turn_away(id, read_only);
        }
        base.stats.revalidations += 1;
        base.attach(session, id, true);
        base.welcome(id, session, timeout_ms, read_only);
        clients::pump(self, base, id);
    }

    fn synced(&mut self, base: &mut Base, m: &Member, tag: u64) {
        match self.syncs.remove(&tag) {
            Some(Asker::Client(id)) if base.synced(id, tag) => clients::pump(self, base, id),
            Some(Asker::Observer(conn)) => self.with_observers(m, |master, _, out| master.synced(conn, out)),
            Some(Asker::Client(_)) | None => {}
        }
    }
}
