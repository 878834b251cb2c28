//! Keeps a count in a static.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Name;
use lockstep_plugin_api::prelude::*;

static NOTES_MADE: AtomicU64 = AtomicU64::new(0);

pub const NOTES: Table<String, u64> = Table::new("notes");

application! {
    name: "counting",
    version: "1.0.0",
    tables: [NOTES],
    procedures: [note, nothing, never],
}

/// Version 2 of it, in which `note` is another procedure.
pub fn later() -> &'static lockstep_plugin_api::Application {
    second::application()
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
    NOTES.put(cx, &name.0, &NOTES_MADE.fetch_add(1, Ordering::Relaxed))?;
    Ok(())
}

#[procedure(version = 1)]
fn nothing(_cx: &mut Context, _: &Name) -> Reply<()> {
    Ok(())
}

#[procedure(version = 1)]
fn never(_cx: &mut Context, _: &Name) -> Reply<()> {
    refuse!("no-way", "never")
}

mod second {
    use super::{NOTES, never, nothing};
    use crate::Name;
    use lockstep_plugin_api::prelude::*;

    application! {
        name: "counting",
        version: "2.0.0",
        tables: [NOTES],
        procedures: [note, nothing, never],
    }

    #[procedure(version = 2)]
    fn note(cx: &mut Context, name: &Name) -> Reply<()> {
        NOTES.put(cx, &name.0, &0)?;
        Ok(())
    }
}
