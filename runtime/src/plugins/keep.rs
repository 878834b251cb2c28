//! The keep: plugin files by hash, in the data directory.
//!
//! What was loaded or is to be loaded is kept, so that both versions of a campaign are on both processors until it
//! closes (R29), and a restarted processor finds what it ran. A file is written under another name, synced, renamed;
//! what is read is trusted only if its hash is that of its name.
//! Deliberately absent: removal; files are small, and an operator may remove those that no version needs.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lockstep_core::ids::PluginHash;
use lockstep_loader::{FILE_BYTES_MAX, PluginFile};

/// How much of a file is written between syncs, in bytes: the redo log shares the disk, and its syncs, which answers
/// wait for, would otherwise wait behind a whole file.
const PIECE_BYTES: usize = 256 << 10;

/// The hash of a file, which was taken when it was read.
#[must_use]
pub fn hash_of(file: &PluginFile) -> PluginHash {
    PluginHash(file.hash().0)
}

/// Whether the disk of `keep` has `bytes` more.
///
/// # Errors
/// A sentence, when it has not, or can't be asked.
pub fn room_for(keep: &Keep, bytes: u64) -> Result<(), String> {
    let directory = &*keep.directory;
    let found = rustix::fs::statvfs(directory)
        .map_err(|error| format!("the room in {} can't be found out: {error}", directory.display()))?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    if free >= bytes {
        return Ok(());
    }
    let mb = |bytes: u64| bytes.div_ceil(1 << 20);
    Err(format!(
        "the upgrade needs {} MB in {}, and {} MB are free",
        mb(bytes),
        directory.display(),
        free >> 20
    ))
}

/// A directory of plugin files. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Keep {
    directory: Arc<PathBuf>,
}

impl Keep {
    /// The keep in `directory`, which is made if it is not there.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn open(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        Ok(Keep { directory: Arc::new(directory.to_owned()) })
    }

    /// Where the file `hash` is or would be.
    #[must_use]
    pub fn path(&self, hash: PluginHash) -> PathBuf {
        self.directory.join(format!("{hash}.so"))
    }

    /// The file `hash`, if it is kept and whole.
    ///
    /// # Errors
    /// When the file is there and can't be read.
    pub fn get(&self, hash: PluginHash) -> io::Result<Option<PluginFile>> {
        let path = self.path(hash);
        let found = read(&path)?.map(|bytes| PluginFile::from_bytes(path, Arc::new(bytes)));
        Ok(found.filter(|file| {
            let is_whole = hash_of(file) == hash;
            if !is_whole {
                tell_damage(hash);
            }
            is_whole
        }))
    }

    /// Keeps a file.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn put(&self, file: &PluginFile) -> io::Result<PluginHash> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let (hash, bytes) = (hash_of(file), file.bytes());
        match read(&self.path(hash))? {
            Some(kept) if kept == **bytes => return Ok(hash),
            Some(_) => tell_damage(hash),
            None => {}
        }
        let mark = MADE.fetch_add(1, Ordering::Relaxed);
        let temporary = self.directory.join(format!(".{hash}.{}.{mark}", std::process::id()));
        let written = File::create(&temporary).and_then(|mut file| {
            for piece in bytes.chunks(PIECE_BYTES) {
                file.write_all(piece)?;
                file.sync_data()?;
            }
            file.sync_all()
        });
        let named = written.and_then(|()| std::fs::rename(&temporary, self.path(hash)));
        if let Err(error) = named {
            let _ = std::fs::remove_file(&temporary);
            return Err(error);
        }
        File::open(&*self.directory)?.sync_all()?;
        Ok(hash)
    }
}

/// The bytes of a file that may not be there.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // One byte more than any plugin file: a longer one was not written here, and has another hash.
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn tell_damage(hash: PluginHash) {
    tracing::warn!(%hash, code = "LS0442", "a kept plugin file is damaged and counts as missing");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_plugin() -> PluginFile {
        PluginFile::from_bytes("a.so".into(), Arc::new(b"a plugin".to_vec()))
    }

    #[test]
    fn more_than_any_disk_has_is_no_room() {
        let directory = tempfile::tempdir().unwrap();
        let keep = Keep::open(directory.path()).unwrap();
        room_for(&keep, 1).unwrap();
        let why = room_for(&keep, u64::MAX).unwrap_err();
        assert!(why.contains("needs") && why.contains("are free"), "{why}");
    }

    #[test]
    fn what_is_kept_comes_back_and_damage_counts_as_missing() {
        let directory = tempfile::tempdir().unwrap();
        let keep = Keep::open(&directory.path().join("plugins")).unwrap();
        let hash = keep.put(&a_plugin()).unwrap();
        assert_eq!(**keep.get(hash).unwrap().unwrap().bytes(), *b"a plugin");
        assert!(keep.get(PluginHash([1; 32])).unwrap().is_none());
        std::fs::write(keep.path(hash), b"a plugim").unwrap();
        assert!(keep.get(hash).unwrap().is_none());
        keep.put(&a_plugin()).unwrap();
        assert_eq!(**keep.get(hash).unwrap().unwrap().bytes(), *b"a plugin", "a damaged file is replaced");
    }
}
