//! Events that processors died of (R21): death notes on their way into the stream, and what is done about an event
//! that a note names.
//!
//! An event that certainly killed or hung a processor gets a recorded fault in place of a further run under that
//! plugin. One that is only suspected (it was under way at a death without a note, or killed under another plugin)
//! runs again once, alone: a mark is held first, and everything else waits. An active that finds a mark of a process
//! before it knows of a second death, and quarantines the event.
//!
//! Invariants: nothing else runs while a mark is awaited; a note is kept until its entry is held.

use std::sync::Arc;

use super::active::Running;
use super::follow::{Follow, Pending};
use super::outputs::Asker;
use super::{Group, Identity};
use crate::application::Run;
use crate::command::{HalfWayEnd, Role};
use crate::descriptor::{BodyUse, ProcedureIndex};
use crate::effect::{Alarm, Effect};
use crate::entry::Control;
use crate::event::{Answer, Event, EventId, Fault, FaultKind, Outcome};
use crate::ids::{LinkId, Micros, NodeId, Number, PluginHash};
use crate::message::{Begin, PeerMessage, PlainBody};
use crate::note::{DeathNote, NoteKind};
use crate::sessions::Known;
use crate::witness::Piece;

/// The most notes that wait to be recorded; a processor leaves one at its death.
const UNRECORDED_MAX: usize = 64;

/// A note that is not held yet.
#[derive(Clone)]
struct Unrecorded {
    note: DeathNote,
    /// It is of this processor's own death, found at its start.
    own: bool,
}

/// An event that runs once its mark is held.
#[derive(Clone)]
struct Marked {
    number: Number,
    what: Suspect,
}

#[derive(Clone)]
enum Suspect {
    /// A takeover found it half-way.
    HalfWay(Box<Pending>, HalfWayEnd),
    /// Its sender asked for it again.
    Asked(Asker, Event),
}

/// What a group keeps about death notes.
#[derive(Clone, Default)]
pub(super) struct NoteBook {
    unrecorded: Vec<Unrecorded>,
    /// The link on which the active was told of them.
    told_on: Option<LinkId>,
    marked: Option<Box<Marked>>,
}

impl NoteBook {
    /// Whether a note is on its way into the stream. What the runtime starts by itself waits for it: else a second event
    /// that kills could kill this processor each time before the note of the first is held, in turns for ever.
    pub fn awaits_record(&self) -> bool {
        !self.unrecorded.is_empty()
    }

    /// What a group's identity has of this.
    pub fn add_to(&self, identity: &mut Identity) {
        let notes = self.unrecorded.iter().map(|kept| (&kept.note, kept.own));
        identity.add((notes.collect::<Vec<_>>(), self.told_on.is_some()));
        identity.add(self.marked.as_ref().map(|marked| marked.number));
    }

    /// Whether a marked event waits: nothing else is run before it.
    pub fn awaits_mark(&self) -> bool {
        self.marked.is_some()
    }
}

/// What is to be done about an event.
pub(super) enum Caution {
    /// Nothing.
    Clean,
    /// It runs alone, marked before.
    Mark,
    /// It does not run.
    Fault(Fault),
}

impl Group {
    /// A processor died, or gave itself up, and this is what it was doing.
    pub(super) fn on_note(&mut self, note: DeathNote, own: bool) {
        let known =
            matches!(note.kind, NoteKind::Suspected | NoteKind::Killed { .. } | NoteKind::Hung { .. });
        if let Some(what) = note.check().err().or_else(|| (!known).then(|| "a note of no death came".into()))
        {
            return self.alarm(Alarm::ProtocolBroken { what });
        }
        let same = |kept: &Unrecorded| kept.note.event == note.event && kept.note.plugin == note.plugin;
        if self.notes.unrecorded.len() >= UNRECORDED_MAX || self.notes.unrecorded.iter().any(same) {
            return;
        }
        self.alarm(Alarm::Died { note: note.clone(), own });
        self.notes.unrecorded.push(Unrecorded { note, own });
        self.notes.told_on = None;
    }

