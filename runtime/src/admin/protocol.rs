//! What operators' tools say to a processor over its admin socket: one JSON object a line, a request and then its
//! answer. The socket is a Unix socket that only its owner can open.
//!
//! Deliberately absent: streams of events. A tool that watches asks again.
//! Invariants: a line is at most [`LINE_BYTES_MAX`] long in both directions; a client waits no longer than it says.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use lockstep_core::campaign::{CampaignRecord, Decide, Gates, OwnChecks, Redundancy};
use lockstep_core::command::{CampaignStatus, FeatureState, GroupStatus, MigrationStatus, TableFormats};
use lockstep_core::descriptor::Version;
use lockstep_core::ids::{NodeId, PluginHash};
use lockstep_core::verdict::Comparison;

use crate::trail::TrailEntry;

/// The longest request or answer, in bytes.
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// Checkpoints are held for at most so long at a time; the redo log grows meanwhile.
pub const HOLD_MS_MAX: u64 = 60_000;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminRequest {
    /// The application; none where the processor has only one, or for all of them (`status`).
    #[serde(default)]
    pub application: Option<String>,
    /// The partition whose group a failpoint or a hold is for; 0 where it is not said. Everything else is for all groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<u16>,
    /// What to do.
    pub verb: AdminVerb,
    /// Who asks, for records and logs; the user's name.
    #[serde(default)]
    pub by: String,
    /// Why, for the audit trail; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// What an operator asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminVerb {
    /// How the processor and its groups are. Answered by [`AdminReply::Status`].
    Status,
    /// Take the standby out of service.
    Isolate,
    /// Bring it back.
    Integrate,
    /// The standby becomes active, planned.
    SwitchOver,
    /// Become active although another recorded member cannot be heard; may lose what only that one holds.
    Force,
    /// Features.
    Features(FeaturesVerb),
    /// Plugins.
    Plugin(PluginVerb),
    /// The rolling upgrade.
    Upgrade(UpgradeVerb),
    /// The audit trail. Answered by [`AdminReply::Audit`].
    Audit {
        /// At most so many of the latest entries.
        count: usize,
    },
    /// Make no checkpoint of one group's database for so long, at most [`HOLD_MS_MAX`], so that its files can be read while
    /// the processor runs; 0 ends that. Answered once none is under way.
    HoldCheckpoints {
        /// Milliseconds.
        ms: u64,
    },
    /// Arm a failure, for tests.
    Failpoint(Failpoint),
    /// Stop this processor, in order: the store is synced and closed. Answered before it stops.
    Shutdown,
}

impl AdminVerb {
    /// Whether nothing is changed by it.
    #[must_use]
    pub fn only_looks(&self) -> bool {
        matches!(
            self,
            AdminVerb::Status
                | AdminVerb::Audit { .. }
                | AdminVerb::HoldCheckpoints { .. }
                | AdminVerb::Features(FeaturesVerb::List)
                | AdminVerb::Plugin(PluginVerb::List)
                | AdminVerb::Upgrade(UpgradeVerb::Plan { .. } | UpgradeVerb::Status | UpgradeVerb::History)
        )
    }
}

/// Features of the running version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeaturesVerb {
    /// All of them. Answered by [`AdminReply::Features`].
    List,
    /// Switch on; all when empty (R31).
    Enable {
        /// Their names.
        features: Vec<String>,
    },
    /// Switch one off. The floor stays.
    Disable {
        /// Its name.
        feature: String,
    },
}

/// Plugin files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginVerb {
    /// Generations loaded now and before. Answered by [`AdminReply::Plugins`].
    List,
    /// The standby changes to this file, beside its old one (R28), outside of any campaign.
    Load {
        /// The file, absolute.
        path: PathBuf,
    },
}

/// The rolling upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpgradeVerb {
    /// Preflight and plan; changes nothing. Answered by [`AdminReply::Plan`].
    Plan {
        /// The target's file, absolute.
        target: PathBuf,
        /// How.
        #[serde(default)]
        options: UpgradeOptions,
    },
    /// Preflight, then start. Answered by [`AdminReply::Plan`] once the campaign is recorded.
    Start {
        /// The target's file, absolute.
        target: PathBuf,
        /// How.
        #[serde(default)]
        options: UpgradeOptions,
    },
    /// Where it stands. Answered by [`AdminReply::Upgrade`].
    Status,
    /// Begin no new step.
    Pause,
    /// Go on.
    Resume,
    /// Accept the target.
    Accept {
        /// The partner is declared gone: this processor goes on to the target alone (R30).
        #[serde(default)]
        partner_gone: bool,
    },
    /// Return to the old version on both sides.
    Abort {
        /// The partner is declared gone: this processor returns alone (R30).
        #[serde(default)]
        partner_gone: bool,
    },
    /// Campaigns that are over. Answered by [`AdminReply::History`].
    History,
}

