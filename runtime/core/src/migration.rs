//! The migration of rows into the format that `Enable` has put in force (R31): what the database knows of it, and the
//! chunks that carry it out.
//!
//! A chunk is a number of the stream like any other. It names how far its table is through, so the cursor changes in
//! the same entry as the rows: whoever takes over, restarts or was copied goes on from there, without a hole and
//! without doing anything twice.
//!
//! Deliberately absent: when chunks are made (`group/migrating`), what a row means (the application).
//!
//! Invariant: every row of a table is in one of the formats `TableMeta::oldest` to `TableMeta::format`; `oldest` rises
//! only when a walk over the whole table has left no row behind.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::entry::{Op, TableMeta, Update};
use crate::ids::TableId;
use crate::row_key::RowKey;

/// The most rows that a chunk looks at.
pub const CHUNK_ROWS_MAX: usize = 256;
/// A chunk takes no further row once it has so many bytes.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;

/// A part of a table that is through: one number of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk<O = Op> {
    /// The table.
    pub table: TableId,
    /// The last row that it looked at; none when the table is through.
    pub upto: Option<RowKey>,
    /// So many rows it has looked at.
    pub rows: u64,
    /// So many of them could not be read, and stay as they are.
    pub left: u64,
    /// The rows in their new format. Those that had it already are not among them.
    pub ops: Vec<O>,
}

/// How far a table is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// The cursor: the last row that is through.
    pub after: Option<RowKey>,
    /// So many rows are through.
    pub rows: u64,
    /// So many of them could not be read.
    pub left: u64,
    /// All of them are.
    pub through: bool,
}

/// A migration under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// The features that are `migrating` until it is through.
    pub features: BTreeSet<String>,
    /// Each table with how far it is.
    pub tables: BTreeMap<TableId, Course>,
}

impl Migration {
    /// The table that is next, and where in it.
    #[must_use]
    pub fn next(&self) -> Option<(TableId, &Course)> {
        self.tables.iter().find(|(_, course)| !course.through).map(|(table, course)| (*table, course))
    }

    /// Begins anew with these tables, for these features.
    pub(crate) fn begin(&mut self, features: &[String], tables: impl Iterator<Item = TableId>) {
        self.features.extend(features.iter().cloned());
        self.tables.extend(tables.map(|table| (table, Course::default())));
    }

    /// Whether `chunk` continues it.
    #[must_use]
    pub fn awaits(&self, chunk: &Chunk<impl Update>) -> bool {
        let is_next = self.next().is_some_and(|(table, _)| table == chunk.table);
        let mut ops = chunk.ops.iter().map(Update::lent);
        is_next && ops.all(|op| op.table == chunk.table && op.value.is_some())
    }

    /// Takes note of a chunk of `table`. Whether all tables are through.
    ///
    /// # Panics
    /// When it is of another table than the next one.
    pub(crate) fn note(&mut self, chunk: &Chunk<impl Update>, table: Option<&mut TableMeta>) -> bool {
        assert!(self.awaits(chunk), "chunks come in the order of their tables (R31)");
        let course = self.tables.get_mut(&chunk.table).expect("it is the next one");
        course.rows = course.rows.saturating_add(chunk.rows);
        course.left = course.left.saturating_add(chunk.left);
        match &chunk.upto {
            Some(key) => course.after = Some(key.clone()),
            None => {
                course.through = true;
                course.after = None;
                if let Some(table) = table {
                    table.left = course.left;
                    if course.left == 0 {
                        table.oldest = table.format;
                    }
                }
            }
        }
        self.next().is_none()
    }
}
