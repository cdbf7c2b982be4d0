//! The part of a zoo.cfg that makes a server a member of an ensemble: the members' lines, here or in a dynamic file, which of
//! them this server is, and the limits of the protocol among them. Opens the dynamic file, its `.next` and `myid`, nothing
//! else. Answers to `QuorumPeerConfig.setupQuorumPeerConfig`.

use super::{ConfigError, MyIdFault, Reader, WarningKind};
use std::path::{Path, PathBuf};
use zebu_core::config::{ElectionTimes, EnsembleConfig};
use zebu_core::id::ServerId;
use zebu_core::properties::{self, Entry};
use zebu_core::quorum::{BadConfig, ConfigRules, LearnerType, QuorumServer, QuorumVerifier};

const INT_MAX: i64 = i32::MAX as i64;
/// Java keeps no fewer transactions for learners.
const MIN_COMMIT_LOG_COUNT: usize = 500;
/// Java takes its default in place of a larger one.
const MAX_FACTOR: f64 = 1.0;
/// Of two bytes of the session id one belongs to local sessions when TTL nodes are on.
const MAX_SID_WITH_EXTENDED_TYPES: i64 = 254;

/// What the lines said so far.
pub(super) struct Membership {
    /// `server.N`, `group.N`, `weight.N`, `version`.
    lines: Vec<Entry>,
    dynamic_file: Option<Entry>,
    init_limit: u64,
    sync_limit: u64,
    peer_type: Option<(Entry, LearnerType)>,
    rules: ConfigRules,
    reconfig_enabled: bool,
    local_sessions: bool,
    local_upgrading: bool,
    election: ElectionTimes,
    commit_log_count: Option<usize>,
    /// `None`: not said.
    snapshot_size_factor: Option<Option<u64>>,
    force_snapshot_sync: bool,
    /// 0: none.
    observer_master_port: u16,
    observer_size_limit: Option<usize>,
    leader_serves: bool,
    max_time_to_wait_for_epoch_ms: Option<u64>,
    /// A protection among members that is switched on.
    protection: Option<Entry>,
    /// quorumListenOnAllIPs.
    pub(super) listen_on_all: bool,
    /// electionPortBindRetry.
    pub(super) bind_retry: u32,
}

impl Default for Membership {
    fn default() -> Membership {
        Membership {
            lines: Vec::new(),
            dynamic_file: None,
            init_limit: 0,
            sync_limit: 0,
            peer_type: None,
            rules: ConfigRules::default(),
            reconfig_enabled: false,
            local_sessions: false,
            local_upgrading: false,
            election: ElectionTimes::default(),
            commit_log_count: None,
            snapshot_size_factor: None,
            force_snapshot_sync: false,
            observer_master_port: 0,
            observer_size_limit: None,
            leader_serves: true,
            max_time_to_wait_for_epoch_ms: None,
            protection: None,
            listen_on_all: false,
            bind_retry: 3,
        }
    }
}

/// What the lines make of this server.
pub(super) enum Part {
    /// There may be one line all the same.
    Standalone(Option<QuorumServer>),
    Member(ServerId, Box<EnsembleConfig>),
}

