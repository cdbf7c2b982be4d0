//! Why a configuration is refused, and what is merely worth a warning. Every message names file, line, key and value, and says
//! what to do.

use std::fmt;
use std::path::PathBuf;

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
    /// The file describes an ensemble.
    Ensemble {
        /// In which file.
        file: PathBuf,
        /// On which line.
        line: usize,
        /// The key that says so.
        key: String,
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
            ConfigError::Ensemble { file, line, key } => write!(
                f,
                "{}, line {line}: {key} makes this server part of an ensemble, which this version does not support yet: \
                 run one standalone server, with at most one server.N line",
                file.display()
            ),
            ConfigError::Protection { file, line, key } => write!(
                f,
                "{}, line {line}: {key} cannot be enforced by this version; remove the line only if every client may \
                 come in without it",
                file.display()
            ),
        }
    }
}
impl std::error::Error for ConfigError {}

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
        }
    }
}
