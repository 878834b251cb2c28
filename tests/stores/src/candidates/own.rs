//! The store of Lockstep, through the calls that a processor's store thread makes.
//!
//! A processor reads the recent stream from memory, where the core has it; so does this reader. Segments go once a
//! checkpoint covers them, so `own` makes checkpoints beside its writes: its figures are those of both.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use lockstep_core::encoded_entries::{EncodedEntries, Gathered};
use lockstep_core::entry::Entry;
use lockstep_core::ids::{Number, StoreId};
use lockstep_store::{Background, Options, RealDisk, Store, StoreError, Work};

use super::{Candidate, Failure, Found, Reader, RedoLog, Setting};

/// How many entries the reader takes under one lock.
const READ_AT_ONCE: usize = 64;

/// The latest entries, as the core keeps them.
#[derive(Default)]
struct Recent {
    pieces: VecDeque<EncodedEntries>,
    bytes: u64,
}

/// The store, its background thread, and the recent stream in memory.
pub struct OwnLog {
    store: Option<Store>,
    synced: bool,
    recent_bytes: u64,
    recent: Arc<Mutex<Recent>>,
    /// Of the batch that was committed last.
    encoded: Vec<EncodedEntries>,
    gathered: Gathered,
    beside: Option<JoinHandle<()>>,
}

impl OwnLog {
    pub fn open(setting: &Setting) -> Result<(OwnLog, Found), Failure> {
        let mut options = Options::new(StoreId(1));
        options.segment_bytes = setting.turn_bytes;
        options.recent_bytes = setting.recent_bytes as usize;
        match setting.candidate {
            Candidate::OwnLog => options.checkpoint_bytes = u64::MAX..=u64::MAX,
            // As in a processor, in segments.
            _ => options.checkpoint_bytes = setting.turn_bytes * 4..=setting.turn_bytes * 16,
        }
        options.chunk_bytes = setting.turn_bytes * 32;
        let (mut store, found) = Store::open(Arc::new(RealDisk), &setting.directory, options)?;
        if !found.trusted {
            return Err(found.warning.map_or_else(|| "the store is not trusted".into(), Failure::from));
        }
        store.settle_tail()?;
        let background = store.background();
        let report = |error: &StoreError| eprintln!("{error}");
        let beside = std::thread::spawn(move || background.run(report, giving_way));
        let log = OwnLog {
            store: Some(store),
            synced: setting.synced,
            recent_bytes: setting.recent_bytes,
            recent: Arc::default(),
            encoded: Vec::new(),
            gathered: Gathered::default(),
            beside: Some(beside),
        };
        let recent = found.recent.iter().flat_map(EncodedEntries::iter).map(Arc::new).collect();
        log.keep(found.recent);
        Ok((log, Found { last: found.state.meta.last.0, recent }))
    }

    fn keep(&self, pieces: Vec<EncodedEntries>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in pieces {
            recent.bytes += piece.memory_bytes() as u64;
            recent.pieces.push_back(piece);
        }
        while recent.bytes > self.recent_bytes
            && let Some(oldest) = recent.pieces.pop_front()
        {
            recent.bytes -= oldest.memory_bytes() as u64;
        }
    }
}

impl RedoLog for OwnLog {
    fn commit(&mut self, entries: &[Arc<Entry>]) -> Result<(), Failure> {
        let Some(store) = &mut self.store else { return Err("the store is closed".into()) };
        self.encoded.clear();
        self.encoded.extend(entries.iter().filter_map(|entry| self.gathered.push(entry)));
        self.encoded.extend(self.gathered.seal());
        store.append(&self.encoded)?;
        if self.synced {
            store.sync()?;
        }
        // The partner has it as soon: it writes the same record at the same time.
        if let Some(last) = entries.last() {
            store.set_held(last.number);
        }
        Ok(())
    }

    fn remember(&mut self, _entries: Vec<Arc<Entry>>) {
        let encoded = std::mem::take(&mut self.encoded);
        self.keep(encoded);
    }

    fn reader(&self) -> Option<Box<dyn Reader>> {
        Some(Box::new(FromMemory(self.recent.clone())))
    }
}

impl Drop for OwnLog {
    fn drop(&mut self) {
        // It tells the background work to end.
        drop(self.store.take());
        if let Some(beside) = self.beside.take() {
            let _ = beside.join();
        }
    }
}

struct FromMemory(Arc<Mutex<Recent>>);

impl Reader for FromMemory {
    fn first(&mut self) -> Result<u64, Failure> {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(recent.pieces.front().map_or(1, |piece| piece.first().0))
    }

    fn read_some(&mut self, from: u64) -> Result<(u64, u64), Failure> {
        let from = Number(from);
        let some: Vec<EncodedEntries> = {
            let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let skipped = recent.pieces.partition_point(|piece| piece.last() < from);
            let upto = from.plus(READ_AT_ONCE as u64);
            recent.pieces.range(skipped..).take_while(|piece| piece.first() < upto).cloned().collect()
        };
        // What is read leaves over the link as an entry of a frame, and so is decoded and encoded.
        let some: Vec<Arc<Entry>> = some
            .iter()
            .flat_map(EncodedEntries::iter)
            .skip_while(|entry| entry.number < from)
            .take(READ_AT_ONCE)
            .map(Arc::new)
            .collect();
        let mut bytes = Vec::new();
        super::encode(&some, &mut bytes)?;
        match some.last() {
            Some(last) => Ok((bytes.len() as u64, last.number.0 + 1)),
            None => Ok((0, from.0)),
        }
    }
}

/// Makes a checkpoint on a thread that gives way to all others, as a processor does.
fn giving_way(background: &mut Background) -> Result<Work, StoreError> {
    std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            // It is made at the usual priority where there is no other.
            let _ = lockstep_os::give_way();
            background.run_once()
        });
        made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The segment with the latest record: the one made ahead has none yet.
pub fn newest_file(directory: &Path) -> Result<Option<PathBuf>, Failure> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory)? {
        let store = entry?.path();
        if !store.is_dir() {
            continue;
        }
        for entry in fs::read_dir(store)? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if name.starts_with("redo-") && name.ends_with(".log") {
                segments.push(path);
            }
        }
    }
    segments.sort();
    for path in segments.into_iter().rev() {
        let mut record = [0; 64];
        if fs::File::open(&path)?.read_exact_at(&mut record, 64).is_ok() && record != [0; 64] {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
