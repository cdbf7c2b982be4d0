//! What the sequence turns into.

use super::*;
use crate::disk::catalog::Health;
use crate::disk::snapshot::{Form, Whole};
use crate::tree::Tree;

struct Bench {
    a: Appender,
    catalog: Catalog,
    out: Vec<Output>,
    vouches: Vec<Vouch>,
}

impl Bench {
    fn new(last: i64) -> Bench {
        let a = Appender::new(Zxid(last), LogIndex::new(Zxid(last), Zxid(last), Vec::new()));
        Bench { a, catalog: Catalog::default(), out: Vec::new(), vouches: Vec::new() }
    }

    /// Appends an entry and parks a promise of it.
    fn log(&mut self, zxid: i64, len: usize) {
        self.a.append(Zxid(zxid), &vec![1; len]);
        self.a.park(Vouch::OwnAck(Zxid(zxid)));
    }

    /// Hands over what may be; what that is.
    fn flush(&mut self) -> Vec<String> {
        self.a.flush(&mut self.catalog, true, &mut self.out);
        ops(&mut self.out)
    }

    fn durable(&mut self, upto: u64) -> Vec<Vouch> {
        self.a.durable(Ticket(upto), Zxid::ZERO, &mut self.vouches);
        std::mem::take(&mut self.vouches)
    }
}

fn acks(zxids: impl IntoIterator<Item = i64>) -> Vec<Vouch> {
    zxids.into_iter().map(|z| Vouch::OwnAck(Zxid(z))).collect()
}

/// The operations, in short.
fn ops(out: &mut Vec<Output>) -> Vec<String> {
    let word = |o: Output| match o {
        Output::Disk { lane: Lane::Log, op } => Some(match op {
            DiskOp::Create { file } => format!("create {file}"),
            DiskOp::Append { file, .. } => format!("append {file}"),
            DiskOp::Sync { file, ticket } => format!("sync {file} {}", ticket.0),
            DiskOp::Rename { from, to } => format!("rename {from} {to}"),
            DiskOp::SyncDir { ticket, .. } => format!("syncdir {}", ticket.0),
            DiskOp::Truncate { file, len } => format!("truncate {file} {len}"),
            DiskOp::Remove { file } => format!("remove {file}"),
        }),
        _ => None,
    };
    out.drain(..).filter_map(word).collect()
}

const BEGIN_7: [&str; 5] = [
    "create writing.log.7",
    "append writing.log.7",
    "sync writing.log.7 1",
    "rename writing.log.7 log.7",
    "syncdir 2",
];

#[test]
fn a_step_is_one_append_and_one_sync() {
    let mut b = Bench::new(6);
    (7..10).for_each(|z| b.log(z, 10));
    assert_eq!(b.flush(), BEGIN_7);
    (10..15).for_each(|z| b.log(z, 10));
    assert_eq!(b.flush(), ["append log.7", "sync log.7 3"]);
    assert_eq!(b.durable(1), []);
    assert_eq!(b.durable(2), acks(7..10));
    assert_eq!(b.flush(), [""; 0]);
    assert_eq!(b.durable(3), acks(10..15));
}

#[test]
fn no_more_than_the_limit_is_in_flight_and_giants_begin_a_file() {
    let mut b = Bench::new(0);
    b.log(1, 10);
    b.flush();
    let third = LOG_IN_FLIGHT / 3;
    (2..7).for_each(|z| b.log(z, third - 100));
    b.log(7, LOG_IN_FLIGHT);
    assert_eq!(b.flush(), ["append log.1", "sync log.1 3"]);
    assert_eq!(b.flush(), [""; 0]);
    assert_eq!(b.durable(3), acks(1..=4));
    let seen = b.flush();
    assert_eq!(seen[..3], ["append log.1", "sync log.1 4", "create writing.log.7"]);
    assert_eq!(b.durable(6), acks(5..=7));
}

#[test]
fn an_epoch_file_is_java_s_and_stands_behind_the_log() {
    let mut b = Bench::new(6);
    b.log(7, 10);
    b.a.write_epoch(EpochFile::Current, Epoch(12));
    b.a.park(Vouch::AckNewLeader(Epoch(12)));
    b.a.flush(&mut b.catalog, true, &mut b.out);
    let text = DiskOp::Append { file: FileName::CurrentEpochTemp, bytes: "12".into() };
    assert!(b.out.contains(&Output::Disk { lane: Lane::Log, op: text }));
    let written = [
        "create currentEpoch.tmp",
        "append currentEpoch.tmp",
        "sync currentEpoch.tmp 3",
        "rename currentEpoch.tmp currentEpoch",
        "syncdir 4",
    ];
    assert_eq!(ops(&mut b.out), [BEGIN_7, written].concat());
    assert_eq!(b.durable(3), acks([7]));
    assert!(!b.a.is_settled());
    assert_eq!(b.durable(4), [Vouch::AckNewLeader(Epoch(12))]);
    assert!(b.a.is_settled());
}

