//! Connections of the world: dialing, bytes both ways, the ends of connections.

use super::World;
use super::client::server_conn;
use crate::net::{Frames, LinkProfile, Near, Pipe, Wire, WireState};
use crate::outcome::Hit;
use crate::queue::Due;
use crate::random::{Purpose, Stream};
use bytes::Bytes;
use zebu_core::boundary::{Input, Port};
use zebu_core::client::ClientInput;
use zebu_core::limits;

/// What faults do to the link of a client or raw connection, up to which true time.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Link {
    pub(super) up_stalled: u64,
    pub(super) down_stalled: u64,
    pub(super) slow_until: u64,
    pub(super) extra: u64,
}

impl World {
    fn profile(&self, link: u16) -> LinkProfile {
        let l = &self.links[link as usize];
        let extra = if self.now < l.slow_until { l.extra } else { 0 };
        LinkProfile { delay: self.plan.net.delay + extra, ..self.plan.net }
    }

    /// The name of who is behind a link: its random streams and its address.
    pub(super) fn link_name(&self, link: u16) -> u16 {
        let clients = self.plan.clients.len();
        match self.plan.raws.get((link as usize).wrapping_sub(clients)) {
            Some(raw) => 0x1000 + raw.name,
            None => self.plan.clients.get(link as usize).map_or(0x2000, |c| c.name),
        }
    }

    /// Asks for a connection. `name` is who asks, and how often it has.
    pub(super) fn new_wire(&mut self, near: Near, link: u16, server: u8, name: (u64, u64)) {
        let wire = self.wires.len() as u32;
        let stream = |way: u64| Stream::new(self.plan.seed, Purpose::Wire, name.0 << 1 | way, name.1);
        let (up, down) = (Pipe::new(stream(0)), Pipe::new(stream(1)));
        let frames = Frames::default();
        let state = WireState::Dialing;
        self.wires.push(Wire { near, link, server, state, up, down, frames, spoke_in_the_dark: false });
        let delay = self.profile(link).delay;
        self.queue.push(self.now + delay, Due::Dial { wire });
    }

    /// A connection request reaches a host.
    pub(super) fn dial_arrives(&mut self, wire: u32) {
        let w = &self.wires[wire as usize];
        let (s, link) = (w.server as usize, w.link);
        if w.state != WireState::Dialing {
            return;
        }
        let stalled = self.links[link as usize].up_stalled;
        let node = &self.nodes[s];
        let later = stalled.max(if node.server.is_some() { node.frozen_until } else { 0 });
        if later > self.now {
            return self.queue.push(later, Due::Dial { wire });
        }
        let delay = self.profile(link).delay;
        if !node.host_up {
            // No one answers.
            self.wires[wire as usize].state = WireState::Dark;
            return;
        }
        if node.server.is_none() || self.now < node.refuses_until {
            self.coverage.hit(Hit::DialRefused);
            let w = &mut self.wires[wire as usize];
            w.state = WireState::Over;
            w.up.drop_all();
            let profile = self.profile(link);
            self.wires[wire as usize].down.finish(self.now, &profile);
            return self.schedule_down(wire);
        }
        self.coverage.hit(Hit::Dialed);
        let at = self.now + delay;
        let w = &mut self.wires[wire as usize];
        w.state = WireState::Open;
        w.down.not_before(at);
        self.queue.push(at, Due::Dialed { wire });
        let peer = self.peer(wire);
        self.step_server(s, Input::Opened { conn: server_conn(wire), port: Port::Client, peer });
    }

    /// The answer reaches the one who asked.
    pub(super) fn dialed(&mut self, wire: u32) {
        let w = &self.wires[wire as usize];
        let stalled = self.links[w.link as usize].down_stalled;
        let near = w.near;
        let later = match near {
            Near::Client { client, .. } => stalled.max(self.actors[client as usize].frozen_until),
            Near::Raw { .. } | Near::Nobody => stalled,
        };
        if later > self.now {
            self.wires[wire as usize].down.not_before(later);
            return self.queue.push(later, Due::Dialed { wire });
        }
        match near {
            Near::Client { client, conn } => {
                self.step_client(client, ClientInput::Opened { conn }, Some(wire));
            }
            Near::Raw { raw } => self.raw_opened(raw, wire),
            Near::Nobody => {}
        }
    }

    /// Bytes from a client.
    pub(super) fn send_up(&mut self, wire: u32, bytes: Bytes) {
        let profile = self.profile(self.wires[wire as usize].link);
        let w = &mut self.wires[wire as usize];
        if w.state == WireState::Dark {
            w.spoke_in_the_dark = true;
            if self.nodes[w.server as usize].host_up {
                self.reset_dark(wire);
            }
            return;
        }
        w.up.send(self.now, bytes, &profile);
        self.schedule_up(wire);
    }

    /// The host knows nothing of this connection any more, and says so.
    pub(super) fn reset_dark(&mut self, wire: u32) {
        let profile = self.profile(self.wires[wire as usize].link);
        let w = &mut self.wires[wire as usize];
        w.state = WireState::Over;
        w.up.drop_all();
        w.down.finish(self.now, &profile);
        self.schedule_down(wire);
    }

    /// Bytes from a server.
    pub(super) fn send_down(&mut self, wire: u32, bytes: Bytes) {
        let profile = self.profile(self.wires[wire as usize].link);
        let w = &mut self.wires[wire as usize];
        w.down.send(self.now, bytes, &profile);
        self.schedule_down(wire);
    }

