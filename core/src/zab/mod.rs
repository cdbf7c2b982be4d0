//! ZAB: how a leader and its learners keep one history. Answers to `Leader`, `LearnerHandler`, `Learner`, `Follower` and
//! `Observer`. Transactions are opaque here: a zxid and a body. Knows no tree, no session, no file.
//!
//! A [`Leader`] or a [`Learner`] is made of the server's [`History`] when its role begins and gives it back when the role
//! ends; an [`ObserverMaster`] lives beside a learner. All are stepped by method calls and answer with [`ZabOut`]s; after [`ZabOut::Lost`] they do nothing any more.
//!
//! **The disk is a sequence.** [`ZabOut::Append`], [`ZabOut::WriteEpoch`], [`ZabOut::Truncate`] and [`ZabOut::Install`] take
//! effect in the order in which they are asked for: what a crash leaves is what some prefix of them made (the last one of it
//! possibly torn, which recovery cuts off). [`ZabOut::Park`] asks to be told, by `durable`, once all before it survives a
//! crash. What a role has parked dies with it.

mod ballot;
mod broadcast;
mod confirm;
mod discovery;
mod handler;
mod handlers;
mod history;
mod leader;
mod learner;
mod master;
mod pending;
pub mod sync;

#[cfg(test)]
mod tests;

pub use crate::boundary::EpochFile;
pub use crate::cause::{Awaited, Cause, Lost};
pub use confirm::SyncOf;
pub use history::{History, WindowLimits};
pub use leader::Leader;
pub use learner::Learner;
pub use master::{Holding, ObserverMaster};

use crate::boundary::{Conn, SyncBy, Vouch};
use crate::id::{Epoch, ServerId, SessionId, Zxid};
use crate::proto::{ForwardedRequest, QuorumPacket};
use crate::time::{Span, Time};
use bytes::Bytes;

/// What both sides have to know of zoo.cfg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// tickTime.
    pub tick: Span,
    /// initLimit, ticks: discovery and synchronisation.
    pub init_limit: u64,
    /// syncLimit, ticks: broadcast.
    pub sync_limit: u64,
    /// The election's quiet time. Some may still be in it when others have every vote that they wait for.
    pub finalize_wait: Span,
    /// The last counter that an epoch may use: [`Settings::LAST_COUNTER`], less where a short life of an epoch is wanted.
    pub last_counter: u32,
    /// reconfigEnabled.
    pub reconfig_enabled: bool,
    /// zookeeper.forceSnapshotSync.
    pub force_snapshot: bool,
    /// observerMasterPort is set: a follower has observers of its own, an observer looks for such a follower.
    pub observer_masters: bool,
    /// zookeeper.observerMaster.sizeLimit: bytes of transactions that may wait for one observer.
    pub observer_size_limit: usize,
    /// zookeeper.leader.maxTimeToWaitForEpoch.
    pub epoch_wait: Option<Span>,
}

impl Settings {
    /// The last usable counter: 0xffffffff is left out, as in Java.
    pub const LAST_COUNTER: u32 = u32::MAX - 1;

    fn init(&self) -> Span {
        Span(self.tick.0.saturating_mul(self.init_limit))
    }
    /// How long a leader and its followers wait for each other at first: the others may still be in the election's quiet time,
    /// which may be longer than initLimit.
    fn first_contact(&self) -> Span {
        Span(self.init().0.saturating_add(self.finalize_wait.0))
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
    /// Learner: dial the leader, an observer perhaps its master. Answered by [`Learner::opened`] or [`Learner::closed`].
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
    /// Disk: the snapshot that was received ([`Learner::snapshot_received`]), with these transactions applied to it, is the
    /// history from here on, whatever was there before; the tree is replaced by it. All at once: a snapshot alone may hold less
    /// than this server has promised to hold.
    Install {
        /// What follows the snapshot.
        txns: Vec<(Zxid, Bytes)>,
        /// The last of them, or the snapshot's name.
        upto: Zxid,
    },
    /// Call `durable` with it once everything above is durable.
    Park(Vouch),

    /// Leader, observer master: this learner needs a snapshot. Call [`Leader::snapshot_begun`] when one of the tree as it is then can begin.
    WantSnapshot {
        /// Who.
        conn: Conn,
    },
    /// Leader: this learner lacks more than the window holds. Call [`Leader::log_entry`] with every entry of the log above
    /// `after`, or [`Leader::log_ends`] where there is none.
    WantLog {
        /// Who.
        conn: Conn,
        /// The learner's last zxid.
        after: Zxid,
    },
    /// Leader, observer master: the snapshot's stream stands here among what is sent to the connection: the tree as it is now.
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
    /// Leader, observer master: a learner forwards a request.
    Request {
        /// By which learner: the owner of its session.
        conn: Conn,
        /// What. A sync is answered by [`Leader::sync`].
        request: ForwardedRequest,
    },
    /// Leader, observer master: a learner asks for a session. Answered by [`Leader::revalidated`].
    Revalidate {
        /// Which learner.
        conn: Conn,
        /// Which session.
        session: SessionId,
        /// Its timeout, ms.
        timeout: i32,
    },
    /// Leader, observer master: sessions that were used at a learner, with their timeouts.
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
    /// Everything that anybody had been told of when this sync was asked for has been delivered.
    Synced {
        /// What [`Learner::sync`] or [`Leader::sync`] was given.
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
    /// Leader: what a learner is synchronised with. For checkers and logs.
    Synchronizes {
        /// Whom.
        learner: ServerId,
        /// What.
        by: SyncBy,
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

/// The highest epoch whose successor still fits a zxid.
const MAX_EPOCH: Epoch = Epoch(i32::MAX as i64 - 1);

/// The earlier of two wake-ups.
fn earlier(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
