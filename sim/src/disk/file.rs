//! One file: what the page cache shows, and what is left of it when the power goes.

use crate::random::Stream;
use std::borrow::Cow;

/// A file's content, cached and durable.
#[derive(Clone, Default, Debug)]
pub struct File {
    /// What reading it shows.
    pub data: Vec<u8>,
    /// The first bytes of `data` that are durable, unless `undo` says otherwise.
    synced: usize,
    /// A truncation that was not synced: the durable content is `data[..at]` and then `bytes`.
    undo: Option<Undo>,
    /// A bit of it has flipped.
    pub rotten: bool,
    /// How far complete log entries have been counted, and the last one's zxid.
    scan: Scan,
}

#[derive(Clone, Debug)]
struct Undo {
    at: usize,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Default, Debug)]
struct Scan {
    at: usize,
    zxid: i64,
}

/// How unsynced bytes fare in a power cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tear {
    /// All of them are lost.
    None,
    /// All of them made it.
    All,
    /// The file ends somewhere in them.
    Prefix,
    /// Each page of this size made it or not; what did not shows zeros or what was there before.
    Pages(usize),
}

/// The header of a log or snapshot file.
pub(super) const HEADER: usize = 16;

/// The whole log entries from this offset on: where each ends, its zxid, its body. An entry is {long crc, int len, body,
/// 'B'}, its zxid 12 bytes into the body. This reading of the format is the simulator's own.
pub(super) fn entries(log: &[u8], mut at: usize) -> impl Iterator<Item = (usize, i64, &[u8])> {
    let log = if log.starts_with(b"ZKLG") { log } else { &[] };
    std::iter::from_fn(move || {
        let head = log.get(at..at + 12)?;
        let len = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let entry = log.get(at + 12..at + 12 + len + 1)?;
        if len < 32 || entry[len] != b'B' {
            return None;
        }
        let zxid = i64::from_be_bytes(entry[12..20].try_into().expect("eight bytes"));
        at += 12 + len + 1;
        Some((at, zxid, &entry[..len]))
    })
}

impl File {
    /// A durable file of this content.
    pub fn durable_with(data: Vec<u8>) -> File {
        let mut file = File { synced: data.len(), data, ..File::default() };
        file.rescan();
        file
    }

    /// Empties it for another use; keeps the allocation.
    pub fn recycle(&mut self) {
        self.data.clear();
        self.synced = 0;
        self.undo = None;
        self.rotten = false;
        self.scan = Scan::default();
    }

    /// Writes at its end.
    pub fn append(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
    }

    /// Cuts it to this length; longer is no change.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.data.len() {
            return;
        }
        let shared = self.shared();
        if len < shared {
            let mut bytes = self.data[len..shared].to_vec();
            if let Some(undo) = &self.undo {
                bytes.extend_from_slice(&undo.bytes);
            }
            self.undo = Some(Undo { at: len, bytes });
        }
        self.data.truncate(len);
    }

    /// All that it shows is durable from here on.
    pub fn sync(&mut self) {
        self.synced = self.data.len();
        self.undo = None;
        if self.scan.at > self.synced {
            self.scan = Scan::default();
        }
        self.rescan();
    }

    /// True if a power cut can take nothing.
    pub fn is_synced(&self) -> bool {
        self.undo.is_none() && self.synced == self.data.len()
    }

    /// The leading bytes that cache and disk share.
    fn shared(&self) -> usize {
        self.undo.as_ref().map_or(self.synced, |u| u.at)
    }

    /// What survives if nothing that was not synced does.
    pub fn durable(&self) -> Cow<'_, [u8]> {
        let shared = &self.data[..self.shared()];
        match &self.undo {
            Some(undo) => Cow::Owned([shared, &undo.bytes].concat()),
            None => Cow::Borrowed(shared),
        }
    }

    /// One bit flips. False: there is none.
    pub fn rot(&mut self, random: &mut Stream) -> bool {
        let at = random.below(self.data.len() as u64) as usize;
        let Some(byte) = self.data.get_mut(at) else { return false };
        *byte ^= 1 << random.below(8);
        self.rotten = true;
        true
    }

    /// The last zxid of the complete log entries that are durable; 0: none.
    pub fn durable_zxid(&self) -> i64 {
        self.scan.zxid
    }

    /// Counts the log entries that became durable.
    fn rescan(&mut self) {
        for (end, zxid, _) in entries(&self.data[..self.synced], self.scan.at.max(HEADER)) {
            self.scan = Scan { at: end, zxid };
        }
    }

    /// The power goes: what was not synced fares as `tear` says. What is left is durable.
    pub fn power_cut(&mut self, tear: Tear, undo_truncation: bool, random: &mut Stream) -> bool {
        if self.is_synced() {
            return false;
        }
        let from = self.shared();
        let mut old = match self.undo.take() {
            Some(undo) if undo_truncation || tear == Tear::None => undo.bytes,
            Some(_) | None => Vec::new(),
        };
        let new = self.data.split_off(from);
        let kept = match tear {
            Tear::None => old,
            Tear::All => new.clone(),
            Tear::Prefix => {
                let n = random.below(new.len() as u64 + 1) as usize;
                let mut kept = new[..n].to_vec();
                if old.len() > n {
                    kept.extend_from_slice(&old[n..]);
                }
                kept
            }
            Tear::Pages(size) => {
                tear_pages(from, &new, &mut old, size, random);
                old
            }
        };
        let torn = kept != new;
        self.data.extend_from_slice(&kept);
        self.synced = self.data.len();
        self.scan = Scan::default();
        self.rescan();
        torn
    }
}

