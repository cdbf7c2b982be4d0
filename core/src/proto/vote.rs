//! The election port: the message that opens a connection, and notifications in frames after it. Answers to
//! `QuorumCnxManager.InitialMessage` and to the buffers of `FastLeaderElection`.
//!
//! Initial message: long version (-65536, or -65535 with several addresses) | long sid | int n | byte address[n].
//! Before 3.5: long sid alone. Frame: int length | notification.
//! Notification: int state | long leader | long zxid | long electionEpoch | long peerEpoch | int version | int length |
//! byte configuration[length]. Behind that ZooKeeper reads nothing and sends nothing; a server of ours that looks for a leader
//! and has seen a proposed configuration adds int length | byte proposed[length].

use crate::addr::Addr;
use crate::id::{ServerId, Zxid};
use crate::jute::{Bad, Reader, Write};
use bytes::{Buf, Bytes, BytesMut};

/// Longest address text of an initial message.
pub const MAX_INITIAL_ADDRESS: usize = 2048;
/// Longest notification.
pub const MAX_NOTIFICATION: usize = 512 << 10;

/// The first message on a connection of the election port, from whoever opened it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InitialMessage {
    /// Who opened it.
    pub sid: ServerId,
    /// Where its election port is.
    pub from: InitialAddress,
}

/// What an initial message says of its sender's address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InitialAddress {
    /// Nothing: ZooKeeper before 3.5.
    Unsaid,
    /// One address: the usual form.
    V1(Addr),
    /// Any of several; sent with multiAddress.enabled only.
    V2(Vec<Addr>),
}

/// Why an initial message is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadInitial {
    /// A version that is none.
    Version(i64),
    /// A length of the address that makes no sense.
    Length(i32),
    /// An address that is none.
    Address,
}

const V1: i64 = -65536;
const V2: i64 = -65535;

impl InitialMessage {
    /// Writes the message.
    pub fn encode(&self, w: &mut impl Write) {
        let (version, text) = match &self.from {
            InitialAddress::Unsaid => return w.long(self.sid.0),
            InitialAddress::V1(addr) => (V1, addr.to_string()),
            InitialAddress::V2(addrs) => {
                (V2, addrs.iter().map(Addr::to_string).collect::<Vec<_>>().join("|"))
            }
        };
        w.long(version);
        w.long(self.sid.0);
        w.string(&text);
    }

    /// Reads the message at the front of `bytes` and says how long it is; `None` until it is whole.
    pub fn decode(bytes: &[u8]) -> Result<Option<(InitialMessage, usize)>, BadInitial> {
        let mut r = Reader::new(bytes);
        let Ok(version) = r.long() else { return Ok(None) };
        if version >= 0 {
            let message = InitialMessage { sid: ServerId(version), from: InitialAddress::Unsaid };
            return Ok(Some((message, 8)));
        }
        if version != V1 && version != V2 {
            return Err(BadInitial::Version(version));
        }
        let (Ok(sid), Ok(n)) = (r.long(), r.int()) else { return Ok(None) };
        let Some(len) = usize::try_from(n).ok().filter(|n| (1..=MAX_INITIAL_ADDRESS).contains(n)) else {
            return Err(BadInitial::Length(n));
        };
        let Some(text) = r.rest().get(..len) else { return Ok(None) };
        let text = std::str::from_utf8(text).map_err(|_| BadInitial::Address)?;
        let addrs: Option<Vec<Addr>> = text.split('|').map(Addr::parse).collect();
        let mut addrs = addrs.ok_or(BadInitial::Address)?;
        // A V1 message with several addresses is accepted, but no one sends it.
        let from = match version == V1 && addrs.len() == 1 {
            true => InitialAddress::V1(addrs.swap_remove(0)),
            false => InitialAddress::V2(addrs),
        };
        Ok(Some((InitialMessage { sid: ServerId(sid), from }, 20 + len)))
    }

    /// Where to dial back to: wildcards name no place.
    pub fn dial_back(&self) -> Vec<Addr> {
        let all = match &self.from {
            InitialAddress::Unsaid => &[],
            InitialAddress::V1(addr) => std::slice::from_ref(addr),
            InitialAddress::V2(addrs) => addrs.as_slice(),
        };
        all.iter().filter(|a| !a.is_wildcard()).cloned().collect()
    }
}

