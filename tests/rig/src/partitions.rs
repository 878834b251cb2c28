//! A pair whose ledger has several partitions: what one waits for in all of its groups, and an audit of each.

use std::path::Path;
use std::time::{Duration, Instant};

use lockstep_core::command::{GroupStatus, Role};

use crate::artifacts::Artifacts;
use crate::audit::{AuditReport, Evidence, Killed, audit};
use crate::load::{Load, LoadSettings, Pace, Stopped};
use crate::node::Settings;
use crate::pair::Pair;
use crate::{Failure, admin, interrupt, ledger};

impl Pair {
    /// Starts a pair whose ledger has so many partitions, and waits until all of them are in lock step.
    ///
    /// # Errors
    /// As [`Pair::start`].
    pub fn start_partitioned(
        artifacts: &Artifacts,
        directory: &Path,
        plugin: &Path,
        partitions: u16,
    ) -> Result<Self, Failure> {
        let settings = || Settings { partitions: Some(partitions), ..Settings::default() };
        let pair = Self::launch(artifacts, directory, plugin, [settings(), settings()])?;
        pair.wait_all_in_lock_step(Duration::from_secs(30))?;
        Ok(pair)
    }

    /// The status of all groups of the ledger, by partition, as the processor at `at` sees them.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn groups(&self, at: usize) -> Result<Vec<GroupStatus>, Failure> {
        let reports = admin::status(&self.node(at).ready().admin)?.groups;
        let groups = reports.into_iter().map(|report| report.group);
        Ok(groups.filter(|group| group.application == "ledger").collect())
    }

    /// Waits until `holds` of all groups, as the first processor that answers sees them.
    ///
    /// # Errors
    /// When it does not in `patience`: with what was last seen.
    pub fn wait_groups(
        &self,
        what: &str,
        patience: Duration,
        holds: impl Fn(&GroupStatus) -> bool,
    ) -> Result<Vec<GroupStatus>, Failure> {
        let until = Instant::now() + patience;
        loop {
            interrupt::check()?;
            let seen = self.groups(0).or_else(|_| self.groups(1));
            if let Ok(groups) = &seen
                && !groups.is_empty()
                && groups.iter().all(&holds)
            {
                return seen;
            }
            if Instant::now() > until {
                let seen = match seen {
                    Ok(groups) => serde_json::to_string(&groups)?,
                    Err(failure) => failure.to_string(),
                };
                return Err(Failure::new(format!("{what}: not in {patience:?}; last seen: {seen}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until all groups are in lock step.
    ///
    /// # Errors
    /// When they are not in `patience`.
    pub fn wait_all_in_lock_step(&self, patience: Duration) -> Result<Vec<GroupStatus>, Failure> {
        self.wait_groups("all partitions in lock step", patience, admin::in_lock_step)
    }

    /// Waits until the processor at `at` is active for all groups.
    ///
    /// # Errors
    /// When it is not in `patience`.
    pub fn wait_active_for_all(&self, at: usize, patience: Duration) -> Result<(), Failure> {
        let name = self.node(at).name();
        let serves = |group: &GroupStatus| {
            let mut members = group.members.iter();
            members.any(|member| member.role == Role::Active && member.connected && member.node.0 == name)
        };
        self.wait_groups(&format!("{name} active for all partitions"), patience, serves).map(drop)
    }

    /// A load of its own for each partition, all of them under way.
    ///
    /// # Errors
    /// When one does not start.
    pub fn load_all(&self, partitions: u16, rate_per_s: f64) -> Result<Vec<Load>, Failure> {
        let of = |partition| {
            let record = self.directory().join(format!("load-{partition}.record"));
            let settings = LoadSettings::new(self.events(), Pace::Open { rate_per_s }, record);
            let mut settings = settings.in_partition(partition, partitions);
            (settings.clients, settings.accounts, settings.deadline_ms) = (2, 200, 20_000);
            let mut load = Load::start(self.artifacts().rig(), settings)?;
            load.phase("load")?;
            load.wait_answers(20)?;
            Ok(load)
        };
        (0..partitions).map(of).collect()
    }

    /// Brings all groups to rest, ends both processors, exports every database and holds each partition against the
    /// record of its load.
    ///
    /// # Errors
    /// When they do not come to rest or end, or can't be exported.
    pub fn end_and_audit_all(
        &mut self,
        loads: &[Stopped],
        killed: &[Killed],
    ) -> Result<Vec<AuditReport>, Failure> {
        self.wait_groups("all partitions at rest", Duration::from_secs(20), |group| {
            let last = group.members.iter().map(|member| member.last).max();
            admin::in_lock_step(group) && group.members.iter().all(|member| Some(member.last) == last)
        })?;
        let host_restarts = self.unplanned_ends();
        self.end()?;
        let of = |(partition, load): (usize, &Stopped)| {
            let partition = partition.to_string();
            let books = |at: usize| {
                let arguments = ["db", "export", "--partition", &partition];
                ledger::books(&self.node(at).lockstep_lines(self.artifacts(), &arguments)?)
            };
            let (a, b) = (books(0)?, books(1)?);
            let dropped = &load.done.dropped;
            Ok(audit(&Evidence { record: &load.record, books: [&a, &b], dropped, killed, host_restarts }))
        };
        loads.iter().enumerate().map(of).collect()
    }
}
