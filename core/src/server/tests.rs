//! Whole ensembles of servers over a network that loses nothing and disks that are done at once: what they say to clients.
//! Faults are the simulator's.

use super::Server;
use crate::addr::Addr;
use crate::boundary::{
    AdminOrder, Conn, DiskOp, Event, Input, Lane, Output, PeerInfo, Port, RoleName, Ticket,
};
use crate::config::{Config, EnsembleConfig};
use crate::disk::{FileError, Files, recover};
use crate::id::{ServerId, SessionId, Xid, Zxid};
use crate::jute::{Reader, begin_frame, end_frame};
use crate::proto::{
    Acl, ConnectRequest, ConnectResponse, CreateOp, CreateRequest, OpCode, ReplyHeader, Request,
    RequestHeader, Response,
};
use crate::quorum::QuorumVerifier;
use crate::time::{Millis, Now, Span, Time};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

struct Nothing;
impl Files for Nothing {
    fn list(&self, _: crate::boundary::Dir) -> Result<Vec<(String, u64)>, FileError> {
        Ok(Vec::new())
    }
    fn read(&self, _: crate::boundary::Dir, _: &str) -> Result<Bytes, FileError> {
        Err(FileError::Missing)
    }
}

/// The other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum End {
    Server(usize, Conn),
    Client(usize),
}

enum Due {
    Opened(usize, Conn, Port),
    Bytes(End, Bytes),
    Closed(End),
    Durable(usize, Lane, Ticket),
}

#[derive(Default)]
struct Client {
    at: Option<(usize, Conn)>,
    got: BytesMut,
    closed: bool,
}

struct Cluster {
    servers: Vec<Option<Server>>,
    now: Time,
    wires: BTreeMap<End, End>,
    queue: VecDeque<Due>,
    accepted: u64,
    clients: Vec<Client>,
    events: Vec<(usize, Event)>,
    /// Local sessions and read-only mode are on.
    local: bool,
}

fn parse(members: &str) -> QuorumVerifier {
    QuorumVerifier::parse(members, Default::default()).expect("a configuration")
}

fn peer() -> PeerInfo {
    PeerInfo { addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 9)) }
}

impl Cluster {
    fn new(members: &str) -> Cluster {
        Cluster::with(members, false)
    }

    fn with(members: &str, local: bool) -> Cluster {
        let sids = parse(members).members().count() as i64;
        let mut cluster = Cluster {
            servers: Vec::new(),
            now: Time(0),
            wires: BTreeMap::new(),
            queue: VecDeque::new(),
            accepted: 0,
            clients: Vec::new(),
            events: Vec::new(),
            local,
        };
        (1..=sids).for_each(|sid| cluster.start(sid, members));
        cluster
    }

    /// Server `sid`, the next one, with a configuration of its own.
    fn start(&mut self, sid: i64, members: &str) {
        assert_eq!(self.servers.len() as i64 + 1, sid);
        let mut config =
            Config { server_id: ServerId(sid), tick_ms: 200, skip_acl: true, ..Config::default() };
        let mut ensemble = EnsembleConfig::new(parse(members));
        ensemble.reconfig_enabled = true;
        (ensemble.local_sessions, ensemble.local_upgrading, ensemble.read_only_mode) =
            (self.local, self.local, self.local);
        config.ensemble = Some(ensemble);
        let recovered = recover(&Nothing, &config, 7).expect("nothing recovers");
        let now = Now { mono: self.now, ..Now::default() };
        self.servers.push(Some(Server::new(config, recovered, [sid as u8; 32], now)));
        self.step(sid as usize - 1, Input::Wake);
    }

    fn step(&mut self, s: usize, input: Input<'_>) {
        let now = Now { mono: self.now, wall: Millis(self.now.as_millis() as i64) };
        let mut out = Vec::new();
        let Some(server) = &mut self.servers[s] else { return };
        server.step(now, input, &mut out);
        out.into_iter().for_each(|o| self.carry_out(s, o));
    }

