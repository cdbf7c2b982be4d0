//! Which watches this client has set, by the call that set each. Answers to `ZKWatchManager`. Paths here are the server's, with
//! the chroot in front.

use super::CallId;
use crate::id::Zxid;
use crate::proto::{AddWatchMode, ErrorCode, EventKind, Request, Response, SetWatches, WatcherType};
use std::collections::{BTreeMap, BTreeSet};

/// A sort of watch, as setWatches2 lists them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Sort {
    /// getData, and exists on a node that is there. One shot.
    Data,
    /// exists on a node that is not. One shot.
    Exist,
    /// getChildren. One shot.
    Child,
    /// addWatch 0.
    Persistent,
    /// addWatch 1.
    Recursive,
}

impl Sort {
    const ALL: [Sort; 5] = [Sort::Data, Sort::Exist, Sort::Child, Sort::Persistent, Sort::Recursive];

    /// What tells its owners that it was removed by removeWatches.
    fn removed(self) -> EventKind {
        match self {
            Sort::Data | Sort::Exist => EventKind::DataWatchRemoved,
            Sort::Child => EventKind::ChildWatchRemoved,
            Sort::Persistent | Sort::Recursive => EventKind::PersistentWatchRemoved,
        }
    }
    fn is_of(self, which: WatcherType) -> bool {
        match which {
            WatcherType::Any => true,
            WatcherType::Data => matches!(self, Sort::Data | Sort::Exist),
            WatcherType::Children => self == Sort::Child,
            WatcherType::Persistent => self == Sort::Persistent,
            WatcherType::PersistentRecursive => self == Sort::Recursive,
        }
    }
}

/// A watch that a request asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    op: Op,
    path: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    Exists,
    GetData,
    GetChildren,
    Add(AddWatchMode),
}

impl Wanted {
    /// What `request` asks for, its path with the chroot in front.
    pub(super) fn of(request: &Request) -> Option<Wanted> {
        let (op, path) = match request {
            Request::Exists { path, watch: true } => (Op::Exists, path),
            Request::GetData { path, watch: true } => (Op::GetData, path),
            Request::GetChildren { path, watch: true } | Request::GetChildren2 { path, watch: true } => {
                (Op::GetChildren, path)
            }
            Request::AddWatch { path: Some(path), mode } => (Op::Add(*mode), path),
            Request::Exists { .. }
            | Request::GetData { .. }
            | Request::GetChildren { .. }
            | Request::GetChildren2 { .. }
            | Request::AddWatch { .. }
            | Request::Create(_)
            | Request::Delete { .. }
            | Request::SetData { .. }
            | Request::GetAcl { .. }
            | Request::SetAcl { .. }
            | Request::Sync { .. }
            | Request::Ping
            | Request::Check { .. }
            | Request::Multi(_)
            | Request::MultiRead(_)
            | Request::Reconfig { .. }
            | Request::CheckWatches { .. }
            | Request::RemoveWatches { .. }
            | Request::DeleteContainer { .. }
            | Request::Auth { .. }
            | Request::SetWatches(_)
            | Request::SetWatches2(_)
            | Request::Sasl { .. }
            | Request::GetEphemerals { .. }
            | Request::GetAllChildrenNumber { .. }
            | Request::WhoAmI
            | Request::CloseSession => return None,
        };
        Some(Wanted { op, path: path.clone() })
    }

    /// Where the reply puts it: only some replies mean that the server has the watch.
    fn sort(&self, result: &Result<Response, ErrorCode>) -> Option<Sort> {
        match (self.op, result) {
            (Op::Exists | Op::GetData, Ok(_)) => Some(Sort::Data),
            (Op::Exists, Err(ErrorCode::NoNode)) => Some(Sort::Exist),
            (Op::GetChildren, Ok(_)) => Some(Sort::Child),
            (Op::Add(mode), Ok(_) | Err(ErrorCode::NoNode)) => Some(match mode {
                AddWatchMode::Persistent => Sort::Persistent,
                AddWatchMode::PersistentRecursive => Sort::Recursive,
            }),
            (Op::Exists | Op::GetData | Op::GetChildren | Op::Add(_), Err(_)) => None,
        }
    }
}

/// The watches that the server has, or is to get back after a reconnect.
#[derive(Debug, Default)]
pub(super) struct Watches {
    /// By [`Sort`]. No set is empty.
    paths: [BTreeMap<String, BTreeSet<CallId>>; 5],
    calls: BTreeMap<CallId, (Sort, String)>,
}

impl Watches {
    /// The call's reply is in.
    pub(super) fn replied(&mut self, call: CallId, wanted: Wanted, result: &Result<Response, ErrorCode>) {
        if let Some(sort) = wanted.sort(result) {
            self.paths[sort as usize].entry(wanted.path.clone()).or_default().insert(call);
            self.calls.insert(call, (sort, wanted.path));
        }
    }

