//! The audit trail of a processor: which operator asked for what, when and why, what came of it, and every change of an
//! upgrade and of its own role. Kept on disk, the latest [`KEPT`] entries of it.
//!
//! Commands stand in the trails of both processors, whichever was asked: the partner's are kept in a file beside, the
//! latest [`KEPT`] as well. Each side says how far it has the other's, when a link comes up and when the other has more,
//! and gets what is missing in pieces; what was asked while the partner was away reaches it when it is back, as far as it
//! is still kept. Changes of an upgrade are told by each for itself, as they are in the stream.
//!
//! Deliberately absent: anything that rests on it. A disk that fails loses entries, and the log says so.
//! Invariants: who adds an entry never waits for the disk; entries are in the order in which they were added; no entry of
//! the partner's comes twice.

mod entry;
mod file;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use lockstep_core::ids::NodeId;

pub use entry::{TrailEntry, What};
use file::TrailFile;

/// So many of the latest entries are kept, and as many of the partner's.
pub const KEPT: usize = 1_000;
/// So many may wait for the disk.
const WAITING_MAX: usize = 256;
/// So many go to the partner at once.
const PIECE: usize = 16;
/// The trail can't be read or written.
const NOT_KEPT: &str = "LS0830";

/// A processor's audit trail. Cheap to clone.
#[derive(Clone)]
pub struct Trail {
    node: NodeId,
    own: Kept,
    partners: Kept,
}

impl Trail {
    /// Opens the trail in the data directory of a processor, and starts the threads that write it.
    ///
    /// # Errors
    /// When there are no threads left. A file that can't be read is begun anew, and the log says so.
    pub fn open(data: &Path, node: &NodeId) -> std::io::Result<Self> {
        let (own, partners) = (Kept::open(data, file::OWN)?, Kept::open(data, file::PARTNERS)?);
        Ok(Trail { node: node.clone(), own, partners })
    }

    /// Adds an entry of this processor.
    pub fn add(&self, mut entry: TrailEntry) {
        let mut latest = self.own.latest();
        // A trail that was lost goes on behind what the partner may have of it.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        entry.node.clone_from(&self.node.0);
        entry.number = last_of(&latest).saturating_add(1).max(now);
        self.own.push(&mut latest, entry);
    }

    /// How far this side has what the partner was asked.
    #[must_use]
    pub fn partners_last(&self) -> u64 {
        last_of(&self.partners.latest())
    }

    /// The next commands of this side behind `number`, for the partner; none when it has them all.
    #[must_use]
    pub fn behind(&self, number: u64) -> Vec<TrailEntry> {
        let latest = self.own.latest();
        let commands = latest.iter().filter(|entry| matches!(entry.what, What::Command { .. }));
        commands.filter(|entry| entry.number > number).take(PIECE).cloned().collect()
    }

    /// Takes commands that the partner was asked; true when there were any that this side did not have.
    pub fn take(&self, partner: &NodeId, entries: Vec<TrailEntry>) -> bool {
        let mut latest = self.partners.latest();
        let before = last_of(&latest);
        for entry in entries.into_iter().take(PIECE).filter_map(|entry| entry.of_partner(partner)) {
            if entry.number > last_of(&latest) {
                self.partners.push(&mut latest, entry);
            }
        }
        last_of(&latest) > before
    }

    /// The latest `count` entries of both, oldest first by the clocks that they were noted by; those of `application` and of
    /// the whole processor, if it is given.
    #[must_use]
    pub fn latest(&self, application: Option<&str>, count: usize) -> Vec<TrailEntry> {
        let wanted = |entry: &&TrailEntry| {
            application.is_none()
                || entry.application.is_none()
                || entry.application.as_deref() == application
        };
        let mut entries = Vec::new();
        for kept in [&self.own, &self.partners] {
            entries.extend(kept.latest().iter().filter(wanted).cloned());
        }
        entries.sort_by_key(|entry| entry.at_ms);
        entries.drain(..entries.len().saturating_sub(count));
        entries
    }
}

/// The latest entries in the file of a processor's own trail in `data`.
pub(crate) fn entries_in(data: &Path) -> std::io::Result<Vec<TrailEntry>> {
    TrailFile::open(data, file::OWN, KEPT).map(|(_, entries)| entries)
}

fn last_of(entries: &VecDeque<TrailEntry>) -> u64 {
    entries.back().map_or(0, |entry| entry.number)
}

/// One file of it: the latest entries, and the way to its thread.
#[derive(Clone)]
struct Kept {
    latest: Arc<Mutex<VecDeque<TrailEntry>>>,
    writer: Sender<TrailEntry>,
}

impl Kept {
    fn open(data: &Path, name: &str) -> std::io::Result<Self> {
        let (file, found) = TrailFile::open(data, name, KEPT).unwrap_or_else(|error| {
            tracing::warn!(%error, name, code = NOT_KEPT, "the audit trail can't be read");
            (TrailFile::lost(data, name, KEPT), Vec::new())
        });
        let (writer, entries) = crossbeam_channel::bounded(WAITING_MAX);
        std::thread::Builder::new().name("trail".into()).spawn(move || write(file, &entries))?;
        Ok(Kept { latest: Arc::new(Mutex::new(found.into())), writer })
    }

