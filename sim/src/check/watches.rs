//! W1–W3: every watch event that must come does come, before any reply that shows its cause; no other comes.
//!
//! Per handle it follows the connection's stream as the client sees it. Registrations stand at the zxid of their reply; an item
//! of zxid z brings the follower to state z, and all transactions passed on the way say which events must have come. A
//! connection's end gives back to the client's own list what was not delivered; the next connection begins with setWatches at an
//! unknown state, the newest that explains the events it made.

use super::model::{Change, ChangeKind, Index, Model};
use super::paths::PathId;
use super::rights;
use super::{Found, Rule};
use crate::history::Who;
use std::collections::VecDeque;
use zebu_core::id::Zxid;
use zebu_core::proto::{AddWatchMode, ErrorCode, EventKind, Id, Request, Response, WatcherType, perms};
use zebu_core::time::Time;

/// Servers also show there what no transaction tells of: the configuration that they were started with, under the number of
/// an epoch. So its data watches are not judged; what is owed for a transaction is.
const UNSTEADY: &str = "/zookeeper/config";

/// Modes of a watch. The server knows no EXIST: it is DATA there.
mod mode {
    pub(super) const DATA: u8 = 1;
    pub(super) const CHILD: u8 = 2;
    pub(super) const PERSISTENT: u8 = 4;
    pub(super) const RECURSIVE: u8 = 8;
    pub(super) const EXIST: u8 = 16;
}

/// What both sides hold on one path.
#[derive(Clone, Copy, Debug)]
struct Watch {
    path: PathId,
    server: u8,
    client: u8,
}

/// An event that the server owes.
#[derive(Clone, Copy, Debug)]
struct Owed {
    index: Index,
    kind: EventKind,
    path: PathId,
    /// Whether the connection may see it hangs on credentials under way.
    optional: bool,
    /// What it used up of the client's list.
    took: u8,
}

/// A connection before the first item that tells where its setWatches was.
#[derive(Debug)]
struct Restoring {
    /// The client's last zxid.
    relative: Zxid,
    from: Index,
    seen: Vec<(EventKind, PathId)>,
    /// The state in which a server answered it, if that is known.
    met: Option<Index>,
}

#[derive(Debug, Default)]
struct Follower {
    at: Index,
    watches: Vec<Watch>,
    recursive: bool,
    owed: VecDeque<Owed>,
    late: Vec<Owed>,
    restoring: Option<Restoring>,
}

/// Who may see what: identities and, per credential, since when the server surely knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight<'a> {
    pub(super) ids: &'a [Id],
    /// Identities up to this many were there at that time.
    pub(super) sure: &'a [(Time, usize)],
    pub(super) skip_acl: bool,
}

/// All handles' watches.
#[derive(Debug, Default)]
pub(super) struct Watches {
    followers: Vec<Follower>,
}

impl Sight<'_> {
    /// `None`: may or may not.
    fn may(&self, model: &Model, index: Index, change_acl: super::rights::ListId) -> Option<bool> {
        let acl = model.lists.get(change_acl);
        if !rights::allowed(self.skip_acl, acl, perms::READ, self.ids) {
            return Some(false);
        }
        let at = model.txn(index).at;
        let sure = self.sure.iter().filter(|(since, _)| *since < at).map(|(_, n)| *n).max().unwrap_or(0);
        rights::allowed(self.skip_acl, acl, perms::READ, &self.ids[..sure]).then_some(true)
    }
}

impl Watches {
    pub(super) fn clear(&mut self) {
        self.followers.clear();
    }

    pub(super) fn open(&mut self) {
        self.followers.push(Follower::default());
    }

    fn of(&mut self, who: Who) -> &mut Follower {
        &mut self.followers[usize::from(who.handle)]
    }

    /// A connection took up the session; `relative` is the client's last zxid.
    pub(super) fn connected(&mut self, model: &Model, who: Who, relative: Zxid) {
        let f = self.of(who);
        let from = model.index(relative).unwrap_or(0);
        f.at = from;
        f.watches.retain(|w| w.client != 0);
        f.watches.iter_mut().for_each(|w| w.server = 0);
        if !f.watches.is_empty() {
            f.restoring = Some(Restoring { relative, from, seen: Vec::new(), met: None });
        }
    }

