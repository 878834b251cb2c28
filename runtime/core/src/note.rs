//! Death notes (R21): events that killed or hung their processor, and those that are under suspicion of it.
//!
//! A note is part of the database: it comes by an entry of the stream, so that whoever is active next knows it.
//! Deliberately absent: how a death is noticed, and what is done about an event (`group/notes.rs`).
//! Invariants: sorted by event and plugin, at most [`NOTES_MAX`], the oldest goes first; what is certain is never
//! replaced by what is only suspected.

use serde::{Deserialize, Serialize};

use crate::event::{Event, EventId, Fault, FaultKind, KEY_BYTES_MAX};
use crate::ids::{NodeId, Number, PluginHash};
use crate::{channels, timers};

/// The most notes of a group.
pub const NOTES_MAX: usize = 1_024;
/// The longest name of a procedure or work unit in a note, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// What became of the processor in the unit that a note names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoteKind {
    /// The event had begun when its processor died of something that left no note; or a takeover dropped it half-way.
    /// It runs again once, alone, marked before.
    Suspected,
    /// It is about to run again. Found by a later active, it has met a second death.
    Marked,
    /// The unit killed its processor by this signal.
    Killed {
        /// The signal's number.
        signal: u32,
    },
    /// The unit did not return within the time that its procedure may take to hang (R23).
    Hung {
        /// That time, in milliseconds.
        ms: u64,
    },
    /// Two processors died while it ran, and neither left a note.
    Quarantined,
}

impl NoteKind {
    /// Whether the event does not run again under the plugin.
    #[must_use]
    pub fn is_certain(self) -> bool {
        matches!(self, NoteKind::Killed { .. } | NoteKind::Hung { .. } | NoteKind::Quarantined)
    }
}

/// An event that a processor died of, or may have died of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeathNote {
    /// The event.
    pub event: EventId,
    /// The plugin file that ran it: another one may run it.
    pub plugin: PluginHash,
    /// The procedure.
    pub procedure: String,
    /// The work unit that was under way.
    pub unit: String,
    /// The processor that died, or that runs it marked; empty where it is not known.
    pub died: NodeId,
    /// What became of the processor.
    pub kind: NoteKind,
}

impl DeathNote {
    /// A note about `event`.
    #[must_use]
    pub fn new(event: &Event, plugin: PluginHash, unit: &str, died: NodeId, kind: NoteKind) -> Self {
        let (procedure, unit) = (event.procedure.as_str().into(), unit.into());
        DeathNote { event: event.id.clone(), plugin, procedure, unit, died, kind }
    }

    /// Whether this and `other` are suspicions from the deaths of two processors.
    #[must_use]
    pub fn is_second_death(&self, other: &DeathNote) -> bool {
        let known = |note: &DeathNote| !note.died.0.is_empty() && note.kind == NoteKind::Suspected;
        known(self) && known(other) && self.died != other.died
    }

    /// Whether it may be recorded: notes come from files and from partners.
    ///
    /// # Errors
    /// A sentence that says what is over its bound.
    pub fn check(&self) -> Result<(), String> {
        if let EventId::Keyed { key } = &self.event
            && key.len() > KEY_BYTES_MAX
        {
            return Err(format!("a death note has a key of {} bytes", key.len()));
        }
        if let EventId::Timer { key, .. } = &self.event
            && key.len() > timers::KEY_BYTES_MAX
        {
            return Err(format!("a death note has a timer's key of {} bytes", key.len()));
        }
        if let EventId::Message { from, .. } = &self.event
            && from.application.len() > channels::APPLICATION_BYTES_MAX
        {
            return Err("a death note has a sender of too long a name".into());
        }
        let names = [("procedure", &self.procedure), ("work unit", &self.unit), ("processor", &self.died.0)];
        for (what, name) in names {
            if name.len() > NAME_BYTES_MAX {
                return Err(format!("a death note names a {what} of {} bytes", name.len()));
            }
        }
        Ok(())
    }

    /// What the event's sender is told; none while nothing is certain.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        let (kind, what) = match self.kind {
            NoteKind::Suspected | NoteKind::Marked => return None,
            NoteKind::Killed { signal } => {
                (FaultKind::Killed, format!("killed its processor by {}", signal_name(signal)))
            }
            NoteKind::Hung { ms } => (FaultKind::Hung, format!("had not returned after {ms} ms")),
            NoteKind::Quarantined => {
                (FaultKind::Quarantined, "was under way at two deaths of a processor".into())
            }
        };
        let plugin = self.plugin.to_string();
        let message = format!("it {what}; plugin {} does not run this event again (R21)", &plugin[..12]);
        Some(Fault { kind, unit: self.unit.clone(), message })
    }
}

/// The name of a signal, or its number.
#[must_use]
pub fn signal_name(signal: u32) -> String {
    match signal {
        4 => "SIGILL".into(),
        6 => "SIGABRT".into(),
        7 => "SIGBUS".into(),
        8 => "SIGFPE".into(),
        11 => "SIGSEGV".into(),
        31 => "SIGSYS".into(),
        other => format!("signal {other}"),
    }
}

/// A note with its place in the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The entry that recorded it.
    pub number: Number,
    /// The note.
    pub note: DeathNote,
}

/// All notes of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes(Vec<Recorded>);

