//! Versions swapped under traffic, again and again, in processes that go on. After each swap the old library is gone:
//! the processor says so, and so do the kernel's own mappings. What leaks shows in the rows.
//!
//! The traffic is between few accounts, whose journals are rings that fill up: from then on the rows take as much memory
//! as ever, and what grows is not theirs. The processors run without transparent huge pages here: the kernel makes those by
//! filling up what a heap does not use, minutes later, some megabytes at a time, and a leak could hide in that.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rig::admin;
use rig::artifacts::Artifacts;
use rig::load::{Load, LoadSettings, Pace};
use rig::node::Settings;
use rig::pair::Pair;
use rig::{Failure, interrupt};
use serde::Serialize;
use serde_json::{Value, json};

use crate::outside::{Look, look};
use crate::{Outcome, say};

/// Between so many accounts.
const ACCOUNTS: u32 = 2;
/// With one host, one swap in so many is followed by switchovers there and back: its version serves for a moment. The
/// number and that of the versions have no common factor, so each of them does.
const SERVES_EVERY: u64 = 9;
/// Rows are printed one in so many, that there are about a hundred.
const PRINTED: u64 = 100;
/// From so many swaps on memory is judged: it grows until rings, buffers and the allocator have what they need.
const JUDGED_FROM: u64 = 1_000;
/// How much it may grow from a tenth of the way to the end, in percent.
const GROWTH_PERCENT_MAX: f64 = 5.0;
/// How long what a swap leaves on its way out may be seen: threads that are ending.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);
/// The most problems that are told.
const PROBLEMS_MAX: usize = 20;

/// What is done.
pub struct Plan {
    /// How often.
    pub count: u64,
    /// Transfers a second meanwhile.
    pub rate: u64,
    /// All swaps in one process, between two versions.
    pub one_host: bool,
}

/// One swap.
#[derive(Debug, Serialize)]
struct Row {
    swap: u64,
    node: String,
    version: &'static str,
    swap_ms: f64,
    seen: Look,
}

/// Swaps as `plan` says.
///
/// # Errors
/// When a swap can't be carried out.
pub fn run(artifacts: &Artifacts, directory: &Path, plan: &Plan) -> Result<Outcome, Failure> {
    // What this process starts inherits it.
    rustix::thread::disable_transparent_huge_pages(true).map_err(std::io::Error::from)?;
    let settings = || Settings { more: "    recent_mb: 8,\n".into(), ..Settings::default() };
    let mut pair = Pair::start_with(artifacts, directory, artifacts.ledger_v1(), [settings(), settings()])?;
    let pace = Pace::Open { rate_per_s: plan.rate as f64 };
    let mut settings = LoadSettings::new(pair.events(), pace, directory.join("load.record"));
    (settings.clients, settings.accounts, settings.deadline_ms) = (4, ACCOUNTS, 30_000);
    let mut load = Load::start(artifacts.rig(), settings)?;
    load.phase("swaps")?;
    let pids = [pair.node(0).ready().pid, pair.node(1).ready().pid];
    let all = [
        ("ledger-v1-twin", artifacts.ledger_v1_twin()),
        ("ledger-v2", artifacts.ledger_v2()),
        ("ledger-v1", artifacts.ledger_v1()),
    ];
    let versions = &all[..if plan.one_host { 2 } else { 3 }];
    let hashes = versions.iter().map(|(_, plugin)| pair.hash_of(plugin)).collect::<Result<Vec<_>, _>>()?;
    let mut rows: Vec<Row> = Vec::new();
    let mut problems = Vec::new();
    let mut usual = BTreeMap::new();
    // Each processor goes through the versions in turn, whichever of the two is the standby.
    let mut next = [0_usize; 2];
    let heading =
        "swap   on  version          ms    rss KiB  mappings  threads  keys  descriptors  mapped plugins";
    let mut text = heading.to_owned();
    say(heading);
    for swap in 1..=plan.count {
        interrupt::check()?;
        let standby = 1 - pair.active()?;
        let at = next[standby] % versions.len();
        next[standby] += 1;
        let (version, plugin) = versions[at];
        let started = Instant::now();
        let verb = json!({"plugin": {"load": {"path": plugin}}});
        admin::ask(&pair.node(1 - standby).ready().admin, &verb)?;
        pair.wait_standby_on_hash(hashes[at], PATIENCE)?;
        let swap_ms = started.elapsed().as_secs_f64() * 1e3;
        let still = pair.wait_unloaded(standby, PATIENCE)?;
        let seen = settled(&pair, standby, usual.get(&(standby, at)))?;
        let plugins = admin::plugins(&pair.node(standby).ready().admin)?;
        let mapped = plugins.iter().filter(|plugin| plugin.state != "unloaded").count();
        if mapped != 1 || seen.plugins.len() != 1 || !still.is_empty() {
            problems.push(format!(
                "after swap {swap}: {mapped} generations are mapped ({still:?}), and the kernel maps {:?}",
                seen.plugins
            ));
        }
        // The first of each version have their threads and keys made on the way.
        let of_this =
            rows.iter().filter(|row: &&Row| row.node == pair.node(standby).name() && row.version == version);
        let counted = (seen.threads, seen.keys);
        match usual.get(&(standby, at)) {
            Some(usual) if *usual != counted => problems.push(format!(
                "after swap {swap}: {counted:?} threads and keys, and {usual:?} with this version before"
            )),
            None if of_this.count() >= 2 => drop(usual.insert((standby, at), counted)),
            _ => {}
        }
        let row = Row { swap, node: pair.node(standby).name().into(), version, swap_ms, seen };
        if swap.is_multiple_of(plan.count.div_ceil(PRINTED)) {
            let line = line(&row);
            say(&line);
            text += &format!("\n{line}");
        }
        rows.push(row);
        if problems.len() >= PROBLEMS_MAX {
            problems.push("and it was given up".into());
            break;
        }
        if !plan.one_host {
            // The other one is the standby next.
            switch_over(&pair)?;
        } else if swap.is_multiple_of(SERVES_EVERY) {
            switch_over(&pair)?;
            switch_over(&pair)?;
        }
    }
    let figures = load.phase("end")?;
    let stopped = load.stop()?;
    let same = pids == [pair.node(0).ready().pid, pair.node(1).ready().pid];
    if !same {
        problems.push("the swaps were not all made in the same two processes".to_owned());
    }
    let summary = summary(&rows, plan, &mut problems);
    let audit = pair.end_and_audit(&stopped.record, &stopped.done.dropped, &[])?;
    let ok = audit.holds() && problems.is_empty() && figures.failed == 0 && rows.len() as u64 == plan.count;
    text += &format!(
        "\n{} transfers meanwhile, longest gap {:.1} ms, failed {}, connections dropped {}",
        figures.events, figures.longest_gap_ms, figures.failed, audit.connections_dropped
    );
    for (node, of_node) in &summary {
        text += &format!("\n{node}: {of_node}");
    }
    for problem in problems.iter().chain(&audit.problems) {
        text += &format!("\nproblem: {problem}");
    }
    let json =
        json!({"swaps": rows, "summary": summary, "problems": problems, "traffic": figures, "audit": audit});
    Ok(Outcome { ok, json, text })
}

