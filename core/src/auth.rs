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
