//! Scenarios: everything that decides a run, as one plain value. A seed is a name for one; shrinking cuts one; a file on disk
//! holds one.

use crate::disk::Latency;
use crate::nemesis::{self, Fault, Stage};
use crate::net::LinkProfile;
use crate::operator;
use crate::random::{Purpose, Stream};
use crate::raw::{self, RawPlan};
use crate::shape;
use crate::workload::{self, ClientPlan, Mix};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zebu_core::auth;
use zebu_core::config::{Config, FourLetterWords};
use zebu_core::id::ServerId;
use zebu_core::quorum::QuorumVerifier;

/// Everything that decides a run.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Scenario {
    /// Names the streams of random numbers.
    pub seed: u64,
    /// Settings of the servers. In an ensemble the first is server 1, the second server 2, and so on.
    pub config: Config,
    /// dataLogDir is a folder of its own.
    pub separate_log_dir: bool,
    /// Servers beyond the members, with the numbers behind theirs.
    pub spares: Vec<Spare>,
    /// The servers' clocks, one each: so many servers there are.
    pub clocks: Vec<ClockPlan>,
    /// The network at its best.
    pub net: LinkProfile,
    /// The disks at their best.
    pub disk: Latency,
    /// Of 1024 moments that ask for a shadow recovery, how many get one.
    pub shadows: u32,
    /// Client programs.
    pub clients: Vec<ClientPlan>,
    /// Raw connections.
    pub raws: Vec<RawPlan>,
    /// Faults, in order of time.
    pub faults: Vec<Fault>,
    /// No fault lasts beyond this true time, ns: the run heals.
    pub heal_at: u64,
    /// Who is not healed then.
    pub left: Left,
    /// Servers without an observerMasterPort though the settings have one, as bits.
    pub no_masters: u16,
}

/// A server that is no member at first. Its settings list the members of that time, and itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Spare {
    /// When it starts, true time, ns.
    pub from: u64,
    /// By its own settings it is no observer.
    pub votes: bool,
}

/// Servers of an ensemble that the healing passes by; the others are a quorum.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Left {
    /// Which, as bits.
    pub servers: u16,
    /// What has become of them.
    #[serde(default)]
    pub how: LeftHow,
}

/// What becomes of servers that are not healed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub enum LeftHow {
    /// They are dead.
    #[default]
    Dead,
    /// They run, and nothing gets to them or from them.
    Apart,
    /// They run and are heard, and nothing gets to them.
    Deaf,
    /// They run and hear, and nothing gets from them.
    Mute,
}

/// How a server's clocks are wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClockPlan {
    /// Rate: millionths too fast.
    pub ppm: i32,
    /// Wall clock at the begin, ms ahead.
    pub skew_ms: i64,
    /// The monotonic clock starts from 0 with each process, else with each boot only.
    pub restarts: bool,
}

/// Everyone's password in the digest scheme.
pub const USERS: [&str; 3] = ["ann:1", "bob:2", "cid:3"];
/// The super user's.
pub const SUPER: &str = "super:boss";

impl Scenario {
    /// The scenario that this seed names.
    pub fn from_seed(seed: u64) -> Scenario {
        match shape::members(seed) {
            None => Scenario::standalone(seed),
            Some(members) => Scenario::ensemble(seed, members),
        }
    }

    /// One server.
    fn standalone(seed: u64) -> Scenario {
        let mut r = Stream::new(seed, Purpose::Shape, 0, 0);
        let mut config = config(&mut r);
        pieces(&mut config, seed);
        reaper(&mut config, seed);
        let until = r.log_uniform(4, 40) * 1_000_000_000;
        let clients = r.pick(&[1, 2, 2, 3, 3, 4, 5, 6]);
        let net = net(&mut r);
        let disk = disk(&mut r);
        let clocks = vec![clock(&mut r)];
        let separate_log_dir = r.chance(300);
        let shadows = r.pick(&[0, 50, 1024]);
        let frame =
            Scenario { seed, config, separate_log_dir, clocks, net, disk, shadows, ..Scenario::default() };
        let patience = frame.config.tick_ms * 1_000_000;
        frame.filled(until, clients, patience, 0)
    }

