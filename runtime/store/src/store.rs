//! A group's store as its thread uses it.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockstep_core::encoded_entries::EncodedEntries;
use lockstep_core::ids::{Number, StoreId};
use lockstep_core::state::{State, Undo};

use crate::background::{Background, Hub};
use crate::copy::Copy;
use crate::directory::{self, Written};
use crate::disk::Disk;
use crate::error::{DuringExt, StoreError};
use crate::log::Log;
use crate::recovery::{Found, recover};
use crate::segment;

/// What a store is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The id of the store that is made if there is none (R2): random, never used before.
    pub fresh: StoreId,
    /// The stores that the arbiter's record has in sync, if it could be read. A whole copy beside the store in force
    /// is put in its place if the record has it and not the other: the crash came between the record and the switch.
    pub recorded: Option<Vec<StoreId>>,
    /// The machine's boot id, to tell whether the store was last written under another (R26).
    pub boot: String,
    /// The size of a redo segment, in bytes.
    pub segment_bytes: u64,
    /// A checkpoint is due when as many bytes of held redo are not in it as its file has, within these bounds: whoever changes
    /// one row in ten writes nearly all pages of the tree, and whoever changes all of them no more. Recovery reads what is not in it.
    pub checkpoint_bytes: RangeInclusive<u64>,
    /// About so many bytes of redo at most go into one transaction of the checkpoint.
    pub chunk_bytes: u64,
    /// How many bytes of the latest entries are given back by recovery, and kept on disk for that.
    pub recent_bytes: usize,
}

impl Options {
    /// The defaults, for a store that gets the id `fresh` if it has to be made.
    #[must_use]
    pub fn new(fresh: StoreId) -> Self {
        Options {
            fresh,
            recorded: None,
            boot: String::new(),
            segment_bytes: 16 << 20,
            checkpoint_bytes: 64 << 20..=256 << 20,
            chunk_bytes: 512 << 20,
            recent_bytes: 32 << 20,
        }
    }
}

/// What was found when a store was opened.
#[derive(Debug)]
pub struct Recovered {
    /// The store.
    pub store: StoreId,
    /// Whether its content can be relied on. If not, `state` is empty and only a copy helps (R26).
    pub trusted: bool,
    /// Everything durable, applied.
    pub state: State,
    /// The latest entries without holes, up to `state`'s last.
    pub recent: Vec<EncodedEntries>,
    /// What takes back the entries that were not known to be held, oldest first (R24). They reach back to the
    /// lowest number that the store can be cut back to, unless that is the end of a copy.
    pub undos: Vec<Undo>,
    /// The store was made just now.
    pub fresh: bool,
    /// It was last written under this boot of the machine, or closed in an orderly manner since, or never written
    /// (R26). If not, the end of what was written without a sync may be lost, until that is
    /// [settled](Store::settle_tail).
    pub same_boot: bool,
    /// What operators should know.
    pub warning: Option<StoreError>,
}

/// The store in force.
#[derive(Debug)]
pub(crate) enum Side {
    /// Takes entries.
    Log(Log),
    /// Takes nothing until a copy is in its place.
    Untrusted {
        /// The store.
        store: StoreId,
        /// Why.
        reason: String,
    },
}

impl Side {
    pub fn store(&self) -> StoreId {
        match self {
            Side::Log(log) => log.store(),
            Side::Untrusted { store, .. } => *store,
        }
    }
}

/// The store of one group on one processor.
#[derive(Debug)]
pub struct Store {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) hub: Arc<Hub>,
    pub(crate) side: Side,
    pub(crate) copy: Option<Copy>,
    /// When the store in force was written last.
    pub(crate) written: Written,
    /// The first write or sync that failed; nothing is taken after it (R26).
    pub(crate) failure: Option<String>,
    /// That was for want of room.
    pub(crate) refused: bool,
}

