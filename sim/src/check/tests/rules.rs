//! One by one: a good trace, and what breaks it.

use super::trio::{self, both};
use super::*;
use crate::history::{CrashKind, ShadowOutcome};

/// Two clients that did a little of everything.
pub(super) fn busy() -> (Toy, Who, Who) {
    let mut toy = Toy::new();
    let (a, b) = (toy.open(), toy.open());
    toy.call(a, node("/a"));
    toy.call(b, node("/a"));
    toy.call(a, create("/a/q-", "1", CreateMode::PersistentSequential));
    toy.call(b, create("/a/q-", "2", CreateMode::EphemeralSequential));
    toy.call(b, set("/a", "y"));
    toy.call(a, get("/a", false));
    toy.call(a, children("/a", false));
    toy.call(b, delete("/a"));
    toy.call(b, Request::Multi(vec![node("/m"), set("/a", "z"), delete("/a/q-0000000000")]));
    toy.call(b, Request::Multi(vec![node("/n"), delete("/missing"), set("/a", "z")]));
    toy.call(a, sync());
    toy.call(a, Request::GetAllChildrenNumber { path: "/".to_owned() });
    toy.call(b, Request::GetEphemerals { prefix: None });
    toy.call(a, children("/", false));
    (toy, a, b)
}

fn one() -> (Toy, Who) {
    let mut toy = Toy::new();
    let a = toy.open();
    toy.call(a, node("/a"));
    good(&toy);
    (toy, a)
}

/// Lets the server answer otherwise than it should.
fn lie(toy: &mut Toy, who: Who, request: Request, with: impl FnOnce(&mut Zxid, &mut Outcome)) {
    let call = toy.invoke(who, request.clone());
    let (mut zxid, mut outcome) = toy.serve(who, &request);
    with(&mut zxid, &mut outcome);
    toy.ret(who, call, zxid, outcome);
}

#[test]
fn a_good_trace_passes() {
    both(|| {
        let (mut toy, a, b) = busy();
        good(&toy);
        toy.call(b, Request::CloseSession);
        toy.state(b, HandleState::Closed);
        toy.call(a, children("/a", false));
        toy.end();
        good(&toy);
    });
}

#[test]
fn c1_real_time_and_one_txn_a_call() {
    both(|| {
        // A write that is older than one returned before it was made.
        let (mut toy, a) = one();
        let b = toy.open();
        let (early, outcome) = toy.serve(b, &set("/a", "1"));
        toy.call(a, set("/a", "2"));
        let call = toy.invoke(b, set("/a", "1"));
        toy.ret(b, call, early, outcome);
        bad(&toy, Rule::C1);
        // One transaction, two calls.
        let (mut toy, a) = one();
        let call = toy.invoke(a, set("/a", "1"));
        let again = toy.invoke(a, set("/a", "1"));
        let (zxid, outcome) = toy.serve(a, &set("/a", "1"));
        toy.ret(a, call, zxid, outcome.clone());
        good(&toy);
        toy.ret(a, again, zxid, outcome);
        bad(&toy, Rule::C1);
        // One call, two transactions: it was sent again behind a reconnect.
        let (mut toy, a) = one();
        let call = toy.invoke(a, set("/a", "1"));
        assert!(toy.serve(a, &set("/a", "1")).1.is_ok());
        toy.lose(a, call);
        good(&toy);
        assert!(toy.serve(a, &set("/a", "1")).1.is_ok());
        bad(&toy, Rule::C1);
    });
}

