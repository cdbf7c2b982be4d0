//! What the packets say, by direction: a packet of the wrong direction is none. Answers to the packet types of `Leader`
//! and to `LearnerInfo`.

use super::{PacketType, QuorumPacket};
use crate::id::{ServerId, SessionId, Zxid};
use crate::jute::{Bad, Reader, Write};
use crate::proto::data::Id;
use bytes::Bytes;

/// The protocol version of FOLLOWERINFO and LEADERINFO: ZAB 1.0. Older ones are not spoken.
pub const ZAB_VERSION: i32 = 0x10000;

/// Who a learner is: its first packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LearnerInfo {
    /// Its server id.
    pub sid: ServerId,
    /// [`ZAB_VERSION`].
    pub protocol_version: i32,
    /// The version of the configuration that it knows.
    pub config_version: i64,
}

impl LearnerInfo {
    fn encode(&self) -> Bytes {
        let mut w = Vec::with_capacity(20);
        w.long(self.sid.0);
        w.int(self.protocol_version);
        w.long(self.config_version);
        w.into()
    }
    /// Null data and a bare sid come from learners before ZAB 1.0 only; without a configuration's version it is 0.
    fn decode(data: Option<&[u8]>) -> Result<LearnerInfo, Bad> {
        let mut r = Reader::new(data.ok_or(Bad::Null)?);
        let (sid, protocol_version) = (ServerId(r.long()?), r.int()?);
        let config_version = if r.rest().len() < 8 { 0 } else { r.long()? };
        Ok(LearnerInfo { sid, protocol_version, config_version })
    }
}

/// A client's request on its way to the leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForwardedRequest {
    /// Whose.
    pub session: SessionId,
    /// The client's xid.
    pub cxid: i32,
    /// The operation, createSession (-10) and closeSession (-11) too.
    pub op: i32,
    /// The request's record without header.
    pub body: Bytes,
    /// The ids of the client's connection; null for what the learner asks on its own.
    pub authinfo: Option<Vec<Id>>,
}

/// What a learner says to its leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FromLearner {
    /// FOLLOWERINFO: its first packet. `zxid` = the accepted epoch, counter 0.
    FollowerInfo {
        /// The accepted epoch.
        zxid: Zxid,
        /// Who it is.
        info: LearnerInfo,
    },
    /// OBSERVERINFO: an observer's first packet.
    ObserverInfo {
        /// The accepted epoch.
        zxid: Zxid,
        /// Who it is.
        info: LearnerInfo,
    },
    /// ACKEPOCH.
    AckEpoch {
        /// The last zxid of its log.
        zxid: Zxid,
        /// Its current epoch; -1: it had accepted this epoch before, do not count it.
        current_epoch: i32,
    },
    /// ACK of a proposal, of NEWLEADER or after UPTODATE.
    Ack {
        /// Of which.
        zxid: Zxid,
    },
    /// PING: the sessions that were used since the last one, with their timeouts.
    Ping {
        /// The leader's, echoed.
        zxid: Zxid,
        /// Which.
        sessions: Vec<(SessionId, i32)>,
    },
    /// REQUEST.
    Request(ForwardedRequest),
    /// REVALIDATE: a client wants to go on with this session here.
    Revalidate {
        /// Which.
        session: SessionId,
        /// Its timeout, ms.
        timeout: i32,
    },
}

/// What a leader says to its learner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FromLeader {
    /// LEADERINFO. `zxid` = the new epoch, counter 0.
    LeaderInfo {
        /// The new epoch.
        zxid: Zxid,
        /// [`ZAB_VERSION`].
        protocol_version: i32,
    },
    /// DIFF: what is missing follows.
    Diff {
        /// Up to here.
        zxid: Zxid,
    },
    /// TRUNC.
    Trunc {
        /// The last one that is kept.
        zxid: Zxid,
    },
    /// SNAP: the snapshot's stream follows.
    Snap {
        /// Its name.
        zxid: Zxid,
    },
    /// NEWLEADER.
    NewLeader {
        /// The new epoch, counter 0.
        zxid: Zxid,
        /// The configuration's text.
        config: Option<Bytes>,
    },
    /// UPTODATE.
    UpToDate,
    /// PROPOSAL.
    Proposal {
        /// Its place.
        zxid: Zxid,
        /// The entry as logged, see [`crate::proto::LoggedTxn`].
        txn: Bytes,
    },
    /// COMMIT.
    Commit {
        /// Of which.
        zxid: Zxid,
    },
    /// COMMITANDACTIVATE.
    CommitAndActivate {
        /// Of which reconfiguration.
        zxid: Zxid,
        /// Who leads from here on.
        designated: ServerId,
    },
    /// INFORM.
    Inform {
        /// Its place.
        zxid: Zxid,
        /// The entry as logged.
        txn: Bytes,
    },
    /// INFORMANDACTIVATE.
    InformAndActivate {
        /// Its place.
        zxid: Zxid,
        /// Who leads from here on.
        designated: ServerId,
        /// The entry as logged.
        txn: Bytes,
    },
    /// PING.
    Ping {
        /// The last proposal.
        zxid: Zxid,
    },
    /// REVALIDATE: the answer.
    Revalidate {
        /// Which session.
        session: SessionId,
        /// Is it alive?
        valid: bool,
    },
    /// SYNC: the oldest sync of this learner's clients.
    Sync,
}

