//! The standalone role: a quorum of one. What it proposes is committed once it is durable. Answers to `ZooKeeperServer` with
//! `PrepRequestProcessor`, `SyncRequestProcessor` and `FinalRequestProcessor` in one line.

use super::Base;
use super::clients::{self, Clients, Coming, Door, Write};
use super::front::Asked;
use super::line::Commit;
use super::proposer::{Asker, Chore, Proposal, Proposer, orphans};
use crate::boundary::{
    AdminOrder, CloseCause, Conn, Event, Input, Lane, Port, RoleName, Stop, Ticket, Timer, Vouch,
};
use crate::id::{SessionId, Zxid};
use crate::proto::{ErrorCode, Request};
use crate::time::Time;
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(super) struct Solo {
    phase: Phase,
    proposer: Proposer,
    last_proposed: Zxid,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// What was recovered is not durable yet.
    Recovering,
    Serving,
    /// Ordered to stop: what is in flight is finished, nothing new begins.
    Stopping,
}

impl Clients for Solo {
    fn door(&self) -> Door {
        match self.phase {
            Phase::Recovering => Door::Shut,
            Phase::Serving => Door::Open,
            Phase::Stopping => Door::Closing,
        }
    }

    fn used(&mut self, _: SessionId, _: i32) {}

    fn create_session(&mut self, base: &mut Base, session: SessionId, timeout: i32) {
        self.propose(base, Asker::server(session), Proposal::CreateSession { timeout });
    }

    fn come_back(&mut self, base: &mut Base, id: Conn, coming: Coming) {
        self.proposer.come_back(base, id, coming);
    }

    fn write(&mut self, base: &mut Base, write: Write<'_>) -> Commit {
        let Asked { session, xid, .. } = write.asked;
        let zxid = if let Request::CloseSession = write.request {
            let begun = base.sessions.begin_close(session);
            assert!(begun, "a live session begins to close once");
            self.propose(base, Asker { session, cxid: xid.0, ids: &[] }, Proposal::CloseSession)
        } else {
            let ids = Arc::clone(base.conns.get(write.id).expect("it has just asked").ids());
            let asker = Asker { session, cxid: xid.0, ids: &ids };
            self.propose(base, asker, Proposal::Write(write.request))
        };
        Commit::Own(zxid)
    }

    fn misread(&mut self, base: &mut Base, asked: Asked) -> Option<Commit> {
        let asker = Asker { session: asked.session, cxid: asked.xid.0, ids: &[] };
        Some(Commit::Own(self.propose(base, asker, Proposal::Failed(ErrorCode::MarshallingError))))
    }

    /// All that anybody has been told of is applied here.
    fn sync(&mut self, _: &mut Base, _: Write<'_>) -> Option<u64> {
        None
    }
}

impl Solo {
    pub(super) fn new(base: &Base) -> Solo {
        Solo { phase: Phase::Recovering, proposer: Proposer::new(base), last_proposed: base.tree.last_zxid() }
    }

    pub(super) fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    pub(super) fn last_proposed(&self) -> Zxid {
        self.last_proposed
    }

    pub(super) fn next_wake(&self, base: &Base) -> Option<(Time, Timer)> {
        if self.phase != Phase::Serving {
            return None;
        }
        base.next_wake().chain(self.proposer.next_wake(base)).min()
    }

    /// One input.
    pub(super) fn on(&mut self, base: &mut Base, input: Input<'_>) {
        match input {
            Input::Wake => {}
            Input::Opened { conn, port: Port::Client, peer } => base.open(conn, peer),
            Input::Opened { port: Port::Election | Port::Quorum | Port::ObserverMaster, .. } => {
                unreachable!("a standalone server has none of these ports")
            }
            Input::Received { conn, bytes } => clients::received(self, base, conn, bytes),
            Input::Writable { conn } => clients::writable(self, base, conn),
            Input::Closed { conn } => {
                base.forget(conn);
            }
            Input::Durable { lane, upto } => self.durable(base, lane, upto),
            Input::DiskFailed { fault } => base.disk_failed(fault),
            Input::Read { .. } => unreachable!("a standalone server reads no log"),
            Input::Admin { order: AdminOrder::Shutdown } => self.shutdown(base),
            Input::Admin { order: AdminOrder::HostGauges { open_fds, max_fds } } => {
                base.stats.open_fds = open_fds;
                base.stats.max_fds = max_fds;
            }
        }
        if self.phase == Phase::Serving {
            while let Some(chore) = self.proposer.chore(base) {
                match chore {
                    Chore::Expired(session) => {
                        self.propose(base, Asker::server(session), Proposal::CloseSession)
                    }
                    Chore::Garbage(delete) => {
                        self.propose(base, Asker::server(SessionId::NONE), Proposal::Write(&delete))
                    }
                };
            }
            base.timers();
            base.store.maybe_snapshot(&mut base.tree, &base.sessions, &mut base.out);
        }
    }

    fn shutdown(&mut self, base: &mut Base) {
        match self.phase {
            Phase::Stopping => {}
            Phase::Recovering | Phase::Serving => {
                self.phase = Phase::Stopping;
                self.finish_if_idle(base);
            }
        }
    }

    fn finish_if_idle(&mut self, base: &mut Base) {
        if self.phase == Phase::Stopping && self.proposer.is_idle() {
            base.close_all(CloseCause::Stopping);
            base.stop(Stop::Ordered);
        }
    }

    fn propose(&mut self, base: &mut Base, asker: Asker<'_>, proposal: Proposal<'_>) -> Zxid {
        let zxid = next_zxid(self.last_proposed);
        self.last_proposed = zxid;
        let body = self.proposer.prepare(base, zxid, asker, proposal);
        base.log(zxid, body);
        base.store.park(Vouch::OwnAck(zxid));
        zxid
    }

    fn durable(&mut self, base: &mut Base, lane: Lane, upto: Ticket) {
        for vouch in base.durable(lane, upto) {
            base.event(Event::Vouched(vouch));
            match vouch {
                Vouch::Recovered(_) => {
                    if self.phase == Phase::Recovering {
                        self.phase = Phase::Serving;
                        base.become_role(RoleName::Standalone);
                        base.sessions.restart(base.now.mono);
                        for session in orphans(base) {
                            self.propose(base, Asker::server(session), Proposal::CloseSession);
                        }
                    }
                }
                Vouch::OwnAck(zxid) => self.commit(base, zxid),
                Vouch::Ack(_) | Vouch::AckEpoch(_) | Vouch::AckNewLeader(_) => {
                    unreachable!("a standalone server promises nothing to a peer")
                }
            }
        }
        self.finish_if_idle(base);
    }

    fn commit(&mut self, base: &mut Base, zxid: Zxid) {
        let mut unblocked: Vec<Conn> = self.proposer.committed(base, zxid).unblocked.into_iter().collect();
        self.proposer.welcome_back(base, zxid, &mut unblocked);
        for id in unblocked {
            clients::pump(self, base, id);
        }
    }
}

/// Alone, a server may go on into the next epoch when a counter is used up (2^32 transactions, a day at full load); the
/// counter 0 is never a transaction.
fn next_zxid(last: Zxid) -> Zxid {
    match last.counter() {
        u32::MAX => Zxid::new(last.epoch() + 1, 1),
        _ => last.next(),
    }
}
