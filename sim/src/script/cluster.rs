//! An ensemble that moves only as it is told: real servers, disks in memory, connections whose bytes wait in one queue or,
//! between two servers that are held apart, for a command of their own.

use super::words;
use crate::disk::Disk;
use crate::random::{Purpose, Stream};
use crate::shape::MASTER_PORT;
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use zebu_core::addr::Addr;
use zebu_core::boundary::{
    AdminOrder, Conn, DiskOp, Event, Input, Lane, Output, PeerInfo, Port, ReadNo, Ticket,
};
use zebu_core::config::{Config, EnsembleConfig};
use zebu_core::disk::recover;
use zebu_core::id::ServerId;
use zebu_core::proto::{PacketReader, PacketType, SnapshotPart, SnapshotReader};
use zebu_core::quorum::{ConfigRules, QuorumVerifier};
use zebu_core::server::Server;
use zebu_core::time::{Millis, Now, Span, Time};

/// No packet of a story is longer.
const MAX_PACKET: usize = 1 << 20;
/// More steps than any command of a story takes: something goes round in circles.
const MOST_STEPS: usize = 1_000_000;

/// The other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum End {
    /// Of a server, in one of its lives.
    Server { s: usize, life: u32, conn: Conn },
    /// Of the client with this number.
    Client(usize),
}

/// What waits to happen.
#[derive(Debug)]
enum Due {
    /// A dial arrives where it goes to.
    Dialled {
        from: End,
        to: usize,
        port: Port,
    },
    /// It is known to the dialler that it came through.
    Opened {
        to: End,
        port: Port,
    },
    Packet {
        to: End,
        packet: Packet,
    },
    Closed {
        to: End,
    },
    Durable {
        s: usize,
        life: u32,
        lane: Lane,
        upto: Ticket,
    },
    Read {
        s: usize,
        life: u32,
        read: ReadNo,
        bytes: Option<Bytes>,
    },
}

/// Bytes on their way.
#[derive(Debug)]
struct Packet {
    bytes: Bytes,
    /// Between servers, what they say.
    label: Option<String>,
}

/// A direction of a connection, as an eavesdropper reads it.
#[derive(Debug)]
enum Ear {
    Packets(PacketReader),
    /// A snapshot follows its packet.
    Snapshot(SnapshotReader, BytesMut),
}

#[derive(Debug)]
struct Wire {
    other: End,
    port: Port,
    ear: Ear,
}

/// What a client was sent.
#[derive(Debug)]
pub(super) struct ToClient {
    pub(super) client: usize,
    /// `None`: the connection ended.
    pub(super) bytes: Option<Bytes>,
    /// The place in the log that is kept for what the client makes of it.
    pub(super) at: usize,
}

/// A server and its machine.
#[derive(Debug)]
struct Node {
    server: Option<Server>,
    config: Config,
    life: u32,
    disk: Disk,
    lanes: [VecDeque<DiskOp>; 2],
    /// Its syncs wait for a command.
    held: bool,
}

/// What a story's ensemble is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shape {
    pub(super) voters: usize,
    pub(super) observers: usize,
    /// commitLogCount.
    pub(super) window: usize,
    /// The last counter of an epoch.
    pub(super) counter: u32,
    /// snapCount.
    pub(super) snap: u64,
    /// snapshotSizeFactor, in thousandths.
    pub(super) factor: u64,
    /// forceSnapshotSync.
    pub(super) force: bool,
    /// Observers learn from followers.
    pub(super) masters: bool,
    /// leaderServes.
    pub(super) serves: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Cluster {
    shape: Shape,
    nodes: Vec<Node>,
    now: Time,
    wires: BTreeMap<End, Wire>,
    dialling: BTreeSet<End>,
    queue: VecDeque<Due>,
    held: BTreeMap<(usize, usize), VecDeque<Due>>,
    cut: BTreeSet<(usize, usize)>,
    /// On these ways all is lost and nobody is told.
    silent: BTreeSet<(usize, usize)>,
    accepted: u64,
    pub(super) to_clients: VecDeque<ToClient>,
    pub(super) log: Vec<String>,
    /// Events and packets are written to the log.
    pub(super) loud: bool,
}

