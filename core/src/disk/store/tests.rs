//! Torture: lives of a store that end in kills and power cuts. Every next life must start, and hold all that was vouched for.

use super::super::memory::Disk;
use super::super::recover;
use super::*;
use crate::boundary::DiskAction;
use crate::limits::LOG_IN_FLIGHT;
use crate::proto::{Acl, CreateKind, CreateTxn, Txn, TxnHeader};
use std::collections::{BTreeMap, VecDeque};

/// A server without clients: what it logged, and what the state was after each.
struct World {
    rng: Rng,
    disk: Disk,
    config: Config,
    /// Digest and number of sessions after each transaction of the present history.
    history: BTreeMap<Zxid, (u64, usize)>,
    vouched: Zxid,
    seen: Seen,
}

/// What must have happened over all runs, or they prove nothing.
#[derive(Default, Debug)]
struct Seen {
    torn: usize,
    snapshots: usize,
    failed: usize,
    purged: usize,
    withheld: usize,
    lost: usize,
}

/// A life: from recovery to a crash.
struct Life {
    store: Store,
    tree: Tree,
    sessions: Sessions,
    /// The tree ahead: with everything that is logged.
    ahead: Tree,
    ahead_sessions: BTreeMap<SessionId, i32>,
    next: Zxid,
    lanes: [VecDeque<DiskOp>; 2],
    /// Logged, not yet durable.
    waiting: VecDeque<LoggedTxn>,
    serving: bool,
    bulk_dead: bool,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::new(
            [seed as u8, (seed >> 8) as u8, (seed >> 16) as u8, 1].repeat(8).try_into().expect("32"),
        );
        let config = Config {
            snap_count: 2 + rng.below(30),
            snap_size_limit: [0, 20_000][rng.below(2) as usize],
            log_size_limit: [0, 5_000][rng.below(2) as usize],
            purge_interval_h: 1,
            ..Config::default()
        };
        let history = BTreeMap::from([(Zxid::ZERO, (Tree::new(0).digest(), 0))]);
        World { rng, disk: Disk::default(), config, history, vouched: Zxid::ZERO, seen: Seen::default() }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng.below(n)
    }

    /// Starts on what the disk holds, and checks it.
    fn start(&mut self) -> Life {
        let seed = self.rng.seed();
        let recovered = recover(&self.disk, &self.config, seed[0].into())
            .unwrap_or_else(|e| panic!("does not start: {e}; {:?}", self.disk.names()));
        let last = recovered.last_zxid;
        assert!(last >= self.vouched, "{last} after {} was vouched for", self.vouched);
        self.seen.lost += usize::from(last < *self.history.last_key_value().expect("not empty").0);
        let (digest, sessions) = self.history[&last];
        assert_eq!(
            (recovered.tree.digest(), recovered.sessions.len()),
            (digest, sessions),
            "state at {last}"
        );
        self.history.retain(|z, _| *z <= last);
        for note in &recovered.notes {
            self.seen.torn += usize::from(note.row() == recover::Row::TornTail);
        }
        let mut sessions = Sessions::new(1, Zxid::ZERO, Span::from_millis(2000));
        sessions.restore(recovered.sessions.iter().copied(), Time(0));
        let ahead_sessions = recovered.sessions.iter().copied().collect();
        let mut out = Vec::new();
        let (tree, store) = Store::open(recovered, &self.config, seed, &mut out);
        let mut life = Life {
            store,
            ahead: tree.clone(),
            tree,
            sessions,
            ahead_sessions,
            next: Zxid(last.0 + 1),
            lanes: Default::default(),
            waiting: VecDeque::new(),
            serving: false,
            bulk_dead: false,
        };
        life.take(out, &mut self.seen);
        life
    }

    fn txn(&mut self, life: &Life) -> (Txn, SessionId) {
        let session = SessionId(1 + self.below(5) as i64);
        let path = format!("/n{}", self.below(12));
        let size = match self.below(400) {
            0 => LOG_IN_FLIGHT as u64 + self.below(2000),
            1..4 => LOG_IN_FLIGHT as u64 / 3,
            4..50 => self.below(6000),
            _ => self.below(300),
        };
        let fill = self.below(3) as u8;
        let data = Some(Bytes::from(vec![fill; size as usize]));
        let exists = life.ahead.get(&path).is_some();
        let txn = match self.below(10) {
            0 if life.ahead_sessions.contains_key(&session) => Txn::CloseSession { paths: Some(Vec::new()) },
            0 | 1 => Txn::CreateSession { timeout: 5000 },
            2 => Txn::Error { err: -101 },
            3 if exists => Txn::Delete { path },
            _ if exists => Txn::SetData { path, data, version: 1 },
            _ => {
                let kind = CreateKind::Node { ephemeral: self.below(3) == 0, create2: false };
                let parent_cversion = life.ahead.get("/").expect("a root").stat.cversion + 1;
                Txn::Create(CreateTxn { kind, path, data, acl: vec![Acl::open()], parent_cversion })
            }
        };
        (txn, session)
    }

    fn log(&mut self, life: &mut Life) {
        let (txn, session) = self.txn(life);
        let header = TxnHeader { session, cxid: 0, zxid: life.next, time: 1 };
        life.next = header.zxid.next();
        life.ahead.apply(&header, &txn, &mut Vec::new());
        match txn {
            Txn::CreateSession { timeout } => drop(life.ahead_sessions.insert(session, timeout)),
            Txn::CloseSession { .. } => drop(life.ahead_sessions.remove(&session)),
            _ => {}
        }
        let digest = life.ahead.digest();
        self.history.insert(header.zxid, (digest, life.ahead_sessions.len()));
        let logged = LoggedTxn { header, digest: (!txn.is_failed()).then_some(digest), txn };
        let body = life.store.encode(&logged);
        life.store.append(header.zxid, body);
        life.store.park(Vouch::OwnAck(header.zxid));
        life.waiting.push_back(logged);
    }

    /// One step of the server, and some of the disk.
    fn step(&mut self, life: &mut Life) {
        let mut out = Vec::new();
        if life.serving {
            (0..self.below(5)).for_each(|_| self.log(life));
            life.store.maybe_snapshot(&mut life.tree, &life.sessions, &mut out);
            if life.store.next_purge().is_some() && self.below(20) == 0 {
                life.store.purge(Time(0), &mut out);
            }
        }
        life.store.flush(&mut out);
        self.seen.withheld += usize::from(life.serving && out.is_empty() && !life.waiting.is_empty());
        life.take(out, &mut self.seen);
        for lane in [Lane::Log, Lane::Bulk] {
            for _ in 0..self.below(6) {
                self.carry_out(life, lane);
            }
        }
    }

    fn carry_out(&mut self, life: &mut Life, lane: Lane) {
        let mut out = Vec::new();
        let queue = &mut life.lanes[lane as usize];
        if lane == Lane::Bulk && !queue.is_empty() && self.rng.below(60) == 0 {
            queue.clear();
            life.bulk_dead = true;
            let fault = DiskFault { lane, action: DiskAction::Sync, file: None, cause: "test".into() };
            life.store.bulk_failed(fault, &mut life.tree, &mut out);
        } else if let Some(op) = queue.pop_front()
            && let Some(upto) = self.disk.run(&op)
        {
            let mut vouches = Vec::new();
            life.store.durable(lane, upto, &mut life.tree, Time(0), &mut vouches, &mut out);
            vouches.into_iter().for_each(|v| self.vouched(life, v));
        }
        life.take(out, &mut self.seen);
    }

    fn vouched(&mut self, life: &mut Life, vouch: Vouch) {
        match vouch {
            Vouch::Recovered(zxid) => {
                life.serving = true;
                assert_eq!(zxid, life.tree.last_zxid());
            }
            Vouch::Ack(_) | Vouch::AckEpoch(_) | Vouch::AckNewLeader(_) => unreachable!("not parked here"),
            Vouch::OwnAck(zxid) => {
                assert!(life.serving, "a promise before the recovered state is safe");
                let logged = life.waiting.pop_front().expect("it was logged");
                assert_eq!(logged.header.zxid, zxid);
                life.tree.apply(&logged.header, &logged.txn, &mut Vec::new());
                match logged.txn {
                    Txn::CreateSession { timeout } => {
                        life.sessions.commit_create(logged.header.session, timeout, Time(0));
                    }
                    Txn::CloseSession { .. } => drop(life.sessions.commit_close(logged.header.session)),
                    _ => {}
                }
            }
        }
        self.vouched = self.vouched.max(life.tree.last_zxid());
    }

    fn run(&mut self, lives: u64) {
        for _ in 0..lives {
            let mut life = self.start();
            for _ in 0..self.below(60) {
                self.step(&mut life);
            }
            if self.below(3) > 0 {
                self.disk.power_cut(&mut self.rng);
            }
        }
        self.start();
    }
}

