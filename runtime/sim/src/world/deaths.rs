//! Deaths in the application's code (R21, R23): what the witness saw becomes a note, which reaches the partner before
//! the word of the death, or does not; the own file keeps it for the next start.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_core::event::EventId;
use lockstep_core::ids::{Micros, NodeId, PluginHash, StoreId};
use lockstep_core::input::Input;
use lockstep_core::note::{DeathNote, NoteKind};
use lockstep_core::witness::{Piece, Witness};

use super::disorder::Line;
use super::{Happening, World};
use crate::ledger::{Doom, LATE_US};

/// A unit that hangs is given up after this long.
const HANG: Micros = Micros::from_ms(70);

/// A death in a unit, as it happened.
#[derive(Clone, Debug)]
pub struct Death {
    /// The processor.
    pub node: usize,
    /// The event.
    pub event: EventId,
    /// What ran it.
    pub plugin: PluginHash,
    /// A note of it reached the partner.
    pub told: bool,
}

/// A processor's page: what its witness writes, and what a death makes of it.
#[derive(Clone, Default)]
pub(super) struct Seat {
    pub took_us: Arc<AtomicU64>,
    /// How many units came late.
    pub late: Arc<AtomicU64>,
    /// Every unit takes so long here.
    pub slow_us: u64,
    running: Arc<Mutex<Option<DeathNote>>>,
    /// The file, for the next start.
    note: Option<DeathNote>,
    /// The process stands still in a unit, and this store's lock is still held.
    pub hung: Option<StoreId>,
}

impl Seat {
    fn running(&self) -> Option<DeathNote> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Witness for Seat {
    fn begins(&mut self, piece: &Piece<'_>) {
        let note =
            DeathNote::new(piece.event, piece.plugin, piece.unit, NodeId("".into()), NoteKind::Suspected);
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(note);
    }

    fn ended(&mut self) -> Micros {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let took_us = self.took_us.swap(0, Ordering::Relaxed).max(self.slow_us);
        self.late.fetch_add(u64::from(took_us >= LATE_US), Ordering::Relaxed);
        Micros(took_us)
    }
}

/// Runs `what`, unless a unit in it takes the processor down.
pub(super) fn survives(what: impl FnOnce()) -> Result<(), Doom> {
    match catch_unwind(AssertUnwindSafe(what)) {
        Ok(()) => Ok(()),
        Err(thrown) => match thrown.downcast::<Doom>() {
            Ok(doom) => Err(*doom),
            // A failed check of the core's own.
            Err(thrown) => resume_unwind(thrown),
        },
    }
}

impl World {
    /// A unit took processor `node` down.
    pub(super) fn doomed(&mut self, node: usize, doom: Doom) {
        let running = self.nodes[node].seat.running().expect("the witness saw what ran");
        let running = DeathNote { died: super::name(node), ..running };
        *self.nodes[node].seat.running.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let group = &self.process(node).group;
        let noted = group.state().meta.notes.get(&running.event, running.plugin);
        assert!(
            noted.is_none_or(|noted| !noted.note.kind.is_certain()),
            "{} runs {:?}, and knows that it kills (R21)",
            super::name(node),
            running.event
        );
        let store = group.store();
        let told = !self.random.percent(self.noteless_percent);
        self.tell(Some(node), || {
            format!("{doom:?} in {:?}, unit {}, told {told}", running.event, running.unit)
        });
        let (event, plugin) = (running.event.clone(), running.plugin);
        self.deaths.push(Death { node, event, plugin, told });
        match doom {
            Doom::Dies => {
                self.seen.add(if told {
                    "death in a unit with a note"
                } else {
                    "death in a unit without a note"
                });
                let kind = if told { NoteKind::Killed { signal: 11 } } else { NoteKind::Suspected };
                self.leave_note(node, DeathNote { kind, ..running }, told);
                self.kill(node, false);
                let incarnations = self.nodes[node].incarnations;
                let again = Micros(self.random.within(1_000, 60_000));
                self.after(again, Happening::Revive { node, incarnations });
            }
            Doom::Hangs => {
                self.seen.add("hang in a unit");
                let kind = if told { NoteKind::Hung { ms: HANG.0 / 1_000 } } else { NoteKind::Suspected };
                self.nodes[node].seat.note = Some(DeathNote { kind, ..running });
                // It says nothing more, and nothing tells of it until it is given up.
                self.nodes[node].process = None;
                self.nodes[node].disk.crash(false, &mut self.random);
                self.nodes[node].seat.hung = Some(store);
                let incarnations = self.nodes[node].incarnations;
                self.after(HANG, Happening::GivenUp { node, incarnations });
            }
        }
    }

