//! A segment's file that takes no more records and is to be synced, by the writer or beside it, whoever comes first.
//!
//! Invariant: it is synced once, and all who ask get that outcome. The operating system tells a failed sync once to
//! those who share an open file, and counts the pages as clean from then on: a second sync would succeed, and what
//! never reached the disk would be called durable (R26).

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::DiskFile;

/// The file of a sealed segment.
#[derive(Debug)]
pub(crate) struct LeftFile {
    file: Arc<dyn DiskFile>,
    outcome: Mutex<Option<Result<(), (io::ErrorKind, String)>>>,
}

impl LeftFile {
    pub fn new(file: Arc<dyn DiskFile>) -> Self {
        LeftFile { file, outcome: Mutex::new(None) }
    }

    /// Returns once everything in it is durable. A second caller waits for the first.
    pub fn sync(&self) -> io::Result<()> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = outcome
            .get_or_insert_with(|| self.file.sync_data().map_err(|error| (error.kind(), error.to_string())));
        outcome.clone().map_err(|(kind, reason)| io::Error::new(kind, reason))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::Disk;
    use crate::sim_disk::SimDisk;

    #[test]
    fn a_failed_sync_is_told_to_all_and_never_tried_again() {
        let disk = SimDisk::new();
        disk.create_dir_all(Path::new("/d")).unwrap();
        let left = LeftFile::new(Arc::from(disk.create(Path::new("/d/file")).unwrap()));
        disk.fail_syncs(true);
        left.sync().unwrap_err();
        disk.fail_syncs(false);
        left.sync().unwrap_err();
    }
}
