//! L1, L2, L3, L5: there is a leader, every call returns, every handle gets on, every restart serves; and in time once the
//! faults are over, or for those whom they spare. Nobody looks for a leader again and again without a pause. (That all serve the same in the end, L4, is asked where it is known.)

use super::linear::Order;
use super::{Cx, Ensemble, Found, Rule};
use crate::history::{Call, Entry, HandleState, Phase, Ref, Who};
use zebu_core::boundary::{Event, RoleName};
use zebu_core::id::ServerId;
use zebu_core::time::Time;

/// A server may find so many leaders as fast as it can, and then one each time this has passed.
const ELECTIONS: u64 = 50;
const ELECTION_EVERY_MS: u64 = 50;

/// What is waited for.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Calls without a return.
    open: Vec<(Call, Who, Time)>,
    /// By handle: out of touch since.
    lost: Vec<Option<Time>>,
    gone: Vec<Who>,
    /// Servers that are starting, since when.
    starting: Vec<(ServerId, Time)>,
    healed: Option<Time>,
    /// By handle: connected or not since.
    since: Vec<Time>,
    /// Members of an ensemble that serve, since when.
    serving: Vec<(ServerId, Time)>,
    /// Someone has served since the faults ended.
    led: bool,
    /// So often a server has found a leader since then.
    elections: Vec<(ServerId, u64)>,
    /// Servers that are well, since when.
    whole: Option<(Ref, Time)>,
    /// Servers whose disks broke their word and were not replaced: they may refuse to start.
    liars: Vec<ServerId>,
}

