//! Transactions: what the log holds and what a leader proposes. Answers to `TxnHeader`, `SerializeUtils` and the
//! `*Txn` records.
//!
//! Body = TxnHeader (long session, int cxid, long zxid, long time, int type) + the type's record + optionally
//! TxnDigest (int version 2, long digest of the tree after this transaction).

use super::data::Acl;
use super::error::ErrorCode;
use crate::id::{SessionId, Zxid};
use crate::jute::{Bad, Reader, Write};
use bytes::Bytes;

/// Who asked for it, when, and its place in the order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxnHeader {
    /// The session; [`SessionId::NONE`] for the server's own.
    pub session: SessionId,
    /// The request's xid.
    pub cxid: i32,
    /// Its place.
    pub zxid: Zxid,
    /// Wall-clock ms of the leader: ctime and mtime.
    pub time: i64,
}

/// What kind of node a create makes: decides the transaction's type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateKind {
    /// Types 1 and 15. `parent_cversion` -1 (records before 3.4): the parent's own + 1.
    Node {
        /// Owned by the header's session.
        ephemeral: bool,
        /// 15 instead of 1: the client asked for a stat.
        create2: bool,
    },
    /// Type 19.
    Container,
    /// Type 21, ms.
    Ttl(i64),
}

/// A create.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateTxn {
    /// Decides type and owner.
    pub kind: CreateKind,
    /// Final path, sequence number included.
    pub path: String,
    /// Null and empty differ.
    pub data: Option<Bytes>,
    /// Resolved entries.
    pub acl: Vec<Acl>,
    /// The parent's stored cversion after this create.
    pub parent_cversion: i32,
}

/// A transaction's record. Versions are the resulting ones.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the fields are the records' own, listed in ZooKeeper's zookeeper.jute")]
pub enum Txn {
    CreateSession {
        timeout: i32,
    },
    /// `None`: written with closeSessionTxn.enabled=false, or before 3.6.
    CloseSession {
        paths: Option<Vec<String>>,
    },
    /// A write that failed its checks; takes a zxid all the same.
    Error {
        err: i32,
    },
    Create(CreateTxn),
    Delete {
        path: String,
    },
    DeleteContainer {
        path: String,
    },
    SetData {
        path: String,
        data: Option<Bytes>,
        version: i32,
    },
    Reconfig {
        path: String,
        data: Option<Bytes>,
        version: i32,
    },
    SetAcl {
        path: String,
        acl: Vec<Acl>,
        version: i32,
    },
    /// Only inside a multi; the version is the current one + 1 and is not looked at.
    Check {
        path: String,
        version: i32,
    },
    /// If one of them is [`Txn::Error`], none is applied.
    Multi(Vec<Txn>),
}

impl Txn {
    /// The type in the header.
    pub fn kind(&self) -> i32 {
        match self {
            Txn::CreateSession { .. } => -10,
            Txn::CloseSession { .. } => -11,
            Txn::Error { .. } => -1,
            Txn::Create(c) => match c.kind {
                CreateKind::Node { create2: false, .. } => 1,
                CreateKind::Node { create2: true, .. } => 15,
                CreateKind::Container => 19,
                CreateKind::Ttl(_) => 21,
            },
            Txn::Delete { .. } => 2,
            Txn::DeleteContainer { .. } => 20,
            Txn::SetData { .. } => 5,
            Txn::Reconfig { .. } => 16,
            Txn::SetAcl { .. } => 7,
            Txn::Check { .. } => 13,
            Txn::Multi(_) => 14,
        }
    }

    /// True for an error, and for a multi with an error in it: nothing is applied.
    pub fn is_failed(&self) -> bool {
        match self {
            Txn::Error { .. } => true,
            Txn::Multi(ops) => ops.iter().any(|t| matches!(t, Txn::Error { .. })),
            _ => false,
        }
    }

    fn encode_record(&self, w: &mut impl Write) {
        match self {
            Txn::CreateSession { timeout } => w.int(*timeout),
            Txn::CloseSession { paths: None } => {}
            Txn::CloseSession { paths: Some(paths) } => {
                w.count(paths.len());
                paths.iter().for_each(|p| w.string(p));
            }
            Txn::Error { err } => w.int(*err),
            Txn::Create(c) => {
                w.string(&c.path);
                w.buffer(c.data.as_deref());
                Acl::encode_list(&c.acl, w);
                match c.kind {
                    CreateKind::Node { ephemeral, .. } => {
                        w.bool(ephemeral);
                        w.int(c.parent_cversion);
                    }
                    CreateKind::Container => w.int(c.parent_cversion),
                    CreateKind::Ttl(ttl) => {
                        w.int(c.parent_cversion);
                        w.long(ttl);
                    }
                }
            }
            Txn::Delete { path } | Txn::DeleteContainer { path } => w.string(path),
            Txn::SetData { path, data, version } | Txn::Reconfig { path, data, version } => {
                w.string(path);
                w.buffer(data.as_deref());
                w.int(*version);
            }
            Txn::SetAcl { path, acl, version } => {
                w.string(path);
                Acl::encode_list(acl, w);
                w.int(*version);
            }
            Txn::Check { path, version } => {
                w.string(path);
                w.int(*version);
            }
            Txn::Multi(ops) => {
                w.count(ops.len());
                for op in ops {
                    w.int(op.kind());
                    let mut record = Vec::new();
                    op.encode_record(&mut record);
                    w.buffer(Some(&record));
                }
            }
        }
    }

