//! Z1–Z6, D4, T1 of an ensemble: who leads, what is proposed, logged, committed and applied, held against the committed
//! sequence C. C grows when a leader counts a quorum of acks, and by a leader's whole history when it begins to serve. What
//! disks hold is in `images`, the end of a run in `ending`.

use super::durable::fold;
use super::lines::{LineId, Lines, ROOT};
use super::model::{Index, Model, Place};
use super::txn::{Head, Op};
use super::{Cx, Ensemble, Found, Rule};
use crate::history::{Image, Ref};
use bytes::Bytes;
use zebu_core::boundary::{Event, RoleName};
use zebu_core::id::{Epoch, ServerId, Zxid};
use zebu_core::time::Time;
use zebu_core::zab::Lost;

/// The kind of a transaction that proposes a configuration.
const RECONFIG: i32 = 16;

/// A server and its disk.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) server: ServerId,
    incarnation: u32,
    /// The end of its log, as far as it has asked its disk for it.
    pub(super) tip: LineId,
    /// What its tree holds.
    pub(super) applied: LineId,
    /// Committed, perhaps not applied yet.
    pub(super) committed: LineId,
    /// Clients are served under the leader of this epoch.
    pub(super) serves: Option<Epoch>,
    pub(super) image: Image,
    /// The history in the image.
    pub(super) held: LineId,
    /// What it must not lose: history and epochs that it vouched for.
    pub(super) promised: LineId,
    pub(super) accepted: Epoch,
    pub(super) current: Epoch,
    /// Epochs that it accepted, and those whose history it vouched for with what it acked last in them.
    pub(super) acked_epochs: Vec<Epoch>,
    pub(super) acks: Vec<(Epoch, Zxid)>,
    pub(super) lied: bool,
    /// What it had vouched for when its disk was wiped: whoever wiped it saw to it that all others hold that.
    pub(super) excused: Vec<LineId>,
}

/// A leader's time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reign {
    pub(super) epoch: Epoch,
    server: ServerId,
    incarnation: u32,
    /// The history that it began with.
    pub(super) begins: LineId,
    /// It serves or has served.
    pub(super) active: bool,
    over: bool,
    proposed: Zxid,
    /// Its last entry, proposed or of its history; it may not be logged yet.
    last: LineId,
    committed: Zxid,
}

/// The servers of an ensemble.
#[derive(Default, Debug)]
pub(super) struct Peers {
    pub(super) lines: Lines,
    pub(super) peers: Vec<Peer>,
    pub(super) reigns: Vec<Reign>,
    /// C: by state of the model, from 1.
    pub(super) committed: Vec<LineId>,
    /// Reconfigurations: what they propose.
    configs: Vec<(LineId, Ensemble)>,
    /// So much of C was shown to clients.
    shown: Index,
    pub(super) healed: Option<Time>,
    /// Who is healed; `None`: everyone.
    pub(super) whole: Option<Ref>,
    /// What healed servers have come to in the end.
    pub(super) replicas: Vec<(ServerId, Ref)>,
    epochs_since: usize,
    /// Leaders since the last fault that ended as they had to.
    epochs_due: usize,
    pub(super) void: bool,
}

