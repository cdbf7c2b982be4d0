//! Leader election: who leads is decided by [`fle`], over the connections of [`links`]. Answers to the package of
//! `FastLeaderElection` and `QuorumCnxManager`. What a role does is not known here: the server is told which one to take.

mod fle;
mod links;

pub use fle::{Decision, History};

use crate::addr::Addr;
use crate::boundary::{Conn, Dials, Output};
use crate::id::{ServerId, Zxid};
use crate::jute::{begin_frame, end_frame};
use crate::proto::{Notification, ServerState};
use crate::quorum::{ConfigRules, QuorumVerifier, QuorumView};
use crate::time::{Span, Time};
use bytes::BytesMut;
use fle::{FastLeaderElection, Said};
use links::Links;
use std::sync::Arc;

/// Settings, by ZooKeeper's names where there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// fastleader.minNotificationInterval: the first pause before a vote is told again.
    pub min_interval: Span,
    /// fastleader.maxNotificationInterval: the pause doubles up to here.
    pub max_interval: Span,
    /// finalizeWait: the quiet time after a quorum agrees.
    pub finalize_wait: Span,
    /// cnxTimeout: how long a dial may take.
    pub dial_timeout: Span,
    /// quorumCnxnTimeoutMs, or syncLimit ticks: how long a connection may stay without its first message.
    pub handshake_timeout: Span,
    /// reconfigEnabled: newer configurations of others are taken over.
    pub reconfig_enabled: bool,
    /// Which configurations are legal.
    pub rules: ConfigRules,
}

impl Default for Settings {
    /// ZooKeeper's defaults, with the tickTime and syncLimit of its sample file.
    fn default() -> Settings {
        Settings {
            min_interval: Span::from_millis(200),
            max_interval: Span::from_millis(60_000),
            finalize_wait: Span::from_millis(200),
            dial_timeout: Span::from_millis(5000),
            handshake_timeout: Span::from_millis(10_000),
            reconfig_enabled: false,
            rules: ConfigRules::default(),
        }
    }
}

/// The step at hand: when it is, and where its outputs go.
#[derive(Debug)]
pub struct Step<'a> {
    /// The time.
    pub now: Time,
    /// Numbers of the connections that are dialled.
    pub dials: &'a mut Dials,
    /// Dials, sends, closes, events.
    pub out: &'a mut Vec<Output>,
}

/// What the server has to act on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Take this role.
    Decided(Decision),
    /// A newer configuration is in force: store it. It has been taken over here.
    Adopted(Arc<QuorumVerifier>),
    /// This server has a leader, or is one, and a voter looks for one.
    VoterLooks {
        /// With a better vote than the one that decided here.
        better: bool,
    },
}

/// The election port of one server, from its start to its end.
#[derive(Debug)]
pub struct Election {
    fle: FastLeaderElection,
    links: Links,
}

impl Election {
    /// Begins, looking for a leader. `own` is where this server's election port is, if no configuration says it.
    pub fn start(
        step: &mut Step<'_>,
        me: ServerId,
        own: Addr,
        settings: Settings,
        view: QuorumView,
        history: History,
    ) -> (Election, Vec<Outcome>) {
        let mut said = Vec::new();
        let links = Links::new(me, own, settings, view.clone());
        let fle = FastLeaderElection::start(step.now, me, settings, view, history, &mut said);
        let mut election = Election { fle, links };
        let outcomes = election.carry_out(step, said);
        (election, outcomes)
    }

