//! Random numbers that are the same for ever: a seed that found a fault must find it again years later, so the generator
//! is our own and its stream is pinned by a test.

use std::ops::RangeInclusive;

/// xoshiro256++ 1.0 (Blackman and Vigna), seeded by `SplitMix64`.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// A generator whose whole stream follows from `seed`.
    pub fn new(seed: u64) -> Self {
        let mut split = seed;
        let state = std::array::from_fn(|_| {
            split = split.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (split ^ (split >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        });
        Self { state }
    }

    /// A generator of its own for one part of a simulation, so that what one part draws does not change the others.
    pub fn fork(&mut self) -> Self {
        Self::new(self.next())
    }

    /// 64 random bits.
    #[allow(clippy::should_implement_trait, reason = "it is not an iterator, which could end")]
    pub const fn next(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        // The shift works on the old second word, the exchange on the new ones.
        result
    }

    /// A number below `limit`.
    ///
    /// # Panics
    /// If `limit` is 0.
    pub const fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0, "no number is below 0");
        // Multiply and shift: the bias is below 2^-32 for every limit that a simulation uses.
        ((self.next() as u128 * limit as u128) >> 64) as u64
    }

    /// A number of the range.
    ///
    /// # Panics
    /// If the range is empty.
    pub const fn within(&mut self, range: &RangeInclusive<u64>) -> u64 {
        let (first, last) = (*range.start(), *range.end());
        assert!(first <= last, "an empty range has no numbers");
        match (last - first).checked_add(1) {
            Some(count) => first + self.below(count),
            None => self.next(),
        }
    }

    /// True with the given probability. Draws nothing for 0 and less, so that what is switched off changes nothing.
    pub fn chance(&mut self, probability: f64) -> bool {
        if probability <= 0.0 {
            return false;
        }
        // 53 bits, exactly representable.
        ((self.next() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    /// One of the items.
    ///
    /// # Panics
    /// If there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// Fills `bytes` at random.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_of_a_seed_never_changes() {
        let mut random = Random::new(0);
        let stream: [u64; 4] = std::array::from_fn(|_| random.next());
        assert_eq!(
            stream,
            [0x5317_5D61_490B_23DF, 0x61DA_6F3D_C380_D507, 0x5C0F_DF91_EC9A_7BFC, 0x02EE_BF8C_3BBE_5E1A]
        );
    }

    #[test]
    fn numbers_stay_within_their_limits_and_reach_them() {
        let mut random = Random::new(7);
        let mut seen = [false; 6];
        for _ in 0..200 {
            seen[random.below(6) as usize] = true;
            assert!((3..=4).contains(&random.within(&(3..=4))));
        }
        assert_eq!(seen, [true; 6]);
        assert_eq!(random.within(&(5..=5)), 5);
    }

    #[test]
    fn chances_come_as_often_as_they_should() {
        let mut random = Random::new(1);
        assert!(!random.chance(0.0));
        assert!(random.chance(1.0));
        let hits = (0..10_000).filter(|_| random.chance(0.25)).count();
        assert!((2300..2700).contains(&hits), "{hits}");
    }
}
