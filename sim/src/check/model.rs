//! What ZooKeeper's state must be: the committed transactions, folded; every past state can still be asked for. Written from
//! the API documents, shares nothing with the core's tree.
//!
//! States are numbered: 0 before the first transaction, i after the i-th. Versions of a node hang in a list from newest to
//! oldest; as most questions are about the last few states, walking it is short. All lists are kept between runs.

use super::Rule;
use super::paths::{NONE, PathId, Paths};
use super::rights::{ListId, Lists};
use super::txn::{Head, Made, Op, Strings};
use crate::history::History;
use bytes::Bytes;
use zebu_core::boundary::Event;
use zebu_core::config::EnsembleConfig;
use zebu_core::id::{Epoch, SessionId, Zxid};
use zebu_core::proto::{Acl, ErrorCode, OpCode, Owner, Stat};
use zebu_core::time::Time;

/// Number of a state: how many transactions made it.
pub(super) type Index = u32;

/// Where the body of a transaction lies in the history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// In the event of this entry that told of it.
    Entry(u32),
    /// In the bodies that recoveries brought.
    Tail(u32),
}

impl Place {
    /// The bytes.
    pub(super) fn body(self, h: &History) -> &Bytes {
        match self {
            Place::Tail(at) => &h.bodies[at as usize],
            Place::Entry(at) => match &h.entries[at as usize].1 {
                crate::history::Entry::Server {
                    event:
                        Event::Committed { txn, .. } | Event::Proposed { txn, .. } | Event::Logged { txn, .. },
                    ..
                } => txn,
                other => panic!("entry {at} has no transaction: {other:?}"),
            },
        }
    }
}

/// Bytes inside a transaction's body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    /// State that the transaction made; 0: empty data of a built-in node.
    txn: Index,
    at: u32,
    /// [`NONE`]: null.
    len: u32,
}

/// One version of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version {
    /// State number and, in the low 16 bits, the operation inside the transaction, from 1.
    pos: u64,
    prev: u32,
    /// False: this version says that the node is gone.
    pub(super) alive: bool,
    pub(super) acl: ListId,
    pub(super) data: Slice,
    pub(super) czxid: Zxid,
    pub(super) mzxid: Zxid,
    pub(super) pzxid: Zxid,
    ctime: i64,
    pub(super) mtime: i64,
    pub(super) version: i32,
    /// Creates of children.
    pub(super) creates: i32,
    pub(super) aversion: i32,
    /// As stored.
    pub(super) owner: i64,
    pub(super) children: i32,
    /// What it adds to the tree's digest.
    digest: u32,
}

/// What a transaction did to a node: watches hang on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) path: PathId,
    pub(super) kind: ChangeKind,
    /// The node's list, of a deleted node its last.
    pub(super) acl: ListId,
    pub(super) parent_acl: ListId,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ChangeKind {
    Created,
    Deleted,
    Data,
}

/// A committed transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Committed {
    pub(super) zxid: Zxid,
    pub(super) session: SessionId,
    pub(super) kind: i32,
    pub(super) failed: bool,
    pub(super) place: Place,
    /// When it was known to be committed.
    pub(super) at: Time,
    /// When it was proposed; 0: no one knows.
    pub(super) born: Time,
    /// Tree digest after it.
    pub(super) digest: u64,
    changes: (u32, u32),
}

/// A session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) timeout_ms: i32,
    /// The state that has it first.
    pub(super) opened: Index,
    /// The first state that has it no more.
    pub(super) closed: Option<Index>,
}

/// The states of a run.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) paths: Paths,
    pub(super) lists: Lists,
    versions: Vec<Version>,
    txns: Vec<Committed>,
    changes: Vec<Change>,
    pub(super) sessions: Vec<Session>,
    /// Ephemerals ever made: session (index), node.
    owned: Vec<(u32, PathId)>,
    /// Starts of epochs whose leaders served: zxids of no transaction, but of states.
    starts: Vec<Zxid>,
    /// Servers have sessions of their own, which no transaction tells of.
    local_sessions: bool,
    base: Zxid,
    base_digest: u64,
    digest: u64,
    hash_buf: Vec<u8>,
}

