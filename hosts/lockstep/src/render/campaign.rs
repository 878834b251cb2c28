//! `lockstep upgrade status`, `--watch` and `history`.
//!
//! A step's line is final once the next step was entered; the last line is about what is under way.

use lockstep_core::campaign::{CampaignRecord, CheckVerdict, Decide, Judgement, Redundancy, Step};
use lockstep_core::command::CampaignStatus;
use lockstep_core::ids::Micros;

use super::words::{clock, count, counted, latency, seconds};

/// So wide is a title at least; a longer one pushes what stands behind it.
const TITLE_WIDTH: usize = 26;

/// What a step is called.
fn title(record: &CampaignRecord, step: Step) -> String {
    let (first, from, to) = (&record.first, record.plan.from, record.plan.to);
    let keeps = record.plan.redundancy == Redundancy::Keep;
    match step {
        // Nobody is isolated then.
        Step::IsolateFirst if keeps => format!("{first} stays in sync"),
        Step::IsolateSecond if keeps => "the other stays in sync".into(),
        Step::IsolateFirst => format!("isolate {first}"),
        Step::LoadFirst => format!("{first} on {to}, in sync"),
        Step::SwitchOver => format!("switch over to {first}"),
        Step::Evaluate => format!("evaluate on {first}"),
        Step::IsolateSecond => "isolate the other".into(),
        Step::LoadSecond => format!("the other on {to}, in sync"),
        Step::Enable => "enable features".into(),
        Step::BackSwitchOver => format!("back: {from} active"),
        Step::BackLoad => format!("back: both on {from}"),
        Step::Done => format!("{to} runs everywhere"),
        Step::FellBack => format!("fell back: {from} runs everywhere"),
    }
}

/// Lines of the steps that are over, oldest first: each says how long it took.
pub fn steps_over(record: &CampaignRecord) -> Vec<String> {
    let pairs = record.trail.iter().zip(record.trail.iter().skip(1));
    let mut lines: Vec<String> = pairs
        .map(|((step, begun), (next, ended))| {
            let (title, took) = (title(record, *step), seconds(ended.since(*begun).0));
            // The step that leads back is not done.
            let mark = if next.is_back() && !step.is_back() { "<- " } else { "ok " };
            format!(" {mark} {}  {title:<TITLE_WIDTH$}  {took}", step.figure())
        })
        .collect();
    if record.step.is_over() {
        lines.push(outcome(record));
        lines.extend(gap(record.longest_gap).map(|gap| format!("     {gap}")));
    }
    lines
}

/// `longest gap at switchover 3 ms`; none when none was measured.
fn gap(longest: Micros) -> Option<String> {
    (longest.0 > 0).then(|| format!("longest gap at switchover {}", latency(longest.0)))
}

/// The last line of a campaign that is over.
pub fn outcome(record: &CampaignRecord) -> String {
    let word = if record.step == Step::Done { "done" } else { "back" };
    let reason = if record.reason.is_empty() { String::new() } else { format!(": {}", record.reason) };
    format!("{word}  {}  {}{reason}", record.step.figure(), title(record, record.step))
}

/// Why the evaluation waits for the operator, if it does because a gate can't say.
pub fn inconclusive(status: &CampaignStatus) -> Option<&str> {
    match &status.judgement {
        Some(Judgement::Inconclusive(why)) if !status.record.accepted => Some(why),
        _ => None,
    }
}

/// What the user's own checks say; none where there are none.
fn own_checks(status: &CampaignStatus) -> Option<String> {
    if status.record.plan.own_checks.checks.is_empty() {
        return None;
    }
    Some(match &status.own_checks {
        None => "own check under way".into(),
        Some(CheckVerdict::Pass) => "own check ok".into(),
        Some(CheckVerdict::Fail(why)) => format!("own check failed: {why}"),
        Some(CheckVerdict::Inconclusive(why)) => format!("own check could not be run: {why}"),
    })
}

