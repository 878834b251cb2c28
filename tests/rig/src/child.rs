//! Processes that never outlive their owner: killed when dropped, and by the kernel when the owner dies in any way.
//!
//! The kernel's part needs `PR_SET_PDEATHSIG` in the child. Between fork and exec only `unsafe` code can ask for it, so
//! the program `rig` does it, as `rig __guard`, for itself, and then becomes the child's program.
//! The kernel takes the *thread* that made the child for its parent: make children on a thread that lives as long.

use std::ffi::OsStr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::Failure;

/// The argument by which the program `rig` becomes another program, guarded.
pub const GUARD: &str = "__guard";

/// A child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
}

/// A command that `rig` guards; add arguments, then [`Process::spawn`].
#[must_use]
pub fn guarded(rig: &Path, program: &Path) -> Command {
    let mut command = Command::new(rig);
    // A group of its own: a Ctrl-C at the terminal is the owner's to handle.
    command.arg(GUARD).arg(std::process::id().to_string()).arg(program).process_group(0);
    command
}

/// What `rig __guard OWNER PROGRAM ARGUMENTS…` does; returns only when it can't.
pub fn guard(arguments: &[impl AsRef<OsStr>]) -> Failure {
    let [owner, program, rest @ ..] = arguments else {
        return Failure::new("the guard needs an owner and a program");
    };
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return Failure::new(format!("the guard can't ask for its signal: {error}"));
    }
    // If the owner died before the line above, no signal will come.
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().to_string());
    if parent.as_deref().map(OsStr::new) != Some(owner.as_ref()) {
        return Failure::new("the owner is gone");
    }
    let program = PathBuf::from(program.as_ref());
    let error = Command::new(&program).args(rest.iter().map(AsRef::as_ref)).exec();
    Failure::new(format!("{} can't be run: {error}", program.display()))
}

impl Process {
    /// Starts `command`, called `name` in messages.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn(name: impl Into<String>, command: &mut Command) -> Result<Self, Failure> {
        let name = name.into();
        let child =
            command.spawn().map_err(|error| Failure::new(format!("{name} can't be started: {error}")))?;
        Ok(Process { name, child, status: None })
    }

    /// The process, for what is not wrapped here.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    fn signal(&self, signal: Signal) {
        // Not reaped yet, so the id is still this child's.
        if self.status.is_none()
            && let Some(pid) = Pid::from_raw(self.child.id().cast_signed())
        {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// `SIGKILL`, and waits for the end.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if self.status.is_none() {
            self.status = self.child.wait().ok();
        }
    }

    /// `SIGKILL`, without waiting: what is measured after it should not wait for its memory to be freed.
    pub fn kill_and_go_on(&mut self) {
        self.signal(Signal::KILL);
    }

    /// Stops it where it stands (`SIGSTOP`).
    pub fn stop(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on (`SIGCONT`).
    pub fn go_on(&mut self) {
        self.signal(Signal::CONT);
    }

    /// `SIGTERM`, without waiting.
    pub fn ask_to_end(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end in `patience`.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus, Failure> {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if Instant::now() > until {
                return Err(Failure::new(format!("{} did not end in {patience:?}", self.name)));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a guarded program to its end with its output captured.
///
/// # Errors
/// When it can't be run.
pub fn output(command: &mut Command) -> Result<std::process::Output, Failure> {
    command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::new(format!("{} can't be run: {error}", command.get_program().display())))
}

/// How a process ended, in words.
#[must_use]
pub fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown end".into(),
    }
}
