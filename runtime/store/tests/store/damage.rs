//! Bits that flip, files that are cut short, disks that fail: found and said, never taken for the database (R26).

use std::path::{Path, PathBuf};

use lockstep_core::encoded_entries::EncodedEntries;
use lockstep_core::entry::{EntryBody, Op};
use lockstep_core::ids::{Number, StoreId};
use lockstep_core::state::State;
use lockstep_store::disk::Disk;
use lockstep_store::sim_disk::SimDisk;
use lockstep_store::{Store, StoreError, inspect, verify};

use crate::driver::{Driver, Step};
use crate::world::{SPARE, World, end_of, entries, only, same, state_of, table};

const OLD: StoreId = StoreId(1 << 100 | 1);

/// A store with a checkpoint, covered and uncovered segments, all of it synced, and what it holds.
fn built(orderly: bool) -> (World, State) {
    let mut world = World::new();
    world.options.boot = "a boot".into();
    let (mut store, _) = world.open();
    let mut background = store.background();
    let mut all = entries(1..=500, 1, 1);
    // The last record has sectors that are zero by themselves.
    let mut last = only(&all[499]);
    let EntryBody::Procedure { ops, .. } = &mut last.body else { panic!() };
    ops.push(Op { table: table(0), key: [1].into(), value: Some(vec![0; 2_000].into()) });
    all[499] = EncodedEntries::from(&last);
    for batch in all.chunks(7) {
        store.append(batch).unwrap();
        store.sync().unwrap();
    }
    store.set_held(Number(350));
    background.run_all().unwrap();
    if orderly {
        store.close().unwrap();
    }
    world.disk.kill();
    (world, state_of(&all))
}

/// The same files on a disk of their own.
fn forked(world: &World) -> World {
    let (dir, mut options) = (world.dir.clone(), world.options.clone());
    options.fresh = StoreId(99);
    World { disk: world.disk.fork(), dir, options }
}

/// Says what it is, and what to do about it.
#[track_caller]
fn readable(error: &StoreError) {
    let text = error.to_string();
    assert!(error.code().starts_with("LS05") && text.starts_with(error.code()), "{text}");
    let next = ["copy", "check the disk", "use the program that wrote it", "record does"];
    assert!(next.iter().any(|next| text.contains(next)), "no next step in: {text}");
}

/// What became of a store with changed files.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// The change is of no consequence.
    Whole,
    /// Only a copy helps.
    Untrusted,
    /// `current` leads nowhere.
    Lost,
}

/// Opens a store with changed files: it holds everything, or says that it can't be relied on, now and later.
#[track_caller]
fn opened(world: &World, expected: &State) -> Fate {
    let looked = verify(&world.disk, &world.dir, false);
    let (mut store, found) = world.open();
    if found.trusted && !found.fresh {
        same(&found.state, expected);
        assert!(found.warning.is_none());
        return Fate::Whole;
    }
    readable(found.warning.as_ref().expect("somebody is told"));
    readable(
        &looked.err().filter(|error| error.code() != "LS0508").unwrap_or_else(|| found.warning.unwrap()),
    );
    assert_eq!(found.state.meta.last, Number(0), "nothing is given out that can't be relied on");
    if found.fresh {
        assert_eq!((found.store, store.last()), (StoreId(99), Some(Number(0))));
        assert!(world.store_dir(OLD).starts_with(&world.dir));
        assert!(!world.segments(OLD).is_empty(), "somebody may want to look at it");
        return Fate::Lost;
    }
    assert_eq!((found.store, store.last()), (OLD, None));
    let error = store.append(&entries(501..=502, 1, 1)).unwrap_err();
    assert_eq!(error.code(), "LS0504");
    drop(store);
    world.disk.crash(1);
    let (store, found) = world.open();
    assert!(!found.trusted, "once bad, always bad");
    readable(found.warning.as_ref().unwrap());
    drop(store);
    Fate::Untrusted
}

