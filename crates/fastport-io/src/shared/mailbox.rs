//! The mailbox between the threads: bounded, in order, emptied in one go.

use std::sync::PoisonError;

use crate::error::{Error, ErrorCode, Rejected, Result};
use crate::sync::{Mutex, MutexGuard};
use crate::waker::Waker;

/// What other threads have posted to the owner of a provider, and the owner has not taken yet.
///
/// Posting costs a short lock. It wakes the owner only if the owner said that it goes to sleep
/// ([`Mailbox::take_before_sleep`]), so that posting to a busy owner takes no system call.
#[derive(Debug)]
pub struct Mailbox<T> {
    queue: Mutex<Queue<T>>,
    limit: usize,
    waker: Waker,
}

#[derive(Debug)]
struct Queue<T> {
    /// False once the provider was dropped.
    open: bool,
    /// The owner took everything and went to sleep, and nobody has woken it since.
    asleep: bool,
    posted: Vec<T>,
}

impl<T> Mailbox<T> {
    /// A mailbox for at most `limit` requests, whose owner `waker` wakes.
    pub fn new(limit: usize, waker: Waker) -> Self {
        Self { queue: Mutex::new(Queue { open: true, asleep: false, posted: Vec::new() }), limit, waker }
    }

    /// Posts what is made of `content`.
    ///
    /// # Errors
    /// `NoResources` while the mailbox is full, `NotInitialized` once it was closed; `content` comes back.
    pub fn post<C>(&self, content: C, make: impl FnOnce(C) -> T) -> Result<(), Rejected<C>> {
        let mut queue = self.lock();
        if let Err(error) = self.check(&queue) {
            return Err(Rejected { error, returned: content });
        }
        queue.posted.push(make(content));
        self.wake_sleeper(queue);
        Ok(())
    }

    /// Posts all of `items`, one behind another, until one finds no room. Returns how many were posted, and why not more.
    pub fn post_all(&self, items: impl IntoIterator<Item = T>) -> (usize, Result<()>) {
        let mut queue = self.lock();
        let before = queue.posted.len();
        let mut outcome = Ok(());
        for item in items {
            outcome = self.check(&queue);
            if outcome.is_err() {
                break;
            }
            queue.posted.push(item);
        }
        let posted = queue.posted.len() - before;
        if posted > 0 {
            self.wake_sleeper(queue);
        }
        (posted, outcome)
    }

    /// For the owner: exchanges what was posted for `empty`, which lends its memory to the next requests.
    pub fn take(&self, empty: &mut Vec<T>) {
        debug_assert!(empty.is_empty(), "requests are taken once");
        std::mem::swap(&mut self.lock().posted, empty);
    }

    /// For the owner: takes what was posted, and has whoever posts from now on wake it, until [`Mailbox::awake`].
    pub fn take_before_sleep(&self, empty: &mut Vec<T>) {
        debug_assert!(empty.is_empty(), "requests are taken once");
        let mut queue = self.lock();
        std::mem::swap(&mut queue.posted, empty);
        queue.asleep = true;
    }

    /// For the owner: it does not sleep any more.
    pub fn awake(&self) {
        self.lock().asleep = false;
    }

    /// Refuses everything from now on, and returns what was posted.
    pub fn close(&self) -> Vec<T> {
        let mut queue = self.lock();
        queue.open = false;
        std::mem::take(&mut queue.posted)
    }

    fn check(&self, queue: &Queue<T>) -> Result<()> {
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

    fn wake_sleeper(&self, mut queue: MutexGuard<'_, Queue<T>>) {
        let was_asleep = std::mem::take(&mut queue.asleep);
        // Signalling may take a system call, during which nobody should wait for the lock.
        drop(queue);
        if was_asleep {
            self.waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        // Nothing under the lock leaves the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
