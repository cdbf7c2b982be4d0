//! The connections of the election port: one for each pair of servers, used in both directions. Answers to
//! `QuorumCnxManager`. Knows no votes: messages are bytes.
//!
//! Of two servers the one with the larger id dials. A connection of the smaller one only says who asks, and is closed; the
//! larger one then dials back, to the address that the message gave. Each server keeps one message for every other, the
//! newest; when a connection comes up without one waiting, the last one ever sent is sent again, for it may have been lost
//! with the connection before. So a stale vote may arrive at any time.

use super::{Settings, Step};
use crate::addr::Addr;
use crate::boundary::{CloseCause, Conn, Event, Output, Port};
use crate::id::ServerId;
use crate::jute::Bad;
use crate::limits;
use crate::proto::{InitialAddress, InitialMessage, MAX_INITIAL_ADDRESS, take_notification_frame};
use crate::quorum::QuorumView;
use crate::time::{Span, Time};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet};

const REDIAL_FIRST: Span = Span::from_millis(limits::ELECTION_REDIAL_MS.0);
const YOUNG: Span = Span::from_millis(limits::ELECTION_YOUNG_MS);
const REDIAL_LAST: Span = Span::from_millis(limits::ELECTION_REDIAL_MS.1);

/// An accepted connection that has not said yet who it is.
#[derive(Debug)]
struct Opening {
    buf: BytesMut,
    deadline: Time,
}

/// The connection to one server.
#[derive(Debug)]
enum Link {
    /// None, and nothing wants one.
    Down,
    /// None; it is dialled when a while has passed, for a message waits.
    Resting {
        until: Time,
    },
    /// A dial is under way.
    Dialing {
        conn: Conn,
        until: Time,
    },
    Up(Up),
}

#[derive(Debug)]
struct Up {
    conn: Conn,
    since: Time,
    /// The beginning of a frame.
    inbox: BytesMut,
    /// Bytes sent since the driver last said that all had left. Beyond a bound the next message waits.
    unreported: usize,
}

/// Another server.
#[derive(Debug)]
struct Peer {
    link: Link,
    /// The frame that was sent last.
    last: Option<Bytes>,
    /// The frame to send next; a newer one takes its place.
    waiting: Option<Bytes>,
    /// Where its own initial message said it can be dialled.
    given: Vec<Addr>,
    /// Which of its addresses the dial under way is for.
    attempt: usize,
    /// Use [`Peer::given`] for the dial under way.
    asked: bool,
    /// The pause after the next failure.
    pause: Span,
}

impl Peer {
    fn new() -> Peer {
        Peer {
            link: Link::Down,
            last: None,
            waiting: None,
            given: Vec::new(),
            attempt: 0,
            asked: false,
            pause: REDIAL_FIRST,
        }
    }
    fn conn(&self) -> Option<Conn> {
        match &self.link {
            Link::Down | Link::Resting { .. } => None,
            Link::Dialing { conn, .. } => Some(*conn),
            Link::Up(up) => Some(up.conn),
        }
    }
}

/// The machine.
#[derive(Debug)]
pub(super) struct Links {
    me: ServerId,
    /// What the own initial message says if no configuration does.
    own: Addr,
    settings: Settings,
    view: QuorumView,
    /// While looking, a message that waits is worth dialling again and again.
    looking: bool,
    peers: BTreeMap<ServerId, Peer>,
    opening: BTreeMap<Conn, Opening>,
    /// Whose the dialled and the open connections are.
    whose: BTreeMap<Conn, ServerId>,
    /// Servers that the last dial did not reach.
    absent: BTreeSet<ServerId>,
}

impl Links {
    pub(super) fn new(me: ServerId, own: Addr, settings: Settings, view: QuorumView) -> Links {
        Links {
            me,
            own,
            settings,
            view,
            looking: true,
            peers: BTreeMap::new(),
            opening: BTreeMap::new(),
            whose: BTreeMap::new(),
            absent: BTreeSet::new(),
        }
    }

    /// Servers that the last dial did not reach, and that have not been heard of since.
    pub(super) fn absent(&self) -> &BTreeSet<ServerId> {
        &self.absent
    }
    pub(super) fn owns(&self, conn: Conn) -> bool {
        self.opening.contains_key(&conn) || self.whose.contains_key(&conn)
    }

    /// While a leader is looked for, connections are asked for until they come about. Later, what still waits is told to
    /// whoever connects by itself: the last vote helps others to decide.
    pub(super) fn set_looking(&mut self, looking: bool) {
        self.looking = looking;
        for peer in self.peers.values_mut() {
            peer.pause = REDIAL_FIRST;
            match peer.link {
                Link::Resting { .. } if !looking => peer.link = Link::Down,
                Link::Down | Link::Resting { .. } | Link::Dialing { .. } | Link::Up(_) => {}
            }
        }
    }

