//! The half of a client that applications hold.

use super::wait::{Call, Events, Outcome, Settle, Watcher};
use super::{Command, Line, What};
use crate::proto::{
    Acl, AddWatchMode, ClientInfo, CreateMode, CreateOp, CreateRequest, ErrorCode, OpResult, Request,
    Response, Stat, WatcherType,
};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

/// A session, for as many tasks as want it. When the last handle, call and watcher are dropped, the session is closed.
///
/// A version of -1 means any. Data may be null (`None`), which is not the same as empty.
#[derive(Clone)]
pub struct Handle {
    line: Arc<Line>,
}

/// A multi of which nothing was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MultiFailed {
    /// Index of the operation that failed.
    pub at: usize,
    /// Why it did.
    pub code: ErrorCode,
}

impl fmt::Display for MultiFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at operation {}", self.code, self.at)
    }
}
impl std::error::Error for MultiFailed {}

const BY_OPCODE: &str = "a response is decoded as its request's opcode says";

impl Handle {
    pub(super) fn new(line: Arc<Line>) -> Handle {
        Handle { line }
    }

    /// Creates a node and answers its path, which has a number appended if the mode is sequential.
    pub fn create(&self, path: &str, data: Option<Bytes>, acl: Vec<Acl>, mode: CreateMode) -> Call<String> {
        let op = if mode == CreateMode::Container { CreateOp::Container } else { CreateOp::Create };
        self.call(create(op, path, data, acl, mode), |result| {
            let (Response::Path(path) | Response::PathStat { path, .. }) = result? else {
                unreachable!("{BY_OPCODE}")
            };
            Ok(path)
        })
    }

    /// Creates a node and answers its path and stat.
    pub fn create2(
        &self,
        path: &str,
        data: Option<Bytes>,
        acl: Vec<Acl>,
        mode: CreateMode,
    ) -> Call<(String, Stat)> {
        let op = if mode == CreateMode::Container { CreateOp::Container } else { CreateOp::Create2 };
        self.call(create(op, path, data, acl, mode), |result| path_stat(result?))
    }

    /// Creates a node that goes when it has no children and was not modified for `ttl_ms`.
    pub fn create_ttl(
        &self,
        path: &str,
        data: Option<Bytes>,
        acl: Vec<Acl>,
        mode: CreateMode,
        ttl_ms: i64,
    ) -> Call<(String, Stat)> {
        self.call(create(CreateOp::Ttl(ttl_ms), path, data, acl, mode), |result| path_stat(result?))
    }

    /// Deletes a node without children.
    pub fn delete(&self, path: &str, version: i32) -> Call<()> {
        self.call(Request::Delete { path: path.to_owned(), version }, |result| result.map(drop))
    }

    /// A node's stat; `None` if there is no such node.
    pub fn exists(&self, path: &str) -> Call<Option<Stat>> {
        self.call(Request::Exists { path: path.to_owned(), watch: false }, found)
    }

    /// The same, and a watch that fires when the node is created, deleted or set.
    pub fn exists_and_watch(&self, path: &str) -> Call<(Option<Stat>, Watcher)> {
        self.watch(Request::Exists { path: path.to_owned(), watch: true }, |result, watcher| {
            Ok((found(result)?, watcher))
        })
    }

    /// A node's data and stat.
    pub fn get_data(&self, path: &str) -> Call<(Option<Bytes>, Stat)> {
        self.call(Request::GetData { path: path.to_owned(), watch: false }, |result| data(result?))
    }

    /// The same, and a watch that fires when the node is deleted or set.
    pub fn get_data_and_watch(&self, path: &str) -> Call<(Option<Bytes>, Stat, Watcher)> {
        self.watch(Request::GetData { path: path.to_owned(), watch: true }, |result, watcher| {
            data(result?).map(|(data, stat)| (data, stat, watcher))
        })
    }

    /// Sets a node's data.
    pub fn set_data(&self, path: &str, data: Option<Bytes>, version: i32) -> Call<Stat> {
        self.call(Request::SetData { path: path.to_owned(), data, version }, |result| stat(result?))
    }

    /// The names of a node's children, in no order, and its stat.
    pub fn get_children(&self, path: &str) -> Call<(Vec<String>, Stat)> {
        self.call(Request::GetChildren2 { path: path.to_owned(), watch: false }, |result| children(result?))
    }

