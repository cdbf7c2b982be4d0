//! A host and a port as configurations and messages spell them. Hosts stay text: names are looked up by the driver at
//! every dial. Answers to `ConfigUtils.getHostAndPort` and `NetUtils.formatInetAddr`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// Where to connect to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Addr {
    /// A name or a literal, IPv6 without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Addr {
    /// An address from its parts.
    pub fn new(host: &str, port: u16) -> Addr {
        Addr { host: host.to_owned(), port }
    }

    /// Reads `host:port` or `[v6]:port`; `None` if it is neither.
    pub fn parse(text: &str) -> Option<Addr> {
        match split_host(text)?.as_slice() {
            [host, port] if !host.is_empty() => Some(Addr::new(host, parse_port(port)?)),
            _ => None,
        }
    }

    /// `0.0.0.0` or `::`: every own interface, and no place to connect to.
    pub fn is_wildcard(&self) -> bool {
        self.ip().is_some_and(|ip| ip.is_unspecified())
    }
    /// This host itself.
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost") || self.ip().is_some_and(|ip| ip.is_loopback())
    }
    fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Delimited(&self.host), self.port)
    }
}

/// A host as it is written before a colon: in brackets if it has colons itself.
pub struct Delimited<'a>(pub &'a str);

impl fmt::Display for Delimited<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.contains(':') {
            true => write!(f, "[{}]", self.0),
            false => write!(f, "{}", self.0),
        }
    }
}

/// Splits at the colons, those of a bracketed host left alone: host first. Empty parts at the end fall away, as in Java.
/// `None`: a bracket that is not closed, or opened twice, or is followed by something else than a colon.
pub fn split_host(text: &str) -> Option<Vec<&str>> {
    let (host, rest) = match text.strip_prefix('[') {
        None => match text.split_once(':') {
            None => return Some(vec![text]),
            Some(parts) => parts,
        },
        Some(inner) => {
            let (host, rest) = inner.split_once(']').filter(|(host, _)| !host.contains('['))?;
            match rest.is_empty() {
                true => return Some(vec![host]),
                false => (host, rest.strip_prefix(':')?),
            }
        }
    };
    let mut parts = vec![host];
    parts.extend(rest.trim_end_matches(':').split(':').filter(|_| !rest.trim_end_matches(':').is_empty()));
    Some(parts)
}

/// A port number, as `Integer.parseInt` and `InetSocketAddress` take it.
pub fn parse_port(text: &str) -> Option<u16> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hosts_are_split_from_what_follows() {
        assert_eq!(split_host("h:1:2:observer"), Some(vec!["h", "1", "2", "observer"]));
        assert_eq!(split_host("[::1]:1:2"), Some(vec!["::1", "1", "2"]));
        assert_eq!(split_host("2181"), Some(vec!["2181"]));
        assert_eq!(split_host("[::1]"), Some(vec!["::1"]));
        assert_eq!(split_host("h:1::"), Some(vec!["h", "1"]));
        assert_eq!(split_host("h:"), Some(vec!["h"]));
        assert_eq!(split_host("[::1"), None);
        assert_eq!(split_host("[::1]x1"), None);
        assert_eq!(split_host("[[]:1"), None);
    }

    #[test]
    fn kinds_of_addresses() {
        for (text, wildcard, loopback) in [
            ("0.0.0.0:1", true, false),
            ("[::]:1", true, false),
            ("127.3.0.1:1", false, true),
            ("LocalHost:1", false, true),
            ("[::1]:1", false, true),
            ("zk1.example:2888", false, false),
        ] {
            let addr = Addr::parse(text).expect(text);
            assert_eq!((addr.is_wildcard(), addr.is_loopback()), (wildcard, loopback), "{text}");
            assert_eq!(addr.to_string(), text);
        }
        for bad in ["h", "h:", ":1", "h:65536", "h:-1", "h:x", "::1:2", ""] {
            assert_eq!(Addr::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(s in "[\\[\\]:a0-9|é]{0,12}") {
            if let Some(a) = Addr::parse(&s) {
                prop_assert_eq!(Addr::parse(&a.to_string()), Some(a));
            }
        }
    }
}
