//! Who a connection is. Answers to `DigestAuthenticationProvider` and `IPAuthenticationProvider`. Knows no lists.

use crate::proto::Id;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};
use std::net::IpAddr;

/// The id that every connection starts with.
pub fn ip_id(peer: IpAddr) -> Id {
    let text = match peer.to_canonical() {
        IpAddr::V4(a) => a.to_string(),
        // Java's form: eight groups, none left out.
        IpAddr::V6(a) => a.segments().map(|s| format!("{s:x}")).join(":"),
    };
    Id { scheme: "ip".to_owned(), id: text }
}

/// What an auth packet of `scheme` adds to its connection's ids; `None`: AuthFailed, and the connection is closed.
pub fn authenticate(
    scheme: &str,
    data: Option<&[u8]>,
    peer: IpAddr,
    super_digest: Option<&str>,
) -> Option<Vec<Id>> {
    match scheme {
        "ip" => Some(vec![ip_id(peer)]),
        "digest" => {
            let id = digest_id(data?);
            let is_super = super_digest == Some(id.as_str());
            let digest = Id { scheme: "digest".to_owned(), id };
            Some(if is_super { vec![Id::new("super", ""), digest] } else { vec![digest] })
        }
        _ => None,
    }
}

/// The id of "user:password": user, ':' and the hash of the whole in base64.
pub fn digest_id(user_password: &[u8]) -> String {
    let text = String::from_utf8_lossy(user_password);
    let user = text.split_once(':').map_or(&*text, |(user, _)| user);
    format!("{user}:{}", STANDARD.encode(Sha1::digest(text.as_bytes())))
}

/// What whoAmI shows of an id.
pub fn user(id: &Id) -> String {
    match (id.scheme.as_str(), id.id.split_once(':')) {
        ("digest", Some((user, _))) => user.to_owned(),
        _ => id.id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn digests() {
        assert_eq!(digest_id(b"u:p"), "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=");
        assert_eq!(
            authenticate("digest", Some(b"u:p"), PEER, None),
            Some(vec![Id::new("digest", &digest_id(b"u:p"))])
        );
        assert!(digest_id(b"nocolon").starts_with("nocolon:"));
        let secret = digest_id(b"super:pw");
        let ids = authenticate("digest", Some(b"super:pw"), PEER, Some(&secret)).unwrap();
        assert_eq!(ids, [Id::new("super", ""), Id::new("digest", &secret)]);
        assert_eq!(authenticate("digest", Some(b"super:no"), PEER, Some(&secret)).unwrap().len(), 1);
    }

    #[test]
    fn refusals() {
        assert_eq!(authenticate("digest", None, PEER, None), None);
        assert_eq!(authenticate("world", Some(b"anyone"), PEER, None), None);
        assert_eq!(authenticate("", Some(b""), PEER, None), None);
    }

    #[test]
    fn addresses_as_java_writes_them() {
        let text = |a: &str| ip_id(a.parse().unwrap()).id;
        assert_eq!(
            ["127.0.0.1", "::1", "::ffff:1.2.3.4", "fe80::AB"].map(text),
            ["127.0.0.1", "0:0:0:0:0:0:0:1", "1.2.3.4", "fe80:0:0:0:0:0:0:ab"]
        );
        assert_eq!(authenticate("ip", None, PEER, None), Some(vec![Id::new("ip", "127.0.0.1")]));
    }

    #[test]
    fn users() {
        assert_eq!(user(&Id::new("digest", "u:h:h")), "u");
        assert_eq!(user(&Id::new("ip", "0:0:0:0:0:0:0:1")), "0:0:0:0:0:0:0:1");
        assert_eq!(user(&Id::new("super", "")), "");
    }
}
