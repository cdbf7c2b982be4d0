//! A run as clients see it. They know what they asked, what they were told, and what has become of it in the end; of what went
//! on in servers they know nothing. So here the committed sequence is the history that the last leader's servers end with,
//! whatever leaders before counted: what clients were shown and is not in it, was lost. Which rules are theirs is
//! [`Rule::is_of_clients`]. The judge of planted flaws: a flaw that only the other rules find would pass in an implementation
//! whose insides nobody knows.

use super::durable::fold;
use super::model::{Model, Place};
use super::peers::Peers;
use super::txn::Head;
use super::{Checker, Cx, Found, Limits, Rule, Violation};
use crate::history::{Entry, HandleState, History, SET_WATCHES};
use zebu_core::boundary::{Event, Vouch};
use zebu_core::id::{ServerId, SessionId, Zxid};
use zebu_core::time::{Span, Time};

impl Rule {
    /// What it says can be seen in calls, returns, events and states of clients and in the state at the end.
    pub fn is_of_clients(self) -> bool {
        match self {
            Rule::C1
            | Rule::C1Search
            | Rule::C2
            | Rule::C3
            | Rule::C4
            | Rule::C5
            | Rule::C6
            | Rule::X1
            | Rule::F1
            | Rule::W1
            | Rule::W2
            | Rule::W3
            | Rule::E1
            | Rule::E2
            | Rule::G1
            | Rule::N1
            | Rule::M1
            | Rule::L3 => true,
            Rule::S1
            | Rule::S2
            | Rule::S3
            | Rule::S4
            | Rule::T1
            | Rule::T2
            | Rule::D1
            | Rule::D2
            | Rule::D3
            | Rule::D4
            | Rule::Z1
            | Rule::Z2
            | Rule::Z3
            | Rule::Z4
            | Rule::Z5
            | Rule::Z6
            | Rule::P1
            | Rule::L1
            | Rule::L2
            | Rule::L4
            | Rule::L5 => false,
        }
    }
}

/// The history in the end, and how much of it the model has.
struct Final {
    txns: Vec<(Zxid, Place)>,
    folded: usize,
    /// The zxid that each server has come to.
    applied: Vec<(ServerId, Zxid)>,
}

impl Final {
    /// Where a transaction stands, if it was not lost.
    fn position(&self, h: &History, zxid: Zxid, txn: &[u8]) -> Option<usize> {
        let at = self.txns[self.folded..].iter().position(|(z, _)| *z == zxid)? + self.folded;
        (self.txns[at].1.body(h) == txn).then_some(at)
    }

    fn applied(&self, server: ServerId) -> Zxid {
        self.applied.iter().find(|(s, _)| *s == server).map_or(Zxid::ZERO, |(_, z)| *z)
    }

    fn apply(&mut self, server: ServerId, zxid: Zxid) {
        match self.applied.iter_mut().find(|(s, _)| *s == server) {
            Some((_, at)) => *at = zxid,
            None => self.applied.push((server, zxid)),
        }
    }
}

/// What a standalone server has in the end.
fn of_one(h: &History) -> Vec<(Zxid, Place)> {
    let mut txns: Vec<(Zxid, Place)> = Vec::new();
    for (number, (_, entry)) in h.entries.iter().enumerate() {
        match entry {
            Entry::Recovered { found, tail, .. } => {
                txns.retain(|(zxid, _)| *zxid <= found.last);
                for body in tail.0..tail.1 {
                    let zxid = Head::read(&h.bodies[body as usize]).map_or(Zxid::NONE, |head| head.zxid);
                    if txns.last().is_none_or(|(last, _)| *last < zxid) {
                        txns.push((zxid, Place::Tail(body)));
                    }
                }
            }
            Entry::Server { event: Event::Committed { zxid, .. }, .. }
                if txns.last().is_none_or(|(last, _)| last < zxid) =>
            {
                txns.push((*zxid, Place::Entry(number as u32)));
            }
            _ => {}
        }
    }
    txns
}

/// What the servers of the last epoch have in the end.
fn of_ensemble(peers: &Peers) -> Vec<(Zxid, Place)> {
    let last = peers.last_applied();
    peers
        .lines
        .path(super::lines::ROOT, last)
        .into_iter()
        .map(|id| (peers.lines.zxid(id), peers.lines.get(id).place))
        .collect()
}

