//! A run in words, for people: one line an event. Nothing here is on the way of a run that no one looks at.

use crate::history::{Entry, History, ShadowOutcome};
use crate::queue::Due;
use crate::scenario::Scenario;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use zebu_core::boundary::{Event, Output};
use zebu_core::id::ServerId;
use zebu_core::proto::LoggedTxn;

/// Writes a line on standard output. Whoever reads it may leave early: then that was all that was wanted.
pub fn say(line: fmt::Arguments<'_>) {
    match writeln!(io::stdout().lock(), "{line}") {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => panic!("cannot write to standard output: {e}"),
    }
}

/// Prints what a run is of.
pub fn print_shape(plan: &Scenario) {
    if let Some(e) = &plan.config.ensemble {
        say(format_args!("{}", e.members));
        say(format_args!(
            "tick {} ms, initLimit {}, syncLimit {}, commitLogCount {} of {} bytes, last counter {}",
            plan.config.tick_ms,
            e.init_limit,
            e.sync_limit,
            e.commit_log_count,
            e.commit_log_bytes,
            e.last_counter
        ));
    }
    plan.faults.iter().for_each(|f| say(format_args!("{} {:?} {:?}", clock(f.at), f.upon, f.what)));
}

/// Prints what is due; servers by their ids.
pub fn print_due(at: u64, due: Due, id: impl Fn(u8) -> ServerId) {
    let mut text = format!("{due:?}");
    if let Some(server) = due.server() {
        let _ = write!(text, " (server {})", id(server));
    }
    say(format_args!("{} {text}", clock(at)));
}

/// Prints what the history got since it had `told` entries.
pub fn print_news(history: &History, told: usize) {
    for (_, entry) in &history.entries[told..] {
        say(format_args!("             | {}", entry_text(history, entry)));
    }
}

/// Prints an output of a server, but for what the history tells anyway.
pub fn print_output(server: ServerId, output: &Output) {
    match output {
        Output::Event(_) => {}
        Output::Send { conn, bytes } => {
            say(format_args!("           {server} > send {} bytes to {}", bytes.len(), conn.0));
        }
        Output::Dial { conn, to, port } => {
            say(format_args!("           {server} > dial {} to {to}, {port:?}", conn.0));
        }
        Output::Disk { lane, op } => {
            let mut text = format!("{op:?}");
            truncate(&mut text, 160);
            say(format_args!("           {server} > {lane:?} {text}"));
        }
        Output::Read { file, at, len, .. } => {
            say(format_args!("           {server} > read {len} bytes of {file} at {at}"));
        }
        Output::Pause { .. } | Output::Close { .. } | Output::Stop(_) => {
            say(format_args!("           {server} > {output:?}"));
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
    let mut out = match entry {
        Entry::Invoke { who, call } => {
            let request = &h.requests[call.0 as usize];
            format!("c{}/{} call {}: {request:?}", who.client, who.handle, call.0)
        }
        Entry::Return { who, call, conn, zxid, result } => {
            let result = &h.results[result.0 as usize];
            let conn = conn.map_or("itself".to_owned(), |c| c.0.to_string());
            let (client, handle, call) = (who.client, who.handle, call.0);
            format!("c{client}/{handle} call {call} returns from {conn} at {zxid}: {result:?}")
        }
        Entry::Notify { who, conn, zxid, kind, path } => {
            let (client, handle, path) = (who.client, who.handle, &h.paths[path.0 as usize]);
            format!("c{client}/{handle} event from {} at {zxid}: {kind:?} {path}", conn.0)
        }
        Entry::Misread { who, cause } => format!("c{}/{} gives up: {cause}", who.client, who.handle),
        Entry::Server { server, event: Event::Committed { zxid, txn }, .. } => match LoggedTxn::decode(txn) {
            Ok(txn) => format!("server {server} committed {zxid}: {:?} {:?}", txn.header.session, txn.txn),
            Err(bad) => format!("server {server} committed {zxid}: {bad}"),
        },
        Entry::Server { server, event: Event::Logged { zxid, .. }, .. } => {
            format!("server {server} logs {zxid}")
        }
        Entry::Server { server, event: Event::Proposed { zxid, .. }, .. } => {
            format!("server {server} proposes {zxid}")
        }
        Entry::Server { server, event, .. } => format!("server {server} {event:?}"),
        Entry::Whole { servers } => format!("whole: {:?}", h.sets[servers.0 as usize]),
        Entry::Replica { server, replica } => {
            let r = &h.replicas[replica.0 as usize];
            format!("server {server} ends at {}, serving {}, digest {:x}", r.last, r.serving, r.digest)
        }
        Entry::Refused { server, why } => {
            format!("server {server} refused to start: {}", h.texts[why.0 as usize])
        }
        Entry::Shadow { server, kind, outcome: ShadowOutcome::Refused(why) } => {
            let why = &h.texts[why.0 as usize];
            format!("server {server}, after {kind:?} now, would refuse to start: {why}")
        }
        Entry::Open { .. }
        | Entry::State { .. }
        | Entry::Gone { .. }
        | Entry::Taken { .. }
        | Entry::Image { .. }
        | Entry::DiskLied { .. }
        | Entry::Wiped { .. }
        | Entry::Crash { .. }
        | Entry::Restart { .. }
        | Entry::Recovered { .. }
        | Entry::Shadow { .. }
        | Entry::Clock { .. }
        | Entry::Stranger { .. }
        | Entry::Phase(_) => format!("{entry:?}"),
    };
    truncate(&mut out, 400);
    out
}
