//! Connections of the world: dialing, bytes both ways, the ends of connections. At the near end is whoever asked for one: a
//! client, a raw connection, a server; at the far end always a server.

use super::World;
use super::server::Node;
use crate::net::{Frames, LinkProfile, Near, Pipe, Wire, WireState};
use crate::outcome::Hit;
use crate::queue::Due;
use crate::random::{Purpose, Stream};
use crate::shape::MASTER_PORT;
use bytes::Bytes;
use zebu_core::addr::Addr;
use zebu_core::boundary::{Conn, Input, Port};
use zebu_core::client::ClientInput;
use zebu_core::limits;

/// What faults do to the bytes from one host to another, up to which true time.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Flow {
    pub(super) stalled: u64,
    pub(super) slow_until: u64,
    pub(super) extra: u64,
}

/// Bytes that are handed to a server although it has closed their connection.
#[derive(Clone, Debug)]
pub(super) struct Late {
    server: u8,
    incarnation: u32,
    conn: Conn,
    bytes: Bytes,
}

/// How long whoever asked for a connection and got no answer waits before it asks again, the first time; then twice as long.
const ASK_AGAIN: u64 = 1_000_000_000;

/// The ports of a server.
pub(super) const CLIENT_PORT: u16 = 2181;

/// The number that a server knows a connection by that it accepted. None is used twice in a run.
pub(super) fn accepted(wire: u32) -> Conn {
    Conn::accepted(u64::from(wire) + 1)
}

impl World {
    /// The host of a client or raw connection. Hosts are numbered: servers, clients, raw connections.
    pub(super) fn host_of_link(&self, link: u16) -> u16 {
        self.nodes.len() as u16 + link
    }

    pub(super) fn flow(&mut self, from: u16, to: u16) -> &mut Flow {
        &mut self.flows[from as usize * self.hosts + to as usize]
    }

    fn stalled(&self, from: u16, to: u16) -> u64 {
        self.flows[from as usize * self.hosts + to as usize].stalled
    }

    fn profile(&self, from: u16, to: u16) -> LinkProfile {
        let flow = &self.flows[from as usize * self.hosts + to as usize];
        let mut profile = self.plan.net;
        if self.now < flow.slow_until {
            // No spikes on top: one would multiply what is slow already, and last beyond any healing.
            (profile.delay, profile.spikes) = (profile.delay + flow.extra, 0);
        }
        if self.is_calm && (from as usize) < self.nodes.len() && (to as usize) < self.nodes.len() {
            (profile.spikes, profile.bandwidth) = (0, 0);
        }
        profile
    }

    fn up_profile(&self, wire: u32) -> LinkProfile {
        let w = &self.wires[wire as usize];
        self.profile(w.host, u16::from(w.server))
    }

    fn down_profile(&self, wire: u32) -> LinkProfile {
        let w = &self.wires[wire as usize];
        self.profile(u16::from(w.server), w.host)
    }

    /// The name of a host: its random streams and its address.
    pub(super) fn host_name(&self, host: u16) -> u16 {
        let servers = self.nodes.len();
        let Some(link) = (host as usize).checked_sub(servers) else { return 0x4000 + host };
        let clients = self.plan.clients.len();
        match self.plan.raws.get(link.wrapping_sub(clients)) {
            Some(raw) => 0x1000 + raw.name,
            None => self.plan.clients.get(link).map_or(0x2000, |c| c.name),
        }
    }

    /// Asks for a connection; `nth`: how often its host has asked.
    pub(super) fn new_wire(&mut self, near: Near, host: u16, to: (u8, Port), nth: u64) -> u32 {
        let wire = self.wires.len() as u32;
        let name = u64::from(self.host_name(host));
        let stream = |way: u64| Stream::new(self.plan.seed, Purpose::Wire, name << 1 | way, nth);
        let (up, down) = (Pipe::new(stream(0)), Pipe::new(stream(1)));
        self.wires.push(Wire {
            near,
            host,
            server: to.0,
            port: to.1,
            state: WireState::Dialing,
            up,
            down,
            frames: Frames::default(),
            unanswered: 0,
            spoke_in_the_dark: false,
        });
        let delay = self.profile(host, u16::from(to.0)).delay;
        self.queue.push(self.now + delay, Due::Dial { wire });
        wire
    }

