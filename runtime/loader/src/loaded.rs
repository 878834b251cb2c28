//! A loaded plugin, and the leases by which the host uses it.
//!
//! The order of a plugin's life: [`load`]; on the generation's own thread [`PluginLease::start`], the work, and
//! [`PluginLease::shutdown`]; that thread is joined; then [`LoadedPlugin::unload`] from any other thread.
//!
//! Deliberately absent: a way to reach the plugin's entries without a lease, and to close a library that is used.
//!
//! Invariant: constructors, root module and closing run on threads of their own that end at once, so that
//! no thread that lives on keeps thread-locals of the plugin.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use lockstep_os::interpose;
use lockstep_plugin_api::abi::{HostServices, PluginModuleRef};
use serde::{Deserialize, Serialize};

use crate::opened::{Cleared, Opened};
use crate::sealed::SealedCopy;
use crate::sink::{EntryError, collect};
use crate::{ElfReport, KeptLibrary, LoadError, PluginFile, PluginHash, Reason, elf, registry};

/// How long an unload waits for threads that are ending.
pub const UNLOAD_PATIENCE: Duration = Duration::from_millis(500);

/// Loads exactly the bytes that were read, from a private, sealed copy in memory.
pub fn load(file: &PluginFile) -> Result<LoadedPlugin, LoadError> {
    let report = elf::check(file.bytes())?;
    let copy = SealedCopy::of(file)?;
    load_copy(file, copy, report)
}

pub(crate) fn load_copy(
    file: &PluginFile,
    copy: SealedCopy,
    report: ElfReport,
) -> Result<LoadedPlugin, LoadError> {
    if !interpose::ensure_linked() {
        return Err(LoadError::NoInterposers);
    }
    let (opened, module) = on_short_thread("plugin-load", || {
        let opened = Opened::open(file, copy, report)?;
        registry::note_opened(&opened);
        let module = opened.module();
        Ok((opened, module))
    })?;
    match module {
        Ok(module) => Ok(LoadedPlugin {
            opened: Some(opened),
            use_: Some(Arc::new(Use { module, life: AtomicU8::new(Life::Loaded as u8) })),
        }),
        Err(error) => {
            // Refused after its constructors ran: it goes the same way out as any other.
            if let Err(kept) = close(opened, None, UNLOAD_PATIENCE) {
                let why = kept.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                tracing::warn!(plugin = %kept.hash.short(), why, "a library that was refused stays mapped");
            }
            Err(error)
        }
    }
}

/// Runs `work` on a thread that ends before this returns.
fn on_short_thread<T: Send>(
    name: &str,
    work: impl FnOnce() -> Result<T, LoadError> + Send,
) -> Result<T, LoadError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn_scoped(scope, work)
            .map_err(|source| LoadError::NoCopy { operation: "to start a thread for it", source })?;
        thread.join().unwrap_or_else(|_| {
            Err(LoadError::NotStarted { detail: "the thread that loads it panicked".to_owned() })
        })
    })
}

/// Closes a library on a thread of its own; kept where no thread can be had.
fn close(opened: Opened, use_: Option<Arc<Use>>, patience: Duration) -> Result<Cleared, KeptLibrary> {
    let mut to_close = Some((opened, use_));
    let closed = on_short_thread("plugin-unload", || {
        Ok(to_close.take().map(|(opened, use_)| registry::close(opened, use_, patience)))
    });
    match (closed, to_close) {
        (Ok(Some(result)), _) => result,
        (result, Some((opened, use_))) => {
            let detail = result.err().map_or_else(String::new, |error| error.to_string());
            Err(registry::keep(opened, use_, vec![Reason::NotClosed { detail }]))
        }
        (_, None) => unreachable!("closing panics nowhere, and what was taken gives a result"),
    }
}

/// How far a plugin is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Life {
    Loaded = 0,
    Started = 1,
    ShutDown = 2,
    /// Its shutdown panicked.
    Broken = 3,
}

pub(crate) struct Use {
    pub(crate) module: PluginModuleRef,
    life: AtomicU8,
}

impl Use {
    pub(crate) fn is(&self, life: Life) -> bool {
        self.life.load(Ordering::Acquire) == life as u8
    }

    fn set(&self, life: Life) {
        self.life.store(life as u8, Ordering::Release);
    }
}

/// A plugin that is loaded. Dropped without [`unload`](Self::unload) it stays mapped, and is told among those kept.
pub struct LoadedPlugin {
    opened: Option<Opened>,
    use_: Option<Arc<Use>>,
}

impl fmt::Debug for LoadedPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedPlugin").field("hash", &self.hash()).field("range", &self.range()).finish()
    }
}

/// A right to use a loaded plugin. It can go to another thread, and must be gone when the plugin is unloaded.
#[derive(Clone)]
pub struct PluginLease {
    use_: Arc<Use>,
}

impl fmt::Debug for PluginLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginLease").finish_non_exhaustive()
    }
}

/// How an unload ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unload {
    /// The library is no longer mapped; the dynamic linker was asked.
    Gone(UnloadReport),
    /// The library stays mapped, and why. The swap goes on all the same.
    Kept(KeptLibrary),
}

