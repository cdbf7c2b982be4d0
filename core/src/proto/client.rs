//! The client protocol: handshake, request and reply headers, requests and responses of every opcode.
//!
//! A frame is a 4-byte length and a payload. The first payload each way is the handshake; after it requests are
//! {int xid, int type} + record and replies {int xid, long zxid, int err} + record, the record only if err is 0.

use super::data::{Acl, AddWatchMode, Stat, WatcherType};
use super::multi::{self, OpResult};
use crate::id::{SessionId, Xid, Zxid};
use crate::jute::{Bad, Reader, Write};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// First frame of a client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConnectRequest {
    /// 0; servers ignore it.
    pub protocol_version: i32,
    /// Highest zxid the client has seen in a reply.
    pub last_zxid_seen: Zxid,
    /// Requested session timeout, ms.
    pub timeout: i32,
    /// 0 asks for a new session.
    pub session: SessionId,
    /// 16 bytes for a known session; anything, null too, for a new one.
    pub password: Option<Bytes>,
    /// `None`: the byte was not sent (3.3-era clients, go-zk); the answer must omit it then.
    pub read_only: Option<bool>,
}

impl ConnectRequest {
    /// Writes the payload.
    pub fn encode(&self, w: &mut impl Write) {
        w.int(self.protocol_version);
        w.long(self.last_zxid_seen.0);
        w.int(self.timeout);
        w.long(self.session.0);
        w.buffer(self.password.as_deref());
        if let Some(ro) = self.read_only {
            w.bool(ro);
        }
    }
    /// Reads the payload.
    pub fn decode(r: &mut Reader<'_>) -> Result<ConnectRequest, Bad> {
        Ok(ConnectRequest {
            protocol_version: r.int()?,
            last_zxid_seen: Zxid(r.long()?),
            timeout: r.int()?,
            session: SessionId(r.long()?),
            password: r.buffer()?,
            read_only: if r.is_empty() { None } else { Some(r.bool()?) },
        })
    }
}

/// First frame of a server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConnectResponse {
    /// 0.
    pub protocol_version: i32,
    /// Negotiated timeout, ms; 0: the session is invalid or expired.
    pub timeout: i32,
    /// 0 when invalid.
    pub session: SessionId,
    /// 16 zero bytes when invalid.
    pub password: [u8; 16],
    /// Sent only if the request had the byte.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// "Your session is invalid or expired."
    pub fn invalid(read_only: Option<bool>) -> ConnectResponse {
        ConnectResponse {
            protocol_version: 0,
            timeout: 0,
            session: SessionId::NONE,
            password: [0; 16],
            read_only,
        }
    }
    /// Writes the payload.
    pub fn encode(&self, w: &mut impl Write) {
        w.int(self.protocol_version);
        w.int(self.timeout);
        w.long(self.session.0);
        w.buffer(Some(&self.password));
        if let Some(ro) = self.read_only {
            w.bool(ro);
        }
    }
    /// Reads the payload.
    pub fn decode(r: &mut Reader<'_>) -> Result<ConnectResponse, Bad> {
        Ok(ConnectResponse {
            protocol_version: r.int()?,
            timeout: r.int()?,
            session: SessionId(r.long()?),
            password: {
                let b = r.slice()?.ok_or(Bad::Null)?;
                b.try_into().map_err(|_| Bad::Length(b.len() as i32))?
            },
            read_only: if r.is_empty() { None } else { Some(r.bool()?) },
        })
    }
}

/// In front of every request after the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    /// Echoed in the reply.
    pub xid: Xid,
    /// The operation's number, known or not.
    pub op: i32,
}

impl RequestHeader {
    /// Reads the header.
    pub fn decode(r: &mut Reader<'_>) -> Result<RequestHeader, Bad> {
        Ok(RequestHeader { xid: Xid(r.int()?), op: r.int()? })
    }
    /// Writes the header.
    pub fn encode(&self, w: &mut impl Write) {
        w.int(self.xid.0);
        w.int(self.op);
    }
}

/// In front of every reply and notification after the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyHeader {
    /// The request's, -1 for a notification, -2 for a ping.
    pub xid: Xid,
    /// Of a write: its own; of a read: the last one applied; -1, 0 where no tree was asked.
    pub zxid: Zxid,
    /// 0 or a code of [`super::ErrorCode`].
    pub err: i32,
}

