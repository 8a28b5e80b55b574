//! `kqueue(2)` and `kevent(2)`: the two system calls of the selector, and their event in terms of sockets.
//!
//! The structure and its constants differ between the systems (the filter is a signed 16-bit number here and an unsigned
//! 32-bit one there, Apple packs it); what is exported does not. With `--cfg fastport_libkqueue` the calls are those of
//! libkqueue.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

#[cfg(not(fastport_libkqueue))]
use libc as abi;
use rustix::io::{Errno, FdFlags, fcntl_setfd};

/// Tokens travel in `udata`, which is as wide as a pointer.
const _: () = assert!(size_of::<usize>() >= size_of::<u64>(), "the kqueue backend needs a 64-bit system");

/// A kqueue. It may be changed from any thread.
pub(super) struct Queue(OwnedFd);

impl Queue {
    /// `kqueue(2)`. Closed on exec; a child by fork does not get it at all.
    pub(super) fn open() -> Result<Self, Errno> {
        // SAFETY: the call has no arguments.
        let number = unsafe { abi::kqueue() };
        if number < 0 {
            return Err(last_error());
        }
        // SAFETY: the system has just given this descriptor to us, and to nobody else.
        let queue = unsafe { OwnedFd::from_raw_fd(number) };
        fcntl_setfd(&queue, FdFlags::CLOEXEC)?;
        Ok(Self(queue))
    }

    /// Makes changes, in order, up to the first that fails.
    pub(super) fn change(&self, changes: &[Event]) -> Result<(), Errno> {
        // SAFETY: the list is as long as is said; `Event` has the layout of the system's structure. There is no room for
        // events, so the call neither waits nor writes, and tells a failed change as its own error.
        let result = unsafe {
            abi::kevent(
                self.0.as_raw_fd(),
                changes.as_ptr().cast(),
                changes.len() as _,
                std::ptr::null_mut(),
                0,
                std::ptr::null(),
            )
        };
        if result < 0 { Err(last_error()) } else { Ok(()) }
    }

    /// Waits, and fills `events` up to its capacity. `None` waits for ever.
    pub(super) fn wait(&self, events: &mut Vec<Event>, timeout: Option<Duration>) -> Result<(), Errno> {
        events.clear();
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
        });
        // SAFETY: the vector has room for as many events as are asked for, in the layout of the system's structure; the
        // time limit lives until the call returns.
        let count = unsafe {
            abi::kevent(
                self.0.as_raw_fd(),
                std::ptr::null(),
                0,
                events.as_mut_ptr().cast(),
                events.capacity() as _,
                timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref),
            )
        };
        if count < 0 {
            return Err(last_error());
        }
        // SAFETY: the system wrote that many events, at most as many as the capacity.
        unsafe { events.set_len(count as usize) };
        Ok(())
    }
}

/// A change to a queue, or what a queue tells.
#[repr(transparent)]
pub(super) struct Event(abi::kevent);

impl Event {
    /// Tells each arrival, and the end.
    pub(super) fn watch_read(descriptor: BorrowedFd<'_>, token: u64) -> Self {
        let mut change = Self::about(descriptor, token);
        change.0.filter = abi::EVFILT_READ;
        change.0.flags = abi::EV_ADD | abi::EV_CLEAR;
        change
    }

    /// Tells that there is room, now or once there is, and is forgotten.
    pub(super) fn watch_write_once(descriptor: BorrowedFd<'_>, token: u64) -> Self {
        let mut change = Self::about(descriptor, token);
        change.0.filter = abi::EVFILT_WRITE;
        change.0.flags = abi::EV_ADD | abi::EV_ONESHOT;
        change
    }

    pub(super) fn forget_read(descriptor: BorrowedFd<'_>) -> Self {
        let mut change = Self::about(descriptor, 0);
        change.0.filter = abi::EVFILT_READ;
        change.0.flags = abi::EV_DELETE;
        change
    }

    pub(super) fn forget_write(descriptor: BorrowedFd<'_>) -> Self {
        let mut change = Self::about(descriptor, 0);
        change.0.filter = abi::EVFILT_WRITE;
        change.0.flags = abi::EV_DELETE;
        change
    }

    /// An event that is told once for any number of triggers before it.
    pub(super) fn watch_user(token: u64) -> Self {
        let mut change = Self::empty(token);
        change.0.filter = abi::EVFILT_USER;
        change.0.flags = abi::EV_ADD | abi::EV_CLEAR;
        change
    }

    /// `token` again, because a change may replace what was given before.
    pub(super) fn trigger_user(token: u64) -> Self {
        let mut change = Self::empty(token);
        change.0.filter = abi::EVFILT_USER;
        change.0.fflags = abi::NOTE_TRIGGER;
        change
    }

    fn about(descriptor: BorrowedFd<'_>, token: u64) -> Self {
        let mut change = Self::empty(token);
        change.0.ident = descriptor.as_raw_fd() as usize;
        change
    }

    fn empty(token: u64) -> Self {
        // SAFETY: the structure consists of numbers and a pointer, for which all zeroes are valid on every system.
        let mut event: abi::kevent = unsafe { std::mem::zeroed() };
        event.udata = std::ptr::without_provenance_mut(token as usize);
        Self(event)
    }

    /// What the change had given.
    pub(super) fn token(&self) -> u64 {
        self.0.udata.addr() as u64
    }

    pub(super) fn is_read(&self) -> bool {
        self.0.filter == abi::EVFILT_READ
    }

    pub(super) fn is_write(&self) -> bool {
        self.0.filter == abi::EVFILT_WRITE
    }

    /// The direction is at its end.
    pub(super) fn is_end(&self) -> bool {
        self.0.flags & abi::EV_EOF != 0
    }

    /// The error that ended the connection, which is in `fflags` only at the end of a direction.
    pub(super) fn failure(&self) -> Option<Errno> {
        let number = self.0.fflags as i32;
        (self.is_end() && (1..=LAST_ERROR).contains(&number)).then(|| Errno::from_raw_os_error(number))
    }
}

/// Above every error number of any system.
const LAST_ERROR: i32 = 4095;

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

/// libkqueue's `<sys/event.h>`.
#[cfg(fastport_libkqueue)]
mod abi {
    use std::os::raw::{c_int, c_void};

    #[repr(C)]
    #[allow(non_camel_case_types, reason = "the name in the header")]
    pub(super) struct kevent {
        pub(super) ident: usize,
        pub(super) filter: i16,
        pub(super) flags: u16,
        pub(super) fflags: u32,
        pub(super) data: isize,
        pub(super) udata: *mut c_void,
    }

    pub(super) const EVFILT_READ: i16 = -1;
    pub(super) const EVFILT_WRITE: i16 = -2;
    pub(super) const EVFILT_USER: i16 = -11;

    pub(super) const EV_ADD: u16 = 0x0001;
    pub(super) const EV_DELETE: u16 = 0x0002;
    pub(super) const EV_ONESHOT: u16 = 0x0010;
    pub(super) const EV_CLEAR: u16 = 0x0020;
    pub(super) const EV_EOF: u16 = 0x8000;

    pub(super) const NOTE_TRIGGER: u32 = 0x0100_0000;

    #[link(name = "kqueue")]
    unsafe extern "C" {
        pub(super) fn kqueue() -> c_int;
        pub(super) fn kevent(
            queue: c_int,
            changes: *const kevent,
            change_count: c_int,
            events: *mut kevent,
            event_count: c_int,
            timeout: *const libc::timespec,
        ) -> c_int;
    }
}