    /// Other configurations: whoever is new in the proposed one is dialled.
    pub(super) fn set_view(&mut self, step: &mut Step<'_>, view: QuorumView) {
        self.view = view;
        let proposed = std::iter::once(&self.view.last_seen).chain(&self.view.heard_of);
        let newcomers: BTreeSet<ServerId> = proposed
            .flat_map(|config| config.members())
            .map(|m| m.sid)
            .filter(|sid| *sid != self.me && self.view.committed.member(*sid).is_none())
            .collect();
        for sid in newcomers {
            self.ask_for(step, sid);
        }
    }

    /// Sends a frame to a server, now or when a connection is there; a frame that waits for that already is dropped.
    pub(super) fn send(&mut self, step: &mut Step<'_>, to: ServerId, frame: Bytes) {
        if to == self.me || !self.has_room_for(to) {
            return;
        }
        self.peers.entry(to).or_insert_with(Peer::new).waiting = Some(frame);
        self.flush(step, to);
        self.ask_for(step, to);
    }

    /// An accepted connection, or one that was dialled here and came through.
    pub(super) fn opened(&mut self, step: &mut Step<'_>, conn: Conn) {
        let Some(sid) = self.whose.get(&conn).copied() else {
            if conn.is_dialled() {
                // The dial was given up, the driver has not heard of it yet.
                return;
            }
            if self.opening.len() >= limits::ELECTION_OPENING
                && let Some(oldest) = self.opening.keys().next().copied()
            {
                self.opening.remove(&oldest);
                close(step, oldest, CloseCause::TooManyConnections);
            }
            let deadline = step.now + self.settings.handshake_timeout;
            self.opening.insert(conn, Opening { buf: BytesMut::new(), deadline });
            return;
        };
        self.absent.remove(&sid);
        let mut hello = Vec::new();
        self.initial_message().encode(&mut hello);
        step.out.push(Output::Send { conn, bytes: hello.into() });
        if self.me > sid {
            self.up(step, sid, conn);
        } else {
            // That was only a call: the other one dials back.
            self.whose.remove(&conn);
            close(step, conn, CloseCause::LargerDials);
            self.rest(step, sid);
        }
    }

    /// Bytes of a connection. The messages that they complete, in order, and whose they are.
    pub(super) fn received(
        &mut self,
        step: &mut Step<'_>,
        conn: Conn,
        bytes: &[u8],
    ) -> Vec<(ServerId, Bytes)> {
        let mut messages = Vec::new();
        if let Some(opening) = self.opening.get_mut(&conn) {
            opening.buf.extend_from_slice(bytes);
            self.introduced(step, conn, &mut messages);
        } else if let Some(sid) = self.whose.get(&conn).copied() {
            self.absent.remove(&sid);
            let peer = self.peers.get_mut(&sid).expect("a connection that is whose has a peer");
            if let Link::Up(up) = &mut peer.link {
                up.inbox.extend_from_slice(bytes);
                self.take_frames(step, sid, &mut messages);
            }
        }
        messages
    }

    /// All that was sent on this connection has left.
    pub(super) fn writable(&mut self, step: &mut Step<'_>, conn: Conn) {
        let Some(sid) = self.whose.get(&conn).copied() else { return };
        if let Some(Peer { link: Link::Up(up), .. }) = self.peers.get_mut(&sid) {
            up.unreported = 0;
            self.flush(step, sid);
        }
    }

    /// A connection ended, or a dial failed.
    pub(super) fn closed(&mut self, step: &mut Step<'_>, conn: Conn) {
        self.opening.remove(&conn);
        if let Some(sid) = self.whose.remove(&conn) {
            self.lost(step, sid);
        }
    }

    pub(super) fn next_wake(&self) -> Option<Time> {
        let links = self.peers.values().filter_map(|p| match &p.link {
            Link::Down | Link::Up(_) => None,
            Link::Resting { until } | Link::Dialing { until, .. } => Some(*until),
        });
        self.opening.values().map(|o| o.deadline).chain(links).min()
    }

