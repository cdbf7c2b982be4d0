//! Clients of the world: programs around the product's own client machine.

use super::World;
use super::links::{CLIENT_PORT, accepted};
use crate::history::{Call, Entry, HandleState, Setup, Who};
use crate::net::Near;
use crate::outcome::Hit;
use crate::queue::Due;
use crate::random::{Purpose, Stream};
use crate::workload::Act;
use std::net::IpAddr;
use zebu_core::boundary::{Conn, Port};
use zebu_core::client::{
    CallId, Client, ClientConfig, ClientInput, ClientOutput, ClientState, Disconnect, ServerAddr,
};
use zebu_core::id::Zxid;
use zebu_core::proto::{ErrorCode, EventKind, OpResult, Request, Response, WatcherEvent};
use zebu_core::time::{Span, Time};

/// A client of the world: one process at a time, one handle at a time.
#[derive(Debug)]
pub(super) struct Actor {
    /// The running handle.
    pub(super) handle: Option<Handle>,
    /// Handles so far.
    handles: u64,
    /// Connections so far.
    dials: u64,
    /// Those that may not be over yet.
    wires: Vec<u32>,
    /// The next operation of the program.
    pub(super) next_op: usize,
    /// When the earliest scheduled wake-up comes.
    wake_due: u64,
    /// It does nothing before this true time.
    pub(super) frozen_until: u64,
    /// Where its process is down until.
    pub(super) down_until: u64,
}

/// A handle that runs.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) machine: Client,
    pub(super) who: Who,
    /// Its calls that have not returned.
    pub(super) open: Vec<Call>,
}

impl Default for Actor {
    fn default() -> Actor {
        Actor {
            handle: None,
            handles: 0,
            dials: 0,
            wires: Vec::new(),
            next_op: 0,
            wake_due: u64::MAX,
            frozen_until: 0,
            down_until: 0,
        }
    }
}

/// The address of a client or raw connection.
pub(super) fn address(name: u16) -> IpAddr {
    IpAddr::from([10, 0, (name >> 8) as u8, name as u8 + 1])
}

impl World {
    /// The process of this client starts, or goes on after a handle's end: a new handle.
    pub(super) fn open_handle(&mut self, client: u16) {
        let now = self.now;
        let actor = &mut self.actors[client as usize];
        if actor.handle.is_some() || now < actor.down_until {
            return;
        }
        let plan = &self.plan.clients[client as usize];
        let known =
            |s: &u8| ServerAddr { host: format!("s{}", self.nodes[*s as usize].id), port: CLIENT_PORT };
        let servers = plan.servers.iter().map(known).collect();
        let config = ClientConfig {
            servers,
            chroot: None,
            session_timeout_ms: plan.timeout_ms,
            read_only: plan.read_only,
            auth: plan.auth.clone(),
            max_frame: 1 << 24,
            max_calls: 100_000,
            set_watches: plan.set_watches,
            round_pause: Span(plan.patience),
            reconnect_jitter: Span(plan.patience),
        };
        let setup = Setup { peer: address(plan.name), timeout_ms: plan.timeout_ms, auth: plan.auth.clone() };
        let name = u64::from(plan.name);
        let seed = Stream::new(self.plan.seed, Purpose::Client, name, actor.handles).seed();
        actor.handles += 1;
        let who = self.history.open(Time(now), client, setup);
        let machine = Client::new(config, seed, Time(now));
        self.actors[client as usize].handle = Some(Handle { machine, who, open: Vec::new() });
        self.step_client(client, ClientInput::Wake, None);
    }

    /// The next operation of a program is due.
    pub(super) fn act(&mut self, client: u16) {
        let actor = &mut self.actors[client as usize];
        let plan = &self.plan.clients[client as usize];
        let Some(op) = plan.ops.get(actor.next_op) else { return };
        actor.next_op += 1;
        let act = op.act.clone();
        if let Some(next) = plan.ops.get(actor.next_op) {
            self.queue.push(next.at.max(self.now), Due::Act { client });
        }
        match act {
            Act::Call(request) => self.call(client, request),
            Act::Close => self.close_handle(client),
        }
    }

    /// Calls this, if there is a handle.
    pub(super) fn call(&mut self, client: u16, request: Request) {
        let Some(handle) = &mut self.actors[client as usize].handle else { return };
        let call = self.history.invoke(Time(self.now), handle.who, request.clone());
        handle.open.push(call);
        self.coverage.hit(Hit::Calls);
        if let Request::Reconfig { .. } = request {
            self.coverage.hit(Hit::ReconfigAsked);
            self.membership.open += 1;
        }
        self.step_client(client, ClientInput::Call { id: CallId(u64::from(call.0)), request }, None);
    }

    fn close_handle(&mut self, client: u16) {
        let Some(handle) = &mut self.actors[client as usize].handle else { return };
        let call = self.history.invoke(Time(self.now), handle.who, Request::CloseSession);
        handle.open.push(call);
        self.step_client(client, ClientInput::Close { id: CallId(u64::from(call.0)) }, None);
    }