/// How a campaign goes; every field has a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpgradeOptions {
    /// The gates of the evaluation (R30).
    pub gates: Gates,
    /// Checks of the user's own (R30).
    pub own_checks: OwnChecks,
    /// Who decides after a passed evaluation.
    pub decide: Decide,
    /// If nobody accepts for this long after the gates passed, fall back.
    pub rollback_after_ms: u64,
    /// A step that takes longer than this has failed.
    pub step_time_max_ms: u64,
    /// How redundancy is kept while a processor changes its version.
    pub redundancy: Redundancy,
    /// Enable all features of the target at 207.
    pub enable_features: bool,
    /// A line for the shell, run at each change on the active's host; empty for none.
    pub notify: String,
    /// Procedures that the target does not have and that end with this upgrade (R32).
    pub retire: Vec<String>,
    /// Why it is made, for the record.
    pub why: String,
}

impl Default for UpgradeOptions {
    fn default() -> Self {
        UpgradeOptions {
            gates: Gates::default(),
            own_checks: OwnChecks::default(),
            decide: Decide::default(),
            rollback_after_ms: 600_000,
            step_time_max_ms: 60_000,
            redundancy: Redundancy::default(),
            enable_features: true,
            notify: String::new(),
            retire: Vec::new(),
            why: String::new(),
        }
    }
}

/// A failure to happen on purpose, in one place: the effect executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failpoint {
    /// Where, by the name that `docs/operations.md` lists.
    pub point: String,
    /// What happens there.
    pub action: FailpointAction,
    /// It happens after the place was passed so often.
    #[serde(default)]
    pub after: u64,
}

/// What a failpoint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailpointAction {
    /// An assertion fails in the actor that passes there.
    Panic,
    /// The process ends at once, as if killed.
    Kill,
    /// The process stands still, as by SIGSTOP, until somebody lets it go on.
    Stop,
    /// The operation fails with an input/output error.
    Fail,
    /// Nothing any more.
    Off,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminResponse {
    /// It went well.
    Ok(Box<AdminReply>),
    /// It was refused or failed.
    Error(AdminError),
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct AdminError {
    /// A code such as `LS0606`.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// What to do next; may be empty.
    #[serde(default)]
    pub help: String,
}

/// What a request brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminReply {
    /// It is done.
    Done,
    /// It is under way; `status` shows it.
    Accepted,
    /// The processor and its groups.
    Status(ProcessorStatus),
    /// Features, and how far their rows are (R31).
    Features {
        /// Name, description, state.
        features: Vec<(String, String, FeatureState)>,
        /// The migration under way.
        migration: Option<MigrationStatus>,
        /// The tables with the formats of their rows.
        formats: Vec<TableFormats>,
    },
    /// Plugins.
    Plugins {
        /// The generations.
        plugins: Vec<PluginStatus>,
        /// What the process holds for them.
        memory: PluginMemory,
    },
    /// The plan of a campaign.
    Plan(Box<UpgradePlan>),
    /// The campaign under way, if any, and the last that ended.
    Upgrade {
        /// Under way.
        current: Option<Box<CampaignStatus>>,
        /// The last that ended.
        last: Option<Box<CampaignRecord>>,
    },
    /// Campaigns that are over, oldest first.
    History(Vec<CampaignRecord>),
    /// Entries of the audit trail, oldest first.
    Audit(Vec<TrailEntry>),
}

/// A processor as it sees itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessorStatus {
    /// Its name.
    pub node: NodeId,
    /// Its process.
    pub pid: u32,
    /// For how long it has been running.
    pub up_ms: u64,
    /// Its groups.
    pub groups: Vec<GroupReport>,
}

/// A group, with what the shell measures beside the core's own status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReport {
    /// What the core says.
    pub group: GroupStatus,
    /// The last change of the asked processor's role, in words, and how long ago it was.
    pub last_change: Option<(String, u64)>,
}