    fn carry_out(&mut self, s: usize, output: Output) {
        match output {
            Output::Dial { conn, to, port } => self.dial(s, conn, &to, port),
            Output::Send { conn, bytes } => {
                if let Some(end) = self.wires.get(&End::Server(s, conn)) {
                    self.queue.push_back(Due::Bytes(*end, bytes));
                }
            }
            Output::Close { conn } => self.cut(End::Server(s, conn)),
            Output::Disk { lane, op } => match op {
                DiskOp::Sync { ticket, .. } | DiskOp::SyncDir { ticket, .. } => {
                    self.queue.push_back(Due::Durable(s, lane, ticket));
                }
                _ => {}
            },
            Output::Event(event) => self.events.push((s, event)),
            Output::Stop(_) => self.kill(s),
            // There are no files.
            Output::Read { read, .. } => self.step(s, Input::Read { read, bytes: None }),
            Output::Pause { .. } => {}
        }
    }

    fn dial(&mut self, s: usize, conn: Conn, to: &Addr, port: Port) {
        let target: usize = to.host[1..].parse::<usize>().expect("s1") - 1;
        let dialler = End::Server(s, conn);
        if self.servers[target].is_none() {
            return self.queue.push_back(Due::Closed(dialler));
        }
        self.accepted += 1;
        let accepted = Conn::accepted(self.accepted);
        let listener = End::Server(target, accepted);
        self.wires.insert(dialler, listener);
        self.wires.insert(listener, dialler);
        self.queue.push_back(Due::Opened(target, accepted, port));
        self.queue.push_back(Due::Opened(s, conn, port));
    }

    fn cut(&mut self, end: End) {
        if let Some(other) = self.wires.remove(&end) {
            self.wires.remove(&other);
            self.queue.push_back(Due::Closed(other));
        }
    }

    fn kill(&mut self, s: usize) {
        self.servers[s] = None;
        let ends: Vec<End> =
            self.wires.keys().copied().filter(|e| matches!(e, End::Server(n, _) if *n == s)).collect();
        ends.into_iter().for_each(|e| self.cut(e));
    }

    fn settle(&mut self) {
        while let Some(due) = self.queue.pop_front() {
            match due {
                Due::Opened(s, conn, port) => self.step(s, Input::Opened { conn, port, peer: peer() }),
                Due::Bytes(End::Server(s, conn), bytes) => {
                    self.step(s, Input::Received { conn, bytes: &bytes })
                }
                Due::Bytes(End::Client(c), bytes) => self.clients[c].got.extend_from_slice(&bytes),
                Due::Closed(End::Server(s, conn)) => self.step(s, Input::Closed { conn }),
                Due::Closed(End::Client(c)) => self.clients[c].closed = true,
                Due::Durable(s, lane, upto) => self.step(s, Input::Durable { lane, upto }),
            }
        }
    }

    /// Lets time pass.
    fn pass(&mut self, ms: u64) {
        let until = self.now + Span::from_millis(ms);
        loop {
            self.settle();
            let wakes = self.servers.iter().enumerate().filter_map(|(s, server)| {
                server.as_ref().and_then(|server| server.next_wake()).map(|(at, _)| (at, s))
            });
            match wakes.min() {
                Some((at, s)) if at <= until => {
                    self.now = self.now.max(at);
                    self.step(s, Input::Wake);
                }
                Some(_) | None => break,
            }
        }
        self.now = until;
    }

    fn role(&self, s: usize) -> Option<RoleName> {
        let view = self.servers[s].as_ref()?.view();
        view.serving.then_some(view.role)
    }

    fn leader(&self) -> usize {
        (0..self.servers.len()).find(|s| self.role(*s) == Some(RoleName::Leader)).expect("someone leads")
    }

    // ---- clients ----

