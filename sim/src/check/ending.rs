//! L4, F1, Z3 at the end of a run of an ensemble: every healed server serves, and all of them the same.

use super::model::Model;
use super::peers::Peers;
use super::{Cx, Found, Rule};
use crate::history::Replica;
use zebu_core::id::ServerId;
use zebu_core::time::Time;

impl Peers {
    /// Z3, L4, F1: nothing is committed and not applied; every server serves and has all that was acknowledged.
    pub(super) fn finish(&self, cx: Cx<'_>, model: &Model, found: &mut Found) {
        // Whoever died in between is excused.
        for p in self.peers.iter().filter(|p| p.applied != p.committed && p.serves.is_some()) {
            found.add(Rule::Z3, cx.at, || {
                let (committed, applied) = (self.lines.zxid(p.committed), self.lines.zxid(p.applied));
                format!("server {} committed {committed} but applied {applied} only", p.server)
            });
        }
        let Some(healed) = self.healed else { return };
        // A run that tells of replicas ended since all was quiet, or after it had been waited for longer than any bound.
        let over = !self.replicas.is_empty() || cx.at.since(healed) >= cx.limits.leader;
        if !over {
            return;
        }
        self.replicas_agree(cx, model, found);
        let settled = model.known_before(Time(cx.at.0.saturating_sub(cx.limits.catch_up.0)));
        let well = self.whole.map(|set| &cx.h.sets[set.0 as usize]);
        for server in self.config_at(cx, self.end()).members().iter().map(|m| m.server) {
            let p = self.peer(server);
            // Its disk may keep it from starting.
            let lied = p.is_some_and(|p| p.lied && p.serves.is_none());
            if lied || well.is_some_and(|w| !w.contains(&server)) {
                continue;
            }
            found.look(Rule::L4);
            let Some(p) = p.filter(|p| p.serves.is_some()) else {
                found.add(Rule::L4, cx.at, || format!("server {server} does not serve in the end"));
                continue;
            };
            found.look(Rule::F1);
            match self.in_c(p.applied) {
                Some(index) if index >= settled => {}
                Some(index) => found.add(Rule::L4, cx.at, || {
                    let (is, end) = (model.zxid(index), model.zxid(settled));
                    format!("server {server} is at {is} in the end, and {end} was committed long ago")
                }),
                None => {
                    let (common, end) = (self.lines.common(p.applied, self.end()), self.end());
                    let rule = if common == end { Rule::L4 } else { Rule::F1 };
                    found.add(rule, cx.at, || {
                        let (is, lost) = (self.lines.zxid(p.applied), self.lines.zxid(end));
                        format!("server {server} is at {is} in the end, without {lost}, which was committed")
                    });
                }
            }
        }
    }
    /// L4: trees, sessions and logs of servers that have come as far are equal, and equal to what was committed.
    fn replicas_agree(&self, cx: Cx<'_>, model: &Model, found: &mut Found) {
        let get = |n: usize| {
            let (server, replica) = self.replicas[n];
            (server, &cx.h.replicas[replica.0 as usize])
        };
        for n in 0..self.replicas.len() {
            let (server, mine): (ServerId, &Replica) = get(n);
            found.look(Rule::L4);
            let wanted = model.index(mine.last).map(|i| model.digest(i));
            if wanted.is_some_and(|w| w != mine.digest) {
                found.add(Rule::L4, cx.at, || {
                    format!("server {server}'s tree at {} is not what was committed", mine.last)
                });
            }
            // Its twins: those before it that have come as far. What /zookeeper/config shows is in no log, so it may be missing where
            // none is served.
            let mut twins = (0..n).map(get).filter(|(_, t)| t.last == mine.last);
            let Some((other, twin)) = twins.clone().next() else { continue };
            if let Some((other, _)) = twins.find(|(_, t)| t.serving && mine.serving && t.dump != mine.dump) {
                found.add(Rule::L4, cx.at, || {
                    format!("servers {other} and {server} differ in their trees or sessions at {}", mine.last)
                });
            }
            // One may lack what its snapshot holds, another what is under way still.
            let mut theirs = twin.log.iter().peekable();
            for (zxid, hash) in &mine.log {
                while theirs.next_if(|(z, _)| z < zxid).is_some() {}
                if theirs.peek().is_some_and(|(z, h)| z == zxid && h != hash) {
                    found.add(Rule::L4, cx.at, || {
                        format!("the logs of servers {other} and {server} differ at {zxid}")
                    });
                }
            }
        }
    }
}
