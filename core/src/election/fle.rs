//! Fast leader election: votes are exchanged until a quorum agrees on the best one. Answers to `FastLeaderElection`.
//! Knows servers and their notifications, no connection.
//!
//! A server that looks for a leader proposes itself, adopts every better proposal that it hears of, and tells all voters
//! whenever its proposal changes. It decides when all needed quorums agree with it: at once if every voter does (those
//! that cannot be reached apart), else after a quiet time in which a better vote may still come. Servers that have a
//! leader answer with it; whoever hears the same leader from a quorum, and from that leader too, joins them.
//!
//! Where a configuration is proposed and perhaps committed, its quorum is needed too, and some that it would make electable
//! may have more of the history than anyone who is so now: nobody can be elected without them. So whoever has seen the proposal
//! tells it with its vote, and others hear and follow those that it names. A server of ZooKeeper neither tells nor hears of it,
//! and would not vote for them: so they stand at some times and not at others, for longer and longer. (In ZooKeeper they never
//! stand.)

use super::Settings;
use crate::id::{ServerId, Zxid};
use crate::limits;
use crate::proto::{NOTIFICATION_VERSION, Notification, ServerState, Vote};
use crate::quorum::{LearnerType, QuorumVerifier, QuorumView};
use crate::time::{Span, Time};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a server has: the base of its own vote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct History {
    /// The last zxid of its log, committed or not. [`Zxid::NONE`]: a voter whose disk is empty and must not be.
    pub zxid: Zxid,
    /// currentEpoch.
    pub epoch: i64,
}

/// A leader is found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// What this server is to be.
    pub state: ServerState,
    /// For whom, by the leader's history as it was voted for.
    pub vote: Vote,
    /// In which round.
    pub round: i64,
    /// Whose votes made it.
    pub supporters: BTreeSet<ServerId>,
}

/// What comes of a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// To one server.
    Send(ServerId, Notification),
    /// The election is over.
    Decided(Decision),
    /// A newer configuration is in force, and has been taken over.
    Adopted(Arc<QuorumVerifier>),
    /// What others have seen proposed is another configuration than before, or none.
    HeardOf,
}

/// A vote as it is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Ballot {
    vote: Vote,
    round: i64,
    state: ServerState,
    /// Of the notification; 0 where it is not kept.
    version: i32,
}

impl Ballot {
    /// `Vote.equals`: of servers that have a leader the zxid and the round may differ, for they tell of another time.
    fn agrees(&self, other: &Ballot) -> bool {
        let looking = self.state == ServerState::Looking || other.state == ServerState::Looking;
        if looking {
            self.vote == other.vote && self.round == other.round
        } else {
            let one_is_old = (self.version > 0) != (other.version > 0);
            self.vote.leader == other.vote.leader
                && (one_is_old || self.vote.peer_epoch == other.vote.peer_epoch)
        }
    }
}

/// An election that goes on.
#[derive(Clone, Debug)]
struct Looking {
    proposal: Vote,
    /// The votes of this round.
    recvset: BTreeMap<ServerId, Ballot>,
    /// The votes of servers that have a leader, whatever their round.
    outofelection: BTreeMap<ServerId, Ballot>,
    /// Pause before the proposal is told again; doubles.
    interval: Span,
    /// A voter was heard of since it was told last.
    heard: bool,
    resend_at: Time,
    /// The end of the quiet time, once the quorums agree.
    decide_at: Option<Time>,
}

/// See [`FastLeaderElection::may_stand`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Standing {
    stands: bool,
    time: Span,
    until: Time,
}

#[derive(Clone, Debug)]
enum State {
    Looking(Looking),
    /// Following, leading or observing.
    Settled(ServerState),
}

/// The machine.
#[derive(Clone, Debug)]
pub(super) struct FastLeaderElection {
    me: ServerId,
    settings: Settings,
    view: QuorumView,
    /// The committed configuration as notifications carry it.
    config_text: Bytes,
    /// The one that is proposed.
    proposed_text: Option<Bytes>,
    history: History,
    /// logicalclock. Counts from 1 with every life of the process, and anew with every configuration.
    round: i64,
    /// currentVote: what others are told while this server has a leader.
    current: (Vote, i64),
    /// Voters that a dial found nobody at.
    absent: BTreeSet<ServerId>,
    /// How long this server has stood, or has not, and when that changes; of one that only a proposed configuration makes
    /// electable.
    standing: Standing,
    /// Non-voters that were answered a moment ago.
    answered: BTreeMap<ServerId, Time>,
    state: State,
}

