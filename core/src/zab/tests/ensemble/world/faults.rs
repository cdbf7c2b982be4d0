//! Clients, and what goes wrong.

use super::super::disk::Op;
use super::{Event, MS, Role, World, body};
use crate::boundary::Conn;
use crate::id::SessionId;
use crate::proto::ForwardedRequest;
use bytes::Bytes;
use std::rc::Rc;

impl World {
    pub(super) fn client(&mut self) {
        let every = self.plan.client_every;
        let after = self.between(MS, every * MS + 2 * MS);
        self.at(after, Event::Client);
        for n in 0..self.nodes.len() {
            for _ in 0..self.rng.below(3) {
                self.propose(n);
            }
            if self.chance(100) {
                self.sync(n);
            }
        }
    }

    pub(super) fn propose(&mut self, n: usize) {
        let Role::Leading(l) = &self.nodes[n].role else { return };
        let (Some(zxid), Some(last)) = (l.next_zxid(), l.last_proposed()) else { return };
        if l.outstanding() > 30 {
            return;
        }
        let epoch = l.epoch().expect("it serves");
        self.next_body += 1;
        let content = self.next_body;
        self.ghost.proposed(epoch, last, zxid, content);
        self.step(n, |role, now, out| match role {
            Role::Leading(l) => l.propose(now, zxid, body(content), None, out),
            Role::Down | Role::Looking | Role::Learning(..) => {}
        });
    }

    pub(super) fn sync(&mut self, n: usize) {
        self.next_tag += 1;
        let tag = self.next_tag;
        let Role::Learning(l, leader) = &mut self.nodes[n].role else { return };
        let leader = *leader;
        l.touch(SessionId(tag as i64), 1000);
        if !l.is_active() {
            return;
        }
        let request = ForwardedRequest {
            session: SessionId(tag as i64),
            cxid: 0,
            op: 9,
            body: Bytes::new(),
            authinfo: Some(Vec::new()),
        };
        self.step(n, |role, _, out| match role {
            Role::Learning(l, _) => assert!(l.sync(tag, request, out)),
            Role::Down | Role::Looking | Role::Leading(_) => {}
        });
        let leader = &self.nodes[leader];
        let committed = if leader.serving { leader.tree.len() } else { 0 };
        self.nodes[n].syncs.insert(tag, committed);
    }

    pub(super) fn requested(&mut self, n: usize, conn: Conn, request: &ForwardedRequest) {
        assert_eq!(request.op, 9, "only syncs are asked for");
        self.step(n, |role, _, out| match role {
            Role::Leading(l) => l.sync(crate::zab::SyncOf::Learner(conn), out),
            Role::Down | Role::Looking | Role::Learning(..) => {}
        });
    }

    pub(super) fn synced(&mut self, n: usize, tag: u64) {
        let first = self.nodes[n].syncs.pop_first().expect("a sync was asked for");
        assert_eq!(first.0, tag, "syncs out of order");
        assert!(self.nodes[n].tree.len() >= first.1, "C5: sync answered before what was committed");
        self.tally.add("synced");
    }

    pub(super) fn beat(&mut self) {
        if !self.faults {
            return;
        }
        self.at(20 * MS, Event::Beat);
        let n = self.rng.below(self.nodes.len() as u64) as usize;
        if self.chance(self.plan.crash) {
            let all = self.chance(60);
            for m in 0..self.nodes.len() {
                if m == n || all {
                    self.crash(m);
                }
            }
        }
        if self.chance(self.plan.cut) {
            let open: Vec<u64> =
                self.links.iter().filter(|(_, l)| l.shut == [false; 2]).map(|(id, _)| *id).collect();
            if !open.is_empty() {
                let id = open[self.rng.below(open.len() as u64) as usize];
                self.tally.add("cut");
                self.cut(id);
            }
        }
        if self.chance(self.plan.partition) {
            self.partition(n);
        } else if !self.blocked.is_empty() && self.chance(60) {
            self.blocked.clear();
        }
        if self.chance(self.plan.hand_over) {
            self.step(n, |role, now, out| match role {
                Role::Leading(l) => l.hand_over(now, out),
                Role::Down | Role::Looking | Role::Learning(..) => {}
            });
        }
        if self.chance(self.plan.snapshot) {
            self.snapshot(n);
        }
    }

    /// A server is cut off: both ways, one way, or from one other.
    pub(super) fn partition(&mut self, n: usize) {
        let kind = self.rng.below(4);
        let one = self.rng.below(self.nodes.len() as u64) as usize;
        for m in (0..self.nodes.len()).filter(|&m| m != n && (kind != 3 || m == one)) {
            if kind != 1 {
                self.blocked.insert((m, n));
            }
            if kind != 2 {
                self.blocked.insert((n, m));
            }
        }
        self.tally.add(["partition", "one-way out", "one-way in", "one link"][kind as usize]);
    }

    pub(super) fn crash(&mut self, n: usize) {
        if matches!(self.nodes[n].role, Role::Down) {
            return;
        }
        // All that was asked for has been written at a kill; at a power cut a part of it.
        let queued = self.nodes[n].disk.queued() as u64;
        let keep = if self.chance(300) { queued } else { self.rng.below(queued + 1) };
        for _ in 0..keep {
            self.finish_one(n);
        }
        self.tally.add(if keep < queued { "crash with loss" } else { "crash" });
        self.note(|| format!("{} crashes, {keep} of {queued} written", n + 1));
        let links: Vec<u64> =
            self.links.iter().filter(|(_, l)| l.learner == n || l.leader == n).map(|(id, _)| *id).collect();
        for id in links {
            self.cut(id);
        }
        let node = &mut self.nodes[n];
        node.disk.lose_rest();
        node.role = Role::Down;
        node.history = None;
        node.serving = false;
        node.staged = None;
        node.wanted.clear();
        node.syncs.clear();
        node.disk_due = false;
        node.life += 1;
        let life = node.life;
        let after = self.between(5 * MS, 400 * MS);
        self.at(after, Event::Restart(n, life));
    }

    /// A snapshot of its own: only of what is served.
    pub(super) fn snapshot(&mut self, n: usize) {
        let purge = self.rng.below(2) == 0;
        let node = &mut self.nodes[n];
        if !node.serving {
            return;
        }
        let history = match &node.role {
            Role::Leading(l) => l.history(),
            Role::Learning(l, _) => l.history(),
            Role::Down | Role::Looking => return,
        };
        let name = history.delivered();
        let list = Rc::new(node.tree.clone());
        node.disk.ask(Op::Snapshot(name, list, purge));
        self.tally.add("snapshots");
    }
}
