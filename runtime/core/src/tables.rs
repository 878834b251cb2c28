//! Tables in memory, each of the kind that it declares. No formats and no meaning of rows here: bytes only.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;

use crate::descriptor::TableKind;
use crate::entry::{Op, OpRef, Row};
use crate::hash_seed::HashSeed;
use crate::ids::TableId;
use crate::row_key::RowKey;
use crate::shared_bytes::SharedBytes;

mod by_table;
mod packed_row;
mod rows;
mod shards;
mod walk_one;
mod walk_stable;

use by_table::ByTable;
use packed_row::PackedRow;
use rows::Rows;
use shards::Shards;
pub(crate) use shards::{Place, SHARDS, shard_of};
pub use walk_one::TableCursor;

/// What a row costs beside its key and value, in bytes; an estimate for the memory bound.
const ROW_OVERHEAD_BYTES: usize = 64;

#[derive(Clone, Debug)]
enum Table {
    Hash(Shards),
    Ordered(BTreeMap<RowKey, SharedBytes>),
}

/// An estimate of the memory that a row takes, in bytes; none takes none.
pub(crate) fn row_bytes(key: &[u8], value: Option<&[u8]>) -> usize {
    value.map_or(0, |value| key.len() + value.len() + ROW_OVERHEAD_BYTES)
}

/// Where a walk over all rows stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalkCursor {
    table: Option<TableId>,
    shard: usize,
    after: Option<RowKey>,
}

/// Is shown rows by a scan, and says whether it wants more.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> bool;

/// All tables of a group.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    seed: HashSeed,
    tables: ByTable<Table>,
    bytes: usize,
}

impl Tables {
    /// No tables; the keys of those to come are hashed with `seed`.
    #[must_use]
    pub fn new(seed: HashSeed) -> Self {
        Tables { seed, ..Tables::default() }
    }

    /// What keys are hashed with.
    #[must_use]
    pub fn hash_seed(&self) -> HashSeed {
        self.seed
    }

    /// Adds an empty table unless it exists.
    pub fn create(&mut self, id: TableId, kind: TableKind) {
        let seed = self.seed;
        self.tables.get_or_insert_with(id, || match kind {
            TableKind::Hash => Table::Hash(Shards::new(seed.for_table(id))),
            TableKind::Ordered => Table::Ordered(BTreeMap::new()),
        });
    }

    /// An estimate of the memory that the rows take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of rows of `table`.
    #[must_use]
    pub fn len(&self, table: TableId) -> usize {
        match self.tables.get(table) {
            Some(Table::Hash(shards)) => shards.len(),
            Some(Table::Ordered(rows)) => rows.len(),
            None => 0,
        }
    }

