//! Servers of the world: the product's core between a disk, two clocks and the network.

use super::client::server_conn;
use super::{World, client};
use crate::clock::Clock;
use crate::disk::{Disk, Lanes, RunEnd};
use crate::history::{CrashKind, Entry, Image, Restored, SET_WATCHES, ShadowOutcome};
use crate::nemesis::{Moment, News};
use crate::net::{Near, WireState};
use crate::outcome::Hit;
use crate::queue::Due;
use crate::random::{Purpose, Stream};
use crate::trace;
use zebu_core::boundary::{AdminOrder, CloseCause, Event, Input, Lane, Output, PeerInfo, Stop, Vouch};
use zebu_core::disk::{Recovered, recover};
use zebu_core::id::{ServerId, Zxid};
use zebu_core::server::Server;
use zebu_core::time::Time;

/// A server of the world.
#[derive(Debug)]
pub(super) struct Node {
    /// The running process.
    pub(super) server: Option<Server>,
    /// Starts so far.
    pub(super) incarnation: u32,
    /// Its machine has power.
    pub(super) host_up: bool,
    pub(super) clock: Clock,
    pub(super) disk: Disk,
    pub(super) lanes: Lanes,
    /// When the earliest scheduled wake-up comes.
    wake_due: u64,
    /// It does nothing before this true time.
    pub(super) frozen_until: u64,
    /// It refuses connections up to this true time.
    pub(super) refuses_until: u64,
    /// Reading files fails at the next start.
    pub(super) read_error: bool,
    /// Deaths that wait for their moment.
    pub(super) armed: Vec<Armed>,
    /// The durable zxid that the history was told last.
    image: i64,
    /// It serves clients.
    pub(super) serving: bool,
    /// The next promise is the first since a turn that asks for a shadow recovery.
    shadow_next: bool,
    shadows: u64,
}

/// A death that waits for its moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Armed {
    /// Which fault.
    pub(super) fault: u16,
    pub(super) moment: Moment,
}

impl Node {
    /// A machine that was just switched on.
    pub(super) fn new(lanes: Lanes, clock: Clock, disk: Disk) -> Node {
        Node {
            server: None,
            incarnation: 0,
            host_up: true,
            clock,
            disk,
            lanes,
            wake_due: u64::MAX,
            frozen_until: 0,
            refuses_until: 0,
            read_error: false,
            armed: Vec::new(),
            image: 0,
            serving: false,
            shadow_next: true,
            shadows: 0,
        }
    }
}

impl World {
    fn server_id(&self, _server: usize) -> ServerId {
        self.plan.config.server_id
    }

    /// Starts a server on what its disk holds.
    pub(super) fn start_server(&mut self, s: usize) {
        if self.nodes[s].server.is_some() {
            return;
        }
        let (id, at) = (self.server_id(s), Time(self.now));
        self.host_returns(s);
        if std::mem::take(&mut self.nodes[s].read_error) {
            self.coverage.hit(Hit::ReadError);
            let outcome = recover(&self.nodes[s].disk.view(true), &self.plan.config, 0);
            assert!(outcome.is_err(), "recovery read what cannot be read");
            return self.start_later(s, 50_000_000);
        }
        let node = &mut self.nodes[s];
        let incarnation = node.incarnation;
        node.incarnation += 1;
        self.history.push(at, Entry::Restart { server: id, incarnation });
        let name = (s as u64) << 32 | u64::from(incarnation);
        let mut seeds = Stream::new(self.plan.seed, Purpose::Server, name, 0);
        let recovered = match recover(&node.disk.view(false), &self.plan.config, seeds.u64()) {
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
        let node = &mut self.nodes[s];
        node.lanes = super::lanes(&self.plan, s, incarnation);
        node.shadow_next = true;
        self.apply_disk_faults(s);
        let node = &mut self.nodes[s];
        let now = node.clock.now(self.now);
        self.history.push(at, Entry::Clock { server: id, mono: now.mono, ppm: node.clock.ppm() });
        node.server = Some(Server::new(self.plan.config.clone(), recovered, seeds.seed(), now));
        self.step_server(s, Input::Wake);
    }

    /// Tells the history what recovery found.
    fn recovered(&mut self, s: usize, recovered: &Recovered) {
        self.coverage.hit(Hit::Recovery);
        self.coverage.hits(Hit::RecoveryNote, recovered.notes.len() as u64);
        let (last, digest) = (recovered.last_zxid, recovered.tree.digest());
        self.hash.word(0x22 ^ (last.0 as u64) << 8);
        self.hash.word(digest);
        let above = self.committed;
        let tail = if last.0 > above { self.nodes[s].disk.log_bodies(above, last.0) } else { Vec::new() };
        let id = self.server_id(s);
        self.history.recovered(Time(self.now), id, Restored::of(recovered), tail);
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
        for w in 0..self.wires.len() {
            let wire = &self.wires[w];
            if wire.server as usize == s && wire.state == WireState::Dark && wire.spoke_in_the_dark {
                self.reset_dark(w as u32);
            }
        }
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
                trace::print_output(&output);
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
            Moment::News(news, after) => {
                out.iter().any(|o| matches!(o, Output::Event(e) if is_news(news, e))).then_some(after)
            }
            Moment::Now | Moment::Sync(..) => None,
        };
        let (i, after) = armed.iter().enumerate().find_map(|(i, a)| Some((i, meets(a.moment)?)))?;
        let fault = armed.remove(i).fault;
        Some((fault, (after as usize).min(out.len())))
    }

