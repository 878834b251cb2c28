//! `lockstep upgrade plan`.

use lockstep_core::campaign::{Decide, OwnCheck, Redundancy};
use lockstep_core::verdict::{Comparison, Pairing, Verdict};
use lockstep_runtime::admin::protocol::{AdminError, PluginReport, UpgradePlan};

use super::words::{columns, counted, length};

/// The verdict in words.
fn verdict(comparison: &Comparison) -> String {
    let shipped = comparison.procedures.iter().filter(|pairing| pairing.pairing == Pairing::Shipped).count();
    in_words(comparison.verdict, shipped as u64, &comparison.reasons)
}

/// The verdict on a pair of versions, in words; `reasons` make it incompatible.
pub fn in_words(verdict: Verdict, shipped: u64, reasons: &[String]) -> String {
    let are = if shipped == 1 { "is" } else { "are" };
    match verdict {
        Verdict::Compatible => "compatible (every procedure stays in lock step)".into(),
        Verdict::Mixed if shipped == 0 => "mixed (can be upgraded; some procedures are new)".into(),
        Verdict::Mixed => format!(
            "mixed (can be upgraded; {} {are} shipped while versions differ)",
            counted(shipped, "procedure")
        ),
        Verdict::Incompatible => format!("incompatible: {}", reasons.join("; ")),
    }
}

/// Procedures with their versions, `units` says how many work units a shipped one declares.
fn procedures(from: &str, to: &str, comparison: &Comparison, units: &[(String, u32, u32)]) -> String {
    let mut rows = vec![vec!["procedure".into(), from.into(), to.into(), String::new()]];
    for pairing in &comparison.procedures {
        let version =
            |version: Option<u32>| version.map_or_else(|| "-".into(), |version| format!("v{version}"));
        let how = match pairing.pairing {
            Pairing::LockStep => "lock step".to_owned(),
            Pairing::OnlyNew => "refused until the upgrade is through".into(),
            Pairing::OneSided => "served at once, shipped while versions differ".into(),
            Pairing::OnlyOld => "missing in the new version".into(),
            Pairing::Retired => "retired: refused from the switchover on".into(),
            Pairing::Shipped => match units.iter().find(|(name, _, _)| *name == pairing.name) {
                Some((_, old, new)) if old != new => format!("shipped: {old} work units became {new}"),
                _ => "shipped".into(),
            },
        };
        rows.push(vec![pairing.name.clone(), version(pairing.old), version(pairing.new), how]);
    }
    columns("  ", "  ", &rows)
}

/// The steps and the way back from each.
fn steps(plan: &UpgradePlan) -> String {
    let (first, second) = (&plan.first, &plan.second);
    let (from, to) = (plan.from, plan.to.version);
    let gates = &plan.options.gates;
    let mut evaluate = format!("{first} active, evaluate {}", length(gates.time_min_ms));
    if gates.events_min > 0 {
        evaluate.push_str(&format!(" and {}", counted(gates.events_min, "event")));
    }
    for check in &plan.options.own_checks.checks {
        evaluate.push_str(&match check {
            OwnCheck::Command(line) => format!(", run `{line}`"),
            OwnCheck::Procedure { name, .. } => format!(", ask `{name}`"),
        });
    }
    if plan.options.decide == Decide::Operator {
        evaluate.push_str(", you decide");
    }
    let row = |step: &str, what: String, back: String| vec![step.to_owned(), what, back];
    let reload = || format!("unload, load {from}");
    let mut rows = vec![row("step", String::new(), "the way back".into())];
    if plan.options.redundancy == Redundancy::Isolate {
        rows.push(row("201", format!("isolate {first}"), format!("integrate {first}")));
        rows.push(row("202", format!("{first}: load {to}, integrate"), reload()));
        rows.push(row("203", evaluate, format!("switch over to {second}")));
        rows.push(row("204", format!("isolate {second}"), format!("integrate {second}")));
        rows.push(row("205-206", format!("{second}: load {to}, integrate"), reload()));
    } else {
        rows.push(row("201-202", format!("{first}: load {to} beside {from}, change over"), reload()));
        rows.push(row("203", evaluate, format!("switch over to {second}")));
        rows.push(row("204-206", format!("{second}: load {to} beside {from}, change over"), reload()));
    }
    let enable = match plan.features[..] {
        [] => "nothing to enable".to_owned(),
        _ => format!("enable {}", plan.features.join(", ")),
    };
    let back = match plan.raises_floor {
        true => format!("none: no version below {to} after this"),
        false => "an upgrade back".into(),
    };
    rows.push(row("207", enable, back));
    columns("  ", "  ", &rows)
}

