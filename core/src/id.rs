//! The numbers that name things: zxids, sessions, servers. Answers to `ZxidUtils` and to the raw longs of ZooKeeper's records.
//! Knows nothing of who makes them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Transaction id: epoch in the high 32 bits, counter in the low 32. Ordered as Java orders the signed long.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Zxid(pub i64);

impl Zxid {
    /// Before any transaction.
    pub const ZERO: Zxid = Zxid(0);
    /// What events made by setWatches and refusals at the network layer carry.
    pub const NONE: Zxid = Zxid(-1);

    /// A zxid from its two halves.
    pub fn new(epoch: u32, counter: u32) -> Zxid {
        Zxid(((epoch as i64) << 32) | counter as i64)
    }
    /// The leader's epoch.
    pub fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }
    /// The position within its epoch; 0 is the epoch's start, never a transaction.
    pub fn counter(self) -> u32 {
        self.0 as u32
    }
    /// True if no transaction can lie between the two: the next counter, or the first of a later epoch.
    pub fn is_followed_by(self, next: Zxid) -> bool {
        if self.epoch() == next.epoch() {
            next.counter() != 0 && next.0 == self.0.wrapping_add(1)
        } else {
            next > self && next.counter() == 1
        }
    }
    /// The next zxid of the same epoch. The counter must not be exhausted: who proposes checks that.
    #[must_use]
    pub fn next(self) -> Zxid {
        assert!(self.counter() != u32::MAX, "zxid counter exhausted in epoch {}", self.epoch());
        Zxid(self.0 + 1)
    }
}

/// A leader's term. -1: a voter that lost its disk and must not vote on it (`currentEpoch` of an uninitialised server).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Epoch(pub i64);

impl Epoch {
    /// The epoch of a zxid, as Java has it: negative for negative zxids.
    pub fn of(zxid: Zxid) -> Epoch {
        Epoch(zxid.0 >> 32)
    }
    /// Its zxid with counter 0: where it starts, never a transaction. Answers to `ZxidUtils.makeZxid(epoch, 0)`.
    pub fn start(self) -> Zxid {
        Zxid(self.0 << 32)
    }
    /// The one after it.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}
impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}
impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// Session id; the high byte names the server that created it. 0 is "none".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct SessionId(pub i64);

impl SessionId {
    /// No session: a connection before its handshake, a transaction of the server itself.
    pub const NONE: SessionId = SessionId(0);
}
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}
impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// Server id, the number in `myid` (sid).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct ServerId(pub i64);
impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Request id chosen by a client; echoed in the reply.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Xid(pub i32);

impl Xid {
    /// Watch events.
    pub const NOTIFICATION: Xid = Xid(-1);
    /// Pings, in both directions, whatever the client sent.
    pub const PING: Xid = Xid(-2);
    /// Auth packets of most clients.
    pub const AUTH: Xid = Xid(-4);
}