    /// The members of an ensemble.
    fn ensemble(seed: u64, members: QuorumVerifier) -> Scenario {
        let mut r = Stream::new(seed, Purpose::Shape, 0, 0);
        let config = config(&mut r);
        let mut r = Stream::new(seed, Purpose::Shape, 1, 0);
        let spares = operator::spares(seed, &members);
        let servers = members.members().count() + spares.as_ref().map_or(0, Vec::len);
        let mut config = shape::settings(config, members, &mut r);
        pieces(&mut config, seed);
        reaper(&mut config, seed);
        let e = config.ensemble.as_mut().expect("just made");
        shape::synchronisation(e, seed);
        let no_masters = shape::masters(seed, e);
        // What servers wait for each other bounds how slow links and disks may be at their best.
        let patience = e.sync_limit * config.tick_ms * 1_000_000;
        // Many servers talk more in each tick.
        let ticks = r.log_uniform(100, 500) / servers as u64;
        let until = (config.tick_ms * 1_000_000 * ticks).clamp(1_500_000_000, 30_000_000_000);
        let clients = r.pick(&[1, 2, 2, 3, 3, 4, 5, 6]);
        let net = shape::net(net(&mut r), patience);
        let disk = shape::disk(disk(&mut r), patience);
        // An observer of a follower is two more steps from the leader, there and back.
        let steps = if e.observer_master_port.is_some() { 10 } else { 6 };
        let write_ms = (steps * (net.delay + net.jitter) + 3 * disk.sync_max) / 1_000_000 + 1;
        let longest = 4 * servers as u64 * write_ms;
        config.max_session_timeout_ms = config.max_session_timeout_ms.max(longest as i32);
        let clocks = (0..servers).map(|_| clock(&mut r)).collect();
        let separate_log_dir = r.chance(300);
        let shadows = r.pick(&[0, 50, 300]);
        let left = shape::left(&config, &mut r);
        if let Some(e) = &mut config.ensemble {
            e.reconfig_enabled = spares.is_some();
            // The membership may come down to the leader alone.
            e.leader_serves = spares.is_some() || shape::leader_serves(&e.members, left, seed);
        }
        if spares.is_some() {
            config.super_digest = Some(auth::digest_id(SUPER.as_bytes()));
        }
        let frame = Scenario {
            seed,
            config,
            separate_log_dir,
            spares: spares.unwrap_or_default(),
            clocks,
            net,
            disk,
            shadows,
            left,
            no_masters,
            ..Scenario::default()
        };
        frame.filled(until, clients, patience, write_ms)
    }

    /// With programs, raw connections and faults.
    fn filled(mut self, until: u64, clients: u16, patience: u64, write_ms: u64) -> Scenario {
        let servers = self.clocks.len() as u8;
        let mix = Mix::draw(self.seed, &self.config, until, clients, write_ms);
        self.clients = (0..clients).map(|c| workload::plan(&mix, c, servers, self.left.servers)).collect();
        if self.config.ensemble.as_ref().is_some_and(|e| !e.leader_serves) {
            // Whoever knows one server only would wait for as long as that one leads; and whoever knows all has so much less time
            // for each.
            let least = (u64::from(servers) * write_ms) as i32;
            for client in &mut self.clients {
                client.servers = (0..servers).collect();
                client.timeout_ms = client.timeout_ms.max(least);
            }
        }
        self.clients.extend(self.operator(&mix, clients, until));
        self.raws = raw::plans(self.seed, until, servers);
        self.raws.extend(raw::thieves(self.seed, until, servers, self.raws.len() as u16));
        let busy: Vec<u64> = self.clients.iter().flat_map(|c| c.ops.iter().map(|o| o.at)).collect();
        self.faults = nemesis::faults(&Stage {
            seed: self.seed,
            servers,
            ensemble: self.config.ensemble.is_some(),
            changes: self.changes(),
            clients: self.clients.len() as u16,
            links: (self.clients.len() + self.raws.len()) as u16,
            until,
            tick: self.config.tick_ms * 1_000_000,
            patience,
            busy: &busy,
        });
        self.heal_at = until;
        self
    }

    /// Who changes the membership, if anyone does.
    fn operator(&self, mix: &Mix, name: u16, until: u64) -> Option<ClientPlan> {
        let members = &self.config.ensemble.as_ref().filter(|_| self.changes())?.members;
        let servers = self.clocks.len() as u8;
        let (rights, ops) = operator::program(self.seed, members, servers, until);
        let plan = workload::plan(mix, name, servers, 0);
        let auth = rights.then(|| ("digest".to_owned(), Bytes::from_static(SUPER.as_bytes())));
        Some(ClientPlan { auth: auth.into_iter().collect(), ops, ..plan })
    }

    /// The membership may change.
    pub fn changes(&self) -> bool {
        self.config.ensemble.as_ref().is_some_and(|e| e.reconfig_enabled)
    }

    /// The settings of a server.
    pub fn config_of(&self, server: u8) -> Config {
        let mut config = self.config.clone();
        if let Some(e) = &mut config.ensemble {
            let sid = i64::from(server) + 1;
            config.server_id = ServerId(sid);
            let spare = (server as usize).checked_sub(self.clocks.len() - self.spares.len());
            if let Some(Spare { votes, .. }) = spare.map(|n| self.spares[n]) {
                let role = if votes { "participant" } else { "observer" };
                let text = format!("{}\nserver.{sid}=s{sid}:2888:3888:{role};2181", e.members);
                e.members = QuorumVerifier::parse(&text, e.rules).expect("members and one more");
            }
            if self.no_masters >> server & 1 == 1 {
                e.observer_master_port = None;
            }
        }
        config
    }

