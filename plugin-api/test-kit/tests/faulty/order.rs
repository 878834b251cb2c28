//! Writes in the order of a `HashMap`.

use std::collections::HashMap;

use crate::Name;
use lockstep_plugin_api::prelude::*;

const NOTES: Table<String, u64> = Table::new("notes");

application! {
    name: "listing",
    version: "1.0.0",
    tables: [NOTES],
    procedures: [note],
}

#[procedure(version = 1, recovery = complete)]
fn note(_name: &Name) -> Plan<Name> {
    Plan::of([check, write])
}

#[work_unit]
fn check(_cx: &mut Context, name: &Name) -> Outcome {
    refuse_unless!(!name.0.is_empty(), "no-name", "a note has a name");
    Ok(())
}

#[work_unit]
fn write(cx: &mut Context, name: &Name) -> Outcome {
    let lines: HashMap<String, u64> = (0..40).map(|line| (format!("{}{line}", name.0), line)).collect();
    for (line, number) in &lines {
        NOTES.put(cx, line, number)?;
    }
    Ok(())
}
