//! The snapshot file. Answers to `FileSnap`, `SerializeUtils` and `SnapStream`. Writes the plain form with both trailers,
//! reads every form that 3.5 to 3.9 write. Knows no folder.
//!
//! ```text
//! header    int magic "ZKSN" | int version 2 | long dbid -1
//! sessions  int count | (long id | int timeout)*
//! ACLs      int count | (long key | vector of ACL)*
//! nodes     (ustring path | buffer data | long key | StatPersisted)*, parents first | ustring "/"
//! seal      long Adler-32 of all before it | ustring "/"
//! digest    long zxid | int version 2 | long digest | seal          if digests are on
//! last      long zxid | seal                                        3.9 on
//! ```

use super::unpack::{Input, Truncated};
use crate::id::{SessionId, Zxid};
use crate::jute::{Reader, Write};
use crate::limits::{MAX_SNAPSHOT, MAX_TXN};
use crate::proto::{Acl, Id, StatPersisted};
use crate::tree::{ImageStart, LoadError, Tree};
use bytes::{Bytes, BytesMut};
use simd_adler32::Adler32;
use std::collections::BTreeMap;
use std::fmt;

const MAGIC: i32 = 0x5a4b_534e;
const VERSION: i32 = 2;
const DBID: i64 = -1;
const DIGEST_VERSION: i32 = 2;
/// Ends the nodes and every seal.
const MARK: &str = "/";
const SEAL_LEN: usize = 13;
const DIGEST_BLOCK: usize = 20 + SEAL_LEN;
const LAST_BLOCK: usize = 8 + SEAL_LEN;

/// How a snapshot lies on the disk; the name's extension tells.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Form {
    /// As it is.
    Plain,
    /// One gzip member.
    Gz,
    /// xerial's framing of snappy blocks.
    Snappy,
}

/// What goes around the nodes, and the sum over all of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer {
    sum: u32,
    len: u64,
}

impl Writer {
    /// Begins a file: everything in front of the nodes.
    pub(super) fn begin(
        sessions: impl ExactSizeIterator<Item = (SessionId, i32)>,
        image: &ImageStart,
        out: &mut BytesMut,
    ) -> Writer {
        out.int(MAGIC);
        out.int(VERSION);
        out.long(DBID);
        out.count(sessions.len());
        for (id, timeout) in sessions {
            out.long(id.0);
            out.int(timeout);
        }
        out.count(image.acls.len());
        for (key, acl) in &image.acls {
            out.long(*key);
            Acl::encode_list(acl, out);
        }
        Writer { sum: Adler32::new().finish(), len: 0 }
    }

    /// Counts a slice that goes into the file as it is.
    pub(super) fn add(&mut self, slice: &[u8]) {
        let mut sum = Adler32::from_checksum(self.sum);
        sum.write(slice);
        self.sum = sum.finish();
        self.len += slice.len() as u64;
    }

    /// Ends a file: what follows the nodes, behind `out`, the last slice, none of which was counted yet.
    pub(super) fn end(&mut self, zxid: Zxid, digest: Option<u64>, out: &mut BytesMut) {
        out.string(MARK);
        let mut counted = self.seal(0, out);
        if let Some(digest) = digest {
            out.long(zxid.0);
            out.int(DIGEST_VERSION);
            out.long(digest as i64);
            counted = self.seal(counted, out);
        }
        out.long(zxid.0);
        counted = self.seal(counted, out);
        self.len += (out.len() - counted) as u64;
    }

    /// Writes a seal over everything up to here; what it counted.
    fn seal(&mut self, counted: usize, out: &mut BytesMut) -> usize {
        self.add(&out[counted..]);
        let counted = out.len();
        out.long(i64::from(self.sum));
        out.string(MARK);
        counted
    }

    /// Bytes of the file so far.
    pub(super) fn len(&self) -> u64 {
        self.len
    }
}

/// The digest that a snapshot shows if digests are on; Java shows 0 before the first transaction.
pub(super) fn shown_digest(digests: bool, image: &ImageStart) -> Option<u64> {
    digests.then_some(if image.zxid == Zxid::ZERO { 0 } else { image.digest })
}

