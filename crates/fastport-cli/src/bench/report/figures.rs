//! The figures that people read: which, in which order, with how many digits.
//!
//! Of runs that were repeated the one with the median rate is shown, and how far the others lie from it.

use super::super::outcome::Outcome;
use super::group::Group;

/// A table: the first two columns are texts, the others numbers.
pub(super) struct Figures {
    pub(super) caption: &'static str,
    pub(super) header: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

/// How many columns come before the first number.
pub(super) const TEXT_COLUMNS: usize = 2;

/// What came through, a line for each group.
pub(super) fn throughput(groups: &[Group<'_>]) -> Figures {
    let repeated = groups.iter().any(|group| group.runs.len() > 1);
    let mut header = vec!["workload", "backend", "sessions", "depth", "payload", "packets/s", "MB/s"];
    if repeated {
        header.extend(["runs", "spread"]);
    }
    header.extend(["lost requests", "lost sessions"]);

    let mut rows = Vec::new();
    for group in groups {
        let outcome = group.median();
        let mut cells = vec![
            outcome.workload.name.clone(),
            outcome.backend.to_string(),
            outcome.workload.sessions.to_string(),
            outcome.workload.depth.to_string(),
            outcome.workload.payload_text(),
            grouped_digits(outcome.packets_per_second().round() as u64),
            format!("{:.1}", outcome.megabytes_per_second()),
        ];
        if repeated {
            cells.extend([group.runs.len().to_string(), format!("{:.1} %", group.spread_percent())]);
        }
        cells.extend([group.sum(Outcome::lost_requests).to_string(), group.sum(Outcome::lost_sessions).to_string()]);
        rows.push(cells);
    }
    Figures { caption: "Throughput (MB/s: payload one way)", header, rows }
}

/// How long requests took, a line for each group.
pub(super) fn round_trips(groups: &[Group<'_>]) -> Figures {
    let header = [
        "workload", "backend", "min", "mean", "std dev", "p50", "p90", "p95", "p99", "p99.9", "max", "server",
        "network",
    ];
    let mut rows = Vec::new();
    for group in groups {
        let outcome = group.median();
        let latencies = &outcome.latencies;
        let percentile = |percent| latencies.percentile_ns(percent) as f64;
        let figures_ns = [
            latencies.min_ns() as f64,
            latencies.mean_ns(),
            latencies.stddev_ns(),
            percentile(50.0),
            percentile(90.0),
            percentile(95.0),
            percentile(99.0),
            percentile(99.9),
            latencies.max_ns() as f64,
            latencies.mean_server_ns(),
            latencies.mean_network_ns(),
        ];
        let mut cells = vec![outcome.workload.name.clone(), outcome.backend.to_string()];
        cells.extend(figures_ns.map(microseconds));
        rows.push(cells);
    }
    Figures {
        caption: "Round trips in µs (server: between its receipt and its reply; network: the rest)",
        header: header.to_vec(),
        rows,
    }
}

fn microseconds(ns: f64) -> String {
    format!("{:.1}", ns / 1000.0)
}

/// `1234567` as `1 234 567`.
pub(super) fn grouped_digits(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_numbers_are_grouped() {
        assert_eq!(grouped_digits(0), "0");
        assert_eq!(grouped_digits(999), "999");
        assert_eq!(grouped_digits(1000), "1 000");
        assert_eq!(grouped_digits(1_234_567), "1 234 567");
    }
}