    /// Whose watches an event of the server concerns. One-shot ones are used up by it.
    pub(super) fn fired(&mut self, kind: EventKind, path: &str) -> BTreeSet<CallId> {
        let mut concerned = BTreeSet::new();
        let sorts: &[Sort] = match kind {
            EventKind::NodeCreated | EventKind::NodeDataChanged => &[Sort::Data, Sort::Exist],
            EventKind::NodeDeleted => &[Sort::Data, Sort::Exist, Sort::Child],
            EventKind::NodeChildrenChanged => &[Sort::Child],
            // Not a server's to say.
            EventKind::None
            | EventKind::DataWatchRemoved
            | EventKind::ChildWatchRemoved
            | EventKind::PersistentWatchRemoved => return concerned,
        };
        for sort in sorts {
            concerned.append(&mut self.take(*sort, path));
        }
        concerned.extend(self.at(Sort::Persistent, path));
        // Recursive watches promise no child events.
        if kind != EventKind::NodeChildrenChanged {
            let mut at = Some(path);
            while let Some(path) = at {
                concerned.extend(self.at(Sort::Recursive, path));
                at = crate::path::parent(path);
            }
        }
        concerned
    }

    /// Forgets what removeWatches names; answers what its owners are to hear. Empty: there was nothing.
    pub(super) fn removed(&mut self, which: WatcherType, path: &str) -> Vec<(EventKind, BTreeSet<CallId>)> {
        let mut out: Vec<(EventKind, BTreeSet<CallId>)> = Vec::new();
        for sort in Sort::ALL.into_iter().filter(|s| s.is_of(which)) {
            let mut calls = self.take(sort, path);
            match out.last_mut().filter(|(kind, _)| *kind == sort.removed()) {
                Some((_, all)) => all.append(&mut calls),
                None if calls.is_empty() => {}
                None => out.push((sort.removed(), calls)),
            }
        }
        out
    }

    /// Forgets one call's watch. Answers what the server should be told to remove: a persistent watch that nobody wants any
    /// more. A one-shot watch is left to fire.
    pub(super) fn forget(&mut self, call: CallId) -> Option<Request> {
        let (sort, path) = self.calls.remove(&call)?;
        let paths = &mut self.paths[sort as usize];
        let calls = paths.get_mut(&path).expect("calls and paths mirror each other");
        assert!(calls.remove(&call), "calls and paths mirror each other");
        if !calls.is_empty() {
            return None;
        }
        paths.remove(&path);
        let kind = match sort {
            Sort::Data | Sort::Exist | Sort::Child => return None,
            Sort::Persistent => WatcherType::Persistent,
            Sort::Recursive => WatcherType::PersistentRecursive,
        };
        Some(Request::RemoveWatches { path, kind })
    }

    /// Everything, for a new connection: requests of at most `max_bytes` of path text each (a single path may be longer).
    pub(super) fn again(&self, relative_zxid: Zxid, max_bytes: usize) -> Vec<Request> {
        let paths = |sort: Sort| self.paths[sort as usize].keys();
        let persistent = paths(Sort::Persistent).chain(paths(Sort::Recursive)).next().is_some();
        let mut batches = Vec::new();
        let mut batch = SetWatches { relative_zxid, ..SetWatches::default() };
        let mut bytes = 0;
        for (sort, path) in Sort::ALL.into_iter().flat_map(|s| paths(s).map(move |p| (s, p))) {
            if bytes > 0 && bytes + path.len() > max_bytes {
                let next = SetWatches { relative_zxid, ..SetWatches::default() };
                batches.push(std::mem::replace(&mut batch, next));
                bytes = 0;
            }
            bytes += path.len();
            let list = match sort {
                Sort::Data => &mut batch.data,
                Sort::Exist => &mut batch.exist,
                Sort::Child => &mut batch.child,
                Sort::Persistent => &mut batch.persistent,
                Sort::Recursive => &mut batch.recursive,
            };
            list.push(path.clone());
        }
        if bytes > 0 {
            batches.push(batch);
        }
        let request = if persistent { Request::SetWatches2 } else { Request::SetWatches };
        batches.into_iter().map(request).collect()
    }

    fn at(&self, sort: Sort, path: &str) -> impl Iterator<Item = CallId> {
        self.paths[sort as usize].get(path).into_iter().flatten().copied()
    }