impl FastLeaderElection {
    /// Begins, looking for a leader.
    pub(super) fn start(
        now: Time,
        me: ServerId,
        settings: Settings,
        view: QuorumView,
        history: History,
        out: &mut Vec<Said>,
    ) -> FastLeaderElection {
        let current = Vote { peer_epoch: history.epoch, zxid: history.zxid, leader: me };
        let mut fle = FastLeaderElection {
            me,
            settings,
            config_text: view.committed.to_string().into(),
            proposed_text: proposed_text(&view),
            view,
            history,
            round: 0,
            current: (current, -1),
            absent: BTreeSet::new(),
            standing: Standing { stands: false, time: Span::ZERO, until: now },
            answered: BTreeMap::new(),
            state: State::Settled(ServerState::Looking),
        };
        fle.look(now, history, out);
        fle
    }

    /// The role is over: look for a leader.
    pub(super) fn look(&mut self, now: Time, history: History, out: &mut Vec<Said>) {
        self.history = history;
        if self.view.heard_of.take().is_some() {
            out.push(Said::HeardOf);
        }
        let time = Span(self.settings.finalize_wait.0.saturating_add(2 * self.heard_interval().0));
        self.standing = Standing { stands: false, time, until: now + time };
        self.begin_round(now, out);
    }

    fn begin_round(&mut self, now: Time, out: &mut Vec<Said>) {
        // A peer may claim the last round there is; the rounds after it are all that one.
        self.round = self.round.saturating_add(1);
        self.state = State::Looking(Looking {
            proposal: self.own_vote(),
            recvset: BTreeMap::new(),
            outofelection: BTreeMap::new(),
            interval: self.settings.min_interval,
            heard: false,
            resend_at: now,
            decide_at: None,
        });
        self.tell_all(now, out);
        self.tally(now, out);
    }

    /// This server's role begins without an election: a reconfiguration named the leader.
    pub(super) fn take_role(&mut self, leader: ServerId, zxid: Zxid) -> ServerState {
        self.current = (Vote { peer_epoch: -1, zxid, leader }, -1);
        let state = self.state_under(leader);
        self.state = State::Settled(state);
        state
    }

    /// The role has begun in earnest, in this epoch: late comers are told so.
    pub(super) fn synchronised(&mut self, epoch: i64) {
        self.current.0.peer_epoch = epoch;
    }

    /// Another configuration is committed or proposed.
    pub(super) fn set_view(&mut self, now: Time, view: QuorumView, out: &mut Vec<Said>) {
        let same = view.committed.is_same(&self.view.committed);
        self.config_text = view.committed.to_string().into();
        self.proposed_text = proposed_text(&view);
        self.view = view;
        if !same {
            self.restart(now, out);
        }
    }

    /// Voters that cannot be reached do not hold up a decision.
    pub(super) fn set_absent(&mut self, now: Time, absent: &BTreeSet<ServerId>, out: &mut Vec<Said>) {
        if *absent != self.absent {
            self.absent = absent.clone();
            self.tally(now, out);
        }
    }

    /// This vote would have won over the one that this server has settled for.
    pub(super) fn is_better(&self, vote: &Vote) -> bool {
        *vote > self.current.0 && self.view.committed.is_electable(vote.leader)
    }

    /// What this server says it is doing.
    pub(super) fn state(&self) -> ServerState {
        match &self.state {
            State::Looking(_) => ServerState::Looking,
            State::Settled(state) => *state,
        }
    }

    /// The round and the proposal, while looking.
    #[cfg(test)]
    pub(super) fn proposal(&self) -> Option<(i64, Vote)> {
        match &self.state {
            State::Looking(l) => Some((self.round, l.proposal)),
            State::Settled(_) => None,
        }
    }

    pub(super) fn view(&self) -> &QuorumView {
        &self.view
    }

    pub(super) fn next_wake(&self) -> Option<Time> {
        match &self.state {
            State::Looking(l) => {
                let stand = self.may_stand().then_some(self.standing.until);
                [Some(l.resend_at), l.decide_at, stand].into_iter().flatten().min()
            }
            State::Settled(_) => None,
        }
    }