/// One generation of a plugin in this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginStatus {
    /// The application.
    pub application: String,
    /// The partition whose group loaded it; each group has a copy of its own.
    pub partition: u16,
    /// Counted from 1 in this process.
    pub generation: u64,
    /// The file's bytes.
    pub hash: PluginHash,
    /// The version that it declares.
    pub version: Version,
    /// Whether its code is still there.
    pub state: PluginState,
    /// Why it was kept, when it was.
    pub reasons: Vec<String>,
    /// The file's size.
    pub bytes: u64,
}

/// What plugins take of a process beyond those in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginMemory {
    /// Libraries that stay mapped although nothing is to use them.
    pub kept: u64,
    /// How much address space they take.
    pub kept_bytes: u64,
    /// How much they may take before no further version is loaded.
    pub kept_bytes_max: u64,
    /// Of the kept ones, those whose engine hangs in a work unit and was given up (R23).
    #[serde(default)]
    pub hung: u64,
    /// How many may; with the next one the process ends.
    #[serde(default)]
    pub hung_max: u64,
    /// Thread-specific data keys (`pthread_key_create`) with a destructor, over the whole process, which has 1,024.
    pub keys: u64,
}

/// Whether a plugin's code is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginState {
    /// Mapped and in use.
    Mapped,
    /// Out of use, but left mapped for the reasons given.
    Kept,
    /// Gone from the process.
    Unloaded,
}

/// A plugin file after static check and probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginReport {
    /// The file.
    pub path: PathBuf,
    /// Its bytes.
    pub hash: PluginHash,
    /// Its size.
    pub bytes: u64,
    /// The application that it declares.
    pub application: String,
    /// The version that it declares.
    pub version: Version,
    /// What the loader warns of, for example what may keep it from being unloaded.
    pub warnings: Vec<String>,
}

/// A campaign as it would go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradePlan {
    /// The application.
    pub application: String,
    /// The version that runs.
    pub from: Version,
    /// The target.
    pub to: PluginReport,
    /// By procedure.
    pub comparison: Comparison,
    /// What is against it, each with a code; empty when the campaign can start.
    pub refusals: Vec<AdminError>,
    /// How many work units a procedure declares, old and new, for those that are shipped.
    pub units: Vec<(String, u32, u32)>,
    /// The processor that gets the target first: the standby.
    pub first: NodeId,
    /// The other one.
    pub second: NodeId,
    /// Features that 207 enables.
    pub features: Vec<String>,
    /// Whether 207 is a point of no return (R31).
    pub raises_floor: bool,
    /// How.
    pub options: UpgradeOptions,
    /// How long the preflight took.
    pub preflight_ms: u64,
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens there.
    #[error("no processor answers at {}: {error}", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It did not answer in time.
    #[error("the processor gave no answer for {waited_ms} ms")]
    Late {
        /// How long was waited.
        waited_ms: u64,
    },
    /// The connection ended.
    #[error("the connection to the processor ended before its answer: {0}")]
    Ended(String),
    /// The answer was not one.
    #[error("the processor's answer was not understood: {0}")]
    NotUnderstood(String),
}

impl CallError {
    /// The error's code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            CallError::Unreachable { .. } => "LS0801",
            CallError::Late { .. } => "LS0802",
            CallError::Ended(_) => "LS0803",
            CallError::NotUnderstood(_) => "LS0804",
        }
    }

    /// What to do next.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            CallError::Unreachable { .. } => "is lockstepd running, with the same configuration and user?",
            CallError::Late { .. } => "ask again; if it stays silent, see the processor's log",
            CallError::Ended(_) => "see the processor's log, then ask again: requests can be repeated",
            CallError::NotUnderstood(_) => "use the lockstep of the same version as lockstepd",
        }
    }
}

/// Reads and writes one line as JSON, for both sides of the socket.
///
/// # Errors
/// When `line` is no such object.
pub fn parse_line<T: serde::de::DeserializeOwned>(line: &[u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| error.to_string())
}

/// `message` as a line, newline included.
///
/// # Panics
/// Never: the types of this module can all be written as JSON.
#[must_use]
pub fn to_line<T: Serialize>(message: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("admin messages can be written as JSON");
    line.push(b'\n');
    line
}

