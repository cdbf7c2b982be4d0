//! The commands that talk to a server. Answers to `org.apache.zookeeper.cli`.

use super::words::{Flag, Given, flag, option, sort_out};
use super::{Done, complain, quota, say, show};
use crate::client::{Call, Zebu};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;
use zebu_core::path;
use zebu_core::proto::{Acl, AddWatchMode, CreateMode, ErrorCode, MAX_TTL, Request, WatcherType};

/// Every command and its arguments, sorted.
pub(super) const USAGE: &[(&str, &str)] = &[
    (
        "addWatch",
        "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - default is PERSISTENT_RECURSIVE",
    ),
    ("addauth", "scheme auth"),
    ("close", ""),
    ("config", "[-c] [-w] [-s]"),
    ("connect", "host:port"),
    ("create", "[-s] [-e] [-c] [-t ttl] path [data] [acl]"),
    ("delete", "[-v version] path"),
    ("deleteall", "path [-b batch size]"),
    ("delquota", "[-n|-b|-N|-B] path"),
    ("get", "[-s] [-w] [-b] [-x] path"),
    ("getAcl", "[-s] path"),
    ("getAllChildrenNumber", "path"),
    ("getEphemerals", "path"),
    ("history", ""),
    ("listquota", "path"),
    ("ls", "[-s] [-w] [-R] path"),
    ("printwatches", "on|off"),
    ("quit", ""),
    (
        "reconfig",
        "[-s] [-v version] [[-file path] | [-members serverID=host:port1:port2;port3[,...]*]] | \
         [-add serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]",
    ),
    ("redo", "cmdno"),
    ("removewatches", "path [-c|-d|-a] [-l]"),
    ("set", "path data [-s] [-v version] [-b]"),
    ("setAcl", "[-s] [-v version] [-R] path acl"),
    ("setquota", "-n|-b|-N|-B val path"),
    ("stat", "[-w] path"),
    ("sync", "path"),
    ("version", ""),
    ("whoami", ""),
];

/// How long `sync` waits.
const SYNC: Duration = Duration::from_secs(30);
/// Deletes in one multi of `deleteall`, and multis on their way at a time.
const BATCH: usize = 1000;
const BATCHES: usize = 10;
/// Reads on their way at a time while a tree is listed.
const READS: usize = 100;

/// Is there such a command?
pub(super) fn exists(name: &str) -> bool {
    name == "exit" || USAGE.iter().any(|(n, _)| *n == name)
}

/// Prints all commands.
pub(super) fn usage() {
    complain("ZooKeeper -server host:port -client-configuration properties-file cmd args");
    USAGE.iter().for_each(|(name, args)| complain(format!("\t{name} {args}")));
}

/// How a command is used.
fn usage_of(name: &str, explained: &[Flag]) -> String {
    let args = USAGE.iter().find(|(n, _)| *n == name).map_or("", |(_, args)| args);
    let mut text = format!("{name} {args}");
    let left: Vec<String> =
        explained.iter().map(|f| format!(" -{}{}", f.name, if f.value { " <arg>" } else { "" })).collect();
    let width = left.iter().map(String::len).max().unwrap_or(0);
    for (left, flag) in left.iter().zip(explained) {
        text += &format!("\n{left:<width$}   {}", flag.about);
    }
    if !explained.is_empty() {
        text.push('\n');
    }
    text
}

/// Runs a command on a session. Those of the shell itself do nothing here.
pub(super) async fn run(zebu: &Zebu, name: &str, words: &[String]) -> Done {
    match name {
        "addWatch" => add_watch(zebu, words).await,
        "addauth" => add_auth(zebu, words),
        "config" => config(zebu, words).await,
        "create" => create(zebu, words).await,
        "delete" => delete(zebu, words).await,
        "deleteall" => delete_all(zebu, words).await,
        "delquota" => quota::delete(zebu, words).await,
        "get" => get(zebu, words).await,
        "getAcl" => get_acl(zebu, words).await,
        "getAllChildrenNumber" => get_all_children_number(zebu, words).await,
        "getEphemerals" => get_ephemerals(zebu, words).await,
        "listquota" => quota::list(zebu, words).await,
        "ls" => ls(zebu, words).await,
        "reconfig" => reconfig(zebu, words).await,
        "removewatches" => remove_watches(zebu, words).await,
        "set" => set(zebu, words).await,
        "setAcl" => set_acl(zebu, words).await,
        "setquota" => quota::set(zebu, words).await,
        "stat" => stat(zebu, words).await,
        "sync" => sync(zebu, words).await,
        "version" => version(words),
        "whoami" => who_am_i(zebu).await,
        _ => Ok(()),
    }
}