/// The way back (R26): a copy with a new id.
fn becomes_a_copy(world: &World, mut store: Store) {
    let all = entries(1..=20, 3, 3);
    let state = state_of(&all);
    store.copy_begin(StoreId(77), &state.meta).unwrap();
    let rows = state.tables.walk(&mut Default::default(), usize::MAX);
    store.copy_rows(&rows).unwrap();
    let sessions: Vec<_> = state.sessions.iter().map(|(id, session)| (id, session.clone())).collect();
    let keyed: Vec<_> = state.sessions.keyed().map(|(key, reply)| (key.to_owned(), reply.clone())).collect();
    store.copy_end(&sessions, &keyed, &state.meta).unwrap();
    store.copy_kept().unwrap();
    world.disk.crash(2);
    let (store, found) = world.open();
    assert!(found.trusted && found.warning.is_none());
    assert_eq!(store.id(), StoreId(77));
    same(&found.state, &state);
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// The files of a built store: each kind by its name, and of the segments the first that counts, one in the middle,
/// the one with the last record.
fn files(world: &World) -> Vec<PathBuf> {
    let mut files = world.disk.files();
    // A start removes spares, whatever is in them.
    files.retain(|path| {
        !name(path).starts_with(SPARE) && (!name(path).starts_with("redo-") || end_of(&world.disk, path) > 64)
    });
    files
}

#[test]
fn a_flipped_bit_is_found_in_every_file() {
    let (world, expected) = built(false);
    let checkpoint = inspect(&world.disk, &world.dir, false).unwrap().stores[0].checkpoint;
    assert!(checkpoint > Number(200));
    let mut untrusted_by_redo = 0;
    for path in files(&world) {
        let bytes = world.disk.content(&path).len() as u64;
        let end = end_of(&world.disk, &path) as u64;
        let redo = name(&path).starts_with("redo-");
        let step = match name(&path) {
            "checkpoint.redb" => 32_749,
            _ if redo => 2_039,
            _ => 1,
        };
        let mut fates = Vec::new();
        let sampled = (0..bytes * 8).step_by(step);
        let headers = (0..128 * 8).filter(|_| step > 1).step_by(5);
        for bit in headers.chain(sampled) {
            let world = forked(&world);
            world.disk.flip(&path, bit);
            let fate = opened(&world, &expected);
            if redo && bit / 8 < end.saturating_sub(64) && !(56..64).contains(&(bit / 8)) {
                // Every byte of a redo file counts, but for its header's rest and the zeros behind a record.
                untrusted_by_redo += usize::from(fate == Fate::Untrusted);
            }
            fates.push(fate);
        }
        match name(&path) {
            "current" => assert!(fates.contains(&Fate::Lost) && !fates.contains(&Fate::Untrusted)),
            "store" => assert!(fates.contains(&Fate::Untrusted)),
            "written" => assert!(fates.iter().all(|fate| *fate == Fate::Whole)),
            "checkpoint.redb" => assert!(fates.contains(&Fate::Untrusted)),
            _ => assert!(redo && fates.contains(&Fate::Untrusted), "{}", path.display()),
        }
    }
    assert!(untrusted_by_redo > 300);
}

#[test]
fn zeros_in_the_last_record_do_not_make_it_a_torn_one() {
    let (world, expected) = built(false);
    let path = files(&world).into_iter().rfind(|path| name(path).starts_with("redo-")).unwrap();
    let end = end_of(&world.disk, &path);
    // The zeros and the end mark.
    for byte in (end - 2_001..end).rev().step_by(5) {
        let world = forked(&world);
        world.disk.flip(&path, byte as u64 * 8 + 3);
        assert_eq!(opened(&world, &expected), Fate::Untrusted, "byte {byte} of {end}");
    }
}

#[test]
fn a_file_cut_short_is_found() {
    for orderly in [false, true] {
        let (world, expected) = built(orderly);
        for path in files(&world) {
            let content = world.disk.content(&path);
            let redo = name(&path).starts_with("redo-");
            let end = end_of(&world.disk, &path);
            let mut lengths = vec![0, 1, content.len() / 2, content.len() - 1];
            if content.len() > 128 {
                lengths.extend([63, 64, 127, 128, 4_096, end - 1, end]);
            }
            for length in lengths.into_iter().filter(|length| *length < content.len()) {
                let world = forked(&world);
                world.disk.put(&path, content[..length].to_vec());
                let fate = opened(&world, &expected);
                if redo {
                    assert_eq!(fate, Fate::Untrusted, "{} of {length} bytes", path.display());
                }
            }
        }
    }
}

#[test]
fn a_file_that_is_gone_is_missed() {
    let (world, expected) = built(false);
    let segments = world.segments(OLD);
    let covered = inspect(&world.disk, &world.dir, false).unwrap().stores[0].checkpoint;
    let mut missed = 0;
    for path in files(&world) {
        let world = forked(&world);
        Disk::remove(&world.disk, &path).unwrap();
        let fate = opened(&world, &expected);
        if fate == Fate::Untrusted {
            becomes_a_copy(&world, world.open().0);
        }
        if segments.contains(&path) {
            missed += usize::from(fate == Fate::Untrusted);
        } else if name(&path) == "checkpoint.redb" {
            assert_eq!(fate, Fate::Untrusted, "the log alone does not begin at 1 (checkpoint {covered})");
        }
    }
    assert!(missed > 3);
}

#[test]
fn hostile_lengths_take_no_memory() {
    let (world, _) = built(false);
    let path = world.segments(OLD)[0].clone();
    // A header that would be good, but for the length that it claims, and the file's own.
    let content = world.disk.content(&path);
    for length in [u64::MAX, 1 << 60, 6 << 30] {
        let world = forked(&world);
        let mut changed = content.clone();
        changed[40..48].copy_from_slice(&length.to_le_bytes());
        let checksum = xxhash_rust::xxh3::xxh3_64(&changed[..48]);
        changed[48..56].copy_from_slice(&checksum.to_le_bytes());
        world.disk.put(&path, changed);
        let (_, found) = world.open();
        assert!(!found.trusted);
        readable(&found.warning.unwrap());
    }
}

#[test]
fn damage_of_a_store_that_is_not_in_force_hinders_nobody() {
    let (world, expected) = built(false);
    let state = state_of(&entries(1..=20, 3, 3));
    let (mut store, _) = world.open();
    store.copy_begin(StoreId(77), &state.meta).unwrap();
    store.copy_end(&[], &[], &state.meta).unwrap();
    world.disk.kill();
    let identity = world.store_dir(StoreId(77)).join("store");
    for bit in [3, 130, 200] {
        let world = forked(&world);
        world.disk.flip(&identity, bit);
        assert_eq!(opened(&world, &expected), Fate::Whole);
    }
}

/// Syncs fail in the store's own thread.
fn sync_fails(disk: &SimDisk, store: &mut Store, more: &[EncodedEntries]) {
    store.append(more).unwrap();
    disk.fail_syncs(true);
    assert_eq!(store.sync().unwrap_err().code(), "LS0501");
    disk.fail_syncs(false);
}

#[test]
fn after_a_failed_sync_only_a_copy_is_trusted() {
    for crash in [false, true] {
        let world = World::new();
        let (mut store, _) = world.open();
        let all = entries(1..=60, 1, 1);
        store.append(&all[..20]).unwrap();
        store.sync().unwrap();
        sync_fails(&world.disk, &mut store, &all[20..40]);
        // The operating system would say yes now; what it lost stays lost.
        assert_eq!(store.sync().unwrap_err().code(), "LS0502");
        assert_eq!(store.append(&all[40..]).unwrap_err().code(), "LS0502");
        assert_eq!(store.close().unwrap_err().code(), "LS0502");
        if crash {
            // The mark could not be synced either. What comes back was synced, or is no more.
            world.disk.crash(8);
            let (_, found) = world.open();
            same(&found.state, &state_of(&all[..20]));
            continue;
        }
        world.disk.kill();
        let (store, found) = world.open();
        assert!(!found.trusted, "what can be read is not on the disk");
        readable(&found.warning.unwrap());
        becomes_a_copy(&world, store);
    }
}

#[test]
fn a_sync_that_fails_beside_the_store_ends_it_too() {
    for restart in [false, true] {
        let mut world = World::new();
        world.options.segment_bytes = 4 << 10;
        let (mut store, _) = world.open();
        let mut background = store.background();
        let all = entries(1..=100, 1, 1);
        all[..60].chunks(20).for_each(|batch| store.append(batch).unwrap());
        while background.run_once().is_ok_and(|work| work != lockstep_store::Work::Nothing) {}
        all[60..90].chunks(10).for_each(|batch| store.append(batch).unwrap());
        world.disk.fail_syncs(true);
        // Segments ahead can be tried again; a sealed one that can't be synced is the end.
        let error = (0..3).find_map(|_| background.run_once().err().filter(|_| store.sync().is_err()));
        assert!(error.is_some_and(|error| error.code() == "LS0501"));
        world.disk.fail_syncs(false);
        if !restart {
            assert_eq!(store.append(&all[90..]).unwrap_err().code(), "LS0502");
        }
        world.disk.kill();
        assert!(!world.open().1.trusted);
    }
}

#[test]
fn a_checkpoint_that_cannot_be_synced_ends_the_store() {
    let (world, _) = built(false);
    let (mut store, found) = world.open();
    let mut background = store.background();
    background.run_all().unwrap();
    store.append(&entries(501..=530, 2, 2)).unwrap();
    store.sync().unwrap();
    assert!(found.trusted);
    store.set_held(Number(500));
    world.disk.fail_syncs(true);
    assert!(background.checkpoint_due());
    let error = background.run_all().unwrap_err();
    assert_eq!(error.code(), "LS0501", "{error}");
    world.disk.fail_syncs(false);
    assert_eq!(store.sync().unwrap_err().code(), "LS0502");
    world.disk.kill();
    assert!(
        !world.open().1.trusted,
        "the next transaction would stand on pages that are not on the disk (R26)"
    );
}

#[test]
fn after_any_one_failed_sync_nothing_is_called_durable_that_is_not() {
    use Step::*;
    let mut life =
        vec![Append(9), Sync, Append(30), Sync, Held(3), Work, Append(20), Cut(4), Append(30), Sync];
    life.extend([
        Held(9),
        Work,
        Append(50),
        Work,
        Append(30),
        Work,
        Sync,
        Held(0),
        Work,
        Append(7),
        Kill,
        Append(9),
        Sync,
    ]);
    let driver = || {
        let mut world = World::new();
        (world.options.segment_bytes, world.options.recent_bytes) = (4 << 10, 6 << 10);
        Driver::new(world, false)
    };
    let mut whole = driver();
    whole.run(&life).unwrap();
    let (mut untrusted, mut goes_on) = (0, 0);
    for sync in 0..whole.world.disk.syncs() {
        let mut driver = driver();
        driver.world.disk.fail_sync(sync);
        let error = driver.run(&life).expect_err("the sync fails");
        readable(&error);
        driver.store = None;
        driver.world.disk.kill();
        driver.may_be_untrusted = true;
        driver.open().unwrap();
        if driver.store.is_none() {
            untrusted += 1;
            continue;
        }
        goes_on += 1;
        driver.run(&[Append(5), Sync, Append(3), Held(0), Work, Work]).unwrap();
        driver.crash(sync * 4);
        driver.may_be_untrusted = false;
        driver.open().unwrap();
    }
    assert!(untrusted > 10 && goes_on > 5, "{untrusted} are not trusted, {goes_on} go on");
}

#[test]
fn a_full_disk_loses_nothing_and_is_no_reason_for_a_copy() {
    let mut world = World::new();
    world.options.segment_bytes = 4 << 10;
    let (mut store, _) = world.open();
    let all = entries(1..=300, 1, 1);
    world.disk.limit_space(Some(30 << 10));
    let mut taken = 0;
    let error = all.chunks(10).find_map(|batch| {
        let done = store.append(batch).and_then(|()| store.sync());
        taken += usize::from(done.is_ok()) * 10;
        done.err()
    });
    let error = error.expect("it is full");
    assert!(error.to_string().contains("make room on the disk"), "{error}");
    assert!(taken > 50);
    assert_eq!(store.sync().unwrap_err().code(), "LS0502");
    drop(store);
    world.disk.kill();
    world.disk.limit_space(None);
    let (mut store, found) = world.open();
    assert!(found.trusted && found.warning.is_none());
    same(&found.state, &state_of(&all[..taken]));
    store.append(&all[taken..]).unwrap();
}

#[test]
fn another_layout_is_refused_and_left_alone() {
    let (world, expected) = built(true);
    let path = world.store_dir(OLD).join("store");
    let ours = world.disk.content(&path);
    // The one before rows stood under their hashes.
    let text = format!("lockstep-store 1 {OLD}");
    let line = format!("{text} {:016x}\n", xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
    world.disk.put(&path, line.into_bytes());
    let error = world.try_open().unwrap_err();
    assert_eq!(error.code(), "LS0510");
    readable(&error);
    world.disk.put(&path, ours);
    assert_eq!(opened(&world, &expected), Fate::Whole);
}

#[test]
fn a_disk_without_room_for_a_segment_is_checkpointed_all_the_same() {
    let mut world = World::new();
    world.options.recent_bytes = 0;
    let (mut store, _) = world.open();
    let mut background = store.background();
    let all = entries(1..=600, 1, 1);
    all[..300].chunks(10).for_each(|batch| store.append(batch).unwrap());
    store.sync().unwrap();
    store.set_held(Number(100));
    background.run_all().unwrap();
    all[300..].chunks(10).for_each(|batch| store.append(batch).unwrap());
    store.sync().unwrap();
    store.set_held(Number(600));
    let before = world.segments(OLD).len();
    // Without them there is no room for the next segment until a checkpoint has made some.
    world.spares().iter().for_each(|spare| Disk::remove(&world.disk, spare).unwrap());
    world.disk.limit_space(Some(4 << 10));
    background.run_all().unwrap();
    assert!(world.segments(OLD).len() < before / 2, "covered segments have made room");
    // Over the end of the segment, into one that has taken the space of an old one.
    for batch in entries(601..=640, 1, 1).chunks(4) {
        store.append(batch).unwrap();
        store.set_held(batch[3].last());
        background.run_all().unwrap();
    }
}

#[test]
fn rows_that_the_engine_lost_are_missed() {
    use redb::{ReadableDatabase as _, ReadableTable as _};
    const ROWS: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("rows");
    let (world, _) = built(false);
    let path = world.store_dir(OLD).join("checkpoint.redb");
    let file = tempfile::NamedTempFile::new().unwrap();
    // Each whole by the engine's own checksums: a row lost, one changed, two that swapped their places, one in a place of its
    // own, one there twice.
    for change in 0..5 {
        std::fs::write(file.path(), world.disk.content(&path)).unwrap();
        let database = redb::Database::open(file.path()).unwrap();
        let rows: Vec<(u64, Vec<u8>)> = {
            let table = database.begin_read().unwrap().open_table(ROWS).unwrap();
            let rows = table.iter().unwrap().map(Result::unwrap);
            rows.take(2).map(|(hash, row)| (hash.value(), row.value().to_vec())).collect()
        };
        let [(first, one), (second, other)] = &rows[..] else { panic!() };
        assert_ne!(one, other);
        let mut changed = one.clone();
        *changed.last_mut().unwrap() ^= 1;
        let writing = database.begin_write().unwrap();
        {
            let mut table = writing.open_table(ROWS).unwrap();
            match change {
                0 => drop(table.remove(first).unwrap()),
                1 => drop(table.insert(first, &changed[..]).unwrap()),
                2 => {
                    table.insert(first, &other[..]).unwrap();
                    table.insert(second, &one[..]).unwrap();
                }
                3 => {
                    table.remove(first).unwrap();
                    table.insert(first + 1, &one[..]).unwrap();
                }
                _ => drop(table.insert(first + 1, &one[..]).unwrap()),
            }
        }
        writing.commit().unwrap();
        drop(database);
        let world = forked(&world);
        world.disk.put(&path, std::fs::read(file.path()).unwrap());
        let (_, found) = world.open();
        assert!(!found.trusted, "change {change}");
        readable(&found.warning.unwrap());
    }
}
