//! Leaders and learners by themselves: what they refuse, what they promise when, how they end. What they do together is in
//! [`ensemble`], what Java says in their place in the recorded conversations.

mod ensemble;
mod from_log;

use super::*;
use crate::proto::PacketType;
use crate::proto::{FromLeader, FromLearner, LearnerInfo, ZAB_VERSION};
use crate::quorum::{ConfigRules, LearnerType, QuorumVerifier, QuorumView};
use proptest::prelude::*;
use std::sync::Arc;

const ME: ServerId = ServerId(3);

fn settings() -> Settings {
    Settings {
        tick: Span::from_millis(100),
        init_limit: 10,
        sync_limit: 5,
        finalize_wait: Span::ZERO,
        last_counter: Settings::LAST_COUNTER,
        reconfig_enabled: true,
        force_snapshot: false,
        observer_masters: false,
        observer_size_limit: 32 << 20,
        epoch_wait: None,
    }
}

fn config(voters: &[i64], version: i64) -> QuorumVerifier {
    let lines: String = voters.iter().map(|i| format!("server.{i}=h{i}:2888:3888:participant\n")).collect();
    let text = format!("{lines}version={version:x}");
    QuorumVerifier::parse(&text, ConfigRules::default()).expect("a configuration")
}

fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(epoch, counter)
}

fn body(zxid: Zxid) -> Bytes {
    Bytes::copy_from_slice(&zxid.0.to_be_bytes())
}

/// Epoch 1 with so many transactions, the tree at `floor`.
fn history(txns: u32, floor: Zxid) -> History {
    let entries = (floor.counter() + 1..=txns).map(|c| (z(1, c), body(z(1, c))));
    History::recovered(Epoch(1), Epoch(1), floor, entries, WindowLimits { txns: 100, bytes: 1 << 20 })
}

/// A leader or learner, its outputs, and its disk, which is as fast as the test wants.
struct Bench<R> {
    role: R,
    now: Time,
    out: Vec<ZabOut>,
}

impl Bench<Leader> {
    fn leader(view: QuorumView, settings: Settings, txns: u32) -> Bench<Leader> {
        let mut out = Vec::new();
        let history = history(txns, Zxid::ZERO);
        Bench { role: Leader::new(ME, settings, history, view, Time(0), &mut out), now: Time(0), out }
    }
    fn hear(&mut self, conn: u64, said: FromLearner) -> Vec<ZabOut> {
        self.role.packet(self.now, Conn(conn), said.into_packet(), &mut self.out);
        self.take()
    }
    fn durable(&mut self, vouch: Vouch) -> Vec<ZabOut> {
        self.role.durable(self.now, vouch, &mut self.out);
        self.take()
    }
    fn join(&mut self, sid: i64, accepted: i64) -> Vec<ZabOut> {
        self.role.opened(self.now, Conn(sid as u64), &mut self.out);
        let info = LearnerInfo { sid: ServerId(sid), protocol_version: sync::EXACT, config_version: 0 };
        self.hear(sid as u64, FromLearner::FollowerInfo { zxid: Epoch(accepted).start(), info })
    }
    fn ack_epoch(&mut self, sid: i64, current_epoch: i32, zxid: Zxid) -> Vec<ZabOut> {
        self.hear(sid as u64, FromLearner::AckEpoch { zxid, current_epoch })
    }
    fn ack(&mut self, sid: i64, zxid: Zxid) -> Vec<ZabOut> {
        self.hear(sid as u64, FromLearner::Ack { zxid })
    }
    /// It serves epoch 2 with these followers, who have all that it has.
    fn reign(&mut self, followers: &[i64]) {
        let last = self.role.history().last();
        for f in followers {
            self.join(*f, 1);
        }
        self.durable(Vouch::AckEpoch(Epoch(2)));
        for f in followers {
            self.ack_epoch(*f, 1, last);
        }
        self.durable(Vouch::AckNewLeader(Epoch(2)));
        for f in followers {
            self.ack(*f, z(2, 0));
        }
        assert!(self.role.is_active());
    }
    fn propose(&mut self, counter: u32) -> Vec<ZabOut> {
        let zxid = z(2, counter);
        self.role.propose(self.now, zxid, body(zxid), None, &mut self.out);
        self.take()
    }
    /// Wakes it as it asks until so many ms have passed.
    fn pass(&mut self, ms: u64) -> Vec<ZabOut> {
        let end = self.now + Span::from_millis(ms);
        while let Some(at) = self.role.next_wake().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.role.wake(self.now, &mut self.out);
        }
        self.now = end;
        self.take()
    }
}

impl<R> Bench<R> {
    fn take(&mut self) -> Vec<ZabOut> {
        std::mem::take(&mut self.out)
    }
}

fn majority() -> QuorumView {
    QuorumView::settled(config(&[1, 2, 3], 0))
}

fn plain() -> Settings {
    Settings { reconfig_enabled: false, ..settings() }
}

