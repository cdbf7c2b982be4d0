//! A run in words, for people: one line an event. Nothing here is on the way of a run that no one looks at.

use crate::history::{Entry, History, ShadowOutcome};
use std::fmt::Write as _;
use zebu_core::boundary::{Event, Output};
use zebu_core::proto::LoggedTxn;

/// Prints what the history got since it had `told` entries.
pub fn print_news(history: &History, told: usize) {
    for (_, entry) in &history.entries[told..] {
        println!("             | {}", entry_text(history, entry));
    }
}

/// Prints an output of a server, but for what the history tells anyway.
pub fn print_output(output: &Output) {
    match output {
        Output::Event(_) => {}
        Output::Send { conn, bytes } => {
            println!("             > send {} bytes to {}", bytes.len(), conn.0);
        }
        Output::Disk { lane, op } => {
            let mut text = format!("{op:?}");
            truncate(&mut text, 160);
            println!("             > {lane:?} {text}");
        }
        Output::Dial { .. } | Output::Pause { .. } | Output::Close { .. } | Output::Stop(_) => {
            println!("             > {output:?}")
        }
    }
}

/// Seconds to the microsecond.
pub fn clock(at: u64) -> String {
    format!("{:>5}.{:06}", at / 1_000_000_000, at / 1000 % 1_000_000)
}

fn truncate(text: &mut String, most: usize) {
    if let Some((cut, _)) = text.char_indices().nth(most) {
        text.truncate(cut);
        text.push('…');
    }
}

/// An entry in one line.
pub fn entry_text(h: &History, entry: &Entry) -> String {
    let mut out = String::new();
    match entry {
        Entry::Invoke { who, call } => {
            let request = &h.requests[call.0 as usize];
            let _ = write!(out, "c{}/{} call {}: {request:?}", who.client, who.handle, call.0);
        }
        Entry::Return { who, call, conn, zxid, result } => {
            let result = &h.results[result.0 as usize];
            let conn = conn.map_or("itself".to_owned(), |c| c.0.to_string());
            let _ = write!(
                out,
                "c{}/{} call {} returns from {conn} at {zxid}: {result:?}",
                who.client, who.handle, call.0
            );
        }
        Entry::Notify { who, conn, zxid, kind, path } => {
            let path = &h.paths[path.0 as usize];
            let _ = write!(
                out,
                "c{}/{} event from {} at {zxid}: {kind:?} {path}",
                who.client, who.handle, conn.0
            );
        }
        Entry::Server { server, event: Event::Committed { zxid, txn }, .. } => {
            let _ = write!(out, "server {server} committed {zxid}: ");
            let _ = match LoggedTxn::decode(txn) {
                Ok(txn) => write!(out, "{:?} {:?}", txn.header.session, txn.txn),
                Err(bad) => write!(out, "{bad}"),
            };
        }
        Entry::Server { server, event, .. } => {
            let _ = write!(out, "server {server} {event:?}");
        }
        Entry::Refused { server, why } => {
            let _ = write!(out, "server {server} refused to start: {}", h.texts[why.0 as usize]);
        }
        Entry::Shadow { server, kind, outcome: ShadowOutcome::Refused(why) } => {
            let why = &h.texts[why.0 as usize];
            let _ = write!(out, "server {server}, after {kind:?} now, would refuse to start: {why}");
        }
        Entry::Open { .. }
        | Entry::State { .. }
        | Entry::Gone { .. }
        | Entry::Taken { .. }
        | Entry::Image { .. }
        | Entry::DiskLied { .. }
        | Entry::Whole { .. }
        | Entry::Crash { .. }
        | Entry::Restart { .. }
        | Entry::Recovered { .. }
        | Entry::Shadow { .. }
        | Entry::Clock { .. }
        | Entry::Phase(_) => {
            let _ = write!(out, "{entry:?}");
        }
    }
    truncate(&mut out, 400);
    out
}
