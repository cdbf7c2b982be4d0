//! All that a driver has to know: what a server is told, what it asks for. The simulator and the tokio program both
//! match every [`Output`], with no wildcard arm. Nothing here has behaviour beyond naming.

use crate::addr::Addr;
use crate::cause::{Cause, Lost};
use crate::id::{Epoch, ServerId, SessionId, Zxid};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;

/// A connection. Even numbers are given by the driver, to those it accepts; odd ones by the server, to those it dials. A
/// number is never used twice, so whatever comes late for a dead connection is unknown and dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Conn(pub u64);

impl Conn {
    /// The `n`th connection that a driver accepts.
    pub fn accepted(n: u64) -> Conn {
        Conn(n * 2)
    }
    /// True if the server dialled it.
    pub fn is_dialled(self) -> bool {
        self.0 % 2 == 1
    }
}

/// Numbers the connections that a server dials.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dials(u64);

impl Dials {
    /// The next number.
    pub fn next_conn(&mut self) -> Conn {
        self.0 += 1;
        Conn(self.0 * 2 - 1)
    }
}

/// Which listener a connection goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Port {
    /// The client port.
    Client,
    /// The election port: votes.
    Election,
    /// The quorum port: learners connect to their leader. Drivers listen on it always; a server that does not lead yet lets
    /// them wait.
    Quorum,
    /// observerMasterPort: observers connect to a follower. Drivers listen on it if it is set; a server that is no follower, or not
    /// up to date yet, closes at once.
    ObserverMaster,
}

/// What the driver knows of the other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Its address: the `ip` identity, per-address limits, `cons`.
    pub addr: SocketAddr,
}

/// What a server is told. Each one is a step.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Input<'a> {
    /// Only time passed.
    Wake,
    /// A connection was accepted, or a dial came through.
    Opened {
        /// Its number.
        conn: Conn,
        /// Where.
        port: Port,
        /// From whom.
        peer: PeerInfo,
    },
    /// Bytes came in: any split of the stream.
    Received {
        /// From which connection.
        conn: Conn,
        /// At least one byte.
        #[serde(borrow)]
        bytes: &'a [u8],
    },
    /// All that was sent to this connection so far has left. Reported when the driver's queue for it runs empty and
    /// [`crate::limits::WRITABLE_EVERY`] bytes have left since the last report.
    Writable {
        /// Which connection.
        conn: Conn,
    },
    /// The connection ended, from the other side or by a fault, or a dial failed. Not reported after [`Output::Close`].
    Closed {
        /// Which connection.
        conn: Conn,
    },
    /// Everything of that lane up to this ticket survives a power cut.
    Durable {
        /// Which lane.
        lane: Lane,
        /// The highest ticket done.
        upto: Ticket,
    },
    /// A disk operation failed; the driver carries out nothing more of that lane until the next [`DiskOp::Create`] in
    /// the bulk lane (a new snapshot), and nothing at all in the log lane.
    DiskFailed {
        /// Which, and how.
        fault: DiskFault,
    },
    /// An order of whoever runs this server.
    Admin {
        /// Which.
        order: AdminOrder,
    },
    /// The answer to [`Output::Read`].
    Read {
        /// To which.
        read: ReadNo,
        /// Fewer than were asked for: the file ends there, so far. `None`: there is no such file, or it cannot be read.
        #[serde(borrow)]
        bytes: Option<&'a [u8]>,
    },
}

/// Numbers what a server reads. Never used twice in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct ReadNo(pub u64);

/// What a server asks for, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Connect. Answered by [`Input::Opened`] or by [`Input::Closed`]; [`Output::Close`] gives it up. Nothing is sent before
    /// it is open.
    Dial {
        /// The number it has from here on, an odd one.
        conn: Conn,
        /// Where to. A name is looked up anew each time.
        to: Addr,
        /// What it is for: which settings of sockets and TLS apply.
        port: Port,
    },
    /// Queue these bytes for the connection.
    Send {
        /// To which connection.
        conn: Conn,
        /// Whole frames.
        bytes: Bytes,
    },
    /// Stop (`on`) or resume reading from it. Back-pressure: what it has sent waits in the socket.
    Pause {
        /// Which connection.
        conn: Conn,
        /// Stop or resume.
        on: bool,
    },
    /// Send what is queued, then FIN. The server forgets the connection with this output.
    Close {
        /// Which connection.
        conn: Conn,
    },
    /// A disk operation. Each lane is carried out in order; the lanes are independent.
    Disk {
        /// Which lane.
        lane: Lane,
        /// What to do.
        op: DiskOp,
    },
    /// Read a piece of a file, in the order of no lane: whatever of it is there at some time from now on. Answered by
    /// [`Input::Read`] once, and if it cannot be read too; no lane suffers from that.
    Read {
        /// What the answer is called.
        read: ReadNo,
        /// Which file.
        file: FileName,
        /// From this offset on.
        at: u64,
        /// So many bytes.
        len: usize,
    },
    /// Something happened: for metrics, logs and checkers.
    Event(Event),
    /// Never step this server again.
    Stop(Stop),
}

