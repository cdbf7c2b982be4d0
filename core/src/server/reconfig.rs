//! The configuration as it changes: what recovery knows of it, what is proposed, what is committed, and `/zookeeper/config`.
//! Answers to `QuorumPeer.processReconfig` and `ZKDatabase.initConfigInZKDatabase`.
//!
//! What a member must know after a crash lies in its log and tree: the node holds the last committed configuration, a
//! reconfiguration in the end of the log is the last one seen. Where the tree may hold what was not committed, the settings
//! count: the driver keeps the dynamic file.

use super::base::Base;
use super::member::{Member, Next};
use crate::boundary::Event;
use crate::config::EnsembleConfig;
use crate::disk::Recovered;
use crate::id::{Epoch, ServerId, SessionId, Zxid};
use crate::proto::{LoggedTxn, ServerState, Txn, TxnHeader};
use crate::quorum::{self, ConfigRules, LearnerType, QuorumVerifier, QuorumView};
use bytes::Bytes;
use std::sync::Arc;

/// Where the configuration is shown.
pub(super) const CONFIG_NODE: &str = "/zookeeper/config";

/// A configuration, if the text is one.
pub(super) fn parse(text: &[u8], rules: ConfigRules) -> Option<Arc<QuorumVerifier>> {
    QuorumVerifier::parse(std::str::from_utf8(text).ok()?, rules).ok().map(Arc::new)
}

/// What a transaction proposes, if it is a reconfiguration that can be read.
pub(super) fn proposed(txn: &Txn, rules: ConfigRules) -> Option<Arc<QuorumVerifier>> {
    match txn {
        Txn::Reconfig { data: Some(text), .. } => parse(text, rules),
        _ => None,
    }
}

/// The configurations that a member starts with: those of its settings, unless recovery knows later ones.
pub(super) fn recovered(config: &EnsembleConfig, recovered: &Recovered) -> QuorumView {
    let mut committed = Arc::new(config.members.clone());
    let mut last_seen = config.proposed.clone().map_or_else(|| committed.clone(), Arc::new);
    if config.reconfig_enabled {
        let node = recovered.tree.get(CONFIG_NODE).and_then(|n| n.data.clone());
        let shown = node.and_then(|text| parse(&text, config.rules));
        let (known, logged) = in_tail(recovered, shown.clone(), config.rules);
        let later = |old: &Arc<QuorumVerifier>, new: Option<Arc<QuorumVerifier>>| {
            new.filter(|new| new.version > old.version).unwrap_or_else(|| old.clone())
        };
        last_seen = later(&later(&last_seen, shown.clone()), logged);
        committed = later(&later(&committed, shown.filter(|_| recovered.is_committed())), known);
        last_seen = later(&committed, Some(last_seen));
    }
    QuorumView { committed, last_seen, heard_of: None }
}

/// The last configuration of the tree and the log's tail, and the last one that must have been committed: the next is proposed
/// only then, and the first transaction of a later epoch, too.
fn in_tail(
    recovered: &Recovered,
    shown: Option<Arc<QuorumVerifier>>,
    rules: ConfigRules,
) -> (Option<Arc<QuorumVerifier>>, Option<Arc<QuorumVerifier>>) {
    let (mut committed, mut last) = (None, shown);
    let follows = |zxid: Zxid, config: &Option<Arc<QuorumVerifier>>| {
        let later = |c: &Arc<QuorumVerifier>| Epoch::of(zxid) > Epoch::of(Zxid(c.version));
        zxid.counter() > 0 && config.as_ref().is_some_and(later)
    };
    if follows(recovered.tree.last_zxid(), &last) {
        committed.clone_from(&last);
    }
    for (zxid, body) in &recovered.tail {
        if follows(*zxid, &last) {
            committed.clone_from(&last);
        }
        if let Some(config) = LoggedTxn::decode(body).ok().and_then(|logged| proposed(&logged.txn, rules)) {
            committed = last.replace(config).or(committed);
        }
    }
    (committed, last)
}

impl Member {
    /// A configuration is proposed: its voters are heard and reached from here on.
    pub(super) fn see_config(&mut self, base: &mut Base, config: Arc<QuorumVerifier>) {
        let QuorumView { committed, last_seen, .. } = self.view().clone();
        if config.version > last_seen.version {
            self.set_view(base, QuorumView { committed, last_seen: config, heard_of: None });
        }
    }

    /// What a new leader has seen last is what this server has seen last, even if it knows of a later proposal: that one was cut
    /// off.
    pub(super) fn see_leaders_config(&mut self, base: &mut Base, config: Arc<QuorumVerifier>) {
        let committed = self.view().committed.clone();
        let last_seen = if config.version > committed.version { config } else { committed.clone() };
        self.set_view(base, QuorumView { committed, last_seen, heard_of: None });
    }

    /// What the rest of the server goes by of the configuration in force.
    pub(super) fn goes_by(&self, base: &mut Base, config: &QuorumVerifier) {
        base.voters = config.voters().count();
        if let Some(addr) = config.member(self.me).and_then(|m| m.client.as_ref()) {
            base.config.host.client_port = addr.port;
        }
    }

    /// A configuration is in force. True: it is another one than before.
    pub(super) fn take_up_config(&mut self, base: &mut Base, config: Arc<QuorumVerifier>) -> bool {
        let QuorumView { committed, last_seen, .. } = self.view().clone();
        // The initial one has the number that the leader knows it by.
        let renumbered = quorum::is_initial(config.version) && quorum::is_initial(committed.version);
        if config.version == committed.version || (config.version < committed.version && !renumbered) {
            return false;
        }
        let last_seen = if last_seen.version > config.version { last_seen } else { config.clone() };
        self.goes_by(base, &config);
        base.event(Event::Reconfigured { text: config.to_string() });
        self.set_view(base, QuorumView { committed: config, last_seen, heard_of: None });
        true
    }

    /// After a reconfiguration: what this server is to be under `leader`, without an election.
    pub(super) fn take_role(&mut self, leader: ServerId, zxid: Zxid) -> Next {
        match self.settle(leader, zxid) {
            ServerState::Leading => Next::Lead,
            ServerState::Following => Next::Learn(LearnerType::Participant, leader),
            ServerState::Observing => Next::Learn(LearnerType::Observer, leader),
            ServerState::Looking => Next::Look,
        }
    }
}

impl Base {
    /// Shows the configuration in force in [`CONFIG_NODE`], which a new epoch and a snapshot may have left behind. What a later
    /// transaction wrote there (whoever has the permission can) is everybody's, and stays.
    pub(super) fn show_config(&mut self, config: &QuorumVerifier) {
        let text = Bytes::from(config.to_string());
        let written = |n: &crate::tree::Node| n.stat.mzxid.0 > config.version && n.stat.mzxid.counter() > 0;
        let shown = |n: &crate::tree::Node| n.data.as_ref() == Some(&text) || written(n);
        if self.tree.get(CONFIG_NODE).is_some_and(shown) {
            return;
        }
        let header = TxnHeader { session: SessionId::NONE, cxid: 0, zxid: Zxid(config.version), time: 0 };
        let txn = Txn::Reconfig { path: CONFIG_NODE.to_owned(), data: Some(text), version: -1 };
        self.tree.apply(&header, &txn, &mut self.changes);
        // Nobody is served yet.
        self.changes.clear();
    }
}
