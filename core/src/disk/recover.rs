//! From files to state, once, at a server's start. Answers to `FileTxnSnapLog.restore` and `FileSnap.deserialize`.
//!
//! Load the newest snapshot that is whole, replay every logged transaction after it, in order, without a hole. Nothing is
//! changed here: what must change on the disk is handed to [`super::Store::open`].
//!
//! # The truth table
//! Each row is a [`Row`]. "Java" says what 3.9.3 does where it differs. The newest log is the newest that is not empty.
//!
//! | found | done | why |
//! |---|---|---|
//! | **folders** | | |
//! | folder missing (`MissingFolder`) | taken for an empty one | the driver makes it |
//! | no snapshot, no log (`Fresh`) | empty database; `snapshot.0` is written before anything is promised | logs without a snapshot are refused |
//! | file or folder unreadable (`Unreadable`) | refuse | what cannot be read may be what was acknowledged |
//! | `writing.*` (`Leftover`) | removed at open | ours, never finished, nothing hangs on it |
//! | `log.<hex>` spelled otherwise, or with something behind (`StrayLog`) | refuse; Java reads it as a log, and replays copies twice | ignoring it may lose transactions, using it may repeat them |
//! | other names | not looked at | not ours |
//! | epoch file that holds no epoch (`BadEpoch`) | refuse | an epoch is a promise |
//! | member: epoch file missing (`NoEpoch`) | the epoch of the last zxid, written at open, as Java | |
//! | member: `currentEpoch` below the last zxid's (`EpochOfLog`) | taken as it is; Java refuses | the log is written first |
//! | the same, and `currentEpoch.tmp` is `acceptedEpoch` (`EpochAdopted`) | it becomes `currentEpoch`, as in Java | Java does not sync its rename |
//! | member: `acceptedEpoch` below `currentEpoch` or the last zxid's (`EpochBehind`) | refuse, as Java | it is written before either |
//! | member: `acceptedEpoch.tmp`, `currentEpoch.tmp` else (`Leftover`) | removed at open | never finished |
//! | **snapshots** | | |
//! | newest is cut, has a wrong sum, a node without parent … (`BadSnapshot`) | the next older one and more log | the log is kept for just this |
//! | none is whole (`NoGoodSnapshot`) | refuse | their logs may be purged |
//! | none, but logs (`NoSnapshot`) | refuse, as Java | |
//! | the same with `snapshot.trust.empty` (`TrustedEmpty`) | replay from an empty tree, write a snapshot before anything is promised | upgrade from 3.4 |
//! | fuzzy: holds effects up to D, log ends before D, an older one exists (`SnapshotAhead`) | the older one; Java uses it | it holds a part of transactions that are lost |
//! | the same, the older ones lead nowhere (`LogTailLost`) | refuse | half a transaction is no state |
//! | the same, it is the only one (`SnapshotAheadOnly`) | used, as Java | there is nothing better; a log tail was lost before us |
//! | **log files** | | |
//! | newest of length 0 (`EmptyLog`) | removed at open | Java died between create and header |
//! | other of length 0 (`EmptyMiddleLog`) | refuse, as Java | a file that was synced before the next began is gone |
//! | shorter than its header (`ShortLog`) | refuse, as Java | ours get their name with a synced header |
//! | wrong magic (`NoLog`) | refuse, as Java | |
//! | header only | no entries | |
//! | **ends of a log** (see [`super::tail`]) | | |
//! | end of file or zeros behind the last entry | the end | Java preallocates |
//! | torn in the newest: a zero sector and near the end, or (Java's) cut short, or end byte 0, and nothing behind (`TornTail`) | cut off and synced at open; new entries go to a new file | nobody can have acknowledged it; Java leaves it |
//! | torn as Java tears in another (`TornMiddle`) | the next file must go on without a hole | Java leaves them behind |
//! | wrong sum, not torn (`WrongSum`) | refuse, as Java, in the very last entry too | rot |
//! | negative or huge length (`WrongLength`) | refuse, as Java | a tear leaves right bits or zeros |
//! | length longer than the record, beyond the file (`LongLength`) | refuse; Java takes all behind for torn | rot; entries may follow |
//! | end byte neither 'B' nor 0 (`WrongEndByte`) | refuse; Java takes it for torn | rot |
//! | damage, and data behind it (`DamageBeforeData`) | refuse; Java skips the rest of the file | what is behind was synced, so the damaged entry was too |
//! | **entries** | | |
//! | unknown type, record shorter than its layout (`BadRecord`) | refuse; Java takes a short one for the end of the file | the sum is right: it was written so |
//! | zxid of the one before (`Repeated`) | skipped | Java logs some error transactions so |
//! | lower zxid (`Backward`) | refuse; Java complains and applies | |
//! | hole: neither the next zxid nor a later epoch (`Gap`) | refuse; Java since 3.9.4 | holes are never papered over |
//! | member: a later epoch that does not begin with its first zxid (`Gap`) | refuse; Java goes on | a leader would count what is missing as held |
//! | digest differs from the logged one (`DigestMismatch`) | noted, as Java | Java has false ones |
//!
//! # Members of an ensemble
//! The end of the log may not be history: a leader can have it cut off. So the tree gets the log only up to commitLogCount
//! entries before its end, and the rest is [`Recovered::tail`]; but never less than what a fuzzy snapshot holds parts of. A
//! reconfiguration that nothing behind it proves to be committed is held back, however far from the end: the tree's is in force.

