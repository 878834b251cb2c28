//! What the compiler says to authors who wrote something else than the macros want: at their line, with what to write.
//! The words are those of the compiler that `rust-toolchain.toml` names; `TRYBUILD=overwrite` writes them anew.
#![forbid(unsafe_code)]

#[test]
fn mistakes_are_told_at_the_authors_line() {
    trybuild::TestCases::new().compile_fail("tests/compile_errors/*.rs");
}
