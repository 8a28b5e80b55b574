//! The completion queue of a provider: its size and the credit of request queues, its notification, dequeuing.
//!
//! Every request queue that is bound to the queue takes as many entries of it as it may have requests outstanding, so the
//! queue cannot overflow. The entries are taken before the request queue is created, for which the queue grows if it has
//! to, and given back when the socket is closed *and* its last completion was dequeued: only then does the system give
//! them back too.

use std::ffi::c_void;
use std::sync::Arc;

use windows_sys::Win32::Networking::WinSock::{
    RIO_CORRUPT_CQ, RIO_CQ, RIO_IOCP_COMPLETION, RIO_NOTIFICATION_COMPLETION, RIO_NOTIFICATION_COMPLETION_0,
    RIO_NOTIFICATION_COMPLETION_0_1, RIORESULT, WSAEALREADY,
};
use windows_sys::Win32::System::IO::OVERLAPPED;

use super::functions::Functions;
use crate::backend::windows::{CompletionPort, key, last_error};
use crate::config::{RioNotification, RioOptions};
use crate::error::{Error, ErrorCode, Result};

/// `RIO_INVALID_CQ` (mswsockdef.h).
const INVALID_QUEUE: RIO_CQ = 0;

/// The key of the queue's packets at the port.
pub(super) const NOTIFICATION_KEY: usize = key::FIRST_OF_BACKEND;

pub(super) struct CompletionQueue {
    functions: Functions,
    queue: RIO_CQ,
    entries: u32,
    max_entries: u32,
    /// Entries that request queues have taken.
    taken: u32,
    /// `None` in polling mode.
    notification: Option<Notification>,
    /// The queue is corrupt, or what it refers to must stay: it is left to the end of the process.
    abandoned: bool,
}

/// What a packet of the queue refers to; it lives longer than the queue.
struct Notification {
    overlapped: *mut OVERLAPPED,
    armed: bool,
    /// Keeps the port open until the queue is closed.
    _port: Arc<CompletionPort>,
}

impl CompletionQueue {
    pub(super) fn new(functions: Functions, options: &RioOptions, port: &Arc<CompletionPort>) -> Result<Self> {
        let notification = (options.notification == RioNotification::Port).then(|| Notification {
            overlapped: Box::into_raw(Box::new(OVERLAPPED::default())),
            armed: false,
            _port: Arc::clone(port),
        });
        let asked = notification.as_ref().map(|notification| RIO_NOTIFICATION_COMPLETION {
            Type: RIO_IOCP_COMPLETION,
            Anonymous: RIO_NOTIFICATION_COMPLETION_0 {
                Iocp: RIO_NOTIFICATION_COMPLETION_0_1 {
                    IocpHandle: port.handle(),
                    CompletionKey: std::ptr::without_provenance_mut::<c_void>(NOTIFICATION_KEY),
                    Overlapped: notification.overlapped.cast(),
                },
            },
        });
        let asked = asked.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: NULL, or a valid structure; port and OVERLAPPED live until the queue was closed.
        let queue = unsafe { (functions.create_completion_queue)(options.completion_entries, asked) };
        let mut created = Self {
            functions,
            queue,
            entries: options.completion_entries,
            max_entries: options.max_completion_entries,
            taken: 0,
            notification,
            abandoned: false,
        };
        if queue == INVALID_QUEUE {
            let error = Error::from_os(last_error());
            created.free_overlapped();
            created.abandoned = true;
            return Err(error.during(format_args!("cannot create a completion queue of {} entries", created.entries)));
        }
        Ok(created)
    }

    /// The queue, for creating request queues.
    pub(super) const fn raw(&self) -> RIO_CQ {
        self.queue
    }

    pub(super) const fn entries(&self) -> u32 {
        self.entries
    }

    pub(super) const fn taken(&self) -> u32 {
        self.taken
    }

    /// True if the queue tells its port; otherwise it has to be looked at again and again.
    pub(super) const fn notifies(&self) -> bool {
        self.notification.is_some()
    }

