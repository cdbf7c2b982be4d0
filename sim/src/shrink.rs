//! Shrinking: of a scenario that breaks a rule, a small one that breaks the same. Cuts raw connections, clients, faults and
//! operations, in halves first and one by one at last, then makes what is left simpler. The result is 1-minimal: taking any
//! one thing away makes the failure go.

use crate::nemesis::{Moment, What};
use crate::outcome::Failure;
use crate::scenario::{Left, Scenario};
use crate::sweep::run_caught;
use crate::world::World;
use zebu_core::config::{ElectionTimes, EnsembleConfig};

/// What shrinking came to.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The small scenario.
    pub plan: Scenario,
    /// How it fails.
    pub failure: Failure,
    /// Runs it took.
    pub runs: u64,
}

struct Shrinker {
    world: World,
    rule: String,
    best: Scenario,
    failure: Failure,
    runs: u64,
}

/// Shrinks a scenario; `None`: it does not fail.
pub fn shrink(plan: &Scenario) -> Option<Shrunk> {
    let mut world = World::new();
    let failure = run_caught(&mut world, plan.clone()).failure()?;
    let mut s = Shrinker { world, rule: failure.rule.clone(), best: plan.clone(), failure, runs: 1 };
    loop {
        let before = s.best.clone();
        s.cut(|p| &mut p.raws);
        s.cut_clients();
        s.cut(|p| &mut p.faults);
        for c in 0..s.best.clients.len() {
            s.cut(|p| &mut p.clients[c].ops);
        }
        s.simplify();
        if s.best == before {
            return Some(Shrunk { plan: s.best, failure: s.failure, runs: s.runs });
        }
    }
}

impl Shrinker {
    /// Keeps the candidate if it breaks the same rule.
    fn attempt(&mut self, plan: Scenario) -> bool {
        if plan == self.best {
            return false;
        }
        self.runs += 1;
        let outcome = run_caught(&mut self.world, plan.clone());
        match outcome.failure() {
            Some(failure) if failure.rule == self.rule => {
                (self.best, self.failure) = (plan, failure);
                true
            }
            Some(_) | None => false,
        }
    }

    fn with(&mut self, change: impl FnOnce(&mut Scenario)) -> bool {
        let mut plan = self.best.clone();
        change(&mut plan);
        self.attempt(plan)
    }

    /// Cuts pieces of a list: half of it, then quarters, at last single elements.
    fn cut<T>(&mut self, list: impl Fn(&mut Scenario) -> &mut Vec<T>) {
        let mut size = list(&mut self.best).len();
        while size > 0 {
            let mut at = 0;
            while at < list(&mut self.best).len() {
                let cut = self.with(|p| {
                    let list = list(p);
                    list.drain(at..(at + size).min(list.len()));
                });
                if !cut {
                    at += size;
                }
            }
            size /= 2;
        }
    }

    /// A client's place is its link's and its faults' number, so those move with it.
    fn cut_clients(&mut self) {
        let mut at = self.best.clients.len();
        while at > 0 {
            at -= 1;
            if self.best.clients.len() > 1 {
                self.with(|p| remove_client(p, at as u16));
            }
        }
    }

    fn simplify(&mut self) {
        self.with(|p| p.net.splits = 0);
        self.with(|p| p.net.spikes = 0);
        self.with(|p| p.net.bandwidth = 0);
        self.with(|p| p.net.jitter = 1000);
        self.with(|p| p.disk.slow = 0);
        self.with(|p| p.disk.merge = false);
        self.with(|p| p.shadows = 0);
        self.with(|p| p.shadows = 1024);
        self.with(|p| p.separate_log_dir = false);
        self.with(|p| p.clocks.iter_mut().for_each(|c| (c.ppm, c.skew_ms) = (0, 0)));
        self.with(|p| p.clocks.iter_mut().for_each(|c| c.restarts = false));
        self.with(|p| p.config.log_size_limit = 0);
        self.with(|p| p.config.snap_size_limit = 4 << 30);
        self.with(|p| p.config.snap_count = 100_000);
        self.with(|p| p.config.global_outstanding_limit = 1000);
        self.with(|p| p.config.super_digest = None);
        self.with(|p| p.config.digest_enabled = true);
        self.with(|p| p.config.purge_interval_h = 0);
        self.with(|p| p.config.max_client_cnxns = 0);
        self.with(|p| p.clients.iter_mut().for_each(|c| c.auth.clear()));
        self.with(|p| p.left = Left::default());
        self.simplify_ensemble();
        for f in 0..self.best.faults.len() {
            self.with(|p| p.faults[f].upon = None);
            self.with(|p| {
                if let What::Crash { moment, .. } = &mut p.faults[f].what {
                    *moment = Moment::Now;
                }
            });
            self.with(|p| {
                if let What::Crash { power, .. } = &mut p.faults[f].what {
                    *power = false;
                }
            });
        }
        self.end_early();
        self.begin_early();
    }

