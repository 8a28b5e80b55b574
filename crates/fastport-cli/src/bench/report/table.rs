//! Results as tables of text: throughput first, then round trips.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

use super::super::outcome::Outcome;
use super::figures::{self, Figures, TEXT_COLUMNS};
use super::group::grouped;

/// A line under the header, and nothing else that would stand in the way of copying figures.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Both tables and their captions. Workloads and backends come in the order in which they first ran.
pub(super) fn render(outcomes: &[Outcome]) -> String {
    let groups = grouped(outcomes);
    [figures::throughput(&groups), figures::round_trips(&groups)].map(text).join("\n\n")
}

fn text(figures: Figures) -> String {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(figures.header).add_rows(figures.rows);
    for column in table.column_iter_mut().skip(TEXT_COLUMNS) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{}\n{table}", figures.caption)
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
    fn repeated_runs_show_how_far_they_lie_apart() {
        let outcomes = [98, 100, 60].map(|responses| example("again", Backend::Epoll, responses));
        assert!(render(&outcomes).contains("spread"));
    }
}
