//! Checks of the user's own during an evaluation (R30), run by real processors: programs and procedures. What stands
//! before them: the preflight on both hosts.

use std::time::Duration;

use lockstep_core::campaign::CampaignRecord;
use rig::pair::Pair;
use rig::{Failure, admin};

use crate::{artifacts, failure, load, pair};

/// An upgrade to the twin with these further arguments, to its end.
fn upgrade(pair: &Pair, arguments: &[&str]) -> Result<CampaignRecord, Failure> {
    start(pair, arguments)?;
    let over = pair.wait_until("the end of the upgrade", Duration::from_secs(60), |group| {
        Ok(!group.campaigns.is_empty() && admin::in_lock_step(group))
    })?;
    Ok(over.campaigns.last().expect("one is over").clone())
}

fn start(pair: &Pair, arguments: &[&str]) -> Result<(), Failure> {
    let target = artifacts().ledger_v1_twin().display().to_string();
    let gates = ["--time-min-ms", "300", "--events-min", "20", "--latency-floor-us", "250000"];
    let all = ["upgrade", "start", "ledger", &target].into_iter().chain(gates);
    pair.lockstep(&all.chain(arguments.iter().copied()).collect::<Vec<_>>()).map(drop)
}

#[test]
fn a_program_that_passes_lets_the_new_version_stay_and_is_told_what_it_has_to_look_at() {
    let (directory, pair) = pair();
    let told = directory.path().join("told");
    let load = load(&pair);
    let line = format!("env | grep ^LOCKSTEP_ | sort > {}", told.display());
    let campaign = upgrade(&pair, &["--check-command", &line, "--why", "ticket 7"]).unwrap();
    assert!(!campaign.step.is_back(), "{}", campaign.reason);
    assert_eq!(campaign.plan.why, "ticket 7");
    let told = std::fs::read_to_string(told).unwrap();
    let active = pair.node(pair.active().unwrap());
    for line in [
        "LOCKSTEP_APPLICATION=ledger".to_owned(),
        format!("LOCKSTEP_NEW_VERSION={}", campaign.plan.to),
        format!("LOCKSTEP_OLD_VERSION={}", campaign.plan.from),
        format!("LOCKSTEP_HTTP={}", active.ready().http),
        format!("LOCKSTEP_NODE={}", active.name()),
    ] {
        assert!(told.lines().any(|told| told == line), "{line}: {told}");
    }
    drop(load.stop().unwrap());
}

#[test]
fn a_program_that_fails_leads_back_with_its_last_line() {
    let (_directory, pair) = pair();
    let load = load(&pair);
    let campaign = upgrade(&pair, &["--check-command", "echo the sums differ; exit 1"]).unwrap();
    assert!(campaign.step.is_back());
    assert!(campaign.reason.contains("the sums differ"), "{}", campaign.reason);
    drop(load.stop().unwrap());
}

#[test]
fn a_procedure_is_asked_and_its_refusal_leads_back() {
    let (_directory, pair) = pair();
    let load = load(&pair);
    // An event of the ordinary kind that the ledger refuses.
    let check = r#"transfer {"from": "nobody", "to": "nowhere", "cents": 1}"#;
    let campaign = upgrade(&pair, &["--check-procedure", check]).unwrap();
    assert!(campaign.step.is_back());
    assert!(campaign.reason.contains("procedure `transfer`: it refused"), "{}", campaign.reason);
    drop(load.stop().unwrap());
}

#[test]
fn a_check_that_can_not_be_run_is_inconclusive_and_the_operator_is_told() {
    let (_directory, pair) = pair();
    let load = load(&pair);
    let arguments = ["--check-command", "/no/such/program", "--time-max-ms", "400", "--watch"];
    let said = failure(start(&pair, &arguments));
    assert!(said.contains("LS0720") && said.contains("could not be run"), "{said}");
    // One JSON object, with the figures beside the error.
    let at = said.find('{').unwrap_or_else(|| panic!("{said}"));
    let json: serde_json::Value =
        serde_json::from_str(&said[at..]).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert!(json["current"]["record"].is_object() && json["error"]["code"] == "LS0720", "{said}");
    pair.lockstep(&["upgrade", "accept", "ledger"]).unwrap();
    let over = pair.wait_until("the end of the upgrade", Duration::from_secs(60), |group| {
        Ok(!group.campaigns.is_empty() && admin::in_lock_step(group))
    });
    assert!(!over.unwrap().campaigns[0].step.is_back());
    drop(load.stop().unwrap());
}

/// How many plugin files the processor at `at` keeps.
fn kept(pair: &Pair, at: usize) -> usize {
    let data = pair.directory().join(format!("data-{}", pair.node(at).name()));
    std::fs::read_dir(data.join("plugins")).unwrap().count()
}

#[test]
fn a_plan_tries_the_file_on_both_hosts_gives_all_reasons_and_changes_nothing() {
    let (_directory, pair) = pair();
    let before = [kept(&pair, 0), kept(&pair, 1)];
    let target = artifacts().ledger_v2().display().to_string();
    let plan = pair.lockstep(&["upgrade", "plan", "ledger", &target]).unwrap();
    assert_eq!(plan["refusals"], serde_json::json!([]));
    let standby = 1 - pair.active().unwrap();
    let log = std::fs::read_to_string(pair.node(standby).log()).unwrap();
    assert!(log.contains("a plugin file was tried for the partner"), "{log}");
    // Two checks that could never be run.
    let checks = ["--check-procedure", "nowhere", "--check-procedure", "elsewhere"];
    let all = ["upgrade", "plan", "ledger", &target].into_iter().chain(checks);
    let said = failure(pair.lockstep(&all.collect::<Vec<_>>()));
    for word in ["LS0719", "nowhere", "elsewhere"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(pair.group(0).unwrap().campaign.is_none());
    assert_eq!([kept(&pair, 0), kept(&pair, 1)], before);
}
