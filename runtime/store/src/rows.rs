//! The checkpoint's rows without a checkpoint around them: for `tests/stores` alone, which holds them against what else they
//! could be kept in.

use lockstep_core::ids::TableId;
use redb::{ReadTransaction, WriteTransaction};

use crate::changes::Changes;
use crate::checkpoint::rows::{self, ROWS, Sum};

/// Puts rows of one table into the tree.
///
/// # Errors
/// The engine's.
pub fn put<'a>(
    writing: &WriteTransaction,
    table: u32,
    rows: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<(), redb::Error> {
    let mut changes = Changes::with_room(0);
    rows.for_each(|(key, value)| changes.put(TableId(table), key, Some(value)));
    let mut tree = writing.open_table(ROWS)?;
    changes.in_order().try_for_each(|part| rows::put(&mut tree, part.rows(), &mut Sum::default()))
}

/// Shows all rows.
///
/// # Errors
/// The engine's, and when something there is no row.
pub fn read(reading: &ReadTransaction, mut row: impl FnMut(&[u8], &[u8])) -> Result<(), redb::Error> {
    rows::read(&reading.open_table(ROWS)?, |packed| row(packed.key, packed.value.unwrap_or_default()))
        .map(drop)
}
