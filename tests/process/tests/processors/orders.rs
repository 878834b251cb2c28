//! Two applications on real processors: standing orders send the ledger messages, by timers (R34), while their host is
//! killed. Each transfer arrives once. And of two upgrades that need one another, the receiver's goes first.

use std::time::{Duration, Instant};

use lockstep_core::campaign::Step;
use lockstep_core::command::{GroupStatus, Role};
use rig::node::Settings;
use rig::pair::Pair;
use serde_json::{Value, json};

use crate::artifacts;
use crate::bad_events::try_http;

const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough that a busy machine kills both while it goes on.
const TIMES: u64 = 500;

/// What `procedure` of `application` replies, asked of either processor until it is in service.
fn call(pair: &Pair, application: &str, procedure: &str, parameters: &Value) -> Value {
    let until = Instant::now() + PATIENCE;
    for at in (0..2).cycle() {
        let address = &pair.node(at).ready().http;
        let path = format!("/{application}/{procedure}");
        // One that was killed does not answer.
        let answer = try_http("application/json", address, &path, parameters.to_string().as_bytes());
        let answer = answer.unwrap_or_default();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        if head.starts_with("HTTP/1.1 200") {
            return serde_json::from_str(body.trim()).unwrap_or_else(|error| panic!("{error}: {answer}"));
        }
        let again = head.is_empty() || head.starts_with("HTTP/1.1 503") || head.starts_with("HTTP/1.1 504");
        assert!(again && Instant::now() < until, "{path}: {answer}");
        std::thread::sleep(Duration::from_millis(10));
    }
    unreachable!("the cycle has no end")
}

fn cents(pair: &Pair, account: &str) -> u64 {
    call(pair, "ledger", "balance", &json!({ "account": account }))["cents"].as_u64().unwrap()
}

