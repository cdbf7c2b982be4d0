//! What servers tell: to the history, to the coverage, to faults that wait for it.

use super::World;
use super::members::is_reconfig;
use crate::history::{Entry, SET_WATCHES};
use crate::nemesis::News;
use crate::net::{Near, Wire, WireState};
use crate::outcome::Hit;
use crate::queue::Due;
use zebu_core::boundary::{CloseCause, Event, Port, RoleName, SyncBy, Vouch};
use zebu_core::id::SessionId;
use zebu_core::proto::OpCode;
use zebu_core::quorum::{LearnerType, QuorumSystem};
use zebu_core::time::Time;
use zebu_core::zab::Lost;

impl World {
    /// Counts what kind of run this is.
    pub(super) fn note_shape(&mut self) {
        let Some(ensemble) = &self.plan.config.ensemble else { return self.coverage.hit(Hit::Standalone) };
        let members = &ensemble.members;
        self.coverage.hit(match members.voters().count() {
            1 => Hit::VotersOne,
            2 | 4 => Hit::VotersEven,
            3 => Hit::VotersThree,
            5 => Hit::VotersFive,
            _ => Hit::VotersMore,
        });
        let observers = members.members().filter(|m| m.role == LearnerType::Observer).count() as u64;
        self.coverage.hits(Hit::Observers, observers);
        self.coverage.hits(Hit::Changing, u64::from(ensemble.reconfig_enabled));
        self.coverage.hits(Hit::Spares, self.plan.spares.len() as u64);
        if let QuorumSystem::Hierarchical(_) = members.system() {
            self.coverage.hit(Hit::Hierarchical);
            let idle = members.voters().filter(|sid| members.weight(*sid) == 0).count() as u64;
            self.coverage.hits(Hit::Weightless, idle);
        }
    }

    pub(super) fn server_event(&mut self, s: usize, event: Event) {
        if let Event::Replied { op, .. } = &event
            && !SET_WATCHES.contains(op)
        {
            return;
        }
        self.show_what_is_asked_for(s, &event);
        self.follow_role(s, &event);
        self.follow_promises(s, &event);
        self.count(s, &event);
        self.release_faults(s, &event);
        let (server, incarnation) = (self.server_id(s), self.nodes[s].incarnation - 1);
        self.history.push(Time(self.now), Entry::Server { server, incarnation, event });
    }

    /// Some news are judged by what is durable at the moment.
    fn show_what_is_asked_for(&mut self, s: usize, event: &Event) {
        match event {
            Event::Vouched(_) => {
                self.show_image(s);
                if std::mem::take(&mut self.nodes[s].shadow_next) {
                    self.shadow(s);
                }
            }
            Event::Established { .. } | Event::Activated { .. } | Event::QuorumAcked { .. } => {
                self.show_images()
            }
            Event::LogRolled { .. }
            | Event::SnapshotDone { .. }
            | Event::Purged { .. }
            | Event::Truncated { .. }
            | Event::Installed { .. } => self.nodes[s].shadow_next = true,
            _ => {}
        }
    }

    fn follow_role(&mut self, s: usize, event: &Event) {
        let now = self.now;
        let node = &mut self.nodes[s];
        match event {
            Event::Became(role) => {
                node.role = *role;
                node.serving = *role == RoleName::Standalone;
                (node.truncated, node.installed) = (false, false);
            }
            Event::Activated { epoch } => {
                (node.serving, node.serving_since, node.epoch) = (true, now, *epoch);
                let how = match (node.role, node.installed, node.truncated) {
                    (RoleName::Leader, ..) => Hit::LeaderServes,
                    (_, true, _) => Hit::SyncSnap,
                    (_, false, true) => Hit::SyncTrunc,
                    (_, false, false) => Hit::SyncDiff,
                };
                if node.role == RoleName::Observer {
                    self.coverage.hit(Hit::ObserverServes);
                    self.note_master(s, how);
                }
                self.coverage.hit(how);
                self.coverage.hits(Hit::StrangerServes, u64::from(!self.is_member(s)));
                if self.healed_at.is_some() && how == Hit::LeaderServes {
                    self.elections_since += 1;
                }
            }
            Event::RoleLost { why } => {
                if matches!(why, Lost::Deposed(_)) && node.role == RoleName::Leader {
                    self.coverage.hit(Hit::LeaderDismissed);
                }
                node.serving = false;
                node.role = RoleName::Looking;
            }
            Event::Proposed { zxid, txn } if is_reconfig(txn) => self.membership.proposed(*zxid, txn),
            Event::Reconfigured { text } => self.goes_by(s, text),
            Event::Truncated { .. } => node.truncated = true,
            Event::Installed { zxid, .. } => (node.installed, node.log_gap) = (true, *zxid),
            _ => {}
        }
    }

