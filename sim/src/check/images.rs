//! D1, D2, D3, T2 of an ensemble: what servers vouch for against what a power cut would leave at that moment, and what
//! recoveries find against all that was ever vouched for.

use super::lines::{LineId, ROOT};
use super::model::Model;
use super::peers::Peers;
use super::{Cx, Found, Rule};
use crate::history::{Entry, Image, Restored, ShadowOutcome};
use zebu_core::boundary::Vouch;
use zebu_core::id::{Epoch, ServerId, Zxid};

impl Peers {
    /// What happened to a disk, or came of it.
    pub(super) fn disk(&mut self, cx: Cx<'_>, model: &Model, entry: &Entry, found: &mut Found) {
        if self.void {
            return;
        }
        match entry {
            Entry::Image { server, image } => self.image(cx, model, *server, *image, found),
            Entry::DiskLied { server } => {
                self.of(*server).lied = true;
            }
            Entry::Wiped { server } => {
                let p = self.of(*server);
                p.excused.push(p.promised);
                (p.lied, p.image) = (false, Image::default());
                (p.held, p.promised, p.accepted, p.current) = (ROOT, ROOT, Epoch(0), Epoch(0));
            }
            Entry::Restart { server, incarnation } => self.restart(*server, *incarnation),
            Entry::Recovered { server, found: restored, .. } => {
                self.recovered(cx, model, *server, restored, found);
            }
            Entry::Shadow { server, outcome, kind } => {
                if self.of(*server).lied {
                    return;
                }
                found.look(Rule::D3);
                let when = format!("server {server}: {kind:?} now");
                match outcome {
                    ShadowOutcome::Recovered(restored) => {
                        if let Err(what) = self.keeps(model, *server, restored) {
                            found.add(Rule::D3, cx.at, || format!("{when} would break a promise: {what}"));
                        } else if self.other_tree(model, restored, found) {
                            let zxid = restored.tree;
                            found.add(Rule::T2, cx.at, || {
                                format!("{when} would recover another tree at {zxid}")
                            });
                        }
                    }
                    ShadowOutcome::Refused(why) => found.add(Rule::D3, cx.at, || {
                        format!("{when} and it would refuse to start: {}", cx.h.texts[why.0 as usize])
                    }),
                }
            }
            Entry::Open { .. }
            | Entry::Invoke { .. }
            | Entry::Return { .. }
            | Entry::Notify { .. }
            | Entry::State { .. }
            | Entry::Misread { .. }
            | Entry::Gone { .. }
            | Entry::Server { .. }
            | Entry::Taken { .. }
            | Entry::Crash { .. }
            | Entry::Refused { .. }
            | Entry::Clock { .. }
            | Entry::Stranger { .. }
            | Entry::Replica { .. }
            | Entry::Whole { .. }
            | Entry::Phase(_) => {}
        }
    }

    fn begins(&self, epoch: Epoch) -> Option<(LineId, bool)> {
        self.reigns.iter().find(|r| r.epoch == epoch).map(|r| (r.begins, r.active))
    }

