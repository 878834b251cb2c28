//! A library that the dynamic linker has opened, with all that belongs to it: the sealed copy it came from, its
//! place in memory, and what its file told. Closing it is done in one place, here.
//!
//! Deliberately absent: an unload by `Drop`. A library is closed by [`Opened::close`] or it is remembered as kept,
//! for ever if need be.
//!
//! Invariant: the sealed copy outlives the mapping.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use abi_stable::library::{AbiHeaderRef, LibHeader, ROOT_MODULE_LOADER_NAME_WITH_NUL};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use lockstep_os::interpose;
use lockstep_plugin_api::abi::{API_VERSION_SYMBOL_WITH_NUL, ApiVersion, PluginModuleRef};

use crate::error::with_causes;
use crate::mapped::{MappedObject, mapped_objects, object_of};
use crate::sealed::SealedCopy;
use crate::{ElfReport, LoadError, PluginFile, PluginHash, Reason, layout};

/// How often a look is taken while threads are on their way out.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(crate) struct Opened {
    /// None once `dlclose` was called, whether or not the mapping went away.
    library: Option<Library>,
    copy: SealedCopy,
    object: MappedObject,
    /// Counted from 1 over all libraries that this process opened.
    pub(crate) id: u64,
    pub(crate) hash: PluginHash,
    pub(crate) report: ElfReport,
    /// The plugin's statics are gone; none of its entries may be called any more.
    is_purged: bool,
}

/// What was cleared away while closing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cleared {
    pub(crate) keys: usize,
    pub(crate) purged_bytes: usize,
}

