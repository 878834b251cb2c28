//! `redb`: a copy-on-write B+ tree in one file.
//!
//! `replicated` asks that the operating system has each commit, and no sync. The library's own commits without durability
//! stay in the process; so they are ordinary commits here, over a file whose syncs do nothing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use lockstep_core::entry::Entry;
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};

use super::{Failure, Found, Kept, Reader, RedoLog, Setting};

/// The file's name.
pub const FILE: &str = "redo.redb";
const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("redo");
/// What the checkpoint's cache has too, in bytes.
const CACHE_BYTES: usize = 32 << 20;
/// How many bytes a reader takes at once.
const READ_AT_ONCE: u64 = 16 << 10;

/// The file, with or without syncs.
#[derive(Debug)]
struct DataFile {
    file: File,
    synced: bool,
}

impl StorageBackend for DataFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        if self.synced { self.file.sync_data() } else { Ok(()) }
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }
}

/// Opens or makes the database in the file `path`. All of it is checked, as the checkpoint is at a processor's start.
fn open_file(path: &Path, synced: bool) -> Result<Database, Failure> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    Ok(builder.create_with_backend(DataFile { file, synced })?)
}

/// A table as a redo log.
pub struct RedbLog {
    database: Arc<Database>,
    recent_bytes: u64,
    kept: Kept,
    buffer: Vec<u8>,
}

impl RedbLog {
    pub fn open(setting: &Setting) -> Result<RedbLog, Failure> {
        std::fs::create_dir_all(&setting.directory)?;
        let database = open_file(&setting.directory.join(FILE), setting.synced)?;
        let writing = database.begin_write()?;
        writing.open_table(RECORDS)?;
        writing.commit()?;
        Ok(RedbLog {
            database: Arc::new(database),
            recent_bytes: setting.recent_bytes,
            kept: Kept::default(),
            buffer: Vec::new(),
        })
    }

    pub fn read_all(&mut self) -> Result<Found, Failure> {
        let mut recent = Vec::new();
        for record in self.database.begin_read()?.open_table(RECORDS)?.iter()? {
            let (key, bytes) = record?;
            super::decode(bytes.value(), &mut recent)?;
            self.kept.add(key.value(), bytes.value().len() as u64, u64::MAX);
        }
        Ok(Found { last: recent.last().map_or(0, |entry: &Arc<Entry>| entry.number.0), recent })
    }
}

impl RedoLog for RedbLog {
    fn commit(&mut self, entries: &[Arc<Entry>]) -> Result<(), Failure> {
        let Some(first) = entries.first() else { return Ok(()) };
        super::encode(entries, &mut self.buffer)?;
        let writing = self.database.begin_write()?;
        {
            let mut table = writing.open_table(RECORDS)?;
            table.insert(first.number.0, self.buffer.as_slice())?;
            for gone in self.kept.add(first.number.0, self.buffer.len() as u64, self.recent_bytes) {
                table.remove(gone)?;
            }
        }
        Ok(writing.commit()?)
    }

    fn reader(&self) -> Option<Box<dyn Reader>> {
        Some(Box::new(FromTable(self.database.clone())))
    }
}

struct FromTable(Arc<Database>);

impl Reader for FromTable {
    fn first(&mut self) -> Result<u64, Failure> {
        let table = self.0.begin_read()?.open_table(RECORDS)?;
        Ok(table.first()?.map_or(1, |(key, _)| key.value()))
    }

    fn read_some(&mut self, from: u64) -> Result<(u64, u64), Failure> {
        let table = self.0.begin_read()?.open_table(RECORDS)?;
        let (mut bytes, mut last) = (0, None);
        for record in table.range(from..)? {
            let (key, value) = record?;
            bytes += value.value().len() as u64;
            last = Some(key.value());
            if bytes >= READ_AT_ONCE {
                break;
            }
        }
        Ok((bytes, last.map_or(from, |last| last + 1)))
    }
}
