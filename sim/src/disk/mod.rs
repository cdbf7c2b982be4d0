//! A server's disk: files with a durable and a pending part, folders whose changes wait for their own sync, two lanes of
//! operations that take time and can fail. A kill keeps the page cache; a power cut keeps any prefix or torn piece of what
//! was not synced, and may undo creates, renames and removes that no folder sync covered.

mod file;
mod lane;

pub use file::{File, Tear};
pub use lane::{Lanes, Latency, RunEnd};

use crate::history::Image;
use crate::random::Stream;
use bytes::Bytes;
use zebu_core::boundary::{Dir, FileName};
use zebu_core::disk::{FileError, Files};
use zebu_core::id::{Epoch, Zxid};
use zebu_core::record::Digest;

/// A change of a folder that was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum DirOp {
    Link { name: FileName, file: u32 },
    Unlink { name: FileName },
    Rename { from: FileName, to: FileName },
}

impl DirOp {
    fn dir(&self) -> Dir {
        match self {
            DirOp::Link { name, .. } | DirOp::Unlink { name } => name.dir(),
            DirOp::Rename { from, .. } => from.dir(),
        }
    }
}

/// The files of a server, and what of them is durable.
#[derive(Clone, Default, Debug)]
pub struct Disk {
    files: Vec<File>,
    spare: Vec<File>,
    /// What the folders show.
    names: Vec<(FileName, u32)>,
    /// What they show after a power cut.
    durable: Vec<(FileName, u32)>,
    /// How `names` came from `durable`.
    pending: Vec<DirOp>,
    /// dataLogDir is a folder of its own.
    separate: bool,
    /// A sync lied.
    pub lied: bool,
    /// What a sync lied about is lost to power cuts only that the owner allows.
    pub guarded: bool,
}

/// What a power cut did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Cut {
    /// Files that lost bytes or hold other ones.
    pub torn: u32,
    /// Creates, renames and removes undone.
    pub undone: u32,
}

impl Disk {
    /// Empties it; keeps allocations.
    pub fn reset(&mut self, separate: bool) {
        self.spare.append(&mut self.files);
        self.names.clear();
        self.durable.clear();
        self.pending.clear();
        self.separate = separate;
        self.lied = false;
    }

    fn find(names: &[(FileName, u32)], name: FileName) -> Option<usize> {
        names.iter().position(|(n, _)| *n == name)
    }

    /// The file of this name as the page cache shows it.
    pub fn file(&self, name: FileName) -> Option<&File> {
        Disk::find(&self.names, name).map(|i| &self.files[self.names[i].1 as usize])
    }

    fn file_mut(&mut self, name: FileName) -> Option<&mut File> {
        Disk::find(&self.names, name).map(|i| &mut self.files[self.names[i].1 as usize])
    }

    /// The files that the page cache shows in this folder.
    pub fn list(&self, dir: Dir) -> impl Iterator<Item = (FileName, &File)> {
        self.names
            .iter()
            .filter(move |(n, _)| !self.separate || n.dir() == dir)
            .map(|(n, f)| (*n, &self.files[*f as usize]))
    }

    /// A piece of a file as the page cache shows it, as far as it goes.
    pub fn read(&self, name: FileName, at: u64, len: usize) -> Option<&[u8]> {
        let data = &self.file(name)?.data;
        let from = (at as usize).min(data.len());
        Some(&data[from..data.len().min(from + len)])
    }

    /// Bytes in all files.
    pub fn used(&self) -> u64 {
        self.names.iter().map(|(_, f)| self.files[*f as usize].data.len() as u64).sum()
    }

    /// Makes an empty file, or empties it.
    pub fn create(&mut self, name: FileName) {
        if let Some(file) = self.file_mut(name) {
            file.truncate(0);
            return;
        }
        let mut file = self.spare.pop().unwrap_or_default();
        file.recycle();
        let id = self.files.len() as u32;
        self.files.push(file);
        apply(&mut self.names, DirOp::Link { name, file: id });
        self.pending.push(DirOp::Link { name, file: id });
    }

    /// Writes at the end of a file. False: there is none.
    pub fn append(&mut self, name: FileName, bytes: &[u8]) -> bool {
        let file = self.file_mut(name);
        let found = file.is_some();
        if let Some(file) = file {
            file.append(bytes);
        }
        found
    }

