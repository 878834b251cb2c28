//! The lock on a database directory: one process at a time.
//!
//! Deliberately absent: waiting. A directory in use is an error that a person must see. The lock file is
//! never removed, because a removed file can be locked by one process while another locks its successor.
//!
//! Invariant: the descriptor is closed on exec, so that no child of a dead process keeps its lock.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

const FILE_NAME: &str = "lock";

/// Why a directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryLockError {
    /// Another process has it.
    #[error(
        "LS0105: the database directory {} is in use by another process{}; stop that process, or give this one a directory of its own",
        directory.display(),
        pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
    )]
    Held {
        /// The directory.
        directory: PathBuf,
        /// The process that has it, as far as it is known.
        pid: Option<u32>,
    },
    /// The lock file could not be opened, locked or written.
    #[error(
        "LS0113: the database directory {} could not be locked: {source}; check that it exists, that it may be written, and that its disk has room",
        directory.display()
    )]
    Io {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A directory that no other process has while this lives. The kernel gives it up when the process dies.
#[derive(Debug)]
pub struct DirectoryLock {
    file: File,
    directory: PathBuf,
}

impl DirectoryLock {
    /// Takes the directory, or says who has it.
    pub fn take(directory: &Path) -> Result<Self, DirectoryLockError> {
        let failed = |source: io::Error| DirectoryLockError::Io { directory: directory.to_owned(), source };
        let descriptor = open(
            directory.join(FILE_NAME),
            OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::RUSR | Mode::WUSR,
        )
        .map_err(|error| failed(error.into()))?;
        let mut file = File::from(descriptor);
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let pid = read_pid(&mut file);
                return Err(DirectoryLockError::Held { directory: directory.to_owned(), pid });
            }
            Err(error) => return Err(failed(error.into())),
        }
        write_pid(&mut file).map_err(failed)?;
        Ok(Self { file, directory: directory.to_owned() })
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // The pid goes while the lock is still held, so that it is never a successor's that is wiped out.
        let _ = self.file.set_len(0);
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_has_it_and_gets_it_afterwards() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let first = DirectoryLock::take(directory.path()).expect("nobody has it");
        let error = DirectoryLock::take(directory.path()).expect_err("it is taken");
        let text = error.to_string();
        match error {
            DirectoryLockError::Held { pid, .. } => assert_eq!(pid, Some(std::process::id())),
            DirectoryLockError::Io { .. } => panic!("held, not failed: {text}"),
        }
        assert!(text.starts_with("LS0105: "), "{text}");
        drop(first);
        DirectoryLock::take(directory.path()).expect("it is free again");
    }

    #[test]
    fn a_child_does_not_keep_its_parents_lock() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let lock = DirectoryLock::take(directory.path()).expect("nobody has it");
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("a child starts");
        drop(lock);
        let again = DirectoryLock::take(directory.path());
        drop(child.stdin.take());
        child.wait().expect("the child ends");
        again.expect("the child has no descriptor of the lock");
    }

    #[test]
    fn a_missing_directory_is_an_error_that_says_what_to_do() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let error = DirectoryLock::take(&directory.path().join("nowhere")).expect_err("there is none");
        assert!(error.to_string().starts_with("LS0113: "), "{error}");
    }
}
