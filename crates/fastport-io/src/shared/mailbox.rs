//! The mailbox between the threads: bounded, in order, emptied in one go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorCode, Rejected, Result};
use crate::waker::Waker;

/// What other threads have posted to the owner of a provider, and the owner has not taken yet.
///
/// Posting costs a short lock. It wakes the owner only if the owner said that it goes to sleep
/// ([`Mailbox::take_before_sleep`]), so that posting to a busy owner takes no system call.
#[derive(Debug)]
pub struct Mailbox<T> {
    queue: Mutex<Queue<T>>,
    /// The owner took everything and went to sleep, and nobody has woken it since. Set under the lock, so whoever posts
    /// later sees it.
    asleep: AtomicBool,
    limit: usize,
    waker: Waker,
}

#[derive(Debug)]
struct Queue<T> {
    /// False once the provider was dropped.
    open: bool,
    posted: Vec<T>,
}

impl<T> Mailbox<T> {
    /// A mailbox for at most `limit` requests, whose owner `waker` wakes.
    pub const fn new(limit: usize, waker: Waker) -> Self {
        let queue = Mutex::new(Queue { open: true, posted: Vec::new() });
        Self { queue, asleep: AtomicBool::new(false), limit, waker }
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
        // Signalling may take a system call, during which nobody should wait for the lock.
        drop(queue);
        self.wake_sleeper();
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
        drop(queue);
        if posted > 0 {
            self.wake_sleeper();
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
        self.asleep.store(true, Ordering::Relaxed);
    }

    /// For the owner: it does not sleep any more.
    pub fn awake(&self) {
        // A poster who sees the old value wakes in vain, no more.
        self.asleep.store(false, Ordering::Relaxed);
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

    fn wake_sleeper(&self) {
        // The lock that was held since the owner set it makes the flag visible.
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            self.waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        // Nothing under the lock leaves the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
