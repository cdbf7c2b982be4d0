//! Bytes as files: a log's framing, a snapshot, a whole directory.

use super::Choices;
use crate::inproc::InProcess;
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use zebu_core::boundary::Dir;
use zebu_core::config::Config;
use zebu_core::disk::log::{Entries, Step, put_entry, put_header};
use zebu_core::disk::snapshot::{Form, load, looks_whole};
use zebu_core::disk::{FileError, Files, tail};
use zebu_core::id::Zxid;
use zebu_core::proto::LoggedTxn;

/// A log file. What is read of it and written again is its beginning.
pub fn log(data: &[u8]) {
    let Ok(mut entries) = Entries::new(data) else { return };
    let mut again = BytesMut::new();
    put_header(&mut again);
    loop {
        match entries.step() {
            Step::Entry(entry) => {
                assert_eq!(entry.at, again.len());
                put_entry(entry.body, &mut again);
                if let Ok(txn) = LoggedTxn::decode(entry.body) {
                    assert!(txn.txn.kind() != 0);
                }
            }
            Step::End(end) => {
                assert_eq!(end.at, again.len());
                assert_eq!(&data[16..end.at], &again[16..]);
                assert_eq!(entries.step(), Step::End(end));
                tail::judge_newest(data, end);
                tail::judge_middle(data, end);
                return;
            }
        }
    }
}

/// A snapshot; the first byte says in which form.
pub fn snapshot(data: &[u8]) {
    let Some((form, file)) = data.split_first() else { return };
    let form = [Form::Plain, Form::Gz, Form::Snappy][usize::from(*form) % 3];
    looks_whole(file, form);
    if let Ok(loaded) = load(file, form, Zxid(7), 1) {
        assert!(loaded.tree.get("/").is_some());
    }
}

/// A directory as one input for [`recover`].
pub fn recover_input(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files {
        out.extend([0, name.len() as u8]);
        out.extend(name.as_bytes());
        for chunk in bytes.chunks(0xffff) {
            out.push(1);
            out.extend((chunk.len() as u16).to_be_bytes());
            out.extend(chunk);
        }
    }
    out
}

/// A directory: recovery takes it or refuses it; what it takes, a server serves. The input is a list of pieces: 0 begins a file by
/// name, 1 adds bytes to it, 2 a log's header, 3 a log entry with right sums around any body.
pub fn recover(data: &[u8]) {
    let (mut c, mut files, mut name) = (Choices(data), BTreeMap::new(), String::from("log.1"));
    while !c.is_empty() {
        let file: &mut BytesMut = files.entry(name.clone()).or_default();
        match c.byte() % 4 {
            0 => {
                let n = c.byte();
                name = String::from_utf8_lossy(c.bytes(n)).into_owned();
            }
            1 => {
                let n = c.number();
                file.extend_from_slice(c.bytes(n));
            }
            2 => put_header(file),
            _ => {
                let n = c.number();
                put_entry(c.bytes(n), file);
            }
        }
    }
    let files = Directory(files.into_iter().map(|(n, b)| (n, b.freeze())).collect());
    let config = Config { extended_types: true, max_client_cnxns: 0, ..Config::default() };
    if let Ok(mut server) = InProcess::on(&files, config) {
        server.probe();
    }
}

struct Directory(BTreeMap<String, Bytes>);

impl Files for Directory {
    fn list(&self, _dir: Dir) -> Result<Vec<(String, u64)>, FileError> {
        Ok(self.0.iter().map(|(n, b)| (n.clone(), b.len() as u64)).collect())
    }
    fn read(&self, _dir: Dir, name: &str) -> Result<Bytes, FileError> {
        self.0.get(name).cloned().ok_or(FileError::Missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zebu_core::boundary::FileName;

    #[test]
    fn a_directory_survives_its_own_encoding() {
        let mut log = BytesMut::new();
        put_header(&mut log);
        let files =
            [(FileName::Log(Zxid(1)).to_string(), log.to_vec()), ("snapshot.0".to_owned(), vec![1; 70_000])];
        recover(&recover_input(&files));
    }
}