/// A transaction that cannot be: what is wrong with it.
pub(super) type Misfit = (Rule, &'static str);

impl Model {
    /// Back to the tree of a fresh server whose last zxid is `base`.
    pub(super) fn clear(&mut self, base: Zxid) {
        self.paths.clear();
        self.lists.clear();
        self.versions.clear();
        self.txns.clear();
        self.changes.clear();
        self.sessions.clear();
        self.owned.clear();
        self.starts.clear();
        self.local_sessions = false;
        self.base = base;
        self.digest = 0;
        for (path, children, acl, aversion) in [
            ("/", 1, Lists::OPEN, 0),
            ("/zookeeper", 2, Lists::OPEN, 0),
            ("/zookeeper/quota", 0, Lists::OPEN, 0),
            ("/zookeeper/config", 0, Lists::READ, -1),
        ] {
            let path = self.paths.intern(path);
            let v = Version { children, acl, aversion, ..Version::new(0, 0) };
            self.put(path, v, b"");
        }
        self.base_digest = self.digest;
    }

    /// Members of an ensemble show the configuration before anyone is served: no transaction tells of it.
    pub(super) fn begin_ensemble(&mut self, ensemble: &EnsembleConfig) {
        self.local_sessions = ensemble.local_sessions;
        let path = self.paths.intern("/zookeeper/config");
        let v = Version { acl: Lists::READ, aversion: -1, version: -1, ..Version::new(0, 0) };
        self.put(path, v, b"");
    }

    /// The number of the newest state.
    pub(super) fn last(&self) -> Index {
        self.txns.len() as Index
    }

    /// The newest zxid.
    pub(super) fn last_zxid(&self) -> Zxid {
        self.zxid(self.last())
    }

    /// The zxid of a state.
    pub(super) fn zxid(&self, index: Index) -> Zxid {
        match index {
            0 => self.base,
            i => self.txns[i as usize - 1].zxid,
        }
    }

    /// The tree digest of a state.
    pub(super) fn digest(&self, index: Index) -> u64 {
        match index {
            0 => self.base_digest,
            i => self.txns[i as usize - 1].digest,
        }
    }

    /// The transaction that made a state other than 0.
    pub(super) fn txn(&self, index: Index) -> &Committed {
        &self.txns[index as usize - 1]
    }

    /// The state of a zxid, if there is one.
    pub(super) fn index(&self, zxid: Zxid) -> Option<Index> {
        if zxid == self.base {
            return Some(0);
        }
        // Within one epoch the zxids are the numbers.
        let guess = zxid.0.wrapping_sub(self.base.0);
        if guess > 0 && guess <= self.txns.len() as i64 && self.txns[guess as usize - 1].zxid == zxid {
            return Some(guess as Index);
        }
        match self.txns.binary_search_by_key(&zxid, |t| t.zxid) {
            Ok(i) => Some(i as Index + 1),
            Err(i) => self.starts.contains(&zxid).then_some(i as Index),
        }
    }

    /// A leader began to serve this epoch: its start names the state that all earlier epochs led to.
    pub(super) fn start(&mut self, epoch: Epoch) {
        self.starts.push(epoch.start());
    }

    /// The number of the newest state whose transaction was told before `at`.
    pub(super) fn known_before(&self, at: Time) -> Index {
        self.txns.partition_point(|t| t.at < at) as Index
    }

    /// What the transaction of a state changed, in order.
    pub(super) fn changes(&self, index: Index) -> &[Change] {
        let (from, to) = self.txn(index).changes;
        &self.changes[from as usize..to as usize]
    }

    fn newest(&self, path: PathId, limit: u64) -> Option<&Version> {
        let mut at = self.paths.info(path).head;
        while at != NONE {
            let v = &self.versions[at as usize];
            if v.pos < limit {
                return v.alive.then_some(v);
            }
            at = v.prev;
        }
        None
    }

    /// A node in a state.
    pub(super) fn node(&self, path: PathId, index: Index) -> Option<&Version> {
        self.newest(path, u64::from(index + 1) << 16)
    }

    /// A node right after the `op`-th operation, from 0, of the transaction that made a state.
    pub(super) fn node_after(&self, path: PathId, index: Index, op: usize) -> Option<&Version> {
        self.newest(path, (u64::from(index) << 16) + op as u64 + 2)
    }

    /// The data of a version.
    pub(super) fn data<'h>(&self, v: &Version, h: &'h History) -> Option<&'h [u8]> {
        let Slice { txn, at, len } = v.data;
        match (len, txn) {
            (NONE, _) => None,
            (_, 0) => Some(&[]),
            _ => Some(&self.txn(txn).place.body(h)[at as usize..(at + len) as usize]),
        }
    }

    /// What clients see of a version.
    pub(super) fn stat(&self, v: &Version, extended: bool) -> Stat {
        Stat {
            czxid: v.czxid,
            mzxid: v.mzxid,
            ctime: v.ctime,
            mtime: v.mtime,
            version: v.version,
            cversion: v.creates.wrapping_mul(2).wrapping_sub(v.children),
            aversion: v.aversion,
            ephemeral_owner: Owner::from_stored(v.owner, extended).on_the_wire(),
            data_length: if v.data.len == NONE { 0 } else { v.data.len as i32 },
            num_children: v.children,
            pzxid: v.pzxid,
        }
    }

    /// When the transaction that made a version was known to be committed.
    pub(super) fn changed(&self, v: &Version) -> Time {
        match (v.pos >> 16) as Index {
            0 => Time(0),
            index => self.txn(index).at,
        }
    }

    /// A version's ACL.
    pub(super) fn acl(&self, v: &Version) -> &[Acl] {
        self.lists.get(v.acl)
    }

    /// A session, if a state up to now had it.
    pub(super) fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.iter().rev().find(|s| s.id == id)
    }

    /// A state has this session, or some server may have it for itself.
    pub(super) fn is_open(&self, id: SessionId, index: Index) -> bool {
        let global =
            self.session(id).is_some_and(|s| s.opened <= index && s.closed.is_none_or(|c| index < c));
        global || self.is_local(id, index)
    }

    /// No state up to this one had the session: if it lives, then on its server only.
    pub(super) fn is_local(&self, id: SessionId, index: Index) -> bool {
        self.local_sessions && self.session(id).is_none_or(|s| index < s.opened)
    }

    /// The ephemerals of a session in a state, each once, in order of creation of their path.
    pub(super) fn ephemerals(&self, id: SessionId, index: Index) -> impl Iterator<Item = PathId> {
        let number = self.sessions.iter().rposition(|s| s.id == id).map_or(NONE, |at| at as u32);
        let mine = self.owned.iter().enumerate().filter(move |(_, (s, _))| *s == number);
        mine.filter(move |(at, (s, path))| {
            let first = !self.owned[..*at].contains(&(*s, *path));
            first && self.node(*path, index).is_some_and(|v| v.owner == id.0)
        })
        .map(|(_, (_, path))| *path)
    }

    /// Number of nodes strictly below a path in a state.
    pub(super) fn descendants(&self, path: PathId, index: Index) -> usize {
        let text = self.paths.text(path);
        let prefix = text.trim_end_matches('/').len();
        let below = |id: &PathId| {
            let t = self.paths.text(*id);
            t.len() > prefix + 1 && t.starts_with(text) && t.as_bytes()[prefix] == b'/'
        };
        self.paths.ids().filter(below).filter(|id| self.node(*id, index).is_some()).count()
    }

    /// Makes `v` the newest version of a node and keeps the digest.
    fn put(&mut self, path: PathId, mut v: Version, data: &[u8]) {
        let head = self.paths.info(path).head;
        if head != NONE {
            let old = &self.versions[head as usize];
            if old.alive {
                self.digest = self.digest.wrapping_sub(u64::from(old.digest));
            }
        }
        if v.alive {
            v.digest = node_digest(&mut self.hash_buf, self.paths.text(path), data, &v);
            self.digest = self.digest.wrapping_add(u64::from(v.digest));
        }
        v.prev = head;
        self.paths.info_mut(path).head = self.versions.len() as u32;
        self.versions.push(v);
    }

    /// Appends a transaction. The result says whether it is one that could be in this state.
    pub(super) fn fold(
        &mut self,
        h: &History,
        place: Place,
        (at, born): (Time, Time),
        head: &Head<'_>,
        op: &Op<'_>,
    ) -> Result<(), Misfit> {
        let index = self.last() + 1;
        let from = self.changes.len() as u32;
        let failed = match op {
            Op::Error { .. } => true,
            Op::Multi(parts) => parts.failed(),
            _ => false,
        };
        self.txns.push(Committed {
            zxid: head.zxid,
            session: head.session,
            kind: head.kind,
            failed,
            place,
            at,
            born,
            digest: 0,
            changes: (from, from),
        });
        let mut fit = Ok(());
        let pos = u64::from(index) << 16;
        match op {
            Op::Multi(_) if failed => {}
            Op::Multi(parts) => {
                for (number, part) in parts.iter().enumerate() {
                    fit = fit.and(self.apply(h, head, index, pos + number as u64 + 1, &part));
                }
            }
            op => fit = self.apply(h, head, index, pos + 1, op),
        }
        let (digest, to) = (self.digest, self.changes.len() as u32);
        let txn = self.txns.last_mut().expect("was just pushed");
        txn.digest = digest;
        txn.changes = (from, to);
        fit
    }

    fn apply(
        &mut self,
        h: &History,
        head: &Head<'_>,
        index: Index,
        pos: u64,
        op: &Op<'_>,
    ) -> Result<(), Misfit> {
        match op {
            Op::CreateSession { timeout } => {
                if self.session(head.session).is_some() {
                    return Err((Rule::S4, "a session id is used twice"));
                }
                let (id, timeout_ms) = (head.session, *timeout);
                self.sessions.push(Session { id, timeout_ms, opened: index, closed: None });
                Ok(())
            }
            Op::CloseSession { paths } => self.apply_close(h, head, index, pos, *paths),
            Op::Error { .. } | Op::Check { .. } => Ok(()),
            Op::Create { .. } => self.apply_create(h, head, index, pos, op),
            Op::Delete { path, .. } => {
                let path = self.paths.intern(path);
                self.apply_delete(h, head.zxid, pos, path)
            }
            Op::SetData { path, data, version } => {
                let path = self.paths.intern(path);
                let Some(old) = self.newest(path, u64::MAX).copied() else {
                    return Err((Rule::C2, "sets the data of a missing node"));
                };
                let slice = self.slice(h, index, *data);
                let v = Version {
                    pos,
                    data: slice,
                    version: *version,
                    mzxid: head.zxid,
                    mtime: head.time,
                    ..old
                };
                self.put(path, v, data.unwrap_or_default());
                self.change(path, ChangeKind::Data, old.acl);
                let fits = *version == old.version.wrapping_add(1) || head.kind == OpCode::Reconfig as i32;
                if fits { Ok(()) } else { Err((Rule::C2, "sets a version that is not the last one + 1")) }
            }
            Op::SetAcl { path, acl, version } => {
                let path = self.paths.intern(path);
                let Some(old) = self.newest(path, u64::MAX).copied() else {
                    return Err((Rule::C2, "sets the ACL of a missing node"));
                };
                let acl = self.lists.intern(acl);
                let v = Version { pos, acl, aversion: *version, ..old };
                let data = self.data(&old, h).unwrap_or_default();
                self.put(path, v, data);
                let fits = *version == old.aversion.wrapping_add(1);
                if fits { Ok(()) } else { Err((Rule::C2, "sets an aversion that is not the last one + 1")) }
            }
            Op::Multi(_) => Err((Rule::C2, "a multi inside a multi")),
        }
    }

    fn slice(&self, h: &History, txn: Index, data: Option<&[u8]>) -> Slice {
        let Some(data) = data else { return Slice { txn, at: 0, len: NONE } };
        let body = self.txn(txn).place.body(h);
        let at = data.as_ptr() as usize - body.as_ptr() as usize;
        Slice { txn, at: at as u32, len: data.len() as u32 }
    }

    fn change(&mut self, path: PathId, kind: ChangeKind, acl: ListId) {
        let parent = self.paths.parent(path).and_then(|p| self.newest(p, u64::MAX));
        let parent_acl = parent.map_or(Lists::OPEN, |p| p.acl);
        self.changes.push(Change { path, kind, acl, parent_acl });
    }

    fn apply_create(
        &mut self,
        h: &History,
        head: &Head<'_>,
        index: Index,
        pos: u64,
        op: &Op<'_>,
    ) -> Result<(), Misfit> {
        let Op::Create { path, data, acl, made, parent_cversion } = op else {
            panic!("not a create: {op:?}")
        };
        let path = self.paths.intern(path);
        let acl = self.lists.intern(acl);
        let above = self.paths.parent(path);
        let Some((parent, old)) = above.and_then(|p| Some((p, *self.newest(p, u64::MAX)?))) else {
            return Err((Rule::C2, "creates a node without a parent"));
        };
        if self.newest(path, u64::MAX).is_some() {
            return Err((Rule::C2, "creates a node that exists"));
        }
        let mut fit = Ok(());
        if *parent_cversion != old.creates.wrapping_add(1) {
            fit = Err((Rule::N1, "does not count the parent's creates up by one"));
        }
        let v =
            Version { pos, creates: *parent_cversion, pzxid: head.zxid, children: old.children + 1, ..old };
        let parent_data = self.data(&old, h).unwrap_or_default();
        self.put(parent, v, parent_data);
        let owner = match made {
            Made::Persistent => 0,
            Made::Container => Owner::Container.to_stored(),
            Made::Ttl(ms) => Owner::Ttl(*ms).to_stored(),
            Made::Ephemeral => {
                match self.sessions.iter().rposition(|s| s.id == head.session && s.closed.is_none()) {
                    Some(session) => self.owned.push((session as u32, path)),
                    None => fit = Err((Rule::S2, "creates an ephemeral of a session that is not open")),
                }
                head.session.0
            }
        };
        let slice = self.slice(h, index, *data);
        let v = Version {
            acl,
            data: slice,
            czxid: head.zxid,
            mzxid: head.zxid,
            pzxid: head.zxid,
            ctime: head.time,
            mtime: head.time,
            owner,
            ..Version::new(pos, index)
        };
        self.put(path, v, data.unwrap_or_default());
        self.change(path, ChangeKind::Created, acl);
        fit
    }

    fn apply_delete(&mut self, h: &History, zxid: Zxid, pos: u64, path: PathId) -> Result<(), Misfit> {
        let Some(old) = self.newest(path, u64::MAX).copied() else {
            return Err((Rule::C2, "deletes a missing node"));
        };
        self.put(path, Version { pos, alive: false, ..old }, &[]);
        self.change(path, ChangeKind::Deleted, old.acl);
        let Some(parent) = self.paths.parent(path) else { return Err((Rule::C2, "deletes the root")) };
        if let Some(p) = self.newest(parent, u64::MAX).copied() {
            let v = Version { pos, pzxid: p.pzxid.max(zxid), children: p.children - 1, ..p };
            let data = self.data(&p, h).unwrap_or_default();
            self.put(parent, v, data);
        }
        if old.children == 0 { Ok(()) } else { Err((Rule::C2, "deletes a node that has children")) }
    }

    fn apply_close(
        &mut self,
        h: &History,
        head: &Head<'_>,
        index: Index,
        pos: u64,
        listed: Option<Strings<'_>>,
    ) -> Result<(), Misfit> {
        let Some(at) = self.sessions.iter().rposition(|s| s.id == head.session && s.closed.is_none()) else {
            return Err((Rule::S2, "closes a session that is not open"));
        };
        let (mut fit, mut pos) = (Ok(()), pos);
        for path in listed.into_iter().flat_map(|l| l.iter()) {
            let path = self.paths.intern(path);
            if self.newest(path, u64::MAX).is_none_or(|v| v.owner != head.session.0) {
                fit = Err((Rule::E1, "closes a session and deletes a node that it does not own"));
            }
            fit = fit.and(self.apply_delete(h, head.zxid, pos, path));
            pos += 1;
        }
        // What the list leaves out goes all the same.
        for number in 0..self.owned.len() {
            let (session, path) = self.owned[number];
            let left = self.newest(path, u64::MAX).is_some_and(|v| v.owner == head.session.0);
            if session == at as u32 && left {
                if listed.is_some() {
                    fit = Err((Rule::E1, "closes a session and leaves one of its ephemerals out"));
                }
                fit = fit.and(self.apply_delete(h, head.zxid, pos, path));
                pos += 1;
            }
        }
        self.sessions[at].closed = Some(index);
        fit
    }
}