    pub(super) fn wake(&mut self, step: &mut Step<'_>) {
        let silent: Vec<Conn> =
            self.opening.iter().filter(|(_, o)| o.deadline <= step.now).map(|(c, _)| *c).collect();
        for conn in silent {
            self.opening.remove(&conn);
            close(step, conn, CloseCause::NoHandshake);
        }
        let due: Vec<ServerId> = self
            .peers
            .iter()
            .filter(|(_, p)| match &p.link {
                Link::Down | Link::Up(_) => false,
                Link::Resting { until } | Link::Dialing { until, .. } => *until <= step.now,
            })
            .map(|(sid, _)| *sid)
            .collect();
        for sid in due {
            let peer = self.peers.get_mut(&sid).expect("just seen");
            if let Link::Dialing { conn, .. } = peer.link {
                self.whose.remove(&conn);
                close(step, conn, CloseCause::DialTimeout);
                self.lost(step, sid);
            } else {
                peer.link = Link::Down;
                self.ask_for(step, sid);
            }
        }
    }

    /// The first message of an accepted connection, once it is whole.
    fn introduced(&mut self, step: &mut Step<'_>, conn: Conn, messages: &mut Vec<(ServerId, Bytes)>) {
        let buf = &self.opening[&conn].buf;
        let (message, len) = match InitialMessage::decode(buf) {
            Ok(None) => {
                assert!(buf.len() < 20 + MAX_INITIAL_ADDRESS, "a longer message is whole or bad");
                return;
            }
            Ok(Some(whole)) => whole,
            Err(_) => {
                self.opening.remove(&conn);
                return close(step, conn, CloseCause::BadFrame);
            }
        };
        let mut rest = self.opening.remove(&conn).expect("just read").buf;
        let rest = rest.split_off(len);
        let sid = message.sid;
        if sid == self.me {
            return close(step, conn, CloseCause::OwnServerId);
        }
        if !self.has_room_for(sid) {
            return close(step, conn, CloseCause::TooManyConnections);
        }
        self.absent.remove(&sid);
        self.peers.entry(sid).or_insert_with(Peer::new).given = message.dial_back();
        if sid < self.me {
            close(step, conn, CloseCause::LargerDials);
            self.called(step, sid);
        } else {
            self.drop_link(step, sid, CloseCause::Replaced);
            self.whose.insert(conn, sid);
            self.up(step, sid, conn);
            if let Some(Peer { link: Link::Up(up), .. }) = self.peers.get_mut(&sid) {
                up.inbox = rest;
                self.take_frames(step, sid, messages);
            }
        }
    }

    /// A smaller server asks to be dialled. It has no connection, whatever this side believes; only one that came up just
    /// now may have crossed the call on its way.
    fn called(&mut self, step: &mut Step<'_>, sid: ServerId) {
        let peer = self.peers.get_mut(&sid).expect("made by the caller");
        match &peer.link {
            Link::Dialing { .. } => return,
            Link::Up(up) if step.now.since(up.since) < YOUNG => return,
            Link::Down | Link::Resting { .. } | Link::Up(_) => {}
        }
        peer.asked = true;
        self.drop_link(step, sid, CloseCause::Replaced);
        self.dial(step, sid);
    }

    /// A connection has come up.
    fn up(&mut self, step: &mut Step<'_>, sid: ServerId, conn: Conn) {
        self.absent.remove(&sid);
        let peer = self.peers.get_mut(&sid).expect("a connection that comes up has a peer");
        peer.link = Link::Up(Up { conn, since: step.now, inbox: BytesMut::new(), unreported: 0 });
        peer.asked = false;
        if peer.waiting.is_none() {
            peer.waiting = peer.last.clone();
        }
        self.flush(step, sid);
    }

    /// Sends what waits, if the connection takes it.
    fn flush(&mut self, step: &mut Step<'_>, sid: ServerId) {
        let Some(peer) = self.peers.get_mut(&sid) else { return };
        let Link::Up(up) = &mut peer.link else { return };
        if up.unreported < limits::WRITABLE_EVERY
            && let Some(frame) = peer.waiting.take()
        {
            up.unreported += frame.len();
            peer.last = Some(frame.clone());
            step.out.push(Output::Send { conn: up.conn, bytes: frame });
        }
    }

    fn take_frames(&mut self, step: &mut Step<'_>, sid: ServerId, messages: &mut Vec<(ServerId, Bytes)>) {
        let peer = self.peers.get_mut(&sid).expect("the caller's");
        let Link::Up(up) = &mut peer.link else { return };
        loop {
            match take_notification_frame(&mut up.inbox) {
                Ok(None) => return,
                Ok(Some(message)) => {
                    peer.pause = REDIAL_FIRST;
                    messages.push((sid, message));
                }
                Err(bad) => {
                    let cause = match bad {
                        Bad::Length(n) => CloseCause::FrameLength(n),
                        Bad::Short | Bad::Null | Bad::Tag(_) => CloseCause::BadFrame,
                    };
                    self.drop_link(step, sid, cause);
                    return self.rest(step, sid);
                }
            }
        }
    }

