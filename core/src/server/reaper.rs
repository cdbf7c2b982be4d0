//! Containers that lost their last child and TTL nodes that nobody touched are deleted. Answers to `ContainerManager`.

use crate::config::Config;
use crate::proto::{Owner, StatPersisted};
use crate::time::{Now, Span, Time};
use crate::tree::{Node, Tree};
use std::collections::VecDeque;

/// One pass every check interval; the deletes of a pass are spread so that there are not too many a minute.
#[derive(Debug)]
pub(super) struct Reaper {
    next: Time,
    /// When the pass under way began.
    pass: Time,
    found: VecDeque<String>,
}

impl Reaper {
    pub(super) fn new(config: &Config, now: Time) -> Reaper {
        let next = now + Span::from_millis(config.container_check_ms);
        Reaper { next, pass: now, found: VecDeque::new() }
    }

    /// When to ask [`Reaper::due`] again.
    pub(super) fn next(&self) -> Time {
        self.next
    }

    /// A node to delete now, if there is one.
    pub(super) fn due(&mut self, now: Now, tree: &Tree, config: &Config) -> Option<String> {
        if now.mono < self.next {
            return None;
        }
        if self.found.is_empty() {
            self.pass = now.mono;
            let garbage = |path: &&str| {
                let is = |node: &Node| is_garbage(&node.stat, node.children.len(), now.wall.0, config);
                tree.get(path).is_some_and(is)
            };
            self.found.extend(tree.containers_and_ttls().filter(garbage).map(str::to_owned));
        }
        let path = self.found.pop_front();
        self.next = match self.found.is_empty() {
            true => self.pass + Span::from_millis(config.container_check_ms.max(1)),
            false => now.mono + Span::from_millis(60_000 / config.container_max_per_minute.max(1)),
        };
        // A long pass must not make the next one due in the past.
        self.next = self.next.max(now.mono + Span(1));
        path
    }
}

/// A node with so many children may go at this time, ms.
pub(super) fn is_garbage(stat: &StatPersisted, children: usize, now_ms: i64, config: &Config) -> bool {
    if children > 0 {
        return false;
    }
    let idle_ms = now_ms.saturating_sub(stat.mtime);
    match Owner::from_stored(stat.ephemeral_owner, config.extended_types) {
        Owner::Container if stat.cversion > 0 => true,
        Owner::Container => {
            let limit = config.container_max_never_used_ms;
            limit != 0 && idle_ms > i64::try_from(limit).unwrap_or(i64::MAX)
        }
        Owner::Ttl(ttl) => idle_ms > ttl,
        Owner::Persistent | Owner::Session(_) => false,
    }
}
