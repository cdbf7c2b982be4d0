//! The checkers: what a run's history must and must not show. They share nothing with the core but its records; the model of
//! ZooKeeper's state is their own. One pass over the entries, in order; every rule is a small state machine or a question to
//! the model, which knows every past state.
//!
//! | file | rules |
//! |---|---|
//! | `model`, `txn`, `paths`, `rights` | the state after every committed transaction |
//! | `demand`, `members`, `replies` | C2, C4, N1, M1: what a write must do, what a reply must say |
//! | `linear` | C1, C3, C5, C6, X1, F1: order |
//! | `watches` | W1–W3 |
//! | `sessions` | E1, E2, S1, S2, S4 |
//! | `durable` | D1, D3, D4, T1, T2, Z2, Z3, Z4, F1 of a standalone server |
//! | `ensemble`, `lines` | which servers are quorums; histories as a tree |
//! | `peers`, `reigns`, `logs` | Z1–Z6, D4, T1 of an ensemble |
//! | `ending` | L4, F1 of an ensemble |
//! | `images` | D1, D2, D3, T2 of an ensemble |
//! | `live` | L1–L3, L5 |
//! | `talk` | P1 |
//! | `reaped` | G1 |
//! | `clients` | the rules of clients alone, held against the history in the end |
//! | `wgl` | C1': linearizability by search, without zxids |

mod clients;
mod demand;
mod durable;
mod ending;
mod ensemble;
mod images;
mod linear;
mod lines;
mod live;
mod logs;
mod members;
mod model;
mod paths;
mod peers;
mod reaped;
mod reigns;
mod replies;
mod rights;
mod sessions;
mod talk;
#[cfg(test)]
mod tests;
mod txn;
mod watches;
pub mod wgl;

pub use ensemble::{Ensemble, Member};

use crate::history::{Entry, History, Phase, SET_WATCHES};
use model::{Model, Place};
use std::fmt;
use zebu_core::boundary::Event;
use zebu_core::config::Config;
use zebu_core::id::{ServerId, Zxid};
use zebu_core::time::{Span, Time};

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// A guarantee, by its name in the list of rules.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(usize)]
        pub enum Rule { $($(#[$doc])* $name,)* }
        impl Rule {
            /// All of them, in order.
            pub const ALL: &[Rule] = &[$(Rule::$name,)*];
        }
    };
}

rules! {
    /// Writes are linearizable: their zxids are distinct and respect real time; each transaction is one call's.
    C1;
    /// The same by search, without looking at zxids: C1'.
    C1Search;
    /// Every reply and every transaction is what the state demands.
    C2;
    /// A session's replies come in order and never show an older state; its writes take effect in order.
    C3;
    /// Reads show committed states only.
    C4;
    /// A read after sync shows all that was returned before the sync.
    C5;
    /// Reads are not staler than the bound.
    C6;
    /// Each reply is its own call's.
    X1;
    /// What was acknowledged is there in the end.
    F1;
    /// A watch event comes before the reply that shows its cause.
    W1;
    /// At most one event a watch, and only for a cause.
    W2;
    /// No watch event is lost.
    W3;
    /// Ephemerals live exactly as long as their sessions.
    E1;
    /// Sessions expire when their time is up, not earlier, not much later.
    E2;
    /// Servers delete containers and TTL nodes when their time is up, not earlier, not much later.
    G1;
    /// Nothing of a session comes after its close.
    S1;
    /// Owners of ephemerals are open sessions.
    S2;
    /// Once a session has moved, nothing of its old connection takes effect.
    S3;
    /// A session keeps its identity.
    S4;
    /// Sequence numbers are the parent's creation counter.
    N1;
    /// A multi happens whole or not at all.
    M1;
    /// The tree's digest is the model's after every transaction.
    T1;
    /// What recovery reads is what was in memory.
    T2;
    /// Nothing is promised before it is durable.
    D1;
    /// Epochs are durable before they are told, never go back, and stand for the history that they begin with.
    D2;
    /// Recovery of any disk image starts and keeps all promises.
    D3;
    /// The log has no gap.
    D4;
    /// One leader an epoch.
    Z1;
    /// One payload per zxid.
    Z2;
    /// What a serving server applies is the committed sequence.
    Z3;
    /// Zxids go up by one within an epoch.
    Z4;
    /// A leader has all that was committed before its epoch.
    Z5;
    /// What is committed, and what an epoch begins with, is held by a quorum.
    Z6;
    /// Servers make sense to each other.
    P1;
    /// There is a leader in time.
    L1;
    /// A well connected quorum serves its clients, whatever becomes of the others.
    L2;
    /// Every call returns in time.
    L3;
    /// In the end every server serves the same state.
    L4;
    /// Every restart succeeds in time.
    L5;
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::C1Search => f.write_str("C1'"),
            other => fmt::Debug::fmt(other, f),
        }
    }
}