/// Two independent queues of disk operations: promises hang on the first, snapshots go through the second, so that a
/// long write of one does not hold up commits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Lane {
    /// The transaction log and all that must be durable before a promise.
    Log,
    /// Snapshots and purges.
    Bulk,
}

/// Completion of disk work. Tickets of a lane only grow and are never reused, over truncation and roll too: no ABA.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Ticket(pub u64);

/// The folders of a server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Dir {
    /// `dataDir/version-2`: snapshots, epochs.
    Data,
    /// `dataLogDir/version-2`: transaction logs. The same folder as [`Dir::Data`] unless dataLogDir is set.
    Log,
}

/// A file by meaning; [`fmt::Display`] is its name on disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum FileName {
    /// `log.<hex zxid of its first entry>`.
    Log(Zxid),
    /// A log until its header and first entries are synced; then it is renamed to [`FileName::Log`] and appended to
    /// under that name. So no crash leaves a `log.*` shorter than its header.
    LogTemp(Zxid),
    /// `snapshot.<hex zxid>`.
    Snapshot(Zxid),
    /// `snapshot.<hex zxid>.gz`: read and purged, never written.
    SnapshotGz(Zxid),
    /// `snapshot.<hex zxid>.snappy`: read and purged, never written.
    SnapshotSnappy(Zxid),
    /// A snapshot being written. The name must not begin with "snapshot.", or Java would read it.
    SnapshotTemp(Zxid),
    /// `acceptedEpoch`.
    AcceptedEpoch,
    /// `currentEpoch`.
    CurrentEpoch,
    /// `acceptedEpoch.tmp`, as Java names it: renamed once it is synced.
    AcceptedEpochTemp,
    /// `currentEpoch.tmp`.
    CurrentEpochTemp,
}

impl FileName {
    /// The folder it lies in.
    pub fn dir(self) -> Dir {
        match self {
            FileName::Log(_) | FileName::LogTemp(_) => Dir::Log,
            FileName::Snapshot(_)
            | FileName::SnapshotGz(_)
            | FileName::SnapshotSnappy(_)
            | FileName::SnapshotTemp(_)
            | FileName::AcceptedEpoch
            | FileName::CurrentEpoch
            | FileName::AcceptedEpochTemp
            | FileName::CurrentEpochTemp => Dir::Data,
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileName::Log(z) => write!(f, "log.{:x}", z.0),
            FileName::LogTemp(z) => write!(f, "writing.log.{:x}", z.0),
            FileName::Snapshot(z) => write!(f, "snapshot.{:x}", z.0),
            FileName::SnapshotGz(z) => write!(f, "snapshot.{:x}.gz", z.0),
            FileName::SnapshotSnappy(z) => write!(f, "snapshot.{:x}.snappy", z.0),
            FileName::SnapshotTemp(z) => write!(f, "writing.snapshot.{:x}", z.0),
            FileName::AcceptedEpoch => write!(f, "acceptedEpoch"),
            FileName::CurrentEpoch => write!(f, "currentEpoch"),
            FileName::AcceptedEpochTemp => write!(f, "acceptedEpoch.tmp"),
            FileName::CurrentEpochTemp => write!(f, "currentEpoch.tmp"),
        }
    }
}

/// The epoch files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EpochFile {
    /// `acceptedEpoch`.
    Accepted,
    /// `currentEpoch`.
    Current,
}

/// A file-level disk operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskOp {
    /// Make an empty file; one of that name is emptied.
    Create {
        /// Which.
        file: FileName,
    },
    /// Write at its end.
    Append {
        /// Which.
        file: FileName,
        /// What.
        bytes: Bytes,
    },
    /// fdatasync; then [`Input::Durable`]. The driver may merge neighbouring ones of the same file and report the highest
    /// ticket only.
    Sync {
        /// Which.
        file: FileName,
        /// What to report.
        ticket: Ticket,
    },
    /// Cut it to this length.
    Truncate {
        /// Which.
        file: FileName,
        /// Bytes kept.
        len: u64,
    },
    /// Rename within its folder, over one of that name. Later operations may go on under the new name.
    Rename {
        /// The old name.
        from: FileName,
        /// The new name.
        to: FileName,
    },
    /// Remove it; a missing one is no error.
    Remove {
        /// Which.
        file: FileName,
    },
    /// fsync a folder: creates, renames and removes in it survive; then [`Input::Durable`].
    SyncDir {
        /// Which.
        dir: Dir,
        /// What to report.
        ticket: Ticket,
    },
}