/// A command's words, with at least `least` arguments.
pub(super) fn given(name: &str, words: &[String], known: &[Flag], least: usize) -> Done<Given> {
    let given = sort_out(words, known, false)?;
    if given.args.len() < least {
        return Err(usage_of(name, &[]).into());
    }
    Ok(given)
}

/// A call's outcome, its error in zkCli's words.
pub(super) async fn done<T>(call: Call<T>, path: &str) -> Done<T> {
    call.await.map_err(|code| show::error(code, Some(path)).into())
}

pub(super) fn valid(path: &str) -> Done {
    path::validate(path).map_err(|bad| bad.into())
}

fn number<T: std::str::FromStr>(text: &str) -> Done<T> {
    text.parse().map_err(|_| format!("For input string: \"{text}\"").into())
}

fn version_of(given: &Given) -> Done<i32> {
    given.value("v").map_or(Ok(-1), number)
}

/// `get path watch` and its like, from before there were options.
fn old_watch(name: &str, new: &str, given: &Given) -> bool {
    let old = given.args.len() > 1;
    if old {
        complain(format!("'{name} path [watch]' has been deprecated. Please use '{new}' instead."));
    }
    old || given.has("w")
}

async fn add_watch(zebu: &Zebu, words: &[String]) -> Done {
    let given = given("addWatch", words, &[option("m", "")], 1)?;
    let mode = match given.value("m").map(str::to_uppercase).as_deref() {
        None | Some("PERSISTENT_RECURSIVE") => Some(AddWatchMode::PersistentRecursive),
        Some("PERSISTENT") => Some(AddWatchMode::Persistent),
        Some(_) => None,
    };
    let ([path], Some(mode)) = (&given.args[..], mode) else { return Err(usage_of("addWatch", &[]).into()) };
    valid(path)?;
    done(zebu.add_watch(path, mode), path).await?.detach();
    Ok(())
}

fn add_auth(zebu: &Zebu, words: &[String]) -> Done {
    let given = given("addauth", words, &[], 1)?;
    let auth = given.args.get(1).cloned().unwrap_or_default();
    // Not waited for: a refusal ends the session, and its event says so.
    drop(zebu.add_auth(&given.args[0], auth.into()));
    Ok(())
}

async fn config(zebu: &Zebu, words: &[String]) -> Done {
    let known = [flag("s", "stats"), flag("w", "watch"), flag("c", "client connection string")];
    let given = given("config", words, &known, 0)?;
    let node = "/zookeeper/config";
    let (data, stat) = if given.has("w") {
        let (data, stat, watcher) = done(zebu.get_config_and_watch(), node).await?;
        watcher.detach();
        (data, stat)
    } else {
        done(zebu.get_config(), node).await?
    };
    let text = data.as_deref().map_or("null".into(), String::from_utf8_lossy);
    say(if given.has("c") { client_string(&text) } else { text.into_owned() });
    if given.has("s") {
        say(show::stat(&stat));
    }
    Ok(())
}

/// `<version> host:port,…`: what clients need of a configuration.
fn client_string(config: &str) -> String {
    let mut version = "";
    let mut addresses = Vec::new();
    for (key, value) in config.lines().filter_map(|line| line.split_once('=')) {
        match key.trim() {
            "version" => version = value.trim(),
            key if key.starts_with("server.") => {
                let client = value.trim().split_once(';').map(|(_, client)| client);
                addresses.extend(
                    client.map(|c| if c.contains(':') { c.to_owned() } else { format!("0.0.0.0:{c}") }),
                );
            }
            _ => {}
        }
    }
    format!("{version} {}", addresses.join(","))
}

