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
    read_only: ReadOnly,
}

/// Reads for clients that put up with a server without its ensemble. Answers to `ReadOnlyZooKeeperServer`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ReadOnly {
    /// It is off.
    Never,
    /// No leader was found yet: from then on.
    From(Time),
    Serving,
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
        match self.read_only {
            ReadOnly::Serving => Door::ReadOnly,
            ReadOnly::Never | ReadOnly::From(_) => Door::Shut,
        }
    }
    fn used(&mut self, _: SessionId, _: i32) {}
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
        None
    }
    fn sync(&mut self, _: &mut Base, _: Write<'_>) -> Option<u64> {
        unreachable!("{NOBODY}")
    }
}
const NOBODY: &str = "without a leader nobody is served but by reads";

impl ReadOnly {
    /// The time of a search that begins now.
    fn since(base: &Base) -> ReadOnly {
        match &base.config.ensemble {
            Some(e) if e.read_only_mode && base.is_committed => {
                let patience = base.config.tick_ms.max(e.election.read_only_after_ms);
                ReadOnly::From(base.now.mono + Span::from_millis(patience))
            }
            Some(_) | None => ReadOnly::Never,
        }
    }
}

impl Looking {
    /// At the start of the process.
    pub(super) fn recovering(history: History) -> Looking {
        Looking { history, phase: Phase::Recovering, read_only: ReadOnly::Never }
    }

    /// After another role.
    pub(super) fn begin(base: &mut Base, m: &mut Member, history: History) -> (Looking, Option<Next>) {
        base.become_role(RoleName::Looking);
        let read_only = ReadOnly::since(base);
        let mut looking = Looking { history, phase: Phase::Voting, read_only };
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

    /// The role is over: the history goes on.
    pub(super) fn end(self, base: &mut Base) -> History {
        if self.read_only == ReadOnly::Serving {
            base.role_over();
        }
        self.history
    }

    pub(super) fn next_wake(&self, base: &Base) -> impl Iterator<Item = (Time, Timer)> {
        let rest = match self.phase {
            Phase::Resting { until } => Some((until, Timer::Election)),
            Phase::Recovering | Phase::Voting => None,
        };
        let read_only = match self.read_only {
            ReadOnly::From(at) => Some((at, Timer::Election)),
            ReadOnly::Never | ReadOnly::Serving => None,
        };
        base.next_wake().chain(rest).chain(read_only)
    }

    /// One input.
    pub(super) fn on(&mut self, base: &mut Base, m: &mut Member, input: Input<'_>) -> Option<Next> {
        let (mut next, input) = m.hear(base, input);
        let Some(input) = input else { return next };
        match input {
            Input::Wake => {
                base.timers();
                if let ReadOnly::From(at) = self.read_only
                    && at <= base.now.mono
                {
                    self.read_only = ReadOnly::Serving;
                    base.become_role(RoleName::ReadOnly);
                }
                if let Phase::Resting { until } = self.phase
                    && until <= base.now.mono
                {
                    self.phase = Phase::Voting;
                    next = m.look(base, &self.history);
                }
            }
            Input::Opened { conn, port: Port::Quorum, .. } => m.let_wait(base, conn),
            Input::Opened { conn, port: Port::ObserverMaster, .. } => Member::turn_observer_away(base, conn),
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
            // The answer to what a role that is over has asked.
            Input::Read { .. } => {}
            Input::Durable { lane, upto } => {
                for vouch in base.durable(lane, upto) {
                    base.event(Event::Vouched(vouch));
                    if let (Vouch::Recovered(_), Phase::Recovering) = (vouch, self.phase) {
                        base.become_role(RoleName::Looking);
                        self.read_only = ReadOnly::since(base);
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
