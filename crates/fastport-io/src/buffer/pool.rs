//! A pool of equal slots for one thread: O(1) acquire and release, counted slots, growth up to a limit.
//!
//! The free list is last-in first-out, because a slot that was used a moment ago is still in the cache: on large
//! packets that is worth a third of the throughput (docs/performance.md).
//!
//! ```text
//!             acquire                 freeze
//!   free ───────────────▶ PoolBuffer ────────▶ Lease (×n) ──last drop──▶ free
//!     │ lend                                      ▲
//!     └────────────▶ lent to the kernel ──────────┘ receive
//! ```
//! *Lent* slots lie in a kernel buffer ring: nobody uses them yet, so they count as free for the outside.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::rc::Rc;

use super::region::{PAGE_BYTES, Region};
use crate::error::{Error, ErrorCode, Result};

/// Size and limits of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Bytes of one slot, 64 ..= 16 MiB. A receive slot should hold a whole frame.
    pub slot_bytes: usize,
    /// Slots mapped at start, 1 ..= `max_slots`. Growth adds as many again.
    pub initial_slots: u32,
    /// The pool never has more slots than this, 1 ..= 65 536.
    pub max_slots: u32,
}

impl PoolConfig {
    /// The largest `max_slots`.
    pub const MAX_SLOTS: u32 = 65_536;
    /// The largest `slot_bytes`.
    pub const MAX_SLOT_BYTES: usize = 16 << 20;

    fn check(&self) -> Result<()> {
        let fault = if !(64..=Self::MAX_SLOT_BYTES).contains(&self.slot_bytes) {
            format!("slot size {} is outside 64 ..= {} bytes", self.slot_bytes, Self::MAX_SLOT_BYTES)
        } else if !(1..=Self::MAX_SLOTS).contains(&self.max_slots) {
            format!("maximum of {} slots is outside 1 ..= {}", self.max_slots, Self::MAX_SLOTS)
        } else if self.initial_slots == 0 || self.initial_slots > self.max_slots {
            format!("{} initial slots are outside 1 ..= {} (the maximum)", self.initial_slots, self.max_slots)
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorCode::InvalidArgument, format!("buffer pool: {fault}")))
    }
}

/// Counts of a pool at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Bytes of one slot.
    pub slot_bytes: usize,
    /// Slots that exist.
    pub slots: u32,
    /// Slots that may exist at most.
    pub max_slots: u32,
    /// Slots that somebody holds: a buffer, a lease, a ring or an operation. 0 when all sessions are gone.
    pub allocated: u32,
    /// Slots that nobody holds, those lent to the kernel included.
    pub free: u32,
    /// The most slots ever held at once.
    pub high_water: u32,
    /// How often a slot was asked for and none could be had.
    pub exhausted: u64,
}

/// Makes memory of a pool known to the system, for backends that must (Registered I/O) or may.
pub(crate) trait RegionRegistrar {
    /// Registers a region before its first slot is handed out; by the number it is undone.
    fn register(&self, region: &Region) -> Result<u32>;
    /// Undoes it, when no slot of the region is in use any more.
    fn unregister(&self, registration: u32);
}

struct Slot {
    start: Cell<*mut u8>,
    /// Owners of the slot: leases, buffers, rings, operations. 0 while free or lent.
    owners: Cell<u32>,
}

struct PoolInner {
    slot_bytes: usize,
    initial_slots: u32,
    /// One entry for each slot that may ever exist, so that slots never move; untouched entries cost no memory.
    slots: Box<[Slot]>,
    /// Slots that may exist: all of `slots`, until the system refuses memory.
    limit: Cell<u32>,
    existing: Cell<u32>,
    allocated: Cell<u32>,
    lent: Cell<u32>,
    high_water: Cell<u32>,
    exhausted: Cell<u64>,
    free: RefCell<Vec<u32>>,
    /// Keeps the memory mapped for as long as the pool or one of its leases lives.
    regions: RefCell<Vec<(Region, u32)>>,
    registrar: Option<Rc<dyn RegionRegistrar>>,
}

/// A pool of equal buffers. Clones share it; it belongs to one thread.
#[derive(Clone)]
pub struct BufferPool {
    inner: Rc<PoolInner>,
}

