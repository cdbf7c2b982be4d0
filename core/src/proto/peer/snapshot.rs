//! The snapshot that follows a SNAP packet: the body of a snapshot file and a signature. Answers to
//! `SerializeUtils.serializeSnapshot` and `LearnerHandler`.
//!
//! int count, (long session, int timeout)* | int count, (long key, vector of ACL)* | (ustring path, buffer data, long
//! ACL key, StatPersisted)* parents first, the root's path empty | ustring "/" | ustring "BenWasHere"

use super::scan::{Field, Scan};
use crate::id::SessionId;
use crate::jute::{Bad, Reader, Write};
use crate::proto::data::{Acl, StatPersisted};
use bytes::{Buf, Bytes, BytesMut};

const SIGNATURE: &str = "BenWasHere";
/// In the place of a path: no node follows.
const END: &str = "/";

/// One record of the stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SnapshotRecord {
    /// A global session.
    Session {
        /// Which.
        id: SessionId,
        /// Its timeout, ms.
        timeout: i32,
    },
    /// A line of the ACL table.
    AclEntry {
        /// By which nodes name it.
        key: i64,
        /// What it stands for.
        acl: Vec<Acl>,
    },
    /// A znode.
    Node {
        /// Its path; the root's is empty.
        path: String,
        /// Null and empty differ.
        data: Option<Bytes>,
        /// Its line of the ACL table, or -1 (open to all).
        acl_key: i64,
        /// The rest.
        stat: StatPersisted,
    },
}

impl SnapshotRecord {
    /// Writes the record. Sessions and ACL entries stand behind their count, in the order of the enum.
    pub fn encode(&self, w: &mut impl Write) {
        match self {
            SnapshotRecord::Session { id, timeout } => {
                w.long(id.0);
                w.int(*timeout);
            }
            SnapshotRecord::AclEntry { key, acl } => {
                w.long(*key);
                Acl::encode_list(acl, w);
            }
            SnapshotRecord::Node { path, data, acl_key, stat } => {
                w.string(path);
                w.buffer(data.as_deref());
                w.long(*acl_key);
                stat.encode(w);
            }
        }
    }
}

/// Writes what follows the last node: the end of the nodes and the signature.
pub fn encode_snapshot_end(w: &mut impl Write) {
    w.string(END);
    w.string(SIGNATURE);
}

/// Where the reader stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    SessionCount,
    Sessions(i32),
    AclCount,
    AclEntries(i32),
    /// A path, which may be the end instead.
    Path,
    Node,
    Signature,
    End,
}

impl At {
    /// The shape of what is read next; at [`At::Node`] from its path on.
    fn shape(self) -> &'static [Field] {
        match self {
            At::SessionCount | At::AclCount => &[Field::Fixed(4)],
            At::Sessions(_) => &[Field::Fixed(12)],
            At::AclEntries(_) => {
                &[Field::Fixed(8), Field::Vector(&[Field::Fixed(4), Field::Blob, Field::Blob])]
            }
            At::Path | At::Signature => &[Field::Blob],
            At::Node => &[Field::Blob, Field::Blob, Field::Fixed(68)],
            At::End => &[],
        }
    }
}

/// What the stream gives next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SnapshotPart {
    /// Nothing until more arrives.
    Wait,
    /// A record.
    Record(SnapshotRecord),
    /// That was all; [`SnapshotReader::take_rest`] is packets again.
    End,
}

/// Reads the stream as it arrives.
#[derive(Debug)]
pub struct SnapshotReader {
    buf: BytesMut,
    at: At,
    scan: Scan,
    max_record: usize,
}

impl SnapshotReader {
    /// A reader that begins with `rest`, what the packet reader had left, and refuses longer records than `max_record`.
    pub fn new(rest: BytesMut, max_record: usize) -> SnapshotReader {
        SnapshotReader { buf: rest, at: At::SessionCount, scan: Scan::default(), max_record }
    }
    /// Takes in what arrived.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }
    /// What followed the signature.
    pub fn take_rest(&mut self) -> BytesMut {
        std::mem::take(&mut self.buf)
    }

    /// The next record. After an error the stream cannot be read on.
    pub fn next_part(&mut self) -> Result<SnapshotPart, Bad> {
        loop {
            match self.at {
                At::End => return Ok(SnapshotPart::End),
                At::Sessions(0) => self.at = At::AclCount,
                At::AclEntries(0) => self.at = At::Path,
                At::SessionCount
                | At::Sessions(_)
                | At::AclCount
                | At::AclEntries(_)
                | At::Path
                | At::Node
                | At::Signature => {}
            }
            let Some(len) = self.scan.run(self.at.shape(), &self.buf, self.max_record)? else {
                return Ok(SnapshotPart::Wait);
            };
            self.scan = Scan::default();
            if let Some(record) = self.take(len)? {
                return Ok(SnapshotPart::Record(record));
            }
        }
    }

