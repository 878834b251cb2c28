//! Power cuts and killed processes at every moment: what was synced is there, what is there has no holes.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use lockstep_core::ids::Number;
use lockstep_store::{Work, inspect};

use crate::driver::{Driver, Step};
use crate::world::{World, end_of, entries, same, state_of};

/// A store's life: batches, some longer than a sector, over several segments, checkpoints, cuts, a kill.
fn life() -> Vec<Step> {
    use Step::*;
    let mut steps = vec![Append(3), Sync, Append(1), Append(30), Append(9), Sync, Held(4), Work];
    for round in 0..3 {
        steps.extend([Append(20), Append(7), Sync, Append(2), Cut(6 + round), Append(17), Work, Held(2)]);
        steps.extend([Append(40), Sync, Held(1), Work, Work, Append(5)]);
    }
    steps.extend([Kill, Append(33), Cut(2), Sync, Held(0), Work, Append(12), Append(70), Work]);
    steps
}

fn small_world() -> World {
    let mut world = World::new();
    (world.options.segment_bytes, world.options.recent_bytes) = (4 << 10, 6 << 10);
    world
}

/// After a crash the store takes entries again, and they alone stand behind what was found.
fn goes_on(driver: &mut Driver, seed: u64) {
    use Step::*;
    driver.run(&[Append(4), Sync, Append(25), Held(0), Work, Work, Append(3), Sync]).unwrap();
    driver.crash(seed);
    driver.open().unwrap();
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_synced() {
    for replicated in [false, true] {
        let mut whole = Driver::new(small_world(), replicated);
        whole.run(&life()).unwrap();
        assert!(whole.held > 100, "the run is to have checkpoints");
        assert!(whole.world.segments(whole.store.unwrap().0.id()).len() > 2, "and several segments");
        // The two settings differ in what is checkpointed, so the second need not stop everywhere.
        for cut in (0..whole.world.disk.changes()).step_by(if replicated { 2 } else { 1 }) {
            let mut driver = Driver::new(small_world(), replicated);
            driver.world.disk.cut_after(cut);
            driver.run(&life()).expect_err("the power is off");
            driver.crash(cut * 2 + u64::from(replicated));
            driver.open().unwrap();
            if cut % 4 == 0 {
                goes_on(&mut driver, cut);
            }
        }
    }
}

#[test]
fn a_crash_while_a_segment_takes_the_space_of_an_old_one_loses_nothing() {
    use Step::*;
    // Each round fills a segment and checkpoints it: what is not needed any more becomes the next one but one.
    let round = [Append(24), Sync, Held(0), Work, Work, Work];
    let life: Vec<Step> = std::iter::repeat_n(round, 8).flatten().collect();
    let world = || {
        let mut world = small_world();
        world.options.recent_bytes = 0;
        world
    };
    let mut whole = Driver::new(world(), false);
    whole.run(&life).unwrap();
    for cut in 0..whole.world.disk.changes() {
        for seed in 0..3 {
            let mut driver = Driver::new(world(), false);
            driver.world.disk.cut_after(cut);
            driver.run(&life).expect_err("the power is off");
            driver.crash(cut * 3 + seed);
            driver.open().unwrap();
        }
    }
}

#[test]
fn a_crash_at_any_operation_of_an_opening_loses_nothing_either() {
    use Step::*;
    let steps = [Append(20), Sync, Append(40), Work, Append(50), Sync, Held(30), Work, Append(90), Append(8)];
    for seed in 0..7 {
        let crashed = || {
            let mut driver = Driver::new(small_world(), false);
            driver.run(&steps).unwrap();
            driver.run(&[Append(60), Append(9), Append(31), Cut(5), Append(7)]).unwrap();
            driver.crash(seed);
            driver
        };
        let mut driver = crashed();
        let before = driver.world.disk.changes();
        driver.open().unwrap();
        for cut in before..driver.world.disk.changes() {
            let mut driver = crashed();
            driver.world.disk.cut_after(cut);
            driver.open().expect_err("the power is off");
            driver.crash(seed ^ cut);
            driver.open().unwrap();
            goes_on(&mut driver, seed);
        }
    }
}

#[test]
fn what_append_has_taken_is_with_the_operating_system() {
    let world = World::new();
    let (mut store, _) = world.open();
    let all = entries(1..=700, 1, 1);
    for batch in all.chunks(50) {
        store.append(batch).unwrap();
        world.disk.kill();
        let (next, found) = world.open();
        same(&found.state, &state_of(&all[..batch.last().unwrap().last().0 as usize]));
        store = next;
    }
}

#[test]
fn a_torn_last_record_is_no_error() {
    let (mut torn, mut whole, mut gone) = (0, 0, 0);
    for seed in 0..40 {
        let world = World::new();
        let (mut store, _) = world.open();
        let all = entries(1..=60, 1, 1);
        store.append(&all[..20]).unwrap();
        store.sync().unwrap();
        store.append(&all[20..]).unwrap();
        world.disk.crash(seed);
        let found = &inspect(&world.disk, &world.dir, false).unwrap().stores[0];
        assert!(found.damage.is_none());
        match found.last.0 {
            60 => whole += 1,
            20 if found.torn => torn += 1,
            20 => gone += 1,
            last => panic!("{last}: a record counts as a whole"),
        }
        let (mut store, opened) = world.open();
        assert!(opened.trusted && opened.warning.is_none());
        let last = found.last.0 as usize;
        same(&opened.state, &state_of(&all[..last]));
        let end = end_of(&world.disk, &world.segment(store.id(), 1)) as u64;
        assert!(end <= found.segments[0].bytes, "what never was acknowledged is cleared");
        store.append(&all[last..]).unwrap();
        store.sync().unwrap();
        world.disk.crash(seed);
        same(&world.open().1.state, &state_of(&all));
    }
    assert!(torn > 2 && whole > 2 && gone > 2, "{torn} torn, {whole} whole, {gone} gone");
}

#[test]
fn recovery_reads_what_checkpoints_leave_and_no_more() {
    let mut world = World::new();
    let checkpoint_bytes = 24 << 10;
    world.options.checkpoint_bytes = checkpoint_bytes..=checkpoint_bytes;
    let (mut store, _) = world.open();
    let mut background = store.background();
    let options = &world.options;
    // The segments kept for the recent stream, those that wait for a checkpoint, the active one, the one ahead.
    let most = (options.recent_bytes as u64 + checkpoint_bytes) / options.segment_bytes + 4;
    for batch in entries(1..=4_000, 1, 1).chunks(10) {
        store.append(batch).unwrap();
        store.sync().unwrap();
        store.set_held(batch.last().unwrap().last());
        while background.run_once().unwrap() != Work::Nothing {}
        assert!(world.segments(store.id()).len() as u64 <= most);
    }
    assert!(inspect(&world.disk, &world.dir, false).unwrap().stores[0].checkpoint > Number(3_000));
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..40_u64).prop_map(Step::Append),
        4 => Just(Step::Sync),
        2 => (0..20_u64).prop_map(Step::Held),
        3 => Just(Step::Work),
        1 => (0..30_u64).prop_map(Step::Cut),
        1 => Just(Step::Kill),
    ];
    proptest::collection::vec(step, 5..60)
}

