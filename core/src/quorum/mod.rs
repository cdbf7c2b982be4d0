//! The ensemble's configuration: who is in it, who votes, which sets of servers are quorums. Answers to `QuorumVerifier`,
//! `QuorumMaj`, `QuorumHierarchical`, `QuorumServer` and `SyncedLearnerTracker`. Knows no connection and no time.

mod reconfig;
mod text;

pub use reconfig::*;
pub use text::*;

use crate::addr::Addr;
use crate::id::{ServerId, Zxid};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a server is in a configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum LearnerType {
    /// It votes.
    Participant,
    /// It learns without a vote.
    Observer,
}

/// The version is none that a reconfiguration gave: 0, as in settings, or the start of the epoch that numbered the initial
/// configuration. Servers may know that by several such numbers, for one that falls before the epoch serves forgets the
/// number. (ZooKeeper takes the higher one for a later configuration, and its server is refused until the next election.)
pub fn is_initial(version: i64) -> bool {
    Zxid(version).counter() == 0
}

/// One of the addresses of a server: a host with its two ports.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ServerAddr {
    /// A name or a literal.
    pub host: String,
    /// Where learners connect to when it leads.
    pub quorum_port: u16,
    /// Where votes go.
    pub election_port: u16,
}

/// A `server.N` line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QuorumServer {
    /// N.
    pub sid: ServerId,
    /// At least one, sorted, no two the same.
    pub addrs: Vec<ServerAddr>,
    /// Its part.
    pub role: LearnerType,
    /// Its client port, if the line says it.
    pub client: Option<Addr>,
    /// Its client port for TLS, if the line says it.
    pub secure_client: Option<Addr>,
}

impl QuorumServer {
    /// Where learners connect to.
    pub fn quorum_addrs(&self) -> impl Iterator<Item = Addr> {
        self.addrs.iter().map(|a| Addr::new(&a.host, a.quorum_port))
    }
    /// Where votes go.
    pub fn election_addrs(&self) -> impl Iterator<Item = Addr> {
        self.addrs.iter().map(|a| Addr::new(&a.host, a.election_port))
    }
}

/// Which sets of voters are quorums.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum QuorumSystem {
    /// More than half of the voters.
    Majority,
    /// In more than half of the groups, more than half of the weight.
    Hierarchical(Groups),
}

/// Groups and weights of a hierarchical system.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Groups {
    /// The group of every server that has one; every voter has.
    group: BTreeMap<ServerId, i64>,
    /// The weight of every server in a group, and of whoever else is given one. Never negative.
    weight: BTreeMap<ServerId, i64>,
}

impl Groups {
    /// The sum of weights in each group.
    fn sums<'a>(&self, sids: impl Iterator<Item = &'a ServerId>) -> BTreeMap<i64, i128> {
        let mut sums = BTreeMap::new();
        for sid in sids {
            if let Some(gid) = self.group.get(sid) {
                *sums.entry(*gid).or_insert(0) += i128::from(self.weight[sid]);
            }
        }
        sums
    }

    fn is_quorum<'a>(&self, acks: impl Iterator<Item = &'a ServerId>) -> bool {
        let all = self.sums(self.group.keys());
        let groups = all.values().filter(|sum| **sum != 0).count();
        let won = self.sums(acks).into_iter().filter(|(gid, sum)| *sum > all[gid] / 2).count();
        won > groups / 2
    }
}

/// A configuration ("quorum verifier").
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QuorumVerifier {
    /// zxid of the reconfiguration that made it; 0: the initial one.
    pub version: i64,
    members: BTreeMap<ServerId, QuorumServer>,
    system: QuorumSystem,
}

