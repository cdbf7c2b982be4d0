//! A member without a leader: it votes. Learners that take it for their leader may wait; clients are turned away. Answers to
//! the LOOKING state of `QuorumPeer`.

use super::base::Base;
use super::clients::{self, Clients, Coming, Door, Write};
use super::front::Asked;
use super::line::Commit;
use super::member::{Member, Next};
use crate::boundary::{AdminOrder, CloseCause, Conn, Event, Input, Port, RoleName, Stop, Timer, Vouch};
use crate::id::SessionId;
use crate::quorum::LearnerType;
use crate::time::{Span, Time};
use crate::zab::History;

/// See the module.
#[derive(Debug)]
pub(super) struct Looking {
    history: History,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// What was recovered is not durable yet: a vote would vouch for it.
    Recovering,
    /// An observer gives the voters time to agree.
    Resting {
        until: Time,
    },
    Voting,
}

impl Clients for Looking {
    fn door(&self) -> Door {
        Door::Shut
    }
    fn used(&mut self, _: SessionId, _: i32) {
        unreachable!("{NOBODY}")
    }
    fn create_session(&mut self, _: &mut Base, _: SessionId, _: i32) {
        unreachable!("{NOBODY}")
    }
    fn come_back(&mut self, _: &mut Base, _: Conn, _: Coming) {
        unreachable!("{NOBODY}")
    }
    fn write(&mut self, _: &mut Base, _: Write<'_>) -> Commit {
        unreachable!("{NOBODY}")
    }
    fn misread(&mut self, _: &mut Base, _: Asked) -> Option<Commit> {
        unreachable!("{NOBODY}")
    }
    fn sync(&mut self, _: &mut Base, _: Write<'_>) -> Option<u64> {
        unreachable!("{NOBODY}")
    }
}
const NOBODY: &str = "nobody is served behind a shut door";

impl Looking {
    /// At the start of the process.
    pub(super) fn recovering(history: History) -> Looking {
        Looking { history, phase: Phase::Recovering }
    }

    /// After another role.
    pub(super) fn begin(base: &mut Base, m: &mut Member, history: History) -> (Looking, Option<Next>) {
        base.become_role(RoleName::Looking);
        let mut looking = Looking { history, phase: Phase::Voting };
        let next = match m.learner_type() {
            LearnerType::Observer if m.observer_delay > Span::ZERO => {
                let delay = Span(m.rng.below(m.observer_delay.0 + 1));
                looking.phase = Phase::Resting { until: base.now.mono + delay };
                None
            }
            LearnerType::Observer | LearnerType::Participant => m.look(base, &looking.history),
        };
        (looking, next)
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    pub(super) fn into_history(self) -> History {
        self.history
    }

    pub(super) fn next_wake(&self, base: &Base) -> impl Iterator<Item = (Time, Timer)> {
        let rest = match self.phase {
            Phase::Resting { until } => Some((until, Timer::Election)),
            Phase::Recovering | Phase::Voting => None,
        };
        base.next_wake().chain(rest)
    }

    /// One input.
    pub(super) fn on(&mut self, base: &mut Base, m: &mut Member, input: Input<'_>) -> Option<Next> {
        let (mut next, input) = m.hear(base, input);
        let Some(input) = input else { return next };
        match input {
            Input::Wake => {
                base.timers();
                if let Phase::Resting { until } = self.phase
                    && until <= base.now.mono
                {
                    self.phase = Phase::Voting;
                    next = m.look(base, &self.history);
                }
            }
            Input::Opened { conn, port: Port::Quorum, .. } => m.let_wait(base, conn),
            Input::Opened { port: Port::Client | Port::Election, .. } => {
                unreachable!("heard by the member")
            }
            Input::Received { conn, bytes } if m.peers.contains(conn) => m.waiting_says(base, conn, bytes),
            Input::Received { conn, bytes } => clients::received(self, base, conn, bytes),
            Input::Writable { conn } => clients::writable(self, base, conn),
            Input::Closed { conn } => {
                m.peers.forget(conn);
                base.forget(conn);
            }
            Input::Durable { lane, upto } => {
                for vouch in base.durable(lane, upto) {
                    base.event(Event::Vouched(vouch));
                    if let (Vouch::Recovered(_), Phase::Recovering) = (vouch, self.phase) {
                        base.become_role(RoleName::Looking);
                        self.phase = Phase::Voting;
                        next = m.look(base, &self.history);
                    }
                }
            }
            Input::Admin { order: AdminOrder::Shutdown } => {
                base.close_all(CloseCause::Stopping);
                base.stop(Stop::Ordered);
            }
            Input::Admin { order: AdminOrder::HostGauges { .. } } | Input::DiskFailed { .. } => {
                unreachable!("heard by the member")
            }
        }
        next
    }
}
