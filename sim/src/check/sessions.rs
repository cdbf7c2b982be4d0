//! E2 and S4, white-box: sessions expire by the monotonic clock of the server that leads, after their last packet and timeout,
//! within a tick or two; and they keep their identity. A sign of life that a learner took is at its leader with the answer to
//! the next ping, if the learner stays so long; a new leader gives everyone the full time. (E1, S1 and S2 come to light where
//! transactions are folded.)

use super::linear::Order;
use super::model::Model;
use super::txn::Head;
use super::{Cx, Found, Rule};
use crate::history::{HandleState, Who};
use std::collections::VecDeque;
use zebu_core::boundary::{CloseCause, Conn, Event};
use zebu_core::id::{ServerId, SessionId};
use zebu_core::time::{Millis, Span, Time};

/// A server's monotonic clock: a line.
#[derive(Clone, Copy, Debug)]
struct Clock {
    server: ServerId,
    from: Time,
    mono: Time,
    /// What its wall clock shows then.
    wall: Millis,
    ppm: i32,
    /// When its present time as the one that expires sessions began; `None`: it does not.
    reign: Option<Time>,
    /// Whom it tells of signs of life, itself if it expires sessions; `None`: it does not serve.
    follows: Option<ServerId>,
}

impl Clock {
    /// What passes on it from `from` on.
    fn passed(&self, at: Time) -> i128 {
        let passed = at.since(self.from).0 as i128;
        passed + passed * i128::from(self.ppm) / 1_000_000
    }

    fn mono(&self, at: Time) -> Time {
        Time((self.mono.0 as i128 + self.passed(at)) as u64)
    }

    fn wall(&self, at: Time) -> Millis {
        Millis(self.wall.0 + (self.passed(at) / 1_000_000) as i64)
    }
}

/// Who leads: for how long by its clock, and what its wall clock shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reign {
    pub(super) since: Span,
    pub(super) wall: Millis,
}

/// What keeps a session alive.
#[derive(Debug)]
struct Touched {
    session: SessionId,
    conn: Conn,
    server: ServerId,
    /// Who expires it.
    leader: ServerId,
    /// The last sign of life, on the leader's clock: for sure, and the last that may have been one.
    sure: Time,
    maybe: Time,
    /// True time of the last frame, and what `sure` was before it.
    last: (Time, Time),
    /// Signs of life that its leader may not know of yet: true time, and time on the leader's clock.
    recent: VecDeque<(Time, Time)>,
    /// Its leader has proposed its end.
    expired: bool,
    /// Some leader has.
    closing: bool,
    /// It is its server's own, who expires it: `leader` is that server.
    local: bool,
    /// As its client was told.
    timeout: Option<Span>,
}

impl Touched {
    /// What was taken `lag` ago is known to the leader.
    fn settle(&mut self, at: Time, lag: Span) {
        while let Some((taken, mono)) = self.recent.front().copied().filter(|(t, _)| *t + lag <= at) {
            self.recent.pop_front();
            self.sure = self.sure.max(mono);
            debug_assert!(taken <= at);
        }
    }
}

/// All sessions' clocks.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    clocks: Vec<Clock>,
    touched: Vec<Touched>,
    /// Every connection that was ever a session's: index into `touched`.
    conns: Vec<(Conn, usize)>,
    /// Sessions made in an ensemble: whose leader, and when on its clock.
    made: Vec<(SessionId, ServerId, Time)>,
    /// Connections of those who ask for sessions without their passwords.
    strangers: Vec<Conn>,
}

/// The kind of a transaction that makes a session.
const CREATE_SESSION: i32 = -10;

/// What reading a clock as a line may be off by.
const ROUNDING: Span = Span(1_000_000);

impl Sessions {
    pub(super) fn clear(&mut self) {
        self.clocks.clear();
        self.touched.clear();
        self.conns.clear();
        self.made.clear();
        self.strangers.clear();
    }

    /// This connection asks for a session that is another's.
    pub(super) fn stranger(&mut self, conn: Conn) {
        self.strangers.push(conn);
    }

    fn clock_mut(&mut self, server: ServerId) -> &mut Clock {
        let known = self.clocks.iter().position(|c| c.server == server);
        let at = known.unwrap_or_else(|| {
            let (from, mono, wall, ppm) = (Time(0), Time(0), Millis(0), 0);
            self.clocks.push(Clock { server, from, mono, wall, ppm, reign: None, follows: None });
            self.clocks.len() - 1
        });
        &mut self.clocks[at]
    }

    pub(super) fn clock(&mut self, at: Time, server: ServerId, (mono, wall, ppm): (Time, Millis, i32)) {
        let clock = self.clock_mut(server);
        (clock.from, clock.mono, clock.wall, clock.ppm) = (at, mono, wall, ppm);
    }

