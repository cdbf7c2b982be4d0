//! A learner, follower or observer: its life from the dial to the end of the connection. Answers to `Learner`, `Follower`
//! and `Observer`.
//!
//! The tree gets only what a leader that serves has committed: what a synchronisation brings waits for UPTODATE, since a leader
//! that never serves commits nothing. So no TRUNC ever reaches into the tree.
//!
//! Nothing is acknowledged before it is durable: ACKEPOCH waits for acceptedEpoch, the ACK of NEWLEADER for the history of
//! the synchronisation and then for currentEpoch, the ACK of a proposal for its entry. History is changed as it comes, in
//! the order of the disk's sequence, so memory and disk never tell different stories when the connection breaks
//! (ZOOKEEPER-5094, 3642). A gap ends the connection (ZOOKEEPER-4925).

use super::history::History;
use super::pending::Pending;
use super::sync::EXACT;
use super::{Cause, Lost, MAX_EPOCH, Settings, ZabOut, earlier};
use crate::boundary::{Conn, Vouch};
use crate::id::{Epoch, ServerId, SessionId, Zxid};
use crate::jute::Bad;
use crate::limits;
use crate::proto::{ForwardedRequest, FromLeader, FromLearner, LearnerInfo, PacketType, QuorumPacket};
use crate::quorum::LearnerType;
use crate::time::{Span, Time};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// The first pauses between two dials of one leader double up to [`DIAL_PAUSE_MAX`]: a leader that has just been elected
/// listens within a moment.
const DIAL_PAUSE: Span = Span::from_millis(10);
/// `zookeeper.leaderConnectDelayDuringRetryMs`.
const DIAL_PAUSE_MAX: Span = Span::from_millis(100);
/// So many roles in a row may come to nothing before a learner waits with its first dial, too: one that is always refused would
/// ask as fast as the network goes.
const FRUITLESS: u32 = 3;
/// Dials before the leader counts as unreachable: about as long as Java's five.
const DIALS: u32 = 9;
/// An observer that has several masters to choose from gives a dial up after this part of initLimit.
const DIAL_PART: u64 = 4;

/// A follower or an observer of one leader.
#[derive(Clone, Debug)]
pub struct Learner {
    me: ServerId,
    kind: LearnerType,
    settings: Settings,
    history: History,
    /// The version of the committed configuration.
    config_version: i64,
    phase: Phase,
    conn: Option<Conn>,
    /// The leader must have been heard by then; `None` while it waits for this learner.
    deadline: Option<Time>,
    /// Sessions used since the last PING, with their timeouts. Answers to `touchTable`.
    touched: BTreeMap<SessionId, i32>,
    /// Answers to `pendingSyncs`.
    syncs: VecDeque<u64>,
    /// Its connection leads to an observer master.
    at_master: bool,
}

/// Where the conversation stands.
#[derive(Clone, PartialEq, Debug)]
enum Phase {
    /// Not connected. `dial_at`: when to try again; `None` while a dial is under way that is waited for.
    Dialling { dials: u32, dial_at: Option<Time>, until: Time },
    /// FOLLOWERINFO or OBSERVERINFO was sent, after so many dials.
    Registered { dials: u32, until: Time },
    /// LEADERINFO came; acceptedEpoch is not durable yet.
    Accepting { epoch: Epoch, said: Said },
    /// ACKEPOCH was sent.
    Accepted { epoch: Epoch, said: Said },
    /// SNAP came, its stream is under way.
    Receiving { epoch: Epoch, zxid: Zxid },
    /// The history becomes the leader's.
    Syncing { epoch: Epoch, pending: Pending },
    /// NEWLEADER came; history and epoch are not durable yet.
    Confirming { epoch: Epoch, pending: Pending },
    /// NEWLEADER was acked.
    Confirmed { epoch: Epoch, pending: Pending },
    /// UPTODATE came.
    Live { epoch: Epoch },
    /// No learner any more.
    Over,
}

/// What ACKEPOCH says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Said {
    /// Its currentEpoch, or -1: not to be counted.
    current: Epoch,
    /// Its last zxid, or 0: send a snapshot.
    last: Zxid,
}

