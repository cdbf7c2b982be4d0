//! Ensembles: good traces of them, and what breaks each rule that needs more than one server.

use super::trio::{OBSERVER, VOTERS, ensemble};
use super::*;
use crate::history::{CrashKind, ShadowOutcome};
use zebu_core::config::EnsembleConfig;
use zebu_core::quorum::{ConfigRules, QuorumVerifier};

const B: ServerId = VOTERS[1];
const C: ServerId = VOTERS[2];

fn data(version: i32) -> Txn {
    Txn::SetData { path: "/a".to_owned(), data: Some(Bytes::from_static(b"y")), version }
}

/// An ensemble with a node and a client.
fn one() -> (Toy, Who) {
    let mut toy = Toy::new();
    let a = toy.open();
    toy.call(a, node("/a"));
    (toy, a)
}

/// The trace breaks this rule when this is done to it.
#[track_caller]
fn breaks(rule: Rule, with: impl Fn(&mut Toy, Who)) {
    ensemble(|| {
        let (mut toy, a) = one();
        good(&toy);
        with(&mut toy, a);
        bad(&toy, rule);
    });
}

#[track_caller]
fn passes(with: impl Fn(&mut Toy, Who)) {
    ensemble(|| {
        let (mut toy, a) = one();
        with(&mut toy, a);
        good(&toy);
    });
}

/// A transaction that was logged and not committed.
fn outstanding(toy: &mut Toy, who: Who) -> (Zxid, Bytes) {
    let (body, _) = toy.log(toy.session(who), data(1));
    toy.replicate(toy.zxid, &body);
    (toy.zxid, body)
}

fn restart(toy: &mut Toy, server: ServerId, with: impl FnOnce(&mut Restored)) {
    toy.push(Entry::Crash { server, kind: CrashKind::Power });
    let incarnation = toy.node(server).incarnation + 1;
    toy.node(server).incarnation = incarnation;
    toy.push(Entry::Restart { server, incarnation });
    let image = toy.node(server).image;
    let digest = toy.tree.digest();
    let mut found = Restored {
        last: image.last,
        tree: image.last,
        digest,
        accepted: image.accepted,
        current: image.current,
    };
    with(&mut found);
    toy.h.recovered(toy.now, server, found, []);
}

#[test]
fn leaders_change_and_servers_lag() {
    passes(|toy, a| {
        let b = toy.open();
        toy.homes[usize::from(b.handle)] = B;
        toy.state(b, HandleState::Disconnected);
        toy.connect(b, true);
        toy.node(B).lags = true;
        // A read at a server that lags shows the past.
        let (old, outcome) = toy.serve(b, &get("/a", false));
        toy.call(a, set("/a", "1"));
        let call = toy.invoke(b, get("/a", false));
        toy.ret(b, call, old, outcome);
        toy.catch_up(B);
        toy.call(b, sync());
        // C restarts and comes back; then a new leader, whose epoch begins with a read.
        restart(toy, C, |_| {});
        toy.part();
        toy.elect(B, 2);
        toy.call(b, get("/a", false));
        toy.call(b, set("/a", "2"));
        toy.homes[usize::from(a.handle)] = OBSERVER;
        toy.state(a, HandleState::Disconnected);
        toy.connect(a, true);
        toy.call(a, set("/a", "3"));
        toy.end();
    });
}

