//! Copies of the partner's database (R25): the old store or the whole copy, never anything between.

use lockstep_core::encoded_entries::EncodedEntries;
use lockstep_core::ids::{Number, SessionId, StoreId};
use lockstep_core::sessions::{KeyedReply, Session};
use lockstep_core::state::State;
use lockstep_core::tables::WalkCursor;
use lockstep_store::disk::Disk;
use lockstep_store::{Background, Recovered, Store, StoreError, inspect};

use crate::world::{World, entries, only, same, state_of};

const OLD: StoreId = StoreId(1 << 100 | 1);
const NEW: StoreId = StoreId(1 << 100 | 2);
/// The partner has so many entries when the copy begins.
const BEGIN: u64 = 150;
/// And so many when it ends.
const END: u64 = 210;
const AFTER: u64 = 300;

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// The old store alone.
    Before,
    /// Not yet whole.
    Half,
    /// Its end is under way.
    Ending,
    /// Whole; the record may name it from here on.
    Whole,
    /// It is being put in force.
    Keeping,
    /// In force.
    Kept,
}

struct Copying {
    world: World,
    old: State,
    /// What the partner does: everything that the copy may hold.
    partner: Vec<EncodedEntries>,
    stage: Stage,
    /// Of the copy, this is durable.
    synced: u64,
    appended: u64,
}

type AllSessions = (Vec<(SessionId, Session)>, Vec<(String, KeyedReply)>);

fn sessions(state: &State) -> AllSessions {
    let sessions = state.sessions.iter().map(|(id, session)| (id, session.clone())).collect();
    (sessions, state.sessions.keyed().map(|(key, reply)| (key.to_owned(), reply.clone())).collect())
}

impl Copying {
    /// An old store with something in it, of another past than the partner's.
    fn new() -> Self {
        let mut world = World::new();
        (world.options.segment_bytes, world.options.recent_bytes) = (4 << 10, 6 << 10);
        let (mut store, _) = world.open();
        let mut background = store.background();
        let all = entries(1..=120, 1, 1);
        for batch in all.chunks(20) {
            store.append(batch).unwrap();
            store.sync().unwrap();
        }
        store.set_held(Number(60));
        background.run_all().unwrap();
        let (stage, partner) = (Stage::Before, entries(1..=AFTER, 4, 4));
        Copying { world, old: state_of(&all), partner, stage, synced: 0, appended: 0 }
    }

    /// All of a copy, from its begin to work as the store in force.
    fn run(&mut self) -> Result<(Store, Background), StoreError> {
        let (mut store, found) = self.world.try_open()?;
        same(&found.state, &self.old);
        let mut background = store.background();
        background.run_once()?;
        let mut state = state_of(&self.partner[..BEGIN as usize]);
        self.stage = Stage::Half;
        store.copy_begin(NEW, &state.meta)?;
        assert_eq!((store.id(), store.last()), (NEW, None));
        // Rows are read while the partner goes on.
        let (mut cursor, mut at) = (WalkCursor::default(), BEGIN as usize);
        loop {
            let rows = state.tables.walk(&mut cursor, 7);
            let done = rows.is_empty();
            store.copy_rows(&rows)?;
            let upto = if done { END as usize } else { (at + 4).min(END as usize) };
            store.append(&self.partner[at..upto])?;
            self.partner[at..upto].iter().for_each(|entry| drop(state.apply(only(entry))));
            at = upto;
            background.run_once()?;
            if done {
                break;
            }
        }
        assert_eq!(store.copy_kept().unwrap_err().code(), "LS0509", "half a copy is never kept");
        self.stage = Stage::Ending;
        let (sessions, keyed) = sessions(&state);
        store.copy_end(&sessions, &keyed, &state.meta)?;
        (self.stage, self.synced, self.appended) = (Stage::Whole, END, END);
        self.append(&mut store, 12)?;
        background.run_once()?;
        self.append(&mut store, 30)?;
        self.stage = Stage::Keeping;
        store.copy_kept()?;
        self.stage = Stage::Kept;
        self.append(&mut store, 40)?;
        store.set_held(Number(self.synced - 20));
        background.run_all()?;
        self.append(&mut store, 8)?;
        assert_eq!(store.last(), Some(Number(AFTER)));
        Ok((store, background))
    }

    fn append(&mut self, store: &mut Store, count: u64) -> Result<(), StoreError> {
        let from = self.appended;
        self.appended += count;
        store.append(&self.partner[from as usize..self.appended as usize])?;
        store.sync()?;
        self.synced = self.appended;
        Ok(())
    }