/// A file in one go, for where nothing may come in between.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) zxid: Zxid,
    pub(super) slices: Vec<Bytes>,
    pub(super) len: u64,
}

impl Whole {
    /// The snapshot of a tree as it is, in pieces of so many bytes.
    pub(super) fn of(
        tree: &mut Tree,
        sessions: impl ExactSizeIterator<Item = (SessionId, i32)>,
        digests: bool,
        piece: usize,
    ) -> Whole {
        let image = tree.image_begin();
        let (mut slice, mut slices) = (BytesMut::new(), Vec::new());
        let mut writer = Writer::begin(sessions, &image, &mut slice);
        while !tree.image_slice(piece, &mut slice) {
            writer.add(&slice);
            slices.push(slice.split().freeze());
        }
        writer.end(image.zxid, shown_digest(digests, &image), &mut slice);
        slices.push(slice.freeze());
        Whole { zxid: image.zxid, slices, len: writer.len() }
    }
}

/// What a snapshot holds.
#[derive(Debug)]
pub struct Loaded {
    /// The nodes; its last zxid is that of the file's name.
    pub tree: Tree,
    /// Live sessions and their timeouts, ms.
    pub sessions: BTreeMap<SessionId, i32>,
    /// Up to which transaction effects can be in it, and the digest at that one. `None` in files without digests.
    pub digest: Option<(Zxid, u64)>,
}

/// Why a snapshot cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadSnapshot {
    /// Offset in the uncompressed stream.
    pub at: u64,
    /// What is wrong there.
    pub cause: BadCause,
}

/// What is wrong with a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadCause {
    /// It ends too early.
    Short,
    /// Decompression fails.
    Compression,
    /// Another magic.
    Magic,
    /// A count or length that cannot be.
    Length(i32),
    /// Null where a value is needed.
    Null,
    /// A node that cannot be.
    Node(LoadError),
    /// A checksum is wrong.
    Sum,
    /// A seal does not end with its mark.
    Mark,
    /// This many bytes follow the first seal.
    Trailing(usize),
    /// Larger than [`MAX_SNAPSHOT`].
    TooLarge,
}

impl fmt::Display for BadSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            BadCause::Short => write!(f, "it ends too early"),
            BadCause::Compression => write!(f, "it does not decompress"),
            BadCause::Magic => write!(f, "it is no snapshot: the magic is wrong"),
            BadCause::Length(n) => write!(f, "unreasonable length {n}"),
            BadCause::Null => write!(f, "null where a value is needed"),
            BadCause::Node(e) => write!(f, "{e}"),
            BadCause::Sum => write!(f, "a checksum is wrong"),
            BadCause::Mark => write!(f, "a seal is broken"),
            BadCause::Trailing(n) => write!(f, "{n} unknown bytes follow the nodes"),
            BadCause::TooLarge => write!(f, "it is larger than {MAX_SNAPSHOT} bytes"),
        }?;
        write!(f, " (offset {})", self.at)
    }
}

impl From<Truncated> for BadCause {
    fn from(t: Truncated) -> BadCause {
        match t {
            Truncated::End => BadCause::Short,
            Truncated::Garbled => BadCause::Compression,
        }
    }
}

/// Java's quick look at a file: the end of a seal, or the magic of a compression.
pub fn looks_whole(file: &[u8], form: Form) -> bool {
    match form {
        Form::Plain => file.len() >= 10 && file.ends_with(&[0, 0, 0, 1, b'/']),
        Form::Gz => file.starts_with(&[0x1f, 0x8b]),
        Form::Snappy => file.starts_with(super::unpack::SNAPPY_MAGIC),
    }
}

/// Reads a snapshot whole and checks every sum.
pub fn load(file: &[u8], form: Form, zxid: Zxid, seed: u64) -> Result<Loaded, BadSnapshot> {
    let mut load = Load { input: Input::new(file, form) };
    load.file(zxid, seed).map_err(|cause| BadSnapshot { at: load.input.offset(), cause })
}

struct Load<'a> {
    input: Input<'a>,
}

