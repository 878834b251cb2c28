//! An application with several partitions on real processors (R1): each a group of its own, operators' commands for all.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

use rig::Failure;
use rig::audit::Killed;
use rig::load::{Load, Stopped};
use rig::pair::Pair;
use tempfile::TempDir;

use crate::{artifacts, assert_refused, failure, lockstepd};

const PARTITIONS: u16 = 4;
const PATIENCE: Duration = Duration::from_secs(30);

fn good<T>(result: Result<T, Failure>) -> T {
    result.unwrap_or_else(|failure| panic!("{failure}"))
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

fn partitioned() -> (TempDir, Pair) {
    let directory = tempfile::tempdir().unwrap();
    let pair = Pair::start_partitioned(artifacts(), directory.path(), artifacts().ledger_v1(), PARTITIONS);
    let pair = good(pair);
    // Both start at once: each group is active where the arbiter was asked first.
    let roles = good(pair.groups(0)).iter().map(rig::admin::own_role).collect::<Vec<_>>();
    if roles.iter().any(|role| *role != roles[0]) {
        switch_over(&pair);
        good(pair.wait_all_in_lock_step(PATIENCE));
    }
    (directory, pair)
}

/// Makes one processor active for all groups, as soon as each has a standby in sync: one that has just started may leave
/// the record once more when its link is made anew.
fn switch_over(pair: &Pair) {
    let until = Instant::now() + PATIENCE;
    while let Err(failure) = pair.lockstep(&["switchover", "ledger"]) {
        assert!(Instant::now() < until, "{failure}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn stop(loads: Vec<Load>) -> Vec<Stopped> {
    loads.into_iter().map(|load| good(load.stop())).collect()
}

#[track_caller]
fn assert_all_hold(pair: &mut Pair, loads: &[Stopped], killed: &[Killed]) {
    for (partition, audit) in good(pair.end_and_audit_all(loads, killed)).iter().enumerate() {
        assert!(audit.holds(), "partition {partition}: {audit:?} {:?}", loads[partition].done.failures);
    }
}

/// What `POST /ledger/open_account` with these headers is answered.
fn post(address: &str, headers: &str, name: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let body = format!("{{\"account\":\"{name}\",\"cents\":5}}");
    let head = format!("POST /ledger/open_account HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}");
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn every_partition_holds_what_it_acknowledged_when_the_active_is_killed() {
    let (_directory, mut pair) = partitioned();
    let mut loads = good(pair.load_all(PARTITIONS, 100.0));
    let active = good(pair.active());
    good(pair.wait_groups("one active for all", PATIENCE, |group| group.partitions == PARTITIONS));
    let from_ms = now_ms();
    let address = pair.node(active).ready().events.clone();
    pair.node_mut(active).kill();
    good(pair.wait_active_for_all(1 - active, PATIENCE));
    for load in &mut loads {
        good(load.wait_answers(20));
    }
    good(pair.restart(active));
    good(pair.wait_all_in_lock_step(PATIENCE));
    for load in &mut loads {
        good(load.wait_answers(20));
    }
    let killed = Killed { address, from_ms, until_ms: now_ms() };
    let loads = stop(loads);
    assert_all_hold(&mut pair, &loads, &[killed]);
}

#[test]
fn commands_are_for_all_partitions_and_keys_say_where_events_belong() {
    let (_directory, mut pair) = partitioned();
    let loads = good(pair.load_all(PARTITIONS, 50.0));
    let from = good(pair.active());
    switch_over(&pair);
    good(pair.wait_active_for_all(1 - from, PATIENCE));
    good(pair.wait_all_in_lock_step(PATIENCE));
    good(pair.load_plugin(artifacts().ledger_v1_twin()));
    let hashes = |at: usize| {
        let groups = good(pair.groups(at));
        groups.iter().map(|group| group.members[0].hash.unwrap()).collect::<Vec<_>>()
    };
    let twin = good(pair.wait_groups("the standby on the twin, everywhere", PATIENCE, |group| {
        rig::admin::in_lock_step(group) && group.members[0].hash != group.members[1].hash
    }));
    assert_eq!(twin.len(), usize::from(PARTITIONS));
    let (a, b) = (hashes(0), hashes(1));
    assert!(a.iter().all(|hash| *hash == a[0]) && b.iter().all(|hash| *hash == b[0]) && a[0] != b[0]);
    // Each group's copy of the old library is gone.
    let until = Instant::now() + PATIENCE;
    loop {
        let plugins = good(rig::admin::plugins(&pair.node(from).ready().admin));
        let unloaded = plugins.iter().filter(|plugin| plugin.state == "unloaded").count();
        if unloaded == usize::from(PARTITIONS) {
            break;
        }
        assert!(Instant::now() < until, "{plugins:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mapped = good(pair.node(from).mapped_plugins());
    assert_eq!(mapped.len(), 1, "copies of one file have one name: {mapped:?}");

    let http = pair.node(from).ready().http.clone();
    let answer = post(&http, "", "zoe");
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("LS0211"), "{answer}");
    let key = "Lockstep-Key: zoe\r\nIdempotency-Key: 1\r\n";
    let opened = post(&http, key, "zoe");
    assert!(opened.starts_with("HTTP/1.1 200"), "{opened}");
    let again = post(&pair.node(1 - from).ready().http, key, "zoe");
    let sequence = |answer: &str| {
        let line = answer.lines().find(|line| line.to_lowercase().starts_with("lockstep-sequence"));
        line.map(str::to_owned).unwrap_or_else(|| panic!("{answer}"))
    };
    assert_eq!(sequence(&opened), sequence(&again), "a repeat at the other processor is the same event");
    stop(loads);
    good(pair.end());
}

#[test]
fn the_number_of_partitions_is_for_ever_and_the_same_on_both_sides() {
    let (_directory, mut pair) = partitioned();
    good(pair.end());
    let config = pair.node(0).config();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("partitions: 4", "partitions: 2")).unwrap();
    assert_refused(&lockstepd(&config), &["LS0121", "4", "2"]);
    let said = failure(pair.node(1).lockstep_lines(artifacts(), &["db", "export", "--partition", "4"]));
    assert!(said.contains("LS0823"), "{said}");
}

/// Starts an upgrade of all partitions to version 2.
fn upgrading(pair: &Pair) {
    // Partition 0 asks the others twice a second while nothing goes on; until they were heard a start is refused.
    let until = Instant::now() + PATIENCE;
    let start = || pair.start_upgrade(artifacts().ledger_v2(), Duration::from_millis(500), 100, false);
    while let Err(failure) = start() {
        assert!(failure.to_string().contains("LS0631") && Instant::now() < until, "{failure}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[track_caller]
fn assert_upgraded(pair: &Pair) {
    let groups = pair.wait_groups("the upgrade of all partitions", Duration::from_secs(60), |group| {
        group.campaign.is_none() && !group.campaigns.is_empty() && rig::admin::in_lock_step(group)
    });
    for group in good(groups) {
        let last = group.campaigns.last().unwrap();
        assert_eq!(last.step, lockstep_core::campaign::Step::Done, "{last:?}");
        let versions: Vec<_> =
            group.members.iter().map(|member| member.version.unwrap().to_string()).collect();
        assert_eq!(versions, ["2.0.0", "2.0.0"], "partition {}", group.partition);
        assert!(
            group.features.iter().all(|(_, _, is)| *is != lockstep_core::command::FeatureState::Off),
            "{:?}",
            group.features
        );
    }
}

#[test]
fn an_upgrade_takes_all_partitions_under_load() {
    let (_directory, mut pair) = partitioned();
    let loads = good(pair.load_all(PARTITIONS, 50.0));
    upgrading(&pair);
    assert_upgraded(&pair);
    let loads = stop(loads);
    assert_all_hold(&mut pair, &loads, &[]);
}

#[test]
fn an_upgrade_of_all_partitions_outlives_the_death_of_the_processor_that_drives_it() {
    let (_directory, mut pair) = partitioned();
    let loads = good(pair.load_all(PARTITIONS, 50.0));
    let first = good(pair.active());
    upgrading(&pair);
    // All partitions are on the new version's processor: the old one's is killed during the evaluation.
    good(pair.wait_active_for_all(1 - first, PATIENCE));
    let from_ms = now_ms();
    let address = pair.node(first).ready().events.clone();
    pair.node_mut(first).kill();
    good(pair.wait_active_for_all(1 - first, PATIENCE));
    good(pair.restart(first));
    assert_upgraded(&pair);
    let killed = Killed { address, from_ms, until_ms: now_ms() };
    let loads = stop(loads);
    assert_all_hold(&mut pair, &loads, &[killed]);
}