impl ReplyHeader {
    /// Reads the header.
    pub fn decode(r: &mut Reader<'_>) -> Result<ReplyHeader, Bad> {
        Ok(ReplyHeader { xid: Xid(r.int()?), zxid: Zxid(r.long()?), err: r.int()? })
    }
    /// Writes the header.
    pub fn encode(&self, w: &mut impl Write) {
        w.int(self.xid.0);
        w.long(self.zxid.0);
        w.int(self.err);
    }
}

macro_rules! op_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        /// The operations that a client may ask for. Answers to `ZooDefs.OpCode`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[repr(i32)]
        pub enum OpCode { $($(#[$doc])* $name = $code,)* }
        impl OpCode {
            /// Every operation.
            pub const ALL: &[OpCode] = &[$(OpCode::$name,)*];
            /// The operation of a wire number.
            pub fn from_int(v: i32) -> Option<OpCode> {
                match v { $($code => Some(OpCode::$name),)* _ => None }
            }
        }
    };
}

op_codes! {
    /// Create; answers the path.
    Create = 1;
    /// Delete.
    Delete = 2;
    /// Stat of a node.
    Exists = 3;
    /// Data and stat.
    GetData = 4;
    /// Set the data.
    SetData = 5;
    /// ACL and stat.
    GetAcl = 6;
    /// Set the ACL.
    SetAcl = 7;
    /// Names of the children.
    GetChildren = 8;
    /// Catch up with the leader.
    Sync = 9;
    /// Keep the session alive.
    Ping = 11;
    /// Names of the children and stat.
    GetChildren2 = 12;
    /// Version check; only inside a multi.
    Check = 13;
    /// Writes, all or none.
    Multi = 14;
    /// Create; answers path and stat.
    Create2 = 15;
    /// Change the ensemble.
    Reconfig = 16;
    /// Is there such a watch?
    CheckWatches = 17;
    /// Remove such watches.
    RemoveWatches = 18;
    /// Create a container.
    CreateContainer = 19;
    /// The server's own; refused from clients.
    DeleteContainer = 20;
    /// Create a TTL node.
    CreateTtl = 21;
    /// Several reads at one zxid.
    MultiRead = 22;
    /// Add an identity to the connection.
    Auth = 100;
    /// Standard watches again after a reconnect.
    SetWatches = 101;
    /// One step of a SASL exchange.
    Sasl = 102;
    /// Ephemerals of the own session.
    GetEphemerals = 103;
    /// Number of descendants.
    GetAllChildrenNumber = 104;
    /// All watches again after a reconnect.
    SetWatches2 = 105;
    /// Add a persistent watch.
    AddWatch = 106;
    /// Identities of the connection.
    WhoAmI = 107;
    /// End the session.
    CloseSession = -11;
}

/// Which create operation: it decides the transaction and the reply's record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum CreateOp {
    /// 1: the reply is the path.
    Create,
    /// 15: path and stat.
    Create2,
    /// 19: path and stat.
    Container,
    /// 21: path and stat; the request carries a TTL in ms.
    Ttl(i64),
}

/// Fields of create, create2, createContainer and createTTL.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CreateRequest {
    /// Which of the four.
    pub op: CreateOp,
    /// Wanted path; a sequential node gets its number appended.
    pub path: String,
    /// Null and empty differ.
    pub data: Option<Bytes>,
    /// `None`: null.
    pub acl: Option<Vec<Acl>>,
    /// [`CreateMode`] as a number; unknown ones are the server's to refuse.
    pub flags: i32,
}

/// The flags of a create. Answers to `CreateMode`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[repr(i32)]
pub enum CreateMode {
    /// 0
    Persistent = 0,
    /// 1
    Ephemeral = 1,
    /// 2
    PersistentSequential = 2,
    /// 3
    EphemeralSequential = 3,
    /// 4
    Container = 4,
    /// 5
    PersistentWithTtl = 5,
    /// 6
    PersistentSequentialWithTtl = 6,
}

