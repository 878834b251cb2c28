//! One load: the file's bytes, the static check, the trial in a process of its own, the real load, the binding.
//!
//! Everything here runs on a short thread of the caller's, which ends before the library is unloaded.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use actix::Arbiter;
use lockstep_binding::Bound;
use lockstep_core::application::Application;
use lockstep_core::descriptor::ApplicationDescriptor;
use lockstep_core::ids::{GroupName, PluginHash};
use lockstep_loader::{LoadError, LoadedPlugin, PluginFile, PluginLease, Prober, Reason, Unload};

use super::generations::Generations;

/// Why a plugin was not taken.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// A code.
    pub code: String,
    /// What failed, and what to do next.
    pub message: String,
    /// More of what to do next; may be empty.
    pub help: String,
    /// Another try may go better.
    pub may_pass: bool,
}

/// How long a version's start may take.
const START_TIME_MAX: Duration = Duration::from_secs(10);
/// A version did not start.
const NOT_STARTED: &str = "LS0461";
/// A version's start did not return.
const START_HANGS: &str = "LS0462";

impl Failure {
    fn new(code: &str, message: impl Into<String>, help: &str) -> Self {
        Failure { code: code.into(), message: message.into(), help: help.into(), may_pass: false }
    }

    /// The same, where another try may go better.
    fn passing(self) -> Self {
        Failure { may_pass: true, ..self }
    }

    /// A thread that loads, binds or runs a plugin failed.
    pub(crate) fn of_thread(why: impl Into<String>) -> Self {
        Failure::new("LS0446", why, "see the log").passing()
    }

    /// The file can't be put into the keep.
    pub(crate) fn not_kept(error: &std::io::Error) -> Self {
        let help = "see that the data directory can be written and has room";
        Failure::new("LS0448", format!("the plugin file can't be kept: {error}"), help).passing()
    }

    /// There is no room for what is to come.
    pub(crate) fn no_room(why: String) -> Self {
        Failure::new(super::NO_ROOM, why, "make room in the data directory's file system")
    }

    /// Messages would have nobody to take them.
    pub(crate) fn unanswered(why: String, help: String) -> Self {
        Failure { code: super::UNANSWERED.into(), message: why, help, may_pass: false }
    }

    /// Both, with the first one's code and help.
    pub(crate) fn and(self, other: Self) -> Self {
        Failure { message: format!("{}; {}", self.message, other.message), ..self }
    }

    /// What came is not what was announced.
    pub(crate) fn other_bytes() -> Self {
        Failure::new(super::NOT_PASSED_ON, "the bytes that came have another hash", "ask again").passing()
    }

    /// Libraries that can't be unloaded take more than the operator allows.
    pub(crate) fn full(libraries: u64, bytes: u64, bytes_max: u64) -> Self {
        let message = format!(
            "{libraries} libraries that can't be unloaded take {} MB of this process, and `kept_plugins_mb` allows {}; the \
             version that runs goes on",
            bytes >> 20,
            bytes_max >> 20
        );
        let help = "see `lockstep plugin list` for what holds them; restart this processor while it is the standby, or \
                    raise `kept_plugins_mb`";
        Failure::new("LS0460", message, help)
    }

    /// What is wrong with the file at `path`.
    fn of(path: &Path, error: LoadError) -> Self {
        let failure = Failure::from(error);
        Failure { message: format!("{}: {}", path.display(), failure.message), ..failure }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let text = error.to_string();
        let code = error.code();
        // Its text begins with its code and ends with what to do next.
        let message = text.strip_prefix(&format!("{code}: ")).unwrap_or(&text).to_owned();
        Failure { code, message, help: String::new(), may_pass: false }
    }
}

/// A file that was checked and tried.
pub struct CheckedPlugin {
    /// The file.
    pub path: PathBuf,
    /// Its hash.
    pub hash: PluginHash,
    /// Its size.
    pub bytes: u64,
    /// The plugin API that it was built with: major and minor.
    pub api: (u32, u32),
    /// What it says of itself.
    pub descriptor: ApplicationDescriptor,
    /// What may keep it from being unloaded, and the like.
    pub warnings: Vec<String>,
    /// What was checked.
    pub file: PluginFile,
}

/// Reads, checks and tries the file at `path`; nothing of it stays in this process.
///
/// # Errors
/// Why it is not taken.
pub fn check_file(path: &Path) -> Result<CheckedPlugin, Failure> {
    check(PluginFile::read(path)?)
}

/// As [`check_file`], of a file that was read or came from elsewhere.
///
/// # Errors
/// Why it is not taken.
pub(crate) fn check(file: PluginFile) -> Result<CheckedPlugin, Failure> {
    let tried = Prober::of_this_program().probe(&file).map_err(|error| Failure::of(file.path(), error))?;
    let hash = super::hash_of(&file);
    let descriptor = lockstep_binding::descriptor_of(&tried.descriptor, hash).map_err(not_bound)?;
    sound(&descriptor)?;
    let mut warnings: Vec<String> = tried.elf.obstacles.iter().map(ToString::to_string).collect();
    if !tried.kept_because.is_empty() {
        let reasons = tried.kept_because.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        warnings.push(format!("it could not be unloaded after its trial: {reasons}"));
    }
    Ok(CheckedPlugin {
        path: file.path().to_owned(),
        hash,
        bytes: file.bytes().len() as u64,
        api: (tried.elf.api_major, tried.elf.api_minor),
        descriptor,
        warnings,
        file,
    })
}

