//! The shared page: a mutex and a word about its holder, in a file of `/dev/shm`.
//!
//! Deliberately absent: threads. Invariant: a page that can be opened is complete, because it is written under
//! another name and linked to its own.

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use memmap2::MmapRaw;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};

use crate::process::{boot_id, random_u128};

const DIRECTORY: &str = "/dev/shm";
/// Of the name that a store gives; what is before it fits into the 255 bytes of a file name.
const NAME_BYTES_MAX: usize = 128;
/// "LSLIVE" and the version of this layout.
const MAGIC: u64 = 0x4c53_4c49_5645_0001;

unsafe extern "C" {
    // Not in the libc crate: as `pthread_mutex_timedlock`, against a clock that nobody sets.
    fn pthread_mutex_clocklock(
        mutex: *mut libc::pthread_mutex_t,
        clock: libc::clockid_t,
        until: *const libc::timespec,
    ) -> c_int;
}

#[repr(C)]
struct Layout {
    magic: AtomicU64,
    /// How often the mutex has been taken for life, times two; odd while it is held.
    incarnation: AtomicU64,
    /// The process that holds it, or that held it last.
    pid: AtomicU64,
    mutex: libc::pthread_mutex_t,
}

/// What the word says of the holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Incarnation {
    /// Taken and not let go of, whether or not the process still lives.
    Held { number: u64, pid: u32 },
    /// Nobody has it; or never had it.
    Free { number: u64 },
}

/// Who has the mutex after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acquired {
    Mine,
    Others,
}

pub(super) struct Page {
    map: MmapRaw,
    file: File,
    path: PathBuf,
}

// SAFETY: the page is shared memory that is touched only through atomics and the mutex's own functions,
// which are made for use by several threads and processes.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    /// Opens the page of a store, if there is one.
    pub(super) fn open(store_name: &str) -> io::Result<Option<Self>> {
        let path = path_of(store_name)?;
        match open_existing(path) {
            Ok(page) => Ok(Some(page)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the page of a store, or makes it.
    pub(super) fn open_or_create(store_name: &str) -> io::Result<Self> {
        loop {
            if let Some(page) = Self::open(store_name)? {
                return Ok(page);
            }
            create(&path_of(store_name)?)?;
        }
    }

    fn layout(&self) -> *mut Layout {
        self.map.as_mut_ptr().cast()
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: the map is as long as `Layout` (checked when it was opened), page-aligned, and lives as long
        // as `self`; the offsets passed are those of its atomic fields.
        unsafe { &*self.map.as_ptr().add(offset).cast::<AtomicU64>() }
    }

    fn mutex(&self) -> *mut libc::pthread_mutex_t {
        // SAFETY: only the address of a field within the map is formed.
        unsafe { &raw mut (*self.layout()).mutex }
    }

    pub(super) fn incarnation(&self) -> Incarnation {
        let number = self.word(offset_of!(Layout, incarnation)).load(Ordering::Acquire);
        let pid = self.word(offset_of!(Layout, pid)).load(Ordering::Acquire) as u32;
        if number % 2 == 1 { Incarnation::Held { number, pid } } else { Incarnation::Free { number } }
    }

    /// Writes down that this process has the mutex for life. Only while it does.
    pub(super) fn mark_held(&self) {
        let word = self.word(offset_of!(Layout, incarnation));
        self.word(offset_of!(Layout, pid)).store(u64::from(std::process::id()), Ordering::Release);
        // After a death the word is odd already: two more, so that a watcher of the dead one sees another.
        let number = word.load(Ordering::Acquire);
        word.store(if number % 2 == 1 { number + 2 } else { number + 1 }, Ordering::Release);
    }

    /// Writes down that this process lets go. Only while it has the mutex.
    pub(super) fn mark_released(&self) {
        self.word(offset_of!(Layout, incarnation)).fetch_add(1, Ordering::AcqRel);
    }

    /// Takes the mutex if it is free or its owner is dead.
    pub(super) fn try_acquire(&self) -> io::Result<Acquired> {
        // SAFETY: the mutex was initialised before its file got this name, and stays mapped.
        let result = unsafe { libc::pthread_mutex_trylock(self.mutex()) };
        self.settle(result)
    }

    /// Waits for the mutex, at most so long.
    pub(super) fn acquire_within(&self, time: Duration) -> io::Result<Acquired> {
        let mut until = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `until` is valid for writes.
        if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut until) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let nanoseconds = until.tv_nsec as u64 + u64::from(time.subsec_nanos());
        until.tv_sec += time.as_secs() as libc::time_t + (nanoseconds / 1_000_000_000) as libc::time_t;
        until.tv_nsec = (nanoseconds % 1_000_000_000) as libc::c_long;
        // SAFETY: the mutex was initialised before its file got this name, and stays mapped; `until` lives.
        let result = unsafe { pthread_mutex_clocklock(self.mutex(), libc::CLOCK_MONOTONIC, &until) };
        self.settle(result)
    }

    fn settle(&self, result: c_int) -> io::Result<Acquired> {
        match result {
            0 => Ok(Acquired::Mine),
            libc::EOWNERDEAD => {
                // SAFETY: this thread has just got the mutex in the state that this call is made for.
                match unsafe { libc::pthread_mutex_consistent(self.mutex()) } {
                    0 => Ok(Acquired::Mine),
                    error => Err(io::Error::from_raw_os_error(error)),
                }
            }
            libc::EBUSY | libc::ETIMEDOUT => Ok(Acquired::Others),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Gives the mutex back. Only by the thread that acquired it.
    pub(super) fn release(&self) {
        // SAFETY: the mutex is initialised and mapped, and this thread has it.
        let result = unsafe { libc::pthread_mutex_unlock(self.mutex()) };
        debug_assert_eq!(result, 0, "the thread that gives the mutex back has it");
    }

    /// Whether this page is still the one that the name leads to.
    pub(super) fn is_linked(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() > 0)
    }

    /// Takes the name away. Only while this process has the mutex, so that no successor loses its own.
    pub(super) fn unlink(&self) {
        if self.is_linked().unwrap_or(false) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn path_of(store_name: &str) -> io::Result<PathBuf> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if store_name.is_empty() || store_name.len() > NAME_BYTES_MAX || !store_name.bytes().all(plain) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a store's name for the liveness mutex has 1 to 128 letters, digits, '-' or '_'",
        ));
    }
    Ok(PathBuf::from(format!("{DIRECTORY}/lockstep-{}-{store_name}", boot_id()?)))
}

