//! What processors tell their operators: status at either of them, faults and campaigns in the log.

use std::time::{Duration, Instant};

use lockstep_core::campaign::Step;
use lockstep_core::command::Role;

use crate::{artifacts, load, pair};

#[test]
fn the_standby_tells_the_actives_figures() {
    let (_directory, pair) = pair();
    let load = load(&pair);
    let standby = 1 - pair.active().unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let group = pair.group(standby).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(group.members[0].role, Role::Standby, "who is asked comes first");
        if group.events_per_s > 0 && group.latency_us.1 > 0 && group.counts.committed == 0 {
            break;
        }
        assert!(Instant::now() < until, "no figures of the active: {group:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    load.stop().unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn faults_are_logged_and_only_a_way_back_is_a_warning() {
    let (_directory, mut pair) = pair();
    let load = load(&pair);
    let first = 1 - pair.active().unwrap();
    pair.start_upgrade(artifacts().ledger_v2_broken(), Duration::from_secs(4), 100, false)
        .unwrap_or_else(|failure| panic!("{failure}"));
    pair.wait_until("the way back", Duration::from_secs(60), |group| {
        Ok(group.campaigns.last().is_some_and(|campaign| campaign.step == Step::FellBack))
    })
    .unwrap_or_else(|failure| panic!("{failure}"));
    load.stop().unwrap_or_else(|failure| panic!("{failure}"));
    pair.end().unwrap_or_else(|failure| panic!("{failure}"));
    let logs = [0, 1].map(|at| std::fs::read_to_string(pair.node(at).log()).unwrap());
    let fault = logs[first].lines().find(|line| line.contains("LS0209"));
    let fault = fault.unwrap_or_else(|| panic!("no fault in the log: {}", logs[first]));
    for word in ["WARN", "ledger", "transfer", "unit=", "number=", "the broken version"] {
        assert!(fault.contains(word), "`{word}` is not said: {fault}");
    }
    let steps = logs.iter().flat_map(|log| log.lines()).filter(|line| line.contains("LS0701"));
    for line in steps {
        let back = ["BackSwitchOver", "BackLoad", "FellBack"].iter().any(|step| line.contains(step));
        assert_eq!(line.contains("WARN"), back, "{line}");
    }
}