fn kinds(out: &[ZabOut], to: u64) -> Vec<PacketType> {
    let packet = |o: &ZabOut| match o {
        ZabOut::Send { conn, packet } if conn.0 == to => Some(packet.kind),
        _ => None,
    };
    out.iter().filter_map(packet).collect()
}

fn deliver(zxid: Zxid) -> ZabOut {
    ZabOut::Deliver { zxid, body: body(zxid), designated: None }
}

fn lost(out: &[ZabOut]) -> Option<Lost> {
    out.iter().find_map(|o| if let ZabOut::Lost { why } = o { Some(*why) } else { None })
}

#[test]
fn a_leader_promises_in_the_order_of_its_disk() {
    let mut b = Bench::leader(majority(), plain(), 2);
    assert_eq!(b.take(), []);
    let out = b.join(1, 4);
    // Higher than what anyone of the quorum has accepted; LEADERINFO only once that is durable.
    let written = ZabOut::WriteEpoch { file: EpochFile::Accepted, epoch: Epoch(5) };
    assert_eq!(out, [written, ZabOut::Park(Vouch::AckEpoch(Epoch(5)))]);
    assert_eq!(kinds(&b.durable(Vouch::AckEpoch(Epoch(5))), 1), [PacketType::LeaderInfo]);
    let out = b.ack_epoch(1, 1, z(1, 2));
    let at = |what: &ZabOut| out.iter().position(|o| o == what).expect("it is there");
    let current = at(&ZabOut::WriteEpoch { file: EpochFile::Current, epoch: Epoch(5) });
    assert!(at(&ZabOut::Established { epoch: Epoch(5) }) < current);
    assert!(current < at(&ZabOut::Park(Vouch::AckNewLeader(Epoch(5)))));
    assert_eq!(kinds(&out, 1), [PacketType::Diff, PacketType::NewLeader]);
    // A quorum of NEWLEADER acks without its own is none.
    b.join(2, 4);
    b.ack_epoch(2, 1, z(1, 2));
    assert_eq!(b.ack(1, z(5, 0)), []);
    assert_eq!(b.ack(2, z(5, 0)), []);
    assert!(!b.role.is_active());
    let out = b.durable(Vouch::AckNewLeader(Epoch(5)));
    assert_eq!(out[..3], [deliver(z(1, 1)), deliver(z(1, 2)), ZabOut::Activated { epoch: Epoch(5) }]);
    assert_eq!(kinds(&out, 1), [PacketType::UpToDate]);
}

#[test]
fn a_follower_that_knows_more_is_turned_away() {
    let mut b = Bench::leader(majority(), plain(), 2);
    b.join(1, 1);
    b.durable(Vouch::AckEpoch(Epoch(2)));
    let closed = [ZabOut::Close { conn: Conn(1), cause: Cause::FollowerAhead }];
    assert_eq!(b.ack_epoch(1, 1, z(1, 3)), closed);
    // One that does not want to be counted is neither compared nor counted.
    b.join(2, 2);
    assert_eq!(b.ack_epoch(2, -1, z(1, 9)), []);
    assert_eq!(lost(&b.pass(1000)), Some(Lost::NoQuorum(Awaited::EpochAcks)));
}

#[test]
fn each_phase_has_its_time() {
    let mut b = Bench::leader(majority(), plain(), 0);
    assert_eq!(lost(&b.pass(999)), None);
    assert_eq!(lost(&b.pass(1)), Some(Lost::NoQuorum(Awaited::Followers)));
    let mut b = Bench::leader(majority(), plain(), 0);
    b.join(1, 1);
    b.durable(Vouch::AckEpoch(Epoch(2)));
    b.ack_epoch(1, 1, Zxid::ZERO);
    assert_eq!(lost(&b.pass(1000)), Some(Lost::NoQuorum(Awaited::NewLeaderAcks)));
    assert_eq!(b.role.next_wake(), None);
}

#[test]
fn a_leader_that_hears_nobody_steps_down_within_sync_limit() {
    let mut b = Bench::leader(majority(), plain(), 0);
    b.reign(&[1, 2]);
    for _ in 0..20 {
        b.pass(100);
        b.hear(1, FromLearner::Ping { zxid: z(2, 0), sessions: vec![] });
    }
    // Server 2 was silent: closed. One follower is enough.
    assert_eq!(b.role.live().count(), 1);
    let mut waited = 0;
    while lost(&b.pass(50)) != Some(Lost::QuorumLost) {
        waited += 50;
        assert!(waited <= 500 + 2 * 100, "still leading after {waited} ms");
    }
}

#[test]
fn pings_start_with_newleader() {
    let mut b = Bench::leader(majority(), plain(), 0);
    b.join(1, 1);
    b.durable(Vouch::AckEpoch(Epoch(2)));
    assert_eq!(kinds(&b.pass(100), 1), []);
    b.ack_epoch(1, 1, Zxid::ZERO);
    assert_eq!(kinds(&b.pass(100), 1), [PacketType::Ping; 2]);
}