    /// The client process dies.
    pub(super) fn crash_client(&mut self, client: u16, silent: bool, down: u64) {
        self.coverage.hit(Hit::ClientCrash);
        let actor = &mut self.actors[client as usize];
        actor.down_until = self.now + down;
        self.queue.push(self.now + down, Due::Reopen { client });
        let Some(handle) = actor.handle.take() else { return };
        self.history.push(Time(self.now), Entry::Gone { who: handle.who });
        for wire in std::mem::take(&mut self.actors[client as usize].wires) {
            if matches!(self.wires[wire as usize].near, Near::Client { .. }) {
                self.leave(wire, silent);
            }
        }
    }

    /// The client's deadline may have come.
    pub(super) fn wake_client(&mut self, client: u16) {
        let actor = &mut self.actors[client as usize];
        if actor.wake_due <= self.now {
            actor.wake_due = u64::MAX;
        }
        let Some(handle) = &actor.handle else { return };
        match handle.machine.next_wake() {
            Some(at) if at.0 <= self.now => self.step_client(client, ClientInput::Wake, None),
            Some(_) | None => self.schedule_client(client),
        }
    }

    fn schedule_client(&mut self, client: u16) {
        let actor = &mut self.actors[client as usize];
        let Some(at) = actor.handle.as_ref().and_then(|h| h.machine.next_wake()) else { return };
        if at.0 < actor.wake_due {
            actor.wake_due = at.0;
            self.queue.push(at.0.max(self.now), Due::ClientWake { client });
        }
    }

    /// Steps the client's machine and carries out what it wants. `wire` is the connection that the input came from.
    pub(super) fn step_client(&mut self, client: u16, input: ClientInput<'_>, wire: Option<u32>) {
        let actor = &mut self.actors[client as usize];
        let Some(handle) = &mut actor.handle else { return };
        let mut out = std::mem::take(&mut self.client_out);
        let arrived = matches!(input, ClientInput::Received { .. });
        handle.machine.step(Time(self.now), input, &mut out);
        for output in out.drain(..) {
            self.client_output(client, output, wire.filter(|_| arrived));
        }
        self.client_out = out;
        self.schedule_client(client);
    }

    fn client_output(&mut self, client: u16, output: ClientOutput, wire: Option<u32>) {
        match output {
            ClientOutput::Dial { conn, server } => self.dial(client, conn, server),
            ClientOutput::Send { conn, bytes } => {
                self.hash.word(0x11 | u64::from(client) << 8);
                self.hash.bytes(&bytes);
                if let Some(w) = self.wire_of(client, conn) {
                    self.send_up(w, bytes);
                }
            }
            ClientOutput::Close { conn } => {
                if let Some(w) = self.wire_of(client, conn) {
                    self.leave(w, false);
                }
            }
            ClientOutput::Reply { id, zxid, result } => {
                self.reply(client, Call(id.0 as u32), zxid, result, wire);
            }
            ClientOutput::Watch { zxid, event, .. } => self.notify(client, zxid, event, wire),
            ClientOutput::State(state) => self.client_state(client, state, wire),
            ClientOutput::Lost { cause, .. } => self.lost(client, cause),
        }
    }

    fn lost(&mut self, client: u16, cause: Disconnect) {
        self.hash.word(0x14);
        let misread = match cause {
            Disconnect::FrameLength(_)
            | Disconnect::BadFrame(_)
            | Disconnect::XidOutOfOrder { .. }
            | Disconnect::UnknownError(_)
            | Disconnect::ForeignSession(_) => true,
            Disconnect::Closed
            | Disconnect::ConnectTimeout
            | Disconnect::ReadTimeout
            | Disconnect::ReadOnlyServer
            | Disconnect::Final => false,
        };
        if let (true, Some(handle)) = (misread, &self.actors[client as usize].handle) {
            self.history.push(Time(self.now), Entry::Misread { who: handle.who, cause });
        }
    }

    /// A watch event was handed to the program. Those that the machine makes itself, of removed watches, are no one's news.
    fn notify(&mut self, client: u16, zxid: Zxid, event: WatcherEvent, wire: Option<u32>) {
        self.hash.word(0x13 ^ (zxid.0 as u64) << 8);
        let Some(who) = self.actors[client as usize].handle.as_ref().map(|h| h.who) else { return };
        match event.kind {
            EventKind::NodeCreated
            | EventKind::NodeDeleted
            | EventKind::NodeDataChanged
            | EventKind::NodeChildrenChanged => {}
            EventKind::None
            | EventKind::DataWatchRemoved
            | EventKind::ChildWatchRemoved
            | EventKind::PersistentWatchRemoved => return,
        }
        self.coverage.hit(Hit::Watch);
        let conn = accepted(wire.expect("an event came over a wire"));
        self.history.notify(Time(self.now), who, conn, zxid, event.kind, event.path);
    }

