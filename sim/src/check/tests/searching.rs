//! C1': the search that looks at no zxid.

use super::rules::busy;
use super::wgl::{Doubt, Verdict, search};
use super::*;

#[track_caller]
fn passes(toy: &Toy) {
    assert_eq!(search(&toy.h, true, 100_000), Verdict::Linearizable);
}

#[track_caller]
fn fails(toy: &Toy) {
    match search(&toy.h, true, 100_000) {
        Verdict::Violation(v) => assert_eq!(v.rule, Rule::C1Search),
        other => panic!("must be refused: {other:?}"),
    }
}

fn pair() -> (Toy, Who, Who) {
    let mut toy = Toy::new();
    let (a, b) = (toy.open(), toy.open());
    toy.call(a, node("/a"));
    (toy, a, b)
}

#[test]
fn what_really_happened_passes() {
    let (mut toy, a, b) = busy();
    passes(&toy);
    toy.call(b, Request::CloseSession);
    toy.call(a, children("/a", false));
    passes(&toy);
    toy.call(a, delete("/q-0000000001"));
    passes(&toy);
}

#[test]
fn overlapping_calls_may_go_either_way() {
    for first in [true, false] {
        let (mut toy, a, b) = pair();
        let (x, y) = (toy.invoke(a, set("/a", "x")), toy.invoke(b, set("/a", "y")));
        let order = if first { [(a, x, "x"), (b, y, "y")] } else { [(b, y, "y"), (a, x, "x")] };
        let served = order.map(|(who, call, data)| (who, call, toy.serve(who, &set("/a", data))));
        for (who, call, (zxid, outcome)) in served.into_iter().rev() {
            toy.ret(who, call, zxid, outcome);
        }
        toy.call(a, get("/a", false));
        passes(&toy);
    }
}

#[test]
fn real_time_counts() {
    // A read that began after a write had returned shows the state before it.
    let (mut toy, a, b) = pair();
    let (zxid, old) = toy.serve(b, &get("/a", false));
    toy.call(a, set("/a", "new"));
    let call = toy.invoke(b, get("/a", false));
    toy.ret(b, call, zxid, old);
    fails(&toy);
    assert_eq!(search(&toy.h, false, 100_000), Verdict::Linearizable, "reads of replicas may be stale");
}

#[test]
fn lost_calls_happen_once_or_not_at_all() {
    let (mut toy, a, b) = pair();
    let lost = toy.invoke(a, set("/a", "lost"));
    toy.lose(a, lost);
    toy.call(b, get("/a", false));
    passes(&toy);
    assert!(toy.serve(a, &set("/a", "lost")).1.is_ok());
    toy.call(b, get("/a", false));
    passes(&toy);
    assert!(toy.serve(a, &set("/a", "lost")).1.is_ok());
    toy.call(b, get("/a", false));
    fails(&toy);
}

#[test]
fn acknowledged_writes_stay() {
    let (mut toy, a, b) = pair();
    toy.call(a, set("/a", "1"));
    toy.tree = Tree::new(0);
    toy.zxid = Zxid::ZERO;
    let call = toy.invoke(b, get("/a", false));
    let (zxid, outcome) = toy.serve(b, &get("/a", false));
    toy.ret(b, call, zxid, outcome);
    fails(&toy);
}

#[test]
fn numbers_children_and_multis() {
    let sequential = || create("/a/q-", "1", CreateMode::PersistentSequential);
    let (mut toy, a, b) = pair();
    toy.call(a, sequential());
    toy.call(b, sequential());
    toy.call(a, children("/a", false));
    toy.call(b, Request::Multi(vec![delete("/a/q-0000000000"), set("/a", "m"), node("/other")]));
    toy.call(a, Request::Multi(vec![set("/a", "m"), node("/other")]));
    passes(&toy);
    // The same number twice.
    let call = toy.invoke(a, sequential());
    let (zxid, outcome) = toy.serve(a, &sequential());
    toy.ret(a, call, zxid, outcome.clone());
    passes(&toy);
    let call = toy.invoke(b, sequential());
    toy.ret(b, call, zxid, outcome);
    fails(&toy);
    // A child too many.
    let (mut toy, a, _) = pair();
    let call = toy.invoke(a, children("/", false));
    let (zxid, mut outcome) = toy.serve(a, &children("/", false));
    if let Ok(Response::Children2 { children, .. }) = &mut outcome {
        children.push("b".to_owned());
    }
    toy.ret(a, call, zxid, outcome);
    fails(&toy);
}

#[test]
fn ephemerals_go_with_their_sessions() {
    let (mut toy, a, b) = pair();
    toy.call(a, create("/e", "1", CreateMode::Ephemeral));
    toy.call(b, exists("/e"));
    passes(&toy);
    // It expires, unseen.
    let session = toy.session(a);
    toy.commit(session, Txn::CloseSession { paths: Some(vec!["/e".to_owned()]) });
    toy.call(b, exists("/e"));
    passes(&toy);
    // It is back although nobody made it.
    let call = toy.invoke(b, delete("/e"));
    let zxid = toy.zxid;
    toy.ret(b, call, zxid, Ok(Response::Empty));
    fails(&toy);
}

#[test]
fn undecided_is_no_pass() {
    let (mut toy, a, _) = pair();
    for n in 0..12 {
        let call = toy.invoke(a, set("/a", &format!("{n}")));
        toy.lose(a, call);
    }
    let call = toy.invoke(a, delete("/a"));
    let zxid = toy.zxid;
    toy.ret(a, call, zxid, Err(ErrorCode::NotEmpty));
    assert_eq!(search(&toy.h, true, 1000), Verdict::Undecided(Doubt::TooLong));
    // Writers whose calls are not in the history.
    let (mut toy, _, _) = pair();
    toy.commit(SessionId(0x999), Txn::Delete { path: "/a".to_owned() });
    assert_eq!(search(&toy.h, true, 1000), Verdict::Undecided(Doubt::Strangers));
}