    /// Puts notes into the stream, or tells the active of them; lets those go that are held. Once a batch.
    pub(super) fn settle_notes(&mut self) {
        if self.notes.unrecorded.is_empty() {
            return;
        }
        if self.role == Role::Active {
            let free = !self.notes.awaits_mark() && !self.is_acting();
            if !self.is_deposed() && free && self.only_reads().is_none() {
                self.record_notes();
            }
        } else if matches!(self.follow, Follow::InStep | Follow::Entries)
            && let Some(link) = self.partner.as_ref().map(|partner| partner.link)
            && self.notes.told_on != Some(link)
        {
            self.notes.told_on = Some(link);
            let notes: Vec<_> = self.notes.unrecorded.iter().map(|kept| kept.note.clone()).collect();
            notes.into_iter().for_each(|note| self.send(PeerMessage::Note(Box::new(note))));
        }
        let unrecorded = std::mem::take(&mut self.notes.unrecorded);
        let (held, waiting): (Vec<_>, _) =
            unrecorded.into_iter().partition(|kept| self.is_settled(&kept.note));
        self.notes.unrecorded = waiting;
        held.into_iter().for_each(|kept| self.effects.push(Effect::NoteRecorded { note: kept.note }));
    }

    /// Whether a note has done its work: it is held, or a suspicion is of an event that has ended.
    fn is_settled(&self, note: &DeathNote) -> bool {
        let recorded = self.state.meta.notes.get(&note.event, note.plugin);
        let enough = |kind: NoteKind| kind.is_certain() || !note.kind.is_certain();
        recorded.is_some_and(|recorded| recorded.number <= self.held && enough(recorded.note.kind))
            || (!note.kind.is_certain() && self.has_ended(&note.event))
    }

    fn has_ended(&self, event: &EventId) -> bool {
        if event.is_own() {
            return self.is_used_up(event) && self.held == self.state.meta.last;
        }
        match self.state.sessions.look_up(event) {
            Known::Ended(recorded) => recorded.number <= self.held,
            Known::AlreadyAnswered => true,
            Known::New | Known::UnknownSession | Known::WindowFull => false,
        }
    }

    /// Puts what is not in the stream yet into it.
    fn record_notes(&mut self) {
        let unrecorded = self.notes.unrecorded.iter().map(|kept| &kept.note);
        let missing: Vec<DeathNote> = unrecorded
            .filter(|note| note.kind.is_certain() || !self.has_ended(&note.event))
            .filter_map(|note| match self.state.meta.notes.get(&note.event, note.plugin) {
                None => Some(note.clone()),
                Some(recorded) if recorded.note.kind.is_certain() => None,
                Some(_) if note.kind.is_certain() => Some(note.clone()),
                Some(recorded) if recorded.note.is_second_death(note) => {
                    Some(DeathNote { kind: NoteKind::Quarantined, ..note.clone() })
                }
                Some(_) => None,
            })
            .collect();
        missing.into_iter().for_each(|note| self.record_note(note));
    }

    fn record_note(&mut self, note: DeathNote) {
        if note.kind.is_certain() {
            self.count_death(note.plugin);
        }
        self.plain(PlainBody::Control(Control::Note(Box::new(note))));
    }

    /// What is noted of an event, for the version that runs here.
    pub(super) fn caution(&self, event: &EventId) -> Caution {
        let notes = &self.state.meta.notes;
        if notes.is_empty() {
            return Caution::Clean;
        }
        match notes.get(event, self.own_hash()).and_then(|recorded| recorded.note.fault()) {
            Some(fault) => Caution::Fault(fault),
            None if notes.of(event).next().is_some() => Caution::Mark,
            None => Caution::Clean,
        }
    }

    /// Whether the partner's plugin is known to die of an event: what it does is shipped, so that it does not run there.
    pub(super) fn kills_partner(&self, event: &EventId) -> bool {
        let theirs = self.partner.as_ref().and_then(|partner| partner.application.as_ref());
        let noted = theirs.and_then(|theirs| self.state.meta.notes.get(event, theirs.hash));
        noted.is_some_and(|noted| noted.note.kind.is_certain())
    }

