//! P1: what servers of an ensemble say to each other makes sense to them. All of them are honest here, whatever becomes of links
//! and disks; so who gives its leader up over a packet, or finds another tree than its leader's, has met a fault of theirs.

use super::{Cx, Found, Rule};
use zebu_core::boundary::Event;
use zebu_core::id::ServerId;
use zebu_core::zab::Lost;

/// Judges a server's event.
pub(super) fn event(cx: Cx<'_>, server: ServerId, event: &Event, found: &mut Found) {
    match event {
        Event::RoleLost { why } => {
            found.look(Rule::P1);
            if over_a_packet(why) {
                found.add(Rule::P1, cx.at, || format!("server {server} gives its leader up: {why}"));
            }
        }
        Event::DigestMismatch { zxid } => {
            found.add(Rule::P1, cx.at, || {
                format!("server {server} has another tree than its leader at {zxid}")
            });
        }
        _ => {}
    }
}

fn over_a_packet(why: &Lost) -> bool {
    match why {
        Lost::Malformed(_)
        | Lost::Unexpected(_)
        | Lost::Gap(_)
        | Lost::WrongCommit(_)
        | Lost::TooMuchPending
        | Lost::BadSnapshot
        | Lost::Behind(_) => true,
        Lost::NoQuorum(_)
        | Lost::QuorumLost
        | Lost::Superseded(_)
        | Lost::OldEpoch(_)
        | Lost::RollOver
        | Lost::HandedOver
        | Lost::Deposed(_)
        | Lost::Unreachable
        | Lost::Disconnected
        | Lost::Silent => false,
    }
}
