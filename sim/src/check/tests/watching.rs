//! W1–W3, and what else hangs on watches.

use super::trio::both;
use super::*;
use EventKind::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};
use zebu_core::proto::{AddWatchMode, WatcherType};

/// Events by kind and path.
type Events<'a> = &'a [(EventKind, &'a str)];

/// One client that has set watches and one that changes things.
fn scene(watches: &[Request]) -> (Toy, Who, Who) {
    let mut toy = Toy::new();
    let (a, b) = (toy.open(), toy.open());
    toy.call(b, node("/a"));
    for w in watches {
        toy.call(a, w.clone());
    }
    (toy, a, b)
}

fn add(path: &str, mode: AddWatchMode) -> Request {
    Request::AddWatch { path: Some(path.to_owned()), mode }
}

/// A change by another, the events it makes, and a reply that shows it.
fn watched(watches: &[Request], change: Request, events: Events<'_>) -> Toy {
    let (mut toy, a, b) = scene(watches);
    let zxid = toy.call(b, change);
    for (kind, path) in events {
        toy.notify(a, zxid, *kind, path);
    }
    toy.call(a, sync());
    toy
}

#[test]
fn each_kind_of_watch_and_change() {
    both(|| {
        let data = || get("/a", true);
        let child = || children("/a", true);
        let root = || children("/", true);
        let persistent = || add("/a", AddWatchMode::Persistent);
        let recursive = || add("/", AddWatchMode::PersistentRecursive);
        let cases: &[(&[Request], Request, Events<'_>)] = &[
            (&[data()], set("/a", "y"), &[(NodeDataChanged, "/a")]),
            (&[data(), data()], delete("/a"), &[(NodeDeleted, "/a")]),
            (&[data(), child()], delete("/a"), &[(NodeDeleted, "/a")]),
            (&[child()], node("/a/b"), &[(NodeChildrenChanged, "/a")]),
            (&[child()], set("/a", "y"), &[]),
            (&[root()], delete("/a"), &[(NodeChildrenChanged, "/")]),
            (&[exists("/b")], node("/b"), &[(NodeCreated, "/b")]),
            (&[exists("/a")], set("/a", "y"), &[(NodeDataChanged, "/a")]),
            (&[persistent()], node("/a/b"), &[(NodeChildrenChanged, "/a")]),
            (&[persistent()], delete("/a"), &[(NodeDeleted, "/a")]),
            (&[recursive()], node("/a/b"), &[(NodeCreated, "/a/b")]),
            (&[recursive(), child()], node("/a/b"), &[(NodeCreated, "/a/b"), (NodeChildrenChanged, "/a")]),
            (&[get("/b", true)], node("/b"), &[]),
            (
                &[data(), exists("/b")],
                Request::Multi(vec![set("/a", "y"), node("/b")]),
                &[(NodeDataChanged, "/a"), (NodeCreated, "/b")],
            ),
        ];
        for (watches, change, events) in cases {
            good(&watched(watches, change.clone(), events));
            for n in 0..events.len() {
                let mut fewer = events.to_vec();
                let lost = fewer.remove(n);
                bad_end(watched(watches, change.clone(), &fewer), Rule::W3);
                let mut twice = events.to_vec();
                twice.push(lost);
                bad(&watched(watches, change.clone(), &twice), Rule::W2);
            }
            let mut more = events.to_vec();
            more.push((NodeDataChanged, "/zookeeper"));
            bad(&watched(watches, change.clone(), &more), Rule::W2);
        }
    });
}

#[track_caller]
fn bad_end(mut toy: Toy, rule: Rule) {
    toy.end();
    bad(&toy, rule);
}

#[test]
fn w1_the_event_comes_first() {
    both(|| {
        let (mut toy, a, b) = scene(&[get("/a", true)]);
        let zxid = toy.call(b, set("/a", "y"));
        toy.call(a, get("/a", false));
        toy.notify(a, zxid, NodeDataChanged, "/a");
        bad(&toy, Rule::W1);
    });
}

#[test]
fn one_shot_and_for_good() {
    both(|| {
        for (request, shots) in [(get("/a", true), 1), (add("/a", AddWatchMode::Persistent), 2)] {
            for told in 0..3 {
                let (mut toy, a, b) = scene(std::slice::from_ref(&request));
                for n in 0..2 {
                    let zxid = toy.call(b, set("/a", "y"));
                    if n < told {
                        toy.notify(a, zxid, NodeDataChanged, "/a");
                    }
                }
                toy.call(a, sync());
                toy.end();
                if told == shots {
                    good(&toy)
                } else {
                    bad(&toy, if told > shots { Rule::W2 } else { Rule::W3 })
                }
            }
        }
    });
}

#[test]
fn removed_watches_are_silent() {
    both(|| {
        let remove = |kind| Request::RemoveWatches { path: "/a".to_owned(), kind };
        good(&watched(&[get("/a", true), remove(WatcherType::Data)], set("/a", "y"), &[]));
        good(&watched(&[get("/a", true), remove(WatcherType::Any)], set("/a", "y"), &[]));
        let events = [(NodeDataChanged, "/a")];
        bad(&watched(&[get("/a", true), remove(WatcherType::Data)], set("/a", "y"), &events), Rule::W2);
        let watches = [get("/a", true), children("/a", true), remove(WatcherType::Children)];
        good(&watched(&watches, set("/a", "y"), &events));
    });
}

#[test]
fn events_of_nodes_that_may_not_be_read_are_dropped() {
    both(|| {
        let scene = || {
            let (mut toy, a, b) = scene(&[get("/a", true)]);
            let session = toy.session(b);
            let acl = vec![Acl { perms: 2, ..Acl::open() }];
            toy.commit(session, Txn::SetAcl { path: "/a".to_owned(), acl, version: 1 });
            let zxid = toy.call(b, set("/a", "y"));
            (toy, a, zxid)
        };
        let (mut toy, a, _) = scene();
        toy.call(a, sync());
        toy.end();
        let found = judge(&toy.h);
        // The list was set without a call, nothing else is wrong.
        assert!(found.iter().all(|v| v.rule == Rule::C1), "{found:?}");
        let (mut toy, a, zxid) = scene();
        toy.notify(a, zxid, NodeDataChanged, "/a");
        bad(&toy, Rule::W2);
    });
}

/// A disconnect, changes meanwhile, a reconnect with these events of setWatches, a reply.
fn away(watches: &[Request], changes: &[Request], events: Events<'_>) -> (Toy, Who, Who) {
    let (mut toy, a, b) = scene(watches);
    toy.call(a, sync());
    toy.state(a, HandleState::Disconnected);
    for change in changes {
        toy.call(b, change.clone());
    }
    toy.connect(a, true);
    for (kind, path) in events {
        toy.notify(a, Zxid::NONE, *kind, path);
    }
    (toy, a, b)
}

#[test]
fn set_watches_catches_up() {
    both(|| {
        let cases: &[(&[Request], &[Request], Events<'_>)] = &[
            (&[get("/a", true)], &[set("/a", "y")], &[(NodeDataChanged, "/a")]),
            (&[get("/a", true)], &[delete("/a"), node("/a")], &[(NodeDataChanged, "/a")]),
            (&[get("/a", true), children("/a", true)], &[delete("/a")], &[(NodeDeleted, "/a")]),
            (&[children("/a", true)], &[node("/a/b"), delete("/a/b")], &[(NodeChildrenChanged, "/a")]),
            (&[exists("/b")], &[node("/b")], &[(NodeCreated, "/b")]),
            (&[exists("/b")], &[node("/b"), delete("/b")], &[]),
            (&[add("/a", AddWatchMode::Persistent)], &[set("/a", "y")], &[]),
            (&[get("/a", true)], &[node("/b")], &[]),
        ];
        for (watches, changes, events) in cases {
            let (mut toy, a, b) = away(watches, changes, events);
            toy.call(a, sync());
            toy.call(b, node("/end"));
            toy.end();
            good(&toy);
            for n in 0..events.len() {
                let mut fewer = events.to_vec();
                fewer.remove(n);
                let (mut toy, a, _) = away(watches, changes, &fewer);
                toy.call(a, sync());
                bad_end(toy, Rule::W3);
                let mut twice = events.to_vec();
                twice.push(events[n]);
                let (mut toy, a, _) = away(watches, changes, &twice);
                toy.call(a, sync());
                bad_end(toy, Rule::W2);
            }
        }
    });
}

#[test]
fn set_watches_meets_any_state() {
    both(|| {
        // Armed before the change: the event has its zxid.
        let (mut toy, a, b) = away(&[get("/a", true)], &[], &[]);
        let zxid = toy.call(b, set("/a", "y"));
        toy.notify(a, zxid, NodeDataChanged, "/a");
        toy.call(a, sync());
        toy.end();
        good(&toy);
        // Never told.
        let (mut toy, a, b) = away(&[get("/a", true)], &[], &[]);
        toy.call(b, set("/a", "y"));
        toy.call(a, sync());
        bad_end(toy, Rule::W3);
        // Armed again: the next change is told.
        let (mut toy, a, b) = away(&[get("/a", true)], &[node("/b")], &[]);
        toy.call(a, sync());
        let zxid = toy.call(b, set("/a", "y"));
        let mut silent = toy;
        silent.call(a, sync());
        bad(&silent_end(silent), Rule::W3);
        let (mut toy, a, b) = away(&[get("/a", true)], &[node("/b")], &[]);
        toy.call(a, sync());
        assert_eq!(toy.call(b, set("/a", "y")), zxid);
        toy.notify(a, zxid, NodeDataChanged, "/a");
        toy.call(a, sync());
        toy.end();
        good(&toy);
    });
}

fn silent_end(mut toy: Toy) -> Toy {
    toy.end();
    toy
}

#[test]
fn a_broken_connection_owes_nothing_but_the_next_one_does() {
    both(|| {
        // The event was under way when the connection broke; setWatches brings it.
        let broken = |told: bool| {
            let (mut toy, a, b) = scene(&[get("/a", true)]);
            toy.call(a, sync());
            toy.call(b, set("/a", "y"));
            toy.state(a, HandleState::Disconnected);
            toy.connect(a, true);
            if told {
                toy.notify(a, Zxid::NONE, NodeDataChanged, "/a");
            }
            toy.call(a, sync());
            toy.end();
            toy
        };
        good(&broken(true));
        bad(&broken(false), Rule::W3);
        // It broke again after the events of setWatches and before anything else: they are told once.
        let (mut toy, a, _) = away(&[get("/a", true)], &[set("/a", "y")], &[(NodeDataChanged, "/a")]);
        toy.state(a, HandleState::Disconnected);
        toy.connect(a, true);
        toy.call(a, sync());
        toy.end();
        good(&toy);
    });
}
