//! The kit lets pass what is right: time and random numbers of the context, bodies that stay on the active, faults.
#![forbid(unsafe_code)]

use lockstep_plugin_api::prelude::*;
use lockstep_test_kit::{Call, Pair, call};

application! {
    name: "sound",
    version: "1.0.0",
    tables: [STAMPS, DRAWN, SIZES],
    procedures: [stamp, stamp_again, upload, fail],
}

const STAMPS: Table<String, u64> = Table::new("stamps");
const DRAWN: Table<u64, String> = Table::new("drawn").ordered();
const SIZES: Table<String, u64> = Table::new("sizes");

#[procedure(version = 1, recovery = complete)]
fn stamp(_name: &String) -> Plan<String> {
    Plan::of([write, draw])
}

/// The same, but a takeover rolls it back.
#[procedure(version = 1, recovery = roll_back)]
fn stamp_again(_name: &String) -> Plan<String> {
    Plan::of([write, draw])
}

#[work_unit]
fn write(cx: &mut Context, name: &String) -> Outcome {
    let seconds = cx.time().as_secs();
    STAMPS.put(cx, name, &seconds)?;
    Ok(())
}

#[work_unit]
fn draw(cx: &mut Context, name: &String) -> Outcome {
    let drawn = cx.random();
    DRAWN.put(cx, &drawn, name)?;
    cx.reply(&drawn)?;
    Ok(())
}

#[procedure(version = 1, recovery = complete, body = withheld)]
fn upload(_name: &String) -> Plan<String> {
    Plan::of([measure, write])
}

#[work_unit(body)]
fn measure(cx: &mut Context, name: &String) -> Outcome {
    let size = cx.body().len() as u64;
    SIZES.put(cx, name, &size)?;
    Ok(())
}

#[procedure(version = 1)]
fn fail(_name: &String) -> Plan<String> {
    Plan::of([write, burst])
}

#[work_unit]
fn burst(_cx: &mut Context, name: &String) -> Outcome {
    panic!("{name} bursts")
}

fn calls() -> [Call; 4] {
    [call("stamp", "a"), call("stamp_again", "a"), call("upload", "a").with_body([7; 100]), call("fail", "a")]
}

#[test]
fn time_and_random_numbers_of_the_context_are_the_same_on_every_run() {
    for call in calls() {
        Pair::of(application()).given([call_of_b()]).deterministic(call);
    }
}

fn call_of_b() -> Call {
    call("stamp", "b")
}

#[test]
fn a_crash_changes_nothing_but_what_is_drawn_again() {
    for call in calls() {
        let crashes = Pair::of(application()).given([call_of_b()]).crash_after_every_work_unit_of(call);
        crashes.same_outcome_everywhere();
        assert!(crashes.all().len() >= 4);
    }
}

#[test]
fn a_panic_is_a_fault_and_writes_nothing() {
    let mut pair = Pair::of(application());
    let answer = pair.run(call("fail", "a"));
    let (unit, message) = answer.fault().expect("a fault");
    assert_eq!(unit, "burst");
    assert!(message.contains("a bursts"));
    assert!(pair.rows(&STAMPS).is_empty());
}

#[test]
fn a_body_that_stays_on_the_active_is_written_on_both_sides() {
    let mut pair = Pair::of(application());
    let _ = pair.run(call("upload", "a").with_body([7; 100]));
    assert_eq!(pair.rows(&SIZES), [("a".to_string(), 100)]);
}
