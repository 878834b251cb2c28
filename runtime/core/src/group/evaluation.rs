//! The evaluation at step 203 (R30): what was seen since the step was entered, what the gates say of it, and the runs of
//! the user's own checks.
//!
//! A gate passes, fails, or can't say. One that fails leads back at once. One that can't say, because too few events
//! came, the old version's latency was never measured, or a check could not be run, is waited for; after the longest time
//! the evaluation is inconclusive, and the operator decides, or the rollback timer.
//!
//! Deliberately absent: running checks, which is the shell's; the record of what they said, which is of this process alone:
//! whoever becomes active in the middle of an evaluation runs the old version, and falls back.

use super::latency::Latencies;
use super::upgrade::{CampaignView, Decision, diverged_too_often};
use super::{Group, Identity};
use crate::campaign::{CampaignRecord, CheckVerdict, Decide, Judgement, Step};
use crate::effect::Effect;
use crate::ids::{Micros, Number};

/// Fewer events than this say nothing about latency.
pub(super) const LATENCY_EVENTS_MIN: u64 = 500;
/// The shell ends a check that takes too long; a run of checks that is not answered for so much longer counts as
/// inconclusive.
const ANSWER_AFTER: Micros = Micros::from_ms(5_000);

/// The runs of the user's own checks.
#[derive(Clone, Default)]
pub(super) struct Checking {
    /// Counts them, over all campaigns of this process.
    runs: u64,
    /// Since when one is under way.
    under_way: Option<Micros>,
    /// The last one of this step: when it was begun, when it ended, and what it has shown.
    last: Option<(Micros, Micros, CheckVerdict)>,
}

impl Checking {
    fn begin(&mut self) {
        self.under_way = None;
        self.last = None;
    }

    /// What they have shown so far.
    pub fn verdict(&self) -> Option<&CheckVerdict> {
        self.last.as_ref().map(|(_, _, verdict)| verdict)
    }
}

/// What was seen since the campaign's step was entered.
#[derive(Clone, Default)]
pub(super) struct Evaluation {
    pub events: u64,
    pub faults: u64,
    pub divergences: u64,
    /// Death notes under the target.
    pub deaths: u64,
    pub latencies: Latencies,
    pub checking: Checking,
    /// Since when the partner has been in sync on the target, while this side runs the old version.
    pub mixed_since: Option<Micros>,
    /// Why the last order could not be carried out, and will not be given again by itself.
    pub order_failed: Option<String>,
    /// How often an order of this step failed, and when it may be given again.
    pub order_failures: u32,
    pub order_again_at: Option<Micros>,
    /// The campaign's record at this number is held before anything is done about it (R29).
    pub entered: Number,
    pub next_look: Micros,
}

impl Evaluation {
    /// What a group's identity has of this.
    pub fn add_to(&self, identity: &mut Identity) {
        let (mixed, failed) = (self.mixed_since.is_some(), &self.order_failed);
        let checking = (self.checking.under_way.is_some(), self.checking.verdict());
        let again = (self.order_failures, self.order_again_at.is_some());
        identity.add((
            self.events,
            self.faults,
            self.divergences,
            mixed,
            failed,
            self.entered,
            checking,
            again,
        ));
    }

    /// A step is entered.
    pub fn begin(&mut self) {
        self.events = 0;
        self.faults = 0;
        self.divergences = 0;
        self.deaths = 0;
        self.latencies.clear();
        self.checking.begin();
    }

    /// What was ordered is forgotten.
    pub fn forget_orders(&mut self) {
        self.order_failed = None;
        self.order_failures = 0;
        self.order_again_at = None;
    }
}

/// What one gate says.
enum Gate {
    Passed,
    Failed(String),
    CantSay(String),
}

/// Latency is compared with the old version's under the same traffic, never with a figure of another day.
fn latency_gate(view: &CampaignView<'_>) -> Gate {
    let gates = &view.record.plan.gates;
    if gates.latency_ratio_max_percent == 0 || view.in_step < Micros::from_ms(gates.time_min_ms) {
        return Gate::Passed;
    }
    if view.events < LATENCY_EVENTS_MIN || view.p99_us <= gates.latency_floor_us {
        // Too few to say anything, which is the business of the least number of events; or well in any case.
        return Gate::Passed;
    }
    let old = view.record.yardstick_p99_us;
    if old == 0 {
        return Gate::CantSay(format!(
            "p99 latency is {} us, and the old version's was not measured",
            view.p99_us
        ));
    }
    let bound = (old * gates.latency_ratio_max_percent / 100).max(gates.latency_floor_us);
    if view.p99_us > bound {
        return Gate::Failed(format!(
            "p99 latency is {} us, and at most {bound} us are allowed (old version: {old} us)",
            view.p99_us
        ));
    }
    Gate::Passed
}

/// The last run counts, and to pass it must have been begun when the least time was over.
fn own_checks_gate(view: &CampaignView<'_>) -> Gate {
    if view.record.plan.own_checks.checks.is_empty() {
        return Gate::Passed;
    }
    match view.own_checks {
        Some(CheckVerdict::Fail(why)) => Gate::Failed(format!("the check of your own failed: {why}")),
        Some(CheckVerdict::Inconclusive(why)) => {
            Gate::CantSay(format!("the check of your own could not be run: {why}"))
        }
        Some(CheckVerdict::Pass) if view.checked_late => Gate::Passed,
        Some(CheckVerdict::Pass) | None => Gate::CantSay("the check of your own has not ended yet".into()),
    }
}

