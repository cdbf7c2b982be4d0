//! A client as a state machine: the session, the connection under it, its calls and watches. Answers to `ClientCnxn`,
//! `ZooKeeper` and `ZKWatchManager`. Must not know a server's insides, nor who drives it.
//!
//! The driver feeds [`ClientInput`]s and carries out [`ClientOutput`]s; the application asks by [`ClientInput::Call`]. Applications
//! written as async code use [`face`] instead. What holds:
//! - Calls are sent in the order in which they were made, and answered in that order.
//! - An event comes before the reply to anything that shows its effect.
//! - When a connection ends, every call without a reply ends in ConnectionLoss, also one that was still waiting to be sent.
//!   Nothing is ever sent twice: whether a lost write happened, only the application can find out.
//! - Watches outlive connections; sessions outlive servers.

mod connect;
pub mod face;
mod link;
mod machine;
mod prepare;
mod replies;
mod watches;

pub use connect::{BadConnectString, ClientConfig, DEFAULT_PORT, ServerAddr};
pub use machine::Client;

use crate::boundary::Conn;
use crate::id::{SessionId, Xid, Zxid};
use crate::jute::Bad;
use crate::proto::{ErrorCode, Request, Response, WatcherEvent, WatcherType};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::fmt;

/// A call of the application, numbered by it; a number is never used twice. It names the watch too that the call sets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallId(pub u64);

/// What a client is told. Each one is a step.
#[derive(Clone, PartialEq, Debug)]
pub enum ClientInput<'a> {
    /// Only time passed.
    Wake,
    /// A [`ClientOutput::Dial`] came through.
    Opened {
        /// Its number.
        conn: Conn,
    },
    /// Bytes came in: any split of the stream.
    Received {
        /// From which connection.
        conn: Conn,
        /// At least one byte.
        bytes: &'a [u8],
    },
    /// The connection ended, or never came to be. Not reported after [`ClientOutput::Close`].
    Closed {
        /// Which.
        conn: Conn,
    },
    /// Do this. Paths are the application's, without the chroot.
    Call {
        /// Its number.
        id: CallId,
        /// What to do.
        request: Request,
    },
    /// Read the ensemble's configuration, which no chroot hides.
    GetConfig {
        /// Its number.
        id: CallId,
        /// Set a data watch.
        watch: bool,
    },
    /// Nobody wants the watch of this answered call any more. No reply.
    Unwatch {
        /// The call that set it.
        id: CallId,
    },
    /// Forget watches as removeWatches would, without asking a server. No reply.
    Forget {
        /// On which path.
        path: String,
        /// Which ones.
        kind: WatcherType,
    },
    /// End the session. The reply is an error if the server may not know of it.
    Close {
        /// Its number.
        id: CallId,
    },
}

/// What a client asks for and tells, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum ClientOutput {
    /// Connect to this server.
    Dial {
        /// The number of the new connection.
        conn: Conn,
        /// Index into [`ClientConfig::servers`].
        server: usize,
    },
    /// Queue these bytes for the connection.
    Send {
        /// To which connection.
        conn: Conn,
        /// Whole frames.
        bytes: Bytes,
    },
    /// End the connection, or give up dialing.
    Close {
        /// Which.
        conn: Conn,
    },
    /// A call's outcome. Every call gets exactly one.
    Reply {
        /// Which call.
        id: CallId,
        /// The reply's, or -1 if it was made here.
        zxid: Zxid,
        /// A failed multi is `Ok`: its results say what failed.
        result: Result<Response, ErrorCode>,
    },
    /// A watch event.
    Watch {
        /// Of the transaction; -1 when it is caught up after a reconnect, or made here.
        zxid: Zxid,
        /// What happened, chroot taken off.
        event: WatcherEvent,
        /// The calls whose watches it concerns; at least one.
        calls: BTreeSet<CallId>,
    },
    /// The session's state changed.
    State(ClientState),
    /// A connection ended or did not come to be; for logs. A state follows only if the session was connected.
    Lost {
        /// Which.
        conn: Conn,
        /// Why.
        cause: Disconnect,
    },
}

/// The states of a session, as an application sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientState {
    /// No server has answered yet.
    Connecting,
    /// In touch with a server.
    Connected {
        /// The session.
        session: SessionId,
        /// What the server agreed to.
        timeout_ms: i32,
        /// The session is the one from before, with its ephemerals.
        reattached: bool,
    },
    /// In touch with a server that has lost its quorum: reads only.
    ConnectedReadOnly {
        /// The session.
        session: SessionId,
        /// What the server agreed to.
        timeout_ms: i32,
        /// The session is the one from before; else it lives only there.
        reattached: bool,
    },
    /// Out of touch; the client goes on trying.
    Disconnected,
    /// Final: the session is over, its ephemerals are gone or will be.
    Expired,
    /// Final: a server refused the credentials.
    AuthFailed,
    /// Final: the application closed it.
    Closed,
}

impl ClientState {
    /// In touch with a server.
    pub fn is_connected(self) -> bool {
        matches!(self, ClientState::Connected { .. } | ClientState::ConnectedReadOnly { .. })
    }
    /// The client does nothing more.
    pub fn is_final(self) -> bool {
        matches!(self, ClientState::Expired | ClientState::AuthFailed | ClientState::Closed)
    }
}

/// Why a connection of a client ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disconnect {
    /// The other side or the network did it, or refused.
    Closed,
    /// Not connected, or no answer to the handshake, in time.
    ConnectTimeout,
    /// Nothing heard for two thirds of the session's timeout.
    ReadTimeout,
    /// A frame longer than agreed, or of negative length.
    FrameLength(i32),
    /// A frame that does not parse.
    BadFrame(Bad),
    /// A reply to another request than the one whose turn it was.
    XidOutOfOrder {
        /// Whose turn it was.
        expected: Option<Xid>,
        /// Whose reply came.
        got: Xid,
    },
    /// An error code that no ZooKeeper 3.9 sends.
    UnknownError(i32),
    /// The server made a session of its own instead of taking up ours.
    ForeignSession(SessionId),
    /// The server can only read, and that is not enough for us.
    ReadOnlyServer,
    /// The session is over; see the state.
    Final,
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disconnect::Closed => write!(f, "closed by the server or the network"),
            Disconnect::ConnectTimeout => write!(f, "no connection in time"),
            Disconnect::ReadTimeout => write!(f, "the server is silent"),
            Disconnect::FrameLength(n) => write!(f, "the server sent a frame of length {n}"),
            Disconnect::BadFrame(bad) => write!(f, "the server sent a bad frame: {bad}"),
            Disconnect::XidOutOfOrder { expected, got } => match expected {
                Some(expected) => write!(f, "xid out of order: got {}, expected {}", got.0, expected.0),
                None => write!(f, "xid out of order: got {}, expected nothing", got.0),
            },
            Disconnect::UnknownError(code) => write!(f, "the server sent the unknown error {code}"),
            Disconnect::ForeignSession(id) => write!(f, "the server answered with another session, {id}"),
            Disconnect::ReadOnlyServer => write!(f, "the server has no quorum"),
            Disconnect::Final => write!(f, "the session is over"),
        }
    }
}

#[cfg(test)]
mod tests;
