//! Something dies, or stands still for a while, in a given step of an upgrade under load: the active, the standby, or the
//! command line that started it. Afterwards both processors run the same version, no upgrade is under way, and the audit
//! holds.
//!
//! Processors strike themselves, at the end of the very turn that puts the step into their stream (a failpoint); a
//! command line is struck as soon as the step is seen.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use lockstep_core::campaign::{CampaignRecord, Step};
use lockstep_core::command::GroupStatus;
use serde::Serialize;
use serde_json::json;

use crate::artifacts::Artifacts;
use crate::audit::{AuditReport, Killed};
use crate::child::{Process, guarded};
use crate::load::{Load, LoadSettings, Pace};
use crate::node::Node;
use crate::pair::Pair;
use crate::{Failure, admin, interrupt};

/// How long a stopped process stands still.
const STOPPED: Duration = Duration::from_secs(5);
/// How long a killed processor stays away.
pub(crate) const AWAY: Duration = Duration::from_millis(300);
/// An upgrade is over by then, whatever happened to it.
pub(crate) const OVER_MAX: Duration = Duration::from_secs(90);
/// A step is reached by then.
pub(crate) const STEP_MAX: Duration = Duration::from_secs(30);

/// What is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whom {
    /// The processor that is active when the upgrade starts.
    Active,
    /// The other one.
    Standby,
    /// `lockstep upgrade start --watch`.
    CommandLine,
}

/// With what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// `SIGKILL`; a processor is started again soon after.
    Kill,
    /// `SIGSTOP`, and `SIGCONT` five seconds later.
    Stop,
}

/// A strike in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// The step.
    pub step: Step,
    /// What is struck.
    pub whom: Whom,
    /// With what.
    pub how: How,
}

/// What came of a strike.
#[derive(Clone, Debug, Serialize)]
pub struct Struck {
    /// `done`, `fell-back`, or `not-begun`, when it died before anybody else knew of the upgrade.
    pub ended: &'static str,
    /// Why it fell back.
    pub reason: String,
    /// How long the upgrade took.
    pub upgrade_ms: u64,
    /// The longest time between two answers.
    pub longest_gap_ms: f64,
    /// Against what clients were told.
    pub audit: AuditReport,
    /// What is wrong beside the audit.
    pub problems: Vec<String>,
}

impl Struck {
    /// Whether all that must hold does.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.problems.is_empty() && self.audit.holds()
    }
}

/// Runs a pair with a load of `rate` transfers a second, upgrades it, and strikes.
///
/// # Errors
/// When the pair can't be run, or the step is not reached.
pub fn run(artifacts: &Artifacts, directory: &Path, rate: f64, strike: Strike) -> Result<Struck, Failure> {
    let (mut pair, load) = under_load(artifacts, directory, rate)?;
    let target = match strike.step {
        // It faults under traffic, and the evaluation fails.
        Step::BackSwitchOver | Step::BackLoad => artifacts.ledger_v2_broken(),
        _ => artifacts.ledger_v2(),
    };
    let first = match strike.whom {
        Whom::CommandLine => strike_command_line(&mut pair, target, strike)?,
        Whom::Active | Whom::Standby => strike_processor(&mut pair, target, strike)?,
    };
    let may_be_unknown = (strike.step, strike.whom) == (Step::IsolateFirst, Whom::Active);
    see_the_end(pair, load, first, may_be_unknown)
}

/// A pair with a load of `rate` transfers a second, under way.
pub(crate) fn under_load(
    artifacts: &Artifacts,
    directory: &Path,
    rate: f64,
) -> Result<(Pair, Load), Failure> {
    let pair = Pair::start(artifacts, directory, artifacts.ledger_v1())?;
    let mut settings =
        LoadSettings::new(pair.events(), Pace::Open { rate_per_s: rate }, directory.join("load.record"));
    settings.accounts = 400;
    settings.deadline_ms = 30_000;
    let mut load = Load::start(artifacts.rig(), settings)?;
    load.phase("upgrade")?;
    load.wait_answers(100)?;
    Ok((pair, load))
}

/// Waits for the end of the upgrade, on both in the same version, and audits.
pub(crate) fn see_the_end(
    mut pair: Pair,
    mut load: Load,
    (killed, mut problems): After,
    may_be_unknown: bool,
) -> Result<Struck, Failure> {
    let mut last = None;
    let group = pair.wait_until("the end of the upgrade", OVER_MAX, |group| {
        last = group.campaigns.last().cloned();
        Ok(group.campaign.is_none() && admin::in_lock_step(group) && is_uniform(group))
    })?;
    let figures = load.phase("end")?;
    let stopped = load.stop()?;
    problems.extend(stopped.done.failures.iter().take(3).cloned());
    let (ended, reason, upgrade_ms) = match &last {
        Some(record) if record.step == Step::Done => ("done", String::new(), took_ms(record)),
        Some(record) => ("fell-back", record.reason.clone(), took_ms(record)),
        None => ("not-begun", String::new(), 0),
    };
    if last.is_none() && !may_be_unknown {
        problems.push("there is no record of the upgrade".into());
    }
    let runs = group.members.first().and_then(|member| member.hash);
    let wanted = last.as_ref().map(|record| match record.step {
        Step::Done => record.plan.to_hash,
        _ => record.plan.from_hash,
    });
    if wanted.is_some() && runs != wanted {
        problems.push(format!("the upgrade is {ended}, and another version runs"));
    }
    let audit = pair.end_and_audit(&stopped.record, &stopped.done.dropped, &killed)?;
    let longest_gap_ms = figures.longest_gap_ms;
    Ok(Struck { ended, reason, upgrade_ms, longest_gap_ms, audit, problems })
}

