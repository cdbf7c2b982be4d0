//! Every row of the truth table, on the smallest directory that has it, and what is done about it at open.

use super::super::log::{self, put_entry, put_header};
use super::super::memory::Disk;
use super::super::snapshot::Writer;
use super::*;
use crate::boundary::{DiskOp, Output, Vouch};
use crate::config::EnsembleConfig;
use crate::disk::Store;
use crate::proto::{Acl, CreateKind, CreateTxn, TxnHeader};
use crate::quorum::{ConfigRules, QuorumVerifier};
use crate::time::Time;
use bytes::BytesMut;

const EPOCH: i64 = 1 << 32;

/// Transaction `z` of the history that these tests write: creates `/nZ`.
fn txn(z: i64) -> LoggedTxn {
    let header = TxnHeader { session: SessionId(9), cxid: 1, zxid: Zxid(z), time: 7 };
    let kind = CreateKind::Node { ephemeral: false, create2: false };
    let (path, data) = (format!("/n{z:x}"), Some(Bytes::from(vec![b'x'; 700])));
    let txn = Txn::Create(CreateTxn { kind, path, data, acl: vec![Acl::open()], parent_cversion: -1 });
    LoggedTxn { header, txn, digest: None }
}

fn log(txns: &[LoggedTxn]) -> Vec<u8> {
    let mut out = BytesMut::new();
    put_header(&mut out);
    for t in txns {
        let mut body = Vec::new();
        t.encode(&mut body);
        put_entry(&body, &mut out);
    }
    out.to_vec()
}

fn zxids(z: impl IntoIterator<Item = i64>) -> Vec<LoggedTxn> {
    z.into_iter().map(txn).collect()
}

/// A snapshot with the effects of transactions 1 to `upto`.
fn snapshot(upto: i64) -> Vec<u8> {
    let mut tree = Tree::new(0);
    (1..=upto).map(txn).for_each(|t| drop(tree.apply(&t.header, &t.txn, &mut Vec::new())));
    let image = tree.image_begin();
    let mut out = BytesMut::new();
    let mut writer = Writer::begin([(SessionId(9), 5000)].into_iter(), &image, &mut out);
    assert!(tree.image_slice(usize::MAX / 2, &mut out));
    writer.end(Zxid(upto), Some(if upto == 0 { 0 } else { image.digest }), &mut out);
    out.to_vec()
}

/// snapshot.0, snapshot.4 and a log of 1 to 8 in two files.
fn base() -> Disk {
    let mut disk = Disk::default();
    disk.put("snapshot.0", &snapshot(0));
    disk.put("snapshot.4", &snapshot(4));
    disk.put("log.1", &log(&zxids(1..=5)));
    disk.put("log.6", &log(&zxids(6..=8)));
    disk
}

/// What is to come of a row.
#[derive(Clone, Copy)]
enum Outcome {
    /// Starts with this last zxid.
    Starts(i64),
    Refuses,
}
use Outcome::{Refuses, Starts};

/// The length of an entry of [`txn`] in a file; the numbers of all have one digit here.
fn entry_len() -> usize {
    log(&[txn(1)]).len() - HEADER_LEN
}

/// A directory that has a row.
struct Case {
    row: Row,
    disk: Disk,
    outcome: Outcome,
}

/// The base directory, changed.
fn base_but(row: Row, outcome: Outcome, change: impl FnOnce(&mut Disk)) -> Case {
    let mut disk = base();
    change(&mut disk);
    Case { row, disk, outcome }
}

/// A directory with these files only.
fn only(row: Row, outcome: Outcome, files: &[(&str, Vec<u8>)]) -> Case {
    let mut disk = Disk::default();
    files.iter().for_each(|(name, bytes)| disk.put(name, bytes));
    Case { row, disk, outcome }
}

fn cases_of_folders() -> Vec<Case> {
    vec![
        only(Row::Fresh, Starts(0), &[]),
        base_but(Row::Leftover, Starts(8), |disk| {
            disk.put("writing.log.9", &log(&zxids([9]))[..40]);
            disk.put("writing.snapshot.7", b"ZKSN");
        }),
        base_but(Row::StrayLog, Refuses, |disk| disk.put("log.6.bak", &log(&zxids(6..=8)))),
        base_but(Row::BadEpoch, Refuses, |disk| disk.put("currentEpoch", b"one")),
    ]
}

