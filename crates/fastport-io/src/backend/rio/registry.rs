//! The memory that is registered with the system, found by address.
//!
//! Pools register each region that they map, and callers register regions of theirs; a provider has a few dozen of them at
//! most, and looks up the range of every request. So a pool slot, a byte ring, a lease and a caller's region are all the
//! same to the backend, and memory of another provider is simply not found.

use std::cell::RefCell;

use windows_sys::Win32::Networking::WinSock::{RIO_BUF, RIO_BUFFERID};

use super::functions::Functions;
use crate::backend::windows::last_error;
use crate::buffer::{Region, RegionRegistrar};
use crate::error::{Error, ErrorCode, Result};

/// `RIO_INVALID_BUFFERID` (mswsockdef.h).
const INVALID_BUFFER: RIO_BUFFERID = 0xFFFF_FFFF;

#[derive(Clone, Copy)]
struct Registration {
    start: usize,
    bytes: usize,
    buffer: RIO_BUFFERID,
    /// The name by which it is undone.
    number: u32,
}

/// The registrations of one provider and of its pools, which may outlive it.
pub(super) struct Registry {
    functions: Functions,
    /// Sorted by address; registered regions do not overlap.
    registrations: RefCell<Vec<Registration>>,
    last_number: std::cell::Cell<u32>,
}

impl Registry {
    pub(super) fn new(functions: Functions) -> Self {
        Self { functions, registrations: RefCell::default(), last_number: std::cell::Cell::new(0) }
    }

    /// The range as the system names it, if all of it is registered.
    #[inline]
    pub(super) fn find(&self, start: *const u8, bytes: usize) -> Option<RIO_BUF> {
        let registrations = self.registrations.borrow();
        let behind = registrations.partition_point(|registration| registration.start <= start as usize);
        let registration = registrations[..behind].last()?;
        let offset = start as usize - registration.start;
        if offset + bytes > registration.bytes {
            return None;
        }
        Some(RIO_BUF { BufferId: registration.buffer, Offset: offset as u32, Length: bytes as u32 })
    }

    /// Bytes that are registered.
    pub(super) fn bytes(&self) -> usize {
        self.registrations.borrow().iter().map(|registration| registration.bytes).sum()
    }

    fn overlaps(&self, start: usize, bytes: usize) -> bool {
        let registrations = self.registrations.borrow();
        registrations.iter().any(|other| start < other.start + other.bytes && other.start < start + bytes)
    }
}

impl RegionRegistrar for Registry {
    fn register(&self, region: &Region) -> Result<u32> {
        let (start, bytes) = (region.as_ptr().as_ptr(), region.len());
        let length = u32::try_from(bytes).map_err(|_| {
            Error::new(
                ErrorCode::InvalidArgument,
                format!(
                    "a registered region has less than 4 GiB, and this one {bytes} bytes; take more and smaller ones"
                ),
            )
        })?;
        if self.overlaps(start as usize, bytes) {
            return Err(Error::new(ErrorCode::InvalidBuffer, "a part of the region is registered already"));
        }
        // SAFETY: the region is valid memory, and stays so until `unregister`: its pool or the core keeps it.
        let buffer = unsafe { (self.functions.register_buffer)(start.cast_const(), length) };
        if buffer == INVALID_BUFFER {
            return Err(Error::from_os(last_error()).during(format_args!("cannot register {bytes} bytes of memory")));
        }
        let number = self.last_number.get() + 1;
        self.last_number.set(number);
        let registration = Registration { start: start as usize, bytes, buffer, number };
        let mut registrations = self.registrations.borrow_mut();
        let place = registrations.partition_point(|other| other.start < registration.start);
        registrations.insert(place, registration);
        Ok(number)
    }

    fn unregister(&self, number: u32) {
        let mut registrations = self.registrations.borrow_mut();
        let Some(place) = registrations.iter().position(|registration| registration.number == number) else {
            debug_assert!(false, "a registration is undone once");
            return;
        };
        let registration = registrations.remove(place);
        // SAFETY: the caller vouches that no request uses the region.
        unsafe { (self.functions.deregister_buffer)(registration.buffer) };
    }
}
