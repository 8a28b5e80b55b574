//! The rules of Registered I/O, and what happens to those who break one.

use std::fmt;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::disorder::Random;
use crate::emulator::{OnBreach, Settings};

/// A rule of the interface. Sources: the Win32 reference of each `LPFN_RIO*` function, and what Microsoft's own users of
/// Registered I/O (ctsTraffic, msquic) take care of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rule {
    /// The table's `cbSize` is set before it is asked for.
    TableSize = 1,
    /// A socket is created with `WSA_FLAG_REGISTERED_IO`, one for `AcceptEx` or `ConnectEx` too, and has one request queue
    /// for life.
    RegisteredSocket = 2,
    /// The completion queue carries the port; requests themselves never show there.
    QueueCarriesPort = 3,
    /// A completion queue has 1 ..= 0x8000000 entries, and for a port a non-NULL OVERLAPPED.
    QueueSize = 4,
    /// A request queue has living completion queues, at least one request, one buffer a request, and room for its limits.
    QueueLimits = 5,
    /// A completion queue grows before the request queue that needs the room is created, and never shrinks below need.
    GrowFirst = 6,
    /// No more requests are outstanding than the request queue's limit; deferred ones count at once.
    Outstanding = 7,
    /// A request has one buffer, which on TCP is neither NULL nor empty.
    OneBuffer = 8,
    /// The range lies inside a living registration, and is left alone until the completion.
    RangeOwnership = 9,
    /// Deferred requests are committed, sends and receives separately; a commit does nothing else.
    Commit = 10,
    /// The last request of a silent batch notifies.
    SilentBatch = 11,
    /// On one request queue, send, receive and resize exclude each other.
    RequestExclusion = 12,
    /// On one completion queue, dequeue, notify and resize exclude each other, and a corrupt one is left alone.
    QueueExclusion = 13,
    /// Only dequeuing frees the entry, the quota and the buffer.
    DequeueFrees = 14,
    /// A notification is armed once, and fires once.
    OneShotNotify = 15,
    /// A notification carries the queue's own key and OVERLAPPED.
    OwnOverlapped = 16,
    /// 0 is success, everything else an error; success with 0 bytes received is the end.
    StatusIsCode = 17,
    /// Memory is registered by valid pointer and length, and deregistered when no request uses it.
    Registration = 18,
    /// `closesocket` ends the request queue: it is not touched any more, and its memory stays until the last completion.
    SocketTeardown = 19,
    /// A completion queue is closed when its request queues are drained, and before its port.
    QueueTeardown = 20,
    /// Credit comes back when closed and drained; nothing else about order or time is promised.
    NothingPromised = 21,
}

impl Rule {
    /// The number of the rule.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which one.
    pub rule: Rule,
    /// What the caller did.
    pub what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {} of Registered I/O is broken ({:?}): {}", self.rule.number(), self.rule, self.what)
    }
}

/// Who watches the objects that one emulator created.
pub(crate) struct Judge {
    pub(crate) settings: Settings,
    random: Mutex<Random>,
    breaches: Mutex<Vec<Breach>>,
    faults: Mutex<Faults>,
    totals: Mutex<Totals>,
}

/// What was ever asked of one emulator.
#[derive(Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) requests: u64,
    pub(crate) deferred: u64,
    pub(crate) commits: u64,
    pub(crate) most_buffers: usize,
    pub(crate) most_entries: u32,
}

/// Failures that a test has ordered.
#[derive(Default)]
pub(crate) struct Faults {
    /// A request is refused with this code, after so many more were let through.
    pub(crate) refuse_request: Option<(u32, i32)>,
    /// The next request is accepted and completes with this status.
    pub(crate) fail_request: Option<i32>,
    /// Creating a request queue is refused with this code, as long as it is set.
    pub(crate) refuse_queue: Option<i32>,
    /// Completion queues are corrupt.
    pub(crate) corrupt: bool,
}

impl Faults {
    /// What shall become of the next request: it is refused, completes with a status, or is carried out.
    pub(crate) fn next_request(&mut self) -> Result<Option<i32>, i32> {
        match self.refuse_request.take() {
            Some((0, code)) => return Err(code),
            Some((others, code)) => self.refuse_request = Some((others - 1, code)),
            None => {}
        }
        Ok(self.fail_request.take())
    }
}

impl Judge {
    pub(crate) fn new(settings: Settings) -> Self {
        let random = Mutex::new(Random::new(settings.seed));
        Self { settings, random, breaches: Mutex::default(), faults: Mutex::default(), totals: Mutex::default() }
    }

    /// Takes a breach down, or ends the process.
    pub(crate) fn report(&self, rule: Rule, what: impl Into<String>) {
        let breach = Breach { rule, what: what.into() };
        if self.settings.on_breach == OnBreach::Abort && !self.settings.tolerated.contains(&rule) {
            // Straight to the stream: captured test output is lost with the process.
            let _ = writeln!(std::io::stderr(), "\n{breach} (seed {})", self.settings.seed);
            std::process::abort();
        }
        self.breaches.lock().unwrap_or_else(PoisonError::into_inner).push(breach);
    }

    pub(crate) fn breaches(&self) -> Vec<Breach> {
        self.breaches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True once in `chance` times; never if that is 0.
    pub(crate) fn one_in(&self, chance: u32) -> bool {
        chance > 0 && self.below(chance) == 0
    }

    /// A number below `limit`.
    pub(crate) fn below(&self, limit: u32) -> u32 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).below(limit)
    }

    /// For how many turns of the engine something is held.
    pub(crate) fn hold(&self) -> u32 {
        let disorder = &self.settings.disorder;
        if self.one_in(disorder.hold_one_in) { 1 + self.below(disorder.longest_hold_turns.max(1)) } else { 0 }
    }

    pub(crate) fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
