//! The directory of a group's stores: which is in force, and what is known of each.
//!
//! `current` names the store in force. `store-<id>/` has `store` (what it is), the redo log, the checkpoint, `written`
//! (under which boot of the machine, or `whole`), and perhaps the marks `half-copy` and `untrusted` (with the reason).
//!
//! Invariants: `current` never names half a copy, and a store is removed only after `current` names another. `written`
//! is changed before the first record of a boot is written, and is `whole` only while nothing was written since a
//! sync of everything.

use std::io;
use std::path::{Path, PathBuf};

use lockstep_core::ids::StoreId;
use xxhash_rust::xxh3::xxh3_64;

use crate::disk::{Disk, read_if_there, replace};
use crate::error::{DuringExt, StoreError};
use crate::segment::{LAYOUT, remove_if_there};

const CURRENT: &str = "current";
const STORE: &str = "store";
pub(crate) const HALF_COPY: &str = "half-copy";
pub(crate) const UNTRUSTED: &str = "untrusted";
const WRITTEN: &str = "written";
const WHOLE: &str = "whole";
/// Longer texts are no text of ours, in bytes.
const TEXT_BYTES: usize = 64 << 10;

/// The directory of the store `id`.
pub(crate) fn store_dir(dir: &Path, id: StoreId) -> PathBuf {
    dir.join(format!("store-{id}"))
}

fn text(disk: &dyn Disk, path: &Path) -> Result<Option<String>, StoreError> {
    let bytes = read_if_there(disk, path, TEXT_BYTES).during("read", path)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
}

/// The stores in `dir`, by the names of their directories.
pub(crate) fn stores(disk: &dyn Disk, dir: &Path) -> Result<Vec<StoreId>, StoreError> {
    let names = disk.list(dir).during("list", dir)?;
    Ok(names.iter().filter_map(|name| name.strip_prefix("store-")?.parse().ok()).collect())
}

/// What `current` says, if it is there.
pub(crate) fn current(disk: &dyn Disk, dir: &Path) -> Result<Option<Result<StoreId, String>>, StoreError> {
    Ok(text(disk, &dir.join(CURRENT))?.map(|name| name.parse().map_err(|_| name)))
}

/// Puts the store `id` in force. Durable when it returns.
pub(crate) fn set_current(disk: &dyn Disk, dir: &Path, id: StoreId) -> Result<(), StoreError> {
    replace(disk, dir, CURRENT, format!("{id}\n").as_bytes()).during("write", &dir.join(CURRENT))
}

/// Whether the store `id` was made to its end and is no half copy.
pub(crate) fn is_whole(disk: &dyn Disk, dir: &Path, id: StoreId) -> Result<bool, StoreError> {
    let store = store_dir(dir, id);
    Ok(text(disk, &store.join(STORE))?.is_some() && text(disk, &store.join(HALF_COPY))?.is_none())
}

/// What the file `store` says: the layout, the store, and a checksum, so that a flipped bit is no other layout.
fn identity(layout: u32, id: StoreId) -> String {
    let text = format!("lockstep-store {layout} {id}");
    let checksum = xxh3_64(text.as_bytes());
    format!("{text} {checksum:016x}")
}

/// Checks that `store-<id>` is what its name says.
pub(crate) fn check(disk: &dyn Disk, dir: &Path, id: StoreId) -> Result<bool, StoreError> {
    let path = store_dir(dir, id).join(STORE);
    let Some(text) = text(disk, &path)? else { return Ok(false) };
    let layout = text.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    match layout {
        Some(found) if text == identity(found, id) => match found {
            LAYOUT => Ok(true),
            found => Err(StoreError::Layout { path, found, known: LAYOUT }),
        },
        _ => Err(StoreError::damaged(&path, "it does not say which store this is")),
    }
}

/// Says what the store `id` is: the last step of making it, but for `current`. Durable when it returns.
pub(crate) fn declare(disk: &dyn Disk, dir: &Path, id: StoreId) -> Result<(), StoreError> {
    let store = store_dir(dir, id);
    let text = identity(LAYOUT, id) + "\n";
    replace(disk, &store, STORE, text.as_bytes()).during("write", &store.join(STORE))?;
    disk.sync_dir(dir).during("sync", dir)
}

