//! Servers of the world: the product's core between a disk, two clocks and the network.

use super::links::{CLIENT_PORT, accepted};
use super::promises::Promised;
use super::{World, client};
use crate::clock::Clock;
use crate::disk::{Disk, Lanes, RunEnd};
use crate::history::{CrashKind, Entry, Image, Restored};
use crate::nemesis::Moment;
use crate::net::{Near, WireState};
use crate::outcome::Hit;
use crate::queue::Due;
use crate::random::{Purpose, Stream};
use crate::trace;
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};
use zebu_core::boundary::{
    AdminOrder, FileName, Input, Lane, Output, PeerInfo, Port, ReadNo, RoleName, Stop,
};
use zebu_core::config::Config;
use zebu_core::disk::{Recovered, recover};
use zebu_core::id::{Epoch, ServerId, Zxid};
use zebu_core::quorum::QuorumVerifier;
use zebu_core::server::Server;
use zebu_core::time::{Now, Time};

/// A server that is woken so often at one moment waits for something that its waking does not bring.
const MOST_WAKES: u32 = 100;

/// A server of the world.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: ServerId,
    pub(super) config: Config,
    /// Its dynamic file: the last configuration that it went by and was in.
    file: Option<QuorumVerifier>,
    /// The running process.
    pub(super) server: Option<Server>,
    /// Starts so far.
    pub(super) incarnation: u32,
    /// Its machine has power.
    pub(super) host_up: bool,
    pub(super) clock: Clock,
    pub(super) disk: Disk,
    pub(super) lanes: Lanes,
    /// Connections that this process has dialled, in order.
    pub(super) dials: Vec<u32>,
    /// Connections that all its processes have dialled.
    pub(super) dialled: u64,
    /// When the earliest scheduled wake-up comes.
    wake_due: u64,
    /// When it was woken last, and how often at that time.
    woken_at: u64,
    wakes: u32,
    /// Pieces of files that this process has asked for.
    reads: Vec<Piece>,
    /// It does nothing before this true time.
    pub(super) frozen_until: u64,
    /// It refuses connections up to this true time.
    pub(super) refuses_until: u64,
    /// Reading files fails at the next start.
    pub(super) read_error: bool,
    /// Deaths that wait for their moment.
    pub(super) armed: Vec<Armed>,
    /// It was told to stop, and how long it stays down then.
    stopping: Option<u64>,
    /// The run goes on without it: dead or cut off for good.
    pub(super) abandoned: bool,
    /// What it said last that it is.
    pub(super) role: RoleName,
    /// The epoch that it serves clients in, or served last.
    pub(super) epoch: Epoch,
    /// Since when it has been serving.
    pub(super) serving_since: u64,
    /// It serves clients.
    pub(super) serving: bool,
    /// How it was brought up to date in this role: cut off, by snapshot.
    pub(super) truncated: bool,
    pub(super) installed: bool,
    /// Up to there its log may have gaps: a snapshot has them.
    pub(super) log_gap: Zxid,
    /// The durable image that the history was told last, and whether it may have changed since.
    pub(super) image: Image,
    pub(super) image_stale: bool,
    /// What it has, or may have vouched for.
    pub(super) promised: Promised,
    /// The next promise is the first since a turn that asks for a shadow recovery.
    pub(super) shadow_next: bool,
    pub(super) shadows: u64,
}

/// A piece of a file.
#[derive(Clone, Copy, Debug)]
struct Piece {
    read: ReadNo,
    file: FileName,
    at: u64,
    len: usize,
}

/// A death that waits for its moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Armed {
    /// Which fault.
    pub(super) fault: u16,
    pub(super) moment: Moment,
}

impl Node {
    /// A configuration is in force here.
    pub(super) fn keep_file(&mut self, text: &str) {
        let Some(e) = &self.config.ensemble else { return };
        let members = QuorumVerifier::parse(text, e.rules).expect("the core's own text");
        // Who is in it no more starts with what it had.
        if members.member(self.id).is_some() {
            self.file = Some(members);
        }
    }

    /// The version of the configuration that it last went by.
    pub(super) fn goes_by(&self) -> i64 {
        self.file.as_ref().map_or(0, |members| members.version)
    }

