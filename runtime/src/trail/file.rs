//! The audit trail's file: a JSON object a line. When it has twice as many entries as are kept, it is written anew with
//! the latest ones, beside the old, which is then replaced.
//!
//! Invariants: an entry that was appended is durable; a line that a crash has cut off is passed over.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::TrailEntry;

/// What a processor was asked, and what happened in it: the file in its data directory.
pub(super) const OWN: &str = "trail.jsonl";
/// What its partner was asked.
pub(super) const PARTNERS: &str = "trail-partner.jsonl";
/// No more is read than this, in bytes: a file that is longer was not written here.
const BYTES_MAX: u64 = 64 << 20;

pub(super) struct TrailFile {
    path: PathBuf,
    file: Option<File>,
    lines: usize,
    kept: usize,
}

impl TrailFile {
    /// Opens the trail `name` in `directory`; gives the latest `kept` entries.
    pub fn open(directory: &Path, name: &str, kept: usize) -> io::Result<(Self, Vec<TrailEntry>)> {
        let path = directory.join(name);
        let text = match fs::metadata(&path) {
            Ok(found) if found.len() > BYTES_MAX => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it is far too long"));
            }
            Ok(_) => fs::read(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let entries = latest(&text, kept);
        let mut trail = TrailFile { path, file: None, lines: 0, kept };
        // What a crash or a full disk has left of a line does not stay in front of the next one.
        trail.write_anew(&entries)?;
        Ok((trail, entries))
    }

    /// A trail that could not be read: it is begun anew with the next entry.
    pub fn lost(directory: &Path, name: &str, kept: usize) -> Self {
        TrailFile { path: directory.join(name), file: None, lines: 0, kept }
    }

    fn write_anew(&mut self, entries: &[TrailEntry]) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        let mut file = File::create(&beside)?;
        let mut text = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut text, entry)?;
            text.push(b'\n');
        }
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        self.file = Some(file);
        self.lines = entries.len();
        Ok(())
    }

    /// Appends an entry, durably.
    pub fn append(&mut self, entry: &TrailEntry) -> io::Result<()> {
        if self.file.is_none() {
            self.write_anew(&[])?;
        }
        if self.lines >= 2 * self.kept {
            let entries = latest(&fs::read(&self.path)?, self.kept);
            self.write_anew(&entries)?;
        }
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(&line)?;
        self.lines += 1;
        file.sync_data()
    }
}

/// The latest `kept` entries of a file's content.
fn latest(text: &[u8], kept: usize) -> Vec<TrailEntry> {
    let lines = text.split(|byte| *byte == b'\n');
    let mut entries: Vec<_> = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    entries.drain(..entries.len().saturating_sub(kept));
    entries
}

#[cfg(test)]
mod tests {
    use super::super::What;
    use super::*;

    fn entry(number: usize) -> TrailEntry {
        let what = What::Command { command: format!("{number}"), result: "done".into() };
        TrailEntry::now(Some("ledger"), "root", "because", what)
    }

    #[test]
    fn entries_survive_a_restart_and_old_ones_go() {
        let directory = tempfile::tempdir().unwrap();
        let (mut trail, found) = TrailFile::open(directory.path(), OWN, 10).unwrap();
        assert!(found.is_empty());
        let all: Vec<_> = (0..57).map(entry).collect();
        all.iter().for_each(|entry| trail.append(entry).unwrap());
        let lines = fs::read_to_string(directory.path().join(OWN)).unwrap().lines().count();
        assert!((10..=20).contains(&lines), "{lines}");
        drop(trail);
        let (_, found) = TrailFile::open(directory.path(), OWN, 10).unwrap();
        assert_eq!(found, all[47..]);
    }

    #[test]
    fn half_a_line_is_passed_over_and_the_next_one_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let (mut trail, _) = TrailFile::open(directory.path(), OWN, 10).unwrap();
        trail.append(&entry(1)).unwrap();
        drop(trail);
        let path = directory.path().join(OWN);
        let mut torn = File::options().append(true).open(&path).unwrap();
        torn.write_all(b"{\"at_ms\":17,\"appl").unwrap();
        let (mut trail, found) = TrailFile::open(directory.path(), OWN, 10).unwrap();
        assert_eq!(found.len(), 1);
        trail.append(&entry(2)).unwrap();
        let (_, found) = TrailFile::open(directory.path(), OWN, 10).unwrap();
        assert_eq!(found.len(), 2);
    }
}