    /// The setWatches of a handle was answered in state `index`.
    pub(super) fn set_at(&mut self, handle: usize, index: Index) {
        if let Some(r) = &mut self.followers[handle].restoring {
            r.met.get_or_insert(index);
        }
    }

    /// The connection is gone.
    pub(super) fn disconnected(&mut self, model: &mut Model, who: Who, at: Time, found: &mut Found) {
        let f = self.of(who);
        if let Some(r) = f.restoring.take() {
            f.cut_short(model, &r, who, at, found);
        }
        for owed in std::mem::take(&mut f.owed) {
            f.give_back(&owed);
        }
        f.report_late(model, who, at, found);
    }

    /// The handle is over: nothing is owed any more.
    pub(super) fn ended(&mut self, model: &mut Model, who: Who, at: Time, found: &mut Found) {
        let f = self.of(who);
        f.report_late(model, who, at, found);
        *f = Follower::default();
    }

    /// The run is over.
    pub(super) fn finish(&mut self, model: &Model, at: Time, found: &mut Found) {
        for (handle, f) in self.followers.iter_mut().enumerate() {
            let who = Who { client: u16::MAX, handle: handle as u16 };
            f.report_late(model, who, at, found);
        }
    }

    /// A reply of state `index` came: everything up to there has been told.
    pub(super) fn replied(
        &mut self,
        model: &mut Model,
        who: Who,
        index: Index,
        sight: &Sight<'_>,
        at: Time,
        found: &mut Found,
    ) {
        let f = self.of(who);
        if f.watches.is_empty() {
            f.at = f.at.max(index);
            return;
        }
        found.look(Rule::W1);
        f.settle(model, index, who, at, found);
        f.advance(model, who, index, sight);
        f.expect_told(index);
    }

    /// An event came.
    pub(super) fn event(
        &mut self,
        model: &mut Model,
        who: Who,
        (zxid, kind, text): (Zxid, EventKind, &str),
        sight: &Sight<'_>,
        at: Time,
        found: &mut Found,
    ) {
        found.look(Rule::W2);
        let path = model.paths.intern(text);
        let f = self.of(who);
        if zxid == Zxid::NONE {
            match &mut f.restoring {
                _ if text == UNSTEADY => {}
                Some(r) => r.seen.push((kind, path)),
                None => {
                    found.add(Rule::W2, at, || format!("{who:?}: {kind:?} of {text} without a setWatches"))
                }
            }
            return;
        }
        let Some(index) = model.index(zxid).filter(|i| *i > 0) else {
            found.add(Rule::W2, at, || {
                format!("{who:?}: {kind:?} of {text} at {zxid}, which is not committed")
            });
            return;
        };
        f.settle(model, index - 1, who, at, found);
        f.advance(model, who, index, sight);
        f.expect_told(index - 1);
        let same = |o: &Owed| o.index == index && o.kind == kind && o.path == path;
        if let Some(n) = f.owed.iter().position(same) {
            f.owed.remove(n);
        } else if let Some(n) = f.late.iter().position(same) {
            f.late.remove(n);
            found.add(Rule::W1, at, || {
                format!("{who:?}: {kind:?} of {text} at {zxid} came after a reply or event that follows it")
            });
        } else if text != UNSTEADY {
            found.add(Rule::W2, at, || {
                format!(
                    "{who:?}: {kind:?} of {text} at {zxid}: no watch of it is left, or nothing happened to it"
                )
            });
        }
    }

