//! A plugin's file, read once. What is hashed, checked and probed are these bytes, and these bytes are
//! loaded: the file may be replaced or written over meanwhile.
//!
//! Deliberately absent: memory-mapping the file; a mapped file that is written over kills its reader.
//!
//! Invariant: `hash` is the SHA-256 of `bytes`, and both never change.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::LoadError;

/// The largest plugin file that is read.
pub const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The SHA-256 of a plugin's file. In text, and in JSON, 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PluginHash(pub [u8; 32]);

impl PluginHash {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The first twelve digits, as they are shown to people.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl From<PluginHash> for String {
    fn from(hash: PluginHash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for PluginHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl std::str::FromStr for PluginHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "a plugin's hash has 64 hexadecimal digits";
        let mut hash = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(EXPECTED);
        }
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| EXPECTED)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| EXPECTED)?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for PluginHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PluginHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PluginHash({self})")
    }
}

/// The bytes of a plugin and their hash.
#[derive(Clone)]
pub struct PluginFile {
    path: PathBuf,
    bytes: Arc<Vec<u8>>,
    hash: PluginHash,
}

impl fmt::Debug for PluginFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginFile")
            .field("path", &self.path)
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

impl PluginFile {
    /// Reads a file once, whole.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        let unreadable = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                LoadError::Missing { path: path.to_owned() }
            }
            _ => LoadError::Unreadable { path: path.to_owned(), source },
        };
        // Looked at before it is opened: to open a pipe would wait for its writer.
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() {
            let found = if metadata.is_dir() { "a directory" } else { "a device, a pipe or a socket" };
            return Err(LoadError::NotAFile { path: path.to_owned(), found });
        }
        let too_large =
            |bytes| LoadError::TooLarge { path: path.to_owned(), bytes, bytes_max: FILE_BYTES_MAX };
        if metadata.len() > FILE_BYTES_MAX {
            return Err(too_large(metadata.len()));
        }
        let mut bytes = Vec::with_capacity(metadata.len() as usize);
        // One more than allowed, to see a file that grows while it is read.
        File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
            .map_err(unreadable)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(too_large(bytes.len() as u64));
        }
        if bytes.is_empty() {
            return Err(LoadError::Empty { path: path.to_owned() });
        }
        Ok(Self::from_bytes(path.to_owned(), Arc::new(bytes)))
    }

    /// Bytes that came another way, from a peer or from a test; `path` is for messages.
    #[must_use]
    pub fn from_bytes(path: PathBuf, bytes: Arc<Vec<u8>>) -> Self {
        let hash = PluginHash::of(&bytes);
        Self { path, bytes, hash }
    }

    /// Where it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &Arc<Vec<u8>> {
        &self.bytes
    }

    /// Their hash.
    #[must_use]
    pub fn hash(&self) -> PluginHash {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(path: &Path) -> String {
        PluginFile::read(path).expect_err("no plugin").code()
    }

    #[test]
    fn what_is_no_file_is_named() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(code(&directory.path().join("nowhere.so")), "LS0401");
        assert_eq!(code(directory.path()), "LS0402");
        assert_eq!(code(Path::new("/dev/null")), "LS0402");
        let empty = directory.path().join("empty.so");
        std::fs::write(&empty, b"").expect("a file");
        assert_eq!(code(&empty), "LS0403");
        assert_eq!(code(&empty.join("below")), "LS0401");
    }

    #[test]
    fn a_huge_file_is_refused_without_reading_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let huge = directory.path().join("huge.so");
        File::create(&huge).and_then(|file| file.set_len(FILE_BYTES_MAX + 1)).expect("a sparse file");
        assert_eq!(code(&huge), "LS0404");
    }

    #[test]
    fn the_hash_is_that_of_the_bytes_read_whatever_the_file_becomes() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("a.so");
        std::fs::write(&path, b"abc").expect("a file");
        let file = PluginFile::read(&path).expect("a file with bytes");
        std::fs::write(&path, b"other").expect("written over");
        assert_eq!(&file.bytes()[..], b"abc");
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(file.hash().to_string(), known);
        assert_eq!(file.hash().short(), "ba7816bf8f01");
        assert_eq!(known.parse(), Ok(file.hash()));
        assert!("ba78".parse::<PluginHash>().is_err() && "+1".repeat(32).parse::<PluginHash>().is_err());
    }
}
