//! Every row of the truth table, on the smallest directory that has it, and what is done about it at open.

use super::super::log::{put_entry, put_header};
use super::super::memory::Disk;
use super::super::snapshot::Writer;
use super::*;
use crate::boundary::{DiskOp, Output, Vouch};
use crate::disk::Store;
use crate::proto::{Acl, CreateKind, CreateTxn, TxnHeader};
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

/// A directory for each row.
fn case(row: Row) -> (Disk, Outcome) {
    let mut disk = base();
    let entry = entry_len();
    let outcome = match row {
        Row::MissingFolder | Row::Unreadable => unreachable!("of a disk's own, see below"),
        Row::Fresh => {
            disk = Disk::default();
            Starts(0)
        }
        Row::Leftover => {
            disk.put("writing.log.9", &log(&zxids([9]))[..40]);
            disk.put("writing.snapshot.7", b"ZKSN");
            Starts(8)
        }
        Row::StrayLog => {
            disk.put("log.6.bak", &log(&zxids(6..=8)));
            Refuses
        }
        Row::BadEpoch => {
            disk.put("currentEpoch", b"one");
            Refuses
        }
        Row::BadSnapshot => {
            disk.edit("snapshot.4", |b| b[100] ^= 1);
            Starts(8)
        }
        Row::NoGoodSnapshot => {
            disk.edit("snapshot.0", |b| b[30] ^= 1);
            disk.edit("snapshot.4", |b| b.truncate(200));
            Refuses
        }
        Row::NoSnapshot | Row::TrustedEmpty => {
            disk = Disk::default();
            disk.put("log.1", &log(&zxids(1..=3)));
            if row == Row::NoSnapshot { Refuses } else { Starts(3) }
        }
        Row::SnapshotAhead => {
            disk.put("snapshot.7", &snapshot(9));
            Starts(8)
        }
        Row::LogTailLost => {
            disk.put("snapshot.7", &snapshot(9));
            disk.edit("snapshot.0", |b| b[30] ^= 1);
            disk.edit("snapshot.4", |b| b[100] ^= 1);
            Refuses
        }
        Row::SnapshotAheadOnly => {
            disk = Disk::default();
            disk.put("snapshot.4", &snapshot(9));
            disk.put("log.1", &log(&zxids(1..=8)));
            Starts(8)
        }
        Row::EmptyLog => {
            disk.put("log.9", b"");
            Starts(8)
        }
        Row::EmptyMiddleLog => {
            disk.edit("log.1", Vec::clear);
            Refuses
        }
        Row::ShortLog => {
            disk.put("log.9", b"ZKLG\0\0\0");
            Refuses
        }
        Row::NoLog => {
            disk.put("log.9", b"LOGGLOGGLOGGLOGG");
            Refuses
        }
        Row::TornTail => {
            // A lost sector in the middle of the last entry but one; the last is whole.
            disk.edit("log.6", |b| b[1024..1536].fill(0));
            Starts(6)
        }
        Row::TornMiddle => {
            let torn = log(&zxids(1..=6));
            disk.put("log.1", &torn[..torn.len() - 5]);
            Starts(8)
        }
        Row::WrongSum => {
            disk.edit("log.6", |b| *b.iter_mut().nth_back(1).unwrap() ^= 1);
            Refuses
        }
        Row::WrongLength => {
            disk.edit("log.6", |b| b[HEADER_LEN + 8] = 0x7f);
            Refuses
        }
        Row::LongLength => {
            disk.edit("log.6", |b| b[HEADER_LEN + 9] = 0x0f);
            Refuses
        }
        Row::WrongEndByte => {
            disk.edit("log.6", |b| *b.last_mut().unwrap() = b'C');
            Refuses
        }
        Row::DamageBeforeData => {
            disk.edit("log.6", |b| b[HEADER_LEN + entry - 1] = 0);
            Refuses
        }
        Row::BadRecord => {
            let mut txns = zxids([6]);
            txns.push(LoggedTxn { txn: Txn::Multi(vec![txns[0].txn.clone(), Txn::Multi(vec![])]), ..txn(7) });
            disk.put("log.6", &log(&txns));
            Refuses
        }
        Row::Repeated => {
            let error = LoggedTxn { txn: Txn::Error { err: -5 }, ..txn(7) };
            disk.put("log.6", &log(&[txn(6), txn(7), error, txn(8)]));
            Starts(8)
        }
        Row::Backward => {
            disk.put("log.6", &log(&zxids([6, 7, 6])));
            Refuses
        }
        Row::Gap => {
            disk.put("log.6", &log(&zxids([6, 8])));
            Refuses
        }
        Row::DigestMismatch => {
            let wrong = LoggedTxn { digest: Some(1), ..txn(7) };
            disk.put("log.6", &log(&[txn(6), wrong, txn(8)]));
            Starts(8)
        }
    };
    (disk, outcome)
}

fn settings(row: Row) -> Config {
    Config { trust_empty_snapshot: row == Row::TrustedEmpty, ..Config::default() }
}

#[test]
fn every_row_is_done_as_the_table_says() {
    for row in Row::ALL {
        if matches!(row, Row::MissingFolder | Row::Unreadable) {
            continue;
        }
        let (disk, outcome) = case(row);
        match (recover(&disk, &settings(row), 0), outcome) {
            (Ok(got), Starts(last)) => {
                let rows: Vec<Row> = got.notes.iter().map(RecoverNote::row).collect();
                assert!(rows.contains(&row), "{row:?}: {rows:?}");
                assert_eq!(got.last_zxid, Zxid(last), "{row:?}");
                assert!(got.notes.iter().all(|n| !n.to_string().is_empty()));
                let paths = got.tree.iter().filter(|(path, _)| path.starts_with("/n")).count() as i64;
                let held = if row == Row::SnapshotAheadOnly { 9 } else { last };
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
    let recovered = recover(disk, &settings(row), 0).expect("starts");
    let (mut out, mut vouches) = (Vec::new(), Vec::new());
    let (mut tree, mut store) = Store::open(recovered, &settings(row), [0; 32], &mut out);
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
    for row in Row::ALL {
        if matches!(row, Row::MissingFolder | Row::Unreadable) {
            continue;
        }
        let (mut disk, Starts(last)) = case(row) else { continue };
        assert_eq!(open(&mut disk, row), [Vouch::Recovered(Zxid(last))], "{row:?}");
        disk.power_cut(&mut crate::rng::Rng::new([1; 32]));
        let again = recover(&disk, &Config::default(), 0).unwrap_or_else(|e| panic!("{row:?}: {e}"));
        assert_eq!(again.last_zxid, Zxid(last), "{row:?}");
        let left: Vec<Row> = again.notes.iter().map(RecoverNote::row).collect();
        let stays: &[Row] = match row {
            // These are others' files, or nothing that a change of the disk would mend.
            Row::BadSnapshot | Row::TornMiddle | Row::Repeated | Row::DigestMismatch => &[row],
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