    /// A read or a watch call was answered at state `index`, and [`Watches::replied`] has been called.
    pub(super) fn answered(
        &mut self,
        model: &mut Model,
        who: Who,
        request: &Request,
        result: &Result<Response, ErrorCode>,
        at: Time,
        found: &mut Found,
    ) {
        let (path, server, client) = match (request, result) {
            (Request::GetData { path, watch: true } | Request::Exists { path, watch: true }, Ok(_)) => {
                (path, mode::DATA, mode::DATA)
            }
            (Request::Exists { path, watch: true }, Err(ErrorCode::NoNode)) => {
                (path, mode::DATA, mode::EXIST)
            }
            (
                Request::GetChildren { path, watch: true } | Request::GetChildren2 { path, watch: true },
                Ok(_),
            ) => (path, mode::CHILD, mode::CHILD),
            (Request::AddWatch { path: Some(path), mode: AddWatchMode::Persistent }, Ok(_)) => {
                (path, mode::PERSISTENT, mode::PERSISTENT)
            }
            (Request::AddWatch { path: Some(path), mode: AddWatchMode::PersistentRecursive }, Ok(_)) => {
                (path, mode::RECURSIVE, mode::RECURSIVE)
            }
            (Request::RemoveWatches { path, .. } | Request::CheckWatches { path, .. }, _)
                if path == UNSTEADY =>
            {
                return;
            }
            (Request::RemoveWatches { path, kind }, _) | (Request::CheckWatches { path, kind }, _) => {
                let remove = matches!(request, Request::RemoveWatches { .. });
                return self.asked(model, who, (path, *kind, remove), result, at, found);
            }
            _ => return,
        };
        if path == UNSTEADY && server == mode::DATA {
            return;
        }
        let path = model.paths.intern(path);
        model.paths.info_mut(path).watched |= bit(who);
        let f = self.of(who);
        f.recursive |= server == mode::RECURSIVE;
        match f.watches.iter_mut().find(|w| w.path == path) {
            Some(w) => {
                w.server |= server;
                w.client |= client;
            }
            None => f.watches.push(Watch { path, server, client }),
        }
    }

    fn asked(
        &mut self,
        model: &Model,
        who: Who,
        (path, kind, remove): (&str, WatcherType, bool),
        result: &Result<Response, ErrorCode>,
        at: Time,
        found: &mut Found,
    ) {
        let modes = modes_of(kind);
        let id = model.paths.find(path);
        let watch = self.of(who).watches.iter_mut().find(|w| Some(w.path) == id);
        let there = watch.as_ref().is_some_and(|w| w.server & modes != 0);
        let of_client = modes | if modes & mode::DATA != 0 { mode::EXIST } else { 0 };
        // The client says so, too: the server has removed one that the client's own list does not have any more.
        let removed_there = remove && there && watch.as_ref().is_some_and(|w| w.client & of_client == 0);
        let fine = match result {
            Ok(_) => there,
            Err(code) => (!there || removed_there) && *code == ErrorCode::NoWatcher,
        };
        if !fine {
            found.add(Rule::C2, at, || {
                format!(
                    "{who:?}: {kind:?} watches of {path} are there: {there}, but the answer is {result:?}"
                )
            });
        }
        if (remove && result.is_ok() || removed_there)
            && let Some(w) = watch
        {
            w.server &= !modes;
            w.client &= !of_client;
        }
    }
}

fn modes_of(kind: WatcherType) -> u8 {
    match kind {
        WatcherType::Children => mode::CHILD,
        WatcherType::Data => mode::DATA,
        WatcherType::Any => mode::DATA | mode::CHILD | mode::PERSISTENT | mode::RECURSIVE,
        WatcherType::Persistent => mode::PERSISTENT,
        WatcherType::PersistentRecursive => mode::RECURSIVE,
    }
}

fn bit(who: Who) -> u64 {
    1 << (who.handle % 64)
}

/// What an event of the server uses up of the client's own list.
fn used_up(kind: EventKind) -> u8 {
    match kind {
        EventKind::NodeCreated | EventKind::NodeDataChanged => mode::DATA | mode::EXIST,
        EventKind::NodeDeleted => mode::DATA | mode::EXIST | mode::CHILD,
        EventKind::NodeChildrenChanged => mode::CHILD,
        EventKind::None
        | EventKind::DataWatchRemoved
        | EventKind::ChildWatchRemoved
        | EventKind::PersistentWatchRemoved => 0,
    }
}

impl Follower {
    fn watch(&mut self, path: PathId) -> Option<&mut Watch> {
        self.watches.iter_mut().find(|w| w.path == path)
    }

    /// Does a recursive watch cover the path? By what the given side holds.
    fn covered(&self, model: &Model, path: PathId, side: fn(&Watch) -> u8) -> bool {
        if !self.recursive {
            return false;
        }
        let mut at = Some(path);
        while let Some(p) = at {
            if self.watches.iter().any(|w| w.path == p && side(w) & mode::RECURSIVE != 0) {
                return true;
            }
            at = model.paths.parent(p);
        }
        false
    }

    fn give_back(&mut self, owed: &Owed) {
        if let Some(w) = self.watch(owed.path) {
            w.client |= owed.took;
        }
    }