    /// The role is over: look for a leader, with this history.
    pub fn look(&mut self, step: &mut Step<'_>, history: History) -> Vec<Outcome> {
        let mut said = Vec::new();
        self.links.set_looking(true);
        self.fle.look(step.now, history, &mut said);
        self.carry_out(step, said)
    }
    /// A reconfiguration named the leader: the role to take without an election.
    pub fn take_role(&mut self, leader: ServerId, zxid: Zxid) -> ServerState {
        self.links.set_looking(false);
        self.fle.take_role(leader, zxid)
    }
    /// The leader is established in this epoch: the leader serves, or this learner is up to date.
    pub fn synchronised(&mut self, epoch: i64) {
        self.fle.synchronised(epoch);
    }
    /// A configuration was committed or proposed.
    pub fn set_view(&mut self, step: &mut Step<'_>, view: QuorumView) -> Vec<Outcome> {
        let mut said = Vec::new();
        self.links.set_view(step, view.clone());
        self.fle.set_view(step.now, view, &mut said);
        self.carry_out(step, said)
    }

    /// A connection of the election port was accepted, or one that was dialled here came through.
    pub fn opened(&mut self, step: &mut Step<'_>, conn: Conn) -> Vec<Outcome> {
        self.links.opened(step, conn);
        self.carry_out(step, Vec::new())
    }
    /// Bytes of a connection.
    pub fn received(&mut self, step: &mut Step<'_>, conn: Conn, bytes: &[u8]) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for (from, message) in self.links.received(step, conn, bytes) {
            // A message that cannot be read is dropped, as in Java; it may be a newer version's.
            if let Ok(notification) = Notification::decode(&message) {
                let mut said = Vec::new();
                if notification.state == ServerState::Looking
                    && self.fle.state() != ServerState::Looking
                    && self.fle.view().is_voter(from)
                {
                    outcomes.push(Outcome::VoterLooks { better: self.fle.is_better(&notification.vote) });
                }
                self.fle.received(step.now, from, &notification, &mut said);
                outcomes.append(&mut self.carry_out(step, said));
            }
        }
        outcomes.append(&mut self.carry_out(step, Vec::new()));
        outcomes
    }
    /// What was sent on a connection has left.
    pub fn writable(&mut self, step: &mut Step<'_>, conn: Conn) {
        self.links.writable(step, conn);
    }
    /// A connection ended, or a dial failed.
    pub fn closed(&mut self, step: &mut Step<'_>, conn: Conn) -> Vec<Outcome> {
        self.links.closed(step, conn);
        self.carry_out(step, Vec::new())
    }
    /// Time passed.
    pub fn wake(&mut self, step: &mut Step<'_>) -> Vec<Outcome> {
        let mut said = Vec::new();
        self.links.wake(step);
        self.fle.wake(step.now, &mut said);
        self.carry_out(step, said)
    }
    /// When [`Election::wake`] has something to do.
    pub fn next_wake(&self) -> Option<Time> {
        self.fle.next_wake().into_iter().chain(self.links.next_wake()).min()
    }

    /// Is this one of its connections?
    pub fn owns(&self, conn: Conn) -> bool {
        self.links.owns(conn)
    }
    /// What this server tells others that it is doing.
    pub fn state(&self) -> ServerState {
        self.fle.state()
    }
    /// The configurations that it goes by.
    pub fn view(&self) -> &QuorumView {
        self.fle.view()
    }

    /// Sends what is said, and lets the election know who is not there.
    fn carry_out(&mut self, step: &mut Step<'_>, mut said: Vec<Said>) -> Vec<Outcome> {
        self.fle.set_absent(step.now, self.links.absent(), &mut said);
        let mut outcomes = Vec::new();
        for word in said {
            match word {
                Said::Send(to, notification) => {
                    let mut frame = BytesMut::new();
                    let at = begin_frame(&mut frame);
                    notification.encode(&mut frame);
                    end_frame(&mut frame, at);
                    self.links.send(step, to, frame.freeze());
                }
                Said::Decided(decision) => {
                    self.links.set_looking(false);
                    outcomes.push(Outcome::Decided(decision));
                }
                Said::Adopted(config) => {
                    self.links.set_view(step, self.fle.view().clone());
                    outcomes.push(Outcome::Adopted(config));
                }
                Said::HeardOf => self.links.set_view(step, self.fle.view().clone()),
            }
        }
        outcomes
    }
}

#[cfg(test)]
mod tests;
