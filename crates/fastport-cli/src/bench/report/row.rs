//! One run as a record with named columns: the same for CSV and JSON.

use std::time::Duration;

use serde::Serialize;

use super::super::outcome::Outcome;
use super::super::workload::Length;

/// The columns, in their order. Names end in their units; they are an interface: new ones come at the end, and none changes.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    test_name: &'a str,
    /// The load generator's backend, and the server's if it is embedded.
    io_mode: &'static str,
    /// Requests of each session; 0 if the run was limited by time.
    iterations: u32,
    /// Mean size of the payloads.
    payload_size: u32,
    avg_latency_ns: u64,
    min_latency_ns: u64,
    max_latency_ns: u64,
    p50_latency_ns: u64,
    p90_latency_ns: u64,
    p95_latency_ns: u64,
    p99_latency_ns: u64,
    p999_latency_ns: u64,
    stddev_ns: u64,
    /// Mean time that the server had a request.
    avg_server_ns: u64,
    packets_per_sec: f64,
    /// Payload one way, 10^6 bytes.
    mb_per_sec: f64,
    requested_sessions: u32,
    connected_sessions: u32,
    /// Sessions that ended before their last response.
    connection_losses: u32,
    depth: u32,
    warmup_requests: u64,
    warmup_responses: u64,
    measured_requests: u64,
    measured_responses: u64,
    payload_min_bytes: u32,
    payload_max_bytes: u32,
    payload_pool_size: u32,
    connect_elapsed_ns: u64,
    warmup_elapsed_ns: u64,
    measured_elapsed_ns: u64,
    /// Mean time that a request and its response were on their way.
    avg_network_ns: u64,
    /// Of several rounds with --repeat, counted from 1.
    round: u32,
    /// Workers of the embedded server; 0 if the server was another process.
    server_workers: u16,
    /// Threads of the load generator.
    io_threads: u16,
    /// Requests of each session before the measurement.
    warmup_iterations: u32,
    /// How long the measurement was to last; 0 if it was limited by requests.
    time_limit_ns: u64,
    /// The run would have been given up when nothing happened for this long.
    timeout_ns: u64,
}

impl<'a> From<&'a Outcome> for Row<'a> {
    fn from(outcome: &'a Outcome) -> Self {
        let Outcome { workload, latencies, warmup, measured, .. } = outcome;
        let (iterations, time_limit) = match outcome.length {
            Length::Requests(requests) => (requests, Duration::ZERO),
            Length::Time(limit) => (0, limit),
        };
        Self {
            test_name: &workload.name,
            io_mode: outcome.backend.name(),
            iterations,
            payload_size: outcome.mean_payload_bytes,
            avg_latency_ns: latencies.mean_ns().round() as u64,
            min_latency_ns: latencies.min_ns(),
            max_latency_ns: latencies.max_ns(),
            p50_latency_ns: latencies.percentile_ns(50.0),
            p90_latency_ns: latencies.percentile_ns(90.0),
            p95_latency_ns: latencies.percentile_ns(95.0),
            p99_latency_ns: latencies.percentile_ns(99.0),
            p999_latency_ns: latencies.percentile_ns(99.9),
            stddev_ns: latencies.stddev_ns().round() as u64,
            avg_server_ns: latencies.mean_server_ns().round() as u64,
            packets_per_sec: two_decimals(outcome.packets_per_second()),
            mb_per_sec: two_decimals(outcome.megabytes_per_second()),
            requested_sessions: workload.sessions,
            connected_sessions: outcome.connected_sessions,
            connection_losses: outcome.connection_losses,
            depth: workload.depth,
            warmup_requests: warmup.requests,
            warmup_responses: warmup.responses,
            measured_requests: measured.requests,
            measured_responses: measured.responses,
            payload_min_bytes: *workload.payload_bytes.start(),
            payload_max_bytes: *workload.payload_bytes.end(),
            payload_pool_size: workload.payload_pool,
            connect_elapsed_ns: outcome.connect_elapsed.as_nanos() as u64,
            warmup_elapsed_ns: warmup.elapsed.as_nanos() as u64,
            measured_elapsed_ns: measured.elapsed.as_nanos() as u64,
            avg_network_ns: latencies.mean_network_ns().round() as u64,
            round: outcome.round,
            server_workers: outcome.server_workers,
            io_threads: outcome.io_threads,
            warmup_iterations: outcome.warmup_length,
            time_limit_ns: time_limit.as_nanos() as u64,
            timeout_ns: outcome.patience.as_nanos() as u64,
        }
    }
}

fn two_decimals(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
