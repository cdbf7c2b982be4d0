//! What a run came to: its hash, what it covered, which rules it broke.

use crate::check::{Looks, Violation};
use serde::Serialize;

macro_rules! hits {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// Something that a run may reach; counted so that a sweep shows what it reached.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(usize)]
        pub enum Hit { $($(#[$doc])* $name,)* }
        impl Hit {
            /// The names, in the order of the counters.
            pub const NAMES: &[&str] = &[$($text,)*];
        }
    };
}

hits! {
    /// An operation of a program was called.
    Calls = "calls";
    /// A call came back with a result.
    Ok = "calls_ok";
    /// A call came back with an error of a server.
    Refused = "calls_refused";
    /// A call came back with an unknown outcome.
    Lost = "calls_lost";
    /// A multi was aborted.
    MultiFailed = "multis_failed";
    /// A watch event reached a client.
    Watch = "watches_fired";
    /// A session began.
    Session = "sessions";
    /// A session was taken up again on a new connection.
    Reconnect = "reconnects";
    /// A handle learned that its session is over.
    Expired = "handles_expired";
    /// A server expired a session.
    SessionExpired = "session_expiries";
    /// A handle's credentials were refused.
    AuthFailed = "auth_failed";
    /// A handle was closed by its program.
    Closed = "handles_closed";
    /// A client died.
    ClientCrash = "client_crashes";
    /// A server process was killed.
    Kill = "kills";
    /// A server lost power.
    Power = "power_cuts";
    /// A crash came between two outputs of a step.
    MidStep = "crashes_mid_step";
    /// A crash came in the middle of a disk operation.
    MidDisk = "crashes_mid_disk";
    /// A server was told to stop.
    Ordered = "ordered_stops";
    /// A power cut tore a file.
    Torn = "torn_files";
    /// A power cut undid a change of a folder.
    Undone = "undone_renames";
    /// A server started.
    Recovery = "recoveries";
    /// Recovery skipped something and said so.
    RecoveryNote = "recovery_notes";
    /// Recovery refused to start.
    RecoveryRefused = "recoveries_refused";
    /// Recovery of a cloned disk.
    Shadow = "shadow_recoveries";
    /// The answers were searched for a linear order.
    Searched = "searches";
    /// A search for a linear order did not decide.
    Undecided = "searches_undecided";
    /// A transaction was committed.
    Committed = "txns";
    /// A container or a TTL node was deleted by its leader.
    Reaped = "reaped";
    /// A log was rolled.
    Rolled = "log_rolls";
    /// A snapshot became durable.
    Snapshot = "snapshots";
    /// A snapshot was given up.
    SnapshotFailed = "snapshots_failed";
    /// Files were purged.
    Purged = "purges";
    /// A disk operation failed.
    DiskFailed = "disk_errors";
    /// A disk was full.
    DiskFull = "disk_full";
    /// A disk began to lie.
    DiskLied = "disk_lies";
    /// Reading failed at a start.
    ReadError = "read_errors";
    /// A connection was made.
    Dialed = "connections";
    /// A connection was refused.
    DialRefused = "connections_refused";
    /// A connection was broken by a fault.
    Reset = "resets";
    /// Bytes came of a connection that their server had closed.
    Late = "late_bytes";
    /// A link stalled.
    Stall = "stalls";
    /// A link slowed down.
    Slow = "slow_links";
    /// A disk stalled.
    DiskStall = "disk_stalls";
    /// A wall clock jumped.
    WallJump = "wall_jumps";
    /// A server froze.
    Freeze = "freezes";
    /// A client froze.
    ClientFreeze = "client_freezes";
    /// A server stopped reading from a connection.
    Paused = "pauses";
    /// A raw connection was made.
    Raw = "raw_connections";
    /// A raw connection was made to a port that servers use among themselves.
    RawPeer = "raw_peers";
    /// A raw connection asked for another's session.
    Stolen = "raw_thieves";
    /// A raw connection got bytes.
    RawAnswered = "raw_answers";
    /// A connection was closed by a server for a fault of its client.
    Kicked = "connections_kicked";
    /// The run is of one standalone server.
    Standalone = "standalone";
    /// The run is of an ensemble of one voter.
    VotersOne = "voters_1";
    /// Of two or four.
    VotersEven = "voters_2_4";
    /// Of three.
    VotersThree = "voters_3";
    /// Of five.
    VotersFive = "voters_5";
    /// Of more than that.
    VotersMore = "voters_more";
    /// An observer is in the ensemble.
    Observers = "observers";
    /// Quorums are counted by groups and weights.
    Hierarchical = "hierarchical";
    /// A voter has weight 0.
    Weightless = "weight_0";
    /// The membership may change.
    Changing = "changing";
    /// A server is no member at first.
    Spares = "spare_servers";
    /// A client asked for another configuration.
    ReconfigAsked = "reconfigs_asked";
    /// It was granted.
    ReconfigGranted = "reconfigs_granted";
    /// It was refused.
    ReconfigRefused = "reconfigs_refused";
    /// It was refused since another one is in force than the client thinks.
    ReconfigStale = "reconfigs_stale";
    /// It was refused since another one is under way.
    ReconfigInProgress = "reconfigs_in_progress";
    /// It was refused since the new ones are not there.
    ReconfigNoQuorum = "reconfigs_no_quorum";
    /// No one knows what became of it.
    ReconfigLost = "reconfigs_lost";
    /// Another configuration is in force.
    Reconfigured = "reconfigured";
    /// It was proposed by an earlier leader.
    ReconfigInherited = "reconfigs_inherited";
    /// A configuration was proposed, and no server ever went by it.
    ReconfigDied = "reconfigs_died";
    /// A server became a member.
    Joined = "joined";
    /// A server is no member any more.
    Dismissed = "dismissed";
    /// A voter became an observer, or an observer a voter.
    RoleChanged = "roles_changed";
    /// The members stayed and their votes are counted otherwise.
    Regrouped = "regrouped";
    /// A leader stepped back since its configuration has no vote for it.
    LeaderDismissed = "leaders_dismissed";
    /// A server that is no member began to serve.
    StrangerServes = "strangers_serve";
    /// A server's election named a leader.
    Elected = "elections";
    /// A leader's epoch was accepted.
    Established = "epochs";
    /// A leader began to serve.
    LeaderServes = "leaders";
    /// A learner began to serve and was sent nothing but what it lacked.
    SyncDiff = "synced_diff";
    /// A learner began to serve after its log was cut.
    SyncTrunc = "synced_trunc";
    /// A learner began to serve after a snapshot.
    SyncSnap = "synced_snap";
    /// A leader began to send a learner transactions from the log on its disk.
    SyncFromLog = "synced_from_log";
    /// A piece of the log was missing or could not be read then.
    LogUnread = "log_unread";
    /// A leader was bound to send snapshots, and sent one.
    SyncForced = "synced_forced";
    /// A leader left a client to the others.
    LeaderShut = "leader_shut";
    /// An observer began to serve.
    ObserverServes = "observers_serve";
    /// An observer began to serve, and learns from a follower.
    ObserverAtFollower = "observers_at_followers";
    /// One of these was sent a snapshot by its follower.
    SnapAtFollower = "synced_snap_by_followers";
    /// An observer that looks for a follower began to serve, and learns from the leader.
    ObserverFellBack = "observers_fell_back";
    /// An observer came to a server that has no place for it.
    ObserverTurnedAway = "observers_turned_away";
    /// A session came to an observer that learns from a follower.
    AttachedAtFollower = "sessions_by_followers";
    /// A quorum of acks was counted.
    QuorumAcked = "quorum_acks";
    /// A leader found no quorum.
    LostNoQuorum = "lost_no_quorum";
    /// A leader lost its quorum.
    LostQuorum = "lost_quorum";
    /// A leader or learner met another epoch than it could go on in.
    LostSuperseded = "lost_epoch";
    /// A leader used up its epoch.
    LostRollOver = "rollovers";
    /// A leader handed over.
    HandedOver = "hand_overs";
    /// A learner lost its leader.
    LostLeader = "lost_leader";
    /// A session went to another server.
    Moved = "session_moves";
    /// A server asked another for a connection.
    ServerDials = "server_dials";
    /// A server got one.
    ServerLinks = "server_links";
    /// A server closed a connection to another.
    PeerClosed = "server_links_closed";
    /// A fault began right after news that it waited for.
    UponNews = "faults_upon_news";
    /// A fault met whoever led.
    AtLeader = "faults_at_leader";
    /// A server without a leader began to serve reads.
    ReadOnlyServer = "read_only_servers";
    /// A client was content with one.
    ReadOnlySession = "read_only_sessions";
    /// A session of one server only began.
    LocalSession = "local_sessions";
    /// It was made known to all.
    Upgraded = "local_sessions_upgraded";
    /// Servers were split in two.
    Split = "splits";
    /// Bytes got through in one direction only.
    OneWay = "one_way_cuts";
    /// Two servers could not talk, others saw both.
    Pair = "pair_cuts";
    /// Some servers saw both halves.
    Bridge = "bridges";
    /// A server was cut off.
    Isolated = "isolations";
    /// A server was cut off in one direction.
    HalfIsolated = "half_isolations";
    /// Links between servers slowed down.
    SlowPath = "slow_paths";
    /// A connection between servers broke.
    Severed = "severed";
    /// Several servers died at once.
    Blackout = "blackouts";
    /// A voter's disk was replaced.
    Wiped = "wiped_voters";
    /// An observer's disk was replaced.
    WipedObserver = "wiped_observers";
    /// A disk had to wait until nothing would be lost with it.
    WipePut = "wipes_put_off";
    /// A superfluous file rotted.
    Rot = "rotten_files";
    /// Some servers stayed dead, and a quorum had to do without them.
    LeftDead = "left_dead";
    /// Some servers stayed cut off.
    LeftApart = "left_apart";
    /// Some servers stayed cut off in one direction.
    LeftHalf = "left_half_apart";
}

/// How often each [`Hit`] came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Coverage(pub [u64; Hit::NAMES.len()]);

impl Default for Coverage {
    fn default() -> Coverage {
        Coverage([0; Hit::NAMES.len()])
    }
}

impl Coverage {
    /// Counts one.
    pub fn hit(&mut self, hit: Hit) {
        self.0[hit as usize] += 1;
    }
    /// Counts several.
    pub fn hits(&mut self, hit: Hit, n: u64) {
        self.0[hit as usize] += n;
    }
    /// How often.
    pub fn of(&self, hit: Hit) -> u64 {
        self.0[hit as usize]
    }
    /// Adds another run's.
    pub fn add(&mut self, other: &Coverage) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a += b);
    }
    /// Names and counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Hit::NAMES.iter().copied().zip(self.0)
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Over every event and every output, in order.
    pub hash: u64,
    /// Events of the world.
    pub events: u64,
    /// Simulated time, ns.
    pub time: u64,
    /// What it reached.
    pub coverage: Coverage,
    /// What the rules judged.
    pub looks: Looks,
    /// In an ensemble: how long after the healing the leader began to serve that all came to follow, ms.
    pub leader_after: Option<u32>,
    /// Leaders that began to serve since the healing.
    pub elections_since: u32,
    /// Rules it broke.
    pub violations: Vec<Violation>,
    /// The first broken rule of a client, if all rules judged and one was broken.
    pub clients: Option<Violation>,
    /// An assert of the core, a checker or the world itself broke: its words.
    pub panic: Option<String>,
}

/// A failure in one line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Failure {
    /// The rule, or `panic`.
    pub rule: String,
    /// What of it.
    pub text: String,
    /// The rule by which clients saw it.
    pub clients: Option<String>,
}

impl Outcome {
    /// The first failure, if there is one.
    pub fn failure(&self) -> Option<Failure> {
        if let Some(text) = &self.panic {
            return Some(Failure { rule: "panic".to_owned(), text: text.clone(), clients: None });
        }
        self.violations.first().map(|v| Failure {
            rule: v.rule.to_string(),
            text: v.text.clone(),
            clients: self.clients.as_ref().map(|v| v.rule.to_string()),
        })
    }
}
