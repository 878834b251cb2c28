//! Two applications on real processors: standing orders send the ledger messages, by timers (R34), while their host is
//! killed. Each transfer arrives once.

use std::time::{Duration, Instant};

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

#[test]
fn standing_orders_reach_the_ledger_once_each_although_processors_are_killed() {
    let directory = tempfile::tempdir().unwrap();
    let beside = vec![("orders".to_owned(), artifacts().standing_orders().to_owned())];
    let settings = Settings { beside, ..Settings::default() };
    let started = Pair::start_with(
        artifacts(),
        directory.path(),
        artifacts().ledger_v1(),
        [settings.clone(), settings],
    );
    let mut pair = started.unwrap_or_else(|failure| panic!("{failure}"));
    wait_in_lock_step(&pair);
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
