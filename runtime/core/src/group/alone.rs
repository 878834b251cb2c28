//! What counts as durable under `replicated`, and how a member comes to be alone (R9).
//!
//! While two are recorded, a number is durable on this side once its operating system has it: two of them do not lose it
//! together. One that is alone rests on syncs. It becomes alone at the moment of the arbiter's swap, not when it hears of
//! that: from then on the memory of one operating system is the only copy, and nobody may be left to sync it. So
//! everything is synced *before* the swap of a shrink, a promotion or a restart is asked for, and from the asking on
//! until its outcome is known nothing more is held without a sync.
//!
//! Invariant: while a swap that leaves this store alone is under way, whatever is held, or acknowledged as durable, is
//! synced here.

use super::roles::Purpose;
use super::{Group, Identity};
use crate::command::Role;
use crate::effect::Effect;
use crate::ids::{Epoch, Number};
use crate::record::Record;

/// How far this store is synced, and whether that is asked for.
#[derive(Clone)]
pub(super) struct Alone {
    /// Only what is synced counts.
    on_syncs: bool,
    /// What this side had when that began.
    had: Number,
    /// Everything up to here is synced.
    synced: Number,
    /// A swap that leaves this store alone is due, or under way.
    wanted: bool,
    /// The epoch of the first record that this process read. A swap of the process before it may still come, as long as
    /// that is the record: what is acknowledged until then has to be synced, as that one's was.
    first_epoch: Option<Epoch>,
}

impl Alone {
    /// A store that was opened is synced up to its end, `last`.
    pub fn new(last: Number) -> Self {
        Alone { on_syncs: true, had: last, synced: last, wanted: false, first_epoch: None }
    }

    /// What a group's identity has of this.
    pub fn add_to(&self, identity: &mut Identity) {
        let Alone { on_syncs, had, synced, wanted, first_epoch } = self;
        identity.add((on_syncs, had, synced, wanted, first_epoch));
    }

    /// The store said that everything up to `through` is durable.
    pub fn durable(&mut self, through: Number) {
        if self.on_syncs {
            self.synced = self.synced.max(through);
        }
    }

    /// The store was cut back to `to`.
    pub fn cut_back(&mut self, to: Number) {
        (self.had, self.synced) = (self.had.min(to), self.synced.min(to));
    }

    /// A copy, synced to its end, has taken the store's place.
    pub fn replaced(&mut self, last: Number) {
        (self.had, self.synced) = (last, last);
    }

    /// The record was read.
    pub fn record_read(&mut self, record: Option<&Record>) {
        self.first_epoch.get_or_insert(record.map_or(Epoch(0), |record| record.epoch));
    }

    /// The record is looked at anew: whether a swap that leaves this store alone was due before.
    pub fn take_wanted(&mut self) -> bool {
        std::mem::take(&mut self.wanted)
    }

    /// What was due before still is.
    pub fn keep_wanted(&mut self, wanted: bool) {
        self.wanted |= wanted;
    }
}

impl Group {
    /// Asks for a swap after which this store is the only recorded one, as soon as everything that it has is synced.
    pub(super) fn ask_swap_alone(&mut self, next: Record, purpose: Purpose) {
        self.alone.wanted = true;
        // An active goes on taking events, of which none is held without a sync. Any other one may have been sent again
        // what it had lost and both had held: all that it has must be synced.
        let due = if self.role == Role::Active { self.alone.had } else { self.state.meta.last };
        let synced = self.alone.on_syncs && self.alone.synced >= due;
        // The last resort takes what there is.
        if synced || !self.config.replicated || self.is_forced() {
            self.ask_swap(next, purpose);
        }
    }

    /// Tells the store what is to count as durable, when that changes: after every look at the record.
    pub(super) fn settle_what_counts(&mut self) {
        let later_than_first =
            |record: &Record| self.alone.first_epoch.is_some_and(|first| record.epoch > first);
        let two = self
            .arbiter
            .record
            .as_deref()
            .is_some_and(|record| record.in_sync.len() > 1 && later_than_first(record));
        let on_syncs = !two || self.alone.wanted;
        if !self.config.replicated || on_syncs == self.alone.on_syncs {
            return;
        }
        self.alone.on_syncs = on_syncs;
        if on_syncs {
            self.alone.had = self.state.meta.last;
            self.durable = self.durable.min(self.alone.synced);
            // Words from before this are of what was only written.
            self.cut_in_batch = true;
        }
        self.ask_store(Effect::RestOnSyncs { on: on_syncs });
    }
}
