//! The line that is printed.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::arguments::Arguments;
use crate::ring::Measured;

/// Resident memory of the server.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) before_kib: u64,
    pub(crate) connected_kib: u64,
}

/// The fields of the line. CPU times are in cores: 1.0 is a whole one.
#[derive(Serialize)]
pub(crate) struct Report {
    secs: f64,
    packets: u64,
    packets_per_second: f64,
    megabytes_per_second: f64,
    /// The figure to compare: packets for each second of the server's CPU time.
    packets_per_cpu_second: f64,
    /// Packets of the session that floods, which are in none of the other figures.
    flood_packets_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    server_cpu: f64,
    generator_cpu: f64,
    /// What else ran on the machine.
    others_cpu: f64,
    /// Memory that the server took for each session, idle ones included.
    bytes_per_session: f64,
}

impl Report {
    pub(crate) fn new(arguments: &Arguments, measured: &Measured, memory: Memory) -> Self {
        let secs = measured.elapsed.as_secs_f64();
        let server_secs = measured.server_time.as_secs_f64();
        let per_second = |count: u64| count as f64 / secs;
        let microseconds = |quantile| nanoseconds(&measured.times, quantile) / 1e3;
        let used = (server_secs + measured.own_time.as_secs_f64()) / secs;
        let sessions = arguments.idle + arguments.sessions;
        let grown_bytes = memory.connected_kib.saturating_sub(memory.before_kib) * 1024;
        Self {
            secs,
            packets: measured.packets,
            packets_per_second: per_second(measured.packets),
            megabytes_per_second: per_second(measured.bytes) / 1e6,
            packets_per_cpu_second: if server_secs > 0.0 { measured.packets as f64 / server_secs } else { 0.0 },
            flood_packets_per_second: per_second(measured.flood_packets),
            p50_us: microseconds(0.5),
            p99_us: microseconds(0.99),
            p999_us: microseconds(0.999),
            server_cpu: server_secs / secs,
            generator_cpu: measured.own_time.as_secs_f64() / secs,
            others_cpu: (measured.machine_time.as_secs_f64() / secs - used).max(0.0),
            bytes_per_session: grown_bytes as f64 / sessions as f64,
        }
    }
}

fn nanoseconds(times: &Histogram<u64>, quantile: f64) -> f64 {
    times.value_at_quantile(quantile) as f64
}