    /// Who leads, if anyone does.
    pub(super) fn leads(&self, at: Time) -> Option<Reign> {
        let (clock, began) = self.clocks.iter().find_map(|c| Some((c, c.reign?)))?;
        Some(Reign { since: clock.mono(at).since(began), wall: clock.wall(at) })
    }

    /// A transaction bears the time at which it is proposed.
    pub(super) fn proposed(&self, cx: Cx<'_>, server: ServerId, txn: &[u8], found: &mut Found) {
        let (Some(clock), Ok(head)) = (self.clocks.iter().find(|c| c.server == server), Head::read(txn))
        else {
            return;
        };
        let wall = clock.wall(cx.at).0;
        found.look(Rule::C2);
        if (head.time - wall).abs() > 1 {
            found.add(Rule::C2, cx.at, || {
                let ahead = head.time - wall;
                format!("server {server} proposes {} with a time {ahead} ms ahead of its clock", head.zxid)
            });
        }
    }

    pub(super) fn crash(&mut self, cx: Cx<'_>, server: ServerId) {
        let clock = self.clock_mut(server);
        (clock.reign, clock.follows) = (None, None);
        // What it did not tell its leader yet it never will.
        let lag = cx.limits.touch_lag;
        for t in self.touched.iter_mut().filter(|t| t.server == server) {
            t.settle(cx.at, lag);
            t.recent.clear();
        }
    }

    fn of(&self, conn: Conn) -> Option<usize> {
        self.conns.iter().rev().find(|(c, _)| *c == conn).map(|(_, t)| *t)
    }

    pub(super) fn taken(&mut self, cx: Cx<'_>, server: ServerId, conn: Conn, sure: bool) {
        let (follows, Some(n)) = (self.clock_mut(server).follows, self.of(conn)) else { return };
        let own = self.touched[n].local.then_some(server);
        let Some(leader) = own.or(follows) else { return };
        let (at, mono) = (cx.at, self.clock_mut(leader).mono(cx.at));
        let t = &mut self.touched[n];
        if t.leader != leader {
            return;
        }
        t.maybe = mono;
        if !sure || t.conn != conn {
            return;
        }
        if leader == server {
            t.last = (at, t.sure);
            t.sure = mono;
        } else {
            t.settle(at, cx.limits.touch_lag);
            t.recent.push_back((at, mono));
        }
    }

    /// The clock of the server that expires the session, while it does, and when that began.
    fn reign(&self, t: &Touched) -> Option<(Clock, Time)> {
        let clock = *self.clocks.iter().find(|c| c.server == t.leader)?;
        Some((clock, clock.reign?))
    }

    /// A server expires sessions from here on: it gives everyone the full timeout. Its clock may be another one.
    fn begins(&mut self, at: Time, model: &Model, server: ServerId, all: bool) {
        let clock = self.clock_mut(server);
        let now = clock.mono(at);
        clock.reign = Some(now);
        // Whoever follows this server, follows what it was before.
        self.clocks.iter_mut().filter(|c| c.follows == Some(server)).for_each(|c| c.follows = None);
        self.made.clear();
        self.touched.iter_mut().for_each(|t| t.local &= model.session(t.session).is_none());
        for t in self.touched.iter_mut().filter(|t| !t.local && (all || t.server == server)) {
            (t.sure, t.maybe, t.leader) = (now, now, server);
            t.expired &= !all;
            t.recent.clear();
        }
    }