#[test]
fn c1_lost_calls_may_or_may_not_happen() {
    both(|| {
        let (mut toy, a) = one();
        let lost = toy.invoke(a, set("/a", "never"));
        let happened = toy.invoke(a, set("/a", "done"));
        let (_, outcome) = toy.serve(a, &set("/a", "done"));
        assert!(outcome.is_ok());
        toy.lose(a, lost);
        toy.lose(a, happened);
        toy.call(a, get("/a", false));
        good(&toy);
        // In the other order than they were made.
        let (mut toy, a) = one();
        let (x, y) = (toy.invoke(a, set("/a", "x")), toy.invoke(a, set("/a", "y")));
        assert!(toy.serve(a, &set("/a", "y")).1.is_ok());
        assert!(toy.serve(a, &set("/a", "x")).1.is_ok());
        toy.lose(a, x);
        toy.lose(a, y);
        bad(&toy, Rule::C1);
    });
}

#[test]
fn c2_every_field_counts() {
    both(|| {
        let (mut toy, a) = one();
        toy.call(a, get("/a", false));
        good(&toy);
        let wrong = |request: Request, with: &dyn Fn(&mut Outcome)| {
            let (mut toy, a) = one();
            lie(&mut toy, a, request, |_, outcome| with(outcome));
            bad(&toy, Rule::C2);
        };
        let data = |o: &mut Outcome| {
            if let Ok(Response::Data { data, .. }) = o {
                *data = Some(Bytes::from_static(b"else"));
            }
        };
        wrong(get("/a", false), &data);
        wrong(get("/a", false), &|o| {
            if let Ok(Response::Data { stat, .. }) = o {
                stat.mtime += 1;
            }
        });
        wrong(get("/a", false), &|o| *o = Err(ErrorCode::NoNode));
        wrong(get("/a", false), &|o| *o = Err(ErrorCode::NoAuth));
        wrong(get("/b", false), &|o| *o = Err(ErrorCode::NoAuth));
        wrong(children("/", false), &|o| {
            if let Ok(Response::Children2 { children, .. }) = o {
                children[0] = children[1].clone();
            }
        });
        wrong(children("/", false), &|o| {
            if let Ok(Response::Children2 { children, .. }) = o {
                children.pop();
            }
        });
        wrong(set("/a", "y"), &|o| {
            if let Ok(Response::Stat(stat)) = o {
                stat.version += 1;
            }
        });
        wrong(set("/a", "y"), &|o| *o = Err(ErrorCode::BadVersion));
        wrong(delete("/b"), &|o| *o = Err(ErrorCode::NotEmpty));
        wrong(delete("/b"), &|o| *o = Ok(Response::Empty));
        wrong(Request::GetAllChildrenNumber { path: "/".to_owned() }, &|o| *o = Ok(Response::Count(5)));
        wrong(Request::GetEphemerals { prefix: None }, &|o| {
            *o = Ok(Response::Ephemerals(vec!["/a".to_owned()]))
        });
        wrong(
            Request::RemoveWatches { path: "/a".to_owned(), kind: zebu_core::proto::WatcherType::Any },
            &|_| {},
        );
    });
}

#[test]
fn c2_the_log_does_what_was_asked() {
    both(|| {
        // Other data than asked for.
        let (mut toy, a) = one();
        let call = toy.invoke(a, set("/a", "this"));
        let (zxid, outcome) = toy.serve(a, &set("/a", "that"));
        toy.ret(a, call, zxid, outcome);
        bad(&toy, Rule::C2);
        // An error that the state does not justify, in the log too.
        let (mut toy, a) = one();
        let call = toy.invoke(a, delete("/a"));
        let session = toy.session(a);
        toy.commit(session, Txn::Error { err: ErrorCode::NotEmpty.code() });
        let zxid = toy.zxid;
        toy.ret(a, call, zxid, Err(ErrorCode::NotEmpty));
        bad(&toy, Rule::C2);
        // A list that forbids it is not looked at.
        let (mut toy, a) = one();
        let session = toy.session(a);
        let acl = vec![Acl::read_only()];
        toy.commit(session, Txn::SetAcl { path: "/a".to_owned(), acl, version: 1 });
        toy.call(a, set("/a", "y"));
        bad(&toy, Rule::C2);
        // A transaction that cannot be.
        let (mut toy, a) = one();
        let session = toy.session(a);
        toy.commit(session, Txn::SetData { path: "/a".to_owned(), data: None, version: 5 });
        bad(&toy, Rule::C2);
    });
}