/// Which rules a run is judged by.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Judges {
    /// All of them.
    #[default]
    All,
    /// Those that need no look into servers: [`Checker::run_for_clients`].
    Clients,
}

/// A broken rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// When it came to light.
    pub at: Time,
    /// What happened.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.at.0 / 1_000_000;
        write!(f, "{} at {}.{:03} s: {}", self.rule, ms / 1000, ms % 1000, self.text)
    }
}

/// What the checkers must know of the run beside its history.
#[derive(Clone, PartialEq, Debug)]
pub struct Limits {
    /// The servers' settings.
    pub config: Config,
    /// Who votes on what is committed.
    pub ensemble: Ensemble,
    /// How stale a read may be in real time: 0 for a single server; `None`: not checked.
    pub staleness: Option<Span>,
    /// Syncs are answered only by leaders that are none other's past. Java's may not know it yet, which is counted and excused.
    pub strict_sync: bool,
    /// How long a session's sign of life may be under way from a learner to its leader: the time to the next ping, and what
    /// links and pauses of processes of this run may add to it.
    pub touch_lag: Span,
    /// So long after the last fault, or after enough servers are well, there is a leader and every server serves.
    pub leader: Span,
    /// At most so many epochs begin after the last fault.
    pub elections: usize,
    /// What was committed so long ago has reached every server, without any fault.
    pub catch_up: Span,
    /// Clocks of clients run at most so many millionths off.
    pub client_ppm: u32,
    /// How late a session's expiry may be beyond timeout and ticks: pauses of the process, queues, one commit.
    pub expiry_slack: Span,
    /// Every call returns so long after the last fault, or after it was made.
    pub reply: Span,
    /// Every restart serves after so long.
    pub restart: Span,
}

impl Limits {
    /// Bounds for servers with these settings: generous ones, for links and processes without long pauses; a caller with a
    /// measured worst case sets its own.
    pub fn of(config: Config) -> Limits {
        let longest = Span::from_millis(config.max_session_timeout_ms.max(0) as u64);
        let ticks = |n: u64| Span::from_millis(n.saturating_mul(config.tick_ms));
        let slack = Span::from_millis(10_000);
        let (staleness, touch_lag, leader) = match &config.ensemble {
            None => (Span::ZERO, Span::ZERO, Span::ZERO),
            Some(e) => {
                let (init, sync) = (ticks(e.init_limit).0, ticks(e.sync_limit).0);
                let votes = Span::from_millis(e.election.max_notification_ms + e.election.finalize_wait_ms).0;
                // A learner that hears nothing, or a leader without a quorum, stops serving. An observer may learn from a follower.
                let hops = if e.observer_master_port.is_some() { 2 } else { 1 };
                let stale = Span(hops * (sync + ticks(3).0));
                (stale, stale, Span(3 * sync + votes + 4 * init + slack.0))
            }
        };
        Limits {
            ensemble: Ensemble::of(&config),
            staleness: Some(staleness),
            strict_sync: true,
            touch_lag,
            leader,
            elections: 5,
            catch_up: Span::from_millis(2_000),
            client_ppm: 100_000,
            expiry_slack: slack,
            reply: Span(longest.0 * 2 + leader.0 + Span::from_millis(60_000).0),
            restart: Span(leader.0 + Span::from_millis(60_000).0),
            config,
        }
    }
}

/// Where a rule looks: the run, its bounds, the time of the entry at hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cx<'a> {
    h: &'a History,
    limits: &'a Limits,
    at: Time,
}

/// Violations of one rule beyond this many are not kept: one is enough to fail a run, a few help to understand it.
const MOST: usize = 4;

/// How often each rule had something to judge; one that never had, has not been tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Looks {
    /// By rule.
    pub rules: [u64; Rule::ALL.len()],
    /// Answers to sync that missed a write and were excused: their leader had been superseded and did not know it yet.
    pub excused_syncs: u64,
}

impl Default for Looks {
    fn default() -> Looks {
        Looks { rules: [0; Rule::ALL.len()], excused_syncs: 0 }
    }
}

