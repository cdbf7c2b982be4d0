//! Torture of a member's store: lives with changing leaders, whose histories it is made to follow by appends, cuts and
//! snapshots, each life ended by a kill or a power cut anywhere. What a crash leaves must be what a prefix of the sequence
//! made, no shorter than up to the last promise that was released.

use super::super::memory::Disk;
use super::super::recover;
use super::*;
use crate::config::EnsembleConfig;
use crate::limits::LOG_IN_FLIGHT;
use crate::proto::{Acl, CreateKind, CreateTxn, Txn, TxnHeader};
use crate::quorum::{ConfigRules, QuorumVerifier};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

/// A transaction of a history: it creates a node of this name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    zxid: Zxid,
    name: u64,
    size: usize,
}

impl Entry {
    fn path(self) -> String {
        format!("/{:x}", self.name)
    }

    fn txn(self) -> LoggedTxn {
        let header = TxnHeader { session: SessionId(1), cxid: 0, zxid: self.zxid, time: 1 };
        let kind = CreateKind::Node { ephemeral: false, create2: false };
        let (path, data) = (self.path(), Some(vec![7; self.size].into()));
        let txn = Txn::Create(CreateTxn { kind, path, data, acl: vec![Acl::open()], parent_cversion: -1 });
        LoggedTxn { header, txn, digest: None }
    }
}

type History = Rc<Vec<Entry>>;

fn last(history: &[Entry]) -> Zxid {
    history.last().map_or(Zxid::ZERO, |e| e.zxid)
}

/// The tree after these.
fn tree_of(history: &[Entry]) -> Tree {
    let mut tree = Tree::new(1);
    apply(&mut tree, history);
    tree
}

fn apply(tree: &mut Tree, entries: &[Entry]) {
    for txn in entries.iter().map(|e| e.txn()) {
        tree.apply(&txn.header, &txn.txn, &mut Vec::new());
    }
}

/// Is it the tree after exactly these?
fn is_tree_of(tree: &Tree, history: &[Entry]) -> bool {
    tree.last_zxid() == last(history)
        && tree.node_count() == Tree::new(1).node_count() + history.len()
        && history.iter().all(|e| tree.get(&e.path()).is_some())
}

/// What the disk may hold between two moments of the sequence.
#[derive(Clone, Debug)]
struct State {
    /// Any of these.
    histories: Vec<History>,
    accepted: i64,
    current: i64,
}

/// What must have happened over all runs.
#[derive(Default, Debug)]
struct Seen {
    cuts: usize,
    installs: usize,
    /// Snapshots below what the tree held, and of another history than the tree's.
    below: usize,
    contradicted: usize,
    /// Snapshots on top of which the old log would make no history.
    mixed: usize,
    /// Crashes within a cut or an install.
    between: usize,
    tails: usize,
    torn: usize,
    lost: usize,
    behind_epoch: usize,
    snapshots: usize,
    purged: usize,
    vouched: usize,
}

struct World {
    rng: Rng,
    disk: Disk,
    config: Config,
    /// What leaders had committed: every later leader has it.
    committed: Vec<Entry>,
    /// What may be on the disk, in the order of the sequence, from the last promise on.
    states: VecDeque<State>,
    /// How many went before.
    gone: usize,
    /// The last leader's; leaders' own are even.
    epoch: i64,
    /// Epochs of others.
    others: BTreeSet<i64>,
    seen: Seen,
}

struct Life {
    store: Store,
    tree: Tree,
    sessions: Sessions,
    /// What was asked for.
    history: Vec<Entry>,
    accepted: i64,
    current: i64,
    promises: VecDeque<(Vouch, usize)>,
    lanes: [VecDeque<DiskOp>; 2],
    recovered: bool,
    /// It follows a leader, whose history is its own.
    live: bool,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::new([seed as u8, (seed >> 8) as u8, 5, 9].repeat(8).try_into().expect("32"));
        let text = "server.1=h:2:3:participant\n";
        let mut ensemble = EnsembleConfig::new(
            QuorumVerifier::parse(text, ConfigRules::default()).expect("a configuration"),
        );
        ensemble.held_back_count = [0, 3, 20, 1000][rng.below(4) as usize];
        ensemble.held_back_bytes = [100, 2000, 10 << 20][rng.below(3) as usize];
        let config = Config {
            snap_count: 2 + rng.below(30),
            snap_size_limit: 0,
            log_size_limit: [0, 2_000][rng.below(2) as usize],
            purge_interval_h: 1,
            ensemble: Some(ensemble),
            ..Config::default()
        };
        let start = State { histories: vec![History::default()], accepted: 0, current: 0 };
        World {
            rng,
            disk: Disk::default(),
            config,
            committed: Vec::new(),
            states: VecDeque::from([start]),
            gone: 0,
            epoch: 0,
            others: BTreeSet::new(),
            seen: Seen::default(),
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng.below(n)
    }