#[test]
fn commits_come_in_order() {
    let mut b = Bench::leader(majority(), plain(), 0);
    b.reign(&[1, 2]);
    let out = b.propose(1);
    assert_eq!(kinds(&out, 1), [PacketType::Proposal]);
    assert_eq!(kinds(&out, 2), [PacketType::Proposal]);
    assert_eq!(out.last(), Some(&ZabOut::Park(Vouch::OwnAck(z(2, 1)))));
    b.propose(2);
    // Both followers hold the second, nobody but one the first.
    b.ack(1, z(2, 2));
    assert_eq!(b.ack(2, z(2, 2)), []);
    b.ack(1, z(2, 1));
    let out = b.ack(2, z(2, 1));
    assert_eq!(kinds(&out, 1), [PacketType::Commit; 2]);
    let delivered: Vec<_> = out
        .iter()
        .filter_map(|o| if let ZabOut::Deliver { zxid, .. } = o { Some(*zxid) } else { None })
        .collect();
    assert_eq!(delivered, [z(2, 1), z(2, 2)]);
    // What comes late is for nobody.
    assert_eq!(b.durable(Vouch::OwnAck(z(2, 1))), []);
    assert_eq!(b.ack(1, z(2, 0)), []);
    let closed = [ZabOut::Close { conn: Conn(1), cause: Cause::AckAhead(z(2, 3)) }];
    assert_eq!(b.ack(1, z(2, 3)), closed);
}

#[test]
fn acks_of_an_earlier_connection_count_no_more() {
    let mut b = Bench::leader(majority(), plain(), 0);
    b.reign(&[1, 2]);
    b.propose(1);
    // It holds the proposal, which is not committed: on its next connection it is told to cut it off.
    b.ack(1, z(2, 1));
    b.role.closed(Conn(1));
    b.role.opened(b.now, Conn(11), &mut b.out);
    let info = LearnerInfo { sid: ServerId(1), protocol_version: ZAB_VERSION, config_version: 0 };
    b.hear(11, FromLearner::FollowerInfo { zxid: z(2, 0), info });
    let out = b.hear(11, FromLearner::AckEpoch { zxid: z(2, 1), current_epoch: -1 });
    assert_eq!(kinds(&out, 11), [PacketType::Trunc, PacketType::Proposal, PacketType::NewLeader]);
    assert_eq!(b.durable(Vouch::OwnAck(z(2, 1))), [], "committed by what is cut off");
    b.hear(11, FromLearner::Ack { zxid: z(2, 0) });
    let out = b.hear(11, FromLearner::Ack { zxid: z(2, 1) });
    assert_eq!(kinds(&out, 11), [PacketType::Commit]);
}

#[test]
fn acks_before_newleader_count_with_it() {
    // As servers before 3.9.3 send them.
    let mut b = Bench::leader(majority(), plain(), 0);
    b.reign(&[1]);
    b.propose(1);
    b.role.closed(Conn(1));
    b.join(2, 2);
    b.ack_epoch(2, -1, Zxid::ZERO);
    b.role.snapshot_begun(b.now, Conn(2), &mut b.out);
    assert_eq!(kinds(&b.take(), 2), [PacketType::Snap, PacketType::Proposal, PacketType::NewLeader]);
    assert_eq!(b.ack(2, z(2, 1)), []);
    assert_eq!(b.durable(Vouch::OwnAck(z(2, 1))), []);
    assert_eq!(kinds(&b.ack(2, z(2, 0)), 2), [PacketType::UpToDate, PacketType::Commit]);
}

#[test]
fn a_sync_waits_for_a_quorum_and_for_the_last_proposal() {
    let mut b = Bench::leader(majority(), plain(), 0);
    b.reign(&[1, 2]);
    let pong = || FromLearner::Ping { zxid: z(2, 0), sessions: vec![] };
    b.role.sync(SyncOf::Learner(Conn(1)), &mut b.out);
    assert_eq!(kinds(&b.take(), 1), [PacketType::Ping], "does anyone else lead?");
    // While that is asked, others wait for the next round, all for the same one.
    b.role.sync(SyncOf::Own(7), &mut b.out);
    b.role.sync(SyncOf::Own(8), &mut b.out);
    assert_eq!(b.take(), []);
    b.propose(1);
    b.role.sync(SyncOf::Learner(Conn(1)), &mut b.out);
    assert_eq!(b.take(), []);
    assert_eq!(kinds(&b.hear(1, pong()), 1), [PacketType::Sync, PacketType::Ping]);
    assert_eq!(b.hear(2, pong()), []);
    assert_eq!(b.hear(2, pong()), [ZabOut::Synced { tag: 7 }, ZabOut::Synced { tag: 8 }]);
    b.ack(1, z(2, 1));
    assert_eq!(kinds(&b.ack(2, z(2, 1)), 1), [PacketType::Commit, PacketType::Sync]);
}

#[test]
fn a_leader_that_nobody_answers_answers_no_sync() {
    let mut b = Bench::leader(majority(), plain(), 0);
    b.reign(&[1, 2]);
    b.role.sync(SyncOf::Own(7), &mut b.out);
    let mut out = b.take();
    while lost(&out).is_none() {
        assert!(!out.contains(&ZabOut::Synced { tag: 7 }));
        out = b.pass(50);
    }
}

