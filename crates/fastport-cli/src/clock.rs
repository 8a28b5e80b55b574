//! The clock behind every timestamp in a packet.

use std::sync::LazyLock;
use std::time::Instant;

/// Nanoseconds on the system's monotonic clock since the process first asked.
///
/// The zero differs from process to process, so stamps of a client and of a server cannot be compared. Nothing here
/// needs that: a round trip is the difference of two client stamps, the server's share is the difference of two server
/// stamps, and the time on the network is the difference of those two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: Instant,
}

impl Clock {
    /// The clock of this process; all its clocks have the same zero.
    pub(crate) fn of_this_process() -> Self {
        static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
        Self { epoch: *EPOCH }
    }

    /// The time now. Takes some 20 ns.
    #[inline]
    pub(crate) fn now_ns(self) -> u64 {
        self.at(Instant::now())
    }

    /// A moment that was measured earlier; 0 if it lies before the clock's zero.
    #[inline]
    pub(crate) fn at(self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.epoch).as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn all_clocks_of_a_process_have_the_same_zero() {
        let moment = Instant::now() + Duration::from_secs(1);
        assert_eq!(Clock::of_this_process().at(moment), Clock::of_this_process().at(moment));
    }

    #[test]
    fn a_moment_before_the_zero_is_zero() {
        let clock = Clock { epoch: Instant::now() };
        assert_eq!(clock.at(clock.epoch.checked_sub(Duration::from_millis(1)).unwrap()), 0);
    }
}
