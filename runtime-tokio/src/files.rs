//! The data directories of a server: made, checked, locked, and read for recovery. Must not know what is in the files.
//! Answers to `FileTxnSnapLog`'s constructor.

use bytes::Bytes;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use zebu_core::boundary::{Dir, FileName};
use zebu_core::disk::{FileError, Files};

/// ZooKeeper's name for the folder of its present formats.
const VERSION_DIR: &str = "version-2";
/// Java ignores this name: it only looks at `log.*` and `snapshot.*`.
const LOCK_FILE: &str = "zebu.lock";

/// Why the data directories cannot be used.
#[derive(Debug)]
pub enum DirError {
    /// A folder is missing and `datadir.autocreate` forbids to make it.
    Missing {
        /// Which.
        dir: PathBuf,
    },
    /// It cannot be made, read or written.
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The operating system's words.
        cause: io::Error,
    },
    /// Another process has it.
    Locked {
        /// Which folder.
        dir: PathBuf,
        /// What the lock file says of its owner.
        owner: String,
    },
    /// dataDir and dataLogDir are distinct, yet a file lies in the other's folder.
    Misplaced {
        /// The file.
        path: PathBuf,
        /// Where files of its kind belong.
        belongs: PathBuf,
    },
}

impl fmt::Display for DirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DirError::Missing { dir } => write!(
                f,
                "the folder {} does not exist and datadir.autocreate is false: make it, or correct dataDir and dataLogDir",
                dir.display()
            ),
            DirError::Io { action, path, cause } => {
                write!(f, "cannot {action} {}: {cause}", path.display())
            }
            DirError::Locked { dir, owner } => write!(
                f,
                "{} is in use by another server ({owner}): stop that one, or give this one its own dataDir",
                dir.display()
            ),
            DirError::Misplaced { path, belongs } => write!(
                f,
                "{} lies in the wrong folder: with dataDir and dataLogDir apart, move it to {}",
                path.display(),
                belongs.display()
            ),
        }
    }
}
impl std::error::Error for DirError {}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirError {
    let path = path.to_owned();
    move |cause| DirError::Io { action, path, cause }
}

/// The two folders, open and locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct DataDirs {
    data: PathBuf,
    log: PathBuf,
    _locks: Vec<File>,
}

impl DataDirs {
    /// Makes what is missing, checks that no file is misplaced, takes the locks.
    pub(crate) fn open(data_dir: &Path, log_dir: &Path, autocreate: bool) -> Result<DataDirs, DirError> {
        let data = version_dir(data_dir, autocreate)?;
        let log = version_dir(log_dir, autocreate)?;
        let mut locks = vec![lock(&data)?];
        if data != log {
            locks.push(lock(&log)?);
            refuse_misplaced(&data, "log.", &log)?;
            refuse_misplaced(&log, "snapshot.", &data)?;
        }
        Ok(DataDirs { data, log, _locks: locks })
    }

    /// The absolute path of a folder.
    pub(crate) fn path(&self, dir: Dir) -> &Path {
        match dir {
            Dir::Data => &self.data,
            Dir::Log => &self.log,
        }
    }

    /// [`Dir::Log`] only if it is a folder of its own.
    pub(crate) fn distinct(&self) -> &'static [Dir] {
        if self.data == self.log { &[Dir::Data] } else { &[Dir::Data, Dir::Log] }
    }

    /// The absolute path of a file.
    pub(crate) fn file(&self, name: FileName) -> PathBuf {
        self.path(name.dir()).join(name.to_string())
    }
}

impl Files for DataDirs {
    fn list(&self, dir: Dir) -> Result<Vec<(String, u64)>, FileError> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.path(dir)).map_err(file_error)? {
            let entry = entry.map_err(file_error)?;
            // Names that are no text are none of ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let about = entry.metadata().map_err(file_error)?;
            if about.is_file() && name != LOCK_FILE {
                files.push((name, about.len()));
            }
        }
        Ok(files)
    }

    fn read(&self, dir: Dir, name: &str) -> Result<Bytes, FileError> {
        fs::read(self.path(dir).join(name)).map(Bytes::from).map_err(file_error)
    }
}

