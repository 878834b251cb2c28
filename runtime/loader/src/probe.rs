//! The trial run of a plugin, in a process of its own: a plugin that crashes, hangs or leaves by itself does so
//! there, and that is a verdict.
//!
//! The child gets the sealed copy as its standard input and answers with lines of JSON on its standard output, the last of
//! which is the verdict. What is loaded later must be the same [`PluginFile`].
//!
//! Deliberately absent: a sandbox. The trial finds plugins that are broken, not ones that are hostile.
//!
//! Invariant: no child outlives its probe.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::sealed::SealedCopy;
use crate::{ElfReport, LoadError, PluginFile, PluginHash, Reason, elf};

/// The hidden argument by which a host's program is asked to be a probe's child.
pub const PROBE_ARGUMENT: &str = "__probe_plugin";
/// How long a trial run may take where nothing else is said. A whole one takes 10 to 30 ms on an idle machine.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Of the child's output; a description is at most 4 MiB, in hexadecimal digits.
const OUTPUT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the child says, one line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "lockstep_probe", rename_all = "snake_case")]
pub(crate) enum Line {
    /// What it does next.
    Stage { stage: String },
    /// The plugin passed.
    Passed(Box<ProbeReport>),
    /// The plugin was refused, in the words of a [`LoadError`].
    Refused { message: String },
}

/// What a trial run found of a plugin that passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Whose.
    pub hash: PluginHash,
    /// What its file told.
    pub elf: ElfReport,
    /// The plugin's description of itself, as it encodes it.
    #[serde(with = "hexadecimal")]
    pub descriptor: Vec<u8>,
    /// The heap that it held after it was shut down.
    pub live_bytes: u64,
    /// What kept its library mapped at the end. Empty for a plugin that unloads.
    pub kept_because: Vec<Reason>,
    /// How long loading to unloading took.
    pub elapsed_us: u64,
}

/// Runs trials of plugins in child processes.
#[derive(Clone, Debug)]
pub struct Prober {
    program: PathBuf,
    arguments: Vec<OsString>,
    timeout: Duration,
}

impl Default for Prober {
    fn default() -> Self {
        Self::of_this_program()
    }
}

impl Prober {
    /// With this very program as the child, also after its file was replaced. Its `main` must begin with
    /// [`run_if_probe_child`](crate::run_if_probe_child).
    #[must_use]
    pub fn of_this_program() -> Self {
        Self::with_command(PathBuf::from("/proc/self/exe"), [])
    }

    /// With another program; the hidden argument is added after these.
    #[must_use]
    pub fn with_command(program: PathBuf, arguments: impl IntoIterator<Item = OsString>) -> Self {
        Self { program, arguments: arguments.into_iter().collect(), timeout: PROBE_TIMEOUT }
    }

    /// With another time-out.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Checks the file, then tries it in a child process.
    pub fn probe(&self, file: &PluginFile) -> Result<ProbeReport, LoadError> {
        elf::check(file.bytes())?;
        let copy = SealedCopy::of(file)?;
        let failed = |operation| move |source: io::Error| LoadError::ProbeNotStarted { operation, source };
        let input = copy.descriptor().try_clone_to_owned().map_err(failed("to pass the copy on"))?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .arg(PROBE_ARGUMENT)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::from(input))
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed("to start a process"))?;
        let mut trial = Trial { child, output: Vec::new() };
        let status = trial.run(Instant::now() + self.timeout).map_err(failed("to follow the process"))?;
        self.verdict(file, &trial, status)
    }

    fn verdict(
        &self,
        file: &PluginFile,
        trial: &Trial,
        status: Option<ExitStatus>,
    ) -> Result<ProbeReport, LoadError> {
        let (stage, last) = trial.lines();
        let Some(status) = status else {
            return Err(LoadError::ProbeHung { timeout_ms: self.timeout.as_millis() as u64, stage });
        };
        let silent = |detail: String| LoadError::ProbeSilent { detail, argument: PROBE_ARGUMENT };
        match last {
            Some(Line::Refused { message }) => Err(LoadError::ProbeRefused { message }),
            _ if !status.success() => {
                let ending = status.signal().map_or_else(
                    || format!("exit status {}", status.code().unwrap_or_default()),
                    |signal| format!("{}, signal {signal}", signal_name(signal)),
                );
                Err(LoadError::ProbeDied { ending, stage })
            }
            Some(Line::Passed(report)) if report.hash == file.hash() => Ok(*report),
            Some(Line::Passed(report)) => Err(LoadError::OtherBytes {
                expected: file.hash().to_string(),
                found: report.hash.to_string(),
            }),
            Some(Line::Stage { .. }) => {
                Err(LoadError::ProbeDied { ending: "exit status 0".to_owned(), stage })
            }
            None => Err(silent(format!("{} bytes of other output", trial.output.len()))),
        }
    }
}

