//! A processor's configuration, `node.ron`.
//!
//! Everything has a default except `node` and `applications`. Every unknown field is an error; every error names its
//! place in the file, what was expected and what to write ([`ConfigError`]). Relative paths are relative to the
//! file, so that a processor can be started from anywhere.
//!
//! Deliberately absent: environment variables that override fields, included files, looking up of host names.
//! Invariant: a [`NodeConfig`] that exists has been checked as a whole; nothing later has to check it again.

mod check;
mod error;
mod locate;
pub mod report;

use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use lockstep_core::group::StepUps;
use lockstep_core::ids::NodeId;

pub use check::SOCKET_PATH_BYTES_MAX;
pub use error::ConfigError;
pub use locate::Key;

/// What a processor is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// The file that this came from.
    pub file: PathBuf,
    /// The processor's name, unique in its pair.
    pub node: NodeId,
    /// Where its databases, plugins and the admin socket live.
    pub data: PathBuf,
    /// Where it listens.
    pub listen: Listen,
    /// The partner's `listen.link`; none: it is found through the arbiter's directory, if there is one.
    pub peer: Option<SocketAddr>,
    /// The third party that records who is active.
    pub arbiter: ArbiterConfig,
    /// When a batch counts as durable (R9).
    pub durability: Durability,
    /// What runs here.
    pub applications: Vec<ApplicationConfig>,
    /// Allows addresses that other machines can reach, although nothing is encrypted yet.
    pub insecure: bool,
    /// How close the standby follows (R14).
    pub standby: StandbyMode,
    /// How an active tells its step-ups (R14).
    pub step_ups: StepUps,
    /// The times of failure detection (R27).
    pub timeouts: Timeouts,
    /// How much of the recent stream is kept for a returning standby, a group.
    pub recent_mb: u64,
    /// How much memory the rows of a group may take; beyond it what would add to them is turned away. None: a share of
    /// what there is.
    pub rows_mb: Option<u64>,
    /// How much plugin libraries may take that can't be unloaded; beyond it no further version is loaded.
    pub kept_plugins_mb: u64,
    /// How many engines may hang in a work unit; with the next one the process ends (R23).
    pub hung_engines_max: u64,
    /// For how long an engine looks for more before its thread sleeps.
    pub busy_poll_us: u64,
    /// A `tracing` filter such as `info` or `lockstep_runtime=debug,warn`.
    pub log: String,
    /// The admin socket.
    pub admin: PathBuf,
}

/// Where a processor listens. Port 0 takes a free one; the ready line says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// HTTP: events as JSON, health, metrics.
    pub http: SocketAddr,
    /// The binary event protocol.
    pub events: SocketAddr,
    /// The partner.
    pub link: SocketAddr,
}

/// The third party that records who is active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArbiterConfig {
    /// Files in a directory that both processors of one machine share (R6).
    Local(PathBuf),
}

/// When a batch counts as durable (R9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Its sync has returned.
    #[default]
    Fsync,
    /// The operating system has it; synced as well while only one member is in sync.
    Replicated,
}

/// How close the standby follows (R14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StandbyMode {
    /// A unit starts once the active has survived it.
    #[default]
    Behind,
    /// \[P\]'s Fig. 3: the first unit runs on `Begin`. One event can then kill both hosts.
    Beside,
}

/// One application that runs here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationConfig {
    /// Its name, as the plugin declares it.
    pub name: String,
    /// The plugin that it starts with, when its database is new; later the database says what runs (R29).
    pub plugin: PathBuf,
    /// Into how many partitions it is split, each of them a group (R1). The same on both processors, for ever.
    pub partitions: u16,
}

/// The times of failure detection (R27). They grow in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// A sign of life at least this often.
    pub heartbeat_ms: u64,
    /// After this much silence the active takes the standby out of the record.
    pub silence_shrink_ms: u64,
    /// After this much silence the standby takes over.
    pub silence_promote_ms: u64,
    /// A standby that has not acknowledged something for so long leaves the record, although it is heard.
    pub ack_age_max_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            heartbeat_ms: 100,
            silence_shrink_ms: 1_000,
            silence_promote_ms: 3_000,
            ack_age_max_ms: 5_000,
        }
    }
}

/// The file as it is written. Addresses stay text until they are checked, so that errors can point at them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    node: String,
    #[serde(default = "default_data")]
    data: PathBuf,
    #[serde(default)]
    listen: WrittenListen,
    #[serde(default)]
    peer: Option<String>,
    #[serde(default)]
    arbiter: Option<WrittenArbiter>,
    #[serde(default)]
    durability: Durability,
    applications: Vec<WrittenApplication>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    standby: StandbyMode,
    #[serde(default)]
    step_ups: StepUps,
    #[serde(default)]
    timeouts: Timeouts,
    #[serde(default = "default_recent_mb")]
    recent_mb: u64,
    #[serde(default)]
    rows_mb: Option<u64>,
    #[serde(default = "default_kept_plugins_mb")]
    kept_plugins_mb: u64,
    #[serde(default = "default_hung_engines_max")]
    hung_engines_max: u64,
    #[serde(default)]
    busy_poll_us: u64,
    #[serde(default = "default_log")]
    log: String,
    #[serde(default)]
    admin: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenListen {
    http: String,
    events: String,
    link: String,
}

impl Default for WrittenListen {
    fn default() -> Self {
        let free = || "127.0.0.1:0".to_string();
        WrittenListen { http: free(), events: free(), link: free() }
    }
}

#[derive(Debug, Deserialize)]
enum WrittenArbiter {
    Local(PathBuf),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenApplication {
    name: String,
    plugin: PathBuf,
    #[serde(default = "default_partitions")]
    partitions: u64,
}

fn default_data() -> PathBuf {
    "data".into()
}
fn default_partitions() -> u64 {
    1
}
fn default_recent_mb() -> u64 {
    32
}
fn default_kept_plugins_mb() -> u64 {
    1024
}
fn default_hung_engines_max() -> u64 {
    2
}
fn default_log() -> String {
    "info".into()
}

impl NodeConfig {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// When it can't be read or is wrong; the error shows where and what to write instead.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&load(path)?, path)
    }

    /// Checks `text`, which stands in the file `path`.
    ///
    /// # Errors
    /// When it is wrong; the error shows where and what to write instead.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        check::check(read(text, path)?, text, path)
    }
}

/// The longest file of a configuration or campaign, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The text of the file at `path`.
///
/// # Errors
/// When it can't be read, or is far too long.
pub fn load(path: &Path) -> Result<String, ConfigError> {
    let read = || {
        let mut text = String::new();
        let length = File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        if length as u64 > FILE_BYTES_MAX { Err(io::Error::other("it is far too long")) } else { Ok(text) }
    };
    read().map_err(|error| ConfigError::unreadable(path, &error))
}

/// Reads RON `text`, which stands in the file `path`. `peer: "x"` stands for `peer: Some("x")`.
///
/// # Errors
/// When it is wrong; the error shows where and what to write instead.
pub fn read<T: serde::de::DeserializeOwned>(text: &str, path: &Path) -> Result<T, ConfigError> {
    let options = ron::Options::default()
        .with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME)
        .with_recursion_limit(32);
    options.from_str(text).map_err(|error| ConfigError::malformed(text, path, &error))
}

#[cfg(test)]
mod tests;
