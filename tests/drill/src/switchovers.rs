//! Planned switchovers under an open load: how long clients get no answer. The load, both processors and whatever else
//! the machine does share its cores, so the same is measured beside it while nothing is switched.

use std::path::Path;
use std::time::{Duration, Instant};

use lockstep_core::campaign::Step;
use lockstep_core::command::Role;
use rig::artifacts::Artifacts;
use rig::load::record::LoadRecord;
use rig::load::{Load, LoadSettings, Pace};
use rig::node::Settings;
use rig::pair::Pair;
use rig::{Failure, admin, interrupt};
use serde_json::{Value, json};

use crate::outside::{busy_ms, cores, load_average};
use crate::spread::Spread;
use crate::{Outcome, say};

/// How long saturation is measured.
const SATURATION: Duration = Duration::from_secs(5);
/// How long each window is, with and without a switchover.
const WINDOW: Duration = Duration::from_millis(100);
/// What is asked for: the median and the worst of the longest gaps, in milliseconds.
const GAP_MS: (f64, f64) = (5.0, 20.0);

/// Switches over `count` times at `rate` transfers a second; at half of saturation when none is given.
///
/// # Errors
/// When the pair or the load can't be run, or a switchover is refused.
pub fn run(
    artifacts: &Artifacts,
    directory: &Path,
    count: u64,
    rate: Option<u64>,
    durability: Option<String>,
) -> Result<Outcome, Failure> {
    let settings = Settings { durability: durability.clone(), ..Settings::default() };
    let mut pair =
        Pair::start_with(artifacts, directory, artifacts.ledger_v1(), [settings.clone(), settings])?;
    let (before, saturation) = match rate {
        Some(_) => (None, None),
        None => {
            say("measuring saturation");
            let (record, rate) = saturate(artifacts, &pair, directory)?;
            (Some(record), Some(rate))
        }
    };
    let rate = rate.map_or_else(|| saturation.unwrap_or_default() / 2.0, |rate| rate as f64);
    let pace = Pace::Open { rate_per_s: rate };
    let mut settings = LoadSettings::new(pair.events(), pace, directory.join("load.record"));
    settings.first_account = before.as_ref().map_or(0, |record: &LoadRecord| record.opened.accounts);
    let mut load = Load::start(artifacts.rig(), settings)?;
    let machine = load_average()?;
    say(&format!("{rate:.0} transfers/s, load average {machine}"));
    std::thread::sleep(Duration::from_secs(1));
    let (started, busy) = (Instant::now(), busy_of(&pair, &load)?);
    let (mut calm, mut switched, mut took, mut latest) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut active = pair.active()?;
    for switchover in 1..=count {
        interrupt::check()?;
        load.phase("calm")?;
        std::thread::sleep(WINDOW);
        calm.push(load.phase("switchover")?.longest_gap_ms);
        let asked = Instant::now();
        admin::ask(&pair.node(active).ready().admin, &json!("switch_over"))?;
        let took_ms = asked.elapsed().as_secs_f64() * 1e3;
        std::thread::sleep(WINDOW);
        let figures = load.phase("calm")?;
        active = 1 - active;
        if admin::own_role(&pair.group(active)?) != Some(Role::Active) {
            return Err(Failure::new(format!("after switchover {switchover} the other one is not active")));
        }
        let gap = figures.longest_gap_ms;
        say(&format!(
            "{switchover:>4}  gap {gap:>7.2} ms at {}  done after {took_ms:>7.2} ms  latest answer {:>7.2} ms",
            figures.longest_gap_from_us,
            figures.max_us as f64 / 1e3
        ));
        switched.push(gap);
        took.push(took_ms);
        latest.push(figures.max_us as f64 / 1e3);
    }
    let whole_ms = upgrade(&pair)?;
    let seconds = started.elapsed().as_secs_f64();
    let busy: Vec<f64> = busy_of(&pair, &load)?
        .iter()
        .zip(busy)
        .map(|(now, before)| (now - before) as f64 / 1e3 / seconds)
        .collect();
    let stopped = load.stop()?;
    let failed: u64 = stopped.phases.iter().map(|phase| phase.failed).sum();
    let record = match before {
        Some(before) => before.followed_by(stopped.record)?,
        None => stopped.record,
    };
    let audit = pair.end_and_audit(&record, &stopped.done.dropped, &[])?;
    let [calm, gaps, took, latest] = [calm, switched, took, latest].map(Spread::of);
    let within = gaps.median < GAP_MS.0 && gaps.max < GAP_MS.1;
    let mut text = format!(
        "{count} switchovers at {rate:.0} transfers/s{}, durability {}, {} cores, load average {machine} before\n\
         cores busy: a {:.2}, b {:.2}, the load {:.2}; nothing is bound to a core\n\
         longest gap between answers, ms    {}\n\
         the same without a switchover      {}\n\
         slowest answer of the window, ms   {}\n\
         the command's answer, ms           {}\n\
         a whole upgrade with gates that pass at once: {whole_ms} ms\n\
         asked for: median below {} ms, worst below {} ms: {}",
        saturation.map_or(String::new(), |all| format!(" (half of {all:.0})")),
        durability.as_deref().unwrap_or("fsync"),
        cores(),
        busy[0],
        busy[1],
        busy[2],
        gaps,
        calm,
        latest,
        took,
        GAP_MS.0,
        GAP_MS.1,
        if within { "met" } else { "missed" },
    );
    let mut problems = audit.problems.clone();
    if failed > 0 {
        problems.push(format!("{failed} transfers failed"));
    }
    problems.iter().for_each(|problem| text += &format!("\nproblem: {problem}"));
    let json: Value = json!({
        "switchovers": count, "durability": durability, "rate_per_s": rate, "saturation_per_s": saturation, "cores": cores(),
        "load_average": machine, "cores_busy": {"a": busy[0], "b": busy[1], "load": busy[2]},
        "gap_ms": gaps, "gap_without_ms": calm, "slowest_answer_ms": latest, "command_ms": took,
        "upgrade_ms": whole_ms, "within": within, "problems": problems, "audit": audit,
    });
    // The figures are the machine's as well; what must hold on any machine is that nothing is lost or dropped.
    Ok(Outcome { ok: audit.holds() && failed == 0 && count > 0, json, text })
}