    /// What the next process starts with.
    fn settings(&self) -> Config {
        let mut config = self.config.clone();
        if let (Some(e), Some(members)) = (&mut config.ensemble, &self.file) {
            e.members = members.clone();
        }
        config
    }

    /// A machine that was just switched on.
    pub(super) fn new(config: Config, lanes: Lanes, clock: Clock, disk: Disk) -> Node {
        Node {
            id: config.server_id,
            config,
            file: None,
            server: None,
            incarnation: 0,
            host_up: true,
            clock,
            disk,
            lanes,
            dials: Vec::new(),
            dialled: 0,
            wake_due: u64::MAX,
            woken_at: 0,
            wakes: 0,
            reads: Vec::new(),
            frozen_until: 0,
            refuses_until: 0,
            read_error: false,
            armed: Vec::new(),
            stopping: None,
            abandoned: false,
            role: RoleName::Looking,
            epoch: Epoch(0),
            serving_since: 0,
            serving: false,
            truncated: false,
            installed: false,
            log_gap: Zxid::ZERO,
            image: Image::default(),
            image_stale: true,
            promised: Promised::default(),
            shadow_next: true,
            shadows: 0,
        }
    }

    /// What listens at a port of its machine.
    pub(super) fn listens(&self, port: u16) -> Option<Port> {
        if port == CLIENT_PORT {
            return Some(Port::Client);
        }
        let ensemble = self.config.ensemble.as_ref()?;
        if ensemble.observer_master_port == Some(port) {
            return Some(Port::ObserverMaster);
        }
        let member = ensemble.members.member(self.id)?;
        let addr = member.addrs.iter().find(|a| port == a.quorum_port || port == a.election_port)?;
        Some(if port == addr.quorum_port { Port::Quorum } else { Port::Election })
    }
}

impl World {
    pub(super) fn server_id(&self, s: usize) -> ServerId {
        self.nodes[s].id
    }

    /// Starts a server on what its disk holds.
    pub(super) fn start_server(&mut self, s: usize) {
        if self.nodes[s].server.is_some() || self.nodes[s].abandoned {
            return;
        }
        let (id, at) = (self.server_id(s), Time(self.now));
        self.host_returns(s);
        let node = &mut self.nodes[s];
        if std::mem::take(&mut node.read_error) {
            self.coverage.hit(Hit::ReadError);
            let outcome = recover(&node.disk.view(true), &node.config, 0);
            assert!(outcome.is_err(), "recovery read what cannot be read");
            return self.start_later(s, 50_000_000);
        }
        let incarnation = node.incarnation;
        node.incarnation += 1;
        self.history.push(at, Entry::Restart { server: id, incarnation });
        let name = (s as u64) << 32 | u64::from(incarnation);
        let mut seeds = Stream::new(self.plan.seed, Purpose::Server, name, 0);
        let recovered = match recover(&node.disk.view(false), &node.config, seeds.u64()) {
            Ok(recovered) => recovered,
            Err(refusal) => {
                self.coverage.hit(Hit::RecoveryRefused);
                self.hash.word(0x21);
                let why = self.history.text(refusal.to_string());
                self.history.push(at, Entry::Refused { server: id, why });
                return self.start_later(s, 1_000_000_000);
            }
        };
        self.recovered(s, &recovered);
        self.nodes[s].lanes = super::lanes(&self.plan, s, incarnation);
        if self.healed_at.is_some() {
            self.nodes[s].lanes.keep_up();
        }
        if self.is_calm {
            self.nodes[s].lanes.calm();
        }
        self.apply_disk_faults(s);
        let node = &mut self.nodes[s];
        node.shadow_next = true;
        node.stopping = None;
        node.dials.clear();
        node.reads.clear();
        node.role = RoleName::Looking;
        let now = node.clock.now(self.now);
        node.server = Some(Server::new(node.settings(), recovered, seeds.seed(), now));
        self.show_clock(s);
        self.step_server(s, Input::Wake);
    }