/// Of members, whose log ends in epoch 1.
fn cases_of_epochs() -> Vec<Case> {
    let of = |row, outcome, files: &[(&str, &str)]| {
        let mut history = zxids(1..=5);
        history.extend(zxids([EPOCH | 1]));
        let log = ("log.1", log(&history));
        let mut case = only(row, outcome, &[("snapshot.0", snapshot(0)), log]);
        files.iter().for_each(|(name, text)| case.disk.put(name, text.as_bytes()));
        case
    };
    let end = Starts(EPOCH | 1);
    let (accepted, current) = ("acceptedEpoch", "currentEpoch");
    vec![
        of(Row::NoEpoch, end, &[]),
        of(Row::EpochOfLog, end, &[(accepted, "1"), (current, "0"), ("currentEpoch.tmp", "")]),
        of(Row::EpochAdopted, end, &[(accepted, "1"), (current, "0"), ("currentEpoch.tmp", "1")]),
        of(Row::EpochBehind, Refuses, &[(accepted, "1"), (current, "2")]),
    ]
}

fn cases_of_snapshots() -> Vec<Case> {
    let lonely = [("log.1", log(&zxids(1..=3)))];
    vec![
        base_but(Row::BadSnapshot, Starts(8), |disk| disk.edit("snapshot.4", |b| b[100] ^= 1)),
        base_but(Row::NoGoodSnapshot, Refuses, |disk| {
            disk.edit("snapshot.0", |b| b[30] ^= 1);
            disk.edit("snapshot.4", |b| b.truncate(200));
        }),
        only(Row::NoSnapshot, Refuses, &lonely),
        only(Row::TrustedEmpty, Starts(3), &lonely),
        base_but(Row::SnapshotAhead, Starts(8), |disk| disk.put("snapshot.7", &snapshot(9))),
        base_but(Row::LogTailLost, Refuses, |disk| {
            disk.put("snapshot.7", &snapshot(9));
            disk.edit("snapshot.0", |b| b[30] ^= 1);
            disk.edit("snapshot.4", |b| b[100] ^= 1);
        }),
        only(
            Row::SnapshotAheadOnly,
            Starts(8),
            &[("snapshot.4", snapshot(9)), ("log.1", log(&zxids(1..=8)))],
        ),
    ]
}

fn cases_of_logs() -> Vec<Case> {
    let edit =
        |row, outcome, change: fn(&mut Vec<u8>)| base_but(row, outcome, |disk| disk.edit("log.6", change));
    vec![
        base_but(Row::EmptyLog, Starts(8), |disk| disk.put("log.9", b"")),
        base_but(Row::EmptyMiddleLog, Refuses, |disk| disk.edit("log.1", Vec::clear)),
        base_but(Row::ShortLog, Refuses, |disk| disk.put("log.9", b"ZKLG\0\0\0")),
        base_but(Row::NoLog, Refuses, |disk| disk.put("log.9", b"LOGGLOGGLOGGLOGG")),
        // A lost sector in the middle of the last entry but one; the last is whole.
        edit(Row::TornTail, Starts(6), |b| b[1024..1536].fill(0)),
        base_but(Row::TornMiddle, Starts(8), |disk| {
            let torn = log(&zxids(1..=6));
            disk.put("log.1", &torn[..torn.len() - 5]);
        }),
        edit(Row::WrongSum, Refuses, |b| *b.iter_mut().nth_back(1).unwrap() ^= 1),
        edit(Row::WrongLength, Refuses, |b| b[HEADER_LEN + 8] = 0x7f),
        edit(Row::LongLength, Refuses, |b| b[HEADER_LEN + 9] = 0x0f),
        edit(Row::WrongEndByte, Refuses, |b| *b.last_mut().unwrap() = b'C'),
        edit(Row::DamageBeforeData, Refuses, |b| b[HEADER_LEN + entry_len() - 1] = 0),
    ]
}

fn cases_of_entries() -> Vec<Case> {
    let logged =
        |row, outcome, txns: &[LoggedTxn]| base_but(row, outcome, |disk| disk.put("log.6", &log(txns)));
    let nested = Txn::Multi(vec![txn(6).txn, Txn::Multi(vec![])]);
    let error = LoggedTxn { txn: Txn::Error { err: -5 }, ..txn(7) };
    let wrong = LoggedTxn { digest: Some(1), ..txn(7) };
    vec![
        logged(Row::BadRecord, Refuses, &[txn(6), LoggedTxn { txn: nested, ..txn(7) }]),
        logged(Row::Repeated, Starts(8), &[txn(6), txn(7), error, txn(8)]),
        logged(Row::Backward, Refuses, &zxids([6, 7, 6])),
        logged(Row::Gap, Refuses, &zxids([6, 8])),
        logged(Row::DigestMismatch, Starts(8), &[txn(6), wrong, txn(8)]),
    ]
}

/// A directory for each row; two rows are of a disk's own and tested by themselves.
fn cases() -> Vec<Case> {
    let all: Vec<Case> =
        [cases_of_folders(), cases_of_epochs(), cases_of_snapshots(), cases_of_logs(), cases_of_entries()]
            .into_iter()
            .flatten()
            .collect();
    let mut rows: Vec<Row> = all.iter().map(|c| c.row).collect();
    rows.extend([Row::MissingFolder, Row::Unreadable]);
    rows.sort();
    assert_eq!(rows, Row::ALL, "each row has its case");
    all
}

