//! C1': is there any order of the calls, within their times, that a single znode tree would answer like this? Wing and Gong's
//! search with Lowe's memory of (calls done, state). It looks at no zxid and no log, so it judges what the other rules take
//! for granted.
//!
//! Linearizability is local: calls are parted by path, and paths are joined where a call spans them. Calls without an answer
//! may have happened at any time after they were made, or not at all; so may the end of a session. Answers about permissions
//! are left out. A search that takes too long is undecided, never a pass.

use super::{Rule, Violation};
use crate::history::{Entry, HandleState, History, Who};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, HashSet};
use zebu_core::boundary::Event;
use zebu_core::id::SessionId;
use zebu_core::proto::{CreateMode, ErrorCode, LoggedTxn, OpResult, Request, Response, Stat};
use zebu_core::time::Time;

/// What the search found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// There is such an order.
    Linearizable,
    /// There is none.
    Violation(Violation),
    /// Too many calls at once, or writers that the history does not show.
    Undecided,
}

/// Calls of one part of the tree beyond which the search is not begun.
const MOST_CALLS: usize = 300;

/// Searches; each part of the tree may take so many steps. `reads`: reads are linearizable too (a single server).
pub fn search(h: &History, reads: bool, steps: usize) -> Verdict {
    if strangers(h) {
        return Verdict::Undecided;
    }
    let (calls, ends) = gather(h, reads);
    let mut decided = true;
    for part in parts(&calls) {
        let mut mine: Vec<&Op> = part.iter().map(|n| &calls[*n]).collect();
        let owners: HashSet<SessionId> = mine.iter().filter_map(|c| c.makes_ephemeral()).collect();
        mine.extend(ends.iter().filter(|e| owners.contains(&e.session)));
        if mine.len() > MOST_CALLS {
            decided = false;
            continue;
        }
        match Search::new(&mine).run(steps) {
            Some(true) => {}
            Some(false) => {
                let at = mine.iter().filter_map(|c| c.result.map(|_| c.at)).max().unwrap_or_default();
                let paths: Vec<&str> = mine.iter().flat_map(|c| c.paths()).collect();
                let text = format!("no order of the {} calls on {:?} explains their answers", mine.len(), {
                    let mut few = paths;
                    few.sort_unstable();
                    few.dedup();
                    few
                });
                return Verdict::Violation(Violation { rule: Rule::C1Search, at, text });
            }
            None => decided = false,
        }
    }
    if decided { Verdict::Linearizable } else { Verdict::Undecided }
}

/// Someone writes whose calls are not in the history: raw connections, the server's own reaper.
fn strangers(h: &History) -> bool {
    let known: HashSet<SessionId> = h
        .entries
        .iter()
        .filter_map(|(_, e)| match e {
            Entry::State { state: HandleState::Connected { session, .. }, .. } => Some(*session),
            _ => None,
        })
        .collect();
    h.entries.iter().any(|(_, e)| match e {
        Entry::Server { event: Event::Committed { txn, .. }, .. } => LoggedTxn::decode(txn)
            .is_ok_and(|t| !matches!(t.txn.kind(), -1 | -10 | -11) && !known.contains(&t.header.session)),
        Entry::DiskLied { .. } => true,
        _ => false,
    })
}

/// A call, or the end of a session (its request is a CloseSession).
#[derive(Debug)]
struct Op<'h> {
    request: &'h Request,
    session: SessionId,
    /// Entry numbers of its begin and end; without an end the result is unknown.
    from: usize,
    to: usize,
    at: Time,
    result: Option<&'h Result<Response, ErrorCode>>,
}

static END: Request = Request::CloseSession;

impl<'h> Op<'h> {
    fn makes_ephemeral(&self) -> Option<SessionId> {
        let makes = |r: &Request| matches!(r, Request::Create(c) if CreateMode::from_int(c.flags).is_some_and(CreateMode::is_ephemeral));
        let any = match self.request {
            Request::Multi(parts) => parts.iter().any(makes),
            other => makes(other),
        };
        any.then_some(self.session)
    }

