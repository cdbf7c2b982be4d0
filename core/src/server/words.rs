//! Four-letter words: asked on the client port before any handshake, answered with text, then the connection ends.
//! Answers to `server.command`. Reads everything, changes only statistics.

use super::clients::Door;
use super::{Base, mntr};
use crate::boundary::{CloseCause, Conn, RoleName};
use crate::config::FourLetterWords;
use crate::id::SessionId;
use crate::proto::OpCode;
use crate::time::{Millis, Time, java_date};
use std::fmt::Write;

macro_rules! words {
    ($($name:ident = $text:literal;)*) => {
        /// The words that 3.9 knows.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum Word { $($name,)* }

        /// The word that `bytes` begin with.
        pub(super) fn at_front(bytes: &[u8]) -> Option<Word> {
            match std::str::from_utf8(bytes.first_chunk::<4>()?).ok()? {
                $($text => Some(Word::$name),)*
                _ => None,
            }
        }

        impl Word {
            fn text(self) -> &'static str {
                match self { $(Word::$name => $text,)* }
            }
        }
    };
}

words! {
    Conf = "conf"; Cons = "cons"; Crst = "crst"; Dirs = "dirs"; Dump = "dump"; Envi = "envi"; Gtmk = "gtmk";
    Hash = "hash"; Isro = "isro"; Mntr = "mntr"; Ruok = "ruok"; Srst = "srst"; Srvr = "srvr"; Stat = "stat";
    Stmk = "stmk"; Wchc = "wchc"; Wchp = "wchp"; Wchs = "wchs";
}

/// The ZooKeeper release whose protocols are spoken, then our own: exporters read the number up to "-".
pub(super) const VERSION: &str =
    concat!("3.9.3-zebu-", env!("CARGO_PKG_VERSION"), ", built on 2026-11-25 00:00 UTC");

/// Answers and closes.
pub(super) fn answer(base: &mut Base, door: Door, id: Conn, word: Word) {
    base.stats.received += 1;
    if let Some(conn) = base.conns.get_mut(id) {
        conn.stats.received += 1;
    }
    let text = if is_enabled(base, word) {
        text(base, door, id, word)
    } else {
        format!("{} is not executed because it is not in the whitelist.\n", word.text())
    };
    if let Some(conn) = base.conns.get_mut(id) {
        conn.send_text(&text);
    }
    base.close(id, CloseCause::FourLetterWord);
}

fn is_enabled(base: &Base, word: Word) -> bool {
    match (word, &base.config.four_letter_words) {
        // Trace masks are log4j's; there are none here.
        (Word::Gtmk | Word::Stmk, _) => false,
        (Word::Srvr, _) | (_, FourLetterWords::All) => true,
        (word, FourLetterWords::Only(list)) => list.iter().any(|w| w == word.text()),
    }
}

fn read_only_line(base: &Base, out: &mut String) {
    if base.role == RoleName::ReadOnly {
        out.push_str("READ-ONLY mode; serving only read-only clients\n");
    }
}

fn isro(door: Door) -> &'static str {
    match door {
        Door::Open => "rw",
        Door::ReadOnly => "ro",
        Door::Shut | Door::Closing => "null",
    }
}

