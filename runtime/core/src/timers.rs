//! Timers as rows (R34): one by key, and one by the time at which it is due, which finds the next.
//!
//! Both are written through the same overlay as rows of the application, so that all that holds for those holds for
//! timers: digests, shipping, redo, copies, cut back. Deliberately absent: when they fire (`group`).

use crate::entry::Op;
use crate::ids::{Micros, TableId};
use crate::posted::Posted;
use crate::row_key::RowKey;
use crate::tables::Tables;

/// The longest key of a timer, in bytes.
pub const KEY_BYTES_MAX: usize = 128;
/// The most timers of a group.
pub const TIMERS_MAX: usize = 10_000;

/// A timer that has not fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Its key.
    pub key: String,
    /// When it is due.
    pub due: Micros,
    /// The procedure that it starts.
    pub procedure: String,
    /// The procedure's control parameters, in `postcard`.
    pub parameters: Vec<u8>,
}

/// The key of the row by time.
#[must_use]
pub fn due_key(due: Micros, key: &str) -> RowKey {
    [&due.0.to_be_bytes(), key.as_bytes()].concat().into()
}

pub(crate) fn of_due_key(row_key: &[u8]) -> Option<(Micros, &str)> {
    let (due, key) = row_key.split_first_chunk::<8>()?;
    Some((Micros(u64::from_be_bytes(*due)), std::str::from_utf8(key).ok()?))
}

/// The updates that take a timer away.
#[must_use]
pub fn gone(key: &str, due: Micros) -> Vec<Op> {
    vec![
        Op { table: TableId::TIMERS, key: key.as_bytes().into(), value: None },
        Op { table: TableId::DUE, key: due_key(due, key), value: None },
    ]
}

/// The timer with `key`.
#[must_use]
pub fn find(tables: &Tables, key: &str) -> Option<Timer> {
    let row = tables.get(TableId::TIMERS, key.as_bytes())?;
    let Posted { stamp, procedure, parameters } = Posted::of_row(row)?;
    Some(Timer { key: key.into(), due: Micros(stamp), procedure, parameters })
}

/// When the next timer is due.
#[must_use]
pub fn next(tables: &Tables) -> Option<Micros> {
    due(tables, Micros(u64::MAX), 1).first().map(|(due, _)| *due)
}

/// The first timers that are due by `until`, in the order in which they are, at most `count_max`.
#[must_use]
pub fn due(tables: &Tables, until: Micros, count_max: usize) -> Vec<(Micros, String)> {
    let mut found = Vec::new();
    tables.scan(TableId::DUE, &[], None, &mut |row_key, _| {
        match of_due_key(row_key) {
            Some((due, key)) if due <= until => found.push((due, key.to_owned())),
            _ => return false,
        }
        found.len() < count_max
    });
    found
}

/// All timers, in the order in which they are due.
#[must_use]
pub fn all(tables: &Tables) -> Vec<Timer> {
    let due = due(tables, Micros(u64::MAX), usize::MAX);
    due.iter().filter_map(|(_, key)| find(tables, key)).collect()
}
