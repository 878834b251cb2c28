//! Work beside the store's thread: segments made ahead, sealed segments synced and checkpointed, old ones removed.
//!
//! Invariants: a checkpoint is made of sealed segments whose every number is held (R24), in order; a segment is
//! removed only once a durable checkpoint covers it. The store never waits for any of this.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use lockstep_core::ids::{Number, StoreId};

use crate::Options;
use crate::changes::Changes;
use crate::checkpoint::{CheckpointFile, Progress};
use crate::directory;
use crate::disk::Disk;
use crate::error::{DuringExt, StoreError};
use crate::log::{Sealed, Shared, SharedState};
use crate::quiet::{Checkpoints, Quiet};
use crate::record::{Found, Place, UNIT};
use crate::replay::Replay;
use crate::scan::whole;
use crate::segment::{self, Ahead};
use crate::window::Window;

/// A checkpoint is behind when half as much again waits as makes it due.
const BEHIND_PER_DUE: (u64, u64) = (3, 2);

/// Which log is in force; the store's thread changes it, the background work follows.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    log: Mutex<Option<Arc<Shared>>>,
    closed: AtomicBool,
    quiet: Quiet,
    /// Grows with every change that may make work due.
    changes: Mutex<u64>,
    wake: Condvar,
}

impl Hub {
    /// From here on work is for `log`.
    pub fn follow(&self, log: Option<Arc<Shared>>) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = log;
        self.notify();
    }

    /// Pauses of checkpoints.
    pub fn quiet(&self) -> &Quiet {
        &self.quiet
    }

    /// No more work.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.notify();
    }

    /// Whether there is no more work.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Work may be due.
    pub fn notify(&self) {
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.wake.notify_all();
    }

    fn changes(&self) -> u64 {
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there was a change since `seen`.
    fn wait(&self, seen: u64) {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.wake.wait_while(changes, |changes| *changes == seen));
    }

    fn log(&self) -> Option<Arc<Shared>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a turn of the background work did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing was due.
    Nothing,
    /// A segment was made ahead, or sealed ones were synced.
    Prepared,
    /// Segments went into the checkpoint.
    Checkpointed {
        /// The checkpoint holds everything up to here.
        through: Number,
        /// Rows written.
        rows: usize,
        /// Bytes of redo that recovery need not read any more.
        redo_bytes: u64,
    },
}

/// The background work of one group's store; goes to a thread of its own.
#[derive(Debug)]
pub struct Background {
    disk: Arc<dyn Disk>,
    options: Options,
    hub: Arc<Hub>,
    /// What the checkpoint of this store holds beside its rows.
    known: Option<(StoreId, Progress, Replay)>,
}

impl SharedState {
    /// Sealed segments that may be checkpointed.
    fn ripe(&self) -> impl Iterator<Item = &Sealed> {
        let rest = self.sealed.iter().skip_while(|sealed| sealed.number <= self.covered);
        rest.take_while(|sealed| sealed.last <= self.held)
    }

    fn ripe_bytes(&self) -> u64 {
        self.ripe().map(|sealed| sealed.bytes).sum()
    }

    /// With so many bytes of redo a checkpoint is due.
    fn due_bytes(&self, bounds: &RangeInclusive<u64>) -> u64 {
        self.checkpoint_bytes.clamp(*bounds.start(), *bounds.end()).max(1)
    }

    /// Whether a checkpoint is worth its while; see [`Options::checkpoint_bytes`].
    pub fn checkpoint_due(&self, bounds: &RangeInclusive<u64>) -> bool {
        self.ripe_bytes() >= self.due_bytes(bounds)
    }

    /// Whether so much waits to be checkpointed that recovery would take long.
    fn checkpoint_behind(&self, bounds: &RangeInclusive<u64>) -> bool {
        let (behind, due) = BEHIND_PER_DUE;
        self.ripe_bytes() >= self.due_bytes(bounds).saturating_mul(behind) / due
    }
}

impl Background {
    pub(crate) fn new(disk: Arc<dyn Disk>, options: Options, hub: Arc<Hub>) -> Self {
        Background { disk, options, hub, known: None }
    }

