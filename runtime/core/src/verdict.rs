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
    /// Only the new version has it: refused until the upgrade is through (R32).
    OnlyNew,
    /// Only the new version has it, and it declares that it is served at once: shipped while versions differ (R32).
    OneSided,
    /// Only the old version has it: the pair is incompatible.
    OnlyOld,
    /// Only the old version has it, and the campaign retires it: served until the switchover (R32).
    Retired,
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

/// The rule behind a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// Versions of procedures.
    R16,
    /// The same bytes in all stores.
    R17,
    /// Undo.
    R19,
    /// Procedures on one side.
    R32,
}

/// What a reason is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// The pair as a whole.
    Application,
    /// A procedure.
    Procedure(String),
    /// A table.
    Table(String),
}

/// What one of the versions would need to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// A reader of the format that rows are in.
    Reader,
    /// An undo of that name.
    Undo,
}

/// Why two versions can't be a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// What it is about.
    pub about: About,
    /// The rule that would be broken.
    pub rule: Rule,
    /// What is lacking, where that is all.
    pub lacks: Option<Lack>,
    /// In a sentence.
    pub why: String,
}

/// Compares two versions of an application.
#[must_use]
pub fn compare(old: &ApplicationDescriptor, new: &ApplicationDescriptor) -> Comparison {
    compare_retiring(old, new, &[])
}

/// Compares two versions of an application in a campaign that retires the procedures `retire` of the old one.
#[must_use]
pub fn compare_retiring(
    old: &ApplicationDescriptor,
    new: &ApplicationDescriptor,
    retire: &[String],
) -> Comparison {
    let mut procedures: Vec<_> = old
        .procedures
        .iter()
        .map(|procedure| {
            let new = new.procedure(&procedure.name).map(|(_, procedure)| procedure.version);
            let pairing = match new {
                None if retire.contains(&procedure.name) => Pairing::Retired,
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
                pairing: if procedure.one_sided { Pairing::OneSided } else { Pairing::OnlyNew },
            }
        }),
    );
    let reasons: Vec<String> =
        objections(old, new, retire).into_iter().map(|objection| objection.why).collect();
    let verdict = if !reasons.is_empty() {
        Verdict::Incompatible
    } else if procedures.iter().all(|procedure| procedure.pairing == Pairing::LockStep) {
        Verdict::Compatible
    } else {
        Verdict::Mixed
    };
    Comparison { verdict, procedures, reasons }
}

/// Everything that makes `new` no pair of `old`, in a campaign that retires the procedures `retire`.
#[must_use]
pub fn objections(
    old: &ApplicationDescriptor,
    new: &ApplicationDescriptor,
    retire: &[String],
) -> Vec<Objection> {
    let mut objections = Vec::new();
    if old.name != new.name {
        objections.push(Objection {
            about: About::Application,
            rule: Rule::R16,
            lacks: None,
            why: format!("the applications are different: `{}` and `{}`", old.name, new.name),
        });
    }
    let is_missing = |name: &String| new.procedure(name).is_none() && !retire.contains(name);
    for name in old.procedures.iter().map(|procedure| &procedure.name).filter(|name| is_missing(name)) {
        objections.push(Objection {
            about: About::Procedure(name.clone()),
            rule: Rule::R32,
            lacks: None,
            why: format!("procedure `{name}` is missing in {}", new.version),
        });
    }
    undos_missing(old, new, retire, &mut objections);
    tables_changed(old, new, &mut objections);
    objections
}

fn tables_changed(old: &ApplicationDescriptor, new: &ApplicationDescriptor, objections: &mut Vec<Objection>) {
    let mut object = |name: &str, lacks: Option<Lack>, why: String| {
        objections.push(Objection { about: About::Table(name.into()), rule: Rule::R17, lacks, why });
    };
    for table in &new.tables {
        let name = &table.name;
        // What a version derives for itself is its own affair, as long as the other has no rows under that name.
        let other = old.tables.iter().find(|before| before.name == *name);
        if other.is_some_and(|other| other.derived_from.is_some() != table.derived_from.is_some()) {
            object(name, None, format!("table `{name}` is derived in one of the versions only"));
        }
        if table.derived_from.is_some() {
            continue;
        }
        let Some(before) = other else { continue };
        if before.format < table.reads_from || before.format > table.format {
            let why = format!(
                "table `{name}` is in format {}, and {} reads formats {} to {}",
                before.format, new.version, table.reads_from, table.format
            );
            object(name, Some(Lack::Reader), why);
        }
        if before.kind != table.kind {
            object(name, None, format!("table `{name}` changes its kind"));
        }
    }
    let is_missing = |name: &str| !new.tables.iter().any(|other| other.name == name);
    for table in old.tables.iter().filter(|table| table.derived_from.is_none() && is_missing(&table.name)) {
        object(&table.name, None, format!("table `{}` is missing in {}", table.name, new.version));
    }
}