fn settings(row: Row) -> Config {
    let member = matches!(row, Row::NoEpoch | Row::EpochOfLog | Row::EpochAdopted | Row::EpochBehind);
    Config {
        trust_empty_snapshot: row == Row::TrustedEmpty,
        ensemble: member.then(|| ensemble(2)),
        ..Config::default()
    }
}

/// Settings of a member that holds back so many entries.
fn ensemble(held_back_count: usize) -> EnsembleConfig {
    let members = QuorumVerifier::parse("server.1=h:2:3:participant\n", ConfigRules::default());
    EnsembleConfig { held_back_count, ..EnsembleConfig::new(members.expect("a configuration")) }
}

fn member(held_back_count: usize) -> Config {
    Config { ensemble: Some(ensemble(held_back_count)), ..Config::default() }
}

#[test]
fn every_row_is_done_as_the_table_says() {
    for Case { row, disk, outcome } in cases() {
        match (recover(&disk, &settings(row), 0), outcome) {
            (Ok(got), Starts(last)) => {
                let rows: Vec<Row> = got.notes.iter().map(RecoverNote::row).collect();
                assert!(rows.contains(&row), "{row:?}: {rows:?}");
                assert_eq!(got.last_zxid, Zxid(last), "{row:?}");
                assert!(got.notes.iter().all(|n| !n.to_string().is_empty()));
                let paths = got.tree.iter().filter(|(path, _)| path.starts_with("/n")).count() as i64;
                let held = match row {
                    Row::SnapshotAheadOnly => 9,
                    _ if settings(row).ensemble.is_some() => 4,
                    _ => last,
                };
                assert_eq!(paths, held, "{row:?}");
            }
            (Err(error), Refuses) => {
                assert_eq!(error.row(), row, "{error}");
                // Java's words are the cause; ours end with what to do.
                assert!(error.to_string().contains([':', ';', '?']), "{error}");
            }
            (Ok(got), Refuses) => panic!("{row:?} starts at {}", got.last_zxid),
            (Err(error), Starts(_)) => panic!("{row:?} is refused: {error}"),
        }
    }
}

/// A disk that fails.
struct Failing(FileError);
impl Files for Failing {
    fn list(&self, _: Dir) -> Result<Vec<(String, u64)>, FileError> {
        Err(self.0.clone())
    }
    fn read(&self, _: Dir, _: &str) -> Result<Bytes, FileError> {
        Err(self.0.clone())
    }
}

#[test]
fn a_missing_folder_is_an_empty_one_and_an_unreadable_one_is_refused() {
    let got = recover(&Failing(FileError::Missing), &Config::default(), 0).expect("starts");
    assert_eq!(got.notes[0].row(), Row::MissingFolder);
    assert_eq!(got.notes.last().map(RecoverNote::row), Some(Row::Fresh));
    let error = recover(&Failing(FileError::Io("EIO".into())), &Config::default(), 0).unwrap_err();
    assert_eq!(error.row(), Row::Unreadable);
}

/// Opens the store, carries its disk work out; the promise that comes.
fn open(disk: &mut Disk, row: Row) -> Vec<Vouch> {
    open_with(disk, &settings(row))
}

fn open_with(disk: &mut Disk, config: &Config) -> Vec<Vouch> {
    let recovered = recover(disk, config, 0).expect("starts");
    let (mut out, mut vouches) = (Vec::new(), Vec::new());
    let (mut tree, mut store) = Store::open(recovered, config, [0; 32], &mut out);
    for output in out {
        let Output::Disk { lane, op } = output else { panic!("only disk work") };
        if let Some(upto) = disk.run(&op) {
            let last = matches!(op, DiskOp::SyncDir { dir: Dir::Log, .. });
            assert!(last || vouches.is_empty(), "promised before all is safe");
            store.durable(lane, upto, &mut tree, Time(0), &mut vouches, &mut Vec::new());
        }
    }
    vouches
}

#[test]
fn what_starts_is_put_in_order_at_open_and_starts_again_without_a_word() {
    for Case { row, mut disk, outcome } in cases() {
        let Starts(last) = outcome else { continue };
        assert_eq!(open(&mut disk, row), [Vouch::Recovered(Zxid(last))], "{row:?}");
        disk.power_cut(&mut crate::rng::Rng::new([1; 32]));
        let config = Config { trust_empty_snapshot: false, ..settings(row) };
        let again = recover(&disk, &config, 0).unwrap_or_else(|e| panic!("{row:?}: {e}"));
        assert_eq!(again.last_zxid, Zxid(last), "{row:?}");
        let left: Vec<Row> = again.notes.iter().map(RecoverNote::row).collect();
        let stays: &[Row] = match row {
            // These are others' files, or nothing that a change of the disk would mend.
            Row::EpochOfLog | Row::BadSnapshot | Row::TornMiddle | Row::Repeated | Row::DigestMismatch => {
                &[row]
            }
            _ => &[],
        };
        assert_eq!(left, stays, "{row:?}");
    }
}

