//! The toy as an ensemble: three voters and an observer that follow a leader, event by event.

use super::*;
use std::cell::Cell;
use std::collections::VecDeque;
use zebu_core::boundary::RoleName;
use zebu_core::config::EnsembleConfig;
use zebu_core::quorum::{ConfigRules, QuorumVerifier};

thread_local! {
    static ENSEMBLE: Cell<bool> = const { Cell::new(false) };
}

/// The test holds for a standalone server and for an ensemble: [`Toy::new`] makes the one, then the other.
pub(super) fn both(test: impl Fn()) {
    test();
    ensemble(test);
}

/// [`Toy::new`] makes an ensemble in this test.
pub(super) fn ensemble(test: impl Fn()) {
    ENSEMBLE.set(true);
    test();
    ENSEMBLE.set(false);
}

pub(super) fn is_ensemble() -> bool {
    ENSEMBLE.get()
}

pub(super) const VOTERS: [ServerId; 3] = [ServerId(1), ServerId(2), ServerId(3)];
pub(super) const OBSERVER: ServerId = ServerId(4);

/// A member of the toy.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) server: ServerId,
    pub(super) incarnation: u32,
    pub(super) image: Image,
    /// It is up and follows the leader.
    pub(super) follows: bool,
    /// What was committed reaches it later: see [`Toy::catch_up`].
    pub(super) lags: bool,
    waiting: VecDeque<(Zxid, Bytes, u64)>,
    /// What it lacks in its log, and was committed.
    pub(super) missed: Vec<(Zxid, Bytes, u64)>,
}

pub(super) fn config() -> EnsembleConfig {
    let line = |n: i64| {
        let role = if n == 4 { "observer" } else { "participant" };
        format!("server.{n}=h{n}:2888:3888:{role}\n")
    };
    let text: String = (1..=4).map(line).collect();
    EnsembleConfig::new(QuorumVerifier::parse(&text, ConfigRules::default()).expect("a configuration"))
}

pub(super) fn nodes() -> Vec<Node> {
    let node = |server: ServerId| Node {
        server,
        incarnation: 0,
        image: Image::default(),
        follows: true,
        lags: false,
        waiting: VecDeque::new(),
        missed: Vec::new(),
    };
    VOTERS.into_iter().chain([OBSERVER]).map(node).collect()
}

impl Toy {
    /// Four servers start, and the first leads.
    pub(super) fn begin_ensemble(&mut self) {
        self.nodes = nodes();
        for server in self.servers() {
            let wall = Millis(self.time());
            self.push(Entry::Clock { server, mono: Time(0), wall, ppm: 0 });
            self.push(Entry::Restart { server, incarnation: 0 });
            let fresh = restored(Zxid::ZERO, self.tree.digest());
            self.h.recovered(self.now, server, fresh, []);
            self.event_at(server, Event::Vouched(Vouch::Recovered(Zxid::ZERO)));
            self.event_at(server, Event::Became(RoleName::Looking));
        }
        self.elect(SERVER, 1);
    }

    pub(super) fn servers(&self) -> Vec<ServerId> {
        self.nodes.iter().map(|n| n.server).collect()
    }

    fn followers(&self) -> Vec<ServerId> {
        let leader = self.leader;
        self.nodes.iter().filter(|n| n.follows && n.server != leader).map(|n| n.server).collect()
    }

    pub(super) fn node(&mut self, server: ServerId) -> &mut Node {
        self.nodes.iter_mut().find(|n| n.server == server).expect("a member")
    }

    pub(super) fn event_at(&mut self, server: ServerId, event: Event) {
        let incarnation = if self.nodes.is_empty() { 0 } else { self.node(server).incarnation };
        self.push(Entry::Server { server, incarnation, event });
    }

    /// Changes what is durable at a server.
    pub(super) fn image(&mut self, server: ServerId, change: impl FnOnce(&mut Image)) {
        if self.image {
            let image = &mut self.node(server).image;
            change(image);
            let image = *image;
            self.push(Entry::Image { server, image });
        }
    }