impl FromLearner {
    /// Reads a packet that a learner sent.
    pub fn decode(p: QuorumPacket) -> Result<FromLearner, Bad> {
        let (zxid, data) = (p.zxid, p.data.as_deref());
        Ok(match p.kind {
            PacketType::FollowerInfo => FromLearner::FollowerInfo { zxid, info: LearnerInfo::decode(data)? },
            PacketType::ObserverInfo => FromLearner::ObserverInfo { zxid, info: LearnerInfo::decode(data)? },
            PacketType::AckEpoch => {
                FromLearner::AckEpoch { zxid, current_epoch: Reader::new(data.ok_or(Bad::Null)?).int()? }
            }
            PacketType::Ack => FromLearner::Ack { zxid },
            PacketType::Ping => {
                let mut r = Reader::new(data.ok_or(Bad::Null)?);
                let mut sessions = Vec::with_capacity(r.rest().len() / 12);
                while !r.is_empty() {
                    sessions.push((SessionId(r.long()?), r.int()?));
                }
                FromLearner::Ping { zxid, sessions }
            }
            PacketType::Request => {
                let data = p.data.ok_or(Bad::Null)?;
                let mut r = Reader::new(&data);
                let (session, cxid, op) = (SessionId(r.long()?), r.int()?, r.int()?);
                let body = data.slice_ref(r.rest());
                FromLearner::Request(ForwardedRequest { session, cxid, op, body, authinfo: p.authinfo })
            }
            PacketType::Revalidate => {
                let mut r = Reader::new(data.ok_or(Bad::Null)?);
                FromLearner::Revalidate { session: SessionId(r.long()?), timeout: r.int()? }
            }
            PacketType::Proposal
            | PacketType::Commit
            | PacketType::Sync
            | PacketType::Inform
            | PacketType::CommitAndActivate
            | PacketType::NewLeader
            | PacketType::UpToDate
            | PacketType::Diff
            | PacketType::Trunc
            | PacketType::Snap
            | PacketType::LeaderInfo
            | PacketType::InformAndActivate => return Err(Bad::Tag(p.kind as i32)),
        })
    }

    /// The packet that says it.
    pub fn into_packet(self) -> QuorumPacket {
        match self {
            FromLearner::FollowerInfo { zxid, info } => {
                QuorumPacket::new(PacketType::FollowerInfo, zxid, Some(info.encode()))
            }
            FromLearner::ObserverInfo { zxid, info } => {
                QuorumPacket::new(PacketType::ObserverInfo, zxid, Some(info.encode()))
            }
            FromLearner::AckEpoch { zxid, current_epoch } => {
                let data = Bytes::copy_from_slice(&current_epoch.to_be_bytes());
                QuorumPacket::new(PacketType::AckEpoch, zxid, Some(data))
            }
            FromLearner::Ack { zxid } => QuorumPacket::new(PacketType::Ack, zxid, None),
            FromLearner::Ping { zxid, sessions } => {
                let mut w = Vec::with_capacity(sessions.len() * 12);
                for (session, timeout) in sessions {
                    w.long(session.0);
                    w.int(timeout);
                }
                QuorumPacket::new(PacketType::Ping, zxid, Some(w.into()))
            }
            FromLearner::Request(request) => {
                let mut w = Vec::with_capacity(16 + request.body.len());
                w.long(request.session.0);
                w.int(request.cxid);
                w.int(request.op);
                w.extend_from_slice(&request.body);
                let packet = QuorumPacket::new(PacketType::Request, Zxid::NONE, Some(w.into()));
                QuorumPacket { authinfo: request.authinfo, ..packet }
            }
            FromLearner::Revalidate { session, timeout } => {
                let mut w = Vec::with_capacity(12);
                w.long(session.0);
                w.int(timeout);
                QuorumPacket::new(PacketType::Revalidate, Zxid::NONE, Some(w.into()))
            }
        }
    }
}

