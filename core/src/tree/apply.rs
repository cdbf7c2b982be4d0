//! The effect of a transaction. Answers to `DataTree.processTxn`.
//!
//! The same rules serve the log's replay over a snapshot that holds any part of the effects already (Java's are fuzzy): what
//! does not fit is no error, versions are absolute, counters only rise, and a delete takes whatever is there.

use super::{Node, Tree, own};
use crate::id::Zxid;
use crate::path;
use crate::proto::{Acl, CreateKind, CreateTxn, ErrorCode, Owner, Stat, StatPersisted, Txn, TxnHeader};
use bytes::Bytes;
use std::sync::Arc;

/// A change of one node, with what watches need to know of that moment. That a create or delete changes the parent's
/// children goes without saying.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A node came to be.
    Created {
        /// Its path.
        path: Arc<str>,
        /// Its ACL.
        acl: Arc<[Acl]>,
        /// Its parent's.
        parent_acl: Arc<[Acl]>,
    },
    /// A node went.
    Deleted {
        /// Its path.
        path: Arc<str>,
        /// The ACL that it had.
        acl: Arc<[Acl]>,
        /// Its parent's.
        parent_acl: Arc<[Acl]>,
    },
    /// A node's data was set; the root's path is "/" here.
    DataChanged {
        /// Its path.
        path: Arc<str>,
        /// Its ACL.
        acl: Arc<[Acl]>,
    },
}

/// What came of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Applied {
    /// Done, with nothing to tell: delete, check, sessions.
    Nothing,
    /// create, setData, setACL, reconfig: the node after it.
    Stat(Stat),
    /// One of each part. Of a failed multi every part is [`Applied::Failed`].
    Multi(Vec<Applied>),
    /// An error transaction's code; 0 and RuntimeInconsistency around the culprit of a multi.
    Failed(i32),
    /// It did not fit the tree. Only a replay over a fuzzy snapshot gets here.
    Missing(ErrorCode),
}

impl Tree {
    /// Applies a transaction and appends what changed.
    pub fn apply(&mut self, header: &TxnHeader, txn: &Txn, changes: &mut Vec<Change>) -> Applied {
        let applied = self.apply_part(header, txn, changes);
        self.last_zxid = self.last_zxid.max(header.zxid);
        applied
    }

    fn apply_part(&mut self, header: &TxnHeader, txn: &Txn, changes: &mut Vec<Change>) -> Applied {
        match txn {
            Txn::CreateSession { .. } | Txn::Check { .. } => Applied::Nothing,
            Txn::CloseSession { paths } => {
                self.close_session(header, paths.as_deref().unwrap_or_default(), changes);
                Applied::Nothing
            }
            Txn::Error { err } => Applied::Failed(*err),
            Txn::Create(create) => self.create(header, create, changes),
            Txn::Delete { path } | Txn::DeleteContainer { path } => self.delete(header.zxid, path, changes),
            Txn::SetData { path, data, version } | Txn::Reconfig { path, data, version } => {
                self.set_data(header, path, data.clone(), *version, changes)
            }
            Txn::SetAcl { path, acl, version } => self.set_acl(path, acl, *version),
            Txn::Multi(parts) if txn.is_failed() => Applied::Multi(failed(parts)),
            Txn::Multi(parts) => {
                Applied::Multi(parts.iter().map(|part| self.apply_part(header, part, changes)).collect())
            }
        }
    }

    fn create(&mut self, header: &TxnHeader, create: &CreateTxn, changes: &mut Vec<Change>) -> Applied {
        let Some(parent) = path::parent(&create.path).filter(|_| !path::name(&create.path).is_empty()) else {
            return Applied::Missing(ErrorCode::BadArguments);
        };
        let path: Arc<str> = Arc::from(create.path.as_str());
        let found = self.update(parent, |_, p| {
            let fresh = p.children.insert(path.clone());
            let cversion = match create.parent_cversion {
                -1 if fresh => p.stat.cversion.wrapping_add(1),
                given => given,
            };
            if cversion > p.stat.cversion {
                p.stat.cversion = cversion;
                p.stat.pzxid = header.zxid;
            }
            (fresh, p.acl)
        });
        let Some((fresh, parent_acl)) = found else { return Applied::Missing(ErrorCode::NoNode) };
        let acl = self.acls.intern(&create.acl);
        if !fresh {
            // A fuzzy snapshot may have the node and lack its ACL (ZOOKEEPER-4846).
            let old = self.update(&path, |_, node| std::mem::replace(&mut node.acl, acl));
            self.acls.release(old.expect("a child that its parent lists exists"));
            return Applied::Missing(ErrorCode::NodeExists);
        }
        let owner = match create.kind {
            CreateKind::Node { ephemeral: true, .. } => Owner::Session(header.session),
            CreateKind::Node { ephemeral: false, .. } => Owner::Persistent,
            CreateKind::Container => Owner::Container,
            CreateKind::Ttl(ms) => Owner::Ttl(ms),
        };
        let stat = StatPersisted {
            czxid: header.zxid,
            mzxid: header.zxid,
            ctime: header.time,
            mtime: header.time,
            ephemeral_owner: owner.to_stored(),
            pzxid: header.zxid,
            ..StatPersisted::default()
        };
        let node = Node::new(&path, create.data.clone().map(own), stat, acl);
        let stat = node.stat();
        changes.push(Change::Created {
            path: path.clone(),
            acl: self.acls.get(acl).clone(),
            parent_acl: self.acls.get(parent_acl).clone(),
        });
        self.insert(path, node);
        Applied::Stat(stat)
    }

