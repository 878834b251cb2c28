//! Rows in the checkpoint's tree: each under the hash of its table and key, as it is packed.
//!
//! Nobody looks for a row by its key in a checkpoint, so the order is the one that changes come in: that of a number which stands
//! beside each of them, and is cheaper to sort by than keys in memory that is in no cache. Rows whose hashes are equal stand under
//! one, one behind the other.

use redb::{ReadableTable, Table, TableDefinition};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::packed::{self, Packed};

/// Rows by their hashes.
pub(crate) const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");

/// What is known of all rows together: a lost, added or changed one is found by it (R26).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum {
    hashes: u64,
    of_content: u64,
}

impl Sum {
    /// There are these rows under `hash` too.
    fn add(&mut self, hash: u64, rows: &[u8]) {
        self.hashes = self.hashes.wrapping_add(1);
        self.of_content = self.of_content.wrapping_add(xxh3_64_with_seed(rows, hash));
    }

    fn remove(&mut self, hash: u64, rows: &[u8]) {
        self.hashes = self.hashes.wrapping_sub(1);
        self.of_content = self.of_content.wrapping_sub(xxh3_64_with_seed(rows, hash));
    }
}

/// Puts `changes`, best in the order of their hashes, into the tree.
pub(crate) fn put<'a>(
    table: &mut Table<'_, u64, &'static [u8]>,
    changes: impl Iterator<Item = (u64, Packed<'a>)>,
    sum: &mut Sum,
) -> Result<(), redb::Error> {
    for (hash, row) in changes {
        let new = row.value.map_or(&[][..], |_| row.as_bytes());
        // Nearly always none.
        let mut others = Vec::new();
        {
            let old = if new.is_empty() { table.remove(hash)? } else { table.insert(hash, new)? };
            let old = old.as_ref().map_or(&[][..], |old| old.value());
            if !old.is_empty() {
                sum.remove(hash, old);
            }
            for other in packed::rows(old) {
                let other = other.ok_or_else(cut_short)?;
                if (other.table, other.key) != (row.table, row.key) {
                    others.extend_from_slice(other.as_bytes());
                }
            }
        }
        if others.is_empty() {
            if !new.is_empty() {
                sum.add(hash, new);
            }
        } else {
            others.extend_from_slice(new);
            sum.add(hash, &others);
            table.insert(hash, &*others)?;
        }
    }
    Ok(())
}

/// Shows all rows, and says what their sum is.
pub(crate) fn read(
    table: &impl ReadableTable<u64, &'static [u8]>,
    mut row: impl FnMut(Packed<'_>),
) -> Result<Sum, redb::Error> {
    let mut sum = Sum::default();
    for under_one in table.iter()? {
        let (hash, rows) = under_one?;
        sum.add(hash.value(), rows.value());
        for packed in packed::rows(rows.value()) {
            row(packed.ok_or_else(cut_short)?);
        }
    }
    Ok(sum)
}

/// What is wrong with rows of which the last is not whole.
fn cut_short() -> redb::Error {
    redb::Error::Corrupted("what stands under a hash does not end with a row".into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use lockstep_core::ids::TableId;
    use redb::backends::InMemoryBackend;
    use redb::{Database, ReadableDatabase};

    use super::*;
    use crate::changes::Changes;
    use crate::disk::Disk;
    use crate::sim_disk::SimDisk;

    type Rows = BTreeMap<(u32, Vec<u8>), Vec<u8>>;

    /// The rows, after their sum was looked at.
    fn rows_of(database: &Database, expected: &Sum) -> Rows {
        let reading = database.begin_read().unwrap().open_table(ROWS).unwrap();
        let mut rows = Rows::new();
        let sum = read(&reading, |row| {
            let before = rows.insert((row.table.0, row.key.to_vec()), row.value.unwrap().to_vec());
            assert!(before.is_none());
        });
        assert_eq!(sum.unwrap(), *expected);
        rows
    }

    fn put_all<'a>(database: &Database, changes: impl Iterator<Item = (u64, Packed<'a>)>, sum: &mut Sum) {
        let writing = database.begin_write().unwrap();
        put(&mut writing.open_table(ROWS).unwrap(), changes, sum).unwrap();
        writing.commit().unwrap();
    }

    #[test]
    fn the_tree_has_what_a_map_has_while_rows_come_change_and_go() {
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        let (disk, dir) = (SimDisk::new(), Path::new("/d"));
        disk.create_dir_all(dir).unwrap();
        let (mut model, mut sum, mut random) = (Rows::new(), Sum::default(), 1_u64);
        let mut draw = |below: u64| {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (random >> 33) % below
        };
        for (count, gone) in [(4_000, 1), (1, 0), (3_000, 3), (9_000, 9), (50, 5), (30_000, 10)] {
            let mut changes = Changes::new(&disk, dir, 0);
            for _ in 0..count {
                let (table, key) = (draw(2) as u32, format!("key{}", draw(1_500)).into_bytes());
                let value = (draw(10) >= gone).then(|| vec![draw(256) as u8; draw(90) as usize]);
                changes.put(TableId(table), &key, value.as_deref());
                match value {
                    Some(value) => drop(model.insert((table, key), value)),
                    None => drop(model.remove(&(table, key))),
                }
            }
            let mut parts = changes.in_order().unwrap();
            while let Some(part) = parts.next().unwrap() {
                put_all(&database, part.rows(), &mut sum);
            }
            assert!(rows_of(&database, &sum) == model, "after {count} changes");
        }
        assert!(model.is_empty() && sum == Sum::default(), "all of them went with the last");
    }

    #[test]
    fn rows_whose_hashes_are_equal_stand_beside_each_other() {
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        let mut sum = Sum::default();
        let mut step = |rows: &[(u32, &str, Option<&str>)], expected: &[(u32, &str, &str)]| {
            let mut bytes = Vec::new();
            for (table, key, value) in rows {
                packed::append(&mut bytes, TableId(*table), key.as_bytes(), value.map(str::as_bytes));
            }
            put_all(&database, packed::rows(&bytes).map(|row| (7, row.unwrap())), &mut sum);
            let expected =
                expected.iter().map(|(table, key, value)| ((*table, (*key).into()), (*value).into()));
            assert_eq!(rows_of(&database, &sum), expected.collect());
        };
        step(
            &[(1, "a", Some("x")), (1, "b", Some("y")), (2, "a", Some("z"))],
            &[(1, "a", "x"), (1, "b", "y"), (2, "a", "z")],
        );
        step(&[(1, "b", Some("new")), (2, "a", None), (2, "b", None)], &[(1, "a", "x"), (1, "b", "new")]);
        step(&[(1, "a", None)], &[(1, "b", "new")]);
        step(&[(1, "b", None)], &[]);
    }
}
