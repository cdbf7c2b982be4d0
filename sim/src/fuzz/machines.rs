//! Bytes as what a server and a client live through: connections, frames good and bad, time, a slow disk.

use super::Choices;
use crate::inproc::InProcess;
use std::collections::BTreeSet;
use zebu_core::boundary::Conn;
use zebu_core::client::{CallId, Client, ClientConfig, ClientInput, ClientOutput};
use zebu_core::config::Config;
use zebu_core::id::{SessionId, Xid, Zxid};
use zebu_core::jute::Reader;
use zebu_core::proto::*;
use zebu_core::time::{Span, Time};

/// Connections that a life has at the same time, at most.
const CONNS: usize = 6;

fn framed(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload].concat()
}

/// The place of an operation in [`OpCode::ALL`], its body and what it answered, if an input can hold them.
fn pieces(request: &[u8]) -> Option<(u8, &[u8])> {
    let mut r = Reader::new(request);
    let header = RequestHeader::decode(&mut r).ok()?;
    let at = OpCode::ALL.iter().position(|op| *op as i32 == header.op)?;
    (r.rest().len() < 256).then_some((at as u8, r.rest()))
}

/// Requests of one client as an input for [`server`].
pub fn server_input<'a>(requests: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = vec![0, 0, 0, 2, 255, 0, 100, 1];
    for (at, body) in requests.into_iter().filter_map(pieces) {
        out.extend([0, 3, at, body.len() as u8]);
        out.extend(body);
        out.push(1);
    }
    out
}

/// Calls and what was answered as an input for [`client`].
pub fn client_input<'a>(exchanges: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut out = vec![7, 0, 2, 100, 7, 0];
    let mut xid = 0;
    for (request, reply) in exchanges {
        let (Some((at, body)), Some(reply)) = (pieces(request), reply.get(16..).filter(|r| r.len() < 256))
        else {
            continue;
        };
        xid += 1;
        out.extend([5, at, body.len() as u8]);
        out.extend(body);
        out.extend([3, xid, xid, 0, reply.len() as u8]);
        out.extend(reply);
    }
    out
}

/// A server under clients that send anything. Whatever they did, a well-behaved one is served at the end.
pub fn server(data: &[u8]) {
    let config = Config { max_client_cnxns: 0, snap_count: 20, extended_types: true, ..Config::default() };
    let (mut c, mut p) = (Choices(data), InProcess::new(config));
    let (mut conns, mut sessions): (Vec<Conn>, Vec<(SessionId, [u8; 16])>) = (Vec::new(), Vec::new());
    while !c.is_empty() {
        let conn = conns.get(c.byte() % CONNS).copied();
        match (c.byte() % 8, conn) {
            (0, _) if conns.len() < CONNS => conns.push(p.open()),
            (1, Some(conn)) => {
                let n = c.byte();
                p.send(conn, c.bytes(n));
            }
            (2, Some(conn)) => handshake(&mut c, &mut p, conn, &mut sessions),
            (3, Some(conn)) => {
                let op = OpCode::ALL[c.byte() % OpCode::ALL.len()] as i32;
                let n = c.byte();
                let body = c.bytes(n);
                let frame = [&(c.byte() as i32).to_be_bytes()[..], &op.to_be_bytes(), body].concat();
                p.send(conn, &framed(&frame));
            }
            (4, Some(conn)) => {
                p.hang_up(conn);
                conns.retain(|x| *x != conn);
            }
            (5, _) => p.pass(10 * c.number() as u64),
            (6, _) => p.hold_disk(c.byte() % 2 == 0),
            // A four-letter word, and anything that looks like one.
            (7, Some(conn)) => p.send(conn, c.bytes(4)),
            (0..=7, _) => {}
            (8.., _) => unreachable!("modulo 8"),
        }
        for conn in &conns {
            p.bytes(*conn);
        }
    }
    p.hold_disk(false);
    p.probe();
}

fn handshake(c: &mut Choices<'_>, p: &mut InProcess, conn: Conn, sessions: &mut Vec<(SessionId, [u8; 16])>) {
    let (session, password) = sessions.get(c.byte()).copied().unwrap_or_default();
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid(c.byte() as i64),
        timeout: 100 * c.byte() as i32,
        session,
        password: Some(password.to_vec().into()),
        read_only: [None, Some(false), Some(true)][c.byte() % 3],
    };
    let mut out = Vec::new();
    request.encode(&mut out);
    p.send(conn, &framed(&out));
    if let Some(frame) = p.frame(conn)
        && let Ok(r) = ConnectResponse::decode(&mut Reader::new(&frame))
        && r.timeout > 0
    {
        sessions.push((r.session, r.password));
    }
}

