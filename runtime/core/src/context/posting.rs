//! What a work unit does with timers and messages (R34): rows of the runtime's own tables, written into the overlay
//! like any other.
//!
//! Every bound is the same on both sides, as each follows from the rows and the overlay alone; beyond one the procedure
//! faults (`contract`).

use super::{Overlay, UnitContext};
use crate::channels::{self, OUTBOX_MAX, RECEIVERS_MAX};
use crate::entry::Op;
use crate::ids::{GroupName, Micros, Number, TableId};
use crate::posted::{
    FORMAT, PARAMETERS_BYTES_MAX, POSTED_MAX, PROCEDURE_BYTES_MAX, Posted, number_in, number_row,
};
use crate::timers::{KEY_BYTES_MAX, TIMERS_MAX, due_key};

impl Overlay {
    /// The run that made these operations ends under another number than it had begun under: its messages rest on that
    /// one (R10). On a side alone, which compares no digests.
    pub fn restamp(&mut self, number: Number) {
        let mut ops: Vec<Op> = self.ops().map(Op::from).collect();
        for op in ops.iter_mut().filter(|op| op.table == TableId::OUTBOX) {
            if let Some(message) = op.value.as_deref().and_then(Posted::of_row) {
                op.value = Some(Posted { stamp: number.0, ..message }.to_row().into());
            }
        }
        *self = Overlay::of(&ops);
    }
}

impl UnitContext<'_> {
    /// Whether the run may post one more; `table` has what it posted.
    fn may_post(&mut self, table: TableId, parameters: &[u8]) -> bool {
        if parameters.len() > PARAMETERS_BYTES_MAX {
            self.breached(format!(
                "a timer's or message's parameters have at most {PARAMETERS_BYTES_MAX} bytes"
            ));
            return false;
        }
        let posted = self.overlay.ops().filter(|op| op.table == table && op.value.is_some()).count();
        if posted >= POSTED_MAX {
            self.breached(format!("a procedure sets at most {POSTED_MAX} timers and sends as many messages"));
            return false;
        }
        if table == TableId::TIMERS && self.tables.len(table) + posted >= TIMERS_MAX {
            self.breached(format!("a group has at most {TIMERS_MAX} timers"));
            return false;
        }
        true
    }

    /// Sets the timer called `key`, in place of an earlier one of that name: once the group's time has reached `at`, it
    /// starts `procedure`.
    pub fn set_timer(&mut self, key: &str, at: Micros, procedure: &str, parameters: &[u8]) {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return self.breached(format!("a timer's key has 1 to {KEY_BYTES_MAX} bytes"));
        }
        match self.descriptor.procedure(procedure) {
            None => return self.breached(format!("a timer is to start `{procedure}`, and there is none")),
            Some((_, declared)) if declared.reads_only => {
                return self.breached(format!("a timer is to start `{procedure}`, which reads only"));
            }
            Some(_) => {}
        }
        if self.may_post(TableId::TIMERS, parameters) {
            self.cancel_timer(key);
            let timer = Posted { stamp: at.0, procedure: procedure.into(), parameters: parameters.to_vec() };
            self.write(TableId::TIMERS, key.as_bytes(), Some(&timer.to_row()));
            self.write(TableId::DUE, &due_key(at, key), Some(&[FORMAT]));
        }
    }

    /// When the timer called `key` is due; none when there is none.
    #[must_use]
    pub fn timer(&self, key: &str) -> Option<Micros> {
        let row = self.own_row(TableId::TIMERS, key.as_bytes())?;
        Posted::of_row(row).map(|timer| Micros(timer.stamp))
    }

    /// Takes the timer called `key` away; true when there was one.
    pub fn cancel_timer(&mut self, key: &str) -> bool {
        let Some(due) = self.timer(key) else { return false };
        self.write(TableId::TIMERS, key.as_bytes(), None);
        self.write(TableId::DUE, &due_key(due, key), None);
        true
    }

    /// Sends a message to another group, or to this one. It leaves once this procedure is held, and is taken there once,
    /// after all that were sent there before. It waits while no such group is there.
    pub fn send(&mut self, to: &GroupName, procedure: &str, parameters: &[u8]) {
        if !channels::is_name(&to.application) {
            return self.breached(format!("`{}` is no application's name", to.application.escape_default()));
        }
        if procedure.is_empty() || procedure.len() > PROCEDURE_BYTES_MAX {
            return self.breached(format!("a procedure's name has 1 to {PROCEDURE_BYTES_MAX} bytes"));
        }
        if !self.descriptor.sends_to(&to.application, procedure) {
            let name = &to.application;
            return self.breached(format!(
                "a message is for `{procedure}` of `{name}`, which is not among the receivers that {} {} declares \
                 (`sends`)",
                self.descriptor.name, self.descriptor.version
            ));
        }
        if !self.may_post(TableId::OUTBOX, parameters) {
            return;
        }
        let channel = channels::channel_key(to);
        let last = self.own_row(TableId::SENT, &channel).and_then(number_in);
        if last.is_none() && self.tables.len(TableId::SENT) + self.channels_opened() >= RECEIVERS_MAX {
            return self.breached(format!("a group sends to at most {RECEIVERS_MAX} others"));
        }
        let number = last.unwrap_or(0) + 1;
        // What this run sent itself is not in the tables yet.
        let before = self.tables.get(TableId::SENT, &channel).and_then(number_in).unwrap_or(0);
        let first = channels::first_kept(self.tables, to).unwrap_or(before + 1);
        if number - first >= OUTBOX_MAX {
            return self.breached(format!("{OUTBOX_MAX} messages to {to} are not taken yet"));
        }
        let message = Posted {
            stamp: self.surroundings.number.0,
            procedure: procedure.into(),
            parameters: parameters.to_vec(),
        };
        self.write(TableId::OUTBOX, &channels::outbox_key(to, number), Some(&message.to_row()));
        self.write(TableId::SENT, &channel, Some(&number_row(number)));
    }

    /// How many channels this run has opened, at most.
    fn channels_opened(&self) -> usize {
        let mut opened: Vec<&[u8]> =
            self.overlay.ops().filter(|op| op.table == TableId::SENT).map(|op| op.key).collect();
        opened.sort_unstable();
        opened.dedup();
        opened.len()
    }
}
