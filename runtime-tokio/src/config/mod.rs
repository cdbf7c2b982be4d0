//! zoo.cfg: a file in ZooKeeper's syntax becomes settings, warnings, or one typed error that says what to do. Knows no
//! sockets and opens nothing but the file itself and those that [`ensemble`] names. Answers to `QuorumPeerConfig` and `ServerConfig`.

mod ensemble;
mod error;
mod keys;

pub use error::{ConfigError, MyIdFault, Warning, WarningKind};

use ensemble::{Membership, Part};
use keys::Fate;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use zebu_core::addr::Addr;
use zebu_core::config::{Config, FourLetterWords};
use zebu_core::properties::{self, Entry};

/// All that a server is started with.
#[derive(Clone, PartialEq, Debug)]
pub struct ServerConfig {
    /// What the core is told. Its `host` is filled in when the server starts.
    pub core: Config,
    /// dataDir: snapshots; the files lie in its folder `version-2`.
    pub data_dir: PathBuf,
    /// dataLogDir: the transaction log; the same as `data_dir` unless set.
    pub data_log_dir: PathBuf,
    /// Where clients connect. Port 0 takes a free one.
    pub client_addr: SocketAddr,
    /// clientPortListenBacklog; -1: the system's.
    pub listen_backlog: i32,
    /// datadir.autocreate: make missing folders.
    pub autocreate: bool,
    /// quorumListenOnAllIPs: a member listens for the others on every interface, not only at the address of its line.
    pub quorum_listen_on_all_ips: bool,
    /// electionPortBindRetry: how often a taken election port is tried again; 0: for ever.
    pub election_port_bind_retry: u32,
    /// The zoo.cfg that all of this was read from: reconfigurations are written beside it.
    pub file: Option<PathBuf>,
    /// Write all that the server is told to this file, for `zebu-sim replay`.
    pub record: Option<PathBuf>,
}

impl ServerConfig {
    /// A server with ZooKeeper's defaults.
    pub fn new(client_addr: SocketAddr, data_dir: impl Into<PathBuf>) -> ServerConfig {
        let data_dir = data_dir.into();
        ServerConfig {
            core: Config::default(),
            data_log_dir: data_dir.clone(),
            data_dir,
            client_addr,
            listen_backlog: -1,
            autocreate: true,
            quorum_listen_on_all_ips: false,
            election_port_bind_retry: 3,
            file: None,
            record: None,
        }
    }

    /// What `zebu` without a file does: serve this machine only, with every four-letter word on.
    pub fn local() -> ServerConfig {
        let addr = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 2181);
        let mut config = ServerConfig::new(addr, "./zebu-data");
        config.core.four_letter_words = FourLetterWords::All;
        config
    }

    /// Reads a zoo.cfg.
    pub fn load(file: &Path) -> Result<(ServerConfig, Vec<Warning>), ConfigError> {
        let bytes = std::fs::read(file)
            .map_err(|e| ConfigError::Unreadable { file: file.to_owned(), cause: e.to_string() })?;
        ServerConfig::parse(file, &bytes)
    }

    /// Reads the content of a zoo.cfg; `file` is for messages, and says where the others lie.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<(ServerConfig, Vec<Warning>), ConfigError> {
        let entries = properties::parse(&properties::decode(bytes))
            .map_err(|e| ConfigError::BadEscape { file: file.to_owned(), line: e.line })?;
        let mut reader = Reader { file, seen: BTreeMap::new(), warnings: Vec::new() };
        let mut draft = Draft::default();
        for entry in &entries {
            reader.note_duplicate(entry);
            draft.take(&mut reader, entry)?;
        }
        let config = draft.finish(&mut reader)?;
        Ok((config, reader.warnings))
    }
}

/// Reads values; knows where each came from.
struct Reader<'a> {
    file: &'a Path,
    seen: BTreeMap<String, usize>,
    warnings: Vec<Warning>,
}

