//! The redo log as its one writer has it. Everything that a second thread may see of it is in [`Shared`].
//!
//! Invariants: records have consecutive sequences; a segment is left only when the next record does not fit; the
//! files written since the last sync are all in `unsynced`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockstep_core::encoded_entries::EncodedEntries;
use lockstep_core::ids::{Number, StoreId, Term};
use serde::Serialize;

use crate::checkpoint::CheckpointFile;
use crate::disk::{Disk, DiskFile};
use crate::error::{DuringExt, StoreError};
use crate::left::LeftFile;
use crate::record::{self, Head, Kind, Place, UNIT};
use crate::scan::{Cuts, Scan};
use crate::segment::{self, Ahead};

/// A segment that takes no more records.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub number: u64,
    /// The highest number of an entry in it.
    pub last: Number,
    pub bytes: u64,
    /// The sequence of the first record behind it.
    pub next_sequence: u64,
}

/// What the writer and the background work share of one log.
#[derive(Debug)]
pub(crate) struct Shared {
    pub dir: PathBuf,
    pub store: StoreId,
    pub segment_bytes: u64,
    state: Mutex<SharedState>,
}

#[derive(Debug)]
pub(crate) struct SharedState {
    /// Oldest first, without gaps; the covered ones that are kept for the recent stream included.
    pub sealed: Vec<Sealed>,
    /// The segment that is written to.
    pub active: u64,
    /// The segment that was made ahead, its name durable.
    pub prepared: Option<u64>,
    pub held: Number,
    /// The last segment that the checkpoint covers.
    pub covered: u64,
    /// How many bytes the checkpoint's file has.
    pub checkpoint_bytes: u64,
    pub cuts: Cuts,
    /// Sealed files that were not synced yet.
    pub unsynced: Vec<Arc<LeftFile>>,
    /// What failed beside the writer and ends the store.
    pub failure: Option<String>,
    /// Nothing more is to be done for this log.
    pub over: bool,
}

impl Shared {
    /// The state, locked. A panic of another thread leaves it as it is: every change is one step.
    pub fn lock(&self) -> MutexGuard<'_, SharedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The redo log of one store.
#[derive(Debug)]
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    pub shared: Arc<Shared>,
    file: Arc<dyn DiskFile>,
    size: u64,
    offset: u64,
    next_sequence: u64,
    synced: u64,
    /// Files left since the last sync.
    unsynced: Vec<Arc<LeftFile>>,
    /// A segment was left since this was last looked at: there is work beside the writer.
    pub turned: bool,
    /// The active segment was written to since the last sync.
    dirty: bool,
    segment_last: Number,
    /// Records belong to a copy that has not ended: none may be checkpointed.
    copying: bool,
    /// The last entry; unknown while a copy has none.
    pub last: Option<Number>,
    /// Entries up to here are part of a copy.
    pub base: Number,
    buffer: Vec<u8>,
}

impl Log {
    /// Begins the log of a new store in the directory `dir`, which exists.
    pub fn begin(
        disk: Arc<dyn Disk>,
        dir: &Path,
        store: StoreId,
        segment_bytes: u64,
    ) -> Result<Log, StoreError> {
        segment::make(disk.as_ref(), dir, store, 1, segment_bytes, Ahead::Taken)?;
        disk.sync_dir(dir).during("sync", dir)?;
        let path = segment::path(dir, 1);
        let file = Arc::from(disk.open(&path).during("open", &path)?);
        let shared = SharedState {
            sealed: Vec::new(),
            active: 1,
            prepared: None,
            held: Number(0),
            covered: 0,
            checkpoint_bytes: 0,
            cuts: Cuts::default(),
            unsynced: Vec::new(),
            failure: None,
            over: false,
        };
        Ok(Log::with(disk, dir, store, segment_bytes, shared, file, (segment_bytes, UNIT as u64), 0))
    }