fn not_bound(why: String) -> Failure {
    Failure::new("LS0439", format!("the plugin can't be bound: {why}"), "build it anew")
}

fn sound(descriptor: &ApplicationDescriptor) -> Result<(), Failure> {
    let checked = descriptor.check();
    checked
        .map_err(|why| Failure::new("LS0440", format!("its description is not sound: {why}"), "correct it"))
}

fn bind(plugin: &LoadedPlugin, hash: PluginHash) -> Result<Bound, Failure> {
    let bound = Bound::new(plugin.lease().module(), hash).map_err(not_bound)?;
    sound(bound.descriptor())?;
    Ok(bound)
}

fn on_short_thread<T: Send>(work: impl FnOnce() -> Result<T, Failure> + Send) -> Result<T, Failure> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("plugin-bind".into()).spawn_scoped(scope, work);
        match thread {
            Ok(thread) => {
                thread.join().unwrap_or_else(|_| Err(Failure::of_thread("the thread that bound it panicked")))
            }
            Err(error) => Err(Failure::of_thread(format!("there is no thread to bind it: {error}"))),
        }
    })
}

/// Loads `file` as the next version of the group's application, keeps it, and notes the generation.
///
/// # Errors
/// Why it is not taken.
pub fn load(
    generations: &Generations,
    group: &GroupName,
    file: &PluginFile,
) -> Result<Box<dyn Application>, Failure> {
    generations.retry_kept();
    generations.room_for_another()?;
    let hash = generations.keep().put(file).map_err(|error| Failure::not_kept(&error))?;
    Prober::of_this_program().probe(file)?;
    let plugin = lockstep_loader::load(file)?;
    let bound = on_short_thread(|| bind(&plugin, hash));
    let bound = match bound {
        Ok(bound) if bound.descriptor().name == group.application => bound,
        other => {
            // Never started: it goes as it came.
            let failure = match other {
                Ok(bound) => {
                    let name = bound.descriptor().name.clone();
                    Failure::new(
                        "LS0449",
                        format!("the file is application `{name}`, not `{}`", group.application),
                        "",
                    )
                }
                Err(failure) => failure,
            };
            if let Unload::Kept(kept) = plugin.unload() {
                warn_kept(&format!("{hash}, which was refused"), &words(&kept.reasons));
            }
            return Err(failure);
        }
    };
    let version = bound.descriptor().version;
    let boxed: Box<dyn Application> = Box::new(bound);
    let generation =
        generations.add(&*boxed, group.partition, plugin, hash, version, file.bytes().len() as u64);
    tracing::info!(%group, generation, %version, %hash, "a plugin is loaded");
    Ok(boxed)
}

/// As [`load`], and starts the version on `thread`, which is to run it: so what its start does, or fails to do, is known
/// before anybody relies on it (R28). One that does not return is given up: its thread and its library stay.
///
/// # Errors
/// Why it is not taken.
pub fn load_and_start(
    generations: &Generations,
    group: &GroupName,
    file: &PluginFile,
    thread: Arbiter,
) -> Result<Box<dyn Application>, Failure> {
    let application = match load(generations, group, file) {
        Ok(application) => application,
        Err(failure) => {
            thread.stop();
            let _ = thread.join();
            return Err(failure);
        }
    };
    let lease = generations.lease(&*application);
    let (told, started) = mpsc::sync_channel(1);
    let work = move || {
        let begun = lease.map_or(Ok(()), |lease| start_on_this_thread(&lease));
        // Whoever waited may have given it up.
        let _ = told.send(begun);
    };
    if !thread.spawn_fn(work) {
        generations.discard(application);
        return Err(Failure::of_thread("the thread that was to run it has ended"));
    }
    let version = application.descriptor().version;
    match started.recv_timeout(START_TIME_MAX) {
        Ok(Ok(())) => {
            generations.is_started(&*application, thread);
            Ok(application)
        }
        Ok(Err(failure)) => {
            generations.end_on(application, thread);
            let help = "see what its `start` needs on this host";
            let message = format!("version {version} does not start: {}", failure.message);
            Err(Failure::new(NOT_STARTED, message, help).passing())
        }
        Err(_) => {
            generations.abandon(application, thread);
            let message =
                format!("the start of version {version} has not returned for {} s", START_TIME_MAX.as_secs());
            let help =
                "see what its `start` waits for; its thread and library stay until this processor ends";
            Err(Failure::new(START_HANGS, message, help).passing())
        }
    }
}

/// Starts a plugin on the thread that will run it.
pub(super) fn start_on_this_thread(lease: &PluginLease) -> Result<(), Failure> {
    Ok(lease.start(&lockstep_binding::host_services())?)
}

/// Shuts a plugin down on the thread that ran it.
pub(super) fn end_on_this_thread(plugin: &LoadedPlugin) {
    if let Err(reason) = plugin.lease().shutdown() {
        tracing::warn!(%reason, code = "LS0447", "a plugin's shutdown failed");
    }
}

/// Reasons, as operators read them.
pub(super) fn words(reasons: &[Reason]) -> Vec<String> {
    reasons.iter().map(ToString::to_string).collect()
}

/// Says that a library stays mapped, and why.
pub(super) fn warn_kept(which: &str, reasons: &[String]) {
    let why = reasons.join("; ");
    tracing::warn!(which, why, code = "LS0445", "a plugin's library can't be unloaded and stays mapped");
}
