//! The clocks of a node: a monotonic one whose rate drifts, and a wall clock that is skewed and jumps. Knows true time as
//! nanoseconds since the run began.

use zebu_core::time::{Millis, Now, Time};

/// A node's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// True time at which `mono` was right.
    since: u64,
    /// The monotonic clock then.
    mono: u64,
    /// Millionths by which both clocks run too fast.
    ppm: i32,
    /// Wall clock at the run's begin, ms, with the node's skew and every jump so far.
    wall: i64,
}

/// 2026-01-01, where runs begin.
pub const EPOCH_MS: i64 = 1_767_225_600_000;

impl Clock {
    /// A clock that starts now at `mono`.
    pub fn new(now: u64, mono: Time, ppm: i32, skew_ms: i64) -> Clock {
        Clock { since: now, mono: mono.0, ppm, wall: EPOCH_MS + skew_ms }
    }

    /// What the clocks show.
    pub fn now(&self, true_time: u64) -> Now {
        let mono = self.mono + self.stretch(true_time - self.since);
        Now { mono: Time(mono), wall: Millis(self.wall + (self.stretch(true_time) / 1_000_000) as i64) }
    }

    /// The first true time at which the monotonic clock shows at least `mono`; not before `since`.
    pub fn when(&self, mono: Time) -> u64 {
        let ahead = mono.0.saturating_sub(self.mono);
        let rate = (1_000_000 + i64::from(self.ppm)) as u128;
        let span = (u128::from(ahead) * 1_000_000).div_ceil(rate);
        self.since.saturating_add(u64::try_from(span).unwrap_or(u64::MAX))
    }

    /// Moves the wall clock.
    pub fn jump(&mut self, ms: i64) {
        self.wall += ms;
    }

    /// The same clocks after the process began anew: monotonic time goes on, or starts from `mono` if the host booted.
    pub fn restart(&mut self, now: u64, mono: Option<Time>) {
        let shown = self.now(now).mono;
        self.mono = mono.unwrap_or(shown).0;
        self.since = now;
    }

    /// By how much it runs too fast.
    pub fn ppm(&self) -> i32 {
        self.ppm
    }

    fn stretch(&self, span: u64) -> u64 {
        (u128::from(span) * (1_000_000 + i64::from(self.ppm)) as u128 / 1_000_000) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    #[test]
    fn waking_at_when_finds_the_deadline_reached_and_not_before() {
        let mut r = Stream::new(0, Purpose::Fault, 0, 0);
        for _ in 0..2000 {
            let ppm = r.below(200_001) as i32 - 100_000;
            let start = r.below(1 << 40);
            let clock = Clock::new(start, Time(r.below(1 << 40)), ppm, 0);
            let deadline = clock.now(start + r.below(1 << 38)).mono;
            let at = clock.when(deadline);
            assert!(clock.now(at).mono >= deadline);
            assert!(at == start || clock.now(at - 1).mono < deadline);
        }
    }

    #[test]
    fn the_monotonic_clock_survives_jumps_and_restarts() {
        let mut clock = Clock::new(0, Time(0), 500, -3000);
        let before = clock.now(1_000_000_000);
        clock.jump(-86_400_000);
        assert_eq!(clock.now(1_000_000_000).mono, before.mono);
        assert_eq!(clock.now(1_000_000_000).wall.0, before.wall.0 - 86_400_000);
        clock.restart(1_000_000_000, None);
        assert_eq!(clock.now(1_000_000_000).mono, before.mono);
        clock.restart(2_000_000_000, Some(Time(7)));
        assert_eq!(clock.now(2_000_000_000).mono, Time(7));
    }
}
