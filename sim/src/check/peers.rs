//! Z1–Z6, D4, T1 of an ensemble: who leads, what is proposed, logged, committed and applied, held against the committed
//! sequence C. C grows when a leader counts a quorum of acks, and by a leader's whole history when it begins to serve. What
//! disks hold is in `images`, the end of a run in `ending`.

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
    pub(super) incarnation: u32,
    /// The end of its log, as far as it has asked its disk for it.
    pub(super) tip: LineId,
    /// What its tree holds.
    pub(super) applied: LineId,
    /// What it was told to be committed since it started: less than its tree holds, after the snapshot of a leader that does not
    /// serve yet.
    pub(super) knows: LineId,
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
    pub(super) server: ServerId,
    pub(super) incarnation: u32,
    /// The history that it began with.
    pub(super) begins: LineId,
    /// It serves or has served.
    pub(super) active: bool,
    pub(super) over: bool,
    pub(super) proposed: Zxid,
    /// Its last entry, proposed or of its history; it may not be logged yet.
    pub(super) last: LineId,
    pub(super) committed: Zxid,
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
    pub(super) configs: Vec<(LineId, Ensemble)>,
    /// So much of C was shown to clients.
    shown: Index,
    pub(super) healed: Option<Time>,
    /// Who is healed; `None`: everyone.
    pub(super) whole: Option<Ref>,
    /// What healed servers have come to in the end.
    pub(super) replicas: Vec<(ServerId, Ref)>,
    pub(super) epochs_since: usize,
    /// Leaders since the last fault that ended as they had to.
    pub(super) epochs_due: usize,
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
                knows: ROOT,
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

    /// The configuration that was committed last.
    pub(super) fn in_force<'a>(&'a self, cx: Cx<'a>) -> &'a Ensemble {
        if self.configs.is_empty() { &cx.limits.ensemble } else { self.config_at(cx, self.end()) }
    }

    /// Are these a quorum of the configuration in force at `from` and of all that are proposed up to `to`?
    pub(super) fn is_quorum(
        &self,
        cx: Cx<'_>,
        from: LineId,
        to: LineId,
        has: impl Fn(ServerId) -> bool,
    ) -> bool {
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
    pub(super) fn add(
        &mut self,
        cx: Cx<'_>,
        (zxid, txn, place): (Zxid, &Bytes, Place),
        parent: LineId,
    ) -> LineId {
        let id = self.lines.add(zxid, parent, place, cx.at);
        if let Ok(head) = Head::read(txn)
            && head.kind == RECONFIG
            && let Ok((Op::SetData { data: Some(text), .. }, _)) = head.record()
        {
            self.configs.push((id, Ensemble::parse(&String::from_utf8_lossy(text))));
        }
        id
    }

    pub(super) fn has(&self, p: &Peer, id: LineId, since: Epoch) -> bool {
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
    pub(super) fn retire(&mut self, server: ServerId) {
        self.reigns.iter_mut().filter(|r| r.server == server).for_each(|r| r.over = true);
    }

    pub(super) fn reign(&mut self, server: ServerId, incarnation: u32) -> Option<usize> {
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

    /// Where its tree stands after a recovery.
    pub(super) fn recovered_at(&mut self, server: ServerId, tip: LineId, tree: LineId) {
        let p = self.of(server);
        (p.tip, p.applied, p.committed, p.serves) = (tip, tree, tree, None);
        p.knows = ROOT;
    }
}
