//! The operating system's disk, with a write that fails when a test asks for it.
//!
//! What fails is one write of one thread, below the store: all that a store does about a failed disk is then done as
//! with a real one (R26). Deliberately absent: failing syncs and slow ones; the store's own tests have them.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::ThreadId;

use lockstep_store::disk::{Disk, DiskFile, RealDisk};

/// The write that is to fail.
#[derive(Debug, Default)]
struct Armed {
    /// Looked at with every write: cheap while nothing is armed.
    is: AtomicBool,
    thread: Mutex<Option<ThreadId>>,
}

impl Armed {
    fn take(&self) -> bool {
        if !self.is.load(Ordering::Acquire) {
            return false;
        }
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = thread.take_if(|thread| *thread == std::thread::current().id()).is_some();
        if taken {
            self.is.store(false, Ordering::Release);
        }
        taken
    }
}

/// A disk whose next write by a given thread can be made to fail. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct FailingDisk {
    disk: RealDisk,
    armed: Arc<Armed>,
}

impl FailingDisk {
    /// The next write of this thread fails with an input/output error.
    pub fn fail_next_write_of_this_thread(&self) {
        *self.armed.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current().id());
        self.armed.is.store(true, Ordering::Release);
    }

    fn wrap(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(FailingFile { file, armed: self.armed.clone() })
    }
}

impl Disk for FailingDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.create(path).map(|file| self.wrap(file))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(path).map(|file| self.wrap(file))
    }
    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open_to_read(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.disk.list(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.link(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }
}

#[derive(Debug)]
struct FailingFile {
    file: Box<dyn DiskFile>,
    armed: Arc<Armed>,
}

impl DiskFile for FailingFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.armed.take() {
            tracing::error!("a failpoint: a write fails");
            return Err(rustix::io::Errno::IO.into());
        }
        self.file.write_at(offset, bytes)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }
}
