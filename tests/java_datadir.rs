//! Data directories written by real Java servers: recovery must give the tree, zxid and digest that a real 3.9.3 gave, or
//! refuse where it refused. The files are described in `traces/README.md`.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use zebu_core::boundary::Dir;
use zebu_core::config::Config;
use zebu_core::disk::{FileError, Files, Recovered, Row, recover};
use zebu_core::id::Zxid;

/// One folder for both kinds of files.
struct Folder(PathBuf);

impl Files for Folder {
    fn list(&self, _: Dir) -> Result<Vec<(String, u64)>, FileError> {
        let io = |e: std::io::Error| FileError::Io(e.to_string());
        let one = |entry: std::io::Result<fs::DirEntry>| {
            let entry = entry?;
            Ok((entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.len()))
        };
        fs::read_dir(&self.0).map_err(io)?.map(one).collect::<std::io::Result<_>>().map_err(io)
    }
    fn read(&self, _: Dir, name: &str) -> Result<bytes::Bytes, FileError> {
        match fs::read(self.0.join(name)) {
            Ok(bytes) => Ok(bytes.into()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(FileError::Missing),
            Err(e) => Err(FileError::Io(e.to_string())),
        }
    }
}

fn datadirs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces/java/datadir")
}

/// What recovery is to say of each: the row that refuses, or the rows of its notes.
#[rustfmt::skip]
const CASES: &[(&str, Result<&[Row], Row>)] = &[
    ("fuzzy-snapshot", Ok(&[])),
    ("no-digest", Ok(&[])),
    ("snapshot-gz", Ok(&[])),
    ("snapshot-snappy", Ok(&[])),
    ("standalone-full", Ok(&[])),
    ("zk38-debian", Ok(&[])),
    ("quorum-new-leader", Ok(&[])),
    ("quorum-old-leader-after-trunc", Ok(&[])),
    ("quorum-old-leader-before-trunc", Ok(&[])),
    ("quorum-trunc-target-not-in-log", Ok(&[])),
    ("quorum-trunc-under-newer-snapshot", Ok(&[Row::DigestMismatch])),
    ("tail-bad-crc-last", Err(Row::WrongSum)),
    ("tail-bad-crc-middle", Err(Row::WrongSum)),
    ("tail-clean", Ok(&[])),
    ("tail-crc-and-length-only", Ok(&[Row::TornTail])),
    ("tail-empty-newest-log", Ok(&[Row::EmptyLog])),
    ("tail-empty-not-newest-log", Err(Row::EmptyMiddleLog)),
    // The half that is there is zeros, as the upper half of every checksum.
    ("tail-half-checksum", Ok(&[])),
    ("tail-half-header-newest-log", Err(Row::ShortLog)),
    ("tail-header-only-newest-log", Ok(&[])),
    ("tail-no-padding", Ok(&[])),
    ("tail-no-snapshot", Err(Row::NoSnapshot)),
    ("tail-snapshot-newest-bad-crc", Ok(&[Row::BadSnapshot])),
    ("tail-snapshot-newest-truncated", Ok(&[Row::BadSnapshot])),
    ("tail-truncated-before-eor", Ok(&[Row::TornTail])),
    ("tail-truncated-in-body", Ok(&[Row::TornTail])),
    ("tail-zeroed-body-half", Ok(&[Row::TornTail])),
    ("tail-zeroed-eor-only", Ok(&[Row::TornTail])),
];

/// Of the directories without a Java start-up on record: last zxid, digest and epochs, read by another program.
#[rustfmt::skip]
const QUORUM: &[(&str, i64, u64, i64)] = &[
    ("quorum-old-leader-before-trunc", 0x1_0000_0006, 14_298_520_350, 1),
    ("quorum-old-leader-after-trunc", 0x1_0000_0004, 10_960_604_234, 2),
    ("quorum-new-leader", 0x1_0000_0004, 10_960_604_234, 2),
    ("quorum-trunc-target-not-in-log", 0x2_0000_0001, 10_062_661_333, 3),
    ("quorum-trunc-under-newer-snapshot", 0x2_0000_0006, 5_505_976_678, 2),
];

