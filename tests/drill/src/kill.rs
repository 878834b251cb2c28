//! The active killed under load, again and again, and started again after each. At each kill, or each so many, both
//! processors are brought to rest and ended, and their databases are held against everything that all loads so far were told.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use rig::artifacts::Artifacts;
use rig::audit::{AuditReport, Killed};
use rig::bench::{self, Shape, What, Whom};
use rig::load::record::LoadRecord;
use rig::load::{Load, LoadSettings, Pace};
use rig::node::{Node, Settings};
use rig::pair::Pair;
use rig::{Failure, interrupt};
use serde_json::{Value, json};

use crate::outside::look;
use crate::{Outcome, say};

/// The median of the events in flight at a kill must be above this, or the kills prove little.
const IN_FLIGHT_MEDIAN_MIN: u64 = 16;
/// Eight clients with as many each: some are always under way, and the bounded journal keeps them all.
const IN_FLIGHT: usize = 8;

/// So many documents of an archive take a megabyte at least: some 120 bytes each.
const DOCUMENTS_PER_MB: u64 = 9_000;
/// How long a pair may take until it is in lock step: it has all those rows to read.
const WHOLE_MAX: Duration = Duration::from_secs(120);

/// Kills `count` times, each time once the active's resident size is at least `resident_mb`, of which an archive beside the
/// ledger makes up most; audits after each `audit_every` kills and after the last.
///
/// # Errors
/// When the pair can't be brought back, or is not as large as is wanted.
pub fn run(
    artifacts: &Artifacts,
    directory: &Path,
    (count, audit_every): (u64, u64),
    resident_mb: u64,
) -> Result<Outcome, Failure> {
    let mut pair = started(artifacts, directory, resident_mb)?;
    let mut record: Option<LoadRecord> = None;
    let mut rows: Vec<Value> = Vec::new();
    let (mut dropped, mut killed) = (Vec::new(), Vec::new());
    let mut in_flight = Vec::new();
    let mut problems: Vec<String> = Vec::new();
    let mut text = String::from(
        "kill  of  resident MB  in flight  service again ms  back ms  transfers  retries  failed  audit",
    );
    for kill in 1..=count {
        interrupt::check()?;
        let path = directory.join(format!("load-{kill}.record"));
        let mut settings = LoadSettings::new(pair.events(), Pace::Closed { in_flight: IN_FLIGHT }, path);
        settings.first_account =
            record.as_ref().map_or(0, |record| record.opened.first + record.opened.accounts);
        let mut load = Load::start(artifacts.rig(), settings)?;
        // Not always at the same place of whatever goes on in cycles.
        std::thread::sleep(Duration::from_millis(300 + kill * 37 % 200));
        let active = pair.active()?;
        let resident = resident(pair.node(active), resident_mb)?;
        let name = pair.node(active).name().to_owned();
        let address = pair.node(active).ready().events.clone();
        load.phase("kill")?;
        let under_way = load.under_way()?;
        let from_ms = now_ms();
        pair.node_mut(active).kill();
        std::thread::sleep(Duration::from_millis(300));
        let gap_ms = load.phase("return")?.longest_gap_ms;
        let started = Instant::now();
        pair.restart(active)?;
        pair.wait_all_in_lock_step(WHOLE_MAX)?;
        let back_ms = started.elapsed().as_secs_f64() * 1e3;
        std::thread::sleep(Duration::from_millis(200));
        let kill_seen = Killed { address, from_ms, until_ms: now_ms() };
        let stopped = load.stop()?;
        let transfers = stopped.record.transfers.len();
        let so_far = match record.take() {
            Some(before) => before.followed_by(stopped.record)?,
            None => stopped.record,
        };
        dropped.extend(stopped.done.dropped);
        killed.push(kill_seen);
        let due = kill.is_multiple_of(audit_every) || kill == count;
        let audit = if due { Some(pair.end_and_audit(&so_far, &dropped, &killed)?) } else { None };
        record = Some(so_far);
        let failed: u64 = stopped.phases.iter().map(|phase| phase.failed).sum();
        let holds = audit.as_ref().is_none_or(AuditReport::holds) && failed == 0;
        if !holds {
            let wrong = audit.iter().flat_map(|audit| audit.problems.iter().cloned());
            problems.push(format!("kill {kill}: {failed} failed; {}", wrong.collect::<Vec<_>>().join("; ")));
            problems.extend(stopped.done.failures.iter().take(3).cloned());
        }
        in_flight.push(under_way);
        let row = format!(
            "{kill:>4}  {name:<2} {resident:>12} {under_way:>10} {gap_ms:>17.1} {back_ms:>8.0} {transfers:>10} {:>8} {failed:>7}  {}",
            stopped.done.retries,
            match (holds, due) {
                (false, _) => "FAILED",
                (true, true) => "holds",
                (true, false) => "later",
            }
        );
        say(&row);
        text += &format!("\n{row}");
        rows.push(json!({
            "kill": kill, "node": name, "resident_mb": resident, "in_flight": under_way, "service_again_ms": gap_ms, "back_ms": back_ms,
            "transfers": transfers, "retries": stopped.done.retries, "failed": failed, "audit": audit,
        }));
        if due && kill < count {
            pair.start_again()?;
            pair.wait_all_in_lock_step(WHOLE_MAX)?;
        }
    }
    in_flight.sort_unstable();
    let median = in_flight.get(in_flight.len() / 2).copied().unwrap_or(0);
    let mut gaps: Vec<f64> = rows.iter().filter_map(|row| row["service_again_ms"].as_f64()).collect();
    gaps.sort_by(f64::total_cmp);
    let gap_median = gaps.get(gaps.len() / 2).copied().unwrap_or(0.0);
    let gap_max = gaps.last().copied().unwrap_or(0.0);
    if median <= IN_FLIGHT_MEDIAN_MIN {
        problems.push(format!("the median of the events in flight is {median}: the kills prove little"));
    }
    let ok = problems.is_empty() && rows.len() as u64 == count && count > 0;
    text += &format!(
        "\nin flight at a kill: median {median}   service again: median {gap_median:.1} ms, at most {gap_max:.1} ms"
    );
    for problem in &problems {
        text += &format!("\nproblem: {problem}");
    }
    let json = json!({
        "kills": rows, "in_flight_median": median, "service_again_ms": {"median": gap_median, "max": gap_max},
        "problems": problems,
    });
    Ok(Outcome { ok, json, text })
}

