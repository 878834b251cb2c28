//! The checkpoint's file, as the engine sees it: either the file itself, or the file under a sheet of changes in
//! memory, so that reading a checkpoint never writes to it (repair after a crash included).

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use redb::StorageBackend;

use crate::disk::DiskFile;

/// So many bytes are written and not synced at most: the disk is never busy with a checkpoint for long, and the redo log's syncs
/// do not wait behind all of it.
const UNSYNCED_BYTES_MAX: u64 = 4 << 20;

/// Reads and writes the file.
#[derive(Debug)]
pub(crate) struct FileBackend {
    file: Box<dyn DiskFile>,
    sync_failed: Arc<AtomicBool>,
    unsynced_bytes: AtomicU64,
}

impl FileBackend {
    pub fn new(file: Box<dyn DiskFile>) -> Self {
        FileBackend { file, sync_failed: Arc::default(), unsynced_bytes: AtomicU64::new(0) }
    }

    /// Whether a sync failed: what the engine has written may never reach the disk, whatever later syncs say (R26).
    pub fn sync_failed(&self) -> Arc<AtomicBool> {
        self.sync_failed.clone()
    }
}

impl StorageBackend for FileBackend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.unsynced_bytes.store(0, Ordering::Relaxed);
        let synced = self.file.sync_data();
        if synced.is_err() {
            self.sync_failed.store(true, Ordering::Release);
        }
        synced
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, data)?;
        let bytes = data.len() as u64;
        // Pages that no commit names yet: it does not matter when they become durable.
        if self.unsynced_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes >= UNSYNCED_BYTES_MAX {
            self.sync_data()?;
        }
        Ok(())
    }
}

const PAGE: u64 = 4_096;

/// Reads the file, keeps what is written in memory.
pub(crate) struct SheetBackend {
    file: Box<dyn DiskFile>,
    file_len: u64,
    /// The disk failed, in words: it was not the content that the engine did not like.
    read_failed: Arc<Mutex<Option<String>>>,
    sheet: Mutex<Sheet>,
}

struct Sheet {
    len: u64,
    /// Up to here the file still counts; what was cut off and made longer again is zero.
    file_until: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl fmt::Debug for SheetBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SheetBackend").field("file", &self.file).finish_non_exhaustive()
    }
}

impl SheetBackend {
    /// Over `file`.
    pub fn new(file: Box<dyn DiskFile>) -> io::Result<Self> {
        let file_len = file.len()?;
        let sheet = Mutex::new(Sheet { len: file_len, file_until: file_len, pages: BTreeMap::new() });
        Ok(SheetBackend { file, file_len, read_failed: Arc::default(), sheet })
    }

    /// What the disk says if it fails.
    pub fn read_failed(&self) -> Arc<Mutex<Option<String>>> {
        self.read_failed.clone()
    }

    fn read_file(&self, sheet: &Sheet, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.fill(0);
        let until = sheet.file_until.min(self.file_len);
        let there = until.saturating_sub(offset).min(out.len() as u64) as usize;
        if there == 0 {
            return Ok(());
        }
        self.file.read_at(offset, &mut out[..there]).inspect_err(|error| {
            *self.read_failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        })
    }

    fn locked(&self) -> io::Result<std::sync::MutexGuard<'_, Sheet>> {
        self.sheet.lock().map_err(|_| io::Error::other("a reader panicked"))
    }
}

impl StorageBackend for SheetBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.locked()?.len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let sheet = self.locked()?;
        let end = offset + out.len() as u64;
        if end > sheet.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_file(&sheet, offset, out)?;
        for (page, bytes) in sheet.pages.range(offset / PAGE..end.div_ceil(PAGE)) {
            let start = page * PAGE;
            let (from, to) = (start.max(offset), (start + PAGE).min(end));
            out[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut sheet = self.locked()?;
        sheet.file_until = sheet.file_until.min(len);
        sheet.pages.split_off(&len.div_ceil(PAGE));
        if let Some(last) = sheet.pages.get_mut(&(len / PAGE)) {
            last[(len % PAGE) as usize..].fill(0);
        }
        sheet.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut sheet = self.locked()?;
        let end = offset + data.len() as u64;
        for page in offset / PAGE..end.div_ceil(PAGE) {
            let start = page * PAGE;
            if !sheet.pages.contains_key(&page) {
                let mut bytes = vec![0; PAGE as usize].into_boxed_slice();
                self.read_file(&sheet, start, &mut bytes)?;
                sheet.pages.insert(page, bytes);
            }
            let (from, to) = (start.max(offset), (start + PAGE).min(end));
            let bytes = sheet.pages.get_mut(&page).expect("it was just put there");
            bytes[(from - start) as usize..(to - start) as usize]
                .copy_from_slice(&data[(from - offset) as usize..(to - offset) as usize]);
        }
        sheet.len = sheet.len.max(end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::Disk;
    use crate::sim_disk::SimDisk;

    #[test]
    fn a_checkpoint_is_synced_while_it_is_written_and_a_sync_that_fails_is_remembered() {
        let disk = SimDisk::new();
        disk.create_dir_all(Path::new("/d")).unwrap();
        let backend = FileBackend::new(disk.create(Path::new("/d/file")).unwrap());
        let failed = || backend.sync_failed().load(Ordering::Acquire);
        let write = |at: u64| backend.write(at * PAGE, &[7; PAGE as usize]);
        let pages = UNSYNCED_BYTES_MAX / PAGE;
        (0..pages - 1).for_each(|at| write(at).unwrap());
        assert_eq!(disk.syncs(), 0);
        (pages - 1..3 * pages - 1).for_each(|at| write(at).unwrap());
        assert_eq!(disk.syncs(), 2);
        backend.sync_data().unwrap();
        disk.fail_syncs(true);
        (0..pages - 1).for_each(|at| write(at).unwrap());
        assert!(!failed());
        write(0).unwrap_err();
        assert!(failed());
    }
}
