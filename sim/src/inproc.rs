//! A server in this process with a disk that never fails and a clock that the caller turns: bytes in, frames out. The
//! smallest driver there is, for fuzzing and for tests of conversations. Knows the boundary only.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use zebu_core::boundary::{Conn, Dir, DiskOp, Input, Lane, Output, PeerInfo, Port, Ticket};
use zebu_core::config::Config;
use zebu_core::disk::{FileError, Files, RecoverError, recover};
use zebu_core::id::{SessionId, Xid, Zxid};
use zebu_core::jute::Reader;
use zebu_core::proto::*;
use zebu_core::server::{Server, View};
use zebu_core::time::{Millis, Now, Span};

/// No file in any folder: a server starts on it as on a fresh directory.
struct Nothing;

impl Files for Nothing {
    fn list(&self, _dir: Dir) -> Result<Vec<(String, u64)>, FileError> {
        Ok(Vec::new())
    }
    fn read(&self, _dir: Dir, _name: &str) -> Result<Bytes, FileError> {
        Err(FileError::Missing)
    }
}

/// A whole frame around a payload.
pub fn frame(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![0; 4];
    write(&mut out);
    let n = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&n.to_be_bytes());
    out
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
    /// The disk takes its time: nothing is reported as durable.
    held: bool,
    done: BTreeMap<Lane, Ticket>,
}

impl InProcess {
    /// A server on an empty disk that is ready to serve.
    pub fn new(config: Config) -> InProcess {
        InProcess::on(&Nothing, config).expect("an empty disk is fine")
    }

    /// A server on these files.
    pub fn on(files: &impl Files, config: Config) -> Result<InProcess, RecoverError> {
        let recovered = recover(files, &config, 1)?;
        let now = Now { wall: Millis(1_700_000_000_000), ..Now::default() };
        let server = Server::new(config, recovered, [7; 32], now);
        let mut p = InProcess { server, now, lines: BTreeMap::new(), held: false, done: BTreeMap::new() };
        p.step(Input::Wake);
        assert!(p.server.view().serving);
        Ok(p)
    }

    /// A new client comes, opens a session, writes a node and reads it.
    pub fn probe(&mut self) {
        let conn = self.open();
        let asked = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout: 30_000,
            session: SessionId::NONE,
            password: None,
            read_only: None,
        };
        self.send(conn, &frame(|w| asked.encode(w)));
        let answer = self.frame(conn).expect("an answer to the handshake");
        assert!(ConnectResponse::decode(&mut Reader::new(&answer)).expect("a handshake").timeout > 0);
        let path = format!("/probe-{}", conn.0);
        let create = Request::Create(CreateRequest {
            op: CreateOp::Create,
            path: path.clone(),
            data: Some(Bytes::from_static(b"x")),
            acl: Some(vec![Acl::open()]),
            flags: 0,
        });
        let made = self.ask(conn, 1, &create);
        // The root's ACL may forbid it; the probe wants an answer, and then the same one from a read.
        let read = self.ask(conn, 2, &Request::Exists { path, watch: false });
        assert_eq!(
            made == 0 || made == ErrorCode::NodeExists.code(),
            read == 0,
            "create said {made}, exists {read}"
        );
    }

    /// A request and the error code of its reply.
    fn ask(&mut self, conn: Conn, xid: i32, request: &Request) -> i32 {
        let header = RequestHeader { xid: Xid(xid), op: request.op() as i32 };
        self.send(
            conn,
            &frame(|w| {
                header.encode(w);
                request.encode(w);
            }),
        );
        let reply = self.frame(conn).expect("a reply");
        let header = ReplyHeader::decode(&mut Reader::new(&reply)).expect("a reply");
        assert_eq!(header.xid, Xid(xid));
        header.err
    }

    /// What the server is and holds.
    pub fn view(&self) -> View<'_> {
        self.server.view()
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
        let payload = rest.get(..n)?.to_vec();
        bytes.drain(..4 + n);
        Some(payload)
    }

    /// All bytes that the server has sent and nobody has taken: the answer to a four-letter word has no frame.
    pub fn bytes(&mut self, conn: Conn) -> Vec<u8> {
        self.lines.get_mut(&conn).map(|l| std::mem::take(&mut l.bytes)).unwrap_or_default()
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
            assert!(
                self.server.next_wake().is_none_or(|(next, _)| next > self.now.mono),
                "a timer that does not go off"
            );
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
        for output in out {
            match output {
                Output::Send { conn, bytes } => self.line(conn).bytes.extend_from_slice(&bytes),
                Output::Close { conn } => self.line(conn).closed = true,
                Output::Disk { lane, op: DiskOp::Sync { ticket, .. } | DiskOp::SyncDir { ticket, .. } } => {
                    self.done.insert(lane, ticket);
                }
                Output::Disk { .. } | Output::Event(_) | Output::Pause { .. } => {}
                Output::Stop(stop) => panic!("{stop}"),
                Output::Read { .. } => unreachable!("a standalone server reads no log"),
                Output::Dial { .. } => unreachable!("a standalone server dials nobody"),
            }
        }
        self.settle();
    }

    fn line(&mut self, conn: Conn) -> &mut Line {
        let line = self.lines.get_mut(&conn).expect("a connection that was opened");
        assert!(!line.closed, "{conn:?} was closed");
        line
    }

    /// Lets the disk take its time, or catch up.
    pub fn hold_disk(&mut self, on: bool) {
        self.held = on;
        self.settle();
    }

    fn settle(&mut self) {
        while !self.held
            && let Some((lane, upto)) = self.done.pop_first()
        {
            self.step(Input::Durable { lane, upto });
        }
    }
}
