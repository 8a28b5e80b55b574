//! What operations hold while the kernel works: the bytes of a send, the target of a receive.

use std::cell::Cell;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

use super::pool::{Lease, PoolBuffer};

/// Who keeps the bytes of a send alive until its completion.
pub(super) enum SendOwner {
    Lease(#[allow(dead_code, reason = "held for its drop")] Lease),
    /// Memory of a `ByteRing`.
    Ring(#[allow(dead_code, reason = "held for its drop")] Rc<[Cell<u8>]>),
    Shared(#[allow(dead_code, reason = "held for its drop")] Arc<[u8]>),
    Boxed(#[allow(dead_code, reason = "held for its drop")] Box<[u8]>),
    /// Static bytes, or the memory of a caller who vouched for it.
    Nobody,
}

/// Bytes for a send operation, kept alive by it until its completion.
///
/// There is no way to look at the bytes: they may belong to a ring that goes on writing behind them.
pub struct SendBuffer {
    #[allow(dead_code, reason = "held for its drop")]
    owner: SendOwner,
    start: NonNull<u8>,
    bytes: u32,
}

impl SendBuffer {
    /// Bytes that live as long as the program.
    ///
    /// # Panics
    /// If there are 4 GiB or more.
    pub fn from_static(bytes: &'static [u8]) -> Self {
        Self::from_parts(SendOwner::Nobody, NonNull::from(bytes).cast(), length(bytes))
    }

    /// Memory of the caller's.
    ///
    /// # Safety
    /// The `bytes` bytes from `start` on stay valid and unchanged until the operation's final completion was delivered
    /// or the provider was dropped.
    pub unsafe fn from_raw_parts(start: NonNull<u8>, bytes: u32) -> Self {
        Self::from_parts(SendOwner::Nobody, start, bytes)
    }

    pub(super) const fn from_parts(owner: SendOwner, start: NonNull<u8>, bytes: u32) -> Self {
        Self { owner, start, bytes }
    }

    /// Size in bytes.
    pub const fn len(&self) -> usize {
        self.bytes as usize
    }

    /// True if there are no bytes; such a buffer cannot be sent.
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(crate) const fn as_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }
}

/// # Panics
/// If there are 4 GiB or more: one operation counts its bytes in 32 bits.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("one send has less than 4 GiB")
}

impl From<Lease> for SendBuffer {
    fn from(lease: Lease) -> Self {
        let (start, bytes) = (lease.as_ptr(), length(&lease));
        Self::from_parts(SendOwner::Lease(lease), start, bytes)
    }
}

impl From<Arc<[u8]>> for SendBuffer {
    fn from(shared: Arc<[u8]>) -> Self {
        let (start, bytes) = (NonNull::from(&*shared).cast(), length(&shared));
        Self::from_parts(SendOwner::Shared(shared), start, bytes)
    }
}

impl From<Box<[u8]>> for SendBuffer {
    fn from(boxed: Box<[u8]>) -> Self {
        let (start, bytes) = (NonNull::from(&*boxed).cast(), length(&boxed));
        Self::from_parts(SendOwner::Boxed(boxed), start, bytes)
    }
}

impl From<Vec<u8>> for SendBuffer {
    fn from(bytes: Vec<u8>) -> Self {
        bytes.into_boxed_slice().into()
    }
}

impl std::fmt::Debug for SendBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SendBuffer({} bytes)", self.bytes)
    }
}

/// One or two buffers that one send operation transmits in order, as if they were one.
#[derive(Debug)]
pub struct SendBuffers {
    first: SendBuffer,
    second: Option<SendBuffer>,
}

impl SendBuffers {
    /// `first`, then `second`.
    pub const fn new(first: SendBuffer, second: Option<SendBuffer>) -> Self {
        Self { first, second }
    }

    /// Bytes of both.
    pub fn len(&self) -> usize {
        self.first.len() + self.second.as_ref().map_or(0, SendBuffer::len)
    }

    /// True if there are no bytes at all; such a send is refused.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer that goes out first.
    pub const fn first(&self) -> &SendBuffer {
        &self.first
    }

    /// The buffer that follows, if there is one.
    pub const fn second(&self) -> Option<&SendBuffer> {
        self.second.as_ref()
    }

    /// Both buffers, to be combined in another way.
    pub fn into_parts(self) -> (SendBuffer, Option<SendBuffer>) {
        (self.first, self.second)
    }

    /// The bytes of both; the second slice is empty if there is one only.
    ///
    /// # Safety
    /// The caller is the thread that the memory belongs to, and nobody else runs on it while the slices are used: their
    /// owner, such as a ring, may write behind them, and after their consumption over them.
    pub(crate) unsafe fn as_slices(&self) -> (&[u8], &[u8]) {
        // SAFETY: a buffer's owner keeps its bytes valid; that they do not change meanwhile the caller promises.
        let slice = |buffer: &SendBuffer| unsafe { std::slice::from_raw_parts(buffer.as_ptr(), buffer.len()) };
        (slice(&self.first), self.second.as_ref().map_or(&[], slice))
    }

