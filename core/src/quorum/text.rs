//! The configuration as text: what notifications, NEWLEADER, the reconfiguration's transaction, `/zookeeper/config` and
//! the dynamic file hold. Answers to `QuorumPeerConfig.parseDynamicConfig` and the constructors and `toString` of
//! `QuorumServer`, `QuorumMaj` and `QuorumHierarchical`.
//!
//! ```text
//! server.<sid>=<host>:<quorum port>:<election port>[|…][:<role>][;[<client host>:]<client port>[;<the same for TLS>]]
//! group.<gid>=<sid>:<sid>…        these two make it hierarchical
//! weight.<sid>=<n>
//! version=<hexadecimal>
//! ```
//! Written in ascending order of server ids, which is the order of Java's hash map for ids below 16.

use super::{Groups, LearnerType, QuorumServer, QuorumSystem, QuorumVerifier, ServerAddr};
use crate::addr::{Addr, Delimited, parse_port, split_host};
use crate::id::ServerId;
use crate::properties;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Settings that decide which configurations are legal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConfigRules {
    /// standaloneEnabled: an ensemble of one voter is none.
    pub standalone_enabled: bool,
    /// multiAddress.enabled: a server may have several addresses.
    pub multi_address: bool,
}

impl Default for ConfigRules {
    /// ZooKeeper's defaults.
    fn default() -> ConfigRules {
        ConfigRules { standalone_enabled: true, multi_address: false }
    }
}

/// Why a text is no configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadConfig {
    /// An escape that four hexadecimal digits do not follow.
    Escape {
        /// In which line.
        line: usize,
    },
    /// A key that has no place here.
    UnknownKey(String),
    /// A key whose part behind the dot is no number.
    BadKey(String),
    /// A value that is none for its key.
    BadValue {
        /// Of which key.
        key: String,
        /// What stands there.
        value: String,
    },
    /// A `server.N` line.
    Server {
        /// N.
        sid: ServerId,
        /// What is wrong with it.
        cause: BadServer,
    },
    /// A server in two groups.
    SeveralGroups(ServerId),
    /// A voter in no group.
    NoGroup(ServerId),
    /// A server without a vote in a group, and no weight given to it.
    NoWeight(ServerId),
    /// Nobody votes.
    NoParticipants,
    /// One voter and observers: with standaloneEnabled that is no ensemble.
    ObserversOfOne,
}

/// What is wrong with the text of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadServer {
    /// Not of the form.
    Form,
    /// A port that is none.
    Port,
    /// Quorum port and election port are the same.
    SamePorts,
    /// A role that is none.
    Role,
    /// Its addresses name different roles.
    Roles,
    /// Several addresses although multiAddress.enabled is off.
    SeveralAddresses,
}

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadConfig::Escape { line } => write!(f, "line {line}: \\u without four hexadecimal digits"),
            BadConfig::UnknownKey(key) => write!(f, "unrecognised parameter: {key}"),
            BadConfig::BadKey(key) => write!(f, "{key}: a number has to follow the dot"),
            BadConfig::BadValue { key, value } => write!(f, "{key}={value}: no value for this key"),
            BadConfig::Server { sid, cause } => write!(f, "server.{sid}: {cause}"),
            BadConfig::SeveralGroups(sid) => write!(f, "server {sid} is in several groups"),
            BadConfig::NoGroup(sid) => write!(f, "server {sid} is not in a group"),
            BadConfig::NoWeight(sid) => {
                write!(f, "server {sid} is in a group, but neither votes nor has a weight")
            }
            BadConfig::NoParticipants => write!(f, "no participant"),
            BadConfig::ObserversOfOne => {
                write!(f, "observers of a single participant need standaloneEnabled=false")
            }
        }
    }
}

impl fmt::Display for BadServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadServer::Form => write!(
                f,
                "not of the form host:port:port[:role][;[host:]port[;[host:]port]], where | separates several addresses"
            ),
            BadServer::Port => write!(f, "a port is a number up to 65535"),
            BadServer::SamePorts => write!(f, "quorum port and election port must differ"),
            BadServer::Role => write!(f, "a role is participant or observer"),
            BadServer::Roles => write!(f, "its addresses name different roles"),
            BadServer::SeveralAddresses => write!(f, "several addresses need multiAddress.enabled=true"),
        }
    }
}

