//! What is read of logs of all kinds, a few bytes at a time or all at once.

use super::*;
use crate::disk::log::{put_entry, put_header};
use crate::limits::PIECE;
use std::collections::BTreeMap;

/// Log files by their first zxids.
struct Logs {
    files: BTreeMap<Zxid, BytesMut>,
    catalog: Catalog,
}

fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(epoch, counter)
}

fn body(zxid: Zxid) -> Vec<u8> {
    let mut body = vec![7; 12];
    body.extend(zxid.0.to_be_bytes());
    body.resize(20 + zxid.counter() as usize % 40, 9);
    body
}

impl Logs {
    fn new(files: &[&[Zxid]]) -> Logs {
        let mut logs = Logs { files: BTreeMap::new(), catalog: Catalog::default() };
        for zxids in files {
            let mut file = BytesMut::new();
            put_header(&mut file);
            zxids.iter().for_each(|zxid| put_entry(&body(*zxid), &mut file));
            logs.catalog.logs.insert(zxids[0], file.len() as u64);
            logs.files.insert(zxids[0], file);
        }
        logs
    }

    /// Reads on to an end; what was read, each entry with the one before it.
    fn read(&self, reader: &mut LogReader) -> (Vec<(Zxid, Zxid)>, LogStep) {
        let mut read = Vec::new();
        loop {
            match reader.step(&self.catalog) {
                LogStep::Entry { before, zxid, body: bytes } => {
                    assert_eq!(bytes, body(zxid));
                    read.push((before, zxid));
                }
                LogStep::Piece { file, at, len } => {
                    let FileName::Log(name) = file else { panic!("{file}") };
                    let file = self.files.get(&name).map(|f| &f[(at as usize).min(f.len())..]);
                    reader.put(len, file.map(|f| &f[..len.min(f.len())]));
                }
                end @ (LogStep::End | LogStep::Unfit) => return (read, end),
            }
        }
    }

    fn above(&self, after: Zxid) -> Option<(Vec<(Zxid, Zxid)>, LogStep)> {
        self.above_in(after, Zxid::ZERO)
    }

    fn above_in(&self, after: Zxid, base: Zxid) -> Option<(Vec<(Zxid, Zxid)>, LogStep)> {
        LogReader::new(&self.catalog, (after, base), None, PIECE).map(|mut reader| self.read(&mut reader))
    }
}

/// Three files over two epochs.
fn three() -> Logs {
    Logs::new(&[&[z(1, 1), z(1, 2)], &[z(1, 3), z(1, 4), z(1, 5)], &[z(2, 1), z(2, 2)]])
}

#[test]
fn all_that_follows_an_entry_over_files_and_epochs() {
    let rest = [(z(1, 4), z(1, 5)), (z(1, 5), z(2, 1)), (z(2, 1), z(2, 2))];
    assert_eq!(three().above(z(1, 4)), Some((rest.to_vec(), LogStep::End)));
    // What is no entry lies behind the last one below it.
    assert_eq!(three().above(z(2, 0)), Some((rest[1..].to_vec(), LogStep::End)));
    assert_eq!(three().above(z(1, 9)), Some((rest[1..].to_vec(), LogStep::End)));
    assert_eq!(three().above(z(2, 2)), Some((Vec::new(), LogStep::End)));
}

#[test]
fn what_the_log_does_not_go_back_to_is_not_made_up() {
    let logs = Logs::new(&[&[z(1, 7), z(1, 8)]]);
    assert_eq!(logs.above(z(1, 5)), Some((Vec::new(), LogStep::Unfit)));
    assert_eq!(logs.above(z(1, 8)), Some((Vec::new(), LogStep::End)));
    assert_eq!(Logs::new(&[]).above(z(1, 5)), None);
    // It leads on from the base, whether that is in the log or not.
    let rest = vec![(z(1, 6), z(1, 7)), (z(1, 7), z(1, 8))];
    assert_eq!(logs.above_in(z(1, 6), z(1, 6)), Some((rest, LogStep::End)));
    assert_eq!(logs.above_in(z(1, 5), z(1, 5)), Some((Vec::new(), LogStep::End)));
}

#[test]
fn what_lies_below_the_base_does_not_count() {
    // A hole, then a snapshot of the epoch's start.
    let logs = Logs::new(&[&[z(1, 1), z(1, 3)], &[z(3, 1), z(3, 2)]]);
    let rest = vec![(z(1, 3), z(3, 1)), (z(3, 1), z(3, 2))];
    assert_eq!(logs.above_in(z(2, 0), z(2, 0)), Some((rest, LogStep::End)));
    assert_eq!(logs.above_in(z(2, 4), z(2, 0)), Some((Vec::new(), LogStep::Unfit)));
}