    /// Reads the `len` bytes at the front, which hold the shape at hand.
    fn take(&mut self, len: usize) -> Result<Option<SnapshotRecord>, Bad> {
        let mut r = Reader::new(&self.buf[..len]);
        let count = |n: i32| if n < 0 { Err(Bad::Length(n)) } else { Ok(n) };
        let (record, next) = match self.at {
            At::SessionCount => (None, At::Sessions(count(r.int()?)?)),
            At::Sessions(left) => {
                let record = SnapshotRecord::Session { id: SessionId(r.long()?), timeout: r.int()? };
                (Some(record), At::Sessions(left - 1))
            }
            At::AclCount => (None, At::AclEntries(count(r.int()?)?)),
            At::AclEntries(left) => {
                let (key, acl) = (r.long()?, r.vector(Acl::decode)?.unwrap_or_default());
                (Some(SnapshotRecord::AclEntry { key, acl }), At::AclEntries(left - 1))
            }
            At::Path => match r.slice()?.ok_or(Bad::Null)? {
                path if path == END.as_bytes() => (None, At::Signature),
                // The path is read again with its node.
                _ => {
                    self.at = At::Node;
                    return Ok(None);
                }
            },
            At::Node => {
                let (path, data, acl_key) = (r.string()?, r.buffer()?, r.long()?);
                let stat = StatPersisted::decode(&mut r)?;
                (Some(SnapshotRecord::Node { path, data, acl_key, stat }), At::Path)
            }
            At::Signature => match r.slice()? {
                Some(text) if text == SIGNATURE.as_bytes() => (None, At::End),
                _ => return Err(Bad::Tag(0)),
            },
            At::End => unreachable!("nothing is read after the end"),
        };
        self.at = next;
        self.buf.advance(len);
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> (Vec<SnapshotRecord>, Vec<u8>) {
        let node = |path: &str, data: Option<&'static [u8]>| SnapshotRecord::Node {
            path: path.to_owned(),
            data: data.map(Bytes::from_static),
            acl_key: 1,
            stat: StatPersisted::default(),
        };
        let records = vec![
            SnapshotRecord::Session { id: SessionId(5), timeout: 4000 },
            SnapshotRecord::AclEntry { key: 1, acl: vec![Acl::open(), Acl::read_only()] },
            SnapshotRecord::AclEntry { key: 2, acl: vec![] },
            node("", Some(b"")),
            node("/a", None),
        ];
        let mut w = Vec::new();
        w.count(1);
        records[0].encode(&mut w);
        w.count(2);
        records[1..].iter().for_each(|r| r.encode(&mut w));
        encode_snapshot_end(&mut w);
        (records, w)
    }

    fn read(bytes: &[u8], step: usize) -> Result<(Vec<SnapshotRecord>, BytesMut), Bad> {
        let mut reader = SnapshotReader::new(BytesMut::new(), 4096);
        let mut got = Vec::new();
        for part in bytes.chunks(step) {
            reader.feed(part);
            while let SnapshotPart::Record(r) = reader.next_part()? {
                got.push(r);
            }
        }
        match reader.next_part()? {
            SnapshotPart::End => Ok((got, reader.take_rest())),
            SnapshotPart::Wait | SnapshotPart::Record(_) => Err(Bad::Short),
        }
    }

    #[test]
    fn records_come_out_of_any_split_and_the_rest_is_left() {
        let (records, bytes) = sample();
        let more = [bytes.as_slice(), b"packets"].concat();
        for step in 1..more.len() {
            let (got, rest) = read(&more, step).expect("well formed");
            assert_eq!((got.as_slice(), &rest[..]), (records.as_slice(), &b"packets"[..]));
        }
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut], 7), Err(Bad::Short), "cut at {cut}");
        }
    }

    #[test]
    fn a_wrong_signature_and_long_records_are_refused() {
        let (_, mut bytes) = sample();
        *bytes.last_mut().expect("bytes") ^= 1;
        assert_eq!(read(&bytes, 9), Err(Bad::Tag(0)));
        let mut w = vec![0; 8];
        w.extend_from_slice(&[0, 0, 0x10, 0x01]);
        assert_eq!(read(&w, 9), Err(Bad::Length(4 + 4097)));
        assert!(read(&[0xff; 4], 1).is_err(), "a negative count");
    }

    proptest! {
        #[test]
        fn flipped_bytes_do_not_panic(at in 0usize..400, flip in 1u8.., step in 1usize..99) {
            let (_, mut bytes) = sample();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            let _ = read(&bytes, step);
        }
    }
}