#[test]
fn handing_over_finishes_what_is_outstanding() {
    let mut b = Bench::leader(majority(), plain(), 0);
    b.reign(&[1, 2]);
    b.propose(1);
    b.role.hand_over(b.now, &mut b.out);
    assert_eq!((b.take(), b.role.next_zxid()), (vec![], None));
    b.ack(1, z(2, 1));
    let out = b.ack(2, z(2, 1));
    assert_eq!(kinds(&out, 2), [PacketType::Commit]);
    assert_eq!(lost(&out), Some(Lost::HandedOver));
    // Not for ever.
    let mut b = Bench::leader(majority(), plain(), 0);
    b.reign(&[1, 2]);
    b.propose(1);
    b.role.hand_over(b.now, &mut b.out);
    assert_eq!(lost(&b.pass(500)), Some(Lost::HandedOver));
}

#[test]
fn a_voter_that_looks_again_ends_the_wait_for_followers_after_a_time() {
    let settings = Settings { epoch_wait: Some(Span::from_millis(300)), ..plain() };
    let mut b = Bench::leader(majority(), settings, 3);
    b.pass(300);
    b.role.voter_looks(b.now, false, &mut b.out);
    assert_eq!(b.take(), [], "too early");
    b.pass(1);
    b.role.voter_looks(b.now, false, &mut b.out);
    assert_eq!(lost(&b.take()), Some(Lost::NoQuorum(Awaited::Followers)));
    // With a better vote: when the quiet time is over, whatever the setting.
    let mut b = Bench::leader(majority(), plain(), 3);
    b.role.voter_looks(b.now, true, &mut b.out);
    assert_eq!(b.take(), [], "too early");
    b.pass(1);
    b.role.voter_looks(b.now, true, &mut b.out);
    assert_eq!(lost(&b.take()), Some(Lost::NoQuorum(Awaited::Followers)));
    // Not without the setting, and not once a quorum has come.
    let mut b = Bench::leader(majority(), plain(), 3);
    b.pass(900);
    b.role.voter_looks(b.now, false, &mut b.out);
    assert_eq!(b.take(), []);
    let mut b = Bench::leader(majority(), settings, 3);
    b.join(1, 1);
    b.pass(900);
    b.role.voter_looks(b.now, false, &mut b.out);
    assert_eq!(b.take(), []);
}

#[test]
fn an_epoch_ends_before_its_zxids_do() {
    let mut b = Bench::leader(majority(), Settings { last_counter: 32, ..plain() }, 0);
    b.reign(&[1, 2]);
    for counter in 1..30 {
        b.propose(counter);
        b.ack(1, z(2, counter));
        assert_eq!(lost(&b.ack(2, z(2, counter))), None);
    }
    // Near the end a moment without outstanding proposals is taken; without one, it goes on to the last.
    b.propose(30);
    b.propose(31);
    b.ack(1, z(2, 30));
    assert_eq!(lost(&b.ack(2, z(2, 30))), None);
    b.propose(32);
    assert_eq!(b.role.next_zxid(), None);
    for counter in [31, 32] {
        b.ack(1, z(2, counter));
        let out = b.ack(2, z(2, counter));
        assert_eq!(lost(&out).is_some(), counter == 32);
    }
}

#[test]
fn a_voter_of_a_later_epoch_ends_this_one() {
    let mut b = Bench::leader(majority(), plain(), 0);
    b.reign(&[1]);
    assert_eq!(lost(&b.join(2, 7)), Some(Lost::Superseded(Epoch(7))));
    // The next epoch is above it.
    let mut out = Vec::new();
    let mut next = Leader::new(ME, plain(), b.role.into_history(), majority(), Time(0), &mut out);
    next.opened(Time(0), Conn(1), &mut out);
    let info = LearnerInfo { sid: ServerId(1), protocol_version: sync::EXACT, config_version: 0 };
    let hello = FromLearner::FollowerInfo { zxid: z(2, 0), info };
    next.packet(Time(0), Conn(1), hello.into_packet(), &mut out);
    assert_eq!(next.epoch(), Some(Epoch(8)));
}

#[test]
fn introductions_that_are_refused() {
    let cause = |info: LearnerInfo, zxid: Zxid| {
        let mut b = Bench::leader(majority(), plain(), 0);
        b.role.opened(b.now, Conn(9), &mut b.out);
        match &b.hear(9, FromLearner::FollowerInfo { zxid, info })[..] {
            [ZabOut::Close { cause, .. }] => Some(*cause),
            _ => None,
        }
    };
    let good = LearnerInfo { sid: ServerId(9), protocol_version: ZAB_VERSION, config_version: 0 };
    assert_eq!(cause(good, Zxid::ZERO), None);
    assert_eq!(cause(LearnerInfo { sid: ME, ..good }, Zxid::ZERO), Some(Cause::OwnServerId));
    let old = LearnerInfo { protocol_version: 1, ..good };
    assert_eq!(cause(old, Zxid::ZERO), Some(Cause::OldProtocol(1)));
    let ahead = LearnerInfo { config_version: 1, ..good };
    assert_eq!(cause(ahead, Zxid::ZERO), Some(Cause::ConfigAhead));
    let far = Epoch(i32::MAX.into());
    assert_eq!(cause(good, far.start()), Some(Cause::BadEpoch(far)));
}

