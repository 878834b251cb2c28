//! Work units that do not return, with a real plugin (R23): their engine is given up and built anew in the same process,
//! the partner serves meanwhile, other groups go on, and nothing of what the unit does later counts.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use lockstep_core::command::{GroupStatus, Role};
use lockstep_core::partition::partition_of;
use rig::Failure;
use rig::admin::{self, PluginList};
use rig::audit::Killed;
use rig::node::Settings;
use rig::pair::Pair;
use tempfile::TempDir;

use crate::faults::now_ms;
use crate::{artifacts, load};

const PATIENCE: Duration = Duration::from_secs(30);
/// A mishap hangs for so long before it is given up.
const HANG_MS: f64 = 800.0;

fn good<T>(result: Result<T, Failure>) -> T {
    result.unwrap_or_else(|failure| panic!("{failure}"))
}

/// A pair whose ledger has so many partitions, a active for all of them, with these further fields.
fn pair_of(partitions: u16, more: &str) -> (TempDir, Pair) {
    let directory = tempfile::tempdir().unwrap();
    let settings = || Settings { partitions: Some(partitions), more: more.to_owned(), ..Settings::default() };
    let plugin = artifacts().ledger_v1_deadly();
    let pair = good(Pair::launch(artifacts(), directory.path(), plugin, [settings(), settings()]));
    good(pair.wait_all_in_lock_step(PATIENCE));
    make_active(&pair, 0);
    (directory, pair)
}