#[test]
fn what_was_not_committed_may_be_cut_or_become_history() {
    // The next leader has it: it is committed with the epoch.
    passes(|toy, a| {
        let call = toy.invoke(a, set("/a", "y"));
        let (zxid, txn) = outstanding(toy, a);
        toy.lose(a, call);
        toy.part();
        let digest = toy.tree.digest();
        toy.event_at(OBSERVER, Event::Logged { zxid, txn: txn.clone() });
        toy.image(OBSERVER, |i| i.last = zxid);
        toy.elect(B, 2);
        // (Said late, but it is what they apply.)
        for server in toy.servers() {
            toy.event_at(server, Event::Committed { zxid, txn: txn.clone() });
            toy.event_at(server, Event::Applied { zxid, digest });
        }
        toy.call(a, get("/a", false));
    });
    // It has not: whoever has it cuts it off.
    passes(|toy, a| {
        let before = toy.zxid;
        toy.node(B).follows = false;
        toy.node(C).follows = false;
        let (fork, body) = (toy.tree.clone(), toy.log(toy.session(a), data(1)).0);
        toy.replicate(toy.zxid, &body);
        toy.part();
        toy.tree = fork;
        for server in [B, C] {
            toy.node(server).follows = true;
        }
        toy.node(SERVER).follows = false;
        toy.elect(B, 2);
        toy.node(SERVER).follows = true;
        toy.image(SERVER, |i| i.accepted = Epoch(2));
        toy.event_at(SERVER, Event::Vouched(Vouch::AckEpoch(Epoch(2))));
        toy.event_at(SERVER, Event::Truncated { to: before });
        toy.image(SERVER, |i| (i.last, i.current) = (before, Epoch(2)));
        toy.event_at(SERVER, Event::Vouched(Vouch::AckNewLeader(Epoch(2))));
        toy.event_at(SERVER, Event::Activated { epoch: Epoch(2) });
        toy.call(a, set("/a", "z"));
        toy.end();
    });
}

#[test]
fn z1_one_leader_an_epoch() {
    breaks(Rule::Z1, |toy, _| {
        toy.part();
        toy.event_at(B, Event::Established { epoch: Epoch(1) });
    });
    // Its next life is another leader.
    breaks(Rule::Z1, |toy, _| {
        restart(toy, SERVER, |_| {});
        toy.event_at(SERVER, Event::Established { epoch: Epoch(1) });
    });
    breaks(Rule::Z1, |toy, a| {
        toy.leader = B;
        outstanding(toy, a);
    });
}

#[test]
fn z2_one_payload_a_zxid() {
    let other = |zxid: Zxid| {
        let header = TxnHeader { session: SessionId(0x100), cxid: 0, zxid, time: 1 };
        let mut body = Vec::new();
        LoggedTxn { header, txn: data(7), digest: None }.encode(&mut body);
        Bytes::from(body)
    };
    breaks(Rule::Z2, |toy, a| {
        let (zxid, _) = outstanding(toy, a);
        toy.event_at(SERVER, Event::Proposed { zxid, txn: other(zxid) });
    });
    breaks(Rule::Z2, |toy, _| {
        let zxid = toy.zxid.next();
        toy.event_at(B, Event::Logged { zxid, txn: other(zxid) });
    });
    breaks(Rule::Z2, |toy, a| {
        toy.node(C).follows = false;
        let (zxid, body) = outstanding(toy, a);
        toy.commit_everywhere(zxid, &body);
        toy.event_at(C, Event::Logged { zxid, txn: other(zxid) });
    });
}

#[test]
fn z3_nothing_beyond_what_is_committed() {
    // The observer is told of proposals.
    breaks(Rule::Z3, |toy, a| {
        let (zxid, txn) = outstanding(toy, a);
        toy.event_at(OBSERVER, Event::Logged { zxid, txn: txn.clone() });
        toy.event_at(OBSERVER, Event::Committed { zxid, txn });
    });
    // A follower leaves one out.
    breaks(Rule::Z3, |toy, a| {
        toy.node(B).lags = true;
        toy.call(a, set("/a", "1"));
        toy.node(B).lags = false;
        toy.call(a, set("/a", "2"));
    });
    // A snapshot of what is not committed.
    breaks(Rule::Z3, |toy, a| {
        let (zxid, _) = outstanding(toy, a);
        toy.event_at(OBSERVER, Event::Installed { zxid, digest: 0 });
    });
    breaks(Rule::Z3, |toy, _| {
        let (zxid, digest) = (toy.zxid, toy.tree.digest());
        toy.event_at(B, Event::Applied { zxid, digest });
    });
}

#[test]
fn z4_zxids_go_up_by_one_in_their_epoch() {
    breaks(Rule::Z4, |toy, a| {
        toy.zxid = toy.zxid.next();
        outstanding(toy, a);
    });
    // The counter rolls over into the epoch.
    breaks(Rule::Z4, |toy, a| {
        toy.zxid = Zxid::new(1, u32::MAX);
        toy.zxid = Zxid(toy.zxid.0);
        let (body, _) = {
            toy.zxid = Zxid::new(2, 0);
            toy.log(toy.session(a), data(1))
        };
        toy.replicate(toy.zxid, &body);
    });
    breaks(Rule::Z4, |toy, a| {
        let (zxid, body) = outstanding(toy, a);
        toy.commit_everywhere(zxid, &body);
        toy.event_at(SERVER, Event::QuorumAcked { zxid, acks: VOTERS.to_vec() });
    });
}

