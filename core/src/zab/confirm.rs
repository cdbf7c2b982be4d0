//! Is this server still the leader? Pings go out in rounds; a round that a quorum has answered proves that nobody else led when
//! it was sent. A sync waits for such a round, so that it shows everything that anybody had been told of: Java's answers
//! without asking, and a leader that has been deposed without knowing it may be wrong (ZOOKEEPER-1675, 2136). Answers to
//! `Leader.processSync` and `Leader.lead`'s pings.

use super::ZabOut;
use super::handler::{Kind, Stage};
use super::handlers::send;
use super::leader::{Leader, Phase};
use crate::boundary::Conn;
use crate::id::{ServerId, Zxid};
use crate::proto::FromLeader;
use std::collections::{BTreeSet, VecDeque};

/// Rounds of pings, and who waits for one.
#[derive(Clone, Debug, Default)]
pub(super) struct Rounds {
    sent: u64,
    /// The last one that a quorum has answered.
    confirmed: u64,
    waiting: VecDeque<Sync>,
}

/// A sync under way.
#[derive(Clone, Copy, Debug)]
struct Sync {
    who: SyncOf,
    /// All that was proposed before it.
    after: Zxid,
    round: u64,
}

/// Whose sync it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncOf {
    /// A learner's: answered with SYNC.
    Learner(Conn),
    /// One of this server's own clients': answered with [`ZabOut::Synced`].
    Own(u64),
}

impl Leader {
    /// PING goes to whoever got NEWLEADER; those that are up to date answer.
    pub(super) fn ping(&mut self, out: &mut Vec<ZabOut>) {
        let zxid = self.last_proposed().unwrap_or(self.epoch.start());
        self.rounds.sent += 1;
        for (conn, h) in &mut self.handlers.all {
            if h.is_forwarding(Kind::Follower) || h.is_forwarding(Kind::Observer) {
                if let Stage::Live(_) = h.stage {
                    h.pings.push_back(self.rounds.sent);
                }
                out.push(send(*conn, FromLeader::Ping { zxid }));
            }
        }
        self.confirm(out);
    }

    /// A live learner has answered its oldest ping.
    pub(super) fn ping_answered(&mut self, conn: Conn, out: &mut Vec<ZabOut>) {
        if let Some(handler) = self.handlers.all.get_mut(&conn)
            && let Some(round) = handler.pings.pop_front()
        {
            handler.answered = round;
            self.confirm(out);
        }
    }

    /// A sync has passed everything that was asked before it: answered once that is committed and a quorum has been heard of.
    pub fn sync(&mut self, who: SyncOf, out: &mut Vec<ZabOut>) {
        let Phase::Broadcast(b) = &self.phase else { return };
        let after = b.last_proposed();
        self.rounds.waiting.push_back(Sync { who, after, round: self.rounds.sent + 1 });
        // One round at a time is under way for syncs; whoever comes meanwhile shares the next.
        if self.rounds.confirmed == self.rounds.sent {
            self.ping(out);
        }
    }

    fn confirm(&mut self, out: &mut Vec<ZabOut>) {
        let followers = || {
            self.handlers.all.values().filter_map(|h| match &h.stage {
                Stage::Live(id) if id.kind == Kind::Follower => Some((id.sid, h.answered)),
                _ => None,
            })
        };
        let answered = |round: u64| -> BTreeSet<ServerId> {
            followers().filter(|(_, r)| *r >= round).map(|(sid, _)| sid).chain([self.me]).collect()
        };
        let before = self.rounds.confirmed;
        let rounds = followers().map(|(_, r)| r).chain([self.rounds.sent]).filter(|r| *r > before);
        let confirmed = rounds.filter(|r| self.view.has_all_quorums(&answered(*r))).max();
        self.rounds.confirmed = confirmed.unwrap_or(before);
        self.release_syncs(out);
        let Rounds { sent, confirmed, waiting } = &self.rounds;
        if sent == confirmed && waiting.back().is_some_and(|s| s.round > *sent) {
            self.ping(out);
        }
    }

    /// Answers the syncs that wait for nothing any more.
    pub(super) fn release_syncs(&mut self, out: &mut Vec<ZabOut>) {
        let Phase::Broadcast(b) = &self.phase else { return };
        while let Some(sync) = self.rounds.waiting.front()
            && sync.round <= self.rounds.confirmed
            && b.has_committed(sync.after)
        {
            match sync.who {
                SyncOf::Learner(conn) => self.handlers.tell(conn, FromLeader::Sync, out),
                SyncOf::Own(tag) => out.push(ZabOut::Synced { tag }),
            }
            self.rounds.waiting.pop_front();
        }
    }
}
