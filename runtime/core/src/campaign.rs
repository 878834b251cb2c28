//! The record of a rolling upgrade (R29), replicated like the application's own data.

use serde::{Deserialize, Serialize};

use crate::descriptor::Version;
use crate::ids::{Micros, NodeId, PluginHash};

/// The steps of \[P\] Fig. 6, and the legs of the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Step {
    /// 201: the standby is being taken out of service.
    IsolateFirst,
    /// 202: the standby loads the target and is integrated.
    LoadFirst,
    /// 203: planned switchover to the processor with the target.
    SwitchOver,
    /// 203: live traffic on the target, gates open.
    Evaluate,
    /// 204: the other processor is being taken out of service.
    IsolateSecond,
    /// 205, 206: the other processor loads the target and is integrated.
    LoadSecond,
    /// 207: features are being enabled on both.
    Enable,
    /// Back: a processor with the old version becomes active.
    BackSwitchOver,
    /// Back: the standby loads the old version.
    BackLoad,
    /// Over: the target runs everywhere.
    Done,
    /// Over: the old version runs everywhere.
    FellBack,
}

impl Step {
    /// All of them.
    pub const ALL: [Step; 11] = [
        Step::IsolateFirst,
        Step::LoadFirst,
        Step::SwitchOver,
        Step::Evaluate,
        Step::IsolateSecond,
        Step::LoadSecond,
        Step::Enable,
        Step::BackSwitchOver,
        Step::BackLoad,
        Step::Done,
        Step::FellBack,
    ];

    /// Its name, for scripts, failpoints and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Step::IsolateFirst => "isolate-first",
            Step::LoadFirst => "load-first",
            Step::SwitchOver => "switch-over",
            Step::Evaluate => "evaluate",
            Step::IsolateSecond => "isolate-second",
            Step::LoadSecond => "load-second",
            Step::Enable => "enable",
            Step::BackSwitchOver => "back-switch-over",
            Step::BackLoad => "back-load",
            Step::Done => "done",
            Step::FellBack => "fell-back",
        }
    }

    /// The number that \[P\] gives the step; the way back counts as 200.
    #[must_use]
    pub fn figure(self) -> u16 {
        match self {
            Step::IsolateFirst => 201,
            Step::LoadFirst => 202,
            Step::SwitchOver | Step::Evaluate => 203,
            Step::IsolateSecond => 204,
            Step::LoadSecond => 206,
            Step::Enable | Step::Done => 207,
            Step::BackSwitchOver | Step::BackLoad | Step::FellBack => 200,
        }
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Step::Done | Step::FellBack)
    }

    /// Whether it belongs to the way back.
    #[must_use]
    pub fn is_back(self) -> bool {
        matches!(self, Step::BackSwitchOver | Step::BackLoad | Step::FellBack)
    }

    /// Those that something can happen in, in their order: all but the ends.
    pub fn under_way() -> impl Iterator<Item = Step> {
        Step::ALL.into_iter().filter(|step| !step.is_over())
    }

    /// Those of the way forward, in their order.
    pub fn forward() -> impl Iterator<Item = Step> {
        Step::under_way().filter(|step| !step.is_back())
    }
}

/// How redundancy is kept while a processor changes its version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Redundancy {
    /// The new version is loaded beside the old and takes over its stream at a procedure boundary (R28).
    #[default]
    Keep,
    /// \[P\]'s literal flow: the standby leaves the in-sync set while it changes.
    Isolate,
}

/// The gates of the evaluation (R30).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gates {
    /// Evaluate at least this long.
    pub time_min_ms: u64,
    /// Evaluate at least this many events.
    pub events_min: u64,
    /// With fewer events than `events_min` after this long the evaluation is inconclusive.
    pub time_max_ms: u64,
    /// More faults than this fail.
    pub faults_max: u64,
    /// More divergences than this fail.
    pub divergences_max: u64,
    /// A p99 latency above this many hundredths of the old version's fails. 0 switches the gate off.
    pub latency_ratio_max_percent: u64,
    /// The latency gate does not fail below this p99, in microseconds: noise is not a regression.
    pub latency_floor_us: u64,
}

impl Default for Gates {
    fn default() -> Self {
        Gates {
            time_min_ms: 120_000,
            events_min: 10_000,
            time_max_ms: 600_000,
            faults_max: 0,
            divergences_max: 0,
            latency_ratio_max_percent: 200,
            latency_floor_us: 20_000,
        }
    }
}

/// Who decides after a passed evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decide {
    /// Accepted when the gates pass.
    #[default]
    Automatic,
    /// Waits for `lockstep upgrade accept`, up to the rollback timer.
    Operator,
}

/// A check of the user's own during the evaluation (R30). It looks at the application from outside, or is a part of it:
/// wrong but well-formed rows are seen by nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnCheck {
    /// A line for the shell, run on the active's host. Its exit status is the answer.
    Command(String),
    /// A procedure of the target, run in each partition. Its reply is the answer.
    Procedure {
        /// Its name.
        name: String,
        /// Its control parameters, as JSON.
        parameters: String,
    },
}