/// The whole plan.
pub fn plan(plan: &UpgradePlan) -> String {
    let (from, to) = (plan.from.to_string(), plan.to.version.to_string());
    let mut out = format!("{} {from} -> {to}: {}\n", plan.application, verdict(&plan.comparison));
    out.push_str(&procedures(&from, &to, &plan.comparison, &plan.units));
    if plan.comparison.verdict != Verdict::Incompatible {
        out.push_str(&steps(plan));
    }
    for AdminError { code, message, help } in &plan.refusals {
        out.push_str(&format!("refused {code}: {message}\n  help: {help}\n"));
    }
    out.push_str(&warnings(&plan.to));
    out
}

fn warnings(report: &PluginReport) -> String {
    report.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_core::ids::{NodeId, PluginHash};
    use lockstep_core::verdict::ProcedurePairing;
    use lockstep_runtime::admin::protocol::UpgradeOptions;

    fn example() -> UpgradePlan {
        let pairing =
            |name: &str, old, new, pairing| ProcedurePairing { name: name.into(), old, new, pairing };
        let comparison = Comparison {
            verdict: Verdict::Mixed,
            procedures: vec![
                pairing("open_account", Some(1), Some(1), Pairing::LockStep),
                pairing("transfer", Some(1), Some(2), Pairing::Shipped),
                pairing("close", None, Some(1), Pairing::OnlyNew),
            ],
            reasons: vec![],
        };
        UpgradePlan {
            application: "ledger".into(),
            from: "1.4.0".parse().unwrap(),
            to: PluginReport {
                path: "/p/libledger_v2.so".into(),
                hash: PluginHash([0xab; 32]),
                bytes: 1_234_567,
                application: "ledger".into(),
                version: "2.0.0".parse().unwrap(),
                warnings: vec!["it keeps a thread".into()],
            },
            comparison,
            refusals: vec![],
            units: vec![("transfer".into(), 4, 5)],
            first: NodeId("b".into()),
            second: NodeId("a".into()),
            features: vec!["transfer-fee".into()],
            raises_floor: true,
            options: UpgradeOptions::default(),
            preflight_ms: 40,
        }
    }

    #[test]
    fn a_mixed_pair() {
        assert_eq!(
            plan(&example()),
            "ledger 1.4.0 -> 2.0.0: mixed (can be upgraded; 1 procedure is shipped while versions differ)\n  \
               procedure     1.4.0  2.0.0\n  \
               open_account  v1     v1     lock step\n  \
               transfer      v1     v2     shipped: 4 work units became 5\n  \
               close         -      v1     refused until the upgrade is through\n  \
               step                                                 the way back\n  \
               201-202  b: load 2.0.0 beside 1.4.0, change over     unload, load 1.4.0\n  \
               203      b active, evaluate 2 min and 10,000 events  switch over to a\n  \
               204-206  a: load 2.0.0 beside 1.4.0, change over     unload, load 1.4.0\n  \
               207      enable transfer-fee                         none: no version below 2.0.0 after this\n\
             warning: it keeps a thread\n"
        );
    }

    #[test]
    fn the_literal_flow_and_an_operator_who_decides() {
        let mut example = example();
        example.options.redundancy = Redundancy::Isolate;
        example.options.decide = Decide::Operator;
        example.options.gates.events_min = 0;
        example.features.clear();
        example.raises_floor = false;
        assert_eq!(
            steps(&example),
            "  step                                           the way back\n  \
               201      isolate b                             integrate b\n  \
               202      b: load 2.0.0, integrate              unload, load 1.4.0\n  \
               203      b active, evaluate 2 min, you decide  switch over to a\n  \
               204      isolate a                             integrate a\n  \
               205-206  a: load 2.0.0, integrate              unload, load 1.4.0\n  \
               207      nothing to enable                     an upgrade back\n"
        );
    }

    #[test]
    fn an_incompatible_pair_shows_no_steps() {
        let mut example = example();
        example.comparison.verdict = Verdict::Incompatible;
        example.comparison.reasons = vec!["procedure `statement` is missing in 2.0.0".into()];
        example.refusals = vec![AdminError {
            code: "LS0717".into(),
            message: "b: no room".into(),
            help: "make room".into(),
        }];
        let shown = plan(&example);
        assert!(shown.contains("refused LS0717: b: no room\n  help: make room\n"), "{shown}");
        assert!(
            shown.starts_with("ledger 1.4.0 -> 2.0.0: incompatible: procedure `statement` is missing"),
            "{shown}"
        );
        assert!(!shown.contains("the way back"), "{shown}");
    }
}
