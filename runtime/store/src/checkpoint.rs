//! The checkpoint: rows, sessions and the group's own data as of the end of a redo segment, in a `redb` file.
//!
//! Invariants:
//! - It is changed by one transaction a chunk of segments; `progress` says which, in the same transaction.
//! - It holds nothing that is not held (R24).
//! - `progress` has the sum of all rows: a lost, added or changed row is found when the checkpoint is read (R26),
//!   also where the engine's own checksums would not see it.
//! - Until its first transaction is durable the file has a temporary name.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use lockstep_core::ids::{Number, SessionId, StoreId};
use lockstep_core::sessions::{KeyedReply, Session};
use lockstep_core::state::{Meta, State};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::backend::{FileBackend, SheetBackend};
use crate::changes::Changes;
use crate::checkpoint::rows::ROWS;
use crate::disk::Disk;
use crate::error::{DuringExt, StoreError};
use crate::segment::{LAYOUT, remove_if_there};

pub(crate) mod rows;

const SESSIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("sessions");
const KEYED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("keyed");
const GROUP: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("group");
const PROGRESS: &str = "progress";
const FILE: &str = "checkpoint.redb";
const FILE_UNBORN: &str = "checkpoint.redb.tmp";
/// The engine's cache, in bytes; its default is a gigabyte. Pages are read and written once, in the order of their keys.
const CACHE_BYTES: usize = 8 << 20;

thread_local! {
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread is caught, and told as damage: no reason for a panic hook to end the process.
#[must_use]
pub fn panic_is_caught() -> bool {
    CAUGHT.get()
}

/// What `what` gives; none when it panics.
fn caught<T>(what: impl FnOnce() -> T) -> Option<T> {
    let before = CAUGHT.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(what));
    CAUGHT.set(before);
    outcome.ok()
}

/// How far a checkpoint goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Progress {
    layout: u32,
    store: StoreId,
    /// The last segment of the redo log that it covers.
    pub segment: u64,
    /// The sequence of the first record that it does not cover.
    pub sequence: u64,
    /// It ends within a copy: rows and entries behind it are applied as they come, until the copy's end.
    pub copying: bool,
    /// The group's own data.
    pub meta: Meta,
    rows: rows::Sum,
}

impl Progress {
    /// Before the first checkpoint of a store.
    pub fn none(store: StoreId) -> Self {
        let (segment, sequence) = (0, 0);
        let meta = Meta::default();
        let rows = rows::Sum::default();
        Progress { layout: LAYOUT, store, segment, sequence, copying: false, meta, rows }
    }
}

fn encoded(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("our own data can be encoded")
}

/// The file, open for writing.
struct Opened {
    database: Database,
    /// It has its temporary name.
    unborn: bool,
    sync_failed: Arc<AtomicBool>,
}

/// A store's checkpoint file.
#[derive(Clone, Debug)]
pub(crate) struct CheckpointFile {
    dir: PathBuf,
    store: StoreId,
}

impl CheckpointFile {
    /// The checkpoint in the store's directory `dir`.
    pub fn new(dir: &Path, store: StoreId) -> Self {
        CheckpointFile { dir: dir.into(), store }
    }

    /// How many bytes it has; none before it is there.
    pub fn bytes(&self, disk: &dyn Disk) -> Result<u64, StoreError> {
        let path = self.dir.join(FILE);
        match disk.open_to_read(&path).and_then(|file| file.len()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            bytes => bytes.during("measure", &path),
        }
    }

