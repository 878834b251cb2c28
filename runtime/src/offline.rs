//! The databases of a processor that is stopped, or whose checkpoints are held still, for `lockstep db`.
//!
//! Invariants: nothing is changed; a directory whose processor runs is refused unless it is said that this is known, and no
//! processor can start in one that was stopped while it is read.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockstep_core::ids::StoreId;
use lockstep_core::state::State;
use lockstep_os::DirectoryLock;
use lockstep_store::disk::RealDisk;
use lockstep_store::{Export, Inspection, StoreError, Verification};

use crate::config::NodeConfig;

/// The group's directory in the data directory: APPLICATION/PARTITION.
#[must_use]
pub fn group_dir(config: &NodeConfig, application: &str, partition: u16) -> PathBuf {
    config.data.join(application).join(partition.to_string())
}

/// A group's directory, locked while this lives.
pub struct Offline {
    directory: PathBuf,
    _lock: Option<DirectoryLock>,
}

impl Offline {
    /// Takes the group's directory `directory`, which is DATA/APPLICATION/PARTITION.
    ///
    /// # Errors
    /// When a processor uses it.
    pub fn open(directory: PathBuf) -> Result<Self, StoreError> {
        let data = directory.ancestors().nth(2).unwrap_or(&directory).to_owned();
        // Without a lock file no processor ever ran there; none is made, because nothing is to be changed.
        let lock = match data.join("lock").exists() {
            true => Some(DirectoryLock::take(&data).map_err(|_| StoreError::InUse { path: data })?),
            false => None,
        };
        Ok(Offline { directory, _lock: lock })
    }

    /// The group's directory of a processor that runs, and that makes no checkpoint meanwhile. What it writes while it is
    /// read may look damaged: whoever reads tries again.
    #[must_use]
    pub fn of_running(directory: PathBuf) -> Self {
        Offline { directory, _lock: None }
    }

    /// Takes the group's directory `directory` to make a store in it, which it must not have. The processor's data directory
    /// is made if it is missing.
    ///
    /// # Errors
    /// When a processor uses it, or it can't be made.
    pub fn to_make(directory: PathBuf) -> Result<Self, StoreError> {
        let data = directory.ancestors().nth(2).unwrap_or(&directory).to_owned();
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&data);
        made.map_err(|source| StoreError::Disk { operation: "create", path: data.clone(), source })?;
        let lock = DirectoryLock::take(&data).map_err(|_| StoreError::InUse { path: data })?;
        Ok(Offline { directory, _lock: Some(lock) })
    }

    /// Makes a store with the content of another one in the directory, under an id that was never used before (R2).
    ///
    /// # Errors
    /// When there is a store, or the disk fails.
    pub fn make(&self, content: &Export) -> Result<StoreId, StoreError> {
        make(&self.directory, content)
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// All stores, for people.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn inspect(&self) -> Result<Inspection, StoreError> {
        lockstep_store::inspect(&RealDisk, &self.directory, false)
    }

    /// Reads everything, every checksum included.
    ///
    /// # Errors
    /// The damage that was found.
    pub fn verify(&self) -> Result<Verification, StoreError> {
        lockstep_store::verify(&RealDisk, &self.directory, false)
    }

    /// The database, as its processor would find it at its next start.
    ///
    /// # Errors
    /// When there is no store that can be relied on.
    pub fn export(&self) -> Result<Export, StoreError> {
        lockstep_store::export(&RealDisk, &self.directory, false)
    }
}

/// Makes a store with the content of another one in `directory`, under an id that was never used before (R2).
///
/// # Errors
/// When there is a store, or the disk fails.
pub fn make(directory: &Path, content: &Export) -> Result<StoreId, StoreError> {
    let failed = |operation| move |source| StoreError::Disk { operation, path: directory.to_owned(), source };
    let store = StoreId(lockstep_os::random_u128().map_err(failed("get an id for a store in"))?);
    let boot = lockstep_os::boot_id().map_err(failed("get the machine's boot id for"))?;
    lockstep_store::restore(Arc::new(RealDisk), directory, content, store, &boot)?;
    Ok(store)
}

/// Is shown rows: table, key, value. An error of its own ends the visit.
pub type VisitRow<'a, E> = &'a mut dyn FnMut(&str, &[u8], &[u8]) -> Result<(), E>;

/// Calls `row` with every row; tables by id, rows in the order of their keys. Stops at an error.
///
/// # Errors
/// What `row` returned.
pub fn rows<E>(state: &State, row: VisitRow<'_, E>) -> Result<(), E> {
    for table in state.meta.tables.values() {
        let mut outcome = Ok(());
        state.tables.scan(table.id, &[], None, &mut |key, value| {
            outcome = row(&table.name, key, value);
            outcome.is_ok()
        });
        outcome?;
    }
    Ok(())
}