/// Whom clients may have lost for a while, and what went wrong.
pub(crate) type After = (Vec<Killed>, Vec<String>);

fn strike_processor(pair: &mut Pair, target: &Path, strike: Strike) -> Result<After, Failure> {
    let active = pair.active()?;
    let at = if strike.whom == Whom::Active { active } else { 1 - active };
    let action = if strike.how == How::Kill { "kill" } else { "stop" };
    let point = format!("step-{}", strike.step.name());
    let armed = json!({"failpoint": {"point": point, "action": action}});
    admin::ask(&pair.node(at).ready().admin, &armed)?;
    let address = pair.node(at).ready().events.clone();
    let from_ms = now_ms();
    // Who is struck in the first step may not live to answer.
    if let Err(failure) = start(pair, target)
        && (strike.step, strike.whom) != (Step::IsolateFirst, Whom::Active)
    {
        return Err(failure);
    }
    match strike.how {
        How::Kill => {
            pair.node_mut(at).wait_end()?;
            std::thread::sleep(AWAY);
            pair.restart(at)?;
        }
        How::Stop => {
            wait_stopped(pair.node(at))?;
            std::thread::sleep(STOPPED);
            if let Some(process) = pair.node_mut(at).process() {
                process.go_on();
            }
        }
    }
    pair.wait_in_lock_step(OVER_MAX)?;
    Ok((vec![Killed { address, from_ms, until_ms: now_ms() }], Vec::new()))
}

fn strike_command_line(pair: &mut Pair, target: &Path, strike: Strike) -> Result<After, Failure> {
    let mut command = guarded(pair.artifacts().rig(), pair.artifacts().lockstep());
    command.arg("--config").arg(pair.node(pair.active()?).config());
    command.args(["upgrade", "start", "ledger", &target.display().to_string(), "--watch"]).args(GATES);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = Process::spawn("the command line", &mut command)?;
    let until = Instant::now() + STEP_MAX;
    while !(0..2).any(|at| pair.group(at).is_ok_and(|group| has_reached(&group, strike.step))) {
        interrupt::check()?;
        if Instant::now() > until {
            return Err(Failure::new(format!("step {:?} was not reached in {STEP_MAX:?}", strike.step)));
        }
    }
    let mut problems = Vec::new();
    match strike.how {
        How::Kill => process.kill(),
        How::Stop => {
            process.stop();
            std::thread::sleep(STOPPED);
            process.go_on();
            let status = process.wait(OVER_MAX)?.code();
            let back = matches!(strike.step, Step::BackSwitchOver | Step::BackLoad);
            let wanted = Some(if back { 4 } else { 0 });
            if status != wanted {
                problems.push(format!("the command line ended with {status:?}, not {wanted:?}"));
            }
        }
    }
    Ok((Vec::new(), problems))
}

/// Gates that a small load passes in a moment. A single stall of a shared disk moves the p99 of a few events.
pub(crate) const GATES: [&str; 6] =
    ["--time-min-ms", "400", "--events-min", "100", "--latency-ratio-max-percent", "0"];

fn start(pair: &Pair, target: &Path) -> Result<(), Failure> {
    let target = target.display().to_string();
    let mut arguments = vec!["upgrade", "start", "ledger", &target];
    arguments.extend(GATES);
    pair.lockstep(&arguments).map(drop)
}

fn has_reached(group: &GroupStatus, step: Step) -> bool {
    let under_way = group.campaign.as_ref().map(|campaign| &campaign.record);
    let mut records = under_way.into_iter().chain(group.campaigns.last());
    records.any(|record| record.trail.iter().any(|(done, _)| *done == step))
}

fn is_uniform(group: &GroupStatus) -> bool {
    let mut hashes = group.members.iter().map(|member| member.hash);
    let first = hashes.next().flatten();
    first.is_some() && hashes.all(|hash| hash == first)
}

/// Waits until the kernel says that the process stands still.
pub(crate) fn wait_stopped(node: &Node) -> Result<(), Failure> {
    let until = Instant::now() + STEP_MAX;
    loop {
        interrupt::check()?;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.ready().pid))?;
        // The state stands after the name, which ends with the last parenthesis.
        if stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')) {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(Failure::new(format!("processor {} does not stop", node.name())));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn took_ms(record: &CampaignRecord) -> u64 {
    match (record.trail.first(), record.trail.last()) {
        (Some((_, begun)), Some((_, ended))) => ended.since(*begun).0 / 1_000,
        _ => 0,
    }
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64)
}
