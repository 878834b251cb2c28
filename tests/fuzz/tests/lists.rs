//! The list of targets stands in four places: in the library, in the programs of `coverage-guided`, as folders of the corpus,
//! and in the page for people. All say the same.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fuzz_targets::{TARGETS, corpus};

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn names() -> BTreeSet<String> {
    TARGETS.iter().map(|target| target.name.to_owned()).collect()
}

#[test]
fn names_are_unique() {
    assert_eq!(names().len(), TARGETS.len());
}

#[test]
fn each_target_has_a_program_for_a_nightly() {
    let manifest = fs::read_to_string(here().join("coverage-guided/Cargo.toml")).unwrap();
    let programs = manifest.split("[[bin]]\n").skip(1).map(|program| {
        program
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
            .unwrap()
            .to_owned()
    });
    assert_eq!(programs.collect::<BTreeSet<_>>(), names());
}

#[test]
fn each_target_has_a_corpus_of_small_files() {
    let folders = fs::read_dir(here().join("corpus")).unwrap();
    let folders: BTreeSet<String> =
        folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(folders, names());
    for target in TARGETS {
        let kept = corpus::kept(target);
        assert!(kept.iter().any(|(name, _)| name.starts_with("seed-")), "{}: no seed is kept", target.name);
        assert!(kept.len() <= 120, "{}: {} inputs", target.name, kept.len());
        for (name, bytes) in kept {
            assert!(bytes.len() < 4 << 10, "{}: {name} has {} bytes", target.name, bytes.len());
        }
    }
}

#[test]
fn the_page_lists_every_target_with_what_it_reads() {
    let page: PathBuf = here().join("../../docs/fuzzing.md");
    let page = fs::read_to_string(page).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let listed: Vec<&str> = rows.iter().copied().take_while(|row| !row.contains("LOCKSTEP_")).collect();
    let expected: Vec<String> =
        TARGETS.iter().map(|target| format!("| `{}` | {} |", target.name, target.reads)).collect();
    assert_eq!(listed, expected, "docs/fuzzing.md");
}
