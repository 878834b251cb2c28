//! Checks, probes, loads and really unloads plugins.

mod bytes;
pub mod elf;
mod error;

mod mapped;
mod sealed;

pub use bytes::{FILE_BYTES_MAX, PluginFile, PluginHash};
pub use elf::{ElfReport, Obstacle};
pub use error::LoadError;