    /// Goes on with a log that was scanned: removes what never was acknowledged, and makes the rest durable.
    pub fn resume(
        disk: Arc<dyn Disk>,
        dir: &Path,
        store: StoreId,
        segment_bytes: u64,
        scan: &Scan,
        (covered, held): (u64, Number),
    ) -> Result<Log, StoreError> {
        // From the last one on: what stands behind a gap must go before the gap is filled.
        let mut surplus = scan.surplus.clone();
        surplus.sort_unstable_by(|a, b| b.cmp(a));
        for path in &surplus {
            segment::remove_if_there(disk.as_ref(), path)?;
        }
        for name in disk.list(dir).during("list", dir)? {
            if name.starts_with("redo-") && name.ends_with(".tmp") {
                segment::remove_if_there(disk.as_ref(), &dir.join(name))?;
            }
        }
        disk.sync_dir(dir).during("sync", dir)?;
        let (tail, before) = scan.segments.split_last().expect("a log has a segment");
        for segment in before {
            let file = disk.open(&segment.path).during("open", &segment.path)?;
            file.sync_data().during("sync", &segment.path)?;
        }
        let file: Arc<dyn DiskFile> = Arc::from(disk.open(&tail.path).during("open", &tail.path)?);
        if scan.dirty {
            segment::clear_from(file.as_ref(), tail.end).during("clear", &tail.path)?;
        }
        let size = file.len().during("measure", &tail.path)?;
        file.sync_data().during("sync", &tail.path)?;
        let copy_end = scan.copy_end();
        let mut sealed = Vec::new();
        let mut following = tail.records.first().map_or(scan.next_sequence, |(_, header)| header.sequence);
        for segment in before.iter().rev() {
            let (last, bytes) = (segment.last(copy_end), segment.end);
            sealed.push(Sealed { number: segment.number, last, bytes, next_sequence: following });
            following = segment.records.first().map_or(following, |(_, header)| header.sequence);
        }
        sealed.reverse();
        let next = segment::path(dir, tail.number + 1);
        let prepared = disk.open_to_read(&next).is_ok().then_some(tail.number + 1);
        let shared = SharedState {
            sealed,
            active: tail.number,
            prepared,
            held,
            covered,
            checkpoint_bytes: CheckpointFile::new(dir, store).bytes(disk.as_ref())?,
            cuts: scan.cuts.clone(),
            unsynced: Vec::new(),
            failure: None,
            over: false,
        };
        let place = (size, tail.end);
        let mut log = Log::with(disk, dir, store, segment_bytes, shared, file, place, scan.next_sequence);
        log.segment_last = tail.last(copy_end);
        Ok(log)
    }

    #[allow(clippy::too_many_arguments)] // the one place that puts a log together
    fn with(
        disk: Arc<dyn Disk>,
        dir: &Path,
        store: StoreId,
        segment_bytes: u64,
        state: SharedState,
        file: Arc<dyn DiskFile>,
        (size, offset): (u64, u64),
        next_sequence: u64,
    ) -> Log {
        let shared = Arc::new(Shared { dir: dir.into(), store, segment_bytes, state: Mutex::new(state) });
        Log {
            disk,
            shared,
            file,
            size,
            offset,
            next_sequence,
            synced: next_sequence,
            unsynced: Vec::new(),
            turned: false,
            dirty: false,
            segment_last: Number(0),
            copying: false,
            last: None,
            base: Number(0),
            buffer: Vec::new(),
        }
    }

    /// The store.
    pub fn store(&self) -> StoreId {
        self.shared.store
    }

