//! Raw connections of the world.

use super::World;
use super::links::accepted;
use crate::history::Entry;
use crate::net::Near;
use crate::outcome::Hit;
use crate::queue::Due;
use crate::raw::{self, RawMove, RawPlan};
use zebu_core::boundary::Port;
use zebu_core::time::Time;

/// A raw connection.
#[derive(Clone, Default, Debug)]
pub(super) struct RawActor {
    wire: Option<u32>,
    next: usize,
}

impl World {
    /// The next move of a raw connection is due: its first is to ask for the connection.
    pub(super) fn raw_move(&mut self, raw: u16) {
        let Some(wire) = self.raws[raw as usize].wire else {
            let host = self.host_of_link(self.plan.clients.len() as u16 + raw);
            let RawPlan { server, port, .. } = self.plan.raws[raw as usize];
            let wire = self.new_wire(Near::Raw { raw }, host, (server, port), 0);
            self.raws[raw as usize].wire = Some(wire);
            return;
        };
        let actor = &mut self.raws[raw as usize];
        let plan = &self.plan.raws[raw as usize];
        let Some((_, what)) = plan.moves.get(actor.next) else { return };
        actor.next += 1;
        if let Some((after, _)) = plan.moves.get(actor.next) {
            self.queue.push(self.now + after, Due::Raw { raw });
        }
        match what.clone() {
            RawMove::Send(bytes) => self.send_up(wire, bytes),
            RawMove::Steal { whose, lie } => {
                let Some(nth) = usize::from(whose).checked_rem(self.homes.len()) else { return };
                let (session, _) = self.homes[nth];
                self.coverage.hit(Hit::Stolen);
                self.history.push(Time(self.now), Entry::Stranger { conn: accepted(wire) });
                self.send_up(wire, raw::steal(session, lie));
            }
            RawMove::Hold => self.wires[wire as usize].down.held = true,
            RawMove::Close => self.leave(wire, false),
        }
    }

    /// The connection is there: the moves begin.
    pub(super) fn raw_opened(&mut self, raw: u16, _wire: u32) {
        let clients = self.plan.raws[raw as usize].port == Port::Client;
        self.coverage.hit(if clients { Hit::Raw } else { Hit::RawPeer });
        if let Some((after, _)) = self.plan.raws[raw as usize].moves.first() {
            self.queue.push(self.now + after, Due::Raw { raw });
        }
    }
}