    fn carry_out(&mut self, s: usize, output: Output) {
        match output {
            Output::Dial { .. } => unreachable!("a standalone server dials nobody"),
            Output::Send { conn, bytes } => self.send_down((conn.0 - 1) as u32, bytes),
            Output::Pause { conn, on } => {
                self.coverage.hits(Hit::Paused, u64::from(on));
                let wire = (conn.0 - 1) as u32;
                self.wires[wire as usize].up.held = on;
                self.schedule_up(wire);
            }
            Output::Close { conn } => self.close_down((conn.0 - 1) as u32),
            Output::Disk { lane, op } => {
                self.nodes[s].lanes.push(lane, op);
            }
            Output::Event(event) => self.server_event(s, event),
            Output::Stop(stop) => self.stopped(s, &stop),
        }
    }

    fn server_event(&mut self, s: usize, event: Event) {
        match &event {
            Event::Replied { op, .. } => {
                if !SET_WATCHES.contains(op) {
                    return;
                }
            }
            Event::Vouched(vouch) => {
                if let Vouch::Recovered(zxid) = vouch {
                    self.committed = self.committed.max(zxid.0);
                }
                self.show_image(s as u8);
                if std::mem::take(&mut self.nodes[s].shadow_next) {
                    self.shadow(s);
                }
            }
            Event::Became(_) => self.nodes[s].serving = true,
            Event::Committed { zxid, .. } => {
                self.committed = self.committed.max(zxid.0);
                self.coverage.hit(Hit::Committed);
            }
            Event::ConnClosed { cause, .. } => {
                let kicked = !matches!(
                    cause,
                    CloseCause::SessionClosed
                        | CloseCause::SessionExpired
                        | CloseCause::SessionMoved
                        | CloseCause::FourLetterWord
                        | CloseCause::Stopping
                );
                self.coverage.hits(Hit::Kicked, u64::from(kicked));
            }
            Event::SessionExpired { .. } => self.coverage.hit(Hit::SessionExpired),
            Event::LogRolled { .. } => {
                self.coverage.hit(Hit::Rolled);
                self.nodes[s].shadow_next = true;
            }
            Event::SnapshotDone { .. } => {
                self.coverage.hit(Hit::Snapshot);
                self.nodes[s].shadow_next = true;
            }
            Event::SnapshotFailed { .. } => self.coverage.hit(Hit::SnapshotFailed),
            Event::Purged { .. } => {
                self.coverage.hit(Hit::Purged);
                self.nodes[s].shadow_next = true;
            }
            Event::Elected { .. }
            | Event::Established { .. }
            | Event::Activated { .. }
            | Event::RoleLost { .. }
            | Event::Truncated { .. }
            | Event::Installed { .. }
            | Event::QuorumAcked { .. }
            | Event::DigestMismatch { .. }
            | Event::Proposed { .. }
            | Event::Logged { .. }
            | Event::Applied { .. }
            | Event::SessionAttached { .. }
            | Event::Reconfigured { .. }
            | Event::SnapshotBegun { .. } => {}
        }
        let (server, incarnation) = (self.server_id(s), self.nodes[s].incarnation - 1);
        self.history.push(Time(self.now), Entry::Server { server, incarnation, event });
    }

