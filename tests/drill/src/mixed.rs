//! What it costs that versions differ: the processor time of an event while the standby runs the next version, so that
//! transfers are shipped to it (R16), against ordinary lock step. The two are measured in turn, in the same pair and
//! under the same load.

use std::path::Path;
use std::time::Duration;

use rig::artifacts::Artifacts;
use rig::load::{Load, LoadSettings, Pace};
use rig::pair::Pair;
use rig::{Failure, admin, interrupt};
use serde_json::json;

use crate::outside::{busy_ms, cores, load_average};
use crate::spread::Spread;
use crate::{Outcome, say};

/// The most that mixed mode may cost, as a multiple of ordinary lock step's.
const RATIO_MAX: f64 = 1.2;
/// After a change, before it is measured.
const SETTLE: Duration = Duration::from_millis(500);

/// Measures each mode `rounds` times for `seconds`, at `rate` transfers a second.
///
/// # Errors
/// When the pair or the load can't be run, or a version can't be loaded.
pub fn run(
    artifacts: &Artifacts,
    directory: &Path,
    rounds: u64,
    seconds: u64,
    rate: u64,
) -> Result<Outcome, Failure> {
    let mut pair = Pair::start(artifacts, directory, artifacts.ledger_v1())?;
    let pace = Pace::Open { rate_per_s: rate as f64 };
    let mut settings = LoadSettings::new(pair.events(), pace, directory.join("load.record"));
    settings.overdraw_every = None;
    let mut load = Load::start(artifacts.rig(), settings)?;
    let machine = load_average()?;
    let standby = 1 - pair.active()?;
    let (mut lock_step, mut mixed) = (Vec::new(), Vec::new());
    let mut text = String::from("round  CPU us an event: lock step  mixed  ratio");
    for round in 1..=rounds {
        interrupt::check()?;
        let ordinary = measure(&pair, &mut load, seconds)?;
        change(&pair, artifacts.ledger_v2())?;
        let before = shipped(&pair, standby)?;
        let differing = measure(&pair, &mut load, seconds)?;
        if shipped(&pair, standby)? == before {
            return Err(Failure::new("nothing was shipped while versions differed"));
        }
        change(&pair, artifacts.ledger_v1())?;
        let row = format!(
            "{round:>5}  {ordinary:>27.2}  {differing:>5.2}  {:>5.2}",
            differing / ordinary.max(1e-9)
        );
        say(&row);
        text += &format!("\n{row}");
        lock_step.push(ordinary);
        mixed.push(differing);
    }
    let stopped = load.stop()?;
    let failed: u64 = stopped.phases.iter().map(|phase| phase.failed).sum();
    let audit = pair.end_and_audit(&stopped.record, &stopped.done.dropped, &[])?;
    let [lock_step, mixed] = [lock_step, mixed].map(Spread::of);
    let ratio = mixed.median / lock_step.median.max(1e-9);
    text += &format!(
        "\nat {rate} transfers/s, {} cores, load average {machine} before: lock step {:.2} us, mixed {:.2} us of both \
         processors' time an event (medians)\nratio {ratio:.2}, at most {RATIO_MAX} is asked for",
        cores(),
        lock_step.median,
        mixed.median,
    );
    audit.problems.iter().for_each(|problem| text += &format!("\nproblem: {problem}"));
    let json = json!({
        "rounds": rounds, "rate_per_s": rate, "cores": cores(), "load_average": machine,
        "lock_step_us": lock_step, "mixed_us": mixed, "ratio": ratio, "audit": audit,
    });
    Ok(Outcome { ok: ratio <= RATIO_MAX && audit.holds() && failed == 0 && rounds > 0, json, text })
}

/// Both processors' time an event, in microseconds.
fn measure(pair: &Pair, load: &mut Load, seconds: u64) -> Result<f64, Failure> {
    let busy = || Ok::<_, Failure>(busy_ms(pair.node(0).ready().pid)? + busy_ms(pair.node(1).ready().pid)?);
    std::thread::sleep(SETTLE);
    load.phase("measured")?;
    let before = busy()?;
    std::thread::sleep(Duration::from_secs(seconds));
    let took = busy()? - before;
    let events = load.phase("between")?.events;
    Ok(took as f64 * 1e3 / events.max(1) as f64)
}

fn change(pair: &Pair, plugin: &Path) -> Result<(), Failure> {
    pair.load_plugin(plugin)?;
    pair.wait_standby_on(plugin, Duration::from_secs(30))
}

/// How many procedures the processor at `at` has taken as updates of rows.
fn shipped(pair: &Pair, at: usize) -> Result<u64, Failure> {
    Ok(admin::group(&pair.node(at).ready().admin)?.counts.shipped)
}
