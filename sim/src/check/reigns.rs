//! Leaders: Z1, Z4, Z5, Z6. Who leads an epoch and with what history, what it proposes, and on whose acks it commits.

use super::durable::fold;
use super::lines::{LineId, ROOT};
use super::model::{Model, Place};
use super::peers::{Peer, Peers, Reign};
use super::{Cx, Found, Rule};
use bytes::Bytes;
use zebu_core::id::{Epoch, ServerId, Zxid};

impl Peers {
    /// Z1; Z5: what was committed in earlier epochs is in the leader's history. One whose followers have left for a later
    /// epoch may still find its quorum among their old answers; it never comes to serve.
    pub(super) fn established(
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
        let begins = self.peer(server).map_or(ROOT, |p| p.tip);
        let known = self.lines.common(begins, self.end());
        if !self.is_quorum(cx, known, begins, quorum) {
            let who: Vec<i64> = self.peers.iter().filter(|p| quorum(p.server)).map(|p| p.server.0).collect();
            found.add(Rule::Z6, cx.at, || {
                format!("server {server} leads epoch {epoch}, which only {who:?} have accepted")
            });
        }
        // It may not know yet that it has lost its vote.
        let knows = self.lines.common(self.peer(server).map_or(ROOT, |p| p.knows), self.end());
        self.must_vote(cx, server, (knows, begins), found);
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

    /// Z6: whoever leads has a vote, in the configuration in force or in one that is proposed.
    fn must_vote(&self, cx: Cx<'_>, server: ServerId, (from, to): (LineId, LineId), found: &mut Found) {
        let proposed = |line: LineId| self.lines.holds(to, line) && !self.lines.holds(from, line);
        let votes = self.config_at(cx, from).votes(server)
            || self.configs.iter().any(|(line, config)| proposed(*line) && config.votes(server));
        found.look(Rule::Z6);
        if !votes {
            found.add(Rule::Z6, cx.at, || format!("server {server} leads and has no vote"));
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
    pub(super) fn activated(
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
        let p = self.of(server);
        (p.serves, p.knows) = (Some(epoch), applied);
    }

    /// Z5, Z6 and C at the quorum of a leader's NEWLEADER acks.
    pub(super) fn begin(&mut self, cx: Cx<'_>, model: &mut Model, reign: usize, found: &mut Found) {
        let Reign { epoch, server, active, .. } = self.reigns[reign];
        if active {
            return;
        }
        self.reigns[reign].active = true;
        let tip = self.of(server).tip;
        self.reigns[reign].last = tip;
        found.look(Rule::Z6);
        let acked = |p: &Peer| p.acks.iter().any(|(e, _)| *e == epoch);
        let from = self.lines.common(tip, self.end());
        let (said, held) = (
            self.is_quorum(cx, from, tip, |s| self.peer(s).is_some_and(acked)),
            self.is_quorum(cx, from, tip, |s| {
                self.peer(s).is_some_and(|p| acked(p) && self.has(p, tip, epoch))
            }),
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
    pub(super) fn proposed(
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
        let last = self.born(cx, server, (zxid, txn, place), parent, found);
        self.reigns[n].last = last;
        self.one_at_a_time(cx, server, (last, parent), found);
    }

    /// Z6: a configuration is proposed only when the one before it is committed. (What the history of a leader that serves
    /// holds is.)
    fn one_at_a_time(
        &self,
        cx: Cx<'_>,
        server: ServerId,
        (new, parent): (LineId, LineId),
        found: &mut Found,
    ) {
        let Some(((id, _), before)) = self.configs.split_last().filter(|((id, _), _)| *id == new) else {
            return;
        };
        found.look(Rule::Z6);
        // The leader may have counted acks that it tells of later in this step.
        let acked = |line: LineId, s: ServerId| {
            let (zxid, epoch) = (self.lines.zxid(line), Epoch::of(self.lines.zxid(line)));
            self.peer(s).is_some_and(|p| p.acks.iter().any(|(e, upto)| *e == epoch && *upto >= zxid))
        };
        let open = |line: LineId| {
            let from = self.lines.get(line).parent;
            self.lines.holds(parent, line)
                && self.in_c(line).is_none()
                && !self.is_quorum(cx, from, line, |s| acked(line, s))
        };
        if let Some((other, _)) = before.iter().find(|(line, _)| open(*line)) {
            let (zxid, other) = (self.lines.zxid(*id), self.lines.zxid(*other));
            found.add(Rule::Z6, cx.at, || {
                format!("server {server} proposes configuration {zxid}, and {other} is not committed yet")
            });
        }
    }

    /// Z2: one payload a zxid; D4: one history behind it.
    pub(super) fn born(
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

    pub(super) fn same(&self, cx: Cx<'_>, server: ServerId, id: LineId, txn: &Bytes, found: &mut Found) {
        found.look(Rule::Z2);
        if id == ROOT || self.lines.get(id).place.body(cx.h) != txn {
            let zxid = self.lines.zxid(id);
            found.add(Rule::Z2, cx.at, || format!("server {server}: two transactions are called {zxid}"));
        }
    }

    /// Z6: a quorum of acks, each sent behind the sender's own ack of NEWLEADER, and each still true.
    pub(super) fn quorum_acked(
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
        self.must_vote(cx, server, (from, id), found);
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
}
