//! Keeps the first name that it ever saw.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Name;
use lockstep_plugin_api::prelude::*;

static FIRST_NAME: OnceLock<String> = OnceLock::new();
static SEEN: AtomicBool = AtomicBool::new(false);

const NOTES: Table<String, String> = Table::new("notes");

application! {
    name: "remembering",
    version: "1.0.0",
    tables: [NOTES],
    procedures: [note, greet],
}

/// Writes the first name under each name.
#[procedure(version = 1)]
fn note(cx: &mut Context, name: &Name) -> Reply<()> {
    NOTES.put(cx, &name.0, FIRST_NAME.get_or_init(|| name.0.clone()))?;
    Ok(())
}

/// Greets otherwise the first time.
#[procedure(version = 1)]
fn greet(cx: &mut Context, name: &Name) -> Reply<()> {
    let greeting = if SEEN.swap(true, Ordering::Relaxed) { "again" } else { "welcome" };
    NOTES.put(cx, &name.0, &greeting.to_owned())?;
    Ok(())
}

/// Uses up what matters the first time.
pub fn used_up() {
    SEEN.store(true, Ordering::Relaxed);
}
