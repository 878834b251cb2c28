//! Opens in one unit what another one closes, in a static: a run that is dropped between them leaves it open. Both
//! sides agree as long as nobody dies.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Name;
use lockstep_plugin_api::prelude::*;

const NOTES: Table<String, u64> = Table::new("notes");

static OPEN: AtomicU64 = AtomicU64::new(0);

application! {
    name: "opening",
    version: "1.0.0",
    tables: [NOTES],
    procedures: [note],
}

#[procedure(version = 1)]
fn note(_name: &Name) -> Plan<Name> {
    Plan::of([open, write])
}

#[work_unit]
fn open(_cx: &mut Context, _name: &Name) -> Outcome {
    OPEN.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

#[work_unit]
fn write(cx: &mut Context, name: &Name) -> Outcome {
    NOTES.put(cx, &name.0, &OPEN.fetch_sub(1, Ordering::Relaxed))?;
    Ok(())
}