    /// All that follow take up a new epoch under this leader, whose log is everyone's.
    pub(super) fn elect(&mut self, leader: ServerId, epoch: i64) {
        let epoch = Epoch(epoch);
        self.leader = leader;
        self.node(leader).follows = true;
        let followers = self.followers();
        let all: Vec<ServerId> = [leader].into_iter().chain(followers).collect();
        for server in &all {
            self.image(*server, |i| i.accepted = epoch);
            self.event_at(*server, Event::Vouched(Vouch::AckEpoch(epoch)));
        }
        self.event_at(leader, Event::Established { epoch });
        for server in &all {
            self.image(*server, |i| i.current = epoch);
            self.event_at(*server, Event::Vouched(Vouch::AckNewLeader(epoch)));
        }
        for server in &all {
            self.event_at(*server, Event::Activated { epoch });
        }
        self.zxid = epoch.start();
    }

    /// The leader and what follows it lose each other.
    pub(super) fn part(&mut self) {
        for server in self.servers() {
            self.event_at(server, Event::Became(RoleName::Looking));
        }
    }

    /// A transaction is proposed, logged everywhere, acked by the voters among those that follow.
    pub(super) fn replicate(&mut self, zxid: Zxid, body: &Bytes) {
        let (leader, txn) = (self.leader, body);
        self.event_at(leader, Event::Proposed { zxid, txn: txn.clone() });
        let followers: Vec<ServerId> = self.followers().into_iter().filter(|s| *s != OBSERVER).collect();
        for server in [leader].into_iter().chain(followers) {
            self.event_at(server, Event::Logged { zxid, txn: txn.clone() });
            self.image(server, |i| i.last = zxid);
            let vouch = if server == leader { Vouch::OwnAck(zxid) } else { Vouch::Ack(zxid) };
            self.event_at(server, Event::Vouched(vouch));
        }
    }

    /// The leader commits it, and all that follow do unless they lag.
    pub(super) fn commit_everywhere(&mut self, zxid: Zxid, body: &Bytes) {
        let (leader, digest, txn) = (self.leader, self.tree.digest(), body);
        let acks: Vec<ServerId> =
            VOTERS.into_iter().filter(|s| *s == leader || self.followers().contains(s)).collect();
        self.event_at(leader, Event::QuorumAcked { zxid, acks });
        for server in self.servers() {
            let node = self.node(server);
            if server != leader && !node.follows {
                node.missed.push((zxid, txn.clone(), digest));
            } else if node.lags {
                node.waiting.push_back((zxid, txn.clone(), digest));
            } else {
                self.apply_at(server, (zxid, txn.clone(), digest));
            }
        }
    }

    fn apply_at(&mut self, server: ServerId, (zxid, txn, digest): (Zxid, Bytes, u64)) {
        if server == OBSERVER {
            self.event_at(server, Event::Logged { zxid, txn: txn.clone() });
            self.image(server, |i| i.last = zxid);
        }
        self.event_at(server, Event::Committed { zxid, txn });
        self.event_at(server, Event::Applied { zxid, digest });
    }

    /// Another server, with all that there is and not in the configuration.
    pub(super) fn join(&mut self, server: ServerId) {
        let like = self.node(OBSERVER).clone();
        self.nodes.push(Node { server, image: Image::default(), ..like.clone() });
        let digest = self.tree.digest();
        self.event_at(server, Event::Installed { zxid: like.image.last, digest });
        self.image(server, |i| *i = like.image);
        self.event_at(server, Event::Vouched(Vouch::AckNewLeader(like.image.current)));
        self.event_at(server, Event::Activated { epoch: like.image.current });
    }

    /// What a server was not told yet reaches it.
    pub(super) fn catch_up(&mut self, server: ServerId) {
        self.node(server).lags = false;
        while let Some(next) = self.node(server).waiting.pop_front() {
            self.apply_at(server, next);
        }
    }
}
