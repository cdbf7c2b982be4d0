//! G1: what servers delete by themselves. A container may go once it has lost its last child, or was long never used; a TTL node
//! once nobody has changed it for its time, by the clocks of those who led; neither while it has children. When they may go,
//! they do.

use super::model::{Model, Version};
use super::sessions::Reign;
use super::txn::{Head, Op};
use super::{Cx, Found, Rule};
use zebu_core::config::Config;
use zebu_core::id::SessionId;
use zebu_core::proto::Owner;
use zebu_core::time::{Millis, Span};

/// For how long it has had to be idle before it may go, and what for; `None`: it stays.
fn patience(config: &Config, node: &Version) -> Option<(i64, &'static str)> {
    let never_used = i64::try_from(config.container_max_never_used_ms).unwrap_or(i64::MAX);
    match Owner::from_stored(node.owner, config.extended_types) {
        _ if node.children > 0 => None,
        Owner::Container if node.creates > 0 => Some((-1, "a container without children")),
        Owner::Container if never_used > 0 => Some((never_used, "a container that was never used")),
        Owner::Ttl(ms) => Some((ms, "a TTL node")),
        Owner::Container | Owner::Persistent | Owner::Session(_) => None,
    }
}

fn is_over(patience: i64, idle: i64) -> bool {
    patience < 0 || idle > patience
}

/// A transaction about to be folded does not take away what has to stay.
pub(super) fn judge(cx: Cx<'_>, model: &Model, head: &Head<'_>, op: &Op<'_>, found: &mut Found) {
    let Op::Delete { path, container: true } = op else { return };
    found.look(Rule::G1);
    // That the node is there at all, the model asks.
    let Some(node) = model.paths.find(path).and_then(|id| model.node(id, model.last())) else { return };
    let idle = head.time - node.mtime;
    let may_go = patience(&cx.limits.config, node).is_some_and(|(patience, _)| is_over(patience, idle));
    if !may_go || head.session != SessionId::NONE {
        found.add(Rule::G1, cx.at, || {
            let children = node.children;
            format!("{} deletes {path}, which has {children} children and was idle for {idle} ms", head.zxid)
        });
    }
}

/// The run is over: nothing is there that was long to go. `reign`: of who leads.
pub(super) fn finish(cx: Cx<'_>, model: &Model, reign: Option<Reign>, found: &mut Found) {
    let (Some(Reign { since, wall }), config) = (reign, &cx.limits.config) else { return };
    let (nodes, index) = (model.paths.ids(), model.last());
    let idle: Vec<_> = nodes
        .filter_map(|id| model.node(id, index).and_then(|v| Some((id, v, patience(config, v)?))))
        .collect();
    // One pass may have begun just before, and another begins only when it is through.
    let pass =
        config.container_check_ms + 60_000 / config.container_max_per_minute.max(1) * (idle.len() as u64 + 8);
    let slack = Span(Span::from_millis(3 * pass).0 + cx.limits.catch_up.0);
    for (id, v, (patience, what)) in idle {
        found.look(Rule::G1);
        let quiet = since.min(cx.at.since(model.changed(v)));
        let late = Millis(wall.0 - slack.as_millis() as i64);
        if quiet > slack && is_over(patience, late.0 - v.mtime) {
            found.add(Rule::G1, cx.at, || {
                let path = model.paths.text(id);
                format!("{path} is there yet, {what}, {} ms after it was last changed", quiet.as_millis())
            });
        }
    }
}