    /// Whatever is owed from states up to `index` should have come by now.
    fn expect_told(&mut self, index: Index) {
        while let Some(owed) = self.owed.front().copied().filter(|o| o.index <= index) {
            self.owed.pop_front();
            if owed.optional {
                self.give_back(&owed);
            } else {
                self.late.push(owed);
            }
        }
    }

    fn report_late(&mut self, model: &Model, who: Who, at: Time, found: &mut Found) {
        for owed in self.late.drain(..) {
            found.add(Rule::W3, at, || {
                let (path, zxid) = (model.paths.text(owed.path), model.zxid(owed.index));
                format!(
                    "{who:?}: {:?} of {path} at {zxid} never came, though a later state was shown",
                    owed.kind
                )
            });
        }
    }

    /// Passes the transactions up to state `to`.
    fn advance(&mut self, model: &Model, who: Who, to: Index, sight: &Sight<'_>) {
        let from = self.at;
        self.at = from.max(to);
        let bit = bit(who);
        for index in from + 1..=to {
            for change in model.changes(index) {
                let parent = model.paths.parent(change.path);
                let watched =
                    model.paths.info(change.path).watched | parent.map_or(0, |p| model.paths.info(p).watched);
                if self.recursive || watched & bit != 0 {
                    self.pass(model, index, change, parent, sight);
                }
            }
        }
    }

    /// What one change makes: the data watches of the node, its child watches if it is gone, the child watches of its parent.
    fn pass(
        &mut self,
        model: &Model,
        index: Index,
        change: &Change,
        parent: Option<PathId>,
        sight: &Sight<'_>,
    ) {
        let kind = match change.kind {
            ChangeKind::Created => EventKind::NodeCreated,
            ChangeKind::Deleted => EventKind::NodeDeleted,
            ChangeKind::Data => EventKind::NodeDataChanged,
        };
        let covered = self.covered(model, change.path, |w| w.server);
        let mut fires = covered;
        if let Some(w) = self.watch(change.path) {
            fires |= w.server & (mode::DATA | mode::PERSISTENT) != 0;
            w.server &= !mode::DATA;
            if change.kind == ChangeKind::Deleted {
                fires |= w.server & mode::CHILD != 0;
                w.server &= !mode::CHILD;
            }
        }
        if fires {
            self.owe(model, index, kind, change.path, sight.may(model, index, change.acl));
        }
        let Some(parent) = parent.filter(|_| change.kind != ChangeKind::Data) else { return };
        let Some(w) = self.watch(parent) else { return };
        let fires = w.server & (mode::CHILD | mode::PERSISTENT) != 0;
        w.server &= !mode::CHILD;
        if fires {
            let may = sight.may(model, index, change.parent_acl);
            self.owe(model, index, EventKind::NodeChildrenChanged, parent, may);
        }
    }

    fn owe(&mut self, model: &Model, index: Index, kind: EventKind, path: PathId, may: Option<bool>) {
        if may == Some(false) {
            return;
        }
        // The client keeps events to itself that concern no watch of its own list.
        let recursive = kind != EventKind::NodeChildrenChanged && self.covered(model, path, |w| w.client);
        let held = self.watch(path).map_or(0, |w| {
            let held = w.client & (used_up(kind) | mode::PERSISTENT);
            w.client &= !used_up(kind);
            held
        });
        if held != 0 || recursive {
            let took = held & !mode::PERSISTENT;
            self.owed.push_back(Owed { index, kind, path, optional: may.is_none(), took });
        }
    }

    /// Finds out where setWatches was, now that it is known to have been at state `bound` at the latest.
    fn settle(&mut self, model: &mut Model, bound: Index, who: Who, at: Time, found: &mut Found) {
        let Some(mut r) = self.restoring.take() else { return };
        found.look(Rule::W3);
        r.seen.sort_unstable();
        let fits = |made: &[(EventKind, PathId)]| made == r.seen;
        let may_be = |c: &Index| fits(&self.made(model, *c, r.relative));
        let place = match r.met {
            Some(met) => Some(met).filter(may_be),
            None => self.candidates(model, r.from, bound).find(may_be),
        };
        let place = place.unwrap_or_else(|| {
            let made = self.made(model, r.met.unwrap_or(bound.max(r.from)), r.relative);
            let missing = made.iter().find(|m| !r.seen.contains(m));
            let extra = r.seen.iter().find(|s| !made.contains(s));
            let rule = if missing.is_some() { Rule::W3 } else { Rule::W2 };
            let words = |e: Option<&(EventKind, PathId)>| {
                e.map_or("nothing".to_owned(), |(k, p)| format!("{k:?} of {}", model.paths.text(*p)))
            };
            found.add(rule, at, || {
                let (missing, extra) = (words(missing), words(extra));
                format!(
                    "{who:?}: setWatches after {} tells of {extra} without reason and leaves out {missing}",
                    r.relative
                )
            });
            r.met.unwrap_or(bound.max(r.from))
        });
        self.restore(model, place, r.relative);
    }

