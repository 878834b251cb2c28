//! A processor's disk in the world: entries alone, or beside them the real store over a disk in memory.
//!
//! With the real store every append, sync, cut, copy and checkpoint is that of `runtime/store`, over its
//! [`sim_disk`](lockstep_store::sim_disk), which loses and tears what was not synced. A restart is the real recovery.
//! The entries beside it say what it has to find: each restart checks that nothing is missing that was durable (R8,
//! R26), that nothing counts that was never appended or was cut off (R24), and that the rows are those of these entries.
//!
//! Deliberately absent: threads. Background work is done a piece at a time, at moments that the seed chooses, and a
//! power loss may come in the middle of one.

use std::path::Path;
use std::sync::Arc;

use lockstep_core::encoded_entries::EncodedEntries;
use lockstep_core::entry::{Entry, Row};
use lockstep_core::ids::{Number, SessionId, StoreId};
use lockstep_core::sessions::{KeyedReply, Session};
use lockstep_core::state::{Meta, State};
use lockstep_store::sim_disk::SimDisk as Bytes;
use lockstep_store::{Background, Options, Store, StoreError, Work};

use crate::disk::{Recovered, SimDisk, Sync};
use crate::random::Random;

const DIR: &str = "/data/ledger/0";
/// A power loss in the midst of something comes before so many changes of the disk.
const CHANGES_MAX: u64 = 40;

/// The real store and what it lies on.
#[derive(Debug)]
struct Real {
    bytes: Bytes,
    /// While its process runs.
    open: Option<(Store, Background)>,
    random: Random,
    boot: u64,
    recent_bytes: usize,
    checkpoints: u64,
    /// There is no room on it.
    full: bool,
}

/// What a restart has to say beside what it found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    /// Something that was appended and not synced is lost.
    pub lost: bool,
    /// So many checkpoints were made by the process before.
    pub checkpoints: u64,
}

/// A processor's disk.
#[derive(Debug)]
pub(crate) struct NodeDisk {
    entries: SimDisk,
    real: Option<Real>,
    told: Told,
}

#[track_caller]
fn done<T>(what: &str, result: Result<T, StoreError>) -> T {
    result.unwrap_or_else(|error| panic!("the real store can't {what}: {error}"))
}

impl Real {
    /// The store of the process that runs; `None` on a disk that failed, where nothing is written any more.
    fn store(&mut self, failed: bool) -> Option<&mut Store> {
        self.open.as_mut().filter(|_| !failed).map(|(store, _)| store)
    }

    fn work(&mut self) {
        let Some((_, background)) = &mut self.open else { return };
        match background.run_once() {
            // It is done again once there is room; nothing is lost meanwhile.
            Err(_) if self.full => {}
            worked => {
                let worked = done("do its background work", worked);
                self.checkpoints += u64::from(matches!(worked, Work::Checkpointed { .. }));
            }
        }
    }

    /// The power goes, perhaps in the middle of something.
    fn lose_power(&mut self) {
        if let Some((store, background)) = &mut self.open {
            self.bytes.cut_after(self.bytes.changes() + self.random.within(0, CHANGES_MAX));
            // Whether they come to their end is left to chance, so what they return says nothing.
            match self.random.within(0, 4) {
                0 => drop(store.sync()),
                1 | 2 => (0..4).for_each(|_| drop(background.run_once())),
                _ => {}
            }
        }
        self.open = None;
        self.bytes.crash(self.random.draw());
        self.boot += 1;
    }
}

impl NodeDisk {
    /// A disk with `entries`, and with the real store if `real` says with which seed. That keeps the latest
    /// `recent_bytes` bytes of entries.
    pub fn new(entries: SimDisk, real: Option<u64>, recent_bytes: usize) -> Self {
        let real = real.map(|seed| Real {
            bytes: Bytes::new(),
            open: None,
            random: Random::new(seed),
            boot: 1,
            recent_bytes,
            checkpoints: 0,
            full: false,
        });
        NodeDisk { entries, real, told: Told::default() }
    }

    /// What the last restart had to say.
    pub fn take_told(&mut self) -> Told {
        std::mem::take(&mut self.told)
    }

    fn store(&mut self) -> Option<&mut Store> {
        let failed = self.entries.has_failed();
        self.real.as_mut()?.store(failed)
    }

    /// See [`SimDisk::rest_on_syncs`].
    pub fn rest_on_syncs(&mut self, on: bool) {
        self.entries.rest_on_syncs(on);
    }

    /// See [`SimDisk::settle_tail`].
    pub fn settle_tail(&mut self) {
        if self.takes("settle its tail", Store::settle_tail) {
            self.entries.settle_tail();
        }
    }

    /// See [`SimDisk::stores`].
    pub fn stores(&self, written: bool) -> impl Iterator<Item = (StoreId, Number)> {
        self.entries.stores(written)
    }

