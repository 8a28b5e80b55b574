//! What a provider counts.

use std::time::Duration;

/// Counts of one provider since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProviderStats {
    /// Operations that were accepted.
    pub requests: u64,
    /// Completions that were delivered, each step of a stream included.
    pub completions: u64,
    /// Operations whose final completion is still to come.
    pub pending: u64,
    /// Completions with an error; cancellations do not count.
    pub errors: u64,
    /// Completions of operations that were dead already; they were dropped.
    pub stale_completions: u64,
    /// Attached sockets.
    pub active_sockets: u64,
    /// Bytes that were sent.
    pub bytes_sent: u64,
    /// Bytes that were received.
    pub bytes_received: u64,
    /// Mean time from submission to completion of one-shot operations, timeouts excepted. Measured at the granularity of
    /// batches.
    pub mean_latency: Duration,
    /// 99th percentile of the same, within 1/8 of its value.
    pub p99_latency: Duration,
    /// Calls of `process_completions` that delivered something.
    pub batches: u64,
    /// Mean number of completions in such a call.
    pub mean_batch: f64,
    /// The largest number of completions in one call.
    pub max_batch: u64,
    /// How often a receive stream had to wait for a pool buffer.
    pub buffer_waits: u64,
}

/// A histogram of durations: for each power of two eight buckets, so that a percentile is right within 1/8. Recording is
/// a few instructions and never allocates.
#[derive(Debug)]
pub(crate) struct LatencyHistogram {
    buckets: Box<[u32; Self::BUCKETS]>,
    count: u64,
    sum_ns: u64,
}

impl LatencyHistogram {
    const STEPS: usize = 8;
    /// Up to 2^40 ns, 18 minutes; longer ones count in the last bucket.
    const BUCKETS: usize = 38 * Self::STEPS;

    pub(crate) fn new() -> Self {
        Self { buckets: Box::new([0; Self::BUCKETS]), count: 0, sum_ns: 0 }
    }

    pub(crate) fn record(&mut self, ns: u64) {
        self.count += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
        let bucket = &mut self.buckets[Self::bucket_of(ns)];
        *bucket = bucket.saturating_add(1);
    }

    fn bucket_of(ns: u64) -> usize {
        if ns < Self::STEPS as u64 {
            return ns as usize;
        }
        let exponent = ns.ilog2() as usize;
        let step = (ns >> (exponent - 3)) as usize & (Self::STEPS - 1);
        ((exponent - 2) * Self::STEPS + step).min(Self::BUCKETS - 1)
    }

    /// The upper edge of a bucket.
    fn edge_of(bucket: usize) -> u64 {
        if bucket < Self::STEPS {
            return bucket as u64;
        }
        let exponent = bucket / Self::STEPS + 2;
        let step = (bucket % Self::STEPS) as u64;
        (1 << exponent) + ((step + 1) << (exponent - 3)) - 1
    }

    pub(crate) fn mean(&self) -> Duration {
        Duration::from_nanos(self.sum_ns.checked_div(self.count).unwrap_or(0))
    }

    pub(crate) fn percentile(&self, fraction: f64) -> Duration {
        let wanted = ((self.count as f64 * fraction).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, &count) in self.buckets.iter().enumerate() {
            seen += u64::from(count);
            if seen >= wanted {
                return Duration::from_nanos(Self::edge_of(bucket));
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_lies_in_its_bucket_within_an_eighth(ns in 0u64..1 << 39) {
            let edge = LatencyHistogram::edge_of(LatencyHistogram::bucket_of(ns));
            prop_assert!(edge >= ns);
            prop_assert!(edge - ns <= ns / 8 + 1, "{ns} is shown as {edge}");
        }
    }

    #[test]
    fn percentile_and_mean_of_known_values() {
        let mut histogram = LatencyHistogram::new();
        for _ in 0..99 {
            histogram.record(1000);
        }
        histogram.record(1_000_000);
        assert_eq!(histogram.mean(), Duration::from_nanos(10_990));
        assert!(histogram.percentile(0.99) < Duration::from_nanos(1126));
        assert!(histogram.percentile(1.0) >= Duration::from_millis(1));
    }

    #[test]
    fn an_empty_histogram_says_zero() {
        assert_eq!(LatencyHistogram::new().percentile(0.99), Duration::ZERO);
    }
}