    /// Takes entries for a request queue that is to be created, and grows for it if need be.
    ///
    /// # Errors
    /// `NoResources` at the configured maximum.
    pub(super) fn take(&mut self, count: u32) -> Result<()> {
        let needed = self.taken + count;
        if needed > self.entries {
            self.grow(needed)?;
        }
        self.taken = needed;
        Ok(())
    }

    /// The entries of a request queue come back: its socket is closed, and no completion is to come.
    pub(super) fn give_back(&mut self, count: u32) {
        debug_assert!(self.taken >= count, "entries are given back once");
        self.taken -= count;
    }

    /// Called by the one thread that dequeues, so the calls exclude each other.
    fn grow(&mut self, needed: u32) -> Result<()> {
        if needed > self.max_entries {
            return Err(Error::new(
                ErrorCode::NoResources,
                format!(
                    "the sockets of this provider have taken {} of {} completion entries; raise \
                     `rio.max_completion_entries` or use more providers",
                    self.taken, self.max_entries
                ),
            ));
        }
        let entries = needed.max(self.entries.saturating_mul(2)).min(self.max_entries);
        // SAFETY: the queue is open.
        if unsafe { (self.functions.resize_completion_queue)(self.queue, entries) } == 0 {
            let error = Error::from_os(last_error());
            return Err(error.during(format_args!("cannot grow the completion queue to {entries} entries")));
        }
        tracing::debug!(entries, "the completion queue grew");
        self.entries = entries;
        Ok(())
    }

    /// Takes completions out, as many as `results` has room for, and returns how many there were.
    ///
    /// # Errors
    /// If the queue is corrupt. It must not be used any more.
    pub(super) fn dequeue(&mut self, results: &mut [RIORESULT]) -> Result<usize> {
        // SAFETY: the queue is open, and the array has as many results as the call is told.
        let count = unsafe { (self.functions.dequeue)(self.queue, results.as_mut_ptr(), results.len() as u32) };
        if count == RIO_CORRUPT_CQ {
            self.abandoned = true;
            return Err(Error::new(
                ErrorCode::OperationFailed,
                "the completion queue of Registered I/O is corrupt, so what is in flight cannot be told; drop this \
                 provider and open a new one",
            ));
        }
        Ok(count as usize)
    }

    /// Asks for one packet at the port when a completion is there, unless one was asked for already.
    pub(super) fn arm(&mut self) -> Result<()> {
        let Some(notification) = &mut self.notification else { return Ok(()) };
        if notification.armed {
            return Ok(());
        }
        // SAFETY: the queue is open; the call returns its error itself.
        match unsafe { (self.functions.notify)(self.queue) } {
            0 | WSAEALREADY => notification.armed = true,
            code => return Err(Error::from_os(code).during("cannot be notified of completions")),
        }
        Ok(())
    }

    /// The packet came, perhaps for nothing: the next sleep needs a new one.
    pub(super) fn disarm(&mut self) {
        if let Some(notification) = &mut self.notification {
            notification.armed = false;
        }
    }

    /// Leaves the queue and what it refers to as they are.
    pub(super) fn abandon(&mut self) {
        self.abandoned = true;
    }

    fn free_overlapped(&mut self) {
        if let Some(notification) = self.notification.take() {
            // SAFETY: it was made from a box, and no queue refers to it any more.
            drop(unsafe { Box::from_raw(notification.overlapped) });
        }
    }
}

impl Drop for CompletionQueue {
    fn drop(&mut self) {
        if self.abandoned {
            // The system may still tell the port.
            std::mem::forget(self.notification.take());
            return;
        }
        // SAFETY: the provider was drained, so no request is outstanding. A notification that was fired and not
        // collected dies with the port, which only this provider and its wakers hold and nobody waits at.
        unsafe { (self.functions.close_completion_queue)(self.queue) };
        self.free_overlapped();
    }
}