/// A child under way, killed and reaped when dropped.
struct Trial {
    child: Child,
    output: Vec<u8>,
}

impl Trial {
    /// Reads what the child says until it ends; `None` when it did not in time, and was killed.
    fn run(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        let Some(stdout) = self.child.stdout.take() else {
            return Err(io::Error::other("its output is not a pipe"));
        };
        let mut stdout = File::from(OwnedFd::from(stdout));
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let ended = pidfd_open(pid.ok_or(io::ErrorKind::InvalidData)?, PidfdFlags::empty())?;
        let mut is_open = true;
        loop {
            let remaining = deadline.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return Ok(None);
            }
            let timeout = Timespec::try_from(remaining).map_err(io::Error::other)?;
            let mut descriptors = [
                PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::IN),
            ];
            let watched = if is_open { &mut descriptors[..] } else { &mut descriptors[..1] };
            match poll(watched, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let has_ended = !descriptors[0].revents().is_empty();
            let has_output = is_open && !descriptors[1].revents().is_empty();
            if has_output {
                is_open = self.take_output(&mut stdout)?;
            } else if has_ended {
                // All that the child itself wrote was read; a child of it may hold the pipe open for ever.
                return self.child.wait().map(Some);
            }
        }
    }

    /// Takes what is there; false at the end of the output.
    fn take_output(&mut self, stdout: &mut File) -> io::Result<bool> {
        let mut buffer = [0; 64 * 1024];
        let count = stdout.read(&mut buffer)?;
        if self.output.len() + count > OUTPUT_BYTES_MAX {
            return Err(io::Error::other("it says too much"));
        }
        self.output.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }

    /// How far the child came, and its last word.
    fn lines(&self) -> (String, Option<Line>) {
        lines(&self.output)
    }
}

fn lines(output: &[u8]) -> (String, Option<Line>) {
    let mut stage = "not yet loading it".to_owned();
    let mut last = None;
    for line in output.split(|byte| *byte == b'\n') {
        // A test program's own lines stand in between.
        let Ok(line) = serde_json::from_slice::<Line>(line) else { continue };
        if let Line::Stage { stage: next } = &line {
            stage.clone_from(next);
        }
        last = Some(line);
    }
    (stage, last)
}

/// How far a child came that has said `output`, and its last word as it would say it: for `tests/fuzz` alone.
#[doc(hidden)]
#[must_use]
pub fn said_by_child(output: &[u8]) -> (String, Option<Vec<u8>>) {
    let (stage, last) = lines(output);
    (stage, last.map(|line| serde_json::to_vec(&line).expect("a line can be written as JSON")))
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGSEGV => "a bad memory access",
        libc::SIGBUS => "a bus error",
        libc::SIGILL => "an illegal instruction",
        libc::SIGTRAP => "a trap",
        libc::SIGFPE => "an arithmetic error",
        libc::SIGABRT => "an abort",
        libc::SIGKILL => "killed, perhaps for want of memory",
        libc::SIGSYS => "a forbidden system call",
        _ => "a signal",
    }
}

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        use std::fmt::Write;
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(D::Error::custom("expected hexadecimal digits"));
        }
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(D::Error::custom))
            .collect()
    }
}
