//! D1, D3, D4, T1, T2, Z2, Z3, Z4, F1 of a standalone server: what it promises, commits, applies and recovers, against the image
//! of its disk and against the model, which is folded here.

use super::model::{Index, Model, Place};
use super::txn::{Head, Made, Op};
use super::{Cx, Found, Rule, reaped};
use crate::history::{Entry, Restored, ShadowOutcome};
use zebu_core::boundary::{Event, Vouch};
use zebu_core::id::{ServerId, Zxid};
use zebu_core::time::Time;

/// A recovery that has not been vouched for yet.
#[derive(Clone, Copy, Debug)]
struct Recovery {
    last: Zxid,
    digest: u64,
    tail: (u32, u32),
}

/// What is known of a server and its disk.
#[derive(Clone, Copy, Debug)]
struct Disk {
    server: ServerId,
    /// Last zxid that survives a power cut now.
    image: Zxid,
    /// Largest zxid it ever vouched for.
    vouched: Zxid,
    committed: Zxid,
    applied: Zxid,
    recovery: Option<Recovery>,
    lied: bool,
}

/// All servers' disks.
#[derive(Debug, Default)]
pub(super) struct Disks {
    disks: Vec<Disk>,
    forgiven: bool,
    void: bool,
}

impl Disks {
    pub(super) fn clear(&mut self) {
        self.disks.clear();
        self.forgiven = false;
        self.void = false;
    }

    /// A disk that lied has lost committed transactions: what follows is another history.
    pub(super) fn void(&self) -> bool {
        self.void
    }

    /// A disk has lied: a refusal to start may be its fault.
    pub(super) fn forgiven(&self) -> bool {
        self.forgiven
    }

    fn of(&mut self, server: ServerId) -> &mut Disk {
        let known = self.disks.iter().position(|d| d.server == server);
        let at = known.unwrap_or_else(|| {
            self.disks.push(Disk {
                server,
                image: Zxid::ZERO,
                vouched: Zxid::ZERO,
                committed: Zxid::ZERO,
                applied: Zxid::ZERO,
                recovery: None,
                lied: false,
            });
            self.disks.len() - 1
        });
        &mut self.disks[at]
    }

    /// The state that this server's tree is in.
    pub(super) fn applied(&mut self, model: &Model, server: ServerId) -> Option<Index> {
        model.index(self.of(server).applied)
    }

    fn holders(&self, cx: Cx<'_>, zxid: Zxid) -> bool {
        cx.limits
            .ensemble
            .is_quorum(|s| self.disks.iter().any(|d| d.server == s && (d.lied || d.image >= zxid)))
    }

    /// A client was shown this zxid.
    pub(super) fn shown(&self, cx: Cx<'_>, zxid: Zxid, found: &mut Found) {
        found.look(Rule::D1);
        if zxid > Zxid::ZERO && !self.holders(cx, zxid) {
            found.add(Rule::D1, cx.at, || format!("a client was shown {zxid}, which a power cut would undo"));
        }
    }

    pub(super) fn crash(&mut self, server: ServerId) {
        let disk = self.of(server);
        disk.recovery = None;
        disk.applied = disk.committed;
    }

    /// The run is over: nothing is committed and not applied.
    pub(super) fn finish(&self, cx: Cx<'_>, found: &mut Found) {
        for d in self.disks.iter().filter(|d| d.applied < d.committed) {
            found.add(Rule::Z3, cx.at, || {
                format!("server {} committed {} but applied {} only", d.server, d.committed, d.applied)
            });
        }
    }

