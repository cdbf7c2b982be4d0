//! C2 of reconfigurations: what the log proposes is what was asked for, made of the configuration before it. By the words of
//! the administrator's guide; nothing of it is the core's.

use super::Ensemble;
use std::collections::BTreeMap;
use zebu_core::id::Zxid;
use zebu_core::proto::Request;

/// What a configuration's text says, as far as it matters: where each server is, who counts for what.
fn read(text: &str) -> (BTreeMap<i64, Vec<&str>>, Ensemble) {
    let place = |line| {
        let (sid, value) = server(line)?;
        Some((sid, value.split(';').next()?.split(':').take(3).collect()))
    };
    (text.lines().filter_map(place).collect(), Ensemble::parse(text))
}

fn server(line: &str) -> Option<(i64, &str)> {
    let (name, value) = line.trim().strip_prefix("server.")?.split_once('=')?;
    Some((name.parse().ok()?, value))
}

fn items(list: Option<&String>) -> impl Iterator<Item = &str> {
    list.into_iter().flat_map(|l| l.split(',')).map(str::trim).filter(|item| !item.is_empty())
}

/// The text of `zxid` is what `request` asks for where `before` is in force, which that zxid has made; `None`: it is the initial
/// one, whose number is that of some epoch.
pub(super) fn follows(
    request: &Request,
    before: (&str, Option<Zxid>),
    (zxid, text): (Zxid, &str),
) -> Result<(), String> {
    let Request::Reconfig { joining, leaving, new_members, config_id } = request else { return Ok(()) };
    let (old, made) = before;
    let is_that = made.map_or(Zxid(*config_id).counter() == 0, |made| made.0 == *config_id);
    if *config_id != -1 && !is_that {
        return Err(format!("is for version {config_id:x}, but was granted after {made:?}"));
    }
    let wanted = match new_members {
        Some(all) => all.replace(',', "\n"),
        None if Ensemble::parse(old).is_grouped() => return Err("changes groups piece by piece".to_owned()),
        None => {
            let leaves: Vec<i64> = items(leaving.as_ref()).filter_map(|sid| sid.parse().ok()).collect();
            let joins: Vec<&str> = items(joining.as_ref()).collect();
            let goes =
                |sid| leaves.contains(&sid) || joins.iter().filter_map(|j| server(j)).any(|j| j.0 == sid);
            let stays = old.lines().filter(|line| server(line).is_some_and(|(sid, _)| !goes(sid)));
            stays.chain(joins.iter().copied()).collect::<Vec<_>>().join("\n")
        }
    };
    let numbered = text.lines().any(|line| line == format!("version={:x}", zxid.0));
    match numbered && read(&wanted) == read(text) {
        true => Ok(()),
        false => Err(format!("asks for {wanted:?} after {old:?}, but the log has {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "server.1=a:1:2:participant;0.0.0.0:9\nserver.2=b:1:2:participant\nversion=100000003";
    const MADE: Option<Zxid> = Some(Zxid(0x1_0000_0003));
    const NEXT: Zxid = Zxid(0x1_0000_0007);

    fn asks(joining: &str, leaving: &str, new_members: Option<&str>, config_id: i64) -> Request {
        let some = |s: &str| (!s.is_empty()).then(|| s.to_owned());
        let new_members = new_members.map(str::to_owned);
        Request::Reconfig { joining: some(joining), leaving: some(leaving), new_members, config_id }
    }

    #[test]
    fn piece_by_piece() {
        let joins = asks("server.3=c:1:2:observer;9,server.2=d:1:2:participant;9", "1", None, -1);
        let good =
            "server.2=d:1:2:participant;0.0.0.0:9\nserver.3=c:1:2:observer;0.0.0.0:9\nversion=100000007";
        let judge = |text: &str| follows(&joins, (OLD, MADE), (NEXT, text)).is_ok();
        assert!(judge(good));
        for (from, to) in [
            ("observer", "participant"),
            ("=c", "=e"),
            ("=100000007", "=100000008"),
            ("server.2", "server.1"),
            ("\nserver.3=c:1:2:observer;0.0.0.0:9", ""),
        ] {
            assert!(!judge(&good.replace(from, to)), "{to}");
        }
        assert!(!judge(&format!("server.1=a:1:2:participant\n{good}")));
        let grouped = format!("{OLD}\ngroup.1=1:2");
        assert!(follows(&joins, (&grouped, MADE), (NEXT, good)).is_err());
    }

    #[test]
    fn as_a_whole_and_of_the_version_that_was_meant() {
        let all =
            "server.1=a:1:2:participant;9,server.2=b:1:2:participant;9,group.1=1:2,weight.1=3,weight.2=1";
        let text = "server.1=a:1:2:participant;0.0.0.0:9\nserver.2=b:1:2:participant;0.0.0.0:9\n\
                    group.1=1:2\nweight.1=3\nweight.2=1\nversion=100000007";
        let judge =
            |id, made, text: &str| follows(&asks("", "", Some(all), id), (OLD, made), (NEXT, text)).is_ok();
        assert!(judge(-1, MADE, text) && judge(0x1_0000_0003, MADE, text) && judge(1 << 32, None, text));
        assert!(
            !judge(0x1_0000_0002, MADE, text)
                && !judge(1 << 32, MADE, text)
                && !judge(0x1_0000_0003, None, text)
        );
        assert!(!judge(-1, MADE, &text.replace("weight.1=3", "weight.1=1")));
    }
}
