//! `setquota`, `listquota`, `delquota`: quotas are nodes under /zookeeper/quota, and these commands edit them as such. Answers
//! to `SetQuotaCommand`, `ListQuotaCommand`, `DelQuotaCommand`, `Quotas` and `StatsTrack`.

use super::commands::{Walk, below, done, given, valid};
use super::words::{Flag, flag, option, sort_out};
use super::{Done, complain, say};
use crate::client::Zebu;
use bytes::Bytes;
use std::collections::BTreeMap;
use zebu_core::proto::{Acl, CreateMode, ErrorCode};

const ROOT: &str = "/zookeeper/quota";
const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

const OPTIONS: [(&str, &str, &str); 4] = [
    ("n", "count", "num soft quota"),
    ("b", "bytes", "bytes soft quota"),
    ("N", "countHardLimit", "num hard quota"),
    ("B", "byteHardLimit", "bytes hard quota"),
];

/// Where the quota of a node lies.
fn home(path: &str) -> String {
    format!("{ROOT}{path}")
}

/// `count=3,bytes=-1=;byteHardLimit=-1;countHardLimit=-1`; -1 is no limit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Track(BTreeMap<String, i64>);

impl Track {
    fn parse(data: Option<&[u8]>) -> Done<Track> {
        let text = String::from_utf8_lossy(data.unwrap_or_default());
        let mut track = Track::default();
        for pair in text.split([',', ';']).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("not a quota: {text}"))?;
            // Java hides what came later from its older self behind one more "=".
            let value = value.trim_end_matches('=');
            let value = if value.is_empty() { Ok(-1) } else { value.parse() };
            track.0.insert(key.to_owned(), value.map_err(|_| format!("not a quota: {text}"))?);
        }
        Ok(track)
    }
    fn of(pairs: &[(&str, i64)]) -> Track {
        Track(pairs.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect())
    }
    fn value(&self, key: &str) -> i64 {
        self.0.get(key).copied().unwrap_or(-1)
    }
    fn text(&self) -> String {
        let mut text = format!("count={},bytes={}", self.value("count"), self.value("bytes"));
        let others: Vec<_> =
            self.0.iter().filter(|(key, _)| !["count", "bytes"].contains(&key.as_str())).collect();
        if !others.is_empty() {
            text.push('=');
        }
        for (key, value) in others {
            text += &format!(";{key}={value}");
        }
        text
    }
    fn data(&self) -> Option<Bytes> {
        Some(Bytes::from(self.text()))
    }
    /// Warns of limits that are passed already.
    fn compare(&self, stats: &Track) {
        let below = |limit: i64, used: i64| limit > -1 && limit < used;
        for (soft, hard) in [("count", "countHardLimit"), ("bytes", "byteHardLimit")] {
            let used = stats.value(soft);
            if below(self.value(soft), used) || below(self.value(hard), used) {
                say(format!(
                    "[Warning]: the {soft} quota you create is less than the existing {soft}:{used}"
                ));
            }
        }
    }
}

async fn read(zebu: &Zebu, path: &str) -> Done<Track> {
    Track::parse(done(zebu.get_data(path), path).await?.0.as_deref())
}

pub(super) async fn list(zebu: &Zebu, words: &[String]) -> Done {
    let given = given("listquota", words, &[], 1)?;
    let path = &given.args[0];
    let limits = below(&home(path), LIMITS);
    complain(format!("absolute path is {limits}"));
    valid(&limits)?;
    for (what, node) in [("quota", limits), ("stat", below(&home(path), STATS))] {
        match zebu.get_data(&node).await {
            Ok((data, _)) => {
                say(format!("Output {what} for {path} {}", Track::parse(data.as_deref())?.text()));
            }
            Err(ErrorCode::NoNode) => {
                complain(format!("quota for {path} does not exist."));
                break;
            }
            Err(code) => return Err(super::show::error(code, Some(&node)).into()),
        }
    }
    Ok(())
}

pub(super) async fn set(zebu: &Zebu, words: &[String]) -> Done {
    let known = OPTIONS.map(|(name, _, about)| option(name, about));
    let given = sort_out(words, &known, true)?;
    let Some((name, key, _)) = OPTIONS.iter().find(|(name, _, _)| given.has(name)) else {
        let group: Vec<String> = OPTIONS.iter().map(|(name, _, about)| format!("-{name} {about}")).collect();
        return Err(format!(
            "org.apache.commons.cli.MissingOptionException: Missing required option: [{}]",
            group.join(", ")
        )
        .into());
    };
    let Some(path) = given.args.first() else { return Err("setquota -n|-b|-N|-B val path".into()) };
    if path.starts_with(ROOT) {
        complain(format!("cannot set a quota under the path: {ROOT}"));
        return Ok(());
    }
    let (what, least, least_text) = match *name {
        "n" | "N" => ("num", 1, "greater than zero"),
        _ => ("bytes", 0, "greater than or equal to zero"),
    };
    match given.value(name).unwrap_or_default().parse::<i64>() {
        Ok(limit) if limit >= least => create(zebu, path, key, limit).await,
        Ok(_) => {
            complain(format!("the {what} quota must be {least_text}"));
            Ok(())
        }
        Err(_) => {
            complain("NumberFormatException happens when parsing the option value");
            Ok(())
        }
    }
}

