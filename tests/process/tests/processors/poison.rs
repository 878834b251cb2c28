//! Events that take their processor down, with a real plugin (R21, R23): one processor is lost and no more, the event
//! gets its fault for ever, and what was under way beside it is answered.

use std::time::Duration;

use lockstep_client::{CallError, Connect, Encoding, connect};
use rig::audit::Killed;
use rig::clients::ClientThread;
use rig::load::Load;
use rig::pair::Pair;
use tempfile::TempDir;

use crate::faults::now_ms;
use crate::{artifacts, load};

const PATIENCE: Duration = Duration::from_secs(30);

fn pair() -> (TempDir, Pair) {
    let directory = tempfile::tempdir().unwrap();
    let pair = Pair::start(artifacts(), directory.path(), artifacts().ledger_v1_deadly());
    let pair = pair.unwrap_or_else(|failure| panic!("{failure}"));
    (directory, pair)
}

fn clients(pair: &Pair) -> Connect {
    connect(pair.events()).deadline(PATIENCE)
}

/// Sends a mishap once, and gives the fault that came of it.
fn mishap(pair: &Pair, how: &str, key: Option<&str>) -> (String, String, String, u64) {
    let thread = ClientThread::new().unwrap_or_else(|failure| panic!("{failure}"));
    let client = thread.connect(clients(pair)).unwrap_or_else(|failure| panic!("{failure}"));
    let client = key.map_or(client.clone(), |key| client.key(key.to_owned()));
    let parameters = format!("{{\"how\":\"{how}\"}}").into_bytes();
    let asked =
        thread.ask(async move { client.submit_raw("mishap", Encoding::Json, parameters, Vec::new()).await });
    match asked.wait().unwrap_or_else(|failure| panic!("{failure}")) {
        Err(CallError::Faulted { sequence, kind, unit, message }) => (kind, unit, message, sequence),
        other => panic!("{how}: {other:?}"),
    }
}

fn end(mut pair: Pair, load: Load, killed: &[Killed]) {
    let stopped = load.stop().unwrap_or_else(|failure| panic!("{failure}"));
    let audit = pair
        .end_and_audit(&stopped.record, &stopped.done.dropped, killed)
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(audit.holds(), "{audit:?} {:?}", stopped.done.failures);
}

/// The active dies of `how` under load; the fault is `kind`, and its words have `word`.
fn dies_of(how: &str, kind: &str, word: &str) {
    let (_directory, mut pair) = pair();
    let mut load = load(&pair);
    let active = pair.active().unwrap();
    let address = pair.node(active).ready().events.clone();
    load.phase("death").unwrap();
    let from_ms = now_ms();
    let (told, unit, message, sequence) = mishap(&pair, how, None);
    assert_eq!((told.as_str(), unit.as_str()), (kind, "strike"), "{message}");
    assert!(message.contains(word), "{message}");
    pair.node_mut(active).wait_end().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(pair.active().unwrap(), 1 - active);
    load.phase("alone").unwrap();
    load.wait_answers(40).unwrap_or_else(|failure| panic!("{failure}"));
    pair.restart(active).unwrap_or_else(|failure| panic!("{failure}"));
    pair.wait_in_lock_step(PATIENCE).unwrap_or_else(|failure| panic!("{failure}"));
    let group = pair.group(1 - active).unwrap();
    assert_eq!(group.notes.len(), 1, "{:?}", group.notes);
    assert_eq!(
        (group.notes[0].unit.as_str(), group.notes[0].died.0.as_str()),
        ("strike", ["a", "b"][active])
    );
    assert!(sequence <= group.held.0);
    assert_eq!(group.counts.takeovers, 1, "the second one lived");
    load.wait_answers(40).unwrap_or_else(|failure| panic!("{failure}"));
    let killed = Killed { address, from_ms, until_ms: now_ms() };
    end(pair, load, &[killed]);
}

#[test]
fn a_unit_that_aborts_takes_one_processor_down_and_no_more() {
    dies_of("abort", "killed", "SIGABRT");
}

#[test]
fn a_unit_that_follows_a_null_pointer_takes_one_processor_down_and_no_more() {
    dies_of("segfault", "killed", "SIGSEGV");
}

#[test]
fn a_unit_whose_stack_runs_over_takes_one_processor_down_and_no_more() {
    dies_of("overflow", "killed", "SIGSEGV");
}

#[test]
fn a_unit_that_hangs_is_given_up_and_takes_one_processor_down_and_no_more() {
    dies_of("hang", "hung", "had not returned");
}

#[test]
fn the_fault_is_the_same_for_ever_also_after_both_were_killed() {
    let (_directory, mut pair) = pair();
    let active = pair.active().unwrap();
    let first = mishap(&pair, "abort", None);
    pair.node_mut(active).wait_end().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(first.0, "killed");
    // A processor that is alone finds its own note.
    let alone = 1 - active;
    let patience = Duration::from_secs(20);
    pair.restart(active).unwrap_or_else(|failure| panic!("{failure}"));
    pair.wait_in_lock_step(patience).unwrap_or_else(|failure| panic!("{failure}"));
    for at in [active, alone] {
        pair.node_mut(at).kill();
        pair.node_mut(at).wait_gone().unwrap();
    }
    pair.start_again().unwrap_or_else(|failure| panic!("{failure}"));
    for at in 0..2 {
        let group = pair.group(at).unwrap();
        assert_eq!(group.notes.len(), 1, "{:?}", group.notes);
    }
    pair.end().unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_late_unit_and_a_panic_are_faults_and_nobody_dies() {
    let (_directory, mut pair) = pair();
    let load = load(&pair);
    let late = mishap(&pair, "late", None);
    assert_eq!((late.0.as_str(), late.1.as_str()), ("deadline", "strike"), "{}", late.2);
    let panicked = mishap(&pair, "panic", None);
    assert_eq!(panicked.0, "panic", "{}", panicked.2);
    // Message and place reach the client, and, in `LS0209`, the operator.
    let place = |text: &str| text.contains("the mishap panics at ") && text.contains("mishap.rs:");
    assert!(place(&panicked.2), "{}", panicked.2);
    let log = std::fs::read_to_string(pair.node(pair.active().unwrap()).log()).unwrap();
    let logged = log.lines().find(|line| line.contains("LS0209") && line.contains("the mishap panics"));
    assert!(logged.is_some_and(place), "{log}");
    // A line of the plugin's own says what it belongs to, and which spans it stands in.
    let line = log.lines().find(|line| line.contains("something is about to happen"));
    let line = line.unwrap_or_else(|| panic!("no line of the plugin's: {log}"));
    let words = ["mishap{how=Panic}: ", "ledger", "1.4.1", "mishap", "strike", "event ", "number="];
    for word in words {
        assert!(line.contains(word), "`{word}` is not said: {line}");
    }
    pair.wait_in_lock_step(PATIENCE).unwrap_or_else(|failure| panic!("{failure}"));
    assert!((0..2).all(|at| pair.node_mut(at).runs()));
    assert!(pair.group(0).unwrap().notes.is_empty());
    end(pair, load, &[]);
}
