//! What zkCli's output looks like: stats, dates, ACLs, errors, events, hex. Answers to `StatPrinter`, `CliWrapperException`,
//! `AclParser`, `ZKUtil` and to the `toString`s that Java generates.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use zebu_core::client::ClientState;
use zebu_core::client::face::WatchEvent;
use zebu_core::proto::{Acl, ErrorCode, EventKind, Id, Stat, perms};

/// A node's stat, a line a field.
pub(super) fn stat(stat: &Stat) -> String {
    format!(
        "cZxid = {}\nctime = {}\nmZxid = {}\nmtime = {}\npZxid = {}\ncversion = {}\ndataVersion = {}\naclVersion = {}\n\
         ephemeralOwner = {}\ndataLength = {}\nnumChildren = {}",
        stat.czxid,
        date(stat.ctime),
        stat.mzxid,
        date(stat.mtime),
        stat.pzxid,
        stat.cversion,
        stat.version,
        stat.aversion,
        stat.ephemeral_owner,
        stat.data_length,
        stat.num_children
    )
}

/// `java.util.Date.toString` in the local time zone.
fn date(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(time) => {
            time.to_zoned_datetime(TimeZone::system()).strftime("%a %b %d %H:%M:%S %Z %Y").to_string()
        }
        // Beyond the calendar: a server's clock may say anything.
        Err(_) => format!("{ms} ms"),
    }
}

/// The permission letters.
fn perm_letters(bits: i32) -> String {
    const LETTERS: [(i32, char); 5] = [
        (perms::CREATE, 'c'),
        (perms::DELETE, 'd'),
        (perms::READ, 'r'),
        (perms::WRITE, 'w'),
        (perms::ADMIN, 'a'),
    ];
    LETTERS.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, c)| *c).collect()
}

/// An entry of an ACL: the id as jute's text record, then the permissions.
pub(super) fn acl(entry: &Acl) -> String {
    format!("'{},'{}\n: {}", csv(&entry.id.scheme), csv(&entry.id.id), perm_letters(entry.perms))
}

fn csv(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\0' | '\n' | '\r' | ',' | '}' | '%' => out += &format!("%{:02X}", c as u32),
            c => out.push(c),
        }
    }
    out
}

/// Reads `scheme:id:perms,…`. What cannot be read is complained about and left out.
pub(super) fn parse_acl(text: &str, complain: &mut impl FnMut(String)) -> Vec<Acl> {
    let mut acl = Vec::new();
    for entry in text.split(',') {
        let parts = entry.split_once(':').and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once(':')?)));
        let Some((scheme, (id, letters))) = parts else {
            complain(format!("{entry} does not have the form scheme:id:perm"));
            continue;
        };
        let mut bits = 0;
        for letter in letters.chars() {
            match letter {
                'r' => bits |= perms::READ,
                'w' => bits |= perms::WRITE,
                'c' => bits |= perms::CREATE,
                'd' => bits |= perms::DELETE,
                'a' => bits |= perms::ADMIN,
                other => complain(format!("Unknown perm type: {other}")),
            }
        }
        acl.push(Acl { perms: bits, id: Id::new(scheme, id) });
    }
    acl
}

/// What is said of a call that failed. `path`: Java's exceptions name one for most calls.
pub(super) fn error(code: ErrorCode, path: Option<&str>) -> String {
    let named = path.unwrap_or("null");
    match code {
        ErrorCode::NoNode => format!("Node does not exist: {named}"),
        ErrorCode::NoChildrenForEphemerals => format!("Ephemerals cannot have children: {named}"),
        ErrorCode::NodeExists => format!("Node already exists: {named}"),
        ErrorCode::NotEmpty => format!("Node not empty: {named}"),
        ErrorCode::NotReadOnly => format!("Not a read-only call: {named}"),
        ErrorCode::InvalidAcl => format!("Acl is not valid : {named}"),
        ErrorCode::NoAuth => format!("Insufficient permission : {named}"),
        ErrorCode::BadArguments => format!("Arguments are not valid : {named}"),
        ErrorCode::BadVersion => format!("version No is not valid : {named}"),
        ErrorCode::QuotaExceeded => format!("Quota has exceeded : {named}"),
        ErrorCode::ReconfigInProgress => {
            "Another reconfiguration is in progress -- concurrent reconfigs not supported (yet)".to_owned()
        }
        // The three m's are Java's.
        ErrorCode::NewConfigNoQuorum => {
            "No quorum of new config is connected and up-to-date with the leader of last commmitted config - try invoking \
             reconfiguration after new servers are connected and synced"
                .to_owned()
        }
        ErrorCode::SystemError
        | ErrorCode::RuntimeInconsistency
        | ErrorCode::DataInconsistency
        | ErrorCode::ConnectionLoss
        | ErrorCode::MarshallingError
        | ErrorCode::Unimplemented
        | ErrorCode::OperationTimeout
        | ErrorCode::InvalidState
        | ErrorCode::UnknownSession
        | ErrorCode::ApiError
        | ErrorCode::SessionExpired
        | ErrorCode::InvalidCallback
        | ErrorCode::AuthFailed
        | ErrorCode::SessionMoved
        | ErrorCode::EphemeralOnLocalSession
        | ErrorCode::NoWatcher
        | ErrorCode::RequestTimeout
        | ErrorCode::ReconfigDisabled
        | ErrorCode::SessionClosedRequireSaslAuth
        | ErrorCode::ThrottledOp => keeper_error(code, path),
    }
}

