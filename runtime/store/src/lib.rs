//! The embedded database of a group: redo log, checkpoint, recovery.
//!
//! Rows are served from memory by the core; this crate makes them durable. One thread of the group's own calls
//! [`Store`]; a second one runs [`Background`], which the first never waits for.
//!
//! - The *redo log* takes one record a batch, in files written ahead: one write and one sync.
//! - The *checkpoint*, a `redb` file, takes the last value of every changed row in the background, and only of
//!   procedures that are held (R24), so that nothing in it ever has to be taken back.
//! - *Recovery* is the checkpoint's rows and the records behind them. A torn last record was never acknowledged and
//!   is cut off; any other hole or wrong checksum makes the store untrusted (R26): it then comes back as a copy.
//! - A *copy* (R25) is a new store beside the old one. Rows and entries go into its log as they arrive, so its end is
//!   one sync and one mark removed, whatever its size. A backup is made, and one is restored, in the same way.
//!
//! Deliberately absent: threads, channels, clocks, randomness, the directory's lock, any reading of single rows.
//! Everything goes through a [`disk::Disk`], so that the simulated world crashes the very code that runs in
//! production.
#![forbid(unsafe_code)]

mod aside;
mod backend;
mod background;
mod changes;
mod checkpoint;
mod copy;
#[doc(hidden)]
pub mod decoders;
mod directory;
pub mod disk;
mod error;
mod inspect;
mod left;
mod log;
mod packed;
mod quiet;
mod record;
mod recovery;
mod replay;
mod restore;
#[doc(hidden)]
pub mod rows;
mod scan;
mod segment;
pub mod sim_disk;
mod store;
mod window;

pub use background::{Background, Work};
pub use checkpoint::panic_is_caught;
pub use disk::RealDisk;
pub use error::StoreError;
pub use inspect::{
    Export, Inspection, SegmentInspection, StoreInspection, Verification, export, inspect, verify,
};
pub use quiet::{Checkpoints, Pause};
pub use restore::restore;
pub use store::{Options, Recovered, Store};
