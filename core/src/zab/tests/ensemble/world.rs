//! Servers, links and clients of one seed, on a virtual clock.

mod faults;
mod links;

use super::check::Ghost;
use super::disk::{Disk, Image, List, Op};
use crate::boundary::{Conn, Vouch};
use crate::id::{Epoch, ServerId, Zxid};
use crate::proto::{FromLeader, FromLearner, PacketType, QuorumPacket};
use crate::quorum::{ConfigRules, LearnerType, QuorumVerifier, QuorumView};
use crate::rng::Rng;
use crate::time::{Span, Time};
use crate::zab::{History, Leader, Learner, Lost, Settings, WindowLimits, ZabOut};
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::rc::Rc;

pub(super) const MS: u64 = 1_000_000;

/// What a seed draws.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) voters: usize,
    pub(super) observers: usize,
    window: WindowLimits,
    last_counter: u32,
    /// Per mille of a fault at each beat.
    crash: u64,
    cut: u64,
    partition: u64,
    hand_over: u64,
    snapshot: u64,
    slow_disk: bool,
    wild_election: bool,
    client_every: u64,
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng) -> Plan {
        let on = |rng: &mut Rng, most: u64| if rng.below(3) == 0 { 0 } else { rng.below(most) };
        Plan {
            voters: [3, 3, 3, 5][rng.below(4) as usize],
            observers: rng.below(2) as usize,
            window: WindowLimits { txns: 1 + rng.below(12) as usize, bytes: 1 << 20 },
            last_counter: if rng.below(6) == 0 { 8 + rng.below(40) as u32 } else { u32::MAX - 1 },
            crash: on(rng, 120),
            cut: on(rng, 120),
            partition: on(rng, 60),
            hand_over: on(rng, 15),
            snapshot: on(rng, 60),
            slow_disk: rng.below(3) == 0,
            wild_election: rng.below(2) == 0,
            client_every: 6 + rng.below(80),
        }
    }
}

#[derive(Clone, Debug)]
enum Role {
    Down,
    Looking,
    Leading(Box<Leader>),
    Learning(Box<Learner>, usize),
}

#[derive(Debug)]
struct Node {
    role: Role,
    /// While it has no role that holds it.
    history: Option<History>,
    disk: Disk,
    tree: List,
    serving: bool,
    /// Life and role: what is late for an older one is for nobody.
    life: u64,
    disk_due: bool,
    /// Snapshots wanted by learners of this leader.
    wanted: VecDeque<Conn>,
    /// A snapshot that came in.
    staged: Option<Rc<List>>,
    /// How much was committed at the leader when each sync was asked for.
    syncs: BTreeMap<u64, usize>,
}

#[derive(Clone, Debug)]
enum Cargo {
    Packet(QuorumPacket),
    Snapshot(Rc<List>),
    End,
}

#[derive(Clone, Debug)]
struct Link {
    learner: usize,
    leader: usize,
    /// To the leader, to the learner.
    queues: [VecDeque<Cargo>; 2],
    last: [u64; 2],
    /// The end has been closed on this side: at the leader, at the learner.
    shut: [bool; 2],
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    Arrive(u64, usize),
    Dialled(usize, u64),
    Disk(usize, u64),
    Elect(usize, u64),
    Restart(usize, u64),
    Snapshot(usize, u64),
    Log(usize, u64, Conn, Zxid),
    Client,
    Beat,
}

/// What happened in a seed: to see that the space is covered.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(pub(super) BTreeMap<String, u64>);

impl Tally {
    fn add(&mut self, what: &str) {
        *self.0.entry(what.to_owned()).or_default() += 1;
    }
}

#[derive(Debug)]
pub(super) struct World {
    plan: Plan,
    rng: Rng,
    now: u64,
    seq: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    nodes: Vec<Node>,
    links: BTreeMap<u64, Link>,
    next_link: u64,
    blocked: BTreeSet<(usize, usize)>,
    view: QuorumView,
    pub(super) ghost: Ghost,
    faults: bool,
    /// Who was stepped last.
    stepped: Option<usize>,
    next_body: u64,
    next_tag: u64,
    pub(super) tally: Tally,
    pub(super) log: Option<Vec<String>>,
}

