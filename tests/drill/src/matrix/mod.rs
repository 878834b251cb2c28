//! End-to-end figures of a pair, row by row, each beside `limit` in the same interleave: limit, what the row is compared with,
//! the row, limit again. What else the machine does moves all of them; a ratio moves less.

mod rows;
mod targets;

use std::path::Path;
use std::time::Duration;

use rig::artifacts::Artifacts;
use rig::bench::{self, Figures, Shape, What, Whom};
use rig::limit::Limit;
use rig::node::Settings;
use rig::pair::Pair;
use rig::{Failure, interrupt};
use serde::Serialize;
use serde_json::json;

use self::rows::{Kind, ROWS, Row};
use self::targets::{Held, Seen};
use crate::outside::{Stolen, cores, load_average};
use crate::{Outcome, say};

/// How long a load runs before it counts, in seconds: until the ledger's receipts have nearly all their rows.
const WARM_UP_S: f64 = 4.0;
/// How long saturation is measured, for a row that takes a part of it, in seconds.
const SATURATION_S: f64 = 2.0;

/// How many accounts there are.
const ACCOUNTS: u64 = 4_000;

/// How it is measured.
pub struct Plan<'a> {
    /// Only rows whose name contains this.
    pub only: Option<&'a str>,
    /// How long each figure is measured, in seconds.
    pub seconds: u64,
    /// How often each row is measured; the medians count.
    pub rounds: u64,
    /// Whether targets that are not held fail the drill.
    pub strict: bool,
}

/// A row, measured.
#[derive(Debug, Serialize)]
struct Measured {
    name: &'static str,
    #[serde(flatten)]
    seen: Seen,
    targets: Vec<Held>,
    /// The machine's, before the row.
    load_average: f64,
    /// What the host of a virtual machine took meanwhile, in parts of a hundred of the processors' time.
    stolen_percent: f64,
}

/// Measures all rows.
///
/// # Errors
/// When there is no such row, or something can't be run.
pub fn run(artifacts: &Artifacts, directory: &Path, plan: &Plan<'_>) -> Result<Outcome, Failure> {
    let rows: Vec<&Row> =
        ROWS.iter().filter(|row| plan.only.is_none_or(|only| row.name.contains(only))).collect();
    if rows.is_empty() {
        let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        return Err(Failure::new(format!("there is no such row; there are {}", names.join(", "))));
    }
    let head = format!(
        "{:<20} {:>10} {:>9} {:>9} {:>9} {:>10} {:>9}",
        "row", "events/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU s/1000", "of limit"
    );
    say(&head);
    let mut text = head;
    let mut measured = Vec::new();
    for row in rows {
        let (load_average, stolen) = (load_average()?, Stolen::now()?);
        let mut seen = Vec::new();
        for round in 0..plan.rounds {
            interrupt::check()?;
            let directory = directory.join(format!("{}-{round}", row.name));
            seen.push(measure(artifacts, &directory, row, plan.seconds as f64)?);
        }
        let seen = Seen::median(seen);
        let targets = row.targets.iter().map(|target| target.held(&seen)).collect();
        let stolen_percent = stolen.percent()?;
        let measured_row = Measured { name: row.name, seen, targets, load_average, stolen_percent };
        let lines = lines(&measured_row);
        say(&lines);
        text += &format!("\n{lines}");
        measured.push(measured_row);
    }
    let held = measured.iter().flat_map(|row| &row.targets).all(|target| target.holds);
    text += &format!(
        "\n{} cores; `limit` is two processes without runtime, plugin or database, under the same load before and after",
        cores()
    );
    let json = json!({"kind": "bench", "cores": cores(), "seconds": plan.seconds, "rounds": plan.rounds, "held": held, "rows": measured});
    Ok(Outcome { ok: held || !plan.strict, json, text })
}

