//! From files to a state: the checkpoint's rows, then the records of the redo log behind it. Changes nothing.

use std::collections::VecDeque;
use std::path::Path;

use lockstep_core::encoded_entries::{EncodedEntries, Gathered};
use lockstep_core::entry::{Entry, OpRef, Row};
use lockstep_core::ids::{Number, StoreId};
use lockstep_core::state::{State, Undo};

use crate::checkpoint::{CheckpointFile, Progress};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::record::{Kind, Place};
use crate::replay::{self, Replay, Replayed};
use crate::scan::{Scan, payload, scan};
use crate::segment;

/// What a store's files hold.
#[derive(Debug)]
pub(crate) struct Found {
    pub state: State,
    pub recent: Vec<EncodedEntries>,
    /// What takes back the entries that were not known to be held, oldest first.
    pub undos: Vec<Undo>,
    /// Everything up to here was known to be held.
    pub held: Number,
    pub progress: Progress,
    pub scan: Scan,
    /// Entries up to here are part of a copy.
    pub base: Number,
}

/// The latest entries are given back in so many pieces, or more.
const PIECES_MIN: usize = 32;

/// The latest entries, within a bound of bytes.
struct Recent {
    pieces: VecDeque<EncodedEntries>,
    gathered: Gathered,
    bytes: usize,
    bytes_max: usize,
    /// What comes now may be among the latest.
    is_recent: bool,
    held: Number,
    undos: Vec<Undo>,
}

impl Recent {
    fn push(&mut self, entry: &Entry<OpRef<'_>>) {
        if !self.is_recent {
            return;
        }
        // After the end of a copy, or of what was cut off, the older ones do not connect.
        if self.last().is_some_and(|last| last.next() != entry.number) {
            self.clear();
        }
        let full = self.gathered.push(entry);
        self.keep(full);
        // Pieces are dropped as a whole.
        if self.gathered.bytes() >= self.bytes_max / PIECES_MIN {
            self.seal();
        }
    }

    fn last(&self) -> Option<Number> {
        self.gathered.last().or_else(|| self.pieces.back().map(EncodedEntries::last))
    }

    fn seal(&mut self) {
        let piece = self.gathered.seal();
        self.keep(piece);
    }

    fn keep(&mut self, piece: Option<EncodedEntries>) {
        let Some(piece) = piece else { return };
        self.bytes += piece.memory_bytes();
        self.pieces.push_back(piece);
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.pieces.pop_front()
        {
            self.bytes -= oldest.memory_bytes();
        }
    }

    fn clear(&mut self) {
        self.pieces.clear();
        self.gathered = Gathered::default();
        self.bytes = 0;
    }
}

impl Replayed for Recent {
    fn entry(&mut self, state: &mut State, entry: Entry<OpRef<'_>>) {
        self.push(&entry);
        if entry.number > self.held {
            self.undos.push(state.apply(entry));
        } else {
            state.apply_for_good(entry);
        }
    }
    fn soon(&mut self, state: &State, entry: &Entry<OpRef<'_>>) {
        state.fetch_rows(entry);
    }
    fn entry_of_copy(&mut self, state: &mut State, entry: Entry<OpRef<'_>>) {
        entry.body.ops().iter().for_each(|op| state.tables.set(*op, |_| {}));
    }
    fn row(&mut self, state: &mut State, row: Row) {
        state.insert_row(row.table, row.key, row.value);
    }
}

/// Reads the store in `dir`.
pub(crate) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    store: StoreId,
    recent_bytes: usize,
) -> Result<Found, StoreError> {
    let (progress, state) = CheckpointFile::new(dir, store).load(disk)?;
    let scan = scan(disk, dir, store, (progress.segment + 1, progress.sequence))?;
    let mut replay = Replay { state, copying: progress.copying };
    let of_checkpoint = if progress.copying { Number(0) } else { progress.meta.last };
    let held = scan.held().max(of_checkpoint);
    let (pieces, gathered, undos) = (VecDeque::new(), Gathered::default(), Vec::new());
    let (is_recent, bytes_max) = (false, recent_bytes);
    let mut recent = Recent { pieces, gathered, bytes: 0, bytes_max, is_recent, held, undos };
    let (covered, mut bytes) = (progress.sequence, Vec::new());
    let ends = scan.segments.iter().map(|segment| segment.end);
    let mut rest = ends.sum::<u64>();
    for segment in &scan.segments {
        if segment.records.is_empty() {
            continue;
        }
        segment::read_into(&mut bytes, disk, dir, store, segment.number)?;
        // As many as are kept on disk for that.
        recent.is_recent = rest <= recent_bytes as u64 + segment.end;
        rest -= segment.end;
        for (offset, _) in &segment.records {
            let place = Place { store, segment: segment.number, offset: *offset };
            let (header, payload) = payload(&bytes, place, &segment.path)?;
            let limit = scan.cuts.limit(header.sequence);
            if header.sequence >= covered {
                replay.record(&segment.path, &header, payload, limit, &mut recent)?;
            } else if header.kind == Kind::Entries && header.first <= limit {
                // Covered by the checkpoint: for the recent stream alone.
                replay::entries(payload, &segment.path, &header)?
                    .into_iter()
                    .filter(|entry| entry.number <= limit)
                    .for_each(|entry| recent.push(&entry));
            }
        }
    }
    if replay.copying {
        return Err(StoreError::damaged(dir, "it is half a copy"));
    }
    let copy_end = scan.copy_end().map_or(Number(0), |end| end.last);
    let base = copy_end.max(of_checkpoint);
    let state = replay.state;
    // Entries beside a copy's rows stand before its end and need not reach it.
    if recent.last().is_some_and(|last| last != state.meta.last) {
        recent.clear();
    }
    recent.seal();
    let (undos, recent) = (recent.undos, recent.pieces.into());
    Ok(Found { recent, undos, held, state, progress, scan, base })
}