    /// Makes sure that a connection comes about for what waits.
    fn ask_for(&mut self, step: &mut Step<'_>, sid: ServerId) {
        let peer = self.peers.entry(sid).or_insert_with(Peer::new);
        if let Link::Down = peer.link {
            self.dial(step, sid);
        }
    }

    /// Dials the next address.
    fn dial(&mut self, step: &mut Step<'_>, sid: ServerId) {
        let Some(peer) = self.peers.get_mut(&sid) else { return };
        let addrs = addresses(peer, &self.view, sid);
        let Some(to) = addrs.get(peer.attempt).or(addrs.last()) else {
            // Nowhere to dial: it has to dial itself.
            peer.link = Link::Down;
            return self.forget_stranger(sid);
        };
        let conn = step.dials.next_conn();
        peer.link = Link::Dialing { conn, until: step.now + self.settings.dial_timeout };
        self.whose.insert(conn, sid);
        step.out.push(Output::Dial { conn, to: to.clone(), port: Port::Election });
    }

    /// A dial failed or a connection broke, and is forgotten already.
    fn lost(&mut self, step: &mut Step<'_>, sid: ServerId) {
        let peer = self.peers.get_mut(&sid).expect("a connection that is lost has a peer");
        if let Link::Dialing { .. } = peer.link {
            peer.attempt += 1;
            if peer.attempt < addresses(peer, &self.view, sid).len() {
                return self.dial(step, sid);
            }
            peer.attempt = 0;
            peer.asked = false;
            self.absent.insert(sid);
        } else if self.looking && peer.waiting.is_none() {
            // It may have been lost with the connection.
            peer.waiting = peer.last.clone();
        }
        // One that stood for a while: the other side has most likely ended, and a dial that is refused says so at once.
        let stood = matches!(&peer.link, Link::Up(up) if step.now.since(up.since) >= YOUNG);
        if stood && self.looking && self.is_member(sid) {
            return self.dial(step, sid);
        }
        self.rest(step, sid);
    }

    /// There is no connection: it is dialled after a pause if that is worth it, else forgotten.
    fn rest(&mut self, step: &mut Step<'_>, sid: ServerId) {
        let member = self.is_member(sid);
        let Some(peer) = self.peers.get_mut(&sid) else { return };
        if member && self.looking && peer.waiting.is_some() {
            peer.link = Link::Resting { until: step.now + peer.pause };
            peer.pause = Span((peer.pause.0 * 2).min(REDIAL_LAST.0));
            return;
        }
        peer.link = Link::Down;
        peer.pause = REDIAL_FIRST;
        self.forget_stranger(sid);
    }

    fn forget_stranger(&mut self, sid: ServerId) {
        if !self.is_member(sid) {
            self.peers.remove(&sid);
            self.absent.remove(&sid);
        }
    }

    fn is_member(&self, sid: ServerId) -> bool {
        self.view.member(sid).is_some()
    }

    /// Closes the connection to a server, of whatever kind.
    fn drop_link(&mut self, step: &mut Step<'_>, sid: ServerId, cause: CloseCause) {
        let Some(peer) = self.peers.get_mut(&sid) else { return };
        if let Some(conn) = peer.conn() {
            self.whose.remove(&conn);
            close(step, conn, cause);
        }
        peer.link = Link::Down;
        peer.attempt = 0;
    }

    /// Members always have their place, others only so many.
    fn has_room_for(&self, sid: ServerId) -> bool {
        self.peers.contains_key(&sid)
            || self.is_member(sid)
            || self.peers.keys().filter(|s| !self.is_member(**s)).count() < limits::ELECTION_STRANGERS
    }

    fn initial_message(&self) -> InitialMessage {
        let mut addrs = self.view.election_addrs(self.me);
        if addrs.is_empty() {
            addrs.push(self.own.clone());
        }
        let from = match self.settings.rules.multi_address {
            true => InitialAddress::V2(addrs),
            false => InitialAddress::V1(addrs.swap_remove(0)),
        };
        InitialMessage { sid: self.me, from }
    }
}

/// Where a server may be dialled: when it asked for it, where it said; else by the configurations.
fn addresses(peer: &Peer, view: &QuorumView, sid: ServerId) -> Vec<Addr> {
    let configured = view.election_addrs(sid);
    match (peer.asked && !peer.given.is_empty()) || configured.is_empty() {
        true => peer.given.clone(),
        false => configured,
    }
}

fn close(step: &mut Step<'_>, conn: Conn, cause: CloseCause) {
    step.out.push(Output::Close { conn });
    step.out.push(Output::Event(Event::ConnClosed { conn, cause }));
}

#[cfg(test)]
mod tests;
