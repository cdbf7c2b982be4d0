//! The depth-first walk over a tree, from any point of it.

use super::node::Children;
use super::{Node, Tree};
use std::collections::btree_set;
use std::iter::Peekable;
use std::sync::Arc;

/// Nodes in the order of [`crate::path::cmp`]: parents before children, siblings sorted.
pub(super) struct Walk<'a> {
    tree: &'a Tree,
    /// What is left of the children of the node on the way and of its ancestors, deepest last.
    stack: Vec<btree_set::Range<'a, Arc<str>>>,
    root: bool,
}

impl<'a> Walk<'a> {
    /// Everything.
    pub(super) fn whole(tree: &'a Tree) -> Walk<'a> {
        Walk { tree, stack: Vec::new(), root: true }
    }

    /// What comes after `path`, whether or not that exists.
    pub(super) fn after(tree: &'a Tree, path: &str) -> Walk<'a> {
        let mut stack = Vec::new();
        // Ancestors that are gone have no children left.
        let mut push = |of: &str, after: Option<&str>| {
            if let Some(node) = tree.get(of) {
                stack.push(node.children.after(after));
            }
        };
        let slashes: Vec<usize> = path.match_indices('/').map(|(i, _)| i).collect();
        for (n, start) in slashes.iter().enumerate() {
            let end = slashes.get(n + 1).copied().unwrap_or(path.len());
            push(&path[..*start], Some(&path[..end]));
        }
        push(path, None);
        Walk { tree, stack, root: false }
    }

    /// What lies below `path`.
    pub(super) fn below(tree: &'a Tree, children: &'a Children) -> Walk<'a> {
        Walk { tree, stack: vec![children.after(None)], root: false }
    }

    pub(super) fn peekable(self) -> Peekable<Walk<'a>> {
        Iterator::peekable(self)
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = (&'a Arc<str>, &'a Node);
    fn next(&mut self) -> Option<Self::Item> {
        let path = if std::mem::take(&mut self.root) {
            ""
        } else {
            loop {
                match self.stack.last_mut()?.next() {
                    Some(path) => break path,
                    None => drop(self.stack.pop()),
                }
            }
        };
        let (_, path, node) = self.tree.nodes.get_full(path).expect("a child that its parent lists exists");
        if !node.children.is_empty() {
            self.stack.push(node.children.after(None));
        }
        Some((path, node))
    }
}
