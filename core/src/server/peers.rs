//! The connections of the quorum port: packets and snapshots cut out of the stream, and what is queued for it. Answers to the
//! socket half of `LearnerHandler` and `Learner`. Knows no ZAB: what a packet means is the role's.

use crate::boundary::{CloseCause, Conn, Event, Output};
use crate::id::SessionId;
use crate::jute::Bad;
use crate::limits;
use crate::proto::{PacketReader, QuorumPacket, SnapshotPart, SnapshotReader, SnapshotRecord};
use crate::tree::{LoadError, Tree};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};

/// What came through a snapshot's stream.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) tree: Tree,
    pub(super) sessions: Vec<(SessionId, i32)>,
}

/// Why a snapshot's stream is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum BadStream {
    /// A record cannot be read.
    Record(Bad),
    /// A node that cannot be.
    Node(LoadError),
}

/// How the bytes of a connection are read.
#[derive(Debug)]
enum Inbox {
    Packets(PacketReader),
    Snapshot(SnapshotReader, Box<Snapshot>),
}

/// One connection.
#[derive(Debug)]
struct Peer {
    inbox: Inbox,
    out: BytesMut,
    /// Packets behind a snapshot that is being sent.
    behind: Option<BytesMut>,
    unsent: usize,
    dirty: bool,
    /// For this server to lead.
    waits: bool,
    /// So many bytes may be unsent.
    limit: usize,
    /// What the connection is closed for if more are.
    cause: CloseCause,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Peers {
    all: BTreeMap<Conn, Peer>,
    dirty: VecDeque<Conn>,
}

impl Peers {
    /// A connection. `max`: the longest packet that may come in.
    pub(super) fn open(&mut self, id: Conn, max: usize) {
        let inbox = Inbox::Packets(PacketReader::new(max));
        let (out, limit, cause) = (BytesMut::new(), limits::PEER_UNSENT, CloseCause::SlowReader);
        let peer = Peer { inbox, out, behind: None, unsent: 0, dirty: false, waits: false, limit, cause };
        let old = self.all.insert(id, peer);
        assert!(old.is_none(), "connection number {id:?} was used twice");
    }

    /// A connection that waits until this server leads.
    pub(super) fn let_wait(&mut self, id: Conn, max: usize) {
        self.open(id, max);
        self.all.get_mut(&id).expect("just opened").waits = true;
    }

    /// An observer's: no more than so many bytes of transactions wait for it.
    pub(super) fn open_observer(&mut self, id: Conn, max: usize, limit: usize) {
        self.open(id, max);
        let peer = self.all.get_mut(&id).expect("just opened");
        peer.limit = limit.saturating_add(limits::OBSERVER_UNSENT);
        peer.cause = CloseCause::ObserverBehind;
    }

    pub(super) fn contains(&self, id: Conn) -> bool {
        self.all.contains_key(&id)
    }

    /// Those that wait, oldest first.
    pub(super) fn waiting(&self) -> Vec<Conn> {
        self.all.iter().filter(|(_, p)| p.waits).map(|(id, _)| *id).collect()
    }

    /// It is gone.
    pub(super) fn forget(&mut self, id: Conn) {
        self.all.remove(&id);
    }

    /// Closes it from this side: what is queued leaves first.
    pub(super) fn close(&mut self, id: Conn, cause: CloseCause, out: &mut Vec<Output>) {
        self.flush_one(id, out);
        if self.all.remove(&id).is_some() {
            out.push(Output::Event(Event::ConnClosed { conn: id, cause }));
            out.push(Output::Close { conn: id });
        }
    }

    // ---- in ----

    /// Takes in bytes.
    pub(super) fn feed(&mut self, id: Conn, bytes: &[u8]) {
        match self.all.get_mut(&id).map(|p| &mut p.inbox) {
            Some(Inbox::Packets(reader)) => reader.feed(bytes),
            Some(Inbox::Snapshot(reader, _)) => reader.feed(bytes),
            None => {}
        }
    }

    /// Bytes that are no packet yet.
    pub(super) fn buffered(&self, id: Conn) -> usize {
        match self.all.get(&id).map(|p| &p.inbox) {
            Some(Inbox::Packets(reader)) => reader.buffered(),
            Some(Inbox::Snapshot(..)) | None => 0,
        }
    }

    /// The next packet, unless a snapshot is being received.
    pub(super) fn next_packet(&mut self, id: Conn) -> Result<Option<QuorumPacket>, Bad> {
        match self.all.get_mut(&id).map(|p| &mut p.inbox) {
            Some(Inbox::Packets(reader)) => reader.next_packet(),
            Some(Inbox::Snapshot(..)) | None => Ok(None),
        }
    }

    /// What comes next is a snapshot's stream. `seed` is the new tree's.
    pub(super) fn receive_snapshot(&mut self, id: Conn, seed: u64) {
        let Some(Peer { inbox, .. }) = self.all.get_mut(&id) else { return };
        if let Inbox::Packets(reader) = inbox {
            let empty = Snapshot { tree: Tree::new(seed), sessions: Vec::new() };
            *inbox =
                Inbox::Snapshot(SnapshotReader::new(reader.take_rest(), limits::MAX_TXN), Box::new(empty));
        }
    }

