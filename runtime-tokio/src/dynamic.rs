//! What a reconfiguration asks of the driver: the dynamic configuration file, a zoo.cfg that names it, and listeners where the
//! new configuration has them. The core keeps what it needs in its own log; the files are for whoever reads them, first of all
//! for the next start. Answers to `QuorumPeer.setQuorumVerifier`, `QuorumPeerConfig.writeDynamicConfig` and `editStaticConfig`.

use crate::config::ServerConfig;
use crate::node::Node;
use crate::ports::{BIND_PAUSE, Place};
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Weak;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{error, info, warn};
use zebu_core::addr::Addr;
use zebu_core::properties;
use zebu_core::quorum::{ConfigRules, QuorumServer, QuorumVerifier};

/// Keeps files and listeners of a member.
pub(crate) struct Keeper {
    node: Weak<RefCell<Node>>,
    config: ServerConfig,
    rules: ConfigRules,
    listening: Vec<Place>,
    /// Those that could not be had yet.
    wanted: Vec<Place>,
}

impl Keeper {
    /// Of a member that listens in these places.
    pub(crate) fn new(node: Weak<RefCell<Node>>, config: ServerConfig, listening: Vec<Place>) -> Keeper {
        let rules = config.core.ensemble.as_ref().map_or(ConfigRules::default(), |e| e.rules);
        Keeper { node, config, rules, listening, wanted: Vec::new() }
    }

    /// Takes up one configuration after another.
    pub(crate) async fn run(mut self, mut texts: mpsc::UnboundedReceiver<String>) {
        loop {
            let text = match self.wanted.is_empty() {
                true => texts.recv().await,
                false => match timeout(BIND_PAUSE, texts.recv()).await {
                    Ok(text) => text,
                    Err(_) => {
                        self.listen().await;
                        continue;
                    }
                },
            };
            let Some(text) = text else { return };
            let Ok(members) = QuorumVerifier::parse(&text, self.rules) else {
                error!(%text, "the new configuration does not parse");
                continue;
            };
            let me = members.member(self.config.core.server_id).cloned();
            self.write(&members, me.as_ref()).await;
            if let Some(me) = me {
                self.move_to(&me).await;
            }
        }
    }

    async fn write(&self, members: &QuorumVerifier, me: Option<&QuorumServer>) {
        let Some(file) = self.config.file.clone() else { return };
        let client_moves = me.is_some_and(|me| me.client.is_some());
        let (text, shown) = (members.to_string(), file.display().to_string());
        let written = spawn_blocking(move || write_files(&file, &text, client_moves)).await;
        match written {
            Ok(Ok(dynamic)) => info!(file = %dynamic.display(), "the configuration is written"),
            Ok(Err(cause)) => error!(file = shown, %cause, "the new configuration cannot be written"),
            // The runtime is about to end.
            Err(_) => {}
        }
    }

    async fn move_to(&mut self, me: &QuorumServer) {
        let fixed = Addr::new(&self.config.client_addr.ip().to_string(), self.config.client_addr.port());
        let client = me.client.as_ref().unwrap_or(&fixed);
        let clients = Place::for_clients(client, self.config.listen_backlog);
        let master = self.config.core.ensemble.as_ref().and_then(|e| e.observer_master_port);
        self.wanted = Place::for_members(me, master, self.config.quorum_listen_on_all_ips);
        self.wanted.insert(0, clients);
        self.wanted.retain(|place| !self.listening.contains(place));
        self.listen().await;
    }

    /// Goes to the wanted places.
    async fn listen(&mut self) {
        for place in std::mem::take(&mut self.wanted) {
            // The new place may overlap with the old one.
            let Some(node) = self.node.upgrade() else { return };
            let closed = node.borrow_mut().close_ports(|port| port == place.port);
            for port in closed {
                // It has been aborted: there is no other way for it to end.
                let _ = port.await;
            }
            self.listening.retain(|l| l.port != place.port);
            let wanted = place.clone();
            let Ok(bound) = spawn_blocking(move || wanted.bind(1)).await else { return };
            let listeners =
                bound.map(|all| all.into_iter().map(|b| b.listen()).collect::<io::Result<Vec<_>>>());
            match listeners {
                Ok(Ok(listeners)) => {
                    info!(port = ?place.port, "listening where the new configuration says");
                    for listener in listeners {
                        node.borrow_mut().listen(listener, place.port);
                    }
                    self.listening.push(place);
                }
                Ok(Err(cause)) => {
                    warn!(port = ?place.port, %cause, "cannot listen; trying again");
                    self.wanted.push(place);
                }
                Err(cause) => {
                    warn!(%cause, "trying again");
                    self.wanted.push(place);
                }
            }
        }
    }
}

