//! A server in this process with a disk that never fails and a clock that the test turns: bytes in, frames out. The
//! smallest driver there is. Knows the boundary only.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use zebu_core::boundary::{Conn, Dir, DiskOp, Input, Lane, Output, PeerInfo, Port, Ticket};
use zebu_core::config::Config;
use zebu_core::disk::{FileError, Files, recover};
use zebu_core::server::Server;
use zebu_core::time::{Millis, Now, Span};

/// No file in any folder: a server starts on it as on a fresh directory.
struct Nothing;

impl Files for Nothing {
    fn list(&self, _dir: Dir) -> Result<Vec<(String, u64)>, FileError> {
        Ok(Vec::new())
    }
    fn read(&self, _dir: Dir, _name: &str) -> Result<bytes::Bytes, FileError> {
        Err(FileError::Missing)
    }
}

/// What the server has done to a connection.
#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    closed: bool,
}

/// The server and what it has sent.
pub struct InProcess {
    server: Server,
    now: Now,
    lines: BTreeMap<Conn, Line>,
}

impl InProcess {
    /// A server on an empty disk that is ready to serve.
    pub fn new(config: Config) -> InProcess {
        let recovered = recover(&Nothing, &config, 1).expect("an empty disk is fine");
        let now = Now { wall: Millis(1_700_000_000_000), ..Now::default() };
        let server = Server::new(config, recovered, [7; 32], now);
        let mut p = InProcess { server, now, lines: BTreeMap::new() };
        p.step(Input::Wake);
        assert!(p.server.view().serving);
        p
    }

    /// A new connection from 127.0.0.1.
    pub fn open(&mut self) -> Conn {
        let conn = Conn(self.lines.len() as u64 + 1);
        self.lines.insert(conn, Line::default());
        let addr = SocketAddr::from(([127, 0, 0, 1], 40_000 + conn.0 as u16));
        self.step(Input::Opened { conn, port: Port::Client, peer: PeerInfo { addr } });
        conn
    }

    /// Bytes from the client; all that follows from them is done when this returns. A closed connection ignores them.
    pub fn send(&mut self, conn: Conn, bytes: &[u8]) {
        if !self.lines[&conn].closed {
            self.step(Input::Received { conn, bytes });
        }
    }

    /// The client goes away.
    pub fn hang_up(&mut self, conn: Conn) {
        if !std::mem::replace(&mut self.lines.get_mut(&conn).expect("open").closed, true) {
            self.step(Input::Closed { conn });
        }
    }

    /// The payload of the next frame that the server has sent and the test has not taken.
    pub fn frame(&mut self, conn: Conn) -> Option<Vec<u8>> {
        let bytes = &mut self.lines.get_mut(&conn)?.bytes;
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let n = u32::from_be_bytes(*length) as usize;
        let payload = rest.get(..n).expect("the server sends whole frames").to_vec();
        bytes.drain(..4 + n);
        Some(payload)
    }

    /// True when the server has closed it.
    pub fn is_closed(&self, conn: Conn) -> bool {
        self.lines[&conn].closed
    }

    /// Lets time pass; timers strike when they are due.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now.mono + Span::from_millis(ms);
        while let Some((at, _)) = self.server.next_wake().filter(|(at, _)| *at <= end) {
            self.turn_to(at.max(self.now.mono));
            self.step(Input::Wake);
        }
        self.turn_to(end);
    }

    fn turn_to(&mut self, mono: zebu_core::time::Time) {
        self.now.wall.0 += mono.since(self.now.mono).as_millis() as i64;
        self.now.mono = mono;
    }

    /// One step and all that follows from its disk work.
    fn step(&mut self, input: Input<'_>) {
        let mut out = Vec::new();
        self.server.step(self.now, input, &mut out);
        let mut done: BTreeMap<Lane, Ticket> = BTreeMap::new();
        for output in out {
            match output {
                Output::Send { conn, bytes } => self.lines.get_mut(&conn).expect("open").bytes.extend_from_slice(&bytes),
                Output::Close { conn } => self.lines.get_mut(&conn).expect("open").closed = true,
                Output::Disk { lane, op: DiskOp::Sync { ticket, .. } | DiskOp::SyncDir { ticket, .. } } => {
                    done.insert(lane, ticket);
                }
                Output::Disk { .. } | Output::Event(_) | Output::Pause { .. } => {}
                Output::Stop(stop) => panic!("{stop}"),
            }
        }
        for (lane, upto) in done {
            self.step(Input::Durable { lane, upto });
        }
    }
}
