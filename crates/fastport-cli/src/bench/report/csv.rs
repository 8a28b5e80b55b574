//! Results as comma-separated values, one line for each run.

use std::io::{self, Write};

use super::super::outcome::Outcome;
use super::row::Row;

/// Writes the names of the columns and a line for each run, quoted where needed (RFC 4180).
pub(super) fn write(output: &mut dyn Write, outcomes: &[Outcome]) -> io::Result<()> {
    let mut lines = ::csv::Writer::from_writer(output);
    for outcome in outcomes {
        lines.serialize(Row::from(outcome)).map_err(io::Error::other)?;
    }
    lines.flush()
}

#[cfg(test)]
mod tests {
    use super::super::super::outcome::example;
    use super::*;
    use fastport_io::Backend;

    const COLUMNS: &str = "test_name,io_mode,iterations,payload_size,avg_latency_ns,min_latency_ns,max_latency_ns,\
        p50_latency_ns,p90_latency_ns,p95_latency_ns,p99_latency_ns,p999_latency_ns,stddev_ns,avg_server_ns,\
        packets_per_sec,mb_per_sec,requested_sessions,connected_sessions,connection_losses,depth,warmup_requests,\
        warmup_responses,measured_requests,measured_responses,payload_min_bytes,payload_max_bytes,payload_pool_size,\
        connect_elapsed_ns,warmup_elapsed_ns,measured_elapsed_ns,avg_network_ns,round,server_workers,io_threads,\
        warmup_iterations,time_limit_ns,timeout_ns";

    #[test]
    fn columns_and_values_are_in_their_documented_order() {
        let mut output = Vec::new();
        let outcomes = [example("plain", Backend::IoUring, 100), example("a \"b\", c", Backend::Epoll, 99)];
        write(&mut output, &outcomes).unwrap();
        let text = String::from_utf8(output).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], COLUMNS);
        assert_eq!(
            lines[1],
            "plain,io_uring,50,200,50500,1000,100000,50015,90047,95039,99007,100000,28866,500,\
             50.0,0.01,2,2,0,4,20,20,100,100,100,300,16,1000000,2000000,2000000000,50000,1,1,2,10,0,10000000000"
        );
        assert!(lines[2].starts_with("\"a \"\"b\"\", c\",epoll,"));
        assert_eq!(lines.len(), 3);
    }
}