impl Checker {
    /// Judges a whole run by what clients can see.
    pub fn run_for_clients(&mut self, h: &History, limits: &Limits) -> &[Violation] {
        self.run(h, limits);
        let forgiven = self.servers.forgiven();
        if forgiven && self.servers.void() {
            // A disk that lied has lost what it lied about.
            self.found.list.clear();
            return &self.found.list;
        }
        let txns = match limits.config.ensemble {
            None => of_one(h),
            Some(_) => of_ensemble(&self.servers.peers),
        };
        let mut known = Final { txns, folded: 0, applied: Vec::new() };
        self.begin();
        if let Some(ensemble) = &limits.config.ensemble {
            self.model.begin_ensemble(ensemble);
        }
        self.for_clients = true;
        let mut lives = Lives::default();
        for (at, entry) in &h.entries {
            let cx = Cx { h, limits, at: *at };
            self.live.on(cx, (&self.order, &limits.ensemble), entry, forgiven, &mut self.found);
            lives.on(*at, entry);
            match entry {
                Entry::Server { server, event, .. } => self.told(cx, (*server, event), &mut known),
                Entry::Recovered { server, found, .. } => known.apply(*server, found.tree),
                _ => self.client(cx, entry),
            }
        }
        let at = h.entries.last().map_or(Time(0), |(at, _)| *at);
        let (cx, found) = (Cx { h, limits, at }, &mut self.found);
        self.live.finish(cx, (&self.order, &limits.ensemble), forgiven, found);
        self.watches.finish(&self.model, at, found);
        self.order.finish(cx, &mut self.model, found);
        lives.finish(cx, &self.model, found);
        self.for_clients = false;
        self.found.list.retain(|v| v.rule.is_of_clients());
        &self.found.list
    }

    /// What servers say tells only when something became visible.
    fn told(&mut self, cx: Cx<'_>, (server, event): (ServerId, &Event), known: &mut Final) {
        match event {
            Event::Committed { zxid, txn } => {
                if let Some(at) = known.position(cx.h, *zxid, txn) {
                    self.fold_to(cx, server, known, at + 1);
                }
            }
            // What a standalone server's log held beyond the last commit counts from now on.
            Event::Vouched(Vouch::Recovered(zxid)) if cx.limits.config.ensemble.is_none() => {
                let upto = known.txns.partition_point(|(z, _)| z <= zxid);
                self.fold_to(cx, server, known, upto);
            }
            Event::Applied { zxid, .. } | Event::Installed { zxid, .. } => known.apply(server, *zxid),
            Event::Activated { epoch } => self.model.start(*epoch),
            Event::Replied { session, op, .. } if SET_WATCHES.contains(op) => {
                let met = self.model.index(known.applied(server));
                self.order.watches_set(met, &mut self.watches, server, *session);
            }
            Event::SessionAttached { session, conn, .. } => {
                self.order.attached(cx.at, (server, None), *session, *conn);
            }
            _ => {}
        }
    }

    fn fold_to(&mut self, cx: Cx<'_>, server: ServerId, known: &mut Final, upto: usize) {
        for (zxid, place) in known.txns.get(known.folded..upto).unwrap_or_default() {
            // That the log itself makes sense is for others to judge.
            let mut unheard = Found::default();
            fold(cx, &mut self.model, server, *zxid, (*place, cx.at), &mut unheard);
            // But that a node is gone, and why, clients see.
            self.found.list.extend(unheard.list.drain(..).filter(|v| v.rule == Rule::G1));
        }
        known.folded = known.folded.max(upto);
    }
}

/// E2 as clients can tell it: a session whose calls were answered does not expire before its time. What a learner took its
/// leader knows a while later, if the learner stays.
#[derive(Default)]
struct Lives {
    /// By handle.
    sessions: Vec<Option<(SessionId, i32)>>,
    /// By handle: what it asks comes to the ears of a leader, as far as it knows.
    heard: Vec<bool>,
    /// By call: when it was made.
    made: Vec<Time>,
    /// Session, when one of its calls was made and when it was answered.
    signs: Vec<(SessionId, Time, Time)>,
}

impl Lives {
    fn on(&mut self, at: Time, entry: &Entry) {
        match entry {
            Entry::Open { .. } => {
                self.sessions.push(None);
                self.heard.push(false);
            }
            Entry::Invoke { .. } => self.made.push(at),
            Entry::State { who, state: HandleState::Connected { session, timeout_ms, read_only, .. } } => {
                self.sessions[usize::from(who.handle)] = Some((*session, *timeout_ms));
                self.heard[usize::from(who.handle)] = !read_only;
            }
            Entry::Return { who, call, conn: Some(_), .. } if self.heard[usize::from(who.handle)] => {
                if let Some((session, _)) = self.sessions[usize::from(who.handle)] {
                    self.signs.push((session, self.made[call.0 as usize], at));
                }
            }
            _ => {}
        }
    }

    fn finish(&self, cx: Cx<'_>, model: &Model, found: &mut Found) {
        for (session, timeout_ms) in self.sessions.iter().flatten() {
            let Some(end) = model.session(*session).and_then(|s| s.closed) else { continue };
            // A client's own close has the number of its request in its header.
            let (closed, body) = (model.txn(end).at, model.txn(end).place.body(cx.h));
            let expired = body.get(8..12) == Some(&[0; 4]);
            let sign = self.signs.iter().filter(|(s, _, answered)| s == session && *answered < closed);
            let Some(last) = sign.map(|(_, made, _)| *made).max().filter(|_| expired) else { continue };
            found.look(Rule::E2);
            // Servers' clocks run at most a tenth too fast.
            let timeout = Span::from_millis((*timeout_ms).max(0) as u64 * 9 / 10);
            let silent = closed.since(last).0 + 2 * cx.limits.touch_lag.0;
            if silent < timeout.0 {
                found.add(Rule::E2, closed, || {
                    let ms = closed.since(last).as_millis();
                    format!("session {session} expired {ms} ms after a call that was answered, before its {timeout_ms} ms")
                });
            }
        }
    }
}
