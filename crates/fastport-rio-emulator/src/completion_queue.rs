//! A completion queue: entries that were not dequeued yet, the credit of its request queues, and its notification.

use std::collections::VecDeque;
use std::sync::Arc;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Networking::WinSock::{RIORESULT, WSAEALREADY, WSAEINVAL};
use windows_sys::Win32::System::IO::{OVERLAPPED, PostQueuedCompletionStatus};

use crate::guard::Guarded;
use crate::request_queue::Direction;
use crate::rules::{Judge, Rule};

/// Where a notification goes.
#[derive(Clone, Copy)]
pub(crate) struct Notification {
    pub(crate) port: HANDLE,
    pub(crate) key: usize,
    pub(crate) overlapped: *mut OVERLAPPED,
}

// SAFETY: a port may be posted to from any thread, and the OVERLAPPED is only handed through, never read.
unsafe impl Send for Notification {}

/// A completion that waits to be dequeued.
pub(crate) struct Entry {
    pub(crate) status: i32,
    pub(crate) bytes: u32,
    pub(crate) socket_context: u64,
    pub(crate) request_context: u64,
    pub(crate) notifies: bool,
    /// Whose quota comes back when it is dequeued.
    pub(crate) queue: isize,
    pub(crate) direction: Direction,
    /// The registration that it uses, and the range of it.
    pub(crate) buffer: isize,
    pub(crate) range: Guarded,
}

impl Entry {
    pub(crate) const fn result(&self) -> RIORESULT {
        RIORESULT {
            Status: self.status,
            BytesTransferred: self.bytes,
            SocketContext: self.socket_context,
            RequestContext: self.request_context,
        }
    }
}

/// An armed notification.
struct Armed {
    /// Turns to wait once it is due.
    hold: u32,
    /// Fires without any entry.
    for_nothing: bool,
}

pub(crate) struct CompletionQueue {
    pub(crate) judge: Arc<Judge>,
    pub(crate) size: u32,
    /// Entries that request queues may fill.
    pub(crate) charged: u32,
    pub(crate) entries: VecDeque<Entry>,
    pub(crate) notification: Option<Notification>,
    armed: Option<Armed>,
    /// The caller was told that the queue is corrupt.
    pub(crate) told_corrupt: bool,
}

impl CompletionQueue {
    pub(crate) fn new(judge: Arc<Judge>, size: u32, notification: Option<Notification>) -> Self {
        Self { judge, size, charged: 0, entries: VecDeque::new(), notification, armed: None, told_corrupt: false }
    }

    pub(crate) const fn room(&self) -> u32 {
        self.size - self.charged
    }

    /// Asks for one notification, when a notifying entry waits.
    pub(crate) fn arm(&mut self) -> Result<(), i32> {
        if self.notification.is_none() {
            self.judge.report(Rule::OneShotNotify, "RIONotify on a queue that was created for polling");
            return Err(WSAEINVAL);
        }
        if self.armed.is_some() {
            self.judge.report(Rule::OneShotNotify, "RIONotify on a queue that is armed already");
            return Err(WSAEALREADY);
        }
        let for_nothing = self.judge.one_in(self.judge.settings.disorder.spurious_one_in);
        self.armed = Some(Armed { hold: self.judge.hold(), for_nothing });
        Ok(())
    }

    /// Fires the notification if it is due. Returns true if one is held and must be looked at again.
    pub(crate) fn turn(&mut self) -> bool {
        let Some(armed) = &mut self.armed else { return false };
        if !armed.for_nothing && !self.entries.iter().any(|entry| entry.notifies) {
            return false;
        }
        if armed.hold > 0 {
            armed.hold -= 1;
            return true;
        }
        self.armed = None;
        let Some(notification) = self.notification else { return false };
        // SAFETY: plain values; whether the port is still one is what the result tells.
        let posted =
            unsafe { PostQueuedCompletionStatus(notification.port, 0, notification.key, notification.overlapped) };
        if posted == 0 {
            self.judge.report(Rule::QueueTeardown, "the port of a completion queue was closed before the queue");
        }
        false
    }
}
