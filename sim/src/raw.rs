//! Raw connections: four-letter words, and bytes that no honest client sends. Nothing they do may stop a server or cost
//! another client anything.

use crate::random::{Purpose, Stream};
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use zebu_core::boundary::Port;
use zebu_core::id::{SessionId, Xid, Zxid};
use zebu_core::jute;
use zebu_core::proto::{
    Acl, AddWatchMode, ConnectRequest, CreateOp, CreateRequest, Request, RequestHeader, SetWatches,
};
use zebu_core::session;

/// A raw connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RawPlan {
    /// Its number: names its random streams, also after others were cut away.
    pub name: u16,
    /// Which server it is made to.
    pub server: u8,
    /// Which of its ports: clients', or one that servers use among themselves.
    pub port: Port,
    /// When it is asked for, ns.
    pub at: u64,
    /// What it does then, each so long after the one before, ns.
    pub moves: Vec<(u64, RawMove)>,
}

/// What a raw connection does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RawMove {
    /// Sends these bytes.
    Send(Bytes),
    /// Sends a handshake that asks for a session which is someone else's, without its password.
    Steal {
        /// Which, in order of their first appearance, counted round.
        whose: u16,
        /// What is sent in place of the password.
        lie: Lie,
    },
    /// Sends nothing more and reads nothing more, but stays.
    Hold,
    /// Closes.
    Close,
}

/// What is no password of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Lie {
    /// None at all.
    Nothing,
    /// As in the handshake of a new session.
    Zeros,
    /// Another session's.
    Others,
    /// The right one without its last byte.
    Short,
    /// The right one with another last byte.
    Near,
}

const WORDS: [&[u8; 4]; 16] = [
    b"ruok", b"srvr", b"stat", b"mntr", b"conf", b"cons", b"dump", b"wchs", b"wchc", b"wchp", b"isro",
    b"envi", b"dirs", b"hash", b"crst", b"srst",
];

/// The raw connections of a seed, to one of so many servers each.
pub fn plans(seed: u64, until: u64, servers: u8) -> Vec<RawPlan> {
    let mut r = Stream::new(seed, Purpose::Swarm, 3, 0);
    if !r.chance(400) {
        return Vec::new();
    }
    let count = r.log_uniform(1, 8);
    (0..count as u16)
        .map(|name| {
            let mut r = Stream::new(seed, Purpose::Raw, u64::from(name), 0);
            let (at, mut moves) = (r.below(until), moves(&mut r));
            let server = r.below(u64::from(servers)) as u8;
            let mut port = Port::Client;
            if servers > 1 && r.chance(400) {
                port = r.pick(&[Port::Election, Port::Quorum, Port::ObserverMaster]);
                moves.splice(0..0, [(r.log_uniform(1_000, 1_000_000), RawMove::Send(junk(&mut r)))]);
            }
            RawPlan { name, server, port, at, moves }
        })
        .collect()
}

/// Whoever wants others' sessions, to one of so many servers each; their numbers follow `raws`.
pub fn thieves(seed: u64, until: u64, servers: u8, raws: u16) -> Vec<RawPlan> {
    let mut r = Stream::new(seed, Purpose::Swarm, 5, 0);
    let count = if r.chance(200) { r.between(1, 3) as u16 } else { 0 };
    let thief = |n| {
        let lie = r.pick(&[Lie::Nothing, Lie::Zeros, Lie::Others, Lie::Short, Lie::Near]);
        let mut moves =
            vec![(r.log_uniform(1_000, 1_000_000), RawMove::Steal { whose: r.below(64) as u16, lie })];
        for _ in 0..r.below(3) {
            moves.push((r.log_uniform(1_000, 1_000_000_000), RawMove::Send(frame(&mut r))));
        }
        let (server, at) = (r.below(u64::from(servers)) as u8, r.between(until / 8, until));
        RawPlan { name: raws + n, server, port: Port::Client, at, moves }
    };
    (0..count).map(thief).collect()
}

/// The handshake of one who asks for a session that is not its own.
pub fn steal(session: SessionId, lie: Lie) -> Bytes {
    let mut right = session::password(session).to_vec();
    let password = match lie {
        Lie::Nothing => None,
        Lie::Zeros => Some(vec![0; 16]),
        Lie::Others => Some(session::password(SessionId(session.0 ^ 1)).to_vec()),
        Lie::Short => {
            right.pop();
            Some(right)
        }
        Lie::Near => {
            right[15] ^= 1;
            Some(right)
        }
    };
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout: 10_000,
        session,
        password: password.map(Bytes::from),
        read_only: Some(true),
    };
    framed(|out| request.encode(out))
}

fn moves(r: &mut Stream) -> Vec<(u64, RawMove)> {
    let gap = |r: &mut Stream| r.log_uniform(1_000, 1_000_000_000);
    let mut out = Vec::new();
    match r.below(6) {
        0 | 1 => out.push((gap(r), RawMove::Send(Bytes::from_static(&WORDS[r.below(16) as usize][..])))),
        2 => {
            let mut bytes = vec![0; r.log_uniform(1, 300) as usize];
            r.fill(&mut bytes);
            out.push((gap(r), RawMove::Send(Bytes::from(bytes))));
        }
        _ => {
            out.push((gap(r), RawMove::Send(handshake(r))));
            for _ in 0..r.log_uniform(1, 12) {
                let frame = mutate(frame(r), r);
                out.push((if r.chance(512) { 0 } else { gap(r) }, RawMove::Send(frame)));
            }
        }
    }
    match r.below(4) {
        0 => {}
        1 => out.push((gap(r), RawMove::Hold)),
        _ => out.push((gap(r), RawMove::Close)),
    }
    out
}

