//! A few hundred seeds of chaos, and seeds that once failed.

use lockstep_sim::chaos;

fn run(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let failed = std::panic::catch_unwind(|| drop(chaos::run(seed, false))).is_err();
        assert!(!failed, "seed {seed} broke the promise; see its story with `chaos::run({seed}, true)`");
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
