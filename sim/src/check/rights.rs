//! Who may do what, written from the reference (client protocol, §9): identities of a connection, ACL lists, the fixing up
//! of lists that clients send.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha1::{Digest as _, Sha1};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use zebu_core::jute::Reader;
use zebu_core::proto::{Acl, ErrorCode, Id, perms};

/// The ACL lists of a run, by number. Lists stay known between runs, since most seeds use the same few.
#[derive(Debug, Default)]
pub(super) struct Lists {
    known: Vec<(Vec<u8>, Vec<Acl>)>,
}

/// Number of an ACL list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ListId(pub(super) u32);

impl Lists {
    /// `world:anyone` everything.
    pub(super) const OPEN: ListId = ListId(0);
    /// `world:anyone` reading.
    pub(super) const READ: ListId = ListId(1);

    /// Forgets lists if there are too many; ids of the last run are void.
    pub(super) fn clear(&mut self) {
        self.known.truncate(64);
        if self.known.is_empty() {
            for acl in [Acl::open(), Acl::read_only()] {
                let mut raw = Vec::new();
                Acl::encode_list(std::slice::from_ref(&acl), &mut raw);
                self.known.push((raw, vec![acl]));
            }
        }
    }

    /// The number of an encoded list.
    pub(super) fn intern(&mut self, raw: &[u8]) -> ListId {
        if let Some(at) = self.known.iter().position(|(r, _)| r == raw) {
            return ListId(at as u32);
        }
        let list = Reader::new(raw).vector(Acl::decode).ok().flatten().unwrap_or_default();
        self.known.push((raw.to_vec(), list));
        ListId(self.known.len() as u32 - 1)
    }

    pub(super) fn get(&self, id: ListId) -> &[Acl] {
        &self.known[id.0 as usize].1
    }
}

/// The identity that a credential adds; the digest scheme may add the super user's too. `None`: it is refused.
pub(super) fn identities(
    scheme: &str,
    auth: Option<&[u8]>,
    peer: IpAddr,
    super_digest: Option<&str>,
) -> Option<Vec<Id>> {
    match scheme {
        "ip" => Some(vec![Id::new("ip", &peer.to_string())]),
        "digest" => {
            let auth = auth?;
            let text = String::from_utf8_lossy(auth);
            let user = text.split(':').next().unwrap_or_default();
            let id = format!("{user}:{}", STANDARD.encode(Sha1::digest(auth)));
            let mut ids = Vec::new();
            if super_digest == Some(id.as_str()) {
                ids.push(Id::new("super", ""));
            }
            ids.push(Id { scheme: "digest".to_owned(), id });
            Some(ids)
        }
        _ => None,
    }
}

/// Digest identities computed before; SHA-1 once per credential and process, not once per seed.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    auth: Bytes,
    super_digest: Option<String>,
    ids: Option<Vec<Id>>,
}

impl Credentials {
    /// As [`identities`].
    pub(super) fn get(
        &mut self,
        scheme: &str,
        auth: Option<&Bytes>,
        peer: IpAddr,
        super_digest: Option<&str>,
    ) -> Option<Vec<Id>> {
        let (Some(auth), "digest") = (auth, scheme) else {
            return identities(scheme, auth.map(|a| &a[..]), peer, super_digest);
        };
        let same = |k: &&Known| k.auth == auth && k.super_digest.as_deref() == super_digest;
        if let Some(known) = self.known.iter().find(same) {
            return known.ids.clone();
        }
        let ids = identities(scheme, Some(auth), peer, super_digest);
        if self.known.len() >= 64 {
            self.known.clear();
        }
        let super_digest = super_digest.map(str::to_owned);
        self.known.push(Known { auth: auth.clone(), super_digest, ids: ids.clone() });
        ids
    }
}

/// True if one of `ids` has one of the permissions of `wanted`.
pub(super) fn allowed(skip: bool, acl: &[Acl], wanted: i32, ids: &[Id]) -> bool {
    skip || acl.is_empty()
        || ids.iter().any(|i| i.scheme == "super")
        || acl.iter().any(|a| {
            a.perms & wanted != 0
                && ((a.id.scheme == "world" && a.id.id == "anyone")
                    || ids.iter().any(|i| i.scheme == a.id.scheme && matches(i, &a.id.id)))
        })
}

fn matches(id: &Id, wanted: &str) -> bool {
    if id.scheme != "ip" {
        return id.id == wanted;
    }
    let (Ok(have), Some((net, bits))) = (id.id.parse::<Ipv4Addr>(), network(wanted)) else {
        return id.id == wanted;
    };
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    u32::from(have) & mask == u32::from(net) & mask
}

/// `a.b.c.d[/bits]`
fn network(text: &str) -> Option<(Ipv4Addr, u32)> {
    let (addr, bits) = match text.split_once('/') {
        None => (text, 32),
        Some((addr, bits)) => (addr, bits.parse().ok().filter(|b| *b <= 32)?),
    };
    Some((addr.parse().ok()?, bits))
}

