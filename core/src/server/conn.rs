//! Connections: the frames of each, what it waits for, what is queued for it. Answers to `NIOServerCnxn`.
//! Knows no tree; what a frame means is solo's business.

use super::line::Line;
use super::stats::Latency;
use crate::auth;
use crate::boundary::{Conn, Output, PeerInfo};
use crate::id::{SessionId, Xid, Zxid};
use crate::jute::{Write, begin_frame, end_frame};
use crate::limits;
use crate::proto::{ErrorCode, EventKind, Id, OpCode, ReplyHeader, Response};
use crate::time::{Now, Span, Time};
use bytes::{Buf, BytesMut};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Neither handshake nor four-letter word yet.
    Fresh,
    /// Its new session waits for its commit; nothing is read meanwhile.
    Connecting {
        session: SessionId,
        timeout_ms: i32,
        /// As the request had it: decides the length of the answer.
        read_only: Option<bool>,
    },
    /// Its session is known, but writes that it asked for on another connection are under way: what it reads here must
    /// show them. Nothing is read meanwhile.
    Returning {
        session: SessionId,
        timeout_ms: i32,
        read_only: Option<bool>,
        /// The last of those writes.
        after: Zxid,
    },
    /// The leader is asked whether its session lives. Nothing is read meanwhile.
    Revalidating { session: SessionId, timeout_ms: i32, read_only: Option<bool> },
    /// In session.
    Open { session: SessionId, timeout_ms: i32 },
    /// closeSession has been proposed; what comes behind it is dropped.
    Closing { session: SessionId },
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: PeerInfo,
    pub(super) state: State,
    /// Requests whose replies are due, in order.
    pub(super) line: Line,
    pub(super) stats: ConnStats,
    ids: Arc<[Id]>,
    /// Bytes that do not make a frame yet, or that may not be looked at yet.
    input: BytesMut,
    out: BytesMut,
    dirty: bool,
    unsent: usize,
    paused: bool,
}

/// What `cons` prints.
#[derive(Debug)]
pub(super) struct ConnStats {
    pub(super) established: Now,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) last_op: Option<i32>,
    pub(super) last_cxid: i32,
    pub(super) last_zxid: Zxid,
    pub(super) last_response: Time,
    pub(super) last_latency_ms: u64,
    pub(super) latency: Latency,
}

impl ConnStats {
    /// `crst`.
    pub(super) fn reset(&mut self) {
        self.received = 0;
        self.sent = 0;
        self.last_op = None;
        self.last_cxid = -1;
        self.last_zxid = Zxid::NONE;
        self.last_response = Time(0);
        self.last_latency_ms = 0;
        self.latency = Latency::default();
    }
}

/// What the bytes at hand begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Frame {
    /// Not enough yet.
    Partial,
    /// A payload of this length behind the four bytes.
    Whole(usize),
    /// A length that no client may send.
    Bad(i32),
}

impl Frame {
    pub(super) fn at_front(bytes: &[u8], max: u32) -> Frame {
        let Some(head) = bytes.first_chunk::<4>() else { return Frame::Partial };
        let n = i32::from_be_bytes(*head);
        if n < 0 || n as u32 > max {
            Frame::Bad(n)
        } else if bytes.len() - 4 < n as usize {
            Frame::Partial
        } else {
            Frame::Whole(n as usize)
        }
    }
}

/// How much of one connection may be under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Share {
    /// Requests that wait.
    pub(super) requests: usize,
    /// Bytes that have not left.
    pub(super) unsent: usize,
}

impl Connection {
    pub(super) fn new(peer: PeerInfo, now: Now) -> Connection {
        Connection {
            peer,
            state: State::Fresh,
            line: Line::default(),
            stats: ConnStats {
                established: now,
                received: 0,
                sent: 0,
                last_op: None,
                last_cxid: -1,
                last_zxid: Zxid::NONE,
                last_response: Time(0),
                last_latency_ms: 0,
                latency: Latency::default(),
            },
            ids: Arc::new([auth::ip_id(peer.addr.ip())]),
            input: BytesMut::new(),
            out: BytesMut::new(),
            dirty: false,
            unsent: 0,
            paused: false,
        }
    }