impl FromLeader {
    /// Reads a packet that a leader sent.
    pub fn decode(p: QuorumPacket) -> Result<FromLeader, Bad> {
        let (zxid, data) = (p.zxid, p.data);
        Ok(match p.kind {
            PacketType::LeaderInfo => {
                let protocol_version = Reader::new(&data.ok_or(Bad::Null)?).int()?;
                FromLeader::LeaderInfo { zxid, protocol_version }
            }
            PacketType::Diff => FromLeader::Diff { zxid },
            PacketType::Trunc => FromLeader::Trunc { zxid },
            PacketType::Snap => FromLeader::Snap { zxid },
            PacketType::NewLeader => FromLeader::NewLeader { zxid, config: data },
            PacketType::UpToDate => FromLeader::UpToDate,
            PacketType::Proposal => FromLeader::Proposal { zxid, txn: data.ok_or(Bad::Null)? },
            PacketType::Commit => FromLeader::Commit { zxid },
            PacketType::CommitAndActivate => {
                let designated = ServerId(Reader::new(&data.ok_or(Bad::Null)?).long()?);
                FromLeader::CommitAndActivate { zxid, designated }
            }
            PacketType::Inform => FromLeader::Inform { zxid, txn: data.ok_or(Bad::Null)? },
            PacketType::InformAndActivate => {
                let data = data.ok_or(Bad::Null)?;
                let mut r = Reader::new(&data);
                let designated = ServerId(r.long()?);
                FromLeader::InformAndActivate { zxid, designated, txn: data.slice_ref(r.rest()) }
            }
            PacketType::Ping => FromLeader::Ping { zxid },
            PacketType::Revalidate => {
                let data = data.ok_or(Bad::Null)?;
                let mut r = Reader::new(&data);
                FromLeader::Revalidate { session: SessionId(r.long()?), valid: r.bool()? }
            }
            PacketType::Sync => FromLeader::Sync,
            PacketType::Request
            | PacketType::Ack
            | PacketType::FollowerInfo
            | PacketType::ObserverInfo
            | PacketType::AckEpoch => return Err(Bad::Tag(p.kind as i32)),
        })
    }

    /// The packet that says it.
    pub fn into_packet(self) -> QuorumPacket {
        let long = |v: ServerId| Some(Bytes::copy_from_slice(&v.0.to_be_bytes()));
        match self {
            FromLeader::LeaderInfo { zxid, protocol_version } => {
                let data = Bytes::copy_from_slice(&protocol_version.to_be_bytes());
                QuorumPacket::new(PacketType::LeaderInfo, zxid, Some(data))
            }
            FromLeader::Diff { zxid } => QuorumPacket::new(PacketType::Diff, zxid, None),
            FromLeader::Trunc { zxid } => QuorumPacket::new(PacketType::Trunc, zxid, None),
            FromLeader::Snap { zxid } => QuorumPacket::new(PacketType::Snap, zxid, None),
            FromLeader::NewLeader { zxid, config } => QuorumPacket::new(PacketType::NewLeader, zxid, config),
            FromLeader::UpToDate => QuorumPacket::new(PacketType::UpToDate, Zxid::NONE, None),
            FromLeader::Proposal { zxid, txn } => QuorumPacket::new(PacketType::Proposal, zxid, Some(txn)),
            FromLeader::Commit { zxid } => QuorumPacket::new(PacketType::Commit, zxid, None),
            FromLeader::CommitAndActivate { zxid, designated } => {
                QuorumPacket::new(PacketType::CommitAndActivate, zxid, long(designated))
            }
            FromLeader::Inform { zxid, txn } => QuorumPacket::new(PacketType::Inform, zxid, Some(txn)),
            FromLeader::InformAndActivate { zxid, designated, txn } => {
                let mut w = Vec::with_capacity(8 + txn.len());
                w.long(designated.0);
                w.extend_from_slice(&txn);
                QuorumPacket::new(PacketType::InformAndActivate, zxid, Some(w.into()))
            }
            FromLeader::Ping { zxid } => QuorumPacket::new(PacketType::Ping, zxid, None),
            FromLeader::Revalidate { session, valid } => {
                let mut w = Vec::with_capacity(9);
                w.long(session.0);
                Write::bool(&mut w, valid);
                QuorumPacket::new(PacketType::Revalidate, Zxid::NONE, Some(w.into()))
            }
            FromLeader::Sync => QuorumPacket::new(PacketType::Sync, Zxid::ZERO, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_learner_infos() {
        let mut w = Vec::new();
        w.long(7);
        assert_eq!(LearnerInfo::decode(Some(&w)), Err(Bad::Short));
        w.int(ZAB_VERSION);
        let info = LearnerInfo { sid: ServerId(7), protocol_version: ZAB_VERSION, config_version: 0 };
        assert_eq!(LearnerInfo::decode(Some(&w)), Ok(info));
        assert_eq!(LearnerInfo::decode(None), Err(Bad::Null));
    }

    #[test]
    fn a_packet_of_the_wrong_direction_is_none() {
        let commit = FromLeader::Commit { zxid: Zxid(1) }.into_packet();
        assert_eq!(FromLearner::decode(commit), Err(Bad::Tag(4)));
        let ack = FromLearner::Ack { zxid: Zxid(1) }.into_packet();
        assert_eq!(FromLeader::decode(ack), Err(Bad::Tag(3)));
    }

    #[test]
    fn a_ping_of_a_learner_needs_its_table() {
        let ping = |data: Option<&'static [u8]>| {
            FromLearner::decode(QuorumPacket::new(PacketType::Ping, Zxid::ZERO, data.map(Bytes::from_static)))
        };
        assert_eq!(ping(None), Err(Bad::Null));
        assert_eq!(ping(Some(b"")), Ok(FromLearner::Ping { zxid: Zxid::ZERO, sessions: vec![] }));
        assert_eq!(ping(Some(b"0123456789a")), Err(Bad::Short));
    }
}