#[test]
fn a_reconfiguration_needs_both_quorums() {
    let mut b = Bench::leader(QuorumView::settled(config(&[1, 2, 3], 1)), settings(), 0);
    b.reign(&[1, 2, 4, 5]);
    let zxid = z(2, 1);
    let next = Arc::new(config(&[3, 4, 5], zxid.0));
    b.role.propose(b.now, zxid, body(zxid), Some(next.clone()), &mut b.out);
    b.take();
    b.propose(2);
    // The old quorum, then the new one.
    for acked in [z(2, 1), z(2, 2)] {
        b.durable(Vouch::OwnAck(acked));
        assert_eq!(b.ack(1, acked), []);
    }
    let out = b.ack(4, z(2, 1));
    assert_eq!(kinds(&out, 1), [PacketType::CommitAndActivate]);
    assert!(out.contains(&ZabOut::Deliver { zxid, body: body(zxid), designated: Some(ME) }));
    assert_eq!(b.role.view().committed, next);
    // What was proposed behind it keeps the quorums of its moment.
    assert_eq!(kinds(&b.ack(5, z(2, 2)), 5), [PacketType::Commit]);
}

#[test]
fn a_leader_that_is_removed_names_its_successor_and_ends() {
    let mut b = Bench::leader(QuorumView::settled(config(&[1, 2, 3], 1)), settings(), 0);
    b.reign(&[1, 2]);
    let zxid = z(2, 1);
    let next = Arc::new(config(&[1, 2], zxid.0));
    b.role.propose(b.now, zxid, body(zxid), Some(next), &mut b.out);
    b.propose(2);
    b.ack(1, z(2, 1));
    b.ack(1, z(2, 2));
    let out = b.ack(2, z(2, 1));
    // Server 1 holds what is outstanding behind it.
    assert_eq!(lost(&out), Some(Lost::Deposed(ServerId(1))));
    let told = FromLeader::CommitAndActivate { zxid, designated: ServerId(1) }.into_packet();
    assert!(out.contains(&ZabOut::Send { conn: Conn(2), packet: told }));
}

#[test]
fn the_first_epoch_numbers_the_configuration() {
    let mut b = Bench::leader(majority(), settings(), 0);
    b.reign(&[1, 2]);
    assert_eq!(b.role.view().committed.version, z(2, 0).0);
}

// ---- learners ----

impl Bench<Learner> {
    fn learner(kind: LearnerType, txns: u32, floor: Zxid) -> Bench<Learner> {
        let mut b = Bench::of(kind, history(txns, floor));
        b.hear(FromLeader::LeaderInfo { zxid: z(2, 0), protocol_version: ZAB_VERSION });
        b
    }
    fn of(kind: LearnerType, history: History) -> Bench<Learner> {
        let mut out = Vec::new();
        let mut role = Learner::new((ServerId(1), kind), settings(), history, 0, (Time(0), 0), &mut out);
        role.opened(Time(0), Conn(1), &mut out);
        Bench { role, now: Time(0), out: Vec::new() }
    }
    fn hear(&mut self, said: FromLeader) -> Vec<ZabOut> {
        self.role.packet(self.now, Conn(1), said.into_packet(), &mut self.out);
        self.take()
    }
    fn durable(&mut self, vouch: Vouch) -> Vec<ZabOut> {
        self.role.durable(self.now, vouch, &mut self.out);
        self.take()
    }
    fn propose(&mut self, zxid: Zxid) -> Vec<ZabOut> {
        self.hear(FromLeader::Proposal { zxid, txn: body(zxid) })
    }
    fn commit(&mut self, zxid: Zxid) -> Vec<ZabOut> {
        self.hear(FromLeader::Commit { zxid })
    }
    /// It serves in epoch 2, nothing was missing.
    fn live(kind: LearnerType) -> Bench<Learner> {
        let mut b = Bench::learner(kind, 2, Zxid::ZERO);
        b.durable(Vouch::AckEpoch(Epoch(2)));
        b.hear(FromLeader::Diff { zxid: z(1, 2) });
        b.hear(FromLeader::NewLeader { zxid: z(2, 0), config: None });
        b.durable(Vouch::AckNewLeader(Epoch(2)));
        b.hear(FromLeader::UpToDate);
        assert!(b.role.is_active());
        b
    }
}

fn ack(zxid: Zxid) -> ZabOut {
    ZabOut::Send { conn: Conn(1), packet: FromLearner::Ack { zxid }.into_packet() }
}