#[test]
fn z5_leaders_have_what_is_committed() {
    // C was away, and leads with B, which has forgotten (or was asked too early).
    breaks(Rule::Z5, |toy, a| {
        toy.node(C).follows = false;
        toy.call(a, set("/a", "1"));
        toy.part();
        for server in [SERVER, OBSERVER] {
            toy.node(server).follows = false;
        }
        toy.node(C).follows = true;
        toy.elect(C, 2);
    });
    // A quorum cuts off what was committed.
    breaks(Rule::Z5, |toy, a| {
        let before = toy.zxid;
        toy.call(a, set("/a", "1"));
        for server in [B, C] {
            toy.event_at(server, Event::Truncated { to: before });
            toy.image(server, |i| i.last = before);
        }
    });
}

#[test]
fn z6_quorums() {
    let acked = |acks: &'static [ServerId]| {
        move |toy: &mut Toy, who: Who| {
            toy.invoke(who, set("/a", "y"));
            let (zxid, _) = outstanding(toy, who);
            toy.event_at(SERVER, Event::QuorumAcked { zxid, acks: acks.to_vec() });
        }
    };
    passes(|toy, a| {
        acked(&[SERVER, C])(toy, a);
    });
    breaks(Rule::Z6, acked(&[SERVER]));
    breaks(Rule::Z6, acked(&[SERVER, OBSERVER]));
    breaks(Rule::Z6, acked(&[]));
    // Acks of one whose ack of NEWLEADER is missing.
    breaks(Rule::Z6, |toy, a| {
        toy.part();
        toy.node(C).follows = false;
        toy.elect(SERVER, 2);
        toy.node(B).follows = false;
        let (zxid, txn) = outstanding(toy, a);
        toy.event_at(C, Event::Logged { zxid, txn });
        toy.image(C, |i| (i.last, i.accepted) = (zxid, Epoch(2)));
        toy.event_at(C, Event::Vouched(Vouch::Ack(zxid)));
        toy.event_at(SERVER, Event::QuorumAcked { zxid, acks: vec![SERVER, C] });
    });
    // One that acked has lost it since.
    breaks(Rule::Z6, |toy, a| {
        let before = toy.zxid;
        let (zxid, _) = outstanding(toy, a);
        toy.image(B, |i| i.last = before);
        toy.event_at(SERVER, Event::QuorumAcked { zxid, acks: vec![SERVER, B] });
    });
    // An epoch begins without a quorum.
    breaks(Rule::Z6, |toy, _| {
        toy.part();
        for server in [B, C] {
            toy.node(server).follows = false;
        }
        toy.elect(SERVER, 2);
    });
    breaks(Rule::Z6, |toy, _| toy.event_at(B, Event::Activated { epoch: Epoch(9) }));
}

#[test]
fn z6_groups() {
    ensemble(|| {
        let groups = "group.1=1\ngroup.2=2\ngroup.3=3\n";
        let text: String = (1..=3).map(|n| format!("server.{n}=h{n}:2888:3888:participant\n")).collect();
        let parsed =
            QuorumVerifier::parse(&(text + groups), ConfigRules::default()).expect("a configuration");
        let mut limits = limits();
        limits.config.ensemble = Some(EnsembleConfig::new(parsed));
        limits.ensemble = Ensemble::of(&limits.config);
        let (mut toy, a) = one();
        let rules = |toy: &Toy| {
            let found = Checker::new().run(&toy.h, &limits).to_vec();
            found.iter().map(|v| v.rule).collect::<Vec<Rule>>()
        };
        assert_eq!(rules(&toy), []);
        // One group of those that answered is no quorum of groups.
        let (zxid, _) = outstanding(&mut toy, a);
        toy.event_at(SERVER, Event::QuorumAcked { zxid, acks: vec![SERVER] });
        assert!(rules(&toy).contains(&Rule::Z6));
    });
}

