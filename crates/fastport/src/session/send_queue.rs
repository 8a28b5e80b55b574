//! What a session has to send: byte rings, shared frames and forwarded receive buffers, in order.
//!
//! A session writes its messages straight into the ring at the end of the queue. [`SendQueue::take_send`] describes the
//! oldest bytes for one send operation, and [`SendQueue::sent`] removes them when that has completed; until then they are
//! the kernel's to read, while more is appended behind them.
//!
//! ```text
//!   in flight ◀─────────┐
//!   ┌──────────┬────────┴─┬───────────────┬──────────┐
//!   │ ring     │ shared   │ ring          │ lease    │ ◀── messages
//!   └──────────┴──────────┴───────────────┴──────────┘
//!     first      more[0]    more[1]         more[2]
//! ```
//!
//! An idle session has no segment and no memory on the heap. A ring lies in a pool slot, which goes back as soon as the
//! ring is empty: the pool is last-in first-out, so a few slots that stay in the cache serve all sessions of a worker.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BufMut;
use fastport_io::{BufferPool, ByteRing, Lease, SendBuffer, SendBuffers};

/// Shared frames up to this size are copied: joined with their neighbours they go out in fewer sends.
const COPIED_BYTES: usize = 1024;

/// A session that has more segments than this takes no further pool slots unless half of the pool is free. Its peer is
/// slow, and the slots serve fast ones better.
const POOLED_SEGMENTS: usize = 4;

/// A session that has more segments than this takes no further pool slots at all.
const MOST_POOLED_SEGMENTS: usize = 16;

/// The smallest ring over memory of its own. Behind a ring that is full it is as large as a slot: more is to come.
const OWN_RING_BYTES: usize = 8 * 1024;

/// Room for segments that is kept while the queue is empty.
const KEPT_SEGMENTS: usize = 8;

enum Segment {
    Ring(ByteRing),
    Shared(Arc<[u8]>),
    Lease(Lease),
}

impl Segment {
    fn len(&self) -> usize {
        match self {
            Self::Ring(ring) => ring.len(),
            Self::Shared(frame) => frame.len(),
            Self::Lease(lease) => lease.len(),
        }
    }

    /// The bytes for a send; `None` for an empty ring.
    fn send_buffers(&self) -> Option<(SendBuffer, Option<SendBuffer>)> {
        match self {
            Self::Ring(ring) => ring.send_buffers().map(SendBuffers::into_parts),
            Self::Shared(frame) => Some((Arc::clone(frame).into(), None)),
            Self::Lease(lease) => Some((lease.clone().into(), None)),
        }
    }
}

/// An ordered queue of bytes with at most one send in flight.
#[derive(Default)]
pub(crate) struct SendQueue {
    first: Option<Segment>,
    /// Empty unless there is a first one.
    #[allow(clippy::box_collection, reason = "most sessions never need it, and it takes 24 bytes less of each")]
    more: Option<Box<VecDeque<Segment>>>,
    queued: usize,
    in_flight: u32,
    /// Segments that the send in flight refers to: 0, 1 or 2, from the front.
    segments_in_flight: u8,
}

impl SendQueue {
    /// Bytes whose send has not completed.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Number of segments.
    pub(crate) fn segments(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.as_ref().map_or(0, |more| more.len())
    }

    /// Appends a message of at most `most_bytes` bytes, which `write` puts into memory in one piece as
    /// [`ByteRing::append`] asks; none if it writes nothing.
    #[inline]
    pub(crate) fn write(&mut self, most_bytes: usize, pool: &BufferPool, write: impl FnOnce(&mut &mut [u8])) {
        match self.tail_mut() {
            Some(Segment::Ring(ring)) if ring.room_in_one_piece() >= most_bytes => {
                self.queued += append(ring, most_bytes, write);
            }
            _ => self.write_where_room_is_made(most_bytes, pool, write),
        }
    }