impl BufferPool {
    /// A pool over memory of its own, not registered with any provider.
    ///
    /// # Errors
    /// `InvalidArgument` if the configuration is out of range, `NoResources` if memory cannot be mapped.
    pub fn new(config: &PoolConfig) -> Result<Self> {
        Self::with_registrar(config, None)
    }

    pub(crate) fn with_registrar(config: &PoolConfig, registrar: Option<Rc<dyn RegionRegistrar>>) -> Result<Self> {
        config.check()?;
        let slots = (0..config.max_slots)
            .map(|_| Slot { start: Cell::new(std::ptr::null_mut()), owners: Cell::new(0) })
            .collect();
        let inner = PoolInner {
            slot_bytes: config.slot_bytes,
            initial_slots: config.initial_slots,
            slots,
            limit: Cell::new(config.max_slots),
            existing: Cell::new(0),
            allocated: Cell::new(0),
            lent: Cell::new(0),
            high_water: Cell::new(0),
            exhausted: Cell::new(0),
            free: RefCell::new(Vec::new()),
            regions: RefCell::new(Vec::new()),
            registrar,
        };
        inner.grow()?;
        Ok(Self { inner: Rc::new(inner) })
    }

    /// Bytes of one slot.
    pub fn slot_bytes(&self) -> usize {
        self.inner.slot_bytes
    }

    /// A free slot, or `None` if all are held and the pool may not grow.
    ///
    /// The bytes are whatever the last user left; they are initialised memory.
    #[inline]
    pub fn acquire(&self) -> Option<PoolBuffer> {
        let slot = self.inner.take_free()?;
        self.inner.set_allocated(self.inner.allocated.get() + 1);
        Some(PoolBuffer { lease: Lease::first(&self.inner, slot, self.inner.slot_bytes as u32) })
    }

    /// True if [`BufferPool::acquire`] would succeed.
    pub fn has_free(&self) -> bool {
        !self.inner.free.borrow().is_empty() || self.inner.existing.get() < self.inner.limit.get()
    }

    /// Slots that nobody holds, the lent ones and those that the pool may still grow by included.
    pub(crate) fn available(&self) -> usize {
        (self.inner.limit.get() - self.inner.allocated.get()) as usize
    }

    /// The counts.
    pub fn stats(&self) -> PoolStats {
        let inner = &self.inner;
        PoolStats {
            slot_bytes: inner.slot_bytes,
            slots: inner.existing.get(),
            max_slots: inner.limit.get(),
            allocated: inner.allocated.get(),
            free: inner.existing.get() - inner.allocated.get(),
            high_water: inner.high_water.get(),
            exhausted: inner.exhausted.get(),
        }
    }

    /// Takes a slot out of the free list for a kernel buffer ring. The pool grows only if `may_grow`.
    pub(crate) fn lend(&self, may_grow: bool) -> Option<(u32, NonNull<u8>)> {
        if !may_grow && self.inner.free.borrow().is_empty() {
            return None;
        }
        let slot = self.inner.take_free()?;
        self.inner.lent.set(self.inner.lent.get() + 1);
        Some((slot, self.inner.start_of(slot)))
    }

    /// The kernel filled a lent slot.
    pub(crate) fn receive_lent(&self, slot: u32, bytes: u32) -> Lease {
        self.inner.lent.set(self.inner.lent.get() - 1);
        self.inner.set_allocated(self.inner.allocated.get() + 1);
        Lease::first(&self.inner, slot, bytes.min(self.inner.slot_bytes as u32))
    }

    /// A lent slot comes back unused.
    pub(crate) fn return_lent(&self, slot: u32) {
        self.inner.lent.set(self.inner.lent.get() - 1);
        self.inner.free.borrow_mut().push(slot);
    }

    /// Keeps the memory mapped for ever; for a provider whose kernel operations could not be drained.
    pub(crate) fn leak(&self) {
        std::mem::forget(Rc::clone(&self.inner));
    }
}

impl std::fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BufferPool").field(&self.stats()).finish()
    }
}

impl PoolInner {
    fn start_of(&self, slot: u32) -> NonNull<u8> {
        NonNull::new(self.slots[slot as usize].start.get()).expect("a slot on the free list was mapped by grow")
    }