    /// `leader`: whom an activated server follows, perhaps itself.
    pub(super) fn event(
        &mut self,
        cx: Cx<'_>,
        model: &Model,
        (server, event, leader): (ServerId, &Event, Option<ServerId>),
        found: &mut Found,
    ) {
        let at = cx.at;
        match event {
            Event::Became(_) if cx.limits.config.ensemble.is_none() => {
                self.begins(at, model, server, false);
                self.clock_mut(server).follows = Some(server);
            }
            Event::Activated { .. } => {
                if leader == Some(server) {
                    self.begins(at, model, server, true);
                }
                self.clock_mut(server).follows = leader;
            }
            Event::RoleLost { .. } => self.crash(cx, server),
            Event::ConnClosed { conn, cause } => {
                if *cause == CloseCause::SessionExpired {
                    self.local_expired(cx, *conn, found);
                }
                // A frame on which the server closes is no sign of life, nor is what came behind it; but frames that lay
                // unread may have been, up to now.
                let Some(n) = self.of(*conn) else { return };
                let leader = self.touched[n].leader;
                let now = self.clock_mut(leader).mono(at);
                let t = &mut self.touched[n];
                t.maybe = now;
                if t.last.0 == at && t.conn == *conn {
                    t.sure = t.last.1;
                }
                if t.recent.back().is_some_and(|(taken, _)| *taken == at) {
                    t.recent.pop_back();
                }
            }
            Event::Committed { zxid, .. } => {
                // Its request may have lain unread for long.
                let Some(index) = model.index(*zxid).filter(|i| *i > 0) else { return };
                let (session, now) = (model.txn(index).session, self.clock_mut(server).mono(at));
                let leads = self.clock_mut(server).follows == Some(server);
                if leads && model.txn(index).kind == CREATE_SESSION {
                    self.made.push((session, server, now));
                }
                if model.txn(index).kind == CREATE_SESSION {
                    self.upgraded(cx, server, session);
                }
                let mine = |t: &&mut Touched| t.session == session && t.leader == server && !t.expired;
                if let Some(t) = self.touched.iter_mut().find(mine) {
                    t.maybe = now;
                }
            }
            Event::SessionAttached { session, conn, reattached } => {
                found.look(Rule::S4);
                if self.strangers.contains(conn) {
                    found.add(Rule::S4, at, || {
                        format!(
                            "server {server} gives session {session} to {conn:?}, which has not its password"
                        )
                    });
                }
                self.attached(cx, model, server, (*session, *conn, *reattached));
            }
            Event::SessionExpired { session } => self.expired(cx, model, server, *session, found),
            Event::Proposed { txn, .. } => self.proposed(cx, server, txn, found),
            _ => {}
        }
    }

    fn attached(
        &mut self,
        cx: Cx<'_>,
        model: &Model,
        server: ServerId,
        (session, conn, reattached): (SessionId, Conn, bool),
    ) {
        let local = model.session(session).is_none();
        let follows = self.clock_mut(server).follows.filter(|_| !local);
        let leader = follows.unwrap_or(server);
        let now = self.clock_mut(leader).mono(cx.at);
        // A leader had to make it or to be asked first: it knows of the handshake.
        let made = self.made.iter().rev().find(|(s, l, _)| !reattached && *s == session && *l == leader);
        let sure = match made {
            _ if leader == server => now,
            Some((_, _, made)) => *made,
            None => now - cx.limits.touch_lag,
        };
        let n = self.touched.iter().position(|t| t.session == session);
        let n = n.unwrap_or(self.touched.len());
        let closing = self.touched.get(n).is_some_and(|t| t.closing);
        let (maybe, last, recent, expired, timeout) = (now, (cx.at, sure), VecDeque::new(), false, None);
        let fresh = Touched {
            session,
            conn,
            server,
            leader,
            sure,
            maybe,
            last,
            recent,
            expired,
            closing,
            local,
            timeout,
        };
        match self.touched.get_mut(n) {
            Some(t) => *t = fresh,
            None => self.touched.push(fresh),
        }
        self.conns.push((conn, n));
    }

    /// A local session was made known to all: from now on the leader expires it.
    fn upgraded(&mut self, cx: Cx<'_>, server: ServerId, session: SessionId) {
        // Who commits before it serves begins a reign, or follows one who does: that comes next.
        let leader = self.clock_mut(server).follows.unwrap_or(server);
        let now = self.clock_mut(leader).mono(cx.at);
        if let Some(t) = self.touched.iter_mut().find(|t| t.local && t.session == session) {
            (t.local, t.leader, t.sure, t.maybe) = (false, leader, now - cx.limits.touch_lag, now);
        }
    }

    /// A server says that a session of its own is over.
    fn local_expired(&mut self, cx: Cx<'_>, conn: Conn, found: &mut Found) {
        let Some(number) = self.of(conn).filter(|n| self.touched[*n].local) else { return };
        let (server, sure) = (self.touched[number].server, self.touched[number].sure);
        let Some(timeout) = self.touched[number].timeout else { return };
        found.look(Rule::E2);
        let silent = self.clock_mut(server).mono(cx.at).since(sure);
        if silent.0 + ROUNDING.0 < timeout.0 {
            found.add(Rule::E2, cx.at, || {
                let (silent, timeout) = (silent.as_millis(), timeout.as_millis());
                let session = self.touched[number].session;
                format!(
                    "local session {session} expired after {silent} ms of silence, before its {timeout} ms"
                )
            });
        }
    }

