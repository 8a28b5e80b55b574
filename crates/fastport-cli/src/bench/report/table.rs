//! Results as tables for people: throughput first, then round trips.
//!
//! Of runs that were repeated the one with the median rate is shown, and how far the others lie from it.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

use super::super::outcome::Outcome;

/// A line under the header, and nothing else that would stand in the way of copying figures.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Both tables and their captions. Workloads and backends come in the order in which they first ran.
pub(super) fn render(outcomes: &[Outcome]) -> String {
    let groups = grouped(outcomes);
    format!(
        "Throughput (MB/s: payload one way)\n{}\n\nRound trips in µs (server: between its receipt and its reply; network: the rest)\n{}",
        throughput(&groups),
        round_trips(&groups)
    )
}

/// All runs of one workload on one backend, slowest first.
struct Group<'a> {
    runs: Vec<&'a Outcome>,
}

impl Group<'_> {
    fn median(&self) -> &Outcome {
        self.runs[self.runs.len() / 2]
    }

    /// How far the runs lie apart, as a share of the median rate.
    fn spread_percent(&self) -> f64 {
        let rate = |index: usize| self.runs[index].packets_per_second();
        let median = self.median().packets_per_second();
        if median == 0.0 { 0.0 } else { (rate(self.runs.len() - 1) - rate(0)) / median * 100.0 }
    }

    fn sum(&self, of: impl Fn(&Outcome) -> u64) -> u64 {
        self.runs.iter().map(|run| of(run)).sum()
    }
}

fn grouped(outcomes: &[Outcome]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for outcome in outcomes {
        let same = |group: &&mut Group<'_>| {
            group.runs[0].workload == outcome.workload && group.runs[0].backend == outcome.backend
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.runs.push(outcome),
            None => groups.push(Group { runs: vec![outcome] }),
        }
    }
    for group in &mut groups {
        group.runs.sort_by(|one, other| one.packets_per_second().total_cmp(&other.packets_per_second()));
    }
    // Backends of one workload belong side by side, whatever the order of the runs.
    let mut names: Vec<&str> = Vec::new();
    for outcome in outcomes {
        if !names.contains(&outcome.workload.name.as_str()) {
            names.push(&outcome.workload.name);
        }
    }
    groups.sort_by_key(|group| names.iter().position(|name| *name == group.runs[0].workload.name));
    groups
}

fn throughput(groups: &[Group<'_>]) -> Table {
    let repeated = groups.iter().any(|group| group.runs.len() > 1);
    let mut header = vec!["workload", "backend", "sessions", "depth", "payload", "packets/s", "MB/s"];
    if repeated {
        header.extend(["runs", "spread"]);
    }
    header.extend(["lost requests", "lost sessions"]);

    let mut table = numbers_right(header, 2);
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
        table.add_row(cells);
    }
    table
}

fn round_trips(groups: &[Group<'_>]) -> Table {
    let header = [
        "workload", "backend", "min", "mean", "std dev", "p50", "p90", "p95", "p99", "p99.9", "max", "server",
        "network",
    ];
    let mut table = numbers_right(header, 2);
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
        table.add_row(cells);
    }
    table
}

/// An empty table whose columns from `first_number` on are aligned to the right.
fn numbers_right(header: impl IntoIterator<Item = &'static str>, first_number: usize) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for column in table.column_iter_mut().skip(first_number) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn microseconds(ns: f64) -> String {
    format!("{:.1}", ns / 1000.0)
}

/// `1234567` as `1 234 567`.
fn grouped_digits(number: u64) -> String {
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
    use super::super::super::outcome::example;
    use super::*;
    use fastport_io::Backend;

    #[test]
    fn every_workload_has_a_line_for_each_backend() {
        let text = render(&[
            example("first", Backend::IoUring, 100),
            example("second", Backend::IoUring, 100),
            example("first", Backend::Epoll, 100),
            example("second", Backend::Epoll, 100),
        ]);
        let order: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_whitespace().next().filter(|word| ["first", "second"].contains(word)))
            .collect();
        assert_eq!(order, ["first", "first", "second", "second", "first", "first", "second", "second"]);
        assert!(!text.contains("spread"));
    }

    #[test]
    fn of_repeated_runs_the_median_is_shown_and_losses_add_up() {
        let outcomes = [98, 100, 60].map(|responses| example("again", Backend::Epoll, responses));
        let groups = grouped(&outcomes);
        assert_eq!(groups[0].median().measured.responses, 98);
        assert_eq!(groups[0].sum(Outcome::lost_requests), 2 + 40);
        assert!((groups[0].spread_percent() - 40.0 / 98.0 * 100.0).abs() < 1e-9);
        assert!(render(&outcomes).contains("spread"));
    }

    #[test]
    fn long_numbers_are_grouped() {
        assert_eq!(grouped_digits(0), "0");
        assert_eq!(grouped_digits(999), "999");
        assert_eq!(grouped_digits(1000), "1 000");
        assert_eq!(grouped_digits(1_234_567), "1 234 567");
    }
}