    fn connect(&mut self, s: usize, session: Option<&ConnectResponse>) -> (usize, ConnectResponse) {
        let c = self.clients.len();
        self.clients.push(Client::default());
        self.accepted += 1;
        let conn = Conn::accepted(self.accepted);
        self.wires.insert(End::Server(s, conn), End::Client(c));
        self.wires.insert(End::Client(c), End::Server(s, conn));
        self.clients[c].at = Some((s, conn));
        self.step(s, Input::Opened { conn, port: Port::Client, peer: peer() });
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout: 4000,
            session: session.map_or(SessionId::NONE, |s| s.session),
            password: Some(Bytes::copy_from_slice(session.map_or(&[0; 16], |s| &s.password))),
            read_only: Some(self.local),
        };
        self.say(c, |w| request.encode(w));
        self.settle();
        let frame = self.frame(c).expect("an answer to the handshake");
        (c, ConnectResponse::decode(&mut Reader::new(&frame)).expect("reads"))
    }

    fn say(&mut self, c: usize, write: impl FnOnce(&mut BytesMut)) {
        let mut frame = BytesMut::new();
        let at = begin_frame(&mut frame);
        write(&mut frame);
        end_frame(&mut frame, at);
        let (s, conn) = self.clients[c].at.expect("connected");
        self.step(s, Input::Received { conn, bytes: &frame });
    }

    fn frame(&mut self, c: usize) -> Option<BytesMut> {
        let got = &mut self.clients[c].got;
        let len = u32::from_be_bytes(*got.first_chunk()?) as usize;
        let mut frame = got.split_to(4 + len);
        Some(frame.split_off(4))
    }

    fn ask(&mut self, c: usize, xid: i32, request: &Request) {
        let op = request.op();
        self.say(c, |w| {
            RequestHeader { xid: Xid(xid), op: op as i32 }.encode(w);
            request.encode(w);
        });
    }

    fn answer(&mut self, c: usize, op: OpCode) -> Option<(ReplyHeader, Option<Response>)> {
        let frame = self.frame(c)?;
        let mut r = Reader::new(&frame);
        let header = ReplyHeader::decode(&mut r).expect("a header");
        let response = (header.err == 0).then(|| Response::decode(op, &mut r).expect("a response"));
        Some((header, response))
    }

    fn call(&mut self, c: usize, xid: i32, request: &Request) -> (ReplyHeader, Option<Response>) {
        self.ask(c, xid, request);
        self.settle();
        self.answer(c, request.op()).expect("an answer")
    }
}

fn members(n: usize, observers: usize) -> String {
    let line = |s: usize| {
        let role = if s > n { "observer" } else { "participant" };
        format!("server.{s}=s{s}:2888:3888:{role}\n")
    };
    (1..=n + observers).map(line).chain(["version=0".to_owned()]).collect()
}

const EPHEMERAL: i32 = 1;

fn create(path: &str, flags: i32) -> Request {
    Request::Create(CreateRequest {
        op: CreateOp::Create,
        path: path.to_owned(),
        data: Some(Bytes::from_static(b"x")),
        acl: Some(vec![Acl::open()]),
        flags,
    })
}

fn get(path: &str) -> Request {
    Request::GetData { path: path.to_owned(), watch: false }
}

#[test]
fn an_ensemble_elects_serves_and_agrees() {
    let mut t = Cluster::new(&members(3, 1));
    t.pass(2000);
    let leader = t.leader();
    assert_eq!(leader, 2, "the largest id of equals");
    assert_eq!(t.role(0), Some(RoleName::Follower));
    assert_eq!(t.role(3), Some(RoleName::Observer));
    for s in 0..4 {
        let (c, session) = t.connect(s, None);
        assert_ne!(session.session, SessionId::NONE);
        assert_eq!(session.session.0 as u64 >> 56, s as u64 + 1);
        let path = format!("/a{s}");
        let (header, _) = t.call(c, 1, &create(&path, EPHEMERAL));
        assert_eq!(header.err, 0);
        let (header, _) = t.call(c, 2, &Request::Sync { path: Some("/".into()) });
        assert_eq!(header.err, 0);
        assert!(t.call(c, 3, &get(&path)).1.is_some());
        assert_eq!(t.call(c, 4, &create(&path, 0)).0.err, -110);
    }
    t.pass(200);
    let digests: Vec<u64> = t.servers.iter().flatten().map(|s| s.view().tree.digest()).collect();
    assert!(digests.iter().all(|d| *d == digests[0]), "{digests:x?}");
    // Clients that are gone lose their ephemerals everywhere.
    t.pass(10_000);
    assert!(t.servers.iter().flatten().all(|s| s.view().tree.get("/a0").is_none()));
}

