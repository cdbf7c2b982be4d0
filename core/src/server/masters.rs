//! From whom an observer learns: with observerMasterPort from a follower, each in its turn. Answers to
//! `QuorumPeer.findLearnerMaster`.

use crate::addr::Addr;
use crate::boundary::Port;
use crate::id::ServerId;
use crate::quorum::{QuorumServer, QuorumVerifier, QuorumView};
use crate::rng::Rng;

/// Roles that came to nothing with followers, after which the leader is asked itself: it may have no follower that takes in
/// observers. Java's observers wait for one.
const PATIENCE: u32 = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Masters {
    /// observerMasterPort.
    port: Option<u16>,
    /// The voters in an order of this server's own.
    order: Vec<ServerId>,
    next: usize,
}

impl Masters {
    pub(super) fn new(port: Option<u16>) -> Masters {
        Masters { port, order: Vec::new(), next: 0 }
    }

    /// The next address to dial, each of a server's in turn; `None`: the leader's own quorum port. `role`: the how manyth of those
    /// in a row that have come to nothing so far, from 1.
    pub(super) fn next(
        &mut self,
        view: &QuorumView,
        leader: ServerId,
        role: u32,
        rng: &mut Rng,
    ) -> Option<(Addr, Port)> {
        let port = self.port?;
        self.shuffle(&view.committed, rng);
        if role.is_multiple_of(PATIENCE + 1) {
            return None;
        }
        let mut addrs = Vec::new();
        for server in self.order.iter().filter(|sid| **sid != leader) {
            let hosts = view.committed.member(*server).into_iter().flat_map(QuorumServer::quorum_addrs);
            addrs.extend(hosts.map(|addr| Addr { port, ..addr }));
        }
        let at = self.next % addrs.len().max(1);
        self.next = at + 1;
        Some((addrs.get(at)?.clone(), Port::ObserverMaster))
    }

    /// Another configuration has other voters.
    fn shuffle(&mut self, config: &QuorumVerifier, rng: &mut Rng) {
        let voters: Vec<ServerId> = config.voters().collect();
        let same = self.order.len() == voters.len() && voters.iter().all(|sid| self.order.contains(sid));
        if !same {
            (self.order, self.next) = (voters, 0);
            for n in (1..self.order.len()).rev() {
                self.order.swap(n, rng.below(n as u64 + 1) as usize);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::ConfigRules;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    fn view(voters: i64) -> QuorumView {
        let lines: String =
            (1..=voters).map(|s| format!("server.{s}=h{s}:2888:3888:participant\n")).collect();
        let config =
            Arc::new(QuorumVerifier::parse(&lines, ConfigRules::default()).expect("a configuration"));
        QuorumView { committed: config.clone(), last_seen: config, heard_of: None }
    }

    #[test]
    fn followers_in_turn_and_the_leader_when_they_fail() {
        let (mut masters, mut rng, view) = (Masters::new(Some(7)), Rng::new([1; 32]), view(3));
        for role in 1..=PATIENCE {
            let mut asked = || masters.next(&view, ServerId(2), role, &mut rng).expect("a follower");
            let two = BTreeSet::from([asked(), asked()].map(|(addr, _)| (addr.host, addr.port)));
            assert_eq!(two, BTreeSet::from([("h1".to_owned(), 7), ("h3".to_owned(), 7)]));
        }
        assert_eq!(masters.next(&view, ServerId(2), PATIENCE + 1, &mut rng), None);
        assert!(masters.next(&view, ServerId(2), 1, &mut rng).is_some());
    }

    #[test]
    fn without_followers_or_without_the_setting_there_is_the_leader() {
        let mut rng = Rng::new([1; 32]);
        let mut ask = |port, voters| Masters::new(port).next(&view(voters), ServerId(1), 1, &mut rng);
        assert_eq!(ask(Some(7), 1), None);
        assert_eq!(ask(None, 3), None);
        assert!(ask(Some(7), 2).is_some());
    }
}
