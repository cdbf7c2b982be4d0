//! Reads, answered from the applied tree, and the results of committed writes. Answers to `FinalRequestProcessor`.

use super::Base;
use crate::acl;
use crate::auth;
use crate::boundary::Conn;
use crate::id::Zxid;
use crate::proto::{
    AddWatchMode, ClientInfo, CreateKind, ErrorCode, EventKind, OpResult, Request, Response, SetWatches, Txn,
    perms,
};
use crate::tree::{Applied, Node};
use crate::watch::WatchKind;

/// Answers a request that changes nothing in the tree. Watches are set as asked.
pub(super) fn read(base: &mut Base, id: Conn, request: &Request) -> Result<Response, ErrorCode> {
    match request {
        Request::Exists { path, watch } => exists(base, id, path, *watch),
        Request::GetData { path, watch } => {
            let node = readable(base, id, path)?;
            let response = Response::Data { data: node.data.clone(), stat: node.stat() };
            watch_if(base, id, path, *watch, WatchKind::Data);
            Ok(response)
        }
        Request::GetChildren { path, watch } => {
            let response = Response::Children(names(readable(base, id, path)?));
            watch_if(base, id, path, *watch, WatchKind::Child);
            Ok(response)
        }
        Request::GetChildren2 { path, watch } => {
            let node = readable(base, id, path)?;
            let response = Response::Children2 { children: names(node), stat: node.stat() };
            watch_if(base, id, path, *watch, WatchKind::Child);
            Ok(response)
        }
        Request::GetAcl { path } => get_acl(base, id, path),
        Request::GetAllChildrenNumber { path } => {
            readable(base, id, path)?;
            let n = base.tree.descendants(path).expect("the node has just been read");
            Ok(Response::Count(i32::try_from(n).unwrap_or(i32::MAX)))
        }
        Request::MultiRead(ops) => {
            Ok(Response::Multi(ops.iter().map(|op| one_of_many(base, id, op)).collect()))
        }
        Request::Sync { path } => Ok(Response::Sync { path: path.clone() }),
        // Of a local session: what is left to do follows the reply.
        Request::Ping | Request::CloseSession => Ok(Response::Empty),
        Request::CheckWatches { path, kind } => match base.watches.contains(id, path, *kind) {
            true => Ok(Response::Empty),
            false => Err(ErrorCode::NoWatcher),
        },
        Request::RemoveWatches { path, kind } => match base.watches.remove(id, path, *kind) {
            true => Ok(Response::Empty),
            false => Err(ErrorCode::NoWatcher),
        },
        Request::AddWatch { path, mode } => {
            let kind = match mode {
                AddWatchMode::Persistent => WatchKind::Persistent,
                AddWatchMode::PersistentRecursive => WatchKind::Recursive,
            };
            base.watches.add(id, path.as_deref().unwrap_or_default(), kind);
            Ok(Response::AddWatch)
        }
        Request::SetWatches(watches) | Request::SetWatches2(watches) => {
            set_watches(base, id, watches);
            Ok(Response::Empty)
        }
        Request::GetEphemerals { prefix } => {
            Ok(Response::Ephemerals(ephemerals(base, id, prefix.as_deref())))
        }
        Request::WhoAmI => Ok(Response::WhoAmI(who_am_i(base, id))),
        Request::Create(_)
        | Request::Delete { .. }
        | Request::SetData { .. }
        | Request::SetAcl { .. }
        | Request::Multi(_)
        | Request::Reconfig { .. }
        | Request::Check { .. }
        | Request::DeleteContainer { .. }
        | Request::Auth { .. }
        | Request::Sasl { .. } => unreachable!("not a read: {:?}", request.op()),
    }
}

/// The node, if this connection may read it.
fn readable<'a>(base: &'a Base, id: Conn, path: &str) -> Result<&'a Node, ErrorCode> {
    let node = base.tree.get(path).ok_or(ErrorCode::NoNode)?;
    match acl::allowed(base.config.skip_acl, base.tree.acl(node), perms::READ, base.ids(id)) {
        true => Ok(node),
        false => Err(ErrorCode::NoAuth),
    }
}