    pub(super) fn wake(&mut self, now: Time, out: &mut Vec<Said>) {
        self.tally(now, out);
        let heard_interval = self.heard_interval();
        let changes = self.may_stand() && self.standing.until <= now;
        let State::Looking(l) = &mut self.state else { return };
        if changes {
            let Standing { stands, time, .. } = self.standing;
            let time = Span(time.0.saturating_mul(2));
            self.standing = Standing { stands: !stands, time, until: now + time };
            return self.begin_round(now, out);
        }
        if l.resend_at <= now {
            // The long pauses are for a network that is silent. Where others answer, the next answer may name a leader.
            let longest = if l.heard { heard_interval } else { self.settings.max_interval };
            l.interval = Span(l.interval.0.saturating_mul(2)).min(longest);
            l.heard = false;
            self.tell_all(now, out);
        }
    }

    /// Takes in a notification.
    pub(super) fn received(&mut self, now: Time, from: ServerId, n: &Notification, out: &mut Vec<Said>) {
        if self.adopt(now, n, out) {
            return;
        }
        self.hear_of(now, n, out);
        let asks = n.state == ServerState::Looking;
        if !self.view.is_voter(from) {
            // This is how observers and joiners learn the leader; their votes do not count. While looking, the proposal is
            // told: Java tells its last leader, who may be gone, and whom a quorum of such answers would elect.
            if asks && self.may_answer(now, from) {
                let vote = match &self.state {
                    State::Looking(l) => l.proposal,
                    State::Settled(_) => self.current.0,
                };
                out.push(Said::Send(from, self.notification(vote, self.round)));
            }
            return;
        }
        let longest = self.heard_interval();
        match &mut self.state {
            State::Settled(_) if asks => {
                let (vote, round) = self.current;
                out.push(Said::Send(from, self.notification(vote, round)));
            }
            State::Settled(_) => {}
            State::Looking(l) => {
                (l.heard, l.resend_at) = (true, l.resend_at.min(now + longest));
                // Whoever is behind is told. So is who begins just now, with a worse vote: it may have had a leader yet when
                // this server's vote came, and would wait for the next telling. The better vote gets no answer, so this ends.
                let behind = n.round < self.round || (n.round == self.round && n.vote < l.proposal);
                // Whoever has no vote cannot call others into its round: they would answer each other for ever.
                if asks && behind && self.view.is_voter(self.me) {
                    let proposal = l.proposal;
                    out.push(Said::Send(from, self.notification(proposal, self.round)));
                }
                if self.view.is_voter(n.vote.leader) {
                    self.consider(now, from, n, out);
                } else if asks && n.round > self.round {
                    self.join_round(now, n.round, out);
                }
            }
        }
    }

    /// A voter that names nobody, or none that is known here, has begun another round: its votes in this one are void.
    fn join_round(&mut self, now: Time, round: i64, out: &mut Vec<Said>) {
        let own = self.own_vote();
        let State::Looking(l) = &mut self.state else { return };
        self.round = round;
        l.recvset.clear();
        (l.proposal, l.decide_at) = (own, None);
        self.tell_all(now, out);
        self.tally(now, out);
    }

    /// Two servers that look, each no voter to the other, must not answer each other for ever, as fast as the network goes.
    fn may_answer(&mut self, now: Time, from: ServerId) -> bool {
        match self.state {
            State::Settled(_) => true,
            State::Looking(_) => {
                let pause = Span(self.settings.min_interval.0 / 2);
                self.answered.retain(|_, at| now.since(*at) < pause);
                let may =
                    self.answered.len() < limits::ELECTION_STRANGERS && !self.answered.contains_key(&from);
                if may {
                    self.answered.insert(from, now);
                }
                may
            }
        }
    }

    /// Takes over a newer configuration. True if it is another one: the election begins anew, without this message.
    fn adopt(&mut self, now: Time, n: &Notification, out: &mut Vec<Said>) -> bool {
        let (State::Looking(_), Some(text)) = (&self.state, &n.config) else { return false };
        if !self.settings.reconfig_enabled || *text == self.config_text {
            return false;
        }
        let text = String::from_utf8_lossy(text);
        let Ok(newer) = QuorumVerifier::parse(&text, self.settings.rules) else { return false };
        if newer.version <= self.view.committed.version {
            return false;
        }
        let same = newer.is_same(&self.view.committed);
        self.config_text = newer.to_string().into();
        self.view.committed = Arc::new(newer);
        if self.view.committed.version > self.view.last_seen.version {
            self.view.last_seen = self.view.committed.clone();
        }
        self.proposed_text = proposed_text(&self.view);
        out.push(Said::Adopted(self.view.committed.clone()));
        if !same {
            self.restart(now, out);
        }
        !same
    }

