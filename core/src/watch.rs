//! Who watches what, and which events a change makes. Answers to `WatchManager` (twice: data and child watches) and to the
//! trigger calls of `DataTree`. Must not know sessions, ACL rules or the wire: the caller filters and sends.
//!
//! | change | passes, in this order |
//! |---|---|
//! | created | data: NodeCreated; child of the parent: NodeChildrenChanged |
//! | deleted | data: NodeDeleted; child: NodeDeleted, not to those of the data pass; child of the parent: NodeChildrenChanged |
//! | data set | data: NodeDataChanged |
//!
//! In a pass a connection gets the event once, whatever matched. Standard watches go when they fire, also if the caller's
//! ACL filter drops the event. Recursive watches live among the data watches only, so they never see child events.

use crate::boundary::Conn;
use crate::proto::{Acl, EventKind, WatcherType};
use crate::tree::Change;
use indexmap::IndexMap;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is being added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchKind {
    /// One shot: the node's creation, deletion or data (getData, exists).
    Data,
    /// One shot: the node's children or deletion (getChildren).
    Child,
    /// Both, until removed (addWatch 0).
    Persistent,
    /// Creation, deletion and data of the node and all below, until removed (addWatch 1).
    Recursive,
}

/// Totals for `wchs`: data watches only, as in Java.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WatchSummary {
    /// Connections with a watch.
    pub conns: usize,
    /// Paths with a watch.
    pub paths: usize,
    /// Pairs of the two.
    pub watches: usize,
}

/// Every watch of a server's connections.
#[derive(Debug)]
pub struct WatchTable {
    data: Manager,
    child: Manager,
}

impl WatchTable {
    /// An empty table. The seed keeps clients from choosing paths that collide.
    pub fn new(seed: u64) -> WatchTable {
        WatchTable { data: Manager::new(seed), child: Manager::new(seed) }
    }

    /// Adds a watch; having it already changes nothing.
    pub fn add(&mut self, conn: Conn, path: &str, kind: WatchKind) {
        match kind {
            WatchKind::Data => self.data.add(conn, path, Modes::STANDARD),
            WatchKind::Child => self.child.add(conn, path, Modes::STANDARD),
            WatchKind::Persistent => {
                self.data.add(conn, path, Modes::PERSISTENT);
                self.child.add(conn, path, Modes::PERSISTENT);
            }
            WatchKind::Recursive => self.data.add(conn, path, Modes::RECURSIVE),
        }
    }

    /// Removes what removeWatches names; false if nothing of it was there.
    pub fn remove(&mut self, conn: Conn, path: &str, which: WatcherType) -> bool {
        let (data, child) = modes(which);
        let in_data = self.data.remove(conn, path, data);
        self.child.remove(conn, path, child) || in_data
    }

    /// Is anything there of what checkWatches names?
    pub fn contains(&self, conn: Conn, path: &str, which: WatcherType) -> bool {
        let (data, child) = modes(which);
        self.data.has(conn, path, data) || self.child.has(conn, path, child)
    }

    /// Forgets a connection.
    pub fn remove_conn(&mut self, conn: Conn) {
        self.data.remove_conn(conn);
        self.child.remove_conn(conn);
    }

    /// Calls `deliver` for every event that `change` makes: to whom, what, on which path, and the ACL on which the
    /// receiver needs READ. Connections come in ascending order within a pass.
    pub fn fire(&mut self, change: &Change, deliver: &mut impl FnMut(Conn, EventKind, &str, &Arc<[Acl]>)) {
        match change {
            Change::Created { path, acl, parent_acl } => {
                self.data.fire(path, None, |c| deliver(c, EventKind::NodeCreated, path, acl));
                self.fire_parent(path, parent_acl, deliver);
            }
            Change::Deleted { path, acl, parent_acl } => {
                let told = self.data.fire(path, None, |c| deliver(c, EventKind::NodeDeleted, path, acl));
                self.child.fire(path, Some(&told), |c| deliver(c, EventKind::NodeDeleted, path, acl));
                self.fire_parent(path, parent_acl, deliver);
            }
            Change::DataChanged { path, acl } => {
                self.data.fire(path, None, |c| deliver(c, EventKind::NodeDataChanged, path, acl));
            }
        }
    }

    fn fire_parent(
        &mut self,
        path: &str,
        acl: &Arc<[Acl]>,
        deliver: &mut impl FnMut(Conn, EventKind, &str, &Arc<[Acl]>),
    ) {
        if let Some(parent) = parent(path) {
            self.child.fire(parent, None, |c| deliver(c, EventKind::NodeChildrenChanged, parent, acl));
        }
    }

