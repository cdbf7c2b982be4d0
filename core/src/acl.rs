//! Access control: may these ids do that, and which lists may be stored. Answers to `ZKServer.checkACL`,
//! `PrepRequestProcessor.fixupACL` and the authentication providers' `matches` and `isValid`. Knows no tree and no connection.

use crate::proto::{Acl, ErrorCode, Id, perms};
use std::net::IpAddr;

/// True if the holder of `ids` may do what any bit of `perm` stands for. `skip`: skipACL is set.
pub fn allowed(skip: bool, acl: &[Acl], perm: i32, ids: &[Id]) -> bool {
    skip || acl.is_empty()
        || ids.iter().any(|id| id.scheme == "super")
        || acl
            .iter()
            .any(|a| a.perms & perm != 0 && (is_anyone(&a.id) || ids.iter().any(|id| matches(id, &a.id))))
}

/// The list that a create or setACL by the holder of `ids` stores: without duplicates, `auth` replaced by who asks.
pub fn fix_up(acl: Option<&[Acl]>, ids: &[Id]) -> Result<Vec<Acl>, ErrorCode> {
    let mut unique: Vec<&Acl> = Vec::new();
    for a in acl.unwrap_or_default() {
        if !unique.contains(&a) {
            unique.push(a);
        }
    }
    if unique.is_empty() {
        return Err(ErrorCode::InvalidAcl);
    }
    let mut out = Vec::with_capacity(unique.len());
    for a in unique {
        match a.id.scheme.as_str() {
            "auth" => {
                let before = out.len();
                out.extend(
                    ids.iter()
                        .filter(|id| authenticated(id))
                        .map(|id| Acl { perms: a.perms, id: id.clone() }),
                );
                if out.len() == before {
                    return Err(ErrorCode::InvalidAcl);
                }
            }
            _ if valid(&a.id) => out.push(a.clone()),
            _ => return Err(ErrorCode::InvalidAcl),
        }
    }
    Ok(out)
}

/// The list as getACL shows it to the holder of `ids`: whole with ADMIN, without the hashes of digests with READ only.
/// (With skipACL everybody sees it whole; that is the caller's to know.)
pub fn mask(acl: &[Acl], ids: &[Id]) -> Result<Vec<Acl>, ErrorCode> {
    if allowed(false, acl, perms::ADMIN, ids) {
        return Ok(acl.to_vec());
    }
    if !allowed(false, acl, perms::READ, ids) {
        return Err(ErrorCode::NoAuth);
    }
    let masked = |a: &Acl| match a.id.id.split_once(':') {
        Some((user, _)) if a.id.scheme == "digest" => {
            Acl { perms: a.perms, id: Id { scheme: a.id.scheme.clone(), id: format!("{user}:x") } }
        }
        _ => a.clone(),
    };
    Ok(acl.iter().map(masked).collect())
}

fn is_anyone(id: &Id) -> bool {
    id.scheme == "world" && id.id == "anyone"
}

/// Does the connection's `id` meet the entry's?
fn matches(id: &Id, entry: &Id) -> bool {
    id.scheme == entry.scheme
        && match entry.scheme.as_str() {
            "ip" => match (Network::parse(&entry.id), id.id.parse()) {
                (Some(network), Ok(peer)) => network.contains(peer),
                _ => false,
            },
            _ => id.id == entry.id,
        }
}

/// Does this id of a connection count for `auth`?
fn authenticated(id: &Id) -> bool {
    matches!(id.scheme.as_str(), "digest" | "sasl" | "x509")
}

/// May an entry name this id? Schemes without a provider may not.
fn valid(id: &Id) -> bool {
    match id.scheme.as_str() {
        "world" => id.id == "anyone",
        // 3.9.3's rule; stored IPv6 entries are honoured all the same.
        "ip" => Network::parse(&id.id).is_some_and(|n| n.address.is_ipv4()),
        "digest" => {
            // Java's split(":") forgets empty parts at the end and must give two.
            let parts = id.id.trim_end_matches(':');
            !parts.is_empty() && parts.matches(':').count() == 1
        }
        _ => false,
    }
}