impl Peers {
    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.peers.clear();
        self.reigns.clear();
        self.committed.clear();
        self.configs.clear();
        self.shown = 0;
        self.healed = None;
        self.whole = None;
        self.replicas.clear();
        self.epochs_since = 0;
        self.epochs_due = 0;
        self.void = false;
    }

    /// A transaction could not be read: whatever follows, no one can judge.
    pub(super) fn void(&self) -> bool {
        self.void
    }

    /// The newest epoch whose leader serves or has served.
    pub(super) fn newest(&self) -> Epoch {
        self.reigns.iter().filter(|r| r.active).map(|r| r.epoch).max().unwrap_or(Epoch(-1))
    }

    /// How far a server has come that serves in the newest epoch.
    pub(super) fn last_applied(&self) -> LineId {
        let come = |p: &&Peer| (p.serves, self.lines.get(p.applied).depth);
        self.peers.iter().max_by_key(come).map_or(ROOT, |p| p.applied)
    }

    /// Who leads this epoch, once it serves.
    pub(super) fn leader_of(&self, epoch: Epoch) -> Option<ServerId> {
        self.reigns.iter().find(|r| r.epoch == epoch && r.active).map(|r| r.server)
    }

    pub(super) fn of(&mut self, server: ServerId) -> &mut Peer {
        let known = self.peers.iter().position(|p| p.server == server);
        let at = known.unwrap_or_else(|| {
            self.peers.push(Peer {
                server,
                incarnation: 0,
                tip: ROOT,
                applied: ROOT,
                committed: ROOT,
                serves: None,
                image: Image::default(),
                held: ROOT,
                promised: ROOT,
                accepted: Epoch(0),
                current: Epoch(0),
                acked_epochs: Vec::new(),
                acks: Vec::new(),
                lied: false,
                excused: Vec::new(),
            });
            self.peers.len() - 1
        });
        &mut self.peers[at]
    }

    pub(super) fn peer(&self, server: ServerId) -> Option<&Peer> {
        self.peers.iter().find(|p| p.server == server)
    }

    /// Where it stands in C.
    pub(super) fn in_c(&self, id: LineId) -> Option<Index> {
        let depth = self.lines.get(id).depth;
        (depth == 0 || self.committed.get(depth as usize - 1) == Some(&id)).then_some(depth)
    }

    /// The end of C.
    pub(super) fn end(&self) -> LineId {
        self.committed.last().copied().unwrap_or(ROOT)
    }

    /// The state that this server's tree is in.
    pub(super) fn applied(&self, server: ServerId) -> Option<Index> {
        self.in_c(self.peer(server)?.applied)
    }

    /// The entry that a zxid stands for; an epoch's start stands for all before it.
    pub(super) fn entry(&self, model: &Model, zxid: Zxid) -> Option<LineId> {
        self.lines.find(zxid).or_else(|| match model.index(zxid)? {
            0 => Some(ROOT),
            n => self.committed.get(n as usize - 1).copied(),
        })
    }

    /// The configuration in force when this entry is the last that is committed.
    pub(super) fn config_at<'a>(&'a self, cx: Cx<'a>, id: LineId) -> &'a Ensemble {
        let held = self.configs.iter().rev().find(|(line, _)| self.lines.holds(id, *line));
        held.map_or(&cx.limits.ensemble, |(_, config)| config)
    }

    /// Are these a quorum of the configuration in force at `from` and of all that are proposed up to `to`?
    fn is_quorum(&self, cx: Cx<'_>, from: LineId, to: LineId, has: impl Fn(ServerId) -> bool) -> bool {
        let proposed = |line: LineId| self.lines.holds(to, line) && !self.lines.holds(from, line);
        self.config_at(cx, from).is_quorum(&has)
            && self.configs.iter().filter(|(line, _)| proposed(*line)).all(|(_, c)| c.is_quorum(&has))
    }

    /// Enough voters hold this committed entry on their disks.
    pub(super) fn held_by_quorum(&self, cx: Cx<'_>, id: LineId) -> bool {
        let config = self.config_at(cx, self.end());
        config.is_quorum(|s| self.peer(s).is_some_and(|p| self.has(p, id, Epoch(0))))
    }

    /// A new entry may propose a configuration.
    fn add(&mut self, cx: Cx<'_>, (zxid, txn, place): (Zxid, &Bytes, Place), parent: LineId) -> LineId {
        let id = self.lines.add(zxid, parent, place, cx.at);
        if let Ok(head) = Head::read(txn)
            && head.kind == RECONFIG
            && let Ok((Op::SetData { data: Some(text), .. }, _)) = head.record()
        {
            self.configs.push((id, Ensemble::parse(&String::from_utf8_lossy(text))));
        }
        id
    }

    fn has(&self, p: &Peer, id: LineId, since: Epoch) -> bool {
        p.lied
            || (p.image.current >= since && self.lines.holds(p.held, id))
            || p.excused.iter().any(|e| self.lines.holds(*e, id))
    }

    /// A client was shown this zxid.
    pub(super) fn shown(&mut self, cx: Cx<'_>, model: &Model, zxid: Zxid, found: &mut Found) {
        let Some(index) = model.index(zxid).filter(|i| *i > self.shown) else { return };
        self.shown = index;
        found.look(Rule::D1);
        if !self.held_by_quorum(cx, self.committed[index as usize - 1]) {
            found.add(Rule::D1, cx.at, || format!("a client was shown {zxid}, which no quorum would keep"));
        }
    }

    pub(super) fn crash(&mut self, server: ServerId) {
        self.of(server).serves = None;
        self.retire(server);
    }

    pub(super) fn restart(&mut self, server: ServerId, incarnation: u32) {
        self.of(server).incarnation = incarnation;
    }

    pub(super) fn heal(&mut self, at: Time) {
        self.healed = Some(at);
    }

    pub(super) fn whole(&mut self, servers: Ref) {
        self.whole = self.healed.map(|_| servers);
    }

    pub(super) fn replica(&mut self, server: ServerId, replica: Ref) {
        self.replicas.push((server, replica));
    }

    /// What it leads is over.
    fn retire(&mut self, server: ServerId) {
        self.reigns.iter_mut().filter(|r| r.server == server).for_each(|r| r.over = true);
    }

    fn reign(&mut self, server: ServerId, incarnation: u32) -> Option<usize> {
        self.reigns.iter().rposition(|r| r.server == server && r.incarnation == incarnation && !r.over)
    }

    /// A server's event.
    pub(super) fn event(
        &mut self,
        cx: Cx<'_>,
        model: &mut Model,
        (server, incarnation, event, place): (ServerId, u32, &Event, Place),
        found: &mut Found,
    ) {
        if self.void {
            return;
        }
        let me = (server, incarnation);
        match event {
            Event::Became(role) => match role {
                RoleName::Looking => self.crash(server),
                RoleName::ReadOnly
                | RoleName::Leader
                | RoleName::Follower
                | RoleName::Observer
                | RoleName::Standalone => {}
            },
            Event::RoleLost { why } => {
                // These are no one's fault, and another leader must follow.
                let due = matches!(why, Lost::RollOver | Lost::HandedOver | Lost::Deposed(_));
                let led = self.reign(me.0, me.1).is_some();
                self.epochs_due += usize::from(due && led && self.healed.is_some());
                self.crash(server);
            }
            Event::Established { epoch } => self.established(cx, me, *epoch, found),
            Event::Activated { epoch } => self.activated(cx, model, me, *epoch, found),
            Event::Proposed { zxid, txn } => self.proposed(cx, me, (*zxid, txn, place), found),
            Event::Logged { zxid, txn } => self.logged(cx, me, (*zxid, txn, place), found),
            Event::Truncated { to } => self.truncated(cx, server, *to, found),
            Event::Installed { zxid, digest } => self.installed(cx, model, server, (*zxid, *digest), found),
            Event::QuorumAcked { zxid, acks } => self.quorum_acked(cx, model, me, (*zxid, acks), found),
            Event::Committed { zxid, txn } => self.commit(cx, model, me, (*zxid, txn), found),
            Event::Applied { zxid, digest } => self.apply(cx, model, server, (*zxid, *digest), found),
            Event::Vouched(vouch) => self.vouched(cx, model, server, *vouch, found),
            Event::Elected { .. }
            | Event::Synchronizes { .. }
            | Event::DigestMismatch { .. }
            | Event::ConnClosed { .. }
            | Event::SessionAttached { .. }
            | Event::SessionExpired { .. }
            | Event::LogRolled { .. }
            | Event::SnapshotBegun { .. }
            | Event::SnapshotDone { .. }
            | Event::SnapshotFailed { .. }
            | Event::Purged { .. }
            | Event::Reconfigured { .. }
            | Event::Replied { .. } => {}
        }
    }

    // ---- leaders ----

    /// Z1; Z5: what was committed in earlier epochs is in the leader's history. One whose followers have left for a later
    /// epoch may still find its quorum among their old answers; it never comes to serve.
    fn established(
        &mut self,
        cx: Cx<'_>,
        (server, incarnation): (ServerId, u32),
        epoch: Epoch,
        found: &mut Found,
    ) {
        found.look(Rule::Z1);
        if let Some(r) = self.reigns.iter().find(|r| r.epoch == epoch) {
            let (s, n) = (r.server, r.incarnation);
            found.add(Rule::Z1, cx.at, || {
                format!(
                    "epoch {epoch} is led by server {server} in its life {incarnation}, and by {s} in its {n}"
                )
            });
        }
        let quorum = |s: ServerId| self.peer(s).is_some_and(|p| p.acked_epochs.contains(&epoch));
        found.look(Rule::Z6);
        let knows = self.peer(server).map_or(ROOT, |p| p.applied);
        if !self.config_at(cx, knows).is_quorum(quorum) {
            let who: Vec<i64> = self.peers.iter().filter(|p| quorum(p.server)).map(|p| p.server.0).collect();
            found.add(Rule::Z6, cx.at, || {
                format!("server {server} leads epoch {epoch}, which only {who:?} have accepted")
            });
        }
        let begins = self.of(server).tip;
        if self.newest() < epoch {
            self.complete(cx, server, epoch, begins, found);
        }
        self.retire(server);
        let (proposed, committed) = (epoch.start(), epoch.start());
        let (active, over) = (false, false);
        let last = begins;
        self.reigns.push(Reign {
            epoch,
            server,
            incarnation,
            begins,
            active,
            over,
            proposed,
            last,
            committed,
        });
        if self.healed.is_some() {
            self.epochs_since += 1;
            found.look(Rule::L5);
            if self.epochs_since > cx.limits.elections + self.epochs_due {
                let (n, due) = (self.epochs_since, self.epochs_due);
                found.add(Rule::L5, cx.at, || {
                    format!("epoch {epoch} is the {n}th since the last fault, and only {due} had to begin")
                });
            }
        }
    }

    fn complete(&self, cx: Cx<'_>, server: ServerId, epoch: Epoch, history: LineId, found: &mut Found) {
        found.look(Rule::Z5);
        let earlier = self.committed.partition_point(|id| self.lines.zxid(*id) < epoch.start());
        let Some(last) = earlier.checked_sub(1).map(|n| self.committed[n]) else { return };
        if !self.lines.holds(history, last) {
            found.add(Rule::Z5, cx.at, || {
                let (last, tip) = (self.lines.zxid(last), self.lines.zxid(history));
                format!("server {server} leads epoch {epoch} with {tip} and lacks {last}, which is committed")
            });
        }
    }

    /// A leader's whole history is committed from here on; or a learner is up to date.
    fn activated(
        &mut self,
        cx: Cx<'_>,
        model: &mut Model,
        me: (ServerId, u32),
        epoch: Epoch,
        found: &mut Found,
    ) {
        let server = me.0;
        match self.reign(me.0, me.1).filter(|n| self.reigns[*n].epoch == epoch) {
            Some(n) => self.begin(cx, model, n, found),
            None => {
                found.look(Rule::Z6);
                if !self.reigns.iter().any(|r| r.epoch == epoch && r.active) {
                    found.add(Rule::Z6, cx.at, || {
                        format!("server {server} serves in epoch {epoch}, whose leader does not")
                    });
                }
            }
        }
        let applied = self.of(server).applied;
        found.look(Rule::Z3);
        if self.in_c(applied).is_none() {
            found.add(Rule::Z3, cx.at, || {
                let zxid = self.lines.zxid(applied);
                format!("server {server} begins to serve at {zxid}, which is not committed")
            });
        }
        self.of(server).serves = Some(epoch);
    }

    /// Z5, Z6 and C at the quorum of a leader's NEWLEADER acks.
    fn begin(&mut self, cx: Cx<'_>, model: &mut Model, reign: usize, found: &mut Found) {
        let Reign { epoch, server, active, .. } = self.reigns[reign];
        if active {
            return;
        }
        self.reigns[reign].active = true;
        let tip = self.of(server).tip;
        self.reigns[reign].last = tip;
        found.look(Rule::Z6);
        let acked = |p: &Peer| p.acks.iter().any(|(e, _)| *e == epoch);
        let (said, held) = (
            cx.limits.ensemble.is_quorum(|s| self.peer(s).is_some_and(acked)),
            cx.limits
                .ensemble
                .is_quorum(|s| self.peer(s).is_some_and(|p| acked(p) && self.has(p, tip, epoch))),
        );
        if !(said && held) {
            let who: Vec<i64> = self.peers.iter().filter(|p| acked(p)).map(|p| p.server.0).collect();
            found.add(Rule::Z6, cx.at, || {
                let why = if said { "not all of them would keep" } else { "no quorum of them has acked" };
                format!("server {server} serves epoch {epoch} with {who:?}: {why} its history")
            });
        }
        self.complete(cx, server, epoch, tip, found);
        if self.lines.holds(tip, self.end()) {
            self.extend(cx, model, server, tip, found);
            model.start(epoch);
        } else if self.in_c(tip).is_none() {
            found.add(Rule::Z5, cx.at, || {
                let (tip, end) = (self.lines.zxid(tip), self.lines.zxid(self.end()));
                format!("server {server} begins epoch {epoch} at {tip}, beside {end}, which is committed")
            });
        } else {
            model.start(epoch);
        }
    }

    /// C goes on to `to`, which holds it.
    fn extend(&mut self, cx: Cx<'_>, model: &mut Model, server: ServerId, to: LineId, found: &mut Found) {
        for id in self.lines.path(self.end(), to) {
            let line = *self.lines.get(id);
            let before = model.last();
            fold(cx, model, server, line.zxid, (line.place, line.born), found);
            if model.last() == before {
                self.void = true;
                return;
            }
            self.committed.push(id);
        }
    }

    /// Z2 and Z4 at the source.
    fn proposed(
        &mut self,
        cx: Cx<'_>,
        me: (ServerId, u32),
        (zxid, txn, place): (Zxid, &Bytes, Place),
        found: &mut Found,
    ) {
        let server = me.0;
        let Some(n) = self.reign(me.0, me.1).filter(|n| self.reigns[*n].active) else {
            return found
                .add(Rule::Z1, cx.at, || format!("server {server} proposes {zxid} and does not lead"));
        };
        found.look(Rule::Z4);
        let before = std::mem::replace(&mut self.reigns[n].proposed, zxid);
        let epoch = self.reigns[n].epoch;
        if Epoch::of(zxid) != epoch || zxid.0 != before.0.wrapping_add(1) {
            found.add(Rule::Z4, cx.at, || {
                format!("server {server}, leader of epoch {epoch}, proposes {zxid} after {before}")
            });
        }
        let parent = self.reigns[n].last;
        self.reigns[n].last = self.born(cx, server, (zxid, txn, place), parent, found);
    }

    /// Z2: one payload a zxid; D4: one history behind it.
    fn born(
        &mut self,
        cx: Cx<'_>,
        server: ServerId,
        (zxid, txn, place): (Zxid, &Bytes, Place),
        parent: LineId,
        found: &mut Found,
    ) -> LineId {
        match self.lines.find(zxid) {
            None => self.add(cx, (zxid, txn, place), parent),
            Some(id) => {
                self.same(cx, server, id, txn, found);
                id
            }
        }
    }

    fn same(&self, cx: Cx<'_>, server: ServerId, id: LineId, txn: &Bytes, found: &mut Found) {
        found.look(Rule::Z2);
        if id == ROOT || self.lines.get(id).place.body(cx.h) != txn {
            let zxid = self.lines.zxid(id);
            found.add(Rule::Z2, cx.at, || format!("server {server}: two transactions are called {zxid}"));
        }
    }

    /// Z6: a quorum of acks, each sent behind the sender's own ack of NEWLEADER, and each still true.
    fn quorum_acked(
        &mut self,
        cx: Cx<'_>,
        model: &mut Model,
        me: (ServerId, u32),
        (zxid, acks): (Zxid, &[ServerId]),
        found: &mut Found,
    ) {
        let (server, epoch) = (me.0, Epoch::of(zxid));
        let reign =
            self.reign(me.0, me.1).filter(|n| self.reigns[*n].active && self.reigns[*n].epoch == epoch);
        let (Some(n), Some(id)) = (reign, self.lines.find(zxid)) else {
            return found
                .add(Rule::Z6, cx.at, || format!("server {server} commits {zxid}: not its own to commit"));
        };
        let before = std::mem::replace(&mut self.reigns[n].committed, zxid);
        found.look(Rule::Z4);
        if zxid.0 != before.0.wrapping_add(1) {
            found.add(Rule::Z4, cx.at, || format!("server {server} commits {zxid} after {before}"));
        }
        found.look(Rule::Z6);
        let said = |s: ServerId| {
            acks.contains(&s)
                && self.peer(s).is_some_and(|p| p.acks.iter().any(|(e, upto)| *e == epoch && *upto >= zxid))
        };
        let kept = |s: ServerId| said(s) && self.peer(s).is_some_and(|p| self.has(p, id, epoch));
        let from = self.lines.get(id).parent;
        if !self.is_quorum(cx, from, id, said) {
            let who: Vec<i64> = acks.iter().filter(|s| said(**s)).map(|s| s.0).collect();
            found.add(Rule::Z6, cx.at, || {
                format!(
                    "server {server} commits {zxid} on acks of {acks:?}; those of {who:?} count, no quorum"
                )
            });
        } else if !self.is_quorum(cx, from, id, kept) {
            let who: Vec<i64> = acks.iter().filter(|s| kept(**s)).map(|s| s.0).collect();
            found.add(Rule::Z6, cx.at, || {
                format!("server {server} commits {zxid} on acks of {acks:?}; only {who:?} would keep it")
            });
        }
        if self.lines.get(id).parent == self.end() {
            self.extend(cx, model, server, id, found);
        } else if self.in_c(id).is_none() {
            // A deposed leader may still count acks of what has become history without it; of nothing else.
            let end = self.lines.zxid(self.end());
            found.add(Rule::Z4, cx.at, || format!("server {server} commits {zxid} beside {end}"));
        }
    }

    // ---- logs ----

    /// D4: an entry follows the one that it follows in its leader's log.
    fn logged(
        &mut self,
        cx: Cx<'_>,
        me: (ServerId, u32),
        (zxid, txn, place): (Zxid, &Bytes, Place),
        found: &mut Found,
    ) {
        let (server, tip) = (me.0, self.of(me.0).tip);
        let leads = self.reign(me.0, me.1).is_some_and(|n| self.reigns[n].epoch == Epoch::of(zxid));
        let id = match self.lines.find(zxid) {
            Some(id) => {
                self.same(cx, server, id, txn, found);
                id
            }
            None => {
                if !leads {
                    found.add(Rule::Z2, cx.at, || {
                        format!("server {server} logs {zxid}, which no one proposed")
                    });
                }
                self.add(cx, (zxid, txn, place), tip)
            }
        };
        found.look(Rule::D4);
        if self.lines.get(id).parent != tip {
            found.add(Rule::D4, cx.at, || {
                let (tip, wanted) = (self.lines.zxid(tip), self.lines.zxid(self.lines.get(id).parent));
                format!("server {server} logs {zxid} after {tip}; its leader had it after {wanted}")
            });
        }
        self.of(server).tip = id;
    }

    /// The history of a server is replaced by one that ends otherwise: what it vouched for beyond both is void.
    fn replaced(&mut self, server: ServerId, tip: LineId) {
        let promised = self.of(server).promised;
        let promised = self.lines.common(promised, tip);
        let p = self.of(server);
        (p.tip, p.promised) = (tip, promised);
    }

    fn truncated(&mut self, cx: Cx<'_>, server: ServerId, to: Zxid, found: &mut Found) {
        let (tip, applied) = (self.of(server).tip, self.of(server).applied);
        let left = self.lines.cut(tip, to);
        found.look(Rule::D4);
        if !self.lines.holds(left, applied) {
            found.add(Rule::D4, cx.at, || {
                let applied = self.lines.zxid(applied);
                format!("server {server} cuts its log to {to}, but its tree holds {applied}")
            });
        }
        self.replaced(server, left);
    }

    fn installed(
        &mut self,
        cx: Cx<'_>,
        model: &Model,
        server: ServerId,
        (zxid, digest): (Zxid, u64),
        found: &mut Found,
    ) {
        found.look(Rule::Z3);
        let epoch = self.of(server).acked_epochs.last().copied();
        let begins = self.reigns.iter().find(|r| Some(r.epoch) == epoch).map(|r| r.begins);
        let id = self.entry(model, zxid);
        let index = id.and_then(|id| self.in_c(id));
        // What a leader begins with will be committed once it serves.
        let promised = |id: &LineId| index.is_some() || begins.is_some_and(|b| self.lines.holds(b, *id));
        let Some(id) = id.filter(promised) else {
            return found.add(Rule::Z3, cx.at, || {
                format!("server {server} takes a snapshot at {zxid}, which is not committed")
            });
        };
        found.look(Rule::T1);
        if let Some(wanted) = index.map(|i| model.digest(i)).filter(|w| *w != digest) {
            found.add(Rule::T1, cx.at, || {
                format!(
                    "server {server} takes a snapshot at {zxid} with digest {digest:x}, must be {wanted:x}"
                )
            });
        }
        self.replaced(server, id);
        let p = self.of(server);
        (p.applied, p.committed) = (id, id);
    }

    // ---- trees ----

    /// Z3: the next of C, and nothing else.
    fn commit(
        &mut self,
        cx: Cx<'_>,
        model: &mut Model,
        me: (ServerId, u32),
        (zxid, txn): (Zxid, &Bytes),
        found: &mut Found,
    ) {
        // A leader hands its history to its tree before it says that it serves.
        if let Some(n) = self.reign(me.0, me.1)
            && zxid < self.reigns[n].epoch.start()
        {
            self.begin(cx, model, n, found);
        }
        let server = me.0;
        let Some(id) = self.lines.find(zxid) else {
            return found
                .add(Rule::Z2, cx.at, || format!("server {server} commits {zxid}, which no one proposed"));
        };
        self.same(cx, server, id, txn, found);
        let p = self.of(server);
        let (before, tip) = (std::mem::replace(&mut p.committed, id), p.tip);
        let next = self.in_c(before).and_then(|n| self.committed.get(n as usize));
        found.look(Rule::Z3);
        if next != Some(&id) {
            found.add(Rule::Z3, cx.at, || {
                let (before, end) = (self.lines.zxid(before), self.lines.zxid(self.end()));
                format!("server {server} commits {zxid} after {before}; committed up to {end}")
            });
        }
        found.look(Rule::D4);
        if !self.lines.holds(tip, id) {
            found.add(Rule::D4, cx.at, || {
                let tip = self.lines.zxid(tip);
                format!("server {server} commits {zxid}, but its log ends at {tip}")
            });
        }
    }

    /// T1.
    fn apply(
        &mut self,
        cx: Cx<'_>,
        model: &Model,
        server: ServerId,
        (zxid, digest): (Zxid, u64),
        found: &mut Found,
    ) {
        let id = self.lines.find(zxid);
        let p = self.of(server);
        let (before, committed) = (p.applied, p.committed);
        p.applied = id.unwrap_or(before);
        found.look(Rule::Z3);
        if id != Some(committed) || self.lines.get(committed).parent != before {
            return found.add(Rule::Z3, cx.at, || {
                let (before, known) = (self.lines.zxid(before), self.lines.zxid(committed));
                format!("server {server} applies {zxid} after {before}; committed up to {known}")
            });
        }
        let Some(index) = self.in_c(committed) else { return };
        found.look(Rule::T1);
        if model.digest(index) != digest {
            let wanted = model.digest(index);
            found.add(Rule::T1, cx.at, || {
                format!("server {server}: tree digest {digest:x} after {zxid}, must be {wanted:x}")
            });
        }
    }

    /// Where its tree stands after a recovery.
    pub(super) fn recovered_at(&mut self, server: ServerId, tip: LineId, tree: LineId) {
        let p = self.of(server);
        (p.tip, p.applied, p.committed, p.serves) = (tip, tree, tree, None);
    }
}
