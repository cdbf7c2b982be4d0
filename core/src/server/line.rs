//! A session's line: replies leave in the order of the requests, and a read waits behind the session's own writes.
//! Answers to `CommitProcessor`.

use crate::id::{Xid, Zxid};
use crate::limits;
use crate::proto::{ErrorCode, OpCode, Request};
use crate::time::Time;
use std::collections::VecDeque;

/// A request that came in and has not been answered.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) xid: Xid,
    pub(super) op: OpCode,
    pub(super) since: Time,
    /// Bytes of its frame.
    pub(super) size: usize,
    pub(super) what: What,
}

/// What it waits for.
#[derive(Debug)]
pub(super) enum What {
    /// Its own commit.
    Write(Commit),
    /// The leader's word that all before it is applied.
    Sync {
        /// Names it to the role.
        tag: u64,
        request: Request,
    },
    /// Only the requests in front of it.
    Read(Request),
    /// The same: it is refused, as the code says.
    Refused(ErrorCode),
    /// The same: a multiRead with an operation that is no read, which Java answers with an error and an empty multi.
    NoMultiRead,
}

/// How a write knows its commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Commit {
    /// This server gave it its zxid.
    Own(Zxid),
    /// A leader will: by session and xid.
    Forwarded,
}

/// The line of one connection.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Its last request is a sync under way. What comes behind it is not looked at until that is done: the commit of a write
    /// would come first, as a sync waits for more than commits do.
    pub(super) fn syncs(&self) -> bool {
        matches!(self.waiting.back(), Some(Waiting { what: What::Sync { .. }, .. }))
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= limits::CONN_PENDING || self.bytes >= limits::CONN_PENDING_BYTES
    }

    pub(super) fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.size;
        self.waiting.push_back(waiting);
    }

    /// The write whose commit this is, if there is one: then it stands in front, since all in front of it has been answered: the
    /// writes by their commits, and a sync before anything came behind it.
    pub(super) fn committed(&mut self, zxid: Zxid, cxid: i32) -> Option<Waiting> {
        let front = self.waiting.front()?;
        match front.what {
            What::Write(Commit::Own(own)) if own == zxid => self.pop(),
            What::Write(Commit::Forwarded) if front.xid.0 == cxid => self.pop(),
            What::Write(_) | What::Sync { .. } | What::Read(_) | What::Refused(_) | What::NoMultiRead => None,
        }
    }

    /// A sync is done: it waits only for those in front of it now.
    pub(super) fn synced(&mut self, done: u64) {
        for waiting in &mut self.waiting {
            if let What::Sync { tag, request } = &waiting.what
                && *tag == done
            {
                waiting.what = What::Read(request.clone());
                return;
            }
        }
    }

    /// The next request that waits for nothing.
    pub(super) fn next_ready(&mut self) -> Option<Waiting> {
        match self.waiting.front()?.what {
            What::Write(_) | What::Sync { .. } => None,
            What::Read(_) | What::Refused(_) | What::NoMultiRead => self.pop(),
        }
    }

    fn pop(&mut self) -> Option<Waiting> {
        let front = self.waiting.pop_front()?;
        self.bytes -= front.size;
        Some(front)
    }
}
