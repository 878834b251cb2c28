//! Draws a random number of its own: a hasher's seed, which the operating system gives.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use crate::Name;
use lockstep_plugin_api::prelude::*;

const NOTES: Table<String, u64> = Table::new("notes");

application! {
    name: "drawing",
    version: "1.0.0",
    tables: [NOTES],
    procedures: [note],
}

#[procedure(version = 1)]
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
    let drawn = RandomState::new().build_hasher().finish();
    NOTES.put(cx, &name.0, &drawn)?;
    Ok(())
}
