//! Throughput of a pair with default settings under a closed load.

use std::path::Path;
use std::time::{Duration, Instant};

use rig::artifacts::Artifacts;
use rig::load::{Load, LoadSettings, Pace};
use rig::node::Settings;
use rig::pair::Pair;
use rig::{Failure, interrupt};
use serde_json::json;

use crate::outside::busy_ms;
use crate::{Outcome, say};

/// How long the load runs before it counts.
const WARM_UP: Duration = Duration::from_secs(2);

/// Measures for `seconds`.
///
/// # Errors
/// When the pair or the load can't be run.
pub fn run(
    artifacts: &Artifacts,
    directory: &Path,
    seconds: u64,
    clients: usize,
    in_flight: usize,
    durability: Option<String>,
) -> Result<Outcome, Failure> {
    let settings = Settings { durability, ..Settings::default() };
    let mut pair =
        Pair::start_with(artifacts, directory, artifacts.ledger_v1(), [settings.clone(), settings])?;
    let pace = Pace::Closed { in_flight };
    let mut settings = LoadSettings::new(pair.events(), pace, directory.join("load.record"));
    settings.clients = clients;
    settings.overdraw_every = None;
    let mut load = Load::start(artifacts.rig(), settings)?;
    say("warming up");
    wait(&mut load, WARM_UP)?;
    load.phase("bench")?;
    say("measuring");
    let busy = [busy_of(&pair, 0)?, busy_of(&pair, 1)?];
    wait(&mut load, Duration::from_secs(seconds))?;
    let busy = [busy_of(&pair, 0)? - busy[0], busy_of(&pair, 1)? - busy[1]];
    let figures = load.phase("end")?;
    let stopped = load.stop()?;
    pair.end()?;
    let ok = figures.failed == 0 && stopped.done.failures.is_empty() && figures.events > 0;
    let text = format!(
        "{:.0} transfers/s   p50 {:.2} ms   p99 {:.2} ms   longest gap {:.1} ms   {clients} clients x {in_flight} in flight\n\
         processor time: a {:.2} cores, b {:.2} cores   retries {}   failed {}",
        figures.rate_per_s,
        figures.p50_us as f64 / 1e3,
        figures.p99_us as f64 / 1e3,
        figures.longest_gap_ms,
        busy[0] as f64 / 1e3 / figures.seconds,
        busy[1] as f64 / 1e3 / figures.seconds,
        figures.retries,
        figures.failed,
    );
    let json = json!({
        "transfers_per_s": figures.rate_per_s,
        "p50_us": figures.p50_us,
        "p99_us": figures.p99_us,
        "longest_gap_ms": figures.longest_gap_ms,
        "clients": clients,
        "in_flight": in_flight,
        "seconds": figures.seconds,
        "processor_ms": {"a": busy[0], "b": busy[1]},
        "retries": figures.retries,
        "failed": figures.failed,
        "failures": stopped.done.failures,
    });
    Ok(Outcome { ok, json, text })
}

fn wait(load: &mut Load, time: Duration) -> Result<(), Failure> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(100));
        load.glance();
    }
    Ok(())
}

/// The processor time that a node has taken, in milliseconds.
fn busy_of(pair: &Pair, at: usize) -> Result<u64, Failure> {
    busy_ms(pair.node(at).ready().pid)
}
