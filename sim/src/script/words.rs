//! The log's words: what happened, what was said, in lines that a person can read. A zxid is `epoch|counter`.

use zebu_core::boundary::{CloseCause, Event, RoleName, SyncBy, Vouch};
use zebu_core::id::Zxid;
use zebu_core::proto::{
    CreateKind, ErrorCode, ForwardedRequest, FromLeader, FromLearner, LoggedTxn, OpCode, PacketType,
    QuorumPacket, ReplyHeader, Response, Txn,
};

/// A zxid, as `epoch|counter`.
pub(super) fn z(zxid: Zxid) -> String {
    match zxid {
        Zxid::NONE => "-".to_owned(),
        Zxid(_) => format!("{}|{}", zxid.epoch(), zxid.counter()),
    }
}

fn txn(txn: &Txn) -> String {
    match txn {
        Txn::CreateSession { .. } => "createSession".to_owned(),
        Txn::CloseSession { .. } => "closeSession".to_owned(),
        Txn::Error { err } => format!("error {}", error(*err)),
        Txn::Create(c) => match c.kind {
            CreateKind::Node { ephemeral: true, .. } => format!("create {}, ephemeral", c.path),
            CreateKind::Node { .. } | CreateKind::Container | CreateKind::Ttl(_) => {
                format!("create {}", c.path)
            }
        },
        Txn::Delete { path } | Txn::DeleteContainer { path } => format!("delete {path}"),
        Txn::SetData { path, .. } => format!("set {path}"),
        Txn::Reconfig { .. } => "reconfig".to_owned(),
        Txn::SetAcl { path, .. } => format!("setACL {path}"),
        Txn::Check { path, .. } => format!("check {path}"),
        Txn::Multi(ops) => format!("multi of {}", ops.len()),
    }
}

/// A transaction's body as it is logged and proposed.
fn body(bytes: &[u8]) -> String {
    LoggedTxn::decode(bytes).map_or_else(|bad| format!("no transaction: {bad}"), |logged| txn(&logged.txn))
}

fn error(code: i32) -> String {
    ErrorCode::from_code(code).map_or_else(|| code.to_string(), |e| format!("{e:?}"))
}

fn request(r: &ForwardedRequest) -> String {
    let name = OpCode::from_int(r.op).map_or_else(|| r.op.to_string(), |op| format!("{op:?}"));
    // The number of a createSession is no client's operation.
    if r.op == -10 { "CreateSession".to_owned() } else { name }
}

/// A packet between a leader and a learner; pings are not worth a line.
pub(super) fn packet(packet: &QuorumPacket) -> Option<String> {
    let name = format!("{:?}", packet.kind).to_uppercase();
    let rest = match packet.kind {
        PacketType::Ping => return None,
        PacketType::FollowerInfo | PacketType::ObserverInfo => {
            format!("accepted epoch {}", packet.zxid.epoch())
        }
        PacketType::LeaderInfo | PacketType::NewLeader => format!("epoch {}", packet.zxid.epoch()),
        PacketType::AckEpoch => match FromLearner::decode(packet.clone()) {
            Ok(FromLearner::AckEpoch { current_epoch: -1, .. }) => {
                format!("log ends at {}, accepted before", z(packet.zxid))
            }
            Ok(FromLearner::AckEpoch { current_epoch, .. }) => {
                format!("log ends at {}, current epoch {}", z(packet.zxid), current_epoch)
            }
            Ok(_) | Err(_) => "unreadable".to_owned(),
        },
        PacketType::Proposal | PacketType::Inform | PacketType::InformAndActivate => {
            let text = packet.data.as_deref().map_or_else(String::new, |data| proposed(packet, data));
            format!("{} {text}", z(packet.zxid))
        }
        PacketType::Request => match FromLearner::decode(packet.clone()) {
            Ok(FromLearner::Request(r)) => request(&r),
            Ok(_) | Err(_) => "unreadable".to_owned(),
        },
        PacketType::Ack
        | PacketType::Commit
        | PacketType::CommitAndActivate
        | PacketType::Diff
        | PacketType::Trunc
        | PacketType::Snap => z(packet.zxid),
        PacketType::Revalidate | PacketType::Sync | PacketType::UpToDate => String::new(),
    };
    Some(format!("{name} {rest}").trim_end().to_owned())
}

