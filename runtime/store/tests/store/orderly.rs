//! Without any fault: what was put in comes out.

use lockstep_core::ids::{Number, StoreId};
use lockstep_store::{Background, Store, Work, export, inspect, verify};

use crate::world::{SPARE, World, each, end_of, entries, same, state_of};

#[test]
fn a_fresh_store_is_empty_and_keeps_its_id() {
    let world = World::new();
    let (store, found) = world.open();
    assert!(found.fresh && found.trusted && found.same_boot && found.warning.is_none());
    assert_eq!((found.store, store.id()), (world.options.fresh, world.options.fresh));
    drop(store);
    world.disk.kill();
    let mut later = World::new();
    later.disk = world.disk.clone();
    later.options.fresh = StoreId(2);
    let (_, found) = later.open();
    assert!(!found.fresh && found.trusted);
    assert_eq!((found.store, found.state.meta.last), (world.options.fresh, Number(0)));
}

#[test]
fn batches_over_many_segments_come_back_with_and_without_checkpoints() {
    for checkpoints in [false, true] {
        let world = World::new();
        let (mut store, _) = world.open();
        let mut background = store.background();
        let all = entries(1..=2_000, 1, 1);
        let mut checkpointed = Number(0);
        for batch in all.chunks(7) {
            store.append(batch).unwrap();
            assert_eq!(store.sync().unwrap(), batch.last().unwrap().last());
            if checkpoints {
                store.set_held(Number(batch[0].last().0 - 1));
                if let Work::Checkpointed { through, .. } = background.run_once().unwrap() {
                    assert!(through < batch[0].last(), "only what is held is checkpointed (R24)");
                    checkpointed = through;
                }
            }
        }
        assert_eq!(checkpointed > Number(1_800), checkpoints);
        world.disk.kill();
        let (store, found) = world.open();
        same(&found.state, &state_of(&all));
        assert_eq!(store.last(), Some(Number(2_000)));
        assert!(!found.recent.is_empty());
        let recent = each(&found.recent);
        assert_eq!(recent, &all[2_000 - recent.len()..]);
        if checkpoints {
            assert!(world.segments(store.id()).len() < 8, "covered segments go, but for the recent ones");
        }
        let numbers = inspect(&world.disk, &world.dir, false).unwrap();
        assert_eq!((numbers.stores[0].last, numbers.stores[0].checkpoint), (Number(2_000), checkpointed));
        let verified = verify(&world.disk, &world.dir, false).unwrap();
        assert_eq!(verified.digest, format!("{:016x}", state_of(&all).digest()));
        same(&export(&world.disk, &world.dir, false).unwrap().state, &state_of(&all));
        assert_eq!(export(&world.disk, &world.dir, true).unwrap_err().code(), "LS0507");
    }
}