/// What an unload that succeeded did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnloadReport {
    /// Whose.
    pub hash: PluginHash,
    /// How many `pthread` keys were given back.
    pub keys_deleted: usize,
    /// How much heap its statics still held.
    pub purged_bytes: usize,
    /// How long it took, from the call on.
    pub elapsed_us: u64,
}

impl LoadedPlugin {
    /// A right to use it.
    #[must_use]
    pub fn lease(&self) -> PluginLease {
        match &self.use_ {
            Some(use_) => PluginLease { use_: Arc::clone(use_) },
            None => already_unloaded(),
        }
    }

    /// The hash of its file.
    #[must_use]
    pub fn hash(&self) -> PluginHash {
        self.opened().hash
    }

    /// The hash of the bytes that are loaded, read back from the copy that is mapped.
    pub fn hash_of_loaded_bytes(&self) -> std::io::Result<PluginHash> {
        self.opened().hash_of_copy()
    }

    /// Where it lies in memory.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.opened().range()
    }

    /// What its file told.
    #[must_use]
    pub fn report(&self) -> &ElfReport {
        &self.opened().report
    }

    /// Whether the dynamic linker lists it.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        self.opened().is_mapped()
    }

    /// How many leases are out.
    #[must_use]
    pub fn leases(&self) -> usize {
        self.use_.as_ref().map_or(0, |use_| Arc::strong_count(use_) - 1)
    }

    /// Unloads it for real, or says why it stays mapped. The leases must be gone, the plugin shut down, and the
    /// thread that ran it joined.
    #[must_use]
    pub fn unload(self) -> Unload {
        self.unload_within(UNLOAD_PATIENCE)
    }

    /// As [`unload`](Self::unload), with so much time for threads that are ending.
    #[must_use]
    pub fn unload_within(mut self, patience: Duration) -> Unload {
        let begun = Instant::now();
        let Some(opened) = self.opened.take() else { already_unloaded() };
        let hash = opened.hash;
        match close(opened, self.use_.take(), patience) {
            Ok(cleared) => Unload::Gone(UnloadReport {
                hash,
                keys_deleted: cleared.keys,
                purged_bytes: cleared.purged_bytes,
                elapsed_us: begun.elapsed().as_micros() as u64,
            }),
            Err(kept) => Unload::Kept(kept),
        }
    }

    /// Keeps it mapped on purpose: its thread hangs in it and was given up.
    pub fn abandon(mut self) -> KeptLibrary {
        match self.opened.take() {
            Some(opened) => registry::keep(opened, self.use_.take(), vec![Reason::Abandoned]),
            None => already_unloaded(),
        }
    }

    fn opened(&self) -> &Opened {
        match &self.opened {
            Some(opened) => opened,
            None => already_unloaded(),
        }
    }
}

/// Only an unload takes the library out, and it consumes the plugin.
fn already_unloaded() -> ! {
    unreachable!("a plugin that was unloaded is not there to be asked")
}

impl Drop for LoadedPlugin {
    fn drop(&mut self) {
        if let Some(opened) = self.opened.take() {
            registry::keep(opened, self.use_.take(), vec![Reason::Abandoned]);
        }
    }
}

impl PluginLease {
    /// The entries of the plugin. Nothing that comes from them may outlive this lease.
    #[must_use]
    pub fn module(&self) -> PluginModuleRef {
        self.use_.module
    }

    /// The plugin's description of itself, as it encodes it. Needs no start.
    pub fn describe(&self) -> Result<Vec<u8>, LoadError> {
        // SAFETY: the library is mapped as long as this lease lives; the sink lives during the call.
        collect(|sink| unsafe { self.use_.module.describe()(sink) })
            .map_err(|error| LoadError::NoDescription { detail: error.into_detail() })
    }

    /// Starts the plugin. Once, on the thread that will run it.
    pub fn start(&self, services: &HostServices) -> Result<(), LoadError> {
        let twice = self.use_.life.compare_exchange(
            Life::Loaded as u8,
            Life::Started as u8,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if twice.is_err() {
            return Err(LoadError::NotStarted { detail: "it was started before".to_owned() });
        }
        // SAFETY: as for `describe`; it is the first start, on the caller's word the right thread.
        let result = collect(|sink| unsafe { self.use_.module.start()(services, sink) });
        result.map(drop).map_err(|error| LoadError::NotStarted { detail: error.into_detail() })
    }

    /// Shuts the plugin down: the author's own shutdown, threads joined, hooks removed. Once, on the thread that ran it,
    /// when no run is left, before that thread is joined. A panic in it is told, and does not keep the library
    /// by itself: threads and destructors that it left behind are looked for.
    pub fn shutdown(self) -> Result<(), Reason> {
        let never_started = self.use_.life.compare_exchange(
            Life::Started as u8,
            Life::ShutDown as u8,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if never_started.is_err() {
            return Ok(());
        }
        // SAFETY: as for `describe`; the plugin was started and not shut down, on the caller's word on this thread.
        let result = collect(|sink| unsafe { self.use_.module.shutdown()(sink) });
        result.map(drop).map_err(|error| {
            self.use_.set(Life::Broken);
            let detail = match error {
                EntryError::Panicked(detail) | EntryError::Failed(detail) => detail,
            };
            Reason::PanickedOnTheWayOut { entry: "shutdown".to_owned(), detail }
        })
    }
}