impl QuorumServer {
    /// Reads what stands right of `server.N=`.
    pub fn parse(sid: ServerId, text: &str, rules: ConfigRules) -> Result<QuorumServer, BadServer> {
        let mut parts = text.trim_end_matches(';').split(';');
        let servers = parts.next().unwrap_or_default();
        let client = parts.next().map(parse_client).transpose()?.flatten();
        let secure_client = parts.next().map(parse_client).transpose()?.flatten();
        if parts.next().is_some() {
            return Err(BadServer::Form);
        }
        let (mut addrs, mut role) = (Vec::new(), None);
        for server in servers.trim_end_matches('|').split('|') {
            let (addr, said) = parse_server_addr(server)?;
            if role.is_some() && said.is_some() && role != said {
                return Err(BadServer::Roles);
            }
            role = role.or(said);
            addrs.push(addr);
        }
        if addrs.len() > 1 && !rules.multi_address {
            return Err(BadServer::SeveralAddresses);
        }
        addrs.sort();
        addrs.dedup();
        let role = role.unwrap_or(LearnerType::Participant);
        Ok(QuorumServer { sid, addrs, role, client, secure_client })
    }
}

fn parse_server_addr(text: &str) -> Result<(ServerAddr, Option<LearnerType>), BadServer> {
    let parts = split_host(text).ok_or(BadServer::Form)?;
    let (host, quorum, election, role) = match parts.as_slice() {
        [host, quorum, election] => (host, quorum, election, None),
        [host, quorum, election, role] => (host, quorum, election, Some(role.trim().to_lowercase())),
        _ => return Err(BadServer::Form),
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(BadServer::Form);
    }
    let role = match role.as_deref() {
        None => None,
        Some("participant") => Some(LearnerType::Participant),
        Some("observer") => Some(LearnerType::Observer),
        Some(_) => return Err(BadServer::Role),
    };
    let quorum_port = parse_port(quorum).ok_or(BadServer::Port)?;
    let election_port = parse_port(election).ok_or(BadServer::Port)?;
    if quorum_port == election_port {
        return Err(BadServer::SamePorts);
    }
    Ok((ServerAddr { host: (*host).to_owned(), quorum_port, election_port }, role))
}

/// `port` or `host:port`; nothing is nothing.
fn parse_client(text: &str) -> Result<Option<Addr>, BadServer> {
    if text.is_empty() {
        return Ok(None);
    }
    let (host, port) = match split_host(text).ok_or(BadServer::Form)?.as_slice() {
        [port] => ("0.0.0.0", *port),
        [host, port] if !host.is_empty() && !host.contains(char::is_whitespace) => (*host, *port),
        _ => return Err(BadServer::Form),
    };
    Ok(Some(Addr::new(host, parse_port(port).ok_or(BadServer::Port)?)))
}

impl fmt::Display for QuorumServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, a) in self.addrs.iter().enumerate() {
            let bar = if i == 0 { "" } else { "|" };
            write!(f, "{bar}{}:{}:{}", Delimited(&a.host), a.quorum_port, a.election_port)?;
        }
        match self.role {
            LearnerType::Participant => write!(f, ":participant")?,
            LearnerType::Observer => write!(f, ":observer")?,
        }
        match (&self.client, &self.secure_client) {
            (None, None) => Ok(()),
            (Some(client), None) => write!(f, ";{client}"),
            (None, Some(secure)) => write!(f, ";;{secure}"),
            (Some(client), Some(secure)) => write!(f, ";{client};{secure}"),
        }
    }
}

/// The lines of a text, sorted out.
#[derive(Default)]
struct Lines {
    members: BTreeMap<ServerId, QuorumServer>,
    group: BTreeMap<ServerId, i64>,
    weight: BTreeMap<ServerId, i64>,
    hierarchical: bool,
    version: i64,
}

impl Lines {
    fn take(&mut self, key: &str, value: &str, rules: ConfigRules) -> Result<(), BadConfig> {
        let number = || -> Result<i64, BadConfig> {
            let (_, n) = key.split_once('.').ok_or_else(|| BadConfig::BadKey(key.to_owned()))?;
            n.parse().map_err(|_| BadConfig::BadKey(key.to_owned()))
        };
        let bad_value = || BadConfig::BadValue { key: key.to_owned(), value: value.to_owned() };
        if key.starts_with("server.") {
            let sid = ServerId(number()?);
            let server = QuorumServer::parse(sid, value, rules);
            self.members.insert(sid, server.map_err(|cause| BadConfig::Server { sid, cause })?);
        } else if key.starts_with("group") {
            self.hierarchical = true;
            let gid = number()?;
            for sid in value.trim_end_matches(':').split(':') {
                let sid = ServerId(sid.parse().map_err(|_| bad_value())?);
                if self.group.insert(sid, gid).is_some() {
                    return Err(BadConfig::SeveralGroups(sid));
                }
            }
        } else if key.starts_with("weight") {
            self.hierarchical = true;
            let weight = value.parse().ok().filter(|w: &i64| *w >= 0).ok_or_else(bad_value)?;
            self.weight.insert(ServerId(number()?), weight);
        } else if key == "version" {
            self.version = i64::from_str_radix(value, 16).map_err(|_| bad_value())?;
        } else {
            return Err(BadConfig::UnknownKey(key.to_owned()));
        }
        Ok(())
    }

