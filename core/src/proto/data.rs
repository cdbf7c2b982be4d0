//! Records that others are made of: Id, ACL, Stat, watch events, modes.

use crate::id::{SessionId, Zxid};
use crate::jute::{Bad, Reader, Write};
use serde::{Deserialize, Serialize};

/// Who: a scheme and an id in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Id {
    /// `world`, `ip`, `digest`, `auth`, `x509`, `sasl`, `super`.
    pub scheme: String,
    /// The scheme's own text.
    pub id: String,
}

/// One entry of an access control list.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Acl {
    /// Bits of [`perms`]; kept as sent, unknown bits too.
    pub perms: i32,
    /// Who gets them.
    pub id: Id,
}

/// Permission bits.
pub mod perms {
    /// getData, getChildren, exists, getACL.
    pub const READ: i32 = 1;
    /// setData.
    pub const WRITE: i32 = 2;
    /// Create children.
    pub const CREATE: i32 = 4;
    /// Delete children.
    pub const DELETE: i32 = 8;
    /// setACL.
    pub const ADMIN: i32 = 16;
    /// All of them.
    pub const ALL: i32 = 31;
}

impl Id {
    /// An id from its parts.
    pub fn new(scheme: &str, id: &str) -> Id {
        Id { scheme: scheme.to_owned(), id: id.to_owned() }
    }
    /// `world:anyone`.
    pub fn anyone() -> Id {
        Id::new("world", "anyone")
    }
    /// Writes the record.
    pub fn encode(&self, w: &mut impl Write) {
        w.string(&self.scheme);
        w.string(&self.id);
    }
    /// Reads the record. A null scheme reads as the empty one, which no provider answers to (InvalidACL, as in Java). So does a
    /// null id, which kazoo sends for an empty one with scheme `auth`; [`Bad::Null`] where Java's providers trip over it.
    pub fn decode(r: &mut Reader<'_>) -> Result<Id, Bad> {
        let (scheme, id) = (r.opt_string()?.unwrap_or_default(), r.opt_string()?);
        if id.is_none() && matches!(scheme.as_str(), "world" | "digest" | "ip") {
            return Err(Bad::Null);
        }
        Ok(Id { scheme, id: id.unwrap_or_default() })
    }
}

impl Acl {
    /// Everything to everyone.
    pub fn open() -> Acl {
        Acl { perms: perms::ALL, id: Id::anyone() }
    }
    /// Reading to everyone: the ACL of /zookeeper/config.
    pub fn read_only() -> Acl {
        Acl { perms: perms::READ, id: Id::anyone() }
    }
    /// Writes the record.
    pub fn encode(&self, w: &mut impl Write) {
        w.int(self.perms);
        self.id.encode(w);
    }
    /// Reads the record.
    pub fn decode(r: &mut Reader<'_>) -> Result<Acl, Bad> {
        Ok(Acl { perms: r.int()?, id: Id::decode(r)? })
    }
    /// Writes a list.
    pub fn encode_list(list: &[Acl], w: &mut impl Write) {
        w.count(list.len());
        list.iter().for_each(|a| a.encode(w));
    }
}

/// What clients see of a node beside its data: 68 bytes on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stat {
    /// zxid of its creation.
    pub czxid: Zxid,
    /// zxid of the last setData.
    pub mzxid: Zxid,
    /// Wall-clock ms of its creation.
    pub ctime: i64,
    /// Wall-clock ms of the last setData.
    pub mtime: i64,
    /// setData count.
    pub version: i32,
    /// Creates and deletes of children.
    pub cversion: i32,
    /// setACL count.
    pub aversion: i32,
    /// Session of an ephemeral, else 0 (containers and TTL nodes too).
    pub ephemeral_owner: SessionId,
    /// Bytes of data.
    pub data_length: i32,
    /// Direct children.
    pub num_children: i32,
    /// zxid of the last create or delete of a child.
    pub pzxid: Zxid,
}