/// What no server says to another: noise, lengths without bytes, bytes that begin like one of their first messages.
fn junk(r: &mut Stream) -> Bytes {
    let mut bytes = vec![0; r.log_uniform(1, 60) as usize];
    r.fill(&mut bytes);
    let begin: &[u8] = match r.below(6) {
        0 => &[],
        1 => &[0x7f, 0xff, 0xff, 0xff],
        2 => &[0, 0, 0, 20],
        // The election port's protocol, from server 99.
        3 => &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 99],
        // OBSERVERINFO at an observer master.
        4 => &[0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0],
        // FOLLOWERINFO at the quorum port.
        _ => &[0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0],
    };
    Bytes::from([begin, &bytes].concat())
}

fn framed(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    let at = jute::begin_frame(&mut out);
    write(&mut out);
    jute::end_frame(&mut out, at);
    out.freeze()
}

fn handshake(r: &mut Stream) -> Bytes {
    let request = ConnectRequest {
        protocol_version: r.below(2) as i32 * 77,
        last_zxid_seen: Zxid(if r.chance(100) { r.u64() as i64 } else { 0 }),
        timeout: r.pick(&[0, -1, 1000, 30_000, i32::MAX, i32::MIN]),
        session: SessionId(if r.chance(200) { r.u64() as i64 } else { 0 }),
        password: r.pick(&[None, Some(0), Some(16), Some(20)]).map(|n| Bytes::from(vec![0; n])),
        read_only: r.pick(&[None, Some(false), Some(true)]),
    };
    let frame = framed(|out| request.encode(out));
    if r.chance(200) { mutate(frame, r) } else { frame }
}

/// A whole request that may well be served, or not.
fn frame(r: &mut Stream) -> Bytes {
    let path = r.pick(&["/raw", "/a", "/", "", "x", "/raw/\0", "/raw/q-", "/zookeeper/config"]).to_owned();
    let watch = r.chance(512);
    let request = match r.below(16) {
        0..=3 => Request::Create(CreateRequest {
            op: r.pick(&[CreateOp::Create, CreateOp::Create2]),
            path,
            data: None,
            acl: r.pick(&[None, Some(0), Some(1)]).map(|n| vec![Acl::open(); n]),
            flags: r.pick(&[0, 1, 2, 3, 9, -1]),
        }),
        4 => Request::GetData { path, watch },
        5 => Request::Check { path, version: -1 },
        6 => Request::Sync { path: None },
        7 => Request::Ping,
        8 => Request::AddWatch { path: None, mode: AddWatchMode::PersistentRecursive },
        9 => {
            let list = vec![path; r.below(30) as usize];
            Request::SetWatches2(SetWatches {
                relative_zxid: Zxid(r.below(20) as i64 - 2),
                data: list.clone(),
                exist: list.clone(),
                child: list.clone(),
                persistent: list.clone(),
                recursive: list,
            })
        }
        10 => Request::Sasl { token: None },
        11 => Request::Reconfig { joining: None, leaving: None, new_members: None, config_id: -1 },
        12 => Request::Auth { scheme: None, auth: None },
        13 => Request::CloseSession,
        14 => Request::DeleteContainer { path },
        _ => Request::Multi(vec![Request::Check { path, version: 3 }]),
    };
    let op = if r.chance(100) { r.pick(&[0, -1, -10, 200, 12345]) } else { request.op() as i32 };
    let xid = Xid(r.pick(&[1, 2, 0, -1, -2, -4, -8, i32::MAX]));
    framed(|out| {
        RequestHeader { xid, op }.encode(out);
        request.encode(out);
    })
}

/// Often the frame as it is; else one with a wrong byte, a wrong length, or its end missing.
fn mutate(frame: Bytes, r: &mut Stream) -> Bytes {
    let mut bytes = frame.to_vec();
    let n = bytes.len() as u64;
    match r.below(8) {
        0 => bytes[r.below(n) as usize] ^= 1 << r.below(8),
        1 => bytes[4 + r.below(n - 4) as usize] = r.pick(&[0, 0x7f, 0x80, 0xff]),
        2 => bytes.truncate(r.between(1, n) as usize),
        3 => bytes[..4].copy_from_slice(
            &r.pick(&[0, -1, 1, 7, i32::MAX, i32::MIN, n as i32 - 5, n as i32 + 3]).to_be_bytes(),
        ),
        4 => {
            // A count or length inside says more than there is.
            let at = 4 + r.below(n - 4) as usize;
            let end = (at + 4).min(bytes.len());
            bytes[at..end].copy_from_slice(&0x7fff_ffffu32.to_be_bytes()[..end - at]);
        }
        _ => {}
    }
    Bytes::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_named_by_the_seed() {
        let all: Vec<_> = (0..300).map(|s| plans(s, 1 << 34, 3)).collect();
        assert!(all.iter().any(Vec::is_empty) && all.iter().any(|p| p.len() > 3));
        for (seed, p) in all.iter().enumerate() {
            assert_eq!(*p, plans(seed as u64, 1 << 34, 3));
        }
    }
}