#[test]
fn every_directory_is_read_as_java_reads_it_or_refused() {
    let mut names: Vec<String> = fs::read_dir(datadirs())
        .expect("the directories are there")
        .map(|e| e.expect("an entry").file_name().into_string().expect("a name"))
        .filter(|n| !n.ends_with(".json"))
        .collect();
    names.sort();
    let mut known: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
    known.sort();
    assert_eq!(names, known, "each has its case");
    for (name, expected) in CASES {
        one(name, expected).unwrap_or_else(|e| panic!("{name}: {e:#}"));
    }
}

fn one(name: &str, expected: &Result<&[Row], Row>) -> Result<()> {
    let folder = Folder(datadirs().join(name).join("version-2"));
    let java: Option<Value> = match fs::read(datadirs().join(format!("{name}.expected.json"))) {
        Ok(json) => Some(serde_json::from_slice(&json)?),
        Err(_) => None,
    };
    match (recover(&folder, &Config::default(), 7), expected) {
        (Ok(got), Ok(rows)) => {
            let notes: Vec<Row> = got.notes.iter().map(|n| n.row()).collect();
            ensure!(notes == *rows, "notes {:?}", got.notes);
            ensure!(got.tree.unknown_acls() == 0, "an ACL is missing");
            match java {
                Some(java) => same_as_java(&got, &java),
                None => same_as_read(name, &got),
            }
        }
        (Err(error), Err(row)) => {
            ensure!(error.row() == *row, "refused otherwise: {error}");
            ensure!(java.context("no record of Java")?["started"] == false, "Java does start");
            Ok(())
        }
        (Ok(_), Err(row)) => anyhow::bail!("starts, but {row:?} should refuse"),
        (Err(error), Ok(_)) => anyhow::bail!("refused: {error}"),
    }
}

fn same_as_read(name: &str, got: &Recovered) -> Result<()> {
    let (_, zxid, digest, epoch) = QUORUM.iter().find(|q| q.0 == name).context("no figures")?;
    ensure!(got.last_zxid == Zxid(*zxid), "last zxid {}", got.last_zxid);
    ensure!(got.tree.digest() == *digest, "digest {}", got.tree.digest());
    ensure!((got.accepted_epoch, got.current_epoch) == (Some(*epoch), Some(*epoch)), "epochs");
    Ok(())
}

fn same_as_java(got: &Recovered, java: &Value) -> Result<()> {
    ensure!(java["started"] == true, "Java does not start");
    ensure!(java["highestZxid"] == got.last_zxid.to_string(), "last zxid {}", got.last_zxid);
    ensure!(java["treeDigest"] == got.tree.digest() as i64, "digest {}", got.tree.digest() as i64);
    if let Some(sessions) = java["sessionsBeforeKill"].as_array() {
        let mut theirs: Vec<&str> = sessions.iter().filter_map(Value::as_str).collect();
        theirs.sort();
        let ours: Vec<String> = got.sessions.iter().map(|(id, _)| id.to_string()).collect();
        ensure!(ours == theirs, "sessions {ours:?}, Java {theirs:?}");
    }
    let theirs = java["tree"].as_object().context("a tree")?;
    let ours: BTreeMap<&str, Value> = got
        .tree
        .iter()
        .map(|(path, node)| (if path.is_empty() { "/" } else { path }, shown(got, node)))
        .collect();
    for (path, node) in theirs {
        let ours = ours.get(path.as_str()).with_context(|| format!("{path} is missing"))?;
        ensure!(ours == node, "{path}: {ours} instead of {node}");
    }
    ensure!(ours.len() == theirs.len(), "{} nodes instead of {}", ours.len(), theirs.len());
    Ok(())
}

/// A node as the record shows it: through a client's eyes.
fn shown(got: &Recovered, node: &zebu_core::tree::Node) -> Value {
    let stat = node.stat();
    let acl: Vec<Value> =
        got.tree.acl(node).iter().map(|a| serde_json::json!([a.perms, a.id.scheme, a.id.id])).collect();
    serde_json::json!({
        "data": node.data.as_ref().map(|d| BASE64.encode(d)),
        "acl": acl,
        "stat": {
            "czxid": stat.czxid.0, "mzxid": stat.mzxid.0, "pzxid": stat.pzxid.0,
            "ctime": stat.ctime, "mtime": stat.mtime,
            "version": stat.version, "cversion": stat.cversion, "aversion": stat.aversion,
            "ephemeralOwner": stat.ephemeral_owner.0,
            "dataLength": stat.data_length, "numChildren": stat.num_children,
        },
    })
}