impl Looks {
    /// How often this one.
    pub fn of(&self, rule: Rule) -> u64 {
        self.rules[rule as usize]
    }
    /// Adds another run's.
    pub fn add(&mut self, other: &Looks) {
        self.rules.iter_mut().zip(other.rules).for_each(|(a, b)| *a += b);
        self.excused_syncs += other.excused_syncs;
    }
    /// Names and counts.
    pub fn iter(&self) -> impl Iterator<Item = (String, u64)> {
        let rules = Rule::ALL.iter().map(|r| (r.to_string(), self.of(*r)));
        rules.chain([("excused_syncs".to_owned(), self.excused_syncs)])
    }
}

/// Where rules report to.
#[derive(Debug, Default)]
pub(crate) struct Found {
    list: Vec<Violation>,
    looks: Looks,
}

impl Found {
    fn clear(&mut self) {
        self.list.clear();
        self.looks = Looks::default();
    }

    fn add(&mut self, rule: Rule, at: Time, text: impl FnOnce() -> String) {
        if self.list.iter().filter(|v| v.rule == rule).count() < MOST {
            self.list.push(Violation { rule, at, text: text() });
        }
    }

    /// This rule judges something.
    fn look(&mut self, rule: Rule) {
        self.looks.rules[rule as usize] += 1;
    }
}

/// All rules' state; one value serves many runs and keeps its allocations.
#[derive(Debug, Default)]
pub struct Checker {
    found: Found,
    model: Model,
    order: linear::Order,
    watches: watches::Watches,
    sessions: sessions::Sessions,
    servers: Servers,
    live: live::Live,
    /// What servers promise is not judged.
    for_clients: bool,
}

/// The rules of servers: of the one, or of an ensemble's.
#[derive(Debug, Default)]
struct Servers {
    disks: durable::Disks,
    peers: peers::Peers,
}

impl Servers {
    fn clear(&mut self) {
        self.disks.clear();
        self.peers.clear();
    }

    fn void(&self) -> bool {
        self.disks.void() || self.peers.void()
    }

    fn forgiven(&self) -> bool {
        self.disks.forgiven()
    }
}

impl Checker {
    /// A checker for any number of runs.
    pub fn new() -> Checker {
        Checker::default()
    }

    /// Judges a whole run.
    pub fn run(&mut self, h: &History, limits: &Limits) -> &[Violation] {
        self.begin();
        for number in 0..h.entries.len() {
            self.on(h, limits, number);
        }
        self.finish(h, limits)
    }

    /// Forgets the last run.
    pub fn begin(&mut self) {
        self.found.clear();
        self.model.clear(Zxid::ZERO);
        self.order.clear();
        self.watches.clear();
        self.sessions.clear();
        self.servers.clear();
        self.live.clear();
    }

    /// What has been found so far.
    pub fn found(&self) -> &[Violation] {
        &self.found.list
    }

    /// How often each rule had something to judge so far.
    pub fn looks(&self) -> &Looks {
        &self.found.looks
    }

    /// Takes in the entry of this number; for a run that stops at the first violation.
    pub fn on(&mut self, h: &History, limits: &Limits, number: usize) {
        let (at, entry) = &h.entries[number];
        let (cx, at) = (Cx { h, limits, at: *at }, *at);
        if number == 0
            && let Some(ensemble) = &limits.config.ensemble
        {
            self.model.begin_ensemble(ensemble);
        }
        let members = self.servers.peers.in_force(cx);
        self.live.on(cx, (&self.order, members), entry, self.servers.forgiven(), &mut self.found);
        match entry {
            Entry::Server { server, incarnation, event } => {
                self.server(cx, (*server, *incarnation, event), number as u32);
            }
            Entry::Open { .. }
            | Entry::Invoke { .. }
            | Entry::Return { .. }
            | Entry::Notify { .. }
            | Entry::State { .. }
            | Entry::Misread { .. }
            | Entry::Gone { .. } => self.client(cx, entry),
            Entry::Taken { server, conn, sure } => {
                if limits.config.ensemble.is_some() {
                    self.order.taken(at, *conn);
                }
                self.sessions.taken(cx, *server, *conn, *sure);
            }
            Entry::Stranger { conn } => self.sessions.stranger(*conn),
            Entry::Clock { server, mono, wall, ppm } => {
                self.sessions.clock(at, *server, (*mono, *wall, *ppm));
            }
            Entry::Crash { server, .. } => {
                self.sessions.crash(cx, *server);
                match &limits.config.ensemble {
                    None => self.servers.disks.crash(*server),
                    Some(_) => self.servers.peers.crash(*server),
                }
            }
            Entry::Image { .. }
            | Entry::DiskLied { .. }
            | Entry::Wiped { .. }
            | Entry::Restart { .. }
            | Entry::Recovered { .. }
            | Entry::Refused { .. }
            | Entry::Shadow { .. } => match &limits.config.ensemble {
                None => self.servers.disks.disk(cx, &self.model, entry, &mut self.found),
                Some(_) => self.servers.peers.disk(cx, &self.model, entry, &mut self.found),
            },
            Entry::Phase(Phase::Healed) => self.servers.peers.heal(at),
            Entry::Whole { servers } => self.servers.peers.whole(*servers),
            Entry::Replica { server, replica } => self.servers.peers.replica(*server, *replica),
            Entry::Phase(Phase::Probe | Phase::End) => {}
        }
    }