impl Load<'_> {
    fn file(&mut self, zxid: Zxid, seed: u64) -> Result<Loaded, BadCause> {
        if self.int()? != MAGIC {
            return Err(BadCause::Magic);
        }
        self.input.take(12)?;
        let sessions = self.sessions()?;
        let mut tree = Tree::new(seed);
        self.acls(&mut tree)?;
        self.nodes(&mut tree)?;
        tree.load_done();
        tree.set_last_zxid(zxid);
        let sum = self.input.sum();
        self.seal(sum)?;
        let digest = self.trailers()?;
        Ok(Loaded { tree, sessions, digest })
    }

    fn sessions(&mut self) -> Result<BTreeMap<SessionId, i32>, BadCause> {
        let mut sessions = BTreeMap::new();
        for _ in 0..self.count()? {
            sessions.insert(SessionId(self.long()?), self.int()?);
        }
        Ok(sessions)
    }

    fn acls(&mut self, tree: &mut Tree) -> Result<(), BadCause> {
        for _ in 0..self.count()? {
            let key = self.long()?;
            let mut acl = Vec::new();
            for _ in 0..self.count()? {
                let perms = self.int()?;
                let (scheme, id) = (self.string()?, self.string()?);
                acl.push(Acl { perms, id: Id { scheme, id } });
            }
            tree.load_acl(key, acl);
        }
        Ok(())
    }

    fn nodes(&mut self, tree: &mut Tree) -> Result<(), BadCause> {
        loop {
            let path = self.string()?;
            if path == MARK {
                return Ok(());
            }
            let data = match self.int()? {
                -1 => None,
                n => Some(Bytes::copy_from_slice(self.bytes(n)?)),
            };
            let key = self.long()?;
            let stat = StatPersisted::decode(&mut Reader::new(self.input.take(60)?)).expect("60 bytes");
            tree.load_node(&path, data, key, stat).map_err(BadCause::Node)?;
            if self.input.offset() > MAX_SNAPSHOT {
                return Err(BadCause::TooLarge);
            }
        }
    }

    /// The optional blocks, told apart by the bytes that are left. A digest of another version than 2 is not used.
    fn trailers(&mut self) -> Result<Option<(Zxid, u64)>, BadCause> {
        let left = self.input.left(DIGEST_BLOCK + LAST_BLOCK + 1)?;
        let (has_digest, has_last) = match left {
            0 => (false, false),
            LAST_BLOCK => (false, true),
            DIGEST_BLOCK => (true, false),
            n if n == DIGEST_BLOCK + LAST_BLOCK => (true, true),
            n => return Err(BadCause::Trailing(n)),
        };
        let mut digest = None;
        if has_digest {
            let (zxid, version, value) = (Zxid(self.long()?), self.int()?, self.long()? as u64);
            digest = (version == DIGEST_VERSION).then_some((zxid, value));
            let sum = self.input.sum();
            self.seal(sum)?;
        }
        if has_last {
            self.long()?;
            let sum = self.input.sum();
            self.seal(sum)?;
        }
        Ok(digest)
    }

    fn seal(&mut self, sum: u32) -> Result<(), BadCause> {
        if self.long()? != i64::from(sum) {
            return Err(BadCause::Sum);
        }
        if self.string()? != MARK {
            return Err(BadCause::Mark);
        }
        Ok(())
    }

    fn int(&mut self) -> Result<i32, BadCause> {
        Ok(i32::from_be_bytes(*self.input.take(4)?.first_chunk().expect("4 bytes")))
    }
    fn long(&mut self) -> Result<i64, BadCause> {
        Ok(i64::from_be_bytes(*self.input.take(8)?.first_chunk().expect("8 bytes")))
    }
    fn count(&mut self) -> Result<i32, BadCause> {
        match self.int()? {
            n if n < -1 => Err(BadCause::Length(n)),
            n => Ok(n.max(0)),
        }
    }
    fn bytes(&mut self, n: i32) -> Result<&[u8], BadCause> {
        let len = usize::try_from(n).ok().filter(|len| *len <= MAX_TXN).ok_or(BadCause::Length(n))?;
        Ok(self.input.take(len)?)
    }
    fn string(&mut self) -> Result<String, BadCause> {
        match self.int()? {
            -1 => Err(BadCause::Null),
            n => Ok(String::from_utf8_lossy(self.bytes(n)?).into_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
