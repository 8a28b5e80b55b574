//! A circular byte queue: what a session has to send, over a pool slot or over memory of its own.
//!
//! A send refers to the readable bytes in place (at most two ranges, two where the queue wraps), while more bytes are
//! appended behind them. [`ByteRing::consume`] is called when the send has completed, not before: until then the
//! readable range is the kernel's to read.
//!
//! ```text
//!            head              head + len
//!   ┌─────────┬──────────────────┬─────────┐
//!   │  free   │ readable         │  free   │      the readable range may wrap round the end, the free range too
//!   └─────────┴──────────────────┴─────────┘
//! ```

use std::cell::Cell;
use std::ptr::NonNull;
use std::rc::Rc;

use bytes::BufMut;
use bytes::buf::UninitSlice;

use super::pool::{Lease, PoolBuffer};
use super::transfer::{SendBuffer, SendBuffers, SendOwner};

/// Where the bytes lie. Both kinds are counted, so that an operation can keep them alive after the ring is gone.
enum Storage {
    Pool(Lease),
    Own(Rc<[Cell<u8>]>),
}

/// A bounded first-in first-out queue of bytes.
pub struct ByteRing {
    storage: Storage,
    start: NonNull<u8>,
    capacity: usize,
    head: usize,
    len: usize,
}

impl ByteRing {
    /// A ring over memory of its own.
    ///
    /// # Panics
    /// If `capacity_bytes` is 0 or 4 GiB or more.
    pub fn with_capacity(capacity_bytes: usize) -> Self {
        assert!(capacity_bytes > 0 && u32::try_from(capacity_bytes).is_ok(), "a ring holds 1 byte to 4 GiB");
        // Collected, because a vector would be copied into the counted allocation.
        let memory: Rc<[Cell<u8>]> = (0..capacity_bytes).map(|_| Cell::new(0)).collect();
        let start = NonNull::from(&memory[0]).cast();
        Self { storage: Storage::Own(memory), start, capacity: capacity_bytes, head: 0, len: 0 }
    }

    /// A ring over a whole pool slot.
    #[inline]
    pub fn over(buffer: PoolBuffer) -> Self {
        let start = buffer.as_ptr();
        let capacity = buffer.len();
        Self { storage: Storage::Pool(buffer.into_lease()), start, capacity, head: 0, len: 0 }
    }

    /// Bytes that fit in all.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes that can be read.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True if there is nothing to read.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that can be written.
    pub const fn free(&self) -> usize {
        self.capacity - self.len
    }