/// The message of a `KeeperException`.
pub(super) fn keeper_error(code: ErrorCode, path: Option<&str>) -> String {
    match path {
        Some(path) => format!("{code} for {path}"),
        None => code.to_string(),
    }
}

/// A change of state, as the default watcher prints it; `None` before there is one to speak of.
pub(super) fn state_event(state: ClientState) -> Option<String> {
    let name = match state {
        ClientState::Connecting => return None,
        ClientState::Connected { .. } => "SyncConnected",
        ClientState::ConnectedReadOnly { .. } => "ConnectedReadOnly",
        ClientState::Disconnected => "Disconnected",
        ClientState::Expired => "Expired",
        ClientState::AuthFailed => "AuthFailed",
        ClientState::Closed => "Closed",
    };
    Some(format!("WatchedEvent state:{name} type:None path:null zxid: -1"))
}

/// A watch event, as the default watcher prints it.
pub(super) fn watch_event(event: &WatchEvent) -> String {
    let kind = match event.kind {
        EventKind::None => "None",
        EventKind::NodeCreated => "NodeCreated",
        EventKind::NodeDeleted => "NodeDeleted",
        EventKind::NodeDataChanged => "NodeDataChanged",
        EventKind::NodeChildrenChanged => "NodeChildrenChanged",
        EventKind::DataWatchRemoved => "DataWatchRemoved",
        EventKind::ChildWatchRemoved => "ChildWatchRemoved",
        EventKind::PersistentWatchRemoved => "PersistentWatchRemoved",
    };
    format!("WatchedEvent state:SyncConnected type:{kind} path:{} zxid: {}", event.path, event.zxid.0)
}

/// The state in the prompt.
pub(super) fn state(state: ClientState) -> &'static str {
    match state {
        ClientState::Connecting | ClientState::Disconnected => "CONNECTING",
        ClientState::Connected { .. } => "CONNECTED",
        ClientState::ConnectedReadOnly { .. } => "CONNECTEDREADONLY",
        ClientState::Expired | ClientState::Closed => "CLOSED",
        ClientState::AuthFailed => "AUTH_FAILED",
    }
}

/// Netty's `prettyHexDump`.
pub(super) fn hex_dump(data: &[u8]) -> String {
    if data.is_empty() {
        return String::new();
    }
    let rule = "+--------+-------------------------------------------------+----------------+";
    let mut out = format!(
        "         +-------------------------------------------------+\n         \
         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n{rule}\n"
    );
    for (row, bytes) in data.chunks(16).enumerate() {
        let mut hex = String::new();
        let mut text = String::new();
        for b in bytes {
            hex += &format!(" {b:02x}");
            text.push(if (0x20..0x7f).contains(b) { *b as char } else { '.' });
        }
        out += &format!("|{:08x}|{hex:<48} |{text:<16}|\n", row * 16);
    }
    out + rule
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_netty_s() {
        let expected = "         +-------------------------------------------------+
         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |
+--------+-------------------------------------------------+----------------+
|00000000| 68 65 6c 6c 6f 20 77 6f 72 6c 64                |hello world     |
+--------+-------------------------------------------------+----------------+";
        assert_eq!(hex_dump(b"hello world"), expected);
        assert_eq!(hex_dump(b""), "");
    }

    #[test]
    fn acls_are_read_and_shown() {
        let mut complaints = Vec::new();
        let list = parse_acl("world:anyone:rw,digest:u:h=:cdrwa,bad,ip:1:x", &mut |c| complaints.push(c));
        assert_eq!(complaints, ["bad does not have the form scheme:id:perm", "Unknown perm type: x"]);
        let shown: Vec<String> = list.iter().map(acl).collect();
        assert_eq!(shown, ["'world,'anyone\n: rw", "'digest,'u:h=\n: cdrwa", "'ip,'1\n: "]);
        let odd = Acl { perms: 1, id: Id::new("x", "a,b") };
        assert_eq!(acl(&odd), "'x,'a%2Cb\n: r");
    }

    #[test]
    fn dates_are_java_s() {
        let utc = Timestamp::from_millisecond(1_795_340_085_000).unwrap().to_zoned_datetime(TimeZone::UTC);
        assert_eq!(utc.strftime("%a %b %d %H:%M:%S %Z %Y").to_string(), "Sun Nov 22 09:34:45 UTC 2026");
        assert_eq!(date(i64::MAX), "9223372036854775807 ms");
    }
}