    /// The copy is what was opened, with all that was synced.
    #[track_caller]
    fn is_copy(&self, found: &Recovered) {
        assert!(found.trusted && found.warning.is_none(), "{:?}", found.warning);
        assert_eq!(found.store, NEW, "{:?}", self.stage);
        let last = found.state.meta.last.0;
        assert!((self.synced.max(END)..=self.appended.max(END)).contains(&last), "{last} is the last");
        same(&found.state, &state_of(&self.partner[..last as usize]));
    }

    #[track_caller]
    fn is_old(&self, found: &Recovered) {
        assert!(found.trusted && found.warning.is_none(), "{:?}", found.warning);
        assert_eq!(found.store, OLD, "{:?}", self.stage);
        same(&found.state, &self.old);
    }

    /// A fork of the disk is opened, the arbiter's record naming these stores.
    fn opened(&self, recorded: Option<Vec<StoreId>>) -> (World, Recovered) {
        let mut options = self.world.options.clone();
        (options.fresh, options.recorded) = (StoreId(99), recorded);
        let world = World { disk: self.world.disk.fork(), dir: self.world.dir.clone(), options };
        let (_, found) = world.open();
        (world, found)
    }
}

/// The stores that have a directory.
fn stores(world: &World) -> usize {
    let names = world.disk.list(&world.dir).unwrap();
    names.iter().filter(|name| name.starts_with("store-")).count()
}

#[test]
fn a_copy_takes_the_old_stores_place() {
    let mut copying = Copying::new();
    let (store, _) = copying.run().unwrap();
    assert_eq!(stores(&copying.world), 1, "the old store goes when the new one is recorded");
    assert!(inspect(&copying.world.disk, &copying.world.dir, false).unwrap().stores[0].checkpoint.0 > END);
    drop(store);
    copying.world.disk.crash(3);
    copying.is_copy(&copying.opened(None).1);
}

#[test]
fn a_crash_at_any_operation_of_a_copy_leaves_the_old_store_or_the_whole_copy() {
    let mut whole = Copying::new();
    let begin = whole.world.disk.changes();
    whole.run().unwrap();
    let mut seen = Vec::new();
    for cut in begin..whole.world.disk.changes() {
        let mut copying = Copying::new();
        copying.world.disk.cut_after(cut);
        copying.run().expect_err("the power is off");
        copying.world.disk.crash(cut);
        seen.push(copying.stage);
        let nobody = copying.opened(None).1;
        let (world_of_new, new) = copying.opened(Some(vec![StoreId(5), NEW]));
        match copying.stage {
            Stage::Before | Stage::Half => {
                let (world, old) = copying.opened(Some(vec![OLD]));
                copying.is_old(&nobody);
                copying.is_old(&old);
                assert_eq!(stores(&world), 1, "half a copy goes at the next start");
                // Nobody may record it; if somebody did it would still not be opened.
                copying.is_old(&new);
            }
            Stage::Ending => {
                copying.is_old(&nobody);
                // Its end may be durable though nobody was told.
                if new.store == NEW { copying.is_copy(&new) } else { copying.is_old(&new) }
            }
            Stage::Whole => {
                copying.is_old(&nobody);
                copying.is_old(&copying.opened(Some(vec![OLD])).1);
                copying.is_copy(&new);
            }
            Stage::Keeping => {
                if nobody.store == NEW {
                    copying.is_copy(&nobody)
                } else {
                    copying.is_old(&nobody)
                }
                copying.is_copy(&new);
            }
            Stage::Kept => {
                copying.is_copy(&nobody);
                copying.is_copy(&new);
            }
        }
        if copying.stage >= Stage::Whole {
            assert_eq!(stores(&world_of_new), 1, "the record has chosen: the other one goes");
        }
    }
    seen.dedup();
    use Stage::*;
    assert_eq!(seen, [Before, Half, Ending, Whole, Keeping, Kept]);
}

#[test]
fn a_whole_copy_stays_while_the_record_is_not_known() {
    let mut copying = Copying::new();
    let (mut store, _) = copying.world.open();
    let state = state_of(&copying.partner[..END as usize]);
    store.copy_begin(NEW, &state.meta).unwrap();
    store.copy_rows(&state.tables.walk(&mut WalkCursor::default(), usize::MAX)).unwrap();
    let (sessions, keyed) = sessions(&state);
    store.copy_end(&sessions, &keyed, &state.meta).unwrap();
    copying.world.disk.crash(1);
    let (store, found) = copying.world.open();
    copying.is_old(&found);
    drop(store);
    assert_eq!(stores(&copying.world), 2);
    // Nobody knows which of two is recorded, so neither goes; once it is known, the other one does.
    copying.world.options.recorded = Some(vec![NEW]);
    let (store, found) = copying.world.open();
    copying.is_copy(&found);
    drop(store);
    assert_eq!(stores(&copying.world), 1);
    copying.world.options.recorded = None;
    copying.is_copy(&copying.world.open().1);
}