    fn paths(&self) -> Vec<&'h str> {
        match self.request {
            Request::Multi(parts) | Request::MultiRead(parts) => parts.iter().filter_map(path_of).collect(),
            other => path_of(other).into_iter().collect(),
        }
    }
}

fn path_of(request: &Request) -> Option<&str> {
    match request {
        Request::Create(c) => Some(&c.path),
        Request::Delete { path, .. }
        | Request::Exists { path, .. }
        | Request::GetData { path, .. }
        | Request::SetData { path, .. }
        | Request::GetAcl { path }
        | Request::SetAcl { path, .. }
        | Request::GetChildren { path, .. }
        | Request::GetChildren2 { path, .. }
        | Request::Check { path, .. } => Some(path),
        _ => None,
    }
}

/// The calls that matter, and the ends of sessions.
fn gather(h: &History, reads: bool) -> (Vec<Op<'_>>, Vec<Op<'_>>) {
    let mut calls: Vec<Option<(Who, usize)>> = vec![None; h.requests.len()];
    let mut returns: Vec<Option<(usize, Time, usize)>> = vec![None; h.requests.len()];
    let mut sessions: BTreeMap<Who, (SessionId, usize)> = BTreeMap::new();
    for (n, (at, entry)) in h.entries.iter().enumerate() {
        match entry {
            Entry::Invoke { who, call } => calls[call.0 as usize] = Some((*who, n)),
            Entry::Return { call, conn: Some(_), result, .. } => {
                returns[call.0 as usize] = Some((n, *at, result.0 as usize));
            }
            Entry::State { who, state: HandleState::Connected { session, .. } } => {
                sessions.entry(*who).or_insert((*session, n));
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    let mut ends: Vec<Op<'_>> = Vec::new();
    for (n, call) in calls.iter().enumerate() {
        let Some((who, from)) = *call else { continue };
        let Some((session, _)) = sessions.get(&who).copied() else { continue };
        let request = &h.requests[n];
        let result = returns[n].map(|(_, _, r)| &h.results[r]);
        let (to, at) = returns[n].map_or((usize::MAX, Time(0)), |(to, at, _)| (to, at));
        let op = Op { request, session, from, to, at, result };
        match request {
            Request::CloseSession => ends.push(op),
            _ if matters(request, result, reads) => out.push(op),
            _ => {}
        }
    }
    // An expiry may end any session that no answered call has ended.
    for (session, from) in sessions.values() {
        if !ends.iter().any(|e| e.session == *session && e.result.is_some()) {
            ends.retain(|e| e.session != *session);
            let (to, at, result) = (usize::MAX, Time(0), None);
            ends.push(Op { request: &END, session: *session, from: *from, to, at, result });
        }
    }
    (out, ends)
}

fn matters(request: &Request, result: Option<&Result<Response, ErrorCode>>, reads: bool) -> bool {
    let about_the_tree = |code: &ErrorCode| {
        matches!(
            code,
            ErrorCode::NoNode
                | ErrorCode::BadVersion
                | ErrorCode::NodeExists
                | ErrorCode::NotEmpty
                | ErrorCode::NoChildrenForEphemerals
        )
    };
    let write = matches!(
        request,
        Request::Create(_)
            | Request::Delete { .. }
            | Request::SetData { .. }
            | Request::SetAcl { .. }
            | Request::Multi(_)
    );
    let read = matches!(
        request,
        Request::Exists { .. }
            | Request::GetData { .. }
            | Request::GetAcl { .. }
            | Request::GetChildren { .. }
            | Request::GetChildren2 { .. }
            | Request::MultiRead(_)
    );
    match result {
        None => write,
        Some(Err(code)) => (write || reads && read) && about_the_tree(code),
        Some(Ok(Response::Multi(results))) => {
            let fine = |r: &OpResult| match r {
                OpResult::Error(Some(code)) => {
                    *code == ErrorCode::RuntimeInconsistency || about_the_tree(code)
                }
                _ => true,
            };
            (write || reads && read) && results.iter().all(fine)
        }
        Some(Ok(_)) => write || reads && read,
    }
}

fn split(path: &str) -> (&str, &str) {
    match path.rfind('/') {
        Some(0) if path.len() > 1 => ("/", &path[1..]),
        Some(0) => ("/", path),
        Some(at) => (&path[..at], &path[at + 1..]),
        None => ("", path),
    }
}

fn is_sequential(request: &Request) -> bool {
    matches!(request, Request::Create(c) if CreateMode::from_int(c.flags).is_some_and(CreateMode::is_sequential))
}

/// Numbers of calls, parted by what they touch.
fn parts(calls: &[Op<'_>]) -> Vec<Vec<usize>> {
    let mut sets = Sets::default();
    let each = |op: &Op<'_>, f: &mut dyn FnMut(&Request)| match op.request {
        Request::Multi(parts) | Request::MultiRead(parts) => parts.iter().for_each(f),
        other => f(other),
    };
    // Parents under which names are numbered or listed tie all their children together.
    let mut tied: HashSet<String> = HashSet::new();
    for op in calls {
        each(op, &mut |r| {
            let Some(path) = path_of(r) else { return };
            if is_sequential(r) {
                tied.insert(split(path).0.to_owned());
            }
            if matches!(r, Request::GetChildren { .. } | Request::GetChildren2 { .. }) {
                tied.insert(path.to_owned());
            }
        });
    }
    for op in calls {
        let mut first = None;
        each(op, &mut |r| {
            let Some(path) = path_of(r) else { return };
            let parent = split(path).0;
            let own = if is_sequential(r) { sets.of(parent) } else { sets.of(path) };
            let moves = matches!(r, Request::Create(_) | Request::Delete { .. });
            if tied.contains(parent) || (moves && parent != "/" && !parent.is_empty()) {
                let above = sets.of(parent);
                sets.join(own, above);
            }
            let first = *first.get_or_insert(own);
            sets.join(first, own);
        });
    }
    let mut out: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (n, op) in calls.iter().enumerate() {
        let mut own = None;
        each(op, &mut |r| {
            if let (Some(path), None) = (path_of(r), own) {
                own = Some(sets.of(if is_sequential(r) { split(path).0 } else { path }));
            }
        });
        if let Some(own) = own {
            out.entry(sets.root(own)).or_default().push(n);
        }
    }
    out.into_values().collect()
}

/// Union–find over paths.
#[derive(Default)]
struct Sets {
    numbers: HashMap<String, usize>,
    up: Vec<usize>,
}

impl Sets {
    fn of(&mut self, path: &str) -> usize {
        if let Some(n) = self.numbers.get(path) {
            return *n;
        }
        self.up.push(self.up.len());
        self.numbers.insert(path.to_owned(), self.up.len() - 1);
        self.up.len() - 1
    }
    fn root(&mut self, mut n: usize) -> usize {
        while self.up[n] != n {
            self.up[n] = self.up[self.up[n]];
            n = self.up[n];
        }
        n
    }
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.up[a] = b;
    }
}

/// What clients can see of a node without looking at zxids and clocks.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Node {
    data: Option<Bytes>,
    version: i32,
    aversion: i32,
    creates: i32,
    children: i32,
    owner: SessionId,
}

impl Node {
    fn new(data: Option<Bytes>, owner: SessionId) -> Node {
        Node { data, version: 0, aversion: 0, creates: 0, children: 0, owner }
    }
    fn is(&self, stat: &Stat, whole: bool) -> bool {
        let children = self.children == stat.num_children
            && stat.cversion == self.creates.wrapping_mul(2).wrapping_sub(self.children);
        (children || !whole)
            && self.version == stat.version
            && self.aversion == stat.aversion
            && self.owner == stat.ephemeral_owner
            && self.data.as_ref().map_or(0, Bytes::len) == stat.data_length as usize
    }
}

/// The nodes of one part of the tree. The root's children are elsewhere unless something ties them to it.
type State = BTreeMap<String, Node>;

/// What a step shows.
#[derive(Debug)]
enum Shown {
    Nothing,
    /// A create's final path.
    Made(String),
    Node(String),
    Children(String),
}

struct Search<'a> {
    ops: &'a [&'a Op<'a>],
    /// The root's children belong to this part.
    rooted: bool,
}