impl Learner {
    /// A server that knows its leader. It asks to be connected at once, unless too many roles before this one came to nothing.
    pub fn new(
        (me, kind): (ServerId, LearnerType),
        settings: Settings,
        history: History,
        config_version: i64,
        (now, fruitless): (Time, u32),
        out: &mut Vec<ZabOut>,
    ) -> Learner {
        let mut learner = Learner {
            me,
            kind,
            settings,
            history,
            config_version,
            phase: Phase::Over,
            conn: None,
            deadline: None,
            touched: BTreeMap::new(),
            syncs: VecDeque::new(),
            at_master: false,
        };
        match fruitless.checked_sub(FRUITLESS) {
            None => learner.dial(now, 1, now + settings.init(), out),
            Some(n) => {
                let dial_at = now + pause(n);
                let until = dial_at + settings.init();
                learner.phase = Phase::Dialling { dials: 0, dial_at: Some(dial_at), until };
            }
        }
        learner
    }

    /// The next connection leads to an observer master, not to the leader.
    pub fn goes_to_master(&mut self, yes: bool) {
        self.at_master = yes;
    }

    /// It has several servers to learn from.
    fn has_masters(&self) -> bool {
        self.settings.observer_masters && self.kind == LearnerType::Observer
    }

    fn dial(&mut self, now: Time, dials: u32, until: Time, out: &mut Vec<ZabOut>) {
        let dial_at = self.has_masters().then(|| now + Span(self.settings.init().0 / DIAL_PART));
        self.phase = Phase::Dialling { dials, dial_at, until };
        out.push(ZabOut::Dial);
    }