#[test]
fn the_leaders_death_is_survived_by_sessions_and_data() {
    let mut t = Cluster::new(&members(3, 0));
    t.pass(2000);
    let (c, session) = t.connect(0, None);
    t.call(c, 1, &create("/a", 0));
    let leader = t.leader();
    t.kill(leader);
    t.pass(2000);
    assert!(t.clients[c].closed);
    let next = t.leader();
    assert_ne!(next, leader);
    for s in (0..3).filter(|s| *s != leader) {
        let (c, again) = t.connect(s, Some(&session));
        assert_eq!(again.session, session.session);
        assert!(t.call(c, 7, &get("/a")).1.is_some());
        assert_eq!(t.call(c, 8, &create(&format!("/b{s}"), 0)).0.err, 0);
    }
    // The session moved: its former connection is closed as soon as it writes.
    assert!(t.events.iter().any(|(_, e)| matches!(e, Event::SessionAttached { reattached: true, .. })));
}

#[test]
fn a_leader_that_is_told_to_stop_hands_over() {
    let mut t = Cluster::new(&members(3, 0));
    t.pass(2000);
    let leader = t.leader();
    let before = t.now;
    t.step(leader, Input::Admin { order: AdminOrder::Shutdown });
    t.pass(1);
    assert!(t.servers[leader].is_none());
    let mut waited = 0;
    while !(0..3).any(|s| t.role(s) == Some(RoleName::Leader)) {
        t.pass(10);
        waited += 10;
        assert!(waited < 1000, "no leader since {before:?}");
    }
    assert!(waited <= 300, "{waited} ms");
}

fn reconfig(joining: Option<&str>, leaving: Option<&str>) -> Request {
    let (joining, leaving) = (joining.map(str::to_owned), leaving.map(str::to_owned));
    Request::Reconfig { joining, leaving, new_members: None, config_id: -1 }
}

fn config_of(t: &Cluster, s: usize) -> String {
    let view = t.servers[s].as_ref().expect("it runs").view();
    let node = view.tree.get("/zookeeper/config").expect("it is always there");
    String::from_utf8(node.data.clone().unwrap_or_default().to_vec()).expect("text")
}

#[test]
fn members_join_and_leave_the_leader_too() {
    let mut t = Cluster::new(&members(3, 0));
    t.pass(2000);
    let (c, _) = t.connect(0, None);
    // A joiner knows the members and itself; it follows without a vote.
    let joiner = members(3, 0).replace("version", "server.4=s4:2888:3888:participant;2181\nversion");
    t.start(4, &joiner);
    t.pass(3000);
    assert_eq!(t.role(3), Some(RoleName::Follower));
    assert!(!config_of(&t, 3).contains("server.4"), "{}", config_of(&t, 3));
    let (header, response) = t.call(c, 1, &reconfig(Some("server.4=s4:2888:3888:participant;2181"), None));
    assert_eq!(header.err, 0);
    assert!(matches!(response, Some(Response::Data { .. })), "{response:?}");
    t.pass(1000);
    for s in 0..4 {
        assert!(config_of(&t, s).contains("server.4=s4"), "server {}: {}", s + 1, config_of(&t, s));
    }
    // The leader is told to leave by a client of its own: another one goes on at once.
    let leader = t.leader();
    let (c, _) = t.connect(leader, None);
    t.ask(c, 1, &reconfig(None, Some(&(leader + 1).to_string())));
    t.pass(300);
    let next = t.leader();
    assert_ne!(next, leader);
    t.pass(2000);
    assert_eq!(t.role(leader), Some(RoleName::Follower), "it goes on without a vote");
    assert!(!config_of(&t, next).contains(&format!("server.{}=", leader + 1)));
    // Three are left, one may fail.
    let (c, _) = t.connect(next, None);
    t.kill(leader);
    t.kill((0..4).find(|s| *s != next && *s != leader).expect("there are four"));
    assert_eq!(t.call(c, 1, &create("/after", 0)).0.err, 0);
}