    fn server(&mut self, cx: Cx<'_>, (server, incarnation, event): (ServerId, u32, &Event), number: u32) {
        let solo = cx.limits.config.ensemble.is_none();
        let (found, model) = (&mut self.found, &mut self.model);
        match event {
            Event::Replied { session, op, .. } if SET_WATCHES.contains(op) => {
                let met = match solo {
                    true => self.servers.disks.applied(model, server),
                    false => self.servers.peers.applied(server),
                };
                self.order.watches_set(met, &mut self.watches, server, *session);
            }
            Event::SessionAttached { session, conn, .. } => {
                let epoch = self.servers.peers.peer(server).and_then(|p| p.serves);
                self.order.attached(cx.at, (server, epoch), *session, *conn);
            }
            _ => {}
        }
        if solo {
            self.servers.disks.event(cx, model, (server, event, number), found);
        } else {
            let place = Place::Entry(number);
            self.servers.peers.event(cx, model, (server, incarnation, event, place), found);
        }
        if !self.servers.void() {
            talk::event(cx, server, event, found);
            let leader = match event {
                Event::Activated { epoch } => self.servers.peers.leader_of(*epoch),
                _ => None,
            };
            self.sessions.event(cx, model, (server, event, leader), found);
        }
    }

    fn client(&mut self, cx: Cx<'_>, entry: &Entry) {
        let Cx { h, limits, at } = cx;
        let void = self.servers.void();
        let (found, model) = (&mut self.found, &mut self.model);
        match entry {
            Entry::Open { who } => {
                self.watches.open();
                self.order.open(cx, *who);
            }
            Entry::Invoke { who, call } => {
                self.order.invoke(cx, model, self.servers.peers.newest(), *who, *call);
            }
            Entry::Return { who, call, conn, zxid, result } if !void => {
                let result = &h.results[result.0 as usize];
                if conn.is_some() && self.for_clients {
                    // Whatever disks hold.
                } else if conn.is_some() && limits.config.ensemble.is_none() {
                    self.servers.disks.shown(cx, *zxid, found);
                } else if conn.is_some() {
                    self.servers.peers.shown(cx, model, *zxid, found);
                }
                let reply = linear::Reply { who: *who, call: *call, conn: *conn, zxid: *zxid, result };
                self.order.ret(cx, model, &mut self.watches, &reply, found);
            }
            Entry::Notify { who, zxid, kind, path, .. } if !void => {
                let path = &h.paths[path.0 as usize];
                let sight = self.order.sight(*who, limits);
                let event = (*zxid, *kind, path.as_str());
                self.watches.event(model, *who, event, &sight, at, found);
                self.order.heard(*who, at);
            }
            Entry::State { who, state } if !void => {
                self.sessions.state(cx, model, &self.order, *who, *state, found);
                self.order.state(model, &mut self.watches, at, *who, *state, found);
            }
            Entry::Misread { who, cause } => {
                found.add(Rule::X1, at, || format!("{who:?} gives its connection up: {cause}"));
            }
            Entry::Gone { who } => {
                self.order.gone(*who);
                self.watches.ended(model, *who, at, found);
            }
            _ => {}
        }
    }

    /// Judges what only the end can tell.
    pub fn finish(&mut self, h: &History, limits: &Limits) -> &[Violation] {
        let at = h.entries.last().map_or(Time(0), |(at, _)| *at);
        let (cx, found) = (Cx { h, limits, at }, &mut self.found);
        let members = self.servers.peers.in_force(cx);
        self.live.finish(cx, (&self.order, members), self.servers.forgiven(), found);
        if !self.servers.void() {
            match &limits.config.ensemble {
                None => self.servers.disks.finish(cx, found),
                Some(_) => self.servers.peers.finish(cx, &self.model, found),
            }
            self.watches.finish(&self.model, at, found);
            self.order.finish(cx, &mut self.model, found);
            self.sessions.finish(cx, &self.model, found);
            reaped::finish(cx, &self.model, self.sessions.leads(at), found);
        }
        &self.found.list
    }
}