    /// Ends the role: what it knows of the history goes on.
    pub fn into_history(self) -> History {
        self.history
    }
    /// What it holds of the history.
    pub fn history(&self) -> &History {
        &self.history
    }
    /// It serves clients.
    pub fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Live { .. })
    }
    /// The connection to the leader.
    pub fn conn(&self) -> Option<Conn> {
        self.conn
    }

    /// The dial came through.
    pub fn opened(&mut self, now: Time, conn: Conn, out: &mut Vec<ZabOut>) {
        let Phase::Dialling { dials, until, .. } = self.phase else { return };
        self.conn = Some(conn);
        self.phase = Phase::Registered { dials, until };
        let zxid = self.history.accepted().start();
        let info = LearnerInfo { sid: self.me, protocol_version: EXACT, config_version: self.config_version };
        let hello = match self.kind {
            LearnerType::Participant => FromLearner::FollowerInfo { zxid, info },
            LearnerType::Observer => FromLearner::ObserverInfo { zxid, info },
        };
        self.say(hello, out);
        self.listen(now);
    }

    /// The dial failed, or the connection ended. Of another connection: ignored.
    pub fn closed(&mut self, now: Time, conn: Option<Conn>, out: &mut Vec<ZabOut>) {
        match self.phase {
            Phase::Dialling { dials, until, .. } => self.dial_failed(now, dials, until, out),
            // This one has no place for observers; another may.
            Phase::Registered { dials, until } if conn == self.conn && self.has_masters() => {
                (self.conn, self.deadline) = (None, None);
                self.dial_failed(now, dials, until, out);
            }
            Phase::Over => {}
            Phase::Registered { .. }
            | Phase::Accepting { .. }
            | Phase::Accepted { .. }
            | Phase::Receiving { .. }
            | Phase::Syncing { .. }
            | Phase::Confirming { .. }
            | Phase::Confirmed { .. }
            | Phase::Live { .. } => {
                if conn == self.conn {
                    self.conn = None;
                    self.lose(Lost::Disconnected, out);
                }
            }
        }
    }

    fn dial_failed(&mut self, now: Time, dials: u32, until: Time, out: &mut Vec<ZabOut>) {
        let pause = pause(dials.saturating_sub(1));
        if dials >= DIALS || now + pause >= until {
            self.lose(Lost::Unreachable, out);
        } else {
            self.phase = Phase::Dialling { dials, dial_at: Some(now + pause), until };
        }
    }

    /// A packet of the leader. Of another connection: ignored.
    pub fn packet(&mut self, now: Time, conn: Conn, packet: QuorumPacket, out: &mut Vec<ZabOut>) {
        if Some(conn) != self.conn || matches!(self.phase, Phase::Over) {
            return;
        }
        self.heard(now);
        let kind = packet.kind;
        let taken = match FromLeader::decode(packet) {
            Ok(said) => self.take(now, kind, said, out),
            Err(bad) => Err(Lost::Malformed(bad)),
        };
        if let Err(why) = taken {
            self.lose(why, out);
        }
    }

    fn take(
        &mut self,
        now: Time,
        kind: PacketType,
        said: FromLeader,
        out: &mut Vec<ZabOut>,
    ) -> Result<(), Lost> {
        match said {
            FromLeader::LeaderInfo { zxid, .. } => self.leader_info(Epoch::of(zxid), out),
            FromLeader::Diff { .. } => self.diff(),
            FromLeader::Trunc { zxid } => self.trunc(now, zxid, out),
            FromLeader::Snap { zxid } => self.snap(zxid, out),
            FromLeader::Proposal { zxid, txn } => self.proposal(kind, zxid, txn, out),
            FromLeader::Commit { zxid } => self.commit(kind, zxid, None, out),
            FromLeader::CommitAndActivate { zxid, designated } => {
                self.commit(kind, zxid, Some(designated), out)
            }
            FromLeader::Inform { zxid, txn } => self.inform(kind, zxid, txn, None, out),
            FromLeader::InformAndActivate { zxid, designated, txn } => {
                self.inform(kind, zxid, txn, Some(designated), out)
            }
            FromLeader::NewLeader { zxid, config } => self.new_leader(zxid, config, out),
            FromLeader::UpToDate => self.up_to_date(now, out),
            FromLeader::Ping { zxid } => self.ping(zxid, out),
            FromLeader::Sync => {
                let tag = self.syncs.pop_front().ok_or(Lost::Unexpected(kind))?;
                out.push(ZabOut::Synced { tag });
                Ok(())
            }
            FromLeader::Revalidate { session, valid } => {
                out.push(ZabOut::Revalidated { session, valid });
                Ok(())
            }
        }
    }

    // ---- discovery ----

    fn leader_info(&mut self, epoch: Epoch, out: &mut Vec<ZabOut>) -> Result<(), Lost> {
        if !matches!(self.phase, Phase::Registered { .. }) {
            return Err(Lost::Unexpected(PacketType::LeaderInfo));
        }
        if epoch < self.history.accepted() || epoch < Epoch(0) || epoch > MAX_EPOCH {
            return Err(Lost::OldEpoch(epoch));
        }
        // Who has accepted this epoch before must not be counted for it again. Only then may the zxid say less than the
        // truth, which is how the same leader is asked for a snapshot: less than what an empty leader has, too.
        let again = epoch == self.history.accepted();
        let snapshot = again && self.history.snapshot_wanted() == Some(epoch);
        let said = Said {
            current: if again { Epoch(-1) } else { self.history.current() },
            last: if snapshot { Zxid::NONE } else { self.history.last() },
        };
        self.history.accept(epoch, out);
        out.push(ZabOut::Park(Vouch::AckEpoch(epoch)));
        self.phase = Phase::Accepting { epoch, said };
        self.deadline = None;
        Ok(())
    }

    // ---- synchronisation ----

    fn accepted(&self, kind: PacketType) -> Result<(Epoch, Said), Lost> {
        let Phase::Accepted { epoch, said } = self.phase else { return Err(Lost::Unexpected(kind)) };
        Ok((epoch, said))
    }

    fn diff(&mut self) -> Result<(), Lost> {
        let (epoch, said) = self.accepted(PacketType::Diff)?;
        if said.last != self.history.last() {
            // It asked for a snapshot: a DIFF would start from nothing.
            return Err(Lost::Unexpected(PacketType::Diff));
        }
        self.phase = Phase::Syncing { epoch, pending: Pending::default() };
        Ok(())
    }

    fn trunc(&mut self, now: Time, to: Zxid, out: &mut Vec<ZabOut>) -> Result<(), Lost> {
        let (epoch, said) = self.accepted(PacketType::Trunc)?;
        if said.last != self.history.last() || to > said.last {
            return Err(Lost::Unexpected(PacketType::Trunc));
        }
        if to < self.history.delivered() {
            // The tree cannot go back there: the same leader is asked for a snapshot at once. It may need this server for its
            // quorum, and an election would only come to the next epoch, in which the same happens.
            self.history.want_snapshot(epoch);
            self.start_over(now, out);
            return Ok(());
        }
        self.history.truncate(to, out);
        self.phase = Phase::Syncing { epoch, pending: Pending::default() };
        Ok(())
    }

    /// Comes to the same leader anew.
    fn start_over(&mut self, now: Time, out: &mut Vec<ZabOut>) {
        if let Some(conn) = self.conn.take() {
            out.push(ZabOut::Close { conn, cause: Cause::LearnerLost });
        }
        self.deadline = None;
        self.dial(now, 1, now + self.settings.init(), out);
    }

    fn snap(&mut self, zxid: Zxid, out: &mut Vec<ZabOut>) -> Result<(), Lost> {
        let (epoch, _) = self.accepted(PacketType::Snap)?;
        self.phase = Phase::Receiving { epoch, zxid };
        out.push(ZabOut::ReceiveSnapshot { conn: self.conn.expect("connected"), zxid });
        Ok(())
    }

    /// The snapshot is here, whole and well. It is installed with all that the leader has committed on it, at NEWLEADER.
    pub fn snapshot_received(&mut self, now: Time) {
        if let Phase::Receiving { epoch, zxid } = self.phase {
            self.heard(now);
            self.phase = Phase::Syncing { epoch, pending: Pending::on_snapshot(zxid) };
        }
    }

    /// The snapshot's stream is no snapshot.
    pub fn snapshot_failed(&mut self, out: &mut Vec<ZabOut>) {
        if matches!(self.phase, Phase::Receiving { .. }) {
            self.lose(Lost::BadSnapshot, out);
        }
    }

    fn new_leader(&mut self, zxid: Zxid, config: Option<Bytes>, out: &mut Vec<ZabOut>) -> Result<(), Lost> {
        let Phase::Syncing { epoch, pending } = &mut self.phase else {
            return Err(Lost::Unexpected(PacketType::NewLeader));
        };
        let (epoch, mut pending) = (*epoch, std::mem::take(pending));
        if zxid != epoch.start() {
            return Err(Lost::Unexpected(PacketType::NewLeader));
        }
        if let Some(text) = config.filter(|text| text.len() > 1) {
            out.push(ZabOut::NewLeaderConfig { text });
        }
        // A master may not have come as far as the one before; clients have seen what this server has. What a leader sends before
        // it serves is named by an earlier epoch than this server's, if nothing was written in that.
        if let Some(end) = pending.end_of_snapshot().filter(|end| *end < self.history.delivered())
            && self.at_master
        {
            return Err(Lost::Behind(end));
        }
        // The history is asked of the disk before the epoch, the epoch before the promise.
        pending.install(&mut self.history, out);
        self.history.begin_epoch(epoch, out);
        out.push(ZabOut::Park(Vouch::AckNewLeader(epoch)));
        self.phase = Phase::Confirming { epoch, pending };
        self.deadline = None;
        Ok(())
    }

    fn up_to_date(&mut self, now: Time, out: &mut Vec<ZabOut>) -> Result<(), Lost> {
        let Phase::Confirmed { epoch, pending } = &mut self.phase else {
            return Err(Lost::Unexpected(PacketType::UpToDate));
        };
        let (epoch, pending) = (*epoch, std::mem::take(pending));
        self.phase = Phase::Live { epoch };
        self.say(FromLearner::Ack { zxid: epoch.start() }, out);
        // All that the synchronisation left is committed: what was logged under an earlier leader is this one's history too.
        self.history.deliver(self.history.last(), None, out);
        pending.log(&mut self.history, self.kind, out);
        out.push(ZabOut::Activated { epoch });
        self.listen(now);
        Ok(())
    }

    // ---- transactions ----

    fn proposal(
        &mut self,
        kind: PacketType,
        zxid: Zxid,
        body: Bytes,
        out: &mut Vec<ZabOut>,
    ) -> Result<(), Lost> {
        match &mut self.phase {
            Phase::Syncing { pending, epoch }
            | Phase::Confirming { pending, epoch }
            | Phase::Confirmed { pending, epoch } => {
                let (epoch, taken) = (*epoch, pending.propose(&self.history, *epoch, zxid, body));
                self.gap_wants_snapshot(epoch, taken)
            }
            Phase::Live { epoch } => {
                let epoch = *epoch;
                if self.kind == LearnerType::Observer {
                    return Err(Lost::Unexpected(kind));
                }
                self.append(epoch, zxid, body, out)?;
                out.push(ZabOut::Park(Vouch::Ack(zxid)));
                Ok(())
            }
            Phase::Dialling { .. }
            | Phase::Registered { .. }
            | Phase::Accepting { .. }
            | Phase::Accepted { .. }
            | Phase::Receiving { .. }
            | Phase::Over => Err(Lost::Unexpected(kind)),
        }
    }

    /// Logs the next transaction of the epoch.
    fn append(&mut self, epoch: Epoch, zxid: Zxid, body: Bytes, out: &mut Vec<ZabOut>) -> Result<(), Lost> {
        let (txns, bytes) = self.history.undelivered();
        let taken = if !self.history.last().is_followed_by(zxid) || Epoch::of(zxid) != epoch {
            Err(Lost::Gap(zxid))
        } else if txns >= limits::PENDING_TXNS || bytes + body.len() > limits::PENDING_BYTES {
            Err(Lost::TooMuchPending)
        } else {
            Ok(())
        };
        self.gap_wants_snapshot(epoch, taken)?;
        self.history.append(zxid, body, out);
        Ok(())
    }

    /// A leader whose history has a hole would send the same again: next time it is asked for a snapshot.
    fn gap_wants_snapshot(&mut self, epoch: Epoch, taken: Result<(), Lost>) -> Result<(), Lost> {
        if matches!(taken, Err(Lost::Gap(_))) {
            self.history.want_snapshot(epoch);
        }
        taken
    }

    fn commit(
        &mut self,
        kind: PacketType,
        zxid: Zxid,
        designated: Option<ServerId>,
        out: &mut Vec<ZabOut>,
    ) -> Result<(), Lost> {
        match &mut self.phase {
            Phase::Syncing { pending, .. } => {
                pending.commit(zxid, designated)?;
                pending.log_committed(&mut self.history, out);
                Ok(())
            }
            Phase::Confirming { pending, .. } | Phase::Confirmed { pending, .. } => {
                pending.commit(zxid, designated)
            }
            Phase::Live { .. } => {
                // An observer has nothing that waits for a commit.
                if self.history.next_to_deliver() != Some(zxid) {
                    return Err(Lost::WrongCommit(zxid));
                }
                self.history.deliver(zxid, designated, out);
                Ok(())
            }
            Phase::Dialling { .. }
            | Phase::Registered { .. }
            | Phase::Accepting { .. }
            | Phase::Accepted { .. }
            | Phase::Receiving { .. }
            | Phase::Over => Err(Lost::Unexpected(kind)),
        }
    }

    fn inform(
        &mut self,
        kind: PacketType,
        zxid: Zxid,
        body: Bytes,
        designated: Option<ServerId>,
        out: &mut Vec<ZabOut>,
    ) -> Result<(), Lost> {
        if self.kind != LearnerType::Observer {
            return Err(Lost::Unexpected(kind));
        }
        if let Phase::Live { epoch } = self.phase {
            self.append(epoch, zxid, body, out)?;
            self.history.deliver(zxid, designated, out);
            return Ok(());
        }
        self.proposal(kind, zxid, body, out)?;
        self.commit(kind, zxid, designated, out)
    }

    // ---- clients ----

    fn ping(&mut self, zxid: Zxid, out: &mut Vec<ZabOut>) -> Result<(), Lost> {
        // Before UPTODATE a Java leader takes nothing but the ACK of NEWLEADER.
        if let Phase::Live { .. } = self.phase {
            let sessions = std::mem::take(&mut self.touched).into_iter().collect();
            self.say(FromLearner::Ping { zxid, sessions }, out);
        }
        Ok(())
    }

    /// A session was used here, or was committed: the next PING tells the leader.
    pub fn touch(&mut self, session: SessionId, timeout: i32) {
        self.touched.insert(session, timeout);
    }

    /// Sends a request to the leader. False: there is none now.
    pub fn request(&mut self, request: ForwardedRequest, out: &mut Vec<ZabOut>) -> bool {
        if self.is_active() {
            self.say(FromLearner::Request(request), out);
        }
        self.is_active()
    }

    /// Sends a sync to the leader; [`ZabOut::Synced`] with `tag` says when it is done. False: there is no leader now.
    pub fn sync(&mut self, tag: u64, request: ForwardedRequest, out: &mut Vec<ZabOut>) -> bool {
        if self.is_active() {
            self.syncs.push_back(tag);
        }
        self.request(request, out)
    }

    /// Asks the leader whether a session is alive. False: there is no leader now.
    pub fn revalidate(&mut self, session: SessionId, timeout: i32, out: &mut Vec<ZabOut>) -> bool {
        if self.is_active() {
            self.say(FromLearner::Revalidate { session, timeout }, out);
        }
        self.is_active()
    }

    // ---- promises and time ----

    /// What was parked is durable.
    pub fn durable(&mut self, now: Time, vouch: Vouch, out: &mut Vec<ZabOut>) {
        match (&mut self.phase, vouch) {
            (Phase::Accepting { epoch, said }, Vouch::AckEpoch(e)) if e == *epoch => {
                let (epoch, said) = (*epoch, *said);
                self.phase = Phase::Accepted { epoch, said };
                let current_epoch = i32::try_from(said.current.0).expect("an epoch fits 31 bits");
                self.say(FromLearner::AckEpoch { zxid: said.last, current_epoch }, out);
                self.listen(now);
            }
            (Phase::Confirming { epoch, pending }, Vouch::AckNewLeader(e)) if e == *epoch => {
                let (epoch, pending) = (*epoch, std::mem::take(pending));
                self.phase = Phase::Confirmed { epoch, pending };
                self.say(FromLearner::Ack { zxid: epoch.start() }, out);
                self.listen(now);
            }
            (Phase::Live { .. }, Vouch::Ack(zxid)) => self.say(FromLearner::Ack { zxid }, out),
            (
                Phase::Dialling { .. }
                | Phase::Registered { .. }
                | Phase::Accepting { .. }
                | Phase::Accepted { .. }
                | Phase::Receiving { .. }
                | Phase::Syncing { .. }
                | Phase::Confirming { .. }
                | Phase::Confirmed { .. }
                | Phase::Live { .. }
                | Phase::Over,
                Vouch::OwnAck(_)
                | Vouch::Ack(_)
                | Vouch::AckEpoch(_)
                | Vouch::AckNewLeader(_)
                | Vouch::Recovered(_),
            ) => {}
        }
    }

    /// Bytes of the leader came in, packets or a snapshot's: it is alive.
    pub fn heard(&mut self, now: Time) {
        if self.deadline.is_some() {
            self.listen(now);
        }
    }

    /// It is the leader's turn.
    fn listen(&mut self, now: Time) {
        let limit = match self.phase {
            Phase::Confirmed { .. } | Phase::Live { .. } => self.settings.sync(),
            Phase::Registered { .. } => self.settings.first_contact(),
            Phase::Dialling { .. }
            | Phase::Accepting { .. }
            | Phase::Accepted { .. }
            | Phase::Receiving { .. }
            | Phase::Syncing { .. }
            | Phase::Confirming { .. }
            | Phase::Over => self.settings.init(),
        };
        self.deadline = Some(now + limit);
    }

    /// When to call [`Learner::wake`].
    pub fn next_wake(&self) -> Option<Time> {
        match &self.phase {
            Phase::Dialling { dial_at, until, .. } => earlier(*dial_at, Some(*until)),
            Phase::Over => None,
            Phase::Registered { .. }
            | Phase::Accepting { .. }
            | Phase::Accepted { .. }
            | Phase::Receiving { .. }
            | Phase::Syncing { .. }
            | Phase::Confirming { .. }
            | Phase::Confirmed { .. }
            | Phase::Live { .. } => self.deadline,
        }
    }

    /// Time has passed.
    pub fn wake(&mut self, now: Time, out: &mut Vec<ZabOut>) {
        if let Phase::Dialling { dials, dial_at, until } = self.phase {
            if until <= now {
                self.lose(Lost::Unreachable, out);
            } else if dial_at.is_some_and(|at| at <= now) {
                self.dial(now, dials + 1, until, out);
            }
        } else if self.deadline.is_some_and(|at| at <= now) {
            self.lose(Lost::Silent, out);
        }
    }

    /// A reconfiguration made `leader` this server's leader, or gave this server another part under the same one.
    pub fn depart(&mut self, leader: ServerId, out: &mut Vec<ZabOut>) {
        if !matches!(self.phase, Phase::Over) {
            self.lose(Lost::Deposed(leader), out);
        }
    }

    /// What the leader says cannot be read.
    pub fn malformed(&mut self, bad: Bad, out: &mut Vec<ZabOut>) {
        if !matches!(self.phase, Phase::Over) {
            self.lose(Lost::Malformed(bad), out);
        }
    }

    fn say(&self, packet: FromLearner, out: &mut Vec<ZabOut>) {
        let conn = self.conn.expect("connected");
        out.push(ZabOut::Send { conn, packet: packet.into_packet() });
    }

    fn lose(&mut self, why: Lost, out: &mut Vec<ZabOut>) {
        self.phase = Phase::Over;
        self.deadline = None;
        if let Some(conn) = self.conn.take() {
            out.push(ZabOut::Close { conn, cause: Cause::LearnerLost });
        }
        out.push(ZabOut::Lost { why });
    }
}

fn pause(doublings: u32) -> Span {
    Span(DIAL_PAUSE.0 << doublings.min(16)).min(DIAL_PAUSE_MAX)
}
