//! The storage thread on real folders: order, batches, faults.

use super::*;
use std::cell::RefCell;
use std::sync::mpsc;
use std::time::Duration;
use zebu_core::boundary::Dir;
use zebu_core::id::Zxid;

const LOG: FileName = FileName::Log(Zxid(1));
const NEXT: FileName = FileName::Log(Zxid(5));
const TEMP: FileName = FileName::SnapshotTemp(Zxid(3));
const SNAPSHOT: FileName = FileName::Snapshot(Zxid(3));

fn dirs() -> (tempfile::TempDir, Arc<DataDirs>) {
    let temp = tempfile::tempdir().unwrap();
    let dirs = DataDirs::open(temp.path(), temp.path(), true).unwrap();
    (temp, Arc::new(dirs))
}
fn create(file: FileName) -> DiskOp {
    DiskOp::Create { file }
}
fn append(file: FileName, text: &'static str) -> DiskOp {
    DiskOp::Append { file, bytes: Bytes::from_static(text.as_bytes()) }
}
fn sync(file: FileName, ticket: u64) -> DiskOp {
    DiskOp::Sync { file, ticket: Ticket(ticket) }
}
fn durable(lane: Lane, upto: u64) -> DiskReport {
    DiskReport::Durable { lane, upto: Ticket(upto) }
}
/// Carries out one batch; returns the reports.
fn perform(disk: &mut Disk, mut batch: Vec<DiskOp>) -> Vec<DiskReport> {
    let reports = RefCell::new(Vec::new());
    disk.perform(&mut batch, &|r| reports.borrow_mut().push(r));
    reports.into_inner()
}
fn content(dirs: &DataDirs, file: FileName) -> String {
    let text = std::fs::read_to_string(dirs.file(file)).unwrap();
    text.trim_end_matches('\0').to_owned()
}
fn len(dirs: &DataDirs, file: FileName) -> u64 {
    std::fs::metadata(dirs.file(file)).unwrap().len()
}

#[test]
fn a_batch_of_one_file_is_one_sync_that_reports_the_highest_ticket() {
    let (_temp, dirs) = dirs();
    let mut disk = Disk::new(Lane::Log, dirs.clone());
    let batch = vec![
        create(LOG),
        append(LOG, "a"),
        sync(LOG, 1),
        append(LOG, "b"),
        append(LOG, ""),
        append(LOG, "c"),
        sync(LOG, 2),
        append(LOG, "d"),
    ];
    assert_eq!(perform(&mut disk, batch), [durable(Lane::Log, 2)]);
    assert_eq!(content(&dirs, LOG), "abcd");
    assert_eq!(perform(&mut disk, vec![sync(LOG, 3)]), [durable(Lane::Log, 3)]);
}

#[test]
fn other_files_and_folders_end_a_run() {
    let (_temp, dirs) = dirs();
    let mut disk = Disk::new(Lane::Log, dirs.clone());
    let batch = vec![
        create(LOG),
        append(LOG, "a"),
        sync(LOG, 1),
        DiskOp::SyncDir { dir: Dir::Log, ticket: Ticket(2) },
        append(LOG, "b"),
        sync(LOG, 3),
        create(NEXT),
        append(NEXT, "c"),
        sync(NEXT, 4),
    ];
    let want = [1, 2, 3, 4].map(|t| durable(Lane::Log, t));
    assert_eq!(perform(&mut disk, batch), want);
    assert_eq!((content(&dirs, LOG).as_str(), content(&dirs, NEXT).as_str()), ("ab", "c"));
}

#[test]
fn files_of_an_earlier_process_go_on_at_their_end() {
    let (_temp, dirs) = dirs();
    std::fs::write(dirs.file(LOG), "0123456789").unwrap();
    let mut disk = Disk::new(Lane::Log, dirs.clone());
    let cut = DiskOp::Truncate { file: LOG, len: 4 };
    assert_eq!(perform(&mut disk, vec![append(LOG, "x"), cut, append(LOG, "y"), sync(LOG, 1)]).len(), 1);
    assert_eq!(content(&dirs, LOG), "0123y");
    assert_eq!(perform(&mut disk, vec![create(LOG), append(LOG, "new")]), []);
    assert_eq!(content(&dirs, LOG), "new");
}