    /// The watchdog's word: the note goes out, the sockets are closed, and the engine is made anew.
    pub(super) fn given_up(&mut self, node: usize, incarnations: u64) {
        let side = &mut self.nodes[node];
        let Some(store) = side.seat.hung.take_if(|_| side.incarnations == incarnations) else { return };
        if let Some(note) = side.seat.note.clone() {
            let told = note.kind.is_certain();
            self.leave_note(node, note, told);
        }
        let other = 1 - node;
        if self.nodes[other].process.as_ref().is_some_and(|process| process.watched == Some(store)) {
            let delay = Micros(self.random.within(300, 3_000));
            let delay = self.delay_on(Line::System, other, delay);
            self.input_after(other, delay, Input::PartnerDied { store });
        }
        self.drop_link();
        self.start(node);
    }

    /// Whoever looks after the processor starts it again.
    pub(super) fn revive(&mut self, node: usize, incarnations: u64) {
        if self.nodes[node].process.is_none() && self.nodes[node].incarnations == incarnations {
            self.start(node);
        }
    }

    /// Every work unit takes so long on `node`, from its next start on.
    pub fn slow_units(&mut self, node: usize, length: Micros) {
        self.nodes[node].seat.slow_us = length.0;
    }

    /// How many units came late so far.
    #[must_use]
    pub fn late_units(&self) -> u64 {
        self.nodes.iter().map(|node| node.seat.late.load(Ordering::Relaxed)).sum()
    }

    /// Tells `node` that its partner left `note` at its death.
    pub fn tell_note(&mut self, node: usize, note: DeathNote) {
        self.input(node, Input::Note { note, own: false });
    }

    /// Puts `note` into the file of `node`, which is dead.
    pub fn leave_own_note(&mut self, node: usize, note: DeathNote) {
        self.nodes[node].seat.note = Some(note);
    }

    fn leave_note(&mut self, node: usize, note: DeathNote, told: bool) {
        if told {
            // Written before the death, so that it is read before the word of it.
            let delay = Micros(self.random.within(20, 250));
            let delay = self.delay_on(Line::System, 1 - node, delay);
            self.input_after(1 - node, delay, Input::Note { note: note.clone(), own: false });
        }
        self.nodes[node].seat.note = Some(note);
    }

    /// A start finds what the process before has left.
    pub(super) fn find_own_note(&mut self, node: usize) {
        self.nodes[node].seat.hung = None;
        if let Some(note) = self.nodes[node].seat.note.clone() {
            self.input_after(node, Micros(1), Input::Note { note, own: true });
        }
    }

    pub(super) fn note_recorded(&mut self, node: usize, recorded: &DeathNote) {
        self.seen.add("note recorded");
        let same = |note: &mut DeathNote| note.event == recorded.event && note.plugin == recorded.plugin;
        self.nodes[node].seat.note.take_if(same);
    }

    /// How often processors died of an event under one plugin.
    #[must_use]
    pub fn deaths_of(&self, event: &EventId, plugin: PluginHash) -> usize {
        self.deaths.iter().filter(|death| death.event == *event && death.plugin == plugin).count()
    }
}
