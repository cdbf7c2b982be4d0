//! Transactions as the checkers read them: borrowed from the logged bytes, nothing copied. Written from the layouts of the
//! disk format, not shared with the core's own records.

use zebu_core::id::{SessionId, Zxid};
use zebu_core::jute::{Bad, Reader};

/// A transaction's header and where its record begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) session: SessionId,
    pub(super) zxid: Zxid,
    pub(super) time: i64,
    pub(super) kind: i32,
    rest: &'a [u8],
}

/// What kind of node a create makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Made {
    Persistent,
    Ephemeral,
    Container,
    Ttl(i64),
}

/// A record, or one part of a multi.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op<'a> {
    CreateSession { timeout: i32 },
    CloseSession { paths: Option<Strings<'a>> },
    Error { code: i32 },
    Create { path: &'a str, data: Option<&'a [u8]>, acl: &'a [u8], made: Made, parent_cversion: i32 },
    Delete { path: &'a str, container: bool },
    SetData { path: &'a str, data: Option<&'a [u8]>, version: i32 },
    SetAcl { path: &'a str, acl: &'a [u8], version: i32 },
    Check { path: &'a str },
    Multi(Parts<'a>),
}

/// A vector of strings in its encoded form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strings<'a> {
    pub(super) count: usize,
    bytes: &'a [u8],
}

/// The parts of a multi in their encoded form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    pub(super) count: usize,
    bytes: &'a [u8],
}

impl<'a> Head<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Head<'a>, Bad> {
        let mut r = Reader::new(body);
        let session = SessionId(r.long()?);
        // The client's xid, which no rule needs.
        r.int()?;
        Ok(Head { session, zxid: Zxid(r.long()?), time: r.long()?, kind: r.int()?, rest: r.rest() })
    }

    /// The record and the digest behind it.
    pub(super) fn record(&self) -> Result<(Op<'a>, Option<u64>), Bad> {
        let mut r = Reader::new(self.rest);
        let op = read_op(self.kind, &mut r)?;
        let digest = match r.rest().len() {
            0 => None,
            12 if r.int()? == 2 => Some(r.long()? as u64),
            _ => return Err(Bad::Length(r.rest().len() as i32)),
        };
        Ok((op, digest))
    }
}

fn text<'a>(r: &mut Reader<'a>) -> Result<&'a str, Bad> {
    std::str::from_utf8(r.slice()?.ok_or(Bad::Null)?).map_err(|_| Bad::Null)
}

/// The bytes of an ACL list, its count included.
fn acl<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Bad> {
    let start = r.rest();
    for _ in 0..r.int()?.max(0) {
        r.int()?;
        r.slice()?;
        r.slice()?;
    }
    Ok(&start[..start.len() - r.rest().len()])
}

fn read_op<'a>(kind: i32, r: &mut Reader<'a>) -> Result<Op<'a>, Bad> {
    Ok(match kind {
        -10 => Op::CreateSession { timeout: r.int()? },
        -11 => {
            let rest = r.rest();
            if rest.is_empty() || (rest.len() == 12 && rest[..4] == [0, 0, 0, 2]) {
                return Ok(Op::CloseSession { paths: None });
            }
            let count = r.int()?.max(0) as usize;
            let bytes = r.rest();
            for _ in 0..count {
                text(r)?;
            }
            Op::CloseSession { paths: Some(Strings { count, bytes }) }
        }
        -1 => Op::Error { code: r.int()? },
        1 | 15 | 19 | 21 => {
            let (path, data, acl) = (text(r)?, r.slice()?, acl(r)?);
            let ephemeral = matches!(kind, 1 | 15) && r.bool()?;
            let parent_cversion = r.int()?;
            let made = match kind {
                19 => Made::Container,
                21 => Made::Ttl(r.long()?),
                _ if ephemeral => Made::Ephemeral,
                _ => Made::Persistent,
            };
            Op::Create { path, data, acl, made, parent_cversion }
        }
        2 | 20 => Op::Delete { path: text(r)?, container: kind == 20 },
        5 | 16 => Op::SetData { path: text(r)?, data: r.slice()?, version: r.int()? },
        7 => Op::SetAcl { path: text(r)?, acl: acl(r)?, version: r.int()? },
        13 => {
            let path = text(r)?;
            r.int()?;
            Op::Check { path }
        }
        14 => {
            let count = r.int()?.max(0) as usize;
            let bytes = r.rest();
            for _ in 0..count {
                let kind = r.int()?;
                let record = r.slice()?.ok_or(Bad::Null)?;
                // Also where an unreadable part comes to light, so that `Parts` need not fail.
                match kind {
                    14 | -10 | -11 => return Err(Bad::Tag(kind)),
                    _ => read_op(kind, &mut Reader::new(record))?,
                };
            }
            Op::Multi(Parts { count, bytes })
        }
        other => return Err(Bad::Tag(other)),
    })
}

impl<'a> Strings<'a> {
    pub(super) fn iter(self) -> impl Iterator<Item = &'a str> {
        let mut r = Reader::new(self.bytes);
        (0..self.count).map(move |_| text(&mut r).expect("was read before"))
    }
}

impl<'a> Parts<'a> {
    pub(super) fn iter(self) -> impl Iterator<Item = Op<'a>> {
        let mut r = Reader::new(self.bytes);
        (0..self.count).map(move |_| {
            let kind = r.int().expect("was read before");
            let record = r.slice().ok().flatten().expect("was read before");
            read_op(kind, &mut Reader::new(record)).expect("was read before")
        })
    }

    /// Nothing of it is applied: one of its parts is an error.
    pub(super) fn failed(self) -> bool {
        self.iter().any(|op| matches!(op, Op::Error { .. }))
    }
}
