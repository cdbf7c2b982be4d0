//! Who is in the ensemble, as far as anyone can tell from outside: configurations as they are proposed and as servers take
//! them up.

use super::World;
use super::server::Node;
use crate::check::Ensemble;
use crate::outcome::{Coverage, Hit};
use crate::workload::Act;
use zebu_core::boundary::RoleName;
use zebu_core::id::{Epoch, ServerId, Zxid};
use zebu_core::proto::{LoggedTxn, OpCode, Request, Txn};

/// A configuration that some server knows of.
#[derive(Debug)]
struct Known {
    version: i64,
    ensemble: Ensemble,
    /// Some server went by it.
    taken: bool,
}

/// The configurations of a run.
#[derive(Default, Debug)]
pub(super) struct Membership {
    /// All of them, the one of the settings first.
    known: Vec<Known>,
    /// The newest that some server went by.
    newest: usize,
    /// Requests for another one of which no one knows what becomes of them.
    pub(super) open: u32,
}

impl Membership {
    pub(super) fn reset(&mut self, ensemble: Ensemble) {
        self.known.clear();
        self.known.push(Known { version: 0, ensemble, taken: true });
        (self.newest, self.open) = (0, 0);
    }

    /// The last one that is known to be committed.
    pub(super) fn in_force(&self) -> &Ensemble {
        &self.known[self.newest].ensemble
    }

    /// All that were ever proposed.
    pub(super) fn all(&self) -> impl Iterator<Item = &Ensemble> {
        self.known.iter().map(|k| &k.ensemble)
    }

    /// Votes that some configuration gives.
    pub(super) fn ever_votes(&self, server: ServerId) -> bool {
        self.all().any(|e| e.votes(server))
    }

    fn learn(&mut self, version: i64, text: &str) -> usize {
        if let Some(at) = self.known.iter().position(|k| k.version == version) {
            return at;
        }
        self.known.push(Known { version, ensemble: Ensemble::parse(text), taken: false });
        self.known.len() - 1
    }

    pub(super) fn proposed(&mut self, zxid: Zxid, txn: &[u8]) {
        if let Ok(LoggedTxn { txn: Txn::Reconfig { data: Some(text), .. }, .. }) = LoggedTxn::decode(txn) {
            self.learn(zxid.0, &String::from_utf8_lossy(&text));
        }
    }

    /// A server goes by this one. `reign`: the epoch that it leads, if it does.
    pub(super) fn taken(&mut self, text: &str, reign: Option<Epoch>, coverage: &mut Coverage) {
        let version = text.rsplit_once("version=").and_then(|(_, v)| i64::from_str_radix(v.trim(), 16).ok());
        let at = self.learn(version.unwrap_or(0), text);
        let version = self.known[at].version;
        if std::mem::replace(&mut self.known[at].taken, true) || Zxid(version).counter() == 0 {
            // The one of the settings gets its number with the first epoch.
            if version > self.known[self.newest].version {
                self.newest = at;
            }
            return;
        }
        coverage.hit(Hit::Reconfigured);
        if reign.is_some_and(|epoch| epoch > Epoch::of(Zxid(version))) {
            coverage.hit(Hit::ReconfigInherited);
        }
        let (old, new) = (self.in_force(), &self.known[at].ensemble);
        let part = |e: &Ensemble, s: ServerId| e.members().iter().find(|m| m.server == s).map(|m| m.votes);
        for m in new.members() {
            match part(old, m.server) {
                None => coverage.hit(Hit::Joined),
                Some(votes) => coverage.hits(Hit::RoleChanged, u64::from(votes != m.votes)),
            }
        }
        let gone = old.members().iter().filter(|m| part(new, m.server).is_none()).count();
        coverage.hits(Hit::Dismissed, gone as u64);
        let same = old
            .members()
            .iter()
            .map(|m| (m.server, m.votes))
            .eq(new.members().iter().map(|m| (m.server, m.votes)));
        coverage.hits(Hit::Regrouped, u64::from(same && old != new));
        if version > self.known[self.newest].version {
            self.newest = at;
        }
    }

    /// Without these servers there is a quorum of every configuration from this version on.
    fn can_spare(&self, servers: u16, from: i64) -> bool {
        let stays = |server: ServerId| servers >> (server.0 - 1) & 1 == 0;
        self.known.iter().filter(|k| k.version >= from).all(|k| {
            let able = k.ensemble.members().iter().any(|m| m.votes && m.weight > 0 && stays(m.server));
            able && k.ensemble.is_quorum(stays)
        })
    }

    /// Configurations that were proposed and that no server ever went by.
    pub(super) fn died(&self) -> u64 {
        self.known.iter().filter(|k| !k.taken).count() as u64
    }
}

/// The transaction proposes a configuration.
pub(super) fn is_reconfig(txn: &[u8]) -> bool {
    // Behind session, cxid, zxid and time.
    txn.get(28..32) == Some(&(OpCode::Reconfig as i32).to_be_bytes())
}

impl World {
    /// A server of an ensemble whose membership changes goes by another configuration.
    pub(super) fn goes_by(&mut self, s: usize, text: &str) {
        let node = &mut self.nodes[s];
        let reign = (node.role == RoleName::Leader).then_some(node.epoch);
        node.keep_file(text);
        self.membership.taken(text, reign, &mut self.coverage);
    }

    /// It is a member by the newest configuration that anyone goes by.
    pub(super) fn is_member(&self, s: usize) -> bool {
        !self.plan.changes()
            || self.membership.in_force().members().iter().any(|m| m.server == self.nodes[s].id)
    }

    /// Servers may stay broken only if no change of the membership can make them indispensable. A member that is left and has not
    /// been told that the newest configuration is in force needs a quorum of the one before, too.
    pub(super) fn may_leave(&self) -> bool {
        if !self.plan.changes() {
            return true;
        }
        let is_change = |act: &Act| matches!(act, Act::Call(Request::Reconfig { .. }));
        let all_asked = self.plan.clients.iter().zip(&self.actors).all(|(plan, actor)| {
            plan.ops.get(actor.next_op..).unwrap_or_default().iter().all(|op| !is_change(&op.act))
        });
        let left = self.plan.left.servers;
        let stays = |n: &&Node| left >> (n.id.0 - 1) & 1 == 0 && self.membership.in_force().votes(n.id);
        let known_to_all = self.nodes.iter().filter(stays).map(Node::goes_by).min().unwrap_or(0);
        all_asked && self.membership.open == 0 && self.membership.can_spare(left, known_to_all)
    }
}