impl Live {
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.lost.clear();
        self.gone.clear();
        self.starting.clear();
        self.healed = None;
        self.since.clear();
        self.serving.clear();
        self.led = false;
        self.elections.clear();
        self.whole = None;
        self.liars.clear();
    }

    /// `around`: where handles are connected, and who has to serve.
    pub(super) fn on(
        &mut self,
        cx: Cx<'_>,
        around: (&Order, &Ensemble),
        entry: &Entry,
        forgiven: bool,
        found: &mut Found,
    ) {
        let Cx { h, at, .. } = cx;
        match entry {
            Entry::Open { .. } => {
                self.lost.push(Some(at));
                self.since.push(at);
            }
            Entry::Invoke { who, call } => self.open.push((*call, *who, at)),
            Entry::Return { call, .. } => {
                let Some(n) = self.open.iter().position(|(c, ..)| c == call) else { return };
                let (call, who, since) = self.open.remove(n);
                self.call_in_time(cx, (call, who, since), found);
                self.call_spared(cx, around, (call, who, since), found);
            }
            Entry::State { who, state } => {
                let touch = matches!(state, HandleState::Disconnected).then_some(at);
                self.lost[usize::from(who.handle)] = touch;
                self.since[usize::from(who.handle)] = at;
            }
            Entry::Gone { who } => {
                self.gone.push(*who);
                self.open.retain(|(_, w, _)| w != who);
            }
            Entry::DiskLied { server } => self.liars.push(*server),
            Entry::Wiped { server } => self.liars.retain(|s| s != server),
            Entry::Restart { server, .. } => self.starting.push((*server, at)),
            Entry::Crash { server, .. } => {
                self.starting.retain(|(s, _)| s != server);
                self.serving.retain(|(s, _)| s != server);
            }
            Entry::Refused { server, why } => {
                self.starting.retain(|(s, _)| s != server);
                if !forgiven && !self.liars.contains(server) {
                    let why = &h.texts[why.0 as usize];
                    found.add(Rule::L5, at, || format!("server {server} refused to start: {why}"));
                }
            }
            Entry::Server { server, event, .. } => self.server(cx, *server, event, found),
            Entry::Phase(Phase::Healed) => {
                self.spared(cx, around, found);
                self.whole = None;
                self.healed = Some(at);
                self.led = !self.serving.is_empty();
                self.elections.clear();
            }
            Entry::Whole { servers } => {
                self.spared(cx, around, found);
                self.whole = Some((*servers, at));
            }
            Entry::Phase(Phase::Probe | Phase::End)
            | Entry::Notify { .. }
            | Entry::Misread { .. }
            | Entry::Taken { .. }
            | Entry::Image { .. }
            | Entry::Recovered { .. }
            | Entry::Shadow { .. }
            | Entry::Replica { .. }
            | Entry::Clock { .. }
            | Entry::Stranger { .. } => {}
        }
    }

    fn server(&mut self, cx: Cx<'_>, server: ServerId, event: &Event, found: &mut Found) {
        let solo = cx.limits.config.ensemble.is_none();
        match event {
            Event::Activated { .. } => {
                self.serving.retain(|(s, _)| *s != server);
                self.serving.push((server, cx.at));
                self.led_in_time(cx, found);
                self.led = true;
            }
            Event::Became(RoleName::Looking) | Event::RoleLost { .. } => {
                self.serving.retain(|(s, _)| *s != server);
                return;
            }
            Event::Became(_) if solo => {}
            Event::Elected { .. } => return self.pauses(cx, server, found),
            _ => return,
        }
        if let Some(n) = self.starting.iter().position(|(s, _)| *s == server) {
            let start = self.starting.remove(n);
            self.started_in_time(cx, start, found);
        }
    }

    /// L5: whoever finds a leader and loses it, for ever, asks less and less often.
    fn pauses(&mut self, cx: Cx<'_>, server: ServerId, found: &mut Found) {
        let Some(healed) = self.healed else { return };
        let at = self.elections.iter().position(|(s, _)| *s == server).unwrap_or_else(|| {
            self.elections.push((server, 0));
            self.elections.len() - 1
        });
        let n = &mut self.elections[at].1;
        *n += 1;
        let (n, ms) = (*n, cx.at.since(healed).as_millis());
        found.look(Rule::L5);
        if n > ELECTIONS + ms / ELECTION_EVERY_MS {
            found.add(Rule::L5, cx.at, || {
                format!("server {server} found {n} leaders in {ms} ms without any fault")
            });
        }
    }

    /// L1.
    fn led_in_time(&self, cx: Cx<'_>, found: &mut Found) {
        let Some(healed) = self.healed.filter(|_| !self.led) else { return };
        found.look(Rule::L1);
        if cx.at.since(healed) > cx.limits.leader {
            let ms = cx.at.since(healed).as_millis();
            found.add(Rule::L1, cx.at, || format!("no server served for {ms} ms without any fault"));
        }
    }

    /// L2: servers that are well have served for long by now, and no call waits at one of them.
    fn spared(&self, cx: Cx<'_>, around: (&Order, &Ensemble), found: &mut Found) {
        let Some((set, since)) = self.whole else { return };
        if cx.at.since(since) <= cx.limits.leader {
            return;
        }
        let must = |s: &&ServerId| !self.liars.contains(s) && around.1.has(**s);
        for server in cx.h.sets[set.0 as usize].iter().filter(must) {
            found.look(Rule::L2);
            if !self.serving.iter().any(|(s, _)| s == server) {
                let ms = cx.at.since(since).as_millis();
                found.add(Rule::L2, cx.at, || {
                    format!("server {server} does not serve, though it is in touch with a quorum for {ms} ms")
                });
            }
        }
        for call in &self.open {
            self.call_spared(cx, around, *call, found);
        }
    }

    fn call_spared(
        &self,
        cx: Cx<'_>,
        (order, members): (&Order, &Ensemble),
        (call, who, made): (Call, Who, Time),
        found: &mut Found,
    ) {
        let Some((set, since)) = self.whole else { return };
        let at = order.server(who).filter(|s| cx.h.sets[set.0 as usize].contains(s) && members.has(*s));
        let Some(server) = at else { return };
        found.look(Rule::L2);
        let since = since.max(made).max(self.since[usize::from(who.handle)]);
        if cx.at.since(since) > cx.limits.reply {
            let ms = cx.at.since(since).as_millis();
            found.add(Rule::L2, cx.at, || {
                format!(
                    "{who:?}: call {} took {ms} ms at server {server}, which is in touch with a quorum",
                    call.0
                )
            });
        }
    }

    /// What the faults held up counts from their end.
    fn since(&self, since: Time) -> Option<Time> {
        self.healed.map(|h| h.max(since))
    }

    fn call_in_time(&self, cx: Cx<'_>, (call, who, since): (Call, Who, Time), found: &mut Found) {
        let Cx { limits, at, .. } = cx;
        let Some(since) = self.since(since) else { return };
        found.look(Rule::L3);
        if at.since(since) > limits.reply {
            let ms = at.since(since).as_millis();
            found.add(Rule::L3, at, || format!("{who:?}: call {} took {ms} ms without any fault", call.0));
        }
    }

    fn started_in_time(&self, cx: Cx<'_>, (server, since): (ServerId, Time), found: &mut Found) {
        let Cx { limits, at, .. } = cx;
        let Some(since) = self.since(since) else { return };
        found.look(Rule::L5);
        if at.since(since) > limits.restart {
            let ms = at.since(since).as_millis();
            found.add(Rule::L5, at, || format!("server {server} took {ms} ms to start without any fault"));
        }
    }

    pub(super) fn finish(
        &mut self,
        cx: Cx<'_>,
        around: (&Order, &Ensemble),
        forgiven: bool,
        found: &mut Found,
    ) {
        let Cx { limits, at, .. } = cx;
        if self.healed.is_none() || forgiven {
            return;
        }
        if limits.config.ensemble.is_some() {
            self.led_in_time(cx, found);
        }
        for (call, who, _) in &self.open {
            found.add(Rule::L3, at, || format!("{who:?}: call {} never returned", call.0));
        }
        for (handle, lost) in self.lost.iter().enumerate() {
            let gone = self.gone.iter().any(|w| usize::from(w.handle) == handle);
            if let Some(since) = lost.and_then(|s| self.since(s)).filter(|_| !gone)
                && at.since(since) > limits.reply
            {
                found.add(Rule::L3, at, || {
                    format!("handle {handle} is out of touch since {} ms", since.as_millis())
                });
            }
        }
        self.spared(cx, around, found);
        // Whoever was not healed stays as it is; whoever is no member owes nothing.
        let healed = self.whole.map(|(set, _)| &cx.h.sets[set.0 as usize]);
        let must = |s: &ServerId| healed.is_none_or(|set| set.contains(s)) && around.1.has(*s);
        for start in self.starting.iter().filter(|(s, _)| must(s)) {
            self.started_in_time(cx, *start, found);
        }
    }
}
