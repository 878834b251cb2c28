//! The steps of the quickstart, in order. Every operator's act goes through the real `lockstep` command.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use lockstep_core::campaign::{CampaignRecord, Step};
use rig::Failure;
use rig::artifacts::Artifacts;
use rig::audit::Killed;
use rig::interrupt;
use rig::load::{Load, LoadSettings, Pace};
use rig::pair::Pair;

use crate::display::Display;
use crate::report::Report;

/// How the time is shared out.
struct Times {
    steady: Duration,
    evaluation: Duration,
    dead: Duration,
}

impl Times {
    fn of(seconds: u64) -> Self {
        let part = |percent: u64| Duration::from_millis(seconds * 10 * percent);
        Times { steady: part(13), evaluation: part(16), dead: part(5) }
    }
}

/// Runs everything in `directory`.
///
/// # Errors
/// When a step can't be carried out; what merely does not hold stands in the report.
pub fn run(seconds: u64, rate: u64, directory: &Path, display: &Display) -> Result<Report, Failure> {
    let times = Times::of(seconds);
    display.step("building processors, operators' command and plugins with cargo");
    let built = Instant::now();
    let artifacts = Artifacts::build(|line| display.detail(line))?;
    display.done(&format!("built in {:.1} s", built.elapsed().as_secs_f64()));

    display.step("starting processors a and b on ledger 1");
    let mut pair = Pair::start(&artifacts, directory, artifacts.ledger_v1())?;
    display.done("a and b are in lock step on ledger 1");
    display.step("starting the load process: opening accounts");
    let pace = Pace::Open { rate_per_s: rate as f64 };
    let settings = LoadSettings::new(pair.events(), pace, directory.join("load.record"));
    let mut load = Load::start(artifacts.rig(), settings)?;
    let mut campaigns = Vec::new();

    load.phase("steady on 1")?;
    watch(&mut load, display, "steady on version 1", times.steady)?;

    load.phase("upgrade 1 to 2")?;
    let upgraded = upgrade_to_2(&pair, &mut load, display, times.evaluation)?;
    campaigns.push(upgraded);

    load.phase("steady on 2")?;
    watch(&mut load, display, "steady on version 2", times.steady)?;

    load.phase("kill and return")?;
    let killed = kill_and_return(&mut pair, &mut load, display, times.dead)?;
    watch(&mut load, display, "both are back", times.steady / 2)?;

    let kill = load.phase("broken upgrade")?;
    campaigns.push(upgrade_to_broken(&pair, &mut load, display, times.evaluation)?);

    load.phase("steady at the end")?;
    watch(&mut load, display, "steady at the end", times.steady)?;

    display.step("stopping the load, then both processors; audit of their exported databases");
    let stopped = load.stop()?;
    let report = pair.end_and_audit(&stopped.record, &stopped.done.dropped, &[killed])?;
    display.done("load and processors have ended in order, both databases are exported and audited");
    let mut phases = stopped.phases;
    // The opening of the accounts is no phase of the exercise.
    phases.remove(0);
    Ok(Report { phases, audit: report, service_again_ms: kill.longest_gap_ms, campaigns })
}

/// Lets the load run on for `time`.
fn watch(load: &mut Load, display: &Display, step: &str, time: Duration) -> Result<(), Failure> {
    display.step(step);
    let until = Instant::now() + time;
    while Instant::now() < until {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(50));
        display.glance(load.glance(), "");
    }
    display.done(step);
    Ok(())
}

/// Waits until the campaign stands where `ready` wants it, showing its steps; its record if it is over.
fn follow(
    pair: &Pair,
    load: &mut Load,
    display: &Display,
    before: usize,
    ready: impl Fn(&CampaignRecord) -> bool,
) -> Result<Option<CampaignRecord>, Failure> {
    let mut shown = None;
    let mut over = None;
    pair.wait_until("the campaign", Duration::from_secs(120), |group| {
        if let Some(campaign) = &group.campaign {
            let record = &campaign.record;
            let detail = format!(" at {}: {:?}", record.step.figure(), record.step);
            display.glance(load.glance(), &detail);
            if shown != Some(record.step) {
                shown = Some(record.step);
                display.line(&format!("     {}  {:?} {}", record.step.figure(), record.step, record.reason));
            }
            return Ok(ready(record));
        }
        if group.campaigns.len() > before {
            over = group.campaigns.last().cloned();
            return Ok(true);
        }
        Ok(false)
    })?;
    Ok(over)
}