#[test]
fn c3_sessions_see_time_pass() {
    both(|| {
        // A read of an older state than one shown before.
        let (mut toy, a) = one();
        let call = toy.invoke(a, get("/a", false));
        let (old, outcome) = toy.serve(a, &get("/a", false));
        toy.call(a, set("/b", "x"));
        let mut early = toy;
        early.ret(a, call, old, outcome);
        bad(&early, Rule::C3);
        // Replies out of order.
        let (mut toy, a) = one();
        let (x, y) = (toy.invoke(a, sync()), toy.invoke(a, sync()));
        let (zxid, outcome) = toy.serve(a, &sync());
        toy.ret(a, y, zxid, outcome.clone());
        toy.ret(a, x, zxid, outcome);
        bad(&toy, Rule::C3);
    });
}

#[test]
fn c3_own_writes_take_effect_in_order() {
    both(|| {
        let (mut toy, a) = one();
        let lost = toy.invoke(a, set("/a", "first"));
        toy.lose(a, lost);
        toy.call(a, set("/a", "second"));
        good(&toy);
        // The lost one comes late.
        assert!(toy.serve(a, &set("/a", "first")).1.is_ok());
        bad(&toy, Rule::C1);
    });
}

#[test]
fn c4_only_committed_states() {
    both(|| {
        let (mut toy, a) = one();
        lie(&mut toy, a, get("/a", false), |zxid, _| *zxid = Zxid(zxid.0 + 1));
        bad(&toy, Rule::C4);
    });
}

#[test]
fn c5_sync_catches_up_and_c6_reads_are_fresh() {
    for (request, rule) in [(sync(), Rule::C5), (get("/a", false), Rule::C6)] {
        let (mut toy, a) = one();
        let b = toy.open();
        let (old, outcome) = toy.serve(b, &request);
        toy.call(a, set("/a", "new"));
        let call = toy.invoke(b, request);
        toy.ret(b, call, old, outcome);
        bad(&toy, rule);
    }
}

#[test]
fn x1_answers_are_ones_own() {
    both(|| {
        let (mut toy, a) = one();
        lie(&mut toy, a, get("/a", false), |_, outcome| *outcome = Ok(Response::Count(1)));
        bad(&toy, Rule::X1);
        let (mut toy, a) = one();
        lie(&mut toy, a, node("/b"), |_, outcome| {
            if let Ok(Response::PathStat { path, .. }) = outcome {
                *path = "/c".to_owned();
            }
        });
        bad(&toy, Rule::X1);
        let (mut toy, a) = one();
        let call = toy.invoke(a, sync());
        let (zxid, outcome) = toy.serve(a, &sync());
        toy.ret(a, call, zxid, outcome.clone());
        toy.ret(a, call, zxid, outcome);
        bad(&toy, Rule::X1);
    });
}

#[test]
fn x1_a_client_makes_up_nothing_but_doubt() {
    both(|| {
        let failure = |code, late| {
            let (mut toy, a) = one();
            let call = toy.invoke(a, set("/a", "1"));
            let at = if late { toy.now + Span(MS) } else { toy.h.entries[toy.h.entries.len() - 2].0 };
            toy.h.entries.pop();
            toy.h.ret(at, a, call, None, Zxid::NONE, Err(code));
            toy
        };
        good(&failure(ErrorCode::ConnectionLoss, true));
        good(&failure(ErrorCode::BadArguments, false));
        bad(&failure(ErrorCode::BadVersion, true), Rule::X1);
    });
}

