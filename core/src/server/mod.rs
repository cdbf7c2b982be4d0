//! One server: bytes in, bytes and disk operations out. Answers to `ZooKeeperServer` and its request processors.
//! The only module that knows all the others.
//!
//! [`Base`] is what outlives a role: tree, sessions, watches, store, connections. A [`Role`] is a value that borrows it.
//! A write goes front → solo (prep → append) → store → durable → commit: tree, watches, reply; a read goes front → line →
//! reply.

mod conn;
mod front;
mod line;
mod mntr;
mod outstanding;
mod prep;
mod read;
mod reaper;
mod solo;
mod stats;
mod words;

use crate::acl;
use crate::boundary::{CloseCause, Conn, Event, Input, Output, PeerInfo, RoleName, Stop, Timer};
use crate::config::Config;
use crate::disk::{Recovered, Store};
use crate::id::{SessionId, Zxid};
use crate::limits;
use crate::proto::{Acl, EventKind, Id, perms};
use crate::rng::Rng;
use crate::session::Sessions;
use crate::time::{Now, Span, Time};
use crate::tree::{Change, Tree};
use crate::watch::WatchTable;
use conn::{Connection, Connections};
use solo::Solo;
use stats::Stats;
use std::sync::Arc;

/// A server. [`Server::step`] is its only door.
#[derive(Debug)]
pub struct Server {
    base: Base,
    role: Role,
}

/// What a server is at the moment: exactly one of these.
#[derive(Debug)]
enum Role {
    /// Standalone: a quorum of one.
    Solo(Solo),
}

/// What outlives a role.
#[derive(Debug)]
struct Base {
    config: Config,
    now: Now,
    started: Now,
    tree: Tree,
    sessions: Sessions,
    watches: WatchTable,
    store: Store,
    conns: Connections,
    stats: Stats,
    /// Requests in all lines.
    waiting: usize,
    /// The outputs of the step under way.
    out: Vec<Output>,
    /// Kept empty between applies.
    changes: Vec<Change>,
}

/// Read-only: for checkers, metrics and admin queries.
#[derive(Debug)]
pub struct View<'a> {
    /// The applied state.
    pub tree: &'a Tree,
    /// The live sessions.
    pub sessions: &'a Sessions,
    /// What the server is.
    pub role: RoleName,
    /// True once clients are served.
    pub serving: bool,
    /// The last transaction that got a zxid.
    pub last_proposed: Zxid,
    /// Open client connections.
    pub connections: usize,
}

impl Server {
    /// A server on what recovery found. The first step, whatever it is, starts its disk work; clients are served once
    /// what was recovered is durable ([`Event::Became`]).
    pub fn new(config: Config, recovered: Recovered, seed: [u8; 32], now: Now) -> Server {
        let mut rng = Rng::new(seed);
        let mut out = Vec::new();
        // A standalone server creates sessions as server 1.
        let mut sessions = Sessions::new(1, recovered.last_zxid, Span::from_millis(config.tick_ms));
        sessions.restore(recovered.sessions.iter().copied(), now.mono);
        let solo = Solo::new(&recovered.tree, &config, now);
        let (tree, store) = Store::open(recovered, &config, rng.seed(), &mut out);
        let base = Base {
            now,
            started: now,
            tree,
            sessions,
            watches: WatchTable::new(rng.u64()),
            store,
            conns: Connections::new(config.max_client_cnxns, config.max_cnxns),
            stats: Stats::default(),
            waiting: 0,
            out,
            changes: Vec::new(),
            config,
        };
        Server { base, role: Role::Solo(solo) }
    }

    /// Takes one input and appends what is to be done to `out`. Never fails, never blocks. `now.mono` must not go back.
    pub fn step(&mut self, now: Now, input: Input<'_>, out: &mut Vec<Output>) {
        assert!(now.mono >= self.base.now.mono, "the monotonic clock went back");
        self.base.now = now;
        out.append(&mut self.base.out);
        std::mem::swap(&mut self.base.out, out);
        match &mut self.role {
            Role::Solo(solo) => solo.on(&mut self.base, input),
        }
        self.base.flush();
        std::mem::swap(&mut self.base.out, out);
    }

    /// When to step it with [`Input::Wake`] if nothing else happens, and which timer that is.
    pub fn next_wake(&self) -> Option<(Time, Timer)> {
        match &self.role {
            Role::Solo(solo) => solo.next_wake(&self.base),
        }
    }