    /// The next transaction of a history, in this epoch.
    fn entry(&mut self, before: &[Entry], epoch: i64) -> Entry {
        let zxid = match last(before) {
            z if Epoch::of(z).0 == epoch => z.next(),
            _ => Zxid::new(epoch as u32, 1),
        };
        let size = match self.below(90) {
            0 => LOG_IN_FLIGHT as u64 / 2 + self.below(LOG_IN_FLIGHT as u64),
            1..20 => self.below(1500),
            _ => self.below(50),
        };
        Entry { zxid, name: self.rng.u64(), size: size as usize }
    }

    // ---- starts ----

    fn start(&mut self) -> Life {
        let seed = self.rng.seed();
        let recovered = recover(&self.disk, &self.config, seed[0].into())
            .unwrap_or_else(|e| panic!("does not start: {e}; {:?}", self.disk.names()));
        let history = self.check(&recovered);
        let (accepted, current) =
            (recovered.accepted_epoch.expect("a member's"), recovered.current_epoch.expect("a member's"));
        self.seen.behind_epoch += usize::from(current < Epoch::of(recovered.last_zxid).0);
        let mut sessions = Sessions::new(1, Zxid::ZERO, Span::from_millis(2000));
        sessions.restore(recovered.sessions.iter().copied(), Time(0));
        let mut out = Vec::new();
        let parked = Vouch::Recovered(recovered.last_zxid);
        let (tree, store) = Store::open(recovered, &self.config, seed, &mut out);
        let mut life = Life {
            store,
            tree,
            sessions,
            history,
            accepted,
            current,
            promises: VecDeque::new(),
            lanes: Default::default(),
            recovered: false,
            live: false,
        };
        self.asked(&life);
        life.promises.push_back((parked, self.now()));
        self.take(&mut life, out);
        life
    }

    /// The power goes after any number of the operations that wait in the log lane.
    fn crash_everywhere(&mut self, life: &mut Life) {
        // An install waits for the bulk lane, entries for others.
        for _ in 0..3 {
            while !life.lanes[Lane::Bulk as usize].is_empty() {
                self.carry_out(life, Lane::Bulk);
            }
            let mut out = Vec::new();
            life.store.flush(&mut out);
            self.take(life, out);
        }
        let mut disk = self.disk.clone();
        for op in &life.lanes[Lane::Log as usize] {
            disk.run(op);
            let mut cut = disk.clone();
            cut.power_cut(&mut self.rng);
            let recovered = recover(&cut, &self.config, 0)
                .unwrap_or_else(|e| panic!("does not start: {e}; {:?}; {op:?}", cut.names()));
            self.check(&recovered);
        }
    }

    /// Is it one of the states that may be there? The history that it is.
    fn check(&mut self, r: &recover::Recovered) -> Vec<Entry> {
        let limits = self.config.ensemble.as_ref().expect("a member");
        let bytes: usize = r.tail.iter().map(|(_, body)| body.len()).sum();
        assert!(r.tail.len() <= limits.held_back_count && bytes <= limits.held_back_bytes);
        let mut tree = r.tree.clone();
        for (zxid, body) in &r.tail {
            let txn = LoggedTxn::decode(body).expect("as logged");
            assert_eq!(*zxid, txn.header.zxid);
            tree.apply(&txn.header, &txn.txn, &mut Vec::new());
        }
        assert_eq!(tree.last_zxid(), r.last_zxid);
        let is = |h: &History| is_tree_of(&tree, h);
        let epochs = |s: &State| (Some(s.accepted), Some(s.current)) == (r.accepted_epoch, r.current_epoch);
        let state = self.states.iter().rev().filter(|s| epochs(s)).find(|s| s.histories.iter().any(is));
        let state = state.unwrap_or_else(|| {
            panic!(
                "{}, epochs {:?} {:?}: never so; {}",
                r.last_zxid,
                r.accepted_epoch,
                r.current_epoch,
                self.explain()
            )
        });
        self.seen.between += usize::from(state.histories.len() > 1);
        let history = state.histories.iter().find(|h| is(h)).expect("found by it");
        let held = history.partition_point(|e| e.zxid <= r.tree.last_zxid());
        assert!(is_tree_of(&r.tree, &history[..held]));
        self.seen.tails += usize::from(!r.tail.is_empty());
        self.seen.torn += r.notes.iter().filter(|n| n.row() == recover::Row::TornTail).count();
        self.seen.lost += usize::from(!self.states.back().expect("one").histories.iter().any(is));
        history.to_vec()
    }

