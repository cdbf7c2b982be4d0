//! The next configuration, from a client's reconfig request. Answers to `PrepRequestProcessor` (reconfig) and
//! `Leader.isQuorumSynced`. Whether reconfiguration is on and whether the client may do it is not known here.

use super::{BadConfig, BadServer, ConfigRules, QuorumServer, QuorumSystem, QuorumVerifier, QuorumView};
use crate::addr::Addr;
use crate::id::{ServerId, Zxid};
use crate::proto::ErrorCode;
use std::collections::BTreeSet;
use std::fmt;

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReconfigRequest<'a> {
    /// Servers that join or change: `server.N=…` with a client part, separated by commas.
    pub joining: Option<&'a str>,
    /// Ids of servers that leave, separated by commas.
    pub leaving: Option<&'a str>,
    /// A whole configuration instead, its lines separated by commas or newlines.
    pub new_members: Option<&'a str>,
    /// The version that it starts from; -1: any.
    pub config_id: i64,
}

/// Why a reconfiguration is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReconfigRefused {
    /// Another one is not committed yet.
    InProgress,
    /// The configuration is another one than the client thinks.
    BadVersion,
    /// The request makes no configuration.
    BadArguments(BadReconfig),
    /// No quorum of the new configuration is connected and up to date.
    NoQuorum,
}

/// Why a request makes no configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadReconfig {
    /// The text of a whole configuration.
    Config(BadConfig),
    /// Groups and weights cannot be changed piece by piece.
    NotMajority,
    /// A joiner that is not `server.N=…`.
    Joiner(String),
    /// What stands right of a joiner's `=`.
    Server {
        /// Its N.
        sid: ServerId,
        /// What is wrong with it.
        cause: BadServer,
    },
    /// A joiner without a client port.
    NoClientPort(ServerId),
    /// A leaver that is no number.
    Leaver(String),
    /// Two servers with one address.
    Duplicate {
        /// The address.
        addr: Addr,
        /// Who would join with it.
        joiner: ServerId,
        /// Who has it.
        other: ServerId,
    },
    /// Not enough voters would be left.
    TooFewVoters,
}

impl ReconfigRefused {
    /// What the client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            ReconfigRefused::InProgress => ErrorCode::ReconfigInProgress,
            ReconfigRefused::BadVersion => ErrorCode::BadVersion,
            ReconfigRefused::BadArguments(_) => ErrorCode::BadArguments,
            ReconfigRefused::NoQuorum => ErrorCode::NewConfigNoQuorum,
        }
    }
}

impl fmt::Display for BadReconfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadReconfig::Config(bad) => write!(f, "{bad}"),
            BadReconfig::NotMajority => write!(f, "groups and weights can only be changed as a whole"),
            BadReconfig::Joiner(text) => write!(f, "{text}: a joiner is server.N=…"),
            BadReconfig::Server { sid, cause } => write!(f, "server.{sid}: {cause}"),
            BadReconfig::NoClientPort(sid) => write!(f, "server.{sid}: a joiner needs its client port"),
            BadReconfig::Leaver(text) => write!(f, "{text}: a leaver is named by its number"),
            BadReconfig::Duplicate { addr, joiner, other } => {
                write!(f, "{addr} of server.{joiner} is an address of server.{other}")
            }
            BadReconfig::TooFewVoters => write!(f, "too few voters would be left"),
        }
    }
}

