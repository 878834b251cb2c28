//! Documents: commands that they name exist, links lead somewhere, and nothing in them is of one machine.

use std::collections::BTreeSet;

use tidy::{document, packages, root, walk};

const DOCUMENTS: [&str; 20] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "docs/bench.md",
    "docs/configuration.md",
    "docs/durability.md",
    "docs/errors.md",
    "docs/events-protocol.md",
    "docs/faults.md",
    "docs/first-plugin.md",
    "docs/fuzzing.md",
    "docs/http.md",
    "docs/metrics.md",
    "docs/model.md",
    "docs/operations.md",
    "docs/performance.md",
    "docs/plugins.md",
    "docs/rules.md",
    "docs/simulation.md",
    "docs/store-choice.md",
];

/// The lines of `text` that stand in blocks of shell commands.
fn shell_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line.trim() {
            "```sh" | "```console" => inside = true,
            "```" => inside = false,
            other if inside => lines.push(other.trim_start_matches("$ ").to_owned()),
            _ => {}
        }
    }
    lines
}

#[test]
fn packages_that_commands_name_exist() {
    let names: BTreeSet<String> = packages().into_iter().map(|package| package.name).collect();
    let mut seen = 0;
    for path in DOCUMENTS {
        for line in shell_lines(&document(path)) {
            let words: Vec<&str> = line.split_whitespace().collect();
            for pair in words.windows(2).filter(|pair| pair[0] == "-p") {
                assert!(names.contains(pair[1]), "{path}: `{line}`: there is no package {}", pair[1]);
                seen += 1;
            }
        }
    }
    assert!(seen > 2, "the documents name packages");
}

#[test]
fn the_readme_has_its_two_commands() {
    let lines = shell_lines(&document("README.md"));
    for command in ["cargo run --release -p quickstart", "cargo test --workspace"] {
        assert!(lines.iter().any(|line| line == command), "README.md must show `{command}`");
    }
    let ci = document(".ci/run");
    let last = ci.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("");
    assert_eq!(last, "cargo test --workspace", ".ci/run ends with the README's test command");
}

#[test]
fn links_lead_somewhere() {
    for path in DOCUMENTS {
        let text = document(path);
        let folder = root().join(path).parent().expect("a document stands in a folder").to_owned();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', '#']).next().unwrap_or("");
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(folder.join(target).exists(), "{path}: nothing at {target}");
        }
    }
}

/// Every rule has one entry, and the entry says how far it is built.
#[test]
fn every_rule_has_an_entry_and_a_state() {
    let text = document("docs/rules.md");
    let entries: Vec<&str> = text.split("\n**R").skip(1).collect();
    assert_eq!(entries.len(), 35);
    for (at, entry) in entries.iter().enumerate() {
        let number = format!("{} ", at + 1);
        assert!(entry.starts_with(&number), "the entry of R{number}");
        let state = entry.split("** (").nth(1).and_then(|rest| rest.split(')').next());
        assert!(
            matches!(state, Some("built" | "partly built" | "not built yet")),
            "R{number} has the state {state:?}"
        );
        assert_eq!(
            state == Some("partly built"),
            entry.contains("*Missing:"),
            "R{number} says what is missing"
        );
    }
}

/// Names that mean something on one machine only.
#[test]
fn nothing_is_of_one_machine() {
    let mut files = Vec::new();
    for folder in ["docs", "examples", "hosts", "plugin-api", "plugins", "runtime", "tests", ".ci"] {
        walk(&root().join(folder), &mut files);
    }
    files.extend(
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "Cargo.toml", "deny.toml"].map(|f| root().join(f)),
    );
    // Put together here, so that this file does not hold them itself.
    let words = [["/work", "/"].concat(), ["/home", "/"].concat(), ["/ro", "ot/"].concat()];
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        for (number, line) in text.lines().enumerate() {
            for word in &words {
                assert!(!line.contains(word.as_str()), "{}:{}: {word}", tidy::relative(&file), number + 1);
            }
        }
    }
}