/// Puts a mark on the store `id`. Durable when it returns.
pub(crate) fn mark(
    disk: &dyn Disk,
    dir: &Path,
    id: StoreId,
    mark: &str,
    why: &str,
) -> Result<(), StoreError> {
    let store = store_dir(dir, id);
    replace(disk, &store, mark, format!("{why}\n").as_bytes()).during("write", &store.join(mark))
}

/// Marks the store in `store` (its own directory) as not to be trusted, durably if the disk still can. If not, the
/// operating system at least knows the mark as long as it believes in what was not synced either (R26): after the
/// next boot both are gone, and the redo log shows what was synced.
pub(crate) fn distrust(disk: &dyn Disk, store: &Path, why: &str) -> Result<(), StoreError> {
    let (path, text) = (store.join(UNTRUSTED), format!("{why}\n"));
    let Err(error) = replace(disk, store, UNTRUSTED, text.as_bytes()) else { return Ok(()) };
    let unsynced = store.join("untrusted.unsynced.tmp");
    remove_if_there(disk, &unsynced)?;
    let written = disk.create(&unsynced).and_then(|file| file.write_at(0, text.as_bytes()));
    written.and_then(|()| disk.rename(&unsynced, &path)).map_err(|_| error).during("write", &path)
}

/// Takes a mark off the store `id`. Durable when it returns.
pub(crate) fn unmark(disk: &dyn Disk, dir: &Path, id: StoreId, mark: &str) -> Result<(), StoreError> {
    let store = store_dir(dir, id);
    remove_if_there(disk, &store.join(mark))?;
    disk.sync_dir(&store).during("sync", &store)
}

/// Why the store `id` is not to be trusted, if so.
pub(crate) fn untrusted(disk: &dyn Disk, dir: &Path, id: StoreId) -> Result<Option<String>, StoreError> {
    text(disk, &store_dir(dir, id).join(UNTRUSTED))
}

/// When the store `id` was written last (R26).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Nothing since everything was synced.
    Whole,
    /// Under the boot that was asked for.
    ThisBoot,
    /// Under another one, or nobody knows.
    OtherBoot,
}

/// When the store `id` was written last, seen from the boot `boot`.
pub(crate) fn written(disk: &dyn Disk, dir: &Path, id: StoreId, boot: &str) -> Result<Written, StoreError> {
    Ok(match text(disk, &store_dir(dir, id).join(WRITTEN))? {
        Some(found) if found == WHOLE => Written::Whole,
        Some(found) if found == boot_line(boot) => Written::ThisBoot,
        _ => Written::OtherBoot,
    })
}

fn boot_line(boot: &str) -> String {
    format!("boot {boot}").trim().to_owned()
}

/// From here on the store `id` is written under the boot `boot`. Durable when it returns.
pub(crate) fn set_written(disk: &dyn Disk, dir: &Path, id: StoreId, boot: &str) -> Result<(), StoreError> {
    mark(disk, dir, id, WRITTEN, &boot_line(boot))
}

/// Everything in the store `id` is synced, and nothing follows. Durable when it returns.
pub(crate) fn set_whole(disk: &dyn Disk, dir: &Path, id: StoreId) -> Result<(), StoreError> {
    mark(disk, dir, id, WRITTEN, WHOLE)
}

/// Removes the store `id` with all its files.
pub(crate) fn remove(disk: &dyn Disk, dir: &Path, id: StoreId) -> Result<(), StoreError> {
    let store = store_dir(dir, id);
    let mut names = match disk.list(&store) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        names => names.during("list", &store)?,
    };
    // What makes it a store goes first: half removed, it is none.
    names.sort_by_key(|name| name != STORE);
    for name in names {
        remove_if_there(disk, &store.join(name))?;
        // The background work may just have made one more file; it ends with the directory.
    }
    match disk.remove_dir(&store) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            for name in disk.list(&store).during("list", &store)? {
                remove_if_there(disk, &store.join(name))?;
            }
            disk.remove_dir(&store).during("remove", &store)?;
        }
        other => other.during("remove", &store)?,
    }
    disk.sync_dir(dir).during("sync", dir)
}