    /// A server's event.
    pub(super) fn event(
        &mut self,
        cx: Cx<'_>,
        model: &mut Model,
        (server, event, entry): (ServerId, &Event, u32),
        found: &mut Found,
    ) {
        if self.void {
            return;
        }
        let at = cx.at;
        match event {
            Event::Vouched(vouch) => self.vouched(cx, model, server, *vouch, found),
            Event::Committed { zxid, .. } => {
                let disk = self.of(server);
                let before = std::mem::replace(&mut disk.committed, *zxid);
                found.look(Rule::Z3);
                if *zxid <= before {
                    found.add(Rule::Z3, at, || format!("server {server} commits {zxid} after {before}"));
                }
                if !self.holders(cx, *zxid) {
                    found.add(Rule::D1, at, || {
                        format!("server {server} commits {zxid}, which no quorum holds")
                    });
                }
                committed(cx, model, server, *zxid, Place::Entry(entry), found);
            }
            Event::Applied { zxid, digest } => {
                let disk = self.of(server);
                let before = std::mem::replace(&mut disk.applied, *zxid);
                let known = disk.committed;
                let next = model.index(before).map(|i| i + 1);
                let Some(index) = model.index(*zxid).filter(|i| Some(*i) == next && *zxid <= known) else {
                    return found.add(Rule::Z3, at, || {
                        format!("server {server} applies {zxid} after {before}; committed up to {known}")
                    });
                };
                found.look(Rule::T1);
                if model.digest(index) != *digest {
                    found.add(Rule::T1, at, || {
                        let wanted = model.digest(index);
                        format!("server {server}: tree digest {digest:x} after {zxid}, must be {wanted:x}")
                    });
                }
            }
            _ => {}
        }
    }

    fn vouched(&mut self, cx: Cx<'_>, model: &mut Model, server: ServerId, vouch: Vouch, found: &mut Found) {
        let Cx { h, at, .. } = cx;
        let disk = self.of(server);
        let (Vouch::OwnAck(zxid) | Vouch::Ack(zxid) | Vouch::Recovered(zxid)) = vouch else { return };
        disk.vouched = disk.vouched.max(zxid);
        let (image, lied) = (disk.image, disk.lied);
        found.look(Rule::D1);
        if image < zxid && !lied {
            found.add(Rule::D1, at, || {
                format!("server {server}: {vouch:?}, but a power cut would leave {image}")
            });
        }
        let Vouch::Recovered(_) = vouch else { return };
        let Some(recovery) = disk.recovery.take() else { return };
        (disk.committed, disk.applied) = (recovery.last, recovery.last);
        // What the log held beyond the last commit counts from now on.
        for body in recovery.tail.0..recovery.tail.1 {
            let zxid = Head::read(&h.bodies[body as usize]).map_or(Zxid::NONE, |head| head.zxid);
            committed(cx, model, server, zxid, Place::Tail(body), found);
        }
        found.look(Rule::T2);
        match model.index(recovery.last) {
            Some(index) if model.digest(index) == recovery.digest => {}
            _ if lied => {}
            Some(index) => found.add(Rule::T2, at, || {
                let (got, wanted) = (recovery.digest, model.digest(index));
                format!("server {server} recovered {got:x} at {}, must be {wanted:x}", recovery.last)
            }),
            None => found.add(Rule::D3, at, || {
                format!("server {server} recovered {}, which never was", recovery.last)
            }),
        }
    }

    /// What happened to a disk, or came of it.
    pub(super) fn disk(&mut self, cx: Cx<'_>, model: &Model, entry: &Entry, found: &mut Found) {
        let Cx { h, at, .. } = cx;
        match entry {
            Entry::Image { server, image } => self.of(*server).image = image.last,
            Entry::DiskLied { server } => {
                self.of(*server).lied = true;
                self.forgiven = true;
            }
            Entry::Recovered { server, found: Restored { last, digest, .. }, tail } => {
                let disk = self.of(*server);
                disk.recovery = Some(Recovery { last: *last, digest: *digest, tail: *tail });
                let (must, lied) = (disk.vouched.max(disk.committed), disk.lied);
                found.look(Rule::F1);
                if *last < must && lied {
                    self.void = true;
                } else if *last < must {
                    found.add(Rule::F1, at, || {
                        format!("server {server} lost transactions: recovered {last}, but it had vouched for {must}")
                    });
                    self.void = true;
                }
            }
            Entry::Shadow { server, kind, outcome } => {
                let disk = *self.of(*server);
                if disk.lied || self.void {
                    return;
                }
                found.look(Rule::D3);
                match outcome {
                    ShadowOutcome::Recovered(Restored { last, digest, .. }) => {
                        let must = disk.vouched;
                        let wanted = model.index(*last).map(|i| model.digest(i));
                        if *last < must {
                            found.add(Rule::D3, at, || {
                                format!("server {server}: {kind:?} now would leave {last}, but it vouched for {must}")
                            });
                        } else if wanted.is_some_and(|w| w != *digest) {
                            found.add(Rule::T2, at, || {
                                format!("server {server}: {kind:?} now would recover another tree at {last}")
                            });
                        }
                    }
                    ShadowOutcome::Refused(why) => found.add(Rule::D3, at, || {
                        let why = &h.texts[why.0 as usize];
                        format!("server {server}: {kind:?} now and it would refuse to start: {why}")
                    }),
                }
            }
            _ => {}
        }
    }
}

