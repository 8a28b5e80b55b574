//! The state of every session slot of a worker, readable by all threads: one atomic word each.
//!
//! The worker writes, handles read. So sending to a dead or a congested session fails at once, on the caller's thread,
//! without a lock and without disturbing the worker.

use std::sync::OnceLock;

use fastport_io::slab::Key;

use crate::sync::{AtomicU64, Ordering};

/// Slots that are made known together.
const CHUNK: usize = if cfg!(fastport_loom) { 1 } else { 4096 };

const OPEN: u64 = 1;
const CONGESTED: u64 = 2;

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

/// Generation (high half) and flags (low half) of each slot.
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
            slot.store(word(key, if congested { OPEN | CONGESTED } else { OPEN }), Ordering::Release);
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
        let state = slot.load(Ordering::Acquire);
        if state == word(key, OPEN) {
            SlotState::Open
        } else if state == word(key, OPEN | CONGESTED) {
            SlotState::Congested
        } else {
            SlotState::Closed
        }
    }

    fn slot(&self, key: Key) -> Option<&AtomicU64> {
        self.chunks.get(key.index as usize / CHUNK)?.get()?.get(key.index as usize % CHUNK)
    }
}

fn word(key: Key, flags: u64) -> u64 {
    u64::from(key.generation) << 32 | flags
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
    fn a_slot_beyond_the_table_is_closed() {
        let table = SlotTable::new(1);
        let key = Key { index: u32::MAX, generation: 1 };
        table.set_open(key);
        assert_eq!(table.state(key), SlotState::Closed);
    }
}
