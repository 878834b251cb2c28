//! The checkpoint's rows without a checkpoint around them: for `tests/stores` alone, which holds them against what else they
//! could be kept in.

use lockstep_core::ids::TableId;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use crate::changes::Changes;
use crate::checkpoint::blocks::{self, BLOCKS, Sum};
use crate::packed;

/// Puts rows, of one table, into the blocks.
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
    let mut blocks = writing.open_table(BLOCKS)?;
    blocks::put(&mut blocks, changes.into_order().rows(), &mut Sum::default())
}

/// Shows all rows.
///
/// # Errors
/// The engine's, and when a block is none.
pub fn read(reading: &ReadTransaction, mut row: impl FnMut(&[u8], &[u8])) -> Result<(), redb::Error> {
    let mut sum = Sum::default();
    for block in reading.open_table(BLOCKS)?.iter()? {
        let (first, block) = block?;
        sum.add(first.value(), block.value());
        for packed in packed::rows(block.value()) {
            let packed = packed.ok_or_else(blocks::cut_short)?;
            row(packed.key, packed.value.unwrap_or_default());
        }
    }
    Ok(())
}