impl Life {
    fn take(&mut self, out: Vec<Output>, seen: &mut Seen) {
        for output in out {
            match output {
                Output::Disk { lane: Lane::Bulk, op } => {
                    self.bulk_dead &= !matches!(op, DiskOp::Create { .. });
                    if !self.bulk_dead {
                        self.lanes[Lane::Bulk as usize].push_back(op);
                    }
                }
                Output::Disk { lane: Lane::Log, op } => self.lanes[Lane::Log as usize].push_back(op),
                Output::Event(Event::SnapshotDone { .. }) => seen.snapshots += 1,
                Output::Event(Event::SnapshotFailed { .. }) => seen.failed += 1,
                Output::Event(Event::Purged { .. }) => seen.purged += 1,
                _ => {}
            }
        }
    }
}

#[test]
fn every_life_starts_and_holds_what_was_vouched_for() {
    let mut all = Seen::default();
    for seed in 0..300 {
        let mut world = World::new(seed);
        let lives = 2 + world.below(8);
        world.run(lives);
        all.torn += world.seen.torn;
        all.snapshots += world.seen.snapshots;
        all.failed += world.seen.failed;
        all.purged += world.seen.purged;
        all.withheld += world.seen.withheld;
        all.lost += world.seen.lost;
    }
    let Seen { torn, snapshots, failed, purged, withheld, lost } = all;
    let reached = [torn, snapshots, failed, purged, withheld, lost].iter().all(|n| *n > 10);
    assert!(reached, "the runs must reach everything: {all:?}");
}
