//! Exclusive use of an engine by many threads: one processes completions, and may sleep while it does; the others visit.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Something that one thread uses at a time.
///
/// The processing thread sleeps in the kernel while it holds the content, so whoever else wants it has that sleep ended,
/// and the next turn of processing begins when all visitors have left.
pub(super) struct Gate<T> {
    content: Mutex<T>,
    line: Mutex<Line>,
    changed: Condvar,
}

#[derive(Default)]
struct Line {
    /// Threads that are with the content, or want to be.
    visitors: usize,
    processing: bool,
}

impl<T> Gate<T> {
    pub(super) fn new(content: T) -> Self {
        Self { content: Mutex::new(content), line: Mutex::default(), changed: Condvar::new() }
    }

    /// Runs `body` with the content, after `wake` ended the sleep of the thread that processes, if there is one.
    pub(super) fn visit<R>(&self, wake: impl FnOnce(), body: impl FnOnce(&mut T) -> R) -> R {
        let mut line = lock(&self.line);
        line.visitors += 1;
        let is_asleep = line.processing;
        drop(line);
        let _leaving = Leaving(self);
        if is_asleep {
            wake();
        }
        body(&mut lock(&self.content))
    }

    /// Runs `body` with the content, as the one who processes; `None` if others held it until the deadline.
    pub(super) fn process<R>(&self, deadline: Option<Instant>, body: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut line = lock(&self.line);
        while line.visitors > 0 || line.processing {
            line = match deadline {
                None => self.changed.wait(line).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    self.changed.wait_timeout(line, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        line.processing = true;
        drop(line);
        let _turn = Turn(self);
        Some(body(&mut lock(&self.content)))
    }
}

/// A visitor on the way out, however the visit ended.
struct Leaving<'a, T>(&'a Gate<T>);

impl<T> Drop for Leaving<'_, T> {
    fn drop(&mut self) {
        let mut line = lock(&self.0.line);
        line.visitors -= 1;
        if line.visitors == 0 {
            self.0.changed.notify_all();
        }
    }
}

/// The turn of the thread that processes.
struct Turn<'a, T>(&'a Gate<T>);

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        lock(&self.0.line).processing = false;
        self.0.changed.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic with the content is a bug that its caller has been told of; the content is still there to be shut down.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn visitors_get_in_while_a_thread_processes_without_a_pause() {
        let gate = Gate::new(0);
        let woken = AtomicUsize::new(0);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // Sleeps, as a provider would, until a visitor wakes it.
                    gate.process(None, |_| {
                        while woken.load(Ordering::Acquire) == 0 && !done.load(Ordering::Relaxed) {
                            thread::yield_now();
                        }
                        woken.store(0, Ordering::Release);
                    });
                }
            });
            for _ in 0..100 {
                gate.visit(|| woken.store(1, Ordering::Release), |count| *count += 1);
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(gate.visit(|| (), |count| *count), 100);
    }

    #[test]
    fn a_second_thread_that_processes_waits_for_its_turn_no_longer_than_its_limit() {
        let gate = Gate::new(());
        gate.process(None, |()| {
            let deadline = Instant::now() + Duration::from_millis(5);
            thread::scope(|scope| {
                let second = scope.spawn(|| gate.process(Some(deadline), |()| ()));
                assert!(second.join().unwrap().is_none());
            });
        });
        assert!(gate.process(Some(Instant::now()), |()| ()).is_some());
    }
}