use super::appender::Place;
use super::catalog::{Catalog, Health, Meaning, snapshot_name};
use super::log::{BadHeader, Entries, Entry, HEADER_LEN, Step};
use super::snapshot::{Form, Loaded, load, looks_whole};
use super::tail::{Rot, Tail, judge_middle, judge_newest};
use super::{FileError, Files, epoch};
use crate::boundary::EpochFile;
use crate::boundary::{Dir, FileName};
use crate::config::Config;
use crate::id::{Epoch, SessionId, Zxid};
use crate::jute::Bad;
use crate::proto::{LoggedTxn, Txn};
use crate::tree::{Change, Tree};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

mod rows;
pub use rows::{RecoverError, RecoverNote, Row};

/// What recovery found.
#[derive(Debug)]
pub struct Recovered {
    /// The nodes.
    pub tree: Tree,
    /// Live sessions and their timeouts in ms, sorted.
    pub sessions: Vec<(SessionId, i32)>,
    /// The last transaction, [`Zxid::ZERO`] if there was none; in an ensemble the tree may be behind it.
    pub last_zxid: Zxid,
    /// In an ensemble: the end of the log, which the tree does not hold yet, since a leader may have it cut off. At most
    /// commitLogCount transactions, or from the last reconfiguration on, from [`Tree::last_zxid`] on without a gap.
    pub tail: Vec<(Zxid, Bytes)>,
    /// `acceptedEpoch`, of a server that was in a quorum.
    pub accepted_epoch: Option<i64>,
    /// `currentEpoch`, likewise.
    pub current_epoch: Option<i64>,
    /// What was skipped, and why.
    pub notes: Vec<RecoverNote>,
    /// What the store goes on with.
    pub disk: OnDisk,
}

impl Recovered {
    /// All that the tree holds is known to be committed. If not: its snapshot may be one that a leader sent before it served, and
    /// nothing that was logged since tells that it came to serve. The snapshot is there before its leader's epoch is the current
    /// one; that it was accepted comes first.
    pub fn is_committed(&self) -> bool {
        let (base, accepted) = (self.disk.base, Epoch(self.accepted_epoch.unwrap_or(0)));
        base == Zxid::ZERO || Epoch::of(base) >= accepted || Epoch::of(self.last_zxid) >= accepted
    }
}

/// The files as recovery found them, and what must be done to them before anything is promised.
#[derive(Debug, Default)]
pub struct OnDisk {
    pub(super) catalog: Catalog,
    /// Files to remove.
    pub(super) remove: Vec<FileName>,
    /// The torn end to cut off: keep so many bytes.
    pub(super) cut: Option<(FileName, u64)>,
    /// Files that were read: a killed process may have left them unsynced.
    pub(super) sync: Vec<FileName>,
    /// No snapshot is there yet.
    pub(super) needs_snapshot: bool,
    /// Transactions replayed after the snapshot, and their bytes in the log.
    pub(super) replayed: (u64, u64),
    /// The snapshot that was read, and where the log's entries above it begin, in an ensemble.
    pub(super) base: Zxid,
    pub(super) places: Vec<Place>,
    /// Epoch files to write.
    pub(super) epochs: Vec<(EpochFile, Epoch)>,
    /// currentEpoch.tmp is to become currentEpoch.
    pub(super) adopt_epoch: bool,
}

