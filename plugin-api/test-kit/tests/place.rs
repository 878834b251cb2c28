//! A panic of the kit has the place of the author's test. In a program of its own, as a panic hook is the program's.
#![forbid(unsafe_code)]

use std::panic::{catch_unwind, set_hook};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use lockstep_plugin_api::prelude::*;
use lockstep_test_kit::{Call, Pair, call, example};

application! {
    name: "counting",
    version: "1.0.0",
    tables: [NOTES],
    procedures: [note],
}

const NOTES: Table<u8, u64> = Table::new("notes");
static NOTES_MADE: AtomicU64 = AtomicU64::new(0);
static PLACES: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[procedure(version = 1)]
fn note(cx: &mut Context, key: &u8) -> Reply<()> {
    NOTES.put(cx, key, &NOTES_MADE.fetch_add(1, Ordering::Relaxed))?;
    Ok(())
}

fn seven() -> Call {
    call("note", &7u8)
}

#[test]
fn a_panic_has_the_place_of_the_test() {
    set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |location| location.file().into());
        PLACES.lock().expect("places").push(place);
    }));
    let tests: [fn(); 6] = [
        || drop(Pair::of(application()).run(seven())),
        || drop(Pair::of(example::application()).run(call("add", &("eggs", 0u64))).reply::<String>()),
        || drop(Pair::of(application()).run(call("nowhere", ""))),
        || drop(Pair::of(application()).given([seven()])),
        || drop(Pair::of(application()).crash_after_every_work_unit_of(seven())),
        || Pair::of(application()).deterministic(seven()),
    ];
    for test in tests {
        catch_unwind(test).expect_err("the kit finds a mistake");
    }
    let places = PLACES.lock().expect("places");
    assert!(places.iter().all(|place| place.ends_with("place.rs")), "{places:?}");
}
