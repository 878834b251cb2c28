//! A fault, where it happens, and what came of it.

use std::path::Path;

use rig::Failure;
use rig::artifacts::Artifacts;
use rig::audit::AuditReport;
use serde::Serialize;

/// Where a fault happens: a directory of its own, and the programs.
pub struct Site<'a> {
    /// Programs and plugins.
    pub artifacts: &'a Artifacts,
    /// Empty, and the fault's own.
    pub directory: &'a Path,
}

/// Brings a fault about and sees what becomes of the pair.
pub type Bring = Box<dyn Fn(&Site<'_>) -> Result<Ending, Failure>>;

/// A row of the table.
pub struct Fault {
    /// Unique.
    pub name: String,
    /// What has to become of it, beside a clean audit.
    pub expected: &'static str,
    /// Brings it about.
    pub bring: Bring,
}

impl Fault {
    /// With this name.
    pub fn new(
        name: impl Into<String>,
        expected: &'static str,
        bring: impl Fn(&Site<'_>) -> Result<Ending, Failure> + 'static,
    ) -> Self {
        Fault { name: name.into(), expected, bring: Box::new(bring) }
    }
}

/// How it ended.
pub enum Ending {
    /// It was brought about, and this was seen.
    Seen(Seen),
    /// This machine can't bring it about, because of this.
    Skipped(String),
}

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// From the last answer before the fault to the first one after it: the longest time between two answers from the fault
    /// until the pair was whole again.
    pub service_ms: f64,
    /// Against what clients were told.
    pub audit: AuditReport,
    /// What is wrong beside the audit.
    pub problems: Vec<String>,
}

impl Seen {
    /// Whether all that must hold does.
    pub fn holds(&self) -> bool {
        self.problems.is_empty() && self.audit.holds()
    }
}
