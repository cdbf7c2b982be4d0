//! What faults do to the world.

use super::World;
use super::server::Armed;
use crate::history::Entry;
use crate::nemesis::{Moment, What, Whom};
use crate::net::Near;
use crate::outcome::Hit;
use crate::queue::{Due, Paused};
use crate::random::{Purpose, Stream};
use crate::scenario::{Left, LeftHow};
use zebu_core::boundary::Lane;
use zebu_core::time::Time;

/// Disk faults that outlast a restart, up to which true time.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct DiskTrouble {
    stalled_until: [u64; 2],
    lies_until: u64,
    full_until: u64,
    room: u64,
}

impl World {
    /// A fault begins, or begins to wait for its news; `teller` has brought them.
    pub(super) fn fault(&mut self, index: u16, teller: Option<u8>) {
        if self.healed_at.is_some() {
            return;
        }
        let fault = &self.plan.faults[index as usize];
        if fault.upon.is_some() && teller.is_none() {
            return self.awaiting.push(index);
        }
        let until = |time: u64| (self.now + time).min(self.plan.heal_at);
        let id = fault.id;
        match fault.what {
            What::Crash { server, moment, .. } => {
                let s = self.whom(server, teller);
                self.crash(s, index, moment);
            }
            What::Stop { server, down } => {
                let s = self.whom(server, teller);
                self.order_stop(s, down);
            }
            What::Reset { link } => self.break_link(link, id),
            What::Stall { link, server, up, down, time } => {
                let until = until(time);
                self.coverage.hit(Hit::Stall);
                self.stall_link(link, server, (up, down), until);
            }
            What::Slow { link, extra, time } => {
                let until = until(time);
                self.coverage.hit(Hit::Slow);
                self.slow_link(link, extra, until);
            }
            What::Refuse { server, time } => self.nodes[server as usize].refuses_until = until(time),
            What::DiskStall { server, .. } => {
                let s = self.whom(server, teller);
                self.disk_fault(s, index);
            }
            What::DiskError { server, .. }
            | What::DiskFull { server, .. }
            | What::DiskLies { server, .. } => self.disk_fault(server as usize, index),
            What::ReadError { server } => self.nodes[server as usize].read_error = true,
            What::WallJump { server, ms } => self.jump(server as usize, ms),
            What::Freeze { server, time } => {
                let until = until(time);
                let s = self.whom(server, teller);
                self.freeze(s, until);
            }
            What::ClientCrash { client, silent, down } => {
                if (client as usize) < self.actors.len() {
                    self.crash_client(client, silent, down);
                }
            }
            What::ClientFreeze { client, time } => {
                let until = until(time);
                let Some(actor) = self.actors.get_mut(client as usize) else { return };
                self.coverage.hit(Hit::ClientFreeze);
                actor.frozen_until = actor.frozen_until.max(until);
                self.queue.push(until, Due::Resume { who: Paused::Client(client) });
            }
            What::Partition { from, to, back, time } => {
                let until = until(time);
                self.partition((from, to, back), until);
            }
            What::Isolate { server, into, out, clients, time } => {
                let until = until(time);
                let s = self.whom(server, teller);
                self.isolate(s, (into, out, clients), until);
            }
            What::SlowPath { from, to, extra, time } => {
                let until = until(time);
                self.coverage.hit(Hit::SlowPath);
                for (a, b) in pairs(from, to) {
                    let flow = self.flow(a, b);
                    (flow.slow_until, flow.extra) = (until, extra);
                }
            }
            What::Sever { from, to } => self.sever((from, to), id),
            What::Blackout { servers, power, down, apart } => {
                self.blackout((servers, power), (down, apart), id)
            }
            What::Wipe { server, down } => {
                let s = self.whom(server, teller);
                self.wipe(s, down, index, teller);
            }
            What::Rot { server } => {
                let mut random = Stream::new(self.plan.seed, Purpose::Fault, u64::from(id), 0);
                let rotten = self.nodes[server as usize].disk.rot(&mut random);
                self.coverage.hits(Hit::Rot, u64::from(rotten));
            }
        }
    }