#[test]
fn z6_reconfigurations_need_both_quorums() {
    let line = |n: i64| format!("server.{n}=h{n}:2888:3888:participant\n");
    let text: String = (3..=5).map(line).collect();
    let propose = |toy: &mut Toy, acks: &[ServerId]| {
        let data = Some(Bytes::from(text.clone()));
        let txn = Txn::Reconfig { path: "/zookeeper/config".to_owned(), data, version: -1 };
        let (body, _) = toy.log(SessionId(0x77), txn);
        let zxid = toy.zxid;
        toy.replicate(zxid, &body);
        // The new ones hold it too, and have acked the epoch.
        toy.event_at(OBSERVER, Event::Logged { zxid, txn: body.clone() });
        toy.image(OBSERVER, |i| i.last = zxid);
        toy.event_at(OBSERVER, Event::Vouched(Vouch::Ack(zxid)));
        toy.event_at(SERVER, Event::QuorumAcked { zxid, acks: acks.to_vec() });
    };
    let with = |acks: &'static [ServerId]| {
        move |toy: &mut Toy, _: Who| {
            toy.join(ServerId(5));
            propose(toy, acks);
        }
    };
    passes(with(&[SERVER, B, C, ServerId(4)]));
    passes(with(&[SERVER, C, ServerId(4)]));
    breaks(Rule::Z6, with(&[SERVER, B, C]));
    breaks(Rule::Z6, with(&[C, ServerId(4), ServerId(5)]));
}

#[test]
fn d1_acks_are_durable() {
    breaks(Rule::D1, |toy, a| {
        toy.image = false;
        outstanding(toy, a);
    });
    // NEWLEADER acked before its history is there.
    breaks(Rule::D1, |toy, a| {
        toy.node(C).follows = false;
        toy.call(a, set("/a", "1"));
        toy.part();
        toy.elect(B, 2);
        let missed = toy.node(C).missed.clone();
        toy.image(C, |i| i.accepted = Epoch(2));
        toy.event_at(C, Event::Vouched(Vouch::AckEpoch(Epoch(2))));
        for (zxid, txn, _) in missed {
            toy.event_at(C, Event::Logged { zxid, txn });
        }
        toy.event_at(C, Event::Vouched(Vouch::AckNewLeader(Epoch(2))));
    });
    breaks(Rule::D1, |toy, _| {
        let zxid = toy.zxid.next();
        toy.event_at(B, Event::Vouched(Vouch::Ack(zxid)));
    });
    // Shown to a client, and then gone from the disks.
    breaks(Rule::D1, |toy, a| {
        let before = toy.zxid;
        let call = toy.invoke(a, set("/a", "1"));
        let (zxid, outcome) = toy.serve(a, &set("/a", "1"));
        for server in [B, C] {
            toy.push(Entry::DiskLied { server: OBSERVER });
            toy.image(server, |i| i.last = before);
        }
        toy.ret(a, call, zxid, outcome);
    });
}

#[test]
fn d2_epochs() {
    let epoch = Epoch(2);
    breaks(Rule::D2, |toy, _| toy.event_at(B, Event::Vouched(Vouch::AckEpoch(epoch))));
    breaks(Rule::D2, |toy, _| {
        toy.image(B, |i| i.accepted = epoch);
        toy.event_at(B, Event::Vouched(Vouch::AckEpoch(epoch)));
        toy.event_at(B, Event::Vouched(Vouch::AckEpoch(Epoch(1))));
    });
    breaks(Rule::D2, |toy, _| toy.image(B, |i| i.accepted = Epoch(0)));
    breaks(Rule::D2, |toy, _| toy.image(B, |i| (i.accepted, i.current) = (Epoch(1), Epoch(2))));
    // currentEpoch of an epoch of nobody.
    breaks(Rule::D2, |toy, _| toy.image(B, |i| (i.accepted, i.current) = (Epoch(9), Epoch(9))));
    // currentEpoch before the epoch's history.
    breaks(Rule::D2, |toy, a| {
        toy.node(C).follows = false;
        toy.call(a, set("/a", "1"));
        toy.part();
        toy.elect(B, 2);
        toy.image(C, |i| (i.accepted, i.current) = (epoch, epoch));
    });
    // An ack for the old leader behind a promise to the new one.
    breaks(Rule::D2, |toy, a| {
        toy.image(B, |i| i.accepted = epoch);
        toy.event_at(B, Event::Vouched(Vouch::AckEpoch(epoch)));
        outstanding(toy, a);
    });
}