fn watch_if(base: &mut Base, id: Conn, path: &str, watch: bool, kind: WatchKind) {
    if watch {
        base.watches.add(id, path, kind);
    }
}

fn exists(base: &mut Base, id: Conn, path: &str, watch: bool) -> Result<Response, ErrorCode> {
    if path.contains('\0') {
        return Err(ErrorCode::BadArguments);
    }
    let result = match readable(base, id, path) {
        Err(ErrorCode::NoAuth) => return Err(ErrorCode::NoAuth),
        Ok(node) => Ok(Response::Stat(node.stat())),
        Err(missing) => Err(missing),
    };
    // On a missing node too: the watch waits for its creation.
    watch_if(base, id, path, watch, WatchKind::Data);
    result
}

fn get_acl(base: &Base, id: Conn, path: &str) -> Result<Response, ErrorCode> {
    let node = base.tree.get(path).ok_or(ErrorCode::NoNode)?;
    let list = base.tree.acl(node);
    let acl = match base.config.skip_acl {
        true => list.to_vec(),
        false => acl::mask(list, base.ids(id))?,
    };
    Ok(Response::Acl { acl, stat: node.stat() })
}

fn names(node: &Node) -> Vec<String> {
    node.children.iter().map(|c| c.to_string()).collect()
}

/// One operation of a multiRead: no watch is set, whatever its flag says.
fn one_of_many(base: &Base, id: Conn, op: &Request) -> OpResult {
    let result = match op {
        Request::GetData { path, .. } => readable(base, id, path)
            .map(|node| OpResult::GetData { data: node.data.clone(), stat: node.stat() }),
        Request::GetChildren { path, .. } => {
            readable(base, id, path).map(|node| OpResult::GetChildren(names(node)))
        }
        other => unreachable!("not part of a multiRead: {:?}", other.op()),
    };
    result.unwrap_or_else(|code| OpResult::Error(Some(code)))
}

/// Watches that a client wants back: what has changed since its last zxid fires at once instead. Nothing here is
/// filtered by ACL, as in Java.
fn set_watches(base: &mut Base, id: Conn, watches: &SetWatches) {
    let since = watches.relative_zxid;
    for path in &watches.data {
        let fires = match base.tree.get(path) {
            None => Some(EventKind::NodeDeleted),
            Some(node) => (node.stat.mzxid > since).then_some(EventKind::NodeDataChanged),
        };
        fire_or_add(base, id, path, fires, WatchKind::Data);
    }
    for path in &watches.exist {
        let fires = base.tree.get(path).map(|_| EventKind::NodeCreated);
        fire_or_add(base, id, path, fires, WatchKind::Data);
    }
    for path in &watches.child {
        let fires = match base.tree.get(path) {
            None => Some(EventKind::NodeDeleted),
            Some(node) => (node.stat.pzxid > since).then_some(EventKind::NodeChildrenChanged),
        };
        fire_or_add(base, id, path, fires, WatchKind::Child);
    }
    for path in &watches.persistent {
        base.watches.add(id, path, WatchKind::Persistent);
    }
    for path in &watches.recursive {
        base.watches.add(id, path, WatchKind::Recursive);
    }
}

fn fire_or_add(base: &mut Base, id: Conn, path: &str, fires: Option<EventKind>, kind: WatchKind) {
    match fires {
        None => base.watches.add(id, path, kind),
        Some(event) => {
            if let Some(conn) = base.conns.get_mut(id) {
                conn.notify(Zxid::NONE, event, path);
                base.stats.sent += 1;
            }
        }
    }
}

fn ephemerals(base: &Base, id: Conn, prefix: Option<&str>) -> Vec<String> {
    let Some(session) = base.conns.get(id).and_then(|c| c.session()) else { return Vec::new() };
    let prefix = match prefix {
        None | Some("/") => "",
        Some(p) if p.trim().is_empty() => "",
        Some(p) => p,
    };
    base.tree.ephemerals(session).filter(|p| p.starts_with(prefix)).map(str::to_owned).collect()
}

