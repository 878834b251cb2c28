//! `lockstep plugin check`.

use lockstep_core::descriptor::TableKind;
use lockstep_core::judgement::{Judgement, Reason};
use lockstep_core::verdict::{Pairing, Verdict};

use super::plan::in_words;
use super::words::{columns, count};
use crate::commands::plugin_check::{Findings, Identity, Procedure};

/// All that was found of a file, and of the pair.
pub fn findings(findings: &Findings) -> String {
    let mut out = identity(&findings.file);
    out.push_str(&procedures(&findings.procedures));
    out.push_str(&tables(findings));
    if !findings.features.is_empty() {
        let rows =
            findings.features.iter().map(|feature| vec![feature.name.clone(), feature.description.clone()]);
        out.push_str(&columns("  ", "  ", &headed(&["feature", ""], rows)));
    }
    if let Some(sends) = &findings.sends {
        let rows = sends.iter().map(|it| vec![it.application.clone(), it.procedure.clone()]);
        let nobody = sends.is_empty().then(|| vec!["(no other application)".into()]);
        out.push_str(&columns("  ", "  ", &headed(&["sends to", "procedure"], rows.chain(nobody))));
    }
    for warning in &findings.warnings {
        out.push_str(&format!("warning: {warning}\n"));
    }
    if let (Some(against), Some(pair)) = (&findings.against, &findings.pair) {
        out.push_str(&judgement(against, &findings.file, pair));
    }
    out
}

fn headed(titles: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Vec<Vec<String>> {
    std::iter::once(titles.iter().map(|title| (*title).to_owned()).collect()).chain(rows).collect()
}

fn identity(file: &Identity) -> String {
    format!(
        "{} {}   {}   {} bytes\n  sha-256     {}\n  plugin API  {}\n",
        file.application,
        file.version,
        file.path.display(),
        count(file.bytes),
        file.hash,
        file.api
    )
}

fn procedures(procedures: &[Procedure]) -> String {
    let rows = procedures.iter().map(|procedure| {
        let units = procedure.units.iter().map(|unit| match &unit.undo {
            Some(undo) => format!("{} (undo {undo})", unit.name),
            None => unit.name.clone(),
        });
        let traits = [
            (procedure.reads_only, "reads only"),
            (procedure.one_sided, "one-sided"),
            (procedure.body_withheld, "body withheld"),
            (procedure.recovery == "complete", "completed at a takeover"),
        ];
        let traits: Vec<&str> = traits.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
        vec![
            procedure.name.clone(),
            format!("v{}", procedure.version),
            units.collect::<Vec<_>>().join(", "),
            traits.join(", "),
        ]
    });
    columns("  ", "  ", &headed(&["procedure", "version", "work units", ""], rows))
}

fn tables(findings: &Findings) -> String {
    let rows = findings.tables.iter().map(|table| {
        let kind = match table.kind {
            TableKind::Hash => "hash",
            TableKind::Ordered => "ordered",
        };
        let formats = match table.reads_from {
            from if from == table.format => format!("{from}"),
            from => format!("{from} to {}", table.format),
        };
        let from =
            table.derived_from.as_ref().map_or_else(String::new, |from| format!("derived from {from}"));
        vec![table.name.clone(), kind.into(), formats, from]
    });
    columns("  ", "  ", &headed(&["table", "kind", "formats", ""], rows))
}

fn because(reasons: &[Reason]) -> String {
    let each = reasons.iter().map(|reason| format!("{} ({:?})", reason.why, reason.rule));
    each.collect::<Vec<_>>().join("; ")
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Compatible => "compatible",
        Verdict::Mixed => "mixed",
        Verdict::Incompatible => "incompatible",
    }
}

fn judgement(old: &Identity, new: &Identity, pair: &Judgement) -> String {
    let shipped = pair.procedures.iter().filter(|each| each.pairing == Pairing::Shipped).count() as u64;
    let of_parts = pair.procedures.iter().map(|each| (each.verdict, &each.reasons));
    let of_parts = of_parts.chain(pair.tables.iter().map(|each| (each.verdict, &each.reasons)));
    let against =
        of_parts.filter(|(verdict, _)| *verdict == Verdict::Incompatible).flat_map(|(_, reasons)| reasons);
    let against: Vec<String> = pair.reasons.iter().chain(against).map(|reason| reason.why.clone()).collect();
    let (from, to) = (old.version.to_string(), new.version.to_string());
    let mut out = format!(
        "{} {from} -> {to}: {}\n  against  {}\n",
        new.application,
        in_words(pair.verdict, shipped, &against),
        old.path.display()
    );
    let version = |version: Option<u32>| version.map_or_else(|| "-".into(), |version| format!("v{version}"));
    let rows = pair.procedures.iter().map(|each| {
        let reasons = because(&each.reasons);
        vec![each.name.clone(), version(each.old), version(each.new), word(each.verdict).into(), reasons]
    });
    out.push_str(&columns("  ", "  ", &headed(&["procedure", &from, &to, "", ""], rows)));
    let format = |format: Option<u16>| format.map_or_else(|| "-".into(), |format| format.to_string());
    let rows = pair.tables.iter().map(|each| {
        let reasons = because(&each.reasons);
        vec![each.name.clone(), format(each.old), format(each.new), word(each.verdict).into(), reasons]
    });
    out.push_str(&columns("  ", "  ", &headed(&["table, format", &from, &to, "", ""], rows)));
    if !pair.features.is_empty() {
        out.push_str(&format!("  an upgrade enables {}\n", pair.features.join(", ")));
    }
    out
}
