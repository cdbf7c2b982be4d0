//! Every server's log and tree: Z2, Z3, D4, T1. What is logged follows what it followed in its leader's log; what is applied
//! is the committed sequence.

use super::lines::LineId;
use super::model::{Model, Place};
use super::peers::Peers;
use super::{Cx, Found, Rule};
use bytes::Bytes;
use zebu_core::id::{Epoch, ServerId, Zxid};

impl Peers {
    /// D4: an entry follows the one that it follows in its leader's log.
    pub(super) fn logged(
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

    pub(super) fn truncated(&mut self, cx: Cx<'_>, server: ServerId, to: Zxid, found: &mut Found) {
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

    pub(super) fn installed(
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
        let knows = self.of(server).knows;
        let knows = self.lines.common(knows, id);
        let p = self.of(server);
        (p.applied, p.committed, p.knows) = (id, id, knows);
    }

    /// Z3: the next of C, and nothing else.
    pub(super) fn commit(
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
    pub(super) fn apply(
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
        p.knows = p.applied;
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
}
