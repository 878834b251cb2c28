//! The audit trail of a processor: which operator asked for what, when and why, what came of it, and every change of an
//! upgrade and of its own role. Kept on disk, the latest [`KEPT`] entries of it.
//!
//! What operators ask stands in the trail of the processor that was asked; changes of an upgrade stand in both, as they
//! are in the stream.
//!
//! Deliberately absent: anything that rests on it. A disk that fails loses entries, and the log says so.
//! Invariants: who adds an entry never waits for the disk; entries are in the order in which they were added.

mod entry;
mod file;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, TrySendError};

pub use entry::{TrailEntry, What};
use file::TrailFile;

/// So many of the latest entries are kept.
pub const KEPT: usize = 1_000;
/// So many may wait for the disk.
const WAITING_MAX: usize = 256;
/// The trail can't be read or written.
const NOT_KEPT: &str = "LS0830";

/// The way to a processor's audit trail. Cheap to clone.
#[derive(Clone)]
pub struct Trail {
    latest: Arc<Mutex<VecDeque<TrailEntry>>>,
    writer: Sender<TrailEntry>,
}

impl Trail {
    /// Opens the trail in the data directory of a processor, and starts the thread that writes it.
    ///
    /// # Errors
    /// When there are no threads left. A file that can't be read is begun anew, and the log says so.
    pub fn open(data: &Path) -> std::io::Result<Self> {
        let (file, found) = TrailFile::open(data, KEPT).unwrap_or_else(|error| {
            tracing::warn!(%error, code = NOT_KEPT, "the audit trail can't be read");
            (TrailFile::lost(data, KEPT), Vec::new())
        });
        let (writer, entries) = crossbeam_channel::bounded(WAITING_MAX);
        std::thread::Builder::new().name("trail".into()).spawn(move || write(file, &entries))?;
        Ok(Trail { latest: Arc::new(Mutex::new(found.into())), writer })
    }

    /// Adds an entry.
    pub fn add(&self, entry: TrailEntry) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.len() >= KEPT {
            latest.pop_front();
        }
        latest.push_back(entry.clone());
        // Under the lock, so that the file has the same order.
        if let Err(TrySendError::Full(entry)) = self.writer.try_send(entry) {
            tracing::warn!(
                ?entry,
                code = NOT_KEPT,
                "an entry of the audit trail is not kept: the disk is too slow"
            );
        }
    }

    /// The latest `count` entries, oldest first; those of `application` and of the whole processor, if it is given.
    #[must_use]
    pub fn latest(&self, application: Option<&str>, count: usize) -> Vec<TrailEntry> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |entry: &&TrailEntry| {
            application.is_none()
                || entry.application.is_none()
                || entry.application.as_deref() == application
        };
        let mut entries: Vec<_> = latest.iter().rev().filter(wanted).take(count).cloned().collect();
        entries.reverse();
        entries
    }
}

fn write(mut file: TrailFile, entries: &Receiver<TrailEntry>) {
    while let Ok(entry) = entries.recv() {
        if let Err(error) = file.append(&entry) {
            tracing::warn!(%error, ?entry, code = NOT_KEPT, "an entry of the audit trail is not kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_an_application_come_with_those_of_the_processor() {
        let directory = tempfile::tempdir().unwrap();
        let trail = Trail::open(directory.path()).unwrap();
        let add = |application: Option<&str>, verb: &str| {
            let what = What::Command { command: verb.into(), result: "done".into() };
            trail.add(TrailEntry::now(application, "root", "", what));
        };
        add(Some("ledger"), "isolate");
        add(Some("orders"), "integrate");
        add(None, "shutdown");
        let said = |application, count| -> Vec<String> {
            trail.latest(application, count).iter().map(|entry| entry.what.to_string()).collect()
        };
        assert_eq!(said(Some("ledger"), 10), ["isolate: done", "shutdown: done"]);
        assert_eq!(said(None, 2), ["integrate: done", "shutdown: done"]);
    }
}