impl<'a> Search<'a> {
    fn new(ops: &'a [&'a Op<'a>]) -> Search<'a> {
        let touches_root = |r: &Request| {
            path_of(r).is_some_and(|p| match r {
                Request::GetChildren { .. } | Request::GetChildren2 { .. } => p == "/",
                other => is_sequential(other) && split(p).0 == "/",
            })
        };
        let rooted = ops.iter().any(|op| match op.request {
            Request::Multi(parts) | Request::MultiRead(parts) => parts.iter().any(touches_root),
            other => touches_root(other),
        });
        Search { ops, rooted }
    }

    fn begin() -> State {
        let built_in = |children, aversion| Node {
            children,
            aversion,
            ..Node::new(Some(Bytes::new()), SessionId::NONE)
        };
        [
            ("/", built_in(1, 0)),
            ("/zookeeper", built_in(2, 0)),
            ("/zookeeper/quota", built_in(0, 0)),
            ("/zookeeper/config", built_in(0, -1)),
        ]
        .map(|(path, node)| (path.to_owned(), node))
        .into()
    }

    /// One write or read, whatever was answered. Changes nothing if it fails.
    fn apply(state: &mut State, request: &Request, session: SessionId) -> Result<Shown, ErrorCode> {
        let fits = |wanted: i32, is: i32| {
            if wanted == -1 || wanted == is { Ok(()) } else { Err(ErrorCode::BadVersion) }
        };
        match request {
            Request::Create(c) => {
                let mode = CreateMode::from_int(c.flags).ok_or(ErrorCode::BadArguments)?;
                let parent = state.get(split(&c.path).0).ok_or(ErrorCode::NoNode)?;
                let path = match mode.is_sequential() {
                    true => format!("{}{:010}", c.path, parent.creates),
                    false => c.path.clone(),
                };
                if state.contains_key(&path) {
                    return Err(ErrorCode::NodeExists);
                }
                if parent.owner != SessionId::NONE {
                    return Err(ErrorCode::NoChildrenForEphemerals);
                }
                if let Some(parent) = state.get_mut(split(&c.path).0) {
                    parent.creates = parent.creates.wrapping_add(1);
                    parent.children += 1;
                }
                let owner = if mode.is_ephemeral() { session } else { SessionId::NONE };
                state.insert(path.clone(), Node::new(c.data.clone(), owner));
                Ok(Shown::Made(path))
            }
            Request::Delete { path, version } => {
                state.get(split(path).0).ok_or(ErrorCode::NoNode)?;
                let node = state.get(path).ok_or(ErrorCode::NoNode)?;
                fits(*version, node.version)?;
                if node.children > 0 {
                    return Err(ErrorCode::NotEmpty);
                }
                remove(state, path);
                Ok(Shown::Nothing)
            }
            Request::SetData { path, data, version } => {
                let node = state.get_mut(path).ok_or(ErrorCode::NoNode)?;
                fits(*version, node.version)?;
                node.version = node.version.wrapping_add(1);
                node.data = data.clone();
                Ok(Shown::Node(path.clone()))
            }
            Request::SetAcl { path, version, .. } => {
                let node = state.get_mut(path).ok_or(ErrorCode::NoNode)?;
                fits(*version, node.aversion)?;
                node.aversion = node.aversion.wrapping_add(1);
                Ok(Shown::Node(path.clone()))
            }
            Request::Check { path, version } => {
                fits(*version, state.get(path).ok_or(ErrorCode::NoNode)?.version)?;
                Ok(Shown::Nothing)
            }
            Request::GetChildren { path, .. } | Request::GetChildren2 { path, .. } => {
                state.get(path).ok_or(ErrorCode::NoNode)?;
                Ok(Shown::Children(path.clone()))
            }
            Request::CloseSession => {
                let mine: Vec<String> =
                    state.iter().filter(|(_, n)| n.owner == session).map(|(p, _)| p.clone()).collect();
                mine.iter().for_each(|path| remove(state, path));
                Ok(Shown::Nothing)
            }
            other => {
                let path = path_of(other).expect("only calls on paths are gathered");
                state.get(path).ok_or(ErrorCode::NoNode)?;
                Ok(Shown::Node(path.to_owned()))
            }
        }
    }

    /// The state after this call, if it may be answered as it was.
    fn step(&self, state: &State, op: &Op<'_>) -> Option<State> {
        let mut next = state.clone();
        let Some(result) = op.result else {
            // Its failure would change nothing: then it need not be placed.
            let parts = match op.request {
                Request::Multi(parts) => parts,
                single => std::slice::from_ref(single),
            };
            let done = parts.iter().all(|p| Self::apply(&mut next, p, op.session).is_ok());
            return done.then_some(next);
        };
        let fine = match (op.request, result) {
            (Request::Multi(parts), Ok(Response::Multi(results))) => {
                let failed = results.iter().any(|r| matches!(r, OpResult::Error(_)));
                let fine = self.multi(&mut next, parts, results, op.session);
                if failed {
                    next = state.clone();
                }
                fine
            }
            (Request::MultiRead(parts), Ok(Response::Multi(results))) => {
                parts.len() == results.len()
                    && parts.iter().zip(results).all(|(part, result)| {
                        let shown = Self::apply(&mut next, part, op.session);
                        self.part_agrees(&next, &shown, result)
                    })
            }
            (request, result) => match (Self::apply(&mut next, request, op.session), result) {
                (Err(code), Err(got)) => code == *got,
                (Ok(shown), Ok(response)) => self.agrees(&next, &shown, response),
                _ => false,
            },
        };
        fine.then_some(next)
    }

    fn multi(&self, next: &mut State, parts: &[Request], results: &[OpResult], session: SessionId) -> bool {
        if parts.len() != results.len() {
            return false;
        }
        let failed = results.iter().any(|r| matches!(r, OpResult::Error(_)));
        for (part, result) in parts.iter().zip(results) {
            let shown = Self::apply(next, part, session);
            match (&shown, result) {
                (Ok(_), OpResult::Error(None)) if failed => {}
                // The culprit: what follows was not looked at.
                (Err(code), OpResult::Error(Some(got))) => return code == got,
                (Ok(_), _) if !failed && self.part_agrees(next, &shown, result) => {}
                _ => return false,
            }
        }
        !failed
    }

    fn part_agrees(&self, state: &State, shown: &Result<Shown, ErrorCode>, result: &OpResult) -> bool {
        let shown = match (shown, result) {
            (Err(code), OpResult::Error(Some(got))) => return code == got,
            (Ok(shown), _) => shown,
            (Err(_), _) => return false,
        };
        match result {
            OpResult::Create(path) => matches!(shown, Shown::Made(p) if p == path),
            OpResult::Create2 { path, stat } => {
                matches!(shown, Shown::Made(p) if p == path) && self.stat(state, path, stat)
            }
            OpResult::Delete | OpResult::Check => matches!(shown, Shown::Nothing),
            OpResult::SetData(stat) => matches!(shown, Shown::Node(p) if self.stat(state, p, stat)),
            OpResult::GetData { data, stat } => {
                matches!(shown, Shown::Node(p) if state[p].data == *data && self.stat(state, p, stat))
            }
            OpResult::GetChildren(names) => {
                matches!(shown, Shown::Children(p) if same_children(state, p, names))
            }
            OpResult::Error(_) => false,
        }
    }

    fn agrees(&self, state: &State, shown: &Shown, response: &Response) -> bool {
        match (shown, response) {
            (Shown::Nothing, Response::Empty) => true,
            (Shown::Made(p), Response::Path(path)) => p == path,
            (Shown::Made(p), Response::PathStat { path, stat }) => p == path && self.stat(state, p, stat),
            (Shown::Node(p), Response::Stat(stat) | Response::Acl { stat, .. }) => self.stat(state, p, stat),
            (Shown::Node(p), Response::Data { data, stat }) => {
                state[p].data == *data && self.stat(state, p, stat)
            }
            (Shown::Children(p), Response::Children(names)) => same_children(state, p, names),
            (Shown::Children(p), Response::Children2 { children, stat }) => {
                same_children(state, p, children) && self.stat(state, p, stat)
            }
            _ => false,
        }
    }

    fn stat(&self, state: &State, path: &str, stat: &Stat) -> bool {
        state[path].is(stat, path != "/" || self.rooted)
    }

    /// `None`: not decided within so many steps.
    fn run(&self, steps: usize) -> Option<bool> {
        let mut line = Line::new(self.ops);
        let mut left = self.ops.iter().filter(|op| op.result.is_some()).count();
        let mut state = Self::begin();
        let mut done = vec![0u64; self.ops.len().div_ceil(64)];
        let mut seen: HashSet<(Vec<u64>, State)> = HashSet::new();
        let mut stack: Vec<(usize, State)> = Vec::new();
        let mut at = line.first();
        for _ in 0..steps {
            if left == 0 {
                return Some(true);
            }
            let call = at.and_then(|event| line.call(event).map(|op| (event, op)));
            if let Some((event, op)) = call {
                if let Some(next) = self.step(&state, self.ops[op]) {
                    done[op / 64] |= 1 << (op % 64);
                    if seen.insert((done.clone(), next.clone())) {
                        stack.push((event, std::mem::replace(&mut state, next)));
                        line.lift(event);
                        left -= usize::from(self.ops[op].result.is_some());
                        at = line.first();
                        continue;
                    }
                    done[op / 64] &= !(1 << (op % 64));
                }
                at = line.next(event);
                continue;
            }
            // The end of a call that has not been placed, or nothing left to try: go back.
            let Some((event, before)) = stack.pop() else { return Some(false) };
            let op = line.call(event).expect("only calls are placed");
            state = before;
            done[op / 64] &= !(1 << (op % 64));
            left += usize::from(self.ops[op].result.is_some());
            line.unlift(event);
            at = line.next(event);
        }
        None
    }
}

fn remove(state: &mut State, path: &str) {
    state.remove(path);
    if let Some(parent) = state.get_mut(split(path).0) {
        parent.children -= 1;
    }
}

fn same_children(state: &State, path: &str, names: &[String]) -> bool {
    let mut wanted: Vec<&str> =
        state.keys().filter(|p| *p != path && split(p).0 == path).map(|p| split(p).1).collect();
    let mut got: Vec<&str> = names.iter().map(String::as_str).collect();
    wanted.sort_unstable();
    got.sort_unstable();
    wanted == got
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
        let mut line = Line {
            begins: events.iter().map(|(_, op, begin)| begin.then_some(*op)).collect(),
            end: vec![None; count],
            // Position `count` is the head.
            next: (1..=count).chain([0]).collect(),
            before: [count].into_iter().chain(0..count).collect(),
        };
        for (at, (_, op, begin)) in events.iter().enumerate() {
            if *begin {
                line.end[at] = events.iter().position(|(_, o, b)| o == op && !b);
            }
        }
        line
    }
    fn first(&self) -> Option<usize> {
        self.next(self.begins.len())
    }
    fn next(&self, at: usize) -> Option<usize> {
        Some(self.next[at]).filter(|n| *n < self.begins.len())
    }
    fn call(&self, at: usize) -> Option<usize> {
        self.begins[at]
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