    /// A server asks another for a connection.
    pub(super) fn server_dials(&mut self, s: usize, conn: Conn, to: &Addr, port: Port) {
        self.coverage.hit(Hit::ServerDials);
        let number = to.host.strip_prefix('s').and_then(|n| n.parse::<i64>().ok());
        // Not everyone has a port for observers.
        let may_listen = |n: &Node| port == Port::ObserverMaster || n.listens(to.port) == Some(port);
        let far = self.nodes.iter().position(|n| Some(n.id.0) == number && may_listen(n));
        let node = &mut self.nodes[s];
        let nth = node.dialled;
        node.dialled += 1;
        let near = Near::Server { server: s as u8, conn };
        let far = far.expect("members know each other's addresses");
        let wire = self.new_wire(near, s as u16, (far as u8, port), nth);
        let dials = &mut self.nodes[s].dials;
        dials.push(wire);
        assert_eq!(conn.0, dials.len() as u64 * 2 - 1, "dialled connections are numbered in order");
    }

    /// A connection request reaches a host.
    pub(super) fn dial_arrives(&mut self, wire: u32) {
        let w = &self.wires[wire as usize];
        let (s, host) = (w.server as usize, w.host);
        if w.state != WireState::Dialing {
            return;
        }
        let stalled = self.stalled(host, s as u16);
        if stalled > self.now {
            return self.queue.push(stalled, Due::Dial { wire });
        }
        if !self.nodes[s].host_up {
            // No one answers.
            let w = &mut self.wires[wire as usize];
            let again = self.now + (ASK_AGAIN << w.unanswered.min(6));
            w.unanswered += 1;
            return self.queue.push(again, Due::Dial { wire });
        }
        let far = &self.nodes[s];
        let shut = w.port == Port::ObserverMaster && far.listens(MASTER_PORT) != Some(Port::ObserverMaster);
        if far.server.is_none() || self.now < far.refuses_until || shut {
            self.coverage.hit(Hit::DialRefused);
            return self.close_far(wire);
        }
        self.coverage.hit(Hit::Dialed);
        let at = self.now + self.down_profile(wire).delay;
        let w = &mut self.wires[wire as usize];
        w.state = WireState::Queued;
        w.down.not_before(at);
        self.queue.push(at, Due::Dialed { wire });
        self.accept(wire);
    }

    /// A server is told of a connection that its host has accepted, once it does anything at all.
    pub(super) fn accept(&mut self, wire: u32) {
        let w = &mut self.wires[wire as usize];
        let s = w.server as usize;
        if w.state != WireState::Queued {
            return;
        }
        let frozen = self.nodes[s].frozen_until;
        if frozen > self.now {
            return self.queue.push(frozen, Due::Accept { wire });
        }
        w.state = WireState::Open;
        let (port, peer) = (w.port, self.peer(wire));
        self.step_server(s, Input::Opened { conn: accepted(wire), port, peer });
    }

    /// Until when the one at the near end does nothing.
    fn near_frozen(&self, near: Near) -> u64 {
        match near {
            Near::Client { client, .. } => self.actors[client as usize].frozen_until,
            Near::Server { server, .. } => self.nodes[server as usize].frozen_until,
            Near::Raw { .. } | Near::Dark { .. } | Near::Nobody => 0,
        }
    }

    /// The answer reaches the one who asked.
    pub(super) fn dialed(&mut self, wire: u32) {
        let w = &self.wires[wire as usize];
        let near = w.near;
        let later = self.stalled(u16::from(w.server), w.host).max(self.near_frozen(near));
        if later > self.now {
            self.wires[wire as usize].down.not_before(later);
            return self.queue.push(later, Due::Dialed { wire });
        }
        match near {
            Near::Client { client, conn } => {
                self.step_client(client, ClientInput::Opened { conn }, Some(wire));
            }
            Near::Raw { raw } => self.raw_opened(raw, wire),
            Near::Server { server, conn } => {
                self.coverage.hit(Hit::ServerLinks);
                let (port, far) = (self.wires[wire as usize].port, self.wires[wire as usize].server);
                let peer = self.address(u16::from(far), wire);
                self.step_server(server as usize, Input::Opened { conn, port, peer });
            }
            Near::Dark { .. } | Near::Nobody => {}
        }
    }