    /// The states in short.
    fn explain(&self) -> String {
        let short =
            |h: &History| h.iter().map(|e| format!("{}:{:x}", e.zxid, e.name >> 48)).collect::<Vec<_>>();
        let tail = |h: &History| short(h).split_off(h.len().saturating_sub(8)).join(" ");
        let state = |s: &State| {
            let histories = s.histories.iter().map(tail).collect::<Vec<_>>().join(" | ");
            format!("\n{} {}: {histories}", s.accepted, s.current)
        };
        format!("{:?}{}", self.disk.names(), self.states.iter().map(state).collect::<String>())
    }

    // ---- the model ----

    /// Names the present moment of the sequence.
    fn now(&self) -> usize {
        self.gone + self.states.len() - 1
    }

    fn state(&mut self, life: &Life, histories: Vec<History>) {
        let (accepted, current) = (life.accepted, life.current);
        self.states.push_back(State { histories, accepted, current });
    }

    /// Something was asked for, and this is what it makes.
    fn asked(&mut self, life: &Life) {
        self.state(life, vec![Rc::new(life.history.clone())]);
    }

    /// The same, of what happens bit by bit: any end of the old history above `keep` may be gone.
    fn asked_in_parts(&mut self, life: &Life, keep: Zxid) {
        let from = life.history.partition_point(|e| e.zxid <= keep);
        let parts = (from..=life.history.len()).map(|n| Rc::new(life.history[..n].to_vec())).collect();
        self.state(life, parts);
    }

    fn park(&mut self, life: &mut Life, vouch: Vouch) {
        life.store.park(vouch);
        life.promises.push_back((vouch, self.now()));
    }

    fn vouched(&mut self, life: &mut Life, vouch: Vouch) {
        let (parked, at) = life.promises.pop_front().expect("it was parked");
        assert_eq!(parked, vouch);
        life.recovered |= matches!(vouch, Vouch::Recovered(_));
        assert!(life.recovered, "a promise before the recovered state is safe");
        self.seen.vouched += 1;
        self.states.drain(..at - self.gone);
        self.gone = at;
        let State { accepted, current, .. } = self.states[0];
        match vouch {
            Vouch::AckEpoch(e) => assert_eq!(accepted, e.0),
            Vouch::AckNewLeader(e) => assert_eq!(current, e.0),
            Vouch::Ack(_) | Vouch::OwnAck(_) | Vouch::Recovered(_) => {}
        }
    }

    // ---- what a server asks for ----

    fn append(&mut self, life: &mut Life, entry: Entry) {
        let body = life.store.encode(&entry.txn());
        life.store.append(entry.zxid, body);
        life.history.push(entry);
        self.asked(life);
    }

    fn deliver(&mut self, life: &mut Life, upto: usize) {
        let from = life.history.partition_point(|e| e.zxid <= life.tree.last_zxid());
        apply(&mut life.tree, &life.history[from..upto.max(from)]);
        if upto > self.committed.len() {
            self.committed = life.history[..upto].to_vec();
        }
    }

    fn epoch_file(&mut self, life: &mut Life, file: EpochFile, epoch: i64, out: &mut Vec<Output>) {
        life.store.write_epoch(file, Epoch(epoch), out);
        match file {
            EpochFile::Accepted => life.accepted = epoch,
            EpochFile::Current => life.current = epoch,
        }
        self.asked(life);
    }

    /// The history of a new leader, which begins `epoch`: what is committed, perhaps more of what this server has, perhaps
    /// what others have.
    fn leader(&mut self, life: &Life, epoch: i64) -> Vec<Entry> {
        let mut history = self.committed.clone();
        if life.history.starts_with(&history) {
            let more = (life.history.len() - history.len()) as u64;
            let more = if self.below(3) == 0 { 0 } else { self.below(more + 1) as usize };
            history.extend(&life.history[history.len()..][..more]);
        }
        // Epochs that this server has not heard of may have begun before those that it has.
        let first = Epoch::of(last(&history)).0 + 1;
        let unheard: Vec<i64> =
            (first..epoch).filter(|e| e % 2 == 1 && !self.others.contains(e)).rev().take(8).collect();
        let pick = self.below(unheard.len() as u64) as usize;
        self.others.insert(unheard[pick]);
        for _ in 0..self.below(6).saturating_sub(1) {
            history.push(self.entry(&history, unheard[pick]));
        }
        history
    }