    /// The connection broke before anything told where setWatches was.
    fn cut_short(&mut self, model: &Model, r: &Restoring, who: Who, at: Time, found: &mut Found) {
        let all_made = |made: &[(EventKind, PathId)]| r.seen.iter().all(|s| made.contains(s));
        let explained =
            self.candidates(model, r.from, model.last()).any(|c| all_made(&self.made(model, c, r.relative)));
        if !explained {
            found.add(Rule::W2, at, || {
                let seen: Vec<_> = r.seen.iter().map(|(k, p)| (k, model.paths.text(*p))).collect();
                format!("{who:?}: setWatches after {} tells of {seen:?} without reason", r.relative)
            });
        }
        for (kind, path) in &r.seen {
            if let Some(w) = self.watch(*path) {
                w.client &= !used_up(*kind);
            }
        }
    }

    /// States that setWatches may have met and that differ in what they mean to this client, newest first.
    fn candidates(&self, model: &Model, from: Index, to: Index) -> impl Iterator<Item = Index> {
        let touches = move |index: &Index| {
            let touched = |p: PathId| self.watches.iter().any(|w| w.path == p);
            model
                .changes(*index)
                .iter()
                .any(|c| touched(c.path) || model.paths.parent(c.path).is_some_and(touched))
        };
        let older = (from + 1..=to).rev().filter(touches).map(|index| index - 1);
        std::iter::once(to.max(from)).chain(older)
    }

    /// The events that setWatches makes in a state and that concern the client's own list, sorted.
    fn made(&self, model: &Model, index: Index, relative: Zxid) -> Vec<(EventKind, PathId)> {
        let mut out = Vec::new();
        for w in &self.watches {
            let node = model.node(w.path, index);
            let mut left = w.client;
            let mut make = |made: Option<EventKind>| {
                let Some(kind) = made else { return };
                let recursive =
                    kind != EventKind::NodeChildrenChanged && self.covered(model, w.path, |w| w.client);
                if left & (used_up(kind) | mode::PERSISTENT) != 0 || recursive {
                    out.push((kind, w.path));
                }
                left &= !used_up(kind);
            };
            if w.client & mode::DATA != 0 {
                make(match node {
                    None => Some(EventKind::NodeDeleted),
                    Some(v) => (v.mzxid > relative).then_some(EventKind::NodeDataChanged),
                });
            }
            if w.client & mode::EXIST != 0 {
                make(node.map(|_| EventKind::NodeCreated));
            }
            if w.client & mode::CHILD != 0 {
                make(match node {
                    None => Some(EventKind::NodeDeleted),
                    Some(v) => (v.pzxid > relative).then_some(EventKind::NodeChildrenChanged),
                });
            }
        }
        out.sort_unstable();
        out
    }

    /// Both sides' lists after a setWatches that met state `index`.
    fn restore(&mut self, model: &Model, index: Index, relative: Zxid) {
        self.at = index;
        let made = self.made(model, index, relative);
        for w in &mut self.watches {
            let node = model.node(w.path, index);
            let asked = w.client;
            w.server = asked & (mode::PERSISTENT | mode::RECURSIVE);
            let quiet_data = asked & mode::DATA != 0 && node.is_some_and(|v| v.mzxid <= relative);
            if quiet_data || (asked & mode::EXIST != 0 && node.is_none()) {
                w.server |= mode::DATA;
            }
            if asked & mode::CHILD != 0 && node.is_some_and(|v| v.pzxid <= relative) {
                w.server |= mode::CHILD;
            }
            for (kind, _) in made.iter().filter(|(_, p)| *p == w.path) {
                w.client &= !used_up(*kind);
            }
        }
    }
}