impl CreateMode {
    /// The mode of a wire number.
    pub fn from_int(v: i32) -> Option<CreateMode> {
        Some(match v {
            0 => CreateMode::Persistent,
            1 => CreateMode::Ephemeral,
            2 => CreateMode::PersistentSequential,
            3 => CreateMode::EphemeralSequential,
            4 => CreateMode::Container,
            5 => CreateMode::PersistentWithTtl,
            6 => CreateMode::PersistentSequentialWithTtl,
            _ => return None,
        })
    }
    /// Gets a number appended.
    pub fn is_sequential(self) -> bool {
        matches!(
            self,
            CreateMode::PersistentSequential
                | CreateMode::EphemeralSequential
                | CreateMode::PersistentSequentialWithTtl
        )
    }
    /// Goes with its session.
    pub fn is_ephemeral(self) -> bool {
        matches!(self, CreateMode::Ephemeral | CreateMode::EphemeralSequential)
    }
    /// Has a TTL.
    pub fn is_ttl(self) -> bool {
        matches!(self, CreateMode::PersistentWithTtl | CreateMode::PersistentSequentialWithTtl)
    }
}

/// Watches that a client wants back after a reconnect (101 has the first three vectors, 105 all five).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SetWatches {
    /// The client's last zxid: changes after it fire at once.
    pub relative_zxid: Zxid,
    /// Paths with data watches.
    pub data: Vec<String>,
    /// Paths with exists watches on missing nodes.
    pub exist: Vec<String>,
    /// Paths with child watches.
    pub child: Vec<String>,
    /// Paths with persistent watches.
    pub persistent: Vec<String>,
    /// Paths with persistent recursive watches.
    pub recursive: Vec<String>,
}

impl SetWatches {
    fn decode(r: &mut Reader<'_>, two: bool) -> Result<SetWatches, Bad> {
        let paths = |r: &mut Reader<'_>| r.vector_of(|r| r.string());
        Ok(SetWatches {
            relative_zxid: Zxid(r.long()?),
            data: paths(r)?,
            exist: paths(r)?,
            child: paths(r)?,
            persistent: if two { paths(r)? } else { Vec::new() },
            recursive: if two { paths(r)? } else { Vec::new() },
        })
    }
    fn encode(&self, w: &mut impl Write, two: bool) {
        w.long(self.relative_zxid.0);
        let paths = |w: &mut _, v: &[String]| encode_strings(w, v);
        paths(w, &self.data);
        paths(w, &self.exist);
        paths(w, &self.child);
        if two {
            paths(w, &self.persistent);
            paths(w, &self.recursive);
        }
    }
}

pub(super) fn encode_strings<W: Write>(w: &mut W, v: &[String]) {
    w.count(v.len());
    v.iter().for_each(|s| w.string(s));
}

/// A request's record, decoded completely.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are the records' own, listed in ZooKeeper's zookeeper.jute")]
pub enum Request {
    Create(CreateRequest),
    Delete { path: String, version: i32 },
    Exists { path: String, watch: bool },
    GetData { path: String, watch: bool },
    SetData { path: String, data: Option<Bytes>, version: i32 },
    GetAcl { path: String },
    SetAcl { path: String, acl: Option<Vec<Acl>>, version: i32 },
    GetChildren { path: String, watch: bool },
    GetChildren2 { path: String, watch: bool },
    Sync { path: Option<String> },
    Ping,
    Check { path: String, version: i32 },
    Multi(Vec<Request>),
    MultiRead(Vec<Request>),
    Reconfig { joining: Option<String>, leaving: Option<String>, new_members: Option<String>, config_id: i64 },
    CheckWatches { path: String, kind: WatcherType },
    RemoveWatches { path: String, kind: WatcherType },
    DeleteContainer { path: String },
    Auth { scheme: Option<String>, auth: Option<Bytes> },
    SetWatches(SetWatches),
    SetWatches2(SetWatches),
    Sasl { token: Option<Bytes> },
    GetEphemerals { prefix: Option<String> },
    GetAllChildrenNumber { path: String },
    AddWatch { path: Option<String>, mode: AddWatchMode },
    WhoAmI,
    CloseSession,
}