    /// The way to pauses in which no checkpoint is made.
    #[must_use]
    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints(self.hub.clone())
    }

    /// Works until the store is dropped. An error of a checkpoint is told to `report` and the work tried again
    /// with the next segment; nothing is lost meanwhile, the log only grows.
    ///
    /// A checkpoint that is not behind is made by `in_the_shade`, which calls [`run_once`](Self::run_once) where it takes
    /// nothing from anybody: on a thread that gives way, say. All else is urgent.
    pub fn run(
        mut self,
        report: impl Fn(&StoreError),
        in_the_shade: impl Fn(&mut Self) -> Result<Work, StoreError>,
    ) {
        loop {
            let seen = self.hub.changes();
            if self.hub.is_closed() {
                return;
            }
            let shady = self.checkpoint_due() && !self.is_behind();
            match if shady { in_the_shade(&mut self) } else { self.run_once() } {
                Ok(Work::Nothing) => self.hub.wait(seen),
                Ok(_) => {}
                Err(error) => {
                    report(&error);
                    self.hub.wait(seen);
                }
            }
        }
    }

    /// Does the next piece of work that is due: at most one checkpoint of about
    /// [`chunk_bytes`](Options::chunk_bytes) of redo.
    ///
    /// # Errors
    /// When the disk or the engine fails. The store goes on without a checkpoint; a failed sync or damaged bytes make
    /// it fail (R26).
    pub fn run_once(&mut self) -> Result<Work, StoreError> {
        self.turn(self.options.checkpoint_bytes.clone())
    }

    /// Checkpoints all sealed segments that are held, due or not.
    ///
    /// # Errors
    /// As [`run_once`](Self::run_once).
    pub fn run_all(&mut self) -> Result<(), StoreError> {
        while self.turn(1..=1)? != Work::Nothing {}
        Ok(())
    }

    /// Whether a checkpoint is due.
    #[must_use]
    pub fn checkpoint_due(&self) -> bool {
        self.hub.log().is_some_and(|log| log.lock().checkpoint_due(&self.options.checkpoint_bytes))
    }

    fn is_behind(&self) -> bool {
        self.hub.log().is_some_and(|log| log.lock().checkpoint_behind(&self.options.checkpoint_bytes))
    }

    fn turn(&mut self, due: RangeInclusive<u64>) -> Result<Work, StoreError> {
        let Some(log) = self.hub.log() else { return Ok(Work::Nothing) };
        let done = self.turn_for(&log, &due);
        // The store may have been replaced meanwhile, and its files removed under our hands.
        if log.lock().over {
            return Ok(Work::Nothing);
        }
        if done.as_ref().is_err_and(StoreError::is_full_disk) {
            segment::remove_spares(self.disk.as_ref(), &log.dir)?;
        }
        if let Err(error) = &done
            && (error.is_failed_sync() || matches!(error, StoreError::Damaged { .. }))
        {
            // R26. The store's thread learns of it at its next call; the mark stands even if there is none.
            log.lock().failure = Some(error.to_string());
            if let Err(worse) = directory::distrust(self.disk.as_ref(), &log.dir, &error.to_string()) {
                tracing::error!(store = %log.store, error = %worse, "the store that failed could not be marked");
            }
        }
        done
    }

    fn turn_for(&mut self, log: &Shared, due: &RangeInclusive<u64>) -> Result<Work, StoreError> {
        // A full disk is no reason to make no checkpoint: that is what makes room again.
        let full = match self.prepare(log) {
            Ok(true) => return Ok(Work::Prepared),
            Ok(false) => None,
            Err(error) if error.is_full_disk() => Some(error),
            Err(error) => return Err(error),
        };
        if self.sync_sealed(log)? {
            return Ok(Work::Prepared);
        }
        let chunk: Vec<Sealed> = {
            let state = log.lock();
            if !state.checkpoint_due(due) {
                return full.map_or(Ok(Work::Nothing), Err);
            }
            let mut bytes = 0;
            let small_enough = |sealed: &&Sealed| {
                let first = bytes == 0;
                bytes += sealed.bytes;
                first || bytes <= self.options.chunk_bytes
            };
            state.ripe().take_while(small_enough).cloned().collect()
        };
        let hub = self.hub.clone();
        match hub.quiet().make() {
            Some(_making) => self.checkpoint(log, &chunk),
            None => full.map_or(Ok(Work::Nothing), Err),
        }
    }

    /// Makes the next segment ahead; says whether there was any need.
    fn prepare(&self, log: &Shared) -> Result<bool, StoreError> {
        let next = {
            let state = log.lock();
            if state.over || state.prepared.is_some() {
                return Ok(false);
            }
            state.active + 1
        };
        segment::make(self.disk.as_ref(), &log.dir, log.store, next, log.segment_bytes, Ahead::Written)?;
        self.disk.sync_dir(&log.dir).during("sync", &log.dir)?;
        let mut state = log.lock();
        if state.active + 1 == next {
            state.prepared = Some(next);
        }
        Ok(true)
    }

    /// Syncs sealed segments, so that the next sync of the store's thread finds little to do.
    fn sync_sealed(&self, log: &Shared) -> Result<bool, StoreError> {
        let files = std::mem::take(&mut log.lock().unsynced);
        for file in &files {
            file.sync().during("sync a redo segment in", &log.dir)?;
        }
        Ok(!files.is_empty())
    }

    fn checkpoint(&mut self, log: &Shared, chunk: &[Sealed]) -> Result<Work, StoreError> {
        let file = CheckpointFile::new(&log.dir, log.store);
        // Taken out: after an error what is in memory may be ahead of the file.
        let (mut progress, mut replay) = match self.known.take() {
            Some((store, progress, replay)) if store == log.store => (progress, replay),
            _ => {
                let (progress, state) = file.load_progress(self.disk.as_ref())?;
                let replay = Replay { state, copying: progress.copying };
                (progress, replay)
            }
        };
        let mut changes = Changes::new(self.disk.as_ref(), &log.dir, self.options.chunk_bytes);
        let mut window = Window::default();
        let (mut last, mut redo_bytes) = (None, 0);
        for sealed in chunk {
            if self.hub.is_closed() {
                // Whoever opens the store next makes it.
                return Ok(Work::Nothing);
            }
            // A chunk takes long; the writer meanwhile fills segments.
            self.prepare(log)
                .map(drop)
                .or_else(|error| if error.is_full_disk() { Ok(()) } else { Err(error) })?;
            let path = segment::path(&log.dir, sealed.number);
            window.open(self.disk.as_ref(), &log.dir, log.store, sealed.number)?;
            // Looked at once: what is cut off later is not held, and not here. The lock is the writer's too, which would wait for a
            // thread that gives way to all others, and may be stopped while it has it.
            let cuts = log.lock().cuts.clone();
            let mut offset = UNIT as u64;
            while offset < sealed.bytes {
                let place = Place { store: log.store, segment: sealed.number, offset };
                let (header, payload) = whole(window.find(place)?, place, &path)?;
                let limit = cuts.limit(header.sequence);
                replay.record(&path, &header, payload, limit, &mut changes)?;
                offset += header.record_bytes() as u64;
            }
            let end = Place { store: log.store, segment: sealed.number, offset };
            debug_assert!(matches!(window.find(end)?, Found::Empty));
            redo_bytes += sealed.bytes;
            last = Some(sealed);
            if !changes.has_room()? {
                // What is there goes into the checkpoint, and that makes room.
                break;
            }
        }
        let last = last.expect("a chunk has a segment");
        drop(window);
        let upto = (last.number, last.next_sequence, replay.copying);
        let (disk, wanted) = (self.disk.as_ref(), || !self.hub.is_closed());
        let Some(rows) = file.add(disk, &mut progress, upto, changes, &replay.state, wanted)? else {
            return Ok(Work::Nothing);
        };
        let through = replay.state.meta.last;
        self.known = Some((log.store, progress, replay));
        let checkpoint_bytes = file.bytes(self.disk.as_ref())?;
        {
            let mut state = log.lock();
            (state.covered, state.checkpoint_bytes) = (last.number, checkpoint_bytes);
        }
        self.remove_old(log)?;
        Ok(Work::Checkpointed { through, rows, redo_bytes })
    }

    /// Removes covered segments beyond what is kept for the recent stream.
    fn remove_old(&self, log: &Shared) -> Result<(), StoreError> {
        let old = {
            let mut state = log.lock();
            let mut kept = state.sealed.iter().map(|sealed| sealed.bytes).sum::<u64>();
            let is_old = |sealed: &&Sealed| {
                kept -= sealed.bytes;
                sealed.number <= state.covered && kept >= self.options.recent_bytes as u64
            };
            let count = state.sealed.iter().take_while(is_old).count();
            let old: Vec<Sealed> = state.sealed.drain(..count).collect();
            if let Some(last) = old.last() {
                state.cuts.forget_before(last.next_sequence);
            }
            old
        };
        if old.is_empty() {
            return Ok(());
        }
        segment::retire(self.disk.as_ref(), &log.dir, old.iter().map(|sealed| sealed.number))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lockstep_core::encoded_entries::EncodedEntries;
    use lockstep_core::entry::{Entry, EntryBody};
    use lockstep_core::ids::{Micros, Term};

    use super::*;
    use crate::Store;
    use crate::sim_disk::SimDisk;

    const SEGMENT_BYTES: u64 = 4 << 10;

    fn opened(checkpoint_bytes: RangeInclusive<u64>) -> Store {
        let options = Options { segment_bytes: SEGMENT_BYTES, checkpoint_bytes, ..Options::new(StoreId(1)) };
        Store::open(Arc::new(SimDisk::new()), Path::new("/d"), options).unwrap().0
    }

    /// Appends the entry behind `last`.
    fn append(store: &mut Store, last: &mut u64) {
        *last += 1;
        let (number, time, body) = (Number(*last), Micros(*last), EntryBody::OpenSession);
        store.append(&[EncodedEntries::from(&Entry { number, term: Term(1), time, body })]).unwrap();
    }

    #[test]
    fn a_checkpoint_is_due_when_as_much_redo_waits_as_it_has_itself() {
        let mut store = opened(SEGMENT_BYTES..=1 << 40);
        let mut background = store.background();
        let (mut last, mut was_due_at) = (0, Vec::new());
        while was_due_at.len() < 2 {
            append(&mut store, &mut last);
            store.set_held(Number(last));
            let (waits, has) = {
                let log = store.hub.log().unwrap();
                let state = log.lock();
                (state.ripe_bytes(), state.checkpoint_bytes)
            };
            let due = background.checkpoint_due();
            assert_eq!(due, waits >= has.max(SEGMENT_BYTES), "{waits} of {has}");
            if due {
                was_due_at.push(waits);
            }
            while background.run_once().unwrap() != Work::Nothing {}
        }
        assert!(was_due_at[1] > 4 * was_due_at[0], "{was_due_at:?}: the first made its file");
    }

    #[test]
    fn a_checkpoint_that_is_due_is_told_of_once() {
        let mut store = opened(SEGMENT_BYTES..=SEGMENT_BYTES);
        let hub = store.hub.clone();
        let sealed = || hub.log().unwrap().lock().sealed.len();
        let mut last = 0;
        while sealed() < 3 {
            append(&mut store, &mut last);
        }
        let told = |store: &mut Store, held: u64| {
            let before = hub.changes();
            store.set_held(Number(held));
            hub.changes() - before
        };
        assert_eq!(told(&mut store, 1), 0, "no segment is held as a whole");
        assert_eq!(told(&mut store, last), 1);
        assert_eq!((told(&mut store, last), told(&mut store, last)), (0, 0), "it is known");
        let mut background = store.background();
        while background.run_once().unwrap() != Work::Nothing {}
        assert!(!background.checkpoint_due());
    }
}