    /// Whether no table has a row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.ids().all(|id| self.len(id) == 0)
    }

    /// The row under `key`.
    #[must_use]
    pub fn get(&self, table: TableId, key: &[u8]) -> Option<&[u8]> {
        match self.tables.get(table)? {
            Table::Hash(shards) => shards.get(key).map(PackedRow::value),
            Table::Ordered(rows) => rows.get(key).map(|value| &**value),
        }
    }

    /// The row under `key`, to be kept: a long one is not copied.
    #[must_use]
    pub fn share(&self, table: TableId, key: &[u8]) -> Option<SharedBytes> {
        match self.tables.get(table)? {
            Table::Hash(shards) => shards.get(key).map(PackedRow::to_value),
            Table::Ordered(rows) => rows.get(key).cloned(),
        }
    }

    /// Carries out `op` and returns the row that stood there before; see [`Tables::set`].
    pub fn apply(&mut self, op: &Op) -> Option<SharedBytes> {
        self.set(op.lent(), |before| before.map(Into::into))
    }

    /// Where the row under `key` is looked for, if that is a hash table's; it is brought out of memory meanwhile.
    #[inline]
    pub(crate) fn fetch(&self, table: TableId, key: &[u8]) -> Option<Place> {
        match self.tables.get(table)? {
            Table::Hash(shards) => {
                let place = shards.place(key);
                shards.fetch(place);
                Some(place)
            }
            Table::Ordered(_) => None,
        }
    }

    /// Carries out `op`; `keep` is shown the row that stands there before. A table that nobody created is made ordered: rows
    /// may arrive, in a copy, before the entry that declares their table.
    #[inline]
    pub fn set<R>(&mut self, op: OpRef<'_>, keep: impl FnOnce(Option<&[u8]>) -> R) -> R {
        self.set_at(op, None, keep)
    }

    /// As [`Tables::set`], with the key's place in a hash table, if it is known already.
    #[inline]
    pub(crate) fn set_at<R>(
        &mut self,
        op: OpRef<'_>,
        place: Option<Place>,
        keep: impl FnOnce(Option<&[u8]>) -> R,
    ) -> R {
        let OpRef { table, key, value } = op;
        let bytes = &mut self.bytes;
        *bytes += row_bytes(key, value);
        let keep = |before: Option<&[u8]>| {
            *bytes -= row_bytes(key, before);
            keep(before)
        };
        match self.tables.get_or_insert_with(table, || Table::Ordered(BTreeMap::new())) {
            Table::Hash(shards) => {
                let place = place.unwrap_or_else(|| shards.place(key));
                shards.set(place, key, value, keep)
            }
            Table::Ordered(rows) => match (rows.get_mut(key), value) {
                (Some(row), Some(value)) => {
                    let kept = keep(Some(row));
                    *row = value.into();
                    kept
                }
                (Some(_), None) => keep(rows.remove(key).as_deref()),
                (None, value) => {
                    value.into_iter().for_each(|value| drop(rows.insert(key.into(), value.into())));
                    keep(None)
                }
            },
        }
    }

    /// The rows of `table` with `from <= key < to`, in order of their keys, as long as `visit` returns true.
    pub fn scan(&self, table: TableId, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) {
        if to.is_some_and(|to| to <= from) {
            return;
        }
        match self.tables.get(table) {
            Some(Table::Ordered(rows)) => {
                let range = (Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded));
                for (key, value) in rows.range::<[u8], _>(range) {
                    if !visit(key, value) {
                        return;
                    }
                }
            }
            Some(Table::Hash(shards)) => {
                let within = |key: &[u8]| key >= from && to.is_none_or(|to| key < to);
                let mut found: Vec<_> =
                    shards.iter().flat_map(Rows::iter).filter(|row| within(row.key())).collect();
                found.sort_unstable_by_key(|row| row.key());
                for row in found {
                    if !visit(row.key(), row.value()) {
                        return;
                    }
                }
            }
            None => {}
        }
    }

    /// The next rows of a walk over everything: at least one unless the walk is at its end, at most some
    /// `rows_max` (a whole shard of a hash table at a time). Rows that change behind or before the cursor are not
    /// followed: the caller sends the entries that change them too (a fuzzy walk, see ARCHITECTURE.md).
    pub fn walk(&self, cursor: &mut WalkCursor, rows_max: usize) -> Vec<Row> {
        let mut found = Vec::new();
        loop {
            let start = cursor.table.unwrap_or(TableId(0));
            let Some((id, table)) = self.tables.first_from(start) else { return found };
            if cursor.table != Some(id) {
                *cursor = WalkCursor { table: Some(id), shard: 0, after: None };
            }
            let row = |(key, value)| Row { table: id, key, value };
            let table_done = match table {
                Table::Hash(shards) => {
                    while found.len() < rows_max
                        && let Some(rows) = shards.at(cursor.shard)
                    {
                        found.extend(rows.iter().map(|packed| row(packed.parts())));
                        cursor.shard += 1;
                    }
                    shards.at(cursor.shard).is_none()
                }
                Table::Ordered(rows) => {
                    let after = cursor.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                    let space = rows_max.saturating_sub(found.len()).max(1);
                    let before = found.len();
                    let rows = rows.range::<[u8], _>((after, Bound::Unbounded)).take(space);
                    found.extend(rows.map(|(key, value)| row((key.clone(), value.clone()))));
                    if found.len() > before {
                        cursor.after = found.last().map(|row| row.key.clone());
                    }
                    found.len() - before < space
                }
            };
            if table_done {
                let Some(next) = id.0.checked_add(1) else { return found };
                *cursor = WalkCursor { table: Some(TableId(next)), shard: 0, after: None };
                if self.tables.first_from(TableId(next)).is_none() {
                    return found;
                }
            }
            if found.len() >= rows_max {
                return found;
            }
        }
    }

    /// The ids of all tables.
    pub fn ids(&self) -> impl Iterator<Item = TableId> + '_ {
        self.tables.ids()
    }

    /// Removes every row whose table is not among `known`; what a cut-back of a table's declaration leaves.
    pub fn retain(&mut self, known: &HashSet<TableId>) {
        self.tables.retain(|id| known.contains(&id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StoreId;

    fn op(table: u32, key: &str, value: Option<&str>) -> Op {
        Op { table: TableId(table), key: key.as_bytes().into(), value: value.map(|v| v.as_bytes().into()) }
    }

    #[test]
    fn a_walk_in_small_steps_sees_every_row_once() {
        let mut tables = Tables::default();
        tables.create(TableId(300), TableKind::Hash);
        tables.create(TableId(301), TableKind::Ordered);
        tables.create(TableId(302), TableKind::Ordered);
        for n in 0..1_000 {
            tables.apply(&op(300, &format!("h{n}"), Some("x")));
            tables.apply(&op(301, &format!("o{n}"), Some("y")));
        }
        let (mut cursor, mut seen) = (WalkCursor::default(), Vec::new());
        loop {
            let rows = tables.walk(&mut cursor, 7);
            if rows.is_empty() {
                break;
            }
            seen.extend(rows.into_iter().map(|row| row.key));
        }
        assert_eq!(seen.len(), 2_000);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 2_000);
    }

    #[test]
    fn both_kinds_scan_in_order_and_within_bounds() {
        for kind in [TableKind::Hash, TableKind::Ordered] {
            let mut tables = Tables::default();
            tables.create(TableId(300), kind);
            for key in ["d", "a", "c", "b"] {
                tables.apply(&op(300, key, Some(key)));
            }
            let mut seen = String::new();
            tables.scan(TableId(300), b"b", Some(b"d"), &mut |key, _| {
                seen.push_str(std::str::from_utf8(key).unwrap());
                true
            });
            assert_eq!(seen, "bc");
        }
    }

    #[test]
    #[should_panic(expected = "a row's place is one in this very table")]
    fn a_place_in_another_stores_table_is_none_here() {
        let [mut here, mut there] = [1, 2].map(|store| Tables::new(HashSeed::of(StoreId(store))));
        for tables in [&mut here, &mut there] {
            tables.create(TableId(300), TableKind::Hash);
        }
        let put = op(300, "a", Some("1"));
        let place = there.fetch(TableId(300), b"a");
        here.set_at(put.lent(), here.fetch(TableId(300), b"a"), |_| {});
        assert_eq!(here.get(TableId(300), b"a"), Some(&b"1"[..]));
        here.set_at(put.lent(), place, |_| {});
    }

    #[test]
    fn bytes_return_to_zero_when_all_rows_are_gone() {
        let mut tables = Tables::default();
        tables.apply(&op(300, "a", Some("long value")));
        tables.apply(&op(300, "a", Some("v")));
        tables.apply(&op(300, "a", None));
        tables.apply(&op(300, "never there", None));
        assert_eq!(tables.bytes(), 0);
    }
}
