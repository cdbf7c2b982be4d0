//! Randomness: one ChaCha generator from the seed, and `java.util.Random` where ZooKeeper's bytes hang on it.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// The core's only source of random numbers.
#[derive(Clone, Debug)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// The generator that `seed` names.
    pub fn new(seed: [u8; 32]) -> Rng {
        Rng(ChaCha8Rng::from_seed(seed))
    }
    /// 64 random bits.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }
    /// A number in `0..n`; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.u64()) * u128::from(n)) >> 64) as u64
    }
    /// 32 bytes: the seed of a child generator.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut s = [0; 32];
        self.0.fill_bytes(&mut s);
        s
    }
}

/// `new java.util.Random(seed).nextBytes(16 bytes)`: the password of a session is made of it.
pub fn java_random_16(seed: i64) -> [u8; 16] {
    const MASK: u64 = (1 << 48) - 1;
    let mut s = (seed as u64 ^ 0x5_DEEC_E66D) & MASK;
    let mut out = [0; 16];
    for word in out.chunks_exact_mut(4) {
        s = s.wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) & MASK;
        word.copy_from_slice(&((s >> 16) as u32).to_le_bytes());
    }
    out
}
