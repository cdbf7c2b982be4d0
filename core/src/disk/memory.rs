//! A disk in memory for the tests of this folder: what is written, what of it is synced, and what a power cut leaves.

use super::{FileError, Files};
use crate::boundary::{Dir, DiskOp, FileName, Ticket};
use crate::rng::Rng;
use bytes::Bytes;
use std::collections::BTreeMap;

const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    /// Bytes that survive a power cut.
    synced: usize,
    /// Where writes began since the last sync: a sector may hold what was there at any of these moments.
    writes: Vec<usize>,
    /// What an unsynced truncation took.
    undo: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
enum Naming {
    Set(String, usize),
    Unset(String),
}

#[derive(Clone, Debug, Default)]
struct Folder {
    names: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    /// Changes of names since the folder was synced; those of one inner list happen together.
    changes: Vec<Vec<Naming>>,
}

impl Folder {
    fn change(&mut self, changes: Vec<Naming>) {
        apply(&mut self.names, &changes);
        self.changes.push(changes);
    }
}

/// See the module. The folders are two.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    contents: Vec<Content>,
    folders: [Folder; 2],
}

impl Files for Disk {
    fn list(&self, dir: Dir) -> Result<Vec<(String, u64)>, FileError> {
        let names = &self.folders[dir as usize].names;
        Ok(names.iter().map(|(name, i)| (name.clone(), self.contents[*i].bytes.len() as u64)).collect())
    }
    fn read(&self, dir: Dir, name: &str) -> Result<Bytes, FileError> {
        let i = self.folders[dir as usize].names.get(name).ok_or(FileError::Missing)?;
        Ok(Bytes::copy_from_slice(&self.contents[*i].bytes))
    }
}

/// The folder of a name that the tests use.
fn dir_of(name: &str) -> Dir {
    if name.contains("log.") { Dir::Log } else { Dir::Data }
}

impl Disk {
    /// Puts a file there, durably.
    pub(super) fn put(&mut self, name: &str, bytes: &[u8]) {
        self.contents.push(Content { bytes: bytes.to_vec(), synced: bytes.len(), ..Content::default() });
        let folder = &mut self.folders[dir_of(name) as usize];
        folder.names.insert(name.to_owned(), self.contents.len() - 1);
        folder.durable = folder.names.clone();
    }

    /// All names.
    pub(super) fn names(&self) -> Vec<&str> {
        self.folders.iter().flat_map(|f| f.names.keys()).map(|n| n.as_str()).collect()
    }

    /// Changes a file in place, durably.
    pub(super) fn edit(&mut self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let content = self.content(name);
        edit(&mut content.bytes);
        content.synced = content.bytes.len();
    }

    fn content(&mut self, name: &str) -> &mut Content {
        &mut self.contents[self.folders[dir_of(name) as usize].names[name]]
    }

    fn change(&mut self, file: FileName, changes: Vec<Naming>) {
        self.folders[file.dir() as usize].change(changes);
    }

    /// Carries an operation out; the ticket that is durable by it.
    pub(super) fn run(&mut self, op: &DiskOp) -> Option<Ticket> {
        match op {
            DiskOp::Create { file } => {
                self.contents.push(Content::default());
                self.change(*file, vec![Naming::Set(file.to_string(), self.contents.len() - 1)]);
            }
            DiskOp::Append { file, bytes } => {
                let content = self.content(&file.to_string());
                content.writes.push(content.bytes.len());
                content.bytes.extend_from_slice(bytes);
            }
            DiskOp::Sync { file, ticket } => {
                let content = self.content(&file.to_string());
                content.synced = content.bytes.len();
                content.writes.clear();
                content.undo = None;
                return Some(*ticket);
            }
            DiskOp::Truncate { file, len } => {
                let content = self.content(&file.to_string());
                content.undo = Some(content.bytes.split_off(*len as usize));
                content.synced = content.synced.min(*len as usize);
            }
            DiskOp::Rename { from, to } => {
                let i = self.folders[from.dir() as usize].names[&from.to_string()];
                self.change(*from, vec![Naming::Unset(from.to_string()), Naming::Set(to.to_string(), i)]);
            }
            DiskOp::Remove { file } => self.change(*file, vec![Naming::Unset(file.to_string())]),
            DiskOp::SyncDir { dir, ticket } => {
                let folder = &mut self.folders[*dir as usize];
                folder.durable = folder.names.clone();
                folder.changes.clear();
                return Some(*ticket);
            }
        }
        None
    }

    /// The power goes: of what was not synced, anything may be left.
    pub(super) fn power_cut(&mut self, rng: &mut Rng) {
        for folder in &mut self.folders {
            let kept = rng.below(folder.changes.len() as u64 + 1) as usize;
            // Most file systems keep the order of changes; none has to.
            let any = rng.below(4) == 0;
            for (i, changes) in folder.changes.drain(..).enumerate() {
                if if any { rng.below(2) == 0 } else { i < kept } {
                    apply(&mut folder.durable, &changes);
                }
            }
            folder.names = folder.durable.clone();
        }
        for (i, content) in self.contents.iter_mut().enumerate() {
            if self.folders.iter().any(|f| f.names.values().any(|at| *at == i)) {
                content.power_cut(rng);
            } else {
                *content = Content::default();
            }
        }
    }
}

fn apply(names: &mut BTreeMap<String, usize>, changes: &[Naming]) {
    for change in changes {
        match change {
            Naming::Set(name, i) => drop(names.insert(name.clone(), *i)),
            Naming::Unset(name) => drop(names.remove(name)),
        }
    }
}

impl Content {
    fn power_cut(&mut self, rng: &mut Rng) {
        if let Some(undo) = self.undo.take().filter(|_| rng.below(2) == 0) {
            self.bytes.extend(undo);
            self.synced = self.bytes.len();
        }
        let end = self.bytes.len();
        let len = match rng.below(4) {
            0 => end,
            1 => self.synced,
            _ => self.synced + rng.below((end - self.synced) as u64 + 1) as usize,
        };
        self.bytes.truncate(len);
        let whole = rng.below(4) == 0;
        let mut from = self.synced;
        while from < len && !whole {
            let to = (from - from % SECTOR + SECTOR).min(len);
            // What the sector holds: nothing, all, or what it held before one of the writes.
            let upto = match rng.below(3) {
                0 => from,
                1 => to,
                _ if self.writes.is_empty() => to,
                _ => self.writes[rng.below(self.writes.len() as u64) as usize].clamp(from, to),
            };
            self.bytes[upto..to].fill(0);
            from = to;
        }
        self.synced = len;
        self.writes.clear();
    }
}
