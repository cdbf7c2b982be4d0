//! The world: virtual time, servers with disks and clocks, clients with programs, the network between them. Event-driven:
//! idle time costs nothing. It tells what happens to a history and judges nothing itself.

mod client;
mod faults;
mod links;
mod members;
mod news;
mod phases;
mod promises;
mod raws;
mod server;

use crate::check::wgl::{self, Verdict};
use crate::check::{Checker, Ensemble, Judges, Limits, Rule};
use crate::clock::Clock;
use crate::disk::Lanes;
use crate::history::History;
use crate::nemesis::What;
use crate::net::Wire;
use crate::outcome::{Coverage, Hit, Outcome};
use crate::queue::{Due, Paused, Queue};
use crate::random::{Purpose, Stream};
use crate::scenario::Scenario;
use crate::trace;
use client::Actor;
use faults::DiskTrouble;
use links::Flow;
use members::Membership;
use phases::Stage;
use raws::RawActor;
use server::Node;
use zebu_core::boundary::Output;
use zebu_core::client::ClientOutput;
use zebu_core::id::SessionId;
use zebu_core::record::Digest;
use zebu_core::time::{Span, Time};

/// A world. Its allocations serve one run after the other.
#[derive(Default, Debug)]
pub struct World {
    plan: Scenario,
    now: u64,
    stage: Stage,
    queue: Queue,
    hash: Digest,
    events: u64,
    history: History,
    coverage: Coverage,
    nodes: Vec<Node>,
    troubles: Vec<DiskTrouble>,
    actors: Vec<Actor>,
    raws: Vec<RawActor>,
    /// So many hosts there are: servers, clients, raw connections.
    hosts: usize,
    /// By host that sends, then by host that receives.
    flows: Vec<Flow>,
    wires: Vec<Wire>,
    membership: Membership,
    /// Faults that wait for their news.
    awaiting: Vec<u16>,
    /// The highest zxid that anyone may have been told of.
    committed: i64,
    /// When the run was healed.
    healed_at: Option<u64>,
    /// Leaders that began to serve since.
    elections_since: u32,
    /// How long after that the leader began to serve that everyone came to follow, ms.
    leader_after: Option<u32>,
    /// The run is healed, and the ensemble's own links and disks are at their best.
    is_calm: bool,
    /// Servers that sessions were attached to last.
    homes: Vec<(SessionId, u8)>,
    /// Bytes under way of connections that are closed.
    late: Vec<links::Late>,
    /// Tell of every event on standard output.
    loud: bool,
    server_out: Vec<Output>,
    client_out: Vec<ClientOutput>,
    scratch: Vec<u8>,
    checker: Checker,
    judges: Judges,
}

/// Lanes of a server's disk for this start of its process.
fn lanes(plan: &Scenario, server: usize, incarnation: u32) -> Lanes {
    let stream = |lane: u64| {
        Stream::new(plan.seed, Purpose::Disk, (server as u64) << 1 | lane, u64::from(incarnation))
    };
    Lanes::new(plan.disk, [stream(0), stream(1)])
}

impl World {
    /// A world that has not run yet.
    pub fn new() -> World {
        World::default()
    }

    /// One whose runs are judged by these rules.
    pub fn judged_by(judges: Judges) -> World {
        World { judges, ..World::default() }
    }

    /// The rules that its runs are judged by.
    pub fn judges(&self) -> Judges {
        self.judges
    }

    /// Runs a scenario from its begin to its end and judges it. The outcome depends on the scenario alone.
    pub fn run(&mut self, plan: Scenario, loud: bool) -> Outcome {
        self.reset(plan, loud);
        if loud {
            trace::print_shape(&self.plan);
        }
        while self.stage != Stage::Over {
            let Some((at, due)) = self.queue.pop() else { break };
            assert!(at >= self.now, "time went back");
            self.now = at;
            self.events += 1;
            self.hash.word(at);
            let told = self.history.entries.len();
            if self.loud {
                trace::print_due(at, due, |s| self.server_id(s as usize));
            }
            self.happen(due);
            if self.loud {
                trace::print_news(&self.history, told);
            }
        }
        self.judge()
    }

