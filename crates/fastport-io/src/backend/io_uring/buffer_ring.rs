//! The ring of receive buffers that the kernel takes from when data arrives (`IORING_REGISTER_PBUF_RING`, Linux 5.19).
//!
//! Free slots of the receive pool are *lent* to the ring; a completion names the slot that the kernel filled, which then
//! becomes a lease. A slot's number in the pool is its buffer id.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use crate::buffer::{BufferPool, Lease, Region};
use crate::error::{Error, Result};

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
            starved: false,
            pool: pool.clone(),
        };
        ring.refill();
        Ok(ring)
    }

    /// Lends all free slots to the kernel. If a stream found none, and there are none now, the pool makes more.
    pub(super) fn refill(&mut self) {
        let starved = std::mem::take(&mut self.starved);
        while self.lent <= u32::from(self.mask) {
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
        if self.tail != self.published {
            self.published = self.tail;
            // SAFETY: the tail field lies in the first entry, is aligned for u16, and is read by the kernel only.
            let tail = unsafe { &*BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>() };
            tail.store(self.tail, Ordering::Release);
        }
    }

    /// A stream found no slot.
    pub(super) fn note_starved(&mut self) {
        self.starved = true;
    }

    /// The kernel filled a slot.
    pub(super) fn take(&mut self, slot: u16, bytes: u32) -> Lease {
        self.lent -= 1;
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
