//! multi (14) and multiRead (22): {int type, bool done, int err} before each record, {-1, true, -1} at the end.
//! Answers to `MultiOperationRecord` and `MultiResponse`.

use super::client::{CreateOp, OpCode, Request, encode_strings};
use super::data::Stat;
use super::error::ErrorCode;
use crate::jute::{Bad, Reader, Write};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Which operations may stand in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// create, create2, createContainer, createTTL, delete, setData, check.
    Writes,
    /// getChildren, getData.
    Reads,
}

impl Kind {
    fn allows(self, op: OpCode) -> bool {
        match self {
            Kind::Writes => matches!(
                op,
                OpCode::Create
                    | OpCode::Create2
                    | OpCode::CreateContainer
                    | OpCode::CreateTtl
                    | OpCode::Delete
                    | OpCode::SetData
                    | OpCode::Check
            ),
            Kind::Reads => matches!(op, OpCode::GetChildren | OpCode::GetData),
        }
    }
}

struct Header {
    kind: i32,
    done: bool,
    err: i32,
}

impl Header {
    fn decode(r: &mut Reader<'_>) -> Result<Header, Bad> {
        Ok(Header { kind: r.int()?, done: r.bool()?, err: r.int()? })
    }
    fn encode(kind: i32, done: bool, err: i32, w: &mut impl Write) {
        w.int(kind);
        w.bool(done);
        w.int(err);
    }
}

pub(super) fn decode_request(r: &mut Reader<'_>, kind: Kind) -> Result<Vec<Request>, Bad> {
    let mut ops = Vec::new();
    loop {
        let h = Header::decode(r)?;
        if h.done {
            return Ok(ops);
        }
        let op = OpCode::from_int(h.kind).filter(|op| kind.allows(*op)).ok_or(Bad::Tag(h.kind))?;
        let mut request = Request::decode(op, r)?;
        if let Request::Create(c) = &mut request {
            // The flag decides the kind here: 4 makes a container, 5 and 6 need a TTL, others do not exist (Java: parsing fails).
            match (c.flags, c.op) {
                (4, CreateOp::Create | CreateOp::Create2) => c.op = CreateOp::Container,
                (0..=4, _) | (5 | 6, CreateOp::Ttl(_)) => {}
                (other, _) => return Err(Bad::Tag(other)),
            }
        }
        ops.push(request);
    }
}

pub(super) fn encode_request(ops: &[Request], w: &mut impl Write) {
    for op in ops {
        Header::encode(op.op() as i32, false, -1, w);
        op.encode(w);
    }
    Header::encode(-1, true, -1, w);
}

/// The result of one operation of a multi or multiRead.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are the records' own, listed in ZooKeeper's zookeeper.jute")]
pub enum OpResult {
    Create(String),
    /// create2, createContainer and createTTL alike.
    Create2 {
        path: String,
        stat: Stat,
    },
    Delete,
    SetData(Stat),
    Check,
    GetData {
        data: Option<Bytes>,
        stat: Stat,
    },
    GetChildren(Vec<String>),
    /// `None`: err 0, an operation before the culprit of a failed multi.
    Error(Option<ErrorCode>),
}

pub(super) fn encode_results(results: &[OpResult], w: &mut impl Write) {
    for result in results {
        let (kind, err) = match result {
            OpResult::Create(_) => (1, 0),
            OpResult::Create2 { .. } => (15, 0),
            OpResult::Delete => (2, 0),
            OpResult::SetData(_) => (5, 0),
            OpResult::Check => (13, 0),
            OpResult::GetData { .. } => (4, 0),
            OpResult::GetChildren(_) => (8, 0),
            OpResult::Error(e) => (-1, e.map_or(0, ErrorCode::code)),
        };
        Header::encode(kind, false, err, w);
        match result {
            OpResult::Create(path) => w.string(path),
            OpResult::Create2 { path, stat } => {
                w.string(path);
                stat.encode(w);
            }
            OpResult::Delete | OpResult::Check => {}
            OpResult::SetData(stat) => stat.encode(w),
            OpResult::GetData { data, stat } => {
                w.buffer(data.as_deref());
                stat.encode(w);
            }
            OpResult::GetChildren(c) => encode_strings(w, c),
            OpResult::Error(_) => w.int(err),
        }
    }
    Header::encode(-1, true, -1, w);
}

pub(super) fn decode_results(r: &mut Reader<'_>) -> Result<Vec<OpResult>, Bad> {
    let mut out = Vec::new();
    loop {
        let h = Header::decode(r)?;
        if h.done {
            return Ok(out);
        }
        out.push(match h.kind {
            1 => OpResult::Create(r.string()?),
            15 | 19 | 21 => OpResult::Create2 { path: r.string()?, stat: Stat::decode(r)? },
            2 => OpResult::Delete,
            13 => OpResult::Check,
            5 => OpResult::SetData(Stat::decode(r)?),
            4 => OpResult::GetData { data: r.buffer()?, stat: Stat::decode(r)? },
            8 => OpResult::GetChildren(r.vector_of(|r| r.string())?),
            -1 => match r.int()? {
                0 => OpResult::Error(None),
                code => OpResult::Error(Some(ErrorCode::from_code(code).ok_or(Bad::Tag(h.err))?)),
            },
            other => return Err(Bad::Tag(other)),
        });
    }
}
