//! A small library that is loaded before the C library (`shim.c`): syncs that fail, and a clock that is set.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rig::Failure;
use rig::node::Settings;

const SOURCE: &str = include_str!("shim.c");

/// The library, and the page by which one processor's is told what to do.
#[derive(Debug)]
pub struct Shim {
    library: PathBuf,
    page: File,
    path: PathBuf,
}

impl Shim {
    /// Compiles it in `directory`. The reason, where there is no C compiler.
    ///
    /// # Errors
    /// When a file can't be written.
    fn build(directory: &Path) -> Result<Result<Self, String>, Failure> {
        std::fs::create_dir_all(directory)?;
        let (source, library) = (directory.join("shim.c"), directory.join("shim.so"));
        std::fs::write(&source, SOURCE)?;
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let mut command = Command::new(&compiler);
        command.args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).arg("-ldl");
        match command.stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                return Err(Failure::new(format!(
                    "the shim can't be compiled: {}",
                    String::from_utf8_lossy(&output.stderr)
                )));
            }
            Err(error) => return Ok(Err(format!("there is no C compiler `{compiler}`: {error}"))),
        }
        let path = directory.join("shim.page");
        std::fs::write(&path, [0; 16])?;
        let page = File::options().write(true).open(&path)?;
        Ok(Ok(Shim { library, page, path }))
    }

    /// One for each processor, as [`Shim::build`] makes them.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn pair(directory: &Path) -> Result<Result<[Self; 2], String>, Failure> {
        let build = |name: &str| Shim::build(&directory.join(name));
        Ok(match (build("shim-a")?, build("shim-b")?) {
            (Ok(a), Ok(b)) => Ok([a, b]),
            (Err(reason), _) | (_, Err(reason)) => Err(reason),
        })
    }

    /// The settings of a processor that has it.
    pub fn settings(&self) -> Settings {
        let environment =
            vec![("LD_PRELOAD".into(), self.library.clone()), ("LOCKSTEP_FAULTS".into(), self.path.clone())];
        Settings { environment, ..Settings::default() }
    }

    /// The next `count` syncs fail.
    ///
    /// # Errors
    /// When the page can't be written.
    pub fn fail_syncs(&self, count: i64) -> Result<(), Failure> {
        Ok(self.page.write_all_at(&count.to_ne_bytes(), 0)?)
    }

    /// The clock shows so many seconds more than the machine's.
    ///
    /// # Errors
    /// When the page can't be written.
    pub fn set_clock(&self, seconds: i64) -> Result<(), Failure> {
        Ok(self.page.write_all_at(&seconds.to_ne_bytes(), 8)?)
    }
}