/// Reads a server's folders. `seed` is the tree's.
pub fn recover(files: &impl Files, config: &Config, seed: u64) -> Result<Recovered, RecoverError> {
    let mut notes = Vec::new();
    let mut disk = survey(files, config.ensemble.is_some(), &mut notes)?;
    let found = epochs(files, config)?;
    let Replay { tree, sessions, base, last, held, places, notes: more, cut, read, txns, bytes, .. } =
        Choice { files, config, seed, disk: &mut disk, notes: &mut notes }.run()?;
    notes.extend(more);
    disk.replayed = (txns, bytes);
    (disk.base, disk.places) = (base, places);
    disk.sync.extend(read);
    if let Some((zxid, len)) = cut {
        let file = FileName::Log(zxid);
        if len == HEADER_LEN as u64 {
            disk.catalog.logs.remove(&zxid);
            disk.sync.retain(|f| *f != file);
            disk.remove.push(file);
        } else {
            disk.catalog.logs.insert(zxid, len);
            disk.cut = Some((file, len));
        }
    }
    let (mut accepted_epoch, mut current_epoch) = (found.accepted, found.current);
    if config.ensemble.is_some() {
        let settled = epoch::settle(found, last, &mut notes)?;
        (accepted_epoch, current_epoch) = (Some(settled.accepted), Some(settled.current));
        (disk.epochs, disk.adopt_epoch) = (settled.write, settled.adopt);
    }
    let sessions = sessions.into_iter().collect();
    // Copies: the files need not stay in memory for it.
    let tail = held.into_iter().map(|(t, body)| (t.header.zxid, Bytes::copy_from_slice(&body))).collect();
    Ok(Recovered { tree, sessions, last_zxid: last, tail, accepted_epoch, current_epoch, notes, disk })
}

/// Reads the epoch files; the one that was being written only matters to a member.
fn epochs(files: &impl Files, config: &Config) -> Result<epoch::Found, RecoverError> {
    let read = |name: FileName| match files.read(Dir::Data, &name.to_string()) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(FileError::Missing) => Ok(None),
        Err(error) => Err(RecoverError::Unreadable { name: name.to_string(), error }),
    };
    let number = |name: FileName| {
        let bytes = read(name)?;
        bytes.map(|b| epoch::parse(&b).ok_or(RecoverError::BadEpoch { file: name })).transpose()
    };
    let current_temp = match config.ensemble {
        Some(_) => read(FileName::CurrentEpochTemp)?.and_then(|bytes| epoch::parse(&bytes)),
        None => None,
    };
    let (accepted, current) = (number(FileName::AcceptedEpoch)?, number(FileName::CurrentEpoch)?);
    Ok(epoch::Found { accepted, current, current_temp })
}

/// Sorts the names in both folders.
fn survey(files: &impl Files, member: bool, notes: &mut Vec<RecoverNote>) -> Result<OnDisk, RecoverError> {
    let mut disk = OnDisk::default();
    for dir in [Dir::Data, Dir::Log] {
        let names = match files.list(dir) {
            Ok(names) => names,
            Err(FileError::Missing) => {
                notes.push(RecoverNote::MissingFolder { dir });
                continue;
            }
            Err(error) => return Err(RecoverError::Unreadable { name: format!("{dir:?}"), error }),
        };
        // The folders may be one and the same: each gives its own kind of files.
        for (name, len) in names {
            match (dir, Meaning::of(&name)) {
                (Dir::Log, Meaning::Log(zxid)) => {
                    disk.catalog.logs.insert(zxid, len);
                }
                (Dir::Log, Meaning::Stray) => return Err(RecoverError::StrayLog { name }),
                (Dir::Data, Meaning::Snapshot(zxid, form)) => {
                    disk.catalog.snapshots.insert((zxid, form), (len, Health::Unread));
                }
                (dir, Meaning::Leftover(file)) if file.dir() == dir => disk.remove.push(file),
                (dir, Meaning::EpochTemp(file)) if member && file.dir() == dir => disk.remove.push(file),
                (Dir::Data | Dir::Log, _) => {}
            }
        }
    }
    disk.remove.sort();
    notes.extend(disk.remove.iter().map(|file| RecoverNote::Leftover { file: *file }));
    if let Some(newest) = disk.catalog.logs.last_entry().filter(|e| *e.get() == 0) {
        let file = FileName::Log(newest.remove_entry().0);
        notes.push(RecoverNote::EmptyLog { file });
        disk.remove.push(file);
    }
    Ok(disk)
}