    /// Pairs of connection and path, data and child watches counted apart: `zk_watch_count`.
    pub fn watch_count(&self) -> usize {
        self.data.pairs + self.child.pairs
    }

    /// Totals of the data watches.
    pub fn summary(&self) -> WatchSummary {
        WatchSummary {
            conns: self.data.by_conn.len(),
            paths: self.data.by_path.len(),
            watches: self.data.pairs,
        }
    }

    /// Data watches by connection: `wchc`. Sorted.
    pub fn by_conn(&self) -> impl Iterator<Item = (Conn, impl Iterator<Item = &str>)> {
        self.data.by_conn.iter().map(|(conn, paths)| (*conn, paths.iter().map(|p| &**p)))
    }

    /// Data watches by path: `wchp`. Sorted.
    pub fn by_path(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = Conn>)> {
        let mut paths: Vec<_> = self.data.by_path.iter().collect();
        paths.sort_unstable_by_key(|(path, _)| *path);
        paths.into_iter().map(|(path, conns)| (&**path, conns.keys().copied()))
    }
}

/// The modes that a [`WatcherType`] means among the data and among the child watches.
fn modes(which: WatcherType) -> (Modes, Modes) {
    match which {
        WatcherType::Children => (Modes::NONE, Modes::STANDARD),
        WatcherType::Data => (Modes::STANDARD, Modes::NONE),
        WatcherType::Any => (Modes::ANY, Modes::ANY),
        WatcherType::Persistent => (Modes::PERSISTENT, Modes::PERSISTENT),
        WatcherType::PersistentRecursive => (Modes::RECURSIVE, Modes::NONE),
    }
}

/// The path above, "/" at the top. Watches exist for any text, so this asks nothing of the path's form.
fn parent(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 if path.len() == 1 => None,
        0 => Some("/"),
        at => Some(&path[..at]),
    }
}

/// The modes in which one connection watches one path. Answers to `WatchStats`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Modes(u8);

impl Modes {
    const NONE: Modes = Modes(0);
    const STANDARD: Modes = Modes(1);
    const PERSISTENT: Modes = Modes(2);
    const RECURSIVE: Modes = Modes(4);
    const ANY: Modes = Modes(7);

    fn meets(self, other: Modes) -> bool {
        self.0 & other.0 != 0
    }
    fn with(self, other: Modes) -> Modes {
        Modes(self.0 | other.0)
    }
    fn without(self, other: Modes) -> Modes {
        Modes(self.0 & !other.0)
    }
}

/// Watches of one of the two sorts.
#[derive(Debug)]
struct Manager {
    /// For lookup; its order is never observed.
    by_path: IndexMap<Arc<str>, BTreeMap<Conn, Modes>, foldhash::fast::FixedState>,
    by_conn: BTreeMap<Conn, BTreeSet<Arc<str>>>,
    /// Connections and paths that watch each other.
    pairs: usize,
    /// Those of them with [`Modes::RECURSIVE`]; at 0 no change has to look at ancestors.
    recursive: usize,
}

impl Manager {
    fn new(seed: u64) -> Manager {
        Manager {
            by_path: IndexMap::with_hasher(foldhash::fast::FixedState::with_seed(seed)),
            by_conn: BTreeMap::new(),
            pairs: 0,
            recursive: 0,
        }
    }

    fn add(&mut self, conn: Conn, path: &str, modes: Modes) {
        let (path, conns) = match self.by_path.get_full_mut(path) {
            Some((_, path, conns)) => (path.clone(), conns),
            None => {
                let path: Arc<str> = path.into();
                (path.clone(), self.by_path.entry(path).or_default())
            }
        };
        let had = match conns.entry(conn) {
            Entry::Vacant(e) => {
                e.insert(modes);
                self.by_conn.entry(conn).or_default().insert(path);
                self.pairs += 1;
                Modes::NONE
            }
            Entry::Occupied(mut e) => {
                let had = *e.get();
                e.insert(had.with(modes));
                had
            }
        };
        if modes.meets(Modes::RECURSIVE) && !had.meets(Modes::RECURSIVE) {
            self.recursive += 1;
        }
    }

    fn has(&self, conn: Conn, path: &str, modes: Modes) -> bool {
        self.by_path.get(path).and_then(|conns| conns.get(&conn)).is_some_and(|m| m.meets(modes))
    }

