//! What a server's disk would give back, compared with what the server has promised: images, shadow recoveries, what disks may
//! forget without a loss, what replicas come to.

use super::World;
use crate::history::{CrashKind, Entry, Replica, Restored, ShadowOutcome};
use crate::outcome::Hit;
use crate::random::{Purpose, Stream};
use zebu_core::disk::recover;
use zebu_core::id::{Epoch, Zxid};
use zebu_core::record::Digest;
use zebu_core::server::View;
use zebu_core::time::Time;

/// What a server has, or may have vouched for.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Promised {
    /// The last transaction in its log.
    pub(super) last: Zxid,
    pub(super) accepted: Epoch,
    pub(super) current: Epoch,
}

impl World {
    /// Tells the history what is durable on a server's disk now, if that has changed.
    pub(super) fn show_image(&mut self, s: usize) {
        let node = &mut self.nodes[s];
        if !std::mem::take(&mut node.image_stale) {
            return;
        }
        let image = node.disk.durable_image();
        if image != node.image {
            node.image = image;
            let server = node.id;
            self.history.push(Time(self.now), Entry::Image { server, image });
        }
    }

    /// The same of all servers.
    pub(super) fn show_images(&mut self) {
        for s in 0..self.nodes.len() {
            self.show_image(s);
        }
    }

    /// Nothing is lost if this server forgets everything at this moment, whatever comes after: it has no vote; or all that it
    /// ever vouched for, history and epochs, is durable on the disks of all other voters, and it is no quorum by itself.
    ///
    /// Why that is enough: let some quorum have committed a transaction. If this server was not needed for it, its other
    /// members have it still, and one of them is in any later quorum, also in those that this server is in. If it was needed,
    /// all the others have the transaction, and every later quorum has another member. The same holds for accepted epochs, so
    /// no epoch is accepted for two leaders; and by induction for the next server that forgets, as this one is one of the
    /// others then. That all others are in the very same epoch leaves no history of theirs that another one has overtaken.
    /// Where the membership changes, a voter is whoever votes by any configuration that was ever proposed: some of those may
    /// be in force for whoever has missed the others.
    pub(super) fn may_forget(&self, s: usize) -> bool {
        if self.plan.config.ensemble.is_none() {
            return false;
        }
        let node = &self.nodes[s];
        if !self.membership.ever_votes(node.id) {
            return true;
        }
        let mine = node.promised;
        let others = self.nodes.iter().filter(|n| n.id != node.id && self.membership.ever_votes(n.id));
        !self.membership.all().any(|e| e.is_quorum(|server| server == node.id))
            && others.into_iter().all(|other| {
                let theirs = other.disk.durable_image();
                theirs.last >= mine.last && theirs.accepted >= mine.accepted && theirs.current == mine.current
            })
    }

    /// Recovers a clone of the disk, as it would be after a crash at this moment.
    pub(super) fn shadow(&mut self, s: usize) {
        let node = &mut self.nodes[s];
        node.shadows += 1;
        let mut random = Stream::new(self.plan.seed, Purpose::Shadow, s as u64, node.shadows);
        if !random.chance(self.plan.shadows) {
            return;
        }
        self.coverage.hit(Hit::Shadow);
        let mut disk = node.disk.clone();
        let mut lanes = node.lanes.clone();
        lanes.die(self.now, &mut disk, &mut random);
        let kind = match random.below(3) {
            0 => CrashKind::Kill,
            1 => {
                disk.worst_cut(&mut random);
                CrashKind::Power
            }
            _ => {
                disk.power_cut(&mut random);
                CrashKind::Power
            }
        };
        let outcome = match recover(&disk.view(false), &self.nodes[s].config, 0) {
            Ok(r) => ShadowOutcome::Recovered(Restored::of(&r)),
            Err(refusal) => ShadowOutcome::Refused(self.history.text(refusal.to_string())),
        };
        let server = self.server_id(s);
        self.history.push(Time(self.now), Entry::Shadow { server, kind, outcome });
    }

    /// At the end: memory and disk must tell the same.
    pub(super) fn compare_memory_and_disk(&mut self, s: usize) {
        let node = &self.nodes[s];
        let Some(server) = &node.server else { return };
        if !node.lanes.is_idle() {
            return;
        }
        let digest = server.view().tree.digest();
        let outcome = match recover(&node.disk.view(false), &node.config, 0) {
            Ok(r) => ShadowOutcome::Recovered(Restored::of(&r)),
            Err(refusal) => ShadowOutcome::Refused(self.history.text(refusal.to_string())),
        };
        self.hash.word(digest);
        let server = self.server_id(s);
        self.history.push(Time(self.now), Entry::Shadow { server, kind: CrashKind::Kill, outcome });
    }

    /// At the end: tells the history what a member of an ensemble has come to.
    pub(super) fn show_replica(&mut self, s: usize) {
        let node = &self.nodes[s];
        let Some(server) = &node.server else { return };
        let view = server.view();
        let replica = Replica {
            serving: node.serving,
            last: view.tree.last_zxid(),
            digest: view.tree.digest(),
            dump: dump(&view),
            log: node.disk.log_hashes(node.log_gap),
        };
        let server = node.id;
        self.history.replica(Time(self.now), server, replica);
    }
}

/// A hash over everything that replicas must agree on.
fn dump(view: &View<'_>) -> u64 {
    let mut hash = Digest::default();
    for (path, node) in view.tree.iter() {
        hash.bytes(path.as_bytes());
        hash.word(u64::from(node.data.is_some()));
        hash.bytes(node.data.as_deref().unwrap_or_default());
        for acl in &**view.tree.acl(node) {
            hash.word(acl.perms as u64);
            hash.bytes(acl.id.scheme.as_bytes());
            hash.bytes(acl.id.id.as_bytes());
        }
        let s = &node.stat;
        let words = [s.czxid.0, s.mzxid.0, s.pzxid.0, s.ctime, s.mtime, s.ephemeral_owner];
        words.iter().for_each(|w| hash.word(*w as u64));
        [s.version, s.cversion, s.aversion].iter().for_each(|w| hash.word(*w as u64));
    }
    for (session, timeout) in view.sessions.iter() {
        hash.word(session.0 as u64);
        hash.word(timeout as u64);
    }
    hash.value()
}
