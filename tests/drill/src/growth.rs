//! How each figure changes as something grows: rows, partitions, connections, bodies, work units of a procedure. All else stays
//! as it is.

use std::path::Path;

use rig::artifacts::Artifacts;
use rig::bench::{self, Figures, Shape, What, Whom};
use rig::node::Settings;
use rig::pair::Pair;
use rig::{Failure, interrupt};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::outside::{cores, load_average, resident_mb};
use crate::{Outcome, say};

/// How long a load runs before it counts, in seconds.
const WARM_UP_S: f64 = 1.0;
/// How many accounts, or documents, there are where they do not grow.
const ROWS: u64 = 10_000;
/// What a processor keeps of the recent stream by default, in megabytes.
const RECENT_MB: u64 = 32;
/// How long a pair may take until it is in lock step.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// What grows, and through which sizes.
struct Dimension {
    name: &'static str,
    unit: &'static str,
    sizes: &'static [u64],
}

const DIMENSIONS: [Dimension; 5] = [
    Dimension { name: "rows", unit: "rows", sizes: &[10_000, 100_000, 1_000_000, 10_000_000] },
    Dimension { name: "partitions", unit: "partitions", sizes: &[1, 2, 4, 16, 64] },
    Dimension { name: "connections", unit: "connections", sizes: &[1, 10, 100, 1_000, 10_000] },
    Dimension { name: "bodies", unit: "bytes a document", sizes: &[100, 1_000, 10_000, 100_000, 1_000_000] },
    Dimension { name: "units", unit: "work units a procedure", sizes: &[4, 8, 16, 32, 64] },
];

/// Figures at one size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Point {
    /// The size.
    pub size: u64,
    /// Resident memory of the active behind the load, in megabytes.
    pub resident_mb: u64,
    /// What was seen.
    pub seen: Figures,
}

/// Figures of all sizes of something.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Grown {
    /// What grew.
    pub name: String,
    /// In which unit.
    pub unit: String,
    /// From the smallest on.
    pub points: Vec<Point>,
}

/// All of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Growth {
    /// Always `growth`.
    pub kind: String,
    /// How many cores there were.
    pub cores: usize,
    /// The machine's load average before.
    pub load_average: f64,
    /// How long each was measured, in seconds.
    pub seconds: u64,
    /// Each dimension.
    pub grown: Vec<Grown>,
}

/// Measures each size for `seconds`; only dimensions whose name contains `only`.
///
/// # Errors
/// When there is no such dimension, or something can't be run.
pub fn run(
    artifacts: &Artifacts,
    directory: &Path,
    only: Option<&str>,
    seconds: u64,
) -> Result<Outcome, Failure> {
    let load_average = load_average()?;
    let wanted = DIMENSIONS.iter().filter(|dimension| only.is_none_or(|only| dimension.name.contains(only)));
    let head = format!(
        "{:<34} {:>10} {:>9} {:>9} {:>9} {:>10} {:>9}",
        "size", "events/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU s/1000", "RSS MB"
    );
    say(&head);
    let (mut text, mut grown, mut unanswered) = (head, Vec::new(), 0);
    for dimension in wanted {
        let mut points = Vec::new();
        for size in dimension.sizes {
            interrupt::check()?;
            let directory = directory.join(format!("{}-{size}", dimension.name));
            let point = measure(artifacts, &directory, dimension.name, *size, seconds as f64)?;
            unanswered += point.seen.unanswered;
            let line = line(dimension, &point);
            say(&line);
            text += &format!("\n{line}");
            points.push(point);
        }
        grown.push(Grown { name: dimension.name.into(), unit: dimension.unit.into(), points });
    }
    if grown.is_empty() {
        let names = DIMENSIONS.map(|dimension| dimension.name).join(", ");
        return Err(Failure::new(format!("nothing of that name grows; there are {names}")));
    }
    text += &format!("\n{} cores, load average {load_average} before", cores());
    let growth = Growth { kind: "growth".into(), cores: cores(), load_average, seconds, grown };
    Ok(Outcome { ok: unanswered == 0, json: json!(growth), text })
}

fn line(dimension: &Dimension, point: &Point) -> String {
    let latency = &point.seen.latency_us;
    let [p50, p99, p999] = [latency.p50, latency.p99, latency.p999].map(|us| us / 1e3);
    let cpu = point.seen.cpu_s_per_1000.map_or("-".into(), |cpu| format!("{cpu:.5}"));
    let size = format!("{} {}", point.size, dimension.unit);
    let (rate, resident) = (point.seen.rate_per_s, point.resident_mb);
    format!("{size:<34} {rate:>10.0} {p50:>9.3} {p99:>9.3} {p999:>9.3} {cpu:>10} {resident:>9}")
}

/// The load of a dimension at a size: as many events under way as keep the pair busy, whatever the size is.
fn shape(name: &str, size: u64, seconds: f64) -> Shape {
    let all = Shape { warm_up_seconds: WARM_UP_S, ..Shape::closed(ROWS, 64, 16, seconds) };
    let small = u32::try_from(size).unwrap_or(u32::MAX);
    match name {
        // The ledger has no room for so many accounts.
        "rows" => Shape { what: What::Documents { bytes: 100 }, accounts: size, ..all },
        "connections" => Shape { connections: small, in_flight: 1, ..all },
        // At most 16 MB under way.
        "bodies" => Shape { what: What::Documents { bytes: small }, connections: 16, in_flight: 1, ..all },
        "units" => Shape { what: What::Reservations { units: small }, connections: 16, in_flight: 8, ..all },
        _ => all,
    }
}

fn measure(
    artifacts: &Artifacts,
    directory: &Path,
    name: &str,
    size: u64,
    seconds: f64,
) -> Result<Point, Failure> {
    std::fs::create_dir_all(directory)?;
    let partitions = if name == "partitions" { u16::try_from(size).ok() } else { None };
    let settings = || Settings {
        partitions: partitions.filter(|count| *count > 1),
        beside: vec![("archive".into(), artifacts.archive().to_owned())],
        // What a partner may miss is the same whatever the number of partitions.
        more: format!("recent_mb: {},", (RECENT_MB / u64::from(partitions.unwrap_or(1))).max(1)),
        ..Settings::default()
    };
    let mut pair = Pair::launch(artifacts, directory, artifacts.ledger_v1(), [settings(), settings()])?;
    pair.wait_all_in_lock_step(PATIENCE)?;
    let mut whom = Whom::pair(&pair);
    if name == "connections" {
        // Each would have a second one to the standby, to be answered at once should the active die: twice the descriptors.
        whom.addresses = vec![pair.node(pair.active()?).ready().events.clone()];
    }
    let seen = bench::run(artifacts, &whom, &shape(name, size, seconds))?;
    let resident_mb = resident_mb(pair.node(pair.active()?).ready().pid)?;
    pair.end()?;
    std::fs::remove_dir_all(directory)?;
    Ok(Point { size, resident_mb, seen })
}