/// Lines about the step that is under way.
pub fn under_way(application: &str, status: &CampaignStatus) -> Vec<String> {
    let record = &status.record;
    let gates = &record.plan.gates;
    let in_step_ms = status.in_step.0 / 1_000;
    let mut head = format!(" >>  {}  {:<TITLE_WIDTH$}  ", record.step.figure(), title(record, record.step));
    if record.step != Step::Evaluate {
        head.push_str(&seconds(status.in_step.0));
        return with_notes(head, record);
    }
    head.push_str(&format!("{} of {}", clock(in_step_ms), clock(gates.time_min_ms)));
    if let Some(per_s) = (status.events * 1_000).checked_div(in_step_ms) {
        head.push_str(&format!("   {} events/s", count(per_s)));
    }
    if let Some(gap) = gap(status.longest_gap) {
        head.push_str(&format!("   {gap}"));
    }
    let mut lines = with_notes(head, record);
    let ratio = match (record.yardstick_p99_us, status.p99_us) {
        (0, 0) => "p99 not measured".to_owned(),
        (0, new) => format!("p99 {}, old not measured", latency(new)),
        (old, new) => format!("p99 {}.{:02} x old", new / old, new % old * 100 / old),
    };
    let own = own_checks(status).map_or_else(String::new, |own| format!("   {own}"));
    lines.push(format!(
        "     {}   {}   {ratio}{own}   events {} of {}",
        counted(status.faults, "fault"),
        counted(status.divergences, "divergence"),
        count(status.events),
        count(gates.events_min)
    ));
    if record.accepted {
        lines.push("     accepted".into());
    } else {
        let left_ms = status.rollback_in_ms.unwrap_or_default();
        let why = match (&status.judgement, record.plan.decide) {
            (Some(Judgement::Inconclusive(why)), _) => format!("inconclusive: {why}; "),
            (Some(Judgement::Passed), Decide::Operator) => "the gates passed; ".into(),
            _ => String::new(),
        };
        lines.push(format!(
            "     {why}falls back by itself in {} unless accepted:  {}",
            clock(left_ms),
            accept(application)
        ));
    }
    lines
}

/// What to type to accept; without the application where none was named.
pub fn accept(application: &str) -> String {
    format!("lockstep upgrade accept {application}").trim_end().to_owned()
}

fn with_notes(head: String, record: &CampaignRecord) -> Vec<String> {
    let mut lines = vec![head];
    if record.paused {
        lines.push("     paused: no new step is begun until `lockstep upgrade resume`".into());
    }
    if !record.reason.is_empty() {
        lines.push(format!("     because: {}", record.reason));
    }
    lines
}

/// A campaign under way, or the last one.
pub fn status(application: &str, current: Option<&CampaignStatus>, last: Option<&CampaignRecord>) -> String {
    let lines = match (current, last) {
        (Some(status), _) => {
            let mut lines = vec![heading(&status.record)];
            lines.extend(steps_over(&status.record));
            lines.extend(under_way(application, status));
            lines
        }
        (None, Some(record)) => {
            let mut lines = vec![format!("no upgrade is under way; the last one was:\n{}", heading(record))];
            lines.extend(steps_over(record));
            lines
        }
        (None, None) => vec!["no upgrade is under way, and none was before".into()],
    };
    lines.join("\n") + "\n"
}

/// The first line about a campaign.
pub fn heading(record: &CampaignRecord) -> String {
    let plan = &record.plan;
    let by =
        if plan.started_by.is_empty() { String::new() } else { format!(", started by {}", plan.started_by) };
    let why = if plan.why.is_empty() { String::new() } else { format!(" ({})", plan.why) };
    format!("upgrade {}: {} -> {}{by}{why}", record.id, plan.from, plan.to)
}

