//! The quorum port: a stream of packets without length prefixes, the same in both directions. Answers to `QuorumPacket`.
//! What the packets mean is in [`message`], the snapshot that follows a SNAP packet in [`snapshot`].
//!
//! QuorumPacket = int type | long zxid | buffer data | vector of Id authinfo. Null data and null authinfo are usual.

mod message;
mod scan;
mod snapshot;

pub use message::*;
pub use snapshot::*;

use super::data::Id;
use crate::id::Zxid;
use crate::jute::{Bad, Reader, Write};
use bytes::{Bytes, BytesMut};
use scan::{Field, Scan};

macro_rules! packet_types {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        /// The type of a packet.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(i32)]
        pub enum PacketType { $($(#[$doc])* $name = $code,)* }

        impl PacketType {
            /// The type of a wire number.
            pub fn from_int(v: i32) -> Result<PacketType, Bad> {
                match v { $($code => Ok(PacketType::$name),)* other => Err(Bad::Tag(other)) }
            }
        }
    };
}

packet_types! {
    /// Learner to leader: a client's write or sync.
    Request = 1;
    /// To a follower: log this, then ack it.
    Proposal = 2;
    /// Learner to leader: logged.
    Ack = 3;
    /// To a follower: the oldest proposal is part of history.
    Commit = 4;
    /// Both ways: alive; the learner's lists its sessions.
    Ping = 5;
    /// Both ways: is this session alive?
    Revalidate = 6;
    /// To a learner: the oldest sync of its clients is done.
    Sync = 7;
    /// To an observer: a proposal and its commit in one.
    Inform = 8;
    /// To a follower: commit of a reconfiguration.
    CommitAndActivate = 9;
    /// To a learner: the history of before this epoch ends here.
    NewLeader = 10;
    /// A follower's first packet.
    FollowerInfo = 11;
    /// To a learner: serve clients.
    UpToDate = 12;
    /// To a learner: the transactions that it lacks follow.
    Diff = 13;
    /// To a learner: cut the log back to this zxid.
    Trunc = 14;
    /// To a learner: a whole snapshot follows.
    Snap = 15;
    /// An observer's first packet.
    ObserverInfo = 16;
    /// To a learner: the new epoch.
    LeaderInfo = 17;
    /// Learner to leader: the new epoch is accepted, and this is my history.
    AckEpoch = 18;
    /// To an observer: a reconfiguration and its commit in one.
    InformAndActivate = 19;
}

/// One packet, its payload not looked into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuorumPacket {
    /// Its type.
    pub kind: PacketType,
    /// What it is about; the meaning hangs on the type.
    pub zxid: Zxid,
    /// The payload. Null and empty differ.
    pub data: Option<Bytes>,
    /// Who asks, in a REQUEST. Null and empty differ.
    pub authinfo: Option<Vec<Id>>,
}

const SHAPE: &[Field] = &[Field::Fixed(HEAD), Field::Blob, Field::Vector(&[Field::Blob, Field::Blob])];
const HEAD: usize = 12;

impl QuorumPacket {
    /// A packet without authinfo.
    pub fn new(kind: PacketType, zxid: Zxid, data: Option<Bytes>) -> QuorumPacket {
        QuorumPacket { kind, zxid, data, authinfo: None }
    }

    /// Writes the packet.
    pub fn encode(&self, w: &mut impl Write) {
        w.int(self.kind as i32);
        w.long(self.zxid.0);
        w.buffer(self.data.as_deref());
        match &self.authinfo {
            None => w.int(-1),
            Some(ids) => {
                w.count(ids.len());
                ids.iter().for_each(|id| id.encode(w));
            }
        }
    }

    /// Reads the packet that `bytes` is. The payload shares its memory.
    fn decode(bytes: Bytes) -> Result<QuorumPacket, Bad> {
        let mut r = Reader::new(&bytes);
        let (kind, zxid) = (PacketType::from_int(r.int()?)?, Zxid(r.long()?));
        let data = r.slice()?.map(|d| bytes.slice_ref(d));
        let authinfo = r.vector(Id::decode)?;
        Ok(QuorumPacket { kind, zxid, data, authinfo })
    }
}

/// Cuts a stream into packets, whatever way it is split.
#[derive(Debug)]
pub struct PacketReader {
    buf: BytesMut,
    scan: Scan,
    max: usize,
}

impl PacketReader {
    /// A reader that refuses packets longer than `max` bytes.
    pub fn new(max: usize) -> PacketReader {
        PacketReader { buf: BytesMut::new(), scan: Scan::default(), max }
    }
    /// Takes in what arrived.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }
    /// The next packet; `None` until more arrives. After an error the stream cannot be read on.
    pub fn next_packet(&mut self) -> Result<Option<QuorumPacket>, Bad> {
        // A wrong type is told before the rest of the packet is waited for.
        if let Some(kind) = self.buf.first_chunk::<4>() {
            PacketType::from_int(i32::from_be_bytes(*kind))?;
        }
        let Some(len) = self.scan.run(SHAPE, &self.buf, self.max)? else { return Ok(None) };
        self.scan = Scan::default();
        QuorumPacket::decode(self.buf.split_to(len).freeze()).map(Some)
    }
    /// Bytes that came in and are no packet yet.
    pub fn buffered(&self) -> usize {
        self.buf.len()
    }
    /// Ends the packets: what follows a SNAP packet is a snapshot, of which these bytes are the beginning.
    pub fn take_rest(&mut self) -> BytesMut {
        self.scan = Scan::default();
        std::mem::take(&mut self.buf)
    }
}

/// A step of the SASL exchange that stands before everything else on both ports if quorum.auth.enableSasl is on. Answers
/// to `QuorumAuthPacket`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuorumAuthPacket {
    /// Where the exchange stands.
    pub status: QuorumAuthStatus,
    /// The mechanism's own bytes.
    pub token: Option<Bytes>,
}

