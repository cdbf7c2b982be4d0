//! Snapshots of the tree for learners, one at a time: an image is cut into slices as the connection takes them. Answers to the
//! SNAP branch of `LearnerHandler.run`.

use super::base::Base;
use super::peers::Peers;
use crate::boundary::Conn;
use crate::jute::Write;
use crate::proto::{Acl, encode_snapshot_end};
use bytes::BytesMut;
use std::collections::VecDeque;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// Learners that need one, in order.
    wanted: VecDeque<Conn>,
    sending: Option<Conn>,
}

impl Snapshots {
    /// A learner needs one.
    pub(super) fn want(&mut self, conn: Conn) {
        self.wanted.push_back(conn);
    }

    pub(super) fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// Whose turn it is, if the tree can be imaged now.
    pub(super) fn next(&mut self, base: &Base) -> Option<Conn> {
        if self.sending.is_some() || base.store.is_writing_snapshot() {
            return None;
        }
        self.wanted.pop_front()
    }

    /// The stream stands here among what is sent to the connection.
    pub(super) fn begin(&mut self, base: &mut Base, peers: &mut Peers, conn: Conn) {
        assert!(self.sending.is_none(), "one at a time");
        let image = base.tree.image_begin();
        let mut bytes = BytesMut::new();
        bytes.count(base.sessions.len());
        for (id, timeout) in base.sessions.iter() {
            bytes.long(id.0);
            bytes.int(timeout);
        }
        bytes.count(image.acls.len());
        for (key, acl) in &image.acls {
            bytes.long(*key);
            Acl::encode_list(acl, &mut bytes);
        }
        self.sending = Some(conn);
        peers.begin_stream(conn);
        peers.stream(conn, &bytes);
        self.go_on(base, peers, conn);
    }

    /// Some of it has left, perhaps.
    pub(super) fn go_on(&mut self, base: &mut Base, peers: &mut Peers, conn: Conn) {
        if self.sending != Some(conn) {
            return;
        }
        let mut slice = BytesMut::new();
        while peers.unsent_ahead(conn) < base.config.stream_ahead {
            slice.clear();
            let finished = base.tree.image_slice(base.config.piece, &mut slice);
            if finished {
                encode_snapshot_end(&mut slice);
            }
            peers.stream(conn, &slice);
            if finished {
                peers.end_stream(conn);
                self.sending = None;
                return;
            }
        }
    }

    /// A learner is gone.
    pub(super) fn forget(&mut self, base: &mut Base, conn: Conn) {
        self.wanted.retain(|c| *c != conn);
        if self.sending == Some(conn) {
            self.give_up(base);
        }
    }

    /// Nobody needs what is being sent.
    pub(super) fn give_up(&mut self, base: &mut Base) {
        if self.sending.take().is_some() {
            base.tree.image_drop();
        }
    }
}
