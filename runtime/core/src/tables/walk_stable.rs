//! A walk over one table whose place is a key: it goes on after a restart, and on another processor, where it stood.

use std::ops::Bound;

use super::packed_row::PackedRow;
use super::shards::shard;
use super::{Table, Tables};
use crate::ids::TableId;
use crate::row_key::RowKey;
use crate::shared_bytes::SharedBytes;

impl Tables {
    /// At most `rows_max` rows of `table` that come after the key `after`: of an ordered table in the order of the keys,
    /// of a hash table in that of shard and key. Fewer at the walk's end alone. The rows of the shards that it touches are
    /// looked through for it.
    #[must_use]
    pub fn rows_after(
        &self,
        table: TableId,
        after: Option<&[u8]>,
        rows_max: usize,
    ) -> Vec<(RowKey, SharedBytes)> {
        match self.tables.get(table) {
            Some(Table::Ordered(rows)) => {
                let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                let rows = rows.range::<[u8], _>((from, Bound::Unbounded)).take(rows_max);
                rows.map(|(key, row)| (key.clone(), row.clone())).collect()
            }
            Some(Table::Hash(shards)) => {
                let first = after.map_or(0, shard);
                let mut all = Vec::new();
                for (at, rows) in shards.iter().enumerate().skip(first) {
                    let passed = after.filter(|_| at == first);
                    let mut found: Vec<_> =
                        rows.iter().filter(|row| passed.is_none_or(|passed| row.key() > passed)).collect();
                    let room = rows_max - all.len();
                    if found.len() > room {
                        found.select_nth_unstable_by_key(room, |row| row.key());
                        found.truncate(room);
                    }
                    found.sort_unstable_by_key(|row| row.key());
                    all.extend(found.into_iter().map(PackedRow::parts));
                    if all.len() == rows_max {
                        break;
                    }
                }
                all
            }
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::descriptor::TableKind;
    use crate::entry::Op;
    use crate::ids::TableId;
    use crate::tables::Tables;

    #[test]
    fn a_walk_by_keys_sees_every_row_once_whatever_goes_or_comes_behind_it() {
        for kind in [TableKind::Hash, TableKind::Ordered] {
            let table = TableId(300);
            let mut tables = Tables::default();
            tables.create(table, kind);
            let op = |key: &str, value: Option<&str>| Op {
                table,
                key: key.as_bytes().into(),
                value: value.map(|value| value.as_bytes().into()),
            };
            (0..3_000).for_each(|n| drop(tables.apply(&op(&format!("k{n}"), Some("x")))));
            let (mut after, mut seen) = (None, Vec::new());
            loop {
                let rows = tables.rows_after(table, after.as_deref(), 7);
                assert!(rows.len() == 7 || seen.len() + rows.len() == 3_000);
                let Some((last, _)) = rows.last() else { break };
                after = Some(last.clone());
                // The cursor's own row goes: the place stands without it.
                tables.apply(&op(std::str::from_utf8(last).unwrap(), None));
                seen.extend(rows.into_iter().map(|(key, _)| key));
            }
            assert_eq!(seen.len(), 3_000);
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), 3_000);
        }
    }
}
