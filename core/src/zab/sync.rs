//! What a learner is sent so that its history becomes the leader's: DIFF, TRUNC or SNAP. Answers to
//! `LearnerHandler.syncFollower`. A pure function of zxids and the end of the leader's log.
//!
//! | | the learner's last zxid `p` | 3.9.3 | here |
//! |---|---|---|---|
//! | 1 | any, `zookeeper.forceSnapshotSync` | SNAP | SNAP |
//! | 2 | is the leader's last processed | DIFF | DIFF |
//! | 3 | beyond the history, an entry | TRUNC to its end | TRUNC, or SNAP (below) |
//! | 4a | an entry of the window, or where it begins | DIFF | DIFF |
//! | 4b | an epoch's start within the window | DIFF | DIFF |
//! | 4c | no entry, same epoch as the next one | TRUNC to the one before | TRUNC, or SNAP (below) |
//! | 4d | no entry, another epoch than the next one | SNAP | TRUNC, or SNAP (below) |
//! | 5 | before the window | DIFF or TRUNC from the log on disk, else SNAP | the same |
//! | 6 | an epoch's start beyond the history | SNAP | DIFF: that epoch's initial history is all that it holds |
//!
//! Never a gap: a DIFF begins with the entry after `p`, and the window has none. The log on disk may hide one behind a snapshot
//! (ZOOKEEPER-2846), be purged or rot while it is read: the reader sees each entry follow the one before, or ends. Then it is
//! SNAP as long as nothing was sent; else the connection is closed, and learners that need what could not be read get SNAP.
//!
//! TRUNC of a Java learner can leave cut transactions in its tree (a snapshot newer than the target; a target that is in none
//! of its logs; across epochs). Once this leader serves, its SNAP is named above everything that such a learner has, so that
//! is what it gets. Before that, its support is needed and TRUNC is what there is. A learner of ours says that it cuts
//! exactly ([`EXACT`]), and Java takes no notice.

use super::History;
use crate::id::{Epoch, Zxid};
use crate::proto::ZAB_VERSION;

/// The protocol version of a learner whose TRUNC leaves exactly the history up to its target. Java asks only whether the
/// version is below [`ZAB_VERSION`].
pub const EXACT: i32 = ZAB_VERSION + 1;

/// The first packet, which says what becomes of the learner's history. What follows it are all entries above the zxid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// It stays.
    Diff {
        /// The learner's last zxid.
        from: Zxid,
    },
    /// It is cut.
    Trunc {
        /// The last zxid that stays.
        to: Zxid,
    },
    /// It is replaced.
    Snap,
    /// The window begins later: the log on disk decides, see [`from_entry`].
    Log,
}

/// The leader's side of the decision.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The end of its log.
    pub history: &'a History,
    /// The last entry that counts as history: the last committed one; before the leader serves, the last one.
    pub end: Zxid,
    /// Its epoch if it serves.
    pub serving: Option<Epoch>,
    /// `zookeeper.forceSnapshotSync`.
    pub force_snapshot: bool,
    /// The log on disk is not to be read for a learner that lacks what follows this.
    pub unreadable: Zxid,
}

impl Known<'_> {
    /// Its lastProcessedZxid: an epoch that is served has begun, with or without transactions.
    pub fn processed(&self) -> Zxid {
        self.serving.map_or(self.end, |epoch| self.end.max(epoch.start()))
    }
}

/// The learner's side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its last zxid, from ACKEPOCH.
    pub last: Zxid,
    /// Its TRUNC is exact.
    pub exact: bool,
}

/// What to send.
pub fn decide(known: Known<'_>, peer: Peer) -> Start {
    let (history, p) = (known.history, peer.last);
    if known.force_snapshot {
        return Start::Snap;
    }
    if p == known.processed() {
        return Start::Diff { from: p };
    }
    // An empty server may have no snapshot to put a DIFF on.
    if p <= Zxid::ZERO {
        return Start::Snap;
    }
    if p < history.base() {
        return if p > known.unreadable { Start::Log } else { Start::Snap };
    }
    from_entry(known.serving, peer, history.at_or_before(p.min(known.end)))
}

