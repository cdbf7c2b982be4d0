//! Membership that changes: servers that are no members at first, and a client that makes members of them and of others none.
//! Its program is drawn without knowing what will be granted: it keeps count as if everything were, and so asks for what
//! fits, for what no longer does, and at times for what never could.

use crate::random::{Purpose, Stream};
use crate::scenario::{SUPER, Spare};
use crate::workload::{Act, Op};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use zebu_core::proto::Request;
use zebu_core::quorum::{QuorumSystem, QuorumVerifier};

/// In so many of 1024 ensembles the membership changes.
const CHANGES: u32 = 300;
/// Ensembles grow up to here.
const MOST: usize = 9;
/// Where the configuration is shown.
const CONFIG: &str = "/zookeeper/config";

/// The servers beyond the members if the membership of this seed changes.
pub(crate) fn spares(seed: u64, members: &QuorumVerifier) -> Option<Vec<Spare>> {
    let mut r = Stream::new(seed, Purpose::Shape, 3, 0);
    if !r.chance(CHANGES) {
        return None;
    }
    let room = MOST.saturating_sub(members.members().count());
    let count = r.pick(&[0, 1, 1, 2, 2, 3]).min(room);
    let grouped = matches!(members.system(), QuorumSystem::Hierarchical(_));
    let from = |r: &mut Stream| if r.chance(700) { 0 } else { r.log_uniform(1_000_000, 5_000_000_000) };
    // A voter would need a group.
    Some((0..count).map(|_| Spare { from: from(&mut r), votes: !grouped && r.chance(700) }).collect())
}

/// What the operator does before `until` with so many servers, and whether it proves its rights from the start.
pub(crate) fn program(seed: u64, members: &QuorumVerifier, servers: u8, until: u64) -> (bool, Vec<Op>) {
    let mut r = Stream::new(seed, Purpose::Operator, 0, 0);
    let asks = r.log_uniform(2, 12);
    let mut times: Vec<u64> = (0..asks).map(|_| r.between(until / 32, until - until / 16)).collect();
    times.sort_unstable();
    let first = times[0];
    let rights = r.chance(850);
    let burst = r.pick(&[0, 100, 500]);
    let mut operator = Operator::new(members, servers, r);
    let mut ops: Vec<Op> = Vec::new();
    for at in times {
        let at = ops.last().filter(|_| operator.r.chance(burst)).map_or(at, |last| last.at);
        if operator.r.chance(300) {
            let look = match operator.r.chance(512) {
                true => Request::Sync { path: Some(CONFIG.to_owned()) },
                false => Request::Exists { path: CONFIG.to_owned(), watch: false },
            };
            ops.push(Op { at, act: Act::Call(look) });
            ops.push(Op { at, act: Act::Call(Request::GetData { path: CONFIG.to_owned(), watch: true }) });
        }
        let request = operator.asks();
        ops.push(Op { at, act: Act::Call(request) });
    }
    if !rights {
        // Its first request is refused.
        let auth = Some(Bytes::from_static(SUPER.as_bytes()));
        let act = Act::Call(Request::Auth { scheme: Some("digest".to_owned()), auth });
        let at = ops.iter().position(|o| o.at > first).unwrap_or(ops.len());
        let op = Op { at: ops.get(at).map_or(first, |o| o.at), act };
        ops.insert(at, op);
    }
    (rights, ops)
}

/// See the module.
struct Operator {
    r: Stream,
    servers: u8,
    /// The members at first, as a whole configuration.
    initial: (BTreeMap<u8, bool>, String),
    /// Who would be a member by now, and whether it votes.
    now: BTreeMap<u8, bool>,
    /// Groups and weights are set.
    grouped: bool,
}

fn line(sid: u8, votes: bool) -> String {
    let role = if votes { "participant" } else { "observer" };
    format!("server.{sid}=s{sid}:2888:3888:{role};2181")
}

fn whole(members: &BTreeMap<u8, bool>) -> String {
    members.iter().map(|(sid, votes)| line(*sid, *votes)).collect::<Vec<_>>().join(",")
}

fn joins(joining: String) -> Request {
    Request::Reconfig { joining: Some(joining), leaving: None, new_members: None, config_id: -1 }
}

fn replaces(new_members: String) -> Request {
    Request::Reconfig { joining: None, leaving: None, new_members: Some(new_members), config_id: -1 }
}

impl Operator {
    fn new(members: &QuorumVerifier, servers: u8, r: Stream) -> Operator {
        let now: BTreeMap<u8, bool> =
            members.members().map(|m| (m.sid.0 as u8, members.is_voter(m.sid))).collect();
        // Without its version.
        let text = members.to_string();
        let lines = text.lines().filter(|l| !l.starts_with("version"));
        let initial = (now.clone(), lines.collect::<Vec<_>>().join(","));
        let grouped = matches!(members.system(), QuorumSystem::Hierarchical(_));
        Operator { r, servers, initial, now, grouped }
    }

    fn asks(&mut self) -> Request {
        let request = match self.r.below(if self.grouped { 6 } else { 16 }) {
            0 | 1 => self.other_members(),
            2 => self.groups(),
            3 => {
                (self.now, self.grouped) = (self.initial.0.clone(), self.initial.1.contains("group."));
                replaces(self.initial.1.clone())
            }
            4 => self.bad(),
            5..=8 => self.leave(),
            9..=11 => self.join(),
            12 | 13 => self.other_role(),
            14 => self.swap(),
            _ => joins(self.now.iter().map(|(sid, votes)| line(*sid, *votes)).next().expect("someone")),
        };
        let id = match self.r.below(10) {
            0 => 1 << 32,
            1 => (self.r.log_uniform(1, 20) as i64 * (1 << 32)) | self.r.below(40) as i64,
            _ => -1,
        };
        match request {
            Request::Reconfig { joining, leaving, new_members, .. } => {
                Request::Reconfig { joining, leaving, new_members, config_id: id }
            }
            other => other,
        }
    }

