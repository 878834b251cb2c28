//! A version that is swapped out is gone from the process, which has not been started again.

use std::time::Duration;

use crate::{artifacts, load, pair};

#[test]
fn an_orderly_stop_unloads_the_plugin_and_warns_of_nothing() {
    let (_directory, mut pair) = pair();
    pair.end().unwrap_or_else(|failure| panic!("{failure}"));
    for at in 0..2 {
        let log = std::fs::read_to_string(pair.node(at).log()).unwrap();
        assert!(log.contains("stopped"), "{log}");
        assert!(!log.contains("LS04"), "{log}");
    }
}

#[test]
fn after_a_swap_the_old_library_is_not_mapped() {
    let (_directory, mut pair) = pair();
    let load = load(&pair);
    let pids = [pair.node(0).ready().pid, pair.node(1).ready().pid];
    for plugin in [artifacts().ledger_v1_twin(), artifacts().ledger_v1_twin()] {
        let standby = 1 - pair.active().unwrap();
        let before = pair.node(standby).mapped_plugins().unwrap();
        assert_eq!(before.len(), 1, "{before:?}");
        pair.load_plugin(plugin).unwrap_or_else(|failure| panic!("{failure}"));
        pair.wait_standby_on(plugin, Duration::from_secs(20)).unwrap_or_else(|failure| panic!("{failure}"));
        let kept = pair.wait_unloaded(standby, Duration::from_secs(20)).unwrap();
        assert!(kept.is_empty(), "{kept:?}");
        let after = pair.node(standby).mapped_plugins().unwrap();
        assert_eq!(after.len(), 1, "{after:?}");
        assert_ne!(before, after);
        pair.switch_over().unwrap_or_else(|failure| panic!("{failure}"));
    }
    assert_eq!(pids, [pair.node(0).ready().pid, pair.node(1).ready().pid]);
    let stopped = load.stop().unwrap_or_else(|failure| panic!("{failure}"));
    let audit = pair
        .end_and_audit(&stopped.record, &stopped.done.dropped, &[])
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(audit.holds(), "{audit:?}");
}
