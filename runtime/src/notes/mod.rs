//! Death notes of this processor (R21): the unit page of a group, the files that outlive a start, the connection that a
//! note leaves by, and the watchdog (R23).
//!
//! The page is overwritten by whatever runs next, so what it holds at a start is put into a file of its own first; the
//! file goes once the note is in the stream and held. An engine that is built in the place of one that hangs gets a page in
//! a file of its own: the thread that hangs has the old one mapped, and writes there if it goes on.
//! Deliberately absent: what is made of a note; the core decides.

pub mod connection;
pub mod watchdog;

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockstep_core::event::EventId;
use lockstep_core::ids::{GroupName, Micros, NodeId, PluginHash, SessionId};
use lockstep_core::note::{DeathNote, NoteKind};
use lockstep_os::unit_page::signals::Guard;
use lockstep_os::unit_page::{Cause, Left, NOTE_BYTES, UnitPage, decode};

/// The most files that are kept; one is left by a death, and goes with the next active.
const FILES_MAX: usize = 64;

/// The page of a group.
const PAGE: &str = "unit.page";

/// Makes a file of the note of a unit that hangs, and takes the page's name away from its file (R23).
///
/// # Errors
/// When the directory can't be written.
pub fn set_aside(directory: &Path, note: &[u8]) -> io::Result<()> {
    keep(directory, note)?;
    fs::remove_file(directory.join(PAGE))
}

/// The files of one group.
#[derive(Debug)]
pub struct NoteFiles {
    kept: Vec<(DeathNote, PathBuf)>,
}

impl NoteFiles {
    /// Opens the page in `directory`, and finds what the processes before this one left.
    ///
    /// # Errors
    /// When the directory can't be used, or the operating system refuses to guard a thread.
    pub fn open(directory: &Path, node: &NodeId) -> io::Result<(Self, Arc<Guard>)> {
        fs::create_dir_all(directory)?;
        let (page, left) = UnitPage::open(&directory.join(PAGE))?;
        if let Some(bytes) = left {
            keep(directory, &bytes)?;
        }
        let guard = Arc::new(Guard::new(Arc::new(page))?);
        Ok((NoteFiles { kept: kept(directory, node)? }, guard))
    }

    /// What was found.
    pub fn notes(&self) -> impl Iterator<Item = &DeathNote> {
        self.kept.iter().map(|(note, _)| note)
    }