#[test]
fn a_log_grows_in_steps_and_is_trimmed_when_it_is_left() {
    let (_temp, dirs) = dirs();
    let mut disk = Disk::new(Lane::Log, dirs.clone());
    let temp = FileName::LogTemp(Zxid(1));
    let rename = DiskOp::Rename { from: temp, to: LOG };
    perform(&mut disk, vec![create(temp), append(temp, "head,"), sync(temp, 1)]);
    assert_eq!(len(&dirs, temp), 5, "a file without its name is written wholly before it gets it");
    perform(&mut disk, vec![rename, append(LOG, "a"), sync(LOG, 2)]);
    assert_eq!((content(&dirs, LOG).as_str(), len(&dirs, LOG)), ("head,a", LOG_STEP));
    let many = Bytes::from(vec![b'x'; LOG_STEP as usize]);
    perform(&mut disk, vec![DiskOp::Append { file: LOG, bytes: many }, append(LOG, "end"), sync(LOG, 3)]);
    assert_eq!(len(&dirs, LOG), 2 * LOG_STEP);
    let next = FileName::LogTemp(Zxid(5));
    perform(&mut disk, vec![create(next)]);
    assert_eq!(len(&dirs, LOG), LOG_STEP + 9);
    perform(&mut disk, vec![append(LOG, "more"), sync(LOG, 4)]);
    drop(disk);
    assert_eq!(len(&dirs, LOG), LOG_STEP + 13);
    assert!(content(&dirs, LOG).ends_with("endmore"));
}

#[test]
fn rename_and_remove() {
    let (_temp, dirs) = dirs();
    let mut disk = Disk::new(Lane::Bulk, dirs.clone());
    let batch = vec![
        create(TEMP),
        append(TEMP, "s"),
        sync(TEMP, 1),
        DiskOp::Rename { from: TEMP, to: SNAPSHOT },
        DiskOp::SyncDir { dir: Dir::Data, ticket: Ticket(2) },
        DiskOp::Remove { file: LOG },
    ];
    assert_eq!(perform(&mut disk, batch), [durable(Lane::Bulk, 1), durable(Lane::Bulk, 2)]);
    assert_eq!(content(&dirs, SNAPSHOT), "s");
    assert!(!dirs.file(TEMP).exists());
    assert_eq!(perform(&mut disk, vec![DiskOp::Remove { file: SNAPSHOT }]), []);
    assert!(!dirs.file(SNAPSHOT).exists());
}

#[test]
fn a_failure_ends_the_log_lane_for_good() {
    let (_temp, dirs) = dirs();
    let mut disk = Disk::new(Lane::Log, dirs.clone());
    let batch =
        vec![create(LOG), append(LOG, "a"), sync(LOG, 1), append(NEXT, "b"), sync(NEXT, 2), append(LOG, "c")];
    let reports = perform(&mut disk, batch);
    assert_eq!(reports[0], durable(Lane::Log, 1));
    let DiskReport::Failed(fault) = &reports[1] else { panic!("{reports:?}") };
    assert_eq!((fault.lane, fault.action, fault.file), (Lane::Log, DiskAction::Append, Some(NEXT)));
    assert_eq!(fault.to_string(), "cannot append to log.5: No such file or directory (os error 2)");
    assert_eq!(reports.len(), 2);
    assert_eq!(perform(&mut disk, vec![create(NEXT), append(NEXT, "x"), sync(NEXT, 3)]), []);
    assert_eq!(content(&dirs, LOG), "a");
    assert!(!dirs.file(NEXT).exists());
}

#[test]
fn a_failure_stops_the_bulk_lane_until_the_next_create() {
    let (_temp, dirs) = dirs();
    let mut disk = Disk::new(Lane::Bulk, dirs.clone());
    let missing = DiskOp::Rename { from: TEMP, to: SNAPSHOT };
    let reports = perform(&mut disk, vec![missing, DiskOp::SyncDir { dir: Dir::Data, ticket: Ticket(1) }]);
    assert!(matches!(&reports[..], [DiskReport::Failed(f)] if f.action == DiskAction::Rename), "{reports:?}");
    let batch = vec![append(TEMP, "lost"), create(TEMP), append(TEMP, "kept"), sync(TEMP, 2)];
    assert_eq!(perform(&mut disk, batch), [durable(Lane::Bulk, 2)]);
    assert_eq!(content(&dirs, TEMP), "kept");
}