fn who_am_i(base: &Base, id: Conn) -> Vec<ClientInfo> {
    base.ids(id).iter().map(|id| ClientInfo { scheme: id.scheme.clone(), user: auth::user(id) }).collect()
}

/// A leader's transaction that does not fit the tree of this server, or says what no client may ask for. Our own always fit:
/// they are made against the tree.
const INCONSISTENT: ErrorCode = ErrorCode::RuntimeInconsistency;

/// What the client is told of its committed write.
pub(super) fn write_result(txn: &Txn, applied: Applied) -> Result<Response, ErrorCode> {
    match (txn, applied) {
        (Txn::Error { err }, _) => Err(ErrorCode::from_code(*err).unwrap_or(INCONSISTENT)),
        (Txn::Multi(txns), Applied::Multi(results)) => {
            assert_eq!(txns.len(), results.len(), "one result for each operation");
            Ok(Response::Multi(txns.iter().zip(results).map(|(t, r)| op_result(t, r)).collect()))
        }
        (Txn::Multi(txns), _) => {
            Ok(Response::Multi(txns.iter().map(|t| op_result(t, Applied::Nothing)).collect()))
        }
        (Txn::Create(c), Applied::Stat(stat)) => Ok(match c.kind {
            CreateKind::Node { create2: false, .. } => Response::Path(c.path.clone()),
            CreateKind::Node { create2: true, .. } | CreateKind::Container | CreateKind::Ttl(_) => {
                Response::PathStat { path: c.path.clone(), stat }
            }
        }),
        (Txn::SetData { .. } | Txn::SetAcl { .. }, Applied::Stat(stat)) => Ok(Response::Stat(stat)),
        (Txn::Reconfig { data, .. }, Applied::Stat(stat)) => Ok(Response::Data { data: data.clone(), stat }),
        (Txn::Delete { .. }, _) => Ok(Response::Empty),
        _ => Err(INCONSISTENT),
    }
}

fn op_result(txn: &Txn, applied: Applied) -> OpResult {
    match (txn, applied) {
        // Of a failed multi; a Java leader leaves what stood before the culprit as it was asked.
        (_, Applied::Failed(err)) => OpResult::Error(ErrorCode::from_code(err)),
        (Txn::Error { err }, _) => OpResult::Error(ErrorCode::from_code(*err)),
        (Txn::Create(c), Applied::Stat(stat)) => match c.kind {
            CreateKind::Node { create2: false, .. } => OpResult::Create(c.path.clone()),
            CreateKind::Node { create2: true, .. } | CreateKind::Container | CreateKind::Ttl(_) => {
                OpResult::Create2 { path: c.path.clone(), stat }
            }
        },
        (Txn::SetData { .. }, Applied::Stat(stat)) => OpResult::SetData(stat),
        (Txn::Delete { .. }, _) => OpResult::Delete,
        (Txn::Check { .. }, _) => OpResult::Check,
        _ => OpResult::Error(Some(INCONSISTENT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionId;
    use crate::proto::TxnHeader;
    use crate::tree::Tree;

    /// As a Java leader makes it: what stood before the culprit is no error in the transaction.
    #[test]
    fn a_failed_multi_of_a_java_leader() {
        let parts = vec![
            Txn::Delete { path: "/a".to_owned() },
            Txn::Check { path: "/".to_owned(), version: 0 },
            Txn::Error { err: ErrorCode::BadVersion.code() },
            Txn::Error { err: ErrorCode::RuntimeInconsistency.code() },
        ];
        let txn = Txn::Multi(parts);
        let header = TxnHeader { session: SessionId(1), cxid: 1, zxid: Zxid(1), time: 0 };
        let applied = Tree::new(0).apply(&header, &txn, &mut Vec::new());
        let codes = [None, None, Some(ErrorCode::BadVersion), Some(ErrorCode::RuntimeInconsistency)];
        let want = codes.map(OpResult::Error).to_vec();
        assert_eq!(write_result(&txn, applied), Ok(Response::Multi(want)));
    }
}