    fn latest(&self) -> MutexGuard<'_, VecDeque<TrailEntry>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under the lock, so that the file has the same order.
    fn push(&self, latest: &mut VecDeque<TrailEntry>, entry: TrailEntry) {
        if latest.len() >= KEPT {
            latest.pop_front();
        }
        latest.push_back(entry.clone());
        if let Err(TrySendError::Full(entry)) = self.writer.try_send(entry) {
            tracing::warn!(
                ?entry,
                code = NOT_KEPT,
                "an entry of the audit trail is not kept: the disk is too slow"
            );
        }
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

    fn trail(directory: &Path, node: &str) -> Trail {
        Trail::open(directory, &NodeId(node.into())).unwrap()
    }

    fn add(trail: &Trail, application: Option<&str>, verb: &str) {
        let what = What::Command { command: verb.into(), result: "done".into() };
        trail.add(TrailEntry::now(application, "root", "", what));
    }

    fn said(trail: &Trail, application: Option<&str>, count: usize) -> Vec<String> {
        trail.latest(application, count).iter().map(|entry| entry.what.to_string()).collect()
    }

    /// What a link does: `to` says how far it is until there is no more.
    fn pass(from: &Trail, to: &Trail) -> usize {
        let mut pieces = 0;
        while to.take(&from.node, from.behind(to.partners_last())) {
            pieces += 1;
        }
        pieces
    }

    #[test]
    fn the_latest_of_an_application_come_with_those_of_the_processor() {
        let directory = tempfile::tempdir().unwrap();
        let trail = trail(directory.path(), "a");
        add(&trail, Some("ledger"), "isolate");
        add(&trail, Some("orders"), "integrate");
        add(&trail, None, "shutdown");
        assert_eq!(said(&trail, Some("ledger"), 10), ["isolate: done", "shutdown: done"]);
        assert_eq!(said(&trail, None, 2), ["integrate: done", "shutdown: done"]);
    }

    #[test]
    fn commands_reach_the_partner_once_each_and_other_entries_do_not() {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let (a, b) = (trail(directories[0].path(), "a"), trail(directories[1].path(), "b"));
        (0..40).for_each(|at| add(&a, Some("ledger"), &format!("switchover {at}")));
        let active = What::Role { role: lockstep_core::command::Role::Active, term: 1, in_sync: 2 };
        a.add(TrailEntry::now(None, "", "", active));
        add(&b, Some("ledger"), "isolate");
        assert_eq!(pass(&a, &b), 3, "pieces are bounded");
        assert_eq!(pass(&a, &b), 0);
        assert_eq!(said(&b, None, 100).len(), 41);
        assert!(b.latest(None, 100).iter().any(|entry| entry.node == "b") && pass(&b, &a) == 1);
        // A piece that comes again, or is not the partner's own, or none of its commands, adds nothing.
        let again = a.behind(0);
        assert!(!b.take(&a.node, again.clone()));
        let foreign = TrailEntry { node: "c".into(), number: u64::MAX, ..again[0].clone() };
        let mut of_a = a.latest(None, 100).into_iter();
        let role = of_a.find(|entry| matches!(entry.what, What::Role { .. })).unwrap();
        assert!(!b.take(&a.node, vec![foreign, TrailEntry { number: u64::MAX, ..role }]));
        assert_eq!(said(&b, None, 100).len(), 41);
    }

    #[test]
    fn what_was_asked_while_the_partner_was_away_reaches_it_also_over_restarts_and_a_lost_trail() {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [at_a, at_b] = [directories[0].path(), directories[1].path()];
        let a = trail(at_a, "a");
        add(&a, None, "first");
        let b = trail(at_b, "b");
        pass(&a, &b);
        settled(at_b, file::PARTNERS, 1);
        add(&a, None, "second");
        settled(at_a, file::OWN, 2);
        let (a, b) = (trail(at_a, "a"), trail(at_b, "b"));
        pass(&a, &b);
        assert_eq!(said(&b, None, 10), ["first: done", "second: done"]);
        // Its own file is gone: the numbers go on all the same.
        std::fs::remove_file(at_a.join(file::OWN)).unwrap();
        let a = trail(at_a, "a");
        add(&a, None, "third");
        pass(&a, &b);
        assert_eq!(said(&b, None, 10).pop().unwrap(), "third: done");
    }

    /// Waits until the thread has written so many lines.
    fn settled(directory: &Path, name: &str, lines: usize) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while std::fs::read_to_string(directory.join(name)).unwrap_or_default().lines().count() < lines {
            assert!(std::time::Instant::now() < until, "{name} is not written");
            std::thread::yield_now();
        }
    }
}