fn over(record: Option<CampaignRecord>, wanted: Step) -> Result<CampaignRecord, Failure> {
    let record = record.ok_or_else(|| Failure::new("the campaign is not over"))?;
    if record.step == wanted {
        return Ok(record);
    }
    Err(Failure::new(format!(
        "the campaign ended as {:?}, not as {wanted:?}: {}",
        record.step, record.reason
    )))
}

fn upgrade_to_2(pair: &Pair, load: &mut Load, display: &Display, time: Duration) -> Result<String, Failure> {
    display.step("upgrading 1 to 2");
    let started = Instant::now();
    let before = pair.campaigns_over()?;
    pair.start_upgrade(pair.artifacts().ledger_v2(), time, 1_000, true)?;
    let evaluated = follow(pair, load, display, before, |record| record.step == Step::Evaluate)?;
    if evaluated.is_some() {
        over(evaluated, Step::Done)?;
        return Err(Failure::new("the campaign did not wait for the operator"));
    }
    // An operator looks at the evaluation before accepting.
    let until = Instant::now() + time;
    while Instant::now() < until {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(50));
        display.glance(load.glance(), " at 203: evaluating version 2 on live traffic");
    }
    if let Err(refused) = pair.lockstep(&["upgrade", "accept", "ledger"]) {
        // If it fell back meanwhile, why it did says more than the refusal.
        over(follow(pair, load, display, before, |_| false)?, Step::Done)?;
        return Err(refused);
    }
    let record = over(follow(pair, load, display, before, |_| false)?, Step::Done)?;
    let group = pair.group(pair.active()?)?;
    let off: Vec<_> = group
        .features
        .iter()
        .filter(|(_, _, is)| *is == lockstep_core::command::FeatureState::Off)
        .map(|(name, _, _)| name.as_str())
        .collect();
    if group.features.is_empty() || !off.is_empty() {
        return Err(Failure::new(format!("the upgrade is done, but features are off: {off:?}")));
    }
    let on: Vec<_> = group.features.iter().map(|(name, _, _)| name.as_str()).collect();
    let said = format!(
        "upgrade {} -> {}: accepted and done in {:.1} s, enabled: {}",
        record.plan.from,
        record.plan.to,
        started.elapsed().as_secs_f64(),
        on.join(", "),
    );
    display.done(&said);
    Ok(said)
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64)
}

fn kill_and_return(
    pair: &mut Pair,
    load: &mut Load,
    display: &Display,
    dead: Duration,
) -> Result<Killed, Failure> {
    let active = pair.active()?;
    let name = pair.node(active).name().to_owned();
    let address = pair.node(active).ready().events.clone();
    display.step(&format!("SIGKILL of {name}, the active"));
    let from_ms = now_ms();
    pair.node_mut(active).kill();
    let until = Instant::now() + dead;
    while Instant::now() < until {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(50));
        display.glance(load.glance(), " (dead)");
    }
    let served_by = pair.active()?;
    if served_by == active {
        return Err(Failure::new(format!("{name} was killed and is active all the same")));
    }
    let gap = load.glance().longest_gap_ms;
    display.done(&format!("{} took over: longest gap {gap:.1} ms", pair.node(served_by).name()));
    display.step(&format!("{name} is started again"));
    let started = Instant::now();
    pair.restart(active)?;
    pair.wait_in_lock_step(Duration::from_secs(30))?;
    display.done(&format!("{name} is back and in lock step after {:.2} s", started.elapsed().as_secs_f64()));
    // Clients may have seen the end of connections that were made while it started.
    Ok(Killed { address, from_ms, until_ms: now_ms() })
}

fn upgrade_to_broken(
    pair: &Pair,
    load: &mut Load,
    display: &Display,
    time: Duration,
) -> Result<String, Failure> {
    display.step("upgrading to the broken version");
    let started = Instant::now();
    let before = pair.campaigns_over()?;
    pair.start_upgrade(pair.artifacts().ledger_v2_broken(), time, 1_000, true)?;
    let record = over(follow(pair, load, display, before, |_| false)?, Step::FellBack)?;
    let said = format!(
        "upgrade {} -> {}: fell back by itself in {:.1} s: {}",
        record.plan.from,
        record.plan.to,
        started.elapsed().as_secs_f64(),
        record.reason,
    );
    display.done(&said);
    Ok(said)
}