/// Campaigns that are over, one line each.
pub fn history(campaigns: &[CampaignRecord]) -> String {
    if campaigns.is_empty() {
        return "there was no upgrade\n".into();
    }
    let line = |record: &CampaignRecord| {
        let length = match (record.trail.first(), record.trail.last()) {
            (Some((_, begun)), Some((_, ended))) => seconds(ended.since(*begun).0),
            _ => "-".into(),
        };
        let end = if record.step == Step::Done { "done" } else { "fell back" };
        let reason = if record.reason.is_empty() { String::new() } else { format!(": {}", record.reason) };
        let gap = gap(record.longest_gap).map_or_else(String::new, |gap| format!("; {gap}"));
        format!("{}   {end} after {length}{reason}{gap}\n", heading(record))
    };
    campaigns.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_core::campaign::{CampaignPlan, Gates, OwnCheck, OwnChecks};
    use lockstep_core::ids::{NodeId, PluginHash};

    fn evaluating() -> CampaignStatus {
        let second = |s: u64| Micros(s * 1_000_000);
        CampaignStatus {
            record: CampaignRecord {
                id: 42,
                plan: CampaignPlan {
                    from: "1.4.0".parse().unwrap(),
                    from_hash: PluginHash::default(),
                    to: "2.0.0".parse().unwrap(),
                    to_hash: PluginHash::default(),
                    redundancy: Redundancy::Keep,
                    gates: Gates::default(),
                    own_checks: OwnChecks::default(),
                    decide: Decide::Operator,
                    rollback_after_ms: 600_000,
                    step_time_max_ms: 60_000,
                    enable_features: true,
                    notify: String::new(),
                    retire: vec![],
                    only_new: vec![],
                    started_by: "root".into(),
                    why: String::new(),
                },
                step: Step::Evaluate,
                revision: 9,
                no_way_back: false,
                attempt: 1,
                since: second(103),
                first: NodeId("b".into()),
                yardstick_p99_us: 2_000,
                longest_gap: Micros(0),
                paused: false,
                paused_at: Micros(0),
                accepted: false,
                partner_gone: false,
                reason: String::new(),
                trail: vec![
                    (Step::IsolateFirst, second(100)),
                    (Step::LoadFirst, second(100)),
                    (Step::SwitchOver, second(103)),
                    (Step::Evaluate, second(103)),
                ],
            },
            in_step: second(41),
            events: 504_881,
            faults: 0,
            divergences: 0,
            p99_us: 2_040,
            longest_gap: Micros(3_120),
            own_checks: None,
            judgement: Some(Judgement::Undecided),
            rollback_in_ms: Some(1_159_000),
        }
    }

    #[test]
    fn an_evaluation() {
        assert_eq!(
            status("ledger", Some(&evaluating()), None),
            "upgrade 42: 1.4.0 -> 2.0.0, started by root\n \
             ok  201  b stays in sync             0.00 s\n \
             ok  202  b on 2.0.0, in sync         3.00 s\n \
             ok  203  switch over to b            0.00 s\n \
             >>  203  evaluate on b               0:41 of 2:00   12,314 events/s   longest gap at switchover 3.1 ms\n     \
                 0 faults   0 divergences   p99 1.02 x old   events 504,881 of 10,000\n     \
                 falls back by itself in 19:19 unless accepted:  lockstep upgrade accept ledger\n"
        );
    }

    #[test]
    fn what_the_evaluation_waits_for_is_said() {
        let mut status = evaluating();
        status.judgement = Some(Judgement::Passed);
        status.rollback_in_ms = Some(595_000);
        let lines = under_way("ledger", &status);
        assert!(lines[2].contains("the gates passed; falls back by itself in 9:55"), "{lines:?}");
        assert_eq!(inconclusive(&status), None);
        status.judgement = Some(Judgement::Inconclusive("too few events: 12 of 10000".into()));
        assert_eq!(inconclusive(&status), Some("too few events: 12 of 10000"));
        let lines = under_way("ledger", &status);
        assert!(
            lines[2].contains("inconclusive: too few events: 12 of 10000; falls back by itself"),
            "{lines:?}"
        );
    }

    #[test]
    fn what_a_check_says_stands_beside_the_other_gates() {
        let mut status = evaluating();
        status.record.plan.own_checks.checks = vec![OwnCheck::Command("./sums".into())];
        assert!(under_way("", &status)[1].contains("p99 1.02 x old   own check under way   events"));
        status.own_checks = Some(CheckVerdict::Pass);
        assert!(under_way("", &status)[1].contains("   own check ok   "));
        status.own_checks = Some(CheckVerdict::Fail("3 cents".into()));
        assert!(under_way("", &status)[1].contains("   own check failed: 3 cents   "));
    }

    #[test]
    fn the_ends() {
        let mut record = evaluating().record;
        record.trail.push((Step::BackSwitchOver, Micros(150_000_000)));
        record.trail.push((Step::FellBack, Micros(150_250_000)));
        record.step = Step::FellBack;
        record.reason = "faults: 3, and at most 0 are allowed".into();
        assert_eq!(
            status("ledger", None, Some(&record)).lines().last().unwrap(),
            "back  200  fell back: 1.4.0 runs everywhere: faults: 3, and at most 0 are allowed"
        );
        record.longest_gap = Micros(850);
        let said = status("ledger", None, Some(&record));
        assert!(
            said.contains("\n <-  203  evaluate on b               47.00 s\n ok  200  back: 1.4.0 active"),
            "{said}"
        );
        assert_eq!(said.lines().last().unwrap(), "     longest gap at switchover 850 us");
        assert_eq!(
            history(&[record]),
            "upgrade 42: 1.4.0 -> 2.0.0, started by root   fell back after 50.25 s: \
             faults: 3, and at most 0 are allowed; longest gap at switchover 850 us\n"
        );
        assert_eq!(status("ledger", None, None), "no upgrade is under way, and none was before\n");
    }

    #[test]
    fn a_long_title_keeps_its_distance_from_the_time() {
        let mut status = evaluating();
        status.record.step = Step::LoadSecond;
        status.record.plan.to = "2.0.10".parse().unwrap();
        let line = &under_way("ledger", &status)[0];
        assert!(line.contains("the other on 2.0.10, in sync  41.00 s"), "{line}");
    }

    #[test]
    fn what_to_type_is_whole_without_a_name() {
        assert_eq!(accept(""), "lockstep upgrade accept");
        let lines = under_way("", &evaluating());
        assert!(lines[2].ends_with("unless accepted:  lockstep upgrade accept"), "{lines:?}");
    }

    #[test]
    fn a_pause_is_said() {
        let mut status = evaluating();
        status.record.paused = true;
        assert!(under_way("ledger", &status)[1].starts_with("     paused"));
    }
}
