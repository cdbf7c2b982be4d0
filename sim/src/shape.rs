//! Ensembles: who is in one, and with what settings. Times are short, so that a seed sees elections, time-outs and roll-overs;
//! links and disks are never so slow at their best that servers could not keep up with each other.

use crate::disk::Latency;
use crate::net::LinkProfile;
use crate::random::{Purpose, Stream};
use crate::scenario::{Left, LeftHow};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use zebu_core::config::{Config, ElectionTimes, EnsembleConfig};
use zebu_core::id::ServerId;
use zebu_core::quorum::{ConfigRules, LearnerType, QuorumVerifier};

/// Of 1024 seeds, how many are of one standalone server.
const STANDALONE: u32 = 150;
/// Numbers of voters, and how likely each is.
const VOTERS: [(u8, u32); 6] = [(1, 40), (2, 30), (3, 480), (4, 30), (5, 260), (7, 60)];

/// Rules under which all ensembles of the simulator are legal.
const RULES: ConfigRules = ConfigRules { standalone_enabled: false, multi_address: false };

/// The members that a seed names; `None`: one standalone server.
pub(crate) fn members(seed: u64) -> Option<QuorumVerifier> {
    let mut r = Stream::new(seed, Purpose::Shape, 2, 0);
    if r.chance(STANDALONE) {
        return None;
    }
    let groups = if r.chance(100) { groups(&mut r) } else { Vec::new() };
    let voters = match groups.len() {
        0 => VOTERS[r.weighted(&VOTERS.map(|(_, weight)| weight))].0,
        _ => groups.iter().map(|g| g.len() as u8).sum(),
    };
    let observers = if voters > 7 { 0 } else { r.pick(&[0, 0, 0, 1, 1, 2]) };
    // Voters are not always those with the lowest numbers.
    let mut roles: Vec<bool> = (0..voters + observers).map(|n| n < voters).collect();
    for n in (1..roles.len()).rev() {
        roles.swap(n, r.below(n as u64 + 1) as usize);
    }
    let text = text(&roles, &groups, &mut r);
    Some(QuorumVerifier::parse(&text, RULES).expect("a legal ensemble"))
}

/// Three groups of up to three voters: the weight of each. Some group has one.
fn groups(r: &mut Stream) -> Vec<Vec<u8>> {
    loop {
        let mut group = || (0..r.between(1, 3)).map(|_| r.pick(&[0, 1, 1, 1, 2, 3])).collect();
        let all: Vec<Vec<u8>> = (0..3).map(|_| group()).collect();
        if all.iter().flatten().any(|w| *w > 0) {
            return all;
        }
    }
}

fn text(roles: &[bool], groups: &[Vec<u8>], r: &mut Stream) -> String {
    let mut text = String::new();
    for (n, votes) in roles.iter().enumerate() {
        let (sid, role) = (n + 1, if *votes { "participant" } else { "observer" });
        let client = r.pick(&["", ";2181", ";0.0.0.0:2181"]);
        let _ = writeln!(text, "server.{sid}=s{sid}:2888:3888:{role}{client}");
    }
    let mut voters = roles.iter().enumerate().filter(|(_, votes)| **votes).map(|(n, _)| n + 1);
    for (g, weights) in groups.iter().enumerate() {
        let sids: Vec<(usize, u8)> = weights.iter().map(|w| (voters.next().expect("one each"), *w)).collect();
        let list: Vec<String> = sids.iter().map(|(sid, _)| sid.to_string()).collect();
        let _ = writeln!(text, "group.{}={}", g + 1, list.join(":"));
        for (sid, weight) in sids {
            let _ = writeln!(text, "weight.{sid}={weight}");
        }
    }
    text
}

/// The settings of an ensemble's members.
pub(crate) fn settings(base: Config, members: QuorumVerifier, r: &mut Stream) -> Config {
    let tick_ms = if r.chance(200) { r.log_uniform(20, 50) } else { r.log_uniform(50, 400) };
    let longest = r.pick(&[20, 20, 40]) * tick_ms;
    let (local_sessions, read_only_mode) = (r.chance(180), r.chance(250));
    let ensemble = EnsembleConfig {
        local_sessions,
        local_upgrading: local_sessions && r.chance(700),
        read_only_mode,
        init_limit: r.between(4, 10),
        sync_limit: r.between(2, 5),
        election: times(r),
        rules: RULES,
        commit_log_count: r.pick(&[2, 3, 5, 50, 500, 10_000, 10_000]),
        commit_log_bytes: if r.chance(150) { r.log_uniform(100, 5000) as usize } else { 16 << 20 },
        // What was applied without knowing better must not be shown.
        held_back_count: if read_only_mode { 10_000 } else { r.pick(&[0, 2, 5, 50, 10_000, 10_000, 10_000]) },
        last_counter: if r.chance(250) { r.log_uniform(30, 300) as u32 } else { u32::MAX - 1 },
        ..EnsembleConfig::new(members)
    };
    Config {
        tick_ms,
        min_session_timeout_ms: 2 * tick_ms as i32,
        max_session_timeout_ms: longest as i32,
        digest_enabled: r.chance(850),
        ensemble: Some(ensemble),
        ..base
    }
}