    #[inline]
    fn set_allocated(&self, allocated: u32) {
        debug_assert!(allocated <= self.existing.get(), "more slots held than exist");
        self.allocated.set(allocated);
        if allocated > self.high_water.get() {
            self.high_water.set(allocated);
        }
    }

    #[inline]
    fn take_free(&self) -> Option<u32> {
        let free = self.free.borrow_mut().pop();
        if free.is_some() {
            return free;
        }
        self.take_grown()
    }

    #[cold]
    fn take_grown(&self) -> Option<u32> {
        if self.existing.get() < self.limit.get() {
            match self.grow() {
                Ok(()) => return self.free.borrow_mut().pop(),
                Err(error) => {
                    tracing::warn!(%error, slots = self.existing.get(), "buffer pool cannot grow, and stays as it is");
                    self.limit.set(self.existing.get());
                }
            }
        }
        let exhausted = self.exhausted.get() + 1;
        self.exhausted.set(exhausted);
        // Powers of two: the first time is told at once, a pool that is always empty does not flood the log.
        if exhausted.is_power_of_two() {
            tracing::warn!(
                slots = self.existing.get(),
                slot_bytes = self.slot_bytes,
                times = exhausted,
                "buffer pool is exhausted; raise its maximum if this goes on"
            );
        }
        None
    }

    /// Maps one more region of `initial_slots`, or as many as the limit leaves.
    fn grow(&self) -> Result<()> {
        let existing = self.existing.get();
        let more = self.initial_slots.min(self.slots.len() as u32 - existing);
        let region = Region::new(self.slot_bytes * more as usize)?;
        let registration = match &self.registrar {
            Some(registrar) => registrar.register(&region)?,
            None => u32::MAX,
        };
        let mut free = self.free.borrow_mut();
        free.reserve(more as usize);
        // Pushed from the end, so that the first slots of the region are the first to be used.
        for position in (0..more).rev() {
            let slot = existing + position;
            // SAFETY: position < more, and the region has more * slot_bytes bytes.
            let start = unsafe { region.as_ptr().add(position as usize * self.slot_bytes) };
            self.slots[slot as usize].start.set(start.as_ptr());
            free.push(slot);
        }
        self.existing.set(existing + more);
        self.regions.borrow_mut().push((region, registration));
        if existing > 0 {
            tracing::debug!(slots = existing + more, slot_bytes = self.slot_bytes, "buffer pool grew");
        }
        Ok(())
    }
}

impl Drop for PoolInner {
    fn drop(&mut self) {
        debug_assert_eq!(self.allocated.get(), 0, "the last lease keeps the pool alive");
        let Some(registrar) = &self.registrar else { return };
        for (_, registration) in self.regions.get_mut() {
            registrar.unregister(*registration);
        }
    }
}

/// A shared, immutable range of a pool slot. Clones are cheap; the slot goes back when the last is dropped.
///
/// A receive delivers its bytes as a lease; handing (a slice of) the lease to a send forwards them without a copy.
pub struct Lease {
    pool: Rc<PoolInner>,
    start: NonNull<u8>,
    slot: u32,
    bytes: u32,
}

impl Lease {
    #[inline]
    fn first(pool: &Rc<PoolInner>, slot: u32, bytes: u32) -> Self {
        let owners = &pool.slots[slot as usize].owners;
        debug_assert_eq!(owners.get(), 0, "a slot that is handed out has no owner yet");
        owners.set(1);
        Self { pool: Rc::clone(pool), start: pool.start_of(slot), slot, bytes }
    }

    fn owners(&self) -> &Cell<u32> {
        &self.pool.slots[self.slot as usize].owners
    }