    /// There is no room any more, or again. The real store has what it was given beforehand: it says itself what it takes.
    pub fn set_full(&mut self, full: bool) {
        match &mut self.real {
            Some(real) => {
                real.full = full;
                real.bytes.limit_space(full.then(|| real.random.within(0, 4_000)));
            }
            None => self.entries.set_full(full),
        }
    }

    /// See [`SimDisk::has_refused`].
    pub fn has_refused(&self) -> bool {
        self.entries.has_refused()
    }

    /// See [`SimDisk::kept`].
    pub fn kept(&mut self) -> Option<(StoreId, Number)> {
        self.entries.kept()
    }

    /// See [`SimDisk::take_refused`].
    pub fn take_refused(&mut self) -> bool {
        self.entries.take_refused()
    }

    /// Has the real store, if there is one, do `what`; returns whether the entries beside it are to follow. A disk without
    /// room may refuse it.
    #[track_caller]
    fn takes(&mut self, what: &str, act: impl FnOnce(&mut Store) -> Result<(), StoreError>) -> bool {
        if let Some(store) = self.store() {
            match act(store) {
                Err(error) if self.is_full() && error.is_full_disk() => {
                    let kept =
                        self.store().and_then(|store| done("sync what it took", store.sync_after_refusal()));
                    self.entries.refuse();
                    let known = self.entries.kept().map(|(_, last)| last);
                    assert!(known.is_none() || kept == known, "{kept:?} is kept of {known:?}");
                }
                result => done(what, result),
            }
        }
        !self.entries.has_refused()
    }

    fn is_full(&self) -> bool {
        self.real.as_ref().is_some_and(|real| real.full)
    }

    /// See [`SimDisk::has_failed`].
    pub fn has_failed(&self) -> bool {
        self.entries.has_failed()
    }

    /// See [`SimDisk::target_id`].
    pub fn target_id(&mut self) -> StoreId {
        self.entries.target_id()
    }

    /// Syncs fail from here on, and the real store learns of it.
    pub fn fail(&mut self) {
        if let Some(real) = &mut self.real {
            real.bytes.fail_syncs(true);
            if let Some(store) = real.store(self.entries.has_failed()) {
                // It may have had nothing to sync; what it has is then as good as before.
                drop(store.sync());
            }
        }
        self.entries.fail();
    }

    /// The store in force is damaged: the real one where it says which it is.
    pub fn damage(&mut self) {
        self.entries.damage();
        if let Some(real) = &mut self.real {
            let path = Path::new(DIR).join(format!("store-{}", self.entries.current_id())).join("store");
            // One that was never opened has no files yet.
            if real.bytes.files().contains(&path) {
                let bits = real.bytes.content(&path).len() as u64 * 8;
                // Not in the line's end, which nobody reads.
                real.bytes.flip(&path, real.random.within(0, bits - 8));
            }
        }
    }

    /// Appends an entry.
    pub fn append(&mut self, entry: Arc<Entry>) {
        if self.takes("append", |store| store.append(&[EncodedEntries::from(&*entry)])) {
            self.entries.append(entry);
        }
    }

    /// See [`SimDisk::sync_begin`].
    pub fn sync_begin(&mut self) -> Sync {
        self.entries.sync_begin()
    }

    /// The sync ended: the real one is done now, so what is appended behind it is durable too, but nobody is told.
    pub fn sync_end(&mut self, sync: Sync) -> Option<(StoreId, Number)> {
        if sync.on_syncs()
            && let Some(store) = self.store()
        {
            done("sync", store.sync());
        }
        self.entries.sync_end(sync)
    }

    /// Everything up to `held` is held; some background work may come of it.
    pub fn set_held(&mut self, held: Number) {
        if let Some(store) = self.store() {
            store.set_held(held);
        }
        if !self.has_failed()
            && let Some(real) = &mut self.real
            && real.random.percent(10)
        {
            real.work();
        }
    }

    /// Cuts back, durably.
    pub fn cut_back(&mut self, to: Number) {
        if self.takes("cut back", |store| store.cut_back(to)) {
            self.entries.cut_back(to);
        }
    }

    /// A new store is begun beside the old.
    pub fn copy_begin(&mut self, id: StoreId, meta: Meta) {
        if self.takes("begin a copy", |store| store.copy_begin(id, &meta)) {
            self.entries.copy_begin(id, meta);
        }
    }

    /// Rows of the copy.
    pub fn copy_rows(&mut self, rows: &[Row]) {
        if self.takes("take rows", |store| store.copy_rows(rows)) {
            self.entries.copy_rows(rows);
        }
    }

    /// The copy is whole.
    pub fn copy_end(
        &mut self,
        sessions: Vec<(SessionId, Session)>,
        keyed: Vec<(String, KeyedReply)>,
        meta: Meta,
    ) {
        if self.takes("end a copy", |store| store.copy_end(&sessions, &keyed, &meta)) {
            self.entries.copy_end(sessions, keyed, meta);
        }
    }