    /// A note is held: its files go. Removing a file may wait for the disk, so a thread of its own does it.
    pub fn recorded(&mut self, note: &DeathNote) {
        let same = |kept: &DeathNote| kept.event == note.event && kept.plugin == note.plugin;
        let (gone, kept) = std::mem::take(&mut self.kept).into_iter().partition(|(kept, _)| same(kept));
        self.kept = kept;
        let gone: Vec<(DeathNote, PathBuf)> = gone;
        if gone.is_empty() {
            return;
        }
        let remove = move || {
            for (_, path) in gone {
                if let Err(error) = fs::remove_file(&path) {
                    // It is told again at the next start, and found to be known.
                    tracing::debug!(%error, path = %path.display(), "a death note's file stays");
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("note-files".into()).spawn(remove) {
            tracing::debug!(%error, "a death note's file stays");
        }
    }
}

/// The notes in the files of `directory`; what is none goes.
pub(crate) fn kept(directory: &Path, node: &NodeId) -> io::Result<Vec<(DeathNote, PathBuf)>> {
    let mut kept = Vec::new();
    for file in fs::read_dir(directory)? {
        let path = file?.path();
        if path.extension().is_none_or(|extension| extension != "note") {
            continue;
        }
        // A note has one length; of anything longer one byte too many is enough to see it.
        let mut bytes = Vec::new();
        fs::File::open(&path)?.take(NOTE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        match decode(&bytes).and_then(|left| note(left, node)) {
            Some(note) if kept.len() < FILES_MAX => kept.push((note, path)),
            // Half written, or too many.
            _ => fs::remove_file(&path)?,
        }
    }
    Ok(kept)
}

/// Puts a page's bytes into a file of their own, durably.
fn keep(directory: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = format!("{:032x}.note", lockstep_os::random_u128()?);
    let mut file = fs::File::create_new(directory.join(name))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::File::open(directory)?.sync_all()
}

/// An event's id as a page has it: its kind, session, number and key.
#[must_use]
pub fn in_numbers(event: &EventId) -> (u16, u64, u64, &str) {
    match event {
        EventId::Numbered { session, number } => (0, session.0, *number, ""),
        EventId::Keyed { key } => (1, 0, 0, key),
        EventId::Timer { key, due } => (2, 0, due.0, key),
        EventId::Message { from, number } => (3, from.partition.into(), *number, &from.application),
    }
}

/// What a page tells, in the core's words; `died` left it. None when it names no event.
#[must_use]
pub fn note(left: Left, died: &NodeId) -> Option<DeathNote> {
    let Left { kind, session, number, key, plugin, procedure, unit, cause } = left;
    let event = match kind {
        0 => EventId::Numbered { session: SessionId(session), number },
        1 => EventId::Keyed { key },
        2 => EventId::Timer { key, due: Micros(number) },
        3 => {
            let from = GroupName { application: key, partition: u16::try_from(session).ok()? };
            EventId::Message { from, number }
        }
        _ => return None,
    };
    let kind = match cause {
        Cause::Unknown => NoteKind::Suspected,
        Cause::Killed { signal } => NoteKind::Killed { signal },
        Cause::Hung { ms } => NoteKind::Hung { ms },
    };
    Some(DeathNote { event, plugin: PluginHash(plugin), procedure, unit, died: died.clone(), kind })
}

#[cfg(test)]
mod tests {
    use lockstep_os::unit_page::Piece;

    use super::*;

    /// R23: the thread that hangs has the old page, and what it does there later is not the new one's.
    #[test]
    fn the_page_of_a_unit_that_hangs_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let node = NodeId("a".into());
        let open = || NoteFiles::open(directory.path(), &node).unwrap();
        let piece = |unit| Piece {
            kind: 1,
            session: 0,
            number: 0,
            key: b"order-7",
            plugin: &[3; 32],
            procedure: b"transfer",
            unit,
            hang_ms: 100,
        };
        let (_, hangs) = open();
        hangs.page().begin(&piece(b"debit"));
        let (sequence, _) = hangs.page().running().unwrap();
        let note = hangs.page().give_up(sequence, 120).unwrap();
        set_aside(directory.path(), &note).unwrap();
        let (files, guard) = open();
        let kinds: Vec<_> = files.notes().map(|note| (note.unit.clone(), note.kind)).collect();
        assert_eq!(kinds, [("debit".to_owned(), NoteKind::Hung { ms: 120 })]);
        guard.page().begin(&piece(b"credit"));
        hangs.page().begin(&piece(b"late"));
        assert!(!hangs.page().end());
        assert!(guard.page().running().is_some() && !guard.page().is_given_up());
        assert!(guard.page().end());
    }

    #[test]
    fn what_a_page_holds_at_a_start_is_kept_in_a_file_until_it_is_recorded() {
        let directory = tempfile::tempdir().unwrap();
        let node = NodeId("a".into());
        let open = || NoteFiles::open(directory.path(), &node).unwrap();
        let (files, guard) = open();
        assert_eq!(files.notes().count(), 0);
        let (key, plugin, hang_ms) = (b"order-7", &[3; 32], 100);
        let (procedure, unit) = (b"transfer", b"debit");
        guard.page().begin(&Piece { kind: 1, session: 0, number: 0, key, plugin, procedure, unit, hang_ms });
        drop(guard);
        // As after a kill; the next process runs something else, and is killed too.
        let (files, guard) = open();
        let found: Vec<_> = files.notes().cloned().collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].event, EventId::Keyed { key: "order-7".into() });
        assert_eq!((found[0].kind, found[0].died.clone()), (NoteKind::Suspected, node.clone()));
        let key = b"";
        guard.page().begin(&Piece { kind: 0, session: 4, number: 2, key, plugin, procedure, unit, hang_ms });
        drop(guard);
        let (mut files, _guard) = open();
        assert_eq!(files.notes().count(), 2);
        files.recorded(&found[0]);
        assert_eq!(files.notes().count(), 1);
    }
}
