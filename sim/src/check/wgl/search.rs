//! The search itself: which call may come next, and back again where none may.

use super::tree::{Names, Shown, State};
use super::{Op, is_rooted};
use crate::history::Who;
use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use zebu_core::proto::{ErrorCode, OpResult, Request, Response, Stat};

pub(super) struct Search<'a> {
    ops: &'a [&'a Op<'a>],
    names: Names,
    state: State,
    /// The root's children belong to this part.
    rooted: bool,
    /// By call: the answered one of its handle before it, and the answered write after it.
    before: Vec<Option<usize>>,
    after: Vec<Option<usize>>,
}

/// Where the search stands among the calls that may come next: answered ones first, since each of them must be placed.
#[derive(Clone, Copy)]
struct At {
    lost: bool,
    event: Option<usize>,
}

/// A call that was placed, and how to take it back.
struct Placed {
    at: At,
    op: usize,
    state: State,
}

impl<'a> Search<'a> {
    pub(super) fn new(ops: &'a [&'a Op<'a>]) -> Search<'a> {
        let (names, state) = Names::begin();
        let (before, after) = neighbours(ops);
        Search { ops, names, state, rooted: is_rooted(ops), before, after }
    }

    /// `None`: not decided within so many steps.
    pub(super) fn run(&mut self, steps: usize) -> Option<bool> {
        let ops = self.ops;
        let mut line = Line::new(ops);
        let mut left = ops.iter().filter(|op| op.result.is_some()).count();
        let mut done = vec![false; ops.len()];
        let mut seen: HashSet<u64> = HashSet::new();
        let mut stack: Vec<Placed> = Vec::new();
        let start = |line: &Line| At { lost: false, event: line.first() };
        let mut at = start(&line);
        for _ in 0..steps {
            if left == 0 {
                return Some(true);
            }
            let Some((event, op)) = at.event.and_then(|e| Some((e, line.begins[e]?))) else {
                // The end of a call that has not been placed, or of the line.
                if !at.lost {
                    at = At { lost: true, event: line.first() };
                    continue;
                }
                let Some(back) = stack.pop() else { return Some(false) };
                self.state = back.state;
                done[back.op] = false;
                left += usize::from(ops[back.op].result.is_some());
                let event = back.at.event.expect("a placed call has an event");
                line.unlift(event);
                at = At { event: line.next(event), ..back.at };
                continue;
            };
            if ops[op].result.is_none() == at.lost
                && self.may_come(op, &done)
                && let Some(next) = self.step(op)
            {
                done[op] = true;
                if seen.insert(key(&done, &next)) {
                    let state = std::mem::replace(&mut self.state, next);
                    stack.push(Placed { at, op, state });
                    line.lift(event);
                    left -= usize::from(ops[op].result.is_some());
                    at = start(&line);
                    continue;
                }
                done[op] = false;
            }
            at.event = line.next(event);
        }
        None
    }

    /// Calls of a handle come in their order: an answered one behind the answered one before it, a lost one before the
    /// answered write after it (a read on the next connection may be earlier than a lost write that is under way).
    fn may_come(&self, op: usize, done: &[bool]) -> bool {
        self.before[op].is_none_or(|b| done[b])
            && (self.ops[op].result.is_some() || self.after[op].is_none_or(|a| !done[a]))
    }

    /// The state after this call, if it may be answered as it was.
    fn step(&mut self, op: usize) -> Option<State> {
        let op = self.ops[op];
        let mut next = self.state.clone();
        let Some(result) = op.result else {
            // If it changes nothing, it need not be placed.
            let mut parts = op.parts().iter();
            let done = parts.all(|p| self.names.apply(&mut next, p, op.session).is_ok());
            return (done && next != self.state).then_some(next);
        };
        let fine = match (op.request, result) {
            (Request::Multi(parts), Ok(Response::Multi(results))) => {
                let failed = results.iter().any(|r| matches!(r, OpResult::Error(_)));
                let fine = self.multi(&mut next, op, parts, results);
                if failed {
                    next.clone_from(&self.state);
                }
                fine
            }
            (Request::MultiRead(parts), Ok(Response::Multi(results))) => {
                parts.len() == results.len()
                    && parts.iter().zip(results).all(|(part, result)| {
                        let shown = self.names.apply(&mut next, part, op.session);
                        self.part_agrees(&next, shown, result)
                    })
            }
            (request, result) => match (self.names.apply(&mut next, request, op.session), result) {
                (Err(code), Err(got)) => code == *got,
                (Ok(shown), Ok(response)) => self.agrees(&next, shown, response),
                (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
            },
        };
        fine.then_some(next)
    }

    fn multi(&mut self, next: &mut State, op: &Op<'_>, parts: &[Request], results: &[OpResult]) -> bool {
        if parts.len() != results.len() {
            return false;
        }
        let failed = results.iter().any(|r| matches!(r, OpResult::Error(_)));
        for (part, result) in parts.iter().zip(results) {
            let shown = self.names.apply(next, part, op.session);
            match (shown, result) {
                (Ok(_), OpResult::Error(None)) if failed => {}
                // The culprit: what follows was not looked at.
                (Err(code), OpResult::Error(Some(got))) => return code == *got,
                (Ok(_), _) if !failed && self.part_agrees(next, shown, result) => {}
                _ => return false,
            }
        }
        !failed
    }

    fn part_agrees(&self, state: &State, shown: Result<Shown, ErrorCode>, result: &OpResult) -> bool {
        let shown = match (shown, result) {
            (Err(code), OpResult::Error(Some(got))) => return code == *got,
            (Ok(shown), _) => shown,
            (Err(_), _) => return false,
        };
        let names = &self.names;
        match (result, shown) {
            (OpResult::Create(path), Shown::Made(p)) => names.is_path(p, path),
            (OpResult::Create2 { path, stat }, Shown::Made(p)) => {
                names.is_path(p, path) && self.stat(state, p, stat)
            }
            (OpResult::Delete | OpResult::Check, Shown::Nothing) => true,
            (OpResult::SetData(stat), Shown::Node(p)) => self.stat(state, p, stat),
            (OpResult::GetData { data, stat }, Shown::Node(p)) => {
                names.is_data(state, p, data) && self.stat(state, p, stat)
            }
            (OpResult::GetChildren(children), Shown::Children(p)) => names.are_children(state, p, children),
            _ => false,
        }
    }

    fn agrees(&self, state: &State, shown: Shown, response: &Response) -> bool {
        let names = &self.names;
        match (shown, response) {
            (Shown::Nothing, Response::Empty) => true,
            (Shown::Made(p), Response::Path(path)) => names.is_path(p, path),
            (Shown::Made(p), Response::PathStat { path, stat }) => {
                names.is_path(p, path) && self.stat(state, p, stat)
            }
            (Shown::Node(p), Response::Stat(stat) | Response::Acl { stat, .. }) => self.stat(state, p, stat),
            (Shown::Node(p), Response::Data { data, stat }) => {
                names.is_data(state, p, data) && self.stat(state, p, stat)
            }
            (Shown::Children(p), Response::Children(children)) => names.are_children(state, p, children),
            (Shown::Children(p), Response::Children2 { children, stat }) => {
                names.are_children(state, p, children) && self.stat(state, p, stat)
            }
            _ => false,
        }
    }

    fn stat(&self, state: &State, path: u32, stat: &Stat) -> bool {
        let root = self.names.is_path(path, "/");
        self.names.is_stat(state, path, stat, !root || self.rooted)
    }
}

/// What has been tried is remembered by hash: a wrong one in 2^64 costs a search, not a pass.
fn key(done: &[bool], state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    (done, state).hash(&mut hasher);
    hasher.finish()
}

/// By call: the answered calls of its handle next before it and next after it. The end of a session has
/// neither: it may be the server's.
fn neighbours(ops: &[&Op<'_>]) -> (Vec<Option<usize>>, Vec<Option<usize>>) {
    let mut order: Vec<usize> = (0..ops.len()).collect();
    order.sort_unstable_by_key(|n| ops[*n].from);
    let mut last: Vec<(Who, usize)> = Vec::new();
    let mut near = |order: &mut dyn Iterator<Item = usize>| {
        last.clear();
        let mut out = vec![None; ops.len()];
        for n in order.filter(|n| !matches!(ops[*n].request, Request::CloseSession)) {
            let at = last.iter().position(|(who, _)| *who == ops[n].who);
            out[n] = at.map(|at| last[at].1);
            if ops[n].result.is_some() {
                match at {
                    Some(at) => last[at].1 = n,
                    None => last.push((ops[n].who, n)),
                }
            }
        }
        out
    };
    (near(&mut order.iter().copied()), near(&mut order.iter().rev().copied()))
}

/// Begins and ends of calls in order of time, as a list from which a placed call is lifted out.
struct Line {
    /// The call that an event begins; `None` for an end.
    begins: Vec<Option<usize>>,
    /// Where the call of a begin ends, if it does.
    end: Vec<Option<usize>>,
    next: Vec<usize>,
    before: Vec<usize>,
}

impl Line {
    fn new(ops: &[&Op<'_>]) -> Line {
        let mut events: Vec<(usize, usize, bool)> = Vec::new();
        for (n, op) in ops.iter().enumerate() {
            events.push((op.from, n, true));
            if op.result.is_some() {
                events.push((op.to, n, false));
            }
        }
        events.sort_unstable();
        let count = events.len();
        let mut ends = vec![None; ops.len()];
        for (at, (_, op, _)) in events.iter().enumerate().filter(|(_, (_, _, begin))| !begin) {
            ends[*op] = Some(at);
        }
        Line {
            begins: events.iter().map(|(_, op, begin)| begin.then_some(*op)).collect(),
            end: events.iter().map(|(_, op, begin)| ends[*op].filter(|_| *begin)).collect(),
            // Position `count` is the head.
            next: (1..=count).chain([0]).collect(),
            before: [count].into_iter().chain(0..count).collect(),
        }
    }
    fn first(&self) -> Option<usize> {
        self.next(self.begins.len())
    }
    fn next(&self, at: usize) -> Option<usize> {
        Some(self.next[at]).filter(|n| *n < self.begins.len())
    }
    fn unlink(&mut self, at: usize) {
        let (before, next) = (self.before[at], self.next[at]);
        self.next[before] = next;
        self.before[next] = before;
    }
    fn link(&mut self, at: usize) {
        let (before, next) = (self.before[at], self.next[at]);
        self.next[before] = at;
        self.before[next] = at;
    }
    fn lift(&mut self, at: usize) {
        self.unlink(at);
        if let Some(end) = self.end[at] {
            self.unlink(end);
        }
    }
    fn unlift(&mut self, at: usize) {
        if let Some(end) = self.end[at] {
            self.link(end);
        }
        self.link(at);
    }
}