    /// The same, and a watch that fires when a child comes or goes, or the node itself goes.
    pub fn get_children_and_watch(&self, path: &str) -> Call<(Vec<String>, Stat, Watcher)> {
        self.watch(Request::GetChildren2 { path: path.to_owned(), watch: true }, |result, watcher| {
            children(result?).map(|(names, stat)| (names, stat, watcher))
        })
    }

    /// A node's ACL and stat.
    pub fn get_acl(&self, path: &str) -> Call<(Vec<Acl>, Stat)> {
        self.call(Request::GetAcl { path: path.to_owned() }, |result| {
            let Response::Acl { acl, stat } = result? else { unreachable!("{BY_OPCODE}") };
            Ok((acl, stat))
        })
    }

    /// Sets a node's ACL. The version is the stat's `aversion`.
    pub fn set_acl(&self, path: &str, acl: Vec<Acl>, version: i32) -> Call<Stat> {
        let request = Request::SetAcl { path: path.to_owned(), acl: Some(acl), version };
        self.call(request, |result| stat(result?))
    }

    /// Does all of it or nothing. The operations are create, delete, setData and check requests.
    pub fn multi(&self, ops: Vec<Request>) -> Call<Result<Vec<OpResult>, MultiFailed>> {
        self.call(Request::Multi(ops), |result| {
            let results = results(result?);
            // What follows the culprit has a code of its own, what is before it none.
            let culprit = results.iter().enumerate().find_map(|(at, result)| match result {
                OpResult::Error(Some(code)) => Some(MultiFailed { at, code: *code }),
                OpResult::Error(None)
                | OpResult::Create(_)
                | OpResult::Create2 { .. }
                | OpResult::Delete
                | OpResult::SetData(_)
                | OpResult::Check
                | OpResult::GetData { .. }
                | OpResult::GetChildren(_) => None,
            });
            Ok(culprit.map_or(Ok(results), Err))
        })
    }

    /// Several reads of one state. Each has its own result. They are getData and getChildren requests.
    pub fn multi_read(&self, ops: Vec<Request>) -> Call<Vec<OpResult>> {
        self.call(Request::MultiRead(ops), |result| result.map(results))
    }

    /// After this, reads see whatever was done before it anywhere.
    pub fn sync(&self, path: &str) -> Call<()> {
        self.call(Request::Sync { path: Some(path.to_owned()) }, |result| result.map(drop))
    }

    /// Watches a node, or everything from it on, until the watcher is dropped.
    pub fn add_watch(&self, path: &str, mode: AddWatchMode) -> Call<Watcher> {
        self.watch(Request::AddWatch { path: Some(path.to_owned()), mode }, |result, watcher| {
            result.map(|_| watcher)
        })
    }

    /// Is such a watch set on this connection?
    pub fn check_watches(&self, path: &str, kind: WatcherType) -> Call<()> {
        self.call(Request::CheckWatches { path: path.to_owned(), kind }, |result| result.map(drop))
    }

    /// Removes every such watch of this client; their watchers end with an event that says so.
    pub fn remove_watches(&self, path: &str, kind: WatcherType) -> Call<()> {
        self.call(Request::RemoveWatches { path: path.to_owned(), kind }, |result| result.map(drop))
    }

    /// The same without asking a server, which may still send an event then; it will be ignored.
    pub fn forget_watches(&self, path: &str, kind: WatcherType) {
        self.line.send(Command::Forget { path: path.to_owned(), kind });
    }

    /// The paths of this session's ephemeral nodes that begin with `prefix`.
    pub fn get_ephemerals(&self, prefix: &str) -> Call<Vec<String>> {
        self.call(Request::GetEphemerals { prefix: Some(prefix.to_owned()) }, |result| {
            let Response::Ephemerals(paths) = result? else { unreachable!("{BY_OPCODE}") };
            Ok(paths)
        })
    }

    /// How many nodes there are below a node.
    pub fn get_all_children_number(&self, path: &str) -> Call<i32> {
        self.call(Request::GetAllChildrenNumber { path: path.to_owned() }, |result| {
            let Response::Count(n) = result? else { unreachable!("{BY_OPCODE}") };
            Ok(n)
        })
    }

    /// Who the server takes this client for.
    pub fn who_am_i(&self) -> Call<Vec<ClientInfo>> {
        self.call(Request::WhoAmI, |result| {
            let Response::WhoAmI(ids) = result? else { unreachable!("{BY_OPCODE}") };
            Ok(ids)
        })
    }

