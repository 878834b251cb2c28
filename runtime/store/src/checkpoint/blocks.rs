//! Rows in blocks: the checkpoint's table has some hundred rows under one key, those whose hashes lie between that key and the next.
//!
//! Nobody looks for a single row in a checkpoint: all of them are read at a start, and many change at once. So a tree with a key
//! for each row would cost a descent and a place in a page for each, most of what a checkpoint costs; here a block is read,
//! merged with what has changed in it, and written. Rows with equal hashes are in one block.
//!
//! Invariants: a block's rows are in the order of their hashes; each is in the block with the highest key that is not above its
//! hash; no block is empty.

use std::cmp::Ordering;
use std::iter::Peekable;

use lockstep_core::ids::TableId;
use redb::{ReadableTable, Table, TableDefinition};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::packed::{self, Packed};

/// Blocks by the lowest hash that they may have.
pub(crate) const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");

/// A larger block is divided, in bytes. The engine's pages grow by powers of two: with what it adds, this fits one of 16 kB.
const BLOCK_BYTES_MAX: usize = 16_000;
/// How large the parts are about, in bytes: there is to be room for the next rows.
const PART_BYTES: usize = BLOCK_BYTES_MAX * 3 / 4;
/// New rows behind a block's old ones are taken so many bytes at a time.
const MERGED_BYTES: usize = 1 << 20;

/// What is known of all blocks together: a lost, added or changed one is found by it (R26).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum {
    blocks: u64,
    hashes: u64,
}

impl Sum {
    /// There is this block too.
    pub fn add(&mut self, first: u64, block: &[u8]) {
        self.blocks = self.blocks.wrapping_add(1);
        self.hashes = self.hashes.wrapping_add(xxh3_64_with_seed(block, first));
    }

    fn remove(&mut self, first: u64, block: &[u8]) {
        self.blocks = self.blocks.wrapping_sub(1);
        self.hashes = self.hashes.wrapping_sub(xxh3_64_with_seed(block, first));
    }
}

/// Puts `changes`, in the order of their hashes, into the blocks.
pub(crate) fn put<'a>(
    table: &mut Table<'_, u64, &'static [u8]>,
    changes: impl Iterator<Item = (u64, Packed<'a>)>,
    sum: &mut Sum,
) -> Result<(), redb::Error> {
    let mut changes = changes.peekable();
    let (mut old, mut merged) = (Vec::new(), Merged::default());
    while let Some((hash, _)) = changes.peek() {
        let hash = *hash;
        old.clear();
        // A block before all others begins at the lowest hash there is.
        let mut key = 0;
        if let Some((first, block)) = table.range(..=hash)?.next_back().transpose()? {
            key = first.value();
            old.extend_from_slice(block.value());
            sum.remove(key, &old);
        }
        let next = match hash.checked_add(1) {
            Some(above) => table.range(above..)?.next().transpose()?.map(|(next, _)| next.value()),
            None => None,
        };
        merged.merge(&old, &mut changes, |hash| next.is_none_or(|next| hash < next))?;
        if merged.bytes.is_empty() {
            table.remove(key)?;
        }
        for (at, (first, part)) in merged.parts().enumerate() {
            let key = if at == 0 { key } else { first };
            sum.add(key, part);
            table.insert(key, part)?;
        }
    }
    Ok(())
}

/// A block with its changes, and where it is to be divided.
#[derive(Default)]
struct Merged {
    bytes: Vec<u8>,
    /// The hash of each part's first row, and where that stands.
    starts: Vec<(u64, usize)>,
}

impl Merged {
    /// Merges the rows of `old` with those of `changes` that are `within` the block.
    fn merge<'a>(
        &mut self,
        old: &[u8],
        changes: &mut Peekable<impl Iterator<Item = (u64, Packed<'a>)>>,
        within: impl Fn(u64) -> bool,
    ) -> Result<(), redb::Error> {
        self.bytes.clear();
        let mut old = packed::rows(old).peekable();
        let mut last = None;
        loop {
            let row = match old.peek() {
                Some(Some(row)) => Some((row.hash(), *row)),
                Some(None) => return Err(cut_short()),
                None => None,
            };
            let full = row.is_none() && self.bytes.len() >= MERGED_BYTES;
            let may_come = |hash: u64| within(hash) && (!full || last == Some(hash));
            let change = changes.peek().filter(|(hash, _)| may_come(*hash)).copied();
            let order = match (row, change) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(row), Some(change)) => place(&row).cmp(&place(&change)),
            };
            let mut next = row;
            if order.is_le() {
                old.next();
            }
            if order.is_ge() {
                next = changes.next();
            }
            if let Some((hash, row)) = next.filter(|(_, row)| row.value.is_some()) {
                self.bytes.extend_from_slice(row.as_bytes());
                last = Some(hash);
            }
        }
        self.divide();
        Ok(())
    }

    /// Finds where parts of about the same size begin, if it is too large for one.
    fn divide(&mut self) {
        self.starts.clear();
        let parts = match self.bytes.len() {
            0..=BLOCK_BYTES_MAX => 1,
            bytes => bytes.div_ceil(PART_BYTES),
        };
        let part_bytes = self.bytes.len() / parts;
        let (mut at, mut last) = (0, None);
        for row in packed::rows(&self.bytes) {
            let row = row.expect("it was just merged");
            let hash = row.hash();
            let begins = self.starts.last().is_none_or(|(_, start)| at - start >= part_bytes && parts > 1);
            if begins && last != Some(hash) {
                self.starts.push((hash, at));
            }
            last = Some(hash);
            at += row.as_bytes().len();
        }
    }

    /// Each part with the hash of its first row.
    fn parts(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let ends = self.starts.iter().skip(1).map(|(_, start)| *start).chain([self.bytes.len()]);
        self.starts.iter().zip(ends).map(|((hash, start), end)| (*hash, &self.bytes[*start..end]))
    }
}

