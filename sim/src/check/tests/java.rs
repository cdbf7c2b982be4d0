//! The model against a real server: logs that 3.9.3 and 3.8 wrote, whose digests the model must reach.

use super::super::model::{Model, Place};
use super::super::txn::Head;
use crate::history::History;
use bytes::Bytes;
use std::path::Path;
use zebu_core::id::Zxid;
use zebu_core::time::Time;

/// Bodies of a log file, in order.
fn bodies(file: &Path) -> Vec<Bytes> {
    let bytes = Bytes::from(std::fs::read(file).expect("the log is there"));
    let mut out = Vec::new();
    let mut at = 16;
    while at + 12 <= bytes.len() {
        let len = i32::from_be_bytes(bytes[at + 8..at + 12].try_into().expect("four bytes")) as usize;
        if len == 0 {
            break;
        }
        out.push(bytes.slice(at + 12..at + 12 + len));
        at += 12 + len + 1;
    }
    out
}

/// Folds all logs of a data directory; answers how many digests were compared and which differ.
fn fold(name: &str) -> (usize, Vec<Zxid>) {
    let dir =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces/java/datadir").join(name).join("version-2");
    let mut logs: Vec<_> = std::fs::read_dir(&dir)
        .expect("the directory is there")
        .map(|e| e.expect("readable").path())
        .filter_map(|p| {
            let zxid = p.file_name()?.to_str()?.strip_prefix("log.")?.to_owned();
            Some((i64::from_str_radix(&zxid, 16).ok()?, p))
        })
        .collect();
    logs.sort();
    let h = History { bodies: logs.iter().flat_map(|(_, p)| bodies(p)).collect(), ..History::default() };
    let mut model = Model::default();
    model.clear(Zxid::ZERO);
    let (mut compared, mut wrong) = (0, Vec::new());
    for (n, body) in h.bodies.iter().enumerate() {
        let head = Head::read(body).expect("a header");
        let (op, digest) = head.record().expect("a record");
        // A misfit shows in the digest.
        let _ = model.fold(&h, Place::Tail(n as u32), (Time(0), Time(0)), &head, &op);
        if let Some(digest) = digest {
            compared += 1;
            if model.digest(model.last()) != digest {
                wrong.push(head.zxid);
            }
        }
    }
    (compared, wrong)
}

#[test]
fn digests_of_real_logs() {
    for (name, least) in [
        ("fuzzy-snapshot", 1500),
        ("snapshot-gz", 50),
        ("snapshot-snappy", 40),
        ("zk38-debian", 40),
        ("tail-clean", 3),
    ] {
        let (compared, wrong) = fold(name);
        assert!(compared >= least && wrong.is_empty(), "{name}: {compared} compared, wrong: {wrong:?}");
    }
}

#[test]
fn a_log_with_every_kind_of_transaction() {
    let (compared, wrong) = fold("standalone-full");
    assert!(compared >= 100 && wrong.is_empty(), "{compared} compared, wrong: {wrong:?}");
}
