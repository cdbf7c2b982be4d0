//! ZAB: how a leader and its learners keep one history. Answers to `Leader`, `LearnerHandler`, `Learner`, `Follower` and
//! `Observer`. Transactions are opaque here: a zxid and a body. Knows no tree, no session, no file.
//!
//! A [`Leader`] or a [`Learner`] is made of the server's [`History`] when its role begins and gives it back when the role
//! ends. Both are stepped by method calls and answer with [`ZabOut`]s; after [`ZabOut::Lost`] they do nothing any more.
//!
//! **The disk is a sequence.** [`ZabOut::Append`], [`ZabOut::WriteEpoch`], [`ZabOut::Truncate`] and [`ZabOut::Install`] take
//! effect in the order in which they are asked for: what a crash leaves is what some prefix of them made (the last one of it
//! possibly torn, which recovery cuts off). [`ZabOut::Park`] asks to be told, by `durable`, once all before it survives a
//! crash. What a role has parked dies with it.

mod ballot;
mod broadcast;
mod discovery;
mod handler;
mod history;
mod leader;
mod learner;
mod pending;
pub mod sync;

#[cfg(test)]
mod tests;

pub use history::{History, WindowLimits};
pub use leader::Leader;
pub use learner::Learner;

use crate::boundary::{Conn, Vouch};
use crate::id::{Epoch, ServerId, SessionId, Zxid};
use crate::jute::Bad;
use crate::proto::{ForwardedRequest, PacketType, QuorumPacket};
use crate::time::{Span, Time};
use bytes::Bytes;
use std::fmt;

/// What both sides have to know of zoo.cfg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// tickTime.
    pub tick: Span,
    /// initLimit, ticks: discovery and synchronisation.
    pub init_limit: u64,
    /// syncLimit, ticks: broadcast.
    pub sync_limit: u64,
    /// The last counter that an epoch may use: [`Settings::LAST_COUNTER`], less where a short life of an epoch is wanted.
    pub last_counter: u32,
    /// reconfigEnabled.
    pub reconfig_enabled: bool,
}

impl Settings {
    /// The last usable counter: 0xffffffff is left out, as in Java.
    pub const LAST_COUNTER: u32 = u32::MAX - 1;

    fn init(&self) -> Span {
        Span(self.tick.0.saturating_mul(self.init_limit))
    }
    fn sync(&self) -> Span {
        Span(self.tick.0.saturating_mul(self.sync_limit))
    }
}

/// What a leader or learner asks for, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum ZabOut {
    /// Send it, behind what was sent to this connection before.
    Send {
        /// To whom.
        conn: Conn,
        /// What.
        packet: QuorumPacket,
    },
    /// Close the connection; what was sent leaves first.
    Close {
        /// Which.
        conn: Conn,
        /// Why.
        cause: Cause,
    },
    /// Learner: dial the leader. Answered by [`Learner::opened`] or [`Learner::closed`].
    Dial,

    /// Disk: append to the log.
    Append {
        /// Its place.
        zxid: Zxid,
        /// The entry.
        body: Bytes,
    },
    /// Disk: write an epoch file.
    WriteEpoch {
        /// Which.
        file: EpochFile,
        /// What.
        epoch: Epoch,
    },
    /// Disk: cut off every entry above `to`. The tree holds none of them.
    Truncate {
        /// The last zxid that may be kept.
        to: Zxid,
    },
    /// Disk: the snapshot that was received ([`Learner::snapshot_received`]) is the history from here on, whatever was there
    /// before; the tree is replaced by it.
    Install {
        /// Its name.
        zxid: Zxid,
    },
    /// Call `durable` with it once everything above is durable.
    Park(Vouch),

    /// Leader: this learner needs a snapshot. Call [`Leader::snapshot_begun`] when one of the tree as it is then can begin.
    WantSnapshot {
        /// Who.
        conn: Conn,
    },
    /// Leader: the snapshot's stream stands here among what is sent to the connection: the tree as it is now.
    SendSnapshot {
        /// To whom.
        conn: Conn,
        /// What the tree holds.
        zxid: Zxid,
    },
    /// Learner: what comes next on the connection is a snapshot's stream. Call [`Learner::snapshot_received`] once all of it
    /// is there and has been found good.
    ReceiveSnapshot {
        /// From whom.
        conn: Conn,
        /// Its name.
        zxid: Zxid,
    },

    /// The next transaction of the history: apply it. Not yet for clients' eyes before [`ZabOut::Activated`].
    Deliver {
        /// Its place.
        zxid: Zxid,
        /// The entry.
        body: Bytes,
        /// It is a reconfiguration, and this is who leads from here on.
        designated: Option<ServerId>,
    },
    /// Leader: a learner forwards a request.
    Request {
        /// By which learner: the owner of its session.
        conn: Conn,
        /// What. A sync is answered by [`Leader::sync`].
        request: ForwardedRequest,
    },
    /// Leader: a learner asks for a session. Answered by [`Leader::revalidated`].
    Revalidate {
        /// Which learner.
        conn: Conn,
        /// Which session.
        session: SessionId,
        /// Its timeout, ms.
        timeout: i32,
    },
    /// Leader: sessions that were used at a learner, with their timeouts.
    Touched {
        /// Which.
        sessions: Vec<(SessionId, i32)>,
    },
    /// Learner: the leader's answer for a session.
    Revalidated {
        /// Which.
        session: SessionId,
        /// Is it alive?
        valid: bool,
    },
    /// Learner: everything that was committed before this sync was asked for has been delivered.
    Synced {
        /// What [`Learner::sync`] was given.
        tag: u64,
    },
    /// Learner: the configuration that the new leader has seen last (NEWLEADER). To be taken up at [`ZabOut::Activated`].
    NewLeaderConfig {
        /// Its text.
        text: Bytes,
    },

    /// Leader: a quorum follows this epoch, and none of it knows more than this leader. For checkers.
    Established {
        /// Which.
        epoch: Epoch,
    },
    /// Leader: committed, and by whose acks. For checkers.
    Committed {
        /// Which.
        zxid: Zxid,
        /// Who holds it.
        acks: Vec<ServerId>,
    },
    /// Serve clients. A leader: propose. Zxids of the epoch have begun: what was applied last counts as its start if it is
    /// older.
    Activated {
        /// Which.
        epoch: Epoch,
    },
    /// The role is over. The connections are closed already.
    Lost {
        /// Why.
        why: Lost,
    },
}

