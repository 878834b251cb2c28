//! Files of the redo log: `redo-<number>.log`, written with zeros ahead, a header of 64 bytes, then records.
//!
//! Invariant: a segment gets its name by `link`, after its header and its zeros are durable. So a file under that
//! name is whole: one of another length than its header says is damaged. And two who make the same segment at the
//! same time end with one.
//!
//! A segment that is not needed any more becomes a *spare*, whose space a later one takes: to write over blocks that a
//! file has changes nothing of the file system's own, while to give some back and take others makes each of its journal's
//! commits larger, and syncs of the redo log wait behind those. A checkpoint leaves as many as it was made of.

use std::io;
use std::path::{Path, PathBuf};

use lockstep_core::ids::StoreId;
use xxhash_rust::xxh3::xxh3_64;

use crate::disk::{Disk, DiskFile};
use crate::error::{DuringExt, StoreError};
use crate::record::UNIT;

const MAGIC: [u8; 8] = *b"LSSEGMNT";
/// The layout of segments and records.
pub(crate) const LAYOUT: u32 = 3;
const ZEROS_BYTES: usize = 256 << 10;
/// No segment is longer, in bytes: a record is shorter than 4 GB.
pub(crate) const BYTES_MAX: u64 = 5 << 30;

/// The file of segment `number`.
pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("redo-{number:010}.log"))
}

/// So many spares are kept at most.
const SPARES_MAX: usize = 16;

/// The files whose space segments may take. Their names are ones that a start removes.
fn spares(dir: &Path) -> impl Iterator<Item = PathBuf> {
    (0..SPARES_MAX).map(|spare| dir.join(format!("redo-spare-{spare}.tmp")))
}

/// The file for what a checkpoint [sets aside](crate::aside). Its name is one that a start removes.
pub(crate) fn changes(dir: &Path) -> PathBuf {
    dir.join("redo-changes.tmp")
}

/// Gives up all spares: there is need of room.
pub(crate) fn remove_spares(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    spares(dir).try_for_each(|spare| remove_if_there(disk, &spare))
}

/// Makes segments that are not needed any more spares, or removes them where there are enough. Their names are gone for good when
/// this returns, so that no start finds one with what is written over it later.
pub(crate) fn retire(
    disk: &dyn Disk,
    dir: &Path,
    numbers: impl IntoIterator<Item = u64>,
) -> Result<(), StoreError> {
    let mut free = spares(dir).filter(|spare| disk.open_to_read(spare).is_err());
    for number in numbers {
        let path = path(dir, number);
        let Some(spare) = free.next() else {
            remove_if_there(disk, &path)?;
            continue;
        };
        match disk.rename(&path, &spare) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.during("set aside", &path)?,
        }
    }
    disk.sync_dir(dir).during("sync", dir)
}

/// The number of the segment in the file `name`.
pub(crate) fn number(name: &str) -> Option<u64> {
    let number = name.strip_prefix("redo-")?.strip_suffix(".log")?.parse().ok()?;
    // Only as we write it: no two names are one number.
    (name == format!("redo-{number:010}.log") && number < u64::MAX).then_some(number)
}

pub(crate) fn header(store: StoreId, number: u64, bytes: u64) -> [u8; UNIT] {
    let mut header = [0; UNIT];
    header[0..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&LAYOUT.to_le_bytes());
    header[16..32].copy_from_slice(&store.0.to_le_bytes());
    header[32..40].copy_from_slice(&number.to_le_bytes());
    header[40..48].copy_from_slice(&bytes.to_le_bytes());
    let checksum = xxh3_64(&header[..48]);
    header[48..56].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// How the space of a new segment is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// Zeros are written: records are then synced without a change of the file system's own data. Takes long.
    Written,
    /// Space is taken, no more: for the store's thread when it can't wait.
    Taken,
}

/// Makes segment `number`, unless it is there. Its name is durable only after a sync of the directory.
pub(crate) fn make(
    disk: &dyn Disk,
    dir: &Path,
    store: StoreId,
    number: u64,
    bytes: u64,
    ahead: Ahead,
) -> Result<(), StoreError> {
    let path = path(dir, number);
    let temporary = path.with_extension(if ahead == Ahead::Written { "ahead.tmp" } else { "urgent.tmp" });
    remove_if_there(disk, &temporary)?;
    let made = (|| {
        let file = match ahead {
            Ahead::Written => take_spare(disk, dir, &temporary, bytes)?,
            Ahead::Taken => None,
        };
        let file = file.map_or_else(|| disk.create(&temporary), Ok)?;
        match ahead {
            Ahead::Written => {
                let zeros = vec![0; ZEROS_BYTES.min(bytes as usize)];
                let mut at = 0;
                while at < bytes {
                    let piece = (bytes - at).min(zeros.len() as u64);
                    file.write_at(at, &zeros[..piece as usize])?;
                    at += piece;
                    // In pieces, so that the disk is never busy with this for long.
                    if at % (1 << 20) == 0 {
                        file.sync_data()?;
                    }
                }
            }
            Ahead::Taken => file.allocate(bytes)?,
        }
        file.write_at(0, &header(store, number, bytes))?;
        file.sync_data()?;
        match disk.link(&temporary, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    })();
    let removed = remove_if_there(disk, &temporary);
    made.during("make the redo segment", &path)?;
    removed
}

/// A spare under the name `temporary`, if there is one of `bytes` bytes.
fn take_spare(
    disk: &dyn Disk,
    dir: &Path,
    temporary: &Path,
    bytes: u64,
) -> io::Result<Option<Box<dyn DiskFile>>> {
    for spare in spares(dir) {
        let file = match disk.open(&spare) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if file.len()? == bytes {
            disk.rename(&spare, temporary)?;
            return Ok(Some(file));
        }
        disk.remove(&spare)?;
    }
    Ok(None)
}

/// Reads segment `number` as a whole. Its header and its length are checked before memory is taken for the rest.
pub(crate) fn read(disk: &dyn Disk, dir: &Path, store: StoreId, number: u64) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    read_into(&mut bytes, disk, dir, store, number)?;
    Ok(bytes)
}

