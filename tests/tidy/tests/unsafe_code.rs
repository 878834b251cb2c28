//! `unsafe` stands in three places, and every block says why it is sound.

use tidy::{packages, sources};

/// Where `unsafe` may stand.
const PLACES: [&str; 3] = ["runtime/os", "runtime/loader", "plugin-api"];
/// Below those, where it may not: the macros only make code for plugins.
const NOT_BELOW: [&str; 2] = ["plugin-api/macros", "plugin-api/test-kit"];

fn may(path: &str) -> bool {
    let below =
        |places: &[&str]| places.iter().any(|place| path.starts_with(&format!("{place}/")) || path == *place);
    below(&PLACES) && !below(&NOT_BELOW)
}

#[test]
fn unsafe_stands_in_its_places_only() {
    for source in sources().iter().filter(|source| !may(&source.path)) {
        for (number, line) in source.code().lines().enumerate() {
            let word = line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
            assert!(!word, "{}:{}: `unsafe` may stand in {PLACES:?} only", source.path, number + 1);
        }
    }
}

#[test]
fn every_other_crate_forbids_it() {
    for package in packages().iter().filter(|package| !may(&package.folder())) {
        // A thin export around a plugin: the macro that makes its entry needs `unsafe(no_mangle)`.
        if package.folder().ends_with("/so") {
            continue;
        }
        for root in package.crate_roots() {
            let text = std::fs::read_to_string(&root).expect("a crate's root can be read");
            assert!(
                text.contains("#![forbid(unsafe_code)]"),
                "{}: forbid(unsafe_code) is missing",
                tidy::relative(&root)
            );
        }
    }
}
