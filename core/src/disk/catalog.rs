//! Which files there are, by their names. Answers to `FileTxnSnapLog` and `Util.getZxidFromName`. Does not look into them.

use super::snapshot::Form;
use crate::boundary::FileName;
use crate::id::Zxid;
use std::collections::BTreeMap;

/// What is known of a snapshot file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Health {
    /// Nobody has read it.
    Unread,
    /// It was read whole, or written and synced by this process.
    Verified,
    /// It cannot be read.
    Bad,
}

/// The files of a server that matter beyond its start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Catalog {
    /// Logs and their lengths.
    pub(super) logs: BTreeMap<Zxid, u64>,
    /// Snapshots and their lengths.
    pub(super) snapshots: BTreeMap<(Zxid, Form), (u64, Health)>,
}

/// What a name in a server's folders means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    Log(Zxid),
    Snapshot(Zxid, Form),
    /// A file that was being written by us when the server died.
    Leftover(FileName),
    /// An epoch file that was being written.
    EpochTemp(FileName),
    /// Java takes it for a log, we could not name it: "log.1.bak", "log.0A".
    Stray,
    /// Nothing that we or Java read as a log or snapshot.
    Other,
}

impl Meaning {
    /// What a name means. Ours are the names that [`FileName`] shows; Java reads any `log.<hex>` with anything behind.
    pub(super) fn of(name: &str) -> Meaning {
        let epochs = [FileName::AcceptedEpochTemp, FileName::CurrentEpochTemp];
        if let Some(file) = epochs.into_iter().find(|file| file.to_string() == name) {
            return Meaning::EpochTemp(file);
        }
        let mut parts = name.split('.');
        let (kind, number) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if kind == "writing" {
            return Meaning::leftover(name).map_or(Meaning::Other, Meaning::Leftover);
        }
        let Ok(zxid) = i64::from_str_radix(number, 16).map(Zxid) else { return Meaning::Other };
        let is = |file: FileName| file.to_string() == name;
        match kind {
            _ if zxid < Zxid::ZERO => Meaning::Other,
            "log" if is(FileName::Log(zxid)) => Meaning::Log(zxid),
            "log" => Meaning::Stray,
            "snapshot" => [Form::Plain, Form::Gz, Form::Snappy]
                .into_iter()
                .find(|form| is(snapshot_name(zxid, *form)))
                .map_or(Meaning::Other, |form| Meaning::Snapshot(zxid, form)),
            _ => Meaning::Other,
        }
    }

    fn leftover(name: &str) -> Option<FileName> {
        let zxid = Zxid(i64::from_str_radix(name.rsplit('.').next()?, 16).ok()?);
        [FileName::LogTemp(zxid), FileName::SnapshotTemp(zxid)].into_iter().find(|f| f.to_string() == name)
    }
}

/// The file of a snapshot.
pub(super) fn snapshot_name(zxid: Zxid, form: Form) -> FileName {
    match form {
        Form::Plain => FileName::Snapshot(zxid),
        Form::Gz => FileName::SnapshotGz(zxid),
        Form::Snappy => FileName::SnapshotSnappy(zxid),
    }
}

impl Catalog {
    /// The logs that must be read to go on from `zxid`: the newest one that begins at or before the next, and all later ones.
    pub(super) fn logs_after(&self, zxid: Zxid) -> impl Iterator<Item = Zxid> {
        let next = Zxid(zxid.0.saturating_add(1));
        let first = self.logs.range(..=next).next_back().map_or(next, |(z, _)| *z);
        self.logs.range(first..).map(|(z, _)| *z)
    }

    /// What a purge may remove, and takes it out: all but the `retain` newest snapshots, not counting bad ones, but never one
    /// that no verified newer one replaces; and the logs that only those would need.
    pub(super) fn purge(&mut self, retain: usize) -> Vec<FileName> {
        let newest_first = || self.snapshots.iter().rev().filter(|(_, (_, health))| *health != Health::Bad);
        let verified = newest_first().find(|(_, (_, health))| *health == Health::Verified);
        let (Some((verified, _)), Some((kept, _))) = (verified, newest_first().take(retain.max(1)).last())
        else {
            return Vec::new();
        };
        let oldest = *verified.min(kept);
        let newer = self.snapshots.split_off(&oldest);
        let old = std::mem::replace(&mut self.snapshots, newer);
        let mut files: Vec<FileName> = old.into_keys().map(|(z, form)| snapshot_name(z, form)).collect();
        let first = self.logs_after(oldest.0).next();
        if let Some(first) = first {
            let newer = self.logs.split_off(&first);
            let old = std::mem::replace(&mut self.logs, newer);
            files.extend(old.into_keys().map(FileName::Log));
        }
        files
    }