#[test]
fn holes_are_for_new_epochs_only() {
    for (next, goes) in [(EPOCH | 1, true), (EPOCH | 5, true), (9, true), (10, false), (7, false)] {
        let mut disk = base();
        disk.put("log.9", &log(&zxids([next])));
        assert_eq!(recover(&disk, &Config::default(), 0).is_ok(), goes, "{next:x}");
    }
    // A snapshot covers a hole in the log; but then nothing older may be fallen back to.
    let mut disk = base();
    disk.put("snapshot.20", &snapshot(0x20));
    disk.put("log.21", &log(&zxids([0x21])));
    assert_eq!(recover(&disk, &Config::default(), 0).expect("starts").last_zxid, Zxid(0x21));
    disk.edit("snapshot.20", |b| b[60] ^= 1);
    assert_eq!(recover(&disk, &Config::default(), 0).unwrap_err().row(), Row::Gap);
}

#[test]
fn a_torn_middle_needs_the_next_file_to_go_on() {
    let torn = log(&zxids(1..=6));
    for cut in 1..entry_len() - 5 {
        let mut disk = base();
        disk.put("log.1", &torn[..torn.len() - cut]);
        assert_eq!(recover(&disk, &Config::default(), 0).expect("starts").last_zxid, Zxid(8));
        // Without the file that holds it again, it is the newest, and the tear is cut off.
        let mut disk = base();
        disk.put("log.1", &torn[..torn.len() - cut]);
        disk.put("log.6", &log(&zxids([7])));
        assert_eq!(recover(&disk, &Config::default(), 0).unwrap_err().row(), Row::Gap);
    }
}

#[test]
fn a_member_begins_an_epoch_with_its_first_transaction() {
    for (next, goes) in [(EPOCH | 1, true), (EPOCH | 2, false), (9, true), (10, false)] {
        let mut disk = base();
        disk.put("log.9", &log(&zxids([next])));
        let got = recover(&disk, &member(100), 0).map(|r| r.last_zxid);
        assert_eq!(got.map_err(|e| e.row()), if goes { Ok(Zxid(next)) } else { Err(Row::Gap) });
    }
    // What follows a snapshot: its zxid need not be in the log.
    for (at, next, goes) in [(4, 5, true), (4, 6, false), (EPOCH, EPOCH | 1, true), (EPOCH, EPOCH | 2, false)]
    {
        let mut disk = Disk::default();
        disk.put(&format!("snapshot.{at:x}"), &snapshot(4));
        disk.put(&format!("log.{next:x}"), &log(&zxids([next])));
        assert_eq!(recover(&disk, &member(100), 0).is_ok(), goes, "{at:x} {next:x}");
    }
}

#[test]
fn a_member_holds_back_the_end_of_its_log() {
    let tail = |disk: &Disk, config: &Config| {
        let got = recover(disk, config, 0).expect("starts");
        assert_eq!(got.last_zxid, Zxid(8));
        for (zxid, body) in &got.tail {
            assert_eq!(LoggedTxn::decode(body).expect("whole"), txn(zxid.0));
        }
        let from = got.tree.last_zxid().0;
        assert!(got.tail.iter().map(|(z, _)| z.0).eq(from + 1..=8));
        from
    };
    assert_eq!(tail(&base(), &Config::default()), 8);
    for (count, from) in [(0, 8), (1, 7), (3, 5), (4, 4), (100, 4)] {
        assert_eq!(tail(&base(), &member(count)), from, "{count}");
    }
    let len = entry_len() - log::FRAME_LEN;
    for (bytes, from) in [(0, 8), (len - 1, 8), (len, 7), (2 * len + 1, 6)] {
        let ensemble = Some(EnsembleConfig { held_back_bytes: bytes, ..ensemble(100) });
        assert_eq!(tail(&base(), &Config { ensemble, ..Config::default() }), from, "{bytes}");
    }
    // A snapshot that holds parts of 5 and 6.
    let mut fuzzy = base();
    fuzzy.edit("snapshot.4", |b| *b = snapshot(6));
    assert_eq!(tail(&fuzzy, &member(100)), 6);
    // One of its own takes its place.
    open_with(&mut fuzzy, &member(100));
    assert!(fuzzy.names().contains(&"snapshot.6"));
    assert_eq!(tail(&fuzzy, &member(1)), 7);
}