impl Membership {
    /// True: the key was one of these.
    pub(super) fn take(&mut self, r: &mut Reader<'_>, key: &str, e: &Entry) -> Result<bool, ConfigError> {
        match key {
            "dynamicConfigFile" => self.dynamic_file = Some(e.clone()),
            "initLimit" => self.init_limit = r.number(e, 0, INT_MAX)?,
            "syncLimit" => self.sync_limit = r.number(e, 0, INT_MAX)?,
            "electionAlg" => {
                if r.number::<i64>(e, 0, INT_MAX)? != 3 {
                    return Err(r.invalid(e, "only 3, fast leader election, is supported"));
                }
            }
            "peerType" => {
                let role = match e.value.to_ascii_lowercase().as_str() {
                    "observer" => LearnerType::Observer,
                    "participant" => LearnerType::Participant,
                    _ => return Err(r.invalid(e, "choose participant or observer")),
                };
                self.peer_type = Some((e.clone(), role));
            }
            "standaloneEnabled" => self.rules.standalone_enabled = r.boolean(e)?,
            "multiAddress.enabled" => {
                self.rules.multi_address = r.boolean(e)?;
                if self.rules.multi_address {
                    r.warn(e, WarningKind::HonouredHere);
                }
            }
            "reconfigEnabled" => self.reconfig_enabled = r.boolean(e)?,
            "localSessionsEnabled" => self.local_sessions = r.boolean(e)?,
            "localSessionsUpgradingEnabled" => self.local_upgrading = r.boolean(e)?,
            "quorumListenOnAllIPs" => self.listen_on_all = r.boolean(e)?,
            "electionPortBindRetry" => self.bind_retry = r.number(e, 0, INT_MAX)?,
            "sslQuorum"
            | "quorum.auth.enableSasl"
            | "quorum.auth.serverRequireSasl"
            | "quorum.auth.learnerRequireSasl" => {
                if r.boolean(e)? {
                    self.protection = Some(e.clone());
                }
            }
            "leaderServes" => self.leader_serves = r.yes(e)?,
            "leader.maxTimeToWaitForEpoch" => {
                let ms: i64 = r.number(e, -1, INT_MAX)?;
                self.max_time_to_wait_for_epoch_ms = u64::try_from(ms).ok();
            }
            "observerMasterPort" => self.observer_master_port = r.number(e, 0, u16::MAX.into())?,
            "observerMaster.sizeLimit" => self.observer_size_limit = Some(r.number(e, 1, INT_MAX)?),
            "commitLogCount" => {
                let count: usize = r.number(e, 0, INT_MAX)?;
                if count < MIN_COMMIT_LOG_COUNT {
                    r.warn(e, WarningKind::Raised { to: MIN_COMMIT_LOG_COUNT as i64 });
                }
                self.commit_log_count = Some(count.max(MIN_COMMIT_LOG_COUNT));
            }
            "snapshotSizeFactor" => self.snapshot_size_factor = Some(thousandths(r, e)?),
            "forceSnapshotSync" => self.force_snapshot_sync = r.boolean(e)?,
            _ if key.starts_with("server.") || key.starts_with("group") || key.starts_with("weight") => {
                self.lines.push(e.clone());
            }
            "version" => self.lines.push(e.clone()),
            _ => return self.take_election_key(r, key, e),
        }
        Ok(true)
    }