#[test]
fn the_next_segment_is_made_as_soon_as_one_is_left() {
    let world = World::new();
    let (mut store, _) = world.open();
    let background = store.background();
    let beside = std::thread::spawn(move || background.run(|error| panic!("{error}"), Background::run_once));
    let segment = |number| world.segment(world.options.fresh, number);
    let wait_for = |number| {
        let begun = std::time::Instant::now();
        while !world.disk.files().contains(&segment(number)) {
            assert!(begun.elapsed().as_secs() < 10, "segment {number} is not made ahead");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    };
    wait_for(2);
    // Nothing is held, so no checkpoint wakes the background work.
    for batch in entries(1..=500, 1, 1).chunks(10) {
        store.append(batch).unwrap();
        if end_of(&world.disk, &segment(2)) > 64 {
            break;
        }
    }
    wait_for(3);
    drop(store);
    beside.join().unwrap();
}

#[test]
fn looking_at_a_store_changes_nothing() {
    let world = World::new();
    let (mut store, _) = world.open();
    let mut background = store.background();
    for batch in entries(1..=600, 1, 1).chunks(9) {
        store.append(batch).unwrap();
        store.sync().unwrap();
    }
    store.set_held(Number(500));
    background.run_all().unwrap();
    world.disk.kill();
    let changes = world.disk.changes();
    inspect(&world.disk, &world.dir, false).unwrap();
    verify(&world.disk, &world.dir, false).unwrap();
    export(&world.disk, &world.dir, false).unwrap();
    assert_eq!(world.disk.changes(), changes);
}

#[test]
fn what_was_cut_off_never_counts_again() {
    for checkpoints in [false, true] {
        let world = World::new();
        let (mut store, _) = world.open();
        let mut background = store.background();
        let mut kept = entries(1..=300, 1, 1);
        kept.chunks(10).for_each(|batch| store.append(batch).unwrap());
        store.set_held(Number(200));
        for (term, to) in [(5, 283), (9, 250), (12, 251)] {
            store.cut_back(Number(to)).unwrap();
            assert_eq!(store.last(), Some(Number(to)));
            kept.truncate(to as usize);
            let more = entries(to + 1..=to + 40, term, term);
            more.chunks(3).for_each(|batch| store.append(batch).unwrap());
            kept.extend(more);
        }
        store.sync().unwrap();
        if checkpoints {
            store.set_held(store.last().unwrap());
            background.run_all().unwrap();
        }
        world.disk.kill();
        let (mut store, found) = world.open();
        same(&found.state, &state_of(&kept));
        let error = store.cut_back(Number(199)).unwrap_err();
        assert_eq!(error.code(), "LS0506", "what is held can't be cut off");
        if !checkpoints {
            let mut state = found.state;
            assert_eq!(
                found.undos.first().unwrap().number,
                Number(201),
                "from the first that may not be held"
            );
            for undo in found.undos.into_iter().rev().take_while(|undo| undo.number > Number(240)) {
                state.take_back(undo);
            }
            store.cut_back(Number(240)).unwrap();
            kept.truncate(240);
            same(&state, &state_of(&kept));
        }
        let next = store.last().unwrap().next().0;
        store.append(&entries(next..=next, 20, 20)).unwrap();
    }
}

#[test]
fn under_which_boot_a_store_was_written_is_known_at_the_next_start() {
    let mut world = World::new();
    world.options.boot = "first".into();
    let append = |store: &mut Store| {
        let next = store.last().unwrap().next().0;
        store.append(&entries(next..=next, 1, 1)).unwrap();
    };
    drop(world.open());
    world.options.boot = "second".into();
    let (mut store, found) = world.open();
    assert!(found.same_boot, "nothing was written yet");
    append(&mut store);
    drop(store);
    let (store, found) = world.open();
    assert!(found.same_boot, "a process that died takes nothing with it");
    drop(store);
    world.options.boot = "third".into();
    for _ in 0..2 {
        let (store, found) = world.open();
        assert!(!found.same_boot, "nor does an opening, or an orderly end, bring back what is lost (R26)");
        store.close().unwrap();
    }
    let (mut store, _) = world.open();
    append(&mut store);
    store.close().unwrap();
    let (mut store, found) = world.open();
    assert!(!found.same_boot, "nor does what was written behind it");
    store.settle_tail().unwrap();
    drop(store);
    let (mut store, found) = world.open();
    assert!(found.same_boot, "it was said that nothing is missing");
    append(&mut store);
    store.close().unwrap();
    world.options.boot = "fourth".into();
    let (mut store, found) = world.open();
    assert!(found.same_boot, "an orderly end loses nothing");
    assert!(inspect(&world.disk, &world.dir, false).unwrap().stores[0].closed);
    append(&mut store);
    world.disk.crash(0);
    world.options.boot = "fifth".into();
    assert!(!world.open().1.same_boot, "what followed the orderly end may be lost");
}

#[test]
#[should_panic(expected = "(R8)")]
fn a_hole_is_never_appended() {
    let world = World::new();
    let (mut store, _) = world.open();
    store.append(&entries(1..=3, 1, 1)).unwrap();
    let _ = store.append(&entries(5..=6, 1, 1));
}

#[test]
fn a_segment_takes_the_space_of_one_that_is_not_needed_any_more() {
    let mut world = World::new();
    world.options.recent_bytes = 0;
    let (mut store, _) = world.open();
    let mut background = store.background();
    let spare = world.store_dir(world.options.fresh).join(format!("{SPARE}-0.tmp"));
    let all = entries(1..=1_200, 1, 1);
    let (mut taken, mut before) = (0, 0);
    for batch in all.chunks(10) {
        store.append(batch).unwrap();
        store.sync().unwrap();
        store.set_held(batch[9].last());
        while background.run_once().unwrap() != Work::Nothing {
            // Nothing is written ahead but into a spare's blocks.
            let now = world.spares().len();
            taken += usize::from(now < before);
            before = now;
        }
    }
    assert!(taken > 3, "a spare was taken {taken} times");
    drop(store);
    // Whatever is in it counts for nothing.
    world.disk.put(&spare, b"rubbish".to_vec());
    same(&world.open().1.state, &state_of(&all));
    assert_eq!(world.spares(), [] as [std::path::PathBuf; 0]);
}