    /// The snapshot once all of it is there; packets follow it.
    pub(super) fn next_snapshot(&mut self, id: Conn) -> Result<Option<Snapshot>, BadStream> {
        let Some(Peer { inbox, .. }) = self.all.get_mut(&id) else { return Ok(None) };
        let Inbox::Snapshot(reader, snapshot) = inbox else { return Ok(None) };
        loop {
            match reader.next_part().map_err(BadStream::Record)? {
                SnapshotPart::Wait => return Ok(None),
                SnapshotPart::Record(record) => snapshot.take(record).map_err(BadStream::Node)?,
                SnapshotPart::End => break,
            }
        }
        let mut packets = PacketReader::new(limits::MAX_LEADER_PACKET);
        packets.feed(&reader.take_rest());
        let Inbox::Snapshot(_, mut snapshot) = std::mem::replace(inbox, Inbox::Packets(packets)) else {
            unreachable!("it has just been one")
        };
        snapshot.tree.load_done();
        Ok(Some(*snapshot))
    }

    // ---- out ----

    /// Queues a packet.
    pub(super) fn send(&mut self, id: Conn, packet: &QuorumPacket) {
        let Some(peer) = self.all.get_mut(&id) else { return };
        packet.encode(peer.behind.as_mut().unwrap_or(&mut peer.out));
        self.touch(id);
    }

    /// A snapshot's stream begins: packets wait behind it.
    pub(super) fn begin_stream(&mut self, id: Conn) {
        if let Some(peer) = self.all.get_mut(&id) {
            peer.behind = Some(BytesMut::new());
        }
    }

    /// Queues the next bytes of the stream.
    pub(super) fn stream(&mut self, id: Conn, bytes: &[u8]) {
        if let Some(peer) = self.all.get_mut(&id) {
            peer.out.extend_from_slice(bytes);
            self.touch(id);
        }
    }

    /// The stream is over: the packets behind it follow.
    pub(super) fn end_stream(&mut self, id: Conn) {
        if let Some(peer) = self.all.get_mut(&id)
            && let Some(behind) = peer.behind.take()
        {
            peer.out.extend_from_slice(&behind);
            self.touch(id);
        }
    }

    /// Bytes that have not left yet, those behind a snapshot apart.
    pub(super) fn unsent_ahead(&self, id: Conn) -> usize {
        self.all.get(&id).map_or(0, |p| p.unsent + p.out.len())
    }

    /// All that was sent has left.
    pub(super) fn drained(&mut self, id: Conn) {
        if let Some(peer) = self.all.get_mut(&id) {
            peer.unsent = 0;
        }
    }

    fn touch(&mut self, id: Conn) {
        if let Some(peer) = self.all.get_mut(&id)
            && !std::mem::replace(&mut peer.dirty, true)
        {
            self.dirty.push_back(id);
        }
    }

    fn flush_one(&mut self, id: Conn, out: &mut Vec<Output>) {
        let Some(peer) = self.all.get_mut(&id) else { return };
        peer.dirty = false;
        if !peer.out.is_empty() {
            peer.unsent += peer.out.len();
            let bytes: Bytes = peer.out.split().freeze();
            out.push(Output::Send { conn: id, bytes });
        }
    }

    /// Hands what is queued to the driver; who takes too little is closed, and told of.
    pub(super) fn flush(&mut self, out: &mut Vec<Output>) -> Vec<Conn> {
        let mut slow = Vec::new();
        while let Some(id) = self.dirty.pop_front() {
            self.flush_one(id, out);
            let Some(peer) = self.all.get(&id) else { continue };
            let unsent = peer.unsent + peer.behind.as_ref().map_or(0, |b| b.len());
            if unsent > peer.limit {
                let cause = peer.cause;
                self.close(id, cause, out);
                slow.push(id);
            }
        }
        slow
    }
}

impl Snapshot {
    fn take(&mut self, record: SnapshotRecord) -> Result<(), LoadError> {
        match record {
            SnapshotRecord::Session { id, timeout } => self.sessions.push((id, timeout)),
            SnapshotRecord::AclEntry { key, acl } => self.tree.load_acl(key, acl),
            SnapshotRecord::Node { path, data, acl_key, stat } => {
                return self.tree.load_node(&path, data, acl_key, stat);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Zxid;
    use crate::proto::FromLeader;

    #[test]
    fn an_observer_that_does_not_take_its_transactions_is_given_up() {
        let (mut peers, mut out) = (Peers::default(), Vec::new());
        let limit = 1 << 20;
        let inform = FromLeader::Inform { zxid: Zxid(1), txn: Bytes::from(vec![0; 1 << 16]) }.into_packet();
        let (slow, quick, behind, leader) = (Conn(2), Conn(4), Conn(6), Conn(1));
        for conn in [slow, quick, behind] {
            peers.open_observer(conn, 1 << 10, limit);
        }
        peers.open(leader, 1 << 10);
        // Packets behind a snapshot count too.
        peers.begin_stream(behind);
        let mut informed = 0;
        let given_up = loop {
            [slow, quick, behind, leader].into_iter().for_each(|conn| peers.send(conn, &inform));
            informed += 1;
            let given_up = peers.flush(&mut out);
            peers.drained(quick);
            if !given_up.is_empty() {
                break given_up;
            }
        };
        assert_eq!(given_up, [slow, behind]);
        assert!(informed << 16 > limit && informed << 16 <= limit + limits::OBSERVER_UNSENT);
        assert!(peers.contains(quick) && peers.contains(leader));
        let cause = CloseCause::ObserverBehind;
        assert!(out.contains(&Output::Event(Event::ConnClosed { conn: slow, cause })));
    }
}