/// Makes the processor at `at` active for all groups.
fn make_active(pair: &Pair, at: usize) {
    let until = Instant::now() + PATIENCE;
    while good(pair.groups(at)).iter().any(|group| admin::own_role(group) != Some(Role::Active)) {
        // One that has just changed may refuse for a moment.
        let refused = pair.lockstep(&["switchover", "ledger"]);
        assert!(Instant::now() < until, "{refused:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    good(pair.wait_all_in_lock_step(PATIENCE));
}

/// Waits until `holds`, of what it last saw.
#[track_caller]
fn wait<T: std::fmt::Debug>(what: &str, look: impl Fn() -> T, holds: impl Fn(&T) -> bool) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        let seen = look();
        if holds(&seen) {
            return seen;
        }
        assert!(Instant::now() < until, "{what}: {seen:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A key of `partition`.
fn key_in(partition: u16, partitions: u16) -> String {
    let mut keys = (0..).map(|number| format!("mishap-{number}"));
    keys.find(|key| partition_of(key.as_bytes(), partitions) == partition).unwrap()
}

/// What `POST /ledger/PROCEDURE` is answered at the processor at `at`.
fn post(pair: &Pair, at: usize, procedure: &str, (key, id): (&str, &str), body: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(&pair.node(at).ready().http) else { return String::new() };
    let head = format!("POST /ledger/{procedure} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    let keys = format!("Lockstep-Key: {key}\r\nIdempotency-Key: {id}\r\n");
    let mut answer = String::new();
    // A processor that ends leaves it unfinished.
    let _ = write!(stream, "{head}{keys}Content-Length: {}\r\n\r\n{body}", body.len());
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn mishap(pair: &Pair, at: usize, how: &str, keys: (&str, &str)) -> String {
    post(pair, at, "mishap", keys, &format!("{{\"how\":\"{how}\"}}"))
}

/// Has an event hang at the processor at `at`, and asks there again until it is answered: with its fault, for ever.
#[track_caller]
fn hangs(pair: &Pair, at: usize, how: &str, keys: (&str, &str)) {
    let first = mishap(pair, at, how, keys);
    assert!(first.starts_with("HTTP/1.1 503") && first.contains("same-id"), "it was told at once: {first}");
    let fault = wait("its fault", || mishap(pair, at, how, keys), |said| !said.starts_with("HTTP/1.1 503"));
    assert!(fault.starts_with("HTTP/1.1 500") && fault.contains("hung"), "{fault}");
}

fn plugins(pair: &Pair, at: usize) -> PluginList {
    good(admin::plugin_list(&pair.node(at).ready().admin))
}

fn log(pair: &Pair, at: usize) -> String {
    std::fs::read_to_string(pair.node(at).log()).unwrap()
}

/// The group `partition` as the processor at `at` sees it; none while that has no engine for it.
fn group(pair: &Pair, at: usize, partition: u16) -> Option<GroupStatus> {
    pair.groups(at).ok()?.into_iter().find(|group| group.partition == partition)
}

/// Waits until the group is in lock step, and gives it as the processor at `at` sees it.
#[track_caller]
fn in_lock_step(pair: &Pair, at: usize, partition: u16) -> GroupStatus {
    let seen = wait(
        "in lock step",
        || group(pair, at, partition),
        |seen| seen.as_ref().is_some_and(admin::in_lock_step),
    );
    seen.unwrap()
}

#[track_caller]
fn assert_same_process(pair: &mut Pair, at: usize) {
    assert!(pair.node_mut(at).runs(), "{}", log(pair, at));
    assert_eq!(pair.node(at).starts(), 1);
    assert_eq!(good(admin::status(&pair.node(at).ready().admin)).pid, pair.node(at).ready().pid);
}

#[test]
fn a_unit_that_hangs_takes_its_group_down_and_no_other_and_the_group_comes_back_in_the_same_process() {
    let (_directory, mut pair) = pair_of(2, "");
    let mut loads = good(pair.load_all(2, 100.0));
    let key = key_in(1, 2);
    let before = group(&pair, 0, 0).unwrap();
    let address = pair.node(0).ready().events.clone();
    let from_ms = now_ms();
    loads.iter_mut().for_each(|load| drop(good(load.phase("hang"))));
    hangs(&pair, 0, "hang", (&key, "1"));
    let after = in_lock_step(&pair, 0, 1);
    assert_eq!((after.members[0].role, after.members[1].role), (Role::Standby, Role::Active));
    assert_eq!(group(&pair, 1, 1).unwrap().counts.takeovers, 1);
    loads.iter_mut().for_each(|load| good(load.wait_answers(40)));
    let figures: Vec<_> = loads.iter_mut().map(|load| good(load.phase("after"))).collect();
    // The other group was not touched: the same term, no takeover, no connection dropped, and not so much as a pause.
    let other = group(&pair, 0, 0).unwrap();
    assert_eq!((other.members[0].role, other.term), (Role::Active, before.term));
    assert_eq!(group(&pair, 1, 0).unwrap().counts.takeovers, 0);
    assert!(figures[0].longest_gap_ms < HANG_MS, "{:?}", figures[0]);
    assert!(figures[1].longest_gap_ms >= HANG_MS, "the one that hung had one: {:?}", figures[1]);
    for at in 0..2 {
        assert_same_process(&mut pair, at);
    }
    // The event is noted, once, as this processor's.
    assert_eq!(after.notes.len(), 1, "{:?}", after.notes);
    let note = &after.notes[0];
    assert_eq!((note.unit.as_str(), note.died.0.as_str()), ("strike", "a"));
    // What stays of it is shown, and counted.
    let list = plugins(&pair, 0);
    let kept: Vec<_> = list.plugins.iter().filter(|plugin| plugin.state == "kept").collect();
    assert_eq!(kept.len(), 1, "{list:?}");
    assert!(kept[0].reasons[0].contains("work unit `strike` of `mishap`"), "{kept:?}");
    assert_eq!((list.memory.kept, list.memory.hung, list.memory.hung_max), (1, 1, 2));
    assert!(list.memory.kept_bytes > 100_000, "{list:?}");
    assert!(pair.node(0).lockstep(artifacts(), &["plugin", "list"]).is_ok());
    assert!(plugins(&pair, 1).plugins.iter().all(|plugin| plugin.state == "mapped"));
    // There and back.
    for at in [1, 0] {
        make_active(&pair, at);
        loads.iter_mut().for_each(|load| good(load.wait_answers(20)));
    }
    assert!(mishap(&pair, 0, "hang", (&key, "1")).contains("hung"), "it never runs again");
    assert!(mishap(&pair, 0, "well", (&key, "2")).starts_with("HTTP/1.1 200"));
    let killed = Killed { address, from_ms, until_ms: now_ms() };
    let loads: Vec<_> = loads.into_iter().map(|load| good(load.stop())).collect();
    assert!(loads[0].done.dropped.is_empty(), "{:?}", loads[0].done.dropped);
    assert!(!loads[1].done.dropped.is_empty(), "its clients saw the end of their connections");
    for (partition, audit) in good(pair.end_and_audit_all(&loads, &[killed])).iter().enumerate() {
        assert!(audit.holds(), "partition {partition}: {audit:?} {:?}", loads[partition].done.failures);
    }
}

#[test]
fn the_only_processor_of_its_pair_serves_again_in_the_same_process_with_a_higher_term() {
    let (_directory, mut pair) = pair_of(1, "");
    good(pair.node_mut(1).end());
    let alone = wait(
        "alone",
        || group(&pair, 0, 0).unwrap(),
        |seen| seen.members.iter().filter(|member| member.in_sync).count() == 1,
    );
    let load = load(&pair);
    let address = pair.node(0).ready().events.clone();
    let from_ms = now_ms();
    hangs(&pair, 0, "hang", ("x", "1"));
    let after = group(&pair, 0, 0).unwrap();
    assert_eq!(after.members[0].role, Role::Active);
    assert!(after.term > alone.term, "{} {}", after.term, alone.term);
    assert_eq!(after.notes.len(), 1, "{:?}", after.notes);
    let mut load = load;
    good(load.wait_answers(40));
    assert_same_process(&mut pair, 0);
    good(pair.restart(1));
    good(pair.wait_in_lock_step(PATIENCE));
    let killed = Killed { address, from_ms, until_ms: now_ms() };
    let stopped = good(load.stop());
    let audit = good(pair.end_and_audit(&stopped.record, &stopped.done.dropped, &[killed]));
    assert!(audit.holds(), "{audit:?} {:?}", stopped.done.failures);
}

#[test]
fn a_standby_whose_unit_hangs_leaves_the_record_and_comes_back_in_the_same_process() {
    let directory = tempfile::tempdir().unwrap();
    let hangs_here = Settings {
        environment: vec![("LEDGER_HANGS".into(), directory.path().to_owned())],
        ..Settings::default()
    };
    let plugin = artifacts().ledger_v1_deadly();
    let pair = Pair::start_with(artifacts(), directory.path(), plugin, [Settings::default(), hangs_here]);
    let mut pair = good(pair);
    make_active(&pair, 0);
    let mut load = load(&pair);
    let term = group(&pair, 0, 0).unwrap().term;
    let address = pair.node(1).ready().events.clone();
    let from_ms = now_ms();
    let said = mishap(&pair, 0, "hang_there", ("x", "1"));
    assert!(said.starts_with("HTTP/1.1 200"), "the active did not hang: {said}");
    let list = wait("it is given up", || plugins(&pair, 1), |list| list.memory.hung == 1);
    let after = in_lock_step(&pair, 1, 0);
    assert_eq!((after.members[0].role, after.term), (Role::Standby, term), "{list:?}");
    assert_eq!(after.notes.len(), 1, "{:?}", after.notes);
    assert_eq!(after.notes[0].died.0, "b");
    good(load.wait_answers(40));
    for at in 0..2 {
        assert_same_process(&mut pair, at);
    }
    // Clients that were connected to it, and no others, saw the end of their connections.
    let killed = Killed { address, from_ms, until_ms: now_ms() };
    let stopped = good(load.stop());
    let audit = good(pair.end_and_audit(&stopped.record, &stopped.done.dropped, &[killed]));
    assert!(audit.holds(), "{audit:?} {:?}", stopped.done.failures);
}

/// A unit of the process at `at` was given up, and has come to an end since: its thread and its library go.
#[track_caller]
fn wait_gone(pair: &Pair, at: usize) {
    let gone = |list: &PluginList| {
        list.memory.hung == 0 && list.memory.kept == 0 && list.plugins[0].state == "unloaded"
    };
    wait("what hung is gone", || plugins(pair, at), gone);
    assert!(log(pair, at).contains("LS0463"), "{}", log(pair, at));
}

/// What comes back late does nothing: not its writes, not its reply.
fn comes_back(how: &str) {
    let (_directory, mut pair) = pair_of(1, "");
    let load = load(&pair);
    let address = pair.node(0).ready().events.clone();
    let from_ms = now_ms();
    hangs(&pair, 0, how, ("x", "1"));
    in_lock_step(&pair, 0, 0);
    wait_gone(&pair, 0);
    assert_eq!(good(pair.node(0).mapped_plugins()).len(), 1);
    make_active(&pair, 0);
    let late = post(&pair, 0, "balance", ("x", "2"), "{\"account\":\"late\"}");
    assert!(late.starts_with("HTTP/1.1 422"), "there is no such account: {late}");
    assert!(mishap(&pair, 0, how, ("x", "1")).contains("hung"), "its fault stays what it was");
    assert_same_process(&mut pair, 0);
    let killed = Killed { address, from_ms, until_ms: now_ms() };
    let stopped = good(load.stop());
    let audit = good(pair.end_and_audit(&stopped.record, &stopped.done.dropped, &[killed]));
    assert!(audit.holds(), "{audit:?} {:?}", stopped.done.failures);
}

#[test]
fn a_unit_that_returns_after_it_was_given_up_has_done_nothing_and_its_library_goes() {
    comes_back("sleep");
}

#[test]
fn the_calls_into_the_host_of_a_unit_that_was_given_up_fail_and_its_library_goes() {
    comes_back("ask");
}

#[test]
fn with_more_engines_that_hang_than_may_the_process_ends_and_the_partner_takes_over() {
    let (_directory, mut pair) = pair_of(1, "    hung_engines_max: 1,\n");
    hangs(&pair, 0, "hang", ("x", "1"));
    in_lock_step(&pair, 0, 0);
    make_active(&pair, 0);
    let said = mishap(&pair, 0, "hang", ("x", "2"));
    assert!(!said.starts_with("HTTP/1.1 200"), "{said}");
    let end = good(pair.node_mut(0).wait_end());
    assert!(!end.success(), "{end:?}");
    let log = log(&pair, 0);
    assert!(log.contains("LS0645") && log.contains("hung_engines_max"), "{log}");
    let fault = wait(
        "its fault",
        || mishap(&pair, 1, "hang", ("x", "2")),
        |said| !said.is_empty() && !said.starts_with("HTTP/1.1 503"),
    );
    assert!(fault.starts_with("HTTP/1.1 500") && fault.contains("hung"), "{fault}");
    good(pair.restart(0));
    good(pair.wait_in_lock_step(PATIENCE));
    assert_eq!(plugins(&pair, 0).memory.hung, 0);
    good(pair.end());
}

/// The new engine finds no plugin file: it can't be built, and the process ends.
#[test]
fn an_engine_that_cant_be_built_anew_ends_its_process() {
    let (directory, mut pair) = pair_of(1, "");
    std::fs::remove_dir_all(directory.path().join("data-a/plugins")).unwrap();
    std::fs::write(directory.path().join("data-a/plugins"), "no directory").unwrap();
    let said = mishap(&pair, 0, "hang", ("x", "1"));
    assert!(!said.starts_with("HTTP/1.1 200"), "{said}");
    let end = good(pair.node_mut(0).wait_end());
    assert!(!end.success(), "{end:?}");
    assert!(log(&pair, 0).contains("LS0646"), "{}", log(&pair, 0));
    let fault = wait(
        "its fault",
        || mishap(&pair, 1, "hang", ("x", "1")),
        |said| !said.is_empty() && !said.starts_with("HTTP/1.1 503"),
    );
    assert!(fault.starts_with("HTTP/1.1 500") && fault.contains("hung"), "{fault}");
    good(pair.node_mut(1).end());
}