    /// Tells the history how the clocks of a server go.
    pub(super) fn show_clock(&mut self, s: usize) {
        let (server, clock) = (self.server_id(s), &self.nodes[s].clock);
        let (Now { mono, wall }, ppm) = (clock.now(self.now), clock.ppm());
        self.history.push(Time(self.now), Entry::Clock { server, mono, wall, ppm });
    }

    /// Tells the history what recovery found.
    fn recovered(&mut self, s: usize, recovered: &Recovered) {
        self.coverage.hit(Hit::Recovery);
        self.coverage.hits(Hit::RecoveryNote, recovered.notes.len() as u64);
        let found = Restored::of(recovered);
        self.hash.word(0x22 ^ (found.last.0 as u64) << 8);
        self.hash.word(found.digest);
        let node = &mut self.nodes[s];
        // A snapshot can be durable before what it holds is in the log.
        if node.disk.last_logged().is_none_or(|logged| logged < found.last) {
            node.log_gap = found.last;
        }
        node.promised = Promised { last: found.last, accepted: found.accepted, current: found.current };
        let above = self.committed;
        let tail = if found.last.0 > above { node.disk.log_bodies(above, found.last.0) } else { Vec::new() };
        self.history.recovered(Time(self.now), node.id, found, tail);
    }

    /// Its machine has power again: connections that died with it are reset when the other side speaks.
    fn host_returns(&mut self, s: usize) {
        let node = &mut self.nodes[s];
        let mono = match (node.host_up, self.plan.clocks[s].restarts) {
            (true, false) => None,
            (false, _) | (true, true) => Some(Time(0)),
        };
        node.host_up = true;
        node.clock.restart(self.now, mono);
        self.light_returns(s);
    }

    pub(super) fn start_later(&mut self, s: usize, after: u64) {
        self.queue.push(self.now + after, Due::Start { server: s as u8 });
    }

    /// Steps a server and carries out what it asks for.
    pub(super) fn step_server(&mut self, s: usize, input: Input<'_>) {
        let node = &mut self.nodes[s];
        let Some(server) = &mut node.server else { return };
        let mut out = std::mem::take(&mut self.server_out);
        out.clear();
        server.step(node.clock.now(self.now), input, &mut out);
        let cut = self.death_in(s, &out);
        for (i, output) in out.drain(..).enumerate() {
            if cut.is_some_and(|(_, after)| after == i) || self.nodes[s].server.is_none() {
                break;
            }
            self.hash.output(&output);
            if self.loud {
                trace::print_output(self.server_id(s), &output);
            }
            self.carry_out(s, output);
        }
        self.server_out = out;
        if let Some((fault, _)) = cut {
            self.coverage.hit(Hit::MidStep);
            self.start_lanes(s);
            self.die_armed(s, fault);
            return;
        }
        self.start_lanes(s);
        self.schedule_server(s);
    }

    /// Is a death armed for a moment in this step? Which one, and after how many outputs.
    fn death_in(&mut self, s: usize, out: &[Output]) -> Option<(u16, usize)> {
        let armed = &mut self.nodes[s].armed;
        if armed.is_empty() || out.is_empty() {
            return None;
        }
        let meets = |moment: Moment| match moment {
            Moment::Outputs(after) => Some(after),
            Moment::DiskOutputs(lane, after) => {
                out.iter().any(|o| matches!(o, Output::Disk { lane: l, .. } if *l == lane)).then_some(after)
            }
            Moment::News(news, after) => out
                .iter()
                .any(|o| matches!(o, Output::Event(e) if super::news::is_news(news, e)))
                .then_some(after),
            Moment::Now | Moment::Sync(..) => None,
        };
        let (i, after) = armed.iter().enumerate().find_map(|(i, a)| Some((i, meets(a.moment)?)))?;
        let fault = armed.remove(i).fault;
        Some((fault, (after as usize).min(out.len())))
    }