    /// Whom a fault is aimed at, at this moment.
    fn whom(&mut self, whom: Whom, teller: Option<u8>) -> usize {
        match whom {
            Whom::Server(s) => s as usize,
            Whom::Teller { or } => teller.unwrap_or(or) as usize,
            Whom::Leader { or } => match self.leader() {
                Some(s) => {
                    self.coverage.hit(Hit::AtLeader);
                    s
                }
                None => or as usize,
            },
        }
    }

    fn jump(&mut self, s: usize, ms: i64) {
        self.coverage.hit(Hit::WallJump);
        self.nodes[s].clock.jump(ms);
        self.show_clock(s);
    }

    fn freeze(&mut self, s: usize, until: u64) {
        self.coverage.hit(Hit::Freeze);
        let node = &mut self.nodes[s];
        node.frozen_until = node.frozen_until.max(until);
        self.queue.push(until, Due::Resume { who: Paused::Server(s as u8) });
    }

    fn stall_link(&mut self, link: u16, server: Option<u8>, (up, down): (bool, bool), until: u64) {
        let host = self.host_of_link(link);
        if host as usize >= self.hosts {
            return;
        }
        for s in 0..self.nodes.len() as u16 {
            if server.is_some_and(|only| u16::from(only) != s) {
                continue;
            }
            if up {
                self.stall(host, s, until);
            }
            if down {
                self.stall(s, host, until);
            }
        }
    }

    fn slow_link(&mut self, link: u16, extra: u64, until: u64) {
        let host = self.host_of_link(link);
        if host as usize >= self.hosts {
            return;
        }
        for s in 0..self.nodes.len() as u16 {
            for (a, b) in [(host, s), (s, host)] {
                let flow = self.flow(a, b);
                (flow.slow_until, flow.extra) = (until, extra);
            }
        }
    }

    fn stall(&mut self, from: u16, to: u16, until: u64) {
        let flow = self.flow(from, to);
        flow.stalled = flow.stalled.max(until);
    }

    /// No byte gets from some servers to others.
    fn partition(&mut self, (from, to, back): (u16, u16, bool), until: u64) {
        let (a, b) = (from.count_ones(), to.count_ones());
        let whole = (from | to).count_ones() as usize == self.nodes.len();
        self.coverage.hit(match (back, whole, a.min(b)) {
            (false, ..) => Hit::OneWay,
            (true, false, 1) if a.max(b) == 1 => Hit::Pair,
            (true, false, _) => Hit::Bridge,
            (true, true, _) => Hit::Split,
        });
        for (a, b) in pairs(from, to) {
            self.stall(a, b, until);
            if back {
                self.stall(b, a, until);
            }
        }
    }

    /// A server is cut off from the other servers, perhaps in one direction only, perhaps from clients too.
    pub(super) fn isolate(&mut self, s: usize, (into, out, clients): (bool, bool, bool), until: u64) {
        self.coverage.hit(if into && out { Hit::Isolated } else { Hit::HalfIsolated });
        let others = if clients { self.hosts } else { self.nodes.len() };
        for other in (0..others as u16).filter(|o| *o != s as u16) {
            if into {
                self.stall(other, s as u16, until);
            }
            if out {
                self.stall(s as u16, other, until);
            }
        }
    }

    /// Connections between some servers and others break.
    fn sever(&mut self, (from, to): (u16, u16), id: u32) {
        let mut random = Stream::new(self.plan.seed, Purpose::Fault, u64::from(id), 0);
        let is_in = |mask: u16, s: u8| mask >> s & 1 == 1;
        for i in 0..self.wires.len() {
            let (near, far) = (self.wires[i].near, self.wires[i].server);
            let Near::Server { server, .. } = near else { continue };
            if is_in(from, server) && is_in(to, far) || is_in(to, server) && is_in(from, far) {
                self.coverage.hit(Hit::Severed);
                self.break_wire(i as u32, &mut random);
            }
        }
    }

