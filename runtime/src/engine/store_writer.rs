//! What is done to a group's store: by its thread, or by the engine itself where nothing is to be waited for.
//!
//! Under `replicated`, with a partner in sync, a batch is durable once the operating system has it (R9). That is one copy of
//! memory, shorter than the way to another thread and back; so the engine writes it in its own turn, as long as the thread
//! has nothing to do and the record fits into the segment that is there. So is the sync of an entry that comes alone, as
//! long as the disk is quick (`sync_times`). All else may wait for the disk, and is the thread's.
//!
//! Invariant: operations are carried out in the order in which the core asked for them, whoever does it.
//! Deliberately absent: what entries mean.

use std::time::Instant;

use lockstep_core::encoded_entries::EncodedEntries;
use lockstep_core::ids::{Number, StoreId};
use lockstep_core::input::Input;
use lockstep_os::LivenessLock;
use lockstep_store::{Checkpoints, Store, StoreError};

use super::failing_disk::FailingDisk;
use super::inbound::Inbound;
use super::store_thread::StoreOp;
use super::sync_times::SyncTimes;
use crate::config::Durability;

/// Takes what the store says to its engine.
pub(super) type Say<'a> = &'a mut dyn FnMut(Inbound);

pub(super) fn hold(store: StoreId) -> std::io::Result<LivenessLock> {
    LivenessLock::hold(&store.to_string())
}

/// A store with all that is known of it outside of its files.
pub struct StoreWriter {
    store: Store,
    disk: FailingDisk,
    durability: Durability,
    lock: LivenessLock,
    copy_lock: Option<(StoreId, LivenessLock)>,
    on_syncs: bool,
    pub(super) sync_times: SyncTimes,
    fail_next: bool,
    cuts: u64,
    /// Nothing is taken any more; the core has been told.
    failed: bool,
    /// What is to be appended as one record.
    entries: Vec<EncodedEntries>,
}

impl StoreWriter {
    /// Of a store that was just opened, whose liveness `lock` is held.
    pub(super) fn new(store: Store, disk: FailingDisk, durability: Durability, lock: LivenessLock) -> Self {
        StoreWriter {
            store,
            disk,
            durability,
            lock,
            copy_lock: None,
            on_syncs: true,
            sync_times: SyncTimes::default(),
            fail_next: false,
            cuts: 0,
            failed: false,
            entries: Vec::new(),
        }
    }

    /// The way to pauses of the store's checkpoints.
    pub(super) fn checkpoints(&self) -> Checkpoints {
        self.store.background().checkpoints()
    }

    /// What makes its checkpoints.
    pub(super) fn background(&self) -> lockstep_store::Background {
        self.store.background()
    }

    /// Closes the store in order, and lets its files and its liveness lock go.
    pub(super) fn close(self) {
        if let Err(error) = self.store.close() {
            tracing::warn!(%error, code = error.code(), "the store was not closed in order; its redo log is whole");
        }
        drop((self.lock, self.copy_lock));
    }

    /// Carries out `batches` with one sync at most, and says how far the store is durable then (R9).
    pub(super) fn carry_out(&mut self, batches: impl Iterator<Item = Vec<StoreOp>>, say: Say<'_>) {
        let mut outcome = if self.failed { Err(None) } else { Ok(()) };
        let mut changed = false;
        for op in batches.flatten() {
            changed |= op.changes_what_is_durable();
            if let StoreOp::Append(more) = op {
                self.entries.extend(more);
                continue;
            }
            outcome =
                outcome.and_then(|()| self.append().and_then(|()| self.carry_out_one(op, say)).map_err(Some));
        }
        outcome = outcome.and_then(|()| self.append().map_err(Some));
        if changed {
            outcome = outcome.and_then(|()| self.make_durable(say).map_err(Some));
        }
        if let Err(error) = outcome {
            self.entries.clear();
            error.into_iter().for_each(|error| self.fail(&error, say));
        }
    }

