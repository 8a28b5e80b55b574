//! The name of a session: worker, slot and generation in 64 bits.

use std::fmt;

use fastport_io::slab::Key;

/// Bits of the slot number: four million sessions a worker.
const SLOT_BITS: u32 = 22;

/// The most workers of a service.
pub(crate) const MAX_WORKERS: usize = 1 << (32 - SLOT_BITS);

/// The most sessions of one worker.
pub(crate) const MAX_SESSIONS: usize = 1 << SLOT_BITS;

/// Names one session of one service, from its accept or connect to the end of the service.
///
/// It may be kept for as long as one likes: when the session is gone the id names nothing, and is not given to another
/// session until its slot was used four billion times.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

impl SessionId {
    pub(crate) const fn new(worker: usize, key: Key) -> Self {
        debug_assert!(worker < MAX_WORKERS && (key.index as usize) < MAX_SESSIONS);
        Self((worker as u64) << (32 + SLOT_BITS) | key.to_bits())
    }

    /// The worker that the session lives on.
    pub const fn worker(self) -> usize {
        (self.0 >> (32 + SLOT_BITS)) as usize
    }

    /// The number of the session's slot on its worker: small numbers, used again after a session's end. A handler may keep
    /// its own state of sessions in a vector by it.
    pub const fn slot(self) -> usize {
        self.key().index as usize
    }

    /// The slot and its generation on that worker.
    pub(crate) const fn key(self) -> Key {
        Key::from_bits(self.0 & (u64::MAX >> (32 - SLOT_BITS)))
    }

    /// The id as a number, never 0.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`SessionId::to_bits`]. Any number may be given; one that never was an id names no session.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// `worker.slot.generation`, as the log shows it.
impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key();
        write!(f, "{}.{}.{}", self.worker(), key.index, key.generation)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn worker_slot_and_generation_are_kept_apart(
            worker in 0..MAX_WORKERS,
            index in 0..MAX_SESSIONS as u32,
            generation in 1..=u32::MAX,
        ) {
            let key = Key { index, generation };
            let id = SessionId::from_bits(SessionId::new(worker, key).to_bits());
            prop_assert_eq!(id.worker(), worker);
            prop_assert_eq!(id.key(), key);
        }
    }

    #[test]
    fn ids_print_as_worker_slot_and_generation() {
        let id = SessionId::new(3, Key { index: 7, generation: 2 });
        assert_eq!(id.to_string(), "3.7.2");
    }
}
