//! Traffic between the servers of real ZooKeeper 3.9.3 ensembles, as `traces/java/quorum` keeps it: one JSON object a line
//! with a whole packet in hex. Knows the files' shape only, no record.

use crate::capture::{root, unhex};
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// On which port a packet went.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Votes.
    Election,
    /// Leader and learners.
    Quorum,
    /// A follower and the observers behind it.
    ObserverMaster,
}

/// One packet.
#[derive(Clone, Debug)]
pub struct Packet {
    /// File and line, for messages.
    pub at: String,
    /// The connection's number within its file.
    pub conn: u64,
    /// The port.
    pub kind: Kind,
    /// Who sent it.
    pub from: i64,
    /// True if a learner sent it to its leader.
    pub from_learner: bool,
    /// What the recorder made of it: begins with its name.
    pub decoded: String,
    /// Its bytes; on the election port with the frame's length.
    pub bytes: Vec<u8>,
}

impl Packet {
    /// The packet's name as the recorder wrote it.
    pub fn name(&self) -> &str {
        let text = self.decoded.strip_prefix("[DROPPED BY PROXY] ").unwrap_or(&self.decoded);
        text.split(' ').next().unwrap_or_default()
    }
}

/// Every packet of every capture, by file in order of name.
pub fn all() -> Result<Vec<Packet>> {
    let dir = root().join("traces/java/quorum");
    let mut names: Vec<String> = std::fs::read_dir(&dir)
        .with_context(|| dir.display().to_string())?
        .map(|e| Ok(e?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    let mut out = Vec::new();
    for name in names {
        read(&name, &std::fs::read_to_string(dir.join(&name))?, &mut out).context(name)?;
    }
    Ok(out)
}

fn read(name: &str, text: &str, out: &mut Vec<Packet>) -> Result<()> {
    let first = out.len();
    // The first line describes the capture.
    for (i, line) in text.lines().enumerate().skip(1) {
        let v: Value = serde_json::from_str(line)?;
        let at = format!("{name}:{}", i + 1);
        let Some(hex) = v["hex"].as_str() else { continue };
        let kind = match v["kind"].as_str() {
            Some("election") => Kind::Election,
            Some("quorum") => Kind::Quorum,
            Some("observer-master") => Kind::ObserverMaster,
            other => anyhow::bail!("{at}: kind {other:?}"),
        };
        out.push(Packet {
            conn: v["conn"].as_u64().context("no conn")?,
            kind,
            from: v["from"].as_i64().context("no from")?,
            from_learner: false,
            decoded: v["decoded"].as_str().context("not decoded")?.to_owned(),
            bytes: unhex(hex)?,
            at,
        });
    }
    // A capture may begin in the midst of a connection: one packet with a known direction tells all of its others.
    let mut leaders = BTreeMap::new();
    for p in &out[first..] {
        if matches!(p.name(), "PROPOSAL" | "LEADERINFO" | "COMMIT" | "INFORM")
            || p.decoded.starts_with("PING") && p.decoded.ends_with("data=null")
        {
            leaders.insert(p.conn, p.from);
        }
    }
    for p in &mut out[first..] {
        // A learner whose leader never got to answer has said who it is.
        let introduced = matches!(p.name(), "FOLLOWERINFO" | "OBSERVERINFO");
        p.from_learner = introduced || leaders.get(&p.conn).is_some_and(|leader| *leader != p.from);
    }
    Ok(())
}