async fn create(zebu: &Zebu, words: &[String]) -> Done {
    let known = [flag("e", ""), flag("s", ""), flag("c", ""), option("t", "")];
    let given = given("create", words, &known, 1)?;
    let (ephemeral, sequential, container) = (given.has("e"), given.has("s"), given.has("c"));
    if container && (ephemeral || sequential) {
        return Err(
            "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.".into()
        );
    }
    let ttl = given
        .value("t")
        .map(|text| text.parse().map_err(|_| "-t argument must be a long value"))
        .transpose()?;
    let mode = match (ttl, ephemeral, container, sequential) {
        (Some(_), true, _, _) => return Err("TTLs cannot be used with Ephemeral znodes".into()),
        (Some(_), false, true, _) => return Err("TTLs cannot be used with Container znodes".into()),
        (Some(_), false, false, false) => CreateMode::PersistentWithTtl,
        (Some(_), false, false, true) => CreateMode::PersistentSequentialWithTtl,
        (None, false, true, _) => CreateMode::Container,
        (None, true, _, false) => CreateMode::Ephemeral,
        (None, true, _, true) => CreateMode::EphemeralSequential,
        (None, false, false, false) => CreateMode::Persistent,
        (None, false, false, true) => CreateMode::PersistentSequential,
    };
    if ttl.is_some_and(|ttl| !(1..=MAX_TTL).contains(&ttl)) {
        return Err(format!("ttl must be positive and cannot be larger than: {MAX_TTL}").into());
    }
    let path = &given.args[0];
    let data = given.args.get(1).map(|data| Bytes::from(data.clone()));
    let acl = given.args.get(2).map_or(vec![Acl::open()], |text| show::parse_acl(text, &mut |c| complain(c)));
    valid(&if sequential { format!("{path}1") } else { path.clone() })?;
    let created = match ttl {
        Some(ttl) => zebu.create_ttl(path, data, acl, mode, ttl).await.map(|(path, _)| path),
        None => zebu.create(path, data, acl, mode).await,
    };
    let created = created.map_err(|code| {
        if code == ErrorCode::InvalidAcl {
            complain(show::keeper_error(code, Some(path)));
        } else if code == ErrorCode::EphemeralOnLocalSession {
            complain("Unable to create ephemeral node on a local session");
        }
        show::error(code, Some(path))
    })?;
    complain(format!("Created {created}"));
    Ok(())
}

async fn delete(zebu: &Zebu, words: &[String]) -> Done {
    let given = given("delete", words, &[option("v", "")], 1)?;
    if given.args.len() > 1 {
        complain(
            "'delete path [version]' has been deprecated. Please use 'delete [-v version] path' instead.",
        );
    }
    let path = &given.args[0];
    let version = version_of(&given)?;
    valid(path)?;
    done(zebu.delete(path, version), path).await
}

async fn delete_all(zebu: &Zebu, words: &[String]) -> Done {
    let given = given("deleteall", words, &[option("b", "")], 1)?;
    let batch = given.value("b").map_or(Ok(BATCH as i64), str::parse);
    let batch: i64 = batch.map_err(|_| "-b argument must be an int value")?;
    let path = &given.args[0];
    valid(path)?;
    let tree = tree(zebu, path).await?;
    let Some(batch) = usize::try_from(batch).ok().filter(|n| *n > 0) else {
        for node in tree.iter().rev() {
            done(zebu.delete(node, -1), node).await?;
        }
        return Ok(());
    };
    let mut flying = VecDeque::new();
    let mut ok = true;
    // From the end of the list: the leaves first.
    let mut batches = tree.rchunks(batch);
    loop {
        let next = if ok { batches.next() } else { None };
        if flying.len() == BATCHES || next.is_none() {
            let Some(oldest) = flying.pop_front() else { break };
            ok &= matches!(oldest.await, Ok(Ok(_)));
        }
        if let Some(nodes) = next {
            let delete = |node: &String| Request::Delete { path: node.clone(), version: -1 };
            flying.push_back(zebu.multi(nodes.iter().rev().map(delete).collect()));
        }
    }
    if !ok {
        complain("Failed to delete some node(s) in the subtree!");
    }
    Ok(())
}

