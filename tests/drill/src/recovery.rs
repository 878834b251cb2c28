//! How long it takes to be whole again: a standby that missed many events is caught up, an empty one gets a copy while the
//! active serves, and a processor with many rows starts.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use rig::artifacts::Artifacts;
use rig::audit::Killed;
use rig::bench::{self, Shape, Whom};
use rig::load::{Load, LoadSettings, Pace};
use rig::pair::Pair;
use rig::{Failure, interrupt};
use serde_json::json;

use crate::outside::{cores, load_average};
use crate::{Outcome, say};

/// A standby that missed so many events.
const MISSED: u64 = 100_000;
/// Transfers a second while a standby comes back.
const RATE_PER_S: f64 = 1_000.0;
/// How long transfers are made between two looks, in seconds. Each time they are the same ones, so that this bounds what they fill.
const GROWING_S: f64 = 40.0;
/// Between so many accounts transfers are made until the database is as large as it is to be.
const GROWN_ACCOUNTS: u64 = 2_000_000;
/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(300);

/// What must be reached.
const CATCH_UP_S_MAX: f64 = 5.0;
const COPY_MB_PER_S_MIN: f64 = 100.0;
const START_S_MAX: f64 = 3.0;

/// Measures all three, with a database of `rows` accounts and one of at least `copy_mb` megabytes.
///
/// # Errors
/// When the pair can't be run.
pub fn run(artifacts: &Artifacts, directory: &Path, rows: u32, copy_mb: u64) -> Result<Outcome, Failure> {
    let machine = load_average()?;
    let mut pair = Pair::start(artifacts, directory, artifacts.ledger_v1())?;
    let accounts = Cell::new(0);
    let load = |pair: &Pair, name: &str, pace: Pace, opened: u32| -> Result<Load, Failure> {
        let mut settings = LoadSettings::new(pair.events(), pace, directory.join(format!("{name}.record")));
        (settings.first_account, settings.accounts, settings.deadline_ms) = (accounts.get(), opened, 60_000);
        accounts.set(accounts.get() + opened);
        Load::start(artifacts.rig(), settings)
    };

    say("a standby misses events");
    let fast = load(&pair, "missed", Pace::Closed { in_flight: 64 }, 4_000)?;
    let standby = 1 - pair.active()?;
    pair.node_mut(standby).kill();
    pair.node_mut(standby).wait_gone()?;
    let from = pair.group(1 - standby)?.held.0;
    let seen = pair.wait_at(1 - standby, "missed events", PATIENCE, Duration::from_millis(5), |group| {
        group.held.0 >= from + MISSED
    })?;
    let missed = seen.held.0 - from;
    drop(fast.stop()?);
    let mut slow = load(&pair, "caught-up", Pace::Open { rate_per_s: RATE_PER_S }, 4_000)?;
    slow.phase("catch-up")?;
    let begun = Instant::now();
    pair.restart(standby)?;
    pair.wait_in_lock_step(PATIENCE)?;
    let catch_up_s = begun.elapsed().as_secs_f64();
    let during = slow.phase("rest")?;
    say(&format!("caught up with {missed} events in {catch_up_s:.2} s"));
    drop(slow.stop()?);

    say("rows are made, and a processor starts with them");
    drop(load(&pair, "rows", Pace::Open { rate_per_s: RATE_PER_S }, rows)?.stop()?);
    pair.wait_quiet(PATIENCE)?;
    pair.end()?;
    let begun = Instant::now();
    pair.node_mut(0).start(artifacts)?;
    let start_s = begun.elapsed().as_secs_f64();
    pair.node_mut(1).start(artifacts)?;
    pair.wait_in_lock_step(PATIENCE)?;
    say(&format!("a processor with {} rows of accounts was ready after {start_s:.2} s", accounts.get()));
    let rows = accounts.get();

    say("the database grows");
    // An account takes a row, and its first transfers one each in its journal.
    let transfers = Shape::closed(GROWN_ACCOUNTS, 8, 256, GROWING_S);
    while megabytes(&pair)? < copy_mb {
        interrupt::check()?;
        bench::run(artifacts, &Whom::pair(&pair), &transfers)?;
        say(&format!("{} MB of rows", megabytes(&pair)?));
    }
    accounts.set(accounts.get().max(GROWN_ACCOUNTS as u32));
    let mut slow = load(&pair, "copied", Pace::Open { rate_per_s: RATE_PER_S }, 4_000)?;
    slow.phase("before")?;
    std::thread::sleep(Duration::from_secs(3));
    let before = slow.phase("copy")?;
    let standby = 1 - pair.active()?;
    let address = pair.node(standby).ready().events.clone();
    let mb = megabytes(&pair)?;
    pair.node_mut(standby).kill();
    pair.node_mut(standby).wait_gone()?;
    std::fs::remove_dir_all(pair.node(standby).data())?;
    pair.restart(standby)?;
    let begun = Instant::now();
    pair.wait_in_lock_step(PATIENCE)?;
    let copy_s = begun.elapsed().as_secs_f64();
    let copying = slow.phase("rest")?;
    let stopped = slow.stop()?;
    let killed = Killed { address, from_ms: 0, until_ms: u64::MAX };
    let dropped = stopped.done.dropped.iter().filter(|dropped| dropped.address != killed.address).count();
    let per_s = mb as f64 / copy_s.max(1e-3);
    pair.wait_quiet(PATIENCE)?;
    pair.end()?;

    let reached = catch_up_s < CATCH_UP_S_MAX && start_s < START_S_MAX && per_s >= COPY_MB_PER_S_MIN;
    let failed = during.failed + copying.failed;
    let text = format!(
        "a standby that missed {missed} events: in lock step {catch_up_s:.2} s after its start (below {CATCH_UP_S_MAX} s)\n\
         a processor with {rows} accounts: ready after {start_s:.2} s (below {START_S_MAX} s, for a million)\n\
         a copy of {mb} MB while the active serves: {copy_s:.2} s, {per_s:.0} MB/s (at least {COPY_MB_PER_S_MIN})\n\
         p99 while it is copied {:.2} ms, before {:.2} ms; failed {failed}, dropped {dropped}\n\
         {} cores, load average {machine} before",
        copying.p99_us as f64 / 1e3,
        before.p99_us as f64 / 1e3,
        cores(),
    );
    let json = json!({
        "catch_up": {"missed": missed, "seconds": catch_up_s}, "start": {"accounts": rows, "seconds": start_s},
        "copy": {"mb": mb, "seconds": copy_s, "mb_per_s": per_s, "p99_us": copying.p99_us, "p99_us_before": before.p99_us},
        "failed": failed, "dropped": dropped, "cores": cores(), "load_average": machine,
    });
    Ok(Outcome { ok: reached && failed == 0 && dropped == 0, json, text })
}

/// An estimate of the rows' memory at the active.
fn megabytes(pair: &Pair) -> Result<u64, Failure> {
    Ok(pair.group(pair.active()?)?.table_bytes >> 20)
}