#[test]
fn a_copy_that_is_dropped_leaves_the_old_store_at_work() {
    for ended in [false, true] {
        let copying = Copying::new();
        let (mut store, _) = copying.world.open();
        let state = state_of(&copying.partner[..END as usize]);
        store.copy_begin(NEW, &state.meta).unwrap();
        if ended {
            store.copy_end(&[], &[], &state.meta).unwrap();
            store.append(&copying.partner[END as usize..]).unwrap();
        }
        store.copy_dropped().unwrap();
        store.copy_dropped().unwrap();
        assert_eq!((store.id(), store.last(), stores(&copying.world)), (OLD, Some(Number(120)), 1));
        store.append(&entries(121..=140, 2, 2)).unwrap();
        store.sync().unwrap();
        copying.world.disk.crash(5);
        let all = [entries(1..=120, 1, 1), entries(121..=140, 2, 2)].concat();
        same(&copying.world.open().1.state, &state_of(&all));
    }
}

#[test]
fn a_second_copy_takes_the_place_of_the_first() {
    let copying = Copying::new();
    let (mut store, _) = copying.world.open();
    let state = state_of(&copying.partner[..20]);
    assert_eq!(store.copy_begin(OLD, &state.meta).unwrap_err().code(), "LS0509", "an id is used once (R2)");
    store.copy_begin(StoreId(50), &state.meta).unwrap();
    store.copy_rows(&state.tables.walk(&mut WalkCursor::default(), usize::MAX)).unwrap();
    store.copy_begin(NEW, &state.meta).unwrap();
    assert_eq!((store.id(), stores(&copying.world)), (NEW, 2));
    assert_eq!(store.copy_end(&[], &[], &state.meta).map_err(|error| error.code()), Ok(()));
    assert_eq!(store.copy_rows(&[]).unwrap_err().code(), "LS0509");
    store.copy_kept().unwrap();
    assert_eq!(store.copy_kept().unwrap_err().code(), "LS0509");
    assert_eq!(store.cut_back(Number(10)).unwrap_err().code(), "LS0506", "a copy can't be cut (R24)");
}

#[test]
fn a_copy_that_fails_costs_the_old_store_nothing() {
    for ended in [false, true] {
        let copying = Copying::new();
        let (mut store, _) = copying.world.open();
        let state = state_of(&copying.partner[..END as usize]);
        store.copy_begin(NEW, &state.meta).unwrap();
        if ended {
            store.copy_end(&[], &[], &state.meta).unwrap();
        }
        store.append(&copying.partner[END as usize..]).unwrap();
        copying.world.disk.fail_syncs(true);
        store.sync().unwrap_err();
        copying.world.disk.fail_syncs(false);
        assert!(store.copy_kept().is_err(), "what failed is never put in force");
        assert!(store.append(&entries(AFTER + 1..=AFTER + 1, 4, 4)).is_err());
        store.copy_dropped().unwrap();
        store.append(&entries(121..=121, 2, 2)).unwrap();
        store.sync().unwrap();
        assert_eq!((store.id(), stores(&copying.world)), (OLD, 1));
    }
}

#[test]
fn a_copy_holds_nothing_in_its_checkpoint_before_it_is_whole() {
    let copying = Copying::new();
    let (mut store, _) = copying.world.open();
    let mut background = store.background();
    let state = state_of(&copying.partner[..END as usize]);
    store.copy_begin(NEW, &state.meta).unwrap();
    for _ in 0..40 {
        store.copy_rows(&state.tables.walk(&mut WalkCursor::default(), usize::MAX)).unwrap();
        store.set_held(Number(u64::MAX));
        background.run_all().unwrap();
    }
    assert!(copying.world.segments(NEW).len() > 5);
    let checkpoint = copying.world.store_dir(NEW).join("checkpoint.redb");
    assert!(!copying.world.disk.files().contains(&checkpoint));
    let (sessions, keyed) = sessions(&state);
    store.copy_end(&sessions, &keyed, &state.meta).unwrap();
    background.run_all().unwrap();
    assert!(!copying.world.disk.files().contains(&checkpoint), "nor before its end is held (R24)");
    store.set_held(Number(END));
    background.run_all().unwrap();
    assert!(copying.world.disk.files().contains(&checkpoint));
    store.copy_kept().unwrap();
    copying.world.disk.crash(9);
    same(&copying.world.open().1.state, &state);
}
