//! Small searches, each whole: every order of what may happen is tried.

use std::time::Duration;

use model::{EXERCISES, Exercise, explore};

/// Never reached; a search of these is over in seconds.
const TIME_MAX: Duration = Duration::from_secs(600);

fn hold(name: &str) {
    try_all(Exercise::named(name).expect("it is in the list"));
}

fn try_all(exercise: Exercise) {
    let explored = explore(exercise.bounds, 8, TIME_MAX);
    if let Some(failure) = &explored.failure {
        panic!("{}\nafter these steps:\n{}", failure.what, failure.steps.join("\n"));
    }
    assert!(explored.whole && explored.states > 50 && explored.settled > 0, "{explored:?}");
    for what in exercise.reaches {
        assert!(explored.reached.contains_key(what), "never reached: {what}; {explored:?}");
    }
}

#[test]
fn every_small_search_is_a_test() {
    let small = EXERCISES.iter().filter(|exercise| exercise.small).count();
    assert_eq!(small, 9);
}

#[test]
fn a_side_that_only_seems_dead() {
    hold("silence");
}

#[test]
fn switchovers() {
    hold("switchover");
}

#[test]
fn a_switchover_whose_link_is_cut() {
    hold("switchover-cut");
}

#[test]
fn a_swap_of_unknown_outcome_after_a_silence() {
    hold("unknown-swap-silence");
}

#[test]
fn a_switchover_of_unknown_outcome() {
    hold("unknown-swap-switchover");
}

#[test]
fn isolations() {
    hold("isolation");
}

#[test]
fn a_campaign_with_its_ways_back() {
    hold("campaign");
}

#[test]
fn a_campaign_that_isolates() {
    hold("isolating-campaign");
}

#[test]
fn a_damaged_store() {
    hold("damaged-store");
}

#[test]
#[ignore = "takes minutes; `drill model` tells more"]
fn all_others() {
    EXERCISES.into_iter().filter(|exercise| !exercise.small).for_each(try_all);
}
