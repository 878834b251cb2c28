//! A file that was written ahead, over which records go round and round: no header, no checksum, no end. It is what a disk
//! takes at best, and what the candidates are measured against.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use lockstep_core::entry::Entry;

use super::{Failure, Reader, RedoLog, Setting, tree};

/// The file and where the next record goes.
pub struct BareFile {
    file: File,
    synced: bool,
    size: u64,
    at: u64,
    buffer: Vec<u8>,
}

impl BareFile {
    pub fn open(setting: &Setting) -> Result<BareFile, Failure> {
        std::fs::create_dir_all(&setting.directory)?;
        let path = setting.directory.join(tree::FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        let zeros = vec![0; 1 << 20];
        let size = setting.recent_bytes.next_multiple_of(zeros.len() as u64);
        for at in (0..size).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        Ok(BareFile { file, synced: setting.synced, size, at: 0, buffer: Vec::new() })
    }
}

impl RedoLog for BareFile {
    fn commit(&mut self, entries: &[Arc<Entry>]) -> Result<(), Failure> {
        super::encode(entries, &mut self.buffer)?;
        if self.at + self.buffer.len() as u64 > self.size {
            self.at = 0;
        }
        self.file.write_all_at(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        if self.synced {
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn reader(&self) -> Option<Box<dyn Reader>> {
        None
    }
}