impl Reader<'_> {
    fn invalid(&self, entry: &Entry, want: impl Into<String>) -> ConfigError {
        ConfigError::Invalid {
            file: self.file.to_owned(),
            line: entry.line,
            key: entry.key.clone(),
            value: entry.value.clone(),
            want: want.into(),
        }
    }

    fn warn(&mut self, entry: &Entry, kind: WarningKind) {
        self.warnings.push(Warning { line: entry.line, key: entry.key.clone(), kind });
    }

    fn note_duplicate(&mut self, entry: &Entry) {
        if let Some(first) = self.seen.insert(entry.key.clone(), entry.line) {
            self.warn(entry, WarningKind::Duplicate { first });
        }
    }

    /// A whole number in a range.
    fn number<T: TryFrom<i64>>(&self, entry: &Entry, min: i64, max: i64) -> Result<T, ConfigError> {
        let number = entry.value.parse::<i64>().ok().filter(|n| (min..=max).contains(n));
        number
            .and_then(|n| T::try_from(n).ok())
            .ok_or_else(|| self.invalid(entry, format!("give a whole number from {min} to {max}")))
    }

    /// `true` or `false`, as Java reads the keys that it checks.
    fn boolean(&self, entry: &Entry) -> Result<bool, ConfigError> {
        match entry.value.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.invalid(entry, "choose true or false")),
        }
    }

    /// `yes` or `no`, which a few of ZooKeeper's keys use.
    fn yes(&self, entry: &Entry) -> Result<bool, ConfigError> {
        match entry.value.to_ascii_lowercase().as_str() {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err(self.invalid(entry, "choose yes or no")),
        }
    }

    fn folder(&mut self, entry: &Entry) -> Result<PathBuf, ConfigError> {
        if entry.value.is_empty() {
            return Err(self.invalid(entry, "give the path of a folder"));
        }
        if !entry.value.starts_with(['/', '.']) {
            self.warn(entry, WarningKind::RelativePath);
        }
        Ok(PathBuf::from(&entry.value))
    }
}

/// What the lines said so far.
struct Draft {
    core: Config,
    min_session_timeout: Option<(Entry, i32)>,
    max_session_timeout: Option<i32>,
    data_dir: Option<PathBuf>,
    data_log_dir: Option<PathBuf>,
    client_port: Option<(Entry, u16)>,
    client_port_address: Option<Entry>,
    listen_backlog: i32,
    autocreate: bool,
    read_only_mode: bool,
    admin_server_off: bool,
    membership: Membership,
}

impl Default for Draft {
    fn default() -> Draft {
        Draft {
            // ZooKeeper's default tickTime is 3000, its sample file says 2000.
            core: Config { tick_ms: 3000, ..Config::default() },
            min_session_timeout: None,
            max_session_timeout: None,
            data_dir: None,
            data_log_dir: None,
            client_port: None,
            client_port_address: None,
            listen_backlog: -1,
            autocreate: true,
            read_only_mode: false,
            admin_server_off: false,
            membership: Membership::default(),
        }
    }
}

const INT_MAX: i64 = i32::MAX as i64;
/// Java's autopurge keeps at least so many snapshots.
const MIN_SNAP_RETAIN_COUNT: usize = 3;

impl Draft {
    fn take(&mut self, r: &mut Reader<'_>, e: &Entry) -> Result<(), ConfigError> {
        // Keys that ZooKeeper turns into system properties may be written with the prefix of those, too.
        let key = e.key.strip_prefix("zookeeper.").unwrap_or(&e.key);
        if self.take_server_key(r, key, e)?
            || self.take_core_key(r, key, e)?
            || self.membership.take(r, key, e)?
        {
            return Ok(());
        }
        match keys::fate(key) {
            Some(Fate::NoEffect) => {}
            Some(Fate::NotYet) => r.warn(e, WarningKind::NotYet),
            Some(Fate::Protection) => {
                if r.boolean(e)? {
                    return Err(ConfigError::Protection {
                        file: r.file.to_owned(),
                        line: e.line,
                        key: e.key.clone(),
                    });
                }
            }
            None => r.warn(e, WarningKind::Unknown),
        }
        Ok(())
    }