    pub(super) fn ids(&self) -> &Arc<[Id]> {
        &self.ids
    }

    /// Adds identities; the same one again changes nothing.
    pub(super) fn add_ids(&mut self, ids: Vec<Id>) {
        let mut all = self.ids.to_vec();
        for id in ids {
            if !all.contains(&id) {
                all.push(id);
            }
        }
        self.ids = all.into();
    }

    /// The session it is in, or asks for.
    pub(super) fn session(&self) -> Option<SessionId> {
        match self.state {
            State::Fresh => None,
            State::Connecting { session, .. }
            | State::Returning { session, .. }
            | State::Revalidating { session, .. }
            | State::Open { session, .. }
            | State::Closing { session } => Some(session),
        }
    }

    /// Nothing more is looked at until something that it waits for has happened.
    pub(super) fn is_blocked(&self, share: Share) -> bool {
        match self.state {
            State::Connecting { .. }
            | State::Returning { .. }
            | State::Revalidating { .. }
            | State::Closing { .. } => true,
            State::Fresh | State::Open { .. } => {
                self.line.syncs()
                    || self.line.is_full()
                    || self.line.len() >= share.requests
                    || self.unsent + self.out.len() > share.unsent
            }
        }
    }

    /// `Some(on)` when reading must stop or go on again.
    pub(super) fn pause_changed(&mut self, share: Share) -> Option<bool> {
        let blocked = self.is_blocked(share);
        (blocked != self.paused).then(|| {
            self.paused = blocked;
            blocked
        })
    }

    /// Bytes that came in and have not been looked at.
    pub(super) fn input(&self) -> &[u8] {
        &self.input
    }