/// The configuration that the transaction `zxid` will propose. `synced` are the leader and the learners that have all of
/// history and would follow a proposal now. The checks come in ZooKeeper's order; the permission on `/zookeeper/config`
/// is the last one, and the caller's.
pub fn reconfigure(
    view: &QuorumView,
    request: &ReconfigRequest<'_>,
    zxid: Zxid,
    synced: &BTreeSet<ServerId>,
    rules: ConfigRules,
) -> Result<QuorumVerifier, ReconfigRefused> {
    if view.last_seen.version != view.committed.version {
        return Err(ReconfigRefused::InProgress);
    }
    if request.config_id != -1 && request.config_id != view.last_seen.version {
        return Err(ReconfigRefused::BadVersion);
    }
    let built = match request.new_members {
        Some(text) => QuorumVerifier::parse(&text.replace(',', "\n"), rules).map_err(BadReconfig::Config),
        None => incremental(&view.last_seen, request, rules),
    };
    let mut next = built.map_err(ReconfigRefused::BadArguments)?;
    next.version = zxid.0;
    let least = if rules.standalone_enabled { 2 } else { 1 };
    if next.voters().count() < least {
        return Err(ReconfigRefused::BadArguments(BadReconfig::TooFewVoters));
    }
    if !next.is_quorum(synced) {
        return Err(ReconfigRefused::NoQuorum);
    }
    Ok(next)
}

/// Leavers first, then joiners in order, each of which takes the place of a member of its number.
fn incremental(
    current: &QuorumVerifier,
    request: &ReconfigRequest<'_>,
    rules: ConfigRules,
) -> Result<QuorumVerifier, BadReconfig> {
    match current.system {
        QuorumSystem::Majority => {}
        QuorumSystem::Hierarchical(_) => return Err(BadReconfig::NotMajority),
    }
    let mut next = current.clone();
    for leaver in items(request.leaving) {
        let sid = leaver.parse().map_err(|_| BadReconfig::Leaver(leaver.to_owned()))?;
        next.members.remove(&ServerId(sid));
    }
    for joiner in items(request.joining) {
        let server = parse_joiner(joiner, rules)?;
        for other in next.members.values().filter(|m| m.sid != server.sid) {
            if let Some(addr) = shared_address(&server, other) {
                return Err(BadReconfig::Duplicate { addr, joiner: server.sid, other: other.sid });
            }
        }
        next.members.insert(server.sid, server);
    }
    Ok(next)
}

fn items(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.unwrap_or_default().split(',').map(str::trim).filter(|s| !s.is_empty())
}

fn parse_joiner(text: &str, rules: ConfigRules) -> Result<QuorumServer, BadReconfig> {
    let bad = || BadReconfig::Joiner(text.to_owned());
    let (name, spec) = text.split_once('=').ok_or_else(bad)?;
    let (name, spec) = (name.trim(), spec.trim());
    if spec.contains('=') {
        return Err(bad());
    }
    let sid = ServerId(name.rsplit('.').next().unwrap_or_default().parse().map_err(|_| bad())?);
    let server = QuorumServer::parse(sid, spec, rules).map_err(|cause| BadReconfig::Server { sid, cause })?;
    match server.client.is_none() && server.secure_client.is_none() {
        true => Err(BadReconfig::NoClientPort(sid)),
        false => Ok(server),
    }
}