fn file_error(e: io::Error) -> FileError {
    match e.kind() {
        io::ErrorKind::NotFound => FileError::Missing,
        _ => FileError::Io(e.to_string()),
    }
}

/// `dir/version-2`, made if need be and without symbolic links.
fn version_dir(dir: &Path, autocreate: bool) -> Result<PathBuf, DirError> {
    let version = dir.join(VERSION_DIR);
    if !version.is_dir() {
        if !autocreate {
            return Err(DirError::Missing { dir: version });
        }
        fs::create_dir_all(&version).map_err(io_error("make the folder", &version))?;
        // The new folder must survive a power cut as surely as the files that will be synced in it.
        for made in [Some(dir), dir.parent()].into_iter().flatten().filter(|p| !p.as_os_str().is_empty()) {
            File::open(made).and_then(|d| d.sync_all()).map_err(io_error("sync the folder", made))?;
        }
    }
    version.canonicalize().map_err(io_error("open the folder", &version))
}

fn lock(dir: &Path) -> Result<File, DirError> {
    let path = dir.join(LOCK_FILE);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io_error("open the lock file", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let read = file.read_to_string(&mut owner);
            let owner = if read.is_ok() && !owner.is_empty() { owner.trim() } else { "unknown" };
            return Err(DirError::Locked { dir: dir.to_owned(), owner: owner.to_owned() });
        }
        Err(TryLockError::Error(cause)) => return Err(io_error("lock", &path)(cause)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "process {}", std::process::id()))
        .map_err(io_error("write the lock file", &path))?;
    Ok(file)
}

fn refuse_misplaced(dir: &Path, prefix: &str, belongs: &Path) -> Result<(), DirError> {
    for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
        let entry = entry.map_err(io_error("list", dir))?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            return Err(DirError::Misplaced { path: entry.path(), belongs: belongs.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_made_and_locked() {
        let temp = tempfile::tempdir().unwrap();
        let (data, log) = (temp.path().join("a/data"), temp.path().join("log"));
        let missing = DataDirs::open(&data, &log, false).unwrap_err();
        assert!(
            matches!(&missing, DirError::Missing { dir } if dir.ends_with("a/data/version-2")),
            "{missing}"
        );
        let dirs = DataDirs::open(&data, &log, true).unwrap();
        assert_eq!(dirs.file(FileName::CurrentEpoch), dirs.path(Dir::Data).join("currentEpoch"));
        assert_eq!(dirs.distinct(), [Dir::Data, Dir::Log]);
        // The log folder alone is enough to clash.
        let locked = DataDirs::open(&temp.path().join("other"), &log, true).unwrap_err();
        let owner = format!("(process {})", std::process::id());
        assert!(locked.to_string().contains(&owner), "{locked}");
        drop(dirs);
        assert!(DataDirs::open(&data, &log, false).is_ok());
    }

    #[test]
    fn misplaced_files_are_refused_only_between_distinct_folders() {
        let temp = tempfile::tempdir().unwrap();
        let (data, log) = (temp.path().join("data"), temp.path().join("log"));
        let dirs = DataDirs::open(&data, &data, true).unwrap();
        fs::write(dirs.path(Dir::Data).join("log.1"), "").unwrap();
        drop(dirs);
        assert!(DataDirs::open(&data, &data, true).is_ok());
        let misplaced = DataDirs::open(&data, &log, true).unwrap_err();
        assert!(
            matches!(&misplaced, DirError::Misplaced { path, .. } if path.ends_with("data/version-2/log.1"))
        );
        assert!(misplaced.to_string().contains("move it to"), "{misplaced}");
    }

    #[test]
    fn recovery_sees_files_but_not_the_lock() {
        let temp = tempfile::tempdir().unwrap();
        let dirs = DataDirs::open(temp.path(), temp.path(), true).unwrap();
        fs::write(dirs.file(FileName::CurrentEpoch), "7").unwrap();
        fs::create_dir(dirs.path(Dir::Data).join("folder")).unwrap();
        assert_eq!(dirs.list(Dir::Log).unwrap(), [("currentEpoch".to_owned(), 1)]);
        assert_eq!(dirs.read(Dir::Data, "currentEpoch").unwrap(), "7");
        assert_eq!(dirs.read(Dir::Data, "acceptedEpoch"), Err(FileError::Missing));
    }
}