/// Writes a random choice of the pages of `new` over `old`, which both begin at offset `from` of their file. The file's
/// length is a choice of its own between what the pages need and all.
fn tear_pages(from: usize, new: &[u8], old: &mut Vec<u8>, size: usize, random: &mut Stream) {
    let mut start = 0;
    while start < new.len() {
        let end = ((from + start) / size * size + size - from).min(new.len());
        if random.chance(512) {
            if old.len() < end {
                old.resize(end, 0);
            }
            old[start..end].copy_from_slice(&new[start..end]);
        }
        start = end;
    }
    if old.len() < new.len() && random.chance(512) {
        old.resize(new.len(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    fn stream(n: u64) -> Stream {
        Stream::new(n, Purpose::Fault, 0, 0)
    }

    #[test]
    fn synced_bytes_survive_every_power_cut() {
        for n in 0..500 {
            let mut r = stream(n);
            let mut f = File::default();
            f.append(b"0123456789");
            f.sync();
            f.append(&[b'x'; 2000]);
            let tear = [Tear::None, Tear::All, Tear::Prefix, Tear::Pages(512), Tear::Pages(4096)]
                [r.below(5) as usize];
            f.power_cut(tear, false, &mut r);
            assert!(f.data.starts_with(b"0123456789"), "{tear:?}");
            assert!(f.is_synced());
            assert!(f.data[10..].iter().all(|b| matches!(b, b'x' | 0)));
        }
    }

    #[test]
    fn an_unsynced_truncation_can_be_undone() {
        let mut f = File::default();
        f.append(b"0123456789");
        f.sync();
        f.truncate(8);
        f.truncate(4);
        f.append(b"ab");
        assert_eq!((f.data.as_slice(), &*f.durable()), (&b"0123ab"[..], &b"0123456789"[..]));
        let mut undone = f.clone();
        undone.power_cut(Tear::None, true, &mut stream(1));
        assert_eq!(undone.data, b"0123456789");
        f.sync();
        assert_eq!(&*f.durable(), b"0123ab");
    }

    #[test]
    fn complete_entries_are_counted_as_they_become_durable() {
        let entry = |zxid: i64| {
            let mut e = vec![0; 12 + 32];
            e[8..12].copy_from_slice(&32u32.to_be_bytes());
            e[24..32].copy_from_slice(&zxid.to_be_bytes());
            e.push(b'B');
            e
        };
        let mut f = File::default();
        f.append(b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0");
        f.append(&entry(5));
        assert_eq!(f.durable_zxid(), 0);
        f.sync();
        assert_eq!(f.durable_zxid(), 5);
        f.append(&entry(6));
        f.append(&entry(7)[..30]);
        f.sync();
        assert_eq!(f.durable_zxid(), 6);
        f.truncate(16 + 45);
        f.sync();
        assert_eq!(f.durable_zxid(), 5);
        f.append(&entry(6));
        f.sync();
        assert_eq!(f.durable_zxid(), 6);
    }
}