fn open_existing(path: PathBuf) -> io::Result<Page> {
    let file = File::from(open(&path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?);
    let metadata = file.metadata()?;
    let foreign = |what: &str| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} {what}; it is not ours: remove it", path.display()),
        )
    };
    if !metadata.is_file() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(foreign("is not a file of this user"));
    }
    if metadata.len() != size_of::<Layout>() as u64 {
        return Err(foreign("has an unexpected length"));
    }
    let map = memmap2::MmapOptions::new().len(size_of::<Layout>()).map_raw(&file)?;
    let page = Page { map, file, path: path.clone() };
    if page.word(offset_of!(Layout, magic)).load(Ordering::Acquire) != MAGIC {
        return Err(foreign("is not a liveness page of this version"));
    }
    Ok(page)
}

/// Makes the page under another name and links it to its own. That another process was faster is no error.
fn create(path: &PathBuf) -> io::Result<()> {
    let temporary = PathBuf::from(format!("{DIRECTORY}/lockstep-new-{:032x}", random_u128()?));
    let result =
        write_new(&temporary).and_then(|()| match linkat(CWD, &temporary, CWD, path, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        });
    let _ = std::fs::remove_file(&temporary);
    result
}

fn write_new(path: &PathBuf) -> io::Result<()> {
    let file = File::from(open(
        path,
        OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    )?);
    file.set_len(size_of::<Layout>() as u64)?;
    let map = memmap2::MmapOptions::new().len(size_of::<Layout>()).map_raw(&file)?;
    let page = Page { map, file, path: path.clone() };
    initialise_mutex(page.mutex())?;
    page.word(offset_of!(Layout, magic)).store(MAGIC, Ordering::Release);
    Ok(())
}

fn initialise_mutex(mutex: *mut libc::pthread_mutex_t) -> io::Result<()> {
    let checked = |result: c_int| match result {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    };
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
    let attributes = attributes.as_mut_ptr();
    // SAFETY: the attributes are initialised first and destroyed last; the mutex lies in a mapped page that no
    // other process has yet.
    unsafe {
        checked(libc::pthread_mutexattr_init(attributes))?;
        let result = checked(libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED))
            .and_then(|()| checked(libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST)))
            .and_then(|()| checked(libc::pthread_mutex_init(mutex, attributes)));
        libc::pthread_mutexattr_destroy(attributes);
        result
    }
}