/// A container, or a TTL node of 50 ms, that loses its child; so long after that its leader deletes it, or no one does.
fn reaped(op: CreateOp, child: bool, after: u64, deleted: bool) -> Toy {
    let (mut toy, a) = one();
    let flags = match op {
        CreateOp::Container => 4,
        CreateOp::Ttl(_) => 5,
        CreateOp::Create | CreateOp::Create2 => 0,
    };
    let (path, acl) = ("/a/c".to_owned(), Some(vec![Acl::open()]));
    toy.call(a, Request::Create(CreateRequest { op, path, data: None, acl, flags }));
    if child {
        toy.call(a, node("/a/c/x"));
        toy.call(a, delete("/a/c/x"));
    }
    toy.now.0 += after * MS;
    toy.call(a, set("/a", "x"));
    if deleted {
        toy.commit(SessionId::NONE, Txn::DeleteContainer { path: "/a/c".to_owned() });
    }
    toy
}

#[test]
fn g1_servers_delete_what_is_over_and_nothing_else() {
    let (container, ttl) = (CreateOp::Container, CreateOp::Ttl(50));
    both(|| {
        good(&reaped(container, true, 0, true));
        bad(&reaped(container, false, 4000, true), Rule::G1);
        good(&reaped(ttl, false, 100, true));
        bad(&reaped(ttl, false, 0, true), Rule::G1);
        bad(&reaped(CreateOp::Create, true, 100, true), Rule::G1);
        // Not at all.
        for op in [container, ttl] {
            let mut toy = reaped(op, true, 0, false);
            toy.end();
            good(&toy);
            let mut toy = reaped(op, true, 400_000, false);
            toy.end();
            bad(&toy, Rule::G1);
        }
    });
}

#[test]
fn c2_transactions_bear_their_leaders_time() {
    both(|| {
        let (mut toy, a) = one();
        toy.call(a, set("/a", "1"));
        good(&toy);
        let clock = toy.h.entries.iter().position(|(_, e)| matches!(e, Entry::Clock { .. }));
        let Entry::Clock { wall, .. } = &mut toy.h.entries[clock.expect("a clock")].1 else { unreachable!() };
        wall.0 += 500;
        if trio::is_ensemble() {
            bad(&toy, Rule::C2);
        }
    });
}

#[test]
fn n1_numbers_are_the_counter() {
    both(|| {
        let (mut toy, a) = one();
        let request = create("/a/q-", "1", CreateMode::PersistentSequential);
        toy.call(a, request.clone());
        toy.call(a, delete("/a/q-0000000000"));
        toy.call(a, request.clone());
        good(&toy);
        // The number of the deleted one again.
        toy.call(a, delete("/a/q-0000000001"));
        let call = toy.invoke(a, request);
        let txn = CreateTxn {
            kind: CreateKind::Node { ephemeral: false, create2: true },
            path: "/a/q-0000000001".to_owned(),
            data: Some(Bytes::from_static(b"1")),
            acl: vec![Acl::open()],
            parent_cversion: 3,
        };
        let session = toy.session(a);
        let applied = toy.commit(session, Txn::Create(txn.clone()));
        let zxid = toy.zxid;
        toy.ret(a, call, zxid, Ok(answer(&Txn::Create(txn), &applied)));
        bad(&toy, Rule::N1);
    });
}

#[test]
fn m1_multis_are_whole() {
    both(|| {
        let parts = || Request::Multi(vec![node("/b"), delete("/missing"), set("/a", "y")]);
        let (mut toy, a) = one();
        toy.call(a, parts());
        good(&toy);
        // The first part happened although the second failed.
        let (mut toy, a) = one();
        let call = toy.invoke(a, parts());
        let (zxid, _) = toy.serve(a, &Request::Multi(vec![node("/b")]));
        let code = |c| OpResult::Error(Some(c));
        let results =
            vec![OpResult::Error(None), code(ErrorCode::NoNode), code(ErrorCode::RuntimeInconsistency)];
        toy.ret(a, call, zxid, Ok(Response::Multi(results)));
        bad(&toy, Rule::M1);
        // Some results are successes, some errors.
        let (mut toy, a) = one();
        lie(&mut toy, a, parts(), |_, outcome| {
            if let Ok(Response::Multi(results)) = outcome {
                results[0] = OpResult::Delete;
            }
        });
        bad(&toy, Rule::M1);
    });
}