    /// Cuts a file. False: there is none.
    pub fn truncate(&mut self, name: FileName, len: u64) -> bool {
        let file = self.file_mut(name);
        let found = file.is_some();
        if let Some(file) = file {
            file.truncate(len as usize);
        }
        found
    }

    /// fdatasync; if it lies, nothing becomes durable. False: there is no such file.
    pub fn sync(&mut self, name: FileName, lies: bool) -> bool {
        self.lied |= lies;
        let file = self.file_mut(name);
        let found = file.is_some();
        if let Some(file) = file.filter(|_| !lies) {
            file.sync();
        }
        found
    }

    /// A sync failed: the system takes what it could not write for clean and forgets it. Who reads the file anew, bypassing
    /// what is cached of it, sees what is on the disk; no later sync brings the rest back.
    pub fn lose_dirty(&mut self, name: FileName, random: &mut Stream) {
        let mut tear = random.pick(&[Tear::None, Tear::Prefix, Tear::Pages(4096), Tear::All]);
        if self.guarded && self.lied {
            tear = Tear::All;
        }
        if let Some(file) = self.file_mut(name) {
            file.power_cut(tear, true, random);
        }
    }

    /// fsync of a folder.
    pub fn sync_dir(&mut self, dir: Dir, lies: bool) {
        self.lied |= lies;
        if lies {
            return;
        }
        let separate = self.separate;
        self.pending.retain(|op| {
            let synced = !separate || op.dir() == dir;
            if synced {
                apply(&mut self.durable, *op);
            }
            !synced
        });
    }

    /// Renames a file over another. False: there is none.
    pub fn rename(&mut self, from: FileName, to: FileName) -> bool {
        let op = DirOp::Rename { from, to };
        let found = apply(&mut self.names, op);
        if found {
            self.pending.push(op);
        }
        found
    }

    /// Removes a file, if there is one.
    pub fn remove(&mut self, name: FileName) {
        let op = DirOp::Unlink { name };
        if apply(&mut self.names, op) {
            self.pending.push(op);
        }
    }

    /// The last zxid of which a log entry, or a snapshot of the state after it, is durable: what recovery must reach.
    pub fn durable_zxid(&self) -> i64 {
        self.durable
            .iter()
            .map(|(name, file)| {
                let file = &self.files[*file as usize];
                match name {
                    FileName::Log(_) => file.durable_zxid(),
                    FileName::Snapshot(z) if file.is_synced() => z.0,
                    FileName::Snapshot(_)
                    | FileName::LogTemp(_)
                    | FileName::SnapshotGz(_)
                    | FileName::SnapshotSnappy(_)
                    | FileName::SnapshotTemp(_)
                    | FileName::AcceptedEpoch
                    | FileName::CurrentEpoch
                    | FileName::AcceptedEpochTemp
                    | FileName::CurrentEpochTemp => 0,
                }
            })
            .max()
            .unwrap_or(0)
    }

    /// What a power cut would leave now if it took every byte that was not synced.
    pub fn durable_image(&self) -> Image {
        let epoch = |name: FileName| {
            let file = Disk::find(&self.durable, name)?;
            let durable = self.files[self.durable[file].1 as usize].durable();
            // A file that holds no number has not been vouched for.
            std::str::from_utf8(&durable).ok()?.trim().parse().ok().map(Epoch)
        };
        Image {
            last: Zxid(self.durable_zxid()),
            accepted: epoch(FileName::AcceptedEpoch).unwrap_or_default(),
            current: epoch(FileName::CurrentEpoch).unwrap_or_default(),
        }
    }

    /// Bodies of the log entries in `(above, upto]` that the page cache shows, in order.
    pub fn log_bodies(&self, above: i64, upto: i64) -> Vec<Bytes> {
        let mut out = Vec::new();
        for (_, file) in self.logs() {
            let entries = file::entries(&self.files[file as usize].data, file::HEADER);
            let wanted = entries.filter(|(_, zxid, _)| *zxid > above && *zxid <= upto);
            out.extend(wanted.map(|(_, _, body)| Bytes::copy_from_slice(body)));
        }
        out
    }

