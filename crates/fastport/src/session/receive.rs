//! From received buffers to frames: in place where a frame is whole, put together where it arrives in pieces.
//!
//! ```text
//!   lease n            lease n + 1
//!   ┌─────┬─────┬──┐   ┌───┬─────┬────┐
//!   │  A  │  B  │ C│   │ C │  D  │ E  │      A, B, D: handed over where they lie
//!   └─────┴─────┴──┘   └───┴─────┴────┘      C, E: gathered in the assembly, then handed over
//! ```
//!
//! The assembly is memory of the size of one frame, taken when a frame is incomplete and returned when it was handed
//! over. So a session between two frames holds nothing, and nothing is allocated for a packet while the pool has slots.

use fastport_io::{BufferPool, Lease, PoolBuffer};

use crate::framer::{Frame, Framer, InvalidFrame};

/// Headers, and frames that are as small, are gathered in the session itself: a peer that sends single bytes costs no
/// memory.
const INLINE_BYTES: usize = 16;

/// The receiving half of a session.
#[derive(Default)]
pub(crate) struct Receiver {
    assembly: Option<Assembly>,
}

/// What happens next, as the one who was handed a frame decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The next frame.
    Continue,
    /// No further frame: the session is being closed.
    Stop,
}

impl Receiver {
    /// Takes received bytes and hands over each whole frame, with the lease that it lies in unless it was put together.
    ///
    /// # Errors
    /// The peer does not speak the protocol. The frames before were handed over; nothing more can be.
    #[inline]
    pub(crate) fn feed<F: Framer>(
        &mut self,
        framer: &F,
        pool: &BufferPool,
        lease: &Lease,
        mut deliver: impl FnMut(&[u8], Option<&Lease>) -> Flow,
    ) -> Result<(), InvalidFrame> {
        let mut rest: &[u8] = lease;
        if let Some(assembly) = self.assembly.take() {
            let Some(frame) = self.complete(assembly, framer, pool, &mut rest)? else { return Ok(()) };
            if deliver(frame.filled(), None) == Flow::Stop {
                return Ok(());
            }
        }
        while !rest.is_empty() {
            match framer.inspect(rest) {
                Frame::Complete { frame_bytes } => {
                    let (frame, behind) = rest.split_at_checked(frame_bytes).ok_or(BROKEN)?;
                    if frame.is_empty() {
                        return Err(BROKEN);
                    }
                    rest = behind;
                    if deliver(frame, Some(lease)) == Flow::Stop {
                        return Ok(());
                    }
                }
                Frame::NeedMore { at_least } if at_least > rest.len() => {
                    let mut assembly = Assembly::new(at_least, pool);
                    assembly.fill(&mut rest);
                    self.assembly = Some(assembly);
                }
                Frame::NeedMore { .. } => return Err(BROKEN),
                Frame::Invalid(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// True if the peer has sent a part of a frame.
    pub(crate) fn has_partial_frame(&self) -> bool {
        self.assembly.is_some()
    }

    /// Adds bytes to the frame in the assembly and returns it when it is whole. Leaves in `rest` what is behind it.
    fn complete<F: Framer>(
        &mut self,
        mut assembly: Assembly,
        framer: &F,
        pool: &BufferPool,
        rest: &mut &[u8],
    ) -> Result<Option<Assembly>, InvalidFrame> {
        loop {
            assembly.fill(rest);
            if assembly.filled < assembly.needed {
                self.assembly = Some(assembly);
                return Ok(None);
            }
            match framer.inspect(assembly.filled()) {
                Frame::Complete { frame_bytes } if frame_bytes == assembly.filled => return Ok(Some(assembly)),
                Frame::NeedMore { at_least } if at_least > assembly.filled => assembly.grow(at_least, pool),
                Frame::Invalid(fault) => return Err(fault),
                Frame::Complete { .. } | Frame::NeedMore { .. } => return Err(BROKEN),
            }
        }
    }
}

/// A framer that breaks its promises must not take the worker with it.
const BROKEN: InvalidFrame = InvalidFrame::Malformed("the framer contradicts itself");

/// A frame, or its header, that is being put together.
struct Assembly {
    memory: Memory,
    filled: usize,
    /// Bytes to gather before the framer is asked again. The memory has room for them.
    needed: usize,
}

enum Memory {
    Inline([u8; INLINE_BYTES]),
    Pool(PoolBuffer),
    Heap(Box<[u8]>),
}

impl Assembly {
    fn new(needed: usize, pool: &BufferPool) -> Self {
        Self { memory: Memory::with_capacity(needed, pool), filled: 0, needed }
    }

    fn filled(&self) -> &[u8] {
        &self.memory.bytes()[..self.filled]
    }

    /// Moves bytes from the front of `source`, as many as are there and needed.
    fn fill(&mut self, source: &mut &[u8]) {
        let count = source.len().min(self.needed - self.filled);
        let (taken, rest) = source.split_at(count);
        self.memory.bytes_mut()[self.filled..self.filled + count].copy_from_slice(taken);
        self.filled += count;
        *source = rest;
    }

    /// The header is complete, and its frame needs more.
    fn grow(&mut self, needed: usize, pool: &BufferPool) {
        self.needed = needed;
        if needed > self.memory.bytes().len() {
            let mut memory = Memory::with_capacity(needed, pool);
            memory.bytes_mut()[..self.filled].copy_from_slice(self.filled());
            self.memory = memory;
        }
    }
}

impl Memory {
    fn with_capacity(bytes: usize, pool: &BufferPool) -> Self {
        if bytes <= INLINE_BYTES {
            return Self::Inline([0; INLINE_BYTES]);
        }
        if bytes <= pool.slot_bytes()
            && let Some(slot) = pool.acquire()
        {
            return Self::Pool(slot);
        }
        Self::Heap(vec![0; bytes].into_boxed_slice())
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline(bytes) => bytes,
            Self::Pool(slot) => slot,
            Self::Heap(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Inline(bytes) => bytes,
            Self::Pool(slot) => slot,
            Self::Heap(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PayloadTooLarge;
    use crate::framer::{LengthDelimitedFramer, PacketFramer};
    use crate::packet::{Packet, PacketId, PacketView};
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

    /// Feeds the parts of a stream; returns the frames and how many of them lay in a lease.
    fn receive<F: Framer>(
        framer: &F,
        frames: &BufferPool,
        parts: &[&[u8]],
    ) -> (Result<(), InvalidFrame>, Vec<Vec<u8>>, usize) {
        let leases = pool(8192, 1);
        let mut receiver = Receiver::default();
        let (mut received, mut in_place) = (Vec::new(), 0);
        for part in parts {
            let lease = lease(&leases, part);
            let result = receiver.feed(framer, frames, &lease, |frame, lease| {
                received.push(frame.to_vec());
                in_place += usize::from(lease.is_some_and(|lease| lease.slice_of(frame).is_some()));
                Flow::Continue
            });
            if result.is_err() {
                return (result, received, in_place);
            }
        }
        assert!(!receiver.has_partial_frame());
        (Ok(()), received, in_place)
    }

    fn stream(sizes: &[usize]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let frames: Vec<Vec<u8>> = sizes
            .iter()
            .enumerate()
            .map(|(number, &size)| {
                Packet::new(PacketId(number as u16), &vec![number as u8; size]).unwrap().frame().to_vec()
            })
            .collect();
        let stream = frames.concat();
        (frames, stream)
    }

    #[test]
    fn whole_frames_are_handed_over_where_they_lie() {
        let (frames, stream) = stream(&[0, 60, 1000]);
        let assemblies = pool(64, 1);
        let (result, received, in_place) = receive(&PacketFramer::default(), &assemblies, &[&stream]);
        assert!(result.is_ok());
        assert_eq!((received, in_place), (frames, 3));
        assert_eq!(assemblies.stats().high_water, 0);
    }

    #[test]
    fn only_the_frame_that_is_cut_apart_is_copied() {
        let (frames, stream) = stream(&[100, 100, 100]);
        let assemblies = pool(256, 1);
        let (first, second) = stream.split_at(150);
        let (result, received, in_place) = receive(&PacketFramer::default(), &assemblies, &[first, second]);
        assert!(result.is_ok());
        assert_eq!((received, in_place), (frames, 2));
        assert_eq!(assemblies.stats().high_water, 1);
        assert_eq!(assemblies.stats().allocated, 0);
    }

    #[test]
    fn a_lone_byte_takes_no_memory_from_the_pool() {
        let assemblies = pool(256, 1);
        let leases = pool(64, 1);
        let mut receiver = Receiver::default();
        let byte = lease(&leases, &[0]);
        receiver.feed(&PacketFramer::default(), &assemblies, &byte, |_, _| Flow::Continue).unwrap();
        assert!(receiver.has_partial_frame());
        assert_eq!(assemblies.stats().allocated, 0);
    }

    #[test]
    fn a_frame_larger_than_a_slot_is_put_together_on_the_heap() {
        let (frames, stream) = stream(&[20_000]);
        let parts: Vec<&[u8]> = stream.chunks(4096).collect();
        let assemblies = pool(256, 1);
        let (result, received, in_place) = receive(&PacketFramer::default(), &assemblies, &parts);
        assert!(result.is_ok());
        assert_eq!((received, in_place), (frames, 0));
        assert_eq!(assemblies.stats().high_water, 0);
    }

    #[test]
    fn frames_before_a_malformed_one_are_handed_over() {
        let (frames, mut stream) = stream(&[10]);
        stream.extend_from_slice(&[0, 3, 0, 0]);
        for split in 0..stream.len() {
            let (first, second) = stream.split_at(split);
            let (result, received, _) = receive(&PacketFramer::default(), &pool(256, 1), &[first, second]);
            assert_eq!(result, Err(InvalidFrame::TooShort { frame_bytes: 3, header_bytes: 4 }));
            assert_eq!(received, frames);
        }
    }

    #[test]
    fn nothing_is_handed_over_after_stop() {
        let (_, stream) = stream(&[1, 1, 1]);
        let leases = pool(64, 1);
        let mut receiver = Receiver::default();
        let mut received = 0;
        receiver
            .feed(&PacketFramer::default(), &pool(64, 1), &lease(&leases, &stream), |_, _| {
                received += 1;
                if received == 2 { Flow::Stop } else { Flow::Continue }
            })
            .unwrap();
        assert_eq!(received, 2);
    }

    #[test]
    fn a_framer_that_contradicts_itself_ends_the_session_and_not_the_worker() {
        #[derive(Clone)]
        struct Broken(Frame);
        impl Framer for Broken {
            fn header_bytes(&self) -> usize {
                1
            }
            fn max_frame_bytes(&self) -> usize {
                100
            }
            fn inspect(&self, _: &[u8]) -> Frame {
                self.0
            }
            fn view<'a>(&self, frame: &'a [u8]) -> PacketView<'a> {
                PacketView { id: PacketId(0), payload: frame, frame }
            }
            fn write_header(&self, _: PacketId, _: usize, _: &mut [u8]) -> Result<(), PayloadTooLarge> {
                Ok(())
            }
        }
        for verdict in [
            Frame::Complete { frame_bytes: 0 },
            Frame::Complete { frame_bytes: 5 },
            Frame::NeedMore { at_least: 0 },
            Frame::NeedMore { at_least: 2 },
        ] {
            let (result, ..) = receive(&Broken(verdict), &pool(64, 1), &[b"ab", b"c"]);
            assert_eq!(result, Err(BROKEN), "{verdict:?}");
        }
    }

    proptest! {
        #[test]
        fn any_split_of_the_stream_gives_the_same_frames(
            sizes in proptest::collection::vec(prop_oneof![0usize..40, 200usize..600], 1..20),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..30),
            slots in 0u32..2,
        ) {
            let (frames, stream) = stream(&sizes);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.extend((0..stream.len()).step_by(8000));
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            // With and without a slot to spare.
            let assemblies = pool(300, 1);
            let held = if slots == 0 { assemblies.acquire() } else { None };
            let (result, received, _) = receive(&PacketFramer::default(), &assemblies, &parts);
            prop_assert!(result.is_ok());
            prop_assert_eq!(received, frames);
            drop(held);
            prop_assert_eq!(assemblies.stats().allocated, 0);
        }

        #[test]
        fn no_bytes_make_it_panic(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..20)) {
            let leases = pool(256, 1);
            let assemblies = pool(256, 2);
            let framer = LengthDelimitedFramer::with_max_frame_bytes(1000).unwrap();
            let mut receiver = Receiver::default();
            for part in parts {
                if receiver.feed(&framer, &assemblies, &lease(&leases, &part), |_, _| Flow::Continue).is_err() {
                    break;
                }
            }
        }
    }
}