/// A disk operation that failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DiskFault {
    /// In which lane.
    pub lane: Lane,
    /// Which operation.
    pub action: DiskAction,
    /// On which file; `None` for a folder.
    pub file: Option<FileName>,
    /// The operating system's words.
    pub cause: String,
}

/// What a failed disk operation was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names of DiskOp")]
pub enum DiskAction {
    Create,
    Append,
    Sync,
    Truncate,
    Rename,
    Remove,
    SyncDir,
}

impl fmt::Display for DiskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            DiskAction::Create => "create",
            DiskAction::Append => "append to",
            DiskAction::Sync => "sync",
            DiskAction::Truncate => "truncate",
            DiskAction::Rename => "rename",
            DiskAction::Remove => "remove",
            DiskAction::SyncDir => "sync the folder",
        };
        match self.file {
            Some(file) => write!(f, "cannot {action} {file}: {}", self.cause),
            None => write!(f, "cannot {action}: {}", self.cause),
        }
    }
}

/// An order of whoever runs this server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AdminOrder {
    /// Take no new work, answer what is durable, hand over to the followers if this server leads, close every connection, then
    /// [`Stop::Ordered`].
    Shutdown,
    /// What only the host knows, for `mntr`; fed now and then.
    HostGauges {
        /// Open file descriptors of the process.
        open_fds: i64,
        /// Their limit.
        max_fds: i64,
    },
}

/// Why a server must not be stepped again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// It was told to.
    Ordered,
    /// Its log cannot be trusted to hold what it promised.
    Disk(DiskFault),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Ordered => write!(f, "stopped as ordered"),
            Stop::Disk(fault) => write!(
                f,
                "{fault}; nothing that was acknowledged is lost, mend the disk and start the server again"
            ),
        }
    }
}

/// What happened inside. Cheap to make; drivers use what they need.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The server took up a role. A standalone server serves clients from here on, others from [`Event::Activated`] on.
    Became(RoleName),
    /// An election named a leader.
    Elected {
        /// Whom.
        leader: ServerId,
        /// The election's round.
        round: i64,
    },
    /// This leader's epoch is accepted by a quorum, and none of it knows more than this leader.
    Established {
        /// Which.
        epoch: Epoch,
    },
    /// A member of an ensemble serves clients from here on: a leader whose history is committed, a learner that is up to date.
    Activated {
        /// The leader's.
        epoch: Epoch,
    },
    /// Another configuration is in force. The driver keeps it in the dynamic configuration file, and goes by its ports.
    Reconfigured {
        /// Its text, as in the file.
        text: String,
    },
    /// The role is over; clients are served no more.
    RoleLost {
        /// Why.
        why: Lost,
    },
    /// A transaction got its zxid from this server.
    Proposed {
        /// Its place.
        zxid: Zxid,
        /// TxnHeader, record, digest.
        txn: Bytes,
    },
    /// A transaction was handed to this server's log: its own proposal or another's.
    Logged {
        /// Its place.
        zxid: Zxid,
        /// TxnHeader, record, digest.
        txn: Bytes,
    },
    /// The log's end was cut off, at a leader's word.
    Truncated {
        /// The last zxid that is kept.
        to: Zxid,
    },
    /// A leader's snapshot takes the place of log and tree.
    Installed {
        /// Its zxid.
        zxid: Zxid,
        /// The digest of its tree.
        digest: u64,
    },
    /// A leader begins to send a learner what makes its history the leader's.
    Synchronizes {
        /// Whom.
        learner: ServerId,
        /// What.
        by: SyncBy,
    },
    /// A leader counted a quorum of acks for a transaction.
    QuorumAcked {
        /// Which.
        zxid: Zxid,
        /// Whose acks.
        acks: Vec<ServerId>,
    },
    /// The tree after a transaction is not what its leader's digest says. A fuzzy snapshot of a Java leader looks so for a
    /// moment.
    DigestMismatch {
        /// Which.
        zxid: Zxid,
    },
    /// The server vouched for stored state: it will behave as if this were never forgotten.
    Vouched(Vouch),
    /// A transaction is part of history, as far as this server has learned. `txn` is its body as logged (see [`crate::proto::LoggedTxn`]).
    Committed {
        /// Its place.
        zxid: Zxid,
        /// TxnHeader, record, digest.
        txn: Bytes,
    },
    /// A transaction has been applied to the tree.
    Applied {
        /// Its place.
        zxid: Zxid,
        /// Tree digest after it.
        digest: u64,
    },
    /// A connection was closed by this server, and why.
    ConnClosed {
        /// Which.
        conn: Conn,
        /// Why.
        cause: CloseCause,
    },
    /// A session was attached to a connection.
    SessionAttached {
        /// Which.
        session: SessionId,
        /// To which.
        conn: Conn,
        /// False: created just now.
        reattached: bool,
    },
    /// A session's time ran out; its close has been proposed.
    SessionExpired {
        /// Which.
        session: SessionId,
    },
    /// The log goes on in a new file.
    LogRolled {
        /// The first zxid of the new file.
        first: Zxid,
    },
    /// A snapshot was begun.
    SnapshotBegun {
        /// State after this transaction.
        zxid: Zxid,
    },
    /// A snapshot is durable under its name.
    SnapshotDone {
        /// State after this transaction.
        zxid: Zxid,
        /// Its size.
        bytes: u64,
    },
    /// A snapshot was given up; the next one starts anew.
    SnapshotFailed {
        /// Why.
        fault: DiskFault,
    },
    /// Files were purged.
    Purged {
        /// How many.
        files: usize,
    },
    /// A request was answered.
    Replied {
        /// To which session.
        session: SessionId,
        /// Request's opcode on the wire.
        op: i32,
        /// Nanoseconds from its arrival.
        latency: u64,
    },
}

