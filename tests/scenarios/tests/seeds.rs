//! A few hundred seeds of chaos, and seeds that once failed.

use lockstep_sim::chaos::{self, Generation};
use lockstep_sim::{long, several};

fn run(seeds: impl IntoIterator<Item = u64>) {
    run_as(chaos::LATEST, seeds);
}

fn run_as(generation: Generation, seeds: impl IntoIterator<Item = u64>) {
    for seed in seeds {
        let failed = std::panic::catch_unwind(|| drop(chaos::run_as(generation, seed, false))).is_err();
        assert!(!failed, "seed {seed} broke the promise; its story: `drill sim --seed {seed} --story`");
    }
}

#[test]
fn the_promise_holds_for_the_first_seeds() {
    run(0..150);
}

#[test]
fn the_promise_holds_for_the_next_seeds() {
    run(150..300);
}

#[test]
fn the_promise_holds_for_seeds_that_once_failed() {
    // An acknowledgement from before a catch-up was taken for one after it.
    run_as(Generation::First, [33, 408]);
    // A restarted active waited for a recorded standby that needed a copy and could not take over.
    run_as(Generation::First, [196, 317, 323]);
    // A standby that took copies was never reached by the recent stream under load.
    run_as(Generation::First, [279]);
    // What was put into the stream during a switchover was taken for durable on the old active.
    run_as(Generation::First, [788]);
    // Acknowledgements after a switchover were not counted.
    run_as(Generation::First, [1434]);
    // A second copy replaced one that was in use and not yet recorded.
    run_as(Generation::First, [1920]);
    // A word about durability was of entries that were being cut off.
    run_as(Generation::First, [5374, 8103]);
    // A switchover was recorded to a processor that had lost its disk meanwhile.
    run_as(Generation::First, [750, 15325]);
    // A copy was acknowledged, recorded, and not found by the next start.
    run_as(Generation::First, [371, 777, 1462]);
    // A copy took the place of a store that a swap under way then recorded.
    run_as(Generation::First, [376]);
    // A restarted active took a swap of the process before it for a new mandate, and served in the same term.
    run_as(Generation::First, [49261]);
    // A promotion was heard of twice, and the mark of the first time was taken for a second death.
    run_as(Generation::Third, [1388]);
    // An event ran in lock step with a standby whose version was known to die of it.
    run_as(Generation::Fifth, [1393]);
    // A standby that had changed its version outside of the stream took a catch-up that was meant for the old one.
    run_as(Generation::First, [1625]);
    // A full disk refused a cut, and what it still had was taken for durable.
    run_as(Generation::Ninth, [504]);
}

#[test]
fn the_promise_holds_for_long_lives_that_once_failed() {
    // A store without its end took a standby that differed, and asked for a copy, for one that had no more.
    drop(long::run(Generation::Eighth, 1021, false, false));
    // A late answer about a death was of the process before the one that had come back.
    drop(long::run(Generation::Ninth, 1045, false, false));
    // A store that was sent again what it had lost took over before it was synced.
    drop(long::run(Generation::Ninth, 1487, false, false));
    // What was loaded by hand was taken for what a campaign had left behind.
    drop(long::run(Generation::Ninth, 114, false, false));
    // The world let a processor hear of a link after the link's end.
    drop(long::run(Generation::Ninth, 1135, false, false));
}

fn run_over_real_store(generation: Generation, seeds: impl IntoIterator<Item = u64>) {
    for seed in seeds {
        let failed = std::panic::catch_unwind(|| drop(chaos::run_over_real_store(generation, seed))).is_err();
        assert!(
            !failed,
            "seed {seed} broke the promise; its story: `drill sim --real-store --seed {seed} --story`"
        );
    }
}

#[test]
fn the_promise_holds_over_the_real_store() {
    run_over_real_store(chaos::LATEST, 0..40);
}

#[test]
fn the_promise_holds_through_long_lives() {
    (0..12).for_each(|seed| drop(long::run(chaos::LATEST, seed, false, false)));
}

#[test]
fn the_promise_holds_for_applications_of_several_groups() {
    // The last two ended with a group of which one side ran what the campaign had left behind.
    for (seed, groups) in (0..6).chain([54, 807]).zip([2, 3, 2, 3, 2, 3, 2, 2]) {
        let failed = std::panic::catch_unwind(|| drop(several::run(seed, groups))).is_err();
        assert!(
            !failed,
            "seed {seed} broke it; its story: `drill sim --groups {groups} --seed {seed} --story`"
        );
    }
}

#[test]
fn a_seed_tells_the_same_story_each_time() {
    for seed in [3, 17] {
        let story = || chaos::run(seed, true).story().to_vec();
        let first = story();
        assert!(first.len() > 100, "a story tells what happens");
        assert_eq!(first, story(), "seed {seed}");
    }
}

/// For `drill mutants`: the first seeds, as many as `LOCKSTEP_SEEDS` says, of the generation that each mutant's number of
/// seeds was measured with.
#[test]
#[ignore = "run by `drill mutants`"]
fn the_promise_holds_for_so_many_seeds() {
    let seeds = std::env::var("LOCKSTEP_SEEDS").expect("how many is said");
    run_as(Generation::Sixth, 0..seeds.parse().expect("it is a number"));
}

/// For `drill mutants`, as the one above: over the real store.
#[test]
#[ignore = "run by `drill mutants`"]
fn the_promise_holds_for_so_many_seeds_over_the_real_store() {
    let seeds = std::env::var("LOCKSTEP_SEEDS").expect("how many is said");
    run_over_real_store(Generation::Seventh, 0..seeds.parse().expect("it is a number"));
}
