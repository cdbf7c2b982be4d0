//! What a server is told once, at its start. The driver reads zoo.cfg; the core sees only this value.

use crate::id::ServerId;
use crate::limits;
use crate::quorum::{ConfigRules, QuorumVerifier};
use serde::{Deserialize, Serialize};

/// Settings, by the names of zoo.cfg where there is one.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// myid. A standalone server shows 0 in `conf` and creates sessions as server 1.
    pub server_id: ServerId,
    /// tickTime, ms.
    pub tick_ms: u64,
    /// minSessionTimeout, ms.
    pub min_session_timeout_ms: i32,
    /// maxSessionTimeout, ms.
    pub max_session_timeout_ms: i32,
    /// maxClientCnxns per address; 0: no limit.
    pub max_client_cnxns: u32,
    /// maxCnxns in all; 0: no limit.
    pub max_cnxns: u32,
    /// jute.maxbuffer: longest frame of a client.
    pub max_frame: u32,
    /// globalOutstandingLimit.
    pub global_outstanding_limit: u32,
    /// 4lw.commands.whitelist; `srvr` is always on.
    pub four_letter_words: FourLetterWords,
    /// snapCount.
    pub snap_count: u64,
    /// snapSizeLimitInKb in bytes; 0: no limit.
    pub snap_size_limit: u64,
    /// txnLogSizeLimitInKb in bytes; 0: no limit.
    pub log_size_limit: u64,
    /// digest.enabled: digests in the log and in snapshots.
    pub digest_enabled: bool,
    /// extendedTypesEnabled: TTL nodes.
    pub extended_types: bool,
    /// autopurge.snapRetainCount.
    pub snap_retain_count: usize,
    /// autopurge.purgeInterval, hours; 0: never.
    pub purge_interval_h: u64,
    /// znode.container.checkIntervalMs.
    pub container_check_ms: u64,
    /// znode.container.maxPerMinute.
    pub container_max_per_minute: u64,
    /// znode.container.maxNeverUsedIntervalMs; 0: never.
    pub container_max_never_used_ms: u64,
    /// skipACL.
    pub skip_acl: bool,
    /// DigestAuthenticationProvider.superDigest: `super:<base64 of SHA-1>`.
    pub super_digest: Option<String>,
    /// zookeeper.snapshot.trust.empty: accept logs without a snapshot.
    pub trust_empty_snapshot: bool,
    /// Bytes of a snapshot that are written or sent at once, and of a log that are read at once. In no file: the simulator takes
    /// few, or its small trees would never be met half written.
    pub piece: usize,
    /// Unsent bytes up to which a snapshot or a log goes on being sent; not below what the driver lets leave before it reports.
    pub stream_ahead: usize,
    /// Unsent bytes of one client's connection above which nothing more is read from it; not below what the driver lets leave
    /// before it reports. In no file.
    pub send_pause: usize,
    /// What `conf` and `envi` print of the host.
    pub host: HostFacts,
    /// `None`: standalone.
    pub ensemble: Option<EnsembleConfig>,
}

/// What makes a server a member of an ensemble.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct EnsembleConfig {
    /// The members; this server is one of them.
    pub members: QuorumVerifier,
    /// A configuration that was proposed and perhaps not committed: the `.next` file.
    pub proposed: Option<QuorumVerifier>,
    /// initLimit, ticks.
    pub init_limit: u64,
    /// syncLimit, ticks.
    pub sync_limit: u64,
    /// electionAlg's times.
    pub election: ElectionTimes,
    /// reconfigEnabled.
    pub reconfig_enabled: bool,
    /// standaloneEnabled, multiAddress.enabled.
    pub rules: ConfigRules,
    /// zookeeper.commitLogCount: transactions kept in memory for learners that lack them.
    pub commit_log_count: usize,
    /// Bytes of those.
    pub commit_log_bytes: usize,
    /// zookeeper.snapshotSizeFactor in thousandths: so much of the newest snapshot's size may the log hold that a learner is
    /// sent in place of a snapshot. 0: any size; `None`: the log on disk is not sent.
    #[serde(default)]
    pub snapshot_size_factor: Option<u64>,
    /// zookeeper.forceSnapshotSync.
    #[serde(default)]
    pub force_snapshot_sync: bool,
    /// How many transactions at the end of its log a server that starts does not apply before a leader says that they are
    /// committed: more than a leader lets be outstanding, or reads without a leader might show what never comes to be.
    #[serde(default = "held_back_count")]
    pub held_back_count: usize,
    /// Bytes of those.
    #[serde(default = "held_back_bytes")]
    pub held_back_bytes: usize,
    /// leaderServes: a leader with others beside it lets clients in.
    #[serde(default = "yes")]
    pub leader_serves: bool,
    /// zookeeper.leader.maxTimeToWaitForEpoch, ms: from then on a leader that finds no followers gives up as soon as a voter looks
    /// for a leader again. `None`: it waits for initLimit.
    #[serde(default)]
    pub max_time_to_wait_for_epoch_ms: Option<u64>,
    /// The last counter that an epoch may use.
    pub last_counter: u32,
    /// localSessionsEnabled.
    pub local_sessions: bool,
    /// localSessionsUpgradingEnabled.
    pub local_upgrading: bool,
    /// readonlymode.enabled.
    pub read_only_mode: bool,
    /// observerMasterPort: at this port of the voters' hosts followers have observers of their own, and observers look for one.
    #[serde(default)]
    pub observer_master_port: Option<u16>,
    /// zookeeper.observerMaster.sizeLimit: bytes of transactions that may wait for one observer.
    #[serde(default = "observer_size_limit")]
    pub observer_size_limit: usize,
}

