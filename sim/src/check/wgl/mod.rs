//! C1': is there any order of the calls, within their times, that a single znode tree would answer like this? Wing and Gong's
//! search with Lowe's memory of (calls done, state). It looks at no zxid, so it judges what the other rules take for granted.
//!
//! Linearizability is local: calls are parted by path, and paths are joined where a call spans them. The calls of a handle
//! take effect in the order in which they were made. Calls without an answer may have happened at any time after they were
//! made, or not at all; so may the end of a session. Answers about permissions are left out. A search that takes too long is
//! undecided, never a pass.

mod search;
mod tree;

use super::{Rule, Violation};
use crate::history::{Entry, HandleState, History, Who};
use search::Search;
use std::collections::{BTreeMap, HashMap, HashSet};
use zebu_core::boundary::Event;
use zebu_core::id::SessionId;
use zebu_core::proto::{CreateMode, ErrorCode, LoggedTxn, OpResult, Request, Response, Txn};
use zebu_core::time::Time;

/// What the search found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// There is such an order.
    Linearizable,
    /// There is none.
    Violation(Violation),
    /// No one knows of all of it.
    Undecided(Doubt),
}

/// Why a history, or a part of it, was not decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doubt {
    /// A disk broke its word: what was acknowledged may be gone.
    DiskLied,
    /// Writers whose calls the history does not show: raw connections, the server itself.
    Strangers,
    /// More calls on one part of the tree than are worth a try.
    TooMany,
    /// The search took too many steps.
    TooLong,
}

/// Calls of one part of the tree beyond which the search is not begun.
const MOST_CALLS: usize = 300;

/// Searches; each part of the tree may take so many steps. `reads`: reads are linearizable too (a single server).
pub fn search(h: &History, reads: bool, steps: usize) -> Verdict {
    if h.entries.iter().any(|(_, e)| matches!(e, Entry::DiskLied { .. })) {
        return Verdict::Undecided(Doubt::DiskLied);
    }
    let (calls, ends) = gather(h, reads);
    let strangers = Strangers::of(h);
    let mut doubt = None;
    for part in parts(&calls) {
        let mut mine: Vec<&Op<'_>> = part.iter().map(|n| &calls[*n]).collect();
        let owners: HashSet<SessionId> = mine.iter().filter_map(|c| c.makes_ephemeral()).collect();
        mine.extend(ends.iter().filter(|e| owners.contains(&e.session)));
        if strangers.touch(&mine) {
            doubt = Some(Doubt::Strangers);
        } else if mine.len() > MOST_CALLS {
            doubt = Some(Doubt::TooMany);
        } else {
            match Search::new(&mine).run(steps) {
                Some(true) => {}
                Some(false) => return Verdict::Violation(violation(&mine)),
                None => doubt = Some(Doubt::TooLong),
            }
        }
    }
    doubt.map_or(Verdict::Linearizable, Verdict::Undecided)
}

