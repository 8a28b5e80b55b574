//! What a run measures: counts, times, and the distribution of round trips.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Round trips above this are recorded as this long.
const LONGEST_NS: u64 = 600_000_000_000;

/// Significant decimal digits that percentiles keep.
const DIGITS: u8 = 3;

/// The distribution of round-trip times, and the server's share in them.
///
/// Recording takes some nanoseconds and never allocates. Each thread of the load generator has its own; they are merged
/// after the run.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    histogram: Histogram<u64>,
    /// Exact, because the histogram rounds.
    min_ns: u64,
    max_ns: u64,
    sum_ns: u128,
    server_sum_ns: u128,
}

impl Latencies {
    /// Nothing recorded yet.
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).expect("the bounds are constants that fit");
        Self { histogram, min_ns: u64::MAX, max_ns: 0, sum_ns: 0, server_sum_ns: 0 }
    }

    /// Adds one request: its round trip, and how long the server had it.
    #[inline]
    pub(crate) fn record(&mut self, round_trip_ns: u64, server_ns: u64) {
        self.histogram.saturating_record(round_trip_ns);
        self.min_ns = self.min_ns.min(round_trip_ns);
        self.max_ns = self.max_ns.max(round_trip_ns);
        self.sum_ns += u128::from(round_trip_ns);
        self.server_sum_ns += u128::from(server_ns);
    }

    /// Takes over what another thread recorded.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("all histograms have the same bounds");
        self.min_ns = self.min_ns.min(other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
        self.sum_ns += other.sum_ns;
        self.server_sum_ns += other.server_sum_ns;
    }

    /// How many requests were recorded.
    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The shortest round trip; 0 if there was none.
    pub(crate) fn min_ns(&self) -> u64 {
        if self.count() == 0 { 0 } else { self.min_ns }
    }

    /// The longest round trip; 0 if there was none.
    pub(crate) fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The mean round trip; 0 if there was none.
    pub(crate) fn mean_ns(&self) -> f64 {
        mean(self.sum_ns, self.count())
    }

    /// The mean time from the moment when the server had received a request to the moment when it wrote the response.
    pub(crate) fn mean_server_ns(&self) -> f64 {
        mean(self.server_sum_ns, self.count())
    }

    /// The rest of the mean round trip: both kernels, the wire, and queues on the client.
    pub(crate) fn mean_network_ns(&self) -> f64 {
        (self.mean_ns() - self.mean_server_ns()).max(0.0)
    }

    /// The standard deviation, within the precision of the histogram.
    pub(crate) fn stddev_ns(&self) -> f64 {
        if self.count() == 0 { 0.0 } else { self.histogram.stdev() }
    }

    /// The round trip that the given percentage of requests did not exceed, within 0.1 %; 0 if there was none.
    pub(crate) fn percentile_ns(&self, percent: f64) -> u64 {
        // A bucket ends a little above the values in it, which must not show a percentile above the maximum.
        self.histogram.value_at_percentile(percent).min(self.max_ns)
    }
}

fn mean(sum_ns: u128, count: u64) -> f64 {
    if count == 0 { 0.0 } else { sum_ns as f64 / count as f64 }
}

/// One part of a run: the warm-up, or the measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Phase {
    /// Requests that were sent.
    pub(crate) requests: u64,
    /// Correct responses to them.
    pub(crate) responses: u64,
    /// From the first request to the last response.
    pub(crate) elapsed: Duration,
}

impl Phase {
    /// Requests without a correct response.
    pub(crate) fn lost(&self) -> u64 {
        self.requests.saturating_sub(self.responses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(values_ns: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::new();
        for value in values_ns {
            latencies.record(value, value / 4);
        }
        latencies
    }

    #[test]
    fn figures_of_known_values_are_right() {
        let latencies = recorded((1..=1000).map(|step| step * 1000));
        assert_eq!(latencies.count(), 1000);
        assert_eq!((latencies.min_ns(), latencies.max_ns()), (1000, 1_000_000));
        assert!((latencies.mean_ns() - 500_500.0).abs() < 1.0);
        assert!((latencies.stddev_ns() / 288_675.0 - 1.0).abs() < 0.01);
        for (percent, expected_ns) in [(50.0, 500_000.0), (90.0, 900_000.0), (99.0, 990_000.0), (99.9, 999_000.0)] {
            let shown_ns = latencies.percentile_ns(percent) as f64;
            assert!((shown_ns / expected_ns - 1.0).abs() < 0.002, "p{percent} is {shown_ns}");
        }
    }

    #[test]
    fn server_and_network_add_up_to_the_round_trip() {
        let latencies = recorded([4000, 8000]);
        assert!((latencies.mean_server_ns() - 1500.0).abs() < 1e-9);
        assert!((latencies.mean_server_ns() + latencies.mean_network_ns() - latencies.mean_ns()).abs() < 1e-9);
    }

    #[test]
    fn without_requests_every_figure_is_zero() {
        let nothing = Latencies::new();
        assert_eq!((nothing.min_ns(), nothing.max_ns(), nothing.percentile_ns(99.0)), (0, 0, 0));
        assert_eq!((nothing.mean_ns(), nothing.stddev_ns(), nothing.mean_network_ns()), (0.0, 0.0, 0.0));
    }

    #[test]
    fn threads_merge_into_what_one_thread_would_have_recorded() {
        let mut merged = recorded(1..500);
        merged.merge(&recorded(500..=1000));
        merged.merge(&Latencies::new());
        let whole = recorded(1..=1000);
        assert_eq!(merged.histogram, whole.histogram);
        assert_eq!((merged.min_ns(), merged.max_ns(), merged.sum_ns), (1, 1000, whole.sum_ns));
    }

    #[test]
    fn no_percentile_is_above_the_maximum() {
        let latencies = recorded([1_000_001]);
        assert_eq!(latencies.percentile_ns(99.9), 1_000_001);
    }

    #[test]
    fn a_round_trip_of_an_hour_is_recorded_as_the_longest() {
        let latencies = recorded([3_600_000_000_000]);
        assert_eq!(latencies.count(), 1);
        assert_eq!(latencies.max_ns(), 3_600_000_000_000);
    }
}
