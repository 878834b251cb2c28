//! Versions whose start refuses or hangs where they are to serve, and not in their trial (R28).

use std::path::PathBuf;
use std::time::Duration;

use rig::load::Stopped;
use rig::node::Settings;
use rig::pair::Pair;
use rig::{Failure, admin};
use tempfile::TempDir;

use crate::{artifacts, load};

/// A pair on version 1 on whose hosts the next starts of the deadly version do what `words` say.
fn pair_with(words: &str) -> (TempDir, PathBuf, Pair) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("start");
    std::fs::write(&file, words).unwrap();
    let settings =
        || Settings { environment: vec![("LEDGER_START".into(), file.clone())], ..Settings::default() };
    let pair =
        Pair::start_with(artifacts(), directory.path(), artifacts().ledger_v1(), [settings(), settings()]);
    let pair = pair.unwrap_or_else(|failure| panic!("{failure}"));
    (directory, file, pair)
}

/// Upgrades to the deadly version, and waits for the end: whether it runs, and why not.
fn upgrade(pair: &Pair) -> Result<(bool, String), Failure> {
    pair.start_upgrade(artifacts().ledger_v1_deadly(), Duration::from_millis(300), 20, false)?;
    let over = pair.wait_until("the end of the upgrade", Duration::from_secs(120), |group| {
        Ok(!group.campaigns.is_empty() && admin::in_lock_step(group))
    })?;
    let campaign = over.campaigns.last().expect("one is over");
    Ok((!campaign.step.is_back(), campaign.reason.clone()))
}

fn assert_holds(mut pair: Pair, stopped: &Stopped) {
    let audit = pair
        .end_and_audit(&stopped.record, &stopped.done.dropped, &[])
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(audit.holds(), "{audit:?}");
}

#[test]
fn a_version_that_refuses_to_start_three_times_is_given_up_and_the_old_one_goes_on() {
    let (_directory, file, pair) = pair_with("refuse\nrefuse\nrefuse\n");
    let pids = [pair.node(0).ready().pid, pair.node(1).ready().pid];
    let load = load(&pair);
    let (runs, reason) = upgrade(&pair).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(!runs, "it fell back");
    assert!(reason.contains("LS0461") && reason.contains("told to refuse"), "{reason}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "", "it was tried three times");
    assert_eq!(pids, [pair.node(0).ready().pid, pair.node(1).ready().pid], "no processor ended");
    // What refused is unloaded.
    let standby = 1 - pair.active().unwrap();
    let kept = pair.wait_unloaded(standby, Duration::from_secs(20)).unwrap();
    assert!(kept.is_empty() || kept.iter().all(|plugin| plugin.state == "mapped"), "{kept:?}");
    let stopped = load.stop().unwrap_or_else(|failure| panic!("{failure}"));
    assert_holds(pair, &stopped);
}

#[test]
fn a_version_whose_start_hangs_is_left_behind_and_tried_again() {
    let (_directory, file, pair) = pair_with("hang\n");
    let standby = 1 - pair.active().unwrap();
    let load = load(&pair);
    let (runs, reason) = upgrade(&pair).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(runs, "the second start went well: {reason}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "");
    let log = std::fs::read_to_string(pair.node(standby).log()).unwrap();
    assert!(log.contains("LS0462"), "{log}");
    // What hangs stays where it is, and is told.
    let plugins = admin::plugins(&pair.node(standby).ready().admin).unwrap();
    assert_eq!(plugins.iter().filter(|plugin| plugin.state == "kept").count(), 1, "{plugins:?}");
    let stopped = load.stop().unwrap_or_else(|failure| panic!("{failure}"));
    assert_holds(pair, &stopped);
}
