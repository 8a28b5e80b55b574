//! Where the control thread and the threads of the load generator meet.
//!
//! A run has stages. The control thread starts a stage by sending one request, the *spark*, on every session; from then on
//! each session sends for itself until it has done its part, and signs off. The stage is over when no session is missing.
//!
//! ```text
//!  Connecting ──▶ WarmUp ──▶ Measured ──▶ Ending
//! ```
//!
//! Sessions sign off once a stage, so the lock is not on the path of a packet.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastport::SessionHandle;

use super::tally::Tally;

/// What the sessions are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Connecting,
    WarmUp,
    Measured,
    /// The control thread closes the sessions; their end is no loss.
    Ending,
}

/// How much each session sends in a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// This many requests, the spark included.
    Requests(u32),
    /// As many as there is time for, on the process's clock.
    UntilNs(u64),
}

/// The state of a run, shared by all its threads.
#[derive(Debug)]
pub(super) struct Roster {
    state: Mutex<State>,
    changed: Condvar,
    /// Responses so far, reported in steps: for the progress bar, and to notice a stall.
    responses: AtomicU64,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    share: Share,
    /// Sessions that stand.
    live: u32,
    /// Live sessions that have not signed off in this stage.
    at_work: u32,
    failed_connects: u32,
    /// Sessions that ended by themselves.
    losses: u32,
    /// All that ever stood, with their tokens.
    sessions: Vec<(u64, SessionHandle)>,
    first_fault: Option<String>,
    tally: Tally,
}

/// How connecting stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connects {
    pub(super) connected: u32,
    pub(super) failed: u32,
}

impl State {
    fn connects(&self) -> Connects {
        Connects { connected: self.sessions.len() as u32, failed: self.failed_connects }
    }
}

impl Connects {
    /// Connects whose end is known.
    pub(super) fn settled(self) -> u32 {
        self.connected + self.failed
    }
}

/// What is left when all threads are gone.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) tally: Tally,
    pub(super) losses: u32,
    pub(super) first_fault: Option<String>,
}

impl Roster {
    pub(super) fn new() -> Self {
        let state = State {
            stage: Stage::Connecting,
            share: Share::Requests(0),
            live: 0,
            at_work: 0,
            failed_connects: 0,
            losses: 0,
            sessions: Vec::new(),
            first_fault: None,
            tally: Tally::new(),
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), responses: AtomicU64::new(0) }
    }

    // The control thread's side.

    /// How connecting stands.
    pub(super) fn connects(&self) -> Connects {
        self.lock().connects()
    }

    /// Sleeps until this many connects have succeeded or failed, at most for `limit`; tells how many have.
    pub(super) fn wait_for_connects(&self, settled: u32, limit: Duration) -> Connects {
        let state = self.wait(limit, |state| state.connects().settled() >= settled);
        state.connects()
    }

    /// All sessions that ever stood, with the tokens that they were connected with.
    pub(super) fn sessions(&self) -> Vec<(u64, SessionHandle)> {
        self.lock().sessions.clone()
    }

    /// Starts a stage: every live session is at work until it signs off. To be called before the sparks.
    pub(super) fn begin(&self, stage: Stage, share: Share) {
        let mut state = self.lock();
        debug_assert!(stage > state.stage, "stages follow one another");
        state.stage = stage;
        state.share = share;
        state.at_work = state.live;
    }

    /// Sleeps until every session has signed off or ended, at most for `limit`; tells whether they have.
    pub(super) fn wait_for_stage(&self, limit: Duration) -> bool {
        self.wait(limit, |state| state.at_work == 0).at_work == 0
    }

    /// Responses so far, up to date within a tick.
    pub(super) fn responses(&self) -> u64 {
        self.responses.load(Ordering::Relaxed)
    }

    /// What all threads deposited. Complete when the service was stopped.
    pub(super) fn summary(&self) -> Summary {
        let mut state = self.lock();
        Summary {
            tally: std::mem::replace(&mut state.tally, Tally::new()),
            losses: state.losses,
            first_fault: state.first_fault.take(),
        }
    }

    // The load generator's side.

    /// A session stands.
    pub(super) fn connected(&self, token: u64, session: SessionHandle) {
        let mut state = self.lock();
        state.live += 1;
        state.sessions.push((token, session));
        self.changed.notify_all();
    }

    /// A session could not be made.
    pub(super) fn connect_failed(&self, fault: String) {
        let mut state = self.lock();
        state.failed_connects += 1;
        state.first_fault.get_or_insert(fault);
        self.changed.notify_all();
    }

    /// The stage that runs, and each session's share in it.
    pub(super) fn stage(&self) -> (Stage, Share) {
        let state = self.lock();
        (state.stage, state.share)
    }

    /// A session has done its part of the stage.
    pub(super) fn sign_off(&self) {
        let mut state = self.lock();
        state.at_work -= 1;
        if state.at_work == 0 {
            self.changed.notify_all();
        }
    }

    /// A session has ended, having signed off last in `signed_off`.
    pub(super) fn closed(&self, signed_off: Stage, describe: impl FnOnce() -> String) {
        let mut state = self.lock();
        state.live -= 1;
        if state.stage == Stage::Ending {
            return;
        }
        state.losses += 1;
        state.first_fault.get_or_insert_with(describe);
        if signed_off != state.stage {
            state.at_work -= 1;
        }
        self.changed.notify_all();
    }

    /// Something went wrong on a session; the first report is kept.
    pub(super) fn fault(&self, fault: String) {
        self.lock().first_fault.get_or_insert(fault);
    }

    /// Adds to [`Roster::responses`].
    pub(super) fn add_responses(&self, count: u64) {
        self.responses.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes over what a thread has counted, at its end.
    pub(super) fn deposit(&self, tally: &Tally) {
        self.lock().tally.merge(tally);
    }

    fn wait(&self, limit: Duration, done: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, limit, |state| !done(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// A panic elsewhere leaves the counts as they are, which is what a report needs.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
