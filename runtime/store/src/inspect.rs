//! What people may see of the stores of a processor that is stopped. Nothing here changes a file.

use std::path::{Path, PathBuf};

use lockstep_core::ids::{Number, StoreId};
use lockstep_core::state::State;

use crate::directory::{self, Written};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::recovery::{Found, recover};

/// A redo segment, for people.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SegmentInspection {
    /// Its number.
    pub number: u64,
    /// How many records are in it.
    pub records: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The first entry's number; 0 if there is none.
    pub first: Number,
    /// The last entry's number; 0 if there is none.
    pub last: Number,
}

/// A store, for people.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StoreInspection {
    /// The store.
    pub store: StoreId,
    /// Its directory.
    pub dir: PathBuf,
    /// It is the one in force.
    pub current: bool,
    /// It is half a copy.
    pub half_copy: bool,
    /// Why it is not trusted, if so.
    pub untrusted: Option<String>,
    /// What is wrong with its files, if anything.
    pub damage: Option<String>,
    /// The checkpoint holds everything up to here.
    pub checkpoint: Number,
    /// Everything that is found goes up to here.
    pub last: Number,
    /// It was closed in an orderly manner, or never written.
    pub closed: bool,
    /// Bytes that never were acknowledged lie behind the end of the log.
    pub torn: bool,
    /// The redo log.
    pub segments: Vec<SegmentInspection>,
}

/// All stores of a group.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Inspection {
    /// Every store, the one in force first.
    pub stores: Vec<StoreInspection>,
}

/// The outcome of a check of the store in force.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Verification {
    /// The store.
    pub store: StoreId,
    /// Everything goes up to here.
    pub last: Number,
    /// The digest of all rows: equal on processors with equal databases.
    pub digest: String,
    /// How many rows there are.
    pub rows: usize,
    /// How many redo records were read.
    pub records: usize,
    /// Bytes that never were acknowledged lie behind the end of the log; the next start removes them.
    pub torn: bool,
}

/// The database of a processor that is stopped.
#[derive(Debug)]
pub struct Export {
    /// The store in force.
    pub store: StoreId,
    /// Its content.
    pub state: State,
}

fn free(dir: &Path, in_use: bool) -> Result<(), StoreError> {
    if in_use { Err(StoreError::InUse { path: dir.into() }) } else { Ok(()) }
}

fn in_force(disk: &dyn Disk, dir: &Path) -> Result<StoreId, StoreError> {
    let missing = || StoreError::NoStore { path: dir.into() };
    match directory::current(disk, dir)? {
        Some(Ok(id)) if directory::check(disk, dir, id)? => Ok(id),
        _ => Err(missing()),
    }
}

fn whole(disk: &dyn Disk, dir: &Path, in_use: bool) -> Result<(StoreId, Found), StoreError> {
    free(dir, in_use)?;
    let store = in_force(disk, dir)?;
    if let Some(reason) = directory::untrusted(disk, dir, store)? {
        return Err(StoreError::Untrusted { store, reason });
    }
    Ok((store, recover(disk, &directory::store_dir(dir, store), store, 0)?))
}

/// Reads the whole store in force in `dir`, every checksum included. `in_use`: the directory's lock is held by a
/// processor that runs.
///
/// # Errors
/// The damage that was found, or why it could not be looked for.
pub fn verify(disk: &dyn Disk, dir: &Path, in_use: bool) -> Result<Verification, StoreError> {
    let (store, found) = whole(disk, dir, in_use)?;
    Ok(Verification {
        store,
        last: found.state.meta.last,
        digest: format!("{:016x}", found.state.digest()),
        rows: found.state.tables.ids().map(|table| found.state.tables.len(table)).sum(),
        records: found.scan.segments.iter().map(|segment| segment.records.len()).sum(),
        torn: found.scan.dirty,
    })
}

/// Reads the database in `dir`, as its processor would at its next start. `in_use`: see [`verify`].
///
/// # Errors
/// When there is no store that can be relied on.
pub fn export(disk: &dyn Disk, dir: &Path, in_use: bool) -> Result<Export, StoreError> {
    let (store, found) = whole(disk, dir, in_use)?;
    Ok(Export { store, state: found.state })
}

/// Looks at all stores in `dir`. `in_use`: see [`verify`].
///
/// # Errors
/// When the directory can't be read; damage of a store is part of the answer.
pub fn inspect(disk: &dyn Disk, dir: &Path, in_use: bool) -> Result<Inspection, StoreError> {
    free(dir, in_use)?;
    let current = directory::current(disk, dir)?.and_then(Result::ok);
    let mut stores = Vec::new();
    for store in directory::stores(disk, dir)? {
        let store_dir = directory::store_dir(dir, store);
        let half_copy = !directory::is_whole(disk, dir, store)?;
        let mut found = StoreInspection {
            store,
            current: current == Some(store),
            half_copy,
            untrusted: directory::untrusted(disk, dir, store)?,
            damage: None,
            checkpoint: Number(0),
            last: Number(0),
            closed: directory::written(disk, dir, store, "")? == Written::Whole,
            torn: false,
            segments: Vec::new(),
            dir: store_dir.clone(),
        };
        match recover(disk, &store_dir, store, 0) {
            Ok(Found { state, progress, scan, .. }) => {
                (found.checkpoint, found.last) = (progress.meta.last, state.meta.last);
                found.torn = scan.dirty;
                found.segments = scan
                    .segments
                    .iter()
                    .map(|segment| {
                        let numbers = || segment.records.iter().map(|(_, header)| header);
                        SegmentInspection {
                            number: segment.number,
                            records: segment.records.len(),
                            bytes: segment.end,
                            first: numbers()
                                .map(|header| header.first)
                                .find(|first| first.0 > 0)
                                .unwrap_or_default(),
                            last: numbers().map(|header| header.last).max().unwrap_or_default(),
                        }
                    })
                    .collect();
            }
            Err(_) if half_copy => {}
            Err(error) => found.damage = Some(error.to_string()),
        }
        stores.push(found);
    }
    stores.sort_by_key(|store| !store.current);
    Ok(Inspection { stores })
}