impl Opened {
    /// Opens a sealed copy of the file. Runs the library's constructors on this thread.
    pub(crate) fn open(file: &PluginFile, copy: SealedCopy, report: ElfReport) -> Result<Self, LoadError> {
        let path = copy.path();
        // SAFETY: this runs the library's constructors. Its bytes passed the static check, and a trial run in
        // a process of its own where the host asks for one; the operator vouches for the rest.
        let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) }
            .map_err(|error| LoadError::NotLoaded { detail: with_causes(&error) })?;
        let handle = library.into_raw();
        let object = object_of(handle);
        // SAFETY: the handle came from `into_raw` just above and is not used again.
        let library = unsafe { Library::from_raw(handle) };
        match object {
            Some(object) => {
                static OPENED: AtomicU64 = AtomicU64::new(0);
                let id = OPENED.fetch_add(1, Ordering::Relaxed) + 1;
                let hash = file.hash();
                Ok(Self { library: Some(library), copy, object, id, hash, report, is_purged: false })
            }
            None => {
                Err(LoadError::NotLoaded { detail: "the linker does not list what it has loaded".to_owned() })
            }
        }
    }

    /// Checks the contract and gets the root module. Runs the plugin's root constructor on this thread.
    pub(crate) fn module(&self) -> Result<PluginModuleRef, LoadError> {
        let version = self.api_version()?;
        layout::check_api(version)?;
        let header = self.header()?;
        layout::check_layout(header, version)?;
        // SAFETY: the layout was checked just above.
        unsafe { header.init_root_module_with_unchecked_layout::<PluginModuleRef>() }
            .map_err(|error| LoadError::NotStarted { detail: with_causes(&error) })
    }

    fn library(&self) -> Result<&Library, LoadError> {
        self.library.as_ref().ok_or_else(|| LoadError::NotLoaded { detail: "it was closed".to_owned() })
    }

    fn api_version(&self) -> Result<ApiVersion, LoadError> {
        let missing = |_| LoadError::OtherInterface {
            detail: format!("it does not export `{}`", lockstep_plugin_api::abi::API_VERSION_SYMBOL),
        };
        // SAFETY: by the contract the symbol is an `ApiVersion`; its static check saw that it is as long as one.
        let symbol = unsafe {
            self.library()?
                .get::<*const ApiVersion>(API_VERSION_SYMBOL_WITH_NUL.as_bytes())
                .map_err(missing)?
        };
        // SAFETY: the symbol's address, within a library that is mapped, of plain integers.
        Ok(unsafe { symbol.read_unaligned() })
    }

    fn header(&self) -> Result<&'static LibHeader, LoadError> {
        let other = |error: &dyn std::error::Error| LoadError::OtherInterface { detail: with_causes(error) };
        // SAFETY: abi_stable exports its header under this name; its own magic and version are checked by `upgrade`.
        let header: AbiHeaderRef = unsafe {
            *self
                .library()?
                .get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes())
                .map_err(|error| other(&error))?
        };
        // Its own text of this shows both headers whole.
        let found = (header.abi_major, header.abi_minor);
        header.upgrade().map_err(|_| LoadError::OtherInterface {
            detail: format!("it was built with abi_stable {}.{}, or with none of it", found.0, found.1),
        })
    }

    /// From its first to its last byte in memory.
    pub(crate) fn range(&self) -> Range<usize> {
        self.object.range.clone()
    }

    /// The name under which the dynamic linker lists it.
    pub(crate) fn name(&self) -> &str {
        &self.object.name
    }

    /// The hash of the bytes that were really loaded, read back from the sealed copy.
    pub(crate) fn hash_of_copy(&self) -> std::io::Result<PluginHash> {
        self.copy.hash()
    }

    /// Whether the dynamic linker still lists it.
    pub(crate) fn is_mapped(&self) -> bool {
        mapped_objects()
            .iter()
            .any(|object| object.base == self.object.base && object.name == self.object.name)
    }

    /// What of it still runs, or will.
    fn remains(&self) -> Vec<Reason> {
        let range = self.range();
        let threads = interpose::live_threads_in(&range)
            .into_iter()
            .map(|thread| Reason::ThreadAlive { tid: thread.tid, name: thread.name });
        let pins = interpose::pending_destructors_in(&range)
            .into_iter()
            .map(|pending| Reason::PinnedByThread { tid: pending.tid, name: pending.name });
        threads.chain(pins).collect()
    }

    /// What keeps it, once those threads had `patience` to end that are ending. A thread is seen in the
    /// kernel for a moment after it was joined.
    fn wait_for_remains(&self, patience: Duration) -> Vec<Reason> {
        let deadline = Instant::now() + patience;
        loop {
            let remains = self.remains();
            if remains.is_empty() || Instant::now() >= deadline {
                return remains;
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Closes the library and sees that it is gone; or gives it back with what keeps it. Not on a thread that
    /// lives on: what runs here may leave thread-local destructors behind.
    pub(crate) fn close(
        mut self,
        module: Option<PluginModuleRef>,
        patience: Duration,
    ) -> Result<Cleared, (Box<Self>, Vec<Reason>)> {
        let mut reasons = self.wait_for_remains(patience);
        let marks = self.report.obstacles.iter().cloned();
        reasons.extend(marks.map(|obstacle| Reason::Marked { obstacle }));
        match interpose::untracked() {
            0 => {}
            calls => reasons.push(Reason::Untracked { calls }),
        }
        if !reasons.is_empty() {
            return Err((Box::new(self), reasons));
        }
        let module = module.filter(|_| !std::mem::replace(&mut self.is_purged, true));
        let purged_bytes = module.map_or(0, |module| {
            // SAFETY: no thread of the plugin lives and nothing of it is called after, as its contract asks.
            unsafe { module.purge()() }
        });
        let remains = self.remains();
        if !remains.is_empty() {
            return Err((Box::new(self), remains));
        }
        let keys = interpose::delete_keys_in(&self.range());
        self.dlclose()?;
        Ok(Cleared { keys, purged_bytes })
    }

    fn dlclose(mut self) -> Result<(), (Box<Self>, Vec<Reason>)> {
        let closed = match self.library.take() {
            Some(library) => library.close(),
            // An earlier try closed it in vain; perhaps what held it is gone.
            None => Ok(()),
        };
        match closed {
            Ok(()) if !self.is_mapped() => Ok(()),
            Ok(()) => Err((Box::new(self), vec![Reason::StillMapped])),
            Err(error) => Err((Box::new(self), vec![Reason::NotClosed { detail: with_causes(&error) }])),
        }
    }
}
