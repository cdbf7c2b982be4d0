//! Connections: in order, with delays, stalled by partitions, cut with something under way.

use super::{Cargo, Event, Link, MS, Role, World};
use crate::boundary::Conn;

impl World {
    pub(super) fn dialled(&mut self, n: usize, life: u64) {
        if self.nodes[n].life != life {
            return;
        }
        let Role::Learning(_, leader) = self.nodes[n].role else { return };
        if !self.reach(n, leader) || !matches!(self.nodes[leader].role, Role::Leading(_)) {
            return self.step(n, |role, now, out| match role {
                Role::Learning(l, _) => l.closed(now, None, out),
                Role::Down | Role::Looking | Role::Leading(_) => {}
            });
        }
        let id = self.next_link;
        self.next_link += 1;
        let link =
            Link { learner: n, leader, queues: Default::default(), last: [self.now; 2], shut: [false; 2] };
        self.links.insert(id, link);
        self.step(leader, |role, now, out| match role {
            Role::Leading(l) => l.opened(now, Conn(id), out),
            Role::Down | Role::Looking | Role::Learning(..) => {}
        });
        self.step(n, |role, now, out| match role {
            Role::Learning(l, _) => l.opened(now, Conn(id), out),
            Role::Down | Role::Looking | Role::Leading(_) => {}
        });
    }

    /// Sends along a link.
    pub(super) fn put(&mut self, n: usize, conn: Conn, cargo: Cargo) {
        let (low, high) = if self.chance(20) { (10, 60) } else { (0, 2) };
        let delay = self.between(low * MS + MS / 5, high * MS + MS);
        let now = self.now;
        let Some(link) = self.links.get_mut(&conn.0) else { return };
        let side = usize::from(link.leader == n);
        link.queues[side].push_back(cargo);
        link.last[side] = link.last[side].max(now + delay);
        let at = link.last[side] - now;
        self.at(at, Event::Arrive(conn.0, side));
    }

    /// The server has done with this connection: the other one is told behind what was sent.
    pub(super) fn shut(&mut self, n: usize, conn: Conn) {
        let Some(link) = self.links.get_mut(&conn.0) else { return };
        let side = usize::from(link.leader == n);
        if !std::mem::replace(&mut link.shut[1 - side], true) {
            self.put(n, conn, Cargo::End);
        }
    }

    /// The oldest thing of one direction arrives; even at a server that has closed, to see that it takes no notice.
    pub(super) fn arrive(&mut self, id: u64, side: usize) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let (from, to) = match side {
            0 => (link.learner, link.leader),
            _ => (link.leader, link.learner),
        };
        if self.blocked.contains(&(from, to)) {
            return self.at(15 * MS, Event::Arrive(id, side));
        }
        let Some(cargo) = link.queues[side].pop_front() else { return };
        let conn = Conn(id);
        match cargo {
            Cargo::Packet(packet) => self.step(to, |role, now, out| match role {
                Role::Leading(l) => l.packet(now, conn, packet, out),
                Role::Learning(l, _) => l.packet(now, conn, packet, out),
                Role::Down | Role::Looking => {}
            }),
            Cargo::Snapshot(list) => {
                let mine = matches!(&self.nodes[to].role, Role::Learning(l, _) if l.conn() == Some(conn));
                if mine {
                    self.nodes[to].staged = Some(list);
                    self.step(to, |role, now, _| match role {
                        Role::Learning(l, _) => l.snapshot_received(now),
                        Role::Down | Role::Looking | Role::Leading(_) => {}
                    });
                }
            }
            Cargo::End => {
                let link = self.links.get_mut(&id).expect("it brought the end");
                link.shut[side] = true;
                self.step(to, |role, now, out| match role {
                    Role::Leading(l) => l.closed(conn),
                    Role::Learning(l, _) => l.closed(now, Some(conn), out),
                    Role::Down | Role::Looking => {}
                });
                self.shut(to, conn);
            }
        }
    }

    /// A connection breaks: of what is under way only some arrives.
    pub(super) fn cut(&mut self, id: u64) {
        for side in 0..2 {
            let len = self.links[&id].queues[side].len() as u64;
            let keep = self.rng.below(len + 1) as usize;
            let link = self.links.get_mut(&id).expect("it is there");
            link.queues[side].truncate(keep);
            let n = if side == 0 { link.learner } else { link.leader };
            self.put(n, Conn(id), Cargo::End);
        }
    }
}