    fn take_election_key(&mut self, r: &Reader<'_>, key: &str, e: &Entry) -> Result<bool, ConfigError> {
        let times = &mut self.election;
        match key {
            "cnxTimeout" => times.dial_timeout_ms = r.number(e, 1, INT_MAX)?,
            "quorumCnxnTimeoutMs" => {
                let ms: i64 = r.number(e, -1, INT_MAX)?;
                times.handshake_timeout_ms = u64::try_from(ms).ok().filter(|ms| *ms > 0);
            }
            "fastleader.minNotificationInterval" => times.min_notification_ms = r.number(e, 1, INT_MAX)?,
            "fastleader.maxNotificationInterval" => times.max_notification_ms = r.number(e, 1, INT_MAX)?,
            "observer.election.DelayMs" => times.observer_delay_ms = r.number(e, 0, INT_MAX)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Decides.
    pub(super) fn finish(
        self,
        r: &mut Reader<'_>,
        data_dir: &Path,
        extended_types: bool,
        read_only_mode: bool,
    ) -> Result<Part, ConfigError> {
        let Some((members, about)) = self.members(r)? else { return Ok(Part::Standalone(None)) };
        let voters = members.voters().count();
        if self.rules.standalone_enabled && voters == 1 {
            r.warn(&about, WarningKind::OnlyOneServer);
            return Ok(Part::Standalone(members.members().next().cloned()));
        }
        if voters <= 2 {
            r.warn(&about, WarningKind::NoFailureTolerated { voters });
        } else if voters.is_multiple_of(2) {
            r.warn(&about, WarningKind::EvenServers { voters });
        }
        if let Some(e) = &self.protection {
            let (file, line) = (r.file.to_owned(), e.line);
            return Err(ConfigError::Protection { file, line, key: e.key.clone() });
        }
        let me = my_id(&data_dir.join("myid"), &members, extended_types)?;
        if let Some((entry, role)) = &self.peer_type
            && members.learner_type(me) != *role
        {
            r.warn(entry, WarningKind::PeerType);
        }
        let missing = |key, hint| ConfigError::Missing { file: r.file.to_owned(), key, hint };
        if self.init_limit == 0 {
            return Err(missing(
                "initLimit",
                "an ensemble needs it, in ticks; add a line such as initLimit=10",
            ));
        }
        if self.sync_limit == 0 {
            return Err(missing(
                "syncLimit",
                "an ensemble needs it, in ticks; add a line such as syncLimit=5",
            ));
        }
        let mut config = EnsembleConfig::new(members);
        config.proposed = self.proposed(r)?;
        config.init_limit = self.init_limit;
        config.sync_limit = self.sync_limit;
        config.election = self.election;
        config.reconfig_enabled = self.reconfig_enabled;
        config.rules = self.rules;
        config.local_sessions = self.local_sessions;
        config.local_upgrading = self.local_upgrading;
        config.read_only_mode = read_only_mode;
        config.commit_log_count = self.commit_log_count.unwrap_or(config.commit_log_count);
        config.snapshot_size_factor = self.snapshot_size_factor.unwrap_or(config.snapshot_size_factor);
        config.force_snapshot_sync = self.force_snapshot_sync;
        config.observer_master_port = Some(self.observer_master_port).filter(|port| *port > 0);
        config.observer_size_limit = self.observer_size_limit.unwrap_or(config.observer_size_limit);
        config.leader_serves = self.leader_serves;
        config.max_time_to_wait_for_epoch_ms = self.max_time_to_wait_for_epoch_ms;
        Ok(Part::Member(me, Box::new(config)))
    }

    /// The configuration, and the line of zoo.cfg that warnings about it name. `None`: no line makes an ensemble.
    fn members(&self, r: &Reader<'_>) -> Result<Option<(QuorumVerifier, Entry)>, ConfigError> {
        let Some(dynamic) = &self.dynamic_file else {
            let Some(last) = self.lines.iter().rfind(|e| e.key.contains("server.")) else {
                return match self.rules.standalone_enabled {
                    true => Ok(None),
                    false => Err(ConfigError::Missing {
                        file: r.file.to_owned(),
                        key: "server.N",
                        hint: "standaloneEnabled=false makes this server part of an ensemble; add a line such as \
                               server.1=zk1:2888:3888 for each of its servers",
                    }),
                };
            };
            let members = verifier(r.file, &self.lines, self.rules)?;
            return Ok(Some((members, last.clone())));
        };
        if let Some(line) = self.lines.first() {
            return Err(r.invalid(line, "with dynamicConfigFile it must stand in that file"));
        }
        let file = PathBuf::from(&dynamic.value);
        let mut lines = entries(&file)?;
        if lines.is_empty() && self.rules.standalone_enabled {
            return Ok(None);
        }
        if let Some(e) = lines.iter().find(|e| e.key == "version") {
            return Err(ConfigError::Invalid {
                file,
                line: e.line,
                key: e.key.clone(),
                value: e.value.clone(),
                want: "the version of a dynamic file is the end of its name; remove the line".to_owned(),
            });
        }
        if let Some(version) = version_in_name(&dynamic.value) {
            let value = format!("{version:x}");
            lines.push(Entry { line: 0, key: "version".to_owned(), value });
        }
        let members = verifier(&file, &lines, self.rules)?;
        Ok(Some((members, dynamic.clone())))
    }

    /// `zoo.cfg.dynamic.next`: what was proposed when the server was last up.
    fn proposed(&self, r: &Reader<'_>) -> Result<Option<QuorumVerifier>, ConfigError> {
        let mut file = r.file.to_owned().into_os_string();
        file.push(".dynamic.next");
        let file = PathBuf::from(file);
        if self.dynamic_file.is_none() || !file.is_file() {
            return Ok(None);
        }
        verifier(&file, &entries(&file)?, self.rules).map(Some)
    }
}

/// A factor such as 0.33, in thousandths; `None`: below 0, which switches off what it is for.
fn thousandths(r: &Reader<'_>, e: &Entry) -> Result<Option<u64>, ConfigError> {
    match e.value.parse::<f64>() {
        Ok(factor) if factor < 0.0 => Ok(None),
        Ok(factor) if factor <= MAX_FACTOR => Ok(Some((factor * 1000.0).round() as u64)),
        Ok(_) | Err(_) => Err(r.invalid(e, "give a number up to 1, such as 0.33, or -1 to switch it off")),
    }
}

/// The lines of a dynamic file.
fn entries(file: &Path) -> Result<Vec<Entry>, ConfigError> {
    let bytes = std::fs::read(file)
        .map_err(|e| ConfigError::Unreadable { file: file.to_owned(), cause: e.to_string() })?;
    properties::parse(&properties::decode(&bytes))
        .map_err(|e| ConfigError::BadEscape { file: file.to_owned(), line: e.line })
}

fn verifier(file: &Path, lines: &[Entry], rules: ConfigRules) -> Result<QuorumVerifier, ConfigError> {
    let entries = lines.iter().map(|e| (plain_key(e).to_owned(), e.value.clone()));
    QuorumVerifier::from_entries(entries, rules).map_err(|cause| {
        let key = match &cause {
            BadConfig::Server { sid, .. } => Some(format!("server.{sid}")),
            BadConfig::UnknownKey(key) | BadConfig::BadKey(key) | BadConfig::BadValue { key, .. } => {
                Some(key.clone())
            }
            BadConfig::Escape { .. }
            | BadConfig::SeveralGroups(_)
            | BadConfig::NoGroup(_)
            | BadConfig::NoWeight(_)
            | BadConfig::NoParticipants
            | BadConfig::ObserversOfOne => None,
        };
        let line = lines.iter().rfind(|e| key.as_deref() == Some(plain_key(e))).map(|e| e.line);
        ConfigError::Members { file: file.to_owned(), line, cause }
    })
}

fn plain_key(e: &Entry) -> &str {
    e.key.strip_prefix("zookeeper.").unwrap_or(&e.key)
}

/// `zoo.cfg.dynamic.100000000` is of version 0x100000000; a name without such an end has none.
fn version_in_name(name: &str) -> Option<i64> {
    i64::from_str_radix(name.rsplit_once('.')?.1, 16).ok()
}

/// The number in `dataDir/myid`: the first line, one of the members'.
fn my_id(file: &Path, members: &QuorumVerifier, extended_types: bool) -> Result<ServerId, ConfigError> {
    let fault = |fault| ConfigError::MyId {
        file: file.to_owned(),
        fault,
        listed: members.members().map(|m| m.sid).collect(),
    };
    let text = match std::fs::read(file) {
        Ok(bytes) => properties::decode(&bytes),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(fault(MyIdFault::Missing)),
        Err(e) => return Err(fault(MyIdFault::Unreadable(e.to_string()))),
    };
    let first = text.lines().next().unwrap_or_default().trim();
    let Ok(sid) = first.parse().map(ServerId) else {
        let shown: String = first.chars().take(40).collect();
        return Err(fault(MyIdFault::NoNumber(shown)));
    };
    if members.member(sid).is_none() {
        return Err(fault(MyIdFault::NotListed(sid)));
    }
    if extended_types && sid.0 > MAX_SID_WITH_EXTENDED_TYPES {
        return Err(fault(MyIdFault::TooLarge(sid)));
    }
    Ok(sid)
}