/// Takes a whole frame off the front of `buf`; `None` until there is one.
pub fn take_notification_frame(buf: &mut BytesMut) -> Result<Option<Bytes>, Bad> {
    let Some(four) = buf.first_chunk::<4>() else { return Ok(None) };
    let n = i32::from_be_bytes(*four);
    let Some(len) = usize::try_from(n).ok().filter(|n| (1..=MAX_NOTIFICATION).contains(n)) else {
        return Err(Bad::Length(n));
    };
    if buf.len() < 4 + len {
        return Ok(None);
    }
    buf.advance(4);
    Ok(Some(buf.split_to(len).freeze()))
}

/// What a server is doing, as notifications say it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(i32)]
pub enum ServerState {
    /// No leader is known.
    Looking = 0,
    /// It follows.
    Following = 1,
    /// It leads.
    Leading = 2,
    /// It follows without a vote.
    Observing = 3,
}

impl ServerState {
    /// The state of a wire number.
    pub fn from_int(v: i32) -> Result<ServerState, Bad> {
        Ok(match v {
            0 => ServerState::Looking,
            1 => ServerState::Following,
            2 => ServerState::Leading,
            3 => ServerState::Observing,
            other => return Err(Bad::Tag(other)),
        })
    }
}

/// Who should lead, and what speaks for it. Votes are compared by epoch, then zxid, then sid, which is how the fields are
/// ordered here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Vote {
    /// currentEpoch of the proposed leader.
    pub peer_epoch: i64,
    /// The last zxid of its log.
    pub zxid: Zxid,
    /// Who.
    pub leader: ServerId,
}

/// A vote with all that a server says of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notification {
    /// What the sender is doing.
    pub state: ServerState,
    /// Its vote.
    pub vote: Vote,
    /// The round it was cast in (electionEpoch).
    pub round: i64,
    /// Version of the format; 0 for those that do not say.
    pub version: i32,
    /// The sender's configuration; only from version 2 on.
    pub config: Option<Bytes>,
    /// A later one that it has seen proposed; only of version 2.
    pub proposed: Option<Bytes>,
}

/// The version of the format that 3.9 sends.
pub const NOTIFICATION_VERSION: i32 = 2;

impl Notification {
    /// Writes the layout of 3.9, the only one that is sent, and what is proposed behind it.
    pub fn encode(&self, w: &mut impl Write) {
        w.int(self.state as i32);
        w.long(self.vote.leader.0);
        w.long(self.vote.zxid.0);
        w.long(self.round);
        w.long(self.vote.peer_epoch);
        w.int(self.version);
        w.buffer(Some(self.config.as_deref().unwrap_or_default()));
        if self.proposed.is_some() {
            w.buffer(self.proposed.as_deref());
        }
    }