    /// Keys of the process around the core. True: it was one.
    fn take_server_key(&mut self, r: &mut Reader<'_>, key: &str, e: &Entry) -> Result<bool, ConfigError> {
        match key {
            "dataDir" => self.data_dir = Some(r.folder(e)?),
            "dataLogDir" => self.data_log_dir = Some(r.folder(e)?),
            "clientPort" => self.client_port = Some((e.clone(), r.number(e, 0, 65_535)?)),
            "clientPortAddress" => self.client_port_address = Some(e.clone()),
            "clientPortListenBacklog" => self.listen_backlog = r.number(e, -1, INT_MAX)?,
            "datadir.autocreate" => self.autocreate = r.boolean(e)?,
            "readonlymode.enabled" => self.read_only_mode = r.boolean(e)?,
            "admin.enableServer" => {
                self.admin_server_off = !r.boolean(e)?;
                if !self.admin_server_off {
                    r.warn(e, WarningKind::NotYet);
                }
            }
            // With the admin server off, its other keys mean nothing.
            _ if key.starts_with("admin.") && self.admin_server_off => {}
            "forceSync" => {
                if !r.yes(e)? {
                    r.warn(e, WarningKind::AlwaysSyncs);
                }
            }
            "snapshot.compression.method" => {
                if !e.value.is_empty() {
                    r.warn(e, WarningKind::NotYet);
                }
            }
            "DigestAuthenticationProvider.enabled" => {
                if !r.boolean(e)? {
                    r.warn(e, WarningKind::NotYet);
                }
            }
            "DigestAuthenticationProvider.digestAlg" => {
                if e.value != "SHA1" {
                    return Err(r.invalid(e, "only SHA1 is supported so far: remove the line"));
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Keys that the core acts on. True: it was one.
    fn take_core_key(&mut self, r: &mut Reader<'_>, key: &str, e: &Entry) -> Result<bool, ConfigError> {
        let c = &mut self.core;
        match key {
            "tickTime" => c.tick_ms = r.number(e, 1, INT_MAX / 20)?,
            "minSessionTimeout" => self.min_session_timeout = Some((e.clone(), r.number(e, -1, INT_MAX)?)),
            "maxSessionTimeout" => self.max_session_timeout = Some(r.number(e, -1, INT_MAX)?),
            "maxClientCnxns" => c.max_client_cnxns = r.number::<i64>(e, -1, INT_MAX)?.max(0) as u32,
            "maxCnxns" => c.max_cnxns = r.number::<i64>(e, -1, INT_MAX)?.max(0) as u32,
            "globalOutstandingLimit" => c.global_outstanding_limit = r.number(e, 1, INT_MAX)?,
            "jute.maxbuffer" => {
                c.max_frame = r.number(e, 1024, INT_MAX)?;
                r.warn(e, WarningKind::HonouredHere);
            }
            "snapCount" => c.snap_count = r.number(e, 2, INT_MAX)?,
            "snapSizeLimitInKb" => c.snap_size_limit = kib(r.number(e, -1, i64::MAX >> 10)?),
            "txnLogSizeLimitInKb" => c.log_size_limit = kib(r.number(e, -1, i64::MAX >> 10)?),
            "digest.enabled" => c.digest_enabled = r.boolean(e)?,
            "extendedTypesEnabled" => c.extended_types = r.boolean(e)?,
            "skipACL" => c.skip_acl = r.yes(e)?,
            "snapshot.trust.empty" => c.trust_empty_snapshot = r.boolean(e)?,
            "DigestAuthenticationProvider.superDigest" => c.super_digest = Some(super_digest(r, e)?),
            "4lw.commands.whitelist" => c.four_letter_words = four_letter_words(&e.value),
            "autopurge.snapRetainCount" => {
                c.snap_retain_count = r.number(e, 0, INT_MAX)?;
                if c.snap_retain_count < MIN_SNAP_RETAIN_COUNT {
                    c.snap_retain_count = MIN_SNAP_RETAIN_COUNT;
                    r.warn(e, WarningKind::Raised { to: MIN_SNAP_RETAIN_COUNT as i64 });
                }
            }
            "autopurge.purgeInterval" => {
                c.purge_interval_h = r.number::<i64>(e, -1, INT_MAX)?.max(0) as u64;
            }
            "znode.container.checkIntervalMs" => c.container_check_ms = r.number(e, 1, INT_MAX)?,
            "znode.container.maxPerMinute" => c.container_max_per_minute = r.number(e, 1, INT_MAX)?,
            "znode.container.maxNeverUsedIntervalMs" => {
                c.container_max_never_used_ms = r.number(e, 0, i64::MAX)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(mut self, r: &mut Reader<'_>) -> Result<ServerConfig, ConfigError> {
        self.session_timeouts(r)?;
        if self.read_only_mode {
            enable_word(&mut self.core.four_letter_words, "isro");
        }
        let missing = |key, hint| ConfigError::Missing { file: r.file.to_owned(), key, hint };
        let no_data_dir = missing("dataDir", "add a line such as dataDir=/var/lib/zookeeper");
        let no_client_port = missing("clientPort", "add a line such as clientPort=2181");
        let data_dir = self.data_dir.take().ok_or(no_data_dir)?;
        let membership = std::mem::take(&mut self.membership);
        let (listen_on_all, bind_retry) = (membership.listen_on_all, membership.bind_retry);
        let own_line = match membership.finish(r, &data_dir, self.core.extended_types, self.read_only_mode)? {
            // A standalone server need not know that the line is its own.
            Part::Standalone(line) => line.filter(|_| self.client_port.is_none()),
            Part::Member(me, config) => {
                self.core.server_id = me;
                let own_line = config.members.member(me).cloned();
                self.core.ensemble = Some(*config);
                own_line
            }
        };
        let client_addr = match own_line.and_then(|line| line.client) {
            Some(addr) => self.client_addr_of_line(r, &addr)?,
            None => match &self.client_port {
                Some((_, port)) => SocketAddr::new(self.client_ip(r)?, *port),
                None => return Err(no_client_port),
            },
        };
        Ok(ServerConfig {
            core: self.core,
            data_log_dir: self.data_log_dir.unwrap_or_else(|| data_dir.clone()),
            data_dir,
            client_addr,
            listen_backlog: self.listen_backlog,
            autocreate: self.autocreate,
            quorum_listen_on_all_ips: listen_on_all,
            election_port_bind_retry: bind_retry,
            file: Some(r.file.to_owned()),
            record: None,
        })
    }

    /// Their defaults hang on tickTime, wherever its line stands; -1 means the default.
    fn session_timeouts(&mut self, r: &Reader<'_>) -> Result<(), ConfigError> {
        let ticks =
            |n: u64| i32::try_from(self.core.tick_ms * n).expect("tickTime is bounded by i32::MAX / 20");
        let max = self.max_session_timeout.filter(|&ms| ms >= 0).unwrap_or(ticks(20));
        let min = match &self.min_session_timeout {
            Some((entry, ms)) if *ms > max => {
                return Err(r.invalid(entry, format!("it must not exceed maxSessionTimeout, which is {max}")));
            }
            Some((_, ms)) if *ms >= 0 => *ms,
            _ => ticks(2).min(max),
        };
        self.core.min_session_timeout_ms = min;
        self.core.max_session_timeout_ms = max;
        Ok(())
    }

    fn client_ip(&self, r: &Reader<'_>) -> Result<IpAddr, ConfigError> {
        match &self.client_port_address {
            // Java's wildcard address takes IPv4 and IPv6; so does ours, on systems that have both.
            None => Ok(Ipv6Addr::UNSPECIFIED.into()),
            Some(entry) => resolve(r, entry, &entry.value),
        }
    }

    /// The part behind `;` of this server's line. clientPort may say the same, or the same port of every address.
    fn client_addr_of_line(&self, r: &Reader<'_>, addr: &Addr) -> Result<SocketAddr, ConfigError> {
        let ip = match addr.is_wildcard() {
            true => Some(Ipv6Addr::UNSPECIFIED.into()),
            false => lookup(&addr.host),
        };
        let ip = ip.ok_or_else(|| ConfigError::ClientAddr { file: r.file.to_owned(), addr: addr.clone() })?;
        if let Some((entry, port)) = self.client_port.as_ref().filter(|(_, port)| *port != 0) {
            let said = self.client_ip(r)?;
            if *port != addr.port || !(said.is_unspecified() || said == ip) {
                let want = format!("the line of this server says {addr}; remove one of the two");
                return Err(r.invalid(entry, want));
            }
        }
        Ok(SocketAddr::new(ip, addr.port))
    }
}

/// A host name becomes its first address.
fn lookup(host: &str) -> Option<IpAddr> {
    let mut found = (host.trim(), 0).to_socket_addrs().ok()?;
    found.next().map(|addr| addr.ip())
}

fn resolve(r: &Reader<'_>, entry: &Entry, host: &str) -> Result<IpAddr, ConfigError> {
    lookup(host).ok_or_else(|| r.invalid(entry, "give an address or a host name that this machine resolves"))
}

/// 0 and below: no limit.
fn kib(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0) << 10
}

fn super_digest(r: &Reader<'_>, entry: &Entry) -> Result<String, ConfigError> {
    if entry.value.starts_with("super:") {
        Ok(entry.value.clone())
    } else {
        Err(r.invalid(entry, "give super:<base64 of the SHA-1 of super:password>"))
    }
}

fn four_letter_words(value: &str) -> FourLetterWords {
    let words: Vec<String> =
        value.split(',').map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect();
    if words.iter().any(|w| w == "*") { FourLetterWords::All } else { FourLetterWords::Only(words) }
}

fn enable_word(words: &mut FourLetterWords, word: &str) {
    match words {
        FourLetterWords::Only(list) if !list.iter().any(|w| w == word) => list.push(word.to_owned()),
        FourLetterWords::Only(_) | FourLetterWords::All => {}
    }
}

#[cfg(test)]
mod tests;