    fn take(&mut self, sort: Sort, path: &str) -> BTreeSet<CallId> {
        let calls = self.paths[sort as usize].remove(path).unwrap_or_default();
        for call in &calls {
            self.calls.remove(call);
        }
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Stat;

    fn set(watches: &mut Watches, call: u64, request: Request, result: Result<Response, ErrorCode>) {
        let wanted = Wanted::of(&request).expect("the request asks for a watch");
        watches.replied(CallId(call), wanted, &result);
    }
    fn data(path: &str) -> Request {
        Request::GetData { path: path.to_owned(), watch: true }
    }
    fn exists(path: &str) -> Request {
        Request::Exists { path: path.to_owned(), watch: true }
    }
    fn children(path: &str) -> Request {
        Request::GetChildren2 { path: path.to_owned(), watch: true }
    }
    fn add(path: &str, mode: AddWatchMode) -> Request {
        Request::AddWatch { path: Some(path.to_owned()), mode }
    }
    fn ok() -> Result<Response, ErrorCode> {
        Ok(Response::Stat(Stat::default()))
    }
    fn calls(list: &[u64]) -> BTreeSet<CallId> {
        list.iter().map(|c| CallId(*c)).collect()
    }

    #[test]
    fn the_reply_decides_whether_there_is_a_watch() {
        let mut w = Watches::default();
        set(&mut w, 1, data("/a"), Err(ErrorCode::NoNode));
        set(&mut w, 2, children("/a"), Err(ErrorCode::NoAuth));
        set(&mut w, 3, exists("/a"), Err(ErrorCode::NoAuth));
        assert_eq!(w.again(Zxid(1), 100), []);
        set(&mut w, 4, exists("/a"), Err(ErrorCode::NoNode));
        set(&mut w, 5, add("/a", AddWatchMode::Persistent), Err(ErrorCode::NoNode));
        assert_eq!(w.fired(EventKind::NodeCreated, "/a"), calls(&[4, 5]));
        assert_eq!(w.fired(EventKind::NodeCreated, "/a"), calls(&[5]));
        assert_eq!(Wanted::of(&Request::GetData { path: "/a".to_owned(), watch: false }), None);
    }

    #[test]
    fn an_event_reaches_the_watches_that_it_means() {
        let fresh = || {
            let mut w = Watches::default();
            set(&mut w, 1, data("/p/a"), ok());
            set(&mut w, 2, exists("/p/a"), ok());
            set(&mut w, 3, children("/p/a"), ok());
            set(&mut w, 4, add("/p/a", AddWatchMode::Persistent), ok());
            set(&mut w, 5, add("/p", AddWatchMode::PersistentRecursive), ok());
            set(&mut w, 6, add("/", AddWatchMode::PersistentRecursive), ok());
            w
        };
        for (kind, first, then) in [
            (EventKind::NodeDataChanged, &[1, 2, 4, 5, 6][..], &[4, 5, 6][..]),
            (EventKind::NodeDeleted, &[1, 2, 3, 4, 5, 6], &[4, 5, 6]),
            (EventKind::NodeChildrenChanged, &[3, 4], &[4]),
            (EventKind::None, &[], &[]),
        ] {
            let mut w = fresh();
            assert_eq!(w.fired(kind, "/p/a"), calls(first), "{kind:?}");
            assert_eq!(w.fired(kind, "/p/a"), calls(then), "{kind:?}");
        }
    }

    #[test]
    fn removal_by_type_and_by_owner() {
        let mut w = Watches::default();
        set(&mut w, 1, data("/a"), ok());
        set(&mut w, 2, exists("/a"), Err(ErrorCode::NoNode));
        set(&mut w, 3, children("/a"), ok());
        set(&mut w, 4, add("/a", AddWatchMode::PersistentRecursive), ok());
        assert_eq!(w.removed(WatcherType::Persistent, "/a"), []);
        assert_eq!(
            w.removed(WatcherType::Any, "/a"),
            [
                (EventKind::DataWatchRemoved, calls(&[1, 2])),
                (EventKind::ChildWatchRemoved, calls(&[3])),
                (EventKind::PersistentWatchRemoved, calls(&[4])),
            ]
        );
        set(&mut w, 5, add("/a", AddWatchMode::Persistent), ok());
        set(&mut w, 6, add("/a", AddWatchMode::Persistent), ok());
        set(&mut w, 7, data("/a"), ok());
        assert_eq!(w.forget(CallId(5)), None, "6 still wants it");
        let kind = WatcherType::Persistent;
        assert_eq!(w.forget(CallId(6)), Some(Request::RemoveWatches { path: "/a".to_owned(), kind }));
        assert_eq!(w.forget(CallId(7)), None, "a one-shot watch is left to fire");
        assert_eq!(w.forget(CallId(7)), None);
        assert_eq!(w.again(Zxid(1), 100), []);
    }

    #[test]
    fn watches_are_set_again_in_batches() {
        let mut w = Watches::default();
        set(&mut w, 1, data("/a"), ok());
        set(&mut w, 2, children("/bb"), ok());
        set(&mut w, 3, exists("/ccc"), Err(ErrorCode::NoNode));
        let s = |p: &str| vec![p.to_owned()];
        let relative_zxid = Zxid(9);
        assert_eq!(
            w.again(relative_zxid, 6),
            [
                Request::SetWatches(SetWatches {
                    relative_zxid,
                    data: s("/a"),
                    exist: s("/ccc"),
                    ..SetWatches::default()
                }),
                Request::SetWatches(SetWatches { relative_zxid, child: s("/bb"), ..SetWatches::default() }),
            ]
        );
        set(&mut w, 4, add("/d", AddWatchMode::PersistentRecursive), ok());
        assert!(
            matches!(&w.again(relative_zxid, 100)[..], [Request::SetWatches2(all)] if all.recursive == s("/d"))
        );
    }
}
