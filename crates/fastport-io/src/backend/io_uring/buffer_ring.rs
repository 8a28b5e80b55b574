//! The ring of receive buffers that the kernel takes from when data arrives (`IORING_REGISTER_PBUF_RING`, Linux 5.19).
//!
//! Free slots of the receive pool are *lent* to the ring; a completion names the slot that the kernel filled, which then
//! becomes a lease. A slot's number in the pool is its buffer id.
//!
//! The kernel uses the slots of the ring one after another, all of them, however few are needed at a time, and it fills as
//! many as it can before anything is handled. So only about twice as many are lent as were taken at once lately, and of slots
//! that are well filled no more than hold [`BATCH_BYTES`]: what was received is still in the cache when it is handled and sent
//! on, and a thousand busy streams of small packets find a slot each.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use crate::buffer::{BufferPool, Lease, Region};
use crate::error::{Error, Result};
use crate::proactor::BATCH_BYTES;

/// The only group in use.
pub(super) const GROUP: u16 = 0;
/// The kernel's limit of entries.
const MAX_ENTRIES: u32 = 32_768;

pub(super) struct BufferRing {
    /// Entries of the ring, page-aligned, shared with the kernel.
    memory: Option<Region>,
    entries: NonNull<BufRingEntry>,
    mask: u16,
    tail: u16,
    /// The tail that the kernel knows.
    published: u16,
    /// Slots in the ring, or filled with a completion that was not seen yet.
    lent: u32,
    /// How many were lent after the latest refill.
    filled: u32,
    demand: Demand,
    /// A stream found the ring empty since it was refilled last.
    starved: bool,
    pool: BufferPool,
}

impl BufferRing {
    /// Registers a ring for all slots that the pool may ever have, and fills it with those that exist.
    pub(super) fn new(submitter: &Submitter<'_>, pool: &BufferPool) -> Result<Self> {
        let count = pool.stats().max_slots.next_power_of_two().min(MAX_ENTRIES);
        let memory = Region::new(count as usize * size_of::<BufRingEntry>())?;
        let entries = memory.as_ptr().cast::<BufRingEntry>();
        // SAFETY: the memory is page-aligned, has `count` entries, and is unmapped only after the ring is closed (`Drop`
        // of the driver closes it first; `abandon` leaks the memory).
        unsafe { submitter.register_buf_ring_with_flags(entries.as_ptr() as u64, count as u16, GROUP, 0) }
            .map_err(|error| Error::from(error).during("cannot register a buffer ring"))?;
        let mut ring = Self {
            memory: Some(memory),
            entries,
            mask: (count - 1) as u16,
            tail: 0,
            published: 0,
            lent: 0,
            filled: 0,
            demand: Demand::up_to(count),
            starved: false,
            pool: pool.clone(),
        };
        ring.refill();
        Ok(ring)
    }

    /// Lends free slots to the kernel. If a stream found none, and there are none now, the pool makes more.
    pub(super) fn refill(&mut self) {
        let starved = std::mem::take(&mut self.starved);
        self.demand.observe(self.filled - self.lent, starved);
        let slots = self.demand.slots();
        while self.lent < slots {
            let Some((slot, start)) = self.pool.lend(starved && self.lent == 0) else { break };
            // SAFETY: the index is masked to the ring, and the kernel reads an entry only after the tail that covers it
            // was published.
            let entry = unsafe { &mut *self.entries.as_ptr().add(usize::from(self.tail & self.mask)) };
            entry.set_addr(start.as_ptr() as u64);
            entry.set_len(self.pool.slot_bytes() as u32);
            entry.set_bid(slot as u16);
            self.tail = self.tail.wrapping_add(1);
            self.lent += 1;
        }
        self.filled = self.lent;
        if self.tail != self.published {
            self.published = self.tail;
            // SAFETY: the tail field lies in the first entry, is aligned for u16, and is read by the kernel only.
            let tail = unsafe { &*BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>() };
            tail.store(self.tail, Ordering::Release);
        }
    }

    /// How many slots streams can count on: those that a refill would lend.
    pub(super) fn obtainable(&self) -> usize {
        self.demand.slots().min(self.pool.stats().free) as usize
    }

    /// A stream found no slot.
    pub(super) fn note_starved(&mut self) {
        self.starved = true;
    }

    /// The kernel filled a slot.
    pub(super) fn take(&mut self, slot: u16, bytes: u32) -> Lease {
        self.lent -= 1;
        self.demand.note_filled(bytes);
        self.pool.receive_lent(u32::from(slot), bytes)
    }