    fn follow_promises(&mut self, s: usize, event: &Event) {
        let standalone = self.plan.config.ensemble.is_none();
        let promised = &mut self.nodes[s].promised;
        match event {
            Event::Logged { zxid, .. } | Event::Truncated { to: zxid } | Event::Installed { zxid, .. } => {
                promised.last = *zxid;
            }
            Event::Vouched(Vouch::AckEpoch(epoch)) => promised.accepted = promised.accepted.max(*epoch),
            Event::Vouched(Vouch::AckNewLeader(epoch)) => {
                promised.accepted = promised.accepted.max(*epoch);
                promised.current = promised.current.max(*epoch);
            }
            // What the log held counts from now on.
            Event::Vouched(Vouch::Recovered(zxid)) if standalone => {
                self.committed = self.committed.max(zxid.0);
            }
            Event::Committed { zxid, .. } => self.committed = self.committed.max(zxid.0),
            _ => {}
        }
    }

    fn count(&mut self, s: usize, event: &Event) {
        if let Event::Synchronizes { by, .. } = event {
            let forced = self.plan.config.ensemble.as_ref().is_some_and(|e| e.force_snapshot_sync);
            self.coverage.hits(Hit::SyncFromLog, u64::from(*by == SyncBy::Log));
            self.coverage.hits(Hit::SyncForced, u64::from(forced));
            return;
        }
        let hit = match event {
            Event::Elected { .. } => Hit::Elected,
            Event::Established { .. } => Hit::Established,
            Event::RoleLost { why } => match lost(why) {
                Some(hit) => hit,
                None => return,
            },
            Event::Committed { .. } => Hit::Committed,
            Event::QuorumAcked { .. } => Hit::QuorumAcked,
            Event::ConnClosed { cause, .. } => match cause {
                CloseCause::SessionClosed
                | CloseCause::SessionExpired
                | CloseCause::SessionMoved
                | CloseCause::FourLetterWord
                | CloseCause::Stopping => return,
                CloseCause::Replaced
                | CloseCause::LargerDials
                | CloseCause::OwnServerId
                | CloseCause::DialTimeout
                | CloseCause::Peer(_)
                | CloseCause::NotLeading
                | CloseCause::ObserverBehind => Hit::PeerClosed,
                CloseCause::NoObserverMaster => Hit::ObserverTurnedAway,
                CloseCause::NotServing if self.nodes[s].serving && self.nodes[s].role == RoleName::Leader => {
                    Hit::LeaderShut
                }
                CloseCause::FrameLength(_)
                | CloseCause::BadFrame
                | CloseCause::UnknownOpcode(_)
                | CloseCause::ZxidAhead
                | CloseCause::InvalidSession
                | CloseCause::NotServing
                | CloseCause::AuthFailed
                | CloseCause::NoHandshake
                | CloseCause::TooManyConnections
                | CloseCause::SlowReader => Hit::Kicked,
            },
            Event::SessionAttached { session, .. } => return self.note_home(s, *session),
            Event::SessionExpired { .. } => Hit::SessionExpired,
            Event::LogRolled { .. } => Hit::Rolled,
            Event::SnapshotDone { .. } => Hit::Snapshot,
            Event::SnapshotFailed { .. } => Hit::SnapshotFailed,
            Event::Purged { .. } => Hit::Purged,
            Event::Became(RoleName::ReadOnly) => Hit::ReadOnlyServer,
            Event::Proposed { txn, .. } if self.makes_global(txn) => Hit::Upgraded,
            Event::Proposed { txn, .. } if is_of_kind(txn, DELETE_CONTAINER) => Hit::Reaped,
            Event::Became(_)
            | Event::Activated { .. }
            | Event::Truncated { .. }
            | Event::Installed { .. }
            | Event::Vouched(_)
            | Event::Proposed { .. }
            | Event::Logged { .. }
            | Event::Applied { .. }
            | Event::Replied { .. }
            | Event::Reconfigured { .. }
            | Event::DigestMismatch { .. }
            | Event::Synchronizes { .. }
            | Event::SnapshotBegun { .. } => return,
        };
        self.coverage.hit(hit);
    }

    /// The port at which it learns from another server.
    fn learns_at(&self, s: usize) -> Option<Port> {
        let mine = |w: &&Wire| {
            let near = matches!(w.near, Near::Server { server, .. } if server as usize == s);
            near && w.state == WireState::Open && matches!(w.port, Port::Quorum | Port::ObserverMaster)
        };
        self.wires.iter().rfind(mine).map(|w| w.port)
    }

    /// An observer serves: from whom does it learn?
    fn note_master(&mut self, s: usize, how: Hit) {
        let looks = self.nodes[s].config.ensemble.as_ref().is_some_and(|e| e.observer_master_port.is_some());
        match self.learns_at(s) {
            Some(Port::ObserverMaster) => {
                self.coverage.hit(Hit::ObserverAtFollower);
                self.coverage.hits(Hit::SnapAtFollower, u64::from(how == Hit::SyncSnap));
            }
            Some(_) | None => self.coverage.hits(Hit::ObserverFellBack, u64::from(looks)),
        }
    }