    /// There is no room in one piece at the end of the queue.
    fn write_where_room_is_made(&mut self, most_bytes: usize, pool: &BufferPool, write: impl FnOnce(&mut &mut [u8])) {
        if let Some(Segment::Ring(ring)) = self.tail_mut()
            && ring.free() >= most_bytes
        {
            // Once in each round of the ring a message is written elsewhere and copied, so that a slow session keeps the
            // ring that it has.
            let mut memory = vec![0; most_bytes];
            let mut rest = &mut memory[..];
            write(&mut rest);
            let written = most_bytes.saturating_sub(rest.len());
            self.queued += ring.write(&memory[..written]);
            return;
        }
        self.add_ring(most_bytes, pool);
        let Some(Segment::Ring(ring)) = self.tail_mut() else { unreachable!("a ring was added") };
        let written = append(ring, most_bytes, write);
        self.queued += written;
        if written == 0 {
            self.remove_empty_ring();
        }
    }

    /// The ring that was made for a message that does not come gives its memory back.
    #[cold]
    fn remove_empty_ring(&mut self) {
        if self.more.as_mut().and_then(|more| more.pop_back()).is_none() {
            self.first = None;
        }
    }

    /// Appends a frame that other sessions send too.
    pub(crate) fn push_shared(&mut self, frame: Arc<[u8]>, pool: &BufferPool) {
        if frame.len() <= COPIED_BYTES {
            return self.write(frame.len(), pool, |ring| ring.put_slice(&frame));
        }
        self.queued += frame.len();
        self.push(Segment::Shared(frame));
    }

    /// Appends received bytes where they lie. Neighbours in one buffer become one segment.
    pub(crate) fn push_lease(&mut self, lease: Lease) {
        self.queued += lease.len();
        // What is in flight is removed as a whole, so it must not grow.
        if self.segments() > usize::from(self.segments_in_flight)
            && let Some(Segment::Lease(tail)) = self.tail_mut()
            && tail.try_join(&lease)
        {
            return;
        }
        self.push(Segment::Lease(lease));
    }

    /// The oldest bytes for a send operation, in one or two parts; `None` if there are none or a send is in flight.
    #[inline]
    pub(crate) fn take_send(&mut self) -> Option<SendBuffers> {
        if self.in_flight > 0 || self.queued == 0 {
            return None;
        }
        let is_alone = self.more.as_ref().is_none_or(|more| more.is_empty());
        let buffers = match &self.first {
            // Nearly always all there is to send lies in one ring.
            Some(Segment::Ring(ring)) if is_alone => ring.send_buffers()?,
            _ => self.gather()?,
        };
        self.segments_in_flight = self.segments_in_flight.max(1);
        self.in_flight = buffers.len() as u32;
        Some(buffers)
    }

    /// The first segment, and the first part of the second if the first is in one piece.
    fn gather(&mut self) -> Option<SendBuffers> {
        // A ring is empty if the encoder of its first message panicked.
        while self.first.as_ref()?.len() == 0 {
            self.remove_first();
        }
        let (first, second) = self.first.as_ref()?.send_buffers()?;
        if second.is_some() {
            return Some(SendBuffers::new(first, second));
        }
        let next = self.more.as_ref().and_then(|more| more.front()).and_then(Segment::send_buffers);
        if next.is_some() {
            self.segments_in_flight = 2;
        }
        Some(SendBuffers::new(first, next.map(|(part, _)| part)))
    }

    /// All that is queued, if it lies in one ring and no send is in flight: to be sent without an operation.
    #[inline]
    pub(crate) fn in_one_ring(&self) -> Option<(&[u8], &[u8])> {
        match &self.first {
            Some(Segment::Ring(ring)) if self.in_flight == 0 && ring.len() == self.queued => Some(ring.readable()),
            _ => None,
        }
    }

    /// The system has taken the first `bytes` bytes of [`SendQueue::in_one_ring`].
    #[inline]
    pub(crate) fn sent_at_once(&mut self, bytes: usize) {
        debug_assert_eq!(self.in_flight, 0, "a send in flight goes first");
        self.remove(bytes);
    }

    /// The send in flight has completed, and with it all its bytes. Returns their number.
    #[inline]
    pub(crate) fn sent(&mut self) -> usize {
        let sent = std::mem::take(&mut self.in_flight) as usize;
        self.segments_in_flight = 0;
        self.remove(sent);
        sent
    }

    #[inline]
    fn remove(&mut self, bytes: usize) {
        self.queued -= bytes;
        let mut left = bytes;
        while let Some(first) = &mut self.first {
            let len = first.len();
            if left < len {
                match first {
                    Segment::Ring(ring) => ring.consume(left),
                    Segment::Shared(_) | Segment::Lease(_) => debug_assert_eq!(left, 0, "these are sent as a whole"),
                }
                break;
            }
            left -= len;
            self.remove_first();
        }
    }

