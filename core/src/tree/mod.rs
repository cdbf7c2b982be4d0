//! The tree of znodes: reads, the effect of each transaction, the digest. Answers to `DataTree`. It never asks who or when:
//! permissions, versions and limits were checked before a transaction came to be, and applying one never fails.

mod aclmap;
mod apply;
mod image;
mod node;
#[cfg(test)]
mod tests;
mod walk;

pub use apply::{Applied, Change};
pub use image::ImageStart;
pub use node::{Children, Node, node_digest};

use crate::id::{SessionId, Zxid};
use crate::path;
use crate::proto::{Acl, Owner, Stat, StatPersisted};
use aclmap::AclMap;
use bytes::Bytes;
use foldhash::fast::FixedState;
use image::Image;
use indexmap::IndexMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use walk::Walk;

/// The hasher of the tables, from the seed. Their order is never looked at.
type Fixed = FixedState;

/// All znodes.
#[derive(Clone, Debug)]
pub struct Tree {
    /// By path; the root's is "".
    nodes: IndexMap<Arc<str>, Node, Fixed>,
    acls: AclMap,
    ephemerals: BTreeMap<SessionId, BTreeSet<Arc<str>>>,
    /// Containers and TTL nodes.
    reaped: BTreeSet<Arc<str>>,
    digest: u64,
    /// UTF-16 units of all paths, and bytes of all data.
    size: u64,
    last_zxid: Zxid,
    image: Option<Image>,
}

/// Why a node of a snapshot cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadError {
    /// Its parent has not occurred.
    NoParent,
    /// It has no name: the path ends with '/'.
    NoName,
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LoadError::NoParent => "a node comes before its parent",
            LoadError::NoName => "a node without a name",
        })
    }
}
impl std::error::Error for LoadError {}