fn peer() -> PeerInfo {
    PeerInfo { addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 9)) }
}

/// The line of a member in a configuration.
pub(super) fn member(sid: usize, role: &str) -> String {
    format!("server.{sid}=s{sid}:2888:3888:{role};2181")
}

fn parse(text: &str) -> Result<QuorumVerifier, String> {
    QuorumVerifier::parse(text, ConfigRules::default()).map_err(|bad| format!("{bad:?}"))
}

impl Cluster {
    /// Servers that were never started.
    pub(super) fn new(shape: Shape) -> Result<Cluster, String> {
        let mut cluster = Cluster {
            shape,
            nodes: Vec::new(),
            now: Time(0),
            wires: BTreeMap::new(),
            dialling: BTreeSet::new(),
            queue: VecDeque::new(),
            held: BTreeMap::new(),
            cut: BTreeSet::new(),
            silent: BTreeSet::new(),
            accepted: 0,
            to_clients: VecDeque::new(),
            log: Vec::new(),
            loud: true,
        };
        let members = cluster.members(None);
        for sid in 1..=shape.voters + shape.observers {
            cluster.add(sid, &members)?;
        }
        Ok(cluster)
    }

    /// The first configuration; with a joiner that counts itself in.
    pub(super) fn members(&self, joiner: Option<usize>) -> String {
        let all = self.shape.voters + self.shape.observers;
        let role =
            |sid: usize| if sid > self.shape.voters && sid <= all { "observer" } else { "participant" };
        let lines = (1..=all).chain(joiner).map(|sid| member(sid, role(sid)) + "\n");
        lines.chain(["version=0".to_owned()]).collect()
    }

    /// One more server, with a configuration of its own.
    pub(super) fn add(&mut self, sid: usize, members: &str) -> Result<(), String> {
        let mut ensemble = EnsembleConfig::new(parse(members)?);
        ensemble.reconfig_enabled = true;
        ensemble.commit_log_count = self.shape.window;
        ensemble.last_counter = self.shape.counter;
        ensemble.snapshot_size_factor = Some(self.shape.factor);
        ensemble.force_snapshot_sync = self.shape.force;
        ensemble.observer_master_port = self.shape.masters.then_some(MASTER_PORT);
        ensemble.leader_serves = self.shape.serves;
        let config = Config {
            server_id: ServerId(sid as i64),
            tick_ms: 200,
            skip_acl: true,
            snap_count: self.shape.snap,
            ensemble: Some(ensemble),
            ..Config::default()
        };
        self.nodes.push(Node {
            server: None,
            config,
            life: 0,
            disk: Disk::default(),
            lanes: [VecDeque::new(), VecDeque::new()],
            held: false,
        });
        Ok(())
    }

    /// The index of a server by its id.
    pub(super) fn index(&self, word: &str) -> Result<usize, String> {
        let known = word.parse().ok().filter(|sid| (1..=self.nodes.len()).contains(sid));
        known.map(|sid| sid - 1).ok_or_else(|| format!("{word} is no server"))
    }

    pub(super) fn count(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn view(&self, s: usize) -> Option<zebu_core::server::View<'_>> {
        self.nodes[s].server.as_ref().map(Server::view)
    }

    pub(super) fn disk(&self, s: usize) -> &Disk {
        &self.nodes[s].disk
    }

    /// A line about a server.
    fn tell(&mut self, line: String) {
        if self.loud {
            self.log.push(line);
        }
    }

    fn tell_client(&mut self, client: usize, bytes: Option<Bytes>) {
        self.to_clients.push_back(ToClient { client, bytes, at: self.log.len() });
        self.log.push(String::new());
    }

    // ---- servers ----

    /// Starts a server on what its disk holds.
    pub(super) fn start(&mut self, s: usize) -> Result<(), String> {
        let node = &mut self.nodes[s];
        if node.server.is_some() {
            return Err("it runs already".to_owned());
        }
        node.life += 1;
        let recovered = recover(&node.disk.view(false), &node.config, 7).map_err(|e| e.to_string())?;
        let (last, accepted, current) =
            (recovered.last_zxid, recovered.accepted_epoch, recovered.current_epoch);
        let epoch = |e: Option<i64>| e.map_or_else(|| "-".to_owned(), |e| e.to_string());
        let line = format!(
            "{} starts: log ends at {}, accepted epoch {}, current epoch {}",
            s + 1,
            words::z(last),
            epoch(accepted),
            epoch(current)
        );
        let now = Now { mono: self.now, wall: Millis(self.now.as_millis() as i64) };
        node.server = Some(Server::new(node.config.clone(), recovered, [s as u8 + 1; 32], now));
        self.tell(line);
        self.step(s, Input::Wake);
        Ok(())
    }