    /// The near end sends.
    pub(super) fn send_up(&mut self, wire: u32, bytes: Bytes) {
        let profile = self.up_profile(wire);
        let w = &mut self.wires[wire as usize];
        if w.state == WireState::Dark {
            w.spoke_in_the_dark = true;
            if self.nodes[w.server as usize].host_up {
                self.close_far(wire);
            }
            return;
        }
        w.up.send(self.now, bytes, &profile);
        self.schedule_up(wire);
    }

    /// The far end sends.
    fn send_down(&mut self, wire: u32, bytes: Bytes) {
        let profile = self.down_profile(wire);
        let w = &mut self.wires[wire as usize];
        if let Near::Dark { server } = w.near {
            w.spoke_in_the_dark = true;
            if self.nodes[server as usize].host_up {
                self.leave(wire, false);
            }
            return;
        }
        w.down.send(self.now, bytes, &profile);
        self.schedule_down(wire);
    }

    /// The far end closes, or its host knows nothing of the connection any more and says so: what was sent still arrives.
    fn close_far(&mut self, wire: u32) {
        let profile = self.down_profile(wire);
        let w = &mut self.wires[wire as usize];
        w.state = WireState::Over;
        w.up.drop_all();
        w.down.finish(self.now, &profile);
        self.schedule_down(wire);
    }

    /// The near end closes, or its host knows nothing of the connection any more and says so. Silently: its host is gone for
    /// good, and no one tells the server.
    pub(super) fn leave(&mut self, wire: u32, silent: bool) {
        let profile = self.up_profile(wire);
        let w = &mut self.wires[wire as usize];
        w.near = Near::Nobody;
        w.down.drop_all();
        match w.state {
            WireState::Dialing => w.state = WireState::Over,
            WireState::Open | WireState::Queued if silent => w.up.drop_all(),
            WireState::Open | WireState::Queued => w.up.finish(self.now, &profile),
            WireState::Dark | WireState::Over => {}
        }
        self.schedule_up(wire);
    }

    /// A server's number for a connection: which one it is, and true if it is at the near end.
    fn wire_of_server(&self, s: usize, conn: Conn) -> (u32, bool) {
        if conn.is_dialled() {
            (self.nodes[s].dials[(conn.0 / 2) as usize], true)
        } else {
            let wire = (conn.0 / 2 - 1) as u32;
            assert_eq!(self.wires[wire as usize].server as usize, s, "a server names another's connection");
            (wire, false)
        }
    }

    /// A server sends.
    pub(super) fn server_sends(&mut self, s: usize, conn: Conn, bytes: Bytes) {
        match self.wire_of_server(s, conn) {
            (wire, true) => self.send_up(wire, bytes),
            (wire, false) => self.send_down(wire, bytes),
        }
    }

    /// A server stops reading, or goes on.
    pub(super) fn server_pauses(&mut self, s: usize, conn: Conn, on: bool) {
        self.coverage.hits(Hit::Paused, u64::from(on));
        match self.wire_of_server(s, conn) {
            (wire, true) => {
                self.wires[wire as usize].down.held = on;
                self.schedule_down(wire);
            }
            (wire, false) => {
                self.wires[wire as usize].up.held = on;
                self.schedule_up(wire);
            }
        }
    }

    /// A server closes its end, or gives a dial up.
    pub(super) fn server_closes(&mut self, s: usize, conn: Conn) {
        let (wire, near) = self.wire_of_server(s, conn);
        self.keep_late(s, conn, wire, near);
        match (wire, near) {
            (wire, true) => self.leave(wire, false),
            (wire, false) => self.close_far(wire),
        }
    }

    /// Nothing says that a driver hands over no byte of a connection once it is closed.
    fn keep_late(&mut self, s: usize, conn: Conn, wire: u32, near: bool) {
        let w = &mut self.wires[wire as usize];
        let pipe = if near { &mut w.down } else { &mut w.up };
        if w.state != WireState::Open {
            return;
        }
        let (server, incarnation) = (s as u8, self.nodes[s].incarnation);
        for (at, bytes) in pipe.left_behind(self.now) {
            let index = self.late.len() as u32;
            self.late.push(Late { server, incarnation, conn, bytes });
            self.queue.push(at, Due::Late { index });
        }
    }

