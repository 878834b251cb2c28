//! What a processor says of itself over its operators' socket, for waiting and for drills; audits never use it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use lockstep_core::command::{GroupStatus, Role};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Failure;

/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// A processor, as it sees itself.
#[derive(Clone, Debug, Deserialize)]
pub struct ProcessorStatus {
    /// Its process.
    pub pid: u32,
    /// Its groups.
    pub groups: Vec<GroupReport>,
}

/// A group of a processor.
#[derive(Clone, Debug, Deserialize)]
pub struct GroupReport {
    /// What its core says.
    pub group: GroupStatus,
}

/// A generation of a plugin in a processor.
#[derive(Clone, Debug, Deserialize)]
pub struct PluginStatus {
    /// Counted from 1 in the process.
    pub generation: u64,
    /// `mapped`, `kept` or `unloaded`.
    pub state: String,
    /// Why it was kept, when it was.
    pub reasons: Vec<String>,
}

/// The plugins of a processor.
#[derive(Clone, Debug, Deserialize)]
pub struct PluginList {
    /// Generations, those that have gone lately among them.
    pub plugins: Vec<PluginStatus>,
    /// What they take of it.
    pub memory: PluginMemory,
}

/// What plugins take of a processor beyond those in use.
#[derive(Clone, Debug, Deserialize)]
pub struct PluginMemory {
    /// Libraries that can't be unloaded.
    pub kept: u64,
    /// Their address space.
    pub kept_bytes: u64,
    /// Of these, those whose engine hangs.
    pub hung: u64,
    /// How many may.
    pub hung_max: u64,
    /// Thread-specific data keys of the process.
    pub keys: u64,
}

/// What a processor says when it refuses a command.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Refused {
    /// Its code.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// What to do next; may be empty.
    #[serde(default)]
    pub help: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} {}", self.code, self.message, self.help)
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Failure::new(refused.to_string())
    }
}

/// Asks the processor at `socket` for `verb`, as `runtime/src/admin/protocol.rs` has it, and returns its good answer.
///
/// # Errors
/// When it does not answer or refuses: with its code, sentence and help.
pub fn ask(socket: &Path, verb: &Value) -> Result<Value, Failure> {
    Ok(asked(socket, verb)??)
}

/// As [`ask`], with a refusal apart.
///
/// # Errors
/// When it does not answer.
pub fn asked(socket: &Path, verb: &Value) -> Result<Result<Value, Refused>, Failure> {
    let unanswered = |error: std::io::Error| {
        Failure::new(format!("the processor at {} does not answer: {error}", socket.display()))
    };
    let mut stream = UnixStream::connect(socket).map_err(unanswered)?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX)).map_err(unanswered)?;
    let mut line = json!({"application": null, "verb": verb, "by": "rig"}).to_string();
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(unanswered)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).map_err(unanswered)?;
    let mut answer: Value = serde_json::from_str(&answer)?;
    if let Some(error) = answer.get_mut("error") {
        return Ok(Err(serde_json::from_value(error.take())?));
    }
    Ok(Ok(answer["ok"].take()))
}

/// The status of the processor at `socket`.
///
/// # Errors
/// When it does not answer.
pub fn status(socket: &Path) -> Result<ProcessorStatus, Failure> {
    let mut reply = ask(socket, &json!("status"))?;
    Ok(serde_json::from_value(reply["status"].take())?)
}

/// The status of the group that runs `ledger` at `socket`.
///
/// # Errors
/// When it does not answer or runs no such application.
pub fn group(socket: &Path) -> Result<GroupStatus, Failure> {
    let groups = status(socket)?.groups.into_iter().map(|report| report.group);
    let mut ledgers = groups.filter(|group| group.application == "ledger");
    ledgers.next().ok_or_else(|| Failure::new("the processor does not run `ledger`"))
}

/// The plugins of the processor at `socket`, those that are gone among them.
///
/// # Errors
/// When it does not answer.
pub fn plugins(socket: &Path) -> Result<Vec<PluginStatus>, Failure> {
    Ok(plugin_list(socket)?.plugins)
}

/// The plugins of the processor at `socket`, and what they take of it.
///
/// # Errors
/// When it does not answer.
pub fn plugin_list(socket: &Path) -> Result<PluginList, Failure> {
    let mut reply = ask(socket, &json!({"plugin": "list"}))?;
    Ok(serde_json::from_value(reply["plugins"].take())?)
}

/// Whether the group is served by an active and followed by a standby that the record has.
#[must_use]
pub fn in_lock_step(group: &GroupStatus) -> bool {
    let has = |role: Role| group.members.iter().any(|member| member.role == role && member.in_sync);
    group.members.len() == 2 && has(Role::Active) && has(Role::Standby)
}

/// The role of the processor that was asked.
#[must_use]
pub fn own_role(group: &GroupStatus) -> Option<Role> {
    group.members.first().map(|member| member.role)
}