/// A node and all below it, parents before children.
async fn tree(zebu: &Zebu, root: &str) -> Done<Vec<String>> {
    let mut tree = vec![root.to_owned()];
    let mut at = 0;
    while at < tree.len() {
        let end = tree.len().min(at + READS);
        let reads: Vec<_> = tree[at..end].iter().map(|node| zebu.get_children(node)).collect();
        for (i, read) in reads.into_iter().enumerate() {
            let node = tree[at + i].clone();
            let (names, _) = done(read, &node).await?;
            tree.extend(names.iter().map(|name| below(&node, name)));
        }
        at = end;
    }
    Ok(tree)
}

pub(super) fn below(node: &str, name: &str) -> String {
    format!("{}/{name}", if node == "/" { "" } else { node })
}

async fn get(zebu: &Zebu, words: &[String]) -> Done {
    let known = [
        flag("b", "Output data in base64 format"),
        flag("s", "Print znode stats additionally"),
        flag("w", "Watch for changes on the znode"),
        flag("x", "Output data in hexdump format"),
    ];
    let given = given("get", words, &known, 0)?;
    let Some(path) = given.args.first() else { return Err(usage_of("get", &known).into()) };
    let watch = old_watch("get", "get [-s] [-w] path", &given);
    valid(path)?;
    let (data, stat) = if watch {
        let (data, stat, watcher) = done(zebu.get_data_and_watch(path), path).await?;
        watcher.detach();
        (data, stat)
    } else {
        done(zebu.get_data(path), path).await?
    };
    let data = data.unwrap_or(Bytes::from_static(b"null"));
    if given.has("x") {
        say(show::hex_dump(&data));
    } else if given.has("b") {
        say(BASE64.encode(&data));
    } else {
        say(String::from_utf8_lossy(&data));
    }
    if given.has("s") {
        say(show::stat(&stat));
    }
    Ok(())
}

async fn get_acl(zebu: &Zebu, words: &[String]) -> Done {
    let given = given("getAcl", words, &[flag("s", "stats")], 1)?;
    let path = &given.args[0];
    valid(path)?;
    let (acl, stat) = done(zebu.get_acl(path), path).await?;
    acl.iter().for_each(|entry| say(show::acl(entry)));
    if given.has("s") {
        say(show::stat(&stat));
    }
    Ok(())
}

async fn get_all_children_number(zebu: &Zebu, words: &[String]) -> Done {
    let given = given("getAllChildrenNumber", words, &[], 1)?;
    let path = &given.args[0];
    valid(path)?;
    say(done(zebu.get_all_children_number(path), path).await?);
    Ok(())
}

async fn get_ephemerals(zebu: &Zebu, words: &[String]) -> Done {
    let given = given("getEphemerals", words, &[], 0)?;
    let prefix = given.args.first().map_or("/", String::as_str);
    valid(prefix)?;
    let paths = zebu.get_ephemerals(prefix).await.map_err(|code| show::error(code, None))?;
    say(format!("[{}]", paths.join(", ")));
    Ok(())
}

async fn ls(zebu: &Zebu, words: &[String]) -> Done {
    let known = [flag("?", "help"), flag("R", "recurse"), flag("s", "stat"), flag("w", "watch")];
    let given = given("ls", words, &known, 0)?;
    if given.has("?") {
        say("usage: ls [options] path");
        known.iter().for_each(|f| say(format!(" -{}   {}", f.name, f.about)));
    }
    let watch = old_watch("ls", "ls [-w] path", &given);
    let Some(path) = given.args.first() else { return Err(usage_of("ls", &[]).into()) };
    valid(path)?;
    if given.has("R") {
        let mut walk = Walk::begin(zebu, path, watch).await?;
        while let Some(path) = walk.next().await? {
            say(path);
        }
        return Ok(());
    }
    let (mut names, stat) =
        children(zebu, path, watch).await.map_err(|code| show::error(code, Some(path)))?;
    names.sort_unstable();
    say(format!("[{}]", names.join(", ")));
    if given.has("s") {
        say(show::stat(&stat));
    }
    Ok(())
}

