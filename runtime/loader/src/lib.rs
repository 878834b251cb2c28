//! Checks, probes, loads and really unloads plugins.
//!
//! A plugin's file is read once ([`PluginFile`]); those bytes are checked ([`elf`]), tried in a process of their own
//! ([`Prober`]) and loaded ([`load`]) from a sealed copy in memory. An unload either ends with the library gone, which
//! the dynamic linker is asked about, or with the reasons why it stays mapped ([`Unload`]).
//!
//! Deliberately absent: what a plugin does (the binding's task) and when it is swapped (the runtime's).
//!
//! Invariant: no text and no value of a plugin outlives its library; see the order in [`loaded`].

mod bytes;
pub mod elf;
mod error;
mod layout;
pub mod loaded;
mod mapped;
mod opened;
mod probe;
mod probe_child;
mod reason;
mod registry;
mod sealed;
mod sink;

pub use bytes::{FILE_BYTES_MAX, PluginFile, PluginHash};
pub use elf::{ElfReport, Obstacle};
pub use error::LoadError;
pub use loaded::{LoadedPlugin, PluginLease, UNLOAD_PATIENCE, Unload, UnloadReport, load};
#[doc(hidden)]
pub use probe::said_by_child;
pub use probe::{PROBE_ARGUMENT, PROBE_TIMEOUT, ProbeReport, Prober};
pub use probe_child::{probe_child_main, run_if_probe_child};
pub use reason::Reason;
pub use registry::{KeptLibrary, MappedPlugin, is_mapped, kept, kept_total, mapped_plugins, retry_kept};