/// Where a SASL exchange stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum QuorumAuthStatus {
    /// It goes on.
    InProgress = 0,
    /// Both sides believe each other.
    Success = 1,
    /// It failed.
    Error = -1,
}

impl QuorumAuthPacket {
    /// The long that it begins with; no packet or message of either port does.
    pub const MAGIC: i64 = 0x5f24_3501_3501_edcc;

    /// Writes the record.
    pub fn encode(&self, w: &mut impl Write) {
        w.long(QuorumAuthPacket::MAGIC);
        w.int(self.status as i32);
        w.buffer(self.token.as_deref());
    }
    /// Reads the record.
    pub fn decode(r: &mut Reader<'_>) -> Result<QuorumAuthPacket, Bad> {
        if r.long()? != QuorumAuthPacket::MAGIC {
            return Err(Bad::Tag(0));
        }
        let status = match r.int()? {
            0 => QuorumAuthStatus::InProgress,
            1 => QuorumAuthStatus::Success,
            -1 => QuorumAuthStatus::Error,
            other => return Err(Bad::Tag(other)),
        };
        Ok(QuorumAuthPacket { status, token: r.buffer()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_packet() -> impl Strategy<Value = QuorumPacket> {
        let id = (".{0,4}", ".{0,9}").prop_map(|(s, i)| Id::new(&s, &i));
        (
            1..=19,
            any::<i64>(),
            proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
            proptest::option::of(proptest::collection::vec(id, 0..4)),
        )
            .prop_map(|(kind, zxid, data, authinfo)| QuorumPacket {
                kind: PacketType::from_int(kind).expect("all 19 exist"),
                zxid: Zxid(zxid),
                data: data.map(Bytes::from),
                authinfo,
            })
    }

    #[test]
    fn an_unknown_type_and_a_huge_length_are_refused_early() {
        let mut r = PacketReader::new(1000);
        r.feed(&[0, 0, 0, 20]);
        assert_eq!(r.next_packet(), Err(Bad::Tag(20)));
        let mut r = PacketReader::new(1000);
        r.feed(&[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]);
        assert!(matches!(r.next_packet(), Err(Bad::Length(_))));
    }

    proptest! {
        #[test]
        fn packets_come_out_of_any_split(
            packets in proptest::collection::vec(any_packet(), 0..6),
            step in 1usize..50,
        ) {
            let mut bytes = Vec::new();
            packets.iter().for_each(|p| p.encode(&mut bytes));
            let mut reader = PacketReader::new(1 << 20);
            let mut got = Vec::new();
            for part in bytes.chunks(step) {
                reader.feed(part);
                while let Some(p) = reader.next_packet().expect("well formed") {
                    got.push(p);
                }
            }
            prop_assert_eq!(got, packets);
            prop_assert_eq!(reader.buffered(), 0);
        }

        #[test]
        fn no_bytes_panic(mut bytes: Vec<u8>, kind in 1u8..20) {
            bytes.splice(0..0, [0, 0, 0, kind]);
            let mut reader = PacketReader::new(64);
            reader.feed(&bytes);
            while let Ok(Some(p)) = reader.next_packet() {
                let _ = (FromLeader::decode(p.clone()), FromLearner::decode(p));
            }
        }
    }
}
