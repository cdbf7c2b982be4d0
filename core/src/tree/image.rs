//! The image of a tree at one moment, written in slices while transactions go on. ZooKeeper's snapshots are fuzzy; ours are not.
//!
//! A cursor walks the tree in the order of [`path::cmp`]. Whoever is about to change a node ahead of the cursor first keeps
//! its old version aside, or a mark that there was none; the walk merges the two.

use super::aclmap::AclMap;
use super::walk::Walk;
use super::{Node, Tree};
use crate::id::Zxid;
use crate::jute::Write;
use crate::path;
use crate::proto::{Acl, StatPersisted};
use bytes::{Bytes, BytesMut};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a snapshot needs beside the nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageStart {
    /// The ACL table, by key.
    pub acls: Vec<(i64, Arc<[Acl]>)>,
    /// The last transaction in it.
    pub zxid: Zxid,
    /// The tree's digest.
    pub digest: u64,
}

/// An image on its way.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    /// The last path written; `None`: not even the root.
    cursor: Option<Arc<str>>,
    aside: BTreeMap<WalkOrder, Option<Old>>,
}

/// A node as it was.
#[derive(Clone, Debug)]
struct Old {
    data: Option<Bytes>,
    acl_key: i64,
    stat: StatPersisted,
}

/// A path, ordered as the walk meets it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct WalkOrder(Arc<str>);
impl Ord for WalkOrder {
    fn cmp(&self, other: &WalkOrder) -> Ordering {
        path::cmp(&self.0, &other.0)
    }
}
impl PartialOrd for WalkOrder {
    fn partial_cmp(&self, other: &WalkOrder) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a node costs of a slice's budget beyond its bytes, those that are only skipped too.
const STEP_COST: usize = 64;

impl Image {
    /// To be called before a change of `path`: `node` as it still is, `None` if it is about to be created.
    pub(super) fn keep(&mut self, path: &Arc<str>, node: Option<&Node>, acls: &AclMap) {
        if self.cursor.as_ref().is_some_and(|cursor| path::cmp(path, cursor).is_le()) {
            return;
        }
        self.aside.entry(WalkOrder(path.clone())).or_insert_with(|| {
            node.map(|n| Old { data: n.data.clone(), acl_key: acls.key(n.acl), stat: n.stat })
        });
    }
}

impl Tree {
    /// Starts an image of the tree as it is now. There is one at a time.
    pub fn image_begin(&mut self) -> ImageStart {
        assert!(self.image.is_none(), "one image at a time");
        self.image = Some(Image::default());
        ImageStart { acls: self.acls.table(), zxid: self.last_zxid, digest: self.digest }
    }

    /// Gives the image up, or forgets a finished one.
    pub fn image_drop(&mut self) {
        self.image = None;
    }

    /// Appends nodes as a snapshot file holds them, about `max_bytes` of them and at least one; true: that was the last, and
    /// the image is over.
    pub fn image_slice(&mut self, max_bytes: usize, out: &mut BytesMut) -> bool {
        let mut image = self.image.take().expect("an image was begun");
        let finished = image.slice(self, max_bytes, out);
        if !finished {
            self.image = Some(image);
        }
        finished
    }
}

impl Image {
    fn slice(&mut self, tree: &Tree, max_bytes: usize, out: &mut BytesMut) -> bool {
        let mut walk = match &self.cursor {
            None => Walk::whole(tree),
            Some(cursor) => Walk::after(tree, cursor),
        }
        .peekable();
        let end = out.len() + max_bytes;
        let mut steps = 0;
        while out.len() + steps * STEP_COST < end || steps == 0 {
            let live = walk.peek().copied();
            let aside = self.aside.first_key_value().map(|(path, _)| path);
            let order = match (live, aside) {
                (None, None) => return true,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((path, _)), Some(aside)) => path::cmp(path, &aside.0),
            };
            if order.is_le() {
                walk.next();
            }
            let path = match live {
                Some((path, node)) if order.is_lt() => {
                    write(out, path, node.data.as_deref(), tree.acls.key(node.acl), &node.stat);
                    path.clone()
                }
                _ => {
                    let (path, old) = self.aside.pop_first().expect("seen above");
                    if let Some(old) = old {
                        write(out, &path.0, old.data.as_deref(), old.acl_key, &old.stat);
                    }
                    path.0
                }
            };
            self.cursor = Some(path);
            steps += 1;
        }
        walk.peek().is_none() && self.aside.is_empty()
    }
}

fn write(out: &mut BytesMut, path: &str, data: Option<&[u8]>, acl_key: i64, stat: &StatPersisted) {
    out.string(path);
    out.buffer(data);
    out.long(acl_key);
    stat.encode(out);
}
