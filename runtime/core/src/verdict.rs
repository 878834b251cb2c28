//! The verdict on a pair of versions (R16, R17, R32): which procedures run in lock step, which are shipped, and what
//! forbids the pair.

use serde::{Deserialize, Serialize};

use crate::descriptor::ApplicationDescriptor;

/// How a procedure runs while versions differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pairing {
    /// Both sides have it at the same version.
    LockStep,
    /// The versions differ: descriptions and updates are shipped.
    Shipped,
    /// Only the new version has it: refused until its side runs alone (R32).
    OnlyNew,
    /// Only the old version has it: the pair is incompatible.
    OnlyOld,
}

/// A procedure in both versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcedurePairing {
    /// Its name.
    pub name: String,
    /// Its version in the old application.
    pub old: Option<u32>,
    /// Its version in the new one.
    pub new: Option<u32>,
    /// How it runs.
    pub pairing: Pairing,
}

/// What becomes of a pair of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every procedure runs in lock step.
    Compatible,
    /// Some are shipped.
    Mixed,
    /// The pair is refused.
    Incompatible,
}

/// The verdict with its reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// The verdict.
    pub verdict: Verdict,
    /// By procedure.
    pub procedures: Vec<ProcedurePairing>,
    /// Why the pair is incompatible; empty otherwise.
    pub reasons: Vec<String>,
}

/// Compares two versions of an application.
#[must_use]
pub fn compare(old: &ApplicationDescriptor, new: &ApplicationDescriptor) -> Comparison {
    let mut reasons = Vec::new();
    if old.name != new.name {
        reasons.push(format!("the applications are different: `{}` and `{}`", old.name, new.name));
    }
    let mut procedures: Vec<_> = old
        .procedures
        .iter()
        .map(|procedure| {
            let new = new.procedure(&procedure.name).map(|(_, procedure)| procedure.version);
            let pairing = match new {
                None => Pairing::OnlyOld,
                Some(version) if version == procedure.version => Pairing::LockStep,
                Some(_) => Pairing::Shipped,
            };
            ProcedurePairing { name: procedure.name.clone(), old: Some(procedure.version), new, pairing }
        })
        .collect();
    procedures.extend(
        new.procedures.iter().filter(|procedure| old.procedure(&procedure.name).is_none()).map(|procedure| {
            ProcedurePairing {
                name: procedure.name.clone(),
                old: None,
                new: Some(procedure.version),
                pairing: Pairing::OnlyNew,
            }
        }),
    );
    for procedure in procedures.iter().filter(|procedure| procedure.pairing == Pairing::OnlyOld) {
        reasons.push(format!("procedure `{}` is missing in {}", procedure.name, new.version));
    }
    for table in &new.tables {
        let Some(before) = old.tables.iter().find(|before| before.name == table.name) else { continue };
        if before.format < table.reads_from || before.format > table.format {
            reasons.push(format!(
                "table `{}` is in format {}, and {} reads formats {} to {}",
                table.name, before.format, new.version, table.reads_from, table.format
            ));
        }
        if before.kind != table.kind {
            reasons.push(format!("table `{}` changes its kind", table.name));
        }
    }
    for table in old.tables.iter().filter(|table| !new.tables.iter().any(|other| other.name == table.name)) {
        reasons.push(format!("table `{}` is missing in {}", table.name, new.version));
    }
    let verdict = if !reasons.is_empty() {
        Verdict::Incompatible
    } else if procedures.iter().all(|procedure| procedure.pairing == Pairing::LockStep) {
        Verdict::Compatible
    } else {
        Verdict::Mixed
    };
    Comparison { verdict, procedures, reasons }
}
