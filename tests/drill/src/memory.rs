//! Whether a processor's memory stays as it is over many millions of transfers: the ledger bounds its journal, and the runtime all
//! that it keeps.

use std::path::Path;

use rig::artifacts::Artifacts;
use rig::bench::{self, Shape, Whom};
use rig::node::Settings;
use rig::pair::Pair;
use rig::{Failure, interrupt};
use serde::Serialize;
use serde_json::json;

use crate::outside::{Stolen, cores, load_average, resident_mb};
use crate::{Outcome, say};

/// How long the load runs between two looks, in seconds.
const BETWEEN_S: f64 = 15.0;
/// How many accounts there are.
const ACCOUNTS: u64 = 100_000;
/// What is asked for, in megabytes.
const RESIDENT_MB_MAX: u64 = 300;
/// Flat: so much more than in the middle of the run is not growth, in parts of a hundred.
const GROWTH_PERCENT_MAX: u64 = 5;

/// One look.
#[derive(Debug, Serialize)]
struct Look {
    transfers: u64,
    rate_per_s: f64,
    resident_mb: [u64; 2],
}

/// Runs `millions` of transfers under a closed load, with `recent_mb` of the recent stream; a processor's default unless said.
///
/// # Errors
/// When the pair or the load can't be run.
pub fn run(
    artifacts: &Artifacts,
    directory: &Path,
    millions: u64,
    recent_mb: Option<u64>,
) -> Result<Outcome, Failure> {
    let (machine, stolen) = (load_average()?, Stolen::now()?);
    let more = recent_mb.map_or(String::new(), |mb| format!("recent_mb: {mb},"));
    let settings = Settings { durability: Some("replicated".into()), more, ..Settings::default() };
    let mut pair =
        Pair::start_with(artifacts, directory, artifacts.ledger_v1(), [settings.clone(), settings])?;
    let shape = Shape::closed(ACCOUNTS, 8, 256, BETWEEN_S);
    let mut looks: Vec<Look> = Vec::new();
    let mut transfers = 0;
    while transfers < millions * 1_000_000 {
        interrupt::check()?;
        let seen = bench::run(artifacts, &Whom::pair(&pair), &shape)?;
        transfers += seen.events;
        let resident = [resident_mb(pair.node(0).ready().pid)?, resident_mb(pair.node(1).ready().pid)?];
        say(&format!(
            "{:>6.1} million transfers, {:>8.0}/s, resident {} and {} MB",
            transfers as f64 / 1e6,
            seen.rate_per_s,
            resident[0],
            resident[1]
        ));
        looks.push(Look { transfers, rate_per_s: seen.rate_per_s, resident_mb: resident });
    }
    pair.end()?;
    let stolen_percent = stolen.percent()?;
    let largest = |looks: &[Look]| looks.iter().flat_map(|look| look.resident_mb).max().unwrap_or(0);
    let (first, second) = looks.split_at(looks.len() / 2);
    let (before, after) = (largest(first), largest(second));
    let flat = after * 100 <= before.max(1) * (100 + GROWTH_PERCENT_MAX);
    let text = format!(
        "{:.1} million transfers between {ACCOUNTS} accounts: at most {before} MB resident in the first half, {after} MB in the second \
         (below {RESIDENT_MB_MAX} MB, and not above the first half by more than {GROWTH_PERCENT_MAX} %)\n\
         {} cores, load average {machine} before, {stolen_percent} % taken by the machine's host",
        transfers as f64 / 1e6,
        cores(),
    );
    let json = json!({
        "transfers": transfers, "accounts": ACCOUNTS, "recent_mb": recent_mb, "looks": looks,
        "resident_mb": {"first_half": before, "second_half": after}, "flat": flat, "cores": cores(), "load_average": machine,
        "stolen_percent": stolen_percent,
    });
    Ok(Outcome { ok: flat && after < RESIDENT_MB_MAX, json, text })
}