#[test]
fn a_client_port_that_moves_and_a_limit_that_is_shared() {
    let mut t = Cluster::new(&members(3, 1));
    t.pass(2000);
    let limits: Vec<usize> = t.servers.iter().flatten().map(|s| s.base.outstanding_limit()).collect();
    assert_eq!(limits, [500, 500, 500, 1000], "voters have equal parts, observers all of it");
    let (c, _) = t.connect(0, None);
    assert_eq!(t.call(c, 1, &reconfig(Some("server.1=s1:2888:3888:participant;2199"), None)).0.err, 0);
    let port = |s: usize| t.servers[s].as_ref().expect("it runs").base.config.host.client_port;
    assert_eq!(port(0), 2199, "what conf shows");
    assert_ne!(port(1), 2199);
}

#[test]
fn local_sessions_are_upgraded_by_their_first_ephemeral() {
    let mut t = Cluster::with(&members(3, 0), true);
    t.pass(2000);
    let sessions = |t: &Cluster, s: usize| t.servers[s].as_ref().expect("it runs").view().sessions.len();
    for s in 0..3 {
        let (c, session) = t.connect(s, None);
        assert_eq!(t.call(c, 1, &create(&format!("/a{s}"), 0)).0.err, 0);
        assert_eq!(sessions(&t, s), 0, "nobody else knows it");
        // Elsewhere it is not known.
        let (_, refused) = t.connect((s + 1) % 3, Some(&session));
        assert_eq!(refused.session, SessionId::NONE);
        assert_eq!(t.call(c, 2, &create(&format!("/e{s}"), EPHEMERAL)).0.err, 0);
        assert_eq!(sessions(&t, s), 1);
        let (moved, again) = t.connect((s + 1) % 3, Some(&session));
        assert_eq!(again.session, session.session);
        assert_eq!(t.call(moved, 3, &Request::CloseSession).0.err, 0);
        t.pass(100);
        assert_eq!(sessions(&t, s), 0);
        // A local one closes without a transaction.
        let (c, _) = t.connect(s, None);
        let zxid = t.call(c, 1, &get("/a0")).0.zxid;
        assert_eq!(t.call(c, 2, &Request::CloseSession).0.zxid, zxid);
        assert!(t.clients[c].closed);
    }
}

#[test]
fn a_server_without_its_ensemble_may_be_read() {
    let mut t = Cluster::with(&members(3, 0), true);
    t.pass(2000);
    let (c, _) = t.connect(0, None);
    t.call(c, 1, &create("/a", 0));
    t.kill(1);
    t.kill(2);
    t.pass(5000);
    let (c, session) = t.connect(0, None);
    assert_ne!(session.session, SessionId::NONE);
    assert_eq!(session.read_only, Some(true));
    assert!(t.call(c, 1, &get("/a")).1.is_some());
    assert_eq!(t.call(c, 2, &create("/b", 0)).0.err, -119);
    assert_eq!(t.call(c, 3, &Request::Sync { path: Some("/".into()) }).0.err, -119);
    assert_eq!(t.call(c, 4, &Request::CloseSession).0.err, 0);
}

#[test]
fn sessions_go_on_at_a_server_without_its_ensemble() {
    let mut t = Cluster::with(&members(3, 0), true);
    t.pass(2000);
    let (c, session) = t.connect(1, None);
    assert_eq!(t.call(c, 1, &create("/e", EPHEMERAL)).0.err, 0);
    t.kill(1);
    t.kill(2);
    t.pass(5000);
    let (c, again) = t.connect(0, Some(&session));
    assert_eq!((again.session, again.read_only), (session.session, Some(true)));
    assert!(t.call(c, 1, &get("/e")).1.is_some());
    // A multi that cannot be read, in it a write of another kind.
    let unread = Request::Multi(vec![create("/f", 9)]);
    assert_eq!(t.call(c, 2, &unread).0.err, -5);
    assert_eq!(t.call(c, 3, &Request::CloseSession).0.err, -119);
}