    /// Every log entry above `above`, and above those that are rotten, that the page cache shows, in order: its zxid and a hash
    /// of its bytes.
    pub fn log_hashes(&self, above: Zxid) -> Vec<(Zxid, u64)> {
        let mut out = Vec::new();
        for (_, file) in self.logs() {
            if self.files[file as usize].rotten {
                out.clear();
                continue;
            }
            let entries = file::entries(&self.files[file as usize].data, file::HEADER);
            out.extend(entries.filter(|(_, zxid, _)| *zxid > above.0).map(|(_, zxid, body)| {
                let mut hash = Digest::default();
                hash.bytes(body);
                (Zxid(zxid), hash.value())
            }));
        }
        out
    }

    /// The last log entry that the page cache shows.
    pub fn last_logged(&self) -> Option<Zxid> {
        let (_, file) = self.logs().pop()?;
        file::entries(&self.files[file as usize].data, file::HEADER).last().map(|(_, zxid, _)| Zxid(zxid))
    }

    /// Log files by the zxid in their names.
    fn logs(&self) -> Vec<(i64, u32)> {
        let mut logs: Vec<(i64, u32)> = self
            .names
            .iter()
            .filter_map(|(name, file)| match name {
                FileName::Log(z) => Some((z.0, *file)),
                FileName::LogTemp(_)
                | FileName::Snapshot(_)
                | FileName::SnapshotGz(_)
                | FileName::SnapshotSnappy(_)
                | FileName::SnapshotTemp(_)
                | FileName::AcceptedEpoch
                | FileName::CurrentEpoch
                | FileName::AcceptedEpochTemp
                | FileName::CurrentEpochTemp => None,
            })
            .collect();
        logs.sort_unstable();
        logs
    }

    /// Everything is gone: a new disk.
    pub fn wipe(&mut self) {
        self.spare.append(&mut self.files);
        self.names.clear();
        self.durable.clear();
        self.pending.clear();
        // Another disk has not lied yet.
        self.lied = false;
    }

    /// Everything that was written is durable after all.
    pub fn settle_all(&mut self) {
        self.files.iter_mut().for_each(File::sync);
        self.settle(self.names.clone());
    }

    /// A bit of a file that newer ones have made superfluous flips: of a snapshot that is not the newest, or of a log that ends
    /// before the newest begins. False: there is none.
    pub fn rot(&mut self, random: &mut Stream) -> bool {
        let whole = |file: &File| file.is_synced();
        let snapshots = self.durable.iter().filter_map(|(name, f)| match name {
            FileName::Snapshot(z) if whole(&self.files[*f as usize]) => Some(*z),
            _ => None,
        });
        let Some(kept) = snapshots.max() else { return false };
        let logs = self.logs();
        let dead_log = |z: Zxid| logs.iter().any(|(first, _)| *first > z.0 && *first <= kept.0);
        let cold: Vec<u32> = self
            .durable
            .iter()
            .filter(|(name, _)| match name {
                FileName::Snapshot(z) => *z < kept,
                FileName::Log(z) => dead_log(*z),
                _ => false,
            })
            .map(|(_, file)| *file)
            .collect();
        if cold.is_empty() {
            return false;
        }
        self.files[random.pick(&cold) as usize].rot(random)
    }

    /// What recovery reads; with `broken`, reading fails.
    pub fn view(&self, broken: bool) -> DiskView<'_> {
        DiskView { disk: self, broken }
    }

    /// The power goes and what was not synced is lost or torn.
    pub fn power_cut(&mut self, random: &mut Stream) -> Cut {
        let mut cut = Cut::default();
        let style = random.below(4);
        let mut names = self.durable.clone();
        let keep = random.below(self.pending.len() as u64 + 1) as usize;
        for (i, op) in self.pending.iter().enumerate() {
            // A journal keeps a prefix; without one each change fares for itself.
            let kept = if style < 2 { i < keep } else { random.chance(512) };
            if !(kept && apply(&mut names, *op)) {
                cut.undone += 1;
            }
        }
        for (_, file) in &names {
            let tear = match random.below(6) {
                0 => Tear::None,
                1 => Tear::All,
                2 | 3 => Tear::Prefix,
                4 => Tear::Pages(512),
                _ => Tear::Pages(4096),
            };
            let undo = random.chance(512);
            cut.torn += u32::from(self.files[*file as usize].power_cut(tear, undo, random));
        }
        self.settle(names);
        cut
    }

    /// The power goes and exactly what was synced is left.
    pub fn worst_cut(&mut self, random: &mut Stream) {
        let names = self.durable.clone();
        for (_, file) in &names {
            self.files[*file as usize].power_cut(Tear::None, true, random);
        }
        self.settle(names);
    }

    fn settle(&mut self, names: Vec<(FileName, u32)>) {
        self.names.clone_from(&names);
        self.durable = names;
        self.pending.clear();
    }

    /// Puts a durable file there: what a run starts with.
    pub fn seed_file(&mut self, name: FileName, data: Vec<u8>) {
        let id = self.files.len() as u32;
        self.files.push(File::durable_with(data));
        self.names.push((name, id));
        self.durable.push((name, id));
    }
}

