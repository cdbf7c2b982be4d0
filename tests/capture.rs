//! Client conversations of a real ZooKeeper 3.9.3, as `traces/java/client` keeps them: one JSON object a line with
//! the payloads of a request and of its reply in hex. Knows the files' shape only, no record.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// One line of a capture.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// File and line, for messages.
    pub at: String,
    /// Label of the connection. `(reconnected)` in it: the same session on a new connection.
    pub conn: String,
    /// The operation by name; `connect`, `notification` and `raw` are special.
    pub op: String,
    /// Payload of the request; `None` for what came unasked.
    pub request: Option<Vec<u8>>,
    /// Payload of the reply; `None`: the server closed the connection.
    pub response: Option<Vec<u8>>,
    /// The recorder's remark, or nothing.
    pub note: String,
}

/// The top of the source tree.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace").to_owned()
}

/// Every conversation, by file in order of name.
pub fn all() -> Result<Vec<(String, Vec<Exchange>)>> {
    let dir = root().join("traces/java/client");
    let mut names: Vec<String> = std::fs::read_dir(&dir)
        .with_context(|| dir.display().to_string())?
        .map(|e| Ok(e?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.retain(|n| n.ends_with(".jsonl"));
    names.sort();
    names.into_iter().map(|n| read(&n).map(|v| (n, v))).collect()
}

/// One conversation by its file's name.
pub fn read(name: &str) -> Result<Vec<Exchange>> {
    let text = std::fs::read_to_string(root().join("traces/java/client").join(name))?;
    let mut out = Vec::new();
    // The first line describes the capture.
    for (i, line) in text.lines().enumerate().skip(1) {
        let at = format!("{name}:{}", i + 1);
        out.push(exchange(at.clone(), line).with_context(|| at)?);
    }
    Ok(out)
}

fn exchange(at: String, line: &str) -> Result<Exchange> {
    let v: Value = serde_json::from_str(line)?;
    let text = |key: &str| v[key].as_str().map(str::to_owned);
    let bytes = |key: &str| text(key).map(|h| unhex(&h)).transpose();
    Ok(Exchange {
        at,
        conn: text("conn").context("no conn")?,
        op: text("op").context("no op")?,
        request: bytes("request")?,
        response: bytes("response")?,
        note: text("note").unwrap_or_default(),
    })
}

pub(crate) fn unhex(text: &str) -> Result<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b' ').collect();
    if !digits.len().is_multiple_of(2) {
        bail!("an odd number of hex digits");
    }
    digits.chunks_exact(2).map(|p| Ok(u8::from_str_radix(std::str::from_utf8(p)?, 16)?)).collect()
}
