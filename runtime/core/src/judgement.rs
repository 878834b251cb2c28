//! The verdict on a pair of versions, procedure by procedure and table by table, each with its reasons and the rule
//! behind them (R16, R17, R19, R32). For people and tools that look at two files; the runtime itself decides by
//! [`crate::verdict::compare`].
//!
//! Deliberately absent: what only a running group knows, as the formats that its rows are in (R31).
//!
//! Invariant: the whole is as [`crate::verdict::compare`] has it, and nothing is incompatible without a reason.

use serde::{Deserialize, Serialize};

use crate::descriptor::{ApplicationDescriptor, ProcedureDescriptor, TableDescriptor};
use crate::verdict::{
    About, Objection, Pairing, ProcedurePairing, Rule, Verdict, compare_retiring, objections,
};

/// A reason with its rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The rule.
    pub rule: Rule,
    /// In a sentence.
    pub why: String,
}

/// What becomes of a procedure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcedureVerdict {
    /// Its name.
    pub name: String,
    /// Its version in the old application.
    pub old: Option<u32>,
    /// Its version in the new one.
    pub new: Option<u32>,
    /// The verdict.
    pub verdict: Verdict,
    /// How it runs while versions differ.
    pub pairing: Pairing,
    /// Why; never empty.
    pub reasons: Vec<Reason>,
}

/// What becomes of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableVerdict {
    /// Its name.
    pub name: String,
    /// The newest format that the old version writes.
    pub old: Option<u16>,
    /// The newest format that the new version writes.
    pub new: Option<u16>,
    /// The verdict: compatible or incompatible.
    pub verdict: Verdict,
    /// Why; never empty.
    pub reasons: Vec<Reason>,
}

/// The verdict on a pair of versions, with all that it consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The whole.
    pub verdict: Verdict,
    /// By procedure: the old version's first, in its order.
    pub procedures: Vec<ProcedureVerdict>,
    /// By table, likewise.
    pub tables: Vec<TableVerdict>,
    /// The features that only the new version has: off until an upgrade enables them (R31).
    pub features: Vec<String>,
    /// What makes the pair incompatible as a whole, beside procedures and tables.
    pub reasons: Vec<Reason>,
}

/// Judges the pair of `old` and `new`.
#[must_use]
pub fn judge(old: &ApplicationDescriptor, new: &ApplicationDescriptor) -> Judgement {
    let comparison = compare_retiring(old, new, &[]);
    let objections = objections(old, new, &[]);
    let about = |what: &About| -> Vec<Reason> {
        let of_it = objections.iter().filter(|objection| objection.about == *what);
        of_it.map(|Objection { rule, why, .. }| Reason { rule: *rule, why: why.clone() }).collect()
    };
    let procedures = comparison.procedures.iter().map(|pairing| {
        let against = about(&About::Procedure(pairing.name.clone()));
        procedure(old, new, pairing, against)
    });
    let only_new = new.tables.iter().filter(|table| old_table(old, &table.name).is_none());
    let tables = old.tables.iter().chain(only_new).filter_map(|each| {
        let against = about(&About::Table(each.name.clone()));
        table(old, new, &each.name, against)
    });
    let is_new = |name: &String| !old.features.iter().any(|feature| feature.name == *name);
    let judgement = Judgement {
        verdict: comparison.verdict,
        procedures: procedures.collect(),
        tables: tables.collect(),
        features: new.features.iter().map(|feature| feature.name.clone()).filter(is_new).collect(),
        reasons: about(&About::Application),
    };
    let parts = judgement.procedures.iter().map(|each| each.verdict);
    let incompatible = parts.chain(judgement.tables.iter().map(|each| each.verdict));
    assert_eq!(
        judgement.verdict == Verdict::Incompatible,
        !judgement.reasons.is_empty() || incompatible.into_iter().any(|each| each == Verdict::Incompatible),
        "parts and whole agree: {judgement:?}"
    );
    judgement
}

fn old_table<'a>(old: &'a ApplicationDescriptor, name: &str) -> Option<&'a TableDescriptor> {
    old.tables.iter().find(|table| table.name == name)
}

