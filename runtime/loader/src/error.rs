//! Why a plugin was not taken: one enum, a stable code each, and what to do next.
//!
//! Deliberately absent: what can keep a library mapped; that is no error but a [`crate::Reason`].
//!
//! Invariant: no text here points into a library; everything was copied while the library was mapped.

use std::io;
use std::path::PathBuf;

/// Why a plugin was refused. `Display` gives the code, what failed, and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// There is no such file.
    #[error("LS0401: there is no plugin at {}; check the path, and that the plugin was built", path.display())]
    Missing {
        /// The path asked for.
        path: PathBuf,
    },
    /// A directory, a device, a socket.
    #[error("LS0402: {} is {found}, not a plugin; give the path of the plugin's `.so` file", path.display())]
    NotAFile {
        /// The path asked for.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// Nothing in it.
    #[error("LS0403: the plugin file {} is empty; build or copy it again", path.display())]
    Empty {
        /// The path asked for.
        path: PathBuf,
    },
    /// Larger than any plugin.
    #[error("LS0404: the plugin file {} has {bytes} bytes, more than the {bytes_max} that a plugin may have; strip its debug information", path.display())]
    TooLarge {
        /// The path asked for.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// The system refused to read it.
    #[error("LS0405: the plugin file {} could not be read: {source}; check its permissions and its disk", path.display())]
    Unreadable {
        /// The path asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not an ELF file.
    #[error("LS0410: this is not a shared library but {found}; give the path of the plugin's `.so` file")]
    NotALibrary {
        /// What it looks like.
        found: &'static str,
    },
    /// 32 bits, or the other byte order.
    #[error("LS0411: the plugin is {found}, this host needs {expected}; build it for this host's target")]
    WrongClass {
        /// What the file is.
        found: &'static str,
        /// What the host is.
        expected: &'static str,
    },
    /// For another processor.
    #[error(
        "LS0412: the plugin is built for {found}, this host is {expected}; build it for this host's target"
    )]
    WrongMachine {
        /// What the file is for.
        found: String,
        /// What the host is.
        expected: &'static str,
    },
    /// An executable, an object file.
    #[error("LS0413: the plugin is {found}, not a shared library; build it with crate-type = [\"cdylib\"]")]
    WrongType {
        /// What it is.
        found: &'static str,
    },
    /// Parts of it are missing or make no sense.
    #[error("LS0414: the plugin file is cut off or damaged: {detail}; build or copy it again")]
    Damaged {
        /// What does not fit.
        detail: String,
    },
    /// A shared library, but not one of ours.
    #[error(
        "LS0415: this shared library is not a Lockstep plugin (it does not export `{symbol}`); declare the application with `application!` in the package that is built as a cdylib"
    )]
    NotAPlugin {
        /// The symbol that is missing.
        symbol: &'static str,
    },
    /// Panics in it would end the host.
    #[error(
        "LS0416: the plugin is built with panic = \"abort\", so its first panic would end the host; build it with panic = \"unwind\""
    )]
    PanicAborts,
    /// The file was no longer what was probed.
    #[error(
        "LS0417: the plugin's bytes are not those that were checked: expected {expected}, found {found}; check and load the same file again"
    )]
    OtherBytes {
        /// The hash that was checked.
        expected: String,
        /// The hash of the bytes at hand.
        found: String,
    },
    /// No probe could be started.
    #[error(
        "LS0420: the plugin could not be probed: {operation}: {source}; free memory, processes or file descriptors and try again"
    )]
    ProbeNotStarted {
        /// What failed.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The probe did not end.
    #[error(
        "LS0421: the plugin did not come back from its trial run within {timeout_ms} ms (it was {stage}); look for a loop or a wait in its constructors, its declaration or its begin entries"
    )]
    ProbeHung {
        /// The time it had.
        timeout_ms: u64,
        /// How far it had come.
        stage: String,
    },
    /// The probe was killed, or left by itself.
    #[error(
        "LS0422: the plugin ended its trial process ({ending}) while {stage}; run it under the test kit or a debugger, and build it again"
    )]
    ProbeDied {
        /// The signal, or the exit status.
        ending: String,
        /// How far it had come.
        stage: String,
    },
    /// The probe ended well and yet gave no verdict.
    #[error(
        "LS0423: the trial run of the plugin gave no verdict: {detail}; the host's command line must answer the hidden argument `{argument}`"
    )]
    ProbeSilent {
        /// What came instead.
        detail: String,
        /// The argument.
        argument: &'static str,
    },
    /// The probe's verdict is a refusal, in the words of the child.
    #[error("{message}")]
    ProbeRefused {
        /// The child's error, with its code.
        message: String,
    },
    /// The dynamic linker refused.
    #[error(
        "LS0430: the dynamic linker does not load the plugin: {detail}; check that it was built on a system no newer than this one, and that the libraries it needs are installed"
    )]
    NotLoaded {
        /// The linker's own words.
        detail: String,
    },
    /// Another abi_stable.
    #[error(
        "LS0431: the plugin speaks another binary interface: {detail}; build it with the plugin API that belongs to this host"
    )]
    OtherInterface {
        /// What differs.
        detail: String,
    },
    /// Another version of the plugin API.
    #[error("LS0432: the plugin was built with plugin API {found}, this host has {expected}; {next}")]
    OtherApi {
        /// The plugin's.
        found: String,
        /// The host's.
        expected: String,
        /// What to do.
        next: &'static str,
    },
    /// The same version number and yet other types.
    #[error(
        "LS0433: the plugin's types are not the host's: {detail}; build it with the plugin API that belongs to this host"
    )]
    OtherLayout {
        /// The first differences, shortened.
        detail: String,
    },
    /// The root module's constructor failed.
    #[error("LS0434: the plugin failed to start: {detail}; see its own messages and build it again")]
    NotStarted {
        /// What it said.
        detail: String,
    },
    /// No private copy could be made.
    #[error(
        "LS0435: no private copy of the plugin could be made: {operation}: {source}; free memory or file descriptors and try again"
    )]
    NoCopy {
        /// What failed.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The host cannot know what a plugin leaves behind.
    #[error(
        "LS0436: this host was built without the interposers of lockstep-os, so no plugin could be unloaded safely; call `lockstep_os::interpose::ensure_linked` in its main program"
    )]
    NoInterposers,
    /// What it says of itself makes no sense.
    #[error(
        "LS0437: the plugin's description of itself cannot be used: {detail}; build it with the plugin API that belongs to this host"
    )]
    NoDescription {
        /// What is wrong.
        detail: String,
    },
    /// An entry of it panicked during the trial.
    #[error(
        "LS0438: the plugin panicked during its trial run, in {entry}: {detail}; run it under the test kit"
    )]
    PanickedInTrial {
        /// Which entry.
        entry: String,
        /// The panic's message.
        detail: String,
    },
}

impl LoadError {
    /// The stable code, `LS04xx`.
    #[must_use]
    pub fn code(&self) -> String {
        self.to_string().split(':').next().unwrap_or_default().to_owned()
    }
}

/// An error with all that caused it, in one line: some libraries hide the cause from `Display`.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
