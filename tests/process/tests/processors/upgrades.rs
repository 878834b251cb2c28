//! Upgrades of real processors: what is struck in a step of one, the way back after the new version has served, and what
//! operators can read of it afterwards.

use std::path::Path;
use std::time::Duration;

use lockstep_client::Client;
use lockstep_core::campaign::Step;
use rig::clients::ClientThread;
use rig::ledger;
use rig::pair::Pair;
use rig::strike::{How, Strike, Whom, run};
use rig::swap_strike::{self, Moment};
use serde_json::Value;

use crate::{artifacts, load, pair};

const PATIENCE: Duration = Duration::from_secs(60);

#[track_caller]
fn strike(step: Step, whom: Whom, how: How) {
    let directory = tempfile::tempdir().unwrap();
    let struck = run(artifacts(), directory.path(), 400.0, Strike { step, whom, how });
    let struck = struck.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(struck.holds(), "{struck:?}");
}

/// `cargo run --release -p drill -- upgrades` makes all 54.
#[test]
fn the_active_may_die_in_the_evaluation() {
    strike(Step::Evaluate, Whom::Active, How::Kill);
}

#[test]
fn the_standby_may_die_while_it_changes_its_version() {
    strike(Step::LoadFirst, Whom::Standby, How::Kill);
}

#[test]
fn the_active_may_die_on_the_way_back() {
    strike(Step::BackSwitchOver, Whom::Active, How::Kill);
}

#[test]
fn the_command_line_may_die() {
    strike(Step::SwitchOver, Whom::CommandLine, How::Kill);
}

/// R28, redundancy `keep`: whenever the active dies, the standby holds all that was acknowledged and takes over.
#[track_caller]
fn in_the_swap(moment: Moment) {
    let directory = tempfile::tempdir().unwrap();
    let struck = swap_strike::run(artifacts(), directory.path(), 400.0, moment);
    let struck = struck.unwrap_or_else(|failure| panic!("{moment:?}: {failure}"));
    assert!(struck.holds(), "{moment:?}: {struck:?}");
}

#[test]
fn the_active_may_die_when_the_standby_has_its_order() {
    in_the_swap(Moment::Ordered);
}

#[test]
fn the_active_may_die_while_it_sends_the_file() {
    in_the_swap(Moment::FileSent);
}

#[test]
fn the_active_may_die_while_the_file_is_tried() {
    in_the_swap(Moment::Trial);
}

#[test]
fn the_active_may_die_when_the_new_version_is_loaded_and_not_announced() {
    in_the_swap(Moment::Loaded);
}

#[test]
fn the_active_may_die_when_the_new_version_is_announced_and_not_answered() {
    in_the_swap(Moment::Announced);
}

#[test]
fn the_active_may_die_when_it_has_said_from_where_on_the_new_version_holds() {
    in_the_swap(Moment::Answered);
}

#[test]
fn the_active_may_die_while_the_old_thread_hands_over_to_the_new_one() {
    in_the_swap(Moment::HandOver);
}

