//! The memory that rows may take. Once it is used up, events that would make the rows grow are turned away; reads go on,
//! and so does what frees rows or keeps their size: else an application that is full could never be made less so.
//!
//! Only the active looks, and before a number is given: the standby follows whatever its own bound is (R8), and what is
//! turned away is recorded nowhere, so that the same event may come again. Whether rows would grow is seen by running
//! the event once beside the stream, as a read runs; that costs a second run, of a group that is full alone.
//!
//! Deliberately absent: timers, and rows that change their format. They are owed already, and may be what makes room.
//! Messages of other groups wait at their senders, whose rows they are until then (R34).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Group;
use super::active::{PLAN_MAX, Running};
use crate::descriptor::ProcedureIndex;
use crate::effect::Alarm;
use crate::event::{Event, Rejection};
use crate::tables::row_bytes;

/// Operators were told that the memory is used up, and have not seen an eighth of it free again since.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    told: bool,
}

impl Group {
    /// An estimate of the memory that the rows take here, in bytes.
    pub(super) fn rows_bytes(&self) -> usize {
        self.state.tables.bytes() + self.derived.bytes()
    }

    /// Whether the rows take all the memory that they may.
    pub(super) fn is_full(&mut self) -> bool {
        let (bytes, bytes_max) = (self.rows_bytes(), self.config.rows_bytes_max);
        let full = bytes >= bytes_max;
        if full && !self.room.told {
            self.alarm(Alarm::RowsFull { bytes: bytes as u64, bytes_max: bytes_max as u64 });
        }
        self.room.told = full || (self.room.told && bytes >= bytes_max - bytes_max / 8);
        full
    }

    /// Why a new event is turned away, if the rows are full and it would add to them.
    pub(super) fn lacks_room(&mut self, event: &Event, procedure: ProcedureIndex) -> Option<Rejection> {
        (self.is_full() && self.would_grow(event, procedure))
            .then_some(Rejection::NoRoom { bytes_max: self.config.rows_bytes_max as u64 })
    }

    /// Whether the rows would take more after `event`. One that does not begin, refuses or faults adds nothing; one that
    /// acts on the world can't be tried, and counts as one that does.
    fn would_grow(&mut self, event: &Event, procedure: ProcedureIndex) -> bool {
        let Ok(run) = self.begin_run(procedure, event) else { return false };
        if !self.acting_units(procedure, run.plan()).is_empty() {
            return true;
        }
        let (number, time) = (self.state.meta.last.next(), self.stream_time());
        let (seed, event) = (self.seed_of(number), Arc::new(event.clone()));
        let mut running = Running { number, time, seed, event, procedure, reads_only: false, run };
        let units = running.run.plan().len();
        let ends =
            units <= PLAN_MAX && (0..units).all(|position| self.run_in_time(&mut running, position).is_ok());
        let grows = ends && self.overlay_grows();
        self.overlay.clear();
        grows
    }

    /// Whether the rows with the overlay over them take more than without.
    fn overlay_grows(&self) -> bool {
        let last: BTreeMap<_, _> =
            self.overlay.committed().map(|op| ((op.table, op.key), op.value)).collect();
        let (mut before, mut after) = (0, 0);
        for ((table, key), value) in last {
            before += row_bytes(key, self.state.tables.get(table, key));
            after += row_bytes(key, value);
        }
        after > before
    }
}
