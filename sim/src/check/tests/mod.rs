//! Good traces that must pass and bad ones that must not, at least one a rule. Traces are made by a toy server: the core's
//! tree behind a few lines of request handling, so that the model is also held against the tree.

mod java;
mod mutations;
mod rules;
mod searching;
mod trio;
mod voting;
mod watching;

use super::*;
use crate::history::{Call, HandleState, Image, Restored, Setup, Who};
use bytes::Bytes;
use std::net::IpAddr;
use zebu_core::boundary::{Conn, Event, RoleName, Vouch};
use zebu_core::id::{Epoch, ServerId, SessionId};
use zebu_core::proto::{
    Acl, CreateKind, CreateMode, CreateOp, CreateRequest, CreateTxn, ErrorCode, EventKind, LoggedTxn,
    OpResult, Request, Response, Txn, TxnHeader,
};
use zebu_core::time::Millis;
use zebu_core::tree::{Applied, Tree};

pub(super) const SERVER: ServerId = ServerId(1);
const TIMEOUT: i32 = 4000;
pub(super) const MS: u64 = 1_000_000;
/// What wall clocks show when a trace begins.
pub(super) const WALL: Millis = Millis(1_700_000_000_000);

/// A server, its clients and their history, all in one.
pub(super) struct Toy {
    pub(super) h: History,
    tree: Tree,
    pub(super) zxid: Zxid,
    pub(super) now: Time,
    conns: u64,
    /// By handle.
    pub(super) sessions: Vec<(SessionId, Conn)>,
    /// The disk syncs what it is told to.
    pub(super) image: bool,
    /// By handle: the server that it connects to next.
    pub(super) homes: Vec<ServerId>,
    /// Of an ensemble.
    nodes: Vec<trio::Node>,
    leader: ServerId,
}

pub(super) type Outcome = Result<Response, ErrorCode>;

impl Toy {
    pub(super) fn new() -> Toy {
        let mut toy = Toy {
            h: History::default(),
            tree: Tree::new(0),
            zxid: Zxid::ZERO,
            now: Time(MS),
            conns: 0,
            sessions: Vec::new(),
            image: true,
            homes: Vec::new(),
            nodes: Vec::new(),
            leader: SERVER,
        };
        if trio::is_ensemble() {
            toy.begin_ensemble();
            return toy;
        }
        toy.push(Entry::Clock { server: SERVER, mono: Time(0), wall: WALL, ppm: 0 });
        toy.push(Entry::Restart { server: SERVER, incarnation: 0 });
        toy.h.recovered(toy.now, SERVER, restored(Zxid::ZERO, toy.tree.digest()), []);
        toy.event(Event::Vouched(Vouch::Recovered(Zxid::ZERO)));
        toy.event(Event::Became(RoleName::Standalone));
        toy
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.now.0 += MS;
        self.h.push(self.now, entry);
    }

    pub(super) fn event(&mut self, event: Event) {
        self.event_at(SERVER, event);
    }

    /// The server that a handle is connected to.
    fn home(&self, who: Who) -> ServerId {
        self.homes[usize::from(who.handle)]
    }

    pub(super) fn open(&mut self) -> Who {
        let peer = IpAddr::from([10, 0, 0, self.sessions.len() as u8 + 1]);
        let setup = Setup { peer, timeout_ms: TIMEOUT, auth: Vec::new() };
        let who = self.h.open(self.now, self.sessions.len() as u16, setup);
        let session = SessionId(0x100 + i64::from(who.handle));
        self.sessions.push((session, Conn(0)));
        self.homes.push(SERVER);
        self.commit(session, Txn::CreateSession { timeout: TIMEOUT });
        self.connect(who, false);
        who
    }

    pub(super) fn connect(&mut self, who: Who, reattached: bool) {
        self.conns += 1;
        let conn = Conn(self.conns);
        let session = self.session(who);
        self.sessions[usize::from(who.handle)].1 = conn;
        self.event_at(self.home(who), Event::SessionAttached { session, conn, reattached });
        let state =
            HandleState::Connected { conn, session, timeout_ms: TIMEOUT, reattached, read_only: false };
        self.push(Entry::State { who, state });
    }

    pub(super) fn state(&mut self, who: Who, state: HandleState) {
        self.push(Entry::State { who, state });
    }