/// R17, R30: what the new version wrote stands, and the old one reads it.
#[test]
fn a_way_back_after_the_new_version_has_served_keeps_what_it_wrote() {
    let (_directory, mut pair) = pair();
    let mut load = load(&pair);
    let never = Duration::from_secs(600);
    pair.start_upgrade(artifacts().ledger_v2(), never, 1, true).unwrap_or_else(|failure| panic!("{failure}"));
    let evaluating = pair.wait_until("the new version serves", PATIENCE, |group| {
        let campaign = group.campaign.as_ref();
        Ok(campaign.is_some_and(|it| it.record.step == Step::Evaluate && it.events > 100))
    });
    evaluating.unwrap_or_else(|failure| panic!("{failure}"));
    pair.lockstep(&["upgrade", "abort", "ledger", "--why", "a rehearsal"])
        .unwrap_or_else(|failure| panic!("{failure}"));
    let group = pair
        .wait_until("the old version on both", PATIENCE, |group| {
            Ok(group.campaign.is_none() && rig::admin::in_lock_step(group))
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    let record = group.campaigns.last().unwrap();
    assert_eq!((record.step, &*record.reason), (Step::FellBack, "aborted by the operator"));
    let versions: Vec<_> = group.members.iter().map(|member| member.hash).collect();
    assert_eq!(versions, [Some(record.plan.from_hash); 2]);
    load.phase("afterwards").unwrap();
    load.wait_answers(50).unwrap_or_else(|failure| panic!("{failure}"));
    let stopped = load.stop().unwrap_or_else(|failure| panic!("{failure}"));
    let audit = pair.end_and_audit(&stopped.record, &stopped.done.dropped, &[]);
    let audit = audit.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(audit.holds(), "{audit:?} {:?}", stopped.done.failures);
}

fn trail(pair: &Pair, at: usize) -> Vec<Value> {
    let said = pair.node(at).lockstep(artifacts(), &["audit", "ledger"]);
    let mut said = said.unwrap_or_else(|failure| panic!("{failure}"));
    serde_json::from_value(said["trail"].take()).unwrap()
}

fn upgrade_changes(trail: &[Value]) -> Vec<String> {
    let changes = trail.iter().map(|entry| &entry["what"]["upgrade"]).filter(|upgrade| !upgrade.is_null());
    changes.map(|upgrade| format!("{} {}", upgrade["change"], upgrade["step"]).replace('"', "")).collect()
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn an_upgrade_is_on_record_with_who_when_and_why_and_tells_the_operators_command() {
    let (directory, mut pair) = pair();
    let load = load(&pair);
    let told = directory.path().join("told");
    let notify = format!("echo \"$LOCKSTEP_CHANGE $LOCKSTEP_STEP\" >> {}", told.display());
    let target = artifacts().ledger_v2().display().to_string();
    let asked = pair.active().unwrap();
    let started = pair.node(asked).lockstep(
        artifacts(),
        &[
            "upgrade",
            "start",
            "ledger",
            &target,
            "--time-min-ms",
            "400",
            "--events-min",
            "20",
            "--latency-ratio-max-percent",
            "0",
            "--notify",
            &notify,
            "--why",
            "ticket 7",
        ],
    );
    started.unwrap_or_else(|failure| panic!("{failure}"));
    pair.wait_until("the end of the upgrade", PATIENCE, |group| {
        Ok(group.campaign.is_none() && group.campaigns.last().is_some_and(|it| it.step == Step::Done))
    })
    .unwrap_or_else(|failure| panic!("{failure}"));
    let all = [
        "started isolate-first",
        "step load-first",
        "step switch-over",
        "step evaluate",
        "step isolate-second",
        "step load-second",
        "step enable",
        "done done",
    ];
    // The last change may not be held yet when it is seen, and the command runs beside.
    pair.wait_until("the operators' command", PATIENCE, |_| {
        Ok(lines(&told).len() >= all.len()
            && (0..2).all(|at| upgrade_changes(&trail(&pair, at)).len() >= all.len()))
    })
    .unwrap_or_else(|failure| panic!("{failure}: {:?}", lines(&told)));
    assert_eq!(lines(&told), all, "each change once, in order");
    for at in 0..2 {
        assert_eq!(upgrade_changes(&trail(&pair, at)), all, "both have it, as it is in the stream");
    }
    let commands = |trail: &[Value]| -> Vec<(String, Value)> {
        let commands = trail.iter().filter(|entry| !entry["what"]["command"].is_null());
        commands
            .map(|it| (it["what"]["command"]["command"].as_str().unwrap().to_owned(), it.clone()))
            .collect()
    };
    let before = commands(&trail(&pair, asked));
    assert_eq!(before.len(), 1, "{before:?}");
    assert!(before[0].0.starts_with("upgrade start "), "{before:?}");
    assert_eq!(before[0].1["why"], "ticket 7");
    let stopped = load.stop().unwrap_or_else(|failure| panic!("{failure}"));
    let audit = pair.end_and_audit(&stopped.record, &stopped.done.dropped, &[]);
    let failures = &stopped.done.failures;
    assert!(audit.as_ref().is_ok_and(rig::audit::AuditReport::holds), "{audit:?} {failures:?}");
    // It survives a restart.
    pair.start_again().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(commands(&trail(&pair, asked)), before);
    let history = pair.node(asked).lockstep(artifacts(), &["upgrade", "history", "ledger"]).unwrap();
    assert_eq!(history["campaigns"].as_array().map(Vec::len), Some(1));
    let of_upgrades: Vec<Value> = serde_json::from_value(history["trail"].clone()).unwrap();
    assert_eq!(upgrade_changes(&of_upgrades), all);
}

/// A planned switchover drops nothing: clients of either host alone are served by the connection that they have.
#[test]
fn switchovers_leave_the_connections_of_both_hosts_open() {
    let (_directory, mut pair) = pair();
    let thread = ClientThread::new().unwrap();
    let clients: Vec<Client> = pair
        .events()
        .into_iter()
        .map(|address| thread.connect(lockstep_client::connect([address]).deadline(PATIENCE)).unwrap())
        .collect();
    thread.call(&clients[0], ledger::open_accounts(0, 2, 1_000)).wait().unwrap().unwrap();
    let transfer = |client: &Client| thread.call(client, ledger::transfer(0, 1, 1));
    for _ in 0..4 {
        // Under way while it is switched over, from both sides.
        let under_way: Vec<_> = (0..40).map(|at| transfer(&clients[at % 2])).collect();
        pair.switch_over().unwrap_or_else(|failure| panic!("{failure}"));
        for answer in under_way.into_iter().chain(clients.iter().map(transfer)) {
            answer.wait().unwrap().unwrap_or_else(|error| panic!("{error}"));
        }
    }
    for client in &clients {
        let counts = client.counts();
        assert_eq!((counts.reconnects, counts.connections_dropped.len()), (0, 0), "{counts:?}");
    }
    drop(clients);
    pair.end().unwrap_or_else(|failure| panic!("{failure}"));
}
