//! A learner that lacks more than the window: what the log on disk gives, and what becomes of it if that ends.

use super::*;

/// A leader of epoch 2 whose window begins behind 1|4, with one follower that has all. Another asks, who has all up to `last`.
fn asked(last: Zxid) -> (Bench<Leader>, Vec<ZabOut>) {
    let mut out = Vec::new();
    let role = Leader::new(ME, plain(), history(6, z(1, 4)), majority(), Time(0), &mut out);
    let mut b = Bench { role, now: Time(0), out };
    b.reign(&[1]);
    b.join(2, 1);
    let out = b.ack_epoch(2, 1, last);
    (b, out)
}

impl Bench<Leader> {
    fn entry(&mut self, before: Zxid, zxid: Zxid) -> (bool, Vec<ZabOut>) {
        let more = self.role.log_entry(self.now, Conn(2), before, (zxid, body(zxid)), &mut self.out);
        (more, self.take())
    }
}

fn sent(packets: impl IntoIterator<Item = FromLeader>) -> Vec<ZabOut> {
    packets.into_iter().map(|p| ZabOut::Send { conn: Conn(2), packet: p.into_packet() }).collect()
}

fn pair(zxid: Zxid) -> [FromLeader; 2] {
    [FromLeader::Proposal { zxid, txn: body(zxid) }, FromLeader::Commit { zxid }]
}

#[test]
fn what_is_missing_comes_from_disk_and_then_from_memory() {
    let (mut b, out) = asked(z(1, 2));
    assert_eq!(out, [ZabOut::WantLog { conn: Conn(2), after: z(1, 2) }]);
    let (more, out) = b.entry(z(1, 2), z(1, 3));
    assert!(more);
    assert_eq!(out[0], ZabOut::Synchronizes { learner: ServerId(2), by: SyncBy::Log });
    let diff = FromLeader::Diff { zxid: z(1, 6) };
    assert_eq!(out[1..], sent([diff].into_iter().chain(pair(z(1, 3)))));
    // What is proposed meanwhile waits until its turn comes.
    assert_eq!(kinds(&b.propose(1), 2), []);
    let (more, out) = b.entry(z(1, 3), z(1, 4));
    assert!(!more, "the window has the rest");
    use PacketType::{Commit, NewLeader, Proposal};
    let rest = [Proposal, Commit, Proposal, Commit, Proposal, Commit, Proposal, NewLeader];
    assert_eq!(kinds(&out, 2), rest);
    assert_eq!(kinds(&b.propose(2), 2), [Proposal]);
}

#[test]
fn a_tail_of_its_own_is_cut_at_what_the_log_has() {
    let (mut b, _) = asked(z(1, 3));
    // 1|3 is not there: its last is another one.
    let (more, out) = b.entry(z(1, 2), z(1, 4));
    assert!(!more);
    let trunc = FromLeader::Trunc { zxid: z(1, 2) };
    assert_eq!(out[1..4], sent([trunc].into_iter().chain(pair(z(1, 4)))));
}

#[test]
fn a_log_that_ends_before_anything_was_sent_makes_it_a_snapshot() {
    let (mut b, _) = asked(z(1, 2));
    b.role.log_ends(Conn(2), &mut b.out);
    assert_eq!(b.take(), [ZabOut::WantSnapshot { conn: Conn(2) }]);
}

#[test]
fn a_log_that_ends_too_early_closes_the_connection_and_is_not_read_there_again() {
    let (mut b, _) = asked(z(1, 1));
    b.entry(z(1, 1), z(1, 2));
    b.role.log_ends(Conn(2), &mut b.out);
    assert_eq!(b.take(), [ZabOut::Close { conn: Conn(2), cause: Cause::LogUnreadable }]);
    b.join(2, 2);
    assert_eq!(b.ack_epoch(2, -1, z(1, 1)), [ZabOut::WantSnapshot { conn: Conn(2) }]);
    // Who has got over that place may try.
    b.join(2, 2);
    assert_eq!(b.ack_epoch(2, -1, z(1, 3)), [ZabOut::WantLog { conn: Conn(2), after: z(1, 3) }]);
}