    /// A session has come to a server.
    fn note_home(&mut self, s: usize, session: SessionId) {
        let at_follower =
            self.nodes[s].role == RoleName::Observer && self.learns_at(s) == Some(Port::ObserverMaster);
        self.coverage.hits(Hit::AttachedAtFollower, u64::from(at_follower));
        match self.homes.iter_mut().rfind(|(known, _)| *known == session) {
            Some((_, home)) => {
                let moved = std::mem::replace(home, s as u8) != s as u8;
                self.coverage.hits(Hit::Moved, u64::from(moved));
            }
            None => {
                self.homes.push((session, s as u8));
                if self.has_local_sessions() && self.nodes[s].role != RoleName::ReadOnly {
                    self.coverage.hit(Hit::LocalSession);
                }
            }
        }
    }

    /// Sessions begin as their server's own.
    fn has_local_sessions(&self) -> bool {
        self.plan.config.ensemble.as_ref().is_some_and(|e| e.local_sessions)
    }

    /// A session of its server's own is made known to all.
    fn makes_global(&self, txn: &[u8]) -> bool {
        is_of_kind(txn, CREATE_SESSION) && self.has_local_sessions()
    }

    /// Faults that waited for such news begin right after this step.
    fn release_faults(&mut self, s: usize, event: &Event) {
        if self.awaiting.is_empty() {
            return;
        }
        let (plan, now) = (&self.plan, self.now);
        let (queue, coverage) = (&mut self.queue, &mut self.coverage);
        self.awaiting.retain(|index| {
            let wanted = plan.faults[*index as usize].upon;
            let comes = wanted.is_some_and(|news| is_news(news, event));
            if comes {
                coverage.hit(Hit::UponNews);
                queue.push(now, Due::Fault { index: *index, teller: Some(s as u8) });
            }
            !comes
        });
    }

    /// Whoever leads now: the one that serves in the latest epoch, else one that tries to.
    pub(super) fn leader(&self) -> Option<usize> {
        let leading = |s: &usize| self.nodes[*s].server.is_some() && self.nodes[*s].role == RoleName::Leader;
        (0..self.nodes.len()).filter(leading).max_by_key(|s| (self.nodes[*s].serving, self.nodes[*s].epoch))
    }
}

const CREATE_SESSION: i32 = -10;
const DELETE_CONTAINER: i32 = OpCode::DeleteContainer as i32;

/// The kind lies behind session, cxid, zxid and time.
fn is_of_kind(body: &[u8], kind: i32) -> bool {
    body.get(28..32) == Some(&kind.to_be_bytes())
}

/// Causes of a role's end, in a few groups; none of those that rule P1 forbids.
fn lost(why: &Lost) -> Option<Hit> {
    Some(match why {
        Lost::NoQuorum(_) => Hit::LostNoQuorum,
        Lost::QuorumLost => Hit::LostQuorum,
        Lost::Superseded(_) | Lost::OldEpoch(_) => Hit::LostSuperseded,
        Lost::RollOver => Hit::LostRollOver,
        Lost::HandedOver | Lost::Deposed(_) => Hit::HandedOver,
        Lost::Unreachable | Lost::Disconnected | Lost::Silent => Hit::LostLeader,
        Lost::Malformed(_)
        | Lost::Unexpected(_)
        | Lost::Gap(_)
        | Lost::WrongCommit(_)
        | Lost::TooMuchPending
        | Lost::BadSnapshot
        | Lost::Behind(_) => return None,
    })
}

/// Is this such news?
pub(super) fn is_news(news: News, event: &Event) -> bool {
    match news {
        News::Became => matches!(event, Event::Became(_)),
        News::Committed => matches!(event, Event::Committed { .. }),
        News::Rolled => matches!(event, Event::LogRolled { .. }),
        News::SnapshotBegun => matches!(event, Event::SnapshotBegun { .. }),
        News::SnapshotDone => matches!(event, Event::SnapshotDone { .. }),
        News::Expired => matches!(event, Event::SessionExpired { .. }),
        News::Purged => matches!(event, Event::Purged { .. }),
        News::Elected => matches!(event, Event::Elected { .. }),
        News::Established => matches!(event, Event::Established { .. }),
        News::Activated => matches!(event, Event::Activated { .. }),
        News::RoleLost => matches!(event, Event::RoleLost { .. }),
        News::EpochAcked => matches!(event, Event::Vouched(Vouch::AckEpoch(_))),
        News::LeaderAcked => matches!(event, Event::Vouched(Vouch::AckNewLeader(_))),
        News::Acked => matches!(event, Event::Vouched(Vouch::OwnAck(_) | Vouch::Ack(_))),
        News::Proposed => matches!(event, Event::Proposed { .. }),
        News::Logged => matches!(event, Event::Logged { .. }),
        News::QuorumAcked => matches!(event, Event::QuorumAcked { .. }),
        News::Truncated => matches!(event, Event::Truncated { .. }),
        News::Installed => matches!(event, Event::Installed { .. }),
        News::Attached => matches!(event, Event::SessionAttached { .. }),
        News::ConfigProposed => matches!(event, Event::Proposed { txn, .. } if is_reconfig(txn)),
        News::ConfigLogged => matches!(event, Event::Logged { txn, .. } if is_reconfig(txn)),
        News::Reconfigured => matches!(event, Event::Reconfigured { .. }),
    }
}
