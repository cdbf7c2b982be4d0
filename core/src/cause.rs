//! Why servers of an ensemble part: words for events and logs. Answers to the exceptions of `Leader`, `LearnerHandler` and
//! `Learner`. Knows nothing of when they happen.

use crate::id::{Epoch, ServerId, Zxid};
use crate::jute::Bad;
use crate::proto::PacketType;
use std::fmt;

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
    /// What was being sent from the log on disk cannot be read on.
    LogUnreadable,
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
    /// A reconfiguration made another server leader, or gave a learner another part under the same one.
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
    /// Learner: more waits for its commit than fits.
    TooMuchPending,
    /// Learner: the snapshot's stream was broken.
    BadSnapshot,
    /// Observer: its master's snapshot holds less than was served here; this is where it ends.
    Behind(Zxid),
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
            Lost::TooMuchPending => write!(f, "too much waits for its commit"),
            Lost::BadSnapshot => write!(f, "the leader's snapshot is broken"),
            Lost::Behind(z) => write!(f, "the observer master is at {z} only"),
        }
    }
}