#[test]
fn e1_s1_s2_ephemerals_and_their_sessions() {
    both(|| {
        let ephemeral = || create("/e", "1", CreateMode::Ephemeral);
        let fresh = || {
            let (mut toy, a) = one();
            toy.call(a, ephemeral());
            let session = toy.session(a);
            (toy, session)
        };
        let close = |paths: &[&str]| Txn::CloseSession {
            paths: Some(paths.iter().map(|p| (*p).to_owned()).collect()),
        };
        let (mut toy, session) = fresh();
        toy.commit(session, close(&["/e"]));
        good(&toy);
        // Something of the session after its close.
        toy.commit(session, Txn::SetData { path: "/a".to_owned(), data: None, version: 1 });
        bad(&toy, Rule::S1);
        let (mut toy, session) = fresh();
        toy.commit(session, close(&[]));
        bad(&toy, Rule::E1);
        let (mut toy, session) = fresh();
        toy.commit(session, close(&["/e", "/a"]));
        bad(&toy, Rule::E1);
        let (mut toy, _) = fresh();
        let kind = CreateKind::Node { ephemeral: true, create2: false };
        let (path, data, acl) = ("/x".to_owned(), None, vec![Acl::open()]);
        toy.commit(SessionId(77), Txn::Create(CreateTxn { kind, path, data, acl, parent_cversion: 2 }));
        bad(&toy, Rule::S2);
    });
}

#[test]
fn e2_sessions_live_their_time() {
    both(|| {
        let expire_after = |ms: u64| {
            let (mut toy, a) = one();
            toy.now.0 += ms * MS;
            let session = toy.session(a);
            toy.event(Event::SessionExpired { session });
            toy.commit(session, Txn::CloseSession { paths: Some(Vec::new()) });
            toy
        };
        good(&expire_after(4500));
        bad(&expire_after(3500), Rule::E2);
        bad(&expire_after(6500), Rule::E2);
        // Never.
        let (mut toy, _) = one();
        toy.now.0 += 7000 * MS;
        toy.end();
        bad(&toy, Rule::E2);
        // The clock of the server counts, not true time: it runs a tenth too fast. A leader's transactions would bear it.
        if trio::is_ensemble() {
            return;
        }
        let mut toy = expire_after(3700);
        toy.h.entries[0].1 = Entry::Clock { server: SERVER, mono: Time(0), wall: WALL, ppm: 100_000 };
        good(&toy);
    });
}

#[test]
fn s4_identity() {
    both(|| {
        let (mut toy, a) = one();
        toy.state(a, HandleState::Disconnected);
        toy.connect(a, true);
        good(&toy);
        let connected = |session, reattached| {
            let (mut toy, a) = one();
            toy.open();
            toy.state(a, HandleState::Disconnected);
            let (conn, timeout_ms) = (Conn(99), TIMEOUT);
            toy.state(
                a,
                HandleState::Connected {
                    conn,
                    session: SessionId(session),
                    timeout_ms,
                    reattached,
                    read_only: false,
                },
            );
            toy
        };
        bad(&connected(0x101, true), Rule::S4);
        bad(&connected(0x100, false), Rule::S4);
        bad(&connected(0x555, true), Rule::S4);
        // Without the password.
        let (mut toy, a) = one();
        let conn = Conn(99);
        toy.push(Entry::Stranger { conn });
        good(&toy);
        let session = toy.session(a);
        toy.event(Event::SessionAttached { session, conn, reattached: true });
        bad(&toy, Rule::S4);
        // Expired, but nobody closed the session.
        let (mut toy, a) = one();
        toy.state(a, HandleState::Expired);
        bad(&toy, Rule::S4);
    });
}