    /// Takes note of a configuration that another server has seen proposed: those that it names are told of this one's vote.
    fn hear_of(&mut self, now: Time, n: &Notification, out: &mut Vec<Said>) {
        let (State::Looking(_), Some(text)) = (&self.state, &n.proposed) else { return };
        if !self.settings.reconfig_enabled || self.proposed_text.as_ref() == Some(text) {
            return;
        }
        let text = String::from_utf8_lossy(text);
        let Ok(proposed) = QuorumVerifier::parse(&text, self.settings.rules) else { return };
        let known = self.view.heard_of.as_ref().unwrap_or(&self.view.last_seen).version;
        if proposed.version > known {
            self.view.heard_of = Some(Arc::new(proposed));
            out.push(Said::HeardOf);
            self.tell_all(now, out);
        }
    }

    /// Other members: rounds are counted anew.
    fn restart(&mut self, now: Time, out: &mut Vec<Said>) {
        self.round = 0;
        match self.state {
            State::Looking(_) => self.look(now, self.history, out),
            State::Settled(_) => {}
        }
    }

    /// The vote of one voter for another, while looking.
    fn consider(&mut self, now: Time, from: ServerId, n: &Notification, out: &mut Vec<Said>) {
        match n.state {
            ServerState::Looking => self.consider_vote(now, from, n, out),
            ServerState::Observing => {}
            ServerState::Following | ServerState::Leading => self.consider_leader(from, n, out),
        }
    }

    fn consider_vote(&mut self, now: Time, from: ServerId, n: &Notification, out: &mut Vec<Said>) {
        let own = self.own_vote();
        let State::Looking(l) = &mut self.state else { return };
        // A voter that lost its disk neither votes nor is voted for.
        if own.zxid == Zxid::NONE || n.vote.zxid == Zxid::NONE || n.round < self.round {
            return;
        }
        let newer = n.round > self.round;
        if newer {
            self.round = n.round;
            l.recvset.clear();
            l.proposal = own;
        }
        let better = self.view.is_electable(n.vote.leader) && n.vote > l.proposal;
        if better {
            l.proposal = n.vote;
        }
        let ballot = Ballot { vote: n.vote, round: n.round, state: n.state, version: 0 };
        if newer || better {
            l.decide_at = None;
            self.tell_all(now, out);
        }
        if let State::Looking(l) = &mut self.state {
            l.recvset.insert(from, ballot);
        }
        self.tally(now, out);
    }

    /// The word of a server that has a leader.
    fn consider_leader(&mut self, from: ServerId, n: &Notification, out: &mut Vec<Said>) {
        let State::Looking(l) = &mut self.state else { return };
        let told = Ballot { vote: n.vote, round: n.round, state: n.state, version: n.version };
        let mut joined = None;
        if n.round == self.round {
            l.recvset.insert(from, Ballot { version: 0, ..told });
            joined = self.join(&told, |l| &l.recvset);
        }
        if joined.is_none()
            && let State::Looking(l) = &mut self.state
        {
            l.outofelection.insert(from, told);
            joined = self.join(&told, |l| &l.outofelection);
        }
        if let Some(supporters) = joined {
            self.round = n.round;
            self.decide(n.vote, supporters, out);
        }
    }

    /// Who agrees with this word of a leader, if they are a quorum and the leader itself says it leads.
    fn join(
        &self,
        told: &Ballot,
        votes: impl Fn(&Looking) -> &BTreeMap<ServerId, Ballot>,
    ) -> Option<BTreeSet<ServerId>> {
        let State::Looking(l) = &self.state else { return None };
        let votes = votes(l);
        let leader = told.vote.leader;
        let leads = match leader == self.me {
            true => self.round == told.round,
            false => {
                let word = votes.get(&leader);
                word.is_some_and(|b| b.state == ServerState::Leading && b.vote.leader == leader)
            }
        };
        let supporters = agreeing(votes, told);
        // To follow, one quorum is enough. What this server has seen last and nobody committed may have no quorum any more, where others
        // went on without it; that they may is decided between them and their leader, who has its quorums or will not serve.
        let enough = match leader == self.me {
            true => self.view.has_all_quorums(&supporters),
            false => self.view.needed().any(|v| v.is_quorum(&supporters)),
        };
        (leads && enough).then_some(supporters)
    }

