//! What a member of an ensemble keeps over its roles: the election port, the connections of the quorum port, the configuration.
//! Answers to `QuorumPeer`. Knows no tree and no client.

use super::base::Base;
use super::masters::Masters;
use super::peers::Peers;
use super::reconfig;
use crate::addr::Addr;
use crate::boundary::{AdminOrder, CloseCause, Conn, Dials, Event, Input, Output, Port, Timer};
use crate::config::EnsembleConfig;
use crate::disk::Recovered;
use crate::election::{self, Election, Outcome, Step};
use crate::id::{Epoch, ServerId, Zxid};
use crate::limits;
use crate::proto::ServerState;
use crate::quorum::{LearnerType, QuorumView};
use crate::rng::Rng;
use crate::time::{Span, Time};
use crate::zab::{self, History, WindowLimits};

/// See the module.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) me: ServerId,
    pub(super) zab: zab::Settings,
    election_settings: election::Settings,
    /// `None` until what was recovered is durable: a vote vouches for it.
    election: Option<Election>,
    /// The configurations at the start; once there is an election, its own count.
    view: QuorumView,
    /// This server's election port by its settings.
    own: Addr,
    pub(super) observer_delay: Span,
    /// A voter looks for a leader, though this server has settled for one; and whether with a better vote.
    pub(super) voter_looks: Option<bool>,
    pub(super) dials: Dials,
    /// Roles of a learner in a row that ended before it served.
    pub(super) fruitless: u32,
    pub(super) peers: Peers,
    pub(super) masters: Masters,
    pub(super) rng: Rng,
}

/// The role to take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// None: look for a leader.
    Look,
    /// To lead.
    Lead,
    /// To learn from this server.
    Learn(LearnerType, ServerId),
}

impl Member {
    /// A member on what recovery found.
    pub(super) fn recover(
        me: ServerId,
        tick: Span,
        config: &EnsembleConfig,
        recovered: &Recovered,
        seed: [u8; 32],
    ) -> (Member, History) {
        let ms = Span::from_millis;
        let times = &config.election;
        let own = config.members.member(me).and_then(|m| m.election_addrs().next());
        let member = Member {
            me,
            zab: zab::Settings {
                tick,
                init_limit: config.init_limit,
                sync_limit: config.sync_limit,
                finalize_wait: ms(times.finalize_wait_ms),
                last_counter: config.last_counter,
                reconfig_enabled: config.reconfig_enabled,
                force_snapshot: config.force_snapshot_sync,
                observer_masters: config.observer_master_port.is_some(),
                observer_size_limit: config.observer_size_limit,
                epoch_wait: config.max_time_to_wait_for_epoch_ms.map(ms),
            },
            election_settings: election::Settings {
                min_interval: ms(times.min_notification_ms),
                max_interval: ms(times.max_notification_ms),
                finalize_wait: ms(times.finalize_wait_ms),
                dial_timeout: ms(times.dial_timeout_ms),
                handshake_timeout: times
                    .handshake_timeout_ms
                    .map_or(Span(tick.0.saturating_mul(config.sync_limit)), ms),
                reconfig_enabled: config.reconfig_enabled,
                rules: config.rules,
            },
            election: None,
            view: reconfig::recovered(config, recovered),
            own: own.expect("a member's settings list it"),
            observer_delay: ms(times.observer_delay_ms),
            voter_looks: None,
            dials: Dials::default(),
            fruitless: 0,
            peers: Peers::default(),
            masters: Masters::new(config.observer_master_port),
            rng: Rng::new(seed),
        };
        let of_log = Epoch::of(recovered.last_zxid);
        let history = History::recovered(
            recovered.accepted_epoch.map_or(of_log, Epoch),
            recovered.current_epoch.map_or(of_log, Epoch),
            recovered.tree.last_zxid(),
            recovered.tail.iter().cloned(),
            WindowLimits { txns: config.commit_log_count, bytes: config.commit_log_bytes },
        );
        (member, history)
    }

    /// The configurations.
    pub(super) fn view(&self) -> &QuorumView {
        self.election.as_ref().map_or(&self.view, |e| e.view())
    }

    /// What this server is by its configuration.
    pub(super) fn learner_type(&self) -> LearnerType {
        self.view().learner_type(self.me)
    }

    // ---- election ----

    /// Looks for a leader, with this history.
    pub(super) fn look(&mut self, base: &mut Base, history: &History) -> Option<Next> {
        let held = election::History { zxid: history.last(), epoch: history.current().0 };
        let mut step = Step { now: base.now.mono, dials: &mut self.dials, out: &mut base.out };
        let outcomes = match &mut self.election {
            Some(election) => election.look(&mut step, held),
            None => {
                let (settings, view) = (self.election_settings, self.view.clone());
                let own = self.own.clone();
                let (election, outcomes) = Election::start(&mut step, self.me, own, settings, view, held);
                self.election = Some(election);
                outcomes
            }
        };
        self.decide(base, outcomes)
    }