    /// Adds a credential; it is sent again on every new connection. A refused one ends the session.
    pub fn add_auth(&self, scheme: &str, auth: Bytes) -> Call<()> {
        let request = Request::Auth { scheme: Some(scheme.to_owned()), auth: Some(auth) };
        self.call(request, |result| result.map(drop))
    }

    /// The ensemble's configuration. No chroot hides it.
    pub fn get_config(&self) -> Call<(Option<Bytes>, Stat)> {
        self.make(What::Config { watch: false }, |result| data(result?))
    }

    /// The same, and a watch that fires when it changes.
    pub fn get_config_and_watch(&self) -> Call<(Option<Bytes>, Stat, Watcher)> {
        self.make_watching(What::Config { watch: true }, |result, watcher| {
            data(result?).map(|(data, stat)| (data, stat, watcher))
        })
    }

    /// Changes the ensemble; answers the new configuration. A `config_id` of -1 means any.
    pub fn reconfig(
        &self,
        joining: Option<String>,
        leaving: Option<String>,
        new_members: Option<String>,
        config_id: i64,
    ) -> Call<(Option<Bytes>, Stat)> {
        let request = Request::Reconfig { joining, leaving, new_members, config_id };
        self.call(request, |result| data(result?))
    }

    /// What happens to the session from here on, its present state first.
    pub fn events(&self) -> Events {
        let id = self.line.id();
        let (events, feed) = Events::new(id, self.line.clone());
        self.line.send(Command::Events { id, feed });
        events
    }

    /// Ends the session. The outcome is an error if the server may not know of it; the client is over in any case.
    pub fn close(&self) -> Call<()> {
        self.make(What::Close, |result| result.map(drop))
    }

    fn call<T>(&self, request: Request, settle: fn(Outcome) -> Result<T, ErrorCode>) -> Call<T> {
        self.make(What::Request(request), settle)
    }

    fn watch<T>(&self, request: Request, settle: fn(Outcome, Watcher) -> Result<T, ErrorCode>) -> Call<T> {
        self.make_watching(What::Request(request), settle)
    }

    fn make<T>(&self, what: What, settle: fn(Outcome) -> Result<T, ErrorCode>) -> Call<T> {
        let id = self.line.id();
        let (reply, outcome) = sync_channel(1);
        self.line.send(Command::Call { id, what, reply, watch: None });
        Call::new(id, self.line.clone(), outcome, Settle::Plain(settle))
    }

    fn make_watching<T>(&self, what: What, settle: fn(Outcome, Watcher) -> Result<T, ErrorCode>) -> Call<T> {
        let id = self.line.id();
        let (reply, outcome) = sync_channel(1);
        let (watcher, feed) = Watcher::new(id, self.line.clone());
        self.line.send(Command::Call { id, what, reply, watch: Some(feed) });
        Call::new(id, self.line.clone(), outcome, Settle::Watching(settle, watcher))
    }
}

fn create(op: CreateOp, path: &str, data: Option<Bytes>, acl: Vec<Acl>, mode: CreateMode) -> Request {
    Request::Create(CreateRequest { op, path: path.to_owned(), data, acl: Some(acl), flags: mode as i32 })
}

fn found(outcome: Outcome) -> Result<Option<Stat>, ErrorCode> {
    match outcome {
        Err(ErrorCode::NoNode) => Ok(None),
        other => stat(other?).map(Some),
    }
}

fn stat(response: Response) -> Result<Stat, ErrorCode> {
    let Response::Stat(stat) = response else { unreachable!("{BY_OPCODE}") };
    Ok(stat)
}

fn path_stat(response: Response) -> Result<(String, Stat), ErrorCode> {
    let Response::PathStat { path, stat } = response else { unreachable!("{BY_OPCODE}") };
    Ok((path, stat))
}

fn data(response: Response) -> Result<(Option<Bytes>, Stat), ErrorCode> {
    let Response::Data { data, stat } = response else { unreachable!("{BY_OPCODE}") };
    Ok((data, stat))
}

fn children(response: Response) -> Result<(Vec<String>, Stat), ErrorCode> {
    let Response::Children2 { children, stat } = response else { unreachable!("{BY_OPCODE}") };
    Ok((children, stat))
}

fn results(response: Response) -> Vec<OpResult> {
    let Response::Multi(results) = response else { unreachable!("{BY_OPCODE}") };
    results
}