    /// The process ends. The system keeps what it was given to write; with `power` it is gone too, unless it was synced.
    pub(super) fn kill(&mut self, s: usize, power: bool) {
        let node = &mut self.nodes[s];
        node.server = None;
        node.lanes.iter_mut().for_each(VecDeque::clear);
        if power {
            node.disk.worst_cut(&mut Stream::new(0, Purpose::Fault, s as u64, 0));
        }
        let mine = |e: &End| matches!(e, End::Server { s: at, .. } if *at == s);
        self.dialling.retain(|e| !mine(e));
        let ends: Vec<End> = self.wires.keys().copied().filter(mine).collect();
        ends.into_iter().for_each(|e| self.close(e));
    }

    /// A new, empty disk.
    pub(super) fn wipe(&mut self, s: usize) {
        self.nodes[s].disk.wipe();
    }

    /// Tells a server to stop.
    pub(super) fn shut_down(&mut self, s: usize) {
        self.step(s, Input::Admin { order: AdminOrder::Shutdown });
    }

    fn step(&mut self, s: usize, input: Input<'_>) {
        let now = Now { mono: self.now, wall: Millis(self.now.as_millis() as i64) };
        let mut out = Vec::new();
        let Some(server) = &mut self.nodes[s].server else { return };
        server.step(now, input, &mut out);
        out.into_iter().for_each(|o| self.carry_out(s, o));
        self.work(s, usize::MAX);
    }

    fn end(&self, s: usize, conn: Conn) -> End {
        End::Server { s, life: self.nodes[s].life, conn }
    }

    fn carry_out(&mut self, s: usize, output: Output) {
        match output {
            Output::Dial { conn, to, port } => self.dial(s, conn, &to, port),
            Output::Send { conn, bytes } => self.send(self.end(s, conn), &bytes),
            Output::Close { conn } => self.close(self.end(s, conn)),
            Output::Disk { lane, op } => self.nodes[s].lanes[lane as usize].push_back(op),
            Output::Event(event) => self.event(s, &event),
            Output::Stop(stop) => {
                self.tell(format!("{} stops: {stop}", s + 1));
                // What it had asked the disk for goes its way.
                self.work(s, usize::MAX);
                self.kill(s, false);
            }
            Output::Read { read, file, at, len } => {
                let bytes = self.nodes[s].disk.read(file, at, len).map(Bytes::copy_from_slice);
                self.queue.push_back(Due::Read { s, life: self.nodes[s].life, read, bytes });
            }
            Output::Pause { .. } => {}
        }
    }

    fn event(&mut self, s: usize, event: &Event) {
        if let Event::Reconfigured { text } = event
            && let (Ok(members), Some(ensemble)) = (parse(text), &mut self.nodes[s].config.ensemble)
        {
            ensemble.members = members;
        }
        if let Some(text) = words::event(event) {
            self.tell(format!("{} {text}", s + 1));
        }
    }

    // ---- disks ----

    /// Keeps a disk's syncs waiting, or lets them go.
    pub(super) fn hold_disk(&mut self, s: usize, held: bool) {
        self.nodes[s].held = held;
        self.work(s, usize::MAX);
    }

    /// Lets `count` syncs of a held disk through.
    pub(super) fn sync_disk(&mut self, s: usize, count: usize) -> Result<(), String> {
        for _ in 0..count {
            let node = &mut self.nodes[s];
            let waiting = node.lanes[Lane::Log as usize].front();
            if !node.held || waiting.is_none() {
                return Err("nothing waits for a sync there".to_owned());
            }
            let what = match waiting {
                Some(DiskOp::Sync { file, .. }) => file.to_string(),
                Some(_) | None => "its folder".to_owned(),
            };
            self.tell(format!("{} syncs {what}", s + 1));
            self.work(s, 1);
        }
        Ok(())
    }