    /// The ranges that are still to be sent after `sent` bytes: one or two, none of them empty unless nothing is left.
    pub(crate) fn remaining(&self, sent: usize) -> ((*const u8, usize), Option<(*const u8, usize)>) {
        let first_len = self.first.len();
        if sent < first_len {
            // SAFETY: sent < the buffer's length.
            let start = unsafe { self.first.as_ptr().add(sent) };
            let second = self.second.as_ref().filter(|second| !second.is_empty());
            return ((start, first_len - sent), second.map(|second| (second.as_ptr(), second.len())));
        }
        let Some(second) = &self.second else { return ((self.first.as_ptr(), 0), None) };
        let skip = (sent - first_len).min(second.len());
        // SAFETY: skip is at most the buffer's length.
        let start = unsafe { second.as_ptr().add(skip) };
        ((start, second.len() - skip), None)
    }
}

impl<T: Into<SendBuffer>> From<T> for SendBuffers {
    fn from(buffer: T) -> Self {
        Self::new(buffer.into(), None)
    }
}

/// Memory that a receive operation fills. It comes back, filled or not, in the operation's completion.
pub struct ReceiveBuffer {
    target: Target,
    filled: usize,
}

enum Target {
    Boxed(Box<[u8]>),
    Pool(PoolBuffer),
    Raw { start: NonNull<u8>, bytes: u32 },
}

impl ReceiveBuffer {
    /// Fresh memory of `bytes` bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        vec![0; bytes].into_boxed_slice().into()
    }

    /// Memory of the caller's.
    ///
    /// # Safety
    /// The `bytes` bytes from `start` on are initialised, stay valid, and are not touched by anyone until the
    /// operation's final completion was delivered or the provider was dropped.
    pub unsafe fn from_raw_parts(start: NonNull<u8>, bytes: u32) -> Self {
        Self { target: Target::Raw { start, bytes }, filled: 0 }
    }

    /// Bytes that fit.
    pub fn capacity(&self) -> usize {
        match &self.target {
            Target::Boxed(memory) => memory.len(),
            Target::Pool(buffer) => buffer.len(),
            Target::Raw { bytes, .. } => *bytes as usize,
        }
    }

    /// The bytes that were received.
    pub fn filled(&self) -> &[u8] {
        let all = match &self.target {
            Target::Boxed(memory) => memory,
            Target::Pool(buffer) => &**buffer,
            // SAFETY: vouched for by the caller of `from_raw_parts`; whoever can call this holds the buffer, so no
            // operation has it.
            Target::Raw { start, bytes } => unsafe { std::slice::from_raw_parts(start.as_ptr(), *bytes as usize) },
        };
        &all[..self.filled]
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        match &mut self.target {
            Target::Boxed(memory) => memory.as_mut_ptr(),
            Target::Pool(buffer) => buffer.as_ptr().as_ptr(),
            Target::Raw { start, .. } => start.as_ptr(),
        }
    }

    /// The filled bytes as a lease, if the memory is a pool slot.
    pub(crate) fn into_lease(self) -> Option<Lease> {
        match self.target {
            Target::Pool(buffer) => Some(buffer.freeze(self.filled)),
            Target::Boxed(_) | Target::Raw { .. } => None,
        }
    }

    pub(crate) fn set_filled(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.capacity(), "the kernel wrote within the buffer");
        self.filled = bytes.min(self.capacity());
    }
}

impl From<Box<[u8]>> for ReceiveBuffer {
    fn from(memory: Box<[u8]>) -> Self {
        Self { target: Target::Boxed(memory), filled: 0 }
    }
}

impl From<PoolBuffer> for ReceiveBuffer {
    fn from(buffer: PoolBuffer) -> Self {
        Self { target: Target::Pool(buffer), filled: 0 }
    }
}

impl std::fmt::Debug for ReceiveBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReceiveBuffer({} of {} bytes)", self.filled, self.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_of_two_buffers_shrinks_from_the_front() {
        let buffers = SendBuffers::new(SendBuffer::from_static(b"abc"), Some(SendBuffer::from_static(b"de")));
        let lengths = |sent| {
            let (first, second) = buffers.remaining(sent);
            (first.1, second.map(|second| second.1))
        };
        assert_eq!(lengths(0), (3, Some(2)));
        assert_eq!(lengths(2), (1, Some(2)));
        assert_eq!(lengths(3), (2, None));
        assert_eq!(lengths(5), (0, None));
    }

    #[test]
    fn shared_bytes_live_as_long_as_the_send() {
        let shared: Arc<[u8]> = Arc::from(&b"frame"[..]);
        let buffer = SendBuffer::from(Arc::clone(&shared));
        assert_eq!(Arc::strong_count(&shared), 2);
        drop(buffer);
        assert_eq!(Arc::strong_count(&shared), 1);
    }
}