impl Request {
    /// The operation that this record belongs to.
    pub fn op(&self) -> OpCode {
        match self {
            Request::Create(c) => match c.op {
                CreateOp::Create => OpCode::Create,
                CreateOp::Create2 => OpCode::Create2,
                CreateOp::Container => OpCode::CreateContainer,
                CreateOp::Ttl(_) => OpCode::CreateTtl,
            },
            Request::Delete { .. } => OpCode::Delete,
            Request::Exists { .. } => OpCode::Exists,
            Request::GetData { .. } => OpCode::GetData,
            Request::SetData { .. } => OpCode::SetData,
            Request::GetAcl { .. } => OpCode::GetAcl,
            Request::SetAcl { .. } => OpCode::SetAcl,
            Request::GetChildren { .. } => OpCode::GetChildren,
            Request::GetChildren2 { .. } => OpCode::GetChildren2,
            Request::Sync { .. } => OpCode::Sync,
            Request::Ping => OpCode::Ping,
            Request::Check { .. } => OpCode::Check,
            Request::Multi(_) => OpCode::Multi,
            Request::MultiRead(_) => OpCode::MultiRead,
            Request::Reconfig { .. } => OpCode::Reconfig,
            Request::CheckWatches { .. } => OpCode::CheckWatches,
            Request::RemoveWatches { .. } => OpCode::RemoveWatches,
            Request::DeleteContainer { .. } => OpCode::DeleteContainer,
            Request::Auth { .. } => OpCode::Auth,
            Request::SetWatches(_) => OpCode::SetWatches,
            Request::SetWatches2(_) => OpCode::SetWatches2,
            Request::Sasl { .. } => OpCode::Sasl,
            Request::GetEphemerals { .. } => OpCode::GetEphemerals,
            Request::GetAllChildrenNumber { .. } => OpCode::GetAllChildrenNumber,
            Request::AddWatch { .. } => OpCode::AddWatch,
            Request::WhoAmI => OpCode::WhoAmI,
            Request::CloseSession => OpCode::CloseSession,
        }
    }

    /// Reads the record of `op`. Bytes after it are ignored, as Java does.
    pub fn decode(op: OpCode, r: &mut Reader<'_>) -> Result<Request, Bad> {
        Ok(match op {
            OpCode::Create => Request::Create(decode_create(r, CreateOp::Create)?),
            OpCode::Create2 => Request::Create(decode_create(r, CreateOp::Create2)?),
            OpCode::CreateContainer => Request::Create(decode_create(r, CreateOp::Container)?),
            OpCode::CreateTtl => {
                let mut c = decode_create(r, CreateOp::Ttl(0))?;
                c.op = CreateOp::Ttl(r.long()?);
                Request::Create(c)
            }
            OpCode::Delete => Request::Delete { path: r.string()?, version: r.int()? },
            OpCode::Exists => Request::Exists { path: r.string()?, watch: r.bool()? },
            OpCode::GetData => Request::GetData { path: r.string()?, watch: r.bool()? },
            OpCode::SetData => Request::SetData { path: r.string()?, data: r.buffer()?, version: r.int()? },
            OpCode::GetAcl => Request::GetAcl { path: r.string()? },
            OpCode::SetAcl => {
                Request::SetAcl { path: r.string()?, acl: r.vector(Acl::decode)?, version: r.int()? }
            }
            OpCode::GetChildren => Request::GetChildren { path: r.string()?, watch: r.bool()? },
            OpCode::GetChildren2 => Request::GetChildren2 { path: r.string()?, watch: r.bool()? },
            OpCode::Sync => Request::Sync { path: r.opt_string()? },
            OpCode::Ping => Request::Ping,
            OpCode::Check => Request::Check { path: r.string()?, version: r.int()? },
            OpCode::Multi => Request::Multi(multi::decode_request(r, multi::Kind::Writes)?),
            OpCode::MultiRead => Request::MultiRead(multi::decode_request(r, multi::Kind::Reads)?),
            OpCode::Reconfig => Request::Reconfig {
                joining: r.opt_string()?,
                leaving: r.opt_string()?,
                new_members: r.opt_string()?,
                config_id: r.long()?,
            },
            OpCode::CheckWatches => {
                Request::CheckWatches { path: r.string()?, kind: WatcherType::from_int(r.int()?)? }
            }
            OpCode::RemoveWatches => {
                Request::RemoveWatches { path: r.string()?, kind: WatcherType::from_int(r.int()?)? }
            }
            OpCode::DeleteContainer => Request::DeleteContainer { path: r.string()? },
            OpCode::Auth => {
                r.int()?;
                Request::Auth { scheme: r.opt_string()?, auth: r.buffer()? }
            }
            OpCode::SetWatches => Request::SetWatches(SetWatches::decode(r, false)?),
            OpCode::SetWatches2 => Request::SetWatches2(SetWatches::decode(r, true)?),
            OpCode::Sasl => Request::Sasl { token: r.buffer()? },
            OpCode::GetEphemerals => Request::GetEphemerals { prefix: r.opt_string()? },
            OpCode::GetAllChildrenNumber => Request::GetAllChildrenNumber { path: r.string()? },
            OpCode::AddWatch => Request::AddWatch {
                path: r.opt_string()?,
                mode: match r.int()? {
                    0 => AddWatchMode::Persistent,
                    1 => AddWatchMode::PersistentRecursive,
                    other => return Err(Bad::Tag(other)),
                },
            },
            OpCode::WhoAmI => Request::WhoAmI,
            OpCode::CloseSession => Request::CloseSession,
        })
    }