    /// A server closes its end: what it has sent still arrives.
    pub(super) fn close_down(&mut self, wire: u32) {
        let profile = self.profile(self.wires[wire as usize].link);
        let w = &mut self.wires[wire as usize];
        w.state = WireState::Over;
        w.up.drop_all();
        w.down.finish(self.now, &profile);
        self.schedule_down(wire);
    }

    /// A client leaves its end. Silently: its host is gone too, and no one tells the server.
    pub(super) fn leave(&mut self, wire: u32, silent: bool) {
        let profile = self.profile(self.wires[wire as usize].link);
        let w = &mut self.wires[wire as usize];
        w.near = Near::Nobody;
        w.down.drop_all();
        match w.state {
            WireState::Dialing => w.state = WireState::Over,
            WireState::Open if silent => w.up.drop_all(),
            WireState::Open => w.up.finish(self.now, &profile),
            WireState::Dark | WireState::Over => {}
        }
        self.schedule_up(wire);
    }

    /// A connection breaks: both ends get some of what was under way, and are told.
    pub(super) fn break_wire(&mut self, wire: u32, random: &mut Stream) {
        let profile = self.profile(self.wires[wire as usize].link);
        let w = &mut self.wires[wire as usize];
        match w.state {
            WireState::Open => {
                self.coverage.hit(Hit::Reset);
                w.up.cut(self.now, &profile, random);
                w.down.cut(self.now, &profile, random);
            }
            WireState::Dialing => {
                w.state = WireState::Over;
                w.down.finish(self.now, &profile);
            }
            WireState::Dark | WireState::Over => return,
        }
        self.schedule_up(wire);
        self.schedule_down(wire);
    }

    /// A server's process or machine is gone, and its ends of all connections with it.
    pub(super) fn server_gone(&mut self, s: usize, power: bool, random: &mut Stream) {
        for i in 0..self.wires.len() {
            let w = &self.wires[i];
            if w.server as usize != s || !matches!(w.state, WireState::Open) {
                continue;
            }
            let profile = self.profile(w.link);
            let w = &mut self.wires[i];
            w.up.drop_all();
            if power {
                w.state = WireState::Dark;
                continue;
            }
            w.state = WireState::Over;
            // The system closes; with bytes unread it resets, and what was under way may be lost.
            if random.chance(512) {
                w.down.finish(self.now, &profile);
            } else {
                w.down.cut(self.now, &profile, random);
            }
            self.schedule_down(i as u32);
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

    /// Bytes are due at the server's end.
    pub(super) fn arrive_up(&mut self, wire: u32) {
        let w = &mut self.wires[wire as usize];
        if w.up.due != self.now {
            return;
        }
        let s = w.server as usize;
        let later = self.links[w.link as usize].up_stalled.max(self.nodes[s].frozen_until);
        if later > self.now {
            w.up.due = later;
            return self.queue.push(later, Due::Up { wire });
        }
        w.up.due = u64::MAX;
        if w.up.held {
            return;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut one = Bytes::new();
        let (bytes, arrived) = w.up.take(self.now, &mut scratch, &mut one);
        if w.state == WireState::Open {
            if !bytes.is_empty() {
                let requests = self.wires[wire as usize].frames.take(bytes);
                self.step_server(s, Input::Received { conn: server_conn(wire), bytes });
                self.note_taken(wire, requests);
            }
            if arrived.ended && self.wires[wire as usize].state == WireState::Open {
                let w = &mut self.wires[wire as usize];
                w.state = WireState::Over;
                w.up.drop_all();
                self.step_server(s, Input::Closed { conn: server_conn(wire) });
            }
        }
        self.scratch = scratch;
        self.schedule_up(wire);
    }

    /// Bytes are due at the client's end.
    pub(super) fn arrive_down(&mut self, wire: u32) {
        let w = &mut self.wires[wire as usize];
        if w.down.due != self.now {
            return;
        }
        let frozen = match w.near {
            Near::Client { client, .. } => self.actors[client as usize].frozen_until,
            Near::Raw { .. } | Near::Nobody => 0,
        };
        let later = self.links[w.link as usize].down_stalled.max(frozen);
        if later > self.now {
            w.down.due = later;
            return self.queue.push(later, Due::Down { wire });
        }
        w.down.due = u64::MAX;
        if w.down.held {
            return;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut one = Bytes::new();
        let (bytes, arrived) = w.down.take(self.now, &mut scratch, &mut one);
        let empty = w.down.ran_empty(limits::WRITABLE_EVERY);
        match w.near {
            Near::Client { client, conn } if !bytes.is_empty() => {
                self.step_client(client, ClientInput::Received { conn, bytes }, Some(wire));
                self.bury_handle(client);
            }
            Near::Raw { .. } if !bytes.is_empty() => self.coverage.hit(Hit::RawAnswered),
            Near::Client { .. } | Near::Raw { .. } | Near::Nobody => {}
        }
        self.scratch = scratch;
        if arrived.ended {
            self.tell_closed(wire);
        } else if empty && self.wires[wire as usize].state == WireState::Open {
            let s = self.wires[wire as usize].server as usize;
            self.step_server(s, Input::Writable { conn: server_conn(wire) });
        }
        self.schedule_down(wire);
    }
}
