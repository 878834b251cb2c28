//! What can go wrong with the local arbiter.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The arbiter cannot be reached, or the outcome of a swap is not known: what the log says wherever that is found.
pub(crate) const UNREACHABLE: &str = "LS0604";

/// An error of the local arbiter.
#[derive(Debug, Error)]
pub enum ArbiterError {
    /// The directory can't be read or written.
    #[error(
        "LS0606: cannot {operation} {}: {source}; see that the arbiter's directory can be written and has room",
        path.display()
    )]
    Disk {
        /// What was being done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The highest record is not what somebody wrote. An older one is never taken in its place.
    #[error(
        "LS0607: the record {} cannot be read: {reason}; nobody becomes active until it is repaired: find out from \
         both processors which store was active, then put back the record by hand",
        path.display()
    )]
    Unreadable {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl ArbiterError {
    /// The code for people and programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            ArbiterError::Disk { .. } => "LS0606",
            ArbiterError::Unreadable { .. } => "LS0607",
        }
    }

    pub(super) fn disk(operation: &'static str, path: &Path, source: io::Error) -> Self {
        ArbiterError::Disk { operation, path: path.into(), source }
    }
}