#[test]
fn a_learner_promises_in_the_order_of_its_disk() {
    let mut b = Bench::of(LearnerType::Participant, history(2, Zxid::ZERO));
    let out = b.hear(FromLeader::LeaderInfo { zxid: z(2, 0), protocol_version: ZAB_VERSION });
    let written = ZabOut::WriteEpoch { file: EpochFile::Accepted, epoch: Epoch(2) };
    assert_eq!(out, [written, ZabOut::Park(Vouch::AckEpoch(Epoch(2)))]);
    assert_eq!(kinds(&b.durable(Vouch::AckEpoch(Epoch(2))), 1), [PacketType::AckEpoch]);
    b.hear(FromLeader::Diff { zxid: z(1, 3) });
    assert_eq!(b.propose(z(1, 3)), [], "not logged before its commit");
    let appended = ZabOut::Append { zxid: z(1, 3), body: body(z(1, 3)) };
    assert_eq!(b.commit(z(1, 3)), [appended]);
    b.propose(z(2, 1));
    let out = b.hear(FromLeader::NewLeader { zxid: z(2, 0), config: None });
    let written = ZabOut::WriteEpoch { file: EpochFile::Current, epoch: Epoch(2) };
    assert_eq!(out, [written, ZabOut::Park(Vouch::AckNewLeader(Epoch(2)))]);
    assert_eq!(b.durable(Vouch::AckNewLeader(Epoch(2))), [ack(z(2, 0))]);
    let out = b.hear(FromLeader::UpToDate);
    let appended = ZabOut::Append { zxid: z(2, 1), body: body(z(2, 1)) };
    let parked = ZabOut::Park(Vouch::Ack(z(2, 1)));
    // Only now is it certain that a quorum holds the history.
    let history = [deliver(z(1, 1)), deliver(z(1, 2)), deliver(z(1, 3))];
    assert_eq!(out[0], ack(z(2, 0)));
    assert_eq!(out[1..4], history);
    assert_eq!(out[4..], [appended, parked, ZabOut::Activated { epoch: Epoch(2) }]);
    assert_eq!(b.durable(Vouch::Ack(z(2, 1))), [ack(z(2, 1))]);
    assert_eq!(b.commit(z(2, 1)).len(), 1);
}

#[test]
fn commits_between_newleader_and_uptodate_wait_for_it() {
    let mut b = Bench::learner(LearnerType::Participant, 2, Zxid::ZERO);
    b.durable(Vouch::AckEpoch(Epoch(2)));
    b.hear(FromLeader::Diff { zxid: z(1, 2) });
    b.hear(FromLeader::NewLeader { zxid: z(2, 0), config: None });
    b.propose(z(2, 1));
    b.propose(z(2, 2));
    assert_eq!(b.commit(z(2, 1)), []);
    b.durable(Vouch::AckNewLeader(Epoch(2)));
    let out = b.hear(FromLeader::UpToDate);
    let delivered = ZabOut::Deliver { zxid: z(2, 1), body: body(z(2, 1)), designated: None };
    assert!(out.contains(&delivered));
    assert_eq!(b.role.history().delivered(), z(2, 1));
    assert_eq!(b.role.history().last(), z(2, 2));
}

#[test]
fn the_same_epoch_again_is_not_to_be_counted() {
    let mut b = Bench::of(LearnerType::Participant, history(2, Zxid::ZERO));
    let out = b.hear(FromLeader::LeaderInfo { zxid: z(1, 0), protocol_version: ZAB_VERSION });
    assert_eq!(out, [ZabOut::Park(Vouch::AckEpoch(Epoch(1)))]);
    let said = FromLearner::AckEpoch { zxid: z(1, 2), current_epoch: -1 }.into_packet();
    assert_eq!(b.durable(Vouch::AckEpoch(Epoch(1))), [ZabOut::Send { conn: Conn(1), packet: said }]);
    let mut b = Bench::of(LearnerType::Participant, history(2, Zxid::ZERO));
    let out = b.hear(FromLeader::LeaderInfo { zxid: z(0, 0), protocol_version: ZAB_VERSION });
    assert_eq!(lost(&out), Some(Lost::OldEpoch(Epoch(0))));
}