    pub(super) fn session(&self, who: Who) -> SessionId {
        self.sessions[usize::from(who.handle)].0
    }

    pub(super) fn conn(&self, who: Who) -> Conn {
        self.sessions[usize::from(who.handle)].1
    }

    /// What the wall clock shows when the next thing happens.
    pub(super) fn time(&self) -> i64 {
        WALL.0 + (self.now.0 / MS) as i64 - 1
    }

    /// The body of the next transaction, and what it does to the tree.
    pub(super) fn log(&mut self, session: SessionId, txn: Txn) -> (Bytes, Applied) {
        self.zxid = self.zxid.next();
        let header = TxnHeader { session, cxid: 0, zxid: self.zxid, time: self.time() };
        let applied = self.tree.apply(&header, &txn, &mut Vec::new());
        let digest = (!matches!(txn, Txn::Error { .. })).then_some(self.tree.digest());
        let mut body = Vec::new();
        LoggedTxn { header, txn, digest }.encode(&mut body);
        (Bytes::from(body), applied)
    }

    /// A transaction's whole way: durable, vouched, committed, applied.
    pub(super) fn commit(&mut self, session: SessionId, txn: Txn) -> Applied {
        let (body, applied) = self.log(session, txn);
        let (zxid, digest) = (self.zxid, self.tree.digest());
        if !self.nodes.is_empty() {
            self.replicate(zxid, &body);
            self.commit_everywhere(zxid, &body);
            return applied;
        }
        if self.image {
            self.push(Entry::Image { server: SERVER, image: Image { last: zxid, ..Image::default() } });
        }
        self.event(Event::Vouched(Vouch::OwnAck(zxid)));
        self.event(Event::Committed { zxid, txn: body });
        self.event(Event::Applied { zxid, digest });
        applied
    }

    pub(super) fn invoke(&mut self, who: Who, request: Request) -> Call {
        self.now.0 += MS;
        let call = self.h.invoke(self.now, who, request);
        let (conn, server) = (self.conn(who), self.home(who));
        self.push(Entry::Taken { server, conn, sure: true });
        call
    }

    pub(super) fn ret(&mut self, who: Who, call: Call, zxid: Zxid, result: Outcome) {
        self.now.0 += MS;
        let conn = Some(self.conn(who));
        self.h.ret(self.now, who, call, conn, zxid, result);
    }

    pub(super) fn lose(&mut self, who: Who, call: Call) {
        self.now.0 += MS;
        self.h.ret(self.now, who, call, None, Zxid::NONE, Err(ErrorCode::ConnectionLoss));
    }

    pub(super) fn notify(&mut self, who: Who, zxid: Zxid, kind: EventKind, path: &str) {
        self.now.0 += MS;
        self.h.notify(self.now, who, self.conn(who), zxid, kind, path.to_owned());
    }

    /// What the server does with a request: its zxid and answer.
    pub(super) fn serve(&mut self, who: Who, request: &Request) -> (Zxid, Outcome) {
        let session = self.session(who);
        let outcome = match request {
            Request::Multi(parts) => Ok(Response::Multi(self.multi(session, parts))),
            Request::Create(_) | Request::Delete { .. } | Request::SetData { .. } => {
                match self.prepare(request) {
                    Err(code) => {
                        self.commit(session, Txn::Error { err: code.code() });
                        Err(code)
                    }
                    Ok(txn) => {
                        let applied = self.commit(session, txn.clone());
                        Ok(answer(&txn, &applied))
                    }
                }
            }
            Request::CloseSession => {
                let paths = Some(self.tree.ephemerals(session).map(str::to_owned).collect());
                self.commit(session, Txn::CloseSession { paths });
                Ok(Response::Empty)
            }
            read => self.read(session, read),
        };
        (self.zxid, outcome)
    }