    /// The leader is established: the votes of this server say so.
    pub(super) fn synchronised(&mut self, epoch: Epoch) {
        self.fruitless = 0;
        if let Some(election) = &mut self.election {
            election.synchronised(epoch.0);
        }
    }

    /// Other configurations count from here on. Votes that are decided by them are looked at when the role ends.
    pub(super) fn set_view(&mut self, base: &mut Base, view: QuorumView) {
        let mut step = Step { now: base.now.mono, dials: &mut self.dials, out: &mut base.out };
        match &mut self.election {
            Some(election) => {
                let outcomes = election.set_view(&mut step, view);
                assert!(outcomes.is_empty(), "only a server that looks for a leader decides");
            }
            None => self.view = view,
        }
    }

    /// Takes this server for its leader, or this server itself, without an election.
    pub(super) fn settle(&mut self, leader: ServerId, zxid: Zxid) -> ServerState {
        self.election.as_mut().expect("it votes since its start").take_role(leader, zxid)
    }

    fn decide(&mut self, base: &mut Base, outcomes: Vec<Outcome>) -> Option<Next> {
        let mut next = None;
        for outcome in outcomes {
            match outcome {
                Outcome::Decided(decision) => {
                    let leader = decision.vote.leader;
                    base.event(Event::Elected { leader, round: decision.round });
                    next = Some(match decision.state {
                        ServerState::Leading => Next::Lead,
                        ServerState::Following => Next::Learn(LearnerType::Participant, leader),
                        ServerState::Observing => Next::Learn(LearnerType::Observer, leader),
                        ServerState::Looking => Next::Look,
                    });
                }
                Outcome::Adopted(config) => {
                    self.goes_by(base, &config);
                    base.event(Event::Reconfigured { text: config.to_string() });
                }
                Outcome::VoterLooks { better } => {
                    self.voter_looks = Some(better || self.voter_looks == Some(true));
                }
            }
        }
        next
    }

    /// Takes what is the election's, and what every role does alike. What is left is the role's; a wake-up is everybody's.
    pub(super) fn hear<'a>(
        &mut self,
        base: &mut Base,
        input: Input<'a>,
    ) -> (Option<Next>, Option<Input<'a>>) {
        let mut step = Step { now: base.now.mono, dials: &mut self.dials, out: &mut base.out };
        let election = self.election.as_mut();
        let outcomes = match (input, election) {
            (Input::Wake, Some(e)) => {
                let outcomes = e.wake(&mut step);
                return (self.decide(base, outcomes), Some(Input::Wake));
            }
            (Input::Opened { conn, port: Port::Election, .. }, Some(e)) => e.opened(&mut step, conn),
            (Input::Opened { conn, port: Port::Election, .. }, None) => {
                base.out.push(Output::Close { conn });
                return (None, None);
            }
            (Input::Received { conn, bytes }, Some(e)) if e.owns(conn) => e.received(&mut step, conn, bytes),
            (Input::Closed { conn }, Some(e)) if e.owns(conn) => e.closed(&mut step, conn),
            (Input::Writable { conn }, Some(e)) if e.owns(conn) => {
                e.writable(&mut step, conn);
                return (None, None);
            }
            (Input::Opened { conn, port: Port::Client, peer }, _) => {
                base.open(conn, peer);
                return (None, None);
            }
            (Input::DiskFailed { fault }, _) => {
                base.disk_failed(fault);
                return (None, None);
            }
            (Input::Admin { order: AdminOrder::HostGauges { open_fds, max_fds } }, _) => {
                base.stats.open_fds = open_fds;
                base.stats.max_fds = max_fds;
                return (None, None);
            }
            (input, _) => return (None, Some(input)),
        };
        (self.decide(base, outcomes), None)
    }

    /// When [`Member::hear`] wants a wake-up.
    pub(super) fn next_wake(&self) -> Option<(Time, Timer)> {
        self.election.as_ref().and_then(|e| e.next_wake()).map(|at| (at, Timer::Election))
    }

    // ---- learners that came too early ----

    /// Lets a learner wait until this server leads.
    pub(super) fn let_wait(&mut self, base: &mut Base, conn: Conn) {
        let waiting = self.peers.waiting();
        if waiting.len() >= limits::QUORUM_WAITING {
            self.peers.close(waiting[0], CloseCause::NotLeading, &mut base.out);
        }
        self.peers.let_wait(conn, limits::MAX_LEARNER_PACKET);
    }

    /// This server has no place for observers.
    pub(super) fn turn_observer_away(base: &mut Base, conn: Conn) {
        base.event(Event::ConnClosed { conn, cause: CloseCause::NoObserverMaster });
        base.out.push(Output::Close { conn });
    }

    /// One of those said something.
    pub(super) fn waiting_says(&mut self, base: &mut Base, conn: Conn, bytes: &[u8]) {
        self.peers.feed(conn, bytes);
        if self.peers.buffered(conn) > limits::QUORUM_WAITING_BYTES {
            self.peers.close(conn, CloseCause::NotLeading, &mut base.out);
        }
    }
}
