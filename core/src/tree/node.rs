//! One znode, and its share of the tree's digest. Answers to `DataNode` and `DigestCalculator`.

use super::aclmap::Place;
use crate::path;
use crate::proto::{Owner, Stat, StatPersisted};
use bytes::Bytes;
use crc32fast::Hasher;
use std::collections::{BTreeSet, btree_set};
use std::ops::Bound;
use std::sync::Arc;

/// A znode.
#[derive(Clone, Debug)]
pub struct Node {
    /// Null and empty differ.
    pub data: Option<Bytes>,
    /// What is stored beside it.
    pub stat: StatPersisted,
    /// Names of the children.
    pub children: Children,
    pub(super) acl: Place,
    /// CRC of path and data: a change of the stat alone, as of a parent, does not read them again.
    head: u32,
    /// Its share of the digest: the CRC of all, or 0.
    share: u32,
}

impl Node {
    pub(super) fn new(path: &str, data: Option<Bytes>, stat: StatPersisted, acl: Place) -> Node {
        let mut node = Node { head: 0, share: 0, data: None, stat, children: Children::default(), acl };
        node.set_data(path, data);
        node.refresh(path);
        node
    }

    /// What the wire shows.
    pub fn stat(&self) -> Stat {
        let children = self.children.len() as i32;
        let s = &self.stat;
        Stat {
            czxid: s.czxid,
            mzxid: s.mzxid,
            ctime: s.ctime,
            mtime: s.mtime,
            version: s.version,
            cversion: s.cversion.wrapping_mul(2).wrapping_sub(children),
            aversion: s.aversion,
            ephemeral_owner: self.owner().on_the_wire(),
            data_length: self.data_len() as i32,
            num_children: children,
            pzxid: s.pzxid,
        }
    }

    /// Whether and how it goes by itself. TTL nodes are seen as such whatever extendedTypesEnabled says: Java without it
    /// takes them for ephemerals of a session that does not exist, and deletes them.
    pub fn owner(&self) -> Owner {
        Owner::from_stored(self.stat.ephemeral_owner, true)
    }

    pub(super) fn data_len(&self) -> usize {
        self.data.as_ref().map_or(0, Bytes::len)
    }

    pub(super) fn set_data(&mut self, path: &str, data: Option<Bytes>) {
        self.data = data;
        self.head = head(path, self.data.as_deref());
    }

    /// Brings its share of the digest up to date after any change.
    pub(super) fn refresh(&mut self, path: &str) {
        self.share = if counts(path) { share(self.head, &self.stat) } else { 0 };
    }

    /// Its share of the tree's digest.
    pub fn share(&self) -> u64 {
        u64::from(self.share)
    }
}

/// A node's share of the tree's digest (version 2): 0 for what lies below /zookeeper. The digest is the wrapping sum of all.
pub fn node_digest(path: &str, data: Option<&[u8]>, stat: &StatPersisted) -> u64 {
    if counts(path) { u64::from(share(head(path, data), stat)) } else { 0 }
}

fn counts(path: &str) -> bool {
    !path.starts_with("/zookeeper/")
}

fn head(path: &str, data: Option<&[u8]>) -> u32 {
    let mut crc = Hasher::new();
    crc.update(path.as_bytes());
    crc.update(data.unwrap_or_default());
    crc.finalize()
}

fn share(head: u32, s: &StatPersisted) -> u32 {
    let mut bytes = [0; 60];
    let longs = [s.czxid.0, s.mzxid.0, s.pzxid.0, s.ctime, s.mtime];
    for (to, v) in bytes.chunks_exact_mut(8).zip(longs) {
        to.copy_from_slice(&v.to_be_bytes());
    }
    for (to, v) in bytes[40..].chunks_exact_mut(4).zip([s.version, s.cversion, s.aversion]) {
        to.copy_from_slice(&v.to_be_bytes());
    }
    bytes[52..].copy_from_slice(&s.ephemeral_owner.to_be_bytes());
    let mut crc = Hasher::new_with_initial(head);
    crc.update(&bytes);
    crc.finalize()
}

/// The children of a node, sorted. Keeps their whole paths, shared with the tree's table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Children(BTreeSet<Arc<str>>);

impl Children {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Their names, sorted.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        // Siblings' names begin at the same place.
        let at = self.0.first().map_or(0, |p| p.len() - path::name(p).len());
        self.0.iter().map(move |p| &p[at..])
    }
    pub(super) fn insert(&mut self, path: Arc<str>) -> bool {
        self.0.insert(path)
    }
    pub(super) fn remove(&mut self, path: &str) -> bool {
        self.0.remove(path)
    }
    /// Their paths, those after `path` only if one is given.
    pub(super) fn after(&self, path: Option<&str>) -> btree_set::Range<'_, Arc<str>> {
        let from = path.map_or(Bound::Unbounded, Bound::Excluded);
        self.0.range::<str, _>((from, Bound::Unbounded))
    }
}