/// The search for a snapshot from which the log leads on.
struct Choice<'a, F> {
    files: &'a F,
    config: &'a Config,
    seed: u64,
    disk: &'a mut OnDisk,
    notes: &'a mut Vec<RecoverNote>,
}

impl<F: Files> Choice<'_, F> {
    fn run(&mut self) -> Result<Replay, RecoverError> {
        let candidates: Vec<(Zxid, Form)> = self.disk.catalog.snapshots.keys().rev().copied().collect();
        let mut ahead = None;
        // The newest bad one, and whether Java's quick look finds any of them good.
        let (mut bad, mut looks_good) = (None, false);
        for (i, &(zxid, form)) in candidates.iter().enumerate() {
            let file = snapshot_name(zxid, form);
            let bytes = read(self.files, file)?;
            looks_good |= looks_whole(&bytes, form);
            let loaded = match load(&bytes, form, zxid, self.seed) {
                Ok(loaded) => loaded,
                Err(why) => {
                    self.mark(zxid, form, Health::Bad);
                    self.notes.push(RecoverNote::BadSnapshot { file, why: why.clone() });
                    bad.get_or_insert((file, why));
                    continue;
                }
            };
            drop(bytes);
            let fuzzy = loaded.digest.is_some_and(|(end, _)| end > zxid);
            let mut replay = match Replay::new(loaded, self.config).run(self.files, &self.disk.catalog) {
                Ok(replay) => replay,
                Err(error) => return Err(ahead.unwrap_or(error)),
            };
            if let Some(needs) = replay.lacks() {
                // Its zxids will be used again, for other transactions: it must not be met once more.
                self.disk.remove.push(file);
                let log_end = replay.tree.last_zxid();
                if i + 1 < candidates.len() {
                    self.disk.catalog.snapshots.remove(&(zxid, form));
                    self.notes.push(RecoverNote::SnapshotAhead { file, needs, log_end });
                    ahead.get_or_insert(RecoverError::LogTailLost { file, needs, log_end });
                    continue;
                }
                self.disk.needs_snapshot = true;
                replay.notes.push(RecoverNote::SnapshotAheadOnly { file, needs, log_end });
            }
            // A snapshot that needs no log to be one state: the only kind that can be left alone when the log is replaced.
            self.disk.needs_snapshot |= fuzzy && self.config.ensemble.is_some();
            self.mark(zxid, form, Health::Verified);
            self.disk.sync.push(file);
            return Ok(replay);
        }
        match (ahead, bad) {
            (Some(error), _) => Err(error),
            (None, Some((file, why))) if looks_good || file != FileName::Snapshot(Zxid::ZERO) => {
                Err(RecoverError::NoGoodSnapshot { file, why })
            }
            (None, _) => self.without_snapshot(),
        }
    }
    fn mark(&mut self, zxid: Zxid, form: Form, health: Health) {
        self.disk.catalog.snapshots.entry((zxid, form)).and_modify(|(_, h)| *h = health);
    }

    fn without_snapshot(&mut self) -> Result<Replay, RecoverError> {
        self.disk.needs_snapshot = true;
        let empty = Loaded { tree: Tree::new(self.seed), sessions: BTreeMap::new(), digest: None };
        let replay = Replay::new(empty, self.config);
        let Some(first) = self.disk.catalog.logs.keys().next() else {
            self.notes.push(RecoverNote::Fresh);
            return Ok(replay);
        };
        if !self.config.trust_empty_snapshot {
            return Err(RecoverError::NoSnapshot { log: FileName::Log(*first) });
        }
        self.notes.push(RecoverNote::TrustedEmpty);
        replay.run(self.files, &self.disk.catalog)
    }
}

fn read(files: &impl Files, file: FileName) -> Result<Bytes, RecoverError> {
    let name = file.to_string();
    files.read(file.dir(), &name).map_err(|error| RecoverError::Unreadable { name, error })
}

