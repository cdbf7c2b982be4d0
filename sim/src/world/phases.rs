//! The phases of a run: faults, then healing and the demand that everything comes to an end, then a look at all that
//! was touched.

use super::World;
use super::server::Node;
use crate::history::{Entry, Phase};
use crate::queue::Due;
use crate::workload::Act;
use std::collections::BTreeSet;
use zebu_core::proto::Request;
use zebu_core::time::Time;

/// How often the end of a phase is looked for, ns.
const LOOK: u64 = 100_000_000;
/// Paths that a probe reads at most.
const PROBED: usize = 12;

/// Where a run stands.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Stage {
    /// Faults are on.
    #[default]
    Faults,
    /// All is healed, every call must come back until this true time.
    Settling(u64),
    /// The survivors read, until this true time.
    Probing(u64),
    /// Sessions without a client must expire until the first true time, and everyone must have caught up until the second.
    Expiring(u64, u64),
    /// The run is over.
    Over,
}

impl World {
    /// How long healing may take: restarts, expiry of old sessions, reconnects, slow disks.
    fn patience(&self) -> u64 {
        let config = &self.plan.config;
        let session = config.max_session_timeout_ms as u64 * 1_000_000;
        let hop = self.plan.net.delay + self.plan.net.jitter;
        let disk = 32 * self.plan.disk.sync_max;
        let alone = 4 * session + 20_000_000_000 + 200 * hop + 20 * disk;
        let Some(e) = &config.ensemble else { return alone };
        let (init, sync) = (e.init_limit * config.tick_ms, e.sync_limit * config.tick_ms);
        let votes = e.election.max_notification_ms + 4 * e.election.dial_timeout_ms;
        alone + (4 * init + 4 * sync + votes) * 1_000_000
    }

    /// The phase of the run may change.
    pub(super) fn phase(&mut self) {
        for s in 0..self.nodes.len() {
            self.apply_disk_faults(s);
        }
        match self.stage {
            Stage::Faults if self.now >= self.plan.heal_at => {
                self.history.push(Time(self.now), Entry::Phase(Phase::Healed));
                self.heal();
                self.show_healed();
                self.stage = Stage::Settling(self.now + self.patience());
                self.look_again();
            }
            Stage::Settling(until) if self.is_quiet() || self.now >= until => {
                self.note_leader();
                self.history.push(Time(self.now), Entry::Phase(Phase::Probe));
                self.stage = Stage::Probing(self.now + self.patience());
                self.probe();
                self.look_again();
            }
            Stage::Probing(until) if self.is_quiet() || self.now >= until => {
                let session = self.plan.config.max_session_timeout_ms as u64 * 1_050_000;
                let ticks = 3 * self.plan.config.tick_ms * 1_000_000;
                let wait = if self.has_orphans() { session + ticks } else { 0 };
                self.stage = Stage::Expiring(self.now + wait, self.now + wait + self.patience());
                self.look_again();
            }
            Stage::Expiring(orphans, until) if self.is_over(orphans) || self.now >= until => {
                self.history.push(Time(self.now), Entry::Phase(Phase::End));
                for s in 0..self.nodes.len() {
                    self.compare_memory_and_disk(s);
                    if self.plan.config.ensemble.is_some() && !self.nodes[s].abandoned {
                        self.show_replica(s);
                    }
                }
                self.stage = Stage::Over;
            }
            Stage::Faults | Stage::Over => {}
            Stage::Settling(_) | Stage::Probing(_) | Stage::Expiring(..) => self.look_again(),
        }
    }

    fn look_again(&mut self) {
        self.queue.push(self.now + LOOK, Due::Phase);
    }

    /// Those that the run goes on with and that have to serve.
    fn healed(&self) -> impl Iterator<Item = &Node> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter(|(s, n)| !n.abandoned && self.is_member(*s)).map(|(_, n)| n)
    }

    /// Every server serves the same, and every call has returned.
    fn is_quiet(&self) -> bool {
        let state = |n: &Node| n.server.as_ref().map(|s| s.view().tree.last_zxid());
        let first = self.healed().next().and_then(state);
        self.healed().all(|n| n.serving && n.lanes.is_idle() && state(n) == first)
            && (0..self.actors.len() as u16).all(|c| self.is_settled(c))
    }

    /// Sessions are alive whose client is not.
    fn has_orphans(&self) -> bool {
        let handles = self.actors.iter().filter(|a| a.handle.is_some()).count();
        self.healed().any(|n| n.server.as_ref().is_some_and(|s| s.view().sessions.len() > handles))
    }

    /// Nothing more is to come, or sessions have had until `orphans` to expire.
    fn is_over(&self, orphans: u64) -> bool {
        (!self.has_orphans() || self.now >= orphans) && self.is_quiet()
    }

    /// How long it took from the healing to the leader that serves now.
    fn note_leader(&mut self) {
        let since = self.leader().map(|s| &self.nodes[s]).filter(|n| n.serving).map(|n| n.serving_since);
        let healed = self.healed_at.expect("the run is healed");
        self.leader_after = since.map(|at| (at.saturating_sub(healed) / 1_000_000) as u32);
    }

    /// Every surviving handle does sync and reads what its program touched or watched.
    fn probe(&mut self) {
        for c in 0..self.actors.len() as u16 {
            if self.actors[c as usize].handle.is_none() {
                continue;
            }
            let (data, children) = self.touched(c);
            self.call(c, Request::Sync { path: Some("/".to_owned()) });
            for path in data {
                self.call(c, Request::GetData { path, watch: false });
            }
            for path in children {
                self.call(c, Request::GetChildren2 { path, watch: false });
            }
        }
    }

    /// Paths that a program reads or writes, and those whose children it asks for.
    fn touched(&self, client: u16) -> (BTreeSet<String>, BTreeSet<String>) {
        let (mut data, mut children) = (BTreeSet::new(), BTreeSet::new());
        for op in &self.plan.clients[client as usize].ops {
            let Act::Call(request) = &op.act else { continue };
            match request {
                Request::Create(c) => drop(data.insert(c.path.clone())),
                Request::Delete { path, .. }
                | Request::Exists { path, .. }
                | Request::GetData { path, .. }
                | Request::SetData { path, .. } => drop(data.insert(path.clone())),
                Request::GetChildren { path, .. }
                | Request::GetChildren2 { path, .. }
                | Request::AddWatch { path: Some(path), .. } => drop(children.insert(path.clone())),
                _ => {}
            }
            if data.len() + children.len() >= PROBED {
                break;
            }
        }
        (data, children)
    }
}
