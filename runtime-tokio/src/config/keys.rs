//! ZooKeeper's keys that Zebu does not act on, and what that means for whoever wrote them. The keys that it does act on
//! are matched in `config/mod.rs`.

/// What becomes of a key of ZooKeeper's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It tunes parts that Zebu does not have (thread pools, caches): nobody misses anything.
    NoEffect,
    /// A feature that is still missing: the user is told.
    NotYet,
    /// A protection that is still missing. Switched on, the server refuses to start: without it, clients would get in that
    /// must not.
    Protection,
}

/// `None`: not a key of ZooKeeper's.
pub(super) fn fate(key: &str) -> Option<Fate> {
    if PROTECTIONS.contains(&key) {
        return Some(Fate::Protection);
    }
    if NO_EFFECT.contains(&key) || NO_EFFECT_PREFIXES.iter().any(|p| key.starts_with(p)) {
        return Some(Fate::NoEffect);
    }
    let not_yet = NOT_YET.contains(&key) || NOT_YET_PREFIXES.iter().any(|p| key.starts_with(p));
    not_yet.then_some(Fate::NotYet)
}

const PROTECTIONS: [&str; 2] = ["enforce.auth.enabled", "sessionRequireClientSASLAuth"];

/// Sorted by what they belong to.
const NO_EFFECT: [&str; 42] = [
    // ensembles
    "connectToLearnerMasterLimit",
    "syncEnabled",
    "leader.maxConcurrentSnapSyncs",
    "leader.maxConcurrentDiffSyncs",
    "leaderConnectDelayDuringRetryMs",
    "learner.asyncSending",
    "learner.closeSocketAsync",
    "leader.closeSocketAsync",
    "leader.ackLoggingFrequency",
    "leader.nodelay",
    "follower.nodelay",
    "observer.reconnectDelayMs",
    "follower.skipLearnerRequestToNextProcessor",
    "forward_learner_requests_to_commit_processor_disabled",
    "messageTracker.Enabled",
    "messageTracker.BufferSize",
    "tcpKeepAlive",
    "quorum.cnxn.threads.size",
    // threads, buffers and caches of the Java server
    "serverCnxnFactory",
    "intBufferStartingSizeBytes",
    "maxResponseCacheSize",
    "maxGetChildrenResponseCacheSize",
    "flushDelay",
    "maxWriteQueuePollTime",
    "maxBatchSize",
    "fsync.warningthresholdms",
    "watchManagerName",
    "watcherCleanThreadsNum",
    "watcherCleanThreshold",
    "watcherCleanIntervalInSeconds",
    "maxInProcessingDeadWatchers",
    "bitHashCacheSize",
    // formats and features that Zebu always has in their default form
    "preAllocSize",
    "closeSessionTxn.enabled",
    "serializeLastProcessedZxid.enabled",
    "enableEagerACLCheck",
    "allowSaslFailedClients",
    "fips-mode",
    "client.portUnification",
    "client.certReload",
    "sslQuorumReloadCertFiles",
    "portUnification",
];

const NO_EFFECT_PREFIXES: [&str; 6] =
    ["nio.", "netty.", "commitProcessor.", "jvm.pause.", "readonlymode.", "multiAddress."];

const NOT_YET: [&str; 14] = [
    "secureClientPort",
    "secureClientPortAddress",
    "oraclePath",
    "jaasConfig",
    "java.security.auth.login.config",
    "enforceQuota",
    "enforce.auth.schemes",
    "ensembleAuthName",
    "letAnySaslUserDoX",
    "emulate353TTLNodes",
    "db.autocreate",
    "largeRequestMaxBytes",
    "largeRequestThreshold",
    "clientTcpKeepAlive",
];

const NOT_YET_PREFIXES: [&str; 17] = [
    "admin.",
    "metricsProvider.",
    "audit.",
    "ssl.",
    "sasl.",
    "kerberos.",
    "security.",
    "quorum.auth.",
    "authProvider.",
    "superUser",
    "pathStats.",
    "request_throttle_",
    "throttled_op_wait_time",
    "connection_throttle_",
    "X509AuthenticationProvider.",
    "IPAuthenticationProvider.",
    "SASLAuthenticationProvider.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates() {
        assert_eq!(fate("connectToLearnerMasterLimit"), Some(Fate::NoEffect));
        assert_eq!(fate("nio.numWorkerThreads"), Some(Fate::NoEffect));
        assert_eq!(fate("admin.serverPort"), Some(Fate::NotYet));
        assert_eq!(fate("ssl.keyStore.location"), Some(Fate::NotYet));
        assert_eq!(fate("enforce.auth.enabled"), Some(Fate::Protection));
        assert_eq!(fate("foo"), None);
    }
}
