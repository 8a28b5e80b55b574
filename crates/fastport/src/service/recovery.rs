//! What a worker does when its provider cannot wait for completions: try again, drain, give up.
//!
//! ```text
//!            transient: after 10, 20, 40 ms
//!           ┌───────────────────────────┐
//!  working ─┴─▶ failed ─────────────────┘
//!                 │ for the fourth time in a row, or not transient
//!                 ▼
//!               draining: no new work, all workers of the service drain and end
//!                 │ failed again, retries included
//!                 ▼
//!               given up: what is left on this worker is cut off
//! ```

use std::time::Duration;

use fastport_io::Error;

/// How often it is tried again in a row.
const RETRIES: u32 = 3;
/// The wait before the first retry; it doubles from one to the next.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// It may have been a moment of need: try again after this time.
    RetryAfter(Duration),
    /// End the service in good order, as long as the provider allows it.
    Drain,
    /// Nothing works any more.
    GiveUp,
}

/// A worker's failures up to now.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    failures_in_a_row: u32,
    is_draining: bool,
}

impl Recovery {
    /// The provider works.
    #[inline]
    pub(super) fn succeeded(&mut self) {
        self.failures_in_a_row = 0;
    }

    pub(super) fn failed(&mut self, error: &Error) -> Remedy {
        if error.is_exhaustion() && self.failures_in_a_row < RETRIES {
            let pause = FIRST_PAUSE * 2_u32.pow(self.failures_in_a_row);
            self.failures_in_a_row += 1;
            return Remedy::RetryAfter(pause);
        }
        self.failures_in_a_row = 0;
        if std::mem::replace(&mut self.is_draining, true) { Remedy::GiveUp } else { Remedy::Drain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastport_io::ErrorCode;

    const fn retry(ms: u64) -> Remedy {
        Remedy::RetryAfter(Duration::from_millis(ms))
    }

    #[test]
    fn a_moment_of_need_is_sat_out_three_times_in_a_row() {
        let need = Error::plain(ErrorCode::NoResources);
        let mut recovery = Recovery::default();
        for _ in 0..2 {
            assert_eq!([(); 3].map(|()| recovery.failed(&need)), [retry(10), retry(20), retry(40)]);
            recovery.succeeded();
        }
        assert_eq!([(); 4].map(|()| recovery.failed(&need)), [retry(10), retry(20), retry(40), Remedy::Drain]);
        // Draining is worth as many tries.
        assert_eq!([(); 4].map(|()| recovery.failed(&need)), [retry(10), retry(20), retry(40), Remedy::GiveUp]);
    }

    #[test]
    fn what_waiting_cannot_mend_is_not_tried_again() {
        let broken = Error::plain(ErrorCode::InvalidSocket);
        let mut recovery = Recovery::default();
        assert_eq!(recovery.failed(&broken), Remedy::Drain);
        recovery.succeeded();
        assert_eq!(recovery.failed(&broken), Remedy::GiveUp);
    }
}