impl QuorumVerifier {
    /// Everybody in it, by server id.
    pub fn members(&self) -> impl Iterator<Item = &QuorumServer> {
        self.members.values()
    }
    /// One of them.
    pub fn member(&self, sid: ServerId) -> Option<&QuorumServer> {
        self.members.get(&sid)
    }
    /// Those that vote.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> {
        self.members.values().filter(|m| m.role == LearnerType::Participant).map(|m| m.sid)
    }
    /// Does it vote?
    pub fn is_voter(&self, sid: ServerId) -> bool {
        self.member(sid).is_some_and(|m| m.role == LearnerType::Participant)
    }
    /// Which sets are quorums.
    pub fn system(&self) -> &QuorumSystem {
        &self.system
    }

    /// Are these servers a quorum? Whoever has no vote does not count.
    pub fn is_quorum(&self, acks: &BTreeSet<ServerId>) -> bool {
        let mut voters = acks.iter().filter(|sid| self.is_voter(**sid));
        match &self.system {
            QuorumSystem::Majority => voters.count() > self.voters().count() / 2,
            QuorumSystem::Hierarchical(groups) => {
                let mut voters = voters.by_ref().peekable();
                voters.peek().is_some() && groups.is_quorum(voters)
            }
        }
    }

    /// A server of weight 0 cannot be elected. With majorities everyone weighs 1.
    pub fn weight(&self, sid: ServerId) -> i64 {
        match &self.system {
            QuorumSystem::Majority => 1,
            QuorumSystem::Hierarchical(groups) => groups.weight.get(&sid).copied().unwrap_or(0),
        }
    }

    /// May it be elected?
    pub fn is_electable(&self, sid: ServerId) -> bool {
        self.is_voter(sid) && self.weight(sid) != 0
    }

    /// The same configuration, as ZooKeeper sees it: of the same version, or with the same members, groups and weights.
    pub fn is_same(&self, other: &QuorumVerifier) -> bool {
        match (&self.system, &other.system) {
            (QuorumSystem::Majority, QuorumSystem::Majority)
            | (QuorumSystem::Hierarchical(_), QuorumSystem::Hierarchical(_)) => {
                self.version == other.version
                    || (self.members == other.members && self.system == other.system)
            }
            (QuorumSystem::Majority, QuorumSystem::Hierarchical(_))
            | (QuorumSystem::Hierarchical(_), QuorumSystem::Majority) => false,
        }
    }

    /// What this configuration makes of a server: one that is not in it takes part without a vote.
    pub fn learner_type(&self, sid: ServerId) -> LearnerType {
        self.member(sid).map_or(LearnerType::Participant, |m| m.role)
    }
}

/// The configurations that count: the last committed one, and the last one proposed, which may be the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuorumView {
    /// The committed one (quorumVerifier).
    pub committed: Arc<QuorumVerifier>,
    /// The last one seen (lastSeenQuorumVerifier).
    pub last_seen: Arc<QuorumVerifier>,
    /// A later one that other servers have seen, and this one has not. It is not bound by it; but whom it lets vote may be
    /// heard, voted for and followed.
    pub heard_of: Option<Arc<QuorumVerifier>>,
}

impl QuorumView {
    /// Nothing is proposed beside this configuration.
    pub fn settled(committed: QuorumVerifier) -> QuorumView {
        let committed = Arc::new(committed);
        QuorumView { last_seen: committed.clone(), committed, heard_of: None }
    }

    fn all(&self) -> impl Iterator<Item = &QuorumVerifier> {
        [&*self.committed, &*self.last_seen].into_iter().chain(self.heard_of.as_deref())
    }

