//! Every bound that is not a setting, with its reason. Settings with ZooKeeper's defaults are in [`crate::config`].

/// Bytes that must leave a connection's queue between two reports of [`crate::boundary::Input::Writable`]: rare enough to cost
/// nothing, often enough for [`SEND_PAUSE`].
pub const WRITABLE_EVERY: usize = 64 << 10;

/// Unsent bytes of one connection above which the server stops reading from it: a client that does not read its replies
/// must not ask for more. The usual value of [`crate::config::Config::send_pause`].
pub const SEND_PAUSE: usize = 4 << 20;

/// Unsent bytes of one connection above which it is closed: replies stop at [`SEND_PAUSE`], so only watch events and one
/// huge reply can get here.
pub const SEND_CLOSE: usize = 64 << 20;

/// Requests of one connection that may wait (for its own writes) before the server stops reading from it.
pub const CONN_PENDING: usize = 1000;

/// Bytes of the requests of one connection that may wait, for the same reason.
pub const CONN_PENDING_BYTES: usize = 16 << 20;

/// How long a connection may stay without a handshake: `zookeeper.nio.sessionlessCnxnTimeout`.
pub const HANDSHAKE_MS: u64 = 10_000;

/// Bytes of a snapshot that one disk operation writes or one step sends, and of a log that are read at once for a learner: so
/// that no step takes long. The usual value of [`crate::config::Config::piece`].
pub const PIECE: usize = 256 << 10;

/// Longest transaction body that a log may hold. Java refuses beyond jute.maxbuffer and its extra size; but a closeSession
/// lists every ephemeral of its session, and what was written must be readable.
pub const MAX_TXN: usize = 1 << 30;

/// Unsynced bytes that may lie in a log file: what a power cut can tear, and so how far behind a torn entry others of the same
/// fate may lie. The largest request at jute.maxbuffer's default fits; so does what any disk can write in one sync.
pub const LOG_IN_FLIGHT: usize = (1 << 20) + (64 << 10);

/// Decompressed size up to which a compressed snapshot is read.
pub const MAX_SNAPSHOT: u64 = 64 << 30;

/// Connections of the election port that have not said yet who they are; the oldest gives way.
pub const ELECTION_OPENING: usize = 64;

/// Servers outside the configuration that may be connected to the election port: joiners, unlisted observers.
pub const ELECTION_STRANGERS: usize = 256;

/// Youth of an election connection, ms: within it a smaller server's call for a connection crossed ours on the way.
pub const ELECTION_YOUNG_MS: u64 = 500;

/// First and longest pause between dials to a server that a vote waits for, ms; each is twice the one before. The first is
/// short: a process that is being killed may take one more connection, and the next dial says that it is gone.
pub const ELECTION_REDIAL_MS: (u64, u64) = (10, 1000);

/// Longest pause before a vote is told again while other voters are heard of, ms; ZooKeeper's maxNotificationInterval of a
/// minute is for silence.
pub const ELECTION_HEARD_MS: u64 = 1000;

/// Transactions that a learner takes before their commits come: far beyond what a leader lets be outstanding.
pub const PENDING_TXNS: usize = 100_000;

/// Bytes of those.
pub const PENDING_BYTES: usize = 256 << 20;

/// Longest packet of a learner: a request at jute.maxbuffer's largest sensible size, or a PING with millions of sessions.
pub const MAX_LEARNER_PACKET: usize = 64 << 20;

/// Longest packet of a leader: a transaction, with its header.
pub const MAX_LEADER_PACKET: usize = MAX_TXN + (1 << 10);

/// Learners that may wait at a server which does not lead yet; the oldest gives way.
pub const QUORUM_WAITING: usize = 256;

/// What one of those may send meanwhile: its FOLLOWERINFO.
pub const QUORUM_WAITING_BYTES: usize = 4 << 10;

/// Unsent bytes of one peer above which its connection is given up: it is far behind, and a snapshot is cheaper.
pub const PEER_UNSENT: usize = 256 << 20;

/// What may wait for an observer beside the transactions that observerMaster.sizeLimit counts: a snapshot's stream, the packets'
/// own bytes, what has left and is not reported yet.
pub const OBSERVER_UNSENT: usize = 4 << 20;

/// Unsent bytes up to which a snapshot's stream, or a log's, goes on being written. The usual value of
/// [`crate::config::Config::stream_ahead`].
pub const STREAM_AHEAD: usize = 1 << 20;

/// Closed sessions that a leader remembers while local sessions are on: a request of one of them cannot be so late.
pub const CLOSED_SESSIONS: usize = 1 << 16;

/// Path text in one setWatches request of a client, well under a server's jute.maxbuffer: `SET_WATCHES_MAX_LENGTH`. The usual
/// value of [`crate::client::ClientConfig::set_watches`].
pub const SET_WATCHES: usize = 128 << 10;
