//! The kit finds what is wrong: applications with one mistake each, and the message that names it.
#![forbid(unsafe_code)]

mod clock;
mod counter;
mod first;
mod open_ends;
mod order;
mod random;
mod unreadable;

use std::panic::{AssertUnwindSafe, catch_unwind};

use lockstep_test_kit::{Call, Pair, Versions, call, example};

/// What every procedure here is told: a name.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Name(pub String);

/// What `test` panics with.
fn panic_of(test: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(test)).expect_err("the kit finds the mistake");
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast_ref::<&str>().expect("a message").to_string(),
    }
}

fn assert_names(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "`{word}` is missing in: {message}");
    }
}

fn note(name: &str) -> Call {
    call("note", name)
}

#[test]
fn a_static_counter_is_found() {
    let message = panic_of(|| Pair::of(counter::application()).deterministic(note("a")));
    assert_names(&message, &["`note` of counting 1.0.0", "`write` (number 2)", "notes[\"a\"]", "statics"]);
}

#[test]
fn a_static_counter_makes_the_engines_differ() {
    let message = panic_of(|| drop(Pair::of(counter::application()).run(note("a"))));
    assert_names(&message, &["the two engines differ", "note.write", "notes[", "statics"]);
}

#[test]
fn the_systems_clock_is_found() {
    let message = panic_of(|| Pair::of(clock::application()).deterministic(note("a")));
    assert_names(&message, &["`note` of stamping 1.0.0", "`write` (number 2)", "notes[\"a\"]", "cx.time()"]);
}

#[test]
fn the_systems_clock_makes_the_engines_differ() {
    let message = panic_of(|| drop(Pair::of(clock::application()).run(note("a"))));
    assert_names(&message, &["the two engines differ", "note.write", "cx.time()"]);
}

#[test]
fn a_random_number_of_its_own_is_found() {
    let message = panic_of(|| Pair::of(random::application()).deterministic(note("a")));
    assert_names(&message, &["`note` of drawing 1.0.0", "`write` (number 2)", "notes[\"a\"]", "cx.random()"]);
}

#[test]
fn the_order_of_a_hash_map_is_found() {
    let message = panic_of(|| Pair::of(order::application()).deterministic(note("a")));
    let words = ["`note` of listing 1.0.0", "`write` (number 2)", "in another order", "BTreeMap"];
    assert_names(&message, &words);
}

#[test]
fn a_mistake_in_what_was_given_is_found_too() {
    // Its writes are the standby's too, as this pair ships everything.
    let pair = Pair::of_versions(counter::application(), counter::later());
    let message = panic_of(|| pair.given([note("a")]).deterministic(call("nothing", "")));
    assert_names(&message, &["`note` of counting 1.0.0", "`write`"]);
}

#[test]
fn what_a_static_kept_of_an_earlier_event_is_found() {
    let pair = Pair::of(first::application()).given([note("abc")]);
    // All runs of this program know the name; a processor that was started again does not.
    let message = panic_of(|| pair.deterministic(note("a")));
    let words = ["`note` of remembering 1.0.0", "notes[\"a\"]", "0x0103616263", "fresh program", "statics"];
    assert_names(&message, &words);
}

#[test]
fn a_static_that_matters_only_the_first_time_in_a_programs_life_is_found() {
    // The child process has its pair here already.
    let pair = Pair::of(first::application());
    first::used_up();
    let message = panic_of(|| pair.deterministic(call("greet", "a")));
    let words = ["`greet` of remembering 1.0.0", "fresh program", "statics"];
    assert_names(&message, &words);
}

#[test]
fn what_a_dropped_run_leaves_behind_is_found() {
    let crashes = Pair::of(open_ends::application()).crash_after_every_work_unit_of(note("a"));
    let message = panic_of(|| crashes.same_outcome_everywhere());
    assert_names(&message, &["`note`", "the active died after work unit `open` (1 of 2)", "notes"]);
}

#[test]
fn rows_that_the_other_version_cannot_read_are_found() {
    let (one, two) = (unreadable::one::application(), unreadable::two::application());
    let message = panic_of(|| drop(Pair::of(one).evaluate(two).run(note("a"))));
    assert_names(&message, &["note.note", "can't be read", "table `notes`"]);
    // A version that no longer knows a table.
    let message = panic_of(|| drop(Pair::of_versions(two, unreadable::three::application())));
    assert_names(&message, &["noting 2.0.0 and noting 3.0.0 can't run as a pair", "`notes`"]);
}

#[test]
fn another_version_that_leaves_other_rows_is_found() {
    let (one, two) = (unreadable::one::application(), unreadable::two::application());
    let [old, new] = [one, two].map(|version| Pair::of(version).given([note("a")]));
    let message = panic_of(|| new.same_rows_as(&old));
    assert_names(&message, &["noting 2.0.0", "noting 1.0.0", "[note]", "table `notes`, key \"a\""]);
}

#[test]
fn what_is_given_must_commit() {
    let message = panic_of(|| drop(Pair::of(counter::application()).given([call("never", "")])));
    assert_names(&message, &["given: `never`", "no-way"]);
}

#[test]
fn a_call_of_nothing_is_turned_away() {
    let message = panic_of(|| drop(Pair::of(counter::application()).run(call("nowhere", ""))));
    assert_names(&message, &["`nowhere`", "UnknownProcedure"]);
}

#[test]
fn a_version_that_answers_otherwise_is_found_wherever_it_is_active() {
    let versions = Versions::of(example::application(), example::next::application());
    let events = [call("add", &("eggs", 1u64)), call("add_all", &vec![("eggs", 0u64)])];
    for run in [Versions::mixed_both_ways, Versions::round] {
        let told = panic_of(|| {
            run(&versions, &[events[0].clone(), events[0].clone(), events[1].clone(), events[1].clone()])
        });
        assert!(told.contains("`add_all`") && told.contains("is to grow by at least one"), "{told}");
    }
}