/// What is wrong with a block whose last row is not whole.
pub(crate) fn cut_short() -> redb::Error {
    redb::Error::Corrupted("a block of rows does not end with a row".into())
}

fn place<'a>((hash, row): &(u64, Packed<'a>)) -> (u64, TableId, &'a [u8]) {
    (*hash, row.table, row.key)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use redb::backends::InMemoryBackend;
    use redb::{Database, ReadableDatabase};

    use super::*;
    use crate::changes::Changes;

    type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

    fn changes(rows: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>) -> Changes {
        let mut changes = Changes::with_room(0);
        rows.for_each(|(key, value)| changes.put(TableId(7), &key, value.as_deref()));
        changes
    }

    /// The rows, after the invariants were looked at.
    fn read(database: &Database, expected: &Sum) -> Rows {
        let reading = database.begin_read().unwrap().open_table(BLOCKS).unwrap();
        let blocks: Vec<(u64, Vec<u8>)> = reading
            .iter()
            .unwrap()
            .map(|block| block.map(|(key, block)| (key.value(), block.value().to_vec())).unwrap())
            .collect();
        let (mut rows, mut sum) = (Rows::new(), Sum::default());
        for (at, (key, block)) in blocks.iter().enumerate() {
            sum.add(*key, block);
            assert!(!block.is_empty());
            let mut last = *key;
            for row in packed::rows(block).map(Option::unwrap) {
                assert!(row.hash() >= last && blocks.get(at + 1).is_none_or(|(next, _)| row.hash() < *next));
                last = row.hash();
                assert!(rows.insert(row.key.to_vec(), row.value.unwrap().to_vec()).is_none());
            }
            let one = packed::rows(block).count() == 1;
            assert!(block.len() <= BLOCK_BYTES_MAX || one, "a block of {} bytes", block.len());
        }
        assert_eq!(sum, *expected);
        rows
    }

    #[test]
    fn blocks_have_what_a_map_has_while_rows_come_change_and_go() {
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        let (mut model, mut sum, mut random) = (Rows::new(), Sum::default(), 1_u64);
        let mut draw = |below: u64| {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (random >> 33) % below
        };
        for (count, keys, gone) in [
            (40_000, 30_000, 1),
            (1, 10, 0),
            (3_000, 30_000, 3),
            (90_000, 30_000, 9),
            (50, 40, 5),
            (200_000, 30_000, 10),
        ] {
            let round: Vec<(Vec<u8>, Option<Vec<u8>>)> = (0..count)
                .map(|_| {
                    let key = format!("key{}", draw(keys)).into_bytes();
                    let value = (draw(10) >= gone).then(|| vec![draw(256) as u8; draw(90) as usize]);
                    (key, value)
                })
                .collect();
            for (key, value) in &round {
                match value {
                    Some(value) => drop(model.insert(key.clone(), value.clone())),
                    None => drop(model.remove(key)),
                }
            }
            let changes = changes(round.into_iter()).into_order();
            let writing = database.begin_write().unwrap();
            put(&mut writing.open_table(BLOCKS).unwrap(), changes.rows(), &mut sum).unwrap();
            writing.commit().unwrap();
            assert!(read(&database, &sum) == model, "after {count} changes");
        }
        assert!(model.is_empty() && sum == Sum::default(), "all of them went with the last");
    }

    #[test]
    fn a_row_of_any_size_has_its_block() {
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        let mut sum = Sum::default();
        let rows = || (0..40_u8).map(|key| (vec![key], Some(vec![key; usize::from(key) * 2_000])));
        let changes = changes(rows()).into_order();
        let writing = database.begin_write().unwrap();
        put(&mut writing.open_table(BLOCKS).unwrap(), changes.rows(), &mut sum).unwrap();
        writing.commit().unwrap();
        let reading = database.begin_read().unwrap().open_table(BLOCKS).unwrap();
        let blocks: Vec<usize> =
            reading.iter().unwrap().map(|block| block.unwrap().1.value().len()).collect();
        assert!(blocks.iter().sum::<usize>() > 1_500_000 && blocks.len() > 20, "{blocks:?}");
        drop(reading);
        let changes = self::changes(rows().map(|(key, _)| (key, None))).into_order();
        let writing = database.begin_write().unwrap();
        put(&mut writing.open_table(BLOCKS).unwrap(), changes.rows(), &mut sum).unwrap();
        writing.commit().unwrap();
        assert_eq!(sum, Sum::default());
    }
}
