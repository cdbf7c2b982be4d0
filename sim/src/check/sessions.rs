//! E2 and S4, white-box: sessions expire by the server's monotonic clock, after their last packet and timeout, within a tick or
//! two; and they keep their identity. (E1, S1 and S2 come to light where transactions are folded.)

use super::linear::Order;
use super::model::Model;
use super::{Cx, Found, Rule};
use crate::history::{HandleState, Who};
use zebu_core::boundary::{Conn, Event};
use zebu_core::id::{ServerId, SessionId};
use zebu_core::time::{Span, Time};

/// A server's monotonic clock: a line.
#[derive(Clone, Copy, Debug)]
struct Clock {
    server: ServerId,
    from: Time,
    mono: Time,
    ppm: i32,
    /// When the present role began; `None`: it does not serve.
    reign: Option<Time>,
}

impl Clock {
    fn mono(&self, at: Time) -> Time {
        let passed = at.since(self.from).0 as i128;
        Time((self.mono.0 as i128 + passed + passed * i128::from(self.ppm) / 1_000_000) as u64)
    }
}

/// What keeps a session alive.
#[derive(Clone, Copy, Debug)]
struct Touched {
    session: SessionId,
    conn: Conn,
    server: ServerId,
    /// The last sign of life, on the server's clock: for sure, and the last that may have been one.
    sure: Time,
    maybe: Time,
    /// True time of the last frame, and what `sure` was before it.
    last: (Time, Time),
    expired: bool,
}

/// All sessions' clocks.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    clocks: Vec<Clock>,
    touched: Vec<Touched>,
}

/// What reading a clock as a line may be off by.
const ROUNDING: Span = Span(1_000_000);

impl Sessions {
    pub(super) fn clear(&mut self) {
        self.clocks.clear();
        self.touched.clear();
    }

    fn clock_mut(&mut self, server: ServerId) -> &mut Clock {
        let known = self.clocks.iter().position(|c| c.server == server);
        let at = known.unwrap_or_else(|| {
            self.clocks.push(Clock { server, from: Time(0), mono: Time(0), ppm: 0, reign: None });
            self.clocks.len() - 1
        });
        &mut self.clocks[at]
    }

    pub(super) fn clock(&mut self, at: Time, server: ServerId, mono: Time, ppm: i32) {
        let clock = self.clock_mut(server);
        (clock.from, clock.mono, clock.ppm) = (at, mono, ppm);
    }

    pub(super) fn crash(&mut self, server: ServerId) {
        self.clock_mut(server).reign = None;
    }

    pub(super) fn taken(&mut self, at: Time, server: ServerId, conn: Conn, sure: bool) {
        let mono = self.clock_mut(server).mono(at);
        if let Some(t) = self.touched.iter_mut().rev().find(|t| t.conn == conn) {
            t.maybe = mono;
            if sure {
                t.last = (at, t.sure);
                t.sure = mono;
            }
        }
    }

    /// The clock of the server that last heard of the session, while it serves, and when that began.
    fn reign(&self, t: &Touched) -> Option<(Clock, Time)> {
        let clock = *self.clocks.iter().find(|c| c.server == t.server)?;
        Some((clock, clock.reign?))
    }

    pub(super) fn event(
        &mut self,
        cx: Cx<'_>,
        model: &Model,
        server: ServerId,
        event: &Event,
        found: &mut Found,
    ) {
        let at = cx.at;
        match event {
            Event::Became(_) => {
                let clock = self.clock_mut(server);
                let now = clock.mono(at);
                clock.reign = Some(now);
                // A new reign gives everyone the full timeout; its clock may be another one.
                self.touched.iter_mut().filter(|t| t.server == server).for_each(|t| {
                    (t.sure, t.maybe) = (now, now);
                });
            }
            Event::ConnClosed { conn, .. } => {
                // A frame on which the server closes is no sign of life, nor is what came behind it; but frames that lay
                // unread may have been, up to now.
                let now = self.clock_mut(server).mono(at);
                if let Some(t) = self.touched.iter_mut().find(|t| t.conn == *conn) {
                    t.maybe = now;
                    if t.last.0 == at {
                        t.sure = t.last.1;
                    }
                }
            }
            Event::Committed { zxid, .. } if model.last_zxid() == *zxid && model.last() > 0 => {
                // Its request may have lain unread for long.
                let (session, now) = (model.txn(model.last()).session, self.clock_mut(server).mono(at));
                if let Some(t) = self.touched.iter_mut().find(|t| t.session == session && !t.expired) {
                    t.maybe = now;
                }
            }
            Event::SessionAttached { session, conn, .. } => {
                let now = self.clock_mut(server).mono(at);
                let (session, conn) = (*session, *conn);
                let fresh =
                    Touched { session, conn, server, sure: now, maybe: now, last: (at, now), expired: false };
                match self.touched.iter_mut().find(|t| t.session == session) {
                    Some(t) => *t = fresh,
                    None => self.touched.push(fresh),
                }
            }
            Event::SessionExpired { session } => {
                let Some(number) = self.touched.iter().position(|t| t.session == *session) else { return };
                self.touched[number].expired = true;
                let t = self.touched[number];
                let (Some((clock, reign)), Some(s)) = (self.reign(&t), model.session(*session)) else {
                    return;
                };
                let silent = clock.mono(at).since(t.sure.max(reign));
                let timeout = Span::from_millis(s.timeout_ms.max(0) as u64);
                if silent.0 + ROUNDING.0 < timeout.0 {
                    found.add(Rule::E2, at, || {
                        let (silent, timeout) = (silent.as_millis(), timeout.as_millis());
                        format!(
                            "session {session} expired after {silent} ms of silence, before its {timeout} ms"
                        )
                    });
                }
                self.not_late(cx, &t, s.timeout_ms, found);
            }
            _ => {}
        }
    }

    fn not_late(&self, cx: Cx<'_>, t: &Touched, timeout_ms: i32, found: &mut Found) {
        let Cx { limits, at, .. } = cx;
        let Some((clock, reign)) = self.reign(t) else { return };
        let silent = clock.mono(at).since(t.maybe.max(reign));
        let allowed = Span::from_millis(timeout_ms.max(0) as u64 + 2 * limits.config.tick_ms);
        if silent.0 > allowed.0 + limits.expiry_slack.0 {
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
        match state {
            HandleState::Connected { session, timeout_ms, reattached, .. } => {
                let known = model.session(session);
                let before = order.handles().iter().position(|x| x.session == session);
                let mine = before == Some(usize::from(who.handle));
                let wrong = match (known, reattached) {
                    (None, _) => Some("was never created"),
                    (Some(_), true) if !mine => Some("is not the one that it asked for"),
                    (Some(_), false) if before.is_some() => Some("was given out before"),
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
                let closing = self.touched.iter().any(|t| t.session == s.id && t.expired);
                if s.closed.is_none() && !closing && at.since(handle.heard) < patience {
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
