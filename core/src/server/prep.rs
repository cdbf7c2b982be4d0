//! From a write request to a transaction: every check of ZooKeeper, against the tree and what is in flight. After this
//! nothing can fail. Answers to `PrepRequestProcessor.pRequest2Txn`. Knows no connection and no clock.

use super::outstanding::{Outstanding, PendingNode};
use super::reaper::is_garbage;
use super::reconfig::CONFIG_NODE;
use crate::acl;
use crate::config::Config;
use crate::id::{SessionId, Zxid};
use crate::path;
use crate::proto::{
    CreateKind, CreateMode, CreateOp, CreateRequest, CreateTxn, ErrorCode, Id, MAX_TTL, Owner, Request,
    StatPersisted, Txn, TxnHeader, perms,
};
use crate::tree::Tree;
use std::sync::Arc;

/// One request being prepared.
pub(super) struct Prep<'a> {
    pub(super) config: &'a Config,
    pub(super) tree: &'a Tree,
    pub(super) outstanding: &'a mut Outstanding,
    pub(super) header: TxnHeader,
    /// Identities of the connection that asked.
    pub(super) ids: &'a [Id],
}

impl Prep<'_> {
    /// The transaction of a write; an error transaction if a check fails, with nothing left in flight.
    pub(super) fn write(mut self, request: &Request) -> Txn {
        let done = match request {
            Request::Multi(ops) => Ok(self.multi(ops)),
            single => self.one(single),
        };
        match done {
            Ok(txn) if !txn.is_failed() => {
                self.outstanding.keep();
                txn
            }
            Ok(failed) => {
                self.outstanding.undo();
                failed
            }
            Err(code) => {
                self.outstanding.undo();
                Txn::Error { err: code.code() }
            }
        }
    }

    /// The end of a session: its ephemerals go with it, those in flight too.
    pub(super) fn close_session(mut self, session: SessionId) -> Txn {
        let owned = |p: &&str| {
            self.outstanding.node(self.tree, p).is_some_and(|n| n.stat.ephemeral_owner == session.0)
        };
        let mut paths: Vec<String> = self.tree.ephemerals(session).filter(owned).map(str::to_owned).collect();
        let in_flight = self.outstanding.ephemerals_of(session.0).filter(|(_, exists)| *exists);
        paths.extend(in_flight.map(|(p, _)| p.to_owned()));
        paths.sort_unstable();
        paths.dedup();
        for path in &paths {
            let parent_path = parent_of(path).expect("a node's path has a parent");
            let parent = self.node(parent_path).expect("a node's parent exists");
            self.remove_from(parent_path, parent, path);
        }
        self.outstanding.keep();
        Txn::CloseSession { paths: Some(paths) }
    }

    fn multi(&mut self, ops: &[Request]) -> Txn {
        let mut txns = Vec::with_capacity(ops.len());
        for (i, op) in ops.iter().enumerate() {
            match self.one(op) {
                Ok(txn) => txns.push(txn),
                Err(code) => {
                    let err = |at: usize| match at.cmp(&i) {
                        std::cmp::Ordering::Less => 0,
                        std::cmp::Ordering::Equal => code.code(),
                        std::cmp::Ordering::Greater => ErrorCode::RuntimeInconsistency.code(),
                    };
                    return Txn::Multi((0..ops.len()).map(|at| Txn::Error { err: err(at) }).collect());
                }
            }
        }
        Txn::Multi(txns)
    }

    fn one(&mut self, request: &Request) -> Result<Txn, ErrorCode> {
        match request {
            Request::Create(c) => self.create(c),
            Request::Delete { path, version } => self.delete(path, *version),
            Request::DeleteContainer { path } => self.delete_container(path),
            Request::SetData { path, data, version } => self.set_data(path, data.as_ref(), *version),
            Request::SetAcl { path, acl, version } => self.set_acl(path, acl.as_deref(), *version),
            Request::Check { path, version } => self.check(path, *version),
            // A leader makes the configuration first, see [`Prep::reconfig`].
            Request::Reconfig { .. } => Err(ErrorCode::ReconfigDisabled),
            other => unreachable!("not a write: {:?}", other.op()),
        }
    }

    fn node(&self, path: &str) -> Result<PendingNode, ErrorCode> {
        self.outstanding.node(self.tree, path).ok_or(ErrorCode::NoNode)
    }

    fn permit(&self, node: &PendingNode, perm: i32) -> Result<(), ErrorCode> {
        match acl::allowed(self.config.skip_acl, &node.acl, perm, self.ids) {
            true => Ok(()),
            false => Err(ErrorCode::NoAuth),
        }
    }

    fn set(&mut self, path: &str, node: Option<PendingNode>) {
        self.outstanding.set(self.tree, path, self.header.zxid, node);
    }

    fn create(&mut self, c: &CreateRequest) -> Result<Txn, ErrorCode> {
        let (mode, kind) = self.create_kind(c)?;
        let parent_path = parent_of(&c.path)?;
        let acl = acl::fix_up(c.acl.as_deref(), self.ids)?;
        let mut parent = self.node(parent_path)?;
        self.permit(&parent, perms::CREATE)?;
        let counter = parent.stat.cversion;
        let path = if mode.is_sequential() { format!("{}{counter:010}", c.path) } else { c.path.clone() };
        path::validate(&path).map_err(|_| ErrorCode::BadArguments)?;
        if self.outstanding.node(self.tree, &path).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if let Owner::Session(_) = Owner::from_stored(parent.stat.ephemeral_owner, self.config.extended_types)
        {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }

        let zxid = self.header.zxid;
        let parent_cversion = counter.wrapping_add(1);
        parent.children += 1;
        // The tree takes only a larger counter: at 2^31 - 1 it sticks, and what is predicted here must stick with it.
        if parent_cversion > counter {
            parent.stat.cversion = parent_cversion;
            parent.stat.pzxid = zxid;
        }
        self.set(parent_path, Some(parent));
        let node = PendingNode {
            stat: new_stat(zxid, self.header.time, self.owner(kind)),
            children: 0,
            acl: Arc::from(acl.as_slice()),
            data: c.data.clone(),
        };
        self.set(&path, Some(node));
        Ok(Txn::Create(CreateTxn { kind, path, data: c.data.clone(), acl, parent_cversion }))
    }

    /// Flags and TTL. The opcode decides what kind of node it is, the flags decide sequence, ephemerality and the checks.
    fn create_kind(&self, c: &CreateRequest) -> Result<(CreateMode, CreateKind), ErrorCode> {
        let mode = CreateMode::from_int(c.flags).ok_or(ErrorCode::BadArguments)?;
        if mode.is_ttl() && !self.config.extended_types {
            return Err(ErrorCode::Unimplemented);
        }
        let ttl = match c.op {
            CreateOp::Ttl(ttl) => ttl,
            CreateOp::Create | CreateOp::Create2 | CreateOp::Container => -1,
        };
        if if mode.is_ttl() { !(1..=MAX_TTL).contains(&ttl) } else { ttl >= 0 } {
            return Err(ErrorCode::BadArguments);
        }
        let kind = match c.op {
            CreateOp::Create => CreateKind::Node { ephemeral: mode.is_ephemeral(), create2: false },
            CreateOp::Create2 => CreateKind::Node { ephemeral: mode.is_ephemeral(), create2: true },
            CreateOp::Container => CreateKind::Container,
            CreateOp::Ttl(ttl) if mode.is_ttl() => CreateKind::Ttl(ttl),
            CreateOp::Ttl(_) => return Err(ErrorCode::BadArguments),
        };
        Ok((mode, kind))
    }

    fn owner(&self, kind: CreateKind) -> Owner {
        match kind {
            CreateKind::Node { ephemeral: true, .. } => Owner::Session(self.header.session),
            CreateKind::Node { ephemeral: false, .. } => Owner::Persistent,
            CreateKind::Container => Owner::Container,
            CreateKind::Ttl(ttl) => Owner::Ttl(ttl),
        }
    }

    fn delete(&mut self, path: &str, version: i32) -> Result<Txn, ErrorCode> {
        let parent_path = parent_of(path)?;
        if path::special(path) {
            return Err(ErrorCode::BadArguments);
        }
        let parent = self.node(parent_path)?;
        self.permit(&parent, perms::DELETE)?;
        let node = self.node(path)?;
        next_version(node.stat.version, version)?;
        if node.children > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        self.remove_from(parent_path, parent, path);
        Ok(Txn::Delete { path: path.to_owned() })
    }

    /// The server's own delete of an empty container or an expired TTL node. It was found a while ago: whoever has used it since
    /// keeps it. Java deletes a TTL node all the same.
    fn delete_container(&mut self, path: &str) -> Result<Txn, ErrorCode> {
        let parent_path = parent_of(path)?;
        if path::special(path) {
            return Err(ErrorCode::BadArguments);
        }
        let (parent, node) = (self.node(parent_path)?, self.node(path)?);
        if node.children > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        if !is_garbage(&node.stat, node.children, self.header.time, self.config) {
            return Err(ErrorCode::BadVersion);
        }
        self.remove_from(parent_path, parent, path);
        Ok(Txn::DeleteContainer { path: path.to_owned() })
    }

    fn remove_from(&mut self, parent_path: &str, mut parent: PendingNode, path: &str) {
        parent.children -= 1;
        parent.stat.pzxid = parent.stat.pzxid.max(self.header.zxid);
        self.set(parent_path, Some(parent));
        self.set(path, None);
    }

    fn set_data(&mut self, path: &str, data: Option<&bytes::Bytes>, version: i32) -> Result<Txn, ErrorCode> {
        path::validate(path).map_err(|_| ErrorCode::BadArguments)?;
        let mut node = self.node(path)?;
        self.permit(&node, perms::WRITE)?;
        let version = next_version(node.stat.version, version)?;
        node.stat.version = version;
        node.stat.mzxid = self.header.zxid;
        node.stat.mtime = self.header.time;
        node.data = data.cloned();
        self.set(path, Some(node));
        Ok(Txn::SetData { path: path.to_owned(), data: data.cloned(), version })
    }

    /// The transaction of a configuration that has been found good. The permission is asked for last.
    pub(super) fn reconfig(mut self, text: &str) -> Txn {
        let permitted = self.node(CONFIG_NODE).and_then(|node| {
            self.permit(&node, perms::WRITE)?;
            Ok(node)
        });
        let mut node = match permitted {
            Ok(node) => node,
            Err(code) => return Txn::Error { err: code.code() },
        };
        let data = Some(bytes::Bytes::copy_from_slice(text.as_bytes()));
        // As Java has it: the node's version says nothing, the text's does.
        let version = -1;
        node.stat.version = version;
        node.stat.mzxid = self.header.zxid;
        node.stat.mtime = self.header.time;
        node.data = data.clone();
        self.set(CONFIG_NODE, Some(node));
        self.outstanding.keep();
        Txn::Reconfig { path: CONFIG_NODE.to_owned(), data, version }
    }

    fn set_acl(
        &mut self,
        path: &str,
        acl: Option<&[crate::proto::Acl]>,
        version: i32,
    ) -> Result<Txn, ErrorCode> {
        path::validate(path).map_err(|_| ErrorCode::BadArguments)?;
        let acl = acl::fix_up(acl, self.ids)?;
        let mut node = self.node(path)?;
        self.permit(&node, perms::ADMIN)?;
        let version = next_version(node.stat.aversion, version)?;
        node.stat.aversion = version;
        node.acl = Arc::from(acl.as_slice());
        self.set(path, Some(node));
        Ok(Txn::SetAcl { path: path.to_owned(), acl, version })
    }

    fn check(&mut self, path: &str, version: i32) -> Result<Txn, ErrorCode> {
        path::validate(path).map_err(|_| ErrorCode::BadArguments)?;
        let node = self.node(path)?;
        self.permit(&node, perms::READ)?;
        Ok(Txn::Check { path: path.to_owned(), version: next_version(node.stat.version, version)? })
    }
}

/// The parent's path as Java cuts it: the text before the last "/"; no "/" at all, or a NUL, is a bad argument.
fn parent_of(path: &str) -> Result<&str, ErrorCode> {
    match path.rfind('/') {
        Some(_) if path.contains('\0') => Err(ErrorCode::BadArguments),
        Some(0) => Ok("/"),
        Some(at) => Ok(&path[..at]),
        None => Err(ErrorCode::BadArguments),
    }
}

/// The version after a change that expects `expected` (-1: any). Wraps, as Java's int does.
fn next_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    if expected != -1 && expected != current {
        return Err(ErrorCode::BadVersion);
    }
    Ok(current.wrapping_add(1))
}

fn new_stat(zxid: Zxid, time: i64, owner: Owner) -> StatPersisted {
    StatPersisted {
        czxid: zxid,
        mzxid: zxid,
        pzxid: zxid,
        ctime: time,
        mtime: time,
        ephemeral_owner: owner.to_stored(),
        ..StatPersisted::default()
    }
}