fn text(base: &mut Base, door: Door, asker: Conn, word: Word) -> String {
    match word {
        Word::Ruok => return "imok".to_owned(),
        Word::Isro => return isro(door).to_owned(),
        Word::Envi => return envi(base),
        _ if matches!(door, Door::Shut | Door::Closing) => {
            let line_end = if word == Word::Hash { "" } else { "\n" };
            return format!("This ZooKeeper instance is not currently serving requests{line_end}");
        }
        _ => {}
    }
    let mut out = String::new();
    match word {
        Word::Srvr => {
            version_line(&mut out);
            read_only_line(base, &mut out);
            server_lines(base, &mut out);
        }
        Word::Stat => {
            version_line(&mut out);
            out.push_str("Clients:\n");
            connections(base, asker, false, &mut out);
            out.push('\n');
            server_lines(base, &mut out);
        }
        Word::Cons => {
            connections(base, asker, true, &mut out);
            out.push('\n');
        }
        Word::Crst => {
            base.conns.iter_mut().for_each(|c| c.stats.reset());
            out.push_str("Connection stats reset.\n");
        }
        Word::Srst => {
            base.stats.reset();
            out.push_str("Server stats reset.\n");
        }
        Word::Dirs => {
            let (data, log) = base.store.sizes();
            line(&mut out, format_args!("datadir_size: {data}"));
            line(&mut out, format_args!("logdir_size: {log}"));
        }
        Word::Conf => conf(base, &mut out),
        Word::Dump => dump(base, &mut out),
        Word::Hash => {
            for (zxid, digest) in base.stats.digests() {
                line(&mut out, format_args!("{:x}: {}", zxid.0, digest as i64));
            }
        }
        Word::Mntr => mntr::mntr(base, &mut out),
        Word::Wchs => {
            let s = base.watches.summary();
            line(&mut out, format_args!("{} connections watching {} paths", s.conns, s.paths));
            line(&mut out, format_args!("Total watches:{}", s.watches));
        }
        Word::Wchc => {
            for (conn, paths) in base.watches.by_conn() {
                line(&mut out, format_args!("{}", session_of(base, conn)));
                paths.for_each(|p| line(&mut out, format_args!("\t{p}")));
            }
            out.push('\n');
        }
        Word::Wchp => {
            for (path, conns) in base.watches.by_path() {
                line(&mut out, format_args!("{path}"));
                conns.for_each(|c| line(&mut out, format_args!("\t{}", session_of(base, c))));
            }
            out.push('\n');
        }
        Word::Ruok | Word::Isro | Word::Envi | Word::Gtmk | Word::Stmk => unreachable!("answered above"),
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a String takes everything");
}

fn session_of(base: &Base, conn: Conn) -> SessionId {
    base.conns.get(conn).and_then(|c| c.session()).unwrap_or_default()
}

fn version_line(out: &mut String) {
    line(out, format_args!("Zookeeper version: {VERSION}"));
}

/// The name that `Mode:` and `zk_server_state` show.
pub(super) fn mode(role: RoleName) -> &'static str {
    match role {
        RoleName::Standalone => "standalone",
        RoleName::Looking => "looking",
        RoleName::Leader => "leader",
        RoleName::Follower => "follower",
        RoleName::Observer => "observer",
        RoleName::ReadOnly => "read-only",
    }
}

fn server_lines(base: &Base, out: &mut String) {
    let (stats, latency) = (&base.stats, &base.stats.latency);
    line(out, format_args!("Latency min/avg/max: {}/{}/{}", latency.min(), latency.avg(), latency.max()));
    line(out, format_args!("Received: {}", stats.received));
    line(out, format_args!("Sent: {}", stats.sent));
    line(out, format_args!("Connections: {}", base.conns.len()));
    line(out, format_args!("Outstanding: {}", base.waiting));
    line(out, format_args!("Zxid: {}", base.tree.last_zxid()));
    line(out, format_args!("Mode: {}", mode(base.role)));
    line(out, format_args!("Node count: {}", base.tree.node_count()));
}

fn connections(base: &Base, asker: Conn, full: bool, out: &mut String) {
    for (id, conn) in base.conns.iter() {
        let s = &conn.stats;
        let interest = if id == asker { 0 } else { 1 };
        let queued = conn.line.len();
        let _ = write!(
            out,
            " /{}[{interest}](queued={queued},recved={},sent={}",
            conn.peer.addr, s.received, s.sent
        );
        if let (true, Some(session)) = (full, conn.session()) {
            let op = s.last_op.and_then(OpCode::from_int).map_or("NA", op_name);
            let _ = write!(
                out,
                ",sid={session},lop={op},est={},to={}",
                s.established.wall.0,
                base.sessions.timeout(session).unwrap_or(0)
            );
            if s.last_cxid >= 0 {
                let _ = write!(out, ",lcxid=0x{:x}", s.last_cxid);
            }
            let _ = write!(
                out,
                ",lzxid={},lresp={},llat={},minlat={},avglat={},maxlat={}",
                s.last_zxid,
                s.last_response.as_millis(),
                s.last_latency_ms,
                s.latency.min(),
                s.latency.avg_whole(),
                s.latency.max()
            );
        }
        out.push_str(")\n");
    }
}

