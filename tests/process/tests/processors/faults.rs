//! Processors that die: by a kill, by a failed assertion. The partner takes over, and nothing is lost.

use std::time::{Duration, SystemTime};

use rig::admin;
use rig::audit::Killed;
use rig::pair::Pair;
use serde_json::json;

use crate::{artifacts, load, pair};

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Ends the active by `death` under load, sees the partner serve, brings the dead one back, audits.
fn dies(mut pair: Pair, death: impl FnOnce(&mut Pair, usize)) {
    let mut load = load(&pair);
    let active = pair.active().unwrap();
    let address = pair.node(active).ready().events.clone();
    load.phase("death").unwrap();
    let from_ms = now_ms();
    death(&mut pair, active);
    // The partner serves: answers come, although the other process is gone.
    let seen = pair.wait_until("the takeover", Duration::from_secs(20), |group| {
        Ok(group.members[0].node.to_string() != ["a", "b"][active] && group.counts.takeovers == 1)
    });
    seen.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(pair.active().unwrap(), 1 - active);
    load.phase("alone").unwrap();
    load.wait_answers(40).unwrap_or_else(|failure| panic!("{failure}"));
    pair.restart(active).unwrap_or_else(|failure| panic!("{failure}"));
    pair.wait_in_lock_step(Duration::from_secs(20)).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(pair.active().unwrap(), 1 - active, "who comes back is the standby");
    load.phase("back").unwrap();
    load.wait_answers(40).unwrap_or_else(|failure| panic!("{failure}"));
    let killed = Killed { address, from_ms, until_ms: now_ms() };
    let stopped = load.stop().unwrap_or_else(|failure| panic!("{failure}"));
    let audit = pair
        .end_and_audit(&stopped.record, &stopped.done.dropped, &[killed])
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(audit.holds(), "{audit:?} {:?}", stopped.done.failures);
}

#[test]
fn the_active_is_killed_and_comes_back() {
    let (_directory, pair) = pair();
    dies(pair, |pair, active| pair.node_mut(active).kill());
}

#[test]
fn an_actor_that_dies_by_a_failed_assertion_ends_its_process_and_the_partner_takes_over() {
    let (_directory, pair) = pair();
    dies(pair, |pair, active| {
        let verb = json!({"failpoint": {"point": "turn", "action": "panic"}});
        admin::ask(&pair.node(active).ready().admin, &verb).unwrap_or_else(|failure| panic!("{failure}"));
        let status = pair.node_mut(active).wait_end().unwrap_or_else(|failure| panic!("{failure}"));
        assert!(!status.success(), "{status:?}");
        let log = std::fs::read_to_string(pair.node(active).log()).unwrap();
        assert!(log.contains("panicked") || log.contains("assertion"), "{log}");
    });
}

/// R26: a disk that fails ends the process, and its store comes back as a fresh copy.
#[test]
fn an_active_whose_disk_fails_hands_over_and_comes_back_with_a_copy() {
    let (_directory, pair) = pair();
    dies(pair, |pair, active| {
        let verb = json!({"failpoint": {"point": "append", "action": "fail"}});
        admin::ask(&pair.node(active).ready().admin, &verb).unwrap_or_else(|failure| panic!("{failure}"));
        let status = pair.node_mut(active).wait_end().unwrap_or_else(|failure| panic!("{failure}"));
        assert!(!status.success(), "{status:?}");
        let log = std::fs::read_to_string(pair.node(active).log()).unwrap();
        assert!(log.contains("the store failed"), "{log}");
    });
}

#[test]
fn what_is_acknowledged_outlives_both() {
    let (_directory, mut pair) = pair();
    let stopped = load(&pair).stop().unwrap_or_else(|failure| panic!("{failure}"));
    for at in 0..2 {
        pair.node_mut(at).kill();
    }
    for at in 0..2 {
        pair.node_mut(at).wait_gone().unwrap();
    }
    pair.start_again().unwrap_or_else(|failure| panic!("{failure}"));
    let audit = pair
        .end_and_audit(&stopped.record, &stopped.done.dropped, &[])
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(audit.holds(), "{audit:?}");
    assert!(artifacts().lockstepd().exists());
}
