//! The pieces of the operating system that Lockstep needs and no safe crate offers: interposers that
//! know which threads, keys and destructors belong to a library, the liveness mutex by which a partner
//! learns of a death, the page that tells what code of an application killed the process, the lock on a database
//! directory, the memory there is, and settings of the process.
//!
//! Deliberately absent: policy. What a death or a pin means is decided by the callers; a liveness
//! mutex is a hint to act (R6), never a proof that safety rests on.
//!
//! Invariant: only Linux with glibc. Every `unsafe` block says why it is sound.

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
compile_error!("Lockstep's plugins and its failure detector need Linux with glibc");

mod directory_lock;
pub mod heap;
pub mod interpose;
pub mod liveness;
mod memory;
mod process;
pub mod unit_page;

pub use directory_lock::{DirectoryLock, DirectoryLockError};
pub use liveness::{Died, LivenessLock, LivenessWatch, is_living};
pub use memory::memory_bytes;
pub use process::{
    boot_id, core_dumps_off, core_dumps_on, give_way, raise_open_files_limit, random_u128, stand_still,
};