    /// Operations in all programs.
    pub fn operations(&self) -> usize {
        self.clients.iter().map(|c| c.ops.len()).sum()
    }
}

fn config(r: &mut Stream) -> Config {
    let tick_ms = r.log_uniform(50, 2000);
    let snap_count = if r.chance(800) { r.log_uniform(4, 200) } else { 100_000 };
    let small = |r: &mut Stream, chance: u32, lo: u64, hi: u64| {
        if r.chance(chance) { r.log_uniform(lo, hi) } else { 0 }
    };
    let snap_size_limit = match small(r, 150, 500, 20_000) {
        0 => 4 << 30,
        n => n,
    };
    let log_size_limit = small(r, 250, 300, 20_000);
    let global_outstanding_limit = match small(r, 250, 1, 30) {
        0 => 1000,
        n => n as u32,
    };
    let max_frame = if r.chance(100) { r.log_uniform(1 << 10, 1 << 16) as u32 } else { 0xfffff };
    let super_digest = r.chance(512).then(|| auth::digest_id(SUPER.as_bytes()));
    Config {
        tick_ms,
        min_session_timeout_ms: 2 * tick_ms as i32,
        max_session_timeout_ms: 20 * tick_ms as i32,
        max_client_cnxns: r.pick(&[60, 60, 0, 10]),
        max_cnxns: r.pick(&[0, 0, 0, 100]),
        max_frame,
        global_outstanding_limit,
        four_letter_words: FourLetterWords::All,
        snap_count,
        snap_size_limit,
        log_size_limit,
        digest_enabled: r.chance(920),
        snap_retain_count: r.pick(&[3, 3, 4, 10]),
        purge_interval_h: r.pick(&[0, 1]),
        skip_acl: r.chance(20),
        super_digest,
        ..Config::default()
    }
}

/// Snapshots and logs go to disks and links in small pieces, so that they are met half done, and who does not read replies is
/// soon not heard any more.
fn pieces(config: &mut Config, seed: u64) {
    let mut r = Stream::new(seed, Purpose::Shape, 5, 0);
    if r.chance(400) {
        config.piece = r.log_uniform(100, 4000) as usize;
        config.stream_ahead = r.log_uniform(500, 20_000) as usize;
        config.send_pause = config.stream_ahead + r.log_uniform(1, 20_000) as usize;
    }
}

/// Where clients make containers and TTL nodes, servers look for those that are over every now and then.
fn reaper(config: &mut Config, seed: u64) {
    let mut r = Stream::new(seed, Purpose::Shape, 6, 0);
    if workload::reaped(seed) > 0 {
        config.extended_types = r.chance(850);
        config.container_check_ms = r.log_uniform(20, 3000);
        config.container_max_per_minute = r.pick(&[10_000, 10_000, 600, 60]);
        config.container_max_never_used_ms = r.pick(&[0, 0, 1]) * r.log_uniform(10, 5000);
    }
}

fn net(r: &mut Stream) -> LinkProfile {
    let delay = r.log_uniform(20_000, 20_000_000);
    LinkProfile {
        delay,
        jitter: r.log_uniform(1000, 2 * delay),
        spikes: r.pick(&[0, 0, 4, 40]),
        splits: r.pick(&[0, 10, 100, 500]),
        bandwidth: if r.chance(200) { r.log_uniform(20, 20_000) } else { 0 },
    }
}

fn disk(r: &mut Stream) -> Latency {
    let sync_min = r.log_uniform(20_000, 10_000_000);
    Latency {
        op: r.log_uniform(1_000, 200_000),
        sync_min,
        sync_max: sync_min + r.log_uniform(1_000, 20_000_000),
        slow: r.pick(&[0, 0, 10, 100]),
        merge: r.chance(512),
    }
}

fn clock(r: &mut Stream) -> ClockPlan {
    ClockPlan { ppm: drift(r), skew_ms: r.below(20_000) as i64 - 10_000, restarts: r.chance(512) }
}

fn drift(r: &mut Stream) -> i32 {
    let size = match r.below(4) {
        0 | 1 => 0,
        2 => r.log_uniform(1, 500) as i32,
        _ => r.log_uniform(500, 50_000) as i32,
    };
    if r.chance(512) { size } else { -size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_names_one_scenario_and_json_keeps_it() {
        for seed in 0..100 {
            let a = Scenario::from_seed(seed);
            assert_eq!(a, Scenario::from_seed(seed));
            let text = serde_json::to_string(&a).expect("encodes");
            assert_eq!(serde_json::from_str::<Scenario>(&text).expect("decodes"), a);
        }
    }

    #[test]
    fn a_seed_holds_about_a_hundred_operations() {
        let total: usize = (0..500).map(|s| Scenario::from_seed(s).operations()).sum();
        assert!((60..160).contains(&(total / 500)), "{}", total / 500);
    }
}
