//! What happened in a run, in order: the words in which the world tells it and from which alone the checkers judge.
//!
//! A history is one list of (simulated time, [`Entry`]). Entries are small; requests, results, paths and the like lie in
//! lists beside it and are named by index, and [`History::clear`] keeps all allocations for the next seed. Paths and
//! requests, and the paths in results and events, are as on the wire (a chroot is in front). It knows neither the world nor the
//! checkers.
//!
//! One server or an ensemble: who is in it stands in the settings. A number of a client's connection names one connection
//! of the whole run, not of its server only. Every server is told of by its own id; a standalone one by the id in its settings.

use bytes::Bytes;
use std::net::IpAddr;
use zebu_core::boundary::{Conn, Event};
use zebu_core::client::Disconnect;
use zebu_core::disk::Recovered;
use zebu_core::id::{Epoch, ServerId, SessionId, Zxid};
use zebu_core::proto::{ErrorCode, EventKind, OpCode, Request, Response};
use zebu_core::time::{Millis, Time};

/// The operations whose replies are recorded from the server's side: no client is told where they took place.
pub const SET_WATCHES: [i32; 2] = [OpCode::SetWatches as i32, OpCode::SetWatches2 as i32];

/// A handle of a client program: what opens a session, loses connections, expires. A program that goes on after an
/// expiry opens its next handle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Who {
    /// The client program, from 0.
    pub client: u16,
    /// The handle, from 0, over all clients of the run, in order of [`Entry::Open`].
    pub handle: u16,
}

/// A call, numbered from 0 over all clients in order of [`Entry::Invoke`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Call(pub u32);

/// Index into one of the lists beside the entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ref(pub u32);

/// Something that happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Entry {
    /// A client program made a handle; what it was made with is [`History::setups`]`[who.handle]`.
    Open {
        /// Which.
        who: Who,
    },
    /// A call was handed to the client; its request is [`History::requests`]`[call]`. Calls of a handle are sent in this order.
    Invoke {
        /// By whom.
        who: Who,
        /// Its number.
        call: Call,
    },
    /// A call came back.
    Return {
        /// To whom.
        who: Who,
        /// Its number.
        call: Call,
        /// The connection whose reply it was; `None`: the client made the error up (ConnectionLoss, SessionExpired …).
        conn: Option<Conn>,
        /// The reply header's zxid.
        zxid: Zxid,
        /// Index into [`History::results`].
        result: Ref,
    },
    /// A watch event was handed to the client program: a frame of the server that concerned one of the client's watches.
    Notify {
        /// To whom.
        who: Who,
        /// From which connection.
        conn: Conn,
        /// The header's zxid; [`Zxid::NONE`] from setWatches.
        zxid: Zxid,
        /// What happened.
        kind: EventKind,
        /// Index into [`History::paths`].
        path: Ref,
    },
    /// The state of a handle changed.
    State {
        /// Whose.
        who: Who,
        /// The new one.
        state: HandleState,
    },
    /// A client gave a connection up, since what came over it made no sense.
    Misread {
        /// Which handle.
        who: Who,
        /// What was wrong.
        cause: Disconnect,
    },
    /// The client process died: its handles do nothing more, their open calls never return.
    Gone {
        /// Which handle (one entry each).
        who: Who,
    },
    /// A server's core told something. Of `Replied` only those to setWatches are recorded.
    Server {
        /// Which.
        server: ServerId,
        /// Its start, from 0.
        incarnation: u32,
        /// What.
        event: Event,
    },
    /// A serving server was given bytes that completed at least one frame of this client connection that is no auth packet
    /// (those do not keep a session alive). The handshake counts.
    Taken {
        /// Which server.
        server: ServerId,
        /// Which connection.
        conn: Conn,
        /// False: it may have ended the connection instead, and its sign of life with it.
        sure: bool,
    },
    /// What recovery would yield if power failed now and every byte not synced were lost; of a server that is down, what its
    /// disk holds. Recorded when it has changed since the last one of this server: of a server right before its `Vouched`
    /// events, and of all right before `Established`, `Activated` and `QuorumAcked` events and before a [`Entry::Return`]. It
    /// must not lag behind there.
    Image {
        /// Whose disk.
        server: ServerId,
        /// What would be left.
        image: Image,
    },
    /// Over this connection someone asks for a session without its password: it must not get it.
    Stranger {
        /// Which.
        conn: Conn,
    },
    /// The disk of this server broke its word from here on (a sync that lied, rot, a replaced disk): its losses are not the
    /// server's fault.
    DiskLied {
        /// Whose disk.
        server: ServerId,
    },
    /// After an [`Entry::DiskLied`]: a dead server's disk is empty from here on, whatever it vouched for is forgotten. It is an
    /// observer; or everything that it ever vouched for, history and epochs, is durable on the disk of every other voter, and
    /// it is no quorum alone: so nothing is lost, however often and to whomever this happens. In an ensemble a disk that lied loses what it lied about
    /// only then, too.
    Wiped {
        /// Whose disk.
        server: ServerId,
    },
    /// A server died.
    Crash {
        /// Which.
        server: ServerId,
        /// How.
        kind: CrashKind,
    },
    /// A server is started on what its disk holds.
    Restart {
        /// Which.
        server: ServerId,
        /// The new start, from 0.
        incarnation: u32,
    },
    /// Its recovery succeeded.
    Recovered {
        /// Which.
        server: ServerId,
        /// What it found.
        found: Restored,
        /// Where in [`History::bodies`] the log's transactions lie that are above every zxid committed anywhere so far, in
        /// order. Of a standalone server only: a member tells of all that it logs.
        tail: (u32, u32),
    },
    /// Its recovery refused to start.
    Refused {
        /// Which.
        server: ServerId,
        /// Index into [`History::texts`].
        why: Ref,
    },
    /// A recovery of a cloned disk image in a scratch place, while the server went on.
    Shadow {
        /// Whose disk.
        server: ServerId,
        /// Which image: `Power` is durable bytes and a random part of the rest, `Kill` the page cache.
        kind: CrashKind,
        /// What came of it.
        outcome: ShadowOutcome,
    },
    /// From here on this server's monotonic clock shows `mono`, its wall clock `wall`, and both run `ppm` millionths too fast.
    Clock {
        /// Whose.
        server: ServerId,
        /// What it shows now.
        mono: Time,
        /// And the other one.
        wall: Millis,
        /// How much too fast; negative: too slow.
        ppm: i32,
    },
    /// From here on until the next of its kind or [`Phase::Healed`], these servers, among them a quorum of voters, are up, well
    /// and connected to each other both ways, whatever becomes of the others.
    Whole {
        /// Index into [`History::sets`].
        servers: Ref,
    },
    /// The run entered its next phase. In an ensemble [`Phase::Healed`] is followed by an [`Entry::Whole`] that names those who
    /// are healed; whoever else there is stays dead, or cut off from everyone, until the end.
    Phase(Phase),
    /// Of an ensemble, right after [`Phase::End`]: what a healed server has come to. One entry each.
    Replica {
        /// Which.
        server: ServerId,
        /// Index into [`History::replicas`].
        replica: Ref,
    },
}