impl Stat {
    /// Writes the record.
    pub fn encode(&self, w: &mut impl Write) {
        w.long(self.czxid.0);
        w.long(self.mzxid.0);
        w.long(self.ctime);
        w.long(self.mtime);
        w.int(self.version);
        w.int(self.cversion);
        w.int(self.aversion);
        w.long(self.ephemeral_owner.0);
        w.int(self.data_length);
        w.int(self.num_children);
        w.long(self.pzxid.0);
    }
    /// Reads the record.
    pub fn decode(r: &mut Reader<'_>) -> Result<Stat, Bad> {
        Ok(Stat {
            czxid: Zxid(r.long()?),
            mzxid: Zxid(r.long()?),
            ctime: r.long()?,
            mtime: r.long()?,
            version: r.int()?,
            cversion: r.int()?,
            aversion: r.int()?,
            ephemeral_owner: SessionId(r.long()?),
            data_length: r.int()?,
            num_children: r.int()?,
            pzxid: Zxid(r.long()?),
        })
    }
}

/// What is stored of a node beside path, data and ACL: 60 bytes in a snapshot. `cversion` counts creates only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StatPersisted {
    /// zxid of its creation.
    pub czxid: Zxid,
    /// zxid of the last setData.
    pub mzxid: Zxid,
    /// Wall-clock ms of its creation.
    pub ctime: i64,
    /// Wall-clock ms of the last setData.
    pub mtime: i64,
    /// setData count.
    pub version: i32,
    /// Creates of children: the counter of sequential names.
    pub cversion: i32,
    /// setACL count.
    pub aversion: i32,
    /// Session, or the mark of a container or TTL node (see [`Owner`]).
    pub ephemeral_owner: i64,
    /// zxid of the last create or delete of a child.
    pub pzxid: Zxid,
}

impl StatPersisted {
    /// Writes the record.
    pub fn encode(&self, w: &mut impl Write) {
        w.long(self.czxid.0);
        w.long(self.mzxid.0);
        w.long(self.ctime);
        w.long(self.mtime);
        w.int(self.version);
        w.int(self.cversion);
        w.int(self.aversion);
        w.long(self.ephemeral_owner);
        w.long(self.pzxid.0);
    }
    /// Reads the record.
    pub fn decode(r: &mut Reader<'_>) -> Result<StatPersisted, Bad> {
        Ok(StatPersisted {
            czxid: Zxid(r.long()?),
            mzxid: Zxid(r.long()?),
            ctime: r.long()?,
            mtime: r.long()?,
            version: r.int()?,
            cversion: r.int()?,
            aversion: r.int()?,
            ephemeral_owner: r.long()?,
            pzxid: Zxid(r.long()?),
        })
    }
}

/// What `ephemeralOwner` means as it is stored. Answers to `EphemeralType`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// An ordinary node.
    Persistent,
    /// Goes with its session.
    Session(SessionId),
    /// Goes after its last child.
    Container,
    /// Goes when childless and unmodified for this many ms.
    Ttl(i64),
}

/// The stored owner of a container.
pub const CONTAINER_OWNER: i64 = i64::MIN;
/// The greatest TTL, in ms: 40 bits.
pub const MAX_TTL: i64 = (1 << 40) - 1;
const TTL_MARK: i64 = 0xff00_0000_0000_0000_u64 as i64;

impl Owner {
    /// Reads a stored owner. Without `extended` types a TTL mark is taken for a session id, as Java does.
    pub fn from_stored(v: i64, extended: bool) -> Owner {
        match v {
            0 => Owner::Persistent,
            CONTAINER_OWNER => Owner::Container,
            v if extended && v & TTL_MARK == TTL_MARK && v & !TTL_MARK <= MAX_TTL => Owner::Ttl(v & MAX_TTL),
            v => Owner::Session(SessionId(v)),
        }
    }
    /// The stored form.
    pub fn to_stored(self) -> i64 {
        match self {
            Owner::Persistent => 0,
            Owner::Session(s) => s.0,
            Owner::Container => CONTAINER_OWNER,
            Owner::Ttl(ms) => TTL_MARK | ms,
        }
    }
    /// What the wire's Stat shows.
    pub fn on_the_wire(self) -> SessionId {
        match self {
            Owner::Session(s) => s,
            Owner::Persistent | Owner::Container | Owner::Ttl(_) => SessionId::NONE,
        }
    }
}