    /// Bytes come of a connection that the server has closed.
    pub(super) fn late(&mut self, index: u32) {
        let Late { server, incarnation, conn, bytes } = self.late[index as usize].clone();
        let node = &self.nodes[server as usize];
        if node.frozen_until > self.now {
            return self.queue.push(node.frozen_until, Due::Late { index });
        }
        if node.server.is_some() && node.incarnation == incarnation {
            self.coverage.hit(Hit::Late);
            self.step_server(server as usize, Input::Received { conn, bytes: &bytes });
        }
    }

    /// A connection breaks: both ends get some of what was under way, and are told.
    pub(super) fn break_wire(&mut self, wire: u32, random: &mut Stream) {
        let (up, down) = (self.up_profile(wire), self.down_profile(wire));
        let (now, w) = (self.now, &self.wires[wire as usize]);
        // A receiver that does not read has what arrived in its socket.
        let arrived = |held: bool, frozen: u64| if held || frozen > now { now } else { 0 };
        let at_far = arrived(w.up.held, self.nodes[w.server as usize].frozen_until);
        let at_near = arrived(w.down.held, self.near_frozen(w.near));
        let w = &mut self.wires[wire as usize];
        match w.state {
            WireState::Open | WireState::Queued => {
                self.coverage.hit(Hit::Reset);
                w.up.cut(now, at_far, &up, random);
                w.down.cut(now, at_near, &down, random);
            }
            WireState::Dialing => {
                w.state = WireState::Over;
                w.down.finish(now, &down);
            }
            WireState::Dark | WireState::Over => return,
        }
        self.schedule_up(wire);
        self.schedule_down(wire);
    }

    /// A server's process or machine is gone, and its ends of all connections with it.
    pub(super) fn server_gone(&mut self, s: usize, power: bool, random: &mut Stream) {
        for wire in 0..self.wires.len() as u32 {
            let w = &self.wires[wire as usize];
            if matches!(w.near, Near::Server { server, .. } if server as usize == s) {
                self.near_gone(wire, power, random);
            }
            let w = &self.wires[wire as usize];
            if w.server as usize == s && matches!(w.state, WireState::Open | WireState::Queued) {
                self.far_gone(wire, power, random);
            }
        }
    }

    fn far_gone(&mut self, wire: u32, power: bool, random: &mut Stream) {
        let profile = self.down_profile(wire);
        let w = &mut self.wires[wire as usize];
        w.up.drop_all();
        if power {
            w.state = WireState::Dark;
            return;
        }
        w.state = WireState::Over;
        // The system closes; with bytes unread it resets, and what was under way may be lost.
        if random.chance(512) {
            w.down.finish(self.now, &profile);
        } else {
            w.down.cut(self.now, 0, &profile, random);
        }
        self.schedule_down(wire);
    }

    fn near_gone(&mut self, wire: u32, power: bool, random: &mut Stream) {
        let profile = self.up_profile(wire);
        let w = &mut self.wires[wire as usize];
        let Near::Server { server, .. } = w.near else { unreachable!("only servers go so") };
        w.near = Near::Nobody;
        w.down.drop_all();
        match w.state {
            WireState::Dialing => w.state = WireState::Over,
            WireState::Open | WireState::Queued if power => w.near = Near::Dark { server },
            WireState::Open | WireState::Queued if random.chance(512) => w.up.finish(self.now, &profile),
            WireState::Open | WireState::Queued => w.up.cut(self.now, 0, &profile, random),
            WireState::Dark | WireState::Over => {}
        }
        self.schedule_up(wire);
    }

    /// A machine has power again: connections that died with it are reset if the other end has spoken since.
    pub(super) fn light_returns(&mut self, s: usize) {
        for wire in 0..self.wires.len() as u32 {
            let w = &self.wires[wire as usize];
            if !w.spoke_in_the_dark {
                continue;
            }
            if w.server as usize == s && w.state == WireState::Dark {
                self.close_far(wire);
            } else if matches!(w.near, Near::Dark { server } if server as usize == s) {
                self.leave(wire, false);
            }
        }
    }

    pub(super) fn schedule_up(&mut self, wire: u32) {
        let pipe = &mut self.wires[wire as usize].up;
        if let Some(at) = pipe.next().map(|at| at.max(self.now)).filter(|at| *at < pipe.due) {
            pipe.due = at;
            self.queue.push(at, Due::Up { wire });
        }
    }

