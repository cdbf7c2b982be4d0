//! L3 and L5: every call returns, every handle gets on, every restart serves; and in time once the faults are over.

use super::{Cx, Found, Rule};
use crate::history::{Call, Entry, HandleState, Phase, Who};
use zebu_core::boundary::Event;
use zebu_core::id::ServerId;
use zebu_core::time::Time;

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
}

impl Live {
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.lost.clear();
        self.gone.clear();
        self.starting.clear();
        self.healed = None;
    }

    pub(super) fn on(&mut self, cx: Cx<'_>, entry: &Entry, forgiven: bool, found: &mut Found) {
        let Cx { h, at, .. } = cx;
        match entry {
            Entry::Open { .. } => self.lost.push(Some(at)),
            Entry::Invoke { who, call } => self.open.push((*call, *who, at)),
            Entry::Return { call, .. } => {
                let Some(n) = self.open.iter().position(|(c, ..)| c == call) else { return };
                let (call, who, since) = self.open.remove(n);
                self.call_in_time(cx, (call, who, since), found);
            }
            Entry::State { who, state } => {
                let touch = matches!(state, HandleState::Disconnected).then_some(at);
                self.lost[usize::from(who.handle)] = touch;
            }
            Entry::Gone { who } => {
                self.gone.push(*who);
                self.open.retain(|(_, w, _)| w != who);
            }
            Entry::Restart { server, .. } => self.starting.push((*server, at)),
            Entry::Crash { server, .. } => self.starting.retain(|(s, _)| s != server),
            Entry::Refused { server, why } => {
                self.starting.retain(|(s, _)| s != server);
                if !forgiven {
                    let why = &h.texts[why.0 as usize];
                    found.add(Rule::L5, at, || format!("server {server} refused to start: {why}"));
                }
            }
            Entry::Server { server, event: Event::Became(_), .. } => {
                if let Some(n) = self.starting.iter().position(|(s, _)| s == server) {
                    let start = self.starting.remove(n);
                    self.started_in_time(cx, start, found);
                }
            }
            Entry::Phase(Phase::Healed) => self.healed = Some(at),
            Entry::Phase(Phase::Probe | Phase::End)
            | Entry::Server { .. }
            | Entry::Notify { .. }
            | Entry::Taken { .. }
            | Entry::Image { .. }
            | Entry::DiskLied { .. }
            | Entry::Whole { .. }
            | Entry::Recovered { .. }
            | Entry::Shadow { .. }
            | Entry::Clock { .. } => {}
        }
    }

    /// What the faults held up counts from their end.
    fn since(&self, since: Time) -> Option<Time> {
        self.healed.map(|h| h.max(since))
    }

    fn call_in_time(&self, cx: Cx<'_>, (call, who, since): (Call, Who, Time), found: &mut Found) {
        let Cx { limits, at, .. } = cx;
        let Some(since) = self.since(since) else { return };
        if at.since(since) > limits.reply {
            let ms = at.since(since).as_millis();
            found.add(Rule::L3, at, || format!("{who:?}: call {} took {ms} ms without any fault", call.0));
        }
    }

    fn started_in_time(&self, cx: Cx<'_>, (server, since): (ServerId, Time), found: &mut Found) {
        let Cx { limits, at, .. } = cx;
        let Some(since) = self.since(since) else { return };
        if at.since(since) > limits.restart {
            let ms = at.since(since).as_millis();
            found.add(Rule::L5, at, || format!("server {server} took {ms} ms to start without any fault"));
        }
    }

    pub(super) fn finish(&mut self, cx: Cx<'_>, forgiven: bool, found: &mut Found) {
        let Cx { limits, at, .. } = cx;
        if self.healed.is_none() || forgiven {
            return;
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
        for start in &self.starting {
            self.started_in_time(cx, *start, found);
        }
    }
}