#[test]
fn d3_f1_t2_recoveries() {
    let shadow = |with: &dyn Fn(&mut Restored)| {
        let (mut toy, a) = one();
        toy.call(a, set("/a", "1"));
        let (image, digest) = (toy.node(B).image, toy.tree.digest());
        let mut found = restored(image.last, digest);
        (found.accepted, found.current) = (image.accepted, image.current);
        with(&mut found);
        let outcome = ShadowOutcome::Recovered(found);
        toy.push(Entry::Shadow { server: B, kind: CrashKind::Power, outcome });
        toy
    };
    let less = |r: &mut Restored| (r.last, r.tree) = (Zxid(r.last.0 - 1), Zxid(r.last.0 - 1));
    ensemble(|| {
        good(&shadow(&|_| {}));
        bad(&shadow(&less), Rule::D3);
        bad(&shadow(&|r| r.last = r.last.next()), Rule::D3);
        bad(&shadow(&|r| (r.accepted, r.current) = (Epoch(0), Epoch(0))), Rule::D3);
        bad(&shadow(&|r| r.current = Epoch(2)), Rule::D3);
        bad(&shadow(&|r| r.digest ^= 1), Rule::T2);
    });
    passes(|toy, _| restart(toy, B, |_| {}));
    breaks(Rule::F1, |toy, _| restart(toy, B, less));
    breaks(Rule::T2, |toy, _| restart(toy, B, |r| r.digest ^= 1));
    breaks(Rule::D3, |toy, _| {
        let outcome = ShadowOutcome::Refused(toy.h.text("a torn file".to_owned()));
        toy.push(Entry::Shadow { server: B, kind: CrashKind::Power, outcome });
    });
    breaks(Rule::D3, |toy, _| toy.image(B, |i| i.last = i.last.next()));
    // A disk that broke its word is excused; what its server promised is void.
    passes(|toy, _| {
        toy.push(Entry::DiskLied { server: B });
        restart(toy, B, less);
    });
}

#[test]
fn d4_logs_follow_their_leaders() {
    // Another's entries below newer ones.
    breaks(Rule::D4, |toy, a| {
        toy.node(C).follows = false;
        let (zxid, body) = outstanding(toy, a);
        toy.commit_everywhere(zxid, &body);
        let (zxid, txn) = outstanding(toy, a);
        toy.event_at(C, Event::Logged { zxid, txn });
    });
    breaks(Rule::D4, |toy, _| {
        let to = Zxid(toy.zxid.0 - 1);
        toy.event_at(B, Event::Truncated { to });
    });
    // Told of a commit that it has not logged.
    breaks(Rule::D4, |toy, a| {
        toy.node(C).follows = false;
        let (zxid, body) = outstanding(toy, a);
        toy.commit_everywhere(zxid, &body);
        toy.event_at(C, Event::Committed { zxid, txn: body });
    });
}

#[test]
fn t1_snapshots_of_a_leader() {
    for (wrong, rule) in [(0, None), (1, Some(Rule::T1))] {
        ensemble(|| {
            let (mut toy, a) = one();
            toy.node(C).follows = false;
            toy.call(a, set("/a", "1"));
            let (zxid, digest) = (toy.zxid, toy.tree.digest() ^ wrong);
            toy.event_at(C, Event::Installed { zxid, digest });
            toy.node(C).follows = true;
            toy.image(C, |i| i.last = zxid);
            toy.call(a, set("/a", "2"));
            rule.map_or_else(|| good(&toy), |rule| bad(&toy, rule));
        });
    }
}

#[test]
fn s3_an_old_connection_is_over() {
    for moved_first in [false, true] {
        ensemble(|| {
            let (mut toy, a) = one();
            let call = toy.invoke(a, set("/a", "late"));
            toy.lose(a, call);
            toy.state(a, HandleState::Disconnected);
            toy.homes[usize::from(a.handle)] = B;
            if moved_first {
                toy.connect(a, true);
            }
            assert!(toy.serve(a, &set("/a", "late")).1.is_ok());
            if moved_first {
                return bad(&toy, Rule::S3);
            }
            toy.connect(a, true);
            good(&toy);
        });
    }
    // Refused as it must be: nothing of it happens.
    passes(|toy, a| {
        let call = toy.invoke(a, set("/a", "late"));
        toy.lose(a, call);
        toy.state(a, HandleState::Disconnected);
        toy.homes[usize::from(a.handle)] = B;
        toy.connect(a, true);
        toy.call(a, set("/a", "new"));
        let session = toy.session(a);
        toy.commit(session, Txn::Error { err: ErrorCode::SessionMoved.code() });
        toy.call(a, get("/a", false));
    });
}

