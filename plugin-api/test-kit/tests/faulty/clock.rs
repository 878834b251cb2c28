//! Asks the system what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::Name;
use lockstep_plugin_api::prelude::*;

const NOTES: Table<String, u128> = Table::new("notes");

application! {
    name: "stamping",
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
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(Error::new)?;
    NOTES.put(cx, &name.0, &now.as_nanos())?;
    Ok(())
}
