//! Time as the core sees it: an argument. Nothing here reads a clock.

use serde::{Deserialize, Serialize};
use std::ops::{Add, Sub};

/// Nanoseconds of the driver's monotonic clock since its start. Never goes back, whatever the wall clock does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Time(pub u64);

/// A length of monotonic time in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Span(pub u64);

/// Wall-clock milliseconds since 1970, as ctime, mtime and TTLs use them. May jump; no deadline is ever kept in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Millis(pub i64);

/// Both clocks at the moment of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Now {
    /// Monotonic: for deadlines.
    pub mono: Time,
    /// Wall clock: for what clients see.
    pub wall: Millis,
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);
    /// From milliseconds.
    pub const fn from_millis(ms: u64) -> Span {
        Span(ms * 1_000_000)
    }
    /// Whole milliseconds, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }
}

impl Time {
    /// Whole milliseconds, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }
    /// Time passed since `earlier`, zero if that lies ahead.
    pub fn since(self, earlier: Time) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}
impl Add<Span> for Time {
    type Output = Time;
    fn add(self, d: Span) -> Time {
        Time(self.0.saturating_add(d.0))
    }
}
impl Sub<Span> for Time {
    type Output = Time;
    fn sub(self, d: Span) -> Time {
        Time(self.0.saturating_sub(d.0))
    }
}

/// A wall-clock moment as Java prints a `Date` in UTC: `Sun Nov 22 09:39:10 UTC 2026`.
pub fn java_date(at: Millis) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = at.0.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Civil date from days since 1970, in years that begin in March: leap days fall at the end.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 2 } else { from_march - 10 };
    let year = year_of_era + era * 400 + i64::from(month < 2);
    format!(
        "{} {} {day:02} {:02}:{:02}:{:02} UTC {year}",
        DAYS[days.rem_euclid(7) as usize],
        MONTHS[month as usize],
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_printed_as_java_does() {
        assert_eq!(java_date(Millis(0)), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(java_date(Millis(1_795_340_350_999)), "Sun Nov 22 09:39:10 UTC 2026");
        assert_eq!(java_date(Millis(951_782_400_000)), "Tue Feb 29 00:00:00 UTC 2000");
        assert_eq!(java_date(Millis(-1)), "Wed Dec 31 23:59:59 UTC 1969");
    }
}
