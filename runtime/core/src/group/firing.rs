//! Timers that fire on the active, and what is common to all events that the runtime itself makes (R34).
//!
//! A timer fires when the group's time has reached it (R33). It is an event like a client's, but for its id and that
//! nobody is answered. What takes its row away belongs to its own transaction, whatever the outcome; a takeover's
//! rollback records nothing, so the row stands and the timer fires again by itself (R22).

use std::sync::Arc;

use super::Group;
use super::notes::Caution;
use super::outputs::Asker;
use crate::channels;
use crate::command::Role;
use crate::effect::Alarm;
use crate::event::{Encoding, Event, EventId, Fault, FaultKind, Outcome};
use crate::ids::{Micros, Number};
use crate::message::{Begin, PeerMessage};
use crate::posted::used_up;
use crate::timers;

/// The most timers that fire in a batch: clients are served between them.
const FIRED_MAX: usize = 64;
/// So many of the timers that are due are looked at for one whose procedure both sides have.
const LOOKED_AT_MAX: usize = 1_024;
/// Timers that wait until both sides have their procedure are looked at again after this.
const DEFERRED: Micros = Micros::from_ms(100);

/// An event of the runtime's own.
pub(super) fn own_event(id: EventId, procedure: String, parameters: Vec<u8>) -> Event {
    let (encoding, body) = (Encoding::Postcard, Vec::new());
    Event { id, awaited_from: 0, procedure: procedure.into(), encoding, parameters, body }
}

/// What became of an event of the runtime's own.
pub(super) enum Own {
    /// It has ended, or waits for its mark to be held (R21) or to act on the world (R19), before anything else runs.
    Begun,
    /// Only one side has its procedure yet: not now (R32).
    NotNow,
}

impl Group {
    /// Puts what an event of the runtime's own uses up at the head of its updates, on both sides.
    pub(super) fn use_up(&mut self, event: &EventId) {
        assert!(self.overlay.is_empty(), "an event begins with an empty overlay");
        used_up(event).iter().for_each(|op| self.overlay.push(op.lent()));
    }

    /// Whether this active starts events of its own: not while it hands over, has heard of another active, waits for a
    /// mark or a note to be held, acts on the world, or can't write any more.
    pub(super) fn starts_events(&self) -> bool {
        self.role == Role::Active
            && !self.is_draining()
            && !self.is_deposed()
            && self.disk_failure().is_none()
            && !self.notes.awaits_mark()
            && !self.notes.awaits_record()
            && !self.is_acting()
    }

    /// Fires what is due; once a batch.
    pub(super) fn fire_timers(&mut self) {
        if !self.starts_events() || self.now < self.timers_at {
            return;
        }
        let due = timers::due(&self.state.tables, self.stream_time(), LOOKED_AT_MAX);
        let (mut fired, mut waits) = (0, false);
        for (due, key) in due {
            if fired == FIRED_MAX {
                return;
            }
            if let Some(until) = self.intake.closed_until().filter(|until| *until > self.now) {
                self.timers_at = until;
                return;
            }
            // One that fired before it may have taken it away or set it anew.
            let Some(timer) = timers::find(&self.state.tables, &key).filter(|timer| timer.due == due) else {
                continue;
            };
            let event = own_event(EventId::Timer { key, due }, timer.procedure, timer.parameters);
            match self.run_own(event, false) {
                Own::Begun => fired += 1,
                Own::NotNow => waits = true,
            }
            if !self.starts_events() {
                return;
            }
        }
        self.timers_at = if waits { self.now.plus(DEFERRED) } else { Micros(0) };
    }

    /// When the next timer fires here, if this side would fire it.
    pub(super) fn next_firing(&self) -> Option<Micros> {
        if !self.starts_events() {
            return None;
        }
        timers::next(&self.state.tables).map(|due| due.max(self.timers_at).max(self.now))
    }

    /// Runs an event of the runtime's own. `marked`: it is under suspicion, and its mark is held (R21).
    pub(super) fn run_own(&mut self, event: Event, marked: bool) -> Own {
        let id = event.id.clone();
        let contract = |message| Fault { kind: FaultKind::Contract, unit: String::new(), message };
        let found = self.application.descriptor().procedure(&event.procedure);
        let Some((procedure, _)) = found.filter(|(_, declared)| !declared.reads_only) else {
            let why = if found.is_some() { "which reads only" } else { "and there is none" };
            let message = format!("{id} is to start `{}`, {why}", event.procedure);
            return self.fault_unrun(event, contract(message));
        };
        match self.caution(&id) {
            Caution::Fault(fault) => return self.fault_unrun(event, fault),
            Caution::Mark if !marked => {
                self.mark(Asker::Nobody, event);
                return Own::Begun;
            }
            Caution::Mark | Caution::Clean => {}
        }
        if self.is_not_enabled(procedure) {
            return Own::NotNow;
        }
        match self.begin_run(procedure, &event) {
            Ok(run) => {
                // Nothing can be withheld: there is no body.
                self.run_new(Asker::Nobody, event, procedure, run, false);
                Own::Begun
            }
            Err(reason) => {
                let message = format!("{id} can't be begun: {reason}");
                self.fault_unrun(event, contract(message))
            }
        }
    }

    /// An event of the runtime's own ended, on whatever side: the active counts it, owes the sender of a message a word,
    /// and tells operators of a refusal, as nobody else hears of it.
    pub(super) fn own_ended(&mut self, id: &EventId, number: Number, procedure: &str, outcome: &Outcome) {
        if self.role != Role::Active || !id.is_own() {
            return;
        }
        match id {
            EventId::Message { from, number: message } => {
                self.counts.messages_taken += 1;
                self.messages.owe(from, number, *message);
            }
            _ => self.counts.timers_fired += 1,
        }
        if let Outcome::Refused(refusal) = outcome {
            let what = format!("{id} was refused ({}): {}", refusal.code, refusal.message);
            self.alarm(Alarm::OwnRefused { number, procedure: procedure.into(), what });
        }
    }

    /// Whether an event of the runtime's own is used up already.
    pub(super) fn is_used_up(&self, event: &EventId) -> bool {
        let tables = &self.state.tables;
        match event {
            EventId::Timer { key, due } => timers::find(tables, key).is_none_or(|timer| timer.due != *due),
            EventId::Message { from, number } => channels::taken(tables, from) >= *number,
            EventId::Numbered { .. } | EventId::Keyed { .. } => false,
        }
    }

    /// An event of the runtime's own that does not run: a recorded fault, so that it is used up on both sides.
    fn fault_unrun(&mut self, event: Event, fault: Fault) -> Own {
        let (number, time) = (self.state.meta.last.next(), self.stream_time());
        let outcome = Outcome::Faulted(fault);
        if self.in_step() {
            // Shipped, as the standby has nothing of its own to run either.
            let begun = Arc::new(event.clone());
            let (shipped, withheld) = (true, false);
            self.send(PeerMessage::Begin(Begin { number, time, seed: 0, shipped, event: begun, withheld }));
            self.send(PeerMessage::Abort { number, outcome: Box::new(outcome.clone()) });
        }
        self.ended(number, &event.procedure, &outcome);
        self.finish(number, time, &event, outcome);
        Own::Begun
    }
}