    /// Writes the record, without the header.
    pub fn encode(&self, w: &mut impl Write) {
        match self {
            Request::Create(c) => {
                w.string(&c.path);
                w.buffer(c.data.as_deref());
                encode_acl(w, c.acl.as_deref());
                w.int(c.flags);
                if let CreateOp::Ttl(ttl) = c.op {
                    w.long(ttl);
                }
            }
            Request::Delete { path, version } | Request::Check { path, version } => {
                w.string(path);
                w.int(*version);
            }
            Request::Exists { path, watch }
            | Request::GetData { path, watch }
            | Request::GetChildren { path, watch }
            | Request::GetChildren2 { path, watch } => {
                w.string(path);
                w.bool(*watch);
            }
            Request::SetData { path, data, version } => {
                w.string(path);
                w.buffer(data.as_deref());
                w.int(*version);
            }
            Request::GetAcl { path }
            | Request::GetAllChildrenNumber { path }
            | Request::DeleteContainer { path } => w.string(path),
            Request::SetAcl { path, acl, version } => {
                w.string(path);
                encode_acl(w, acl.as_deref());
                w.int(*version);
            }
            Request::Sync { path } => w.opt_string(path.as_deref()),
            Request::Ping | Request::WhoAmI | Request::CloseSession => {}
            Request::Multi(ops) | Request::MultiRead(ops) => multi::encode_request(ops, w),
            Request::Reconfig { joining, leaving, new_members, config_id } => {
                w.opt_string(joining.as_deref());
                w.opt_string(leaving.as_deref());
                w.opt_string(new_members.as_deref());
                w.long(*config_id);
            }
            Request::CheckWatches { path, kind } | Request::RemoveWatches { path, kind } => {
                w.string(path);
                w.int(*kind as i32);
            }
            Request::Auth { scheme, auth } => {
                w.int(0);
                w.opt_string(scheme.as_deref());
                w.buffer(auth.as_deref());
            }
            Request::SetWatches(s) => s.encode(w, false),
            Request::SetWatches2(s) => s.encode(w, true),
            Request::Sasl { token } => w.buffer(token.as_deref()),
            Request::GetEphemerals { prefix } => w.opt_string(prefix.as_deref()),
            Request::AddWatch { path, mode } => {
                w.opt_string(path.as_deref());
                w.int(*mode as i32);
            }
        }
    }
}

fn decode_create(r: &mut Reader<'_>, op: CreateOp) -> Result<CreateRequest, Bad> {
    Ok(CreateRequest {
        op,
        path: r.string()?,
        data: r.buffer()?,
        acl: r.vector(Acl::decode)?,
        flags: r.int()?,
    })
}

fn encode_acl(w: &mut impl Write, acl: Option<&[Acl]>) {
    match acl {
        None => w.int(-1),
        Some(list) => Acl::encode_list(list, w),
    }
}

/// One identity of a connection, as whoAmI shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClientInfo {
    /// Its scheme.
    pub scheme: String,
    /// Its user text.
    pub user: String,
}