/// Waits until bob holds so much.
fn wait_for_bob(pair: &Pair, wanted: u64) {
    let until = Instant::now() + PATIENCE;
    while cents(pair, "bob") < wanted {
        assert!(Instant::now() < until, "bob has {} of {wanted}", cents(pair, "bob"));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until both applications are in lock step.
fn wait_in_lock_step(pair: &Pair) {
    let until = Instant::now() + PATIENCE;
    let in_lock_step = |at: usize| {
        let status = rig::admin::status(&pair.node(at).ready().admin);
        status.is_ok_and(|status| status.groups.iter().all(|report| rig::admin::in_lock_step(&report.group)))
    };
    while !(0..2).all(in_lock_step) {
        assert!(Instant::now() < until, "not both applications are in lock step");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn order(pair: &Pair, number: u64, times: u64) {
    let pay = json!({ "from": "alice", "to": "bob", "cents": 1 });
    let order = json!({ "number": number, "every_ms": 10, "times": times, "pay": pay });
    call(pair, "orders", "order", &order);
}

fn pair_with_orders(directory: &std::path::Path) -> Pair {
    pair_with_orders_and(directory, "")
}

/// Both applications in lock step, with `more` in the configuration.
pub(crate) fn pair_with_orders_and(directory: &std::path::Path, more: &str) -> Pair {
    let beside = vec![("orders".to_owned(), artifacts().standing_orders().to_owned())];
    let settings = Settings { beside, more: more.into(), ..Settings::default() };
    let settings = [settings.clone(), settings];
    let started = Pair::start_with(artifacts(), directory, artifacts().ledger_v1(), settings);
    let pair = started.unwrap_or_else(|failure| panic!("{failure}"));
    wait_in_lock_step(&pair);
    pair
}

/// What the processor at `at` says of an application.
fn group(pair: &Pair, at: usize, application: &str) -> Option<GroupStatus> {
    let status = rig::admin::status(&pair.node(at).ready().admin).ok()?;
    let mut groups = status.groups.into_iter().map(|report| report.group);
    groups.find(|group| group.application == application)
}

/// Waits until the upgrade of an application is as `is` says.
fn wait_upgrade(pair: &Pair, application: &str, is: impl Fn(&GroupStatus) -> bool) {
    let until = Instant::now() + PATIENCE;
    while !(0..2).all(|at| group(pair, at, application).is_some_and(|group| is(&group))) {
        assert!(Instant::now() < until, "{application}: {:?}", group(pair, 0, application));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn is_through(group: &GroupStatus) -> bool {
    group.campaign.is_none() && group.campaigns.last().is_some_and(|it| it.step == Step::Done)
}

#[test]
fn a_sender_is_upgraded_after_the_receiver_that_it_needs() {
    let directory = tempfile::tempdir().unwrap();
    let mut pair = pair_with_orders(directory.path());
    let (ledger, orders) = (artifacts().ledger_v2(), artifacts().standing_orders_v2());
    let (ledger, orders) = (ledger.display().to_string(), orders.display().to_string());
    let run = |arguments: &[&str]| pair.lockstep(arguments).map_err(|failure| failure.to_string());
    let refused = |verb: &str| run(&["upgrade", verb, "orders", &orders]).expect_err("it is too early");
    // Each host says what it lacks.
    for verb in ["plan", "start"] {
        let said = refused(verb);
        for host in ["a", "b"] {
            let lack =
                "orders 2.0.0 sends messages to `fee_holiday` of `ledger`, and ledger 1.4.0 has no such";
            assert!(said.contains(&format!("{host}: {lack}")) && said.contains("LS0730"), "{said}");
        }
        assert!(said.contains("upgrade `ledger` first"), "{said}");
    }
    run(&["upgrade", "start", "ledger", &ledger, "--decide", "operator", "--time-min-ms", "1"]).unwrap();
    wait_upgrade(&pair, "ledger", |group| {
        group.campaign.as_ref().is_some_and(|campaign| campaign.record.step == Step::Evaluate)
    });
    // It may still go back.
    let said = refused("plan");
    assert!(said.contains("only one of 1.4.0 and 2.0.0 has, and that upgrade is under way"), "{said}");
    run(&["upgrade", "accept", "ledger"]).unwrap();
    wait_upgrade(&pair, "ledger", is_through);
    run(&["upgrade", "start", "orders", &orders, "--no-evaluation"]).unwrap();
    wait_upgrade(&pair, "orders", is_through);
    call(&pair, "orders", "give_holiday", &json!({ "seconds": 60 }));
    wait_upgrade(&pair, "orders", |group| {
        group.members[0].role != Role::Active || group.counts.messages_delivered == 1
    });
    let faulted = (0..2).filter_map(|at| group(&pair, at, "ledger")).map(|group| group.counts.faulted);
    assert_eq!(faulted.sum::<u64>(), 0, "the ledger knows what to do with it");
    pair.end().unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn standing_orders_reach_the_ledger_once_each_although_processors_are_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut pair = pair_with_orders(directory.path());
    for (account, cents) in [("alice", 1_000), ("bob", 0)] {
        call(&pair, "ledger", "open_account", &json!({ "account": account, "cents": cents }));
    }
    order(&pair, 1, TIMES);
    wait_for_bob(&pair, 10);
    for _ in 0..2 {
        let active = pair.active().unwrap_or_else(|failure| panic!("{failure}"));
        pair.node_mut(active).kill();
        let before = cents(&pair, "bob");
        wait_for_bob(&pair, (before + 10).min(TIMES));
        pair.restart(active).unwrap_or_else(|failure| panic!("{failure}"));
        wait_in_lock_step(&pair);
    }
    wait_for_bob(&pair, TIMES);
    // A message behind all others: what could come twice has come by then.
    order(&pair, 2, 1);
    wait_for_bob(&pair, TIMES + 1);
    assert_eq!((cents(&pair, "alice"), cents(&pair, "bob")), (1_000 - TIMES - 1, TIMES + 1));
    assert_eq!(call(&pair, "orders", "left", &json!({ "number": 1 })), json!({ "times": 0 }));
    assert_eq!(pair.unplanned_ends(), 0);
}