#[test]
fn a_full_disk_is_a_failed_append() {
    let (_temp, dirs) = dirs();
    std::os::unix::fs::symlink("/dev/full", dirs.file(LOG)).unwrap();
    let mut disk = Disk::new(Lane::Log, dirs.clone());
    let reports = perform(&mut disk, vec![append(LOG, "a"), sync(LOG, 1)]);
    assert!(matches!(&reports[..], [DiskReport::Failed(f)] if f.action == DiskAction::Append), "{reports:?}");
}

#[test]
fn many_pieces_are_written_in_order() {
    let (_temp, dirs) = dirs();
    let mut disk = Disk::new(Lane::Log, dirs.clone());
    let mut batch = vec![create(LOG)];
    let mut want = String::new();
    for i in 0..3000 {
        let text = format!("{i},");
        want.push_str(&text);
        batch.push(DiskOp::Append { file: LOG, bytes: Bytes::from(text) });
    }
    assert_eq!(perform(&mut disk, batch), []);
    assert_eq!(content(&dirs, LOG), want);
}

#[test]
fn the_threads_carry_out_what_is_queued_before_they_end() {
    let (_temp, dirs) = dirs();
    let (send, reports) = mpsc::channel();
    let storage = Storage::start(&dirs, move |r| send.send(r).unwrap()).unwrap();
    storage.push(Lane::Log, &mut vec![create(LOG), append(LOG, "a"), sync(LOG, 1)]);
    assert_eq!(reports.recv_timeout(Duration::from_secs(10)), Ok(durable(Lane::Log, 1)));
    for ticket in 2..100 {
        storage.push(Lane::Log, &mut vec![append(LOG, "b"), sync(LOG, ticket)]);
    }
    storage.push(Lane::Bulk, &mut vec![create(TEMP), sync(TEMP, 1)]);
    drop(storage);
    let rest: Vec<DiskReport> = reports.iter().collect();
    assert!(rest.contains(&durable(Lane::Bulk, 1)));
    assert!(rest.contains(&durable(Lane::Log, 99)));
    assert_eq!(content(&dirs, LOG).len(), 99);
}

#[test]
fn pieces_are_read_as_far_as_the_file_goes() {
    let (_temp, dirs) = dirs();
    std::fs::write(dirs.file(LOG), "0123456789").unwrap();
    let (reported, reports) = mpsc::channel();
    let storage = Storage::start(&dirs, move |r| reported.send(r).unwrap()).unwrap();
    let ask = |no, file, at, len| {
        storage.read(Piece { read: ReadNo(no), file, at, len });
        match reports.recv_timeout(Duration::from_secs(10)).unwrap() {
            DiskReport::Read { read: ReadNo(n), bytes } if n == no => bytes,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(1, LOG, 2, 3).as_deref(), Some(&b"234"[..]));
    assert_eq!(ask(2, LOG, 8, 5).as_deref(), Some(&b"89"[..]));
    assert_eq!(ask(3, LOG, 20, 5).as_deref(), Some(&b""[..]));
    assert_eq!(ask(4, NEXT, 0, 5), None, "there is no such file");
}

#[test]
fn nothing_holds_the_data_directory_when_the_storage_has_ended() {
    let (temp, dirs) = dirs();
    std::fs::write(dirs.file(LOG), "abcd").unwrap();
    drop(dirs);
    for round in 0..200 {
        let dirs = Arc::new(DataDirs::open(temp.path(), temp.path(), false).unwrap());
        let (send, reports) = mpsc::channel();
        let storage = Storage::start(&dirs, move |r| send.send(r).unwrap()).unwrap();
        storage.read(Piece { read: ReadNo(round), file: LOG, at: 1, len: 9 });
        drop(storage);
        assert_eq!(Arc::strong_count(&dirs), 1, "round {round}");
        let bytes = Some(b"bcd".to_vec());
        assert_eq!(reports.iter().collect::<Vec<_>>(), [DiskReport::Read { read: ReadNo(round), bytes }]);
    }
}
