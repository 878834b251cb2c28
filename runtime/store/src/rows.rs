//! The checkpoint's rows without a checkpoint around them: for `tests/stores` alone, which holds them against what else they
//! could be kept in.

use std::error::Error;
use std::path::Path;

use lockstep_core::ids::TableId;
use redb::{ReadTransaction, WriteTransaction};

use crate::changes::Changes;
use crate::checkpoint::rows::{self, ROWS, Sum};
use crate::disk::RealDisk;

/// Puts rows of one table into the tree. They are made of some `redo_bytes`, and what is too much for memory is set aside in `dir`.
///
/// # Errors
/// The engine's, and the disk's.
pub fn put<'a>(
    writing: &WriteTransaction,
    dir: &Path,
    redo_bytes: u64,
    table: u32,
    rows: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut changes = Changes::new(&RealDisk, dir, redo_bytes);
    rows.for_each(|(key, value)| changes.put(TableId(table), key, Some(value)));
    let (mut tree, mut parts) = (writing.open_table(ROWS)?, changes.in_order()?);
    while let Some(part) = parts.next()? {
        rows::put(&mut tree, part.rows(), &mut Sum::default())?;
    }
    Ok(())
}

/// Shows all rows.
///
/// # Errors
/// The engine's, and when something there is no row.
pub fn read(reading: &ReadTransaction, mut row: impl FnMut(&[u8], &[u8])) -> Result<(), redb::Error> {
    rows::read(&reading.open_table(ROWS)?, |packed| row(packed.key, packed.value.unwrap_or_default()))
        .map(drop)
}