fn op_name(op: OpCode) -> &'static str {
    match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => "CREA",
        OpCode::Delete | OpCode::DeleteContainer => "DELE",
        OpCode::Exists => "EXIS",
        OpCode::GetData => "GETD",
        OpCode::SetData => "SETD",
        OpCode::GetAcl => "GETA",
        OpCode::SetAcl => "SETA",
        OpCode::GetChildren | OpCode::GetChildren2 => "GETC",
        OpCode::GetAllChildrenNumber => "GETACN",
        OpCode::Sync => "SYNC",
        OpCode::Ping => "PING",
        OpCode::Check => "CHEC",
        OpCode::Multi => "MULT",
        OpCode::MultiRead => "MLTR",
        OpCode::Reconfig => "RECO",
        OpCode::CheckWatches => "CHKW",
        OpCode::RemoveWatches => "REMW",
        OpCode::SetWatches => "SETW",
        OpCode::SetWatches2 => "STW2",
        OpCode::AddWatch => "ADDW",
        OpCode::GetEphemerals => "GETE",
        OpCode::WhoAmI => "HOMI",
        OpCode::CloseSession => "CLOS",
        OpCode::Auth | OpCode::Sasl => "NA",
    }
}

fn conf(base: &Base, out: &mut String) {
    let (config, host) = (&base.config, &base.config.host);
    let (data, log) = base.store.sizes();
    line(out, format_args!("clientPort={}", host.client_port));
    line(out, format_args!("secureClientPort=-1"));
    line(out, format_args!("dataDir={}", host.data_dir));
    line(out, format_args!("dataDirSize={data}"));
    line(out, format_args!("dataLogDir={}", host.data_log_dir));
    line(out, format_args!("dataLogSize={log}"));
    line(out, format_args!("tickTime={}", config.tick_ms));
    line(out, format_args!("maxClientCnxns={}", config.max_client_cnxns));
    line(out, format_args!("minSessionTimeout={}", config.min_session_timeout_ms));
    line(out, format_args!("maxSessionTimeout={}", config.max_session_timeout_ms));
    line(out, format_args!("clientPortListenBacklog={}", host.listen_backlog));
    line(out, format_args!("serverId={}", config.server_id));
}

fn envi(base: &Base) -> String {
    let mut out = format!("Environment:\nzookeeper.version={VERSION}\n");
    for (key, value) in &base.config.host.environment {
        line(&mut out, format_args!("{key}={value}"));
    }
    out
}

fn dump(base: &Base, out: &mut String) {
    // The wall-clock moment of a monotonic one, as of now.
    let date = |at: Time| {
        let ahead = at.0 as i64 / 1_000_000 - base.now.mono.as_millis() as i64;
        java_date(Millis(base.now.wall.0 + ahead))
    };
    out.push_str("SessionTracker dump:\n");
    let buckets = base.sessions.buckets();
    line(out, format_args!("Session Sets ({})/({}):", buckets.len(), base.sessions.len()));
    for (at, sessions) in buckets {
        line(out, format_args!("{} expire at {}:", sessions.len(), date(at)));
        sessions.for_each(|s| line(out, format_args!("\t{s}")));
    }
    out.push_str("ephemeral nodes dump:\n");
    let owners: Vec<SessionId> = base.tree.sessions_with_ephemerals().map(|(owner, _)| owner).collect();
    line(out, format_args!("Sessions with Ephemerals ({}):", owners.len()));
    for owner in owners {
        line(out, format_args!("{owner}:"));
        base.tree.ephemerals(owner).for_each(|p| line(out, format_args!("\t{p}")));
    }
    out.push_str("Connections dump:\n");
    line(out, format_args!("Connections Sets (1)/({}):", base.conns.len()));
    line(out, format_args!("{} expire at {}:", base.conns.len(), date(base.now.mono)));
    for (_, conn) in base.conns.iter() {
        let session = conn.session().unwrap_or_default();
        line(out, format_args!("\tip: /{} sessionId: {session}", conn.peer.addr));
    }
}