#[test]
fn c3_c4_a_session_that_moves_never_goes_back() {
    breaks(Rule::C3, |toy, a| {
        let (old, outcome) = toy.serve(a, &get("/a", false));
        toy.call(a, set("/a", "1"));
        toy.state(a, HandleState::Disconnected);
        toy.homes[usize::from(a.handle)] = B;
        toy.connect(a, true);
        let call = toy.invoke(a, get("/a", false));
        toy.ret(a, call, old, outcome);
    });
    // What is not committed is shown to no one.
    breaks(Rule::C4, |toy, a| {
        let b = toy.open();
        let call = toy.invoke(b, get("/a", false));
        let (zxid, _) = outstanding(toy, a);
        let outcome = toy.serve(b, &get("/a", false)).1;
        toy.ret(b, call, zxid, outcome);
    });
}

#[test]
fn c5_c6_how_old_an_answer_may_be() {
    let answer_late = |toy: &mut Toy, who: Who, request: Request, ms: u64, epoch: Option<i64>| {
        let b = toy.open();
        let (old, outcome) = toy.serve(b, &request);
        if let Some(epoch) = epoch {
            toy.part();
            toy.elect(B, epoch);
        }
        toy.call(who, set("/a", "new"));
        toy.now.0 += ms * MS;
        let call = toy.invoke(b, request);
        toy.ret(b, call, old, outcome);
    };
    breaks(Rule::C5, |toy, a| answer_late(toy, a, sync(), 0, None));
    // By a leader that does not know yet that there is another.
    breaks(Rule::C5, |toy, a| answer_late(toy, a, sync(), 0, Some(2)));
    passes(|toy, a| answer_late(toy, a, get("/a", false), 1000, None));
    breaks(Rule::C6, |toy, a| answer_late(toy, a, get("/a", false), 60_000, None));
    ensemble(|| {
        let (mut toy, a) = one();
        answer_late(&mut toy, a, sync(), 0, Some(2));
        let mut checker = Checker::new();
        let lenient = Limits { strict_sync: false, ..limits() };
        assert_eq!(checker.run(&toy.h, &lenient), []);
        assert_eq!(checker.looks().excused_syncs, 1);
    });
}

#[test]
fn e2_signs_of_life_at_a_learner() {
    let expire = |ms: u64, leaves: bool, elects: bool| {
        let (mut toy, a) = one();
        toy.state(a, HandleState::Disconnected);
        toy.homes[usize::from(a.handle)] = B;
        toy.connect(a, true);
        toy.now.0 += 2000 * MS;
        toy.call(a, get("/a", false));
        if leaves {
            toy.event_at(B, Event::RoleLost { why: zebu_core::zab::Lost::Disconnected });
        }
        if elects {
            toy.part();
            toy.elect(SERVER, 2);
        }
        toy.now.0 += ms * MS;
        let session = toy.session(a);
        toy.event_at(SERVER, Event::SessionExpired { session });
        toy.commit(session, Txn::CloseSession { paths: Some(Vec::new()) });
        toy
    };
    ensemble(|| {
        good(&expire(4500, false, false));
        bad(&expire(3500, false, false), Rule::E2);
        bad(&expire(7000, false, false), Rule::E2);
        // The learner had no time to tell of it.
        good(&expire(3500, true, false));
        // A new leader gives the full time.
        bad(&expire(3500, false, true), Rule::E2);
        good(&expire(4500, false, true));
    });
}

