//! Regions of memory that callers registered, and how many operations use each.

use crate::buffer::Region;
use crate::error::{Error, ErrorCode, Result};
use crate::operation::RegionId;
use crate::slab::Slab;

/// The most regions that can be registered at once.
pub(crate) const MAX_REGIONS: u32 = 1024;

struct Entry {
    region: Region,
    /// What the driver calls it; `None` if it is used like ordinary memory.
    registration: Option<u32>,
    /// Operations that use it.
    users: u32,
}

pub(super) struct Regions {
    entries: Slab<Entry>,
}

impl Regions {
    pub(super) const fn new() -> Self {
        Self { entries: Slab::with_limit(MAX_REGIONS) }
    }

    pub(super) fn has_room(&self) -> bool {
        self.entries.len() < self.entries.limit() as usize
    }

    pub(super) fn add(&mut self, region: Region, registration: Option<u32>) -> Result<RegionId> {
        self.entries.insert(Entry { region, registration, users: 0 }).map(RegionId)
    }

    /// Takes a region back that no operation uses.
    pub(super) fn remove(&mut self, id: RegionId) -> Result<(Region, Option<u32>)> {
        self.idle(id)?;
        let entry = self.entries.remove(id.0).ok_or_else(dead)?;
        Ok((entry.region, entry.registration))
    }

    /// The bytes of a region that no operation uses.
    pub(super) fn bytes_mut(&mut self, id: RegionId) -> Result<&mut [u8]> {
        Ok(self.idle(id)?.region.as_mut_slice())
    }

    fn idle(&mut self, id: RegionId) -> Result<&mut Entry> {
        let entry = self.entries.get_mut(id.0).ok_or_else(dead)?;
        if entry.users > 0 {
            return Err(Error::new(ErrorCode::OperationPending, "an operation uses the region"));
        }
        Ok(entry)
    }

    /// Checks a range and counts one more user of its region.
    pub(super) fn begin_use(&mut self, id: RegionId, offset: usize, length: usize) -> Result<()> {
        let entry = self.entries.get_mut(id.0).ok_or_else(dead)?;
        let bytes = entry.region.len();
        let end = offset.checked_add(length).filter(|&end| end <= bytes && u32::try_from(end).is_ok());
        if length == 0 || end.is_none() {
            return Err(Error::new(
                ErrorCode::InvalidBuffer,
                format!("{length} bytes from offset {offset} on are not inside a region of {bytes} bytes"),
            ));
        }
        entry.users += 1;
        Ok(())
    }

    pub(super) fn end_use(&mut self, id: RegionId) {
        if let Some(entry) = self.entries.get_mut(id.0) {
            entry.users -= 1;
        }
    }

    /// The address `offset` bytes into a region whose use was begun with a range that covers it, and its registration.
    pub(super) fn address(&self, id: RegionId, offset: u32) -> Option<(*mut u8, Option<u32>)> {
        let entry = self.entries.get(id.0)?;
        debug_assert!(offset as usize <= entry.region.len(), "the range was checked when its use began");
        // SAFETY: the offset lies within the region, see above.
        let start = unsafe { entry.region.as_ptr().as_ptr().add(offset as usize) };
        Some((start, entry.registration))
    }
}

fn dead() -> Error {
    Error::new(ErrorCode::InvalidBuffer, "the region is not registered with this provider (any more)")
}
