//! Disorder that can be repeated: all of it comes from one seed.

/// How disorderly the emulator is. The defaults disturb much and still let thousands of connections through in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disorder {
    /// One in so many requests, completions and notifications is held for a while; 0: none.
    pub hold_one_in: u32,
    /// The longest hold, in turns of the engine: a turn ends with whatever happens next, after a millisecond at the latest.
    pub longest_hold_turns: u32,
    /// Sockets that have something to do in the same turn get their places by lots between 0 and this; 0: the oldest
    /// request queue comes first.
    pub shuffle: u32,
    /// One in so many notifications fires as soon as it is armed, for nothing; 0: none.
    pub spurious_one_in: u32,
    /// One in so many deferred requests starts before it is committed; 0: none.
    pub early_start_one_in: u32,
    /// One in so many dequeues gives fewer entries than there are; 0: none.
    pub short_dequeue_one_in: u32,
}

impl Default for Disorder {
    fn default() -> Self {
        Self {
            hold_one_in: 6,
            longest_hold_turns: 3,
            shuffle: 1000,
            spurious_one_in: 8,
            early_start_one_in: 3,
            short_dequeue_one_in: 4,
        }
    }
}

impl Disorder {
    /// None: everything happens in the order and as soon as possible.
    pub const NONE: Self = Self {
        hold_one_in: 0,
        longest_hold_turns: 0,
        shuffle: 0,
        spurious_one_in: 0,
        early_start_one_in: 0,
        short_dequeue_one_in: 0,
    };
}

/// xorshift64*: small, fast, and the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // The state must not be 0; neighbouring seeds must not give neighbouring sequences.
        Self(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32;
        ((u64::from(high) * u64::from(limit)) >> 32) as u32
    }
}
