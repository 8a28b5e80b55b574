//! Results as a page: plots and tables in one file that needs no other.

use std::io::{self, Write};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::super::outcome::Outcome;
use super::chart;
use super::figures::{self, Figures, TEXT_COLUMNS};
use super::group::{Group, grouped};

const STYLE: &str = "
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff; max-width: 1200px; margin: 2em auto; padding: 0 1em }
figure { display: inline-block; margin: 0 1em 1em 0 }
figure svg { max-width: 100%; height: auto }
div { overflow-x: auto }
table { border-collapse: collapse; margin: 0 0 2em; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: 600; padding: .4em 0 }
th, td { padding: .25em .8em; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap }
th.text, td.text { text-align: left }
p.lost { color: #b00020; font-weight: 600 }
";

/// Writes the page. Workloads and backends come in the order in which they first ran.
pub(super) fn write(output: &mut dyn Write, outcomes: &[Outcome]) -> io::Result<()> {
    let groups = grouped(outcomes);
    let workloads = groups.chunk_by(|one, other| one.median().workload == other.median().workload);
    let sections = workloads.map(section).collect::<io::Result<Vec<_>>>()?;
    let lost = outcomes.iter().filter(|outcome| !outcome.is_complete()).count();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "FastPort benchmark" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "FastPort benchmark" }
                p {
                    "fastport " (env!("CARGO_PKG_VERSION")) " on " (std::env::consts::OS) ", " (std::env::consts::ARCH) "; runs: "
                    (outcomes.len()) ". Of those that were repeated the one with the median rate is shown."
                }
                @if lost > 0 {
                    p.lost { (lost) " of the runs lost requests or sessions; their figures say little." }
                }
                (table(&figures::throughput(&groups)))
                (table(&figures::round_trips(&groups)))
                @for section in sections { (section) }
            }
        }
    };
    output.write_all(page.into_string().as_bytes())
}

/// The plots of a workload.
fn section(groups: &[Group<'_>]) -> io::Result<Markup> {
    let outcome = groups[0].median();
    let workload = &outcome.workload;
    let plots = chart::rates(groups).and_then(|rates| Ok([rates, chart::percentiles(groups)?]));
    let plots = plots.map_err(|error| io::Error::other(format!("cannot draw a plot: {error}")))?;
    Ok(html! {
        h2 { (workload.name) }
        p {
            "Sessions: " (workload.sessions) "; requests under way in each: " (workload.depth) "; payload: " (workload.payload_text())
            "; threads of the load generator: " (outcome.io_threads) "; "
            @if outcome.server_workers == 0 {
                "server in another process."
            } @else {
                "workers of the server: " (outcome.server_workers) "."
            }
        }
        // What the drawing library writes is escaped.
        @for plot in plots { figure { (PreEscaped(plot)) } }
    })
}

fn table(figures: &Figures) -> Markup {
    let kind = |column: usize| if column < TEXT_COLUMNS { "text" } else { "number" };
    html! {
        div {
            table {
                caption { (figures.caption) }
                thead { tr { @for (column, name) in figures.header.iter().enumerate() { th class=(kind(column)) { (name) } } } }
                tbody {
                    @for row in &figures.rows {
                        tr { @for (column, cell) in row.iter().enumerate() { td class=(kind(column)) { (cell) } } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::outcome::example;
    use super::*;
    use fastport_io::Backend;

    fn page(outcomes: &[Outcome]) -> String {
        let mut output = Vec::new();
        write(&mut output, outcomes).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn each_workload_has_two_plots_and_each_group_a_line_in_both_tables() {
        let page = page(&[
            example("first", Backend::IoUring, 100),
            example("second", Backend::IoUring, 100),
            example("first", Backend::Epoll, 100),
            example("second", Backend::Epoll, 100),
        ]);
        assert_eq!((page.matches("<svg").count(), page.matches("</svg>").count()), (4, 4));
        assert_eq!(page.matches("<tr>").count(), 2 * (1 + 4));
        assert_eq!((page.matches("<h2>first</h2>").count(), page.matches("<h2>second</h2>").count()), (1, 1));
        assert!(!page.contains("class=\"lost\""));
        for outside in ["http://", "https://", "src=", "href="] {
            let page = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!page.contains(outside), "the page needs nothing from outside: {outside}");
        }
    }

    #[test]
    fn a_name_is_text_and_no_part_of_the_page() {
        let page = page(&[example("<script>alert(1)</script>", Backend::Epoll, 100)]);
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
    }

    #[test]
    fn losses_are_told_above_the_figures() {
        let page = page(&[example("lossy", Backend::Epoll, 99), example("lossy", Backend::IoUring, 100)]);
        assert!(page.contains("1 of the runs lost"));
    }

    #[test]
    fn no_runs_are_a_page_without_plots() {
        assert!(!page(&[]).contains("<svg"));
    }
}
