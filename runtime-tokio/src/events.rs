//! The core's events as log lines: what an operator wants to see at `info`, all else at `debug` and `trace`.

use tracing::{debug, info, trace, warn};
use zebu_core::boundary::{Event, RoleName, SyncBy};

pub(crate) fn log(event: &Event) {
    match event {
        Event::Became(role) => match role {
            RoleName::Standalone => info!("serving clients"),
            RoleName::Looking => info!("looking for a leader"),
            RoleName::Leader => info!("leading"),
            RoleName::Follower => info!("following"),
            RoleName::Observer => info!("observing"),
            RoleName::ReadOnly => info!("no leader: serving reads to whoever puts up with that"),
        },
        Event::Proposed { zxid, .. } => trace!(%zxid, "proposed"),
        Event::Logged { zxid, .. } => trace!(%zxid, "logged"),
        Event::Elected { leader, round } => info!(%leader, round, "elected"),
        Event::Established { epoch } => info!(%epoch, "a quorum accepts the epoch"),
        Event::Activated { epoch } => info!(%epoch, "clients are served"),
        Event::Reconfigured { text } => info!(%text, "another configuration is in force"),
        Event::RoleLost { why } => warn!(%why, "the role is over"),
        Event::Truncated { to } => warn!(%to, "the log's end was cut off at the leader's word"),
        Event::Installed { zxid, .. } => info!(%zxid, "the leader's snapshot takes the place of the log"),
        Event::Synchronizes { learner, by } => {
            let what = match by {
                SyncBy::Memory => "transactions",
                SyncBy::Log => "transactions from the log on disk",
                SyncBy::Snapshot => "a snapshot",
            };
            info!(%learner, what, "brings a learner up to date");
        }
        Event::QuorumAcked { zxid, .. } => trace!(%zxid, "acked by a quorum"),
        Event::DigestMismatch { zxid } => warn!(%zxid, "the tree is not what the leader's digest says"),
        Event::Vouched(vouch) => trace!(?vouch, "vouched"),
        Event::Committed { zxid, txn } => trace!(%zxid, bytes = txn.len(), "committed"),
        Event::Applied { zxid, digest } => trace!(%zxid, digest, "applied"),
        Event::ConnClosed { conn, cause } => debug!(conn = conn.0, ?cause, "closed the connection"),
        Event::SessionAttached { session, conn, reattached } => {
            debug!(%session, conn = conn.0, reattached, "session attached");
        }
        Event::SessionExpired { session } => info!(%session, "session expired"),
        Event::LogRolled { first } => debug!(%first, "log rolled"),
        Event::SnapshotBegun { zxid } => info!(%zxid, "snapshot begun"),
        Event::SnapshotDone { zxid, bytes } => info!(%zxid, bytes, "snapshot done"),
        Event::SnapshotFailed { fault } => {
            warn!(%fault, "snapshot given up; the log keeps everything until the next one")
        }
        Event::Purged { files } => info!(files, "old files purged"),
        Event::Replied { session, op, latency } => trace!(%session, op, latency, "replied"),
    }
}
