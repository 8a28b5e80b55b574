//! The state of every session slot of a worker, readable by all threads: one atomic word each.
//!
//! The worker writes what the session's state is; handles read it, and count in it what they have on the way to the worker.
//! So sending to a dead or a congested session fails at once, on the caller's thread, without a lock and without disturbing
//! the worker; and a thread that sends faster than the worker takes is refused before the session has too much.

use std::sync::OnceLock;

use fastport_io::slab::Key;

use crate::sync::{AtomicU64, Ordering};

/// Slots that are made known together.
const CHUNK: usize = if cfg!(fastport_loom) { 1 } else { 4096 };

const OPEN: u64 = 1;
const CONGESTED: u64 = 2;
/// A message was refused because of what is on the way, which the worker does not know yet.
const REFUSED: u64 = 4;
/// Bytes on the way stand between the flags and the generation.
const BYTES_SHIFT: u32 = 3;
/// More are counted as so many.
const MOST_BYTES: u64 = (1 << (32 - BYTES_SHIFT)) / 2 - 1;

/// What a handle can know of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// It takes messages.
    Open,
    /// It lives, but its peer reads too slowly.
    Congested,
    /// It is closed or being closed, or never was.
    Closed,
}

/// Generation (high half), bytes on the way and flags (low half) of each slot.
pub(crate) struct SlotTable {
    chunks: Box<[OnceLock<Box<[AtomicU64]>>]>,
}

impl SlotTable {
    /// A table for slots below `slots`. Memory is taken as the slots are used.
    pub(crate) fn new(slots: usize) -> Self {
        Self { chunks: (0..slots.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect() }
    }

    /// The worker has opened a session.
    pub(crate) fn set_open(&self, key: Key) {
        let Some(chunk) = self.chunks.get(key.index as usize / CHUNK) else { return };
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| AtomicU64::new(0)).collect());
        chunk[key.index as usize % CHUNK].store(word(key, OPEN), Ordering::Release);
    }

    /// The worker has seen the session's queue cross a mark.
    pub(crate) fn set_congested(&self, key: Key, congested: bool) {
        if let Some(slot) = self.slot(key) {
            if congested {
                slot.fetch_or(CONGESTED, Ordering::Release);
            } else {
                slot.fetch_and(!CONGESTED, Ordering::Release);
            }
        }
    }

    /// The session takes no messages any more.
    pub(crate) fn set_closed(&self, key: Key) {
        if let Some(slot) = self.slot(key) {
            slot.store(word(key, 0), Ordering::Release);
        }
    }

    /// What is known of the session.
    pub(crate) fn state(&self, key: Key) -> SlotState {
        let Some(slot) = self.slot(key) else { return SlotState::Closed };
        state_of(slot.load(Ordering::Acquire), key)
    }

    /// Counts a message that is about to be posted to an open session. It is refused as congested while there are more than
    /// `most` bytes on the way; then the worker learns of it with the next message that it takes.
    pub(crate) fn post(&self, key: Key, bytes: usize, most: usize) -> SlotState {
        let Some(slot) = self.slot(key) else { return SlotState::Closed };
        let mut word = slot.load(Ordering::Acquire);
        loop {
            let state = state_of(word, key);
            if state != SlotState::Open {
                return state;
            }
            let is_refused = bytes_of(word) > (most as u64).min(MOST_BYTES);
            let after = if is_refused { word | REFUSED } else { word + (counted(bytes) << BYTES_SHIFT) };
            match slot.compare_exchange_weak(word, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if is_refused => return SlotState::Congested,
                Ok(_) => return SlotState::Open,
                Err(other) => word = other,
            }
        }
    }

    /// A message was not posted after all.
    pub(crate) fn withdraw(&self, key: Key, bytes: usize) {
        self.uncount(key, bytes, 0);
    }

    /// The worker has taken a message. True if others were refused meanwhile.
    pub(crate) fn take(&self, key: Key, bytes: usize) -> bool {
        self.uncount(key, bytes, REFUSED)
    }

    /// Clears flags, too, and tells whether one was set.
    fn uncount(&self, key: Key, bytes: usize, flags: u64) -> bool {
        let Some(slot) = self.slot(key) else { return false };
        let mut word = slot.load(Ordering::Acquire);
        // The count of a closed session has gone with it.
        while state_of(word, key) != SlotState::Closed {
            debug_assert!(bytes_of(word) >= counted(bytes), "what is taken was posted");
            let after = (word - (counted(bytes) << BYTES_SHIFT)) & !flags;
            match slot.compare_exchange_weak(word, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return word & flags != 0,
                Err(other) => word = other,
            }
        }
        false
    }

    fn slot(&self, key: Key) -> Option<&AtomicU64> {
        self.chunks.get(key.index as usize / CHUNK)?.get()?.get(key.index as usize % CHUNK)
    }
}

fn word(key: Key, flags: u64) -> u64 {
    u64::from(key.generation) << 32 | flags
}

fn state_of(word: u64, key: Key) -> SlotState {
    if word >> 32 != u64::from(key.generation) || word & OPEN == 0 {
        SlotState::Closed
    } else if word & CONGESTED != 0 {
        SlotState::Congested
    } else {
        SlotState::Open
    }
}

fn bytes_of(word: u64) -> u64 {
    (word & u64::from(u32::MAX)) >> BYTES_SHIFT
}

fn counted(bytes: usize) -> u64 {
    (bytes as u64).min(MOST_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_tells_the_state_of_its_generation_only() {
        let table = SlotTable::new(10_000);
        let key = Key { index: 9_999, generation: 3 };
        let older = Key { generation: 2, ..key };
        assert_eq!(table.state(key), SlotState::Closed);
        table.set_open(key);
        assert_eq!(table.state(key), SlotState::Open);
        assert_eq!(table.state(older), SlotState::Closed);
        table.set_congested(key, true);
        assert_eq!(table.state(key), SlotState::Congested);
        table.set_congested(key, false);
        assert_eq!(table.state(key), SlotState::Open);
        table.set_closed(key);
        assert_eq!(table.state(key), SlotState::Closed);
    }

    #[test]
    fn what_is_on_the_way_is_limited_and_a_refusal_is_told_once() {
        let table = SlotTable::new(1);
        let key = Key { index: 0, generation: 7 };
        table.set_open(key);
        // A message alone may be larger than the limit.
        assert_eq!(table.post(key, 500, 100), SlotState::Open);
        assert_eq!(table.post(key, 1, 100), SlotState::Congested);
        table.set_congested(key, true);
        assert!(table.take(key, 500));
        assert_eq!(table.post(key, 1, 100), SlotState::Congested);
        table.set_congested(key, false);
        assert_eq!(table.post(key, usize::MAX, 100), SlotState::Open);
        assert!(!table.take(key, usize::MAX));
        assert_eq!(table.post(key, 100, 100), SlotState::Open);
        table.withdraw(key, 100);
        table.set_closed(key);
        assert_eq!(table.post(key, 1, 100), SlotState::Closed);
        // The next session in the slot begins anew, whatever is still on the way to the one before.
        let next = Key { generation: 8, ..key };
        table.set_open(next);
        assert!(!table.take(key, 100));
        assert_eq!(table.post(next, 1, 0), SlotState::Open);
    }

    #[test]
    fn a_slot_beyond_the_table_is_closed() {
        let table = SlotTable::new(1);
        let key = Key { index: u32::MAX, generation: 1 };
        table.set_open(key);
        assert_eq!(table.state(key), SlotState::Closed);
    }
}