#[test]
fn t1_digests() {
    both(|| {
        let (mut toy, _) = one();
        if let Some((_, Entry::Server { event: Event::Applied { digest, .. }, .. })) = toy
            .h
            .entries
            .iter_mut()
            .rfind(|(_, e)| matches!(e, Entry::Server { event: Event::Applied { .. }, .. }))
        {
            *digest ^= 1;
        }
        bad(&toy, Rule::T1);
    });
}

/// Restarts the server on what its disk holds.
fn restart(toy: &mut Toy, last: Zxid, digest: u64, tail: &[Bytes]) {
    toy.push(Entry::Crash { server: SERVER, kind: CrashKind::Kill });
    toy.push(Entry::Restart { server: SERVER, incarnation: 1 });
    toy.h.recovered(toy.now, SERVER, restored(last, digest), tail.iter().cloned());
    toy.push(Entry::Image { server: SERVER, image: Image { last, ..Image::default() } });
    toy.event(Event::Vouched(Vouch::Recovered(last)));
    toy.event(Event::Became(RoleName::Standalone));
}

#[test]
fn f1_t2_d3_restarts() {
    let (mut toy, a) = one();
    let (last, digest) = (toy.zxid, toy.tree.digest());
    restart(&mut toy, last, digest, &[]);
    toy.call(a, get("/a", false));
    good(&toy);
    // What was appended and not committed before the crash counts afterwards.
    let session = toy.session(a);
    let call = toy.invoke(a, set("/a", "tail"));
    let (body, _) =
        toy.log(session, Txn::SetData { path: "/a".to_owned(), data: Some(Bytes::from("tail")), version: 1 });
    toy.lose(a, call);
    let (last, digest) = (toy.zxid, toy.tree.digest());
    restart(&mut toy, last, digest, &[body]);
    toy.call(a, get("/a", false));
    good(&toy);
    let mut other = toy;
    let (last, digest) = (other.zxid, other.tree.digest());
    restart(&mut other, last, digest ^ 1, &[]);
    bad(&other, Rule::T2);
    let (mut toy, _) = one();
    let (last, digest) = (Zxid(toy.zxid.0 - 1), toy.tree.digest());
    restart(&mut toy, last, digest, &[]);
    bad(&toy, Rule::F1);
    // A disk that broke its word is excused.
    let (mut toy, _) = one();
    toy.push(Entry::DiskLied { server: SERVER });
    restart(&mut toy, last, digest, &[]);
    good(&toy);
    let (mut toy, _) = one();
    let last = Zxid(toy.zxid.0 + 1);
    restart(&mut toy, last, digest, &[]);
    bad(&toy, Rule::D3);
}

#[test]
fn d3_t2_shadow_recoveries() {
    let shadow = |behind: i64, wrong: u64| {
        let (mut toy, _) = one();
        let outcome =
            ShadowOutcome::Recovered(restored(Zxid(toy.zxid.0 - behind), toy.tree.digest() ^ wrong));
        toy.push(Entry::Shadow { server: SERVER, kind: CrashKind::Power, outcome });
        toy
    };
    good(&shadow(0, 0));
    bad(&shadow(1, 0), Rule::D3);
    bad(&shadow(0, 1), Rule::T2);
    let (mut toy, _) = one();
    let outcome = ShadowOutcome::Refused(toy.h.text("a torn file".to_owned()));
    toy.push(Entry::Shadow { server: SERVER, kind: CrashKind::Power, outcome });
    bad(&toy, Rule::D3);
}

#[test]
fn d1_nothing_before_it_is_durable() {
    let (mut toy, a) = one();
    toy.image = false;
    toy.call(a, set("/a", "y"));
    bad(&toy, Rule::D1);
    // Not vouched for, but shown.
    let (mut toy, a) = one();
    let (zxid, session) = (toy.zxid.next(), toy.session(a));
    let call = toy.invoke(a, set("/a", "y"));
    toy.log(session, Txn::SetData { path: "/a".to_owned(), data: None, version: 1 });
    toy.ret(a, call, zxid, Err(ErrorCode::NoNode));
    bad(&toy, Rule::D1);
}