    /// Carries out `ops`, and leaves none of them, if the disk is not waited for, or for one entry and not for long; else
    /// leaves them all.
    pub(super) fn carry_out_at_once(&mut self, ops: &mut Vec<StoreOp>, say: Say<'_>) {
        let synced = self.rests_on_syncs();
        let is_one = |all: &[EncodedEntries]| all.iter().map(EncodedEntries::len).sum::<usize>() == 1;
        let waits = |all: &[EncodedEntries]| synced && !(is_one(all) && self.sync_times.are_quick());
        let at_once = |op: &StoreOp| match op {
            StoreOp::Held { .. } => true,
            StoreOp::Append(entries) => !waits(entries) && self.store.appends_at_once(entries),
            _ => false,
        };
        // Two records might not fit where each of them does.
        let appends = ops.iter().filter(|op| matches!(op, StoreOp::Append(_))).count();
        if !self.failed && appends <= 1 && ops.iter().all(at_once) {
            self.carry_out(std::iter::once(std::mem::take(ops)), say);
        }
    }

    fn fail(&mut self, error: &StoreError, say: Say<'_>) {
        tracing::error!(
            %error,
            code = error.code(),
            "the store failed and takes nothing more; see the disk, then start this processor again"
        );
        self.failed = true;
        self.keep_what_was_taken(say);
        say(Inbound::Input(Input::StoreFailed { reason: error.to_string() }));
    }

    fn append(&mut self) -> Result<(), StoreError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.fail_next) {
            self.disk.fail_next_write_of_this_thread();
        }
        let appended = self.store.append(&self.entries);
        self.entries.clear();
        appended
    }

    /// Makes all that was appended durable and says how far that is.
    fn make_durable(&mut self, say: Say<'_>) -> Result<(), StoreError> {
        if self.store.last().is_none() {
            // A copy without an entry, or a store that only a copy helps.
            return Ok(());
        }
        let through = if self.rests_on_syncs() { Some(self.sync()?) } else { self.store.last() };
        through.into_iter().for_each(|through| say(self.durable(through)));
        Ok(())
    }

    fn sync(&mut self) -> Result<Number, StoreError> {
        let begun = Instant::now();
        let through = self.store.sync()?;
        self.sync_times.took(begun.elapsed());
        Ok(through)
    }

    /// R9: while only one member is in sync, or soon will be, `replicated` syncs too.
    fn rests_on_syncs(&self) -> bool {
        self.durability == Durability::Fsync || self.on_syncs
    }

    fn durable(&self, through: Number) -> Inbound {
        Inbound::Durable { cuts: self.cuts, store: self.store.id(), through }
    }

    /// A full disk has what it took before it refused something, and so has the next start: that counts (R26).
    fn keep_what_was_taken(&mut self, say: Say<'_>) {
        match self.store.sync_after_refusal() {
            Ok(through) => through.into_iter().for_each(|through| say(self.durable(through))),
            Err(error) => tracing::error!(%error, code = error.code(), "nor can what was written be synced"),
        }
    }

    fn carry_out_one(&mut self, op: StoreOp, say: Say<'_>) -> Result<(), StoreError> {
        match op {
            StoreOp::Append(_) => unreachable!("appended before"),
            StoreOp::CutBack { to } => {
                // Counted once it is done: of a store that could not cut, nothing is said that the core would take.
                self.store.cut_back(to)?;
                self.cuts += 1;
            }
            StoreOp::Held { number } => self.store.set_held(number),
            StoreOp::RestOnSyncs { on } => {
                self.on_syncs = on;
                self.cuts += u64::from(on);
            }
            StoreOp::TailSettled => self.store.settle_tail()?,
            StoreOp::CopyBegin { store, meta } => {
                // Held before anybody can know the store: whoever asks finds it living.
                self.copy_lock = match hold(store) {
                    Ok(lock) => Some((store, lock)),
                    Err(error) => {
                        tracing::warn!(%store, %error, code = "LS0622", "no liveness lock for the copy");
                        None
                    }
                };
                self.store.copy_begin(store, &meta)?;
            }
            StoreOp::CopyRows(rows) => self.store.copy_rows(&rows)?,
            StoreOp::CopyEnd { sessions, keyed, meta } => {
                self.store.copy_end(&sessions, &keyed, &meta)?;
                let store = self.store.id();
                say(Inbound::Input(Input::CopyDurable { store }));
            }
            StoreOp::CopyKept => {
                self.store.copy_kept()?;
                if let Some((_, lock)) = self.copy_lock.take() {
                    self.lock = lock;
                }
            }
            StoreOp::CopyDropped => {
                self.store.copy_dropped()?;
                self.copy_lock = None;
            }
            StoreOp::FailNext => self.fail_next = true,
        }
        Ok(())
    }
}
