//! What the tree will look like once everything proposed is applied: the changes in flight, over the tree. Answers to
//! `ZooKeeperServer.outstandingChanges` and `PrecalculatedDigest`. Knows no request and no session.

use crate::id::Zxid;
use crate::proto::{Acl, StatPersisted};
use crate::tree::{Tree, node_digest};
use bytes::Bytes;
use foldhash::fast::FixedState;
use indexmap::IndexMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// A node as it will be.
#[derive(Clone, Debug)]
pub(super) struct PendingNode {
    pub(super) stat: StatPersisted,
    pub(super) children: usize,
    pub(super) acl: Arc<[Acl]>,
    pub(super) data: Option<Bytes>,
}

/// The latest change of a path in flight.
#[derive(Debug)]
struct Change {
    zxid: Zxid,
    /// `None`: it will be gone.
    node: Option<PendingNode>,
    digest: u64,
}

/// All changes in flight. A request's changes are journaled until [`Outstanding::keep`] or [`Outstanding::undo`], so that
/// a failing multi leaves nothing behind.
#[derive(Debug)]
pub(super) struct Outstanding {
    changes: IndexMap<Arc<str>, Change, FixedState>,
    order: VecDeque<(Zxid, Arc<str>)>,
    journal: Vec<(Arc<str>, Option<Change>)>,
    /// Of the tree with everything in flight applied.
    digest: u64,
    digest_kept: u64,
}

impl Outstanding {
    /// Nothing in flight over a tree of this digest.
    pub(super) fn new(digest: u64) -> Outstanding {
        Outstanding {
            changes: IndexMap::default(),
            order: VecDeque::new(),
            journal: Vec::new(),
            digest,
            digest_kept: digest,
        }
    }

    /// The digest of the tree once everything so far is applied.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    /// The node as it will be; `None`: there will be none. The root is "/".
    pub(super) fn node(&self, tree: &Tree, path: &str) -> Option<PendingNode> {
        let path = if path.is_empty() { "/" } else { path };
        if let Some(change) = self.changes.get(path) {
            return change.node.clone();
        }
        tree.get(path).map(|node| PendingNode {
            stat: node.stat,
            children: node.children.len(),
            acl: Arc::clone(tree.acl(node)),
            data: node.data.clone(),
        })
    }

    /// Records what `path` will be after `zxid`.
    pub(super) fn set(&mut self, tree: &Tree, path: &str, zxid: Zxid, node: Option<PendingNode>) {
        let path: Arc<str> = if path.is_empty() { "/".into() } else { path.into() };
        let counted = if &*path == "/" { "" } else { &path };
        let before = match self.changes.get(&path) {
            Some(change) => change.digest,
            None => tree.get(&path).map_or(0, |n| n.share()),
        };
        let digest = node.as_ref().map_or(0, |n| node_digest(counted, n.data.as_deref(), &n.stat));
        self.digest = self.digest.wrapping_sub(before).wrapping_add(digest);
        let previous = self.changes.insert(Arc::clone(&path), Change { zxid, node, digest });
        self.journal.push((path, previous));
    }

    /// The request's changes stand.
    pub(super) fn keep(&mut self) {
        self.digest_kept = self.digest;
        for (path, _) in self.journal.drain(..) {
            let zxid = self.changes[&path].zxid;
            self.order.push_back((zxid, path));
        }
    }

    /// The request failed: as if it had never been looked at.
    pub(super) fn undo(&mut self) {
        self.digest = self.digest_kept;
        while let Some((path, previous)) = self.journal.pop() {
            match previous {
                Some(change) => self.changes.insert(path, change),
                None => self.changes.swap_remove(&path),
            };
        }
    }

    /// Everything up to `zxid` is in the tree now.
    pub(super) fn applied(&mut self, zxid: Zxid) {
        while self.order.front().is_some_and(|(z, _)| *z <= zxid) {
            let (z, path) = self.order.pop_front().expect("looked at just now");
            if self.changes.get(&path).is_some_and(|c| c.zxid == z) {
                self.changes.swap_remove(&path);
            }
        }
    }

    /// Paths of ephemerals of `owner` among the changes in flight, and of those that will be gone: (path, will exist).
    pub(super) fn ephemerals_of(&self, owner: i64) -> impl Iterator<Item = (&str, bool)> {
        self.changes.iter().map(move |(path, change)| {
            (&**path, change.node.as_ref().is_some_and(|n| n.stat.ephemeral_owner == owner))
        })
    }
}