/// What a leader brings a learner up to its history with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncBy {
    /// DIFF or TRUNC, and transactions from memory.
    Memory,
    /// DIFF or TRUNC, and transactions from the log on disk, then from memory.
    Log,
    /// SNAP.
    Snapshot,
}

/// A role's name, as `Mode:` in `srvr` shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoleName {
    /// `standalone`.
    Standalone,
    /// An election is under way.
    Looking,
    /// `leader`.
    Leader,
    /// `follower`.
    Follower,
    /// `observer`.
    Observer,
    /// `read-only`: still looking for a leader, and serving reads meanwhile.
    ReadOnly,
}

/// The whole list of promises: what may only be said once it is durable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Vouch {
    /// This server holds the transaction: it counts itself for the quorum. A standalone server is a quorum of one.
    OwnAck(Zxid),
    /// This follower holds the transaction: the leader may count it.
    Ack(Zxid),
    /// This server has accepted the epoch: it will follow no older one. A leader offers its epoch only then, a learner
    /// answers to it only then.
    AckEpoch(Epoch),
    /// This server holds the history that the epoch begins with, and the epoch as its current one.
    AckNewLeader(Epoch),
    /// What recovery read is durable again (a killed process leaves bytes that no one has synced): serve it.
    Recovered(Zxid),
}

/// Why this server closed a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseCause {
    /// The client asked for it (closeSession).
    SessionClosed,
    /// The session expired.
    SessionExpired,
    /// The session's owner is another connection now.
    SessionMoved,
    /// A four-letter word was answered.
    FourLetterWord,
    /// A frame longer than jute.maxbuffer, or of negative length.
    FrameLength(i32),
    /// The frame is too short for its header, or the handshake does not parse.
    BadFrame,
    /// An opcode that no client may use.
    UnknownOpcode(i32),
    /// The client has seen a zxid that this server has not.
    ZxidAhead,
    /// The session asked for does not exist, or the password is wrong.
    InvalidSession,
    /// The server does not serve yet, or not any more.
    NotServing,
    /// An auth packet that no provider accepts.
    AuthFailed,
    /// No handshake in time.
    NoHandshake,
    /// Too many connections from one address, or in all.
    TooManyConnections,
    /// The client does not read what it is sent.
    SlowReader,
    /// The server is stopping.
    Stopping,
    /// A newer connection of the same server takes its place.
    Replaced,
    /// Of two servers the one with the larger id dials; a connection of the other one only asks for that.
    LargerDials,
    /// The other end claims this server's own id.
    OwnServerId,
    /// A dial that neither came through nor failed in time.
    DialTimeout,
    /// What a leader or a learner says of the other end.
    Peer(Cause),
    /// A learner that came to a server which follows another, or one too many.
    NotLeading,
    /// An observer that came to a server which has no observers: it does not follow, or is not up to date.
    NoObserverMaster,
    /// The observer is so far behind that a snapshot is cheaper.
    ObserverBehind,
}

/// What wakes a server next; for explanations.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timer {
    /// A bucket of sessions expires.
    SessionExpiry,
    /// Connections without a handshake are closed.
    Handshake,
    /// Containers and TTL nodes are looked at.
    Reaper,
    /// Old files are purged.
    Purge,
    /// A vote is told again, a dial is given up, a quiet time is over.
    Election,
    /// A ping is due, or a leader or learner is given up.
    Zab,
}