/// A transaction is history: folds it, or compares it with what is known of it.
fn committed(cx: Cx<'_>, model: &mut Model, server: ServerId, zxid: Zxid, place: Place, found: &mut Found) {
    let Cx { h, at, .. } = cx;
    if zxid > model.last_zxid() {
        return fold(cx, model, server, zxid, (place, Time(0)), found);
    }
    found.look(Rule::Z2);
    let known = model.index(zxid).filter(|i| *i > 0).map(|i| model.txn(i).place.body(h));
    if known != Some(place.body(h)) {
        found.add(Rule::Z2, at, || format!("server {server}: two transactions are called {zxid}"));
    }
}

/// Takes in the next transaction of the committed sequence.
pub(super) fn fold(
    cx: Cx<'_>,
    model: &mut Model,
    server: ServerId,
    zxid: Zxid,
    (place, born): (Place, Time),
    found: &mut Found,
) {
    let Cx { h, at, .. } = cx;
    let last = model.last_zxid();
    let body = place.body(h);
    let follows = if zxid.epoch() == last.epoch() {
        i64::from(zxid.counter()) == i64::from(last.counter()) + 1
    } else {
        zxid.epoch() > last.epoch() && zxid.counter() == 1
    };
    found.look(Rule::Z4);
    if !follows {
        found.add(Rule::Z4, at, || format!("server {server}: {zxid} follows {last}"));
    }
    let read = Head::read(body).and_then(|head| Ok((head, head.record()?)));
    found.look(Rule::D4);
    let Ok((head, (op, logged))) = read else {
        return found.add(Rule::D4, at, || format!("server {server}: the transaction {zxid} cannot be read"));
    };
    if head.zxid != zxid {
        found.add(Rule::Z2, at, || format!("server {server}: {zxid} has {} in its header", head.zxid));
        return;
    }
    let session = model.session(head.session).copied();
    let over = session.is_some_and(|s| s.closed.is_some());
    let failed = matches!(op, Op::Error { .. });
    found.look(Rule::S1);
    if over && !failed && head.kind != -11 {
        found.add(Rule::S1, at, || format!("{zxid} is of session {}, which is closed", head.session));
    }
    match op {
        Op::CreateSession { .. } => found.look(Rule::S4),
        Op::CloseSession { .. } => found.look(Rule::E1),
        Op::Create { made: Made::Ephemeral, .. } => {
            [Rule::S2, Rule::N1].into_iter().for_each(|r| found.look(r))
        }
        Op::Create { .. } => found.look(Rule::N1),
        _ => {}
    }
    reaped::judge(cx, model, &head, &op, found);
    if let Err((rule, text)) = model.fold(h, place, (at, born), &head, &op) {
        found.add(rule, at, || format!("{zxid} {text}: {op:?}"));
    }
    let digest = model.digest(model.last());
    found.look(Rule::T1);
    if logged.is_some_and(|l| l != digest) {
        found.add(Rule::T1, at, || format!("{zxid} is logged with a digest other than {digest:x}"));
    }
}