impl Model {
    /// This state's transaction says only that its request came over a connection that its session had left, or after its
    /// session's end: it may be any, and late.
    pub(super) fn came_late(&self, h: &History, index: Index) -> bool {
        let txn = self.txn(index);
        let Ok((Op::Error { code }, _)) = Head::read(txn.place.body(h)).and_then(|head| head.record()) else {
            return false;
        };
        let over = || !self.is_open(txn.session, index - 1);
        code == ErrorCode::SessionMoved.code() || (code == ErrorCode::SessionExpired.code() && over())
    }
}

impl Version {
    fn new(pos: u64, txn: Index) -> Version {
        Version {
            pos,
            prev: NONE,
            alive: true,
            acl: Lists::OPEN,
            data: Slice { txn, at: 0, len: 0 },
            czxid: Zxid::ZERO,
            mzxid: Zxid::ZERO,
            pzxid: Zxid::ZERO,
            ctime: 0,
            mtime: 0,
            version: 0,
            creates: 0,
            aversion: 0,
            owner: 0,
            children: 0,
            digest: 0,
        }
    }
}

/// CRC-32 over path, data and the stored stat; the root's path is empty and what lies below /zookeeper does not count.
fn node_digest(buf: &mut Vec<u8>, path: &str, data: &[u8], v: &Version) -> u32 {
    if path.starts_with("/zookeeper/") {
        return 0;
    }
    buf.clear();
    buf.extend_from_slice(if path == "/" { b"" } else { path.as_bytes() });
    buf.extend_from_slice(data);
    for long in [v.czxid.0, v.mzxid.0, v.pzxid.0, v.ctime, v.mtime] {
        buf.extend_from_slice(&long.to_be_bytes());
    }
    for int in [v.version, v.creates, v.aversion] {
        buf.extend_from_slice(&int.to_be_bytes());
    }
    buf.extend_from_slice(&v.owner.to_be_bytes());
    crc32fast::hash(buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_tree_has_the_digest_that_java_shows() {
        let mut m = Model::default();
        m.clear(Zxid::ZERO);
        assert_eq!(m.digest(0), 1_371_985_504);
        assert_eq!(m.descendants(Paths::ROOT, 0), 3);
        let root = m.node(Paths::ROOT, 0).unwrap();
        assert_eq!(m.stat(root, false), Stat { cversion: -1, num_children: 1, ..Stat::default() });
    }
}