    fn someone(&mut self, of: impl Fn(&BTreeMap<u8, bool>, u8) -> bool) -> Option<u8> {
        let all: Vec<u8> = (1..=self.servers).filter(|sid| of(&self.now, *sid)).collect();
        (!all.is_empty()).then(|| self.r.pick(&all))
    }

    fn voters(&self) -> usize {
        self.now.values().filter(|votes| **votes).count()
    }

    fn leave(&mut self) -> Request {
        let last = self.voters() == 1;
        let Some(sid) = self.someone(|now, sid| now.get(&sid).is_some_and(|votes| !(*votes && last))) else {
            return self.join();
        };
        self.now.remove(&sid);
        let leaving = Some(sid.to_string());
        Request::Reconfig { joining: None, leaving, new_members: None, config_id: -1 }
    }

    fn join(&mut self) -> Request {
        let Some(sid) = self.someone(|now, sid| !now.contains_key(&sid)) else { return self.other_role() };
        let votes = self.r.chance(750);
        self.now.insert(sid, votes);
        joins(line(sid, votes))
    }

    fn other_role(&mut self) -> Request {
        let last = self.voters() == 1;
        let Some(sid) = self.someone(|now, sid| now.get(&sid).is_some_and(|votes| !(*votes && last))) else {
            return self.other_members();
        };
        let votes = !self.now[&sid];
        self.now.insert(sid, votes);
        joins(line(sid, votes))
    }

    fn swap(&mut self) -> Request {
        let Some(new) = self.someone(|now, sid| !now.contains_key(&sid)) else { return self.leave() };
        let old = self.someone(|now, sid| now.contains_key(&sid)).expect("there are members");
        self.now.remove(&old);
        self.now.insert(new, true);
        let (joining, leaving) = (Some(line(new, true)), Some(old.to_string()));
        Request::Reconfig { joining, leaving, new_members: None, config_id: -1 }
    }

    /// Any other set of members.
    fn other_members(&mut self) -> Request {
        let mut members = BTreeMap::new();
        for sid in 1..=self.servers {
            if self.r.chance(600) {
                members.insert(sid, self.r.chance(800));
            }
        }
        let one = self.r.between(1, u64::from(self.servers)) as u8;
        members.insert(one, true);
        self.now = members;
        self.grouped = false;
        replaces(whole(&self.now))
    }

    /// The same members, whose votes are counted otherwise.
    fn groups(&mut self) -> Request {
        let mut text = whole(&self.now);
        let voters: Vec<u8> = self.now.iter().filter(|(_, votes)| **votes).map(|(sid, _)| *sid).collect();
        let groups = self.r.between(1, 3);
        let mut lists = vec![Vec::new(); groups as usize];
        for (n, sid) in voters.into_iter().enumerate() {
            lists[self.r.below(groups) as usize].push(sid.to_string());
            // Someone weighs something.
            let weight = if n == 0 { 1 } else { self.r.pick(&[0, 1, 1, 2, 3]) };
            let _ = write!(text, ",weight.{sid}={weight}");
        }
        for (n, list) in lists.iter().enumerate().filter(|(_, l)| !l.is_empty()) {
            let _ = write!(text, ",group.{}={}", n + 1, list.join(":"));
        }
        self.grouped = true;
        replaces(text)
    }

    /// What cannot be.
    fn bad(&mut self) -> Request {
        let all = self.now.keys().map(u8::to_string).collect::<Vec<_>>().join(",");
        let (joining, leaving, new_members) = match self.r.below(6) {
            0 => (None, Some("x".to_owned()), None),
            1 => (None, Some(all), None),
            2 => (Some("server.1=s1:2888:3888:participant".to_owned()), None, None),
            3 => (Some("server.1".to_owned()), None, None),
            4 => (None, None, Some("server.1=s1:2888:3888:observer;2181".to_owned())),
            _ => (None, None, Some(String::new())),
        };
        Request::Reconfig { joining, leaving, new_members, config_id: -1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape;

    #[test]
    fn programs_ask_for_all_kinds_of_changes() {
        let (mut leaves, mut joining, mut wholes, mut spared) = (0, 0, 0, 0);
        for seed in 0..3000 {
            let Some(members) = shape::members(seed) else { continue };
            let Some(spares) = spares(seed, &members) else { continue };
            spared += usize::from(!spares.is_empty());
            let servers = (members.members().count() + spares.len()) as u8;
            let (_, ops) = program(seed, &members, servers, 1 << 34);
            assert!(ops.is_sorted_by_key(|o| o.at));
            for op in ops {
                if let Act::Call(Request::Reconfig { joining: j, leaving: l, new_members: n, .. }) = op.act {
                    leaves += usize::from(l.is_some());
                    joining += usize::from(j.is_some());
                    wholes += usize::from(n.is_some());
                }
            }
        }
        assert!(leaves > 300 && joining > 300 && wholes > 300, "{leaves} {joining} {wholes}");
        assert!(spared > 200, "{spared}");
    }
}
