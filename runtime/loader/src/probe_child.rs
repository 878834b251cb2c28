//! The other side of a probe: what the child process does with the plugin.
//!
//! Deliberately absent: anything of the host. The child has no groups, no sockets, no configuration.
//!
//! Invariant: what the plugin prints goes to the standard error, so that it cannot be taken for a verdict.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use lockstep_plugin_api::abi::{Begun, Bytes, HostServices, encoding};

use crate::loaded::{LoadedPlugin, PluginLease, Unload, load_copy};
use crate::probe::{Line, PROBE_ARGUMENT, ProbeReport};
use crate::sealed::SealedCopy;
use crate::sink::{EntryError, collect};
use crate::{LoadError, PluginFile, elf};

/// Becomes a probe's child if this process was started as one. To be called first thing in the `main` of every host.
pub fn run_if_probe_child() {
    if std::env::args_os().skip(1).any(|argument| argument == PROBE_ARGUMENT) {
        probe_child_main()
    }
}

/// Tries the plugin that the standard input holds, says what came of it, and ends the process.
pub fn probe_child_main() -> ! {
    let _ = lockstep_os::core_dumps_off();
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let status = match Reporter::take_over() {
        Ok((reporter, plugin)) => {
            let line = match run(&reporter, plugin) {
                Ok(report) => Line::Passed(Box::new(report)),
                Err(error) => Line::Refused { message: error.to_string() },
            };
            i32::from(reporter.say(&line).is_err())
        }
        Err(error) => {
            eprintln!("the probe's child has nothing to work with: {error}");
            2
        }
    };
    // No destructors of a library that stays mapped are to run: the verdict is out.
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(status) }
}

/// The way back to the parent.
struct Reporter {
    output: Mutex<File>,
}

impl Reporter {
    /// Takes standard input and output away from the plugin, and gives the descriptor of the sealed copy.
    fn take_over() -> io::Result<(Self, OwnedFd)> {
        let plugin = io::stdin().as_fd().try_clone_to_owned()?;
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        let nothing = File::open("/dev/null")?;
        replace(&nothing, io::stdin().as_raw_fd())?;
        replace(&io::stderr(), io::stdout().as_raw_fd())?;
        Ok((Self { output: Mutex::new(File::from(output)) }, plugin))
    }

    fn say(&self, line: &Line) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line).map_err(io::Error::other)?;
        bytes.push(b'\n');
        self.output.lock().unwrap_or_else(PoisonError::into_inner).write_all(&bytes)
    }

    fn stage(&self, stage: &str) {
        let _ = self.say(&Line::Stage { stage: stage.to_owned() });
    }
}

fn replace(by: &impl AsFd, number: i32) -> io::Result<()> {
    // SAFETY: the number is that of a standard stream, which this program owns as a whole.
    match unsafe { libc::dup2(by.as_fd().as_raw_fd(), number) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn run(reporter: &Reporter, descriptor: OwnedFd) -> Result<ProbeReport, LoadError> {
    let begun = Instant::now();
    let (copy, file): (SealedCopy, PluginFile) = SealedCopy::inherited(descriptor)?;
    let report = elf::check(file.bytes())?;
    reporter.stage("loading it");
    let plugin = load_copy(&file, copy, report.clone())?;
    let lease = plugin.lease();
    let tried = on_a_generations_thread(|| try_entries(reporter, lease));
    reporter.stage("unloading it");
    let kept_because = unload(plugin);
    let (descriptor, live_bytes) = tried?;
    Ok(ProbeReport {
        hash: file.hash(),
        elf: report,
        descriptor,
        live_bytes,
        kept_because,
        elapsed_us: begun.elapsed().as_micros() as u64,
    })
}

fn unload(plugin: LoadedPlugin) -> Vec<crate::Reason> {
    match plugin.unload() {
        Unload::Gone(_) => Vec::new(),
        Unload::Kept(kept) => kept.reasons,
    }
}

fn on_a_generations_thread<T: Send>(
    work: impl FnOnce() -> Result<T, LoadError> + Send,
) -> Result<T, LoadError> {
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|_| {
        let detail = "the trial's own thread panicked".to_owned();
        Err(LoadError::PanickedInTrial { entry: "the trial".to_owned(), detail })
    })
}

fn try_entries(reporter: &Reporter, lease: PluginLease) -> Result<(Vec<u8>, u64), LoadError> {
    reporter.stage("describing itself");
    let descriptor = lease.describe()?;
    reporter.stage("starting");
    lease.start(&HostServices { log: log_nothing, log_level_max: 0 })?;
    reporter.stage("beginning a procedure");
    let begun = try_begin(&lease);
    // SAFETY: the library is mapped while the lease lives; the entry takes nothing.
    let live_bytes = unsafe { lease.module().live_bytes()() } as u64;
    reporter.stage("shutting down");
    lease.shutdown().map_err(|reason| LoadError::PanickedInTrial {
        entry: "its shutdown".to_owned(),
        detail: reason.to_string(),
    })?;
    begun?;
    Ok((descriptor, live_bytes))
}

/// Begins the first procedure with parameters that are none. A refusal is the right answer; a crash, a hang or a
/// panic is not.
fn try_begin(lease: &PluginLease) -> Result<(), LoadError> {
    let mut begun = Begun { handle: std::ptr::null_mut(), plan: std::ptr::null(), plan_len: 0 };
    // SAFETY: the library is mapped while the lease lives, the plugin was started on this thread, and all that is
    // lent lives during the call.
    let result = collect(|sink| unsafe {
        lease.module().begin()(0, encoding::JSON, Bytes::of(b""), 0, &raw mut begun, sink)
    });
    match result {
        Ok(_) => {
            // SAFETY: `begin` returned `OK`, so the handle is that of a run, which ends once, here.
            unsafe { lease.module().end()(begun.handle) };
            Ok(())
        }
        Err(EntryError::Failed(_)) => Ok(()),
        Err(EntryError::Panicked(detail)) => {
            Err(LoadError::PanickedInTrial { entry: "the begin of its first procedure".to_owned(), detail })
        }
    }
}

unsafe extern "C" fn log_nothing(_: u8, _: Bytes, _: Bytes) {}
