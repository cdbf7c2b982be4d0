//! What a leader knows of one learner: where the conversation stands, when it was heard. Answers to `LearnerHandler`.

use crate::id::{ServerId, Zxid};
use crate::time::{Span, Time};
use std::collections::{BTreeSet, VecDeque};

/// What a learner is, as its first packet says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// FOLLOWERINFO: gets proposals and acks them, with a vote or without.
    Follower,
    /// OBSERVERINFO: gets what is committed.
    Observer,
}

/// Who a learner is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    pub(super) sid: ServerId,
    pub(super) kind: Kind,
    /// Its TRUNC is exact.
    pub(super) exact: bool,
}

/// Where the conversation stands.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Stage {
    /// Nothing was heard yet.
    Greeting,
    /// Known, waits for LEADERINFO.
    Registered(Identity),
    /// LEADERINFO was sent.
    Offered(Identity),
    /// ACKEPOCH came; synchronisation waits for the quorum of those, or for a snapshot.
    EpochAcked(Identity, Zxid),
    /// Everything up to NEWLEADER was sent, live packets follow.
    Syncing {
        id: Identity,
        /// Proposals acked before NEWLEADER, as servers before 3.9.3 do: they count once that is acked.
        early: BTreeSet<Zxid>,
    },
    /// NEWLEADER was acked; UPTODATE waits for the quorum of those.
    Synced(Identity),
    /// UPTODATE was sent.
    Live(Identity),
}

/// One learner of a leader.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Handler {
    pub(super) stage: Stage,
    /// When the last packet of it came; before it was asked for one, when that was.
    pub(super) heard: Time,
    /// The oldest proposal tracked that it has not acked, and when it was sent. Answers to `SyncLimitCheck`.
    unacked: Option<(Zxid, Time)>,
    /// The last proposal sent to it.
    newest: (Zxid, Time),
    /// What it was sent of the log on disk goes up to here.
    pub(super) from_log: Option<Zxid>,
    /// Rounds of the pings that it has not answered, oldest first: it is silent before they are many.
    pub(super) pings: VecDeque<u64>,
    /// The round of the last one that it has answered.
    pub(super) answered: u64,
}

impl Handler {
    pub(super) fn new(now: Time) -> Handler {
        Handler {
            stage: Stage::Greeting,
            heard: now,
            unacked: None,
            newest: (Zxid::ZERO, now),
            from_log: None,
            pings: VecDeque::new(),
            answered: 0,
        }
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        match &self.stage {
            Stage::Greeting => None,
            Stage::Registered(id)
            | Stage::Offered(id)
            | Stage::EpochAcked(id, _)
            | Stage::Syncing { id, .. }
            | Stage::Synced(id)
            | Stage::Live(id) => Some(*id),
        }
    }

    /// Gets what is new as it comes. Answers to `forwardingFollowers` and `observingLearners`.
    pub(super) fn is_forwarding(&self, kind: Kind) -> bool {
        match &self.stage {
            Stage::Greeting | Stage::Registered(_) | Stage::Offered(_) | Stage::EpochAcked(..) => false,
            Stage::Syncing { id, .. } | Stage::Synced(id) | Stage::Live(id) => id.kind == kind,
        }
    }

    /// A proposal was sent to it.
    pub(super) fn proposed(&mut self, zxid: Zxid, now: Time) {
        self.newest = (zxid, now);
        self.unacked.get_or_insert((zxid, now));
    }

    /// It acked a proposal.
    pub(super) fn acked(&mut self, zxid: Zxid) {
        if self.unacked.is_some_and(|(oldest, _)| oldest <= zxid) {
            self.unacked = Some(self.newest).filter(|(newest, _)| *newest > zxid);
        }
    }

    /// What it was sent before counts from now on: it may answer only now.
    pub(super) fn may_ack(&mut self, now: Time) {
        for at in [self.unacked.as_mut().map(|u| &mut u.1), Some(&mut self.newest.1)].into_iter().flatten() {
            *at = now;
        }
    }

    /// An ack is overdue. Only a live learner may ack.
    pub(super) fn is_slow(&self, now: Time, sync: Span) -> bool {
        matches!(self.stage, Stage::Live(_)) && self.unacked.is_some_and(|(_, sent)| now.since(sent) > sync)
    }

    /// Nothing was heard of it for too long, though it is its turn.
    pub(super) fn is_silent(&self, now: Time, init: Span, sync: Span) -> bool {
        let limit = match self.stage {
            Stage::Greeting | Stage::Offered(_) | Stage::Syncing { .. } => init,
            Stage::Live(_) => sync,
            Stage::Registered(_) | Stage::EpochAcked(..) | Stage::Synced(_) => return false,
        };
        now.since(self.heard) > limit
    }

    /// Its server, if it counts for the leader's contact with a quorum: a follower that was heard lately. Java gives it
    /// initLimit more while it is synchronised, and so long a leader that everyone has left may answer reads.
    pub(super) fn contact(&self, now: Time, sync: Span) -> Option<ServerId> {
        let id = self.identity().filter(|id| id.kind == Kind::Follower)?;
        (now.since(self.heard) <= sync).then_some(id.sid)
    }
}