    /// Appends as many of `bytes` as fit and returns their number.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.free());
        self.copy_in(self.len, &bytes[..count]);
        self.len += count;
        count
    }

    /// Copies the oldest bytes out without removing them; returns how many.
    pub fn peek(&self, target: &mut [u8]) -> usize {
        let (first, second) = self.readable();
        let from_first = first.len().min(target.len());
        target[..from_first].copy_from_slice(&first[..from_first]);
        let from_second = second.len().min(target.len() - from_first);
        target[from_first..from_first + from_second].copy_from_slice(&second[..from_second]);
        from_first + from_second
    }

    /// Copies the oldest bytes out and removes them; returns how many.
    pub fn pop(&mut self, target: &mut [u8]) -> usize {
        let count = self.peek(target);
        self.consume(count);
        count
    }

    /// Removes the oldest `count` bytes.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len, "cannot consume {count} of {} bytes", self.len);
        self.len -= count;
        // An empty ring starts over, so that the next message does not wrap and lies in the warmest lines.
        self.head = if self.len == 0 { 0 } else { self.wrap(self.head + count) };
    }

    /// Removes everything. Only when no send refers to the ring: what is in flight may be overwritten afterwards.
    pub fn clear(&mut self) {
        self.consume(self.len);
    }

    /// The readable bytes, oldest first; the second slice is empty unless the queue wraps.
    pub fn readable(&self) -> (&[u8], &[u8]) {
        let first = self.len.min(self.capacity - self.head);
        // SAFETY: both ranges lie inside the storage and are initialised; `&self` keeps the ring from writing meanwhile,
        // and nobody but the ring writes to its storage.
        unsafe {
            (
                std::slice::from_raw_parts(self.start.as_ptr().add(self.head), first),
                std::slice::from_raw_parts(self.start.as_ptr(), self.len - first),
            )
        }
    }

    /// Bytes that can be appended in one piece.
    #[inline]
    pub const fn room_in_one_piece(&self) -> usize {
        let end = self.head + self.len;
        if end < self.capacity { self.capacity - end } else { self.free() }
    }

    /// Appends what `write` puts into memory for `most_bytes` bytes in one piece, and returns how much that is; `None`, without a
    /// call of `write`, if there is no such room.
    ///
    /// `write` moves the beginning of the slice behind what it has written, as [`bytes::BufMut`] and [`std::io::Write`] do.
    /// The rest holds whatever was sent out of that memory before.
    #[inline]
    pub fn append(&mut self, most_bytes: usize, write: impl FnOnce(&mut &mut [u8])) -> Option<usize> {
        if most_bytes > self.room_in_one_piece() {
            return None;
        }
        let position = self.wrap(self.head + self.len);
        // SAFETY: the range lies inside the storage, which is initialised from the start. It is free, so no send in flight
        // and no borrowed slice refers to it, and the slice borrows the ring exclusively.
        let mut rest = unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(position), most_bytes) };
        write(&mut rest);
        // Another slice, that may be longer, can stand there only by intention.
        let written = most_bytes.saturating_sub(rest.len());
        self.len += written;
        Some(written)
    }

    /// Room for exactly `bytes` more bytes, to be written in place; `None` if they do not fit.
    #[inline]
    pub fn reserve(&mut self, bytes: usize) -> Option<Reservation<'_>> {
        (bytes <= self.free()).then_some(Reservation { ring: self, limit: bytes, written: 0 })
    }

    /// The readable bytes for a send operation, which keeps the storage alive by itself; `None` if there are none.
    ///
    /// Call [`ByteRing::consume`] with the completion's count, and not before.
    #[inline]
    pub fn send_buffers(&self) -> Option<SendBuffers> {
        let first_len = self.len.min(self.capacity - self.head);
        if first_len == 0 {
            return None;
        }
        // SAFETY: head < capacity.
        let first = self.send_buffer(unsafe { self.start.add(self.head) }, first_len);
        let second = (self.len > first_len).then(|| self.send_buffer(self.start, self.len - first_len));
        Some(SendBuffers::new(first, second))
    }

    #[inline]
    fn send_buffer(&self, start: NonNull<u8>, bytes: usize) -> SendBuffer {
        let owner = match &self.storage {
            Storage::Pool(lease) => SendOwner::Lease(lease.clone()),
            Storage::Own(memory) => SendOwner::Ring(Rc::clone(memory)),
        };
        SendBuffer::from_parts(owner, start, bytes as u32)
    }

    #[inline]
    fn wrap(&self, position: usize) -> usize {
        if position >= self.capacity { position - self.capacity } else { position }
    }

    /// Copies to `offset` bytes after the head. The range must be free.
    #[inline]
    fn copy_in(&mut self, offset: usize, bytes: &[u8]) {
        debug_assert!(offset >= self.len && offset + bytes.len() <= self.capacity, "writes only to free bytes");
        let position = self.wrap(self.head + offset);
        if bytes.len() <= self.capacity - position {
            // SAFETY: as below. Nearly always all of it fits in one place, and a header of known size takes one store.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(position), bytes.len()) };
            return;
        }
        let first = self.capacity - position;
        // SAFETY: position + first <= capacity, and the rest fits before the head as the whole fits the capacity. The
        // target is outside the readable range, so no send in flight and no borrowed slice refers to it; the source is
        // a live reference to other memory or to a readable range, so the ranges do not overlap.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(position), first);
            std::ptr::copy_nonoverlapping(bytes.as_ptr().add(first), self.start.as_ptr(), bytes.len() - first);
        }
    }
}

impl std::fmt::Debug for ByteRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let storage = match self.storage {
            Storage::Pool(_) => "pool slot",
            Storage::Own(_) => "own memory",
        };
        write!(f, "ByteRing({storage}, {} of {} bytes)", self.len, self.capacity)
    }
}

/// Reserved room at the end of a ring. What was written appears in the ring with [`Reservation::commit`]; dropping the
/// reservation discards it.
///
/// It is a [`BufMut`], so an encoder writes straight into the send queue, across the wrap where there is one.
#[derive(Debug)]
pub struct Reservation<'a> {
    ring: &'a mut ByteRing,
    limit: usize,
    written: usize,
}

impl Reservation<'_> {
    /// Appends the bytes written so far to the ring and returns their number.
    #[inline]
    pub fn commit(self) -> usize {
        self.ring.len += self.written;
        self.written
    }

    /// The next contiguous free range, never longer than what is left of the reservation.
    #[inline]
    fn next_range(&self) -> (usize, usize) {
        let position = self.ring.wrap(self.ring.head + self.ring.len + self.written);
        (position, (self.limit - self.written).min(self.ring.capacity - position))
    }
}