    /// A leader comes, and synchronises this server; the connection may end at any point.
    fn follow(&mut self, life: &mut Life, out: &mut Vec<Output>) {
        life.live = false;
        life.store.forget_parked();
        life.promises.retain(|(v, _)| matches!(v, Vouch::Recovered(_)));
        self.epoch += 6;
        let epoch = self.epoch;
        let leader = self.leader(life, epoch);
        self.epoch_file(life, EpochFile::Accepted, epoch, out);
        self.park(life, Vouch::AckEpoch(Epoch(epoch)));
        if self.below(8) == 0 {
            return;
        }
        let common = life.history.iter().zip(&leader).take_while(|(a, b)| a == b).count();
        let to = last(&leader[..common]);
        let fits = common == life.history.len();
        if fits && self.below(4) > 0 {
            // DIFF
        } else if to >= life.tree.last_zxid() && self.below(3) > 0 {
            self.seen.cuts += usize::from(!fits);
            self.asked_in_parts(life, to);
            life.history.truncate(common);
            life.store.truncate(to, out);
            self.asked(life);
        } else if !leader.is_empty() {
            let at = match self.below(4) {
                0 => 1 + self.below(leader.len() as u64) as usize,
                _ => leader.len(),
            };
            self.install(life, &leader[..at], out);
        } else {
            return;
        }
        let rest: Vec<Entry> = leader[life.history.len()..].to_vec();
        for entry in rest {
            if self.below(30) == 0 {
                return;
            }
            self.append(life, entry);
            if self.below(3) == 0 {
                self.deliver(life, self.committed.len().min(life.history.len()));
            }
        }
        self.epoch_file(life, EpochFile::Current, epoch, out);
        self.park(life, Vouch::AckNewLeader(Epoch(epoch)));
        life.live = true;
        // The epoch's initial history is committed.
        self.deliver(life, life.history.len());
    }

    fn install(&mut self, life: &mut Life, snapshot: &[Entry], out: &mut Vec<Output>) {
        let zxid = last(snapshot);
        self.seen.installs += 1;
        let held = life.tree.last_zxid();
        self.seen.below += usize::from(zxid < held);
        let (lacks, beyond) =
            (!life.history.contains(&snapshot[snapshot.len() - 1]), last(&life.history) > zxid);
        self.seen.mixed += usize::from(lacks && beyond);
        let same = |e: &Entry| e.zxid > held || snapshot.contains(e) || e.zxid > zxid;
        self.seen.contradicted += usize::from(!life.history.iter().all(same));
        self.asked_in_parts(life, zxid);
        life.tree = tree_of(snapshot);
        life.history = snapshot.to_vec();
        life.store.install(&mut life.tree, [(SessionId(3), 4000)].into_iter(), zxid, out);
        self.asked(life);
    }

    /// One step of the server, and some of the disk.
    fn step(&mut self, life: &mut Life) {
        let mut out = Vec::new();
        let followed = life.recovered && self.below(12) == 0;
        if followed {
            self.follow(life, &mut out);
        }
        if life.recovered {
            match self.below(12) {
                // The same epoch once more.
                0 if !life.live => self.park(life, Vouch::AckEpoch(Epoch(life.accepted))),
                _ if !life.live => {}
                1 => self.deliver(life, life.history.len()),
                _ => {
                    for _ in 0..self.below(4) {
                        let entry = self.entry(&life.history, life.current);
                        self.append(life, entry);
                        self.park(life, Vouch::Ack(entry.zxid));
                    }
                }
            }
            life.store.maybe_snapshot(&mut life.tree, &life.sessions, &mut out);
            if life.store.next_purge().is_some() && self.below(20) == 0 {
                life.store.purge(Time(0), &mut out);
            }
        }
        life.store.flush(&mut out);
        self.take(life, out);
        if followed && self.below(2) == 0 {
            self.crash_everywhere(life);
        }
        for lane in [Lane::Log, Lane::Bulk] {
            for _ in 0..self.below(12) {
                self.carry_out(life, lane);
            }
        }
    }

