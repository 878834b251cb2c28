//! `limit`: what the operating system and this machine leave to any pair that answers after its partner holds the event.
//!
//! Two processes on loopback without runtime, plugin or database. The first one does a transfer on a bounded hash map and
//! forwards a record of 150 bytes; the second one applies it to its own map and acknowledges it; then the client is
//! answered. Both keep a bounded table of replies, so that events run once. All that one wake-up brought leaves in one
//! write. Clients speak the binary event protocol to the first one, so that the same load drives it and a real pair.
//!
//! Deliberately absent: everything that a pair is for. The second one never takes over, nothing is kept on a disk, nothing is
//! compared. What a pair reaches is told as a part of this.

mod books;
mod first;
mod peer;
mod second;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::child::{self, Process};

/// The argument by which the program `rig` becomes one of the two.
pub const LIMIT: &str = "__limit";

/// What each of the two prints when it listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Listens {
    address: String,
}

/// The two processes.
#[derive(Debug)]
pub struct Limit {
    first: Process,
    second: Process,
    address: String,
}

impl Limit {
    /// Starts both, as the program `rig`.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start(rig: &Path) -> Result<Self, Failure> {
        let command = |role: &str| {
            let mut command = child::guarded(rig, rig);
            command.args([LIMIT, role]);
            command
        };
        let (second, listens) = spawn("limit's second process", &mut command("second"))?;
        let mut command = command("first");
        let (first, Listens { address }) = spawn("limit's first process", command.arg(listens.address))?;
        Ok(Limit { first, second, address })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The two processes' ids.
    #[must_use]
    pub fn pids(&self) -> [u32; 2] {
        [self.first.pid(), self.second.pid()]
    }
}

fn spawn(name: &str, command: &mut Command) -> Result<(Process, Listens), Failure> {
    let mut process = Process::spawn(name, command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let mut line = String::new();
    if let Some(stdout) = process.child().stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    let listens =
        serde_json::from_str(&line).map_err(|_| Failure::new(format!("{name} does not listen: {line:?}")))?;
    Ok((process, listens))
}

/// What `rig __limit second` and `rig __limit first ADDRESS` do, until they are ended.
///
/// # Errors
/// When the operating system refuses, or the other process is gone.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["second"] => second::run(),
        ["first", second] => first::run(second),
        _ => Err(Failure::new("limit is `second`, or `first` with the second one's address")),
    }
}
