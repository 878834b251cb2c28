//! Makes the chunks of a migration, as active, and looks at them, as standby (R31).
//!
//! One chunk is on its way at a time, and the next one waits until it is held: a standby that lags, a disk that is slow
//! and events that come slow the migration down, and not the other way round. A campaign has the stream to itself: what
//! it measures would be disturbed (R30).
//!
//! Deliberately absent: the way back. A format that is in force stays so.

use super::{Group, Micros};
use crate::command::MigrationStatus;
use crate::context::VALUE_BYTES_MAX;
use crate::effect::Alarm;
use crate::entry::Op;
use crate::ids::TableId;
use crate::message::PlainBody;
use crate::migration::{CHUNK_BYTES_MAX, Chunk};

/// Between two chunks.
const PAUSE: Micros = Micros::from_ms(1);

impl Group {
    /// Whether nothing but the time stands between this active and the next chunk.
    fn may_migrate(&self) -> bool {
        let meta = &self.state.meta;
        meta.migration.is_some()
            && meta.campaign.is_none()
            && meta.intent.is_none()
            && self.starts_events()
            && self.parked.is_empty()
            && self.again.is_none()
            && self.held >= self.chunk_made.min(meta.last)
            && self.intake.closed_until().is_none_or(|until| until <= self.now)
    }

    /// When the next chunk is due here, if this side would make it.
    pub(super) fn next_chunk(&self) -> Option<Micros> {
        self.may_migrate().then(|| self.chunk_at.max(self.now))
    }

    /// Makes the next chunk, once a batch at the most.
    pub(super) fn migrate(&mut self) {
        if self.now < self.chunk_at || !self.may_migrate() {
            return;
        }
        let Some((table, after)) = self
            .state
            .meta
            .migration
            .as_ref()
            .and_then(|migration| migration.next().map(|(table, course)| (table, course.after.clone())))
        else {
            return;
        };
        let Some((chunk, why)) = self.chunk(table, after.as_deref()) else { return };
        let left = chunk.left;
        let number = self.plain(PlainBody::Migrated(Box::new(chunk)));
        self.chunk_made = number;
        self.chunk_at = self.now.plus(PAUSE);
        if let Some(why) = why {
            let table =
                self.state.meta.tables.get(&table).map_or_else(String::new, |table| table.name.clone());
            self.alarm(Alarm::RowsLeft { number, table, left, why });
        }
    }

    /// The next rows of a table in the group's format, and why the first of those that stay as they are could not be
    /// read. None when the version that runs here does not have the table.
    fn chunk(&self, table: TableId, after: Option<&[u8]>) -> Option<(Chunk, Option<String>)> {
        let index = self.own_tables.iter().position(|own| own.id == table)?;
        let format = self.state.meta.tables.get(&table)?.format;
        let found = self.state.tables.rows_after(table, after, self.config.chunk_rows_max);
        let mut chunk = Chunk { table, upto: None, rows: 0, left: 0, ops: Vec::new() };
        let (mut bytes, mut why) = (0, None);
        for (key, row) in found {
            if bytes >= CHUNK_BYTES_MAX {
                break;
            }
            bytes += row.len();
            chunk.rows += 1;
            if row.first().is_none_or(|is| u16::from(*is) != format) {
                let renewed = self.application.rewrite_row(index, &key, &row, format);
                match renewed.and_then(|row| is_row(row, format)) {
                    Ok(row) => {
                        chunk.ops.push(Op { table, key: key.clone(), value: Some(row.into()) });
                    }
                    Err(reason) => {
                        chunk.left += 1;
                        why.get_or_insert(reason);
                    }
                }
            }
            chunk.upto = Some(key);
        }
        Some((chunk, why))
    }

    /// How far a migration is, if one is under way.
    pub(super) fn migration_status(&self) -> Option<MigrationStatus> {
        let migration = self.state.meta.migration.as_ref()?;
        let mut status = MigrationStatus::default();
        for (table, course) in &migration.tables {
            let there = self.state.tables.len(*table) as u64;
            status.rows += course.rows;
            status.of += if course.through { course.rows } else { there.max(course.rows) };
            status.left += course.left;
        }
        Some(status)
    }

    /// Whether a chunk that came over the link continues the migration with rows that the version here reads (R17).
    pub(super) fn check_chunk(&self, chunk: &Chunk) -> Result<(), String> {
        if !self.state.meta.migration.as_ref().is_some_and(|migration| migration.awaits(chunk)) {
            return Err("it is not the next one of a migration".into());
        }
        chunk.ops.iter().try_for_each(|op| self.check_row(op.lent()))
    }
}

/// What a plugin gave for a row is looked at before it goes anywhere.
fn is_row(row: Vec<u8>, format: u16) -> Result<Vec<u8>, String> {
    match row.first() {
        _ if row.len() > VALUE_BYTES_MAX => Err(format!("a row has at most {VALUE_BYTES_MAX} bytes")),
        Some(is) if u16::from(*is) == format => Ok(row),
        Some(is) => Err(format!("it gave a row in format {is} for one in format {format}")),
        None => Err("it gave an empty row".into()),
    }
}