/// A state on its way from a snapshot to the log's end.
struct Replay {
    tree: Tree,
    sessions: BTreeMap<SessionId, i32>,
    /// From where on transactions are needed, and the last one met.
    base: Zxid,
    last: Zxid,
    /// The snapshot's digest, if its transaction is yet to come.
    digest: Option<(Zxid, u64)>,
    notes: Vec<RecoverNote>,
    mismatch: Option<(Zxid, u64)>,
    repeated: Option<(Zxid, u64)>,
    cut: Option<(Zxid, u64)>,
    read: Vec<FileName>,
    txns: u64,
    bytes: u64,
    /// In an ensemble: entries and bytes that may be held back.
    limits: Option<(usize, usize)>,
    /// What is held back, and its bytes.
    held: VecDeque<(LoggedTxn, Bytes)>,
    held_bytes: usize,
    /// The last reconfiguration, unless what follows proves that it is committed.
    open: Option<Zxid>,
    /// In an ensemble: where each entry is.
    places: Vec<Place>,
    /// The tree tells what changed; nobody watches yet.
    changes: Vec<Change>,
}

impl Replay {
    fn new(loaded: Loaded, config: &Config) -> Replay {
        let Loaded { tree, sessions, digest } = loaded;
        let base = tree.last_zxid();
        let mut replay = Replay {
            tree,
            sessions,
            base,
            last: base,
            // One below the name's zxid is that of a new leader, before its first transaction: of no use.
            digest: digest.filter(|(zxid, _)| *zxid > base),
            notes: Vec::new(),
            mismatch: None,
            repeated: None,
            cut: None,
            read: Vec::new(),
            txns: 0,
            bytes: 0,
            limits: config.ensemble.as_ref().map(|e| (e.held_back_count, e.held_back_bytes)),
            held: VecDeque::new(),
            held_bytes: 0,
            open: None,
            places: Vec::new(),
            changes: Vec::new(),
        };
        // An untouched database is written with digest 0.
        if let Some((zxid, digest)) = digest.filter(|(zxid, digest)| *zxid == base && *digest != 0) {
            replay.compare(zxid, digest);
        }
        replay
    }

    /// The transaction whose effects may be in the snapshot although the log ends before it.
    fn lacks(&self) -> Option<Zxid> {
        self.digest.map(|(zxid, _)| zxid)
    }

    fn run(mut self, files: &impl Files, catalog: &Catalog) -> Result<Replay, RecoverError> {
        let newest = catalog.logs.keys().next_back().copied();
        for zxid in catalog.logs_after(self.base) {
            self.log(files, zxid, Some(zxid) == newest)?;
        }
        if let Some((first, count)) = self.repeated {
            self.notes.push(RecoverNote::Repeated { first, count });
        }
        if let Some((first, count)) = self.mismatch {
            self.notes.push(RecoverNote::DigestMismatch { first, count });
        }
        Ok(self)
    }

    fn log(&mut self, files: &impl Files, name: Zxid, newest: bool) -> Result<(), RecoverError> {
        let file = FileName::Log(name);
        let bytes = read(files, file)?;
        self.read.push(file);
        if bytes.is_empty() {
            return Err(RecoverError::EmptyMiddleLog { file });
        }
        let mut entries = Entries::new(&bytes).map_err(|bad| match bad {
            BadHeader::Short => RecoverError::ShortLog { file, len: bytes.len() },
            BadHeader::Magic => RecoverError::NoLog { file },
        })?;
        let end = loop {
            match entries.step() {
                Step::Entry(entry) => self.entry(name, &bytes, entry)?,
                Step::End(end) => break end,
            }
        };
        let at = end.at as u64;
        match if newest { judge_newest(&bytes, end) } else { judge_middle(&bytes, end) } {
            Tail::Clean => {}
            Tail::Torn if newest => {
                self.cut = Some((name, at));
                self.notes.push(RecoverNote::TornTail { file, at, len: bytes.len() as u64 });
            }
            Tail::Torn => self.notes.push(RecoverNote::TornMiddle { file, at }),
            Tail::Rotten(rot) => return Err(rotten(file, at, rot)),
        }
        Ok(())
    }