/// What a list that a client sent becomes; the order of what `auth` expands to is not defined.
pub(super) fn fix_up<'a>(sent: Option<&'a [Acl]>, ids: &[Id]) -> Result<Cow<'a, [Acl]>, ErrorCode> {
    let sent = sent.filter(|s| !s.is_empty()).ok_or(ErrorCode::InvalidAcl)?;
    if let [Acl { id, .. }] = sent
        && id.scheme == "world"
        && id.id == "anyone"
    {
        return Ok(Cow::Borrowed(sent));
    }
    let mut out: Vec<Acl> = Vec::with_capacity(sent.len());
    for (at, acl) in sent.iter().enumerate() {
        if sent[..at].contains(acl) {
            continue;
        }
        match acl.id.scheme.as_str() {
            "world" if acl.id.id == "anyone" => out.push(acl.clone()),
            "auth" => {
                let before = out.len();
                let mine = ids.iter().filter(|i| i.scheme == "digest");
                out.extend(mine.map(|id| Acl { perms: acl.perms, id: id.clone() }));
                if out.len() == before {
                    return Err(ErrorCode::InvalidAcl);
                }
            }
            "ip" if network(&acl.id.id).is_some() => out.push(acl.clone()),
            "digest" if two_parts(&acl.id.id) => out.push(acl.clone()),
            _ => return Err(ErrorCode::InvalidAcl),
        }
    }
    Ok(Cow::Owned(out))
}

/// Java's `split(":").length == 2`: trailing empty parts do not count.
fn two_parts(id: &str) -> bool {
    let trimmed = id.trim_end_matches(':');
    trimmed.matches(':').count() == 1
}

/// Lists are equal but for the order of their entries.
pub(super) fn same(a: &[Acl], b: &[Acl]) -> bool {
    if a == b {
        return true;
    }
    let (mut a, mut b) = (a.to_vec(), b.to_vec());
    a.sort();
    b.sort();
    a == b
}

/// What getACL shows of a list to who may see it at all; `None`: neither READ nor ADMIN.
pub(super) fn shown(skip: bool, acl: &[Acl], ids: &[Id]) -> Option<Vec<Acl>> {
    if !allowed(skip, acl, perms::READ | perms::ADMIN, ids) {
        return None;
    }
    if allowed(skip, acl, perms::ADMIN, ids) {
        return Some(acl.to_vec());
    }
    let masked = acl.iter().map(|a| {
        let mut a = a.clone();
        if let ("digest", Some((user, _))) = (a.id.scheme.as_str(), a.id.id.split_once(':')) {
            a.id.id = format!("{user}:x");
        }
        a
    });
    Some(masked.collect())
}

/// What whoAmI shows of an identity.
pub(super) fn user(id: &Id) -> &str {
    match id.scheme.as_str() {
        "digest" => id.id.split(':').next().unwrap_or_default(),
        _ => &id.id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(perms: i32, scheme: &str, id: &str) -> Acl {
        Acl { perms, id: Id::new(scheme, id) }
    }
    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));

    #[test]
    fn identities_and_masks() {
        let ids = identities("digest", Some(b"u:p"), PEER, None).unwrap();
        assert_eq!(ids, [Id::new("digest", "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=")]);
        assert_eq!(user(&ids[0]), "u");
        let id = ids[0].id.clone();
        let both = identities("digest", Some(b"u:p"), PEER, Some(&id)).unwrap();
        assert_eq!(both[0], Id::new("super", ""));
        assert_eq!(identities("world", Some(b"anyone"), PEER, None), None);
        assert_eq!(identities("digest", None, PEER, None), None);
        let list = [acl(perms::READ, "world", "anyone"), acl(perms::ADMIN, "digest", &id)];
        assert_eq!(shown(false, &list, &[]).unwrap()[1].id.id, "u:x");
        assert_eq!(shown(false, &list, &ids).unwrap()[1].id.id, id);
        assert_eq!(shown(false, &[acl(perms::WRITE, "world", "anyone")], &ids), None);
    }

    #[test]
    fn permission() {
        let me = [Id::new("ip", "10.1.2.3")];
        assert!(allowed(false, &[acl(1, "ip", "10.1.0.0/16")], 1, &me));
        assert!(allowed(false, &[acl(1, "ip", "0.0.0.0/0")], 1, &me));
        assert!(!allowed(false, &[acl(1, "ip", "10.2.0.0/16")], 1, &me));
        assert!(!allowed(false, &[acl(2, "world", "anyone")], 1, &me));
        assert!(allowed(true, &[acl(0, "world", "anyone")], 1, &[]));
        assert!(allowed(false, &[acl(0, "world", "anyone")], 1, &[Id::new("super", "")]));
    }

    #[test]
    fn lists_of_clients() {
        let me = [Id::new("ip", "10.1.2.3"), Id::new("digest", "u:h"), Id::new("digest", "v:h")];
        let open = acl(31, "world", "anyone");
        assert_eq!(fix_up(Some(&[open.clone(), open.clone()]), &me), Ok(Cow::Owned(vec![open.clone()])));
        let auth = [acl(3, "auth", "")];
        let both = fix_up(Some(&auth), &me).unwrap();
        assert!(same(&both, &[acl(3, "digest", "v:h"), acl(3, "digest", "u:h")]));
        for bad in [
            None,
            Some(vec![]),
            Some(vec![acl(1, "world", "x")]),
            Some(vec![acl(1, "digest", "a:")]),
            Some(vec![acl(1, "ip", "1.2.3")]),
            Some(vec![acl(1, "ip", "1.2.3.4/33")]),
            Some(vec![acl(1, "super", "")]),
            Some(vec![acl(1, "", "")]),
        ] {
            assert_eq!(fix_up(bad.as_deref(), &me), Err(ErrorCode::InvalidAcl), "{bad:?}");
        }
        assert_eq!(fix_up(Some(&[acl(1, "auth", "")]), &me[..1]), Err(ErrorCode::InvalidAcl));
        assert!(fix_up(Some(&[acl(1, "digest", ":b")]), &me).is_ok());
    }
}