/// As [`read`], in place of what `bytes` has: whoever reads one after the other touches no new memory.
pub(crate) fn read_into(
    bytes: &mut Vec<u8>,
    disk: &dyn Disk,
    dir: &Path,
    store: StoreId,
    number: u64,
) -> Result<(), StoreError> {
    let path = &path(dir, number);
    let (file, size) = open(disk, dir, store, number)?;
    bytes.resize(size as usize, 0);
    file.read_at(0, bytes).during("read", path)
}

/// Opens segment `number` to be read, and says how long it is. Its header is checked.
pub(crate) fn open(
    disk: &dyn Disk,
    dir: &Path,
    store: StoreId,
    number: u64,
) -> Result<(Box<dyn DiskFile>, u64), StoreError> {
    let path = &path(dir, number);
    let file = match disk.open_to_read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::damaged(path, "it is gone"));
        }
        file => file.during("open", path)?,
    };
    let len = file.len().during("measure", path)?;
    if len < UNIT as u64 {
        return Err(StoreError::damaged(path, "it is shorter than its header"));
    }
    let mut header = [0; UNIT];
    file.read_at(0, &mut header).during("read", path)?;
    let size = check(&header, path, store, number)?;
    if size != len || size > BYTES_MAX {
        return Err(StoreError::damaged(path, format!("it has {len} bytes, but was made with {size}")));
    }
    Ok((file, size))
}

/// Checks the header of a segment and returns the size that it is to have.
fn check(found: &[u8; UNIT], path: &Path, store: StoreId, number: u64) -> Result<u64, StoreError> {
    let damaged = |what: &str| Err(StoreError::damaged(path, what));
    let size = u64::from_le_bytes(found[40..48].try_into().expect("eight bytes"));
    if found[0..8] != MAGIC || found[48..56] != xxh3_64(&found[..48]).to_le_bytes() {
        return damaged("the header has a wrong checksum");
    }
    let layout = u32::from_le_bytes(found[8..12].try_into().expect("four bytes"));
    if layout != LAYOUT {
        return Err(StoreError::Layout { path: path.into(), found: layout, known: LAYOUT });
    }
    if *found != header(store, number, size) {
        return damaged("it is a segment of another store or another place");
    }
    Ok(size)
}

/// Writes zeros over `file` from `offset` on, where there are none yet. Durable only after a sync.
pub(crate) fn clear_from(file: &dyn DiskFile, offset: u64) -> io::Result<()> {
    let mut piece = vec![0; 4_096];
    let zeros = vec![0; 4_096];
    let mut at = offset;
    let len = file.len()?;
    while at < len {
        let end = (at + 4_096).min(len);
        let piece = &mut piece[..(end - at) as usize];
        file.read_at(at, piece)?;
        if piece.iter().any(|byte| *byte != 0) {
            file.write_at(at, &zeros[..piece.len()])?;
        }
        at = end;
    }
    Ok(())
}

pub(crate) fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.during("remove", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim_disk::SimDisk;

    #[test]
    fn as_many_segments_as_are_allowed_become_spares_until_room_is_wanted() {
        let (disk, dir, store, bytes) = (SimDisk::new(), Path::new("/d"), StoreId(1), 4 << 10);
        disk.create_dir_all(dir).unwrap();
        let make = |number| make(&disk, dir, store, number, bytes, Ahead::Written).unwrap();
        let files = || disk.files().len();
        let segments = 1..=SPARES_MAX as u64 + 3;
        segments.clone().for_each(make);
        // One that is not there any more hinders nobody.
        retire(&disk, dir, segments.chain([99])).unwrap();
        assert_eq!(files(), SPARES_MAX);
        assert!(spares(dir).all(|spare| disk.content(&spare).len() as u64 == bytes));
        make(50);
        assert_eq!(files(), SPARES_MAX, "it is one of them");
        remove_spares(&disk, dir).unwrap();
        assert_eq!(disk.files(), [path(dir, 50)]);
        make(51);
        assert_eq!(files(), 2);
    }
}