    fn take(&mut self, life: &mut Life, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Disk { lane, op } => life.lanes[lane as usize].push_back(op),
                Output::Event(Event::SnapshotDone { .. }) => self.seen.snapshots += 1,
                Output::Event(Event::Purged { .. }) => self.seen.purged += 1,
                _ => {}
            }
        }
    }

    fn carry_out(&mut self, life: &mut Life, lane: Lane) {
        let mut out = Vec::new();
        if let Some(op) = life.lanes[lane as usize].pop_front()
            && let Some(upto) = self.disk.run(&op)
        {
            let mut vouches = Vec::new();
            life.store.durable(lane, upto, &mut life.tree, Time(0), &mut vouches, &mut out);
            vouches.into_iter().for_each(|v| self.vouched(life, v));
        }
        self.take(life, out);
    }

    /// The disk has all the time that it needs: every promise comes.
    fn drain(&mut self, life: &mut Life) {
        loop {
            let mut out = Vec::new();
            life.store.flush(&mut out);
            self.take(life, out);
            if life.lanes.iter().all(|lane| lane.is_empty()) {
                break;
            }
            let lane = [Lane::Log, Lane::Bulk][self.below(2) as usize];
            self.carry_out(life, lane);
        }
        assert!(life.promises.is_empty(), "{:?} never come", life.promises);
    }

    fn run(&mut self, lives: u64) {
        for _ in 0..lives {
            let mut life = self.start();
            let steps = [6, 12, 30][self.below(3) as usize];
            for _ in 0..self.below(steps) {
                self.step(&mut life);
            }
            match self.below(3) {
                0 => self.drain(&mut life),
                // In the middle of being made to follow a leader.
                1 if life.recovered => {
                    let mut out = Vec::new();
                    self.follow(&mut life, &mut out);
                    life.store.flush(&mut out);
                    self.take(&mut life, out);
                    self.crash_everywhere(&mut life);
                }
                _ => {}
            }
            if self.below(4) > 0 {
                self.disk.power_cut(&mut self.rng);
            }
        }
        self.start();
    }
}

#[test]
fn a_crash_leaves_what_a_prefix_of_the_sequence_made() {
    let mut all = Seen::default();
    for seed in 0..60 {
        let mut world = World::new(seed);
        let lives = 3 + world.below(7);
        world.run(lives);
        let seen = world.seen;
        all.cuts += seen.cuts;
        all.installs += seen.installs;
        all.below += seen.below;
        all.contradicted += seen.contradicted;
        all.mixed += seen.mixed;
        all.between += seen.between;
        all.tails += seen.tails;
        all.torn += seen.torn;
        all.lost += seen.lost;
        all.behind_epoch += seen.behind_epoch;
        all.snapshots += seen.snapshots;
        all.purged += seen.purged;
        all.vouched += seen.vouched;
    }
    let Seen { cuts, installs, below, contradicted, mixed, between, tails, torn, lost, .. } = all;
    let reached = [cuts, installs, below, contradicted, mixed, between, tails, torn, lost];
    let Seen { behind_epoch, snapshots, purged, vouched, .. } = all;
    let reached = [&reached[..], &[behind_epoch, snapshots, purged, vouched]].concat();
    assert!(reached.iter().all(|n| *n > 0), "the runs must reach everything: {all:?}");
}

#[test]
fn what_only_recovery_has_put_into_the_tree_is_no_history_yet() {
    let mut world = World::new(0);
    world.config.snap_count = 1000;
    world.config.ensemble.as_mut().expect("a member").held_back_count = 0;
    let entry = |epoch, counter| Entry {
        zxid: Zxid::new(epoch, counter),
        name: u64::from(epoch) << 8 | u64::from(counter),
        size: 0,
    };
    let mut life = world.start();
    world.drain(&mut life);
    let mut out = Vec::new();
    world.epoch_file(&mut life, EpochFile::Accepted, 3, &mut out);
    for e in [entry(1, 1), entry(1, 2), entry(3, 1), entry(3, 2)] {
        world.append(&mut life, e);
    }
    life.store.flush(&mut out);
    world.take(&mut life, out);
    world.drain(&mut life);

    let mut life = world.start();
    assert_eq!(life.tree.last_zxid(), Zxid::new(3, 2));
    world.drain(&mut life);
    let mut out = Vec::new();
    world.install(&mut life, &[entry(1, 1), entry(1, 2), entry(2, 1)], &mut out);
    world.take(&mut life, out);
    world.crash_everywhere(&mut life);
}