impl Notes {
    fn find(&self, event: &EventId, plugin: PluginHash) -> Result<usize, usize> {
        self.0.binary_search_by(|recorded| (&recorded.note.event, recorded.note.plugin).cmp(&(event, plugin)))
    }

    /// What is noted of `event` under `plugin`.
    #[must_use]
    pub fn get(&self, event: &EventId, plugin: PluginHash) -> Option<&Recorded> {
        self.find(event, plugin).ok().map(|at| &self.0[at])
    }

    /// What is noted of `event`, under whatever plugin.
    pub fn of<'a>(&'a self, event: &EventId) -> impl Iterator<Item = &'a Recorded> + use<'a> {
        let from = self.0.partition_point(|recorded| recorded.note.event < *event);
        let event = self.0.get(from).map(|first| &first.note.event).filter(|first| *first == event);
        self.0[from..].iter().take_while(move |recorded| Some(&recorded.note.event) == event)
    }

    /// All notes, by event.
    pub fn iter(&self) -> impl Iterator<Item = &Recorded> {
        self.0.iter()
    }

    /// The latest that are certain, at most `count`, the latest first.
    #[must_use]
    pub fn latest(&self, count: usize) -> Vec<DeathNote> {
        let mut certain: Vec<_> = self.iter().filter(|recorded| recorded.note.kind.is_certain()).collect();
        certain.sort_by_key(|recorded| std::cmp::Reverse(recorded.number));
        certain.into_iter().take(count).map(|recorded| recorded.note.clone()).collect()
    }

    /// Whether there is none: most of the time, so nothing is looked up.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in the note that entry `number` records.
    pub(crate) fn put(&mut self, number: Number, note: &DeathNote) {
        let recorded = Recorded { number, note: note.clone() };
        match self.find(&note.event, note.plugin) {
            Ok(at) if self.0[at].note.kind.is_certain() && !note.kind.is_certain() => {}
            Ok(at) => self.0[at] = recorded,
            Err(at) => self.0.insert(at, recorded),
        }
        while self.0.len() > NOTES_MAX {
            let oldest = (0..self.0.len()).min_by_key(|at| self.0[*at].number).expect("there are many");
            self.0.remove(oldest);
        }
    }

    /// Whether `event`, which has ended, is still under suspicion.
    #[must_use]
    pub(crate) fn is_open(&self, event: &EventId) -> bool {
        !self.is_empty() && self.of(event).any(|recorded| !recorded.note.kind.is_certain())
    }

    /// `event` has ended: it is under no suspicion any more.
    pub(crate) fn ended(&mut self, event: &EventId) {
        self.0.retain(|recorded| recorded.note.event != *event || recorded.note.kind.is_certain());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(key: u64, plugin: u8, kind: NoteKind) -> DeathNote {
        let event = EventId::Keyed { key: format!("{key:05}") };
        let (procedure, unit) = ("transfer".into(), "debit".into());
        let died = NodeId("a".into());
        DeathNote { event, plugin: PluginHash([plugin; 32]), procedure, unit, died, kind }
    }

    #[test]
    fn what_is_certain_is_not_replaced_by_a_suspicion() {
        let mut notes = Notes::default();
        let killed = note(1, 1, NoteKind::Killed { signal: 11 });
        notes.put(Number(1), &note(1, 1, NoteKind::Marked));
        notes.put(Number(2), &killed);
        notes.put(Number(3), &note(1, 1, NoteKind::Suspected));
        assert_eq!(notes.get(&killed.event, killed.plugin).map(|recorded| &recorded.note), Some(&killed));
        assert_eq!(notes.iter().count(), 1);
        assert!(!notes.is_open(&killed.event));
    }

    #[test]
    fn plugins_are_told_apart_and_an_end_takes_suspicions_away() {
        let mut notes = Notes::default();
        notes.put(Number(1), &note(1, 1, NoteKind::Hung { ms: 5 }));
        notes.put(Number(2), &note(1, 2, NoteKind::Suspected));
        notes.put(Number(3), &note(2, 2, NoteKind::Suspected));
        let event = note(1, 1, NoteKind::Marked).event;
        assert_eq!(notes.of(&event).count(), 2);
        assert!(notes.is_open(&event));
        notes.ended(&event);
        let left: Vec<_> = notes.iter().map(|recorded| recorded.number).collect();
        assert_eq!(left, [Number(1), Number(3)]);
    }

    #[test]
    fn the_oldest_note_makes_room() {
        let mut notes = Notes::default();
        for number in 0..=NOTES_MAX as u64 {
            // The greatest key is the oldest.
            notes.put(Number(number + 1), &note(9_999 - number, 1, NoteKind::Quarantined));
        }
        assert_eq!(notes.iter().count(), NOTES_MAX);
        assert!(notes.get(&note(9_999, 1, NoteKind::Marked).event, PluginHash([1; 32])).is_none());
        assert!(notes.iter().is_sorted_by_key(|recorded| &recorded.note.event));
    }

    #[test]
    fn a_fault_names_the_signal_and_the_unit() {
        let fault = note(1, 1, NoteKind::Killed { signal: 11 }).fault().expect("it is certain");
        assert_eq!((fault.kind, fault.unit.as_str()), (FaultKind::Killed, "debit"));
        assert!(fault.message.contains("SIGSEGV"), "{}", fault.message);
        assert!(note(1, 1, NoteKind::Marked).fault().is_none());
    }
}