    fn reply(
        &mut self,
        client: u16,
        call: Call,
        zxid: Zxid,
        result: Result<Response, ErrorCode>,
        wire: Option<u32>,
    ) {
        let code = result.as_ref().err().map_or(0, |e| e.code());
        self.hash.word(0x12 | u64::from(call.0) << 8 ^ (code as u32 as u64) << 32);
        self.hash.word(zxid.0 as u64);
        let Some(handle) = &mut self.actors[client as usize].handle else { return };
        handle.open.retain(|c| *c != call);
        let who = handle.who;
        let conn = wire.filter(|_| zxid != Zxid::NONE).map(accepted);
        self.coverage.hit(match &result {
            Ok(_) => Hit::Ok,
            Err(_) if conn.is_none() => Hit::Lost,
            Err(_) => Hit::Refused,
        });
        if let Request::Reconfig { .. } = self.history.requests[call.0 as usize] {
            self.membership.open -= u32::from(conn.is_some());
            self.coverage.hit(match &result {
                Ok(_) => Hit::ReconfigGranted,
                Err(_) if conn.is_none() => Hit::ReconfigLost,
                Err(ErrorCode::BadVersion) => Hit::ReconfigStale,
                Err(ErrorCode::ReconfigInProgress) => Hit::ReconfigInProgress,
                Err(ErrorCode::NewConfigNoQuorum) => Hit::ReconfigNoQuorum,
                Err(_) => Hit::ReconfigRefused,
            });
        }
        if let Ok(Response::Multi(parts)) = &result
            && parts.iter().any(|p| matches!(p, OpResult::Error(Some(_))))
            && matches!(self.history.requests[call.0 as usize], Request::Multi(_))
        {
            self.coverage.hit(Hit::MultiFailed);
        }
        if wire.is_some() {
            self.show_images();
        }
        self.history.ret(Time(self.now), who, call, conn, zxid, result);
    }

    fn client_state(&mut self, client: u16, state: ClientState, wire: Option<u32>) {
        self.hash.word(0x15 | u64::from(client) << 8);
        let Some(who) = self.actors[client as usize].handle.as_ref().map(|h| h.who) else { return };
        let state = match state {
            ClientState::Connecting => return,
            ClientState::Connected { session, timeout_ms, reattached } => {
                self.coverage.hit(if reattached { Hit::Reconnect } else { Hit::Session });
                let conn = accepted(wire.expect("a handshake came over a wire"));
                HandleState::Connected { conn, session, timeout_ms, reattached, read_only: false }
            }
            ClientState::ConnectedReadOnly { session, timeout_ms, reattached } => {
                self.coverage.hit(Hit::ReadOnlySession);
                let conn = accepted(wire.expect("a handshake came over a wire"));
                HandleState::Connected { conn, session, timeout_ms, reattached, read_only: true }
            }
            ClientState::Disconnected => HandleState::Disconnected,
            ClientState::Expired => {
                self.coverage.hit(Hit::Expired);
                HandleState::Expired
            }
            ClientState::AuthFailed => {
                self.coverage.hit(Hit::AuthFailed);
                HandleState::AuthFailed
            }
            ClientState::Closed => {
                self.coverage.hit(Hit::Closed);
                HandleState::Closed
            }
        };
        self.history.push(Time(self.now), Entry::State { who, state });
    }

    /// After a step: a handle whose state is final makes room for the next one.
    pub(super) fn bury_handle(&mut self, client: u16) {
        let actor = &mut self.actors[client as usize];
        let over = actor.handle.as_ref().is_some_and(|h| h.machine.state().is_final());
        if !over {
            return;
        }
        // Calls that a dead machine still owes stay open in the history, for the checkers to see.
        actor.handle = None;
        if self.now < self.plan.heal_at {
            let after = self.plan.clients[client as usize].reopen_after;
            self.queue.push(self.now + after, Due::Reopen { client });
        }
    }

    fn dial(&mut self, client: u16, conn: Conn, server: usize) {
        self.hash.word(0x10 | u64::from(client) << 8 | conn.0 << 24);
        let actor = &mut self.actors[client as usize];
        let nth = actor.dials;
        actor.dials += 1;
        let server = self.plan.clients[client as usize].servers[server];
        let host = self.host_of_link(client);
        let wire = self.new_wire(Near::Client { client, conn }, host, (server, Port::Client), nth);
        let wires = &self.wires;
        let actor = &mut self.actors[client as usize];
        actor.wires.retain(|w| matches!(wires[*w as usize].near, Near::Client { .. }));
        actor.wires.push(wire);
    }

    /// The wire behind a client's own number, unless it is over.
    fn wire_of(&self, client: u16, conn: Conn) -> Option<u32> {
        let near = Near::Client { client, conn };
        self.actors[client as usize]
            .wires
            .iter()
            .rev()
            .copied()
            .find(|w| self.wires[*w as usize].near == near)
    }

    /// Every call of this client has returned and it is in touch with a server, or has nothing left to do.
    pub(super) fn is_settled(&self, client: u16) -> bool {
        let actor = &self.actors[client as usize];
        let done = actor.next_op >= self.plan.clients.get(client as usize).map_or(0, |p| p.ops.len());
        done && actor.handle.as_ref().is_none_or(|h| h.open.is_empty() && h.machine.state().is_connected())
    }
}
