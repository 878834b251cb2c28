//! What the compiler says to authors who wrote something else than the macros want: at their line, with what to write.
//! The words are those of the compiler that `rust-toolchain.toml` names; `TRYBUILD=overwrite` writes them anew.
#![forbid(unsafe_code)]

use std::process::Command;

/// `trybuild` gives the compiler a flag in its second run that it does not give in its first, and cargo builds all that
/// the cases depend on once for each. This variable comes before what `trybuild` asks for, and there is one build.
const FLAGS: (&str, &str) = ("CARGO_ENCODED_RUSTFLAGS", "");

#[test]
fn mistakes_are_told_at_the_authors_line() {
    let this = std::env::current_exe().expect("this program");
    let status = Command::new(this)
        .args(["--ignored", "--exact", "the_cases", "--nocapture"])
        .env(FLAGS.0, FLAGS.1)
        .status()
        .expect("it runs");
    assert!(status.success(), "what differs stands above");
}

#[test]
#[ignore = "run by the other one, with its flags"]
fn the_cases() {
    assert_eq!(std::env::var(FLAGS.0).as_deref(), Ok(FLAGS.1), "run the other one");
    trybuild::TestCases::new().compile_fail("tests/compile_errors/*.rs");
}
