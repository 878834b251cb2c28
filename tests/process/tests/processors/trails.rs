//! What operators ask stands in the audit trails of both processors, whichever was asked.

use std::time::{Duration, Instant};

use rig::pair::Pair;
use serde_json::Value;

use crate::{artifacts, failure, pair};

const PATIENCE: Duration = Duration::from_secs(60);

/// The commands in the trail of the processor at `at`, with who was asked, why, and what came of it.
fn commands(pair: &Pair, at: usize) -> Vec<String> {
    let mut said =
        pair.node(at).lockstep(artifacts(), &["audit"]).unwrap_or_else(|failure| panic!("{failure}"));
    let trail: Vec<Value> = serde_json::from_value(said["trail"].take()).unwrap();
    let commands = trail.iter().filter(|entry| !entry["what"]["command"].is_null());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |entry: &Value| {
        let command = &entry["what"]["command"];
        let result = text(&command["result"]);
        let result = result.split(':').next().unwrap_or_default();
        let (node, application) = (text(&entry["node"]), text(&entry["application"]));
        format!("{node} {application} {} {} {result}", text(&command["command"]), text(&entry["why"]))
    };
    commands.map(line).collect()
}

/// Waits until both have these, and nothing else.
#[track_caller]
fn wait_both(pair: &Pair, wanted: &[String]) {
    let until = Instant::now() + PATIENCE;
    while (0..2).any(|at| commands(pair, at) != wanted) {
        let found = [commands(pair, 0), commands(pair, 1)];
        assert!(Instant::now() < until, "{found:#?}, and not {wanted:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_either_processor_was_asked_is_in_both_trails_also_when_the_other_was_away() {
    let (_directory, mut pair) = pair();
    let active = pair.active().unwrap();
    let standby = 1 - active;
    let ask = |pair: &Pair, at: usize, arguments: &[&str]| pair.node(at).lockstep(artifacts(), arguments);
    let names = [pair.node(active).name().to_owned(), pair.node(standby).name().to_owned()];
    // The application may be left out, and is noted all the same.
    ask(&pair, standby, &["isolate", "--why", "ticket 8"]).unwrap_or_else(|failure| panic!("{failure}"));
    ask(&pair, active, &["integrate", "ledger"]).unwrap_or_else(|failure| panic!("{failure}"));
    pair.wait_in_lock_step(PATIENCE).unwrap_or_else(|failure| panic!("{failure}"));
    let mut wanted = vec![
        format!("{} ledger isolate ticket 8 accepted", names[1]),
        format!("{} ledger integrate  accepted", names[0]),
    ];
    wait_both(&pair, &wanted);
    // One is away, and so cannot hear of it; then the other one is killed as well.
    pair.node_mut(standby).kill();
    failure(ask(&pair, active, &["features", "disable", "ledger", "nothing"]));
    wanted.push(format!("{} ledger features disable nothing  LS0632", names[0]));
    let until = Instant::now() + PATIENCE;
    while std::fs::read_to_string(pair.node(active).data().join("trail.jsonl"))
        .unwrap()
        .matches("LS0632")
        .count()
        == 0
    {
        assert!(Instant::now() < until, "it is not on the disk");
        std::thread::yield_now();
    }
    pair.node_mut(active).kill();
    pair.start_again().unwrap_or_else(|failure| panic!("{failure}"));
    wait_both(&pair, &wanted);
    // Once more: nothing comes twice, and what the other one was told is kept there too.
    pair.end().unwrap_or_else(|failure| panic!("{failure}"));
    pair.start_again().unwrap_or_else(|failure| panic!("{failure}"));
    wait_both(&pair, &wanted);
}
