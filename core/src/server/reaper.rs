//! Containers that lost their last child and TTL nodes that nobody touched are deleted. Answers to `ContainerManager`.

use crate::config::Config;
use crate::proto::Owner;
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
            let garbage = |path: &&str| tree.get(path).is_some_and(|node| is_garbage(node, now, config));
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

fn is_garbage(node: &Node, now: Now, config: &Config) -> bool {
    if !node.children.is_empty() {
        return false;
    }
    let idle_ms = now.wall.0.saturating_sub(node.stat.mtime);
    match Owner::from_stored(node.stat.ephemeral_owner, config.extended_types) {
        Owner::Container if node.stat.cversion > 0 => true,
        Owner::Container => {
            let limit = config.container_max_never_used_ms;
            limit != 0 && idle_ms > i64::try_from(limit).unwrap_or(i64::MAX)
        }
        Owner::Ttl(ttl) => idle_ms > ttl,
        Owner::Persistent | Owner::Session(_) => false,
    }
}