    fn reset(&mut self, plan: Scenario, loud: bool) {
        self.loud = loud;
        self.now = 0;
        self.stage = Stage::Faults;
        self.queue.reset();
        self.hash = Digest::default();
        self.events = 0;
        self.history.clear();
        self.coverage = Coverage::default();
        self.committed = 0;
        self.is_calm = false;
        self.healed_at = None;
        self.elections_since = 0;
        self.leader_after = None;
        self.awaiting.clear();
        self.homes.clear();
        self.late.clear();
        self.wires.clear();
        self.nodes.truncate(plan.clocks.len());
        for (s, clock) in plan.clocks.iter().enumerate() {
            let clock = Clock::new(0, Time(0), clock.ppm, clock.skew_ms);
            let mut disk = self.nodes.get_mut(s).map(|n| std::mem::take(&mut n.disk)).unwrap_or_default();
            disk.reset(plan.separate_log_dir);
            disk.guarded = plan.config.ensemble.is_some();
            let node = Node::new(plan.config_of(s as u8), lanes(&plan, s, 0), clock, disk);
            match self.nodes.get_mut(s) {
                Some(slot) => *slot = node,
                None => self.nodes.push(node),
            }
        }
        self.hosts = plan.clocks.len() + plan.clients.len() + plan.raws.len();
        refill(&mut self.flows, self.hosts * self.hosts);
        refill(&mut self.troubles, plan.clocks.len());
        refill(&mut self.actors, plan.clients.len());
        refill(&mut self.raws, plan.raws.len());
        self.schedule(&plan);
        self.membership.reset(Ensemble::of(&plan.config));
        self.plan = plan;
        self.note_shape();
    }

    fn schedule(&mut self, plan: &Scenario) {
        for s in 0..plan.clocks.len() as u8 {
            let spare = (s as usize).checked_sub(plan.clocks.len() - plan.spares.len());
            let from = spare.map_or(0, |n| plan.spares[n].from);
            if from < plan.heal_at {
                self.queue.push(from, Due::Start { server: s });
            }
        }
        for (c, program) in plan.clients.iter().enumerate() {
            let client = c as u16;
            self.queue.push(1_000_000, Due::Reopen { client });
            if let Some(op) = program.ops.first() {
                self.queue.push(op.at.max(1_000_000), Due::Act { client });
            }
        }
        for (raw, p) in plan.raws.iter().enumerate() {
            self.queue.push(p.at, Due::Raw { raw: raw as u16 });
        }
        for (index, fault) in plan.faults.iter().enumerate() {
            if fault.at < plan.heal_at {
                self.queue.push(fault.at, Due::Fault { index: index as u16, teller: None });
            }
        }
        self.queue.push(plan.heal_at, Due::Phase);
    }

    fn happen(&mut self, due: Due) {
        if let Some(until) = self.frozen(due) {
            return self.queue.push(until, due);
        }
        match due {
            Due::ServerWake { server } => self.wake_server(server as usize),
            Due::ClientWake { client } => {
                self.wake_client(client);
                self.bury_handle(client);
            }
            Due::Act { client } => {
                self.act(client);
                self.bury_handle(client);
            }
            Due::Reopen { client } => {
                self.open_handle(client);
                self.bury_handle(client);
            }
            Due::Dial { wire } => self.dial_arrives(wire),
            Due::Accept { wire } => self.accept(wire),
            Due::Dialed { wire } => self.dialed(wire),
            Due::Up { wire } => self.arrive_up(wire),
            Due::Down { wire } => self.arrive_down(wire),
            Due::Late { index } => self.late(index),
            Due::Disk { server, lane } => self.disk_done(server as usize, lane),
            Due::Read { server, read } => self.read_done(server as usize, read),
            Due::Fault { index, teller } => self.fault(index, teller),
            Due::Die { server, fault } => self.die_armed(server as usize, fault),
            Due::Start { server } => self.start_server(server as usize),
            Due::Resume { who: Paused::Server(server) } => self.wake_server(server as usize),
            Due::Resume { who: Paused::Client(client) } => self.wake_client(client),
            Due::Raw { raw } => self.raw_move(raw),
            Due::Phase => self.phase(),
        }
    }

