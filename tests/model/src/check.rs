//! What must hold, looked at after every step.

use std::sync::Arc;

use lockstep_core::command::Role;
use lockstep_core::entry::Entry;
use lockstep_core::event::Answer;
use lockstep_core::group::{Group, Identity};
use lockstep_core::ids::{Number, Origin, StoreId, Term};
use lockstep_core::record::Record;
use xxhash_rust::xxh3::xxh3_64;

use crate::pair::Pair;

impl Pair {
    /// Something that must not be.
    pub(crate) fn fails(&mut self, what: &str) {
        if self.wrong.is_none() {
            self.wrong = Some(what.into());
        }
    }

    fn durable_term(&self, store: StoreId, number: Number) -> Option<Term> {
        self.sides.iter().find_map(|side| side.disk.durable_term(store, number))
    }

    /// Term and number name one entry for ever (R8, R24).
    pub(crate) fn check_entry(&mut self, entry: &Entry) {
        let mut identity = Identity::default();
        identity.add(entry);
        let whole = xxh3_64(format!("{entry:?}").as_bytes());
        let name = (entry.term, entry.number);
        match self.names.get(&name) {
            Some((first, _)) if *first == whole => {}
            Some(_) => self.fails("two entries have one term and number (R24)"),
            None => {
                Arc::make_mut(&mut self.names).insert(name, (whole, identity.digest()));
            }
        }
    }

    /// An answer leaves only when every recorded member has durably what it rests on (R9, R10), whoever lets it go: so
    /// two actives that both answer never answer differently.
    pub(crate) fn on_answer(&mut self, side: usize, origin: Origin, answer: &Answer) {
        let Answer::SessionOpened { session } = answer else { return };
        let number = Number(session.0);
        let term = self.sides[side].with(|group| group.state().meta.term_of(number)).flatten();
        let Some(term) = term else { return self.fails("an answer is of a number that is not there") };
        if !Arc::make_mut(&mut self.answered_events).insert(origin) {
            self.fails("an event is answered twice");
        }
        match Arc::make_mut(&mut self.answered).insert(number, term) {
            Some(before) if before != term => self.fails("a number is answered under two terms (R8)"),
            _ => self.reached.push("an event is answered"),
        }
        let older = self.record.as_ref().is_some_and(|record| record.active.node.0 != ["a", "b"][side]);
        if older {
            self.reached.push("an active that is not recorded any more answers what is held");
        }
    }

    /// The record changes by the rules (R3, R5): only a recorded member is promoted.
    pub(crate) fn check_swap(&mut self, next: &Record) {
        let Some(now) = self.record.clone() else { return };
        let changes_active = now.active != next.active;
        if changes_active && !now.is_recorded(next.active.store) {
            self.fails("a store is promoted that was not recorded (R5)");
        }
        if next.epoch != now.epoch.next() {
            self.fails("an epoch does not grow by one (R3)");
        }
        if changes_active && (next.term.0 != next.epoch.0 || next.term <= now.term) {
            self.fails("a change of active does not raise the term (R3)");
        }
        if next.term == now.term && changes_active || !next.in_sync.contains(&next.active) {
            self.fails("a record is not sound");
        }
    }

    /// What holds in every state.
    pub(crate) fn check(&mut self) {
        if let Some(record) = self.record.clone() {
            for member in record.in_sync.iter().filter(|member| !self.damaged.contains(&member.store)) {
                let held = |(number, term): (&Number, &Term)| {
                    self.durable_term(member.store, *number) == Some(*term)
                };
                if !self.answered.iter().all(held) {
                    self.fails("what was answered is not in a recorded member's store (R4, R9)");
                    break;
                }
            }
        }
        let terms: Vec<_> = (0..2)
            .filter(|side| self.is(*side, Role::Active))
            .filter_map(|side| self.sides[side].with(Group::served_term))
            .collect();
        if terms.len() == 2 && terms[0] == terms[1] {
            self.fails("two are active in one term (R3)");
        }
        for side in 0..2 {
            let promotions = self.sides[side].promotions;
            if self.sides[side].with(|group| group.takeovers() > promotions) == Some(true) {
                self.fails("a side has taken over more often than it was promoted (R4)");
            }
        }
    }
}