/// Sends `request` to the processor at `socket` and waits for its answer, at most `timeout` in all.
///
/// # Errors
/// When there is no answer.
pub fn call(socket: &Path, request: &AdminRequest, timeout: Duration) -> Result<AdminResponse, CallError> {
    let started = Instant::now();
    let late =
        || CallError::Late { waited_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX) };
    let ended = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => late(),
        _ => CallError::Ended(error.to_string()),
    };
    let left = || timeout.checked_sub(started.elapsed()).filter(|left| !left.is_zero()).ok_or_else(late);
    let mut stream = UnixStream::connect(socket)
        .map_err(|error| CallError::Unreachable { socket: socket.to_owned(), error })?;
    stream.set_write_timeout(Some(left()?)).map_err(ended)?;
    stream.write_all(&to_line(request)).map_err(ended)?;
    let mut line = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        stream.set_read_timeout(Some(left()?)).map_err(ended)?;
        let count = match stream.read(&mut chunk) {
            Ok(0) => return Err(CallError::Ended("it was closed".into())),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ended(error)),
        };
        let end = chunk[..count].iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&chunk[..end.unwrap_or(count)]);
        if line.len() > LINE_BYTES_MAX {
            return Err(CallError::NotUnderstood(format!("it is longer than {LINE_BYTES_MAX} bytes")));
        }
        if end.is_some() {
            return parse_line(&line).map_err(CallError::NotUnderstood);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn request(verb: AdminVerb, by: &str) -> AdminRequest {
        AdminRequest { application: None, partition: None, verb, by: by.into(), why: String::new() }
    }

    #[test]
    fn requests_read_as_documented() {
        let status: AdminRequest = parse_line(br#"{"verb":"status"}"#).unwrap();
        assert_eq!(status, request(AdminVerb::Status, ""));
        let line = br#"{"application":"ledger","verb":{"upgrade":{"start":{"target":"/x.so","options":{"decide":"operator"}}}}}"#;
        let start: AdminRequest = parse_line(line).unwrap();
        let AdminVerb::Upgrade(UpgradeVerb::Start { target, options }) = start.verb else {
            panic!("{start:?}")
        };
        assert_eq!(target, Path::new("/x.so"));
        assert_eq!(options, UpgradeOptions { decide: Decide::Operator, ..UpgradeOptions::default() });
        assert!(parse_line::<AdminRequest>(br#"{"verb":"status","aplication":"x"}"#).is_err());
        assert!(parse_line::<AdminRequest>(br#"{"verb":"explode"}"#).is_err());
    }

    /// Serves one connection: waits for a line, then writes `answer` and closes.
    fn answering(answer: Vec<u8>) -> (tempfile::TempDir, PathBuf, std::thread::JoinHandle<Vec<u8>>) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let serve = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            let mut byte = [0];
            while stream.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
                asked.push(byte[0]);
            }
            let _ = stream.write_all(&answer);
            asked
        });
        (directory, socket, serve)
    }

    fn ask(answer: Vec<u8>, timeout: Duration) -> (Result<AdminResponse, CallError>, Vec<u8>) {
        let (_directory, socket, serve) = answering(answer);
        let request = request(AdminVerb::Isolate, "root");
        let answer = call(&socket, &request, timeout);
        (answer, serve.join().unwrap())
    }

    #[test]
    fn a_call_sends_one_line_and_reads_one() {
        let answer = AdminResponse::Ok(Box::new(AdminReply::Done));
        let (got, asked) = ask(to_line(&answer), Duration::from_secs(60));
        assert_eq!(got.unwrap(), answer);
        assert_eq!(asked, br#"{"application":null,"verb":"isolate","by":"root"}"#);
    }

    #[test]
    fn bad_answers_are_errors() {
        let long = Duration::from_secs(60);
        assert!(matches!(ask(b"{}\n".to_vec(), long).0, Err(CallError::NotUnderstood(_))));
        assert!(matches!(ask(b"\"half".to_vec(), long).0, Err(CallError::Ended(_))));
        assert!(matches!(ask(vec![b'x'; LINE_BYTES_MAX + 2], long).0, Err(CallError::NotUnderstood(_))));
        let nobody = call(Path::new("/nonexistent/admin.sock"), &request(AdminVerb::Status, ""), long);
        assert!(matches!(nobody, Err(CallError::Unreachable { .. })));
    }
}