/// A pair in lock step whose processors are at least so large.
fn started(artifacts: &Artifacts, directory: &Path, resident_mb: u64) -> Result<Pair, Failure> {
    if resident_mb == 0 {
        return Pair::start(artifacts, directory, artifacts.ledger_v1());
    }
    let beside = vec![("archive".to_owned(), artifacts.archive().to_owned())];
    let settings = || Settings { beside: beside.clone(), ..Settings::default() };
    let pair = Pair::launch(artifacts, directory, artifacts.ledger_v1(), [settings(), settings()])?;
    pair.wait_all_in_lock_step(WHOLE_MAX)?;
    say(&format!("the archive grows to {resident_mb} MB"));
    let documents = What::Documents { bytes: 100 };
    let shape = Shape { what: documents, ..Shape::closed(resident_mb * DOCUMENTS_PER_MB, 8, 64, 1.0) };
    bench::run(artifacts, &Whom::pair(&pair), &shape)?;
    Ok(pair)
}

/// The processor's resident size, which must be what is wanted at least, in megabytes.
fn resident(node: &Node, wanted_mb: u64) -> Result<u64, Failure> {
    let resident = look(node)?.rss_kib / 1_024;
    if resident < wanted_mb {
        return Err(Failure::new(format!("{} has {resident} MB, and {wanted_mb} are wanted", node.name())));
    }
    Ok(resident)
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64)
}
