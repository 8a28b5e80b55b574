//! The payloads of a workload: generated once before the run, so that generating is not measured.

use std::ops::RangeInclusive;

/// Payloads of random sizes and random bytes, in one piece of memory.
///
/// The generator is seeded with a constant: every backend and every run sends the same bytes in the same order.
#[derive(Debug)]
pub(crate) struct PayloadPool {
    bytes: Vec<u8>,
    /// Where each payload ends; it begins where the one before ends.
    ends: Vec<usize>,
}

impl PayloadPool {
    /// `count` payloads of the given sizes in bytes, evenly distributed.
    ///
    /// # Panics
    /// If `count` is 0 or the range is empty.
    pub(crate) fn generate(count: u32, sizes: RangeInclusive<u32>) -> Self {
        assert!(count > 0 && !sizes.is_empty(), "a pool has payloads, and they have a size");
        let mut random = SplitMix64 { state: 0x5EED_F057_9047 };
        let mut total = 0;
        let ends: Vec<usize> = (0..count)
            .map(|_| {
                total += random.within(&sizes) as usize;
                total
            })
            .collect();
        let mut bytes = Vec::with_capacity(total + size_of::<u64>());
        while bytes.len() < total {
            bytes.extend_from_slice(&random.next().to_le_bytes());
        }
        Self { bytes, ends }
    }

    /// The payload of a turn; after the last one comes the first again.
    #[inline]
    pub(crate) fn get(&self, turn: u32) -> &[u8] {
        let index = turn as usize % self.ends.len();
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    /// The mean size of a payload in bytes, rounded.
    pub(crate) fn mean_bytes(&self) -> u32 {
        let total = *self.ends.last().expect("a pool is never empty");
        (total as f64 / self.ends.len() as f64).round() as u32
    }
}

/// True if a payload that came back looks like the one that was sent.
///
/// Size and both ends are compared, not every byte: a stream that slipped or frames that were mixed up show there, and the
/// check stays cheap enough not to be what is measured.
#[inline]
pub(crate) fn resembles(received: &[u8], sent: &[u8]) -> bool {
    received.len() == sent.len() && received.first() == sent.first() && received.last() == sent.last()
}

/// Sebastiano Vigna's SplitMix64: a few instructions, good enough for sizes and filler bytes.
struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn within(&mut self, range: &RangeInclusive<u32>) -> u32 {
        let span = u64::from(range.end() - range.start()) + 1;
        // The bias is below 2^-32, because the span has at most 33 bits.
        range.start() + ((u128::from(self.next()) * u128::from(span)) >> 64) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_stay_in_their_range_and_reach_both_halves() {
        let pool = PayloadPool::generate(1000, 100..=200);
        let sizes: Vec<usize> = (0..1000).map(|turn| pool.get(turn).len()).collect();
        assert!(sizes.iter().all(|size| (100..=200).contains(size)));
        assert!(sizes.iter().any(|&size| size < 125) && sizes.iter().any(|&size| size > 175));
        assert!((140..=160).contains(&pool.mean_bytes()));
    }

    #[test]
    fn turns_go_round() {
        let pool = PayloadPool::generate(3, 64..=64);
        assert_eq!(pool.get(0), pool.get(3));
        assert_ne!(pool.get(0), pool.get(1));
    }

    #[test]
    fn two_pools_of_one_kind_are_equal() {
        let first = PayloadPool::generate(16, 0..=500);
        let second = PayloadPool::generate(16, 0..=500);
        assert_eq!((first.bytes, first.ends), (second.bytes, second.ends));
    }

    #[test]
    fn empty_payloads_are_payloads() {
        let pool = PayloadPool::generate(2, 0..=0);
        assert_eq!(pool.get(1), b"");
        assert_eq!(pool.mean_bytes(), 0);
        assert!(resembles(b"", pool.get(0)));
    }

    #[test]
    fn a_payload_that_was_cut_or_shifted_is_noticed() {
        assert!(resembles(b"abcd", b"abcd"));
        assert!(!resembles(b"abc", b"abcd"));
        assert!(!resembles(b"bcde", b"abcd"));
        assert!(!resembles(b"abce", b"abcd"));
    }
}
