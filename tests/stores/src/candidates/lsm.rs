//! `fjall`: a log-structured merge tree with a journal before it.
//!
//! Its defaults, but for the size of memtables, the least space for journals, and compression, which is not built in: the
//! records of transfers hardly become smaller.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fjall::compaction::{Fifo, Leveled};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use lockstep_core::entry::Entry;

use super::{Candidate, Failure, Found, Kept, Reader, RedoLog, Setting};

/// The least that the library takes, in bytes.
const JOURNALS_BYTES: u64 = 64 << 20;
/// How many bytes a reader takes at once.
const READ_AT_ONCE: u64 = 16 << 10;

/// A keyspace as a redo log.
pub struct FjallLog {
    database: Database,
    records: Keyspace,
    durable: PersistMode,
    recent_bytes: u64,
    /// Only with levels: `Fifo` drops what is old by itself.
    kept: Option<Kept>,
    buffer: Vec<u8>,
}

impl FjallLog {
    pub fn open(setting: &Setting) -> Result<FjallLog, Failure> {
        let database = Database::builder(&setting.directory).max_journaling_size(JOURNALS_BYTES).open()?;
        let fifo = setting.candidate == Candidate::FjallFifo;
        // It drops whole tables as soon as all are above the limit, and what is in memtables does not count.
        let limit = setting.recent_bytes + 2 * setting.turn_bytes;
        let records = database.keyspace("redo", || {
            let options = KeyspaceCreateOptions::default().max_memtable_size(setting.turn_bytes);
            if fifo {
                options.compaction_strategy(Arc::new(Fifo::new(limit, None)))
            } else {
                options.compaction_strategy(Arc::new(Leveled::default()))
            }
        })?;
        Ok(FjallLog {
            database,
            records,
            durable: if setting.synced { PersistMode::SyncData } else { PersistMode::Buffer },
            recent_bytes: setting.recent_bytes,
            kept: (!fifo).then(Kept::default),
            buffer: Vec::new(),
        })
    }

    pub fn read_all(&mut self) -> Result<Found, Failure> {
        let mut recent = Vec::new();
        for record in self.records.iter() {
            let (key, bytes) = record.into_inner()?;
            super::decode(&bytes, &mut recent)?;
            if let Some(kept) = &mut self.kept {
                kept.add(u64::from_be_bytes(key[..].try_into()?), bytes.len() as u64, u64::MAX);
            }
        }
        Ok(Found { last: recent.last().map_or(0, |entry| entry.number.0), recent })
    }
}

impl RedoLog for FjallLog {
    fn commit(&mut self, entries: &[Arc<Entry>]) -> Result<(), Failure> {
        let Some(first) = entries.first() else { return Ok(()) };
        super::encode(entries, &mut self.buffer)?;
        let mut batch = self.database.batch().durability(Some(self.durable));
        batch.insert(&self.records, first.number.0.to_be_bytes(), self.buffer.as_slice());
        if let Some(kept) = &mut self.kept {
            for gone in kept.add(first.number.0, self.buffer.len() as u64, self.recent_bytes) {
                batch.remove(&self.records, gone.to_be_bytes());
            }
        }
        Ok(batch.commit()?)
    }

    fn reader(&self) -> Option<Box<dyn Reader>> {
        Some(Box::new(FromKeyspace(self.records.clone())))
    }
}

struct FromKeyspace(Keyspace);

impl Reader for FromKeyspace {
    fn first(&mut self) -> Result<u64, Failure> {
        let Some(first) = self.0.first_key_value() else { return Ok(1) };
        Ok(u64::from_be_bytes(first.into_inner()?.0[..].try_into()?))
    }

    fn read_some(&mut self, from: u64) -> Result<(u64, u64), Failure> {
        let (mut bytes, mut last) = (0, None);
        for record in self.0.range(from.to_be_bytes()..) {
            let (key, value) = record.into_inner()?;
            bytes += value.len() as u64;
            last = Some(u64::from_be_bytes(key[..].try_into()?));
            if bytes >= READ_AT_ONCE {
                break;
            }
        }
        // A record has at least one number.
        Ok((bytes, last.map_or(from, |last| last + 1)))
    }
}

/// The journal that is written to.
pub fn newest_file(directory: &Path) -> Result<Option<PathBuf>, Failure> {
    let mut newest = None;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let number: Option<u64> = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if path.extension().is_some_and(|extension| extension == "jnl") {
            newest = newest.max(number.map(|number| (number, path)));
        }
    }
    Ok(newest.map(|(_, path)| path))
}
