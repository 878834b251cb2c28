//! `lockstep bench` against a real pair, in both protocols, while it changes roles, and against nobody.

use std::time::Duration;

use rig::Failure;
use rig::child::{guarded, output};
use rig::limit::Limit;
use rig::pair::Pair;
use serde_json::Value;

use super::{artifacts, pair};

const PATIENCE: Duration = Duration::from_secs(30);

const TRANSFER: &str = r#"{"from":"acc{key}","to":"acc{other}","cents":{random:1-100}}"#;
const ACCOUNTS: [&str; 8] = [
    "--prepare",
    "open_accounts",
    "--prepare-parameters",
    r#"{"first":{key},"count":100,"cents":1000000}"#,
    "--prepare-step",
    "100",
    "--keys",
    "500",
];

fn good<T>(result: Result<T, Failure>) -> T {
    result.unwrap_or_else(|failure| panic!("{failure}"))
}

/// Exit status and the JSON object of `lockstep bench ARGUMENTS`.
fn bench(arguments: &[&str]) -> (Option<i32>, Value) {
    let mut command = guarded(artifacts().rig(), artifacts().lockstep());
    command.arg("bench").args(arguments).args(["--output", "json"]);
    let output = good(output(&mut command));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let json = serde_json::from_str(&said);
    let error = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), json.unwrap_or_else(|_| panic!("no JSON: {said:?} {error}")))
}

/// The flags of a short run against both processors.
fn against(pair: &Pair, seconds: &str, address: impl Fn(&rig::node::Ready) -> String) -> Vec<String> {
    let ready = [0, 1].map(|at| pair.node(at).ready());
    let mut flags: Vec<String> = ["--seconds", seconds, "--warm-up-seconds", "0.1"].map(str::to_owned).into();
    for ready in ready {
        flags.extend(["--address".into(), address(ready), "--pid".into(), ready.pid.to_string()]);
    }
    flags
}

fn run(what: &[&str], flags: &[String]) -> (Option<i32>, Value) {
    let flags: Vec<&str> = what.iter().copied().chain(flags.iter().map(String::as_str)).collect();
    bench(&flags)
}

#[track_caller]
fn assert_measured((status, json): &(Option<i32>, Value)) {
    assert_eq!(*status, Some(0), "{json}");
    let number = |name: &str| json[name].as_f64().unwrap_or_else(|| panic!("{name}: {json}"));
    assert!(number("events") > 10.0 && number("events") == number("committed"), "{json}");
    assert_eq!((number("unanswered"), number("faulted")), (0.0, 0.0), "{json}");
    let seconds = number("seconds");
    assert!((number("rate_per_s") - number("events") / seconds).abs() < 1.0, "{json}");
    let latency = |name: &str| json["latency_us"][name].as_f64().unwrap_or_else(|| panic!("{name}: {json}"));
    let rising = ["min", "p50", "p90", "p99", "p999", "p9999"].map(latency);
    assert!(rising[0] > 0.0 && rising.is_sorted() && latency("max") >= rising[4], "{json}");
    assert_eq!(json["processes"].as_array().map(Vec::len), Some(2), "{json}");
    assert!(number("cpu_s_per_1000") > 0.0, "{json}");
}

#[test]
fn a_load_measures_a_pair_in_both_protocols() {
    let (_directory, mut pair) = pair();
    let prepared: Vec<&str> = ["ledger", "transfer", TRANSFER].into_iter().chain(ACCOUNTS).collect();
    let binary = against(&pair, "1", |ready| ready.events.clone());
    for more in [&["--encoding", "postcard"][..], &["--distribution", "zipf", "--rate", "200"]] {
        let measured = run(&[&prepared, more].concat(), &binary);
        assert_measured(&measured);
    }
    let http = against(&pair, "1", |ready| ready.http.clone());
    let measured =
        run(&[&prepared[..], &["--protocol", "http", "--connections", "4", "--timeline"]].concat(), &http);
    assert_measured(&measured);
    let timeline = measured.1["answers_per_ms"].as_array().expect("a timeline");
    let answers: u64 = timeline.iter().filter_map(Value::as_u64).sum();
    assert_eq!((timeline.len(), Some(answers)), (1_000, measured.1["events"].as_u64()));
    // What the application says no to is answered, and told apart.
    let too_much = r#"{"from":"acc1","to":"acc2","cents":999999999}"#;
    let (status, json) = run(&["ledger", "transfer", too_much], &binary);
    assert_eq!((status, &json["refused"]), (Some(0), &json["events"]), "{json}");
    assert!(json["first_refusal"].as_str().is_some_and(|said| said.starts_with("too-little")), "{json}");
    good(pair.end());
}

#[test]
fn a_load_goes_on_at_the_other_processor() {
    let (_directory, mut pair) = pair();
    let flags = against(&pair, "3", |ready| ready.events.clone());
    let active = good(pair.active());
    let prepared: Vec<&str> = ["ledger", "transfer", TRANSFER].into_iter().chain(ACCOUNTS).collect();
    let load = std::thread::scope(|scope| {
        let load = scope.spawn(|| run(&[&prepared[..], &["--rate", "500", "--timeline"]].concat(), &flags));
        // Under way as soon as events are counted.
        good(pair.wait_until("events", PATIENCE, |group| Ok(group.held.0 > 100)));
        pair.node_mut(active).kill();
        load.join().expect("the load ends")
    });
    let (status, json) = load;
    assert_eq!((status, json["unanswered"].as_u64()), (Some(0), Some(0)), "{json}");
    assert!(json["connections_lost"].as_u64() > Some(0), "{json}");
    // The killed one's time is not known, and so neither is that of both.
    assert!(json["cpu_s_per_1000"].is_null(), "{json}");
}

#[test]
fn what_cannot_be_measured_is_said_with_a_code() {
    let (_directory, mut pair) = pair();
    let flags = against(&pair, "1", |ready| ready.events.clone());
    let code =
        |(status, json): (Option<i32>, Value)| (status, json["error"]["code"].as_str().map(str::to_owned));
    let said = |code: &str| Some(code.to_owned());
    assert_eq!(code(run(&["ledger", "transfer", r#"{"a":{kee}}"#], &flags)), (Some(2), said("LS0840")));
    assert_eq!(code(run(&["ledger", "transfr"], &flags)), (Some(1), said("LS0201")));
    assert_eq!(code(run(&["ledgr", "transfer"], &flags)), (Some(1), said("LS0304")));
    let http = against(&pair, "1", |ready| ready.http.clone());
    assert_eq!(code(run(&["ledger", "transfer"], &http)), (Some(1), said("LS0848")));
    assert_eq!(code(run(&["ledgr", "transfer", "--protocol", "http"], &http)), (Some(1), said("LS0310")));
    good(pair.end());
    assert_eq!(code(run(&["ledger", "transfer"], &flags)), (Some(1), said("LS0845")));
}

#[test]
fn the_same_load_measures_limit() {
    let limit = good(Limit::start(artifacts().rig()));
    let pids = limit.pids().map(|pid| pid.to_string());
    let flags =
        ["--address", limit.address(), "--pid", &pids[0], "--pid", &pids[1], "--encoding", "postcard"];
    let prepared: Vec<&str> = ["ledger", "transfer", TRANSFER].into_iter().chain(ACCOUNTS).collect();
    assert_measured(&bench(
        &[&prepared[..], &flags, &["--seconds", "0.5", "--warm-up-seconds", "0.1"]].concat(),
    ));
}