/// The user's own checks, and when they are run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnChecks {
    /// All of them are run, in this order; none by default.
    pub checks: Vec<OwnCheck>,
    /// They are run again so long after they ended.
    pub every_ms: u64,
    /// One that takes longer than this could not be run.
    pub time_max_ms: u64,
}

impl Default for OwnChecks {
    fn default() -> Self {
        OwnChecks { checks: Vec::new(), every_ms: 10_000, time_max_ms: 30_000 }
    }
}

/// What a run of the user's own checks has shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckVerdict {
    /// All is well.
    Pass,
    /// Something is wrong, and what.
    Fail(String),
    /// It could not be found out, and why.
    Inconclusive(String),
}

/// What the evaluation says at the moment (R30).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// It is too early to say.
    Undecided,
    /// All gates have passed.
    Passed,
    /// A gate has failed, and which: the campaign falls back.
    Failed(String),
    /// The longest time is over, and a gate can't say: the operator decides, or the rollback timer.
    Inconclusive(String),
}

/// What the operator asked for; fixed for the campaign's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignPlan {
    /// The version that runs before.
    pub from: Version,
    /// Its plugin file.
    pub from_hash: PluginHash,
    /// The target version.
    pub to: Version,
    /// Its plugin file.
    pub to_hash: PluginHash,
    /// How redundancy is kept.
    pub redundancy: Redundancy,
    /// The gates.
    pub gates: Gates,
    /// Checks of the user's own.
    pub own_checks: OwnChecks,
    /// Who decides.
    pub decide: Decide,
    /// If nobody accepts for this long after the gates passed, fall back.
    pub rollback_after_ms: u64,
    /// A step that takes longer than this has failed.
    pub step_time_max_ms: u64,
    /// Enable all features of the target at 207.
    pub enable_features: bool,
    /// A line for the shell, run at each change on the host of the processor that is active then; empty for none.
    pub notify: String,
    /// Procedures of `from` that the target does not have and that end with this campaign (R32).
    pub retire: Vec<String>,
    /// Procedures of the target that `from` does not have and that are served once the campaign is through (R32).
    pub only_new: Vec<String>,
    /// Who started it, for the record.
    pub started_by: String,
    /// Why, in the words of whoever started it; may be empty.
    pub why: String,
}

/// The campaign's state, replicated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignRecord {
    /// A number for people and for history: the stream number at which it was started.
    pub id: u64,
    /// The plan.
    pub plan: CampaignPlan,
    /// Where it stands.
    pub step: Step,
    /// Grows with every order that goes out: late answers to older ones are told apart (R29).
    pub attempt: u32,
    /// The number of partition 0's stream at which the record became as it is: a higher one counts more (R1).
    pub revision: u64,
    /// 207 with several groups: all are ready, and nothing leads back any more in any of them.
    pub no_way_back: bool,
    /// When the step was entered, by the stream's clock.
    pub since: Micros,
    /// The processor that gets the target first.
    pub first: NodeId,
    /// p99 latency of the old version as active while mixed (R30's yardstick), microseconds; 0 when not measured.
    pub yardstick_p99_us: u64,
    /// The longest time without an answer at a planned switchover of this campaign, in microseconds, as the processors
    /// measure it; 0 when none was measured.
    pub longest_gap: Micros,
    /// Stopped by the operator; no new step is begun.
    pub paused: bool,
    /// Since when, by the stream's clock; 0 while it is not. A pause does not count as time of the step.
    pub paused_at: Micros,
    /// The operator accepted: nothing but a failed gate leads back.
    pub accepted: bool,
    /// The operator declared the partner gone: the survivor goes on alone, and changes its version in place (R30).
    pub partner_gone: bool,
    /// Why it falls or fell back, or waits; empty when all is well.
    pub reason: String,
    /// Steps done: figure, what, and when, for status and history.
    pub trail: Vec<(Step, Micros)>,
}

impl CampaignRecord {
    /// How long the step has been going on at `now`; a pause stops that clock.
    #[must_use]
    pub fn in_step(&self, now: Micros) -> Micros {
        if self.paused { self.paused_at.since(self.since) } else { now.since(self.since) }
    }

    /// How often `step` was entered.
    #[must_use]
    pub fn entries(&self, step: Step) -> usize {
        self.trail.iter().filter(|(entered, _)| *entered == step).count()
    }

    /// Once it is over: the version that runs, and the other one, which a partner that was away may still run (R30).
    #[must_use]
    pub fn ended_on(&self) -> Option<(PluginHash, PluginHash)> {
        let (from, to) = (self.plan.from_hash, self.plan.to_hash);
        match self.step {
            Step::Done => Some((to, from)),
            Step::FellBack => Some((from, to)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Step;

    #[test]
    fn each_step_leads_forward_or_back_or_is_an_end() {
        let forward: Vec<_> = Step::forward().collect();
        assert_eq!((forward.len(), forward[0], forward[6]), (7, Step::IsolateFirst, Step::Enable));
        let back: Vec<_> = Step::under_way().filter(|step| step.is_back()).collect();
        assert_eq!(back, [Step::BackSwitchOver, Step::BackLoad]);
        assert_eq!(Step::under_way().count(), 9);
    }
}