    /// An event that is not run: its sender gets the fault, now and whenever it asks again (R13, R21).
    pub(super) fn end_noted(&mut self, asker: Asker, event: Event, procedure: ProcedureIndex, fault: Fault) {
        let declared = &self.application.descriptor().procedures[procedure];
        if declared.reads_only {
            let number = self.state.meta.last;
            let answer = Answer::Ended { number, outcome: Outcome::Faulted(fault) };
            return self.output(number, asker, answer);
        }
        let (number, time) = (self.state.meta.last.next(), self.stream_time());
        if self.in_step() {
            let withheld = declared.body == BodyUse::Withheld;
            // Shipped, so that the standby does not so much as decode it.
            let event = Arc::new(if withheld { event.without_body() } else { event.clone() });
            self.send(PeerMessage::Begin(Begin { number, time, seed: 0, shipped: true, event, withheld }));
        }
        let outcome = self.fault_instead(number, time, &event, fault);
        self.output(number, asker, Answer::Ended { number, outcome });
    }

    fn fault_instead(&mut self, number: Number, time: Micros, event: &Event, fault: Fault) -> Outcome {
        self.overlay.clear();
        let outcome = Outcome::Faulted(fault);
        if self.in_step() {
            self.send(PeerMessage::Abort { number, outcome: Box::new(outcome.clone()) });
        }
        self.ended(number, &event.procedure, &outcome);
        self.finish(number, time, event, outcome.clone());
        outcome
    }

    /// A suspected event runs once its mark is held; until then nothing else does.
    pub(super) fn mark(&mut self, asker: Asker, event: Event) {
        let noted = self.state.meta.notes.of(&event.id).next();
        let unit = noted.map_or_else(String::new, |recorded| recorded.note.unit.clone());
        let note = self.note(&event, &unit, self.config.node.clone(), NoteKind::Marked);
        self.mark_and_wait(note, Suspect::Asked(asker, event));
    }

    fn mark_and_wait(&mut self, note: DeathNote, what: Suspect) {
        assert!(!self.notes.awaits_mark(), "suspected events run one at a time (R21)");
        let number = self.plain(PlainBody::Control(Control::Note(Box::new(note))));
        self.notes.marked = Some(Box::new(Marked { number, what }));
    }

    /// Before a takeover deals with what is half-way: what is noted goes into the stream. True if a note tells what the
    /// active before died of.
    pub(super) fn notes_at_takeover(&mut self) -> bool {
        let told = self.notes.unrecorded.iter().any(|kept| !kept.own && kept.note.kind.is_certain());
        self.record_notes();
        let open: Vec<DeathNote> = self
            .state
            .meta
            .notes
            .iter()
            .filter(|recorded| recorded.note.kind == NoteKind::Marked)
            .map(|recorded| DeathNote { kind: NoteKind::Quarantined, ..recorded.note.clone() })
            .collect();
        open.into_iter().for_each(|note| self.record_note(note));
        told
    }

    /// Lets a half-way event end with its fault, if it is noted; gives it back if it is not.
    pub(super) fn fault_half_way(&mut self, pending: Box<Pending>) -> Option<Box<Pending>> {
        let Caution::Fault(fault) = self.caution(&pending.begin.event.id) else { return Some(pending) };
        self.fault_instead(self.state.meta.last.next(), pending.begin.time, &pending.begin.event, fault);
        None
    }

    /// A half-way event is marked, and runs once that is held.
    pub(super) fn mark_half_way(&mut self, pending: Box<Pending>, end: HalfWayEnd) {
        let unit = self.next_unit(&pending);
        let note = self.note(&pending.begin.event, &unit, self.config.node.clone(), NoteKind::Marked);
        self.mark_and_wait(note, Suspect::HalfWay(pending, end));
    }

    /// A half-way event was dropped, and nobody knows whether its processor died of it: should its sender ask again, it
    /// runs alone.
    pub(super) fn suspect(&mut self, pending: &Pending) {
        let unit = self.next_unit(pending);
        self.suspect_event(&pending.begin.event, &unit);
    }

    /// The same of an event of which nothing but its intent is known (R19).
    pub(super) fn suspect_intent(&mut self) {
        let event = self.state.meta.intent.as_ref().map(|intent| intent.as_event());
        if let Some(event) = event {
            self.suspect_event(&event, "");
        }
    }

    fn suspect_event(&mut self, event: &Event, unit: &str) {
        // Who died is not looked for: its own note of the same death is no second one.
        let note = self.note(event, unit, NodeId(String::new()), NoteKind::Suspected);
        if self.state.meta.notes.of(&note.event).next().is_none() {
            self.record_note(note);
        }
    }