#[test]
fn what_cannot_be_cut_is_replaced() {
    // The tree holds everything up to 1|5.
    let mut b = Bench::learner(LearnerType::Participant, 6, z(1, 5));
    b.durable(Vouch::AckEpoch(Epoch(2)));
    let again = [ZabOut::Close { conn: Conn(1), cause: Cause::LearnerLost }, ZabOut::Dial];
    assert_eq!(b.hear(FromLeader::Trunc { zxid: z(1, 4) }), again);
    // The same leader is asked for a snapshot, and nothing else is taken.
    let info = FromLeader::LeaderInfo { zxid: z(2, 0), protocol_version: ZAB_VERSION };
    let mut b = Bench::of(LearnerType::Participant, b.role.into_history());
    b.hear(info.clone());
    let said = FromLearner::AckEpoch { zxid: Zxid::NONE, current_epoch: -1 }.into_packet();
    assert_eq!(b.durable(Vouch::AckEpoch(Epoch(2))), [ZabOut::Send { conn: Conn(1), packet: said }]);
    let out = b.hear(FromLeader::Diff { zxid: Zxid::ZERO });
    assert_eq!(lost(&out), Some(Lost::Unexpected(PacketType::Diff)));
    let mut b = Bench::of(LearnerType::Participant, b.role.into_history());
    b.hear(info);
    b.durable(Vouch::AckEpoch(Epoch(2)));
    b.hear(FromLeader::Snap { zxid: z(1, 4) });
    b.role.snapshot_received(b.now);
    // With what is committed on it, and not before all of that is there: this server may have promised to hold it.
    assert_eq!(b.propose(z(1, 5)), []);
    assert_eq!(b.commit(z(1, 5)), []);
    assert_eq!(b.propose(z(2, 1)), []);
    let out = b.hear(FromLeader::NewLeader { zxid: z(2, 0), config: None });
    let txns = vec![(z(1, 5), body(z(1, 5)))];
    assert_eq!(out[0], ZabOut::Install { txns, upto: z(1, 5) });
    assert_eq!((b.role.history().last(), b.role.history().snapshot_wanted()), (z(1, 5), None));
    // A later leader hears the truth.
    let mut b = Bench::learner(LearnerType::Participant, 6, z(1, 5));
    b.role.packet(b.now, Conn(1), FromLeader::UpToDate.into_packet(), &mut b.out);
    assert_eq!(b.role.history().last(), z(1, 6));
}

#[test]
fn a_gap_ends_the_connection() {
    let mut b = Bench::live(LearnerType::Participant);
    assert_eq!(lost(&b.propose(z(2, 2))), Some(Lost::Gap(z(2, 2))));
    let mut b = Bench::live(LearnerType::Participant);
    b.propose(z(2, 1));
    assert_eq!(lost(&b.propose(z(2, 1))), Some(Lost::Gap(z(2, 1))));
    let mut b = Bench::live(LearnerType::Observer);
    let inform = FromLeader::Inform { zxid: z(2, 3), txn: body(z(2, 3)) };
    assert_eq!(lost(&b.hear(inform)), Some(Lost::Gap(z(2, 3))));
    let mut b = Bench::learner(LearnerType::Participant, 2, Zxid::ZERO);
    b.durable(Vouch::AckEpoch(Epoch(2)));
    b.hear(FromLeader::Diff { zxid: z(1, 4) });
    assert_eq!(lost(&b.propose(z(1, 4))), Some(Lost::Gap(z(1, 4))));
    assert_eq!(b.role.history().snapshot_wanted(), Some(Epoch(2)));
}

#[test]
fn a_commit_of_another_ends_the_connection() {
    let mut b = Bench::live(LearnerType::Participant);
    assert_eq!(lost(&b.commit(z(2, 1))), Some(Lost::WrongCommit(z(2, 1))));
    let mut b = Bench::live(LearnerType::Participant);
    b.propose(z(2, 1));
    b.propose(z(2, 2));
    assert_eq!(lost(&b.commit(z(2, 2))), Some(Lost::WrongCommit(z(2, 2))));
}

#[test]
fn packets_of_another_connection_are_nothing() {
    let mut b = Bench::live(LearnerType::Participant);
    let stale = FromLeader::Proposal { zxid: z(2, 1), txn: body(z(2, 1)) }.into_packet();
    b.role.packet(b.now, Conn(9), stale, &mut b.out);
    b.role.closed(b.now, Some(Conn(9)), &mut b.out);
    assert_eq!(b.take(), []);
}

#[test]
fn a_ping_takes_the_sessions_along() {
    let mut b = Bench::live(LearnerType::Observer);
    b.role.touch(SessionId(5), 100);
    b.role.touch(SessionId(4), 200);
    b.role.touch(SessionId(5), 300);
    let sessions = vec![(SessionId(4), 200), (SessionId(5), 300)];
    let answer = FromLearner::Ping { zxid: z(2, 0), sessions }.into_packet();
    let ping = FromLeader::Ping { zxid: z(2, 0) };
    assert_eq!(b.hear(ping.clone()), [ZabOut::Send { conn: Conn(1), packet: answer }]);
    let answer = FromLearner::Ping { zxid: z(2, 0), sessions: vec![] }.into_packet();
    assert_eq!(b.hear(ping), [ZabOut::Send { conn: Conn(1), packet: answer }]);
}

#[test]
fn a_silent_leader_is_left() {
    let mut b = Bench::live(LearnerType::Participant);
    let at = b.role.next_wake().expect("a deadline");
    assert_eq!(at, Time(0) + Span::from_millis(500));
    b.role.wake(at, &mut b.out);
    assert_eq!(lost(&b.take()), Some(Lost::Silent));
    // While its own disk is busy it is nobody's turn but its own.
    let b = Bench::learner(LearnerType::Participant, 2, Zxid::ZERO);
    assert_eq!(b.role.next_wake(), None);
}