/// The files as the page cache shows them.
#[derive(Clone, Copy, Debug)]
pub struct DiskView<'a> {
    disk: &'a Disk,
    broken: bool,
}

impl Files for DiskView<'_> {
    fn list(&self, dir: Dir) -> Result<Vec<(String, u64)>, FileError> {
        Ok(self.disk.list(dir).map(|(name, f)| (name.to_string(), f.data.len() as u64)).collect())
    }
    fn read(&self, dir: Dir, name: &str) -> Result<Bytes, FileError> {
        if self.broken {
            return Err(FileError::Io("Input/output error".to_owned()));
        }
        let found = self.disk.list(dir).find(|(n, _)| n.to_string() == name);
        found.map(|(_, f)| Bytes::copy_from_slice(&f.data)).ok_or(FileError::Missing)
    }
}

/// Applies a folder's change; false if it does not fit.
fn apply(names: &mut Vec<(FileName, u32)>, op: DirOp) -> bool {
    match op {
        DirOp::Link { name, file } => match Disk::find(names, name) {
            Some(i) => names[i].1 = file,
            None => names.push((name, file)),
        },
        DirOp::Unlink { name } => match Disk::find(names, name) {
            Some(i) => drop(names.swap_remove(i)),
            None => return false,
        },
        DirOp::Rename { from, to } => {
            let Some(i) = Disk::find(names, from) else { return false };
            let (_, file) = names.swap_remove(i);
            apply(names, DirOp::Link { name: to, file });
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    fn name(z: i64) -> FileName {
        FileName::Snapshot(Zxid(z))
    }

    #[test]
    fn a_rename_waits_for_its_folder() {
        let mut r = Stream::new(0, Purpose::Fault, 0, 0);
        let mut d = Disk::default();
        let temp = FileName::SnapshotTemp(Zxid(9));
        d.create(temp);
        assert!(d.append(temp, b"abc") && d.sync(temp, false));
        d.sync_dir(Dir::Data, false);
        assert!(d.rename(temp, name(9)));
        let mut lost = d.clone();
        lost.worst_cut(&mut r);
        assert!(lost.file(temp).is_some() && lost.file(name(9)).is_none());
        assert_eq!(d.durable_zxid(), 0);
        d.sync_dir(Dir::Data, false);
        assert_eq!(d.durable_zxid(), 9);
        d.worst_cut(&mut r);
        assert_eq!(d.file(name(9)).expect("kept").data, b"abc");
        assert!(!d.append(temp, b"x") && !d.rename(temp, name(1)));
    }

    #[test]
    fn folders_of_their_own_are_synced_on_their_own() {
        let mut d = Disk::default();
        d.reset(true);
        let log = FileName::Log(Zxid(1));
        d.create(log);
        d.create(name(0));
        d.sync_dir(Dir::Data, false);
        let mut r = Stream::new(0, Purpose::Fault, 0, 0);
        d.worst_cut(&mut r);
        assert!(d.file(log).is_none() && d.file(name(0)).is_some());
    }

    #[test]
    fn a_lying_sync_makes_nothing_durable() {
        let mut d = Disk::default();
        let log = FileName::Log(Zxid(1));
        d.create(log);
        d.append(log, b"abc");
        d.sync_dir(Dir::Data, false);
        assert!(d.sync(log, true));
        assert!(d.lied);
        d.worst_cut(&mut Stream::new(0, Purpose::Fault, 0, 0));
        assert!(d.file(log).expect("linked").data.is_empty());
    }
}
