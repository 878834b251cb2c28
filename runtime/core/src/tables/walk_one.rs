//! A walk over one table in steps, while it changes, that can say which keys it has passed.

use std::ops::Bound;

use super::packed_row::PackedRow;
use super::shards::shard;
use super::{Table, Tables};
use crate::ids::TableId;
use crate::row_key::RowKey;
use crate::shared_bytes::SharedBytes;

/// Where a walk over one table stands.
#[derive(Clone, Debug, Default)]
pub struct TableCursor {
    shard: usize,
    after: Option<RowKey>,
    done: bool,
}

impl TableCursor {
    /// Whether the walk has been everywhere.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }
}

impl Tables {
    /// The next rows of a walk over `table`: some `rows_max` of an ordered table, a shard at a time of a hash table. None
    /// at the walk's end, when the cursor is done.
    pub fn walk_table(
        &self,
        table: TableId,
        cursor: &mut TableCursor,
        rows_max: usize,
    ) -> Vec<(RowKey, SharedBytes)> {
        let mut found = Vec::new();
        match self.tables.get(table) {
            Some(Table::Hash(shards)) => {
                while found.is_empty()
                    && let Some(rows) = shards.at(cursor.shard)
                {
                    found.extend(rows.iter().map(PackedRow::parts));
                    cursor.shard += 1;
                }
            }
            Some(Table::Ordered(rows)) => {
                let after = cursor.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let rows = rows.range::<[u8], _>((after, Bound::Unbounded)).take(rows_max.max(1));
                found.extend(rows.map(|(key, value)| (key.clone(), value.clone())));
                if let Some((key, _)) = found.last() {
                    cursor.after = Some(key.clone());
                }
            }
            None => {}
        }
        cursor.done = found.is_empty();
        found
    }

    /// Whether the walk has been where a row with `key` stands or would stand.
    #[must_use]
    pub fn has_passed(&self, table: TableId, cursor: &TableCursor, key: &[u8]) -> bool {
        cursor.done
            || match self.tables.get(table) {
                Some(Table::Hash(_)) => shard(key) < cursor.shard,
                Some(Table::Ordered(_)) => cursor.after.as_ref().is_some_and(|after| key <= &**after),
                None => false,
            }
    }
}
