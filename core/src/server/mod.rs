//! One server: bytes in, bytes and disk operations out. Answers to `ZooKeeperServer`, `QuorumPeer` and their request
//! processors. The only module that knows all the others.
//!
//! [`Base`] is what outlives a role: tree, sessions, watches, store, clients. [`Member`] is what outlives it in an ensemble:
//! the election, the connections of the quorum port. A [`Role`] is a value that borrows them.
//! A write goes front → clients → proposer (prep) → store or zab → commit: tree, watches, reply; a read goes front →
//! clients → reply.

mod base;
mod clients;
mod conn;
mod front;
mod leading;
mod learning;
mod line;
mod local;
mod logs;
mod looking;
mod masters;
mod member;
mod mntr;
mod observers;
mod outstanding;
mod peers;
mod prep;
mod proposer;
mod read;
mod reaper;
mod reconfig;
mod reply;
mod snapshots;
mod solo;
mod stats;
mod words;

use crate::boundary::{Input, Output, RoleName, Timer};
use crate::config::Config;
use crate::disk::{Recovered, Store};
use crate::id::Zxid;
use crate::quorum::QuorumVerifier;
use crate::rng::Rng;
use crate::session::Sessions;
use crate::time::{Now, Span, Time};
use crate::tree::Tree;
use crate::watch::WatchTable;
use base::Base;
use conn::Connections;
use leading::Leading;
use learning::Learning;
use local::Local;
use looking::Looking;
use member::{Member, Next};
use solo::Solo;
use stats::Stats;
use std::collections::BTreeMap;

/// A server. [`Server::step`] is its only door.
#[derive(Debug)]
pub struct Server {
    base: Base,
    role: Role,
}

/// What a server is at the moment: exactly one of these.
#[derive(Debug)]
enum Role {
    /// Standalone: a quorum of one.
    Solo(Solo),
    /// In an ensemble, without a leader.
    Looking(Box<Member>, Looking),
    /// The leader, or elected to be it.
    Leading(Box<Member>, Box<Leading>),
    /// A follower or observer, or about to be one.
    Learning(Box<Member>, Box<Learning>),
    /// Only while one role takes the place of another.
    Changing,
}

/// Read-only: for checkers, metrics and admin queries.
#[derive(Debug)]
pub struct View<'a> {
    /// The applied state.
    pub tree: &'a Tree,
    /// The live sessions.
    pub sessions: &'a Sessions,
    /// What the server is.
    pub role: RoleName,
    /// True once clients are served, in full.
    pub serving: bool,
    /// The last transaction that got a zxid here or, in an ensemble, was logged.
    pub last_proposed: Zxid,
    /// Open client connections.
    pub connections: usize,
}

impl Server {
    /// A server on what recovery found. The first step, whatever it is, starts its disk work; clients are served and votes
    /// are cast once what was recovered is durable.
    pub fn new(config: Config, recovered: Recovered, seed: [u8; 32], now: Now) -> Server {
        let mut rng = Rng::new(seed);
        let mut out = Vec::new();
        // A standalone server creates sessions as server 1.
        let session_server = config.ensemble.as_ref().map_or(1, |_| config.server_id.0 as u8);
        let mut sessions =
            Sessions::new(session_server, recovered.last_zxid, Span::from_millis(config.tick_ms));
        sessions.restore(recovered.sessions.iter().copied(), now.mono);
        let member = config.ensemble.as_ref().map(|ensemble| {
            let (server_id, tick) = (config.server_id, Span::from_millis(config.tick_ms));
            Member::recover(server_id, tick, ensemble, &recovered, rng.seed())
        });
        let (local_sessions, local_upgrading) =
            config.ensemble.as_ref().map_or((false, false), |e| (e.local_sessions, e.local_upgrading));
        let is_committed = recovered.is_committed();
        let (tree, store) = Store::open(recovered, &config, rng.seed(), &mut out);
        let mut base = Base {
            now,
            started: now,
            role: RoleName::Standalone,
            tree,
            sessions,
            local: Local::new(local_sessions, local_upgrading, Span::from_millis(config.tick_ms)),
            watches: WatchTable::new(rng.u64()),
            rng: Rng::new(rng.seed()),
            store,
            conns: Connections::new(config.max_client_cnxns, config.max_cnxns),
            connecting: BTreeMap::new(),
            stats: Stats::default(),
            waiting: 0,
            voters: 0,
            out,
            changes: Vec::new(),
            wrong: None,
            is_committed,
            config,
        };
        let role = match member {
            None => Role::Solo(Solo::new(&base)),
            Some((member, history)) => {
                member.goes_by(&mut base, &member.view().committed);
                Role::Looking(Box::new(member), Looking::recovering(history))
            }
        };
        Server { base, role }
    }