    fn expired(
        &mut self,
        cx: Cx<'_>,
        model: &Model,
        server: ServerId,
        session: SessionId,
        found: &mut Found,
    ) {
        let Some(number) = self.touched.iter().position(|t| t.session == session) else { return };
        let t = &mut self.touched[number];
        t.closing = true;
        if t.leader != server {
            return;
        }
        t.settle(cx.at, cx.limits.touch_lag);
        t.expired = true;
        let t = &self.touched[number];
        let (Some((clock, reign)), Some(s)) = (self.reign(t), model.session(session)) else {
            return;
        };
        found.look(Rule::E2);
        let silent = clock.mono(cx.at).since(t.sure.max(reign));
        let timeout = Span::from_millis(s.timeout_ms.max(0) as u64);
        // A sign of life at a learner may be lost with the learner before it is told.
        let lag = if t.server == server { Span::ZERO } else { cx.limits.touch_lag };
        if silent.0 + ROUNDING.0 + lag.0 < timeout.0 {
            found.add(Rule::E2, cx.at, || {
                let (silent, timeout) = (silent.as_millis(), timeout.as_millis());
                format!("session {session} expired after {silent} ms of silence, before its {timeout} ms")
            });
        }
        self.not_late(cx, t, s.timeout_ms, found);
    }

    fn not_late(&self, cx: Cx<'_>, t: &Touched, timeout_ms: i32, found: &mut Found) {
        let Cx { limits, at, .. } = cx;
        let Some((clock, reign)) = self.reign(t) else { return };
        let silent = clock.mono(at).since(t.maybe.max(reign));
        let allowed = Span::from_millis(timeout_ms.max(0) as u64 + 2 * limits.config.tick_ms);
        found.look(Rule::E2);
        if silent.0 > allowed.0 + limits.expiry_slack.0 + limits.touch_lag.0 {
            found.add(Rule::E2, at, || {
                let (silent, allowed) = (silent.as_millis(), allowed.as_millis());
                format!(
                    "session {} still lived after {silent} ms of silence, {allowed} ms allowed",
                    t.session
                )
            });
        }
    }

    /// A handle's state changed; before [`Order::state`] takes it in.
    pub(super) fn state(
        &mut self,
        cx: Cx<'_>,
        model: &Model,
        order: &Order,
        who: Who,
        state: HandleState,
        found: &mut Found,
    ) {
        let Cx { limits, at, .. } = cx;
        let handle = order.handle(who);
        found.look(Rule::S4);
        match state {
            HandleState::Connected { session, timeout_ms, reattached, read_only, .. } => {
                let mine = |t: &&mut Touched| t.session == session;
                if let Some(t) = self.touched.iter_mut().find(mine) {
                    t.timeout = Some(Span::from_millis(timeout_ms.max(0) as u64));
                }
                let own = read_only || model.is_local(session, model.last());
                let known = model.session(session);
                let before = order.handles().iter().position(|x| x.session == session);
                let mine = before == Some(usize::from(who.handle));
                let wrong = match (known, reattached) {
                    (None, _) if !own => Some("was never created"),
                    (_, true) if !mine => Some("is not the one that it asked for"),
                    (_, false) if before.is_some() => Some("was given out before"),
                    (None, _) => None,
                    (Some(s), false) if s.timeout_ms != timeout_ms => Some("has another timeout in the log"),
                    (Some(_), _) => None,
                };
                let c = &limits.config;
                let range = c.min_session_timeout_ms..=c.max_session_timeout_ms;
                if let Some(wrong) = wrong {
                    found.add(Rule::S4, at, || format!("{who:?}: session {session} {wrong}"));
                } else if !range.contains(&timeout_ms) {
                    found.add(Rule::S4, at, || format!("{who:?}: session {session} got {timeout_ms} ms"));
                }
            }
            HandleState::Expired => {
                let Some(s) = model.session(handle.session) else { return };
                // A client gives up by itself when it has heard nothing for 4/3 of the timeout.
                let patience = s.timeout_ms.max(0) as u64 * 4 / 3;
                let patience =
                    Span::from_millis(patience * u64::from(1_000_000 - limits.client_ppm) / 1_000_000);
                // A server refuses a session from the moment that its close is under way.
                let closing = self.touched.iter().any(|t| t.session == s.id && t.closing);
                // A local one may have become known to all while the word that nobody knows it was under way.
                let made = model.txn(s.opened).at;
                let known = !model.is_local(s.id, s.opened - 1) || at.since(made) > limits.touch_lag;
                if known && s.closed.is_none() && !closing && at.since(handle.heard) < patience {
                    found.add(Rule::S4, at, || {
                        format!("{who:?}: told that session {} is over, but nobody closed it", s.id)
                    });
                }
            }
            HandleState::Disconnected | HandleState::Closed | HandleState::AuthFailed => {}
        }
    }

    /// Sessions whose time was up long before the end.
    pub(super) fn finish(&self, cx: Cx<'_>, model: &Model, found: &mut Found) {
        for t in self.touched.iter().filter(|t| !t.expired) {
            if let Some(s) = model.session(t.session).filter(|s| s.closed.is_none()) {
                self.not_late(cx, t, s.timeout_ms, found);
            }
        }
    }
}