impl Store {
    /// Opens the store in force in `dir` (`<data>/<application>/<partition>`), or makes one. The caller holds the
    /// lock of the processor's data directory.
    ///
    /// A damaged store is no error: it is opened as one that takes nothing but a copy.
    ///
    /// # Errors
    /// When the disk fails, or the files were written by a program with another layout.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        mut options: Options,
    ) -> Result<(Store, Recovered), StoreError> {
        options.segment_bytes = options.segment_bytes.clamp(4 << 10, segment::BYTES_MAX);
        disk.create_dir_all(dir).during("create", dir)?;
        for parent in dir.ancestors().take(3).filter(|parent| !parent.as_os_str().is_empty()) {
            disk.sync_dir(parent).during("sync", parent)?;
        }
        let (id, mut warning) = choose(disk.as_ref(), dir, &options)?;
        let fresh = id.is_none();
        let id = match id {
            Some(id) => id,
            None => {
                begin(&disk, dir, options.fresh, options.segment_bytes)?;
                directory::set_whole(disk.as_ref(), dir, options.fresh)?;
                directory::declare(disk.as_ref(), dir, options.fresh)?;
                directory::set_current(disk.as_ref(), dir, options.fresh)?;
                options.fresh
            }
        };
        let written = directory::written(disk.as_ref(), dir, id, &options.boot)?;
        let same_boot = written != Written::OtherBoot;
        for other in directory::stores(disk.as_ref(), dir)?.into_iter().filter(|other| *other != id) {
            // A whole copy may be recorded in sync: while the record is not known it stays.
            // And nothing is removed where `current` led nowhere: somebody should look.
            let known = options.recorded.is_some() || !directory::is_whole(disk.as_ref(), dir, other)?;
            if known && warning.is_none() {
                directory::remove(disk.as_ref(), dir, other)?;
            }
        }
        let store_dir = directory::store_dir(dir, id);
        let found = match directory::untrusted(disk.as_ref(), dir, id)? {
            Some(reason) => Err(StoreError::Untrusted { store: id, reason }),
            None => directory::check(disk.as_ref(), dir, id)
                .and_then(|_| recover(disk.as_ref(), &store_dir, id, options.recent_bytes)),
        };
        let hub = Arc::new(Hub::default());
        let store = |side| {
            let (dir, disk, options) = (dir.to_owned(), disk.clone(), options.clone());
            Store {
                disk,
                dir,
                options,
                hub: hub.clone(),
                side,
                copy: None,
                written,
                failure: None,
                refused: false,
            }
        };
        match found {
            Ok(Found { state, recent, undos, held, progress, scan, base }) => {
                let covered = progress.segment;
                let log =
                    Log::resume(disk.clone(), &store_dir, id, options.segment_bytes, &scan, (covered, held));
                let mut log = log.inspect_err(|error| {
                    // What can be read now may be gone later; the next sync would not say so (R26).
                    if error.is_failed_sync() {
                        distrust(disk.as_ref(), &store_dir, id, &error.to_string());
                    }
                })?;
                (log.last, log.base) = (Some(state.meta.last), base);
                let shared = log.shared.clone();
                let store = store(Side::Log(log));
                store.hub.follow(Some(shared));
                Ok((
                    store,
                    Recovered { store: id, trusted: true, state, recent, undos, fresh, same_boot, warning },
                ))
            }
            Err(error @ (StoreError::Damaged { .. } | StoreError::Untrusted { .. })) => {
                let reason = error.to_string();
                if matches!(error, StoreError::Damaged { .. }) {
                    directory::distrust(disk.as_ref(), &store_dir, &reason)?;
                }
                warning = Some(error);
                let store = store(Side::Untrusted { store: id, reason });
                let (state, recent, undos) = (State::new(id), Vec::new(), Vec::new());
                Ok((
                    store,
                    Recovered { store: id, trusted: false, state, recent, undos, fresh, same_boot, warning },
                ))
            }
            Err(error) => Err(error),
        }
    }

    /// The store that appends go to.
    #[must_use]
    pub fn id(&self) -> StoreId {
        self.copy.as_ref().map_or_else(|| self.side.store(), |copy| copy.log.store())
    }

    /// The last entry that was appended; `None` when the store can't be relied on, or is a copy without an entry.
    #[must_use]
    pub fn last(&self) -> Option<Number> {
        match (&self.copy, &self.side) {
            (Some(copy), _) => copy.log.last,
            (None, Side::Log(log)) => log.last,
            (None, Side::Untrusted { .. }) => None,
        }
    }

    /// The work that goes to a thread of its own.
    #[must_use]
    pub fn background(&self) -> Background {
        Background::new(self.disk.clone(), self.options.clone(), self.hub.clone())
    }

    /// The log that appends go to, unless something failed.
    pub(crate) fn log(&mut self) -> Result<&mut Log, StoreError> {
        let store = self.id();
        if let Some(reason) = &self.failure {
            return Err(StoreError::Failed { store, reason: reason.clone() });
        }
        match (&mut self.copy, &mut self.side) {
            (Some(copy), _) => Ok(&mut copy.log),
            (None, Side::Log(log)) => Ok(log),
            (None, Side::Untrusted { store, reason }) => {
                Err(StoreError::Untrusted { store: *store, reason: reason.clone() })
            }
        }
    }

    /// Does `what` with the log. After an error nothing more is taken: what is on the disk is not known (R26).
    pub(crate) fn with_log<T>(
        &mut self,
        what: impl FnOnce(&mut Log) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let log = self.log()?;
        let failed_beside = log.shared.lock().failure.take();
        let done = match failed_beside {
            Some(reason) => Err(StoreError::Failed { store: log.store(), reason }),
            None => what(log),
        };
        let turned = std::mem::take(&mut log.turned);
        match &done {
            // The next segment is to be made ahead, and the last one synced.
            Ok(_) if turned => self.hub.notify(),
            Ok(_) => {}
            Err(error) => self.fail(error),
        }
        done
    }

    fn fail(&mut self, error: &StoreError) {
        let reason = match error {
            StoreError::Failed { reason, .. } => reason.clone(),
            error => error.to_string(),
        };
        // A full disk lost nothing that was acknowledged; anything else may have.
        self.refused = error.is_full_disk();
        if !self.refused {
            let id = self.id();
            distrust(self.disk.as_ref(), &directory::store_dir(&self.dir, id), id, &reason);
        }
        self.hub.follow(None);
        self.failure = Some(reason);
    }

    /// Appends `entries` as one record. The operating system has them when this returns; they are durable after the
    /// next [`sync`](Self::sync).
    ///
    /// # Errors
    /// When the disk fails; every later call then fails too.
    ///
    /// # Panics
    /// When `entries` are not the next ones: the stream has no holes (R8).
    pub fn append(&mut self, entries: &[EncodedEntries]) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
        let (first, last, term) = (first.first(), last.last(), last.term());
        self.will_write()?;
        self.with_log(|log| {
            assert!(
                log.last.is_none_or(|last| last.next() == first)
                    && entries.windows(2).all(|two| two[0].last().next() == two[1].first()),
                "entries {first} to {last} are appended behind entry {:?} (R8)",
                log.last
            );
            log.write_entries((first, last, term), entries)?;
            log.last = Some(last);
            Ok(())
        })
    }

    /// Whether [`append`](Self::append) of `entries` is one write into a segment that is there, which the operating system
    /// takes into its memory: it waits for no disk.
    #[must_use]
    pub fn appends_at_once(&self, entries: &[EncodedEntries]) -> bool {
        let Side::Log(log) = &self.side else { return false };
        let bytes = entries.iter().map(|entries| entries.as_bytes().len()).sum();
        // The first write after an orderly end notes so, durably.
        self.copy.is_none()
            && self.failure.is_none()
            && self.written != Written::Whole
            && log.has_room_for(bytes)
    }

    /// Before the first record after an orderly end: if the machine goes down now, the next start knows that it went down
    /// under a store that was written (R26). A copy knows from its begin on.
    fn will_write(&mut self) -> Result<(), StoreError> {
        if self.copy.is_some() || self.written != Written::Whole {
            // What an earlier boot may have lost is not there because this one writes behind it.
            return Ok(());
        }
        let (disk, dir, boot) = (self.disk.clone(), self.dir.clone(), self.options.boot.clone());
        self.with_log(|log| directory::set_written(disk.as_ref(), &dir, log.store(), &boot))?;
        self.written = Written::ThisBoot;
        Ok(())
    }

    /// Whatever an earlier boot of the machine lost of the end is there again, or nobody has it: this boot has all that
    /// the store is to have (R26). What was appended before this counts; until then each start finds `same_boot` false,
    /// however much was appended since. Durable when it returns.
    ///
    /// # Errors
    /// When the disk fails; every later call then fails too.
    pub fn settle_tail(&mut self) -> Result<(), StoreError> {
        if self.copy.is_some() || self.written != Written::OtherBoot {
            // A copy has an end of its own.
            return Ok(());
        }
        let (disk, dir, boot) = (self.disk.clone(), self.dir.clone(), self.options.boot.clone());
        self.with_log(|log| directory::set_written(disk.as_ref(), &dir, log.store(), &boot))?;
        self.written = Written::ThisBoot;
        Ok(())
    }

    /// Returns once everything appended is durable, with the last number.
    ///
    /// # Errors
    /// When the disk fails; the store is then not trusted any more, and every later call fails (R26).
    pub fn sync(&mut self) -> Result<Number, StoreError> {
        self.with_log(|log| {
            log.sync()?;
            Ok(log.last.unwrap_or_default())
        })
    }

    /// After an error that a full disk gave: makes durable what was appended before it, and returns the last number of
    /// that. The store is not marked, so the next start finds it (R26). `None` where there is nothing to count on.
    ///
    /// # Errors
    /// When the disk fails; the store is then not trusted any more.
    pub fn sync_after_refusal(&mut self) -> Result<Option<Number>, StoreError> {
        if !std::mem::take(&mut self.refused) {
            return Ok(None);
        }
        let log = match (&mut self.copy, &mut self.side) {
            (Some(copy), _) => &mut copy.log,
            (None, Side::Log(log)) => log,
            (None, Side::Untrusted { .. }) => return Ok(None),
        };
        let (synced, last) = (log.sync(), log.last);
        synced.inspect_err(|error| self.fail(error))?;
        Ok(last)
    }

    /// Cuts back to `to`: later entries never count again (R24). Durable when it returns.
    ///
    /// # Errors
    /// `CannotCut` when what is to go is held or part of a copy; the store goes on as it was. Else when the disk
    /// fails; every later call then fails too.
    pub fn cut_back(&mut self, to: Number) -> Result<(), StoreError> {
        let log = self.log()?;
        let base = log.base.max(log.shared.lock().held);
        match log.last {
            Some(last) if to >= last => Ok(()),
            Some(_) if to < base => Err(StoreError::CannotCut { store: self.id(), to, base }),
            _ => {
                self.will_write()?;
                self.with_log(|log| log.cut_back(to))
            }
        }
    }

    /// Everything up to `held` is held: checkpoints may go so far (R24).
    pub fn set_held(&mut self, held: Number) {
        let bounds = self.options.checkpoint_bytes.clone();
        let Ok(log) = self.log() else { return };
        let became_due = {
            let mut state = log.shared.lock();
            let was_due = state.checkpoint_due(&bounds);
            // What is not durable here can't be held by all, and a checkpoint must not pass the log.
            state.held = state.held.max(held.min(log.last.unwrap_or_default()));
            !was_due && state.checkpoint_due(&bounds)
        };
        // One that is due already is being made, or waits for something else: no reason for a system call each time.
        if became_due {
            self.hub.notify();
        }
    }

    /// Ends in an orderly manner: a later start knows that nothing was lost.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn close(mut self) -> Result<(), StoreError> {
        if matches!(self.log(), Err(StoreError::Untrusted { .. })) {
            return Ok(());
        }
        self.with_log(Log::sync)?;
        if self.copy.is_some() || self.written != Written::ThisBoot {
            // What an earlier boot lost is not there because this one ended well.
            return Ok(());
        }
        directory::set_whole(self.disk.as_ref(), &self.dir, self.side.store())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.hub.close();
    }
}

