//! The way in: an emulator with its settings, and what a test may ask it.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::disorder::Disorder;
use crate::kernel;
use crate::rules::{Breach, Judge, Rule};
use crate::sockets;

/// What to do about a breach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBreach {
    /// Say which rule was broken and how, and end the process.
    #[default]
    Abort,
    /// Take it down for [`Emulator::breaches`], and answer the call as Windows documents it.
    Record,
}

/// How an emulator behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What to do about a breach.
    pub on_breach: OnBreach,
    /// Rules whose breach is taken down even with [`OnBreach::Abort`]. By default that is [`Rule::RegisteredSocket`]: whoever
    /// is handed a socket can find out only by asking, and Windows refuses without harm.
    pub tolerated: Vec<Rule>,
    /// All disorder comes from this number.
    pub seed: u64,
    /// How much disorder.
    pub disorder: Disorder,
}

impl Default for Settings {
    /// Disorderly, from a fixed seed; aborts on a breach.
    fn default() -> Self {
        Self {
            on_breach: OnBreach::Abort,
            tolerated: vec![Rule::RegisteredSocket],
            seed: 1,
            disorder: Disorder::default(),
        }
    }
}

/// What exists at one moment of the objects that an emulator created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Completion queues that are open.
    pub completion_queues: usize,
    /// Entries of those queues.
    pub queue_entries: u32,
    /// Of these, entries that request queues have taken and not given back.
    pub charged_entries: u32,
    /// Request queues that are not both closed and drained.
    pub request_queues: usize,
    /// Requests whose completion was not dequeued yet.
    pub outstanding: usize,
    /// Of these, requests whose completion waits in a completion queue.
    pub completed: usize,
    /// Registrations of memory.
    pub buffers: usize,
    /// Requests that were ever accepted.
    pub requests_ever: u64,
    /// Of these, deferred ones.
    pub deferred_ever: u64,
    /// Commits of deferred requests.
    pub commits_ever: u64,
    /// The most registrations of memory at once.
    pub most_buffers: usize,
    /// The most entries that the completion queues ever had, in sum.
    pub most_queue_entries: u32,
}

thread_local! {
    #[allow(clippy::missing_const_for_thread_local, reason = "it is const; the lint does not see it for this target")]
    static CURRENT: RefCell<Option<Arc<Judge>>> = const { RefCell::new(None) };
}

/// The emulator for what the creating thread creates: queues and registrations keep its settings wherever they are used.
/// A thread without one gets [`Settings::default`].
pub struct Emulator {
    judge: Arc<Judge>,
    before: Option<Arc<Judge>>,
    /// It stands for its thread.
    _not_send: PhantomData<*const ()>,
}

impl Emulator {
    /// Takes effect at once, until it is dropped.
    pub fn new(settings: Settings) -> Self {
        sockets::intercept();
        let judge = Arc::new(Judge::new(settings));
        let before = CURRENT.replace(Some(Arc::clone(&judge)));
        Self { judge, before, _not_send: PhantomData }
    }

    /// An emulator for a test of the rules themselves: orderly, and breaches are collected.
    pub fn recording() -> Self {
        Self::new(Settings { on_breach: OnBreach::Record, disorder: Disorder::NONE, ..Settings::default() })
    }

    /// The breaches up to now.
    pub fn breaches(&self) -> Vec<Breach> {
        self.judge.breaches()
    }

    /// What exists at this moment.
    pub fn census(&self) -> Census {
        kernel::lock().census(&self.judge)
    }

    /// The next request is refused: the call returns FALSE with this code.
    pub fn refuse_next_request(&self, code: i32) {
        self.refuse_request_after(0, code);
    }

    /// The request after so many others is refused with this code.
    pub fn refuse_request_after(&self, others: u32, code: i32) {
        self.judge.faults().refuse_request = Some((others, code));
    }

    /// The next request is accepted, does nothing, and completes with this status.
    pub fn fail_next_request(&self, status: i32) {
        self.judge.faults().fail_request = Some(status);
    }

    /// From now on creating a request queue is refused with this code; `None` ends it.
    pub fn refuse_request_queues(&self, code: Option<i32>) {
        self.judge.faults().refuse_queue = code;
    }

    /// From now on the completion queues are corrupt.
    pub fn corrupt_completion_queues(&self) {
        self.judge.faults().corrupt = true;
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        CURRENT.replace(self.before.take());
    }
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emulator").field("settings", &self.judge.settings).finish_non_exhaustive()
    }
}

/// The judge of what this thread creates.
pub(crate) fn current_judge() -> Arc<Judge> {
    CURRENT
        .with_borrow_mut(|current| Arc::clone(current.get_or_insert_with(|| Arc::new(Judge::new(Settings::default())))))
}