/// Kind of a watch event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(i32)]
pub enum EventKind {
    /// A change of the session's state; made by clients.
    None = -1,
    /// The node came to be.
    NodeCreated = 1,
    /// The node went.
    NodeDeleted = 2,
    /// Its data was set.
    NodeDataChanged = 3,
    /// A child came or went.
    NodeChildrenChanged = 4,
    /// Made by clients.
    DataWatchRemoved = 5,
    /// Made by clients.
    ChildWatchRemoved = 6,
    /// Made by clients.
    PersistentWatchRemoved = 7,
}

impl EventKind {
    /// The kind of a wire number.
    pub fn from_int(v: i32) -> Result<EventKind, Bad> {
        Ok(match v {
            -1 => EventKind::None,
            1 => EventKind::NodeCreated,
            2 => EventKind::NodeDeleted,
            3 => EventKind::NodeDataChanged,
            4 => EventKind::NodeChildrenChanged,
            5 => EventKind::DataWatchRemoved,
            6 => EventKind::ChildWatchRemoved,
            7 => EventKind::PersistentWatchRemoved,
            other => return Err(Bad::Tag(other)),
        })
    }
}

/// A watch event as it crosses the wire: frame of ReplyHeader {xid -1, zxid, 0} and {type, state 3, path}.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WatcherEvent {
    /// What happened.
    pub kind: EventKind,
    /// Always 3, SyncConnected, from a server.
    pub state: i32,
    /// To which node.
    pub path: String,
}

impl WatcherEvent {
    /// Writes the record.
    pub fn encode(&self, w: &mut impl Write) {
        w.int(self.kind as i32);
        w.int(self.state);
        w.string(&self.path);
    }
    /// Reads the record.
    pub fn decode(r: &mut Reader<'_>) -> Result<WatcherEvent, Bad> {
        Ok(WatcherEvent { kind: EventKind::from_int(r.int()?)?, state: r.int()?, path: r.string()? })
    }
}

/// The modes of addWatch (106).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(i32)]
pub enum AddWatchMode {
    /// Data and child events of one node, until removed.
    Persistent = 0,
    /// Events of a node and all below it, until removed.
    PersistentRecursive = 1,
}

/// What checkWatches (17) and removeWatches (18) ask about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(i32)]
pub enum WatcherType {
    /// Standard child watches.
    Children = 1,
    /// Standard data watches, exists watches too.
    Data = 2,
    /// Every watch.
    Any = 3,
    /// Persistent ones.
    Persistent = 4,
    /// Persistent recursive ones.
    PersistentRecursive = 5,
}

impl WatcherType {
    /// The type of a wire number.
    pub fn from_int(v: i32) -> Result<WatcherType, Bad> {
        Ok(match v {
            1 => WatcherType::Children,
            2 => WatcherType::Data,
            3 => WatcherType::Any,
            4 => WatcherType::Persistent,
            5 => WatcherType::PersistentRecursive,
            other => return Err(Bad::Tag(other)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_null_id_is_an_empty_one_where_no_provider_reads_it() {
        let read = |scheme: &str| {
            let mut w = Vec::new();
            w.string(scheme);
            w.opt_string(None);
            Id::decode(&mut Reader::new(&w))
        };
        assert_eq!(read("auth"), Ok(Id::new("auth", "")));
        assert_eq!(read("nosuch"), Ok(Id::new("nosuch", "")));
        assert_eq!(read("world"), Err(Bad::Null));
    }
}