/// Clients' "/" is the table's "".
fn key(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

/// What a path adds to the approximate data size: Java's length.
fn path_size(path: &str) -> u64 {
    (if path.is_ascii() { path.len() } else { path.encode_utf16().count() }) as u64
}

impl Tree {
    /// The four nodes of an untouched database.
    pub fn new(seed: u64) -> Tree {
        let hasher = FixedState::with_seed(seed);
        let mut tree = Tree {
            nodes: IndexMap::with_hasher(hasher.clone()),
            acls: AclMap::new(hasher),
            ephemerals: BTreeMap::new(),
            reaped: BTreeSet::new(),
            digest: 0,
            size: 0,
            last_zxid: Zxid::ZERO,
            image: None,
        };
        tree.acls.load(1, vec![Acl::read_only()]);
        let config = StatPersisted { aversion: -1, ..StatPersisted::default() };
        for (path, acl_key, stat) in [
            ("", -1, StatPersisted::default()),
            ("/zookeeper", -1, StatPersisted::default()),
            ("/zookeeper/config", 1, config),
            ("/zookeeper/quota", -1, StatPersisted::default()),
        ] {
            let loaded = tree.load_node(path, Some(Bytes::new()), acl_key, stat);
            loaded.expect("parents come first");
        }
        tree
    }

    /// The node of a path, if it exists. "" is the root too.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(key(path))
    }
    /// The wire's view of a node.
    pub fn stat(&self, path: &str) -> Option<Stat> {
        self.get(path).map(Node::stat)
    }
    /// A node's ACL.
    pub fn acl(&self, node: &Node) -> &Arc<[Acl]> {
        self.acls.get(node.acl)
    }
    /// The transaction up to which the tree has come.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }
    /// For who loads a snapshot.
    pub fn set_last_zxid(&mut self, zxid: Zxid) {
        self.last_zxid = zxid;
    }
    /// The digest, version 2: the wrapping sum of [`node_digest`] over all nodes.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Java's "Node count": the root counts twice.
    pub fn node_count(&self) -> usize {
        self.nodes.len() + 1
    }
    /// Java's approximate data size: the lengths of all paths and data, the root's path once as "" and once as "/".
    pub fn approximate_data_size(&self) -> u64 {
        self.size + 1
    }
    /// How many nodes lie below a path: getAllChildrenNumber.
    pub fn descendants(&self, path: &str) -> Option<usize> {
        let node = self.get(path)?;
        Some(if key(path).is_empty() {
            self.nodes.len() - 1
        } else {
            Walk::below(self, &node.children).count()
        })
    }
    /// Every node in depth-first order, siblings sorted; the root's path is "".
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        Walk::whole(self).map(|(path, node)| (&**path, node))
    }

    /// A session's ephemerals, sorted.
    pub fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = &str> {
        self.ephemerals.get(&session).into_iter().flatten().map(|p| &**p)
    }
    /// Sessions that have ephemerals, and how many.
    pub fn sessions_with_ephemerals(&self) -> impl Iterator<Item = (SessionId, usize)> {
        self.ephemerals.iter().map(|(session, paths)| (*session, paths.len()))
    }
    /// Paths of containers and TTL nodes, sorted: [`Node::owner`] tells which is which.
    pub fn containers_and_ttls(&self) -> impl Iterator<Item = &str> {
        self.reaped.iter().map(|p| &**p)
    }

    /// Takes an entry of a snapshot's ACL table. Tables come before nodes.
    pub fn load_acl(&mut self, key: i64, acl: Vec<Acl>) {
        self.acls.load(key, acl);
    }

    /// Takes a node of a snapshot; it replaces one of the same path, as the built-in ones are there already.
    pub fn load_node(
        &mut self,
        path: &str,
        data: Option<Bytes>,
        acl_key: i64,
        stat: StatPersisted,
    ) -> Result<(), LoadError> {
        let path: Arc<str> = Arc::from(key(path));
        let mut node = Node::new(&path, data.map(own), stat, self.acls.by_key(acl_key));
        if !path.is_empty() {
            let parent = path::parent(&path).and_then(|p| self.nodes.get_mut(key(p)));
            let refused = match parent {
                None => Some(LoadError::NoParent),
                Some(_) if path::name(&path).is_empty() => Some(LoadError::NoName),
                Some(parent) => {
                    parent.children.insert(path.clone());
                    None
                }
            };
            if let Some(error) = refused {
                self.acls.release(node.acl);
                return Err(error);
            }
        }
        if let Some((_, old)) = self.take(&path) {
            self.acls.release(old.acl);
            node.children = old.children;
        }
        self.insert(path, node);
        Ok(())
    }

    /// Ends loading: ACLs that no node uses go.
    pub fn load_done(&mut self) {
        self.acls.prune();
    }

    /// Nodes whose ACL a fuzzy snapshot lacked and the log has not told yet: they grant nothing. Not 0 after a whole replay
    /// means that the snapshot or the log is not whole.
    pub fn unknown_acls(&self) -> usize {
        self.acls.unknown_uses()
    }

    /// Puts a node into the table and its indices; its parent knows it already.
    fn insert(&mut self, path: Arc<str>, node: Node) {
        if let Some(image) = &mut self.image {
            image.keep(&path, None, &self.acls);
        }
        self.digest = self.digest.wrapping_add(node.share());
        self.size += path_size(&path) + node.data_len() as u64;
        match node.owner() {
            Owner::Persistent => {}
            Owner::Session(session) => {
                self.ephemerals.entry(session).or_default().insert(path.clone());
            }
            Owner::Container | Owner::Ttl(_) => {
                self.reaped.insert(path.clone());
            }
        }
        self.nodes.insert(path, node);
    }

    /// Takes a node out of the table and its indices, but not out of its parent.
    fn take(&mut self, path: &str) -> Option<(Arc<str>, Node)> {
        let (path, node) = self.nodes.swap_remove_entry(path)?;
        if let Some(image) = &mut self.image {
            image.keep(&path, Some(&node), &self.acls);
        }
        self.digest = self.digest.wrapping_sub(node.share());
        self.size -= path_size(&path) + node.data_len() as u64;
        match node.owner() {
            Owner::Persistent => {}
            Owner::Session(session) => {
                let paths =
                    self.ephemerals.get_mut(&session).expect("an ephemeral is in its session's index");
                paths.remove(&path);
                if paths.is_empty() {
                    self.ephemerals.remove(&session);
                }
            }
            Owner::Container | Owner::Ttl(_) => {
                self.reaped.remove(&path);
            }
        }
        Some((path, node))
    }

    /// Changes a node in place, keeping its digest and an image right. The ACL's use is the caller's to mind.
    fn update<R>(&mut self, path: &str, change: impl FnOnce(&Arc<str>, &mut Node) -> R) -> Option<R> {
        let (_, path, node) = self.nodes.get_full_mut(key(path))?;
        if let Some(image) = &mut self.image {
            image.keep(path, Some(node), &self.acls);
        }
        let (share, len) = (node.share(), node.data_len() as u64);
        let result = change(path, node);
        node.refresh(path);
        self.digest = self.digest.wrapping_sub(share).wrapping_add(node.share());
        self.size = self.size - len + node.data_len() as u64;
        Some(result)
    }
}

/// The tree's own copy of bytes: what it keeps for long must not hold on to the frame or file that it came in.
fn own(data: Bytes) -> Bytes {
    Bytes::copy_from_slice(&data)
}
