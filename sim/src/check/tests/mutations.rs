//! Mutations of a good trace: swapping two events, dropping one, repeating one must not go unnoticed where it matters.

use super::rules::busy;
use super::trio::both;
use super::*;

fn trace() -> Toy {
    let (mut toy, a, b) = busy();
    toy.call(a, get("/a", true));
    let zxid = toy.call(b, set("/a", "w"));
    toy.notify(a, zxid, EventKind::NodeDataChanged, "/a");
    toy.call(a, sync());
    toy.call(b, Request::CloseSession);
    toy.state(b, HandleState::Closed);
    toy.call(a, children("/a", false));
    toy.end();
    toy
}

/// Entries by number that are of the chosen kind.
fn numbers(toy: &Toy, of: fn(&Entry) -> bool) -> Vec<usize> {
    toy.h.entries.iter().enumerate().filter(|(_, (_, e))| of(e)).map(|(n, _)| n).collect()
}

fn committed(e: &Entry) -> bool {
    matches!(e, Entry::Server { event: Event::Committed { .. }, .. })
}
fn applied(e: &Entry) -> bool {
    matches!(e, Entry::Server { event: Event::Applied { .. }, .. })
}
fn returned(e: &Entry) -> bool {
    matches!(e, Entry::Return { .. })
}
fn told(e: &Entry) -> bool {
    matches!(e, Entry::Notify { .. })
}

#[track_caller]
fn noticed(of: fn(&Entry) -> bool, mutate: impl Fn(&mut Vec<(Time, Entry)>, usize)) {
    let all = numbers(&trace(), of);
    assert!(!all.is_empty());
    for n in all {
        let mut toy = trace();
        mutate(&mut toy.h.entries, n);
        let entry = trace().h.entries.swap_remove(n);
        assert!(!judge(&toy.h).is_empty(), "not noticed at entry {n}: {entry:?}");
    }
}

#[test]
fn the_trace_itself_is_good() {
    both(|| {
        good(&trace());
    });
}

#[test]
fn dropping() {
    both(|| {
        for of in [committed, applied, returned, told] {
            noticed(of, |entries, n| {
                entries.remove(n);
            });
        }
    });
}

#[test]
fn repeating() {
    both(|| {
        for of in [committed, applied, returned, told] {
            noticed(of, |entries, n| {
                let again = entries[n].clone();
                entries.insert(n + 1, again);
            });
        }
    });
}

#[test]
fn swapping_with_the_next_of_the_kind() {
    both(|| {
        for of in [committed, applied] {
            let last = *numbers(&trace(), of).last().expect("there are some");
            noticed(of, |entries, n| {
                if n == last {
                    // It has no next.
                    entries.remove(n);
                } else {
                    let next = (n + 1..entries.len()).find(|m| of(&entries[*m].1)).expect("not the last");
                    entries.swap(n, next);
                }
            });
        }
    });
}

#[test]
fn swapping_an_event_with_the_reply_behind_it() {
    both(|| {
        noticed(told, |entries, n| {
            let reply = (n + 1..entries.len()).find(|m| returned(&entries[*m].1)).expect("there is one");
            let event = entries.remove(n);
            entries.insert(reply, event);
        });
    });
}

#[test]
fn swapping_the_contents_of_replies() {
    both(|| {
        // Every result is some other call's.
        let count = trace().h.results.len();
        for n in 1..count {
            let mut toy = trace();
            if toy.h.results[n - 1] == toy.h.results[n] {
                continue;
            }
            toy.h.results.swap(n - 1, n);
            assert!(!judge(&toy.h).is_empty(), "not noticed: results {} and {n}", n - 1);
        }
    });
}

#[test]
fn a_checker_forgets_the_run_before() {
    both(|| {
        let mut checker = Checker::new();
        let mut broken = trace();
        let at = numbers(&broken, committed)[5];
        broken.h.entries.remove(at);
        assert!(!checker.run(&broken.h, &limits()).is_empty());
        assert!(checker.run(&trace().h, &limits()).is_empty());
        assert!(!checker.run(&broken.h, &limits()).is_empty());
    });
}
