//! Versions swapped under traffic, again and again, in the same two processes. After each swap the old library is gone:
//! the processor says so, and so do the kernel's own mappings. What leaks shows in the rows.

use std::path::Path;
use std::time::{Duration, Instant};

use rig::admin;
use rig::artifacts::Artifacts;
use rig::load::{Load, LoadSettings, Pace};
use rig::pair::Pair;
use rig::{Failure, interrupt};
use serde_json::{Value, json};

use crate::outside::look;
use crate::{Outcome, say};

/// Swaps `count` times while `rate` transfers a second are sent.
///
/// # Errors
/// When a swap can't be carried out.
pub fn run(artifacts: &Artifacts, directory: &Path, count: u64, rate: u64) -> Result<Outcome, Failure> {
    let mut pair = Pair::start(artifacts, directory, artifacts.ledger_v1())?;
    let pace = Pace::Open { rate_per_s: rate as f64 };
    let mut load =
        Load::start(artifacts.rig(), LoadSettings::new(pair.events(), pace, directory.join("load.record")))?;
    load.phase("swaps")?;
    let pids = [pair.node(0).ready().pid, pair.node(1).ready().pid];
    let versions = [
        ("ledger-v1-twin", artifacts.ledger_v1_twin()),
        ("ledger-v2", artifacts.ledger_v2()),
        ("ledger-v1", artifacts.ledger_v1()),
    ];
    let mut rows: Vec<Value> = Vec::new();
    let mut problems = Vec::new();
    // Each processor goes through the versions in turn, whichever of the two is the standby.
    let mut next = [0_usize; 2];
    let mut text = String::from(
        "swap  on  version          ms    rss KiB  mappings  threads  descriptors  mapped plugins",
    );
    for swap in 1..=count {
        interrupt::check()?;
        let standby = 1 - pair.active()?;
        let (version, plugin) = versions[next[standby] % versions.len()];
        next[standby] += 1;
        let started = Instant::now();
        pair.load_plugin(plugin)?;
        pair.wait_standby_on(plugin, Duration::from_secs(30))?;
        let swapped_ms = started.elapsed().as_secs_f64() * 1e3;
        let socket = &pair.node(standby).ready().admin;
        let still = pair.wait_unloaded(standby, Duration::from_secs(10))?;
        let plugins = admin::plugins(socket)?;
        let mapped = plugins.iter().filter(|plugin| plugin.state != "unloaded").count();
        let seen = look(pair.node(standby))?;
        if mapped != 1 || seen.plugins.len() != 1 || !still.is_empty() {
            problems.push(format!(
                "after swap {swap}: {mapped} generations are mapped ({still:?}), and the kernel maps {:?}",
                seen.plugins
            ));
        }
        let node = pair.node(standby).name();
        let row = format!(
            "{swap:>4}  {node:<2}  {version:<14} {swapped_ms:>6.1} {:>9} {:>9} {:>8} {:>12} {:>15}",
            seen.rss_kib,
            seen.mappings,
            seen.threads,
            seen.descriptors,
            seen.plugins.len()
        );
        say(&row);
        text += &format!("\n{row}");
        rows.push(
            json!({"swap": swap, "node": node, "version": version, "swap_ms": swapped_ms, "seen": seen}),
        );
        // The other one is the standby next.
        pair.switch_over()?;
    }
    let figures = load.phase("end")?;
    let stopped = load.stop()?;
    let same = pids == [pair.node(0).ready().pid, pair.node(1).ready().pid];
    if !same {
        problems.push("the swaps were not all made in the same two processes".to_owned());
    }
    let audit = pair.end_and_audit(&stopped.record, &stopped.done.dropped, &[])?;
    let ok = audit.holds() && problems.is_empty() && figures.failed == 0 && rows.len() as u64 == count;
    text += &format!(
        "\n{} transfers meanwhile, longest gap {:.1} ms, failed {}, connections dropped {}",
        figures.events, figures.longest_gap_ms, figures.failed, audit.connections_dropped
    );
    for problem in problems.iter().chain(&audit.problems) {
        text += &format!("\nproblem: {problem}");
    }
    let json = json!({"swaps": rows, "problems": problems, "traffic": figures, "audit": audit});
    Ok(Outcome { ok, json, text })
}