    /// Several servers die at once.
    fn blackout(&mut self, (servers, power): (u16, bool), (down, apart): (u64, u64), id: u32) {
        let mut random = Stream::new(self.plan.seed, Purpose::Fault, u64::from(id), 0);
        self.coverage.hit(Hit::Blackout);
        let mut down = down;
        for s in (0..self.nodes.len()).filter(|s| servers >> s & 1 == 1) {
            if self.nodes[s].server.is_some() {
                self.end_process(s, power, &mut random);
                self.start_later(s, down);
                down += apart;
            }
        }
    }

    /// A server loses its disk, at the first moment when nothing is lost with it.
    fn wipe(&mut self, s: usize, down: u64, index: u16, teller: Option<u8>) {
        let again = self.now + self.plan.config.tick_ms * 500_000;
        if !self.may_forget(s) {
            self.coverage.hit(Hit::WipePut);
            // It does not wait for its news again.
            let due = Due::Fault { index, teller: teller.or(Some(s as u8)) };
            return self.queue.push(again, due);
        }
        let votes = self.membership.in_force().votes(self.nodes[s].id);
        self.coverage.hit(if votes { Hit::Wiped } else { Hit::WipedObserver });
        let mut random =
            Stream::new(self.plan.seed, Purpose::Fault, u64::from(self.plan.faults[index as usize].id), 0);
        if self.nodes[s].server.is_some() {
            self.end_process(s, true, &mut random);
            self.start_later(s, down);
        }
        self.forget(s);
    }

    /// A dead server's disk is empty from here on.
    pub(super) fn forget(&mut self, s: usize) {
        let node = &mut self.nodes[s];
        node.disk.wipe();
        node.promised = Default::default();
        node.image_stale = true;
        let server = node.id;
        self.history.push(Time(self.now), Entry::DiskLied { server });
        self.history.push(Time(self.now), Entry::Wiped { server });
    }

    fn disk_fault(&mut self, s: usize, index: u16) {
        let until = |time: u64| (self.now + time).min(self.plan.heal_at);
        let trouble = &mut self.troubles[s];
        match self.plan.faults[index as usize].what {
            What::DiskStall { lane, time, .. } => {
                self.coverage.hit(Hit::DiskStall);
                trouble.stalled_until[lane as usize] = until(time);
            }
            What::DiskError { lane, action, .. } => {
                self.nodes[s].lanes.fail_next = Some((lane, action));
            }
            What::DiskFull { room, time, .. } => {
                self.coverage.hit(Hit::DiskFull);
                let until = until(time);
                (trouble.full_until, trouble.room) = (until, self.nodes[s].disk.used() + room);
                self.queue.push(until, Due::Phase);
            }
            What::DiskLies { time, .. } => trouble.lies_until = until(time),
            _ => unreachable!("the caller sorts out the others"),
        }
        self.apply_disk_faults(s);
    }

    fn crash(&mut self, s: usize, index: u16, moment: Moment) {
        match moment {
            Moment::Now => self.die_armed(s, index),
            Moment::Outputs(_) | Moment::DiskOutputs(..) | Moment::Sync(..) | Moment::News(..) => {
                self.nodes[s].armed.push(Armed { fault: index, moment });
            }
        }
    }

    fn break_link(&mut self, link: u16, id: u32) {
        let mut random = Stream::new(self.plan.seed, Purpose::Fault, u64::from(id), 0);
        let host = self.host_of_link(link);
        for i in 0..self.wires.len() {
            if self.wires[i].host == host && self.wires[i].near != Near::Nobody {
                self.break_wire(i as u32, &mut random);
            }
        }
    }

    /// A new process finds the disk as troubled as the last one left it.
    pub(super) fn apply_disk_faults(&mut self, s: usize) {
        let trouble = self.troubles[s];
        let lanes = &mut self.nodes[s].lanes;
        lanes.stalled_until = trouble.stalled_until;
        lanes.lies_until = trouble.lies_until;
        lanes.capacity = if self.now < trouble.full_until { trouble.room } else { u64::MAX };
    }