    /// Writes one record; the operating system has it when this returns.
    pub fn write(
        &mut self,
        kind: Kind,
        ends: (Number, Number, Term),
        payload: &(impl Serialize + ?Sized),
    ) -> Result<(), StoreError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        record::encode(payload, &mut buffer);
        self.write_encoded(kind, ends, buffer)
    }

    /// Writes one record of entries, as [`write`](Self::write).
    pub fn write_entries(
        &mut self,
        ends: (Number, Number, Term),
        entries: &[EncodedEntries],
    ) -> Result<(), StoreError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let (first, last, _) = ends;
        record::encode_entries(last.0 - first.0 + 1, entries, &mut buffer);
        self.write_encoded(Kind::Entries, ends, buffer)
    }

    /// Whether a record of entries with so many bytes fits into the segment that is written to.
    pub fn has_room_for(&self, entries_bytes: usize) -> bool {
        self.offset + record::entries_bytes_max(entries_bytes) <= self.size
    }

    fn write_encoded(
        &mut self,
        kind: Kind,
        (first, last, term): (Number, Number, Term),
        mut buffer: Vec<u8>,
    ) -> Result<(), StoreError> {
        let bytes = buffer.len().next_multiple_of(UNIT) as u64;
        if self.offset + bytes > self.size {
            self.turn_over(bytes)?;
        }
        let (segment, held) = {
            let state = self.shared.lock();
            (state.active, state.held)
        };
        let place = Place { store: self.shared.store, segment, offset: self.offset };
        let head = Head { kind, sequence: self.next_sequence, synced: self.synced, first, last, term, held };
        record::finish(&head, place, &mut buffer);
        let path = || segment::path(&self.shared.dir, segment);
        self.file.write_at(self.offset, &buffer).map_err(|source| StoreError::Disk {
            operation: "write to",
            path: path(),
            source,
        })?;
        self.offset += buffer.len() as u64;
        self.next_sequence += 1;
        self.dirty = true;
        self.segment_last = self.segment_last.max(last);
        // A copy's huge record is no reason to keep its buffer.
        if buffer.capacity() <= 4 << 20 {
            self.buffer = buffer;
        }
        Ok(())
    }

    /// Goes on in the next segment.
    fn turn_over(&mut self, record_bytes: u64) -> Result<(), StoreError> {
        let (number, mut prepared) = {
            let state = self.shared.lock();
            (state.active + 1, state.prepared == Some(state.active + 1))
        };
        let dir = &self.shared.dir;
        let path = segment::path(dir, number);
        let wanted = record_bytes + UNIT as u64;
        let (file, size) = loop {
            if !prepared {
                // The background work was too slow, or there is none.
                let size = self.shared.segment_bytes.max(wanted);
                segment::make(self.disk.as_ref(), dir, self.shared.store, number, size, Ahead::Taken)?;
                self.disk.sync_dir(dir).during("sync", dir)?;
            }
            let file: Arc<dyn DiskFile> = Arc::from(self.disk.open(&path).during("open", &path)?);
            let size = file.len().during("measure", &path)?;
            if size >= wanted {
                break (file, size);
            }
            // What was made ahead is too small for this record, as big as only a copy's last ones are.
            segment::remove_if_there(self.disk.as_ref(), &path)?;
            prepared = false;
        };
        let left = Arc::new(LeftFile::new(std::mem::replace(&mut self.file, file)));
        if self.dirty {
            self.unsynced.push(left.clone());
        }
        let mut state = self.shared.lock();
        state.sealed.push(Sealed {
            number: number - 1,
            last: self.segment_last,
            bytes: self.offset,
            next_sequence: self.next_sequence,
        });
        if self.dirty {
            state.unsynced.push(left);
        }
        state.active = number;
        state.prepared = None;
        drop(state);
        (self.size, self.offset, self.dirty, self.turned) = (size, UNIT as u64, false, true);
        self.segment_last = if self.copying { Number(u64::MAX) } else { Number(0) };
        Ok(())
    }

    /// Returns once everything written is durable.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        let dir = self.shared.dir.as_path();
        for file in self.unsynced.drain(..) {
            file.sync().during("sync a redo segment in", dir)?;
        }
        if self.dirty {
            self.file.sync_data().during("sync a redo segment in", dir)?;
            self.dirty = false;
        }
        self.synced = self.next_sequence;
        Ok(())
    }

    /// What is written from here on belongs to a copy.
    pub fn copy_begins(&mut self) {
        (self.copying, self.segment_last) = (true, Number(u64::MAX));
    }

    /// The copy is whole as of `last`: it may be checkpointed once that is held.
    pub fn copy_ended(&mut self, last: Number) {
        self.shared.lock().sealed.iter_mut().for_each(|sealed| sealed.last = last);
        (self.copying, self.segment_last) = (false, last);
        (self.last, self.base) = (Some(last), last);
    }

    /// Entries above `to` never count again; durable when this returns.
    pub fn cut_back(&mut self, to: Number) -> Result<(), StoreError> {
        // Before the background work may read on: the cut stands before everything that comes.
        let sequence = self.next_sequence;
        self.shared.lock().cuts.push(sequence, to);
        self.write(Kind::Cut, (to, to, Term(0)), &())?;
        self.sync()?;
        self.last = Some(to);
        Ok(())
    }

    /// Ends all background work for this log.
    pub fn end(&self) {
        self.shared.lock().over = true;
    }
}
