//! Who is in the ensemble, and which sets of servers are quorums. Read from the configuration's text and counted here, by the
//! words of the administrator's guide; nothing of it is the core's.

use zebu_core::config::Config;
use zebu_core::id::ServerId;

/// A server of the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its id.
    pub server: ServerId,
    /// It is no observer.
    pub votes: bool,
    /// Its group, if there are groups.
    pub group: i64,
    /// What its vote weighs.
    pub weight: i64,
}

/// An ensemble; a standalone server is one of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ensemble {
    members: Vec<Member>,
    /// Quorums are counted by groups.
    grouped: bool,
}

impl Ensemble {
    /// What these settings say.
    pub fn of(config: &Config) -> Ensemble {
        match &config.ensemble {
            Some(e) => Ensemble::parse(&e.members.to_string()),
            None => {
                let member = Member { server: config.server_id, votes: true, group: 0, weight: 1 };
                Ensemble { members: vec![member], grouped: false }
            }
        }
    }

    /// Reads `server.N=…:observer;…`, `group.G=A:B` and `weight.N=W` lines; what else there is, is of no interest.
    pub fn parse(text: &str) -> Ensemble {
        let mut members: Vec<Member> = Vec::new();
        let (mut groups, mut weights) = (Vec::new(), Vec::new());
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else { continue };
            let Some((kind, number)) = key.trim().split_once('.') else { continue };
            let Ok(number) = number.parse::<i64>() else { continue };
            match kind {
                "server" => {
                    let votes = !value.split(';').next().unwrap_or_default().trim().ends_with(":observer");
                    members.push(Member { server: ServerId(number), votes, group: 0, weight: 1 });
                }
                "group" => {
                    groups.extend(
                        value.split(':').filter_map(|n| n.trim().parse().ok()).map(|n: i64| (n, number)),
                    );
                }
                "weight" => weights.extend(value.trim().parse().ok().map(|w: i64| (number, w))),
                _ => {}
            }
        }
        for m in &mut members {
            let of = |list: &[(i64, i64)]| list.iter().find(|(n, _)| *n == m.server.0).map(|(_, v)| *v);
            let group = of(&groups);
            m.group = group.unwrap_or(0);
            // Who is in no group where there are some counts for none.
            let usual = i64::from(groups.is_empty() || group.is_some());
            m.weight = of(&weights).unwrap_or(usual);
        }
        members.sort_by_key(|m| m.server);
        Ensemble { members, grouped: !groups.is_empty() }
    }

    /// There are groups.
    pub fn is_grouped(&self) -> bool {
        self.grouped
    }

    /// Everyone, by id.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Is it a member?
    pub fn has(&self, server: ServerId) -> bool {
        self.members.iter().any(|m| m.server == server)
    }

    /// Does it vote?
    pub fn votes(&self, server: ServerId) -> bool {
        self.members.iter().any(|m| m.server == server && m.votes)
    }

    /// Those of whom `has` is true are a quorum: more than half of the voters, or of more than half of the groups that weigh
    /// anything more than half of the weight.
    pub fn is_quorum(&self, mut has: impl FnMut(ServerId) -> bool) -> bool {
        let mut voters = self.members.iter().filter(|m| m.votes);
        if !self.grouped {
            let (mut all, mut those) = (0, 0);
            for m in voters {
                all += 1;
                those += usize::from(has(m.server));
            }
            return those * 2 > all;
        }
        let (mut groups, mut won) = (0, 0);
        // Groups are few: a list would cost more than looking again.
        for (n, first) in self.members.iter().enumerate() {
            let mine = |m: &&Member| m.group == first.group;
            if self.members[..n].iter().any(|m| mine(&m)) {
                continue;
            }
            let total: i64 = self.members.iter().filter(mine).map(|m| m.weight).sum();
            let got: i64 = voters.clone().filter(mine).filter(|m| has(m.server)).map(|m| m.weight).sum();
            groups += usize::from(total > 0);
            won += usize::from(got * 2 > total);
        }
        // One without weight is a quorum of nothing.
        won * 2 > groups && voters.any(|m| m.weight > 0 && has(m.server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use zebu_core::quorum::{ConfigRules, QuorumVerifier};

    fn check(text: &str) {
        let core = QuorumVerifier::parse(text, ConfigRules::default()).expect("a configuration");
        let mine = Ensemble::parse(&core.to_string());
        for bits in 0..1u32 << mine.members().len() {
            let has = |s: ServerId| {
                let at = mine.members().iter().position(|m| m.server == s).expect("a member");
                bits >> at & 1 == 1
            };
            let set: BTreeSet<ServerId> =
                mine.members().iter().map(|m| m.server).filter(|s| has(*s)).collect();
            assert_eq!(mine.is_quorum(has), core.is_quorum(&set), "{text} {set:?}");
        }
    }

    #[test]
    fn it_comes_to_what_the_core_says() {
        let line = |n: i64, role: &str| format!("server.{n}=h{n}:2888:3888:{role};0.0.0.0:2181\n");
        let voters = |n: i64| (1..=n).map(|i| line(i, "participant")).collect::<String>();
        check(&voters(1));
        for n in 2..=5 {
            check(&voters(n));
            check(&(voters(n) + &line(9, "observer")));
        }
        check(&(voters(5) + "group.1=1:2\ngroup.2=3:4\ngroup.3=5\n"));
        check(&(voters(5) + "group.1=1:2\ngroup.2=3:4\ngroup.3=5\nweight.5=0\nweight.1=3\n"));
        check(&(voters(5) + &line(9, "observer") + "group.1=1:2\ngroup.2=3:4\ngroup.3=5\nweight.1=0\n"));
        check(&(voters(3) + "group.1=1:2:3\nweight.1=3\n"));
        check(&(voters(3) + &line(4, "observer") + "group.1=1\ngroup.2=2:3:4\nweight.4=0\nweight.3=2\n"));
    }
}
