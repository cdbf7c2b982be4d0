//! What faults do to the world.

use super::World;
use super::server::Armed;
use crate::nemesis::{Moment, What};
use crate::net::Near;
use crate::outcome::Hit;
use crate::queue::{Due, Paused};
use crate::random::{Purpose, Stream};
use zebu_core::boundary::Lane;

/// Disk faults that outlast a restart, up to which true time.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct DiskTrouble {
    stalled_until: [u64; 2],
    lies_until: u64,
    full_until: u64,
    room: u64,
}

impl World {
    /// A fault begins.
    pub(super) fn fault(&mut self, index: u16) {
        let fault = &self.plan.faults[index as usize];
        let until = |time: u64| (self.now + time).min(self.plan.heal_at);
        let id = fault.id;
        match fault.what {
            What::Crash { server, moment, .. } => self.crash(server as usize, index, moment),
            What::Stop { server, down } => self.order_stop(server as usize, down),
            What::Reset { link } => self.break_link(link, id),
            What::Stall { link, up, down, time } => {
                let until = until(time);
                self.coverage.hit(Hit::Stall);
                let Some(l) = self.links.get_mut(link as usize) else { return };
                if up {
                    l.up_stalled = l.up_stalled.max(until);
                }
                if down {
                    l.down_stalled = l.down_stalled.max(until);
                }
            }
            What::Slow { link, extra, time } => {
                let until = until(time);
                self.coverage.hit(Hit::Slow);
                let Some(l) = self.links.get_mut(link as usize) else { return };
                (l.slow_until, l.extra) = (until, extra);
            }
            What::Refuse { server, time } => self.nodes[server as usize].refuses_until = until(time),
            What::DiskStall { server, .. }
            | What::DiskError { server, .. }
            | What::DiskFull { server, .. }
            | What::DiskLies { server, .. } => self.disk_fault(server as usize, index),
            What::ReadError { server } => self.nodes[server as usize].read_error = true,
            What::WallJump { server, ms } => {
                self.coverage.hit(Hit::WallJump);
                self.nodes[server as usize].clock.jump(ms);
            }
            What::Freeze { server, time } => {
                let until = until(time);
                self.coverage.hit(Hit::Freeze);
                let node = &mut self.nodes[server as usize];
                node.frozen_until = node.frozen_until.max(until);
                self.queue.push(until, Due::Resume { who: Paused::Server(server) });
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
        }
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
        for i in 0..self.wires.len() {
            if self.wires[i].link == link && self.wires[i].near != Near::Nobody {
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
        for link in &mut self.links {
            *link = Default::default();
        }
        for s in 0..self.nodes.len() {
            self.troubles[s] = DiskTrouble::default();
            self.apply_disk_faults(s);
            let node = &mut self.nodes[s];
            node.lanes.fail_next = None;
            node.armed.clear();
            node.read_error = false;
            node.refuses_until = 0;
            node.frozen_until = 0;
            if node.server.is_none() {
                self.start_server(s);
            }
            for lane in [Lane::Log, Lane::Bulk] {
                self.queue.push(self.now, Due::Disk { server: s as u8, lane });
            }
        }
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
}