fn proposed(packet: &QuorumPacket, data: &[u8]) -> String {
    match FromLeader::decode(packet.clone()) {
        Ok(FromLeader::InformAndActivate { txn, .. }) => body(&txn),
        Ok(_) | Err(_) => body(data),
    }
}

pub(super) fn role(role: RoleName) -> &'static str {
    match role {
        RoleName::Standalone => "standalone",
        RoleName::Looking => "looking",
        RoleName::Leader => "leader",
        RoleName::Follower => "follower",
        RoleName::Observer => "observer",
        RoleName::ReadOnly => "read-only",
    }
}

/// An event of a server; `None` if a story does without it, or the packet that follows tells it.
pub(super) fn event(event: &Event) -> Option<String> {
    Some(match event {
        Event::Became(r) => format!("is {}", role(*r)),
        Event::Elected { leader, .. } => format!("elects {leader}"),
        Event::Established { epoch } => format!("is established in epoch {}", epoch.0),
        Event::Activated { epoch } => format!("serves epoch {}", epoch.0),
        Event::Reconfigured { text } => {
            let version = text.lines().find_map(|l| l.strip_prefix("version=")).unwrap_or("0");
            let members: Vec<&str> =
                text.lines().filter_map(|l| l.strip_prefix("server.")?.split('=').next()).collect();
            let version = z(Zxid(i64::from_str_radix(version, 16).unwrap_or_default()));
            format!("goes by configuration {version}: {}", members.join(" "))
        }
        Event::RoleLost { why } => format!("gives up: {why}"),
        Event::Logged { zxid, txn } => format!("logs {} {}", z(*zxid), body(txn)),
        Event::Truncated { to } => format!("cuts its log back to {}", z(*to)),
        Event::Installed { zxid, .. } => format!("installs the snapshot {}", z(*zxid)),
        Event::QuorumAcked { zxid, acks } => {
            let acks: Vec<String> = acks.iter().map(|s| s.to_string()).collect();
            format!("has acks for {} from {}", z(*zxid), acks.join(" "))
        }
        Event::DigestMismatch { zxid } => format!("has another tree than its leader at {}", z(*zxid)),
        Event::Committed { zxid, .. } => format!("commits {}", z(*zxid)),
        Event::SessionExpired { .. } => "expires a session".to_owned(),
        Event::SnapshotBegun { zxid } => format!("begins the snapshot {}", z(*zxid)),
        Event::SnapshotDone { zxid, .. } => format!("has the snapshot {}", z(*zxid)),
        Event::SnapshotFailed { fault } => format!("gives its snapshot up: {fault}"),
        Event::ConnClosed { cause: CloseCause::Peer(cause), .. } => format!("closes a connection: {cause:?}"),
        Event::ConnClosed { cause: CloseCause::SessionMoved, .. } => {
            "closes a connection: its session has moved".to_owned()
        }
        Event::Synchronizes { by: SyncBy::Log, learner } => format!("reads its log for {learner}"),
        Event::Synchronizes { by: SyncBy::Memory | SyncBy::Snapshot, .. }
        | Event::Proposed { .. }
        | Event::Vouched(
            Vouch::Recovered(_)
            | Vouch::OwnAck(_)
            | Vouch::Ack(_)
            | Vouch::AckEpoch(_)
            | Vouch::AckNewLeader(_),
        )
        | Event::Applied { .. }
        | Event::ConnClosed { .. }
        | Event::SessionAttached { .. }
        | Event::LogRolled { .. }
        | Event::Purged { .. }
        | Event::Replied { .. } => return None,
    })
}

/// A reply to a client.
pub(super) fn reply(header: ReplyHeader, response: Option<&Response>) -> String {
    match response {
        None => error(header.err),
        Some(Response::Data { data, .. }) => {
            let text = String::from_utf8_lossy(data.as_deref().unwrap_or_default()).into_owned();
            // A configuration is a text of many lines.
            if text.contains('\n') { format!("ok at {}", z(header.zxid)) } else { text }
        }
        Some(Response::Children(names)) => names.join(" "),
        Some(Response::Path(path)) => format!("{path} at {}", z(header.zxid)),
        Some(_) => format!("ok at {}", z(header.zxid)),
    }
}
