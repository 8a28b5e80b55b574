//! Waking a provider that waits, from any thread.

use std::fmt;
use std::sync::Arc;

use crate::sync::{AtomicBool, Ordering};

/// The system's part: make a wait that goes on, or the next one, return. Called only when no earlier call is unanswered.
pub(crate) trait WakeSignal: Send + Sync {
    fn signal(&self);
}

/// Wakes one provider out of `process_completions`, now or at its next wait. Cheap to clone; may outlive the provider.
///
/// Wakes coalesce: however many threads call [`Waker::wake`] before the provider looks, it is signalled once.
#[derive(Clone)]
pub struct Waker {
    shared: Arc<Shared>,
}

struct Shared {
    /// Set by the first wake, cleared by the provider before it looks at what the wakers left for it.
    pending: AtomicBool,
    signal: Box<dyn WakeSignal>,
}

impl Waker {
    pub(crate) fn new(signal: Box<dyn WakeSignal>) -> Self {
        Self { shared: Arc::new(Shared { pending: AtomicBool::new(false), signal }) }
    }

    /// Makes the current or the next `process_completions` return without waiting any longer.
    ///
    /// What the caller wrote before is visible to the provider's thread after it returned.
    pub fn wake(&self) {
        // The release half publishes what the caller left in a mailbox; the acquire half pairs with `take`, so that of
        // many wakers the one who finds the flag clear signals after the provider stopped looking.
        if !self.shared.pending.swap(true, Ordering::AcqRel) {
            self.shared.signal.signal();
        }
    }

    /// True once for each signal. The provider calls it when the signal arrived.
    pub(crate) fn take(&self) -> bool {
        self.shared.pending.swap(false, Ordering::AcqRel)
    }
}

/// To try out mailboxes without a provider.
#[cfg(fastport_loom)]
impl Waker {
    /// One that signals by a call.
    pub fn calling(signal: impl Fn() + Send + Sync + 'static) -> Self {
        struct Call<F>(F);
        impl<F: Fn() + Send + Sync> WakeSignal for Call<F> {
            fn signal(&self) {
                (self.0)();
            }
        }
        Self::new(Box::new(Call(signal)))
    }

    /// What a provider does when the signal has arrived.
    pub fn answer(&self) -> bool {
        self.take()
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").field("pending", &self.shared.pending).finish_non_exhaustive()
    }
}