    /// D2, whenever an image changes; and a quorum still holds C when one was cut or replaced.
    fn image(&mut self, cx: Cx<'_>, model: &Model, server: ServerId, image: Image, found: &mut Found) {
        let at = cx.at;
        let known = self.entry(model, image.last);
        let p = self.of(server);
        let before = std::mem::replace(&mut p.image, image);
        let held = p.held;
        p.held = known.unwrap_or(held);
        if p.lied {
            return;
        }
        let Some(now) = known else {
            return found.add(Rule::D3, at, || {
                format!("server {server}: a power cut would leave {}, which never was", image.last)
            });
        };
        found.look(Rule::D2);
        if image.accepted < before.accepted || image.current < before.current {
            found.add(Rule::D2, at, || format!("server {server}: epochs went back, {before:?} to {image:?}"));
        }
        if image.current > image.accepted {
            found.add(Rule::D2, at, || format!("server {server}: currentEpoch is ahead, {image:?}"));
        }
        let went_on = self.lines.holds(now, held);
        if image.current > Epoch(0) && (image.current != before.current || !went_on) {
            let lacks = match self.begins(image.current) {
                None => Some("no one ever led it"),
                // An epoch that no one was served in may be cut again, but not be taken up without its history.
                Some((begins, active)) => {
                    let must = active || image.current != before.current;
                    (must && !self.lines.holds(now, begins))
                        .then_some("the history that it began with is not there")
                }
            };
            if let Some(lacks) = lacks {
                found.add(Rule::D2, at, || {
                    format!("server {server}: a power cut would leave {image:?}; of that epoch {lacks}")
                });
            }
        }
        if !went_on {
            found.look(Rule::Z5);
            if !self.held_by_quorum(cx, self.end()) {
                found.add(Rule::Z5, at, || {
                    let end = self.lines.zxid(self.end());
                    format!(
                        "server {server}'s log was cut to {}, and no quorum holds {end} any more",
                        image.last
                    )
                });
            }
        }
    }

    /// D1 and D2 at a promise.
    pub(super) fn vouched(
        &mut self,
        cx: Cx<'_>,
        model: &Model,
        server: ServerId,
        vouch: Vouch,
        found: &mut Found,
    ) {
        let at = cx.at;
        let p = self.of(server);
        let (image, held, tip, lied) = (p.image, p.held, p.tip, p.lied);
        match vouch {
            Vouch::OwnAck(zxid) | Vouch::Ack(zxid) => {
                self.promises(cx, server, (vouch, self.lines.find(zxid)), found);
                let (epoch, p) = (Epoch::of(zxid), self.of(server));
                if let Some(last) = p.acks.iter_mut().find(|(e, _)| *e == epoch) {
                    last.1 = last.1.max(zxid);
                }
                found.look(Rule::D2);
                if epoch < p.accepted {
                    let accepted = p.accepted;
                    found.add(Rule::D2, at, || {
                        format!("server {server} acks {zxid}, but has accepted epoch {accepted}")
                    });
                }
            }
            Vouch::Recovered(zxid) => {
                let id = self.entry(model, zxid);
                self.promises(cx, server, (vouch, id), found);
            }
            Vouch::AckEpoch(epoch) => {
                found.look(Rule::D2);
                if image.accepted < epoch && !lied {
                    found.add(Rule::D2, at, || {
                        format!(
                            "server {server} accepts epoch {epoch}, but a power cut would leave {image:?}"
                        )
                    });
                }
                let p = self.of(server);
                let before = p.accepted;
                p.accepted = before.max(epoch);
                p.acked_epochs.push(epoch);
                if epoch < before {
                    found.add(Rule::D2, at, || {
                        format!("server {server} accepts epoch {epoch}, but has accepted {before}")
                    });
                }
            }
            Vouch::AckNewLeader(epoch) => {
                self.promises(cx, server, (vouch, Some(tip)), found);
                found.look(Rule::D2);
                let begins = self.begins(epoch).map(|(id, _)| id);
                let p = self.of(server);
                let accepted = p.accepted;
                p.current = p.current.max(epoch);
                // It covers all that was sent before NEWLEADER.
                let tip_zxid = self.lines.zxid(tip);
                let upto = if Epoch::of(tip_zxid) == epoch { tip_zxid } else { epoch.start() };
                let acks = &mut self.of(server).acks;
                match acks.iter_mut().find(|(e, _)| *e == epoch) {
                    Some(ack) => ack.1 = ack.1.max(upto),
                    None => acks.push((epoch, upto)),
                }
                if lied {
                    return;
                }
                if image.current < epoch || epoch < accepted {
                    found.add(Rule::D2, at, || {
                        format!(
                            "server {server} takes up epoch {epoch}, has accepted {accepted}; a power cut would leave {image:?}"
                        )
                    });
                }
                if !begins.is_some_and(|b| self.lines.holds(held, b)) {
                    found.add(Rule::D1, at, || {
                        format!(
                            "server {server} takes up epoch {epoch} without the history that it begins with"
                        )
                    });
                }
            }
        }
    }