/// Sets one limit; the first one makes the nodes.
async fn create(zebu: &Zebu, path: &str, key: &str, limit: i64) -> Done {
    valid(path)?;
    if done(zebu.exists(path), path).await?.is_none() {
        return Err(format!("{path} does not exist.").into());
    }
    refuse_nesting(zebu, path).await?;
    let mut node = ROOT.to_owned();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        node = below(&node, name);
        make(zebu, &node, None).await?;
    }
    let (limits, stats) = (below(&node, LIMITS), below(&node, STATS));
    if done(zebu.exists(&limits), &limits).await?.is_none() {
        let mut track = Track::of(&OPTIONS.map(|(_, key, _)| (key, -1)));
        track.0.insert(key.to_owned(), limit);
        make(zebu, &limits, track.data()).await?;
        make(zebu, &stats, Track::of(&[("count", 0), ("bytes", 0)]).data()).await?;
        read(zebu, &limits).await?.compare(&read(zebu, &stats).await?);
    } else {
        let mut track = read(zebu, &limits).await?;
        track.0.insert(key.to_owned(), limit);
        track.compare(&read(zebu, &stats).await?);
        done(zebu.set_data(&limits, track.data(), -1), &limits).await?;
    }
    Ok(())
}

async fn make(zebu: &Zebu, node: &str, data: Option<Bytes>) -> Done {
    match zebu.create(node, data, vec![Acl::open()], CreateMode::Persistent).await {
        Ok(_) | Err(ErrorCode::NodeExists) => Ok(()),
        Err(code) => Err(super::show::error(code, Some(node)).into()),
    }
}

/// A node has no quota if one above or below it has.
async fn refuse_nesting(zebu: &Zebu, path: &str) -> Done {
    let own = home(path);
    let limits = |node: &str| below(node, LIMITS);
    if done(zebu.exists(&own), &own).await?.is_some() {
        let mut walk = Walk::begin(zebu, &own, false).await?;
        while let Some(node) = walk.next().await? {
            let quota = node.strip_suffix(LIMITS).map(|n| n.trim_end_matches('/'));
            if let Some(quota) = quota.filter(|quota| *quota != own) {
                return Err(format!("{path} has a child {} which has a quota", &quota[ROOT.len()..]).into());
            }
        }
    }
    let mut above = own.as_str();
    while let Some((parent, _)) = above.rsplit_once('/').filter(|(parent, _)| parent.len() > ROOT.len()) {
        above = parent;
        if done(zebu.exists(&limits(parent)), parent).await?.is_some() {
            return Err(format!("{path} has a parent {} which has a quota", &parent[ROOT.len()..]).into());
        }
    }
    Ok(())
}

pub(super) async fn delete(zebu: &Zebu, words: &[String]) -> Done {
    let known: [Flag; 4] = OPTIONS.map(|(name, _, about)| flag(name, about));
    let given = sort_out(words, &known, true)?;
    let Some(path) = given.args.first() else { return Err("delquota [-n|-b|-N|-B] path".into()) };
    let limits = below(&home(path), LIMITS);
    valid(&limits)?;
    if done(zebu.exists(&limits), &limits).await?.is_none() {
        say(format!("Quota does not exist for {path}"));
        return Ok(());
    }
    if let Some((_, key, _)) = OPTIONS.iter().find(|(name, _, _)| given.has(name)) {
        let mut track = read(zebu, &limits).await?;
        track.0.insert((*key).to_owned(), -1);
        done(zebu.set_data(&limits, track.data(), -1), &limits).await?;
        return Ok(());
    }
    let mut node = home(path);
    for name in done(zebu.get_children(&node), &node).await?.0 {
        let child = below(&node, &name);
        done(zebu.delete(&child, -1), &child).await?;
    }
    // What lies above goes too while it is empty.
    while node.len() > ROOT.len() && done(zebu.get_children(&node), &node).await?.0.is_empty() {
        done(zebu.delete(&node, -1), &node).await?;
        node.truncate(node.rfind('/').expect("a path below the root of all quotas"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracks_are_read_and_written_as_java_does() {
        let text = "count=3,bytes=-1=;byteHardLimit=-1;countHardLimit=7";
        let track = Track::parse(Some(text.as_bytes())).unwrap();
        assert_eq!((track.value("count"), track.value("countHardLimit")), (3, 7));
        assert_eq!(track.text(), text);
        assert_eq!(Track::parse(None).unwrap().text(), "count=-1,bytes=-1");
        assert!(Track::parse(Some(b"count=x")).is_err());
        assert!(Track::parse(Some(b"count")).is_err());
    }
}