#[test]
fn any_run_with_any_crashes_keeps_what_was_synced() {
    // The same cases every time: what fails here fails everywhere.
    let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[24; 32]);
    let lives = proptest::collection::vec((steps(), 0..400_u64, any::<u64>()), 1..4);
    TestRunner::new_with_rng(config, random)
        .run(&(lives, any::<bool>()), |(lives, replicated)| {
            let mut driver = Driver::new(small_world(), replicated);
            driver.open().unwrap();
            for (steps, cut, seed) in lives {
                driver.world.disk.cut_after(driver.world.disk.changes() + cut);
                let _ = driver.run(&steps);
                driver.crash(seed);
                driver.open().unwrap();
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_segment_left_without_a_record_is_no_end() {
    let mut left = 0;
    for seed in 0..40 {
        let mut world = World::new();
        world.options.segment_bytes = 4 << 10;
        let all = entries(1..=200, 1, 1);
        let (mut store, _) = world.open();
        store.append(&all[..25]).unwrap();
        store.sync().unwrap();
        // Begins the next segment, and may be torn there.
        store.append(&all[25..40]).unwrap();
        world.disk.crash(seed);
        let (mut store, found) = world.open();
        let mut last = found.state.meta.last.0 as usize;
        // Longer than the segment: where the one that is active has no record, it is left without.
        for upto in [last + 70, last + 73] {
            store.append(&all[last..upto]).unwrap();
            last = upto;
        }
        store.sync().unwrap();
        world.disk.crash(seed);
        let (_, found) = world.open();
        same(&found.state, &state_of(&all[..last]));
        let segments = &inspect(&world.disk, &world.dir, false).unwrap().stores[0].segments;
        left += usize::from(segments.iter().rev().skip(1).any(|segment| segment.records == 0));
    }
    assert!(left > 3, "{left} were left");
}