    /// Carries out disk operations; in a held disk up to the first sync that `syncs` does not pay for.
    fn work(&mut self, s: usize, syncs: usize) {
        for lane in [Lane::Log, Lane::Bulk] {
            let node = &mut self.nodes[s];
            let mut left = match (node.held, syncs) {
                (true, usize::MAX) => 0,
                (true, n) if lane == Lane::Log => n,
                (true, _) => 0,
                (false, _) => usize::MAX,
            };
            while let Some(op) = node.lanes[lane as usize].front() {
                let syncs = matches!(op, DiskOp::Sync { .. } | DiskOp::SyncDir { .. });
                if syncs && left == 0 {
                    break;
                }
                left -= usize::from(syncs);
                let op = node.lanes[lane as usize].pop_front().expect("it is the front");
                if let Some(upto) = operate(&mut node.disk, &op) {
                    self.queue.push_back(Due::Durable { s, life: node.life, lane, upto });
                }
            }
        }
    }

    // ---- connections ----

    fn dial(&mut self, s: usize, conn: Conn, to: &Addr, port: Port) {
        let from = self.end(s, conn);
        let target = to.host.get(1..).and_then(|sid| self.index(sid).ok());
        match target {
            Some(to) if self.nodes[to].server.is_some() && !self.cut.contains(&(s, to)) => {
                self.dialling.insert(from);
                if !self.silent.contains(&(s, to)) {
                    self.queue.push_back(Due::Dialled { from, to, port });
                }
            }
            Some(_) | None => self.queue.push_back(Due::Closed { to: from }),
        }
    }

    /// The next number of an accepted connection.
    fn accept(&mut self, s: usize) -> End {
        self.accepted += 1;
        self.end(s, Conn::accepted(self.accepted))
    }

    fn wire(&mut self, a: End, b: End, port: Port) {
        for (one, other) in [(a, b), (b, a)] {
            let ear = Ear::Packets(PacketReader::new(MAX_PACKET));
            self.wires.insert(one, Wire { other, port, ear });
        }
    }

    /// A client's connection.
    pub(super) fn client(&mut self, c: usize, s: usize) -> End {
        let end = self.accept(s);
        self.wire(End::Client(c), end, Port::Client);
        if let End::Server { conn, .. } = end {
            self.step(s, Input::Opened { conn, port: Port::Client, peer: peer() });
        }
        end
    }

    /// What one end says to the other.
    pub(super) fn send(&mut self, from: End, bytes: &[u8]) {
        let Some(wire) = self.wires.get_mut(&from) else { return };
        let (to, port) = (wire.other, wire.port);
        let packets = match port {
            Port::Quorum | Port::ObserverMaster => overhear(&mut wire.ear, bytes),
            Port::Client | Port::Election => {
                vec![Packet { bytes: Bytes::copy_from_slice(bytes), label: None }]
            }
        };
        for packet in packets {
            self.put(way(from, to), port, Due::Packet { to, packet });
        }
    }

    /// One end is closed: the other one learns of it after what was said before.
    pub(super) fn close(&mut self, end: End) {
        self.dialling.remove(&end);
        if let Some(Wire { other, port, .. }) = self.wires.remove(&end) {
            self.put(way(end, other), port, Due::Closed { to: other });
        }
    }

    /// Queues what goes from one server to another, behind what is held there.
    fn put(&mut self, way: Option<(usize, usize)>, port: Port, due: Due) {
        if way.is_some_and(|way| self.silent.contains(&way)) {
            return;
        }
        match way.and_then(|way| self.held.get_mut(&way)) {
            Some(held) if matches!(port, Port::Quorum | Port::ObserverMaster) => held.push_back(due),
            Some(_) | None => self.queue.push_back(due),
        }
    }

    /// From here on what leaders and learners say on this way waits.
    pub(super) fn hold(&mut self, way: (usize, usize)) {
        self.held.entry(way).or_default();
    }

    /// What waits on this way goes on, and what comes later too.
    pub(super) fn release(&mut self, way: (usize, usize)) {
        self.queue.extend(self.held.remove(&way).unwrap_or_default());
    }

