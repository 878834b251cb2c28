//! Timers and messages on the desk: time passes, words between groups are carried.

use lockstep_core::channels::{self, GroupMessage};
use lockstep_core::entry::{Entry, EntryBody};
use lockstep_core::ids::{GroupName, Micros, TableId};
use lockstep_core::input::Input;
use lockstep_core::timers;

use super::{Desk, SILENCE};
use crate::answer::Answer;
use crate::call::Call;
use crate::posted::Message;

impl Desk {
    /// What the clock says.
    pub(crate) fn now(&self) -> Micros {
        self.now
    }

    /// Carries what a group tells another: to itself, or to one that takes everything at once.
    pub(super) fn tell(&mut self, node: usize, to: GroupName, what: GroupMessage) {
        let own = self.group(node).name();
        if to == own {
            return self.put(node, Input::Told { from: own, what });
        }
        let GroupMessage::Message { number, procedure, parameters } = what else { return };
        let taken = self.taken_elsewhere.entry(to.clone()).or_default();
        if number == *taken + 1 {
            *taken = number;
            self.left.push(Message { to: to.to_string(), procedure, parameters });
        }
        let what = GroupMessage::Taken { through: *taken };
        self.put(node, Input::Told { from: to, what });
    }

    /// Keeps how an event of the application's own ended.
    pub(super) fn note_own(&mut self, entry: &Entry) {
        if let EntryBody::Procedure { event, procedure, outcome, .. } = &entry.body
            && event.is_own()
        {
            let (procedure, outcome) = (procedure.clone(), outcome.clone());
            self.ended.push(Answer { procedure: procedure.into(), outcome, shipped: false });
        }
    }

    /// Whether every message is known to be taken.
    pub(super) fn nothing_to_send(&self) -> bool {
        self.group(self.the_active()).state().tables.len(TableId::OUTBOX) == 0
    }

    /// Lets time pass; timers fire when they are due.
    #[track_caller]
    pub(crate) fn pass(&mut self, length: Micros) {
        let end = self.now.plus(length);
        while self.now < end {
            let tables = &self.group(self.the_active()).state().tables;
            let due = timers::next(tables).unwrap_or(end);
            // Not so long at once that one side would think the other silent.
            self.now = due.max(self.now).min(self.now.plus(SILENCE)).min(end);
            self.tick_both();
            self.settle_unseen();
        }
        self.settle();
    }

    /// Another group sends a message.
    #[track_caller]
    pub(crate) fn receive(&mut self, from: &GroupName, call: &Call) {
        let active = self.the_active();
        let number = channels::taken(&self.group(active).state().tables, from) + 1;
        let (procedure, parameters) = call.message();
        let what = GroupMessage::Message { number, procedure, parameters };
        self.put(active, Input::Told { from: from.clone(), what });
        self.run_until("a message is taken", |desk| {
            channels::taken(&desk.group(desk.the_active()).state().tables, from) == number
        });
        self.settle();
    }
}