    fn remove(&mut self, conn: Conn, path: &str, modes: Modes) -> bool {
        let Some(conns) = self.by_path.get_mut(path) else { return false };
        let Some(had) = conns.get_mut(&conn) else { return false };
        if !had.meets(modes) {
            return false;
        }
        if had.meets(Modes::RECURSIVE) && modes.meets(Modes::RECURSIVE) {
            self.recursive -= 1;
        }
        *had = had.without(modes);
        if *had == Modes::NONE {
            conns.remove(&conn);
            if conns.is_empty() {
                self.by_path.swap_remove(path);
            }
            forget(&mut self.by_conn, conn, path);
            self.pairs -= 1;
        }
        true
    }

    fn remove_conn(&mut self, conn: Conn) {
        for path in self.by_conn.remove(&conn).unwrap_or_default() {
            let conns = self.by_path.get_mut(&path).expect("by_conn and by_path mirror each other");
            let had = conns.remove(&conn).expect("by_conn and by_path mirror each other");
            self.recursive -= usize::from(had.meets(Modes::RECURSIVE));
            self.pairs -= 1;
            if conns.is_empty() {
                self.by_path.swap_remove(&path);
            }
        }
    }

    /// One pass: tells everyone who watches `path`, or recursively a path above it, except those in `told`. Uses the standard
    /// watches up, theirs too. Answers whom the event concerned.
    fn fire(
        &mut self,
        path: &str,
        told: Option<&BTreeSet<Conn>>,
        mut tell: impl FnMut(Conn),
    ) -> BTreeSet<Conn> {
        let mut concerned = BTreeSet::new();
        if self.recursive > 0 {
            let mut at = path;
            while let Some(above) = parent(at) {
                at = above;
                let conns = self.by_path.get(at).into_iter().flatten();
                concerned.extend(conns.filter(|(_, m)| m.meets(Modes::RECURSIVE)).map(|(c, _)| *c));
            }
        }
        if let Some(conns) = self.by_path.get_mut(path) {
            concerned.extend(conns.keys());
            conns.retain(|conn, modes| {
                *modes = modes.without(Modes::STANDARD);
                if *modes == Modes::NONE {
                    forget(&mut self.by_conn, *conn, path);
                    self.pairs -= 1;
                }
                *modes != Modes::NONE
            });
            if conns.is_empty() {
                self.by_path.swap_remove(path);
            }
        }
        concerned.iter().filter(|c| !told.is_some_and(|t| t.contains(c))).for_each(|c| tell(*c));
        concerned
    }
}