    /// Reads any layout that 3.9 accepts: by length, 28 = no peerEpoch, 40 = no version (the last int is not looked at).
    pub fn decode(bytes: &Bytes) -> Result<Notification, Bad> {
        let mut r = Reader::new(bytes);
        let state = ServerState::from_int(r.int()?)?;
        let (leader, zxid, round) = (ServerId(r.long()?), Zxid(r.long()?), r.long()?);
        if bytes.len() == 28 {
            let peer_epoch = zxid.0 >> 32;
            let vote = Vote { peer_epoch, zxid, leader };
            return Ok(Notification { state, vote, round, version: 0, config: None, proposed: None });
        }
        let vote = Vote { peer_epoch: r.long()?, zxid, leader };
        let version = r.int()?;
        if bytes.len() == 40 {
            return Ok(Notification { state, vote, round, version: 0, config: None, proposed: None });
        }
        let config = match version > 1 {
            true => Some(bytes.slice_ref(r.slice()?.ok_or(Bad::Length(-1))?)),
            false => None,
        };
        // Anything else behind the configuration is no business of ours.
        let proposed = match version == NOTIFICATION_VERSION {
            true => r.slice().ok().flatten().map(|text| bytes.slice_ref(text)),
            false => None,
        };
        Ok(Notification { state, vote, round, version, config, proposed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole() -> Notification {
        let vote = Vote { peer_epoch: 7, zxid: Zxid::new(6, 5), leader: ServerId(3) };
        let config = Some(Bytes::from_static(b"version=0"));
        Notification { state: ServerState::Leading, vote, round: 9, version: 2, config, proposed: None }
    }

    fn bytes_of(n: &Notification) -> Vec<u8> {
        let mut w = Vec::new();
        n.encode(&mut w);
        w
    }

    fn decode(bytes: &[u8]) -> Result<Notification, Bad> {
        Notification::decode(&Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn lengths_that_are_accepted() {
        let (n, bytes) = (whole(), bytes_of(&whole()));
        assert_eq!(bytes.len(), 44 + 9);
        let old = Notification { version: 0, config: None, ..n.clone() };
        for len in 0..bytes.len() {
            let got = decode(&bytes[..len]);
            match len {
                28 => {
                    let vote = Vote { peer_epoch: 6, ..n.vote };
                    assert_eq!(got, Ok(Notification { vote, ..old.clone() }));
                }
                40 => assert_eq!(got, Ok(old.clone())),
                _ => assert!(got.is_err(), "{len}"),
            }
        }
        assert_eq!(decode(&bytes), Ok(n.clone()));
        assert_eq!(decode(&[bytes.as_slice(), b"more"].concat()), Ok(n.clone()));
        // Version 1 says its version and no configuration.
        let mut one = bytes[..44].to_vec();
        one[36..40].copy_from_slice(&1i32.to_be_bytes());
        assert_eq!(decode(&one), Ok(Notification { version: 1, config: None, ..n.clone() }));
    }

    #[test]
    fn what_is_proposed_comes_behind_all_that_java_reads() {
        let n = Notification { proposed: Some(Bytes::from_static(b"version=5")), ..whole() };
        let bytes = bytes_of(&n);
        assert_eq!(bytes[..53], bytes_of(&whole())[..]);
        assert_eq!(decode(&bytes), Ok(n));
        assert_eq!(decode(&bytes[..bytes.len() - 1]), Ok(whole()));
    }

    #[test]
    fn bad_fields_drop_the_message() {
        let bytes = bytes_of(&whole());
        let with = |at: usize, v: i32| {
            let mut b = bytes.clone();
            b[at..at + 4].copy_from_slice(&v.to_be_bytes());
            decode(&b)
        };
        assert_eq!(with(0, 4), Err(Bad::Tag(4)));
        assert_eq!(with(40, -1), Err(Bad::Length(-1)));
        assert_eq!(with(40, -2), Err(Bad::Length(-2)));
        assert_eq!(with(40, 10), Err(Bad::Length(10)));
        assert_eq!(with(40, 8).map(|n| n.config), Ok(Some(Bytes::from_static(b"version="))));
    }

    #[test]
    fn initial_messages() {
        let a = |s: &str| Addr::parse(s).expect(s);
        for (from, usable) in [
            (InitialAddress::Unsaid, 0),
            (InitialAddress::V1(a("127.0.0.1:14892")), 1),
            (InitialAddress::V1(a("0.0.0.0:3888")), 0),
            (InitialAddress::V2(vec![a("localhost:14897"), a("[::]:1"), a("[fe80::1]:2")]), 2),
        ] {
            let message = InitialMessage { sid: ServerId(2), from };
            assert_eq!(message.dial_back().len(), usable);
            let mut w = Vec::new();
            message.encode(&mut w);
            for cut in 0..w.len() {
                assert_eq!(InitialMessage::decode(&w[..cut]), Ok(None));
            }
            let len = w.len();
            w.extend_from_slice(b"more");
            assert_eq!(InitialMessage::decode(&w), Ok(Some((message, len))));
        }
        let bad = |v: i64, n: i32, text: &str| {
            let mut w = Vec::new();
            w.long(v);
            w.long(1);
            w.int(n);
            w.extend_from_slice(text.as_bytes());
            InitialMessage::decode(&w).expect_err("bad")
        };
        assert_eq!(bad(-1, 3, "h:1"), BadInitial::Version(-1));
        assert_eq!(bad(V1, 0, ""), BadInitial::Length(0));
        assert_eq!(bad(V1, 2049, ""), BadInitial::Length(2049));
        assert_eq!(bad(V1, 3, "h:x"), BadInitial::Address);
    }

    #[test]
    fn frames() {
        let mut buf = BytesMut::from(&[0, 0, 0, 2, 7, 8, 0, 0, 0][..]);
        assert_eq!(take_notification_frame(&mut buf), Ok(Some(Bytes::from_static(&[7, 8]))));
        assert_eq!(take_notification_frame(&mut buf), Ok(None));
        for bad in [0, -1, 524_289] {
            let mut buf = BytesMut::from(&i32::to_be_bytes(bad)[..]);
            assert_eq!(take_notification_frame(&mut buf), Err(Bad::Length(bad)));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), v1: bool) {
            let _ = decode(&bytes);
            let version = if v1 { V1 } else { V2 };
            let _ = InitialMessage::decode(&[&version.to_be_bytes()[..], &bytes].concat());
            let _ = InitialMessage::decode(&bytes);
        }
    }
}