    fn entry(&mut self, name: Zxid, bytes: &Bytes, entry: Entry<'_>) -> Result<(), RecoverError> {
        let (file, at) = (FileName::Log(name), entry.at as u64);
        let bad = |cause| RecoverError::BadRecord { file, at, cause };
        // The zxid lies behind session and cxid.
        let zxid = entry.body.get(12..20).and_then(|b| b.first_chunk()).ok_or(bad(Bad::Short))?;
        let (zxid, last) = (Zxid(i64::from_be_bytes(*zxid)), self.last);
        if zxid <= self.base {
            return Ok(());
        }
        if zxid == last {
            self.repeated.get_or_insert((zxid, 0)).1 += 1;
            return Ok(());
        }
        if zxid < last {
            return Err(RecoverError::Backward { file, at, last, found: zxid });
        }
        let follows = if zxid.epoch() == last.epoch() {
            zxid.0 == last.0 + 1
        } else {
            zxid.counter() == 1 || self.limits.is_none()
        };
        if !follows {
            return Err(RecoverError::Gap { file, at, last, found: zxid });
        }
        let logged = LoggedTxn::decode(entry.body).map_err(bad)?;
        self.last = zxid;
        self.txns += 1;
        self.bytes += entry.body.len() as u64;
        if self.limits.is_some() {
            self.places.push(Place { zxid, file: name, at });
        }
        self.hold(logged, bytes.slice_ref(entry.body));
        Ok(())
    }

    /// Applies what is not held back. A fuzzy snapshot holds parts of what follows it: that is applied.
    fn hold(&mut self, logged: LoggedTxn, body: Bytes) {
        let Some((count, bytes)) = self.limits.filter(|_| self.digest.is_none()) else {
            return self.apply(&logged);
        };
        let zxid = logged.header.zxid;
        if let Txn::Reconfig { .. } = logged.txn {
            // There is one at a time.
            self.open = Some(zxid);
        } else if self.open.is_some_and(|open| open.epoch() < zxid.epoch()) {
            // A leader begins with what is committed.
            self.open = None;
        }
        self.held_bytes += body.len();
        self.held.push_back((logged, body));
        while (self.held.len() > count || self.held_bytes > bytes)
            && self.held.front().is_some_and(|(first, _)| Some(first.header.zxid) != self.open)
        {
            let (logged, body) = self.held.pop_front().expect("too much of it");
            self.held_bytes -= body.len();
            self.apply(&logged);
        }
    }

    fn apply(&mut self, logged: &LoggedTxn) {
        let LoggedTxn { header, txn, digest } = logged;
        match txn {
            Txn::CreateSession { timeout } => {
                self.sessions.insert(header.session, *timeout);
            }
            Txn::CloseSession { .. } => {
                self.sessions.remove(&header.session);
            }
            Txn::Error { .. }
            | Txn::Create(_)
            | Txn::Delete { .. }
            | Txn::DeleteContainer { .. }
            | Txn::SetData { .. }
            | Txn::Reconfig { .. }
            | Txn::SetAcl { .. }
            | Txn::Check { .. }
            | Txn::Multi(_) => {}
        }
        self.tree.apply(header, txn, &mut self.changes);
        self.changes.clear();
        // While a fuzzy snapshot is ahead of the log, no digest can be right.
        match (self.digest, digest) {
            (Some((zxid, digest)), _) if zxid <= header.zxid => {
                self.digest = None;
                if zxid == header.zxid {
                    self.compare(zxid, digest);
                }
            }
            (None, Some(digest)) => self.compare(header.zxid, *digest),
            (Some(_), _) | (None, None) => {}
        }
    }

    fn compare(&mut self, zxid: Zxid, digest: u64) {
        if self.tree.digest() != digest {
            self.mismatch.get_or_insert((zxid, 0)).1 += 1;
        }
    }
}

fn rotten(file: FileName, at: u64, rot: Rot) -> RecoverError {
    match rot {
        Rot::Sum => RecoverError::WrongSum { file, at },
        Rot::Length(len) => RecoverError::WrongLength { file, at, len },
        Rot::LengthTooLong => RecoverError::LongLength { file, at },
        Rot::EndByte => RecoverError::WrongEndByte { file, at },
        Rot::BeforeData => RecoverError::DamageBeforeData { file, at },
    }
}

#[cfg(test)]
mod tests;
