//! A session's line: replies leave in the order of the requests, and a read waits behind the session's own writes.
//! Answers to `CommitProcessor`.

use crate::id::{Xid, Zxid};
use crate::limits;
use crate::proto::{OpCode, Request};
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
    Write { zxid: Zxid },
    /// Only the writes in front of it.
    Read(Request),
    /// The same; its record did not parse.
    Malformed(MalformedReply),
}

/// How a request that does not parse is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MalformedReply {
    /// The header with MarshallingError.
    Header,
    /// The same and an empty multi: a multiRead with an operation that is no read.
    EmptyMulti,
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

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= limits::CONN_PENDING || self.bytes >= limits::CONN_PENDING_BYTES
    }

    pub(super) fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.size;
        self.waiting.push_back(waiting);
    }

    /// The write whose commit this is: it stands in front, since all in front of it has been answered.
    pub(super) fn committed(&mut self, zxid: Zxid) -> Waiting {
        let front = self.pop();
        match front {
            Some(w) if matches!(w.what, What::Write { zxid: z } if z == zxid) => w,
            other => panic!("{zxid} commits, but the line's front is {other:?}"),
        }
    }

    /// The next request that needs no commit.
    pub(super) fn next_ready(&mut self) -> Option<Waiting> {
        match self.waiting.front()?.what {
            What::Write { .. } => None,
            What::Read(_) | What::Malformed(_) => self.pop(),
        }
    }

    fn pop(&mut self) -> Option<Waiting> {
        let front = self.waiting.pop_front()?;
        self.bytes -= front.size;
        Some(front)
    }
}