fn observer_size_limit() -> usize {
    32 << 20
}

fn held_back_count() -> usize {
    10_000
}

fn held_back_bytes() -> usize {
    64 << 20
}

fn yes() -> bool {
    true
}

/// Times of the election, ms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ElectionTimes {
    /// zookeeper.fastleader.minNotificationInterval.
    pub min_notification_ms: u64,
    /// zookeeper.fastleader.maxNotificationInterval.
    pub max_notification_ms: u64,
    /// How long a quorum's vote must stand while voters have not been heard.
    pub finalize_wait_ms: u64,
    /// zookeeper.cnxTimeout.
    pub dial_timeout_ms: u64,
    /// zookeeper.quorumCnxnTimeoutMs: how long a connection may stay without its first message; `None`: syncLimit ticks.
    pub handshake_timeout_ms: Option<u64>,
    /// zookeeper.observer.election.DelayMs: the longest wait of an observer before it looks for a leader.
    pub observer_delay_ms: u64,
    /// How long a member looks for a leader before it serves reads without one, if it may; a longer tickTime counts.
    pub read_only_after_ms: u64,
}

impl Default for ElectionTimes {
    /// ZooKeeper's defaults.
    fn default() -> ElectionTimes {
        ElectionTimes {
            min_notification_ms: 200,
            max_notification_ms: 60_000,
            finalize_wait_ms: 200,
            dial_timeout_ms: 5000,
            handshake_timeout_ms: None,
            observer_delay_ms: 200,
            read_only_after_ms: 2000,
        }
    }
}

impl EnsembleConfig {
    /// ZooKeeper's defaults, with the limits of its sample file.
    pub fn new(members: QuorumVerifier) -> EnsembleConfig {
        EnsembleConfig {
            members,
            proposed: None,
            init_limit: 10,
            sync_limit: 5,
            election: ElectionTimes::default(),
            reconfig_enabled: false,
            rules: ConfigRules::default(),
            // Java keeps 500, however large.
            commit_log_count: 10_000,
            commit_log_bytes: 16 << 20,
            snapshot_size_factor: Some(330),
            force_snapshot_sync: false,
            held_back_count: held_back_count(),
            held_back_bytes: held_back_bytes(),
            leader_serves: true,
            max_time_to_wait_for_epoch_ms: None,
            last_counter: u32::MAX - 1,
            local_sessions: false,
            local_upgrading: false,
            read_only_mode: false,
            observer_master_port: None,
            observer_size_limit: observer_size_limit(),
        }
    }
}

/// Which four-letter words are answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FourLetterWords {
    /// `*`.
    All,
    /// These, and `srvr`.
    Only(Vec<String>),
}

/// Facts of the host that the core only repeats.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HostFacts {
    /// clientPort.
    pub client_port: u16,
    /// dataDir/version-2, absolute.
    pub data_dir: String,
    /// dataLogDir/version-2, absolute.
    pub data_log_dir: String,
    /// clientPortListenBacklog; -1: the system's.
    pub listen_backlog: i32,
    /// Lines of `envi` after `zookeeper.version`.
    pub environment: Vec<(String, String)>,
}

impl Default for Config {
    /// ZooKeeper's defaults with the tickTime of its sample file.
    fn default() -> Config {
        Config {
            server_id: ServerId(0),
            tick_ms: 2000,
            min_session_timeout_ms: 4000,
            max_session_timeout_ms: 40_000,
            max_client_cnxns: 60,
            max_cnxns: 0,
            max_frame: 0xfffff,
            global_outstanding_limit: 1000,
            four_letter_words: FourLetterWords::Only(Vec::new()),
            snap_count: 100_000,
            snap_size_limit: 4 << 30,
            log_size_limit: 0,
            digest_enabled: true,
            extended_types: false,
            snap_retain_count: 3,
            purge_interval_h: 0,
            container_check_ms: 60_000,
            container_max_per_minute: 10_000,
            container_max_never_used_ms: 0,
            skip_acl: false,
            super_digest: None,
            trust_empty_snapshot: false,
            piece: limits::PIECE,
            stream_ahead: limits::STREAM_AHEAD,
            send_pause: limits::SEND_PAUSE,
            host: HostFacts::default(),
            ensemble: None,
        }
    }
}