/// What a server has come to at the end of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replica {
    /// It serves clients.
    pub serving: bool,
    /// Up to where its tree has come.
    pub last: Zxid,
    /// The tree's digest as the server keeps it.
    pub digest: u64,
    /// A hash over a canonical dump: every node with its data, ACL and stat, every session with its timeout.
    pub dump: u64,
    /// Every transaction in its log files, above the last snapshot that it took from a leader or that was ahead of its log when
    /// it recovered, in order: its zxid and a hash of its bytes.
    pub log: Vec<(Zxid, u64)>,
}

/// What a power cut would leave on a server's disk, if it took every byte that was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Image {
    /// The last zxid of the history: of the log, or of the snapshot if nothing is logged behind it.
    pub last: Zxid,
    /// acceptedEpoch; 0 without the file.
    pub accepted: Epoch,
    /// currentEpoch; 0 without the file.
    pub current: Epoch,
}

/// What a recovery found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Restored {
    /// The last zxid of the history; 0 on a fresh disk.
    pub last: Zxid,
    /// The zxid up to which the tree holds it: a member's may be behind.
    pub tree: Zxid,
    /// Digest of the tree.
    pub digest: u64,
    /// acceptedEpoch; 0 without the file.
    pub accepted: Epoch,
    /// currentEpoch; 0 without the file.
    pub current: Epoch,
}

impl Restored {
    /// What the core's recovery says.
    pub fn of(r: &Recovered) -> Restored {
        Restored {
            last: r.last_zxid,
            tree: r.tree.last_zxid(),
            digest: r.tree.digest(),
            accepted: Epoch(r.accepted_epoch.unwrap_or(0)),
            current: Epoch(r.current_epoch.unwrap_or(0)),
        }
    }
}

/// State of a handle, as its program is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandleState {
    /// It has a session on this connection.
    Connected {
        /// The connection.
        conn: Conn,
        /// Its session.
        session: SessionId,
        /// The negotiated timeout.
        timeout_ms: i32,
        /// False: the session is new.
        reattached: bool,
        /// To a server that can only read.
        read_only: bool,
    },
    /// The connection is gone, the session may live.
    Disconnected,
    /// A server said that the session is gone.
    Expired,
    /// It was closed by its program.
    Closed,
    /// A server refused its credentials.
    AuthFailed,
}

/// How a server dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrashKind {
    /// The process: the page cache survives.
    Kill,
    /// The machine: bytes that were not synced may be lost.
    Power,
}

/// What a shadow recovery found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShadowOutcome {
    /// It would start.
    Recovered(Restored),
    /// It would refuse to start: index into [`History::texts`].
    Refused(Ref),
}

/// The phases of a run, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// No fault from here on; what was broken is healed.
    Healed,
    /// Every surviving handle does sync and reads what it watched or wrote.
    Probe,
    /// The run is over.
    End,
}