#[test]
fn what_is_asked_for_behind_an_entry_that_waits_waits_too() {
    let mut b = Bench::new(0);
    b.log(1, 10);
    b.flush();
    b.log(2, LOG_IN_FLIGHT - 100);
    b.log(3, 1000);
    b.a.write_epoch(EpochFile::Accepted, Epoch(1));
    b.a.truncate(Zxid(2));
    b.log(3, 10);
    assert_eq!(b.flush(), ["append log.1", "sync log.1 3"]);
    assert_eq!(b.durable(3), acks([1, 2]));
    let seen = b.flush();
    assert_eq!(seen[..2], ["append log.1", "sync log.1 4"]);
    assert_eq!(seen[5..7], ["rename acceptedEpoch.tmp acceptedEpoch", "syncdir 6"]);
    let len = HEADER_LEN + 2 * log::FRAME_LEN + 10 + LOG_IN_FLIGHT - 100;
    assert_eq!(seen[7..10], [&format!("truncate log.1 {len}"), "sync log.1 7", "create writing.log.3"]);
    // Both were logged, one after the other.
    assert_eq!(b.durable(9), acks([3, 3]));
}

/// 1 to 3, 4 to 5, 6 in a file each, all durable.
fn three_files() -> Bench {
    let mut b = Bench::new(0);
    for z in 1..=6 {
        if [4, 6].contains(&z) {
            b.a.roll();
        }
        b.log(z, 10);
    }
    b.flush();
    b.durable(6);
    b
}

#[test]
fn a_cut_takes_later_files_first_and_leaves_the_target() {
    let cut = |to: i64, done: &[&str], left: &[i64]| {
        let mut b = three_files();
        b.a.truncate(Zxid(to));
        assert_eq!(b.flush(), done);
        assert!(b.catalog.logs.keys().eq(left.iter().map(|z| Zxid(*z)).collect::<Vec<_>>().iter()));
        b.log(to + 1, 10);
        assert_eq!(b.flush()[0], format!("create writing.log.{:x}", to + 1), "a new file");
    };
    let later = ["remove log.6", "syncdir 7", "remove log.4", "syncdir 8"];
    cut(2, &[&later[..], &["truncate log.1 62", "sync log.1 9"]].concat(), &[1]);
    cut(3, &later, &[1]);
    cut(4, &["remove log.6", "syncdir 7", "truncate log.4 39", "sync log.4 8"], &[1, 4]);
    cut(6, &[], &[1, 4, 6]);
}

#[test]
fn what_the_tree_holds_is_forgotten_once_it_has_moved() {
    let mut b = three_files();
    b.a.durable(Ticket(6), Zxid(4), &mut b.vouches);
    assert_eq!(b.a.index.held(), Zxid(4));
    b.a.truncate(Zxid(4));
    b.a.durable(Ticket(6), Zxid(9), &mut b.vouches);
    assert_eq!(b.a.index.held(), Zxid(4), "the cut has not been made");
    assert_eq!(b.flush()[2], "truncate log.4 39");
}

#[test]
fn an_install_waits_for_the_bulk_lane_and_leaves_a_snapshot() {
    let mut b = three_files();
    let old = |z: i64| ((Zxid(z), Form::Plain), (1, Health::Verified));
    b.catalog.snapshots = [old(0), old(2)].into();
    let mut tree = Tree::new(0);
    tree.set_last_zxid(Zxid(4));
    let whole = Whole::of(&mut tree, [].into_iter(), true, 1 << 10);
    b.a.install(Install { whole, leftover: Some(FileName::SnapshotTemp(Zxid(2))) });
    b.log(5, 10);
    b.a.flush(&mut b.catalog, false, &mut b.out);
    assert_eq!(ops(&mut b.out), [""; 0]);
    let seen = b.flush();
    let install = [
        "remove writing.snapshot.2",
        "create writing.snapshot.4",
        "append writing.snapshot.4",
        "sync writing.snapshot.4 7",
        // What lies above it.
        "remove log.6",
        "syncdir 8",
        "truncate log.4 39",
        "sync log.4 9",
        "rename writing.snapshot.4 snapshot.4",
        "syncdir 10",
        // What it replaces.
        "remove log.4",
        "syncdir 11",
        "remove log.1",
        "syncdir 12",
        "remove snapshot.0",
        "remove snapshot.2",
        "syncdir 13",
        "create writing.log.5",
    ];
    assert_eq!(seen[..install.len()], install);
    assert!(b.catalog.logs.keys().eq(&[Zxid(5)]) && b.catalog.snapshots.keys().eq(&[(Zxid(4), Form::Plain)]));
    b.durable(12);
    assert!(!b.a.is_settled());
    b.durable(13);
    assert!(b.a.is_settled());
}

#[test]
fn a_promise_comes_even_if_all_is_durable() {
    let mut b = three_files();
    b.a.park(Vouch::AckEpoch(Epoch(3)));
    assert_eq!(b.flush(), ["syncdir 7"]);
    assert_eq!(b.durable(7), [Vouch::AckEpoch(Epoch(3))]);
}

#[test]
fn the_promises_of_a_role_end_with_it() {
    let mut b = Bench::new(0);
    b.a.opened(Zxid(0));
    b.log(1, 10);
    b.flush();
    b.log(2, 10);
    b.a.forget_parked();
    b.log(3, 10);
    b.flush();
    assert_eq!(b.durable(9), [Vouch::Recovered(Zxid(0)), Vouch::OwnAck(Zxid(3))]);
}
