//! `lockstep plugin check`: looks at plugin files by itself, without any processor. A file is checked as a file, tried
//! in a process of its own, and judged beside another version of its application.
//!
//! Deliberately absent: the processor that serves; what it runs is compared by `lockstep upgrade plan`.

use std::path::{Path, PathBuf};

use lockstep_core::descriptor::{
    BodyUse, FeatureDescriptor, ProcedureDescriptor, Receiver, Recovery, TableDescriptor, UnitDescriptor,
    Version,
};
use lockstep_core::ids::PluginHash;
use lockstep_core::judgement::{Judgement, judge};
use lockstep_core::verdict::Verdict;
use lockstep_runtime::plugins::{self, CheckedPlugin};
use serde::Serialize;

use crate::args::Global;
use crate::failure::{Exit, Failure, of_preflight};
use crate::render;
use crate::session::{print, whole};

/// What a file is.
#[derive(Clone, Debug, Serialize)]
pub struct Identity {
    /// The file.
    pub path: PathBuf,
    /// Its SHA-256.
    pub hash: PluginHash,
    /// Its size.
    pub bytes: u64,
    /// The plugin API that it was built with, as `1.1`.
    pub api: String,
    /// The application.
    pub application: String,
    /// Its version.
    pub version: Version,
}

/// A procedure as people see it.
#[derive(Clone, Debug, Serialize)]
pub struct Procedure {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// It writes nothing.
    pub reads_only: bool,
    /// It is served also while the other version does not have it.
    pub one_sided: bool,
    /// Its body stays on the active.
    pub body_withheld: bool,
    /// `complete` or `roll_back`.
    pub recovery: &'static str,
    /// Units that take longer are faults; 0 for no bound.
    pub deadline_ms: u32,
    /// Units that have not returned by then have hung.
    pub hang_ms: u64,
    /// Its work units.
    pub units: Vec<UnitDescriptor>,
    /// The undos that it can run.
    pub undos: Vec<String>,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// What the file is.
    pub file: Identity,
    /// Its procedures.
    pub procedures: Vec<Procedure>,
    /// Its features.
    pub features: Vec<FeatureDescriptor>,
    /// Its tables and their formats.
    pub tables: Vec<TableDescriptor>,
    /// Whom it sends messages to; none when it does not say.
    pub sends: Option<Vec<Receiver>>,
    /// What may keep it from being unloaded, and the like.
    pub warnings: Vec<String>,
    /// The other version; none when none was named.
    pub against: Option<Identity>,
    /// The pair of the other version, as the old one, and this one.
    pub pair: Option<Judgement>,
}

/// Looks at `file`, and at the pair that it makes with `against`.
pub fn run(global: &Global, file: &Path, against: Option<&Path>) -> Result<Exit, Failure> {
    let new = check(file)?;
    let old = against.map(check).transpose()?;
    let findings = findings(&new, old.as_ref());
    print(global.output, &render::check::findings(&findings), &findings)?;
    let refused = findings.pair.is_some_and(|pair| pair.verdict == Verdict::Incompatible);
    Ok(if refused { Exit::Refused } else { Exit::Ok })
}

fn check(file: &Path) -> Result<CheckedPlugin, Failure> {
    let checked = plugins::check_file(&whole(file));
    checked.map_err(|plugins::Failure { code, message, help, .. }| {
        of_preflight(lockstep_runtime::admin::protocol::AdminError { code, message, help })
    })
}

fn identity(checked: &CheckedPlugin) -> Identity {
    Identity {
        path: checked.path.clone(),
        hash: checked.hash,
        bytes: checked.bytes,
        api: format!("{}.{}", checked.api.0, checked.api.1),
        application: checked.descriptor.name.clone(),
        version: checked.descriptor.version,
    }
}

fn procedure(procedure: &ProcedureDescriptor) -> Procedure {
    Procedure {
        name: procedure.name.clone(),
        version: procedure.version,
        reads_only: procedure.reads_only,
        one_sided: procedure.one_sided,
        body_withheld: procedure.body == BodyUse::Withheld,
        recovery: match procedure.recovery {
            Recovery::Complete => "complete",
            Recovery::RollBack => "roll_back",
        },
        deadline_ms: procedure.deadline_ms,
        hang_ms: procedure.hang_after_ms(),
        units: procedure.units.clone(),
        undos: procedure.undos.clone(),
    }
}

fn findings(new: &CheckedPlugin, old: Option<&CheckedPlugin>) -> Findings {
    Findings {
        file: identity(new),
        procedures: new.descriptor.procedures.iter().map(procedure).collect(),
        features: new.descriptor.features.clone(),
        tables: new.descriptor.tables.clone(),
        sends: new.descriptor.sends.clone(),
        warnings: new.warnings.clone(),
        against: old.map(identity),
        pair: old.map(|old| judge(&old.descriptor, &new.descriptor)),
    }
}