/// What a leader may send to those who lack what it holds.
pub(crate) fn synchronisation(ensemble: &mut EnsembleConfig, seed: u64) {
    let mut r = Stream::new(seed, Purpose::Shape, 3, 0);
    ensemble.snapshot_size_factor = r.pick(&[None, Some(0), Some(0), Some(330), Some(2000)]);
    ensemble.force_snapshot_sync = r.chance(30);
    ensemble.max_time_to_wait_for_epoch_ms = r.chance(100).then(|| r.log_uniform(10, 1000));
}

/// A leader that leaves the clients to the others, if some are left for them.
pub(crate) fn leader_serves(members: &QuorumVerifier, left: Left, seed: u64) -> bool {
    let lasting = members.members().count() - left.servers.count_ones() as usize;
    lasting == 1 || !Stream::new(seed, Purpose::Shape, 4, 0).chance(60)
}

/// The port of observer masters.
pub(crate) const MASTER_PORT: u16 = 2889;

/// In half of the ensembles with observers they learn from followers; which servers do without, as bits.
pub(crate) fn masters(seed: u64, ensemble: &mut EnsembleConfig) -> u16 {
    let mut r = Stream::new(seed, Purpose::Shape, 4, 0);
    let count = ensemble.members.members().count();
    let any = ensemble.members.members().any(|m| m.role == LearnerType::Observer);
    if !any || !r.chance(512) {
        return 0;
    }
    ensemble.observer_master_port = Some(MASTER_PORT);
    if r.chance(250) {
        ensemble.observer_size_limit = r.log_uniform(100, 5000) as usize;
    }
    if r.chance(200) { r.below(1 << count) as u16 } else { 0 }
}

/// ZooKeeper's times, or shorter ones.
fn times(r: &mut Stream) -> ElectionTimes {
    let usual = ElectionTimes::default();
    if r.chance(300) {
        return usual;
    }
    ElectionTimes {
        min_notification_ms: r.log_uniform(20, 200),
        max_notification_ms: r.log_uniform(1000, 60_000),
        finalize_wait_ms: r.log_uniform(20, 200),
        dial_timeout_ms: r.log_uniform(100, 5000),
        observer_delay_ms: r.log_uniform(1, 200),
        read_only_after_ms: r.log_uniform(1, 2000),
        ..usual
    }
}

/// A network on which a question and its answer take a small part of the time after which servers give each other up.
pub(crate) fn net(usual: LinkProfile, patience: u64) -> LinkProfile {
    let delay = usual.delay.min(patience / 24);
    LinkProfile {
        delay,
        jitter: usual.jitter.min(delay),
        bandwidth: if usual.bandwidth > 0 { usual.bandwidth.max(500) } else { 0 },
        ..usual
    }
}

/// A disk whose syncs take a small part of that time.
pub(crate) fn disk(usual: Latency, patience: u64) -> Latency {
    Latency {
        op: usual.op.min(patience / 1000).max(1000),
        sync_min: usual.sync_min.min(patience / 24),
        sync_max: usual.sync_max.min(patience / 12),
        ..usual
    }
}

/// Who is not healed in the end: mostly no one; else some without whom the rest is a quorum.
pub(crate) fn left(config: &Config, r: &mut Stream) -> Left {
    let members = &config.ensemble.as_ref().expect("an ensemble").members;
    let count = members.members().count() as u64;
    let servers = r.below(1 << count) as u16;
    let how = r.pick(&[LeftHow::Dead, LeftHow::Apart, LeftHow::Deaf, LeftHow::Mute]);
    let rest: BTreeSet<ServerId> =
        (1..=count).filter(|sid| servers >> (sid - 1) & 1 == 0).map(|sid| ServerId(sid as i64)).collect();
    if !r.chance(350) || !members.is_quorum(&rest) || !rest.iter().any(|sid| members.weight(*sid) > 0) {
        return Left::default();
    }
    Left { servers, how }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zebu_core::quorum::QuorumSystem;

    #[test]
    fn all_shapes_come() {
        let all: Vec<_> = (0..2000).filter_map(members).collect();
        for (count, _) in VOTERS {
            let seen = all.iter().filter(|m| m.voters().count() == usize::from(count)).count();
            assert!(seen > 20, "{count} voters: {seen}");
        }
        assert!(all.iter().any(|m| matches!(m.system(), QuorumSystem::Hierarchical(_))));
        assert!(all.iter().any(|m| m.members().count() == m.voters().count() + 2));
        assert!(all.iter().all(|m| m.members().count() <= 9));
        assert_eq!(all[0], (0..2000).find_map(members).expect("most"));
    }
}