    /// Drops everything. A send in flight keeps its bytes alive by itself; its completion means nothing to the queue.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    #[inline]
    fn tail_mut(&mut self) -> Option<&mut Segment> {
        match &mut self.more {
            Some(more) if !more.is_empty() => more.back_mut(),
            _ => self.first.as_mut(),
        }
    }

    fn add_ring(&mut self, bytes: usize, pool: &BufferPool) {
        if self.first.is_none() {
            // Nearly always: the queue is empty, and the ring is made where it stays.
            self.first = Some(Segment::Ring(new_ring(bytes, OWN_RING_BYTES, Some(pool))));
            return;
        }
        let is_behind_a_ring = matches!(self.tail_mut(), Some(Segment::Ring(_)));
        let own_bytes = if is_behind_a_ring { pool.slot_bytes() } else { OWN_RING_BYTES };
        let ring = new_ring(bytes, own_bytes, self.may_take_slot(pool).then_some(pool));
        self.push(Segment::Ring(ring));
    }

    fn may_take_slot(&self, pool: &BufferPool) -> bool {
        let segments = self.segments();
        if segments < POOLED_SEGMENTS {
            return true;
        }
        let stats = pool.stats();
        segments < MOST_POOLED_SEGMENTS && stats.allocated < stats.max_slots / 2
    }

    fn push(&mut self, segment: Segment) {
        if self.first.is_none() {
            self.first = Some(segment);
            return;
        }
        self.more.get_or_insert_default().push_back(segment);
    }

    fn remove_first(&mut self) {
        self.first = None;
        let Some(more) = &mut self.more else { return };
        self.first = more.pop_front();
        if more.is_empty() && more.capacity() > KEPT_SEGMENTS {
            self.more = None;
        }
    }
}

#[inline]
fn append(ring: &mut ByteRing, most_bytes: usize, write: impl FnOnce(&mut &mut [u8])) -> usize {
    ring.append(most_bytes, write).expect("the ring has room")
}