fn lines(measured: &Measured) -> String {
    let line = |name: &str, figures: &Figures, ratio: Option<f64>| {
        let latency = &figures.latency_us;
        let [p50, p99, p999] = [latency.p50, latency.p99, latency.p999].map(|us| us / 1e3);
        let cpu = figures.cpu_s_per_1000.map_or("-".into(), |cpu| format!("{cpu:.5}"));
        let ratio = ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"));
        let rate = figures.rate_per_s;
        format!("{name:<20} {rate:>10.0} {p50:>9.3} {p99:>9.3} {p999:>9.3} {cpu:>10} {ratio:>9}")
    };
    let seen = &measured.seen;
    let mut lines = line(measured.name, &seen.row, seen.rate_of_limit());
    if let Some(limit) = &seen.limit {
        lines += &format!("\n{}", line("  limit", limit, None));
    }
    if let Some(reference) = &seen.reference {
        lines += &format!("\n{}", line("  compared with", reference, None));
    }
    for Held { what, is, wanted, holds } in &measured.targets {
        let word = if *holds { "holds" } else { "misses" };
        lines += &format!(
            "\n  {what}: {} ({wanted} is asked for): {word}",
            is.map_or("-".into(), |is| format!("{is:.4}"))
        );
    }
    let Measured { load_average, stolen_percent, .. } = measured;
    lines
        + &format!("\n  load average before: {load_average}; taken by the machine's host: {stolen_percent} %")
}

/// One round of a row.
fn measure(artifacts: &Artifacts, directory: &Path, row: &Row, seconds: f64) -> Result<Seen, Failure> {
    let closed = Shape::closed(ACCOUNTS, row.connections, row.in_flight, seconds);
    let mut shape = Shape { what: row.what, warm_up_seconds: WARM_UP_S, ..closed };
    let mut pair =
        Rowed::start(artifacts, &directory.join("row"), row.durability, (row.partitions, row.busy_poll_us))?;
    let over_http = matches!(row.what, What::TransfersOverHttp);
    let whom = |pair: &Rowed| if over_http { Whom::pair_over_http(&pair.0) } else { Whom::pair(&pair.0) };
    if let Kind::HalfOfSaturation = row.kind {
        let short = Shape { seconds: SATURATION_S, ..shape };
        shape.rate_per_s = Some((bench::run(artifacts, &whom(&pair), &short)?.rate_per_s / 2.0).round());
    }
    let limit = || -> Result<Option<Figures>, Failure> {
        // `limit` speaks the binary protocol and does transfers.
        if !matches!(row.what, What::Transfers) {
            return Ok(None);
        }
        let limit = Limit::start(artifacts.rig())?;
        bench::run(artifacts, &Whom::limit(&limit), &shape).map(Some)
    };
    let before = limit()?;
    let reference = match row.kind {
        Kind::Alone | Kind::HalfOfSaturation => None,
        Kind::Beside { what, durability } => {
            let mut other =
                Rowed::start(artifacts, &directory.join("beside"), durability, (1, row.busy_poll_us))?;
            let figures = bench::run(artifacts, &Whom::pair(&other.0), &Shape { what, ..shape })?;
            other.end()?;
            Some(figures)
        }
        Kind::Mixed => {
            let ordinary = bench::run(artifacts, &whom(&pair), &shape)?;
            pair.0.load_plugin(artifacts.ledger_v2())?;
            pair.0.wait_standby_on(artifacts.ledger_v2(), Duration::from_secs(30))?;
            Some(ordinary)
        }
    };
    let figures = bench::run(artifacts, &whom(&pair), &shape)?;
    pair.end()?;
    let after = limit()?;
    let limits: Vec<Figures> = [before, after].into_iter().flatten().collect();
    Ok(Seen { row: figures, limit: (!limits.is_empty()).then(|| targets::median(limits)), reference, shape })
}

/// A pair that runs the ledger and the archive.
struct Rowed(Pair);

impl Rowed {
    fn start(
        artifacts: &Artifacts,
        directory: &Path,
        durability: &str,
        (partitions, busy_poll_us): (u16, u64),
    ) -> Result<Self, Failure> {
        std::fs::create_dir_all(directory)?;
        let settings = || Settings {
            durability: Some(durability.into()),
            partitions: (partitions > 1).then_some(partitions),
            beside: vec![("archive".into(), artifacts.archive().to_owned())],
            more: format!("    busy_poll_us: {busy_poll_us},\n"),
            ..Settings::default()
        };
        let pair = Pair::launch(artifacts, directory, artifacts.ledger_v1(), [settings(), settings()])?;
        pair.wait_all_in_lock_step(Duration::from_secs(30))?;
        Ok(Rowed(pair))
    }

    fn end(&mut self) -> Result<(), Failure> {
        self.0.end()
    }
}