    /// The same bytes from `range` on, sharing the slot.
    ///
    /// # Panics
    /// If the range is outside the lease, like slicing.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} is outside a lease of {}", self.len());
        let mut part = self.clone();
        // SAFETY: range.start <= len, so the address stays inside the slot or one past its end.
        part.start = unsafe { self.start.add(range.start) };
        part.bytes = (range.end - range.start) as u32;
        part
    }

    /// The lease on `part`, if that slice lies within this lease: for a view that was cut out of the lease's bytes.
    #[must_use]
    #[inline]
    pub fn slice_of(&self, part: &[u8]) -> Option<Self> {
        let offset = (part.as_ptr() as usize).checked_sub(self.start.as_ptr() as usize)?;
        (offset + part.len() <= self.len()).then(|| self.slice(offset..offset + part.len()))
    }

    /// Lengthens this lease over `next`, if that starts in the same slot exactly where this one ends.
    #[must_use]
    pub fn try_join(&mut self, next: &Self) -> bool {
        let adjacent = self.slot == next.slot
            && Rc::ptr_eq(&self.pool, &next.pool)
            && self.start.as_ptr() as usize + self.len() == next.start.as_ptr() as usize;
        if adjacent {
            self.bytes += next.bytes;
        }
        adjacent
    }

    /// The bytes of the whole slot behind the lease.
    pub fn slot_bytes(&self) -> usize {
        self.pool.slot_bytes
    }

    pub(crate) fn as_ptr(&self) -> NonNull<u8> {
        self.start
    }
}

impl Deref for Lease {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the slot is mapped while the pool lives, which this lease sees to, and nobody writes to this range:
        // a slot with leases can be written only through a `ByteRing`, which writes outside the ranges it gave out.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes as usize) }
    }
}

impl Clone for Lease {
    #[inline]
    fn clone(&self) -> Self {
        let owners = self.owners();
        owners.set(owners.get().checked_add(1).expect("fewer than 2^32 leases on one slot"));
        Self { pool: Rc::clone(&self.pool), start: self.start, slot: self.slot, bytes: self.bytes }
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        let owners = self.owners();
        let left = owners.get() - 1;
        owners.set(left);
        if left == 0 {
            self.pool.free.borrow_mut().push(self.slot);
            self.pool.allocated.set(self.pool.allocated.get() - 1);
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("slot", &self.slot).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// A whole slot that one owner may write.
pub struct PoolBuffer {
    /// The only lease on its slot.
    lease: Lease,
}

impl PoolBuffer {
    /// Ends writing: the first `bytes` become a shareable lease.
    ///
    /// # Panics
    /// If `bytes` is more than the slot has.
    pub fn freeze(self, bytes: usize) -> Lease {
        let mut lease = self.lease;
        assert!(bytes <= lease.len(), "{bytes} bytes do not fit a slot of {}", lease.len());
        lease.bytes = bytes as u32;
        lease
    }

    pub(crate) fn into_lease(self) -> Lease {
        self.lease
    }

    pub(crate) fn as_ptr(&self) -> NonNull<u8> {
        self.lease.start
    }
}

impl Deref for PoolBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.lease
    }
}

impl DerefMut for PoolBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: this is the slot's only owner, borrowed exclusively; while an operation fills it, the buffer is
        // inside the operation and nobody can borrow it.
        unsafe { std::slice::from_raw_parts_mut(self.lease.start.as_ptr(), self.lease.bytes as usize) }
    }
}

impl std::fmt::Debug for PoolBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PoolBuffer").field(&self.lease).finish()
    }
}