// SAFETY: `chunk_mut` gives a range inside the storage that no reader refers to, `advance_mut` never passes the limit,
// and the storage is initialised from the start, so whatever is committed is initialised.
unsafe impl BufMut for Reservation<'_> {
    #[inline]
    fn remaining_mut(&self) -> usize {
        self.limit - self.written
    }

    #[inline]
    unsafe fn advance_mut(&mut self, count: usize) {
        assert!(count <= self.remaining_mut(), "cannot write beyond the reservation");
        self.written += count;
    }

    #[inline]
    fn chunk_mut(&mut self) -> &mut UninitSlice {
        let (position, bytes) = self.next_range();
        // SAFETY: position + bytes <= capacity; the range is free, so nothing else refers to it, and the slice borrows
        // the reservation, which borrows the ring exclusively.
        unsafe { UninitSlice::from_raw_parts_mut(self.ring.start.as_ptr().add(position), bytes) }
    }

    #[inline]
    fn put_slice(&mut self, source: &[u8]) {
        assert!(source.len() <= self.remaining_mut(), "cannot write beyond the reservation");
        let offset = self.ring.len + self.written;
        self.ring.copy_in(offset, source);
        self.written += source.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{BufferPool, PoolConfig};
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[test]
    fn a_wrapped_ring_gives_two_send_ranges_in_order() {
        let mut ring = ByteRing::with_capacity(8);
        assert_eq!(ring.write(b"abcdef"), 6);
        ring.consume(4);
        assert_eq!(ring.write(b"ghijk"), 5);
        assert_eq!(ring.readable(), (&b"efgh"[..], &b"ijk"[..]));
        let buffers = ring.send_buffers().unwrap();
        assert_eq!(buffers.len(), 7);
        assert!(buffers.second().is_some());
    }

    #[test]
    fn a_full_ring_takes_what_fits() {
        let mut ring = ByteRing::with_capacity(4);
        assert_eq!(ring.write(b"abcdef"), 4);
        assert!(ring.reserve(1).is_none());
    }

    #[test]
    fn a_dropped_reservation_leaves_no_trace_and_a_committed_one_wraps() {
        let mut ring = ByteRing::with_capacity(8);
        ring.write(b"123456");
        ring.consume(5);
        ring.reserve(5).unwrap().put_slice(b"xx");
        assert_eq!(ring.len(), 1);
        let mut reservation = ring.reserve(5).unwrap();
        reservation.put_u32(0x4142_4344);
        reservation.put_u8(b'E');
        assert_eq!(reservation.remaining_mut(), 0);
        reservation.commit();
        let mut out = [0; 6];
        assert_eq!(ring.pop(&mut out), 6);
        assert_eq!(&out, b"6ABCDE");
    }

    #[test]
    fn what_is_appended_in_one_piece_may_be_shorter_than_its_memory() {
        let mut ring = ByteRing::with_capacity(8);
        assert_eq!(ring.append(8, |target| target.put_slice(b"12345")), Some(5));
        ring.consume(4);
        assert_eq!(ring.append(4, |_| unreachable!("seven bytes are free, but no four of them in one piece")), None);
        assert_eq!(ring.append(3, |target| target.put_slice(b"678")), Some(3));
        assert_eq!(ring.append(4, |target| target.put_slice(b"abc")), Some(3));
        let mut out = [0; 8];
        assert_eq!(ring.pop(&mut out), 7);
        assert_eq!(&out[..7], b"5678abc");
    }

    #[test]
    fn a_send_keeps_the_pool_slot_when_the_ring_is_gone() {
        let pool = BufferPool::new(&PoolConfig { slot_bytes: 64, initial_slots: 1, max_slots: 1 }).unwrap();
        let mut ring = ByteRing::over(pool.acquire().unwrap());
        ring.write(b"late");
        let in_flight = ring.send_buffers();
        drop(ring);
        assert_eq!(pool.stats().allocated, 1);
        drop(in_flight);
        assert_eq!(pool.stats().allocated, 0);
    }

    proptest! {
        #[test]
        fn behaves_like_a_queue_under_any_sequence(
            capacity in 1usize..40,
            steps in proptest::collection::vec((0u8..5, 0usize..48), 0..200),
        ) {
            let mut ring = ByteRing::with_capacity(capacity);
            let mut model: VecDeque<u8> = VecDeque::new();
            let mut next = 0u8;
            for (step, size) in steps {
                let bytes: Vec<u8> = (0..size).map(|_| { next = next.wrapping_add(1); next }).collect();
                match step {
                    0 => {
                        let written = ring.write(&bytes);
                        prop_assert_eq!(written, size.min(capacity - model.len()));
                        model.extend(&bytes[..written]);
                    }
                    1 => match ring.reserve(size) {
                        Some(mut reservation) => {
                            // Byte by byte through `chunk_mut`, as an encoder does.
                            for byte in &bytes { reservation.put_u8(*byte); }
                            prop_assert_eq!(reservation.commit(), size);
                            model.extend(&bytes);
                        }
                        None => prop_assert!(size > capacity - model.len()),
                    },
                    2 => match ring.append(size, |target| target.put_slice(&bytes[..size / 2])) {
                        Some(written) => {
                            prop_assert_eq!(written, size / 2);
                            model.extend(&bytes[..written]);
                        }
                        None => prop_assert!(size > ring.room_in_one_piece()),
                    },
                    3 => {
                        let mut out = vec![0; size];
                        let count = ring.pop(&mut out);
                        prop_assert_eq!(count, size.min(model.len()));
                        let expected: Vec<u8> = model.drain(..count).collect();
                        prop_assert_eq!(&out[..count], &expected[..]);
                    }
                    _ => {
                        let count = size.min(model.len());
                        ring.consume(count);
                        model.drain(..count);
                    }
                }
                let (first, second) = ring.readable();
                prop_assert!(first.iter().chain(second).eq(model.iter()));
                prop_assert_eq!(ring.send_buffers().map_or(0, |buffers| buffers.len()), model.len());
            }
        }
    }
}