fn body(payload: u64) -> Bytes {
    Bytes::copy_from_slice(&payload.to_be_bytes())
}
fn payload(body: &Bytes) -> u64 {
    u64::from_be_bytes(body[..].try_into().expect("ours are 8 bytes"))
}
fn sid(node: usize) -> ServerId {
    ServerId(node as i64 + 1)
}

impl World {
    pub(super) fn new(seed: u64, log: bool) -> World {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = Rng::new(bytes);
        let plan = Plan::draw(&mut rng);
        let lines: String = (1..=plan.voters + plan.observers)
            .map(|i| {
                let role = if i <= plan.voters { "participant" } else { "observer" };
                format!("server.{i}=h{i}:2888:3888:{role}\n")
            })
            .collect();
        let config = QuorumVerifier::parse(&lines, ConfigRules::default()).expect("a configuration");
        let node = |_| Node {
            role: Role::Down,
            history: None,
            disk: Disk::new(),
            tree: Vec::new(),
            serving: false,
            life: 0,
            disk_due: false,
            wanted: VecDeque::new(),
            staged: None,
            syncs: BTreeMap::new(),
        };
        let mut world = World {
            nodes: (0..plan.voters + plan.observers).map(node).collect(),
            plan,
            rng,
            now: 0,
            seq: 0,
            events: BinaryHeap::new(),
            links: BTreeMap::new(),
            next_link: 0,
            blocked: BTreeSet::new(),
            view: QuorumView::settled(config),
            ghost: Ghost::default(),
            faults: true,
            stepped: None,
            next_body: 0,
            next_tag: 0,
            tally: Tally::default(),
            log: log.then(Vec::new),
        };
        for n in 0..world.nodes.len() {
            world.start(n);
        }
        world.at(5 * MS, Event::Client);
        world.at(20 * MS, Event::Beat);
        world
    }

    fn settings(&self) -> Settings {
        Settings {
            tick: Span::from_millis(200),
            init_limit: 5,
            sync_limit: 3,
            finalize_wait: Span::ZERO,
            last_counter: self.plan.last_counter,
            reconfig_enabled: false,
            force_snapshot: false,
            observer_masters: false,
            observer_size_limit: 32 << 20,
            epoch_wait: None,
        }
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(log) = &mut self.log {
            log.push(format!("{:>9.3} {}", now as f64 / MS as f64, text()));
        }
    }

