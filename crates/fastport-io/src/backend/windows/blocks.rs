//! The overlapped blocks of a provider: what the system writes to while an operation is in flight.
//!
//! ```text
//!           take                 packet, or the call ended at once
//!   free ──────────▶ in flight ────────────────────────────────────▶ free (put_back)
//! ```
//! A block never moves, is reused, and is never freed while it is in flight: if blocks are in flight when the pool is
//! dropped, all of its memory is leaked.

use std::ptr::NonNull;

use windows_sys::Win32::Networking::WinSock::SOCKADDR_STORAGE;
use windows_sys::Win32::System::IO::OVERLAPPED;

use crate::operation::OpId;
use crate::socket::Socket;

/// What the system knows of an operation. Its address is the operation's name in the packets of the port.
#[repr(C)]
struct Block {
    /// Must be first: a pointer to it is a pointer to the block.
    overlapped: OVERLAPPED,
    place: Place,
}

/// A block of a pool, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Place(u32);

impl Place {
    /// As a note on an operation: a positive number.
    pub(super) const fn to_note(self) -> i32 {
        self.0 as i32 + 1
    }

    /// The inverse; `None` for notes that name no block.
    pub(super) const fn from_note(note: i32) -> Option<Self> {
        if note > 0 { Some(Self(note as u32 - 1)) } else { None }
    }
}

/// What only this side knows of a block.
#[derive(Default)]
struct Use {
    op: Option<OpId>,
    /// The socket of an accept in flight.
    accepting: Option<Socket>,
}

/// Where AcceptEx writes addresses, all of them to the same place: nobody reads them, because the accepted socket tells
/// its addresses itself.
#[repr(C, align(8))]
pub(super) struct AcceptAddresses([u8; 2 * Self::ADDRESS_BYTES as usize]);

impl AcceptAddresses {
    /// AcceptEx wants 16 bytes more than the largest address.
    pub(super) const ADDRESS_BYTES: u32 = size_of::<SOCKADDR_STORAGE>() as u32 + 16;
}

const CHUNK: usize = 64;

/// A pool of overlapped blocks for one thread. It grows, and never shrinks.
pub(crate) struct Blocks {
    /// `CHUNK` blocks each, allocated as boxed arrays. Plain pointers, because the system writes to them at any time.
    chunks: Vec<NonNull<Block>>,
    accept_addresses: NonNull<AcceptAddresses>,
    uses: Vec<Use>,
    free: Vec<Place>,
    in_flight: usize,
}

impl Blocks {
    pub(super) fn new() -> Self {
        let addresses = Box::new(AcceptAddresses([0; 2 * AcceptAddresses::ADDRESS_BYTES as usize]));
        Self {
            chunks: Vec::new(),
            accept_addresses: NonNull::from(Box::leak(addresses)),
            uses: Vec::new(),
            free: Vec::new(),
            in_flight: 0,
        }
    }

    /// A block for an operation, cleared. In flight until it is put back.
    pub(super) fn take(&mut self, op: OpId) -> Place {
        if self.free.is_empty() {
            self.grow();
        }
        let place = self.free.pop().expect("the pool has just grown");
        // SAFETY: the block is free, so neither the system nor anyone else uses its memory.
        unsafe { *self.overlapped(place) = OVERLAPPED::default() };
        self.uses[place.0 as usize].op = Some(op);
        self.in_flight += 1;
        place
    }

    /// The block is free again: its packet was taken, or there will be none.
    pub(super) fn put_back(&mut self, place: Place) {
        let entry = &mut self.uses[place.0 as usize];
        debug_assert!(entry.op.is_some(), "a block is put back once");
        entry.op = None;
        entry.accepting = None;
        self.in_flight -= 1;
        self.free.push(place);
    }

    /// The operation of a block in flight.
    pub(super) fn op(&self, place: Place) -> Option<OpId> {
        self.uses.get(place.0 as usize)?.op
    }

