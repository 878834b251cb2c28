//! Instructions as callgrind counts them: the same in every run, whatever else the machine does.
//!
//! A part runs in a process of its own, once for few rounds and once for many; the difference has no start in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use comfy_table::Table;
use micro::{BATCH, Part};

const FEW: u64 = 20;
const MANY: u64 = 60;
/// What is still taken for the same, in parts of the baseline.
const TOLERANCE: f64 = 0.05;

/// Counts all parts and compares them; whether none is above its baseline.
///
/// # Errors
/// A sentence when they can't be counted, or the baseline can't be read or written.
pub fn run(baseline: &Path, write: bool) -> Result<bool, String> {
    let mut counted = BTreeMap::new();
    for part in Part::ALL {
        eprintln!("counting {}", part.name());
        counted.insert(part.name().to_owned(), count(part)?);
    }
    let shown = |error: &dyn std::fmt::Display| format!("{}: {error}", baseline.display());
    if write {
        let text = ron::ser::to_string_pretty(&counted, ron::ser::PrettyConfig::default())
            .map_err(|error| shown(&error))?;
        let head = "// Instructions for one piece of each part: `cargo run --release -p micro -- instructions --write`.\n";
        std::fs::write(baseline, format!("{head}{text}\n")).map_err(|error| shown(&error))?;
    }
    let text = std::fs::read_to_string(baseline).map_err(|error| shown(&error))?;
    let known: BTreeMap<String, u64> = ron::from_str(&text).map_err(|error| shown(&error))?;
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["part", "instructions", "baseline", "ratio"]);
    let mut holds = true;
    for (part, now) in &counted {
        let before = known.get(part).copied();
        let ratio = before.map(|before| *now as f64 / before as f64);
        holds &= ratio.is_some_and(|ratio| ratio <= 1.0 + TOLERANCE);
        let before = before.map_or_else(|| "none".to_owned(), |before| before.to_string());
        let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.3}"));
        table.add_row([part.clone(), now.to_string(), before, ratio]);
    }
    println!("{table}");
    if !holds {
        println!("more than {:.0} % above the baseline, or unknown to it", TOLERANCE * 100.0);
    }
    Ok(holds)
}

fn count(part: Part) -> Result<u64, String> {
    let (few, many) = (total(part, FEW)?, total(part, MANY)?);
    Ok(many.saturating_sub(few) / ((MANY - FEW) * BATCH as u64))
}

fn total(part: Part, rounds: u64) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program's path: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["run", part.name(), "--rounds", &rounds.to_string()])
        .output()
        .map_err(|error| format!("valgrind can't be run: {error}; install it"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let found = said.lines().find_map(|line| line.split("Collected : ").nth(1)?.trim().parse().ok());
    found.filter(|_| output.status.success()).ok_or_else(|| format!("valgrind says no count:\n{said}"))
}