/// Marks the store that failed; there is nobody left to hear of it if that fails too.
fn distrust(disk: &dyn Disk, store_dir: &Path, store: StoreId, reason: &str) {
    if let Err(worse) = directory::distrust(disk, store_dir, reason) {
        tracing::error!(%store, error = %worse, "the store that failed could not even be marked");
    }
}

/// Makes the directory and the log of the store `id`.
pub(crate) fn begin(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    id: StoreId,
    segment_bytes: u64,
) -> Result<Log, StoreError> {
    let store_dir = directory::store_dir(dir, id);
    disk.create_dir_all(&store_dir).during("create", &store_dir)?;
    disk.sync_dir(dir).during("sync", dir)?;
    Log::begin(disk.clone(), &store_dir, id, segment_bytes)
}

/// Which store is to be opened, if there is one.
fn choose(
    disk: &dyn Disk,
    dir: &Path,
    options: &Options,
) -> Result<(Option<StoreId>, Option<StoreError>), StoreError> {
    let mut whole = Vec::new();
    for id in directory::stores(disk, dir)? {
        // What is in it is looked at when it was chosen: a store that is not needed hinders nobody.
        if directory::is_whole(disk, dir, id)? {
            whole.push(id);
        }
    }
    let current = directory::current(disk, dir)?;
    let in_force = match &current {
        Some(Ok(id)) => Some(*id).filter(|id| whole.contains(id)),
        Some(Err(_)) => None,
        // The crash came before the last step of making the only store.
        None => Some(whole.as_slice()).filter(|whole| whole.len() == 1).map(|whole| whole[0]),
    };
    let recorded = |id: &StoreId| options.recorded.as_ref().is_some_and(|recorded| recorded.contains(id));
    let chosen = match in_force.filter(recorded) {
        Some(id) => Some(id),
        None => whole.iter().copied().find(recorded).or(in_force),
    };
    if let Some(id) = chosen
        && current != Some(Ok(id))
    {
        directory::set_current(disk, dir, id)?;
    }
    let lost = current.filter(|_| chosen.is_none()).map(|named| StoreError::Lost {
        path: dir.join("current"),
        store: named.map_or_else(|name| name, |id| id.to_string()),
    });
    Ok((chosen, lost))
}
