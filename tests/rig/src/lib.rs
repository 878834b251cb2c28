//! A real pair of processors in a temporary directory, with its load process and its audit.
//!
//! The quickstart, the drill and the process tests use it. Nothing in it is simulated: `lockstepd` and `lockstep` are
//! run as anybody would run them, plugins are the files that cargo made, clients are another process.
//!
//! - [`artifacts`]: programs and plugin files, from cargo's own messages.
//! - [`child`]: processes that never outlive their owner.
//! - [`node`], [`pair`]: one processor, and two; [`admin`]: what they say of themselves;
//!   [`operate`]: what operators do with them.
//! - [`ledger`]: the plugin's parameters and rows.
//! - [`load`]: the process that sends transfers and keeps its own record of what it was told.
//! - [`mod@bench`]: `lockstep bench` as drills run it.
//! - [`audit`]: holds that record against what the stopped processors' databases hold.
//! - [`limit`]: two processes that do as little as any pair has to, to measure against.
//! - [`clients`]: a thread for clients; [`interrupt`]: Ctrl-C.
//! - [`proxy`]: a link between processors that can be cut at any frame, slow, or spoil what it carries; [`stranger`]:
//!   connections that say anything; [`strike`]: something dies in a step of an upgrade,
//!   [`swap_strike`]: the active does, in the middle of the standby's change of version.
#![forbid(unsafe_code)]

pub mod admin;
pub mod artifacts;
pub mod audit;
pub mod bench;
pub mod child;
pub mod clients;
pub mod interrupt;
pub mod ledger;
pub mod limit;
pub mod load;
pub mod node;
pub mod operate;
pub mod pair;
pub mod partitions;
pub mod proxy;
pub mod stranger;
pub mod strike;
pub mod swap_strike;

/// Why an exercise can't go on: a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// With this sentence.
    pub fn new(sentence: impl Into<String>) -> Self {
        Failure(sentence.into())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure(error.to_string())
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Failure(format!("this is no such JSON: {error}"))
    }
}