/// An address that two servers cannot both have. Wildcards and loopbacks are everybody's.
fn shared_address(a: &QuorumServer, b: &QuorumServer) -> Option<Addr> {
    let all = |s: &QuorumServer| -> BTreeSet<Addr> {
        s.quorum_addrs()
            .chain(s.election_addrs())
            .chain(s.client.clone())
            .chain(s.secure_client.clone())
            .filter(|addr| !addr.is_wildcard() && !addr.is_loopback())
            .collect()
    };
    all(a).intersection(&all(b)).next().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(text: &str) -> QuorumView {
        QuorumView::settled(QuorumVerifier::parse(text, ConfigRules::default()).expect("parses"))
    }
    fn three() -> QuorumView {
        view("server.1=a:1:2;9\nserver.2=b:1:2;9\nserver.3=c:1:2;9\nversion=5")
    }
    const ASK: ReconfigRequest<'static> =
        ReconfigRequest { joining: None, leaving: None, new_members: None, config_id: -1 };

    fn ask_of(view: &QuorumView, r: &ReconfigRequest<'_>, synced: &[i64]) -> Result<String, ReconfigRefused> {
        let synced = synced.iter().map(|n| ServerId(*n)).collect();
        reconfigure(view, r, Zxid(0xab), &synced, ConfigRules::default()).map(|v| v.to_string())
    }
    fn ask(r: &ReconfigRequest<'_>) -> Result<String, ReconfigRefused> {
        ask_of(&three(), r, &[1, 2, 3])
    }
    fn bad(r: &ReconfigRequest<'_>) -> BadReconfig {
        match ask(r) {
            Err(ReconfigRefused::BadArguments(bad)) => bad,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn piece_by_piece() {
        let joining = Some("server.4 = d:1:2:observer;9 , server.2=b:5:6;9");
        let got = ask(&ReconfigRequest { joining, leaving: Some("1, 7"), ..ASK });
        assert_eq!(
            got.as_deref(),
            Ok(
                "server.2=b:5:6:participant;0.0.0.0:9\nserver.3=c:1:2:participant;0.0.0.0:9\nserver.4=d:1:2:observer;0.0.0.0:9\nversion=ab"
            )
        );
    }

    #[test]
    fn as_a_whole() {
        let new_members = Some("server.1=a:1:2;9,server.9=z:1:2;9\ngroup.1=1:9,version=77");
        let got = ask_of(&three(), &ReconfigRequest { new_members, ..ASK }, &[1, 9]).expect("built");
        assert!(got.ends_with("group.1=1:9\nweight.1=1\nweight.9=1\nversion=ab"), "{got}");
        assert!(matches!(bad(&ReconfigRequest { new_members: Some(""), ..ASK }), BadReconfig::Config(_)));
    }

    #[test]
    fn refusals_in_their_order() {
        let mut moving = three();
        let mut proposed = (*moving.committed).clone();
        proposed.version = 6;
        moving.last_seen = proposed.into();
        let wrong = ReconfigRequest { config_id: 4, leaving: Some("x"), ..ASK };
        assert_eq!(ask_of(&moving, &wrong, &[]), Err(ReconfigRefused::InProgress));
        assert_eq!(ask(&wrong), Err(ReconfigRefused::BadVersion));
        assert_eq!(bad(&ReconfigRequest { config_id: 5, ..wrong }), BadReconfig::Leaver("x".into()));
        assert_eq!(bad(&ReconfigRequest { leaving: Some("1,2"), ..ASK }), BadReconfig::TooFewVoters);
        let joins = ReconfigRequest { joining: Some("server.4=d:1:2;9,server.5=e:1:2;9"), ..ASK };
        assert_eq!(ask_of(&three(), &joins, &[1, 2]), Err(ReconfigRefused::NoQuorum));
        assert!(ask_of(&three(), &joins, &[1, 2, 4]).is_ok());
        assert_eq!(ReconfigRefused::NoQuorum.code(), ErrorCode::NewConfigNoQuorum);
    }

    #[test]
    fn joiners_that_are_none() {
        let join = |text: &'static str| bad(&ReconfigRequest { joining: Some(text), ..ASK });
        assert_eq!(join("server.4"), BadReconfig::Joiner("server.4".into()));
        assert_eq!(join("server.x=d:1:2;9"), BadReconfig::Joiner("server.x=d:1:2;9".into()));
        assert_eq!(join("server.4=d:1:2"), BadReconfig::NoClientPort(ServerId(4)));
        assert!(matches!(join("server.4=d:1;9"), BadReconfig::Server { cause: BadServer::Form, .. }));
        assert!(matches!(join("server.4=a:7:2;9"), BadReconfig::Duplicate { other: ServerId(1), .. }));
        assert!(matches!(join("server.4=d:7:8;9,server.5=e:1:2;d:7"), BadReconfig::Duplicate { .. }));
        let groups = view("server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1:2");
        let refused = ask_of(&groups, &ReconfigRequest { leaving: Some("1"), ..ASK }, &[]);
        assert_eq!(refused, Err(ReconfigRefused::BadArguments(BadReconfig::NotMajority)));
        // Loopbacks may be the same: everything on one host.
        let local = view("server.1=127.0.0.1:1:2;9\nserver.2=localhost:1:2;9");
        let r = ReconfigRequest { joining: Some("server.3=127.0.0.1:1:2;9"), ..ASK };
        assert!(ask_of(&local, &r, &[1, 2]).is_ok());
    }
}