    fn simplify_ensemble(&mut self) {
        let mut with = |change: fn(&mut EnsembleConfig)| {
            self.with(|p| {
                if let Some(e) = &mut p.config.ensemble {
                    change(e);
                }
            })
        };
        with(|e| e.election = ElectionTimes::default());
        with(|e| e.commit_log_bytes = 16 << 20);
        with(|e| e.commit_log_count = 10_000);
        with(|e| e.held_back_count = 10_000);
        with(|e| e.last_counter = u32::MAX - 1);
        let all = (0..self.best.clocks.len() as u8).collect::<Vec<_>>();
        self.with(|p| p.clients.iter_mut().for_each(|c| c.servers.clone_from(&all)));
    }

    /// What happens first happens soon.
    fn begin_early(&mut self) {
        let ops = self.best.clients.iter().flat_map(|c| c.ops.iter().map(|o| o.at));
        let others = self.best.faults.iter().map(|f| f.at).chain(self.best.raws.iter().map(|r| r.at));
        let first = ops.chain(others).min().unwrap_or(0);
        for lead in [500_000_000, 3_000_000_000] {
            let Some(shift) = first.checked_sub(lead) else { continue };
            let earlier = self.with(|p| {
                p.clients.iter_mut().flat_map(|c| &mut c.ops).for_each(|o| o.at -= shift);
                p.faults.iter_mut().for_each(|f| f.at -= shift);
                p.raws.iter_mut().for_each(|r| r.at -= shift);
                p.heal_at -= shift;
            });
            if earlier {
                return;
            }
        }
    }

    /// A run that heals earlier is a shorter story.
    fn end_early(&mut self) {
        let ops = self.best.clients.iter().flat_map(|c| c.ops.iter().map(|o| o.at));
        let last = ops.chain(self.best.faults.iter().map(|f| f.at)).max().unwrap_or(0);
        for extra in [10_000_000, 1_000_000_000] {
            if last + extra < self.best.heal_at && self.with(|p| p.heal_at = last + extra) {
                return;
            }
        }
    }
}

fn remove_client(plan: &mut Scenario, at: u16) {
    plan.clients.remove(at as usize);
    plan.faults.retain_mut(|f| match &mut f.what {
        What::Reset { link } | What::Stall { link, .. } | What::Slow { link, .. } => keep(link, at),
        What::ClientCrash { client, .. } | What::ClientFreeze { client, .. } => keep(client, at),
        What::Crash { .. }
        | What::Stop { .. }
        | What::Refuse { .. }
        | What::DiskStall { .. }
        | What::DiskError { .. }
        | What::DiskFull { .. }
        | What::DiskLies { .. }
        | What::ReadError { .. }
        | What::WallJump { .. }
        | What::Freeze { .. }
        | What::Partition { .. }
        | What::Isolate { .. }
        | What::SlowPath { .. }
        | What::Sever { .. }
        | What::Blackout { .. }
        | What::Wipe { .. }
        | What::Rot { .. } => true,
    });
}

fn keep(number: &mut u16, cut: u16) -> bool {
    let stays = *number != cut;
    if *number > cut {
        *number -= 1;
    }
    stays
}
