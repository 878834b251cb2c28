//! Takeover (R22): what the dead active had begun and not ended. What it had ended is committed already, frame by
//! frame; the half-way procedure is completed or rolled back as it declares; an event known only by its beginning is
//! run.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::Group;
use super::active::Running;
use super::follow::Pending;
use crate::command::{HalfWay, HalfWayEnd};
use crate::descriptor::Recovery;
use crate::effect::Alarm;
use crate::event::Event;
use crate::message::PlainBody;

impl Group {
    pub(super) fn take_over(&mut self) {
        if self.notes.awaits_mark() {
            // The record that made this side active was heard of before, by another way: its mark is its own.
            return;
        }
        let next = self.state.meta.last.next();
        let half_way = self.pending.as_ref().map(|pending| pending.begin.number);
        assert!(half_way.is_none_or(|number| number == next), "the half-way procedure is the next one (R8)");
        let culprit_known = self.notes_at_takeover();
        let pending = self.pending.take();
        let intended = self.state.meta.intent.is_some();
        // Exactly what was described, if this side followed it to there; else whatever may have begun (R19).
        self.undo_standing(pending.as_ref().map(|pending| &*pending.described));
        let Some(pending) = pending else {
            self.overlay.clear();
            if intended {
                if !culprit_known {
                    self.suspect_intent();
                }
                self.roll_back();
            }
            return;
        };
        // What acts here is not completed in place either: from the start.
        let acts = intended
            || pending
                .running
                .as_ref()
                .is_some_and(|running| !self.acting_units(running.procedure, running.run.plan()).is_empty());
        let (procedure, step_ups) = (pending.begin.event.procedure.as_str().into(), pending.step_ups);
        let number = pending.begin.number;
        let end_of = |group: &mut Self, end| {
            let half_way = HalfWay { procedure, step_ups, end };
            group.alarm(Alarm::TookOver { half_way: format!("{half_way:?}, number {number}") });
            *group.half_way.entry(half_way).or_default() += 1;
        };
        let Some(pending) = self.fault_half_way(pending) else {
            return end_of(self, HalfWayEnd::Faulted);
        };
        let found = self.application.descriptor().procedure(&pending.begin.event.procedure);
        let declared = found.map(|(_, declared)| declared.recovery);
        let end = match (declared, pending.begin.shipped, pending.begin.withheld) {
            // Its body can't be had: the client sends it again (R18).
            (_, _, true) | (None, ..) => HalfWayEnd::RolledBack,
            // The other version's units can't be completed here: from the start, in this version.
            (Some(_), true, false) => HalfWayEnd::RunAgain,
            // Known only by `Begin`: run.
            (Some(_), false, false) if step_ups == 0 => HalfWayEnd::RunAgain,
            // What it did to the world is undone by now: from the start.
            (Some(Recovery::Complete), false, false) if acts => HalfWayEnd::RunAgain,
            (Some(Recovery::Complete), false, false) => HalfWayEnd::Completed,
            (Some(Recovery::RollBack), false, false) => HalfWayEnd::RolledBack,
        };
        end_of(self, end);
        match end {
            // Nobody knows what the active died of, and it may have been this one (R21).
            HalfWayEnd::Completed | HalfWayEnd::RunAgain if !culprit_known => {
                self.mark_half_way(pending, end)
            }
            HalfWayEnd::RolledBack if !culprit_known => {
                self.suspect(&pending);
                self.end_half_way(*pending, end);
            }
            end => self.end_half_way(*pending, end),
        }
    }

    /// Ends a half-way procedure, at the next number: notes may have come before it.
    pub(super) fn end_half_way(&mut self, pending: Pending, end: HalfWayEnd) {
        match end {
            HalfWayEnd::Completed => self.complete(pending),
            HalfWayEnd::RolledBack => self.roll_back(),
            HalfWayEnd::RunAgain => {
                self.roll_back();
                let found = self.application.descriptor().procedure(&pending.begin.event.procedure);
                if pending.begin.event.id.is_own() {
                    // Its row stands, or its sender tells it again: it is started like any other.
                } else if found
                    .is_some_and(|(_, declared)| declared.units.iter().any(|unit| unit.undo.is_some()))
                {
                    // It may have to wait, and nothing else takes a number meanwhile.
                    self.again = Some(Arc::unwrap_or_clone(pending.begin.event));
                } else {
                    self.run_again(Arc::unwrap_or_clone(pending.begin.event));
                }
            }
            HalfWayEnd::Faulted => unreachable!("a noted event ends with its fault"),
        }
    }

    fn complete(&mut self, pending: Pending) {
        let mut running = pending.running.expect("a procedure in lock step has a run of this side");
        running.number = self.state.meta.last.next();
        self.overlay.restamp(running.number);
        // `beside` has run one unit more than there are step-ups; it is one of those that remain.
        let done = match pending.ahead {
            Some(Ok(_)) => pending.step_ups + 1,
            Some(Err(_)) | None => pending.step_ups,
        };
        self.run_all(running, done as usize);
    }

    /// The number gets its outcome, and nothing is recorded under the event's id: the client's retry runs it.
    fn roll_back(&mut self) {
        self.overlay.clear();
        self.plain(PlainBody::Aborted);
    }

    fn run_again(&mut self, event: Event) {
        let found = self.application.descriptor().procedure(&event.procedure);
        let Some((procedure, _)) = found else { return };
        // Parameters that this version can't decode: the client's retry is told so.
        let Ok(run) = self.begin_run(procedure, &event) else { return };
        let (number, time) = (self.state.meta.last.next(), self.stream_time());
        let seed = xxh3_64(&[self.config.seed.to_le_bytes(), number.0.to_le_bytes()].concat());
        self.use_up(&event.id);
        self.run_all(
            Running { number, time, seed, event: Arc::new(event), procedure, reads_only: false, run },
            0,
        );
    }
}