    /// What it is and holds.
    pub fn view(&self) -> View<'_> {
        let base = &self.base;
        match &self.role {
            Role::Solo(solo) => View {
                tree: &base.tree,
                sessions: &base.sessions,
                role: RoleName::Standalone,
                serving: solo.is_serving(),
                last_proposed: solo.last_proposed(),
                connections: base.conns.len(),
            },
        }
    }
}

impl Base {
    fn event(&mut self, event: Event) {
        self.out.push(Output::Event(event));
    }

    fn stop(&mut self, stop: Stop) {
        self.out.push(Output::Stop(stop));
    }

    /// The end of a step: disk work first, so that it is under way while replies are written.
    fn flush(&mut self) {
        self.store.flush(&mut self.out);
        while let Some(conn) = self.conns.next_dirty() {
            self.flush_conn(conn);
        }
    }

    fn flush_conn(&mut self, id: Conn) {
        let share = self.share();
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.flush(id, &mut self.out);
        if conn.unsent() > limits::SEND_CLOSE {
            self.close(id, CloseCause::SlowReader);
        } else if let Some(on) = conn.pause_changed(share) {
            self.out.push(Output::Pause { conn: id, on });
        }
    }

    /// Accepts a connection, unless there are too many.
    fn open(&mut self, id: Conn, peer: PeerInfo) {
        if self.conns.may_open(peer) {
            self.conns.insert(id, Connection::new(peer, self.now));
        } else {
            self.stats.rejected += 1;
            self.event(Event::ConnClosed { conn: id, cause: CloseCause::TooManyConnections });
            self.out.push(Output::Close { conn: id });
        }
    }

    /// Closes a connection from this side: what is queued for it leaves first.
    fn close(&mut self, id: Conn, cause: CloseCause) {
        let Some(mut conn) = self.forget(id) else { return };
        conn.flush(id, &mut self.out);
        self.event(Event::ConnClosed { conn: id, cause });
        self.out.push(Output::Close { conn: id });
    }

    /// Drops all that hangs on a connection.
    fn forget(&mut self, id: Conn) -> Option<Connection> {
        let conn = self.conns.remove(id)?;
        self.watches.remove_conn(id);
        self.waiting -= conn.line.len();
        self.stats.dropped += 1;
        Some(conn)
    }

    /// Makes `conn` the owner of `session`; the connection that owned it on this server is closed.
    fn attach(&mut self, session: SessionId, id: Conn, reattached: bool) {
        if let Some(old) = self.conns.attach(session, id) {
            self.close(old, CloseCause::SessionMoved);
        }
        self.event(Event::SessionAttached { session, conn: id, reattached });
    }

    /// Gives every session its full timeout: while nobody was served, nobody could show life.
    fn renew_sessions(&mut self) {
        let all: Vec<SessionId> = self.sessions.iter().map(|(id, _)| id).collect();
        for id in all {
            self.sessions.touch(id, None, self.now.mono);
        }
    }

    /// The identities of a connection; none if it is gone.
    fn ids(&self, id: Conn) -> &[Id] {
        self.conns.get(id).map_or(&[], |c| c.ids())
    }

    /// How many requests of one connection may wait. While more wait in all than globalOutstandingLimit allows, it is an equal
    /// part of the limit, one at least, so that whoever asks much does not shut the others out.
    fn share(&self) -> usize {
        let limit = self.config.global_outstanding_limit as usize;
        if self.waiting <= limit {
            return usize::MAX;
        }
        (limit / self.conns.len().max(1)).max(1)
    }

    /// Tells everyone who watches, before any reply that shows the change.
    fn fire(&mut self, zxid: Zxid, change: &Change) {
        let (conns, stats, skip) = (&mut self.conns, &mut self.stats, self.config.skip_acl);
        let mut deliver = |id: Conn, kind: EventKind, path: &str, acl: &Arc<[Acl]>| {
            let Some(conn) = conns.get_mut(id) else { return };
            // A watcher that may not read the node learns nothing of it; its one-shot watch is used up all the same.
            if acl::allowed(skip, acl, perms::READ, conn.ids()) {
                stats.sent += 1;
                conn.notify(zxid, kind, path);
                conns.touch(id);
            }
        };
        self.watches.fire(change, &mut deliver);
    }
}
