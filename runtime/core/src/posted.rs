//! A call of a procedure that waits in a row: a timer's until it is due, a message's until its receiver has taken it
//! (R34).
//!
//! Deliberately absent: when a row is written or goes (`context`, `group`), and whom it concerns (`timers`,
//! `channels`). Rows begin with a format number, as all rows do (R17).

use crate::entry::{Op, OpRef};
use crate::event::EventId;
use crate::ids::TableId;
use crate::{channels, timers};

/// The format of the rows of timers and messages.
pub const FORMAT: u8 = 1;
/// The longest name of a procedure, in bytes.
pub const PROCEDURE_BYTES_MAX: usize = 64;
/// The most control parameters of a timer or message, in bytes.
pub const PARAMETERS_BYTES_MAX: usize = 64 << 10;
/// The most timers and messages that one run of a procedure may set and send.
pub const POSTED_MAX: usize = 1_024;

/// A call that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// A timer's: when it is due, in microseconds. A message's: the number of the stream that sent it.
    pub stamp: u64,
    /// The procedure.
    pub procedure: String,
    /// Its control parameters, in `postcard`.
    pub parameters: Vec<u8>,
}

impl Posted {
    /// As a row.
    ///
    /// # Panics
    /// When the procedure's name is longer than [`PROCEDURE_BYTES_MAX`]; no procedure's is.
    #[must_use]
    pub fn to_row(&self) -> Vec<u8> {
        assert!(self.procedure.len() <= PROCEDURE_BYTES_MAX, "names of procedures are checked before");
        let mut row = vec![FORMAT];
        row.extend(self.stamp.to_be_bytes());
        row.push(self.procedure.len() as u8);
        row.extend(self.procedure.as_bytes());
        row.extend(&self.parameters);
        row
    }

    /// From a row; none when it is not one.
    #[must_use]
    pub fn of_row(row: &[u8]) -> Option<Self> {
        let (&FORMAT, row) = row.split_first()? else { return None };
        let (stamp, row) = row.split_first_chunk::<8>()?;
        let (&length, row) = row.split_first()?;
        if usize::from(length) > PROCEDURE_BYTES_MAX {
            return None;
        }
        let (procedure, parameters) = row.split_at_checked(usize::from(length))?;
        let procedure = std::str::from_utf8(procedure).ok()?.into();
        Some(Posted { stamp: u64::from_be_bytes(*stamp), procedure, parameters: parameters.into() })
    }
}

/// A row that holds a number alone.
#[must_use]
pub fn number_row(number: u64) -> Vec<u8> {
    let mut row = vec![FORMAT];
    row.extend(number.to_be_bytes());
    row
}

/// The number in such a row; none when it is not one.
#[must_use]
pub fn number_in(row: &[u8]) -> Option<u64> {
    let (&FORMAT, row) = row.split_first()? else { return None };
    Some(u64::from_be_bytes(row.try_into().ok()?))
}

/// What an event of the runtime's own uses up, whatever its outcome: a timer's row goes, a message is taken. It belongs
/// to the transaction of what the event starts. Nothing for a client's event.
#[must_use]
pub fn used_up(event: &EventId) -> Vec<Op> {
    match event {
        EventId::Timer { key, due } => timers::gone(key, *due),
        EventId::Message { from, number } => vec![channels::taken_op(from, *number)],
        EventId::Numbered { .. } | EventId::Keyed { .. } => Vec::new(),
    }
}

/// Whether an update of a table of the runtime's own makes sense: asked before a shipped one counts (R17).
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn check(op: OpRef<'_>) -> Result<(), String> {
    let found = match op.table {
        TableId::TIMERS => std::str::from_utf8(op.key).is_ok(),
        TableId::DUE => timers::of_due_key(op.key).is_some(),
        TableId::OUTBOX => channels::of_outbox_key(op.key).is_some(),
        TableId::SENT | TableId::TAKEN => channels::of_channel_key(op.key).is_some(),
        _ => true,
    };
    let known = match (op.table, op.value) {
        (_, None) => true,
        (TableId::TIMERS | TableId::OUTBOX, Some(row)) => Posted::of_row(row).is_some(),
        (TableId::SENT | TableId::TAKEN, Some(row)) => number_in(row).is_some(),
        (TableId::DUE, Some(row)) => *row == [FORMAT],
        (_, Some(_)) => true,
    };
    if found && known { Ok(()) } else { Err("a timer's or message's row can't be read".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::GroupName;

    #[test]
    fn a_row_is_read_as_it_was_written_and_nothing_else_is_read() {
        let posted = Posted { stamp: 7, procedure: "remind".into(), parameters: vec![1, 2, 3] };
        let row = posted.to_row();
        assert_eq!(Posted::of_row(&row), Some(posted));
        for broken in [&row[..9], &row[1..], &[2, 0, 0], &[]] {
            assert_eq!(Posted::of_row(broken), None, "{broken:?}");
        }
        let mut longer = vec![b'p'; 10 + 200];
        longer[..10].copy_from_slice(&[FORMAT, 0, 0, 0, 0, 0, 0, 0, 7, PROCEDURE_BYTES_MAX as u8 + 1]);
        assert_eq!(Posted::of_row(&longer), None, "no procedure has such a name, and none could be written");
        let key = channels::outbox_key(&GroupName { application: "orders".into(), partition: 1 }, 3);
        let op = |key: &[u8]| Op { table: TableId::OUTBOX, key: key.into(), value: Some(row.clone().into()) };
        assert!(check(op(&key).lent()).is_ok() && check(op(&key[1..]).lent()).is_ok());
        assert!(check(op(&key[..key.len() - 3]).lent()).is_err(), "its number is cut off");
        assert_eq!(number_in(&number_row(9)), Some(9));
        assert_eq!(number_in(&row), None);
    }
}
