//! The error codes of the client protocol. Answers to `KeeperException.Code`.

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// What a reply header's `err` says. Only codes that ZooKeeper 3.9 knows: clients drop the connection at others.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
        #[repr(i32)]
        pub enum ErrorCode { $($(#[$doc])* $name = $code,)* }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name,)*];
            /// The code of a number; `None` for 0 and for numbers that 3.9 does not know.
            pub fn from_code(code: i32) -> Option<ErrorCode> {
                match code { $($code => Some(ErrorCode::$name),)* _ => None }
            }
            /// What Java's clients print after `KeeperErrorCode = `.
            pub fn text(self) -> &'static str {
                match self { $(ErrorCode::$name => $text,)* }
            }
        }
    };
}

error_codes! {
    /// Range mark; never sent.
    SystemError = -1, "SystemError";
    /// An operation of a failed multi that came after the culprit.
    RuntimeInconsistency = -2, "RuntimeInconsistency";
    /// Never sent.
    DataInconsistency = -3, "DataInconsistency";
    /// Made by clients: the connection broke, the outcome is unknown.
    ConnectionLoss = -4, "ConnectionLoss";
    /// The request does not parse.
    MarshallingError = -5, "MarshallingError";
    /// Unknown, forbidden or switched-off operation.
    Unimplemented = -6, "Unimplemented";
    /// Made by clients.
    OperationTimeout = -7, "OperationTimeout";
    /// Bad path, flags or TTL.
    BadArguments = -8, "BadArguments";
    /// Made by clients.
    InvalidState = -9, "InvalidState";
    /// Unknown session.
    UnknownSession = -12, "UnknownSession";
    /// Reconfiguration: the new quorum is not connected.
    NewConfigNoQuorum = -13, "NewConfigNoQuorum";
    /// Reconfiguration: another one is under way.
    ReconfigInProgress = -14, "ReconfigInProgress";
    /// Range mark; never sent.
    ApiError = -100, "APIError";
    /// The node, or the parent, does not exist.
    NoNode = -101, "NoNode";
    /// The ACL forbids it.
    NoAuth = -102, "NoAuth";
    /// The version given is not the node's.
    BadVersion = -103, "BadVersion";
    /// An ephemeral has no children.
    NoChildrenForEphemerals = -108, "NoChildrenForEphemerals";
    /// The node exists.
    NodeExists = -110, "NodeExists";
    /// The node has children.
    NotEmpty = -111, "Directory not empty";
    /// The session has expired or is closing.
    SessionExpired = -112, "Session expired";
    /// Made by clients.
    InvalidCallback = -113, "InvalidCallback";
    /// The ACL list is empty or has an entry that cannot be.
    InvalidAcl = -114, "InvalidACL";
    /// Authentication failed; the connection is closed.
    AuthFailed = -115, "AuthFailed";
    /// The session moved to another server; only in transactions, its client is disconnected.
    SessionMoved = -118, "Session moved";
    /// A write at a read-only server.
    NotReadOnly = -119, "Not a read-only call";
    /// An ephemeral on a local session.
    EphemeralOnLocalSession = -120, "Attempt to create ephemeral node on a local session";
    /// No such watch.
    NoWatcher = -121, "No such watcher";
    /// Made by clients.
    RequestTimeout = -122, "RequestTimeout";
    /// Reconfiguration is switched off.
    ReconfigDisabled = -123, "Reconfig is disabled";
    /// The server asks for authentication first; the connection is closed.
    SessionClosedRequireSaslAuth = -124, "Session closed because client failed to authenticate";
    /// A quota would be exceeded.
    QuotaExceeded = -125, "Quota has exceeded";
    /// The server is overloaded.
    ThrottledOp = -127, "Op throttled due to high load";
}

impl ErrorCode {
    /// The number on the wire.
    pub fn code(self) -> i32 {
        self as i32
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeeperErrorCode = {}", self.text())
    }
}
impl std::error::Error for ErrorCode {}
