//! A file system of bounded size in memory, where this user may mount one; it goes when it is dropped.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rig::Failure;

/// The file system.
#[derive(Debug)]
pub struct Tmpfs {
    at: PathBuf,
}

impl Tmpfs {
    /// Mounts one of `kib` KiB at `at`, a directory that is made. The reason, where that is not to be had.
    ///
    /// # Errors
    /// When the directory can't be made.
    pub fn mount(at: &Path, kib: u64) -> Result<Result<Self, String>, Failure> {
        std::fs::create_dir_all(at)?;
        let size = format!("size={kib}k,mode=700");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at);
        match command.stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => Ok(Ok(Tmpfs { at: at.to_owned() })),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Ok(Err(format!("no file system in memory can be mounted: {said}")))
            }
            Err(error) => Ok(Err(format!("`mount` can't be run: {error}"))),
        }
    }

    /// Lets nobody write, or lets them again.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn read_only(&self, on: bool) -> Result<(), Failure> {
        let options = if on { "remount,ro" } else { "remount,rw" };
        let status =
            Command::new("mount").args(["-o", options]).arg(&self.at).stdin(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { Err(Failure::new(format!("`mount -o {options}` failed"))) }
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }

    /// Takes all the room that is left.
    ///
    /// # Errors
    /// When something else than the want of room ends it.
    pub fn fill(&self) -> Result<(), Failure> {
        use std::io::Write;
        let mut file = std::fs::File::create(self.ballast())?;
        let piece = vec![0x5a; 64 << 10];
        let mut length = piece.len();
        // Ever smaller pieces, until not a byte more fits.
        while length > 0 {
            match file.write_all(&piece[..length]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => length /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// When it was not taken.
    pub fn make_room(&self) -> Result<(), Failure> {
        Ok(std::fs::remove_file(self.ballast())?)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a process that is still on its way out may have a file open.
        let _ = Command::new("umount").arg("-l").arg(&self.at).stdin(Stdio::null()).status();
    }
}