    pub(super) fn schedule_down(&mut self, wire: u32) {
        let pipe = &mut self.wires[wire as usize].down;
        if let Some(at) = pipe.next().map(|at| at.max(self.now)).filter(|at| *at < pipe.due) {
            pipe.due = at;
            self.queue.push(at, Due::Down { wire });
        }
    }

    /// Bytes are due at the far end.
    pub(super) fn arrive_up(&mut self, wire: u32) {
        let w = &self.wires[wire as usize];
        if w.up.due != self.now {
            return;
        }
        let s = w.server as usize;
        let later = self.stalled(w.host, s as u16).max(self.nodes[s].frozen_until);
        let w = &mut self.wires[wire as usize];
        if later > self.now {
            w.up.due = later;
            return self.queue.push(later, Due::Up { wire });
        }
        w.up.due = u64::MAX;
        let report = limits::WRITABLE_EVERY.min(self.plan.config.stream_ahead);
        if w.up.held {
            return;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut one = Bytes::new();
        let (bytes, arrived) = w.up.take(self.now, &mut scratch, &mut one);
        let empty = w.up.ran_empty(report);
        if w.state == WireState::Open {
            if !bytes.is_empty() {
                self.far_receives(wire, s, bytes);
            }
            if arrived.ended && self.wires[wire as usize].state == WireState::Open {
                let w = &mut self.wires[wire as usize];
                w.state = WireState::Over;
                w.up.drop_all();
                self.step_server(s, Input::Closed { conn: accepted(wire) });
            }
        }
        self.scratch = scratch;
        if empty && let Near::Server { server, conn } = self.wires[wire as usize].near {
            self.step_server(server as usize, Input::Writable { conn });
        }
        self.schedule_up(wire);
    }

    fn far_receives(&mut self, wire: u32, s: usize, bytes: &[u8]) {
        let w = &mut self.wires[wire as usize];
        let requests = if w.port == Port::Client { w.frames.take(bytes) } else { 0 };
        self.step_server(s, Input::Received { conn: accepted(wire), bytes });
        if requests > 0 {
            self.note_taken(wire);
        }
    }

    /// Bytes are due at the near end.
    pub(super) fn arrive_down(&mut self, wire: u32) {
        let w = &self.wires[wire as usize];
        if w.down.due != self.now {
            return;
        }
        let later = self.stalled(u16::from(w.server), w.host).max(self.near_frozen(w.near));
        let w = &mut self.wires[wire as usize];
        if later > self.now {
            w.down.due = later;
            return self.queue.push(later, Due::Down { wire });
        }
        w.down.due = u64::MAX;
        let report = limits::WRITABLE_EVERY.min(self.plan.config.stream_ahead);
        if w.down.held {
            return;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut one = Bytes::new();
        let (bytes, arrived) = w.down.take(self.now, &mut scratch, &mut one);
        let empty = w.down.ran_empty(report);
        match w.near {
            Near::Client { client, conn } if !bytes.is_empty() => {
                self.step_client(client, ClientInput::Received { conn, bytes }, Some(wire));
                self.bury_handle(client);
            }
            Near::Server { server, conn } if !bytes.is_empty() => {
                self.step_server(server as usize, Input::Received { conn, bytes });
            }
            Near::Raw { .. } if !bytes.is_empty() => self.coverage.hit(Hit::RawAnswered),
            Near::Client { .. }
            | Near::Server { .. }
            | Near::Raw { .. }
            | Near::Dark { .. }
            | Near::Nobody => {}
        }
        self.scratch = scratch;
        if arrived.ended {
            self.tell_closed(wire);
        } else if empty && self.wires[wire as usize].state == WireState::Open {
            let s = self.wires[wire as usize].server as usize;
            self.step_server(s, Input::Writable { conn: accepted(wire) });
        }
        self.schedule_down(wire);
    }

    /// The near end of a connection is told of its end.
    fn tell_closed(&mut self, wire: u32) {
        let w = &mut self.wires[wire as usize];
        let near = std::mem::replace(&mut w.near, Near::Nobody);
        w.up.shut();
        match near {
            Near::Client { client, conn } => {
                self.step_client(client, ClientInput::Closed { conn }, None);
                self.bury_handle(client);
            }
            Near::Server { server, conn } => self.step_server(server as usize, Input::Closed { conn }),
            Near::Raw { .. } | Near::Dark { .. } | Near::Nobody => {}
        }
    }
}
