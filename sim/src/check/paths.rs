//! Paths as numbers, so that the rest of the checkers compares and indexes integers. Knows no rule.

/// A path met in this run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct PathId(pub(super) u32);

/// No path: the parent of the root and of text without a slash; the end of a list of versions.
pub(super) const NONE: u32 = u32::MAX;

/// What is kept per path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Info {
    start: u32,
    len: u32,
    /// Id of the parent, or [`NONE`].
    pub(super) parent: u32,
    /// Newest version in the model, or [`NONE`].
    pub(super) head: u32,
    /// Scratch mark of set comparisons.
    pub(super) stamp: u32,
    /// Handles (number mod 64) that may hold a watch here.
    pub(super) watched: u64,
}

/// All paths met so far. The root is id 0 and answers to "/" and "".
#[derive(Debug, Default)]
pub(super) struct Paths {
    text: String,
    infos: Vec<Info>,
    /// Open addressing: hash and id, [`NONE`] when free. Its length is a power of two.
    table: Vec<(u32, u32)>,
    stamp: u32,
}

impl Paths {
    pub(super) const ROOT: PathId = PathId(0);

    /// Empties it but for the root.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.infos.clear();
        self.stamp = 0;
        if self.table.len() != 1024 {
            self.table = vec![(0, NONE); 1024];
        } else {
            self.table.fill((0, NONE));
        }
        let root = self.intern("/");
        assert_eq!(root, Self::ROOT);
    }

    /// Every id.
    pub(super) fn ids(&self) -> impl Iterator<Item = PathId> + use<> {
        (0..self.infos.len() as u32).map(PathId)
    }

    pub(super) fn info(&self, id: PathId) -> &Info {
        &self.infos[id.0 as usize]
    }

    pub(super) fn info_mut(&mut self, id: PathId) -> &mut Info {
        &mut self.infos[id.0 as usize]
    }

    /// The text of a path; the root's is "/".
    pub(super) fn text(&self, id: PathId) -> &str {
        let i = self.info(id);
        &self.text[i.start as usize..(i.start + i.len) as usize]
    }

    /// The parent, if the text has one.
    pub(super) fn parent(&self, id: PathId) -> Option<PathId> {
        let p = self.info(id).parent;
        (p != NONE).then_some(PathId(p))
    }

    fn slot(&self, path: &str, hash: u32) -> usize {
        let mask = self.table.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.table[at] {
                (_, NONE) => return at,
                (h, id) if h == hash && self.text(PathId(id)) == path => return at,
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// The id of a path that was met before.
    pub(super) fn find(&self, path: &str) -> Option<PathId> {
        if path.is_empty() {
            return Some(Self::ROOT);
        }
        let id = self.table[self.slot(path, hash(path))].1;
        (id != NONE).then_some(PathId(id))
    }

    /// The id of a path; its ancestors get theirs too.
    pub(super) fn intern(&mut self, path: &str) -> PathId {
        if let (Some(id), false) = (self.find(path), self.infos.is_empty()) {
            return id;
        }
        let parent = match path.rfind('/') {
            None => NONE,
            Some(0) if path.len() == 1 => NONE,
            Some(at) => self.intern(&path[..at]).0,
        };
        if (self.infos.len() + 1) * 2 > self.table.len() {
            self.grow();
        }
        let id = self.infos.len() as u32;
        let hash = hash(path);
        let slot = self.slot(path, hash);
        self.table[slot] = (hash, id);
        self.infos.push(Info {
            start: self.text.len() as u32,
            len: path.len() as u32,
            parent,
            head: NONE,
            stamp: 0,
            watched: 0,
        });
        self.text.push_str(path);
        PathId(id)
    }

    fn grow(&mut self) {
        let len = self.table.len() * 2;
        self.table.clear();
        self.table.resize(len, (0, NONE));
        for id in 0..self.infos.len() as u32 {
            let hash = hash(self.text(PathId(id)));
            let slot = self.slot(self.text(PathId(id)), hash);
            self.table[slot] = (hash, id);
        }
    }

    /// Starts a set of paths; see [`Paths::mark`].
    pub(super) fn new_set(&mut self) {
        self.stamp += 1;
    }

    /// Puts a path into the current set; false if it was in it.
    pub(super) fn mark(&mut self, id: PathId) -> bool {
        let stamp = self.stamp;
        let info = self.info_mut(id);
        let fresh = info.stamp != stamp;
        info.stamp = stamp;
        fresh
    }
}

fn hash(s: &str) -> u32 {
    let mut h = s.len() as u64;
    for chunk in s.as_bytes().chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        h = (h ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        h ^= h >> 29;
    }
    (h ^ (h >> 32)) as u32
}

/// The rules of `PathUtils.validatePath`, written from the reference.
pub(super) fn is_valid(path: &str) -> bool {
    if !path.starts_with('/') {
        return false;
    }
    if path.len() == 1 {
        return true;
    }
    path[1..].split('/').all(|part| !matches!(part, "" | "." | ".."))
        && path.chars().all(|c| {
            !matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{10ffff}')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_keep_their_numbers() {
        let mut p = Paths::default();
        p.clear();
        let b = p.intern("/a/b");
        assert_eq!(p.text(b), "/a/b");
        assert_eq!(p.parent(b), p.find("/a"));
        assert_eq!(p.parent(p.find("/a").unwrap()), Some(Paths::ROOT));
        assert_eq!((p.find(""), p.parent(Paths::ROOT)), (Some(Paths::ROOT), None));
        let ids: Vec<PathId> = (0..3000).map(|i| p.intern(&format!("/x{i}"))).collect();
        assert!((0..3000).all(|i| p.find(&format!("/x{i}")) == Some(ids[i])));
        assert_eq!(p.find("/x3000"), None);
        p.clear();
        assert_eq!((p.find("/a"), p.ids().count()), (None, 1));
    }

    #[test]
    fn path_rules() {
        for good in ["/", "/a", "/a/...", "/.x", "/\u{a0}", "/\u{d7ff}", "/\u{f900}", "/\u{ffef}"] {
            assert!(is_valid(good), "{good:?}");
        }
        for bad in [
            "",
            "a",
            "/a/",
            "//",
            "/a//b",
            "/a/.",
            "/..",
            "/\u{0}",
            "/\u{1f}",
            "/\u{7f}",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{fff0}",
            "/\u{1f600}",
        ] {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }
}