/// What the gates say together. Pure.
#[must_use]
pub fn judge(view: &CampaignView<'_>) -> Judgement {
    let gates = &view.record.plan.gates;
    if view.faults > gates.faults_max {
        return Judgement::Failed(format!(
            "faults: {}, and at most {} are allowed",
            view.faults, gates.faults_max
        ));
    }
    if diverged_too_often(view) {
        return Judgement::Failed(format!(
            "divergences: {}, and at most {} are allowed",
            view.divergences, gates.divergences_max
        ));
    }
    let mut open = (view.events < gates.events_min)
        .then(|| format!("too few events: {} of {}", view.events, gates.events_min));
    for gate in [latency_gate(view), own_checks_gate(view)] {
        match gate {
            Gate::Passed => {}
            Gate::Failed(why) => return Judgement::Failed(why),
            Gate::CantSay(why) => open = open.or(Some(why)),
        }
    }
    match open {
        _ if view.in_step < Micros::from_ms(gates.time_min_ms) => Judgement::Undecided,
        None => Judgement::Passed,
        Some(why) if view.in_step >= Micros::from_ms(longest(view.record)) => Judgement::Inconclusive(why),
        Some(_) => Judgement::Undecided,
    }
}

/// After so long without a result the evaluation is inconclusive.
fn longest(record: &CampaignRecord) -> u64 {
    record.plan.gates.time_max_ms.max(record.plan.gates.time_min_ms)
}

/// How long after the step was entered the campaign falls back if nobody accepts.
#[must_use]
pub fn rollback_after_ms(record: &CampaignRecord, judgement: &Judgement) -> u64 {
    let from = match judgement {
        Judgement::Passed => record.plan.gates.time_min_ms,
        Judgement::Undecided | Judgement::Inconclusive(_) | Judgement::Failed(_) => longest(record),
    };
    from.saturating_add(record.plan.rollback_after_ms)
}

/// What becomes of the campaign at 203, where the new version is active.
pub(super) fn plan_evaluation(view: &CampaignView<'_>) -> Decision {
    let plan = &view.record.plan;
    let judgement = judge(view);
    let back = |reason: String| Decision::Enter(Step::BackSwitchOver, reason);
    if let Judgement::Failed(reason) = judgement {
        return back(reason);
    }
    if !view.in_sync || !view.others_in_sync {
        // The partner is lost: campaign and timer wait (R30).
        return Decision::Wait;
    }
    if view.record.accepted || (judgement == Judgement::Passed && plan.decide == Decide::Automatic) {
        return Decision::Enter(Step::IsolateSecond, String::new());
    }
    if view.in_step >= Micros::from_ms(rollback_after_ms(view.record, &judgement)) {
        return back(match judgement {
            Judgement::Inconclusive(why) => {
                format!("nobody accepted it in time, and it was inconclusive: {why}")
            }
            _ => "nobody accepted it in time".into(),
        });
    }
    Decision::Wait
}

impl Group {
    /// Whether the last run of the checks was begun after the least time of the evaluation.
    pub(super) fn checked_late(&self, record: &CampaignRecord) -> bool {
        let from = record.since.plus(Micros::from_ms(record.plan.gates.time_min_ms));
        self.evaluation.checking.last.as_ref().is_some_and(|(begun, _, _)| *begun >= from)
    }

    /// Begins a run of the user's own checks when one is due: at the beginning of the evaluation, from time to time, and
    /// once its least time is over.
    pub(super) fn run_checks(&mut self, record: &CampaignRecord) {
        let plan = &record.plan.own_checks;
        let evaluates = record.step == Step::Evaluate
            && self.own_hash() == record.plan.to_hash
            && !self.follows_campaign()
            && !record.paused;
        if plan.checks.is_empty() || !evaluates {
            return;
        }
        let bound =
            Micros::from_ms(plan.time_max_ms.saturating_mul(plan.checks.len() as u64)).plus(ANSWER_AFTER);
        if let Some(begun) = self.evaluation.checking.under_way {
            if self.now.since(begun) > bound {
                self.checked(CheckVerdict::Inconclusive("no word came of it".into()));
            }
            return;
        }
        let least = record.in_step(self.now) >= Micros::from_ms(record.plan.gates.time_min_ms);
        let due = match &self.evaluation.checking.last {
            None => true,
            Some((_, ended, verdict)) => {
                self.now.since(*ended) >= Micros::from_ms(plan.every_ms)
                    || (least && *verdict == CheckVerdict::Pass && !self.checked_late(record))
            }
        };
        if due {
            let checking = &mut self.evaluation.checking;
            checking.runs += 1;
            checking.under_way = Some(self.now);
            let (run, campaign) = (checking.runs, Box::new(record.clone()));
            self.effects.push(Effect::RunChecks { run, campaign });
        }
    }

    /// A run of the checks has ended; the word of an earlier one counts for nothing.
    pub(super) fn on_checked(&mut self, run: u64, verdict: CheckVerdict) {
        if run == self.evaluation.checking.runs && self.evaluation.checking.under_way.is_some() {
            self.checked(verdict);
        }
    }

    fn checked(&mut self, verdict: CheckVerdict) {
        let now = self.now;
        if let Some(begun) = self.evaluation.checking.under_way.take() {
            self.evaluation.checking.last = Some((begun, now, verdict));
        }
        self.evaluation.next_look = Micros(0);
    }
}