    /// Every fault ends.
    pub(super) fn heal(&mut self) {
        self.healed_at = Some(self.now);
        self.is_calm = self.plan.config.ensemble.is_some();
        self.awaiting.clear();
        if !self.may_leave() {
            self.plan.left = Left::default();
        }
        self.flows.fill(Default::default());
        for s in 0..self.nodes.len() {
            self.heal_server(s);
        }
        self.abandon();
        for c in 0..self.actors.len() as u16 {
            self.actors[c as usize].frozen_until = 0;
            self.actors[c as usize].down_until = 0;
            self.queue.push(self.now, Due::ClientWake { client: c });
        }
        for w in 0..self.wires.len() as u32 {
            self.schedule_up(w);
            self.schedule_down(w);
        }
    }

    fn heal_server(&mut self, s: usize) {
        self.troubles[s] = DiskTrouble::default();
        self.apply_disk_faults(s);
        let node = &mut self.nodes[s];
        node.lanes.fail_next = None;
        node.armed.clear();
        node.read_error = false;
        node.refuses_until = 0;
        node.frozen_until = 0;
        node.lanes.keep_up();
        if self.is_calm {
            node.lanes.calm();
        }
        let lost = self.plan.left.servers >> s & 1 == 1;
        if self.nodes[s].server.is_none() && !lost {
            self.start_server(s);
        }
        for lane in [Lane::Log, Lane::Bulk] {
            self.queue.push(self.now, Due::Disk { server: s as u8, lane });
        }
    }

    /// Those that are not healed stay as badly off as can be.
    fn abandon(&mut self) {
        let left = self.plan.left;
        if left.servers == 0 {
            return;
        }
        self.coverage.hit(match left.how {
            LeftHow::Dead => Hit::LeftDead,
            LeftHow::Apart => Hit::LeftApart,
            LeftHow::Deaf | LeftHow::Mute => Hit::LeftHalf,
        });
        let mut random = Stream::new(self.plan.seed, Purpose::Fault, 2 << 40, 0);
        for s in (0..self.nodes.len()).filter(|s| left.servers >> s & 1 == 1) {
            self.nodes[s].abandoned = true;
            match left.how {
                LeftHow::Dead if self.nodes[s].server.is_some() => {
                    self.end_process(s, random.chance(512), &mut random);
                }
                LeftHow::Dead => {}
                LeftHow::Apart => self.isolate(s, (true, true, true), u64::MAX),
                LeftHow::Deaf => self.isolate(s, (true, false, true), u64::MAX),
                LeftHow::Mute => self.isolate(s, (false, true, true), u64::MAX),
            }
        }
    }

    /// Tells the history who is healed.
    pub(super) fn show_healed(&mut self) {
        if self.plan.config.ensemble.is_some() {
            let healed = self.nodes.iter().filter(|n| !n.abandoned).map(|n| n.id).collect();
            self.history.whole(Time(self.now), healed);
        }
    }

    /// How the power fails: an honest disk loses any of what was not synced. One that lied loses all that it holds, when it may
    /// be forgotten: with a part of it gone, what was synced behind the lie would claim a history that has a hole.
    pub(super) fn cut_power(&mut self, s: usize, random: &mut Stream) {
        let guarded = self.nodes[s].disk.guarded && self.nodes[s].disk.lied;
        if guarded && self.may_forget(s) {
            self.forget(s);
        } else if guarded {
            self.nodes[s].disk.settle_all();
        }
        let node = &mut self.nodes[s];
        node.host_up = false;
        let cut = node.disk.power_cut(random);
        self.coverage.hits(Hit::Torn, u64::from(cut.torn));
        self.coverage.hits(Hit::Undone, u64::from(cut.undone));
    }
}

/// Every two servers of which one is here and the other there.
fn pairs(from: u16, to: u16) -> impl Iterator<Item = (u16, u16)> {
    let each = |mask: u16| (0..16u16).filter(move |s| mask >> s & 1 == 1);
    each(from).flat_map(move |a| each(to).map(move |b| (a, b))).filter(|(a, b)| a != b)
}