    /// The process ends by its own word, and is started again.
    fn stopped(&mut self, s: usize, stop: &Stop) {
        let down = match stop {
            Stop::Ordered => {
                self.coverage.hit(Hit::Ordered);
                self.stop_down
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
    fn end_process(&mut self, s: usize, power: bool, random: &mut Stream) {
        self.hash.word(0x23 | u64::from(power) << 8);
        self.coverage.hit(if power { Hit::Power } else { Hit::Kill });
        let kind = if power { CrashKind::Power } else { CrashKind::Kill };
        let server = self.server_id(s);
        self.history.push(Time(self.now), Entry::Crash { server, kind });
        let node = &mut self.nodes[s];
        node.server = None;
        node.serving = false;
        let busy = node.lanes.ends_at().unwrap_or(self.now).max(self.now);
        // The storage thread was as far along as it was: some of what this last step asked for may be done.
        let at =
            if busy > self.now && random.chance(512) { random.between(self.now, busy) } else { self.now };
        self.coverage.hits(Hit::MidDisk, u64::from(!node.lanes.is_idle()));
        let honest = !node.disk.lied;
        node.lanes.die(at, &mut node.disk, random);
        self.tell_if_lied(s, honest);
        let node = &mut self.nodes[s];
        if power {
            node.host_up = false;
            let cut = node.disk.power_cut(random);
            self.coverage.hits(Hit::Torn, u64::from(cut.torn));
            self.coverage.hits(Hit::Undone, u64::from(cut.undone));
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
            Some((at, _)) if at <= mono => self.step_server(s, Input::Wake),
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
        self.stop_down = down;
        self.step_server(s, Input::Admin { order: AdminOrder::Shutdown });
    }

    /// Tells the history what is durable now, if that has changed.
    pub(super) fn show_image(&mut self, server: u8) {
        let node = &mut self.nodes[server as usize];
        let zxid = node.disk.durable_zxid();
        if zxid != node.image {
            node.image = zxid;
            let server = self.plan.config.server_id;
            let image = Image { last: Zxid(zxid), ..Image::default() };
            self.history.push(Time(self.now), Entry::Image { server, image });
        }
    }

    /// Recovers a clone of the disk, as it would be after a crash at this moment.
    fn shadow(&mut self, s: usize) {
        let node = &mut self.nodes[s];
        node.shadows += 1;
        let mut random = Stream::new(self.plan.seed, Purpose::Shadow, s as u64, node.shadows);
        if !random.chance(self.plan.shadows) {
            return;
        }
        self.coverage.hit(Hit::Shadow);
        let mut disk = node.disk.clone();
        let mut lanes = node.lanes.clone();
        lanes.die(self.now, &mut disk, &mut random);
        let kind = match random.below(3) {
            0 => CrashKind::Kill,
            1 => {
                disk.worst_cut(&mut random);
                CrashKind::Power
            }
            _ => {
                disk.power_cut(&mut random);
                CrashKind::Power
            }
        };
        let outcome = match recover(&disk.view(false), &self.plan.config, 0) {
            Ok(r) => ShadowOutcome::Recovered(Restored::of(&r)),
            Err(refusal) => ShadowOutcome::Refused(self.history.text(refusal.to_string())),
        };
        let server = self.server_id(s);
        self.history.push(Time(self.now), Entry::Shadow { server, kind, outcome });
    }

    /// At the end: memory and disk must tell the same.
    pub(super) fn compare_memory_and_disk(&mut self, s: usize) {
        let node = &self.nodes[s];
        let Some(server) = &node.server else { return };
        if !node.lanes.is_idle() {
            return;
        }
        let digest = server.view().tree.digest();
        let outcome = match recover(&node.disk.view(false), &self.plan.config, 0) {
            Ok(r) => ShadowOutcome::Recovered(Restored::of(&r)),
            Err(refusal) => ShadowOutcome::Refused(self.history.text(refusal.to_string())),
        };
        self.hash.word(digest);
        let server = self.server_id(s);
        self.history.push(Time(self.now), Entry::Shadow { server, kind: CrashKind::Kill, outcome });
    }

    /// Whole requests of a client have reached a serving server. When it closed the connection at one of them or reads no
    /// further, no one can say how many it took; nor of raw connections which of their requests keep a session alive.
    pub(super) fn note_taken(&mut self, wire: u32, requests: u32) {
        let w = &self.wires[wire as usize];
        let s = w.server as usize;
        let sure = w.state == WireState::Open && !w.up.held && !matches!(w.near, Near::Raw { .. });
        if requests > 0 && self.nodes[s].serving {
            let server = self.server_id(s);
            self.history.push(Time(self.now), Entry::Taken { server, conn: server_conn(wire), sure });
        }
    }

    /// What a client's or raw connection's other end is told of it.
    pub(super) fn peer(&self, wire: u32) -> PeerInfo {
        let name = self.link_name(self.wires[wire as usize].link);
        let port = 1024 + (wire % 60_000) as u16;
        PeerInfo { addr: (client::address(name), port).into() }
    }
}

fn is_news(news: News, event: &Event) -> bool {
    match news {
        News::Became => matches!(event, Event::Became(_)),
        News::Committed => matches!(event, Event::Committed { .. }),
        News::Rolled => matches!(event, Event::LogRolled { .. }),
        News::SnapshotBegun => matches!(event, Event::SnapshotBegun { .. }),
        News::SnapshotDone => matches!(event, Event::SnapshotDone { .. }),
        News::Expired => matches!(event, Event::SessionExpired { .. }),
        News::Purged => matches!(event, Event::Purged { .. }),
    }
}