async fn children(
    zebu: &Zebu,
    path: &str,
    watch: bool,
) -> Result<(Vec<String>, zebu_core::proto::Stat), ErrorCode> {
    if !watch {
        return zebu.get_children(path).await;
    }
    let (names, stat, watcher) = zebu.get_children_and_watch(path).await?;
    watcher.detach();
    Ok((names, stat))
}

/// Every node of a subtree: a node, then all of its children, then their subtrees. What goes meanwhile is passed over.
pub(super) struct Walk<'a> {
    zebu: &'a Zebu,
    watch: bool,
    found: VecDeque<String>,
    /// To be looked into, the next one last.
    unread: Vec<String>,
}

impl Walk<'_> {
    /// Fails if the root is not there.
    pub(super) async fn begin<'a>(zebu: &'a Zebu, root: &str, watch: bool) -> Done<Walk<'a>> {
        if watch {
            done(zebu.get_data_and_watch(root), root).await?.2.detach();
        } else {
            done(zebu.get_data(root), root).await?;
        }
        let root = root.to_owned();
        Ok(Walk { zebu, watch, found: VecDeque::from([root.clone()]), unread: vec![root] })
    }
    pub(super) async fn next(&mut self) -> Done<Option<String>> {
        loop {
            if let Some(path) = self.found.pop_front() {
                return Ok(Some(path));
            }
            let Some(node) = self.unread.pop() else { return Ok(None) };
            match children(self.zebu, &node, self.watch).await {
                Ok((mut names, _)) => {
                    names.sort_unstable();
                    self.found.extend(names.iter().map(|name| below(&node, name)));
                    self.unread.extend(self.found.iter().rev().cloned());
                }
                Err(ErrorCode::NoNode) => {}
                Err(code) => return Err(show::error(code, Some(&node)).into()),
            }
        }
    }
}

async fn reconfig(zebu: &Zebu, words: &[String]) -> Done {
    let known = [
        flag("s", "stats"),
        option("v", "required current config version"),
        option("file", "path of config file to parse for membership"),
        option("members", "comma-separated list of config strings for non-incremental reconfig"),
        option("add", "comma-separated list of config strings for new servers"),
        option("remove", "comma-separated list of server IDs to remove"),
    ];
    let given = given("reconfig", words, &known, 0)?;
    let (whole, part) = (given.has("file") || given.has("members"), given.has("add") || given.has("remove"));
    if !whole && !part {
        return Err(usage_of("reconfig", &[]).into());
    }
    let version = given.value("v").map_or(Ok(-1), |v| i64::from_str_radix(v, 16));
    let version = version.map_err(|_| "-v must be followed by a long (configuration version)")?;
    if whole && part {
        return Err("Can't use -file or -members together with -add or -remove (mixing incremental and \
                    non-incremental modes is not allowed)"
            .into());
    }
    if given.has("file") && given.has("members") {
        return Err("Can't use -file and -members together (conflicting non-incremental modes)".into());
    }
    let lower = |name: &str| given.value(name).map(str::to_lowercase);
    let members = match given.value("file") {
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|e| format!("Error processing {file}{e}"))?;
            let servers = text.lines().map(str::trim).filter(|line| line.starts_with("server."));
            Some(servers.collect::<Vec<_>>().join(","))
        }
        None => lower("members"),
    };
    let call = zebu.reconfig(lower("add"), lower("remove"), members, version);
    let (config, stat) = call.await.map_err(|code| show::error(code, None))?;
    say(format!("Committed new configuration:\n{}", String::from_utf8_lossy(&config.unwrap_or_default())));
    if given.has("s") {
        say(show::stat(&stat));
    }
    Ok(())
}