    /// Those whose quorums are needed: the committed one, and the proposed one if it is newer.
    pub fn needed(&self) -> impl Iterator<Item = &QuorumVerifier> {
        let newer = Some(&*self.last_seen).filter(|v| v.version > self.committed.version);
        std::iter::once(&*self.committed).chain(newer)
    }
    /// Are these servers all quorums that are needed?
    pub fn has_all_quorums(&self, acks: &BTreeSet<ServerId>) -> bool {
        self.needed().all(|v| v.is_quorum(acks))
    }
    /// May it be elected by any of these?
    pub fn is_electable(&self, sid: ServerId) -> bool {
        self.all().any(|v| v.is_electable(sid))
    }
    /// May it be elected by those that bind this server?
    pub fn may_stand(&self, sid: ServerId) -> bool {
        self.needed().any(|v| v.is_electable(sid))
    }
    /// What these configurations make of a server: it is no observer if it votes in either.
    pub fn learner_type(&self, sid: ServerId) -> LearnerType {
        match self.needed().any(|v| v.is_voter(sid)) {
            true => LearnerType::Participant,
            false => self.committed.learner_type(sid),
        }
    }
    /// Does it vote in any?
    pub fn is_voter(&self, sid: ServerId) -> bool {
        self.all().any(|v| v.is_voter(sid))
    }
    /// Whoever votes in any.
    pub fn voters(&self) -> BTreeSet<ServerId> {
        self.all().flat_map(QuorumVerifier::voters).collect()
    }
    /// A member of any: by the committed configuration first.
    pub fn member(&self, sid: ServerId) -> Option<&QuorumServer> {
        self.all().find_map(|v| v.member(sid))
    }
    /// Where the election port of a server is: by the committed configuration first.
    pub fn election_addrs(&self, sid: ServerId) -> Vec<Addr> {
        let mut addrs: Vec<Addr> = Vec::new();
        for member in self.all().filter_map(|v| v.member(sid)) {
            for addr in member.election_addrs() {
                if !addrs.contains(&addr) {
                    addrs.push(addr);
                }
            }
        }
        addrs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> QuorumVerifier {
        QuorumVerifier::parse(text, ConfigRules::default()).expect("a configuration")
    }
    fn sids(list: &[i64]) -> BTreeSet<ServerId> {
        list.iter().map(|n| ServerId(*n)).collect()
    }
    fn plain(n: i64, observers: i64, more: &str) -> QuorumVerifier {
        let line = |i: i64| {
            format!("server.{i}=h{i}:2888:3888:{}\n", if i <= n { "participant" } else { "observer" })
        };
        parse(&((1..=n + observers).map(line).collect::<String>() + more))
    }

    #[test]
    fn majorities_count_voters_only() {
        let v = plain(3, 2, "");
        assert!(!v.is_quorum(&sids(&[])));
        assert!(!v.is_quorum(&sids(&[1, 4, 5, 9])));
        assert!(v.is_quorum(&sids(&[1, 3])));
        assert!(!plain(4, 0, "").is_quorum(&sids(&[1, 2])));
        assert_eq!(v.weight(ServerId(9)), 1);
        assert_eq!(v.learner_type(ServerId(4)), LearnerType::Observer);
        assert_eq!(v.learner_type(ServerId(9)), LearnerType::Participant);
    }

    #[test]
    fn groups_and_weights() {
        // The ensemble of a recording: groups {1} and {2, 3}, where 3 weighs nothing.
        let v = plain(3, 0, "group.1=1\ngroup.2=2:3\nweight.2=2\nweight.3=0\n");
        assert!(v.is_quorum(&sids(&[1, 2])));
        assert!(!v.is_quorum(&sids(&[1, 3])));
        assert!(!v.is_quorum(&sids(&[2, 3])));
        assert_eq!((v.weight(ServerId(2)), v.weight(ServerId(3)), v.weight(ServerId(9))), (2, 0, 0));
        // A group without weight is no group.
        let v = plain(3, 0, "group.1=1\ngroup.2=2\ngroup.3=3\nweight.2=0\nweight.3=0\n");
        assert!(v.is_quorum(&sids(&[1])));
        assert!(!v.is_quorum(&sids(&[2, 3])));
        // Weighted voting is one group.
        let v = plain(3, 0, "group.1=1:2:3\nweight.1=3\n");
        assert!(v.is_quorum(&sids(&[1])));
        assert!(!v.is_quorum(&sids(&[2, 3])));
    }

    #[test]
    fn both_configurations_are_needed_while_one_is_proposed() {
        let committed = plain(3, 0, "");
        let mut proposed = parse("server.3=h3:1:2\nserver.4=h4:1:2\nserver.5=h5:1:2");
        proposed.version = 7;
        let view = QuorumView { committed: committed.into(), last_seen: proposed.into(), heard_of: None };
        assert!(!view.has_all_quorums(&sids(&[1, 2, 3])));
        assert!(!view.has_all_quorums(&sids(&[3, 4, 5])));
        assert!(view.has_all_quorums(&sids(&[1, 3, 4])));
        assert_eq!(view.voters(), sids(&[1, 2, 3, 4, 5]));
        assert_eq!(view.election_addrs(ServerId(3)), [Addr::new("h3", 3888), Addr::new("h3", 2)]);
        // One that is no newer adds voters, but no quorum.
        let mut old = (*view.last_seen).clone();
        old.version = 0;
        let view = QuorumView { last_seen: old.into(), ..view };
        assert!(view.has_all_quorums(&sids(&[1, 2])));
        assert!(view.is_voter(ServerId(5)));
    }

    #[test]
    fn sameness() {
        let a = plain(3, 0, "version=5");
        assert!(a.is_same(&plain(5, 0, "version=5")));
        assert!(a.is_same(&plain(3, 0, "version=6")));
        assert!(!a.is_same(&plain(4, 0, "version=6")));
        assert!(!a.is_same(&plain(3, 0, "group.1=1:2:3\nversion=5")));
        let g = plain(3, 0, "group.1=1:2:3\nversion=5");
        assert!(!g.is_same(&plain(3, 0, "group.1=1:2:3\nweight.1=2\nversion=6")));
    }

    proptest! {
        /// Two quorums of one system always share a server.
        #[test]
        fn quorums_intersect(
            weights in proptest::collection::vec((0i64..4, 1i64..4), 1..7),
            a: u8, b: u8, majority: bool,
        ) {
            let n = weights.len() as i64;
            let mut more = String::new();
            for gid in 1..4 {
                let list: Vec<String> = (1..=n)
                    .filter(|i| weights[*i as usize - 1].1 == gid)
                    .map(|i| i.to_string())
                    .collect();
                if !list.is_empty() {
                    more += &format!("group.{gid}={}\n", list.join(":"));
                }
            }
            weights.iter().enumerate().for_each(|(i, w)| more += &format!("weight.{}={}\n", i + 1, w.0));
            let v = plain(n, 0, if majority { "" } else { &more });
            let set = |bits: u8| (1..=n).filter(|i| bits >> i & 1 == 1).map(ServerId).collect::<BTreeSet<_>>();
            if v.is_quorum(&set(a)) && v.is_quorum(&set(b)) {
                prop_assert!(set(a).intersection(&set(b)).next().is_some());
            }
            // More servers never make less of a quorum.
            if v.is_quorum(&set(a)) {
                prop_assert!(v.is_quorum(&set(a | b)));
            }
        }
    }
}