    fn system(&mut self) -> Result<QuorumSystem, BadConfig> {
        if !self.hierarchical {
            return Ok(QuorumSystem::Majority);
        }
        let (group, mut weight) = (std::mem::take(&mut self.group), std::mem::take(&mut self.weight));
        for member in self.members.values().filter(|m| m.role == LearnerType::Participant) {
            if !group.contains_key(&member.sid) {
                return Err(BadConfig::NoGroup(member.sid));
            }
            weight.entry(member.sid).or_insert(1);
        }
        if let Some(sid) = group.keys().find(|sid| !weight.contains_key(sid)) {
            return Err(BadConfig::NoWeight(*sid));
        }
        Ok(QuorumSystem::Hierarchical(Groups { group, weight }))
    }
}

impl QuorumVerifier {
    /// Reads a configuration. Of several lines with one key the last one counts, as in Java.
    pub fn parse(text: &str, rules: ConfigRules) -> Result<QuorumVerifier, BadConfig> {
        let entries = properties::parse(text).map_err(|e| BadConfig::Escape { line: e.line })?;
        QuorumVerifier::from_entries(entries.into_iter().map(|e| (e.key, e.value)), rules)
    }

    /// The same from keys and values that were read elsewhere.
    pub fn from_entries(
        entries: impl IntoIterator<Item = (String, String)>,
        rules: ConfigRules,
    ) -> Result<QuorumVerifier, BadConfig> {
        let entries: BTreeMap<String, String> = entries.into_iter().collect();
        let mut lines = Lines::default();
        for (key, value) in &entries {
            lines.take(key, value, rules)?;
        }
        let system = lines.system()?;
        let verifier = QuorumVerifier { version: lines.version, members: lines.members, system };
        match verifier.voters().count() {
            0 => Err(BadConfig::NoParticipants),
            1 if rules.standalone_enabled && verifier.members.len() > 1 => Err(BadConfig::ObserversOfOne),
            _ => Ok(verifier),
        }
    }
}

