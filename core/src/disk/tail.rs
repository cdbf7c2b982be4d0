//! What a damaged end of a log is worth: torn by our own power cut, so cut it off; or rot, so refuse. Pure judgement over
//! bytes; knows no folder, no tree. Java's counterpart is a rule of one line in `FileTxnLog.next`.
//!
//! # What our own power cut can leave
//! 1. The log lane is carried out in order, so at any moment the newest file is a synced part `[0, S)` and an unsynced part
//!    `[S, L)`. Older files are synced wholly (a roll syncs before it creates), and a new file gets its name only when
//!    its header and first entries are synced (`writing.log.X`, sync, rename).
//! 2. The store never lets `L - S` exceed [`LOG_IN_FLIGHT`]: it holds entries back until a sync is done, and an entry
//!    larger than that begins a new file.
//! 3. After a cut the file has any length in `[S, L]`, and each 512-byte sector of it holds what was written, or zeros from
//!    the point on where an earlier write ended. Sectors are independent: a later entry may be whole and an earlier one torn.
//!
//! # The rule
//! Let `at` be the offset of the first bad entry of the *newest* file and `E` the end of its last non-zero byte.
//! - **Nothing but zeros from `at` on**: a clean end.
//! - **A sector of the bad entry is all zeros**, from the entry's start or the sector's on (the *mark* of a tear), and
//!   `E - at <= LOG_IN_FLIGHT`: torn. Whatever lies behind, whole or not, shares its fate.
//! - **Else, nothing lies behind the entry** and Java calls it torn (the file ends inside it, or its end byte is zero): torn,
//!   unless the record inside is whole and its length field claims more: a rotten length, not a tear.
//! - **Else refuse**: a bad checksum without a mark (Java refuses it too), data behind a bad entry without a mark or too
//!   far away, a length that no one writes.
//!
//! Why it always starts after our own cut: a torn entry either misses bytes at the file's end, or misses a sector and so has
//! the mark; by 2. `E` is near. A length field can itself be half torn, but then a sector that holds a part of it is zero:
//! the mark again; bits are only ever missing, so it is never negative or huge.
//!
//! Why it drops nothing acknowledged: what is acknowledged is synced, hence whole, hence not bad, unless the disk rots. Rot
//! that flips bits leaves no mark. What is left open is rot that zeroes whole sectors in the last [`LOG_IN_FLIGHT`] bytes of the
//! newest file: no log that syncs once a batch can tell that from a tear ("Protocol-Aware Recovery", FAST 2018, 3.3.3).

use super::log::{End, FRAME_LEN, Found};
use crate::limits::LOG_IN_FLIGHT;
use crate::proto::LoggedTxn;

/// The unit in which disks lose writes.
const SECTOR: usize = 512;
/// The upper half of a checksum is always zero: losing only these bytes does no harm and proves nothing.
const ALWAYS_ZERO: usize = 4;

/// What the end of a file is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tail {
    /// The file, or its written part, ends behind an entry.
    Clean,
    /// Torn entries that nobody can have acknowledged.
    Torn,
    /// Damage that no power cut explains.
    Rotten(Rot),
}

/// Damage that no power cut explains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rot {
    /// The checksum is wrong.
    Sum,
    /// The length is negative or huge.
    Length(i32),
    /// The length claims more than the record has.
    LengthTooLong,
    /// The last entry is whole but for its end byte, which is neither right nor zero.
    EndByte,
    /// The entry is damaged and entries follow it.
    BeforeData,
}

/// Judges the end of the newest file.
pub fn judge_newest(file: &[u8], end: End) -> Tail {
    let written = written(file);
    if end.at >= written {
        return Tail::Clean;
    }
    if let Found::BadLength(n) = end.found {
        return Tail::Rotten(Rot::Length(n));
    }
    if written - end.at <= LOG_IN_FLIGHT && has_mark(file, end.at, end.claimed.min(written)) {
        return Tail::Torn;
    }
    judge_unmarked(&file[..written], end)
}

/// Judges the end of a file that others follow. A tear of ours cannot be there; Java leaves them, so what it calls torn is
/// let pass if nothing lies behind. Whether the next file goes on without a gap is for the caller to see.
pub fn judge_middle(file: &[u8], end: End) -> Tail {
    let written = written(file);
    if end.at >= written {
        return Tail::Clean;
    }
    judge_unmarked(&file[..written], end)
}

/// `file` ends with its last byte that is not zero: without a mark, all of these are as they were written.
fn judge_unmarked(file: &[u8], end: End) -> Tail {
    let reaches = end.claimed >= file.len();
    let torn_if = |ok: bool, or: Rot| if ok { Tail::Torn } else { Tail::Rotten(or) };
    match end.found {
        Found::Eof => Tail::Clean,
        Found::BadLength(n) => Tail::Rotten(Rot::Length(n)),
        Found::BadSum => Tail::Rotten(Rot::Sum),
        Found::ZeroLength | Found::NoEor(0) => torn_if(reaches, Rot::BeforeData),
        Found::NoEor(_) => torn_if(false, if reaches { Rot::EndByte } else { Rot::BeforeData }),
        Found::CutShort => torn_if(!record_is_whole(file, end.at), Rot::LengthTooLong),
    }
}

/// The end of the last byte that is not zero.
fn written(file: &[u8]) -> usize {
    file.iter().rposition(|b| *b != 0).map_or(0, |i| i + 1)
}

/// True if a sector of the entry at `at` holds nothing but zeros.
fn has_mark(file: &[u8], at: usize, upto: usize) -> bool {
    let upto = upto.max((at + FRAME_LEN).min(file.len()));
    let mut from = at;
    while from < upto {
        let to = (from - from % SECTOR + SECTOR).min(file.len());
        let harmless = from == at && to - from <= ALWAYS_ZERO && to < file.len();
        if !harmless && file[from..to].iter().all(|b| *b == 0) {
            return true;
        }
        from = to;
    }
    false
}

/// True if the record of an entry that claims to reach beyond the file is there wholly, with more than a digest and an end
/// byte behind it: then it is the length that lies.
fn record_is_whole(file: &[u8], at: usize) -> bool {
    let Some(body) = file.get(at + FRAME_LEN - 1..) else { return false };
    let Ok(txn) = LoggedTxn::decode(body) else { return false };
    let mut record = Vec::new();
    LoggedTxn { digest: None, ..txn }.encode(&mut record);
    body.len() > record.len() + DIGEST_LEN + 1
}

const DIGEST_LEN: usize = 12;

#[cfg(test)]
mod tests;
