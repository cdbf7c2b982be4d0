//! Randomness by name, not by order: every stream of numbers is named by the seed, a purpose and an entity, so that taking
//! one fault or operation away does not reshuffle the others. That is what makes shrinking work. Integers only: the same
//! numbers on every machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// What a stream is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Purpose {
    /// Ensemble shape and settings.
    Shape = 1,
    /// Which families of faults and operations are on, and how hard.
    Swarm = 2,
    /// The program of one client.
    Program = 3,
    /// The list of faults of one family.
    Faults = 4,
    /// Hostile bytes.
    Raw = 5,
    /// One direction of one connection: delays, splits.
    Wire = 6,
    /// One lane of one disk: latencies.
    Disk = 7,
    /// What one fault does in detail.
    Fault = 8,
    /// Seeds of servers.
    Server = 9,
    /// Seeds of clients.
    Client = 10,
    /// Which moments get a shadow recovery.
    Shadow = 11,
    /// Who changes the membership.
    Operator = 12,
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of this name.
    pub fn new(seed: u64, purpose: Purpose, entity: u64, counter: u64) -> Stream {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
        key[16..24].copy_from_slice(&entity.to_le_bytes());
        key[24..].copy_from_slice(&counter.to_le_bytes());
        Stream(ChaCha8Rng::from_seed(key))
    }

    /// 64 random bits.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..n`; 0 when `n` is 0. Takes 32 random bits where they do.
    pub fn below(&mut self, n: u64) -> u64 {
        if n <= u64::from(u32::MAX) {
            (u64::from(self.0.next_u32()) * n) >> 32
        } else {
            ((u128::from(self.u64()) * u128::from(n)) >> 64) as u64
        }
    }

    /// A number in `lo..=hi`.
    pub fn between(&mut self, lo: u64, hi: u64) -> u64 {
        lo + self.below(hi - lo + 1)
    }

    /// True with a chance of `n` in 1024.
    pub fn chance(&mut self, n: u32) -> bool {
        self.0.next_u32() >> 22 < n
    }

    /// A number in `lo..=hi` whose order of magnitude is uniform. `lo` is at least 1.
    pub fn log_uniform(&mut self, lo: u64, hi: u64) -> u64 {
        let octaves = (hi / lo).ilog2() + 1;
        let floor = lo << self.below(u64::from(octaves));
        self.between(floor, (floor * 2 - 1).min(hi))
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// The place of one of these weights, each as likely as its weight says.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let mut left = self.below(weights.iter().map(|w| u64::from(*w)).sum());
        for (i, w) in weights.iter().enumerate() {
            if left < u64::from(*w) {
                return i;
            }
            left -= u64::from(*w);
        }
        unreachable!("at least one weight is positive")
    }

    /// 32 bytes: the seed of a machine.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut s = [0; 32];
        self.0.fill_bytes(&mut s);
        s
    }

    /// Random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_decide_and_ranges_hold() {
        let mut a = Stream::new(1, Purpose::Wire, 2, 3);
        let mut b = Stream::new(1, Purpose::Wire, 2, 3);
        let mut c = Stream::new(1, Purpose::Wire, 2, 4);
        assert_eq!(a.u64(), b.u64());
        assert_ne!(a.u64(), c.u64());
        for _ in 0..1000 {
            assert!((5..=7).contains(&a.between(5, 7)));
            assert!((3..=1000).contains(&a.log_uniform(3, 1000)));
            assert!(a.below(u64::MAX) < u64::MAX);
            assert_ne!(a.weighted(&[1, 0, 3]), 1);
        }
        assert_eq!((a.below(0), a.between(9, 9), a.log_uniform(4, 4)), (0, 9, 4));
        assert!(!a.chance(0) && a.chance(1024));
    }
}