fn line(row: &Row) -> String {
    let Row { swap, node, version, swap_ms, seen } = row;
    format!(
        "{swap:>5}  {node:<2}  {version:<14} {swap_ms:>6.1} {:>9} {:>9} {:>8} {:>5} {:>12} {:>15}",
        seen.rss_kib,
        seen.mappings,
        seen.threads,
        seen.keys,
        seen.descriptors,
        seen.plugins.len()
    )
}

/// How the processor looks once what the swap left on its way out is gone: as it looked with this version before.
fn settled(pair: &Pair, at: usize, usual: Option<&(u64, u64)>) -> Result<Look, Failure> {
    let until = Instant::now() + SETTLE_TIME_MAX;
    loop {
        let seen = look(pair.node(at))?;
        if usual.is_none_or(|usual| *usual == (seen.threads, seen.keys)) || Instant::now() > until {
            return Ok(seen);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A planned switchover, asked for without the command line, which is a process a time.
fn switch_over(pair: &Pair) -> Result<(), Failure> {
    let before = pair.active()?;
    admin::ask(&pair.node(before).ready().admin, &json!("switch_over"))?;
    let other = pair.node(1 - before).name().to_owned();
    pair.wait_until("the switchover", PATIENCE, |group| {
        let active = group.members.iter().find(|member| member.role == lockstep_core::command::Role::Active);
        Ok(admin::in_lock_step(group) && active.is_some_and(|active| active.node.to_string() == other))
    })?;
    Ok(())
}

/// Its name, and how it is read off a look.
type Figure = (&'static str, fn(&Look) -> u64);

/// The same figures early and late, by node, and whether they grew.
fn summary(rows: &[Row], plan: &Plan, problems: &mut Vec<String>) -> BTreeMap<String, Value> {
    let mut by_node: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        by_node.entry(&row.node).or_default().push(row);
    }
    let nodes = if plan.one_host { 1 } else { 2.min(rows.len()) };
    if by_node.len() != nodes {
        problems
            .push(format!("swaps were made in {} processes, and should have been in {nodes}", by_node.len()));
    }
    let mut all = BTreeMap::new();
    for (node, rows) in by_node {
        let window = (rows.len() / 100).max(1);
        let early = &rows[(rows.len() / 10).saturating_sub(window)..(rows.len() / 10).max(1)];
        let late = &rows[rows.len() - window..];
        let growth = |of: fn(&Look) -> u64| {
            let (early, late) = (median(early, of), median(late, of));
            (early, late, (late as f64 / early.max(1) as f64 - 1.0) * 100.0)
        };
        let mut of_node = serde_json::Map::new();
        let figures: [Figure; 5] = [
            ("rss_kib", |seen| seen.rss_kib),
            ("mappings", |seen| seen.mappings),
            ("descriptors", |seen| seen.descriptors),
            ("threads", |seen| seen.threads),
            ("keys", |seen| seen.keys),
        ];
        for (name, of) in figures {
            let (early, late, percent) = growth(of);
            if plan.count >= JUDGED_FROM && percent > GROWTH_PERCENT_MAX {
                problems.push(format!("{name} of {node} grew by {percent:.1} %, from {early} to {late}"));
            }
            let percent = (percent * 10.0).round() / 10.0;
            of_node.insert(name.into(), json!({"early": early, "late": late, "growth_percent": percent}));
        }
        let mut swap_ms: Vec<f64> = rows.iter().map(|row| row.swap_ms).collect();
        swap_ms.sort_by(f64::total_cmp);
        of_node.insert("swaps".into(), rows.len().into());
        of_node.insert("swap_ms_median".into(), swap_ms[swap_ms.len() / 2].into());
        all.insert(node.to_owned(), Value::Object(of_node));
    }
    all
}

fn median(rows: &[&Row], of: fn(&Look) -> u64) -> u64 {
    let mut values: Vec<u64> = rows.iter().map(|row| of(&row.seen)).collect();
    values.sort_unstable();
    values[values.len() / 2]
}
