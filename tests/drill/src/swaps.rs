//! Versions swapped under traffic, again and again, in processes that go on. After each swap the old library is gone:
//! the processor says so, and so do the kernel's own mappings. What leaks shows in the rows.
//!
//! The traffic is between few accounts, whose journals are rings that fill up: from then on the rows take as much memory
//! as ever, and what grows is not theirs. The processors run without transparent huge pages here: the kernel makes those by
//! filling up what a heap does not use, minutes later, some megabytes at a time, and a leak could hide in that.
//!
//! A command that is refused because the pair is not in lock step just then is asked again once it is, as its help says; how
//! often that was stands in the report.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use lockstep_core::command::Role;
use rig::artifacts::Artifacts;
use rig::load::{Load, LoadSettings, Pace};
use rig::node::Settings;
use rig::pair::Pair;
use rig::{Failure, admin, interrupt};
use serde_json::{Value, json};

use crate::outside::{Look, cores, load_average, look_at};
use crate::swap_rows::{HEADING, OfNode, Row, is_shown};
use crate::{Outcome, say};

/// Between so many accounts.
const ACCOUNTS: u32 = 2;
/// With one host, one swap in so many is followed by switchovers there and back: its version serves for a moment. The
/// number and that of the versions have no common factor, so each of them does.
const SERVES_EVERY: u64 = 9;
/// How long what a swap leaves on its way out may be seen: threads that are ending.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);
/// How long is waited between two looks at a processor.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A command that does not fit just then is asked so often.
const ASKED_MAX: usize = 10;
/// Its codes: not in lock step, and not now.
const NOT_NOW: [&str; 2] = ["LS0631", "LS0632"];
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

/// What went on beside the rows.
#[derive(Default)]
struct Course {
    switchovers: u64,
    /// Commands that did not fit at once, by the processor's own words.
    asked_again: BTreeMap<String, u64>,
    problems: Vec<String>,
    /// Threads and keys with each version, by processor and version.
    usual: BTreeMap<(usize, usize), Usual>,
}

