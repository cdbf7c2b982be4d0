//! The epoch files of a member of an ensemble: decimal text. Answers to `QuorumPeer.readLongFromFile` and to what
//! `QuorumPeer.loadDataBase` makes of them.
//!
//! A member accepts an epoch before it logs anything of it, and logs the history that an epoch begins with before it takes the
//! epoch for its current one (ZOOKEEPER-4643 is the other order). So with our crashes currentEpoch may be behind the log,
//! acceptedEpoch never behind either.

use super::recover::{RecoverError, RecoverNote};
use crate::boundary::EpochFile;
use crate::boundary::FileName;
use crate::id::{Epoch, Zxid};

/// Reads the first line. `None`: that is no epoch.
pub(super) fn parse(bytes: &[u8]) -> Option<i64> {
    let line = bytes.split(|b| *b == b'\n').next()?;
    std::str::from_utf8(line).ok()?.trim_end_matches('\r').parse().ok()
}

/// What the files say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) accepted: Option<i64>,
    pub(super) current: Option<i64>,
    /// currentEpoch.tmp.
    pub(super) current_temp: Option<i64>,
}

/// A member's epochs.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) accepted: i64,
    pub(super) current: i64,
    /// Files to write.
    pub(super) write: Vec<(EpochFile, Epoch)>,
    /// currentEpoch.tmp is to become currentEpoch.
    pub(super) adopt: bool,
}

/// Makes a member's epochs of its files and the end of its log.
pub(super) fn settle(
    found: Found,
    last: Zxid,
    notes: &mut Vec<RecoverNote>,
) -> Result<Settled, RecoverError> {
    let of_log = Epoch::of(last).0;
    let mut write = Vec::new();
    let mut given = |file: EpochFile, name: FileName, epoch: Option<i64>| {
        let Some(epoch) = epoch else {
            notes.push(RecoverNote::NoEpoch { file: name, taken: of_log });
            write.push((file, Epoch(of_log)));
            return Ok(of_log);
        };
        // An epoch is half of a zxid.
        if !(0..=i64::from(i32::MAX)).contains(&epoch) {
            return Err(RecoverError::BadEpoch { file: name });
        }
        Ok(epoch)
    };
    let accepted = given(EpochFile::Accepted, FileName::AcceptedEpoch, found.accepted)?;
    let mut current = given(EpochFile::Current, FileName::CurrentEpoch, found.current)?;
    let mut adopt = false;
    if current < of_log {
        // Java does not sync the folder: its rename may be lost, and what it promised with it. One of ours may be torn, and
        // then shows a smaller number.
        adopt = found.current_temp == Some(accepted);
        if adopt {
            current = accepted;
            notes.push(RecoverNote::EpochAdopted { epoch: current });
        } else {
            notes.push(RecoverNote::EpochOfLog { current, of_log });
        }
    }
    if accepted < current.max(of_log) {
        return Err(RecoverError::EpochBehind { accepted, current, of_log });
    }
    Ok(Settled { accepted, current, write, adopt })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_counts() {
        assert_eq!(parse(b"5"), Some(5));
        assert_eq!(parse(b"12\r\nrest"), Some(12));
        assert_eq!(parse(b"-1\n"), Some(-1));
        for bad in [&b""[..], b"\n5", b"five", b" 5", b"99999999999999999999", b"\xff"] {
            assert_eq!(parse(bad), None);
        }
    }

    /// With a log that ends in epoch 3.
    fn at_3(
        accepted: Option<i64>,
        current: Option<i64>,
        current_temp: Option<i64>,
    ) -> Result<Settled, RecoverError> {
        settle(Found { accepted, current, current_temp }, Zxid::new(3, 7), &mut Vec::new())
    }

    #[test]
    fn files_and_log_are_brought_together() {
        let of = |got: Result<Settled, RecoverError>| got.map(|s| (s.accepted, s.current)).ok();
        assert_eq!(of(at_3(None, None, None)), Some((3, 3)));
        assert_eq!(of(at_3(Some(4), None, None)), Some((4, 3)));
        assert_eq!(of(at_3(None, Some(3), None)), Some((3, 3)));
        assert_eq!(of(at_3(Some(5), Some(4), None)), Some((5, 4)));
        // The log is written before the epoch.
        assert_eq!(of(at_3(Some(3), Some(2), None)), Some((3, 2)));
        assert_eq!(of(at_3(Some(3), Some(2), Some(3))), Some((3, 3)));
        // Of no use: torn ones, one that was not needed.
        assert_eq!(of(at_3(Some(3), Some(1), Some(2))), Some((3, 1)));
        assert_eq!(of(at_3(Some(42), Some(1), Some(4))), Some((42, 1)));
        assert_eq!(of(at_3(Some(5), Some(3), Some(4))), Some((5, 3)));
        for (accepted, current) in [(Some(3), Some(4)), (None, Some(4)), (Some(2), None), (Some(2), Some(2))]
        {
            assert_eq!(of(at_3(accepted, current, None)), None, "{accepted:?} {current:?}");
        }
        for bad in [-1, 1 << 31, i64::MIN] {
            assert_eq!(of(at_3(Some(bad), Some(3), None)), None, "{bad}");
        }
    }

    #[test]
    fn what_was_missing_is_written() {
        let both = [(EpochFile::Accepted, Epoch(3)), (EpochFile::Current, Epoch(3))];
        assert_eq!(at_3(None, None, None).expect("starts").write, both);
        assert_eq!(at_3(Some(3), Some(3), None).expect("starts").write, []);
        assert!(at_3(Some(3), Some(2), Some(3)).expect("starts").adopt);
    }
}