    pub(super) fn put_input(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The payload of the frame in front, which is whole.
    pub(super) fn take_frame(&mut self, len: usize) -> BytesMut {
        self.stats.received += 1;
        self.input.advance(4);
        self.input.split_to(len)
    }

    pub(super) fn unsent(&self) -> usize {
        self.unsent
    }

    /// All that was sent has left.
    pub(super) fn drained(&mut self) {
        self.unsent = 0;
    }

    /// Hands the queued bytes to the driver.
    pub(super) fn flush(&mut self, id: Conn, out: &mut Vec<Output>) {
        self.dirty = false;
        if !self.out.is_empty() {
            self.unsent += self.out.len();
            out.push(Output::Send { conn: id, bytes: self.out.split().freeze() });
        }
    }

    /// Queues bytes that are no frame: a four-letter word's answer.
    pub(super) fn send_text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Queues one frame.
    pub(super) fn send_frame(&mut self, write: impl FnOnce(&mut BytesMut)) -> usize {
        let at = begin_frame(&mut self.out);
        write(&mut self.out);
        end_frame(&mut self.out, at);
        self.stats.sent += 1;
        self.out.len() - at - 4
    }

    /// Queues a watch event.
    pub(super) fn notify(&mut self, zxid: Zxid, kind: EventKind, path: &str) {
        self.send_frame(|w| {
            ReplyHeader { xid: Xid::NOTIFICATION, zxid, err: 0 }.encode(w);
            w.int(kind as i32);
            w.int(3); // SyncConnected
            w.string(path);
        });
    }

    /// Queues a reply; `Ok`'s record follows the header.
    pub(super) fn reply(&mut self, xid: Xid, zxid: Zxid, result: Result<&Response, ErrorCode>) -> usize {
        self.send_frame(|w| match result {
            Ok(response) => {
                ReplyHeader { xid, zxid, err: 0 }.encode(w);
                response.encode(w);
            }
            Err(code) => ReplyHeader { xid, zxid, err: code.code() }.encode(w),
        })
    }

    /// Notes what `cons` shows of the last request.
    pub(super) fn answered(&mut self, op: OpCode, xid: Xid, zxid: Zxid, now: Time, took: Span) {
        let s = &mut self.stats;
        s.last_op = Some(op as i32);
        s.last_cxid = xid.0;
        s.last_zxid = zxid;
        s.last_response = now;
        s.last_latency_ms = took.as_millis();
        s.latency.add(took.as_millis());
    }
}

/// All connections of a server.
#[derive(Debug)]
pub(super) struct Connections {
    all: BTreeMap<Conn, Connection>,
    by_session: BTreeMap<SessionId, Conn>,
    per_address: BTreeMap<IpAddr, u32>,
    /// In order of arrival; those whose handshake came are dropped as they get to the front.
    fresh: VecDeque<(Time, Conn)>,
    dirty: VecDeque<Conn>,
    max_per_address: u32,
    max: u32,
}

impl Connections {
    pub(super) fn new(max_per_address: u32, max: u32) -> Connections {
        Connections {
            all: BTreeMap::new(),
            by_session: BTreeMap::new(),
            per_address: BTreeMap::new(),
            fresh: VecDeque::new(),
            dirty: VecDeque::new(),
            max_per_address,
            max,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn may_open(&self, peer: PeerInfo) -> bool {
        let here = self.per_address.get(&peer.addr.ip()).copied().unwrap_or(0);
        (self.max_per_address == 0 || here < self.max_per_address)
            && (self.max == 0 || self.all.len() < self.max as usize)
    }

    pub(super) fn insert(&mut self, id: Conn, conn: Connection) {
        *self.per_address.entry(conn.peer.addr.ip()).or_default() += 1;
        self.fresh.push_back((conn.stats.established.mono + Span::from_millis(limits::HANDSHAKE_MS), id));
        let old = self.all.insert(id, conn);
        assert!(old.is_none(), "connection number {id:?} was used twice");
    }

    pub(super) fn remove(&mut self, id: Conn) -> Option<Connection> {
        let conn = self.all.remove(&id)?;
        let address = conn.peer.addr.ip();
        let here = self.per_address.get_mut(&address).expect("counted when it was opened");
        *here -= 1;
        if *here == 0 {
            self.per_address.remove(&address);
        }
        if let Some(session) = conn.session()
            && self.by_session.get(&session) == Some(&id)
        {
            self.by_session.remove(&session);
        }
        Some(conn)
    }

    pub(super) fn get(&self, id: Conn) -> Option<&Connection> {
        self.all.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: Conn) -> Option<&mut Connection> {
        self.all.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Conn, &Connection)> {
        self.all.iter().map(|(id, c)| (*id, c))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.all.values_mut()
    }

    pub(super) fn ids(&self) -> Vec<Conn> {
        self.all.keys().copied().collect()
    }

    /// The connection that owns a session on this server.
    pub(super) fn of_session(&self, session: SessionId) -> Option<Conn> {
        self.by_session.get(&session).copied()
    }

    /// Makes `id` the owner; returns the one that it takes the session from.
    pub(super) fn attach(&mut self, session: SessionId, id: Conn) -> Option<Conn> {
        self.by_session.insert(session, id).filter(|old| *old != id)
    }

    /// The connection has something to be flushed, or its pause may have changed.
    pub(super) fn touch(&mut self, id: Conn) {
        if let Some(conn) = self.all.get_mut(&id)
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push_back(id);
        }
    }

    /// One that [`Connections::touch`] named, in order.
    pub(super) fn next_dirty(&mut self) -> Option<Conn> {
        self.dirty.pop_front()
    }

    /// When the oldest connection without a handshake is to be closed.
    pub(super) fn handshake_deadline(&self) -> Option<Time> {
        self.fresh.front().map(|(at, _)| *at)
    }

    /// A connection whose handshake has not come in time.
    pub(super) fn overdue(&mut self, now: Time) -> Option<Conn> {
        while let Some((at, id)) = self.fresh.front().copied() {
            let is_fresh = self.all.get(&id).is_some_and(|c| c.state == State::Fresh);
            if is_fresh && at > now {
                return None;
            }
            self.fresh.pop_front();
            if is_fresh {
                return Some(id);
            }
        }
        None
    }
}
