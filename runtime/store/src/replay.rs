//! What records mean: the one place that turns a redo log back into a state, for recovery and checkpoints alike.
//!
//! A store that is a copy begins with rows and entries as they arrived: the rows were read while the database
//! changed, so each is older than the entries behind it; operations are absolute, so applying all in order of their
//! arrival ends in the right rows. From the copy's end on entries are applied in order, without holes.

use std::collections::VecDeque;
use std::path::Path;

use lockstep_core::entry::{Entry, OpRef, Row};
use lockstep_core::ids::{Number, SessionId};
use lockstep_core::sessions::{KeyedReply, Session, Sessions};
use lockstep_core::state::{Meta, State};
use serde::Deserialize;

use crate::error::StoreError;
use crate::record::{Header, Kind};

/// So many entries ahead is soon: time enough for memory to answer, and not so long that a cache forgets.
const SOON_ENTRIES: usize = 4;

/// Who replays decides what becomes of rows and entries.
pub(crate) trait Replayed {
    /// The next entry of the stream; it is to be applied to `state`.
    fn entry(&mut self, state: &mut State, entry: Entry<OpRef<'_>>);
    /// This entry will come soon.
    fn soon(&mut self, _state: &State, _entry: &Entry<OpRef<'_>>) {}
    /// An entry that stands beside the rows of a copy: its updates count, no more.
    fn entry_of_copy(&mut self, state: &mut State, entry: Entry<OpRef<'_>>);
    /// A row of a copy.
    fn row(&mut self, state: &mut State, row: Row);
}

/// How far a replay is.
#[derive(Debug)]
pub(crate) struct Replay {
    pub state: State,
    pub copying: bool,
}

fn decoded<'a, T: Deserialize<'a>>(payload: &'a [u8], path: &Path, header: &Header) -> Result<T, StoreError> {
    postcard::from_bytes(payload).map_err(|error| {
        StoreError::damaged(path, format!("record {} cannot be decoded: {error}", header.sequence))
    })
}

/// The entries of a record: those that its header says, without holes.
pub(crate) fn entries<'a>(
    payload: &'a [u8],
    path: &Path,
    header: &Header,
) -> Result<Vec<Entry<OpRef<'a>>>, StoreError> {
    let entries: Vec<Entry<OpRef<'_>>> = decoded(payload, path, header)?;
    let mut numbers = header.first.0..=header.last.0;
    let as_said =
        entries.iter().all(|entry| numbers.next() == Some(entry.number.0)) && numbers.next().is_none();
    if as_said && header.last.0 < u64::MAX {
        return Ok(entries);
    }
    let Header { sequence, first, last, .. } = header;
    Err(StoreError::damaged(path, format!("record {sequence} does not hold the entries {first} to {last}")))
}

impl Replay {
    /// Takes the next record. Entries above `limit` were cut off later; entries that `state` has already are
    /// passed over.
    pub fn record(
        &mut self,
        path: &Path,
        header: &Header,
        payload: &[u8],
        limit: Number,
        into: &mut impl Replayed,
    ) -> Result<(), StoreError> {
        match header.kind {
            Kind::Entries => {
                if header.first > limit || (!self.copying && header.last <= self.state.meta.last) {
                    return Ok(());
                }
                let mut entries = VecDeque::from(entries(payload, path, header)?);
                while let Some(entry) = entries.pop_front() {
                    if let Some(later) = entries.get(SOON_ENTRIES) {
                        into.soon(&self.state, later);
                    }
                    if entry.number > limit {
                        break;
                    }
                    if self.copying {
                        into.entry_of_copy(&mut self.state, entry);
                    } else if entry.number > self.state.meta.last {
                        if let Some(why) = self.state.objection(&entry) {
                            let (number, last) = (entry.number, self.state.meta.last);
                            let what = format!("entry {number} stands behind entry {last}: {why}");
                            return Err(StoreError::damaged(path, what));
                        }
                        into.entry(&mut self.state, entry);
                    }
                }
            }
            Kind::Rows => {
                for row in decoded::<Vec<Row>>(payload, path, header)? {
                    into.row(&mut self.state, row);
                }
            }
            Kind::CopyBegin => {
                self.copying = true;
                self.state.set_meta(decoded::<Meta>(payload, path, header)?);
                self.state.sessions = Sessions::new(self.state.tables.hash_seed());
            }
            Kind::Sessions => {
                for (id, session) in decoded::<Vec<(SessionId, Session)>>(payload, path, header)? {
                    self.state.sessions.insert_session(id, session);
                }
            }
            Kind::Keyed => {
                for (key, reply) in decoded::<Vec<(String, KeyedReply)>>(payload, path, header)? {
                    self.state.sessions.insert_keyed(key, reply);
                }
            }
            Kind::CopyEnd => {
                self.copying = false;
                self.state.set_meta(decoded::<Meta>(payload, path, header)?);
            }
            Kind::Cut => {}
        }
        Ok(())
    }
}
