//! A private copy of a plugin in memory that nobody can write to any more, not even this process.
//!
//! Deliberately absent: a file on a disk, which could be written over while it is mapped, and a mapped file that
//! is written over kills the host.
//!
//! Invariant: the descriptor stays open for as long as the library is loaded. The dynamic linker knows a library
//! by the path it was opened with, so a number used again would silently give the old code.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};

use crate::bytes::FILE_BYTES_MAX;
use crate::{LoadError, PluginFile, PluginHash};

const SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// A sealed copy.
#[derive(Debug)]
pub(crate) struct SealedCopy {
    descriptor: OwnedFd,
}

impl SealedCopy {
    /// Copies the bytes and seals them.
    pub(crate) fn of(file: &PluginFile) -> Result<Self, LoadError> {
        let failed = |operation| move |source: io::Error| LoadError::NoCopy { operation, source };
        let name = format!("lockstep-plugin-{}", file.hash().short());
        let descriptor = memfd_create(&name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(|error| failed("to create it in memory")(error.into()))?;
        let mut copy = std::fs::File::from(descriptor);
        copy.write_all(file.bytes()).map_err(failed("to write it"))?;
        fcntl_add_seals(&copy, SEALS).map_err(|error| failed("to seal it")(error.into()))?;
        Ok(Self { descriptor: copy.into() })
    }

    /// Takes over a descriptor that another process made, reads it, and says what is in it. Refused unless it is sealed.
    pub(crate) fn inherited(descriptor: OwnedFd) -> Result<(Self, PluginFile), LoadError> {
        let failed = |operation| move |source: io::Error| LoadError::NoCopy { operation, source };
        let seals = fcntl_get_seals(&descriptor).map_err(|error| failed("to see its seals")(error.into()))?;
        if !seals.contains(SEALS) {
            return Err(failed("to find it sealed")(io::Error::from(io::ErrorKind::PermissionDenied)));
        }
        let mut copy = std::fs::File::from(descriptor);
        let len = copy.metadata().map_err(failed("to see its size"))?.len().min(FILE_BYTES_MAX);
        let mut bytes = Vec::with_capacity(len as usize);
        copy.seek(SeekFrom::Start(0)).map_err(failed("to read it"))?;
        (&copy).take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed("to read it"))?;
        let path = path_of(copy.as_fd()).into();
        let file = PluginFile::from_bytes(path, Arc::new(bytes));
        Ok((Self { descriptor: copy.into() }, file))
    }

    /// The path that leads to the copy in this process.
    pub(crate) fn path(&self) -> String {
        path_of(self.descriptor.as_fd())
    }

    /// The descriptor.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// The hash of what the copy really holds, read back from it.
    pub(crate) fn hash(&self) -> io::Result<PluginHash> {
        use sha2::{Digest, Sha256};
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 256 * 1024];
        let mut offset = 0;
        loop {
            let count = rustix::io::pread(&self.descriptor, &mut buffer, offset)?;
            if count == 0 {
                return Ok(PluginHash(digest.finalize().into()));
            }
            digest.update(&buffer[..count]);
            offset += count as u64;
        }
    }
}

fn path_of(descriptor: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_holds_the_bytes_and_cannot_be_written() {
        let file = PluginFile::from_bytes("a.so".into(), Arc::new(b"some bytes".to_vec()));
        let copy = SealedCopy::of(&file).expect("a copy");
        assert_eq!(copy.hash().expect("it can be read"), file.hash());
        let opened = std::fs::OpenOptions::new().write(true).open(copy.path());
        let written = opened.and_then(|mut file| file.write_all(b"x"));
        assert_eq!(written.expect_err("sealed").kind(), io::ErrorKind::PermissionDenied);
        let again = copy.descriptor().try_clone_to_owned().expect("a descriptor");
        let (_, read) = SealedCopy::inherited(again).expect("it is sealed");
        assert_eq!(read.hash(), file.hash());
    }

    #[test]
    fn an_unsealed_copy_of_another_process_is_refused() {
        let descriptor =
            memfd_create("unsealed", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a memfd");
        let error = SealedCopy::inherited(descriptor).expect_err("not sealed");
        assert_eq!(error.code(), "LS0435");
    }
}