    /// D1: a power cut now would leave what is promised.
    fn promises(
        &mut self,
        cx: Cx<'_>,
        server: ServerId,
        (vouch, id): (Vouch, Option<LineId>),
        found: &mut Found,
    ) {
        found.look(Rule::D1);
        let p = self.of(server);
        let (held, tip, lied, promised) = (p.held, p.tip, p.lied, p.promised);
        let Some(id) = id.filter(|id| self.lines.holds(tip, *id)) else {
            return found.add(Rule::D1, cx.at, || {
                let tip = self.lines.zxid(tip);
                format!("server {server}: {vouch:?}, but its log ends with {tip}")
            });
        };
        if !lied && !self.lines.holds(held, id) {
            found.add(Rule::D1, cx.at, || {
                let left = self.lines.zxid(held);
                format!("server {server}: {vouch:?}, but a power cut would leave {left}")
            });
        }
        if self.lines.holds(id, promised) {
            self.of(server).promised = id;
        }
    }

    /// What a recovery found keeps all promises.
    fn keeps(&self, model: &Model, server: ServerId, r: &Restored) -> Result<(), String> {
        let Some(p) = self.peer(server) else { return Ok(()) };
        let Some(tip) = self.entry(model, r.last) else {
            return Err(format!("it has {}, which never was", r.last));
        };
        if !self.lines.holds(tip, p.promised) {
            let (last, must) = (r.last, self.lines.zxid(p.promised));
            return Err(format!("it has {last}, but had vouched for {must}"));
        }
        if r.accepted < p.accepted || r.current < p.current || r.current > r.accepted {
            let (a, c) = (p.accepted, p.current);
            return Err(format!(
                "it has accepted {} and is in {}, but had vouched for {a} and {c}",
                r.accepted, r.current
            ));
        }
        match self.begins(r.current) {
            Some((begins, true)) if !self.lines.holds(tip, begins) => {
                let (last, must) = (r.last, self.lines.zxid(begins));
                Err(format!("it is in epoch {} with {last}, without {must}", r.current))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// T2: its tree is not what was committed. One that is ahead of what is committed is judged when it serves.
    fn other_tree(&self, model: &Model, r: &Restored, found: &mut Found) -> bool {
        let Some(index) = model.index(r.tree) else { return false };
        found.look(Rule::T2);
        model.digest(index) != r.digest
    }

    fn recovered(&mut self, cx: Cx<'_>, model: &Model, server: ServerId, r: &Restored, found: &mut Found) {
        let lied = self.of(server).lied;
        found.look(Rule::F1);
        if let Err(what) = self.keeps(model, server, r) {
            if !lied {
                found.add(Rule::F1, cx.at, || format!("server {server} broke a promise: {what}"));
            }
            let tip = self.entry(model, r.last).unwrap_or_default();
            let promised = self.of(server).promised;
            let common = self.lines.common(tip, promised);
            let p = self.of(server);
            if lied {
                // It forgets only what all others hold.
                p.excused.push(promised);
            }
            (p.promised, p.accepted, p.current) = (common, r.accepted, r.current);
        }
        if !lied && self.other_tree(model, r, found) {
            let zxid = r.tree;
            found.add(Rule::T2, cx.at, || format!("server {server} recovered another tree at {zxid}"));
        }
        let (tip, tree) = (self.entry(model, r.last), self.entry(model, r.tree));
        self.recovered_at(server, tip.unwrap_or_default(), tree.unwrap_or_default());
        if tip.is_none() && r.last > Zxid::ZERO && !lied {
            found.add(Rule::D3, cx.at, || format!("server {server} recovered {}, which never was", r.last));
        }
    }
}