/// A successful reply's record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are the records' own, listed in ZooKeeper's zookeeper.jute")]
pub enum Response {
    /// delete, checkWatches, removeWatches, ping, setWatches(2), auth, closeSession: header only.
    Empty,
    /// create.
    Path(String),
    /// create2, createContainer, createTTL.
    PathStat { path: String, stat: Stat },
    /// exists, setData, setACL.
    Stat(Stat),
    /// getData, reconfig.
    Data { data: Option<Bytes>, stat: Stat },
    /// getACL.
    Acl { acl: Vec<Acl>, stat: Stat },
    /// getChildren.
    Children(Vec<String>),
    /// getChildren2.
    Children2 { children: Vec<String>, stat: Stat },
    /// sync.
    Sync { path: Option<String> },
    /// multi, multiRead.
    Multi(Vec<OpResult>),
    /// getEphemerals.
    Ephemerals(Vec<String>),
    /// getAllChildrenNumber.
    Count(i32),
    /// addWatch: an ErrorResponse of 0.
    AddWatch,
    /// whoAmI.
    WhoAmI(Vec<ClientInfo>),
    /// sasl.
    Sasl { token: Option<Bytes> },
}

impl Response {
    /// Writes the record, without the header.
    pub fn encode(&self, w: &mut impl Write) {
        match self {
            Response::Empty => {}
            Response::Path(p) => w.string(p),
            Response::PathStat { path, stat } => {
                w.string(path);
                stat.encode(w);
            }
            Response::Stat(s) => s.encode(w),
            Response::Data { data, stat } => {
                w.buffer(data.as_deref());
                stat.encode(w);
            }
            Response::Acl { acl, stat } => {
                Acl::encode_list(acl, w);
                stat.encode(w);
            }
            Response::Children(c) | Response::Ephemerals(c) => encode_strings(w, c),
            Response::Children2 { children, stat } => {
                encode_strings(w, children);
                stat.encode(w);
            }
            Response::Sync { path } => w.opt_string(path.as_deref()),
            Response::Multi(results) => multi::encode_results(results, w),
            Response::Count(n) => w.int(*n),
            Response::AddWatch => w.int(0),
            Response::WhoAmI(ids) => {
                w.count(ids.len());
                for i in ids {
                    w.string(&i.scheme);
                    w.string(&i.user);
                }
            }
            Response::Sasl { token } => w.buffer(token.as_deref()),
        }
    }

    /// Reads the record of a successful reply to `op`.
    pub fn decode(op: OpCode, r: &mut Reader<'_>) -> Result<Response, Bad> {
        Ok(match op {
            OpCode::Delete
            | OpCode::Ping
            | OpCode::Check
            | OpCode::CheckWatches
            | OpCode::RemoveWatches
            | OpCode::DeleteContainer
            | OpCode::Auth
            | OpCode::SetWatches
            | OpCode::SetWatches2
            | OpCode::CloseSession => Response::Empty,
            OpCode::Create => Response::Path(r.string()?),
            OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                Response::PathStat { path: r.string()?, stat: Stat::decode(r)? }
            }
            OpCode::Exists | OpCode::SetData | OpCode::SetAcl => Response::Stat(Stat::decode(r)?),
            OpCode::GetData | OpCode::Reconfig => {
                Response::Data { data: r.buffer()?, stat: Stat::decode(r)? }
            }
            OpCode::GetAcl => Response::Acl { acl: r.vector_of(Acl::decode)?, stat: Stat::decode(r)? },
            OpCode::GetChildren => Response::Children(r.vector_of(|r| r.string())?),
            OpCode::GetChildren2 => {
                Response::Children2 { children: r.vector_of(|r| r.string())?, stat: Stat::decode(r)? }
            }
            OpCode::Sync => Response::Sync { path: r.opt_string()? },
            OpCode::Multi | OpCode::MultiRead => Response::Multi(multi::decode_results(r)?),
            OpCode::GetEphemerals => Response::Ephemerals(r.vector_of(|r| r.string())?),
            OpCode::GetAllChildrenNumber => Response::Count(r.int()?),
            OpCode::AddWatch => match r.int()? {
                0 => Response::AddWatch,
                other => return Err(Bad::Tag(other)),
            },
            OpCode::WhoAmI => {
                Response::WhoAmI(r.vector_of(|r| Ok(ClientInfo { scheme: r.string()?, user: r.string()? }))?)
            }
            OpCode::Sasl => Response::Sasl { token: r.buffer()? },
        })
    }
}