fn violation(mine: &[&Op<'_>]) -> Violation {
    let at = mine.iter().filter_map(|c| c.result.map(|_| c.at)).max().unwrap_or_default();
    let mut paths: Vec<&str> = mine.iter().flat_map(|c| c.paths()).collect();
    paths.sort_unstable();
    paths.dedup();
    let text = format!("no order of the {} calls on {paths:?} explains their answers", mine.len());
    Violation { rule: Rule::C1Search, at, text }
}

/// Nodes that someone changed whose calls are not in the history.
struct Strangers {
    nodes: HashSet<String>,
    parents: HashSet<String>,
}

impl Strangers {
    fn of(h: &History) -> Strangers {
        let mut known = HashSet::new();
        for (_, e) in &h.entries {
            if let Entry::State { state: HandleState::Connected { session, .. }, .. } = e {
                known.insert(*session);
            }
        }
        let logged = h.entries.iter().filter_map(|(_, e)| match e {
            Entry::Server { event: Event::Committed { txn, .. }, .. } => Some(txn),
            _ => None,
        });
        let mut strangers = Strangers { nodes: HashSet::new(), parents: HashSet::new() };
        let is_ensembles = |e: &Entry| matches!(e, Entry::Server { event: Event::Activated { .. }, .. });
        if h.entries.iter().any(|(_, e)| is_ensembles(e)) {
            // Its members write what they were started with there.
            strangers.nodes.insert("/zookeeper/config".to_owned());
        }
        for body in logged.chain(&h.bodies) {
            if let Ok(logged) = LoggedTxn::decode(body)
                && !known.contains(&logged.header.session)
            {
                strangers.note(&logged.txn);
            }
        }
        strangers
    }

    fn note(&mut self, txn: &Txn) {
        let mut moved = |path: &String| {
            self.nodes.insert(path.clone());
            self.parents.insert(split(path).0.to_owned());
        };
        match txn {
            Txn::Create(c) => moved(&c.path),
            Txn::Delete { path } | Txn::DeleteContainer { path } => moved(path),
            Txn::CloseSession { paths } => paths.iter().flatten().for_each(moved),
            Txn::SetData { path, .. } | Txn::SetAcl { path, .. } | Txn::Reconfig { path, .. } => {
                self.nodes.insert(path.clone());
            }
            Txn::Multi(parts) if !txn.is_failed() => parts.iter().for_each(|p| self.note(p)),
            Txn::Multi(_) | Txn::Check { .. } | Txn::Error { .. } | Txn::CreateSession { .. } => {}
        }
    }

    fn touch(&self, ops: &[&Op<'_>]) -> bool {
        let rooted = is_rooted(ops);
        let each = |request: &Request| {
            let Some(path) = path_of(request) else { return false };
            let parent = split(path).0;
            let numbered = is_sequential(request) && self.nodes.iter().any(|n| n.starts_with(path));
            let below = (path != "/" || rooted) && self.parents.contains(path);
            let beside = (parent != "/" || rooted) && self.parents.contains(parent);
            numbered || self.nodes.contains(path) || self.nodes.contains(parent) || below || beside
        };
        ops.iter().any(|op| op.parts().iter().any(each))
    }
}

/// The root's children belong to this part of the tree: they are listed or numbered.
fn is_rooted(ops: &[&Op<'_>]) -> bool {
    let ties = |r: &Request| match r {
        Request::GetChildren { path, .. } | Request::GetChildren2 { path, .. } => path == "/",
        other => is_sequential(other) && path_of(other).is_some_and(|p| split(p).0 == "/"),
    };
    ops.iter().any(|op| op.parts().iter().any(ties))
}

/// A call, or the end of a session (its request is a CloseSession).
#[derive(Debug)]
struct Op<'h> {
    who: Who,
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
    /// The single requests that it is made of.
    fn parts(&self) -> &'h [Request] {
        match self.request {
            Request::Multi(parts) | Request::MultiRead(parts) => parts,
            single => std::slice::from_ref(single),
        }
    }

    fn makes_ephemeral(&self) -> Option<SessionId> {
        let makes = |r: &Request| matches!(r, Request::Create(c) if CreateMode::from_int(c.flags).is_some_and(CreateMode::is_ephemeral));
        self.parts().iter().any(makes).then_some(self.session)
    }

    fn paths(&self) -> impl Iterator<Item = &'h str> {
        self.parts().iter().filter_map(path_of)
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
            Entry::State { who, state: HandleState::Connected { session, read_only: false, .. } } => {
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
        let op = Op { who, request, session, from, to, at, result };
        match request {
            // It may still end in another way.
            Request::CloseSession if matches!(result, Some(Err(ErrorCode::NotReadOnly))) => {}
            Request::CloseSession => ends.push(op),
            _ if matters(request, result, reads) => out.push(op),
            _ => {}
        }
    }
    // An expiry may end any session that no answered call has ended.
    for (who, (session, from)) in &sessions {
        if !ends.iter().any(|e| e.session == *session && e.result.is_some()) {
            ends.retain(|e| e.session != *session);
            let (to, at, result) = (usize::MAX, Time(0), None);
            ends.push(Op { who: *who, request: &END, session: *session, from: *from, to, at, result });
        }
    }
    (out, ends)
}

fn is_write(request: &Request) -> bool {
    matches!(
        request,
        Request::Create(_)
            | Request::Delete { .. }
            | Request::SetData { .. }
            | Request::SetAcl { .. }
            | Request::Multi(_)
    )
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
    let write = is_write(request);
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
    // Parents under which names are numbered or listed tie all their children together.
    let mut tied: HashSet<&str> = HashSet::new();
    for request in calls.iter().flat_map(|op| op.parts()) {
        let Some(path) = path_of(request) else { continue };
        if is_sequential(request) {
            tied.insert(split(path).0);
        }
        if matches!(request, Request::GetChildren { .. } | Request::GetChildren2 { .. }) {
            tied.insert(path);
        }
    }
    let mut own: Vec<Option<usize>> = Vec::with_capacity(calls.len());
    for op in calls {
        let mut first = None;
        for request in op.parts() {
            let Some(path) = path_of(request) else { continue };
            let parent = split(path).0;
            let at = sets.of(if is_sequential(request) { parent } else { path });
            if matches!(request, Request::Create(_) | Request::Delete { .. }) && parent != "/" {
                let above = sets.of(parent);
                sets.join(at, above);
            }
            sets.join(*first.get_or_insert(at), at);
        }
        own.push(first);
    }
    let known: Vec<String> = sets.numbers.keys().cloned().collect();
    for path in known.iter().filter(|p| *p != "/" && tied.contains(split(p).0)) {
        let (at, above) = (sets.of(path), sets.of(split(path).0));
        sets.join(at, above);
    }
    let mut out: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (n, own) in own.into_iter().enumerate() {
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