/// What a handle was made with.
#[derive(Clone, PartialEq, Debug)]
pub struct Setup {
    /// The address that servers see: the `ip` identity.
    pub peer: IpAddr,
    /// The session timeout that it asks for.
    pub timeout_ms: i32,
    /// Credentials that it presents on every connection, before `Auth` calls add to them.
    pub auth: Vec<(String, Bytes)>,
}

/// A run's history.
#[derive(Default, Debug)]
pub struct History {
    /// What happened, in order of time.
    pub entries: Vec<(Time, Entry)>,
    /// By handle.
    pub setups: Vec<Setup>,
    /// By call.
    pub requests: Vec<Request>,
    /// By [`Entry::Return`]'s reference.
    pub results: Vec<Result<Response, ErrorCode>>,
    /// Paths of watch events.
    pub paths: Vec<String>,
    /// Recovered transactions.
    pub bodies: Vec<Bytes>,
    /// Words for people: causes of refusals.
    pub texts: Vec<String>,
    /// Sets of servers.
    pub sets: Vec<Vec<ServerId>>,
    /// By [`Entry::Replica`].
    pub replicas: Vec<Replica>,
}

impl History {
    /// Empties it for the next seed; keeps the allocations.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.setups.clear();
        self.requests.clear();
        self.results.clear();
        self.paths.clear();
        self.bodies.clear();
        self.texts.clear();
        self.sets.clear();
        self.replicas.clear();
    }

    /// Records what needs no list beside it.
    pub fn push(&mut self, at: Time, entry: Entry) {
        self.entries.push((at, entry));
    }

    /// Records a new handle of this client.
    pub fn open(&mut self, at: Time, client: u16, setup: Setup) -> Who {
        let handle = u16::try_from(self.setups.len()).expect("fewer than 65536 handles a run");
        self.setups.push(setup);
        let who = Who { client, handle };
        self.push(at, Entry::Open { who });
        who
    }

    /// Records a call and gives it its number.
    pub fn invoke(&mut self, at: Time, who: Who, request: Request) -> Call {
        let call = Call(self.requests.len() as u32);
        self.requests.push(request);
        self.push(at, Entry::Invoke { who, call });
        call
    }

    /// Records a call's return.
    pub fn ret(
        &mut self,
        at: Time,
        who: Who,
        call: Call,
        conn: Option<Conn>,
        zxid: Zxid,
        result: Result<Response, ErrorCode>,
    ) {
        let at_result = Ref(self.results.len() as u32);
        self.results.push(result);
        self.push(at, Entry::Return { who, call, conn, zxid, result: at_result });
    }

    /// Records a watch event.
    pub fn notify(&mut self, at: Time, who: Who, conn: Conn, zxid: Zxid, kind: EventKind, path: String) {
        let at_path = Ref(self.paths.len() as u32);
        self.paths.push(path);
        self.push(at, Entry::Notify { who, conn, zxid, kind, path: at_path });
    }

    /// Records a successful recovery with the bodies of its log's tail.
    pub fn recovered(
        &mut self,
        at: Time,
        server: ServerId,
        found: Restored,
        tail: impl IntoIterator<Item = Bytes>,
    ) {
        let from = self.bodies.len() as u32;
        self.bodies.extend(tail);
        let tail = (from, self.bodies.len() as u32);
        self.push(at, Entry::Recovered { server, found, tail });
    }

    /// Records that these servers are well from here on; see [`Entry::Whole`].
    pub fn whole(&mut self, at: Time, servers: Vec<ServerId>) {
        let set = Ref(self.sets.len() as u32);
        self.sets.push(servers);
        self.push(at, Entry::Whole { servers: set });
    }

    /// Records what a server has come to.
    pub fn replica(&mut self, at: Time, server: ServerId, replica: Replica) {
        let place = Ref(self.replicas.len() as u32);
        self.replicas.push(replica);
        self.push(at, Entry::Replica { server, replica: place });
    }

    /// Keeps words for people; for [`Entry::Refused`] and [`ShadowOutcome::Refused`].
    pub fn text(&mut self, words: String) -> Ref {
        self.texts.push(words);
        Ref(self.texts.len() as u32 - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stay_small() {
        assert!(size_of::<(Time, Entry)>() <= 96, "{}", size_of::<(Time, Entry)>());
    }

    #[test]
    fn calls_and_handles_number_themselves() {
        let mut h = History::default();
        let setup = Setup { peer: IpAddr::from([127, 0, 0, 1]), timeout_ms: 4000, auth: Vec::new() };
        let a = h.open(Time(1), 0, setup.clone());
        let b = h.open(Time(2), 7, setup);
        assert_eq!((a.handle, b.handle, b.client), (0, 1, 7));
        assert_eq!(h.invoke(Time(3), a, Request::Ping), Call(0));
        assert_eq!(h.invoke(Time(3), b, Request::WhoAmI), Call(1));
        h.clear();
        assert!(h.entries.is_empty() && h.requests.is_empty() && h.setups.is_empty());
    }
}