    /// The copy takes the old store's place.
    pub fn copy_kept(&mut self) {
        if self.takes("keep a copy", Store::copy_kept) {
            self.entries.copy_kept();
        }
    }

    /// The copy is given up.
    pub fn copy_dropped(&mut self) {
        if let Some(store) = self.store() {
            done("drop a copy", store.copy_dropped());
        }
        self.entries.copy_dropped();
    }

    /// The process died; see [`SimDisk::crash`]. Of the real store it shows at the next start whether something is lost.
    pub fn crash(&mut self, power: bool, random: &mut Random) -> bool {
        let Some(real) = &mut self.real else { return self.entries.crash(power, random) };
        if power {
            real.lose_power();
        } else {
            real.open = None;
            real.bytes.kill();
        }
        self.entries.die(power);
        false
    }

    /// What a restart finds; see [`SimDisk::recover`]. The real store says itself how far a checkpoint has gone.
    ///
    /// # Panics
    /// When the real store finds less than was durable, or what was never there.
    pub fn recover(&mut self, recorded: impl Fn(StoreId) -> bool, undos: bool) -> Recovered {
        let Some(real) = &mut self.real else { return self.entries.recover(recorded, undos) };
        let failed = self.entries.has_failed();
        let written = self.entries.written();
        real.bytes.fail_syncs(false);
        let mut options = Options::new(self.entries.current_id());
        let stores = self.entries.stores(false).map(|(id, _)| id);
        options.recorded = Some(stores.filter(|id| recorded(*id)).collect());
        options.boot = format!("boot {}", real.boot);
        (options.segment_bytes, options.checkpoint_bytes, options.chunk_bytes) = (8 << 10, 1..=1, 16 << 10);
        options.recent_bytes = real.recent_bytes;
        let opened = Store::open(Arc::new(real.bytes.clone()), Path::new(DIR), options);
        let (mut store, found) = done("open", opened);
        if found.trusted && !self.entries.is_replicated() {
            // Under `fsync` nothing is acknowledged that the power could take.
            done("settle its tail", store.settle_tail());
        }
        let background = store.background();
        real.open = Some((store, background));
        let checkpoints = std::mem::take(&mut real.checkpoints);
        assert!(!written || !found.fresh, "the store is lost");
        let mut expected = self.entries.recover(recorded, false);
        assert_eq!(found.store, expected.store, "another store is in force");
        let may_lack_tail = self.entries.is_replicated() && !found.same_boot;
        assert!(
            may_lack_tail || !expected.may_lack_tail || !written,
            "a start does not say that the end may be lost (R26)"
        );
        if !found.trusted {
            assert!(!expected.trusted, "a sound store is not trusted: {:?}", found.warning);
            return Recovered { may_lack_tail, ..expected };
        }
        // A sync that failed with nothing to sync has damaged nothing.
        assert!(expected.trusted || failed, "a damaged store is trusted (R26)");
        let last = found.state.meta.last;
        let (least, most) = self.entries.possible();
        assert!(last >= least, "{least} was durable, and {last} is the last that is found (R8)");
        assert!(last <= most, "{last} is found, and only {most} was appended");
        self.entries.found(last);
        expected = self.entries.recover(|_| true, false);
        let lost = last < most;
        assert!(!lost || !found.same_boot, "what is lost was written under another boot (R26)");
        same(&found.state, &expected.state);
        let each =
            |pieces: &[EncodedEntries]| pieces.iter().flat_map(EncodedEntries::iter).collect::<Vec<_>>();
        let (recent, known) = (each(&found.recent), each(&expected.recent));
        let known = &known[known.len().saturating_sub(recent.len())..];
        // A copy's entries may be rows here by now, and still be entries there.
        assert!(recent.ends_with(known), "the recent stream is not the end of the stream");
        if let Some(oldest) = found.undos.first()
            && let Some(expected) = self.entries.state_before(oldest.number)
        {
            let mut state = found.state.clone();
            found.undos.iter().rev().for_each(|undo| drop(state.take_back(undo.clone())));
            same(&state, &expected);
        }
        self.told = Told { lost, checkpoints };
        Recovered {
            store: found.store,
            trusted: true,
            may_lack_tail,
            state: found.state,
            recent: found.recent,
            undos: found.undos,
        }
    }
}

/// Both have the same rows, sessions and data of the group's own.
#[track_caller]
fn same(found: &State, expected: &State) {
    assert_eq!(found.meta, expected.meta, "the group's own data differ");
    assert_eq!(found.digest(), expected.digest(), "rows differ at {}", expected.meta.last);
    assert_eq!(found.sessions, expected.sessions, "reply tables differ");
}