impl fmt::Display for QuorumVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (sid, server) in &self.members {
            writeln!(f, "server.{sid}={server}")?;
        }
        if let QuorumSystem::Hierarchical(groups) = &self.system {
            let mut lists: BTreeMap<i64, Vec<String>> = BTreeMap::new();
            for (sid, gid) in &groups.group {
                lists.entry(*gid).or_default().push(sid.to_string());
            }
            for (gid, list) in lists {
                writeln!(f, "group.{gid}={}", list.join(":"))?;
            }
            for (sid, weight) in &groups.weight {
                writeln!(f, "weight.{sid}={weight}")?;
            }
        }
        write!(f, "version={:x}", self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MULTI: ConfigRules = ConfigRules { standalone_enabled: true, multi_address: true };

    fn server(text: &str) -> Result<String, BadServer> {
        QuorumServer::parse(ServerId(1), text, MULTI).map(|s| s.to_string())
    }
    fn bad(text: &str) -> BadConfig {
        QuorumVerifier::parse(text, ConfigRules::default()).expect_err("bad")
    }

    #[test]
    fn servers_in_every_form() {
        for (text, back) in [
            ("h:2888:3888", "h:2888:3888:participant"),
            ("h:2888:3888:OBSERVER", "h:2888:3888:observer"),
            ("h:2888:3888;2181", "h:2888:3888:participant;0.0.0.0:2181"),
            ("h:2888:3888:observer;c:2181;", "h:2888:3888:observer;c:2181"),
            ("h:2888:3888;;2281", "h:2888:3888:participant;;0.0.0.0:2281"),
            ("h:2888:3888;2181;s:2281", "h:2888:3888:participant;0.0.0.0:2181;s:2281"),
            ("[::1]:2888:3888;[::]:2181", "[::1]:2888:3888:participant;[::]:2181"),
            ("b:1:2|a:3:4:observer", "a:3:4|b:1:2:observer"),
            ("b:1:2|b:1:2", "b:1:2:participant"),
        ] {
            assert_eq!(server(text).as_deref(), Ok(back), "{text}");
            assert_eq!(server(back).as_deref(), Ok(back), "{text}");
        }
        for (text, cause) in [
            ("", BadServer::Form),
            ("h", BadServer::Form),
            ("h:1", BadServer::Form),
            ("h:1:2:participant:x", BadServer::Form),
            (":1:2", BadServer::Form),
            ("[::1:1:2", BadServer::Form),
            ("h:1:2;a:b:3", BadServer::Form),
            ("h:1:2;1;2;3", BadServer::Form),
            ("h:1:x", BadServer::Port),
            ("h:1:65536", BadServer::Port),
            ("h:1:2;[::1]", BadServer::Port),
            ("h:1:1", BadServer::SamePorts),
            ("h:1:2:leader", BadServer::Role),
            ("a:1:2:observer|b:1:2:participant", BadServer::Roles),
        ] {
            assert_eq!(server(text), Err(cause), "{text}");
        }
        let single = QuorumServer::parse(ServerId(1), "a:1:2|b:1:2", ConfigRules::default());
        assert_eq!(single, Err(BadServer::SeveralAddresses));
    }

    #[test]
    fn texts_are_properties() {
        let text = "# ours\n version = 1f\nserver.2 = b:1:2\nserver.1=a\\:1\\:2\\\n  :observer;2181\nserver.2=c:1:2\nserver.3=d:1:2";
        let v = QuorumVerifier::parse(text, ConfigRules::default()).expect("parses");
        assert_eq!(
            v.to_string(),
            "server.1=a:1:2:observer;0.0.0.0:2181\nserver.2=c:1:2:participant\nserver.3=d:1:2:participant\nversion=1f"
        );
    }

    #[test]
    fn texts_that_are_refused() {
        let two = "server.1=a:1:2\nserver.2=b:1:2\n";
        assert_eq!(bad(&format!("{two}tickTime=2000")), BadConfig::UnknownKey("tickTime".into()));
        assert_eq!(bad("server.x=a:1:2"), BadConfig::BadKey("server.x".into()));
        assert_eq!(bad(&format!("{two}group1=1:2")), BadConfig::BadKey("group1".into()));
        assert!(matches!(bad(&format!("{two}group.1=")), BadConfig::BadValue { .. }));
        assert!(matches!(bad(&format!("{two}weight.1=-1")), BadConfig::BadValue { .. }));
        assert!(matches!(bad(&format!("{two}version=xyz")), BadConfig::BadValue { .. }));
        assert_eq!(bad(&format!("{two}group.1=1")), BadConfig::NoGroup(ServerId(2)));
        assert_eq!(bad(&format!("{two}group.1=1:2\ngroup.2=2")), BadConfig::SeveralGroups(ServerId(2)));
        assert_eq!(bad(&format!("{two}group.1=1:2:9")), BadConfig::NoWeight(ServerId(9)));
        assert_eq!(bad("version=0"), BadConfig::NoParticipants);
        assert_eq!(bad("server.1=a:1:2:observer"), BadConfig::NoParticipants);
        assert_eq!(bad("server.1=a:1:2\nserver.2=b:1:2:observer"), BadConfig::ObserversOfOne);
        assert_eq!(bad("server.1=a:1:2\\u00"), BadConfig::Escape { line: 1 });
        assert!(matches!(bad("server.1=a:1"), BadConfig::Server { cause: BadServer::Form, .. }));
        let alone = ConfigRules { standalone_enabled: false, ..ConfigRules::default() };
        assert!(QuorumVerifier::parse("server.1=a:1:2\nserver.2=b:1:2:observer", alone).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[server.group=weight:|;0-9\\\\\n\\[\\]a#v]{0,80}") {
            if let Ok(v) = QuorumVerifier::parse(&text, MULTI) {
                let written = v.to_string();
                prop_assert_eq!(QuorumVerifier::parse(&written, MULTI), Ok(v));
            }
        }

        #[test]
        fn what_is_written_is_read(
            list in proptest::collection::btree_map(1i64..200, ("[a-c]{1,3}|::1|10[.]0[.]0[.]1", 1u16..9, any::<bool>(), proptest::option::of(1u16..9)), 2..6),
            version in 0i64..,
        ) {
            let line = |(sid, (host, port, observer, client)): (&i64, &(String, u16, bool, Option<u16>))| {
                let host = Delimited(host);
                let role = if *observer { "observer" } else { "participant" };
                let client = client.map(|c| format!(";{c}")).unwrap_or_default();
                format!("server.{sid}={host}:{port}:{}:{role}{client}\n", port + 1)
            };
            let text = list.iter().map(line).collect::<String>() + &format!("version={version:x}");
            if let Ok(v) = QuorumVerifier::parse(&text, MULTI) {
                prop_assert_eq!(v.version, version);
                prop_assert_eq!(QuorumVerifier::parse(&v.to_string(), MULTI), Ok(v));
            }
        }
    }
}
