//! The result of one run.

use std::time::Duration;

use fastport_io::Backend;

use super::measure::{Latencies, Phase};
use super::workload::{Length, Workload};

/// What one workload did on one backend.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) workload: Workload,
    pub(crate) length: Length,
    /// Requests of each session before the measurement.
    pub(crate) warmup_length: u32,
    /// The load generator's backend, and the server's if it is embedded.
    pub(crate) backend: Backend,
    /// Workers of the embedded server; 0 if the server is another process.
    pub(crate) server_workers: u16,
    /// Threads of the load generator.
    pub(crate) io_threads: u16,
    /// The run would have been given up when nothing happened for this long.
    pub(crate) patience: Duration,
    /// Counted from 1.
    pub(crate) round: u32,
    /// Mean payload of the pool in bytes.
    pub(crate) mean_payload_bytes: u32,
    /// Sessions that were connected when the warm-up began.
    pub(crate) connected_sessions: u32,
    /// Sessions that ended before their last response. Those that never connected are not among them.
    pub(crate) connection_losses: u32,
    /// From the first connect to the last session.
    pub(crate) connect_elapsed: Duration,
    pub(crate) warmup: Phase,
    pub(crate) measured: Phase,
    /// Round trips of the measured requests.
    pub(crate) latencies: Latencies,
    /// Payload in the measured responses.
    pub(crate) response_bytes: u64,
    /// The first thing that went wrong.
    pub(crate) first_fault: Option<String>,
}

impl Outcome {
    /// Correct responses in a second.
    pub(crate) fn packets_per_second(&self) -> f64 {
        per_second(self.measured.responses, self.measured.elapsed)
    }

    /// Payload that came back, in 10^6 bytes in a second. The same amount went the other way.
    pub(crate) fn megabytes_per_second(&self) -> f64 {
        per_second(self.response_bytes, self.measured.elapsed) / 1e6
    }

    /// Requests without a correct response, warm-up included.
    pub(crate) fn lost_requests(&self) -> u64 {
        self.warmup.lost() + self.measured.lost()
    }

    /// Sessions that never connected, and those that ended early.
    pub(crate) fn lost_sessions(&self) -> u64 {
        u64::from(self.workload.sessions - self.connected_sessions) + u64::from(self.connection_losses)
    }

    /// True if every session connected and stayed, and every request was answered.
    pub(crate) fn is_complete(&self) -> bool {
        self.lost_sessions() == 0 && self.lost_requests() == 0
    }
}

fn per_second(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { count as f64 / elapsed.as_secs_f64() }
}

#[cfg(test)]
pub(super) fn example(name: &str, backend: Backend, responses: u64) -> Outcome {
    let mut latencies = Latencies::new();
    for step in 1..=responses {
        latencies.record(step * 1000, 500);
    }
    Outcome {
        workload: Workload { name: name.to_owned(), sessions: 2, depth: 4, payload_bytes: 100..=300, payload_pool: 16 },
        length: Length::Requests(50),
        warmup_length: 10,
        backend,
        server_workers: 1,
        io_threads: 2,
        patience: Duration::from_secs(10),
        round: 1,
        mean_payload_bytes: 200,
        connected_sessions: 2,
        connection_losses: 0,
        connect_elapsed: Duration::from_millis(1),
        warmup: Phase { requests: 20, responses: 20, elapsed: Duration::from_millis(2) },
        measured: Phase { requests: 100, responses, elapsed: Duration::from_secs(2) },
        latencies,
        response_bytes: 200 * responses,
        first_fault: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_responses() {
        let outcome = example("plain", Backend::Epoll, 100);
        assert!((outcome.packets_per_second() - 50.0).abs() < 1e-9);
        assert!((outcome.megabytes_per_second() - 0.01).abs() < 1e-9);
        assert!(outcome.is_complete());
    }

    #[test]
    fn a_missing_response_or_session_makes_a_run_incomplete() {
        let unanswered = example("lossy", Backend::Epoll, 99);
        assert_eq!(unanswered.lost_requests(), 1);
        assert!(!unanswered.is_complete());

        let refused = Outcome { connected_sessions: 1, ..example("refused", Backend::Epoll, 100) };
        assert!(!refused.is_complete());

        let dropped = Outcome { connection_losses: 1, ..example("dropped", Backend::Epoll, 100) };
        assert!(!dropped.is_complete());
    }
}