const _: () = assert!(PoolConfig::MAX_SLOT_BYTES <= u32::MAX as usize && PAGE_BYTES <= PoolConfig::MAX_SLOT_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pool(initial_slots: u32, max_slots: u32) -> BufferPool {
        BufferPool::new(&PoolConfig { slot_bytes: 256, initial_slots, max_slots }).unwrap()
    }

    #[test]
    fn the_slot_used_last_is_handed_out_first() {
        let pool = pool(4, 4);
        let first = pool.acquire().unwrap();
        let address = first.as_ptr();
        drop(first);
        assert_eq!(pool.acquire().unwrap().as_ptr(), address);
    }

    #[test]
    fn a_pool_grows_to_its_maximum_and_then_says_none() {
        let pool = pool(2, 5);
        let held: Vec<_> = std::iter::from_fn(|| pool.acquire()).collect();
        assert_eq!(held.len(), 5);
        assert_eq!(pool.stats().exhausted, 1);
        assert!(!pool.has_free());
        drop(held);
        let stats = pool.stats();
        assert_eq!((stats.allocated, stats.free, stats.high_water), (0, 5, 5));
    }

    #[test]
    fn a_slot_returns_only_when_its_last_lease_is_dropped() {
        let pool = pool(1, 1);
        let mut buffer = pool.acquire().unwrap();
        buffer[..5].copy_from_slice(b"hello");
        let lease = buffer.freeze(5);
        let tail = lease.slice(1..5);
        drop(lease);
        assert!(pool.acquire().is_none());
        assert_eq!(&tail[..], b"ello");
        drop(tail);
        assert_eq!(pool.stats().allocated, 0);
        assert!(pool.acquire().is_some());
    }

    #[test]
    fn a_lease_keeps_the_memory_of_a_dropped_pool() {
        let pool = pool(1, 1);
        let mut buffer = pool.acquire().unwrap();
        buffer[0] = 7;
        let lease = buffer.freeze(1);
        drop(pool);
        assert_eq!(lease[0], 7);
    }

    #[test]
    fn neighbouring_slices_join_and_others_do_not() {
        let pool = pool(2, 2);
        let lease = pool.acquire().unwrap().freeze(100);
        let mut head = lease.slice(0..40);
        assert!(head.try_join(&lease.slice(40..60)));
        assert_eq!(head.len(), 60);
        assert!(!head.try_join(&lease.slice(80..90)));
        assert!(!head.try_join(&pool.acquire().unwrap().freeze(10)));
    }

    #[test]
    fn a_view_finds_its_lease_and_a_foreign_slice_does_not() {
        let pool = pool(1, 1);
        let lease = pool.acquire().unwrap().freeze(100);
        assert_eq!(lease.slice_of(&lease[10..20]).unwrap().as_ptr(), lease.slice(10..20).as_ptr());
        assert!(lease.slice_of(&[0; 4]).is_none());
    }

    #[test]
    fn bad_configurations_are_refused_with_a_reason() {
        for (slot_bytes, initial_slots, max_slots) in [(63, 1, 1), (64, 0, 1), (64, 2, 1), (64, 1, 65_537)] {
            let error = BufferPool::new(&PoolConfig { slot_bytes, initial_slots, max_slots }).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidArgument);
        }
    }

    proptest! {
        #[test]
        fn no_slot_is_ever_held_twice_and_all_come_back(steps in proptest::collection::vec(0u8..4, 0..300)) {
            let pool = pool(2, 8);
            let mut buffers = Vec::new();
            let mut leases: Vec<(Lease, u8)> = Vec::new();
            let mut lent = Vec::new();
            for (stamp, step) in steps.into_iter().enumerate() {
                let stamp = stamp as u8;
                match step {
                    0 => if let Some(mut buffer) = pool.acquire() {
                        buffer.fill(stamp);
                        if stamp.is_multiple_of(2) { buffers.push((buffer, stamp)); } else { leases.push((buffer.freeze(256), stamp)); }
                    },
                    1 => { buffers.pop(); }
                    2 => if let Some((lease, stamp)) = leases.first() {
                        let copy = (lease.slice(lease.len() / 3..lease.len()), *stamp);
                        leases.remove(0);
                        leases.push(copy);
                        if leases.len() > 3 { leases.remove(0); }
                    },
                    _ => match lent.pop() {
                        Some(slot) if stamp.is_multiple_of(2) => pool.return_lent(slot),
                        Some(slot) => drop(pool.receive_lent(slot, 5)),
                        None => lent.extend(pool.lend(true).map(|(slot, _)| slot)),
                    },
                }
                for (buffer, stamp) in &buffers { prop_assert!(buffer.iter().all(|byte| byte == stamp)); }
                for (lease, stamp) in &leases { prop_assert!(lease.iter().all(|byte| byte == stamp)); }
                prop_assert_eq!(pool.stats().allocated as usize, buffers.len() + leases.len());
            }
            for slot in lent { pool.return_lent(slot); }
            drop(buffers);
            drop(leases);
            prop_assert_eq!(pool.stats().allocated, 0);
            prop_assert_eq!(std::iter::from_fn(|| pool.acquire()).map(PoolBuffer::into_lease).collect::<Vec<_>>().len(), 8);
        }
    }
}