fn procedure(
    old: &ApplicationDescriptor,
    new: &ApplicationDescriptor,
    pairing: &ProcedurePairing,
    mut reasons: Vec<Reason>,
) -> ProcedureVerdict {
    let ProcedurePairing { name, old: old_version, new: new_version, pairing } = pairing.clone();
    let verdict = match pairing {
        _ if !reasons.is_empty() => Verdict::Incompatible,
        Pairing::LockStep => Verdict::Compatible,
        Pairing::Shipped | Pairing::OnlyNew | Pairing::OneSided => Verdict::Mixed,
        // Objected to above; a campaign that retires it makes the pair a mixed one.
        Pairing::OnlyOld | Pairing::Retired => Verdict::Mixed,
    };
    if reasons.is_empty() {
        let (rule, why) = match pairing {
            Pairing::LockStep => (Rule::R16, "both have the same version".to_owned()),
            Pairing::Shipped => {
                let of = |application: &ApplicationDescriptor| {
                    application.procedure(&name).map(|(_, procedure)| procedure.clone())
                };
                (Rule::R16, of(old).zip(of(new)).map_or_else(String::new, |(old, new)| changed(&old, &new)))
            }
            Pairing::OnlyNew => (
                Rule::R32,
                format!("{} does not have it: it is refused until the upgrade is through", old.version),
            ),
            Pairing::OneSided => (
                Rule::R32,
                format!(
                    "{} does not have it, and it is one-sided: it is served at once and shipped",
                    old.version
                ),
            ),
            Pairing::OnlyOld | Pairing::Retired => {
                (Rule::R32, format!("{} does not have it: it is retired", new.version))
            }
        };
        reasons.push(Reason { rule, why });
    }
    ProcedureVerdict { name, old: old_version, new: new_version, verdict, pairing, reasons }
}

/// What of a shipped procedure the two declarations show to have changed.
fn changed(old: &ProcedureDescriptor, new: &ProcedureDescriptor) -> String {
    let names = |procedure: &ProcedureDescriptor| -> Vec<String> {
        procedure.units.iter().map(|unit| unit.name.clone()).collect()
    };
    let (before, after) = (names(old), names(new));
    if before.len() != after.len() {
        format!("shipped: {} work units became {}", before.len(), after.len())
    } else if before != after {
        format!("shipped: its work units were {}, and are {}", before.join(", "), after.join(", "))
    } else {
        "shipped: its version differs, its work units have the same names".to_owned()
    }
}

