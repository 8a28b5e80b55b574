//! The mailbox between the threads: bounded, in order, emptied in one go.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::remote::{SharedBytes, Ticket};
use crate::error::{Error, ErrorCode, Rejected};
use crate::operation::{CloseMode, SocketId};
use crate::socket::Socket;
use crate::waker::Waker;

/// What another thread asks the owner to do.
#[derive(Debug)]
pub(super) enum Request {
    Attach(Socket),
    Close(SocketId, CloseMode),
    Accept(SocketId),
    AcceptStream(SocketId),
    Connect(SocketId, SocketAddr),
    Send(SocketId, SharedBytes),
    Receive(SocketId, Box<[u8]>),
    ReceiveStream(SocketId),
    /// The deadline, so that time spent in the mailbox counts.
    Timeout(Instant),
    Cancel(Ticket),
}

/// A request on its way.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) ticket: Ticket,
    pub(super) context: u64,
    pub(super) request: Request,
}

/// Requests that the owner has not taken yet.
#[derive(Debug)]
pub(super) struct Mailbox {
    queue: Mutex<Queue>,
    limit: usize,
    waker: Waker,
}

#[derive(Debug)]
struct Queue {
    /// False once the provider was dropped.
    open: bool,
    posted: Vec<Posted>,
}

/// Counted for the whole process, so that a ticket of one provider means nothing to another.
static TICKETS: AtomicU64 = AtomicU64::new(1);

impl Mailbox {
    pub(super) fn new(limit: usize, waker: Waker) -> Self {
        Self { queue: Mutex::new(Queue { open: true, posted: Vec::new() }), limit, waker }
    }

    /// Posts the request that is made of `content`, which comes back if it is refused.
    pub(super) fn post<T>(
        &self,
        context: u64,
        content: T,
        request: impl FnOnce(T) -> Request,
    ) -> Result<Ticket, Rejected<T>> {
        let mut queue = self.lock();
        if let Err(error) = self.check(&queue) {
            return Err(Rejected { error, returned: content });
        }
        let ticket = Ticket(TICKETS.fetch_add(1, Ordering::Relaxed));
        queue.posted.push(Posted { ticket, context, request: request(content) });
        // Signalling may take a system call, during which nobody should wait for the lock.
        drop(queue);
        self.waker.wake();
        Ok(ticket)
    }

    fn check(&self, queue: &Queue) -> Result<(), Error> {
        if !queue.open {
            return Err(Error::new(ErrorCode::NotInitialized, "the provider was dropped by its thread"));
        }
        if queue.posted.len() >= self.limit {
            return Err(Error::new(
                ErrorCode::NoResources,
                format!("{} requests wait for the provider's thread, which is the limit; try again later", self.limit),
            ));
        }
        Ok(())
    }

    /// Exchanges what was posted for `empty`, which lends its memory to the next requests.
    pub(super) fn take(&self, empty: &mut Vec<Posted>) {
        debug_assert!(empty.is_empty(), "requests are taken once");
        std::mem::swap(&mut self.lock().posted, empty);
    }

    /// Refuses everything from now on, and drops what was posted.
    pub(super) fn close(&self) {
        let mut queue = self.lock();
        queue.open = false;
        let posted = std::mem::take(&mut queue.posted);
        // Dropping sockets closes them, which takes its time.
        drop(queue);
        drop(posted);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing under the lock leaves the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