/// A ring with room for `bytes`: over a slot of the pool if one is given and can be had, or over at least `own_bytes`.
#[inline]
fn new_ring(bytes: usize, own_bytes: usize, pool: Option<&BufferPool>) -> ByteRing {
    if let Some(pool) = pool
        && bytes <= pool.slot_bytes()
        && let Some(slot) = pool.acquire()
    {
        return ByteRing::over(slot);
    }
    ByteRing::with_capacity(bytes.max(own_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastport_io::PoolConfig;
    use proptest::prelude::*;

    fn pool(slot_bytes: usize, slots: u32) -> BufferPool {
        BufferPool::new(&PoolConfig { slot_bytes, initial_slots: slots, max_slots: slots }).unwrap()
    }

    fn lease(pool: &BufferPool, bytes: &[u8]) -> Lease {
        let mut slot = pool.acquire().unwrap();
        slot[..bytes.len()].copy_from_slice(bytes);
        slot.freeze(bytes.len())
    }

    /// The bytes at the front of the queue, as many as `buffers` covers.
    fn front(queue: &SendQueue, buffers: &SendBuffers) -> Vec<u8> {
        let mut bytes = Vec::new();
        for segment in queue.first.iter().chain(queue.more.iter().flat_map(|more| more.iter())) {
            match segment {
                Segment::Ring(ring) => {
                    let (first, second) = ring.readable();
                    bytes.extend_from_slice(first);
                    bytes.extend_from_slice(second);
                }
                Segment::Shared(frame) => bytes.extend_from_slice(frame),
                Segment::Lease(lease) => bytes.extend_from_slice(lease),
            }
        }
        bytes.truncate(buffers.len());
        bytes
    }

    #[test]
    fn an_idle_queue_is_small_and_holds_no_slot() {
        let pool = pool(256, 1);
        let mut queue = SendQueue::default();
        queue.write(4, &pool, |ring| ring.put_slice(b"ping"));
        assert_eq!(pool.stats().allocated, 1);
        drop(queue.take_send().unwrap());
        assert_eq!(queue.sent(), 4);
        assert_eq!(pool.stats().allocated, 0);
        assert!(size_of::<SendQueue>() <= 96, "{} bytes", size_of::<SendQueue>());
    }

    #[test]
    fn messages_that_come_while_a_send_is_in_flight_go_out_next() {
        let pool = pool(256, 1);
        let mut queue = SendQueue::default();
        queue.write(1, &pool, |ring| ring.put_u8(1));
        assert_eq!(queue.take_send().unwrap().len(), 1);
        queue.write(2, &pool, |ring| ring.put_slice(&[2, 3]));
        assert!(queue.take_send().is_none());
        queue.sent();
        assert_eq!(queue.take_send().unwrap().len(), 2);
        queue.sent();
        assert_eq!(queue.queued(), 0);
    }

    #[test]
    fn a_message_beyond_the_slot_or_an_empty_pool_gets_memory_of_its_own() {
        let pool = pool(64, 1);
        let mut queue = SendQueue::default();
        queue.write(65, &pool, |ring| ring.put_bytes(7, 65));
        assert_eq!(pool.stats().allocated, 0);
        let held = pool.acquire();
        let mut other = SendQueue::default();
        other.write(8, &pool, |ring| ring.put_bytes(7, 8));
        assert_eq!(other.take_send().unwrap().len(), 8);
        drop(held);
    }

    #[test]
    fn a_slow_session_takes_few_slots() {
        let pool = pool(64, 100);
        let mut queue = SendQueue::default();
        for _ in 0..50 {
            queue.write(60, &pool, |ring| ring.put_bytes(7, 60));
        }
        assert_eq!(pool.stats().allocated, MOST_POOLED_SEGMENTS as u32);
        let half: Vec<_> = std::iter::from_fn(|| pool.acquire()).take(40).collect();
        let mut other = SendQueue::default();
        for _ in 0..50 {
            other.write(60, &pool, |ring| ring.put_bytes(7, 60));
        }
        assert_eq!(pool.stats().allocated as usize, MOST_POOLED_SEGMENTS + half.len() + POOLED_SEGMENTS);
        drop((queue, other, half));
        assert_eq!(pool.stats().allocated, 0);
    }

    #[test]
    fn neighbouring_leases_are_joined_unless_in_flight() {
        let pool = pool(64, 2);
        let received = lease(&pool, b"abcdef");
        let mut queue = SendQueue::default();
        queue.push_lease(received.slice(0..2));
        queue.push_lease(received.slice(2..3));
        assert_eq!(queue.segments(), 1);
        assert_eq!(queue.take_send().unwrap().len(), 3);
        queue.push_lease(received.slice(3..4));
        queue.push_lease(received.slice(4..6));
        assert_eq!(queue.segments(), 2);
        assert_eq!(queue.sent(), 3);
        let buffers = queue.take_send().unwrap();
        assert_eq!(front(&queue, &buffers), b"def");
    }

    #[test]
    fn a_lease_keeps_its_slot_until_the_send_has_completed() {
        let pool = pool(64, 1);
        let mut queue = SendQueue::default();
        queue.push_lease(lease(&pool, b"x"));
        let in_flight = queue.take_send();
        queue.sent();
        assert_eq!(pool.stats().allocated, 1);
        drop(in_flight);
        assert_eq!(pool.stats().allocated, 0);
    }

    #[test]
    fn an_encoder_that_panics_leaves_no_trace() {
        let pool = pool(64, 4);
        let mut queue = SendQueue::default();
        let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            queue.write(8, &pool, |ring| ring.put_slice(&[1; 9]));
        }));
        assert!(broken.is_err());
        assert!(queue.in_one_ring().is_none_or(|(first, second)| first.is_empty() && second.is_empty()));
        assert!(queue.take_send().is_none());
        queue.push_lease(lease(&pool, b"next"));
        assert_eq!(queue.take_send().unwrap().len(), 4);
    }

    #[test]
    fn a_message_may_be_shorter_than_its_memory_or_not_come_at_all() {
        let pool = pool(64, 4);
        let mut queue = SendQueue::default();
        queue.write(64, &pool, |_| {});
        assert_eq!((queue.segments(), pool.stats().allocated), (0, 0));
        queue.write(64, &pool, |ring| ring.put_slice(b"short"));
        queue.write(60, &pool, |_| {});
        assert_eq!((queue.segments(), pool.stats().allocated, queue.queued()), (1, 1, 5));
        queue.write(59, &pool, |ring| ring.put_u8(b'!'));
        let buffers = queue.take_send().unwrap();
        assert_eq!(front(&queue, &buffers), b"short!");
    }

    #[test]
    fn a_slow_session_goes_round_in_the_ring_that_it_has() {
        let pool = pool(64, 4);
        let mut queue = SendQueue::default();
        queue.write(40, &pool, |ring| ring.put_bytes(1, 40));
        for _ in 0..50 {
            assert_eq!(queue.take_send().unwrap().len(), queue.queued());
            queue.write(24, &pool, |ring| ring.put_bytes(2, 20));
            queue.sent();
            assert_eq!((queue.segments(), pool.stats().allocated, queue.queued()), (1, 1, 20));
        }
    }

    #[test]
    fn small_shared_frames_are_gathered_and_large_ones_are_not_copied() {
        let pool = pool(4096, 1);
        let small: Arc<[u8]> = vec![1; 100].into();
        let large: Arc<[u8]> = vec![2; 2000].into();
        let mut queue = SendQueue::default();
        queue.push_shared(Arc::clone(&small), &pool);
        queue.push_shared(Arc::clone(&small), &pool);
        queue.push_shared(Arc::clone(&large), &pool);
        assert_eq!(queue.segments(), 2);
        assert_eq!(Arc::strong_count(&small), 1);
        assert_eq!(Arc::strong_count(&large), 2);
        assert_eq!(queue.take_send().unwrap().len(), 2200);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write { bytes: usize, spare: usize },
        Shared(usize),
        Lease(usize),
        Send,
        Sent,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0usize..200, 0usize..20).prop_map(|(bytes, spare)| Step::Write { bytes, spare }),
            prop_oneof![1usize..50, COPIED_BYTES..COPIED_BYTES + 50].prop_map(Step::Shared),
            (1usize..64).prop_map(Step::Lease),
            Just(Step::Send),
            Just(Step::Sent),
        ]
    }

    proptest! {
        #[test]
        fn bytes_go_out_once_and_in_order(steps in proptest::collection::vec(step(), 0..200)) {
            let sends = pool(128, 3);
            let receives = pool(64, 100);
            let mut queue = SendQueue::default();
            let mut model: VecDeque<u8> = VecDeque::new();
            let mut in_flight: Option<SendBuffers> = None;
            let mut next = 0u8;
            let mut fresh = |count: usize| -> Vec<u8> { (0..count).map(|_| { next = next.wrapping_add(1); next }).collect() };
            for step in steps {
                match step {
                    Step::Write { bytes, spare } => {
                        let bytes = fresh(bytes);
                        queue.write(bytes.len() + spare, &sends, |ring| ring.put_slice(&bytes));
                        model.extend(bytes);
                    }
                    Step::Shared(count) => {
                        let bytes = fresh(count);
                        queue.push_shared(bytes.clone().into(), &sends);
                        model.extend(bytes);
                    }
                    Step::Lease(count) if receives.has_free() => {
                        let bytes = fresh(count);
                        let received = lease(&receives, &bytes);
                        queue.push_lease(received.slice(0..count / 2));
                        queue.push_lease(received.slice(count / 2..count));
                        model.extend(bytes);
                    }
                    Step::Lease(_) => {}
                    Step::Send => if let Some(buffers) = queue.take_send() {
                        prop_assert!(in_flight.is_none());
                        in_flight = Some(buffers);
                    },
                    Step::Sent => if let Some(buffers) = in_flight.take() {
                        let expected: Vec<u8> = model.drain(..buffers.len()).collect();
                        prop_assert_eq!(front(&queue, &buffers), expected);
                        prop_assert_eq!(queue.sent(), buffers.len());
                    },
                }
                prop_assert_eq!(queue.queued(), model.len());
            }
            drop(in_flight.take());
            queue.sent();
            while let Some(buffers) = queue.take_send() {
                prop_assert!(!buffers.is_empty());
                queue.sent();
            }
            prop_assert_eq!(queue.queued(), 0);
            prop_assert_eq!(sends.stats().allocated + receives.stats().allocated, 0);
        }
    }
}
