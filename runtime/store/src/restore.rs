//! A store of its own from another one's content: what a backup is, and what is restored from one.

use std::path::Path;
use std::sync::Arc;

use lockstep_core::entry::Row;
use lockstep_core::ids::StoreId;

use crate::disk::Disk;
use crate::error::{DuringExt, StoreError};
use crate::inspect::Export;
use crate::store::{Options, Store};

/// So many bytes of rows go into one record.
const PIECE_BYTES: usize = 1 << 20;

/// Makes a store with the id `store`, which was never used before (R2), and the content of `content` in the group's
/// directory `dir`, which has none. Durable when it returns: it can be opened, and is closed in order.
///
/// Until it is whole it stands beside `dir`, under the same name with `.made` behind it.
///
/// # Errors
/// When there is a store, or the disk fails.
pub fn restore(
    disk: Arc<dyn Disk>,
    dir: &Path,
    content: &Export,
    store: StoreId,
    boot: &str,
) -> Result<(), StoreError> {
    let mut unborn = dir.as_os_str().to_owned();
    unborn.push(".made");
    let unborn = Path::new(&unborn);
    for place in [dir, unborn] {
        disk.create_dir_all(place).during("create", place)?;
        if !disk.list(place).during("list", place)?.is_empty() {
            return Err(StoreError::Occupied { path: place.into() });
        }
    }
    fill(&disk, unborn, content, store, boot)?;
    disk.rename(unborn, dir).during("rename", dir)?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    disk.sync_dir(parent).during("sync", parent)
}

fn fill(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    content: &Export,
    store: StoreId,
    boot: &str,
) -> Result<(), StoreError> {
    let state = &content.state;
    // The store that it is a copy beside of goes as soon as the copy is whole.
    let before = StoreId(!store.0);
    let options = Options { boot: boot.to_owned(), ..Options::new(before) };
    let (mut made, _) = Store::open(disk.clone(), dir, options)?;
    made.copy_begin(store, &state.meta)?;
    let (mut rows, mut bytes, mut outcome) = (Vec::new(), 0, Ok(()));
    for table in state.tables.ids() {
        state.tables.scan(table, &[], None, &mut |key, value| {
            bytes += key.len() + value.len();
            rows.push(Row { table, key: key.into(), value: value.into() });
            if bytes >= PIECE_BYTES {
                outcome = made.copy_rows(&rows);
                rows.clear();
                bytes = 0;
            }
            outcome.is_ok()
        });
        std::mem::replace(&mut outcome, Ok(()))?;
    }
    if !rows.is_empty() {
        made.copy_rows(&rows)?;
    }
    let sessions: Vec<_> = state.sessions.iter().map(|(id, session)| (id, session.clone())).collect();
    let keyed: Vec<_> = state.sessions.keyed().map(|(key, reply)| (key.into(), reply.clone())).collect();
    made.copy_end(&sessions, &keyed, &state.meta)?;
    made.copy_kept()?;
    made.close()
}