#[test]
fn whoever_was_refused_again_and_again_waits_before_it_asks() {
    let first_dial = |fruitless| {
        let (mut out, me) = (Vec::new(), (ServerId(1), LearnerType::Participant));
        let start = (Time(0), fruitless);
        let mut learner = Learner::new(me, settings(), history(0, Zxid::ZERO), 0, start, &mut out);
        let mut now = Time(0);
        while out.is_empty() {
            now = learner.next_wake().expect("it will dial");
            learner.wake(now, &mut out);
        }
        assert_eq!(out, [ZabOut::Dial]);
        now.0 / 1_000_000
    };
    assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, 1000].map(first_dial), [0, 0, 0, 10, 20, 40, 80, 100, 100]);
}

#[test]
fn dials_are_repeated_for_a_while() {
    let mut out = Vec::new();
    let history = history(0, Zxid::ZERO);
    let me = (ServerId(1), LearnerType::Participant);
    let mut learner = Learner::new(me, settings(), history, 0, (Time(0), 0), &mut out);
    let (mut dials, mut now) = (0, Time(0));
    while lost(&out).is_none() {
        dials += out.drain(..).filter(|o| *o == ZabOut::Dial).count();
        learner.closed(now, None, &mut out);
        if let Some(at) = learner.next_wake() {
            now = at;
            learner.wake(now, &mut out);
        }
    }
    assert_eq!((dials, lost(&out)), (9, Some(Lost::Unreachable)));
    assert!(now.as_millis() >= 400, "{now:?}");
}

// ---- hostile peers ----

fn any_zxid() -> impl Strategy<Value = Zxid> {
    let near = (0u32..4, 0u32..6).prop_map(|(e, c)| z(e, c));
    prop_oneof![8 => near, 1 => any::<i64>().prop_map(Zxid), 1 => Just(Zxid::NONE)]
}

fn any_packet() -> impl Strategy<Value = QuorumPacket> {
    let data = prop_oneof![
        Just(None),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Some),
        // LearnerInfo and the like: small numbers.
        (0i64..6, 0x10000i32..0x10002, 0i64..2).prop_map(|(a, b, c)| {
            Some([&a.to_be_bytes()[..], &b.to_be_bytes(), &c.to_be_bytes()].concat())
        }),
        (-1i32..3).prop_map(|e| Some(e.to_be_bytes().to_vec())),
    ];
    (1..20, any_zxid(), data).prop_map(|(kind, zxid, data)| {
        let kind = PacketType::from_int(kind).expect("there are 19");
        QuorumPacket::new(kind, zxid, data.map(Bytes::from))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever learners say in whatever order, a leader neither panics nor promises what is not so.
    #[test]
    fn no_learner_breaks_a_leader(
        packets in proptest::collection::vec((0u64..4, any_packet()), 0..60),
        reigns: bool,
    ) {
        let mut b = Bench::leader(majority(), plain(), 3);
        if reigns {
            b.reign(&[1]);
            b.propose(1);
        }
        for conn in 0..4 {
            b.role.opened(b.now, Conn(conn + 20), &mut b.out);
        }
        for (conn, packet) in packets {
            b.role.packet(b.now, Conn(conn + 20), packet, &mut b.out);
            for o in b.take() {
                match o {
                    ZabOut::Park(vouch) => b.role.durable(b.now, vouch, &mut b.out),
                    ZabOut::WantSnapshot { conn } => b.role.snapshot_begun(b.now, conn, &mut b.out),
                    ZabOut::WantLog { conn, .. } => b.role.log_ends(conn, &mut b.out),
                    ZabOut::Close { conn, .. } => b.role.opened(b.now, conn, &mut b.out),
                    _ => {}
                }
            }
            if let Some(zxid) = b.role.next_zxid().filter(|z| z.counter() < 5) {
                b.role.propose(b.now, zxid, body(zxid), None, &mut b.out);
            }
        }
    }

    /// Whatever a leader says in whatever order, a learner does not panic, and its log has no gap.
    #[test]
    fn no_leader_breaks_a_learner(
        packets in proptest::collection::vec(any_packet(), 0..60),
        stage in 0..4,
        observer: bool,
    ) {
        let kind = if observer { LearnerType::Observer } else { LearnerType::Participant };
        let mut b = match stage {
            0 => Bench::of(kind, history(3, Zxid::ZERO)),
            1 | 2 => Bench::learner(kind, 3, Zxid::ZERO),
            _ => Bench::live(kind),
        };
        if stage == 2 {
            b.durable(Vouch::AckEpoch(Epoch(2)));
            b.hear(FromLeader::Diff { zxid: z(1, 3) });
        }
        for packet in packets {
            b.role.packet(b.now, Conn(1), packet, &mut b.out);
            let mut over = false;
            for o in b.take() {
                match o {
                    ZabOut::Park(vouch) => b.role.durable(b.now, vouch, &mut b.out),
                    ZabOut::ReceiveSnapshot { .. } => b.role.snapshot_received(b.now),
                    ZabOut::Lost { .. } => over = true,
                    _ => {}
                }
            }
            if over {
                b = Bench::of(kind, b.role.into_history());
            }
        }
    }
}
