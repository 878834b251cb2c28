//! A copy of the partner's database (R25): a new store beside the old one, whose log begins with the rows.
//!
//! Invariants: until its end is durable the new store is marked as half a copy, which no start ever opens; the old
//! store is removed only after the new one is in force.

use lockstep_core::entry::Row;
use lockstep_core::ids::{Number, SessionId, StoreId, Term};
use lockstep_core::sessions::{KeyedReply, Session};
use lockstep_core::state::Meta;

use crate::directory::{self, Written};
use crate::error::StoreError;
use crate::log::Log;
use crate::record::Kind;
use crate::store::{Side, Store, begin};

/// So many sessions or keyed replies go into one record.
const PER_RECORD: usize = 256;

/// A copy that is under way, or whole and not yet kept.
#[derive(Debug)]
pub(crate) struct Copy {
    pub log: Log,
    ended: bool,
}

const NOTHING: (Number, Number, Term) = (Number(0), Number(0), Term(0));

impl Store {
    /// Begins a copy: a new store with the id `store`. Appends go to it from here on; the old store stays as it is.
    /// A copy that is under way is dropped. Allowed after a failure too: it is the way back (R26).
    ///
    /// # Errors
    /// When the disk fails.
    pub fn copy_begin(&mut self, store: StoreId, meta: &Meta) -> Result<(), StoreError> {
        self.leave_copy();
        if let Some(reason) = self.failure.take() {
            self.side = Side::Untrusted { store: self.side.store(), reason };
        }
        if store == self.side.store() {
            let reason = "it has the id of the store in force";
            return Err(StoreError::OutOfPlace { store, operation: "begin a copy", reason });
        }
        for other in directory::stores(self.disk.as_ref(), &self.dir)? {
            if other != self.side.store() {
                directory::remove(self.disk.as_ref(), &self.dir, other)?;
            }
        }
        let mut log = begin(&self.disk, &self.dir, store, self.options.segment_bytes)?;
        let why = "rows are still missing: this store is never opened";
        directory::mark(self.disk.as_ref(), &self.dir, store, directory::HALF_COPY, why)?;
        directory::set_written(self.disk.as_ref(), &self.dir, store, &self.options.boot)?;
        directory::declare(self.disk.as_ref(), &self.dir, store)?;
        log.copy_begins();
        self.hub.follow(Some(log.shared.clone()));
        self.copy = Some(Copy { log, ended: false });
        self.with_log(|log| log.write(Kind::CopyBegin, NOTHING, meta))
    }

    fn copying(&mut self, operation: &'static str, ended: bool) -> Result<(), StoreError> {
        let store = self.id();
        match &self.copy {
            Some(copy) if copy.ended == ended => Ok(()),
            Some(_) if ended => {
                Err(StoreError::OutOfPlace { store, operation, reason: "the copy has not ended" })
            }
            Some(_) => Err(StoreError::OutOfPlace { store, operation, reason: "the copy has ended" }),
            None => Err(StoreError::OutOfPlace { store, operation, reason: "no copy is under way" }),
        }
    }

    /// Takes rows of the copy. They and the entries appended meanwhile count in the order of their arrival.
    ///
    /// # Errors
    /// When the disk fails, or no copy is under way.
    pub fn copy_rows(&mut self, rows: &[Row]) -> Result<(), StoreError> {
        self.copying("take rows of a copy", false)?;
        self.with_log(|log| log.write(Kind::Rows, NOTHING, rows))
    }

    /// The copy is whole as of `meta.last`. Durable when it returns: the store can be opened, but is not in force.
    ///
    /// # Errors
    /// When the disk fails, or no copy is under way.
    pub fn copy_end(
        &mut self,
        sessions: &[(SessionId, Session)],
        keyed: &[(String, KeyedReply)],
        meta: &Meta,
    ) -> Result<(), StoreError> {
        self.copying("end a copy", false)?;
        self.with_log(|log| {
            assert!(
                log.last.is_none_or(|last| last == meta.last),
                "the copy ends at {}, the entries beside it at {:?}",
                meta.last,
                log.last
            );
            for sessions in sessions.chunks(PER_RECORD) {
                log.write(Kind::Sessions, NOTHING, sessions)?;
            }
            for keyed in keyed.chunks(PER_RECORD) {
                log.write(Kind::Keyed, NOTHING, keyed)?;
            }
            let term = meta.terms.last().map_or(Term(0), |start| start.term);
            log.write(Kind::CopyEnd, (meta.last, meta.last, term), meta)?;
            log.sync()
        })?;
        let store = self.id();
        directory::unmark(self.disk.as_ref(), &self.dir, store, directory::HALF_COPY)?;
        let copy = self.copy.as_mut().expect("a copy is under way");
        copy.log.copy_ended(meta.last);
        copy.ended = true;
        Ok(())
    }

    /// The copy is recorded in sync: it is in force from here on, durably, and the old store goes.
    ///
    /// # Errors
    /// When the disk fails, or no whole copy is there.
    pub fn copy_kept(&mut self) -> Result<(), StoreError> {
        self.copying("keep a copy", true)?;
        // What failed meanwhile is nothing to give the old store away for.
        self.log()?;
        directory::set_current(self.disk.as_ref(), &self.dir, self.id())?;
        let copy = self.copy.take().expect("it was just looked at");
        let old = std::mem::replace(&mut self.side, Side::Log(copy.log));
        self.written = Written::ThisBoot;
        if let Side::Log(log) = &old {
            log.end();
        }
        // It is of no use any more: what can't be removed now goes at the next start.
        if let Err(error) = directory::remove(self.disk.as_ref(), &self.dir, old.store()) {
            tracing::warn!(store = %old.store(), %error, "the store that was replaced could not be removed");
        }
        Ok(())
    }

    /// The copy is not wanted: it goes, and appends go to the old store again.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn copy_dropped(&mut self) -> Result<(), StoreError> {
        match self.leave_copy() {
            Some(store) => directory::remove(self.disk.as_ref(), &self.dir, store),
            None => Ok(()),
        }
    }

    fn leave_copy(&mut self) -> Option<StoreId> {
        let copy = self.copy.take()?;
        copy.log.end();
        // If something failed, then under the new store; nothing was written to the old one meanwhile.
        self.failure = None;
        self.hub.follow(match &self.side {
            Side::Log(log) => Some(log.shared.clone()),
            Side::Untrusted { .. } => None,
        });
        Some(copy.log.store())
    }
}
