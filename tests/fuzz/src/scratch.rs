//! Directories for files that are read in the way in which they are read in production: in memory where there is such a
//! place, so that syncs cost nothing.

use std::path::Path;

use tempfile::TempDir;

/// A directory that goes when it is dropped.
pub fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.expect("a temporary directory can be made")
}
