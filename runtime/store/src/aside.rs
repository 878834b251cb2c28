//! Pieces of memory that wait in a file for their turn.
//!
//! The file has no name while it is written: it is gone with whoever uses it, however that ends. Nothing in it is durable, nor has
//! it to be: it is made anew from the redo.

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use crate::disk::{Disk, DiskFile};
use crate::error::{DuringExt, StoreError};
use crate::segment::{self, remove_if_there};

/// Where a piece waits.
#[derive(Debug)]
pub(crate) struct Piece {
    at: u64,
    bytes: usize,
    checksum: u64,
}

/// The file, made with the first piece.
#[derive(Debug)]
pub(crate) struct Aside<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
    file: Option<Box<dyn DiskFile>>,
    end: u64,
}

impl<'a> Aside<'a> {
    /// In a file of the store whose directory is `dir`.
    pub fn new(disk: &'a dyn Disk, dir: &Path) -> Self {
        Aside { disk, path: segment::changes(dir), file: None, end: 0 }
    }

    /// Sets `bytes` aside.
    pub fn put(&mut self, bytes: &[u8]) -> Result<Piece, StoreError> {
        if self.file.is_none() {
            // One that a crash left before its name was gone.
            remove_if_there(self.disk, &self.path)?;
            let file = self.disk.create(&self.path).during("create", &self.path)?;
            remove_if_there(self.disk, &self.path)?;
            self.file = Some(file);
        }
        let file = self.file.as_ref().expect("it was just made");
        file.write_at(self.end, bytes).during("write to", &self.path)?;
        let piece = Piece { at: self.end, bytes: bytes.len(), checksum: xxh3_64(bytes) };
        self.end += bytes.len() as u64;
        Ok(piece)
    }

    /// Appends `piece` to `into`. It is damage when it is not what was set aside: the disk gives back something else than it took
    /// (R26).
    pub fn fetch(&self, piece: &Piece, into: &mut Vec<u8>) -> Result<(), StoreError> {
        let file = self.file.as_ref().expect("a piece was put there");
        let from = into.len();
        into.resize(from + piece.bytes, 0);
        file.read_at(piece.at, &mut into[from..]).during("read", &self.path)?;
        if xxh3_64(&into[from..]) == piece.checksum {
            return Ok(());
        }
        Err(StoreError::damaged(&self.path, format!("{} bytes at {} have changed", piece.bytes, piece.at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim_disk::SimDisk;

    #[test]
    fn pieces_come_back_as_they_were_and_the_file_has_no_name() {
        let (disk, dir) = (SimDisk::new(), Path::new("/d"));
        disk.create_dir_all(dir).unwrap();
        // What a crash has left.
        disk.create(&segment::changes(dir)).unwrap().write_at(0, b"old").unwrap();
        let mut aside = Aside::new(&disk, dir);
        let pieces: Vec<Piece> =
            [&b"one"[..], b"", b"three"].iter().map(|bytes| aside.put(bytes).unwrap()).collect();
        assert_eq!(disk.files(), Vec::<PathBuf>::new());
        let mut found = b"before ".to_vec();
        pieces.iter().rev().for_each(|piece| aside.fetch(piece, &mut found).unwrap());
        assert_eq!(found, b"before threeone");
    }

    #[test]
    fn a_piece_that_has_changed_is_damage() {
        let (disk, dir) = (SimDisk::new(), Path::new("/d"));
        disk.create_dir_all(dir).unwrap();
        let mut aside = Aside::new(&disk, dir);
        let piece = aside.put(b"what was written").unwrap();
        aside.file.as_ref().unwrap().write_at(3, b"!").unwrap();
        let error = aside.fetch(&piece, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}