fn table(
    old: &ApplicationDescriptor,
    new: &ApplicationDescriptor,
    name: &str,
    mut reasons: Vec<Reason>,
) -> Option<TableVerdict> {
    let (before, after) = (old_table(old, name), old_table(new, name));
    let either = after.or(before)?;
    let verdict = if reasons.is_empty() { Verdict::Compatible } else { Verdict::Incompatible };
    if reasons.is_empty() {
        let why = match (before, after) {
            _ if either.derived_from.is_some() => {
                "derived: each version keeps its own, beside the rows that both share".into()
            }
            (Some(before), Some(after)) if before.format < after.format => format!(
                "rows stay in format {} until features are enabled, and are then migrated into format {}",
                before.format, after.format
            ),
            (None, _) => format!("{} does not have it, and keeps its rows as bytes", old.version),
            _ => "both write the same format".to_owned(),
        };
        reasons.push(Reason { rule: Rule::R17, why });
    }
    let format = |table: Option<&TableDescriptor>| table.map(|table| table.format);
    Some(TableVerdict { name: name.into(), old: format(before), new: format(after), verdict, reasons })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::{BodyUse, FeatureDescriptor, Recovery, TableKind, UnitDescriptor, Version};
    use crate::ids::PluginHash;

    fn unit(name: &str, undo: Option<&str>) -> UnitDescriptor {
        UnitDescriptor { name: name.into(), reads_body: false, undo: undo.map(Into::into) }
    }

    fn procedure(name: &str, version: u32, units: Vec<UnitDescriptor>) -> ProcedureDescriptor {
        let undos = units.iter().filter_map(|unit| unit.undo.clone()).collect();
        ProcedureDescriptor {
            name: name.into(),
            version,
            recovery: Recovery::Complete,
            reads_only: false,
            one_sided: false,
            body: BodyUse::Carried,
            deadline_ms: 0,
            hang_ms: 0,
            units,
            undos,
            parameters: String::new(),
        }
    }

    fn table(name: &str, reads_from: u16, format: u16, derived_from: Option<&str>) -> TableDescriptor {
        let derived_from = derived_from.map(Into::into);
        TableDescriptor { name: name.into(), kind: TableKind::Hash, format, reads_from, derived_from }
    }

    fn shop(
        version: u32,
        tables: Vec<TableDescriptor>,
        procedures: Vec<ProcedureDescriptor>,
    ) -> ApplicationDescriptor {
        ApplicationDescriptor {
            name: "shop".into(),
            version: Version { major: version, minor: 0, patch: 0 },
            hash: PluginHash::default(),
            tables,
            features: vec![],
            procedures,
            sends: None,
        }
    }

    fn of<'a>(judgement: &'a Judgement, name: &str) -> (Verdict, Rule, &'a str) {
        let found = judgement
            .procedures
            .iter()
            .find(|each| each.name == name)
            .map(|each| (each.verdict, &each.reasons));
        let tables = || {
            judgement.tables.iter().find(|each| each.name == name).map(|each| (each.verdict, &each.reasons))
        };
        let (verdict, reasons) = found.or_else(tables).expect("it is judged");
        (verdict, reasons[0].rule, &reasons[0].why)
    }

    #[test]
    fn every_procedure_and_table_has_its_verdict_and_its_reason() {
        let one = || vec![unit("work", None)];
        let old = shop(
            1,
            vec![table("orders", 1, 1, None), table("stock", 1, 1, None)],
            vec![
                procedure("same", 3, one()),
                procedure("longer", 1, one()),
                procedure("other", 1, one()),
                procedure("inside", 1, one()),
            ],
        );
        let mut new = shop(
            2,
            vec![
                table("orders", 1, 2, None),
                table("stock", 1, 1, None),
                table("notes", 1, 1, None),
                table("by_day", 1, 1, Some("orders")),
            ],
            vec![
                procedure("same", 3, one()),
                procedure("longer", 2, vec![unit("work", None), unit("more", None)]),
                procedure("other", 2, vec![unit("play", None)]),
                procedure("inside", 2, one()),
                procedure("late", 1, one()),
                ProcedureDescriptor { one_sided: true, ..procedure("early", 1, one()) },
            ],
        );
        new.features.push(FeatureDescriptor { name: "gifts".into(), description: String::new() });
        let judgement = judge(&old, &new);
        assert_eq!(
            (judgement.verdict, &judgement.features[..]),
            (Verdict::Mixed, &["gifts".to_string()][..])
        );
        let expected = [
            ("same", Verdict::Compatible, Rule::R16, "both have the same version"),
            ("longer", Verdict::Mixed, Rule::R16, "1 work units became 2"),
            ("other", Verdict::Mixed, Rule::R16, "were work, and are play"),
            ("inside", Verdict::Mixed, Rule::R16, "its version differs"),
            ("late", Verdict::Mixed, Rule::R32, "refused until the upgrade is through"),
            ("early", Verdict::Mixed, Rule::R32, "served at once"),
            ("orders", Verdict::Compatible, Rule::R17, "stay in format 1 until features are enabled"),
            ("stock", Verdict::Compatible, Rule::R17, "the same format"),
            ("notes", Verdict::Compatible, Rule::R17, "does not have it"),
            ("by_day", Verdict::Compatible, Rule::R17, "derived"),
        ];
        for (name, verdict, rule, words) in expected {
            let (found, by, why) = of(&judgement, name);
            assert_eq!((found, by), (verdict, rule), "{name}: {why}");
            assert!(why.contains(words), "{name}: {why}");
        }
        assert_eq!(judge(&new, &new).verdict, Verdict::Compatible);
    }

    #[test]
    fn what_can_be_no_pair_says_by_which_rule_and_what_of_it_is_wrong() {
        let acting = || vec![unit("send", Some("unsend"))];
        let old = shop(
            1,
            vec![table("orders", 1, 1, None), table("gone", 1, 1, None)],
            vec![procedure("mail", 1, acting()), procedure("left", 1, vec![unit("work", None)])],
        );
        let new =
            shop(2, vec![table("orders", 2, 3, None)], vec![procedure("mail", 2, vec![unit("work", None)])]);
        let judgement = judge(&old, &new);
        assert_eq!(judgement.verdict, Verdict::Incompatible);
        let expected = [
            ("mail", Rule::R19, "undo `unsend` of `mail.send` is missing in 2.0.0"),
            ("left", Rule::R32, "procedure `left` is missing in 2.0.0"),
            ("orders", Rule::R17, "table `orders` is in format 1, and 2.0.0 reads formats 2 to 3"),
            ("gone", Rule::R17, "table `gone` is missing in 2.0.0"),
        ];
        for (name, rule, why) in expected {
            assert_eq!(of(&judgement, name), (Verdict::Incompatible, rule, why));
        }
        let other = ApplicationDescriptor { name: "bank".into(), ..old.clone() };
        let judgement = judge(&old, &other);
        assert_eq!(judgement.verdict, Verdict::Incompatible);
        assert!(judgement.reasons[0].why.contains("`shop` and `bank`"), "{judgement:?}");
    }
}