    fn delete(&mut self, zxid: Zxid, path: &str, changes: &mut Vec<Change>) -> Applied {
        let Some(parent) = path::parent(path).filter(|_| !path::special(path)) else {
            return Applied::Missing(ErrorCode::BadArguments);
        };
        let parent_acl = self.update(parent, |_, p| {
            p.children.remove(path);
            p.stat.pzxid = p.stat.pzxid.max(zxid);
            p.acl
        });
        let Some(parent_acl) = parent_acl else { return Applied::Missing(ErrorCode::NoNode) };
        let Some((path, node)) = self.take(path) else { return Applied::Missing(ErrorCode::NoNode) };
        let parent_acl = self.acls.get(parent_acl).clone();
        self.bury(path, node, parent_acl, changes);
        Applied::Nothing
    }

    /// Tells of a node that was taken out, and takes out what is below it. Only in a replay there is something: children of a
    /// later node of the same path, and the log will bring them again.
    fn bury(&mut self, path: Arc<str>, node: Node, parent_acl: Arc<[Acl]>, changes: &mut Vec<Change>) {
        let mut graves = vec![(path, node, parent_acl)];
        while let Some((path, node, parent_acl)) = graves.pop() {
            let acl = self.acls.get(node.acl).clone();
            self.acls.release(node.acl);
            for child in node.children.after(None) {
                let (path, child) = self.take(child).expect("a child that its parent lists exists");
                graves.push((path, child, acl.clone()));
            }
            changes.push(Change::Deleted { path, acl, parent_acl });
        }
    }

    fn set_data(
        &mut self,
        header: &TxnHeader,
        path: &str,
        data: Option<Bytes>,
        version: i32,
        changes: &mut Vec<Change>,
    ) -> Applied {
        let set = self.update(path, |path, node| {
            node.set_data(path, data.map(own));
            node.stat.version = version;
            node.stat.mzxid = header.zxid;
            node.stat.mtime = header.time;
            (path.clone(), node.acl, node.stat())
        });
        let Some((path, acl, stat)) = set else { return Applied::Missing(ErrorCode::NoNode) };
        let path = if path.is_empty() { Arc::from("/") } else { path };
        changes.push(Change::DataChanged { path, acl: self.acls.get(acl).clone() });
        Applied::Stat(stat)
    }

    fn set_acl(&mut self, path: &str, acl: &[Acl], version: i32) -> Applied {
        let new = self.acls.intern(acl);
        let set = self.update(path, |_, node| {
            node.stat.aversion = version;
            (std::mem::replace(&mut node.acl, new), node.stat())
        });
        match set {
            Some((old, stat)) => {
                self.acls.release(old);
                Applied::Stat(stat)
            }
            None => {
                self.acls.release(new);
                Applied::Missing(ErrorCode::NoNode)
            }
        }
    }

    /// The listed paths go, whoever owns them by now: the list is what the session owned when it closed, and a replay must
    /// end where the first run did. Then what it still owns.
    fn close_session(&mut self, header: &TxnHeader, listed: &[String], changes: &mut Vec<Change>) {
        for path in listed {
            self.delete(header.zxid, path, changes);
        }
        let left: Vec<Arc<str>> =
            self.ephemerals.get(&header.session).into_iter().flatten().cloned().collect();
        for path in left {
            self.delete(header.zxid, &path, changes);
        }
    }
}

/// What each part of a failed multi came to: 0 before the first error, its code, RuntimeInconsistency after it.
fn failed(parts: &[Txn]) -> Vec<Applied> {
    let mut code_of_others = 0;
    let result = |part: &Txn| match part {
        Txn::Error { err } => {
            if *err != 0 {
                code_of_others = ErrorCode::RuntimeInconsistency.code();
            }
            Applied::Failed(*err)
        }
        _ => Applied::Failed(code_of_others),
    };
    parts.iter().map(result).collect()
}
