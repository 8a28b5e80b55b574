//! Plots of results as SVG, to be part of a page.

use std::error::Error;

use plotters::prelude::*;

use super::group::Group;

const SIZE: (u32, u32) = (560, 320);
const FONT: (&str, u32) = ("sans-serif", 13);

/// Round trips at 90 %, 99 % and so on have the same distance from each other.
const MOST_NINES: f64 = 4.0;
const STEPS: u32 = 160;

/// Packets a second, a bar for each backend; of repeated runs the bar is the median, and a line leads from the slowest to the
/// fastest.
pub(super) fn rates(groups: &[Group<'_>]) -> Result<String, Box<dyn Error>> {
    let top = groups.iter().flat_map(|group| &group.runs).map(|run| run.packets_per_second()).fold(1.0, f64::max);
    let width = groups.len() as f64;
    draw(|area| {
        let mut chart = ChartBuilder::on(area)
            .caption("Packets a second", FONT)
            .margin(8)
            .x_label_area_size(28)
            .y_label_area_size(80)
            .build_cartesian_2d(0.0..width, 0.0..top * 1.1)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(1)
            .label_style(FONT)
            // The bars' edges and their middles, which have the names.
            .x_labels(2 * groups.len() + 1)
            .x_label_formatter(&|place| {
                let halves = (place * 2.0).round() as usize;
                let group = groups.get(halves / 2).filter(|_| halves % 2 == 1);
                group.map_or(String::new(), name)
            })
            .y_label_formatter(&|rate| super::figures::grouped_digits(rate.round() as u64))
            .draw()?;
        for (index, group) in groups.iter().enumerate() {
            let middle = index as f64 + 0.5;
            let bounds = [(middle - 0.35, 0.0), (middle + 0.35, rate(group))];
            chart.draw_series([Rectangle::new(bounds, color(index).filled())])?;
            if let [slowest, .., fastest] = group.runs.as_slice() {
                let ends = [slowest, fastest].map(|run| (middle, run.packets_per_second()));
                chart.draw_series([PathElement::new(ends, BLACK.stroke_width(2))])?;
            }
        }
        Ok(())
    })
}

/// Round trips by percentile, a line for each backend: both axes are logarithmic, the lower one in what is left of the
/// requests.
pub(super) fn percentiles(groups: &[Group<'_>]) -> Result<String, Box<dyn Error>> {
    let lines: Vec<Vec<(f64, f64)>> = groups.iter().map(|group| percentile_line(group)).collect();
    let times = || lines.iter().flatten().map(|(_, time)| *time);
    let (bottom, top) = (times().fold(f64::INFINITY, f64::min), times().fold(0.0, f64::max));
    draw(|area| {
        if top == 0.0 {
            return Ok(area.titled("No round trip was measured", FONT).map(|_| ())?);
        }
        let mut chart = ChartBuilder::on(area)
            .caption("Round trips in µs by percentile", FONT)
            .margin(8)
            .margin_right(32)
            .x_label_area_size(28)
            .y_label_area_size(80)
            .build_cartesian_2d(0.0..MOST_NINES, (bottom / 2.0..top * 2.0).log_scale())?;
        chart
            .configure_mesh()
            .label_style(FONT)
            .max_light_lines(1)
            .x_labels(5)
            .x_label_formatter(&|nines| format!("{} %", percent(*nines)))
            .y_label_formatter(&|time| super::figures::grouped_digits(time.round() as u64))
            .draw()?;
        for (index, (group, line)) in groups.iter().zip(&lines).enumerate() {
            let color = color(index);
            chart
                .draw_series(LineSeries::new(line.iter().copied(), color.stroke_width(2)))?
                .label(name(group))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
        }
        let style = WHITE.mix(0.8);
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(style)
            .label_font(FONT)
            .draw()?;
        Ok(())
    })
}

/// How many nines a percentile has, and the time below which that share of the requests of the median run was answered. It ends
/// where one request is left.
fn percentile_line(group: &Group<'_>) -> Vec<(f64, f64)> {
    let latencies = &group.median().latencies;
    let most = (latencies.count() as f64).log10().clamp(0.0, MOST_NINES);
    (0..=STEPS)
        .map(|step| most * f64::from(step) / f64::from(STEPS))
        .filter(|_| latencies.count() > 0)
        .map(|nines| (nines, latencies.percentile_ns(percent(nines)) as f64 / 1000.0))
        .collect()
}

/// 0 for none, 90 for one, 99 for two.
fn percent(nines: f64) -> f64 {
    // Rounded, or 99.9 would be 99.90000000000001.
    (1e6 * (1.0 - 10_f64.powf(-nines))).round() / 1e4
}

/// The backends of a workload keep their colors, since they come in the same order.
fn color(index: usize) -> RGBColor {
    const COLORS: [RGBColor; 6] = [
        RGBColor(0x33, 0x66, 0xcc),
        RGBColor(0xe0, 0x7b, 0x00),
        RGBColor(0x2b, 0x99, 0x5a),
        RGBColor(0x99, 0x44, 0xaa),
        RGBColor(0x00, 0x99, 0xaa),
        RGBColor(0xaa, 0x44, 0x44),
    ];
    COLORS[index % COLORS.len()]
}

fn rate(group: &Group<'_>) -> f64 {
    group.median().packets_per_second()
}

fn name(group: &Group<'_>) -> String {
    group.median().backend.to_string()
}

fn draw(
    content: impl FnOnce(&DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> Result<(), Box<dyn Error>>,
) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        content(&area)?;
        area.present()?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::super::super::outcome::{Outcome, example};
    use super::super::group::grouped;
    use super::*;
    use fastport_io::Backend;

    /// Where the bars begin, in pixels from above.
    fn bars(groups: &[Group<'_>]) -> Vec<u32> {
        let svg = rates(groups).unwrap();
        let bars = svg.lines().filter(|line| line.starts_with("<rect") && line.contains(r#"stroke="none""#));
        let number = |line: &str, name: &str| -> u32 {
            let value = line.split_once(&format!(" {name}=\"")).unwrap().1;
            value[..value.find('"').unwrap()].parse().unwrap()
        };
        bars.filter(|line| number(line, "width") > 0).map(|line| number(line, "y")).collect()
    }

    #[test]
    fn percentiles_are_told_by_their_nines() {
        let texts = [0.0, 1.0, 2.0, 3.0, 4.0].map(|nines| percent(nines).to_string());
        assert_eq!(texts, ["0", "90", "99", "99.9", "99.99"]);
    }

    #[test]
    fn a_line_ends_where_one_request_is_left() {
        let outcomes = [example("plain", Backend::Epoll, 1000)];
        let groups = grouped(&outcomes);
        let line = percentile_line(&groups[0]);
        let (nines, time) = line[line.len() - 1];
        assert!((nines - 3.0).abs() < 1e-9);
        assert!((time / 1000.0 - 1.0).abs() < 0.01, "{time} µs of 1 to 1 000");
        assert!(line.windows(2).all(|pair| pair[0].1 <= pair[1].1), "it never falls");
    }

    #[test]
    fn every_backend_is_drawn_and_named_in_both_plots() {
        let outcomes = [example("plain", Backend::Epoll, 100), example("plain", Backend::IoUring, 90)];
        let groups = grouped(&outcomes);
        for svg in [rates(&groups).unwrap(), percentiles(&groups).unwrap()] {
            assert!(svg.contains("epoll") && svg.contains("io_uring"), "{svg}");
        }
        assert_eq!([bars(&groups).len(), bars(&groups[..1]).len()], [2, 1]);
        assert!(bars(&groups)[0] < bars(&groups)[1], "the first is faster, and so begins further above");
        let thick = percentiles(&groups).unwrap().matches(r#"stroke-width="2""#).count();
        assert_eq!(thick, 2 + 2, "a line and its sign for each");
    }

    #[test]
    fn runs_without_an_answer_are_drawn_too() {
        let outcomes =
            [example("silent", Backend::Epoll, 0), Outcome { round: 2, ..example("silent", Backend::Epoll, 0) }];
        let groups = grouped(&outcomes);
        assert!(rates(&groups).unwrap().starts_with("<svg"));
        assert!(percentiles(&groups).unwrap().contains("No round trip"));
    }
}