#[test]
fn nothing_is_read_over() {
    // A file is gone, which the zxids do not show; an entry is missing; an entry stands twice, which does no harm.
    let mut logs = three();
    logs.files.remove(&z(1, 3));
    assert_eq!(logs.above(z(1, 1)), Some((vec![(z(1, 1), z(1, 2))], LogStep::End)));
    let logs = Logs::new(&[&[z(1, 1), z(1, 2), z(1, 4)]]);
    assert_eq!(logs.above(z(1, 1)), Some((vec![(z(1, 1), z(1, 2))], LogStep::End)));
    let logs = Logs::new(&[&[z(1, 1), z(1, 2), z(1, 2), z(1, 3)]]);
    let rest = vec![(z(1, 1), z(1, 2)), (z(1, 2), z(1, 3))];
    assert_eq!(logs.above(z(1, 1)), Some((rest, LogStep::End)));
    // A later epoch that does not begin with its first.
    let logs = Logs::new(&[&[z(1, 1), z(1, 2), z(2, 2)]]);
    assert_eq!(logs.above(z(1, 1)), Some((vec![(z(1, 1), z(1, 2))], LogStep::End)));
}

#[test]
fn every_bit_that_rots_ends_it_before_it_shows() {
    let whole = three().above(z(1, 1)).expect("it is there").0;
    for name in [z(1, 1), z(1, 3), z(2, 1)] {
        for at in 0..three().files[&name].len() {
            let mut logs = three();
            logs.files.get_mut(&name).expect("it is there")[at] ^= 1;
            let (read, end) = logs.above(z(1, 1)).expect("it is there");
            assert!(whole.starts_with(&read), "{name} at {at}: {read:?}");
            // Of the header only the magic is looked at, and nothing lies behind the last entry.
            assert!(read.len() < whole.len() || (4..HEADER_LEN).contains(&at), "{name} at {at}: {end:?}");
        }
    }
}

#[test]
fn padding_ends_a_file() {
    let mut logs = three();
    for (name, file) in &mut logs.files {
        file.resize(file.len() + 100, 0);
        logs.catalog.logs.insert(*name, file.len() as u64);
    }
    assert_eq!(logs.above(z(1, 1)), three().above(z(1, 1)));
}

#[test]
fn what_is_written_later_is_read_later() {
    let whole = three();
    let mut logs = three();
    for cut in 0..whole.files[&z(1, 3)].len() {
        // The last file is not there yet, and of the one before only a part.
        logs.files.remove(&z(2, 1));
        let part = BytesMut::from(&whole.files[&z(1, 3)][..cut]);
        logs.files.insert(z(1, 3), part);
        let mut reader = LogReader::new(&logs.catalog, (z(1, 1), z(1, 1)), None, PIECE).expect("it is there");
        let (mut read, end) = logs.read(&mut reader);
        assert_eq!(end, LogStep::End);
        logs.files.clone_from(&whole.files);
        reader.again();
        read.extend(logs.read(&mut reader).0);
        assert_eq!(read, whole.above(z(1, 1)).expect("it is there").0, "cut at {cut}");
    }
}

#[test]
fn no_more_is_sent_than_is_allowed() {
    let logs = three();
    let size = |zxid| (body(zxid).len() + log::FRAME_LEN) as u64;
    let last = logs.catalog.logs[&z(2, 1)];
    // The files behind count from the outset, of the first one what lies behind the learner's last.
    assert!(LogReader::new(&logs.catalog, (z(1, 4), z(1, 1)), Some(last - 1), PIECE).is_none());
    let ask = |allowance| {
        let mut reader = LogReader::new(&logs.catalog, (z(1, 4), z(1, 1)), Some(allowance), PIECE)
            .expect("the files behind fit");
        logs.read(&mut reader)
    };
    assert_eq!(ask(last + size(z(1, 5)) - 1), (Vec::new(), LogStep::Unfit));
    assert_eq!(ask(last + size(z(1, 5))).0.len(), 3);
}

#[test]
fn a_long_entry_is_asked_for_whole() {
    let mut logs = Logs::new(&[&[z(1, 1)]]);
    let file = logs.files.get_mut(&z(1, 1)).expect("it is there");
    let mut long = body(z(1, 2));
    long.resize(2 * PIECE, 5);
    put_entry(&long, file);
    logs.catalog.logs.insert(z(1, 1), file.len() as u64);
    let mut reader = LogReader::new(&logs.catalog, (z(1, 1), z(1, 1)), None, PIECE).expect("it is there");
    let mut asked = Vec::new();
    let got = loop {
        match reader.step(&logs.catalog) {
            LogStep::Piece { at, len, .. } => {
                asked.push(len);
                reader.put(len, Some(&logs.files[&z(1, 1)][at as usize..][..len]));
            }
            other => break other,
        }
    };
    assert_eq!(asked.len(), 2);
    assert!(matches!(got, LogStep::Entry { body, .. } if body == long));
}