/// `address[/bits]`. Servers from 3.9.4 on store IPv6 too.
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
        };
        let address = parse_ip(address)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        (bits <= width).then_some(Network { address, bits })
    }

    fn contains(&self, peer: IpAddr) -> bool {
        match (self.address, peer) {
            (IpAddr::V4(a), IpAddr::V4(b)) => u64::from(a.to_bits() ^ b.to_bits()) >> (32 - self.bits) == 0,
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (a.to_bits() ^ b.to_bits()).checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// IPv4 as Java reads it (leading zeros are decimal), or IPv6.
fn parse_ip(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse().ok();
    }
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        *octet = parts.next()?.parse().ok()?;
    }
    parts.next().is_none().then(|| IpAddr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(perms: i32, scheme: &str, id: &str) -> Acl {
        Acl { perms, id: Id::new(scheme, id) }
    }
    fn ids(list: &[(&str, &str)]) -> Vec<Id> {
        list.iter().map(|(scheme, id)| Id::new(scheme, id)).collect()
    }

    #[test]
    fn who_may() {
        let list = [acl(perms::READ, "world", "anyone"), acl(perms::ALL, "digest", "u:h")];
        let peer = ids(&[("ip", "10.1.2.3")]);
        assert!(allowed(false, &list, perms::READ, &peer) && !allowed(false, &list, perms::WRITE, &peer));
        assert!(allowed(false, &list, perms::READ | perms::ADMIN, &peer), "any one bit is enough");
        assert!(allowed(false, &list, perms::WRITE, &ids(&[("digest", "u:h")])));
        assert!(!allowed(false, &list, perms::WRITE, &ids(&[("digest", "u:H"), ("sasl", "u:h")])));
        assert!(allowed(true, &list, perms::WRITE, &peer) && allowed(false, &[], perms::WRITE, &peer));
        assert!(allowed(false, &list, perms::WRITE, &ids(&[("super", "")])));
        assert!(!allowed(false, &[acl(perms::ALL, "world", "other")], perms::READ, &peer));
    }

    #[test]
    fn addresses_and_prefixes() {
        let met = |entry: &str, peer: &str| allowed(false, &[acl(1, "ip", entry)], 1, &ids(&[("ip", peer)]));
        assert!(met("10.1.2.3", "10.1.2.3") && !met("10.1.2.3", "10.1.2.4"));
        assert!(met("10.1.0.0/16", "10.1.2.3") && !met("10.1.0.0/16", "10.2.2.3"));
        assert!(met("10.1.2.2/31", "10.1.2.3") && met("1.2.3.4/0", "10.1.2.3"));
        assert!(met("::1", "0:0:0:0:0:0:0:1") && met("fe80::/10", "fe80:0:0:0:0:0:0:1"));
        assert!(met("::/0", "1:2:3:4:5:6:7:8") && !met("::/0", "10.1.2.3") && !met("0.0.0.0/0", "::1"));
        assert!(!met("rubbish", "rubbish"));
    }

    #[test]
    fn lists_that_may_be_stored() {
        let valid = |scheme, id| fix_up(Some(&[acl(1, scheme, id)]), &[]).is_ok();
        for (scheme, id) in [
            ("world", "anyone"),
            ("digest", ":b"),
            ("digest", "a:b:"),
            ("ip", "1.2.3.4/32"),
            ("ip", "01.2.3.4"),
        ] {
            assert!(valid(scheme, id), "{scheme}:{id}");
        }
        for (scheme, id) in [
            ("world", "other"),
            ("", "anyone"),
            ("digest", "a:"),
            ("digest", "a"),
            ("digest", ""),
            ("digest", ":"),
            ("digest", "a:b:c"),
            ("ip", "1.2.3"),
            ("ip", "1.2.3.4.5"),
            ("ip", "1.2.3.256"),
            ("ip", "1.2.3.4/33"),
            ("ip", "1.2.3.4/"),
            ("ip", "::1"),
            ("ip", ""),
            ("super", ""),
            ("sasl", "bob"),
            ("auth", ""),
        ] {
            assert!(!valid(scheme, id), "{scheme}:{id}");
        }
        assert_eq!(fix_up(None, &[]), Err(ErrorCode::InvalidAcl));
        assert_eq!(fix_up(Some(&[]), &[]), Err(ErrorCode::InvalidAcl));
    }

    #[test]
    fn auth_becomes_who_asks() {
        let me = ids(&[("ip", "1.2.3.4"), ("digest", "a:1"), ("super", ""), ("digest", "b:2")]);
        let wish = [acl(31, "auth", "x"), acl(1, "world", "anyone"), acl(31, "auth", "x")];
        let stored = vec![acl(31, "digest", "a:1"), acl(31, "digest", "b:2"), acl(1, "world", "anyone")];
        assert_eq!(fix_up(Some(&wish), &me), Ok(stored));
        assert_eq!(fix_up(Some(&wish), &me[..1]), Err(ErrorCode::InvalidAcl));
        // Bits are kept as sent.
        assert_eq!(fix_up(Some(&[acl(255, "world", "anyone")]), &[]), Ok(vec![acl(255, "world", "anyone")]));
    }

    #[test]
    fn hashes_are_for_admins() {
        let list = [
            acl(perms::READ, "world", "anyone"),
            acl(perms::ADMIN, "digest", "u:h:h"),
            acl(2, "ip", "1.2.3.4"),
        ];
        let seen = mask(&list, &ids(&[("ip", "9.9.9.9")])).unwrap();
        assert_eq!(seen[1], acl(perms::ADMIN, "digest", "u:x"));
        assert_eq!((&seen[0], &seen[2]), (&list[0], &list[2]));
        assert_eq!(mask(&list, &ids(&[("digest", "u:h:h")])), Ok(list.to_vec()));
        assert_eq!(mask(&list[1..], &ids(&[("ip", "1.2.3.4")])), Err(ErrorCode::NoAuth));
    }
}