/// The epoch files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EpochFile {
    /// `acceptedEpoch`.
    Accepted,
    /// `currentEpoch`.
    Current,
}

/// Why a connection between leader and learner was closed by this side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A packet that cannot be read, or is none for this direction.
    Malformed(Bad),
    /// A packet that does not belong where the conversation stands.
    Unexpected(PacketType),
    /// A learner that claims this server's own id.
    OwnServerId,
    /// A learner that speaks a protocol before ZAB 1.0.
    OldProtocol(i32),
    /// The learner knows a later configuration than this leader.
    ConfigAhead,
    /// The learner's history goes beyond this leader's, whose election it would have to support.
    FollowerAhead,
    /// A newer connection of the same server.
    Replaced,
    /// Nothing was heard in time.
    Silent,
    /// A proposal was not acked in time.
    AckOverdue,
    /// An ack of what was never proposed.
    AckAhead(Zxid),
    /// An epoch that no server can have accepted.
    BadEpoch(Epoch),
    /// The leader's role is over.
    LeaderLost,
    /// The learner's role is over.
    LearnerLost,
}

/// Why a role ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// Leader: no quorum within initLimit while this was waited for.
    NoQuorum(Awaited),
    /// Leader: not in contact with a quorum any more.
    QuorumLost,
    /// Leader: a voter has accepted a later epoch; only a new one can have it as a follower again.
    Superseded(Epoch),
    /// Leader: the epoch's zxids are used up, or nearly so and nothing was under way.
    RollOver,
    /// Leader: as it was asked to ([`Leader::hand_over`]).
    HandedOver,
    /// Leader: a reconfiguration made another server leader.
    Deposed(ServerId),
    /// Learner: the leader cannot be reached.
    Unreachable,
    /// Learner: the connection ended.
    Disconnected,
    /// Learner: nothing was heard in time.
    Silent,
    /// Learner: a packet that cannot be read.
    Malformed(Bad),
    /// Learner: a packet that does not belong where the conversation stands.
    Unexpected(PacketType),
    /// Learner: the leader's epoch is older than the accepted one.
    OldEpoch(Epoch),
    /// Learner: this zxid does not follow the last one: something is missing, or comes from another history.
    Gap(Zxid),
    /// Learner: a COMMIT of another transaction than the oldest that waits for it.
    WrongCommit(Zxid),
    /// Learner: what the leader wants cut off is in the tree already. A snapshot is asked for next.
    CannotTruncate(Zxid),
    /// Learner: more waits for its commit than fits.
    TooMuchPending,
    /// Learner: the snapshot's stream was broken.
    BadSnapshot,
}

/// What a leader waits for before it is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Awaited {
    /// FOLLOWERINFO of a quorum.
    Followers,
    /// ACKEPOCH of a quorum.
    EpochAcks,
    /// ACK of NEWLEADER by a quorum.
    NewLeaderAcks,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::NoQuorum(Awaited::Followers) => write!(f, "no quorum of followers came within initLimit"),
            Lost::NoQuorum(Awaited::EpochAcks) => write!(f, "no quorum accepted the epoch within initLimit"),
            Lost::NoQuorum(Awaited::NewLeaderAcks) => {
                write!(f, "no quorum was synchronised within initLimit")
            }
            Lost::QuorumLost => write!(f, "not in contact with a quorum for syncLimit"),
            Lost::Superseded(e) => write!(f, "a voter has accepted epoch {e}"),
            Lost::RollOver => write!(f, "the epoch's zxids are used up"),
            Lost::HandedOver => write!(f, "handed over as asked"),
            Lost::Deposed(s) => write!(f, "server {s} leads by reconfiguration"),
            Lost::Unreachable => write!(f, "the leader cannot be reached"),
            Lost::Disconnected => write!(f, "the connection to the leader ended"),
            Lost::Silent => write!(f, "the leader was not heard in time"),
            Lost::Malformed(bad) => write!(f, "a packet of the leader cannot be read: {bad}"),
            Lost::Unexpected(kind) => write!(f, "a {kind:?} of the leader out of place"),
            Lost::OldEpoch(e) => write!(f, "the leader's epoch {e} is older than the accepted one"),
            Lost::Gap(z) => write!(f, "{z} does not follow the last transaction"),
            Lost::WrongCommit(z) => write!(f, "{z} is not the transaction whose commit is awaited"),
            Lost::CannotTruncate(z) => write!(f, "the tree cannot go back to {z}"),
            Lost::TooMuchPending => write!(f, "too much waits for its commit"),
            Lost::BadSnapshot => write!(f, "the leader's snapshot is broken"),
        }
    }
}

/// The highest epoch whose successor still fits a zxid.
const MAX_EPOCH: Epoch = Epoch(i32::MAX as i64 - 1);

/// The earlier of two wake-ups.
fn earlier(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