/// What to send if `to` is the last entry of the history, in memory or on disk, that is not above the learner's last.
pub(super) fn from_entry(serving: Option<Epoch>, peer: Peer, to: Zxid) -> Start {
    let p = peer.last;
    if p == to || p.counter() == 0 {
        return Start::Diff { from: p };
    }
    // The learner has what this history has not, or not yet.
    if !peer.exact && serving.is_some_and(|epoch| epoch > Epoch::of(p)) {
        return Start::Snap;
    }
    Start::Trunc { to }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zab::WindowLimits;
    use bytes::Bytes;

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(epoch, counter)
    }

    /// A window that begins after `base`, one byte an entry.
    fn history(base: Zxid, entries: &[Zxid]) -> History {
        let limits = WindowLimits { txns: 500, bytes: 1 << 20 };
        let entries = entries.iter().map(|&z| (z, Bytes::from_static(b"x")));
        History::recovered(Epoch(2), Epoch(2), base, entries, limits)
    }

    /// Epoch 1 from its third transaction on, then two of epoch 2.
    fn window() -> History {
        history(z(1, 2), &[z(1, 3), z(1, 4), z(1, 5), z(2, 1), z(2, 2)])
    }

    fn ask(h: &History, end: Zxid, serving: Option<i64>, last: Zxid, exact: bool) -> Start {
        let (serving, unreadable) = (serving.map(Epoch), Zxid::ZERO);
        let known = Known { history: h, end, serving, force_snapshot: false, unreadable };
        decide(known, Peer { last, exact })
    }

    /// What every leader says to a learner of either kind before it serves.
    fn early(last: Zxid) -> Start {
        let answer = ask(&window(), z(2, 2), None, last, true);
        assert_eq!(answer, ask(&window(), z(2, 2), None, last, false));
        answer
    }

    #[test]
    fn row_1_snapshot_by_force() {
        let h = window();
        let (end, unreadable) = (z(2, 2), Zxid::ZERO);
        let known = Known { history: &h, end, serving: None, force_snapshot: true, unreadable };
        assert_eq!(decide(known, Peer { last: z(2, 2), exact: true }), Start::Snap);
    }

    #[test]
    fn row_2_nothing_is_missing() {
        assert_eq!(early(z(2, 2)), Start::Diff { from: z(2, 2) });
        let empty = history(Zxid::ZERO, &[]);
        let all_empty = ask(&empty, Zxid::ZERO, None, Zxid::ZERO, false);
        assert_eq!(all_empty, Start::Diff { from: Zxid::ZERO });
        let h = window();
        assert_eq!(ask(&h, z(2, 2), Some(3), z(3, 0), false), Start::Diff { from: z(3, 0) });
    }

    #[test]
    fn row_3_a_tail_that_nobody_else_has() {
        assert_eq!(early(z(2, 4)), Start::Trunc { to: z(2, 2) });
        assert_eq!(ask(&window(), z(2, 2), Some(3), z(2, 4), true), Start::Trunc { to: z(2, 2) });
        // A Java learner: SNAP named 3|0, above whatever it has.
        assert_eq!(ask(&window(), z(2, 2), Some(3), z(2, 4), false), Start::Snap);
    }

    #[test]
    fn row_3_a_tail_that_is_not_committed_yet() {
        // 2|2 is outstanding: the learner gives it back and gets it anew, to ack it again.
        for exact in [true, false] {
            assert_eq!(ask(&window(), z(2, 1), Some(2), z(2, 2), exact), Start::Trunc { to: z(2, 1) });
        }
    }

    #[test]
    fn row_4a_an_entry_of_the_window() {
        assert_eq!(early(z(1, 4)), Start::Diff { from: z(1, 4) });
        assert_eq!(early(z(1, 5)), Start::Diff { from: z(1, 5) });
        assert_eq!(early(z(1, 2)), Start::Diff { from: z(1, 2) });
    }

    #[test]
    fn row_4b_an_epochs_start_within_the_window() {
        assert_eq!(early(z(2, 0)), Start::Diff { from: z(2, 0) });
    }

    #[test]
    fn row_4c_no_entry_but_the_same_epoch_goes_on() {
        // Only a window that begins amid an epoch can look so: what lies between is outstanding elsewhere.
        let h = history(z(1, 2), &[z(1, 3), z(2, 1)]);
        assert_eq!(ask(&h, z(2, 1), None, z(1, 7), false), Start::Trunc { to: z(1, 3) });
    }

    #[test]
    fn row_4d_no_entry_and_another_epoch_goes_on() {
        assert_eq!(ask(&window(), z(2, 2), Some(3), z(1, 9), true), Start::Trunc { to: z(1, 5) });
        assert_eq!(ask(&window(), z(2, 2), Some(3), z(1, 9), false), Start::Snap);
    }

    #[test]
    fn row_5_before_the_window() {
        assert_eq!(early(z(1, 1)), Start::Log);
        let h = window();
        let (end, unreadable) = (z(2, 2), z(1, 1));
        let known = Known { history: &h, end, serving: None, force_snapshot: false, unreadable };
        assert_eq!(decide(known, Peer { last: z(1, 1), exact: true }), Start::Snap);
        assert_eq!(early(Zxid::ZERO), Start::Snap);
        assert_eq!(early(Zxid::NONE), Start::Snap);
        // Empty, though the window goes back to the beginning: it may have no snapshot to start from.
        let whole = history(Zxid::ZERO, &[z(1, 1)]);
        assert_eq!(ask(&whole, z(1, 1), Some(1), Zxid::ZERO, true), Start::Snap);
        let nothing = history(Zxid::ZERO, &[]);
        assert_eq!(ask(&nothing, Zxid::ZERO, Some(1), Zxid::ZERO, true), Start::Snap);
    }

    #[test]
    fn row_6_an_epochs_start_beyond_the_history() {
        assert_eq!(early(z(3, 0)), Start::Diff { from: z(3, 0) });
    }

    #[test]
    fn no_answer_leaves_a_gap() {
        let h = window();
        for epoch in 0..4 {
            for counter in 0..8 {
                for (end, serving) in [(z(2, 2), None), (z(2, 2), Some(3)), (z(2, 1), Some(2))] {
                    let p = z(epoch, counter);
                    let kept = match ask(&h, end, serving, p, true) {
                        Start::Snap | Start::Log => continue,
                        Start::Diff { from } => from,
                        Start::Trunc { to } => to,
                    };
                    assert!(kept <= p && kept >= h.base(), "{p}: keeps {kept}");
                    if let Some(next) = h.after(kept).next() {
                        assert!(kept.counter() == 0 || kept.is_followed_by(next.zxid), "{p}: {kept}");
                    }
                }
            }
        }
    }
}