async fn remove_watches(zebu: &Zebu, words: &[String]) -> Done {
    let known = ["c", "d", "p", "r", "a", "l"].map(|name| flag(name, ""));
    let given = given("removewatches", words, &known, 1)?;
    let path = &given.args[0];
    let kinds = [
        ("c", WatcherType::Children),
        ("d", WatcherType::Data),
        ("p", WatcherType::Persistent),
        ("r", WatcherType::PersistentRecursive),
    ];
    let kind = kinds.iter().find(|(name, _)| given.has(name)).map_or(WatcherType::Any, |(_, kind)| *kind);
    valid(path)?;
    match zebu.remove_watches(path, kind).await {
        Ok(()) => Ok(()),
        // Whatever the server thinks of it.
        Err(_) if given.has("l") => {
            zebu.forget_watches(path, kind);
            Ok(())
        }
        Err(code) => Err(show::error(code, Some(path)).into()),
    }
}

async fn set(zebu: &Zebu, words: &[String]) -> Done {
    let known = [
        flag("b", "Supply data in base64 format"),
        flag("s", "Print znode stats additionally"),
        option("v", "Set with an expected version"),
    ];
    let given = given("set", words, &known, 0)?;
    let [path, data, ..] = &given.args[..] else { return Err(usage_of("set", &known).into()) };
    let data = if given.has("b") { Bytes::from(BASE64.decode(data)?) } else { Bytes::from(data.clone()) };
    let version = version_of(&given)?;
    valid(path)?;
    let stat = done(zebu.set_data(path, Some(data), version), path).await?;
    if given.has("s") {
        say(show::stat(&stat));
    }
    Ok(())
}

async fn set_acl(zebu: &Zebu, words: &[String]) -> Done {
    let known = [flag("s", "stats"), option("v", "version"), flag("R", "recursive")];
    let given = given("setAcl", words, &known, 2)?;
    let path = &given.args[0];
    let acl = show::parse_acl(&given.args[1], &mut |c| complain(c));
    let version = version_of(&given)?;
    valid(path)?;
    if given.has("R") {
        let mut walk = Walk::begin(zebu, path, false).await?;
        while let Some(node) = walk.next().await? {
            if let Err(code) = zebu.set_acl(&node, acl.clone(), version).await {
                say(show::keeper_error(code, Some(&node)));
            }
        }
        return Ok(());
    }
    let stat = done(zebu.set_acl(path, acl, version), path).await?;
    if given.has("s") {
        say(show::stat(&stat));
    }
    Ok(())
}

async fn stat(zebu: &Zebu, words: &[String]) -> Done {
    let given = given("stat", words, &[flag("w", "watch")], 1)?;
    let path = &given.args[0];
    let watch = old_watch("stat", "stat [-w] path", &given);
    valid(path)?;
    let stat = if watch {
        let (stat, watcher) = done(zebu.exists_and_watch(path), path).await?;
        watcher.detach();
        stat
    } else {
        done(zebu.exists(path), path).await?
    };
    say(show::stat(&stat.ok_or_else(|| show::error(ErrorCode::NoNode, Some(path)))?));
    Ok(())
}

async fn sync(zebu: &Zebu, words: &[String]) -> Done {
    let given = given("sync", words, &[], 1)?;
    let path = &given.args[0];
    valid(path)?;
    match tokio::time::timeout(SYNC, zebu.sync(path)).await? {
        Ok(()) => say("Sync is OK"),
        Err(code) => say(format!("Sync has failed. rc={}", code.code())),
    }
    Ok(())
}

fn version(words: &[String]) -> Done {
    let given = given("version", words, &[], 0)?;
    if !given.args.is_empty() {
        return Err(usage_of("version", &[]).into());
    }
    say(format!("ZooKeeper CLI version: 3.9.3 (zebu {})", env!("CARGO_PKG_VERSION")));
    Ok(())
}

async fn who_am_i(zebu: &Zebu) -> Done {
    let ids = zebu.who_am_i().await.map_err(|code| show::error(code, None))?;
    say("Auth scheme: User");
    ids.iter().for_each(|id| say(format!("{}: {}", id.scheme, id.user)));
    Ok(())
}