    /// Bytes of the snapshots and of the logs.
    pub(super) fn sizes(&self) -> (u64, u64) {
        (self.snapshots.values().map(|(len, _)| len).sum(), self.logs.values().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_java_reads_or_are_told_apart() {
        for (name, meaning) in [
            ("log.1", Meaning::Log(Zxid(1))),
            ("log.10000000a", Meaning::Log(Zxid(0x1_0000_000a))),
            ("log.1.bak", Meaning::Stray),
            ("log.0A", Meaning::Stray),
            ("log.01", Meaning::Stray),
            ("log.-1", Meaning::Other),
            ("log.8000000000000000", Meaning::Other),
            ("log.", Meaning::Other),
            ("log", Meaning::Other),
            ("logs.1", Meaning::Other),
            ("log.x", Meaning::Other),
            ("snapshot.0", Meaning::Snapshot(Zxid(0), Form::Plain)),
            ("snapshot.2b.gz", Meaning::Snapshot(Zxid(0x2b), Form::Gz)),
            ("snapshot.2b.snappy", Meaning::Snapshot(Zxid(0x2b), Form::Snappy)),
            ("snapshot.2b.tmp", Meaning::Other),
            ("writing.snapshot.5", Meaning::Leftover(FileName::SnapshotTemp(Zxid(5)))),
            ("writing.log.5", Meaning::Leftover(FileName::LogTemp(Zxid(5)))),
            ("writing.log.5.x", Meaning::Other),
            ("currentEpoch", Meaning::Other),
            ("currentEpoch.tmp", Meaning::EpochTemp(FileName::CurrentEpochTemp)),
            ("acceptedEpoch.tmp", Meaning::EpochTemp(FileName::AcceptedEpochTemp)),
            ("acceptedEpoch.tmp.x", Meaning::Other),
        ] {
            assert_eq!(Meaning::of(name), meaning, "{name}");
        }
    }

    fn catalog(snapshots: &[(i64, Health)], logs: &[i64]) -> Catalog {
        let snapshot = |(z, health): &(i64, Health)| ((Zxid(*z), Form::Plain), (1, *health));
        Catalog {
            logs: logs.iter().map(|z| (Zxid(*z), 1)).collect(),
            snapshots: snapshots.iter().map(snapshot).collect(),
        }
    }

    #[test]
    fn logs_from_the_one_that_holds_the_next_transaction() {
        let c = catalog(&[], &[1, 5, 9]);
        let after = |z| c.logs_after(Zxid(z)).map(|z| z.0).collect::<Vec<_>>();
        assert_eq!(after(0), [1, 5, 9]);
        assert_eq!(after(3), [1, 5, 9]);
        assert_eq!(after(4), [5, 9]);
        assert_eq!(after(100), [9]);
        assert_eq!(catalog(&[], &[7]).logs_after(Zxid(0)).count(), 1);
    }

    fn purged(mut c: Catalog) -> Vec<String> {
        let names = c.purge(3).iter().map(|f| f.to_string()).collect();
        assert_eq!(c.purge(3), [], "once is enough");
        names
    }

    #[test]
    fn purge_keeps_what_the_retained_snapshots_need() {
        use Health::*;
        let logs = [1, 8, 13, 21, 31];
        let c = catalog(&[(0, Unread), (10, Unread), (20, Unread), (30, Verified)], &logs);
        assert_eq!(purged(c), ["snapshot.0", "log.1"]);
        // A bad one is kept for looking at as long as it is new, but not counted.
        let c =
            catalog(&[(0, Unread), (5, Bad), (10, Unread), (20, Unread), (25, Bad), (30, Verified)], &logs);
        assert_eq!(purged(c), ["snapshot.0", "snapshot.5", "log.1"]);
    }

    #[test]
    fn purge_keeps_everything_that_no_verified_snapshot_replaces() {
        use Health::*;
        let newer = [(20, Unread), (30, Unread), (40, Unread)];
        let c = catalog(&[&[(0, Unread), (10, Verified)], &newer[..]].concat(), &[1, 12, 21]);
        assert_eq!(purged(c), ["snapshot.0"]);
        let c = catalog(&[&[(0, Unread), (10, Unread)], &newer[..]].concat(), &[1, 12, 21]);
        assert_eq!(purged(c), [""; 0]);
    }
}
