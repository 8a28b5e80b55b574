//! What one thread of the load generator counts.

use super::measure::Latencies;

/// Counts of the warm-up and of the measurement, and the round trips of the latter.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) warmup: StageTally,
    pub(super) measured: StageTally,
    pub(super) latencies: Latencies,
    /// Payload in the measured responses.
    pub(super) response_bytes: u64,
}

/// Counts of one stage. Requests that the control thread sent to start the stage are not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StageTally {
    pub(super) requests: u64,
    pub(super) responses: u64,
    /// On the process's clock.
    pub(super) last_response_ns: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            warmup: StageTally::default(),
            measured: StageTally::default(),
            latencies: Latencies::new(),
            response_bytes: 0,
        }
    }

    /// Takes over what another thread counted.
    pub(super) fn merge(&mut self, other: &Self) {
        self.warmup.merge(&other.warmup);
        self.measured.merge(&other.measured);
        self.latencies.merge(&other.latencies);
        self.response_bytes += other.response_bytes;
    }
}

impl StageTally {
    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.responses += other.responses;
        self.last_response_ns = self.last_response_ns.max(other.last_response_ns);
    }
}