#[test]
fn d4_z2_z3_z4_the_log() {
    let commits = |h: &History| {
        let is = |(_, e): &(Time, Entry)| matches!(e, Entry::Server { event: Event::Committed { .. }, .. });
        h.entries.iter().rposition(is).expect("there is a commit")
    };
    let change = |with: &dyn Fn(&mut Zxid, &mut Bytes)| {
        let (mut toy, _) = one();
        let at = commits(&toy.h);
        if let Entry::Server { event: Event::Committed { zxid, txn }, .. } = &mut toy.h.entries[at].1 {
            with(zxid, txn);
        }
        toy
    };
    bad(&change(&|_, txn| *txn = txn.slice(..30)), Rule::D4);
    bad(&change(&|zxid, _| zxid.0 += 1), Rule::Z4);
    bad(&change(&|zxid, _| zxid.0 -= 1), Rule::Z2);
    bad(&change(&|zxid, _| zxid.0 -= 1), Rule::Z3);
    let (mut toy, _) = one();
    let at = commits(&toy.h);
    toy.h.entries.remove(at);
    bad(&toy, Rule::Z3);
}

#[test]
fn l3_l5_all_comes_to_an_end() {
    let (mut toy, a) = one();
    let call = toy.invoke(a, sync());
    let mut open = toy;
    let (zxid, outcome) = open.serve(a, &sync());
    open.ret(a, call, zxid, outcome);
    open.end();
    good(&open);
    let (mut toy, a) = one();
    toy.invoke(a, sync());
    toy.end();
    bad(&toy, Rule::L3);
    // A client that died owes nothing.
    let (mut toy, a) = one();
    toy.invoke(a, sync());
    toy.push(Entry::Gone { who: a });
    toy.end();
    good(&toy);
    // Slow without a fault.
    let (mut toy, a) = one();
    toy.push(Entry::Phase(Phase::Healed));
    let call = toy.invoke(a, sync());
    let (zxid, outcome) = toy.serve(a, &sync());
    toy.now.0 += 1_000_000 * MS;
    toy.ret(a, call, zxid, outcome);
    bad(&toy, Rule::L3);
    let (mut toy, _) = one();
    toy.push(Entry::Crash { server: SERVER, kind: CrashKind::Kill });
    toy.push(Entry::Restart { server: SERVER, incarnation: 1 });
    let why = toy.h.text("AE < CE".to_owned());
    toy.push(Entry::Refused { server: SERVER, why });
    bad(&toy, Rule::L5);
    let (mut toy, _) = one();
    toy.push(Entry::Crash { server: SERVER, kind: CrashKind::Kill });
    toy.push(Entry::Phase(Phase::Healed));
    toy.push(Entry::Restart { server: SERVER, incarnation: 1 });
    toy.now.0 += 100_000 * MS;
    toy.push(Entry::Phase(Phase::End));
    bad(&toy, Rule::L5);
}

#[test]
fn l5_nobody_finds_leaders_as_fast_as_it_can() {
    let (mut toy, _) = one();
    toy.push(Entry::Phase(Phase::Healed));
    let mut elected = |n: u64, apart: u64| {
        for _ in 0..n {
            toy.now.0 += apart * MS;
            let event = Event::Elected { leader: SERVER, round: 1 };
            toy.push(Entry::Server { server: SERVER, incarnation: 0, event });
        }
        judge(&toy.h).iter().filter(|v| v.rule == Rule::L5).count()
    };
    assert_eq!(elected(50, 1), 0);
    assert_eq!(elected(100, 60), 0);
    assert!(elected(200, 1) > 0);
}

#[test]
fn x1_clients_can_read_what_servers_say() {
    use zebu_core::client::Disconnect;
    let mut toy = Toy::new();
    let who = toy.open();
    good(&toy);
    toy.push(Entry::Misread { who, cause: Disconnect::FrameLength(-1) });
    bad(&toy, Rule::X1);
}