    fn failed(&self, operation: &'static str) -> impl Fn(redb::Error) -> StoreError + '_ {
        let path = self.dir.join(FILE);
        move |error| match error {
            redb::Error::Io(source) => StoreError::Disk { operation, path: path.clone(), source },
            error => StoreError::Checkpoint { operation, path: path.clone(), reason: error.to_string() },
        }
    }

    /// Reads it. The file is not changed. Rows go into `state` through `State::insert_row`.
    pub fn load(&self, disk: &dyn Disk) -> Result<(Progress, State), StoreError> {
        let path = self.dir.join(FILE);
        let file = match disk.open_to_read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok((Progress::none(self.store), State::new(self.store)));
            }
            Err(source) => return Err(StoreError::Disk { operation: "open", path, source }),
        };
        let backend = SheetBackend::new(file).during("read", &path)?;
        let read_failed = backend.read_failed();
        // The engine may panic on bytes that were changed behind its back: that is damage like any other.
        let loaded = caught(|| self.load_all(backend))
            .unwrap_or_else(|| Err(redb::Error::Corrupted("the engine panicked".into())));
        // The engine says what is wrong with the content as an input error too: only the disk tells them apart.
        if let Some(reason) = read_failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(StoreError::Disk { operation: "read", path, source: std::io::Error::other(reason) });
        }
        match loaded {
            Ok(Some(loaded)) => Ok(loaded),
            Ok(None) => Err(StoreError::damaged(&path, "rows are missing, added or changed")),
            Err(error) => Err(StoreError::damaged(&path, error.to_string())),
        }
    }

    fn load_all(&self, backend: SheetBackend) -> Result<Option<(Progress, State)>, redb::Error> {
        let mut builder = Database::builder();
        let database = builder
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true)
            .create_with_backend(backend)?;
        let reading = database.begin_read()?;
        let progress: Progress = {
            let group = reading.open_table(GROUP)?;
            let Some(bytes) = group.get(PROGRESS)? else { return Ok(None) };
            let Ok(progress) = postcard::from_bytes(bytes.value()) else { return Ok(None) };
            progress
        };
        if progress.store != self.store || progress.layout != LAYOUT {
            return Ok(None);
        }
        let mut state = State::new(self.store);
        state.set_meta(progress.meta.clone());
        let sum = rows::read(&reading.open_table(ROWS)?, |row| {
            state.insert_row(row.table, row.key.into(), row.value.unwrap_or_default().into());
        })?;
        for session in reading.open_table(SESSIONS)?.iter()? {
            let (id, bytes) = session?;
            let Ok(session) = postcard::from_bytes::<Session>(bytes.value()) else { return Ok(None) };
            state.sessions.insert_session(SessionId(id.value()), session);
        }
        for keyed in reading.open_table(KEYED)?.iter()? {
            let Ok((key, reply)) = postcard::from_bytes::<(String, KeyedReply)>(keyed?.1.value()) else {
                return Ok(None);
            };
            state.sessions.insert_keyed(key, reply);
        }
        Ok((sum == progress.rows).then_some((progress, state)))
    }

    /// How far it goes, and its sessions; rows are left where they are.
    pub fn load_progress(&self, disk: &dyn Disk) -> Result<(Progress, State), StoreError> {
        let path = self.dir.join(FILE);
        match disk.open_to_read(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok((Progress::none(self.store), State::new(self.store)));
            }
            Err(source) => return Err(StoreError::Disk { operation: "open", path, source }),
        }
        let database = self.open_to_write(disk)?.database;
        let loaded = (|| {
            let reading = database.begin_read()?;
            let group = reading.open_table(GROUP)?;
            let progress = group.get(PROGRESS)?;
            let unreadable = || redb::Error::Corrupted("a record of the group's own is not readable".into());
            let progress = progress.and_then(|bytes| postcard::from_bytes::<Progress>(bytes.value()).ok());
            let progress = progress.ok_or_else(unreadable)?;
            let mut state = State { meta: progress.meta.clone(), ..State::new(self.store) };
            for session in reading.open_table(SESSIONS)?.iter()? {
                let (id, bytes) = session?;
                let session = postcard::from_bytes(bytes.value()).map_err(|_| unreadable())?;
                state.sessions.insert_session(SessionId(id.value()), session);
            }
            for keyed in reading.open_table(KEYED)?.iter()? {
                let (key, reply) = postcard::from_bytes(keyed?.1.value()).map_err(|_| unreadable())?;
                state.sessions.insert_keyed(key, reply);
            }
            Ok((progress, state))
        })();
        loaded.map_err(self.failed("read"))
    }

    fn open_to_write(&self, disk: &dyn Disk) -> Result<Opened, StoreError> {
        let path = self.dir.join(FILE);
        let (unborn, file) = match disk.open(&path) {
            Ok(file) => (false, file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let path = self.dir.join(FILE_UNBORN);
                remove_if_there(disk, &path)?;
                (true, disk.create(&path).during("create", &path)?)
            }
            Err(source) => return Err(StoreError::Disk { operation: "open", path, source }),
        };
        let backend = FileBackend::new(file);
        let sync_failed = backend.sync_failed();
        let mut builder = Database::builder();
        let database = builder.set_cache_size(CACHE_BYTES).create_with_backend(backend);
        let database =
            database.map_err(|error| self.of_sync(&sync_failed, self.failed("open")(error.into())))?;
        Ok(Opened { database, unborn, sync_failed })
    }

    /// Names a failed sync as such, whatever the engine made of it.
    fn of_sync(&self, sync_failed: &AtomicBool, error: StoreError) -> StoreError {
        if !sync_failed.load(Ordering::Acquire) {
            return error;
        }
        let source = std::io::Error::other(error.to_string());
        StoreError::Disk { operation: "sync", path: self.dir.join(FILE), source }
    }

    /// Adds a chunk: `changes` of rows, and everything of `state`'s that changed since `before`, which
    /// becomes what was added. Durable when it returns, with the number of rows that changed; none when it was not `wanted` any
    /// more, and the checkpoint is as before.
    pub fn add(
        &self,
        disk: &dyn Disk,
        before: &mut Progress,
        upto: (u64, u64, bool),
        changes: Changes<'_>,
        state: &State,
        wanted: impl Fn() -> bool,
    ) -> Result<Option<usize>, StoreError> {
        let mut changes = changes.in_order()?;
        let Opened { database, unborn, sync_failed } = self.open_to_write(disk)?;
        let (segment, sequence, copying) = upto;
        let mut progress =
            Progress { segment, sequence, copying, meta: state.meta.clone(), ..before.clone() };
        let mut changed = 0;
        let failed = |error: redb::Error| self.of_sync(&sync_failed, self.failed("write")(error));
        let mut writing = database.begin_write().map_err(|error| failed(error.into()))?;
        // A crash is the normal end: the next opening must not walk the whole file.
        writing.set_quick_repair(true);
        {
            let mut table = writing.open_table(ROWS).map_err(|error| failed(error.into()))?;
            while let Some(part) = changes.next()? {
                if !wanted() {
                    return Ok(None);
                }
                rows::put(&mut table, part.rows(), &mut progress.rows).map_err(failed)?;
                changed += part.len();
            }
        }
        (|| {
            // Until a copy ends the group's data is not the stream's, and no session is there yet.
            let known = if before.copying { Number(0) } else { before.meta.last };
            add_sessions(&writing, known, state)?;
            writing.open_table(GROUP)?.insert(PROGRESS, &*encoded(&progress))?;
            writing.commit()?;
            database.close()?;
            Ok(())
        })()
        .map_err(failed)?;
        if unborn {
            let path = self.dir.join(FILE);
            disk.rename(&self.dir.join(FILE_UNBORN), &path).during("rename", &path)?;
            disk.sync_dir(&self.dir).during("sync", &self.dir)?;
        }
        *before = progress;
        Ok(Some(changed))
    }
}

