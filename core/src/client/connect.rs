//! What a client is told once: its servers, timeout, credentials. Answers to `ConnectStringParser` and `ZKClientConfig`.

use crate::limits;
use crate::path::{self, BadPath};
use crate::time::Span;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The port of an address that names none.
pub const DEFAULT_PORT: u16 = 2181;

/// One server, unresolved: a name may mean another address tomorrow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServerAddr {
    /// Name or address; an IPv6 one without its brackets.
    pub host: String,
    /// Client port.
    pub port: u16,
}

impl fmt::Display for ServerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Settings of a client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClientConfig {
    /// Where to connect; tried in an order drawn once.
    pub servers: Vec<ServerAddr>,
    /// Every path of the application is below this one.
    pub chroot: Option<String>,
    /// Asked for; the server has its limits.
    pub session_timeout_ms: i32,
    /// Content with a server that has lost its quorum.
    pub read_only: bool,
    /// Credentials from the start: scheme and text.
    pub auth: Vec<(String, Bytes)>,
    /// Longest frame accepted from a server: jute.maxbuffer and some slack.
    pub max_frame: usize,
    /// Calls that may wait for their turn or their reply; one more is refused with ThrottledOp.
    pub max_calls: usize,
    /// Path text in one setWatches request (`SET_WATCHES_MAX_LENGTH`); the simulator takes little, or one would always do.
    pub set_watches: usize,
    /// Pause after every server was tried once.
    pub round_pause: Span,
    /// Before a reconnect a random part of this passes, so that the clients of a lost server don't come as one.
    pub reconnect_jitter: Span,
}

impl ClientConfig {
    /// Java's defaults, for the servers of a connect string.
    pub fn new(connect_string: &str) -> Result<ClientConfig, BadConnectString> {
        let (servers, chroot) = parse(connect_string)?;
        Ok(ClientConfig {
            servers,
            chroot,
            session_timeout_ms: 30_000,
            read_only: false,
            auth: Vec::new(),
            max_frame: 0xfffff + 1024,
            max_calls: 100_000,
            set_watches: limits::SET_WATCHES,
            round_pause: Span::from_millis(1000),
            reconnect_jitter: Span::from_millis(1000),
        })
    }
}

/// Why a connect string is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadConnectString {
    /// It names no server.
    NoServers,
    /// What should be a port is not: the address.
    Port(String),
    /// The path behind the servers is not one.
    Chroot(BadPath),
}

impl fmt::Display for BadConnectString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadConnectString::NoServers => write!(f, "the connect string names no server"),
            BadConnectString::Port(address) => write!(f, "no port number in \"{address}\""),
            BadConnectString::Chroot(bad) => bad.fmt(f),
        }
    }
}
impl std::error::Error for BadConnectString {}

/// `host[:port],host[:port]…[/chroot]`.
fn parse(text: &str) -> Result<(Vec<ServerAddr>, Option<String>), BadConnectString> {
    let (hosts, chroot) = text.split_at(text.find('/').unwrap_or(text.len()));
    let chroot = match chroot {
        "" | "/" => None,
        path => {
            path::validate(path).map_err(BadConnectString::Chroot)?;
            Some(path.to_owned())
        }
    };
    let servers: Vec<ServerAddr> = hosts
        .split(',')
        .map(str::trim)
        .filter(|address| !address.is_empty())
        .map(parse_address)
        .collect::<Result<_, _>>()?;
    match servers.is_empty() {
        true => Err(BadConnectString::NoServers),
        false => Ok((servers, chroot)),
    }
}

fn parse_address(text: &str) -> Result<ServerAddr, BadConnectString> {
    let bad = || BadConnectString::Port(text.to_owned());
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, "")) => (host, ""),
        Some((host, port)) => (host, port.strip_prefix(':').ok_or_else(bad)?),
        None => text.rsplit_once(':').unwrap_or((text, "")),
    };
    // A colon at the very end counts for nothing.
    let port = if port.is_empty() { DEFAULT_PORT } else { port.parse().map_err(|_| bad())? };
    Ok(ServerAddr { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> (Vec<String>, Option<String>) {
        let config = ClientConfig::new(text).expect("it is a connect string");
        (config.servers.iter().map(ServerAddr::to_string).collect(), config.chroot)
    }

    #[test]
    fn servers_ports_and_chroot() {
        let servers = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(shown("localhost"), (servers(&["localhost:2181"]), None));
        assert_eq!(shown("a:1, b ,,c:3/"), (servers(&["a:1", "b:2181", "c:3"]), None));
        assert_eq!(shown("a:/app/x"), (servers(&["a:2181"]), Some("/app/x".to_owned())));
        assert_eq!(
            shown("[::1]:5,[fe80::2]/x"),
            (servers(&["[::1]:5", "[fe80::2]:2181"]), Some("/x".to_owned()))
        );
    }

    #[test]
    fn refusals_have_their_cause() {
        assert_eq!(ClientConfig::new(" ,/a"), Err(BadConnectString::NoServers));
        assert_eq!(ClientConfig::new("a:x"), Err(BadConnectString::Port("a:x".to_owned())));
        assert_eq!(ClientConfig::new("a:70000"), Err(BadConnectString::Port("a:70000".to_owned())));
        assert_eq!(ClientConfig::new("[::1]5"), Err(BadConnectString::Port("[::1]5".to_owned())));
        assert_eq!(ClientConfig::new("a/b/"), Err(BadConnectString::Chroot(BadPath::TrailingSlash)));
    }
}