    fn prepare(&self, request: &Request) -> Result<Txn, ErrorCode> {
        match request {
            Request::Create(c) => {
                let mode = CreateMode::from_int(c.flags).expect("the toy knows its modes");
                let at = c.path.rfind('/').expect("the toy's paths are good");
                let parent = self.tree.get(&c.path[..at]).ok_or(ErrorCode::NoNode)?;
                let creates = parent.stat.cversion;
                let path =
                    if mode.is_sequential() { format!("{}{creates:010}", c.path) } else { c.path.clone() };
                if self.tree.get(&path).is_some() {
                    return Err(ErrorCode::NodeExists);
                }
                Ok(Txn::Create(CreateTxn {
                    kind: match c.op {
                        CreateOp::Container => CreateKind::Container,
                        CreateOp::Ttl(ms) => CreateKind::Ttl(ms),
                        CreateOp::Create | CreateOp::Create2 => CreateKind::Node {
                            ephemeral: mode.is_ephemeral(),
                            create2: c.op == CreateOp::Create2,
                        },
                    },
                    path,
                    data: c.data.clone(),
                    acl: c.acl.clone().expect("the toy's lists are good"),
                    parent_cversion: creates + 1,
                }))
            }
            Request::Delete { path, version } => {
                let node = self.tree.get(path).ok_or(ErrorCode::NoNode)?;
                if *version != -1 && *version != node.stat.version {
                    return Err(ErrorCode::BadVersion);
                }
                if !node.children.is_empty() {
                    return Err(ErrorCode::NotEmpty);
                }
                Ok(Txn::Delete { path: path.clone() })
            }
            Request::SetData { path, data, version } => {
                let node = self.tree.get(path).ok_or(ErrorCode::NoNode)?;
                if *version != -1 && *version != node.stat.version {
                    return Err(ErrorCode::BadVersion);
                }
                let version = node.stat.version + 1;
                Ok(Txn::SetData { path: path.clone(), data: data.clone(), version })
            }
            other => panic!("the toy does not do {other:?}"),
        }
    }

    /// Parts must not depend on each other.
    fn multi(&mut self, session: SessionId, parts: &[Request]) -> Vec<OpResult> {
        let prepared: Vec<Result<Txn, ErrorCode>> = parts.iter().map(|p| self.prepare(p)).collect();
        let culprit = prepared.iter().position(Result::is_err);
        let Some(culprit) = culprit else {
            let txns: Vec<Txn> = prepared.into_iter().flatten().collect();
            let Applied::Multi(applied) = self.commit(session, Txn::Multi(txns.clone())) else {
                panic!("a multi answers as one")
            };
            let result = |(txn, applied): (&Txn, &Applied)| match answer(txn, applied) {
                Response::Path(path) => OpResult::Create(path),
                Response::PathStat { path, stat } => OpResult::Create2 { path, stat },
                Response::Stat(stat) => OpResult::SetData(stat),
                _ => OpResult::Delete,
            };
            return txns.iter().zip(&applied).map(result).collect();
        };
        let code = |n: usize| match n.cmp(&culprit) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => prepared[culprit].as_ref().err().copied(),
            std::cmp::Ordering::Greater => Some(ErrorCode::RuntimeInconsistency),
        };
        let errors: Vec<Option<ErrorCode>> = (0..parts.len()).map(code).collect();
        let txns = errors.iter().map(|e| Txn::Error { err: e.map_or(0, ErrorCode::code) });
        self.commit(session, Txn::Multi(txns.collect()));
        errors.into_iter().map(OpResult::Error).collect()
    }

    fn read(&self, session: SessionId, request: &Request) -> Outcome {
        match request {
            Request::Exists { path, .. } => self.tree.stat(path).map(Response::Stat).ok_or(ErrorCode::NoNode),
            Request::GetData { path, .. } => {
                let node = self.tree.get(path).ok_or(ErrorCode::NoNode)?;
                Ok(Response::Data { data: node.data.clone(), stat: node.stat() })
            }
            Request::GetChildren2 { path, .. } => {
                let node = self.tree.get(path).ok_or(ErrorCode::NoNode)?;
                let children = node.children.iter().map(str::to_owned).collect();
                Ok(Response::Children2 { children, stat: node.stat() })
            }
            Request::Sync { path } => Ok(Response::Sync { path: path.clone() }),
            Request::AddWatch { .. } => Ok(Response::AddWatch),
            Request::RemoveWatches { .. } | Request::CheckWatches { .. } => Ok(Response::Empty),
            Request::GetEphemerals { .. } => {
                Ok(Response::Ephemerals(self.tree.ephemerals(session).map(str::to_owned).collect()))
            }
            Request::GetAllChildrenNumber { path } => {
                let n = self.tree.descendants(path).ok_or(ErrorCode::NoNode)?;
                Ok(Response::Count(n as i32))
            }
            other => panic!("the toy does not do {other:?}"),
        }
    }

    /// Call, service and return in one.
    pub(super) fn call(&mut self, who: Who, request: Request) -> Zxid {
        let call = self.invoke(who, request.clone());
        let (zxid, outcome) = self.serve(who, &request);
        self.ret(who, call, zxid, outcome);
        zxid
    }

    pub(super) fn end(&mut self) {
        self.push(Entry::Phase(Phase::Healed));
        self.push(Entry::Phase(Phase::End));
    }
}