    /// Until when the one whom this concerns does nothing.
    fn frozen(&self, due: Due) -> Option<u64> {
        let until = match due {
            Due::ServerWake { server } | Due::Disk { server, .. } | Due::Read { server, .. } => {
                self.nodes[server as usize].frozen_until
            }
            Due::ClientWake { client } | Due::Act { client } | Due::Reopen { client } => {
                self.actors[client as usize].frozen_until
            }
            // The network decides for itself; crashes and starts spare no one.
            Due::Dial { .. }
            | Due::Accept { .. }
            | Due::Dialed { .. }
            | Due::Up { .. }
            | Due::Down { .. }
            | Due::Late { .. }
            | Due::Fault { .. }
            | Due::Die { .. }
            | Due::Start { .. }
            | Due::Resume { .. }
            | Due::Raw { .. }
            | Due::Phase => 0,
        };
        (until > self.now).then_some(until)
    }

    fn judge(&mut self) -> Outcome {
        let limits = self.limits();
        self.coverage.hits(Hit::ReconfigDied, self.membership.died());
        let mut violations = match self.judges {
            Judges::All => self.checker.run(&self.history, &limits),
            Judges::Clients => self.checker.run_for_clients(&self.history, &limits),
        }
        .to_vec();
        let mut looks = self.checker.looks().clone();
        if self.plan.seed.is_multiple_of(SEARCH_EVERY) {
            looks.rules[Rule::C1Search as usize] += 1;
            self.coverage.hit(Hit::Searched);
            match wgl::search(&self.history, self.plan.config.ensemble.is_none(), SEARCH_STEPS) {
                Verdict::Linearizable => {}
                Verdict::Undecided(_) => self.coverage.hit(Hit::Undecided),
                Verdict::Violation(v) => violations.push(v),
            }
        }
        // What clients would have seen of what the other rules found.
        let clients = (self.judges == Judges::All && !violations.is_empty())
            .then(|| self.checker.run_for_clients(&self.history, &limits).first().cloned())
            .flatten()
            .or_else(|| violations.iter().find(|v| v.rule == Rule::C1Search).cloned());
        Outcome {
            clients,
            hash: self.hash.value(),
            events: self.events,
            time: self.now,
            coverage: self.coverage.clone(),
            looks,
            leader_after: self.leader_after,
            elections_since: self.elections_since,
            violations,
            panic: None,
        }
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits::of(self.plan.config.clone());
        let held: u64 = self
            .plan
            .faults
            .iter()
            .map(|f| match f.what {
                What::Freeze { time, .. } | What::DiskStall { time, .. } => time,
                _ => 0,
            })
            .sum();
        // Raw connections keep their sessions alive unnoticed.
        let raw = self.plan.raws.iter().map(|r| r.moves.iter().map(|(after, _)| after).sum()).max();
        limits.expiry_slack = Span(limits.expiry_slack.0 + held + raw.unwrap_or(0));
        if let Some(ensemble) = &limits.config.ensemble {
            let slow = self.plan.faults.iter().map(|f| match f.what {
                What::Slow { extra, .. } | What::SlowPath { extra, .. } => extra,
                _ => 0,
            });
            let hops = if ensemble.observer_master_port.is_some() { 2 } else { 1 };
            let hop = hops * (self.plan.net.delay + 64 * self.plan.net.jitter + slow.sum::<u64>());
            limits.touch_lag = Span(limits.touch_lag.0 + held + 2 * hop);
            limits.staleness = limits.staleness.map(|s| Span(s.0 + held + 2 * hop));
        }
        limits
    }

    /// What happened in the last run.
    pub fn history(&self) -> &History {
        &self.history
    }
}

/// One seed in so many is searched for a linear order of its answers, in so many steps a part.
const SEARCH_EVERY: u64 = 16;
const SEARCH_STEPS: usize = 20_000;

/// So many fresh ones in place of what was there.
fn refill<T: Default>(list: &mut Vec<T>, len: usize) {
    list.clear();
    list.resize_with(len, T::default);
}