    /// What waits on this way is lost, but for the ends of connections; what comes later goes on.
    pub(super) fn lose(&mut self, way: (usize, usize)) {
        let held = self.held.remove(&way).unwrap_or_default();
        self.queue.extend(held.into_iter().filter(|due| matches!(due, Due::Closed { .. })));
    }

    /// Delivers what waits on a way, up to the `count`th packet that begins with this word.
    pub(super) fn deliver(&mut self, way: (usize, usize), word: &str, count: usize) -> Result<(), String> {
        let held = self.held.get_mut(&way).ok_or("that way is not held")?;
        let is_it = |due: &Due| match due {
            Due::Packet { packet: Packet { label: Some(label), .. }, .. } => label.starts_with(word),
            Due::Packet { .. }
            | Due::Dialled { .. }
            | Due::Opened { .. }
            | Due::Closed { .. }
            | Due::Read { .. }
            | Due::Durable { .. } => false,
        };
        let last = held.iter().enumerate().filter(|(_, due)| is_it(due)).nth(count - 1);
        let last = last.map(|(i, _)| i).ok_or_else(|| format!("no {word} waits there"))?;
        self.queue.extend(held.drain(..=last));
        Ok(())
    }

    /// Breaks the connections between two servers; none comes through from here on.
    pub(super) fn cut(&mut self, a: usize, b: usize) {
        self.cut.extend([(a, b), (b, a)]);
        for way in [(a, b), (b, a)] {
            if let Some(held) = self.held.get_mut(&way) {
                held.clear();
            }
        }
        self.break_all(|way| way == (a, b) || way == (b, a));
    }

    /// Whatever is said between two servers is lost from here on; their connections seem to be there.
    pub(super) fn silence(&mut self, a: usize, b: usize) {
        self.silent.extend([(a, b), (b, a)]);
    }

    /// All connections come through again. Those that have lost something are broken.
    pub(super) fn heal(&mut self) {
        self.cut.clear();
        let silent = std::mem::take(&mut self.silent);
        self.break_all(|way| silent.contains(&way));
    }

    /// Both ends of the connections between some servers learn that they are broken.
    fn break_all(&mut self, between: impl Fn((usize, usize)) -> bool) {
        let broken = self.wires.iter().filter(|(end, wire)| way(**end, wire.other).is_some_and(&between));
        let closed: Vec<Due> = broken.map(|(end, _)| Due::Closed { to: *end }).collect();
        self.queue.extend(closed);
    }

    // ---- time ----

    fn lives(&self, s: usize, life: u32) -> bool {
        self.nodes[s].life == life && self.nodes[s].server.is_some()
    }

