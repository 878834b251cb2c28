//! Real faults, one after the other: each happens to a pair of its own under load, and each ends with the audit.
//!
//! What a machine can't bring about is skipped with the reason, and never counts as held.

mod arbiter;
mod checkpoint_files;
mod clock;
mod crowds;
mod disks;
mod files;
mod frames;
mod links;
mod memory;
mod mount;
mod page;
mod processes;
mod row;
mod rows;
mod shim;
mod stage;
mod stale;
mod units;

use std::path::Path;

use rig::artifacts::Artifacts;
use rig::{Failure, interrupt};
use serde_json::{Value, json};

use crate::outside::{cores, load_average};
use crate::{Outcome, say};
use row::{Ending, Fault, Seen, Site};

/// All of them, in the order of the table.
fn all() -> Vec<Fault> {
    let kinds = [
        processes::faults(),
        stale::faults(),
        links::faults(),
        arbiter::faults(),
        disks::faults(),
        files::faults(),
        checkpoint_files::faults(),
        frames::faults(),
        crowds::faults(),
        units::faults(),
        memory::faults(),
        rows::faults(),
        clock::faults(),
    ];
    kinds.into_iter().flatten().collect()
}

/// The names of all faults, one a line.
#[must_use]
pub fn list() -> Outcome {
    let names: Vec<String> = all().into_iter().map(|fault| fault.name).collect();
    Outcome { ok: true, text: names.join("\n"), json: json!({"faults": names}) }
}

/// How a row ended.
enum Row {
    Held(Seen),
    Broken(Option<Seen>, Vec<String>),
    Skipped(String),
}

/// Brings all faults about, or those whose name contains `only`; writes the table to `page`, if that is given.
///
/// # Errors
/// When there is no such fault, or the page can't be written.
pub fn run(
    artifacts: &Artifacts,
    directory: &Path,
    only: Option<&str>,
    page: Option<&Path>,
) -> Result<Outcome, Failure> {
    let wanted: Vec<Fault> =
        all().into_iter().filter(|fault| only.is_none_or(|only| fault.name.contains(only))).collect();
    if wanted.is_empty() {
        return Err(Failure::new("there is no such fault; `drill faults --list` names them all"));
    }
    let machine = load_average()?;
    let (mut rows, mut table, mut problems) = (Vec::new(), String::new(), Vec::new());
    let (mut held, mut skipped) = (0, 0);
    for (number, fault) in wanted.iter().enumerate() {
        interrupt::check()?;
        let place = directory.join(number.to_string());
        std::fs::create_dir_all(&place)?;
        // One that can't be carried out is broken, and the others are tried all the same.
        let ended = (fault.bring)(&Site { artifacts, directory: &place });
        interrupt::check()?;
        let row = match ended {
            Ok(Ending::Seen(seen)) if seen.holds() => Row::Held(seen),
            Ok(Ending::Seen(seen)) => {
                let what = seen.problems.iter().chain(&seen.audit.problems).cloned().collect();
                Row::Broken(Some(seen), what)
            }
            Ok(Ending::Skipped(reason)) => Row::Skipped(reason),
            Err(failure) => Row::Broken(None, vec![failure.to_string()]),
        };
        let line = page::row(fault, &row);
        say(&line);
        table += &format!("{line}\n");
        match &row {
            Row::Held(_) => held += 1,
            Row::Skipped(_) => skipped += 1,
            Row::Broken(_, what) => {
                what.iter().for_each(|what| say(&format!("  {what}")));
                problems.extend(what.iter().map(|what| format!("{}: {what}", fault.name)));
            }
        }
        if !matches!(row, Row::Broken(..)) {
            let _ = std::fs::remove_dir_all(&place);
        }
        rows.push(of_row(fault, &row));
    }
    let broken = wanted.len() - held - skipped;
    let sum = format!(
        "{held} of {} held, {broken} broken, {skipped} skipped; {} cores, load average {machine} before",
        wanted.len(),
        cores()
    );
    if let Some(page) = page {
        // Some faults alone leave the other rows of the page as they are.
        let before = only.and_then(|_| std::fs::read_to_string(page).ok());
        let machine = format!("{} cores, load average {machine} before the latest of them", cores());
        std::fs::write(page, page::of_rows(before.as_deref(), &table, &machine))?;
    }
    let mut text = format!("{table}{sum}");
    problems.iter().for_each(|problem| text += &format!("\nproblem: {problem}"));
    let json: Value = json!({
        "faults": rows, "held": held, "broken": broken, "skipped": skipped, "cores": cores(),
        "load_average": machine, "problems": problems,
    });
    Ok(Outcome { ok: broken == 0, json, text })
}

fn of_row(fault: &Fault, row: &Row) -> Value {
    let (outcome, reason, seen) = match row {
        Row::Held(seen) => ("held", None, Some(seen)),
        Row::Broken(seen, what) => ("broken", Some(what.join("; ")), seen.as_ref()),
        Row::Skipped(reason) => ("skipped", Some(reason.clone()), None),
    };
    json!({
        "fault": fault.name, "expected": fault.expected, "outcome": outcome, "reason": reason,
        "service_ms": seen.map(|seen| seen.service_ms),
        "lost": seen.map(|seen| seen.audit.lost), "doubled": seen.map(|seen| seen.audit.doubled),
        "acknowledged": seen.map(|seen| seen.audit.acknowledged), "audit": seen.map(|seen| &seen.audit),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_fault_has_a_name_of_its_own_and_an_expectation() {
        let all = all();
        let names: BTreeSet<&str> = all.iter().map(|fault| fault.name.as_str()).collect();
        assert_eq!(names.len(), all.len(), "two faults have the same name");
        assert!(all.iter().all(|fault| !fault.expected.is_empty() && !fault.name.contains('|')));
    }

    #[test]
    fn what_is_skipped_never_counts_as_held() {
        let fault = Fault::new("a fault", "nothing", |_| Ok(Ending::Skipped("no room".into())));
        let row = Row::Skipped("no room".into());
        assert_eq!(of_row(&fault, &row)["outcome"], "skipped");
        assert!(page::row(&fault, &row).contains("skipped: no room"));
    }
}