    /// The kernel took a slot without filling it.
    pub(super) fn put_back(&mut self, slot: u16) {
        self.lent -= 1;
        self.pool.return_lent(u32::from(slot));
    }

    /// Leaks the ring's memory; the kernel may still read it.
    pub(super) fn abandon(&mut self) {
        std::mem::forget(self.memory.take());
    }
}

/// How many slots are to be lent, by how many were taken between two refills lately and how much was in them.
struct Demand {
    /// By number alone.
    wanted: u32,
    limit: u32,
    /// The most that were taken between two refills, of the refills that are observed.
    most_taken: u32,
    observed: u32,
    /// A moving average of what a slot was filled with.
    mean_bytes: u32,
}

impl Demand {
    /// So many are lent even if fewer are taken.
    const LEAST: u32 = 16;
    /// Refills after which slots that were not needed are lent no more.
    const OBSERVED: u32 = 64;
    /// Slots that are filled with less are lent by number alone: that streams wait for them would cost more than that they are
    /// out of the cache.
    const LITTLE_BYTES: u32 = 32 << 10;
    /// So many are lent however much each is filled with.
    const LEAST_FULL: u32 = 4;

    /// All, at first.
    fn up_to(limit: u32) -> Self {
        Self { wanted: limit, limit, most_taken: 0, observed: 0, mean_bytes: 0 }
    }

    fn slots(&self) -> u32 {
        if self.mean_bytes < Self::LITTLE_BYTES {
            return self.wanted;
        }
        let affordable = BATCH_BYTES as u32 / self.mean_bytes;
        self.wanted.min(affordable.max(Self::LEAST_FULL))
    }

    #[inline]
    fn note_filled(&mut self, bytes: u32) {
        self.mean_bytes = self.mean_bytes - self.mean_bytes / 8 + bytes / 8;
    }

    fn observe(&mut self, taken: u32, starved: bool) {
        if taken == 0 && !starved {
            return;
        }
        self.most_taken = self.most_taken.max(taken);
        self.observed += 1;
        if starved || self.most_taken > self.wanted / 2 {
            self.wanted = (self.wanted * 2).min(self.limit);
        } else if self.observed < Self::OBSERVED {
            return;
        } else if self.most_taken < self.wanted / 4 {
            self.wanted = (self.wanted / 2).max(Self::LEAST).min(self.limit);
        }
        self.most_taken = 0;
        self.observed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_slots_are_lent_while_few_are_taken() {
        let mut demand = Demand::up_to(1024);
        for _ in 0..10 * Demand::OBSERVED {
            demand.observe(3, false);
        }
        assert_eq!(demand.wanted, Demand::LEAST);
    }

    #[test]
    fn refills_of_an_idle_ring_say_nothing() {
        let mut demand = Demand::up_to(1024);
        for _ in 0..100 * Demand::OBSERVED {
            demand.observe(0, false);
        }
        assert_eq!(demand.wanted, 1024);
    }

    #[test]
    fn more_are_lent_at_once_when_more_than_half_is_taken_or_none_is_left() {
        let mut demand = Demand { wanted: 16, ..Demand::up_to(100) };
        demand.observe(9, false);
        assert_eq!(demand.wanted, 32);
        demand.observe(0, true);
        assert_eq!(demand.wanted, 64);
        demand.observe(64, true);
        assert_eq!(demand.wanted, 100);
    }

    #[test]
    fn a_burst_now_and_then_keeps_its_slots() {
        let mut demand = Demand::up_to(128);
        for _ in 0..50 {
            demand.observe(60, false);
            for _ in 1..Demand::OBSERVED {
                demand.observe(1, false);
            }
        }
        assert_eq!(demand.wanted, 128);
    }

    #[test]
    fn no_more_slots_are_lent_than_stay_in_the_cache_when_full() {
        let mut demand = Demand::up_to(1024);
        for _ in 0..100 {
            demand.note_filled(16 << 10);
        }
        assert_eq!(demand.slots(), 1024);
        for _ in 0..100 {
            demand.note_filled(64 << 10);
        }
        assert_eq!(demand.slots(), BATCH_BYTES as u32 / (64 << 10));
        for _ in 0..100 {
            demand.note_filled(BATCH_BYTES as u32);
        }
        assert_eq!(demand.slots(), Demand::LEAST_FULL);
        assert_eq!(Demand { wanted: 2, ..demand }.slots(), 2, "the pool has no more");
    }

    #[test]
    fn a_pool_of_few_slots_is_lent_as_a_whole() {
        let mut demand = Demand::up_to(4);
        for _ in 0..10 * Demand::OBSERVED {
            demand.observe(1, false);
        }
        assert_eq!(demand.wanted, 4);
    }
}