    fn decode_record(kind: i32, r: &mut Reader<'_>) -> Result<Txn, Bad> {
        Ok(match kind {
            -10 => Txn::CreateSession { timeout: r.int()? },
            -11 => Txn::CloseSession { paths: decode_close(r)? },
            -1 => Txn::Error { err: r.int()? },
            1 | 15 => {
                let (path, data, acl) = (r.string()?, r.buffer()?, r.vector(Acl::decode)?);
                let kind = CreateKind::Node { ephemeral: r.bool()?, create2: kind == 15 };
                // Records from before 3.4 end here.
                let parent_cversion = if r.is_empty() { -1 } else { r.int()? };
                Txn::Create(CreateTxn { kind, path, data, acl: acl.unwrap_or_default(), parent_cversion })
            }
            19 | 21 => {
                let (path, data, acl) = (r.string()?, r.buffer()?, r.vector(Acl::decode)?);
                let parent_cversion = r.int()?;
                let kind = if kind == 19 { CreateKind::Container } else { CreateKind::Ttl(r.long()?) };
                Txn::Create(CreateTxn { kind, path, data, acl: acl.unwrap_or_default(), parent_cversion })
            }
            2 => Txn::Delete { path: r.string()? },
            20 => Txn::DeleteContainer { path: r.string()? },
            5 => Txn::SetData { path: r.string()?, data: r.buffer()?, version: r.int()? },
            16 => Txn::Reconfig { path: r.string()?, data: r.buffer()?, version: r.int()? },
            7 => Txn::SetAcl {
                path: r.string()?,
                acl: r.vector(Acl::decode)?.unwrap_or_default(),
                version: r.int()?,
            },
            13 => Txn::Check { path: r.string()?, version: r.int()? },
            14 => Txn::Multi(r.vector_of(|r| {
                let kind = r.int()?;
                let data = r.slice()?.ok_or(Bad::Null)?;
                // A multi inside a multi does not exist; refusing it keeps a hostile log from recursing.
                if matches!(kind, 14 | -10 | -11) {
                    return Err(Bad::Tag(kind));
                }
                Txn::decode_record(kind, &mut Reader::new(data))
            })?),
            other => return Err(Bad::Tag(other)),
        })
    }
}

/// The list of a closeSession, whose absence only the bytes that are left can tell (3.5, or closeSessionTxn switched off):
/// nothing left means no list, exactly a digest left means no list either. No node has an empty path; two of those would look
/// like a digest.
fn decode_close(r: &mut Reader<'_>) -> Result<Option<Vec<String>>, Bad> {
    let rest = r.rest();
    if rest.is_empty() || (rest.len() == DIGEST_LEN && rest[..4] == 2i32.to_be_bytes()) {
        return Ok(None);
    }
    r.vector(|r| r.string().and_then(|path| if path.is_empty() { Err(Bad::Length(0)) } else { Ok(path) }))
}

const DIGEST_LEN: usize = 12;
const DIGEST_VERSION: i32 = 2;

/// A transaction with its header and the digest of the tree after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoggedTxn {
    /// Who, when, where.
    pub header: TxnHeader,
    /// What.
    pub txn: Txn,
    /// Tree digest, version 2; error transactions never have one.
    pub digest: Option<u64>,
}

impl LoggedTxn {
    /// Writes the body: header, record, digest.
    pub fn encode(&self, w: &mut impl Write) {
        w.long(self.header.session.0);
        w.int(self.header.cxid);
        w.long(self.header.zxid.0);
        w.long(self.header.time);
        w.int(self.txn.kind());
        self.txn.encode_record(w);
        if let Some(digest) = self.digest {
            w.int(DIGEST_VERSION);
            w.long(digest as i64);
        }
    }

    /// Reads a body. A digest of another version than 2 is skipped.
    pub fn decode(body: &[u8]) -> Result<LoggedTxn, Bad> {
        let mut r = Reader::new(body);
        let (session, cxid) = (SessionId(r.long()?), r.int()?);
        let header = TxnHeader { session, cxid, zxid: Zxid(r.long()?), time: r.long()? };
        let kind = r.int()?;
        let txn = Txn::decode_record(kind, &mut r)?;
        let digest = match r.rest().len() {
            DIGEST_LEN if r.int()? == DIGEST_VERSION => Some(r.long()? as u64),
            _ => None,
        };
        Ok(LoggedTxn { header, txn, digest })
    }
}

/// The error of a failed transaction, as its reply shows it; `None` if it is not a failed one.
pub fn txn_error(txn: &Txn) -> Option<ErrorCode> {
    match txn {
        Txn::Error { err } => Some(ErrorCode::from_code(*err).unwrap_or(ErrorCode::SystemError)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_a_close_session_is_told_from_a_digest() {
        let header = TxnHeader { session: SessionId(1), cxid: 7, zxid: Zxid(2), time: 3 };
        for (paths, digest) in [
            (None, None),
            (None, Some(5)),
            (Some(vec![]), None),
            (Some(vec!["/a".to_owned(), "/b".to_owned()]), Some(0)),
        ] {
            let txn = LoggedTxn { header, txn: Txn::CloseSession { paths }, digest };
            let mut body = Vec::new();
            txn.encode(&mut body);
            assert_eq!(LoggedTxn::decode(&body), Ok(txn));
        }
        // What a fuzzer made: two empty paths, and something that is no digest behind them.
        let mut body = Vec::new();
        let txn = Txn::CloseSession { paths: Some(vec![String::new(); 2]) };
        LoggedTxn { header, txn, digest: None }.encode(&mut body);
        body.push(1);
        assert_eq!(LoggedTxn::decode(&body), Err(Bad::Length(0)));
    }
}