/// What surrounds the client machine under test.
struct Surroundings {
    client: Client,
    now: Time,
    dialed: Option<Conn>,
    opened: Option<Conn>,
    /// Calls without a reply.
    open: BTreeSet<CallId>,
    calls: u64,
    over: bool,
}

/// A client whose server sends anything. Each of its calls is answered once.
pub fn client(data: &[u8]) {
    let config = ClientConfig::new("one:1,two:2/root").expect("a connect string");
    let client = Client::new(config, [3; 32], Time(0));
    let mut s = Surroundings {
        client,
        now: Time(0),
        dialed: None,
        opened: None,
        open: BTreeSet::new(),
        calls: 0,
        over: false,
    };
    let mut c = Choices(data);
    while !c.is_empty() {
        s.act(&mut c);
    }
    s.calls += 1;
    let id = CallId(s.calls);
    s.open.insert(id);
    s.step(ClientInput::Close { id });
    if let Some(conn) = s.opened.take().or(s.dialed.take()) {
        s.step(ClientInput::Closed { conn });
    }
    for _ in 0..100 {
        s.wait();
    }
    assert!(s.open.is_empty(), "calls without an answer: {:?}", s.open);
}

impl Surroundings {
    fn act(&mut self, c: &mut Choices<'_>) {
        match (c.byte() % 8, self.opened) {
            (0, None) => {
                if let Some(conn) = self.dialed.take() {
                    self.opened = Some(conn);
                    self.step(ClientInput::Opened { conn });
                }
            }
            (1, Some(conn)) => {
                let n = c.byte() + 1;
                let bytes = c.bytes(n);
                if !bytes.is_empty() {
                    self.step(ClientInput::Received { conn, bytes });
                }
            }
            (2, Some(conn)) => {
                let r = ConnectResponse {
                    protocol_version: 0,
                    timeout: 100 * c.byte() as i32,
                    session: SessionId(c.byte() as i64),
                    password: [9; 16],
                    read_only: Some(c.byte() % 8 == 1),
                };
                let mut out = Vec::new();
                r.encode(&mut out);
                self.step(ClientInput::Received { conn, bytes: &framed(&out) });
            }
            (3, Some(conn)) => {
                let header = ReplyHeader {
                    xid: Xid(c.byte() as i8 as i32),
                    zxid: Zxid(c.byte() as i64),
                    err: -(c.byte() as i32 % 3),
                };
                let (n, mut out) = (c.byte(), Vec::new());
                header.encode(&mut out);
                out.extend_from_slice(c.bytes(n));
                self.step(ClientInput::Received { conn, bytes: &framed(&out) });
            }
            (4, _) => {
                if let Some(conn) = self.opened.take().or(self.dialed.take()) {
                    self.step(ClientInput::Closed { conn });
                }
            }
            (5, _) => {
                let op = OpCode::ALL[c.byte() % OpCode::ALL.len()];
                let n = c.byte();
                if let Ok(request) = Request::decode(op, &mut Reader::new(c.bytes(n))) {
                    self.call(request);
                }
            }
            (6, _) => self.call(Request::GetData { path: "/a".to_owned(), watch: true }),
            _ => self.wait(),
        }
    }

    fn call(&mut self, request: Request) {
        if !self.over {
            self.calls += 1;
            let id = CallId(self.calls);
            self.open.insert(id);
            self.step(ClientInput::Call { id, request });
        }
    }

    /// Until the next timer, or a while.
    fn wait(&mut self) {
        let next = self.client.next_wake().unwrap_or(self.now + Span::from_millis(1000));
        self.now = self.now.max(next);
        self.step(ClientInput::Wake);
    }

    fn step(&mut self, input: ClientInput<'_>) {
        let mut out = Vec::new();
        self.client.step(self.now, input, &mut out);
        for output in out {
            match output {
                ClientOutput::Dial { conn, server } => {
                    assert!(
                        server < 2 && self.dialed.is_none() && self.opened.is_none(),
                        "one connection at a time"
                    );
                    self.dialed = Some(conn);
                }
                ClientOutput::Send { conn, bytes } => {
                    assert_eq!(Some(conn), self.opened);
                    assert!(!bytes.is_empty());
                }
                ClientOutput::Close { conn } => {
                    assert!(self.opened == Some(conn) || self.dialed == Some(conn));
                    (self.opened, self.dialed) = (None, None);
                }
                ClientOutput::Reply { id, .. } => assert!(self.open.remove(&id), "{id:?} is answered twice"),
                ClientOutput::Watch { calls, .. } => assert!(!calls.is_empty()),
                ClientOutput::State(state) => {
                    assert!(!self.over, "{state:?} after the end");
                    self.over = state.is_final();
                }
                ClientOutput::Lost { .. } => {}
            }
        }
    }
}