#[test]
fn w3_watches_come_along_to_another_server() {
    for told in [true, false] {
        ensemble(|| {
            let (mut toy, a) = one();
            let b = toy.open();
            toy.call(a, get("/a", true));
            toy.state(a, HandleState::Disconnected);
            toy.call(b, set("/a", "new"));
            toy.homes[usize::from(a.handle)] = B;
            toy.connect(a, true);
            let session = toy.session(a);
            let reply = Event::Replied { session, op: crate::history::SET_WATCHES[0], latency: 0 };
            // The server that it has left answers too.
            toy.event_at(SERVER, reply.clone());
            toy.event_at(B, reply);
            if told {
                toy.notify(a, Zxid::NONE, EventKind::NodeDataChanged, "/a");
            }
            toy.call(a, sync());
            if told { good(&toy) } else { bad(&toy, Rule::W3) }
        });
    }
}

#[test]
fn l1_l4_l5_f1_after_the_last_fault() {
    let later = |toy: &mut Toy| toy.now.0 += 600_000 * MS;
    let healed = |toy: &mut Toy| toy.push(Entry::Phase(Phase::Healed));
    // No session outlives so long a silence.
    let close = |toy: &mut Toy, a: Who| {
        toy.call(a, Request::CloseSession);
        toy.state(a, HandleState::Closed);
    };
    passes(|toy, a| {
        close(toy, a);
        healed(toy);
        later(toy);
        toy.push(Entry::Phase(Phase::End));
    });
    breaks(Rule::L1, |toy, _| {
        toy.part();
        healed(toy);
        later(toy);
        toy.push(Entry::Phase(Phase::End));
    });
    breaks(Rule::L1, |toy, _| {
        toy.part();
        healed(toy);
        later(toy);
        toy.elect(B, 2);
    });
    breaks(Rule::L4, |toy, _| {
        healed(toy);
        later(toy);
        toy.push(Entry::Crash { server: C, kind: CrashKind::Kill });
        toy.push(Entry::Phase(Phase::End));
    });
    breaks(Rule::L4, |toy, a| {
        toy.node(C).lags = true;
        toy.call(a, set("/a", "1"));
        healed(toy);
        later(toy);
        toy.push(Entry::Phase(Phase::End));
    });
    // Acknowledged, and in the end not there: the others went on without it.
    breaks(Rule::F1, |toy, a| {
        let (before, digest) = (toy.zxid, toy.tree.digest());
        toy.call(a, set("/a", "1"));
        restart(toy, B, |r| (r.last, r.tree, r.digest) = (before, before, digest));
        toy.event_at(B, Event::Activated { epoch: Epoch(1) });
        healed(toy);
        later(toy);
        toy.push(Entry::Phase(Phase::End));
    });
    breaks(Rule::L5, |toy, _| {
        healed(toy);
        for epoch in 2..9 {
            toy.part();
            toy.elect(B, epoch);
        }
    });
    // It looks for a leader, and finds none.
    breaks(Rule::L5, |toy, _| {
        healed(toy);
        restart(toy, C, |_| {});
        later(toy);
        toy.push(Entry::Phase(Phase::End));
    });
}

#[test]
fn l2_a_connected_quorum_is_enough() {
    let whole = |toy: &mut Toy| {
        let at = toy.now;
        toy.h.whole(at, vec![SERVER, B]);
    };
    passes(|toy, _| {
        whole(toy);
        toy.event_at(C, Event::Became(RoleName::Looking));
        toy.now.0 += 3000 * MS;
        toy.push(Entry::Phase(Phase::Healed));
    });
    breaks(Rule::L2, |toy, _| {
        whole(toy);
        toy.event_at(B, Event::Became(RoleName::Looking));
        toy.now.0 += 600_000 * MS;
        toy.push(Entry::Phase(Phase::Healed));
    });
    // A leader that no one can reach keeps its followers.
    breaks(Rule::L2, |toy, a| {
        whole(toy);
        toy.invoke(a, set("/a", "1"));
        toy.now.0 += 600_000 * MS;
        toy.push(Entry::Phase(Phase::Healed));
    });
}

#[test]
fn servers_make_sense_to_each_other() {
    use zebu_core::zab::Lost;
    passes(|toy, _| {
        toy.event_at(C, Event::RoleLost { why: Lost::Disconnected });
        toy.node(C).follows = false;
    });
    breaks(Rule::P1, |toy, _| toy.event_at(C, Event::RoleLost { why: Lost::Gap(Zxid::new(1, 9)) }));
    breaks(Rule::P1, |toy, _| {
        let zxid = toy.zxid;
        toy.event_at(C, Event::DigestMismatch { zxid });
    });
}
