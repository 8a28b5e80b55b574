//! A region: page-aligned memory for the kernel, either ours or, through the C interface, the caller's.

use std::ptr::NonNull;

use memmap2::MmapMut;

use crate::error::{Error, ErrorCode, Result};

/// Regions start on a multiple of this and are rounded up to it (4 KiB, the page size that all targets share or divide).
pub const PAGE_BYTES: usize = 4096;

/// Page-aligned memory that can be registered with a provider, and from which pools are cut.
///
/// Fresh regions are zeroed; the system backs them by physical pages only as they are touched.
pub struct Region {
    start: NonNull<u8>,
    bytes: usize,
    /// `None` if the memory is the caller's.
    mapping: Option<MmapMut>,
}

// SAFETY: a region is plain memory that it owns (or that its creator vouched for); nothing in it is bound to a thread.
unsafe impl Send for Region {}

impl Region {
    /// Maps `bytes` of memory, rounded up to whole pages.
    ///
    /// # Errors
    /// `InvalidArgument` for 0 bytes; `NoResources` if the system refuses the mapping.
    pub fn new(bytes: usize) -> Result<Self> {
        if bytes == 0 {
            return Err(Error::new(ErrorCode::InvalidArgument, "a region needs at least 1 byte"));
        }
        let bytes = bytes.next_multiple_of(PAGE_BYTES);
        let mut mapping = MmapMut::map_anon(bytes).map_err(|error| {
            Error::new(ErrorCode::NoResources, format!("cannot map {bytes} bytes of buffer memory: {error}"))
        })?;
        let start = NonNull::new(mapping.as_mut_ptr()).ok_or(Error::plain(ErrorCode::NoResources))?;
        Ok(Self { start, bytes, mapping: Some(mapping) })
    }

    /// Wraps memory of the caller's.
    ///
    /// # Safety
    /// `start` is valid for reads and writes of `bytes` bytes until the region is dropped, and nobody else accesses a
    /// range of it while an operation uses that range.
    pub unsafe fn from_raw_parts(start: NonNull<u8>, bytes: usize) -> Self {
        Self { start, bytes, mapping: None }
    }

    /// Size in bytes.
    pub const fn len(&self) -> usize {
        self.bytes
    }

    /// True for a region of the caller's with no bytes; a mapped one is never empty.
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// True if the memory was mapped by [`Region::new`] and is unmapped on drop.
    pub const fn is_owned(&self) -> bool {
        self.mapping.is_some()
    }

    /// First byte. Writing through it is for whoever knows that no operation uses the range.
    pub(crate) const fn as_ptr(&self) -> NonNull<u8> {
        self.start
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the memory is valid and initialised for the region's life; providers hand out a region's `&` only
        // while no operation writes to it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    /// The bytes, for writing.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` is exclusive; providers give it out only while no operation uses the region.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Region").field("bytes", &self.bytes).field("owned", &self.is_owned()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_page_aligned_zeroed_and_whole_pages() {
        let region = Region::new(5000).unwrap();
        assert_eq!(region.len(), 2 * PAGE_BYTES);
        assert_eq!(region.as_ptr().as_ptr() as usize % PAGE_BYTES, 0);
        assert!(region.as_slice().iter().all(|&byte| byte == 0));
    }

    #[test]
    fn an_empty_region_is_refused() {
        assert_eq!(Region::new(0).unwrap_err().code(), ErrorCode::InvalidArgument);
    }
}
