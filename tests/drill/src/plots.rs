//! Draws what other exercises have measured, from their JSON, as SVG.

use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::prelude::*;
use rig::Failure;
use serde_json::{Value, json};

use crate::Outcome;
use crate::curves::{Curves, Gap};
use crate::growth::Growth;

const SIZE: (u32, u32) = (860, 480);
const FONT: &str = "sans-serif";
const COLOURS: [RGBColor; 4] = [RGBColor(31, 119, 180), RGBColor(214, 39, 40), RGBColor(44, 160, 44), BLACK];
/// How much of a timeline is drawn before and after its longest gap, in milliseconds.
const AROUND_MS: usize = 250;

/// Draws all that the files have.
///
/// # Errors
/// When a file can't be read or has nothing to be drawn, or a picture can't be written.
pub fn run(files: &[PathBuf], into: &Path) -> Result<Outcome, Failure> {
    std::fs::create_dir_all(into)?;
    let mut written = Vec::new();
    for file in files {
        let value: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
        match value["kind"].as_str() {
            Some("curves") => curves(&serde_json::from_value(value)?, into, &mut written)?,
            Some("growth") => growth(&serde_json::from_value(value)?, into, &mut written)?,
            Some("bench") => matrix(&value, into, &mut written)?,
            _ => {
                let what = "is not the JSON of `drill curves`, `drill growth` or `drill bench --matrix`";
                return Err(Failure::new(format!("{} {what}", file.display())));
            }
        }
    }
    let text = written.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("\n");
    Ok(Outcome { ok: !written.is_empty(), json: json!({"written": written}), text })
}

fn curves(curves: &Curves, into: &Path, written: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let machine = format!("{} cores, load average {} before", curves.cores, curves.load_average);
    let path = into.join("latency.svg");
    let points = |of: fn(&rig::bench::Latencies) -> f64| -> Vec<(f64, f64)> {
        curves.steps.iter().map(|step| (step.rate_per_s, of(&step.seen.latency_us) / 1e3)).collect()
    };
    let lines = [("p50", points(|us| us.p50)), ("p99", points(|us| us.p99)), ("p99.9", points(|us| us.p999))];
    let title = format!("Latency of an open load, {machine}");
    log_lines(&path, &title, ("transfers due a second", "ms"), &lines, false)?;
    written.push(path);

    let path = into.join("state.svg");
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let cost = curves.states.iter().map(|state| {
        (megabytes(state.table_bytes).max(1e-3), state.seen.cpu_s_per_1000.unwrap_or(0.0) * 1e3)
    });
    let title = format!("Processor time against the size of the state, {machine}");
    let what = ("rows in memory, MB", "ms of both processors for 1,000 transfers");
    log_lines(&path, &title, what, &[("CPU", cost.collect())], true)?;
    written.push(path);

    for gap in &curves.gaps {
        let path = into.join(format!("{}.svg", gap.what));
        timeline(&path, gap, &machine)?;
        written.push(path);
    }
    Ok(())
}

/// Cost and latency against each size.
fn growth(growth: &Growth, into: &Path, written: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let machine = format!("{} cores, load average {} before", growth.cores, growth.load_average);
    for grown in &growth.grown {
        let path = into.join(format!("growth-{}.svg", grown.name));
        let points = |of: fn(&rig::bench::Figures) -> f64| -> Vec<(f64, f64)> {
            grown.points.iter().map(|point| (point.size as f64, of(&point.seen))).collect()
        };
        let lines = [
            (
                "CPU of both processors for 1,000 events, ms",
                points(|seen| seen.cpu_s_per_1000.unwrap_or(0.0) * 1e3),
            ),
            ("latency, median, ms", points(|seen| seen.latency_us.p50 / 1e3)),
            ("latency, p99, ms", points(|seen| seen.latency_us.p99 / 1e3)),
        ];
        let title = format!("Figures against {}, {machine}", grown.unit);
        log_lines(&path, &title, (&grown.unit, "ms"), &lines, true)?;
        written.push(path);
    }
    Ok(())
}

fn drawn<E: std::fmt::Display>(error: E) -> Failure {
    Failure::new(format!("a picture can't be drawn: {error}"))
}

fn root(path: &Path) -> Result<DrawingArea<SVGBackend<'_>, Shift>, Failure> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(drawn)?;
    Ok(root)
}

/// The ends of some values, with room for a logarithmic axis.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| *value > 0.0)
        .fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    if low > high { (0.1, 1.0) } else { (low * 0.8, high * 1.25) }
}

