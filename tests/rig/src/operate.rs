//! What an operator does with a pair, through the real `lockstep` command, and what shows that it was done.

use std::path::Path;
use std::time::{Duration, Instant};

use lockstep_core::command::Role;
use lockstep_core::ids::PluginHash;
use serde_json::Value;

use crate::audit::{AuditReport, Books, Evidence, Killed, audit};
use crate::load::Dropped;
use crate::load::record::LoadRecord;
use crate::pair::Pair;
use crate::{Failure, admin, interrupt, ledger};

/// The latency gate of an exercise's upgrade does not fail below this p99, in microseconds.
const LATENCY_FLOOR_US: &str = "250000";

impl Pair {
    /// Runs `lockstep ARGUMENTS` at the active.
    ///
    /// # Errors
    /// When there is none, or the command fails.
    pub fn lockstep(&self, arguments: &[&str]) -> Result<Value, Failure> {
        self.node(self.active()?).lockstep(self.artifacts(), arguments)
    }

    /// Starts an upgrade to `plugin` with gates of this time and so many events.
    ///
    /// # Errors
    /// When it is refused.
    pub fn start_upgrade(
        &self,
        plugin: &Path,
        time_min: Duration,
        events_min: u64,
        operator_decides: bool,
    ) -> Result<(), Failure> {
        let plugin = plugin.display().to_string();
        let (time, events) = (time_min.as_millis().to_string(), events_min.to_string());
        let mut arguments =
            vec!["upgrade", "start", "ledger", &plugin, "--time-min-ms", &time, "--events-min", &events];
        // A single stall of a shared disk moves the p99 of a few seconds; what is shown here is the gate on faults.
        arguments.extend(["--latency-floor-us", LATENCY_FLOOR_US]);
        if operator_decides {
            arguments.extend(["--decide", "operator"]);
        }
        self.lockstep(&arguments).map(drop)
    }

    /// How many campaigns are over.
    ///
    /// # Errors
    /// When the active does not answer.
    pub fn campaigns_over(&self) -> Result<usize, Failure> {
        Ok(self.group(self.active()?)?.campaigns.len())
    }

    /// The standby changes to `plugin`, outside of any campaign; returns once the order is given.
    ///
    /// # Errors
    /// When it is refused.
    pub fn load_plugin(&self, plugin: &Path) -> Result<(), Failure> {
        self.lockstep(&["plugin", "load", "ledger", &plugin.display().to_string()]).map(drop)
    }

    /// Waits until the standby runs `plugin`, in lock step.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait_standby_on(&self, plugin: &Path, patience: Duration) -> Result<(), Failure> {
        self.wait_standby_on_hash(self.hash_of(plugin)?, patience)
    }

    /// The hash of a plugin file, as the operators' command says it.
    ///
    /// # Errors
    /// When it is none.
    pub fn hash_of(&self, plugin: &Path) -> Result<PluginHash, Failure> {
        let mut check = self.lockstep(&["plugin", "check", &plugin.display().to_string()])?;
        Ok(serde_json::from_value(check["file"]["hash"].take())?)
    }

    /// Waits until the standby runs the plugin with this hash, in lock step.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait_standby_on_hash(&self, hash: PluginHash, patience: Duration) -> Result<(), Failure> {
        self.wait_until("the standby on the new plugin", patience, |group| {
            let standby = group.members.iter().find(|member| member.role == Role::Standby);
            Ok(admin::in_lock_step(group) && standby.is_some_and(|standby| standby.hash == Some(hash)))
        })?;
        Ok(())
    }

    /// Waits until the processor at `at` has one plugin in memory; the others that it still has when `patience` ends.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn wait_unloaded(&self, at: usize, patience: Duration) -> Result<Vec<admin::PluginStatus>, Failure> {
        let until = Instant::now() + patience;
        loop {
            interrupt::check()?;
            let mut plugins = admin::plugins(&self.node(at).ready().admin)?;
            plugins.retain(|plugin| plugin.state != "unloaded");
            // The newest is in use.
            plugins.sort_by_key(|plugin| plugin.generation);
            plugins.pop();
            if plugins.is_empty() || Instant::now() > until {
                return Ok(plugins);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A planned switchover; returns once the other processor is active and both are in lock step.
    ///
    /// # Errors
    /// When it is refused or does not come about.
    pub fn switch_over(&self) -> Result<(), Failure> {
        let before = self.active()?;
        self.lockstep(&["switchover", "ledger"])?;
        let other = self.node(1 - before).name().to_owned();
        self.wait_until("the switchover", Duration::from_secs(20), |group| {
            let active = group.members.iter().find(|member| member.role == Role::Active);
            Ok(admin::in_lock_step(group) && active.is_some_and(|active| active.node.to_string() == other))
        })?;
        Ok(())
    }

    /// The ledger in the database of the processor at `at`, which is not running.
    ///
    /// # Errors
    /// When it can't be exported or read.
    pub fn books(&self, at: usize) -> Result<Books, Failure> {
        ledger::books(&self.node(at).lockstep_lines(self.artifacts(), &["db", "export", "ledger"])?)
    }

    /// Brings both processors to rest and ends them, exports both databases, and holds them against `record`.
    ///
    /// # Errors
    /// When they do not come to rest or end, or can't be exported.
    pub fn end_and_audit(
        &mut self,
        record: &LoadRecord,
        dropped: &[Dropped],
        killed: &[Killed],
    ) -> Result<AuditReport, Failure> {
        self.wait_quiet(Duration::from_secs(20))?;
        let host_restarts = self.unplanned_ends();
        self.end()?;
        let books = [self.books(0)?, self.books(1)?];
        Ok(audit(&Evidence { record, books: [&books[0], &books[1]], dropped, killed, host_restarts }))
    }
}
