//! What can go wrong with a store, each with a code, the operation, the source and what to do next.

use std::io;
use std::path::{Path, PathBuf};

use lockstep_core::ids::{Number, StoreId};
use thiserror::Error;

/// An error of a store.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The disk said no.
    #[error("LS0501: cannot {operation} {}: {source}; {}", path.display(), disk_advice(source))]
    Disk {
        /// What was being done.
        operation: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A write or a sync failed earlier; what is on the disk since then is not known (R26).
    #[error(
        "LS0502: the store {store} takes nothing more since a write or a sync failed ({reason}); \
         repair the disk and start again: the store comes back as a fresh copy of its partner's"
    )]
    Failed {
        /// The store.
        store: StoreId,
        /// The first failure.
        reason: String,
    },
    /// Bytes on the disk are not those that were written, or are missing (R26).
    #[error(
        "LS0503: {} is damaged: {what}; the store is not trusted any more and asks its partner for a copy; \
         check the disk", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The store was found bad in an earlier run.
    #[error(
        "LS0504: the store {store} is marked as not to be trusted ({reason}); it needs a copy of its partner's"
    )]
    Untrusted {
        /// The store.
        store: StoreId,
        /// What was written into the mark.
        reason: String,
    },
    /// The checkpoint's engine said no.
    #[error("LS0505: cannot {operation} the checkpoint {}: {reason}; the redo log is kept, nothing is lost", path.display())]
    Checkpoint {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the engine said.
        reason: String,
    },
    /// Entries that are held, checkpointed or part of a copy can't be cut off any more (R24).
    #[error(
        "LS0506: the store {store} cannot be cut back to number {to}: everything up to {base} is held or part of a \
         copy; it needs a copy of its partner's"
    )]
    CannotCut {
        /// The store.
        store: StoreId,
        /// Where it was to end.
        to: Number,
        /// The lowest possible end.
        base: Number,
    },
    /// A processor that runs uses the directory.
    #[error("LS0507: {} is in use by a processor that runs; stop it first", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// There is no store.
    #[error("LS0508: there is no store in {}; expected DATA/APPLICATION/PARTITION of a processor that ran once", path.display())]
    NoStore {
        /// The directory.
        path: PathBuf,
    },
    /// A copy was asked for something that it is not in the state for.
    #[error("LS0509: the store {store} cannot {operation}: {reason}")]
    OutOfPlace {
        /// The store.
        store: StoreId,
        /// What was asked.
        operation: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// Written by a program that knows more.
    #[error("LS0510: {} has layout {found}, this program knows {known}; use the program that wrote it", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// The layout found.
        found: u32,
        /// The layout known.
        known: u32,
    },
    /// A store was to be made where there is one.
    #[error("LS0512: there is a store in {} already; move it away, or name another directory", path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
    },
    /// The name in `current` leads nowhere: the disk was replaced, emptied or mixed up.
    #[error(
        "LS0511: {} names the store {store}, which is not there; a new, empty store was made, which the record does \
         not know (R2)", path.display()
    )]
    Lost {
        /// The file.
        path: PathBuf,
        /// What it says.
        store: String,
    },
}

fn disk_advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on the disk and start again",
        io::ErrorKind::PermissionDenied => "give the processor's user access to it",
        io::ErrorKind::NotFound => "check the path in the configuration",
        _ => "check the disk",
    }
}

impl StoreError {
    /// The code for people and programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            StoreError::Disk { .. } => "LS0501",
            StoreError::Failed { .. } => "LS0502",
            StoreError::Damaged { .. } => "LS0503",
            StoreError::Untrusted { .. } => "LS0504",
            StoreError::Checkpoint { .. } => "LS0505",
            StoreError::CannotCut { .. } => "LS0506",
            StoreError::InUse { .. } => "LS0507",
            StoreError::NoStore { .. } => "LS0508",
            StoreError::OutOfPlace { .. } => "LS0509",
            StoreError::Layout { .. } => "LS0510",
            StoreError::Lost { .. } => "LS0511",
            StoreError::Occupied { .. } => "LS0512",
        }
    }

    /// A sync failed: what was written before it may be lost, though it can still be read (R26).
    pub(crate) fn is_failed_sync(&self) -> bool {
        matches!(self, StoreError::Disk { operation, .. } if operation.starts_with("sync"))
    }

    /// There was no room for something new. What was there before is untouched.
    #[must_use]
    pub fn is_full_disk(&self) -> bool {
        let full = |kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        matches!(self, StoreError::Disk { source, .. } if full(source.kind())) && !self.is_failed_sync()
    }

    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        StoreError::Damaged { path: path.into(), what: what.into() }
    }
}

/// Adds operation and path to what the operating system said.
pub(crate) trait DuringExt<T> {
    fn during(self, operation: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> DuringExt<T> for io::Result<T> {
    fn during(self, operation: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Disk { operation, path: path.into(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_that_fails_for_want_of_room_is_a_failed_sync() {
        let error = |operation| StoreError::Disk {
            operation,
            path: "/data".into(),
            source: io::ErrorKind::StorageFull.into(),
        };
        assert!(error("write to").is_full_disk() && !error("write to").is_failed_sync());
        let sync = error("sync a redo segment in");
        assert!(sync.is_failed_sync() && !sync.is_full_disk(), "what was written may be lost (R26)");
    }
}