    fn note(&self, event: &Event, unit: &str, died: NodeId, kind: NoteKind) -> DeathNote {
        DeathNote::new(event, self.own_hash(), unit, died, kind)
    }

    /// The unit that the active before was about to run, where this side knows it.
    fn next_unit(&self, pending: &Pending) -> String {
        let unit = |running: &Running| self.unit_name(running, pending.step_ups as usize);
        pending.running.as_ref().map_or_else(String::new, unit)
    }

    /// The mark is held: the event runs, then what has waited.
    pub(super) fn run_marked(&mut self) {
        if self.is_deposed() || self.notes.marked.as_ref().is_none_or(|marked| marked.number > self.held) {
            return;
        }
        let Some(marked) = self.notes.marked.take() else { return };
        let id = match marked.what {
            Suspect::HalfWay(pending, end) => {
                let id = pending.begin.event.id.clone();
                self.end_half_way(*pending, end);
                if let Some(event) = self.again.take() {
                    self.submit(Asker::Nobody, event, true);
                }
                id
            }
            Suspect::Asked(asker, event) => {
                let id = event.id.clone();
                match id.is_own() {
                    true => drop(self.run_own(event, true)),
                    false => self.submit(asker, event, true),
                }
                id
            }
        };
        if self.is_acting() {
            // It waits for the standby (R19), and everything else for it.
            return;
        }
        // It was turned away without a run: a later active must not take its mark for a second death.
        let open = self.state.meta.notes.get(&id, self.own_hash());
        if let Some(open) = open.filter(|open| open.note.kind == NoteKind::Marked) {
            let note = DeathNote { kind: NoteKind::Suspected, ..open.note.clone() };
            self.record_note(note);
        }
        self.serve_parked();
    }

    /// The mark can't be held any more: the event is not run, and what waits for it is answered.
    pub(super) fn give_up_marked(&mut self) {
        if self.notes.awaits_mark() {
            self.forget_marked();
            self.serve_parked();
        }
    }

    /// This side is no longer the active: nothing is run.
    pub(super) fn forget_marked(&mut self) {
        if let Some(Suspect::Asked(asker, _)) = self.notes.marked.take().map(|marked| marked.what) {
            self.answer(asker, Answer::Retry { reason: "the active has changed".into() });
        }
    }

    // -- the witness

    /// Decodes an event's parameters and makes its plan, under the witness's eyes: that is code of the application too.
    pub(super) fn begin_run(
        &mut self,
        procedure: ProcedureIndex,
        event: &Event,
    ) -> Result<Box<dyn Run>, String> {
        self.witness_begins(procedure, event, "(plan)");
        let begun = self.application.begin(procedure, event.encoding, &event.parameters, self.features);
        self.witness.ended();
        begun
    }

    /// Writes down what is about to run for `event`.
    pub(super) fn witness_begins(&mut self, procedure: ProcedureIndex, event: &Event, unit: &str) {
        let descriptor = self.application.descriptor();
        let hang_ms = descriptor.procedures[procedure].hang_after_ms();
        self.witness.begins(&Piece { event, plugin: descriptor.hash, unit, hang_ms, timed: false });
    }

    /// A unit that returned after its deadline has faulted, whatever it returned (R23). The active alone judges.
    pub(super) fn is_late(&self, running: &Running) -> Option<(FaultKind, String)> {
        let deadline_ms = self.application.descriptor().procedures[running.procedure].deadline_ms;
        let late = deadline_ms > 0 && self.unit_time > Micros::from_ms(deadline_ms.into());
        late.then(|| {
            let ms = self.unit_time.0.div_ceil(1_000);
            (FaultKind::Deadline, format!("it returned after {ms} ms, and its deadline is {deadline_ms} ms"))
        })
    }

    /// A certain note under `plugin` is recorded: a campaign that brings it falls back.
    fn count_death(&mut self, plugin: PluginHash) {
        let campaign = self.state.meta.campaign.as_ref();
        if campaign.is_some_and(|campaign| campaign.plan.to_hash == plugin) {
            self.evaluation.deaths += 1;
        }
    }
}
