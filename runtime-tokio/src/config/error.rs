//! Why a configuration is refused, and what is merely worth a warning. Every message names file, line, key and value, and says
//! what to do.

use std::fmt;
use std::path::PathBuf;
use zebu_core::addr::Addr;
use zebu_core::id::ServerId;
use zebu_core::quorum::BadConfig;

/// Why a zoo.cfg is refused. The process ends with code 2, as Java's does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// The operating system's words.
        cause: String,
    },
    /// `\u` without four hexadecimal digits.
    BadEscape {
        /// In which file.
        file: PathBuf,
        /// On which line.
        line: usize,
    },
    /// A value that the key cannot take.
    Invalid {
        /// In which file.
        file: PathBuf,
        /// On which line.
        line: usize,
        /// The key as written.
        key: String,
        /// The value as written.
        value: String,
        /// What to write instead.
        want: String,
    },
    /// A key that must be there.
    Missing {
        /// In which file.
        file: PathBuf,
        /// Which key.
        key: &'static str,
        /// What to add.
        hint: &'static str,
    },
    /// The lines of the members are no configuration.
    Members {
        /// In which file.
        file: PathBuf,
        /// On which line, if one is to blame.
        line: Option<usize>,
        /// What is wrong.
        cause: BadConfig,
    },
    /// The client address in this server's own line.
    ClientAddr {
        /// In which file.
        file: PathBuf,
        /// The address.
        addr: Addr,
    },
    /// Which of the members this server is cannot be told.
    MyId {
        /// The file that says it.
        file: PathBuf,
        /// What is wrong with it.
        fault: MyIdFault,
        /// Ids that the configuration lists.
        listed: Vec<ServerId>,
    },
    /// The file asks for a protection that Zebu does not have yet.
    Protection {
        /// In which file.
        file: PathBuf,
        /// On which line.
        line: usize,
        /// Which key.
        key: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable { file, cause } => {
                write!(f, "cannot read the configuration file {}: {cause}", file.display())
            }
            ConfigError::BadEscape { file, line } => write!(
                f,
                "{}, line {line}: \\u must be followed by four hexadecimal digits; write \\\\ for a backslash",
                file.display()
            ),
            ConfigError::Invalid { file, line, key, value, want } => {
                write!(f, "{}, line {line}: {key}={value} is not valid: {want}", file.display())
            }
            ConfigError::Missing { file, key, hint } => {
                write!(f, "{}: {key} is missing: {hint}", file.display())
            }
            ConfigError::Members { file, line: Some(line), cause } => {
                write!(f, "{}, line {line}: {cause}", file.display())
            }
            ConfigError::Members { file, line: None, cause } => write!(f, "{}: {cause}", file.display()),
            ConfigError::ClientAddr { file, addr } => write!(
                f,
                "{}: the client address {addr} of this server's line is none that this machine resolves",
                file.display()
            ),
            ConfigError::MyId { file, fault, listed } => {
                let ids: Vec<String> = listed.iter().map(ServerId::to_string).collect();
                write!(
                    f,
                    "{} {fault}: write this server's number into it, the N of its server.N line ({})",
                    file.display(),
                    ids.join(", ")
                )
            }
            ConfigError::Protection { file, line, key } => write!(
                f,
                "{}, line {line}: {key} cannot be enforced by this version; remove the line only if everyone may \
                 come in without it",
                file.display()
            ),
        }
    }
}
impl std::error::Error for ConfigError {}

/// What is wrong with the file `myid`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MyIdFault {
    /// There is none.
    Missing,
    /// It cannot be read: the operating system's words.
    Unreadable(String),
    /// Its first line, cut short, is no number.
    NoNumber(String),
    /// No member has this number.
    NotListed(ServerId),
    /// extendedTypesEnabled leaves no session ids to this number.
    TooLarge(ServerId),
}

impl fmt::Display for MyIdFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MyIdFault::Missing => write!(f, "is missing"),
            MyIdFault::Unreadable(cause) => write!(f, "cannot be read ({cause})"),
            MyIdFault::NoNumber(text) => write!(f, "holds '{text}', which is no number"),
            MyIdFault::NotListed(sid) => write!(f, "holds {sid}, which is no server of the configuration"),
            MyIdFault::TooLarge(sid) => {
                write!(f, "holds {sid}, but with extendedTypesEnabled the largest number is 254")
            }
        }
    }
}

/// Something in a zoo.cfg that the user should know of. The server starts all the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// On which line.
    pub line: usize,
    /// About which key, as written.
    pub key: String,
    /// What about it.
    pub kind: WarningKind,
}

/// What a [`Warning`] is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WarningKind {
    /// Not a key of ZooKeeper's.
    Unknown,
    /// A feature of ZooKeeper that Zebu does not have yet.
    NotYet,
    /// The key was there before; the last one counts.
    Duplicate {
        /// On which line it was.
        first: usize,
    },
    /// A folder whose path hangs on where the server is started.
    RelativePath,
    /// The value was too small.
    Raised {
        /// What is used.
        to: i64,
    },
    /// forceSync=no: Zebu acknowledges nothing that is not on disk.
    AlwaysSyncs,
    /// Java reads it from its command line only; Zebu does as the line says.
    HonouredHere,
    /// A `server.N` line, and no other voter.
    OnlyOneServer,
    /// An ensemble that stands still without any one of its voters.
    NoFailureTolerated {
        /// How many there are.
        voters: usize,
    },
    /// One voter fewer would tolerate as many failures.
    EvenServers {
        /// How many there are.
        voters: usize,
    },
    /// peerType is not what the `server.N` line says.
    PeerType,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Warning { line, key, kind } = self;
        match kind {
            WarningKind::Unknown => write!(f, "line {line}: unknown key '{key}' is ignored"),
            WarningKind::NotYet => {
                write!(f, "line {line}: '{key}' is not supported yet and is ignored")
            }
            WarningKind::Duplicate { first } => {
                write!(f, "line {line}: '{key}' was already set on line {first}; this line counts")
            }
            WarningKind::RelativePath => write!(
                f,
                "line {line}: the path of '{key}' is relative to where the server is started; begin it with / or ./"
            ),
            WarningKind::Raised { to } => write!(f, "line {line}: '{key}' is too small; {to} is used"),
            WarningKind::AlwaysSyncs => {
                write!(f, "line {line}: '{key}' is ignored: what is acknowledged is always on disk")
            }
            WarningKind::HonouredHere => write!(
                f,
                "line {line}: '{key}' is honoured; a Java server would ignore it in this file and wants it on its command line"
            ),
            WarningKind::OnlyOneServer => {
                write!(
                    f,
                    "line {line}: '{key}' names the only server: it runs standalone, not as an ensemble"
                )
            }
            WarningKind::NoFailureTolerated { voters } => write!(
                f,
                "line {line}: with {voters} voting servers no failure of a server is tolerated; at least 3 are needed for that"
            ),
            WarningKind::EvenServers { voters } => write!(
                f,
                "line {line}: {voters} voting servers tolerate no more failures than {} would; consider an odd number",
                voters - 1
            ),
            WarningKind::PeerType => {
                write!(
                    f,
                    "line {line}: '{key}' is not what this server's line in the list says; the list counts"
                )
            }
        }
    }
}
