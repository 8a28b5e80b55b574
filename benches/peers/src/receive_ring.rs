//! A ring of provided buffers (`io_uring_register(2)`, `IORING_REGISTER_PBUF_RING`) for multishot receives.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use io_uring::{IoUring, opcode, squeue, types};

/// The only buffer group.
const GROUP: u16 = 0;

/// A multishot receive on that socket into the ring's buffers.
pub fn receive(descriptor: i32) -> squeue::Entry {
    opcode::RecvMulti::new(types::Fd(descriptor), GROUP).build()
}

/// Equal buffers, which the kernel takes in the order in which they were given back. Lives until the process ends.
pub struct ReceiveRing {
    entries: NonNull<BufRingEntry>,
    buffers: NonNull<u8>,
    buffer_bytes: usize,
    mask: u16,
    tail: u16,
    is_published: bool,
}

impl ReceiveRing {
    /// Registers `count` buffers, a power of two, with the ring.
    pub fn new(ring: &IoUring, count: u16, buffer_bytes: usize) -> io::Result<Self> {
        assert!(count.is_power_of_two(), "{count} buffers are not a power of two");
        let entries: NonNull<BufRingEntry> = map(usize::from(count) * size_of::<BufRingEntry>())?.cast();
        let buffers = map(usize::from(count) * buffer_bytes)?;
        // SAFETY: the mapping is never unmapped and large enough for `count` entries.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries.as_ptr() as u64, count, GROUP, 0)? };
        let mut receive = Self { entries, buffers, buffer_bytes, mask: count - 1, tail: 0, is_published: true };
        (0..count).for_each(|buffer| receive.give_back(buffer));
        receive.publish();
        Ok(receive)
    }

    /// What lies in a buffer that the kernel has filled. Not to be used after it was given back.
    #[inline]
    pub fn bytes(&self, buffer: u16, len: usize) -> &'static [u8] {
        assert!(buffer <= self.mask && len <= self.buffer_bytes, "the kernel names a buffer of the ring");
        // SAFETY: inside the mapping, which lives as long as the process, and written by the kernel.
        unsafe { std::slice::from_raw_parts(self.start(buffer), len) }
    }

    /// Makes a buffer the kernel's again, once `publish` is called.
    #[inline]
    pub fn give_back(&mut self, buffer: u16) {
        let start = self.start(buffer);
        // SAFETY: the mask keeps the index inside the mapping; the kernel reads entries before the published tail only.
        let entry = unsafe { &mut *self.entries.as_ptr().add(usize::from(self.tail & self.mask)) };
        entry.set_addr(start as u64);
        entry.set_len(self.buffer_bytes as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        self.is_published = false;
    }

    /// Tells the kernel of the buffers that were given back.
    #[inline]
    pub fn publish(&mut self) {
        if self.is_published {
            return;
        }
        // SAFETY: the tail lies in the first entry of the mapping, aligned, and the kernel only reads it.
        let tail = unsafe { &*BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
        self.is_published = true;
    }

    #[inline]
    fn start(&self, buffer: u16) -> *mut u8 {
        // SAFETY: callers pass buffers of the ring, so the offset is inside the mapping.
        unsafe { self.buffers.as_ptr().add(usize::from(buffer) * self.buffer_bytes) }
    }
}

/// Zeroed, page-aligned memory that is never unmapped.
fn map(bytes: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: a new private mapping touches nothing that exists.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(NonNull::new(start.cast()).expect("a mapping is not at address 0"))
}