    fn at(&mut self, after: u64, event: Event) {
        self.seq += 1;
        self.events.push(Reverse((self.now + after, self.seq, event)));
    }
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.rng.below(high - low)
    }
    fn chance(&mut self, per_mille: u64) -> bool {
        self.rng.below(1000) < per_mille
    }

    /// Runs until `end`.
    pub(super) fn run(&mut self, end: u64) {
        loop {
            let event = self.events.peek().map_or(u64::MAX, |Reverse((at, _, _))| *at);
            let wakes = self.nodes.iter().enumerate().filter_map(|(n, node)| {
                let at = match &node.role {
                    Role::Down | Role::Looking => None,
                    Role::Leading(l) => l.next_wake(),
                    Role::Learning(l, _) => l.next_wake(),
                };
                at.map(|t| (t.0, n))
            });
            let wake = wakes.min().unwrap_or((u64::MAX, 0));
            if event.min(wake.0) > end {
                self.now = end;
                return;
            }
            if event <= wake.0 {
                let Reverse((at, _, event)) = self.events.pop().expect("peeked");
                self.now = self.now.max(at);
                self.happen(event);
            } else {
                self.now = self.now.max(wake.0);
                self.step(wake.1, |role, now, out| match role {
                    Role::Down | Role::Looking => {}
                    Role::Leading(l) => l.wake(now, out),
                    Role::Learning(l, _) => l.wake(now, out),
                });
            }
            self.crash_behind_a_step();
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive(link, side) => self.arrive(link, side),
            Event::Dialled(n, life) => self.dialled(n, life),
            Event::Disk(n, life) => self.disk(n, life),
            Event::Elect(n, life) => self.elect(n, life),
            Event::Restart(n, life) => {
                if self.nodes[n].life == life {
                    self.start(n);
                }
            }
            Event::Snapshot(n, life) => self.begin_snapshot(n, life),
            Event::Log(n, life, conn, after) => self.read_log(n, life, conn, after),
            Event::Client => self.client(),
            Event::Beat => self.beat(),
        }
    }

    /// One step of a role, and all that it asks for.
    fn step(&mut self, n: usize, f: impl FnOnce(&mut Role, Time, &mut Vec<ZabOut>)) {
        let mut out = Vec::new();
        f(&mut self.nodes[n].role, Time(self.now), &mut out);
        let life = self.nodes[n].life;
        for o in out {
            assert_eq!(self.nodes[n].life, life, "outputs after Lost: {o:?}");
            self.carry_out(n, o);
        }
        self.schedule_disk(n);
        self.stepped = Some(n);
    }

    /// Most of what a crash can tear lies between the writes of discovery and synchronisation.
    fn crash_behind_a_step(&mut self) {
        let Some(n) = self.stepped.take() else { return };
        if self.faults && self.nodes[n].disk.queued() > 1 && self.plan.crash > 0 {
            let order = self.nodes[n].disk.has_order();
            if self.chance(if order { 30 } else { 2 }) {
                self.crash(n);
            }
        }
    }

    fn schedule_disk(&mut self, n: usize) {
        if self.nodes[n].disk.is_busy() && !self.nodes[n].disk_due {
            let life = self.nodes[n].life;
            self.nodes[n].disk_due = true;
            let after = self.disk_delay();
            self.at(after, Event::Disk(n, life));
        }
    }

    fn carry_out(&mut self, n: usize, out: ZabOut) {
        self.note(|| format!("{} {out:?}", n + 1));
        match out {
            ZabOut::Send { conn, packet } => {
                self.check_promise(n, &packet);
                self.tally.add(&format!("{:?}", packet.kind));
                self.put(n, conn, Cargo::Packet(packet));
            }
            ZabOut::SendSnapshot { conn, .. } => {
                let tree = Rc::new(self.nodes[n].tree.clone());
                self.put(n, conn, Cargo::Snapshot(tree));
            }
            ZabOut::Close { conn, cause } => {
                self.tally.add(&format!("closed: {cause:?}"));
                self.shut(n, conn);
            }
            ZabOut::Dial => {
                let (after, life) = (self.between(MS / 4, 4 * MS), self.nodes[n].life);
                self.at(after, Event::Dialled(n, life));
            }
            ZabOut::Append { zxid, body } => self.ask(n, Op::Append(zxid, payload(&body))),
            ZabOut::WriteEpoch { file, epoch } => self.ask(n, Op::Epoch(file, epoch)),
            ZabOut::Truncate { to } => {
                self.ask(n, Op::Truncate(to));
                assert!(self.nodes[n].tree.last().is_none_or(|(z, _)| *z <= to), "the tree holds more");
                self.tally.add("truncated");
            }
            ZabOut::Install { txns, upto } => {
                let list = self.nodes[n].staged.take().expect("a snapshot came in");
                let mut list = (*list).clone();
                list.extend(txns.iter().map(|(zxid, body)| (*zxid, payload(body))));
                self.nodes[n].tree = list.clone();
                self.ask(n, Op::Install(upto, Rc::new(list)));
                self.tally.add("installed");
            }
            ZabOut::Park(vouch) => self.nodes[n].disk.park(vouch),
            ZabOut::WantSnapshot { conn } => {
                self.nodes[n].wanted.push_back(conn);
                let (after, life) = (self.between(0, 20 * MS), self.nodes[n].life);
                self.at(after, Event::Snapshot(n, life));
            }
            ZabOut::WantLog { conn, after } => {
                let (wait, life) = (self.between(0, 20 * MS), self.nodes[n].life);
                self.at(wait, Event::Log(n, life, conn, after));
            }
            ZabOut::ReceiveSnapshot { .. } => {}
            ZabOut::Deliver { zxid, body, .. } => {
                let node = &mut self.nodes[n];
                assert!(node.tree.last().is_none_or(|(z, _)| *z < zxid), "{zxid} delivered twice");
                node.tree.push((zxid, payload(&body)));
                if node.serving {
                    self.ghost.serves(&node.tree);
                }
            }
            ZabOut::Synced { tag } => self.synced(n, tag),
            ZabOut::Request { conn, request } => self.requested(n, conn, &request),
            ZabOut::Revalidate { .. } | ZabOut::Revalidated { .. } | ZabOut::NewLeaderConfig { .. } => {}
            ZabOut::Touched { sessions } => assert!(!sessions.is_empty(), "nothing was used"),
            ZabOut::Synchronizes { by, .. } => self.tally.add(&format!("synchronised by {by:?}")),
            ZabOut::Established { epoch } => {
                let node = &self.nodes[n];
                self.ghost.established((n, node.life), epoch, node.disk.cache.full());
            }
            ZabOut::Committed { zxid, acks } => self.committed(zxid, &acks),
            ZabOut::Activated { epoch } => self.activated(n, epoch),
            ZabOut::Lost { why } => self.lost(n, why),
        }
    }

    fn ask(&mut self, n: usize, op: Op) {
        self.nodes[n].disk.ask(op);
    }

    fn images(&self, nodes: impl Iterator<Item = usize>) -> Vec<&Image> {
        nodes.map(|n| &self.nodes[n].disk.durable).collect()
    }

    fn committed(&mut self, zxid: Zxid, acks: &[ServerId]) {
        let mut ghost = std::mem::take(&mut self.ghost);
        ghost.commits(zxid, &self.images(acks.iter().map(|s| s.0 as usize - 1)), self.plan.voters);
        self.ghost = ghost;
        self.tally.add("committed");
    }

    fn activated(&mut self, n: usize, epoch: Epoch) {
        if let Role::Leading(_) = self.nodes[n].role {
            let mut ghost = std::mem::take(&mut self.ghost);
            let history = self.nodes[n].disk.cache.full();
            let voters = self.images(0..self.plan.voters);
            ghost.activated((n, self.nodes[n].life), epoch, &history, &voters);
            self.ghost = ghost;
            self.tally.add("reigns");
        }
        self.nodes[n].serving = true;
        self.ghost.begins_to_serve(&self.nodes[n].tree);
        self.check_memory(n);
    }

    /// What memory says is what the disk will say.
    fn check_memory(&mut self, n: usize) {
        let node = &self.nodes[n];
        let history = match &node.role {
            Role::Leading(l) => l.history(),
            Role::Learning(l, _) => l.history(),
            Role::Down | Role::Looking => node.history.as_ref().expect("a history without a role"),
        };
        let image = &node.disk.cache;
        // After TRUNC to an epoch's start the disk's last entry lies before that, and means the same.
        let (said, holds) = (history.last(), image.last());
        assert!(
            said == holds || said.counter() == 0 && said > holds,
            "T2: the last zxid of server {}",
            n + 1
        );
        assert_eq!(
            (history.accepted(), history.current()),
            (image.accepted, image.current),
            "T2: epochs of server {}",
            n + 1
        );
        let full = image.full();
        assert_eq!(full[..node.tree.len().min(full.len())], node.tree, "T2: the tree of server {}", n + 1);
        let tail: List = history.after(history.base()).map(|e| (e.zxid, payload(&e.body))).collect();
        assert!(full.ends_with(&tail), "T2: the window of server {}", n + 1);
        let next = full.get(node.tree.len()).map(|e| e.0);
        assert_eq!(history.next_to_deliver(), next, "T2: what server {} has delivered", n + 1);
    }

    fn check_promise(&self, n: usize, packet: &QuorumPacket) {
        let node = &self.nodes[n];
        let image = &node.disk.durable;
        match (packet.kind, &node.role) {
            (PacketType::LeaderInfo | PacketType::AckEpoch, Role::Leading(_)) => {
                assert!(image.accepted >= Epoch::of(packet.zxid), "D2: LEADERINFO before acceptedEpoch");
            }
            (PacketType::AckEpoch, Role::Learning(l, _)) => {
                assert!(image.accepted >= l.history().accepted(), "D2: ACKEPOCH before acceptedEpoch");
                let durable = packet.zxid <= image.last() || packet.zxid.counter() == 0;
                assert!(durable, "D1: ACKEPOCH of what is not durable");
            }
            (PacketType::Ack, Role::Learning(..)) if packet.zxid.counter() == 0 => {
                // The second one, after UPTODATE, promises nothing new.
                self.ghost.acks_new_leader(Epoch::of(packet.zxid), image, &node.tree);
            }
            (PacketType::Ack, Role::Learning(..)) => {
                let full = image.full();
                assert!(full.iter().any(|(z, _)| *z == packet.zxid), "D1: {} acked too early", packet.zxid);
            }
            _ => {}
        }
    }

    fn lost(&mut self, n: usize, why: Lost) {
        self.tally.add(&format!("lost: {why:?}").replace(|c: char| c.is_ascii_digit(), ""));
        self.leave(n);
        self.look(n);
    }

    /// The role ends.
    fn leave(&mut self, n: usize) {
        self.check_memory(n);
        let node = &mut self.nodes[n];
        let history = match std::mem::replace(&mut node.role, Role::Looking) {
            Role::Leading(l) => l.into_history(),
            Role::Learning(l, _) => l.into_history(),
            Role::Down | Role::Looking => panic!("no role to leave"),
        };
        node.history = Some(history);
        node.disk.forget_parked();
        node.serving = false;
        node.life += 1;
        node.disk_due = false;
        node.staged = None;
        node.wanted.clear();
        node.syncs.clear();
    }

    fn look(&mut self, n: usize) {
        self.nodes[n].role = Role::Looking;
        let life = self.nodes[n].life;
        self.schedule_disk(n);
        let after = self.between(2 * MS, 40 * MS);
        self.at(after, Event::Elect(n, life));
    }

    fn start(&mut self, n: usize) {
        let held_back = self.rng.below(1 + self.nodes[n].disk.cache.log_len()) as usize;
        let node = &mut self.nodes[n];
        let image = &node.disk.cache;
        let (tree, tail) = image.split(held_back);
        let entries = tail.into_iter().map(|(z, b)| (z, body(b)));
        let limits = self.plan.window;
        let base = tree.last().map_or(Zxid::ZERO, |(z, _)| *z).max(image.newest().0);
        let history = History::recovered(image.accepted, image.current, base, entries, limits);
        node.tree = tree;
        node.history = Some(history);
        node.life += 1;
        self.look(n);
    }

    // ---- election ----

    fn reach(&self, a: usize, b: usize) -> bool {
        !self.blocked.contains(&(a, b)) && !self.blocked.contains(&(b, a))
    }

    /// A stand-in for the election: it names someone, not always the best.
    fn elect(&mut self, n: usize, life: u64) {
        if self.nodes[n].life != life || !matches!(self.nodes[n].role, Role::Looking) {
            return;
        }
        let others = 0..self.nodes.len();
        let near: Vec<usize> = others.filter(|&m| m == n || self.reach(n, m)).collect();
        let leaders: Vec<usize> =
            near.iter().copied().filter(|&m| matches!(self.nodes[m].role, Role::Leading(_))).collect();
        let looking: Vec<usize> = near
            .iter()
            .copied()
            .filter(|&m| m < self.plan.voters && matches!(self.nodes[m].role, Role::Looking))
            .collect();
        let stray = self.plan.wild_election && self.faults && self.chance(100);
        if !leaders.is_empty() && !stray {
            let leader = leaders[self.rng.below(leaders.len() as u64) as usize];
            return self.follow(n, leader);
        }
        let wild = self.plan.wild_election && self.faults && self.chance(400);
        if looking.is_empty() || !wild && looking.len() <= self.plan.voters / 2 {
            return self.look(n);
        }
        let best = |m: &usize| {
            let h = self.nodes[*m].history.as_ref().expect("it looks");
            (h.current(), h.last(), *m)
        };
        let chosen = match wild {
            true => looking[self.rng.below(looking.len() as u64) as usize],
            false => looking.iter().copied().max_by_key(best).expect("not empty"),
        };
        self.lead(chosen);
        if chosen != n {
            self.follow(n, chosen);
        }
    }

    fn lead(&mut self, n: usize) {
        self.note(|| format!("{} leads", n + 1));
        let history = self.nodes[n].history.take().expect("it looks");
        let (settings, view, now) = (self.settings(), self.view.clone(), Time(self.now));
        self.nodes[n].life += 1;
        self.nodes[n].disk_due = false;
        self.step(n, |role, _, out| {
            *role = Role::Leading(Box::new(Leader::new(sid(n), settings, history, view, now, out)));
        });
    }

    fn follow(&mut self, n: usize, leader: usize) {
        self.note(|| format!("{} follows {}", n + 1, leader + 1));
        let history = self.nodes[n].history.take().expect("it looks");
        let kind = if n < self.plan.voters { LearnerType::Participant } else { LearnerType::Observer };
        let (settings, now) = (self.settings(), Time(self.now));
        self.nodes[n].life += 1;
        self.nodes[n].disk_due = false;
        self.step(n, |role, _, out| {
            let learner = Learner::new((sid(n), kind), settings, history, 0, (now, 0), out);
            *role = Role::Learning(Box::new(learner), leader);
        });
    }

    // ---- disks ----

    fn disk_delay(&mut self) -> u64 {
        let slow = self.plan.slow_disk && self.faults && self.chance(60);
        if slow { self.between(20 * MS, 700 * MS) } else { self.between(MS / 10, 3 * MS) }
    }

    fn disk(&mut self, n: usize, life: u64) {
        if self.nodes[n].life != life {
            return;
        }
        self.nodes[n].disk_due = false;
        let some = 1 + self.rng.below(self.nodes[n].disk.queued() as u64 + 1);
        for _ in 0..some {
            self.finish_one(n);
        }
        while self.nodes[n].life == life
            && let Some(vouch) = self.nodes[n].disk.released()
        {
            self.step(n, |role, now, out| durable(role, now, vouch, out));
        }
        self.schedule_disk(n);
    }

    fn finish_one(&mut self, n: usize) {
        let done = self.nodes[n].disk.finish_one();
        let image = &self.nodes[n].disk.durable;
        match done {
            Some(Op::Epoch(crate::zab::EpochFile::Current, _)) => self.ghost.current_is(image),
            Some(Op::Truncate(_) | Op::Install(..) | Op::Snapshot(..)) => {
                self.ghost.replaced(image, &self.images(0..self.plan.voters));
            }
            Some(Op::Epoch(crate::zab::EpochFile::Accepted, _) | Op::Append(..)) | None => {}
        }
    }

    fn begin_snapshot(&mut self, n: usize, life: u64) {
        if self.nodes[n].life != life {
            return;
        }
        if let Some(conn) = self.nodes[n].wanted.pop_front() {
            self.step(n, |role, now, out| match role {
                Role::Leading(l) => l.snapshot_begun(now, conn, out),
                Role::Down | Role::Looking | Role::Learning(..) => {}
            });
        }
    }

    /// The next entry of the log, as far as it is on disk; the one after it a little later.
    fn read_log(&mut self, n: usize, life: u64, conn: Conn, after: Zxid) {
        if self.nodes[n].life != life {
            return;
        }
        let unreadable = self.chance(20);
        let (before, next) = self.nodes[n].disk.durable.log_around(after);
        let next = next.filter(|_| !unreadable);
        let mut goes_on = None;
        self.step(n, |role, now, out| match (role, before, next) {
            (Role::Leading(l), Some(before), Some((zxid, payload))) => {
                let more = l.log_entry(now, conn, before, (zxid, body(payload)), out);
                goes_on = more.then_some(zxid);
            }
            (Role::Leading(l), ..) => l.log_ends(conn, out),
            (Role::Down | Role::Looking | Role::Learning(..), ..) => {}
        });
        if let Some(sent) = goes_on {
            let wait = self.between(0, 5 * MS);
            self.at(wait, Event::Log(n, life, conn, sent));
        }
    }

    // ---- the end ----

    /// No more faults: everything is mended.
    pub(super) fn heal(&mut self) {
        self.faults = false;
        self.blocked.clear();
        self.note(|| "healed".to_owned());
    }

    /// Everyone serves the same history.
    pub(super) fn is_whole(&self) -> bool {
        let n = self.ghost.committed.len();
        self.nodes.iter().all(|node| node.serving && node.tree.len() == n)
    }

    /// No more proposals, so that all can catch up.
    pub(super) fn hush(&mut self) {
        self.events.retain(|Reverse((_, _, e))| *e != Event::Client);
    }

    pub(super) fn check_end(&mut self) {
        for n in 0..self.nodes.len() {
            assert!(self.nodes[n].serving, "L4: server {} does not serve", n + 1);
            assert_eq!(self.nodes[n].tree, self.ghost.committed, "L4: server {}", n + 1);
            self.check_memory(n);
        }
    }
}

fn durable(role: &mut Role, now: Time, vouch: Vouch, out: &mut Vec<ZabOut>) {
    match role {
        Role::Leading(l) => l.durable(now, vouch, out),
        Role::Learning(l, _) => l.durable(now, vouch, out),
        Role::Down | Role::Looking => {}
    }
}

/// Both directions are read by what they may carry.
#[test]
fn directions_are_told_apart() {
    let ack = FromLearner::Ack { zxid: Zxid(1) }.into_packet();
    assert!(FromLeader::decode(ack).is_err());
}