/// Writes `FILE.dynamic.VERSION` and lets the zoo.cfg `file` name it. Returns its path.
fn write_files(file: &Path, text: &str, client_moves: bool) -> io::Result<PathBuf> {
    let (mut lines, mut version) = (Vec::new(), "0");
    for line in text.lines() {
        match line.strip_prefix("version=") {
            Some(v) => version = v,
            None => lines.push(line),
        }
    }
    lines.sort();
    let file = file.canonicalize()?;
    let dynamic = with_suffix(&file, &format!(".dynamic.{version}"));
    replace(&dynamic, &lines.join("\n"))?;
    let bytes = fs::read(&file)?;
    let old = properties::decode(&bytes);
    let (kept, moved) = static_part(&old, client_moves);
    if moved {
        // Membership stood in it: that is worth keeping.
        replace(&with_suffix(&file, ".bak"), &old)?;
    }
    let named = dynamic.to_str().ok_or_else(|| io::Error::other("the path is no text"))?;
    let new = format!("{kept}dynamicConfigFile={}\n", named.replace('\\', "\\\\"));
    if new != old {
        replace(&file, &new)?;
    }
    match fs::remove_file(with_suffix(&file, ".dynamic.next")) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(dynamic),
    }
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A zoo.cfg without what belongs into the dynamic file, comments and all else as they were; and whether there were members
/// in it.
fn static_part(text: &str, client_moves: bool) -> (String, bool) {
    let (mut kept, mut moved) = (String::new(), false);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut entry = line.to_owned();
        let comment = line.trim_start().starts_with(['#', '!']);
        while !comment
            && entry.chars().rev().take_while(|&c| c == '\\').count() % 2 == 1
            && let Some(more) = lines.next()
        {
            entry.push('\n');
            entry.push_str(more);
        }
        let parsed = properties::parse(&entry).unwrap_or_default();
        let key = parsed.first().map_or("", |e| e.key.strip_prefix("zookeeper.").unwrap_or(&e.key));
        let member = ["server.", "group", "weight"].iter().any(|p| key.starts_with(p)) || key == "version";
        let client = key == "clientPort" || key == "clientPortAddress";
        moved |= member;
        if !(member || key == "dynamicConfigFile" || key == "peerType" || (client && client_moves)) {
            kept.push_str(&entry);
            kept.push('\n');
        }
    }
    (kept, moved)
}

/// Writes a file so that a crash leaves the old one or the new one.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let temp = with_suffix(file, ".tmp");
    let mut new = File::create(&temp)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    fs::rename(&temp, file)?;
    match file.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_as_zookeeper_does_and_comments_stay() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("zoo.cfg");
        let old = "# ours\ntickTime=7\nserver.1=a:1:2\nserver.2=b:\\\n  1:2\nclientPort=1\npeerType=observer\nweight.1=1\n\
            group.1=1:2\nclientPortListenBacklog=9";
        fs::write(&file, old).unwrap();
        fs::write(temp.path().join("zoo.cfg.dynamic.next"), "").unwrap();
        let text = "server.2=b:1:2:participant\nserver.10=c:1:2:participant\nversion=10000000a";
        let dynamic = write_files(&file, text, false).unwrap();
        assert_eq!(dynamic.file_name().unwrap(), "zoo.cfg.dynamic.10000000a");
        let read = |name: &str| fs::read_to_string(temp.path().join(name)).unwrap();
        assert_eq!(
            read("zoo.cfg.dynamic.10000000a"),
            "server.10=c:1:2:participant\nserver.2=b:1:2:participant"
        );
        assert_eq!(
            read("zoo.cfg"),
            format!(
                "# ours\ntickTime=7\nclientPort=1\nclientPortListenBacklog=9\ndynamicConfigFile={}\n",
                dynamic.display()
            )
        );
        assert_eq!(read("zoo.cfg.bak"), old);
        assert!(!temp.path().join("zoo.cfg.dynamic.next").exists());
        // The next one names another file, and the client port has moved.
        fs::remove_file(temp.path().join("zoo.cfg.bak")).unwrap();
        let dynamic = write_files(&file, "server.2=b:1:2:participant;3\nversion=20000000b", true).unwrap();
        assert_eq!(
            read("zoo.cfg"),
            format!(
                "# ours\ntickTime=7\nclientPortListenBacklog=9\ndynamicConfigFile={}\n",
                dynamic.display()
            )
        );
        assert!(!temp.path().join("zoo.cfg.bak").exists());
    }
}
