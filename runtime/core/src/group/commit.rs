//! Entries go into the database, the recent stream and the redo log: the same way for all roles.
//!
//! Those of a batch are gathered (`recent.rs`), and given to the store together at its end, or before something else is asked
//! of the store, which comes behind them.

use super::Group;
use super::feed::Feed;
use crate::effect::Effect;
use crate::encoded_entries::Ran;
use crate::entry::{Entry, EntryBody};
use crate::message::PeerMessage;
use crate::sessions::Recorded;
use crate::state::{Change, Undo};

impl Group {
    /// Takes an entry into the database, the recent stream and the redo log. The same for all roles.
    pub(super) fn commit(&mut self, entry: Entry) {
        self.assert_disk();
        let full = self.recent.push(&entry);
        self.effects.extend(full.map(Effect::Append));
        let changes_meta = matches!(entry.body, EntryBody::Control(_) | EntryBody::Migrated(_));
        let undo = self.state.apply(entry);
        self.undos.push_back(undo);
        self.committed();
        if changes_meta {
            self.meta_changed();
        }
    }

    /// As [`commit`](Self::commit), of a procedure's entry whose updates are those of the overlay, which is empty afterwards.
    pub(super) fn commit_ran(&mut self, ran: &Ran<'_>, recorded: Recorded) {
        self.assert_disk();
        let updates = self.overlay.updates();
        let full = self.recent.push_ran(ran, &recorded, updates);
        self.effects.extend(full.map(Effect::Append));
        // Made where it stays: it is large.
        self.undos.push_back(Undo::default());
        let undo = self.undos.back_mut().expect("it was just added");
        self.state.apply_ran(ran, recorded, self.overlay.placed(), updates.as_bytes().len(), undo);
        self.overlay.clear();
        self.committed();
    }

    fn assert_disk(&self) {
        assert!(self.disk_failure.is_none(), "no entry is made without a disk (R26)");
    }

    fn committed(&mut self) {
        if self.follows_changes() {
            let undo = self.undos.back().expect("that of the entry");
            let changes: Vec<Change> =
                undo.changes(&self.state.tables, |table| self.derives_from(table)).collect();
            self.follow_changes(&|| changes.iter().cloned());
        }
        if self.partner.as_ref().is_some_and(|partner| matches!(partner.feed, Feed::Copy { .. })) {
            let entry = self.recent.get(self.state.meta.last).expect("the last one is always there");
            self.send(PeerMessage::Entry(Box::new(entry)));
        }
    }

    /// Gives the store the entries that were made since it was given some.
    pub(super) fn append(&mut self) {
        self.effects.extend(self.recent.seal().map(Effect::Append));
    }

    /// Asks the store for something behind the entries that were made so far.
    pub(super) fn ask_store(&mut self, effect: Effect) {
        self.append();
        self.effects.push(effect);
    }
}
