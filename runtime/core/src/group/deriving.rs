//! Derived tables of the version that runs and of the one that is to run next (R17).
//!
//! At a start they are built at once, before anything is served, as the store's rows are loaded then. A version that is
//! loaded beside the running one builds its own a bounded number of rows a batch, between events, and is announced when
//! they are built: nothing waits for it meanwhile but its admission.

use super::Group;
use super::follow::Follow;
use crate::application::Application;
use crate::command::Role;
use crate::derived::Derived;
use crate::descriptor::ApplicationDescriptor;
use crate::effect::{Alarm, Effect};
use crate::ids::TableId;
use crate::message::PeerMessage;
use crate::state::Change;
use crate::tables::Tables;

impl Group {
    /// What the running version derives from `tables`, built at once.
    pub(super) fn derived_over(&self, tables: &Tables) -> Derived {
        let mut derived = Derived::of(self.application.descriptor(), tables.hash_seed());
        while !derived.build(&*self.application, tables, usize::MAX) {}
        derived
    }

    pub(super) fn derive_at_once(&mut self) {
        self.derived = self.derived_over(&self.state.tables);
    }

    /// The database is another one: the next version begins anew.
    pub(super) fn derive_next_anew(&mut self) {
        if let Some(next) = &self.next_application {
            self.next_derived = Derived::of(next.descriptor(), self.state.tables.hash_seed());
            self.next_announced = false;
        }
    }

    /// Whether any derived table has to follow changes of rows.
    pub(super) fn follows_changes(&self) -> bool {
        !self.derived.is_none() || (self.next_application.is_some() && !self.next_derived.is_none())
    }

    /// Whether rows of `table` give derived ones.
    pub(super) fn derives_from(&self, table: TableId) -> bool {
        self.derived.derives_from(table) || self.next_derived.derives_from(table)
    }

    /// Follows changes of rows that are in the tables already; they are made twice if a version is being built.
    pub(super) fn follow_changes<C: Iterator<Item = Change>>(&mut self, changes: &dyn Fn() -> C) {
        let tables = &self.state.tables;
        if !self.derived.is_none() {
            self.derived.follow(&*self.application, tables, changes());
        }
        if let Some(next) = &self.next_application
            && !self.next_derived.is_none()
        {
            self.next_derived.follow(&**next, tables, changes());
        }
    }

    /// A version that was asked for is loaded: its tables are built, then it is announced.
    pub(super) fn take_next(&mut self, application: Box<dyn Application>, attempt: u32) {
        self.next_derived = Derived::of(application.descriptor(), self.state.tables.hash_seed());
        self.next_announced = false;
        self.next_attempt = attempt;
        self.next_application = Some(application);
        self.build_next();
    }

    /// Whether a version is being built beside the one that runs: the next batch has rows to translate.
    pub fn is_building(&self) -> bool {
        self.next_application.is_some() && !self.next_derived.is_built()
    }

    /// Translates some rows for the next version; once a batch. Announces it when that is done.
    pub(super) fn build_next(&mut self) {
        if let Some(why) = self.derived.why_broken()
            && !self.told_broken
        {
            let why = why.to_owned();
            self.told_broken = true;
            self.alarm(Alarm::DerivedBroken { why });
        }
        let Some(next) = self.next_application.as_deref().filter(|_| !self.next_announced) else { return };
        if let Err(why) = self.can_run_next(next.descriptor()) {
            let attempt = self.next_attempt;
            self.forget_order();
            return self.next_failed(attempt, why, false);
        }
        if !self.next_derived.build(next, &self.state.tables, self.config.build_rows_max) {
            return;
        }
        if let Some(why) = self.next_derived.why_broken() {
            let reason = format!("its derived tables can't be built: {why}");
            let attempt = self.next_attempt;
            self.forget_order();
            return self.next_failed(attempt, reason, false);
        }
        if self.role == Role::Active {
            // A survivor that is alone changes at the end of the batch.
            return;
        }
        if matches!(self.follow, Follow::InStep | Follow::Entries) {
            let descriptor = Box::new(next.descriptor().clone());
            self.next_announced = true;
            return self.send(PeerMessage::Versions(descriptor));
        }
        let copying = matches!(self.follow, Follow::Copying(_) | Follow::CopyEnding(_));
        if copying && !self.next_derived.is_none() {
            // Its tables are to be built over the copy, once that is in force.
            return;
        }
        // No stream is under way: it changes here and now, and says so.
        let next = self.next_application.take().expect("it was just seen");
        let descriptor = Box::new(next.descriptor().clone());
        self.pending = None;
        self.overlay.clear();
        self.change_version(next);
        if let Follow::Copying(copying) | Follow::CopyEnding(copying) = &mut self.follow {
            copying.derived = Derived::default();
        }
        match (&self.follow, self.role) {
            (_, Role::Isolated) => self.send(PeerMessage::Versions(descriptor)),
            // The hello of the copy's new store says it.
            (Follow::Copying(_) | Follow::CopyEnding(_), _) => {}
            (Follow::Nothing | Follow::Entries | Follow::InStep | Follow::Diverged, _) => self.say_hello(),
        }
    }

    /// Whether what is recorded here may be left to a version: this side may have to take over with it (R31). A store
    /// that is not in the record counts for nothing, and what the active orders is right.
    fn can_run_next(&self, version: &ApplicationDescriptor) -> Result<(), String> {
        let recorded = self.arbiter.record.as_ref().is_some_and(|record| record.is_recorded(self.store));
        if recorded { self.can_work_on_rows(version) } else { Ok(()) }
    }

    /// Drops a version that is not to run after all.
    pub(super) fn discard_next(&mut self) {
        if let Some(application) = self.next_application.take() {
            self.next_derived = Derived::default();
            self.effects.push(Effect::Discard { application });
        }
    }

    /// Whether the derived tables are what a build over the rows makes, for tests.
    ///
    /// # Errors
    /// A sentence when they are not.
    pub fn verify_derived(&self) -> Result<(), String> {
        self.derived.verify(&*self.application, &self.state.tables)
    }

    /// What the version that runs here derives.
    #[must_use]
    pub fn derived(&self) -> &Derived {
        &self.derived
    }
}