    /// Everything that is not held happens.
    pub(super) fn settle(&mut self) {
        for _ in 0..MOST_STEPS {
            let Some(due) = self.queue.pop_front() else { return };
            self.happen(due);
        }
        panic!("the servers do not come to rest");
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Dialled { from, to, port } => self.dialled(from, to, port),
            Due::Opened { to, port } => {
                if let (true, End::Server { s, conn, .. }) = (self.wires.contains_key(&to), to) {
                    self.step(s, Input::Opened { conn, port, peer: peer() });
                }
            }
            Due::Packet { to, packet } => self.arrive(to, &packet),
            Due::Closed { to } => {
                let known = self.dialling.remove(&to) | self.wires.remove(&to).is_some();
                match to {
                    End::Client(c) if known => self.tell_client(c, None),
                    End::Client(_) => {}
                    End::Server { s, life, conn } => {
                        // A failed dial has no wire.
                        if self.lives(s, life) {
                            self.step(s, Input::Closed { conn });
                        }
                    }
                }
            }
            Due::Read { s, life, read, bytes } => {
                if self.lives(s, life) {
                    self.step(s, Input::Read { read, bytes: bytes.as_deref() });
                }
            }
            Due::Durable { s, life, lane, upto } => {
                if self.lives(s, life) {
                    self.step(s, Input::Durable { lane, upto });
                }
            }
        }
    }

    fn dialled(&mut self, from: End, to: usize, port: Port) {
        if !self.dialling.remove(&from) {
            return;
        }
        if self.nodes[to].server.is_none() {
            return self.queue.push_back(Due::Closed { to: from });
        }
        let listener = self.accept(to);
        self.wire(from, listener, port);
        self.queue.push_back(Due::Opened { to: from, port });
        if let End::Server { conn, .. } = listener {
            self.step(to, Input::Opened { conn, port, peer: peer() });
        }
    }

    fn arrive(&mut self, to: End, packet: &Packet) {
        let Some(wire) = self.wires.get(&to) else { return };
        match (to, wire.other) {
            (End::Client(c), _) => self.tell_client(c, Some(packet.bytes.clone())),
            (End::Server { s, conn, .. }, from) => {
                if let (Some(label), End::Server { s: from, .. }) = (&packet.label, from) {
                    self.tell(format!("{}>{} {label}", from + 1, s + 1));
                }
                self.step(s, Input::Received { conn, bytes: &packet.bytes });
            }
        }
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, ms: u64) {
        let until = self.now + Span::from_millis(ms);
        for _ in 0..MOST_STEPS {
            self.settle();
            let wakes = self.nodes.iter().enumerate().filter_map(|(s, node)| {
                node.server.as_ref().and_then(Server::next_wake).map(|(at, _)| (at, s))
            });
            match wakes.min() {
                Some((at, s)) if at <= until => {
                    self.now = self.now.max(at);
                    self.step(s, Input::Wake);
                }
                Some(_) | None => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("the servers do not come to rest");
    }
}

/// The way between two servers.
fn way(from: End, to: End) -> Option<(usize, usize)> {
    match (from, to) {
        (End::Server { s: a, .. }, End::Server { s: b, .. }) => Some((a, b)),
        (End::Client(_), _) | (_, End::Client(_)) => None,
    }
}

/// Carries out a disk operation; the ticket that is durable by it.
fn operate(disk: &mut Disk, op: &DiskOp) -> Option<Ticket> {
    let found = match op {
        DiskOp::Create { file } => {
            disk.create(*file);
            true
        }
        DiskOp::Append { file, bytes } => disk.append(*file, bytes),
        DiskOp::Truncate { file, len } => disk.truncate(*file, *len),
        DiskOp::Rename { from, to } => disk.rename(*from, *to),
        DiskOp::Remove { file } => {
            disk.remove(*file);
            true
        }
        DiskOp::Sync { file, ticket } => {
            assert!(disk.sync(*file, false), "{file} is not there");
            return Some(*ticket);
        }
        DiskOp::SyncDir { dir, ticket } => {
            disk.sync_dir(*dir, false);
            return Some(*ticket);
        }
    };
    assert!(found, "{op:?}: there is no such file");
    None
}

/// Cuts what was said into packets; a snapshot is one, without a label.
fn overhear(ear: &mut Ear, bytes: &[u8]) -> Vec<Packet> {
    const READABLE: &str = "servers say what can be read";
    let mut out = Vec::new();
    match ear {
        Ear::Packets(reader) => reader.feed(bytes),
        Ear::Snapshot(reader, raw) => {
            reader.feed(bytes);
            raw.extend_from_slice(bytes);
        }
    }
    loop {
        match ear {
            Ear::Packets(reader) => {
                let Some(packet) = reader.next_packet().expect(READABLE) else { return out };
                let mut bytes = BytesMut::new();
                packet.encode(&mut bytes);
                out.push(Packet { bytes: bytes.freeze(), label: words::packet(&packet) });
                if packet.kind == PacketType::Snap {
                    let rest = reader.take_rest();
                    *ear = Ear::Snapshot(SnapshotReader::new(rest.clone(), MAX_PACKET), rest);
                }
            }
            Ear::Snapshot(reader, raw) => match reader.next_part().expect(READABLE) {
                SnapshotPart::Wait => return out,
                SnapshotPart::Record(_) => {}
                SnapshotPart::End => {
                    let rest = reader.take_rest();
                    raw.truncate(raw.len() - rest.len());
                    out.push(Packet { bytes: std::mem::take(raw).freeze(), label: None });
                    let mut packets = PacketReader::new(MAX_PACKET);
                    packets.feed(&rest);
                    *ear = Ear::Packets(packets);
                }
            },
        }
    }
}