    fn carry_out(&mut self, s: usize, output: Output) {
        match output {
            Output::Dial { conn, to, port } => self.server_dials(s, conn, &to, port),
            Output::Send { conn, bytes } => self.server_sends(s, conn, bytes),
            Output::Pause { conn, on } => self.server_pauses(s, conn, on),
            Output::Close { conn } => self.server_closes(s, conn),
            Output::Disk { lane, op } => {
                self.nodes[s].lanes.push(lane, op);
            }
            Output::Read { read, file, at, len } => {
                let node = &mut self.nodes[s];
                node.reads.push(Piece { read, file, at, len });
                let due = node.lanes.read(self.now, at, len);
                self.queue.push(due, Due::Read { server: s as u8, read: read.0 as u32 });
            }
            Output::Event(event) => self.server_event(s, event),
            Output::Stop(stop) => self.stopped(s, &stop),
        }
    }

    /// The process ends by its own word, and is started again.
    fn stopped(&mut self, s: usize, stop: &Stop) {
        let down = match stop {
            Stop::Ordered => {
                self.coverage.hit(Hit::Ordered);
                self.nodes[s].stopping.expect("it was told to stop")
            }
            Stop::Disk(_) => 200_000_000,
        };
        let mut random = Stream::new(self.plan.seed, Purpose::Fault, 1 << 40, self.now);
        self.end_process(s, false, &mut random);
        self.start_later(s, down);
    }

    /// A death whose moment has come.
    pub(super) fn die_armed(&mut self, s: usize, fault: u16) {
        let fault = self.plan.faults[fault as usize].clone();
        if let crate::nemesis::What::Crash { power, down, .. } = fault.what
            && self.nodes[s].server.is_some()
        {
            let mut random = Stream::new(self.plan.seed, Purpose::Fault, u64::from(fault.id), 0);
            self.end_process(s, power, &mut random);
            self.start_later(s, down);
        }
    }

    /// The process of a server ends at this moment; with `power`, its machine does.
    pub(super) fn end_process(&mut self, s: usize, power: bool, random: &mut Stream) {
        self.hash.word(0x23 | u64::from(power) << 8);
        self.coverage.hit(if power { Hit::Power } else { Hit::Kill });
        let kind = if power { CrashKind::Power } else { CrashKind::Kill };
        let server = self.server_id(s);
        self.history.push(Time(self.now), Entry::Crash { server, kind });
        let node = &mut self.nodes[s];
        node.server = None;
        node.serving = false;
        node.role = RoleName::Looking;
        node.image_stale = true;
        let busy = node.lanes.ends_at().unwrap_or(self.now).max(self.now);
        // The storage thread was as far along as it was: some of what this last step asked for may be done.
        let at =
            if busy > self.now && random.chance(512) { random.between(self.now, busy) } else { self.now };
        self.coverage.hits(Hit::MidDisk, u64::from(!node.lanes.is_idle()));
        let honest = !node.disk.lied;
        node.lanes.die(at, &mut node.disk, random);
        self.tell_if_lied(s, honest);
        if power {
            self.cut_power(s, random);
        }
        self.server_gone(s, power, random);
    }

    /// The checkers must know of a disk's first lie, whether a run's end or a death brings it out.
    fn tell_if_lied(&mut self, s: usize, honest: bool) {
        if honest && self.nodes[s].disk.lied {
            self.coverage.hit(Hit::DiskLied);
            let server = self.server_id(s);
            self.history.push(Time(self.now), Entry::DiskLied { server });
        }
    }

    /// Is told when runs end.
    pub(super) fn disk_done(&mut self, s: usize, lane: Lane) {
        let now = self.now;
        let node = &mut self.nodes[s];
        if node.server.is_none() {
            return;
        }
        let honest = !node.disk.lied;
        node.image_stale = true;
        let end = node.lanes.finish(now, &mut node.disk, lane);
        self.tell_if_lied(s, honest);
        match end {
            RunEnd::Later(at) => return self.queue.push(at, Due::Disk { server: s as u8, lane }),
            RunEnd::Quiet => {}
            RunEnd::Durable(upto) => self.step_server(s, Input::Durable { lane, upto }),
            RunEnd::Failed(fault) => {
                self.coverage.hit(Hit::DiskFailed);
                self.step_server(s, Input::DiskFailed { fault });
            }
        }
        self.start_lanes(s);
    }

