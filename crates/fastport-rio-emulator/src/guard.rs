//! Ranges that belong to the system: a fingerprint tells whether somebody touched them meanwhile (rule 9).

/// Ranges up to this size are looked at as a whole; of larger ones, both ends of this size and samples between. All of
/// this happens under one lock and without optimisation, and a caller who touches a range hardly leaves its ends alone.
const WHOLE_BYTES: usize = 16 * 1024;
const SAMPLE_BYTES: usize = 16;
const SAMPLE_STEP_BYTES: usize = 4096;

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
        // SAFETY: the range is readable. A caller who writes to it at this moment breaks the rule that is checked here.
        let bytes = unsafe { std::slice::from_raw_parts(self.start, self.bytes) };
        if bytes.len() <= 2 * WHOLE_BYTES {
            return hash(0, bytes);
        }
        let (head, rest) = bytes.split_at(WHOLE_BYTES);
        let (middle, tail) = rest.split_at(rest.len() - WHOLE_BYTES);
        let ends = hash(hash(0, head), tail);
        middle.chunks(SAMPLE_STEP_BYTES).fold(ends, |sum, chunk| hash(sum, &chunk[..chunk.len().min(SAMPLE_BYTES)]))
    }
}

/// Multiplies and rotates, eight bytes at a time: not for enemies, but quick without optimisation.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut sum = seed ^ bytes.len() as u64;
    for &word in words {
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }
    for &byte in rest {
        sum = (sum ^ u64::from(byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }
    sum
}