/// What a processor has with a version once that has run there before.
#[derive(Default)]
struct Usual {
    swaps: u64,
    threads_and_keys: Option<(u64, u64)>,
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
    let (begun, load_before) = (Instant::now(), load_average()?);
    let mut course = Course::default();
    let mut rows: Vec<Row> = Vec::new();
    let mut next = [0_usize; 2];
    say(HEADING);
    for swap in 1..=plan.count {
        interrupt::check()?;
        let active = pair.active()?;
        let standby = 1 - active;
        // Each processor goes through the versions in turn, whichever of the two is the standby.
        let at = next[standby] % versions.len();
        next[standby] += 1;
        let (version, plugin) = versions[at];
        let started = Instant::now();
        course.command(&pair, active, &json!({"plugin": {"load": {"path": plugin}}}))?;
        pair.wait_at(active, "the standby on the new plugin", PATIENCE, LOOK_EVERY, |group| {
            let standby = group.members.iter().find(|member| member.role == Role::Standby);
            admin::in_lock_step(group) && standby.is_some_and(|standby| standby.hash == Some(hashes[at]))
        })?;
        let swap_ms = started.elapsed().as_secs_f64() * 1e3;
        let seen = course.look_after(&pair, standby, at, swap)?;
        let gone_ms = started.elapsed().as_secs_f64() * 1e3 - swap_ms;
        let row = Row { swap, node: pair.node(standby).name().into(), version, swap_ms, gone_ms, seen };
        if is_shown(swap, plan.count) {
            say(&row.line());
        }
        rows.push(row);
        if course.problems.len() >= PROBLEMS_MAX {
            course.problems.push("and it was given up".into());
            break;
        }
        if !plan.one_host {
            // The other one is the standby next.
            course.switch_over(&pair, active)?;
        } else if swap.is_multiple_of(SERVES_EVERY) {
            course.switch_over(&pair, active)?;
            course.switch_over(&pair, standby)?;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let figures = load.phase("end")?;
    let stopped = load.stop()?;
    if pids != [pair.node(0).ready().pid, pair.node(1).ready().pid] {
        course.problems.push("the swaps were not all made in the same two processes".to_owned());
    }
    let nodes = course.nodes(&rows, plan);
    let audit = pair.end_and_audit(&stopped.record, &stopped.done.dropped, &[])?;
    let ok =
        audit.holds() && course.problems.is_empty() && figures.failed == 0 && rows.len() as u64 == plan.count;
    let shown: Vec<&Row> = rows.iter().filter(|row| is_shown(row.swap, plan.count)).collect();
    let mut text = format!(
        "{} swaps and {} switchovers in {seconds:.0} s, {:.1} ms a swap with all that is waited for\n\
         {} transfers meanwhile, longest gap {:.1} ms, failed {}, connections dropped {}",
        rows.len(),
        course.switchovers,
        seconds * 1e3 / rows.len().max(1) as f64,
        figures.events,
        figures.longest_gap_ms,
        figures.failed,
        audit.connections_dropped
    );
    for of_node in &nodes {
        text += &format!("\n{}", of_node.lines());
    }
    for (why, times) in &course.asked_again {
        text += &format!("\nasked again, {times} times: {why}");
    }
    for problem in course.problems.iter().chain(&audit.problems) {
        text += &format!("\nproblem: {problem}");
    }
    let json = json!({
        "swaps": rows.len(), "seconds": (seconds * 10.0).round() / 10.0, "switchovers": course.switchovers,
        "one_host": plan.one_host, "rows": shown, "processors": nodes, "asked_again": course.asked_again,
        "problems": course.problems, "traffic": figures, "audit": audit,
        "machine": {"cores": cores(), "load_average_before": load_before},
    });
    Ok(Outcome { ok, json, text })
}

impl Course {
    /// Asks the processor at `at`; again where the pair is not as it has to be just then, as an operator would.
    fn command(&mut self, pair: &Pair, at: usize, verb: &Value) -> Result<(), Failure> {
        for _ in 1..ASKED_MAX {
            match admin::asked(&pair.node(at).ready().admin, verb)? {
                Err(refused) if NOT_NOW.contains(&&*refused.code) => {
                    *self.asked_again.entry(refused.to_string()).or_default() += 1;
                    pair.wait_in_lock_step(PATIENCE)?;
                }
                asked => return asked.map(drop).map_err(Failure::from),
            }
        }
        admin::ask(&pair.node(at).ready().admin, verb).map(drop)
    }

    /// A planned switchover from the processor at `from`, asked for without the command line, which is a process a time.
    fn switch_over(&mut self, pair: &Pair, from: usize) -> Result<(), Failure> {
        self.command(pair, from, &json!("switch_over"))?;
        self.switchovers += 1;
        pair.wait_at(1 - from, "the switchover", PATIENCE, LOOK_EVERY, |group| {
            admin::own_role(group) == Some(Role::Active) && admin::in_lock_step(group)
        })?;
        Ok(())
    }

    /// Waits until nothing of the old version is left in the processor at `at`, and says how it looks: threads and keys are
    /// as they were with this version before.
    fn look_after(&mut self, pair: &Pair, at: usize, version: usize, swap: u64) -> Result<Look, Failure> {
        let node = pair.node(at);
        let usual = self.usual.entry((at, version)).or_default();
        usual.swaps += 1;
        let since = Instant::now();
        let seen = loop {
            interrupt::check()?;
            let list = admin::plugin_list(&node.ready().admin)?;
            let mapped = list.plugins.iter().filter(|plugin| plugin.state != "unloaded").count();
            if mapped == 1 || since.elapsed() > PATIENCE {
                let seen = look_at(node, &list)?;
                let counted = (seen.threads, seen.keys);
                let is_usual = usual.threads_and_keys.is_none_or(|usual| usual == counted);
                if (is_usual && seen.plugins.len() == 1) || since.elapsed() > SETTLE_TIME_MAX {
                    if mapped != 1 || seen.plugins.len() != 1 {
                        self.problems.push(format!(
                            "after swap {swap}: {mapped} generations are mapped ({:?}), and the kernel maps {:?}",
                            list.plugins.iter().flat_map(|plugin| &plugin.reasons).collect::<Vec<_>>(),
                            seen.plugins
                        ));
                    }
                    break seen;
                }
            }
            std::thread::sleep(LOOK_EVERY);
        };
        // The first of each version have their threads and keys made on the way.
        let counted = (seen.threads, seen.keys);
        match usual.threads_and_keys {
            Some(usual) if usual != counted => self.problems.push(format!(
                "after swap {swap}: {counted:?} threads and keys, and {usual:?} with this version before"
            )),
            None if usual.swaps > 2 => usual.threads_and_keys = Some(counted),
            _ => {}
        }
        Ok(seen)
    }

    /// What has become of each processor in which versions were swapped.
    fn nodes(&mut self, rows: &[Row], plan: &Plan) -> Vec<OfNode> {
        let mut by_node: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        for row in rows {
            by_node.entry(&row.node).or_default().push(row);
        }
        let expected = if plan.one_host { 1 } else { 2.min(rows.len()) };
        if by_node.len() != expected {
            let (found, expected) = (by_node.len(), expected);
            self.problems
                .push(format!("swaps were made in {found} processes, and should have been in {expected}"));
        }
        let nodes: Vec<OfNode> = by_node.values().map(|rows| OfNode::new(rows)).collect();
        self.problems.extend(nodes.iter().flat_map(OfNode::problems));
        nodes
    }
}