/// Sessions and keyed replies are touched by numbers only, so what changed after `before` shows in itself.
fn add_sessions(writing: &redb::WriteTransaction, before: Number, state: &State) -> Result<(), redb::Error> {
    let mut table = writing.open_table(SESSIONS)?;
    let mut gone = BTreeSet::new();
    for id in table.iter()? {
        gone.insert(id?.0.value());
    }
    for (id, session) in state.sessions.iter() {
        let known = gone.remove(&id.0);
        if session.used > before || !known {
            table.insert(id.0, &*encoded(session))?;
        }
    }
    for id in gone {
        table.remove(id)?;
    }
    let mut table = writing.open_table(KEYED)?;
    let mut first = u64::MAX;
    for (key, reply) in state.sessions.keyed() {
        let number = reply.recorded.number;
        first = first.min(number.0);
        if number > before {
            table.insert(number.0, &*encoded(&(key, reply)))?;
        }
    }
    table.retain_in(..first, |_, _| false)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use lockstep_core::ids::TableId;

    use super::*;
    use crate::sim_disk::SimDisk;

    #[test]
    fn one_that_is_not_wanted_any_more_leaves_the_checkpoint_as_it_was() {
        let (disk, dir, store) = (SimDisk::new(), Path::new("/d"), StoreId(1));
        disk.create_dir_all(dir).unwrap();
        let (file, mut progress) = (CheckpointFile::new(dir, store), Progress::none(store));
        let mut add = |segment: u64, wanted: bool| {
            let mut changes = Changes::new(&disk, dir, 0);
            changes.put(TableId(1), b"key", Some(&segment.to_le_bytes()));
            let upto = (segment, segment, false);
            file.add(&disk, &mut progress, upto, changes, &State::new(store), || wanted).unwrap()
        };
        let found = || {
            let (progress, state) = file.load(&disk).unwrap();
            (progress.segment, state.tables.get(TableId(1), b"key").map(|row| row[0]))
        };
        assert_eq!(add(1, false), None);
        assert_eq!(found(), (0, None));
        assert_eq!((add(2, true), add(3, false)), (Some(1), None));
        assert_eq!(found(), (2, Some(2)));
        assert_eq!(add(4, true), Some(1));
        assert_eq!(found(), (4, Some(4)));
    }

    #[test]
    fn a_panic_hook_can_tell_what_is_caught() {
        assert!(!panic_is_caught());
        assert_eq!(caught(panic_is_caught), Some(true));
        assert_eq!(caught(|| std::panic::resume_unwind(Box::new(()))), None::<()>);
        assert!(!panic_is_caught());
    }
}