    /// Decides if the proposal has its quorums and nothing better can be expected.
    fn tally(&mut self, now: Time, out: &mut Vec<Said>) {
        let State::Looking(l) = &mut self.state else { return };
        let proposal = l.proposal;
        let mine = Ballot { vote: proposal, round: self.round, state: ServerState::Looking, version: 0 };
        let supporters = agreeing(&l.recvset, &mine);
        if !self.view.has_all_quorums(&supporters) {
            l.decide_at = None;
            return;
        }
        let at = *l.decide_at.get_or_insert(now + self.settings.finalize_wait);
        let heard_all =
            self.view.voters().iter().all(|sid| supporters.contains(sid) || self.absent.contains(sid));
        if heard_all || at <= now {
            self.decide(proposal, supporters, out);
        }
    }

    fn decide(&mut self, vote: Vote, supporters: BTreeSet<ServerId>, out: &mut Vec<Said>) {
        let state = self.state_under(vote.leader);
        self.state = State::Settled(state);
        self.current = (vote, self.round);
        out.push(Said::Decided(Decision { state, vote, round: self.round, supporters }));
    }

    /// Tells the proposal to every voter, this server's own ballot box first.
    fn tell_all(&mut self, now: Time, out: &mut Vec<Said>) {
        let own = self.own_vote();
        let State::Looking(l) = &mut self.state else { return };
        l.resend_at = now + l.interval;
        let proposal = l.proposal;
        if self.view.is_voter(self.me) && self.view.is_voter(proposal.leader) && own.zxid != Zxid::NONE {
            let ballot =
                Ballot { vote: proposal, round: self.round, state: ServerState::Looking, version: 0 };
            l.recvset.insert(self.me, ballot);
        }
        for sid in self.view.voters().into_iter().filter(|sid| *sid != self.me) {
            out.push(Said::Send(sid, self.notification(proposal, self.round)));
        }
    }

    /// The longest pause between two askings of servers that answer.
    fn heard_interval(&self) -> Span {
        Span::from_millis(limits::ELECTION_HEARD_MS).min(self.settings.max_interval)
    }

    fn notification(&self, vote: Vote, round: i64) -> Notification {
        Notification {
            state: self.state(),
            vote,
            round,
            version: NOTIFICATION_VERSION,
            config: Some(self.config_text.clone()),
            proposed: self.proposed_text.clone().filter(|_| self.state() == ServerState::Looking),
        }
    }

    /// The vote that this server begins a round with. Observers, servers outside the configuration and those that weigh nothing
    /// name nobody.
    fn own_vote(&self) -> Vote {
        let nobody = ServerId(i64::MIN);
        // Whoever weighs nothing gets no other vote; and it has to vote for others where a proposed configuration counts it.
        let electable = match self.may_stand() {
            true => self.standing.stands,
            false => self.view.may_stand(self.me),
        };
        match self.view.learner_type(self.me) {
            LearnerType::Observer => Vote { peer_epoch: i64::MIN, zxid: Zxid(i64::MIN), leader: nobody },
            LearnerType::Participant => Vote {
                peer_epoch: self.history.epoch,
                zxid: self.history.zxid,
                leader: if electable { self.me } else { nobody },
            },
        }
    }

    /// Only the proposed configuration makes this server electable.
    fn may_stand(&self) -> bool {
        !self.view.committed.is_electable(self.me) && self.view.may_stand(self.me)
    }

    fn state_under(&self, leader: ServerId) -> ServerState {
        match self.view.learner_type(self.me) {
            LearnerType::Participant if leader == self.me => ServerState::Leading,
            LearnerType::Participant => ServerState::Following,
            LearnerType::Observer => ServerState::Observing,
        }
    }
}

fn proposed_text(view: &QuorumView) -> Option<Bytes> {
    (view.last_seen.version > view.committed.version).then(|| view.last_seen.to_string().into())
}

fn agreeing(votes: &BTreeMap<ServerId, Ballot>, with: &Ballot) -> BTreeSet<ServerId> {
    votes.iter().filter(|(_, b)| with.agrees(b)).map(|(sid, _)| *sid).collect()
}

#[cfg(test)]
mod tests;