/// Why `new` can't read rows that may still stand in the database (R31): `oldest` has each table with the oldest format
/// of its rows, which rises only when a migration is through.
#[must_use]
pub fn rows_unread<'a>(
    oldest: impl Iterator<Item = (&'a str, u16)>,
    new: &ApplicationDescriptor,
) -> Vec<String> {
    // Formats are numbered from 1. This is asked in every batch, and nearly always there is nothing to look for.
    if new.tables.iter().all(|table| table.reads_from <= 1) {
        return Vec::new();
    }
    let unread = oldest.filter_map(|(name, oldest)| {
        let table = new.tables.iter().find(|table| table.name == name && table.derived_from.is_none())?;
        (oldest < table.reads_from).then(|| {
            format!(
                "table `{name}` may have rows in format {oldest} until its migration is through, and {} reads formats \
                 {} to {}",
                new.version, table.reads_from, table.format
            )
        })
    });
    unread.collect()
}

/// Whichever side is active, the other one must be able to undo what its units did to the world (R19), and must know
/// of each unit that runs in lock step whether it is one that is not to run twice.
fn undos_missing(
    old: &ApplicationDescriptor,
    new: &ApplicationDescriptor,
    retire: &[String],
    objections: &mut Vec<Objection>,
) {
    for (acting, other) in [(old, new), (new, old)] {
        for procedure in &acting.procedures {
            let mut object = |why: String| {
                let about = About::Procedure(procedure.name.clone());
                let lacks = Some(Lack::Undo);
                objections.push(Objection { about, rule: Rule::R19, lacks, why });
            };
            let Some((_, there)) = other.procedure(&procedure.name) else {
                // It is served meanwhile, and could not be undone (R32).
                let served = procedure.one_sided || retire.contains(&procedure.name);
                if served && procedure.units.iter().any(|unit| unit.undo.is_some()) {
                    object(format!(
                        "procedure `{}` acts on the world, and {} has neither it nor its undos",
                        procedure.name, other.version
                    ));
                }
                continue;
            };
            for unit in &procedure.units {
                let Some(undo) = &unit.undo else { continue };
                let at = format!("`{}.{}`", procedure.name, unit.name);
                if !there.undos.contains(undo) {
                    object(format!("undo `{undo}` of {at} is missing in {}", other.version));
                }
                let same = procedure.version == there.version;
                let twin = there.units.iter().find(|twin| twin.name == unit.name);
                if same && twin.is_some_and(|twin| twin.undo.is_none()) {
                    object(format!(
                        "{at} acts on the world in {}, and not in {}",
                        acting.version, other.version
                    ));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::{TableDescriptor, TableKind, Version};
    use crate::ids::PluginHash;

    fn application(tables: &[(&str, TableKind, Option<&str>)]) -> ApplicationDescriptor {
        let table = |(name, kind, from): &(&str, TableKind, Option<&str>)| TableDescriptor {
            name: (*name).into(),
            kind: *kind,
            format: 1,
            reads_from: 1,
            derived_from: from.map(Into::into),
        };
        ApplicationDescriptor {
            name: "shop".into(),
            version: Version::default(),
            hash: PluginHash::default(),
            tables: tables.iter().map(table).collect(),
            features: vec![],
            procedures: vec![],
            sends: None,
        }
    }

    #[test]
    fn derived_tables_come_change_and_go_with_their_version() {
        let source = ("orders", TableKind::Hash, None);
        let versions = [
            application(&[source]),
            application(&[source, ("by_day", TableKind::Hash, Some("orders"))]),
            application(&[source, ("by_day", TableKind::Ordered, Some("orders"))]),
        ];
        for old in &versions {
            for new in &versions {
                assert_eq!(compare(old, new).verdict, Verdict::Compatible);
            }
        }
        // Rows of the one would be the other's derived ones.
        let ordinary = application(&[source, ("by_day", TableKind::Hash, None)]);
        for (old, new) in [(&versions[1], &ordinary), (&ordinary, &versions[1])] {
            let comparison = compare(old, new);
            assert_eq!(comparison.verdict, Verdict::Incompatible);
            assert!(
                comparison.reasons.iter().any(|why| why.contains("`by_day` is derived in one")),
                "{comparison:?}"
            );
        }
        let lost = application(&[("by_day", TableKind::Hash, Some("orders"))]);
        assert!(lost.check().unwrap_err().contains("is no ordinary table"));
    }
}