    /// The configuration in force, of a member: the driver's own file may be behind it.
    pub fn configuration(&self) -> Option<&QuorumVerifier> {
        match &self.role {
            Role::Solo(_) => None,
            Role::Changing => unreachable!("a step ends with a role"),
            Role::Looking(m, _) => Some(&m.view().committed),
            Role::Leading(m, _) => Some(&m.view().committed),
            Role::Learning(m, _) => Some(&m.view().committed),
        }
    }

    /// Takes one input and appends what is to be done to `out`. Never fails, never blocks. `now.mono` must not go back.
    pub fn step(&mut self, now: Now, input: Input<'_>, out: &mut Vec<Output>) {
        assert!(now.mono >= self.base.now.mono, "the monotonic clock went back");
        self.base.now = now;
        out.append(&mut self.base.out);
        std::mem::swap(&mut self.base.out, out);
        let base = &mut self.base;
        let mut next = match &mut self.role {
            Role::Solo(solo) => {
                solo.on(base, input);
                None
            }
            Role::Looking(m, looking) => looking.on(base, m, input),
            Role::Leading(m, leading) => leading.on(base, m, input),
            Role::Learning(m, learning) => learning.on(base, m, input),
            Role::Changing => unreachable!("a step ends with a role"),
        };
        while let Some(role) = next {
            next = self.become_next(role);
        }
        self.base.flush();
        self.flush_peers();
        std::mem::swap(&mut self.base.out, out);
    }

    fn flush_peers(&mut self) {
        match &mut self.role {
            Role::Looking(m, _) => {
                m.peers.flush(&mut self.base.out);
            }
            Role::Learning(m, learning) => {
                for conn in m.peers.flush(&mut self.base.out) {
                    learning.observer_gone(&mut self.base, conn);
                }
            }
            Role::Leading(m, leading) => {
                for conn in m.peers.flush(&mut self.base.out) {
                    leading.peer_gone(&mut self.base, conn);
                }
            }
            Role::Solo(_) | Role::Changing => {}
        }
    }

    /// The only place that installs a role.
    fn become_next(&mut self, next: Next) -> Option<Next> {
        let base = &mut self.base;
        let (mut m, history) = match std::mem::replace(&mut self.role, Role::Changing) {
            Role::Looking(m, looking) => (m, looking.end(base)),
            Role::Leading(m, leading) => (m, leading.end(base)),
            Role::Learning(m, learning) => (m, learning.end(base)),
            Role::Solo(_) | Role::Changing => unreachable!("only members change their roles"),
        };
        match next {
            Next::Look => {
                let (looking, next) = Looking::begin(base, &mut m, history);
                self.role = Role::Looking(m, looking);
                next
            }
            Next::Lead => {
                let (leading, next) = Leading::begin(base, &mut m, history);
                self.role = Role::Leading(m, Box::new(leading));
                next
            }
            Next::Learn(kind, leader) => {
                let (learning, next) = Learning::begin(base, &mut m, history, kind, leader);
                self.role = Role::Learning(m, Box::new(learning));
                next
            }
        }
    }

    /// When to step it with [`Input::Wake`] if nothing else happens, and which timer that is.
    pub fn next_wake(&self) -> Option<(Time, Timer)> {
        match &self.role {
            Role::Solo(solo) => solo.next_wake(&self.base),
            Role::Looking(m, looking) => looking.next_wake(&self.base).chain(m.next_wake()).min(),
            Role::Leading(m, leading) => leading.next_wake(&self.base).chain(m.next_wake()).min(),
            Role::Learning(m, learning) => learning.next_wake(&self.base).chain(m.next_wake()).min(),
            Role::Changing => unreachable!("a step ends with a role"),
        }
    }

    /// What it is and holds.
    pub fn view(&self) -> View<'_> {
        let base = &self.base;
        let (serving, last_proposed) = match &self.role {
            Role::Solo(solo) => (solo.is_serving(), solo.last_proposed()),
            Role::Looking(_, looking) => (false, looking.history().last()),
            Role::Leading(_, leading) => (leading.is_serving(), leading.history().last()),
            Role::Learning(_, learning) => (learning.is_serving(), learning.history().last()),
            Role::Changing => unreachable!("a step ends with a role"),
        };
        View {
            tree: &base.tree,
            sessions: &base.sessions,
            role: base.role,
            serving,
            last_proposed,
            connections: base.conns.len(),
        }
    }
}

#[cfg(test)]
mod tests;
