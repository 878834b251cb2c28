//! Events that take their processor down, with a real plugin (R21, R23): one processor is lost and no more, the event
//! gets its fault for ever, and what was under way beside it is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};

use lockstep_client::{CallError, Connect, Encoding, connect};
use lockstep_wire::events::{ClientMessage, Event, EventId, Reply, ServerMessage};
use lockstep_wire::frame;
use rig::audit::Killed;
use rig::clients::ClientThread;
use rig::ledger;
use rig::load::Load;
use rig::node::Settings;
use rig::pair::Pair;
use tempfile::TempDir;

use crate::bad_events::Raw;
use crate::faults::now_ms;
use crate::{artifacts, load};

const PATIENCE: Duration = Duration::from_secs(30);

/// A pair whose processors end with the first unit that hangs; `hangs.rs` has those that go on.
fn pair() -> (TempDir, Pair) {
    let directory = tempfile::tempdir().unwrap();
    let settings = || Settings { more: "    hung_engines_max: 0,\n".into(), ..Settings::default() };
    let plugin = artifacts().ledger_v1_deadly();
    let pair = Pair::start_with(artifacts(), directory.path(), plugin, [settings(), settings()]);
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
fn a_unit_that_hangs_where_no_engine_may_takes_one_processor_down_and_no_more() {
    dies_of("hang", "hung", "had not returned");
}

/// How many innocents stand on each side of the mishap.
const INNOCENTS: u64 = 20;
/// Accounts that the audited load does not know of; they hold nothing, and each innocent opens the next one.
const OTHERS: u32 = 800_000;

/// All events of one session, the mishap in the middle.
fn batch(session: u64, how: &str) -> Vec<ClientMessage> {
    let middle = INNOCENTS + 1;
    let event = |number: u64| {
        let id = EventId::Numbered { session, number };
        let (procedure, encoding, parameters) = if number == middle {
            ("mishap", Encoding::Json, format!("{{\"how\":\"{how}\"}}").into_bytes())
        } else {
            let call = ledger::open_accounts(OTHERS + number as u32, 1, 0);
            (call.procedure, call.encoding, call.parameters)
        };
        let procedure = procedure.to_owned();
        Event { id, awaited_from: 1, procedure, encoding, parameters, body: Vec::new() }
    };
    (1..=2 * INNOCENTS + 1)
        .map(|number| ClientMessage::Submit { ticket: number, key: String::new(), event: event(number) })
        .collect()
}

/// Reads answers by ticket until the connection ends or all are there.
fn answers(raw: &mut Raw, wanted: usize) -> BTreeMap<u64, Reply> {
    let mut answers = BTreeMap::new();
    while answers.len() < wanted {
        match raw.read() {
            Some(ServerMessage::Answer { ticket, reply }) => drop(answers.insert(ticket, reply)),
            Some(_) => {}
            None => break,
        }
    }
    answers
}

/// One write with all of them is one read of the engine's, and so one batch: the mishap takes its processor down with
/// innocents before and behind it under way. All of these run, once each.
fn innocents_in_the_same_batch(how: &str, kind: &str) {
    let (_directory, mut pair) = pair();
    let load = load(&pair);
    let active = pair.active().unwrap();
    let address = pair.node(active).ready().events.clone();
    let mut raw = Raw::connect(&address);
    raw.write(&ClientMessage::OpenSession { ticket: 0 });
    let opened = answers(&mut raw, 1).remove(&0);
    let Some(Reply::SessionOpened { session }) = opened else { panic!("no session: {opened:?}") };
    let batch = batch(session, how);
    let mut bytes = Vec::new();
    batch.iter().for_each(|message| frame::encode(message, &mut bytes));
    let from_ms = now_ms();
    raw.stream.write_all(&bytes).unwrap();
    let before = answers(&mut raw, batch.len());
    assert!(before.len() < batch.len(), "its processor died: {before:?}");
    pair.node_mut(active).wait_end().unwrap_or_else(|failure| panic!("{failure}"));
    // The client asks the other one, under the same ids, until that serves.
    let other = pair.node(1 - active).ready().events.clone();
    let until = Instant::now() + PATIENCE;
    let after = loop {
        assert!(Instant::now() < until, "the partner does not serve");
        let mut raw = Raw::connect(&other);
        raw.stream.write_all(&bytes).unwrap();
        let after = answers(&mut raw, batch.len());
        if after.len() == batch.len() && !after.values().any(|reply| matches!(reply, Reply::Retry { .. })) {
            break after;
        }
    };
    let mut sequences = BTreeSet::new();
    for (number, reply) in &after {
        match reply {
            Reply::Faulted { kind: found, unit, .. } if *number == INNOCENTS + 1 => {
                assert_eq!((found.as_str(), unit.as_str()), (kind, "strike"));
            }
            // Run twice it would be refused: the account exists.
            Reply::Committed { sequence, .. } if *number != INNOCENTS + 1 => {
                assert!(sequences.insert(*sequence), "{number} has another one's place");
            }
            other => panic!("{how}: event {number}: {other:?}"),
        }
    }
    assert_eq!(sequences.len() as u64, 2 * INNOCENTS);
    // Whoever was answered before the death was told the truth.
    for (number, reply) in before.iter().filter(|(_, reply)| !matches!(reply, Reply::Retry { .. })) {
        assert_eq!(after.get(number), Some(reply), "event {number}");
    }
    pair.restart(active).unwrap_or_else(|failure| panic!("{failure}"));
    pair.wait_in_lock_step(PATIENCE).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(pair.group(1 - active).unwrap().counts.takeovers, 1, "the second one lived");
    end(pair, load, &[Killed { address, from_ms, until_ms: now_ms() }]);
}

#[test]
fn innocents_in_the_batch_of_a_unit_that_aborts_run_once_each() {
    innocents_in_the_same_batch("abort", "killed");
}

#[test]
fn innocents_in_the_batch_of_a_unit_that_follows_a_null_pointer_run_once_each() {
    innocents_in_the_same_batch("segfault", "killed");
}

#[test]
fn innocents_in_the_batch_of_a_unit_whose_stack_runs_over_run_once_each() {
    innocents_in_the_same_batch("overflow", "killed");
}

#[test]
fn innocents_in_the_batch_of_a_unit_that_hangs_run_once_each() {
    innocents_in_the_same_batch("hang", "hung");
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