fn forget(by_conn: &mut BTreeMap<Conn, BTreeSet<Arc<str>>>, conn: Conn, path: &str) {
    let paths = by_conn.get_mut(&conn).expect("by_conn and by_path mirror each other");
    assert!(paths.remove(path), "by_conn and by_path mirror each other");
    if paths.is_empty() {
        by_conn.remove(&conn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EventKind::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};
    use proptest::prelude::*;

    const A: Conn = Conn(1);
    const B: Conn = Conn(2);

    fn acl(n: i32) -> Arc<[Acl]> {
        Arc::new([Acl { perms: n, ..Acl::open() }])
    }
    fn created(path: &str) -> Change {
        Change::Created { path: path.into(), acl: acl(1), parent_acl: acl(2) }
    }
    fn deleted(path: &str) -> Change {
        Change::Deleted { path: path.into(), acl: acl(1), parent_acl: acl(2) }
    }
    fn changed(path: &str) -> Change {
        Change::DataChanged { path: path.into(), acl: acl(1) }
    }
    fn events(t: &mut WatchTable, change: &Change) -> Vec<(u64, EventKind, String)> {
        let mut out = Vec::new();
        t.fire(change, &mut |conn, kind, path, acl| {
            assert_eq!(acl[0].perms, if kind == NodeChildrenChanged { 2 } else { 1 }, "the ACL to filter on");
            out.push((conn.0, kind, path.to_owned()));
        });
        out
    }
    fn event(conn: Conn, kind: EventKind, path: &str) -> (u64, EventKind, String) {
        (conn.0, kind, path.to_owned())
    }

    #[test]
    fn data_exists_and_child_watch_on_one_node_give_one_deletion() {
        let mut t = WatchTable::new(1);
        t.add(A, "/a", WatchKind::Data);
        t.add(A, "/a", WatchKind::Child);
        assert_eq!(t.watch_count(), 2);
        assert_eq!(events(&mut t, &deleted("/a")), [event(A, NodeDeleted, "/a")]);
        assert_eq!(t.watch_count(), 0, "both are used up");
        assert_eq!(events(&mut t, &created("/a")), []);
    }

    #[test]
    fn one_data_watch_serves_creation_change_and_deletion() {
        for (change, kind) in
            [(created("/a"), NodeCreated), (changed("/a"), NodeDataChanged), (deleted("/a"), NodeDeleted)]
        {
            let mut t = WatchTable::new(1);
            t.add(A, "/a", WatchKind::Data);
            assert_eq!(events(&mut t, &change), [event(A, kind, "/a")]);
            assert_eq!(events(&mut t, &change), []);
        }
    }

    #[test]
    fn the_parent_hears_of_children_and_the_root_is_a_slash() {
        let mut t = WatchTable::new(1);
        t.add(A, "/", WatchKind::Child);
        assert_eq!(events(&mut t, &created("/a")), [event(A, NodeChildrenChanged, "/")]);
        t.add(A, "/a", WatchKind::Child);
        assert_eq!(events(&mut t, &changed("/a/b")), []);
        assert_eq!(events(&mut t, &deleted("/a/b")), [event(A, NodeChildrenChanged, "/a")]);
    }

    #[test]
    fn a_persistent_watch_stays_over_deletion() {
        let mut t = WatchTable::new(1);
        t.add(A, "/p", WatchKind::Persistent);
        assert_eq!(events(&mut t, &created("/p")), [event(A, NodeCreated, "/p")]);
        assert_eq!(events(&mut t, &created("/p/c")), [event(A, NodeChildrenChanged, "/p")]);
        assert_eq!(events(&mut t, &changed("/p/c")), []);
        assert_eq!(events(&mut t, &deleted("/p")), [event(A, NodeDeleted, "/p")]);
        assert_eq!(events(&mut t, &created("/p")), [event(A, NodeCreated, "/p")]);
    }

    #[test]
    fn a_recursive_watch_names_the_changed_node_and_sees_no_child_events() {
        let mut t = WatchTable::new(1);
        t.add(A, "/p", WatchKind::Recursive);
        t.add(A, "/", WatchKind::Recursive);
        assert_eq!(events(&mut t, &created("/p/c/d")), [event(A, NodeCreated, "/p/c/d")]);
        assert_eq!(events(&mut t, &changed("/p")), [event(A, NodeDataChanged, "/p")]);
        assert_eq!(events(&mut t, &changed("/q")), [event(A, NodeDataChanged, "/q")]);
        t.add(A, "/p/c", WatchKind::Child);
        assert_eq!(
            events(&mut t, &created("/p/c/e")),
            [event(A, NodeCreated, "/p/c/e"), event(A, NodeChildrenChanged, "/p/c")]
        );
        assert!(t.remove(A, "/", WatcherType::PersistentRecursive));
        assert_eq!(events(&mut t, &changed("/q")), []);
        assert_eq!(events(&mut t, &deleted("/pp")), [], "a name is not a prefix");
    }

    #[test]
    fn connections_come_in_order_once_each() {
        let mut t = WatchTable::new(1);
        for conn in [B, A] {
            t.add(conn, "/a", WatchKind::Data);
            t.add(conn, "/a", WatchKind::Persistent);
            t.add(conn, "/", WatchKind::Recursive);
        }
        let both = [event(A, NodeDataChanged, "/a"), event(B, NodeDataChanged, "/a")];
        assert_eq!(events(&mut t, &changed("/a")), both);
        assert!(!t.contains(A, "/a", WatcherType::Data), "the standard one is used up");
        assert!(t.contains(A, "/a", WatcherType::Persistent));
        t.remove_conn(A);
        assert_eq!(events(&mut t, &changed("/a")), [event(B, NodeDataChanged, "/a")]);
    }

    #[test]
    fn the_data_pass_of_one_does_not_hush_the_child_pass_of_another() {
        let mut t = WatchTable::new(1);
        t.add(A, "/a", WatchKind::Child);
        t.add(B, "/a", WatchKind::Data);
        assert_eq!(
            events(&mut t, &deleted("/a")),
            [event(B, NodeDeleted, "/a"), event(A, NodeDeleted, "/a")]
        );
    }

    #[test]
    fn removal_by_type() {
        let mut t = WatchTable::new(1);
        let fill = |t: &mut WatchTable| {
            for kind in [WatchKind::Data, WatchKind::Child, WatchKind::Persistent, WatchKind::Recursive] {
                t.add(A, "/a", kind);
            }
        };
        fill(&mut t);
        for which in [
            WatcherType::Children,
            WatcherType::Data,
            WatcherType::Persistent,
            WatcherType::PersistentRecursive,
        ] {
            assert!(t.contains(A, "/a", which));
            assert!(!t.contains(B, "/a", which));
            assert!(t.remove(A, "/a", which));
            assert!(!t.remove(A, "/a", which));
        }
        assert!(!t.contains(A, "/a", WatcherType::Any));
        fill(&mut t);
        assert!(t.remove(A, "/a", WatcherType::Any));
        assert_eq!(t.watch_count(), 0);
        assert_eq!(t.summary(), WatchSummary { conns: 0, paths: 0, watches: 0 });
    }

    #[test]
    fn the_summaries_are_of_data_watches() {
        let mut t = WatchTable::new(1);
        t.add(B, "/b", WatchKind::Data);
        t.add(A, "/b", WatchKind::Data);
        t.add(A, "/a", WatchKind::Recursive);
        t.add(A, "/c", WatchKind::Child);
        assert_eq!(t.summary(), WatchSummary { conns: 2, paths: 2, watches: 3 });
        let by_conn: Vec<_> = t.by_conn().map(|(c, p)| (c, p.collect::<Vec<_>>())).collect();
        assert_eq!(by_conn, [(A, vec!["/a", "/b"]), (B, vec!["/b"])]);
        let by_path: Vec<_> = t.by_path().map(|(p, c)| (p, c.collect::<Vec<_>>())).collect();
        assert_eq!(by_path, [("/a", vec![A]), ("/b", vec![A, B])]);
    }

    /// The table against a list of (connection, path, kind) and the rules read naively.
    fn model(list: &mut Vec<(u64, String, WatchKind)>, change: &Change) -> Vec<(u64, EventKind, String)> {
        let mut out = Vec::new();
        let mut pass = |standard: WatchKind, kind: EventKind, path: &str, skip: &[u64]| {
            let mut conns: Vec<u64> = Vec::new();
            for (conn, at, k) in list.iter() {
                let hit = match k {
                    WatchKind::Recursive => {
                        standard == WatchKind::Data
                            && (path == at || path.starts_with(&format!("{}/", at.trim_end_matches('/'))))
                    }
                    WatchKind::Persistent => path == at,
                    k => *k == standard && path == at,
                };
                if hit {
                    conns.push(*conn);
                }
            }
            list.retain(|(_, at, k)| !(*k == standard && at == path));
            conns.sort_unstable();
            conns.dedup();
            out.extend(conns.iter().filter(|c| !skip.contains(c)).map(|c| (*c, kind, path.to_owned())));
            conns
        };
        let up = |p: &str| parent(p).expect("not the root").to_owned();
        match change {
            Change::Created { path, .. } => {
                pass(WatchKind::Data, NodeCreated, path, &[]);
                pass(WatchKind::Child, NodeChildrenChanged, &up(path), &[]);
            }
            Change::Deleted { path, .. } => {
                let told = pass(WatchKind::Data, NodeDeleted, path, &[]);
                pass(WatchKind::Child, NodeDeleted, path, &told);
                pass(WatchKind::Child, NodeChildrenChanged, &up(path), &[]);
            }
            Change::DataChanged { path, .. } => {
                pass(WatchKind::Data, NodeDataChanged, path, &[]);
            }
        }
        out
    }

    proptest! {
        #[test]
        fn agrees_with_the_rules_read_naively(
            steps in prop::collection::vec((0u8..8, 1u64..4, "(/[ab]){1,3}"), 0..60)
        ) {
            let mut t = WatchTable::new(7);
            let mut list = Vec::new();
            for (what, conn, path) in steps {
                let kind = [WatchKind::Data, WatchKind::Child, WatchKind::Persistent, WatchKind::Recursive]
                    .get(usize::from(what));
                if let Some(kind) = kind {
                    t.add(Conn(conn), &path, *kind);
                    if !list.contains(&(conn, path.clone(), *kind)) {
                        list.push((conn, path, *kind));
                    }
                } else if what == 7 {
                    t.remove_conn(Conn(conn));
                    list.retain(|(c, _, _)| *c != conn);
                } else {
                    let change = [created, deleted, changed][usize::from(what) - 4](&path);
                    prop_assert_eq!(events(&mut t, &change), model(&mut list, &change));
                }
            }
            for conn in 1..4 {
                t.remove_conn(Conn(conn));
            }
            prop_assert_eq!((t.watch_count(), t.data.recursive, t.data.by_path.len()), (0, 0, 0));
        }
    }
}