/// A recovery whose tree holds all of the history.
pub(super) fn restored(last: Zxid, digest: u64) -> Restored {
    Restored { last, tree: last, digest, accepted: Epoch(0), current: Epoch(0) }
}

fn answer(txn: &Txn, applied: &Applied) -> Response {
    match (txn, applied) {
        (Txn::Create(c), Applied::Stat(stat)) => match c.kind {
            CreateKind::Node { create2: false, .. } => Response::Path(c.path.clone()),
            _ => Response::PathStat { path: c.path.clone(), stat: *stat },
        },
        (_, Applied::Stat(stat)) => Response::Stat(*stat),
        (_, Applied::Nothing) => Response::Empty,
        (_, other) => panic!("{other:?} is no success"),
    }
}

pub(super) fn create(path: &str, data: &str, mode: CreateMode) -> Request {
    Request::Create(CreateRequest {
        op: CreateOp::Create2,
        path: path.to_owned(),
        data: Some(Bytes::copy_from_slice(data.as_bytes())),
        acl: Some(vec![Acl::open()]),
        flags: mode as i32,
    })
}
pub(super) fn node(path: &str) -> Request {
    create(path, "x", CreateMode::Persistent)
}
pub(super) fn set(path: &str, data: &str) -> Request {
    let data = Some(Bytes::copy_from_slice(data.as_bytes()));
    Request::SetData { path: path.to_owned(), data, version: -1 }
}
pub(super) fn delete(path: &str) -> Request {
    Request::Delete { path: path.to_owned(), version: -1 }
}
pub(super) fn get(path: &str, watch: bool) -> Request {
    Request::GetData { path: path.to_owned(), watch }
}
pub(super) fn exists(path: &str) -> Request {
    Request::Exists { path: path.to_owned(), watch: true }
}
pub(super) fn children(path: &str, watch: bool) -> Request {
    Request::GetChildren2 { path: path.to_owned(), watch }
}
pub(super) fn sync() -> Request {
    Request::Sync { path: Some("/".to_owned()) }
}

pub(super) fn limits() -> Limits {
    let ensemble = trio::is_ensemble().then(trio::config);
    let (server_id, tick_ms, min_session_timeout_ms) = (SERVER, 1000, 2000);
    let extended_types = true;
    let config =
        Config { server_id, tick_ms, min_session_timeout_ms, extended_types, ensemble, ..Config::default() };
    let touch_lag = if trio::is_ensemble() { Span::from_millis(300) } else { Span::ZERO };
    Limits { expiry_slack: Span::from_millis(100), touch_lag, ..Limits::of(config) }
}

pub(super) fn judge(h: &History) -> Vec<Violation> {
    Checker::new().run(h, &limits()).to_vec()
}

/// The trace is fine.
#[track_caller]
pub(super) fn good(toy: &Toy) {
    let found = judge(&toy.h);
    assert!(found.is_empty(), "{}", found.iter().map(|v| format!("{v}\n")).collect::<String>());
    // The toy's sessions expire when a test wants it.
    let mut seen = Checker::new().run_for_clients(&toy.h, &limits()).to_vec();
    seen.retain(|v| v.rule != Rule::E2);
    assert_eq!(seen, []);
}

/// The trace breaks this rule first.
#[track_caller]
pub(super) fn bad(toy: &Toy, rule: Rule) {
    let found = judge(&toy.h);
    let rules: Vec<Rule> = found.iter().map(|v| v.rule).collect();
    assert!(rules.contains(&rule), "{rule} must be broken, but: {found:#?}");
}