/// What the pair answers at most, a second.
fn saturate(artifacts: &Artifacts, pair: &Pair, directory: &Path) -> Result<(LoadRecord, f64), Failure> {
    let path = directory.join("saturation.record");
    let settings = LoadSettings::new(pair.events(), Pace::Closed { in_flight: 64 }, path);
    let mut load = Load::start(artifacts.rig(), settings)?;
    std::thread::sleep(Duration::from_secs(1));
    load.phase("saturation")?;
    std::thread::sleep(SATURATION);
    let rate = load.phase("end")?.rate_per_s;
    Ok((load.stop()?.record, rate))
}

/// How long an upgrade takes that evaluates nothing, in milliseconds, by its own record.
fn upgrade(pair: &Pair) -> Result<u64, Failure> {
    let target = pair.artifacts().ledger_v2().display().to_string();
    pair.lockstep(&["upgrade", "start", "ledger", &target, "--time-min-ms", "0", "--events-min", "0"])?;
    let group = pair.wait_until("the end of the upgrade", Duration::from_secs(60), |group| {
        Ok(group.campaign.is_none() && !group.campaigns.is_empty())
    })?;
    let record = group.campaigns.last().filter(|record| record.step == Step::Done);
    let record = record.ok_or_else(|| Failure::new("the upgrade fell back"))?;
    let (begun, ended) = (record.trail.first(), record.trail.last());
    Ok(begun.zip(ended).map_or(0, |((_, begun), (_, ended))| ended.since(*begun).0 / 1_000))
}

/// The processor time of a, b and the load, in milliseconds.
fn busy_of(pair: &Pair, load: &Load) -> Result<[u64; 3], Failure> {
    Ok([busy_ms(pair.node(0).ready().pid)?, busy_ms(pair.node(1).ready().pid)?, busy_ms(load.pid())?])
}
