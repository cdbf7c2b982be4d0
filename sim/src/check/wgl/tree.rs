//! The sequential tree of the search: what clients can see without looking at zxids and clocks.

use super::split;
use bytes::Bytes;
use std::collections::HashMap;
use zebu_core::id::SessionId;
use zebu_core::proto::{CreateMode, ErrorCode, Request, Stat};

/// A node, there or not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Node {
    there: bool,
    data: u32,
    version: i32,
    aversion: i32,
    creates: i32,
    children: i32,
    owner: i64,
}

/// All nodes by the number of their path; those beyond the end are not there.
pub(super) type State = Vec<Node>;

/// Paths and payloads as numbers.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: HashMap<String, u32>,
    /// Text and parent; the root is its own.
    paths: Vec<(String, u32)>,
    payloads: HashMap<Option<Bytes>, u32>,
    lengths: Vec<usize>,
}

/// What a step shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shown {
    Nothing,
    /// A create's node.
    Made(u32),
    Node(u32),
    Children(u32),
}

fn node(state: &State, path: u32) -> Option<Node> {
    state.get(path as usize).copied().filter(|n| n.there)
}

fn put(state: &mut State, path: u32, node: Node) {
    if state.len() <= path as usize {
        state.resize(path as usize + 1, Node::default());
    }
    state[path as usize] = node;
}

fn fits(wanted: i32, is: i32) -> Result<(), ErrorCode> {
    if wanted == -1 || wanted == is { Ok(()) } else { Err(ErrorCode::BadVersion) }
}

impl Names {
    /// The names, and the state before everything.
    pub(super) fn begin() -> (Names, State) {
        let (mut names, mut state) = (Names::default(), State::new());
        let data = names.payload(&Some(Bytes::new()));
        for (path, children, aversion) in
            [("/", 1, 0), ("/zookeeper", 2, 0), ("/zookeeper/quota", 0, 0), ("/zookeeper/config", 0, -1)]
        {
            let path = names.path(path);
            put(&mut state, path, Node { there: true, data, children, aversion, ..Node::default() });
        }
        (names, state)
    }

    fn path(&mut self, path: &str) -> u32 {
        if let Some(n) = self.numbers.get(path) {
            return *n;
        }
        let parent = if path == "/" { 0 } else { self.path_or_none(split(path).0) };
        let n = self.paths.len() as u32;
        self.numbers.insert(path.to_owned(), n);
        self.paths.push((path.to_owned(), parent));
        n
    }

    fn path_or_none(&mut self, parent: &str) -> u32 {
        if parent.is_empty() { u32::MAX } else { self.path(parent) }
    }

    fn payload(&mut self, data: &Option<Bytes>) -> u32 {
        if let Some(n) = self.payloads.get(data) {
            return *n;
        }
        self.lengths.push(data.as_ref().map_or(0, Bytes::len));
        self.payloads.insert(data.clone(), self.lengths.len() as u32 - 1);
        self.lengths.len() as u32 - 1
    }

    fn parent(&self, path: u32) -> u32 {
        self.paths[path as usize].1
    }

    pub(super) fn is_path(&self, path: u32, text: &str) -> bool {
        self.paths[path as usize].0 == text
    }

    /// One write or read, whatever was answered. Changes nothing if it fails.
    pub(super) fn apply(
        &mut self,
        state: &mut State,
        request: &Request,
        session: SessionId,
    ) -> Result<Shown, ErrorCode> {
        let mut found = |state: &State, text: &str| {
            let path = self.path(text);
            node(state, path).map(|n| (path, n)).ok_or(ErrorCode::NoNode)
        };
        match request {
            Request::Create(c) => {
                let mode = CreateMode::from_int(c.flags).ok_or(ErrorCode::BadArguments)?;
                let (above, mut parent) = found(state, split(&c.path).0)?;
                let path = match mode.is_sequential() {
                    true => self.path(&format!("{}{:010}", c.path, parent.creates)),
                    false => self.path(&c.path),
                };
                if node(state, path).is_some() {
                    return Err(ErrorCode::NodeExists);
                }
                if parent.owner != 0 {
                    return Err(ErrorCode::NoChildrenForEphemerals);
                }
                parent.creates = parent.creates.wrapping_add(1);
                parent.children += 1;
                put(state, above, parent);
                let owner = if mode.is_ephemeral() { session.0 } else { 0 };
                let data = self.payload(&c.data);
                put(state, path, Node { there: true, data, owner, ..Node::default() });
                Ok(Shown::Made(path))
            }
            Request::Delete { path, version } => {
                found(state, split(path).0)?;
                let (path, n) = found(state, path)?;
                fits(*version, n.version)?;
                if n.children > 0 {
                    return Err(ErrorCode::NotEmpty);
                }
                self.remove(state, path);
                Ok(Shown::Nothing)
            }
            Request::SetData { path, data, version } => {
                let (path, mut n) = found(state, path)?;
                fits(*version, n.version)?;
                n.version = n.version.wrapping_add(1);
                n.data = self.payload(data);
                put(state, path, n);
                Ok(Shown::Node(path))
            }
            Request::SetAcl { path, version, .. } => {
                let (path, mut n) = found(state, path)?;
                fits(*version, n.aversion)?;
                n.aversion = n.aversion.wrapping_add(1);
                put(state, path, n);
                Ok(Shown::Node(path))
            }
            Request::Check { path, version } => {
                let (_, n) = found(state, path)?;
                fits(*version, n.version)?;
                Ok(Shown::Nothing)
            }
            Request::GetChildren { path, .. } | Request::GetChildren2 { path, .. } => {
                Ok(Shown::Children(found(state, path)?.0))
            }
            Request::GetData { path, .. } | Request::Exists { path, .. } | Request::GetAcl { path } => {
                Ok(Shown::Node(found(state, path)?.0))
            }
            Request::CloseSession => {
                for path in 0..state.len() as u32 {
                    if node(state, path).is_some_and(|n| n.owner == session.0) {
                        self.remove(state, path);
                    }
                }
                Ok(Shown::Nothing)
            }
            other => panic!("not gathered: {other:?}"),
        }
    }

    fn remove(&self, state: &mut State, path: u32) {
        state[path as usize] = Node::default();
        state[self.parent(path) as usize].children -= 1;
    }

    /// `whole`: what hangs on the children counts too.
    pub(super) fn is_stat(&self, state: &State, path: u32, stat: &Stat, whole: bool) -> bool {
        let Some(n) = node(state, path) else { return false };
        let children = n.children == stat.num_children
            && stat.cversion == n.creates.wrapping_mul(2).wrapping_sub(n.children);
        (children || !whole)
            && n.version == stat.version
            && n.aversion == stat.aversion
            && n.owner == stat.ephemeral_owner.0
            && self.lengths[n.data as usize] == stat.data_length as usize
    }

    pub(super) fn is_data(&self, state: &State, path: u32, data: &Option<Bytes>) -> bool {
        node(state, path).is_some_and(|n| self.payloads.get(data) == Some(&n.data))
    }

    pub(super) fn are_children(&self, state: &State, path: u32, names: &[String]) -> bool {
        let alive = (1..state.len() as u32).filter(|p| self.parent(*p) == path && node(state, *p).is_some());
        let mut wanted: Vec<&str> = alive.map(|p| split(&self.paths[p as usize].0).1).collect();
        let mut got: Vec<&str> = names.iter().map(String::as_str).collect();
        wanted.sort_unstable();
        got.sort_unstable();
        wanted == got
    }
}