    /// What system calls are given.
    pub(super) fn overlapped(&self, place: Place) -> *mut OVERLAPPED {
        let index = place.0 as usize;
        // SAFETY: places are made by `grow`, so the index lies within its chunk, which lives as long as the pool. The
        // field is first, and the pointer is made without a reference to memory that the system may be writing.
        unsafe { &raw mut (*self.chunks[index / CHUNK].as_ptr().add(index % CHUNK)).overlapped }
    }

    /// Keeps the socket of an accept in flight with its block.
    pub(super) fn keep_accepting(&mut self, place: Place, socket: Socket) {
        self.uses[place.0 as usize].accepting = Some(socket);
    }

    /// Where an accept in flight writes addresses.
    pub(super) fn accept_addresses(&self) -> *mut AcceptAddresses {
        self.accept_addresses.as_ptr()
    }

    /// Takes the socket of an accept.
    pub(super) fn take_accepting(&mut self, place: Place) -> Option<Socket> {
        self.uses[place.0 as usize].accepting.take()
    }

    /// The block that a packet names.
    ///
    /// # Safety
    /// The pointer came from [`Blocks::overlapped`] of a pool that lives.
    pub(super) unsafe fn place_of(overlapped: NonNull<OVERLAPPED>) -> Place {
        // SAFETY: the caller vouches that it points to the first field of a block; nobody writes to the second.
        unsafe { (*overlapped.as_ptr().cast::<Block>()).place }
    }

    fn grow(&mut self) {
        let first = self.uses.len() as u32;
        let block = |position| Block { overlapped: OVERLAPPED::default(), place: Place(first + position as u32) };
        let chunk: Box<[Block; CHUNK]> = Box::new(std::array::from_fn(block));
        self.chunks.push(NonNull::from(Box::leak(chunk)).cast());
        self.uses.resize_with(first as usize + CHUNK, Use::default);
        self.free.extend((first..first + CHUNK as u32).rev().map(Place));
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        if self.in_flight > 0 {
            tracing::error!(blocks = self.in_flight, "operations are in flight; the memory of all blocks is leaked");
            return;
        }
        for chunk in self.chunks.drain(..) {
            // SAFETY: `grow` leaked it from a box of this type; nothing is in flight, so the system has let go of it.
            drop(unsafe { Box::from_raw(chunk.cast::<[Block; CHUNK]>().as_ptr()) });
        }
        // SAFETY: `new` leaked it from a box; as above.
        drop(unsafe { Box::from_raw(self.accept_addresses.as_ptr()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Key;

    fn op(index: u32) -> OpId {
        OpId(Key { index, generation: 1 })
    }

    #[test]
    fn a_packet_leads_back_to_the_operation_of_its_block() {
        let mut blocks = Blocks::new();
        let places: Vec<_> = (0..3 * CHUNK as u32).map(|index| blocks.take(op(index))).collect();
        for (index, &place) in places.iter().enumerate() {
            let overlapped = NonNull::new(blocks.overlapped(place)).unwrap();
            // SAFETY: the pointer is the pool's, which lives.
            assert_eq!(unsafe { Blocks::place_of(overlapped) }, place);
            assert_eq!(blocks.op(place), Some(op(index as u32)));
            assert_eq!(Place::from_note(place.to_note()), Some(place));
        }
        for place in places {
            blocks.put_back(place);
        }
    }

    #[test]
    fn blocks_are_reused_and_stay_where_they_are() {
        let mut blocks = Blocks::new();
        let first = blocks.take(op(1));
        let address = blocks.overlapped(first);
        let others: Vec<_> = (0..1000).map(|index| blocks.take(op(index))).collect();
        assert_eq!(blocks.overlapped(first), address);
        blocks.put_back(first);
        assert_eq!(blocks.take(op(2)), first);
        for place in others.into_iter().chain([first]) {
            blocks.put_back(place);
        }
    }
}