/// Lines over a logarithmic height; over a logarithmic width as well if that is wanted.
fn log_lines(
    path: &Path,
    title: &str,
    (across, up): (&str, &str),
    lines: &[(&str, Vec<(f64, f64)>)],
    log_across: bool,
) -> Result<(), Failure> {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let (left, right) = ends(points().map(|(x, _)| *x));
    let (low, high) = ends(points().map(|(_, y)| *y));
    let root = root(path)?;
    let mut chart = ChartBuilder::on(&root);
    chart.caption(title, (FONT, 16)).margin(12).x_label_area_size(42).y_label_area_size(60);
    macro_rules! draw {
        ($across:expr) => {{
            let mut chart = chart.build_cartesian_2d($across, (low..high).log_scale()).map_err(drawn)?;
            chart.configure_mesh().x_desc(across).y_desc(up).draw().map_err(drawn)?;
            for ((name, points), colour) in lines.iter().zip(COLOURS) {
                chart
                    .draw_series(
                        LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(3),
                    )
                    .map_err(drawn)?
                    .label(*name)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
            }
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperLeft)
                .background_style(WHITE)
                .border_style(BLACK)
                .draw()
                .map_err(drawn)?;
        }};
    }
    match log_across {
        true => draw!((left..right).log_scale()),
        false => draw!(0.0..right),
    }
    root.present().map_err(drawn)
}

/// Where the longest row of milliseconds without an answer begins, and how long it is.
fn longest_silence(answers: &[u32]) -> (usize, usize) {
    let (mut longest, mut at) = ((0, 0), 0);
    while at < answers.len() {
        let length = answers[at..].iter().take_while(|count| **count == 0).count();
        if length > longest.1 {
            longest = (at, length);
        }
        at += length + 1;
    }
    longest
}

fn timeline(path: &Path, gap: &Gap, machine: &str) -> Result<(), Failure> {
    let answers = gap.seen.answers_per_ms.as_deref().unwrap_or_default();
    let (at, length) = longest_silence(answers);
    let from = at.saturating_sub(AROUND_MS);
    let until = (at + length + AROUND_MS).min(answers.len());
    let shown = &answers[from.min(until)..until];
    let high = shown.iter().copied().max().unwrap_or(1).max(1);
    let root = root(path)?;
    let title = format!(
        "{}: answers in each millisecond, {} due a second; longest gap {:.1} ms ({machine})",
        gap.what, gap.rate_per_s, gap.seen.longest_gap_ms
    );
    let mut chart = ChartBuilder::on(&root);
    chart.caption(title, (FONT, 16)).margin(12).x_label_area_size(42).y_label_area_size(60);
    let zero = at as i64;
    let span = from as i64 - zero..until as i64 - zero + 1;
    let mut chart = chart.build_cartesian_2d(span, 0..high + high / 10 + 1).map_err(drawn)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc("ms from the beginning of the longest gap")
        .y_desc("answers")
        .draw()
        .map_err(drawn)?;
    let bars = shown.iter().enumerate().map(|(step, count)| {
        let x = (from + step) as i64 - zero;
        Rectangle::new([(x, 0), (x + 1, *count)], COLOURS[0].filled())
    });
    chart.draw_series(bars).map_err(drawn)?;
    root.present().map_err(drawn)
}

/// The rows of the matrix as parts of `limit`.
fn matrix(value: &Value, into: &Path, written: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let rows = value["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    let part = |row: &Value| {
        let rate = |which: &str| row[which]["rate_per_s"].as_f64();
        Some((row["name"].as_str()?.to_owned(), rate("row")? / rate("limit")?.max(1e-9)))
    };
    let parts: Vec<(String, f64)> = rows.iter().filter_map(part).collect();
    if parts.is_empty() {
        return Err(Failure::new("no row was measured beside `limit`"));
    }
    let path = into.join("limit.svg");
    {
        let root = root(&path)?;
        let high = parts.iter().map(|(_, part)| *part).fold(1.0, f64::max) * 1.1;
        let title = format!(
            "Events a second as a part of limit's, {} cores, load average {} before",
            value["cores"], rows[0]["load_average"]
        );
        let mut chart = ChartBuilder::on(&root);
        chart.caption(title, (FONT, 16)).margin(12).x_label_area_size(30).y_label_area_size(150);
        let count = parts.len() as i32;
        let mut chart = chart.build_cartesian_2d(0.0..high, 0..count).map_err(drawn)?;
        let name = |at: &i32| parts.get(*at as usize).map_or(String::new(), |(name, _)| name.clone());
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(parts.len() + 1)
            .y_label_offset(-14)
            .y_label_formatter(&name)
            .draw()
            .map_err(drawn)?;
        let bars = parts.iter().enumerate().map(|(at, (_, part))| {
            let mut bar = Rectangle::new([(0.0, at as i32), (*part, at as i32 + 1)], COLOURS[0].filled());
            bar.set_margin(6, 6, 0, 0);
            bar
        });
        chart.draw_series(bars).map_err(drawn)?;
        root.present().map_err(drawn)?;
    }
    written.push(path);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silence_is_found_where_it_is() {
        assert_eq!(longest_silence(&[1, 0, 0, 3, 0, 0, 0, 1, 0]), (4, 3));
        assert_eq!(longest_silence(&[0, 0]), (0, 2));
        assert_eq!(longest_silence(&[1, 1]), (0, 0));
        assert_eq!(longest_silence(&[]), (0, 0));
    }
}
