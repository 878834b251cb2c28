//! Pages about rules (`docs/rules`): each is listed, and names tests and mutants that exist.

use std::path::Path;

use tidy::{document, root};

/// The pages beside the list of them, by file name.
fn pages() -> Vec<String> {
    let folder = std::fs::read_dir(root().join("docs/rules")).expect("there are pages");
    let names = folder.map(|entry| entry.expect("a page").file_name().to_string_lossy().into_owned());
    let mut pages: Vec<String> = names.filter(|name| name != "README.md").collect();
    pages.sort();
    pages
}

/// The links of a page: text and target.
fn links(text: &str) -> Vec<(&str, &str)> {
    let parts = text.match_indices("](");
    let link = |(at, _): (usize, &str)| {
        let from = text[..at].rfind('[')? + 1;
        let to = at + 2 + text[at + 2..].find(')')?;
        Some((&text[from..at], &text[at + 2..to]))
    };
    parts.filter_map(link).collect()
}

#[test]
fn every_page_is_listed_once() {
    let list = document("docs/rules/README.md");
    let listed: Vec<_> = links(&list).into_iter().filter(|(_, to)| !to.contains('/')).collect();
    for page in pages() {
        assert_eq!(listed.iter().filter(|(_, to)| *to == page).count(), 1, "docs/rules/README.md and {page}");
    }
}

#[test]
fn every_page_names_tests_and_mutants_that_exist() {
    for page in pages() {
        let text = document(&format!("docs/rules/{page}"));
        let (mut tests, mut mutants) = (0, 0);
        for (name, to) in links(&text) {
            if to.contains("://") || to.starts_with('#') {
                continue;
            }
            let target = root().join("docs/rules").join(to.split('#').next().unwrap_or(to));
            assert!(target.exists(), "docs/rules/{page}: nothing at {to}");
            match target.extension().and_then(|extension| extension.to_str()) {
                Some("rs") => {
                    let function = format!("fn {}(", name.trim_matches('`'));
                    let source = std::fs::read_to_string(&target).expect("it was just seen");
                    assert!(source.contains(&function), "docs/rules/{page}: no `{function}` in {to}");
                    tests += 1;
                }
                Some("patch") => {
                    assert_eq!(Path::new(to).file_stem(), Some(name.as_ref()), "docs/rules/{page}");
                    mutants += 1;
                }
                _ => {}
            }
        }
        assert!(tests > 0 && mutants > 0, "docs/rules/{page} names {tests} tests and {mutants} mutants");
        assert!(text.contains("```text"), "docs/rules/{page} shows a schedule");
    }
}
