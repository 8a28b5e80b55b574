//! Calls that exclude each other on one queue (rules 12 and 13), found by meeting.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::rules::{Judge, Rule};

/// Queues with a call inside.
static BUSY: LazyLock<Mutex<HashSet<isize>>> = LazyLock::new(Mutex::default);

/// Held for the time of a call.
pub(crate) struct Inside(isize);

impl Inside {
    /// Enters a call on the queue `handle`, and reports if another one is inside.
    pub(crate) fn enter(handle: isize, judge: &Judge, rule: Rule, call: &str) -> Self {
        let first = BUSY.lock().unwrap_or_else(PoisonError::into_inner).insert(handle);
        if !first {
            judge.report(rule, format!("{call} while another call is inside the same queue"));
        }
        // Stays a moment, so that a caller who does not exclude his calls meets them.
        std::thread::yield_now();
        Self(handle)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        BUSY.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}
