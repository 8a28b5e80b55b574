//! Ranges that belong to the system: a fingerprint tells whether somebody touched them meanwhile (rule 9).

use std::hash::{DefaultHasher, Hasher};

/// A range of the caller's memory with the fingerprint of its bytes.
pub(crate) struct Guarded {
    start: *mut u8,
    bytes: usize,
    fingerprint: u64,
}

// SAFETY: the range is a registered one, which the caller keeps valid while a request uses it; that is what the emulator
// checks before it makes a guard.
unsafe impl Send for Guarded {}

impl Guarded {
    /// # Safety
    /// The range stays readable and writable until the guard is dropped.
    pub(crate) unsafe fn new(start: *mut u8, bytes: usize) -> Self {
        let mut guarded = Self { start, bytes, fingerprint: 0 };
        guarded.fingerprint = guarded.take_fingerprint();
        guarded
    }

    pub(crate) const fn start(&self) -> *mut u8 {
        self.start
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_untouched(&self) -> bool {
        self.take_fingerprint() == self.fingerprint
    }

    pub(crate) fn overlaps(&self, start: *mut u8, bytes: usize) -> bool {
        let (one, other) = (self.start as usize, start as usize);
        one < other + bytes && other < one + self.bytes
    }

    /// Writes received bytes to the front of the range, as the system would.
    pub(crate) fn write(&mut self, received: &[u8]) {
        let count = received.len().min(self.bytes);
        // SAFETY: the range is writable and has at least `count` bytes; the source is the emulator's own memory.
        unsafe { std::ptr::copy_nonoverlapping(received.as_ptr(), self.start, count) };
        self.fingerprint = self.take_fingerprint();
    }

    fn take_fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        // SAFETY: the range is readable. A caller who writes to it at this moment breaks the rule that is checked here.
        hasher.write(unsafe { std::slice::from_raw_parts(self.start, self.bytes) });
        hasher.finish()
    }
}