    /// A piece of a file is there: as the file is now, if it is and can be read.
    pub(super) fn read_done(&mut self, s: usize, read: u32) {
        let node = &mut self.nodes[s];
        let Some(i) = node.reads.iter().position(|p| p.read.0 as u32 == read) else { return };
        let Piece { read, file, at, len } = node.reads.swap_remove(i);
        let bytes = node.disk.read(file, at, len).filter(|_| !node.read_error);
        let bytes = bytes.map(Bytes::copy_from_slice);
        self.coverage.hits(Hit::LogUnread, u64::from(bytes.is_none()));
        self.step_server(s, Input::Read { read, bytes: bytes.as_deref() });
    }

    /// Starts what waits in the lanes.
    fn start_lanes(&mut self, s: usize) {
        for lane in [Lane::Log, Lane::Bulk] {
            let node = &mut self.nodes[s];
            let Some(end) = node.lanes.start(self.now, &node.disk, lane) else { continue };
            self.queue.push(end, Due::Disk { server: s as u8, lane });
            let armed = &mut self.nodes[s].armed;
            let due = armed.iter().position(|a| matches!(a.moment, Moment::Sync(l, _) if l == lane));
            if let Some(i) = due {
                let Armed { fault, moment } = armed.remove(i);
                let Moment::Sync(_, part) = moment else { unreachable!("just matched") };
                let (begin, end) = self.nodes[s].lanes.last_op(lane).expect("a run began");
                let at = begin + (end - begin) * u64::from(part) / 256;
                self.queue.push(at.max(self.now), Due::Die { server: s as u8, fault });
            }
        }
    }

    /// The server's deadline may have come.
    pub(super) fn wake_server(&mut self, s: usize) {
        let node = &mut self.nodes[s];
        if node.wake_due <= self.now {
            node.wake_due = u64::MAX;
        }
        let Some(server) = &node.server else { return };
        let mono = node.clock.now(self.now).mono;
        match server.next_wake() {
            Some((at, timer)) if at <= mono => {
                node.wakes = if node.woken_at == self.now { node.wakes + 1 } else { 0 };
                node.woken_at = self.now;
                assert!(node.wakes < MOST_WAKES, "server {}: the timer {timer:?} does not go off", node.id);
                self.step_server(s, Input::Wake);
            }
            Some(_) | None => self.schedule_server(s),
        }
    }

    fn schedule_server(&mut self, s: usize) {
        let node = &mut self.nodes[s];
        let Some((mono, _)) = node.server.as_ref().and_then(|x| x.next_wake()) else { return };
        let at = node.clock.when(mono).max(self.now);
        if at < node.wake_due {
            node.wake_due = at;
            self.queue.push(at, Due::ServerWake { server: s as u8 });
        }
    }

    /// Orders a server to stop.
    pub(super) fn order_stop(&mut self, s: usize, down: u64) {
        self.nodes[s].stopping = Some(down);
        self.step_server(s, Input::Admin { order: AdminOrder::Shutdown });
    }

    /// Whole requests of a client have reached a serving server. When it closed the connection at one of them or reads no
    /// further, or is about to stop, no one can say how many it took; nor of raw connections which of their requests keep a
    /// session alive.
    pub(super) fn note_taken(&mut self, wire: u32) {
        let w = &self.wires[wire as usize];
        let s = w.server as usize;
        let reads = w.state == WireState::Open && !w.up.held && self.nodes[s].stopping.is_none();
        let sure = reads && !matches!(w.near, Near::Raw { .. });
        if self.nodes[s].serving {
            let server = self.server_id(s);
            self.history.push(Time(self.now), Entry::Taken { server, conn: accepted(wire), sure });
        }
    }

    /// What a server is told of whoever asked for a connection.
    pub(super) fn peer(&self, wire: u32) -> PeerInfo {
        self.address(self.wires[wire as usize].host, wire)
    }

    /// What a server is told of this host, at the other end of a connection.
    pub(super) fn address(&self, host: u16, wire: u32) -> PeerInfo {
        let ip: IpAddr = client::address(self.host_name(host));
        PeerInfo { addr: SocketAddr::new(ip, 1024 + (wire % 60_000) as u16) }
    }
}
