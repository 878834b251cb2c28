//! Error codes: each means one thing, and `docs/errors.md` says which.

use std::collections::{BTreeMap, BTreeSet};

use tidy::{codes, document, sources};

/// Every code that the programs can show, with the files that give it.
fn given() -> BTreeMap<String, BTreeSet<String>> {
    let mut given: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let shown = ["runtime/", "hosts/", "plugin-api/"];
    for source in sources().iter().filter(|source| shown.iter().any(|folder| source.path.starts_with(folder)))
    {
        if source.is_test() {
            continue;
        }
        let code: Vec<&str> =
            source.without_tests().lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for (_, found) in codes(&code.join("\n")) {
            given.entry(found).or_default().insert(source.path.clone());
        }
    }
    given
}

/// The codes that `docs/errors.md` explains: those that begin a row of a table.
fn explained() -> Vec<String> {
    let text = document("docs/errors.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `LS0"));
    rows.map(|rest| format!("LS0{}", rest.chars().take(3).collect::<String>())).collect()
}

#[test]
fn every_code_is_explained_once() {
    let explained = explained();
    let unique: BTreeSet<&String> = explained.iter().collect();
    let twice: Vec<_> =
        unique.iter().filter(|code| explained.iter().filter(|other| *other == **code).count() > 1).collect();
    assert!(twice.is_empty(), "explained twice: {twice:?}");
    let given = given();
    let missing: Vec<_> = given.iter().filter(|(code, _)| !unique.contains(code)).collect();
    assert!(missing.is_empty(), "not in docs/errors.md: {missing:#?}");
    let stale: Vec<_> = unique.iter().filter(|code| !given.contains_key(**code)).collect();
    assert!(stale.is_empty(), "in docs/errors.md, but nothing gives them: {stale:?}");
}

#[test]
fn a_code_means_one_thing() {
    let shared: Vec<_> = given().into_iter().filter(|(_, files)| files.len() > 1).collect();
    assert!(shared.is_empty(), "given in several files; let one place make the error: {shared:#?}");
}

#[test]
fn a_code_stands_in_its_range() {
    for (code, files) in given() {
        let range: u32 = code[2..4].parse().expect("two digits");
        assert!((1..=8).contains(&range), "{code} in {files:?}: ranges are LS01xx to LS08xx");
    }
}
