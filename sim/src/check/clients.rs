//! A run as clients see it. They know what they asked, what they were told, and what has become of it in the end; of what went
//! on in servers they know nothing. So here the committed sequence is the history that the last leader's servers end with,
//! whatever leaders before counted: what clients were shown and is not in it, was lost. Which rules are theirs is
//! [`Rule::is_of_clients`]. The judge of planted flaws: a flaw that only the other rules find would pass in an implementation
//! whose insides nobody knows.

use super::durable::fold;
use super::model::Place;
use super::peers::Peers;
use super::txn::Head;
use super::{Checker, Cx, Found, Limits, Rule, Violation};
use crate::history::{Entry, History, SET_WATCHES};
use zebu_core::boundary::Event;
use zebu_core::id::{ServerId, Zxid};
use zebu_core::time::Time;

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
        if self.servers.void() {
            self.found.list.clear();
            return &self.found.list;
        }
        let forgiven = self.servers.forgiven();
        let txns = match limits.config.ensemble {
            None => of_one(h),
            Some(_) => of_ensemble(&self.servers.peers),
        };
        let mut known = Final { txns, folded: 0, applied: Vec::new() };
        self.begin();
        self.for_clients = true;
        for (at, entry) in &h.entries {
            let cx = Cx { h, limits, at: *at };
            self.live.on(cx, &self.order, entry, forgiven, &mut self.found);
            match entry {
                Entry::Server { server, event, .. } => self.told(cx, (*server, event), &mut known),
                Entry::Recovered { server, found, .. } => known.apply(*server, found.tree),
                _ => self.client(cx, entry),
            }
        }
        let at = h.entries.last().map_or(Time(0), |(at, _)| *at);
        let (cx, found) = (Cx { h, limits, at }, &mut self.found);
        self.live.finish(cx, &self.order, forgiven, found);
        self.watches.finish(&self.model, at, found);
        self.order.finish(cx, &mut self.model, found);
        self.for_clients = false;
        self.found.list.retain(|v| v.rule.is_of_clients());
        &self.found.list
    }

    /// What servers say tells only when something became visible.
    fn told(&mut self, cx: Cx<'_>, (server, event): (ServerId, &Event), known: &mut Final) {
        match event {
            Event::Committed { zxid, txn } => {
                let Some(upto) = known.position(cx.h, *zxid, txn) else { return };
                for (zxid, place) in &known.txns[known.folded..=upto] {
                    // That the log itself makes sense is for others to judge.
                    let mut unheard = Found::default();
                    fold(cx, &mut self.model, server, *zxid, (*place, cx.at), &mut unheard);
                }
                known.folded = upto + 1;
            }
            Event::Applied { zxid, .. } | Event::Installed { zxid, .. } => known.apply(server, *zxid),
            Event::Activated { epoch } => self.model.start(*epoch),
            Event::Replied { session, op, .. } if SET_WATCHES.contains(op) => {
                let met = self.model.index(known.applied(server));
                self.order.watches_set(met, &mut self.watches, server, *session);
            }
            Event::SessionAttached { session, conn, .. } => {
                self.order.attached(cx.at, server, *session, *conn);
            }
            _ => {}
        }
    }
}
